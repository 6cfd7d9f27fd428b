"""aicached and senders that are slow, cut off, too many or overtaken by a stop: each is told clearly, and what was begun is ended."""
import json
import re
import shutil
import signal
import socket
import threading
import time
import unittest

from programs import Running, RunningTest, put_request, read_all, read_head, until


def peak(daemon):
    """The most memory that the daemon ever had, in bytes."""
    with open("/proc/%d/status" % daemon.process.pid) as file:
        return int(re.search(r"VmHWM:\s*(\d+) kB", file.read()).group(1)) << 10


class Stops(unittest.TestCase):
    def refuses_soon(self, port):
        def refused():
            try:
                socket.create_connection(("127.0.0.1", int(port)), timeout=30).close()
            except OSError:
                return True
        self.assertTrue(until(refused), "new connections are still taken")

    def test_a_request_in_flight_is_answered(self):
        """The stop comes in the middle of a body: the rest is read, stored, answered, and found again."""
        daemon = Running()
        directory, daemon.owned = daemon.directory, False
        try:
            head, body = put_request("in flight", {"landed": True})
            busy, idle = (socket.create_connection(("127.0.0.1", int(daemon.port)), timeout=30) for _ in range(2))
            with busy, idle:
                idle.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                self.assertIn(b" 200 ", read_head(idle))
                # 100 says that the daemon is in the middle of this request.
                head = head[:-2] + b"Expect: 100-continue\r\n\r\n"
                busy.sendall(head)
                self.assertTrue(read_head(busy).startswith(b"HTTP/1.1 100 "))
                busy.sendall(body[:20])
                daemon.process.terminate()
                daemon.wait_for("stopping on SIGTERM")
                read_all(idle)
                # Each front thread closes its own listening socket: soon, not in the moment of the line above.
                self.refuses_soon(daemon.port)
                self.assertIsNone(daemon.process.poll())
                busy.sendall(body[20:])
                answer = read_all(busy)
            self.assertTrue(answer.startswith(b"HTTP/1.1 201 "), answer)
            self.assertRegex(answer, rb"(?i)connection: close")
            self.assertEqual(daemon.stop(), 0)
            daemon = Running(directory=directory)
            self.assertEqual(daemon.client("lookup", "qa", "in flight").out, '{"landed": true}\n')
        finally:
            daemon.stop()
            shutil.rmtree(directory)

    def test_what_a_stop_cuts_is_said(self):
        daemon = Running(flags=("--listen", "127.0.0.1:0", "--timeouts-drain", "200ms"))
        try:
            head, _ = put_request("cut", True)
            with socket.create_connection(("127.0.0.1", int(daemon.port)), timeout=30) as busy:
                busy.sendall(head[:-2] + b"Expect: 100-continue\r\n\r\n")
                self.assertTrue(read_head(busy).startswith(b"HTTP/1.1 100 "))
                daemon.process.terminate()
                daemon.wait_for(r"1 connection was cut: not done 200 ms after the stop began \(timeouts\.drain\)")
                self.assertEqual(daemon.stop(), 0)
        finally:
            daemon.stop()

    def test_a_stop_that_is_asked_for_again_and_again_is_still_a_stop(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            for _ in range(5):
                daemon = Running()
                daemon.process.terminate()
                end = time.monotonic() + 60
                while daemon.process.poll() is None:
                    self.assertLess(time.monotonic(), end, number)
                    daemon.process.send_signal(number)
                    time.sleep(0.001)  # a flood would leave the daemon time for nothing else
                self.assertEqual(daemon.stop(), 0, number)


class Senders(RunningTest):
    config = "limits: {header_bytes: 4K}\ntimeouts: {header: 2s, body: 2s, idle: 10s}\n"

    def connect(self):
        return socket.create_connection(("127.0.0.1", int(self.daemon.port)), timeout=30)

    def nothing_was_stored(self):
        self.assertEqual(json.loads(self.daemon.client("list", "--json").out)["count"], 0)

    def test_a_body_cut_short(self):
        with self.connect() as connection:
            head, body = put_request("cut", "x" * 100)
            connection.sendall(head + body[:-1])
            connection.shutdown(socket.SHUT_WR)
            answer = read_all(connection)
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer)
        self.assertIn(b"before the end of the body", answer)
        self.nothing_was_stored()

    def test_a_slow_head(self):
        with self.connect() as connection:
            connection.sendall(b"PUT /cache/entries HTTP/1.1\r\nHo")
            answer = read_all(connection)
        self.assertTrue(answer.startswith(b"HTTP/1.1 408 "), answer)

    def test_a_slow_body(self):
        with self.connect() as connection:
            head, body = put_request("slow", "x" * 100)
            connection.sendall(head + body[:20])
            answer = read_all(connection)
        self.assertTrue(answer.startswith(b"HTTP/1.1 408 "), answer)
        self.nothing_was_stored()

    def test_a_repeated_member_is_named_by_its_path(self):
        body = b'{"operation":"qa","text":"t","options":{"limits":[{},{"a":1,"b":2,"a":3}]},"response":1}'
        with self.connect() as connection:
            connection.sendall(b"PUT /cache/entries HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                               b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            answer = read_all(connection)
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer)
        error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
        self.assertEqual(error["param"], "options.limits[1].a")
        self.assertIn("repeats a name of its object", error["message"])
        self.nothing_was_stored()

    def test_a_flood_of_header_fields(self):
        for fields in (b"".join(b"x-%d: y\r\n" % number for number in range(100000)), b"x: " + b"y" * 1000000 + b"\r\n"):
            with self.connect() as connection:
                try:
                    connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + fields)
                except OSError:
                    pass  # it was refused before all of it was sent
                answer = connection.recv(100)
            self.assertTrue(answer.startswith(b"HTTP/1.1 431 "), answer)


class ManyBodies(unittest.TestCase):
    def test_bodies_together_are_limited(self):
        """Whoever comes while others hold all the room gets 503 and may come again; what was begun is not disturbed."""
        daemon = Running("limits: {body_bytes: 1M, bodies_bytes: 1M}\n")
        try:
            head, body = put_request("large", "x" * 700000, "Connection: close\r\n")
            connections = [socket.create_connection(("127.0.0.1", int(daemon.port)), timeout=60) for _ in range(4)]
            first, second, third, fourth = connections
            first.sendall(head + body[:400000])
            for _ in range(3000):  # until it is being read
                second.close()
                second = socket.create_connection(("127.0.0.1", int(daemon.port)), timeout=60)
                second.sendall(head[:-2] + b"Expect: 100-continue\r\n\r\n")
                answer = read_head(second)
                if not answer.startswith(b"HTTP/1.1 100 "):
                    break
                time.sleep(0.01)
            self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer)
            self.assertRegex(answer, rb"\r\nRetry-After: 1\r\n")
            first.sendall(body[400000:])
            self.assertTrue(read_all(first).startswith(b"HTTP/1.1 201 "))
            # Who goes away in the middle gives its room back.
            third.sendall(head + body[:400000])
            third.close()
            for _ in range(3000):
                fourth.close()
                fourth = socket.create_connection(("127.0.0.1", int(daemon.port)), timeout=60)
                fourth.sendall(head + body)
                answer = read_all(fourth)
                if not answer.startswith(b"HTTP/1.1 503 "):
                    break
                time.sleep(0.01)
            self.assertTrue(answer.startswith(b"HTTP/1.1 201 "), answer)
            for connection in connections + [second, fourth]:
                connection.close()
            with socket.create_connection(("127.0.0.1", int(daemon.port)), timeout=60) as connection:
                connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                self.assertRegex(read_all(connection), rb"\naicache_http_bodies_refused_total [1-9]")
        finally:
            self.assertEqual(daemon.stop(), 0)


    def test_what_is_made_of_bodies_is_limited_with_them(self):
        """The tokens of a body take ten times its size, and a line of an import is kept until its end: neither goes past the limit."""
        limit = 64 << 20
        daemon = Running("limits: {body_bytes: 4M, bodies_bytes: 64M}\nmemory: {max_bytes: 8M}\n")
        try:
            head, body = put_request("tokens", [1] * 1300000, "Connection: close\r\n")
            before = peak(daemon)
            statuses = []

            def put():
                with socket.create_connection(("127.0.0.1", int(daemon.port)), timeout=60) as connection:
                    connection.sendall(head + body)
                    statuses.append(read_all(connection)[9:12])
            for count in (1, 12):
                threads = [threading.Thread(target=put) for _ in range(count)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                self.assertEqual(set(statuses) - {b"503"}, {b"201"}, statuses)  # some may have to come again
            lines = [socket.create_connection(("127.0.0.1", int(daemon.port)), timeout=60) for _ in range(6)]
            for connection in lines:
                connection.sendall(b"POST /cache/import HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n{\r\n")
            refused = 0
            for connection in lines:  # each of them 20 MB of a line
                try:
                    for _ in range(20):
                        connection.sendall(b"100000\r\n" + b"x" * (1 << 20) + b"\r\n")
                except OSError:
                    pass
                connection.setblocking(False)
            end = time.monotonic() + 60
            while refused == 0 and time.monotonic() < end:
                for connection in lines:
                    try:
                        refused += connection.recv(4096).startswith(b"HTTP/1.1 503 ")
                    except OSError:
                        pass
                time.sleep(0.05)
            self.assertGreater(refused, 0)
            # The rest: the write queue, the tier, compression. A sanitizer's allocator holds back what was freed.
            if json.loads(daemon.client("memory", "--json").out)["allocator"]["name"] == "jemalloc":
                self.assertLess(peak(daemon) - before, 4 * limit)
            for connection in lines:
                connection.close()
            while True:  # all of it is given back
                statuses.clear()
                put()
                if statuses == [b"201"]:
                    break
                self.assertEqual(statuses, [b"503"])
                self.assertLess(time.monotonic(), end)
        finally:
            self.assertEqual(daemon.stop(), 0)


if __name__ == "__main__":
    unittest.main()
