"""`python -m headrace.variants.work FOLDER`: the child that converts a model and tries variants of one way to run it.

It takes its bounds before it imports a library. What it finds out goes to the ledger at once, and where it is stands
in a file, so that its parent can say what it died of.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import msgspec

from registry.generate import Stage
from registry.records import Model, Variant

JOB, AT = "job.json", "at.json"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Of one child. `memory_bytes` counts what it asks for to write to, libraries' own included."""

    time_s: float = 600.0
    memory_bytes: int = 8 << 30
    file_bytes: int = 4 << 30


class Try(msgspec.Struct, frozen=True, kw_only=True):
    """One variant, and the entry of the ledger that its result belongs to."""

    key: str
    variant: Variant


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Variants that differ in nothing but width, narrowest first. Paths of arrays are `.npy` files.

    `conversion` is the entry of the converted artifact; empty: the model's own is run. `reference` is where the
    reference's outputs are, or where they go if `refers`.
    """

    model: Model
    tries: tuple[Try, ...]
    ledger: str
    limits: Limits
    x: str
    y: str = ""
    calibration: str = ""
    conversion: str = ""
    reduce_range: bool = False
    reference: str
    refers: bool = False
    compile_saves_min: float = 0.0


class At(msgspec.Struct, frozen=True, kw_only=True):
    """Where the child is: the stage, and which of the tries (-1: all of them, it converts)."""

    stage: Stage
    index: int = -1


def enter(limits: Limits) -> None:
    """Take the limits, for good. RLIMIT_DATA, since libraries reserve addresses by the gigabyte without using them."""
    for what, most in (
        (resource.RLIMIT_DATA, limits.memory_bytes),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (least, least))


def main(folder: Path) -> None:
    job = msgspec.json.decode((folder / JOB).read_bytes(), type=Job)
    enter(job.limits)
    from headrace.variants.trying import work  # imports what is bounded

    def at(stage: Stage, index: int = -1) -> None:
        (folder / AT).write_bytes(msgspec.json.encode(At(stage=stage, index=index)))

    work(job, folder, at)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
