"""fewbits in PyTorch: gradients of DistributedDataParallel in a few bits, training inside a structured family, and modules for the harness.

    ddp.register_comm_hook(*fewbits.torch.ddp_hook("trellis:bits=2", ddp))

ddp_hook: a communication hook for any plan.     structured: a module whose updates have few free parameters.
federated_model: a module as a model of fewbits.federated.
"""

import collections
import logging
import typing

import numpy
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch.nn.utils import parametrize

import fewbits

__all__ = ["DDPState", "FederatedModel", "Structured", "compress_hook", "ddp_hook", "federated_model", "structured"]

_logger = logging.getLogger(__name__)

# torch's annotations leave it out.
_Bucket: typing.TypeAlias = dist.GradBucket   # type: ignore
_Floats: typing.TypeAlias = NDArray[numpy.float32]
_Loss: typing.TypeAlias = collections.abc.Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
_Score: typing.TypeAlias = collections.abc.Callable[[torch.Tensor, torch.Tensor], tuple[float, float]]

_MAX_ABS = 1e20   # of an Aggregator: ranks trust one another, and a GradScaler's gradients are large
_FAILED = -1      # in the place of a frame's length: this rank has none
_INT8, _INT32 = numpy.iinfo(numpy.int8).max, numpy.iinfo(numpy.int32).max
_ESCAPE_BYTES = 8   # of a place and what int8 has no room for there
_EXCHANGES = ("auto", "gather", "reduce")


def _array(tensor: torch.Tensor) -> _Floats:
    return tensor.detach().to("cpu", torch.float32).contiguous().numpy()


def _needs_names(plan: str) -> bool:
    """Whether a rule of the plan chooses tensors by a name."""
    for rule in plan.split("|")[-1].split(";"):
        pattern = rule.partition("=")[0].strip()
        if "=" in rule and not set(pattern) & set(":+<") and pattern != "*":
            return True
    return False


class _Group:
    """What is remembered of the parameters of one bucket."""

    def __init__(self, state: "DDPState", layout: dict[str, tuple[int, ...]]) -> None:
        self.layout = layout
        self.sizes = [int(numpy.prod(shape)) for shape in layout.values()]
        self.base = self.codec = fewbits.Codec(state.plan, layout)
        # Dithers of two buckets of a step differ.
        self.seed = (state.seed ^ self.base.fingerprint) % 2**64
        biased = self.base.describe()["unbiased"] == "no"
        with_feedback = biased if state.feedback is None else state.feedback is not False
        self.options = state.feedback if isinstance(state.feedback, dict) else {}
        self.feedback = fewbits.ErrorFeedback(self.base, **self.options) if with_feedback else None
        self.encoder = fewbits.Encoder(self.base)
        self.carry: _Floats | None = None   # memory that comes from other groups
        self.learner = fewbits.ProfileLearner(self.base) if self.base.takes_profile else None
        self.profile: fewbits.Profile | None = None
        self.renewed: int | None = None    # the step at which the profile was taken
        self.reduces = False               # exchange by all-reduce of integers
        self.linear = True                 # as far as is known
        self.frame_bytes: int | None = None   # of the longest frame of the last gather
        self.reduce_bytes: float | None = None   # that came in at the last all-reduce of integers

    def set_profile(self, profile: fewbits.Profile | None) -> None:
        if profile is None:
            return
        self.profile = profile
        self.codec = self.base.with_profile(profile)
        self.encoder = fewbits.Encoder(self.codec)
        if self.feedback is not None:
            self.feedback.set_codec(self.codec)

    def encode(self, values: _Floats, **keys: typing.Any) -> bytes:
        if self.feedback is None:
            return self.encoder.encode(values, **keys)
        return self.feedback.encode(values if self.carry is None else values + self.carry, **keys)

    def commit(self) -> None:
        if self.feedback is not None:
            self.feedback.commit()
            self.carry = None

    def abandon(self) -> None:
        if self.feedback is not None:
            self.feedback.abandon()

    def memory(self) -> dict[str, _Floats]:
        """What has not been sent, by parameter."""
        assert self.feedback is not None
        whole = self.feedback.memory() if self.carry is None else self.feedback.memory() + self.carry
        return dict(zip(self.layout, numpy.split(whole, numpy.cumsum(self.sizes)[:-1])))

    def state_dict(self) -> dict[str, typing.Any]:
        return {
            "layout": {name: list(shape) for name, shape in self.layout.items()},
            "profile": None if self.profile is None else self.profile.bytes,
            "feedback": None if self.feedback is None else self.feedback.save(),
            "encoder": self.encoder.save(),
            "carry": None if self.carry is None else torch.from_numpy(self.carry.copy()),
            "learner": None if self.learner is None else self.learner.save(),
            "renewed": self.renewed, "reduces": self.reduces, "linear": self.linear, "frame_bytes": self.frame_bytes,
            "reduce_bytes": self.reduce_bytes,
        }

    def load_state_dict(self, saved: dict[str, typing.Any]) -> None:
        if (saved["feedback"] is None) != (self.feedback is None):
            raise ValueError("the state was saved " + ("without" if self.feedback else "with") + " error feedback")
        self.set_profile(None if saved["profile"] is None else fewbits.Profile.from_bytes(self.base, saved["profile"]))
        if self.feedback is not None:
            self.feedback.restore(saved["feedback"])
        self.encoder.restore(saved["encoder"])
        self.carry = None if saved["carry"] is None else saved["carry"].numpy()
        if self.learner is not None:
            self.learner.restore(saved["learner"])
        for name in ("renewed", "reduces", "linear", "frame_bytes", "reduce_bytes"):
            setattr(self, name, saved[name])


class DDPState:
    """What a rank remembers between steps: the first argument of register_comm_hook. Made by ddp_hook, which says what the arguments are.

    step: optimizer steps so far.     fallbacks: buckets that went as float32 because a rank had NaN or infinity.
    bytes_sent: of the buffers that this rank has handed to collectives, those of the warm-up, of lengths and of fallbacks with them;
    bytes_on_wire: what has come in over the network for them, (W - 1) B of an all-gather and 2 (W - 1)/W B of a ring all-reduce of B bytes
    a rank over W ranks.     float32_bytes_sent, float32_bytes_on_wire: the same, had all been float32 and no hook been there.

    state_dict and load_state_dict go on with the same bits, of each rank by itself. A state also pickles; the process group does not, and
    is the default one afterwards.
    """

    def __init__(self, plan: str, module: torch.nn.Module | None = None, *, process_group: typing.Any = None, seed: int = 0, warmup: int = 2,
                 exchange: str = "auto", feedback: bool | dict[str, typing.Any] | None = None, profile_every: int = 20,
                 threads: int = 1) -> None:
        if exchange not in _EXCHANGES:
            raise ValueError(f"exchange is {exchange!r}, expected one of {', '.join(_EXCHANGES)}")
        if exchange == "reduce" and feedback:
            raise ValueError("error feedback needs frames: exchange='gather'")
        if isinstance(feedback, dict):
            if feedback.get("method", "ef14") != "ef14":
                raise ValueError("error feedback of gradients is ef14: what ef21 sends are differences, which no rank adds up")
            fewbits.ErrorFeedback(fewbits.Codec("f32", 1), **feedback)   # its options are right
        if warmup < 0 or profile_every < 1:
            raise ValueError("warmup is a number of steps, profile_every one from 1 on")
        if module is None and _needs_names(plan):
            raise ValueError(f"the plan {plan!r} chooses tensors by name: pass the module, ddp_hook(plan, module)")
        if not _needs_names(plan) and fewbits.Codec(plan, {"x": (2, 2)}).structured:
            raise ValueError("a plan with train=... is for fewbits.torch.structured: a hook has gradients of all parameters")
        self.plan = plan
        self.process_group = process_group
        self.seed = seed
        self.warmup = warmup
        self.exchange = exchange
        self.feedback = feedback
        self.profile_every = profile_every
        self.threads = threads
        self.step = 0
        self.fallbacks = 0
        self.bytes_sent = 0
        self.bytes_on_wire = 0.0
        self.float32_bytes_sent = 0
        self.float32_bytes_on_wire = 0.0
        self._names: dict[torch.Tensor, str] = {}
        self._places: dict[str, int] = {}
        self._named = False
        self._groups: dict[tuple[str, ...], _Group] = {}
        self._owners: dict[str, _Group] = {}
        if module is not None:
            self.set_module(module)

    def set_module(self, module: torch.nn.Module) -> None:
        """Names the parameters as module.named_parameters() does, without the "module." of a DistributedDataParallel. Before the first step."""
        if isinstance(module, torch.nn.parallel.DistributedDataParallel):
            module = module.module
        self._names = {parameter: name for name, parameter in module.named_parameters()}
        self._places = {name: place for place, name in enumerate(self._names.values())}
        self._named = True

    def state_dict(self) -> dict[str, typing.Any]:
        """Of tensors, bytes and numbers. Each rank has, saves and loads its own."""
        keys = list(self._groups)
        return {
            "plan": self.plan, "seed": self.seed, "step": self.step, "rank": self._rank(), "world_size": self._size(),
            "fallbacks": self.fallbacks, "bytes_sent": self.bytes_sent, "bytes_on_wire": self.bytes_on_wire,
            "float32_bytes_sent": self.float32_bytes_sent, "float32_bytes_on_wire": self.float32_bytes_on_wire,
            "groups": [self._groups[key].state_dict() for key in keys],
            "owners": {name: keys.index(tuple(group.layout)) for name, group in self._owners.items()},
        }

    def load_state_dict(self, saved: dict[str, typing.Any]) -> None:
        """Undoes state_dict. Raises ValueError for the state of another plan or seed, and, where there is error feedback, of another rank or
        number of ranks: what a rank has not sent is its own."""
        for name in ("plan", "seed"):
            if saved[name] != getattr(self, name):
                raise ValueError(f"the state was saved with {name} {saved[name]!r}, not {getattr(self, name)!r}")
        groups = []
        for own in saved["groups"]:
            group = _Group(self, {name: tuple(shape) for name, shape in own["layout"].items()})
            group.load_state_dict(own)
            groups.append(group)
        if any(group.feedback is not None for group in groups):
            for name, here in (("rank", self._rank()), ("world_size", self._size())):
                if saved[name] != here:
                    raise ValueError(f"the state was saved with {name} {saved[name]}, not {here}; each rank loads its own error feedback")
        self._groups = {tuple(group.layout): group for group in groups}
        self._owners = {name: groups[index] for name, index in saved["owners"].items()}
        for name in ("step", "fallbacks", "bytes_sent", "bytes_on_wire", "float32_bytes_sent", "float32_bytes_on_wire"):
            setattr(self, name, saved[name])

    def __getstate__(self) -> dict[str, typing.Any]:
        options = ("plan", "seed", "warmup", "exchange", "feedback", "profile_every", "threads")
        return {"options": {name: getattr(self, name) for name in options}, "state": self.state_dict(), "named": self._named}

    def __setstate__(self, saved: dict[str, typing.Any]) -> None:
        options = dict(saved["options"])
        plan = options.pop("plan")
        DDPState.__init__(self, plan, torch.nn.Module() if saved["named"] else None, **options)
        self.load_state_dict(saved["state"])

    def _ranks(self) -> typing.Any:
        return self.process_group if self.process_group is not None else dist.group.WORLD

    def _rank(self) -> int:
        return dist.get_rank(self._ranks()) if dist.is_initialized() else 0

    def _size(self) -> int:
        return dist.get_world_size(self._ranks()) if dist.is_initialized() else 1

    # Buckets.

    def _name(self, parameter: torch.Tensor) -> str:
        if parameter not in self._names:
            if self._named:
                raise ValueError(f"a parameter of shape {tuple(parameter.shape)} is not in the module that ddp_hook was given"
                                 " (after unpickling: state.set_module)")
            # In the order in which they are seen first, which is the same on all ranks and in a run that goes on.
            name = str(len(self._names))
            self._names[parameter] = name
            self._places[name] = len(self._places)
        return self._names[parameter]

    def _group_of(self, parameters: list[torch.Tensor]) -> tuple[_Group, list[int]]:
        """The state of a bucket, and the order of its parameters there.

        DDP makes other buckets after the first step, and a run that goes on begins with the first ones again. So their parameters have an
        order of their own here, and what has not been sent moves with each parameter."""
        if any(parameter.is_complex() for parameter in parameters):
            raise ValueError("a bucket has complex parameters, which no plan codes: leave them out, or register no hook")
        names = [self._name(parameter) for parameter in parameters]
        order = sorted(range(len(names)), key=lambda i: self._places[names[i]])
        key = tuple(names[i] for i in order)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(self, {names[i]: tuple(parameters[i].shape) for i in order})
        if any(self._owners.get(name, group) is not group for name in key):
            if group.feedback is not None:
                pieces = []
                for name, size in zip(key, group.sizes):
                    owner = self._owners.get(name)
                    pieces.append(numpy.zeros(size, numpy.float32) if owner is None else owner.memory()[name])
                group.feedback = fewbits.ErrorFeedback(group.codec, **group.options)
                group.carry = numpy.concatenate(pieces)
        self._owners.update(dict.fromkeys(key, group))
        return group, order

    # Collectives, counted.

    def _gathered(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        size = self._size()
        self._count(tensor, (size - 1) * tensor.nbytes)
        parts = [torch.empty_like(tensor) for _ in range(size)]
        dist.all_gather(parts, tensor, group=self._ranks())
        return parts

    def _reduced(self, tensor: torch.Tensor, operation: typing.Any = dist.ReduceOp.SUM) -> torch.Tensor:
        self._count(tensor, 2 * (self._size() - 1) / self._size() * tensor.nbytes)
        dist.all_reduce(tensor, op=operation, group=self._ranks())
        return tensor

    def _count(self, tensor: torch.Tensor, on_wire: float) -> None:
        self.bytes_sent += tensor.nbytes
        self.bytes_on_wire += on_wire

    # Exchanges: the mean over the ranks, or None where a rank cannot take part.

    def _failed(self, error: fewbits.Error) -> None:
        if error.code != fewbits.ErrorCode.NOT_FINITE:
            _logger.warning("step %d: a bucket goes as float32: %s", self.step, error)

    def _gather(self, group: _Group, values: _Floats,
                device: torch.device) -> _Floats | None:
        rank, size = self._rank(), self._size()
        frame, length = b"", _FAILED
        try:
            frame = group.encode(values, seed=group.seed, round=self.step, client=rank, cohort=(rank, size))
            length = len(frame)
        except fewbits.Error as error:
            self._failed(error)
        lengths = [int(own) for own in self._gathered(torch.tensor([length], dtype=torch.int64, device=device))]
        if min(lengths) == _FAILED:
            if length != _FAILED:
                group.abandon()
            return None
        padded = torch.zeros(max(lengths), dtype=torch.uint8)
        padded[:length] = torch.frombuffer(bytearray(frame), dtype=torch.uint8)
        parts = self._gathered(padded.to(device))
        frames: list[typing.Any] = [part.cpu().numpy()[:own] for part, own in zip(parts, lengths)]
        total = fewbits.Aggregator(group.codec, seed=group.seed, round=self.step, cohort_size=size, max_abs=_MAX_ABS)
        for refusal in total.add_many(frames, clients=range(size), threads=self.threads):   # the same at all ranks
            if refusal is None:
                continue
            if refusal.code != fewbits.ErrorCode.TOO_LARGE:
                raise refusal
            self._failed(refusal)
            group.abandon()
            return None
        group.commit()
        group.frame_bytes = max(lengths)
        if group.learner is not None:
            group.learner.learn(total)
        return total.mean()

    def _reduce(self, group: _Group, values: _Floats,
                device: torch.device) -> _Floats | None:
        rank, size = self._rank(), self._size()
        integers = fewbits.Integers(group.codec, seed=group.seed, round=self.step, cohort_size=size)
        own, most, escapes = numpy.zeros(0, numpy.int32), _FAILED, numpy.zeros(0, numpy.int64)
        room = _INT8 // size   # so that no sum of int8 overflows
        try:
            own = integers.encode(values, client=rank, cohort_index=rank)
            most = int(numpy.abs(own).max(initial=0))
            escapes = numpy.flatnonzero(numpy.abs(own) > room)
        except fewbits.Error as error:
            self._failed(error)
        before = self.bytes_on_wire
        known = [part.tolist() for part in self._gathered(torch.tensor([most, len(escapes)], dtype=torch.int64, device=device))]
        if min(known)[0] == _FAILED or max(known)[0] * size > _INT32:
            return None
        count = max(number for _, number in known)
        as_int8 = 2 * len(own) / size + _ESCAPE_BYTES * count < 2 * 4 * len(own) / size
        near = own.clip(-room, room)
        sums = self._reduced(torch.from_numpy(near.astype(numpy.int8) if as_int8 else own.copy()).to(device)).cpu().numpy().astype(numpy.int64)
        if as_int8 and count != 0:
            pairs = numpy.zeros((2, count), numpy.int32)   # those at the end add 0 to place 0
            pairs[0, :len(escapes)] = escapes
            pairs[1, :len(escapes)] = own[escapes] - near[escapes]
            for part in self._gathered(torch.from_numpy(pairs).to(device)):
                places, more = part.cpu().numpy()
                numpy.add.at(sums, places, more)
        group.reduce_bytes = self.bytes_on_wire - before
        mean = integers.mean(sums, clients=range(size))
        if group.learner is not None:
            group.learner.learn(mean)
        return mean

    def _renew(self, group: _Group) -> None:
        """Decides now and then, from what all ranks know, how the bucket is exchanged, and takes the profile of that."""
        if group.renewed is not None and self.step - group.renewed < self.profile_every:
            return
        learned = group.learner is not None and group.learner.rounds > 0
        can_reduce = self.exchange != "gather" and group.feedback is None and group.linear and (group.learner is None or learned)
        if self.exchange == "auto" and group.frame_bytes is None:
            can_reduce = False   # the first frames say how long they are
        else:
            group.renewed = self.step
        codec, profile = group.base, None
        if can_reduce:
            try:
                if group.learner is not None:
                    profile = group.learner.profile().with_common_step(group.base)
                    codec = group.base.with_profile(profile)
                values = fewbits.Integers(codec, seed=group.seed, round=self.step, cohort_size=self._size()).size
            except fewbits.Error:
                if self.exchange == "reduce":
                    raise
                group.linear = can_reduce = False
        size = self._size()
        if can_reduce and self.exchange == "auto":
            bytes_in = 2 * (size - 1) / size * values if group.reduce_bytes is None else group.reduce_bytes
            can_reduce = bytes_in < (size - 1) * typing.cast(int, group.frame_bytes)
        group.reduces = can_reduce
        if learned:
            group.set_profile(profile if can_reduce else typing.cast(fewbits.ProfileLearner, group.learner).profile())

    def _exchange(self, group: _Group, order: list[int], buffer: torch.Tensor, gradients: list[torch.Tensor]) -> None:
        self._renew(group)
        values = _array(torch.cat([gradients[i].detach().reshape(-1) for i in order]))
        mean = (self._reduce if group.reduces else self._gather)(group, values, buffer.device)
        if mean is None:   # NaN and infinity reach all ranks, so that a GradScaler skips the step on each
            self.fallbacks += 1
            self._reduced(buffer.div_(self._size()))
            return
        for i, own in zip(order, torch.from_numpy(mean).split(group.sizes)):   # type: ignore[no-untyped-call]
            gradients[i].copy_(own.view(gradients[i].shape))

    def _warm_up(self, group: _Group, order: list[int], buffer: torch.Tensor, gradients: list[torch.Tensor]) -> torch.futures.Future[torch.Tensor]:
        self._count(buffer, 2 * (self._size() - 1) / self._size() * buffer.nbytes)
        future = dist.all_reduce(buffer.div_(self._size()), group=self._ranks(), async_op=True).get_future()

        def learn(done: torch.futures.Future[list[torch.Tensor]]) -> torch.Tensor:
            done.wait()
            if group.learner is not None:
                mean = _array(torch.cat([gradients[i].detach().reshape(-1) for i in order]))
                if numpy.isfinite(mean).all():
                    group.learner.learn(mean)
            return buffer

        return typing.cast("torch.futures.Future[torch.Tensor]", future.then(learn))


def compress_hook(state: DDPState, bucket: _Bucket) -> torch.futures.Future[torch.Tensor]:
    """The hook of ddp_hook: register_comm_hook(state, compress_hook)."""
    buffer, gradients = bucket.buffer(), bucket.gradients()
    state.float32_bytes_sent += 4 * buffer.numel()
    state.float32_bytes_on_wire += 8 * buffer.numel() * (state._size() - 1) / state._size()
    group, order = state._group_of(bucket.parameters())
    if state.step < state.warmup:
        future = state._warm_up(group, order, buffer, gradients)
    else:
        # Collectives follow from the results of others, and must begin in the same order on all ranks: callbacks of futures, which gloo
        # runs on threads of its own, would not.
        state._exchange(group, order, buffer, gradients)
        future = torch.futures.Future()
        future.set_result(buffer)
    if bucket.is_last():
        state.step += 1
    return future


def ddp_hook(plan: str, module: torch.nn.Module | None = None,
             **options: typing.Any) -> tuple[DDPState, collections.abc.Callable[[DDPState, _Bucket], torch.futures.Future[torch.Tensor]]]:
    """A communication hook of DistributedDataParallel that sends gradients by a plan: ddp.register_comm_hook(*ddp_hook("trellis:bits=2", ddp)).

    plan: as fewbits.Codec takes it. Each bucket is coded as an update whose tensors are its parameters, so that rules choose among them
        ("*.bias=f32; *=trellis:bits=2") and scales are those of their rows and columns.
    module: names the parameters; needed only for plans that choose tensors by name.
    process_group: of the ranks; None: the default one. As in DistributedDataParallel.
    seed: of the randomness, the same on all ranks. A step is a round of it, a rank a client.
    warmup: first steps, whose gradients are all-reduced as float32. Profiles are learned from them.
    exchange: what a rank sends for a bucket of n values, of W ranks:
        "gather": its frame, padded to the longest one, by an all-gather; each rank adds all W frames. (W - 1) frames come in.
        "reduce": integers at a common step by an all-reduce, one byte each, and by an all-gather the few for which 127/W is too small, eight bytes
            each; or four bytes each where that is less. With a ring 2 (W - 1)/W n bytes and the few come in, whatever the plan's bits. For plans
            with scale=profile, or with scale=flat,step=S, of trellis and dither (fewbits.Integers); until a profile is learned, frames are gathered.
        "auto": "gather", until "reduce" is possible and fewer bytes come in, which takes more than 16/b ranks at b bits a coordinate.
        Beside that 8 or 16 bytes a bucket and rank. All ranks get the same bits.
    feedback: error feedback, a memory on each rank of what was not sent. None: for plans that are not unbiased; True, False; or a dict of
        options of fewbits.ErrorFeedback (method "ef14").
    profile_every: steps between profiles of plans with scale=profile, and between decisions of exchange="auto".
    threads: that check and add frames of one bucket.

    A NaN or infinity on any rank makes the bucket go as float32, so that it reaches all of them and a GradScaler skips the step everywhere; so does
    a value that the plan cannot represent. What a memory holds is in the units of the loss scale of its time.
    Parameters may be float32, or halves, which are coded as float32. The hook waits for its collectives, and copies gradients of other devices to
    the CPU: it is for links that are slower than that.
    Memory: two copies of a bucket while it is coded, one more of all parameters with error feedback, 8 bytes a value for the sum.

    Returns (state, hook). Raises ValueError for options, fewbits.Error for plans (BAD_PLAN; in the first step where they need the tensors) and, in
    training, for plans that exchange="reduce" cannot have (BAD_ARGUMENT).
    """
    return DDPState(plan, module, **options), compress_hook


class _Expand(torch.autograd.Function):
    """The member of a family that free parameters stand for; backward is its adjoint."""

    @staticmethod
    def forward(ctx: typing.Any, free: torch.Tensor, family: fewbits.Structure) -> torch.Tensor:
        ctx.family = family
        return torch.from_numpy(family.expand(_array(free))).to(free.device)

    @staticmethod
    def backward(ctx: typing.Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return torch.from_numpy(ctx.family.pull_back(_array(gradient))).to(gradient.device), None


class _Member(torch.nn.Module):
    """One tensor of a structured module: its base and its part of the expansion."""

    def __init__(self, owner: "Structured", index: int) -> None:
        super().__init__()
        self._owner = [owner]   # in a list: no submodule
        self._index = index

    def forward(self, base: torch.Tensor) -> torch.Tensor:
        return base + self._owner[0]._piece(self._index).view(base.shape).to(base.dtype)


class Structured:
    """A module that trains inside a structured family. Made by structured, which says what it is.

    free: the free parameters, a leaf torch.nn.Parameter of float32, shape [codec.elements]; the only ones that are trained.
    codec: of the plan, for frames of them.     seed, round: of the family.
    """

    def __init__(self, module: torch.nn.Module, plan: str, *, seed: int, round: int, code: str) -> None:
        trained = [(name, parameter) for name, parameter in module.named_parameters(remove_duplicate=False) if parameter.requires_grad]
        if hasattr(module, "structured_free"):
            raise ValueError("the module is structured already: remove() that first")
        if not trained:
            raise ValueError("the module has no parameters that need gradients")
        if len({id(parameter) for _, parameter in trained}) != len(trained):
            raise ValueError("the module has a parameter under two names: a family needs each once")
        if any(not parameter.is_floating_point() for _, parameter in trained) or len({p.device for _, p in trained}) != 1:
            raise ValueError("parameters must be floating, and on one device")
        self.module = module
        self.codec = fewbits.Codec(plan if plan.lstrip().startswith("train=") else f"train={plan} | {code}",
                                   {name: tuple(parameter.shape) for name, parameter in trained})
        self.seed = seed
        self.round = round
        self._sizes = [parameter.numel() for _, parameter in trained]
        self._family = fewbits.Structure(self.codec, seed=seed, round=round)
        self._pieces: tuple[torch.Tensor, ...] | None = None
        self.free = torch.nn.Parameter(torch.zeros(self.codec.elements, device=trained[0][1].device))
        self._tensors = []
        for index, (name, parameter) in enumerate(trained):
            path, _, tensor = name.rpartition(".")
            owner = module.get_submodule(path)
            parameter.requires_grad_(False)
            parametrize.register_parametrization(owner, tensor, _Member(self, index), unsafe=True)
            self._tensors.append((owner, tensor))
        module.register_parameter("structured_free", self.free)
        self._hooks = [module.register_forward_pre_hook(self._before), module.register_forward_hook(self._after, always_call=True)]

    def _expanded(self) -> tuple[torch.Tensor, ...]:
        return typing.cast("tuple[torch.Tensor, ...]", _Expand.apply(self.free, self._family).split(self._sizes))   # type: ignore[no-untyped-call]

    def _piece(self, index: int) -> torch.Tensor:
        return (self._pieces if self._pieces is not None else self._expanded())[index]

    def _before(self, *_: typing.Any) -> None:
        self._pieces = self._expanded()

    def _after(self, *_: typing.Any) -> None:
        self._pieces = None

    def encode(self, *, client: int, cohort: tuple[int, int] = (0, 1)) -> bytes:
        """The free parameters as a frame of this round."""
        return self.codec.encode(_array(self.free), seed=self.seed, round=self.round, client=client, cohort=cohort)

    @torch.no_grad()
    def next_round(self, mean: typing.Any = None, *, round: int | None = None) -> None:
        """Adds the update to the parameters and draws the family of another round, with free parameters of zero.

        mean: free parameters to add in the place of the module's own, such as an Aggregator's mean: float32, shape [codec.elements].
        round: by default the next one. Moments that an optimizer keeps are of the old family: begin with a new optimizer.
        """
        number = self.round + 1 if round is None else round
        family = fewbits.Structure(self.codec, seed=self.seed, round=number)   # what it refuses changes nothing
        if mean is not None:
            mean = torch.as_tensor(mean)
            if mean.shape != self.free.shape:
                raise ValueError(f"the mean has shape {tuple(mean.shape)}, expected {tuple(self.free.shape)}")
            self.free.copy_(mean)
        self._fold()
        self.round, self._family = number, family

    def _fold(self) -> None:
        """Adds the update to the parameters."""
        for (owner, tensor), piece in zip(self._tensors, self._expanded()):
            base = getattr(owner, "parametrizations")[tensor].original
            base += piece.view(base.shape).to(base.dtype)
        self.free.zero_()

    @torch.no_grad()
    def remove(self) -> torch.nn.Module:
        """Leaves the module with plain parameters, which have the trained values; returns it."""
        self._fold()
        for hook in self._hooks:
            hook.remove()
        for owner, tensor in self._tensors:
            parametrize.remove_parametrizations(owner, tensor, leave_parametrized=False)
            getattr(owner, tensor).requires_grad_(True)
        del self.module.structured_free
        return self.module


def structured(module: torch.nn.Module, plan: str, *, seed: int, round: int = 0, code: str = "f32") -> Structured:
    """Makes a module train inside a structured family, with any optimizer: its parameters become base + expand(free).

        family = fewbits.torch.structured(model, "lowrank:rank=4", seed=1, round=3, code="trellis:bits=4")
        optimizer = torch.optim.SGD([family.free], lr=1.0)
        ...                                                    # train as always
        frame = family.encode(client=17)                       # what a client uploads
        family.next_round(total.mean())                        # the same update at all clients; or family.remove()

    module: trained in place. All of its parameters that need gradients are in the family, under their names; then `structured_free` is the only
        one that does, and the others are its base (`parametrizations.*.original`). They must be floating, on one device, each under one name.
    plan: a family, "mask:keep=P" or "lowrank:rank=R"; or a whole plan, "train=... | ...".
    seed, round: which family is drawn; the same at all clients.
    code: how the free parameters are coded in frames.

    Cost: each forward of the module makes the whole expansion once (on the CPU, float32) and adds it to the base, each backward
    is one pull back of the dense gradient: time and memory of training are those of the dense module and a copy or two of its parameters; what is
    small is the optimizer's state and what is sent. Outside of a forward of this very module, each access to a tensor expands all of them.
    The expansion is constant in a forward, so the module may not be changed inside it.
    Source: Konecny et al. 2016, section 2. Raises ValueError for such modules, fewbits.Error (BAD_PLAN).
    """
    return Structured(module, plan, seed=seed, round=round, code=code)


def _accuracy(output: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    right = output.argmax(1) == y
    return float(right.sum()), right.numel()


class FederatedModel:
    """A module as a model of fewbits.federated. Made by federated_model, which says what it is.

    module: as it was given. Its parameters stay as they are but for `load`.     initial: theirs, a dict of float32 arrays.
    """

    def __init__(self, module: torch.nn.Module, loss: _Loss, *, score: _Score, metric: str, higher_is_better: bool) -> None:
        trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        if not trained:
            raise ValueError("the module has no parameters that need gradients")
        self.module = module
        self.initial = {name: _array(parameter) for name, parameter in trained.items()}
        self.metric = metric
        self.higher_is_better = higher_is_better
        self._loss = loss
        self._score = score
        self._kinds = {name: (parameter.device, parameter.dtype) for name, parameter in trained.items()}

    def _tensors(self, parameters: collections.abc.Mapping[str, _Floats]) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(values).to(*self._kinds[name]) for name, values in parameters.items()}

    def _output(self, tensors: dict[str, torch.Tensor], x: NDArray[typing.Any]) -> torch.Tensor:
        buffers = {name: buffer.clone() for name, buffer in self.module.named_buffers()}   # a forward in training may change them
        device = next(iter(tensors.values())).device
        return typing.cast(torch.Tensor, torch.func.functional_call(self.module, {**buffers, **tensors}, (torch.from_numpy(x).to(device),)))

    def loss_and_gradient(self, parameters: dict[str, _Floats], x: NDArray[typing.Any], y: NDArray[typing.Any]) -> tuple[float, dict[str, _Floats]]:
        """As fewbits.federated.Model says."""
        self.module.train()
        tensors = {name: tensor.requires_grad_() for name, tensor in self._tensors(parameters).items()}
        output = self._output(tensors, x)
        loss = self._loss(output, torch.from_numpy(y).to(output.device))
        gradients = torch.autograd.grad(loss, list(tensors.values()), materialize_grads=True)
        return loss.item(), {name: _array(gradient) for name, gradient in zip(tensors, gradients)}

    @torch.no_grad()
    def score(self, parameters: dict[str, _Floats], x: NDArray[typing.Any], y: NDArray[typing.Any]) -> tuple[float, float]:
        """As fewbits.federated.Model says."""
        self.module.eval()
        output = self._output(self._tensors(parameters), x)
        total, count = self._score(output, torch.from_numpy(y).to(output.device))
        return float(total), float(count)

    @torch.no_grad()
    def load(self, parameters: collections.abc.Mapping[str, _Floats]) -> torch.nn.Module:
        """Copies parameters, such as a trainer's `released`, into the module; returns it. Raises KeyError for a missing name."""
        own = dict(self.module.named_parameters())
        for name in self.initial:
            own[name].copy_(torch.from_numpy(parameters[name]))
        return self.module


def federated_model(module: torch.nn.Module, loss: _Loss, *, score: _Score = _accuracy, metric: str = "accuracy",
                    higher_is_better: bool = True) -> FederatedModel:
    """A module as a model that fewbits.federated trains, with gradients by autograd.

        model = fewbits.torch.federated_model(module, torch.nn.functional.cross_entropy)
        trainer = fewbits.federated.Trainer(model, (x, y), (x_test, y_test), clients, "trellis:bits=0.03,scale=profile")
        ...
        model.load(trainer.released)

    module: called with a batch of x. Its parameters that need gradients are trained, under their names, from the values that they have;
        others stay as they are. So do buffers: a BatchNorm normalizes by its batch in training, and by what it has now in evaluation.
    loss: loss(output, y), the mean over the batch, a scalar. y is int64 where it was given as whole numbers, else float32.
    score: score(output, y), (sum, count) of what `metric` is the mean of; by default how many of the largest outputs of a row are y.

    What the module draws by itself (dropout) comes from torch's generator: seed it for results that can be had again.
    One thread at a time: leave the trainer's `threads` as it is; torch's own are those of torch.set_num_threads,
        and for small batches one is the fastest.
    Memory: a copy of the parameters and their gradients. Raises ValueError for a module without parameters that need gradients.
    """
    return FederatedModel(module, loss, score=score, metric=metric, higher_is_better=higher_is_better)
