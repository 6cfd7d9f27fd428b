"""What the monitor says of memory, and that it is so: the parts add up to the process, thresholds and growth, pools, history.

Nothing waits for a fixed time: what is true a moment later is asked for until it is, with a deadline that only a broken daemon meets.
"""
import base64
import os
import resource
import shutil
import socket
import tempfile
import threading
import time
import unittest

from daemon import Daemon, LiveTest
from programs import PATIENCE, until

MB = 1048576


def noise(size):
    """Text that does not compress below three quarters."""
    return base64.b64encode(os.urandom(size * 3 // 4)).decode()


def resident(daemon):
    with open("/proc/%d/statm" % daemon.process.pid) as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def parts(daemon):
    return {row["owner"]: row["bytes"] for row in daemon.get("/monitoring/memory").json["breakdown"]}


class Breakdown(unittest.TestCase):
    """Each part is filled in turn; the parts add up to RSS within 5 % each time, and the part that was filled is the one that grew."""

    def settled(self, daemon, grown=()):
        """The breakdown once it adds up and each of `grown` ((owners, least bytes)...) is there."""
        last = {}

        def said():
            last["parts"], last["rss"] = parts(daemon), resident(daemon)
            last["sum"] = sum(last["parts"].values())
            there = all(sum(last["parts"].get(owner, 0) for owner in owners) >= least for owners, least in grown)
            return there and abs(last["sum"] - last["rss"]) <= last["rss"] * 0.05
        self.assertTrue(until(said), last)
        return last["parts"]

    def start(self, *flags):
        daemon = Daemon(flags)
        self.addCleanup(daemon.close)
        return daemon

    def test_idle(self):
        names = set(self.settled(self.start()))
        self.assertGreaterEqual(names, {"memory_tier_keys", "memory_tier_values", "memory_tier_index", "memory_tier_overhead", "storage_map",
                                        "pools", "connections", "cache", "monitor", "allocator_slack", "stacks", "program"})

    def test_allocator(self):
        allocator = self.start().get("/monitoring/memory").json["allocator"]
        self.assertIn(allocator["name"], ("jemalloc", "glibc"))
        if allocator["name"] == "jemalloc":  # the sanitizers' allocator answers nothing for the C library's
            self.assertGreater(allocator["allocated"], 0)
        self.assertGreaterEqual(allocator["active"], allocator["allocated"])
        self.assertGreaterEqual(allocator["resident"], allocator["active"])

    def test_memory_tier(self):
        daemon = self.start("--storage-kind", "none")
        self.settled(daemon)
        for index in range(64):
            self.assertEqual(daemon.put(text="memory %d" % index, response=noise(MB)).status, 201)
        self.settled(daemon, [(("memory_tier_keys", "memory_tier_values", "memory_tier_overhead"), 45 * MB)])

    def test_storage(self):
        daemon = self.start("--memory-max-bytes", "1M")
        before = self.settled(daemon)
        for index in range(64):
            self.assertEqual(daemon.put(text="storage %d" % index, response=noise(MB // 2)).status, 201)
        daemon.post("/cache/verify")  # reads every record
        after = self.settled(daemon, [(("storage_map",), before["storage_map"] + 20 * MB)])
        self.assertLess(after["memory_tier_values"], 2 * MB)

    def test_connections(self):
        daemon = self.start("--timeouts-header", "5m")
        before = self.settled(daemon)
        clients = []
        self.addCleanup(lambda: [client.close() for client in clients])
        for _ in range(2000):
            client = socket.create_connection(("127.0.0.1", daemon.port))
            client.sendall(b"GET /cache/status HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 3000)
            clients.append(client)
        # A connection with 3 KB of a head takes a pooled object and a block of 4 to 8 KB.
        after = self.settled(daemon, [(("pools",), before["pools"] + 2000 * 2000), (("connections",), before["connections"] + 2000 * 3000)])
        self.assertGreater(after["pools"] + after["connections"], 9 * MB)

    def test_in_flight(self):
        daemon = self.start("--storage-kind", "none")
        for index in range(40):  # compresses well: what is sent was decoded for the one who asked
            self.assertEqual(daemon.put(text="flight %d" % index, response="%d " % index * 1000000).status, 201)
        before = self.settled(daemon)
        clients = []
        self.addCleanup(lambda: [client.close() for client in clients])
        for index in range(40):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", daemon.port))
            body = b'{"operation":"qa","text":"flight %d"}' % index
            client.sendall(b"POST /cache/lookup HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            clients.append(client)
        self.settled(daemon, [(("answers",), before["answers"] + 50 * MB)])  # up to limits.answers_bytes


class Growing(unittest.TestCase):
    """Two writers that never rest: in each answer the parts add up to what the same answer calls the process's memory."""

    def test_adds_up_in_every_answer(self):
        daemon = Daemon(("--storage-kind", "none", "--memory-max-bytes", "256M"))
        self.addCleanup(daemon.close)
        done = threading.Event()
        body = noise(MB // 2)

        def write(name):
            index = 0
            while not done.is_set():
                daemon.put(text="%s %d" % (name, index), response=body)
                index += 1
        writers = [threading.Thread(target=write, args=(name,)) for name in ("one", "two")]
        for writer in writers:
            writer.start()
        try:
            first = last = 0
            deadline = time.monotonic() + PATIENCE
            while last < first + 100 * MB and time.monotonic() < deadline:
                said = daemon.get("/monitoring/memory").json
                if "current" not in said:
                    continue
                total = sum(row["bytes"] for row in said["breakdown"])
                last = said["current"]["process_memory_mb"] * MB
                first = first or last
                self.assertEqual(said["breakdown_total"]["rss_bytes"], last)
                self.assertLessEqual(abs(total - last), last * 0.05, said["breakdown"])
            self.assertGreaterEqual(last, first + 100 * MB)
        finally:
            done.set()
            for writer in writers:
                writer.join()


class Thresholds(LiveTest):
    flags = ("--storage-kind", "none", "--memory-max-bytes", "16M", "--memory-warning-bytes", "2M", "--memory-critical-bytes", "6M")

    def memory(self):
        return self.daemon.get("/monitoring/memory").json

    def fill(self, name, count):
        for index in range(count):
            self.assertEqual(self.daemon.put(text="%s %d" % (name, index), response=noise(MB // 4)).status, 201)

    def test_growth_and_thresholds(self):
        first = until(lambda: (lambda said: said if "current" in said else None)(self.memory()))
        self.assertEqual((first["thresholds"]["warning_threshold_mb"], first["thresholds"]["critical_threshold_mb"]), (2, 6))
        self.assertFalse(first["thresholds"]["warning_threshold_reached"])
        self.assertEqual(self.warnings(), [])
        self.fill("warning", 16)
        warned = until(lambda: (lambda said: said if said["thresholds"]["warning_threshold_reached"] and
                                said["trends"].get("growth_rate_mb_per_hour", 0) != 0 else None)(self.memory()))
        self.assertFalse(warned["thresholds"]["critical_threshold_reached"])
        self.assertGreater(warned["trends"]["growth_rate_mb_per_hour"], 0)
        self.assertFalse(warned["trends"]["at_limit"])
        self.assertIn("projected_seconds_to_limit", warned["trends"])  # null until a minute was seen
        self.assertGreater(warned["current"]["cache_utilization_percent"], 100)
        # The report measures when it is asked, warnings come from the snapshot of each second.
        self.assertTrue(until(lambda: [row["severity"] for row in self.warnings()] == ["warning"]))
        self.fill("critical", 24)
        self.assertTrue(until(lambda: self.memory()["thresholds"]["critical_threshold_reached"]))
        self.assertTrue(until(lambda: [row["severity"] for row in self.warnings()] == ["critical"]))
        warnings = self.warnings()
        self.assertTrue(all(row["message"] and row["recommendations"] for row in warnings), warnings)
        self.daemon.post("/cache/flushall")
        self.assertTrue(until(lambda: not self.memory()["thresholds"]["warning_threshold_reached"]))

    def warnings(self):
        """Those of the thresholds; a full tier may have more to say, and a machine that is busy."""
        return [row for row in self.daemon.get("/monitoring/warnings").json if row["code"] in ("memory_warning", "memory_critical")]


class Pools(LiveTest):
    def pools(self):
        return self.daemon.get("/monitoring/pools").json

    def test_shape_and_counts(self):
        report = self.pools()
        self.assertGreaterEqual(set(report), {"hits", "misses", "created", "released", "pools"})
        self.assertEqual(set(report["pools"]), {"answers", "connections", "read_blocks", "memory_tier_arenas"})
        for name, pool in report["pools"].items():
            self.assertGreaterEqual(set(pool), {"size", "active", "object_bytes", "bytes"}, name)
            self.assertEqual(pool["refused"], 0, name)
        for counter in ("hits", "misses", "created", "released", "refused"):
            self.assertEqual(report[counter], sum(pool[counter] for pool in report["pools"].values()), counter)

    def test_connections_come_from_the_pool_and_leave_it(self):
        clients = [socket.create_connection(("127.0.0.1", self.daemon.port)) for _ in range(100)]
        for client in clients:  # an answer says that the connection is a front thread's
            client.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertIn(b"200", client.recv(4096))
        busy = self.pools()["pools"]["connections"]
        self.assertGreaterEqual(busy["active"], 100)
        self.assertGreater(busy["bytes"], 100 * busy["object_bytes"])
        for client in clients:
            client.close()
        # Given back, and then released by the second: half of what lies idle each time.
        self.assertTrue(until(lambda: self.pools()["pools"]["connections"]["active"] < 10))
        self.assertTrue(until(lambda: self.pools()["pools"]["connections"]["size"] < 10))

    def test_metrics_say_the_same(self):
        self.daemon.put(text="pooled")
        page = self.daemon.get("/metrics").body.decode()
        for name in ("answers", "connections", "read_blocks", "memory_tier_arenas"):
            for state in ("active", "free"):
                self.assertIn('aicache_pool_objects{pool="%s",state="%s"}' % (name, state), page)
        self.assertIn('aicache_pool_refused_total{pool="answers"} 0', page)


class History(unittest.TestCase):
    def test_survives_a_restart(self):
        directory = tempfile.mkdtemp(prefix="aicache-live-")
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)

        def samples(daemon):
            return daemon.get("/monitoring/history").json["seconds"]["samples"]
        daemon = Daemon(directory=directory)
        try:
            daemon.put()
            kept = until(lambda: samples(daemon) if len(samples(daemon)) >= 2 else None)
        finally:
            daemon.close()
        daemon = Daemon(directory=directory)
        try:
            now = samples(daemon)
            self.assertEqual(now[:len(kept)], kept)
            self.assertTrue(until(lambda: samples(daemon)[-1][0] > kept[-1][0]))
        finally:
            daemon.close()


if __name__ == "__main__":
    unittest.main()
