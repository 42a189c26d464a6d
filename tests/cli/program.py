"""What the tests of the program share: running it, and files for it.

    x_test.py PROGRAM
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy as np

PROGRAM = pathlib.Path(sys.argv.pop(1)).resolve()
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "golden"))  # frame_format: the format written a second time

COMMANDS = ["train", "measure", "encode", "decode", "aggregate", "describe", "inspect", "stages", "privacy"]


def run(*arguments, cwd=None, **options):
    return subprocess.run([PROGRAM, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120, **options)


class ProgramTest(unittest.TestCase):
    """Every test has an empty folder, which is the program's working folder."""

    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)

    def ok(self, *arguments, stderr=""):
        done = run(*arguments, cwd=self.folder)
        self.assertEqual(done.returncode, 0, f"{arguments}: {done.stderr}")
        self.assertEqual(done.stderr, stderr)
        return done.stdout

    def json(self, *arguments):
        return json.loads(self.ok(*arguments, "--json"))

    def refused(self, *arguments):
        """The one line of a refusal. Nothing appears in the folder or changes there, nor on stdout."""
        before = self.contents()
        done = run(*arguments, cwd=self.folder)
        self.assertEqual(done.returncode, 2, f"{arguments}: {done.stdout}{done.stderr}")
        self.assertEqual(done.stdout, "")
        self.assertRegex(done.stderr, r"\Afewbits: [^\n]+\n\Z")
        self.assertEqual(self.contents(), before)
        return done.stderr

    def contents(self):
        return {path.name: path.read_bytes() for path in self.folder.iterdir() if path.is_file()}

    def save(self, name, values):
        np.save(self.folder / name, values)
        return values

    def load(self, name):
        return np.load(self.folder / name, allow_pickle=False)

    def decoded(self, plan, seed, like, frame):
        """The update of a frame, by way of the program."""
        self.ok("decode", "--plan", plan, "--seed", seed, "--like", like, frame, "decoded.npy")
        return self.load("decoded.npy").astype(np.float64)


def random_update(shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
