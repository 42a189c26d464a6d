"""The examples run as their first lines say, and print what they promise.

    examples_test.py PYTHONPATH
"""

import os
import pathlib
import re
import subprocess
import sys
import unittest

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "python" / "examples"
PATH = os.path.abspath(sys.argv.pop(1))

try:
    import torch
except ImportError:
    torch = None


def run(*command):
    environment = dict(os.environ, PYTHONPATH=PATH, OMP_NUM_THREADS="1")
    run = subprocess.run([sys.executable, "-B", *map(str, command)], env=environment, capture_output=True, text=True)
    if run.returncode != 0:
        raise AssertionError(run.stdout + run.stderr)
    return run.stdout


class Examples(unittest.TestCase):
    def test_numpy(self):
        program = EXAMPLES / "numpy_in_20_lines.py"
        code = [line for line in program.read_text().split('"""')[2].splitlines() if line]
        self.assertLessEqual(len(code), 20)
        out = run(program)
        self.assertAlmostEqual(float(re.search(r"([\d.]+) bits a coordinate", out).group(1)), 2, delta=0.05)
        self.assertLess(float(re.search(r"error of the mean: ([\d.]+)", out).group(1)), 0.01)

    @unittest.skipUnless(torch, "torch is not installed")
    def test_ddp(self):
        for plan, data, fewer in (("trellis:bits=2", (), 8), ("*.bias=f32; *=topk:keep=0.05+f32", ("--data", "/nowhere"), 4)):
            out = run("-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0",
                      EXAMPLES / "ddp.py", "--plan", plan, "--steps", "40", *data)
            losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", out)]
            self.assertEqual(len(losses), 4, out)
            self.assertLess(losses[-1], 2.0)   # log 10 = 2.3 at first
            self.assertGreater(float(re.search(r"([\d.]+) times fewer than float32", out).group(1)), fewer)


if __name__ == "__main__":
    unittest.main()
