"""datasets/convert_r.py on files made by hand, from chapter 1.8 of "R Internals"."""

import hashlib
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib

PROGRAM = pathlib.Path(__file__).resolve().parents[2] / "datasets" / "convert_r.py"

HEADER = b"X\n" + struct.pack(">iii", 2, 0x040201, 0x020300)
HEADER_3 = b"X\n" + struct.pack(">iii", 3, 0x040201, 0x030500) + struct.pack(">i", 5) + b"UTF-8"
NIL = struct.pack(">i", 254)
NO_INTEGER = -2**31
ATTRIBUTES = 0x200


def text(value):
    return struct.pack(">ii", 9, -1) if value is None else struct.pack(">ii", 9, len(value)) + value.encode()


def symbol(name):
    return struct.pack(">i", 1) + text(name)


def reference(number):
    return struct.pack(">i", number << 8 | 255)


def attributes(*pairs):
    return b"".join(struct.pack(">i", 2 | 0x400) + name + value for name, value in pairs) + NIL


def integers(values, *pairs):
    flags = 13 | (ATTRIBUTES if pairs else 0)
    return struct.pack(f">ii{len(values)}i", flags, len(values), *values) + (attributes(*pairs) if pairs else b"")


def reals(values):
    return struct.pack(f">ii{len(values)}d", 14, len(values), *values)


def strings(*values):
    return struct.pack(">ii", 16, len(values)) + b"".join(map(text, values))


def named(name, **items):
    """A list with names; `name` is the symbol `names`, or a reference to it."""
    return struct.pack(">ii", 19 | ATTRIBUTES, len(items)) + b"".join(items.values()) \
        + attributes((name, strings(*items)))


# Symbols are numbered from 1 as they occur, and are written once.
FRAME = named(symbol("names"),
              who=integers([2, 1, NO_INTEGER], (symbol("levels"), strings("ann", "bob"))),
              age=integers([30, NO_INTEGER, 50]),
              rate=reals([0.5, -1.0, 2.0]),
              town=strings("Ulm", None, "Pau, south"))
CSV = "who,age,rate,town\nbob,30,0.5,Ulm\nann,,-1.0,\n,50,2.0,\"Pau, south\"\n"


class ConvertR(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)

    def write(self, data, frame=FRAME, length=None):
        packed = zlib.compress(data + frame)
        block = struct.pack(">i", len(data + frame) if length is None else length) + packed
        (self.folder / "data.rdb").write_bytes(b"other" + block)
        index = HEADER + named(reference(1), variables=named(symbol("names"), People=integers([5, len(block)])))
        (self.folder / "data.rdx").write_bytes(zlib.compress(index))

    def run_program(self, name="People", *options):
        return subprocess.run([sys.executable, "-B", PROGRAM, self.folder / "data", name, self.folder / "out.csv", *options],
                              capture_output=True, text=True)

    def refusal(self, *arguments):
        result = self.run_program(*arguments)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertFalse((self.folder / "out.csv").exists())
        return result.stderr

    def test_a_frame_of_each_kind_of_column(self):
        for header in (HEADER, HEADER_3):
            self.write(header)
            self.assertEqual(self.run_program().stderr, "")
            self.assertEqual((self.folder / "out.csv").read_text(), CSV)

    def test_the_checksum_is_compared(self):
        self.write(HEADER)
        sha256 = hashlib.sha256((self.folder / "data.rdb").read_bytes()).hexdigest()
        self.assertIn(f"has SHA-256 {sha256}, expected 00", self.refusal("People", "--sha256", "00"))
        self.assertEqual(self.run_program("People", "--sha256", sha256).returncode, 0)

    def test_what_is_not_there_is_said(self):
        self.write(HEADER)
        self.assertIn("no Others in", self.refusal("Others"))

    def test_damage_is_refused(self):
        for size in range(0, len(FRAME), 7):
            self.write(HEADER, FRAME[:size])
            self.assertIn("cut short", self.refusal())
        self.write(HEADER, length=3)
        self.assertIn("cut short", self.refusal())
        self.write(b"A\n")
        self.assertIn("no XDR serialization", self.refusal())
        self.write(HEADER[:5] + b"\4" + HEADER[6:])
        self.assertIn("serialization of version 4", self.refusal())
        self.write(HEADER, reference(1))
        self.assertIn("reference 1 of 0", self.refusal())
        self.write(HEADER, struct.pack(">ii", 15, 0))
        self.assertIn("type 15 is not known", self.refusal())


if __name__ == "__main__":
    unittest.main()
