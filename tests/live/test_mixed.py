"""Everything at once: readers, writers, invalidations, lists, exports and reports, with reloads in between. No answer is another request's."""
import json
import os
import random
import signal
import threading
import time
import unittest

from daemon import LiveTest

KEY = "k-mixed-0123456789abcdef"
WORKERS, STEPS, TEXTS = 6, 250, 40


class Mixed(LiveTest):
    keys = (("mixed", KEY, "default", True),)
    flags = ("--memory-max-bytes", "4M", "--threads", "2")

    def ask(self, connection, method, path, body=None):
        connection.request(method, path, json.dumps(body) if body is not None else None, {"X-API-Key": KEY})
        response = connection.getresponse()
        return response.status, response.read()

    def step(self, connection, dice, done):
        text = "text %d" % dice.randrange(TEXTS)
        choice = dice.random()
        if choice < 0.25:
            status, body = self.ask(connection, "PUT", "/cache/entries", {"operation": "op %d" % dice.randrange(3), "text": text, "tags": [text],
                                                                         "response": {"of": text, "pad": "x" * dice.randrange(20000)}})
            self.assertEqual(status, 201, body)
        elif choice < 0.85:
            status, body = self.ask(connection, "POST", "/cache/lookup", {"operation": "op %d" % dice.randrange(3), "text": text})
            self.assertEqual(status, 200, body)
            answer = json.loads(body)
            done["lookups"] += 1
            if answer["hit"]:
                done["hits"] += 1
                self.assertEqual(answer["response"]["of"], text)
                self.assertEqual(answer["metadata"]["tags"], [text])
                status, body = self.ask(connection, "GET", "/cache/entries/" + answer["key"])
                done["lookups"] += 1
                done["hits"] += status == 200
                self.assertIn(status, (200, 404))
                if status == 200:
                    self.assertEqual(json.loads(body)["of"], text)
        elif choice < 0.93:
            status, body = self.ask(connection, "POST", "/cache/invalidate", {"tag": text})
            self.assertEqual(status, 200, body)
        else:
            path = dice.choice(["/cache/entries?limit=5", "/cache/export?tag=text%201", "/metrics", "/cache/status", "/health", "/monitoring/cache-metrics"])
            self.assertEqual(self.ask(connection, "GET", path)[0], 200, path)

    def work(self, seed, results, failures):
        dice = random.Random(seed)
        connection = self.daemon.connect()
        done = {"lookups": 0, "hits": 0}
        try:
            for _ in range(STEPS):
                self.step(connection, dice, done)
        except Exception as failure:  # pylint: disable=broad-except
            failures.append((seed, repr(failure)[:2000]))
        finally:
            connection.close()
            results.append(done)

    def test_everything_at_once(self):
        seed = int(os.environ.get("SEED", time.time_ns() % 1000000))
        print("seed", seed)
        results, failures = [], []
        workers = [threading.Thread(target=self.work, args=(seed + index, results, failures)) for index in range(WORKERS)]
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            os.kill(self.daemon.process.pid, signal.SIGHUP)
            time.sleep(0.05)
        for worker in workers:
            worker.join()
        self.assertEqual(failures, [])
        status = self.daemon.get("/cache/status", key=KEY).json
        self.assertEqual(status["total_hits"], sum(done["hits"] for done in results))
        self.assertEqual(status["total_hits"] + status["total_misses"], sum(done["lookups"] for done in results))
        self.assertEqual(self.daemon.post("/cache/verify", key=KEY).json["status"], "ok")


if __name__ == "__main__":
    unittest.main()
