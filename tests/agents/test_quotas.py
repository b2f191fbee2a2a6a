"""The plan's shares as rates: accurate first up to its rate, then the next; and none without a plan."""

from __future__ import annotations

import msgspec
import pytest

from agents.fleet import Fleet
from agents.followed import Followed
from agents.quotas import BURST_MIN, Quota, Quotas
from agents.selection import Chosen
from streams.plans import ClassPlan, PlanRecord, Snapshot
from tests.agents.builders import EVERY, MENU, MS, T0, catalog, query, requirements, selector, telemetry

KLASS = "task=t slo=464 acc=0 cost=any prio=5"
ASKED = requirements(slo_ms=500)
SECOND_US = 1_000_000


def plan(**qps: float) -> ClassPlan:
    flows = tuple((variant, "cpu", rate) for variant, rate in qps.items())
    return ClassPlan(klass=KLASS, demand_qps=sum(qps.values()), unserved_qps=0.0, binding="none", flows=flows)


def served(rate: int, *plans: ClassPlan, seconds: int = 4) -> dict[str, int]:
    """Queries by variant of the last second, on an executor that is always idle again."""
    fleet = Fleet(router="r1")
    router = selector(catalog(*MENU), fleet)
    router.follow(plans, epoch=1, now_us=T0)
    counts: dict[str, int] = {}
    for n in range(rate * seconds):
        now_us = T0 + n * SECOND_US // rate
        fleet.heard(msgspec.structs.replace(telemetry("e", *EVERY), received={"r1": 1 << 62}), now_us=now_us)
        chosen = router.select(query(ASKED, arrived_us=now_us), now_us=now_us)
        assert isinstance(chosen, Chosen)
        if n >= rate * (seconds - 1):
            counts[chosen.offer.variant] = counts.get(chosen.offer.variant, 0) + 1
    return counts


def test_quota_is_a_rate_with_a_burst() -> None:
    """A hundred a second: a quarter of a second's at once, then one each 10 ms."""
    quota = Quota(100.0, now_us=T0)
    for _ in range(25):
        assert quota.open(T0)
        quota.take()

    assert not quota.open(T0 + 9 * MS)
    assert quota.open(T0 + 10 * MS)
    slow = Quota(0.1, now_us=T0)
    for _ in range(int(BURST_MIN)):
        assert slow.open(T0)
        slow.take()
    assert not slow.open(T0)


def test_follow_keeps_what_was_saved_up() -> None:
    """A plan each second must not give a new burst each second."""
    quotas = Quotas()
    assert quotas.follow([plan(good=100.0)], epoch=1, now_us=T0)
    quota = quotas.of(KLASS)["good", "cpu"]
    for _ in range(25):
        quota.take()

    assert not quotas.follow([plan(good=110.0)], epoch=2, now_us=T0)
    assert not quotas.of(KLASS)["good", "cpu"].open(T0)
    assert quotas.follow([plan(good=110.0, fair=1.0)], epoch=3, now_us=T0)
    assert quotas.follow([], epoch=4, now_us=T0)
    assert quotas.of(KLASS) == {}


def test_select_follows_the_plans_rates_the_best_first() -> None:
    """Forty a second for `good`, the rest for `poor`: also where `good` could take all, and `fair` is not planned."""
    counts = served(100, plan(good=40.0, poor=60.0))

    assert counts["good"] == pytest.approx(40, abs=2)
    assert counts["poor"] == pytest.approx(60, abs=2)


def test_select_a_load_below_the_plans_is_served_better_than_planned() -> None:
    """A plan for a hundred, and forty come: all to `good`."""
    assert served(40, plan(good=40.0, poor=60.0)) == {"good": 40}


def test_select_beyond_all_rates_and_without_a_plan_as_ever() -> None:
    """The best that is in time."""
    assert served(100) == {"good": 100}
    beyond = served(100, plan(poor=50.0))
    assert beyond["poor"] == pytest.approx(50, abs=2)
    assert beyond["good"] == pytest.approx(50, abs=2)


def test_select_leaves_the_plan_for_what_would_be_late() -> None:
    """`good` has a long queue: the query goes where it is in time."""
    fleet = Fleet(router="r1")
    router = selector(catalog(*MENU), fleet)
    router.follow([plan(good=100.0)], epoch=1, now_us=T0)
    fleet.heard(telemetry("e1", "good", busy_ms=600), now_us=T0)
    fleet.heard(telemetry("e2", "fair"), now_us=T0)

    chosen = router.select(query(ASKED), now_us=T0)

    assert isinstance(chosen, Chosen)
    assert chosen.offer.variant == "fair"


def test_followed_the_highest_epoch_counts_while_it_is_repeated() -> None:
    """An older one is ignored, and one that nobody repeats is followed no longer."""
    seen = Snapshot(made_us=0, hosts=(), pools=(), demands=())

    def record(epoch: int) -> PlanRecord:
        return PlanRecord(
            epoch=epoch, planner="p", made_us=0, trigger="", snapshot=seen, options={}, hosts={}, status="optimal",
            classes=(plan(good=float(epoch)),), method="m", objective=0.0, accuracy=0.0, usd_hour=0.0,
        )  # fmt: skip

    followed = Followed(max_age_s=180.0)
    followed.heard(record(7), now_us=T0)
    news = followed.news(now_us=T0)
    assert news is not None
    assert (news.epoch, news.classes) == (7, (plan(good=7.0),))

    followed.heard(record(5), now_us=T0)
    followed.heard(record(7), now_us=T0 + 170 * SECOND_US)
    assert followed.news(now_us=T0 + 181 * SECOND_US) is None
    gone = followed.news(now_us=T0 + 351 * SECOND_US)
    assert gone is not None
    assert (gone.epoch, gone.classes) == (0, ())
