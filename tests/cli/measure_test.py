"""`fewbits measure` from outside: its figures are computed again from real frames, its vectors from the specification.

    measure_test.py PROGRAM
"""

import math
import unittest

import numpy as np

from program import ProgramTest, random_update, run
from frame_format import stream_key, words

FIELDS = ["plan", "coordinates", "bytes", "bits_per_coordinate", "nmse", "bias_ratio", "limit_ratio", "unbiased",
          "encode_ns_per_coordinate", "decode_ns_per_coordinate"]
SYNTHETIC = 104  # purpose of the stream, src/kernels/random.h


def synthetic(n, seed, sigma=None):
    """Box and Muller's normals from the shared generator: two uniforms and a word for the sign a value."""
    random = words(stream_key(seed, SYNTHETIC), 5 * n).astype(np.uint64).reshape(n, 5)
    low, high = random[:, 0:4:2], random[:, 1:4:2]
    uniform = ((high << np.uint64(32) | low) >> np.uint64(11)) * 2.0**-53
    normal = np.sqrt(-2 * np.log(1 - uniform[:, 0])) * np.cos(2 * np.pi * uniform[:, 1])
    if sigma is None:
        return normal.astype(np.float32)
    return (np.where(random[:, 4] >> np.uint64(31), -1, 1) * np.exp(sigma * normal)).astype(np.float32)


class Measure(ProgramTest):
    def measure(self, *arguments):
        return self.json("measure", *arguments)

    def figures(self, plan, file, seed, repeats, member_plan=None):
        """bytes, nmse and bias_ratio by encode and decode alone."""
        x = self.load(file).astype(np.float64)
        sizes, errors, nmse = [], [], []
        for repeat in range(repeats):
            def frame(plan, name):
                run("encode", "--plan", plan, "--seed", seed, "--round", repeat, "--client", repeat, file, name, cwd=self.folder)
                return self.decoded(plan, seed, file, name)
            update = frame(member_plan, "member.fb") if member_plan else x
            errors.append(frame(plan, "a.fb") - update)
            sizes.append((self.folder / "a.fb").stat().st_size)
            nmse.append(np.sum(errors[-1] ** 2) / np.sum(update**2))
        ratio = repeats * np.sum(np.mean(errors, 0) ** 2) / np.mean([np.sum(error**2) for error in errors])
        return np.mean(sizes), np.mean(nmse), ratio

    def test_json_is_a_list_of_objects_with_these_fields(self):
        plans = ["f32", "hadamard+quantize:bits=2", "bf16"]
        found = self.measure(*(word for plan in plans for word in ("--plan", plan)), "--repeats", 3, "normal:1000")
        self.assertEqual([list(one) for one in found], [FIELDS] * 3)
        self.assertEqual([one["plan"] for one in found], plans)
        self.assertEqual([one["unbiased"] for one in found], [True, True, False])
        for one in found:
            self.assertEqual(one["coordinates"], 1000)
            self.assertEqual(one["bits_per_coordinate"], 8 * one["bytes"] / 1000)
            self.assertAlmostEqual(one["limit_ratio"], one["nmse"] * (4 ** one["bits_per_coordinate"] - 1),
                                   delta=1e-9 * abs(one["limit_ratio"]))
            self.assertGreater(one["encode_ns_per_coordinate"], 0)
            self.assertGreater(one["decode_ns_per_coordinate"], 0)
        self.assertEqual((found[0]["nmse"], found[0]["bias_ratio"], found[0]["limit_ratio"]), (0, None, 0))
        self.assertGreater(found[0]["bytes"], 4000)

    def test_figures_are_those_of_frames(self):
        self.save("u.npy", random_update((20, 30)))
        for plan in ("hadamard+quantize:bits=2", "mask:keep=0.2+quantize:bits=4+zstd", "quantize:bits=1"):
            [found] = self.measure("--plan", plan, "--repeats", 4, "--seed", 9, "u.npy")
            size, nmse, ratio = self.figures(plan, "u.npy", 9, 4)
            self.assertAlmostEqual(found["bytes"], size, msg=plan)
            self.assertAlmostEqual(found["nmse"] / nmse, 1, delta=1e-9, msg=plan)
            self.assertAlmostEqual(found["bias_ratio"] / ratio, 1, delta=1e-9, msg=plan)

    def test_a_structured_plan_is_judged_by_the_nearest_member_of_its_family(self):
        self.save("u.npy", random_update((20, 30)))
        for family in ("train=mask:keep=0.25", "train=lowrank:rank=3"):
            plan = family + " | quantize:bits=2"
            [found] = self.measure("--plan", plan, "--repeats", 4, "--seed", 9, "u.npy")
            # f32 carries a member as it is.
            size, nmse, ratio = self.figures(plan, "u.npy", 9, 4, family + " | f32")
            self.assertEqual(found["coordinates"], 600)
            self.assertAlmostEqual(found["bytes"], size, msg=plan)
            self.assertAlmostEqual(found["nmse"] / nmse, 1, delta=1e-6, msg=plan)
            self.assertAlmostEqual(found["bias_ratio"] / ratio, 1, delta=1e-6, msg=plan)
            self.assertLess(found["bits_per_coordinate"], 2)
        self.assertIn("Structured plans:", self.ok("measure", "--plan", plan, "u.npy"))
        self.assertNotIn("Structured plans:", self.ok("measure", "--plan", "f32", "u.npy"))
        # A drawn vector is a member already: without a codec's error there is none.
        [found] = self.measure("--plan", "train=mask:keep=0.25 | f32", "normal:1000")
        self.assertEqual((found["coordinates"], found["nmse"]), (1000, 0))
        self.assertLess(found["bytes"], 1100)

    def test_vectors_are_drawn_from_the_shared_generator(self):
        self.save("normal.npy", synthetic(3000, 5))
        self.save("lognormal.npy", synthetic(3000, 5, 1.0))
        self.save("wide.npy", synthetic(3000, 5, 2.5))
        # Coarse and nonlinear in every value, so that another vector gives another error.
        arguments = ("--plan", "quantize:bits=3", "--seed", 5, "--repeats", 2)
        for name, drawn in (("normal", "normal:3000"), ("lognormal", "lognormal:3000"), ("wide", "lognormal:3000,2.5")):
            [here], [there] = self.measure(*arguments, drawn), self.measure(*arguments, name + ".npy")
            self.assertAlmostEqual(here["nmse"] / there["nmse"], 1, delta=1e-5, msg=drawn)
        self.assertNotEqual(here["nmse"], self.measure(*arguments[:3], 6, *arguments[4:], "lognormal:3000,2.5")[0]["nmse"])

    def test_a_number_of_coordinates_has_three_forms(self):
        found = [self.measure("--plan", "quantize:bits=1", "--repeats", 2, "normal:" + n)[0]
                 for n in ("65536", "2^16", "6.5536e4")]
        for one in found:
            one.pop("encode_ns_per_coordinate")
            one.pop("decode_ns_per_coordinate")
        self.assertEqual(found[0]["coordinates"], 65536)
        self.assertEqual(found, [found[0]] * 3)

    def test_errors_have_the_size_that_theory_gives_and_no_bias(self):
        n, repeats = 4096, 200
        x = synthetic(n, 1).astype(np.float64)
        step = (x.max() - x.min()) / 15
        # A value between two points is wrong by (up)(down) in the mean square.
        place = (x - x.min()) % step
        quantized = np.sum(place * (step - place)) / np.sum(x**2)
        keep = n / round(0.1 * n) - 1
        plans = {"quantize:bits=4": quantized, "mask:keep=0.1+f32": keep}
        for one in self.measure(*(word for plan in plans for word in ("--plan", plan)), "--repeats", repeats, f"normal:{n}"):
            # Of quantize each repeat's error is a sum of n independent terms of relative deviation below 2; of mask the
            # energy of k = n/10 kept values, of relative deviation sqrt(2/k) < 0.07, moves it by 80 times that share.
            self.assertAlmostEqual(one["nmse"] / plans[one["plan"]], 1, delta=6 * 0.07 / math.sqrt(repeats), msg=one["plan"])
            # Of n coordinates each has a ratio of mean 1 and deviation sqrt(2) for normal errors; mask's are spread more,
            # by the fourth moment of one in ten kept: below 12.
            self.assertAlmostEqual(one["bias_ratio"], 1, delta=6 * 3.5 / math.sqrt(n), msg=one["plan"])

    def test_an_npz_is_one_update_with_names(self):
        np.savez(self.folder / "u.npz", **{"w": random_update((30, 40)), "bias": random_update(40)})
        exact, coarse, both = self.measure("--plan", "f32", "--plan", "quantize:bits=1",
                                           "--plan", "bias=f32; *=quantize:bits=1", "u.npz")
        self.assertEqual([one["coordinates"] for one in (exact, coarse, both)], [1240] * 3)
        self.assertEqual(exact["nmse"], 0)
        self.assertGreater(both["bytes"], coarse["bytes"])

    def test_nothing_is_wrong_with_zeros_and_with_nothing(self):
        self.save("z.npy", np.zeros(100, np.float32))
        for text in ("z.npy", "normal:0"):
            [one] = self.measure("--plan", "hadamard+quantize:bits=2", text)
            self.assertEqual((one["nmse"], one["bias_ratio"]), (0, None))

    def test_the_table_has_a_row_a_plan_and_columns_that_line_up(self):
        text = self.ok("measure", "--plan", "f32", "--plan", "hadamard+mask:keep=0.5+quantize:bits=2", "normal:1000")
        lines = text.splitlines()
        self.assertTrue(lines[0].startswith("plan "))
        self.assertTrue(lines[1].startswith("f32 "))
        self.assertTrue(lines[2].startswith("hadamard+mask:keep=0.5+quantize:bits=2  "))
        self.assertEqual(len({len(line) for line in lines[:3]}), 1)
        self.assertIn("  -  ", lines[1])  # the bias ratio of an exact plan
        self.assertIn("normal:1000, 1000 coordinates, 10 repeats, seed 1.", lines)

    def test_what_cannot_be_measured_is_refused_before_anything_runs(self):
        self.save("nan.npy", np.array([1, np.nan], np.float32))
        for words, arguments in {
            "--plan is required": ["normal:10"],
            "INPUT is required": ["--plan", "f32"],
            "'1e20' is no number of coordinates; write 1048576, 2^20 or 1e6": ["--plan", "f32", "normal:1e20"],
            "'10.5' is no number": ["--plan", "f32", "normal:10.5"],
            "'-1' is no number": ["--plan", "f32", "normal:-1"],
            "'' is no number": ["--plan", "f32", "normal:"],
            "'2^' is no number": ["--plan", "f32", "normal:2^"],
            "'10,1' is no number": ["--plan", "f32", "normal:10,1"],
            "'0' is no sigma": ["--plan", "f32", "lognormal:10,0"],
            "'x' is no sigma": ["--plan", "f32", "lognormal:10,x"],
            "uniform:10: cannot be read": ["--plan", "f32", "uniform:10"],
            "'-5' is no whole number": ["--plan", "f32", "--repeats", "-5", "normal:10"],
            "--repeats: Value 0 not in range": ["--plan", "f32", "--repeats", "0", "normal:10"],
            "nan at coordinate 1": ["--plan", "f32", "nan.npy"],
            "bits=9 is not in 1..8 (position 14": ["--plan", "f32", "--plan", "quantize:bits=9", "normal:10"],
        }.items():
            self.assertIn(words, self.refused("measure", *arguments))


if __name__ == "__main__":
    unittest.main()
