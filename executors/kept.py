"""Answers kept for repeated queries, bounded by count and bytes; the least recently used goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from streams.records import Answer

OVERHEAD_BYTES = 500  # of one entry beside its value, roughly


class Kept:
    """Answers by what makes two queries the same; who keeps them says what that is."""

    def __init__(self, *, count_max: int, bytes_max: int) -> None:
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._answers: OrderedDict[Hashable, Answer] = OrderedDict()
        self._bytes = 0

    def keep(self, identity: Hashable, answer: Answer) -> None:
        """Keep one answer; one that alone breaks the bound is not kept."""
        size = len(answer.value) + OVERHEAD_BYTES
        if size > self._bytes_max or not self._count_max:
            return
        self._forget(identity)
        self._answers[identity] = answer
        self._bytes += size
        while len(self._answers) > self._count_max or self._bytes > self._bytes_max:
            self._forget(next(iter(self._answers)))

    def get(self, identity: Hashable) -> Answer | None:
        answer = self._answers.get(identity)
        if answer is not None:
            self._answers.move_to_end(identity)
        return answer

    def __len__(self) -> int:
        return len(self._answers)

    def _forget(self, identity: Hashable) -> None:
        answer = self._answers.pop(identity, None)
        if answer is not None:
            self._bytes -= len(answer.value) + OVERHEAD_BYTES
