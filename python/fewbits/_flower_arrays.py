"""What fewbits.flower does with Flower's records: differences of models, and the records that it adds to messages."""

import typing

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict

KEY = "fewbits"                  # of the ConfigRecord, and of the client's state
STYPE = "fewbits/v1"             # of the array that holds a frame
FRAME = "frame"
_MOD_FAILED_PRECONDITION = 6     # flwr's ErrorCode


class Refused(Exception):
    """A reply, or a request, cannot be used."""


def is_integer(dtype: str) -> bool:
    return np.dtype(dtype).kind in "biu"


def layout(arrays: ArrayRecord, floats_only: bool = False) -> dict[str, typing.Any]:
    """Names and shapes; differences of integers are int64, modulo 2^64."""
    for name, array in arrays.items():
        if np.dtype(array.dtype).kind not in "biuf":
            raise TypeError(f"fewbits: '{name}' is of {array.dtype}: only arrays of floats, integers and bools can be averaged")
    return {name: (tuple(array.shape), "int64") if is_integer(array.dtype) else tuple(array.shape) for name, array in arrays.items()
            if not (floats_only and is_integer(array.dtype))}


def _difference(new: np.ndarray, base: np.ndarray) -> np.ndarray:
    if new.dtype.kind in "biu":
        return np.asarray(new).astype(np.int64) - np.asarray(base).astype(np.int64)
    old, now = np.asarray(base, np.float64), np.asarray(new, np.float64)
    # What training leaves alone has no difference, not even infinity, as of masks.
    return np.subtract(now, old, out=np.zeros(now.shape), where=np.asarray(now != old)).astype(np.float32)


def differences(new: ArrayRecord, base: ArrayRecord, floats_only: bool = False) -> dict[str, np.ndarray]:
    if list(new.keys()) != list(base.keys()):
        raise Refused("the names of the arrays that training returned are not those that it was given")
    found = {}
    for name, array in new.items():
        if tuple(array.shape) != tuple(base[name].shape):
            raise Refused(f"'{name}' has shape {tuple(array.shape)} after training, {tuple(base[name].shape)} before")
        if is_integer(array.dtype) != is_integer(base[name].dtype):
            raise Refused(f"'{name}' is of {array.dtype} after training, {base[name].dtype} before")
        if not (floats_only and is_integer(array.dtype)):
            found[name] = _difference(array.numpy(), base[name].numpy())
    return found


def as_before(arrays: ArrayRecord, base: ArrayRecord) -> ArrayRecord:
    """Each array in base's type: Flower's means make float64 of integers."""
    if arrays.keys() != base.keys():
        return arrays
    return ArrayRecord({name: array if array.dtype == base[name].dtype else Array(_as_type(array.numpy(), base[name].dtype))
                        for name, array in arrays.items()})


def _as_type(values: np.ndarray, dtype: str) -> np.ndarray:
    return np.asarray((np.rint(values) if is_integer(dtype) and values.dtype.kind == "f" else values).astype(dtype))


def added(base: ArrayRecord, update: dict[str, np.ndarray]) -> ArrayRecord:
    """base + update, each array in base's type; what the update does not name stays."""
    arrays = {}
    for name, array in base.items():
        if name not in update:
            arrays[name] = array
            continue
        old = array.numpy()
        wide = np.int64 if is_integer(array.dtype) else np.float64
        arrays[name] = Array(_as_type(old.astype(wide) + update[name], array.dtype))
    return ArrayRecord(arrays)


def model_bytes(arrays: ArrayRecord) -> int:
    return sum(int(np.prod(array.shape)) * np.dtype(array.dtype).itemsize for array in arrays.values())


def bytes_array(data: bytes) -> Array:
    return Array(dtype="uint8", shape=(len(data),), stype=STYPE, data=data)


def frame_of(reply: Message) -> bytes | None:
    """Of a reply that has one ArrayRecord with one frame."""
    arrays = list(reply.content.array_records.values())
    if len(arrays) != 1 or list(arrays[0].keys()) != [FRAME] or arrays[0][FRAME].stype != STYPE:
        return None
    return arrays[0][FRAME].data


def refusal(message: Message, reason: str) -> Message:
    return Message(Error(code=_MOD_FAILED_PRECONDITION, reason="fewbits: " + reason), reply_to=message)


def with_request(message: Message, request: ConfigRecord) -> Message:
    # Another RecordDict: strategies give one to all their messages.
    message.content = RecordDict({**message.content, KEY: request})
    return message


def real(request: ConfigRecord, key: str) -> float:
    return float(typing.cast(float, request[key]))


def whole(request: ConfigRecord, key: str) -> int:
    return int(typing.cast(int, request[key]))


def number_in(content: RecordDict, key: str) -> float:
    """A client's own number, such as of its examples, of its one MetricRecord. Raises Refused."""
    metrics = list(content.metric_records.values())
    if len(metrics) != 1 or key not in metrics[0] or isinstance(metrics[0][key], list):
        raise Refused(f"it answered without a number '{key}' in one MetricRecord")
    return float(typing.cast(float, metrics[0][key]))
