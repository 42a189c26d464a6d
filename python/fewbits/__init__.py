"""Model updates of federated and distributed training in a few bits a coordinate, with a mean that stays right.

    import fewbits, numpy
    x = numpy.random.default_rng(1).standard_normal(100_000, dtype=numpy.float32)
    codec = fewbits.Codec("trellis:bits=2", x.size)
    frame = codec.encode(x, seed=1, round=0, client=3)            # about 25 kB
    total = fewbits.Aggregator(codec, seed=1, round=0)
    total.add(frame, client=3, weight=2.0)
    mean = total.mean()                                           # float32, unbiased

Codec, Encoder: plans, and frames of updates.     Aggregator: the mean of a round, from frames that nobody vouches for.
ErrorFeedback: a client's memory for biased plans.     Profile, ProfileLearner: scales learned by the server, for the lowest rates.
Downlink, DownlinkView: models that go down as compressed differences.
Integers: updates whose plain sum is enough, for all-reduce and secure aggregation.
Structure: training inside a random mask or a low rank.     measure, describe, stages, presets, inspect: what plans cost and promise.

In packages of their own, so that none is needed: fewbits.secure (secure aggregation), fewbits.privacy (noise, accountants),
fewbits.federated (training by the harness, of your own models too), fewbits.torch (communication hooks of DistributedDataParallel,
structured updates, modules for the harness), fewbits.flower (mod and strategies), fewbits.numcodecs, fewbits.plot (pictures),
fewbits.report.
"""

import typing

from fewbits import _core
from fewbits._core import (Aggregator, Codec, Downlink, DownlinkView, Encoder, ErrorFeedback, Integers, Profile, ProfileLearner, Structure,
                           __version__, inspect, measure, presets, stages)
from fewbits._errors import Error, ErrorCode

__all__ = ["Aggregator", "Codec", "Downlink", "DownlinkView", "Encoder", "Error", "ErrorCode", "ErrorFeedback", "Integers", "Profile", "ProfileLearner",
           "Structure", "__version__", "describe", "inspect", "measure", "presets", "stages"]

for _class in (Aggregator, Codec, Downlink, DownlinkView, Encoder, Error, ErrorCode, ErrorFeedback, Integers, Profile, ProfileLearner, Structure):
    _class.__module__ = "fewbits"   # where they are public: in help, errors and pickles
del _class


def describe(plan: str, layout: "_core._Layout") -> dict[str, typing.Any]:
    """What a plan promises for a layout before anything is coded: as Codec(plan, layout).describe()."""
    return Codec(plan, layout).describe()
