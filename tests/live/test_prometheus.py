"""A real Prometheus scrapes a real daemon: its own opinion of the target, of the values and of the packaged rules."""
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.parse
import urllib.request

from daemon import Daemon
from programs import die_with_parent

RULES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "packaging", "prometheus", "aicache.rules.yml")
KEY = "a-key-that-prometheus-shows"
CONFIG = """
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [%s]
scrape_configs:
  - job_name: aicache
    authorization: {credentials: %s}
    static_configs: [{targets: ["127.0.0.1:%d"]}]
"""


class Prometheus:
    """On a port that the system chose, in a directory of its own, stopped by its own process id."""

    def __init__(self, target, rules):
        self.directory = tempfile.mkdtemp(prefix="aicache-prometheus-")
        config = os.path.join(self.directory, "prometheus.yml")
        with open(config, "w") as file:
            file.write(CONFIG % (json.dumps(rules), KEY, target))
        self.process = subprocess.Popen(
            ["prometheus", "--config.file", config, "--storage.tsdb.path", os.path.join(self.directory, "data"),
             "--web.listen-address", "127.0.0.1:0"], cwd=self.directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
        self.lines = []
        self.port = None
        for line in self.process.stderr:
            self.lines.append(line)
            found = re.search(r'msg="Listening on" address=\S+:(\d+)', line)
            if found:
                self.port = int(found.group(1))
                break
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr), daemon=True)
        self.reader.start()
        if self.port is None:
            self.close()
            raise RuntimeError("prometheus did not start:\n" + "".join(self.lines))

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join(timeout=60)
        self.process.stderr.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def ask(self, path, **parameters):
        url = "http://127.0.0.1:%d/api/v1/%s?%s" % (self.port, path, urllib.parse.urlencode(parameters))
        with urllib.request.urlopen(url, timeout=60) as reply:
            answer = json.load(reply)
        assert answer["status"] == "success", answer
        return answer["data"]

    def value(self, expression):
        """Of the one series that the expression gives; None when there is none."""
        found = self.ask("query", query=expression)["result"]
        assert len(found) < 2, found
        return float(found[0]["value"][1]) if found else None


@unittest.skipUnless(shutil.which("prometheus"), "needs prometheus")
class Scraped(unittest.TestCase):
    def setUp(self):
        self.daemon = Daemon(keys=[("watcher", KEY, "default", True)])
        self.addCleanup(self.daemon.close)
        self.prometheus = Prometheus(self.daemon.port, RULES)
        self.addCleanup(self.prometheus.close)

    def until(self, what, ask, good):
        """Polls for a state; says what it saw last."""
        deadline = time.monotonic() + 120
        seen = None
        while time.monotonic() < deadline:
            try:
                seen = ask()
                if good(seen):
                    return seen
            except OSError as error:  # not ready yet: 503
                seen = error
            time.sleep(0.2)
        self.fail("%s: %r\n%s" % (what, seen, "".join(self.prometheus.lines[-20:])))

    def until_value(self, expression, expected):
        self.until(expression, lambda: self.prometheus.value(expression), lambda value: value == expected)

    def rules(self):
        groups = self.prometheus.ask("rules")["groups"]
        return {rule["name"]: rule for group in groups for rule in group["rules"]}

    def test_scraped(self):
        self.daemon.lookup(text="kept", key=KEY)
        self.daemon.put(text="kept", key=KEY)
        for text in ("kept", "kept", "absent"):
            self.daemon.lookup(text=text, key=KEY)

        with self.subTest("the target is up and nothing is wrong with its page"):
            target = self.until("the target", lambda: self.prometheus.ask("targets")["activeTargets"],
                                lambda found: [one["health"] for one in found] == ["up"])[0]
            self.assertEqual(target["lastError"], "")
            self.assertEqual(target["labels"]["job"], "aicache")
            self.until_value("up", 1)

        with self.subTest("what was counted"):
            self.until_value('sum(aicache_requests_total{result="hit"})', 2)
            self.until_value('sum(aicache_requests_total{result="miss"})', 2)
            self.until_value('sum(aicache_puts_total)', 1)
            self.until_value('sum(aicache_lookup_duration_seconds_count)', 4)
            self.until_value('aicache_entries{tier="memory"}', 1)
            self.daemon.lookup(text="kept", key=KEY)
            self.until_value('sum(aicache_requests_total{result="hit"})', 3)

        with self.subTest("types and help as Prometheus read them"):
            metadata = self.prometheus.ask("metadata")
            # Of a page in OpenMetrics, which Prometheus prefers, the family's name is without the suffix of its counter.
            self.assertEqual(metadata["aicache_requests"][0]["type"], "counter")
            self.assertEqual(metadata["aicache_lookup_duration_seconds"][0]["type"], "histogram")
            self.assertTrue(all(one["help"] for name, found in metadata.items() if name.startswith("aicache_") for one in found))

        with self.subTest("each rule of the package is evaluated without an error"):
            rules = self.until("the rules", self.rules,
                               lambda found: found and all(rule["health"] != "unknown" for rule in found.values()))
            with open(RULES) as file:
                written = re.findall(r"^\s+- (?:record|alert): (\S+)$", file.read(), re.M)
            self.assertEqual(sorted(rules), sorted(written))
            for name, rule in rules.items():
                self.assertEqual((rule["health"], rule.get("lastError", "")), ("ok", ""), name)
            self.until("a recorded ratio", lambda: self.prometheus.value("aicache:memory_use:ratio"),
                       lambda value: value is not None and 0 < value < 1)
            self.assertEqual(self.rules()["AicacheDown"]["state"], "inactive")

        with self.subTest("a daemon that is gone is noticed"):
            self.daemon.stop()
            self.until_value("up", 0)
            self.until("the alert", lambda: self.rules()["AicacheDown"]["state"], lambda state: state in ("pending", "firing"))


if __name__ == "__main__":
    unittest.main()
