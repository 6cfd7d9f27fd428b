"""Clients that ask for large answers and do not read them: what they hold is one copy, has a limit, and comes back."""
import concurrent.futures
import json
import re
import socket
import unittest

from programs import Running, until

MIB = 1 << 20


def put(daemon, text, response):
    """Its key."""
    body = json.dumps({"operation": "qa", "text": text, "response": response, "tags": ["t" * 100 + str(i) for i in range(20)]}).encode()
    status, answer = ask(daemon, "PUT", "/cache/entries", body)
    assert status == 201, answer
    return json.loads(answer)["key"]


def connect(daemon, verb, path, body=b"", buffer=None):
    connection = socket.socket()
    if buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(120)
    connection.connect(("127.0.0.1", int(daemon.port)))
    connection.sendall(b"%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (verb.encode(), path.encode(), len(body), body))
    return connection


def rest(connection, begun=b""):
    pieces = [begun]
    while pieces[-1] or len(pieces) == 1:
        pieces.append(connection.recv(1 << 20))
    connection.close()
    return b"".join(pieces)


def ask(daemon, verb, path, body=b""):
    head, _, answer = rest(connect(daemon, verb, path, body)).partition(b"\r\n\r\n")
    return int(head.split()[1]), answer


def hold(daemon, verb, path, body=b""):
    """A connection that has read the first bytes of its answer and no more, and these."""
    connection = connect(daemon, verb, path, body, buffer=4096)
    begun = b""
    while len(begun) < 12:
        begun += connection.recv(12 - len(begun))
    return connection, begun


def memory(daemon):
    return json.loads(daemon.client("memory", "--json").out)


def owner(daemon, name):
    return next(row["bytes"] for row in memory(daemon)["breakdown"] if row["owner"] == name)


def metric(daemon, name):
    return float(re.search(r"^%s (\S+)$" % name, ask(daemon, "GET", "/metrics")[1].decode(), re.M).group(1))


class SlowReaders(unittest.TestCase):
    def tearDown(self):
        for connection in getattr(self, "held", []):
            connection.close()
        self.assertEqual(self.daemon.stop(), 0)

    def start(self, config):
        self.daemon = Running(config)
        return self.daemon

    def test_one_copy_for_all_who_read_the_same(self):
        daemon = self.start("limits: {body_bytes: 16M, answers_bytes: 20M}\n")
        key = put(daemon, "large", "x" * (15 * MIB))
        lookup = json.dumps({"operation": "qa", "text": "large"}).encode()
        kinds = [("GET", "/cache/entries/" + key, b""), ("POST", "/cache/lookup", lookup)]
        held = [hold(daemon, *kinds[i % 2]) for i in range(60)]
        self.held = [connection for connection, _ in held]
        self.assertEqual({begun for _, begun in held}, {b"HTTP/1.1 200"})
        self.assertTrue(15 * MIB < metric(daemon, "aicache_http_answer_bytes") < 16 * MIB)
        if memory(daemon)["allocator"]["name"] == "jemalloc":  # the mappings are walked once in five seconds
            self.assertTrue(until(lambda: 15 * MIB < owner(daemon, "answers") < 16 * MIB))
            with open("/proc/%d/status" % daemon.process.pid) as status:
                self.assertLess(int(re.search(r"VmHWM:\s*(\d+) kB", status.read()).group(1)) >> 10, 200)
        # Whoever reads on gets all of it.
        connection, begun = held[1]
        answer = json.loads(rest(connection, begun).partition(b"\r\n\r\n")[2])
        self.assertEqual(answer["response"], "x" * (15 * MIB))
        for connection, _ in held:
            connection.close()
        self.assertTrue(until(lambda: metric(daemon, "aicache_http_answer_bytes") <= MIB))  # with the last of them

    def test_beyond_the_limit_is_503(self):
        daemon = self.start("limits: {body_bytes: 4M, answers_bytes: 12M}\nmemory: {max_bytes: 64M}\n")
        keys = [put(daemon, "large %d" % i, chr(97 + i) * (4 * MIB - 10000)) for i in range(6)]
        small = put(daemon, "small", "short")
        held = [hold(daemon, "GET", "/cache/entries/" + key) for key in keys]
        self.held = [connection for connection, _ in held]
        got = [begun for _, begun in held]
        self.assertEqual(got, [b"HTTP/1.1 200"] * 3 + [b"HTTP/1.1 503"] * 3)
        refused = rest(*held[3])
        self.assertIn(b"\r\nRetry-After: 1\r\n", refused)
        self.assertEqual(json.loads(refused.partition(b"\r\n\r\n")[2])["error"]["code"], "answers_full")
        # What is short is answered, figures have room of their own, and what was begun goes on.
        self.assertGreater(metric(daemon, "aicache_http_answer_bytes"), 11 * MIB)
        self.assertEqual(ask(daemon, "GET", "/cache/entries/" + small)[0], 200)
        self.assertEqual(ask(daemon, "GET", "/health")[0], 200)
        self.assertEqual(ask(daemon, "DELETE", "/cache/entries/" + small)[0], 204)
        self.assertTrue(rest(*held[0]).endswith(b'a"'))
        self.assertEqual(ask(daemon, "GET", "/cache/entries/" + keys[5])[0], 200)
        self.assertGreaterEqual(metric(daemon, "aicache_http_answers_refused_total"), 3)
        self.assertEqual(metric(daemon, "aicache_http_answer_limit_bytes"), 12 * MIB)

    def test_copies_of_storage_lists_and_exports_count(self):
        """Without a memory tier each answer is a copy of what storage has; pages and pieces are made for each who asks."""
        daemon = self.start("limits: {body_bytes: 2M, answers_bytes: 8M}\nmemory: {max_bytes: 0}\n"
                            "compression: {threshold_bytes: 1G}\n")
        key = put(daemon, "large", "y" * (2 * MIB - 10000))
        for i in range(600):
            put(daemon, "entry %d" % i, "z")
        endings = {"/cache/entries/" + key: b'y"', "/cache/entries?limit=1000": b"}\n", "/cache/export": b"\r\n0\r\n\r\n"}
        for path in endings:
            if path == "/cache/export":
                self.assertEqual(ask(daemon, "DELETE", "/cache/entries/" + key)[0], 204)
            held = [hold(daemon, "GET", path) for _ in range(40)]
            self.held = [connection for connection, _ in held]
            got = [begun for _, begun in held]
            self.assertEqual(set(got), {b"HTTP/1.1 200", b"HTTP/1.1 503"}, path)
            self.assertEqual(got[0], b"HTTP/1.1 200", path)
            begun = [answer for answer in held if answer[1] == b"HTTP/1.1 200"]
            with concurrent.futures.ThreadPoolExecutor(len(begun)) as threads:  # what was begun is not cut
                texts = list(threads.map(lambda answer: rest(*answer), begun))
            for text in texts:
                self.assertTrue(text.endswith(endings[path]), (path, text[-100:]))
            for connection in self.held:
                connection.close()
            self.assertTrue(until(lambda: metric(daemon, "aicache_http_answer_bytes") <= MIB))
            self.assertEqual(ask(daemon, "GET", path)[0], 200)


if __name__ == "__main__":
    unittest.main()
