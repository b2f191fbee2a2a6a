"""The demo while it runs: one panel that is drawn again, or a plain line now and then where there is no terminal."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.table import Table

from headrace.demo.figures import quantile
from headrace.demo.ledger import Entry, Ledger
from streams.clock import to_ms
from streams.contract import Outcome

DRAW_S = 0.25
LINE_S = 3.0
WINDOW_S = 5.0  # of the rates and percentiles shown
VARIANTS_MAX = 6


class Progress(threading.Thread):
    """Shows the ledger until `stop`; `note` is a line under it, such as a hint."""

    def __init__(self, console: Console, ledger: Ledger, *, hint: Callable[[], str]) -> None:
        super().__init__(name="demo-progress", daemon=True)
        self.phase = "starting"
        self._console = console
        self._ledger = ledger
        self._hint = hint
        self._recent: deque[tuple[float, list[Entry]]] = deque()
        self._since = time.monotonic()  # when the first look of the window began
        self._stop_requested = threading.Event()

    def run(self) -> None:
        if self._console.is_terminal:
            with Live(console=self._console, transient=True, auto_refresh=False) as live:
                while not self._stop_requested.wait(DRAW_S):
                    self._look()
                    live.update(self._table(), refresh=True)
            return
        while not self._stop_requested.wait(LINE_S):
            self._look()
            self._console.print(self._line(), soft_wrap=True, highlight=False)

    def stop(self) -> None:
        self._stop_requested.set()
        self.join(LINE_S)

    def _look(self) -> None:
        now = time.monotonic()
        self._recent.append((now, self._ledger.take_recent()))
        while self._recent[0][0] < now - WINDOW_S:
            self._since, _ = self._recent.popleft()

    def _window(self) -> list[Entry]:
        return [entry for _at, entries in self._recent for entry in entries]

    def _rate(self, answers: int) -> float:
        return answers / max(DRAW_S, time.monotonic() - self._since)

    def _line(self) -> str:
        totals, window = self._ledger.totals(), self._window()
        p50, p99 = _percentiles(window)
        outcomes = " ".join(f"{name} {count}" for name, count in sorted(totals.outcomes.items()))
        return (
            f"{self.phase}: {totals.answered} of {totals.asked} answered, {self._rate(len(window)):.0f}/s; {outcomes}; "
            f"p50 {p50:.1f} ms, p99 {p99:.1f} ms; copies {totals.copies}"
        )

    def _table(self) -> Table:
        totals, window = self._ledger.totals(), self._window()
        p50, p99 = _percentiles(window)
        table = Table(show_header=False, box=None, pad_edge=False)
        table.add_row("phase", self.phase)
        table.add_row("answered", f"{totals.answered} of {totals.asked} ({self._rate(len(window)):.0f}/s)")
        colours = {Outcome.OK: "green", Outcome.FAILED: "red"}
        table.add_row(
            "outcomes",
            "  ".join(f"[{colours.get(o, 'yellow')}]{o.value} {totals.outcomes.get(o, 0)}[/]" for o in Outcome),
        )
        table.add_row("seen here", f"p50 {p50:.1f} ms  p99 {p99:.1f} ms")
        table.add_row(f"last {WINDOW_S:g} s by", _variants(window))
        table.add_row("copies", f"{totals.copies} marked; queries with two unmarked answers: {totals.doubled}")
        table.add_row("", f"[dim]{self._hint()}[/]")
        return table


def _percentiles(window: list[Entry]) -> tuple[float, float]:
    took = sorted(to_ms(e.took_us) for e in window if e.answer is not None and e.answer.outcome is Outcome.OK)
    return quantile(took, 0.5), quantile(took, 0.99)


def _variants(window: list[Entry]) -> str:
    used = Counter(e.answer.variant for e in window if e.answer is not None and e.answer.variant is not None)
    return "  ".join(f"{variant} {count}" for variant, count in used.most_common(VARIANTS_MAX)) or "-"
