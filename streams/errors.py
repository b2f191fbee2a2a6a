"""Every error that a user can meet, with the code that stands on the wire.

A leaf says whose fault it is and whether the same query may be sent again. Codes are part of the
contract: they never change their meaning. Messages name the value and the limit.
"""

from __future__ import annotations

from typing import ClassVar


class HeadraceError(Exception):
    """Root of the tree; `code` is stable, `retryable` says whether trying again can help."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    @property
    def message(self) -> str:
        return str(self)


class ClientFault(HeadraceError):
    """The query, the call or the configuration must change."""


class ServerFault(HeadraceError):
    """Something on our side failed; the query may be fine."""

    retryable = True


# What a query can get wrong by itself.


class BadHeader(ClientFault):
    """A header of the query cannot be read, or its value is out of bounds."""

    code = "bad_header"


class BadReplyAddress(BadHeader):
    """The reply address itself cannot be read: the query goes to dead-letters."""

    code = "bad_reply_address"


class NoTarget(ClientFault):
    """The query names no task, model or variant, or more than one."""

    code = "no_target"


class UnsupportedContentType(ClientFault):
    """The payload's content type is not one that is served, or not one that this task takes."""

    code = "unsupported_content_type"


class EmptyPayload(ClientFault):
    """The record has no value, or an empty one."""

    code = "empty_payload"


class BadPayload(ClientFault):
    """The payload is not what its content type says, or not what the model takes."""

    code = "bad_payload"


class BadClaim(ClientFault):
    """The claim check is not `sha256:` and 64 hex digits."""

    code = "bad_claim"


class NoStore(ClientFault):
    """A claim check came, and no store is configured where it had to be resolved."""

    code = "no_store"


class ClaimNotFound(ClientFault):
    """The store has no value of that digest: it was never put there, or is no longer kept."""

    code = "claim_not_found"


class ClaimTooLarge(ClientFault):
    """The value in the store is larger than may be fetched."""

    code = "claim_too_large"


class ReplyTopicRefused(ClientFault):
    """The reply topic is not allowed or does not exist; the refusal itself is on `results`."""

    code = "reply_topic_refused"


# What a query asks that cannot be had.


class UnknownTarget(ClientFault):
    """No such task, model or variant is registered."""

    code = "unknown_target"


class AccuracyUnreachable(ClientFault):
    """No variant of the target is accurate enough; the message names the best."""

    code = "accuracy_unreachable"


class CostUnreachable(ClientFault):
    """No variant that meets the other requirements is cheap enough; the message names the cheapest."""

    code = "cost_unreachable"


class DeadlineUnreachable(ClientFault):
    """The deadline is shorter than the fastest suitable variant takes alone."""

    code = "deadline_unreachable"


# What time and load do to a query.


class DeadlinePassed(ClientFault):
    """The deadline came before the answer."""

    code = "deadline_passed"
    retryable = True


class WouldBeLate(ClientFault):
    """Dropped before it ran: its batch could not have finished in time."""

    code = "would_be_late"
    retryable = True


class NoExecutor(ServerFault):
    """No live executor serves what was asked."""

    code = "no_executor"


class Overloaded(ServerFault):
    """More queries wait than may wait."""

    code = "overloaded"


# What breaks on our side.


class ModelFailed(ServerFault):
    """The model raised, or gave what cannot be sent."""

    code = "model_failed"
    retryable = False


class DispatchFailed(ServerFault):
    """The query could not be put on a work topic."""

    code = "dispatch_failed"


class AttemptsExhausted(ServerFault):
    """Every executor that took the query died or gave it back."""

    code = "attempts_exhausted"


class ResultTooLarge(ServerFault):
    """The result is larger than a record may be."""

    code = "result_too_large"
    retryable = False


class StoreUnreachable(ServerFault):
    """The store of large values does not answer, refuses, or does not keep up."""

    code = "store_unreachable"


class ValueCorrupt(ServerFault):
    """What the store keeps under a digest is something else; put it there again."""

    code = "value_corrupt"
    retryable = False


class AnswerMissing(ServerFault):
    """No answer reached this client by the time that it was willing to wait."""

    code = "answer_missing"


class Unreachable(ServerFault):
    """The Kafka cluster does not answer."""

    code = "cluster_unreachable"


class BadSettings(ClientFault):
    """The configuration breaks a bound or a relation; the message lists every violation."""

    code = "bad_settings"


class BadRecord(ServerFault):
    """A record that this version cannot read: an answer, or one of registry or fleet."""

    code = "bad_record"
    retryable = False
