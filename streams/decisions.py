"""What a router weighed for one query: records of the topic `decisions`, a sample of all, or those asked for."""

from __future__ import annotations

import msgspec


class Candidate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A variant that came into question. Units: `finish_us` from the arrival on, as predicted; None if nothing runs it.

    `no`: why it was not taken, in words; empty for the choice.
    """

    variant: str
    pool: str
    accuracy: float
    finish_us: int | None = None
    executor: str = ""
    no: str = ""


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One look at one query; a query that is tried again has several. Key: the query id.

    Shapes: `candidates` in the order of preference.
    Units:  `deadline_us` and `at_us` since the epoch. `epoch`: of the plan whose shares counted, 0 without one.
    """

    query_id: str
    klass: str
    router: str
    at_us: int
    arrived_us: int
    deadline_us: int
    outcome: str  # chosen, parked, or the code of the refusal
    why: str = ""
    variant: str = ""
    pool: str = ""
    executor: str = ""
    attempt: int = 1
    epoch: int = 0
    candidates: tuple[Candidate, ...] = ()
    left_out: int = 0  # candidates beyond those
    reply_topic: str = ""  # where the answer goes


encode_decision = msgspec.json.Encoder().encode
decode_decision = msgspec.json.Decoder(Decision).decode
