"""fewbits as a codec of numcodecs, for chunks of float32 in Zarr and others.

    numcodecs.get_codec({"id": "fewbits", "plan": "trellis:bits=2"})
    zarr.create_array(..., filters=[fewbits.numcodecs.Fewbits(plan="trellis:bits=4")])       # with zarr_format=2

The codec loses precision: `fewbits measure` says how much. It is registered under the id "fewbits" as the package is installed,
and when this module is imported.
"""

import hashlib
import struct
import typing

import numcodecs.abc
import numcodecs.compat
import numcodecs.registry
import numpy as np
import numpy.typing as npt

import fewbits

__all__ = ["Fewbits"]

_HEADER = struct.Struct("<IQ")   # magic, number of values
_MAGIC = 0x3157_4246             # "FBW1"


class Fewbits(numcodecs.abc.Codec):
    """Encodes float32 values by a plan.

    plan: e.g. "trellis:bits=2"; fewbits.stages() and docs/codecs.md say what it may name. The layout is one vector.
    seed: of the randomness, 0 to 2^64 - 1. What is drawn depends on it and on the values: the same values give the same bytes,
        other chunks other errors.

    Bytes: 12 for the number of values, then a frame.
    """

    codec_id = "fewbits"

    def __init__(self, plan: str, seed: int = 0) -> None:
        codec = fewbits.Codec(plan, 1)   # refused now, not at the first chunk
        if codec.structured or codec.describe()["cohort"] != 0:
            raise ValueError(f"plan '{plan}' is for clients of a round: a chunk stands alone")
        self.plan = codec.plan
        self.seed = int(seed)

    def encode(self, buf: object) -> bytes:
        """buf: float32 values in an array of any shape, or their bytes, all finite. Raises TypeError for other types."""
        array = numcodecs.compat.ensure_contiguous_ndarray(buf)
        if array.dtype != np.float32 and array.dtype.itemsize != 1:
            raise TypeError(f"fewbits encodes float32 values, not {array.dtype}: put numcodecs.AsType('float32', '{array.dtype}') before it")
        if array.nbytes % 4:
            raise TypeError(f"{array.nbytes} bytes are no float32 values")
        values = array.reshape(-1).view(np.float32)
        client = int.from_bytes(hashlib.blake2b(values, digest_size=8).digest(), "little")
        frame = fewbits.Codec(self.plan, values.size).encode(values, seed=self.seed, round=0, client=client)
        return _HEADER.pack(_MAGIC, values.size) + frame

    def decode(self, buf: object, out: object = None) -> npt.NDArray[np.float32]:
        """The values: float32, one axis. Raises fewbits.Error for bytes that this codec has not written.

        Memory: as many values as the chunk says it has, which may be many in few bytes; where chunks are not trusted give `out`.
        """
        data = memoryview(numcodecs.compat.ensure_bytes(buf))
        if len(data) < _HEADER.size:
            raise fewbits.Error("the bytes end in the header of a chunk", fewbits.ErrorCode.TRUNCATED, len(data))
        magic, size = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise fewbits.Error("no chunk of fewbits", fewbits.ErrorCode.NOT_A_FRAME, 0)
        if out is not None and memoryview(out).nbytes != 4 * size:   # type: ignore[arg-type]
            raise fewbits.Error(f"the chunk has {size} values, there is room for {memoryview(out).nbytes // 4}", fewbits.ErrorCode.BAD_ARGUMENT)   # type: ignore[arg-type]
        # A damaged number is found by the fingerprint, of which it is part, before it is believed.
        codec = fewbits.Codec(self.plan, size)
        if fewbits.inspect(data[_HEADER.size:])["fingerprint"] != codec.fingerprint:
            raise fewbits.Error(f"the chunk was not written by '{self.plan}' for {size} values", fewbits.ErrorCode.WRONG_PLAN, 0)
        values = codec.decode(data[_HEADER.size:], seed=self.seed)
        return typing.cast(npt.NDArray[np.float32], numcodecs.compat.ndarray_copy(values, out))


numcodecs.registry.register_codec(Fewbits)
