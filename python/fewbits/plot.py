"""Pictures of a run of `fewbits train`: python plot.py DIR

Reads DIR/results.jsonl and DIR/summary.json, and writes accuracy_by_megabytes.png and accuracy_by_round.png beside them.
"""

import argparse
import json
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402: after the choice of the backend
import numpy as np  # noqa: E402

WINDOW = 5  # rounds of which accuracies are averaged, as in the table and in summary.json

# Okabe and Ito's colours, told apart by colour-blind readers, with brown for their yellow, which vanishes on white. The
# styles differ too, for print without colour.
COLOURS = ["#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F4F24"]
STYLES = ["-", "--", "-.", ":", (0, (7, 1.5, 1, 1.5, 1, 1.5)), (0, (2, 1)), (0, (9, 3)), (0, (5, 1.5, 1, 1.5))]


def read_results(path):
    """Per plan, in order of appearance: rounds, accuracies and cumulative megabytes, one entry an evaluated round."""
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
            plans.setdefault(row["plan"], []).append((row["round"], row["accuracy"], row["upload_bytes"] / 1e6))
        except KeyError as error:
            sys.exit(f"{path}:{number}: no field {error}")
    if not plans:
        sys.exit(f"{path}: no finished round")
    return {plan: np.array(sorted(rows)) for plan, rows in plans.items()}


def running_mean(values):
    """Mean of each value and up to WINDOW - 1 before it."""
    sums = np.cumsum(np.concatenate(([0.0], values)))
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - WINDOW, 0)
    return (sums[last] - sums[first]) / (last - first)


def draw(curves, labels, summary, column, x_label, path, log):
    figure, axes = plt.subplots(figsize=(8, 3.9 + 0.2 * len(curves)), layout="constrained")
    target = summary.get("target_accuracy")
    for index, (plan, rows) in enumerate(curves.items()):
        colour = COLOURS[index % len(COLOURS)]
        # Past the eighth plan colours repeat with another style.
        style = STYLES[(index + index // len(COLOURS)) % len(STYLES)]
        mean = running_mean(rows[:, 1])
        shown = slice(min(WINDOW, len(rows)) - 1, None)
        axes.plot(rows[shown, column], mean[shown], color=colour, linestyle=style, linewidth=1.8, label=labels[plan])
        if target is not None:
            reached = np.flatnonzero(mean[shown] >= target)
            if len(reached):
                at = reached[0]
                axes.plot(rows[shown, column][at], mean[shown][at], marker="o", markersize=6, color=colour,
                          markeredgecolor="white", zorder=5)

    if log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    if target is not None:
        axes.axhline(target, color="0.45", linewidth=0.9, zorder=0)
        axes.annotate(f"target {target:.3f}", (0, target), xycoords=("axes fraction", "data"), xytext=(4, 3),
                      textcoords="offset points", color="0.35", fontsize=9)

    # The climb from chance is steep and the same for all; the room goes to where plans differ.
    best = max(running_mean(rows[:, 1]).max() for rows in curves.values())
    lowest = min(running_mean(rows[:, 1])[min(WINDOW, len(rows)) - 1] for rows in curves.values())
    axes.set_ylim(max(lowest - 0.02, best - 0.4), max(best, target or 0) + 0.02)

    axes.set_xlabel(x_label)
    axes.set_ylabel(f"test accuracy, mean of {WINDOW} rounds")
    axes.grid(True, which="major", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title(summary), fontsize=10, loc="left", color="0.25")
    figure.legend(loc="outside lower left", ncols=1, frameon=False, fontsize=9, handlelength=4.5)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def title(summary):
    parts = [summary.get("dataset"), summary.get("model")]
    if "clients" in summary and "clients_per_round" in summary:
        parts.append(f"{summary['clients_per_round']} of {summary['clients']} clients a round")
    return ", ".join(str(part) for part in parts if part)


def labels_of(curves, summary, needed, ratio, text):
    """The plan's label, and what it needs to the target: the fields `needed` and `ratio` (to float32) said by `text`."""
    entries = {entry["plan"]: entry for entry in summary.get("plans", [])}
    labels = {}
    for plan in curves:
        entry = entries.get(plan, {})
        labels[plan] = entry.get("label") or plan
        if entry.get(needed) is not None:
            labels[plan] += "   " + text(entry[needed], entry.get(ratio) or 1)
        elif needed in entry and summary.get("target_accuracy") is not None:
            labels[plan] += "   target not reached"
    return labels


def megabytes_text(needed, ratio):
    share = f", 1/{1 / ratio:.3g} of float32's" if ratio != 1 else ""
    return f"{needed / 1e6:.3g} MB to the target{share}"


def rounds_text(needed, ratio):
    share = f", {ratio:.2f} times float32's" if ratio != 1 else ""
    return f"{needed} rounds to the target{share}"


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
    labels = labels_of(curves, summary, "upload_bytes_to_target", "bytes_ratio_to_float32", megabytes_text)
    draw(curves, labels, summary, column=2, x_label="megabytes uploaded by all clients together (log scale)",
         path=by_megabytes, log=True)
    labels = labels_of(curves, summary, "rounds_to_target", "rounds_ratio_to_float32", rounds_text)
    draw(curves, labels, summary, column=0, x_label="round", path=by_round, log=False)
    print(by_megabytes, by_round, sep="\n")


if __name__ == "__main__":
    main()
