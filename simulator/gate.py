"""One router of the second world: the shipped selection, parking and counting, told by records that took their time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec
import numpy as np

from agents.counting import Counting
from agents.counts import Counts
from agents.fleet import Fleet
from agents.followed import Followed
from agents.parking import Parking
from agents.selection import Selector
from agents.verdict import Chosen, Parked
from registry.catalog import Catalog
from simulator.engine import Engine
from streams.clock import NEVER
from streams.plans import PlanRecord
from streams.query import Query, Requirements
from streams.records import Arrivals, Telemetry

TURN_US = 10_000
RETRIES_PER_TURN = 256
PLAN_MAX_AGE_S = 180.0


class Choosing(msgspec.Struct, frozen=True, kw_only=True):
    """[router] policy, live_correction, reply_reserve_ms, parked_max and park_ms."""

    policy: Literal["blocks", "round-robin", "random"] = "blocks"
    live_correction: bool = True
    reply_reserve_ms: float = 3.0
    parked_max: int = 10_000
    park_ms: int = 30_000


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """A query that came to this router, by its number."""

    number: int
    query: Query


class Gate:
    """`send` carries a chosen query to its executor, `refuse` answers one with a code, `tell` writes counts."""

    def __init__(
        self, engine: Engine, catalog: Catalog, *, name: str, settings: Choosing, rng: np.random.Generator,
        send: Callable[[Waiting, Chosen], None], refuse: Callable[[int, str], None],
        tell: Callable[[list[Arrivals]], None],
    ) -> None:  # fmt: skip
        self.name = name
        self.fleet = Fleet(router=name)
        self.selector = Selector(catalog, self.fleet, settings=settings, rng=rng)
        self._engine, self._settings = engine, settings
        self._send, self._refuse, self._tell = send, refuse, tell
        self._counts, self._counting = Counts(), Counting()
        self._parking: Parking[Waiting] = Parking(count_max=settings.parked_max)
        self._plan = Followed(max_age_s=PLAN_MAX_AGE_S)
        engine.every(TURN_US, self._turn)

    def arrive(self, number: int, asked: Requirements, arrived_us: int) -> None:
        """A query that was written at `arrived_us` and is read now."""
        self._counts.add(asked, second=arrived_us // 1_000_000, partition=0)
        deadline_us = NEVER if asked.slo_us is None else arrived_us + asked.slo_us
        query = Query(query_id="", id_given=False, requirements=asked, arrived_us=arrived_us, deadline_us=deadline_us)
        self.choose(Waiting(number, query))

    def choose(self, waiting: Waiting) -> None:
        """Choose for a query, that is new, was parked, or came back."""
        now_us, query = self._engine.now_us, waiting.query
        outcome = self.selector.select(query, now_us=now_us)
        if isinstance(outcome, Chosen):
            self._send(waiting, outcome)
        elif isinstance(outcome, Parked):
            until_us = min(outcome.until_us, query.deadline_us, now_us + self._settings.park_ms * 1_000)
            if not self._parking.park(waiting, until_us=until_us):
                self._refuse(waiting.number, "overloaded")
        else:
            self._refuse(waiting.number, outcome.error.code)

    def heard(self, word: Telemetry) -> None:
        self.fleet.heard(word, now_us=self._engine.now_us)

    def plan(self, record: PlanRecord) -> None:
        self._plan.heard(record, now_us=self._engine.now_us)

    def _turn(self) -> None:
        now_us = self._engine.now_us
        if (news := self._plan.news(now_us=now_us)) is not None:
            self.selector.follow(news.classes, epoch=news.epoch, now_us=now_us)
        if len(self._parking):
            for late in self._parking.expired(now_us=now_us):
                code = "deadline_passed" if now_us >= late.query.deadline_us else "no_executor"
                self._refuse(late.number, code)
            for waiting in self._parking.take(RETRIES_PER_TURN):
                self.choose(waiting)
        if told := self._counting.turn(self._counts, parked=len(self._parking), now_us=now_us):
            self._tell(told)
