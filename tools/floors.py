#!/usr/bin/env python3
"""Checks the shape of the tree: which folder may include which, and how large things may grow.

usage: floors.py [TREE]

Prints one line per finding, then "N checks, N findings"; exit status 1 when there is a finding. The checks:
  floors     a file of src/FLOOR/ includes its own folder and those before it in FLOORS; tests of a floor likewise;
             within serve each folder its own and those that SERVE lists, and no file lies beside these folders
  public     the public header includes only the standard library
  size       no file over 600 lines, no function over 100
  allocation nothing outside src/base/ calls malloc, calloc, realloc, strdup or asprintf by itself
  unfinished no words of unfinished work in what is shipped
  links      every relative link of a Markdown page leads to a file
  tests      every test file asserts something
"""
import os
import re
import subprocess
import sys

FLOORS = ["base", "store", "net", "tier", "cache", "observe", "serve", "cli"]
# What each folder of serve sees of the others.
SERVE = {"settings": [], "http": [], "routes": ["http"]}
FILE_LINES, FUNCTION_LINES = 600, 100
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.M)
ALLOCATION = re.compile(r"(?<![\w>.])(malloc|calloc|realloc|reallocarray|strdup|strndup|asprintf)[ ]*\(")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK|not implemented|unimplemented|placeholder|for now|stub)\b", re.I)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def tracked(tree):
    command = ["git", "-C", tree, "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [name for name in names if os.path.isfile(os.path.join(tree, name))]


def without_comments(text):
    """The same text with comments and literals blanked, so that line numbers stay."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', blank, text, flags=re.S)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def floor_of(name):
    parts = name.split("/")
    if parts[0] == "src" and len(parts) > 2:
        return parts[1]
    if parts[:2] == ["tests", "unit"] and len(parts) > 3:
        return parts[2]
    return None


def part_of_serve(name):
    """The folder of serve that a file lies in, or that an include names; '' beside them, None outside of serve."""
    match = re.match(r"(?:src/|tests/unit/)?serve/(?:([^/]+)/)?", name)
    return match and (match.group(1) or "")


def check_serve(name, text):
    own = part_of_serve(name)
    if own is None:
        return
    if own not in SERVE:
        yield 1, f"lies in no part of serve: one of {', '.join(SERVE)}"
        return
    for match in INCLUDE.finditer(text):
        part = part_of_serve(match.group(2))
        if part is not None and part not in [own] + SERVE[own]:
            yield line_of(text, match.start()), f"serve/{own}/ knows nothing of {match.group(2)}"


def check_floors(name, text):
    own = floor_of(name)
    if own is None:
        return
    if own not in FLOORS:
        yield 1, f"folder {own} is no floor: one of {', '.join(FLOORS)}"
        return
    for match in INCLUDE.finditer(text):
        target = match.group(2).split("/")[0]
        where = line_of(text, match.start())
        if match.group(1) == '"' and (target == ".." or "/" not in match.group(2)) and name.startswith("src/"):
            yield where, f'include "{match.group(2)}" by its folder, as in "{own}/{match.group(2)}"'
        elif "/" in match.group(2) and target in FLOORS and FLOORS.index(target) > FLOORS.index(own):
            yield where, f"{own} includes upwards: {match.group(2)}"


def check_public(name, text):
    if not name.startswith("include/"):
        return
    for match in INCLUDE.finditer(text):
        if match.group(1) == '"' or "/" in match.group(2) and not match.group(2).startswith("aicache/"):
            yield line_of(text, match.start()), f"the public header includes {match.group(2)}"


def functions(code):
    """(first line, last line) of each function: a line that opens a body in column 0 until the next brace in column 0."""
    start = None
    for number, line in enumerate(code.split("\n"), 1):
        if start is None and (line.startswith("{") or re.match(r"^[A-Za-z_].*\)\s*\{\s*$", line)):
            start = number
        elif line.startswith("}") and start is not None:
            yield start, number
            start = None


def check_size(name, text):
    lines = text.count("\n")
    if lines > FILE_LINES:
        yield 1, f"{lines} lines, at most {FILE_LINES}"
    if name.endswith((".c", ".cc")):
        for first, last in functions(without_comments(text)):
            if last - first > FUNCTION_LINES:
                yield first, f"a function of {last - first} lines, at most {FUNCTION_LINES}"


def check_allocation(name, text):
    if not name.startswith("src/") or name.startswith("src/base/"):
        return
    code = without_comments(text)
    for match in ALLOCATION.finditer(code):
        yield line_of(code, match.start()), f"{match.group(1)}() outside src/base/: use base/mem.h"


def check_unfinished(name, text):
    if not re.match(r"(src|include|web|bench|examples|\.ci)/|dev$", name):
        return
    for match in UNFINISHED.finditer(text):
        if match.group(0) == "Not Implemented":  # the reason phrase of 501
            continue
        yield line_of(text, match.start()), f'a word of unfinished work: "{match.group(0)}"'


def check_links(tree, name, text):
    prose = re.sub(r"```.*?```", lambda m: re.sub(r"[^\n]", " ", m.group(0)), text, flags=re.S)
    for match in LINK.finditer(prose):
        target = match.group(1)
        if re.match(r"[a-z]+:", target):
            continue
        if not os.path.exists(os.path.normpath(os.path.join(tree, os.path.dirname(name), target))):
            yield line_of(prose, match.start()), f"the link leads nowhere: {target}"


def check_tests(name, text):
    if re.match(r"tests/.*\.c$", name) and not re.search(r"assert|check|expect|LLVMFuzzer|fail", text, re.I):
        yield 1, "asserts nothing"


def main():
    tree = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), ".."))
    findings, checks = [], 0
    for name in tracked(tree):
        code = name.endswith((".c", ".h", ".def", ".cc"))
        if not (code or name.endswith(".md") or name in ("dev", ".ci/run")):
            continue
        with open(os.path.join(tree, name), encoding="utf-8") as file:
            text = file.read()
        runs = [check_links(tree, name, text)] if name.endswith(".md") else [check_unfinished(name, text)]
        if code:
            runs += [check(name, text)
                     for check in (check_floors, check_serve, check_public, check_size, check_allocation, check_tests)]
        for run in runs:
            checks += 1
            findings += [f"{name}:{line}: {message}" for line, message in run]
    for finding in findings:
        print(finding)
    print(f"{checks} checks, {len(findings)} findings")
    return 1 if findings or checks == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
