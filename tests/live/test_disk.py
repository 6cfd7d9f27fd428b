"""aicached and a disk that fails it: kills, limits on files, full disks. Each is told clearly, and nothing that was answered as lasting is lost."""
import ctypes
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import unittest

from programs import Running, read_head, until

CLONE_NEWNS, CLONE_NEWUSER, MS_REC, MS_PRIVATE = 0x00020000, 0x10000000, 0x4000, 0x40000


def ask(daemon, verb, path, body=b""):
    """The status of an answer, read from a connection that says nothing else: the next line can be the kill."""
    with socket.create_connection(("127.0.0.1", int(daemon.port)), timeout=60) as connection:
        connection.sendall(b"%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (verb.encode(), path.encode(), len(body), body))
        return int(read_head(connection).split()[1])


def kill(daemon):
    daemon.process.kill()
    daemon.process.wait()


def wait_until_stored(daemon, count):
    if not until(lambda: json.loads(daemon.client("stats", "--json").out)["storage"]["keys"] == count):
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
        for part in ("storage", "cache"):  # checks run every two seconds
            self.assertTrue(until(lambda: "reads work, writes fail" in json.loads(daemon.client("health", "--json").out)[part]["details"]), part)
        self.assertEqual(json.loads(daemon.client("health", "--json").out)["storage"]["status"], "degraded")
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
