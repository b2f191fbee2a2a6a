"""One line of `headrace doctor`: what was looked at, how it is, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from confluent_kafka import KafkaException

from streams.errors import HeadraceError

Verdict = Literal["ok", "warn", "fail"]


class Finding(NamedTuple):
    """`todo` is what to do about it; empty when it is ok."""

    verdict: Verdict
    subject: str
    detail: str
    todo: str = ""


Look = Callable[[], Iterable[Finding]]


def looked(subject: str, look: Look) -> list[Finding]:
    """What a look found; one that failed is a finding too, so that the others still happen."""
    try:
        return list(look())
    except HeadraceError as error:
        return [Finding("fail", subject, error.message)]
    except KafkaException as refused:
        return [Finding("fail", subject, f"Kafka refused: {refused.args[0].str()}", "ask who runs the cluster")]
    except OSError as error:
        return [Finding("fail", subject, str(error))]
