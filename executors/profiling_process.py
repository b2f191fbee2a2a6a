"""Profiling a variant in a child process with a bound on its time; what it prints goes into the error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from executors.profiling import Order, Profiled, Reply
from streams.errors import ServerFault

LOAD_S = 120.0  # beside the budget: a slow framework's import and the loads of all lanes, ten times over
TAIL_CHARACTERS = 300


class NotProfiled(ServerFault):
    """The variant was not profiled: it does not run here, or its process crashed or took too long."""

    code = "not_profiled"
    retryable = False


def profile_apart(order: Order, *, extra_s: float = LOAD_S) -> Profiled:
    """Profile in a fresh process, which is ended `extra_s` after the budget at the latest.

    Raises: NotProfiled.
    """
    name = order.variant.name
    limit_s = 4 * order.budget_s + extra_s  # the least number of samples may take longer than the budget
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            [sys.executable, "-m", "executors.profiling"], env=_environment(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, start_new_session=True,
        ) as child,
    ):  # fmt: skip
        try:
            out, _ = child.communicate(msgspec.json.encode(order), timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise NotProfiled(f"{name}: its process took longer than {limit_s:g} s") from None
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
        said.seek(0)
        tail = said.read().decode("utf-8", "replace").strip()[-TAIL_CHARACTERS:]
    try:
        reply = msgspec.json.decode(out, type=Reply)
    except msgspec.MsgspecError:
        raise NotProfiled(f"{name}: its process ended with status {child.returncode}: {tail}") from None
    if reply.profiled is None:
        assert reply.refused is not None
        raise NotProfiled(f"{name}: {reply.refused.code}: {reply.refused.message}")
    return reply.profiled


def _environment() -> dict[str, str]:
    """Ours, and this installation first, wherever the caller stands."""
    root = str(Path(__file__).parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
