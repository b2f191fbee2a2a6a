"""The rules by which versions change what they do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from registry import lifecycle
from registry.lifecycle import ReleaseRefused, Role, opening, role
from registry.records import Release
from tests.registry.building import release

VERSIONS = {"1", "2", "3"}
STABLE = release(4, stable="1", unversioned="1")
TRIED = release(5, stable="1", canary="2", share=0.1, unversioned="1")


def test_role_without_a_release_everything_answers() -> None:
    """As before there were releases."""
    assert role(None, "1") is role(None, "") is Role.STABLE


def test_role_of_each_version() -> None:
    """Stable, canary and retired by name; what is only registered waits."""
    given = release(9, stable="1", canary="2", share=0.1, retired=("0",))

    assert [role(given, version) for version in "0123"] == [Role.RETIRED, Role.STABLE, Role.CANARY, Role.WAITING]


def test_canary_then_promote_leaves_the_old_version_waiting() -> None:
    """The ordinary way of a version; it can be gone back."""
    tried = lifecycle.canary(STABLE, VERSIONS, "2", 0.1)
    promoted = lifecycle.promote(tried, VERSIONS, "2")

    assert tried == release(5, "", stable="1", canary="2", share=0.1, unversioned="1", action="canary")
    assert promoted == release(6, "", stable="2", unversioned="1", action="promote")
    assert role(promoted, "1") is Role.WAITING


def test_canary_share_zero_ends_it() -> None:
    """It waits, and may be tried again."""
    assert lifecycle.canary(TRIED, VERSIONS, "2", 0.0) == release(
        6, "", stable="1", unversioned="1", action="end canary"
    )


def test_retire_canary_withdraws_it_for_good() -> None:
    """No share is left behind."""
    assert lifecycle.retire(TRIED, VERSIONS, "2") == release(
        6, "", stable="1", retired=("2",), unversioned="1", action="retire"
    )


def test_retire_stable_with_force_leaves_nothing_that_answers() -> None:
    """The canary goes with it: there is nothing to compare it with."""
    gone = lifecycle.retire(TRIED, VERSIONS, "1", force=True)

    assert (gone.stable, gone.canary, gone.share, gone.retired) == ("", "", 0.0, ("1",))


REFUSED: list[tuple[Callable[[], Release], str]] = [
    (lambda: lifecycle.canary(STABLE, VERSIONS, "9", 0.1), "m has no version '9' registered; there are 1, 2, 3"),
    (lambda: lifecycle.canary(STABLE, VERSIONS, "1", 0.1), "m 1 is the stable version already"),
    (lambda: lifecycle.canary(STABLE, VERSIONS, "2", 0.6), "share 0.6 is outside 0 to 0.5"),
    (lambda: lifecycle.canary(TRIED, VERSIONS, "3", 0.1), "2 is the canary of m: promote or retire it first"),
    (lambda: lifecycle.canary(release(1, stable="1", retired=("2",)), VERSIONS, "2", 0.1), "m 2 is retired"),
    (lambda: lifecycle.canary(release(1), VERSIONS, "2", 0.1), "m has no stable version to compare with"),
    (lambda: lifecycle.promote(STABLE, VERSIONS, "2"), "m 2 was no canary"),
    (lambda: lifecycle.promote(release(1, stable="1", retired=("2",)), VERSIONS, "2", force=True), "m 2 is retired"),
    (lambda: lifecycle.promote(STABLE, VERSIONS, "1"), "m 1 is the stable version already"),
    (lambda: lifecycle.retire(STABLE, VERSIONS, "1"), "1 is the stable version of m: nothing would answer"),
    (lambda: lifecycle.retire(release(1, stable="1", retired=("2",)), VERSIONS, "2"), "m 2 is retired already"),
    (lambda: opening("m", {"1", "2"}, "3"), "m has the versions 1, 2 and no release"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_rule_broken_is_refused_in_words(change: Callable[[], Release], message: str) -> None:
    """Each refusal names the version and what to do."""
    with pytest.raises(ReleaseRefused, match=message):
        change()


def test_promote_untried_version_with_force() -> None:
    """And the first version of a model that has no stable one, without."""
    assert lifecycle.promote(STABLE, VERSIONS, "2", force=True).stable == "2"
    assert lifecycle.promote(release(3, retired=("1",)), VERSIONS, "2").stable == "2"
    assert lifecycle.promote(TRIED, VERSIONS, "3", force=True).canary == "2"


def test_replace_takes_the_place_of_the_stable_version() -> None:
    """The canary goes on, unless it is the one; and a version that had been retired is back."""
    assert lifecycle.replace(TRIED, "3") == release(
        6, "", stable="3", canary="2", share=0.1, unversioned="1", action="replace"
    )
    assert lifecycle.replace(TRIED, "2").canary == ""
    assert lifecycle.replace(release(2, stable="1", retired=("3",)), "3").retired == ()


def test_opening_keeps_what_answers_already() -> None:
    """A second version does not begin to answer by being registered; the first does."""
    assert opening("m", set(), "1").stable == "1"
    assert opening("m", {"1"}, "2").stable == "1"
    assert opening("m", {"1"}, "1").stable == "1"
