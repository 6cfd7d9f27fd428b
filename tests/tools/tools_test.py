#!/usr/bin/env python3
"""Are the judges just? Feeds tools/test_summary.py and tools/floors.py what they must refuse, and tools/questions_to_replay.py, too. usage: tools_test.py TREE"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

TREE = os.path.abspath(sys.argv.pop(1))


def program(result, stdout="", stderr="", name="p", returncode=1):
    return {"name": name, "result": result, "stdout": stdout, "stderr": stderr, "duration": 1.0, "returncode": 0 if result == "OK" else returncode}


class Summary(unittest.TestCase):
    def summary(self, *records, log=True):
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(os.path.join(folder, "meson-logs"))
            if log:
                with open(os.path.join(folder, "meson-logs", "testlog.json"), "w", encoding="utf-8") as file:
                    file.writelines(json.dumps(record) + "\n" for record in records)
            done = subprocess.run([sys.executable, os.path.join(TREE, "tools", "test_summary.py"), folder], capture_output=True, text=True,
                                  check=False)
            return done.stdout.splitlines()[-1], done.returncode

    def test_nothing_ran(self):
        self.assertEqual(self.summary(log=False), ("0 passed, 0 failed", 1))
        self.assertEqual(self.summary(), ("0 passed, 0 failed", 1))
        self.assertEqual(self.summary(program("SKIP")), ("0 passed, 0 failed", 1))

    def test_cases_are_counted(self):
        tap = "1..3\nok 1 - a\nok 2 - b\nok 3 - c # SKIP no server\n"
        self.assertEqual(self.summary(program("OK", tap), program("OK")), ("3 passed, 0 failed", 0))

    def test_a_failed_case(self):
        self.assertEqual(self.summary(program("FAIL", "ok 1 - a\nnot ok 2 - b\n")), ("1 passed, 1 failed", 1))

    def test_a_crash_after_good_cases(self):
        self.assertEqual(self.summary(program("FAIL", "ok 1 - a\nok 2 - b\n")), ("2 passed, 1 failed", 1))
        self.assertEqual(self.summary(program("TIMEOUT")), ("0 passed, 1 failed", 1))
        self.assertEqual(self.summary(program("ERROR", "ok 1 - a\n")), ("1 passed, 1 failed", 1))

    def test_unittest_programs(self):
        self.assertEqual(self.summary(program("OK", stderr="...\nRan 3 tests in 0.1s\n\nOK\n")), ("3 passed, 0 failed", 0))
        bad = "FAIL: test_x (A.test_x)\nRan 3 tests in 0.1s\n\nFAILED (failures=1, errors=1)\n"
        self.assertEqual(self.summary(program("FAIL", stderr=bad)), ("1 passed, 2 failed", 1))


class Flaky(unittest.TestCase):
    def judge(self, first, again, *options):
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(os.path.join(folder, "meson-logs"))
            for name, records in (("testlog.json", first), ("again.json", again)):
                with open(os.path.join(folder, "meson-logs", name), "w", encoding="utf-8") as file:
                    file.writelines(json.dumps(record) + "\n" for record in records)
            done = subprocess.run([sys.executable, os.path.join(TREE, "tools", "test_summary.py"), folder, *options], capture_output=True, text=True,
                                  check=False)
            return done.stdout.splitlines(), done.returncode

    def test_what_passes_by_itself_is_named(self):
        first = [program("OK"), program("FAIL", "ok 1 - a\nnot ok 2 - b\n", name="x:unit / q")]
        self.assertEqual(self.judge(first, [], "--failed"), (["q"], 0))
        lines, status = self.judge(first, [program("OK", "ok 1 - a\nok 2 - b\n", name="x:unit / q")], "--again")
        self.assertEqual((lines[-1], status), ("3 passed, 0 failed", 0))
        self.assertIn("FLAKY x:unit / q", lines)

    def test_what_fails_twice_has_failed(self):
        first = [program("TIMEOUT", name="q")]
        for again in ([program("FAIL", name="q")], [program("SKIP", name="q")], [program("OK", name="other")], []):
            lines, status = self.judge(first, again, "--again")
            self.assertEqual((lines[-1], status), ("0 passed, 1 failed", 1))
            self.assertFalse(any(line.startswith("FLAKY") for line in lines))

    def test_a_report_of_a_sanitizer_is_a_finding(self):
        for report in ("WARNING: ThreadSanitizer: data race", "==1==ERROR: AddressSanitizer: heap-use-after-free", "a.c:1:2: runtime error: signed integer overflow"):
            first = [program("FAIL", stderr=report + "\n", name="q")]
            self.assertEqual(self.judge(first, [], "--failed"), ([], 0))
            lines, status = self.judge(first, [program("OK", name="q")], "--again")
            self.assertEqual((lines[-1], status), ("0 passed, 1 failed", 1))


    def test_a_crash_is_a_finding(self):
        for first in (program("ERROR", "ok 1 - a\n", name="q", returncode=-6), program("FAIL", "Test failed with exception: Segmentation fault(11)\n", name="q"),
                      program("FAIL", stderr="aicache: broken invariant: count > 0 at src/a.c:1\n", name="q")):
            self.assertEqual(self.judge([first], [], "--failed"), ([], 0))
            self.assertEqual(self.judge([first], [program("OK", name="q")], "--again")[1], 1)
        self.assertEqual(self.judge([program("TIMEOUT", name="q", returncode=-15)], [], "--failed"), (["q"], 0))


class Steps(unittest.TestCase):
    """.ci/run over a tree whose `./dev asan` says and returns what the case gives it."""

    def run_ci(self, says, status):
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(os.path.join(folder, ".ci"))
            shutil.copy(os.path.join(TREE, ".ci", "run"), os.path.join(folder, ".ci", "run"))
            with open(os.path.join(folder, "dev"), "w", encoding="utf-8") as file:
                file.write("#!/bin/sh\n[ \"$1\" = asan ] || exit 0\necho '%s'\nexit %d\n" % (says, status))
            os.chmod(os.path.join(folder, "dev"), 0o755)
            done = subprocess.run([os.path.join(folder, ".ci", "run")], capture_output=True, text=True, check=False)
            return done.stdout.splitlines(), done.returncode

    def test_flaky_is_named_and_green(self):
        lines, status = self.run_ci("FLAKY x y\n3 passed, 0 failed", 0)
        self.assertEqual((lines[-3:], status), (["FLAKY x y", "", "9 passed, 0 failed"], 0))

    def test_red_is_red(self):
        for says, given, last in (("2 passed, 1 failed", 1, "8 passed, 1 failed"), ("3 passed, 0 failed", 1, "9 passed, 1 failed"),
                                  ("2 passed, 1 failed", 0, "8 passed, 1 failed"), ("killed", 137, "6 passed, 1 failed")):
            lines, status = self.run_ci(says, given)
            self.assertEqual((lines[-1], status), (last, 1), says)


class Floors(unittest.TestCase):
    def findings(self, name, text):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["git", "init", "-q", folder], check=True)
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            done = subprocess.run([sys.executable, os.path.join(TREE, "tools", "floors.py"), folder], capture_output=True, text=True,
                                  check=False)
            lines = done.stdout.splitlines()
            self.assertEqual(done.returncode, 1 if len(lines) > 1 else 0)
            return lines[:-1]

    def test_a_clean_file(self):
        self.assertEqual(self.findings("src/tier/a.c", '#include "store/codec.h"\n#include "base/mem.h"\n/* malloc() */\n'), [])

    def test_upwards(self):
        self.assertIn("store includes upwards", self.findings("src/store/a.c", '#include "cache/key.h"\n')[0])
        self.assertIn("tier includes upwards", self.findings("tests/unit/tier/a_test.c", '/* assert */\n#include "serve/http/http.h"\n')[0])
        self.assertIn("by its folder", self.findings("src/store/a.c", '#include "../cache/key.h"\n')[0])
        self.assertIn("is no floor", self.findings("src/other/a.c", '#include "base/mem.h"\n')[0])

    def test_within_serve(self):
        def include(header):
            return '/* assert */\n#include "serve/%s"\n' % header
        for name, header in (("http/a.c", "routes/routes.h"), ("settings/a.h", "http/http.h"), ("routes/a.c", "settings/settings.h")):
            self.assertIn("knows nothing of serve/" + header, self.findings("src/serve/" + name, include(header))[0])
        self.assertIn("knows nothing of serve/routes/", self.findings("tests/unit/serve/http/a_test.c", include("routes/front.h"))[0])
        self.assertIn("knows nothing of serve/a.h", self.findings("src/serve/routes/b.c", include("a.h"))[0])
        self.assertIn("lies in no part of serve", self.findings("src/serve/a.c", "int a;\n")[0])
        self.assertIn("lies in no part of serve", self.findings("src/serve/other/a.def", "int a;\n")[0])
        for name, header in (("routes/routes.def", "http/http.h"), ("routes/a.h", "http/server.h"), ("settings/a.c", "settings/settings.h")):
            self.assertEqual(self.findings("src/serve/" + name, include(header)), [])

    def test_the_public_header(self):
        self.assertIn("public header", self.findings("include/aicache/aicache.h", '#include "base/mem.h"\n')[0])
        self.assertEqual(self.findings("include/aicache/aicache.h", "#include <stdint.h>\n"), [])

    def test_sizes(self):
        self.assertIn("601 lines", self.findings("src/base/a.c", "\n" * 601)[0])
        body = "void f(void)\n{\n" + "    g();\n" * 101 + "}\n"
        self.assertIn("a function of 102 lines", self.findings("src/base/a.c", body)[0])

    def test_allocation(self):
        self.assertIn("malloc()", self.findings("src/cache/a.c", "int *a = malloc(4);\n")[0])
        self.assertEqual(self.findings("src/base/a.c", "int *a = malloc(4);\n"), [])
        self.assertEqual(self.findings("src/cache/a.c", "mem_free(a); allocator.free(a); my_free(b);\n"), [])

    def test_links(self):
        self.assertIn("leads nowhere: b.md", self.findings("docs/a.md", "see [b](b.md)\n")[0])
        self.assertEqual(self.findings("docs/a.md", "see [a](a.md#top) and [w](https://example.org)\n"), [])


class Questions(unittest.TestCase):
    def ask(self, *arguments):
        return subprocess.run([sys.executable, os.path.join(TREE, "tools", "questions_to_replay.py"), *arguments], capture_output=True, text=True, check=False)

    def test_a_table(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "table.tsv")
            with open(path, "w", encoding="utf-8") as file:
                file.write("id\tquestion1\n1\twhy?\n2\twhy?\n")
            done = self.ask(path)
            self.assertEqual((done.returncode, done.stdout), (0, '{"operation": "qa", "text": "why?"}\n' * 2))
            with open(path, "wb") as file:
                file.write(b"id\xff\n")
            done = self.ask(path)
            self.assertEqual((done.returncode, done.stdout, "Traceback" in done.stderr), (2, "", False))

    def test_no_table(self):
        done = self.ask("/nope")
        self.assertEqual((done.returncode, done.stderr), (2, "questions_to_replay.py: /nope: No such file or directory\n"))
        self.assertEqual((self.ask("/").returncode, self.ask("/").stderr), (2, "questions_to_replay.py: /: Is a directory\n"))


if __name__ == "__main__":
    unittest.main()
