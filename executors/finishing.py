"""What stands after a model: output rows to the values of answers, each step by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from executors.processing import check_params
from registry.records import Model, Step
from streams.errors import BadPayload, BadSettings, ModelFailed
from streams.openinference import Array, datatype_of
from streams.responses import encode_v2_response

TOP_K_MAX = 10_000  # where no labels bound it
PASSES_MAX = 64  # of argmax; 64 cost 0.8 ms for 32 x 1,000 scores, one sort 2.2 ms

Finish = Callable[[Array, Sequence[str]], list[bytes | ModelFailed]]

_encode = msgspec.json.Encoder().encode


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
        check_params(step, known=())
        return _rows(model)
    raise BadSettings(f"{model.name}: postprocess {step.name!r} is not one of top-k, tensor")


def _top_k(step: Step, model: Model) -> Finish:
    """label, class and score of the k best, best first; of equals the lower class.

    Softmax where params say `logits`: score = exp(x - max) / sum exp(x - max), the sum over all classes.
    """
    check_params(step, known=("k", "logits"))
    k, logits, labels = step.params.get("k", 1), step.params.get("logits", False), model.labels
    limit = len(labels) or TOP_K_MAX
    if not isinstance(k, int) or not 1 <= k <= limit:
        raise BadSettings(f"{model.name}: top-k with k = {k!r} is not within 1 to {limit}")
    labelled = Labelled(model, k)

    def run(outputs: Array, ids: Sequence[str]) -> list[bytes | ModelFailed]:
        assert len(outputs) == len(ids)
        rows = outputs.reshape(len(outputs), -1)
        if rows.dtype != np.float32:
            with np.errstate(over="ignore"):
                rows = rows.astype(np.float32)
        if rows.shape[1] != (len(labels) or rows.shape[1]) or rows.shape[1] < k:
            raise ModelFailed(f"{model.name}: {rows.shape[1]} scores for {len(labels)} labels and k = {k}")
        classes, scores, sound = best(rows, k)
        if logits:
            with np.errstate(invalid="ignore", over="ignore"):  # of rows that are not sound
                top = scores[:, :1]
                scores = np.exp(scores - top) / np.exp(rows - top).sum(axis=1, keepdims=True)
        return [
            labelled(query_id, chosen, score)
            if ok
            else ModelFailed(f"{model.name}: the scores of this item are not finite")
            for query_id, ok, chosen, score in zip(ids, sound, classes.tolist(), scores.tolist(), strict=True)
        ]

    return run


def best(rows: Array, k: int) -> tuple[Array, Array, list[bool]]:
    """The columns and values of the k largest of each row, largest first, of equals the first.

    Shapes:  (n, c) to twice (n, k), k <= c.
    Returns: columns, values, and whether the row is sound: without NaN, its largest k finite. Of others the
             columns may be any.
    """
    count = len(rows)
    each = np.arange(count)
    if k > PASSES_MAX:
        classes = np.argsort(-rows, axis=1, kind="stable")[:, :k]
        values = np.take_along_axis(rows, classes, axis=1)
        ends = zip(rows.max(axis=1).tolist(), values[:, -1].tolist(), strict=True)  # NaN is the largest here
        return classes, values, [math.isfinite(top) and math.isfinite(last) for top, last in ends]
    if k == 1:
        chosen = rows.argmax(axis=1)  # NaN wins
        values = rows[each, chosen]
        return chosen[:, None], values[:, None], list(map(math.isfinite, values.tolist()))
    rows = rows.copy()  # what is chosen is struck out
    classes, values = np.empty((count, k), dtype=np.intp), np.empty((count, k), dtype=rows.dtype)
    for place in range(k):
        chosen = rows.argmax(axis=1)
        classes[:, place], values[:, place] = chosen, rows[each, chosen]
        rows[each, chosen] = -np.inf
    return classes, values, [math.isfinite(row[0]) and math.isfinite(row[-1]) for row in values.tolist()]


class Labelled:
    """The v2 response of label, class and score, from pieces that encode_v2_response made once."""

    __slots__ = ("_labels", "_pieces")

    def __init__(self, model: Model, k: int) -> None:
        hole = "\x00"  # no name contains it, and it is seven bytes in JSON
        outputs: list[tuple[str, str, Sequence[int], Sequence[Any]]] = [
            ("class", "INT64", (k,), [hole]),
            ("score", "FP32", (k,), [hole]),
        ]
        if model.labels:
            outputs.insert(0, ("label", "BYTES", (k,), [hole]))
        text = encode_v2_response(model_name=model.name, model_version=model.version, id=hole, outputs=outputs)
        self._pieces = text.replace(b'["\\u0000"]', b'"\\u0000"').split(b'"\\u0000"')
        assert len(self._pieces) == len(outputs) + 2, text
        self._labels = [_encode(label) for label in model.labels]

    def __call__(self, query_id: str, classes: list[int], scores: list[float]) -> bytes:
        """Shapes: both lists are (k,); the scores are finite."""
        labels = self._labels
        if not labels:
            head, classes_, scores_, tail = self._pieces
            return b"".join((head, _encode(query_id), classes_, _encode(classes), scores_, _encode(scores), tail))
        head, labels_, classes_, scores_, tail = self._pieces
        names = labels[classes[0]] if len(classes) == 1 else b",".join([labels[c] for c in classes])
        return b"".join(
            (
                head,
                _encode(query_id),
                labels_,
                b"[",
                names,
                b"]",
                classes_,
                _encode(classes),
                scores_,
                _encode(scores),
                tail,
            )
        )


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
