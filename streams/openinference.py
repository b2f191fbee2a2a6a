"""Open Inference Protocol v2, the request: one input tensor in, named tensors out.

JSON is the only form: no BF16 (the protocol has none) and no BYTES inputs (no model here takes text yet). NaN and
infinities do not exist in JSON, so they are refused in both directions; `application/x-npy` carries them.

Source: kserve/open-inference-protocol, specification/protocol/inference_rest.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any

import msgspec
import numpy as np

from streams.errors import BadPayload

Array = np.ndarray[Any, Any]

DATATYPES: dict[str, str] = {  # of the protocol -> of numpy
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}
_DATATYPE_OF = {numpy_name: name for name, numpy_name in DATATYPES.items()}
_ELEMENT: dict[str, type] = {"b": bool, "i": int, "u": int, "f": float}
Size = Annotated[int, msgspec.Meta(ge=0)]


class _Input(msgspec.Struct):
    name: str
    datatype: str
    shape: tuple[Size, ...]
    data: msgspec.Raw = msgspec.Raw()


class _Request(msgspec.Struct):
    inputs: Annotated[list[_Input], msgspec.Meta(min_length=1, max_length=64)]


_encoder = msgspec.json.Encoder()
_request_decoder = msgspec.json.Decoder(_Request)


def decode_v2_input(data: bytes, shape: tuple[int, ...]) -> Array:
    """The one input of a v2 request, in the datatype that it declares.

    Shapes:  `shape` is one item; the request may say `[1, *shape]`. `data` is flat or nested as its shape says.
    Raises:  BadPayload.
    """
    try:
        inputs = _request_decoder.decode(data).inputs
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadPayload(f"not a v2 request: {reason(error, data)}") from None
    if len(inputs) != 1:
        raise BadPayload(f"the request has {len(inputs)} inputs; the model takes 1")
    tensor = inputs[0]
    dtype = DATATYPES.get(tensor.datatype)
    if dtype is None:
        why = "has no JSON form here" if tensor.datatype in ("BYTES", "BF16") else "is not of the protocol"
        raise BadPayload(f"datatype {shorten(tensor.datatype)} {why}; use one of {', '.join(DATATYPES)}")
    if tensor.shape not in (shape, (1, *shape)):
        raise BadPayload(f"shape {shorten(list(tensor.shape))} is not {list(shape)}, what the model takes")
    raw = bytes(tensor.data)
    if not raw:
        raise BadPayload(f"input {shorten(tensor.name)} has no data; the binary extension is not read, use npy")
    nested = raw[1:64].lstrip()[:1] == b"["
    try:
        values = _data_decoder(_ELEMENT[np.dtype(dtype).kind], len(tensor.shape) if nested else 1).decode(raw)
        with np.errstate(over="ignore"):  # said below, with the limit
            array = np.array(values, dtype=dtype)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadPayload(f"data is not {tensor.datatype}: {reason(error, raw)}") from None
    except (ValueError, OverflowError) as error:  # ragged, or out of the datatype's range: numpy names both
        raise BadPayload(f"data is not {list(tensor.shape)} of {tensor.datatype}: {shorten(str(error))}") from None
    if (nested and array.shape != tensor.shape) or array.size != math.prod(shape):
        raise BadPayload(f"data is {list(array.shape)}, {array.size} elements; its shape says {list(tensor.shape)}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BadPayload(f"a value > {np.finfo(array.dtype).max}, the largest {tensor.datatype}")
    return array.reshape(shape)


def encode_v2_request(
    inputs: Mapping[str, Array],
    *,
    id: str | None = None,  # noqa: A002 -- the protocol's word
    parameters: Mapping[str, Any] | None = None,
) -> bytes:
    """A v2 request with flat data; floats are written exactly.

    Raises: BadPayload on NaN, infinities and dtypes that JSON or the protocol lacks.
    """
    request: dict[str, Any] = {}
    if id is not None:
        request["id"] = id
    if parameters:
        request["parameters"] = dict(parameters)
    request["inputs"] = [
        {"name": name, "shape": array.shape, "datatype": datatype_of(array), "data": finite(array, name)}
        for name, array in inputs.items()
    ]
    return _encoder.encode(request)


def datatype_of(array: Array) -> str:
    """The protocol's name of `array.dtype`, byte order aside.

    Raises: BadPayload if it has none.
    """
    name = _DATATYPE_OF.get(array.dtype.newbyteorder("=").name)
    if name is None:
        raise BadPayload(f"dtype {array.dtype} is not one of {', '.join(_DATATYPE_OF)}")
    return name


def finite(array: Array, name: str) -> list[Any]:
    """The flat list of `array`, whose floats JSON can write.

    Raises: BadPayload on NaN or an infinity.
    """
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise BadPayload(f"{name!r} has {bad} NaN or infinite values; JSON has none, send application/x-npy")
    values: list[Any] = array.ravel().tolist()
    return values


def shorten(value: object, limit: int = 80) -> str:
    """repr of something that a stranger sent, cut so that it can stand in a message."""
    text = repr(value)
    return text if len(text) <= limit else text[:limit] + "..."


@lru_cache(maxsize=128)
def _data_decoder(element: type, depth: int) -> msgspec.json.Decoder[Any]:
    kind: Any = element
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind)


def reason(error: Exception, data: bytes) -> str:
    """Why `data` could not be decoded, in words."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, msgspec.DecodeError) and (b"NaN" in data or b"Infinity" in data):
        return f"{error}; JSON has no NaN or Infinity, send application/x-npy"
    return str(error)
