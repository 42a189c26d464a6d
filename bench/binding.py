"""What Python adds to an encode: Encoder.encode called from Python beside the same calls in C++, interleaved in one process.

    PYTHONPATH=build/release/python python bench/binding.py [--size N]

In C++ a frame is written into memory that is used again, in Python into new `bytes` each time.
"""

import argparse
import time

import numpy as np

import fewbits

ROUNDS = 7     # of both kinds of calls, so that other work on the machine meets both
REPEATS = 10   # in a round
PLANS = ("f32", "quantize:bits=2", "hadamard+quantize:bits=4", "trellis:bits=2,states=8", "trellis:bits=0.01")


def microseconds(encoder, x):
    """The fastest call. As fewbits.measure does, it encodes a fresh copy and decodes the frame: caches are as warm as there."""
    best = float("inf")
    for repeat in range(REPEATS):
        own = x.copy()
        start = time.perf_counter()
        frame = encoder.encode(own, seed=1, round=repeat, client=repeat)
        best = min(best, time.perf_counter() - start)
        encoder.codec.decode(frame, seed=1)
    return 1e6 * best


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=2**20, help="coordinates [%(default)s]")
    size = parser.parse_args().size
    x = np.random.default_rng(1).standard_normal(size, dtype=np.float32)
    print(f"{'plan':28}{'C++ us':>10}{'Python us':>12}{'ratio':>8}")
    for plan in PLANS:
        codec = fewbits.Codec(plan, size)
        encoder = fewbits.Encoder(codec)
        inside, outside = [], []
        for _ in range(ROUNDS):
            inside.append(fewbits.measure(codec, x, repeats=REPEATS, seed=1)["encode_ns_per_coordinate"] * size / 1000)
            outside.append(microseconds(encoder, x))
        print(f"{plan:28}{min(inside):10.0f}{min(outside):12.0f}{min(outside) / min(inside):8.2f}", flush=True)


if __name__ == "__main__":
    main()
