"""aicached where its directory is not as it should be: stores and secrets that cannot be read, directories that cannot be written. It does not
start, says why, and leaves what is there as it was."""
import ctypes
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from programs import AICACHED, Running, clean_environment, run

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1


def obey_permissions():
    """For root: what follows is refused what the modes of files refuse."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)


class Refused(unittest.TestCase):
    """The daemon does not start, says why, and leaves what is there as it was."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="aicache-live-")
        daemon = Running(directory=self.directory)
        self.data = daemon.data
        try:
            self.assertEqual(daemon.client("put", "qa", "a question", "an answer").status, 0)
        finally:
            self.assertEqual(daemon.stop(), 0)

    def tearDown(self):
        for folder, _, _ in os.walk(self.directory):
            os.chmod(folder, 0o700)
        shutil.rmtree(self.directory)

    def contents(self):
        found = {}
        for folder, _, names in os.walk(self.data):
            for name in names:
                if not name.endswith("lock"):
                    with open(os.path.join(folder, name), "rb") as file:
                        found[name] = file.read()
        return found

    def refused(self, says):
        before = self.contents()
        done = subprocess.run([AICACHED, "--data-dir", self.data, "--listen", "127.0.0.1:0"], capture_output=True, timeout=60, preexec_fn=obey_permissions,
                              env=clean_environment())
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr.decode(), says)
        self.assertNotIn(b"listening on", done.stderr)
        self.assertEqual(self.contents(), before)

    def still_there(self):
        daemon = Running(directory=self.directory)
        try:
            self.assertEqual(daemon.client("lookup", "qa", "a question").out, '"an answer"\n')
        finally:
            self.assertEqual(daemon.stop(), 0)

    def test_a_store_of_a_newer_version(self):
        path = os.path.join(self.data, "cache", "cache.state")
        with open(path) as file:
            state = file.read()
        newer = re.sub(r"^(aicache-store) \d+", r"\1 99", state)
        self.assertNotEqual(newer, state)
        with open(path, "w") as file:
            file.write(newer)
        self.refused(r"the store in .*cache was written by a newer version of this program")
        verified = run(os.environ["AICACHE"], "verify", "--data-dir", self.data)
        self.assertEqual(verified.status, 2)
        self.assertIn("newer version", verified.err)
        with open(path, "w") as file:
            file.write(state)
        self.still_there()

    def test_a_directory_that_cannot_be_written(self):
        store = os.path.join(self.data, "cache")
        os.chmod(store, 0o500)
        self.refused(r"cannot write in the storage directory .*cache: Permission denied; make it writable")
        os.chmod(store, 0o700)
        self.still_there()

    def test_a_directory_in_which_nothing_can_be_made(self):
        shutil.rmtree(os.path.join(self.data, "cache"))
        os.chmod(self.data, 0o500)
        self.refused(r"cannot make the storage directory .*cache: Permission denied; make it writable")

    def test_a_secret_that_is_cut_short(self):
        path = os.path.join(self.data, "secret")
        with open(path) as file:
            secret = file.read()
        with open(path, "w") as file:
            file.write(secret[:5])
        self.refused(r"secret' holds 5 bytes: at least 16 are needed")
        with open(path, "w") as file:
            file.write(secret)
        self.still_there()


    def verify_says_so(self, *more):
        verified = run(os.environ["AICACHE"], "verify", "--data-dir", self.data, *more)
        self.assertEqual((verified.status, verified.out), (2, ""))
        self.assertRegex(verified.err, self.ANOTHER)

    ANOTHER = r"the store in .* was written under another secret .*none of its entries could be found; put the old secret file back, or start with an empty data_dir"

    def test_another_secret(self):
        path = os.path.join(self.data, "secret")
        with open(path) as file:
            secret = file.read()
        os.remove(path)
        with open(path, "w") as file:
            os.chmod(path, 0o600)
            file.write("f" * 64 + "\n")
        self.refused(self.ANOTHER)
        self.verify_says_so()
        with open(path, "w") as file:
            file.write(secret)
        self.still_there()

    def test_a_store_without_its_secret(self):
        """As a copy of `cache` alone: no new secret is made for it, neither by the daemon nor by the client."""
        path, aside = os.path.join(self.data, "secret"), os.path.join(self.directory, "aside")
        os.rename(path, aside)
        self.refused(self.ANOTHER)
        self.verify_says_so()
        self.assertFalse(os.path.exists(path))
        whole = run(os.environ["AICACHE"], "verify", "--data-dir", self.data, "--secret-file", aside)
        self.assertEqual((whole.status, whole.out), (0, "everything adds up\n"), whole.err)
        os.rename(aside, path)
        self.still_there()


if __name__ == "__main__":
    unittest.main()
