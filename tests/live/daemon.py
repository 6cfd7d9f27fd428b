"""A daemon for one test: started on a free port with a directory of its own, stopped by its own process id.

The program is named by AICACHED. Nothing here waits for a fixed time: the start line says when requests are accepted.
"""
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

from programs import clean_environment, die_with_parent

PROGRAM = os.environ.get("AICACHED", "build/aicached")

class Answer:
    """One reply: status, headers (lower case), body."""

    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]

    def __repr__(self):
        return "%d %r" % (self.status, self.body[:400])


class Daemon:
    def __init__(self, flags=(), keys=(), directory=None, config="", enter=None, environment=None):
        """keys: (id, key, namespace, admin). enter: called in the new process before the program is. environment: more variables."""
        self.enter = enter
        self.environment = dict(environment or {})
        self.own_directory = directory is None
        self.directory = directory or tempfile.mkdtemp(prefix="aicache-live-")
        self.flags = list(flags)
        self.config = config
        for name, key, namespace, admin in keys:
            if "api_keys:" not in self.config:
                self.config += "api_keys:\n"
            digest = hashlib.sha256(key.encode()).hexdigest()
            self.config += "  - {id: %s, sha256: %s, namespace: %s, admin: %s}\n" % (
                name, digest, namespace, "true" if admin else "false")
        self.start()

    def begin(self):
        die_with_parent()
        if self.enter:
            self.enter()

    def start(self):
        arguments = [PROGRAM]
        if self.config:
            path = os.path.join(self.directory, "config.yaml")
            with open(path, "w") as file:
                file.write(self.config)
            arguments += ["--config", path]
        # A lookup waits long enough for storage that a busy machine turns no hit into a miss.
        arguments += ["--listen", "127.0.0.1:0", "--data-dir", os.path.join(self.directory, "data"), "--storage-deadline", "10s", *self.flags]
        self.log_path = os.path.join(self.directory, "log")
        self.log = open(self.log_path, "a+b")
        # The store's recount holds the locks of all shards, more than the thread sanitizer's deadlock detector can follow.
        environment = {"TSAN_OPTIONS": "detect_deadlocks=0:report_signal_unsafe=0", **clean_environment(), **self.environment}
        # Unbuffered: what follows the first line is the logger's.
        self.process = subprocess.Popen(arguments, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment,
                                        preexec_fn=self.begin, bufsize=0)
        first = self.process.stderr.readline().decode()
        match = re.search(r"listening on 127\.0\.0\.1:(\d+)", first)
        if not match:
            rest = self.process.stderr.read().decode()
            raise RuntimeError("the daemon did not start: %s%s" % (first, rest))
        self.port = int(match.group(1))
        # The rest of the log goes through a process that outlives no test: cat ends with the pipe.
        self.logger = subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=self.log)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=60)
        self.logger.wait(timeout=60)
        self.process.stderr.close()
        self.log.close()
        return status

    def close(self):
        status = self.stop()
        with open(self.log_path, "rb") as file:
            log = file.read().decode(errors="replace")
        if self.own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)
        if status != 0:
            raise RuntimeError("the daemon ended with %d:\n%s" % (status, log[-8000:]))

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def request(self, method, path, body=None, headers=None, key=None):
        headers = dict(headers or {})
        if key is not None:
            headers["Authorization"] = "Bearer " + key
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        connection = self.connect()
        try:
            connection.request(method, path, body, headers)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def post(self, path, body=None, **more):
        return self.request("POST", path, body if body is not None else b"", **more)

    def put(self, operation="qa", text="hello", response="world", key=None, **fields):
        return self.request("PUT", "/cache/entries", {"operation": operation, "text": text, "response": response, **fields},
                            key=key)

    def lookup(self, operation="qa", text="hello", key=None, **fields):
        return self.post("/cache/lookup", {"operation": operation, "text": text, **fields}, key=key)


class LiveTest(unittest.TestCase):
    """One daemon per class."""
    flags = ()
    keys = ()
    config = ""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(cls.flags, cls.keys, config=cls.config)

    @classmethod
    def tearDownClass(cls):
        cls.daemon.close()

    def refused(self, answer, status, param=None):
        """The error shape of the contract."""
        self.assertEqual(answer.status, status, answer)
        self.assertEqual(answer.headers["content-type"], "application/json")
        self.assertEqual(set(answer.json), {"error"})
        self.assertEqual(set(answer.error), {"message", "type", "param", "code"})
        self.assertIsInstance(answer.error["message"], str)
        self.assertTrue(answer.error["message"])
        self.assertEqual(answer.error["param"], param, answer)
        return answer.error["message"]
