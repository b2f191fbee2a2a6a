"""The reader on real Kafka: marks, commits and rebalances lose nothing and hide nothing."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Self

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from streams.reader import Reader, Taken
from streams.settings import KafkaSettings
from tests.streams.echo import fresh_kafka

pytestmark = pytest.mark.kafka


class Member:
    """One reader and what it was given; `finishing` finishes each record as soon as it is taken."""

    def __init__(self, kafka: KafkaSettings, *, finishing: bool = False, dealing: bool = True, **options: Any) -> None:
        self.taken: list[Taken] = []
        self.lists = 0
        self.owned: list[list[int]] = []
        self.revoked: list[list[int]] = []
        self._finishing, self._dealing = finishing, dealing
        self.reader = Reader(
            kafka.consumer("g"), kafka.topic("queries"), self._sink,
            **{"in_flight_max": 1_000, "on_owned": self.owned.append, "on_revoked": self.revoked.append, **options},
        )  # fmt: skip

    def __enter__(self) -> Self:
        self.reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self.reader.stop()
        self.reader.join(20)
        assert not self.reader.is_alive()
        assert self.reader.failed is None

    def _sink(self, taken: list[Taken]) -> None:
        self.taken += taken
        self.lists += 1
        if self._finishing:
            self.finish(taken)
        if self._dealing:
            self.reader.dealt()

    def finish(self, taken: list[Taken]) -> None:
        for each in taken:
            if not each.history:
                self.reader.finish(each.prefix, each.offset)

    def values(self) -> list[int]:
        return [number(each) for each in self.taken]


def number(taken: Taken) -> int:
    return int(taken.message.value() or b"-1")


def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def produce(kafka: KafkaSettings, numbers: range, partitions: int = 1, producer: Producer | None = None) -> None:
    producer = producer or Producer(kafka.producer())
    for n in numbers:
        producer.produce(kafka.topic("queries"), str(n), partition=n % partitions)
    assert producer.flush(10) == 0


def committed(kafka: KafkaSettings, partition: int = 0) -> int:
    consumer = Consumer(kafka.consumer("g"))
    [found] = consumer.committed([TopicPartition(kafka.topic("queries"), partition)], timeout=10)
    consumer.close()
    return found.offset


@pytest.fixture
def kafka(bootstrap: str) -> KafkaSettings:
    """One partition of queries."""
    return fresh_kafka(bootstrap, query_partitions=1)


def test_records_before_the_assignment_are_marked_later_ones_not(kafka: KafkaSettings) -> None:
    """What was there before us may have been answered by another; what came after cannot."""
    produce(kafka, range(5))
    with Member(kafka) as member:
        until(lambda: len(member.taken) == 5)
        produce(kafka, range(5, 9))
        until(lambda: len(member.taken) == 9)

    assert [(number(each), each.marked) for each in member.taken] == [(n, n < 5) for n in range(9)]


def test_commit_is_the_contiguous_finished_prefix_and_the_rest_comes_again(kafka: KafkaSettings) -> None:
    """Finished out of order: only what has no gap before it is committed, the next reader gets the rest, marked."""
    produce(kafka, range(6))
    with Member(kafka, grace_s=0.1) as member:
        until(lambda: len(member.taken) == 6)
        member.finish([member.taken[n] for n in (0, 1, 3, 5)])
        until(lambda: member.reader.in_flight == 4)
    offset = committed(kafka)
    with Member(kafka, finishing=True) as after:
        until(lambda: len(after.taken) == 4)

    assert offset == 2
    assert [(number(each), each.marked) for each in after.taken] == [(n, True) for n in (2, 3, 4, 5)]
    assert committed(kafka) == 6


class PauseCounter(Consumer):
    """Counts, since what matters is how often it happens."""

    pauses = 0

    def pause(self, partitions: list[TopicPartition]) -> None:
        PauseCounter.pauses += 1
        super().pause(partitions)


def drained(kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch, *, hold_s: float) -> tuple[int, list[int], int]:
    """A slow owner with room for 10: how many it held after `hold_s`, what it got in the end, how often it paused."""
    monkeypatch.setattr("streams.reader.Consumer", PauseCounter)
    monkeypatch.setattr(PauseCounter, "pauses", 0)
    produce(kafka, range(100))
    with Member(kafka, in_flight_max=10, batch_max=5) as member:
        until(lambda: len(member.taken) >= 10)
        time.sleep(hold_s)
        held = len(member.taken)
        done = 0
        while done < 100:
            until(lambda: len(member.taken) > done)  # noqa: B023 (called at once)
            now = len(member.taken)
            member.finish(member.taken[done:now])
            done = now
    return held, member.values(), PauseCounter.pauses


def test_in_flight_cap_holds_back_without_pausing(kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy owner gets no more than it may hold, and at once when there is room: a pause would cost a second."""
    held, values, pauses = drained(kafka, monkeypatch, hold_s=0.3)

    assert 10 <= held <= 15
    assert values == list(range(100))
    assert pauses == 0
    assert committed(kafka) == 100


def test_long_full_reader_pauses_and_resumes(kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner that is stuck takes one record over its bound now and then, and in the end none."""
    monkeypatch.setattr("streams.reader.FULL_POLL_S", 0.05)
    monkeypatch.setattr("streams.reader.FULL_PAUSE_S", 0.3)
    held, values, pauses = drained(kafka, monkeypatch, hold_s=1.0)

    assert 10 <= held <= 15 + 7
    assert values == list(range(100))
    assert pauses >= 1


def test_reader_gives_the_turn_away_with_a_list(kafka: KafkaSettings) -> None:
    """Until the turn is back, the reader's thread takes nothing; who has it reads on without a gap or a copy."""
    produce(kafka, range(100))
    with Member(kafka, dealing=False, batch_max=10) as member:
        until(lambda: member.lists == 1)
        time.sleep(0.3)
        alone = member.lists
        more: list[Taken] = []
        while len(more) < 50:
            more += member.reader.more()
        member.reader.dealt()
        until(lambda: member.lists == 2)
        member.reader.dealt()
        until(lambda: member.lists == 3)

    assert alone == 1
    got = [number(each) for each in more] + member.values()
    assert sorted(got) == list(range(len(got)))


def test_reader_waits_for_the_next_list_while_it_is_brisk(kafka: KafkaSettings) -> None:
    """Who has the turn may wait for what comes; a stream that has been quiet for a while is brisk no more."""
    produce(kafka, range(20))
    with Member(kafka, dealing=False) as member:
        until(lambda: member.lists == 1)
        threading.Timer(0.2, produce, [kafka, range(20, 25)]).start()
        began = time.monotonic()
        more = member.reader.more(wait_s=10.0)
        waited = time.monotonic() - began
        until(lambda: not member.reader.brisk)
        produce(kafka, range(25, 40))
        while len(more) < 20:
            more += member.reader.more(wait_s=1.0)
        brisk = member.reader.brisk
        member.reader.hold()
        held = member.reader.brisk, member.reader.more(wait_s=1.0)
        member.reader.dealt()

    assert 0.1 < waited < 10.0
    assert [number(each) for each in more] == list(range(20, 40))
    assert brisk
    assert held == (False, [])


def test_full_reader_lets_its_owner_work_while_it_waits(kafka: KafkaSettings) -> None:
    """At the bound nothing is read; the wait is spent on what makes room."""
    produce(kafka, range(20))
    rests: list[float] = []
    with Member(kafka, dealing=False, in_flight_max=5, batch_max=5) as member:
        until(lambda: member.lists == 1)
        full = member.reader.more(rests.append, wait_s=0.5)
        member.finish(member.taken)
        more = member.reader.more(rests.append, wait_s=5.0)
        member.reader.dealt()

    assert full == []
    assert rests == [0.5]
    assert more


class OneThread(Consumer):
    """Notes who asks it for anything but its making: a consumer serves one thread at a time, others wait for it."""

    asking: set[str] = set()

    def get_watermark_offsets(self, *args: Any, **options: Any) -> Any:
        self.asking.add(threading.current_thread().name)
        return super().get_watermark_offsets(*args, **options)


def test_behind_is_counted_by_who_reads_and_told_to_anybody(kafka: KafkaSettings) -> None:
    """While the reader is full, what it does not take is counted; asking for the count never waits for its poll."""
    OneThread.asking = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streams.reader.Consumer", OneThread)
        with Member(kafka, in_flight_max=3, batch_max=3) as member:
            until(lambda: bool(member.reader.owned))
            produce(kafka, range(20))
            until(lambda: 10 < member.reader.behind <= 17)
            asked = {member.reader.name}
            member.finish(member.taken)
    assert OneThread.asking == asked


def test_finished_lists_are_committed_as_a_prefix(kafka: KafkaSettings) -> None:
    """Lists finished together, in any order, commit up to the first gap."""
    produce(kafka, range(30))
    with Member(kafka, grace_s=0.1) as member:
        until(lambda: len(member.taken) == 30)
        first, gap, last = member.taken[:10], member.taken[10], member.taken[11:]
        member.reader.finish_all(last)
        member.reader.finish_all(first)
        until(lambda: member.reader.in_flight == 20)

    assert gap.offset == 10
    assert committed(kafka) == 10


def test_held_reader_takes_nothing_and_commits_what_finishes(kafka: KafkaSettings) -> None:
    """Drain: no further work, but what was taken still counts."""
    produce(kafka, range(3))
    with Member(kafka) as member:
        until(lambda: len(member.taken) == 3)
        member.reader.hold()
        time.sleep(0.2)  # the reader may be inside the poll that began before
        produce(kafka, range(3, 6))
        time.sleep(0.5)
        member.finish(member.taken)

    assert member.values() == [0, 1, 2]
    assert committed(kafka) == 3


def test_stop_waits_the_grace_for_what_is_in_flight(kafka: KafkaSettings) -> None:
    """Work that ends within the grace after `stop` is committed."""
    produce(kafka, range(3))
    with Member(kafka, grace_s=5.0) as member:
        until(lambda: len(member.taken) == 3)
        threading.Timer(0.3, member.finish, [member.taken]).start()
        member.stop()

    assert committed(kafka) == 3


def test_history_is_read_again_before_the_commit_and_not_counted(kafka: KafkaSettings) -> None:
    """A new owner sees the last records before the commit, as history: to remember, not to answer."""
    produce(kafka, range(10))
    with Member(kafka, finishing=True) as member:
        until(lambda: len(member.taken) == 10)
    produce(kafka, range(10, 12))
    with Member(kafka, finishing=True, history=3) as after:
        until(lambda: len(after.taken) == 5)

    assert [(number(each), each.history) for each in after.taken] == [
        (7, True), (8, True), (9, True), (10, False), (11, False),
    ]  # fmt: skip
    assert committed(kafka) == 12


def test_second_member_takes_over_within_the_grace_without_loss(bootstrap: str) -> None:
    """Records in flight at the revocation finish in the grace and do not come again; the others are served on."""
    kafka = fresh_kafka(bootstrap, query_partitions=4)
    produce(kafka, range(40), partitions=4)
    with ExitStack() as stack:
        first = stack.enter_context(Member(kafka, grace_s=3.0))
        until(lambda: len(first.taken) == 40)
        second = stack.enter_context(Member(kafka, finishing=True))
        until(lambda: bool(first.revoked))
        first.finish(first.taken)  # what was revoked is in its grace now
        until(lambda: sorted(first.reader.owned + second.reader.owned) == [0, 1, 2, 3] and bool(second.reader.owned))
        produce(kafka, range(40, 80), partitions=4)
        until(lambda: len(first.taken) + len(second.taken) == 80)
        first.finish(first.taken[40:])

    assert sorted(first.values() + second.values()) == list(range(80))
    assert set(first.revoked[0]) == set(second.owned[-1] or second.owned[-2])
    assert not any(each.marked for each in second.taken)
    assert [committed(kafka, partition) for partition in range(4)] == [20] * 4


def test_work_that_outlives_the_grace_comes_again_marked(bootstrap: str) -> None:
    """What the former owner had not finished is handed to the new one as perhaps answered; nothing is lost."""
    kafka = fresh_kafka(bootstrap, query_partitions=2)
    produce(kafka, range(20), partitions=2)
    with ExitStack() as stack:
        first = stack.enter_context(Member(kafka, grace_s=0.2))
        until(lambda: len(first.taken) == 20)
        second = stack.enter_context(Member(kafka, finishing=True))
        until(lambda: len(second.taken) == 10)
        first.finish(first.taken)  # too late for the partition that went
        until(lambda: first.reader.in_flight == 0)

    again = Counter(first.values() + second.values())
    assert sorted(again) == list(range(20))
    assert sum(count == 2 for count in again.values()) == 10
    assert all(each.marked for each in second.taken)
    assert [committed(kafka, partition) for partition in range(2)] == [10, 10]


def test_many_members_come_and_go_nothing_is_lost(bootstrap: str) -> None:
    """Three members join and leave while 3,000 records arrive: each record is taken, and unmarked at most once."""
    kafka = fresh_kafka(bootstrap, query_partitions=4)
    produced = threading.Event()

    def feed() -> None:
        producer = Producer(kafka.producer())
        for start in range(0, 3_000, 50):
            produce(kafka, range(start, start + 50), partitions=4, producer=producer)
            time.sleep(0.04)
        produced.set()

    members = [Member(kafka, finishing=True) for _ in range(3)]
    feeder = threading.Thread(target=feed)
    with members[0]:
        until(lambda: members[0].reader.owned == [0, 1, 2, 3])
        feeder.start()
        with members[1]:
            time.sleep(0.7)
            with members[2]:
                time.sleep(0.7)
        assert produced.wait(30)
        until(lambda: len({n for member in members for n in member.values()}) == 3_000)
    feeder.join()

    unmarked = Counter(number(each) for member in members for each in member.taken if not each.marked)
    assert max(unmarked.values()) == 1
    assert sum(committed(kafka, partition) for partition in range(4)) == 3_000
