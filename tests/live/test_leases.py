"""A herd pays once: who misses first computes, everyone else waits for that put."""
import json
import threading
import time
import unittest

from daemon import Daemon
from programs import until

RED, BLUE, ROOT = "aic_red_key_for_these_tests", "aic_blue_key_for_these_tests", "aic_root_key_for_these_tests"


class Leases(unittest.TestCase):
    flags = ()
    keys = (("red", RED, "red", False), ("blue", BLUE, "blue", False), ("root", ROOT, "default", True))

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(flags=cls.flags, keys=cls.keys)

    @classmethod
    def tearDownClass(cls):
        cls.daemon.close()

    def ask(self, text, wait, key=RED, **more):
        return self.daemon.lookup(text=text, key=key, wait=wait, **more)

    def asking(self, text, wait, count):
        """`count` clients that wait; their answers come when they are joined."""
        answers = [None] * count
        def run(index):
            answers[index] = self.ask(text, wait).json
        threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
        for thread in threads:
            thread.start()
        return threads, answers

    def waiting(self, count):
        """All of them have arrived."""
        def said():
            page = self.daemon.get("/metrics", key=ROOT).body.decode()
            return any(line == "aicache_lease_waiters %d" % count for line in page.splitlines())
        self.assertTrue(until(said), "nobody waits")

    def test_one_put_answers_all(self):
        first = self.ask("herd", 100).json
        self.assertEqual(sorted(first), ["hit", "key", "lease", "lease_seconds"])
        self.assertRegex(first["lease"], "^[0-9a-f]{32}$")
        self.assertEqual(first["lease_seconds"], 100)
        threads, answers = self.asking("herd", 100, 20)
        self.waiting(20)
        self.assertEqual(self.daemon.put(text="herd", response={"a": 1}, key=RED, lease=first["lease"]).status, 201)
        for thread in threads:
            thread.join(60)
        for answer in answers:
            self.assertEqual((answer["hit"], answer["response"]), (True, {"a": 1}))
        self.waiting(0)
        self.assertTrue(self.ask("herd", 100).json["hit"])

    def test_what_was_waited_is_no_duration(self):
        daemon = Daemon(flags=self.flags)
        self.addCleanup(daemon.close)
        lease = daemon.lookup(text="timed", wait=100).json["lease"]
        answers = []
        thread = threading.Thread(target=lambda: answers.append(daemon.lookup(text="timed", wait=100).json))
        thread.start()
        until(lambda: b"aicache_lease_waiters 1\n" in daemon.get("/metrics").body)
        time.sleep(2)  # at least so long it has waited
        daemon.put(text="timed", response=1, lease=lease)
        thread.join(60)
        self.assertTrue(answers[0]["hit"])
        spent = [float(line.split()[-1]) for line in daemon.get("/metrics").body.decode().splitlines() if line.startswith("aicache_lookup_duration_seconds_sum")]
        self.assertLess(max(spent), 2)

    def test_a_lease_that_is_given_up_passes_to_exactly_one(self):
        first = self.ask("given up", 100).json
        threads, answers = self.asking("given up", 100, 5)
        self.waiting(5)
        self.assertEqual(self.daemon.request("DELETE", "/cache/leases/" + first["lease"], key=BLUE).status, 404)
        self.assertEqual(self.daemon.request("DELETE", "/cache/leases/" + first["lease"], key=RED).status, 204)
        self.assertEqual(self.daemon.request("DELETE", "/cache/leases/" + first["lease"], key=RED).status, 404)
        self.assertTrue(until(lambda: any(answers)))
        holders = [answer for answer in answers if answer]
        self.assertEqual(len(holders), 1)
        self.assertIn("lease", holders[0])
        self.daemon.put(text="given up", response=2, key=RED)  # whoever puts
        for thread in threads:
            thread.join(60)
        self.assertEqual(sorted(answer["hit"] for answer in answers), [False] + [True] * 4)

    def test_who_has_waited_long_enough_gets_a_miss(self):
        self.assertIn("lease", self.ask("slow", 100).json)
        answer = self.ask("slow", 0.3).json
        self.assertEqual(sorted(answer), ["hit", "key"])
        self.assertFalse(answer["hit"])
        self.assertEqual(sorted(self.ask("slow", 0).json), ["hit", "key"])
        self.assertEqual(sorted(self.daemon.lookup(text="slow", key=RED).json), ["hit", "key"])

    def test_a_client_that_hangs_up_holds_nobody_up(self):
        first = self.ask("hung up", 100).json
        gone = self.daemon.connect()
        gone.request("POST", "/cache/lookup", json.dumps({"operation": "qa", "text": "hung up", "wait": 100}), {"Authorization": "Bearer " + RED})
        self.waiting(1)
        threads, answers = self.asking("hung up", 100, 1)
        self.waiting(2)
        gone.close()
        self.waiting(1)
        self.daemon.request("DELETE", "/cache/leases/" + first["lease"], key=RED)
        threads[0].join(60)
        self.assertIn("lease", answers[0])

    def test_namespaces_wait_for_themselves(self):
        self.assertIn("lease", self.ask("apart", 100).json)
        self.assertIn("lease", self.ask("apart", 100, key=BLUE).json)

    def test_refusals_name_the_field(self):
        for wait in (-1, 121, "1", True, []):
            refused = self.ask("x", wait)
            self.assertEqual((refused.status, refused.error["param"]), (400, "wait"), wait)
        lease = self.ask("mine", 100).json["lease"]
        for text, wrong in (("mine", "0" * 32), ("mine", "x"), ("another", lease)):
            refused = self.daemon.put(text=text, key=RED, lease=wrong)
            self.assertEqual((refused.status, refused.error["param"]), (400, "lease"), wrong)
        self.assertEqual(self.daemon.put(text="mine", key=RED, lease=lease).status, 201)
        self.assertEqual(self.daemon.put(text="mine", key=RED, lease=lease).status, 201)  # a late answer is an answer

    def test_a_stop_ends_all_waits(self):
        daemon = Daemon(flags=self.flags, keys=self.keys)
        self.assertIn("lease", daemon.lookup(text="stop", key=RED, wait=100).json)
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(daemon.lookup(text="stop", key=RED, wait=100).json)) for _ in range(3)]
        for thread in threads:
            thread.start()
        until(lambda: b"aicache_lease_waiters 3\n" in daemon.get("/metrics", key=ROOT).body)
        began = time.monotonic()
        daemon.close()
        for thread in threads:
            thread.join(60)
        self.assertEqual([sorted(answer) for answer in answers], [["hit", "key"]] * 3)
        self.assertLess(time.monotonic() - began, 60)  # far below their hundred seconds


class WithoutMemory(Leases):
    """What is waited for is in storage's queue alone."""
    flags = ("--memory-max-bytes", "0")


if __name__ == "__main__":
    unittest.main()
