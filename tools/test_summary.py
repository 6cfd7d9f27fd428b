#!/usr/bin/env python3
"""Counts the test cases of a meson test run and says what failed.

usage: test_summary.py BUILD_DIR [--quiet]

Reads BUILD_DIR/meson-logs/testlog.json. A program that writes TAP counts each of its cases, a Python unittest its "Ran N tests",
anything else counts as one. A program that failed although all its cases passed (a crash, a leak, a time-out) counts as one failure
more. The last line reads "N passed, N failed"; the exit status is 1 when something failed or when nothing ran.
"""
import json
import os
import re
import sys

GOOD = {"OK", "EXPECTEDFAIL"}
TAP = re.compile(r"^[ ]{0,4}(not ok|ok)\b[ ]*(?:\d+)?(?: - )?[ ]*(.*)$", re.M)
UNITTEST = re.compile(r"^Ran (\d+) tests? in ", re.M)
UNITTEST_BAD = re.compile(r"^FAILED \((.*)\)$", re.M)


class Count:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, 0, 0
        self.failures = []

    def fail(self, name, amount=1):
        self.failed += amount
        self.failures.append(name)


def add_tap(count, name, cases):
    before = count.failed
    for verdict, title in cases:
        if "# SKIP" in title.upper():
            count.skipped += 1
        elif verdict == "ok":
            count.passed += 1
        else:
            count.fail(f"{name}: {title}")
    return count.failed - before


def add_unittest(count, name, ran, stderr):
    bad = sum(int(n) for line in UNITTEST_BAD.findall(stderr) for n in re.findall(r"(?:failures|errors)=(\d+)", line))
    skipped = sum(int(n) for n in re.findall(r"skipped=(\d+)", stderr))
    count.skipped += skipped
    count.passed += max(0, ran - bad - skipped)
    if bad:
        titles = re.findall(r"^(?:FAIL|ERROR): (\S+)", stderr, re.M)
        count.fail(f"{name}: {', '.join(titles) or bad}", bad)
    return bad


def add_program(count, record):
    name, result = record["name"], record["result"]
    stdout, stderr = record.get("stdout", "") or "", record.get("stderr", "") or ""
    cases = TAP.findall(stdout)
    ran = sum(int(n) for n in UNITTEST.findall(stderr + stdout))
    if result == "SKIP":
        count.skipped += 1
        return
    if cases:
        bad = add_tap(count, name, cases)
    elif ran:
        bad = add_unittest(count, name, ran, stderr + stdout)
    else:
        bad = 0
        if result in GOOD:
            count.passed += 1
    if result not in GOOD and bad == 0:
        count.fail(f"{name}: {result.lower()}, exit status {record.get('returncode')}")


def show_output(record):
    print(f"--- {record['name']} ({record['result'].lower()}, {record['duration']:.1f} s)")
    text = (record.get("stdout") or "") + (record.get("stderr") or "")
    lines = [line for line in text.splitlines() if not re.match(r"^ok\b", line)]
    for line in lines[-60:]:
        print("    " + line)


def main():
    build = sys.argv[1]
    path = os.path.join(build, "meson-logs", "testlog.json")
    count, records = Count(), []
    try:
        with open(path, encoding="utf-8", errors="replace") as log:
            records = [json.loads(line) for line in log if line.strip()]
    except FileNotFoundError:
        print(f"no test log at {path}: nothing ran")
    for record in records:
        add_program(count, record)
        if record["result"] not in GOOD and record["result"] != "SKIP" and "--quiet" not in sys.argv:
            show_output(record)
    for failure in count.failures:
        print(f"FAILED {failure}")
    if count.skipped:
        print(f"{count.skipped} skipped")
    if count.passed + count.failed == 0:
        print("no test ran, and that is an error")
    print(f"{count.passed} passed, {count.failed} failed")
    return 1 if count.failed or count.passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
