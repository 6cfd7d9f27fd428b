"""What a chat application sees of the cache: counts, replies, prompts that change, log lines. Conformance groups R and O, by their ids."""
import json
import unittest

from daemon import Daemon, LiveTest


class Chat(unittest.TestCase):
    def start(self, *flags):
        daemon = Daemon(flags)
        self.addCleanup(daemon.close)
        return daemon

    @staticmethod
    def totals(daemon):
        status = daemon.get("/cache/status").json
        return status["total_hits"], status["total_misses"], status["hit_rate"], status["hit_rate_numeric"], status["cache_size"]

    @staticmethod
    def ask(daemon, **request):
        """As an application does: looks up, and stores what the model said. The reply, and whether it was a hit."""
        said = daemon.lookup(**request).json
        if said["hit"]:
            return said["response"], True
        reply = {"role": "assistant", "content": "reply to %s" % json.dumps(request, sort_keys=True)}
        assert daemon.put(response=reply, **request).status == 201
        return reply, False

    def test_fresh_and_cleared(self):  # R02, R05
        daemon = self.start()
        self.assertEqual(self.totals(daemon), (0, 0, "0.0%", 0, 0))
        for index in range(5):
            self.ask(daemon, text="m %d" % (index % 3))
        self.assertEqual(self.totals(daemon), (2, 3, "40.0%", 40, 3))
        self.assertEqual(daemon.post("/cache/flushall").status, 200)
        self.assertEqual(daemon.post("/monitoring/reset").status, 204)
        self.assertEqual(self.totals(daemon), (0, 0, "0.0%", 0, 0))
        self.assertEqual(daemon.get("/health").json["cache"]["details"], "Cache operational - 0.0% hit rate")
        measured = daemon.get("/monitoring/cache-metrics").json
        self.assertEqual((measured["cache_hits"], measured["cache_misses"], measured["total_cache_operations"]), (0, 0, 0))
        self.ask(daemon, text="m 0")
        self.ask(daemon, text="m 0")
        self.assertEqual(self.totals(daemon), (1, 1, "50.0%", 50, 1))

    def test_the_same_request_twice(self):  # R07
        daemon = self.start()
        request = {"operation": "chat", "text": "what is the weather?", "options": {"model": "m", "temperature": 0}}
        first, hit = self.ask(daemon, **request)
        self.assertFalse(hit)
        self.assertEqual(self.totals(daemon)[:2], (0, 1))
        second, hit = self.ask(daemon, **request)
        self.assertTrue(hit)
        self.assertEqual(second, first)
        self.assertEqual(self.totals(daemon)[:2], (1, 1))

    def test_users_with_the_same_messages(self):  # R08
        daemon = self.start()
        for _ in range(3):
            for user in range(3):
                for message in range(3):
                    reply, _ = self.ask(daemon, operation="chat", text="message %d" % message, namespace="user %d" % user)
                    self.assertIn('"user %d"' % user, reply["content"])
        self.assertEqual(self.totals(daemon)[:2], (18, 9))

    def test_a_prompt_that_changed(self):  # R14
        daemon = self.start()

        def request(version):
            return {"operation": "chat", "text": "who are you?", "options": {"system": "You are assistant number %d." % version}}
        for version in (1, 2):
            self.assertFalse(daemon.lookup(**request(version)).json["hit"])
            daemon.put(response="number %d" % version, tags=["prompt:%d" % version], **request(version))
        for version in (1, 2):
            self.assertEqual(daemon.lookup(**request(version)).json["response"], "number %d" % version)
        self.assertEqual(daemon.post("/cache/invalidate", {"tag": "prompt:1"}).json["removed"], 1)
        self.assertFalse(daemon.lookup(**request(1)).json["hit"])
        self.assertTrue(daemon.lookup(**request(2)).json["hit"])

    def test_log_lines_carry_the_key(self):  # R16
        daemon = self.start("--log-level", "debug", "--log-format", "json")
        key = daemon.lookup(text="logged").json["key"]
        self.assertEqual(daemon.put(text="logged").json["key"], key)
        self.assertTrue(daemon.lookup(text="logged").json["hit"])
        daemon.stop()
        with open(daemon.log_path, "rb") as file:
            lines = [json.loads(line) for line in file.read().decode().splitlines() if line.startswith("{")]
        told = [(line["message"], line["result"]) for line in lines if line.get("key") == key]
        self.assertEqual(told, [("get", "miss"), ("set", "done"), ("get", "hit")])


class WithoutMemory(LiveTest):
    flags = ("--memory-max-bytes", "0")

    def test_is_degraded(self):  # O17
        health = self.daemon.get("/health")
        self.assertEqual((health.status, health.json["status"]), (200, "degraded"))
        self.assertEqual(health.json["cache"]["status"], "degraded")
        self.assertRegex(health.json["cache"]["details"], "^Cache degraded: the memory tier is off")
        self.daemon.put(text="kept")
        self.assertEqual(self.daemon.lookup(text="kept").json["tier"], "storage")


if __name__ == "__main__":
    unittest.main()
