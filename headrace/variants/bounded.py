"""The child of a job, on the parent's side: started in a process group of its own, ended at its time."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import msgspec

from headrace.variants.judging import Found
from headrace.variants.work import AT, JOB, At, Job
from streams.child import Child

LOG = "log"


class Died(msgspec.Struct, frozen=True, kw_only=True):
    """The child did not finish. `lasting`: it would not with the next run either, within the same limits.

    `cut`: there was no more time for it, which says nothing about the variant.
    """

    at: At
    reason: str
    lasting: bool
    cut: bool = False

    def found(self) -> Found:
        return Found(stage=self.at.stage, reason=self.reason)


def run(job: Job, folder: Path, *, left_s: float = math.inf) -> Died | None:
    """Run a job in `folder`, which must be empty and ours; None: all of it is in the ledger.

    It gets the time that its limits give it, and no more than is left.
    """
    (folder / JOB).write_bytes(msgspec.json.encode(job))
    env = {**os.environ, "PYTHONWARNINGS": "ignore"}
    if job.tries[0].variant.hardware == "cpu":
        env["CUDA_VISIBLE_DEVICES"] = ""
    child = Child((sys.executable, "-P", "-m", "headrace.variants.work", str(folder)), log=folder / LOG, env=env)
    if not child.ends_within(min(job.limits.time_s, left_s)):
        if left_s < job.limits.time_s:
            return Died(at=_at(folder), reason="no more time", lasting=False, cut=True)
        return Died(at=_at(folder), reason=f"took longer than {job.limits.time_s:g} s", lasting=True)
    if child.status == 0:
        return None
    if child.signal is not None:
        return Died(at=_at(folder), reason=f"its process was ended by signal {child.signal}", lasting=False)
    return Died(at=_at(folder), reason=f"its process failed: {child.tail(1)}", lasting=False)


def _at(folder: Path) -> At:
    try:
        return msgspec.json.decode((folder / AT).read_bytes(), type=At)
    except (FileNotFoundError, msgspec.DecodeError):
        return At(stage="load")  # it did not come that far
