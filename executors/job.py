"""A query, as the executor's machine sees it."""

from __future__ import annotations

from typing import Any

import msgspec

from streams.clock import NEVER


class Job(msgspec.Struct, kw_only=True, gc=False):
    """One query inside this executor; `ref` is the shell's own and never looked at.

    Units: `deadline_us` is NEVER for best effort; `queued_us` is when this executor took the query.
    """

    variant: str
    deadline_us: int
    queued_us: int
    slot: int = 0
    late_ok: bool = False
    ready: bool = True  # its input is decoded
    heavy: bool = False  # if not ready: it is decoded when the machine says so
    ref: Any = None
    done: bool = False  # the machine's: its terminal command was given
    timed: bool = False  # the machine's: it is open and in the heap of deadlines
    decoding: bool = False  # the machine's: its input is being decoded
    running: bool = False  # the machine's: it is part of a batch that runs, or waits to run again

    @property
    def patient(self) -> bool:
        """Without a deadline there is no reason to wait, and none to go first."""
        return self.deadline_us >= NEVER
