"""The face of Headrace: clients for callers. The command line is `headrace.cli`."""

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
    "Reply",
    "Unreachable",
]
