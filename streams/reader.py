"""The consumer that routers and executors share: takes records, marks, commits the finished prefix.

One thread at a time touches the librdkafka consumer: the one that has the turn. The reader's own thread has it
while there is nothing to do, since only a thread can wait. With each list the turn goes to the owner of the sink,
who reads on by itself for as long as there is a backlog: two threads that both have work wait for each other's
interpreter lock at every produce, which doubled the router's cost. Others call `finish`, which only appends to a
queue. On assignment the end offset of each partition is noted: records before it may have been
handled by the former owner, so they are handed over as marked. A thread that was stopped for longer than half
a group session cannot know whether it still owns its partitions; what it reads then is marked as well.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.prefix import Prefix
from streams.rdlog import log as rdkafka
from streams.unread import Unread
from streams.watermark import end_offset

log = logging.getLogger(__name__)

ALL_MARKED = 2**62  # the fence of a partition whose end offset could not be read
WATERMARK_S = 2.0
# librdkafka throws its read-ahead away at a pause and needs about a second to fetch again after the resume, so that a
# reader that paused at the bound and resumed below it gave 70 records/s where 1,600 could be handled.
FULL_POLL_S = 0.5  # a full reader looks for rebalances so often, and takes one record over the bound each time
FULL_PAUSE_S = 5.0  # it pauses when it has been full for so long
BEHIND_S = 0.25  # between two counts of what was not read
BRISK_RECORDS, BRISK_S = 10, 0.1  # so many records within that time: 100 a second


class Taken(NamedTuple):
    """One record in flight; give `prefix` and `offset` back to `Reader.finish`. Not so for one of the history."""

    message: Message
    prefix: Prefix
    offset: int
    marked: bool

    @property
    def history(self) -> bool:
        return self.offset < self.prefix.begin


class InFlight(Protocol):
    """What can be finished with others at once."""

    @property
    def prefix(self) -> Prefix: ...
    @property
    def offset(self) -> int: ...


class Finished(NamedTuple):
    """A record that was finished by itself."""

    prefix: Prefix
    offset: int


class Reader(threading.Thread):
    """Reads one topic as a member of a group and hands lists of `Taken` to `sink` (called in this thread).

    sink:          gets a list, and the turn with it; its owner asks for `more` until there is none, then gives the
                   turn back by `dealt`.
    in_flight_max: records taken and not finished; at the bound no further list is taken (a list may go beyond it).
    history:       how many records before the committed offset to read again, per partition.
    on_owned:      told the sorted partitions that are read, after every change.
    on_revoked:    told which partitions go, before the grace in which their work may still finish.
    """

    def __init__(
        self,
        config: dict[str, Any],
        topic: str,
        sink: Callable[[list[Taken]], None],
        *,
        in_flight_max: int,
        batch_max: int = 500,
        session_s: float = 3.0,
        grace_s: float = 1.0,
        history: int = 0,
        on_owned: Callable[[list[int]], None] | None = None,
        on_revoked: Callable[[list[int]], None] | None = None,
        name: str = "reader",
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.topic = topic
        self.progress_at = time.monotonic()
        self.failed: str | None = None
        self._consumer = Consumer(config, logger=rdkafka)
        self._incremental = config.get("group.protocol") == "consumer" or "sticky" in str(
            config.get("partition.assignment.strategy", "")
        )
        self._sink = sink
        self._in_flight_max = in_flight_max
        self._batch_max = batch_max
        self._session_s = session_s
        self._grace_s = grace_s
        self._history = history
        self._on_owned = on_owned
        self._on_revoked = on_revoked
        self._prefixes: dict[int, Prefix] = {}
        self._finished: deque[Sequence[InFlight]] = deque()
        self._in_flight = 0
        self._turn = threading.Semaphore(1)
        self._rest: Callable[[float], object] = time.sleep
        self._taken_at = deque([0.0] * BRISK_RECORDS, maxlen=BRISK_RECORDS)
        self._held = False
        self._paused: bool | None = False  # None: partly, after an assignment
        self._full_since: float | None = None
        self._polled_at = 0.0
        self._stop_requested = threading.Event()
        self._seen_at = time.monotonic()
        self._suspect_until = 0.0
        self.behind = 0  # records in the owned partitions that were not read yet, as far as the last fetches told
        self._behind_at = 0.0
        self._unread = Unread(self._consumer, topic)
        self._unfetched: set[int] = set()  # owned, and nothing came from the broker yet, not even that there is nothing

    @property
    def in_flight(self) -> int:
        return self._in_flight

    @property
    def owned(self) -> list[int]:
        return sorted(self._prefixes)

    @property
    def brisk(self) -> bool:
        """Whether records come so fast that who has the turn does better to wait for more than to give it back."""
        return not self._deaf() and time.monotonic() - self._taken_at[0] < BRISK_S

    def finish(self, prefix: Prefix, offset: int) -> None:
        """Say from any thread that a record is answered or passed on, and that this was acknowledged."""
        self.finish_all((Finished(prefix, offset),))

    def finish_all(self, items: Sequence[InFlight]) -> None:
        """The same for many, which count as finished in this order."""
        self._finished.append(items)

    def more(self, rest: Callable[[float], object] = time.sleep, *, wait_s: float = 0.0) -> list[Taken]:
        """Read on, waiting at most `wait_s`; only for who has the turn. Empty: nothing came, or no more may be taken.

        `rest` is called with seconds to wait while no more may be taken, or while partitions go and their work may
        still finish.
        """
        if self._deaf():
            return []
        self._rest = rest
        try:
            self._settle()
            if self._in_flight >= self._in_flight_max:
                if wait_s:
                    rest(wait_s)
                return []
            first = self._consumer.poll(wait_s) if wait_s else None
            now = self._seen()
            self.progress_at = self._polled_at = now
            if first is not None:
                return self._admit([first, *self._consumer.consume(self._batch_max - 1, 0)], now)
            return [] if wait_s else self._admit(self._consumer.consume(self._batch_max, 0), now)
        except Exception as broken:  # noqa: BLE001 (`_fail` logs it and ends the reader)
            self._fail(broken)
            return []
        finally:
            self._rest = time.sleep

    def dealt(self) -> None:
        """Give the turn back, from any thread: the last list is dealt with."""
        self._turn.release()

    def hold(self) -> None:
        """Take no further records (drain); what is in flight may finish."""
        self._held = True

    def stop(self) -> None:
        """Leave the group after the grace for what is in flight; join the thread to wait for it."""
        self._stop_requested.set()

    def run(self) -> None:
        self._seen_at = time.monotonic()
        try:
            self._consumer.subscribe(
                [self.topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
            )
            while not self._stop_requested.is_set():
                self._step()
            self._turn.acquire(timeout=self._grace_s)
            self._settle_until(time.monotonic() + self._grace_s, self._prefixes.values())
        except Exception as broken:  # noqa: BLE001 (`_fail` logs it and ends the reader)
            self._fail(broken)
        finally:
            self._settle()
            self._consumer.close()  # commits what is stored and leaves

    def _deaf(self) -> bool:
        return self._held or self.failed is not None or self._stop_requested.is_set()

    def _fail(self, broken: Exception) -> None:
        self.failed = f"{type(broken).__name__}: {broken}"
        self._stop_requested.set()
        log.error("reader failed", extra={"topic": self.topic}, exc_info=broken)

    def _step(self) -> None:
        if not self._turn.acquire(timeout=0.05):
            return
        self._settle()
        self._seen()
        taken = self._take()
        if taken:
            self._sink(taken)
        else:
            self._turn.release()

    def _seen(self) -> float:
        """Note that this thread runs, and whether it was stopped; returns the monotonic time."""
        now = time.monotonic()
        if now - self._seen_at > self._session_s / 2:
            self._suspect_until = now + self._session_s
            log.warning("reader was stopped for a while", extra={"seconds": round(now - self._seen_at, 2)})
        self._seen_at = now
        if now - self._behind_at > BEHIND_S:
            self._behind_at, self.behind = now, self._unread.count(self._prefixes)
        if self._unfetched:
            self._look_for_fetches()
        return now

    def _look_for_fetches(self) -> None:
        """Tell of partitions once they are really read: the first fetch may come most of a second later."""
        if fetched := self._unread.fetched(self._unfetched):
            self._unfetched -= fetched
            self._tell()

    def _take(self) -> list[Taken]:
        """Wait a moment for a record, and take what is there with it."""
        now = time.monotonic()
        full = self._in_flight >= self._in_flight_max
        if not full:
            self._full_since = None
        elif self._full_since is None:
            self._full_since = self._polled_at = now
        pause = self._held or (self._full_since is not None and now - self._full_since > FULL_PAUSE_S)
        if pause != self._paused:
            parts = self._consumer.assignment()
            (self._consumer.pause if pause else self._consumer.resume)(parts)
            self._paused = pause
        if full and not pause and now - self._polled_at < FULL_POLL_S:
            time.sleep(0.001)
            return []
        # consume(n, t) would wait all of t for n records; poll returns with the first, consume(n, 0) takes the rest.
        first = self._consumer.poll(0.002 if full or pause else 0.1)
        now = self._seen()
        self.progress_at = self._polled_at = now
        if first is None:
            return []
        messages = [first]
        if not full and not pause:
            messages += self._consumer.consume(self._batch_max - 1, 0)
        return self._admit(messages, now)

    def _admit(self, messages: list[Message], now: float) -> list[Taken]:
        """Take records in flight: each in its partition's prefix, marked if someone else may have had it."""
        self._taken_at.extend([now] * min(len(messages), BRISK_RECORDS))
        suspect = now < self._suspect_until
        taken: list[Taken] = []
        prefixes = self._prefixes
        for message in messages:
            if message.error() is not None:
                self._complain(message.error())
                continue
            prefix = prefixes.get(message.partition())  # type: ignore[arg-type]
            if prefix is None:
                continue
            offset = message.offset()
            assert offset is not None
            if offset < prefix.begin and prefix.last < 0:
                taken.append(Taken(message, prefix, offset, True))
                continue
            if offset <= prefix.last:
                prefix = self._restarted(prefix)
            prefix.start(offset)
            self._in_flight += 1
            taken.append(Taken(message, prefix, offset, suspect or offset < prefix.fence))
        return taken

    def _restarted(self, old: Prefix) -> Prefix:
        """Offsets went back (a truncated log, or a seek by librdkafka): start over, with everything marked."""
        log.warning("offsets went back", extra={"topic": self.topic, "partition": old.partition})
        old.active = False
        self._in_flight -= len(old)
        self._prefixes[old.partition] = new = Prefix(old.partition, fence=ALL_MARKED)
        return new

    def _settle(self) -> None:
        finished = self._finished
        if not finished:
            return
        before = sum(map(len, self._prefixes.values()))
        store: dict[Prefix, int] = {}
        while finished:
            for item in finished.popleft():
                prefix = item.prefix
                if prefix.active and (upto := prefix.finish(item.offset)) is not None:
                    store[prefix] = upto
        self._in_flight -= before - sum(map(len, self._prefixes.values()))
        for prefix, upto in store.items():
            try:
                self._consumer.store_offsets(offsets=[TopicPartition(self.topic, prefix.partition, upto)])
            except KafkaException as gone:
                if gone.args[0].code() != KafkaError._STATE:  # noqa: SLF001 (librdkafka's local codes are named so)
                    raise
                log.info("partition left before its commit", extra={"partition": prefix.partition})

    def _settle_until(self, end: float, prefixes: Any) -> None:
        while time.monotonic() < end and any(len(p) for p in prefixes):
            self._settle()
            self._rest(0.005)
        self._settle()

    # librdkafka calls these inside poll(); what they raised would appear as a SystemError of that call.

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        begins = self._rewind(consumer, partitions) if self._history else {}
        for part in partitions:
            try:
                end = end_offset(consumer, self.topic, part.partition, timeout_s=WATERMARK_S)
            except KafkaException as silent:
                log.warning("end offset unknown, all marked", extra={"partition": part.partition, "error": str(silent)})
                end = ALL_MARKED
            begin = begins.get(part.partition, 0)
            if begin > end:  # the log was cut or made anew below the commit: rather again than never
                begin = 0
            self._prefixes[part.partition] = Prefix(part.partition, fence=end, begin=begin)
            self._unfetched.add(part.partition)
        self._paused = None  # new partitions start unpaused, the others stay as they are
        self._tell()

    def _rewind(self, consumer: Consumer, partitions: list[TopicPartition]) -> dict[int, int]:
        """Assign from a little before the committed offsets, which are returned; on any doubt, from them."""
        begins: dict[int, int] = {}
        try:
            for part in consumer.committed(partitions, timeout=WATERMARK_S):
                if part.offset > 0:
                    begins[part.partition] = part.offset
        except KafkaException as silent:
            log.warning("no history", extra={"error": str(silent)})
        starts = [
            TopicPartition(self.topic, p.partition, max(0, begins[p.partition] - self._history))
            if p.partition in begins
            else p
            for p in partitions
        ]
        if self._incremental:
            consumer.incremental_assign(starts)
        else:
            consumer.assign(starts)
        return begins

    def _revoked(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        going = [self._prefixes[p.partition] for p in partitions if p.partition in self._prefixes]
        if self._on_revoked is not None:
            self._guarded(self._on_revoked, [p.partition for p in going])
        self._settle_until(time.monotonic() + self._grace_s, going)
        self._lost(_consumer, partitions)

    def _lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for part in partitions:
            self._unfetched.discard(part.partition)
            prefix = self._prefixes.pop(part.partition, None)
            if prefix is not None:
                prefix.active = False
                self._in_flight -= len(prefix)
        self._tell()

    def _tell(self) -> None:
        if self._on_owned is not None:
            self._guarded(self._on_owned, [partition for partition in self.owned if partition not in self._unfetched])

    def _guarded(self, call: Callable[[list[int]], None], partitions: list[int]) -> None:
        try:
            call(partitions)
        except Exception:
            log.exception("reader callback failed")

    def _complain(self, error: KafkaError | None) -> None:
        assert error is not None
        if error.fatal():
            raise KafkaException(error)
        log.warning("reader error", extra={"topic": self.topic, "error": error.str()})
