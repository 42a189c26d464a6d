"""Table and picture of a benchmark, from files made by hand.

    bench_test.py BENCH_PY
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

BENCH = pathlib.Path(sys.argv.pop(1)).resolve()


def case(group, name, log2, seconds, **ratios):
    return {"group": group, "case": name, "log2": log2, "seconds": seconds, "median_seconds": seconds,
            "gigabytes_per_second": (4 << log2) / seconds * 1e-9,
            "ratios": {over: {"best": ratio, "median": ratio} for over, ratio in ratios.items()}}


def bench(target):
    return {"target": target, "machine": {"cpu": "a CPU", "family": 1, "vectors": ["avx512f"]}, "results": [
        case("kernel/walsh_hadamard", "fewbits", 12, 1e-6, memcpy=0.2, FFTW=60),
        case("plan/trellis:bits=2,states=8", "encode", 20, 1e-3, memcpy=0.01)]}


class Bench(unittest.TestCase):
    def run_on(self, content):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "bench.json"
            path.write_text(content)
            done = subprocess.run([sys.executable, BENCH, path], capture_output=True, text=True, check=False)
            picture = path.with_suffix(".png")
            return done, picture.read_bytes() if picture.exists() else b""

    def test_says_what_is_reached(self):
        done, picture = self.run_on(json.dumps(bench("avx512")))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(picture.startswith(b"\x89PNG"))
        self.assertIn("| Walsh–Hadamard ÷ memcpy | 2^12 | 0.25 | 0.37 | 0.2 | 0.2 |", done.stdout)
        self.assertIn("| Walsh–Hadamard × FFTW | 2^12 | 55 | 90 | **60** | 60 |", done.stdout)
        self.assertIn("| trellis:bits=2 encode, 8 states, GB/s | 2^20 | 1 | 2 | **4.19** | 4.19 |", done.stdout)

    def test_asks_half_of_other_targets_whatever_the_machine_has(self):
        done, _ = self.run_on(json.dumps(bench("avx2")))
        self.assertIn("| Walsh–Hadamard ÷ memcpy | 2^12 | 0.125 | 0.37 | **0.2** | 0.2 |", done.stdout)

    def test_refuses_what_is_no_benchmark(self):
        for content in ("", "[]", '{"results": [{}]}'):
            done, picture = self.run_on(content)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("bench.json: not what fewbits_bench --json writes", done.stderr)
            self.assertNotIn("Traceback", done.stderr)
            self.assertEqual(picture, b"")


if __name__ == "__main__":
    unittest.main()
