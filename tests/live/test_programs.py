"""aicached as a program: its settings, its start and what prevents it, signals, systemd, and the pages that both programs print."""
import hashlib
import http.client
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from programs import AICACHE, AICACHED, Running, clean_environment, die_with_parent, run

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def get(port, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=30)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


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
            self.assertIn("the flag %s: %s: warning is at " % (flag, option), done.err)
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
            self.assertEqual(json.loads(get(daemon.port, "/cache/status")[1])["memory"]["max_bytes"], 256 << 20)
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


class Start(unittest.TestCase):
    def refused(self, status, says, *flags):
        with tempfile.TemporaryDirectory(prefix="aicache-live-") as directory:
            done = run(AICACHED, "--data-dir", os.path.join(directory, "data"), "--listen", "127.0.0.1:0", *flags)
            self.assertEqual(done.status, status, done.err)
            self.assertRegex(done.err, says)
            self.assertNotIn("listening on", done.err)

    def test_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            with tempfile.TemporaryDirectory(prefix="aicache-live-") as directory:
                done = run(AICACHED, "--data-dir", directory, "--listen", "127.0.0.1:%d" % port)
        self.assertEqual(done.status, 1)
        self.assertRegex(done.err, r"127\.0\.0\.1:%d" % port)
        self.assertRegex(done.err, r"(?i)in use|another process")

    def test_data_dir_cannot_be_made(self):
        self.refused(1, r"(?i)/dev/null/x.*(not a directory|cannot)", "--data-dir", "/dev/null/x")

    def test_second_daemon_on_the_same_store(self):
        first = Running()
        try:
            done = run(AICACHED, "--data-dir", first.data, "--listen", "127.0.0.1:0")
            self.assertEqual(done.status, 1)
            self.assertIn(str(first.process.pid), done.err)
            self.assertEqual(get(first.port, "/health/live")[0], 200)
        finally:
            first.stop()

    def test_certificate_missing(self):
        self.refused(1, r"/nonexistent", "--tls-certificate", "/nonexistent", "--tls-key", "/nonexistent")

    def test_nobody_listens_to_strangers_without_keys(self):
        self.refused(2, "api_keys", "--listen", "0.0.0.0:0")

    def test_first_line(self):
        daemon = Running("log: {level: debug, format: json}\nlisten: [\"127.0.0.1:0\"]\n", flags=(), AICACHE_NO_SUCH_OPTION="1")
        try:
            self.assertRegex(daemon.lines[0], r"^aicached \d+\.\d+\.\d+ listening on 127\.0\.0\.1:\d+$")
            daemon.wait_for("AICACHE_NO_SUCH_OPTION")
            for line in daemon.lines[1:]:
                self.assertLessEqual({"time", "level", "part", "message"}, set(json.loads(line)))
        finally:
            self.assertEqual(daemon.stop(), 0)

    def test_files_are_private(self):
        daemon = Running()
        try:
            for folder, _, names in os.walk(daemon.data):
                self.assertEqual(os.stat(folder).st_mode & 0o077, 0, folder)
                for name in names:
                    self.assertEqual(os.stat(os.path.join(folder, name)).st_mode & 0o077, 0, name)
        finally:
            daemon.stop()


class Signals(unittest.TestCase):
    def test_graceful_ends(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            daemon = Running()
            self.assertEqual(daemon.client("put", "qa", "a", "b").status, 0)
            directory = daemon.directory
            daemon.owned = False
            self.assertEqual(daemon.stop(number), 0)
            again = Running(directory=directory)
            again.owned = True
            self.assertEqual(again.client("lookup", "qa", "a").out, '"b"\n')
            self.assertEqual(again.stop(), 0)

    def test_memory_that_cannot_fit_is_told_at_start(self):
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        for size in (machine - (1 << 20), machine):  # what is beside the tier counts, too
            daemon = Running("memory: {max_bytes: %d}\n" % size)
            daemon.wait_for(r"warning settings: .*memory\.max_bytes: a full tier and one large request take \d+M of memory, .*; \d+M would fit")
            self.assertEqual(daemon.stop(), 0)

    def test_reload(self):
        digest = hashlib.sha256(b"secret-key-of-the-test").hexdigest()
        daemon = Running("log.level: info\n")
        try:
            daemon.reload("log.level: debug\nmemory.max_bytes: 64M\nttl: {operations: {qa: 7s}}\nthreads: 9\nlimits.body_bytes: 2K\n"
                          "api_keys: [{id: t, sha256: %s, admin: true}]\n" % digest, r"settings: reloaded")
            text = "\n".join(line for line in daemon.lines if line)
            for name in ("log.level", "memory.max_bytes", "ttl.operations", "limits.body_bytes", "api_keys"):
                self.assertIn("changed: " + name, text)
            self.assertIn("cannot change while running, restart for that: threads: stays 0", text)
            self.assertEqual(get(daemon.port, "/cache/status")[0], 401)
            status, body = get(daemon.port, "/cache/status", **{"X-API-Key": "secret-key-of-the-test"})
            self.assertEqual(status, 200)
            self.assertEqual(json.loads(body)["memory"]["max_bytes"], 64 << 20)
            shown = json.loads(daemon.client("memory", "--json", AICACHE_API_KEY="secret-key-of-the-test").out)
            self.assertAlmostEqual(shown.get("thresholds", shown)["warning_threshold_mb"], 64, 1)
            explained = daemon.client("explain", "qa", "x", "--json", AICACHE_API_KEY="secret-key-of-the-test")
            self.assertEqual(json.loads(explained.out)["default_ttl_seconds"], 7)
            large = daemon.client("put", "qa", "x", "y" * 4000, AICACHE_API_KEY="secret-key-of-the-test")
            self.assertEqual(large.status, 2)
            self.assertRegex(large.err, r"413: The body has \d+ bytes; at most 2048 are accepted")
        finally:
            self.assertEqual(daemon.stop(), 0)

    def test_stats_of_a_key_without_admin(self):
        digest = hashlib.sha256(b"secret-key-of-the-test").hexdigest()
        daemon = Running("api_keys: [{id: t, sha256: %s, namespace: mine, admin: false}]\n" % digest)
        try:
            self.assertEqual(daemon.client("put", "qa", "x", "y", AICACHE_API_KEY="secret-key-of-the-test").status, 0)
            self.assertEqual(daemon.client("lookup", "qa", "x", AICACHE_API_KEY="secret-key-of-the-test").status, 0)
            shown = daemon.client("stats", AICACHE_API_KEY="secret-key-of-the-test")
            self.assertEqual(shown.status, 0, shown.err)
            self.assertRegex(shown.out, r"(?s)^namespace mine, since .*\n  hits +1\n  misses +0\n  hit rate +100\.0%\n  entries +1\n  bytes +\d.*\n  storage +lmdb, up\n$")
        finally:
            self.assertEqual(daemon.stop(), 0)

    def test_a_reload_that_opens_everything(self):
        """Without keys on this machine alone: a warning; where others reach it: refused, and the reason is told as it is."""
        digest = hashlib.sha256(b"secret-key-of-the-test").hexdigest()
        keys = "api_keys: [{id: t, sha256: %s, admin: true}]\n" % digest
        daemon = Running(keys)
        try:
            daemon.reload("api_keys: []\n", r"warning settings: api_keys: none is left: every request is allowed everything now")
            daemon.wait_for("changed: api_keys")
            self.assertEqual(get(daemon.port, "/cache/status")[0], 200)
            since = len(daemon.lines)
            daemon.reload("log.level: info\n", "settings: reloaded")
            self.assertNotIn("every request is allowed", "\n".join(line for line in daemon.lines[since:] if line))
        finally:
            self.assertEqual(daemon.stop(), 0)
        daemon = Running(keys + "listen: ['0.0.0.0:0', '127.0.0.1:0']\n", flags=())
        try:
            found = daemon.wait_for(r"listening on 127\.0\.0\.1:(\d+)")
            since = len(daemon.lines)
            daemon.reload("api_keys: []\nlisten: 127.0.0.1:0\n", "nothing was changed")
            said = "\n".join(line for line in daemon.lines[since:] if line)
            self.assertRegex(said, r"error settings: \S+aicached\.yaml:1: api_keys: none is left, but listen cannot change while running, and '0\.0\.0\.0:0', where the daemon listens, can be reached from other machines; "
                                   r"accepted: a key until a restart")
            self.assertNotIn("listen: '0.0.0.0:0'", said)
            self.assertEqual(get(found.group(1), "/cache/status")[0], 401)
        finally:
            self.assertEqual(daemon.stop(), 0)

    def test_what_is_absent_never_opens(self):
        """A file that was cut short, emptied, swapped for a pipe or taken away at SIGHUP leaves the keys in force."""
        digest = hashlib.sha256(b"secret-key-of-the-test").hexdigest()
        keys = "api_keys: [{id: t, sha256: %s, admin: true}]\n" % digest
        daemon = Running(keys)
        def refused():
            self.assertEqual(get(daemon.port, "/cache/status")[0], 401)
        try:
            for text in ("", "# nothing\n", "log.level: debug\n"):
                daemon.reload(text, "nothing was changed")
                daemon.wait_for(r"api_keys: nothing is said of them, and 1 is in force; `api_keys: \[\]` takes them away")
                refused()
            os.unlink(daemon.path)
            for make, says in ((lambda: os.mkfifo(daemon.path), "is no regular file"), (lambda: os.symlink("/dev/zero", daemon.path), "is no regular file"),
                               (lambda: None, "cannot be read: No such file"), (lambda: os.mkdir(daemon.path), "is no regular file")):
                make()
                since = len(daemon.lines)
                daemon.process.send_signal(signal.SIGHUP)
                daemon.wait_for(says, since)
                daemon.wait_for("nothing was changed", since)
                refused()
                if os.path.isdir(daemon.path):
                    os.rmdir(daemon.path)
                elif os.path.lexists(daemon.path):
                    os.unlink(daemon.path)
            daemon.reload("api_keys: []\n", "reloaded")
            self.assertEqual(get(daemon.port, "/cache/status")[0], 200)
        finally:
            self.assertEqual(daemon.stop(), 0)

    def test_a_pipe_serves_a_start(self):
        reading, writing = os.pipe()
        with tempfile.TemporaryDirectory() as directory:
            os.write(writing, b"log.level: info\n")
            os.close(writing)
            daemon = subprocess.Popen([AICACHED, "--config", "/dev/fd/%d" % reading, "--listen", "127.0.0.1:0", "--data-dir", directory], stderr=subprocess.PIPE,
                                      pass_fds=(reading,), env=clean_environment(), preexec_fn=die_with_parent, text=True)
            self.addCleanup(daemon.stderr.close)
            os.close(reading)
            self.assertIn("listening on", daemon.stderr.readline())
            daemon.send_signal(signal.SIGHUP)
            while "is no regular file" not in daemon.stderr.readline():
                pass
            daemon.send_signal(signal.SIGTERM)
            self.assertEqual(daemon.wait(120), 0)

    def test_an_early_hangup_ends_nothing(self):
        """While the program reads its file: long before there is a loop to take signals."""
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "config")
            os.mkfifo(path)
            daemon = subprocess.Popen([AICACHED, "--config", path, "--listen", "127.0.0.1:0", "--data-dir", directory], stderr=subprocess.PIPE, env=clean_environment(),
                                      preexec_fn=die_with_parent, text=True)
            with open(path, "w") as writer:  # returns once the daemon has opened it
                daemon.send_signal(signal.SIGHUP)
                writer.write("log.level: info\n")
            self.assertIn("listening on", daemon.stderr.readline())
            daemon.send_signal(signal.SIGTERM)
            self.assertEqual(daemon.wait(120), 0)
            daemon.stderr.close()

    def test_closed_standard_streams(self):
        """What is opened first takes none of their places: the log does not go into a socket or the store."""
        with tempfile.TemporaryDirectory() as directory:
            data, socket_path = os.path.join(directory, "data"), os.path.join(directory, "s")
            daemon = subprocess.Popen(["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', AICACHED, "--listen", "unix:" + socket_path, "--data-dir", data, "--log-level", "debug"],
                                      env=clean_environment(), preexec_fn=die_with_parent)
            self.addCleanup(daemon.kill)
            end = time.monotonic() + 120
            while not os.path.exists(socket_path):
                self.assertLess(time.monotonic(), end)
                self.assertIsNone(daemon.poll())
                time.sleep(0.05)
            self.assertEqual(run(AICACHE, "put", "qa", "a", "b", "--unix", socket_path).status, 0)
            self.assertEqual(run(AICACHE, "lookup", "qa", "a", "--unix", socket_path).out, '"b"\n')
            self.assertEqual([os.readlink("/proc/%d/fd/%d" % (daemon.pid, number)) for number in range(3)], ["/dev/null"] * 3)
            daemon.send_signal(signal.SIGTERM)
            self.assertEqual(daemon.wait(120), 0)
            self.assertEqual(run(AICACHE, "verify", "--data-dir", data).status, 0)

    def directory(self):
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        return made.name

    def limited(self, kind, value, directory, *flags):
        """A daemon under a limit: (process, its first line)."""
        def limit():
            die_with_parent()
            resource.setrlimit(kind, (value, value))
        daemon = subprocess.Popen([AICACHED, "--listen", "127.0.0.1:0", "--data-dir", directory, *flags], stderr=subprocess.PIPE, env=clean_environment(), preexec_fn=limit, text=True)
        self.addCleanup(daemon.stderr.close)
        self.addCleanup(daemon.kill)
        return daemon, daemon.stderr.readline()

    @unittest.skipIf(any(name in AICACHED for name in ("/asan/", "/tsan/")), "a sanitizer needs all addresses")
    def test_a_start_says_what_it_lacks_or_serves(self):
        """With address space for some of its threads: it says so, or has all that later requests need."""
        for size in ("256M", "12G", "61G"):
            needed = 0
            for more in (0, -1, 0, 1000):
                megabytes = needed + more or 200
                daemon, first = self.limited(resource.RLIMIT_AS, megabytes << 20, self.directory(), "--memory-max-bytes", size)
                if more < 0 or needed == 0:
                    found = re.search(r"cannot start: the limit on address space \(ulimit -v, %d MiB\) is below the (\d+) MiB that memory.max_bytes" % megabytes, first)
                    self.assertIsNotNone(found, first)
                    needed = int(found.group(1))
                    self.assertEqual(daemon.wait(120), 1)
                    continue
                found = re.search(r"listening on 127\.0\.0\.1:(\d+)", first)
                self.assertIsNotNone(found, first)
                for number in range(20):
                    self.assertEqual(run(AICACHE, "put", "qa", "text %d" % number, "x" * 1000, "--url", "http://127.0.0.1:" + found.group(1)).status, 0)
                    self.assertEqual(get(found.group(1), "/cache/entries")[0], 200)
                daemon.send_signal(signal.SIGTERM)
                self.assertEqual(daemon.wait(120), 0)

    def test_a_limit_on_files_ends_nothing(self):
        """It is an error of the write that met it, and no SIGXFSZ."""
        with tempfile.TemporaryDirectory() as directory:
            daemon, first = self.limited(resource.RLIMIT_FSIZE, 20000, directory)
            found = re.search(r"listening on 127\.0\.0\.1:(\d+)", first)
            self.assertIsNotNone(found, first)
            url = "http://127.0.0.1:" + found.group(1)
            self.assertEqual(run(AICACHE, "put", "qa", "a", "b", "--url", url).status, 0)
            self.assertEqual(run(AICACHE, "lookup", "qa", "a", "--url", url).out, '"b"\n')
            daemon.send_signal(signal.SIGTERM)
            said = daemon.stderr.read()
            self.assertEqual(daemon.wait(120), 0)
            for line in ("fingerprint of its secret cannot be written", "storage: writes fail.*", "the last writes could not be synced to disk"):
                self.assertRegex(said, line + ": File too large\n")

    def test_a_file_that_holds_nothing_has_its_reason(self):
        """The mark of a store is cut short, and that write says no reason of its own."""
        with tempfile.TemporaryDirectory() as directory:
            with open(directory + "/secret", "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as secret:
                secret.write("0123456789abcdef")
            daemon, first = self.limited(resource.RLIMIT_FSIZE, 20, directory)
            self.assertRegex(first, r"cannot start: .*: File too large")
            self.assertEqual(daemon.wait(120), 1)

    def test_half_a_head_delays_no_stop(self):
        daemon = Running("timeouts: {drain: 100s, header: 1000s, idle: 1000s}\n")
        half = [socket.create_connection(("127.0.0.1", int(daemon.port))) for _ in range(5)]
        try:
            for number, connection in enumerate(half):
                connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n"[:3 + 8 * number])
            self.assertEqual(get(daemon.port, "/health/live")[0], 200)  # what was sent before has been read
            began = time.monotonic()
            self.assertEqual(daemon.stop(), 0)
            self.assertLess(time.monotonic() - began, 60)
        finally:
            for connection in half:
                connection.close()

    def test_a_bad_reload_changes_nothing(self):
        daemon = Running("log.level: info\nmemory.max_bytes: 32M\n")
        try:
            daemon.reload("log.level: debug\nmemory.max_bytes: many\n", r"nothing was changed")
            daemon.wait_for(r"aicached\.yaml:2: memory\.max_bytes: 'many'")
            self.assertEqual("\n".join(daemon.lines).count("nothing was changed"), 1)
            self.assertEqual(json.loads(get(daemon.port, "/cache/status")[1])["memory"]["max_bytes"], 32 << 20)
        finally:
            self.assertEqual(daemon.stop(), 0)

    def test_memory_beyond_the_reserve_stays(self):
        daemon = Running("memory.max_bytes: 32M\n")
        try:
            daemon.reload("memory.max_bytes: 200G\n", r"it stays 33554432, restart to go beyond")
            self.assertEqual(json.loads(get(daemon.port, "/cache/status")[1])["memory"]["max_bytes"], 32 << 20)
        finally:
            self.assertEqual(daemon.stop(), 0)

    def test_what_stands_beside_a_refused_size(self):
        """What can change does, whatever was refused."""
        daemon = Running("memory.max_bytes: 32M\n")
        try:
            since = len(daemon.lines)
            daemon.reload("memory: {max_bytes: 200G, max_entries: 5, warning_bytes: 700G}\n", r"settings: reloaded")
            said = "\n".join(line for line in daemon.lines[since:] if line)
            self.assertIn("it stays 33554432", said)
            self.assertEqual(re.findall(r"changed: (\S+)", said), ["memory.max_entries", "memory.warning_bytes"])
            memory = json.loads(get(daemon.port, "/cache/status")[1])["memory"]
            self.assertEqual((memory["max_bytes"], memory["memory_cache_size_limit"]), (32 << 20, 5))
            thresholds = json.loads(get(daemon.port, "/monitoring/memory")[1])["thresholds"]
            self.assertEqual(thresholds["warning_threshold_mb"], 700 << 10)
            self.assertGreater(thresholds["critical_threshold_mb"], 700 << 10)
            daemon.reload("memory: {max_bytes: 200G, max_entries: 6, warning_bytes: 3M, critical_bytes: 4M}\n", r"settings: reloaded")
            thresholds = json.loads(get(daemon.port, "/monitoring/memory")[1])["thresholds"]
            self.assertEqual((thresholds["warning_threshold_mb"], thresholds["critical_threshold_mb"]), (3, 4))
        finally:
            self.assertEqual(daemon.stop(), 0)

    def test_what_fails_of_a_reload_is_not_in_force(self):
        """It is not told as changed, is tried again at the next reload, and its way back is no change either."""
        good = "memory.max_bytes: 32M\n"
        bad = "memory.max_bytes: 200G\nttl: {operations: {qa: 7s}}\ntls: {certificate: /nowhere.pem, key: /nowhere.key}\n"
        daemon = Running(good)

        def reload(config):
            since = len(daemon.lines)
            daemon.reload(config, r"settings: reloaded")
            said = "\n".join(line for line in daemon.lines[since:] if line)
            return said, re.findall(r"changed: (\S+)", said)
        try:
            for changed in (["ttl.operations"], []):
                said, names = reload(bad)
                for words in ("it stays 33554432", "TLS cannot be switched on or off"):
                    self.assertIn(words, said)
                self.assertEqual(names, changed, said)
            said, names = reload(good)
            self.assertEqual(names, ["ttl.operations"], said)
        finally:
            self.assertEqual(daemon.stop(), 0)

    def test_systemd_is_told(self):
        with tempfile.TemporaryDirectory(prefix="aicache-live-") as directory:
            path = os.path.join(directory, "notify")
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
                server.bind(path)
                server.settimeout(30)
                daemon = Running(NOTIFY_SOCKET=path)

                def told(word):
                    while True:
                        message = server.recv(4096).decode()
                        if re.search(word, message):
                            return message
                self.assertIn("STATUS=listening on 127.0.0.1:", told("READY=1"))
                told("WATCHDOG=1")
                daemon.process.send_signal(signal.SIGHUP)
                self.assertRegex(told("RELOADING=1"), r"MONOTONIC_USEC=\d+")
                told("READY=1")
                daemon.process.send_signal(signal.SIGTERM)
                told("STOPPING=1")
                self.assertEqual(daemon.stop(), 0)


if __name__ == "__main__":
    unittest.main()
