"""Python's json module as the judge of the scanner: valid documents, damaged documents and near misses; both must accept or refuse, and read the same.

usage: json_oracle_test.py JSON_TOOL docs/keys.md [COUNT] [SEED]
Only the standard library. What Python is lax about (NaN, duplicate names, lone surrogates, depth) is made strict here first.
"""
import json
import random
import re
import subprocess
import sys

WORDS = ["", "a", "b", "role", "content", "ä", "€uro", "😀", "\U0005de0f", "line\nline", "tab\t", '"quoted"', "back\\slash", "\0", "\x7f", "\u2028", "x" * 70]
NUMBERS = ["0", "-0", "1", "-1", "1.0", "0.5", "1e5", "1E+5", "-1.25e-7", "123456789012345678901234567890", "1e400", "9007199254740993"]
NEAR_MISSES = ["01", "+1", ".5", "1.", "1e", "- 1", "0x10", "NaN", "Infinity", "-Infinity", "True", "nul", "'a'", '"\\x41"', '"\\u12"', '"\\ud800"',
               '"\\udc00\\ud800"', '"\t"', '"\n"', "[1,]", "[,1]", "{,}", '{"a":1,}', '{"a"}', '{"a":1 "b":2}', "{1:2}", '{"a":1,"a":2}', '{"a":1,"\\u0061":2}',
               "[1 2]", "[1}", "{]", "", " ", "1 2", "{}{}", "/* */1", "\ufeff1", "1\0", "\x0b1", "\u00a01", "tru", "nulll", "[" * 129 + "]" * 129, "[" * 128 + "]" * 128]
PIECES = [b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"-", b"e", b".", b"\x00", b"\x1f", b"\x80", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xff",
          b"\\u", b"\\ud83d", b"\\ude00", b" ", b"\n", b"null", b"\xe2\x82\xac"]


class Refused(Exception):
    pass


def unique(pairs):
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Refused("duplicate")
    return members


def constant(name):
    raise Refused(name)


def check(value, depth):
    if isinstance(value, (list, dict)) and depth > 128:
        raise Refused("depth")
    if isinstance(value, dict):
        for name, item in value.items():
            check(name, depth)
            check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            check(item, depth + 1)
    elif type(value) is str:
        value.encode()


def judge(number, data):
    try:
        text = data.decode()
        value = json.loads(text, parse_int=number, parse_float=number, parse_constant=constant, object_pairs_hook=unique)
        if text.strip(" \t\r\n") == "":
            raise Refused("empty")
        check(value, 1)
        return value
    except (ValueError, Refused, RecursionError):
        raise Refused from None


def random_value(rng, depth):
    kind = rng.randrange(10 if depth > 0 else 6)
    if kind == 0:
        return rng.choice(["null", "true", "false"])
    if kind <= 2:
        return rng.choice(NUMBERS)
    if kind <= 5:
        return spell(rng, rng.choice(WORDS))
    space = rng.choice(["", "", " ", "\n  "])
    if kind <= 7:
        return "[" + space + ("," + space).join(random_value(rng, depth - 1) for _ in range(rng.randrange(5))) + space + "]"
    names = [rng.choice(WORDS) + (str(i) if rng.random() < 0.97 else "") for i in range(rng.choice([0, 1, 2, 3, 12, 70]))]
    return "{" + ",".join(space + spell(rng, name) + space + ":" + random_value(rng, depth - 2) for name in names) + space + "}"


def spell(rng, text):
    return json.dumps(text, ensure_ascii=rng.random() < 0.5)


def damaged(rng, data):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        at = rng.randrange(len(data) + 1)
        how = rng.randrange(5)
        if how == 0 and at < len(data):
            data[at] = rng.randrange(256)
        elif how == 1:
            data[at:at] = rng.choice(PIECES)
        elif how == 2:
            del data[at:at + rng.choice([1, 1, 2, 5])]
        elif how == 3:
            del data[at:]
        else:
            start = rng.randrange(len(data) + 1)
            data[at:at] = data[start:start + rng.randrange(12)]
    return bytes(data)


def main():
    tool, page = sys.argv[1:3]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 6000
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    block = re.search(r"```python\n(.*?)```", open(page, encoding="utf-8").read(), re.S).group(1)
    scope = {}
    exec(block.replace("body = json.loads(text", "load = lambda text: json.loads(text"), scope)
    documents = [text.encode("utf-8", "surrogatepass") for text in NEAR_MISSES]
    for text in NEAR_MISSES:
        documents.append(("[%s]" % text).encode("utf-8", "surrogatepass"))
    while len(documents) < count:
        good = random_value(rng, 5).encode()
        documents += [good, damaged(rng, good), damaged(rng, good)]
    lines = subprocess.run([tool], input="\n".join(d.hex() for d in documents) + "\n", capture_output=True, check=True, encoding="ascii").stdout.split("\n")
    accepted = 0
    for data, line in zip(documents, lines):
        try:
            value = judge(scope["Number"], data)
        except Refused:
            assert line.startswith("refused "), ("accepted what Python refuses", data, line[:200])
            continue
        assert line.startswith("accepted "), ("refused what Python accepts", data, line)
        accepted += 1
        if line == "accepted huge":
            continue
        form = b"aicache-key-1;s1:ns1:os1:t" + scope["value"]({"v": value}) + b"n"
        assert bytes.fromhex(line[9:]) == form, (data, bytes.fromhex(line[9:]), form)
    print(len(documents), "documents,", accepted, "accepted by both")
    assert accepted > count // 4


main()
