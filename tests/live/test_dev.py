"""`./dev run`: in a tree of its own, with programs that are built already."""
import os
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

from programs import AICACHE, AICACHED, clean_environment, die_with_parent

DEV = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "dev")


class Run(unittest.TestCase):
    def setUp(self):
        self.tree = tempfile.mkdtemp(prefix="aicache-dev-")
        self.addCleanup(shutil.rmtree, self.tree, True)
        os.makedirs(os.path.join(self.tree, "build", "release"))
        shutil.copy(DEV, self.tree)
        os.symlink(os.path.abspath(AICACHED), os.path.join(self.tree, "build", "release", "aicached"))
        os.symlink(os.path.abspath(AICACHE), os.path.join(self.tree, "build", "release", "aicache"))
        open(os.path.join(self.tree, "build", "release", "build.ninja"), "w").close()
        # Nothing is built and nothing is installed: every word of the script is an installed package.
        with open(DEV) as file:
            words = sorted(set(re.findall(r"[a-z][a-z0-9.+-]+", file.read())))
        self.tool("ninja", "exit 0")
        self.tool("dpkg-query", "cat <<END\n" + "".join(word + " installed\n" for word in words) + "END")

    def tool(self, name, script):
        path = os.path.join(self.tree, "tools")
        os.makedirs(path, exist_ok=True)
        with open(os.path.join(path, name), "w") as file:
            file.write("#!/bin/sh\n" + script + "\n")
        os.chmod(os.path.join(path, name), 0o755)

    def start(self, *flags, **environment):
        path = os.path.join(self.tree, "tools") + ":" + os.environ["PATH"]
        process = subprocess.Popen([os.path.join(self.tree, "dev"), "run", *flags], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, env=clean_environment(PATH=path, **environment),
                                   preexec_fn=die_with_parent, start_new_session=True)
        self.addCleanup(self.end, process)
        return process

    def end(self, process):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)
        process.stdout.close()

    def page(self, process):
        """What is printed until the daemon's page has ended."""
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "What it does at any moment" in line:
                break
        return "".join(lines)

    def test_defaults(self):
        first = self.start()
        page = self.page(first)
        address = re.search(r"listening on (127\.0\.0\.1:\d+)", page).group(1)
        self.assertIn("aicache answers on http://%s and keeps its entries in build/run-data." % address, page)
        # What it prints to try works, and needs nothing that a fresh machine lacks.
        self.assertNotIn("curl", page)
        commands = re.findall(r"(?m)^  (\./build/.*)$", page)
        done = [subprocess.run(["sh", "-c", command], cwd=self.tree, capture_output=True, text=True, timeout=60) for command in commands]
        self.assertEqual([one.returncode for one in done], [0, 0, 0], [one.stderr for one in done])
        self.assertEqual(done[1].stdout, '{"answer":"Paris"}\n')
        second = self.start()
        out = second.communicate(timeout=60)[0]
        self.assertNotEqual(second.returncode, 0)
        self.assertEqual(len(re.findall(r"(?m)^dev: another \./dev run has build/run-data; ", out)), 1, out)

    def test_what_is_given_is_used(self):
        page = self.page(self.start("--listen", "127.0.0.1:0", "--data-dir", os.path.join(self.tree, "mine")))
        self.assertEqual(page.count("listening on"), 1, page)
        address = re.search(r"listening on (\S+)", page).group(1)
        self.assertIn("answers on http://%s and keeps its entries in %s/mine." % (address, self.tree), page)
        self.assertFalse(os.path.exists(os.path.join(self.tree, "build", "run-data")))

    def test_the_environment_is_heard(self):
        socket = os.path.join(self.tree, "socket")
        page = self.page(self.start("--storage-kind", "none", AICACHE_LISTEN="unix:" + socket, AICACHE_DATA_DIR=os.path.join(self.tree, "mine")))
        self.assertEqual(page.count("listening on"), 1, page)
        self.assertIn("answers on unix:%s and keeps its entries in memory alone." % socket, page)
        self.assertIn("./build/release/aicache --unix %s lookup qa " % socket, page)
        self.assertFalse(os.path.exists(os.path.join(self.tree, "build", "run-data")))

    def test_help_and_refusals_are_the_programs(self):
        help_page = self.start("--help").communicate(timeout=60)[0]
        self.assertIn("Usage: aicached", help_page)
        refused = self.start("--threads", "many")
        out = refused.communicate(timeout=60)[0]
        self.assertEqual(refused.returncode, 2, out)
        self.assertIn("threads", out)


if __name__ == "__main__":
    unittest.main()
