"""What a server knows of the privacy of its rounds in Flower: norms, weights, noise, and what has been spent."""

import dataclasses
import math
import secrets
import typing

import numpy as np

from fewbits import privacy


@dataclasses.dataclass(frozen=True)
class Terms:
    """As a strategy is told; FewbitsFedAvg and SecureFedAvg say what each means."""

    clip: float
    clip_by: str = "whole"
    epsilon: float | None = None
    delta: float = 0.0
    noise_multiplier: float = 0.0
    examples_cap: float = 0.0
    probability: float | None = None
    population: int | None = None
    total_weight: float | None = None
    noise_by: str = "server"
    dropouts: float = 0.1
    bits: int = 16          # of a secure sum's words
    min_cohort: int = 0     # of a secure sum

    def __post_init__(self) -> None:
        privacy.Clipping.whole(1, self.clip)   # raises for what no norm is
        _require(self.clip_by in ("whole", "tensor"), f"clip_by is '{self.clip_by}', expected 'whole' or 'tensor'")
        _require(self.noise_by in ("server", "clients"), f"noise_by is '{self.noise_by}', expected 'server' or 'clients'")
        _require(math.isfinite(self.examples_cap) and self.examples_cap >= 0, f"examples_cap is {self.examples_cap}, expected a number from 0 on")
        _require(self.epsilon is None or self.epsilon > 0, f"epsilon is {self.epsilon}, expected a positive number")
        _require(0 <= self.noise_multiplier <= 256, f"noise_multiplier is {self.noise_multiplier}, expected a number from 0 to 256")
        _require(self.probability is None or 0 < self.probability <= 1, f"probability is {self.probability}, expected a number over 0, at most 1")
        _require(0 <= self.dropouts < 1, f"dropouts is {self.dropouts}, expected a share from 0 to less than 1")
        _require(self.population is None or self.population > 0, f"population is {self.population}, expected the number of nodes")
        if self.with_noise:
            _require(self.probability is not None, "privacy needs probability=: what a round tells of a node is less because it may not take part, each "
                     "node by chance and independently; for cohorts of a fixed size that does not hold. Where all nodes take part: probability=1")
            _require(0 < self.delta < 1, f"privacy needs delta=, over 0 and less than 1 in the number of nodes; it is {self.delta}")
        else:
            _require(self.noise_by == "server", "noise_by='clients' needs epsilon= or noise_multiplier=")

    @property
    def with_noise(self) -> bool:
        return self.epsilon is not None or self.noise_multiplier > 0


def _require(right: bool, what: str) -> None:
    if not right:
        raise ValueError("fewbits: " + what)


def terms_of(clip: float | None, options: dict[str, typing.Any]) -> Terms | None:
    """None without a norm. Raises ValueError where something else of privacy is asked for."""
    if clip is not None:
        return Terms(clip, **options)
    defaults = {field.name: field.default for field in dataclasses.fields(Terms)}
    for name in ("clip_by", "epsilon", "delta", "noise_multiplier", "examples_cap", "total_weight", "noise_by"):
        if name in options and options[name] != defaults[name]:
            raise ValueError(f"fewbits: {name}= needs clip=, the norm to which updates are clipped")
    return None


def chosen(nodes: typing.Iterable[int], probability: float) -> list[int]:
    """Each by chance and independently; nobody can foresee who."""
    draw = secrets.SystemRandom()
    return [node for node in nodes if draw.random() < probability]


class PrivateRounds:
    """Of one strategy. What has been spent stays spent: it counts over all trainings."""

    def __init__(self, terms: Terms, weighted_by: str = "num-examples") -> None:
        self.terms = terms
        self.weighted_by = weighted_by
        self.accountant = privacy.Accountant()
        self.rounds = 1
        self.noise_multiplier = terms.noise_multiplier
        self.population = terms.population or 0
        self.client_noise: privacy.ClientNoise | None = None
        self.least_cohort = terms.min_cohort

    def begin(self, rounds: int) -> None:
        self.rounds = rounds
        terms = self.terms
        if terms.noise_by == "server" and terms.epsilon is not None and self.noise_multiplier == 0:
            assert terms.probability is not None
            self.noise_multiplier = privacy.noise_multiplier(q=terms.probability, rounds=rounds, epsilon=terms.epsilon, delta=terms.delta)

    def know(self, nodes: int) -> None:
        """How many nodes there are, where it has not been said."""
        self.population = self.population or nodes

    def clipping(self, layout: dict[str, typing.Any]) -> privacy.Clipping:
        if self.terms.clip_by == "tensor":
            return privacy.Clipping.per_tensor(layout, self.terms.clip)
        return privacy.Clipping.whole(sum(int(np.prod(shape)) for shape in layout.values()), self.terms.clip)

    def denominator(self, asked: int, received: int) -> float:
        """Of the mean: with noise or weights one that does not depend on who takes part."""
        terms = self.terms
        if not terms.with_noise and terms.examples_cap == 0:
            return received
        share = terms.probability if terms.probability is not None else asked / self.population
        return share * (self.population if terms.total_weight is None else terms.total_weight)

    def cohort(self, asked: int) -> float:
        """Its size, on average where it is left to chance."""
        return asked if self.terms.probability is None else self.terms.probability * self.population

    def spread_noise(self, values: int) -> None:
        """Of a secure sum. That a round is refused for its few nodes tells of them, which nothing accounts for: it must be as rare as a failure
        that delta allows. Where clients add the noise, so much from each that the fewest whose sum is opened add what is asked for."""
        terms = self.terms
        if not terms.with_noise:
            return
        assert terms.probability is not None
        arrives = terms.probability * (1 - terms.dropouts)   # who drops out is as one who was not chosen
        least = privacy.least_cohort(clients=self.population, probability=arrives, chance=terms.delta / self.rounds)
        _require(least >= terms.min_cohort, f"of {self.population * arrives:.0f} nodes a round on average fewer than min_cohort={terms.min_cohort} would come more "
                 f"often than in a share of delta/rounds, and a round that is refused tells of its nodes; at least {least} come. Ask more nodes, or lower min_cohort")
        if terms.noise_by != "clients" or (self.client_noise is not None and self.client_noise.values == values):
            return
        self.least_cohort = least
        noise = privacy.SpreadNoise(values, norm=terms.clip, bits=terms.bits, q=terms.probability, cohort=terms.probability * self.population, least_cohort=least)
        if self.noise_multiplier == 0:
            assert terms.epsilon is not None
            self.noise_multiplier = noise.multiplier_for(rounds=self.rounds, epsilon=terms.epsilon, delta=terms.delta)
        self.client_noise = noise.client(self.noise_multiplier)

    @property
    def _round(self) -> privacy.GaussianRound | privacy.DiscreteGaussianRound:
        assert self.terms.probability is not None
        if self.client_noise is None:
            return privacy.GaussianRound(self.terms.probability, self.noise_multiplier)
        return self.client_noise.round(self.terms.probability, self.least_cohort)

    def exhausted(self) -> str:
        """Why the next round would spend more than the budget; empty while there is enough."""
        terms = self.terms
        if terms.epsilon is None or not self.accountant.would_exceed(self._round, terms.epsilon, terms.delta):
            return ""
        return f"the next round would spend more than epsilon {terms.epsilon:g} at delta {terms.delta:g}"

    def spend(self) -> None:
        """A round; also one that comes to nothing."""
        if self.terms.with_noise:
            self.accountant.add(self._round)

    @property
    def epsilon(self) -> float | None:
        """After the rounds so far; None without noise."""
        if not self.terms.with_noise:
            return None
        return self.accountant.spent(self.terms.delta).epsilon if self.accountant.rounds else 0.0
