"""Differential privacy of clients: what rounds of training have told about one, with all its data, and the noise that hides the rest.

    z = privacy.noise_multiplier(q=0.01, rounds=1000, epsilon=4, delta=1e-6)
    total = privacy.PrivateSum(privacy.Clipping.whole(codec.elements, 1.0), z)          # of one round, at the server
    total.add(codec.decode(frame, seed=run))
    mean = total.release(0.01 * clients)
    privacy.epsilon(q=0.01, z=z, rounds=1000, delta=1e-6)

Accountant, of GaussianRound, DiscreteGaussianRound and SkellamRound: rounds of one kind or many.     epsilon, noise_multiplier, rounds_for:
of rounds that are alike.     Clipping, norm_of: of updates.     PrivateSum, add_noise: the server's noise.     ClientNoise, SpreadNoise,
least_cohort, step_for: the clients', where no server may see a sum without it.     DiscreteGaussian: exact draws.

Every client takes part in a round independently with probability q: rounds of a fixed number of clients account with q = 1. Noise is drawn
from the operating system's generator.
"""

try:
    from fewbits._secure import (Accountant, ClientNoise, Clipping, DiscreteGaussian, DiscreteGaussianRound, GaussianRound, PrivacySpent, PrivateSum,
                                 SkellamRound, SpreadNoise, add_noise, least_cohort, noise_multiplier, norm_of, rounds_for, step_for)
except ImportError as error:
    raise ImportError(f"this installation has no privacy ({error}): Botan 2 or 3, whose generator noise is drawn from, was not found when the "
                      "package was built, or is not there now; on Debian and Ubuntu `apt-get install libbotan-2-dev`, before `pip install .`") from error

__all__ = ["Accountant", "ClientNoise", "Clipping", "DiscreteGaussian", "DiscreteGaussianRound", "GaussianRound", "PrivacySpent", "PrivateSum",
           "SkellamRound", "SpreadNoise", "add_noise", "epsilon", "least_cohort", "noise_multiplier", "norm_of", "rounds_for", "step_for"]

for _class in (Accountant, ClientNoise, Clipping, DiscreteGaussian, DiscreteGaussianRound, GaussianRound, PrivacySpent, PrivateSum, SkellamRound,
               SpreadNoise):
    _class.__module__ = "fewbits.privacy"
del _class


def epsilon(*, q: float, z: float, rounds: int, delta: float, accounting: str = "pld") -> float:
    """What `rounds` rounds with chance q and noise multiplier z spend at delta. Raises fewbits.Error (BAD_ARGUMENT)."""
    accountant = Accountant(accounting)
    return accountant.spent_with(GaussianRound(q, z), delta, rounds).epsilon
