"""The client's streams: what export leaves behind when it goes wrong, and what is said of a peer or a file that fails."""
import json
import os
import re
import resource
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import time
import unittest

from programs import AICACHE, RunningTest, clean_environment, run, until

CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"


class Peer:
    """Takes one connection at a time, reads the head of a request, says `answer`, and then ends or holds the connection."""

    def __init__(self, answer=b"", hold=False):
        self.answer, self.hold, self.held = answer, hold, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                peer, _ = self.listener.accept()
                head = b""
                while b"\r\n\r\n" not in head and (piece := peer.recv(65536)):
                    head += piece
                peer.sendall(self.answer)
            except OSError:
                return
            if self.hold:
                self.held.append(peer)
            else:
                peer.close()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(timeout=60)
        for peer in self.held:
            peer.close()


class Streams(RunningTest):
    config = "memory.max_bytes: 64M\n"

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.path = os.path.join(self.folder, "backup.jsonl")
        with open(self.path, "w") as file:
            file.write("precious\n")
        self.daemon.client("invalidate", "--all")
        self.daemon.client("put", "qa", "text", "response")

    def peer(self, *arguments, **more):
        peer = Peer(*arguments, **more)
        self.addCleanup(peer.close)
        return peer

    def content(self):
        with open(self.path) as file:
            return file.read()

    def unharmed(self):
        self.assertEqual((os.listdir(self.folder), self.content()), (["backup.jsonl"], "precious\n"))

    def test_a_failed_export_leaves_the_file_before(self):
        self.assertEqual(run(AICACHE, "--url", "http://127.0.0.1:1", "export", self.path).status, 2)
        self.unharmed()
        refused = self.daemon.client("export", self.path, "--operation", "")
        self.assertEqual((refused.status, "400" in refused.err), (2, True), refused.err)
        self.unharmed()
        half = self.peer(CHUNKED + b"4\r\nhalf\r\n")
        self.assertEqual(run(AICACHE, "--url", half.url, "export", self.path).status, 2)
        self.unharmed()
        new = os.path.join(self.folder, "new.jsonl")
        self.assertEqual(run(AICACHE, "--url", half.url, "export", new).status, 2)
        self.unharmed()

    def test_a_signal_leaves_the_file_before(self):
        peer = self.peer(CHUNKED + b"4\r\nhalf\r\n", hold=True)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # Under nohup the signal is ignored, and the client would inherit that.
            client = subprocess.Popen([AICACHE, "--url", peer.url, "export", self.path], env=clean_environment(), stderr=subprocess.DEVNULL,
                                      preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))
            self.addCleanup(client.wait)
            self.addCleanup(client.kill)
            self.assertTrue(until(lambda: len(os.listdir(self.folder)) == 2))
            # The thread sanitizer puts off a signal that arrives just before poll() until poll()
            # ends, which it does not here: about one in a hundred has to be sent again.
            deadline = time.monotonic() + 60
            while client.poll() is None and time.monotonic() < deadline:
                client.send_signal(number)
                try:
                    client.wait(timeout=1)
                except subprocess.TimeoutExpired:
                    pass
            self.assertEqual(client.poll(), -number)
            self.unharmed()

    def test_a_good_export_takes_the_place(self):
        os.chmod(self.path, 0o640)
        link = os.path.join(self.folder, "link")
        os.symlink("backup.jsonl", link)
        done = self.daemon.client("export", link)
        self.assertEqual((done.status, done.out), (0, ""))
        self.assertRegex(done.err, r"^1 entry, \S+ B exported to .*link\n$")
        self.assertTrue(os.path.islink(link))
        self.assertIn('"operation":"qa"', self.content())
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o640)
        self.assertEqual(sorted(os.listdir(self.folder)), ["backup.jsonl", "link"])
        new = os.path.join(self.folder, "new.jsonl")
        before = os.umask(0o027)
        try:
            self.assertEqual(self.daemon.client("export", new).status, 0)
        finally:
            os.umask(before)
        self.assertEqual(stat.S_IMODE(os.stat(new).st_mode), 0o640)
        self.assertEqual(self.daemon.client("export", os.path.join(self.folder, "none", "x")).status, 2)
        self.assertEqual(self.daemon.client("export", self.folder).status, 2)

    def test_what_is_no_regular_file_is_written_directly(self):
        for name in ("-", "/dev/stdout", "/dev/fd/1"):
            done = self.daemon.client("export", name)
            self.assertEqual((done.status, done.out.count("\n")), (0, 1), done.err)
        pipe = os.path.join(self.folder, "pipe")
        os.mkfifo(pipe)
        got = []

        def read():
            with open(pipe) as file:
                got.append(file.read())

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        self.assertEqual(self.daemon.client("export", pipe).status, 0)
        reader.join(timeout=60)
        self.assertEqual(got[0].count("\n"), 1)
        self.assertTrue(stat.S_ISFIFO(os.stat(pipe).st_mode))

    def test_every_command_says_that_its_output_is_lost(self):
        """Where standard output takes nothing, is said by each of them, once."""
        key = self.daemon.client("lookup", "qa", "text", "--json").out.partition('"key":"')[2][:64]
        line = b'{"operation":"qa","text":"t","response":1}\n'
        commands = {
            "get": (key,), "put": ("qa", "text", "response"), "lookup": ("qa", "text"), "explain": ("qa", "text"), "delete": ("0" * 64,), "list": (),
            "invalidate": ("--operation", "none"), "stats": (), "health": (), "memory": (), "warnings": (), "slow": (), "top": ("--once",), "export": (),
            "import": ("-",), "warm": ("-",), "verify": (), "replay": ("-",), "bench": ("--duration", "50ms", "--keys", "2", "--connections", "1"), "key new": (),
            "config presets": (), "config recommend": ("staging",), "config check": ("/dev/null",), "completion": ("bash",), "manual": (), "help": ()}
        named = set(re.findall(r"(?m)^  ([a-z]+(?: [a-z]+)?)(?: |$)", run(AICACHE, "help").out.partition("Commands:")[2].partition("Options of every")[0]))
        self.assertEqual(named, set(commands))
        for name, arguments in commands.items():
            for more in ((), ("--json",)):
                with open("/dev/full", "wb") as full:
                    done = subprocess.run([AICACHE, *name.split(), *arguments, *more], input=line, stdout=full, stderr=subprocess.PIPE, timeout=60,
                                          env=clean_environment(AICACHE_URL=self.daemon.url))
                self.assertEqual(done.returncode, 2, (name, done.stderr))
                self.assertEqual(done.stderr.count(b"aicache: standard output: No space left on device\n"), 1, (name, done.stderr))
        closed = subprocess.run(["sh", "-c", 'exec "$0" stats >&-', AICACHE], stderr=subprocess.PIPE, timeout=60, env=clean_environment(AICACHE_URL=self.daemon.url))
        self.assertEqual((closed.returncode, closed.stderr), (2, b"aicache: standard output: Bad file descriptor\n"))

    def test_what_goes_on_ends_with_its_reader(self):
        """More than a pipe holds, so that none of them is done before its reader has gone."""
        lines = "".join(json.dumps({"operation": "qa", "text": "text %d" % index, "response": 1, "tags": ["x" * 120]}) + "\n" for index in range(1000))
        self.assertEqual(self.daemon.client("warm", "-", stdin=lines.encode()).status, 0)
        for command in (("top",), ("top", "--json"), ("list", "--all", "--json", "--limit", "100"), ("export",)):
            process = subprocess.Popen([AICACHE, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment(AICACHE_URL=self.daemon.url))
            process.stdout.read(1)
            process.stdout.close()
            said = process.stderr.read()
            process.stderr.close()
            self.assertEqual((process.wait(60), said), (2, b"aicache: standard output: Broken pipe\n"), command)

    def test_a_daemon_that_stands_still(self):
        silent, half = self.peer(hold=True), self.peer(CHUNKED + b"4\r\nhalf\r\n", hold=True)
        for peer in (silent, half):
            for command in (("export", self.path), ("import", "-"), ("warm", "-"), ("verify",)):
                done = run(AICACHE, "--url", peer.url, "--timeout", "300ms", *command, stdin=b"{}\n")
                self.assertEqual((done.status, done.err), (2, "aicache: %s: nothing moved for 300ms (--timeout allows more)\n" % peer.url), command)
                self.unharmed()
        self.assertEqual(run(AICACHE, "export", "--timeout", "soon").status, 2)
        # Who feeds or reads the client slowly is not the daemon.
        line = '{"operation":"qa","text":"slow","response":1}'
        slow = subprocess.run(["sh", "-c", "(sleep 2; echo '%s') | '%s' warm - --timeout 1s" % (line, AICACHE)], capture_output=True, timeout=60,
                              env=clean_environment(AICACHE_URL=self.daemon.url))
        self.assertEqual((slow.returncode, slow.stderr), (0, b""))

    def test_a_file_that_fails_is_named(self):
        for command in ("import", "warm"):
            done = self.daemon.client(command, self.folder)
            self.assertEqual((done.status, done.out, done.err), (2, "", "aicache: %s: Is a directory\n" % self.folder))
        with open(self.folder + "/big", "w") as file:
            json.dump({"operation": "qa", "text": "big", "response": "x" * 300000}, file)
        self.assertEqual(self.daemon.client("warm", self.folder + "/big").status, 0)
        full = self.daemon.client("export", "/dev/full")
        self.assertEqual((full.status, full.err), (2, "aicache: /dev/full: No space left on device\n"))
        self.assertTrue(stat.S_ISCHR(os.stat("/dev/full").st_mode))
        with open("/dev/full", "w") as sink:
            done = subprocess.run([AICACHE, "--url", self.daemon.url, "export"], stdout=sink, stderr=subprocess.PIPE, env=clean_environment())
        self.assertEqual((done.returncode, done.stderr), (2, b"aicache: standard output: No space left on device\n"))

    def test_a_full_disk_leaves_the_file_before(self):
        with open(self.folder + "/big", "w") as file:
            json.dump({"operation": "qa", "text": "big", "response": "x" * 300000}, file)
        self.assertEqual(self.daemon.client("warm", self.folder + "/big").status, 0)
        os.unlink(self.folder + "/big")
        limit = lambda: (signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000)))
        done = subprocess.run([AICACHE, "--url", self.daemon.url, "export", self.path], capture_output=True, env=clean_environment(), preexec_fn=limit)
        self.assertEqual((done.returncode, done.stderr.decode()), (2, "aicache: %s: File too large\n" % self.path))
        self.unharmed()


if __name__ == "__main__":
    unittest.main()
