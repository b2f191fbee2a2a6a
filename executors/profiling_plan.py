"""What there is to profile on this machine: which variants, at which sizes, and what is known of them already."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec

from registry.catalog import Catalog
from registry.latency import Point
from registry.lifecycle import Role
from registry.predict import Known
from registry.records import EMULATED, Hardware, Model, Profile, Variant

FAST_US = 4_000  # a time slice of the scheduler: the p99 of what takes less is the machine's rather than the model's
FEW_S = 1.0  # of a variant; under it the two ends alone are measured, the rest is predicted


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A variant to profile, with its model."""

    variant: Variant
    model: Model


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done, and the profiles of this machine that hold."""

    due: tuple[Item, ...]
    held: tuple[Profile, ...]


def plan(
    catalog: Catalog,
    *,
    pool: str,
    hardware: Hardware,
    cores: int,
    machine: str,
    current: Callable[[Mapping[str, str]], bool],
    globs: Iterable[str] = ("*",),
    again: bool = False,
) -> Plan:
    """The matching variants of the pool's hardware that fit `cores`, not retired and not profiled before.

    A profile holds if the profiler made it on such a `machine`, of the same artifact and number of lanes, with the
    libraries that `current` says are installed; one of a machine of another kind is as good as none.
    """
    globs = tuple(globs)
    due, held = [], []
    for name, variant in sorted(catalog.variants.items()):
        model = catalog.versions.model_of(variant)
        if model is None or variant.hardware != hardware or variant.width > cores or variant.framework == EMULATED:
            continue
        if catalog.versions.role_of(variant) is Role.RETIRED:
            continue
        profile = catalog.profiles.get((name, pool))
        item = Item(variant=variant, model=model)
        wanted = any(fnmatchcase(name, glob) for glob in globs)
        if (
            profile is not None
            and _holds(profile, item, cores=cores, machine=machine)
            and current(profile.versions)
            and not (again and wanted)
        ):
            held.append(profile)
        elif wanted:
            due.append(item)
    return Plan(due=tuple(due), held=tuple(held))


def lanes_of(variant: Variant, cores: int) -> int:
    """As many instances as an executor with all `cores` would load."""
    return max(1, cores // variant.width)


def sizes_of(variant: Variant) -> tuple[int, ...]:
    """Powers of two up to the cap, and the cap."""
    return tuple(sorted({*(2**n for n in range(variant.batch_max.bit_length())), variant.batch_max}))


def measured_of(sizes: tuple[int, ...], *, share_s: float, whole: bool = False) -> tuple[int, ...]:
    """Of a variant's sizes those to measure: half of them, three at least; the two ends alone in a short time."""
    if whole:
        return sizes
    return spread(sizes, 2 if share_s < FEW_S else max(3, half(sizes)))


def half(sizes: Sequence[int]) -> int:
    """How many are half of them, rounded up."""
    return (len(sizes) + 1) // 2


def spread(sizes: Sequence[int], count: int) -> tuple[int, ...]:
    """`count` of the sizes: both ends, then the second, then evenly between.

    The second, because a batch of one runs other kernels than all others (matrix by vector), so that nothing is learnt
    from it of the rest: with the second instead of an even spread the median error fell from 7.9 to 6.3 %, p90 from 23
    to 21 %, on the points of 32 variants.
    """
    last = len(sizes) - 1
    if count >= len(sizes):
        return tuple(sizes)
    if count <= 2:
        return tuple(dict.fromkeys((sizes[0], sizes[last])))[:count]
    return (sizes[0], *(sizes[1 + n * (last - 1) // (count - 2)] for n in range(count - 1)))


def artifact_of(item: Item) -> str:
    """The sha256 of the file that the variant runs; empty if it has none."""
    artifact = item.variant.artifact or item.model.artifacts.get(item.variant.framework)
    return artifact.sha256 if artifact else ""


def known_of(
    variant: Variant, points: Iterable[Point], *, operators: Mapping[int, Mapping[str, float]] | None = None
) -> Known:
    """The measured ones of some points, for the predictor. Variants of one framework err alike, fast and slow apart."""
    measured = tuple(p for p in points if p.provenance == "measured")
    fast = all(p.p50_us < FAST_US for p in measured)
    family = f"{variant.framework}, under {FAST_US // 1_000} ms" if fast else variant.framework
    return Known(variant=variant.name, family=family, points=measured, operators=operators or {})


def _holds(profile: Profile, item: Item, *, cores: int, machine: str) -> bool:
    return (
        profile.source == "profiler"
        and profile.machine == machine
        and profile.artifact == artifact_of(item)
        and profile.lanes == lanes_of(item.variant, cores)
        and any(p.provenance == "measured" for p in profile.points)
    )
