"""fewbits as a codec of numcodecs: numcodecs' own checks of codecs, and what is refused.

    numcodecs_test.py PYTHONPATH
"""

import os
import sys
import tempfile
import unittest

sys.path.insert(0, sys.argv.pop(1))

from optional import need  # noqa: E402: beside this file

need("numcodecs", "pytest")

import numcodecs  # noqa: E402: behind the path
import numpy as np  # noqa: E402
from numcodecs.tests import common  # noqa: E402

import fewbits  # noqa: E402
from fewbits.numcodecs import Fewbits  # noqa: E402

DRAW = np.random.default_rng(1)
ARRAYS = [np.arange(1000, dtype="f4"), np.linspace(1000, 1001, 1000, dtype="f4"), DRAW.normal(1000, 1, (100, 10)).astype("f4"),
          np.asfortranarray(DRAW.normal(0, 1, (20, 50)).astype("f4")), DRAW.normal(0, 1, (10, 10, 10)).astype("f4"), np.zeros(7, "f4")]
EXACT = Fewbits(plan="f32")
FINE = Fewbits(plan="quantize:bits=8,block=64", seed=3)


class Numcodecs(unittest.TestCase):
    def test_encode_decode(self):
        for array in ARRAYS:
            common.check_encode_decode(array, EXACT)
            common.check_encode_decode_array(array, EXACT)
            common.check_encode_decode(array, Fewbits(plan="trellis:nmse=1e-9"), precision=0 if np.abs(array).max() > 10 else 3)
            common.check_encode_decode(array, FINE, precision=-1 if np.abs(array).max() > 10 else 1)

    def test_config(self):
        for codec in (EXACT, FINE):
            common.check_config(codec)
            self.assertEqual(eval(repr(codec)), codec)
        self.assertEqual(numcodecs.get_codec({"id": "fewbits", "plan": "f32"}), EXACT)
        self.assertEqual(FINE.get_config(), {"id": "fewbits", "plan": FINE.plan, "seed": 3})

    def test_objects_are_refused(self):
        common.check_err_encode_object_buffer(EXACT)

    def test_written_chunks_stay_readable(self):
        with tempfile.TemporaryDirectory() as folder:
            before = os.getcwd()
            try:
                os.chdir(folder)
                for _ in range(2):   # written, then compared
                    common.check_backwards_compatibility("fewbits", ARRAYS, [EXACT])
            finally:
                os.chdir(before)

    def test_errors_of_chunks_are_their_own(self):
        codec = Fewbits(plan="quantize:bits=1")
        values = DRAW.normal(0, 1, 1000).astype("f4")
        self.assertEqual(codec.encode(values), codec.encode(values))
        self.assertFalse(np.array_equal(codec.decode(codec.encode(values)) == values.max(), codec.decode(codec.encode(2 * values)) == 2 * values.max()))
        self.assertNotEqual(codec.encode(values), Fewbits(plan="quantize:bits=1", seed=1).encode(values))

    def test_refusals(self):
        with self.assertRaisesRegex(TypeError, "not float64: put numcodecs.AsType"):
            EXACT.encode(np.zeros(3))
        with self.assertRaises(TypeError):
            EXACT.encode(b"123")
        with self.assertRaises(fewbits.Error):
            Fewbits(plan="none")
        for plan in ("permk:cohort=3+f32", "train=mask:keep=0.5 | f32"):
            with self.assertRaisesRegex(ValueError, "a chunk stands alone"):
                Fewbits(plan=plan)
        with self.assertRaisesRegex(fewbits.Error, "there is room for 999"):
            FINE.decode(FINE.encode(ARRAYS[0]), out=np.empty(999, "f4"))
        chunk = FINE.encode(ARRAYS[0])
        for bad in (b"", chunk[:11], chunk[:-1], b"x" + chunk[1:], chunk[:4] + b"\xff" * 8 + chunk[12:], EXACT.encode(ARRAYS[0]),
                    chunk[:4] + (2**31).to_bytes(8, "little") + chunk[12:]):
            with self.assertRaises(fewbits.Error):
                FINE.decode(bad)


if __name__ == "__main__":
    unittest.main()
