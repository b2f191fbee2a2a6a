"""In the child: convert, load, run on every item, compare with the reference, and time what was compiled."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from executors.backends.open import open_backend
from executors.backends.protocol import Array, Backend
from headrace.variants.judging import Found, does_not_pay
from headrace.variants.ledger import Ledger, whole
from headrace.variants.work import Job
from registry import precision
from registry.generate import Stage
from registry.records import Artifact, Variant
from streams.errors import HeadraceError

PAIRS = 15  # of timed runs, plain and compiled in turns: a busy machine slows both, so nobody is asked to wait
PAIRS_S = 4.0  # at most this long, but 3 pairs

At = Callable[..., None]


def work(job: Job, folder: Path, at: At) -> None:
    """Every try of a job into the ledger. What fails is not tried with more cores."""
    ledger = Ledger(Path(job.ledger))
    failed: Found | None = None
    artifact: Artifact | None = None
    if job.conversion:
        at("convert")
        artifact = ledger.artifact(job.conversion)
        if artifact is None:
            failed, artifact = _converted(job, folder, ledger)
    for index, each in enumerate(job.tries):
        if failed is None:
            own = None if artifact is None else ledger.located(artifact)
            variant = msgspec.structs.replace(each.variant, artifact=own)
            found = _found(job, variant, functools.partial(at, index=index))
            found = msgspec.structs.replace(found, artifact=artifact)
        else:
            found = failed
        ledger.put(each.key, found)
        if found.stage is not None and failed is None:
            failed = msgspec.structs.replace(found, reason=f"not tried, as with fewer cores: {found.reason}")


def _converted(job: Job, folder: Path, ledger: Ledger) -> tuple[Found | None, Artifact | None]:
    first = job.tries[0].variant
    source, target = job.model.artifacts[first.framework], folder / "converted.onnx"
    if not whole(Path(source.path), source.sha256):
        return Found(stage="convert", reason=f"{Path(source.path).name} is absent, or not the registered file"), None
    try:
        precision.convert(
            Path(source.path),
            target,
            precision=first.precision,
            input_name=job.model.input_name,
            calibration=np.load(job.calibration) if job.calibration else None,
            reduce_range=job.reduce_range,
        )
    except MemoryError:
        return _too_large("convert", job), None
    except HeadraceError as error:
        return Found(stage="convert", reason=error.message), None
    artifact = ledger.adopt(target, "onnx")
    ledger.put(job.conversion, artifact)
    return None, artifact


def _found(job: Job, variant: Variant, at: Callable[[Stage], None]) -> Found:
    stage: Stage = "load"
    backend: Backend | None = None
    try:
        at(stage)
        began = time.perf_counter()
        backend = open_backend(variant, job.model)
        backend.load()
        load_s = time.perf_counter() - began
        stage = "answers"
        at(stage)
        found = _compared(job, _outputs(backend, np.load(job.x, mmap_mode="r"), variant.batch_max))
        found = msgspec.structs.replace(found, load_s=round(load_s, 3))
        if variant.compiled:
            stage = "profile"
            at(stage)
            found = _paid(job, variant, backend, found)
    except MemoryError:
        return _too_large(stage, job)
    except HeadraceError as error:
        return Found(stage=stage, reason=error.message)
    finally:
        if backend is not None:
            backend.close()
    return found


def _outputs(backend: Backend, x: Array, batch_max: int) -> Array:
    """In batches of the cap, as a busy lane runs them: int8-dynamic finds its ranges in a batch."""
    return np.concatenate(
        [np.array(backend.run(np.ascontiguousarray(x[i : i + batch_max]))) for i in range(0, len(x), batch_max)]
    )


def _compared(job: Job, outputs: Array) -> Found:
    if job.refers:
        with Path(job.reference).open("wb") as file:
            np.save(file, outputs)
    reference = np.load(job.reference)
    n = len(outputs)
    if outputs.shape != reference.shape:
        return Found(
            stage="answers", reason=f"answers {list(outputs.shape[1:])}, the reference {list(reference.shape[1:])}"
        )
    rows, referred = outputs.reshape(n, -1).astype(np.float64), reference.reshape(n, -1).astype(np.float64)
    sound = np.isfinite(rows).all(axis=1)
    gap = np.where(np.isfinite(rows), rows, 0.0) - referred
    top = rows.argmax(axis=1)
    return Found(
        n=n,
        right=int((top == np.load(job.y)).sum()) if job.y else None,
        agree=int((top == referred.argmax(axis=1)).sum()),
        unsound=int((~sound).sum()),
        difference=float(np.abs(gap).max()),
        scale=float(np.abs(referred).max()),
        error=float(np.linalg.norm(gap) / max(float(np.linalg.norm(referred)), 1e-12)),
    )


def _paid(job: Job, variant: Variant, fast: Backend, found: Found) -> Found:
    """With what compiling saves against the plain program, same precision and width; refused if too little."""
    plain = open_backend(msgspec.structs.replace(variant, compiled=False), job.model)
    plain.load()
    x = np.load(job.x, mmap_mode="r")
    saved = {}
    for size in sorted({1, min(variant.batch_max, len(x))}):
        batch = np.ascontiguousarray(x[:size])
        before, after = _medians((plain, fast), batch)
        saved[str(size)] = round(1 - after / before, 4)
    plain.close()
    found = msgspec.structs.replace(found, saved=saved)
    if max(saved.values()) < job.compile_saves_min:
        return msgspec.structs.replace(found, stage="profile", reason=does_not_pay(saved, job.compile_saves_min))
    return found


def _medians(backends: tuple[Backend, ...], batch: Array) -> list[float]:
    samples: list[list[float]] = [[] for _ in backends]
    for backend in backends:
        backend.run(batch)
    began = time.perf_counter()
    for pair in range(PAIRS):
        if pair >= 3 and time.perf_counter() - began > PAIRS_S:
            break
        for backend, own in zip(backends, samples, strict=True):
            start = time.perf_counter()
            backend.run(batch)
            own.append(time.perf_counter() - start)
    return [float(np.median(own)) for own in samples]


def _too_large(stage: Stage, job: Job) -> Found:
    return Found(stage=stage, reason=f"needs more than {job.limits.memory_bytes / 2**30:.3g} GiB of memory")
