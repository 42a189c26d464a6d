"""The examples run as their first lines say, and print what they promise.

    examples_test.py PYTHONPATH
"""

import gzip
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

HARNESS = any(pathlib.Path(sys.argv[1], "fewbits").glob("_federated.*.so"))
EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "python" / "examples"
PATH = os.path.abspath(sys.argv.pop(1))

from optional import need  # noqa: E402: beside this file

need("torch", "matplotlib")


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

    def test_rates_of_a_checkpoint(self):
        import numpy as np
        import torch

        draw = np.random.default_rng(1)
        before = {"w": draw.standard_normal((50, 100), dtype=np.float32), "b": draw.standard_normal(50, dtype=np.float32), "steps": np.array(3)}
        after = {"w": before["w"] + 0.01 * draw.standard_normal((50, 100), dtype=np.float32), "b": before["b"] + 1, "steps": np.array(4)}
        with tempfile.TemporaryDirectory() as folder:
            files = [pathlib.Path(folder, name) for name in ("before.npz", "after.npz", "before.pt", "after.pt", "rates.png")]
            np.savez(files[0], **before)
            np.savez(files[1], **after)
            torch.save({name: torch.from_numpy(array) for name, array in before.items()}, files[2])
            torch.save({name: torch.from_numpy(array) for name, array in after.items()}, files[3])
            outs = [run(EXAMPLES / "rates_of_a_checkpoint.py", *pair, "--out", files[4]) for pair in (files[:2], files[2:4])]
            self.assertEqual(outs[0], outs[1])
            self.assertIn("2 tensors, 5,050 coordinates", outs[0])
            self.assertEqual(len(re.findall(r"NMSE [\d.e-]+", outs[0])), 11)
            self.assertTrue(files[4].read_bytes().startswith(b"\x89PNG"))

    @unittest.skipUnless(HARNESS, "this package has no harness")
    def test_torch_module(self):
        import numpy as np

        draw = np.random.default_rng(1)
        with tempfile.TemporaryDirectory() as folder:
            for name, rows in (("train", 4000), ("t10k", 500)):
                labels = np.arange(rows, dtype=np.uint8) % 10
                images = draw.integers(0, 50, (rows, 28, 28), dtype=np.uint8)
                images[np.arange(rows), 2 * labels + 4] = 255   # a row of white, at a height of its class
                for kind, head, values in (("images-idx3", 16, images), ("labels-idx1", 8, labels)):
                    with gzip.open(pathlib.Path(folder, f"{name}-{kind}-ubyte.gz"), "wb", compresslevel=1) as file:
                        file.write(bytes(head) + values.tobytes())
            out = run(EXAMPLES / "torch_module.py", "--rounds", 6, "--data", folder)
        results = re.findall(r"^(\S+): round 6, accuracy ([\d.]+), ([\d,]+) bytes$", out, re.MULTILINE)
        self.assertEqual([plan for plan, *_ in results], ["f32", "trellis:bits=0.03,scale=profile"], out)
        self.assertTrue(all(float(accuracy) > 0.5 for _, accuracy, _ in results), out)
        whole, coded = (int(count.replace(",", "")) for *_, count in results)
        self.assertGreater(whole, 500 * coded)
        self.assertRegex(out, r"f32: 32\.0\d+ bits a coordinate\n")

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
