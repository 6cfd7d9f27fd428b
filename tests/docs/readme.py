#!/usr/bin/env python3
"""Runs the tour of README.md as it stands against a daemon of its own.

usage: readme.py README AICACHED AICACHE

Every ```sh block between the headings "A tour…" and "Replaying…" is run by bash; the ```text block below it is what must be printed, where …
stands for anything. Only the address and the path of the client are replaced. Writes TAP.
"""
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading

ADDRESS = "http://127.0.0.1:8080"
CLIENT = "./build/release/aicache"


def blocks(readme):
    """(commands, expected output or None) in order."""
    with open(readme, encoding="utf-8") as file:
        text = file.read()
    start, end = re.search(r"^## A tour", text, re.M), re.search(r"^## Replaying", text, re.M)
    if not start or not end:
        sys.exit("the headings of the tour are gone")
    found = re.findall(r"^```(sh|text)\n(.*?)^```", text[start.start():end.start()], re.M | re.S)
    for index, (kind, body) in enumerate(found):
        if kind == "sh":
            follows = found[index + 1] if index + 1 < len(found) else ("", "")
            yield body, follows[1].strip("\n") if follows[0] == "text" else None


def matches(expected, output):
    """Each part between the … must appear, in order; the first and last at the ends where no … stands before or after."""
    flat = lambda text: re.sub(r"\s+", "", text)
    pattern = ".*".join(re.escape(flat(part)) for part in expected.split("…"))
    return re.fullmatch(pattern, flat(output), re.S) is not None


class Daemon:
    def __init__(self, program, folder):
        self.process = subprocess.Popen([program, "--listen", "127.0.0.1:0", "--data-dir", folder], stdin=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True)
        self.lines = []
        self.address = None
        for line in self.process.stderr:
            self.lines.append(line)
            match = re.search(r"listening on (\S+)", line)
            if match:
                self.address = match.group(1)
                break
        # What follows is read so that the daemon never waits for it.
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr), daemon=True)
        self.reader.start()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(30)
        self.reader.join(5)
        return status


def run_block(number, title, commands, expected, environment):
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", commands], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60, env=environment, check=False)
    good = done.returncode == 0 and (expected is None or matches(expected, done.stdout))
    print(f"{'ok' if good else 'not ok'} {number} - {title}")
    if not good:
        print(f"# exit status {done.returncode}\n# expected {expected}\n# printed {done.stdout}\n# {done.stderr}")
    return good


def main():
    readme, aicached, aicache = sys.argv[1:4]
    with tempfile.TemporaryDirectory(prefix="aicache-readme-") as folder:
        daemon = Daemon(os.path.abspath(aicached), folder)
        if daemon.address is None:
            sys.exit("the daemon did not start:\n" + "".join(daemon.lines))
        url = "http://" + daemon.address
        environment = dict(os.environ, AICACHE_URL=url, LC_ALL="C.UTF-8")
        count, good = 0, True
        for commands, expected in blocks(readme):
            count += 1
            title = commands.strip().splitlines()[0]
            commands = commands.replace(ADDRESS, url).replace(CLIENT, os.path.abspath(aicache))
            good = run_block(count, title, commands, expected, environment) and good
        status = daemon.stop()
        count += 1
        print(f"{'ok' if status == 0 else 'not ok'} {count} - the daemon ends with status 0")
        print(f"1..{count}")
        if status != 0:
            print("# " + "# ".join(daemon.lines))
    return 0 if good and status == 0 and count > 1 else 1


if __name__ == "__main__":
    sys.exit(main())
