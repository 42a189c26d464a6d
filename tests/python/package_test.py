"""The Python package: what it takes, what it gives, what it refuses.

    package_test.py PYTHONPATH
"""

import copy
import pickle
import sys
import threading
import unittest

sys.path.insert(0, sys.argv.pop(1))

import numpy as np  # noqa: E402: behind the path

import fewbits  # noqa: E402

N = 10_000


def values(n=N, seed=1):
    return np.random.default_rng(seed).standard_normal(n, dtype=np.float32)


class Frames(unittest.TestCase):
    def test_three_lines(self):
        x = values()
        codec = fewbits.Codec("trellis:bits=2", x.size)
        frame = codec.encode(x, seed=1, round=0, client=3)
        self.assertIsInstance(frame, bytes)
        self.assertAlmostEqual(len(frame) * 8 / N, 2, delta=0.1)
        total = fewbits.Aggregator(codec, seed=1, round=0)
        total.add(frame, client=3, weight=2.0)
        mean = total.mean()
        self.assertEqual((mean.dtype, mean.shape), (np.float32, (N,)))
        self.assertLess(np.square(mean - x).sum() / np.square(x).sum(), 0.1)
        np.testing.assert_array_equal(mean, codec.decode(frame, seed=1))
        self.assertEqual((total.clients, total.total_weight), (1, 2.0))

    def test_encoder_makes_the_same_frames(self):
        codec = fewbits.Codec("hadamard+quantize:bits=4", N)
        encoder = fewbits.Encoder(codec)
        for client in range(3):
            x = values(seed=client)
            self.assertEqual(encoder.encode(x, seed=1, round=2, client=client), codec.encode(x, seed=1, round=2, client=client))

    def test_dicts_of_tensors(self):
        tensors = {"weight": values(600).reshape(20, 30), "bias": values(20, 2)}
        codec = fewbits.Codec("f32", tensors)
        self.assertEqual(codec.layout, {"weight": (20, 30), "bias": (20,)})
        self.assertEqual(codec, fewbits.Codec("f32", {"weight": (20, 30), "bias": 20}))
        frame = codec.encode(dict(reversed(tensors.items())), seed=1, round=0, client=0)   # names say which is which
        decoded = codec.unflatten(codec.decode(frame, seed=1))
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(decoded[name], tensor)
        with self.assertRaisesRegex(ValueError, "no tensor 'bias'"):
            codec.encode({"weight": tensors["weight"], "other": tensors["bias"]}, seed=1, round=0, client=0)
        with self.assertRaisesRegex(ValueError, "'weight' is of another shape"):
            codec.encode({"weight": tensors["weight"].T, "bias": tensors["bias"]}, seed=1, round=0, client=0)

    def test_arrays_are_read_in_place(self):
        x = values()
        codec = fewbits.Codec("f32", N)
        matrix = x.reshape(100, 100)
        self.assertEqual(codec.encode(matrix, seed=1, round=0, client=0), codec.encode(x, seed=1, round=0, client=0))
        x.flags.writeable = False
        codec.encode(memoryview(x), seed=1, round=0, client=0)

    def test_arrays_that_would_be_converted_are_refused(self):
        codec = fewbits.Codec("f32", N)
        encode = lambda x: codec.encode(x, seed=1, round=0, client=0)  # noqa: E731
        for x, words in ((values().astype(np.float64), r"float64, not float32.*astype"), (values().astype(np.float16), "float16"),
                         (values(2 * N)[::2], "not C-contiguous.*ascontiguousarray"), (list(values()), "not list.*numpy.asarray"),
                         (np.asfortranarray(values().reshape(100, 100)), "not C-contiguous")):
            with self.assertRaisesRegex(TypeError, words):
                encode(x)

    def test_dlpack(self):
        class Tensor:   # what torch shows of one on the CPU
            def __init__(self, array):
                self.array = array

            def __dlpack__(self, **options):
                return self.array.__dlpack__(**options)

            def __dlpack_device__(self):
                return self.array.__dlpack_device__()

        x = values()
        codec = fewbits.Codec("f32", N)
        self.assertEqual(codec.encode(Tensor(x), seed=1, round=0, client=0), codec.encode(x, seed=1, round=0, client=0))


class Refusals(unittest.TestCase):
    def test_errors_say_code_and_place(self):
        with self.assertRaises(fewbits.Error) as caught:
            fewbits.Codec("quantize:bits=99", 10)
        self.assertIsInstance(caught.exception, ValueError)
        self.assertEqual(caught.exception.code, fewbits.ErrorCode.BAD_PLAN)
        self.assertIsInstance(caught.exception.offset, int)
        self.assertIn("99", str(caught.exception))
        again = pickle.loads(pickle.dumps(caught.exception))
        self.assertEqual((again.code, again.offset, str(again)),
                         (caught.exception.code, caught.exception.offset, str(caught.exception)))

    def test_bad_frames_leave_the_sum_alone(self):
        codec = fewbits.Codec("quantize:bits=4", N)
        total = fewbits.Aggregator(codec, seed=1, round=0)
        frame = codec.encode(values(), seed=1, round=0, client=0)
        total.add(frame, client=0)
        mean = total.mean()
        damaged = bytearray(codec.encode(values(seed=2), seed=1, round=0, client=1))
        damaged[-1] ^= 1
        for bad, client, code in ((damaged, 1, "CHECKSUM_MISMATCH"), (frame, 0, "DUPLICATE_CLIENT"), (frame, 5, "WRONG_CLIENT"),
                                  (frame[:-1], 0, None), (b"", 0, "TRUNCATED")):
            with self.assertRaises(fewbits.Error) as caught:
                total.add(bad, client=client)
            if code is not None:
                self.assertEqual(caught.exception.code.name, code)
        with self.assertRaisesRegex(TypeError, "a frame must be bytes"):
            total.add(3, client=1)
        np.testing.assert_array_equal(total.mean(), mean)

    def test_updates(self):
        codec = fewbits.Codec("f32", 3)
        for bad, code in ((np.zeros(4, np.float32), "BAD_ARGUMENT"), (np.array([1, np.nan, 0], np.float32), "NOT_FINITE")):
            with self.assertRaises(fewbits.Error) as caught:
                codec.encode(bad, seed=1, round=0, client=0)
            self.assertEqual(caught.exception.code.name, code)
        with self.assertRaises(TypeError):
            codec.encode(np.zeros(3, np.float32), 1, 0, 0)   # context by name alone

    def test_mean_of_nobody(self):
        with self.assertRaises(fewbits.Error) as caught:
            fewbits.Aggregator(fewbits.Codec("f32", 3), seed=1, round=0).mean()
        self.assertEqual(caught.exception.code, fewbits.ErrorCode.EMPTY)


class Objects(unittest.TestCase):
    def test_codecs_pickle(self):
        for layout in (N, {"a": (3, 4), "b": ()}):
            codec = fewbits.Codec("quantize:bits=2", layout)
            for other in (pickle.loads(pickle.dumps(codec)), copy.deepcopy(codec), eval(repr(codec))):
                self.assertEqual(other, codec)
                self.assertEqual(hash(other), hash(codec))
        self.assertNotEqual(fewbits.Codec("f32", 3), fewbits.Codec("f32", 4))

    def test_partial_sums_travel(self):
        codec = fewbits.Codec("hadamard+quantize:bits=2", N)
        whole = fewbits.Aggregator(codec, seed=1, round=0)
        parts = [fewbits.Aggregator(codec, seed=1, round=0) for _ in range(2)]
        for client in range(6):
            frame = codec.encode(values(seed=client), seed=1, round=0, client=client)
            whole.add(frame, client=client, weight=client + 1)
            parts[client // 3].add(frame, client=client, weight=client + 1)
        restored = fewbits.Aggregator.restore(codec, parts[1].serialize(), seed=1, round=0)
        parts[0].merge(restored)
        self.assertEqual(parts[0].clients, 6)
        np.testing.assert_allclose(parts[0].mean(), whole.mean(), rtol=1e-6, atol=1e-7)

    def test_a_codec_serves_threads(self):
        codec = fewbits.Codec("trellis:bits=1", N)
        want = [codec.encode(values(seed=i), seed=1, round=0, client=i) for i in range(4)]
        got = [None] * 4

        def encode(i):
            for _ in range(5):
                got[i] = codec.encode(values(seed=i), seed=1, round=0, client=i)

        threads = [threading.Thread(target=encode, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(got, want)

    def test_says_what_it_can(self):
        self.assertIn("trellis", [stage["name"] for stage in fewbits.stages()])
        description = fewbits.Codec("hadamard+quantize:bits=4", N).describe()
        self.assertEqual(description["unbiased"], "always")
        self.assertGreater(description["max_frame_bytes"], N // 2)
        for name in fewbits.__all__:
            self.assertTrue(name == "__version__" or getattr(fewbits, name).__doc__, name)


if __name__ == "__main__":
    unittest.main()
