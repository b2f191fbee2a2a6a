"""The written contract is the one that the code obeys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams import errors
from streams.asyncapi import document
from streams.contract import ANSWER_HEADERS, QUERY_HEADERS
from streams.document import DEFAULTS, pages
from streams.errors import HeadraceError
from streams.settings import KafkaSettings
from streams.topics import table

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("path", pages())
def test_committed_page_equals_the_generated_one(path: str) -> None:
    """Else: `headrace docs generate`."""
    assert (ROOT / path).read_text(encoding="utf-8") == pages()[path]


def test_pages_do_not_depend_on_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever generates them gets the same."""
    before = pages()
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "elsewhere:1")

    assert pages() == before


def test_every_error_has_its_line_and_every_code_is_one() -> None:
    """A code on the wire that no page explains would be a riddle; two errors with one code as well."""
    page = pages()["docs/contract.md"]
    leaves = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, HeadraceError) and "code" in vars(kind)
    ]
    codes = [leaf.code for leaf in leaves if leaf is not HeadraceError]

    assert len(codes) == len(set(codes))
    assert [code for code in codes if page.count(f"| `{code}` |") != 1] == []


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolve(whole: dict[str, Any], reference: str) -> Any:
    assert reference.startswith("#/"), reference
    found: Any = whole
    for step in reference[2:].split("/"):
        found = found[step]
    return found


@pytest.fixture(scope="module")
def asyncapi() -> dict[str, Any]:
    """As a tool reads it."""
    whole: dict[str, Any] = json.loads(pages()["docs/asyncapi.json"])
    return whole


def test_asyncapi_references_lead_somewhere(asyncapi: dict[str, Any]) -> None:
    """Every $ref, those inside the generated schemas included."""
    found = sorted(set(references(asyncapi)))

    assert len(found) > 15
    for reference in found:
        assert isinstance(resolve(asyncapi, reference), dict), reference


def test_asyncapi_has_the_shape_of_version_3(asyncapi: dict[str, Any]) -> None:
    """What the specification requires of each object; names as it allows them."""
    assert asyncapi["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(asyncapi["info"])
    assert all({"host", "protocol"} <= set(server) for server in asyncapi["servers"].values())
    names = [*asyncapi["channels"], *asyncapi["operations"], *asyncapi["components"]["messages"]]
    assert [name for name in names if not re.fullmatch(r"[A-Za-z0-9_-]+", name)] == []
    for operation in asyncapi["operations"].values():
        assert operation["action"] in {"send", "receive"}
        for message in operation["messages"]:  # must be one of its own channel's, not of the components
            assert message["$ref"].startswith(operation["channel"]["$ref"] + "/messages/")
    for message in asyncapi["components"]["messages"].values():
        assert message.get("headers", {"type": "object"})["type"] == "object"


def test_asyncapi_reply_goes_where_the_query_says(asyncapi: dict[str, Any]) -> None:
    """A reply with an address needs a channel without one."""
    reply = asyncapi["operations"]["receive-queries"]["reply"]

    assert reply["address"]["location"] == "$message.header#/reply-topic"
    assert resolve(asyncapi, reply["channel"]["$ref"])["address"] is None
    assert asyncapi["components"]["messages"]["answer"]["correlationId"]["location"] == (
        "$message.header#/correlation-id"
    )


def test_asyncapi_has_every_header_and_topic_of_the_tables(asyncapi: dict[str, Any]) -> None:
    """The tables are the only source; a new row appears by itself."""
    messages = asyncapi["components"]["messages"]

    assert list(messages["query"]["headers"]["properties"]) == [row.name for row in QUERY_HEADERS]
    assert list(messages["answer"]["headers"]["properties"]) == [row.name for row in ANSWER_HEADERS]
    bound = {
        channel["address"]: channel["bindings"]["kafka"]["partitions"]
        for channel in asyncapi["channels"].values()
        if channel["address"] is not None
    }
    assert bound == {DEFAULTS.topic(row.name): row.partitions for row in table(DEFAULTS)}


def test_asyncapi_knows_every_pool() -> None:
    """One work channel a pool."""
    channels = document(KafkaSettings(pools=("cpu", "gpu")))["channels"]

    assert {"work-cpu", "work-gpu"} <= set(channels)
