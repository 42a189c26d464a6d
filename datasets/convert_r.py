#!/usr/bin/env python3
"""Writes a data frame of an R package as CSV, without R.

    convert_r.py DATA NAME OUT.csv [--sha256 SUM]

DATA is the path of DATA.rdx and DATA.rdb, R's "lazy-load database": the .rdx is an index, the .rdb holds the objects, each
as 4 bytes of its unpacked length and a zlib stream of R's serialization (XDR, versions 2 and 3: "R Internals", 1.8).
Factors are written by the names of their levels. --sha256 is what the .rdb must have.
"""

import argparse
import csv
import hashlib
import pathlib
import struct
import sys
import zlib

# Types of R's objects that data frames and indices are made of; the other codes stand for objects without content.
SYMBOL, PAIRS, TEXT, LOGICAL, INTEGER, REAL, STRINGS, LIST = 1, 2, 9, 10, 13, 14, 16, 19
NIL, GLOBAL, REFERENCE, PERSISTENT = 254, 253, 255, 247
HAS_ATTRIBUTES, HAS_TAG = 0x200, 0x400
NO_INTEGER = -2**31  # R's NA


class Value:
    """An R vector or list: its items, and its attributes by name."""

    def __init__(self, items):
        self.items = items
        self.attributes = {}

    def named(self):
        return dict(zip(self.attributes["names"].items, self.items))


class Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0
        self.references = []

    def take(self, size):
        if size < 0 or size > len(self.data) - self.at:
            sys.exit("convert_r: the serialization is cut short")
        self.at += size
        return self.data[self.at - size:self.at]

    def numbers(self, code, count):
        return list(struct.unpack(f">{count}{code}", self.take(count * struct.calcsize(">" + code))))

    def integer(self):
        return self.numbers("i", 1)[0]

    def header(self):
        if self.take(2) != b"X\n":
            sys.exit("convert_r: no XDR serialization of R")
        version, _, _ = self.numbers("i", 3)
        if version not in (2, 3):
            sys.exit(f"convert_r: serialization of version {version}, only 2 and 3 are known")
        if version == 3:
            self.take(self.integer())  # the encoding's name

    def refer(self, item):
        self.references.append(item)
        return item

    def pairs(self, flags):
        """A chain of (name, value), as attributes are kept."""
        found = {}
        while flags & 0xFF == PAIRS:
            if flags & HAS_ATTRIBUTES:
                self.item()
            name = self.item() if flags & HAS_TAG else None
            found[name] = self.item()
            flags = self.integer()
        return found

    def item(self):
        flags = self.integer()
        kind = flags & 0xFF
        if kind in (NIL, GLOBAL):
            return None
        if kind == SYMBOL:
            return self.refer(self.item())
        if kind == REFERENCE:
            number = flags >> 8 or self.integer()
            if not 0 < number <= len(self.references):
                sys.exit(f"convert_r: reference {number} of {len(self.references)}")
            return self.references[number - 1]
        if kind == PERSISTENT:
            self.integer()
            return self.refer([self.item() for _ in range(self.integer())])
        if kind == PAIRS:
            return self.pairs(flags)
        if kind == TEXT:
            size = self.integer()
            return None if size == -1 else self.take(size).decode()
        return self.vector(kind, flags)

    def vector(self, kind, flags):
        count = self.integer()
        if kind in (LOGICAL, INTEGER):
            value = Value(self.numbers("i", count))
        elif kind == REAL:
            value = Value(self.numbers("d", count))
        elif kind in (STRINGS, LIST):
            value = Value([self.item() for _ in range(count)])
        else:
            sys.exit(f"convert_r: R's type {kind} is not known")
        if flags & HAS_ATTRIBUTES:
            value.attributes = self.pairs(self.integer())
        return value


def unserialize(data):
    reader = Reader(data)
    reader.header()
    return reader.item()


def read_object(data, name):
    """The object `name` of DATA.rdx and DATA.rdb."""
    index = unserialize(zlib.decompress(pathlib.Path(data + ".rdx").read_bytes(), wbits=47))  # zlib or gzip
    variables = index.named()["variables"].named()
    if name not in variables:
        sys.exit(f"convert_r: no {name} in {data}.rdx; there are: {', '.join(sorted(variables))}")
    begin, size = variables[name].items
    block = pathlib.Path(data + ".rdb").read_bytes()[begin:begin + size]
    unpacked = zlib.decompress(block[4:])
    if len(block) != size or len(unpacked) != int.from_bytes(block[:4], "big"):
        sys.exit(f"convert_r: {name} is cut short in {data}.rdb")
    return unserialize(unpacked)


def text_of(column):
    """The column's entries as they are written; a factor's are the names of its levels."""
    levels = column.attributes.get("levels")
    if levels is not None:
        return ["" if i == NO_INTEGER else levels.items[i - 1] for i in column.items]
    return ["" if item in (NO_INTEGER, None) else item for item in column.items]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", help="path of the .rdx and .rdb, without the ending")
    parser.add_argument("name", help="the data frame")
    parser.add_argument("out", help="the CSV file to write")
    parser.add_argument("--sha256", help="checksum that the .rdb must have")
    options = parser.parse_args()
    found = hashlib.sha256(pathlib.Path(options.data + ".rdb").read_bytes()).hexdigest()
    if options.sha256 not in (None, found):
        sys.exit(f"convert_r: {options.data}.rdb has SHA-256 {found}, expected {options.sha256}")
    frame = read_object(options.data, options.name).named()
    with open(options.out, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(frame)
        writer.writerows(zip(*map(text_of, frame.values())))


if __name__ == "__main__":
    main()
