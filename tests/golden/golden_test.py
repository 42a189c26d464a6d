"""The program against the independent implementation: golden frames, both ways, and freshly made ones.

    golden_test.py PATH/TO/fewbits
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy as np
import xxhash

from frame_format import Codec, Refused, read_header

HERE = pathlib.Path(__file__).parent
PROGRAM = sys.argv.pop()
CASES = json.loads((HERE / "cases.json").read_text())


def fewbits(*arguments):
    result = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    if result.returncode != 0:
        raise AssertionError(f"fewbits {' '.join(map(str, arguments))}: {result.stderr}")
    return result.stdout


def load(path):
    """Layout and values of an .npy or .npz."""
    data = np.load(path)
    arrays = {"": data} if path.suffix == ".npy" else dict(data)
    return [(name, a.shape) for name, a in arrays.items()], np.concatenate([a.reshape(-1) for a in arrays.values()])


class Golden(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)

    def test_there_are_golden_frames(self):
        self.assertGreaterEqual(len(CASES), 60)

    def test_the_program_encodes_to_the_golden_bytes(self):
        for case in CASES:
            if "inexact" in case:
                continue
            with self.subTest(case["name"]):
                out = self.folder / "out.fb"
                fewbits("encode", "--plan", case["plan"], "--seed", case["seed"], "--round", case["round"], "--client",
                        case["client"], HERE / "updates" / case["update"], out)
                self.assertEqual(out.read_bytes(), (HERE / "frames" / f"{case['name']}.fb").read_bytes())

    def test_the_program_decodes_golden_frames_to_the_golden_floats(self):
        for case in CASES:
            with self.subTest(case["name"]):
                like = HERE / "updates" / case["update"]
                back = self.folder / ("back" + like.suffix)
                frame = HERE / "frames" / f"{case['name']}.fb"
                fewbits("decode", "--plan", case["plan"], "--seed", case["seed"], "--like", like, frame, back)
                layout, values = load(back)
                self.assertEqual(layout, load(like)[0])
                if "inexact" in case:
                    codec = Codec(case["plan"], layout)
                    want = codec.expand(codec.decode(frame.read_bytes(), case["seed"]), case["seed"], case["round"])
                    np.testing.assert_allclose(values, want, rtol=1e-5, atol=1e-5 * np.abs(want).max())
                else:
                    self.assertEqual(xxhash.xxh3_64_hexdigest(values.tobytes()), case["decoded_xxh3"])

    def test_headers_agree(self):
        for case in CASES:
            with self.subTest(case["name"]):
                path = HERE / "frames" / f"{case['name']}.fb"
                theirs = json.loads(fewbits("inspect", "--json", path))
                ours = read_header(path.read_bytes())
                for field in ("version", "required_flags", "optional_flags", "round", "client", "checksum", "header_bytes"):
                    self.assertEqual(theirs[field], ours[field])
                self.assertEqual(int(theirs["fingerprint"], 16), ours["fingerprint"])
                self.assertEqual([(s["offset"], s["bytes"]) for s in theirs["sections"]], ours["sections"])

    def test_fresh_frames_of_the_program_are_read_alike(self):
        draw = np.random.default_rng(7)
        plans = ["hadamard+quantize:bits=3+zstd", "quantize:bits=2+zstd:level=19", "f32+zstd", "mask:keep=0.3+quantize:bits=6,block=50",
                 "hadamard+mask:keep=0.1+quantize:bits=1", "*=bf16+zstd"]
        for plan in plans:
            for size in (1, 5, 513, 3000):
                with self.subTest(plan=plan, size=size):
                    update, frame, back = self.folder / "u.npy", self.folder / "u.fb", self.folder / "b.npy"
                    np.save(update, draw.standard_normal(size).astype(np.float32) ** 3)
                    fewbits("encode", "--plan", plan, "--seed", 11, "--round", 12, "--client", size, update, frame)
                    fewbits("decode", "--plan", plan, "--seed", 11, "--size", size, frame, back)
                    ours = Codec(plan, [("", (size,))]).decode(frame.read_bytes(), 11)
                    np.testing.assert_array_equal(np.load(back), ours)

    def test_the_reader_refuses_what_the_format_refuses(self):
        for name in ("quantize3", "hadamard_mask", "rules", "f16_half"):
            case = next(c for c in CASES if c["name"] == name)
            codec = Codec(case["plan"], load(HERE / "updates" / case["update"])[0])
            frame = (HERE / "frames" / f"{name}.fb").read_bytes()
            for end in range(len(frame)):
                with self.assertRaises(Refused):
                    codec.decode(frame[:end], case["seed"])
            with self.assertRaises(Refused):
                codec.decode(frame + b"\0", case["seed"])


if __name__ == "__main__":
    unittest.main()
