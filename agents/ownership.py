"""Which executors this router sends to, when several routers live.

Blocks of routers that share executors collide, down to random routing or worse. So each executor belongs to one
router, by the highest hash of the pair over the live routers: a router that comes or goes moves only its own share.
A router with too few executors loses more by that than by sharing: below 16 each, all are shared and spread by
plain round robin.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from streams.records import RouterReport

EXECUTORS_MIN = 16  # a router; owning 16 keeps .91 of the shared queue's goodput, owning 4 only .70 to .79
SILENCE_US = 2_000_000  # four heartbeats
ROUTERS_MAX = 1_000


class Ownership:
    """The live routers, this one always among them."""

    def __init__(self, router: str, *, silence_us: int = SILENCE_US) -> None:
        self._router = router
        self._silence_us = silence_us
        self._heard_us: dict[str, int] = {}
        self._owner: dict[str, str] = {}
        self._among: tuple[str, ...] = (router,)

    def heard(self, report: RouterReport, *, now_us: int) -> bool:
        """Note a router's sign of life; True if the set of live routers changed."""
        if report.router == self._router or 0 < report.sent_us < now_us - 5 * self._silence_us:
            return False  # itself, or history read from the topic
        before = self.routers(now_us=now_us)
        if report.state == "gone":
            self._heard_us.pop(report.router, None)
        elif report.router in self._heard_us or len(self._heard_us) < ROUTERS_MAX:
            self._heard_us[report.router] = now_us
        return self.routers(now_us=now_us) != before

    def routers(self, *, now_us: int) -> tuple[str, ...]:
        """The live routers by name; forgets the silent."""
        for name in [name for name, at_us in self._heard_us.items() if now_us - at_us > self._silence_us]:
            del self._heard_us[name]
        return tuple(sorted([*self._heard_us, self._router]))

    def divide(self, executors: Sequence[str], *, now_us: int) -> tuple[set[str], bool]:
        """Divide the executors of one group.

        Returns: those that this router sends to, and whether they are shared with other routers.
        """
        routers = self.routers(now_us=now_us)
        if len(routers) == 1:
            return set(executors), False
        if len(executors) < EXECUTORS_MIN * len(routers):
            return set(executors), True
        if routers != self._among or len(self._owner) > 4 * len(executors) + 1_000:
            self._among = routers
            self._owner.clear()
        owned = {name for name in executors if self._owner_of(name) == self._router}
        return (owned, False) if owned else (set(executors), True)

    def _owner_of(self, executor: str) -> str:
        owner = self._owner.get(executor)
        if owner is None:
            owner = self._owner[executor] = max(self._among, key=lambda router: _weight(router, executor))
        return owner


def _weight(router: str, executor: str) -> bytes:
    return hashlib.blake2b(f"{router}\0{executor}".encode(), digest_size=8).digest()
