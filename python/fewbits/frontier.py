"""Picture of a frontier: python -m fewbits.frontier FRONTIER.json [--out PICTURE.png] [--title TEXT]

Reads what `fewbits measure --frontier --json INPUT` printed, and draws each plan's error over the least that an
unbiased code of a Gaussian can have at the same rate, 1/(4^rate - 1), against the rate. The picture is written beside
the file.
"""

import argparse
import io
import json
import pathlib
import re
import sys

import matplotlib.ticker
import numpy as np
import PIL.Image   # matplotlib needs it too
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

# What a plan promises, in the order of the legend: heading, and style of its line.
PROMISES = {
    "always": ("unbiased", "-"),
    "over rotations": ("unbiased over rotations only", "-."),
    "no": ("biased", (0, (4, 2))),
}

# Okabe and Ito's colours, told apart by colour-blind readers, and a few more; markers tell the rest apart.
BLUE, ORANGE, VERMILION, GREEN = "#0072B2", "#E69F00", "#D55E00", "#009E73"
BLACK, PINK, SKY, BROWN, GREY = "#000000", "#CC79A7", "#56B4E9", "#7F4F24", "#8C8C8C"
VIOLET, OLIVE = "#6A3D9A", "#8A8A00"
SCALE_COLOURS = {"flat": BLUE, "block:256": ORANGE, "separable": VERMILION, "profile": GREEN}
LOOKS = {  # of families by their names in src/cli/frontier_plans.cpp, so that pictures agree
    "floats": (GREY, "o"),
    "quantize": (PINK, "s"),
    "hadamard+quantize": (SKY, "D"),
    "hadamard+quantize+rans (Suresh)": (BROWN, "^"),
    "hadamard+mask+quantize (Konečný)": (GREY, "v"),
    "mask+f32": (VIOLET, "<"),
    "EDEN": (BLACK, "o"),
    "EDEN+rans": (PINK, "D"),
    "EDEN, entropy-coded": (BROWN, "o"),
    "fixed-rate trellis": (SKY, "s"),
    "QSGD, one norm": (OLIVE, ">"),
    "QSGD, buckets of 128": (OLIVE, "p"),
    "TernGrad": (OLIVE, "X"),
    "natural": (BROWN, "P"),
    "sign": (PINK, "X"),
    "topk+f32": (SKY, "o"),
    "topk+quantize": (BROWN, "s"),
    "topk+sign (STC)": (BLACK, "D"),
    "count sketch+quantize": (SKY, "^"),
    "PowerSGD": (VIOLET, "s"),
    "low rank+trellis": (BLACK, "*"),
}
MARKERS = "oD^v<>psX"

CODE = re.compile(r"(?P<code>trellis|dither)(, (?P<states>\d+) states)?, (?P<scale>.+)")
TRELLIS_LINE = 64  # of the trellises the one whose curve is drawn; the others are the edges of a band


def read(path):
    """The file's contents, and its families: promise and points (rate, ratio) in the order of the file."""
    try:
        data = json.loads(path.read_text())
        families = {}
        for plan in data["plans"]:
            # A plan that was given by hand is its own family.
            family = plan["plan"] if plan["family"] == "given" else plan["family"]
            if plan["limit_ratio"]:  # neither none nor that of an exact plan
                _, points = families.setdefault(family, (plan["promise"], []))
                points.append((plan["bits_per_coordinate"], plan["limit_ratio"]))
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not what `fewbits measure --frontier --json` prints: {error}") from error
    families = {name: (promise, np.array(sorted(points))) for name, (promise, points) in families.items()}
    if not families:
        raise ValueError(f"{path}: no plan with an error and a rate")
    return data, families


class Legend:
    """Handles under what their plans promise."""

    def __init__(self):
        self.groups = {promise: [] for promise in PROMISES}

    def add(self, promise, handle):
        self.groups[promise].append(handle)

    def draw(self, figure, limits):
        groups = [(heading, self.groups[promise]) for promise, (heading, _) in PROMISES.items()]
        groups.append(("least possible for a Gaussian", limits))
        handles, headings = [], []
        for heading, group in groups:
            if not group:
                continue
            if handles:
                handles.append(Patch(visible=False, label=" "))
            headings.append(len(handles))
            handles.append(Patch(visible=False, label=heading))
            handles.extend(group)
        legend = figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=8.5,
                               handlelength=3.4, labelspacing=0.35, borderaxespad=0.2)
        for index in headings:
            legend.get_texts()[index].set_weight("bold")
            legend.get_texts()[index].set_x(-35)  # where the handles of the others are


def draw_codes(axes, families, legend):
    """The dithered codes: a colour for each scale model, a band from the fewest to the most states."""
    for scale, colour in SCALE_COLOURS.items():
        here = {}
        for name, (promise, points) in families.items():
            match = CODE.fullmatch(name)
            if match and match["scale"] == scale:
                here[match["states"] or match["code"]] = (promise, points)
        trellises = {int(states): curve for states, curve in here.items() if states != "dither"}
        if trellises:
            middle = TRELLIS_LINE if TRELLIS_LINE in trellises else max(trellises)
            promise, points = trellises[middle]
            look = dict(color=colour, linestyle=PROMISES[promise][1], linewidth=2.2)
            axes.plot(*points.T, zorder=4, **look)
            label = f"trellis, {scale}: {middle} states"
            fewest, most = trellises[min(trellises)][1], trellises[max(trellises)][1]
            if len(trellises) > 1 and len(fewest) == len(most):
                axes.fill(*np.concatenate((fewest, most[::-1])).T, color=colour, alpha=0.3, linewidth=0, zorder=3)
                label += f" (band: {min(trellises)} to {max(trellises)})"
            legend.add(promise, Line2D([], [], label=label, **look))
        if "dither" in here:
            promise, points = here["dither"]
            look = dict(color=colour, linestyle=PROMISES[promise][1], linewidth=0.9, marker=".", markersize=5)
            axes.plot(*points.T, zorder=3, **look)
            legend.add(promise, Line2D([], [], label=f"dither, {scale}", **look))


def draw_others(axes, families, legend):
    others = {name: curve for name, curve in families.items() if not CODE.fullmatch(name)}
    for index, (name, (promise, points)) in enumerate(others.items()):
        colour, marker = LOOKS.get(name, (VIOLET, MARKERS[index % len(MARKERS)]))
        look = dict(color=colour, marker=marker, markersize=5.5, markeredgecolor="white", markeredgewidth=0.4,
                    linewidth=1.6 if name == "EDEN" else 1.1, linestyle=PROMISES[promise][1])
        axes.plot(*points.T, zorder=2, **look)
        legend.add(promise, Line2D([], [], label=name, **look))


def limits_of(families):
    """Of both axes: what is unbiased is seen whole up to some 100 times the limit, what is biased as far as that."""
    points = np.concatenate([points for _, points in families.values()])
    unbiased = [points for promise, points in families.values() if promise != "no"] or [points]
    rates = [rate for rate, _ in points if rate <= 10] or points[:, 0]
    least = np.concatenate(unbiased)[:, 1].min()
    return (min(rates) / 1.15, max(rates) * 1.15), (min(0.5, least / 2.5), max(100, 20 * least))


def visible(families, rates, ratios):
    def seen(points):
        x, y = points.T
        return np.any((x >= rates[0]) & (x <= rates[1]) & (y >= ratios[0]) & (y <= ratios[1]))

    return {name: (promise, points) for name, (promise, points) in families.items() if seen(points)}


def draw(data, families, title):
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.set_yscale("log")
    rates, ratios = limits_of(families)
    axes.set_xlim(rates)
    axes.set_ylim(ratios)
    families = visible(families, rates, ratios)

    legend = Legend()
    draw_codes(axes, families, legend)
    draw_others(axes, families, legend)
    grid = np.geomspace(*rates, 200)
    limits = []
    for curve, promise, label in ((np.ones_like(grid), "always", "unbiased: 1/(4^bits - 1)"),
                                  (1 - 4.0**-grid, "no", "biased: 1/4^bits")):
        look = dict(color="0.45", linewidth=1.0, linestyle=PROMISES[promise][1])
        axes.plot(grid, curve, zorder=1, **look)
        limits.append(Line2D([], [], label=label, **look))
    legend.draw(figure, limits)

    plain = matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}")
    for axis, places, (low, high) in (
            (axes.xaxis, (0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 1, 2, 4, 8), rates),
            (axes.yaxis, (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100), ratios)):
        axis.set_major_formatter(plain)
        axis.set_minor_locator(matplotlib.ticker.NullLocator())
        axis.set_ticks([place for place in places if low <= place <= high])
    axes.set_xlabel("bits a coordinate, all bytes of real frames (log scale)")
    axes.set_ylabel("NMSE ÷ least of an unbiased code, 1/(4^bits - 1) (log scale)")
    axes.grid(True, which="major", color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title or f"{data['source']}, {data['coordinates']:,} coordinates", fontsize=10, loc="left",
                   color="0.25")
    return figure


def save(figure, path):
    pixels = io.BytesIO()
    figure.savefig(pixels, dpi=110)
    # A palette is a third of the bytes, and the picture has few colours.
    PIL.Image.open(pixels).convert("RGB").quantize(128, dither=PIL.Image.Dither.NONE).save(path, optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=pathlib.Path, help="what `fewbits measure --frontier --json` printed")
    parser.add_argument("--out", type=pathlib.Path, help="the picture; FILE with the ending .png")
    parser.add_argument("--title", help="a line above the picture")
    arguments = parser.parse_args()
    if not arguments.file.is_file():
        sys.exit(f"{arguments.file} not found: run `fewbits measure --frontier --json INPUT > {arguments.file}` first")
    path = arguments.out or arguments.file.with_suffix(".png")
    try:
        save(draw(*read(arguments.file), arguments.title), path)
    except ValueError as error:
        sys.exit(str(error))
    print(path)


if __name__ == "__main__":
    main()
