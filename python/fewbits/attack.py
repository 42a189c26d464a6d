"""Picture of an attack: python -m fewbits.attack FOLDER

Reads attack.json and attack.npz, which `fewbits attack --out FOLDER` wrote, and draws the victims' images beside what an
eavesdropper makes of their updates, with its cosine, into attack.png.
"""

import argparse
import io
import json
import os
import pathlib
import sys
import typing

import numpy as np
import numpy.typing as npt
import PIL.Image   # matplotlib needs it too
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Json: typing.TypeAlias = dict[str, typing.Any]
Floats: typing.TypeAlias = npt.NDArray[np.float32]


def read(folder: str | os.PathLike[str]) -> tuple[Json, dict[str, Floats]]:
    """What was found, and images by their arrays' names."""
    folder = pathlib.Path(folder)
    try:
        found = json.loads((folder / "attack.json").read_text())
        with np.load(folder / "attack.npz") as arrays:
            images = {name: arrays[name] for name in ["true", "mean", *(case["array"] for case in found["cases"])]}
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{folder}: not what `fewbits attack --out` writes: {error}") from error
    if np.sqrt(found["features"]) % 1:
        raise ValueError(f"{folder}: {found['features']} features are no square image")
    return found, images


def group_of(case: Json) -> str:
    if case["noise_multiplier"] > 0:
        return "with noise"
    if case["clients"] > 1:
        return "sums"
    if case["batch"] > 1:
        return "batches"
    return "one image, compressed" if case["plan"] != "f32" else "one image"


def heading(case: Json) -> str:
    if case["noise_multiplier"] > 0:
        return f"noise of\n{case['noise_multiplier']:g} × norm"
    if case["clients"] > 1:
        return f"{case['clients']} clients\nadded up"
    if case["batch"] > 1:
        return f"batch\nof {case['batch']}"
    if case["plan"] == "f32":
        return "float32"
    bits = case["bits_per_coordinate"]
    rounded = f"{bits:.1f}".removesuffix(".0") if bits >= 0.1 else f"{bits:.1g}"
    return f"{case['plan'].split(':')[0].split('+')[-1]}\n{rounded} bit{'s' if float(rounded) > 1 else ''}"


def show(axes: Axes, image: Floats) -> None:
    """Dark on white; what is brighter than nearly all pixels is as dark as they."""
    side = int(np.sqrt(image.size))
    brightest = max(float(np.quantile(image, 0.99)), 1e-12)
    axes.imshow(np.clip(image.reshape(side, side) / brightest, 0, 1), cmap="gray_r", vmin=0, vmax=1)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#BBBBBB")


def draw(found: Json, images: dict[str, Floats]) -> Figure:
    """A row a victim; cases of the fewest local steps alone, which look like those of more."""
    steps = min(case["local_steps"] for case in found["cases"])
    cases = [case for case in found["cases"] if case["local_steps"] == steps]
    groups = [group_of(case) for case in cases]
    rows = found["shown"]
    # Columns of equal width, with a gap where another group begins.
    lefts, at = [0.0], 1.25
    for index, group in enumerate(groups):
        at += 0.25 if index and group != groups[index - 1] else 0
        lefts.append(at)
        at += 1.08
    cell, side, top, bottom = 0.92, 0.15, 1.3, 0.45
    width, height = cell * at + 2 * side, cell * 1.25 * rows + top + bottom
    figure = Figure(figsize=(width, height))

    def place(column: int, row: int) -> Axes:
        return figure.add_axes(((side + cell * lefts[column]) / width, (height - top - cell * (1.25 * row + 1)) / height,
                                cell / width, cell / height))

    def middle(first: int, last: int) -> float:
        return (side + cell * (lefts[first] + lefts[last] + 1) / 2) / width

    for row in range(rows):
        show(place(0, row), images["true"][row])
        for column, case in enumerate(cases, start=1):
            axes = place(column, row)
            show(axes, images[case["array"]][row])
            cosine = case["cosines"][row]
            axes.set_xlabel(f"{cosine:.2f}", fontsize=8.5, labelpad=2, color="#333333")
    for column, case in enumerate(cases, start=1):
        figure.text(middle(column, column), (height - top + 0.08) / height, heading(case), ha="center", va="bottom", fontsize=9)
        figure.text(middle(column, column), 0.15 / height, f"{case['cosine']['mean']:.2f}", ha="center", va="bottom", fontsize=9.5,
                    weight="bold" if case["reads"] else "normal")
    figure.text(middle(0, 0), (height - top + 0.08) / height, "the client's\nimage", ha="center", va="bottom", fontsize=9)
    figure.text(middle(0, 0), 0.15 / height, f"mean of {found['runs']}", ha="center", va="bottom", fontsize=9)
    for group in dict.fromkeys(groups):
        first, last = groups.index(group) + 1, len(groups) - groups[::-1].index(group)
        y = (height - top + 0.48) / height
        figure.text(middle(first, last), y + 0.04 / height, group if last > first or len(group) < 10 else group.replace(", ", ",\n"),
                    ha="center", va="bottom", fontsize=10, weight="bold")
    trained = "an untrained model" if found["warm_rounds"] == 0 else f"a model after {found['warm_rounds']} rounds"
    figure.text(side / width, (height - 0.12) / height,
                f"What an update gives away: {found['dataset']}, {found['model']}, {trained}", ha="left", va="top", fontsize=11.5, weight="bold")
    figure.text(side / width, (height - 0.36) / height,
                f"Below each image its cosine with the client's. Without any update the mean image has {found['mean_image']['mean']:.2f}, another "
                f"image {found['unrelated']['mean']:.2f}; bold: clearly above that. Batches and sums may show somebody else's image.", ha="left", va="top", fontsize=9, color="#333333")
    return figure


def save(figure: Figure, path: pathlib.Path) -> None:
    """There is no colour in it."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=130, facecolor="white")
    PIL.Image.open(drawn).convert("L").save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fewbits.attack", description="Picture of what `fewbits attack` has found.")
    parser.add_argument("folder", type=pathlib.Path, help="the folder that `fewbits attack --out` wrote")
    folder = parser.parse_args().folder
    try:
        found, images = read(folder)
        save(draw(found, images), folder / "attack.png")
        print(folder / "attack.png")
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
