"""fewbits beside other libraries' codecs, on the same vectors: rate, error, bias and time, by rate.

    peers.py BUILD [--libraries NAME,...] [--out docs/peers.md]

BUILD (build/release) has the fewbits program and the Python package. The peers are installed by pip into build/peers/venv, each
measured in a process of its own (peer_codecs.py); one that cannot be installed or run is listed with the reason.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import venv

import numpy as np

from peer_codecs import SECONDS, SEEDS

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "peers"
PYTHON = FOLDER / "venv" / "bin" / "python"

# What pip installs for each library: the versions of docs/peers.md.
NUMPY = "numpy==2.2.6"   # of later ones OpenFL and hivemind call what is gone
TORCH = "torch==2.13.0"
BITSANDBYTES = "bitsandbytes==0.50.2"
REQUIREMENTS = {
    "fewbits": [],
    "openfl": ["openfl==1.9", TORCH],
    "hivemind": ["hivemind==1.1.12", BITSANDBYTES, TORCH],
    "bitsandbytes": [BITSANDBYTES, TORCH],
    "nvflare": ["nvflare==2.9.0", BITSANDBYTES, TORCH],
    "torch": [TORCH],
    "zfpy": ["zfpy==1.0.1.post0"],
    "pysz": ["pysz==1.1.0"],
    "blosc2": ["blosc2==4.14.1"],
    "zstandard": ["zstandard==0.25.0"],
}
TITLES = {
    "normal": "Normal values: 512 × 512, independent",
    "tails": "Heavy tails: 512 × 512, Student's t with 3 degrees of freedom",
    "model": "A real update: one client of `fewbits train` (Fashion-MNIST, MLP of 159,010 parameters, four tensors, round 20)",
}
GROUPS = [(0.35, "up to 0.35 bit"), (0.75, "about half a bit"), (1.5, "about 1 bit"), (3, "about 2 bits"),
          (6, "about 4 bits"), (11, "about 8 bits"), (20, "about 16 bits"), (1e9, "more")]


def model_update(build):
    """Tensors of one client's update; none where the data set is not installed."""
    folder = FOLDER / "update"
    done = subprocess.run([build / "fewbits", "train", "--plan", "f32", "--rounds", "20", "--target", "none", "--record", folder,
                           "--record-rounds", "20", "--record-clients", "1", "--out", FOLDER / "run", "--force", "--quiet"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        print(f"peers: no real update: {done.stderr.strip()}", file=sys.stderr)
        return {}
    with np.load(next(folder.glob("*.npz"))) as arrays:
        return {f"model/{name}": arrays[name] for name in arrays}


def write_vectors(build, file):
    random = np.random.default_rng(1)
    np.savez(file, **{"normal/values": random.standard_normal((512, 512), dtype=np.float32),
                      "tails/values": random.standard_t(3, (512, 512)).astype(np.float32)}, **model_update(build))


def last_line(text):
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no message"


def install(requirements):
    """The reason why not, or None."""
    if not PYTHON.exists():
        venv.create(PYTHON.parent.parent, with_pip=True)
    done = subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", NUMPY, *requirements],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return f"pip: {last_line(done.stderr)}" if done.returncode else None


def measure(build, library, vectors):
    """Rows, and the reason why there are no more, or None."""
    environment = {**os.environ, "PYTHONPATH": str(build / "python"), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([PYTHON, ROOT / "bench" / "peer_codecs.py", library, vectors], env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    rows = [{"library": library, **json.loads(line)} for line in done.stdout.splitlines() if line.startswith('{"vector"')]
    if done.returncode == 0:
        return rows, None
    return rows, f"signal {-done.returncode}" if done.returncode < 0 else last_line(done.stderr)


def versions(libraries):
    """As they are installed, with fewbits' of its own."""
    asked = ["numpy", *(name for name in libraries if name != "fewbits")]
    code = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    found = json.loads(subprocess.run([PYTHON, "-c", code, *asked], check=True, stdout=subprocess.PIPE, text=True).stdout)
    mine = re.search(r"project\(fewbits VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]
    return {"fewbits": mine, **found}


def processor():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())


def number(value):
    return "0" if value == 0 else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def table(rows):
    yield "| library | codec | bits | NMSE | of 16 | bias | encode ms | decode ms |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for row in sorted(rows, key=lambda row: (row["nmse"], row["bits"])):
        bias = "–" if row["bias"] is None else f"{row['bias']:.2f}"
        decode = "with it" if row["decode_ms"] is None else number(row["decode_ms"])
        few = f" (of {row['seeds']})" if row["seeds"] < SEEDS else ""
        yield f"| {row['library']} | `{row['codec']}` | {row['bits']:.3g} | {number(row['nmse'])} | {number(row['of_mean'])}{few} | " \
              f"{bias} | {number(row['encode_ms'])} | {decode} |"


def page(rows, reasons, found):
    yield "# Peers"
    yield ""
    yield "    make peers        # installs them into build/peers/venv, measures, writes this page"
    yield ""
    yield "Codecs of other libraries by their own public interfaces ([bench/peer_codecs.py](../bench/peer_codecs.py)), and fewbits by its Python package,"
    yield "on the same vectors. *Bits*: all bytes that are sent, headers too, by the coordinates. *NMSE*: the error of one decoding, by the energy of the"
    yield f"vector; *of {SEEDS}*: that of the mean of as many, with a seed each, as a server has from clients (of fewer where it took over {SECONDS} seconds)."
    yield "*Bias*: the share of the NMSE that stays in the mean of any number of clients: 0 where the codec is unbiased, 1 where averaging does not help."
    yield "*Times*: processor time of the fastest of many calls, on one core, the whole vector. No codec has a memory from step to step here: error feedback, which biased"
    yield "ones are made for, is left out. Within a group rows are ordered by the error of one decoding."
    yield ""
    yield f"Measured {datetime.date.today()} on {processor()} with Python {platform.python_version()}: " + ", ".join(f"{n} {v}" for n, v in found.items()) + "."
    yield ""
    yield "- torch: DDP's hooks in a group of one; the time is that of the whole backward pass, encoding and decoding in it."
    yield "- OpenFL: a `ModelProto` as it is sent. STC's scale is a mean over all coordinates, the zeros of the others too, hence its error."
    yield "- NVFlare: a DXO as `fobs` writes it. Its quantizers of 8 and 4 bits (`blockwise8`, `float4`, `normfloat4`) move tensors to CUDA and run on no CPU."
    yield "- bitsandbytes: codes and the blocks' scales, as it makes no bytes of them."
    yield "- zfpy gets matrices: vectors with a rate of 2 bits or fewer end its process."
    for library, reason in reasons.items():
        yield f"- {library} is not measured, or not all of it: {reason}"
    for vector, title in TITLES.items():
        own = [row for row in rows if row["vector"] == vector]
        if not own:
            continue
        yield ""
        yield f"## {title}"
        low = 0
        for high, heading in GROUPS:
            group = [row for row in own if low < row["bits"] <= high]
            low = high
            if group:
                yield ""
                yield f"### {heading[0].upper()}{heading[1:]}"
                yield ""
                yield from table(group)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--libraries", default=",".join(REQUIREMENTS), help="some of them, separated by commas")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "peers.md")
    options = parser.parse_args()
    build = options.build.resolve()
    libraries = options.libraries.split(",")
    FOLDER.mkdir(parents=True, exist_ok=True)
    vectors = FOLDER / "vectors.npz"
    write_vectors(build, vectors)
    rows, reasons = [], {}
    for library in libraries:
        print(f"peers: {library}", flush=True)
        reason = install(REQUIREMENTS[library])
        if reason is None:
            measured, reason = measure(build, library, vectors)
            rows += measured
        if reason is not None:
            reasons[library] = reason
    installed = [library for library in libraries if any(row["library"] == library for row in rows)]
    options.out.write_text("\n".join(page(rows, reasons, versions(installed))) + "\n")
    for library, reason in reasons.items():
        print(f"peers: {library}: {reason}")
    print(f"peers: {len(rows)} rows in {options.out}")


if __name__ == "__main__":
    main()
