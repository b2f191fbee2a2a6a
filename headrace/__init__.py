"""The face of Headrace: clients for callers, `register` for operators. The command line is `headrace.cli`.

Names are imported when they are first used, so that `headrace --help` loads neither Kafka's library nor numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.registering import register
    from registry.registration import Registration
    from streams.aio import AsyncClient, AsyncPending
    from streams.client import Client
    from streams.contract import OnMiss, Outcome
    from streams.errors import AnswerMissing, HeadraceError, Overloaded, Unreachable
    from streams.pending import Counts, Pending
    from streams.records import Answer
    from streams.reply import Reply
    from streams.settings import KafkaSettings

__all__ = [
    "Answer",
    "AnswerMissing",
    "AsyncClient",
    "AsyncPending",
    "Client",
    "Counts",
    "HeadraceError",
    "KafkaSettings",
    "OnMiss",
    "Outcome",
    "Overloaded",
    "Pending",
    "Registration",
    "Reply",
    "Unreachable",
    "register",
]

_HOMES = {
    **dict.fromkeys(("AsyncClient", "AsyncPending"), "streams.aio"),
    "Client": "streams.client",
    **dict.fromkeys(("OnMiss", "Outcome"), "streams.contract"),
    **dict.fromkeys(("AnswerMissing", "HeadraceError", "Overloaded", "Unreachable"), "streams.errors"),
    **dict.fromkeys(("Counts", "Pending"), "streams.pending"),
    "Registration": "registry.registration",
    "Answer": "streams.records",
    "Reply": "streams.reply",
    "KafkaSettings": "streams.settings",
    "register": "headrace.registering",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
