"""Changing a model's release on the registry topic: publish the event, read on until it is there, see whether it held.

Kafka has no compare-and-set. What it has is one order of the topic, which every reader sees: an event carries the
number after the one that its writer had read, and of two with one number the first holds (docs/decisions/0012).
"""

from __future__ import annotations

import getpass
import secrets
import time
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime

import msgspec

from registry.catalog import Catalog
from registry.emulation import require_apart
from registry.lifecycle import ReleaseConflict, opening, replace
from registry.records import Model, Record, Release, Variant
from registry.topic import Follower, forget, publish
from streams.errors import Unreachable
from streams.follow import REQUEST_S
from streams.settings import KafkaSettings

KEPT_MAX = 50  # events of a model; older ones are deleted, with what is void
TURN_S = 0.02

Change = Callable[[Release | None, Collection[str]], Release]


def change(kafka: KafkaSettings, model: str, step: Change, *, reason: str = "") -> Release:
    """Make one change of a model's release; `step` gets the one in force, and the registered versions.

    Returns: the event, once every reader of the topic will find that it holds.
    Raises:  ReleaseConflict if someone else was first; ReleaseRefused from `step`; Unreachable.
    """
    follower = Follower(kafka)
    follower.start()
    try:
        catalog = follower.wait()
        made = step(catalog.releases.get(model), catalog.versions.of(model))
        event = _signed(made, reason)
        publish(kafka, [event])
        _wait_for(catalog, event)
        held = catalog.releases[model]
        if held.key != event.key and event.key not in {past.key for past in catalog.versions.history(model)}:
            forget(kafka, [event.key])
            raise ReleaseConflict(
                f"{held.by or 'someone'} changed {model} at the same time ({held.action}: stable {held.stable or '-'}, "
                f"canary {held.canary or '-'}); look at it and try again"
            )
        _tidy(kafka, catalog, model)
        return event
    finally:
        follower.stop()


def admitted(catalog: Catalog, records: Iterable[Record]) -> list[Record]:
    """The records of a registration, behind the releases that it needs.

    The first version of a model answers at once, and a further one waits for `canary` or `promote`; unless its variants
    have the names of the stable version's, as those of a new build do: then it takes that one's place, for nothing is
    left of it to go on with.
    Raises: ReleaseRefused if several versions stand there and no release says which answers; EmulationMixed.
    """
    given = list(records)
    require_apart(catalog, given)
    made: dict[str, Release] = {}
    for record in given:
        if not isinstance(record, Model) or record.name in made:
            continue
        release = catalog.releases.get(record.name)
        if release is None:
            release = opening(record.name, catalog.versions.of(record.name), record.version)
            made[record.name] = _signed(release, "")
        if record.version != release.stable and _overwritten(catalog, release, record, given):
            plain = any(isinstance(each, Variant) and each.model == record.name and not each.version for each in given)
            made[record.name] = _signed(replace(release, record.version, unversioned=plain), "")
    return [*made.values(), *given]


def _overwritten(catalog: Catalog, release: Release, model: Model, given: Iterable[Record]) -> bool:
    """Whether these records of a new version stand under names that variants of the stable one have."""
    known = [
        catalog.variants.get(each.name) for each in given if isinstance(each, Variant) and each.model == model.name
    ]
    return any(
        old is not None and old.model == model.name and (old.version or release.unversioned) == release.stable
        for old in known
    )


def _signed(release: Release, reason: str) -> Release:
    return msgspec.structs.replace(
        release, id=secrets.token_hex(6), at=datetime.now(UTC).isoformat(timespec="seconds"), by=_user(), reason=reason
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return ""


def _wait_for(catalog: Catalog, event: Release) -> None:
    """Until the follower has read the event back, and so everything that was before it."""
    end = time.monotonic() + REQUEST_S
    while not catalog.versions.has(event.key):
        if time.monotonic() > end:
            raise Unreachable(f"the event of {event.model} was written and not read back within {REQUEST_S:g} s")
        time.sleep(TURN_S)


def _tidy(kafka: KafkaSettings, catalog: Catalog, model: str) -> None:
    """Delete old events: only those numbered below the one in force, which can change nothing any more."""
    history, now = catalog.versions.history(model), catalog.releases[model].number
    old = history[:-KEPT_MAX]
    void = [event for event in catalog.versions.void(model) if event.number < now]
    if old or void:
        forget(kafka, [event.key for event in (*void, *old)])
