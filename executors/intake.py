"""From records to jobs: read the decision, end what must not run here, decode what is quickly decoded."""

from __future__ import annotations

from typing import cast

from executors.answering import Answering
from executors.fetching import Fetching
from executors.held import Held
from executors.job import Job
from executors.preparing import spoiled
from executors.residency import Resident
from executors.telemetry import Reporter
from streams.clock import Micros, to_ms
from streams.contract import INTERNAL
from streams.errors import BadHeader, DeadlinePassed
from streams.reader import Taken
from streams.records import Dispatch, decode_dispatch


class Intake:
    """Turns what was read into jobs; `residents` are the variants that can run here, kept by the loop."""

    def __init__(
        self,
        answering: Answering,
        reporter: Reporter,
        fetching: Fetching,
        residents: dict[str, Resident],
    ) -> None:
        self._answering = answering
        self._reporter = reporter
        self._fetching = fetching
        self._residents = residents

    def jobs(self, taken: list[Taken], *, draining: bool, now_us: Micros) -> list[Job]:
        """The jobs among these records; the others are ended: refused, handed back, or answered as before.

        Jobs whose payload takes long to decode are not ready: the machine says when that is done.
        """
        jobs: list[Job] = []
        newest: dict[str, Dispatch] = {}
        for one in taken:
            held = self._held(one)
            if held is None:
                continue
            dispatch = held.dispatch
            seen = newest.get(dispatch.router)
            if seen is None or dispatch.seq > seen.seq:
                newest[dispatch.router] = dispatch
            resident = self._residents.get(dispatch.variant)
            # What the former owner of the slot may have had goes back. What is marked only because this process was
            # stopped for a while stays and runs: handed back, it would come here again.
            inherited = held.offset < held.prefix.fence
            if inherited and now_us >= dispatch.deadline_us and not dispatch.late_ok:
                self._answering.refuse(held, passed(dispatch, now_us))
            elif inherited or resident is None or draining:
                self._answering.hand_back(held, marked=one.marked)
            elif not (dispatch.keep and dispatch.marked and self._answering.again(held)):
                job = Job(
                    variant=dispatch.variant, deadline_us=dispatch.deadline_us, queued_us=now_us,
                    slot=held.prefix.partition, late_ok=dispatch.late_ok, ref=held,
                )  # fmt: skip
                if self._prepare(job, held, resident):
                    jobs.append(job)
        for dispatch in newest.values():
            self._reporter.received(dispatch)
        return jobs

    def _held(self, one: Taken) -> Held | None:
        message, prefix, offset, marked = one
        raw = b""
        for name, value in reversed(cast("list[tuple[str, bytes | None]]", message.headers() or [])):
            if name == INTERNAL:
                raw = value or b""
                break
        try:
            dispatch = decode_dispatch(raw)
        except ValueError as foreign:  # msgspec's errors are ValueErrors
            error = BadHeader(f"a work record needs the header {INTERNAL!r} with a decision: {foreign}")
            self._answering.dead_letter(message, prefix, offset, error)
            return None
        return Held(message, prefix, offset, dispatch, dispatch.marked or marked, self._answering)

    def _prepare(self, job: Job, held: Held, resident: Resident) -> bool:
        """Decode now what is quickly decoded, and fetch what is elsewhere; False if it is spoiled and answered."""
        content_type = held.dispatch.content_type
        value = held.message.value() or b""
        if not value:
            held.error = self._fetching.begin(job, held, resident.prepare)
        elif resident.prepare.heavy(content_type):
            job.ready, job.heavy = False, True
        else:
            try:
                held.item = resident.prepare(value, content_type)
            except Exception as error:  # noqa: BLE001 - `spoiled` logs what is none of ours
                held.error = spoiled(error)
        if held.error is not None:
            self._answering.refuse(held, held.error)
        return held.error is None


def passed(dispatch: Dispatch, now_us: int) -> DeadlinePassed:
    """Why a query whose deadline came is answered so."""
    return DeadlinePassed(f"the deadline passed {to_ms(now_us - dispatch.deadline_us):.1f} ms ago")
