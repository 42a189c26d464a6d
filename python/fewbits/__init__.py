"""Model updates of federated and distributed training in a few bits a coordinate, with a mean that stays right.

    import fewbits, numpy
    x = numpy.random.default_rng(1).standard_normal(100_000, dtype=numpy.float32)
    codec = fewbits.Codec("trellis:bits=2", x.size)
    frame = codec.encode(x, seed=1, round=0, client=3)            # about 25 kB
    total = fewbits.Aggregator(codec, seed=1, round=0)
    total.add(frame, client=3, weight=2.0)
    mean = total.mean()                                           # float32, unbiased
"""

from fewbits._core import Aggregator, Codec, Encoder, __version__, stages
from fewbits._errors import Error, ErrorCode

__all__ = ["Aggregator", "Codec", "Encoder", "Error", "ErrorCode", "__version__", "stages"]
