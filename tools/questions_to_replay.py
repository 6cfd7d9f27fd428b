#!/usr/bin/env python3
"""Turns a table of questions into a file for `aicache replay`.

usage: questions_to_replay.py TABLE.tsv [--columns NAME,NAME] [--operation qa] > questions.jsonl

TABLE is tab-separated with a header line. Every question is asked in the order in which it appears, row by row and within a row column by
column, repeats included, as one line {"operation", "text"}. Without --columns those whose name begins with "question" are taken, or
all when there are none. Standard error gets the number of questions, how many are distinct, and the hit rate that an exact cache
without limits reaches. Exit status 1: a line has not the header's columns; 2: the table cannot be read, or the arguments are wrong.
"""
import argparse
import json
import sys


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table")
    parser.add_argument("--columns")
    parser.add_argument("--operation", default="qa")
    options = parser.parse_args()
    with open(options.table, encoding="utf-8", newline="\n") as table:
        header = table.readline().rstrip("\r\n").split("\t")
        names = options.columns.split(",") if options.columns else [name for name in header if name.startswith("question")] or header
        try:
            wanted = [header.index(name) for name in names]
        except ValueError as error:
            parser.error(f"{error}; the columns are {', '.join(header)}")
        asked, distinct = 0, set()
        for number, line in enumerate(table, 2):
            fields = line.rstrip("\r\n").split("\t")
            if len(fields) != len(header):
                sys.exit(f"{options.table}:{number}: {len(fields)} columns, the header has {len(header)}")
            for column in wanted:
                if fields[column]:
                    asked += 1
                    distinct.add(fields[column])
                    print(json.dumps({"operation": options.operation, "text": fields[column]}, ensure_ascii=False))
    rate = 100 * (asked - len(distinct)) / asked if asked else 0
    print(f"{asked} questions, {len(distinct)} distinct: {rate:.2f} % can be hits", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except (OSError, UnicodeDecodeError) as problem:
        name = getattr(problem, "filename", None)
        print(f"questions_to_replay.py: {f'{name}: {problem.strerror}' if name else problem}", file=sys.stderr)
        sys.exit(2)
