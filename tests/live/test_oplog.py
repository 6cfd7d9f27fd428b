"""The operation log: every operation at level debug, one in N at info, as fields that a program can read; never what was asked or answered."""
import json
import unittest

from daemon import Daemon
from programs import until

SECRET = "a-text-that-nobody-should-find-in-a-log"


def lines_of(daemon):
    """The log's events after the daemon ended."""
    with open(daemon.log_path, "rb") as file:
        text = file.read().decode()
    return text, [json.loads(line) for line in text.splitlines() if line.startswith("{")]


class OperationLog(unittest.TestCase):
    def work(self, flags, rounds=1):
        daemon = Daemon(flags=("--log-format", "json", *flags))
        for _ in range(rounds):
            daemon.lookup(text=SECRET)
            stored = daemon.put(text=SECRET, response=SECRET, question=SECRET).json
            daemon.lookup(text=SECRET, question=SECRET)
            # An answer that has arrived may not be let go of yet, and what is removed then is memory in use for another moment.
            self.assertTrue(until(lambda: daemon.get("/cache/status").json["memory"]["pinned"] == 0))
            daemon.request("DELETE", "/cache/entries/" + stored["key"])
        daemon.post("/cache/invalidate", {"operation": "qa"})
        daemon.stop()
        self.addCleanup(daemon.close)
        text, events = lines_of(daemon)
        self.assertNotIn(SECRET, text)
        return stored["key"], [event for event in events if event.get("part") == "cache" and "duration_seconds" in event]

    def test_debug_logs_every_operation(self):
        key, events = self.work(("--log-level", "debug"))
        self.assertEqual([event["message"] for event in events], ["get", "set", "get", "delete", "invalidate"])
        self.assertEqual([event["result"] for event in events], ["miss", "done", "hit", "done", "done"])
        self.assertEqual([event["tier"] for event in events[:3]], ["none", "memory,storage", "memory"])
        for event in events[1:4]:
            self.assertEqual(event["key"], key)
            self.assertGreaterEqual(event["duration_seconds"], 0)
        stored, deleted = events[1], events[3]
        self.assertGreater(stored["memory_after"], stored["memory_before"])
        self.assertEqual(deleted["memory_after"], stored["memory_before"])
        self.assertEqual([event["operation"] for event in events[:3]], ["qa"] * 3)

    def test_a_miss_names_its_operation(self):
        """Parsed anew, known from before, parsed beside the serving thread; by key nobody knows it."""
        daemon = Daemon(flags=("--log-format", "json", "--log-level", "debug"))
        self.addCleanup(daemon.close)
        for operation, text in (("qa", "short"), ("qa", "short"), ("summarize", "long " * 40000), ("chat", "short")):
            self.assertFalse(daemon.lookup(operation, text).json["hit"])
        self.assertEqual(daemon.get("/cache/entries/" + "0" * 64).status, 404)
        daemon.stop()
        gets = [event for event in lines_of(daemon)[1] if event.get("message") == "get"]
        self.assertEqual([event["operation"] for event in gets], ["qa", "qa", "summarize", "chat", ""])
        self.assertEqual([event["result"] for event in gets], ["miss"] * 5)

    def test_info_logs_none_unless_asked(self):
        self.assertEqual(self.work(())[1], [])

    def test_info_logs_one_in_so_many(self):
        events = self.work(("--log-sample", "4"), rounds=10)[1]
        self.assertEqual(len(events), 11)  # 41 operations: the first, and every fourth after it
        self.assertTrue(all(event["level"] == "info" for event in events))


if __name__ == "__main__":
    unittest.main()
