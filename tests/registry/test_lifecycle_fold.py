"""The catalogue of a topic: the same from its beginning, from what compaction left, and beside newer writers."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.catalog import Catalog
from registry.lifecycle import Role
from registry.records import Pool, RefusedVariant, Task, encode
from tests.registry.building import model, profile, release, two_versions, variant

Write = tuple[str, bytes | None]

records = st.one_of(
    st.builds(lambda v, a: model("m", v, accuracy=a), st.sampled_from("123"), st.sampled_from([0.8, 0.9])),
    st.builds(lambda n, v: variant(n, version=v), st.sampled_from(["m1", "m2"]), st.sampled_from(["", "1", "2"])),
    st.builds(lambda n: profile(n), st.sampled_from(["m1", "m2"])),
    st.builds(
        lambda number, by, stable, canary, retired: release(
            number, by, stable=stable, canary=canary, share=0.1 if canary else 0.0, retired=retired, unversioned="1"
        ),
        st.integers(1, 4), st.sampled_from("ab"), st.sampled_from(["", "1", "2"]), st.sampled_from(["", "3"]),
        st.sampled_from([(), ("2",)]),
    ),
    st.builds(lambda n, why: RefusedVariant(variant=n, model="m", stage="load", reason=why),
              st.sampled_from(["m1", "m2"]), st.sampled_from("xy")),
    st.just(Task(name="t")),
    st.just(Pool(name="cpu")),
)  # fmt: skip


@st.composite
def logs(draw: st.DrawFn) -> list[Write]:
    """Writes and deletions; models also under the key of a writer that did not put the version in it."""
    log: list[Write] = []
    for record in draw(st.lists(records, max_size=25)):
        key = "model:m" if record.key.startswith("model:") and draw(st.booleans()) else record.key
        log.append((key, encode(record)))
        if draw(st.integers(0, 4)) == 0:
            log.append((draw(st.sampled_from([key for key, _ in log])), None))
    return log


def fold(log: Sequence[Write]) -> Catalog:
    catalog = Catalog()
    for key, value in log:
        catalog.apply(key, value)
    return catalog


def compacted(log: list[Write], upto: int, *, tombstones: bool) -> list[Write]:
    """What Kafka may have left: before `upto` only the last write of each key, and of deletions perhaps nothing."""
    last = {key: at for at, (key, _) in enumerate(log)}
    return [
        write
        for at, write in enumerate(log)
        if at >= upto or (last[write[0]] == at and (tombstones or write[1] is not None))
    ]


def seen(catalog: Catalog) -> dict[str, object]:
    offers = sorted(
        (o.variant, o.pool, o.version, o.accuracy, o.share if o.share is not None else -1.0) for o in catalog.offers()
    )
    return {
        "tasks": catalog.tasks, "models": catalog.models, "releases": catalog.releases, "pools": catalog.pools,
        "variants": catalog.variants, "refused": catalog.refused, "profiles": catalog.profiles, "offers": offers,
        "versions": catalog.versions.of("m"),
    }  # fmt: skip


@settings(max_examples=150)
@given(logs(), st.data())
def test_replay_of_a_compacted_topic_is_the_replay_from_zero(log: list[Write], data: st.DataObject) -> None:
    """Wherever compaction has got to, and whether it has dropped the deletions yet."""
    upto, tombstones = data.draw(st.integers(0, len(log))), data.draw(st.booleans())

    assert seen(fold(compacted(log, upto, tombstones=tombstones))) == seen(fold(log))


def test_model_written_again_is_the_last_as_compaction_leaves_it() -> None:
    """Without a release the version written last is meant, also if it was not the last to be written first."""
    log = [(r.key, encode(r)) for r in (model("m", "1"), model("m", "2"), model("m", "1", accuracy=0.8))]

    assert fold(log).models["m"] == fold(log[1:]).models["m"] == model("m", "1", accuracy=0.8)


def test_refused_variant_is_listed_until_it_is_published_later() -> None:
    """The last word counts, and it counts the same when the publication is deleted again."""
    refused = RefusedVariant(variant="m1", model="m", stage="load", reason="no")
    published, refusal = (variant("m1").key, encode(variant("m1"))), (refused.key, encode(refused))

    assert fold([published, refusal]).refused == {"m1": refused}
    assert fold([refusal, published]).refused == {}
    assert fold([refusal, published, (variant("m1").key, None)]).refused == {"m1": refused}


def test_release_of_two_with_one_number_the_first_holds() -> None:
    """The second writer had not seen the first; its event is void, and still is when a third follows."""
    first, second = release(2, "a", stable="1", canary="2", share=0.1), release(2, "b", stable="2")
    log = [(r.key, encode(r)) for r in (release(1, "o", stable="1"), first, second)]

    assert fold(log).releases["m"] == first
    assert fold(log[1:]).releases["m"] == first
    assert fold(log).versions.void("m") == [second]
    third = release(3, "c", stable="2")
    assert fold([*log, (third.key, encode(third))]).versions.history("m") == [release(1, "o", stable="1"), first, third]


def test_offers_follow_the_release() -> None:
    """Without one all is offered; then the stable version's, the canary's with its share, and no other."""
    catalog = Catalog()
    for record in two_versions():
        catalog.add(record)

    def offered() -> dict[str, tuple[str, float | None]]:
        return {offer.variant: (offer.version, offer.share) for offer in catalog.offers()}

    assert offered() == {"m1": ("1", None), "m2": ("2", None)}
    catalog.add(release(1, stable="1"))
    assert offered() == {"m1": ("1", None)}
    catalog.add(release(2, stable="1", canary="2", share=0.25))
    assert offered() == {"m1": ("1", None), "m2": ("2", 0.25)}
    catalog.add(release(3, stable="2"))
    assert offered() == {"m2": ("2", None)}
    assert catalog.models["m"].version == "2"
    catalog.add(release(4, retired=("2",)))
    assert offered() == {}


def test_variant_without_a_version_belongs_to_the_first_release() -> None:
    """A model that was registered before versions were written down keeps its weights when a second one comes."""
    catalog = Catalog()
    old, new = model(version="1", accuracy=0.8), model(version="2", accuracy=0.9)
    for record in (Task(name="t"), Pool(name="cpu"), old, variant("m1"), profile("m1"), new):
        catalog.add(record)

    assert catalog.offers()[0].accuracy == 0.9  # no release: what was registered last, as ever
    catalog.add(release(1, stable="1", unversioned="1"))
    assert [offer.accuracy for offer in catalog.offers()] == [0.8]
    catalog.add(release(2, stable="2", unversioned="1"))
    assert catalog.offers() == []
    assert catalog.versions.role_of(catalog.variants["m1"]) is Role.WAITING


def test_record_of_a_newer_writer_unknown_fields_are_ignored() -> None:
    """A release with a field that this version does not know is a release."""
    raw = msgspec.json.decode(encode(release(1, stable="1")))
    raw["regions"] = {"eu": 0.5}
    catalog = Catalog()
    catalog.apply("release:m:1:a", msgspec.json.encode(raw))

    assert catalog.releases == {"m": release(1, stable="1")}


def test_record_of_a_newer_writer_unknown_kind_changes_nothing() -> None:
    """It is refused to the caller, who logs it, and the catalogue goes on."""
    catalog = Catalog()
    for record in two_versions():
        catalog.add(record)
    before, version = seen(catalog), catalog.version

    with pytest.raises(msgspec.MsgspecError):
        catalog.apply("tenant:a", b'{"type": "tenant", "name": "a"}')
    catalog.apply("tenant:a", None)

    assert seen(catalog) == before
    assert catalog.version >= version
