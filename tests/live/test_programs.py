"""aicached as a program: its settings and presets, and the pages that both programs print."""
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import unittest

from programs import AICACHE, AICACHED, Running, run

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Pages(unittest.TestCase):
    """What is checked in was made by the programs as they are."""

    def current(self, path, *command):
        made = run(*command)
        self.assertEqual(made.status, 0)
        with open(os.path.join(ROOT, path)) as file:
            self.assertEqual(file.read(), made.out, "%s is not current: %s > %s" % (path, " ".join(command), path))

    def test_reference(self):
        self.current("docs/configuration.md", AICACHED, "--reference")

    def test_daemon_manual(self):
        self.current("man/aicached.8", AICACHED, "--manual")

    def test_client_manual(self):
        self.current("man/aicache.1", AICACHE, "manual")

    def test_completions(self):
        self.current("packaging/completion/aicache.bash", AICACHE, "completion", "bash")
        self.current("packaging/completion/_aicache", AICACHE, "completion", "zsh")

    def test_help_and_version(self):
        for program in (AICACHED, AICACHE):
            self.assertRegex(run(program, "--version").out, r"^\w+ \d+\.\d+\.\d+\n$")
            self.assertIn("Usage: ", run(program, "--help").out)
        everything = run(AICACHE, "help").out
        for command in ("get", "put", "lookup", "explain", "list", "invalidate", "stats", "health", "export", "import", "verify", "bench", "replay", "delete",
                        "key new", "config check"):
            self.assertIn("\n  %s " % command, everything)
            page = run(AICACHE, "help", *command.split())
            self.assertEqual(page.status, 0)
            self.assertIn("Usage: aicache %s" % command, page.out)


class Settings(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="aicache-live-")
        self.path = os.path.join(self.directory, "a.yaml")

    def tearDown(self):
        shutil.rmtree(self.directory)

    def check(self, text, *flags, **environment):
        with open(self.path, "w") as file:
            file.write(text)
        return run(AICACHED, "--config", self.path, "--check-config", *flags, **environment)

    def test_good(self):
        self.assertEqual(self.check("memory: {max_bytes: 1G}\n").status, 0)

    def test_bad(self):
        for text, says in (
                ("memory:\n  max_byte: 1G\n", r"a\.yaml:2: unknown option 'memory\.max_byte', did you mean memory\.max_bytes\?"),
                ("memory:\n  max_bytes: lots\n", r"a\.yaml:2: memory\.max_bytes: 'lots' is not accepted; accepted: a number of bytes"),
                ("compression: {level: 20}\n", r"compression\.level: '20' is not accepted; accepted: a whole number, from 1 to 19"),
                ("log: {level: loud}\n", r"accepted: debug, info, warning, error"),
                ("listen: 0.0.0.0:80\n", r"api_keys.*aicache key new"),
                ("preset: bogus\n", r"ai-development, ai-production"),
                ("memory: [1]\n", r"a\.yaml:1: memory: a list where a map belongs; accepted: a map of max_bytes,"),
                ("memory: 1\n", r"a\.yaml:1: memory: a single value where a map belongs; accepted: a map of max_bytes,"),
                ("listen: [{a: b}]\n", r"a\.yaml:1: listen: a map within the list"),
                ("listen: [[a, b]]\n", r"a\.yaml:1: listen: a list within the list"),
                ("a: [\n", r"a\.yaml:\d+: not YAML"),
        ):
            done = self.check(text)
            self.assertEqual(done.status, 2, text)
            self.assertRegex(done.err, says)

    def test_no_password_of_a_url_is_shown(self):
        """Whatever the word with the URL was meant for; a flag's value stands in no origin either."""
        url = "http://user:s3cret@host:1/t0ken"
        for flags in (["--alerts-webhok=" + url], ["--alerts-webhok", url], ["--check-config=" + url], ["--alerts-webhook=ftp" + url[4:]], ["--listen=" + url],
                      ["--log-level", url], ["--hosts=user:s3cret@host"], ["--secret-file=" + url], ["-x" + url], ["--data-dir", url, "--listen=" + url],
                      ["--alerts-webhok=http://user:" + "s3cret" * 20 + "@host"]):
            done = self.check("storage: {kind: none}\n", *flags)
            self.assertEqual(done.status, 2, flags)
            self.assertNotIn("s3cret", done.out + done.err, flags)
        done = run(AICACHED, "--check-config", "--config", url)
        self.assertEqual((done.status, "s3cret" in done.err), (2, False), done.err)
        shown = run(AICACHED, "--print-config", "--alerts-webhook=" + url)
        self.assertEqual(shown.status, 0, shown.err)
        self.assertRegex(shown.out, r'alerts.webhook: "http://host:1"  # the flag --alerts-webhook\n')
        self.assertNotRegex(shown.out, "s3cret|t0ken")
        for words in (["--ulr=" + url, "stats"], ["--ulr", url, "stats"], ["get", url], ["import", url], ["replay", url], ["help", url], ["completion", url],
                      ["config", "check", url], ["stats", "--timeout", url], ["stats", "--unix", url], ["put", "qa", "x", "@" + url], ["export", url], ["verify", "--data-dir", url],
                      ["put", "qa", "x", "y", "--ttl", url], ["--ulr=user:s3cret@host", "stats"], [url], ["config", "check", "--override", url], ["config", "presets", url]):
            done = run(AICACHE, *words)
            self.assertEqual(done.status, 2, words)
            self.assertNotIn("s3cret", done.out + done.err, words)

    def test_all_findings_at_once(self):
        done = self.check("threads: 1\nthreads: 2\nlog: {level: loud}\npressure: {warning: 95, critical: 90}\n")
        self.assertEqual(done.status, 2)
        for says in (r"a\.yaml:2: 'threads' stands twice, first in line 1", "log.level: 'loud'", "accepted: warning below critical"):
            self.assertRegex(done.err, says)

    def test_what_will_not_start(self):
        missing = os.path.join(self.directory, "missing")
        file = os.path.join(self.directory, "file")
        with open(file, "w") as out:
            out.write("no certificate\n")
        for text, says in (
                ("tls: {certificate: %s, key: %s}\n" % (missing, missing), r"a\.yaml:1: tls\.certificate: Cannot load the certificate chain"),
                ("tls: {certificate: %s, key: %s}\n" % (file, file), r"tls\.certificate: Cannot load"),
                ("data_dir: /proc/x\n", r"a\.yaml:1: data_dir: /proc/x: No such file or directory"),
                ("data_dir: /proc/x/below\n", r"a\.yaml:1: data_dir: /proc/x: No such file or directory"),
                ("data_dir: /proc/self\n", r"a\.yaml:1: data_dir: /proc/self: No such file or directory"),
                ("data_dir: %s\n" % file, r"data_dir: .*/file: Not a directory"),
                ("listen: unix:%s/socket\n" % missing, r"a\.yaml:1: listen: .*/missing: No such file or directory"),
        ):
            done = self.check(text)
            self.assertEqual(done.status, 2, text)
            self.assertRegex(done.err, says)
        self.assertFalse(os.path.exists(missing))
        for path in ("missing", "missing/below/it", "missing/below/it/"):  # the start makes what is missing
            done = self.check("data_dir: %s/%s\n" % (self.directory, path))
            self.assertEqual(done.status, 0, done.err)
            self.assertEqual(sorted(os.listdir(self.directory)), ["a.yaml", "file"])
        done = self.check("memory: {max_bytes: 240G}\ndata_dir: %s\n" % missing)
        self.assertEqual(done.status, 0, done.err)
        self.assertRegex(done.err, r"warning.*memory\.max_bytes|memory\.max_bytes.*more than the machine")
        self.assertFalse(os.path.exists(missing))

    def fails_alike(self, text, says, *flags):
        """Before a start, and in the start; nothing is left behind by either."""
        before = self.contents()
        done = self.check(text, *flags)
        self.assertEqual(done.status, 2, (text, flags, done.err))
        self.assertRegex(done.err, says)
        self.assertEqual(self.contents(), before)
        done = run(AICACHED, "--config", self.path, *flags)
        self.assertNotEqual(done.status, 0)

    def contents(self):
        found = {}
        for folder, _, names in os.walk(self.directory):
            found[folder] = None
            for name in names:
                if not name.endswith("lock") and name != "a.yaml":
                    with open(os.path.join(folder, name), "rb") as file:
                        found[os.path.join(folder, name)] = file.read()
        return found

    def test_addresses_that_no_start_gets(self):
        key = "api_keys: [{id: t, sha256: %s, admin: true}]\nstorage: {kind: none}\n" % hashlib.sha256(b"k").hexdigest()
        with socket.create_server(("127.0.0.1", 0)) as held:
            port = held.getsockname()[1]
            # That somebody has the port is not told: it may be the daemon that is to be started again.
            self.assertEqual(self.check(key + "listen: 127.0.0.1:%d\n" % port).status, 0)
        here = "listen: ['%s:{0}', '%s:{0}']\n".format(port)
        for text, says in (
                (here % ("127.0.0.1", "127.0.0.1"), r"a\.yaml:3: listen: '127\.0\.0\.1:%d' stands twice" % port),
                (here % ("127.0.0.1", "localhost"), r"a\.yaml:3: listen: localhost:%d is listened at already as 127\.0\.0\.1:%d" % (port, port)),
                (here % ("0.0.0.0", "127.0.0.1"), r"127\.0\.0\.1:%d is listened at already as 0\.0\.0\.0" % port),
                ("listen: ['unix:%s/s', 'unix:%s/s']\n" % (self.directory, self.directory), "'unix:.*/s' stands twice"),
                ("listen: ':%d'\n" % port, "There is no address before the port"),
                ("listen: '127.0.0.1:%d '\n" % port, "Port must be between"),
                ("listen: '127.0.0.1:%d.0'\n" % port, "Port must be between"),
                ("listen: '999.1.1.1:%d'\n" % port, "999.1.1.1:%d: Name or service not known" % port),
                ("listen: '192.0.2.1:%d'\n" % port, r"192\.0\.2\.1:%d: Cannot assign requested address" % port)):
            self.fails_alike(key + text, says)
        for text in (here % ("127.0.0.1", "127.0.0.2"), "listen: [127.0.0.1:0, 127.0.0.1:0]\n"):
            self.assertEqual(self.check(key + text).status, 0, text)

    def test_a_name_is_all_its_addresses(self):
        """localhost, in whatever order the machine has its addresses."""
        known = {entry[4][0] for entry in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
        here = set()
        for address in known:
            try:
                with socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET):
                    here.add(address)
            except OSError:
                pass
        daemon = Running(flags=("--listen", "localhost:0", "--storage-kind", "none"))
        try:
            for address in here:
                daemon.wait_for(r"listening on \[?%s\]?:\d+" % re.escape(address))
            self.assertEqual(len([line for line in daemon.lines if line and "listening on" in line]), len(here))
        finally:
            self.assertEqual(daemon.stop(), 0)

    def test_a_secret_that_no_start_takes(self):
        daemon = Running(directory=self.directory)
        text = "listen: 127.0.0.1:0\ndata_dir: %s\n" % daemon.data
        short, missing = (os.path.join(self.directory, name) for name in ("short", "no/secret"))
        with open(short, "w") as file:
            os.chmod(short, 0o600)
            file.write("abcd\n")
        try:  # as before a restart: the daemon has the store open
            self.assertEqual(self.check(text).status, 0)
            self.assertEqual(self.check(text + "secret_file: %s/secret\n" % daemon.data).status, 0)
        finally:
            self.assertEqual(daemon.stop(), 0)
        self.assertEqual(self.check(text).status, 0)
        self.fails_alike(text + "secret_file: %s\n" % missing, r"a\.yaml:3: secret_file: cannot read the secret '.*/no/secret': No such file or directory")
        self.fails_alike(text + "secret_file: %s\n" % short, r"a\.yaml:3: secret_file: '.*/short' holds 4 bytes: at least 16 are needed")
        self.fails_alike("listen: 127.0.0.1:0\nstorage: {kind: none}\nsecret_file: %s\n" % short, "holds 4 bytes")
        pipe = os.path.join(self.directory, "pipe")
        os.mkfifo(pipe)
        done = self.check(text + "secret_file: %s\n" % pipe)
        self.assertEqual(done.status, 2, done.err)
        self.assertRegex(done.err, r"a\.yaml:3: secret_file: '.*/pipe' is no regular file")
        os.remove(pipe)
        own = os.path.join(daemon.data, "secret")
        os.rename(own, os.path.join(self.directory, "aside"))
        with open(own, "w") as file:
            file.write("abcd")
        self.fails_alike(text, r"a\.yaml:2: data_dir: '.*/data/secret' holds 4 bytes")
        os.remove(own)
        os.rename(os.path.join(self.directory, "aside"), own)
        os.chmod(own, 0o644)
        done = self.check(text)
        self.assertEqual(done.status, 0, done.err)
        self.assertIn("can be read by others", done.err)

    def test_a_key_of_another_certificate(self):
        """Said with both files before a start, and by the start itself."""
        for name, kind in (("a", "ec"), ("b", "ec"), ("c", "rsa")):
            how = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if kind == "ec" else ["rsa:2048"]
            subprocess.run(["openssl", "req", "-x509", "-nodes", "-days", "1", "-subj", "/CN=localhost", "-newkey", *how,
                            "-keyout", "%s/%s.key" % (self.directory, name), "-out", "%s/%s.pem" % (self.directory, name)],
                           check=True, capture_output=True)
        for certificate, key in (("a.pem", "b.key"), ("a.pem", "c.key"), ("c.pem", "a.key")):
            paths = os.path.join(self.directory, certificate), os.path.join(self.directory, key)
            says = r"The private key in %s does not belong to the certificate in %s" % (re.escape(paths[1]), re.escape(paths[0]))
            done = self.check("tls: {certificate: %s, key: %s}\n" % paths)
            self.assertEqual(done.status, 2, done.err)
            self.assertRegex(done.err, r"a\.yaml:1: tls\.key: " + says)
            done = run(AICACHED, "--config", self.path, "--listen", "127.0.0.1:0", "--data-dir", os.path.join(self.directory, "data"))
            self.assertNotEqual(done.status, 0)
            self.assertRegex(done.err, says)
        done = self.check("tls: {certificate: %s/a.pem, key: %s/a.key}\n" % (self.directory, self.directory))
        self.assertEqual(done.status, 0, done.err)

    def test_sources(self):
        done = self.check("memory: {max_bytes: 1G}\n", "--memory-policy", "lruu")
        self.assertEqual(done.status, 2)
        self.assertIn("the flag --memory-policy: memory.policy: 'lruu'", done.err)
        done = self.check("", AICACHE_LOG_LEVEL="x")
        self.assertIn("the environment variable AICACHE_LOG_LEVEL: log.level: 'x'", done.err)
        done = self.check("", AICACHE_TTL_OPERATIONS="{qa: 1h, qa: 2h}")
        self.assertEqual(done.status, 2)
        self.assertRegex(done.err, r"AICACHE_TTL_OPERATIONS: ttl\.operations: '{qa: 1h, qa: 2h}' is not accepted, 'qa' stands twice")
        for variable, value, says in (("AICACHE_LISTEN", "nowhere", "listen: 'nowhere'"), ("AICACHE_MEMORY_CRITICAL_BYTES", "1", "memory.critical_bytes: warning is at"),
                                      ("AICACHE_SECRET_FILE", "/nonexistent/secret", "secret_file: cannot read")):
            done = self.check("", **{variable: value})  # found by rules across options, or by trying
            self.assertEqual(done.status, 2)
            self.assertIn("the environment variable %s: %s" % (variable, says), done.err)
        for flag, option in (("--pressure-critical=50", "pressure.critical"), ("--pressure-warning=95", "pressure.warning"), ("--memory-warning-bytes=1G", "memory.warning_bytes")):
            done = self.check("memory: {critical_bytes: 1G}", flag)  # not the value beside it
            self.assertEqual(done.status, 2)
            self.assertIn("the flag %s: %s: warning is at " % (flag.split("=")[0], option), done.err)
        self.assertEqual(run(AICACHED, "--nonsense").status, 2)
        self.assertEqual(run(AICACHED, "--config", "/nonexistent/x.yaml").status, 2)
        with open(self.path, "w") as file:
            file.write("memory: {max_bytes: 1G, max_entries: 5}\npreset: minimal\n")
        shown = run(AICACHED, "--config", self.path, "--print-config", "--threads=2", AICACHE_MEMORY_MAX_ENTRIES="6").out
        self.assertIn("memory.max_bytes: 1G  # %s:1" % self.path, shown)
        self.assertIn("memory.max_entries: 6  # AICACHE_MEMORY_MAX_ENTRIES", shown)
        self.assertIn("threads: 2  # the flag --threads", shown)
        self.assertIn("ttl.default: 15m  # the preset minimal", shown)
        again = os.path.join(self.directory, "b.yaml")
        with open(again, "w") as file:
            file.write(shown)
        self.assertEqual(run(AICACHED, "--config", again, "--check-config").status, 0)

    def test_client_checks_too(self):
        self.check("memory: {max_byte: 1G}\n")
        self.assertEqual(run(AICACHE, "config", "check", self.path).status, 2)
        done = run(AICACHE, "config", "check", self.path, "--json")
        said = json.loads(done.out)
        self.assertEqual((done.status, done.err, said["ok"], len(said["findings"])), (2, "", False, 1))
        self.assertIn(":1: unknown option 'memory.max_byte'", said["findings"][0])
        self.check("memory: {max_bytes: 1G}\n")
        self.assertEqual(run(AICACHE, "config", "check", self.path).status, 0)
        self.assertEqual(json.loads(run(AICACHE, "config", "check", self.path, "--json").out), {"ok": True, "findings": []})


class Presets(unittest.TestCase):
    """Conformance Q."""

    def override(self, **values):
        return run(AICACHE, "config", "check", "--preset", "production", "--override", json.dumps(values))

    def test_an_override_may_be_an_option_of_the_daemon(self):
        """It is judged as in the daemon's file, and never taken for an unknown key."""
        self.assertEqual(self.override(**{"memory.max_bytes": "1G"}).status, 0)
        self.assertEqual(self.override(**{"memory.max_bytes": "1G"}).err, "")
        for name, value, says in (("memory.max_bytes", "lots", "--override:2: memory.max_bytes: 'lots' is not accepted"), ("memory.max_bytes", "300G", "memory.max_bytes: '300G'"),
                                  ("ttl.default", -1, "ttl.default: '-1'"), ("listen", "nowhere", "listen: ")):
            done = self.override(**{name: value})
            self.assertEqual((done.status, done.out), (2, ""), name)
            self.assertIn(says, done.err)
        unknown = self.override(bogus=1)
        self.assertEqual(unknown.status, 0)
        self.assertIn("unknown key 'bogus' is ignored", unknown.err)

    def test_what_is_in_force_is_shown(self):
        done = run(AICACHED, "--print-config", "--ttl-operations", "{qa: 7s, mine: 1h}")
        self.assertIn('ttl.operations: {"qa": 7s, "mine": 1h, "summarize": 2h, "sentiment": 1d, "key_points": 2h, "questions": 1h}  # the flag', done.out)

    def test_what_the_check_takes_the_start_takes(self):
        """At the bounds of every size: what is too much is refused by both, in the same words."""
        for flags in (("--memory-max-bytes", "300G"), ("--memory-max-bytes", "18446744073709551615"), ("--memory-warning-bytes", "18446744073709551615"),
                      ("--storage-max-bytes", "18446744073709551615"), ("--storage-queue-bytes", "18446744073709551615"), ("--limits-bodies-bytes", "18446744073709551615"),
                      ("--memory-max-entries", "18446744073709551615"), ("--memory-critical-bytes", "1125899906842625")):
            check = run(AICACHED, "--check-config", "--listen", "127.0.0.1:0", *flags)
            start = run(AICACHED, "--listen", "127.0.0.1:0", *flags)
            self.assertEqual((check.status, start.status), (2, 2), flags)
            self.assertEqual(check.err, start.err)
        with tempfile.TemporaryDirectory() as directory:
            flags = ("--listen", "127.0.0.1:0", "--data-dir", directory, "--storage-max-bytes", str(1 << 44), "--storage-queue-bytes", "240G", "--memory-warning-bytes", str(1 << 49),
                     "--memory-critical-bytes", str(1 << 50), "--limits-bodies-bytes", str(1 << 40), "--memory-max-entries", "1000000000000")
            self.assertEqual(run(AICACHED, "--check-config", *flags).status, 0)
            daemon = Running(flags=flags[:2] + flags[4:], directory=directory)
            daemon.owned = False
            self.assertEqual(json.loads(daemon.client("stats", "--json").out)["memory"]["max_bytes"], 256 << 20)
            self.assertEqual(daemon.stop(), 0)

    def test_list(self):
        listed = {row["name"]: row for row in json.loads(run(AICACHE, "config", "presets", "--json").out)}
        self.assertEqual(list(listed), ["disabled", "minimal", "simple", "development", "production", "ai-development", "ai-production"])
        self.assertEqual(listed["ai-production"]["operations"],
                         {"summarize": 14400, "sentiment": 7200, "key_points": 10800, "questions": 9600, "qa": 7200})
        self.assertIsNone(listed["production"]["memory_entries"])
        # Each column is what takes effect, here and in the table.
        self.assertEqual(set(listed["minimal"]), {"name", "purpose", "default_ttl", "storage", "memory_entries", "compress_above", "compression_level", "monitor", "log_level", "operations"})
        self.assertEqual({name: row["storage"] for name, row in listed.items() if row["storage"] != "lmdb"}, {"disabled": "none"})
        head = run(AICACHE, "config", "presets").out.split("\n")[0].split()
        self.assertEqual(head, ["preset", "ttl", "storage", "entries", "compress", "level", "monitor", "log"])

    def test_unknown(self):
        done = run(AICACHE, "config", "check", "--preset", "bogus")
        self.assertEqual(done.status, 2)
        self.assertIn("available: disabled, minimal", done.err)

    def test_recommend(self):
        for name in ("production", "prod", "live", "staging", "PROD"):
            self.assertRegex(run(AICACHE, "config", "recommend", name).out, r"^production \(confidence 0\.[89]")
        self.assertEqual(json.loads(run(AICACHE, "config", "recommend", "unknown-thing", "--json").out), {"preset": "simple", "confidence": 0.40})

    def test_bounds(self):
        for name, low, high in (("default_ttl", 60, 604800), ("connections", 1, 100), ("connect_timeout", 1, 60), ("memory_entries", 1, 10000),
                                ("compression_level", 1, 9)):
            for good in (low, high):
                self.assertEqual(self.override(**{name: good}).status, 0, name)
            for bad in (low - 1, high + 1):
                done = self.override(**{name: bad})
                self.assertEqual(done.status, 2, name)
                self.assertIn("%s must be between %d and %d" % (name, low, high), done.err)

    def test_addresses(self):
        self.assertEqual(self.override(redis_url="http://x").status, 2)
        for good in ("redis://x", "rediss://x:1", "unix:///run/redis.sock"):
            self.assertEqual(self.override(redis_url=good).status, 0)

    def test_types(self):
        done = self.override(default_ttl="x")
        self.assertEqual(done.status, 2)
        self.assertIn("default_ttl expects int", done.err)
        done = self.override(bogus=1)
        self.assertEqual(done.status, 0)
        self.assertIn("warning: unknown key 'bogus'", done.err)
        # What is ignored stands nowhere in what comes of it, nor over something else.
        done = self.override(name="mine", bogus=1)
        self.assertIn("warning: unknown key 'name'", done.err)
        self.assertEqual(json.loads(done.out), json.loads(self.override().out))


if __name__ == "__main__":
    unittest.main()
