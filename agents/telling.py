"""Telling on `decisions` what was weighed: of a sample of queries, and of those that asked. Shell around deciding.py.

Never at the cost of queries: what is over the bounds below, or finds the producer's queue long, is dropped and counted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import numpy as np
from confluent_kafka import KafkaException

from agents.deciding import decided
from agents.metrics import RouterMetrics
from agents.selection import Selector
from agents.verdict import Chosen, Parked, Refused
from streams.decisions import Decision, encode_decision
from streams.errors import Overloaded
from streams.outbox import Outbox
from streams.query import Query

log = logging.getLogger(__name__)

SAMPLED_APART_S = 0.02  # at most 50 a second
ASKED_APART_S, ASKED_BURST = 0.01, 100  # at most 100 a second: who asks for all shall not slow the others down
LOAD_MAX = 0.05  # of the time goes into samples: a look takes milliseconds where there are hundreds of lanes
QUEUED_MAX = 10_000  # records in the producer, a tenth of what it takes; beyond that `send` might wait


class Telling:
    """Says of which selections to tell, and tells. `left`: selections until the next sample."""

    def __init__(
        self, outbox: Outbox, metrics: RouterMetrics, *, topic: str, router: str, share: float,
        rng: np.random.Generator, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._outbox = outbox
        self._metrics = metrics
        self._topic = topic
        self._router = router
        self._share = share
        self._rng = rng
        self._clock = clock
        self._sample_at = self._asked_at = 0.0
        self._broken = False
        self.left = self._draw()

    def tell(
        self, selector: Selector, query: Query, outcome: Chosen | Refused | Parked, *, reply_topic: str, now_us: int
    ) -> None:
        """Tell of the selection that was just made, if the query asked for it or is the sample's; never raises."""
        if self.left <= 0:
            self.left = self._draw()
        if isinstance(outcome, Parked) and (not query.explain or query.explained):
            return  # it is tried again every few milliseconds
        begun = self._clock()
        if not self._may(query, begun):
            return
        said = self._said(selector, query, outcome, reply_topic, now_us)
        query.explained = True
        if not query.explain:
            self._sample_at = begun + max(SAMPLED_APART_S, (self._clock() - begun) / LOAD_MAX)
        self._count("told" if said is not None and self._sent(said) else "dropped")

    def _said(
        self, selector: Selector, query: Query, outcome: Chosen | Refused | Parked, reply_topic: str, now_us: int
    ) -> Decision | None:
        try:
            return decided(selector, query, outcome, router=self._router, reply_topic=reply_topic, now_us=now_us)
        except Exception:  # the query is chosen for and goes its way, whatever is wrong with the words about it
            if not self._broken:
                self._broken = True
                log.exception("a decision could not be put into words; later ones that cannot are only counted")
            return None

    def _sent(self, said: Decision) -> bool:
        if len(self._outbox) > QUEUED_MAX:
            return False
        try:
            self._outbox.send(self._topic, encode_decision(said), key=said.query_id.encode())
        except (KafkaException, Overloaded):
            return False
        return True

    def _may(self, query: Query, now: float) -> bool:
        if not query.explain:
            return now >= self._sample_at
        begin = max(self._asked_at, now - ASKED_BURST * ASKED_APART_S)  # what is saved up is bounded
        if begin > now:
            self._count("dropped")
            return False
        self._asked_at = begin + ASKED_APART_S
        return True

    def _count(self, what: str) -> None:
        self._metrics.decisions.labels(what).inc()

    def _draw(self) -> int:
        """How many selections until the next sample, by chance, so that no pattern in the load is favoured."""
        return int(self._rng.geometric(self._share)) if self._share > 0 else 1 << 62
