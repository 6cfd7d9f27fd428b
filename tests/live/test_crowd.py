"""More clients than there is room for: idle ones give way, whoever is busy does not, and nothing else suffers."""
import re
import resource
import socket
import time
import unittest

from daemon import Daemon
from programs import until


def limit_descriptors(soft, hard):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def log_of(daemon):
    with open(daemon.log_path, errors="replace") as file:
        return file.read()


def ask(peer, path="/health/live"):
    """The status of a request on an open connection; 0: it was closed."""
    try:
        peer.sendall(("GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path).encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = peer.recv(65536)
            if not piece:
                return 0
            answer += piece
        return int(answer.split()[1])
    except ConnectionError:
        return 0


class Crowd(unittest.TestCase):
    def begin(self, *flags, **more):
        daemon = Daemon(flags=flags, **more)
        self.addCleanup(daemon.close)
        self.peers = []
        self.addCleanup(lambda: [peer.close() for peer in self.peers])
        return daemon

    def connect(self, daemon):
        peer = socket.create_connection(("127.0.0.1", daemon.port), timeout=60)
        self.peers.append(peer)
        return peer

    def warning(self, daemon):
        return [one for one in daemon.get("/monitoring/warnings").json if one["code"] == "connections_full"]

    def test_who_is_idle_longest_gives_way(self):
        """One front thread, so that every connection is in its sight."""
        daemon = self.begin("--threads", "1", "--limits-connections", "4")
        silent, first, second = (self.connect(daemon) for _ in range(3))
        busy = self.connect(daemon)
        busy.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n")
        for peer in (second, first):
            self.assertEqual(ask(peer), 200)
            time.sleep(0.05)  # idle time counts in milliseconds
        for closed in (second, first, silent):  # served ones first, in the order of their last request
            peer = self.connect(daemon)
            peer.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\nGET")  # and is busy from then on
            self.assertEqual(peer.recv(65536).split()[1], b"200")
            self.assertEqual(closed.recv(1), b"")
        refused = self.connect(daemon)
        self.assertEqual(refused.recv(65536).split()[1], b"503")
        busy.sendall(b"\r\n")
        self.assertEqual(busy.recv(65536).split()[1], b"200")
        for peer in self.peers:
            peer.close()
        self.assertTrue(until(lambda: daemon.get("/health/live").status == 200))
        self.assertTrue(until(lambda: self.warning(daemon)))
        advice = self.warning(daemon)[0]["recommendations"]
        self.assertEqual((advice[0]["setting"], advice[0]["value"]), ("limits.connections", 8))
        self.assertEqual(log_of(daemon).count("were open: idle ones are closed"), 1)

    def test_more_clients_than_descriptors(self):
        daemon = self.begin("--threads", "2", enter=limit_descriptors(400, 400))
        most = int(re.search(r"limits.connections: (\d+) are accepted at one time instead of 10240", log_of(daemon)).group(1)) if until(
            lambda: "instead of 10240" in log_of(daemon)) else 0
        self.assertTrue(100 < most < 400, most)
        for number in range(700):
            self.connect(daemon)
            if number % 50 == 49:
                self.assertEqual(daemon.get("/health/live").status, 200)
                put = daemon.put(text="put %d" % number)
                self.assertEqual((put.status, put.json["tier"]), (201, ["memory", "storage"]))
        self.assertTrue(until(lambda: self.warning(daemon)))
        health = daemon.get("/health").json
        self.assertEqual(health["storage"]["status"], "healthy", health)
        self.assertNotIn("storage", [one["code"].split("_")[0] for one in daemon.get("/monitoring/warnings").json])
        self.assertEqual(daemon.get("/cache/export").body.count(b"\n"), 14)
        self.assertEqual(log_of(daemon).count("were open: idle ones are closed"), 1)

    def test_the_soft_limit_is_raised(self):
        daemon = self.begin("--threads", "1", "--limits-connections", "300", enter=limit_descriptors(128, 1024))
        self.assertEqual(resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE), (1024, 1024))
        peers = [self.connect(daemon) for _ in range(290)]
        self.assertEqual([ask(peer) for peer in peers], [200] * 290)
        self.assertEqual(self.warning(daemon), [])
        self.assertNotIn("are accepted at one time", log_of(daemon))


if __name__ == "__main__":
    unittest.main()
