"""Pictures of frontiers, from files made by hand.

    frontier_test.py PYTHONPATH
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

from fewbits import frontier  # noqa: E402: behind the path


def plan(family, promise, rate, ratio, text="p"):
    return {"family": family, "promise": promise, "plan": text, "bits_per_coordinate": rate, "limit_ratio": ratio}


PLANS = [plan("floats", "always", 32, 0), plan("floats", "no", 16, 1e4), plan("given", "always", 1, 5, "a:b=1"),
         plan("given", "no", 2, 6, "c"), plan("EDEN", "over rotations", 2, 2.0), plan("EDEN", "over rotations", 1, 1.7),
         plan("topk+f32", "no", 0.1, 0.01), plan("topk+f32", "no", 0.5, 0.9), plan("mask+f32", "always", 1, 900)]
PLANS += [plan(f"trellis, {states} states, flat", "always", rate, 1.3 - states / 1000)
          for states in (8, 64, 256) for rate in (0.1, 1, 8)]
PLANS += [plan("dither, flat", "always", 1, 1.7), plan("dither, separable", "always", 1, 0.7)]


class Frontier(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.file = pathlib.Path(temporary.name) / "f.json"

    def write(self, plans):
        self.file.write_text(json.dumps({"source": "x.npz", "coordinates": 1000, "plans": plans}))

    def run_it(self, *arguments):
        return subprocess.run([sys.executable, "-m", "fewbits.frontier", self.file, *arguments], env=dict(os.environ, PYTHONPATH=PATH),
                              capture_output=True, text=True)

    def test_a_curve_is_a_family_by_rate_without_what_is_exact(self):
        self.write(PLANS)
        _, families = frontier.read(self.file)
        promise, points = families["EDEN"]
        self.assertEqual((promise, points.tolist()), ("over rotations", [[1, 1.7], [2, 2.0]]))
        self.assertEqual(families["floats"][1].tolist(), [[16, 1e4]])
        self.assertEqual((families["a:b=1"][0], families["c"][0]), ("always", "no"))
        self.assertNotIn("given", families)

    def test_a_family_has_the_promise_of_what_is_drawn_of_it(self):
        self.write(PLANS)
        self.assertEqual(frontier.read(self.file)[1]["floats"][0], "no")

    def test_what_is_unbiased_and_near_the_limit_is_in_sight_and_what_is_not_is_not_in_the_legend(self):
        self.write(PLANS)
        families = frontier.read(self.file)[1]
        rates, ratios = frontier.limits_of(families)
        self.assertLess(rates[0], 0.1)
        self.assertGreater(rates[1], 8)
        self.assertLess(ratios[0], 0.7)
        self.assertEqual(ratios[1], 100)
        seen = frontier.visible(families, rates, ratios)
        self.assertEqual(set(families) - set(seen), {"floats", "mask+f32"})

    def test_a_picture_comes_out(self):
        self.write(PLANS)
        done = self.run_it()
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout.strip(), str(self.file.with_suffix(".png")))
        self.assertTrue(self.file.with_suffix(".png").read_bytes().startswith(b"\x89PNG"))
        self.write([plan("topk+f32", "no", 16, 3.0)])  # nothing unbiased, no rate that the axis is made for
        other = self.file.with_name("other.png")
        self.assertEqual(self.run_it("--out", other, "--title", "t").returncode, 0)
        self.assertTrue(other.exists())

    def test_other_files_are_refused(self):
        def refusal():
            with self.assertRaises(ValueError) as raised:
                frontier.read(self.file)
            return str(raised.exception)

        self.write([plan("floats", "always", 32, 0)])
        self.assertIn("no plan with an error", refusal())
        for text in ("", "[]", '{"plans": [{}]}', '[{"plan": "f32"}]'):
            self.file.write_text(text)
            self.assertIn("not what `fewbits measure --frontier --json` prints", refusal())
        self.file.unlink()
        done = self.run_it()
        self.assertEqual(done.returncode, 1)
        self.assertIn("not found: run `fewbits measure --frontier", done.stderr)


if __name__ == "__main__":
    unittest.main()
