"""What the benchmark scripts share: servers on free ports, pinned to a core, and the CPU time of their processes."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

TREE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
TICK = os.sysconf("SC_CLK_TCK")
SERVER_CORE, CLIENT_CORE = 0, 1


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pin(core, realtime):
    def prepare():
        os.sched_setaffinity(0, {core})
        if realtime:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        os.setsid()
    return prepare


def wait_for(port, process, name, log):
    for _ in range(300):
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    with open(log, encoding="utf-8", errors="replace") as text:
        sys.exit(f"{name} did not start:\n{text.read()}")


def family(pid):
    """The process and all below it."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stat:
                    parents[int(entry)] = int(stat.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                pass
    found = {pid}
    while True:
        more = {child for child, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more


def process_seconds(pid):
    try:
        nanoseconds = 0
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat", encoding="utf-8") as schedstat:
                nanoseconds += int(schedstat.read().split()[0])
        return nanoseconds / 1e9
    except (FileNotFoundError, ProcessLookupError):
        pass
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK
    except (FileNotFoundError, ProcessLookupError):
        return 0.0  # it has ended, as nginx's cache loader does after a minute; it had used next to nothing


def cpu_seconds(pids):
    """User and system time. schedstat has the sum of both in nanoseconds; stat, in ticks of 10 ms, where the kernel has no schedstat."""
    return sum(process_seconds(pid) for pid in pids)


def exchange(port, request):
    """Sends one request and returns the whole answer, head and body."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(request)
        answer = b""
        while True:
            head, mark, body = answer.partition(b"\r\n\r\n")
            if mark:
                lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
                if len(body) >= int(lengths[0]):
                    return answer
            more = connection.recv(65536)
            if not more:
                sys.exit(f"the connection was closed after {answer[:200]!r}")
            answer += more


def http_request(method, path, port, body=None):
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: bench\r\nAccept: */*\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + (body or b"")


class Servers:
    """Servers of one run with a folder for their files; all are stopped by stop()."""

    def __init__(self, build, realtime):
        self.build = build
        self.realtime = realtime
        self.folder = tempfile.mkdtemp(prefix="aicache-bench-")
        self.processes = []

    def path(self, name, content=None):
        path = os.path.join(self.folder, name)
        if content is not None:
            with open(path, "wb") as file:
                file.write(content if isinstance(content, bytes) else content.encode())
        return path

    def program(self, *parts):
        path = os.path.join(TREE, self.build, *parts)
        if not os.path.exists(path):
            sys.exit(f"{path} is not built: run ./dev bench http")
        return path

    def start(self, name, port, command):
        log = self.path(f"{name}.log")
        with open(log, "wb") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                       preexec_fn=pin(SERVER_CORE, self.realtime), cwd=self.folder)
        self.processes.append(process)
        wait_for(port, process, name, log)
        return process

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
