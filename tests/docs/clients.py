#!/usr/bin/env python3
"""Runs the Python of docs/clients.md as it stands: against a daemon, against none, against one that hangs, and from many threads at once.

usage: clients.py PAGE AICACHED

Where a node that strips types is installed, the TypeScript is run too. Writes TAP.
"""
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from readme import Daemon

QUESTION = ("qa", "What is the capital of France?", {"model": "gpt-4o", "temperature": 0})
REPORTED = []


def report(title, good, why=""):
    REPORTED.append(good)
    print(f"{'ok' if good else 'not ok'} {len(REPORTED)} - {title}")
    if not good:
        print("# " + str(why).replace("\n", "\n# "))


def blocks(page, language):
    with open(page, encoding="utf-8") as file:
        return re.findall(r"^```%s\n(.*?)^```" % language, file.read(), re.M | re.S)


class Model:
    """Counts how often it is paid."""

    def __init__(self, answer, wait=None):
        self.answer, self.wait, self.calls = answer, wait, 0

    def __call__(self):
        self.calls += 1
        if self.wait:
            self.wait.wait(60)
        return self.answer


def against_a_daemon(cache):
    model = Model({"answer": "Lyon"})
    got = cache.answer(model, *QUESTION)
    report("the printed call stored its answer", (got, model.calls) == ({"answer": "Paris"}, 0), (got, model.calls))
    first = cache.answer(model, "qa", "another", ttl=60, tags=["x"])
    second = cache.answer(model, "qa", "another")
    report("a miss asks the model once", first == second == model.answer and model.calls == 1, (first, second, model.calls))

    def fail():
        raise KeyError("no model")
    try:
        cache.answer(fail, "qa", "fails")
        report("a failure of the model is the caller's", False)
    except KeyError:
        report("a failure of the model is the caller's", True)
    report("and nothing was stored", cache.answer(Model("well"), "qa", "fails") == "well")
    report("what is refused is answered by the model", cache.answer(Model("refused"), "", "no operation") == "refused")


def at_once(cache):
    """Threads that miss together: one pays. They are let go when all have asked or are about to."""
    gate, answers = threading.Event(), []
    model = Model("shared", gate)
    threads = [threading.Thread(target=lambda: answers.append(cache.answer(model, "qa", "rush"))) for _ in range(20)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(60)
    report("many at once pay one model", (model.calls, answers) == (1, ["shared"] * 20), (model.calls, answers))


def without_a_daemon(kind):
    with socket.create_server(("127.0.0.1", 0)) as hanging:  # connections are queued, nobody answers
        cache = kind("http://127.0.0.1:%d" % hanging.getsockname()[1])
        model = Model("by the model")
        began = time.monotonic()
        answers = [cache.answer(model, "qa", "hangs %d" % i) for i in range(3)]
        report("a daemon that hangs costs time-outs, no answers", answers == ["by the model"] * 3 and time.monotonic() - began < 30, answers)
        place = hanging.getsockname()[1]
    report("no daemon costs no answer", kind("http://127.0.0.1:%d" % place).answer(model, "qa", "nobody") == "by the model")


def typescript(page, folder, address):
    node = shutil.which("node")
    script = os.path.join(folder, "clients.ts")
    with open(script, "w", encoding="utf-8") as file:
        file.write("\n".join(blocks(page, "ts")))
    if not node or subprocess.run([node, "--experimental-strip-types", "--eval", ""], capture_output=True, check=False).returncode != 0:
        REPORTED.append(True)
        print(f"ok {len(REPORTED)} - TypeScript # SKIP no node that strips types")
        return
    done = subprocess.run([node, "--experimental-strip-types", script], env=dict(os.environ, AICACHE_URL=address), capture_output=True,
                          text=True, timeout=60, check=False)
    report("TypeScript", done.returncode == 0 and "Paris" in done.stdout, done.stdout + done.stderr)


def main():
    page, aicached = sys.argv[1:3]
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="aicache-clients-") as folder:
        daemon = Daemon(os.path.abspath(aicached), folder)
        if daemon.address is None:
            sys.exit("the daemon did not start:\n" + "".join(daemon.lines))
        os.environ["AICACHE_URL"] = "http://" + daemon.address
        os.environ.pop("AICACHE_API_KEY", None)
        names, printed = {"__name__": "clients"}, []
        names["print"] = printed.append
        # A loaded machine may be slower than the page's time-out: the page's code as it stands, with more patience.
        source = "\n".join(blocks(page, "python"))
        exec(compile(source.replace("timeout=0.3", "timeout=20"), page, "exec"), names)  # pylint: disable=exec-used
        report("the call prints the answer", printed == [{"answer": "Paris"}], printed)
        against_a_daemon(names["cache"])
        at_once(names["cache"])
        typescript(page, folder, os.environ["AICACHE_URL"])
        status = daemon.stop()
        report("the daemon ends with status 0", status == 0, "".join(daemon.lines))
        model = Model("alone")
        report("a daemon that stopped is no failure", names["cache"].answer(model, *QUESTION) == "alone" and model.calls == 1)
        impatient = {"__name__": "clients"}
        exec(compile(blocks(page, "python")[0], page, "exec"), impatient)  # pylint: disable=exec-used
        without_a_daemon(impatient["Cache"])
    print(f"1..{len(REPORTED)}")
    return 0 if all(REPORTED) else 1


if __name__ == "__main__":
    sys.exit(main())
