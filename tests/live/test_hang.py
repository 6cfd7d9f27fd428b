"""Storage that hangs under a running daemon: its threads wait inside LMDB and nothing comes back, as when a disk on a network goes away.

/health answers from what is known, memory serves, a lookup that needs storage is a miss in time and counted; when storage answers again, all comes
back by itself and nothing is lost. A shim that is loaded before the libraries lets the calls wait as long as a file is there.
"""
import json
import os
import select
import threading
import time
import unittest

from daemon import Daemon
from programs import until

SHIM = os.environ.get("STORAGE_HANG_SHIM")
COUNT = 20


@unittest.skipUnless(SHIM and os.path.exists(SHIM), "STORAGE_HANG_SHIM names no shim; meson builds one as tests/live/libstorage_hang.so")
class HangingStorage(unittest.TestCase):
    def setUp(self):
        # The sanitizers' runtime would rather be the first to be loaded.
        options = ":".join(filter(None, [os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0"]))
        self.daemon = Daemon(("--storage-deadline", "500ms", "--timeouts-drain", "1s"), environment={"LD_PRELOAD": SHIM, "ASAN_OPTIONS": options})
        self.addCleanup(self.daemon.close)
        self.hang = os.path.join(self.daemon.directory, "hang")
        self.daemon.environment["STORAGE_HANG"] = self.hang
        self.daemon.environment["STORAGE_HANG_WRITES"] = self.hang + "-writes"
        self.addCleanup(self.let_go)  # before the daemon is closed
        for index in range(COUNT):
            self.assertEqual(self.daemon.put(text="kept %d" % index, response=[index]).status, 201)
        self.assertEqual(self.daemon.stop(), 0)
        self.daemon.start()  # now memory is empty
        self.assertEqual(self.tier(0), "storage")
        self.assertEqual(self.tier(0), "memory")

    def let_go(self):
        for path in (self.hang, self.hang + "-writes"):
            if os.path.exists(path):
                os.remove(path)

    def tier(self, index):
        """Where entry `index` is found, with what was stored; None for a miss."""
        said = self.daemon.lookup(text="kept %d" % index).json
        if said["hit"]:
            self.assertEqual(said["response"], [index])
        return said.get("tier")

    def health(self):
        """The whole, storage and cache; answered with 200, and before a check of storage could have ended."""
        began = time.monotonic()
        answer = self.daemon.get("/health")
        self.quickest = min(self.quickest, time.monotonic() - began)
        self.assertEqual(answer.status, 200, answer)
        return [answer.json["status"], answer.json["storage"]["status"], answer.json["cache"]["status"]]

    def storage(self):
        return self.daemon.get("/cache/status").json["storage"]

    def said(self, words):
        with open(self.daemon.log_path, "rb") as file:
            return file.read().count(words)

    def test_hangs_and_comes_back(self):
        self.quickest = 1e9
        self.assertTrue(until(lambda: self.health() == ["healthy", "healthy", "healthy"]))
        before = self.daemon.get("/cache/status").json
        open(self.hang, "w").close()

        # The hang lasts until it is let go: whatever is answered here did not wait for storage, which many ask under one deadline.
        self.assertIsNone(self.tier(1))
        many = self.daemon.post("/cache/lookup-many", {"requests": [{"operation": "qa", "text": "kept %d" % index} for index in range(COUNT)]})
        self.assertEqual([result["hit"] for result in many.json["results"]], [True] + [False] * (COUNT - 1))
        after = self.daemon.get("/cache/status").json
        self.assertEqual(after["total_misses"] - before["total_misses"], COUNT)
        counted = [status["storage"]["timeouts"] + status["storage"]["errors"] for status in (before, after)]
        self.assertGreater(counted[1], counted[0])  # an error, should a check have met the hang a second earlier
        self.assertEqual(self.tier(0), "memory")
        self.assertEqual(self.daemon.put(text="while it hangs", response="kept too").status, 201)
        self.assertTrue(self.daemon.lookup(text="while it hangs").json["hit"])

        self.assertTrue(until(lambda: self.health() == ["degraded", "unhealthy", "degraded"]), self.health())
        self.assertLess(self.quickest, 2)  # the deadline of a check
        self.assertEqual(self.daemon.get("/health/storage").status, 503)
        self.assertEqual(self.daemon.get("/health/ready").status, 200)
        self.assertEqual(self.storage()["status"], "down")
        warning = next(one for one in self.daemon.get("/monitoring/warnings").json if one["code"] == "storage_down")
        self.assertEqual(warning["severity"], "critical")
        self.assertRegex(warning["message"], r"\b%d lookups ran into their deadline of 500 ms .* [1-9][0-9]* writes wait" % COUNT)
        since = warning["since"]
        advice = {one["setting"]: one["value"] for one in warning["recommendations"]}
        self.assertEqual(advice["storage.deadline"], "250ms")
        self.assertEqual(advice["data_dir"], os.path.join(self.daemon.directory, "data"))
        self.assertIn("\naicache_storage_up 0\n", self.daemon.get("/metrics").body.decode())
        self.assertEqual(self.daemon.get("/monitoring/cache-metrics").status, 200)
        for index in range(2, COUNT):
            self.assertIsNone(self.tier(index))
        self.assertEqual(self.tier(0), "memory")
        self.assertTrue(until(lambda: self.said(b"storage: reads fail") == 1))
        gets = [one for one in self.daemon.get("/monitoring/export").json["cache_operation_times"] if one["operation_type"] == "get"]
        reasons = [one["additional_data"].get("reason") for one in gets]
        self.assertIn("storage_down", reasons)
        self.assertEqual({one["additional_data"].get("tier") for one in gets if "reason" in one["additional_data"]}, {None})
        again = next(one for one in self.daemon.get("/monitoring/warnings").json if one["code"] == "storage_down")
        self.assertEqual(again["since"], since)
        self.assertEqual(self.said(b"storage: reads are answered again"), 0)

        self.let_go()
        self.assertTrue(until(lambda: self.health() == ["healthy", "healthy", "healthy"]), self.health())
        self.assertEqual([one for one in self.daemon.get("/monitoring/warnings").json if one["code"].startswith("storage_")], [])
        for index in range(COUNT):
            self.assertIn(self.tier(index), ("memory", "storage"))
        self.assertTrue(until(lambda: self.storage()["queue_entries"] == 0))
        self.assertEqual(self.daemon.post("/cache/verify").json["status"], "ok")
        self.assertTrue(until(lambda: self.said(b"storage: reads are answered again") == 1))
        self.assertEqual(self.said(b"storage: reads fail"), 1)

        self.assertEqual(self.daemon.stop(), 0)
        self.daemon.start()
        self.assertEqual([self.tier(index) for index in range(COUNT)], ["storage"] * COUNT)
        self.assertEqual(self.daemon.lookup(text="while it hangs").json["response"], "kept too")

    def test_writes_hang_alone(self):
        """Reads go on; the write that does not come back is a warning and a line, and what waits behind it is lost by nobody."""
        self.quickest = 1e9
        open(self.hang + "-writes", "w").close()
        self.assertEqual(self.daemon.put(text="behind it", response="kept").status, 201)
        self.assertTrue(until(lambda: self.health() == ["degraded", "degraded", "degraded"]), self.health())
        warning, = [one for one in self.daemon.get("/monitoring/warnings").json if one["code"].startswith("storage_")]
        self.assertEqual((warning["code"], warning["severity"]), ("storage_writes_fail", "critical"))
        self.assertRegex(warning["message"], r"takes no writes: a write does not come back: [1-9]\d* wait")
        self.assertTrue(until(lambda: self.said(b"storage: a write does not come back; those") == 1))
        self.assertEqual([self.tier(index) for index in range(1, COUNT)], ["storage"] * (COUNT - 1))
        os.remove(self.hang + "-writes")
        self.assertTrue(until(lambda: self.health() == ["healthy", "healthy", "healthy"]), self.health())
        self.assertTrue(until(lambda: self.said(b"storage: the write that hung has come back") == 1))
        self.assertTrue(until(lambda: self.storage()["queue_entries"] == 0))
        self.assertEqual(self.daemon.stop(), 0)
        self.daemon.start()
        self.assertEqual(self.daemon.lookup(text="behind it").json["response"], "kept")

    def test_who_walks_through_it_stays_alone(self):
        """Lists and a recount that are in storage when it begins to hang do not wait for it; what tells of the daemon does not even wait for them."""
        self.quickest = 1e9
        open(self.hang, "w").close()
        answers = []

        def ask(method, path):
            answers.append((path, self.daemon.request(method, path).status))
        walkers = [threading.Thread(target=ask, args=("GET", "/cache/entries")) for _ in range(6)]
        walkers.append(threading.Thread(target=ask, args=("POST", "/cache/verify")))
        for walker in walkers:
            walker.start()
        self.assertTrue(until(lambda: self.health() == ["degraded", "unhealthy", "degraded"]), self.health())
        for path in ("/metrics", "/cache/status", "/monitoring/cache-metrics", "/monitoring/memory", "/monitoring/warnings", "/cache/entries"):
            self.assertEqual(self.daemon.get(path).status, 200, path)
        # Who comes now does not go there.
        self.assertEqual(self.daemon.get("/cache/export").status, 503)
        self.assertEqual(self.daemon.post("/cache/verify").status, 503)
        for walker in walkers:  # the hang goes on
            walker.join()
        self.assertEqual([status for path, status in answers if path == "/cache/entries"], [200] * 6)
        self.assertEqual(dict(answers)["/cache/verify"], 503)
        self.let_go()
        self.assertTrue(until(lambda: self.health()[0] == "healthy"))
        self.assertEqual(self.daemon.get("/cache/export").body.count(b"\n"), COUNT)

    def test_invalidations_wait_alone(self):
        """More of them than their lane has threads; what tells of the daemon is answered before any of them is, and they are told that storage hangs."""
        open(self.hang, "w").close()
        body = json.dumps({"operation": "qa"}).encode()
        waiting = [self.daemon.connect() for _ in range(20)]
        for connection in waiting:
            self.addCleanup(connection.close)
            connection.request("POST", "/cache/invalidate", body)
        told = [self.daemon.get(path).status for path in ("/livez", "/metrics", "/cache/status", "/monitoring/pressure")]
        answered, _, _ = select.select([connection.sock for connection in waiting], [], [], 0)
        self.assertEqual((told, answered), ([200] * 4, []))
        for connection in waiting:
            answer = connection.getresponse()
            self.assertEqual((answer.status, b"is hidden and will be removed" in answer.read()), (503, True))
        self.assertIsNone(self.tier(1))
        self.let_go()
        self.assertTrue(until(lambda: self.storage()["invalidations_pending"] == 0), [self.storage(), self.daemon.get("/health").json["storage"]])
        self.assertTrue(until(lambda: self.daemon.get("/cache/entries").json["count"] == 0))

    def test_a_stop_does_not_wait_for_it(self):
        self.quickest = 1e9
        open(self.hang, "w").close()
        self.assertIsNone(self.tier(1))
        self.assertTrue(until(lambda: self.health()[0] == "degraded"))
        self.assertEqual(self.daemon.stop(), 0)  # or the end of its patience
        # By the cache, where only its workers hang, or by the daemon, when its patience is over.
        self.assertEqual(self.said(b"storage does not let go"), 1)
        self.let_go()
        self.daemon.start()
        self.assertEqual([self.tier(index) for index in range(COUNT)], ["storage"] * COUNT)


if __name__ == "__main__":
    unittest.main()
