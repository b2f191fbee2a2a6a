"""What is wrong with a fleet file, in words: part by part, and between those that are sound by themselves."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from headrace.fleet_parts import MACHINES_MAX, Fleet, VariantPart
from registry.manifest import NAME

Place = tuple[int | str, ...]  # of a part: its keys and indices from the top

# For keys that must be there: a broken part is made readable, so that the others can be checked against each other.
STAND_INS: dict[str, Any] = {
    "price_usd_hour": 0.0, "task": "x", "accuracy": 0.0, "variants": [], "pool": "", "fixed_us": 0.0,
    "per_item_us": 0.0,
}  # fmt: skip


def told(error: ErrorDetails) -> str:
    place = ""
    for part in error["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
    if error["type"] == "extra_forbidden":
        return f"{place} is unknown"
    if error["type"] == "missing":
        return f"{place} is missing"
    shown = "" if isinstance(error["input"], dict | list) else f" = {error['input']!r}"
    return f"{place}{shown}: {error['msg'].replace('Input should', 'should', 1)}"


def repaired(values: dict[str, Any], errors: Sequence[ErrorDetails], broken: set[Place]) -> bool:
    """Take what is wrong out of `values`, and note the parts that it was in; False if it is not in a part."""
    for error in errors:
        loc = error["loc"]
        size = 4 if len(loc) > 4 and loc[2] == "variants" else 2
        part: Any = values
        try:
            for key in loc[:size]:
                part = part[key]
            key = str(loc[size])
        except (KeyError, IndexError, TypeError):
            return False
        if not isinstance(part, dict) or key == "[key]":
            return False
        part.pop(key, None)
        if key in STAND_INS and (key != "accuracy" or size == 2):
            part[key] = STAND_INS[key]
        broken.add(loc[:size])
    return True


def violations(fleet: Fleet, broken: Collection[Place] = ()) -> Iterator[str]:
    """What must hold between the parts; nothing is said of those that are `broken`."""
    kinds = {place[0] for place in broken}
    for kind, names in (("tasks", fleet.tasks), ("models", fleet.models), ("curves", fleet.curves)):
        for name in names:
            if not NAME.match(name):
                yield f"{kind}.{name}: a name is 1 to 100 of a-z, 0-9, '.', '_', '-', letter or digit first"
    for name, pool in fleet.pools.items():
        if ("pools", name) not in broken and not pool.least <= pool.first <= pool.most:
            yield f"pools.{name}: first = {pool.first} is not within least = {pool.least} and most = {pool.most}"
    if "pools" not in kinds and (machines := sum(pool.most for pool in fleet.pools.values())) > MACHINES_MAX:
        yield f"pools: {machines} machines at the most, over {MACHINES_MAX}, and each is a process here"
    if "models" not in kinds:
        for name in sorted(fleet.tasks.keys() - {model.task for model in fleet.models.values()}):
            yield f"tasks.{name}: no model answers it"
    for name, model in fleet.models.items():
        if ("models", name) not in broken and not model.variants:
            yield f"models.{name}: has no variants"
        if not model.input_shape:
            yield f"models.{name}: input_shape is empty"
        sound = [at for at in range(len(model.variants)) if ("models", name, "variants", at) not in broken]
        called = model.names(name)
        for variant, times in Counter(called[at] for at in sound).items():
            if times > 1:
                yield f"models.{name}: {times} variants would have the name {variant}"
        for at in sound:
            for problem in _wrong(fleet, model.variants[at], broken):
                yield f"models.{name}.variants[{at}]: {problem}"


def _wrong(fleet: Fleet, variant: VariantPart, broken: Collection[Place]) -> Iterator[str]:
    pool = fleet.pools.get(variant.pool)
    if pool is None:
        yield f"pool = {variant.pool!r} is none of pools; {_nearest(variant.pool, list(fleet.pools))}"
    elif ("pools", variant.pool) not in broken:
        if variant.width > pool.cores:
            yield f"width = {variant.width}: a machine of {variant.pool} has {pool.cores} cores"
        if variant.width > 1 and pool.hardware != "cpu":
            yield f"width = {variant.width}: on {pool.hardware} a lane is 1 wide"
        if pool.memory_mb and variant.memory_mb > pool.memory_mb:
            yield f"memory_mb = {variant.memory_mb}: a machine of {variant.pool} has {pool.memory_mb}"
    if bool(variant.curve) == bool(variant.latency_ms):
        yield "has " + ("both curve and latency_ms" if variant.curve else "neither curve nor latency_ms")
    if variant.curve and variant.curve not in fleet.curves:
        yield f"curve = {variant.curve!r} is none of curves; {_nearest(variant.curve, list(fleet.curves))}"
    sizes = [row[0] for row in variant.latency_ms]
    if sizes != sorted(set(sizes)):
        yield f"latency_ms: batches {sizes} do not rise"
    for batch, p50_ms, p99_ms in variant.latency_ms:
        if p99_ms < p50_ms:
            yield f"latency_ms: at batch {batch} p99 = {p99_ms:g} is below p50 = {p50_ms:g}"


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(known) or 'none'}"
