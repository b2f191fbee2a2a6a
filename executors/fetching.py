"""Payloads that are not in their record: what a claim check names is fetched, and decoded, in a thread."""

from __future__ import annotations

from typing import cast

from executors.held import Held
from executors.job import Job
from executors.preparing import Prepared, prepared
from executors.processing import Preparation
from streams.claims import Claims, claim_of
from streams.contract import SET_STORE
from streams.errors import DeadlinePassed, EmptyPayload, HeadraceError, NoStore

Received = list[tuple[str, bytes | None]]
Item = tuple[object, HeadraceError | None]


class Fetching:
    """Calls `done(job, item, error)` where `claims` hands it over. What waits is bounded by the intake's cap."""

    def __init__(self, claims: Claims | None, done: Prepared) -> None:
        self._claims = claims
        self._done = done

    def begin(self, job: Job, held: Held, prepare: Preparation) -> HeadraceError | None:
        """Fetch for a record with an empty value, and set the job not ready; or say why there is nothing to fetch."""
        claim, claims = claim_of(cast("Received", held.message.headers() or [])), self._claims
        if claim is None:
            return EmptyPayload("the value has 0 bytes, and no claim-check stands beside it")
        if claims is None:
            return NoStore(f"a claim-check came, and this executor has no store: {SET_STORE}")
        job.ready = False
        content_type = held.dispatch.content_type

        def work() -> Item:
            if job.done:  # expired, or handed back, while it waited for a thread
                return None, DeadlinePassed("the query ended before its payload was fetched")
            return prepared(prepare, claims.fetch(claim), content_type)

        def done(got: Item | HeadraceError) -> None:
            item, error = (None, got) if isinstance(got, HeadraceError) else got
            self._done(job, item, error)

        claims.run(work, done)
        return None
