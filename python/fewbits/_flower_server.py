"""Strategies of fewbits.flower, which says what they are for."""

import dataclasses
import inspect
import logging
import math
import os
import time
import typing
from collections.abc import Iterable

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Result, Strategy

import fewbits
from fewbits._flower_arrays import KEY, Refused, added, as_before, frame_of, layout, model_bytes, number_in, with_request

if typing.TYPE_CHECKING:
    from fewbits._flower_private import PrivateRounds
    from fewbits._flower_secure import SecureRound

_log = logging.getLogger("flwr")


@dataclasses.dataclass(frozen=True)
class Round:
    """What a round's clients have uploaded."""

    number: int
    clients: int            # whose frames are in the mean
    refused: int            # that answered with anything else: an error, a damaged frame, a plain model
    frame_bytes: int        # of those in the mean, without Flower's own framing, which is some 800 bytes a message
    model_bytes: int        # of as many models, which is what these clients would have uploaded
    profile_bytes: int      # that went down with the model, to each client
    key_bytes: int = 0      # of secure aggregation: uploaded keys and shares, beside the masked updates, which are frame_bytes
    epsilon: float | None = None   # spent so far, with noise
    nothing: str = ""       # why the round came to nothing, and the model is as it was; empty where it did not


def _useless(number: int, refusals: list[str]) -> RuntimeError:
    """When no reply has ever been of use."""
    reasons = sorted(set(refusals))
    mend = "" if all("fewbits" in reason or "is refused" in reason for reason in reasons) else (
        ". The client needs ClientApp(mods=[FewbitsMod(), ...]), with FewbitsMod before all other mods")
    return RuntimeError(f"fewbits: none of the {len(refusals)} replies of round {number} can be used: {'; '.join(reasons)}{mend}")


class _Rounds:
    """What both strategies do: ask for frames, take those that are right, learn a profile."""

    def __init__(self, plan: str, feedback: bool | None, max_abs: float) -> None:
        # What is wrong with any model is said now; the last rule is for tensors that the plan's own do not name.
        if fewbits.Codec(f"{plan}; *=f32", {"": (2, 2)}).structured:
            raise ValueError(f"plan '{plan}' trains in a structured family, which a mod cannot make of a finished training; leave out train=...")
        self.plan = plan
        self.feedback = feedback
        self.max_abs = max_abs
        self.floats_only = False   # where updates are clipped: integers stay as the server has them
        self.rounds: list[Round] = []
        self.restart()

    def restart(self) -> None:
        """For another training, maybe of another model: nothing is known of it."""
        self.rounds.clear()
        self.start = os.urandom(8)   # tells clients' memories of this training from others
        self.base: ArrayRecord | None = None
        self.codec: fewbits.Codec | None = None
        self.learner: fewbits.ProfileLearner | None = None
        self.profile: fewbits.Profile | None = None
        self.cohort = 1                        # clients of the round, where the plan correlates them
        self.places: dict[int, int] = {}       # in it, by node

    def _start(self, arrays: ArrayRecord) -> fewbits.Codec:
        """The codec of the round, for the model that its clients get."""
        self.base = arrays
        plain = fewbits.Codec(self.plan, layout(arrays, self.floats_only))
        self.with_feedback = plain.describe()["unbiased"] != "always" if self.feedback is None else self.feedback
        if plain.takes_profile and self.learner is None:
            self.learner = fewbits.ProfileLearner(plain)
        self.profile = None
        if self.learner is not None and not self.learner.profile().is_flat:
            self.profile = self.learner.profile().with_common_step(plain)
        self.codec = plain if self.profile is None else plain.with_profile(self.profile)
        return self.codec

    def ask(self, number: int, arrays: ArrayRecord, messages: Iterable[Message], more: dict[str, typing.Any] | None = None) -> list[Message]:
        """The messages of another strategy, with the request for frames. more: of it."""
        codec = self._start(arrays)
        messages = list(messages)
        correlated = codec.describe()["cohort"] != 0
        self.cohort = len(messages) if correlated else 1
        self.places = {message.metadata.dst_node_id: place if correlated else 0 for place, message in enumerate(messages)}
        return [with_request(message, ConfigRecord({
            "plan": self.plan, "round": number, "profile": self.profile.bytes if self.profile else b"", "feedback": bool(self.with_feedback),
            "start": self.start, "cohort-index": self.places[message.metadata.dst_node_id], "cohort-size": self.cohort, **(more or {})}))
            for message in messages]

    def _add(self, total: fewbits.Aggregator, reply: Message, weight: float) -> bytes:
        """Adds a reply's frame, and returns it. Raises Refused."""
        if not (math.isfinite(weight) and weight > 0):
            raise Refused(f"its weight is {weight}, expected a positive number")
        node = reply.metadata.src_node_id
        if node not in self.places:
            raise Refused("it was not asked in this round")
        frame = frame_of(reply)
        if frame is None:
            raise Refused("it answered without a frame: FewbitsMod() must be the first of its ClientApp's mods")
        try:
            total.add(frame, client=node, weight=weight, cohort_index=self.places[node])
        except fewbits.Error as error:
            raise Refused(f"its frame is refused: {error} ({error.code.name})") from error
        return frame

    def take(self, number: int, replies: list[Message], weigh: typing.Callable[[Message, Message | None], float]
             ) -> tuple[fewbits.Aggregator, list[bytes | None]]:
        """The sum of the replies that can be used, and the frame of each, None of the others, of which the log says why not.

        weigh: the weight of a reply, beside the first one in the sum; may raise Refused. Raises RuntimeError when no update has ever
        been of use.
        """
        assert self.base is not None and self.codec is not None
        run = replies[0].metadata.run_id if replies else 0
        total = fewbits.Aggregator(self.codec, seed=run, round=number, cohort_size=self.cohort, max_abs=self.max_abs)
        frames: list[bytes | None] = []
        refusals: list[tuple[int, str]] = []
        first: Message | None = None
        for reply in replies:
            frame = None
            try:
                if reply.has_error():
                    raise Refused(reply.error.reason or "an error without a reason")
                frame = self._add(total, reply, weigh(reply, first))
                first = first or reply
            except Refused as refused:
                refusals.append((reply.metadata.src_node_id, str(refused)))
            frames.append(frame)
        self._finish(number, total, [len(frame) for frame in frames if frame is not None], refusals)
        return total, frames

    def _finish(self, number: int, total: fewbits.Aggregator, lengths: list[int], refusals: list[tuple[int, str]]) -> None:
        """Says what came, and learns from it."""
        assert self.base is not None
        models = len(lengths) * model_bytes(self.base)
        profile = len(self.profile.bytes) if self.profile else 0
        for node, reason in refusals:
            _log.warning("fewbits: round %d: node %d is left out: %s", number, node, reason)
        if lengths:
            _log.info("fewbits: round %d: %d updates in %d bytes, 1/%.0f of models", number, len(lengths), sum(lengths), models / sum(lengths))
            if self.learner is not None and not self.floats_only:   # of clipped updates the noisy mean is all that may be kept
                self.learner.learn(total)
        elif refusals and not any(done.clients for done in self.rounds):
            raise _useless(number, [reason for _, reason in refusals])
        self.rounds.append(Round(number, len(lengths), len(refusals), sum(lengths), models, profile))


def _metrics(content: RecordDict) -> list[tuple[str, int | None]]:
    """Names, and lengths of lists: means of metrics need the same ones of all clients."""
    return sorted((name, len(value) if isinstance(value, list) else None) for record in content.metric_records.values() for name, value in record.items())


class _WithRounds(Strategy):
    """What is the same of both strategies to those who use them."""

    _fewbits: "_Rounds | _SecureRounds"

    @property
    def rounds(self) -> list[Round]:
        return self._fewbits.rounds

    def start(self, *arguments: typing.Any, **options: typing.Any) -> Result:
        """As Strategy.start; rounds are counted anew, and clients forget what they remember of another training."""
        self._fewbits.restart()
        return super().start(*arguments, **options)


class FewbitsStrategy(_WithRounds):
    """Any strategy, whose clients upload frames. The strategy sees models, as it does without: base + decoded difference.

    strategy: of flwr.serverapp.strategy, or your own. Its memory is what it is: most keep one model a client.
    plan: of the updates, e.g. "trellis:bits=2"; fewbits.stages() and docs/codecs.md say what it may name.
    feedback: whether clients keep an error-feedback memory; None: where the plan is not unbiased.
    max_abs: updates with larger coefficients are refused.

    `rounds` has the bytes of each round. Raises fewbits.Error for a wrong plan; where it is wrong for the model, at the first round.
    """

    _fewbits: _Rounds

    def __init__(self, strategy: Strategy, plan: str, *, feedback: bool | None = None, max_abs: float = 1e9) -> None:
        if not isinstance(strategy, Strategy):
            raise TypeError(f"the first argument is a strategy, not {type(strategy).__name__}: FewbitsStrategy(FedAdam(), \"trellis:bits=2\")")
        self.strategy = strategy
        self._fewbits = _Rounds(plan, feedback, max_abs)

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        return self._fewbits.ask(server_round, arrays, self.strategy.configure_train(server_round, arrays, config, grid))

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
        replies = list(replies)
        own = self._fewbits
        # The mean is the strategy's: weights matter to the learned profile alone.
        _, frames = own.take(server_round, replies, lambda *_: 1.0)
        assert own.codec is not None and own.base is not None
        models = []
        for reply, frame in zip(replies, frames):
            if frame is not None:
                place = (own.places[reply.metadata.src_node_id], own.cohort)
                update = own.codec.decode(frame, seed=reply.metadata.run_id, cohort=place)
                key = next(iter(reply.content.array_records.keys()))
                reply.content[key] = added(own.base, own.codec.unflatten(update))
            if frame is not None or reply.has_error():   # errors are the strategy's to count
                models.append(reply)
        arrays, metrics = self.strategy.aggregate_train(server_round, models)
        return arrays if arrays is None else as_before(arrays, own.base), metrics

    def configure_evaluate(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        return self.strategy.configure_evaluate(server_round, arrays, config, grid)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        return self.strategy.aggregate_evaluate(server_round, replies)

    def summary(self) -> None:
        _log.info("\t├──> Updates: fewbits, %s", self._fewbits.plan)
        self.strategy.summary()


class _MaybePrivate(_WithRounds, FedAvg):
    """FedAvg that may be private: cohorts by chance, a budget, an end."""

    stopped: str = ""
    _private: "PrivateRounds | None" = None

    def _be_private(self, clip: float | None, terms: dict[str, typing.Any]) -> None:
        self._probability = terms["probability"]
        if self._probability is not None and not 0 < self._probability <= 1:
            raise ValueError(f"fewbits: probability is {self._probability}, expected a number over 0, at most 1")
        if clip is None and all(terms.get(name, unset) == unset for name, unset in _UNSET.items()):
            return
        from fewbits import _flower_private   # which needs Botan

        own = _flower_private.terms_of(clip, terms)
        assert own is not None   # raises where there is no norm
        self._private = _flower_private.PrivateRounds(own, self.weighted_by_key)
        if own.with_noise and self.fraction_evaluate > 0:
            _log.warning("fewbits: what nodes report of evaluations is no part of what epsilon counts: fraction_evaluate=0.0 asks for nothing")

    @property
    def noise_multiplier(self) -> float | None:
        """Of the rounds' noise, from the beginning of the first training on; None without."""
        return self._private.noise_multiplier if self._private is not None and self._private.terms.with_noise else None

    def start(self, *arguments: typing.Any, **options: typing.Any) -> Result:
        """As Strategy.start. What has been spent of a budget stays spent; no round is begun that would exceed it: `stopped` says so."""
        given = inspect.signature(Strategy.start).bind(self, *arguments, **options)
        given.apply_defaults()
        self.stopped = ""
        self._timeout = given.arguments["timeout"]
        if self._private is not None:
            self._private.begin(given.arguments["num_rounds"])
        evaluate = given.arguments["evaluate_fn"]
        if evaluate is not None:
            given.arguments["evaluate_fn"] = lambda number, arrays: None if self.stopped else evaluate(number, arrays)
        return super().start(*given.args[1:], **given.kwargs)

    def _available(self, grid: Grid) -> list[int]:
        while len(nodes := list(grid.get_node_ids())) < self.min_available_nodes:
            _log.info("Waiting for nodes to connect: %d connected (minimum required: %d).", len(nodes), self.min_available_nodes)
            time.sleep(1)
        if self._private is not None and not self._private.population:
            self._private.know(len(nodes))
            if self._private.terms.delta * len(nodes) >= 1:
                _log.warning("fewbits: delta %g promises nothing to %d nodes: it should be less than 1 in their number", self._private.terms.delta, len(nodes))
        return nodes

    def _exhausted(self) -> bool:
        if self._private is not None and not self.stopped:
            self.stopped = self._private.exhausted()
            if self.stopped:
                _log.warning("fewbits: training has ended: %s", self.stopped)
        return bool(self.stopped)

    def _asked(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> list[Message]:
        """FedAvg's messages for a cohort: of a fixed size, or each node by chance."""
        if self._probability is None:
            return list(super().configure_train(server_round, arrays, config, grid))
        from fewbits._flower_private import chosen

        nodes = self._available(grid)
        cohort = chosen(nodes, self._probability)
        _log.info("configure_train: Sampled %d nodes (out of %d)", len(cohort), len(nodes))
        config["server-round"] = server_round
        content = RecordDict({self.arrayrecord_key: arrays, self.configrecord_key: config})
        return [Message(content=content, message_type=MessageType.TRAIN, dst_node_id=node) for node in cohort]

    def configure_evaluate(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        return [] if self.stopped else super().configure_evaluate(server_round, arrays, config, grid)

    def _spent(self) -> MetricRecord | None:
        if self._private is None or self._private.epsilon is None:
            return None
        return MetricRecord({"epsilon": self._private.epsilon, "delta": float(self._private.terms.delta)})


# What means nothing of privacy without a norm, and what it is where it is not given.
_UNSET = {"clip_by": "whole", "epsilon": None, "delta": 0.0, "noise_multiplier": 0.0, "examples_cap": 0.0, "total_weight": None, "noise_by": "server"}


class FewbitsFedAvg(_MaybePrivate):
    """FedAvg whose clients upload frames, which are added up as they are: the memory of one model, not of one a client.

    plan, feedback, max_abs: as in FewbitsStrategy. Arguments that are not named here are FedAvg's.

    Differential privacy of nodes, each with all its data (DP-FedAvg: McMahan et al. 2018, arXiv 1710.06963), by exact discrete noise that the
    server adds to the sum. `rounds` and the metrics of each round have the epsilon so far; metrics of nodes do not travel.
    clip: norm to which a node clips its update, and the server what it has decoded. clip_by: "whole", or "tensor": each tensor's share.
    epsilon, delta: the budget of all rounds, from whose number the noise follows. noise_multiplier: of the sum's noise, over `clip`, where it
        is not to follow; with epsilon, training ends before the round that would exceed it.
    probability: chance with which each node takes part in a round, independently; needed for noise. Where all do: 1. Else FedAvg's sampling.
    examples_cap: nodes weigh min(examples/cap, 1); 0: all the same.
    population: number of all nodes; None: of those that are there in the first round. total_weight: sum of their weights, where there is a
        cap; None: population. A mean with noise or a cap is the sum over probability * total_weight, whoever takes part.

    With a norm, arrays of integers stay as they are. Raises ValueError for terms that promise what they cannot hold.
    """

    _fewbits: _Rounds

    def __init__(self, plan: str, *, feedback: bool | None = None, max_abs: float = 1e9, clip: float | None = None, clip_by: str = "whole",
                 epsilon: float | None = None, delta: float = 0.0, noise_multiplier: float = 0.0, examples_cap: float = 0.0,
                 probability: float | None = None, population: int | None = None, total_weight: float | None = None, **options: typing.Any) -> None:
        if epsilon is not None or noise_multiplier > 0:
            options.setdefault("fraction_evaluate", 0.0)
        super().__init__(**options)
        self._fewbits = _Rounds(plan, feedback, max_abs)
        self._be_private(clip, {"clip_by": clip_by, "epsilon": epsilon, "delta": delta, "noise_multiplier": noise_multiplier,
                                "examples_cap": examples_cap, "probability": probability, "population": population, "total_weight": total_weight})
        if self._private is not None:
            if feedback:
                raise ValueError("fewbits: error feedback does not go with clip=: what is kept back would come in another round")
            self._fewbits.feedback = False
            self._fewbits.floats_only = True

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        if self._private is None:
            return self._fewbits.ask(server_round, arrays, self._asked(server_round, arrays, config, grid))
        if self._exhausted():
            return []
        from fewbits._flower_secure import request_of

        messages = self._asked(server_round, arrays, config, grid)
        self._available(grid)
        return self._fewbits.ask(server_round, arrays, messages, request_of(self._private))

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
        if self.stopped:
            return None, None
        replies = list(replies)
        own = self._fewbits
        if self._private is not None:
            return self._release(server_round, replies, self._private)
        total, frames = own.take(server_round, replies, self._weight)
        contents = [reply.content for reply, frame in zip(replies, frames) if frame is not None]
        if not contents:
            return None, None
        assert own.base is not None and own.codec is not None
        arrays = added(own.base, own.codec.unflatten(total.mean()))
        return arrays, self.train_metrics_aggr_fn(contents, self.weighted_by_key)

    def _release(self, number: int, replies: list[Message], private: "PrivateRounds") -> tuple[ArrayRecord | None, MetricRecord | None]:
        from fewbits import privacy

        own = self._fewbits
        _, frames = own.take(number, replies, lambda *_: 1.0)
        assert own.base is not None and own.codec is not None
        total = privacy.PrivateSum(private.clipping(layout(own.base, floats_only=True)), private.noise_multiplier)
        for reply, frame in zip(replies, frames):
            if frame is not None:
                total.add(own.codec.decode(frame, seed=reply.metadata.run_id, cohort=(own.places[reply.metadata.src_node_id], own.cohort)))
        received = sum(frame is not None for frame in frames)
        if received == 0 and not private.terms.with_noise:
            return None, None
        mean = total.release(private.denominator(len(own.places), received))   # noise alone, where nobody came
        private.spend()
        if own.learner is not None:
            own.learner.learn(mean)
        own.rounds[-1] = dataclasses.replace(own.rounds[-1], epsilon=private.epsilon)
        return added(own.base, own.codec.unflatten(mean)), self._spent()

    def _weight(self, reply: Message, first: Message | None) -> float:
        weight = number_in(reply.content, self.weighted_by_key)
        if first is not None and _metrics(reply.content) != _metrics(first.content):
            raise Refused("its metrics are others than those of the first client")
        return weight

    def summary(self) -> None:
        _log.info("\t├──> Updates: fewbits, %s", self._fewbits.plan)
        super().summary()


class _SecureRounds:
    """What SecureFedAvg keeps from message to message, and from round to round."""

    def __init__(self, plan: str) -> None:
        self.plan = plan
        self.rounds: list[Round] = []
        self.restart()

    def restart(self) -> None:
        self.rounds.clear()
        self.session = int.from_bytes(os.urandom(8), "little")
        self.last_norm = 0.0    # of the last mean
        self.base: ArrayRecord | None = None
        self.grid: Grid | None = None
        self.open: SecureRound | None = None


class SecureFedAvg(_MaybePrivate):
    """FedAvg whose server learns the sum of a round's updates, and none of them: secure aggregation (fewbits.secure), over the messages that
    FewbitsMod answers. A round is four exchanges; nodes may drop out of each, and are left out of the sum.

    plan: linear in integers at a common step; step=auto is the step at which sums fit into the words, which needs `clip`.
    bits: of a masked word, what a node uploads for each coordinate. min_cohort: a sum of fewer nodes is not opened; the round comes to nothing,
        `rounds` says why, and the model stays. neighbours, threshold: as of secure.Settings.
    key_timeout: seconds to wait for replies without training; None: the timeout of start.
    clip, clip_by, epsilon, delta, noise_multiplier, examples_cap, probability, population, total_weight: as of FewbitsFedAvg. Nodes weigh the
        same unless there is a cap; the server cannot clip what it does not see. noise_by: "server": it adds the noise to the sum, which it
        sees; "clients": each adds its part, so that nobody sees a sum without it.
    dropouts: share of the nodes that take part and are expected to be lost. With noise a round that comes to nothing for its few nodes tells of
        them: it must be rarer than delta in all rounds, else the first round raises ValueError. With noise_by="clients" each adds as much as
        is needed where the fewest come of which that is true.

    Other arguments are FedAvg's. Metrics of nodes do not travel, and arrays of integers stay as they are. The server is taken to follow the
    protocol: nobody signs keys.
    """

    _fewbits: _SecureRounds

    def __init__(self, plan: str = "hadamard+dither:scale=flat,step=auto", *, bits: int = 16, min_cohort: int = 10, neighbours: int = 0,
                 threshold: int = 0, key_timeout: float | None = None, clip: float | None = None, clip_by: str = "whole",
                 epsilon: float | None = None, delta: float = 0.0, noise_multiplier: float = 0.0, examples_cap: float = 0.0,
                 noise_by: str = "server", probability: float | None = None, population: int | None = None, total_weight: float | None = None,
                 dropouts: float = 0.1, **options: typing.Any) -> None:
        from fewbits import _flower_secure, secure

        if epsilon is not None or noise_multiplier > 0:
            options.setdefault("fraction_evaluate", 0.0)
        options.setdefault("min_train_nodes", min_cohort)
        options.setdefault("min_available_nodes", min_cohort)
        super().__init__(**options)
        self._secure = {"bits": bits, "neighbours": neighbours, "threshold": threshold, "min_cohort": min_cohort}
        self._key_timeout = key_timeout
        self._fewbits = _SecureRounds(plan)
        self._be_private(clip, {"clip_by": clip_by, "epsilon": epsilon, "delta": delta, "noise_multiplier": noise_multiplier,
                                "examples_cap": examples_cap, "probability": probability, "population": population, "total_weight": total_weight,
                                "noise_by": noise_by, "dropouts": dropouts, "bits": bits, "min_cohort": min_cohort})
        # What is wrong with any model is said now.
        fewbits.Integers(fewbits.Codec(_flower_secure.with_step(plan, 1.0), 16), seed=0, round=0)
        secure.Settings(session=0, round=0, plan=0, length=1, bits=bits, clients=max(min_cohort, 3), min_cohort=min_cohort)
        automatic = "step=auto" in plan
        if automatic and self._private is None:
            raise ValueError("fewbits: step=auto needs clip=: what fits into a word follows from the norm of updates")
        if not automatic and self._private is not None and self._private.terms.with_noise:
            raise ValueError(f"fewbits: noise on a secure sum goes with step=auto in the plan '{plan}'")

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        from fewbits import _flower_secure

        own, private = self._fewbits, self._private
        own.base, own.grid, own.open = arrays, grid, None
        if private is not None and not self.stopped:
            self._available(grid)
            private.spread_noise(_flower_secure.values_of(own.plan, arrays))
        if self._exhausted():
            return []
        messages = self._asked(server_round, arrays, config, grid)
        nodes = [message.metadata.dst_node_id for message in messages]
        try:
            one = _flower_secure.SecureRound(own.plan, arrays, server_round, own.session, nodes, self._secure, private, own.last_norm)
        except Refused as refused:
            self._come_to_nothing(server_round, None, str(refused))
            return []
        try:
            down = dict.fromkeys(nodes, b"")
            for phase in ("advertise", "share"):
                self._exchange(one, phase, down)
                if phase == "advertise" and len(one.refusals) == len(nodes) and not any(done.clients for done in own.rounds):
                    raise _useless(server_round, list(one.refusals.values()))
                down = one.close()
        except Refused as refused:
            self._come_to_nothing(server_round, one, str(refused))
            return []
        own.open = one
        return [with_request(message, one.request("input", down[message.metadata.dst_node_id])) for message in messages
                if message.metadata.dst_node_id in down]

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
        own, one = self._fewbits, self._fewbits.open
        if self.stopped:
            return None, None
        if one is None:
            return own.base, self._spent()
        own.open = None
        assert own.base is not None
        try:
            one.receive(replies, "masked input")
            self._exchange(one, "unmask", one.close())
            mean = one.mean()
        except Refused as refused:
            self._come_to_nothing(server_round, one, str(refused))
            return own.base, self._spent()
        own.last_norm = float(np.linalg.norm(mean))
        self._report(server_round, one, len(one.server.survivors()), "")
        return added(own.base, one.integers.codec.unflatten(mean)), self._spent()

    def _exchange(self, one: "SecureRound", phase: str, down: dict[int, bytes]) -> None:
        assert self._fewbits.grid is not None
        messages = [Message(content=RecordDict({KEY: one.request(phase, data)}), message_type=MessageType.TRAIN, dst_node_id=node)
                    for node, data in down.items()]
        replies = self._fewbits.grid.send_and_receive(messages, timeout=self._timeout if self._key_timeout is None else self._key_timeout)
        one.receive(replies, {"advertise": "keys", "share": "shares", "unmask": "revealed shares"}[phase])

    def _come_to_nothing(self, number: int, one: "SecureRound | None", reason: str) -> None:
        if self._private is not None:
            self._private.spend()
        _log.warning("fewbits: round %d comes to nothing, the model stays: %s", number, reason)
        self._report(number, one, 0, reason)

    def _report(self, number: int, one: "SecureRound | None", clients: int, nothing: str) -> None:
        own = self._fewbits
        assert own.base is not None
        refusals = one.refusals if one is not None else {}
        for node, reason in refusals.items():
            _log.warning("fewbits: round %d: node %d is out: %s", number, node, reason)
        frames, keys = (one.input_bytes, one.key_bytes) if one is not None else (0, 0)
        if clients:
            _log.info("fewbits: round %d: the sum of %d updates, masked, in %d bytes, and %d of keys and shares", number, clients, frames, keys)
        self.rounds.append(Round(number, clients, len(refusals), frames, clients * model_bytes(own.base), 0, keys,
                                 self._private.epsilon if self._private is not None else None, nothing))

    def summary(self) -> None:
        _log.info("\t├──> Updates: fewbits, %s, masked in %d bits", self._fewbits.plan, self._secure["bits"])
        super().summary()
