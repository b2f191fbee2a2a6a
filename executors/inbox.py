"""What other threads tell the loop; it looks at one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from executors.backends.protocol import Backend
from executors.job import Job
from executors.lanes import Ran
from executors.residency import Resident
from streams.errors import HeadraceError
from streams.reader import Taken


class Records(NamedTuple):
    """Read; with them comes the turn to read on, which the loop gives back."""

    taken: list[Taken]


class Revoked(NamedTuple):
    slots: list[int]


class Decoded(NamedTuple):
    """An item, or why there is none. Units: `took_us` of a preparing thread."""

    job: Job
    item: object
    error: HeadraceError | None
    took_us: int


class Call(NamedTuple):
    """Something that ended elsewhere and goes on in this loop."""

    call: Callable[[], None]


class Residents(NamedTuple):
    """A variant with its instances; `more`: these are added to those it has, of which it keeps `resident.lanes`."""

    resident: Resident
    backends: list[Backend]
    more: bool = False


class Gone(NamedTuple):
    """Unload a variant: at once, handing back what waits for it, or once nothing does (`drain`); `done` is called."""

    variant: str
    drain: bool = False
    done: Callable[[], None] | None = None


class Stop(NamedTuple):
    """Drain, and end the loop once nothing more is read and all is answered."""


class Quiet(NamedTuple):
    """Nothing more will be read."""


Item = Records | Revoked | Decoded | Call | Ran | Residents | Gone | Stop | Quiet
