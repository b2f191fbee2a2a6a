"""Failed loads are remembered for a while, longer each time, and no longer than they matter."""

from __future__ import annotations

from agents.failures import FAILURES_MAX, FIRST_US, MOST_US, Failures

T0 = 10**15


def test_a_failure_counts_for_a_minute_after_it_was_last_said() -> None:
    """The order without the variant silences it; what runs or what never failed is not meant."""
    failures = Failures()
    failures.heard("e", ["v"], [], now_us=T0)
    failures.heard("e", ["v"], ["w"], now_us=T0 + 5)
    failures.heard("e", [], ["w"], now_us=T0 + 6)

    assert failures.of("e", now_us=T0 + 5 + FIRST_US) == {"v"}
    assert failures.of("e", now_us=T0 + 6 + FIRST_US) == set()
    assert failures.of("other", now_us=T0 + 6) == set()


def test_a_failure_that_comes_again_counts_for_twice_as_long() -> None:
    """Up to a bound; while it is said all along it is one failure."""
    failures = Failures()
    now_us, waits = T0, []
    for _ in range(7):
        for _ in range(3):
            failures.heard("e", ["v"], [], now_us=now_us)
        failures.heard("e", [], [], now_us=now_us + 1)
        waits.append(next(w for w in range(0, 2 * MOST_US, FIRST_US) if not failures.of("e", now_us=now_us + w + 1)))
        now_us += waits[-1] + 1

    assert waits == [FIRST_US * n for n in (1, 2, 4, 8, 16, 16, 16)]


def test_what_loads_is_forgiven() -> None:
    """At once, and the next failure is a first one."""
    failures = Failures()
    failures.heard("e", ["v"], [], now_us=T0)
    failures.heard("e", [], ["v"], now_us=T0 + 1)
    assert failures.of("e", now_us=T0 + 1) == set()

    failures.heard("e", ["v"], [], now_us=T0 + 2)
    failures.heard("e", [], [], now_us=T0 + 3)
    assert failures.of("e", now_us=T0 + 3 + FIRST_US) == set()


def test_failures_are_bounded_and_gone_executors_forgotten() -> None:
    """Beyond the bound nothing is remembered; there is room again once an executor is gone."""
    failures = Failures()
    failures.heard("e", [f"v{n}" for n in range(FAILURES_MAX)], [], now_us=T0)
    failures.heard("f", ["v"], [], now_us=T0)
    assert failures.of("f", now_us=T0) == set()

    failures.keep(["f"])
    failures.heard("f", ["v"], [], now_us=T0)
    assert failures.of("f", now_us=T0) == {"v"}
    assert failures.of("e", now_us=T0) == set()
