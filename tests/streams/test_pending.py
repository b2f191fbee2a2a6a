"""The ledger of waiting queries: a number leaves it once, and every answer is accounted for."""

from __future__ import annotations

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streams.pending import FORGOTTEN_MAX, HEAP_SLACK, Counts, Ledger, Pending, Unwanted


def pending(number: int) -> Pending:
    return Pending(number, f"q{number}", lambda _number: False)


class LedgerMachine(RuleBasedStateMachine):
    """Against a dictionary of what each number is by now."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(count_max=5, bytes_max=100)
        self.state: dict[int, str] = {}
        self.until: dict[int, int] = {}
        self.undelivered: list[int] = []
        self.now_us = 0
        self.expected = Counts()

    @rule(size=st.integers(0, 150), patience_us=st.integers(0, 50))
    def open(self, size: int, patience_us: int) -> None:
        waiting = sum(state == "open" for state in self.state.values())
        fits = waiting < 5 and (not sum(self.undelivered) or sum(self.undelivered) + size <= 100)
        assert self.ledger.room(size) == fits
        if fits:
            number = len(self.state) + 1
            self.ledger.open(pending(number), size_bytes=size, give_up_us=self.now_us + patience_us)
            self.state[number], self.until[number] = "open", self.now_us + patience_us
            self.undelivered.append(size)
            self.expected.submitted += 1

    @precondition(lambda self: self.undelivered)
    @rule()
    def deliver(self) -> None:
        self.ledger.delivered(self.undelivered.pop())

    @precondition(lambda self: self.state)
    @rule(data=st.data(), patience_us=st.integers(0, 50))
    def wait_until(self, data: st.DataObject, patience_us: int) -> None:
        number = data.draw(st.sampled_from(sorted(self.state)))
        is_open = self.state[number] == "open"
        assert self.ledger.wait_until(number, self.now_us + patience_us) == is_open
        if is_open:
            self.until[number] = self.now_us + patience_us

    @precondition(lambda self: self.state)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.state)))
        got = self.ledger.answered(number)
        was = self.state[number]
        self.state[number] = "answered"
        match was:
            case "open":
                assert isinstance(got, Pending)
                assert got.number == number
                self.expected.answered += 1
            case "cancelled":
                assert got is Unwanted.DROPPED
                self.expected.dropped += 1
            case "late":
                assert got is Unwanted.LATE
                self.expected.late += 1
            case _:
                assert got is Unwanted.COPY
                self.expected.copies += 1

    @precondition(lambda self: self.state)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.state)))
        assert self.ledger.forget(number) == (self.state[number] == "open")
        if self.state[number] == "open":
            self.state[number] = "cancelled"
            self.expected.cancelled += 1

    @precondition(lambda self: self.state)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.state)))
        assert (self.ledger.refused(number) is not None) == (self.state[number] == "open")
        if self.state[number] == "open":
            self.state[number] = "late"
            self.expected.undelivered += 1

    @rule(step_us=st.integers(0, 30))
    def tick(self, step_us: int) -> None:
        self.now_us += step_us
        due = [number for number, state in self.state.items() if state == "open" and self.until[number] <= self.now_us]
        assert sorted(taken.number for taken in self.ledger.due(now_us=self.now_us)) == due
        for number in due:
            self.state[number] = "late"
            self.expected.missing += 1

    @invariant()
    def agrees(self) -> None:
        assert len(self.ledger) == sum(state == "open" for state in self.state.values())
        assert self.ledger.undelivered_bytes == sum(self.undelivered)
        assert msgspec.structs.asdict(self.ledger.counts) == msgspec.structs.asdict(self.expected)


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_ledger_answered_queries_leave_no_deadline_behind() -> None:
    """A fast client with long deadlines does not keep a heap of all that it ever asked."""
    ledger = Ledger(count_max=10, bytes_max=10**9)
    for number in range(1, 20_000):
        ledger.open(pending(number), size_bytes=1, give_up_us=10**12)
        ledger.answered(number)

    assert len(ledger._heap) <= HEAP_SLACK + 2


def test_ledger_forgotten_numbers_are_bounded() -> None:
    """Someone who cancels all the time does not fill the memory either."""
    ledger = Ledger(count_max=10, bytes_max=10**9)
    for number in range(1, 2 * FORGOTTEN_MAX):
        ledger.open(pending(number), size_bytes=1, give_up_us=10**12)
        ledger.forget(number)

    assert len(ledger._forgotten) == FORGOTTEN_MAX
    assert ledger.answered(2 * FORGOTTEN_MAX - 1) is Unwanted.DROPPED
    assert ledger.answered(1) is Unwanted.COPY
