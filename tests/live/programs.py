"""The two programs as a user starts them. AICACHED and AICACHE name them; every daemon is stopped by its own process id."""
import ctypes
import fcntl
import json
import os
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest

AICACHED = os.environ.get("AICACHED", "build/aicached")
AICACHE = os.environ.get("AICACHE", "build/aicache")


PATIENCE = 120  # seconds that something may take which takes a few: the machine is busy with other things


def until(said, wait=PATIENCE):
    """Calls `said` until it returns something true; its last value."""
    deadline = time.monotonic() + wait
    while True:
        value = said()
        if value or time.monotonic() > deadline:
            return value
        time.sleep(0.05)


def die_with_parent():
    """For preexec_fn: a test that is killed leaves no daemon behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def clean_environment(**more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AICACHE")}
    kept.pop("NOTIFY_SOCKET", None)
    kept.update(more)
    return kept


def run(program, *arguments, stdin=None, **environment):
    """Runs to the end: an object with status, out, err (text)."""
    done = subprocess.run([program, *arguments], input=stdin, capture_output=True, timeout=60, env=clean_environment(**environment))
    done.status, done.out, done.err = done.returncode, done.stdout.decode(), done.stderr.decode()
    return done


def put_request(text, response, more=""):
    body = json.dumps({"operation": "qa", "text": text, "response": response}).encode()
    return b"PUT /cache/entries HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %d\r\n\r\n" % (more.encode(), len(body)), body


def read_all(connection):
    got = b""
    while True:
        piece = connection.recv(65536)
        if not piece:
            return got
        got += piece


def read_head(connection):
    got = b""
    while b"\r\n\r\n" not in got:
        piece = connection.recv(1)
        if not piece:
            break
        got += piece
    return got

class Running:
    """A daemon with a directory of its own; `config` is the text of its file."""

    def __init__(self, config="", flags=("--listen", "127.0.0.1:0"), directory=None, **environment):
        self.owned = directory is None
        self.directory = directory or tempfile.mkdtemp(prefix="aicache-live-")
        self.path = os.path.join(self.directory, "aicached.yaml")
        self.write(config)
        self.lines = []
        self.changed = threading.Condition()
        # A lookup waits long enough for storage that a busy machine turns no hit into a miss.
        environment.setdefault("AICACHE_STORAGE_DEADLINE", "10s")
        self.process = subprocess.Popen([AICACHED, "--config", self.path, "--data-dir", self.data, *flags], stderr=subprocess.PIPE,
                                        stdin=subprocess.DEVNULL, env=clean_environment(**environment), preexec_fn=die_with_parent)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        found = self.wait_for(r"listening on (?:127\.0\.0\.1:)?(\S+)")
        self.port = found.group(1)
        self.url = "http://127.0.0.1:" + self.port

    @property
    def data(self):
        return os.path.join(self.directory, "data")

    def write(self, config):
        with open(self.path, "w") as file:
            file.write(config)

    def read(self):
        for line in self.process.stderr:
            with self.changed:
                self.lines.append(line.decode().rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.lines.append(None)
            self.changed.notify_all()

    def wait_for(self, pattern, since=0, seconds=120):
        """The first line from `since` on that matches."""
        end = time.monotonic() + seconds
        with self.changed:
            while True:
                for line in self.lines[since:]:
                    found = line is not None and re.search(pattern, line)
                    if found:
                        return found
                if None in self.lines or time.monotonic() > end:
                    raise AssertionError("no line matches %r in %r" % (pattern, self.lines))
                self.changed.wait(0.5)

    def reload(self, config, expect):
        since = len(self.lines)
        self.write(config)
        self.process.send_signal(signal.SIGHUP)
        return self.wait_for(expect, since)

    def client(self, *arguments, stdin=None, **environment):
        environment.setdefault("AICACHE_URL", self.url)
        return run(AICACHE, *arguments, stdin=stdin, **environment)

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(timeout=60)
        self.reader.join(timeout=60)
        self.process.stderr.close()
        report = [line for line in self.lines if line is not None]
        if any("Sanitizer" in line for line in report):
            print("\n".join(report[-200:]), file=sys.stderr)
        if self.owned:
            shutil.rmtree(self.directory, ignore_errors=True)
        return status


class RunningTest(unittest.TestCase):
    """One daemon per class."""
    config = ""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Running(cls.config)

    @classmethod
    def tearDownClass(cls):
        assert cls.daemon.stop() == 0

    def client(self, *arguments, stdin=None, **environment):
        return self.daemon.client(*arguments, stdin=stdin, **environment)


class Terminal:
    """A program on a terminal of so many rows and columns."""

    def __init__(self, rows, columns, command, **environment):
        self.primary, self.secondary = os.openpty()
        self.resize(rows, columns)
        self.process = subprocess.Popen(command, stdin=self.secondary, stdout=self.secondary, stderr=self.secondary,
                                        env=clean_environment(**{"TERM": "xterm", **environment}))
        self.drawn = b""

    def resize(self, rows, columns):
        fcntl.ioctl(self.secondary, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def write(self, keys):
        os.write(self.primary, keys)

    def frame(self):
        """The lines of the next whole screen, without colours."""
        while b"\x1b[J" not in self.drawn:
            if not select.select([self.primary], [], [], 60)[0]:
                raise AssertionError("nothing is drawn: %r" % self.drawn)
            self.drawn += os.read(self.primary, 65536)
        drawn, _, self.drawn = self.drawn.partition(b"\x1b[J")
        return re.sub("\x1b\\[[0-9]*[mK]", "", drawn.decode().rpartition("\x1b[H")[2]).rstrip("\r\n").split("\r\n")

    def rest(self):
        """What is written until the program ends."""
        os.close(self.secondary)
        self.secondary = None
        while select.select([self.primary], [], [], 60)[0]:
            try:
                piece = os.read(self.primary, 65536)
            except OSError:
                break
            if not piece:
                break
            self.drawn += piece
        return self.drawn

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.primary)
        if self.secondary is not None:
            os.close(self.secondary)
