"""Emulated and real variants in one registry: what must not meet, and what an earlier fleet file left there. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from registry.catalog import Catalog
from registry.records import EMULATED, Model, Profile, Record, Variant
from streams.errors import ClientFault


class EmulationMixed(ClientFault):
    """Emulated variants would stand beside real ones, where queries could get either."""

    code = "emulation_mixed"


def require_apart(catalog: Catalog, records: Iterable[Record]) -> None:
    """No task, model or pool of `records` may have both kinds, with what is registered already.

    Raises: EmulationMixed with each of them.
    """
    given = list(records)
    kinds: dict[str, set[bool]] = {}
    touched = {f"task {each.task}" for each in given if isinstance(each, Model)}
    touched |= {f"model {each.model}" for each in given if isinstance(each, Variant)}
    touched |= {f"pool {each.pool}" for each in given if isinstance(each, Profile)}
    tasks = {each.name: each.task for each in given if isinstance(each, Model)}
    tasks = {name: model.task for name, model in list(catalog.models.items())} | tasks
    variants = dict(catalog.variants) | {each.name: each for each in given if isinstance(each, Variant)}
    for variant in variants.values():
        places = {f"model {variant.model}"} | ({f"task {tasks[variant.model]}"} if variant.model in tasks else set())
        for place in places:
            kinds.setdefault(place, set()).add(variant.framework == EMULATED)
    for model in given:
        if isinstance(model, Model) and model.artifacts:  # there is something to run, whatever variants come of it
            kinds.setdefault(f"task {model.task}", set()).add(False)
    for profile in (*catalog.profiles.values(), *(each for each in given if isinstance(each, Profile))):
        kinds.setdefault(f"pool {profile.pool}", set()).add(profile.machine == EMULATED)
    both = sorted(place for place in touched if len(kinds.get(place, ())) > 1)
    if both:
        raise EmulationMixed(
            f"{', '.join(both)}: would have emulated variants and real ones; take other names, or another cluster or "
            "[kafka] prefix for the emulated fleet"
        )


def leftovers(catalog: Catalog, records: Iterable[Record]) -> list[str]:
    """Keys of emulated variants and their profiles that are registered and do not stand in `records`."""
    kept = {each.key for each in records}
    old: list[Variant | Profile] = [each for each in catalog.variants.values() if each.framework == EMULATED]
    old += [each for each in catalog.profiles.values() if each.machine == EMULATED]
    return sorted(each.key for each in old if each.key not in kept)
