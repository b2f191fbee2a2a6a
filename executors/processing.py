"""What stands before a model: one query's payload to the item that it takes, each step by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from executors.backends.protocol import BackendMissing
from registry.records import Model, Step
from streams.errors import BadPayload, BadSettings
from streams.openinference import Array, shorten
from streams.payloads import NPY_MAGIC, decode_tensor

NPY = "application/x-npy"
IMAGES = frozenset({"image/jpeg", "image/png"})
_BEGINNINGS = ((NPY_MAGIC, NPY), (b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n", "image/png"))


class Preparation:
    """One query's payload to the item that the model takes; call it with the value and its content type.

    Raises: BadPayload when called; the query then fails alone.
    """

    __slots__ = ("_decode", "_heavy")

    def __init__(self, decode: Callable[[bytes, str], Array], *, heavy: frozenset[str] = frozenset()) -> None:
        self._decode, self._heavy = decode, heavy

    def __call__(self, data: bytes, content_type: str | None) -> Array:
        return self._decode(data, content_type or sniff(data))

    def heavy(self, content_type: str | None) -> bool:
        """Whether decoding takes milliseconds (for a pool) and not microseconds (inline)."""
        return bool(self._heavy) and (content_type is None or media_type(content_type) in self._heavy)


def prepare(step: Step, model: Model) -> Preparation:
    """The named preprocessing step for one model.

    Raises: BadSettings on an unknown step or parameter.
    """
    if step.name == "tensor":
        check_params(step, known=())
        return Preparation(_Tensor(model))
    if step.name == "image-crop-resize":
        return Preparation(_image(step, model), heavy=IMAGES)
    raise BadSettings(f"{model.name}: preprocess {step.name!r} is not one of tensor, image-crop-resize")


def sniff(data: bytes) -> str:
    """The content type of a payload that came without one, from its first bytes.

    Raises: BadPayload.
    """
    for beginning, content_type in _BEGINNINGS:
        if data.startswith(beginning):
            return content_type
    if data[:64].lstrip().startswith(b"{"):
        return "application/json"
    raise BadPayload(f"no content-type, and {shorten(data[:8])} begins neither npy, JSON, JPEG nor PNG")


def media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


class _Tensor:
    """decode_tensor for one model.

    The items of one client are alike up to their numbers, so an npy header is read once: while the next begins with
    the same bytes and has the same size, only the numbers are looked at.
    """

    __slots__ = ("_count", "_dtype", "_head", "_shape", "_size")

    def __init__(self, model: Model) -> None:
        self._shape, self._dtype = model.input_shape, np.dtype(model.input_dtype)
        self._count = math.prod(self._shape)
        self._head, self._size = b"", -1

    def __call__(self, data: bytes, content_type: str) -> Array:
        if len(data) == self._size and data.startswith(self._head) and content_type == NPY:
            return np.frombuffer(data, self._dtype, self._count, len(self._head)).reshape(self._shape)
        array = decode_tensor(data, content_type, shape=self._shape, dtype=self._dtype.name)
        if content_type == NPY:
            self._learn(data, array)
        return array

    def _learn(self, data: bytes, array: Array) -> None:
        """Remember the header, if the item is nothing but the bytes after it."""
        start = len(data) - self._count * self._dtype.itemsize
        plain = np.frombuffer(data, self._dtype, self._count, start).reshape(self._shape)
        if plain.__array_interface__ == array.__array_interface__:  # the same memory, read in the same way
            self._head, self._size = data[:start], len(data)


def _image(step: Step, model: Model) -> Callable[[bytes, str], Array]:
    try:
        from executors.images import decode_image
    except ImportError as error:
        raise BackendMissing(
            f'{model.name}: pillow cannot be imported ({error}); pip install "headrace[onnx]" or "headrace[torch]"'
        ) from error
    check_params(step, known=("size", "crop_padding", "mean", "std", "layout"))
    params = {"size": model.input_shape[-1], "layout": "NCHW", **step.params}
    size, padding, mean, std = (params.get(name) for name in ("size", "crop_padding", "mean", "std"))
    if not (isinstance(size, int) and isinstance(padding, int) and size > 0 and padding >= 0):
        raise BadSettings(f"{model.name}: size {size!r} and crop_padding {padding!r} are not integers > 0 and >= 0")
    if not (isinstance(mean, int | float) and isinstance(std, int | float) and std > 0):
        raise BadSettings(f"{model.name}: mean {mean!r} and std {std!r} are not numbers, std > 0")
    if (params["layout"], model.input_shape, model.input_dtype) != ("NCHW", (3, size, size), "float32"):
        raise BadSettings(
            f"{model.name}: image-crop-resize gives NCHW (3, {size}, {size}) float32, not {params['layout']} "
            f"{model.input_shape} {model.input_dtype}"
        )
    tensor = _Tensor(model)

    def decode(data: bytes, content_type: str) -> Array:
        if media_type(content_type) not in IMAGES:
            return tensor(data, content_type)
        try:
            return decode_image(data, size=size, crop_padding=padding, mean=mean, std=std)
        except ValueError as error:
            raise BadPayload(str(error)) from error

    return decode


def check_params(step: Step, *, known: Sequence[str]) -> None:
    params: Mapping[str, Any] = step.params
    if unknown := sorted(set(params) - set(known)):
        raise BadSettings(f"step {step.name!r} has no parameter {unknown}; it has {list(known)}")
