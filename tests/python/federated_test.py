"""The harness from Python: a user's own model beside the built-in one, what it refuses, and what comes out of it.

    federated_test.py PYTHONPATH
"""

import gc
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest

PATH = sys.argv.pop(1)
sys.path.insert(0, PATH)

import numpy as np  # noqa: E402: behind the path

import fewbits  # noqa: E402
from fewbits import federated  # noqa: E402

CLASSES, FEATURES = 3, 20


def clusters():
    """((x, y) of 400, (x, y) of 1200): noisy points around three centres."""
    draw = np.random.default_rng(1)
    centres = draw.standard_normal((CLASSES, FEATURES))
    y = draw.integers(0, CLASSES, 1600)
    x = (centres[y] + 0.8 * draw.standard_normal((1600, FEATURES))).astype(np.float32)
    return (x[:400], y[:400]), (x[400:], y[400:])


TRAIN, TEST = clusters()
CLIENTS = federated.partition("quantity:dirichlet=1,min=3", TRAIN[1], 12, seed=3)
WEIGHT, BIAS = "dense1.weight", "dense1.bias"


class Softmax:
    """The built-in softmax, again."""

    def __init__(self, weight=None):
        self.initial = {WEIGHT: np.zeros((FEATURES, CLASSES), np.float32) if weight is None else weight, BIAS: np.zeros(CLASSES, np.float32)}

    def probabilities(self, parameters, x):
        scores = x @ parameters[WEIGHT] + parameters[BIAS]
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def loss_and_gradient(self, parameters, x, y):
        delta = self.probabilities(parameters, x)
        loss = -np.log(delta[range(len(y)), y]).mean()
        delta[range(len(y)), y] -= 1
        delta /= len(y)
        return loss, {BIAS: delta.sum(axis=0), WEIGHT: x.T @ delta}

    def score(self, parameters, x, y):
        return (self.probabilities(parameters, x).argmax(axis=1) == y).sum(), len(y)


def trainer(model="softmax", plan="f32", *, train=TRAIN, test=TEST, clients=CLIENTS, **options):
    return federated.Trainer(model, train, test, clients, plan, **{"seed": 5, "rounds": 6, "clients_per_round": 5, "epochs": 2, "batch": 8, **options})


def without_times(results):
    return [{name: value for name, value in vars(result).items() if not name.endswith("seconds") or name.startswith("simulated")}
            for result in results]


def trained(*arguments, **options):
    """(results without times, state, model) of a whole training."""
    own = trainer(*arguments, **options)
    return without_times(own.run()), own.save(), own.released


class Private(unittest.TestCase):
    LINEAR = "hadamard+dither:scale=flat,step=auto"

    def test_a_budget(self):
        own = trainer(clip=0.5, epsilon=3.0, delta=1e-2, clients_per_round=None, client_probability=0.5)
        results = list(own.run())
        spent = [result.epsilon for result in results]
        self.assertEqual(spent, sorted(spent))
        self.assertAlmostEqual(spent[-1], 3, delta=0.01)
        self.assertEqual({result.clip for result in results}, {0.5})
        self.assertGreater(own.noise_multiplier, 0.3)
        other = trainer(clip=0.5, noise_multiplier=own.noise_multiplier, delta=1e-2, clients_per_round=None, client_probability=0.5)
        self.assertAlmostEqual(list(other.run())[-1].epsilon, spent[-1])
        plain = trainer()
        self.assertEqual((plain.step().epsilon, plain.step().clip, plain.noise_multiplier), (None, None, None))

    def test_clipping(self):
        for clip_by in ("whole", "tensor", "median"):
            own = trainer(clip=1e-3, clip_by=clip_by)
            before = own.parameters
            own.step()
            moved = np.sqrt(sum(float(np.square(own.parameters[name] - values).sum()) for name, values in before.items()))
            self.assertLess(moved, 1.001e-3)
            self.assertGreater(moved, 1e-5)
        norms = [result.clip for result in own.run()]
        self.assertGreater(norms[-1], 1e-3)   # it follows the median

    def test_secure_sums(self):
        with tempfile.TemporaryDirectory() as folder:
            _, _, model = trained(plan=self.LINEAR, clip=5.0, secure=True, secure_bits=24, min_cohort=3, transcript=folder)
            self.assertEqual(len(list(pathlib.Path(folder).glob("round-*/input-*.bin"))), 6 * 5)
        _, _, plain = trained(clip=5.0)
        for name, values in plain.items():
            np.testing.assert_allclose(model[name], values, atol=1e-3)
        noised = trainer(plan=self.LINEAR, clip=0.5, secure=True, min_cohort=3, clients_per_round=None, client_probability=1.0, noise_multiplier=2.0,
                         delta=1e-2, noise_by="clients")
        self.assertGreater(list(noised.run())[-1].epsilon, 1)
        few = trainer(plan=self.LINEAR, clip=5.0, secure=True, min_cohort=6)   # of cohorts of 5
        before = few.parameters
        self.assertEqual(few.step().clients, 0)
        for name, values in before.items():
            np.testing.assert_array_equal(few.parameters[name], values)

    def test_what_goes_together(self):
        for options, words in (({"epsilon": 1.0}, "epsilon needs clip"), ({"noise_by": "clients"}, "noise_by needs clip"), ({"clip": 1.0, "clip_by": "me"}, "'whole', 'tensor', 'median'"),
                               ({"transcript": "x"}, "transcript needs secure"), ({"clip": 1.0, "epsilon": 1.0, "delta": 1e-2}, "client-probability")):
            with self.assertRaisesRegex(fewbits.Error, words):
                trainer(**options)


class OwnModels(unittest.TestCase):
    def test_they_train_as_the_built_in_one(self):
        built_in = trainer()
        own = trainer(Softmax(), start=built_in.parameters)
        self.assertEqual((own.layout, own.metric), (built_in.layout, built_in.metric))
        for a, b in zip(built_in.run(), own.run(), strict=True):
            self.assertAlmostEqual(a.loss, b.loss, places=5)
            self.assertAlmostEqual(a.score, b.score, delta=2 / 1200)
            self.assertEqual((a.clients, a.examples, a.upload_bytes, a.download_bytes), (b.clients, b.examples, b.upload_bytes, b.download_bytes))
        for name, values in built_in.released.items():
            np.testing.assert_allclose(own.released[name], values, rtol=1e-4, atol=1e-5)
        self.assertGreater(own.results[-1].score, own.results[0].score)
        self.assertGreater(own.results[-1].score, 0.9)

    def test_it_begins_with_initial(self):
        weight = np.random.default_rng(2).standard_normal((FEATURES, CLASSES), dtype=np.float32)
        own = trainer(Softmax(weight))
        np.testing.assert_array_equal(own.parameters[WEIGHT], weight)
        own.step()
        self.assertFalse(np.array_equal(own.parameters[WEIGHT], weight))

    def test_the_same_bits_each_time_whatever_the_threads(self):
        for plan in ("trellis:bits=0.5,scale=profile", "topk:keep=0.1+f32 @ feedback=ef14"):
            first = trained(Softmax(), plan)
            for threads in (None, 3):
                results, state, _ = trained(Softmax(), plan, threads=threads)
                self.assertEqual((results, state), first[:2])
            self.assertNotEqual(trained(Softmax(), plan, seed=6)[1], first[1])

    def test_they_are_called_by_one_thread_where_no_more_are_asked_for(self):
        callers = set()

        class Watches(Softmax):
            def loss_and_gradient(self, *arguments):
                callers.add(threading.get_native_id())
                time.sleep(0.002)   # in which others could begin
                return super().loss_and_gradient(*arguments)

        trained(Watches(), rounds=3)
        self.assertEqual(callers, {threading.get_native_id()})
        trained(Watches(), rounds=3, threads=3)
        self.assertGreater(len(callers), 1)

    def test_what_they_are_shown(self):
        kept = []

        class Looks(Softmax):
            def loss_and_gradient(self, parameters, x, y):
                kept.append((parameters[WEIGHT], x, y))
                parameters.pop(BIAS)   # theirs to do with as they like
                return 0.0, {WEIGHT: np.ones((FEATURES, CLASSES), np.float32), BIAS: np.zeros(CLASSES, np.float16)}

            def score(self, parameters, x, y):
                self.scored = x.shape
                return 0, 1

        images = TRAIN[0].reshape(400, 2, 10)
        model = Looks()
        own = trainer(model, train=(images, TRAIN[1].astype(np.uint8)), test=(images, TRAIN[1]), clients=[[3, 399, 7]], clients_per_round=None, rounds=1, epochs=1, batch=2)
        own.step()
        self.assertEqual([(x.shape, x.dtype, y.shape, y.dtype) for _, x, y in kept],
                         [((rows, 2, 10), np.float32, (rows,), np.int64) for rows in (2, 1)])
        seen = np.concatenate([x for _, x, _ in kept])
        order = [int(np.flatnonzero((images == row).all(axis=(1, 2))).item()) for row in seen]
        self.assertEqual(sorted(order), [3, 7, 399])
        np.testing.assert_array_equal(np.concatenate([y for *_, y in kept]), TRAIN[1][order])
        self.assertEqual(model.scored, (400, 2, 10))
        np.testing.assert_allclose(own.parameters[WEIGHT], np.full((FEATURES, CLASSES), -0.2), rtol=1e-6)   # two steps of 0.1
        del own, model
        gc.collect()
        self.assertTrue(np.isfinite(kept[0][0]).all())   # what is kept is not wild

        floats = trainer(Looks(), train=(TRAIN[0], np.zeros((400, 2))), test=(TRAIN[0], np.zeros((400, 2))), rounds=1)
        floats.step()
        self.assertEqual((kept[-1][2].shape[1:], kept[-1][2].dtype), ((2,), np.float32))

    def test_metrics(self):
        class Line:   # one weight, of real values
            initial = {"w": np.zeros((), np.float32)}
            metric, higher_is_better, root = "rmse", False, True

            def loss_and_gradient(self, parameters, x, y):
                off = parameters["w"] * x - y
                return np.square(off).mean() / 2, {"w": np.asarray((off * x).mean(), np.float32)}

            def score(self, parameters, x, y):
                return np.square(parameters["w"] * x - y).sum(), len(y)

        x = np.linspace(-1, 1, 100, dtype=np.float32)
        own = trainer(Line(), train=(x, 3 * x), test=(x, 3 * x), clients=[range(50), range(50, 100)], clients_per_round=None, rounds=30)
        self.assertEqual((own.metric, own.higher_is_better), ("rmse", False))
        first = own.step()
        self.assertAlmostEqual(first.score, np.sqrt(np.square((own.parameters["w"] - 3) * x).mean()), places=5)
        *_, last = own.run()
        self.assertLess(last.score, 0.01)
        self.assertEqual(own.summary(target=0.5)["rounds_to_target"],
                         next(i + 1 for i in range(30) if np.mean([r.score for r in own.results[max(0, i - 4):i + 1]]) <= 0.5))


class Exceptions(unittest.TestCase):
    def test_they_come_out_as_they_are_and_the_round_is_done_again(self):
        class Stop(BaseException):
            pass

        class Stumbles(Softmax):
            left = 0

            def stumble(self):
                self.left -= 1
                if self.left == 0:
                    self.thrown = Stop("enough")
                    raise self.thrown

            def loss_and_gradient(self, *arguments):
                self.stumble()
                return super().loss_and_gradient(*arguments)

            def score(self, *arguments):
                if self.left > 500:
                    self.left = 1
                self.stumble()
                return super().score(*arguments)

        for options in ({"downlink": "quantize:bits=4"}, {"plan": "trellis:bits=0.5,scale=profile", "threads": 2},
                        {"plan": "topk:keep=0.1+f32 @ feedback=ef14"}):
            want = trained(Softmax(), **options)
            model = Stumbles()
            own = trainer(model, **options)
            while not own.done:
                done = own.round
                for left, rounds in ((3, done), (1000, done + 1)):
                    model.left = left
                    with self.assertRaises(Stop) as caught:
                        own.step()
                    self.assertIs(caught.exception, model.thrown)
                    self.assertEqual((own.round, own.done, len(own.results)), (rounds, False, done))
                own.step()
            self.assertEqual((without_times(own.results), own.save()), want[:2])

    def test_of_a_sequence_of_clients(self):
        class Missing:
            def __len__(self):
                return 12

            def __getitem__(self, client):
                raise KeyError(client)

        with self.assertRaises(KeyError):
            trainer(Softmax(), clients=Missing()).step()

    def test_no_calls_in_the_middle_of_a_step(self):
        class Impatient(Softmax):
            def loss_and_gradient(self, *arguments):
                return own.step()

        own = trainer(Impatient())
        with self.assertRaisesRegex(RuntimeError, "in the middle of a step"):
            own.step()
        self.assertEqual(own.round, 0)


class Refusals(unittest.TestCase):
    def test_what_functions_give(self):
        good = {WEIGHT: np.zeros((FEATURES, CLASSES), np.float32), BIAS: np.zeros(CLASSES, np.float32)}
        for result, error, words in (((0.0, {**good, BIAS: np.zeros(4, np.float32)}), fewbits.Error, r"'dense1.bias' has shape \(4,\), in the layout \(3,\)"),
                                     ((0.0, {WEIGHT: good[WEIGHT]}), fewbits.Error, "the gradient has no tensor 'dense1.bias'"),
                                     ((0.0, {**good, "more": good[BIAS]}), fewbits.Error, "the layout has no tensor 'more'"),
                                     ((0.0, {**good, BIAS: np.zeros(3)}), TypeError, "float64, not float32.*astype"),
                                     ((0.0, {**good, WEIGHT: np.zeros((CLASSES, FEATURES), np.float32).T}), TypeError, "not C-contiguous"),
                                     ((0.0, [1]), TypeError, "must be a dict"), (0.0, TypeError, "must return a tuple"),
                                     ((None, good), TypeError, "the loss must be a number, not NoneType")):
            model = Softmax()
            model.loss_and_gradient = lambda *_: result
            own = trainer(model)
            with self.subTest(words), self.assertRaisesRegex(error, words):
                own.step()
            self.assertEqual(own.round, 0)
        for result, words in ((3, "score must return a tuple"), (("x", 1), "sum must be a number, not str"), ((1, None), "count must be a number")):
            model = Softmax()
            model.score = lambda *_: result
            with self.assertRaisesRegex(TypeError, words):
                trainer(model).step()

    def test_gradients_that_are_not_finite_stop_the_training(self):
        model = Softmax()
        model.loss_and_gradient = lambda *_: (0.0, {WEIGHT: np.full((FEATURES, CLASSES), np.nan, np.float32), BIAS: np.zeros(CLASSES, np.float32)})
        own = trainer(model)
        before = own.parameters
        self.assertIsNone(own.step())
        self.assertTrue(own.done)
        self.assertRegex(own.stopped, "diverged in round 1: the update of client .*nan")
        np.testing.assert_array_equal(own.parameters[WEIGHT], before[WEIGHT])
        self.assertEqual(list(own.run()), [])
        with self.assertRaisesRegex(fewbits.Error, "done after round 0"):
            own.step()

    def test_models(self):
        for name in ("initial", "loss_and_gradient", "score"):
            parts = {part: getattr(Softmax(), part) for part in ("initial", "loss_and_gradient", "score") if part != name}
            with self.assertRaisesRegex(TypeError, f"has no {name}"):
                trainer(type("Part", (), parts)())
        for initial, error, words in (({"w": np.full(3, np.nan, np.float32)}, fewbits.Error, "NaN or infinite"), ({"w": np.zeros(3)}, TypeError, "float64, not"),
                                      ({"w": np.zeros(3, np.int64)}, TypeError, "only floats are trained"), (3, TypeError, "initial must be a dict")):
            model = Softmax()
            model.initial = initial
            with self.assertRaisesRegex(error, words):
                trainer(model)
        with self.assertRaisesRegex(fewbits.Error, "model 'nothing' is not known"):
            trainer("nothing")
        with self.assertRaisesRegex(fewbits.Error, "start has no tensor"):
            trainer(start={WEIGHT: np.zeros((FEATURES, CLASSES), np.float32)})

    def test_examples_and_clients(self):
        x, y = TRAIN
        nan = x.copy()
        nan[5, 5] = np.nan
        for options, error, words in (({"train": (nan, y)}, fewbits.Error, "train has a value that is NaN"), ({"train": (x[1:], y)}, fewbits.Error, "as many rows"),
                                      ({"test": (x[:, 1:], y)}, fewbits.Error, "not of one shape"), ({"train": (x.astype(complex), y)}, TypeError, "complex128"),
                                      ({"train": (x, y + 2**25)}, ValueError, "beyond 2\\^24"), ({"train": (x, y.astype(float))}, TypeError, "both be whole"),
                                      ({"train": (x, y - 1)}, fewbits.Error, "train y has -1.0"), ({"classes": 2}, fewbits.Error, "expected whole numbers from 0 to 1"),
                                      ({"tokens": 5}, fewbits.Error, "train x has"), ({"clients": [[0, 400]]}, fewbits.Error, "client 0: there is no row 400"),
                                      ({"clients": [[0], [-1]]}, fewbits.Error, "client 1: there is no row -1"), ({"clients": [[0.5]]}, TypeError, "float64"),
                                      ({"clients": [3]}, TypeError, "one axis"), ({"clients": 7}, TypeError, "clients must be a list"),
                                      ({"clients": []}, fewbits.Error, "no clients")):
            with self.subTest(words), self.assertRaisesRegex(error, words):
                trainer(**options)

    def test_options(self):
        for options, error, words in (({"rounds": -1}, TypeError, "rounds is -1, expected a whole number from 0 on"), ({"rounds": 0}, fewbits.Error, "expected 1 to"),
                                      ({"batch": 2.5}, TypeError, "batch is 2.5"), ({"learning_rate": "x"}, TypeError, "learning_rate is 'x', expected a number"),
                                      ({"links": "up=fast"}, fewbits.Error, "up"), ({"server": "lamb"}, fewbits.Error, "sgd or adam"),
                                      ({"plan": "trelis"}, fewbits.Error, "trelis"), ({"plan": "f32 @ lr=x"}, fewbits.Error, "lr"),
                                      ({"clients_per_round": 13}, fewbits.Error, "number of clients, 12")):
            with self.subTest(words), self.assertRaisesRegex(error, words):
                trainer(**options)


class Trainers(unittest.TestCase):
    def test_fields_are_those_of_the_round(self):
        own = trainer(links="up=0.01,spread=1,fade=0.5,lost=0.3,over=1.5,deadline=20", clients_per_round=4)
        *_, last = own.run()
        self.assertGreater(last.simulated_seconds, 0)
        self.assertGreater(last.wasted_bytes, 0)
        self.assertTrue(all(result.clients <= 4 and result.asked == 6 for result in own.results), own.results)
        summary = own.summary(target=0.0)
        self.assertEqual((summary["upload_bytes"], summary["wasted_bytes"], summary["simulated_seconds"]),
                         (last.upload_bytes, last.wasted_bytes, last.simulated_seconds))
        self.assertEqual((summary["rounds_to_target"], summary["upload_bytes_to_target"]), (1, own.results[0].upload_bytes))
        self.assertAlmostEqual(summary["bits_per_coordinate"], 8 * (last.upload_bytes - last.wasted_bytes) / (last.frames * 63))
        self.assertAlmostEqual(summary["final_score"], np.mean([result.score for result in own.results[-5:]]))

    def test_options_reach_the_harness(self):
        base = trained()
        for options in ({"epochs": 1}, {"batch": 16}, {"learning_rate": 0.2}, {"learning_rate_decay": 0.9}, {"prox": 1.0},
                        {"server": "adam", "server_learning_rate": 0.01}, {"server_learning_rate": 0.5}, {"server_momentum": 0.5}, {"average": 0.5},
                        {"clients_per_round": 4}, {"client_probability": 0.5}, {"downlink": "quantize:bits=4"}, {"eval_every": 3},
                        {"eval_examples": 50}, {"plan": "f32 @ lr=0.2"}, {"plan": "f32 @ clients-per-round=4"}, {"classes": 4}, {"seed": 6}):
            self.assertNotEqual(trained(**options)[0], base[0], options)
        self.assertNotEqual(trained(epochs=1, stream=4)[0], trained(epochs=1)[0])
        adam = {"server": "adam", "server_learning_rate": 0.01}
        for options in ({"server_beta2": 0.5}, {"server_tau": 0.1}):
            self.assertNotEqual(trained(**adam, **options)[0], trained(**adam)[0], options)
        self.assertEqual(trained("mlp:hidden=4")[0], trained("mlp:hidden=4", threads=1)[0])

    def test_downlinks_cost_less(self):
        whole, coded = (trained(Softmax(), rounds=6, clients_per_round=12, downlink=downlink)[0][-1]["download_bytes"] for downlink in ("", "quantize:bits=4"))
        self.assertLess(coded, 0.7 * whole)

    def test_restored_trainers_go_on_bit_for_bit(self):
        for model, plan, options in ((Softmax(), "topk:keep=0.1+f32 @ feedback=ef14", {"server": "adam", "average": 0.7, "server_learning_rate": 0.01}),
                                     (Softmax(), "f32", {"downlink": "quantize:bits=4"}), ("mlp:hidden=8", "trellis:bits=0.5,scale=profile", {})):
            want = trained(model, plan, **options)
            first, second = trainer(model, plan, **options), trainer(model, plan, **options)
            for _ in range(3):
                first.step()
            state = first.save()
            second.restore(state)
            self.assertEqual(second.round, 3)
            self.assertEqual(without_times(second.run()), want[0][3:])
            self.assertEqual(second.save(), want[1])
            for name, values in want[2].items():
                np.testing.assert_array_equal(second.released[name], values)
            second.restore(state)
            self.assertEqual((second.round, second.results), (3, []))
            with self.assertRaises(fewbits.Error):
                second.restore(state[:-1])
            with self.assertRaises(fewbits.Error):
                trainer(model, plan, **{**options, "seed": 6}).restore(state)

    def test_examples_are_read_in_place_and_kept(self):
        x, y = TRAIN[0].copy(), TRAIN[1].astype(np.float32)
        want = trained(Softmax(), test=TEST)
        test = (TEST[0].copy(), TEST[1].astype(np.float32))
        whole = Softmax()
        whole.loss_and_gradient = lambda parameters, x, y: Softmax.loss_and_gradient(whole, parameters, x, y.astype(int))
        before = [sys.getrefcount(array) for array in (x, y, *test)]
        own = trainer(whole, train=(x, y), test=test)
        self.assertTrue(all(sys.getrefcount(array) > count for array, count in zip((x, y, *test), before)))
        del x, y, test
        gc.collect()
        self.assertEqual((without_times(own.run()), own.save()), want[:2])

    def test_other_arrays_are_converted(self):
        want = trained()
        self.assertEqual(trained(train=(np.asfortranarray(TRAIN[0].astype(np.float64)), TRAIN[1].astype(np.int8)))[0], want[0])

    def test_sequences_of_clients(self):
        class Drawn:
            def __len__(self):
                return 1_000_000

            def __getitem__(self, client):
                return np.random.default_rng(client).integers(0, 400, 7)

        results, *_ = trained(clients=Drawn(), rounds=2)
        self.assertEqual([result["examples"] for result in results], [35, 35])
        with self.assertRaisesRegex(fewbits.Error, "there is no row 400"):
            trainer(clients=np.array([[1, 400]]), clients_per_round=1).step()
        self.assertEqual(trained(clients=np.arange(400).reshape(20, 20))[0], trained(clients=[range(i, i + 20) for i in range(0, 400, 20)])[0])

    def test_updates_can_be_seen(self):
        own = trainer(clients_per_round=3)
        seen = []
        own.observe(12, lambda *update: seen.append(update))
        before = own.parameters
        own.step()
        self.assertEqual([round for round, *_ in seen], [1, 1, 1])
        weights = [len(CLIENTS[client]) for _, client, _ in seen]
        mean = np.average([update for *_, update in seen], axis=0, weights=weights)
        codec = fewbits.Codec(own.plan, own.layout)
        np.testing.assert_allclose(codec.flatten(own.parameters), codec.flatten(before) + mean, rtol=1e-5, atol=1e-6)
        own.observe(0, None)
        own.step()
        self.assertEqual(len(seen), 3)

    def test_partitions_and_models(self):
        rows = federated.partition("iid", TRAIN[1], 7)
        np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(400))
        self.assertEqual(len(rows), 7)
        self.assertNotEqual([list(own) for own in rows], [list(own) for own in federated.partition("iid", TRAIN[1], 7, seed=2)])
        skewed = federated.partition("classes:c=1", TRAIN[1], 6)
        self.assertTrue(all(len(set(TRAIN[1][own])) == 1 for own in skewed))
        with self.assertRaises(fewbits.Error):
            federated.partition("dealt", TRAIN[1], 7)
        self.assertIn("softmax", [model["name"] for model in federated.models()])


class Packages(unittest.TestCase):
    def run_python(self, program, path):
        return subprocess.run([sys.executable, "-B", "-c", f"import sys; sys.path.insert(0, {str(path)!r})\n{program}"], capture_output=True, text=True)

    def test_the_rest_of_the_package_loads_no_harness(self):
        run = self.run_python("import fewbits\nmaps = open('/proc/self/maps').read()\n"
                              "print([name for name in ('_federated', 'libtbb') if name in maps])", PATH)
        self.assertEqual(run.stdout.strip(), "[]", run.stderr)

    def test_without_the_harness(self):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(pathlib.Path(PATH, "fewbits"), pathlib.Path(folder, "fewbits"), ignore=shutil.ignore_patterns("_federated*.so"))
            run = self.run_python("import fewbits\ntry:\n  import fewbits.federated\nexcept ImportError as error:\n  print(error)", folder)
            self.assertRegex(run.stdout, "has no harness .*tools/setup.sh", run.stderr)


if __name__ == "__main__":
    unittest.main()
