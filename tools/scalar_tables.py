#!/usr/bin/env python3
"""Computes the tables of the quantizers for normal values: codecs/lloyd.inc, codecs/ecsq.inc and docs/scalar-tables.md.

    tools/scalar_tables.py            writes them
    tools/scalar_tables.py --check    fails where they differ from what is there

Levels of the Lloyd–Max quantizers of N(0, 1) are solved for in 50 digits by Newton's method; steps of the uniform
quantizer for an entropy by bisection in float64.
"""
import decimal
import math
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
D = decimal.Decimal
decimal.getcontext().prec = 50
SQRT_2PI = (2 * D("3.14159265358979323846264338327950288419716939937510582097494459")).sqrt()


def density(t):
    return (-t * t / 2).exp() / SQRT_2PI


def mass_below(t):
    """P(0 < N(0, 1) < t)."""
    term, total, k = t, t, 1
    while abs(term) > D("1e-60"):
        k += 2
        term *= t * t / k
        total += term
    return density(t) * total


def residual(levels):
    """Each level less the mean of its cell, and the tridiagonal matrix of derivatives by (below, own, above)."""
    cells, last = [], len(levels) - 1
    thresholds = [D(0)] + [(a + b) / 2 for a, b in zip(levels, levels[1:])]
    f = [density(t) for t in thresholds] + [D(0)]
    mass = [mass_below(t) for t in thresholds] + [D("0.5")]
    for j, level in enumerate(levels):
        p = mass[j + 1] - mass[j]
        mean = (f[j] - f[j + 1]) / p
        by_low = f[j] * (mean - thresholds[j]) / p
        by_high = f[j + 1] * (thresholds[j + 1] - mean) / p if j < last else D(0)
        below = -by_low / 2 if j > 0 else D(0)
        cells.append((level - mean, below, 1 - by_high / 2 + below, -by_high / 2))
    return cells


def newton_step(levels):
    cells = residual(levels)
    upper, right = [], []   # Thomas' algorithm
    for j, (r, below, own, above) in enumerate(cells):
        pivot = own - (below * upper[-1] if j else 0)
        upper.append(above / pivot)
        right.append((r - (below * right[-1] if j else 0)) / pivot)
    for j in range(len(levels) - 2, -1, -1):
        right[j] -= upper[j] * right[j + 1]
    return [c - s for c, s in zip(levels, right)], max(map(abs, right))


def quantile(p):
    low, high = 0.0, 12.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if 0.5 * math.erfc(-middle / math.sqrt(2)) < p else (low, middle)
    return low


def lloyd_max(bits):
    """The positive levels, least first."""
    half = 1 << (bits - 1)
    # Cells of equal share of the density's cube root: those of many levels.
    levels = [D(math.sqrt(3) * quantile(0.5 + (j + 0.5) / (2 * half))) for j in range(half)]
    for _ in range(40):
        levels, step = newton_step(levels)
        assert all(a < b for a, b in zip([D(0)] + levels, levels))
        if step < D("1e-40"):
            return levels
    raise ArithmeticError("Newton's method did not converge")


def entropy(step):
    """Of round(N(0, 1) / step), in bits."""
    total, k = 0.0, 0
    while (k - 0.5) * step < 9:
        low, high = (k - 0.5) * step / math.sqrt(2), (k + 0.5) * step / math.sqrt(2)
        p = 0.5 * (math.erfc(low) - math.erfc(high))
        total -= (1 if k == 0 else 2) * p * math.log2(p) if p > 0 else 0
        k += 1
    return total


def step_for(bits):
    low, high = 1e-3, 20.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if entropy(middle) > bits else (low, middle)
    return float(f"{low:.7g}")


# So close that the step between two of them, on a straight line, is right within 2 % and 0.003 bit of entropy.
ENTROPIES = [k / 128 for k in (2, 3, 4, 6, 8, 12, 16, 24)] + [k / 16 for k in range(4, 8)] + [k / 8 for k in range(4, 65)]


def tables():
    levels = {bits: [float(c) for c in lloyd_max(bits)] for bits in range(1, 9)}
    steps = [step_for(bits) for bits in ENTROPIES]
    head = "// Written by tools/scalar_tables.py.\n"

    lloyd = head + "// Positive levels of the Lloyd–Max quantizers of N(0, 1), of 1 bit, of 2 bits, …, each from the least.\n"
    for bits, values in levels.items():
        lloyd += f"// {bits}\n"
        for i in range(0, len(values), 5):
            lloyd += ", ".join(v.hex() for v in values[i:i + 5]) + ",\n"

    ecsq = head + "// Bits of entropy of round(N(0, 1)/step), and the step.\n"
    for i in range(0, len(steps), 4):
        ecsq += " ".join(f"{{{b}, {s!r}}}," for b, s in zip(ENTROPIES[i:i + 4], steps[i:i + 4])) + "\n"

    text = ("# Tables of the quantizers for normal values\n\n"
            "Written by `tools/scalar_tables.py`; part of [frame-format.md](frame-format.md) §6.\n\n"
            "## `lloyd`\n\nThe positive levels of the Lloyd–Max quantizer of N(0, 1), from the least; f64, in the fewest digits "
            "that read back.\n\n| bits | levels |\n| --- | --- |\n")
    for bits, values in levels.items():
        text += f"| {bits} | {' '.join(map(repr, values))} |\n"
    text += ("\n## `ecsq`\n\nThe step at which round(z/step) of a normal z has this entropy.\n\n| bits | step |\n| --- | --- |\n")
    text += "".join(f"| {b} | {s!r} |\n" for b, s in zip(ENTROPIES, steps))
    return {"codecs/lloyd.inc": lloyd, "codecs/ecsq.inc": ecsq, "docs/scalar-tables.md": text}


def main():
    for path, text in tables().items():
        if "--check" not in sys.argv:
            (ROOT / path).write_text(text)
        elif (ROOT / path).read_text() != text:
            sys.exit(f"{path} is not what tools/scalar_tables.py computes")


if __name__ == "__main__":
    main()
