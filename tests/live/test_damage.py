"""Pages of the store are overwritten under a running daemon, as by a disk that loses writes.

Nobody ever gets an answer that was not stored. The daemon says what it found and begins a new store; LMDB itself may end the process by a wild
read, and then the next start, or on a slow machine the one after it, finds
the damage before it is met again.
"""
import http.client
import os
import struct
import unittest

from daemon import Daemon
from programs import until

PAGE = 4096
COUNT = 1500
LEAF, BRANCH = 2, 1


def payload(index):
    return ["%d " % index * (index % 400)]


class DamagedStore(unittest.TestCase):
    def setUp(self):
        # Memory for a few: what is asked for comes from storage.
        self.daemon = Daemon(("--memory-max-bytes", "256K"))
        self.addCleanup(self.daemon.close)
        self.deaths = 0

    def fill(self):
        for index in range(COUNT):
            self.assertEqual(self.ask("put", text="kept %d" % index, response=payload(index)).status, 201)
        self.assertTrue(until(lambda: self.ask("get", "/cache/status").json["storage"]["queue_entries"] == 0))

    def overwrite(self, kind, every):
        """The bounds of the free room in each n-th page of this kind."""
        path = os.path.join(self.daemon.directory, "data", "cache", "cache.mdb")
        changed = 0
        with open(path, "r+b") as file:
            for number in range(2, os.path.getsize(path) // PAGE):
                file.seek(number * PAGE)
                own, _, flags = struct.unpack("<QHH", file.read(12))
                if own == number and flags == kind:
                    if changed % every == 0:
                        file.seek(number * PAGE + 12)
                        file.write(b"\xff\xff\0\0")
                    changed += 1
        self.assertGreater(changed, 0)

    def ask(self, method, *arguments, **options):
        """What the daemon says to that; one that has died is started again, and asked again."""
        while True:
            try:
                return getattr(self.daemon, method)(*arguments, **options)
            except (OSError, http.client.HTTPException):
                self.daemon.process.wait(timeout=60)
                self.deaths += 1
                self.assertLessEqual(self.deaths, 2)
                self.daemon.stop()
                self.daemon.start()

    def asked(self, index):
        answer = self.ask("lookup", text="kept %d" % index)
        self.assertEqual(answer.status, 200)
        return answer.json.get("response")

    def said(self, words):
        with open(self.daemon.log_path, "rb") as file:
            return file.read().count(words)

    def test_pages_that_cannot_be_read(self):
        """Cut off under the daemon's map, which faults as a bad sector does: nobody dies, it is said once, and a new store begins."""
        self.fill()
        path = os.path.join(self.daemon.directory, "data", "cache", "cache.mdb")
        os.truncate(path, 16 * PAGE)
        for index in range(COUNT):
            self.assertIn(self.asked(index), (None, payload(index)), index)
        self.assertEqual(self.deaths, 0)
        self.assertEqual(self.said(b"a page cannot be read"), 1)
        self.fill()
        self.assertEqual(self.asked(3), payload(3))

    def check(self, kind, every):
        self.fill()
        self.overwrite(kind, every)
        for index in range(COUNT):
            self.assertIn(self.asked(index), (None, payload(index)), index)
        # Reads may take a damaged page for an empty one. Writes meet it.
        for index in range(COUNT):
            self.assertEqual(self.ask("put", text="new %d" % index, response=payload(index)).status, 201)
        self.assertTrue(until(lambda: self.said(b"were dropped: ") + self.said(b"was emptied and is in use again") > 0))
        self.assertTrue(until(lambda: self.ask("get", "/cache/status").json["storage"]["status"] == "up"))
        self.fill()  # as if nothing had been
        self.assertEqual(self.daemon.stop(), 0)
        self.daemon.start()
        self.assertEqual([self.asked(index) for index in range(COUNT)], [payload(index) for index in range(COUNT)])
        self.assertEqual(self.daemon.post("/cache/verify").json["status"], "ok")

    def test_leaves(self):
        self.check(LEAF, 3)

    def test_branches(self):
        self.check(BRANCH, 1)


if __name__ == "__main__":
    unittest.main()
