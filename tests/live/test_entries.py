"""Entries over HTTP: put, lookup, get, delete; what comes back is what was stored."""
import hashlib
import json
import socket
import threading
import unittest

from daemon import Daemon, LiveTest
from programs import until


class Entries(LiveTest):
    def test_put_answers_what_was_kept(self):
        answer = self.daemon.put(text="put 1", response={"a": [1, 2.50, None]}, tags=["x", "y"], model="gpt")
        self.assertEqual(answer.status, 201)
        body = answer.json
        self.assertEqual(set(body), {"key", "namespace", "operation", "expires_at", "size_bytes", "stored_bytes", "compressed", "tier"})
        self.assertRegex(body["key"], "^[0-9a-f]{64}$")
        self.assertEqual((body["namespace"], body["operation"], body["compressed"]), ("default", "qa", False))
        self.assertEqual(body["tier"], ["memory", "storage"])
        self.assertEqual(body["size_bytes"], len(json.dumps({"a": [1, 2.50, None]})))
        self.assertEqual(answer.headers["location"], "/cache/entries/" + body["key"])

    def test_default_ttl_by_operation(self):  # E01
        for operation, ttl in [("summarize", 7200), ("sentiment", 86400), ("key_points", 7200), ("questions", 3600), ("qa", 1800), ("else", 3600)]:
            self.assertEqual(self.daemon.put(operation, "ttl").status, 201)
            left = self.daemon.lookup(operation, "ttl").json["ttl_seconds"]
            self.assertTrue(ttl - 5 <= left <= ttl, (operation, left))

    def test_hit_and_its_metadata(self):  # E02, E04
        response = {"operation": "summarize", "result": "short", "success": True}
        self.daemon.put("summarize", "héllo 😀", response, model="m", tags=["t"], tokens={"prompt_tokens": 7, "completion_tokens": 5}, cost_usd=0.25)
        hit = self.daemon.lookup("summarize", "héllo 😀", model="m").json
        self.assertEqual(set(hit), {"hit", "key", "tier", "age_seconds", "ttl_seconds", "response", "metadata"})
        self.assertIs(hit["hit"], True)
        self.assertEqual(hit["response"], response)
        self.assertEqual(hit["tier"], "memory")
        meta = hit["metadata"]
        self.assertEqual(meta["key"], hit["key"])
        self.assertEqual((meta["namespace"], meta["operation"], meta["model"], meta["tags"]), ("default", "summarize", "m", ["t"]))
        self.assertEqual((meta["tokens"], meta["prompt_tokens"], meta["completion_tokens"], meta["cost_usd"]), (12, 7, 5, 0.25))
        self.assertEqual(meta["text_length"], 7)
        self.assertIs(meta["cache_hit"], True)
        self.assertIs(meta["compression_used"], False)
        self.assertEqual(meta["cached_at"], meta["created_at"])
        self.assertRegex(meta["cached_at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")

    def test_unknown_request_is_a_miss(self):  # E05
        miss = self.daemon.lookup(text="never stored")
        self.assertEqual(miss.status, 200)
        self.assertEqual(set(miss.json), {"hit", "key"})
        self.assertIs(miss.json["hit"], False)

    def test_identical_bytes_again(self):
        self.daemon.put(text="memo", response=1)
        for expected in (1, 1, 2, 2):
            if expected == 2:
                self.daemon.put(text="memo", response=2)
            self.assertEqual(self.daemon.lookup(text="memo").json["response"], expected)

    def test_metadata_follows_the_entry(self):
        tags = ["tag %d %s" % (index, "\u00fc\"" * 30) for index in range(32)]
        for round, fields in enumerate(({}, {"tags": ["one"]}, {"tags": tags, "model": "m"}, {"ttl": 0, "cost_usd": 1.5}, {})):
            put = self.daemon.put(text="followed", response=round, **fields).json
            for _ in range(3):
                hit = self.daemon.lookup(text="followed", model=fields.get("model")).json
                self.assertEqual(hit["response"], round)
                meta = hit["metadata"]
                self.assertEqual((hit["key"], meta["key"], meta["expires_at"]), (put["key"], put["key"], put["expires_at"]))
                self.assertEqual((sorted(meta["tags"]), meta["model"], meta["cost_usd"]), (sorted(fields.get("tags", [])), fields.get("model"), fields.get("cost_usd", 0)))
                self.assertEqual(meta["ttl_seconds"], hit["ttl_seconds"])

    def test_same_request_spelled_differently(self):
        self.daemon.put(text="spell", response="one", options={"a": 1, "b": {"c": True}})
        for body in ('{"text":"spell","operation":"qa","options":{"b":{"c":true},"a":1.0}}',
                     '{ "operation" : "q\\u0061","options":{"a":10e-1,"b":{"c":true}}, "text":"sp\\u0065ll" }'):
            self.assertEqual(self.daemon.post("/cache/lookup", body).json.get("response"), "one", body)
        for other in ({"a": "1", "b": {"c": True}}, {"a": 1}, {"a": 1, "b": {"c": "true"}}):
            self.assertFalse(self.daemon.lookup(text="spell", options=other).json["hit"])
        self.daemon.put(text="question", response="absent")
        self.assertFalse(self.daemon.lookup(text="question", question="").json["hit"])
        self.assertTrue(self.daemon.lookup(text="question", options={}).json["hit"])
        self.assertTrue(self.daemon.lookup(text="question", options=None).json["hit"])

    def test_every_kind_of_value(self):  # E25, C13
        values = ["", {}, [], None, False, 0, -1.5e300, "ü" * 5000, {"k": ["v"] * 200}, "\u0000\"\\", "a" * 3000000]
        for index, value in enumerate(values):
            self.daemon.put(text="value %d" % index, response=value)
            hit = self.daemon.lookup(text="value %d" % index).json
            self.assertTrue(hit["hit"])
            self.assertEqual(hit["response"], value)

    def test_bytes_come_back_as_they_were(self):
        raw = '{"b":1.10,"a":[1e2,  "\\u0041"],"big":123456789012345678901234567890}'
        answer = self.daemon.request("PUT", "/cache/entries", '{"operation":"qa","text":"raw","response":%s}' % raw)
        self.assertEqual(answer.status, 201)
        got = self.daemon.get("/cache/entries/" + answer.json["key"])
        self.assertEqual(got.body.decode(), raw)

    def test_large_text_and_response(self):
        text = "lorem ipsum " * 200000
        self.assertEqual(self.daemon.put(text=text, response={"r": text}).status, 201)
        hit = self.daemon.lookup(text=text).json
        self.assertEqual(hit["response"], {"r": text})
        self.assertTrue(hit["metadata"]["compressed"])

    def worker_decodes(self):
        page = self.daemon.get("/metrics").body.decode()
        return int(page.split("\naicache_worker_decodes_total ")[1].split("\n")[0])

    def test_a_large_compressed_response_is_decoded_by_a_worker(self):
        """Whole, by every way there is to it; a small one, and one that need not be decoded, stay on their thread."""
        large = " ".join("sentence %d of a long answer" % number for number in range(40000))
        before = self.worker_decodes()
        small = self.daemon.put(text="a small one", response=large[:200000]).json
        self.assertTrue(small["compressed"])
        self.assertEqual(self.daemon.get("/cache/entries/" + small["key"]).json, large[:200000])
        self.assertEqual(self.worker_decodes(), before)
        put = self.daemon.put(text="a large one", response=large).json
        self.assertTrue(put["compressed"])
        path = "/cache/entries/" + put["key"]
        got = self.daemon.get(path)
        self.assertEqual((got.status, got.json), (200, large))
        self.assertEqual(self.worker_decodes(), before + 1)
        self.assertEqual(self.daemon.get(path + "?metadata=1").json["size_bytes"], len(large) + 2)
        self.assertEqual(self.daemon.get(path, headers={"If-None-Match": got.headers["etag"]}).status, 304)
        self.assertEqual(self.worker_decodes(), before + 1)
        self.assertEqual(self.daemon.lookup(text="a large one").json["response"], large)
        self.assertEqual(self.daemon.request("HEAD", path).headers["content-length"], str(len(large) + 2))
        # Pipelined, before a small one: the answers come in their order, all of them each time, however the kernel takes them.
        one, two = (b"GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n" % (where.encode(), more) for where, more in
                    ((path, b""), ("/cache/entries/" + small["key"], b"Connection: close\r\n")))
        for number in range(200):
            with socket.socket() as connection:
                connection.settimeout(60)
                if number % 4 == 0:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.connect(("127.0.0.1", self.daemon.port))
                connection.sendall(one + one + two)
                answers = b"".join(iter(lambda: connection.recv(1 << 20), b""))
            self.assertEqual([len(part) > 900000 for part in answers.split(b"HTTP/1.1 200 OK")[1:]], [True, True, False])

    def test_get_head_and_conditions(self):
        key = self.daemon.put(text="by key", response={"x": 1}).json["key"]
        got = self.daemon.get("/cache/entries/" + key)
        self.assertEqual((got.status, got.json), (200, {"x": 1}))
        self.assertEqual(got.headers["x-cache"], "HIT")
        self.assertEqual(got.headers["x-cache-key"], key)
        self.assertRegex(got.headers["cache-status"], r"^aicache; hit; ttl=\d+; detail=memory$")
        self.assertIn("age", got.headers)
        head = self.daemon.request("HEAD", "/cache/entries/" + key)
        self.assertEqual((head.status, head.body), (200, b""))
        self.assertEqual(head.headers["content-length"], str(len(got.body)))
        same = self.daemon.get("/cache/entries/" + key, headers={"If-None-Match": '"other", %s' % got.headers["etag"]})
        self.assertEqual((same.status, same.body), (304, b""))
        self.assertEqual(same.headers["etag"], got.headers["etag"])
        self.daemon.put(text="by key", response={"x": 2})
        changed = self.daemon.get("/cache/entries/" + key, headers={"If-None-Match": got.headers["etag"]})
        self.assertEqual((changed.status, changed.json), (200, {"x": 2}))
        meta = self.daemon.get("/cache/entries/%s?metadata=1" % key).json
        self.assertEqual(meta["key"], key)
        self.assertNotIn("response", meta)

    def test_only_the_entry_that_is_meant(self):
        """If-Match, and If-None-Match where something would change: the wrong entry is neither given nor removed."""
        path = "/cache/entries/" + self.daemon.put(text="meant", response=1).json["key"]
        old = self.daemon.get(path).headers["etag"]
        self.daemon.put(text="meant", response=2)
        new = self.daemon.get(path).headers["etag"]
        self.assertNotEqual(old, new)
        wrong = ({"If-Match": old}, {"If-Match": '"a,b", W/%s' % new}, {"If-None-Match": new}, {"If-None-Match": "*"}, {"If-None-Match": '"x", W/%s' % new},
                 {"If-Match": new, "If-None-Match": new})
        for headers in wrong:
            answer = self.daemon.request("DELETE", path, headers=headers)
            self.assertEqual((answer.status, answer.error["code"]), (412, "condition_failed"), headers)
        self.assertEqual(self.daemon.get(path, headers={"If-Match": old}).status, 412)
        self.assertEqual(self.daemon.request("HEAD", path, headers={"If-Match": old}).status, 412)
        for headers in ({"If-Match": new}, {"If-Match": "*"}, {"If-Match": '"a,b" ,%s' % new}, {"If-None-Match": old}):
            answer = self.daemon.get(path, headers=headers)
            self.assertEqual((answer.status, answer.json), (200, 2), headers)
        self.assertEqual(self.daemon.get(path, headers={"If-Match": new, "If-None-Match": new}).status, 304)
        self.assertEqual(self.daemon.request("DELETE", path, headers={"If-Match": new, "If-None-Match": old}).status, 204)
        # RFC 9110, 13.2.1: what is not there is not there, whatever is asked of it.
        self.assertEqual(self.daemon.request("DELETE", path, headers={"If-Match": new}).status, 404)
        self.assertEqual(self.daemon.get(path, headers={"If-Match": new}).status, 404)

    def test_a_put_keeps_to_its_conditions(self):
        """What is put to has no ETag of its own: a client that means to replace one answer, or none, replaces none."""
        path = "/cache/entries/" + self.daemon.put(text="kept", response=1).json["key"]
        tag = self.daemon.get(path).headers["etag"]
        for text in ("kept", "k" * 200000):  # a large one is another thread's
            for headers in ({"If-Match": tag}, {"If-Match": '"other"'}, {"If-None-Match": "*"}, {"If-Match": "*", "If-None-Match": "*"}):
                answer = self.daemon.request("PUT", "/cache/entries", {"operation": "qa", "text": text, "response": 2}, headers)
                self.assertEqual((answer.status, answer.error["code"]), (412, "condition_failed"), headers)
        self.assertEqual(self.daemon.get(path).json, 1)
        for response, headers in ((3, {"If-Match": "*"}), (4, {"If-None-Match": tag})):
            answer = self.daemon.request("PUT", "/cache/entries", {"operation": "qa", "text": "kept", "response": response}, headers)
            self.assertEqual((answer.status, self.daemon.get(path).json), (201, response), headers)

    def test_the_tag_is_of_the_response(self):
        # Compressed when stored, kept plain once it is asked for again: the same response, the same tag.
        key = self.daemon.put(text="tagged", response="word " * 1200).json["key"]
        path = "/cache/entries/" + key
        tags, packed = set(), set()
        for _ in range(50):
            tags.add(self.daemon.get(path).headers["etag"])
            packed.add(self.daemon.get(path + "?metadata=1").json["compressed"])
            if len(packed) == 2:
                break
        self.assertEqual((len(tags), packed), (1, {True, False}))
        again = self.daemon.put(text="tagged", response="word!" * 1200)
        self.assertEqual(again.json["key"], key)
        self.assertNotIn(self.daemon.get(path).headers["etag"], tags)

    def test_each_line_of_a_list_counts(self):
        key = self.daemon.put(text="two lines", response=[1]).json["key"]
        tag = self.daemon.get("/cache/entries/" + key).headers["etag"]
        with socket.create_connection(("127.0.0.1", self.daemon.port), timeout=60) as connection:
            connection.sendall(("GET /cache/entries/%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nIf-None-Match: \"a\"\r\n"
                                "If-None-Match: W/%s\r\n\r\n" % (key, tag)).encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        self.assertTrue(answer.startswith(b"HTTP/1.1 304 "), answer)

    def test_what_a_client_would_rather_have(self):
        def coding(accept):
            got = self.daemon.get("/ui/app.js", headers={"Accept-Encoding": accept})
            return got.headers.get("content-encoding"), got.headers["etag"]

        packed, plain = coding("gzip")[1], coding("identity")[1]
        self.assertNotEqual(packed, plain)
        for accept in ("gzip", "br, GZIP ;q=0.5", "gzip;q=1.0, identity; q=0.5", "deflate,gzip"):
            self.assertEqual(coding(accept), ("gzip", packed), accept)
        for accept in ("gzip;q=0", "gzip; q=0.000", "identity", "gzipped", "identity, gzip;q=0.9", ""):
            self.assertEqual(coding(accept), (None, plain), accept)
        for tag, accept, status in ((packed, "gzip", 304), (plain, "gzip", 200), (plain, "identity", 304)):
            headers = {"If-None-Match": tag, "Accept-Encoding": accept}
            self.assertEqual(self.daemon.get("/ui/app.js", headers=headers).status, status)
        draft = "application/health+json"
        for accept, kind in ((draft, draft), (draft.upper(), draft), ("application/json;q=0.5, " + draft, draft),
                             ("application/json, %s;q=0" % draft, "application/json"), ("*/*", "application/json"),
                             ("application/json, %s;q=0.9" % draft, "application/json")):
            got = self.daemon.get("/health", headers={"Accept": accept}).headers["content-type"]
            self.assertEqual(got.split(";")[0], kind, accept)

    def test_key_of_nothing(self):
        self.refused(self.daemon.get("/cache/entries/" + "0" * 64), 404, "key")
        self.assertEqual(self.daemon.request("HEAD", "/cache/entries/" + "0" * 64).status, 404)
        for bad in ("xyz", "0" * 63, "A" * 64, "0" * 65):
            self.refused(self.daemon.get("/cache/entries/" + bad), 400, "key")

    def test_delete(self):  # E19, E20
        key = self.daemon.put(text="gone").json["key"]
        self.assertEqual(self.daemon.request("DELETE", "/cache/entries/" + key).status, 204)
        self.assertFalse(self.daemon.lookup(text="gone").json["hit"])
        self.refused(self.daemon.request("DELETE", "/cache/entries/" + key), 404, "key")
        self.assertEqual(self.daemon.get("/cache/entries/" + key).status, 404)

    def test_namespaces_are_apart(self):
        a = self.daemon.put(text="apart", response="a", namespace="a").json["key"]
        b = self.daemon.put(text="apart", response="b", namespace="b").json["key"]
        self.assertNotEqual(a, b)
        self.assertFalse(self.daemon.lookup(text="apart").json["hit"])
        self.assertEqual(self.daemon.lookup(text="apart", namespace="a").json["response"], "a")
        self.assertEqual(self.daemon.get("/cache/entries/%s?namespace=b" % a).status, 404)
        self.assertEqual(self.daemon.get("/cache/entries/%s?namespace=a" % a).json, "a")
        self.assertEqual(self.daemon.get("/cache/entries/" + a).json, "a")
        self.assertEqual(self.daemon.request("DELETE", "/cache/entries/%s?namespace=b" % a).status, 404)
        self.assertEqual(self.daemon.get("/cache/entries/" + b).json, "b")

    def test_time_to_live(self):  # E22, D25, R17
        self.daemon.put(text="short", ttl=1)
        self.daemon.put(text="forever", ttl=0)
        self.assertEqual(self.daemon.put(text="forever", ttl=0).json["expires_at"], None)
        self.assertTrue(self.daemon.lookup(text="short").json["hit"])
        self.assertTrue(until(lambda: not self.daemon.lookup(text="short").json["hit"]))
        hit = self.daemon.lookup(text="forever").json
        self.assertIsNone(hit["ttl_seconds"])
        self.assertIsNone(hit["metadata"]["expires_at"])

    def test_bad_time_to_live(self):
        for ttl in (-1, 1.5, "60", True, [60], None, 10 ** 30, -0.5):
            message = self.refused(self.daemon.put(text="bad ttl", ttl=ttl), 400, "ttl")
            self.assertIn("accepted", message)
        self.assertFalse(self.daemon.lookup(text="bad ttl").json["hit"])
        self.assertEqual(self.daemon.put(text="1.0 is whole", ttl=60.0).status, 201)

    def test_refusals_name_the_field(self):
        bodies = [
            ({"text": "t", "response": 1}, "operation"), ({"operation": "qa", "response": 1}, "text"), ({"operation": "qa", "text": "t"}, "response"),
            ({"operation": "", "text": "t", "response": 1}, "operation"), ({"operation": "x" * 129, "text": "t", "response": 1}, "operation"),
            ({"operation": 5, "text": "t", "response": 1}, "operation"), ({"operation": "qa", "text": None, "response": 1}, "text"),
            ({"operation": "qa", "text": "t", "response": 1, "options": [1]}, "options"), ({"operation": "qa", "text": "t", "response": 1, "question": 1}, "question"),
            ({"operation": "qa", "text": "t", "response": 1, "tags": "a"}, "tags"), ({"operation": "qa", "text": "t", "response": 1, "tags": ["a", 1]}, "tags[1]"),
            ({"operation": "qa", "text": "t", "response": 1, "tags": ["a", "a"]}, "tags[1]"), ({"operation": "qa", "text": "t", "response": 1, "tags": [str(i) for i in range(33)]}, "tags"),
            ({"operation": "qa", "text": "t", "response": 1, "model": {}}, "model"), ({"operation": "qa", "text": "t", "response": 1, "tokens": -1}, "tokens"),
            ({"operation": "qa", "text": "t", "response": 1, "tokens": {"prompt": 1, "x": 2}}, "tokens.x"), ({"operation": "qa", "text": "t", "response": 1, "cost_usd": -1}, "cost_usd"),
            ({"operation": "qa", "text": "t", "response": 1, "cost_usd": "1"}, "cost_usd"), ({"operation": "qa", "text": "t", "response": 1, "namespace": ""}, "namespace"),
            ({"operation": "qa", "text": "t", "response": 1, "bogus": 1}, "bogus"), ({"operation": "qa", "text": "t", "response": 1, "Ttl": 1}, "Ttl"),
        ]
        for body, field in bodies:
            self.refused(self.daemon.request("PUT", "/cache/entries", body), 400, field)

    def test_bad_bodies(self):
        for body in (b"", b"   ", b"{", b"[]", b"1", b"null", b"not json", b'{"operation":"qa","text":"t"} x',
                     b'{"operation":"qa","text":"\\ud800"}', b'{"operation":"qa","text":"\xff"}', b'{"operation":"qa","text":"t",}',
                     b'{"operation":"qa","text":"t","options":' + b'{"a":' * 200 + b"1" + b"}" * 201):
            self.refused(self.daemon.post("/cache/lookup", body), 400)
            self.assertEqual(self.daemon.request("PUT", "/cache/entries", body).status, 400)
        self.refused(self.daemon.post("/cache/lookup", b'{"operation":"qa","operation":"qa","text":"t"}'), 400, "operation")

    def test_no_user_text_in_refusals(self):
        secret = "my secret diagnosis"
        for body in ({"operation": secret * 9, "text": "t"}, {"operation": "qa", "text": [secret]}, {"operation": "qa", "text": "t", secret: secret},
                     {"operation": "qa", "text": "t", "namespace": secret * 10}):
            self.assertNotIn(secret.encode(), self.daemon.post("/cache/lookup", body).body)

    def test_parallel_writers(self):  # E16
        failures = []

        def work(worker):
            for index in range(5):
                text = "worker %d %d" % (worker, index)
                self.daemon.put(text=text, response=[worker, index])
                if self.daemon.lookup(text=text).json.get("response") != [worker, index]:
                    failures.append(text)
        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])

    def test_list_pages(self):
        for index in range(25):
            self.daemon.put("listed", "entry %d" % index, index, tags=["even" if index % 2 == 0 else "odd"], namespace="lists")
        seen, cursor = [], ""
        while True:
            page = self.daemon.get("/cache/entries?namespace=lists&limit=10" + cursor).json
            seen += [entry["key"] for entry in page["entries"]]
            self.assertEqual(page["count"], len(page["entries"]))
            if page["cursor"] is None:
                break
            cursor = "&cursor=" + page["cursor"]
        self.assertEqual((len(seen), len(set(seen))), (25, 25))
        self.assertEqual(self.daemon.get("/cache/entries?namespace=lists&tag=even").json["count"], 13)
        self.assertEqual(self.daemon.get("/cache/entries?namespace=lists&operation=list").json["count"], 0)
        self.assertEqual(self.daemon.get("/cache/entries?namespace=nobody").json, {"entries": [], "count": 0, "cursor": None})
        for query, field in (("limit=0", "limit"), ("limit=1001", "limit"), ("limit=-1", "limit"), ("limit=5&limit=6", "limit"), ("bogus=1", "bogus"),
                             ("operation=", "operation"), ("tier=disk", "tier"), ("older_than_seconds=x", "older_than_seconds")):
            self.refused(self.daemon.get("/cache/entries?" + query), 400, field)

    def test_limit(self):  # S19
        for limit in (1, 1000):
            self.assertEqual(self.daemon.get("/cache/entries?limit=%d" % limit).status, 200)
        self.assertIn("Limit too large: 1001; a whole number from 1 to 1000", self.refused(self.daemon.get("/cache/entries?limit=1001"), 400, "limit"))
        self.assertIn("Limit too small: 0;", self.refused(self.daemon.get("/cache/entries?limit=0"), 400, "limit"))
        for bad in ("%225%22", "five", "5.0", "-5", "", "99999999999999999999999"):
            self.assertIn("a whole number from 1 to 1000", self.refused(self.daemon.get("/cache/entries?limit=" + bad), 400, "limit"))

    def test_refusals_name_the_limit_in_force(self):
        tokens, ttl = "a whole number from 0 to 1099511627776", "from 0 (never expires) to 3155760000"
        for field, value, limit in (("tokens", 2**40 + 1, tokens), ("tokens", -1, tokens), ("tokens", "7", tokens), ("ttl", 2**63, ttl), ("ttl", 3155760001, ttl), ("ttl", -1, ttl),
                                    ("ttl", "1", ttl), ("cost_usd", 1e10, "from 0 to 1e9"), ("cost_usd", "1", "from 0 to 1e9")):
            self.assertIn(limit, self.refused(self.daemon.put(text="limits", **{field: value}), 400, field))
        for name in ("prompt_tokens", "completion_tokens", "total_tokens", "prompt", "completion"):
            refused = self.daemon.put(text="limits", tokens={name: 2**40 + 1})
            self.assertIn(tokens, refused.error["message"])
            self.assertEqual(refused.error["param"], "tokens." + name)
        for names in (("prompt_tokens", "prompt"), ("completion_tokens", "completion"), ("prompt_tokens", "input_tokens")):  # one count, spelled twice
            refused = self.daemon.put(text="limits", tokens={name: 1 for name in names})
            self.assertIn(names[0] + " is given under another name already", self.refused(refused, 400, "tokens." + names[1]))
        for value in (10**13, -1, 1.5, "1"):
            self.assertIn(tokens, self.refused(self.daemon.post("/cache/invalidate", {"older_than_seconds": value}), 400, "older_than_seconds"))
        self.assertEqual(self.daemon.put(text="limits", ttl=3155760000, cost_usd=1e9, tokens={"prompt": 2**40, "total_tokens": 2**40}).status, 201)
        self.daemon.put(text="usage", tokens={"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 9})
        metadata = self.daemon.lookup(text="usage").json["metadata"]
        self.assertEqual((metadata["prompt_tokens"], metadata["completion_tokens"], metadata["tokens"]), (3, 6, 9))

    def test_durability(self):
        for level in ("memory", "storage", "disk"):
            self.assertEqual(self.daemon.put(text="durable", durability=level).status, 201)
            self.assertEqual(self.daemon.put(text="durable and large", response="x" * 300000, durability=level).status, 201)
        for bad in ("synced", "", "DISK"):
            self.assertIn("memory, storage or disk", self.refused(self.daemon.put(text="durable", durability=bad), 400, "durability"))
        self.refused(self.daemon.put(text="durable", durability=1), 400, "durability")

    def test_usage_as_providers_send_it(self):
        details = {"cached_tokens": 2, "audio_tokens": 0}
        for usage, counts in (({"completion_tokens": 9, "prompt_tokens": 19, "total_tokens": 28, "completion_tokens_details": details, "prompt_tokens_details": details}, (19, 9)),
                              ({"input_tokens": 36, "input_tokens_details": details, "output_tokens": 87, "output_tokens_details": {"reasoning_tokens": 4}, "total_tokens": 123}, (36, 87)),
                              ({"input_tokens": 10, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 7, "output_tokens": 3, "service_tier": "standard", "server_tool_use": None}, (22, 3))):
            self.assertEqual(self.daemon.put(text="usage of one", tokens=usage).status, 201, usage)
            metadata = self.daemon.lookup(text="usage of one").json["metadata"]
            self.assertEqual((metadata["prompt_tokens"], metadata["completion_tokens"]), counts)
        self.assertIn("known are: prompt_tokens,", self.refused(self.daemon.put(text="limits", tokens={"promt_tokens": 1}), 400, "tokens.promt_tokens"))

    def test_explain(self):
        self.daemon.put("explained", "the text", 1, options={"temperature": 0.5}, namespace="explains")
        answer = self.daemon.post("/cache/explain", {"operation": "explained", "text": "the text", "options": {"temperature": 0.7}, "namespace": "explains"})
        self.assertEqual(answer.status, 200)
        body = answer.json
        self.assertIs(body["hit"], False)
        self.assertEqual(body["partition"], "explains")
        self.assertEqual(body["storage"], "miss")
        self.assertEqual(body["nearest"]["first_difference"], "options.temperature")
        self.refused(self.daemon.post("/cache/explain", {"operation": "x"}), 400, "text")


class SmallStorage(unittest.TestCase):
    def test_what_storage_cannot_hold_is_not_said_to_be_there(self):
        large = "".join(hashlib.sha256(b"%d" % index).hexdigest() for index in range(50000))  # half of it when compressed
        for flags, tiers, status in (((), ["memory"], 201), (("--memory-max-bytes", "0"), [], 200)):
            daemon = Daemon(("--storage-max-bytes", "4M") + flags)
            try:
                self.assertIn("storage", daemon.put(text="large", response="old").json["tier"])
                put = daemon.put(text="large", response=large)
                self.assertEqual((put.status, put.json["tier"]), (status, tiers))
                daemon.post("/cache/invalidate", {"all": True, "tier": "memory"})
                self.assertFalse(daemon.lookup(text="large").json["hit"])
            finally:
                daemon.close()


class Restart(unittest.TestCase):
    def test_storage_outlives_the_process(self):
        daemon = Daemon()
        try:
            key = daemon.put(text="kept", response="still here", ttl=600).json["key"]
            daemon.stop()
            daemon.start()
            hit = daemon.lookup(text="kept").json
            self.assertEqual((hit["tier"], hit["response"]), ("storage", "still here"))
            self.assertTrue(590 <= hit["ttl_seconds"] <= 600)
            self.assertEqual(daemon.lookup(text="kept").json["tier"], "memory")
            daemon.stop()
            daemon.start()
            got = daemon.get("/cache/entries/" + key)
            self.assertEqual(got.json, "still here")
            self.assertTrue(got.headers["cache-status"].endswith("detail=storage"))
        finally:
            daemon.close()


class NothingKept(LiveTest):
    flags = ("--storage-kind", "none", "--memory-max-bytes", "0")

    def test_put_says_so(self):
        answer = self.daemon.put(text="t")
        self.assertEqual((answer.status, answer.json["tier"]), (200, []))
        self.assertFalse(self.daemon.lookup(text="t").json["hit"])
        ping = self.daemon.get("/cache/ping")
        self.assertEqual((ping.status, ping.error["code"]), (503, "ping_failed"))
        self.assertEqual(self.daemon.get("/cache/status").json["redis"], {"status": "disabled"})


if __name__ == "__main__":
    unittest.main()
