"""The tool behind `make figures`, with few rounds of some figures, and the report of what it made.

    figures_test.py PYTHONPATH PROGRAM
"""

import json
import os
import pathlib
import subprocess
import shutil
import sys
import tempfile
import unittest

import numpy as np

PATH = os.path.abspath(sys.argv.pop(1))
PROGRAM = os.path.abspath(sys.argv.pop(1))
FIGURES = pathlib.Path(__file__).resolve().parents[2] / "figures"
sys.path[:0] = [PATH, str(FIGURES)]

import catalogue  # noqa: E402: behind the path
import trust  # noqa: E402
from figures import sections_of  # noqa: E402

from fewbits import plot, report  # noqa: E402

MADE = ["suresh", "links", "personal"]


def figures(*arguments, code=0):
    done = subprocess.run([sys.executable, FIGURES / "figures.py", *arguments], env=dict(os.environ, PYTHONPATH=PATH), capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


class Figures(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.out = pathlib.Path(folder.name, "figures")
        cls.printed = figures(PROGRAM, *MADE, "--quick", "--out", cls.out).stdout
        cls.entries = json.loads((cls.out / "figures.json").read_text())

    def test_what_is_made(self):
        self.assertCountEqual([entry["name"] for entry in self.entries], MADE)
        for entry in self.entries:
            with self.subTest(entry["name"]):
                self.assertTrue(entry["tables"] and entry["pictures"])
                for table in entry["tables"]:
                    self.assertEqual({len(row) for row in table["rows"]}, {len(table["heads"])})
                for picture in entry["pictures"]:
                    self.assertIn("<svg", (self.out / picture["file"]).read_text())
                self.assertIn(entry["title"], self.printed)

    def test_errors_of_the_principal_axis_fall(self):
        run, = (run for figure in catalogue.FIGURES if figure.name == "suresh" for run in figure.runs if run.name == "power-4")

        class Outcome:
            folder = self.out / "suresh" / run.name
        for label, (sent, errors) in catalogue.power_errors(Outcome).items():
            self.assertTrue((errors[1:] < errors[:-1]).all() and (sent[1:] > sent[:-1]).all(), label)

    def test_what_is_there_is_not_run_again(self):
        before = {path: path.stat().st_mtime_ns for path in self.out.rglob("summary.json")}
        figures(PROGRAM, "suresh", "--quick", "--out", self.out)
        self.assertEqual({path: path.stat().st_mtime_ns for path in self.out.rglob("summary.json")}, before)

    def test_runs_with_links_have_hours_and_others_have_none(self):
        axes = plot.score(self.out / "links" / "waiting", "hours").axes[0]
        self.assertIn("hours", axes.get_xlabel())
        with self.assertRaisesRegex(ValueError, "no hours"):
            plot.score(self.out / "suresh" / "power-4", "hours")

    def test_reports(self):
        text = report.write(self.out).read_text()
        self.assertEqual(text.count("<img"), sum(len(entry["pictures"]) for entry in self.entries))
        run = report.write(self.out / "links" / "deadline").read_text()
        self.assertIn("hours to target", run)
        self.assertEqual(run.count("<img"), 3)
        self.assertEqual(report.write(self.out / "personal" / "vectors").read_text().count("<img"), 3)

    def test_a_name_that_is_no_figure(self):
        self.assertIn("there is no figure lniks; there are konecny", figures(PROGRAM, "lniks", code=2).stderr)

    def test_the_page_of_results_keeps_what_is_not_made(self):
        docs = self.out.parent / "docs"
        docs.mkdir()
        shutil.copy(FIGURES.parent / "docs" / "results.md", docs)
        before = sections_of((docs / "results.md").read_text())
        figures(PROGRAM, "suresh", "--quick", "--out", self.out, "--docs", docs)
        after = sections_of((docs / "results.md").read_text())
        self.assertEqual(list(after), list(before))
        made = {figure.title for figure in catalogue.FIGURES if figure.name in MADE}
        for title, text in after.items():
            (self.assertNotEqual if title in made else self.assertEqual)(text, before[title])

    def test_every_figure_is_in_the_page_of_results(self):
        self.assertEqual(list(sections_of((FIGURES.parent / "docs" / "results.md").read_text())), [figure.title for figure in catalogue.FIGURES])

    def test_intervals(self):
        mean, half = trust.interval([1, 2, 3])
        self.assertAlmostEqual(mean, 2)
        self.assertAlmostEqual(half, 4.303 / 3**0.5)

    def test_errors_of_secure_sums_fall_with_the_bits_of_words(self):
        updates = np.random.default_rng(3).standard_normal((10, 5000)) / 5000**0.5
        errors = [trust.in_words("hadamard+dither", bits, updates, 1, 10**-0.5) for bits in (8, 10, 12)]
        for more, fewer in zip(errors[1:], errors):
            self.assertAlmostEqual(fewer / more, 16, delta=1)   # a quarter of the step
        self.assertLess(errors[0], trust.rounded(updates, float(np.abs(updates).max()), (2**8 - 1) // 10) / 2)

    def test_the_list_has_each_with_its_time(self):
        lines = figures("--list").stdout.splitlines()
        self.assertEqual([line.split()[0] for line in lines], [figure.name for figure in catalogue.FIGURES])
        self.assertLess(sum(int(line.split()[1]) for line in lines), 90)


if __name__ == "__main__":
    unittest.main()
