"""Payloads to items: each step against a slow and obvious oracle, and each payload failing alone."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from executors.backends.protocol import BackendMissing
from executors.images import decode_image
from executors.processing import NPY, prepare, sniff
from registry.records import Model, Step
from streams.errors import BadPayload, BadSettings
from streams.openinference import Array, encode_v2_request
from streams.payloads import encode_npy
from tests.executors.models import model

CROP = {"crop_padding": 4, "mean": 127.0, "std": 128.0}
IMAGE = Step(name="image-crop-resize", params=CROP)


def photograph(form: str) -> bytes:
    pixels = np.random.default_rng(3).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def image_model() -> Model:
    return model(input_shape=(3, 16, 16), preprocess=IMAGE)


@pytest.mark.parametrize("content_type", ["application/x-npy", None])
def test_prepare_tensor_is_the_item_itself(content_type: str | None) -> None:
    """npy and v2 give the same item, and a missing content type is read from the first bytes."""
    item = np.arange(4, dtype="float32")
    preparation = prepare(Step(name="tensor"), model())

    assert preparation(encode_npy(item), content_type).tolist() == item.tolist()
    json_type = content_type and "application/json"
    assert preparation(encode_v2_request({"x": item}), json_type).tolist() == item.tolist()
    assert not preparation.heavy(content_type)
    assert not preparation.heavy("image/jpeg")


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_prepare_image_is_cropped_and_heavy(form: str) -> None:
    """Photographs go through decode_image, and belong in a pool."""
    data, content_type = photograph(form), f"image/{form.lower()}"
    preparation = prepare(IMAGE, image_model())

    item = preparation(data, content_type)

    np.testing.assert_array_equal(item, decode_image(data, size=16, crop_padding=4, mean=127.0, std=128.0))
    np.testing.assert_array_equal(item, preparation(data, None))
    assert preparation.heavy(content_type)
    assert preparation.heavy(None)


def test_prepare_image_step_takes_tensors_of_the_final_shape_inline() -> None:
    """Who has normalised the image already sends it as npy."""
    item = np.ones((3, 16, 16), "float32")
    preparation = prepare(IMAGE, image_model())

    assert preparation(encode_npy(item), "application/x-npy").tolist() == item.tolist()
    assert not preparation.heavy("application/x-npy")


def test_prepare_broken_image_is_bad_payload() -> None:
    """The decoder's reason reaches the sender."""
    with pytest.raises(BadPayload, match="not a readable JPEG or PNG image"):
        prepare(IMAGE, image_model())(photograph("JPEG")[:200], "image/jpeg")


def test_prepare_image_for_a_tensor_task_is_bad_payload() -> None:
    """A task whose payload is the item has no picture decoder."""
    with pytest.raises(BadPayload, match="'image/jpeg' is not a tensor"):
        prepare(Step(name="tensor"), model())(photograph("JPEG"), None)


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (encode_npy(np.ones(1)), "application/x-npy"),
        (b' \n {"inputs": []}', "application/json"),
        (photograph("JPEG"), "image/jpeg"),
        (photograph("PNG"), "image/png"),
    ],
)
def test_sniff_known_beginnings(data: bytes, content_type: str) -> None:
    """Each payload type of the contract shows in its first bytes."""
    assert sniff(data) == content_type


def test_sniff_unknown_beginning_is_bad_payload() -> None:
    """No guessing."""
    with pytest.raises(BadPayload, match="no content-type, and b'GIF89a' begins neither"):
        sniff(b"GIF89a")


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (Step(name="resize"), "preprocess 'resize' is not one of"),
        (Step(name="tensor", params={"size": 1}), r"no parameter \['size'\]"),
        (Step(name="image-crop-resize", params={**CROP, "centre": 1}), r"no parameter \['centre'\]"),
        (Step(name="image-crop-resize", params={**CROP, "size": 24}), r"not NCHW \(3, 16, 16\)"),
        (Step(name="image-crop-resize", params={**CROP, "layout": "NHWC"}), "gives NCHW"),
        (Step(name="image-crop-resize", params={**CROP, "std": 0}), "std 0 are not numbers, std > 0"),
        (Step(name="image-crop-resize", params={**CROP, "crop_padding": -1}), "crop_padding -1"),
        (Step(name="image-crop-resize", params={}), "crop_padding None"),
    ],
)
def test_prepare_step_that_cannot_be_is_bad_settings(step: Step, says: str) -> None:
    """A model's record is checked when it is read, not with the first query."""
    with pytest.raises(BadSettings, match=says):
        prepare(step, image_model())


def test_prepare_image_without_pillow_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only image tasks need pillow."""
    monkeypatch.setitem(sys.modules, "executors.images", None)

    with pytest.raises(BackendMissing, match=r'pip install "headrace\[onnx\]"'):
        prepare(IMAGE, image_model())


def npy(item: Array) -> bytes:
    """As numpy itself writes it, in the array's own order of bytes and of axes."""
    file = io.BytesIO()
    np.save(file, item, allow_pickle=False)
    return file.getvalue()


@given(
    st.lists(
        st.sampled_from(["<f4", ">f4", "<f8", "<f2", "<i2"]).flatmap(
            lambda dtype: hnp.arrays(dtype, (2, 3), elements={"min_value": -9, "max_value": 9}).flatmap(
                lambda item: st.sampled_from([item, np.asfortranarray(item), item[None]])
            )
        ),
        max_size=8,
    )
)
def test_prepare_npy_after_any_others_is_the_item_itself(items: list[Array]) -> None:
    """The header that came last is remembered, and never taken for one that reads its bytes in another way."""
    preparation = prepare(Step(name="tensor"), model(input_shape=(2, 3)))

    for item in items:
        got = preparation(npy(item), NPY)

        assert got.dtype == np.dtype("float32")
        assert got.tolist() == item.reshape(2, 3).astype("float32").tolist()


@pytest.mark.parametrize("cut", [0, 7, 100, -1])
def test_prepare_npy_with_a_known_header_and_another_size_is_bad_payload(cut: int) -> None:
    """A truncated item is refused in words, also after good ones of its kind."""
    preparation = prepare(Step(name="tensor"), model())
    good = npy(np.ones(4, "float32"))
    preparation(good, NPY)

    with pytest.raises(BadPayload):
        preparation(good[:cut], NPY)
    with pytest.raises(BadPayload):
        preparation(good + b"x", NPY)
    assert preparation(good, NPY).tolist() == [1, 1, 1, 1]
