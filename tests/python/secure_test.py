"""Secure aggregation and privacy in Python: the protocol from end to end with dropouts, noise, and what accountants say.

    secure_test.py PYTHONPATH
"""

import math
import os
import pathlib
import subprocess
import sys
import threading
import unittest

PATH = os.path.abspath(sys.argv.pop(1))
sys.path.insert(0, PATH)

import numpy as np  # noqa: E402: behind the path

import fewbits  # noqa: E402
from fewbits import privacy, secure  # noqa: E402

COHORT = [17, 2**63 + 9, 3, 1000, 5, 77]
BITS = 11


def settings(clients=len(COHORT), **changes):
    return secure.Settings(**{"session": 2**64 - 3, "round": 3, "plan": 2**63 + 1, "length": 1000, "bits": BITS, "clients": clients, "min_cohort": 3, **changes})


class Round:
    """All ends; who is in `silent` (a client's id with a phase) sends nothing from that phase on. Clients may be reborn before each message."""

    def __init__(self, given, cohort=None, silent=None, reborn=False):
        self.settings, self.cohort, self.silent, self.reborn = given, cohort or COHORT, silent or {}, reborn
        self.server = secure.Server(given, self.cohort)
        self.clients = {id: secure.Client(given, id) for id in self.cohort}
        draw = np.random.default_rng(5)
        self.integers = {id: draw.integers(-100, 100, given.length) for id in self.cohort}

    def answer(self, id, message):
        phase = self.server.phase
        if self.reborn:
            self.clients[id] = secure.Client.restore(self.settings, id, self.clients[id].save())
        client = self.clients[id]
        if phase == "keys":
            return client.advertise()
        if phase == "inputs":
            return client.masked_input(message, secure.to_words(self.integers[id], BITS))
        return client.share(message) if phase == "shares" else client.unmask(message)

    def run(self):
        messages, phases = {id: b"" for id in self.cohort}, ["keys", "shares", "inputs", "unmasking"]
        for place, phase in enumerate(phases):
            for id, message in messages.items():
                if place < phases.index(self.silent.get(id, "unmasking")) or id not in self.silent:
                    self.server.receive(id, self.answer(id, message))
            if phase != "unmasking":
                messages = self.server.close()
        return secure.from_words(self.server.sum(), BITS)

    def plain(self):
        return sum(self.integers[id] for id in self.server.survivors())


class Protocol(unittest.TestCase):
    def test_the_sum_is_that_of_the_integers(self):
        for silent in ({}, {3: "shares"}, {3: "inputs"}, {3: "unmasking"}, {17: "inputs"}, {1000: "keys"}):
            for reborn in (False, True):
                with self.subTest(silent=silent, reborn=reborn):
                    one = Round(settings(threshold=4 if not silent else 0), silent=silent, reborn=reborn)
                    np.testing.assert_array_equal(one.run(), one.plain())
                    self.assertEqual(len(one.server.survivors()), len(COHORT) - any(phase != "unmasking" for phase in silent.values()))

    def test_too_few_open_nothing(self):
        with self.assertRaises(fewbits.Error) as caught:
            Round(settings(min_cohort=5), silent={3: "inputs", 17: "inputs"}).run()
        self.assertEqual(caught.exception.code, fewbits.ErrorCode.EMPTY)

    def test_what_is_refused(self):
        one = Round(settings())
        with self.assertRaisesRegex(fewbits.Error, "calls share, and what is due is advertise"):
            one.clients[3].share(b"")
        message = one.clients[3].advertise()
        one.server.receive(3, message)
        for client, bytes_, code in ((3, message, "DUPLICATE_CLIENT"), (4, message, "WRONG_CLIENT"), (5, message, "WRONG_CLIENT"), (5, message[:-1], "WRONG_CLIENT"),
                                     (5, b"", "TRUNCATED"), (5, b"\x00" + message, "NOT_A_FRAME")):
            with self.assertRaises(fewbits.Error) as caught:
                one.server.receive(client, bytes_)
            self.assertEqual(caught.exception.code.name, code)
        self.assertEqual((one.server.phase, one.server.survivors()), ("keys", [3]))
        for wrong in ({"min_cohort": 2}, {"bits": 33}, {"threshold": 2}, {"clients": 2}):
            with self.assertRaises(fewbits.Error):
                settings(**wrong)
        with self.assertRaises(fewbits.Error):
            secure.Server(settings(), [1, 2, 3])
        state = bytearray(one.clients[3].save())
        state[60] ^= 1
        with self.assertRaises(fewbits.Error) as caught:
            secure.Client.restore(settings(), 3, state)
        self.assertEqual(caught.exception.code, fewbits.ErrorCode.CHECKSUM_MISMATCH)

    def test_defaults_are_in_place(self):
        self.assertEqual((settings().neighbours, settings().threshold), (5, 4))
        self.assertEqual(settings(clients=1000).neighbours, 52)

    def test_words(self):
        self.assertEqual([secure.word_bits(16, clients) for clients in (10, 100, 1000)], [8, 11, 14])
        integers = np.array([-1024, -1, 0, 5, 1023], np.int32)
        words = secure.to_words(integers, BITS)
        self.assertEqual((words.dtype, words.tolist()), (np.uint32, [1024, 2047, 0, 5, 1023]))
        np.testing.assert_array_equal(secure.from_words(words, BITS), integers)
        np.testing.assert_array_equal(secure.from_words(words, BITS, lowest=0), words)
        for wrong, error in (([2048 + 1], fewbits.Error), ([2**40], fewbits.Error), ([0.5], TypeError)):
            with self.assertRaises(error):
                secure.to_words(wrong, BITS)
        with self.assertRaisesRegex(TypeError, "int64, not uint32"):
            secure.from_words(np.zeros(3, np.int64), BITS)
        with self.assertRaisesRegex(TypeError, "uint32"):
            one = Round(settings())
            one.clients[3].masked_input(b"", np.zeros(1000))

    def test_updates_under_the_masks(self):
        codec = fewbits.Codec("hadamard+dither:scale=flat,step=0.01", 1000)
        integers = fewbits.Integers(codec, seed=9, round=3)
        updates = {id: np.random.default_rng(id % 1000).standard_normal(1000).astype(np.float32) * np.float32(0.03) for id in COHORT}
        one = Round(settings(length=integers.size, plan=codec.fingerprint), silent={5: "inputs"})
        one.integers = {id: integers.encode(update, client=id) for id, update in updates.items()}
        sums = one.run()
        left = one.server.survivors()
        mean = integers.mean(sums, clients=left)
        exact = np.mean([updates[id] for id in left], axis=0)
        self.assertLess(np.abs(mean - exact).max(), 5 * 0.01 / math.sqrt(12 * len(left)))   # of some 1000 sums of uniform errors
        values = integers.values_of_sums(sums, clients=left)
        np.testing.assert_allclose(integers.update(values / len(left)), mean, atol=1e-7)
        np.testing.assert_allclose(integers.values(exact.astype(np.float32)), values / len(left), atol=0.03)
        self.assertEqual(values.dtype, np.float64)

    def test_threads_share_an_object(self):
        one = Round(settings())
        sent = []

        def ask():
            try:
                sent.append(one.clients[3].advertise())
            except fewbits.Error:
                pass

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(sent), 1)


class Privacy(unittest.TestCase):
    def test_accountants(self):
        # q, z, rounds, delta; by Renyi divergences, and by dp-accounting's privacy loss distributions.
        for q, z, rounds, delta, rdp, pld in ((0.01, 1.1, 10000, 1e-5, 5.6320, 5.193), (0.04, 1.5, 2250, 1e-5, 7.3291, 6.769), (1, 10, 100, 1e-5, 4.7285, 4.377)):
            self.assertAlmostEqual(privacy.epsilon(q=q, z=z, rounds=rounds, delta=delta, accounting="rdp"), rdp, delta=0.006 * rdp)
            self.assertAlmostEqual(privacy.epsilon(q=q, z=z, rounds=rounds, delta=delta), pld, delta=0.01 * pld)
        accountant = privacy.Accountant()
        self.assertEqual((accountant.spent(1e-5).epsilon, accountant.rounds, accountant.history()), (0, 0, []))
        one, other = privacy.GaussianRound(0.04, 1.5), privacy.GaussianRound(q=0.1, z=2)
        accountant.add(one, 1000)
        accountant.add(other)
        self.assertEqual(accountant.history(), [(one, 1000), (other, 1)])
        self.assertNotEqual(one, other)
        spent = accountant.spent(1e-5)
        self.assertLess(spent.epsilon, spent.epsilon_rdp)
        self.assertEqual(spent.accounting, "pld")
        self.assertTrue(accountant.would_exceed(one, spent.epsilon, 1e-5))
        self.assertFalse(accountant.would_exceed(one, spent.epsilon + 0.1, 1e-5))
        self.assertGreater(accountant.spent_with(one, 1e-5, 10).epsilon, spent.epsilon)
        z = privacy.noise_multiplier(q=0.01, rounds=1000, epsilon=2, delta=1e-6)
        self.assertAlmostEqual(privacy.epsilon(q=0.01, z=z, rounds=1000, delta=1e-6), 2, delta=1e-4)
        self.assertEqual(privacy.rounds_for(privacy.GaussianRound(0.01, z), epsilon=2, delta=1e-6), 1000)
        for wrong in (lambda: privacy.epsilon(q=0, z=1, rounds=1, delta=1e-5), lambda: privacy.Accountant("gdp"), lambda: accountant.spent(1)):
            with self.assertRaises(fewbits.Error):
                wrong()
        distributed = privacy.DiscreteGaussianRound(q=1, clients=10, sigma=100, l2=50, dimension=100)
        self.assertGreater(privacy.Accountant().spent_with(distributed, 1e-5).epsilon, 0)
        skellam = privacy.SkellamRound(q=1, variance=1e5, l2=50, dimension=100)
        self.assertGreater(privacy.Accountant().spent_with(skellam, 1e-5).epsilon, 0)

    def test_clipping(self):
        update = np.arange(1, 13, dtype=np.float32)
        clipped, within = privacy.Clipping.whole(12, 2.0).clip(update)
        self.assertFalse(within)
        self.assertLessEqual(privacy.norm_of(clipped), 2)
        np.testing.assert_allclose(clipped, update * 2 / np.linalg.norm(update), rtol=1e-6)
        parts = privacy.Clipping.per_tensor({"a": (3, 2), "b": 6}, 2.0)
        clipped, _ = parts.clip(update)
        self.assertAlmostEqual(float(np.linalg.norm(clipped[:6])), math.sqrt(2), delta=1e-6)
        self.assertEqual((parts.elements, parts.norm, parts.with_norm(1.0).norm), (12, 2, 1))
        same, within = privacy.Clipping.whole(12, 100.0).clip(update)
        self.assertTrue(within)
        np.testing.assert_array_equal(same, update)
        with self.assertRaises(fewbits.Error):
            parts.clip(update[:3])
        with self.assertRaises(TypeError):
            parts.clip(update.astype(float))

    def test_noise(self):
        gaussian = privacy.DiscreteGaussian(20)
        draws = gaussian.draw(20000)
        # Standard errors of mean and variance: 20/sqrt(20000), and sqrt(2/20000) of itself. |z| <= 6 fails once in 10^8 runs.
        self.assertLess(abs(draws.mean()), 6 * 20 / math.sqrt(20000))
        self.assertLess(abs(draws.var() / 400 - 1), 6 * math.sqrt(2 / 20000))
        self.assertFalse(np.array_equal(draws, privacy.DiscreteGaussian(20).draw(20000)))
        total = privacy.PrivateSum(privacy.Clipping.whole(20000, 1.0), 0.5)
        total.add(np.full(20000, 10, np.float32))   # clipped to 1/sqrt(20000) each
        mean = total.release(10)
        self.assertLess(abs(mean.std() / 0.05 - 1), 6 * math.sqrt(0.5 / 20000))
        with self.assertRaises(fewbits.Error):
            total.release(10)
        exact = privacy.PrivateSum(privacy.Clipping.whole(3, 10.0), 0)
        exact.add(np.array([1, 2, 3], np.float32), 0.5)
        exact.add(np.array([1, 2, 3], np.float32))
        np.testing.assert_allclose(exact.release(3), [0.5, 1, 1.5], atol=1e-5)
        noised = privacy.add_noise(np.zeros(20000), sensitivity=3, noise_multiplier=2)
        self.assertLess(abs(noised.std() / 6 - 1), 6 * math.sqrt(0.5 / 20000))

    def test_noise_of_the_clients(self):
        values, clients, sigma = 4096, 20, 0.02
        step = privacy.step_for(bits=16, values=values, clients=clients, sum_norm=clients, noise=sigma * math.sqrt(clients))
        noise = privacy.ClientNoise(values, norm=1.0, step=step, sigma=sigma)
        self.assertEqual((noise.values, noise.step, noise.sigma), (values, step, sigma))
        self.assertGreater(noise.l2, 1 / step)
        update = np.full(values, 1 / 64, np.float32)
        total = sum(noise.encode(update).astype(np.int64) for _ in range(clients)) * step
        self.assertLess(abs(total.mean() - clients / 64), 6 * sigma * math.sqrt(clients / values))
        self.assertLess(abs(total.std() / (sigma * math.sqrt(clients)) - 1), 6 * math.sqrt(0.5 / values) + 0.01)


class Link(unittest.TestCase):
    def test_codecs_load_no_cryptography(self):
        for module, loads in (("_core", False), ("_secure", True)):
            library, = pathlib.Path(PATH, "fewbits").glob(f"{module}.*.so")
            needed = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
            self.assertEqual("botan" in needed, loads, module)
        run = subprocess.run([sys.executable, "-c", "import sys, fewbits; sys.exit(any('_secure' in name for name in sys.modules))"], env=dict(os.environ, PYTHONPATH=PATH))
        self.assertEqual(run.returncode, 0)


if __name__ == "__main__":
    unittest.main()
