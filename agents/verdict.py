"""What selection says of a query, and the words in which it refuses one."""

from __future__ import annotations

import msgspec

from agents.groups import Why
from registry.catalog import Offer
from streams.clock import to_ms
from streams.contract import AccuracyBound
from streams.errors import DeadlinePassed, DeadlineUnreachable, HeadraceError, Overloaded, WouldBeLate
from streams.query import Query, Requirements


class Chosen(msgspec.Struct, frozen=True, gc=False):
    """Where a query goes. Positional, because keywords cost a tenth of the whole selection.

    Units: `predicted_finish_us` includes the reply reserve; `deadline_us` has the task's default applied.
    """

    offer: Offer
    executor: str
    slot: int
    seq: int
    predicted_finish_us: int
    deadline_us: int
    why: Why
    late_ok: bool = False
    missed: str | None = None


class Refused(msgspec.Struct, frozen=True, gc=False):
    """A query that is answered at once, without running."""

    error: HeadraceError


class Parked(msgspec.Struct, frozen=True, gc=False):
    """Nothing that may serve the query is there now; to be tried again when the fleet changes, until then."""

    until_us: int


def accuracy_of(asked: Requirements, offer: Offer) -> float:
    """What of an offer's accuracy must keep the floor: the value, or the lower end of its interval."""
    return offer.accuracy_low if asked.accuracy_bound is AccuracyBound.LOWER else offer.accuracy


def less_accurate(asked: Requirements, offer: Offer) -> str | None:
    """The text of `missed` for an answer below the floor; None for one that keeps it."""
    if accuracy_of(asked, offer) >= asked.accuracy_min:
        return None
    lower = f" (sure of {offer.accuracy_low:.4g})" if asked.accuracy_bound is AccuracyBound.LOWER else ""
    return f"accuracy-min {asked.accuracy_min:g}, served {offer.accuracy:g}{lower}"


def later(query: Query, *, deadline_us: int, finish_us: int) -> str | None:
    """The text of `missed` for an answer predicted after the deadline; None for one in time."""
    if finish_us <= deadline_us:
        return None
    slo_us, predicted_us = deadline_us - query.arrived_us, finish_us - query.arrived_us
    return f"slo {to_ms(slo_us):g} ms, predicted {to_ms(predicted_us):.1f} ms"


def passed(deadline_us: int, *, now_us: int) -> Refused:
    return Refused(DeadlinePassed(f"the deadline passed {to_ms(now_us - deadline_us):.1f} ms before routing"))


def too_slow(query: Query, fastest: Offer, *, needed_us: int, deadline_us: int, now_us: int) -> Refused:
    """Even idle hardware cannot: the SLO is too short, or too little of it was left on arrival here."""
    slo_ms, left_ms, needed_ms = to_ms(deadline_us - query.arrived_us), to_ms(deadline_us - now_us), to_ms(needed_us)
    against = f"fastest feasible variant {fastest.variant!r}: {needed_ms:.1f} ms"
    if slo_ms < needed_ms:
        return Refused(DeadlineUnreachable(f"slo {slo_ms:g} ms < {against}"))
    return Refused(WouldBeLate(f"{left_ms:.1f} ms left < {against}"))


def overloaded(least: Offer, *, finish_us: int, deadline_us: int, now_us: int) -> Refused:
    left_ms, needed_ms = to_ms(deadline_us - now_us), to_ms(finish_us - now_us)
    return Refused(Overloaded(f"{left_ms:.1f} ms left < {needed_ms:.1f} ms on the least busy, {least.variant!r}"))
