"""Run one of our modules on a file that we do not trust, in a child process with bounds on time and memory.

It bounds what a file can use up, and keeps a crash away from us; it is no sandbox. What could run code is refused
before a library sees it (`registry/archives.py`, `registry/scripts.py`).
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import msgspec

from registry.archives import BadArtifact
from streams.child import Child
from streams.errors import ClientFault, ServerFault

RESULT, REQUEST, LOG = "result.json", "request.json", "log"
RESULT_BYTES_MAX = 16 << 20
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Of one child. `memory_bytes` is on top of what its libraries take before they see the file."""

    time_s: float = 300.0
    memory_bytes: int = 4 << 30
    file_bytes: int = 4 << 30


class CheckFailed(ServerFault):
    """The child that should have looked at an artifact did not start, or a library that it needs is missing."""

    code, retryable = "check_failed", False


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """How the child says what is wrong: the code of a leaf of our errors, and the message."""

    code: str
    message: str


def run(module: str, request: bytes, *, folder: Path, about: str, limits: Limits) -> bytes:
    """`python -m MODULE` in `folder`, which must be ours alone; it reads the request there and writes the result.

    Returns: what the module wrote, whose contents are to be checked as those of any stranger.
    Raises:  BadArtifact if it crashed, was ended or took too long; CheckFailed if it did not start.
    """
    (folder / RESULT).unlink(missing_ok=True)
    (folder / REQUEST).write_bytes(request)
    command = (sys.executable, "-P", "-m", module, str(folder))
    env = {**os.environ, **dict.fromkeys(_THREADS, "1"), "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
    child = Child(command, log=folder / LOG, env=env)
    if not child.ends_within(limits.time_s):
        raise BadArtifact(
            f"{about}: not loaded, run and checked within {limits.time_s:g} s; a smaller one, or more time"
        )
    result = folder / RESULT
    if child.status == 0 and result.is_file() and result.stat().st_size <= RESULT_BYTES_MAX:
        return result.read_bytes()
    how = f"exit status {child.status}" if child.signal is None else f"ended by signal {child.signal}"
    raise BadArtifact(f"{about}: the process that loaded it did not survive ({how}); {child.tail(2)}".rstrip("; "))


def enter(limits: Limits) -> None:
    """In the child, after its libraries are imported and before it opens the file: take the limits, for good."""
    used_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for what, most in (
        (resource.RLIMIT_AS, used_bytes + limits.memory_bytes),
        (resource.RLIMIT_CPU, int(limits.time_s) + 1),  # one thread; if nobody is left who would end us
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (least, least))


def answer(folder: Path, result: bytes) -> None:
    """In the child: the last thing it does."""
    part = folder / f"{RESULT}.part"
    part.write_bytes(result)
    part.replace(folder / RESULT)


def failure(error: ClientFault | ServerFault) -> Failure:
    return Failure(code=error.code, message=error.message)
