#!/usr/bin/env python3
"""Runs wire tests: scripts of raw requests and the answers that must come back.

    run.py --server PROGRAM [--profile echo|aicached] [--tls] [--only TEXT] [--verbose] FILE.wire...

A script is a list of tests, each on a connection of its own:

    server limits header_ms=300      the server is started with these (at the top of a file)
    mode whole                       only as written: not byte by byte (for tests about time, or very long ones)

    test Host is missing
    > GET $GET HTTP/1.1              sends the line and CRLF
    >                                sends CRLF
    >> abc\\r\\n\\x00                   sends exactly this; $(repeat 9000 a) repeats
    < 400                            an answer with this status comes back (also 4xx, 400|501)
    <h Allow: GET, HEAD.*            ... with a field that matches this regular expression
    <- Content-Length                ... without this field
    <b hello                         ... with this body (escapes as above)
    <~ hel+o                         ... with a body that matches
    head                             the next answer has no body, whatever its fields say
    silent                           nothing comes for a moment: the server waits for more
    shut                             ends the sending side
    pause 0.5                        waits, in seconds
    open                             the connection still serves requests
    closed                           the server has ended the connection

$GET is a path that answers GET with $GETS, $POST one that answers POST of $BODY with 200; $LEN and $HEX are the length of
$BODY (${BODY} where letters follow). So one script fits every server. Each test runs twice: as written, and with every byte sent alone; the answers
must be the same. Every answer is also checked for what all of them owe: a Date, one way to tell the length, the error
shape. With --tls all of it goes through TLS, tests with `shut` left out, because TLS has no half-close.
"""
import argparse
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

TIMEOUT = 60
DATE = re.compile(r"^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT$")

PROFILES = {
    "echo": {
        "variables": {"GET": "/hello", "GETS": "200", "POST": "/echo", "BODY": "hello"},
        "limit": lambda name, value: ["--limit", f"{name}={value}"],
        "arguments": lambda directory: ["--threads", "2"],
        "tls": lambda certificate, key: ["--tls", certificate, key],
    },
    "aicached": {
        "variables": {"GET": "/cache/ping", "GETS": "200", "POST": "/cache/lookup", "BODY": '{"operation":"a","text":"b"}'},
        "limit": lambda name, value: {
            "header_ms": ["--timeouts-header", f"{value}ms"],
            "idle_ms": ["--timeouts-idle", f"{value}ms"],
            "body_bytes": ["--limits-body-bytes", str(value)],
            "connections": ["--limits-connections", str(value)],
        }.get(name),
        "arguments": lambda directory: ["--data-dir", os.path.join(directory, "data"), "--threads", "2",
                                        "--hosts", "x", "--hosts", "a", "--hosts", "example.com"],
        "tls": lambda certificate, key: ["--tls-certificate", certificate, "--tls-key", key],
    },
}


class Failure(Exception):
    pass


class Server:
    """A server program on a port that it picked itself."""

    def __init__(self, program, profile, limits=(), arguments=(), listen="127.0.0.1:0", tls=False, **popen):
        self.directory = tempfile.mkdtemp(prefix="wire-")
        self.tls = None
        if tls:
            arguments = list(arguments) + self._certificate(profile)
        command = [program, "--listen", listen] + PROFILES[profile]["arguments"](self.directory) + list(arguments)
        for limit in limits:
            flags = PROFILES[profile]["limit"](*limit.split("="))
            if flags is None:
                raise KeyError(limit)
            command += flags
        # Appending: what is read here moves the offset that the server writes at, and lines would overwrite each other.
        self.log = open(os.path.join(self.directory, "log"), "a+b")
        self.process = subprocess.Popen(command, stderr=self.log, stdout=subprocess.DEVNULL, **popen)
        self.address = self._address()

    def _certificate(self, profile):
        certificate, key = (os.path.join(self.directory, name) for name in ("certificate.pem", "key.pem"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-keyout", key, "-out", certificate], check=True, capture_output=True)
        self.tls = ssl.create_default_context(cafile=certificate)
        self.tls.check_hostname = False
        return PROFILES[profile]["tls"](certificate, key)

    def text(self):
        self.log.seek(0)
        return self.log.read().decode("utf-8", "replace")

    def _address(self):
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            found = re.search(r"listening on (\S+)", self.text())
            if found:
                return found.group(1)
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise Failure(f"the server did not start: {self.text()}")

    def connect(self):
        if self.address.startswith("unix:"):
            plug = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            plug.settimeout(TIMEOUT)
            plug.connect(self.address[5:])
            return plug
        host, port = self.address.rsplit(":", 1)
        plug = socket.create_connection((host.strip("[]"), int(port)), timeout=TIMEOUT)
        plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return plug if self.tls is None else self.tls.wrap_socket(plug, suppress_ragged_eofs=False)

    def stop(self, timeout=60):
        """Ends it the polite way; the exit status must be 0 (sanitizers make it another)."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            status = "none: it did not end"
        text = self.text()
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)
        if status != 0:
            raise Failure(f"the server ended with status {status}:\n{text}")


class Answer:
    def __init__(self, status, version, fields, body):
        self.status, self.version, self.fields, self.body = status, version, fields, body

    def field(self, name):
        values = [value for key, value in self.fields if key.lower() == name.lower()]
        return values[0] if values else None

    def __repr__(self):
        return f"{self.status} {self.fields} {self.body[:200]!r}"


class Client:
    """One connection, read strictly."""

    def __init__(self, server):
        self.server = server
        self.plug = server.connect()
        self.buffer = b""

    def close(self):
        self.plug.close()

    def send(self, data, alone=False):
        try:
            if not alone:
                self.plug.sendall(data)
                return
            for at in range(len(data)):
                self.plug.sendall(data[at:at + 1])
                if len(data) < 600:
                    time.sleep(0.0001)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            pass  # the server may refuse before it has everything

    def more(self):
        try:
            data = self.plug.recv(65536)
        except socket.timeout:
            raise Failure(f"no answer; so far {self.buffer[:200]!r}")
        except (ConnectionResetError, ssl.SSLEOFError):
            data = b""
        self.buffer += data
        return len(data) > 0

    def take(self, size):
        while len(self.buffer) < size:
            if not self.more():
                raise Failure(f"the answer is cut short: {self.buffer[:200]!r}")
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def until(self, mark):
        while mark not in self.buffer:
            if not self.more():
                raise Failure(f"the connection ended instead of an answer: {self.buffer[:200]!r}")
        data, self.buffer = self.buffer.split(mark, 1)
        return data

    def chunks(self):
        body = b""
        while True:
            size = self.until(b"\r\n")
            if not re.fullmatch(rb"[0-9a-f]+", size):
                raise Failure(f"not a chunk size: {size!r}")
            body += self.take(int(size, 16))
            if self.take(2) != b"\r\n":
                raise Failure("a chunk does not end with CRLF")
            if int(size, 16) == 0:
                return body

    def answer(self, no_body=False):
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        line = re.fullmatch(r"(HTTP/1\.1) (\d{3}) [\x20-\x7e]*", lines[0])
        if not line:
            raise Failure(f"not a status line: {lines[0]!r}")
        fields = []
        for text in lines[1:]:
            field = re.fullmatch(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\t]*?)[ \t]*", text)
            if not field:
                raise Failure(f"not a field line: {text!r}")
            fields.append(field.groups())
        answer = Answer(int(line.group(2)), line.group(1), fields, b"")
        length, coding = answer.field("Content-Length"), answer.field("Transfer-Encoding")
        if answer.status < 200 or answer.status == 204:
            if length is not None or coding is not None:
                raise Failure(f"{answer.status} has a length")
        elif answer.status == 304 or no_body:
            pass
        elif coding is not None:
            if length is not None or coding != "chunked":
                raise Failure("two lengths")
            answer.body = self.chunks()
        elif length is not None:
            answer.body = self.take(int(length))
        else:
            while self.more():
                pass
            answer.body, self.buffer = self.buffer, b""
        self.duties(answer, no_body)
        return answer

    def duties(self, answer, no_body):
        if answer.status < 200:
            return
        if not DATE.match(answer.field("Date") or ""):
            raise Failure(f"no Date: {answer}")
        if answer.status < 400 or no_body:
            return
        try:
            error = json.loads(answer.body)["error"]
            fine = set(error) >= {"message", "type", "param", "code"} and answer.field("Content-Type") == "application/json"
        except (ValueError, KeyError, TypeError):
            fine = False
        if not fine:
            raise Failure(f"not the error shape: {answer}")

    def expect_closed(self):
        if self.buffer or self.more():
            raise Failure(f"not closed, but {self.buffer[:200]!r}")

    def expect_silence(self, seconds=0.05):
        self.plug.settimeout(seconds)
        try:
            data = self.plug.recv(100)
            raise Failure(f"not silent, but {data!r}")
        except socket.timeout:
            pass
        finally:
            self.plug.settimeout(TIMEOUT)


def unescape(text, variables):
    text = re.sub(r"\$\(repeat (\d+) ([^)]*)\)", lambda m: m.group(2) * int(m.group(1)), text)
    text = re.sub(r"\$\{([A-Z]+)\}|\$([A-Z]+)", lambda m: variables[m.group(1) or m.group(2)], text)
    simple = {"r": b"\r", "n": b"\n", "t": b"\t", "\\": b"\\", "0": b"\0", "s": b" "}
    out, at = b"", 0
    while at < len(text):
        if text[at] != "\\":
            stop = text.find("\\", at)
            stop = len(text) if stop < 0 else stop
            out += text[at:stop].encode("utf-8")
            at = stop
        elif text[at + 1] == "x":
            out += bytes([int(text[at + 2:at + 4], 16)])
            at += 4
        else:
            out += simple[text[at + 1]]
            at += 2
    return out


class Test:
    def __init__(self, name, place):
        self.name, self.place, self.steps, self.whole = name, place, [], False


def parse(path):
    limits, arguments, tests, whole = [], [], [], False
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\n")
            if not line.strip() or line.startswith("#"):
                continue
            word, _, rest = line.partition(" ")
            if word == "server":
                kind, _, values = rest.partition(" ")
                (limits if kind == "limits" else arguments).extend(values.split())
            elif word == "mode":
                if tests:
                    tests[-1].whole = True
                else:
                    whole = True
            elif word == "test":
                tests.append(Test(rest, f"{os.path.basename(path)}:{number}"))
                tests[-1].whole = whole
            elif tests:
                tests[-1].steps.append((word, rest, number))
            else:
                raise SystemExit(f"{path}:{number}: {word} stands before the first test")
    return limits, arguments, tests


def status_fits(status, wanted):
    return any(re.fullmatch(part.replace("x", r"\d"), str(status)) for part in wanted.split("|"))


def check_answer(word, rest, answer, variables):
    if answer is None:
        raise Failure("there is no answer to look at")
    text = unescape(rest, variables)
    if word == "<h":
        name, _, pattern = rest.partition(":")
        value = answer.field(name)
        if value is None or not re.fullmatch(pattern.strip(), value):
            raise Failure(f"{name} is {value!r}")
    elif word == "<-":
        if answer.field(rest.strip()) is not None:
            raise Failure(f"{rest} is there")
    elif word == "<b" and answer.body != text:
        raise Failure(f"the body is {answer.body[:200]!r}")
    elif word == "<~" and not re.search(text, answer.body):
        raise Failure(f"the body is {answer.body[:200]!r}")


def run_test(server, test, variables, alone):
    client, answer, no_body, number = Client(server), None, False, 0
    try:
        for word, rest, number in test.steps:
            if word in (">", ">>"):
                client.send(unescape(rest, variables) + (b"\r\n" if word == ">" else b""), alone)
            elif word == "<":
                answer = client.answer(no_body)
                no_body = False
                wanted = unescape(rest, variables).decode()
                if not status_fits(answer.status, wanted):
                    raise Failure(f"wanted {wanted}, got {answer}")
            elif word in ("<h", "<-", "<b", "<~"):
                check_answer(word, rest, answer, variables)
            elif word == "head":
                no_body = True
            elif word == "silent":
                client.expect_silence()
            elif word == "shut":
                client.plug.shutdown(socket.SHUT_WR)
            elif word == "pause":
                time.sleep(float(rest))
            elif word == "closed":
                client.expect_closed()
            elif word == "open":
                client.send(unescape("GET $GET HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n", variables))
                if client.answer().status != int(variables["GETS"]):
                    raise Failure("the connection serves no more requests")
            else:
                raise Failure(f"unknown step {word}")
    except (Failure, OSError) as failure:
        raise Failure(f"{test.place} {test.name}{' (byte by byte)' if alone else ''}, line {number}: {failure}")
    finally:
        client.close()


def run_file(options, path):
    variables = dict(PROFILES[options.profile]["variables"])
    variables["LEN"] = str(len(variables["BODY"]))
    variables["HEX"] = "%x" % len(variables["BODY"])
    limits, arguments, tests = parse(path)
    try:
        server = Server(options.server, options.profile, limits, arguments, tls=options.tls)
    except KeyError as limit:
        print(f"# {path}: skipped, this server has no {limit}")
        return 0, 0
    passed, failed = 0, 0
    try:
        for test in tests:
            if options.only and options.only not in test.name:
                continue
            if options.tls and any(word == "shut" for word, _, _ in test.steps):
                continue
            for alone in (False, True):
                if alone and test.whole:
                    continue
                try:
                    run_test(server, test, variables, alone)
                    passed += 1
                    if options.verbose:
                        print(f"ok {test.place} {test.name}")
                except Failure as failure:
                    failed += 1
                    print(f"FAILED {failure}")
    finally:
        try:
            server.stop()
        except Failure as failure:
            failed += 1
            print(f"FAILED {path}: {failure}")
    return passed, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True)
    parser.add_argument("--profile", choices=sorted(PROFILES), default="echo")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--only", help="tests whose name has this text")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("files", nargs="+")
    options = parser.parse_args()
    passed = failed = 0
    for path in options.files:
        fine, bad = run_file(options, path)
        passed, failed = passed + fine, failed + bad
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
