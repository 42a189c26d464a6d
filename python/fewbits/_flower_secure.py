"""Secure aggregation over Flower's messages: what a node answers, and one round at the server. fewbits.flower says what it is for.

A round is four exchanges, each a message to every node that is left and its reply: "advertise" (public keys), "share" (encrypted shares of
secrets), "input" (the model goes down, the node trains and sends its masked update), "unmask". Between them a node keeps its secrets in the
context's state: the process that runs its app ends after each message.
"""

import math
import struct
import typing

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict

import fewbits
from fewbits import privacy, secure
from fewbits._flower_arrays import FRAME, KEY, Refused, bytes_array, differences, frame_of, layout, number_in, real
from fewbits._flower_private import PrivateRounds

_STATE = "fewbits.secure"        # of the ConfigRecord in the context
_SETTINGS = struct.Struct("<9Q")
_FIELDS = ("session", "round", "plan", "length", "bits", "clients", "neighbours", "threshold", "min_cohort")


def _pack(settings: secure.Settings) -> bytes:
    return _SETTINGS.pack(*(getattr(settings, field) for field in _FIELDS))


def _unpack(data: bytes) -> secure.Settings:
    if len(data) != _SETTINGS.size:
        raise Refused("the settings of secure aggregation are of another version of fewbits")
    return secure.Settings(**dict(zip(_FIELDS, _SETTINGS.unpack(data))))


# Nodes -----------------------------------------------------------------------------------------------------------------------


def answer(message: Message, context: Context, request: ConfigRecord, min_cohort: int,
           train: typing.Callable[[], tuple[str, ArrayRecord, ArrayRecord, RecordDict] | Message]) -> Message:
    """The reply to a message of a secure round.

    train: runs the app. (key, new arrays, arrays that came, content of the reply), or the app's reply where that is an error.
    """
    settings = _unpack(typing.cast(bytes, request["settings"]))
    if settings.min_cohort < min_cohort:
        raise Refused(f"the server would open sums of {settings.min_cohort} clients, FewbitsMod asks for min_cohort={min_cohort}")
    phase = str(request["phase"])
    data = typing.cast(bytes, request["message"])
    if phase == "advertise":
        context.state[_STATE] = ConfigRecord()   # of an earlier round that was not finished
        client = secure.Client(settings, context.node_id)
        reply = client.advertise()
    else:
        kept = context.state.config_records.get(_STATE)
        state = typing.cast(bytes, kept["state"]) if kept else b""
        if not state:
            raise Refused("it has no keys of this round")
        client = secure.Client.restore(settings, context.node_id, state)
        # Whatever happens from here on, the state is not used twice.
        context.state[_STATE] = ConfigRecord()
        if phase == "share":
            reply = client.share(data)
        elif phase == "unmask":
            return Message(RecordDict({KEY: ConfigRecord({"message": client.unmask(data)})}), reply_to=message)
        elif phase == "input":
            trained = train()
            if isinstance(trained, Message):
                return trained
            key, arrays, base, content = trained
            words = _words(differences(arrays, base, floats_only=True), base, settings, request, content, context.node_id)
            masked = client.masked_input(data, words)
            context.state[_STATE] = ConfigRecord({"state": client.save()})
            # Metrics would tell of the node what the sum does not.
            return Message(RecordDict({key: ArrayRecord({FRAME: bytes_array(masked)})}), reply_to=message)
        else:
            raise Refused(f"'{phase}' is no phase of secure aggregation")
    context.state[_STATE] = ConfigRecord({"state": client.save()})
    return Message(RecordDict({KEY: ConfigRecord({"message": reply})}), reply_to=message)


def _words(update: dict[str, np.ndarray], base: ArrayRecord, settings: secure.Settings, request: ConfigRecord, content: RecordDict,
           node: int) -> np.ndarray:
    shape = layout(base, floats_only=True)
    codec = fewbits.Codec(str(request["plan"]), shape)
    integers = fewbits.Integers(codec, seed=settings.session, round=settings.round)
    if codec.fingerprint != settings.plan or integers.size != settings.length:
        raise Refused("the plan is not the one that keys were exchanged for")
    values = codec.flatten(update)
    if real(request, "clip") > 0:
        values = clipped(values, shape, request, content)
    noise = str(request["noise-by"])
    if noise == "clients":
        own = privacy.ClientNoise(integers.size, norm=real(request, "clip"), step=real(request, "step"), sigma=real(request, "sigma"))
        noised = own.encode(integers.values(values))
        # The sum is mod 2^bits, and so is what it is made of.
        return noised.astype(np.uint32) & np.uint32(2**settings.bits - 1)
    encoded = integers.encode(values, client=node)
    if noise == "server":
        alone = integers.values_of_sums(encoded, clients=[node])
        if math.sqrt(float(np.dot(alone, alone))) > real(request, "sensitivity"):   # nobody else can see to it
            encoded = integers.encode(np.zeros_like(values), client=node)
    return secure.to_words(encoded, settings.bits)


def clipped(values: np.ndarray, shape: dict[str, typing.Any], request: ConfigRecord, content: RecordDict) -> np.ndarray:
    """A node's update as it may be in a sum: clipped, and weighted by its examples where there is a cap."""
    norm, cap = real(request, "clip"), real(request, "examples-cap")
    by = privacy.Clipping.per_tensor(shape, norm) if request["clip-by"] == "tensor" else privacy.Clipping.whole(values.size, norm)
    values, _ = by.clip(values)
    if cap > 0:
        examples = number_in(content, str(request["weighted-by"]))
        if not (math.isfinite(examples) and examples >= 0):
            raise Refused(f"it has {examples} examples")
        values *= np.float32(min(examples / cap, 1))
    return values


# Server ----------------------------------------------------------------------------------------------------------------------


class SecureRound:
    """One round at the server, of which the sum is what it learns."""

    def __init__(self, plan: str, base: ArrayRecord, number: int, session: int, nodes: list[int], terms: dict[str, int],
                 private: PrivateRounds | None, last_norm: float) -> None:
        self.private, self.nodes = private, nodes
        shape = layout(base, floats_only=True)
        self.values = values_of(plan, base)
        automatic = "step=auto" in plan
        least = max(terms["min_cohort"], private.least_cohort if private is not None else 0)
        if len(nodes) < least:
            raise Refused(f"{len(nodes)} nodes are too few for a secure sum of at least {least}")
        self.step = self._step(terms["bits"], last_norm) if automatic else 0.0
        self.plan = with_step(plan, self.step)
        # Half a step a value for a dither; a trellis's points for a value are two steps apart.
        self.steps_a_value = 1.0 if "trellis" in plan else 0.5
        codec = fewbits.Codec(self.plan, shape)
        self.integers = fewbits.Integers(codec, seed=session, round=number)
        self.settings = secure.Settings(session=session, round=number, plan=codec.fingerprint, length=self.values, clients=len(nodes),
                                        bits=terms["bits"], neighbours=terms["neighbours"], threshold=terms["threshold"], min_cohort=least)
        self.server = secure.Server(self.settings, nodes)
        self.refusals: dict[int, str] = {}
        self.key_bytes = self.input_bytes = 0

    def _step(self, bits: int, last_norm: float) -> float:
        """At which the sum fits: of updates which all point the same way, but with the last mean to go by, of a part that they have in common,
        twice the last one's norm, and of parts that they have not."""
        assert self.private is not None   # the strategy asks for a norm
        if self.private.client_noise is not None:
            return self.private.client_noise.step
        norm, mean = self.private.terms.clip, self.private.cohort(len(self.nodes))
        clients = mean if self.private.terms.probability is None else mean + 4 * math.sqrt(mean)
        common = min(2 * last_norm, norm) if last_norm > 0 else norm
        return privacy.step_for(bits=bits, values=self.values, clients=clients, sum_norm=math.sqrt((clients * common)**2 + clients * norm**2), noise=0)

    @property
    def sensitivity(self) -> float:
        assert self.private is not None
        norm = self.private.terms.clip
        return norm + self.steps_a_value * self.step * math.sqrt(self.values) + 1e-6 * norm

    def request(self, phase: str, message: bytes = b"") -> ConfigRecord:
        items: dict[str, typing.Any] = {"phase": phase, "settings": _pack(self.settings), "message": message}
        if phase == "input":
            items.update(plan=self.plan)
            items.update(request_of(self.private))
            noise = self.private.client_noise if self.private is not None else None
            if self.private is not None:
                items.update({"sensitivity": self.sensitivity, "step": self.step, "sigma": noise.sigma if noise is not None else 0.0})
        return ConfigRecord(items)

    def receive(self, replies: typing.Iterable[Message], what: str) -> None:
        """Of a phase; who sends nothing, an error, or what is of no use, is out."""
        for reply in replies:
            node = reply.metadata.src_node_id
            try:
                if reply.has_error():
                    raise Refused(reply.error.reason or "an error without a reason")
                if self.server.phase == "inputs":
                    data = frame_of(reply)
                else:
                    data = typing.cast(typing.Any, reply.content.config_records.get(KEY, {})).get("message")
                if not isinstance(data, bytes):
                    raise Refused(f"it answered without {what}: FewbitsMod() must be the first of its ClientApp's mods")
                inputs = self.server.phase == "inputs"
                try:
                    self.server.receive(node, data)
                except fewbits.Error as error:
                    raise Refused(f"its {what} are refused: {error} ({error.code.name})") from error
                if inputs:
                    self.input_bytes += len(data)
                else:
                    self.key_bytes += len(data)
            except Refused as refused:
                self.refusals.setdefault(node, str(refused))

    def close(self) -> dict[int, bytes]:
        """The message for each that is left. Raises Refused for too few."""
        try:
            return self.server.close()
        except fewbits.Error as error:
            raise Refused(str(error)) from error

    def mean(self) -> np.ndarray:
        """What the round releases: float32, shape [codec.elements]; counts the round as spent. Raises Refused."""
        try:
            sums = secure.from_words(self.server.sum(), self.settings.bits)
        except fewbits.Error as error:
            raise Refused(str(error)) from error
        left = self.server.survivors()
        private = self.private
        if private is None:
            return self.integers.mean(sums, clients=left)
        if private.client_noise is not None:
            values = sums * self.step
        else:
            values = self.integers.values_of_sums(sums, clients=left)
            if private.terms.with_noise:
                values = privacy.add_noise(values, sensitivity=self.sensitivity, noise_multiplier=private.noise_multiplier)
        private.spend()
        return self.integers.update(values / private.denominator(len(self.nodes), len(left)))


def values_of(plan: str, base: ArrayRecord) -> int:
    """That are summed. Raises fewbits.Error for a plan that is not linear in integers."""
    return fewbits.Integers(fewbits.Codec(with_step(plan, 1.0), layout(base, floats_only=True)), seed=0, round=0).size


def request_of(private: PrivateRounds | None) -> dict[str, typing.Any]:
    """What a node is told of clipping; a norm of 0 is none."""
    if private is None:
        return {"clip": 0.0, "noise-by": ""}
    terms = private.terms
    return {"clip": float(terms.clip), "clip-by": terms.clip_by, "examples-cap": float(terms.examples_cap), "weighted-by": private.weighted_by,
            "noise-by": terms.noise_by if terms.with_noise else ""}


def with_step(plan: str, step: float) -> str:
    return plan.replace("step=auto", f"step={step:.9g}")
