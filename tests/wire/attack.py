#!/usr/bin/env python3
"""Attacks the connection layer of the echo server: floods, garbage, slow readers, lack of descriptors, stops under load.

    attack.py --server PROGRAM [--full] [--only TEXT]

Each attack ends with a well-behaved request that must still be answered and with a stop that must end with status 0. --full
opens ten thousand connections instead of a few hundred.
"""
import argparse
import itertools
import os
import random
import resource
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from run import Client, Failure, Server  # noqa: E402

HELLO = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"


def expect(condition, message):
    if not condition:
        raise Failure(message)


def well_behaved(server):
    client = Client(server)
    client.send(HELLO)
    answer = client.answer()
    expect(answer.status == 200 and answer.body == b"hello", f"a plain request gets {answer}")
    client.close()


def counters(server):
    client = Client(server)
    client.send(b"GET /counters HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = client.answer()
    client.close()
    expect(answer.status == 200, f"the counters are not served: {answer}")
    pairs = [line.split() for line in answer.body.decode().splitlines()]
    return {name: int(value) for name, value in pairs}


def until(condition, message, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        expect(time.monotonic() < end, message)
        time.sleep(0.02)


def attack_too_many_connections(options):
    limit, extra = (10000, 200) if options.full else (200, 100)
    if options.full:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 30000), hard))
    server = Server(options.server, "echo", [f"connections={limit}"])
    clients = [Client(server) for _ in range(limit)]
    for client in clients[:: max(1, limit // 50)]:
        client.send(HELLO)
        expect(client.answer().status == 200, "a connection within the limit is not served")
    for client in clients:
        client.send(b"GET /hello")  # who has begun a request is not idle, and gives way to nobody
    refused = 0
    for _ in range(extra):
        try:
            client = Client(server)
            client.send(HELLO)
            answer = client.answer()
            expect(answer.status == 503, f"a connection over the limit gets {answer}")
            client.close()
            refused += 1
        except (Failure, OSError):
            refused += 1  # closed without an answer: allowed when very many come at once
    expect(refused == extra, "a connection over the limit was served")
    for client in clients:
        client.close()

    def free():
        try:
            return counters(server)["connections"] < 10
        except (Failure, OSError):
            return False

    until(free, "closed connections are still counted")
    expect(counters(server)["rejected"] >= extra, "refused connections are not counted")
    return server


def attack_no_descriptors(options):
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))

    server = Server(options.server, "echo", preexec_fn=few)
    plugs = [server.connect() for _ in range(120)]
    time.sleep(0.5)
    before = os.times()
    ticks = cpu_ticks(server)
    time.sleep(1)
    expect(cpu_ticks(server) - ticks < 0.5 * os.sysconf("SC_CLK_TCK"), f"it spins without descriptors {before}")
    for plug in plugs:
        plug.close()
    return server


def cpu_ticks(server):
    with open(f"/proc/{server.process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def attack_garbage(options):
    server = Server(options.server, "echo")
    seed = random.randrange(1 << 32)
    print(f"# seed {seed}")
    generator = random.Random(seed)
    words = [b"GET ", b"POST ", b"/echo", b" HTTP/1.1", b"\r\n", b"\r\n\r\n", b"Host: x\r\n", b"Content-Length: 5\r\n", b"\n", b"\0", b":", b" ",
             b"Transfer-Encoding: chunked\r\n", b"5\r\nabcde\r\n", b"0\r\n\r\n", b"Expect: 100-continue\r\n", b"/defer", b"/mirror", b"/stream", b"\xff"]
    for _ in range(600):
        plug = server.connect()
        try:
            if generator.random() < 0.3:
                plug.sendall(generator.randbytes(generator.randrange(1, 3000)))
            else:
                plug.sendall(b"".join(generator.choice(words) for _ in range(generator.randrange(1, 40))))
            if generator.random() < 0.5:
                plug.settimeout(0.005)
                plug.recv(1000)
        except OSError:
            pass
        plug.close()
    return server


def attack_mutations(options):
    """Valid requests with one byte changed, removed or doubled, cut anywhere."""
    server = Server(options.server, "echo")
    seed = random.randrange(1 << 32)
    print(f"# seed {seed}")
    generator = random.Random(seed)
    request = b"POST /echo?a=b HTTP/1.1\r\nHost: example.com:80\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: u\r\n\r\n"
    for at in range(len(request)):
        kind = generator.randrange(4)
        data = {
            0: request[:at] + bytes([generator.randrange(256)]) + request[at + 1:],
            1: request[:at] + request[at + 1:],
            2: request[:at] + request[at:at + 1] * 2 + request[at + 1:],
            3: request[:at],
        }[kind]
        client = Client(server)
        client.send(data)
        try:
            client.plug.shutdown(socket.SHUT_WR)
            while client.more():
                pass
        except OSError:
            pass
        expect(client.buffer == b"" or client.buffer.startswith(b"HTTP/1.1 "), f"an answer begins with {client.buffer[:20]!r}")
        client.close()
    return server


def attack_every_split(options):
    """A request cut in two at every place gets the same answer."""
    server = Server(options.server, "echo")
    requests = [
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        b"\r\nPOST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n",
        b"POST /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ]
    for request, body in zip(requests, (b"hello", b"hello", b"5")):
        client = Client(server)
        for at in range(1, len(request)):
            client.send(request[:at])
            time.sleep(0.0005)
            client.send(request[at:])
            answer = client.answer()
            expect(answer.status == 200 and answer.body == body, f"cut at {at}: {answer}")
        client.close()
    return server


def attack_slow_reader(options):
    """A client that asks much and reads nothing is cut, and what it pinned is given back."""
    server = Server(options.server, "echo", ["write_ms=400"])
    plug = server.connect()
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plug.sendall(b"GET /pieces?bytes=16000000 HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
    until(lambda: counters(server)["pinned"] > 0, "nothing is pinned")
    until(lambda: counters(server)["pinned"] == 0, "a slow reader keeps its pins")
    plug.close()
    stream = server.connect()
    stream.sendall(b"GET /stream?bytes=900000000 HTTP/1.1\r\nHost: x\r\n\r\n")
    until(lambda: counters(server)["timeouts"] >= 2, "a slow reader of a stream is not cut")
    stream.close()
    return server


def attack_steady_reader(options):
    """Who takes 16 KiB and a sixteenth of what is left in time is not cut, although the kernel holds so much for it that the server's socket takes nothing more for long."""
    server = Server(options.server, "echo", ["write_ms=3000"])
    client = server.connect()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.sendall(b"GET /pieces?bytes=1000000 HTTP/1.1\r\nHost: x\r\n\r\n")
    until(lambda: counters(server)["pinned"] > 0, "nothing is pinned")
    end = time.monotonic() + 8
    while time.monotonic() < end:
        expect(len(client.recv(4096)) > 0, "a steady reader is cut")
        time.sleep(0.05)
    expect(counters(server)["timeouts"] == 0, "a steady reader is cut")
    client.close()
    return server


def attack_vanishing_clients(options):
    """Clients that go away at every moment; deferred and streamed answers included."""
    server = Server(options.server, "echo")
    paths = ["/defer?ms=5", "/stream?bytes=3000000", "/pieces?bytes=3000000", "/hello", "/defer?ms=20&deadline=5"]
    for turn in range(100):
        plug = server.connect()
        plug.sendall(f"GET {paths[turn % len(paths)]} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 3)
        if turn % 3 == 0:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        plug.close()
    until(lambda: counters(server)["pinned"] == 0, "pins of vanished clients are kept")
    return server


def attack_deep_pipeline(options):
    server = Server(options.server, "echo")
    client = Client(server)
    count = 5000
    sender = threading.Thread(target=client.send, args=(HELLO * count,))
    sender.start()
    for _ in range(count):
        expect(client.answer().body == b"hello", "a pipelined request is not answered")
    sender.join()
    client.close()
    return server


def attack_endless_pipeline(options):
    """Requests without end from a client that never reads: the queue stays bounded."""
    server = Server(options.server, "echo", ["write_ms=1000"])
    plug = server.connect()
    plug.settimeout(0.5)
    try:
        for _ in range(200):
            plug.sendall(b"GET /pieces?bytes=100000 HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
    except OSError:
        pass
    expect(counters(server)["pinned"] < 1000, "the queue grows without end")
    plug.close()
    until(lambda: counters(server)["pinned"] == 0, "pins are kept")
    return server


def attack_cut_bodies(options):
    server = Server(options.server, "echo")
    for path in (b"/echo", b"/count", b"/mirror", b"/early"):
        for framing in (b"Content-Length: 100000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n"):
            for size in (0, 1, 5000, 40000):
                plug = server.connect()
                plug.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: x\r\n" + framing + b"a" * size)
                plug.close()
    until(lambda: counters(server)["connections"] <= 1, "connections with cut bodies stay")
    return server


def attack_stop_in_flight(options):
    """A stop answers what is in flight, says so, and ends."""
    server = Server(options.server, "echo", arguments=["--stop-ms", "60000"])
    busy, idle = Client(server), Client(server)
    idle.send(HELLO)
    idle.answer()
    busy.send(b"GET /defer?ms=8000 HTTP/1.1\r\nHost: x\r\n\r\n")
    looks = itertools.count(1)
    until(lambda: counters(server)["requests"] == next(looks) + 2, "the request is not read")
    server.process.terminate()
    idle.expect_closed()
    answer = busy.answer()
    expect(answer.status == 200 and answer.field("Connection") == "close", f"in flight during the stop: {answer}")
    busy.expect_closed()
    busy.close()
    server.stop()
    return None


def attack_stop_deadline(options):
    """A stop does not wait for ever for a client that does not read."""
    server = Server(options.server, "echo", ["write_ms=600000"], arguments=["--stop-ms", "300"])
    plug = server.connect()
    plug.sendall(b"GET /stream?bytes=900000000 HTTP/1.1\r\nHost: x\r\n\r\n")
    plug.recv(1)
    server.stop()
    plug.close()
    return None


def attack_stop_under_load(options):
    server = Server(options.server, "echo")
    ending = threading.Event()

    def load():
        while not ending.is_set():
            try:
                client = Client(server)
                for _ in range(20):
                    client.send(HELLO + b"GET /defer HTTP/1.1\r\nHost: x\r\n\r\n" + HELLO)
                    for _ in range(3):
                        client.answer()
                client.close()
            except (Failure, OSError):
                pass

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    server.process.terminate()
    try:
        server.stop()
    finally:
        ending.set()
        for thread in threads:
            thread.join()
    return None


def attack_unix_socket(options):
    """The same over a unix socket: its mode, and its file goes with the server."""
    path = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"wire-{os.getpid()}.sock")
    server = Server(options.server, "echo", listen="unix:" + path)
    expect(os.stat(path).st_mode & 0o777 == 0o660, "the mode of the socket is not 0660")
    well_behaved(server)
    try:
        Server(options.server, "echo", listen="unix:" + path)
        raise AssertionError
    except Failure:
        pass  # a second server on the same path is refused
    except AssertionError:
        raise Failure("two servers share a unix socket")
    server.process.kill()
    server.process.wait()
    expect(os.path.exists(path), "a killed server leaves its file")
    server = Server(options.server, "echo", listen="unix:" + path)
    well_behaved(server)
    server.stop()
    expect(not os.path.exists(path), "the file of the socket stays")
    return None


def attack_address_in_use(options):
    server = Server(options.server, "echo")
    try:
        Server(options.server, "echo", listen=server.address).stop()
    except Failure:
        return server
    raise Failure("two servers share a port")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    failed = 0
    for name, attack in sorted(globals().items()):
        if not name.startswith("attack_") or options.only not in name:
            continue
        begin = time.monotonic()
        try:
            server = attack(options)
            if server is not None:
                well_behaved(server)
                server.stop()
            print(f"ok {name[7:]} ({time.monotonic() - begin:.1f} s)")
        except (Failure, OSError) as failure:
            failed += 1
            print(f"FAILED {name[7:]}: {failure}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
