"""aicached where things are not as they should be: directories that cannot be written, stores that cannot be read, full disks, senders
that are slow, cut off or overtaken by a stop. Each is told clearly, and nothing that was stored is lost."""
import ctypes
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from programs import AICACHED, Running, RunningTest, clean_environment, run

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1
CLONE_NEWNS, CLONE_NEWUSER, MS_REC, MS_PRIVATE = 0x00020000, 0x10000000, 0x4000, 0x40000


def obey_permissions():
    """For root: what follows is refused what the modes of files refuse."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)


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


class Refused(unittest.TestCase):
    """The daemon does not start, says why, and leaves what is there as it was."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="aicache-live-")
        daemon = Running(directory=self.directory)
        self.data = daemon.data
        try:
            self.assertEqual(daemon.client("put", "qa", "a question", "an answer").status, 0)
        finally:
            self.assertEqual(daemon.stop(), 0)

    def tearDown(self):
        for folder, _, _ in os.walk(self.directory):
            os.chmod(folder, 0o700)
        shutil.rmtree(self.directory)

    def contents(self):
        found = {}
        for folder, _, names in os.walk(self.data):
            for name in names:
                if not name.endswith("lock"):
                    with open(os.path.join(folder, name), "rb") as file:
                        found[name] = file.read()
        return found

    def refused(self, says):
        before = self.contents()
        done = subprocess.run([AICACHED, "--data-dir", self.data, "--listen", "127.0.0.1:0"], capture_output=True, timeout=60, preexec_fn=obey_permissions,
                              env=clean_environment())
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr.decode(), says)
        self.assertNotIn(b"listening on", done.stderr)
        self.assertEqual(self.contents(), before)

    def still_there(self):
        daemon = Running(directory=self.directory)
        try:
            self.assertEqual(daemon.client("lookup", "qa", "a question").out, '"an answer"\n')
        finally:
            self.assertEqual(daemon.stop(), 0)

    def test_a_store_of_a_newer_version(self):
        path = os.path.join(self.data, "cache", "cache.state")
        with open(path) as file:
            state = file.read()
        newer = re.sub(r"^(aicache-store) \d+", r"\1 99", state)
        self.assertNotEqual(newer, state)
        with open(path, "w") as file:
            file.write(newer)
        self.refused(r"the store in .*cache was written by a newer version of this program")
        verified = run(os.environ["AICACHE"], "verify", "--data-dir", self.data)
        self.assertEqual(verified.status, 2)
        self.assertIn("newer version", verified.err)
        with open(path, "w") as file:
            file.write(state)
        self.still_there()

    def test_a_directory_that_cannot_be_written(self):
        store = os.path.join(self.data, "cache")
        os.chmod(store, 0o500)
        self.refused(r"cannot write in the storage directory .*cache: Permission denied; make it writable")
        os.chmod(store, 0o700)
        self.still_there()

    def test_a_directory_in_which_nothing_can_be_made(self):
        shutil.rmtree(os.path.join(self.data, "cache"))
        os.chmod(self.data, 0o500)
        self.refused(r"cannot make the storage directory .*cache: Permission denied; make it writable")

    def test_a_secret_that_is_cut_short(self):
        path = os.path.join(self.data, "secret")
        with open(path) as file:
            secret = file.read()
        with open(path, "w") as file:
            file.write(secret[:5])
        self.refused(r"secret' holds 5 bytes: at least 16 are needed")
        with open(path, "w") as file:
            file.write(secret)
        self.still_there()


    def verify_says_so(self, *more):
        verified = run(os.environ["AICACHE"], "verify", "--data-dir", self.data, *more)
        self.assertEqual((verified.status, verified.out), (2, ""))
        self.assertRegex(verified.err, self.ANOTHER)

    ANOTHER = r"the store in .* was written under another secret .*none of its entries could be found; put the old secret file back, or start with an empty data_dir"

    def test_another_secret(self):
        path = os.path.join(self.data, "secret")
        with open(path) as file:
            secret = file.read()
        os.remove(path)
        with open(path, "w") as file:
            os.chmod(path, 0o600)
            file.write("f" * 64 + "\n")
        self.refused(self.ANOTHER)
        self.verify_says_so()
        with open(path, "w") as file:
            file.write(secret)
        self.still_there()

    def test_a_store_without_its_secret(self):
        """As a copy of `cache` alone: no new secret is made for it, neither by the daemon nor by the client."""
        path, aside = os.path.join(self.data, "secret"), os.path.join(self.directory, "aside")
        os.rename(path, aside)
        self.refused(self.ANOTHER)
        self.verify_says_so()
        self.assertFalse(os.path.exists(path))
        whole = run(os.environ["AICACHE"], "verify", "--data-dir", self.data, "--secret-file", aside)
        self.assertEqual((whole.status, whole.out), (0, "everything adds up\n"), whole.err)
        os.rename(aside, path)
        self.still_there()


class Stops(unittest.TestCase):
    def refuses_soon(self, port):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", int(port)), timeout=30).close()
            except OSError:
                return
            time.sleep(0.01)
        self.fail("new connections are still taken")

    def test_a_request_in_flight_is_answered(self):
        """The stop comes in the middle of a body: the rest is read, stored, answered, and found again."""
        daemon = Running()
        directory, daemon.owned = daemon.directory, False
        try:
            head, body = put_request("in flight", {"landed": True})
            busy, idle = (socket.create_connection(("127.0.0.1", int(daemon.port)), timeout=30) for _ in range(2))
            with busy, idle:
                idle.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                self.assertIn(b" 200 ", read_head(idle))
                # 100 says that the daemon is in the middle of this request.
                head = head[:-2] + b"Expect: 100-continue\r\n\r\n"
                busy.sendall(head)
                self.assertTrue(read_head(busy).startswith(b"HTTP/1.1 100 "))
                busy.sendall(body[:20])
                daemon.process.terminate()
                daemon.wait_for("stopping on SIGTERM")
                read_all(idle)
                # Each front thread closes its own listening socket: soon, not in the moment of the line above.
                self.refuses_soon(daemon.port)
                self.assertIsNone(daemon.process.poll())
                busy.sendall(body[20:])
                answer = read_all(busy)
            self.assertTrue(answer.startswith(b"HTTP/1.1 201 "), answer)
            self.assertRegex(answer, rb"(?i)connection: close")
            self.assertEqual(daemon.stop(), 0)
            daemon = Running(directory=directory)
            self.assertEqual(daemon.client("lookup", "qa", "in flight").out, '{"landed": true}\n')
        finally:
            daemon.stop()
            shutil.rmtree(directory)

    def test_what_a_stop_cuts_is_said(self):
        daemon = Running(flags=("--listen", "127.0.0.1:0", "--timeouts-drain", "200ms"))
        try:
            head, _ = put_request("cut", True)
            with socket.create_connection(("127.0.0.1", int(daemon.port)), timeout=30) as busy:
                busy.sendall(head[:-2] + b"Expect: 100-continue\r\n\r\n")
                self.assertTrue(read_head(busy).startswith(b"HTTP/1.1 100 "))
                daemon.process.terminate()
                daemon.wait_for(r"1 connection was cut: not done 200 ms after the stop began \(timeouts\.drain\)")
                self.assertEqual(daemon.stop(), 0)
        finally:
            daemon.stop()

    def test_a_stop_that_is_asked_for_again_and_again_is_still_a_stop(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            for _ in range(5):
                daemon = Running()
                daemon.process.terminate()
                end = time.monotonic() + 60
                while daemon.process.poll() is None:
                    self.assertLess(time.monotonic(), end, number)
                    daemon.process.send_signal(number)
                    time.sleep(0.001)  # a flood would leave the daemon time for nothing else
                self.assertEqual(daemon.stop(), 0, number)


class Senders(RunningTest):
    config = "limits: {header_bytes: 4K}\ntimeouts: {header: 2s, body: 2s, idle: 10s}\n"

    def connect(self):
        return socket.create_connection(("127.0.0.1", int(self.daemon.port)), timeout=30)

    def nothing_was_stored(self):
        self.assertEqual(json.loads(self.daemon.client("list", "--json").out)["count"], 0)

    def test_a_body_cut_short(self):
        with self.connect() as connection:
            head, body = put_request("cut", "x" * 100)
            connection.sendall(head + body[:-1])
            connection.shutdown(socket.SHUT_WR)
            answer = read_all(connection)
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer)
        self.assertIn(b"before the end of the body", answer)
        self.nothing_was_stored()

    def test_a_slow_head(self):
        with self.connect() as connection:
            connection.sendall(b"PUT /cache/entries HTTP/1.1\r\nHo")
            answer = read_all(connection)
        self.assertTrue(answer.startswith(b"HTTP/1.1 408 "), answer)

    def test_a_slow_body(self):
        with self.connect() as connection:
            head, body = put_request("slow", "x" * 100)
            connection.sendall(head + body[:20])
            answer = read_all(connection)
        self.assertTrue(answer.startswith(b"HTTP/1.1 408 "), answer)
        self.nothing_was_stored()

    def test_a_repeated_member_is_named_by_its_path(self):
        body = b'{"operation":"qa","text":"t","options":{"limits":[{},{"a":1,"b":2,"a":3}]},"response":1}'
        with self.connect() as connection:
            connection.sendall(b"PUT /cache/entries HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                               b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            answer = read_all(connection)
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer)
        error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
        self.assertEqual(error["param"], "options.limits[1].a")
        self.assertIn("repeats a name of its object", error["message"])
        self.nothing_was_stored()

    def test_a_flood_of_header_fields(self):
        for fields in (b"".join(b"x-%d: y\r\n" % number for number in range(100000)), b"x: " + b"y" * 1000000 + b"\r\n"):
            with self.connect() as connection:
                try:
                    connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + fields)
                except OSError:
                    pass  # it was refused before all of it was sent
                answer = connection.recv(100)
            self.assertTrue(answer.startswith(b"HTTP/1.1 431 "), answer)


class ManyBodies(unittest.TestCase):
    def test_bodies_together_are_limited(self):
        """Whoever comes while others hold all the room gets 503 and may come again; what was begun is not disturbed."""
        daemon = Running("limits: {body_bytes: 1M, bodies_bytes: 1M}\n")
        try:
            head, body = put_request("large", "x" * 700000, "Connection: close\r\n")
            connections = [socket.create_connection(("127.0.0.1", int(daemon.port)), timeout=60) for _ in range(4)]
            first, second, third, fourth = connections
            first.sendall(head + body[:400000])
            for _ in range(3000):  # until it is being read
                second.close()
                second = socket.create_connection(("127.0.0.1", int(daemon.port)), timeout=60)
                second.sendall(head[:-2] + b"Expect: 100-continue\r\n\r\n")
                answer = read_head(second)
                if not answer.startswith(b"HTTP/1.1 100 "):
                    break
                time.sleep(0.01)
            self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer)
            self.assertRegex(answer, rb"\r\nRetry-After: 1\r\n")
            first.sendall(body[400000:])
            self.assertTrue(read_all(first).startswith(b"HTTP/1.1 201 "))
            # Who goes away in the middle gives its room back.
            third.sendall(head + body[:400000])
            third.close()
            for _ in range(3000):
                fourth.close()
                fourth = socket.create_connection(("127.0.0.1", int(daemon.port)), timeout=60)
                fourth.sendall(head + body)
                answer = read_all(fourth)
                if not answer.startswith(b"HTTP/1.1 503 "):
                    break
                time.sleep(0.01)
            self.assertTrue(answer.startswith(b"HTTP/1.1 201 "), answer)
            for connection in connections + [second, fourth]:
                connection.close()
            with socket.create_connection(("127.0.0.1", int(daemon.port)), timeout=60) as connection:
                connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                self.assertRegex(read_all(connection), rb"\naicache_http_bodies_refused_total [1-9]")
        finally:
            self.assertEqual(daemon.stop(), 0)


    def test_what_is_made_of_bodies_is_limited_with_them(self):
        """The tokens of a body take ten times its size, and a line of an import is kept until its end: neither goes past the limit."""
        limit = 64 << 20
        daemon = Running("limits: {body_bytes: 4M, bodies_bytes: 64M}\nmemory: {max_bytes: 8M}\n")
        try:
            head, body = put_request("tokens", [1] * 1300000, "Connection: close\r\n")
            before = peak(daemon)
            statuses = []

            def put():
                with socket.create_connection(("127.0.0.1", int(daemon.port)), timeout=60) as connection:
                    connection.sendall(head + body)
                    statuses.append(read_all(connection)[9:12])
            for count in (1, 12):
                threads = [threading.Thread(target=put) for _ in range(count)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                self.assertEqual(set(statuses) - {b"503"}, {b"201"}, statuses)  # some may have to come again
            lines = [socket.create_connection(("127.0.0.1", int(daemon.port)), timeout=60) for _ in range(6)]
            for connection in lines:
                connection.sendall(b"POST /cache/import HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n{\r\n")
            refused = 0
            for connection in lines:  # each of them 20 MB of a line
                try:
                    for _ in range(20):
                        connection.sendall(b"100000\r\n" + b"x" * (1 << 20) + b"\r\n")
                except OSError:
                    pass
                connection.setblocking(False)
            end = time.monotonic() + 60
            while refused == 0 and time.monotonic() < end:
                for connection in lines:
                    try:
                        refused += connection.recv(4096).startswith(b"HTTP/1.1 503 ")
                    except OSError:
                        pass
                time.sleep(0.05)
            self.assertGreater(refused, 0)
            # The rest: the write queue, the tier, compression. A sanitizer's allocator holds back what was freed.
            if json.loads(daemon.client("memory", "--json").out)["allocator"]["name"] == "jemalloc":
                self.assertLess(peak(daemon) - before, 4 * limit)
            for connection in lines:
                connection.close()
            while True:  # all of it is given back
                statuses.clear()
                put()
                if statuses == [b"201"]:
                    break
                self.assertEqual(statuses, [b"503"])
                self.assertLess(time.monotonic(), end)
        finally:
            self.assertEqual(daemon.stop(), 0)


def peak(daemon):
    """The most memory that the daemon ever had, in bytes."""
    with open("/proc/%d/status" % daemon.process.pid) as file:
        return int(re.search(r"VmHWM:\s*(\d+) kB", file.read()).group(1)) << 10


def ask(daemon, verb, path, body=b""):
    """The status of an answer, read from a connection that says nothing else: the next line can be the kill."""
    with socket.create_connection(("127.0.0.1", int(daemon.port)), timeout=60) as connection:
        connection.sendall(b"%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (verb.encode(), path.encode(), len(body), body))
        return int(read_head(connection).split()[1])


def kill(daemon):
    daemon.process.kill()
    daemon.process.wait()


def wait_until_stored(daemon, count):
    for _ in range(3000):
        if json.loads(daemon.client("stats", "--json").out)["storage"]["keys"] == count:
            return
        time.sleep(0.01)
    raise AssertionError("not everything got to storage")


class Killed(unittest.TestCase):
    def test_what_was_removed_stays_removed(self):
        """SIGKILL with the first byte of the answer in hand, again and again."""
        with tempfile.TemporaryDirectory(prefix="aicache-live-") as directory:
            daemon = Running(directory=directory)
            self.assertEqual(daemon.client("put", "chat", "kept", "1").status, 0)
            for number in range(10):
                key = daemon.client("put", "qa", "one %d" % number, "1").out.strip()
                self.assertEqual(daemon.client("put", "qa", "more %d" % number, "1").status, 0)
                wait_until_stored(daemon, 3)
                if number % 2 == 0:
                    self.assertEqual(ask(daemon, "DELETE", "/cache/entries/" + key), 204)
                else:
                    self.assertEqual(ask(daemon, "POST", "/cache/delete", json.dumps({"keys": [key]}).encode()), 200)
                kill(daemon)
                daemon = Running(directory=directory)
                self.assertEqual(daemon.client("lookup", "qa", "one %d" % number).status, 1)
                self.assertEqual(daemon.client("lookup", "qa", "more %d" % number).status, 0)
                self.assertEqual(ask(daemon, "POST", "/cache/invalidate", b'{"operation":"qa"}'), 200)
                kill(daemon)
                daemon = Running(directory=directory)
                self.assertEqual(daemon.client("lookup", "qa", "more %d" % number).status, 1)
            self.assertEqual(daemon.client("lookup", "chat", "kept").out, "1\n")
            self.assertEqual(daemon.stop(), 0)


# In a process of its own: a disk of one megabyte that nobody else sees, and the daemon's directory on it.
def become_alone_on_a_small_disk(directory):
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(CLONE_NEWNS | (0 if uid == 0 else CLONE_NEWUSER)) != 0:
        return False
    if uid != 0:
        for name, text in (("setgroups", "deny"), ("uid_map", "0 %d 1" % uid), ("gid_map", "0 %d 1" % gid)):
            with open("/proc/self/" + name, "w") as file:
                file.write(text)
    libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    return libc.mount(b"none", directory.encode(), b"tmpfs", 0, b"size=1m") == 0


class LimitedFiles(unittest.TestCase):
    def test_a_limit_on_files_is_told_as_one(self):
        daemon = Running()
        soft, hard = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (1 << 20, hard))
        for number in range(40):
            self.assertEqual(daemon.client("put", "qa", "t%d" % number, os.urandom(60000).hex()).status, 0)
        daemon.wait_for("storage: writes fail.*: File too large")
        warnings = [one for one in json.loads(daemon.client("warnings", "--json").out) if one["code"] == "storage_writes_fail"]
        self.assertIn("File too large", warnings[0]["message"])
        first, second = warnings[0]["recommendations"][:2]
        self.assertIn("raise the process's limit", first["reason"])
        self.assertEqual(second["setting"], "storage.max_bytes")
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (soft, hard))
        daemon.wait_for("storage: writes are taken again", seconds=60)
        wait_until_stored(daemon, 40)
        self.assertEqual(daemon.stop(), 0)


class FullDisk(unittest.TestCase):
    def test_full_disk(self):
        self.on_a_small_disk("fill")

    def test_removals_on_a_full_disk_outlive_a_kill(self):
        self.on_a_small_disk("remove")

    def test_a_write_cut_short(self):
        self.on_a_small_disk("cut")

    def test_a_stop_on_a_full_disk_says_what_is_lost(self):
        self.on_a_small_disk("lose")

    def on_a_small_disk(self, what):
        with tempfile.TemporaryDirectory(prefix="aicache-live-") as directory:
            done = subprocess.run([sys.executable, "-B", os.path.abspath(__file__), what, directory], capture_output=True, timeout=120)
        if done.returncode == 77:
            self.skipTest("this machine lets nobody make a small disk")
        self.assertEqual(done.returncode, 0, done.stderr.decode())

    def fill(self, directory):
        """Puts are taken and answered from memory; the log says once what is wrong; when there is room again, everything is stored."""
        data = os.path.join(directory, "data")
        os.mkdir(data)
        ballast = os.path.join(directory, "ballast")
        with open(ballast, "wb") as file:
            file.write(bytes(512 << 10))
        daemon = Running(directory=directory)
        answers = {"t%d" % number: os.urandom(15000).hex() for number in range(40)}
        for text, answer in answers.items():
            self.assertEqual(daemon.client("put", "qa", text, answer).status, 0)
        daemon.wait_for("storage: writes fail.*: No space left on device")
        for text, answer in answers.items():
            self.assertEqual(daemon.client("lookup", "qa", text).out, json.dumps(answer) + "\n")
        status = json.loads(daemon.client("stats", "--json").out)["storage"]
        self.assertEqual((status["status"], status["dropped_writes"]), ("degraded", 0))
        self.assertGreater(status["errors"], 0)
        self.assertEqual(sum("storage: writes fail" in line for line in daemon.lines), 1)
        for _ in range(300):  # checks run every two seconds
            whole = json.loads(daemon.client("health", "--json").out)
            health = whole["storage"]
            if health["status"] == "degraded" and "writes fail" in whole["cache"]["details"]:
                break
            time.sleep(0.1)
        self.assertIn("reads work, writes fail", health["details"])
        self.assertIn("reads work, writes fail", whole["cache"]["details"])
        warned = daemon.client("warnings", "--json")
        self.assertEqual(warned.status, 1)
        warnings = [one for one in json.loads(warned.out) if one["code"] == "storage_writes_fail"]
        self.assertEqual([one["severity"] for one in warnings], ["critical"])
        self.assertIn("No space left on device", warnings[0]["message"])
        first, second = warnings[0]["recommendations"][:2]
        self.assertEqual((first["setting"], first["value"]), ("data_dir", data))
        self.assertRegex(first["reason"], r"Free space .*: \d+ of its 1048576 bytes are free.*a restart loses")
        self.assertEqual(second["setting"], "storage.max_bytes")
        self.assertRegex(second["reason"], "after a restart, which loses")
        self.assertIn("storage.max_bytes", daemon.client("warnings").out)
        self.assertIn("data_dir %s: " % data, daemon.client("warnings").out)
        os.unlink(ballast)
        daemon.wait_for("storage: writes are taken again", seconds=60)
        self.assertNotIn("storage_writes_fail", daemon.client("warnings", "--json").out)
        self.assertEqual(daemon.stop(), 0)
        daemon = Running(directory=directory)
        for text, answer in answers.items():
            self.assertEqual(daemon.client("lookup", "qa", text).out, json.dumps(answer) + "\n")
        self.assertEqual(daemon.client("verify").status, 0)
        self.assertEqual(daemon.stop(), 0)

    def remove(self, directory):
        """Storage takes no writes, a delete and an invalidation are answered, the daemon is killed: nothing of that is back."""
        ballast = os.path.join(directory, "ballast")
        with open(ballast, "wb") as file:
            file.write(bytes(512 << 10))
        daemon = Running(directory=directory)
        keys = {text: daemon.client("put", "qa", text, "1").out.strip() for text in ("one", "two")}
        for operation, text in (("chat", "kept"), ("summarize", "a"), ("summarize", "b")):
            self.assertEqual(daemon.client("put", operation, text, "1").status, 0)
        wait_until_stored(daemon, 5)
        for number in range(40):
            self.assertEqual(daemon.client("put", "chat", "filler %d" % number, os.urandom(15000).hex()).status, 0)
        daemon.wait_for("storage: writes fail.*: No space left on device")
        self.assertEqual(ask(daemon, "DELETE", "/cache/entries/" + keys["one"]), 204)
        self.assertEqual(ask(daemon, "POST", "/cache/delete", json.dumps({"keys": [keys["two"]]}).encode()), 200)
        self.assertEqual(ask(daemon, "POST", "/cache/invalidate", b'{"operation":"summarize"}'), 503)
        kill(daemon)
        os.unlink(ballast)
        for _ in range(2):
            daemon = Running(directory=directory)
            for operation, text in (("qa", "one"), ("qa", "two"), ("summarize", "a"), ("summarize", "b")):
                self.assertEqual(daemon.client("lookup", operation, text).status, 1, text)
            self.assertEqual(daemon.client("lookup", "chat", "kept").out, "1\n")
            kill(daemon)
        daemon = Running(directory=directory)
        self.assertEqual(daemon.client("verify").status, 0)
        self.assertEqual(daemon.stop(), 0)

    def cut(self, directory):
        """The disk has room for a part of a write: LMDB says EIO, and the reason is the full disk all the same."""
        with open(os.path.join(directory, "ballast"), "wb") as file:
            file.write(bytes(512 << 10))
        daemon = Running(directory=directory, AICACHE_STORAGE_MAX_BYTES="4M")
        body = json.dumps({"operation": "chat", "text": "long", "response": os.urandom(600000).hex()}).encode()
        self.assertEqual(ask(daemon, "PUT", "/cache/entries", body), 201)
        daemon.wait_for("storage: writes fail.*: No space left on device")
        warning = next(one for one in json.loads(daemon.client("warnings", "--json").out) if one["code"] == "storage_writes_fail")
        self.assertNotIn("storage.max_bytes", [one["setting"] for one in warning["recommendations"]])  # it is as small as it can be
        daemon.stop()

    def lose(self, directory):
        """A stop while the disk is full says how many writes it loses; what they replaced is not back, and who asked for storage was told."""
        ballast = os.path.join(directory, "ballast")
        with open(ballast, "wb") as file:
            file.write(bytes(512 << 10))
        daemon = Running(directory=directory)
        for number in range(20):
            self.assertEqual(daemon.client("put", "qa", "old %d" % number, "1", "--durability", "storage").status, 0)
        for number in range(40):
            self.assertEqual(daemon.client("put", "chat", "filler %d" % number, os.urandom(15000).hex()).status, 0)
        daemon.wait_for("storage: writes fail.*: No space left on device")
        for number in range(10):
            self.assertEqual(daemon.client("put", "qa", "old %d" % number, "2").status, 0)
        asked = daemon.client("put", "qa", "asked", "1", "--durability", "disk")
        self.assertNotEqual(asked.status, 0)
        self.assertIn("not as durably as asked", asked.err)
        self.assertEqual(daemon.client("lookup", "qa", "asked").out, "1\n")
        waiting = json.loads(daemon.client("stats", "--json").out)["storage"]["queue_entries"]
        self.assertGreater(waiting, 0)
        daemon.stop()
        lost = int(daemon.wait_for(r"storage: takes no writes at the end: (\d+) that were waiting for it are lost").group(1))
        self.assertTrue(0 < lost <= waiting, (lost, waiting))
        os.unlink(ballast)
        daemon = Running(directory=directory)
        for number in range(20):
            self.assertEqual(daemon.client("lookup", "qa", "old %d" % number).out, "" if number < 10 else "1\n", number)
        self.assertEqual(daemon.stop(), 0)


if __name__ == "__main__":
    if sys.argv[1:2] in (["fill"], ["remove"], ["cut"], ["lose"]):
        if not become_alone_on_a_small_disk(sys.argv[2]):
            sys.exit(77)
        getattr(FullDisk(), sys.argv[1])(sys.argv[2])
    else:
        unittest.main()
