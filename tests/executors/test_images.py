"""Bytes -> pixels: the crop and resize rule, every colour mode, and what hostile bytes get."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from executors import images
from executors.images import decode_image

CHINA = Path(sklearn.datasets.__file__).parent / "images" / "china.jpg"


def decoded(data: bytes, *, size: int = 32, crop_padding: int = 0) -> NDArray[np.float32]:
    """Values as in the file, 0..255."""
    return decode_image(data, size=size, crop_padding=crop_padding, mean=0.0, std=1.0)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def gradient(width: int = 64, height: int = 48) -> Image.Image:
    """Red grows to the right, green downwards."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.dstack([across, down, np.full_like(down, 40)]).round().astype(np.uint8))


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of under a hundred bytes whose header promises this many pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_decode_image_normalises_to_channels_first_float32() -> None:
    """(value - mean) / std, contiguous, RGB order."""
    got = decode_image(
        encoded(Image.new("RGB", (40, 30), (255, 127, 0))), size=16, crop_padding=4, mean=127.0, std=128.0
    )

    assert got.dtype == np.float32
    assert (got.shape, got.flags.c_contiguous) == ((3, 16, 16), True)
    assert got[:, 0, 0].tolist() == [1.0, 0.0, -127 / 128]
    assert np.ptp(got, axis=(1, 2)).tolist() == [0, 0, 0]


def test_decode_image_cuts_the_central_square() -> None:
    """Of 100 x 60 with size 32 and padding 16, the middle 40 x 40 is kept: the frame around it is not seen."""
    image = Image.new("RGB", (100, 60), "red")
    image.paste((0, 0, 255), (30, 10, 70, 50))

    got = decoded(encoded(image), size=32, crop_padding=16)

    assert got[0].max() == 0
    assert got[2].min() == 255


def test_decode_image_without_resize_returns_the_pixels() -> None:
    """Where the crop already has the right size, every value is the file's."""
    image = gradient(48, 48)

    np.testing.assert_array_equal(
        decoded(encoded(image), size=48), np.asarray(image, dtype=np.float32).transpose(2, 0, 1)
    )


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1"])
def test_decode_image_of_another_mode_equals_its_rgb(mode: str) -> None:
    """Grey, palette, two-colour and opaque alpha images are what Pillow's RGB conversion makes of them."""
    image = gradient().convert(mode)

    np.testing.assert_array_equal(decoded(encoded(image)), decoded(encoded(image.convert("RGB"))))


def test_decode_image_of_cmyk_is_close_to_rgb() -> None:
    """A CMYK JPEG shows the same picture, within what JPEG loses."""
    cmyk = encoded(gradient().convert("CMYK"), "JPEG", quality=95)

    assert np.abs(decoded(cmyk) - decoded(encoded(gradient()))).mean() < 4


def test_decode_image_of_16_bit_grey_is_scaled_and_not_cut() -> None:
    """65535 is white and 257 * 100 is 100."""
    wide = Image.fromarray(np.array([[65535, 25700], [25700, 65535]], dtype=np.uint16))

    assert decoded(encoded(wide), size=2)[0].tolist() == [[255, 100], [100, 255]]


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_decode_image_shows_white_where_it_is_transparent(mode: str) -> None:
    """The colour hidden under transparency is arbitrary, often black; it must not reach the network."""
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    data = encoded(image) if mode == "RGBA" else encoded(Image.new("P", (8, 8), 0), transparency=0)

    assert decoded(data).min() == 255


@pytest.mark.parametrize("orientation", range(1, 9))
def test_decode_image_applies_the_exif_orientation(orientation: int) -> None:
    """Each of the eight ways in which a camera may store an image comes out upright."""
    upright = gradient(48, 48)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation

    np.testing.assert_array_equal(decoded(encoded(stored, exif=exif), size=48), decoded(encoded(upright), size=48))


def test_decode_image_of_a_big_jpeg_changes_little_by_reading_a_fraction() -> None:
    """Decoding at half size first moves a pixel by under one step of 255 on average."""
    with Image.open(CHINA) as image:
        large = image.resize((image.width * 4, image.height * 4), Image.Resampling.BICUBIC)
    jpeg = encoded(large, "JPEG", quality=95)
    with Image.open(io.BytesIO(jpeg)) as whole:
        in_full = encoded(whole.convert("RGB"), compress_level=1)

    difference = np.abs(decoded(jpeg, size=224, crop_padding=32) - decoded(in_full, size=224, crop_padding=32))

    assert 0 < difference.mean() < 1


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 500), (500, 1), (3, 2)])
def test_decode_image_of_a_tiny_or_thin_image_still_fills_the_square(width: int, height: int) -> None:
    """A crop is never empty."""
    image = Image.new("RGB", (width, height), (9, 8, 7))

    assert decoded(encoded(image), crop_padding=4)[:, 5, 5].tolist() == [9, 8, 7]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an image",
        b"\xff\xd8\xff",
        CHINA.read_bytes()[:20_000],
        encoded(gradient())[:-60],
        encoded(gradient(), "GIF"),
        encoded(gradient(), "BMP"),
    ],
    ids=["empty", "text", "jpeg-start", "cut-jpeg", "cut-png", "gif", "bmp"],
)
def test_decode_image_of_unreadable_bytes_says_so(data: bytes) -> None:
    """Cut files and formats outside the contract are the sender's fault, and the message says which."""
    with pytest.raises(ValueError, match="not a readable JPEG or PNG image"):
        decoded(data)


@pytest.mark.parametrize(("width", "height"), [(8_000, 5_001), (60_000, 60_000)])
@pytest.mark.filterwarnings("default::PIL.Image.DecompressionBombWarning")
def test_decode_image_refuses_too_many_pixels_before_decoding(width: int, height: int) -> None:
    """The header alone decides; the 70 bytes that follow would not even decode."""
    with pytest.raises(ValueError, match=r"40000000|exceeds limit"):
        decoded(png_claiming(width, height))


def test_decode_image_at_the_limit_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit itself is allowed, one row more is not."""
    monkeypatch.setattr(images, "PIXELS_MAX", 64 * 48)

    decoded(encoded(gradient(64, 48)))
    with pytest.raises(ValueError, match=r"64 x 49 = 3136 pixels > 3072"):
        decoded(encoded(gradient(64, 49)))


JPEG = encoded(gradient(), "JPEG")
PNG = encoded(gradient())


@given(st.sampled_from([JPEG, PNG]), st.data())
def test_decode_image_of_changed_bytes_answers_or_raises_value_error(whole: bytes, draw: st.DataObject) -> None:
    """No flipped bytes and no cut raise anything else, which would take the executor's lane down."""
    data = bytearray(whole)
    for _ in range(draw.draw(st.integers(1, 4))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    try:
        got = decoded(bytes(data[: draw.draw(st.integers(1, len(data)))]))
    except ValueError:
        return

    assert got.shape == (3, 32, 32)
    assert np.isfinite(got).all()
