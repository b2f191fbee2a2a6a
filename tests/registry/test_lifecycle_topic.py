"""Releases on a real topic: two writers at once, and what a later reader finds."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Collection

import pytest

from registry import lifecycle, topic
from registry.catalog import Catalog
from registry.lifecycle import ReleaseConflict
from registry.lifecycle_shell import Change, admitted, change
from registry.records import Release
from streams.errors import HeadraceError
from streams.settings import KafkaSettings
from streams.topics import create
from tests.registry.building import model, release, two_versions, variant

pytestmark = pytest.mark.kafka


@pytest.fixture
def kafka(bootstrap: str) -> KafkaSettings:
    """A registry of its own."""
    settings = KafkaSettings(bootstrap=bootstrap, prefix=f"life-{uuid.uuid4().hex[:8]}.", query_partitions=1, slots=1)
    create(settings)
    topic.publish(settings, [*two_versions(), release(1, stable="1", unversioned="1")])
    return settings


def canary(share: float) -> Change:
    def step(now: Release | None, versions: Collection[str]) -> Release:
        assert now is not None
        return lifecycle.canary(now, versions, "2", share)

    return step


def test_change_holds_for_every_reader(kafka: KafkaSettings) -> None:
    """The event is signed, numbered and in force."""
    event = change(kafka, "m", canary(0.1), reason="try it")

    assert (event.number, event.canary, event.share, event.reason) == (2, "2", 0.1, "try it")
    assert event.id
    assert event.at
    assert topic.read(kafka).releases == {"m": event}


def test_two_writers_at_once_one_holds_and_the_other_is_told(kafka: KafkaSettings) -> None:
    """Both have read the same state when they write: one event holds, the other is refused and leaves nothing."""
    both_have_read = threading.Barrier(2)
    done: dict[float, Release | HeadraceError] = {}

    def write(share: float) -> None:
        def step(now: Release | None, versions: Collection[str]) -> Release:
            made = canary(share)(now, versions)
            both_have_read.wait(30)
            return made

        try:
            done[share] = change(kafka, "m", step)
        except HeadraceError as refused:
            done[share] = refused

    writers = [threading.Thread(target=write, args=(share,)) for share in (0.1, 0.2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)

    held = [event for event in done.values() if isinstance(event, Release)]
    told = [error for error in done.values() if isinstance(error, ReleaseConflict)]
    assert (len(held), len(told)) == (1, 1)
    assert f"canary {held[0].canary}" in told[0].message
    catalog = topic.read(kafka)
    assert catalog.releases == {"m": held[0]}
    assert catalog.versions.void("m") == []


def test_change_after_a_conflict_follows_the_winner(kafka: KafkaSettings) -> None:
    """Trying again works, and the history has every event that held."""
    change(kafka, "m", canary(0.1))
    topic.publish(kafka, [release(2, "late", stable="2")])  # a writer who had not seen it, and died
    change(kafka, "m", canary(0.3))

    history = topic.read(kafka).versions.history("m")
    assert [(event.number, event.share) for event in history] == [(1, 0.0), (2, 0.1), (3, 0.3)]
    assert topic.read(kafka).versions.void("m") == []


def test_admitted_new_build_under_the_same_names_takes_the_place_of_the_old() -> None:
    """Nothing would answer otherwise: its variants are gone. Other names wait, and no release means the first."""
    catalog = Catalog()
    for record in [*two_versions(), release(1, stable="1", unversioned="1")]:
        catalog.add(record)

    built = admitted(catalog, [model("m", "build-b"), variant("m1", version="build-b")])
    beside = admitted(catalog, [model("m", "3"), variant("m3", version="3")])

    assert isinstance(built[0], Release)
    assert (built[0].stable, built[0].number, built[0].action) == ("build-b", 2, "replace")
    for record in built:
        catalog.add(record)
    assert catalog.serves(catalog.variants["m1"])
    assert not any(isinstance(record, Release) for record in beside)


@pytest.mark.parametrize("version", ["build-b", ""])
def test_admitted_new_build_of_a_model_without_a_release(version: str) -> None:
    """Registered before there were releases, and now built anew: one release, for the new build."""
    catalog = Catalog()
    for record in (model("m", "build-a"), variant("m1")):
        catalog.add(record)

    made = admitted(catalog, [model("m", "build-b"), variant("m1", version=version)])

    assert [record.stable for record in made if isinstance(record, Release)] == ["build-b"]
    for new in made:
        catalog.add(new)
    assert catalog.serves(catalog.variants["m1"])


def test_admitted_first_version_answers_and_the_second_waits(kafka: KafkaSettings) -> None:
    """Registering is not releasing, but for the very first version of a model."""
    catalog = topic.read(kafka)
    first, again = admitted(catalog, [model("new", "7")]), admitted(catalog, [model("m", "3")])

    assert [record.key.partition(":")[0] for record in first] == ["release", "model"]
    assert isinstance(first[0], Release)
    assert (first[0].stable, first[0].number) == ("7", 1)
    assert again == [model("m", "3")]
