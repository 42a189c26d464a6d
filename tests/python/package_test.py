"""The Python package: what it takes, what it gives, what it refuses.

    package_test.py PYTHONPATH PROGRAM
"""

import copy
import json
import pathlib
import pickle
import subprocess
import sys
import tempfile
import threading
import unittest

PATH = sys.argv.pop(1)
PROGRAM = sys.argv.pop(1)
sys.path.insert(0, PATH)

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
        with self.assertRaisesRegex(ValueError, r"'weight' has shape \(30, 20\), in the layout \(20, 30\)"):
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
        for x, words in ((values().astype(np.float64), r"float64, not float32.*astype"), (values().astype(np.int32), "int32, not float32"),
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


    def test_halves_are_widened(self):
        halves = values().astype(np.float16)
        codec = fewbits.Codec("f32", N)
        np.testing.assert_array_equal(codec.decode(codec.encode(halves, seed=1, round=0, client=0), seed=1), halves.astype(np.float32))

    def test_integers_pass_exactly(self):
        tensors = {"weight": values(600).reshape(20, 30)}
        for dtype in ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"):
            least, most = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
            tensors[dtype] = np.array([[0, 1, most], [least, most // 3, least // 5]], dtype=dtype)
        tensors["bn.num batches;tracked=*"] = np.array(2**40 + 3)
        codec = fewbits.Codec("quantize:bits=2", tensors)
        frames = [codec.encode(tensors, seed=1, round=0, client=client) for client in range(3)]
        total = fewbits.Aggregator(codec, seed=1, round=0)
        total.add_many(frames, clients=range(3), weights=[1, 2, 5])
        for vector in (codec.flatten(tensors), codec.decode(frames[0], seed=1), total.mean()):
            back = codec.unflatten(vector)
            for name, tensor in tensors.items():
                if name != "weight":
                    self.assertEqual((back[name].dtype, back[name].shape), (tensor.dtype, tensor.shape))
                    np.testing.assert_array_equal(back[name], tensor)
        self.assertEqual(pickle.loads(pickle.dumps(codec)), codec)
        self.assertEqual(eval(repr(codec)), codec)
        with self.assertRaisesRegex(TypeError, "of int32, in the layout of int64"):
            codec.encode({**tensors, "int64": tensors["int64"].astype(np.int32)}, seed=1, round=0, client=0)
        with self.assertRaisesRegex(TypeError, "structured family trains floats"):
            fewbits.Codec("train=mask:keep=0.5 | f32", tensors)

    def test_means_of_integers_are_rounded(self):
        for dtype, *values in (("int64", 1000, 1003), ("int64", -7, 2**33), ("int64", -(2**20), 2**20 + 2), ("int64", -1, 0, 0),
                               ("int64", -1000, -1001, -1000), ("int32", -1, 0, 0), ("int8", -3, 2, 2), ("uint32", 2**32 - 1, 0), ("uint16", 1, 2, 2),
                               ("uint8", 255, 0, 0), ("int16", -(2**15), 2**15 - 1)):
            codec = fewbits.Codec("f32", {"steps": ((), dtype)})
            total = fewbits.Aggregator(codec, seed=1, round=0)
            for client, steps in enumerate(values):
                total.add(codec.encode({"steps": np.array(steps, dtype)}, seed=1, round=0, client=client), client=client)
            mean = sum(values) / len(values)
            self.assertAlmostEqual(int(codec.unflatten(total.mean())["steps"]), mean, delta=0.5 + 1e-6 * abs(mean), msg=(dtype, values))

    def test_zeros_of_integers_cost_nothing(self):
        tensors = {"index": np.zeros(10_000, np.int64)}
        self.assertLess(len(fewbits.Codec("f32", tensors).encode(tensors, seed=1, round=0, client=0)), 100)

    def test_layouts(self):
        for dtype in ("int64", np.int64, np.dtype("int64"), np.zeros(3, np.int64).dtype):
            self.assertEqual(fewbits.Codec("f32", {"n": ((3,), dtype)}).layout, {"n": ((3,), "int64")})
        self.assertEqual(fewbits.Codec("f32", np.int64(5)), fewbits.Codec("f32", 5))
        for layout, error, words in ((-1, fewbits.Error, "-1, expected 0 to"), ({"a": (-1, 3)}, fewbits.Error, "expected 0 to"), (2**70, fewbits.Error, "expected"),
                                     ({"a": [1.0, 2.0]}, TypeError, "whole numbers, not of float"), ({1: (3,)}, TypeError, "name is text, not int"),
                                     ({"a": ((3,), "flaot32")}, TypeError, "of flaot32: only floats"), ({"a": np.zeros(2, complex)}, TypeError, "complex128"),
                                     ({"a": "x"}, TypeError, "whole numbers"), ("x", TypeError, "a layout is a number")):
            with self.assertRaisesRegex(error, words):
                fewbits.Codec("f32", layout)
        for names in (("n b", "n_b"), ("", "w")):
            with self.assertRaises(ValueError):
                fewbits.Codec("f32", {names[0]: ((3,), "int64"), names[1]: 4})
        tensors = {"train": np.arange(3), "w": values(4)}
        fewbits.Codec("f32", tensors).encode(tensors, seed=1, round=0, client=0)

    def test_errors_of_plans_name_places_in_what_was_written(self):
        with self.assertRaises(fewbits.Error) as caught:
            fewbits.Codec("trelis:bits=2", {"n": ((), "int64"), "w": 3})
        self.assertEqual(caught.exception.offset, 0)

    def test_vectors_of_any_stride(self):
        tensors = {"n": np.array([1, -2, 3]), "w": values(5)}
        codec = fewbits.Codec("f32", tensors)
        vector = codec.flatten(tensors)
        for same in (np.repeat(vector, 2)[::2], np.ascontiguousarray(vector[::-1])[::-1]):
            back = codec.unflatten(same)
            for name, tensor in tensors.items():
                np.testing.assert_array_equal(back[name], tensor)
        with self.assertRaises(fewbits.Error):
            codec.unflatten(vector[1:])

    def test_arrays_that_say_what_they_are_not(self):
        class Wrong(np.ndarray):
            dtype = property(lambda self: "int64")

        codec = fewbits.Codec("f32", {"n": ((4,), "int64")})
        with self.assertRaisesRegex(TypeError, "does not hold what its dtype says"):
            codec.flatten({"n": np.zeros(4, np.uint8).view(Wrong)})

    def test_encode_copies_nothing(self):
        program = """if True:
            import re, sys
            sys.path.insert(0, sys.argv[1])
            import numpy, fewbits
            def memory(name):
                return int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read()).group(1)) / 1024
            x = numpy.random.default_rng(1).standard_normal(2**24, dtype=numpy.float32)
            codec = fewbits.Codec(sys.argv[2], x.size)
            codec.encode(x, seed=1, round=0, client=0)
            before = memory("VmRSS")
            open("/proc/self/clear_refs", "w").write("5")
            frame = codec.encode(x, seed=1, round=1, client=0)
            print(memory("VmHWM") - before, len(frame) / 2**20)
            """
        for plan in ("quantize:bits=2", "f32"):
            run = subprocess.run([sys.executable, "-c", program, PATH, plan], capture_output=True, text=True, check=True)
            more, frame = map(float, run.stdout.split())
            self.assertLess(more, frame + 4, plan)   # MiB; the update has 64


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


class Several(unittest.TestCase):
    def test_many_are_as_one_after_the_other(self):
        for plan, size in (("trellis:bits=1", 1), ("permk:cohort=4+f32", 4)):
            codec = fewbits.Codec(plan, N)
            updates, clients = [values(seed=i) for i in range(4)], [7, 3, 2**40, 0]
            for threads in (0, 1, 3):
                frames = codec.encode_many(updates, seed=1, round=2, clients=clients, threads=threads)
                for i, frame in enumerate(frames):
                    self.assertEqual(frame, codec.encode(updates[i], seed=1, round=2, client=clients[i], cohort=(i, 4)))
                one, many = (fewbits.Aggregator(codec, seed=1, round=2, cohort_size=size) for _ in range(2))
                for i, frame in enumerate(frames):
                    one.add(frame, client=clients[i], weight=i + 1, cohort_index=i if size > 1 else 0)
                damaged = frames[2][:-1] + bytes([frames[2][-1] ^ 1])
                first = many.add_many(frames[:2] + [damaged, frames[3]], clients=clients, weights=[1, 2, 3, 4], threads=threads)
                self.assertEqual([error and error.code.name for error in first], [None, None, "CHECKSUM_MISMATCH", None])
                self.assertEqual(many.add_many([frames[2]], clients=[clients[2]], weights=[3], cohort_indices=[2 if size > 1 else 0]), [None])
                self.assertEqual(many.total_weight, 10)
                np.testing.assert_allclose(many.mean(), one.mean(), rtol=1e-6, atol=1e-7)

    def test_lists_of_one_length(self):
        codec = fewbits.Codec("f32", 3)
        with self.assertRaisesRegex(ValueError, "1 updates of 2 clients"):
            codec.encode_many([np.zeros(3, np.float32)], seed=1, round=0, clients=[1, 2])
        with self.assertRaises(fewbits.Error):
            codec.encode_many([np.zeros(3, np.float32), np.zeros(4, np.float32)], seed=1, round=0, clients=[1, 2])
        with self.assertRaisesRegex(ValueError, "one length"):
            fewbits.Aggregator(codec, seed=1, round=0).add_many([b""], clients=[1, 2])

    def test_other_threads_go_on(self):
        codec = fewbits.Codec("trellis:bits=2,states=256", 2**20)
        x = values(2**20)
        done = threading.Event()
        worker = threading.Thread(target=lambda: (codec.encode(x, seed=1, round=0, client=0), done.set()))
        worker.start()
        ticks = 0
        while not done.wait(0.001):
            ticks += 1
        worker.join()
        self.assertGreater(ticks, 3)   # with the lock held it would be none


    def test_careless_threads_do_no_harm(self):
        codec = fewbits.Codec("trellis:bits=1", N)
        encoder, total = fewbits.Encoder(codec), fewbits.Aggregator(codec, seed=1, round=0)
        frames = [codec.encode(values(seed=i), seed=1, round=0, client=i) for i in range(40)]
        got = [None] * 40

        def work(k):
            for i in range(k, 40, 4):
                got[i] = encoder.encode(values(seed=i), seed=1, round=0, client=i)
                total.add(frames[i], client=i)
                total.mean()

        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(got, frames)
        self.assertEqual(total.clients, 40)

    def test_any_iterable(self):
        codec = fewbits.Codec("f32", N)
        frames = codec.encode_many((values(seed=i) for i in range(2)), seed=1, round=0, clients=np.arange(2))
        self.assertEqual(fewbits.Aggregator(codec, seed=1, round=0).add_many(tuple(frames), clients=range(2)), [None, None])


class Memories(unittest.TestCase):
    def test_error_feedback(self):
        codec = fewbits.Codec("topk:keep=0.1+f32", N)
        for options in ({}, {"method": "ef21"}, {"storage": "bfloat16", "decay": 0.9, "max_age": 5}, {"momentum": 0.9}):
            feedback = fewbits.ErrorFeedback(codec, **options)
            sent = np.zeros(N)
            for round in range(12):
                frame = feedback.encode(values(), seed=1, round=round, client=4)
                self.assertTrue(feedback.pending)
                if round == 5:
                    feedback.abandon()
                    continue
                feedback.commit()
                sent += codec.decode(frame, seed=1)
                if round == 7:
                    state = feedback.save()
                    feedback = fewbits.ErrorFeedback(codec, **options)
                    feedback.restore(state)
            self.assertEqual(feedback.round, 11)
            if not options:
                np.testing.assert_allclose(sent + feedback.memory(), 11 * values().astype(float), rtol=1e-4, atol=1e-4)
        with self.assertRaisesRegex(ValueError, "expected 'ef14' or 'ef21'"):
            fewbits.ErrorFeedback(codec, method="ef")
        with self.assertRaises(fewbits.Error) as caught:
            feedback.restore(state[:-1])
        self.assertIn(caught.exception.code.name, ("TRUNCATED", "CHECKSUM_MISMATCH"))
        with self.assertRaises(fewbits.Error) as caught:
            feedback.commit()
        self.assertEqual(caught.exception.code.name, "BAD_ARGUMENT")

    def test_profiles(self):
        scales = np.repeat([1, 0.01], 32).astype(np.float32)[:, None]
        updates = [{"w": values(64 * 64, seed).reshape(64, 64) * scales} for seed in range(4)]
        codec = fewbits.Codec("trellis:bits=0.5,scale=profile", updates[0])
        self.assertTrue(codec.takes_profile)
        learner = fewbits.ProfileLearner(codec)
        self.assertTrue(learner.profile().is_flat)
        total = fewbits.Aggregator(codec, seed=1, round=0)
        total.add_many(codec.encode_many(updates, seed=1, round=0, clients=range(4)), clients=range(4))
        learner.learn(total)
        self.assertEqual(learner.rounds, 1)
        profile = learner.profile().with_common_step(codec)
        self.assertTrue(profile.has_common_step)
        learned = codec.with_profile(fewbits.Profile.from_bytes(codec, profile.bytes))
        self.assertNotEqual(learned, codec)
        self.assertEqual(pickle.loads(pickle.dumps(learned)), learned)
        errors = [np.square(c.decode(c.encode(updates[0], seed=1, round=1, client=0), seed=1) - updates[0]["w"].ravel()).sum()
                  for c in (codec, learned)]
        self.assertLess(errors[1], errors[0])
        other = fewbits.ProfileLearner(codec)
        other.restore(learner.save())
        self.assertEqual(other.profile().bytes, learner.profile().bytes)
        learner.learn(codec.flatten(updates[1]))
        self.assertEqual(learner.rounds, 2)
        with self.assertRaises(fewbits.Error):
            fewbits.Profile.from_bytes(codec, profile.bytes[:-1])

    def test_downlinks(self):
        models = [{"w": values(600, seed).reshape(20, 30), "b": values(20, seed)} for seed in range(6)]
        codec = fewbits.Codec("quantize:bits=4", models[0])
        server, client = fewbits.Downlink(codec, models[0]), fewbits.DownlinkView(codec, codec.flatten(models[0]))
        self.assertEqual((server.codec, client.codec), (codec, codec))
        np.testing.assert_array_equal(client.view(), codec.flatten(models[0]))
        for round in (1, 2):
            frame = server.encode(models[round], seed=7, round=round)
            client.add(frame, seed=7)
            np.testing.assert_array_equal(client.view(), server.view())
        self.assertLess(len(frame), 620 * 0.6 + 100)
        restored = fewbits.Downlink.restore(codec, models[0], server.save())
        self.assertEqual(restored.encode(models[3], seed=7, round=3), server.encode(models[3], seed=7, round=3))
        np.testing.assert_array_equal(restored.view(), server.view())
        target = codec.flatten(models[3])
        for round in range(4, 100):
            server.encode(models[3], seed=7, round=round)
        self.assertLess(np.abs(server.view() - target).max(), 1e-3)   # what a round leaves out the next ones bring
        before = client.view()
        with self.assertRaises(fewbits.Error) as caught:
            client.add(frame[:-1], seed=7)
        self.assertIn(caught.exception.code.name, ("TRUNCATED", "CHECKSUM_MISMATCH"))
        np.testing.assert_array_equal(client.view(), before)
        for call, code in ((lambda: server.encode(models[3], seed=7, round=99), "WRONG_ROUND"),
                           (lambda: fewbits.Downlink(codec, values(3)), "BAD_ARGUMENT"),
                           (lambda: fewbits.DownlinkView(codec, np.full(620, np.nan, np.float32)), "NOT_FINITE"),
                           (lambda: fewbits.Downlink(fewbits.Codec("train=mask:keep=0.5 | f32", 4), np.zeros(2, np.float32)), "BAD_ARGUMENT")):
            with self.assertRaises(fewbits.Error) as caught:
                call()
            self.assertEqual(caught.exception.code.name, code)

    def test_integers(self):
        layout = {"w": (40, 30), "b": 30}
        codec = fewbits.Codec("hadamard+trellis:step=0.3,scale=flat", layout)
        integers = fewbits.Integers(codec, seed=1, round=3)
        self.assertEqual((integers.size, integers.codec), (1230, codec))
        updates, clients, weights = [values(1230, seed) for seed in range(3)], [5, 0, 2**40], [1, 600, 7]
        total = fewbits.Aggregator(codec, seed=1, round=3)
        total.add_many([codec.encode(x, seed=1, round=3, client=c) for x, c in zip(updates, clients)], clients=clients, weights=weights)
        own = [integers.encode(x, client=c) for x, c in zip(updates, clients)]
        self.assertEqual((own[0].dtype, own[0].shape), (np.int32, (1230,)))
        sums = sum(weight * x.astype(np.int64) for weight, x in zip(weights, own))
        for given in (sums, sums.astype(np.int32)):
            np.testing.assert_array_equal(integers.mean(given, clients=clients, weights=weights), total.mean())
        with self.assertRaisesRegex(TypeError, "float64"):
            integers.mean(sums.astype(float), clients=clients)
        with self.assertRaisesRegex(ValueError, "one length"):
            integers.mean(sums, clients=clients, weights=[1])
        for plan in ("trellis:bits=2", "trellis:bits=2,scale=profile", "f32"):
            with self.assertRaisesRegex(fewbits.Error, "not linear in integers"):
                fewbits.Integers(fewbits.Codec(plan, layout), seed=1, round=0)

    def test_structures(self):
        for plan in ("train=mask:keep=0.25 | f32", "train=lowrank:rank=2 | f32"):
            codec = fewbits.Codec(plan, {"w": (20, 30), "b": 20})
            family = fewbits.Structure(codec, seed=1, round=3)
            self.assertTrue(codec.structured)
            self.assertEqual((family.free_parameters, family.coordinates), (codec.elements, 620))
            free, gradient = values(codec.elements), values(620, 2)
            update = family.expand(free)
            self.assertAlmostEqual(float(update @ gradient), float(free @ family.pull_back(gradient)), places=3)   # adjoint
            np.testing.assert_allclose(family.project(update), free, atol=1e-4)
            np.testing.assert_array_equal(codec.decode(codec.encode(free, seed=1, round=3, client=0), seed=1), free)
        with self.assertRaisesRegex(ValueError, "620"):
            family.pull_back(free)
        with self.assertRaises(fewbits.Error):
            fewbits.Structure(fewbits.Codec("f32", 3), seed=1, round=0)


class Measurements(unittest.TestCase):
    def test_figures_are_those_of_the_program(self):
        x = values(4096)
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "x.npy")
            np.save(file, x)
            for plan in ("trellis:bits=1", "mask:keep=0.1+f32", "train=mask:keep=0.5 | quantize:bits=4"):
                run = subprocess.run([PROGRAM, "measure", "--json", "--repeats", "5", "--seed", "3", "--plan", plan, file],
                                     capture_output=True, text=True, check=True)
                want, = json.loads(run.stdout)
                got = fewbits.measure(fewbits.Codec(plan, 4096), x, repeats=5, seed=3)
                self.assertEqual(set(got), set(want))
                for name in ("coordinates", "bytes", "bits_per_coordinate", "nmse", "bias_ratio", "limit_ratio", "unbiased"):
                    self.assertAlmostEqual(got[name], want[name], places=12, msg=name)
        several = fewbits.measure(fewbits.Codec("quantize:bits=4", {"a": 4096}), [{"a": x}, {"a": 2 * x}])
        self.assertGreater(several["nmse"], 0)
        with self.assertRaises(fewbits.Error):
            fewbits.measure(fewbits.Codec("f32", 3), x)

    def test_inspect(self):
        info = fewbits.inspect(fewbits.Codec("f32", 3).encode(np.zeros(3, np.float32), seed=1, round=2, client=9))
        self.assertEqual((info["round"], info["client"], info["sections"]), (2, 9, [{"offset": 18, "bytes": 12}]))
        with self.assertRaises(fewbits.Error):
            fewbits.inspect(b"no frame")


class Objects(unittest.TestCase):
    def test_codecs_pickle(self):
        for layout in (N, {"a": (3, 4), "b": ()}):
            codec = fewbits.Codec("quantize:bits=2", layout)
            for other in (pickle.loads(pickle.dumps(codec)), copy.deepcopy(codec), eval(repr(codec))):
                self.assertEqual(other, codec)
                self.assertEqual(hash(other), hash(codec))
        self.assertNotEqual(fewbits.Codec("f32", 3), fewbits.Codec("f32", 4))
        two, three = fewbits.Codec("trellis:bits=2", 3), fewbits.Codec("trellis:bits=3", 3)
        self.assertNotEqual(two, three)
        self.assertEqual(two.fingerprint, three.fingerprint)   # their frames are interchangeable

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
        self.assertEqual(fewbits.describe("hadamard+quantize:bits=4", N), description)
        self.assertIn("eden", [preset["name"] for preset in fewbits.presets()])
        for name in fewbits.__all__:
            self.assertTrue(name == "__version__" or getattr(fewbits, name).__doc__, name)


if __name__ == "__main__":
    unittest.main()
