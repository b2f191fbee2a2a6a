"""`python -m registry.inspecting FOLDER`: look at one artifact, in a child process under limits.

Only `registry/inspection.py` starts it. It may crash, hang or run out of memory: that is what it is for.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import numpy as np

from registry import dataset
from registry.archives import BadArtifact
from registry.confined import REQUEST, CheckFailed, answer, enter, failure
from registry.dataset import BadDataset, Dataset
from registry.inspection import (
    ANSWERS,
    ANSWERS_BYTES_MAX,
    BATCH,
    MEASURED_MAX,
    SAMPLES,
    Array,
    Findings,
    Opened,
    Request,
    Result,
    Run,
)
from streams.errors import BadPayload, ClientFault, ServerFault
from streams.payloads import cast

EXTRAS = {"onnx": "onnx", "onnxruntime": "onnx", "torch": "torch"}
ROWS_RTOL, ROWS_ATOL = 1e-3, 1e-4  # of one item alone and among others, which sums in another order


def main(folder: Path) -> None:
    request = msgspec.json.decode((folder / REQUEST).read_bytes(), type=Request)
    try:
        result = Result(findings=look(request, folder))
    except (ClientFault, ServerFault) as refused:
        result = Result(failure=failure(refused))
    except ModuleNotFoundError as missing:
        extra = EXTRAS.get((missing.name or "").partition(".")[0])
        hint = f'; pip install "headrace[{extra}]"' if extra else ""
        result = Result(failure=failure(CheckFailed(f"{request.name}: {missing.name} is not installed here{hint}")))
    except MemoryError:
        result = Result(
            failure=failure(BadArtifact(f"{request.name}: needs more than {_memory(request)} to be loaded"))
        )
    answer(folder, msgspec.json.encode(result))


def look(request: Request, folder: Path) -> Findings:
    """Open, compare with what the operator says and with the validation set, run, and write the answers."""
    opened = _opened(request, folder)
    whole = dataset.load(folder / request.dataset) if request.dataset else None
    shape = _shape(request, opened, whole)
    dtype = request.input_dtype or opened.input_dtype
    if dtype != opened.input_dtype:
        raise BadArtifact(f"{request.name} takes {opened.input_dtype}, not input.dtype = {dtype!r}")
    x = _items(request, whole, shape, dtype)
    answers = _run(opened.run, x, request.name)
    (folder / ANSWERS).write_bytes(np.ascontiguousarray(answers, dtype=np.float32).tobytes())
    return Findings(
        input_name=opened.input_name, input_shape=shape, input_dtype=dtype, output_name=opened.output_name,
        answers_shape=answers.shape, program=opened.program, versions=opened.versions,
    )  # fmt: skip


def _opened(request: Request, folder: Path) -> Opened:
    if request.kind == "onnx":
        from registry import inspect_onnx

        enter(request.limits)
        return inspect_onnx.opened(request, folder)
    from registry import inspect_torch

    enter(request.limits)
    return inspect_torch.opened(request, folder)


def _shape(request: Request, opened: Opened, whole: Dataset | None) -> tuple[int, ...]:
    """One item: as the file has it; open sizes as the operator says, else as in the validation set."""
    given, found = request.input_shape, opened.item_shape
    if not given and None in found and whole is not None and whole.x.ndim - 1 == len(found):
        given = tuple(size or own for size, own in zip(found, whole.x.shape[1:], strict=True))
    if given and (len(given) != len(found) or any(f not in (None, g) for g, f in zip(given, found, strict=True))):
        raise BadArtifact(f"{request.name} takes items of {_sizes(found)}, not {list(given)}, which is what was said")
    shape = given or tuple(size or 0 for size in found)
    if not shape or min(shape) < 1:
        raise BadArtifact(f"{request.name} leaves sizes of its items open: {_sizes(found)}; name them in input.shape")
    return shape


def _items(request: Request, whole: Dataset | None, shape: tuple[int, ...], dtype: str) -> Array:
    """What to run: items of the validation set, else as many as are compared, drawn."""
    if whole is None:
        rng = np.random.default_rng(0)
        drawn = rng.random((SAMPLES, *shape)) if np.dtype(dtype).kind == "f" else rng.integers(0, 2, (SAMPLES, *shape))
        return np.asarray(drawn).astype(dtype)
    if whole.x.shape[1:] != shape:
        raise BadDataset(
            f"x of the validation set has items of {list(whole.x.shape[1:])}; {request.name} takes {list(shape)}"
        )
    try:
        return cast(whole.x[:MEASURED_MAX], np.dtype(dtype))
    except BadPayload as lossy:
        raise BadDataset(f"x of the validation set for {request.name}: {lossy.message}") from lossy


def _run(run: Run, x: Array, name: str) -> Array:
    """Answers to all items; each row must not depend on its batch, and all must be finite."""
    first = _rows(run, x[:SAMPLES], name)
    for size in (1, 2):
        alone = _rows(run, x[:size], name)
        if alone.shape[1:] != first.shape[1:] or not np.allclose(alone, first[:size], rtol=ROWS_RTOL, atol=ROWS_ATOL):
            raise BadArtifact(
                f"{name}: an item answers otherwise in a batch of {size} than in one of {len(first)}; the batch must "
                "be the first axis, of any size, and its items independent (is it in evaluation mode?)"
            )
    if first.ndim != 2 or len(x) * first.shape[1] * 4 > ANSWERS_BYTES_MAX:
        return first  # no scores of classes: nothing to measure accuracy with
    return np.concatenate([_rows(run, x[at : at + BATCH], name) for at in range(0, len(x), BATCH)])


def _rows(run: Run, batch: Array, name: str) -> Array:
    try:
        rows = run(np.ascontiguousarray(batch))
    except (MemoryError, ClientFault):
        raise
    except Exception as error:  # a framework's errors share no base
        raise BadArtifact(f"{name} fails on {list(batch.shape)} {batch.dtype}: {str(error)[:500]}") from error
    if rows.ndim < 2 or len(rows) != len(batch) or rows.dtype.kind not in "fiub":
        raise BadArtifact(
            f"{name} answers {list(rows.shape)} {rows.dtype} to {len(batch)} items; (n, *output) is wanted"
        )
    if not np.isfinite(rows).all():
        items = np.flatnonzero(~np.isfinite(rows.reshape(len(rows), -1)).all(axis=1))
        raise BadArtifact(
            f"{name} answers NaN or infinity to item {int(items[0])} and {len(items) - 1} more of a batch"
        )
    return rows


def _sizes(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def _memory(request: Request) -> str:
    return f"{request.limits.memory_bytes / 1e9:.1f} GB"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
