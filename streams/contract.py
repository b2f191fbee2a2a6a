"""The contract of a query and its answer, as tables; `read_query` (query.py) obeys them, docs print them.

Header values are UTF-8 text unless a row says otherwise; the last of a repeated header counts, and the
CloudEvents and Spring names of a row are the same header under another name.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

CONTENT_TYPES = ("application/json", "application/x-npy", "image/jpeg", "image/png")
QUERY_ID_MAX_BYTES = 256  # it becomes a record key and a header of every hop
REQUIREMENT_MAX_BYTES = 256  # of each requirement header and of traceparent: they are kept, logged and quoted
CORRELATION_MAX_BYTES = 1_024  # echoed on the answer, whose headers must stay small beside its value
SLO_MS_MAX = 86_400_000.0  # a day; longer waits are best effort
PRIORITY_MAX = 9
CLAIM = "claim-check"  # names a value that is kept in the store (claims.py)
SET_STORE = "set [blobs] url (HEADRACE_BLOBS__URL) to the store that clients and executors share"
INTERNAL = "headrace"  # the one header between our own processes: a decision or a return, as JSON


class Outcome(enum.StrEnum):
    """How a query ended; exactly one of these stands on every answer."""

    OK = "ok"
    EXPIRED = "expired"
    REJECTED = "rejected"
    FAILED = "failed"


class OnMiss(enum.StrEnum):
    """What to do when the requirements cannot all be met."""

    REJECT = "reject"
    DEGRADE = "degrade"
    LATE = "late"


class AccuracyBound(enum.StrEnum):
    """Which end of a variant's accuracy must keep the floor."""

    VALUE = "value"
    LOWER = "lower"


class Style(enum.StrEnum):
    """Which header set a query came in; the answer echoes it."""

    PLAIN = "plain"
    CLOUDEVENTS = "cloudevents"
    SPRING = "spring"


class TargetKind(enum.StrEnum):
    TASK = "task"
    MODEL = "model"
    VARIANT = "variant"


class HeaderRow(NamedTuple):
    """One header of the contract, for code and for docs."""

    name: str
    cloudevents: str
    spring: str
    meaning: str


QUERY_HEADERS = (
    HeaderRow("task", "ce_task", "", "what is asked; one of task, model, variant is required"),
    HeaderRow("model", "ce_model", "", "ask one model, any variant of it"),
    HeaderRow("variant", "ce_variant", "", "ask exactly this variant"),
    HeaderRow("slo-ms", "ce_sloms", "", "deadline, in ms after the record's timestamp (0 < slo-ms <= 86400000)"),
    HeaderRow("expires-at", "ce_expiresat", "", "deadline, in ms since the epoch; counts before slo-ms"),
    HeaderRow("accuracy-min", "ce_accuracymin", "", "least accuracy of the variant that answers, 0 to 1"),
    HeaderRow(
        "accuracy-bound",
        "ce_accuracybound",
        "",
        "what must keep accuracy-min: value (default), or lower: the lower end of its 95 % interval",
    ),
    HeaderRow("cost-max", "ce_costmax", "", "most that 1,000 such queries may cost, in USD"),
    HeaderRow("priority", "ce_priority", "", "0 (offline) to 9; default 5"),
    HeaderRow("on-miss", "ce_onmiss", "", "reject (default), degrade (less accuracy) or late (after the deadline)"),
    HeaderRow("query-id", "ce_source + ce_id", "", "identity, at most 256 bytes; default topic-partition-offset"),
    HeaderRow("reply-topic", "ce_replytopic", "kafka_replyTopic", "where the answer goes; default: results"),
    HeaderRow(
        "reply-partition",
        "ce_replypartition",
        "kafka_replyPartition",
        "its partition; Spring: 4 bytes, big endian",
    ),
    HeaderRow(
        "correlation-id", "ce_correlationid", "kafka_correlationId", "any bytes, at most 1,024; echoed unchanged"
    ),
    HeaderRow("content-type", "content-type", "", "of the value: " + ", ".join(CONTENT_TYPES)),
    HeaderRow(
        CLAIM,
        "ce_claimcheck",
        "",
        "sha256: and 64 hex digits; the value is in the store under that digest, and empty (0 bytes, not null) here",
    ),
    HeaderRow(
        "explain",
        "ce_explain",
        "",
        "true: what the router weighs for this query goes to the topic decisions; false (default): only by chance",
    ),
    HeaderRow("traceparent", "traceparent", "", "W3C trace context, carried to the answer"),
    HeaderRow("tracestate", "tracestate", "", "the vendors' part of it, carried along"),
)

ANSWER_HEADERS = (
    HeaderRow("query-id", "ce_queryid", "", "the query's identity; also the record's key"),
    HeaderRow("outcome", "ce_outcome", "", "ok, expired, rejected or failed"),
    HeaderRow("correlation-id", "ce_correlationid", "kafka_correlationId", "as it came"),
    HeaderRow("code", "ce_code", "", "the error's stable code, unless ok"),
    HeaderRow("variant", "ce_variant", "", "what answered"),
    HeaderRow("accuracy", "ce_accuracy", "", "the measured or published accuracy of that variant"),
    HeaderRow("attempt", "ce_attempt", "", "1, or more after a takeover"),
    HeaderRow("latency-ms", "ce_latencyms", "", "from the query's timestamp to the answer"),
    HeaderRow("queue-ms", "ce_queuems", "", "of it, waiting for a lane"),
    HeaderRow("batch", "ce_batch", "", "how many queries ran together"),
    HeaderRow("cost", "ce_cost", "", "USD of machine time that this answer used"),
    HeaderRow("missed", "ce_missed", "", "with on-miss: which requirement was given up"),
    HeaderRow("duplicate", "ce_duplicate", "", "true: another copy of this answer may have been sent before"),
    HeaderRow("emulated", "ce_emulated", "", "true: no model ran; an emulated fleet answered, and means nothing by it"),
    HeaderRow(
        CLAIM, "ce_claimcheck", "", "the value was too large: it is in the store under this digest, and empty here"
    ),
    HeaderRow("content-type", "content-type", "", "application/json"),
    HeaderRow("traceparent", "traceparent", "", "as it came"),
    HeaderRow("tracestate", "tracestate", "", "as it came"),
)

OUTCOMES = (
    (Outcome.OK, "The model ran; the value is an Open Inference Protocol v2 response."),
    (Outcome.EXPIRED, "The deadline passed, or could no longer be met; nothing was returned in its place."),
    (Outcome.REJECTED, "The query is malformed, or no variant can meet its requirements."),
    (Outcome.FAILED, "The model raised, or its result could not be delivered."),
)
