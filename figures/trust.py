"""Figures of privacy and secure aggregation."""

import functools
import json
import math
import pathlib
import typing
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from entry import Figure, Outcome, Outcomes, Picture, Pictures, Run, Table, percent
from matplotlib.ticker import NullFormatter

import fewbits
from fewbits import plot

Array = npt.NDArray[np.float64]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half of its 95 % interval (Student's t)."""
    quantiles = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131]
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, math.nan
    return mean, quantiles[min(len(values) - 2, len(quantiles) - 1)] * float(np.std(values, ddof=1)) / math.sqrt(len(values))


def final_scores(outcome: Outcome) -> dict[str, list[float]]:
    """By label, of each seed the mean of the last five evaluations, whatever was best before."""
    scores: dict[str, dict[int, list[float]]] = {}
    for line in (outcome.folder / "results.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row.get("type") == "round" and row["score"] is not None:
            scores.setdefault(row["label"], {}).setdefault(row.get("seed", 0), []).append(row["score"])
    return {label: [float(np.mean(values[-5:])) for values in seeds.values()] for label, seeds in scores.items()}


def plus_minus(values: Sequence[float]) -> str:
    mean, half = interval(values)
    return f"{100 * mean:.2f}" if math.isnan(half) else f"{100 * mean:.2f} ± {100 * half:.2f}"


# Accuracy by epsilon.
EPSILONS = {"1": 1, "2": 10, "4": 1, "8": 10, "none": 1}   # and seeds
TWO_BITS = "trellis:bits=2,scale=flat @ label=trellis (2 bits)"
KEEPS = {"0.3": 0.4, "0.1": 1, "0.03": 2, "0.01": 4}       # and rates
STRUCTURED = {"model": "mlp", "clients": 1000, "client_probability": 0.1, "rounds": 60, "epochs": 1, "batch": 20, "lr": 0.2, "clip": 0.3, "server_momentum": 0.9,
              "epsilon": 2, "delta": 0.0001, "eval_every": 5, "eval_examples": 5000, "target": "none"}


def epsilon_runs() -> list[Run]:
    common = {"model": "softmax", "clients": 6000, "client_probability": 0.05, "rounds": 100, "epochs": 2, "batch": 10, "lr": 0.2, "clip": 0.5, "server_momentum": 0.9, "eval_every": 5,
              "target": "none", "plan": ["f32", TWO_BITS]}
    masks = [f"train=mask:keep={keep} | f32 @ lr={rate},label={100 * float(keep):g} % of the parameters" for keep, rate in KEEPS.items()]
    return [Run(name, {**common, **({} if name == "none" else {"epsilon": int(name), "delta": 0.0001}), "seeds": seeds}) for name, seeds in EPSILONS.items()] + [
        Run("structured", {**STRUCTURED, "plan": ["f32 @ label=all parameters", *masks, "train=lowrank:rank=4 | f32 @ lr=0.5,label=rank 4"]}),
        Run("secure", {**STRUCTURED, "noise_by": "clients", "secure_bits": 14, "plan": ["train=mask:keep=0.02 | hadamard+dither:scale=flat,step=auto @ lr=3,label=2 % of the parameters in words of 14 bits"]}, after=["--secure"])]


def epsilon_tables(done: Outcomes) -> list[Table]:
    rows = []
    for name, seeds in EPSILONS.items():
        first, second = final_scores(done[name]).values()
        rows.append([name, str(seeds), plus_minus(first), plus_minus(second), plus_minus([a - b for a, b in zip(first, second)])])
    structured = [[entry["label"], plot.significant(entry["bits_per_coordinate"]), percent(entry["final_score"])] for entry in done["structured"].summary["plans"]]
    secure = [[entry["label"], plot.significant(0.02 * 14), plot.significant(entry["bits_per_coordinate"]), percent(entry["final_score"])] for entry in done["secure"].summary["plans"]]
    return [{"title": "Softmax regression, 6,000 clients; final accuracy, mean and 95 % interval:", "heads": ["epsilon", "seeds", "float32 %", "2 bits %", "float32 less 2 bits, same seeds: points"], "rows": rows},
            {"title": "MLP of 159,010 parameters, 1,000 clients, epsilon 2, one seed, values in float32:", "heads": ["trained", "bits a parameter", "final %"], "rows": structured},
            {"title": "The same with secure aggregation and noise of the clients:", "heads": ["trained", "bits a parameter, words alone", "with keys and shares", "final %"], "rows": secure}]


def epsilon_picture(done: Outcomes) -> Pictures:
    figure = Picture(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    x = np.arange(len(EPSILONS))
    for index, label in enumerate(("float32", "trellis (2 bits)")):
        scores = [list(final_scores(done[name]).values())[index] for name in EPSILONS]
        halves = [half if not math.isnan(half) else 0 for _, half in map(interval, scores)]
        colour, style = plot.look(index)
        at, means = x + 0.06 * (index - 0.5), np.array([np.mean(values) for values in scores])
        axes.plot(at, means, color=colour, linestyle=style, marker="o", markersize=5, label=label)
        axes.vlines(at, means - halves, means + halves, color=colour)
    axes.set_xticks(x, list(EPSILONS))
    axes.set_xlabel("epsilon at delta 0.0001, 100 rounds")
    axes.set_ylabel("final test accuracy")
    plot.finish(figure, axes, "Fashion-MNIST, softmax regression, 6,000 clients, each with probability 0.05 a round")
    second = Picture(figsize=(8, 4.2), layout="constrained")
    axes = second.subplots()
    entries = done["structured"].summary["plans"]
    shares = [1, *map(float, KEEPS)]
    colour, style = plot.look(0)
    axes.plot(shares, [entry["final_score"] for entry in entries[:len(shares)]], color=colour, linestyle=style, marker="o", label="noise of the server, values in float32")
    colour, style = plot.look(1)
    axes.plot([0.02], [done["secure"].summary["plans"][0]["final_score"]], color=colour, linestyle="none", marker="D", label="secure sum, noise of the clients, words of 14 bits (0.28 bit a parameter)")
    plot.plain_log(axes, "x")
    axes.set_xlabel("share of the parameters that is trained in a round")
    axes.set_ylabel("final test accuracy")
    plot.finish(second, axes, "Fashion-MNIST, MLP of 159,010 parameters, 1,000 clients, 100 a round, epsilon 2")
    return [("epsilon", figure, "Accuracy by epsilon, without and with compression"), ("epsilon-structured", second, "Accuracy at epsilon 2 by share of the parameters that is trained")]


EPSILON = Figure(
    name="epsilon", title="Accuracy by epsilon", minutes=14,
    question="How much accuracy does privacy of clients cost, does compression cost more on top of it, and are fewer parameters better where each carries noise?",
    reported="Chen et al. 2022 (arXiv 2203.03761): with secure aggregation and noise of the clients 0.24 bit a parameter (F-EMNIST) and 1.2 (Stack Overflow) by a linear sketch, at accuracies close to those without compression.",
    settings="Fashion-MNIST, `dirichlet-client:alpha=3`, all clients by chance. Softmax regression: 6,000 clients of 10 images, probability 0.05, 100 rounds, two epochs of batches of 10, rate 0.2, server momentum 0.9, clip 0.5. MLP: 1,000 clients of 60 images, probability 0.1, 60 rounds, "
             "one epoch of batches of 20, rate 0.2 (in a mask 0.4, 1, 2, 4; rank 4: 0.5), momentum 0.9, clip 0.3. Delta 0.0001; *none*: clipped alike, without noise. Final accuracy: the mean of the last five evaluations.",
    differs="Other data and smaller models, so bits do not compare with the published ones. At epsilon 2 and 8 two bits cost less than 0.3 points, by the 95 % intervals of ten seeds; noise of its own, not the same in both plans, is in the differences. "
            "With 1,000 clients a third of the parameters, trained at a time, is better than all of them, and one in a hundred costs two points: noise grows with the root of their number. Noise of the clients has to suffice for the fewest whose sum is opened, and is more where more take part: "
            "no more than a point or so beside the server's noise at 1 or 3 %. Keys and shares are two thirds of the bytes there, and would be a sixtieth of a bit a parameter for five million parameters.",
    runs=epsilon_runs(), tables=epsilon_tables, draw=epsilon_picture)


# The error of the mean of a round, by bytes.
WORDS_COHORTS = [10, 30, 100]
FLOWER_CLIP, FLOWER_RANGE = 8.0, 2**22   # Flower 1.28's SecAgg+, its defaults
DEVIATIONS = 6                           # privacy::step_for


def updates_of(outcome: Outcome) -> tuple[dict[str, tuple[int, ...]], Array]:
    """Shapes by tensor, and an update a row."""
    shapes: dict[str, tuple[int, ...]] = {}
    rows = []
    for path in sorted((outcome.folder / "updates").glob("*.npz")):
        with np.load(path) as arrays:
            shapes = {name: arrays[name].shape for name in arrays.files}
            rows.append(np.concatenate([arrays[name].ravel() for name in arrays.files]))
    return shapes, np.array(rows, dtype=np.float64)


def nmse(decoded: npt.NDArray[typing.Any], mean: Array) -> float:
    return float(np.sum(np.square(decoded - mean)) / np.sum(np.square(mean)))


def plain(plan: str, shapes: dict[str, tuple[int, ...]], updates: Array) -> tuple[float, float]:
    """Bytes a parameter of a frame, and the error of the mean of all."""
    codec = fewbits.Codec(plan, shapes)
    total = fewbits.Aggregator(codec, seed=1, round=1)
    sent = 0
    for client, update in enumerate(updates.astype(np.float32)):
        frame = codec.encode(update, seed=1, round=1, client=client)
        sent += len(frame)
        total.add(frame, client=client)
    return sent / updates.size, nmse(total.mean(), updates.mean(axis=0))


def in_words(plan: str, bits: int, updates: Array, norm: float, last: float) -> float:
    """The error of the mean of a secure sum, wraps included. norm: of an update at most; last: of the last mean."""
    clients, values = updates.shape
    common = min(norm, 2 * last)
    half = 2.0**(bits - 1) / DEVIATIONS
    if half * half <= clients / 4:
        return math.inf
    step = math.sqrt((clients**2 * common**2 + clients * norm**2) / values / (half * half - clients / 4))
    integers = fewbits.Integers(fewbits.Codec(f"{plan}:scale=flat,step={step:.9g}", values), seed=1, round=1, cohort_size=clients)
    sums = np.zeros(integers.size, dtype=np.int64)
    for client, update in enumerate(updates.astype(np.float32)):
        sums += integers.encode(update, client=client, cohort_index=client)
    wrapped = (sums + 2**(bits - 1)) % 2**bits - 2**(bits - 1)
    mean = integers.mean(wrapped, clients=list(range(clients)), cohort_indices=list(range(clients)))
    return nmse(mean, updates.mean(axis=0))


def rounded(updates: Array, clip: float, parts: int) -> float:
    """Of stochastic rounding to parts + 1 values from -clip to clip."""
    random = np.random.default_rng(1)
    total = np.zeros(updates.shape[1])
    for update in updates:
        scaled = (np.clip(update, -clip, clip) + clip) / (2 * clip) * parts
        below = np.floor(scaled)
        total += below + (random.random(len(update)) < scaled - below)
    return nmse(total / len(updates) / parts * 2 * clip - clip, updates.mean(axis=0))


def keys_bytes(done: Outcomes) -> dict[int, float]:
    """Of keys and shares, a client, by cohort: what it sends beside its masked words."""
    summary = done["keys"].summary
    return {count: entry["upload_bytes"] / count - math.ceil(summary["parameters"] * 16 / 8) for count, entry in zip(WORDS_COHORTS, summary["plans"])}


Lines = dict[str, list[tuple[float, float, str]]]   # by line of the picture: bytes a parameter, error, what it is


@functools.lru_cache(maxsize=1)
def measured_once(folder: pathlib.Path, made: float, done: "Held") -> Lines:
    return words_measured(done.outcomes)


class Held:
    """Equal to every other, so that what is cached goes by the folder."""

    def __init__(self, outcomes: Outcomes) -> None:
        self.outcomes = outcomes

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Held)


def words_lines(done: Outcomes) -> Lines:
    folder = done["updates"].folder
    return measured_once(folder, (folder / "summary.json").stat().st_mtime, Held(done))


def words_measured(done: Outcomes) -> Lines:
    shapes, updates = updates_of(done["updates"])
    norm = float(np.median(np.linalg.norm(updates, axis=1)))
    updates *= np.minimum(1, norm / np.linalg.norm(updates, axis=1))[:, None]
    keys = keys_bytes(done)
    lines: Lines = {}
    for bits in ("0.1", "0.3", "1", "2", "4"):
        lines.setdefault("frames, trellis, no secure sum", []).append((*plain(f"trellis:bits={bits}", shapes, updates), f"{bits} bits"))
    for cohort in WORDS_COHORTS:
        of = updates[:cohort]
        last = float(np.linalg.norm(of.mean(axis=0)))
        beside = keys[cohort] / updates.shape[1]
        for bits in (8, 10, 11, 12, 14, 16):
            lines.setdefault(f"secure sum of {cohort}, dither", []).append((bits / 8 + beside, in_words("hadamard+dither", bits, of, norm, last), f"{bits} bits a word"))
    for bits in (10, 11, 12, 14, 16):
        of = updates[:100]
        last = float(np.linalg.norm(of.mean(axis=0)))
        lines.setdefault("secure sum of 100, trellis", []).append((bits / 8 + keys[100] / updates.shape[1], in_words("hadamard+trellis", bits, of, norm, last), f"{bits} bits a word"))
        parts = (2**bits - 1) // len(of)
        lines.setdefault("secure sum of 100, Flower's rounding in packed words, range of the updates", []).append(
            (bits / 8 + keys[100] / updates.shape[1], rounded(of, float(np.abs(of).max()), parts), f"{bits} bits a word"))
    lines["Flower 1.28's SecAgg+, 100 clients (words of 64 bits)"] = [(8 + keys[100] / updates.shape[1], rounded(updates[:100], FLOWER_CLIP, FLOWER_RANGE), "")]
    return {name: [point for point in points if math.isfinite(point[1])] for name, points in lines.items()}


OURS_11, OTHERS = "secure sum of 100, dither", "secure sum of 100, Flower's rounding in packed words, range of the updates"


def words_tables(done: Outcomes) -> list[Table]:
    lines = words_lines(done)
    rows = [[name, what, plot.significant(sent), f"{error:.2e}"] for name, points in lines.items() for sent, error, what in points]
    ours, others = ({what: error for _, error, what in lines[name]} for name in (OURS_11, OTHERS))
    against = [[what, f"{ours[what]:.2e}", f"{others[what]:.2e}", f"1/{plot.significant(others[what] / ours[what])}"] for what in ours if what in others]
    return [{"title": "", "heads": ["", "", "bytes a parameter", "NMSE of the mean"], "rows": rows},
            {"title": "100 clients, words of as many bits:", "heads": ["", "dither at a common step", "Flower's rounding", "of its error"], "rows": against}]


def words_picture(done: Outcomes) -> Pictures:
    figure = Picture(figsize=(8, 6.6), layout="constrained")
    axes = figure.subplots()
    for index, (name, points) in enumerate(words_lines(done).items()):
        colour, style = plot.look(index)
        axes.plot([sent for sent, _, _ in points], [error for _, error, _ in points], color=colour, linestyle=style, marker="o", markersize=4, linewidth=1.6, label=name)
    plot.plain_log(axes, "x")
    axes.set_yscale("log")
    axes.set_xlabel("bytes a parameter that a client uploads, keys and shares with them")
    axes.set_ylabel("NMSE of the mean of the clients of a round")
    plot.finish(figure, axes, "Fashion-MNIST, updates of an MLP of 159,010 parameters, round 10")
    return [("words", figure, "Error of the mean against bytes a parameter: frames, secure sums and Flower's SecAgg+")]


WORDS = Figure(
    name="words", title="What a secure sum costs in bytes", minutes=2,
    question="Masked words cannot be compressed further. How many bytes does the same error take, and how does that compare with Flower's secure aggregation?",
    reported="Flower 1.28's SecAgg+ (its source, read, not run): values clipped to 8, rounded at random to 2^22 steps, 64-bit words: 8 bytes a parameter.",
    settings="Updates of one round of 100 clients (Dirichlet(0.3), 600 images each; one epoch of batches of 32, rate 0.1), MLP of 159,010 parameters, cut to their median norm. Secure sums are what `fewbits train --secure` adds, wraps of the words "
             "included, with the step that follows from the clip and twice the last mean's norm; keys and shares are counted from real messages. Flower's rounding is computed from its formula, at its defaults and, in packed words of as many bits as ours, "
             "with its range set to the largest magnitude of the updates. 10 and 30 clients are the first of the 100.",
    differs="Nothing to compare with. A word of 11 bits for 100 clients has no room for more than 16 values of each if none may ever wrap; ours are steps of a rotated vector, whose sum is known to be short, so that the same word has room for "
            "finer ones. At a common step a trellis errs by three times as much as a dither in words of as many bits: its points for a value are two steps apart, and its integers are those of both halves. Frames without secure aggregation are far below: "
            "they are entropy-coded, and keep to where updates lie.",
    runs=[Run("updates", {"rounds": 10, "clients": 100, "clients_per_round": 100, "partition": "dirichlet:alpha=0.3", "lr": 0.1, "batch": 32, "model": "mlp", "plan": ["f32"], "target": "none",
                          "record_rounds": 10, "record_clients": 100}, after=["--record", "{own}/updates"]),
          Run("keys", {"rounds": 1, "clients": 200, "clients_per_round": ",".join(map(str, WORDS_COHORTS)), "model": "mlp", "clip": 1, "plan": ["hadamard+dither:scale=flat,step=auto"], "target": "none",
                       "eval_examples": 100}, after=["--secure"])],
    tables=words_tables, draw=words_picture)


# Cost of a client by cohort.
COST_COHORTS = [10, 30, 100, 300, 1000]
COST_PLANS = {"all parameters": "hadamard+dither:scale=flat,step=auto", "2 % of them": "train=mask:keep=0.02 | hadamard+dither:scale=flat,step=auto"}


def costs(done: Outcomes) -> dict[str, list[dict[str, float]]]:
    """By plan and cohort: bytes of words, and of keys and shares; seconds of the client."""
    summary = done["cohorts"].summary
    found: dict[str, list[dict[str, float]]] = {}
    for index, entry in enumerate(summary["plans"]):
        name, cohort = list(COST_PLANS)[index // len(COST_COHORTS)], COST_COHORTS[index % len(COST_COHORTS)]
        share = 0.02 if "keep=0.02" in entry["plan"] else 1
        words = math.ceil(share * summary["parameters"]) * 2.0
        sent = entry["upload_bytes"] / cohort
        found.setdefault(name, []).append({"cohort": cohort, "sent": sent, "words": words, "keys": sent - words, "parameters": summary["parameters"],
                                           "seconds": entry["encode_seconds"] / cohort, "train": entry["train_seconds"] / cohort})
    return found


def costs_tables(done: Outcomes) -> list[Table]:
    rows = [[name, str(one["cohort"]), f"{one['words'] / 1e3:.1f}", f"{one['keys'] / 1e3:.1f}", f"{8 * one['sent'] / one['parameters']:.2f}", f"{1e3 * one['seconds']:.0f}", f"{1e3 * one['train']:.0f}"]
            for name, rows in costs(done).items() for one in rows]
    return [{"title": "A client and round:", "heads": ["trained", "cohort", "kB of words", "kB of keys and shares", "bits a parameter in all", "ms for them", "ms of training"], "rows": rows}]


def costs_picture(done: Outcomes) -> Pictures:
    figure = Picture(figsize=(8, 5.4), layout="constrained")
    bytes_axes, seconds_axes = figure.subplots(2, 1, sharex=True)
    for index, (name, rows) in enumerate(costs(done).items()):
        colour, _ = plot.look(index)
        x = [one["cohort"] for one in rows]
        bytes_axes.plot(x, [one["words"] / 1e3 for one in rows], color=colour, marker="o", markersize=4, label=f"words, {name}")
        seconds_axes.plot(x, [1e3 * one["seconds"] for one in rows], color=colour, marker="o", markersize=4)
        if index == 0:
            bytes_axes.plot(x, [one["keys"] / 1e3 for one in rows], color="0.4", linestyle="--", marker="s", markersize=4, label="keys and shares, of either")
    for axes in (bytes_axes, seconds_axes):
        plot.plain_log(axes, "x")
        plot.plain_log(axes, "y")
        axes.yaxis.set_minor_formatter(NullFormatter())
    bytes_axes.set_ylabel("kB uploaded")
    seconds_axes.set_ylabel("ms of the client")
    seconds_axes.set_xlabel("clients of the round")
    seconds_axes.grid(True, color="0.9")
    seconds_axes.spines[["top", "right"]].set_visible(False)
    plot.finish(figure, bytes_axes, "A client and round of secure aggregation, MLP of 159,010 parameters, words of 16 bits")
    return [("cohorts", figure, "Bytes and time of a client under secure aggregation, by clients of the round")]


COHORTS_FIGURE = Figure(
    name="cohorts", title="What a secure sum costs a client", minutes=3,
    question="How much does a client upload and compute for keys, shares and masks, as cohorts grow?",
    reported="Bonawitz et al. 2017: 1.73 times the plain bytes for 2^10 users and 2^20 values of 16 bits (abstract), each sharing with all others.",
    settings="MLP of 159,010 parameters, words of 16 bits; all parameters, or a random 2 % of them that are trained alone (`train=mask:keep=0.02`). One round; bytes of real messages in all phases; wall time of the client's calls, one thread, of a machine with other work.",
    differs="Up to 100 clients each shares with all others; above it with 52 or 62, whatever the cohort, so that bytes grow no further; times were taken beside other work, and say no more than their order. For a whole model keys and shares are a twentieth of the bytes or less; for 2 % of it, from 100 clients on, they are the larger part: "
            "a model of millions of parameters carries the same kilobytes.",
    runs=[Run("cohorts", {"rounds": 1, "clients": 3000, "clients_per_round": ",".join(map(str, COST_COHORTS)), "partition": "drawn:size=20", "model": "mlp", "clip": 1, "plan": list(COST_PLANS.values()), "target": "none",
                          "eval_examples": 100}, after=["--secure"])],
    tables=costs_tables, draw=costs_picture)
