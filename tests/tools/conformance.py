"""Every promise of tests/conformance.txt has a test that exists and is run, and none of their ids is missing.

conformance.py TREE
"""
import os
import re
import sys

# The ids have gaps; these are the ones that there are.
IDS = {
    "H": "02 04 05 07 08 10 11 13 14 16 17 19 20 22", "I": "01 02 04 05 07 08 10 11 13 14 16 17 19", "J": "01 02 04 05 07 08 10 11 13 14",
    "K": "01 02 04 05 07 08 10 11 13 14 16 17 19 20 22 23 25 26 28", "L": "01 02 04 05 07", "M": "01 02 04 05 07 08 10 11 13 14", "N": "01 04 05 07 11 13 14 19 20",
    "O": "01 02 04 05 07 08 10 11 13 14 16 17", "Q": "01 02 04 05 07 08 10", "R": "02 04 05 07 08 14 16 17 19", "S": "01 02 04 05 07 08 10 11 13 14 16 17 19",
}


def complaints(tree):
    missing = {group + number for group, numbers in IDS.items() for number in numbers.split()}
    with open(os.path.join(tree, "tests/conformance.txt")) as file:
        lines = [(number, line.split()) for number, line in enumerate(file, 1) if line.strip() and not line.startswith("#")]
    for number, words in lines:
        if len(words) != 3 or not re.fullmatch("[H-S][0-9]{2}", words[0]):
            yield "line %d: expected are an id, a file and a function" % number
            continue
        name, path, function = words
        missing.discard(name)
        path = os.path.join(tree, "tests", path)
        if not os.path.exists(path):
            yield "%s: there is no %s" % (name, path)
            continue
        with open(path) as file:
            text = file.read()
        if path.endswith(".py"):
            found = re.search(r"^    def %s\(self" % function, text, re.M)
        else:
            found = re.search(r"^static void %s\(" % function, text, re.M) and re.search(r"cmocka_unit_test\w*\(%s\b" % function, text)
        if not found:
            yield "%s: %s has no test %s" % (name, path, function)
    for name in sorted(missing):
        yield name + ": no test shows it"


if __name__ == "__main__":
    found = list(complaints(sys.argv[1]))
    print("\n".join(found + ["%d complaints" % len(found)]))
    sys.exit(1 if found else 0)
