"""What a caller gets back: one answer, with its outputs decoded when they are first looked at."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import msgspec

from streams import errors
from streams.answers import Emulated, ErrorBody, read_error
from streams.clock import to_ms
from streams.contract import Outcome
from streams.errors import BadRecord, ClientFault, HeadraceError, ServerFault
from streams.openinference import Array
from streams.records import Answer
from streams.responses import decode_v2_response


class Reply(msgspec.Struct, frozen=True, dict=True, repr_omit_defaults=True):
    """One answer, whatever its outcome; `raise_for_outcome()` is for those who prefer an exception.

    Units: `*_ms` are milliseconds, `cost_usd` is US dollars for this one answer.
    """

    answer: Answer

    @property
    def outcome(self) -> Outcome:
        return self.answer.outcome

    @property
    def ok(self) -> bool:
        return self.answer.outcome is Outcome.OK

    @property
    def query_id(self) -> str:
        return self.answer.query_id

    @property
    def variant(self) -> str | None:
        """What answered."""
        return self.answer.variant

    @property
    def accuracy(self) -> float | None:
        """The measured or published accuracy of that variant."""
        return self.answer.accuracy

    @property
    def attempt(self) -> int:
        """1, or more after a takeover."""
        return self.answer.attempt

    @property
    def latency_ms(self) -> float:
        """From the query's append to the answer."""
        return to_ms(self.answer.latency_us)

    @property
    def queue_ms(self) -> float:
        """Of it, waiting for a lane."""
        return to_ms(self.answer.queue_us)

    @property
    def batch(self) -> int:
        """How many queries ran together; 0 if it did not run."""
        return self.answer.batch

    @property
    def cost_usd(self) -> float:
        return self.answer.cost_usd

    @property
    def missed(self) -> str | None:
        """Which requirement was given up, as `on_miss` allowed."""
        return self.answer.missed

    @property
    def duplicate(self) -> bool:
        """Another copy of this answer may have been sent before; it is as good as an unmarked one."""
        return self.answer.duplicate

    @property
    def emulated(self) -> bool:
        """No model ran: an emulated fleet answered, and what the answer says means nothing."""
        return isinstance(self.answer, Emulated)

    @property
    def traceparent(self) -> str | None:
        return self.answer.traceparent

    @property
    def tracestate(self) -> str | None:
        return self.answer.tracestate

    @property
    def value(self) -> bytes:
        """The record's value: a v2 response, or an error object."""
        return self.answer.value

    @cached_property
    def outputs(self) -> Mapping[str, Array | list[str]]:
        """The outputs by name: arrays, and lists of strings for BYTES. Empty unless ok.

        Raises: BadRecord if the value is no v2 response.
        """
        if not self.ok:
            return {}
        return {
            output.name: list(map(str, output.data)) if output.datatype == "BYTES" else output.as_numpy()
            for output in decode_v2_response(self.value).outputs
        }

    @cached_property
    def labels(self) -> list[str]:
        """The labels of a classification, best first; empty if the outputs have none."""
        return next((data for data in self.outputs.values() if isinstance(data, list)), [])

    def top(self, count: int = 1) -> list[tuple[str, float]]:
        """The `count` best labels with their scores; a label without a score has NaN."""
        scores: list[float] = next(
            (
                data.ravel().tolist()
                for data in self.outputs.values()
                if not isinstance(data, list) and data.dtype.kind == "f" and data.size == len(self.labels)
            ),
            [float("nan")] * len(self.labels),
        )
        return list(zip(self.labels, scores, strict=True))[:count]

    @cached_property
    def error(self) -> ErrorBody | None:
        """Code, message and whether asking again can help; None if ok.

        Raises: BadRecord if the value is no error object.
        """
        if self.ok:
            return None
        try:
            return read_error(self.value)
        except msgspec.MsgspecError as unreadable:
            raise BadRecord(f"the value of {self!r} is no error object: {unreadable}") from unreadable

    def raise_for_outcome(self) -> Reply:
        """This reply if it is ok.

        Raises: the leaf of `streams.errors` that has the answer's code; ServerFault for a code of a newer version.
        """
        error = self.error
        if error is None:
            return self
        leaf = _LEAVES.get(error.code)
        raise ServerFault(f"{error.code}: {error.message}") if leaf is None else leaf(error.message)

    def __repr__(self) -> str:
        answer = self.answer
        facts: dict[str, Any] = {"variant": answer.variant, "batch": answer.batch or None, "code": answer.code}
        told = "".join(f", {name}={fact!r}" for name, fact in facts.items() if fact is not None)
        mark = ", duplicate" if answer.duplicate else ""
        return f"<Reply {answer.outcome} {answer.query_id!r}{told}, {self.latency_ms:.1f} ms{mark}>"


def _leaves() -> dict[str, type[HeadraceError]]:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HeadraceError)]
    return {kind.code: kind for kind in kinds if kind not in (HeadraceError, ClientFault, ServerFault)}


_LEAVES = _leaves()
assert BadRecord.code in _LEAVES
