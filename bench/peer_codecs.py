"""Codecs of other libraries, each by its own public interface, and fewbits': what peers.py measures.

    peer_codecs.py LIBRARY VECTORS.npz    measures all codecs of a library in this process: a line of JSON each

VECTORS has arrays "vector/tensor". A codec gets the tensors of a vector (a dict of float32 arrays). Everything runs on one core.
"""

import dataclasses
import json
import os
import sys
import tempfile
import time
import warnings
from typing import Any, Callable

import numpy as np

SEEDS = 16            # encodings that error and bias are means of
SECONDS = 10          # after which a slow codec has fewer of them, but LEAST
LEAST = 3
TIMED_SECONDS = 0.5   # at least this for the fastest of many encodings, and for that of decodings

# Of all threads of this process, which share a core: a busy machine takes longer by the clock.
clock = time.process_time


@dataclasses.dataclass
class Codec:
    name: str
    encode: Callable[[dict, int], Any]  # tensors and a seed to what is sent
    size: Callable[[Any], int]          # its bytes
    decode: Callable[[Any], Any]        # to the vector, or to its tensors
    together: bool = False              # encode decodes as well


def by_tensor(name, encode, decode):
    """A codec of arrays to bytes: one array after the other."""
    return Codec(name, lambda tensors, seed: [(encode(x), x.shape) for x in tensors.values()],
                 lambda sent: sum(len(data) for data, _ in sent),
                 lambda sent: [decode(data, shape) for data, shape in sent])


def as_matrix(x):
    return x if x.ndim == 2 else x.reshape(1, -1)


def fewbits(tensors):
    import fewbits as library
    plans = ["f32", "f16", "f32+zstd", "quantize:bits=8", "stc:keep=0.01", "stc:keep=0.1", "powersgd:rank=4", "powersgd:rank=16"]
    plans += [f"eden:bits={bits}" for bits in (1, 2, 4, 8)]
    plans += [f"trellis:bits={bits}" for bits in (0.1, 0.2, 0.5, 1, 2, 4, 8)]
    for plan in plans:
        codec = library.Codec(plan, tensors)
        yield Codec(plan, lambda x, seed, codec=codec: (codec.encode(x, seed=seed, round=0, client=1), seed),
                    lambda sent: len(sent[0]), lambda sent, codec=codec: codec.decode(sent[0], seed=sent[1]))


def openfl(tensors):
    from openfl.pipelines import EdenPipeline, KCPipeline, SKCPipeline, STCPipeline
    from openfl.protocols import base_pb2
    from openfl.protocols.utils import construct_model_proto, deconstruct_model_proto
    pipelines = {f"EdenPipeline(n_bits={bits})": EdenPipeline(n_bits=bits) for bits in (1, 2, 4, 8)}
    pipelines |= {f"STCPipeline(p_sparsity={p})": STCPipeline(p_sparsity=p) for p in (0.01, 0.1)}
    pipelines |= {"KCPipeline(n_clusters=6)": KCPipeline(n_clusters=6),
                  "SKCPipeline(p_sparsity=0.1, n_clusters=6)": SKCPipeline(p_sparsity=0.1, n_clusters=6)}
    for name, pipeline in pipelines.items():
        def encode(x, seed, pipeline=pipeline):
            np.random.seed(seed)
            return construct_model_proto(x, 0, pipeline).SerializeToString()

        def decode(data, pipeline=pipeline):
            return list(deconstruct_model_proto(base_pb2.ModelProto.FromString(data), pipeline)[0].values())

        yield Codec(name, encode, len, decode)


def hivemind(tensors):
    import torch
    from hivemind.compression import deserialize_torch_tensor, serialize_torch_tensor
    from hivemind.proto import runtime_pb2
    for kind in ("UNIFORM_8BIT", "QUANTILE_8BIT", "BLOCKWISE_8BIT", "FLOAT16", "MEANSTD_16BIT"):
        number = runtime_pb2.CompressionType.Value(kind)
        yield by_tensor(kind,
                        lambda x, number=number: serialize_torch_tensor(torch.from_numpy(x), number).SerializeToString(),
                        lambda data, shape: deserialize_torch_tensor(runtime_pb2.Tensor.FromString(data)).numpy())


def bitsandbytes(tensors):
    import torch
    from bitsandbytes import functional

    def blockwise(name, quantize, dequantize):
        """Codes and the scale of each block; both ends know the code book."""
        return Codec(name, lambda x, seed: [quantize(torch.from_numpy(tensor)) for tensor in x.values()],
                     lambda sent: sum(codes.nbytes + state.absmax.nbytes for codes, state in sent),
                     lambda sent: [dequantize(codes, state).numpy() for codes, state in sent])

    yield blockwise("quantize_blockwise(blocksize=256)", lambda x: functional.quantize_blockwise(x, blocksize=256),
                    functional.dequantize_blockwise)
    for kind in ("nf4", "fp4"):
        yield blockwise(f"quantize_4bit(blocksize=64, quant_type='{kind}')",
                        lambda x, kind=kind: functional.quantize_4bit(x, blocksize=64, quant_type=kind),
                        functional.dequantize_4bit)


def nvflare(tensors):
    from nvflare.apis.dxo import DXO, DataKind, from_shareable
    from nvflare.apis.fl_context import FLContext
    from nvflare.apis.shareable import Shareable
    from nvflare.apis.utils.decomposers import flare_decomposers
    from nvflare.app_common.decomposers import numpy_decomposers
    from nvflare.app_opt.pt.quantization.dequantizer import ModelDequantizer
    from nvflare.app_opt.pt.quantization.quantizer import ModelQuantizer
    from nvflare.fuel.utils import fobs
    flare_decomposers.register()
    numpy_decomposers.register()
    for kind in ("float16", "adaquant"):
        quantizer, dequantizer = ModelQuantizer(quantization_type=kind), ModelDequantizer()

        def encode(x, seed, quantizer=quantizer):
            message = DXO(DataKind.WEIGHT_DIFF, data=dict(x))
            return fobs.dumps(quantizer.process_dxo(message, Shareable(), FLContext()).to_shareable())

        def decode(data, dequantizer=dequantizer):
            message = from_shareable(fobs.loads(data))
            return list(dequantizer.process_dxo(message, Shareable(), FLContext()).data.values())

        yield Codec(f"ModelQuantizer('{kind}')", encode, len, decode)


def torch(tensors):
    """DDP's hooks on a group of one process: what the backward pass leaves is what all would have."""
    import torch as library
    from torch import distributed
    from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
    if not distributed.is_initialized():
        store = tempfile.NamedTemporaryFile(delete=False).name
        distributed.init_process_group("gloo", rank=0, world_size=1, init_method=f"file://{store}")

    class Gradients(library.nn.Module):
        """Its gradients are the tensors that it is called with."""

        def __init__(self):
            super().__init__()
            self.values = library.nn.ParameterList(library.nn.Parameter(library.zeros(x.shape)) for x in tensors.values())

        def forward(self, gradients):
            return sum((value * gradient).sum() for value, gradient in zip(self.values, gradients))

    def hooked(register):
        model = Gradients()
        parallel = library.nn.parallel.DistributedDataParallel(model, bucket_cap_mb=1000)
        register(parallel)

        def run(x):
            model.zero_grad()
            parallel([library.from_numpy(tensor) for tensor in x.values()]).backward()
            return [value.grad.numpy().copy() for value in model.values]

        return run

    half = hooked(lambda parallel: parallel.register_comm_hook(None, default_hooks.fp16_compress_hook))
    yield Codec("fp16_compress_hook", lambda x, seed: half(x), lambda sent: sum(2 * x.size for x in sent),
                lambda sent: sent, together=True)
    for rank in (4, 16):
        # Without the memory from step to step, as every other codec here. DDP's first two steps are never compressed.
        state = powerSGD_hook.PowerSGDState(None, matrix_approximation_rank=rank, start_powerSGD_iter=2,
                                            use_error_feedback=False, warm_start=False)
        run = hooked(lambda parallel, state=state: parallel.register_comm_hook(state, powerSGD_hook.powerSGD_hook))
        for _ in range(2):
            run(tensors)

        def encode(x, seed, run=run, state=state):
            before = state.compression_stats()[2]
            gradients = run(x)
            return gradients, 4 * (state.compression_stats()[2] - before)

        yield Codec(f"powerSGD_hook(rank {rank})", encode, lambda sent: sent[1], lambda sent: sent[0], together=True)


def zfpy(tensors):
    import zfpy as library
    for rate in (1, 2, 4, 8, 16):
        yield by_tensor(f"compress_numpy(rate={rate})",
                        lambda x, rate=rate: library.compress_numpy(as_matrix(x), rate=rate),
                        lambda data, shape: library.decompress_numpy(data).reshape(shape))


def pysz(tensors):
    from pysz import sz, szConfig, szErrorBoundMode
    rms = float(np.sqrt(np.mean(np.square(np.concatenate([x.ravel() for x in tensors.values()])))))
    for bound in (3, 1, 0.5, 0.1, 0.01):
        def encode(x, bound=bound):
            config = szConfig(x.shape)
            config.errorBoundMode = szErrorBoundMode.ABS
            config.absErrorBound = bound * rms
            return sz.compress(x, config)[0]

        yield by_tensor(f"sz.compress(ABS, {bound} of the RMS)", encode,
                        lambda data, shape: sz.decompress(data, np.float32, shape)[0])


def blosc2(tensors):
    import blosc2 as library
    for bits in (None, 8, 3):
        filters = {"filters": [library.Filter.SHUFFLE], "filters_meta": [0]} if bits is None else \
            {"filters": [library.Filter.TRUNC_PREC, library.Filter.SHUFFLE], "filters_meta": [bits, 0]}
        parameters = library.CParams(codec=library.Codec.ZSTD, clevel=5, typesize=4, nthreads=1, **filters)
        yield by_tensor("compress2(ZSTD, SHUFFLE)" if bits is None else f"compress2(ZSTD, SHUFFLE, TRUNC_PREC {bits})",
                        lambda x, parameters=parameters: library.compress2(x, cparams=parameters),
                        lambda data, shape: np.frombuffer(library.decompress2(data), np.float32).reshape(shape))


def zstandard(tensors):
    import zstandard as library
    for level in (3, 19):
        compressor, decompressor = library.ZstdCompressor(level=level), library.ZstdDecompressor()
        yield by_tensor(f"level {level}", lambda x, compressor=compressor: compressor.compress(x.tobytes()),
                        lambda data, shape: np.frombuffer(decompressor.decompress(data), np.float32).reshape(shape))


LIBRARIES = {f.__name__: f for f in (fewbits, openfl, hivemind, bitsandbytes, nvflare, torch, zfpy, pysz, blosc2, zstandard)}


def flat(values):
    if isinstance(values, np.ndarray):
        return values.ravel().astype(np.float64)
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in values])


class Stopwatch:
    """The fastest of many calls."""

    def __init__(self):
        self.best, self.spent, self.calls = float("inf"), 0.0, 0

    def time(self, call):
        before = clock()
        result = call()
        took = clock() - before
        self.best, self.spent, self.calls = min(self.best, took), self.spent + took, self.calls + 1
        return result

    def milliseconds(self, call):
        """After more calls, where there were too few."""
        while self.calls < LEAST or self.spent < TIMED_SECONDS:
            self.time(call)
        return 1000 * self.best


def measure(codec, tensors):
    x = flat(list(tensors.values()))
    energy = np.sum(np.square(x))
    total, error, size, count = np.zeros_like(x), 0.0, 0, 0
    encoding, decoding = Stopwatch(), Stopwatch()
    while count < LEAST or (count < SEEDS and encoding.spent + decoding.spent < SECONDS):
        count += 1
        sent = encoding.time(lambda: codec.encode(tensors, count))
        decoded = flat(decoding.time(lambda: codec.decode(sent)))
        total += decoded
        error += np.sum(np.square(decoded - x)) / energy
        size += codec.size(sent)
    nmse = error / count
    # The mean of `count` decodings errs by bias + (nmse - bias) / count.
    of_mean = np.sum(np.square(total / count - x)) / energy
    bias = None if nmse == 0 else min(max((count * of_mean / nmse - 1) / (count - 1), 0), 1)
    return {"codec": codec.name, "bits": 8 * size / count / x.size, "nmse": nmse, "of_mean": of_mean, "bias": bias, "seeds": count,
            "encode_ms": encoding.milliseconds(lambda: codec.encode(tensors, 1)),
            "decode_ms": None if codec.together else decoding.milliseconds(lambda: codec.decode(sent))}


def main():
    library, file = sys.argv[1:]
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    warnings.simplefilter("ignore")
    with np.load(file) as arrays:
        vectors = {}
        for name in arrays:
            vector, tensor = name.split("/")
            vectors.setdefault(vector, {})[tensor] = arrays[name]
    for vector, tensors in vectors.items():
        for codec in LIBRARIES[library](tensors):
            # After what libraries print of themselves, which may end without a line.
            print("\n" + json.dumps({"vector": vector, **measure(codec, tensors)}), flush=True)


if __name__ == "__main__":
    main()
