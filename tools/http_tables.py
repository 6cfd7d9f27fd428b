#!/usr/bin/env python3
"""Keeps the tables of docs/http.md and docs/metrics.md equal to the tables that the program is made from.

    tools/http_tables.py            compares; prints what differs and exits 1
    tools/http_tables.py --write    writes the tables into the pages

A table stands between `<!-- table: NAME -->` and `<!-- end -->`.
"""
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
ACCESS = {"PUBLIC": "–", "KEY": "key", "ADMIN": "admin"}


def rows(path, macro):
    """The arguments of each row of an X-macro table."""
    text = re.sub(r"/\*.*?\*/", "", (TOP / path).read_text(), flags=re.S)
    for match in re.finditer(r"^%s\((.*?)\)$" % macro, text, flags=re.S | re.M):
        fields = re.findall(r'"(?:[^"\\]|\\.)*"|[^,\s]+', match.group(1))
        yield [field[1:-1].replace('\\"', '"') if field.startswith('"') else field for field in fields]


def routes():
    yield "| route | needs | query | does |"
    yield "|---|---|---|---|"
    for verb, path, _handler, _body, access, query, text in rows("src/serve/routes/routes.def", "ROUTE"):
        known = "any" if query == "NULL" else " ".join("`%s`" % name for name in query.split())
        yield "| `%s %s` | %s | %s | %s |" % (verb, path, ACCESS[access], known, text)


def metrics():
    yield "| metric | type | labels | meaning |"
    yield "|---|---|---|---|"
    for _name, text, kind, labels, meaning in rows("src/observe/metrics.def", "METRIC"):
        names = " ".join("`%s`" % label for label in labels.split(",") if label)
        yield "| `%s` | %s | %s | %s |" % (text, kind.lower(), names, meaning)


def main():
    failed = False
    for page, name, table in (("docs/http.md", "routes", routes), ("docs/metrics.md", "metrics", metrics)):
        path = TOP / page
        text = path.read_text()
        pattern = re.compile(r"(<!-- table: %s -->\n).*?(<!-- end -->)" % name, re.S)
        if not pattern.search(text):
            sys.exit("%s: there is no place for the table %s" % (page, name))
        made = "\n".join(table()) + "\n"
        wanted = pattern.sub(lambda match: match.group(1) + made + match.group(2), text)
        if wanted == text:
            continue
        if "--write" in sys.argv[1:]:
            path.write_text(wanted)
        else:
            print("%s: its table is not what the program's says; run tools/http_tables.py --write" % page)
            failed = True
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
