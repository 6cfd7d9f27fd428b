"""The `aicache` client against a daemon: every command, its output for people and for programs, its exit status."""
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import unittest

from programs import AICACHE, Running, RunningTest, Terminal, run, until


class Client(RunningTest):
    config = "memory.max_bytes: 64M\n"

    def setUp(self):
        self.client("invalidate", "--all")

    def test_put_and_lookup(self):
        key = self.client("put", "summarize", "a text", '{"a": 1.0}', "--options", '{"t": 0.5}', "--question", "why?", "--ttl", "1h", "--tag", "x", "--tag", "y",
                          "--model", "m", "--prompt-tokens", "3", "--completion-tokens", "4", "--cost-usd", "0.25")
        self.assertEqual(key.status, 0, key.err)
        self.assertRegex(key.out, r"^[0-9a-f]{64}\n$")
        hit = self.client("lookup", "summarize", "a text", "--options", '{"t": 0.50}', "--model", "m", "--question", "why?")
        self.assertEqual((hit.status, hit.out), (0, '{"a": 1.0}\n'))
        whole = json.loads(self.client("lookup", "summarize", "a text", "--options", '{"model":"m","t":0.5}', "--question", "why?", "--json").out)
        self.assertTrue(whole["hit"])
        self.assertEqual(whole["metadata"]["tags"], ["x", "y"])
        self.assertEqual(whole["metadata"]["tokens"], 7)
        self.assertEqual(whole["metadata"]["cost_usd"], 0.25)
        miss = self.client("lookup", "summarize", "a text")
        self.assertEqual((miss.status, miss.out), (1, ""))
        self.assertIn("miss", miss.err)
        self.assertFalse(json.loads(self.client("lookup", "summarize", "a text", "--json").out)["hit"])
        same = self.client("get", key.out.strip())
        self.assertEqual((same.status, same.out), (0, '{"a": 1.0}\n'))
        self.assertEqual(json.loads(self.client("get", key.out.strip(), "--metadata", "--json").out)["model"], "m")

    def test_lookups_of_a_file(self):
        for number in (0, 2, 4):
            self.assertEqual(self.client("put", "qa", "line %d" % number, "[%d, 1.0]" % number).status, 0)
        lines = [json.dumps({"operation": "qa", "text": "line %d" % number}) for number in range(300)]
        several = self.client("lookup-many", "-", stdin="\n\n".join(lines).encode())
        answers = [json.loads(line) for line in several.out.splitlines()]
        self.assertEqual((several.status, len(answers)), (1, 300), several.err)
        self.assertEqual([answer["hit"] for answer in answers[:7]], [True, False, True, False, True, False, False])
        self.assertIn("[4, 1.0]", several.out.splitlines()[4])
        self.assertEqual(self.client("lookup-many", "-", stdin=lines[0].encode()).status, 0)
        wrong = self.client("lookup-many", "-", stdin=(lines[0] + "\n{\"operation\":\"qa\"}\n").encode())
        self.assertEqual((wrong.status, json.loads(wrong.out.splitlines()[1])["error"]["param"]), (1, "requests[1].text"))
        broken = self.client("lookup-many", "-", stdin=(lines[0] + "\n{},{}\n").encode())
        self.assertEqual((broken.status, "standard input:2:" in broken.err), (2, True), broken.err)
        absent = self.client("lookup-many", "-", "--url", self.daemon.url + "/elsewhere", stdin=lines[0].encode())  # as an older daemon has no such route
        self.assertEqual((absent.status, absent.out, "404" in absent.err), (2, "", True), absent.err)

    def test_answers_of_two_models(self):
        for model in ("gpt-4o", "claude"):
            self.assertEqual(self.client("put", "qa", "capital?", model + " says", "--model", model).status, 0)
        for model in ("gpt-4o", "claude"):
            self.assertEqual(self.client("lookup", "qa", "capital?", "--model", model).out, '"%s says"\n' % model)
            self.assertEqual(json.loads(self.client("lookup", "qa", "capital?", "--options", '{"model":"%s"}' % model, "--json").out)["metadata"]["model"], model)
        self.assertEqual(self.client("lookup", "qa", "capital?").status, 1)
        refused = self.client("put", "qa", "capital?", "x", "--model", "gpt-4o", "--options", '{"model":"claude"}')
        self.assertEqual((refused.status, "model: is not the same as options.model" in refused.err), (2, True), refused.err)
        self.assertIn("s5:models6:claude", self.client("explain", "qa", "capital?", "--model", "claude").out)
        self.assertEqual(self.client("replay", "-", stdin=b'{"operation":"qa","text":"capital?","model":"claude","response":"new"}\n').status, 0)
        self.assertEqual(self.client("lookup", "qa", "capital?", "--model", "claude").out, '"claude says"\n')
        self.assertEqual(self.client("warm", "-", stdin=b'{"operation":"qa","text":"capital?","model":"warmed","response":"w"}\n').status, 0)
        self.assertEqual(self.client("lookup", "qa", "capital?", "--model", "warmed").out, '"w"\n')

    def test_values(self):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("text of a file\n")
            file.flush()
            self.assertEqual(self.client("put", "qa", "@" + file.name, "-", stdin="a plain answer\n".encode()).status, 0)
            self.assertEqual(self.client("lookup", "qa", "text of a file\n").out, '"a plain answer\\n"\n')
        self.client("put", "qa", "number", "12345678901234567890123.50")
        self.assertEqual(self.client("lookup", "qa", "number").out, "12345678901234567890123.50\n")
        self.client("put", "qa", "string", "12", "--string")
        self.assertEqual(self.client("lookup", "qa", "string").out, '"12"\n')
        self.assertEqual(self.client("put", "qa", "-", "x", stdin=b"\xff\xfe").status, 2)
        self.assertEqual(self.client("put", "qa", "@/nonexistent", "x").status, 2)
        self.assertEqual(self.client("put", "qa", "--", "-dash", "x").status, 0)

    def test_refusals(self):
        for arguments, says in (
                (("put", "qa", "t", "r", "--ttl", "soon"), "--ttl: 'soon'"),
                (("put", "qa", "t", "r", "--options", "[1]"), "--options: it is no object"),
                (("put", "qa", "t", "r", "--cost-usd", "much"), "--cost-usd"),
                (("put", "qa", "t"), "usage: aicache put"),
                (("get", "abc"), "'abc' is no key"),
                (("lokup", "a", "b"), "did you mean lookup?"),
                (("lookup", "a", "b", "--quesion", "x"), "did you mean --question?"),
                (("key",), "aicache key new ..."),
                (("config", "check", "/nonexistent", "--preset", "simple"), "either FILE or --preset is accepted, not both; usage: aicache config check FILE, or --preset NAME [--override JSON]"),
                (("config", "check", "/nonexistent", "--override", "{}"), "either FILE or --override is accepted, not both"),
                (("list", "extra"), "1 argument came; usage: aicache list\n"),
                (("lookup", "a", "b", "--question"), "needs a value"),
                (("put", "", "t", "r"), "400: operation"),
        ):
            done = self.client(*arguments)
            self.assertEqual(done.status, 2, arguments)
            self.assertIn(says, done.err)
        self.assertEqual(self.client().status, 2)
        error = self.client("put", "", "t", "r", "--json")
        self.assertEqual(json.loads(error.out)["error"]["param"], "operation")

    def test_plain_against_tls(self):
        with tempfile.TemporaryDirectory() as directory:
            certificate, key, path = (os.path.join(directory, name) for name in ("certificate.pem", "key.pem", "socket"))
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate], check=True, capture_output=True)
            daemon = Running(flags=("--listen", "127.0.0.1:0", "--listen", "unix:" + path, "--tls-certificate", certificate, "--tls-key", key))
            self.addCleanup(daemon.stop)
            url = "https://127.0.0.1:" + daemon.port
            self.assertEqual(run(AICACHE, "--url", url, "--ca", certificate, "stats").status, 0)
            for place in (("--url", url, "--ca", certificate), ("--unix", path)):
                def some():
                    bench = run(AICACHE, *place, "bench", "--mode", "mixed", "--duration", "100ms", "--keys", "5", "--bytes", "100K", "--connections", "2", "--json")
                    self.assertEqual(bench.status, 0, bench.err)
                    return json.loads(bench.out)["requests"] > 2  # in so little time a busy machine may come to none
                self.assertTrue(until(some))
            distrusted = run(AICACHE, "--url", url, "bench", "--keys", "1")
            self.assertEqual((distrusted.status, "certificate" in distrusted.err), (2, True), distrusted.err)
            for verb in ("stats", "put qa text response"):  # GET and PUT
                plain = run(AICACHE, "--url", daemon.url, *verb.split())
                self.assertEqual((plain.status, plain.err), (2, "aicache: 400: This address speaks TLS; ask it by https.\n"))
            for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PROPFIND", "PRI", "get", "x", "M-SEARCH", "!~"):
                for pieces in ((method + " / HTTP/1.1\r\nHost: localhost\r\n\r\n",), (method[:1], method[1:] + " /")):
                    status, said = self.say_plainly(int(daemon.port), pieces)
                    self.assertEqual((status, said.get("error", {}).get("code")), (400, "tls_required"), (method, pieces))
            for noise in (b"\r\n\r\n", b"\x00" * 20, b"\xff\xfe GET / HTTP/1.1\r\n\r\n", b" GET / HTTP/1.1\r\n\r\n"):
                self.assertNotIn(b"HTTP", self.exchange(int(daemon.port), (noise,)))
            self.assertEqual(run(AICACHE, "--url", url, "--ca", certificate, "stats").status, 0)

    @staticmethod
    def exchange(port, pieces):
        """Sends piece by piece, ends its side and reads to the end."""
        got = b""
        with socket.create_connection(("127.0.0.1", port), timeout=60) as peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                for piece in pieces:
                    peer.sendall(piece if isinstance(piece, bytes) else piece.encode())
                peer.shutdown(socket.SHUT_WR)
                while part := peer.recv(65536):
                    got += part
            except (ConnectionResetError, BrokenPipeError, OSError):
                pass
        return got

    def say_plainly(self, port, pieces):
        head, _, body = self.exchange(port, pieces).partition(b"\r\n\r\n")
        words = head.split()
        return (int(words[1]), json.loads(body)) if len(words) > 1 else (0, {})

    def test_no_daemon(self):
        done = run(AICACHE, "stats", "--url", "http://127.0.0.1:1")
        self.assertEqual(done.status, 2)
        self.assertIn("is aicached running there?", done.err)

    def test_list_and_delete(self):
        keys = [self.client("put", "op%d" % (i % 2), "text %d" % i, "r", "--tag", "even" if i % 2 == 0 else "odd").out.strip() for i in range(7)]
        rows = self.client("list").out.splitlines()
        self.assertEqual(len(rows), 8)
        # Keys are whole and last: what is listed can be given to get as it stands.
        self.assertEqual(sorted(row.split()[-1] for row in rows[1:]), sorted(keys))
        self.assertRegex(rows[0], "key$")
        self.assertEqual(self.client("get", rows[1].split()[-1]).out, '"r"\n')
        self.assertEqual(len(self.client("list", "--operation", "op1").out.splitlines()), 4)
        page = self.client("list", "--limit", "3")
        self.assertIn("more: --cursor", page.err)
        everything = []
        for line in self.client("list", "--limit", "3", "--all", "--json").out.splitlines():
            everything += [entry["key"] for entry in json.loads(line)["entries"]]
        self.assertEqual(sorted(everything), sorted(keys))
        self.assertEqual(self.client("delete", keys[0], keys[1]).status, 0)
        gone = self.client("delete", keys[0], keys[2])
        self.assertEqual(gone.status, 1)
        self.assertIn(keys[0] + " not there", gone.out)
        self.assertIn(keys[2] + " deleted", gone.out)
        miss = self.client("get", keys[0])
        self.assertEqual((miss.status, miss.out, miss.err), (1, "", "miss\n"))
        miss = self.client("get", keys[0], "--json")
        self.assertEqual((miss.status, json.loads(miss.out)["error"]["code"], miss.err), (1, "not_found", ""))

    def test_invalidate(self):
        for i in range(4):
            self.client("put", "qa", str(i), "r", "--tag", "t%d" % i)
        for more in ((), ("--dry-run",), ("--tier", "memory"), ("--all-namespaces",), ("--namespace", "default", "--json"), ("--context", "why")):
            nothing = self.client("invalidate", *more)
            if "--namespace" in more:
                self.assertEqual(nothing.status, 0, nothing.err)  # which names the namespace's entries
                for i in range(4):
                    self.client("put", "qa", str(i), "r", "--tag", "t%d" % i)
                continue
            self.assertEqual((nothing.status, nothing.out), (2, ""), more)
            self.assertEqual(nothing.err, "aicache: nothing is named: give --namespace, --operation, --model, --tag, --pattern or --older-than, or --all for everything\n")
        dry = self.client("invalidate", "--operation", "qa", "--dry-run")
        self.assertEqual((dry.status, dry.out), (0, "4 entries match; nothing was removed\n"))
        self.assertEqual(self.client("invalidate", "--tag", "t1", "--dry-run").out, "1 entry matches; nothing was removed\n")
        self.assertIn("1 entry matched, 1 removed", self.client("invalidate", "--tag", "t1").out)
        self.assertEqual(self.client("invalidate", "--tag", "t1").status, 1)
        self.assertEqual(json.loads(self.client("invalidate", "--pattern", "t[23]", "--json").out)["removed"], 2)
        self.assertEqual(self.client("invalidate", "--operation", "qa", "--older-than", "1d").status, 1)

    def test_numbers(self):
        self.client("put", "qa", "a", "r")
        self.client("lookup", "qa", "a")
        for command in ("stats", "memory", "slow"):
            self.assertEqual(self.client(command).status, 0)
            json.loads(self.client(command, "--json").out)
        self.assertIn(self.client("warnings").status, (0, 1))
        health = self.client("health")
        self.assertEqual(health.status, 0, health.out)
        self.assertIn("healthy", health.out)
        self.assertIn("aicache-key", json.loads(self.client("explain", "qa", "b", "--json").out)["canonical"])
        self.assertEqual(self.client("verify").out, "everything adds up\n")
        verdict = json.loads(self.client("verify", "--json").out)  # as the daemon says it, counts and all
        self.assertEqual((verdict["status"], verdict["memory_entries"]), ("ok", 1))

    def test_what_is_measured_reads_as_tables(self):
        daemon = Running("memory: {max_entries: 8}\nmonitor: {slow_min: 0}\nlog: {level: error}\n")
        self.addCleanup(daemon.stop)
        for index in range(40):
            daemon.client("put", "operation %d" % (index % 5), str(index), "r")
        self.assertTrue(until(lambda: all(words in daemon.client("memory").out for words in ("all of them", " over "))))
        self.assertTrue(until(lambda: "memory.max_entries" in daemon.client("warnings").out))
        memory = daemon.client("memory").out
        self.assertRegex(memory, r"growth +(steady|(grows|shrinks) [0-9.]+ [KMG]?i?B an hour,) over \d+m?s")
        self.assertRegex(memory, r"warning +none\n +critical +none\n")  # nobody set one
        self.assertRegex(daemon.client("stats").out, r"evicted since start +32, \d+ a minute now\n")
        self.assertRegex(daemon.client("top", "--once").out, r"; evicts \d+ a minute|steady|grows|shrinks|not known")
        rows = [row for row in memory.partition("memory of\n")[2].splitlines() if row[2:3] != " "]  # without further lines
        self.assertRegex(rows[-1], r"^  all of them +\d")
        unit = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
        sizes = [float(row.split()[1]) * unit[row.split()[2]] for row in rows[:-1]]
        self.assertEqual(sizes, sorted(sizes, reverse=True))
        warnings = daemon.client("warnings")
        self.assertEqual(warnings.status, 1)
        self.assertRegex(warnings.out, r"(?m)^info     The memory tier is at 100\.0% of its limit: 8/8 entries\.( It\s+evicts \d+ entries a minute\.)?\n         - memory\.max_entries 16: \w")
        slow = daemon.client("slow", "--multiplier", "1").out.splitlines()
        self.assertRegex(slow[0], "^  at +operation +took +times the usual$")
        self.assertEqual(slow[1], "key_generation")
        self.assertRegex(slow[2], r"^  20\d\d-\d\d-\d\d \d\d:\d\d:\d\d  operation \d ")
        memory = daemon.client("memory").out
        self.assertEqual(memory.count(" entries\n"), 1, memory)
        listed = [float(line.split()[-1]) for line in slow[2:12] if "more" not in line and line.startswith("  ")]
        self.assertEqual(listed, sorted(listed, reverse=True))
        self.assertTrue(any(re.match(r" +and \d+ more$", line) for line in slow), slow)

    def test_a_tier_that_is_off_is_said_to_be(self):
        daemon = Running("memory: {max_bytes: 0}\nlog: {level: error}\n")
        self.addCleanup(daemon.stop)
        daemon.client("put", "qa", "kept in storage", "r")
        self.assertTrue(until(lambda: "all of them" in daemon.client("memory").out))
        off = "off (memory.max_bytes 0)"
        for command in (["memory"], ["stats"], ["top", "--once"], ["health"]):
            self.assertIn(off, daemon.client(*command).out, command)
        self.assertRegex(daemon.client("top", "--once").out, r"(?m)^since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d  0 hits  0 misses  1 puts   hit rate -$")
        said = {row["code"]: row["severity"] for row in json.loads(daemon.client("warnings", "--json").out)}
        self.assertEqual(said.get("memory_tier_off"), "info")

    def test_tables_fit_the_terminal(self):
        """80 columns without one; words are never cut, whatever the width."""
        daemon = Running("monitor: {slow_min: 0}\nlog: {level: error}\n")
        self.addCleanup(daemon.stop)
        for index in range(4):
            daemon.client("put", "an operation of a long name " * 4, str(index), "r")
        self.assertTrue(until(lambda: "all of them" in daemon.client("memory").out))
        self.assertTrue(until(lambda: "usual" in daemon.client("slow", "--multiplier", "1").out))
        plain = {}
        for command in (["memory"], ["slow", "--multiplier", "1"], ["health"], ["stats"], ["config", "presets"]):
            plain[command[0]] = daemon.client(*command).out
            self.assertLessEqual(max(map(len, plain[command[0]].splitlines())), 80, plain[command[0]])
            for columns in (70, 80, 100, 200):
                terminal = Terminal(24, columns, [AICACHE, *command, "--url", daemon.url])
                self.addCleanup(terminal.close)
                shown = terminal.rest().decode().splitlines()
                self.assertLessEqual(max(map(len, shown)), columns, shown)
                self.assertEqual(terminal.process.wait(60), 0)
        owners = json.loads(daemon.client("memory", "--json").out)["breakdown"]
        text = " ".join(plain["memory"].split())
        for owner in owners:
            self.assertTrue(owner["bytes"] == 0 or owner["owner"] not in text or owner["help"] in text, (owner, text))
        pages = [self.client("help").out] + [self.client("help", name).out for name in ("get", "list", "import", "config", "replay")]
        self.assertLessEqual(max(len(line) for page in pages for line in page.splitlines()), 80)

    def test_export_and_import(self):
        for i in range(20):
            self.client("put", "qa", "text %d" % i, json.dumps({"i": i}))
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "out.jsonl")
            self.assertEqual(self.client("export", path).status, 0)
            with open(path) as file:
                lines = file.read().splitlines()
            self.assertEqual(len({json.loads(line)["key"] for line in lines}), 20)
            self.client("invalidate", "--all")
            taken = self.client("import", path)
            self.assertEqual(taken.status, 0, taken.err)
            self.assertIn("20 lines accepted, 0 rejected", taken.out)
        self.assertEqual(self.client("lookup", "qa", "text 7").out, '{"i": 7}\n')
        bad = self.client("import", "-", stdin=("\n".join(lines[:2]) + "\nnonsense\n").encode())
        self.assertEqual(bad.status, 1)
        self.assertIn("line 3: ", bad.err)
        for command in ("import", "warm"):
            nameless = self.client(command, "-", stdin=b'{"operation":"qa","response":1}\n{"operation":"qa","text":"t","response":1,"tags":[1]}\n')
            self.assertEqual(nameless.status, 1)
            self.assertIn("line 1: text: ", nameless.err)
            self.assertIn("line 2: tags: ", nameless.err)
        self.assertIn("aicache: 1 argument came; usage: ", self.client("put", "qa").err)
        warm = self.client("import", "--warm", "-", stdin=b'{"operation":"qa","text":"warm","response":"w"}\n')
        self.assertEqual((warm.status, warm.out), (0, "1 line accepted, 0 rejected\n"), warm.err)
        self.assertEqual(self.client("lookup", "qa", "warm").out, '"w"\n')
        self.assertEqual(self.client("warm", "-", stdin=b'{"operation":"qa","text":"warm","response":"v"}\n').status, 0)
        self.assertEqual(self.client("lookup", "qa", "warm").out, '"v"\n')
        self.assertEqual(self.client("export").out.count("\n"), 21)

    def test_a_byte_order_mark_costs_no_line(self):
        line = b'\xef\xbb\xbf{"operation":"qa","text":"%s","response":"w"}\n'
        for command in ("import", "warm"):
            done = self.client(command, "-", stdin=line % command.encode())
            self.assertEqual((done.status, done.out), (0, "1 line accepted, 0 rejected\n"), done.err)
            self.assertEqual(self.client("lookup", "qa", command).out, '"w"\n')
        done = self.client("replay", "-", "--json", stdin=line % b"replay")
        self.assertEqual((done.status, json.loads(done.out)["misses"]), (0, 1), done.err)

    def test_what_many_lines_have_in_common_is_told_once(self):
        bad = '{"operation":"qa","response":1}'
        odd = '{"operation":"qa","text":"t","response":1,"tags":[1]}'
        lines = [bad] * 7 + [odd, '{"operation":"qa","text":"good","response":1}', odd]
        done = self.client("warm", "-", stdin="\n".join(lines).encode())
        self.assertEqual((done.status, done.out), (1, "1 line accepted, 9 rejected\n"))
        told = done.err.splitlines()
        self.assertEqual(len(told), 2, told)
        self.assertRegex(told[0], r"^lines 1, 2, 3, 4, 5 and 2 more: text: \w")
        self.assertRegex(told[1], r"^lines 8, 10: tags: \w")
        done = self.client("warm", "-", stdin="\n".join([bad] * 3000).encode())
        named = len(json.loads(self.client("warm", "-", "--json", stdin="\n".join([bad] * 3000).encode()).out)["errors"])
        self.assertLess(named, 3000)
        told = done.err.splitlines()
        self.assertEqual(len(told), 2, told)
        self.assertIn("lines 1, 2, 3, 4, 5 and %d more: text: " % (named - 5), told[0])
        self.assertEqual(told[1], "%d more lines were rejected; the daemon's answer names the first %d" % (3000 - named, named))

    def test_replay(self):
        lines = [json.dumps({"operation": "qa", "text": "q %d" % (i % 10), "response": "answer", "tokens": {"prompt_tokens": 1, "completion_tokens": 2}})
                 for i in range(40)]
        lines[5:5] = ["{broken", '{"operation":"qa"}', ""]
        done = self.client("replay", "-", "--json", stdin="\n".join(lines).encode())
        self.assertEqual(done.status, 1, done.err)
        result = json.loads(done.out)
        self.assertEqual((result["hits"], result["misses"], result["puts"], result["bad_lines"]), (30, 10, 10, 2))
        self.assertEqual(result["first_bad_line"], 6)
        self.assertIn("not JSON", result["first_bad_reason"])
        again = self.client("replay", "-", stdin="\n".join(lines[:10]).encode())
        self.assertEqual(again.status, 1)
        self.assertRegex(again.out, r"(?m)^2 bad lines, the first is line 6: not JSON: ")
        done_well = self.client("replay", "-", "--json", stdin="\n".join(lines[:5]).encode())
        self.assertEqual((done_well.status, "first_bad_line" in json.loads(done_well.out)), (0, False))
        self.assertEqual(result["hit_rate"], 0.75)
        self.assertEqual(result["tokens_saved"], 90)
        self.assertEqual(result["bytes_served"], 30 * len('"answer"'))
        self.assertEqual(result["latency_seconds"]["hit"]["count"], 30)
        self.assertIn("standard input:6: ", done.err)
        self.assertIn("standard input:7: no request", done.err)
        made = self.client("replay", "-", "--answer-bytes", "1500", "--json", stdin=b'{"operation":"gen","text":"x"}\n' * 2)
        self.assertEqual(json.loads(made.out)["bytes_served"], 1502)
        self.assertIn("hit rate 100.0 %", self.client("replay", "-", stdin=b'{"operation":"gen","text":"x"}\n').out)
        without = json.loads(self.client("replay", "-", "--json", stdin=b'{"operation":"none","text":"x"}\n' * 2).out)
        self.assertEqual((without["misses"], without["puts"]), (2, 0))

    def test_replay_prints_numbers_in_few_digits(self):
        lines = ['{"operation":"digits","text":"%d","response":1,"cost_usd":0.1}' % (i % 3) for i in range(5)]  # 2 hits of 5
        done = self.client("replay", "-", "--json", stdin="\n".join(lines).encode())
        self.assertIn('"hit_rate":0.4,', done.out)
        self.assertIn('"cost_saved_usd":0.2,', done.out)
        result = json.loads(done.out, parse_float=str)
        for number in (result["seconds"], *(value for part in result["latency_seconds"].values() for value in part.values())):
            self.assertEqual(float(number), float("%.17g" % float(number)))
            self.assertLessEqual(len(str(number)), len(repr(float(number))), number)

    def test_a_replayed_line_that_is_refused_says_why(self):
        for member, says in (('"ttl":-1', "ttl: "), ('"tags":["t","t"]', "tags[1]: "), ('"options":[1]', "options: ")):
            line = '{"operation":"refused","text":"x","response":1,%s}' % member
            done = self.client("replay", "-", "--json", stdin=line.encode())
            self.assertEqual(done.status, 1)
            self.assertRegex(done.err, "^aicache: standard input:1: refused with 400: " + re.escape(says) + "[^{]*\n$")
            self.assertIn(says, json.loads(done.out)["first_bad_reason"])

    @unittest.skipIf(any(name in AICACHE for name in ("/asan/", "/tsan/")), "a sanitizer needs all addresses")
    def test_a_line_too_long_for_the_memory_is_no_end_of_the_file(self):
        with tempfile.NamedTemporaryFile() as lines:
            lines.truncate(1 << 30)
            done = run("prlimit", "--as=%d" % (300 << 20), AICACHE, "replay", lines.name, AICACHE_URL=self.daemon.url)
            self.assertEqual(done.status, 2, done.out)
            self.assertIn("Cannot allocate memory", done.err)

    def test_nul_bytes_are_no_blanks(self):
        good = b'{"operation":"nul","text":"x"}\n'
        done = self.client("replay", "-", "--json", stdin=good + b"\0\0\0\n \t \n" + good.rstrip() + b" \0\n")
        result = json.loads(done.out)
        self.assertEqual((done.status, result["lookups"], result["bad_lines"], result["first_bad_line"]), (1, 1, 2, 2), done.err)
        self.assertIn("standard input:2: not JSON: ", done.err)
        self.assertIn("standard input:4: not JSON: ", done.err)
        for value in (b"1\0", b"\0", b"\x00[1] \n"):
            self.assertEqual(self.client("put", "nul", "value", "-", stdin=value).status, 0)
            self.assertEqual(self.client("lookup", "nul", "value").out, json.dumps(value.decode()) + "\n")
            self.assertEqual(self.client("lookup", "nul", "value", "--options", "-", stdin=b"{}" + value).status, 2)
        for command in (("stats",), ("bench", "--duration", "50ms", "--keys", "2")):
            done = self.client(*command, "--api-key", "-", stdin=b"a key\0\n")
            self.assertEqual((done.status, "the API key cannot be sent: it holds a control character" in done.err), (2, True), done.err)

    def test_every_figure(self):
        status = json.loads(self.client("stats", "--json").out)
        shown = dict(line.split(None, 1) for line in self.client("stats", "--all").out.splitlines())
        self.assertGreater(len(shown), 100)
        for name in shown:
            section, member = name.split(".")
            self.assertIn(member, status[section])
        self.assertEqual(shown["changes.puts"], str(status["changes"]["puts"]))
        with open(os.path.join(os.path.dirname(__file__), "../../docs/metrics.md"), encoding="utf-8") as page:
            told = page.read()
        self.assertEqual([name for name in shown if "`%s`" % name not in told], [])

    def test_top(self):
        self.client("put", "qa", "a", "r")
        once = self.client("top", "--once")
        self.assertEqual(once.status, 0, once.err)
        for word in ("aicache ", "lookups/s", "memory", "storage", "process"):
            self.assertIn(word, once.out)
        self.assertNotIn("\x1b", once.out)
        self.assertIn("tiers", json.loads(self.client("top", "--once", "--json").out))

    def test_top_draws_to_the_terminal(self):
        """At 80x24, and at every other size that the terminal takes while it runs."""
        for index in range(12):
            self.client("put", "operation %d with a name that is longer than its column is wide" % index, "a", "r")
        terminal = Terminal(24, 80, [AICACHE, "top", "--url", self.daemon.url])
        self.addCleanup(terminal.close)
        heights = {}
        for rows, columns in ((24, 80), (50, 120), (24, 80), (10, 40), (5, 20)):
            terminal.resize(rows, columns)
            lines = terminal.frame()
            while len(lines) > rows or max(map(len, lines)) > columns or (rows == 50 and len(lines) <= heights[24]):
                lines = terminal.frame()  # one that was under way already
            heights[rows] = len(lines)
            self.assertRegex(lines[0], "^aicache ")
            for row, word in enumerate(("state", "now", "since"), 1):
                self.assertTrue(lines[row].startswith(word), lines)
        self.assertGreater(heights[24], 9)
        self.assertLessEqual(heights[5], 4)
        terminal.write(b"q")
        self.assertTrue(terminal.rest().endswith(b"\x1b[?25h\x1b[?1049l"))
        self.assertEqual(terminal.process.wait(60), 0)

    def wait_for_line(self, terminal, pattern):
        lines = terminal.frame()
        while not re.search(pattern, lines[0]):
            lines = terminal.frame()
        return lines

    def test_top_says_that_nobody_answers(self):
        daemon = Running("log: {level: error}\n")
        self.addCleanup(daemon.stop)
        terminal = Terminal(24, 80, [AICACHE, "top", "--url", daemon.url])
        self.addCleanup(terminal.close)
        self.wait_for_line(terminal, "^aicache ")
        os.kill(daemon.process.pid, signal.SIGSTOP)
        try:
            lines = self.wait_for_line(terminal, r"^no answer since \d\d:\d\d:\d\d from http")
            self.assertTrue(lines[1].startswith("state"), lines)
        finally:
            os.kill(daemon.process.pid, signal.SIGCONT)
        self.wait_for_line(terminal, "^aicache ")

        # Gone, and there again.
        self.assertEqual(daemon.stop(), 0)
        self.wait_for_line(terminal, r"^no answer since \d\d:\d\d:\d\d from http")
        self.assertIsNone(terminal.process.poll())
        again = Running("log: {level: error}\n", flags=("--listen", "127.0.0.1:" + daemon.port))
        self.addCleanup(again.stop)
        self.wait_for_line(terminal, "^aicache ")
        self.assertEqual(again.stop(), 0)
        self.wait_for_line(terminal, "^no answer since")
        terminal.write(b"q")
        self.assertTrue(terminal.rest().endswith(b"\x1b[?25h\x1b[?1049l"))
        self.assertEqual(terminal.process.wait(60), 0)

    def test_top_fails_where_it_can_be_read(self):
        daemon = Running("log: {level: error}\n")
        self.addCleanup(daemon.stop)
        self.assertEqual(daemon.stop(), 0)
        terminal = Terminal(24, 80, [AICACHE, "top", "--url", daemon.url])
        self.addCleanup(terminal.close)
        drawn = terminal.rest()
        self.assertIn(b"cannot be asked", drawn.rpartition(b"\x1b[?1049l")[2])
        self.assertEqual(terminal.process.wait(60), 2)

    def test_bench(self):
        for mode in ("lookup", "get", "put", "mixed"):
            done = self.client("bench", "--mode", mode, "--duration", "200ms", "--keys", "20", "--bytes", "500", "--connections", "4", "--threads", "2", "--json")
            self.assertEqual(done.status, 0, done.err)
            result = json.loads(done.out)
            self.assertGreater(result["requests"], 10)
            self.assertEqual((result["failed"], result["broken"]), (0, 0))


class Keys(unittest.TestCase):
    def test_a_new_key_opens_its_namespace(self):
        made = json.loads(run(AICACHE, "key", "new", "--namespace", "shop", "--json").out)
        admin = json.loads(run(AICACHE, "key", "new", "--admin", "--id", "root", "--json").out)
        text = run(AICACHE, "key", "new", "--namespace", "shop")
        self.assertNotEqual(made["key"], json.loads(run(AICACHE, "key", "new", "--namespace", "shop", "--json").out)["key"])
        self.assertEqual(len(made["key"]), 56)
        self.assertNotIn(made["key"], text.out)
        config = "api_keys:\n"
        for key in (made, admin):
            config += "  - {id: \"%s\", sha256: %s, namespace: %s, admin: %s}\n" % (key["id"], key["sha256"], key["namespace"], "true" if key["admin"] else "false")
        daemon = Running(config)
        try:
            self.assertEqual(daemon.client("stats").status, 2)
            self.assertIn("401", daemon.client("stats").err)
            self.assertEqual(daemon.client("put", "qa", "a", "b", AICACHE_API_KEY=made["key"]).status, 0)
            self.assertEqual(daemon.client("lookup", "qa", "a", "--namespace", "shop", "--api-key", admin["key"]).out, '"b"\n')
            self.assertEqual(daemon.client("lookup", "qa", "a", "--namespace", "other", "--api-key", made["key"]).status, 2)
            self.assertEqual(daemon.client("verify", AICACHE_API_KEY=made["key"]).status, 2)
            daemon.client("lookup", "qa", "a", "--api-key", made["key"])
            own = until(lambda: (lambda out: out if "2 hits" in out else None)(daemon.client("top", "--once", "--api-key", made["key"]).out))
            self.assertRegex(own, r"(?m)^namespace shop$")
            self.assertRegex(own, r"(?m)^shop +qa +2 +100\.0 %$")
            self.assertNotRegex(own, r"memory|pressure|puts")
            self.assertEqual(daemon.client("verify", AICACHE_API_KEY=admin["key"]).status, 0)
            with tempfile.NamedTemporaryFile("w") as file:
                file.write(made["key"] + "\n")
                file.flush()
                self.assertEqual(daemon.client("lookup", "qa", "a", "--api-key", "@" + file.name).status, 0)
        finally:
            self.assertEqual(daemon.stop(), 0)

    def test_import_and_warm_fill_a_namespace(self):
        shop, admin = (json.loads(run(AICACHE, "key", "new", "--namespace", name, "--json", *more).out) for name, more in (("shop", ()), ("default", ("--admin",))))
        config = "api_keys:\n"
        for key in (shop, admin):
            config += "  - {id: \"%s\", sha256: %s, namespace: %s, admin: %s}\n" % (key["id"], key["sha256"], key["namespace"], "true" if key["admin"] else "false")
        daemon = Running(config)
        self.addCleanup(daemon.stop)
        line = b'{"operation":"qa","text":"filled","response":"x"}\n'

        def hit(name):
            return daemon.client("lookup", "qa", "filled", "--namespace", name, "--api-key", admin["key"]).status == 0
        for command in (("import",), ("import", "--warm"), ("warm",)):
            done = daemon.client(*command, "-", "--namespace", "other", "--api-key", admin["key"], stdin=line)
            self.assertEqual((done.status, done.out), (0, "1 line accepted, 0 rejected\n"), done.err)
            self.assertEqual((hit("other"), hit("shop"), hit("default")), (True, False, False))
            done = daemon.client(*command, "-", "--namespace", "other", "--api-key", shop["key"], stdin=line)
            self.assertEqual((done.status, done.out), (2, ""))
            self.assertIn("403: namespace: this API key gives access to its own namespace only", done.err)
            for own in (("--namespace", "shop"), ()):
                done = daemon.client(*command, "-", *own, "--api-key", shop["key"], stdin=line)
                self.assertEqual((done.status, done.out), (0, "1 line accepted, 0 rejected\n"), done.err)
                self.assertEqual((hit("other"), hit("shop"), hit("default")), (True, True, False))
                daemon.client("invalidate", "--all", "--api-key", shop["key"])
            done = daemon.client(*command, "-", "--namespace", "shop", "--api-key", admin["key"], stdin=line.replace(b"{", b'{"namespace":"other",'))
            self.assertEqual((done.status, done.out), (1, "0 lines accepted, 1 rejected\n"), done.err)
            self.assertIn("line 1: namespace: ", done.err)
            daemon.client("invalidate", "--all", "--all-namespaces", "--api-key", admin["key"])

    def test_a_name_that_the_daemon_refuses_gets_no_key(self):
        for name in ("", "x" * 129, "a\x1bb", "a\u0085b", b"a\xff"):
            for option in ("--namespace", "--id"):
                done = run(AICACHE, "key", "new", option, name)
                self.assertEqual((done.status, done.out), (2, ""), name)
                self.assertIn("accepted: 1 to 128 bytes of UTF-8 without control characters", done.err)

    def test_the_printed_entry_is_a_configuration(self):
        text = run(AICACHE, "key", "new", "--namespace", "a \"b\"", "--admin").out
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(text)
            file.flush()
            self.assertEqual(run(AICACHE, "config", "check", file.name).status, 0)


class Offline(unittest.TestCase):
    def test_put_where_nothing_keeps_it(self):
        daemon = Running(flags=("--listen", "127.0.0.1:0", "--storage-kind", "none", "--memory-max-bytes", "0"))
        self.addCleanup(daemon.stop)
        done = daemon.client("put", "qa", "a", "b")
        self.assertEqual((done.status, done.err), (1, "aicache: not kept: no tier took its 3 B; each is off or its limits are too small for it\n"))
        self.assertRegex(done.out, "^[0-9a-f]{64}\n$")

    def test_verify_a_directory(self):
        daemon = Running()
        daemon.client("put", "qa", "a", "b")
        held = run(AICACHE, "verify", "--data-dir", daemon.data)
        self.assertEqual(held.status, 2)
        self.assertIn(str(daemon.process.pid), held.err)
        daemon.owned = False
        self.assertEqual(daemon.stop(), 0)
        self.assertEqual(run(AICACHE, "verify", "--data-dir", daemon.data).out, "everything adds up\n")
        self.assertEqual(json.loads(run(AICACHE, "verify", "--data-dir", daemon.data, "--json").out)["status"], "ok")
        self.assertEqual(run(AICACHE, "verify", "--data-dir", daemon.directory).status, 2)
        daemon.owned = True
        daemon.stop()

    def test_unix_socket(self):
        with tempfile.TemporaryDirectory(prefix="aicache-live-") as directory:
            path = os.path.join(directory, "s")
            daemon = Running(flags=("--listen", "unix:" + path))
            try:
                done = run(AICACHE, "put", "qa", "a", "b", "--unix", path)
                self.assertEqual(done.status, 0, done.err)
                self.assertEqual(run(AICACHE, "lookup", "qa", "a", AICACHE_UNIX=path).out, '"b"\n')
                self.assertEqual(run(AICACHE, "bench", "--duration", "100ms", "--keys", "5", "--unix", path).status, 0)
                self.assertEqual(os.stat(path).st_mode & 0o777, 0o660)
            finally:
                self.assertEqual(daemon.stop(), 0)
            self.assertFalse(os.path.exists(path))


if __name__ == "__main__":
    unittest.main()
