"""`fewbits train --seeds` from outside: each seed as a run of its own, means and ratios, interruption and resumption.

    train_seeds_test.py PROGRAM
"""

import json
import math
import os
import pathlib
import random
import shutil
import signal
import statistics
import struct
import subprocess
import tempfile
import time
import unittest

from train_command_test import PROGRAM, results, train


def timeless(value):
    """Without what depends on the clock."""
    if isinstance(value, list):
        return [timeless(element) for element in value]
    if isinstance(value, dict):
        return {key: timeless(own) for key, own in value.items() if not key.endswith(("seconds", "time_share"))}
    return value


def write_small_data(folder):
    """Noisy 8x8 images of four classes, each of a prototype of its own, as IDX files."""
    folder.mkdir()
    draw = random.Random(5)
    prototypes = [[draw.randrange(60, 190) for _ in range(64)] for _ in range(4)]
    for name, count in (("train", 800), ("t10k", 600)):
        labels = bytes(draw.randrange(4) for _ in range(count))
        images = bytes(min(255, max(0, pixel + draw.randrange(-140, 141))) for label in labels for pixel in prototypes[label])
        (folder / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, count, 8, 8) + images)
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, count) + labels)


class Seeds(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.out = pathlib.Path(self.folder.name) / "run"
        data = pathlib.Path(self.folder.name) / "data"
        write_small_data(data)
        self.setting = ["--data", data, "--clients", 20, "--clients-per-round", 4, "--batch", 8, "--quiet", "--plan", "f32",
                        "--plan", "hadamard+quantize:bits=4 @ label=four bits"]

    def tearDown(self):
        self.folder.cleanup()

    def interrupt(self, *arguments, lines):
        """Begins a run in self.out, and interrupts it when so many lines are there."""
        run = subprocess.Popen([PROGRAM, "train", *map(str, arguments), "--out", self.out], stderr=subprocess.PIPE, text=True)
        for _ in range(6000):
            path = self.out / "results.jsonl"
            if run.poll() is not None or (path.exists() and path.read_bytes().count(b"\n") >= lines):
                break
            time.sleep(0.005)
        run.send_signal(signal.SIGINT)
        message = run.communicate(timeout=60)[1]
        self.assertEqual(run.returncode, 130, message)

    def test_seeds_are_so_many_runs_side_by_side(self):
        arguments = [*self.setting, "--model", "cnn:channels=2,hidden=8", "--rounds", 40]
        done = train(*arguments, "--seed", 5, "--seeds", 3, "--out", self.out)
        for words in ("of 3 seeds: mean ± standard deviation (min-max)", "times the rounds", "fewer bytes"):
            self.assertIn(words, done.stdout)
        lines, summary = results(self.out), json.loads((self.out / "summary.json").read_text())
        self.assertEqual(lines[0]["settings"]["seeds"], 3)
        self.assertEqual(summary["seeds"], [5, 6, 7])

        singles = []
        for seed in (5, 6, 7):
            single = pathlib.Path(self.folder.name) / str(seed)
            train(*arguments, "--seed", seed, "--out", single)
            singles.append(json.loads((single / "summary.json").read_text()))
            of_seed = [dict(line) for line in lines[1:] if line["seed"] == seed]
            for line in of_seed:
                del line["seed"]
            self.assertEqual(of_seed, results(single)[1:])
            for plan in (0, 1):
                self.assertEqual((self.out / f"checkpoints/seed{seed}-{plan}.bin").read_bytes(),
                                 (single / f"checkpoints/{plan}.bin").read_bytes())
        self.assertEqual(timeless(summary["per_seed"]), timeless(singles))

        for index, plan in enumerate(summary["plans"]):
            for key in ("best_score", "rounds_to_target", "upload_bytes_to_target", "bits_per_coordinate"):
                values = [v for v in (single["plans"][index][key] for single in singles) if v is not None]
                if len(values) < 2:
                    continue
                self.assertEqual(plan[key]["seeds"], len(values))
                self.assertAlmostEqual(plan[key]["mean"] / statistics.mean(values), 1, places=12)
                self.assertEqual((plan[key]["min"], plan[key]["max"]), (min(values), max(values)))
                self.assertAlmostEqual(plan[key]["deviation"], statistics.stdev(values), delta=1e-9 * max(values))
            # The first plan reaches the target, 98 % of its own best; the other may not on another CPU.
            for field, key, fewer in (("rounds_to_target", "rounds_ratio_to_first", False),
                                      ("upload_bytes_to_target", "fewer_bytes_than_first", True)):
                pairs = [(single["plans"][0][field], single["plans"][index][field]) for single in singles]
                ratios = [None if own is None else first / own if fewer else own / first for first, own in pairs]
                self.assertEqual(plan[key]["values"], ratios)
                worst = 0 if fewer else math.inf
                median = statistics.median(worst if ratio is None else ratio for ratio in ratios)
                self.assertAlmostEqual(plan[key]["median"], None if median == worst else median, places=9)
        self.assertEqual(summary["target_score"]["min"], min(single["target_score"] for single in singles))

    def test_an_interrupted_run_of_several_seeds_is_resumed_bit_for_bit(self):
        record = pathlib.Path(self.folder.name) / "updates"
        arguments = [*self.setting, "--model", "softmax", "--rounds", 300, "--seeds", 2, "--record-rounds", "2,300"]
        whole = pathlib.Path(self.folder.name) / "whole"
        train(*arguments, "--record", record, "--out", whole)
        updates = {path.name: path.read_bytes() for path in record.iterdir()}
        self.assertEqual(len(updates), 6)
        shutil.rmtree(record)
        self.interrupt(*arguments, "--record", record, lines=10)  # while the first seed's first plan trains
        self.assertEqual(len(list(record.iterdir())), 3)
        self.assertIn("seeds is 3, the run in", train("--out", self.out, "--resume", "--seeds", 3, code=2).stderr)
        self.assertIn("seeds is 1, the run in", train("--out", self.out, "--resume", "--seeds", 1, code=2).stderr)
        train("--out", self.out, "--resume", "--quiet")
        self.assertEqual(results(self.out), results(whole))
        self.assertEqual({path.name: path.read_bytes() for path in record.iterdir()}, updates)
        shutil.rmtree(self.out)
        shutil.rmtree(record)
        self.interrupt(*arguments, "--record", record, lines=1 + 2 * 300 + 3)  # while the second seed's does
        self.assertTrue((self.out / "checkpoints/seed2-0.bin").exists())
        train("--out", self.out, "--resume", "--seeds", 2, "--quiet")
        self.assertEqual(results(self.out), results(whole))

    def test_with_several_seeds_one_that_diverges_says_which(self):
        plan = "f32 @ lr=1000000,label=too fast"
        done = train(*self.setting, "--plan", plan, "--model", "mlp:hidden=20", "--rounds", 8, "--seeds", 2, "--out", self.out)
        self.assertIn("too fast, seed 1: diverged in round", done.stdout)
        self.assertIn("too fast, seed 2: diverged in round", done.stdout)
        summary = json.loads((self.out / "summary.json").read_text())
        self.assertEqual(summary["plans"][2]["rounds_to_target"], None)
        self.assertEqual(summary["plans"][2]["fewer_bytes_than_first"], {"median": None, "values": [None, None]})
        before = results(self.out)
        self.assertEqual([line["seed"] for line in before if line["type"] == "stopped"], [1, 2])
        train("--out", self.out, "--resume", "--quiet")
        self.assertEqual(results(self.out), before)


if __name__ == "__main__":
    os.environ.pop("FEWBITS_DATA", None)
    unittest.main()
