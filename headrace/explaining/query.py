"""A query explained: what its router weighed, and what came of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.printing import answer_json
from streams.decisions import Candidate, Decision
from streams.records import Answer

CHOSEN = "chosen"
HOW = (
    "ask for it with the header `explain: true` (`headrace send --explain`, or explain=True in a client); "
    "of those 100 a second are kept, of others a sample, `decisions` in [router]; records stand for 6 hours"
)


class QueryExplained(msgspec.Struct, frozen=True, kw_only=True):
    """Shapes: `decisions` in the order of looks, `answers` in that of arrival; either may be empty."""

    query_id: str
    decisions: tuple[Decision, ...]
    answers: tuple[Answer, ...]

    @property
    def decision(self) -> Decision | None:
        """The look that led to the first answer; without one, the last."""
        attempt = self.answers[0].attempt if self.answers else 0
        mine = [each for each in self.decisions if each.attempt == attempt]
        return next(reversed(mine or self.decisions), None)

    @property
    def predicted_us(self) -> int | None:
        """Latency as it was predicted, from the arrival on and with the reply reserve."""
        decision = self.decision
        taken = None if decision is None else chosen(decision)
        return None if taken is None else taken.finish_us


def explained(query_id: str, decisions: Sequence[Decision], answers: Sequence[Answer]) -> QueryExplained:
    return QueryExplained(query_id=query_id, decisions=tuple(decisions), answers=tuple(answers))


def chosen(decision: Decision) -> Candidate | None:
    """The candidate that was taken, if one was."""
    if decision.outcome != CHOSEN:
        return None
    at = (decision.variant, decision.pool)
    return next((each for each in decision.candidates if (each.variant, each.pool) == at), None)


def as_json(found: QueryExplained) -> str:
    """One object; answers as `headrace results --json` prints them."""
    return msgspec.json.encode(
        {
            "query_id": found.query_id,
            "predicted_us": found.predicted_us,
            "decisions": found.decisions,
            "answers": [msgspec.Raw(answer_json(each).encode()) for each in found.answers],
        }
    ).decode()
