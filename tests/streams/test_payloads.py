"""Bytes to arrays and back: what is written is read again, and no hostile byte gets past or costs memory."""

from __future__ import annotations

import json
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streams.errors import BadPayload, BadRecord
from streams.openinference import DATATYPES, Array
from streams.payloads import (
    NPY_HEADER_BYTES_MAX,
    decode_tensor,
    decode_v2_response,
    encode_npy,
    encode_v2_request,
    encode_v2_response,
)

NPY, JSON = "application/x-npy", "application/json"


def arrays(*, nan: bool) -> st.SearchStrategy[Array]:
    def of(dtype: str) -> st.SearchStrategy[Array]:
        elements = {"allow_nan": nan, "allow_infinity": nan} if dtype.startswith("float") else None
        return hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4), elements=elements)

    return st.sampled_from(sorted(DATATYPES.values())).flatmap(of)


def npy_bytes(header: str, body: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    text = header.encode()
    size = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + size + text + body


def npy_header(descr: object = "<f4", order: object = False, shape: object = (2, 2)) -> str:
    return repr({"descr": descr, "fortran_order": order, "shape": shape})


def v2(shape: object = (2, 2), datatype: str = "FP32", data: object = (1, 2, 3, 4)) -> bytes:
    return json.dumps({"inputs": [{"name": "x", "shape": shape, "datatype": datatype, "data": data}]}).encode()


@given(arrays(nan=True))
def test_npy_any_array_round_trips(array: Array) -> None:
    """Every dtype and shape comes back bit for bit, NaN included."""
    back = decode_tensor(encode_npy(array), NPY, shape=array.shape, dtype=str(array.dtype))

    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@given(arrays(nan=False))
def test_v2_request_any_finite_array_round_trips(array: Array) -> None:
    """Every datatype of the protocol survives JSON exactly, FP16 included."""
    back = decode_tensor(encode_v2_request({"x": array}), JSON, shape=array.shape, dtype=str(array.dtype))

    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@given(st.binary(max_size=300))
def test_decode_tensor_any_bytes_only_bad_payload(data: bytes) -> None:
    """Whatever the bytes are, the only error is BadPayload."""
    for content_type, start in ((NPY, b""), (NPY, b"\x93NUMPY\x01\x00"), (JSON, b""), (JSON, b'{"inputs":[')):
        with pytest.raises(BadPayload):
            decode_tensor(start + data, content_type, shape=(7, 11), dtype="float32")


@given(st.text(alphabet="{}'descr:fotan_shp()[],0123456789<|f4u1TrueFalse \\", max_size=120))
def test_npy_any_header_text_only_bad_payload(header: str) -> None:
    """Text that looks like a header is refused in words too, whatever the literal parser makes of it."""
    with pytest.raises(BadPayload):
        decode_tensor(npy_bytes(header), NPY, shape=(7, 11), dtype="float32")


def test_npy_fortran_order_and_big_endian_are_read() -> None:
    """Layout and byte order are the writer's business; the model gets C order and native bytes."""
    array = np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3))
    header = npy_header(">f4", True, (2, 3))

    back = decode_tensor(npy_bytes(header, array.tobytes(order="F")), NPY, shape=(2, 3), dtype="float32")

    assert back.flags.c_contiguous
    assert back.dtype == np.dtype("float32")
    np.testing.assert_array_equal(back, array)


def test_npy_version_2_and_leading_batch_axis_are_read() -> None:
    """A batch of one is the item itself."""
    data = npy_bytes(npy_header(shape=(1, 2, 2)), np.arange(4, dtype="<f4").tobytes(), version=(2, 0))

    assert decode_tensor(data, NPY + "; v=1", shape=(2, 2), dtype="float32").tolist() == [[0, 1], [2, 3]]


def test_npy_claim_of_4_gb_is_refused_without_allocating() -> None:
    """The claimed shape is compared before anything of that size exists."""
    data = npy_bytes(npy_header(shape=(1 << 15, 1 << 15)), b"\0" * 16)

    tracemalloc.start()
    with pytest.raises(BadPayload, match=r"npy shape \(32768, 32768\) is not \(2, 2\)"):
        decode_tensor(data, NPY, shape=(2, 2), dtype="float32")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 100_000


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not an npy file"),
        (b"PK\x03\x04" + b"\0" * 20, "not an npy file"),
        (npy_bytes(npy_header(), version=(3, 0)), "version 3.0; 1.0 and 2.0 are read"),
        (b"\x93NUMPY\x01\x00\xff\xff", "not an npy file"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", f"4294967295 bytes > {NPY_HEADER_BYTES_MAX}"),
        (b"\x93NUMPY\x01\x00\x40\x00{}", "ends at byte 74 of 12"),
        (npy_bytes("(" * 1000), "is not a literal"),
        (npy_bytes("__import__('os').abort()"), "is not a literal: ValueError"),
        (npy_bytes("[1]"), "not exactly descr"),
        (npy_bytes(npy_header(descr="|O")), "dtype '|O' is not one of"),
        (npy_bytes(npy_header(descr=[("a", "<f4")])), "is not one of"),
        (npy_bytes(npy_header(descr="<f16")), "is not one of"),
        (npy_bytes(npy_header(order=1)), "fortran_order 1"),
        (npy_bytes(npy_header(shape=(-2, -2))), "not a tuple of sizes"),
        (npy_bytes(npy_header(shape=(True, 4))), "not a tuple of sizes"),
        (npy_bytes(npy_header(shape=(4,))), r"npy shape (4,) is not (2, 2)"),
        (npy_bytes(npy_header(), b"\0" * 15), "body of 15 bytes != 16"),
        (npy_bytes(npy_header(), b"\0" * 17), "body of 17 bytes != 16"),
    ],
)
def test_npy_hostile_file_is_refused_by_value_and_limit(data: bytes, says: str) -> None:
    """Each way to lie in an npy file has its own words."""
    with pytest.raises(BadPayload) as refused:
        decode_tensor(data, NPY, shape=(2, 2), dtype="float32")

    assert says in refused.value.message


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]], [[[1, 2], [3, 4]]]])
def test_v2_flat_nested_and_batched_data_are_the_same_item(data: list[Any]) -> None:
    """Clients send row-major lists of any nesting that the shape allows."""
    shape = (1, 2, 2) if np.ndim(data) == 3 else (2, 2)

    assert decode_tensor(v2(shape, "FP32", data), JSON, shape=(2, 2), dtype="float32").tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a v2 request"),
        (b"[1, 2]", "Expected `object`, got `array`"),
        (b'{"x":' + b"[" * 50_000 + b"]" * 10, "nested too deeply"),
        (b'{"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":' + b"[" * 50_000, "nested too deeply"),
        (v2()[:-3], "not a v2 request"),
        (b'{"inputs": []}', "length >= 1"),
        (b'{"inputs": [' + v2()[12:-2] + b", " + v2()[12:-2] + b"]}", "has 2 inputs; the model takes 1"),
        (v2(datatype="BYTES"), "'BYTES' has no JSON form here"),
        (v2(datatype="BF16"), "'BF16' has no JSON form here"),
        (v2(datatype="FP8"), "'FP8' is not of the protocol"),
        (v2(shape=[1 << 32, 4]), "shape [4294967296, 4] is not [2, 2]"),
        (v2(shape=[-2, -2]), "Expected `int` >= 0"),
        (b'{"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32"}]}', "has no data"),
        (v2(data=[1, 2, 3]), "3 elements; its shape says [2, 2]"),
        (v2(data=[[1, 2], [3]]), "data is not [2, 2] of FP32"),
        (v2(data=[[1, 2, 3, 4]]), "data is [1, 4], 4 elements"),
        (v2(data=[1, 2, "3", 4]), "got `str`"),
        (v2(data=[1, 2, None, 4]), "got `null`"),
        (v2(data=[1, 2, float("nan"), 4]), "JSON has no NaN or Infinity"),
        (v2(data=[1, 2, float("-inf"), 4]), "JSON has no NaN or Infinity"),
        (v2().replace(b"4]", b"1e999]"), "out of range"),
        (v2(data=[1, 2, 3, 1e39]), "the largest FP32"),
        (v2(datatype="FP16", data=[1, 2, 3, 70_000]), "the largest FP16"),
        (v2(datatype="UINT8", data=[1, 2, 3, 256]), "256 out of bounds for uint8"),
        (v2(datatype="INT64", data=[1, 2, 3, 2**64]), "too large"),
        (v2(datatype="INT64", data=[1, 2, 3, 2**53]), "what float32 holds exactly"),
        (v2(datatype="FP64", data=[1, 2, 3, 1e300]), "the largest float32"),
        (b" " * 70_000 + v2(), "> 65792, the most for shape (2, 2)"),
    ],
)
def test_v2_hostile_request_is_refused_by_value_and_limit(data: bytes, says: str) -> None:
    """Each way to break a request has its own words."""
    with pytest.raises(BadPayload) as refused:
        decode_tensor(data, JSON, shape=(2, 2), dtype="float32")

    assert says in refused.value.message


@pytest.mark.parametrize(
    ("source", "target", "safe"),
    [
        ("bool", "float32", True),
        ("uint8", "float32", True),
        ("int64", "uint8", True),
        ("float64", "float32", True),
        ("float32", "float16", True),
        ("float32", "int64", False),
        ("int8", "bool", False),
    ],
)
def test_decode_tensor_casts_what_loses_nothing_but_rounding(source: str, target: str, safe: bool) -> None:
    """Kinds may widen; a float never becomes an integer, nothing becomes a boolean."""
    data = encode_npy(np.ones(3, dtype=source))

    if safe:
        assert decode_tensor(data, NPY, shape=(3,), dtype=target).tolist() == [1, 1, 1]
    else:
        with pytest.raises(BadPayload, match="without loss"):
            decode_tensor(data, NPY, shape=(3,), dtype=target)


def test_decode_tensor_other_content_type_is_refused() -> None:
    """An image is decoded by the task's preprocessing, not here."""
    with pytest.raises(BadPayload, match="'image/png' is not a tensor"):
        decode_tensor(b"", "image/png", shape=(1,), dtype="float32")


def test_encode_values_that_json_lacks_are_refused() -> None:
    """NaN has no JSON form, complex numbers no form at all."""
    with pytest.raises(BadPayload, match="'x' has 2 NaN or infinite values; JSON has none"):
        encode_v2_request({"x": np.array([1.0, np.nan, np.inf])})
    with pytest.raises(BadPayload, match="complex64 is not one of"):
        encode_v2_request({"x": np.ones(1, dtype="complex64")})
    with pytest.raises(BadPayload, match="dtype object has no npy form"):
        encode_npy(np.array([None]))


def test_v2_response_round_trips() -> None:
    """Numbers, labels and the query's id come back as they were sent."""
    scores = np.array([0.1, 0.9], dtype="float32")
    data = encode_v2_response(
        model_name="digits",
        model_version="1",
        id="q-1",
        outputs=[("label", "BYTES", [2], ["zwölf", "\0"]), ("score", "FP32", [1, 2], scores.tolist())],
    )

    response = decode_v2_response(data)

    assert (response.model_name, response.model_version, response.id) == ("digits", "1", "q-1")
    assert response.output("label").as_numpy().tolist() == ["zwölf", "\0"]
    np.testing.assert_array_equal(response.output("score").as_numpy(), scores.reshape(1, 2))


@pytest.mark.parametrize("data", [b"", b"{}", b'{"model_name":1,"outputs":[]}', b"[" * 9000])
def test_v2_response_malformed_is_bad_record(data: bytes) -> None:
    """A client is told in words that the answer is not one."""
    with pytest.raises(BadRecord):
        decode_v2_response(data)


def test_v2_response_shape_that_lies_is_bad_record() -> None:
    """The claimed shape is not believed when the array is built."""
    data = encode_v2_response(model_name="m", model_version="1", id=None, outputs=[("y", "FP32", [1 << 40], [1.0])])

    with pytest.raises(BadRecord, match="cannot reshape"):
        decode_v2_response(data).outputs[0].as_numpy()
