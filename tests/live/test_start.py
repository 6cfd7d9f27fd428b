"""aicached as a program: its start and what prevents it, signals, reloads, systemd."""
import hashlib
import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from programs import AICACHE, AICACHED, Running, clean_environment, die_with_parent, run, until


def get(port, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=30)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class Start(unittest.TestCase):
    def refused(self, status, says, *flags):
        with tempfile.TemporaryDirectory(prefix="aicache-live-") as directory:
            done = run(AICACHED, "--data-dir", os.path.join(directory, "data"), "--listen", "127.0.0.1:0", *flags)
            self.assertEqual(done.status, status, done.err)
            self.assertRegex(done.err, says)
            self.assertNotIn("listening on", done.err)

    def test_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            with tempfile.TemporaryDirectory(prefix="aicache-live-") as directory:
                done = run(AICACHED, "--data-dir", directory, "--listen", "127.0.0.1:%d" % port)
        self.assertEqual(done.status, 1)
        self.assertRegex(done.err, r"127\.0\.0\.1:%d" % port)
        self.assertRegex(done.err, r"(?i)in use|another process")

    def test_data_dir_cannot_be_made(self):
        self.refused(1, r"(?i)/dev/null/x.*(not a directory|cannot)", "--data-dir", "/dev/null/x")

    def test_second_daemon_on_the_same_store(self):
        first = Running()
        try:
            done = run(AICACHED, "--data-dir", first.data, "--listen", "127.0.0.1:0")
            self.assertEqual(done.status, 1)
            self.assertIn(str(first.process.pid), done.err)
            self.assertEqual(get(first.port, "/health/live")[0], 200)
        finally:
            first.stop()

    def test_certificate_missing(self):
        self.refused(1, r"/nonexistent", "--tls-certificate", "/nonexistent", "--tls-key", "/nonexistent")

    def test_nobody_listens_to_strangers_without_keys(self):
        self.refused(2, "api_keys", "--listen", "0.0.0.0:0")

    def test_first_line(self):
        daemon = Running("log: {level: debug, format: json}\nlisten: [\"127.0.0.1:0\"]\n", flags=(), AICACHE_NO_SUCH_OPTION="1")
        try:
            self.assertRegex(daemon.lines[0], r"^aicached \d+\.\d+\.\d+ listening on 127\.0\.0\.1:\d+$")
            daemon.wait_for("AICACHE_NO_SUCH_OPTION")
            for line in daemon.lines[1:]:
                self.assertLessEqual({"time", "level", "part", "message"}, set(json.loads(line)))
        finally:
            self.assertEqual(daemon.stop(), 0)

    def test_files_are_private(self):
        daemon = Running()
        try:
            for folder, _, names in os.walk(daemon.data):
                self.assertEqual(os.stat(folder).st_mode & 0o077, 0, folder)
                for name in names:
                    self.assertEqual(os.stat(os.path.join(folder, name)).st_mode & 0o077, 0, name)
        finally:
            daemon.stop()


class Signals(unittest.TestCase):
    def test_graceful_ends(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            daemon = Running()
            self.assertEqual(daemon.client("put", "qa", "a", "b").status, 0)
            directory = daemon.directory
            daemon.owned = False
            self.assertEqual(daemon.stop(number), 0)
            again = Running(directory=directory)
            again.owned = True
            self.assertEqual(again.client("lookup", "qa", "a").out, '"b"\n')
            self.assertEqual(again.stop(), 0)

    def test_memory_that_cannot_fit_is_told_at_start(self):
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        for size in (machine - (1 << 20), machine):  # what is beside the tier counts, too
            daemon = Running("memory: {max_bytes: %d}\n" % size)
            daemon.wait_for(r"warning settings: .*memory\.max_bytes: a full tier and one large request take \d+M of memory, .*; \d+M would fit")
            self.assertEqual(daemon.stop(), 0)

    def test_reload(self):
        digest = hashlib.sha256(b"secret-key-of-the-test").hexdigest()
        daemon = Running("log.level: info\n")
        try:
            daemon.reload("log.level: debug\nmemory.max_bytes: 64M\nttl: {operations: {qa: 7s}}\nthreads: 9\nlimits.body_bytes: 2K\n"
                          "api_keys: [{id: t, sha256: %s, admin: true}]\n" % digest, r"settings: reloaded")
            text = "\n".join(line for line in daemon.lines if line)
            for name in ("log.level", "memory.max_bytes", "ttl.operations", "limits.body_bytes", "api_keys"):
                self.assertIn("changed: " + name, text)
            self.assertIn("cannot change while running, restart for that: threads: stays 0", text)
            self.assertEqual(get(daemon.port, "/cache/status")[0], 401)
            status, body = get(daemon.port, "/cache/status", **{"X-API-Key": "secret-key-of-the-test"})
            self.assertEqual(status, 200)
            self.assertEqual(json.loads(body)["memory"]["max_bytes"], 64 << 20)
            shown = json.loads(daemon.client("memory", "--json", AICACHE_API_KEY="secret-key-of-the-test").out)
            self.assertAlmostEqual(shown.get("thresholds", shown)["warning_threshold_mb"], 64, 1)
            explained = daemon.client("explain", "qa", "x", "--json", AICACHE_API_KEY="secret-key-of-the-test")
            self.assertEqual(json.loads(explained.out)["default_ttl_seconds"], 7)
            large = daemon.client("put", "qa", "x", "y" * 4000, AICACHE_API_KEY="secret-key-of-the-test")
            self.assertEqual(large.status, 2)
            self.assertRegex(large.err, r"413: The body has \d+ bytes; at most 2048 are accepted")
        finally:
            self.assertEqual(daemon.stop(), 0)

    def test_stats_of_a_key_without_admin(self):
        digest = hashlib.sha256(b"secret-key-of-the-test").hexdigest()
        daemon = Running("api_keys: [{id: t, sha256: %s, namespace: mine, admin: false}]\n" % digest)
        try:
            self.assertEqual(daemon.client("put", "qa", "x", "y", AICACHE_API_KEY="secret-key-of-the-test").status, 0)
            self.assertEqual(daemon.client("lookup", "qa", "x", AICACHE_API_KEY="secret-key-of-the-test").status, 0)
            shown = daemon.client("stats", AICACHE_API_KEY="secret-key-of-the-test")
            self.assertEqual(shown.status, 0, shown.err)
            self.assertRegex(shown.out, r"(?s)^namespace mine, since .*\n  hits +1\n  misses +0\n  hit rate +100\.0%\n  entries +1\n  bytes +\d.*\n  storage +lmdb, up\n$")
        finally:
            self.assertEqual(daemon.stop(), 0)

    def test_a_reload_that_opens_everything(self):
        """Without keys on this machine alone: a warning; where others reach it: refused, and the reason is told as it is."""
        digest = hashlib.sha256(b"secret-key-of-the-test").hexdigest()
        keys = "api_keys: [{id: t, sha256: %s, admin: true}]\n" % digest
        daemon = Running(keys)
        try:
            daemon.reload("api_keys: []\n", r"warning settings: api_keys: none is left: every request is allowed everything now")
            daemon.wait_for("changed: api_keys")
            self.assertEqual(get(daemon.port, "/cache/status")[0], 200)
            since = len(daemon.lines)
            daemon.reload("log.level: info\n", "settings: reloaded")
            self.assertNotIn("every request is allowed", "\n".join(line for line in daemon.lines[since:] if line))
        finally:
            self.assertEqual(daemon.stop(), 0)
        daemon = Running(keys + "listen: ['0.0.0.0:0', '127.0.0.1:0']\n", flags=())
        try:
            found = daemon.wait_for(r"listening on 127\.0\.0\.1:(\d+)")
            since = len(daemon.lines)
            daemon.reload("api_keys: []\nlisten: 127.0.0.1:0\n", "nothing was changed")
            said = "\n".join(line for line in daemon.lines[since:] if line)
            self.assertRegex(said, r"error settings: \S+aicached\.yaml:1: api_keys: none is left, but listen cannot change while running, and '0\.0\.0\.0:0', where the daemon listens, can be reached from other machines; "
                                   r"accepted: a key until a restart")
            self.assertNotIn("listen: '0.0.0.0:0'", said)
            self.assertEqual(get(found.group(1), "/cache/status")[0], 401)
        finally:
            self.assertEqual(daemon.stop(), 0)

    def test_what_is_absent_never_opens(self):
        """A file that was cut short, emptied, swapped for a pipe or taken away at SIGHUP leaves the keys in force."""
        digest = hashlib.sha256(b"secret-key-of-the-test").hexdigest()
        keys = "api_keys: [{id: t, sha256: %s, admin: true}]\n" % digest
        daemon = Running(keys)
        def refused():
            self.assertEqual(get(daemon.port, "/cache/status")[0], 401)
        try:
            for text in ("", "# nothing\n", "log.level: debug\n"):
                daemon.reload(text, "nothing was changed")
                daemon.wait_for(r"api_keys: nothing is said of them, and 1 is in force; `api_keys: \[\]` takes them away")
                refused()
            os.unlink(daemon.path)
            for make, says in ((lambda: os.mkfifo(daemon.path), "is no regular file"), (lambda: os.symlink("/dev/zero", daemon.path), "is no regular file"),
                               (lambda: None, "cannot be read: No such file"), (lambda: os.mkdir(daemon.path), "is no regular file")):
                make()
                since = len(daemon.lines)
                daemon.process.send_signal(signal.SIGHUP)
                daemon.wait_for(says, since)
                daemon.wait_for("nothing was changed", since)
                refused()
                if os.path.isdir(daemon.path):
                    os.rmdir(daemon.path)
                elif os.path.lexists(daemon.path):
                    os.unlink(daemon.path)
            daemon.reload("api_keys: []\n", "reloaded")
            self.assertEqual(get(daemon.port, "/cache/status")[0], 200)
        finally:
            self.assertEqual(daemon.stop(), 0)

    def test_a_pipe_serves_a_start(self):
        reading, writing = os.pipe()
        with tempfile.TemporaryDirectory() as directory:
            os.write(writing, b"log.level: info\n")
            os.close(writing)
            daemon = subprocess.Popen([AICACHED, "--config", "/dev/fd/%d" % reading, "--listen", "127.0.0.1:0", "--data-dir", directory], stderr=subprocess.PIPE,
                                      pass_fds=(reading,), env=clean_environment(), preexec_fn=die_with_parent, text=True)
            self.addCleanup(daemon.stderr.close)
            os.close(reading)
            self.assertIn("listening on", daemon.stderr.readline())
            daemon.send_signal(signal.SIGHUP)
            while "is no regular file" not in daemon.stderr.readline():
                pass
            daemon.send_signal(signal.SIGTERM)
            self.assertEqual(daemon.wait(120), 0)

    def test_an_early_hangup_ends_nothing(self):
        """While the program reads its file: long before there is a loop to take signals."""
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "config")
            os.mkfifo(path)
            daemon = subprocess.Popen([AICACHED, "--config", path, "--listen", "127.0.0.1:0", "--data-dir", directory], stderr=subprocess.PIPE, env=clean_environment(),
                                      preexec_fn=die_with_parent, text=True)
            with open(path, "w") as writer:  # returns once the daemon has opened it
                daemon.send_signal(signal.SIGHUP)
                writer.write("log.level: info\n")
            self.assertIn("listening on", daemon.stderr.readline())
            daemon.send_signal(signal.SIGTERM)
            self.assertEqual(daemon.wait(120), 0)
            daemon.stderr.close()

    def test_closed_standard_streams(self):
        """What is opened first takes none of their places: the log does not go into a socket or the store."""
        with tempfile.TemporaryDirectory() as directory:
            data, socket_path = os.path.join(directory, "data"), os.path.join(directory, "s")
            daemon = subprocess.Popen(["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', AICACHED, "--listen", "unix:" + socket_path, "--data-dir", data, "--log-level", "debug"],
                                      env=clean_environment(), preexec_fn=die_with_parent)
            self.addCleanup(daemon.kill)
            self.assertTrue(until(lambda: os.path.exists(socket_path) or daemon.poll() is not None))
            self.assertIsNone(daemon.poll())
            self.assertEqual(run(AICACHE, "put", "qa", "a", "b", "--unix", socket_path).status, 0)
            self.assertEqual(run(AICACHE, "lookup", "qa", "a", "--unix", socket_path).out, '"b"\n')
            self.assertEqual([os.readlink("/proc/%d/fd/%d" % (daemon.pid, number)) for number in range(3)], ["/dev/null"] * 3)
            daemon.send_signal(signal.SIGTERM)
            self.assertEqual(daemon.wait(120), 0)
            self.assertEqual(run(AICACHE, "verify", "--data-dir", data).status, 0)

    def directory(self):
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        return made.name

    def limited(self, kind, value, directory, *flags):
        """A daemon under a limit: (process, its first line)."""
        def limit():
            die_with_parent()
            resource.setrlimit(kind, (value, value))
        daemon = subprocess.Popen([AICACHED, "--listen", "127.0.0.1:0", "--data-dir", directory, *flags], stderr=subprocess.PIPE, env=clean_environment(), preexec_fn=limit, text=True)
        self.addCleanup(daemon.stderr.close)
        self.addCleanup(daemon.kill)
        return daemon, daemon.stderr.readline()

    @unittest.skipIf(any(name in AICACHED for name in ("/asan/", "/tsan/")), "a sanitizer needs all addresses")
    def test_a_start_says_what_it_lacks_or_serves(self):
        """With address space for some of its threads: it says so, or has all that later requests need."""
        for size in ("256M", "12G", "61G"):
            needed = 0
            for more in (0, -1, 0, 1000):
                megabytes = needed + more or 200
                daemon, first = self.limited(resource.RLIMIT_AS, megabytes << 20, self.directory(), "--memory-max-bytes", size)
                if more < 0 or needed == 0:
                    found = re.search(r"cannot start: the limit on address space \(ulimit -v, %d MiB\) is below the (\d+) MiB that memory.max_bytes" % megabytes, first)
                    self.assertIsNotNone(found, first)
                    needed = int(found.group(1))
                    self.assertEqual(daemon.wait(120), 1)
                    continue
                found = re.search(r"listening on 127\.0\.0\.1:(\d+)", first)
                self.assertIsNotNone(found, first)
                for number in range(20):
                    self.assertEqual(run(AICACHE, "put", "qa", "text %d" % number, "x" * 1000, "--url", "http://127.0.0.1:" + found.group(1)).status, 0)
                    self.assertEqual(get(found.group(1), "/cache/entries")[0], 200)
                daemon.send_signal(signal.SIGTERM)
                self.assertEqual(daemon.wait(120), 0)

    def test_a_limit_on_files_ends_nothing(self):
        """It is an error of the write that met it, and no SIGXFSZ."""
        with tempfile.TemporaryDirectory() as directory:
            daemon, first = self.limited(resource.RLIMIT_FSIZE, 20000, directory)
            found = re.search(r"listening on 127\.0\.0\.1:(\d+)", first)
            self.assertIsNotNone(found, first)
            url = "http://127.0.0.1:" + found.group(1)
            self.assertEqual(run(AICACHE, "put", "qa", "a", "b", "--url", url).status, 0)
            self.assertEqual(run(AICACHE, "lookup", "qa", "a", "--url", url).out, '"b"\n')
            daemon.send_signal(signal.SIGTERM)
            said = daemon.stderr.read()
            self.assertEqual(daemon.wait(120), 0)
            for line in ("fingerprint of its secret cannot be written", "storage: writes fail.*", "the last writes could not be synced to disk"):
                self.assertRegex(said, line + ": File too large\n")

    def test_a_file_that_holds_nothing_has_its_reason(self):
        """The mark of a store is cut short, and that write says no reason of its own."""
        with tempfile.TemporaryDirectory() as directory:
            with open(directory + "/secret", "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as secret:
                secret.write("0123456789abcdef")
            daemon, first = self.limited(resource.RLIMIT_FSIZE, 20, directory)
            self.assertRegex(first, r"cannot start: .*: File too large")
            self.assertEqual(daemon.wait(120), 1)

    def test_half_a_head_delays_no_stop(self):
        daemon = Running("timeouts: {drain: 100s, header: 1000s, idle: 1000s}\n")
        half = [socket.create_connection(("127.0.0.1", int(daemon.port))) for _ in range(5)]
        try:
            for number, connection in enumerate(half):
                connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n"[:3 + 8 * number])
            self.assertEqual(get(daemon.port, "/health/live")[0], 200)  # what was sent before has been read
            began = time.monotonic()
            self.assertEqual(daemon.stop(), 0)
            self.assertLess(time.monotonic() - began, 60)
        finally:
            for connection in half:
                connection.close()

    def test_a_bad_reload_changes_nothing(self):
        daemon = Running("log.level: info\nmemory.max_bytes: 32M\n")
        try:
            daemon.reload("log.level: debug\nmemory.max_bytes: many\n", r"nothing was changed")
            daemon.wait_for(r"aicached\.yaml:2: memory\.max_bytes: 'many'")
            self.assertEqual("\n".join(daemon.lines).count("nothing was changed"), 1)
            self.assertEqual(json.loads(get(daemon.port, "/cache/status")[1])["memory"]["max_bytes"], 32 << 20)
        finally:
            self.assertEqual(daemon.stop(), 0)

    def test_memory_beyond_the_reserve_stays(self):
        daemon = Running("memory.max_bytes: 32M\n")
        try:
            daemon.reload("memory.max_bytes: 200G\n", r"it stays 33554432, restart to go beyond")
            self.assertEqual(json.loads(get(daemon.port, "/cache/status")[1])["memory"]["max_bytes"], 32 << 20)
        finally:
            self.assertEqual(daemon.stop(), 0)

    def test_what_stands_beside_a_refused_size(self):
        """What can change does, whatever was refused."""
        daemon = Running("memory.max_bytes: 32M\n")
        try:
            since = len(daemon.lines)
            daemon.reload("memory: {max_bytes: 200G, max_entries: 5, warning_bytes: 700G}\n", r"settings: reloaded")
            said = "\n".join(line for line in daemon.lines[since:] if line)
            self.assertIn("it stays 33554432", said)
            self.assertEqual(re.findall(r"changed: (\S+)", said), ["memory.max_entries", "memory.warning_bytes"])
            memory = json.loads(get(daemon.port, "/cache/status")[1])["memory"]
            self.assertEqual((memory["max_bytes"], memory["memory_cache_size_limit"]), (32 << 20, 5))
            thresholds = json.loads(get(daemon.port, "/monitoring/memory")[1])["thresholds"]
            self.assertEqual(thresholds["warning_threshold_mb"], 700 << 10)
            self.assertGreater(thresholds["critical_threshold_mb"], 700 << 10)
            daemon.reload("memory: {max_bytes: 200G, max_entries: 6, warning_bytes: 3M, critical_bytes: 4M}\n", r"settings: reloaded")
            thresholds = json.loads(get(daemon.port, "/monitoring/memory")[1])["thresholds"]
            self.assertEqual((thresholds["warning_threshold_mb"], thresholds["critical_threshold_mb"]), (3, 4))
        finally:
            self.assertEqual(daemon.stop(), 0)

    def test_what_fails_of_a_reload_is_not_in_force(self):
        """It is not told as changed, is tried again at the next reload, and its way back is no change either."""
        good = "memory.max_bytes: 32M\n"
        bad = "memory.max_bytes: 200G\nttl: {operations: {qa: 7s}}\ntls: {certificate: /nowhere.pem, key: /nowhere.key}\n"
        daemon = Running(good)

        def reload(config):
            since = len(daemon.lines)
            daemon.reload(config, r"settings: reloaded")
            said = "\n".join(line for line in daemon.lines[since:] if line)
            return said, re.findall(r"changed: (\S+)", said)
        try:
            for changed in (["ttl.operations"], []):
                said, names = reload(bad)
                for words in ("it stays 33554432", "TLS cannot be switched on or off"):
                    self.assertIn(words, said)
                self.assertEqual(names, changed, said)
            said, names = reload(good)
            self.assertEqual(names, ["ttl.operations"], said)
        finally:
            self.assertEqual(daemon.stop(), 0)

    def test_systemd_is_told(self):
        with tempfile.TemporaryDirectory(prefix="aicache-live-") as directory:
            path = os.path.join(directory, "notify")
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
                server.bind(path)
                server.settimeout(30)
                daemon = Running(NOTIFY_SOCKET=path)

                def told(word):
                    while True:
                        message = server.recv(4096).decode()
                        if re.search(word, message):
                            return message
                self.assertIn("STATUS=listening on 127.0.0.1:", told("READY=1"))
                told("WATCHDOG=1")
                daemon.process.send_signal(signal.SIGHUP)
                self.assertRegex(told("RELOADING=1"), r"MONOTONIC_USEC=\d+")
                told("READY=1")
                daemon.process.send_signal(signal.SIGTERM)
                told("STOPPING=1")
                self.assertEqual(daemon.stop(), 0)


if __name__ == "__main__":
    unittest.main()
