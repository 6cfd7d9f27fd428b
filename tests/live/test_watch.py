"""What watches over the daemon: the stream, alerts and their webhook, memory pressure in a cgroup."""
import http.server
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
import unittest

from daemon import PROGRAM, Daemon, LiveTest
from programs import clean_environment, until
from test_monitor import MB, noise, resident


class Stream:
    """A reader of /monitoring/stream."""

    def __init__(self, daemon, receive=None):
        self.socket = socket.socket()
        if receive is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        self.socket.settimeout(60)
        self.socket.connect(("127.0.0.1", daemon.port))
        self.socket.sendall(b"GET /monitoring/stream HTTP/1.0\r\nHost: localhost\r\n\r\n")
        self.bytes = b""
        self.ended = False

    def event(self):
        """The next event and when it came; None at the end of the stream."""
        while True:
            text, separator, rest = self.bytes.partition(b"\n\n")
            if separator:
                self.bytes = rest
                if text.startswith(b"data: "):
                    return json.loads(text[6:]), time.monotonic()
                continue
            received = self.socket.recv(65536)
            if not received:
                self.ended = True
                return None
            if not self.bytes and received.startswith(b"HTTP/"):
                received = received.partition(b"\r\n\r\n")[2]
            self.bytes += received

    def close(self):
        self.socket.close()


class Streams(unittest.TestCase):
    def start(self):
        daemon = Daemon()
        self.addCleanup(daemon.close)
        return daemon

    def test_an_event_a_second_until_the_end(self):
        daemon = self.start()
        stream = Stream(daemon)
        self.addCleanup(stream.close)
        events = [stream.event() for _ in range(5)]
        times = [event["time_ms"] for event, _ in events]
        for earlier, later in zip(times, times[1:]):
            self.assertGreater(later - earlier, 500)  # never twice in a second
        self.assertLess((times[-1] - times[0]) / 4, 15000)  # a second each, but for a busy machine
        event = events[0][0]
        for name in ("version", "uptime_seconds", "tiers", "memory", "breakdown", "curve", "warnings", "slow", "pressure", "alerts", "health"):
            self.assertIn(name, event)
        spans = [event["memory"]["growth_span_seconds"] for event, _ in events if event["memory"]["growth_bytes_per_hour"] is not None]
        self.assertGreaterEqual(len(spans), 3)  # the first events may come before there are two samples
        self.assertEqual(spans, sorted(spans))
        self.assertGreater(spans[0], 0)
        daemon.process.send_signal(signal.SIGTERM)
        while stream.event() is not None:
            pass
        self.assertEqual(daemon.process.wait(timeout=60), 0)

    def test_who_does_not_read_harms_nobody(self):
        daemon = self.start()
        sleepers = [Stream(daemon, receive=2048) for _ in range(20)]
        for sleeper in sleepers:
            self.addCleanup(sleeper.close)
        reader = Stream(daemon)
        self.addCleanup(reader.close)
        reader.event()
        before = resident(daemon)
        for index in range(6):
            self.assertIsNotNone(reader.event())
            self.assertEqual(daemon.put(text="while they sleep %d" % index).status, 201)
            self.assertEqual(daemon.lookup(text="while they sleep %d" % index).status, 200)
        self.assertLess(resident(daemon) - before, 32 * MB)
        # Two of them wake up, and one hangs up: each is served, or forgotten.
        sleepers[0].close()
        self.assertIsNotNone(sleepers[1].event())
        self.assertIsNotNone(reader.event())


class Hook:
    """A webhook's other end."""

    def __init__(self):
        received = self.received = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                received.append((self.headers["Content-Type"], json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *arguments):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.url = "http://127.0.0.1:%d/alerts" % self.server.server_port

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def look_up(daemon, hits, misses):
    for index in range(hits):
        daemon.lookup(text="known")
    for index in range(misses):
        daemon.lookup(text="unknown %d" % index)


def fill(daemon):
    """A cache that is full is no cold one; what is looked up from the next second on counts."""
    for index in range(3):
        daemon.put(text="filler %d" % index)
    daemon.put(text="known")


class Alerts(unittest.TestCase):
    def setUp(self):
        self.hook = Hook()
        self.addCleanup(self.hook.close)
        self.daemon = Daemon(("--alerts-webhook", self.hook.url, "--memory-max-entries", "2"))
        self.addCleanup(self.daemon.close)
        fill(self.daemon)

    def alert(self, where="active"):
        found = [alert for alert in self.daemon.get("/monitoring/alerts").json[where] if alert["id"] == "low_hit_rate"]
        self.assertLessEqual(len(found), 1)
        return found[0] if found else None

    def told(self, state):
        return [body for kind, body in self.hook.received if body["state"] == state and kind == "application/json"]

    def severity(self, wanted, hits, misses):
        """Lookups of that mix, until there is an alert of that severity."""
        def found():
            look_up(self.daemon, hits, misses)
            return (self.alert() or {}).get("severity") == wanted
        self.assertTrue(until(found), self.daemon.get("/monitoring/alerts").body)

    def check_metrics(self):
        """A page with alerts and notices on it is one that Prometheus takes without a word."""
        if shutil.which("promtool") is None:
            return
        done = subprocess.run(["promtool", "check", "metrics"], input=self.daemon.get("/metrics").body, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=60)
        self.assertEqual((done.returncode, done.stdout), (0, b""))

    def test_says_nothing_of_a_cold_start(self):
        cold = Daemon()
        self.addCleanup(cold.close)
        look_up(cold, 0, 200)
        up = cold.get("/health").json["uptime_seconds"]
        self.assertTrue(until(lambda: cold.get("/health").json["uptime_seconds"] > up + 3))  # it looked at them
        self.assertEqual(cold.get("/monitoring/alerts").json["total_alerts"], 0)
        self.assertEqual(cold.get("/monitoring/warnings").json, [])
        self.assertEqual(cold.get("/health").json["status"], "healthy")

    def test_opens_escalates_resolves_and_is_told(self):
        self.severity("medium", 40, 60)
        self.severity("critical", 0, 200)
        # Warnings and health are views of the same.
        warning = [row for row in self.daemon.get("/monitoring/warnings").json if row["code"] == "low_hit_rate"][0]
        self.assertEqual((warning["severity"], warning["alert"]), ("critical", "low_hit_rate"))
        self.assertTrue(warning["recommendations"])
        self.assertTrue(until(lambda: self.daemon.get("/health").json["status"] == "degraded"))
        self.assertIn("1 critical warning", self.daemon.get("/health").json["summary"])
        self.assertGreaterEqual(self.alert()["escalations"], 1)
        self.assertIn('aicache_alerts{severity="critical"} 1', self.daemon.get("/metrics").body.decode())
        self.check_metrics()
        self.assertTrue(until(lambda: look_up(self.daemon, 300, 0) or self.alert("past")))
        self.assertIsNone(self.alert())
        report = self.daemon.get("/monitoring/alerts").json
        self.assertEqual((report["total_alerts"], report["resolved_alerts"]), (1, 1))
        self.assertTrue(until(lambda: self.told("open") and self.told("resolved")), self.hook.received)
        self.assertEqual(len(self.told("open")), 1)
        self.assertEqual(self.told("escalated"), [])  # not within 300 s of the other notice
        for body in (self.told("open")[0], self.told("resolved")[0]):
            self.assertEqual((body["source"], body["id"]), ("aicached", "low_hit_rate"))
            self.assertIn("lookups were hits", body["message"])
        sent = len(self.hook.received)
        self.assertTrue(until(lambda: 'aicache_alert_notices_total{result="sent"} %d' % sent in self.daemon.get("/metrics").body.decode()))


class DeadWebhook(unittest.TestCase):
    """A port that takes connections and never answers."""

    def test_delays_nothing(self):
        dead = socket.socket()
        self.addCleanup(dead.close)
        dead.bind(("127.0.0.1", 0))
        dead.listen(16)
        daemon = Daemon(("--alerts-webhook", "http://127.0.0.1:%d/" % dead.getsockname()[1], "--memory-max-entries", "2"))
        self.addCleanup(daemon.close)
        fill(daemon)
        self.assertTrue(until(lambda: look_up(daemon, 0, 60) or select.select([dead], [], [], 0)[0]), "nobody called the webhook")
        quickest = 1e9
        for index in range(50):
            began = time.monotonic()
            self.assertEqual(daemon.lookup(text="known").status, 200)
            self.assertEqual(daemon.get("/health").status, 200)
            quickest = min(quickest, time.monotonic() - began)
        self.assertLess(quickest, 5)  # the webhook's own deadline is ten: who waits for it never answers sooner
        self.assertTrue(until(lambda: look_up(daemon, 300, 0) or daemon.get("/monitoring/alerts").json["resolved_alerts"] == 1))
        began = time.monotonic()
        self.assertEqual(daemon.stop(), 0)
        self.assertLess(time.monotonic() - began, 8)


def memory_group():
    """A directory for cgroups of this process's memory controller, and the names of the limit, or None and why."""
    with open("/proc/self/cgroup") as file:
        for line in file:
            number, controllers, path = line.rstrip("\n").split(":", 2)
            if "memory" in controllers.split(","):
                base = "/sys/fs/cgroup/memory" + path.rstrip("/")
                return (base if os.path.isdir(base) else "/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
            if number == "0" and os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
                return "/sys/fs/cgroup" + path.rstrip("/"), "memory.max"
    return None, "no cgroup controls memory here"


class Curve(LiveTest):
    """The miss-ratio curve as metrics: once enough was seen, and never falling with more memory."""
    flags = ("--storage-kind", "none")

    def ratios(self):
        page = self.daemon.get("/metrics").body.decode()
        return [float(value) for value in re.findall(r'^aicache_expected_hit_ratio\{factor="[0-9.]+"\} (\S+)$', page, re.M)]

    def test_is_told_when_it_is_known(self):
        self.assertEqual(self.ratios(), [])
        connection = self.daemon.connect()
        self.addCleanup(connection.close)

        def look(index):
            connection.request("POST", "/cache/lookup", '{"operation":"qa","text":"curve %d"}' % index)
            return connection.getresponse().read()

        for index in range(1000):
            self.assertEqual(self.daemon.put(text="curve %d" % index).status, 201)
        for _ in range(30):
            for index in range(1000):
                self.assertIn(b'"hit":true', look(index))
            if self.ratios():
                break
        ratios = self.ratios()
        self.assertEqual(len(ratios), 4)
        self.assertEqual(ratios, sorted(ratios))
        self.assertGreater(ratios[1], 0.5)  # everything fits


class Slack(unittest.TestCase):
    """What a burst took of the allocator goes back to the kernel while nothing is asked of the daemon."""

    def test_given_back_while_idle(self):
        daemon = Daemon(("--storage-kind", "none", "--memory-max-bytes", "8M", "--threads", "2"))
        self.addCleanup(daemon.close)
        if daemon.get("/monitoring/memory").json["allocator"]["name"] != "jemalloc":
            self.skipTest("a sanitizer's allocator holds back what was freed")

        def anonymous():
            with open("/proc/%d/status" % daemon.process.pid) as file:
                return int(re.search(r"RssAnon:\s*(\d+) kB", file.read()).group(1)) << 10

        def write(index):
            for turn in range(20):
                daemon.put(text="burst %d %d" % (index, turn), response=noise(MB))
        peak = [0]
        threads = [threading.Thread(target=write, args=(index,)) for index in range(8)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            peak[0] = max(peak[0], anonymous())
            time.sleep(0.01)
        # 8 MiB of tier and 7 % of it, 25 MiB of program, and what compression has gathered; nothing is asked meanwhile.
        self.assertTrue(until(lambda: anonymous() < 40 * MB, 120), "%d MiB stay of %d" % (anonymous() >> 20, peak[0] >> 20))


class Pressure(unittest.TestCase):
    """A real cgroup with a limit of 160 MiB around a memory tier of 128 MiB: it fills, the tier shrinks, the daemon lives, and what was taken comes back."""

    LIMIT = 160 * MB

    def group(self):
        base, limit = memory_group()
        if base is None:
            self.skipTest(limit)
        group = os.path.join(base, "aicache-test-%d" % os.getpid())
        try:
            os.mkdir(group)
        except OSError as error:
            self.skipTest("no cgroup can be made here: %s" % error)
        self.addCleanup(self.remove, group)
        try:
            with open(os.path.join(group, limit), "w") as file:
                file.write(str(self.LIMIT))
        except OSError as error:
            self.skipTest("a cgroup's memory cannot be limited here: %s" % error)
        return group

    def remove(self, group):
        until(lambda: self.removed(group), 20)

    @staticmethod
    def removed(group):
        try:
            os.rmdir(group)
        except OSError:
            return False
        return True

    def see_limit(self, daemon):
        """What the daemon sees of its cgroup. Skips where it sees no limit, as in a tree whose root has no cgroups."""
        def cgroup():
            return daemon.get("/monitoring/pressure").json["cgroup"]
        self.assertTrue(until(lambda: daemon.get("/monitoring/pressure").json["machine"]["total_bytes"] > 0))
        if not cgroup()["limited"]:
            self.skipTest("the limit of the new cgroup is not seen from inside")
        return cgroup()

    def test_what_cannot_fit_is_told(self):
        group = self.group()

        def enter():
            with open(os.path.join(group, "cgroup.procs"), "w") as file:
                file.write(str(os.getpid()))
        inside = {"preexec_fn": enter, "env": clean_environment()}
        flags = ["--storage-kind", "none", "--listen", "127.0.0.1:0", "--limits-bodies-bytes", "16M", "--limits-answers-bytes", "16M"]
        told = rb"memory\.max_bytes: a full tier and one large request take 202M of memory, all that may wait makes it 218M, and the cgroup has 160M; 87M would fit"
        check = subprocess.run([PROGRAM, "--check-config", "--memory-max-bytes", "128M", *flags], capture_output=True, timeout=60, **inside)
        self.assertEqual(check.returncode, 0)
        if b"cgroup" not in check.stderr:
            daemon = Daemon(("--storage-kind", "none"), enter=enter)
            self.addCleanup(daemon.close)
            self.see_limit(daemon)
        self.assertRegex(check.stderr, told)
        fits = subprocess.run([PROGRAM, "--check-config", "--memory-max-bytes", "87M", *flags], capture_output=True, timeout=60, **inside)
        self.assertEqual((fits.returncode, fits.stderr), (0, b""))
        with subprocess.Popen([PROGRAM, "--memory-max-bytes", "128M", *flags], stderr=subprocess.PIPE, **inside) as daemon:
            lines = [daemon.stderr.readline(), daemon.stderr.readline()]
            daemon.terminate()
        self.assertRegex(lines[0], rb"listening on")
        self.assertRegex(lines[1], rb"warning settings.*" + told)

    def test_shrinks_under_pressure_and_grows_back(self):
        group = self.group()

        def enter():
            with open(os.path.join(group, "cgroup.procs"), "w") as file:
                file.write(str(os.getpid()))
        daemon = Daemon(("--storage-kind", "none", "--memory-max-bytes", "128M"), enter=enter)
        self.addCleanup(daemon.close)

        if daemon.get("/monitoring/memory").json["allocator"]["name"] != "jemalloc":
            self.skipTest("a sanitizer's allocator holds back what was freed, so memory stays as short as it was")

        def pressure():
            return daemon.get("/monitoring/pressure").json
        self.assertEqual(self.see_limit(daemon)["limit_bytes"], self.LIMIT)
        # A stall anywhere on the machine is a warning for a moment.
        self.assertTrue(until(lambda: pressure()["current_state"] == "normal"), pressure())
        entered, before = None, pressure()["entered_warning"]
        for index in range(400):
            self.assertEqual(daemon.put(text="fill %d" % index, response=noise(MB // 2)).status, 201)
            if index % 8 == 7:
                time.sleep(0.1)  # the tick looks once a second: fill slowly enough for it to be seen
                entered = pressure()
                if entered["entered_warning"] + entered["entered_critical"] > before:
                    break
        self.assertGreater(entered["entered_warning"] + entered["entered_critical"], before, entered)
        said = until(lambda: (lambda now: now if len(now["actions"]) >= 4 else None)(pressure()))
        actions = " · ".join(action["action"] for action in said["actions"])
        for part in ("memory pressure", "memory tier limited to", "free lists emptied", "allocator purged"):
            self.assertIn(part, actions)
        self.assertLess(said["memory_tier_limit_bytes"], said["memory_tier_configured_bytes"])
        self.assertLessEqual(daemon.get("/cache/status").json["memory"]["bytes"], said["memory_tier_limit_bytes"])
        self.assertIn("aicache_memory_pressure_ratio", daemon.get("/metrics").body.decode())
        daemon.post("/cache/flushall")
        self.assertTrue(until(lambda: pressure()["current_state"] == "normal"), pressure())
        self.assertIn("aicache_memory_pressure_state 0", daemon.get("/metrics").body.decode())
        # Half a minute of quiet, then a twentieth a second; a stall elsewhere on the machine takes some of it again and lets it wait anew.
        configured = said["memory_tier_configured_bytes"]
        grown = until(lambda: (lambda now: now if now["memory_tier_limit_bytes"] == configured else None)(pressure()), 300)
        self.assertTrue(grown, pressure())
        self.assertIn("memory tier grown back to %d bytes" % configured, [action["action"] for action in grown["actions"]])
        self.assertEqual(daemon.get("/cache/status").json["memory"]["max_bytes"], configured)
        self.assertEqual(daemon.put(text="after it", response=noise(MB // 2)).json["tier"], ["memory"])
        self.assertTrue(daemon.lookup(text="after it").json["hit"])


if __name__ == "__main__":
    unittest.main()
