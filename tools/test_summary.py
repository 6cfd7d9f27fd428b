#!/usr/bin/env python3
"""Counts the test cases of a meson test run and says what failed.

usage: test_summary.py BUILD_DIR [--failed | --again]

Reads BUILD_DIR/meson-logs/testlog.json. A program that writes TAP counts each of its cases, a Python unittest its "Ran N tests",
anything else counts as one. A program that failed although all its cases passed (a crash, a leak, a time-out) counts as one failure
more. The last line reads "N passed, N failed"; the exit status is 1 when something failed or when nothing ran.

--failed prints the names of the programs that may be run once more by themselves, one a line, and nothing else: those that failed,
but for a crash, a broken invariant and what a sanitizer has reported, which are findings however seldom they show. --again reads what came of that, too
(BUILD_DIR/meson-logs/again.json): a program that passed then counts as passed, and is named FLAKY in a line of its own.
"""
import json
import os
import re
import sys

GOOD = {"OK", "EXPECTEDFAIL"}
TAP = re.compile(r"^[ ]{0,4}(not ok|ok)\b[ ]*(?:\d+)?(?: - )?[ ]*(.*)$", re.M)
UNITTEST = re.compile(r"^Ran (\d+) tests? in ", re.M)
FINDING = re.compile(r"(ERROR|WARNING): (Address|Leak|Memory|Thread)Sanitizer|runtime error: |broken invariant: |failed with exception: ")
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


def read_log(build, name):
    try:
        with open(os.path.join(build, "meson-logs", name), encoding="utf-8", errors="replace") as log:
            return [json.loads(line) for line in log if line.strip()]
    except FileNotFoundError:
        return []


def has_failed(record):
    return record["result"] not in GOOD and record["result"] != "SKIP"


def may_be_flaky(record):
    text = (record.get("stdout") or "") + (record.get("stderr") or "")
    crashed = record["result"] != "TIMEOUT" and record["returncode"] < 0  # by a signal; a time-out ends with one, too
    return has_failed(record) and not crashed and FINDING.search(text) is None


def main():
    build, options = sys.argv[1], sys.argv[2:]
    count, records = Count(), read_log(build, "testlog.json")
    if "--failed" in options:
        print("".join(record["name"].rpartition(" / ")[2] + "\n" for record in records if may_be_flaky(record)), end="")
        return 0
    again = {}
    if "--again" in options:
        again = {record["name"]: record for record in read_log(build, "again.json") if record["result"] in GOOD}
    if not records:
        print(f"no test log in {build}/meson-logs: nothing ran")
    for record in records:
        flaky = may_be_flaky(record) and record["name"] in again
        add_program(count, again[record["name"]] if flaky else record)
        if has_failed(record):
            show_output(record)
        if flaky:
            print(f"FLAKY {record['name']}")
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
