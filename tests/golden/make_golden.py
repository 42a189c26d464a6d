"""Writes the golden files with the independent implementation: frames/*.fb and .sum, updates/*.npy and .npz,
cases.json, free_cases.json, sums.json.

Run once for a new case, by hand: python make_golden.py. Tests never do. A frame that is there already and comes out
differently is an error: the format does not change under a version.
"""
import io
import json
import pathlib

import numpy as np
import xxhash

from frame_format import Codec, write_partial_sum

HERE = pathlib.Path(__file__).parent
F32 = np.float32


def updates():
    draw = np.random.default_rng(20161018)

    def heavy(n):
        return (draw.standard_normal(n) * np.exp(2 * draw.standard_normal(n))).astype(F32)

    def later(number):  # updates that came later draw apart, so that the earlier ones stay as they are
        return np.random.default_rng([20161018, number])

    one = {"one": heavy(1), "three": heavy(3), "n63": heavy(63), "n64": heavy(64), "n1000": heavy(1000),
           "n4097": heavy(4097), "equal": np.full(37, 0.3, F32), "zero": np.zeros(40, F32),
           "spike": np.eye(1, 512, 77, dtype=F32)[0] * F32(3),
           "denormal": (draw.standard_normal(100) * 1e-40).astype(F32),
           "huge": (draw.standard_normal(100) * 1e30).astype(F32),
           "half": (draw.standard_normal(200) * 10.0 ** draw.uniform(-9, 4, 200)).astype(F32), "none": np.zeros(0, F32)}
    several = {"layers": {"dense.weight": heavy(600).reshape(30, 20), "dense.bias": heavy(20),
                          "out.weight": heavy(200).reshape(20, 10), "out.bias": heavy(10)}}
    largest = np.finfo(F32).max
    one |= {"signed_zero": np.array([-0.0, 0.0, 1, -1, -0.0, -0.0, 0.0, 2.5, -0.0], F32),
            "edges": np.array([largest, -largest, 2.0 ** -149, -2.0 ** -149, 2.0 ** -126, 2.0 ** -127, 1, -0.0, 0.5],
                              F32),
            "tiny": (np.arange(-20, 21) * 2.0 ** -149).astype(F32),
            "clusters": (later(30).standard_normal((50, 100)) * np.exp(2 * later(31).standard_normal((50, 1)))).astype(
                F32).reshape(-1),
            "far": np.eye(1, 20_000, 19_000, dtype=F32)[0],
            "wide": (later(0).standard_normal(700) * 10.0 ** later(1).uniform(-42, 37, 700)).astype(F32)}
    scaled = later(32).standard_normal((24, 30)) * np.exp(later(33).standard_normal((24, 1)))
    scaled *= np.exp(later(34).standard_normal((1, 30)))
    scaled[[3, 17]] = scaled[:, 5] = 0
    several["scaled"] = {"weight": scaled.astype(F32), "bias": later(35).standard_normal(300).astype(F32),
                         "column": later(36).standard_normal((40, 1, 1)).astype(F32), "none": np.zeros((0, 4), F32),
                         "row": later(37).standard_normal((1, 9)).astype(F32), "zero": np.zeros((3, 4), F32),
                         "three": 100 * later(38).standard_normal((4, 3, 2)).astype(F32), "one": np.ones((), F32)}
    deep = later(39).standard_normal((5, 6)) * np.outer(2.0 ** (-5 * np.arange(5)), 2.0 ** (-4 * np.arange(6)))
    several["deep"] = {"weight": deep.astype(F32)}   # classes of a matrix that are limited from below
    several["odd"] = {name: later(2 + i).standard_normal(shape).astype(F32) for i, (name, shape) in enumerate(
        [("tab\there", (7,)), ("back\\slash", (2, 3, 4)), ("line\nfeed", ()), ("größe", (33,)), ("nothing", (0, 5)),
         ("x", (1,))])}
    # Free parameters: (layout, plan, values) are of one size.
    free = {"free_lowrank": later(20).standard_normal(4 * 20 + 20 + 4 * 10 + 10).astype(F32),
            "free_mask": later(21).standard_normal(180 + 6 + 60 + 3).astype(F32)}
    return one, several, free


ROTATED = "hadamard+quantize:bits=2"
CASES = [  # name, plan, update, seed, round, client
    *[(f"quantize{b}", f"quantize:bits={b}", "n1000", 1, 0, b) for b in range(1, 9)],
    *[(f"block{b}", f"quantize:bits=3,block={b}", "n1000", 1, 7, 3) for b in (1, 20, 32, 100, 999, 1000, 5000)],
    *[(f"hadamard_{u}", "hadamard+quantize:bits=4", u, 5, 2, 9)
      for u in ("one", "three", "n63", "n64", "n1000", "n4097")],
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
    *[(f"hadamard_{u}_client", "hadamard:seed=client+quantize:bits=4", u, 5, 2, 9)
      for u in ("one", "three", "n64", "n4097")],
    *[(f"whole{b}", f"quantize:bits={b}", "n4097", 4, 1, b) for b in range(1, 9)],
    *[(f"mask_{k}_{s}_coarse", f"mask:keep={k},seed={s}+quantize:bits=1,block=16", "n1000", 9, 4, 5)
      for k in ("0.07", "0.8") for s in ("round", "client")],
    *[(f"block_{u}", "quantize:bits=5,block=3", u, 2, 3, 4) for u in ("edges", "signed_zero", "tiny", "wide", "zero")],
    *[(f"{f}_signed_zero", f, "signed_zero", 1, 1, 1) for f in ("f32", "f16", "bf16")],
    ("hadamard_signed_zero", "hadamard+f32", "signed_zero", 1, 1, 1),
    ("mask_signed_zero", "mask:keep=0.5+f32", "signed_zero", 1, 1, 1),
    ("f32_edges", "f32", "edges", 1, 1, 1), ("quantize_edges", "quantize:bits=8", "edges", 1, 1, 1),
    *[(f"quantize{b}_tiny", f"quantize:bits={b}", "tiny", 1, 1, 1) for b in (1, 8)],
    ("quantize_wide", "quantize:bits=8", "wide", 1, 1, 1), ("bf16_wide", "bf16", "wide", 1, 1, 1),
    ("odd", "x=bf16; tab*=quantize:bits=7,block=4; <30=f32; *=hadamard+quantize:bits=6", "odd", 12, 34, 56),
    ("odd_joined", "hadamard+mask:keep=0.6,seed=round+hadamard:seed=client+quantize:bits=3,block=10", "odd",
     12, 34, 56),
    ("odd_family", "train=mask:keep=0.5 | <4=f16; *=f32", "odd", 12, 34, 56),
    *[(f"keep{k}", f"mask:keep={k}+bf16", "n63", 1, 2, 3)
      for k in ("1e-4", "0.00012345", "0.30000000000000004", "1e-300")],
    *[(f"lloyd{b}", f"lloyd:bits={b}", "n1000", 1, 0, b) for b in range(1, 9)],
    *[(f"lloyd_{u}", f"lloyd:bits={b}", u, 2, 3, 4) for b, u in enumerate(
        ("one", "three", "equal", "zero", "spike", "denormal", "huge", "none"), 1)],
    *[(f"lloyd3_{u}", "lloyd:bits=3", u, 2, 3, 4) for u in ("signed_zero", "tiny", "wide")],
    *[(f"tcq{b}_{states}", f"tcq:bits={b},states={states}", "n1000", 1, 0, b) for b in range(1, 5) for states in (8, 64, 256)],
    *[(f"tcq_{u}", f"tcq:bits={b}", u, 2, 3, 4) for b, u in (
        (1, "one"), (2, "three"), (3, "equal"), (4, "zero"), (1, "spike"), (2, "denormal"), (3, "huge"), (4, "none"),
        (1, "signed_zero"), (2, "tiny"), (3, "wide"))],
    *[(f"tcq_rotated{b}", f"hadamard:seed=client+tcq:bits={b},states=8", "n4097", 7, 1, 300) for b in (1, 3)],
    *[(f"eden{b}", f"hadamard:seed=client+lloyd:bits={b}", "n4097", 7, 1, 300) for b in (1, 2, 5)],
    *[(f"qsgd{s}_{b}", f"qsgd:levels={s},bucket={b}+pack", "n1000", 1, 0, b)
      for s, b in ((1, 0), (1, 128), (4, 3), (127, 100), (32767, 1), (1000, 999))],
    *[(f"{name}_{u}", f"{plan}+pack", u, 2, 3, 4) for name, plan in (
        ("qsgd", "qsgd:levels=7"), ("qsgd_bucket", "qsgd:levels=2,bucket=16"), ("ternary", "ternary"),
        ("natural", "natural"), ("sign", "sign"))
      for u in ("one", "n1000", "n4097", "equal", "zero", "spike", "denormal", "huge", "none", "signed_zero", "tiny", "wide")],
    *[(f"topk_sign{k}", f"topk:keep={k}+sign", "n4097", 2, 3, 4) for k in ("0.001", "0.1")],
    ("rotated_sign", "hadamard+mask:keep=0.5,seed=round+sign", "n1000", 2, 3, 4),
    ("rotated_natural", "hadamard:seed=client+natural", "n1000", 2, 3, 4),
    *[(f"ecsq{i}", f"hadamard:seed=client+ecsq:bits={b}+pack", "n4097", 3, 2, 1)
      for i, b in enumerate(("0.015625", "0.1", "1", "2.3", "8"))],
    *[(f"ecsq_{u}", f"ecsq:bits={b}+pack", u, 2, 3, 4) for u, b in (
        ("one", "0.1"), ("three", "1"), ("equal", "0.5"), ("zero", "1"), ("spike", "8"), ("denormal", "3"), ("huge", "2"),
        ("none", "1"), ("signed_zero", "1.5"), ("tiny", "4"), ("wide", "0.2"))],
    ("rules", "*.bias=f32; <300=quantize:bits=8; *=hadamard+quantize:bits=3", "layers", 6, 5, 4),
    ("rules_joined", "out.*=f16; *=quantize:bits=5", "layers", 6, 5, 4),
    ("rules_unused", "nothing=f16; *=quantize:bits=5", "layers", 6, 5, 4),
    ("family_mask", "train=mask:keep=0.0625 | f32", "layers", 6, 5, 4),
    ("family_mask_sketched", "train=mask:keep=0.3 | *.bias=f32; *=hadamard+quantize:bits=2", "layers", 6, 5, 4),
    ("family_lowrank", "train=lowrank:rank=4 | f32", "layers", 6, 5, 4),
    *[(f"topk_{k}_{u}", f"topk:keep={k}+f32", u, 3, 4, 5)
      for k in ("1e-6", "0.01", "0.1", "0.5", "1") for u in ("one", "n64", "n1000", "n4097", "zero", "none")],
    *[(f"topk_clusters_{k}", f"topk:keep={k}+quantize:bits=3", "clusters", 3, 4, 5) for k in ("0.001", "0.02", "0.4")],
    ("topk_far", "topk:keep=1e-6+f32", "far", 3, 4, 5),
    ("topk_rules", "hadamard+topk:keep=0.1+mask:keep=0.5+bf16", "layers", 6, 5, 4),
    *[(f"lowrank_{r}", f"lowrank:rank={r}+f32", "layers", 6, 5, 4) for r in (1, 2, 7, 1000)],
    ("lowrank_coarse", "*.bias=f32; *=lowrank:rank=3,iterations=2+quantize:bits=8,block=50", "layers", 6, 5, 4),
    ("lowrank_odd", "lowrank:rank=1+mask:keep=0.5,seed=round+bf16", "odd", 6, 5, 4),
    *[(f"permk_{size}_{place}_{u}", f"permk:cohort={size}+f32", u, 6, 5, 4) for size, place, u in (
        (1, 0, "n64"), (3, 0, "n1000"), (3, 2, "n1000"), (7, 6, "three"), (64, 5, "n64"), (5, 1, "none"))],
    ("permk_rotated", "hadamard+permk:cohort=10+quantize:bits=3", "n4097", 6, 5, 4),
    *[(f"countsketch_{i}", f"countsketch:{p}+f32", u, 6, 5, 4) for i, (p, u) in enumerate(
        [("columns=50", "n1000"), ("rows=3,columns=41", "n1000"), ("rows=16,columns=2", "three"),
         ("keep=0.1,rows=2", "n4097"), ("rows=5,keep=0.5,estimate=median,seed=client", "n1000"),
         ("rows=4,keep=1,estimate=median", "n63"), ("keep=0.5", "none"), ("keep=1", "one")])],
    ("countsketch_coarse", "mask:keep=0.5,seed=round+countsketch:rows=2,columns=30,seed=client+quantize:bits=4", "layers",
     6, 5, 4),
    ("predict_exact", "predict:rank=2+f32", "layers", 6, 5, 4),
    ("predict_coarse", "*.bias=f32; *=predict:by=lowrank,rank=3,iterations=2+quantize:bits=2,block=50", "layers", 6, 5, 4),
    ("predict_lowrank", "predict:rank=1+lowrank:rank=2+bf16", "layers", 6, 5, 4),
    ("lowrank_mixed", "hadamard+lowrank:rank=1+bf16", "layers", 6, 5, 4),
    ("zstd_spike", "quantize:bits=2+zstd", "spike", 2, 3, 4),
    ("zstd_rules", "*.bias=f32+zstd; *=hadamard+quantize:bits=5,block=64+zstd:level=19", "layers", 2, 3, 4),
]
# How `rans` codes, which is the writer's choice: for each rule the way, and the frequent symbol where it has one. First
# what the program chooses, then what it could.
WAYS = {"rans_bits1": [(2, None)], "rans_bits4": [(2, None)], "rans_bits8": [(1, None)], "rans_rotated4": [(10, None)],
        "rans_rotated6": [(1, None)], "rans_fast": [(26, None)], "rans_f32": [(1, None)], "rans_bf16": [(1, None)],
        "rans_f16": [(42, None)], "rans_zero": [(34, None)], "rans_equal": [(66, 0x3E99999A)],
        "rans_rules": [(34, None), (26, None)]}
OTHER_WAYS = {"rans_table4": [(1, None)], "rans_table_f32": [(97, 0)], "rans_adaptive_f32": [(106, 0)],
              "rans_adaptive_bf16": [(74, 0)], "rans_packed": [(0, None)]}
RANS = [
    ("rans_bits1", "quantize:bits=1+rans", "n1000", 6, 5, 4), ("rans_bits4", "quantize:bits=4+rans", "n1000", 6, 5, 4),
    ("rans_bits8", "quantize:bits=8+rans", "n4097", 6, 5, 4),
    ("rans_rotated4", "hadamard+quantize:bits=4+rans", "n4097", 6, 5, 4),
    ("rans_rotated6", "hadamard+quantize:bits=6+rans", "n4097", 6, 5, 4),
    ("rans_fast", "hadamard+quantize:bits=4+rans", "n1000", 6, 5, 4),
    ("rans_three", "quantize:bits=3+rans", "three", 6, 5, 4), ("rans_f32", "f32+rans", "n4097", 6, 5, 4),
    ("rans_bf16", "bf16+rans", "n1000", 6, 5, 4), ("rans_f16", "f16+rans", "half", 6, 5, 4),
    ("rans_zero", "f32+rans", "zero", 6, 5, 4), ("rans_equal", "f32+rans", "equal", 6, 5, 4),
    ("rans_none", "f32+rans", "none", 6, 5, 4), ("rans_wide", "f32+rans", "wide", 6, 5, 4),
    ("rans_rules", "*.bias=f32+rans; *=hadamard+quantize:bits=3+rans", "layers", 6, 5, 4),
    ("rans_table4", "hadamard+quantize:bits=4+rans", "n1000", 6, 5, 5), ("rans_table_f32", "f32+rans", "spike", 6, 5, 5),
    ("rans_adaptive_f32", "f32+rans", "spike", 6, 5, 6), ("rans_adaptive_bf16", "bf16+rans", "spike", 6, 5, 6),
    ("rans_packed", "quantize:bits=1+rans", "n1000", 6, 5, 6),
]
DITHERED = [
    *[(f"{q}_flat_{u}", f"{q}:bits=2,scale=flat", u, 3, 4, 5)
      for q in ("dither", "trellis") for u in ("one", "three", "n1000", "edges", "zero", "none")],
    *[(f"trellis{states}_{u}", f"trellis:bits=1,states={states}", u, 3, 4, 5)
      for states in (8, 64, 256) for u in ("n1000", "clusters")],
    *[(f"dither_block{size}", f"dither:bits=3,scale=block:{size}", "n1000", 3, 4, 5) for size in (1, 50, 5000)],
    *[(f"trellis_{u}", "trellis:bits=3", u, 3, 4, 5)
      for u in ("equal", "spike", "far", "denormal", "huge", "wide", "signed_zero", "zero", "one", "scaled")],
    ("dither_scaled", "dither:nmse=0.02", "scaled", 3, 4, 5), ("dither_scaled_low", "dither:nmse=20", "scaled", 3, 4, 5),
    ("trellis_low", "trellis:bits=0.05", "clusters", 3, 4, 5), ("dither_low", "dither:bits=0.1", "n4097", 3, 4, 5),
    ("dither_fine", "dither:bits=16,scale=flat", "n63", 3, 4, 5), ("trellis_fine", "trellis:nmse=1e-9", "n1000", 3, 4, 5),
    ("dither_step", "dither:step=0.5,scale=flat", "n1000", 3, 4, 5),
    ("trellis_step", "trellis:step=100000,scale=flat,states=8", "half", 3, 4, 5),
    ("dither_step_zero", "dither:step=10000,scale=flat", "zero", 3, 4, 5),
    ("dither_correlated", "dither:step=2,scale=flat,correlated=1", "n1000", 3, 4, 5),
    ("dither_correlated_low", "dither:bits=0.3,scale=block:100,correlated=1", "n4097", 3, 4, 6),
    ("trellis_rotated", "hadamard+trellis:bits=1", "layers", 6, 5, 4),
    ("dither_masked", "mask:keep=0.3+dither:bits=1", "n4097", 3, 4, 5),
    ("trellis_rules", "*.bias=f32; <300=dither:bits=4; *=trellis:bits=2", "layers", 6, 5, 4),
    ("family_mask_trellis", "train=mask:keep=0.3 | trellis:bits=2", "layers", 6, 5, 4),
    ("dither_excess", "dither:step=0.1,scale=flat", "n1000", 3, 4, 6),
    ("trellis_excess", "trellis:step=0.1,scale=flat", "n1000", 3, 4, 6),
    ("dither_raw", "dither:step=0.1,scale=flat", "n1000", 3, 4, 7),
    ("trellis_raw", "trellis:step=0.1,scale=flat", "n1000", 3, 4, 7),
    ("trellis_keep", "trellis:bits=1", "n4097", 3, 4, 8),
    ("trellis_deep", "trellis:bits=8", "deep", 3, 4, 5), ("dither_deep", "dither:bits=2", "deep", 3, 4, 5),
    ("dither_many_classes", "dither:bits=1,scale=block:2", "n4097", 3, 4, 5),   # whose counts are halved
]
# Settings of `dither` and `trellis`, which are the writer's choice: shape, code and gain for each rule that has them. All
# is zero where none are given.
SETTINGS = {
    "dither_flat_one": [(6, 0, -34)], "dither_flat_three": [(6, 0, 1)], "dither_flat_n1000": [(6, 1161, 26)],
    "dither_flat_edges": [(6, 0, 508)], "trellis_flat_one": [(6, 0, -34)], "trellis_flat_three": [(6, 0, 1)],
    "trellis_flat_n1000": [(6, 1174, 26)], "trellis_flat_edges": [(6, 0, 508)], "trellis8_n1000": [(6, 1164, 0)],
    "trellis8_clusters": [(5, 1148, 0)], "trellis64_n1000": [(6, 1165, 0)], "trellis64_clusters": [(5, 1150, 0)],
    "trellis256_n1000": [(6, 1166, 0)], "trellis256_clusters": [(5, 1150, 0)], "dither_block1": [(0, 1424, 0)],
    "dither_block50": [(6, 1313, 0)], "dither_block5000": [(6, 1193, 0)], "trellis_equal": [(0, 1058, 0)],
    "trellis_spike": [(6, 1288, 0)], "trellis_far": [(6, 1846, 0)], "trellis_denormal": [(1, 1069, 0)],
    "trellis_huge": [(2, 1078, 0)], "trellis_wide": [(6, 1254, 0)], "trellis_signed_zero": [(5, 0, 0)],
    "trellis_one": [(6, 0, 0)], "trellis_scaled": [(0, 1353, 0)], "dither_scaled": [(0, 1221, 0)],
    "dither_scaled_low": [(0, 963, 0)], "trellis_low": [(4, 950, 0)], "dither_low": [(6, 960, 0)],
    "dither_fine": [(6, 1489, 15)], "trellis_fine": [(6, 1554, 0)], "dither_step": [(6, 0, 12)],
    "trellis_step": [(0, 0, 40)], "dither_correlated": [(6, 0, 12)], "dither_correlated_low": [(6, 1047, 0)],
    "trellis_rotated": [(0, 1045, 0)], "dither_masked": [(6, 1090, 0)], "trellis_rules": [(6, 1227, 0), (6, 1215, 0)],
    "family_mask_trellis": [(6, 1110, 0)], "dither_excess": [(2, 0, -45)], "trellis_excess": [(0, 0, -60)],
    "dither_raw": [(4, 0, 80)], "trellis_raw": [(0, 0, 45)], "trellis_keep": [(3, 611, -2)],
    "dither_many_classes": [(1, 980, 1)], "trellis_deep": [(0, 1300, 0)], "dither_deep": [(3, 1060, 1)],
}
COHORTS = {  # place, of how many
    "dither_correlated": (3, 7), "dither_correlated_low": (6, 7), "permk_1_0_n64": (0, 1), "permk_3_0_n1000": (0, 3),
    "permk_3_2_n1000": (2, 3), "permk_7_6_three": (6, 7), "permk_64_5_n64": (5, 64), "permk_5_1_none": (1, 5),
    "permk_rotated": (9, 10),
}
FREE_CASES = [  # name, plan, layout, free parameters, seed, round, client
    ("free_lowrank", "train=lowrank:rank=4 | f32", "layers", "free_lowrank", 6, 5, 4),
    ("free_lowrank_sketched", "train=lowrank:rank=4 | <41=f32; *=hadamard+quantize:bits=2", "layers", "free_lowrank",
     6, 5, 4),
    ("free_mask", "train=mask:keep=0.3,seed=round | *.bias=f32; *=hadamard+mask:keep=0.5+quantize:bits=2", "layers",
     "free_mask", 6, 5, 4),
]
SUMS = [  # name, plan, update, seed, round, (client, weight) ...
    ("sum_f32", "f32", "n63", 3, 0, ((7, 1.0),)),
    ("sum_none", ROTATED, "n63", 3, 128, ()),
    ("sum_shared", "hadamard+mask:keep=0.3,seed=round+hadamard:seed=client+quantize:bits=3", "n1000", 3, 9,
     ((300, 600.0), (2 ** 64 - 1, 0.1), (0, 3.0), (1, 1e-3))),
    ("sum_rules", "*.bias=f32; <300=mask:keep=0.4+bf16; *=hadamard+quantize:bits=2,block=50", "layers",
     2 ** 64 - 1, 2 ** 28 - 1, ((5, 2.0), (4, 7.5), (140, 11.0))),
    ("sum_predicted", "*.bias=bf16; *=predict:rank=2+quantize:bits=3", "layers", 6, 5, ((5, 2.0), (4, 7.3), (140, 11.0))),
    ("sum_sketches", "countsketch:rows=2,keep=0.3+quantize:bits=4", "n1000", 6, 5, ((5, 2.0), (4, 7.3), (140, 11.0))),
    ("sum_medians", "countsketch:rows=3,keep=0.3,estimate=median+bf16", "n1000", 6, 5, ((5, 2.0), (4, 7.3))),
    ("sum_factors", "*.bias=bf16; *=lowrank:rank=2+bf16", "layers", 6, 5, ((5, 2.0), (4, 7.3), (140, 11.0))),
]


def write(path, data):
    if path.exists() and path.read_bytes() != data:
        raise SystemExit(f"{path} has other bytes already: a change of the format needs new ids, and new names here")
    path.write_bytes(data)


def same_arrays(path, arrays):
    """An archive of other bytes may hold the same arrays: versions of Python write zip headers differently."""
    stored = np.load(path)
    stored = {"": stored} if isinstance(stored, np.ndarray) else dict(stored)
    return list(stored) == list(arrays) and all(
        stored[name].dtype == value.dtype and stored[name].shape == value.shape and
        stored[name].tobytes() == value.tobytes() for name, value in arrays.items())


def free_bytes(codec):
    """Why a writer is free to write others, if it is."""
    if any(rule.coder.name == "zstd" for rule in codec.plan.rules):
        return "those of a zstd library"
    searched = any(getattr(t, "matrices", None) for chain in codec.chains for t in chain.transforms)
    return "those of a search for factors" if searched else None


def write_frame(name, codec, values, case):
    path = HERE / "frames" / f"{name}.fb"
    frame = codec.encode(values, case["seed"], case["round"], case["client"], case.get("cohort", (0, 1)))
    if free_bytes(codec) and path.exists():
        frame = path.read_bytes()  # those that are there stay
    write(path, frame)
    return frame


def digest(values):
    return xxhash.xxh3_64_hexdigest(values.astype("<f4").tobytes())


def flat(arrays):
    return np.concatenate([value.reshape(-1) for value in arrays.values()])


def layout_of(arrays):
    return [(name, value.shape) for name, value in arrays.items()]


def make_cases(sources):
    for name, plan, source, seed, round_, client in CASES + RANS + DITHERED:
        codec = Codec(plan, layout_of(sources[source]))
        for chain, way in zip(codec.chains, (WAYS | OTHER_WAYS).get(name, ())):
            chain.way = way
        update = flat(sources[source])
        case = {"name": name, "plan": plan, "update": file_of(source, sources), "seed": seed, "round": round_,
                "client": client}
        if name in COHORTS:
            case["cohort"] = COHORTS[name]
        for chain, settings in zip([chain for chain in codec.chains if chain.known], SETTINGS.get(name, [])):
            chain.quantizer.settings = settings
        if codec.family:
            # A member of the family: the map from free parameters is linear, so its columns give its inverse.
            columns = np.stack([codec.expand(unit, seed, round_) for unit in np.eye(codec.elements, dtype=F32)], 1)
            if codec.family.stage.name == "mask":
                update = (columns.T @ update).astype(F32)
            else:
                update = np.linalg.lstsq(columns, update.astype(np.float64), rcond=None)[0].astype(F32)
                case["inexact"] = "the program's projection and expansion round otherwise"
        frame = write_frame(name, codec, update, case)
        if free_bytes(codec):
            case["free_bytes"] = free_bytes(codec)
        if name in OTHER_WAYS:
            case["free_bytes"] = "another way than the program's choice"
        if any(chain.known for chain in codec.chains):
            case["free_bytes"] = "settings that the program may choose otherwise"
        decoded = codec.decode(frame, seed, case.get("cohort", (0, 1)))
        case["decoded_xxh3"] = digest(codec.expand(decoded, seed, round_))
        yield case


def make_free_cases(sources):
    for name, plan, layout, free, seed, round_, client in FREE_CASES:
        codec = Codec(plan, layout_of(sources[layout]))
        case = {"name": name, "plan": plan, "layout": file_of(layout, sources), "free": file_of(free, sources),
                "seed": seed, "round": round_, "client": client}
        frame = write_frame(name, codec, flat(sources[free]), case)
        yield case | {"decoded_xxh3": digest(codec.decode(frame, seed))}


def make_sums(sources):
    for name, plan, source, seed, round_, clients in SUMS:
        codec, values = Codec(plan, layout_of(sources[source])), flat(sources[source])
        frames = []
        for client, weight in clients:
            case = {"seed": seed, "round": round_, "client": client}
            frames.append((write_frame(f"{name}_{client}", codec, np.roll(values, client % 17), case), weight))
        write(HERE / "frames" / f"{name}.sum", write_partial_sum(codec, frames, seed, round_))
        yield {"name": name, "plan": plan, "layout": file_of(source, sources), "seed": seed, "round": round_,
               "frames": [[f"{name}_{client}.fb", weight] for client, weight in clients]}


def file_of(source, sources):
    return source + (".npy" if list(sources[source]) == [""] else ".npz")


def main():
    one, several, free = updates()
    for folder in ("frames", "updates"):
        (HERE / folder).mkdir(exist_ok=True)
    sources = {name: {"": values} for name, values in (one | free).items()} | several
    for name, arrays in sources.items():
        path, data = HERE / "updates" / file_of(name, sources), io.BytesIO()
        np.save(data, arrays[""]) if list(arrays) == [""] else np.savez(data, **arrays)
        write(path, path.read_bytes() if path.exists() and same_arrays(path, arrays) else data.getvalue())
    for path, entries in (("cases", make_cases), ("free_cases", make_free_cases), ("sums", make_sums)):
        made = list(entries(sources))
        (HERE / f"{path}.json").write_text(json.dumps(made, indent=1) + "\n")
        print(f"{path}: {len(made)}")


if __name__ == "__main__":
    main()
