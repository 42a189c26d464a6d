"""Writes the golden frames with the independent implementation: frames/*.fb, updates/*.npy and .npz, cases.json.

Run once for a new case, by hand: python make_golden.py. Tests never do. A frame that is there already and comes out
differently is an error: the format does not change under a version.
"""
import json
import pathlib

import numpy as np
import xxhash

from frame_format import Codec

HERE = pathlib.Path(__file__).parent
F32 = np.float32


def updates():
    draw = np.random.default_rng(20161018)

    def heavy(n):
        return (draw.standard_normal(n) * np.exp(2 * draw.standard_normal(n))).astype(F32)

    one = {"one": heavy(1), "three": heavy(3), "n63": heavy(63), "n64": heavy(64), "n1000": heavy(1000), "n4097": heavy(4097),
           "equal": np.full(37, 0.3, F32), "zero": np.zeros(40, F32), "spike": np.eye(1, 512, 77, dtype=F32)[0] * F32(3),
           "denormal": (draw.standard_normal(100) * 1e-40).astype(F32), "huge": (draw.standard_normal(100) * 1e30).astype(F32),
           "half": (draw.standard_normal(200) * 10.0 ** draw.uniform(-9, 4, 200)).astype(F32), "none": np.zeros(0, F32)}
    several = {"layers": {"dense.weight": heavy(600).reshape(30, 20), "dense.bias": heavy(20), "out.weight": heavy(200).reshape(20, 10),
                          "out.bias": heavy(10)}}
    return one, several


ROTATED = "hadamard+quantize:bits=2"
CASES = [  # name, plan, update, seed, round, client
    *[(f"quantize{b}", f"quantize:bits={b}", "n1000", 1, 0, b) for b in range(1, 9)],
    *[(f"block{b}", f"quantize:bits=3,block={b}", "n1000", 1, 7, 3) for b in (1, 20, 32, 100, 999, 1000, 5000)],
    *[(f"hadamard_{u}", "hadamard+quantize:bits=4", u, 5, 2, 9) for u in ("one", "three", "n63", "n64", "n1000", "n4097")],
    ("hadamard_client", "hadamard:seed=client+quantize:bits=4", "n1000", 5, 2, 9),
    ("hadamard_f32", "hadamard+f32", "n1000", 5, 2, 9),
    *[(f"mask_{k}_{s}", f"mask:keep={k},seed={s}+f32", "n1000", 3, 4, 5)
      for k in ("0.0001", "0.1", "0.5", "0.501", "0.93", "1") for s in ("round", "client")],
    ("mask_hadamard", "mask:keep=0.2+hadamard:seed=client+quantize:bits=2", "n4097", 8, 1, 2),
    ("hadamard_mask", "hadamard+mask:keep=0.0625+quantize:bits=2", "n4097", 8, 1, 2),
    ("mask_mask", "mask:keep=0.5,seed=round+mask:keep=0.25+bf16", "n1000", 8, 1, 2),
    ("twice", "hadamard+hadamard:seed=client+quantize:bits=1", "n1000", 8, 1, 2),
    *[(f"{f}_{u}", f, u, 0, 0, 0) for f in ("f32", "f16", "bf16") for u in ("half", "denormal", "zero", "none")],
    *[(f"quantize_{u}", "quantize:bits=4", u, 2, 3, 4) for u in ("equal", "zero", "spike", "denormal", "huge", "none")],
    *[(f"rotated_{u}", ROTATED, u, 2, 3, 4) for u in ("equal", "zero", "spike", "denormal", "huge", "none")],
    *[(f"round{r}_client{c}", ROTATED, "n63", 2 ** 64 - 1, r, c)
      for r, c in ((127, 0), (128, 127), (2 ** 28 - 1, 128), (1, 2 ** 28 - 1), (2, 2 ** 64 - 1))],
    ("rules", "*.bias=f32; <300=quantize:bits=8; *=hadamard+quantize:bits=3", "layers", 6, 5, 4),
    ("rules_joined", "out.*=f16; *=quantize:bits=5", "layers", 6, 5, 4),
    ("rules_unused", "nothing=f16; *=quantize:bits=5", "layers", 6, 5, 4),
    ("family_mask", "train=mask:keep=0.0625 | f32", "layers", 6, 5, 4),
    ("family_mask_sketched", "train=mask:keep=0.3 | *.bias=f32; *=hadamard+quantize:bits=2", "layers", 6, 5, 4),
    ("family_lowrank", "train=lowrank:rank=4 | f32", "layers", 6, 5, 4),
]


def write(path, data):
    if path.exists() and path.read_bytes() != data:
        raise SystemExit(f"{path} has other bytes already: a change of the format needs new ids, and new names here")
    path.write_bytes(data)


def main():
    one, several = updates()
    for folder in ("frames", "updates"):
        (HERE / folder).mkdir(exist_ok=True)
    for name, update in one.items():
        np.save(HERE / "updates" / f"{name}.npy", update)
    for name, arrays in several.items():
        np.savez(HERE / "updates" / f"{name}.npz", **arrays)

    cases = []
    for name, plan, source, seed, round_, client in CASES:
        arrays = {"": one[source]} if source in one else several[source]
        layout = [(key, value.shape) for key, value in arrays.items()]
        update = np.concatenate([value.reshape(-1) for value in arrays.values()])
        codec = Codec(plan, layout)
        exact = True
        if codec.family:
            exact = codec.family.stage.name == "mask"
            # A member of the family: the map from free parameters is linear, so its columns give its inverse.
            columns = np.stack([codec.expand(unit, seed, round_) for unit in np.eye(codec.elements, dtype=F32)], 1)
            update = np.linalg.lstsq(columns, update.astype(np.float64), rcond=None)[0].astype(F32)
            if exact:
                update = (columns.T @ np.concatenate([v.reshape(-1) for v in arrays.values()])).astype(F32)
        frame = codec.encode(update, seed, round_, client)
        write(HERE / "frames" / f"{name}.fb", frame)
        decoded = codec.expand(codec.decode(frame, seed), seed, round_).astype(F32)
        case = {"name": name, "plan": plan, "update": source + (".npy" if source in one else ".npz"), "seed": seed, "round": round_,
                "client": client, "decoded_xxh3": xxhash.xxh3_64_hexdigest(decoded.tobytes())}
        if not exact:
            case["inexact"] = "the program's projection and expansion round otherwise"
        cases.append(case)
    (HERE / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    main()
