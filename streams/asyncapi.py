"""The contract as an AsyncAPI 3 document, for tools; from the same tables as the page for people.

Headrace is the application that it describes: it *receives* queries and *sends* answers.
Source: asyncapi.com, specification 3.0.0 and Kafka bindings 0.5.0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from streams.answers import ErrorBody
from streams.contract import ANSWER_HEADERS, CONTENT_TYPES, QUERY_HEADERS, AccuracyBound, HeaderRow, OnMiss, Outcome
from streams.decisions import Decision
from streams.openinference import DATATYPES
from streams.plans import PlanRecord
from streams.records import Arrivals, Forecast, PlannerReport, PoolReport, RouterReport, Telemetry
from streams.scaling import ExecutorOrder, PoolOrder
from streams.settings import KafkaSettings
from streams.topics import Topic, table

BINDING = "0.5.0"
CHOICES: dict[str, list[str]] = {
    "outcome": [outcome.value for outcome in Outcome],
    "accuracy-bound": [choice.value for choice in AccuracyBound],
    "on-miss": [choice.value for choice in OnMiss],
    "duplicate": ["true"],
}
_FLEET = ("Telemetry", "RouterReport", "PoolReport", "PlannerReport")
BINARY = frozenset({"correlation-id"})
ALWAYS_ANSWERED = ["query-id", "outcome", "attempt", "latency-ms", "content-type"]
# Who writes and who reads each topic, as Headrace sees it, and what stands in it.
TRAFFIC: dict[str, tuple[tuple[str, ...], str]] = {
    "queries": (("receive",), "query"),
    "work": (("send", "receive"), "work"),
    "results": (("send",), "answer"),
    "dead-letters": (("send",), "deadLetter"),
    "registry": (("send", "receive"), "definition"),
    "fleet": (("send", "receive"), "telemetry"),
    "arrivals": (("send",), "arrivals"),
    "forecasts": (("send",), "forecast"),
    "plans": (("send", "receive"), "plan"),
    "decisions": (("send",), "decision"),
    "scaling": (("send", "receive"), "order"),
}


def render(kafka: KafkaSettings) -> str:
    """docs/asyncapi.json."""
    return msgspec.json.format(msgspec.json.encode(document(kafka)), indent=2).decode() + "\n"


def document(kafka: KafkaSettings) -> dict[str, Any]:
    """The whole document, as plain values."""
    rows = table(kafka)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Headrace",
            "version": "1.0.0",  # of the contract, not of the program
            "description": "Model-less inference serving on Kafka. Rules in words: contract.md.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"cluster": {"host": kafka.bootstrap, "protocol": "kafka", "description": "Your Kafka cluster."}},
        "channels": {_name(row): _channel(kafka, row) for row in rows} | {"replies": _replies()},
        "operations": dict(_operations(rows)),
        "components": {"messages": _messages(), "schemas": _schemas()},
    }


def _name(row: Topic) -> str:
    return row.name.replace(".", "-")


def _kind(row: Topic) -> str:
    return "work" if row.name.startswith("work.") else row.name


def _channel(kafka: KafkaSettings, row: Topic) -> dict[str, Any]:
    message = TRAFFIC[_kind(row)][1]
    binding = {
        "topic": kafka.topic(row.name),
        "partitions": row.partitions,
        "topicConfiguration": {key: _setting(key, value) for key, value in row.config.items()},
        "bindingVersion": BINDING,
    }
    return {
        "address": kafka.topic(row.name),
        "description": f"Key: {row.key}. Value: {row.value}.",
        "messages": {message: _ref("messages", message)},
        "bindings": {"kafka": binding},
    }


def _replies() -> dict[str, Any]:
    return {
        "address": None,
        "description": "The topic that a query's reply-topic names, among the allowed; without one, results.",
        "messages": {"answer": _ref("messages", "answer")},
    }


def _setting(key: str, value: str) -> object:
    if key == "cleanup.policy":
        return value.split(",")
    return int(value) if value.isdigit() else value


def _operations(rows: list[Topic]) -> Iterable[tuple[str, dict[str, Any]]]:
    for row in rows:
        actions, message = TRAFFIC[_kind(row)]
        channel = f"#/channels/{_name(row)}"
        for action in actions:
            operation: dict[str, Any] = {
                "action": action,
                "channel": {"$ref": channel},
                "messages": [{"$ref": f"{channel}/messages/{message}"}],
            }
            if row.name == "queries":
                operation["summary"] = "A query; its answer goes where it says."
                operation["reply"] = {
                    "address": {"location": "$message.header#/reply-topic", "description": "Default: results."},
                    "channel": {"$ref": "#/channels/replies"},
                    "messages": [{"$ref": "#/channels/replies/messages/answer"}],
                }
            yield f"{action}-{_name(row)}", operation


def _messages() -> dict[str, Any]:
    correlation = {"location": "$message.header#/correlation-id"}
    return {
        "query": {
            "summary": "What is wanted, in headers; the payload, untouched.",
            "contentType": "application/octet-stream",
            "headers": _headers(QUERY_HEADERS, required=[]),
            "payload": {
                "description": "One of "
                + ", ".join(CONTENT_TYPES)
                + ", as content-type says; empty beside a claim-check."
            },
            "correlationId": correlation,
        },
        "work": {
            "summary": "A query with the router's decision in the header `headrace`. Internal.",
            "payload": {"description": "The query's payload, untouched."},
        },
        "answer": {
            "summary": "How a query ended; its key is the query id.",
            "headers": _headers(ANSWER_HEADERS, required=ALWAYS_ANSWERED),
            "payload": {"oneOf": [_ref("schemas", "InferenceResponse"), _ref("schemas", "Error")]},
            "correlationId": correlation,
            "bindings": {"kafka": {"key": {"type": "string"}, "bindingVersion": BINDING}},
        },
        "deadLetter": {
            "summary": "A record that could not be answered: as it came, with the reason as headers.",
            "headers": {"type": "object", "properties": {"error-code": {"type": "string"}}, "required": ["error-code"]},
            "payload": {"description": "The original value."},
        },
        "definition": {
            "summary": "A task, model, variant, pool or profile; registry/records.py.",
            "payload": {"type": "object", "properties": {"type": {"type": "string"}}, "required": ["type"]},
            "bindings": {"kafka": {"key": {"type": "string"}, "bindingVersion": BINDING}},
        },
        "telemetry": {
            "summary": "What an executor, a router, a provisioner or a planner says of itself.",
            "payload": {"anyOf": [_ref("schemas", name) for name in _FLEET]},
        },
        "arrivals": {"summary": "Queries of one class in one second.", "payload": _ref("schemas", "Arrivals")},
        "forecast": {"summary": "How high a class's rate is expected to be.", "payload": _ref("schemas", "Forecast")},
        "plan": {"summary": "What should run, from what, and why.", "payload": _ref("schemas", "PlanRecord")},
        "decision": {"summary": "What was weighed for one query.", "payload": _ref("schemas", "Decision")},
        "order": {
            "summary": "What an executor should hold, or how many machines a pool should have; old epochs are ignored.",
            "payload": {"anyOf": [_ref("schemas", "ExecutorOrder"), _ref("schemas", "PoolOrder")]},
        },
    }


def _headers(rows: Iterable[HeaderRow], *, required: list[str]) -> dict[str, Any]:
    """Under their plain names; the others are in the description."""
    properties: dict[str, Any] = {}
    for row in rows:
        others = [name for name in (row.cloudevents, row.spring) if name and name != row.name]
        properties[row.name] = {
            "type": "string",
            "description": row.meaning + (f" (also {', '.join(others)})" if others else ""),
            **({"enum": CHOICES[row.name]} if row.name in CHOICES else {}),
            **({"contentEncoding": "binary"} if row.name in BINARY else {}),
        }
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}


def _schemas() -> dict[str, Any]:
    flowing = [Telemetry, RouterReport, PoolReport, PlannerReport, Arrivals, Forecast, PlanRecord, Decision]
    _, ours = msgspec.json.schema_components(
        [*flowing, ExecutorOrder, PoolOrder, ErrorBody], ref_template="#/components/schemas/{name}"
    )
    output = {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "datatype": {"enum": [*DATATYPES, "BYTES"]},
            "data": {"type": "array", "description": "Flat, row-major."},
        },
    }
    response = {
        "type": "object",
        "description": "Open Inference Protocol v2.",
        "required": ["model_name", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": ["string", "null"]},
            "id": {"type": ["string", "null"]},
            "outputs": {"type": "array", "items": output},
        },
    }
    error = {"type": "object", "required": ["error"], "properties": {"error": _ref("schemas", "ErrorBody")}}
    return {"InferenceResponse": response, "Error": error, **ours}


def _ref(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}
