"""What bench_policy does not take: a message that names the option, status 2, nothing measured.   arguments_test.py BENCH_POLICY"""
import subprocess
import sys
import unittest


class Arguments(unittest.TestCase):
    def ask(self, *arguments):
        return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=60)

    def test_refused(self):
        for option in ("capacity", "requests", "objects", "shards", "seed"):
            for value in ("abc", "", "-5", " 5", "12x", "99999999999999999999999"):
                done = self.ask("--" + option, value)
                self.assertEqual((done.returncode, done.stdout), (2, ""), (option, value))
                self.assertTrue(done.stderr.startswith("bench_policy: --%s: '%s' is not accepted; accepted: " % (option, value)), done.stderr)
        for arguments in (("--capacity", "0"), ("--requests", "99"), ("--objects", "19"), ("--objects", "4294967296"), ("--shards", "3"), ("--shards", "512"),
                          ("--trace", "/nope"), ("more",), ("--nope",)):
            done = self.ask(*arguments)
            self.assertEqual((done.returncode, done.stdout.count("\n") < 2), (2, True), arguments)
            self.assertNotEqual(done.stderr, "", arguments)

    def test_taken(self):
        done = self.ask("--requests", "1000", "--objects", "100", "--shards", "2", "--seed", "0", "--capacity", "1000000", "--json")
        self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    PROGRAM = sys.argv.pop()
    unittest.main()
