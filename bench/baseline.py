"""What plans cost and err, exactly: bytes of frames and NMSE on fixed inputs.

    baseline.py PATH/TO/fewbits             compare with baseline.csv; fails where anything differs
    baseline.py PATH/TO/fewbits --refresh   write baseline.csv anew

Frames and decoded floats are the same on every machine, so figures are compared to the last bit. Inputs are made of
integers alone, since libraries of mathematics differ.
"""

import argparse
import csv
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

FILE = pathlib.Path(__file__).with_name("baseline.csv")
COLUMNS = ["input", "plan", "bytes", "nmse"]

# Of one stage each at least (checked), what benchmarks run, and the rates between which frames are composed differently.
PLANS = [
    "f32", "f16", "bf16", "f32+zstd", "bf16+rans", "quantize:bits=4", "quantize:bits=8,block=256", "quantize:bits=4+zstd",
    "quantize:bits=4+rans", "hadamard+quantize:bits=1", "hadamard+quantize:bits=2", "hadamard+quantize:bits=4",
    "hadamard+quantize:bits=8", "hadamard+mask:keep=0.0625+quantize:bits=2", "mask:keep=0.1+f32",
    "mask:keep=0.1,seed=round+quantize:bits=4", "topk:keep=0.01+f32", "topk:keep=0.1+quantize:bits=4", "stc:keep=0.01",
    "lowrank:rank=4+f32", "powersgd:rank=2", "predict:rank=2+quantize:bits=2", "permk:cohort=4+quantize:bits=4",
    "countsketch:keep=0.1+quantize:bits=8", "countsketch:rows=3,keep=0.3,estimate=median+f32", "drive", "eden:bits=1",
    "eden:bits=4", "eden-ee:bits=0.5", "eden-ee:bits=2", "lloyd:bits=3", "tcq:bits=1,states=8", "tcq:bits=2",
    "tcq:bits=2,states=256", "ecsq:bits=1", "qsgd:levels=4", "qsgd:levels=16,bucket=128", "ternary", "terngrad", "natural",
    "sign", "dither:bits=1", "dither:bits=0.1", "dither:nmse=0.01,scale=block:256", "dither:step=0.5,scale=flat,correlated=1",
    "train=mask:keep=0.0625 | hadamard+quantize:bits=2", "train=lowrank:rank=2 | f32",
] + [f"trellis:bits={bits},states={states}" for bits in ("4", "2", "1", "0.1", "0.01") for states in (8, 64, 256)] + [
    "trellis:bits=0.5,scale=flat", "trellis:bits=0.5,scale=block:256", "trellis:bits=0.03", "trellis:nmse=0.05",
    "trellis:step=0.5,scale=flat",
]


def words(seed, count):
    """splitmix64 (Steele, Lea, Flood 2014) of a counter."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def normal(seed, count):
    """Sums of 12 numbers of 16 bits, about normal, with variance 1: exact in float32 once rounded."""
    parts = words(seed, 3 * count).view(np.uint16).astype(np.int64).reshape(count, 12)
    return ((parts.sum(axis=1) - 6 * 65535) / 65536.0).astype(np.float32)


def net(seed):
    """A net of two layers whose rows and columns differ in scale, by powers of two, and whose biases are small."""
    first = normal(seed, 96 * 130).reshape(96, 130)
    first *= np.exp2(-(np.arange(96) % 7)).astype(np.float32)[:, None]
    first *= np.exp2(-(np.arange(130) % 5)).astype(np.float32)[None, :]
    return {"in.weight": first, "in.bias": normal(seed + 1, 96) / 8, "out.weight": normal(seed + 2, 960).reshape(10, 96),
            "out.bias": normal(seed + 3, 10) / 64}


def measure(program, folder):
    """Rows of COLUMNS as text."""
    np.save(folder / "normal.npy", normal(1, 5 << 14))   # enough for several lanes of a range coder
    np.savez(folder / "net.npz", **net(2))
    rows = []
    for name in ("normal.npy", "net.npz"):
        command = [program, "measure", "--json", "--repeats", "2", "--seed", "7"]
        command += [part for plan in PLANS for part in ("--plan", plan)]
        done = subprocess.run(command + [folder / name], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{name}: {done.stderr.strip()}")
        rows += [{"input": name, "plan": m["plan"], "bytes": repr(m["bytes"]), "nmse": repr(m["nmse"])}
                 for m in json.loads(done.stdout)]
    return rows


def check_every_stage_is_there(program):
    listed = json.loads(subprocess.run([program, "stages", "--json"], check=True, capture_output=True, text=True).stdout)
    text = " ".join(PLANS).replace("=", " ").replace(":", " ").replace("+", " ").split()
    missing = [stage["name"] for stage in listed if stage["name"] not in text]
    missing = [name for name in missing if name != "pack"]   # what stands behind quantizers when nothing is said
    if missing:
        sys.exit(f"no plan in {pathlib.Path(__file__).name} has {', '.join(missing)}: add one, then --refresh")


def compare(rows):
    """Lines that say what differs."""
    with FILE.open(newline="") as file:
        wanted = {(row["input"], row["plan"]): row for row in csv.DictReader(file)}
    found = {(row["input"], row["plan"]): row for row in rows}
    faults = [f"{' '.join(key)}: not in {FILE.name}" for key in found.keys() - wanted.keys()]
    faults += [f"{' '.join(key)}: in {FILE.name}, but not measured" for key in wanted.keys() - found.keys()]
    for key in found.keys() & wanted.keys():
        for column in ("bytes", "nmse"):
            now, before = float(found[key][column]), float(wanted[key][column])
            if now != before:
                change = f", {100 * (now / before - 1):+.4f} %" if before else ""
                faults.append(f"{' '.join(key)}: {column} {now!r} instead of {before!r}{change}")
    return sorted(faults)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="build/release/fewbits")
    parser.add_argument("--refresh", action="store_true", help=f"write {FILE.name} anew")
    arguments = parser.parse_args()
    check_every_stage_is_there(arguments.program)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(arguments.program, pathlib.Path(folder))
    if arguments.refresh:
        with FILE.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        print(f"{FILE}: {len(rows)} rows")
        return
    faults = compare(rows)
    if faults:
        sys.exit("\n".join(faults) + f"\nIf that is meant: python {pathlib.Path(__file__).name} PROGRAM --refresh")
    print(f"{len(rows)} rows as in {FILE.name}")


if __name__ == "__main__":
    main()
