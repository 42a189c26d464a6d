"""Pictures of runs of one and of several seeds, from files made by hand.

    plot_test.py PYTHONPATH
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

PATH = os.path.abspath(sys.argv.pop(1))
sys.path.insert(0, PATH)

import numpy as np  # noqa: E402: behind the path

import fewbits  # noqa: E402
from fewbits import plot  # noqa: E402


def line(plan, number, accuracy, seed=None, upload_bytes=None):
    row = {"type": "round", "plan": plan, "label": plan, "plan_index": 0, "round": number, "score": accuracy,
           "upload_bytes": upload_bytes or 1_000_000 * number}
    return row if seed is None else {**row, "seed": seed}


def spread(low, high, seeds):
    return {"mean": (low + high) / 2, "deviation": 0.1, "min": low, "max": high, "seeds": seeds}


ONE_SEED = {
    "target_score": 0.5, "seed": 1,
    "plans": [
        {"plan": "f32", "label": "float32", "rounds_to_target": 6, "upload_bytes_to_target": 6_000_000,
         "rounds_ratio_to_float32": 1.0, "bytes_ratio_to_float32": 1.0},
        {"plan": "x", "label": "x", "rounds_to_target": 9, "upload_bytes_to_target": 30_000,
         "rounds_ratio_to_float32": 1.5, "bytes_ratio_to_float32": 0.005},
        {"plan": "y", "label": "y", "rounds_to_target": None, "upload_bytes_to_target": None,
         "rounds_ratio_to_float32": None, "bytes_ratio_to_float32": None},
    ],
}
SEVERAL_SEEDS = {
    "target_score": spread(0.4, 0.6, 3), "seeds": [1, 2, 3],
    "plans": [
        {"plan": "f32", "label": "float32", "rounds_to_target": spread(6, 8, 3),
         "upload_bytes_to_target": spread(6e6, 8e6, 3), "rounds_ratio_to_first": {"median": 1.0, "values": [1, 1, 1]},
         "fewer_bytes_than_first": {"median": 1.0, "values": [1, 1, 1]}},
        {"plan": "x", "label": "x", "rounds_to_target": spread(9, 9, 2), "upload_bytes_to_target": spread(3e4, 5e4, 2),
         "rounds_ratio_to_first": {"median": 1.25, "values": [1.2, 1.25, None]},
         "fewer_bytes_than_first": {"median": 170, "values": [170, 180, None]}},
        {"plan": "y", "label": "y", "rounds_to_target": None, "upload_bytes_to_target": None,
         "rounds_ratio_to_first": {"median": None, "values": [None] * 3},
         "fewer_bytes_than_first": {"median": None, "values": [None] * 3}},
    ],
}


class Plot(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.temporary.name)

    def tearDown(self):
        self.temporary.cleanup()

    def write(self, lines, summary):
        (self.folder / "results.jsonl").write_text("\n".join(map(json.dumps, [{"type": "run"}, *lines])) + "\n")
        (self.folder / "summary.json").write_text(json.dumps(summary))

    def test_a_curve_is_the_running_mean_from_the_fifth_evaluation_on(self):
        accuracies = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.9]
        lines = [line("f32", i + 1, value) for i, value in enumerate(accuracies)]
        lines.insert(3, {**line("f32", 99, None)})  # a round without evaluation
        self.write(lines, ONE_SEED)
        curve = plot.read_results(self.folder / "results.jsonl")["f32"]
        self.assertEqual(list(curve.rounds), [5, 6, 7])
        self.assertEqual(list(curve.megabytes), [5, 6, 7])
        for value, expected in zip(curve.mean, [0.3, 0.4, 0.54]):
            self.assertAlmostEqual(value, expected)
        self.assertTrue((curve.least == curve.mean).all() and (curve.most == curve.mean).all())

    def test_of_several_seeds_it_is_their_mean_and_range_over_the_rounds_that_all_have(self):
        lines = [line("f32", i, 0.1 * seed, seed, 1_000_000 * seed * i) for seed in (1, 2, 6) for i in range(1, 9 - (seed == 2))]
        self.write(lines, SEVERAL_SEEDS)
        curve = plot.read_results(self.folder / "results.jsonl")["f32"]
        self.assertEqual(list(curve.rounds), [5, 6, 7])
        for values, expected in ((curve.mean, 0.3), (curve.least, 0.1), (curve.most, 0.6)):
            for value in values:
                self.assertAlmostEqual(value, expected)
        for value, expected in zip(curve.megabytes, [15, 18, 21]):
            self.assertAlmostEqual(value, expected)

    def test_labels_say_what_is_needed(self):
        curves = dict.fromkeys(["f32", "x", "y"])
        self.assertEqual(list(plot.labels_of(curves, ONE_SEED, "rounds").values()),
                         ["float32   6 rounds to the target", "x   9 rounds to the target, 1.50 times float32's",
                          "y   target not reached"])
        self.assertEqual(list(plot.labels_of(curves, ONE_SEED, "megabytes").values()),
                         ["float32   6 MB to the target", "x   0.03 MB to the target, 1/200 of float32's",
                          "y   target not reached"])
        self.assertEqual(list(plot.labels_of(curves, SEVERAL_SEEDS, "rounds").values()),
                         ["float32   7 rounds to the target (6-8)",
                          "x   9 rounds to the target with 2 of 3 seeds, 1.25 times the first's", "y   target not reached"])
        self.assertEqual(list(plot.labels_of(curves, SEVERAL_SEEDS, "megabytes").values()),
                         ["float32   7 MB to the target (6-8)",
                          "x   0.04 MB to the target (0.03-0.05) with 2 of 3 seeds, 1/170 of the first's",
                          "y   target not reached"])

    def test_pictures_come_out(self):
        for summary, seeds in ((ONE_SEED, [None]), (SEVERAL_SEEDS, [1, 2, 3])):
            self.write([line(plan, i, 0.08 * i, seed) for seed in seeds for plan in ("f32", "x", "y") for i in range(1, 10)],
                       summary)
            printed = subprocess.run([sys.executable, "-m", "fewbits.plot", self.folder], env=dict(os.environ, PYTHONPATH=PATH),
                                     capture_output=True, text=True, check=True).stdout
            pictures = [pathlib.Path(name) for name in printed.split()]
            self.assertEqual([picture.name for picture in pictures], ["accuracy_by_megabytes.png", "accuracy_by_round.png"])
            for picture in pictures:
                self.assertTrue(picture.read_bytes().startswith(b"\x89PNG"))
                picture.unlink()

    def test_folders_without_results(self):
        with self.assertRaisesRegex(ValueError, "results.jsonl not found: run `fewbits train --out"):
            plot.score(self.folder)
        self.write([], ONE_SEED)
        with self.assertRaisesRegex(ValueError, "no finished round"):
            plot.score(self.folder)
        with self.assertRaisesRegex(ValueError, "expected one of megabytes, rounds"):
            plot.score(self.folder, "bytes")

    def test_labels_of_any_text(self):
        summary = {**ONE_SEED, "plans": [{**entry, "label": label} for entry, label in zip(ONE_SEED["plans"], ("_mine", r"costs $\frac{1$", "$x$"))]}
        lines = [line(plan, i, float("nan") if i == 7 else 0.08 * i) for plan in ("f32", "x", "y") for i in range(1, 10)]
        self.write(lines, summary)
        figure = plot.score(self.folder)
        figure.savefig(self.folder / "a.png")
        texts = [text.get_text() for text in figure.legends[0].get_texts()]
        self.assertTrue(texts[0].strip().startswith("_mine"), texts)
        self.assertTrue(texts[1].startswith(r"costs \$\frac{1\$"), texts)

    def test_measured_plans(self):
        x = np.random.default_rng(1).standard_normal(4096, dtype=np.float32)
        measured = [fewbits.measure(fewbits.Codec(plan, x.size), x, repeats=2)
                    for plan in ("trellis:bits=1", "trellis:bits=2", "hadamard+quantize:bits=2", "f32")]
        figure = plot.rate_and_error(measured, "normal")
        lines = {drawn.get_label(): drawn.get_xydata() for drawn in figure.axes[0].lines}
        np.testing.assert_allclose(lines["trellis+rans"], [[one["bits_per_coordinate"], one["nmse"]] for one in measured[:2]])
        self.assertEqual(set(lines) - {"trellis+rans", "hadamard+quantize"}, {"least of an unbiased code of a Gaussian, 1/(4^bits - 1)"})   # the exact plan has no error
        with self.assertRaisesRegex(ValueError, "no measurement has an error"):
            plot.rate_and_error(measured[3:])

    def test_histograms_of_errors(self):
        x = np.random.default_rng(1).standard_normal(4096, dtype=np.float32)
        figure = plot.errors({"biased": fewbits.Codec("sign", x.size), "unbiased": fewbits.Codec("trellis:bits=2", x.size)}, 3 * x)
        curves = [drawn for drawn in figure.axes[0].lines if len(drawn.get_xdata()) > 1]
        for drawn in curves:
            self.assertAlmostEqual(float(np.trapezoid(drawn.get_ydata(), drawn.get_xdata())), 1, delta=0.02)
        self.assertRegex(curves[1].get_label(), "unbiased   NMSE 0.08")


if __name__ == "__main__":
    unittest.main()
