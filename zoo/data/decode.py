"""One way to decode an image, for every backbone: peers differ here, and pixels that differ void a comparison."""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from zoo.data.audio import decode_audio
from zoo.data.planes import MAGIC, Planes, as_channels, planes_of, read_array, wrong_count
from zoo.data.types import AudioRef, ImageRef
from zoo.errors import DataError

T = TypeVar("T")
Reach = Callable[[tuple[int, int]], tuple[int, int]]
"""The (W, H) that an image of this (W, H) is resized to."""

DECODER = 2
"""Raised when the same file is decoded, or resized, to other pixels than before."""
WHOLE = "zoo_whole"
"""In the `info` of an image that was decoded at less than its size: (W, H) of all of it, whose proportions count."""
_HEADERS = threading.RLock()
"""Held while a header is read: there Pillow warns, and Python's filters of warnings belong to all threads at once."""
_MASK_MODES = {"L", "P", "1", "I"}
_MASK_HELP = "save masks as PNG of 8 bits or with a palette, 0 for the first class, 255 for pixels to ignore"
_ORIENTATION = 0x0112
"""The EXIF tag that says how an image is turned."""
_BITS_16 = {"PNG", "PPM"}
"""Formats whose 32-bit mode holds 16-bit pixels, scaled to their whole range."""


@dataclass(frozen=True)
class Decoded:
    """An image, and what is worth a word about its file."""

    image: Any
    """RGB PIL image, or one of as many channels as were wanted."""
    frames: int
    """2 where there are several, of which `image` is the first."""


def decode(ref: ImageRef, channels: int | None = 3, reach: Reach | None = None) -> Any:
    """An RGB PIL image: EXIF orientation applied, 16 bits scaled to 8, transparency on white, first frame.

    What cannot be decoded is refused, never repaired, and the file is never written to. A file that is damaged
    within its pixels may still decode to some picture; that cannot be told from a true one.

    Args:
        ref: the image.
        channels: that are wanted. With 2 and 4 the last one is alpha, with any number but 1 and 3 the pages of a TIFF
            file are channels if there are as many. None: RGB, and arrays as they are.
        reach: a JPEG is decoded at a half, a quarter or an eighth of its size where that is still as large as this.

    Raises:
        DataError: names the file and what is wrong with it.
    """
    return examine(ref, channels, reach).image


def decoded(value: Any, channels: int | None = 3, reach: Reach | None = None) -> Any:
    """The image or the recording that a reference stands for; a tuple of several as such; other values as they are.

    Args:
        value: a reference or anything else.
        channels: of images, as in `decode`.
        reach: likewise.

    Raises:
        DataError: names the file and what is wrong with it.
    """
    if isinstance(value, ImageRef):
        return decode(value, channels, reach)
    if isinstance(value, AudioRef):
        return decode_audio(value)
    if isinstance(value, tuple):
        several = tuple(decoded(each, channels, reach) for each in value)
        return several[0] if len(several) == 1 and not isinstance(several[0], str) else several
    return value


def examine(ref: ImageRef, channels: int | None = None, reach: Reach | None = None) -> Decoded:
    """As `decode`, with what is known of the file.

    Raises:
        DataError: names the file and what is wrong with it.
    """
    if ref.array is not None:
        return Decoded(_of_array(ref.array, ref.name, channels), 1)
    return _read(ref, lambda image: _decoded(image, ref.name, channels, reach))


def decode_mask(ref: ImageRef) -> Any:
    """A PIL image of mode L: the class number of each pixel, as the palette or the grey value says it.

    Raises:
        DataError: not a mask, or numbers above 255.
    """
    from PIL import Image

    values = np.asarray(ref.array) if ref.array is not None else _read(ref, lambda image: _numbers(image, ref.name))
    whole = values.ndim == 2 and values.dtype.kind in "bui"
    if not whole or (values.size and not 0 <= values.min() <= values.max() <= 255):
        raise DataError(f"{ref.name}: a mask of {values.dtype} with shape {values.shape}", help=_MASK_HELP)
    return Image.fromarray(np.ascontiguousarray(values, dtype=np.uint8))


def size_of(ref: ImageRef) -> tuple[int, int]:
    """(W, H) of an image as `decode` gives it, from its header alone.

    Raises:
        DataError: names the file and what is wrong with it.
    """
    if ref.array is not None:
        return int(ref.array.shape[1]), int(ref.array.shape[0])
    return _read(ref, _upright_size)


def _read(ref: ImageRef, use: Callable[[Any], T]) -> T:
    """What `use` makes of the image; whatever a decoder raises over its file becomes an error that names it."""
    from PIL import Image, UnidentifiedImageError

    try:
        raw = Path(ref.path).read_bytes() if ref.path is not None else ref.data or b""
    except OSError as error:
        raise DataError(f"{ref.name}: {error.strerror}") from error
    if not raw:
        raise DataError(f"{ref.name}: empty file")
    try:
        return use(_planes(raw, ref) if raw.startswith(MAGIC) else _opened(raw, ref))
    except UnidentifiedImageError:
        start = raw[:24].decode("latin-1").strip()
        raise DataError(f"{ref.name}: not an image (starts with {start!r})") from None
    except Image.DecompressionBombError as error:
        found = re.search(r"\d+", str(error))
        count = f"{int(found[0]):,}" if found else "too many"
        raise _too_large(ref, f"{count} pixels") from error
    except DataError as error:
        if not error.what.startswith(ref.name):
            raise DataError(f"{ref.name}: {error.what}", help=error.help) from error
        raise
    except Exception as error:  # (a decoder may raise anything over a damaged file)
        raise DataError(f"{ref.name}: damaged image ({error})") from error


def _decoded(image: Any, name: str, channels: int | None, reach: Reach | None) -> Decoded:
    if isinstance(image, Planes):
        return Decoded(_counted(image, channels), 1)
    kind = image.format
    if channels is not None and channels not in (1, 3):
        return Decoded(_more_channels(image, name, channels), 1)
    whole = _scaled(image, reach) if reach is not None and kind == "JPEG" else None
    image.load()
    rgb = _to_rgb(_upright(image), name, kind)
    if whole is not None:
        rgb.info[WHOLE] = whole
    return Decoded(rgb, _frames(image, kind))


def _scaled(image: Any, reach: Reach) -> tuple[int, int]:
    """(W, H) of a JPEG, of which libjpeg will leave out what would be blurred away; never more than that."""
    found = _upright_size(image)
    turned = found != image.size
    width, height = reach(found)
    image.draft(None, (height, width) if turned else (width, height))
    return found


def _planes(raw: bytes, ref: ImageRef) -> Planes:
    found = planes_of(read_array(raw))
    if found.width * found.height > ref.max_pixels:
        raise _too_large(ref, f"{found.width} x {found.height} pixels")
    return found


def _counted(image: Planes, channels: int | None) -> Any:
    """An array in the channels that are wanted; grey and transparent ones are RGB as in any other file."""
    count = len(image.channels)
    if channels in (None, count) and count not in (1, 3):
        return image
    if channels in (None, 1, 3) and count in (1, 3, 4):
        return _of_array(np.asarray(image), "", None)
    assert channels is not None
    return as_channels(image, channels)


def _more_channels(image: Any, name: str, channels: int) -> Any:
    """2 or 4 channels with alpha as the last, or the pages of a TIFF file."""
    from PIL import ImageSequence

    if image.format == "TIFF" and getattr(image, "n_frames", 1) == channels:
        pages = [_to_rgb(_upright(page.copy()), name, "TIFF").convert("L") for page in ImageSequence.Iterator(image)]
        if len({page.size for page in pages}) > 1:
            raise DataError(f"{name}: pages of different sizes are no channels", help="save pages of one size")
        return Planes(tuple(pages))
    if image.mode.startswith(("I", "F")):
        raise wrong_count(1, channels)
    image.load()
    return as_channels(_upright(image), channels)


def _numbers(image: Any, name: str) -> NDArray[Any]:
    """(H, W) grey values or palette indices, upright."""
    if image.format in ("JPEG", "MPO"):
        raise DataError(f"{name}: JPEG changes the class numbers of a mask", help="save masks as PNG")
    image.load()
    if image.mode not in _MASK_MODES and not image.mode.startswith("I;16"):
        raise DataError(f"{name}: a mask of mode {image.mode} has no class numbers", help=_MASK_HELP)
    return np.asarray(_upright(image))


def _upright_size(image: Any) -> tuple[int, int]:
    width, height = image.size
    if isinstance(image, Planes):
        return width, height
    with _quietly():
        turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    return (height, width) if turned else (width, height)


def _opened(raw: bytes, ref: ImageRef) -> Any:
    from PIL import Image

    with _quietly():
        usual = Image.MAX_IMAGE_PIXELS
        try:
            if usual is not None:
                Image.MAX_IMAGE_PIXELS = max(usual, ref.max_pixels)
            image = Image.open(io.BytesIO(raw))
        finally:
            Image.MAX_IMAGE_PIXELS = usual
    width, height = image.size
    if width * height > ref.max_pixels:
        raise _too_large(ref, f"{width} x {height} pixels")
    return image


def _too_large(ref: ImageRef, size: str) -> DataError:
    return DataError(
        f"{ref.name}: {size}, more than the limit of {ref.max_pixels:,}", help="shrink it, or raise --max-pixels"
    )


def _upright(image: Any) -> Any:
    from PIL import ImageOps

    if image.format == "JPEG" and not ("exif" in image.info or "xmp" in image.info):
        return image
    with _quietly():
        try:
            return ImageOps.exif_transpose(image)
        except Exception:  # noqa: BLE001  (damaged metadata say nothing of the pixels)
            return image


def _frames(image: Any, kind: str | None) -> int:
    if kind == "MPO":  # a photograph with its preview
        return 1
    with _quietly():
        try:
            return 2 if getattr(image, "is_animated", False) else 1
        except Exception:  # noqa: BLE001  (a damaged second frame is of no concern)
            return 2


def _of_array(array: Any, name: str, channels: int | None) -> Any:
    from PIL import Image

    if channels not in (None, 1, 3):
        try:
            return as_channels(planes_of(array), channels)
        except DataError as error:
            raise DataError(f"{name}: {error.what}", help=error.help) from error

    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise DataError(
            f"{name}: an array of {array.dtype} with shape {array.shape}",
            help="pixels are uint8, of shape (H, W), (H, W, 3) or (H, W, 4)",
        )
    return _to_rgb(Image.fromarray(np.ascontiguousarray(array)), name, None)


def _to_rgb(image: Any, name: str, kind: str | None) -> Any:
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and kind in _BITS_16):
        values = np.asarray(image).astype(np.int64)
        # 65535 / 255 = 257, so 0 stays 0 and white stays white.
        return Image.fromarray((values // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        what = "32-bit" if image.mode == "I" else "floating-point"
        raise DataError(f"{name}: {what} pixels without a known range", help="save it with 8 or 16 bits")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


@contextmanager
def _quietly() -> Iterator[None]:
    """Pillow's warnings name no file; what matters in them is said here."""
    with _HEADERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
