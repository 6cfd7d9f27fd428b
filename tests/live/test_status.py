"""Status, metrics and health: numbers that follow what was done. Conformance groups N, R, K25, T10."""
import json
import re
import shutil
import subprocess
import unittest

from daemon import LiveTest
from programs import until


def samples(page):
    """{series: value} of a page, with a check of its form."""
    found = {}
    family = None
    seen = set()
    for line in page.splitlines():
        if line.startswith("# HELP "):
            family = line.split(" ")[2]
            assert family not in seen, "family twice: " + family
            seen.add(family)
        elif line.startswith("# TYPE "):
            assert line.split(" ")[2] == family, line
        else:
            match = re.fullmatch(r'([a-z_]+)(\{(?:[a-z_]+="(?:[^"\\\n]|\\[\\n"])*",?)*\})? (\S+)', line)
            assert match, line
            assert re.sub("_(bucket|sum|count)$", "", match.group(1)) == family or match.group(1) == family, line
            series = match.group(1) + (match.group(2) or "")
            assert series not in found, "series twice: " + series
            found[series] = float(match.group(3))
    return found


class Status(LiveTest):
    flags = ("--memory-max-entries", "100")

    def status(self):
        answer = self.daemon.get("/cache/status")
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.headers["content-type"], "application/json")
        return answer.json

    def setUp(self):
        self.daemon.post("/cache/flushall")

    def test_answers_end_in_a_newline(self):
        self.daemon.put(text="newline", response={"a": 1})
        key = self.daemon.lookup(text="newline").json["key"]
        for path in ("/cache/status", "/health", "/health/storage", "/health/live", "/monitoring/memory", "/cache/entries", "/cache/ping", "/nowhere", "/metrics",
                     "/cache/entries/%s?metadata=1" % key, "/cache/entries/" + "0" * 64):
            body = self.daemon.get(path).body
            self.assertTrue(body.endswith(b"\n") and not body.endswith(b"\n\n"), (path, body[-20:]))
        for text in ("newline", "never put"):
            self.assertTrue(self.daemon.lookup(text=text).body.endswith(b"}\n"))
        self.assertEqual(self.daemon.get("/cache/entries/" + key).body, b'{"a": 1}')

    def test_shape(self):  # N01, R19, E17, C14
        self.daemon.put(text="1")
        self.daemon.put(text="2")
        status = self.status()
        self.assertEqual(set(status), {"redis", "storage", "memory", "performance", "since", "total_hits", "total_misses", "hit_rate", "hit_rate_numeric", "cache_size",
                                       "memory_usage_mb", "memory_pressure",
                                       # what the table of figures has sections for
                                       "process", "lookups", "compression", "changes", "leases", "pressure", "notices", "saved", "http"})
        self.assertEqual(status["redis"], {"status": "disabled"})
        self.assertEqual((status["storage"]["kind"], status["storage"]["status"]), ("lmdb", "up"))
        self.assertGreaterEqual(set(status["storage"]), {"keys", "bytes"})
        memory = status["memory"]
        self.assertEqual((memory["memory_cache_entries"], memory["memory_cache_size_limit"], memory["memory_cache_utilization"]), (2, 100, "2/100"))
        self.assertEqual(memory["bytes"], memory["key_bytes"] + memory["value_bytes"] + memory["index_bytes"] + memory["overhead_bytes"])
        self.assertRegex(status["hit_rate"], r"^\d+\.\d%$")
        self.assertIs(status["memory_pressure"], False)
        self.assertEqual(status["cache_size"], 2)

    def test_looking_at_an_entry_is_not_serving_it(self):
        key = self.daemon.put(text="priced", tokens={"prompt": 100, "completion": 100}, cost_usd=0.5).json["key"]
        path = "/cache/entries/" + key
        absent = "/cache/entries/" + "0" * 64

        def figures():
            page = samples(self.daemon.get("/metrics").body.decode())
            status = self.status()
            saved = sum(value for series, value in page.items() if series.startswith("aicache_tokens_saved_total"))
            lookups = sum(value for series, value in page.items() if series.startswith("aicache_requests_total"))
            return status["total_hits"], status["total_misses"], saved, lookups, page["aicache_cost_saved_usd_total"]
        before = figures()
        for _ in range(5):
            self.assertEqual(self.daemon.get(path + "?metadata=1").status, 200)
            self.assertEqual(self.daemon.request("HEAD", path).status, 200)
            self.assertEqual(self.daemon.get(absent + "?metadata=1").status, 404)
            self.assertEqual(self.daemon.request("HEAD", absent).status, 404)
        self.assertEqual(figures(), before)
        self.daemon.get(path)
        self.assertEqual(figures(), (before[0] + 1, before[1], before[2] + 200, before[3] + 1, before[4] + 0.5))

    def test_a_busy_namespace_has_its_label_whenever_it_comes(self):
        def ask(namespace, operation, times):
            for _ in range(times):
                self.daemon.post("/cache/lookup", {"namespace": namespace, "operation": operation, "text": "x"})
        for number in range(150):
            ask("once-%d" % number, "step-%d" % number, 1)
        before = samples(self.daemon.get("/metrics").body.decode())
        ask("busy", "summarize", 500)
        page = samples(self.daemon.get("/metrics").body.decode())
        requests = {series: value for series, value in page.items() if series.startswith("aicache_requests_total")}
        busy = sum(value for series, value in requests.items() if 'namespace="busy",operation="summarize"' in series)
        # Those that were counted before it had its label stay with the rest.
        self.assertGreater(busy, 400)
        for label in ("namespace", "operation"):
            self.assertLessEqual(len({re.search(label + '="([^"]*)"', series).group(1) for series in requests}), 101)
        others = [series for series in requests if 'namespace="other"' in series]
        self.assertTrue(others)
        for series in others:
            self.assertGreaterEqual(requests[series], before.get(series, 0))

    def test_each_look_leaves_a_snapshot(self):  # K25; that it is one alone is shown where nothing ticks beside it, by serve-status
        looks = [self.status()["performance"]["memory_usage"]["trends"]["total_measurements"] for _ in range(20)]
        for earlier, later in zip(looks, looks[1:]):
            self.assertGreater(later, earlier)

    def test_exact_counts(self):  # N19, N20
        before, measured = self.status(), self.daemon.get("/monitoring/cache-metrics").json
        self.daemon.lookup(text="count")
        self.daemon.put(text="count")
        self.daemon.lookup(text="count")
        after, now = self.status(), self.daemon.get("/monitoring/cache-metrics").json
        self.assertEqual(after["total_hits"] - before["total_hits"], 1)
        self.assertEqual(after["total_misses"] - before["total_misses"], 1)
        self.assertEqual(now["total_cache_operations"] - measured["total_cache_operations"], 3)
        self.assertEqual(now["cache_hits"] - measured["cache_hits"], 1)
        self.assertEqual(now["cache_misses"] - measured["cache_misses"], 1)
        self.assertGreaterEqual(set(now), {"timestamp", "retention_hours", "cache_hit_rate", "total_cache_operations", "cache_hits", "cache_misses"})  # N04

    def test_sections_are_null_while_empty(self):  # N05
        self.daemon.post("/monitoring/reset")
        report = self.daemon.get("/monitoring/cache-metrics").json
        for section in ("key_generation", "cache_operations", "compression", "invalidation"):
            self.assertIsNone(report[section], section)
        self.assertIn("memory_usage", report)  # null until the next second

    def test_what_is_reset_says_since_when(self):
        self.daemon.put(text="priced", tokens={"prompt": 100, "completion": 100}, cost_usd=0.5)
        self.daemon.lookup(text="priced")
        started = self.status()["since"]

        def told():
            connection = self.daemon.connect()
            connection.request("GET", "/monitoring/stream")
            answer = connection.getresponse()
            line = b""
            while not line.startswith(b"data: "):
                line = answer.readline()
            connection.close()
            return json.loads(line[len(b"data: "):])
        self.assertTrue(until(lambda: told()["traffic"]["saved"]["tokens"] >= 200))
        self.daemon.post("/monitoring/reset")
        since = self.status()["since"]
        self.assertGreater(since, started)
        self.assertTrue(until(lambda: told()["traffic"]["since"] == since))
        traffic = told()["traffic"]
        self.assertEqual((traffic["hits"], traffic["misses"], traffic["puts"], traffic["saved"]), (0, 0, 0, {"tokens": 0, "cost_usd": 0}))
        self.assertIsNone(told()["latency"])
        self.daemon.lookup(text="priced")
        self.assertTrue(until(lambda: told()["traffic"]["hits"] == 1))
        self.assertEqual(told()["traffic"]["saved"], {"tokens": 200, "cost_usd": 0.5})
        self.assertEqual(self.daemon.get("/health").json["cache"]["since"], since)
        self.assertGreaterEqual(self.daemon.get("/monitoring/cache-metrics").json["since"], since)

    def test_ping_counts_no_lookup(self):
        before = self.status()
        ping = self.daemon.get("/cache/ping").json
        self.assertEqual((ping["status"], ping["set_cache_response"]), ("healthy", "success"))
        after = self.status()
        self.assertEqual((after["total_hits"], after["total_misses"]), (before["total_hits"], before["total_misses"]))
        self.assertTrue(until(lambda: self.status()["cache_size"] <= before["cache_size"]))  # storage applies what is queued

    def test_reports(self):
        for path in ("/cache/invalidation-stats", "/cache/invalidation-recommendations", "/monitoring/memory", "/monitoring/warnings", "/monitoring/slow", "/monitoring/slow?multiplier=5",
                     "/monitoring/export"):
            answer = self.daemon.get(path)
            self.assertEqual((answer.status, answer.headers["content-type"]), (200, "application/json"), path)
            answer.json
        for bad in ("0", "-1", "x", "nan", "inf", "1e9", "", "0x10", "%2B2", "+2", "%202", "2%20", "2%00", ".5", "2.", "02", "2_0", "2,5", "[2]", "%222%22", "2" * 4000, "2&multiplier=3"):
            self.assertIn("accepted" if "&" not in bad else "twice", self.refused(self.daemon.get("/monitoring/slow?multiplier=" + bad), 400, "multiplier"))
        for good in ("2", "1.5", "0.001", "1e3", "1000000", "2.000000000000000000000000000000000000000"):
            self.assertEqual(self.daemon.get("/monitoring/slow?multiplier=" + good).status, 200, good)

    def test_verify(self):
        self.daemon.put(text="verified")
        self.assertEqual(self.daemon.post("/cache/verify").json["status"], "ok")


class Fresh(LiveTest):
    def test_numbers_from_the_first_request_on(self):  # R02, R04, T10
        status = self.daemon.get("/cache/status").json
        self.assertEqual((status["total_hits"], status["total_misses"], status["hit_rate"], status["hit_rate_numeric"], status["cache_size"]), (0, 0, "0.0%", 0, 0))
        self.daemon.lookup(text="t")
        self.daemon.put(text="t")
        self.daemon.lookup(text="t")
        self.assertEqual(self.daemon.get("/health").json["cache"]["details"], "Cache operational - 50.0% hit rate")
        for index in range(53):
            self.daemon.lookup(text="miss %d" % index)
        for _ in range(5):
            self.daemon.lookup(text="t")
        status = self.daemon.get("/cache/status").json
        self.assertEqual((status["total_hits"], status["total_misses"], status["hit_rate"]), (6, 54, "10.0%"))

    def test_health(self):
        answer = self.daemon.get("/health")
        body = answer.json
        self.assertEqual((answer.status, body["status"]), (200, "healthy"))
        for part in ("redis", "chromadb", "embeddings", "upstream"):
            self.assertEqual(body[part]["status"], "disabled")
        for part in ("storage", "memory", "cache"):
            self.assertEqual(body[part]["status"], "healthy", body)
            self.assertGreaterEqual(body[part]["response_time_ms"], 0)
        self.assertEqual(body["summary"], "3/3 services healthy")
        self.assertEqual(set(body["cache"]["stats"]), {"total_hits", "total_misses", "hit_rate", "cache_size", "memory_usage_mb", "memory_pressure"})
        self.assertEqual(self.daemon.request("HEAD", "/health").status, 200)

    def test_health_draft(self):
        answer = self.daemon.get("/health", headers={"Accept": "application/health+json"})
        self.assertEqual(answer.headers["content-type"], "application/health+json")
        self.assertEqual(answer.json["status"], "pass")
        for name, checks in answer.json["checks"].items():
            self.assertIsInstance(checks, list, name)
            self.assertIn(checks[0]["status"], ("pass", "warn", "fail"))
        self.assertEqual(set(answer.json["checks"]), {"uptime", "storage:responseTime", "memory:utilization", "cache:hitRatio"})

    def test_health_of_one_part(self):
        self.assertEqual(self.daemon.get("/health/storage").json["status"], "healthy")
        self.assertEqual(self.daemon.get("/health/redis").json["status"], "disabled")
        self.refused(self.daemon.get("/health/nonsense"), 404, "part")
        self.assertTrue(until(lambda: self.daemon.get("/health/history/storage").json["history"]))  # from the first check on

    def test_unknown_and_wrong(self):
        self.refused(self.daemon.get("/nothing/here"), 404)
        answer = self.daemon.request("DELETE", "/cache/lookup")
        self.refused(answer, 405)
        self.assertIn("POST", answer.headers["allow"])


class Metrics(LiveTest):
    def page(self, **more):
        return self.daemon.get("/metrics", **more)

    def test_form(self):
        self.daemon.lookup(text="m", namespace='we"ird\\name')
        self.daemon.put(text="m", response="x" * 4000, tokens={"prompt_tokens": 3, "completion_tokens": 4}, cost_usd=0.5)
        for _ in range(3):
            self.daemon.lookup(text="m")
        answer = self.page()
        self.assertEqual(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8")
        self.assertTrue(answer.body.endswith(b"\n"))
        found = samples(answer.body.decode())
        self.assertEqual(found['aicache_requests_total{namespace="default",operation="qa",result="hit",kind="exact",tier="memory"}'], 3)
        self.assertEqual(found['aicache_requests_total{namespace="we\\"ird\\\\name",operation="qa",result="miss",kind="exact",tier="none"}'], 1)
        self.assertEqual(found['aicache_lookup_duration_seconds_count{result="hit",tier="memory"}'], 3)
        self.assertEqual(found['aicache_lookup_duration_seconds_bucket{result="hit",tier="memory",le="+Inf"}'], 3)
        self.assertEqual(found["aicache_store_duration_seconds_count"], 1)
        self.assertEqual(found['aicache_tokens_saved_total{type="prompt"}'], 9)
        self.assertEqual(found['aicache_tokens_saved_total{type="completion"}'], 12)
        self.assertEqual(found["aicache_cost_saved_usd_total"], 1.5)
        self.assertEqual(found["aicache_request_memo_hits_total"] + found["aicache_request_memo_misses_total"], 4)
        self.assertEqual(found["aicache_storage_up"], 1)
        self.assertLess(found["aicache_compression_ratio"], 1)
        self.assertGreater(found["process_resident_memory_bytes"], 1e6)
        self.assertGreater(found["process_start_time_seconds"], 1.6e9)
        self.assertEqual(found['aicache_http_requests_total{route="/cache/entries",method="PUT",code="2xx"}'], 1)

    @unittest.skipUnless(shutil.which("promtool"), "promtool is not installed")
    def test_promtool_says_nothing(self):
        self.daemon.lookup(text="p")
        done = subprocess.run(["promtool", "check", "metrics"], input=self.page().body, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        self.assertEqual((done.returncode, done.stdout), (0, b""))

    def test_open_metrics(self):
        answer = self.page(headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        self.assertTrue(answer.headers["content-type"].startswith("application/openmetrics-text"))
        self.assertTrue(answer.body.endswith(b"# EOF\n"))
        self.assertIn(b"# TYPE aicache_requests counter", answer.body)

    def test_labels_are_bounded(self):
        for index in range(150):
            self.daemon.lookup("operation %d" % index, "t", namespace="ns %d" % index)
        self.daemon.lookup("other", "t", namespace="other")
        found = samples(self.page().body.decode())
        names = {re.search('namespace="([^"]*)"', series).group(1) for series in found if series.startswith("aicache_requests_total")}
        self.assertLessEqual(len(names), 101)
        self.assertIn("other", names)
        before = sum(value for series, value in found.items() if series.startswith("aicache_requests_total"))
        self.daemon.lookup("one more", "t", namespace="one more")
        after = sum(value for series, value in samples(self.page().body.decode()).items() if series.startswith("aicache_requests_total"))
        self.assertEqual(after - before, 1)


if __name__ == "__main__":
    unittest.main()
