"""What is packaged for Grafana and Prometheus names metrics that exist, and Prometheus takes the rules."""
import json
import os
import re
import shutil
import subprocess
import unittest

from daemon import Daemon

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BOARD = os.path.join(ROOT, "packaging", "grafana", "aicache.json")
RULES = os.path.join(ROOT, "packaging", "prometheus", "aicache.rules.yml")
NAME = re.compile(r"\b(?:aicache|process)_[a-z0-9_]+\b")


def families(text):
    names = set(re.findall(r"^# TYPE (\S+)", text, re.M))
    for histogram in re.findall(r"^# TYPE (\S+) histogram", text, re.M):
        names |= {histogram + suffix for suffix in ("_bucket", "_sum", "_count")}
    return names


class Packaging(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        daemon = Daemon()
        try:
            daemon.put()
            daemon.lookup()
            cls.known = families(daemon.get("/metrics").body.decode())
        finally:
            daemon.close()

    def test_board_names_what_exists(self):
        with open(BOARD) as file:
            board = json.load(file)
        used = set()
        for panel in board["panels"]:
            self.assertTrue(panel["title"] and panel["description"])
            self.assertEqual(panel["datasource"]["uid"], "${datasource}")
            for target in panel["targets"]:
                used |= set(NAME.findall(target["expr"]))
        self.assertGreater(len(used), 15)
        self.assertLessEqual(used, self.known)
        self.assertEqual(len({panel["id"] for panel in board["panels"]}), len(board["panels"]))

    def test_panels_do_not_overlap(self):
        with open(BOARD) as file:
            places = [panel["gridPos"] for panel in json.load(file)["panels"]]
        taken = set()
        for place in places:
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            self.assertFalse(taken & cells)
            self.assertLessEqual(place["x"] + place["w"], 24)
            taken |= cells

    def test_rules_name_what_exists(self):
        with open(RULES) as file:
            expressions = re.findall(r"^\s+expr: (.*)$", file.read(), re.M)
        used = {name for expression in expressions for name in NAME.findall(expression)}
        self.assertGreater(len(used), 5)
        self.assertLessEqual(used, self.known)

    @unittest.skipUnless(shutil.which("promtool"), "needs promtool")
    def test_prometheus_takes_the_rules(self):
        result = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)


if __name__ == "__main__":
    unittest.main()
