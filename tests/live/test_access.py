"""API keys: who gets in, and what each may see and touch."""
import json
import os
import signal
import socket
import unittest

from daemon import Daemon, LiveTest
from programs import until

ADMIN, RED, BLUE, GREEN = "k-admin-0123456789abcdef", "k-red-0123456789abcdef", "k-blue-0123456789abcdef", "k-green-0123456789abcdef"


class Access(LiveTest):
    keys = (("root", ADMIN, "default", True), ("red", RED, "red", False), ("blue", BLUE, "blue", False), ("green", GREEN, "green", True))

    def unauthorized(self, answer, word):
        message = self.refused(answer, 401, "authorization")
        self.assertIn(word, message)
        self.assertTrue(answer.headers["www-authenticate"].startswith("Bearer"))
        return message

    def test_without_a_key(self):  # N13
        for method, path in (("POST", "/cache/invalidate"), ("PUT", "/cache/entries"), ("POST", "/cache/lookup"), ("GET", "/cache/status"), ("GET", "/metrics"),
                             ("GET", "/cache/entries"), ("GET", "/cache/export"), ("POST", "/cache/import"), ("POST", "/cache/flushall"), ("GET", "/monitoring/cache-metrics")):
            self.unauthorized(self.daemon.request(method, path, b"{}" if method != "GET" else None), "missing")

    def test_causes(self):  # N14
        for headers, word in (({"Authorization": "Bearer "}, "empty"), ({"Authorization": "Bearer"}, "empty"), ({"Authorization": ""}, "empty"),
                              ({"Authorization": "Bearer invalid-key-format"}, "invalid"), ({"Authorization": "Bearer two words"}, "malformed"),
                              ({"Authorization": "Basic dTpw"}, "malformed"), ({"Authorization": "Bearerx"}, "malformed"), ({"X-API-Key": ""}, "empty"),
                              ({"X-API-Key": RED + "x"}, "invalid"), ({"X-API-Key": "x" * 600}, "malformed"), ({"Authorization": "Bearer " + RED, "X-API-Key": BLUE}, "different")):
            answer = self.daemon.get("/cache/status", headers=headers)
            self.unauthorized(answer, word)
            for value in headers.values():
                secret = value.split(" ", 1)[-1]
                if len(secret) > 6 and secret != "Bearer":
                    self.assertNotIn(secret.encode(), answer.body)

    def test_both_headers_and_any_case(self):
        for headers in ({"Authorization": "Bearer " + RED}, {"authorization": "bearer  " + RED}, {"X-API-Key": RED}, {"Authorization": "Bearer " + RED, "X-API-Key": RED}):
            self.assertEqual(self.daemon.get("/cache/status", headers=headers).status, 200)

    def test_headers_that_come_twice(self):
        def status(*lines):
            with socket.create_connection(("127.0.0.1", self.daemon.port), timeout=60) as peer:
                peer.sendall(("GET /cache/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + "".join(line + "\r\n" for line in lines) + "\r\n").encode())
                answer = b""
                while piece := peer.recv(65536):
                    answer += piece
            return int(answer.split()[1]), answer
        for name, scheme in (("Authorization", "Bearer "), ("X-API-Key", "")):
            red, blue, wrong = ("%s: %s%s" % (name, scheme, key) for key in (RED, BLUE, RED + "x"))
            self.assertEqual(status(red, red)[0], 200)
            for lines in ((red, blue), (blue, red), (red, red, blue), (red, "X-Other: a", blue.lower().replace(BLUE.lower(), BLUE))):
                code, answer = status(*lines)
                self.assertEqual(code, 401, lines)
                self.assertIn(b"different keys", answer)
            self.assertEqual(status(red, wrong)[0], 401)
            self.assertEqual(status(wrong, red)[0], 401)
        self.assertEqual(status("Authorization: Bearer " + RED, "X-API-Key: " + RED, "X-API-Key: " + BLUE)[0], 401)

    def test_health_needs_none(self):
        for path in ("/health", "/health/live", "/health/ready", "/livez", "/readyz", "/health/liveliness", "/health/liveness", "/health/readiness", "/health/cache"):
            self.assertEqual(self.daemon.get(path).status, 200, path)

    def test_own_namespace_by_default(self):
        self.assertEqual(self.daemon.put(text="mine", response="r", key=RED).json["namespace"], "red")
        self.assertTrue(self.daemon.lookup(text="mine", key=RED).json["hit"])
        self.assertFalse(self.daemon.lookup(text="mine", key=BLUE).json["hit"])
        self.assertFalse(self.daemon.lookup(text="mine", key=ADMIN).json["hit"])
        self.assertTrue(self.daemon.lookup(text="mine", namespace="red", key=ADMIN).json["hit"])
        self.assertTrue(self.daemon.lookup(text="mine", namespace="red", key=RED).json["hit"])

    def test_same_bytes_of_two_callers(self):
        body = '{"operation":"qa","text":"same bytes"}'
        for key, name in ((RED, "red"), (BLUE, "blue")):
            self.daemon.put(text="same bytes", response=name, key=key)
        for _ in range(3):
            for key, name in ((RED, "red"), (BLUE, "blue")):
                self.assertEqual(self.daemon.post("/cache/lookup", body, key=key).json["response"], name)

    def test_another_namespace_is_forbidden(self):
        self.refused(self.daemon.put(text="x", namespace="blue", key=RED), 403, "namespace")
        self.refused(self.daemon.lookup(text="x", namespace="nobody", key=RED), 403, "namespace")
        self.refused(self.daemon.get("/cache/entries?namespace=blue", key=RED), 403, "namespace")
        self.refused(self.daemon.get("/cache/entries?all_namespaces=1", key=RED), 403, "all_namespaces")
        self.refused(self.daemon.post("/cache/invalidate", {"namespace": "blue", "operation": "qa"}, key=RED), 403, "namespace")
        self.refused(self.daemon.post("/cache/explain", {"operation": "qa", "text": "x", "namespace": "blue"}, key=RED), 403, "namespace")
        self.refused(self.daemon.get("/cache/export?namespace=blue", key=RED), 403, "namespace")

    def test_keys_of_another_namespace_are_misses(self):
        key = self.daemon.put(text="private", key=RED).json["key"]
        self.assertEqual(self.daemon.get("/cache/entries/" + key, key=BLUE).status, 404)
        self.assertEqual(self.daemon.request("DELETE", "/cache/entries/" + key, key=BLUE).status, 404)
        self.refused(self.daemon.get("/cache/entries/%s?namespace=red" % key, key=BLUE), 403, "namespace")
        self.assertEqual(self.daemon.get("/cache/entries/" + key, key=RED).status, 200)
        self.assertEqual(self.daemon.get("/cache/entries/" + key, key=ADMIN).status, 200)

    def test_lists_and_exports_show_only_ones_own(self):
        self.daemon.put(text="listed", key=RED)
        self.daemon.put(text="listed", key=BLUE)
        names = {entry["namespace"] for entry in self.daemon.get("/cache/entries", key=RED).json["entries"]}
        self.assertEqual(names, {"red"})
        lines = [json.loads(line) for line in self.daemon.get("/cache/export", key=BLUE).body.splitlines()]
        self.assertEqual({line["namespace"] for line in lines}, {"blue"})

    def test_invalidation_stays_at_home(self):
        self.daemon.put(text="home", key=RED)
        self.daemon.put(text="home", key=BLUE)
        self.daemon.post("/cache/invalidate", {"all": True}, key=RED)
        self.assertFalse(self.daemon.lookup(text="home", key=RED).json["hit"])
        self.assertTrue(self.daemon.lookup(text="home", key=BLUE).json["hit"])

    def test_what_needs_an_administrator(self):
        for method, path, body in (("POST", "/cache/flushall", b""), ("POST", "/cache/delete", b'{"keys":[]}'), ("POST", "/cache/verify", b""), ("POST", "/monitoring/reset", b""),
                                   ("GET", "/monitoring/cache-metrics", None), ("GET", "/monitoring/export", None), ("GET", "/monitoring/slow", None),
                                   ("GET", "/monitoring/memory", None), ("GET", "/monitoring/history", None), ("GET", "/monitoring/pressure", None), ("GET", "/monitoring/pools", None),
                                   ("GET", "/monitoring/alerts", None), ("GET", "/monitoring/warnings", None),
                                   ("GET", "/cache/invalidation-stats", None), ("GET", "/cache/invalidation-recommendations", None)):
            self.assertEqual(self.daemon.request(method, path, body, key=RED).status, 403, path)
            self.assertIn(self.daemon.request(method, path, body, key=ADMIN).status, (200, 204), path)

    def event(self, key):
        """The first event of the stream in which lookups were counted."""
        connection = self.daemon.connect()
        self.addCleanup(connection.close)
        connection.request("GET", "/monitoring/stream", headers={"X-API-Key": key})
        answer = connection.getresponse()
        self.assertEqual(answer.status, 200)
        while True:
            line = answer.fp.readline()
            self.assertNotEqual(line, b"")
            if b"data: " in line:
                event = json.loads(line.split(b"data: ", 1)[1])
                if event["traffic"] and event["traffic"]["hits"]:
                    return event, line

    def test_a_stream_of_ones_own(self):
        for key, text, operation in ((RED, "red text", "red-operation"), (BLUE, "blue text", "blue-operation")):
            self.daemon.put(text=text, operation=operation, key=key)
            for _ in range(3):
                self.assertTrue(self.daemon.lookup(text=text, operation=operation, key=key).json["hit"])
        self.daemon.lookup(text="nothing", operation="blue-operation", key=BLUE)
        event, line = self.event(BLUE)
        self.assertEqual(sorted(event), ["health", "namespace", "time_ms", "top", "traffic", "uptime_seconds", "version"])
        self.assertEqual((event["namespace"], event["traffic"]["hits"], event["traffic"]["misses"], event["traffic"]["hit_rate"]), ("blue", 3, 1, 75))
        self.assertEqual([(one["namespace"], one["operation"], one["lookups"]) for one in event["top"]], [("blue", "blue-operation", 4)])
        self.assertEqual(list(event["health"]), ["status"])
        self.assertNotIn(b"red", line)
        whole, _ = self.event(ADMIN)
        self.assertIn("tiers", whole)
        self.assertLessEqual({"red", "blue"}, {one["namespace"] for one in whole["top"]})

    def test_import_cannot_name_keys(self):
        victim = self.daemon.put(text="victim", response="good", key=BLUE).json["key"]
        line = json.dumps({"key": victim, "operation": "qa", "response": "evil"})
        report = self.daemon.post("/cache/import", line, key=RED).json
        self.assertEqual((report["accepted"], report["rejected"]), (0, 1))
        report = self.daemon.post("/cache/import", json.dumps({"operation": "qa", "text": "t", "response": "x", "namespace": "blue"}), key=RED).json
        self.assertEqual(report["rejected"], 1)
        self.assertEqual(self.daemon.lookup(text="victim", key=BLUE).json["response"], "good")

    def test_an_administrator_too_fills_his_own_namespace_where_a_line_names_none(self):
        for route in ("/cache/import", "/cache/warm"):
            lines = [{"operation": "qa", "text": route, "response": 1}, {"operation": "qa", "text": route, "response": 2, "namespace": "red"}]
            self.assertEqual(self.daemon.post(route, "\n".join(map(json.dumps, lines)), key=GREEN).json["accepted"], 2)
            for key, response in ((GREEN, 1), (RED, 2)):
                self.assertEqual(self.daemon.lookup(text=route, key=key).json["response"], response)
            self.assertFalse(self.daemon.lookup(text=route, key=ADMIN).json["hit"])

    def test_import_fills_ones_own_namespace(self):
        line = json.dumps({"operation": "qa", "text": "filled", "response": "x"})
        for route in ("/cache/import", "/cache/warm"):
            self.refused(self.daemon.post(route + "?namespace=blue", line, key=RED), 403, "namespace")
            self.assertEqual(self.daemon.post(route + "?namespace=red", line, key=RED).json["accepted"], 1)
            self.assertTrue(self.daemon.lookup(text="filled", key=RED).json["hit"])
            self.assertFalse(self.daemon.lookup(text="filled", key=BLUE).json["hit"])
            self.assertEqual(self.daemon.post(route + "?namespace=green", line, key=ADMIN).json["accepted"], 1)
            self.assertTrue(self.daemon.lookup(text="filled", namespace="green", key=ADMIN).json["hit"])
            self.assertFalse(self.daemon.lookup(text="filled", key=ADMIN).json["hit"])

    def test_metrics_hide_other_namespaces(self):
        self.daemon.lookup(text="m", key=RED)
        self.daemon.lookup(text="m", key=BLUE)
        page = self.daemon.get("/metrics", key=RED).body.decode()
        self.assertIn('namespace="red"', page)
        self.assertNotIn("blue", page)
        self.assertIn('namespace="blue"', self.daemon.get("/metrics", key=ADMIN).body.decode())

    def test_figures_are_ones_own(self):
        """What one key stores and asks moves no figure that another one sees."""
        def told(key):
            status = self.daemon.get("/cache/status", key=key).json
            return {name: status[name] for name in ("namespace", "cache_size", "bytes", "total_hits", "total_misses", "hit_rate")}
        self.daemon.post("/cache/invalidate", {"all": True}, key=RED)
        self.daemon.put(text="counted", response="x" * 100, key=RED)
        self.daemon.lookup(text="counted", key=RED)
        before = told(RED)
        self.assertEqual((before["namespace"], before["cache_size"]), ("red", 1))
        self.assertGreater(before["bytes"], 100)
        page = self.daemon.get("/metrics", key=RED).body.decode()
        for index in range(20):
            self.daemon.put(text="not his %d" % index, key=BLUE)
            self.daemon.lookup(text="not his %d" % index, key=BLUE)
        self.assertEqual(told(RED), before)
        self.daemon.lookup(text="counted", key=RED)
        self.daemon.lookup(text="missed", key=RED)
        after = told(RED)
        self.assertEqual((after["total_hits"] - before["total_hits"], after["total_misses"] - before["total_misses"]), (1, 1))
        names = {line.split("{")[0].split(" ")[0] for line in page.splitlines() if not line.startswith("#")}
        self.assertEqual(names, {"aicache_build_info", "aicache_uptime_seconds", "aicache_requests_total"})
        status = self.daemon.get("/cache/status", key=RED).json
        self.assertEqual(set(status["storage"]), {"kind", "status"})
        self.assertNotIn("memory", status)
        self.assertIn("memory_cache_entries", self.daemon.get("/cache/status", key=ADMIN).json["memory"])

    def test_status_names_nothing_of_others(self):
        self.daemon.post("/cache/invalidate", {"pattern": "blue-pattern*"}, key=BLUE)
        self.assertNotIn(b"blue-pattern", self.daemon.get("/cache/status", key=RED).body)
        self.assertIn(b"blue-pattern", self.daemon.get("/cache/status", key=ADMIN).body)

    def test_log_names_no_key(self):
        with open(self.daemon.log_path, "rb") as file:
            log = file.read()
        for key in (ADMIN, RED, BLUE):
            self.assertNotIn(key.encode(), log)


class WebPages(LiveTest):
    """A page that a browser shows may not change a cache that asks for no key, whatever content type it gives, nor read one under a name that was made to point at it."""
    flags = ("--hosts", "cache.example")

    def test_pages_of_other_origins_change_nothing(self):
        own = "127.0.0.1:%d" % self.daemon.port
        line = b'{"operation":"qa","text":"planted","response":"by a page"}\n'
        self.daemon.put(text="stays", response=1)
        for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://" + own + ".evil.example"}, {"Origin": "http://127.0.0.1:1"}, {"Origin": own},
                        {"Origin": ""}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://" + own, "Sec-Fetch-Site": "cross-site"}):
            for method, path, body in (("POST", "/cache/import", line), ("POST", "/cache/warm", line), ("POST", "/cache/flushall", None), ("POST", "/cache/invalidate?all=true", None),
                                       ("POST", "/cache/lookup", b"{}"), ("PUT", "/cache/entries", line), ("POST", "/monitoring/reset", None), ("DELETE", "/cache/entries/" + "0" * 64, None)):
                answer = self.daemon.request(method, path, body, {"Content-Type": "text/plain", **headers})
                self.refused(answer, 403)
                self.assertEqual(answer.error["code"], "cross_origin")
        self.assertFalse(self.daemon.lookup(text="planted").json["hit"])
        self.assertTrue(self.daemon.lookup(text="stays").json["hit"])

    def test_our_own_pages_and_programs_may(self):
        own = "127.0.0.1:%d" % self.daemon.port
        for headers in ({}, {"Origin": "http://" + own}, {"Origin": "https://CACHE.example", "Host": "cache.EXAMPLE"}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"},
                        {"Origin": "http://in.front.of.a.proxy", "Sec-Fetch-Site": "same-origin"}):
            answer = self.daemon.request("PUT", "/cache/entries", b'{"operation":"qa","text":"own","response":1}', headers)
            self.assertEqual(answer.status, 201, headers)

    def test_a_name_that_points_here_is_not_ours(self):
        """DNS rebinding: to the browser such a page is of our own origin, and may read every answer."""
        every = (("GET", "/cache/export", None), ("HEAD", "/cache/export", None), ("POST", "/cache/flushall", b""), ("GET", "/", None), ("GET", "/metrics", None),
                 ("GET", "/health", None), ("GET", "/monitoring/stream", None), ("POST", "/cache/import", b"{}"))
        for host in ("evil.example", "EVIL.example:%d" % self.daemon.port, "localhost.evil.example", "evillocalhost", "127.0.0.1.evil.example", "cache.example.evil.example", "xcache.example",
                     "127.1", "1.2.3.4.5", "-"):
            for method, path, body in every:
                answer = self.daemon.request(method, path, body, {"Host": host, "Origin": "http://" + host, "Sec-Fetch-Site": "same-origin"})
                self.assertEqual(answer.status, 403, (host, method, path))
                if method != "HEAD":
                    self.assertEqual((answer.error["code"], answer.error["param"]), ("host_not_allowed", "Host"))
                    self.assertIn("`hosts`", answer.error["message"])
                    self.assertNotIn("evil", answer.error["message"].lower())
        # The host of an absolute target stands for that of Host.
        for target, host, status in (("http://evil.example/cache/status", "localhost", 403), ("http://localhost/cache/status", "evil.example", 200), ("HTTP://Cache.Example:80", "evil.example", 200)):
            for _ in range(3):  # the first is read whole, the others are known
                self.assertEqual(self.raw(target, host), status, (target, host))
        for host, status in (("localhost", 200), ("evil.example", 403)) * 2:
            self.assertEqual(self.raw("/cache/status", host), status, host)

    def test_addresses_and_names_that_are_ours(self):
        for host in ("127.0.0.1", "127.0.0.1:%d" % self.daemon.port, "127.0.0.1.", "[::1]", "[::1]:80", "192.168.1.2:8080", "LocalHost:1", "localhost.", "app.localhost", "Cache.Example", "cache.example.:80"):
            for path in ("/cache/status", "/", "/metrics"):
                self.assertEqual(self.daemon.get(path, headers={"Host": host}).status, 200, (host, path))

    def test_no_name_is_refused_where_no_page_gets(self):
        keyed = Daemon(keys=(("root", ADMIN, "default", True),))
        self.addCleanup(keyed.close)
        self.assertEqual(keyed.get("/cache/status", key=ADMIN, headers={"Host": "any.example"}).status, 200)
        self.assertEqual(keyed.get("/health", headers={"Host": "any.example"}).status, 200)
        path = os.path.join(keyed.directory, "socket")
        local = Daemon(flags=("--listen", "unix:" + path))
        self.addCleanup(local.close)
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(60)
            peer.connect(path)
            peer.sendall(b"GET /cache/status HTTP/1.1\r\nHost: any.example\r\nConnection: close\r\n\r\n")
            self.assertEqual(peer.recv(65536).split()[1], b"200")

    def test_the_names_change_live(self):
        daemon = Daemon(config="hosts: [one.example]\n")
        self.addCleanup(daemon.close)
        ask = lambda host: daemon.get("/cache/status", headers={"Host": host}).status
        self.assertEqual((ask("one.example"), ask("two.example")), (200, 403))
        with open(os.path.join(daemon.directory, "config.yaml"), "w") as file:
            file.write("hosts: [two.example]\n")
        daemon.process.send_signal(signal.SIGHUP)
        self.assertTrue(until(lambda: (ask("one.example"), ask("two.example")) == (403, 200)))

    def raw(self, target, host):
        with socket.create_connection(("127.0.0.1", self.daemon.port), timeout=60) as peer:
            peer.sendall(("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % (target, host)).encode())
            return int(peer.makefile("rb").readline().split()[1])

    def test_reading_and_asking_what_is_allowed_stay_open(self):
        foreign = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
        for method, path, status in (("GET", "/cache/status", 200), ("HEAD", "/cache/status", 200), ("OPTIONS", "/cache/entries", 204), ("GET", "/health", 200)):
            answer = self.daemon.request(method, path, headers=foreign)
            self.assertEqual(answer.status, status)
            self.assertFalse([name for name in answer.headers if name.startswith("access-control-")])


if __name__ == "__main__":
    unittest.main()
