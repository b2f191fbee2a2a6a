"""Which executor could not load which variant, for a while after it last said so. Pure.

An executor names what failed only as long as its order wants it. Without a memory the next plan would put the variant
there again, and again. Each time that it fails anew it is left alone for twice as long.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

FIRST_US, MOST_US = 60_000_000, 960_000_000
FAILURES_MAX = 20_000  # further ones are not remembered, only heard


class Failure(msgspec.Struct, frozen=True, gc=False):
    """`heard_us`: when it was last said. `bar_us`: for how long it counts after that."""

    heard_us: int
    bar_us: int
    said: bool = True


class Failures:
    """By (executor, variant)."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, Failure]] = {}
        self._count = 0

    def heard(self, executor: str, failed: Collection[str], loaded: Iterable[str], *, now_us: int) -> None:
        """What an executor says now: what failed, and what runs."""
        known = self._known.get(executor, {})
        if not failed and not known:
            return
        made, runs = {}, set(loaded)
        for variant, failure in known.items():
            if variant in runs or now_us - failure.heard_us > failure.bar_us + MOST_US:
                continue
            if variant not in failed:
                made[variant] = Failure(failure.heard_us, failure.bar_us, said=False)
            elif failure.said:
                made[variant] = Failure(now_us, failure.bar_us)
            else:
                made[variant] = Failure(now_us, min(MOST_US, 2 * failure.bar_us))
        for variant in failed:
            if variant not in made and self._count < FAILURES_MAX:
                made[variant] = Failure(now_us, FIRST_US)
        self._count += len(made) - len(known)
        self._known[executor] = made
        if not made:
            del self._known[executor]

    def of(self, executor: str, *, now_us: int) -> set[str]:
        """Variants that should not be tried there now."""
        known = self._known.get(executor, {})
        return {variant for variant, failure in known.items() if now_us - failure.heard_us <= failure.bar_us}

    def keep(self, executors: Collection[str]) -> None:
        """Forget all others: they are gone, and one of that name would be a new one."""
        self._known = {name: known for name, known in self._known.items() if name in executors}
        self._count = sum(len(known) for known in self._known.values())
