"""examples/own_model.cpp learns, as well in few bits: own_model_test.py PROGRAM."""

import re
import subprocess
import sys
import unittest

PROGRAM = sys.argv.pop(1)


class OwnModel(unittest.TestCase):
    def test_it_learns_at_both_rates(self):
        out = subprocess.run([PROGRAM], capture_output=True, text=True, check=True).stdout
        results = re.findall(r"^(\S+): accuracy ([\d.]+), ([\d.]+) bits a coordinate$", out, re.MULTILINE)
        self.assertEqual([plan for plan, *_ in results], ["f32", "trellis:bits=0.5"], out)
        for (_, accuracy, bits), rate in zip(results, (32, 0.5)):
            self.assertGreater(float(accuracy), 0.8, out)
            self.assertAlmostEqual(float(bits), rate, delta=0.1 + rate / 100)   # and the header's


if __name__ == "__main__":
    unittest.main()
