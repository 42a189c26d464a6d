"""Table and picture of a benchmark: python bench.py BENCH.json [--out PICTURE.png] [--numpy]

Reads what `fewbits_bench --json BENCH.json` wrote, prints what was aimed for beside what was measured, in Markdown, and
draws each kernel's and plan's speed over that of memcpy. With --numpy it also times `hadamard+quantize:bits=4` written in
numpy; that one is no part of the interleaved rounds.
"""

import argparse
import json
import pathlib
import sys
import time

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402: after the choice of the backend
import numpy as np  # noqa: E402

BLUE, ORANGE, GREEN, PINK = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SIZES = {12: BLUE, 16: ORANGE, 20: GREEN, 24: PINK}

# What, group, case, over what, and (size: least, aim) on a machine with AVX-512; elsewhere half of the least.
GOALS = [
    ("Walsh–Hadamard ÷ memcpy", "kernel/walsh_hadamard", "fewbits", "memcpy",
     {12: (.25, .37), 16: (.21, .31), 20: (.33, .48), 24: (.40, .60)}),
    ("Walsh–Hadamard × FFTW", "kernel/walsh_hadamard", "fewbits", "FFTW", {12: (55, 90), 16: (45, 75), 20: (40, 63)}),
    ("quantize + pack, 4 bits ÷ memcpy", "kernel/quantize + pack, 4 bits", "fewbits", "memcpy",
     {12: (.38, .65), 16: (.50, .85), 24: (1.6, 2.2)}),
    ("unpack + accumulate, 4 bits ÷ scale in place", "kernel/unpack + accumulate, 4 bits", "fewbits", "scale",
     {16: (.75, .95), 20: (.75, .95), 24: (.75, .95)}),
    ("16 clients a sweep ÷ memcpy", "aggregation/16 clients, 4 bits", "add_many", "memcpy", {16: (1.4, 2.0), 24: (4.5, 6.5)}),
    ("100 clients, rotated × inverting each", "aggregation/100 clients, 4 bits, rotated", "add_many", "inverting each",
     {20: (8, 14)}),
    ("rANS encode × zstd -1 on nibbles", "kernel/rans encode, 3.4 bits", "fewbits", "zstd -1", {20: (2.2, 4)}),
    ("rANS decode × zstd -1 on nibbles", "kernel/rans decode, 3.4 bits", "fewbits", "zstd -1", {20: (1.6, 3)}),
    ("top-k 1 % × nth_element", "kernel/largest 1 %", "fewbits", "nth_element", {24: (14, 30)}),
    ("top-k 0.1 % × nth_element", "kernel/largest 0.1 %", "fewbits", "nth_element", {24: (22, 45)}),
    ("trellis:bits=2 encode, 8 states, GB/s", "plan/trellis:bits=2,states=8", "encode", None, {20: (1.0, 2.0)}),
    ("trellis:bits=2 encode, 64 states, GB/s", "plan/trellis:bits=2,states=64", "encode", None, {20: (.6, .9)}),
    ("trellis:bits=2 encode, 256 states, GB/s", "plan/trellis:bits=2,states=256", "encode", None, {20: (.25, .35)}),
    ("trellis:bits=2 aggregate, 64 states, GB/s", "plan/trellis:bits=2,states=64", "aggregate", None, {20: (2.0, 4.0)}),
    ("trellis:bits=0.01 encode ÷ a pass of the generator, 8 states", "plan/trellis:bits=0.01,states=8", "encode", "generator pass",
     {20: (.5, .5)}),
    ("trellis:bits=0.01 encode ÷ a pass of the generator, 64 states", "plan/trellis:bits=0.01,states=64", "encode", "generator pass",
     {20: (.25, .25)}),
    ("two threads × one, 16 clients", "aggregation/16 clients, 4 bits, two threads", "two threads", "one thread", {20: (1.7, 1.95)}),
    ("f32 encode + aggregate ÷ memcpy and checksum of each", "plan/f32", "encode + aggregate", "memcpy + hash64",
     {20: (.67, .91)}),
    ("hadamard+quantize:bits=4 encode ÷ memcpy", "plan/hadamard+quantize:bits=4", "encode", "memcpy", {20: (.20, .32)}),
    ("hadamard+quantize:bits=4 encode × numpy", "plan/hadamard+quantize:bits=4", "encode", "numpy", {20: (45, 85)}),
]


def read(path):
    try:
        data = json.loads(path.read_text())
        cases = {(r["group"], r["case"], r["log2"]): r for r in data["results"]}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        sys.exit(f"{path}: not what fewbits_bench --json writes: {error}")
    return data, cases


def numpy_encode(log2):
    """Seconds of a rotation, rounding at random and packing to 4 bits: the fastest of five."""
    generator = np.random.default_rng(1)
    x = generator.standard_normal(1 << log2, dtype=np.float32)
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        y = np.where(generator.integers(0, 2, x.size, dtype=np.uint8) == 1, -x, x)
        half = 1
        while half < y.size:
            pairs = y.reshape(-1, 2, half)
            y = np.stack((pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]), axis=1).reshape(-1)
            half *= 2
        y *= np.float32(2.0 ** (-log2 / 2))
        low, high = y.min(), y.max()
        places = (y - low) * np.float32(15 / (high - low)) + generator.random(y.size, dtype=np.float32)
        symbols = np.minimum(places, 15).astype(np.uint8)
        packed = symbols[0::2] | symbols[1::2] << 4
        best = min(best, time.perf_counter() - start)
    assert packed.size == x.size // 2
    return best


def add_numpy(cases):
    for log2 in SIZES:
        case = cases.get(("plan/hadamard+quantize:bits=4", "encode", log2))
        if case and log2 <= 20:
            ratio = numpy_encode(log2) / case["seconds"]
            case["ratios"]["numpy"] = {"best": ratio, "median": ratio}


def print_goals(cases, target):
    half = 1 if target == "avx512" else 2
    print(f"| | size | least{' (half of AVX-512)' if half == 2 else ''} | aim (AVX-512) | measured | median |")
    print("| --- | --- | --- | --- | --- | --- |")
    for what, group, name, over, sizes in GOALS:
        for log2, (least, aim) in sizes.items():
            case = cases.get((group, name, log2))
            if not case or (over and over not in case.get("ratios", {})):
                continue
            if over:
                best, median = case["ratios"][over]["best"], case["ratios"][over]["median"]
            else:
                best, median = case["gigabytes_per_second"], (4 << log2) / case["median_seconds"] * 1e-9
            mark = "**" if best >= least / half else ""
            print(f"| {what} | 2^{log2} | {least / half:.3g} | {aim:g} | {mark}{best:.3g}{mark} | {median:.3g} |")


def draw(data, cases, path):
    rows = {}
    for (group, name, log2), case in cases.items():
        ratio = case.get("ratios", {}).get("memcpy") or case.get("ratios", {}).get("read") or case.get("ratios", {}).get("scale")
        if ratio and not group.startswith("stage/"):
            label = group.split("/", 1)[1] + ("" if name == "fewbits" else f", {name}")
            rows.setdefault(label, {})[log2] = ratio["best"]
    figure, axes = plt.subplots(figsize=(9, 0.17 * len(rows) + 1.6), layout="constrained")
    for y, points in enumerate(rows.values()):
        for log2, ratio in points.items():
            axes.plot(ratio, -y, "o", markersize=4.5, color=SIZES.get(log2, "0.5"))
    axes.set_yticks([-y for y in range(len(rows))], list(rows), fontsize=7)
    axes.set_ylim(-len(rows), 1)
    axes.set_xscale("log")
    axes.axvline(1, color="0.45", linewidth=1)
    axes.grid(True, axis="x", color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("speed ÷ that of memcpy (of reading or scaling, where nothing is copied); log scale")
    handles = [plt.Line2D([], [], marker="o", linestyle="", color=colour, label=f"2^{log2}") for log2, colour in SIZES.items()]
    axes.legend(handles=handles, frameon=False, fontsize=8, loc="lower right")
    machine = data["machine"]
    axes.set_title(f"{machine['cpu']}, family {machine['family']}; target {data['target']}, one thread", fontsize=9, loc="left",
                   color="0.25")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=pathlib.Path, help="what fewbits_bench --json wrote")
    parser.add_argument("--out", type=pathlib.Path, help="the picture; FILE with the ending .png")
    parser.add_argument("--numpy", action="store_true", help="time the same in numpy too")
    arguments = parser.parse_args()
    if not arguments.file.is_file():
        sys.exit(f"{arguments.file} not found: run `make bench` first")
    data, cases = read(arguments.file)
    if arguments.numpy:
        add_numpy(cases)
    print_goals(cases, data["target"])
    path = arguments.out or arguments.file.with_suffix(".png")
    draw(data, cases, path)
    print(f"\n{path}")


if __name__ == "__main__":
    main()
