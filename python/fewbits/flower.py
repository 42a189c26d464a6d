"""fewbits in Flower: clients send frames of a few bits a coordinate in the place of models. One line at either end.

    app = ClientApp(mods=[fewbits.flower.FewbitsMod()])                                  # client: the first of the mods

    strategy = fewbits.flower.FewbitsStrategy(FedAdam(...), "trellis:bits=2")            # server: any strategy, or
    strategy = fewbits.flower.FewbitsFedAvg("trellis:bits=0.03,scale=profile", ...)      # FedAvg with the memory of one model

What travels: with the model the server sends the plan, the round and, for plans with scale=profile, the scales learned so far
(one ConfigRecord). A client's reply has one array of bytes in the place of its arrays: the frame of what training changed. Both
ends draw the same randomness from the run's id, the round and the node's id, so that nothing of it is sent. Tensors of integers
(counters of batch norms) pass exactly; floats come back in the type they had.

Checked with flwr 1.42. The server refuses frames that are damaged, of another round, node or model: such a client is left out of
the round, and the log says so. When no update at all can be used before the first one could, the run is stopped with the reason,
which names the mend: no FewbitsMod at the clients, or another mod in front of it.

Buffers that must not be negative or noisy, such as running variances of batch norms, want a rule of their own:
"*running_*=f32; *=trellis:bits=0.03,scale=profile".

With Flower's differential privacy: client-side clipping goes behind, mods=[FewbitsMod(), fixedclipping_mod]; strategies that clip
at the server go inside, FewbitsStrategy(DifferentialPrivacyServerSideFixedClipping(...), plan).
"""

import dataclasses
import logging
import math
import os
import typing
from collections.abc import Iterable

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Result, Strategy

import fewbits

__all__ = ["FewbitsFedAvg", "FewbitsMod", "FewbitsStrategy", "Round"]

_KEY = "fewbits"                  # of the ConfigRecord, and of the client's state
_STYPE = "fewbits/v1"             # of the array that holds a frame
_FRAME = "frame"
_MOD_FAILED_PRECONDITION = 6      # flwr's ErrorCode
_log = logging.getLogger("flwr")


class _Refused(Exception):
    """A client's reply cannot be used."""


# Differences -----------------------------------------------------------------------------------------------------------------


def _is_integer(dtype: str) -> bool:
    return np.dtype(dtype).kind in "biu"


def _layout(arrays: ArrayRecord) -> dict[str, typing.Any]:
    """Names and shapes; differences of integers are int64, modulo 2^64."""
    for name, array in arrays.items():
        if np.dtype(array.dtype).kind not in "biuf":
            raise TypeError(f"fewbits: '{name}' is of {array.dtype}: only arrays of floats, integers and bools can be averaged")
    return {name: (tuple(array.shape), "int64") if _is_integer(array.dtype) else tuple(array.shape) for name, array in arrays.items()}


def _difference(new: np.ndarray, base: np.ndarray) -> np.ndarray:
    if new.dtype.kind in "biu":
        return np.asarray(new).astype(np.int64) - np.asarray(base).astype(np.int64)
    old, now = np.asarray(base, np.float64), np.asarray(new, np.float64)
    # What training leaves alone has no difference, not even infinity, as of masks.
    return np.subtract(now, old, out=np.zeros(now.shape), where=np.asarray(now != old)).astype(np.float32)


def _differences(new: ArrayRecord, base: ArrayRecord) -> dict[str, np.ndarray]:
    if list(new.keys()) != list(base.keys()):
        raise _Refused("the names of the arrays that training returned are not those that it was given")
    differences = {}
    for name, array in new.items():
        if tuple(array.shape) != tuple(base[name].shape):
            raise _Refused(f"'{name}' has shape {tuple(array.shape)} after training, {tuple(base[name].shape)} before")
        if _is_integer(array.dtype) != _is_integer(base[name].dtype):
            raise _Refused(f"'{name}' is of {array.dtype} after training, {base[name].dtype} before")
        differences[name] = _difference(array.numpy(), base[name].numpy())
    return differences


def _as_before(arrays: ArrayRecord, base: ArrayRecord) -> ArrayRecord:
    """Each array in base's type: Flower's means make float64 of integers."""
    if arrays.keys() != base.keys():
        return arrays
    return ArrayRecord({name: array if array.dtype == base[name].dtype else Array(_as_type(array.numpy(), base[name].dtype))
                        for name, array in arrays.items()})


def _as_type(values: np.ndarray, dtype: str) -> np.ndarray:
    return np.asarray((np.rint(values) if _is_integer(dtype) and values.dtype.kind == "f" else values).astype(dtype))


def _added(base: ArrayRecord, differences: dict[str, np.ndarray]) -> ArrayRecord:
    """base + differences, each array in base's type."""
    arrays = {}
    for name, array in base.items():
        old = array.numpy()
        wide = np.int64 if _is_integer(array.dtype) else np.float64
        arrays[name] = Array(_as_type(old.astype(wide) + differences[name], array.dtype))
    return ArrayRecord(arrays)


# Clients ---------------------------------------------------------------------------------------------------------------------


class FewbitsMod:
    """Sends what training has changed as a frame. The first of a ClientApp's mods, so that it sees what the others have done.

    The plan comes from the server's strategy, FewbitsStrategy or FewbitsFedAvg. Messages that are not for training pass.
    Where the strategy asks for error feedback, the memory is kept in the node's context as bfloat16: 2 bytes a coordinate, which
    travel with the context to the process that runs the app.
    """

    def __call__(self, message: Message, context: Context, call_next: typing.Callable[[Message, Context], Message]) -> Message:
        if message.metadata.message_type.split(".")[0] != MessageType.TRAIN:
            return call_next(message, context)
        if _KEY not in message.content.config_records:
            return _refusal(message, "the server's strategy does not know of FewbitsMod: wrap it, FewbitsStrategy(strategy, plan)")
        request = message.content.config_records[_KEY]
        del message.content[_KEY]   # mods for privacy count the ConfigRecords
        if len(message.content.array_records) != 1:
            return _refusal(message, f"{len(message.content.array_records)} ArrayRecords came, expected one: the model")
        base = next(iter(message.content.array_records.values()))
        reply = call_next(message, context)
        if reply.has_error():
            return reply
        if len(reply.content.array_records) != 1:
            return _refusal(message, f"training returned {len(reply.content.array_records)} ArrayRecords, expected one: the model")
        (key, arrays), = reply.content.array_records.items()
        try:
            frame = self._encode(_differences(arrays, base), base, request, message.metadata.run_id, context)
        except (_Refused, TypeError, ValueError) as error:
            return _refusal(message, str(error))
        reply.content[key] = ArrayRecord({_FRAME: Array(dtype="uint8", shape=(len(frame),), stype=_STYPE, data=frame)})
        return reply

    @staticmethod
    def _encode(update: dict[str, np.ndarray], base: ArrayRecord, request: ConfigRecord, run: int, context: Context) -> bytes:
        plain = codec = fewbits.Codec(str(request["plan"]), _layout(base))
        profile = typing.cast(bytes, request["profile"])
        if profile:
            codec = plain.with_profile(fewbits.Profile.from_bytes(plain, profile))
        keys = {"seed": run, "round": int(request["round"]), "client": context.node_id,
                "cohort": (int(request["cohort-index"]), int(request["cohort-size"]))}
        if not request["feedback"]:
            return codec.encode(update, **keys)
        memory = fewbits.ErrorFeedback(codec, storage="bfloat16")
        start = typing.cast(bytes, request["start"])
        kept = context.state.array_records.get(_KEY)
        if kept is not None and kept["start"].data == start:   # not of an earlier training of this run
            if kept["profile"].data:
                plain = plain.with_profile(fewbits.Profile.from_bytes(plain, kept["profile"].data))
            memory = fewbits.ErrorFeedback(plain, storage="bfloat16")
            memory.restore(kept["memory"].data)
            memory.set_codec(codec)
        frame = memory.encode(update, **keys)
        # Whether the frame arrives is not known before the next round; one that is lost is not sent again.
        memory.commit()
        context.state[_KEY] = ArrayRecord({"memory": _bytes(memory.save()), "profile": _bytes(profile), "start": _bytes(start)})
        return frame


def _bytes(data: bytes) -> Array:
    return Array(dtype="uint8", shape=(len(data),), stype=_STYPE, data=data)


def _refusal(message: Message, reason: str) -> Message:
    return Message(Error(code=_MOD_FAILED_PRECONDITION, reason="fewbits: " + reason), reply_to=message)


# Servers ---------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Round:
    """What a round's clients have uploaded."""

    number: int
    clients: int            # whose frames are in the mean
    refused: int            # that answered with anything else: an error, a damaged frame, a plain model
    frame_bytes: int        # of those in the mean, without Flower's own framing, which is some 800 bytes a message
    model_bytes: int        # of as many models, which is what these clients would have uploaded
    profile_bytes: int      # that went down with the model, to each client


class _Rounds:
    """What both strategies do: ask for frames, take those that are right, learn a profile."""

    def __init__(self, plan: str, feedback: bool | None, max_abs: float) -> None:
        # What is wrong with any model is said now; the last rule is for tensors that the plan's own do not name.
        if fewbits.Codec(f"{plan}; *=f32", {"": (2, 2)}).structured:
            raise ValueError(f"plan '{plan}' trains in a structured family, which a mod cannot make of a finished training; leave out train=...")
        self.plan = plan
        self.feedback = feedback
        self.max_abs = max_abs
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
        plain = fewbits.Codec(self.plan, _layout(arrays))
        self.with_feedback = plain.describe()["unbiased"] != "always" if self.feedback is None else self.feedback
        if plain.takes_profile and self.learner is None:
            self.learner = fewbits.ProfileLearner(plain)
        self.profile = None
        if self.learner is not None and not self.learner.profile().is_flat:
            self.profile = self.learner.profile().with_common_step(plain)
        self.codec = plain if self.profile is None else plain.with_profile(self.profile)
        return self.codec

    def ask(self, number: int, arrays: ArrayRecord, messages: Iterable[Message]) -> list[Message]:
        """The messages of another strategy, with the request for frames."""
        codec = self._start(arrays)
        messages = list(messages)
        correlated = codec.describe()["cohort"] != 0
        self.cohort = len(messages) if correlated else 1
        self.places = {message.metadata.dst_node_id: place if correlated else 0 for place, message in enumerate(messages)}
        for message in messages:
            request = ConfigRecord({"plan": self.plan, "round": number, "profile": self.profile.bytes if self.profile else b"",
                                    "feedback": bool(self.with_feedback), "start": self.start, "cohort-index": self.places[message.metadata.dst_node_id],
                                    "cohort-size": self.cohort})
            # Another RecordDict: strategies give one to all their messages.
            message.content = RecordDict({**message.content, _KEY: request})
        return messages

    def _add(self, total: fewbits.Aggregator, reply: Message, weight: float) -> bytes:
        """Adds a reply's frame, and returns it. Raises _Refused."""
        if not (math.isfinite(weight) and weight > 0):
            raise _Refused(f"its weight is {weight}, expected a positive number")
        node = reply.metadata.src_node_id
        if node not in self.places:
            raise _Refused("it was not asked in this round")
        arrays = list(reply.content.array_records.values())
        if len(arrays) != 1 or list(arrays[0].keys()) != [_FRAME] or arrays[0][_FRAME].stype != _STYPE:
            raise _Refused("it answered without a frame: FewbitsMod() must be the first of its ClientApp's mods")
        frame = arrays[0][_FRAME].data
        try:
            total.add(frame, client=node, weight=weight, cohort_index=self.places[node])
        except fewbits.Error as error:
            raise _Refused(f"its frame is refused: {error} ({error.code.name})") from error
        return frame

    def take(self, number: int, replies: list[Message], weigh: typing.Callable[[Message, Message | None], float]
             ) -> tuple[fewbits.Aggregator, list[bytes | None]]:
        """The sum of the replies that can be used, and the frame of each, None of the others, of which the log says why not.

        weigh: the weight of a reply, beside the first one in the sum; may raise _Refused. Raises RuntimeError when no update has ever
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
                    raise _Refused(reply.error.reason or "an error without a reason")
                frame = self._add(total, reply, weigh(reply, first))
                first = first or reply
            except _Refused as refused:
                refusals.append((reply.metadata.src_node_id, str(refused)))
            frames.append(frame)
        self._finish(number, total, [len(frame) for frame in frames if frame is not None], refusals)
        return total, frames

    def _finish(self, number: int, total: fewbits.Aggregator, lengths: list[int], refusals: list[tuple[int, str]]) -> None:
        """Says what came, and learns from it."""
        assert self.base is not None
        models = len(lengths) * sum(math.prod(array.shape) * np.dtype(array.dtype).itemsize for array in self.base.values())
        profile = len(self.profile.bytes) if self.profile else 0
        for node, reason in refusals:
            _log.warning("fewbits: round %d: node %d is left out: %s", number, node, reason)
        if lengths:
            _log.info("fewbits: round %d: %d updates in %d bytes, 1/%.0f of models", number, len(lengths), sum(lengths), models / sum(lengths))
            if self.learner is not None:
                self.learner.learn(total)
        elif refusals and not any(done.clients for done in self.rounds):
            reasons = sorted({reason for _, reason in refusals})
            mend = "" if all("fewbits" in reason or "frame is refused" in reason for reason in reasons) else (
                ". The client needs ClientApp(mods=[FewbitsMod(), ...]), with FewbitsMod before all other mods")
            raise RuntimeError(f"fewbits: none of the {len(refusals)} replies of round {number} can be used: {'; '.join(reasons)}{mend}")
        self.rounds.append(Round(number, len(lengths), len(refusals), sum(lengths), models, profile))


def _metrics(content: RecordDict) -> list[tuple[str, int | None]]:
    """Names, and lengths of lists: means of metrics need the same ones of all clients."""
    return sorted((name, len(value) if isinstance(value, list) else None) for record in content.metric_records.values() for name, value in record.items())


class _WithRounds(Strategy):
    """What is the same of both strategies to those who use them."""

    _fewbits: _Rounds

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
                reply.content[key] = _added(own.base, own.codec.unflatten(update))
            if frame is not None or reply.has_error():   # errors are the strategy's to count
                models.append(reply)
        arrays, metrics = self.strategy.aggregate_train(server_round, models)
        return arrays if arrays is None else _as_before(arrays, own.base), metrics

    def configure_evaluate(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        return self.strategy.configure_evaluate(server_round, arrays, config, grid)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        return self.strategy.aggregate_evaluate(server_round, replies)

    def summary(self) -> None:
        _log.info("\t├──> Updates: fewbits, %s", self._fewbits.plan)
        self.strategy.summary()


class FewbitsFedAvg(_WithRounds, FedAvg):
    """FedAvg whose clients upload frames, which are added up as they are: the memory of one model, not of one a client.

    plan, feedback, max_abs: as in FewbitsStrategy. All other arguments are FedAvg's.
    """

    def __init__(self, plan: str, *, feedback: bool | None = None, max_abs: float = 1e9, **options: typing.Any) -> None:
        super().__init__(**options)
        self._fewbits = _Rounds(plan, feedback, max_abs)

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        return self._fewbits.ask(server_round, arrays, super().configure_train(server_round, arrays, config, grid))

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
        replies = list(replies)
        own = self._fewbits
        total, frames = own.take(server_round, replies, self._weight)
        added = [reply.content for reply, frame in zip(replies, frames) if frame is not None]
        if not added:
            return None, None
        assert own.base is not None and own.codec is not None
        arrays = _added(own.base, own.codec.unflatten(total.mean()))
        return arrays, self.train_metrics_aggr_fn(added, self.weighted_by_key)

    def _weight(self, reply: Message, first: Message | None) -> float:
        metrics = list(reply.content.metric_records.values())
        key = self.weighted_by_key
        if len(metrics) != 1 or key not in metrics[0] or isinstance(metrics[0][key], list):
            raise _Refused(f"it answered without a number '{key}' in one MetricRecord")
        if first is not None and _metrics(reply.content) != _metrics(first.content):
            raise _Refused("its metrics are others than those of the first client")
        return float(typing.cast(float, metrics[0][key]))

    def summary(self) -> None:
        _log.info("\t├──> Updates: fewbits, %s", self._fewbits.plan)
        super().summary()
