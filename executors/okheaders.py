"""The headers of `ok` answers: made once a variant by streams/answers.py, then filled in for each query."""

from __future__ import annotations

import msgspec

from streams.answers import Emulated, headers_of
from streams.clock import to_ms
from streams.contract import Outcome, Style
from streams.outbox import Headers
from streams.records import Answer, Dispatch

Header = tuple[str, str | bytes | None]


class Batch(msgspec.Struct, frozen=True, gc=False):
    """The headers that the answers of one batch share."""

    batch: Header
    cost: Header


class OkHeaders:
    """`headers_of` for the common answers of one variant, at a third of its time (see `common`)."""

    __slots__ = ("_answer", "_forms", "_queue", "_queue_us")

    def __init__(self, *, variant: str, accuracy: float | None, emulated: bool = False) -> None:
        kind = Emulated if emulated else Answer
        self._answer = kind(
            query_id="", outcome=Outcome.OK, value=b"", reply_topic="", variant=variant, accuracy=accuracy, batch=1
        )
        self._forms: dict[tuple[Style, bool], _Form] = {}
        self._queue_us = -1
        self._queue: Header = ("", "")

    def batch(self, size: int, cost_usd: float) -> Batch:
        """Units: `cost_usd` of one query."""
        return Batch(("batch", str(size)), ("cost", f"{cost_usd:.3g}"))

    def of(self, dispatch: Dispatch, batch: Batch, *, latency_us: int, queue_us: int) -> Headers:
        """As `headers_of` of the whole answer, for a dispatch that is `common`."""
        correlation = dispatch.correlation
        form = self._forms.get((dispatch.style, correlation is None))
        if form is None:
            form = self._form(dispatch)
        if queue_us != self._queue_us:  # those that were read together waited equally long
            self._queue_us, self._queue = queue_us, ("queue-ms", f"{to_ms(queue_us):.3f}")
        headers = form.headers.copy()
        headers[form.identity] = ("query-id", dispatch.query_id)
        if correlation is not None:
            headers[form.correlation] = (form.correlation_name, correlation)
        headers[form.latency] = ("latency-ms", f"{latency_us / 1_000:.3f}")
        headers[form.queue] = self._queue
        headers[form.batch] = batch.batch
        headers[form.cost] = batch.cost
        return headers

    def _form(self, dispatch: Dispatch) -> _Form:
        absent = dispatch.correlation is None
        answer = msgspec.structs.replace(self._answer, style=dispatch.style, correlation=None if absent else b"")
        form = self._forms[dispatch.style, absent] = _Form(headers_of(answer))
        return form


def common(dispatch: Dispatch) -> bool:
    """Whether `OkHeaders` can make the answer's headers, as long as it is unmarked.

    So it is for a first attempt, with nothing missed, no trace, and not in CloudEvents.
    """
    return (
        dispatch.attempt == 1
        and dispatch.traceparent is None
        and dispatch.tracestate is None
        and dispatch.style is not Style.CLOUDEVENTS
        and dispatch.missed is None
        and not dispatch.late_ok
    )


class _Form:
    """An answer's headers, and where among them stands what differs."""

    __slots__ = ("batch", "correlation", "correlation_name", "cost", "headers", "identity", "latency", "queue")

    def __init__(self, headers: Headers) -> None:
        self.headers = headers
        names = [name for name, _ in headers]
        self.identity, self.latency, self.queue = (names.index(n) for n in ("query-id", "latency-ms", "queue-ms"))
        self.batch, self.cost = names.index("batch"), names.index("cost")
        self.correlation = names.index("outcome") + 1
        self.correlation_name = names[self.correlation]
