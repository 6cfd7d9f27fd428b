"""Many lookups in one request: each is answered in its place, as it is by itself."""
import unittest

from daemon import Daemon, LiveTest

MOST = 256
RED = "red-key-of-this-test-0123456789abcdef"


def ask(text, **fields):
    return {"operation": "qa", "text": text, **fields}


class LookupMany(LiveTest):
    keys = (("red", RED, "red", False), ("root", RED + "-root", "default", True))

    def many(self, requests, key=RED):
        answer = self.daemon.post("/cache/lookup-many", {"requests": requests}, key=key)
        self.assertEqual(answer.status, 200, answer)
        results = answer.json["results"]
        self.assertEqual(len(results), len(requests))
        return results

    def figures(self):
        status = self.daemon.get("/cache/status", key=RED).json
        return status["total_hits"], status["total_misses"]

    def test_each_is_answered_as_by_itself(self):
        texts = ["many %d" % index for index in range(MOST)]
        for index, text in enumerate(texts):
            if index % 3 != 2:
                response = {"of": index} if index != 4 else "x" * 600000
                self.assertEqual(self.daemon.put(text=text, response=response, key=RED, tags=["t"], cost_usd=0.5).status, 201)
        alone = [self.daemon.lookup(text=text, key=RED).json for text in texts[:9]]
        before = self.figures()
        results = self.many([ask(text) for text in texts])
        for index, result in enumerate(results):
            self.assertEqual(result["hit"], index % 3 != 2, index)
            if result["hit"]:
                self.assertEqual(result["response"], {"of": index} if index != 4 else "x" * 600000)
                self.assertEqual(result["metadata"]["key"], result["key"])
        for single, result in zip(alone, results):
            for told in (single, result):  # time goes on
                for member in ("age_seconds", "ttl_seconds"):
                    told.pop(member, None)
                told.get("metadata", {}).pop("ttl_seconds", None)
            self.assertEqual(single, result)
        after = self.figures()
        hits = sum(result["hit"] for result in results)
        self.assertEqual((after[0] - before[0], after[1] - before[1]), (hits, MOST - hits))

    def test_what_is_wrong_with_one_stays_in_its_place(self):
        self.daemon.put(text="good", response=1, key=RED)
        wrong = [ask("good"), {"operation": "qa"}, 7, ask("good", wait=3), ask("good", nope=1), ask("good", namespace="blue"), ask("good", options={"a": 1}), ask("good")]
        results = self.many(wrong)
        self.assertEqual([result.get("hit") for result in results], [True, None, None, None, None, None, False, True])
        params = [result["error"]["param"] for result in results if "error" in result]
        self.assertEqual(params, ["requests[1].text", "requests[2]", "requests[3].wait", "requests[4].nope", "requests[5].namespace"])
        self.assertEqual(results[5]["error"]["type"], "permission_error")
        self.assertEqual(set(results[1]["error"]), {"message", "type", "param", "code"})
        self.assertIn("wait", results[3]["error"]["message"])

    def test_what_is_wrong_with_the_whole_refuses_it(self):
        for body, param in (({"requests": []}, "requests"), ({"requests": [ask("a")] * (MOST + 1)}, "requests"), ({"requests": {}}, "requests"), ({}, "requests"),
                            ({"requests": [ask("a")], "wait": 3}, "wait")):
            self.refused(self.daemon.post("/cache/lookup-many", body, key=RED), 400, param)
        self.refused(self.daemon.post("/cache/lookup-many", b'{"requests":[{"operation":"qa","text":"a"},]}', key=RED), 400)

    def test_storage_has_what_memory_has_not(self):
        for index in range(40):
            self.daemon.put(text="stored %d" % index, response=index, key=RED)
        self.assertEqual(self.daemon.post("/cache/invalidate", {"all": True, "tier": "memory"}, key=RED).status, 200)
        self.daemon.put(text="stored 0", response=0, key=RED)
        requests = [ask("stored %d" % index) for index in range(40)]
        for tier in ("storage", "memory"):
            results = self.many(requests)
            self.assertEqual([result["response"] for result in results], list(range(40)))
            self.assertEqual([result["tier"] for result in results], ["memory"] + [tier] * 39)


class LookupManyLarge(unittest.TestCase):
    def test_an_answer_beyond_the_limit_is_refused_whole(self):
        daemon = Daemon(("--limits-body-bytes", "1M", "--limits-answers-bytes", "4M"))
        self.addCleanup(daemon.close)
        self.assertEqual(daemon.put(text="large", response="y" * 700000).status, 201)
        self.assertEqual(daemon.post("/cache/lookup-many", {"requests": [ask("large")] * 40}).status, 503)
        few = daemon.post("/cache/lookup-many", {"requests": [ask("large"), ask("none")]})
        self.assertEqual([result.get("response") for result in few.json["results"]], ["y" * 700000, None])


if __name__ == "__main__":
    unittest.main()
