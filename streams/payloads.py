"""The bytes of one payload to one array: `application/x-npy`, or an Open Inference Protocol v2 request in JSON.

What a payload claims is compared with what the model takes before anything of the claimed size exists, so
that a header of a few bytes cannot ask for gigabytes. Every refusal is a `BadPayload` with value and limit.
"""

from __future__ import annotations

import ast
import io
import math
import re
from functools import lru_cache
from typing import Any

import numpy as np

from streams.errors import BadPayload
from streams.openinference import Array, decode_v2_input, encode_v2_request, shorten
from streams.responses import decode_v2_response, encode_v2_response

__all__ = [  # every codec of a payload can be had here; v2 lives in openinference.py and responses.py
    "cast",
    "decode_tensor",
    "decode_v2_response",
    "encode_npy",
    "encode_v2_request",
    "encode_v2_response",
]

Shape = tuple[int, ...]

NPY_MAGIC = b"\x93NUMPY"
NPY_HEADER_BYTES_MAX = 1024  # numpy writes 118 for 32 dimensions; longer ones are structured types or an attack
NPY_HEADERS_KEPT = 256
JSON_BYTES_PER_ELEMENT = 64  # 25 for the longest FP64 text, the rest for indentation
JSON_BYTES_BESIDE = 65_536  # names, ids and parameters of a request
_DESCR = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248])")


def decode_tensor(data: bytes, content_type: str, *, shape: Shape, dtype: str) -> Array:
    """One item of a query, exactly as the model takes it.

    Shapes:  `shape` is one item; a leading batch axis of 1 is accepted and removed. The result is `shape`.
    Returns: C-contiguous, of `dtype`; of npy it may be a read-only view of `data`. npy may carry NaN and
             infinities, which then concern this item only; JSON has none.
    Raises:  BadPayload, also on a content type that is not a tensor.
    """
    media = content_type.partition(";")[0].strip().lower()
    if media == "application/x-npy":
        array = _decode_npy(data, shape)
    elif media == "application/json":
        limit = JSON_BYTES_BESIDE + JSON_BYTES_PER_ELEMENT * math.prod(shape)
        if len(data) > limit:
            raise BadPayload(f"JSON of {len(data)} bytes > {limit}, the most for shape {shape}")
        array = decode_v2_input(data, shape)
    else:
        raise BadPayload(f"content type {shorten(content_type)} is not a tensor; use application/x-npy or -/json (v2)")
    return cast(array, np.dtype(dtype))


def encode_npy(array: Array) -> bytes:
    """`array` as `application/x-npy`, C order.

    Raises: BadPayload on a dtype other than booleans, integers and floats.
    """
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise BadPayload(f"dtype {array.dtype} has no npy form here; use booleans, integers or floats up to 64 bits")
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)
    return file.getvalue()


def cast(array: Array, dtype: np.dtype[Any]) -> Array:
    """`array` as `dtype` where that loses no more than float rounding.

    Raises: BadPayload where a value would overflow, be cut to an integer, or not be representable as a float.
    """
    if array.dtype == dtype:
        return array
    source, target = array.dtype.kind, dtype.kind
    if target == "b" or (source == "f" and target in "iu"):
        raise BadPayload(f"{array.dtype} cannot become {dtype} without loss")
    with np.errstate(over="ignore"):
        result = array.astype(dtype)
    if source == "f" and not np.array_equal(np.isfinite(array), np.isfinite(result)):
        raise BadPayload(f"a {array.dtype} value > {np.finfo(dtype).max}, the largest {dtype}")
    if source in "iu" and array.size:
        low, high = int(array.min()), int(array.max())
        if target in "iu":
            least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        else:
            most = 2 ** (int(np.finfo(dtype).nmant) + 1)
            least = -most
        if low < least or high > most:
            raise BadPayload(f"values {low} to {high} are not all within {least} to {most}, what {dtype} holds exactly")
    return result


def _decode_npy(data: bytes, shape: Shape) -> Array:
    if data[:6] != NPY_MAGIC or len(data) < 12:
        raise BadPayload(f"not an npy file: it begins {shorten(data[:8])}, not {NPY_MAGIC!r}")
    version = (data[6], data[7])
    if version not in ((1, 0), (2, 0)):
        raise BadPayload(f"npy version {version[0]}.{version[1]}; 1.0 and 2.0 are read")
    start = 10 if version == (1, 0) else 12
    length = int.from_bytes(data[8:start], "little")
    if length > NPY_HEADER_BYTES_MAX:
        raise BadPayload(f"npy header of {length} bytes > {NPY_HEADER_BYTES_MAX}")
    end = start + length
    if end > len(data):
        raise BadPayload(f"npy header ends at byte {end} of {len(data)}")

    claimed, fortran, dtype = _npy_header(data[start:end])
    if claimed not in (shape, (1, *shape)):
        raise BadPayload(f"npy shape {shorten(claimed)} is not {shape}, what the model takes")
    count = math.prod(shape)
    if len(data) - end != count * dtype.itemsize:
        raise BadPayload(f"npy body of {len(data) - end} bytes != {count * dtype.itemsize}, {shape} of {dtype}")
    flat = np.frombuffer(data, dtype=dtype, count=count, offset=end)
    return np.ascontiguousarray(flat.reshape(shape, order="F")) if fortran and len(shape) > 1 else flat.reshape(shape)


@lru_cache(maxsize=NPY_HEADERS_KEPT)  # the queries of one client carry the same header, and parsing takes ~20 us
def _npy_header(text: bytes) -> tuple[Shape, bool, np.dtype[Any]]:
    """Shape, whether Fortran order, and dtype; numpy's own reader would warn and re-tokenize what it cannot parse."""
    try:
        header = ast.literal_eval(text.decode("latin1").strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise BadPayload(f"npy header {shorten(text)} is not a literal: {type(error).__name__}") from None
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise BadPayload(f"npy header {shorten(text)} has not exactly descr, fortran_order and shape")
    descr, fortran, shape = header["descr"], header["fortran_order"], header["shape"]
    if not isinstance(descr, str) or not _DESCR.fullmatch(descr):
        raise BadPayload(f"npy dtype {shorten(descr)} is not one of b1, i1 to i8, u1 to u8, f2 to f8")
    if not isinstance(fortran, bool):
        raise BadPayload(f"npy fortran_order {shorten(fortran)} is not True or False")
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise BadPayload(f"npy shape {shorten(shape)} is not a tuple of sizes")
    return shape, fortran, np.dtype(descr)
