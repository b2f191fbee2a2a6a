"""Answers kept for repeated query ids, bounded by count and bytes; the least recently used goes first."""

from __future__ import annotations

from collections import OrderedDict

from streams.records import Answer

OVERHEAD_BYTES = 500  # of one entry beside its value, roughly


class Kept:
    def __init__(self, *, count_max: int, bytes_max: int) -> None:
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._bytes = 0

    def keep(self, answer: Answer) -> None:
        """Keep one answer; one that alone breaks the bound is not kept."""
        size = len(answer.value) + OVERHEAD_BYTES
        if size > self._bytes_max or not self._count_max:
            return
        self._forget(answer.query_id)
        self._answers[answer.query_id] = answer
        self._bytes += size
        while len(self._answers) > self._count_max or self._bytes > self._bytes_max:
            self._forget(next(iter(self._answers)))

    def get(self, query_id: str) -> Answer | None:
        answer = self._answers.get(query_id)
        if answer is not None:
            self._answers.move_to_end(query_id)
        return answer

    def __len__(self) -> int:
        return len(self._answers)

    def _forget(self, query_id: str) -> None:
        answer = self._answers.pop(query_id, None)
        if answer is not None:
            self._bytes -= len(answer.value) + OVERHEAD_BYTES
