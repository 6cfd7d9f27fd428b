"""Export, import and warm: streamed, complete, with every bad line named."""
import hashlib
import hmac
import json
import os
import socket
import time
import unittest

from daemon import Daemon, LiveTest


def without_chunks(body):
    """The bytes of a chunked body: a word may lie across two chunks."""
    whole = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        if int(size, 16) == 0:
            return whole
        whole += body[:int(size, 16)]
        body = body[int(size, 16) + 2:]


class Transfer(LiveTest):
    flags = ("--memory-max-bytes", "64M")

    def setUp(self):
        self.daemon.post("/cache/flushall")

    def export(self, query=""):
        answer = self.daemon.get("/cache/export" + query)
        self.assertEqual((answer.status, answer.headers["content-type"]), (200, "application/x-ndjson"))
        return answer.body

    def test_round_trip(self):
        for index in range(500):
            self.daemon.put("op %d" % (index % 3), "text %d" % index, {"n": index, "pad": "x" * (index * 10)}, tags=["t"], model="m", ttl=0 if index % 2 else 900,
                            tokens={"prompt_tokens": index, "completion_tokens": 1}, cost_usd=index / 8)
        lines = self.export()
        self.assertEqual(len(lines.splitlines()), 500)
        self.daemon.post("/cache/flushall")
        self.assertEqual(self.export(), b"")
        report = self.daemon.post("/cache/import", lines).json
        self.assertEqual(report, {"lines": 500, "accepted": 500, "expired": 0, "rejected": 0, "errors": []})
        hit = self.daemon.lookup("op 1", "text 499", model="m").json
        self.assertEqual(hit["response"]["n"], 499)
        self.assertEqual((hit["metadata"]["tags"], hit["metadata"]["model"], hit["metadata"]["prompt_tokens"]), (["t"], "m", 499))
        self.assertIsNone(hit["ttl_seconds"])
        self.assertTrue(890 < self.daemon.lookup("op 0", "text 0", options={"model": "m"}).json["ttl_seconds"] <= 900)
        self.assertEqual(sorted(self.export().splitlines()), sorted(lines.splitlines()))

    def test_filters(self):
        self.daemon.put("a", "1")
        self.daemon.put("b", "1")
        self.daemon.put("a", "1", namespace="second")
        self.assertEqual(len(self.export("?operation=a").splitlines()), 1)
        self.assertEqual(len(self.export("?all_namespaces=true").splitlines()), 3)
        self.refused(self.daemon.get("/cache/export?limit=1"), 400, "limit")

    def test_bad_lines_are_named(self):
        good = json.dumps({"operation": "qa", "text": "good", "response": 1})
        body = "\n".join([good, "not json", "", '{"operation":"qa","text":"t"}', good, '{"operation":"qa","text":"t","response":1,"bogus":2}', '{"operation":"qa"'])
        report = self.daemon.post("/cache/import", body).json
        self.assertEqual((report["accepted"], report["rejected"]), (2, 4))
        self.assertEqual([error["line"] for error in report["errors"]], [2, 4, 6, 7])
        for error in report["errors"]:
            self.assertTrue(error["message"])

    def test_report_is_bounded(self):
        report = self.daemon.post("/cache/import", "x\n" * 5000).json
        self.assertEqual((report["rejected"], len(report["errors"])), (5000, 100))

    def test_warm(self):
        lines = "".join(json.dumps({"operation": "qa", "text": "warm %d" % index, "response": index}) + "\n" for index in range(100))
        report = self.daemon.post("/cache/warm", lines).json
        self.assertEqual((report["accepted"], report["rejected"]), (100, 0))
        self.assertEqual(self.daemon.lookup(text="warm 42").json["response"], 42)
        key = self.daemon.lookup(text="warm 42").json["key"]
        self.assertEqual(self.daemon.post("/cache/warm", json.dumps({"key": key, "operation": "qa", "response": 0})).json["rejected"], 1)

    def test_the_namespace_that_is_filled(self):
        """Lines without a namespace take it, lines of another are rejected: nothing is filled but what was named."""
        lines = "".join(json.dumps({"operation": "qa", "text": "filled %d" % index, "response": index, **more}) + "\n"
                        for index, more in enumerate(({}, {"namespace": "filled"}, {"namespace": "second"}, {"namespace": "default"})))
        for route in ("/cache/import", "/cache/warm"):
            report = self.daemon.post(route + "?namespace=filled", lines).json
            self.assertEqual((report["accepted"], report["rejected"]), (2, 2), report)
            self.assertEqual([(error["line"], error["param"]) for error in report["errors"]], [(3, "namespace"), (4, "namespace")])
            self.assertEqual(len(self.export("?namespace=filled").splitlines()), 2)
            self.assertEqual(self.export() + self.export("?namespace=second"), b"")
            self.assertTrue(self.daemon.lookup(text="filled 0", namespace="filled").json["hit"])
            exported = self.export("?namespace=filled")
            self.daemon.post("/cache/flushall")
            report = self.daemon.post("/cache/import?namespace=second", exported).json  # a key belongs to its namespace
            self.assertEqual((report["accepted"], report["rejected"]), (0, 2), report)
            self.assertEqual(self.daemon.post("/cache/import?namespace=filled", exported).json["accepted"], 2)
            self.daemon.post("/cache/flushall")
            self.refused(self.daemon.post(route + "?namespace=", lines), 400, "namespace")
            self.refused(self.daemon.post(route + "?namespace=a&namespace=b", lines), 400, "namespace")
            self.assertEqual(self.export("?all_namespaces=true"), b"")

    def test_unknown_members_are_named(self):
        lines = '{"operation":"qa","text":"a","response":1,"bogus":1}\n{"operation":"qa","text":"a","response":1,"b\u00fc ":1}\n'
        errors = self.daemon.post("/cache/import", lines).json["errors"]
        self.assertEqual([(error["line"], error["param"]) for error in errors], [(1, "bogus"), (2, None)])
        for error in errors:
            self.assertIn("not known here; known are: key, namespace, operation, text,", error["message"])
            self.assertIn("at byte ", error["message"])

    def test_members_that_are_null_are_absent(self):
        """As in a put; but how long an entry lives is not guessed."""
        nulls = {name: None for name in ("namespace", "options", "question", "model", "tags", "tokens", "cost_usd", "key", "secret", "shape", "text_length", "created_ms",
                                         "prompt_tokens", "completion_tokens")}
        for route in ("/cache/import", "/cache/warm"):
            lines = [{"operation": "qa", "text": "nulls", "response": None, **nulls}, {"operation": "qa", "text": "nulls", "response": 1, "ttl": None},
                     {"operation": "qa", "text": "nulls", "response": 1, "expires_ms": None}, {"operation": None, "text": "nulls", "response": 1}, {"operation": "qa", "text": None, "response": 1}]
            report = self.daemon.post(route, "\n".join(map(json.dumps, lines))).json
            self.assertEqual([(error["line"], error["param"]) for error in report["errors"]][:3], [(2, "ttl"), (3, "expires_ms"), (4, "operation")], report)
            self.assertEqual(report["accepted"], 1)
            found = self.daemon.lookup(text="nulls").json
            self.assertIsNone(found["response"])
            self.assertEqual((found["metadata"]["model"], found["metadata"]["tags"], found["metadata"]["tokens"]), (None, [], 0))

    def test_tokens_of_a_line_are_those_of_a_put(self):
        for tokens, is_good in (({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 9}, True), ({"total_tokens": 9}, True), ({"prompt": 1, "completion": None}, True), ({}, True),
                                (7, True), (2**40, True), (2**40 + 1, False), ({"total_tokens": 2**40 + 1}, False), ({"cached": 1}, False), ({"prompt": 1, "prompt_tokens": 1}, False),
                                ({"prompt_tokens": "1"}, False), ("7", False), ([7], False), ({"input_tokens": 3, "output_tokens_details": {"reasoning": 1}}, True)):
            entry = {"operation": "qa", "text": "tokens of a line", "response": 1, "tokens": tokens}
            stored = self.daemon.request("PUT", "/cache/entries", entry)
            self.assertEqual(stored.status, 201 if is_good else 400, tokens)
            put = self.daemon.lookup(text="tokens of a line").json["metadata"]
            report = self.daemon.post("/cache/import", json.dumps(entry)).json
            self.assertEqual(report["accepted"], 1 if is_good else 0, tokens)
            self.assertEqual([error["param"] for error in report["errors"]], [] if is_good else [stored.error["param"]])
            taken = self.daemon.lookup(text="tokens of a line").json["metadata"]
            self.assertEqual([taken[name] for name in ("prompt_tokens", "completion_tokens", "tokens")], [put[name] for name in ("prompt_tokens", "completion_tokens", "tokens")], tokens)

    def test_types_are_named_in_words(self):
        for field, value, says in (("options", "[1]", "must be a JSON object"), ("tags", "{}", "must be a JSON array"), ("model", "1", "must be a JSON string"),
                                   ("ttl", '"1"', "must be a JSON number")):
            error = self.daemon.post("/cache/import", '{"operation":"qa","text":"a","response":1,"%s":%s}' % (field, value)).json["errors"][0]
            self.assertEqual((error["param"], error["message"]), (field, says))

    def test_empty_import(self):
        self.assertEqual(self.daemon.post("/cache/import", b"").json["lines"], 0)

    def test_import_larger_than_the_body_limit(self):
        line = json.dumps({"operation": "qa", "text": "%d", "response": "y" * 100000}).encode()
        body = b"\n".join(line.replace(b"%d", b"%d" % index) for index in range(250))
        self.assertGreater(len(body), 16 << 20)
        report = self.daemon.post("/cache/import", body).json
        self.assertEqual(report["accepted"], 250)

    def test_import_in_crumbs(self):
        body = b"".join(json.dumps({"operation": "qa", "text": "crumb %d" % index, "response": index}).encode() + b"\n" for index in range(20))
        with socket.create_connection(("127.0.0.1", self.daemon.port), timeout=60) as connection:
            connection.sendall(b"POST /cache/import HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
            for start in range(0, len(body), 97):
                connection.sendall(body[start:start + 97])
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
        self.assertIn(b'"accepted":20', answer)

    def test_import_cut_short(self):
        with socket.create_connection(("127.0.0.1", self.daemon.port), timeout=60) as connection:
            connection.sendall(b"POST /cache/import HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" + b'{"operation":"qa","text":"cut","response":1}\n')
        self.assertEqual(self.daemon.get("/livez").status, 200)

    def test_slow_reader_holds_little(self):
        for index in range(300):
            self.daemon.put(text="slow %d" % index, response="%d" % index * 20000)
        with socket.create_connection(("127.0.0.1", self.daemon.port), timeout=60) as connection:
            connection.sendall(b"GET /cache/export HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            time.sleep(0.3)
            page = self.daemon.get("/metrics").body.decode()
            held = [line for line in page.splitlines() if line.startswith('aicache_accounted_bytes{owner="connections"}')]
            self.assertLess(float(held[0].split()[-1]), 4e6)
            answer = b""
            while piece := connection.recv(1 << 20):
                answer += piece
        self.assertTrue(answer.endswith(b"0\r\n\r\n"))
        self.assertEqual(without_chunks(answer.partition(b"\r\n\r\n")[2]).count(b'"response"'), 300)

    def test_reader_that_leaves(self):
        for index in range(200):
            self.daemon.put(text="leave %d" % index, response="%d" % index * 20000)
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", self.daemon.port), timeout=60) as connection:
                connection.sendall(b"GET /cache/export HTTP/1.1\r\nHost: localhost\r\n\r\n")
                connection.recv(1000)
        self.assertEqual(self.daemon.get("/livez").status, 200)


def secret_of(daemon):
    with open(os.path.join(daemon.directory, "data", "secret")) as file:
        return bytes.fromhex(file.read().strip())


def fingerprint(secret):
    return hmac.new(secret, b"aicache-secret-fingerprint", hashlib.sha256).hexdigest()[:16]


class TwoDaemons(unittest.TestCase):
    def setUp(self):
        self.first, self.second = Daemon(), Daemon()
        self.addCleanup(self.first.close)
        self.addCleanup(self.second.close)

    def test_lines_of_another_secret(self):
        for index in range(150):
            self.first.put(text="moves %d" % index, response="there", ttl=0)
        lines = self.first.get("/cache/export").body
        marks = {json.loads(line)["secret"] for line in lines.splitlines()}
        self.assertEqual(marks, {fingerprint(secret_of(self.first))})
        report = self.second.post("/cache/import", b"\n" + lines).json
        self.assertEqual((report["lines"], report["accepted"], report["rejected"], len(report["errors"])), (150, 0, 150, 100))
        self.assertEqual([error["line"] for error in report["errors"]], list(range(2, 102)))
        for error in report["errors"]:
            self.assertEqual(error["param"], "secret")
            self.assertIn("computed under another secret", error["message"])
            self.assertIn(fingerprint(secret_of(self.second)), error["message"])
        self.assertEqual(self.second.get("/cache/entries").json["entries"], [])
        report = self.first.post("/cache/import", lines).json
        self.assertEqual((report["accepted"], report["rejected"]), (150, 0))

    def test_lines_of_before_and_expired_ones(self):
        """Lines without `secret` do not say where they are from: they are taken, as ever."""
        self.first.put(text="moves", response="there", ttl=0)
        line = json.loads(self.first.get("/cache/export").body)
        del line["secret"]
        report = self.second.post("/cache/import", json.dumps(line) + '\n{"operation":"qa","text":"old","response":1,"expires_ms":1000}').json
        self.assertEqual((report["accepted"], report["expired"]), (1, 1))
        self.assertEqual(self.second.get("/cache/entries").json["entries"][0]["key"], line["key"])


if __name__ == "__main__":
    unittest.main()
