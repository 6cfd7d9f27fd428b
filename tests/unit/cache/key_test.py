"""Computes keys from docs/keys.md (the code block there is what runs) and compares them with the library's.

usage: key_test.py KEY_TOOL docs/keys.md [COUNT] [SEED]
Only the standard library. Random requests in random spellings; each canonical form is also read back, which proves that no two share one.
"""
import json
import random
import re
import subprocess
import sys

SECRET = "0123456789abcdef0123456789abcdef"
STRINGS = ["", "a", "b", "1", "a|b", "a:b", "a_b", "1&b=2", "s1:a", "n", "t", "true", "True", "o0:", "d1e0;", "ä", "a\u0308", "€", "😀", "\n", "\0",
           '"', "\\", "/", "x" * 300, "aaaaa", "aaaab", "\uffff", "temperature"]
NUMBERS = ["0", "-0", "0.0", "0e5", "1", "1.0", "10e-1", "0.1e1", "100", "1E2", "1e+2", "-1", "-1.50", "-15e-1", "9007199254740993",
           "9007199254740992", "0.1", "1e-1", "0.10000000000000000000000000000000000001", "1e400", "1e9223372036854775807", "12345678901234567890123",
           "1e9223372036854775808", "0.1e-9223372036854775808", "0e99999999999999999999"]


def described(path):
    """The implementation that the page gives."""
    block = re.search(r"```python\n(.*?)```", open(path, encoding="utf-8").read(), re.S).group(1)
    scope = {}
    exec(block.replace("body = json.loads(text", "load = lambda text: json.loads(text"), scope)
    return scope


def random_value(rng, depth):
    kind = rng.randrange(9 if depth > 0 else 6)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind in (1, 2):
        return ("number", rng.choice(NUMBERS))
    if kind <= 5:
        return rng.choice(STRINGS)
    if kind == 6:
        return [random_value(rng, depth - 1) for _ in range(rng.randrange(4))]
    names = rng.sample(STRINGS, rng.choice([0, 1, 2, 3, len(STRINGS)]))
    return {name: random_value(rng, depth - 2) for name in names}


def spell_string(rng, text):
    out = []
    for char in text:
        if char in '"\\' or ord(char) < 32 or rng.random() < 0.1:
            units = char.encode("utf-16-be")
            out.append("".join("\\u%02x%02x" % (units[i], units[i + 1]) for i in range(0, len(units), 2)))
        else:
            out.append(char)
    return '"' + "".join(out) + '"'


def spell(rng, value):
    space = lambda: rng.choice(["", "", " ", "\t "])
    if isinstance(value, tuple):
        return value[1]
    if isinstance(value, str):
        return spell_string(rng, value)
    if isinstance(value, list):
        return "[" + ",".join(space() + spell(rng, item) + space() for item in value) + "]"
    if isinstance(value, dict):
        members = list(value.items())
        rng.shuffle(members)
        return "{" + ",".join(space() + spell(rng, name) + space() + ":" + spell(rng, item) for name, item in members) + "}"
    return json.dumps(value)


def read_form(form, at):
    """Reads one value of a canonical form: (what it means, where it ends)."""
    kind = form[at:at + 1]
    if kind in (b"n", b"f", b"t"):
        return {b"n": None, b"f": False, b"t": True}[kind], at + 1
    if kind == b"d":
        end = form.index(b";", at)
        return ("number", form[at:end]), end + 1
    colon = form.index(b":", at)
    count = int(form[at + 1:colon])
    at = colon + 1
    if kind == b"s":
        return form[at:at + count].decode(), at + count
    items = []
    for _ in range(count * (2 if kind == b"o" else 1)):
        item, at = read_form(form, at)
        items.append(item)
    return (dict(zip(items[::2], items[1::2])) if kind == b"o" else items), at


def meaning(scope, value):
    if isinstance(value, scope["Number"]):
        return ("number", scope["number"](value)[:-1])
    if isinstance(value, list):
        return [meaning(scope, item) for item in value]
    if isinstance(value, dict):
        return {name: meaning(scope, item) for name, item in value.items()}
    return value


def check_reads_back(scope, request):
    form = scope["canonical"](request)
    tag = b"aicache-key-1;"
    assert form.startswith(tag)
    at, parts = len(tag), []
    while at < len(form):
        part, at = read_form(form, at)
        parts.append(part)
    options = dict(request.get("options") or {})
    if request.get("model") is not None:
        options["model"] = request["model"]
    expected = ["default", request["operation"], request["text"], meaning(scope, options), request.get("question")]
    assert parts == expected, (parts, expected)


def main():
    tool, page = sys.argv[1:3]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 3000
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    scope = described(page)
    lines = []
    for _ in range(count):
        request = {"operation": rng.choice(["qa", "x|txt:y", "sentiment"]), "text": rng.choice(STRINGS)}
        for name in ("question", "options"):
            if rng.random() < 0.7:
                request[name] = rng.choice(STRINGS) if name == "question" else rng.choice([None, {}, random_value(rng, 4)])
        if not isinstance(request.get("options"), (dict, type(None))):
            request["options"] = {"value": request["options"]}
        if rng.random() < 0.3:
            request["model"] = rng.choice(["a", "gpt-4o", "mödel", "model"])
        lines.append(spell(rng, request))
    lines.append('{"operation":"qa","text":"Grüße","options":{"temperature":0.70,"max":100,"stop":["\\n"]},"question":"Who?"}')
    lines.append('{"operation":"qa","text":"t","options":{"a":{"b":[0,1e9223372036854775808]}}}')
    answers = subprocess.run([tool, SECRET], input="\n".join(lines) + "\n", capture_output=True, check=True, encoding="utf-8").stdout.split("\n")
    refused = 0
    for line, answer in zip(lines, answers):
        request = scope["load"](line)
        try:
            expected = scope["key"](SECRET.encode(), request)
            check_reads_back(scope, request)
        except ValueError:
            refused += 1
            assert answer.startswith("refused options"), (line, answer)
            continue
        assert answer == expected, (line, answer, expected)
    assert answers[len(lines) - 1] == "refused options.a.b[1]", answers[len(lines) - 1]
    example = answers[len(lines) - 2]
    assert example in open(page, encoding="utf-8").read(), "the page's example has the key " + example
    print(len(lines), "requests agree,", refused, "of them refused by both")


main()
