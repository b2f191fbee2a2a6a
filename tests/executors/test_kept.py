"""Answers kept for repeated ids: what stays, what goes, and that both bounds hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from executors.kept import OVERHEAD_BYTES, Kept
from streams.contract import Outcome
from streams.records import Answer


def answer(query_id: str, size: int = 10) -> Answer:
    return Answer(query_id=query_id, outcome=Outcome.OK, value=b"v" * size, reply_topic="results")


def keep(kept: Kept, *ids: str, size: int = 10) -> None:
    for query_id in ids:
        kept.keep(query_id, answer(query_id, size))


def held(kept: Kept, ids: str) -> str:
    """Which of the ids are still there, each one letter. Looking makes them the latest used, in this order."""
    return "".join(i for i in ids if kept.get(i) is not None)


def test_kept_get_returns_the_answer_and_none_for_strangers() -> None:
    """What was kept comes back whole."""
    kept = Kept(count_max=2, bytes_max=10_000)
    keep(kept, "a")

    assert kept.get("a") == answer("a")
    assert kept.get("b") is None


def test_kept_beyond_count_forgets_the_least_recently_used() -> None:
    """`a` was asked for again, so `b` goes first."""
    kept = Kept(count_max=2, bytes_max=10_000)
    keep(kept, "a", "b")
    kept.get("a")
    keep(kept, "c")

    assert held(kept, "abc") == "ac"


def test_kept_beyond_bytes_forgets_as_many_as_it_must() -> None:
    """One large answer takes the room of two small ones."""
    kept = Kept(count_max=10, bytes_max=3 * (OVERHEAD_BYTES + 10))
    keep(kept, "a", "b", "c")
    keep(kept, "d", size=OVERHEAD_BYTES + 20)

    assert held(kept, "abcd") == "cd"


def test_kept_answer_larger_than_the_bound_is_not_kept_and_evicts_nobody() -> None:
    """It could only be kept alone, and not even so."""
    kept = Kept(count_max=10, bytes_max=2_000)
    keep(kept, "a")
    keep(kept, "b", size=2_000)

    assert held(kept, "ab") == "a"


def test_kept_again_replaces_and_counts_its_bytes_once() -> None:
    """The later answer of an id is the one that counts."""
    kept = Kept(count_max=10, bytes_max=2 * (OVERHEAD_BYTES + 100))
    for size in (100, 50, 100):
        keep(kept, "a", size=size)
    keep(kept, "b", size=100)

    assert kept.get("a") == answer("a", 100)
    assert len(kept) == 2


def test_kept_with_no_room_at_all_keeps_nothing() -> None:
    """A count of 0 turns it off."""
    kept = Kept(count_max=0, bytes_max=10_000)
    keep(kept, "a")

    assert len(kept) == 0


@given(
    steps=st.lists(st.tuples(st.booleans(), st.sampled_from("abcdefgh"), st.integers(0, 900)), max_size=60),
    count_max=st.integers(0, 5),
    bytes_max=st.integers(0, 4_000),
)
def test_kept_is_the_longest_recent_past_that_fits(
    steps: list[tuple[bool, str, int]], count_max: int, bytes_max: int
) -> None:
    """Against a plain list in order of use, cut from its old end until both bounds hold."""
    kept = Kept(count_max=count_max, bytes_max=bytes_max)
    used: list[tuple[str, int]] = []  # id and bytes, latest last
    for is_keep, query_id, size in steps:
        known = next((entry for entry in used if entry[0] == query_id), None)
        if is_keep:
            kept.keep(query_id, answer(query_id, size))
            if size + OVERHEAD_BYTES <= bytes_max and count_max:
                used = [entry for entry in used if entry[0] != query_id] + [(query_id, size + OVERHEAD_BYTES)]
                while len(used) > count_max or sum(entry[1] for entry in used) > bytes_max:
                    used.pop(0)
        else:
            assert (kept.get(query_id) is not None) == (known is not None)
            if known is not None:
                used = [entry for entry in used if entry != known] + [known]

        assert len(kept) == len(used)

    assert [i for i, _ in used if kept.get(i) is not None] == [i for i, _ in used]
