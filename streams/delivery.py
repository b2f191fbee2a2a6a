"""What librdkafka says about a query that could not be sent, in our own words."""

from __future__ import annotations

from confluent_kafka import KafkaError

from streams.errors import BadPayload, ClientFault, HeadraceError, Unreachable
from streams.settings import BOOTSTRAP_ENV, KafkaSettings
from streams.terminal import TOO_LARGE


class TopicMissing(ClientFault):
    """A topic of the contract is not there, or may not be seen by this user."""

    code = "topic_missing"


class NotAuthorized(ClientFault):
    """The cluster knows this user and refuses, or does not know it."""

    code = "not_authorized"


_MISSING = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 (librdkafka's local codes are named so)
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    }
)
_FORBIDDEN = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._AUTHENTICATION,  # noqa: SLF001
    }
)


def delivery_error(error: KafkaError, kafka: KafkaSettings, *, what: str) -> HeadraceError:
    """The error that a caller meets in place of librdkafka's `error`, which happened to `what`."""
    if error.code() in _MISSING:
        return topic_missing(kafka, what)
    if error.code() in TOO_LARGE:
        return BadPayload(f"{what}: larger than the broker takes ({error.str()}); value_max_bytes in [kafka] is ours")
    if error.code() in _FORBIDDEN:
        return NotAuthorized(f"{what}: {kafka.bootstrap} refuses: {error.str()}")
    return Unreachable(f"{what}: not delivered to {kafka.bootstrap}: {error.str()}")


def topic_missing(kafka: KafkaSettings, topic: str) -> TopicMissing:
    return TopicMissing(f"topic {topic!r} does not exist at {kafka.bootstrap}; run `headrace topics create`")


def no_answer(kafka: KafkaSettings, timeout_s: float, error: KafkaError) -> Unreachable:
    return Unreachable(
        f"no Kafka answers at {kafka.bootstrap} within {timeout_s:g} s ({error.str()}); "
        f"start one with `headrace broker`, or set {BOOTSTRAP_ENV}"
    )
