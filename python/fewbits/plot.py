"""Pictures of a run of `fewbits train`: python plot.py DIR

Reads DIR/results.jsonl and DIR/summary.json, and writes accuracy_by_megabytes.png and accuracy_by_round.png beside them.
"""

import argparse
import json
import pathlib
import sys
import typing

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402: after the choice of the backend
import numpy as np  # noqa: E402

WINDOW = 5  # rounds of which accuracies are averaged, as in the table and in summary.json

# Okabe and Ito's colours, told apart by colour-blind readers, with brown for their yellow, which vanishes on white. The
# styles differ too, for print without colour.
COLOURS = ["#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F4F24"]
STYLES = ["-", "--", "-.", ":", (0, (7, 1.5, 1, 1.5, 1, 1.5)), (0, (2, 1)), (0, (9, 3)), (0, (5, 1.5, 1, 1.5))]


class Curve(typing.NamedTuple):
    """A plan's accuracy at its evaluated rounds, a running mean; of several seeds their mean, least and most."""

    rounds: np.ndarray
    megabytes: np.ndarray
    mean: np.ndarray
    least: np.ndarray
    most: np.ndarray


def significant(value):
    """Three significant digits, whole numbers whole: 11.5, 253, 3080."""
    return f"{value:.3g}" if value < 1000 else f"{float(f'{value:.3g}'):.0f}"


def read_results(path):
    """Per plan, in order of appearance, and per seed: round, accuracy and cumulative megabytes of evaluated rounds."""
    plans = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            sys.exit(f"{path}:{number}: not JSON: {error}")
        if "round" not in row or row.get("accuracy") is None:
            continue
        try:
            seeds = plans.setdefault(row["plan"], {})
            seeds.setdefault(row.get("seed"), []).append((row["round"], row["accuracy"], row["upload_bytes"] / 1e6))
        except KeyError as error:
            sys.exit(f"{path}:{number}: no field {error}")
    if not plans:
        sys.exit(f"{path}: no finished round")
    return {plan: curve_of([np.array(sorted(rows)) for rows in seeds.values()]) for plan, seeds in plans.items()}


def curve_of(seeds):
    """The rounds that all seeds have, from the first that WINDOW evaluations are behind."""
    length = min(len(rows) for rows in seeds)
    accuracies = np.array([running_mean(rows[:length, 1]) for rows in seeds])
    shown = slice(min(WINDOW, length) - 1, None)
    megabytes = np.mean([rows[:length, 2] for rows in seeds], axis=0)
    return Curve(seeds[0][:length, 0][shown], megabytes[shown], accuracies.mean(axis=0)[shown],
                 accuracies.min(axis=0)[shown], accuracies.max(axis=0)[shown])


def running_mean(values):
    """Mean of each value and up to WINDOW - 1 before it."""
    sums = np.cumsum(np.concatenate(([0.0], values)))
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - WINDOW, 0)
    return (sums[last] - sums[first]) / (last - first)


def mean_of(value):
    """Of one seed a number, of several an object with their mean."""
    return value["mean"] if isinstance(value, dict) else value


def draw(curves, summary, axis, x_label, path, log):
    labels = labels_of(curves, summary, axis)
    figure, axes = plt.subplots(figsize=(8, 3.9 + 0.2 * len(curves)), layout="constrained")
    target = mean_of(summary.get("target_accuracy"))
    for index, (plan, curve) in enumerate(curves.items()):
        x = getattr(curve, axis)
        colour = COLOURS[index % len(COLOURS)]
        # Past the eighth plan colours repeat with another style.
        style = STYLES[(index + index // len(COLOURS)) % len(STYLES)]
        axes.plot(x, curve.mean, color=colour, linestyle=style, linewidth=1.8, label=labels[plan])
        if (curve.least < curve.most).any():
            axes.fill_between(x, curve.least, curve.most, color=colour, alpha=0.15, linewidth=0)
        if target is not None:
            reached = np.flatnonzero(curve.mean >= target)
            if len(reached):
                axes.plot(x[reached[0]], curve.mean[reached[0]], marker="o", markersize=6, color=colour,
                          markeredgecolor="white", zorder=5)

    if log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    if target is not None:
        axes.axhline(target, color="0.45", linewidth=0.9, zorder=0)
        axes.annotate(f"target {target:.3f}", (0, target), xycoords=("axes fraction", "data"), xytext=(4, 3),
                      textcoords="offset points", color="0.35", fontsize=9)

    # The climb from chance is steep and the same for all; the room goes to where plans differ.
    best = max(curve.most.max() for curve in curves.values())
    lowest = min(curve.least[0] for curve in curves.values())
    axes.set_ylim(max(lowest - 0.02, best - 0.4), max(best, target or 0) + 0.02)

    axes.set_xlabel(x_label)
    axes.set_ylabel(f"test accuracy, mean of {WINDOW} rounds")
    axes.grid(True, which="major", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title(summary), fontsize=10, loc="left", color="0.25")
    # About 100 letters of size 9 fit.
    size = 9 * min(1, 100 / max(len(labels[plan]) for plan in curves))
    figure.legend(loc="outside lower left", ncols=1, frameon=False, fontsize=size, handlelength=4.5)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def title(summary):
    parts = [summary.get("dataset"), summary.get("model")]
    if "clients" in summary and "clients_per_round" in summary:
        parts.append(f"{summary['clients_per_round']} of {summary['clients']} clients a round")
    if "seeds" in summary:
        parts.append(f"mean and range of {len(summary['seeds'])} seeds")
    return ", ".join(str(part) for part in parts if part)


def labels_of(curves, summary, axis):
    """The plan's label, and what it needs to the target along `axis`."""
    entries = summary.get("plans", [])
    by_plan = {entry["plan"]: entry for entry in entries}
    needed = {"megabytes": "upload_bytes_to_target", "rounds": "rounds_to_target"}[axis]
    labels = {}
    for plan in curves:
        entry = by_plan.get(plan, {})
        labels[plan] = entry.get("label") or plan
        if isinstance(entry.get(needed), dict):
            first = entry is entries[0]
            labels[plan] += "   " + several_text(entry, needed, axis, len(summary["seeds"]), first)
        elif entry.get(needed) is not None:
            labels[plan] += "   " + one_text(entry, needed, axis)
        elif needed in entry and summary.get("target_accuracy") is not None:
            labels[plan] += "   target not reached"
    return labels


def amount(value, axis):
    return f"{value / 1e6:.3g}" if axis == "megabytes" else f"{value:.3g}"


def one_text(entry, needed, axis):
    text = f"{amount(entry[needed], axis)} {'MB' if axis == 'megabytes' else 'rounds'} to the target"
    ratio = entry.get("bytes_ratio_to_float32" if axis == "megabytes" else "rounds_ratio_to_float32") or 1
    if ratio == 1:
        return text
    return text + (f", 1/{significant(1 / ratio)} of float32's" if axis == "megabytes" else f", {ratio:.2f} times float32's")


def several_text(entry, needed, axis, seeds, first):
    spread = entry[needed]
    text = f"{amount(spread['mean'], axis)} {'MB' if axis == 'megabytes' else 'rounds'} to the target"
    if spread["min"] != spread["max"]:
        text += f" ({amount(spread['min'], axis)}-{amount(spread['max'], axis)})"
    if spread["seeds"] < seeds:
        text += f" with {spread['seeds']} of {seeds} seeds"
    factor, ratio = entry["fewer_bytes_than_first"]["median"], entry["rounds_ratio_to_first"]["median"]
    if first or factor is None:
        return text
    return text + (f", 1/{significant(factor)} of the first's" if axis == "megabytes" else f", {ratio:.2f} times the first's")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="the folder that `fewbits train --out` wrote")
    folder = parser.parse_args().folder
    results, summary = folder / "results.jsonl", folder / "summary.json"
    for path in (results, summary):
        if not path.is_file():
            sys.exit(f"{path} not found: run `fewbits train --out {folder}` first")
    curves = read_results(results)
    summary = json.loads(summary.read_text())
    by_megabytes, by_round = folder / "accuracy_by_megabytes.png", folder / "accuracy_by_round.png"
    draw(curves, summary, axis="megabytes", x_label="megabytes uploaded by all clients together (log scale)",
         path=by_megabytes, log=True)
    draw(curves, summary, axis="rounds", x_label="round", path=by_round, log=False)
    print(by_megabytes, by_round, sep="\n")


if __name__ == "__main__":
    main()
