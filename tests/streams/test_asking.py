"""Writing queries: payloads by kind, and headers that the router's own reader takes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from streams.asking import HEADERS_LIMIT_BYTES, Asked, AskWriter, encode_payload
from streams.errors import BadHeader, BadPayload, ClientFault, EmptyPayload, UnsupportedContentType
from streams.payloads import decode_tensor

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


def write(payload: Any = PNG, **asked: Any) -> Any:
    return AskWriter(value_max_bytes=10_000).write(payload, Asked(**asked))  # type: ignore[typeddict-item]


def test_bytes_are_recognised_by_their_magic() -> None:
    """JPEG, PNG and npy need no content type; what was given is kept."""
    assert encode_payload(b"\xff\xd8\xff\xe0", None) == (b"\xff\xd8\xff\xe0", "image/jpeg")
    assert encode_payload(memoryview(PNG), None) == (PNG, "image/png")
    assert encode_payload(bytearray(b"\x93NUMPY"), None)[1] == "application/x-npy"
    assert encode_payload(b"{}", "application/json") == (b"{}", "application/json")
    assert encode_payload(PNG, "image/jpeg")[1] == "image/jpeg"


def test_array_becomes_npy() -> None:
    """The server reads back the same array."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    value, content_type = encode_payload(array, None)

    np.testing.assert_array_equal(decode_tensor(value, content_type, shape=(2, 3), dtype="float32"), array)


def test_dict_becomes_a_v2_request() -> None:
    """Arrays or lists by input name are wrapped; a whole request goes as it is."""
    by_name, content_type = encode_payload({"image": [[1.0, 2.0]]}, None)
    whole = {"id": "7", "inputs": [{"name": "image", "shape": [1, 2], "datatype": "FP64", "data": [1.0, 2.0]}]}

    assert content_type == "application/json"
    assert json.loads(by_name) == {"inputs": whole["inputs"]}
    assert json.loads(encode_payload(whole, None)[0]) == whole
    assert json.loads(encode_payload({"inputs": np.ones(1)}, None)[0])["inputs"][0]["name"] == "inputs"


BAD: list[tuple[Any, str | None, type[ClientFault], str]] = [
    (b"", None, EmptyPayload, "0 bytes"),
    (b"GIF89a..", None, UnsupportedContentType, r"begin b'GIF89a\.\.' .*image/jpeg"),
    ("text", None, BadPayload, "not str"),
    (np.ones(1), "image/png", UnsupportedContentType, "'image/png', but this payload is sent as application/x-npy"),
    (np.array(["a"]), None, BadPayload, "dtype <U1"),
    ({"x": [[1], [1, 2]]}, None, BadPayload, "not arrays by name"),
    ({"x": [float("nan")]}, None, BadPayload, "NaN"),
    ({"inputs": [{"data": object()}]}, None, BadPayload, "plain values"),
]


@pytest.mark.parametrize(("payload", "content_type", "error", "message"), BAD)
def test_bad_payload_is_refused_in_words(
    payload: Any, content_type: str | None, error: type[ClientFault], message: str
) -> None:
    """What the server would refuse is refused here, with what was given and what is taken."""
    with pytest.raises(error, match=message):
        encode_payload(payload, content_type)


def test_write_headers_of_a_class_are_made_once() -> None:
    """Equal demands share one list of headers; it is never changed."""
    writer = AskWriter(value_max_bytes=1_000)
    one, two = (writer.write(PNG, Asked(task="t", slo_ms=30)) for _ in range(2))

    assert one.headers is two.headers
    assert one.headers == [("task", b"t"), ("slo-ms", b"30"), ("content-type", b"image/png")]
    assert (one.slo_us, one.expires_us, one.patient) == (30_000, None, False)
    assert write(task="t", on_miss="late").patient
    assert ("accuracy-bound", b"lower") in write(task="t", accuracy_min=0.9, accuracy_bound="lower").headers


def test_write_rare_headers_follow_the_class() -> None:
    """Identity, absolute deadline and the caller's own headers are checked each time."""
    at = datetime(2030, 1, 1, tzinfo=UTC)
    ask = write(task="t", query_id="q", expires_at=at, tracestate="a=b", explain=True, headers={"x-tenant": "7"})

    assert ask.headers[2:] == [
        ("expires-at", b"1893456000000"), ("query-id", b"q"), ("tracestate", b"a=b"), ("explain", b"true"),
        ("x-tenant", b"7"),
    ]  # fmt: skip
    assert ask.expires_us == 1893456000000 * 1_000


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "exactly one of the headers task, model, variant"),
    ({"task": "a", "model": "b"}, "this query has task, model"),
    ({"task": "t", "accuracy_min": 2}, "accuracy-min 2 is outside 0 to 1"),
    ({"task": "t", "slo_ms": float("nan")}, "slo-ms nan is outside"),
    ({"task": "t", "priority": True}, "priority b'True' is not a number"),
    ({"task": "t", "query_id": ""}, "query_id is empty"),
    ({"task": "t", "query_id": "x" * 257}, "257 bytes; at most 256"),
    ({"task": "t", "expires_at": datetime(2030, 1, 1)}, "has no time zone"),  # noqa: DTZ001 (that is the point)
    ({"task": "t", "headers": {"reply-topic": "x"}}, "'reply-topic' belongs to the contract"),
    ({"task": "t", "headers": [("ce_id", "x")]}, "'ce_id' belongs to the contract"),
    ({"task": "t", "headers": {"claim-check": "sha256:0"}}, "'claim-check' belongs to the contract"),
    ({"task": "t", "headers": {"mine": "x" * 12_000}}, f"at most {HEADERS_LIMIT_BYTES} are sent"),
    ({"task": "t", "key": "k" * 5_000}, "the key has 5000 bytes; at most 4096"),
]


@pytest.mark.parametrize(("asked", "message"), REFUSED)
def test_write_refuses_what_the_router_would(asked: dict[str, Any], message: str) -> None:
    """The same words, before anything is sent."""
    with pytest.raises(ClientFault, match=message):
        write(**asked)


def test_write_oversize_names_the_limit() -> None:
    """And the setting that it comes from."""
    with pytest.raises(BadPayload, match=r"10016 bytes; at most 10000 .*value_max_bytes"):
        write(PNG + bytes(10_000), task="t")


def test_write_bad_header_is_a_bad_header() -> None:
    """The leaf is the one that the answer would carry."""
    with pytest.raises(BadHeader):
        write(task="t", on_miss="never")


def test_write_payload_above_the_limit_needs_a_store_and_says_so() -> None:
    """Without one the message names the setting; with one it goes there, up to that one's own limit."""
    asked = Asked(task="t")
    with pytest.raises(BadPayload, match=r"10001 bytes; at most 10000 .*HEADRACE_BLOBS__URL"):
        AskWriter(value_max_bytes=10_000).write(PNG + bytes(9_985), asked)
    writer = AskWriter(value_max_bytes=10_000, store_max_bytes=20_000)
    with pytest.raises(BadPayload, match=r"20001 bytes; at most 10000 .*, and 20000 through the store"):
        writer.write(PNG + bytes(19_985), asked)

    assert [writer.write(PNG + bytes(size - 16), asked).large for size in (10_000, 10_001, 20_000)] == [
        False, True, True,
    ]  # fmt: skip
