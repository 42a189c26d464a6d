"""Federated averaging in one process, in which every update crosses a byte buffer as a frame: the harness of `fewbits train`.

    trainer = fewbits.federated.Trainer("mlp:hidden=200", (x, y), (x_test, y_test), clients, "trellis:bits=0.03,scale=profile", rounds=100)
    for result in trainer.run():
        print(result.round, result.score, result.upload_bytes)

Trainer: one plan's training, round by round.     Model: what a model of your own has; fewbits.torch.federated_model makes one of a module.
partition: rows of examples dealt to clients.     models: the built-in models.
"""

import collections.abc
import dataclasses
import typing

import numpy
from numpy.typing import ArrayLike, NDArray

try:
    from fewbits import _federated
except ImportError as error:
    raise ImportError(f"this installation has no harness ({error}): what it needs was not found when the package was built, or is not there now: "
                      "Eigen, oneTBB, CLI11, nlohmann-json, zlib, libzip, Botan and OpenBLAS; on Debian and Ubuntu `tools/setup.sh` in the sources "
                      "installs them, before `pip install .`") from error

__all__ = ["Model", "RoundResult", "Trainer", "models", "partition"]

_Floats: typing.TypeAlias = NDArray[numpy.float32]
_Tensors: typing.TypeAlias = collections.abc.Mapping[str, typing.Any]
_Examples: typing.TypeAlias = tuple[ArrayLike, ArrayLike]
_MOST = 2**24   # up to which float32 holds all whole numbers


class Model(typing.Protocol):
    """A model of your own. Its parameters live outside of it: equal arguments must give equal results, to the bit.

    May have also: metric, the score's name ("accuracy"); higher_is_better (True); root, of the mean as for an rmse (False).

    Arguments of both functions: parameters as `initial`, float32; x and y with the rows of a batch first, and behind that the shape they have
    in the trainer's examples: x float32, y int64 where it was given as whole numbers, else float32. They are copies, to do with as you like;
    parameters are overwritten by the next call.
    """

    @property
    def initial(self) -> _Tensors:
        """The parameters to begin with: a dict of names with float32 arrays, whose shapes are the layout that plans see. An attribute will do."""
        ...

    def loss_and_gradient(self, parameters: dict[str, _Floats], x: _Floats, y: NDArray[typing.Any]) -> tuple[float, _Tensors]:
        """The mean loss over the rows, and its gradient: a dict of float32 arrays (or tensors on the CPU) with the names and shapes of `initial`."""
        ...

    def score(self, parameters: dict[str, _Floats], x: _Floats, y: NDArray[typing.Any]) -> tuple[float, float]:
        """(sum, count) over the rows of what the metric is the mean of: for an accuracy, how many are right, and how many there are."""
        ...


@dataclasses.dataclass(frozen=True)
class RoundResult:
    """What a round came to. Counts are of the whole run so far; loss and seconds of this round, added up over clients.

    score: on the test examples, None where it was not evaluated. loss: mean of the clients' training losses. clients: whose updates are in
    the round's mean, of those asked. frames: in all means. upload_bytes: of all frames, and of what came of the others, wasted_bytes.
    download_bytes: models, references and profiles. simulated_seconds: by the links, 0 without. seconds: by the clock.
    epsilon: spent so far, None without noise. clip: the norm of the round, None without.
    """

    round: int
    score: float | None
    loss: float
    clients: int
    asked: int
    examples: int
    frames: int
    upload_bytes: int
    wasted_bytes: int
    download_bytes: int
    simulated_seconds: float
    seconds: float
    train_seconds: float
    encode_seconds: float
    decode_seconds: float
    epsilon: float | None = None
    clip: float | None = None


def _is_whole(values: ArrayLike) -> bool:
    return numpy.asarray(values).dtype.kind in "bui"


def _floats(values: ArrayLike, what: str) -> _Floats:
    array = numpy.asarray(values)
    if array.dtype.kind not in "buif" or array.ndim == 0:
        raise TypeError(f"{what} must be an array of numbers with an axis of rows, not of {array.dtype} and shape {array.shape}")
    if array.dtype.kind in "ui" and array.size > 0 and max(int(array.max()), -int(array.min())) > _MOST:
        raise ValueError(f"{what} has a whole number beyond 2^24, which float32 does not hold")
    return numpy.ascontiguousarray(array, numpy.float32)


def _pair(examples: _Examples, name: str) -> tuple[_Floats, _Floats]:
    x, y = examples
    return _floats(x, f"{name} x"), _floats(y, f"{name} y")


def _classes(*labels: _Floats) -> int:
    return int(max((own.max() for own in labels if own.size > 0), default=0)) + 1


class Trainer:
    """One plan's training, round by round. With the same arguments it gives the same bits each time.

    model: text, one of models(), such as "mlp:hidden=200"; or a Model of your own.
    train, test: (x, y), numpy arrays with a row an example. float32 arrays in C order are read in place, and must not change while the trainer
        lives; others are copied. For built-in models whole numbers in y are classes, from 0, and floats are real values.
    clients: a list of each client's rows of train; or another sequence, whose len() is the number of clients and whose [client] is asked
        for its rows when it takes part, and must always give the same: a million clients need no memory.
    plan: as fewbits.Codec takes it, with options of its own behind an @: "topk:keep=0.01+f32 @ feedback=ef14"; `fewbits train --help` has all.

    start: parameters to begin with in place of the model's, as `parameters` gives them.
    classes: of y, for built-in models; None: one more than the largest there is. tokens: over 0: x are numbers of tokens, or of one-hot
        columns, below it.
    seed: of everything that is drawn: clients, batches, frames, links. Two plans with one seed have the same clients and batches.
    rounds: after which it is done. clients_per_round: drawn without replacement; None: 10, or all where there are fewer;
        client_probability: instead, each takes part with this chance.
    epochs, batch: of clients in a round. stream: over 0: so many new examples of a client in each of its rounds, each seen once.
    learning_rate, learning_rate_decay: of clients, and its factor from round to round. prox: mu of FedProx.
    server: "sgd" or "adam", with server_learning_rate, server_momentum (0 is 0.9 for adam), and of adam server_beta2 and server_tau.
    average: over 0: what is evaluated and released is an average of the models, in which a round weighs this much less than the next one.
    downlink: plan of the models that go down, as differences; "": whole, as float32.
    links: a simulated network with stragglers and losses, such as "up=1,lost=0.1,deadline=60"; "": with all defaults; None: none.
    clip: the norm to which each client's update is clipped, by it and, decoded, by the server. clip_by: "whole"; "tensor": each tensor's share
        of it; "median": the norm follows the median of the clients', beginning with `clip`.
    epsilon, delta: differential privacy of clients: the budget of all rounds, from which the noise follows; with client_probability.
        noise_multiplier: instead of epsilon, the standard deviation of the sum's noise over the norm. examples_cap: clients weigh
        min(examples/cap, 1); 0: all the same. noise_by: "server", or "clients": each adds its part to a secure sum.
    secure: secure aggregation, of plans linear in integers, such as "hadamard+dither:scale=flat,step=auto" with `clip`. secure_bits: of a
        masked word. min_cohort: a sum of fewer clients is not opened. transcript: a folder for all that the server sees.
    eval_every: rounds from evaluation to evaluation; the last is evaluated too. eval_examples: over 0: on so many of the test examples.
    threads: clients that train at the same time, 0: a core each; None: 1 for a Model of your own, which more than one would have to be ready for,
        else 0. No result depends on it.

    results: of the rounds so far, a list of RoundResult.

    Raises fewbits.Error (BAD_ARGUMENT, BAD_PLAN, NOT_FINITE) and TypeError for what it cannot train.
    Source: McMahan et al. 2016, algorithm 1.
    """

    def __init__(self, model: str | Model, train: _Examples, test: _Examples, clients: collections.abc.Sequence[ArrayLike], plan: str = "f32", *,
                 start: _Tensors | None = None, classes: int | None = None, tokens: int = 0, seed: int = 1, rounds: int = 200,
                 clients_per_round: int | None = None, client_probability: float | None = None, epochs: int = 1, batch: int = 32, stream: int = 0,
                 learning_rate: float = 0.1, learning_rate_decay: float = 1.0, prox: float = 0.0, server: str = "sgd",
                 server_learning_rate: float = 1.0, server_momentum: float = 0.0, server_beta2: float = 0.99, server_tau: float = 1e-3,
                 average: float = 0.0, downlink: str = "", links: str | None = None, clip: float | None = None, clip_by: str = "whole",
                 epsilon: float | None = None, delta: float = 0.0, noise_multiplier: float = 0.0, examples_cap: float = 0.0,
                 noise_by: str = "server", secure: bool = False, secure_bits: int = 16, min_cohort: int = 10, transcript: str = "",
                 eval_every: int = 1, eval_examples: int = 0, threads: int | None = None) -> None:
        own_train, own_test = _pair(train, "train"), _pair(test, "test")
        whole = _is_whole(train[1])
        if whole != _is_whole(test[1]):
            raise TypeError("y of train and of test must both be whole numbers, or both floats")
        built_in = isinstance(model, str)
        if built_in and whole and classes is None:
            classes = _classes(own_train[1], own_test[1])
        if threads is None:
            threads = 0 if built_in else 1
        self.results: list[RoundResult] = []
        self._trainer = _federated.Trainer(model, own_train, own_test, clients, plan, start, dict(
            classes=classes if built_in else 0, tokens=tokens, whole_targets=whole, seed=seed, rounds=rounds, clients_per_round=clients_per_round,
            client_probability=client_probability, epochs=epochs, batch=batch, stream=stream, learning_rate=learning_rate,
            learning_rate_decay=learning_rate_decay, prox=prox, server=server, server_learning_rate=server_learning_rate,
            server_momentum=server_momentum, server_beta2=server_beta2, server_tau=server_tau, average=average, downlink=downlink, links=links,
            clip=clip, clip_by=clip_by, epsilon=epsilon, delta=delta, noise_multiplier=noise_multiplier, examples_cap=examples_cap,
            noise_by=noise_by, secure=secure, secure_bits=secure_bits, min_cohort=min_cohort, transcript=transcript,
            eval_every=eval_every, eval_examples=eval_examples, threads=threads))

    def step(self) -> RoundResult | None:
        """The next round. None, with the model left as it was before it, when training has diverged: `stopped` says why.

        What a Model or a sequence of clients raises comes out of it as it is, and the round is not done; it may be tried again. Where `score`
        has raised, the next call evaluates the round. Raises fewbits.Error (BAD_ARGUMENT) when the trainer is done.
        """
        result = self._trainer.step()
        if result is None:
            return None
        self.results.append(RoundResult(**result))
        return self.results[-1]

    def run(self) -> collections.abc.Iterator[RoundResult]:
        """Steps until the trainer is done, or you are."""
        while not self.done:
            result = self.step()
            if result is not None:
                yield result

    def observe(self, clients: int, see: collections.abc.Callable[[int, int, _Floats], object] | None) -> None:
        """From now on calls see(round, client, update) for at most `clients` clients a round, spread evenly over those that take part.

        update: what the client would send, before it is coded: float32, shape [coordinates, or free parameters of a structured plan].
        None ends it. What `see` raises comes out of step, and the round is not done.
        """
        self._trainer.observe(clients, see)

    @property
    def round(self) -> int:
        """The last that is complete; 0 before the first."""
        return self._trainer.round

    @property
    def done(self) -> bool:
        """All rounds are complete, training has diverged, or the next round would spend more than epsilon."""
        return self._trainer.done

    @property
    def stopped(self) -> str:
        """Why training has ended before its last round, in words; else empty."""
        return self._trainer.stopped

    @property
    def plan(self) -> str:
        """The canonical text, without the options behind the @."""
        return self._trainer.plan

    @property
    def layout(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the parameters, as fewbits.Codec takes them."""
        return self._trainer.layout

    @property
    def noise_multiplier(self) -> float | None:
        """Of the rounds' noise, which follows from epsilon where that was given; None without privacy."""
        return self._trainer.noise_multiplier

    @property
    def metric(self) -> str:
        """What the score is: "accuracy"."""
        return self._trainer.metric

    @property
    def higher_is_better(self) -> bool:
        return self._trainer.higher_is_better

    @property
    def parameters(self) -> dict[str, _Floats]:
        """A copy of the server's model."""
        return self._trainer.parameters()

    @property
    def released(self) -> dict[str, _Floats]:
        """A copy of what is evaluated, and to be given away: the average of the models where there is one, else parameters."""
        return self._trainer.released()

    def save(self) -> bytes:
        """Everything that the next rounds depend on. `results` are not in it."""
        return self._trainer.save()

    def restore(self, state: bytes | bytearray | memoryview) -> None:
        """Undoes save, of a trainer made with the same arguments: goes on as that one would have, bit for bit. `results` begin anew.

        Raises fewbits.Error for bytes of another plan or model, and for damaged ones.
        """
        self._trainer.restore(state)
        self.results = []

    def summary(self, target: float | None = None) -> dict[str, typing.Any]:
        """What `results` come to: a dict, whose scores are means of the last five evaluations.

        best_score, final_score; bits_per_coordinate of a frame in a mean; upload_bytes, wasted_bytes, download_bytes, simulated_seconds;
        train_seconds, encode_seconds, decode_seconds and codec_time_share. Up to the first round that is as good as `target`, and with it:
        rounds_to_target, upload_bytes_to_target, download_bytes_to_target, simulated_seconds_to_target; None where there is none.
        """
        coordinates = sum(int(numpy.prod(shape)) for shape in self.layout.values())
        return _federated.summarize([dataclasses.asdict(result) for result in self.results], coordinates, self.higher_is_better, target)


def partition(how: str, labels: ArrayLike, clients: int, seed: int = 1) -> list[NDArray[numpy.uint32]]:
    """Deals examples to clients: a list of each client's rows, in which each row is once.

    how: as `fewbits train --partition` takes it, such as "iid" or "dirichlet:alpha=0.3". labels: whole numbers from 0, shape [examples].
    The same arguments give the same rows on every machine, those of `fewbits train` with this seed.
    Raises fewbits.Error (BAD_ARGUMENT) for text that names no partition, and where the split cannot be made.
    """
    own = _floats(labels, "labels")
    return _federated.partition(how, own, _classes(own), clients, seed)


def models() -> list[dict[str, str]]:
    """The built-in models: a list of dicts with name, form ("mlp[:hidden=200]") and summary."""
    return _federated.models()
