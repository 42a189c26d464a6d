"""Pictures: of runs of `fewbits train`, of measured plans, of errors. Readable in print and by the colour-blind.

    fewbits.plot.score("out/demo", against="megabytes").savefig("accuracy.png")
    fewbits.plot.rate_and_error([fewbits.measure(fewbits.Codec(plan, x.size), x) for plan in plans])
    fewbits.plot.errors({plan: fewbits.Codec(plan, x.size) for plan in plans}, x)

Each gives a matplotlib Figure, which a notebook shows. `python -m fewbits.plot FOLDER` writes accuracy_by_megabytes.png and
accuracy_by_round.png, with links accuracy_by_hours.png too (of regressions rmse_by_..., and so on) beside results.jsonl and summary.json.
"""

import argparse
import json
import os
import pathlib
import re
import sys
import typing
from collections.abc import Iterable, Mapping

import matplotlib.ticker
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import fewbits

__all__ = ["errors", "personal", "rate_and_error", "score"]

Json: typing.TypeAlias = dict[str, typing.Any]

WINDOW = 5  # rounds of which accuracies are averaged, as in the table and in summary.json

# Okabe and Ito's colours, told apart by colour-blind readers, with brown for their yellow, which vanishes on white. The
# styles differ too, for print without colour.
COLOURS = ["#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F4F24"]
STYLES: list[typing.Any] = ["-", "--", "-.", ":", (0, (7, 1.5, 1, 1.5, 1, 1.5)), (0, (2, 1)), (0, (9, 3)), (0, (5, 1.5, 1, 1.5))]


_AXES = {"megabytes": "megabytes uploaded by all clients together (log scale)", "rounds": "round",
         "hours": "hours of the simulated network (log scale)"}
# Keys of summary.json.
_NEEDED = {"megabytes": "upload_bytes_to_target", "rounds": "rounds_to_target", "hours": "simulated_seconds_to_target"}


class Curve(typing.NamedTuple):
    """A plan's score at its evaluated rounds, a running mean; of several seeds their mean, least and most."""

    rounds: np.ndarray
    megabytes: np.ndarray
    hours: np.ndarray   # zeros without links
    mean: np.ndarray
    least: np.ndarray
    most: np.ndarray


def significant(value: float) -> str:
    """Three significant digits, whole numbers whole: 11.5, 253, 3080."""
    return f"{value:.3g}" if value < 1000 else f"{float(f'{value:.3g}'):.0f}"


def read_results(path: pathlib.Path) -> dict[str, Curve]:
    """Per plan, in order of appearance, and per seed: round, score, cumulative megabytes and hours of evaluated rounds."""
    plans: dict[str, dict[typing.Any, list[tuple[float, float, float, float]]]] = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}:{number}: not JSON: {error}") from error
        if not isinstance(row, dict) or "round" not in row or not is_number(row.get("score")):
            continue
        try:
            seeds = plans.setdefault(row["plan"], {})
            seeds.setdefault(row.get("seed"), []).append((row["round"], row["score"], row["upload_bytes"] / 1e6, row.get("simulated_seconds", 0) / 3600))
        except KeyError as error:
            raise ValueError(f"{path}:{number}: no field {error}") from error
    if not plans:
        raise ValueError(f"{path}: no finished round")
    return {plan: curve_of([np.array(sorted(rows)) for rows in seeds.values()]) for plan, seeds in plans.items()}


def is_number(value: typing.Any) -> bool:
    return isinstance(value, (int, float)) and bool(np.isfinite(value))


def curve_of(seeds: list[npt.NDArray[np.float64]]) -> Curve:
    """The rounds that all seeds have, from the first that WINDOW evaluations are behind."""
    length = min(len(rows) for rows in seeds)
    accuracies = np.array([running_mean(rows[:length, 1]) for rows in seeds])
    shown = slice(min(WINDOW, length) - 1, None)
    megabytes, hours = (np.mean([rows[:length, column] for rows in seeds], axis=0) for column in (2, 3))
    return Curve(seeds[0][:length, 0][shown], megabytes[shown], hours[shown], accuracies.mean(axis=0)[shown],
                 accuracies.min(axis=0)[shown], accuracies.max(axis=0)[shown])


def running_mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean of each value and up to WINDOW - 1 before it."""
    sums = np.cumsum(np.concatenate(([0.0], values)))
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - WINDOW, 0)
    return (sums[last] - sums[first]) / (last - first)


def mean_of(value: typing.Any) -> typing.Any:
    """Of one seed a number, of several an object with their mean."""
    return value["mean"] if isinstance(value, dict) else value


def read_run(folder: str | os.PathLike[str]) -> tuple[dict[str, Curve], Json]:
    """Curves by plan, and the summary, of a folder that `fewbits train --out` wrote. Raises ValueError."""
    results, summary = pathlib.Path(folder, "results.jsonl"), pathlib.Path(folder, "summary.json")
    for path in (results, summary):
        if not path.is_file():
            raise ValueError(f"{path} not found: run `fewbits train --out {folder}` first")
    try:
        content = json.loads(summary.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{summary}: not JSON: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("plans", []), list):
        raise ValueError(f"{summary}: not what `fewbits train` writes")
    return read_results(results), content


def score(folder: str | os.PathLike[str], against: str = "megabytes") -> Figure:
    """Test score of a run's plans against "megabytes" uploaded, "rounds", or "hours" of a run with links; where each meets the
    target, a dot.

    folder: that `fewbits train --out` wrote. Of several seeds the mean, and the range as a band. Raises ValueError for a folder
    without results.
    """
    if against not in _AXES:
        raise ValueError(f"against is '{against}', expected one of {', '.join(_AXES)}")
    curves, summary = read_run(folder)
    if against == "hours" and not has_hours(curves):
        raise ValueError(f"{folder}: a run without links has no hours")
    return draw(curves, summary, against)


def has_hours(curves: Mapping[str, Curve]) -> bool:
    return any(curve.hours[-1] > 0 for curve in curves.values())


def metric_of(summary: Json) -> tuple[str, bool]:
    """Name of what is scored, and whether more of it is better."""
    metric = summary.get("metric") or {}
    return metric.get("name", "accuracy"), metric.get("higher_is_better", True)


def draw(curves: Mapping[str, Curve], summary: Json, axis: str) -> Figure:
    labels = labels_of(curves, summary, axis)
    figure = Figure(figsize=(8, 3.9 + 0.2 * len(curves)), layout="constrained")
    axes = figure.subplots()
    target = mean_of(summary.get("target_score"))
    metric, higher_is_better = metric_of(summary)
    for index, (plan, curve) in enumerate(curves.items()):
        x = getattr(curve, axis)
        colour, style = look(index)
        axes.plot(x, curve.mean, color=colour, linestyle=style, linewidth=1.8, label=labels[plan])
        if (curve.least < curve.most).any():
            axes.fill_between(x, curve.least, curve.most, color=colour, alpha=0.15, linewidth=0)
        if target is not None:
            reached = np.flatnonzero(curve.mean >= target if higher_is_better else curve.mean <= target)
            if len(reached):
                axes.plot(x[reached[0]], curve.mean[reached[0]], marker="o", markersize=6, color=colour,
                          markeredgecolor="white", zorder=5)

    if axis != "rounds":
        plain_log(axes, "x")
    if target is not None:
        axes.axhline(target, color="0.45", linewidth=0.9, zorder=0)
        axes.annotate(f"target {target:.3f}" if metric == "accuracy" else f"target {target:.4g}", (0, target), xycoords=("axes fraction", "data"), xytext=(4, 3),
                      textcoords="offset points", color="0.35", fontsize=9)

    # The climb from chance is steep and the same for all; the room goes to where plans differ.
    if metric == "accuracy":
        best = max(curve.most.max() for curve in curves.values())
        lowest = min(curve.least[0] for curve in curves.values())
        axes.set_ylim(max(lowest - 0.02, best - 0.4), max(best, target or 0) + 0.02)

    axes.set_xlabel(_AXES[axis])
    axes.set_ylabel(f"test {metric}, mean of {WINDOW} rounds")
    finish(figure, axes, title(summary))
    return figure


def personal(summary: Json) -> Figure:
    """Scores on what clients hold out, of the released model and of their own, as distributions over clients.

    summary: of a run with --fine-tune or --personal. Raises ValueError for another.
    """
    plans = [entry for entry in summary.get("plans", []) if "personal" in entry]
    if not plans:
        raise ValueError("the run has no personal models: give --fine-tune or --personal")
    figure = Figure(figsize=(8, 3.9 + 0.2 * 2 * len(plans)), layout="constrained")
    axes = figure.subplots()
    for index, entry in enumerate(plans):
        colour, _ = look(index)
        for which, style, words in (("before_of_each", ":", "released model"), ("after_of_each", "-", "own model")):
            values = np.sort(np.array(entry["personal"][which]))
            axes.plot(values, np.arange(1, len(values) + 1) / len(values), color=colour, linestyle=style, linewidth=1.8, drawstyle="steps-post",
                      label=f"{entry['label']}, {words}: mean {values.mean():.3f}")
    axes.set_xlabel(f"{metric_of(summary)[0]} on what a client holds out")
    axes.set_ylabel("share of clients at or below")
    finish(figure, axes, title(summary))
    return figure


def rate_and_error(measurements: Iterable[Mapping[str, typing.Any]], title: str = "") -> Figure:
    """NMSE against bits a coordinate, both on log scales, beside the least that an unbiased code of a Gaussian can have.

    measurements: dicts that fewbits.measure gave, or the plans of `fewbits measure --json`. Plans of the same stages are one line.
    Raises ValueError where none has an error.
    """
    families: dict[str, list[tuple[float, float]]] = {}
    for one in measurements:
        if one["nmse"] > 0:
            families.setdefault(family_of(str(one["plan"])), []).append((one["bits_per_coordinate"], one["nmse"]))
    if not families:
        raise ValueError("no measurement has an error")
    figure = Figure(figsize=(8, 4.9), layout="constrained")
    axes = figure.subplots()
    for index, (family, points) in enumerate(families.items()):
        colour, style = look(index)
        rates, errors = zip(*sorted(points))
        axes.plot(rates, errors, color=colour, linestyle=style, linewidth=1.8, marker="os^Dv<>p"[index % 8], markersize=5, label=family)
    every = [rate for points in families.values() for rate, _ in points]
    grid = np.geomspace(min(every) / 1.2, max(every) * 1.2, 200)
    axes.plot(grid, 1 / np.expm1(grid * np.log(4)), color="0.45", linewidth=1, zorder=0,
              label="least of an unbiased code of a Gaussian, 1/(4^bits - 1)")
    plain_log(axes, "x")
    plain_log(axes, "y")
    axes.set_xlabel("bits a coordinate, all bytes of real frames (log scale)")
    axes.set_ylabel("NMSE (log scale)")
    finish(figure, axes, title)
    return figure


def family_of(plan: str) -> str:
    """The stages without parameters: "hadamard+quantize" of "hadamard:seed=round+quantize:bits=2+pack"."""
    return re.sub(r":[^+;|]*", "", plan).replace("+pack", "")


def errors(codecs: Mapping[str, "fewbits.Codec"], update: npt.NDArray[np.float32], *, repeats: int = 20, seed: int = 1) -> Figure:
    """Histogram of decoded - update over all coordinates and `repeats` frames, in units of the update's root mean square.

    codecs: by the label in the picture. update: float32, shape [codec.elements]. A dot on the axis is the mean error.
    """
    scale = float(np.sqrt(np.mean(np.square(update, dtype=np.float64)))) or 1.0
    drawn = {label: np.concatenate([codec.decode(codec.encode(update, seed=seed, round=r, client=r), seed=seed) - update for r in range(repeats)]) / scale
             for label, codec in codecs.items()}
    widest = max(float(np.quantile(np.abs(error), 0.998)) for error in drawn.values()) or 1.0
    bins = np.linspace(-widest, widest, 121)
    figure = Figure(figsize=(8, 3.9 + 0.2 * len(drawn)), layout="constrained")
    axes = figure.subplots()
    for index, (label, error) in enumerate(drawn.items()):
        colour, style = look(index)
        density, _ = np.histogram(error, bins, density=True)
        axes.plot((bins[1:] + bins[:-1]) / 2, density, drawstyle="steps-mid", color=colour, linestyle=style, linewidth=1.6,
                  label=f"{label}   NMSE {significant(float(np.mean(np.square(error))))}")
        axes.plot(float(error.mean()), 0, marker="o", markersize=6, color=colour, markeredgecolor="white", zorder=5, clip_on=False)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("decoded - update, in units of the update's root mean square; dots: means")
    axes.set_ylabel("density")
    finish(figure, axes, f"{len(update):,} coordinates, {repeats} frames each")
    return figure


def look(index: int) -> tuple[str, typing.Any]:
    # Past the eighth line colours repeat with another style.
    return COLOURS[index % len(COLOURS)], STYLES[(index + index // len(COLOURS)) % len(STYLES)]


def plain_log(axes: Axes, which: str) -> None:
    axis = {"x": axes.xaxis, "y": axes.yaxis}[which]
    axes.set(**{f"{which}scale": "log"})
    axis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))


def finish(figure: Figure, axes: Axes, title: str) -> None:
    axes.grid(True, which="major", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(plain_text(title), fontsize=10, loc="left", color="0.25")
    handles = [line for line in axes.get_lines() if not line.get_label().startswith("_child")]
    labels = [plain_text(str(line.get_label())) for line in handles]
    # About 100 letters of size 9 fit.
    size = 9 * min(1, 100 / max(map(len, labels), default=1))
    # matplotlib keeps labels that begin with _ out of legends; a space before it does not show.
    figure.legend(handles, [" " + label if label.startswith("_") else label for label in labels], loc="outside lower left", ncols=1,
                  frameon=False, fontsize=size, handlelength=4.5)


def plain_text(text: str) -> str:
    """Dollars as they are: matplotlib would take what stands between two for TeX."""
    return text.replace("$", r"\$")


def title(summary: Json) -> str:
    parts = [summary.get("dataset"), summary.get("model")]
    if "clients" in summary and "clients_per_round" in summary:
        count = summary["clients_per_round"]
        parts.append(f"{', '.join(map(str, count)) if isinstance(count, list) else count} of {summary['clients']} clients a round")
    if "seeds" in summary:
        parts.append(f"mean and range of {len(summary['seeds'])} seeds")
    return ", ".join(str(part) for part in parts if part)


def labels_of(curves: Iterable[str], summary: Json, axis: str) -> dict[str, str]:
    """The plan's label, and what it needs to the target along `axis`."""
    entries = summary.get("plans", [])
    by_plan = {entry["plan"]: entry for entry in entries}
    needed = _NEEDED[axis]
    labels = {}
    for plan in curves:
        entry = by_plan.get(plan, {})
        labels[plan] = entry.get("label") or plan
        if isinstance(entry.get(needed), dict):
            first = entry is entries[0]
            labels[plan] += "   " + several_text(entry, needed, axis, len(summary["seeds"]), first)
        elif entry.get(needed) is not None:
            labels[plan] += "   " + one_text(entry, needed, axis)
        elif needed in entry and summary.get("target_score") is not None:
            labels[plan] += "   target not reached"
    return labels


def amount(value: float, axis: str) -> str:
    units = {"megabytes": 1e6, "hours": 3600.0, "rounds": 1.0}
    return f"{value / units[axis]:.3g} {'MB' if axis == 'megabytes' else axis}"


def one_text(entry: Json, needed: str, axis: str) -> str:
    text = f"{amount(entry[needed], axis)} to the target"
    ratio = entry.get({"megabytes": "bytes_ratio_to_float32", "rounds": "rounds_ratio_to_float32"}.get(axis, "")) or 1
    if ratio == 1:
        return text
    return text + (f", 1/{significant(1 / ratio)} of float32's" if axis == "megabytes" else f", {ratio:.2f} times float32's")


def several_text(entry: Json, needed: str, axis: str, seeds: int, first: bool) -> str:
    spread = entry[needed]
    text = f"{amount(spread['mean'], axis)} to the target"
    if spread["min"] != spread["max"]:
        text += f" ({amount(spread['min'], axis).split()[0]}-{amount(spread['max'], axis).split()[0]})"
    if spread["seeds"] < seeds:
        text += f" with {spread['seeds']} of {seeds} seeds"
    factor, ratio = entry["fewer_bytes_than_first"]["median"], entry["rounds_ratio_to_first"]["median"]
    if first or factor is None or axis == "hours":
        return text
    return text + (f", 1/{significant(factor)} of the first's" if axis == "megabytes" else f", {ratio:.2f} times the first's")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fewbits.plot", description="Pictures of a run of `fewbits train`.")
    parser.add_argument("folder", type=pathlib.Path, help="the folder that `fewbits train --out` wrote")
    folder = parser.parse_args().folder
    try:
        curves, summary = read_run(folder)
        for axis, name in (("megabytes", "by_megabytes"), ("rounds", "by_round"), ("hours", "by_hours")):
            if axis == "hours" and not has_hours(curves):
                continue
            path = folder / f"{metric_of(summary)[0]}_{name}.png"
            draw(curves, summary, axis).savefig(path, dpi=150)
            print(path)
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
