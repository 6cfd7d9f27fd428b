"""Invalidation over HTTP: exact, complete, counted. Conformance group G."""
import json
import re
import threading
import unittest

from daemon import Daemon, LiveTest


class Invalidate(LiveTest):
    def setUp(self):
        self.daemon.post("/cache/flushall")
        self.daemon.post("/monitoring/reset")

    def invalidate(self, **body):
        answer = self.daemon.post("/cache/invalidate", body)
        self.assertEqual(answer.status, 200, answer)
        return answer.json

    def stored(self, operation="qa", text="hello", **fields):
        return self.daemon.lookup(operation, text, **fields).json["hit"]

    def events(self):
        return self.daemon.get("/monitoring/export").json["invalidation_events"]

    def test_pattern_and_its_event(self):  # G01, G14
        for index in range(3):
            self.daemon.put("test", "g %d" % index)
        self.daemon.put("other", "g")
        done = self.invalidate(pattern="test", context="why")
        self.assertEqual((done["matched"], done["removed"], done["dry_run"]), (3, 3, False))
        self.assertGreater(done["bytes_freed"], 0)
        self.assertFalse(any(self.stored("test", "g %d" % index) for index in range(3)))
        self.assertTrue(self.stored("other", "g"))
        event = self.events()[-1]
        self.assertEqual((event["pattern"], event["keys_invalidated"], event["invalidation_type"], event["operation_context"]), ("test", 3, "manual", "why"))
        self.assertEqual(event["additional_data"]["status"], "success")
        stats = self.daemon.get("/cache/invalidation-stats").json
        self.assertEqual((stats["total_invalidations"], stats["total_keys_invalidated"]), (1, 3))

    def test_no_match(self):  # G02, G13
        self.daemon.put("qa", "stays")
        self.assertEqual(self.invalidate(pattern="nothing*")["removed"], 0)
        self.assertEqual(self.invalidate(operation="q")["removed"], 0)
        self.assertTrue(self.stored("qa", "stays"))
        self.assertEqual(self.events()[0]["keys_invalidated"], 0)

    def test_everything_of_the_namespace(self):  # G05
        for index in range(4):
            self.daemon.put(text="all %d" % index)
        self.daemon.put(text="all 0", namespace="next")
        self.assertEqual(self.invalidate(all=True, context="ctx")["removed"], 4)
        self.assertFalse(self.stored(text="all 0"))
        self.assertTrue(self.stored(text="all 0", namespace="next"))
        event = self.events()[-1]
        self.assertEqual((event["pattern"], event["operation_context"]), ("", "ctx"))
        self.assertEqual(self.invalidate(all=True, all_namespaces=True)["removed"], 1)

    def test_by_operation(self):  # G07, G08
        self.daemon.put("qa", "x")
        self.daemon.put("qa_v2", "x")
        self.assertEqual(self.invalidate(operation="qa", context="given")["removed"], 1)
        self.assertTrue(self.stored("qa_v2", "x"))
        self.daemon.put("qa", "x")
        self.invalidate(operation="qa")
        first, second = self.events()
        self.assertEqual((first["pattern"], first["operation_context"]), ("op:qa", "given"))
        self.assertEqual(second["operation_context"], "operation_specific_qa")

    def test_by_tag_and_model(self):
        self.daemon.put(text="1", tags=["a", "b"], model="m1")
        self.daemon.put(text="2", tags=["b"], model="m2")
        self.assertEqual(self.invalidate(tag="a")["removed"], 1)
        self.assertEqual(self.invalidate(model="m")["removed"], 0)
        self.assertEqual(self.invalidate(model="m2", tag="b")["removed"], 1)

    def test_dry_run_removes_nothing(self):
        self.daemon.put(text="dry")
        done = self.invalidate(operation="qa", dry_run=True)
        self.assertEqual((done["matched"], done["removed"], done["dry_run"]), (1, 0, True))
        self.assertTrue(self.stored(text="dry"))

    def test_memory_only(self):  # G10
        self.daemon.put(text="tiers")
        for _ in range(2):
            self.invalidate(operation="qa", tier="memory")
        self.assertEqual(self.daemon.lookup(text="tiers").json["tier"], "storage")
        self.assertEqual(self.daemon.get("/cache/invalidation-stats").json["total_invalidations"], 2)
        self.assertEqual(self.events()[-1]["invalidation_type"], "memory")

    def test_both_tiers_and_reset(self):  # G11, G14
        self.daemon.put(text="both")
        self.invalidate(operation="qa")
        self.assertFalse(self.stored(text="both"))
        self.daemon.post("/monitoring/reset")
        self.assertEqual(self.events(), [])

    def test_age(self):
        self.daemon.put(text="young")
        self.assertEqual(self.invalidate(older_than_seconds=3600)["matched"], 0)
        self.assertEqual(self.invalidate(older_than_seconds=0)["removed"], 1)

    def test_strange_patterns(self):  # G16
        for pattern in ("@#$%^&*()", "测试模式", "a:b:c:d", "x:*:middle:*", "[", "\\", "*" * 1000, "a\nb", "%s%n", "a\x00b*", "\x01\x7f", "\x00" * 1024, "\U0001F600" * 256):
            answer = self.daemon.post("/cache/invalidate", {"pattern": pattern})
            self.assertIn(answer.status, (200, 400, 422), answer)
            if answer.status == 200:
                self.assertIn(pattern, answer.json["message"])
        self.daemon.put("op", "glob", tags=["测试模式-1"])
        self.assertEqual(self.invalidate(pattern="测试*", dry_run=True)["message"], "1 entry matches the pattern 测试*")
        self.assertEqual(self.invalidate(pattern="测试*")["message"], "1 entry was removed that matches the pattern 测试*")
        self.assertEqual(self.invalidate(pattern="测试*")["message"], "0 entries were removed that match the pattern 测试*")

    def test_metrics_say_of_which_kind(self):
        def counted():
            text = self.daemon.get("/metrics").body.decode()
            return {kind: int(value) for kind, value in re.findall(r'aicache_invalidations_total\{type="(\w+)"\} (\d+)', text)}

        before = counted()
        for body in ({"operation": "qa"}, {"operation": "qa", "tier": "memory"}, {"tag": "none"}, {"pattern": "q*"}):
            self.assertEqual(self.daemon.post("/cache/invalidate", body).status, 200)
        after = counted()
        self.assertEqual({kind: after[kind] - before[kind] for kind in after}, {"manual": 2, "operation_specific": 1, "memory": 1})

    def test_by_query(self):
        self.daemon.put(text="query")
        self.assertEqual(self.daemon.post("/cache/invalidate?operation=qa&dry_run=true").json["matched"], 1)
        self.assertEqual(self.daemon.post("/cache/invalidate?operation=qa").json["removed"], 1)
        self.assertIn("not both", self.refused(self.daemon.post("/cache/invalidate?operation=qa", {"operation": "qa"}), 400))

    def test_refusals(self):
        for body in ({}, {"tier": "memory"}, {"dry_run": True}, {"context": "x"}, {"all": False}, {"all_namespaces": True}):
            self.assertIn("all", self.refused(self.daemon.post("/cache/invalidate", body), 400))
        self.refused(self.daemon.post("/cache/invalidate"), 400)
        for body, field in (({"operation": 1}, "operation"), ({"older_than_seconds": -1}, "older_than_seconds"), ({"older_than_seconds": "1"}, "older_than_seconds"),
                            ({"tier": "disk"}, "tier"), ({"all": "yes"}, "all"), ({"limit": 1}, "limit"), ({"pattern": ""}, "pattern"),
                            ({"namespace": "a", "all_namespaces": True, "all": True}, "namespace")):
            self.refused(self.daemon.post("/cache/invalidate", body), 400, field)
        for name in ("all", "dry_run", "all_namespaces", "operation", "namespace", "model", "tag", "pattern", "tier", "older_than_seconds"):  # a variable that nobody set
            for query in (name, name + "="):
                self.refused(self.daemon.post("/cache/invalidate?context=x&" + query), 400, name)

    def test_readers_see_nothing_after_the_answer(self):
        stop, wrong = threading.Event(), []

        def read():
            while not stop.is_set():
                self.daemon.lookup(text="raced")
        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for _ in range(30):
            self.daemon.put(text="raced")
            self.invalidate(operation="qa")
            if self.stored(text="raced"):
                wrong.append(1)
        stop.set()
        for reader in readers:
            reader.join()
        self.assertEqual(wrong, [])

    def test_delete_by_keys(self):
        keys = [self.daemon.put(text="k %d" % index).json["key"] for index in range(3)]
        done = self.daemon.post("/cache/delete", {"keys": keys[:2] + ["0" * 64]}).json
        self.assertEqual(done, {"status": "success", "deleted": 2, "not_found": 1})
        self.assertTrue(self.stored(text="k 2"))
        for body, field in (({}, "keys"), ({"keys": keys[2]}, "keys"), ({"keys": [keys[2], "x"]}, "keys[1]"), ({"keys": [1]}, "keys[0]")):
            self.refused(self.daemon.post("/cache/delete", body), 400, field)
        self.assertTrue(self.stored(text="k 2"))

    def test_flush(self):
        self.daemon.put(text="f", namespace="one")
        self.daemon.put(text="f", namespace="two")
        self.assertEqual(self.daemon.post("/cache/flushall").json["removed"], 2)
        self.assertEqual(self.daemon.get("/cache/entries?all_namespaces=true").json["count"], 0)


class Walks(unittest.TestCase):
    def test_nobody_waits_for_those_who_hung_up(self):
        """Lists by a pattern that matches nothing, each a walk through all there is; their clients leave. So does the daemon, at once."""
        daemon = Daemon(("--timeouts-drain", "1s", "--memory-max-bytes", "512M"))
        self.addCleanup(daemon.close)
        tags = ["tag %02d %s" % (number, "a" * 100) for number in range(32)]
        for begin in range(0, 20000, 1000):
            lines = (json.dumps({"operation": "qa", "text": str(begin + index), "response": 1, "tags": tags}) for index in range(1000))
            self.assertEqual(daemon.post("/cache/import", "\n".join(lines)).json["accepted"], 1000)

        def ask(count):
            waiting = [daemon.connect() for _ in range(count)]
            for connection in waiting:
                connection.request("GET", "/cache/entries?pattern=*%5B" + "a" * 900 + "%5Dx")
            return waiting
        for connection in ask(400):
            connection.close()
        one, = ask(1)
        one.sock.settimeout(30)  # 400 walks take minutes
        self.assertEqual(json.loads(one.getresponse().read())["count"], 0)
        one.close()
        waiting = ask(400)
        self.assertEqual(daemon.stop(), 0)  # the cut at 1 s ends them all; before, the daemon gave up on storage
        with open(daemon.log_path, "rb") as file:
            self.assertNotIn(b"does not let go", file.read())
        for connection in waiting:
            connection.close()


if __name__ == "__main__":
    unittest.main()
