#!/usr/bin/env python3
"""Writes files into a C source as bytes, plain and gzipped, so that the daemon's web page needs no file at run time.

usage: embed.py OUT.c URL=FILE ...
"""
import gzip
import hashlib
import sys

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def array(name, data):
    lines = [f"static const unsigned char {name}[] = {{"]
    for at in range(0, len(data), 20):
        lines.append("    " + ",".join(str(byte) for byte in data[at : at + 20]) + ",")
    return "\n".join(lines + ["};"])


def main():
    out, pairs = sys.argv[1], [pair.split("=", 1) for pair in sys.argv[2:]]
    parts, rows = ['#include "serve/routes/assets.h"', ""], []
    for number, (url, path) in enumerate(pairs):
        with open(path, "rb") as file:
            plain = file.read()
        packed = gzip.compress(plain, 9, mtime=0)
        parts += [array(f"plain_{number}", plain), array(f"packed_{number}", packed), ""]
        kind = TYPES["." + path.rsplit(".", 1)[1]]
        tag = hashlib.sha256(plain).hexdigest()[:16]
        rows.append(
            f'    {{"{url}", "{kind}", "\\"{tag}\\"", {{(const char *)plain_{number}, sizeof plain_{number}}}, '
            f"{{(const char *)packed_{number}, sizeof packed_{number}}}}},"
        )
    parts += ["const struct asset assets[] = {", *rows, "};", "const size_t asset_count = sizeof assets / sizeof assets[0];", ""]
    with open(out, "w", encoding="ascii") as file:
        file.write("\n".join(parts))


main()
