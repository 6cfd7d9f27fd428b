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


def rows(path, macros):
    """The macro and the arguments of each row of an X-macro table."""
    text = re.sub(r"/\*.*?\*/", "", (TOP / path).read_text(), flags=re.S)
    for match in re.finditer(r"^(%s)\((.*?)\)$" % macros, text, flags=re.S | re.M):
        fields = re.findall(r'"(?:[^"\\]|\\.)*"|[^,\s]+', match.group(2))
        yield match.group(1), [field[1:-1].replace('\\"', '"') if field.startswith('"') else field for field in fields]


def routes():
    yield "| route | needs | query | does |"
    yield "|---|---|---|---|"
    for _macro, (verb, path, _handler, _body, access, query, text) in rows("src/serve/routes/routes.def", "ROUTE"):
        known = "any" if query == "NULL" else " ".join("`%s`" % name for name in query.split())
        yield "| `%s %s` | %s | %s | %s |" % (verb, path, ACCESS[access], known, text)


def figures():
    """Every row of the table of figures: metric, type, labels, path in the status, help. Rows of one metric share its help."""
    helps = {}
    for macro, fields in rows("src/base/figures.def", "FIGURE|FAMILY"):
        if macro == "FIGURE":
            owner, _name, kind, metric, labels, path, words = fields
            names = re.findall(r"([a-z_]+)=([a-z_]+)", labels)
        else:
            (_name, kind, metric, labels, words), path = fields, ""
            names = [(name, "") for name in labels.split(",") if name]
        words = helps.setdefault(metric, words) if metric else words
        yield metric, kind.replace("REAL_", "").lower(), names, path, words


def metrics():
    yield "| metric | type | labels | in the status | meaning |"
    yield "|---|---|---|---|---|"
    for metric, kind, names, path, words in figures():
        if metric:
            labels = " ".join("`%s`" % (name + '="' + value + '"' if value else name) for name, value in names)
            yield "| `%s` | %s | %s | %s | %s |" % (metric, kind, labels, "`%s`" % path if path else "", words)


def others():
    yield "| in the status | type | meaning |"
    yield "|---|---|---|"
    for metric, kind, _names, path, words in figures():
        if not metric:
            yield "| `%s` | %s | %s |" % (path, kind, words)


def main():
    failed = False
    for page, name, table in (("docs/http.md", "routes", routes), ("docs/metrics.md", "metrics", metrics),
                              ("docs/metrics.md", "others", others)):
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
