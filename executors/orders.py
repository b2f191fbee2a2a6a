"""From what an executor should hold to the next thing to do: create before destroy, within the memory there is.

Pure: `next_step` is asked again after each step, until it returns None.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec


class Want(msgspec.Struct, frozen=True, kw_only=True):
    """A variant to hold. `identity`: what was registered; another one under the same name is a replacement.

    Units: `memory_bytes` of one instance, 0 where nobody measured it; `batch_max` 0 is the variant's own.
    """

    identity: object
    lanes: int
    batch_max: int = 0
    memory_bytes: int = 0

    @property
    def tried(self) -> tuple[object, int]:
        """What loading it depends on: the same again would fail again."""
        return self.identity, self.lanes


class Load(msgspec.Struct, frozen=True):
    variant: str


class Resize(msgspec.Struct, frozen=True):
    """Take so many instances, or that batch cap, without a moment in which there is none."""

    variant: str


class Drop(msgspec.Struct, frozen=True):
    """Unload; with `drain` what waits for it may finish first."""

    variant: str
    drain: bool


class Refuse(msgspec.Struct, frozen=True):
    """It cannot be held here."""

    variant: str
    why: str


Step = Load | Resize | Drop | Refuse


def next_step(
    wanted: Mapping[str, Want],
    here: Mapping[str, Want],
    *,
    leaving_bytes: int = 0,
    failed: Collection[str] = (),
    memory_bytes: int = 0,
) -> Step | None:
    """What to do now, or None: all is as it should be, or must wait for what leaves.

    here:          what is loaded, as it was wanted when it was.
    leaving_bytes: of what was dropped and still drains.
    failed:        names that are not tried again now.
    memory_bytes:  that all instances together may take; 0: without a bound.
    """
    for name, have in sorted(here.items()):
        want = wanted.get(name)
        if want is not None and want.identity != have.identity:
            return Drop(name, drain=False)
    for name, have in sorted(here.items()):
        want = wanted.get(name)
        if want is not None and want.lanes <= have.lanes and _shape(want) != _shape(have):
            return Resize(name)
    missing = [name for name in sorted(wanted) if name not in here and name not in failed]
    growing = [
        name for name, want in sorted(wanted.items())
        if name in here and want.lanes > here[name].lanes and name not in failed
    ]  # fmt: skip
    spare = [name for name in sorted(here) if name not in wanted]
    free = memory_bytes - leaving_bytes - sum(map(_bytes, here.values()))
    for name in missing + growing:
        if not memory_bytes or _more(wanted[name], here.get(name)) <= free:
            return Load(name) if name in missing else Resize(name)
    if spare:
        return Drop(spare[0], drain=True)
    if (missing or growing) and not leaving_bytes:
        name = (missing + growing)[0]
        need = _more(wanted[name], here.get(name))
        return Refuse(name, f"needs {_mb(need)} MB of memory, and {_mb(max(0, free))} of {_mb(memory_bytes)} are free")
    return None


def _shape(want: Want) -> tuple[int, int]:
    return want.lanes, want.batch_max


def _bytes(want: Want) -> int:
    return want.lanes * want.memory_bytes


def _more(want: Want, have: Want | None) -> int:
    return _bytes(want) - (_bytes(have) if have is not None else 0)


def _mb(count: int) -> int:
    return round(count / 1e6)
