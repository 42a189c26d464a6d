"""The program against the independent implementation: golden frames, both ways, and freshly made ones.

Where a writer has a choice, golden frames are of one that make_golden.py names. The program's choice may be another: its
frames must then be those that the independent writer makes of the update with the same settings, to the byte.

    golden_test.py PATH/TO/fewbits PATH/TO/golden_library_driver PATH/TO/golden_symbols_driver
"""
import functools
import json
import operator
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy as np
import xxhash

from frame_format import Codec, Rans, Refused, check_distributions, read_header, read_partial_sum

HERE = pathlib.Path(__file__).parent
SYMBOLS_DRIVER = sys.argv.pop()
DRIVER = sys.argv.pop()
PROGRAM = sys.argv.pop()
CASES = json.loads((HERE / "cases.json").read_text())
FREE_CASES = json.loads((HERE / "free_cases.json").read_text())
SUMS = json.loads((HERE / "sums.json").read_text())


def call(path, *arguments):
    result = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True)
    if result.returncode != 0:
        raise AssertionError(f"{path} {' '.join(map(str, arguments))}: {result.stderr}")
    return result.stdout


def fewbits(*arguments):
    return call(PROGRAM, *arguments)


def driver(command, case, client, source, target, layout):
    place = "@{}/{}".format(*case["cohort"]) if "cohort" in case else ""
    call(DRIVER, command, case["plan"], case["seed"], case["round"], f"{client}{place}", source, target,
         *(f"{name}:{','.join(map(str, shape))}" for name, shape in layout))


def cohort_of(case):
    return tuple(case.get("cohort", (0, 1)))


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
        self.assertGreaterEqual(len(CASES), 290)
        self.assertGreaterEqual(len(FREE_CASES), 3)
        self.assertGreaterEqual(len(SUMS), 4)
        files = [f"{case['name']}.fb" for case in CASES + FREE_CASES] + [f"{case['name']}.sum" for case in SUMS]
        files += [name for case in SUMS for name, _ in case["frames"]]
        self.assertEqual(sorted(files), sorted(path.name for path in (HERE / "frames").iterdir()))

    def test_the_program_encodes_to_the_golden_bytes(self):
        for case in CASES:
            if "inexact" in case or "free_bytes" in case:
                continue
            with self.subTest(case["name"]):
                out = self.folder / "out.fb"
                place, size = cohort_of(case)
                fewbits("encode", "--plan", case["plan"], "--seed", case["seed"], "--round", case["round"], "--client",
                        case["client"], "--place", place, "--cohort", size, HERE / "updates" / case["update"], out)
                self.assertEqual(out.read_bytes(), (HERE / "frames" / f"{case['name']}.fb").read_bytes())

    def test_the_program_decodes_golden_frames_to_the_golden_floats(self):
        for case in CASES:
            with self.subTest(case["name"]):
                like = HERE / "updates" / case["update"]
                back = self.folder / ("back" + like.suffix)
                frame = HERE / "frames" / f"{case['name']}.fb"
                layout = load(like)[0]
                place, size = cohort_of(case)
                fewbits("decode", "--plan", case["plan"], "--seed", case["seed"], "--place", place, "--cohort", size, "--like",
                        like, frame, back)
                decoded, values = load(back)
                self.assertEqual(decoded, layout)
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
                for field in ("version", "required_flags", "optional_flags", "round", "client", "checksum",
                              "header_bytes"):
                    self.assertEqual(theirs[field], ours[field])
                self.assertEqual(int(theirs["fingerprint"], 16), ours["fingerprint"])
                self.assertEqual([(s["offset"], s["bytes"]) for s in theirs["sections"]], ours["sections"])

    def test_the_reader_decodes_golden_frames_to_the_golden_floats(self):
        for case in CASES:
            if "inexact" in case:
                continue
            with self.subTest(case["name"]):
                codec = Codec(case["plan"], load(HERE / "updates" / case["update"])[0])
                frame = (HERE / "frames" / f"{case['name']}.fb").read_bytes()
                values = codec.decode(frame, case["seed"], cohort_of(case))
                values = codec.expand(values, case["seed"], case["round"]).astype("<f4")
                self.assertEqual(xxhash.xxh3_64_hexdigest(values.tobytes()), case["decoded_xxh3"])

    def test_tables_of_distributions_have_the_hash_of_the_text(self):
        self.assertTrue(check_distributions())

    def encodes_as_specified(self, case, layout, update):
        """The driver's frame, of the same bytes from the independent writer with the settings of the driver's choice."""
        source, out = self.folder / "in.f32", self.folder / "out.fb"
        source.write_bytes(update.astype("<f4").tobytes())
        driver("encode", case, case["client"], source, out, layout)
        frame, codec = out.read_bytes(), Codec(case["plan"], layout)
        try:
            values = codec.decode(frame, case["seed"], cohort_of(case)).astype("<f4").tobytes()
        except Refused:   # values near the largest, with an error that takes them beyond it
            values = None
        for chain in codec.chains:
            if chain.known:
                chain.quantizer.settings = chain.quantizer.found
                chain.quantizer.by_tensor = chain.quantizer.found_by_tensor
        again = codec.encode(update, case["seed"], case["round"], case["client"], cohort_of(case))
        self.assertEqual(again, frame)
        if values is None:
            with self.assertRaisesRegex(AssertionError, "beyond the range of float32"):
                driver("decode", case, case["client"], out, source, layout)
        else:
            driver("decode", case, case["client"], out, source, layout)
            self.assertEqual(source.read_bytes(), values)

    def test_the_program_encodes_as_specified_with_settings_of_its_choice(self):
        for case in CASES:
            layout, update = load(HERE / "updates" / case["update"])
            if any(chain.known for chain in Codec(case["plan"], layout).chains) and "train=" not in case["plan"]:
                with self.subTest(case["name"]):
                    self.encodes_as_specified(case, layout, update)

    def test_updates_of_many_values_are_encoded_as_specified(self):
        """Several lanes and trellises; in the long version more values than a block of Viterbi's algorithm has."""
        draw = np.random.default_rng(10)
        cases = [("dither:step=8,scale=flat", (17_000,)), ("trellis:step=8,scale=flat,states=8", (33_000,))]
        if os.environ.get("FEWBITS_LONG_TESTS"):
            cases += [("dither:bits=0.7", (20_000,)), ("trellis:bits=0.6", (110, 300)), ("trellis:bits=0.2", (200, 300))]
            cases += [(f"trellis:step={step},scale=flat,states={states}", (140_000,))
                      for step, states in ((1000, 8), (2, 64), (1, 256))]
        for plan, shape in cases:
            with self.subTest(plan=plan):
                update = draw.standard_normal(shape).astype(np.float32).reshape(-1)
                case = {"plan": plan, "seed": 2, "round": 1, "client": 3}
                self.encodes_as_specified(case, [("v", shape)], update)

    def test_free_parameters_are_coded_to_the_golden_bytes_and_back(self):
        for case in FREE_CASES:
            with self.subTest(case["name"]):
                layout = load(HERE / "updates" / case["layout"])[0]
                free, out, back = self.folder / "free.f32", self.folder / "out.fb", self.folder / "back.f32"
                free.write_bytes(load(HERE / "updates" / case["free"])[1].astype("<f4").tobytes())
                driver("encode", case, case["client"], free, out, layout)
                self.assertEqual(out.read_bytes(), (HERE / "frames" / f"{case['name']}.fb").read_bytes())
                driver("decode", case, case["client"], out, back, layout)
                self.assertEqual(xxhash.xxh3_64_hexdigest(back.read_bytes()), case["decoded_xxh3"])

    def test_partial_sums_are_the_golden_bytes(self):
        for case in SUMS:
            with self.subTest(case["name"]):
                layout = load(HERE / "updates" / case["layout"])[0]
                golden = HERE / "frames" / f"{case['name']}.sum"
                frames, out = self.folder / "frames.txt", self.folder / "out.sum"
                frames.write_text("".join(f"{weight!r} {HERE / 'frames' / name}\n" for name, weight in case["frames"]))
                driver("sum", case, 0, frames, out, layout)
                self.assertEqual(out.read_bytes(), golden.read_bytes())
                driver("restore", case, 0, golden, out, layout)
                self.assertEqual(out.read_bytes(), golden.read_bytes())
                read = read_partial_sum(Codec(case["plan"], layout), golden.read_bytes(), case["seed"], case["round"])
                self.assertEqual(len(read["clients"]), len(case["frames"]))

    def test_fresh_frames_of_the_program_are_read_alike(self):
        draw = np.random.default_rng(7)
        plans = ["hadamard+quantize:bits=3+zstd", "quantize:bits=2+zstd:level=19", "f32+zstd", "*=bf16+zstd",
                 "mask:keep=0.3+quantize:bits=6,block=50", "hadamard+mask:keep=0.1+quantize:bits=1",
                 "mask:keep=0.7,seed=round+hadamard:seed=client+hadamard+quantize:bits=7+zstd",
                 "countsketch:rows=3,keep=0.4+f32", "topk:keep=0.05+f32", "topk:keep=0.3+quantize:bits=4", "f32+rans", "hadamard+quantize:bits=3+rans",
                 "mask:keep=0.4+f16+rans"]
        for plan in plans:
            for size in (1, 5, 513, 3000):
                with self.subTest(plan=plan, size=size):
                    update, frame, back = self.folder / "u.npy", self.folder / "u.fb", self.folder / "b.npy"
                    np.save(update, draw.standard_normal(size).astype(np.float32) ** 3)
                    fewbits("encode", "--plan", plan, "--seed", 11, "--round", 12, "--client", size, update, frame)
                    fewbits("decode", "--plan", plan, "--seed", 11, "--size", size, frame, back)
                    ours = Codec(plan, [("", (size,))]).decode(frame.read_bytes(), 11)
                    self.assertEqual(np.load(back).tobytes(), ours.tobytes())

    def test_fresh_frames_of_several_tensors_are_read_alike(self):
        draw = np.random.default_rng(8)
        plans = ["*.b=f32; <200=f16+zstd; *=hadamard+quantize:bits=3", "a.?=quantize:bits=4,block=33+zstd; *=mask:keep=0.4+bf16",
                 "lowrank:rank=1+f32", "lowrank:rank=3+quantize:bits=6,block=23", "predict:rank=1,iterations=2+quantize:bits=3",
                 "train=mask:keep=0.2 | *.b=f32; *=hadamard+quantize:bits=2+zstd", "train=mask:keep=0.2 | <20=f32; *=f16"]
        for plan in plans:
            for rows in (1, 6, 40):
                with self.subTest(plan=plan, rows=rows):
                    update, frame, back = self.folder / "u.npz", self.folder / "u.fb", self.folder / "b.npz"
                    shapes = {"a.w": (rows, 17), "a.b": (17,), "c.w": (2, rows, 3), "c.b": ()}
                    arrays = {name: np.asarray(draw.standard_normal(shape), np.float32) for name, shape in shapes.items()}
                    arrays["a.w"] += 30 * arrays["a.w"][:, :1] * arrays["a.b"]  # mostly of rank one
                    np.savez(update, **arrays)
                    fewbits("encode", "--plan", plan, "--seed", 3, "--round", rows, "--client", 2, update, frame)
                    fewbits("decode", "--plan", plan, "--seed", 3, "--like", update, frame, back)
                    codec = Codec(plan, load(update)[0])
                    ours = codec.expand(codec.decode(frame.read_bytes(), 3), 3, rows).astype(np.float32)
                    self.assertEqual(load(back)[1].tobytes(), ours.tobytes())

    def test_symbols_are_coded_alike(self):
        """Each way of `rans` and all its flags: the driver's bytes are the other implementation's for the same way."""
        draw = np.random.default_rng(9)
        ways = set()

        def gauss(n, alphabet, scale=1.3):
            return np.clip(np.rint(draw.standard_normal(n) * scale + alphabet // 2), 0, alphabet - 1)

        def floats(n, zeros=0.0):
            values = draw.standard_normal(n).astype(np.float32)
            values[draw.random(n) < zeros] = 0
            return values.view(np.uint32)

        def changing(n):
            return np.concatenate([gauss(n // 5, 16, 2.0 ** (j - 3)) for j in range(5)])

        def classes(n, count):
            contexts = draw.integers(0, count, n)
            return np.clip(np.rint(draw.standard_normal(n) * 2.0 ** (contexts - 3) + 8), 0, 15), contexts

        cases = [(16, 1, gauss(n, 16), None) for n in (1, 5, 40, 700)]
        cases += [(3, 1, gauss(200, 3, 0.4), None), (2, 1, gauss(300, 2, 0.6), None), (300, 1, gauss(400, 300, 40), None),
                  (16, 1, np.full(50, 7), None), (1 << 16, 1, floats(600) >> 16, None), (1 << 32, 1, floats(150), None),
                  (1 << 32, 1, floats(150, 0.5), None), (1 << 32, 1, floats(600, 0.5), None),
                  (1 << 17, 1, draw.geometric(0.02, 400), None), (1 << 32, 1, draw.geometric(1e-4, 900), None),
                  (16, 1, changing(2500), None), (16, 6, *classes(500, 6)), (16, 6, *classes(9000, 6)),
                  (1000, 1, draw.integers(0, 1000, 800), None), (5, 1, draw.integers(0, 5, 0), None), (1, 1, np.zeros(9), None),
                  (4, 1, gauss(70_000, 4, 0.8), None), (4, 1, draw.random(70_000) < 0.001, None)]
        for alphabet, count, symbols, contexts in cases:
            contexts = np.zeros(len(symbols), int) if contexts is None else contexts
            with self.subTest(alphabet=alphabet, contexts=count, symbols=len(symbols)):
                paths = [self.folder / name for name in ("in.u32", "contexts.u16", "out.bytes", "back.u32")]
                paths[0].write_bytes(symbols.astype("<u4").tobytes())
                paths[1].write_bytes(contexts.astype("<u2").tobytes())
                call(SYMBOLS_DRIVER, "encode", alphabet, count, paths[0], paths[1], paths[2])
                data = paths[2].read_bytes()
                rans = Rans(alphabet, contexts, count)
                self.assertEqual(rans.read(data, len(symbols)).astype("<u4").tobytes(), paths[0].read_bytes())
                if data and data[0]:
                    ways.add(data[0])
                    self.assertEqual(rans.write(symbols, *rans.found), data)
                # Another way than the program's choice.
                for way in (1, 2, 10) if len(symbols) and alphabet > 1 else ():
                    if way == 10 and alphabet < 4 or len(symbols) > 1000:
                        continue
                    paths[2].write_bytes(rans.write(symbols, way))
                    call(SYMBOLS_DRIVER, "decode", alphabet, count, paths[2], paths[1], paths[3])
                    self.assertEqual(paths[3].read_bytes(), paths[0].read_bytes())
        self.assertEqual({way & 3 for way in ways}, {1, 2})
        self.assertEqual(functools.reduce(operator.or_, ways), 255)

    def test_the_reader_refuses_every_truncation(self):
        for name in ("quantize3", "hadamard_mask", "rules", "f16_half", "zstd_spike", "rans_f16", "rans_zero",
                     "dither_scaled_low", "trellis_zero", "dither_step_zero", "trellis_keep"):
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
