"""A photograph as bytes -> what an image network takes. The bytes may be hostile: their size is checked first.

The rule is that of the EfficientNet papers' evaluation: cut the central square, `size / (size + crop_padding)`
of the short side, and resize it bicubically. Pillow smooths as it shrinks and TensorFlow did not, so pixels
differ a little from those behind the published accuracies.
"""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

PIXELS_MAX = 40_000_000
"""A decoded pixel takes 3-4 bytes, and a file of a few kilobytes can claim billions of them."""

FORMATS = ("JPEG", "PNG")
"""What the contract's content types name; each further decoder is more that hostile bytes can reach."""

OVERSAMPLING = 2
"""A big JPEG is decoded at 1/2, 1/4 or 1/8 only while it stays this many times larger than needed."""


def decode_image(data: bytes, *, size: int, crop_padding: int, mean: float, std: float) -> NDArray[np.float32]:
    """One JPEG or PNG as a normalised square in RGB.

    Grey, palette, CMYK and 16-bit images become RGB; what is transparent shows white; the EXIF orientation is
    applied.

    Shapes: (3, size, size).
    Units:  (value - mean) / std, value in 0..255.
    Raises: ValueError, with a message for the sender, if these bytes are no such image or too large a one.
    """
    assert size > 0, f"size {size} <= 0"
    assert crop_padding >= 0, f"crop_padding {crop_padding} < 0"
    assert std > 0, f"std {std} <= 0"
    image, shrunk = _decoded(data, side_min=OVERSAMPLING * (size + crop_padding))
    square = _central_square(image, shrunk, size=size, crop_padding=crop_padding)
    pixels = np.asarray(square, dtype=np.float32).transpose(2, 0, 1)
    return np.ascontiguousarray((pixels - mean) / std, dtype=np.float32)


def _decoded(data: bytes, *, side_min: int) -> tuple[Image.Image, int]:
    """The upright RGB image, and the factor 1, 2, 4 or 8 by which its decoder shrank it.

    Only a JPEG is shrunk, and only while its short side stays >= `side_min`.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height <= PIXELS_MAX:
                image.draft(None, (side_min, side_min))  # does nothing to a PNG
                shrunk = round(width / image.width)
                return _rgb(ImageOps.exif_transpose(image)), shrunk
    except MemoryError:
        raise  # ours, not the sender's
    except Exception as error:  # Pillow's decoders raise a dozen types, and some only for crafted bytes
        raise ValueError(f"not a readable {' or '.join(FORMATS)} image: {error}") from error
    raise ValueError(f"image of {width} x {height} = {width * height} pixels > {PIXELS_MAX}")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey: `convert` would cut values at 255 instead of scaling them
        grey = np.asarray(image, dtype=np.float32) / 257
        image = Image.fromarray(grey.round().clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _central_square(image: Image.Image, shrunk: int, *, size: int, crop_padding: int) -> Image.Image:
    """The crop is found in the pixels of the file, so that shrinking does not shift it by parts of a pixel.

    `resize` looks beyond its `box`, hence the cut before it: nothing outside the square shows.
    """
    width, height = image.width * shrunk, image.height * shrunk
    side = max(1, int(size / (size + crop_padding) * min(width, height)))
    edges = ((width - side + 1) // 2, (height - side + 1) // 2)
    left, top, right, bottom = (edge / shrunk for edge in (*edges, edges[0] + side, edges[1] + side))
    cut = image.crop((int(left), int(top), math.ceil(right), math.ceil(bottom)))
    box = (left - int(left), top - int(top), right - int(left), bottom - int(top))
    return cut.resize((size, size), Image.Resampling.BICUBIC, box=box)
