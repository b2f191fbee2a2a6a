"""What stands around a model: payload to item before it, output rows to answers after it, each step by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from executors.backends.protocol import BackendMissing
from registry.records import Model, Step
from streams.errors import BadPayload, BadSettings, ModelFailed
from streams.openinference import Array, datatype_of, shorten
from streams.payloads import NPY_MAGIC, decode_tensor
from streams.responses import encode_v2_response

TOP_K_MAX = 10_000  # where no labels bound it
PASSES_MAX = 64  # of argmax; 64 cost 0.8 ms for 32 x 1,000 scores, one sort 2.2 ms
IMAGES = frozenset({"image/jpeg", "image/png"})
_BEGINNINGS = ((NPY_MAGIC, "application/x-npy"), (b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n", "image/png"))

Finish = Callable[[Array, Sequence[str]], list[bytes | ModelFailed]]


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
        _check_params(step, known=())
        return Preparation(_tensor(model))
    if step.name == "image-crop-resize":
        return Preparation(_image(step, model), heavy=IMAGES)
    raise BadSettings(f"{model.name}: preprocess {step.name!r} is not one of tensor, image-crop-resize")


def finish(step: Step, model: Model) -> Finish:
    """The named postprocessing step for one model: output rows and query ids to the values of the answers.

    Shapes:  the step takes (n, *output) and n ids, and returns n values, in order.
    Returns: for each item the v2 response, or why this item alone has none (NaN, infinity).
    Raises:  BadSettings on an unknown step or parameter. The step itself: ModelFailed if the rows are not what
             the model's record says.
    """
    if step.name == "top-k":
        return _top_k(step, model)
    if step.name == "tensor":
        _check_params(step, known=())
        return _rows(model)
    raise BadSettings(f"{model.name}: postprocess {step.name!r} is not one of top-k, tensor")


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


def _tensor(model: Model) -> Callable[[bytes, str], Array]:
    shape, dtype = model.input_shape, model.input_dtype

    def decode(data: bytes, content_type: str) -> Array:
        return decode_tensor(data, content_type, shape=shape, dtype=dtype)

    return decode


def _image(step: Step, model: Model) -> Callable[[bytes, str], Array]:
    try:
        from executors.images import decode_image
    except ImportError as error:
        raise BackendMissing(
            f'{model.name}: pillow cannot be imported ({error}); pip install "headrace[onnx]" or "headrace[torch]"'
        ) from error
    _check_params(step, known=("size", "crop_padding", "mean", "std", "layout"))
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
    tensor = _tensor(model)

    def decode(data: bytes, content_type: str) -> Array:
        if media_type(content_type) not in IMAGES:
            return tensor(data, content_type)
        try:
            return decode_image(data, size=size, crop_padding=padding, mean=mean, std=std)
        except ValueError as error:
            raise BadPayload(str(error)) from error

    return decode


def _top_k(step: Step, model: Model) -> Finish:
    """label, class and score of the k best, best first; of equals the lower class.

    Softmax where params say `logits`: score = exp(x - max) / sum exp(x - max), the sum over all classes.
    """
    _check_params(step, known=("k", "logits"))
    k, logits, labels = step.params.get("k", 1), step.params.get("logits", False), model.labels
    limit = len(labels) or TOP_K_MAX
    if not isinstance(k, int) or not 1 <= k <= limit:
        raise BadSettings(f"{model.name}: top-k with k = {k!r} is not within 1 to {limit}")

    def run(outputs: Array, ids: Sequence[str]) -> list[bytes | ModelFailed]:
        assert len(outputs) == len(ids)
        with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinities are told apart below
            rows = outputs.reshape(len(outputs), -1).astype(np.float32, copy=False)
            if rows.shape[1] != (len(labels) or rows.shape[1]) or rows.shape[1] < k:
                raise ModelFailed(f"{model.name}: {rows.shape[1]} scores for {len(labels)} labels and k = {k}")
            top = rows.max(axis=1, keepdims=True)  # NaN wins
            classes, scores = best(rows, k)
            sound = np.isfinite(top[:, 0]) & np.isfinite(scores[:, -1])
            if logits:
                scores = np.exp(scores - top) / np.exp(rows - top).sum(axis=1, keepdims=True)
        return [
            _labelled(model, query_id, chosen, score)
            if ok
            else ModelFailed(f"{model.name}: the scores of this item are not finite")
            for query_id, ok, chosen, score in zip(ids, sound.tolist(), classes.tolist(), scores.tolist(), strict=True)
        ]

    return run


def best(rows: Array, k: int) -> tuple[Array, Array]:
    """The columns and values of the k largest of each row, largest first, of equals the first.

    Shapes: (n, c) to twice (n, k), k <= c. Rows with NaN give any k columns; with fewer than k above -inf, the
            last values are -inf.
    """
    if 1 < k <= PASSES_MAX:
        rows = rows.copy()  # what is chosen is struck out
        classes, values = np.empty((len(rows), k), dtype=np.intp), np.empty((len(rows), k), dtype=rows.dtype)
        each = np.arange(len(rows))
        for place in range(k):
            chosen = rows.argmax(axis=1)
            classes[:, place], values[:, place] = chosen, rows[each, chosen]
            rows[each, chosen] = -np.inf
        return classes, values
    classes = rows.argmax(axis=1)[:, None] if k == 1 else np.argsort(-rows, axis=1, kind="stable")[:, :k]
    return classes, np.take_along_axis(rows, classes, axis=1)


def _labelled(model: Model, query_id: str, classes: list[int], scores: list[float]) -> bytes:
    shape = (len(classes),)
    outputs: list[tuple[str, str, Sequence[int], Sequence[Any]]] = [
        ("class", "INT64", shape, classes),
        ("score", "FP32", shape, scores),
    ]
    if model.labels:
        outputs.insert(0, ("label", "BYTES", shape, [model.labels[i] for i in classes]))
    return encode_v2_response(model_name=model.name, model_version=model.version, id=query_id, outputs=outputs)


def _rows(model: Model) -> Finish:
    """The output row itself, without the batch axis, under the model's own name for it."""

    def run(outputs: Array, ids: Sequence[str]) -> list[bytes | ModelFailed]:
        assert len(outputs) == len(ids)
        try:
            datatype = datatype_of(outputs)
        except BadPayload as error:
            raise ModelFailed(f"{model.name}: {error.message}") from error
        shape, flat = outputs.shape[1:], outputs.reshape(len(outputs), -1)
        sound = np.logical_and.reduce(np.isfinite(flat), axis=1).tolist()
        return [
            encode_v2_response(
                model_name=model.name,
                model_version=model.version,
                id=query_id,
                outputs=[(model.output_name, datatype, shape, row)],
            )
            if ok
            else ModelFailed(f"{model.name}: the output of this item is not finite")
            for query_id, ok, row in zip(ids, sound, flat.tolist(), strict=True)
        ]

    return run


def _check_params(step: Step, *, known: Sequence[str]) -> None:
    params: Mapping[str, Any] = step.params
    if unknown := sorted(set(params) - set(known)):
        raise BadSettings(f"step {step.name!r} has no parameter {unknown}; it has {list(known)}")
