"""One way to decode an image, for every backbone: peers differ here, and pixels that differ void a comparison."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.types import ImageRef
from zoo.errors import DataError

MAX_PIXELS = 100_000_000
"""Above this an image is refused: a small file can hold gigabytes."""


def decode(ref: ImageRef, *, max_pixels: int = MAX_PIXELS) -> Any:
    """An RGB PIL image: EXIF orientation applied, 16 bits scaled to 8, transparency on white, first frame.

    Raises:
        DataError: names the file and what is wrong with it.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if ref.array is not None:
        return Image.fromarray(ref.array).convert("RGB")
    try:
        raw = Path(ref.path).read_bytes() if ref.path is not None else ref.data or b""
    except OSError as error:
        raise DataError(f"{ref.name}: {error.strerror}") from error
    if not raw:
        raise DataError(f"{ref.name}: empty file")
    with warnings.catch_warnings():
        # The cap below is ours and lower; Pillow's own warning would name no file.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = Image.open(io.BytesIO(raw))
            width, height = image.size
            if width * height > max_pixels:
                raise DataError(
                    f"{ref.name}: {width} x {height} pixels, more than the limit of {max_pixels:,}",
                    help="shrink it, or raise --max-pixels",
                )
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image), ref.name)
        except UnidentifiedImageError:
            start = raw[:24].decode("latin-1").strip()
            raise DataError(f"{ref.name}: not an image (starts with {start!r})") from None
        except Image.DecompressionBombError as error:
            raise DataError(f"{ref.name}: {error}", help="shrink it") from error
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise DataError(f"{ref.name}: damaged image ({error})") from error


def _to_rgb(image: Any, name: str) -> Any:
    from PIL import Image

    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16") or image.mode == "I":
        values = np.asarray(image).astype(np.int64)
        top = int(values.max(initial=0))
        if image.mode == "I" and (top > 65_535 or int(values.min(initial=0)) < 0):
            raise DataError(f"{name}: 32-bit pixels without a known range", help="save it with 8 or 16 bits")
        # 65535 / 255 = 257, so 0 stays 0 and white stays white.
        return Image.fromarray((values // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise DataError(f"{name}: floating-point pixels without a known range", help="save it with 8 or 16 bits")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")
