"""Ten clients send their updates in two bits a coordinate; the server averages the frames.

    python numpy_in_20_lines.py
"""
import numpy

import fewbits

CLIENTS, ROWS, COLUMNS = 10, 500, 400
random = numpy.random.default_rng(1)
common = random.standard_normal((ROWS, COLUMNS)) * numpy.geomspace(1, 0.01, ROWS)[:, None]   # rows of a layer differ in size
updates = [{"layer": (common * (1 + 0.3 * random.standard_normal(common.shape))).astype(numpy.float32)} for _ in range(CLIENTS)]

codec = fewbits.Codec("trellis:bits=2", updates[0])
frames = [codec.encode(update, seed=42, round=0, client=client) for client, update in enumerate(updates)]

total = fewbits.Aggregator(codec, seed=42, round=0)
for client, frame in enumerate(frames):
    total.add(frame, client=client, weight=100 + client)   # a server would check who has sent it
mean = codec.unflatten(total.mean())["layer"]

exact = numpy.average([update["layer"] for update in updates], axis=0, weights=[100 + client for client in range(CLIENTS)])
print(f"bytes a client: {len(frames[0])} of {4 * ROWS * COLUMNS}, {8 * len(frames[0]) / (ROWS * COLUMNS):.2f} bits a coordinate")
print(f"error of the mean: {numpy.square(mean - exact).sum() / numpy.square(exact).sum():.4f} of its energy")
