"""Frames made by hand, with a checksum that is right: the program and the independent reader refuse the same ones, and
read the others alike.

    refusals_test.py PATH/TO/fewbits
"""
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

import numpy as np
import zstandard

from frame_format import NONE, Codec, Keys, Refused, checksum, varint, write_runs

PROGRAM = sys.argv.pop()
SEED = 5
READ, REFUSED = True, False
LARGEST = float(np.finfo(np.float32).max)


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


def zstd(data, **options):
    return zstandard.ZstdCompressor(**options).compress(data)


def dithered(plan, size, settings, points=(), runs=()):
    """A section of `dither` or `trellis` with these points, whether a writer would make it or not."""
    quantizer = Codec(plan, [("v", (size,))]).chains[0].quantizer
    quantizer.settings = settings
    classes = quantizer.classes(runs)
    opened = quantizer.open(Keys(SEED, 0, 0, 0), classes, settings)
    return quantizer.section(runs, classes, opened, points)


# plan, size, then bytes of a section and whether they are a frame's.
SECTIONS = {
    ("quantize:bits=3", 5): [
        (floats(-1, 2) + b"\x21\x03\x0b", READ),              # planes of 2 bits and of 1: 10 and 5 bits
        (floats(-1, 2) + b"\x21\x07\x0b", REFUSED),           # padding of the first plane
        (floats(-1, 2) + b"\x21\x03\x2b", REFUSED),           # padding of the second
        (floats(-1, 2) + b"\x21\x03", REFUSED),
        (floats(-1, 2) + b"\x21\x03\x0b\x00", REFUSED),
        (floats(2, -1) + b"\x21\x03\x0b", REFUSED),           # lo > hi
        (floats(-1, float("inf")) + b"\x21\x03\x0b", REFUSED),
        (floats(float("-inf"), 1) + b"\x21\x03\x0b", REFUSED),
        (floats(float("nan"), 1) + b"\x21\x03\x0b", REFUSED),
        (floats(0, float("nan")) + b"\x21\x03\x0b", REFUSED),
        (floats(-0.0, 1) + b"\x21\x03\x0b", REFUSED),
        (floats(-1, -0.0) + b"\x21\x03\x0b", REFUSED),
        (floats(2, 2) + b"\x00\x00\x00", READ),
        (floats(2, 2) + b"\x00\x00\x01", REFUSED),            # symbols in a block of one value
        (floats(-LARGEST, LARGEST) + b"\x21\x03\x0b", READ),
        (floats(-2e-45, 2e-45) + b"\x21\x03\x0b", READ),
        (floats(-1, 2)[:7], REFUSED),
        (b"", REFUSED)],
    ("quantize:bits=2,block=2", 3): [
        (floats(0, 1, 4, 4) + b"\x0d", READ),
        (floats(0, 1, 4, 4) + b"\x1d", REFUSED),              # a symbol in the second block, of one value
        (floats(0, 1, 5, 4) + b"\x0d", REFUSED)],
    ("lloyd:bits=2", 3): [
        (floats(0.5) + b"\x1b", READ), (floats(0.5) + b"\x5b", REFUSED), (floats(-0.5) + b"\x1b", REFUSED),
        (floats(0) + b"\x00", READ), (floats(0) + b"\x10", REFUSED), (floats(-0.0) + b"\x00", REFUSED),
        (floats(1e-45) + b"\x1b", READ), (floats(LARGEST / 2) + b"\x16", READ), (floats(LARGEST) + b"\x1b", REFUSED),
        (floats(float("inf")) + b"\x1b", REFUSED), (floats(float("nan")) + b"\x1b", REFUSED),
        (floats(0.5), REFUSED), (floats(0.5)[:3], REFUSED)],
    ("tcq:bits=2", 3): [
        (floats(0.5) + b"\x1b", READ), (floats(0.5) + b"\x5b", REFUSED), (floats(-0.5) + b"\x1b", REFUSED),
        (floats(0) + b"\x00", READ), (floats(0) + b"\x10", REFUSED), (floats(-0.0) + b"\x00", REFUSED),
        (floats(1e-45) + b"\x1b", READ), (floats(LARGEST / 2) + b"\x16", READ), (floats(LARGEST) + b"\x1b", REFUSED),
        (floats(float("inf")) + b"\x1b", REFUSED), (floats(float("nan")) + b"\x1b", REFUSED),
        (floats(0.5), REFUSED), (floats(0.5)[:3], REFUSED)],
    ("tcq:bits=1", 0): [(b"", READ), (floats(0), REFUSED)],
    ("lloyd:bits=1", 0): [(b"", READ), (floats(0), REFUSED)],
    ("ecsq:bits=1+pack", 2): [                                 # planes of 8 bits and of 4
        (floats(1) + b"\x01\x02\x00", READ), (floats(1) + b"\xfe\xfd\xff", READ), (floats(1) + b"\xff\x00\x0f", REFUSED),
        (floats(1) + b"\x00\x00\x00", REFUSED), (floats(0) + b"\x00\x00\x00", READ), (floats(0) + b"\x00\x01\x00", REFUSED),
        (floats(-1) + b"\x01\x02\x00", REFUSED), (floats(-0.0) + b"\x00\x00\x00", REFUSED),
        (floats(float("inf")) + b"\x01\x02\x00", REFUSED), (floats(LARGEST) + b"\x01\x02\x00", READ),
        (floats(LARGEST) + b"\x03\x02\x00", REFUSED), (floats(1) + b"\x01\x02", REFUSED)],
    ("ecsq:bits=1+pack", 0): [(b"", READ), (floats(0), REFUSED)],
    ("qsgd:levels=2,bucket=2+pack", 3): [
        (floats(1, 2) + b"\x1c\x00\x00", REFUSED), (floats(1, 2) + b"\x1b\x00", READ), (floats(1, 2) + b"\x0c\x01", READ),
        (floats(1, 2) + b"\x0c\x03", REFUSED),               # symbol 7 of 5
        (floats(1, 2) + b"\x48\x01", REFUSED), (floats(1, 2) + b"\x08\x09", REFUSED), (floats(1, 0) + b"\x03\x00", READ), (floats(1, 0) + b"\x10\x00", REFUSED),
        (floats(-1, 2) + b"\x1b\x00", REFUSED), (floats(1, -0.0) + b"\x03\x00", REFUSED),
        (floats(1, float("inf")) + b"\x1b\x00", REFUSED), (floats(float("nan"), 1) + b"\x1b\x00", REFUSED),
        (floats(1, LARGEST) + b"\x1b\x00", READ), (floats(1), REFUSED), (floats(1, 2), REFUSED)],
    ("ternary+pack", 3): [
        (floats(1) + b"\x09", READ), (floats(1) + b"\x0c", REFUSED), (floats(1) + b"\x49", REFUSED),
        (floats(0) + b"\x00", READ), (floats(0) + b"\x01", REFUSED), (floats(-1) + b"\x09", REFUSED),
        (floats(-0.0) + b"\x00", REFUSED), (floats(float("inf")) + b"\x00", REFUSED), (floats(1), REFUSED)],
    ("ternary+pack", 0): [(b"", READ), (floats(0), REFUSED)],
    ("natural", 2): [                                          # planes of 8 bits and of 1: low bytes, then high bits
        (b"\x00\x00\x00\x00", READ), (b"\x00\x01\x02\x03", READ), (b"\x00\xff\x00\x00", READ),
        (b"\x00\xff\xfe\x01", REFUSED), (b"\x00\xfe\xff\x01", READ), (b"\x00\xfe\x01\x01", READ),
        (b"\x00\xff\x01\x04", REFUSED), (b"\x02\x00\x00\x00", REFUSED), (b"\x01\x00\x00\x00", REFUSED),
        (b"\x01\xd1\x00\x01", READ), (b"\x01\xd0\x00\x01", REFUSED), (b"\x01\xd0\xcf\x03", REFUSED),
        (b"\x01\xd2\xcf\x03", READ), (b"\x01\xfe\x01\x01", READ), (b"\x01\xfd", REFUSED), (b"", REFUSED)],
    ("natural", 0): [(b"", READ), (b"\x00", REFUSED)],
    ("sign", 3): [
        (floats(2) + b"\x05", READ), (floats(2) + b"\x0d", REFUSED), (floats(0) + b"\x00", READ),
        (floats(0) + b"\x01", REFUSED), (floats(-2) + b"\x05", REFUSED), (floats(-0.0) + b"\x00", REFUSED),
        (floats(float("nan")) + b"\x05", REFUSED), (floats(2), REFUSED), (floats(LARGEST) + b"\x02", READ)],
    ("f16", 2): [
        (b"\x00\x3c\xff\x7b", READ), (b"\x00\x80\x01\x00", READ), (b"\x00\x7c\x00\x00", REFUSED),
        (b"\x00\x00\x00\xfc", REFUSED), (b"\x01\x7e\x00\x00", REFUSED)],
    ("bf16", 2): [
        (b"\x80\x3f\x7f\x7f", READ), (b"\x00\x80\x01\x00", READ), (b"\x80\x7f\x00\x00", REFUSED),
        (b"\x00\x00\xc1\xff", REFUSED)],
    ("f32", 2): [
        (floats(1, LARGEST), READ), (floats(-0.0, 1e-45), READ), (floats(float("inf"), 0), REFUSED),
        (floats(0, float("nan")), REFUSED), (floats(1), REFUSED), (floats(1, 2, 3), REFUSED)],
    ("mask:keep=0.25,seed=round+f32", 4): [
        (floats(LARGEST / 4), READ), (floats(LARGEST / 2), REFUSED)],          # times 4: beyond float32
    ("f32", 0): [
        (b"", READ), (b"\x00", REFUSED)],
    ("f32+zstd", 0): [
        (b"", READ), (zstd(b""), REFUSED)],
    ("f32+zstd", 2): [
        (zstd(floats(1, 2)), READ), (zstd(floats(1, 2), write_content_size=False), READ),
        (zstd(floats(1, 2), write_checksum=True), READ), (zstd(floats(1, 2))[:-1], REFUSED),
        (zstd(floats(1, 2), compression_params=zstandard.ZstdCompressionParameters.from_level(
            3, window_log=30, write_content_size=False)), READ),
        (zstd(floats(1, 2)) + b"\x00", REFUSED), (zstd(floats(1)), REFUSED), (zstd(floats(1, 2, 3)), REFUSED),
        (zstd(floats(1, 2)) + zstd(b""), REFUSED), (zstd(floats(1)) + zstd(floats(2)), REFUSED),
        (b"\x50\x2a\x4d\x18\0\0\0\0" + zstd(floats(1, 2)), REFUSED),
        (zstd(floats(1, 2)) + b"\x50\x2a\x4d\x18\0\0\0\0", REFUSED), (floats(1, 2), REFUSED), (b"", REFUSED)],
    ("f32+rans", 0): [
        (b"", READ), (b"\x00", REFUSED)],
    ("f32+rans", 2): [
        (b"\x00" + floats(1, 2), READ), (b"\x00" + floats(1, float("inf")), REFUSED), (b"\x00" + floats(1), REFUSED),
        (b"\x00" + floats(1, 2) + b"\x00", REFUSED), (floats(1, 2), REFUSED), (b"", REFUSED), (b"\x02", REFUSED),
        *((bytes([way]) + floats(1, 2), REFUSED) for way in (1, 2, 3, 4, 8, 16, 18, 32, 34, 64, 66, 128, 130, 255))],
    ("quantize:bits=4+zstd", 2): [
        (floats(0, 1) + zstd(b"\xf0"), READ), (floats(1, 1) + zstd(b"\x01"), REFUSED), (zstd(b"\xf0"), REFUSED)],
    ("quantize:bits=4+zstd", 3): [
        (floats(0, 1) + zstd(b"\xf0\x01"), READ), (floats(0, 1) + zstd(b"\xf0\x11"), REFUSED)],    # padding
}
STEP, LEVEL, BLOCKS = "dither:step=1,scale=flat", "trellis:bits=2,scale=flat", "dither:bits=2,scale=block:2"
FINE, FAR = "dither:step=1e-20,scale=flat", (1 << 30) + 4
SECTIONS |= {
    (STEP, 2): [
        (b"\xff", READ), (b"\xff\x00", REFUSED), (b"\xfe", REFUSED), (b"\xe0", REFUSED), (b"\xe0\x00", REFUSED), (b"", REFUSED),
        (dithered(STEP, 2, (6, 0, 4), (3, -1)), READ), (b"\x01" + dithered(STEP, 2, (0, 0, 4), (3, -1))[1:], REFUSED),
        (dithered(STEP, 2, (0, 0, 4), (3, -1))[:-1], REFUSED), (dithered(STEP, 2, (0, 0, 4), (3, -1)) + b"\0", REFUSED),
        (dithered(STEP, 2, (0, 0, -1200), (5, 0)), READ), (dithered(STEP, 2, (0, 0, -1201), (5, 0)), REFUSED),
        (dithered(STEP, 2, (0, 0, 1200), (5, 0)), READ), (dithered(STEP, 2, (0, 0, 1201), (5, 0)), REFUSED),
        (b"\x00\x80\x00" + dithered(STEP, 2, (0, 0, 0), (1, 0))[2:], REFUSED),
        (b"\x00" + varint(2 ** 64 - 1) + dithered(STEP, 2, (0, 0, 0), (1, 0))[2:], REFUSED)],
    (FINE, 1): [
        (dithered(FINE, 1, (0, 0, -266), (FAR,)), READ), (dithered(FINE, 1, (0, 0, -266), (FAR + 1,)), REFUSED),
        (dithered(FINE, 1, (0, 0, -266), (-FAR,)), READ), (dithered(FINE, 1, (0, 0, -266), (-FAR - 1,)), REFUSED),
        (dithered(FINE, 1, (0, 0, -266), (1 << 32,)), REFUSED), (dithered(FINE, 1, (0, 0, -150), (FAR,)), READ)],
    (LEVEL, 3): [
        (b"\xff\xff", READ), (b"\xff\xff\x00", REFUSED), (b"\xff", REFUSED), (b"\xfe\xff" + b"\x00\x04\x00", REFUSED),
        (b"\x00\xe0\x00", REFUSED), (dithered(LEVEL, 3, (2, 1100, -3), (2, -1, 0)), READ),
        (dithered(LEVEL, 3, (2, 8189, -3), (2, 0, 4)), READ), (dithered(LEVEL, 3, (2, 8190, -3), (2, 0, 4)), REFUSED),
        (dithered(LEVEL, 3, (0, 8191, -3), (2, 0, 4)), REFUSED), (dithered(LEVEL, 3, (0, 0, 0)), READ),
        (dithered(LEVEL, 3, (0, 0, 0)) + b"\1\0\1", REFUSED), (dithered(LEVEL, 3, (0, 1100, 1200), (2, 0, 4)), REFUSED)],  # infinity
    (BLOCKS, 5): [
        (dithered(BLOCKS, 5, (1, 1100, 0), (2, 0, 0), [[NONE, 4, -5]]), READ),
        (dithered(BLOCKS, 5, None, (), [[NONE] * 3]), READ), (dithered(BLOCKS, 5, None, (), [[NONE, 0, NONE]]), REFUSED),
        (varint(0) + b"\xff\xff", REFUSED),
        *[(write_runs([[0, 7, -9]], [head]) + b"\x00\x00\x00", READ) for head in ((0, 0, 0), (0, 1, 0), (-900, 0, 0), (2047, 1, 0), (0, 2, 2), (0, 2, 63))],
        *[(write_runs([[0, 7, -9]], [head]) + b"\x00\x00\x00", REFUSED) for head in ((0, 3, 0), (0, 2, 0), (0, 2, 1))],
        *[(write_runs([[NONE] * 3], [(base, way, 0)]) + b"\xff\xff", READ) for base in (-2048, 2047) for way in (0, 1)],
        *[(dithered(BLOCKS, 5, None, (), [[NONE] * 3])[:-2] + struct.pack("<H", code) + b"\0", REFUSED) for code in (0, 1100)],
        (dithered(BLOCKS, 5, (1, 1700, -9), (2, 0, 5), [[NONE, -1300, -2400]]), READ),   # like −1200 twice
        (dithered(BLOCKS, 5, (1, 1700, -1200), (2, 0, 5), [[NONE, -3, -1200]]), READ),
        (dithered(BLOCKS, 5, (1, 1700, 1200), (2, 0, 5), [[NONE, -1300, -1200]]), READ),
        (dithered(BLOCKS, 5, (1, 1700, 0), (2, 0, 5), [[NONE, 2400, 2400]]), REFUSED),   # infinity
        (dithered(BLOCKS, 5, (1, 1700, -1200), (2, 0, 5), [[NONE, 2400, 1]]), READ),
        (dithered(BLOCKS, 5, (1, 1700, -1200), (2, 0, 5), [[NONE, 2401, 1]]), REFUSED),
        (dithered(BLOCKS, 5, (1, 1700, -1200), (2, 0, 5), [[NONE, 1, -2401]]), REFUSED)],
}


HEADERS = [  # must-understand flags, flags that may be ignored, round, client
    ((0, 0, b"\x00", b"\x00"), READ), ((0, 255, b"\x00", b"\x00"), READ), ((2, 0, b"\x00", b"\x00"), REFUSED),
    ((128, 0, b"\x00", b"\x00"), REFUSED), ((1, 0, b"\x00", b"\x00"), REFUSED),
    ((0, 0, b"\xff\xff\xff\x7f", b"\x00"), READ), ((0, 0, b"\x80\x80\x80\x80\x01", b"\x00"), REFUSED),
    ((0, 0, b"\x80\x00", b"\x00"), REFUSED), ((0, 0, b"\x00", b"\x80\x00"), REFUSED),
    ((0, 0, b"\x00", b"\xff" * 9 + b"\x01"), READ), ((0, 0, b"\x00", b"\xff" * 9 + b"\x02"), REFUSED),
    ((0, 0, b"\x00", b"\xff" * 9 + b"\x81\x00"), REFUSED), ((0, 0, b"\x00", b"\x80" * 10 + b"\x01"), REFUSED),
]
TWO, A, B = "<3=f32; *=f16", floats(1, 2), b"\x00\x3c" * 3
TABLES = [  # flags, then what follows the checksum
    (1, b"\x02\x08" + A + B, READ), (1, b"\x03\x08" + A + B, REFUSED), (1, b"\x01" + A + B, REFUSED),
    (1, b"\x00" + A + B, REFUSED), (1, b"\x82\x00\x08" + A + B, REFUSED), (1, b"\x02\x88\x00" + A + B, REFUSED),
    (1, b"\x02\x07" + A + B, REFUSED), (1, b"\x02\x0a" + A + B, REFUSED), (0, b"\x02\x08" + A + B, REFUSED),
    (0, A + B, REFUSED), (1, b"\x02" + b"\xff" * 9 + b"\x01" + A + B, REFUSED), (1, b"\xff" * 9 + b"\x01\x08" + A + B, REFUSED),
    (1, b"\x03\x08" + A + b"\x06" + B, REFUSED), (1, b"\x02\x08" + A + B + b"\x00", REFUSED), (1, b"\x02", REFUSED), (1, b"", REFUSED),
]


class Refusals(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)

    def judge(self, plan, layout, frame, good):
        like, path, back = self.folder / "like.npz", self.folder / "frame.fb", self.folder / "back.npz"
        np.savez(like, **{name: np.zeros(shape, np.float32) for name, shape in layout})
        path.write_bytes(frame)
        codec = Codec(plan, layout)
        result = subprocess.run([PROGRAM, "decode", "--plan", plan, "--seed", str(SEED), "--like", like, path, back],
                                capture_output=True, text=True)
        self.assertEqual(result.returncode, 0 if good else 2, result.stderr)
        if not good:
            with self.assertRaises(Refused):
                codec.decode(frame, SEED)
            return
        theirs = np.concatenate([array.reshape(-1) for array in dict(np.load(back)).values()])
        self.assertEqual(theirs.tobytes(), codec.decode(frame, SEED).tobytes())

    def frame(self, plan, layout, head, body):
        flags, ignored, round_, client = head
        before = bytes([0xFB, 1, flags, ignored]) + struct.pack("<Q", Codec(plan, layout).fingerprint) + round_ + client
        return before + struct.pack("<I", checksum(before, body)) + body

    def test_sections(self):
        for (plan, size), bodies in SECTIONS.items():
            for body, good in bodies:
                with self.subTest(plan=plan, size=size, body=body.hex()):
                    layout = [("v", (size,))]
                    self.judge(plan, layout, self.frame(plan, layout, HEADERS[0][0], body), good)

    def test_headers(self):
        layout = [("v", (2,))]
        for head, good in HEADERS:
            with self.subTest(head=head):
                self.judge("f32", layout, self.frame("f32", layout, head, floats(1, 2)), good)

    def test_tables_of_sections(self):
        layout = [("a", (2,)), ("b", (3,))]
        for flags, body, good in TABLES:
            with self.subTest(flags=flags, body=body.hex()):
                self.judge(TWO, layout, self.frame(TWO, layout, (flags, 0, b"\x00", b"\x00"), body), good)

    def test_other_magic_version_fingerprint_and_checksum(self):
        layout = [("v", (2,))]
        frame = self.frame("f32", layout, HEADERS[0][0], floats(1, 2))
        for at in (0, 1, 4, 11, 14, 17, 18, len(frame) - 1):  # one bit of each, the checksum as it was
            with self.subTest(at=at):
                self.judge("f32", layout, frame[:at] + bytes([frame[at] ^ 4]) + frame[at + 1:], REFUSED)
        for before in (b"\xfc" + frame[1:14], b"\xfb\x02" + frame[2:14], frame[:4] + b"\x00" + frame[5:14]):
            with self.subTest(before=before.hex()):
                self.judge("f32", layout, before + struct.pack("<I", checksum(before, frame[18:])) + frame[18:], REFUSED)


if __name__ == "__main__":
    unittest.main()
