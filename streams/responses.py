"""The value of an `ok` answer: an Open Inference Protocol v2 response (answers.py has the error object).

Source: kserve/open-inference-protocol, specification/protocol/inference_rest.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from streams.errors import BadRecord
from streams.openinference import DATATYPES, Array, Size, reason, shorten


class Output(NamedTuple):
    """One output of a response. Shapes: `data` is flat, row-major, its length the product of `shape`."""

    name: str
    datatype: str
    shape: Sequence[int]
    data: Sequence[Any]


class ResponseOutput(msgspec.Struct, frozen=True, kw_only=True):
    """One output as it was received."""

    name: str
    datatype: str
    shape: tuple[Size, ...]
    data: list[Any]

    def as_numpy(self) -> Array:
        """The output as an array; BYTES becomes an object array of str.

        Raises: BadRecord if `data` is not what `datatype` and `shape` say.
        """
        dtype = "object" if self.datatype == "BYTES" else DATATYPES.get(self.datatype)
        if dtype is None:
            raise BadRecord(f"output {self.name!r}: datatype {shorten(self.datatype)} is not of the protocol")
        try:
            return np.array(self.data, dtype=dtype).reshape(self.shape)
        except (ValueError, TypeError, OverflowError) as error:
            raise BadRecord(f"output {self.name!r}: not {self.shape} of {self.datatype}: {error}") from None


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """The value of an `ok` answer."""

    model_name: str
    model_version: str | None = None
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[ResponseOutput]

    def output(self, name: str) -> ResponseOutput:
        """The output of that name.

        Raises: KeyError if there is none.
        """
        for output in self.outputs:
            if output.name == name:
                return output
        raise KeyError(name)


_encoder = msgspec.json.Encoder()
_response_decoder = msgspec.json.Decoder(Response)


def encode_v2_response(
    *,
    model_name: str,
    model_version: str,
    id: str | None,  # noqa: A002 -- the protocol's word
    outputs: Sequence[tuple[str, str, Sequence[int], Sequence[Any]]],
) -> bytes:
    """A v2 response; `outputs` are (name, datatype, shape, flat data), as `Output` names them.

    Floats must be finite: msgspec would write NaN as null. Who builds `data` from arrays checks them at once
    (`finite`, or over a whole batch), so that the hot path does not look at each number again.
    """
    return _encoder.encode(
        {
            "model_name": model_name,
            "model_version": model_version,
            "id": id,
            "outputs": [{"name": n, "datatype": d, "shape": s, "data": v} for n, d, s, v in outputs],
        }
    )


def decode_v2_response(data: bytes) -> Response:
    """The value of an `ok` answer.

    Raises: BadRecord if it is not a v2 response.
    """
    try:
        return _response_decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadRecord(f"not a v2 response: {reason(error, data)}") from None
