"""Which planner leads, and which epochs it may use. Pure.

The first by name of those that are heard of leads, once it has listened for long enough to have heard the others; and
whoever stood still for so long (a suspended process, a stalled machine) listens anew before it leads again.
"""

from __future__ import annotations

from streams.records import PlannerReport

SILENCE_S = 3.0  # a planner that says nothing for so long is not there
JUMP = 100  # epochs that a new leader leaves out: orders of the old one may still be on their way
PLANNERS_MAX = 1_000  # that are remembered at once


class Leading:
    """One planner's view of the others. `fresh`: it has published no plan since it leads."""

    def __init__(self, name: str) -> None:
        self.epoch = 0  # the highest that was given, or heard of
        self.fresh = True
        self._name = name
        self._others: dict[str, float] = {}
        self._listening_since: float | None = None
        self._turned_at = 0.0

    def heard(self, report: PlannerReport, *, now_s: float) -> None:
        self.epoch = max(self.epoch, report.epoch)
        if report.planner != self._name and len(self._others) < PLANNERS_MAX:
            self._others[report.planner] = now_s

    def leads(self, *, now_s: float) -> bool:
        """To be asked a few times a second, after what was heard was told. Units: `now_s` monotonic."""
        if self._listening_since is None or now_s - self._turned_at > SILENCE_S / 2:
            self._listening_since = now_s
        self._turned_at = now_s
        self._others = {name: at for name, at in self._others.items() if now_s - at < SILENCE_S}
        listened = now_s - self._listening_since >= SILENCE_S
        leads = listened and all(self._name < other for other in self._others)
        self.fresh = self.fresh or not leads
        return leads

    def next_epoch(self, standing: int) -> int:
        """For the next plan, above all that was seen; `standing` is the highest on `scaling`."""
        return max(self.epoch, standing) + (JUMP if self.fresh else 1)

    def gave(self, epoch: int) -> None:
        """A plan with this epoch was published."""
        self.epoch, self.fresh = epoch, False
