"""`fewbits privacy` beside dp-accounting, on random settings.

    accountant_peer_test.py PROGRAM

dp-accounting's losses <= our Rényi bound <= its Rényi bound; our losses within a per cent of its, and never below them
by more than the grid.
"""

import json
import pathlib
import subprocess
import sys
import unittest

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))
from optional import need  # noqa: E402

need("dp_accounting")
from absl import logging  # noqa: E402
from dp_accounting import dp_event, rdp  # noqa: E402
from dp_accounting.pld import PLDAccountant  # noqa: E402

PROGRAM = pathlib.Path(sys.argv.pop(1)).resolve()
GRID = 1e-4
logging.set_verbosity(logging.ERROR)  # it warns of each order whose sum does not converge
SETTINGS = 100


def ours(q, z, rounds, delta):
    done = subprocess.run([PROGRAM, "privacy", "--q", repr(q), "--z", repr(z), "--rounds", str(rounds), "--delta", repr(delta), "--json"],
                          capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def event(q, z, rounds):
    one = dp_event.GaussianDpEvent(z)
    return dp_event.SelfComposedDpEvent(one if q == 1 else dp_event.PoissonSampledDpEvent(q, one), rounds)


def losses(q, z, rounds, delta, grid):
    accountant = PLDAccountant(value_discretization_interval=grid)
    accountant.compose(event(q, z, rounds))
    return accountant.get_epsilon(delta)


def settings():
    """Random ones whose epsilon is neither next to nothing nor of no use."""
    random = np.random.default_rng(20)
    while True:
        q = 1.0 if random.random() < 0.1 else float(10 ** random.uniform(-3, -0.1))
        z = float(10 ** random.uniform(-0.3, 1))
        rounds = int(10 ** random.uniform(0, 4))
        delta = float(10 ** random.uniform(-8, -2))
        found = ours(q, z, rounds, delta)
        if 0.05 < found["epsilon"] < 20:
            yield (q, z, rounds, delta), found


class Peer(unittest.TestCase):
    def test_bounds_are_in_their_order(self):
        nearest, below = [], []
        for _, (setting, found) in zip(range(SETTINGS), settings()):
            with self.subTest(setting=setting):
                q, z, rounds, delta = setting
                peer = losses(q, z, rounds, delta, GRID)
                self.assertGreaterEqual(found["epsilon"], peer - GRID)
                self.assertLessEqual(found["epsilon"], peer * 1.01)
                renyi = rdp.RdpAccountant()
                renyi.compose(event(q, z, rounds))
                bound = renyi.get_epsilon(delta)
                self.assertLessEqual(peer, found["epsilon_rdp"])
                self.assertLessEqual(found["epsilon_rdp"], bound * (1 + 1e-9))
                if found["order"] >= 3:  # where the signs that its sums drop hardly matter
                    self.assertGreaterEqual(found["epsilon_rdp"], bound * 0.99)
                nearest.append(found["epsilon"] / peer - 1)
                below.append(found["epsilon_rdp"] / bound - 1)
        print(f"losses: {min(nearest):+.2%} to {max(nearest):+.2%} of the peer's; Rényi: {min(below):+.2%} to {max(below):+.2%}")

    def test_small_losses_have_a_finer_grid(self):
        for setting in ((0.000362, 2.22, 13756, 7.32e-07), (0.00133, 4.48, 68125, 1.61e-06), (0.000829, 3.22, 44793, 4.26e-08),
                        (0.00207, 18.6, 38, 1.41e-09)):
            with self.subTest(setting=setting):
                found = ours(*setting)["epsilon"]
                self.assertLess(found, losses(*setting, GRID))
                peer = losses(*setting, GRID / 10)
                self.assertGreaterEqual(found, peer - GRID / 10)
                self.assertLessEqual(found, peer * 1.01)


if __name__ == "__main__":
    unittest.main()
