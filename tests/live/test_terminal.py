"""What the client shows to people: on a terminal of their size, in words, with nothing of others' text that could forge it."""
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import unittest

from programs import AICACHE, RunningTest, Terminal, clean_environment, die_with_parent, run, until

RLO = "\u202e"  # what follows is shown from right to left


class Shown(RunningTest):
    def setUp(self):
        self.client("invalidate", "--all")

    def terminal(self, columns, *arguments, **environment):
        terminal = Terminal(40, columns, [AICACHE, "--url", self.daemon.url, *arguments], **environment)
        self.addCleanup(terminal.close)
        text = terminal.rest().decode()
        self.assertEqual(terminal.process.wait(60), 0, text)
        return text.replace("\r\n", "\n")

    def test_a_list_fits_and_keeps_its_keys_whole(self):
        keys = {self.client("put", "operation-of-a-long-name", "t%d" % i, "r", "--tag", "a-tag-that-is-long-%d" % i, "--tag", "another-of-them",
                            "--model", "model-of-a-long-name").out.strip() for i in range(3)}
        for columns in (14, 30, 40, 60, 67, 70, 72, 80, 100, 149, 150, 220):
            lines = self.terminal(columns, "list").rstrip("\n").split("\n")
            # A key is never cut: below 64 columns the terminal wraps it.
            self.assertLessEqual(max(len(line) for line in lines if line not in keys), columns, lines)
            self.assertEqual({word for line in lines for word in line.split() if re.fullmatch("[0-9a-f]{64}", word)}, keys)
            self.assertEqual(sum("a-t" in line for line in lines), 3, lines)

    def test_short_tags_are_shown_on_any_terminal(self):
        self.client("put", "qa", "text", "r", "--tag", "x1", "--tag", "y2")
        for columns in (30, 40, 68, 69, 70, 71, 72, 80):
            self.assertIn("x1,y2", self.terminal(columns, "list"), columns)

    def test_names_of_others_forge_nothing(self):
        self.client("put", "qa", "text", "r", "--tag", "x" + RLO + "y\u2028z\u200bq")
        for text in (self.client("list").out, self.terminal(200, "list"), self.terminal(200, "list", "--json")):
            for point in (RLO, "\u2028", "\u200b"):
                self.assertNotIn(point, text)
        # To a program the names are what they are.
        self.assertEqual(json.loads(self.client("list", "--json").out)["entries"][0]["tags"], ["x" + RLO + "y\u2028z\u200bq"])

    def test_an_answer_on_a_terminal_hides_nothing(self):
        answer = json.dumps("a" + RLO + "b\u009bc", ensure_ascii=False)
        key = self.client("put", "qa", "hidden", answer).out.strip()
        self.assertEqual(self.client("get", key).out, answer + "\n")
        shown = self.terminal(80, "get", key)
        self.assertEqual(shown, '"a\\u202eb\\u009bc"\n')
        self.assertEqual(json.loads(shown), json.loads(answer))
        self.assertEqual(self.terminal(80, "lookup", "qa", "hidden"), shown)

    def test_metadata_and_explanations_are_for_reading(self):
        key = self.client("put", "qa", "what is it", "an answer", "--tag", "one", "--ttl", "1h", "--prompt-tokens", "3", "--cost-usd", "0.25").out.strip()
        facts = self.client("get", key, "--metadata").out
        for pattern in (r"^key +" + key, r"^operation +qa$", r"^tags +one$", r"^expires +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d, in (1h 0m|5\dm \d+s)$", r"^tokens +3 of the prompt, 0 of the answer, 3 in all$", r"^cost +0\.25 USD$"):
            self.assertRegex(facts, "(?m)" + pattern)
        self.assertEqual(json.loads(self.client("get", key, "--metadata", "--json").out)["tags"], ["one"])
        hit = self.client("explain", "qa", "what is it").out
        self.assertRegex(hit, r"^hit in memory, stored \S+ ago, expires in (1h 0m|5\dm)")
        miss = self.client("explain", "qa", "what was it").out
        self.assertTrue(miss.startswith("miss in memory and in storage\n"), miss)
        self.assertRegex(miss, r"(?m)^nearest +%s\n +\(qa\); it differs first in text$" % key)
        self.assertLessEqual(max(map(len, miss.replace(key, "").split("\n"))), 80)
        self.assertFalse(json.loads(self.client("explain", "qa", "what was it", "--json").out)["hit"])

    def test_what_begins_like_json_is_json(self):
        for wrong in ("{answer: Paris}", '{"a":1', "[1, 2", '"open', "{}{}"):
            done = self.client("put", "qa", "t", wrong)
            self.assertEqual((done.status, done.out), (2, ""))
            self.assertRegex(done.err, r"RESPONSE: it begins like JSON and is none: .*; --string stores it as text")
            self.assertEqual(self.client("put", "qa", "t", wrong, "--string").status, 0)
            self.assertEqual(json.loads(self.client("lookup", "qa", "t").out), wrong)
        for text in ("plain", "tru", "12 monkeys", "a {b}"):
            self.assertEqual(self.client("put", "qa", "t", text).status, 0)

    def test_export_and_warm_sum_up(self):
        for i in range(3):
            self.client("put", "qa", "exported %d" % i, "r" * 100)
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "x.jsonl")
            done = self.client("export", path)
            self.assertEqual((done.status, done.out), (0, ""))
            size = os.path.getsize(path)
            self.assertEqual(done.err, "3 entries, %s exported to %s\n" % ("%d B" % size if size < 1024 else "%.1f KiB" % (size / 1024), path))
            whole = self.client("export")
            self.assertEqual(len(whole.out.splitlines()), 3)
            self.assertIn("3 entries, ", whole.err)
        lines = b"".join(b'{"operation":"qa","text":"w%d","response":"r"}\n' % i for i in range(5))
        self.assertEqual(self.client("warm", "-", stdin=lines).out, "5 lines accepted, 0 rejected\n")

    def test_a_replay_that_is_stopped_sums_up(self):
        replay = subprocess.Popen([AICACHE, "--url", self.daemon.url, "replay", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  env=clean_environment(), preexec_fn=die_with_parent)
        self.addCleanup(replay.kill)
        text = "stopped %d" % replay.pid
        for _ in range(3):
            replay.stdin.write(json.dumps({"operation": "stop", "text": text, "response": "r"}).encode() + b"\n")
        replay.stdin.flush()
        def last_is_done():
            done = json.loads(self.client("list", "--operation", "stop", "--json").out)["entries"]
            return done and json.loads(self.client("get", done[0]["key"], "--metadata", "--json").out)
        self.assertTrue(until(last_is_done))
        replay.send_signal(signal.SIGINT)
        out, err = replay.communicate(timeout=120)
        self.assertRegex(out.decode(), r"^[123] lookups? in .*, hit rate ")
        self.assertRegex(err.decode(), r"aicache: stopped by a signal after line [123]\n$")
        self.assertEqual(replay.returncode, 2)

    def test_no_proxy_for_this_machine(self):
        with socket.create_server(("127.0.0.1", 0)) as proxy:
            proxy.setblocking(False)
            name = "http://127.0.0.1:%d" % proxy.getsockname()[1]
            variables = {"http_proxy": name, "https_proxy": name, "all_proxy": name, "ALL_PROXY": name}
            self.assertEqual(self.client("put", "qa", "proxied", "r", "--api-key", "aic_secret", **variables).status, 0)
            self.assertEqual(self.client("lookup", "qa", "proxied", AICACHE_URL=self.daemon.url.replace("127.0.0.1", "localhost"), **variables).out, '"r"\n')
            self.assertEqual(self.client("top", "--once", "--json", **variables).status, 0)
            with self.assertRaises(BlockingIOError):
                proxy.accept()

    def test_no_password_of_an_address_is_shown(self):
        done = run(AICACHE, "stats", "--url", "http://me:s3cret@127.0.0.1:9/x?s3cret")
        self.assertEqual(done.status, 2)
        self.assertIn("http://127.0.0.1:9 cannot be asked", done.err)
        self.assertNotIn("s3cret", done.err)

    def test_a_dumb_terminal_gets_no_escapes(self):
        self.assertNotIn("\x1b", self.terminal(80, "top", "--once", TERM="dumb"))
        terminal = Terminal(24, 80, [AICACHE, "--url", self.daemon.url, "top"], TERM="dumb")
        self.addCleanup(terminal.close)
        while terminal.drawn.count(b"state  ") < 2:
            terminal.drawn += os.read(terminal.primary, 65536)
        terminal.process.send_signal(signal.SIGTERM)
        self.assertNotIn(b"\x1b", terminal.rest())


class Pages(unittest.TestCase):
    def test_the_first_of_two_words_has_help(self):
        for word, names in (("key", ["key new"]), ("config", ["config presets", "config recommend", "config check"])):
            for arguments in ((word, "--help"), (word, "-h"), ("--help", word), ("help", word)):
                done = run(AICACHE, *arguments)
                self.assertEqual((done.status, done.err), (0, ""), arguments)
                for name in names:
                    self.assertIn("Usage: aicache " + name, done.out)
            self.assertEqual(run(AICACHE, word).status, 2)

    def completed(self, *words):
        script = 'eval "$("$0" completion bash)"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _aicache; printf "%s\\n" "${COMPREPLY[@]}"'
        done = subprocess.run(["bash", "-c", script, AICACHE, AICACHE, *words], capture_output=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return done.stdout.decode().split()

    def test_completion_knows_values(self):
        self.assertEqual(self.completed("invalidate", "--tier", ""), ["memory", "storage"])
        self.assertEqual(self.completed("bench", "--mode", "m"), ["mixed"])
        self.assertIn("ai-production", self.completed("config", "check", "--preset", ""))
        self.assertEqual(self.completed("completion", ""), ["bash", "zsh"])
        self.assertIn("invalidate", self.completed("help", "inv"))
        self.assertIn("--dry-run", self.completed("invalidate", "--d"))
        self.assertIn("--url", self.completed("stats", "--"))
        self.assertEqual(self.completed("bench", "--mo"), ["--mode"])
        self.assertEqual(self.completed("list", "--mo"), ["--model"])
        self.assertEqual(self.completed("--url", "http://x", "con"), ["config"])
        self.assertEqual(self.completed("config", "c"), ["check"])
        self.assertEqual(self.completed("config", "nothing", ""), ["presets", "recommend", "check"])

    def test_completion_offers_files_where_files_belong(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "file")
            open(path, "w").close()
            for words in (("import", path[:-1]), ("export", path[:-1]), ("stats", "--ca", path[:-1]), ("verify", "--secret-file", path[:-1])):
                self.assertEqual(self.completed(*words), [path], words)
            self.assertEqual(self.completed("put", "qa", "@" + path[:-1]), ["@" + path])
            self.assertEqual(self.completed("verify", "--data-dir", directory[:-1]), [directory])
            for words in (("stats", path[:-1]), ("lookup", path[:-1]), ("invalidate", "--tag", path[:-1])):
                self.assertEqual(self.completed(*words), [], words)

    @unittest.skipUnless(os.path.exists("/usr/bin/zsh"), "zsh is not installed")
    def test_the_zsh_completion_is_zsh(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(run(AICACHE, "completion", "zsh").out)
            file.flush()
            self.assertEqual(subprocess.run(["zsh", "-n", file.name]).returncode, 0)


if __name__ == "__main__":
    unittest.main()
