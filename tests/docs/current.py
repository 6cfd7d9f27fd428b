#!/usr/bin/env python3
"""Are the pages that a program writes by itself those that are committed? usage: current.py PAGE PROGRAM FLAG... - `./dev docs` renews them."""
import difflib
import subprocess
import sys


def main():
    page, command = sys.argv[1], sys.argv[2:]
    written = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout
    with open(page, encoding="utf-8") as file:
        committed = file.read()
    if written == committed and written:
        return 0
    sys.stdout.writelines(difflib.unified_diff(committed.splitlines(True), written.splitlines(True), page, " ".join(command)))
    print(f"{page} is not what the program writes: run ./dev docs")
    return 1


if __name__ == "__main__":
    sys.exit(main())
