"""The oracle beside `bench selection`: every offer on every executor that holds it, none left out, nothing cached."""

from __future__ import annotations

from collections.abc import Callable

from agents.fleet import Fleet
from agents.selection import Chosen, Parked, Refused
from registry.catalog import Offer
from streams.clock import NEVER
from streams.contract import OnMiss, TargetKind
from streams.query import Query

Best = str | None  # a variant; None: nothing can serve in time


def best(
    offers: list[Offer],
    fleet: Fleet,
    query: Query,
    *,
    reserve_us: int,
    now_us: int,
    block_us: Callable[[Offer], int] = lambda _offer: 0,
) -> Best:
    """The variant that must answer: of all that keep accuracy and cost and are done in time on some executor, the
    most accurate; then the slowest pool; then the quickest variant.

    `block_us` is what a full block of the router takes: by the routing rule all but the quickest resident variant must
    have time for that. Without it the search is over all that one query could do.
    """
    asked = query.requirements
    menu = [offer for offer in offers if _asked_for(offer, asked.kind, asked.target)]
    pace: dict[str, int] = {}
    for offer in menu:
        pace[offer.pool] = min(offer.latency.p99_us[1], pace.get(offer.pool, int(NEVER)))
    menu.sort(key=lambda o: (-o.accuracy, -pace[o.pool], o.latency.p99_us[1], o.variant))
    menu = [offer for offer in menu if asked.cost_max is None or offer.cost_usd <= asked.cost_max]
    meeting = [offer for offer in menu if offer.accuracy >= asked.accuracy_min]
    below = [offer for offer in menu if offer.accuracy < asked.accuracy_min]
    executors = list(fleet.live(now_us=now_us))
    due_us = query.deadline_us - reserve_us
    resident = {(executor.pool, name): lane for executor in executors for name, lane in executor.lanes.items()}
    running = [offer for offer in meeting if (offer.pool, offer.variant) in resident]
    quickest = min(running, key=lambda offer: resident[offer.pool, offer.variant].latency_us[1], default=None)
    for rank, offer in enumerate(meeting + (below if asked.on_miss is OnMiss.DEGRADE else [])):
        if rank < len(meeting) and offer is not quickest and now_us + block_us(offer) > due_us:
            continue
        for executor in executors:
            lane = executor.lanes.get(offer.variant)
            if lane is not None and executor.pool == offer.pool and lane.finish_us(now_us) <= due_us:
                return offer.variant
    if asked.on_miss is OnMiss.LATE:
        return next((offer.variant for offer in running), None)
    return None


def same(got: Chosen | Refused | Parked, wanted: Best) -> bool:
    """Whether selection's decision is the oracle's; a query sent though it looks late is one that nothing can serve."""
    if isinstance(got, Chosen):
        return wanted is None if got.why == "least" else got.offer.variant == wanted
    return wanted is None


def _asked_for(offer: Offer, kind: TargetKind, target: str) -> bool:
    return target == {"task": offer.task, "model": offer.model, "variant": offer.variant}[kind.value]
