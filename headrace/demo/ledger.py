"""The demo's own book: what was asked, and every answer to it, copies included. Pure but for its lock."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from headrace.demo.queries import Query
from streams.clock import Micros
from streams.contract import Outcome
from streams.records import Answer

PHASES = ("warm-up", "steady", "overload")


class Entry:
    """One query, and what came back. Units: wall clock of this machine."""

    __slots__ = ("answer", "answered_us", "asked_us", "copies", "phase", "query", "unmarked")

    def __init__(self, query: Query, phase: str, asked_us: Micros) -> None:
        self.query = query
        self.phase = phase
        self.asked_us = asked_us
        self.answer: Answer | None = None
        self.answered_us = Micros(0)
        self.copies = 0  # answers beyond the first
        self.unmarked = 0  # answers without `duplicate`; more than one is a broken promise

    @property
    def took_us(self) -> int:
        return self.answered_us - self.asked_us


class Totals(NamedTuple):
    """Where the whole load stands."""

    asked: int
    answered: int
    copies: int
    doubled: int
    outcomes: Counter[str]

    @property
    def open(self) -> int:
        return self.asked - self.answered


class Ledger:
    """Entries by query id; the sending and the reading thread both write."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._recent: list[Entry] = []
        self.foreign = 0

    def ask(self, query_id: str, query: Query, phase: str, *, now_us: Micros) -> None:
        """Enter a query before it is sent. Raises: AssertionError on an id that is known."""
        with self._lock:
            assert query_id not in self._entries, query_id
            self._entries[query_id] = Entry(query, phase, now_us)

    def hear(self, answer: Answer, *, at_us: Micros) -> None:
        """Enter one answer; the first counts, others are copies."""
        with self._lock:
            entry = self._entries.get(answer.query_id)
            if entry is None:
                self.foreign += 1
                return
            entry.unmarked += not answer.duplicate
            if entry.answer is not None:
                entry.copies += 1
                return
            entry.answer, entry.answered_us = answer, at_us
            self._recent.append(entry)

    def take_recent(self) -> list[Entry]:
        """What was answered since the last call."""
        with self._lock:
            taken, self._recent = self._recent, []
            return taken

    def entries(self, phases: Iterable[str] | None = None) -> list[Entry]:
        wanted = None if phases is None else set(phases)
        with self._lock:
            return [entry for entry in self._entries.values() if wanted is None or entry.phase in wanted]

    def totals(self) -> Totals:
        with self._lock:
            entries = list(self._entries.values())
        answered = [entry for entry in entries if entry.answer is not None]
        return Totals(
            asked=len(entries),
            answered=len(answered),
            copies=sum(entry.copies for entry in entries),
            doubled=sum(entry.unmarked > 1 for entry in entries),
            outcomes=Counter(_outcome(entry) for entry in answered),
        )


def _outcome(entry: Entry) -> Outcome:
    assert entry.answer is not None
    return entry.answer.outcome
