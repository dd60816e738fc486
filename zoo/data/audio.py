"""One way to decode a recording, for every backbone: mono, float, and resampled with one filter."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.types import AudioRef
from zoo.errors import DataError

AUDIO_DECODER = 1
"""Raised when the same file is decoded to other samples than before."""
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".rf64")
"""Only hints: whether a file is a recording is seen by reading it."""

_STARTS = (b"RIFF", b"RF64", b"RIFX", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"caff", b"\xff\xfb", b"\xff\xf3")
"""First bytes of files that soundfile reads; RIFF and FORM hold other things too."""
_RATES = (1_000, 384_000)
"""Beyond these a header is damaged, or an expansion of a small file into gigabytes."""
_USUAL = 48_000
"""Samples a second at which the longest recording is counted; one of twice as many may last half as long."""
_LOUDEST = 65_536.0
"""Of floats: more than the whole numbers of 16 bits that some programs write as they are, and far from an overflow."""
_BLOCK = 1 << 22
"""Numbers decoded at once, over all channels."""


@dataclass(frozen=True, eq=False)
class Audio:
    """A decoded recording, as processors take it."""

    samples: NDArray[np.float32]
    """(T,) of one channel; files with whole numbers fill [-1, 1]."""
    rate: int
    """Samples a second."""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / self.rate

    def at(self, rate: int, seconds: float | None = None) -> NDArray[np.float32]:
        """(T,) samples at another rate, of the first `seconds` alone.

        By a polyphase filter (`scipy.signal.resample_poly`), which takes away what the lower rate cannot hold.
        """
        from scipy.signal import resample_poly

        # The filter reads a little beyond the cut; 0.1 s are more than it reaches.
        samples = self.samples if seconds is None else self.samples[: math.ceil((seconds + 0.1) * self.rate)]
        if rate != self.rate:
            shared = math.gcd(rate, self.rate)
            samples = resample_poly(samples, rate // shared, self.rate // shared).astype(np.float32, copy=False)
        return samples if seconds is None else samples[: round(seconds * rate)]


def looks_like_audio(start: bytes) -> bool:
    """Whether these first bytes of a file are those of a recording."""
    if start[:4] in (b"RIFF", b"RIFX"):
        return start[8:12] == b"WAVE"
    if start[:4] == b"FORM":
        return start[8:12] in (b"AIFF", b"AIFC")
    return start.startswith(_STARTS)


def decode_audio(ref: AudioRef) -> Audio:
    """All samples of a recording: channels are averaged, whole numbers scaled to [-1, 1].

    What cannot be decoded whole is refused, never repaired.

    Raises:
        DataError: names the file and what is wrong with it.
    """
    if ref.array is not None:
        return _of_array(ref.array, ref)
    with _opened(ref) as file:
        _check_length(file.frames, file.samplerate, ref)
        size = max(_BLOCK // file.channels, 1)
        blocks = [block.mean(1, dtype=np.float32) for block in _blocks(file, size)]
        samples = np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)
        if len(samples) < file.frames:
            found, said = len(samples) / file.samplerate, file.frames / file.samplerate
            raise DataError(f"{ref.name}: damaged recording, {found:.2f} of {said:.2f} seconds can be decoded")
        return _checked(samples, file.samplerate, ref)


def seconds_of(ref: AudioRef) -> float:
    """How long a recording is, by its header alone; 0 where that cannot be read."""
    if ref.array is not None:
        return len(ref.array) / (ref.rate or 1)
    try:
        with _opened(ref) as file:
            return float(file.frames / file.samplerate)
    except DataError:
        return 0.0


def _blocks(file: Any, size: int) -> Iterator[NDArray[np.float32]]:
    """(T, C) of up to `size` frames each; a header need not be true, so that the end is where nothing more comes."""
    while len(block := file.read(size, dtype="float32", always_2d=True)):
        yield block


@contextmanager
def _opened(ref: AudioRef) -> Iterator[Any]:
    import soundfile

    try:
        start, size = _start(ref)
        if not start:
            raise DataError(f"{ref.name}: empty file")
        _check_whole(start, size, ref)
        with soundfile.SoundFile(_source(ref)) as file:
            yield file
    except DataError:
        raise
    except soundfile.LibsndfileError as error:
        said = str(error.error_string).strip().rstrip(".")
        if not looks_like_audio(start):
            shown = start.decode("latin-1").strip()
            raise DataError(f"{ref.name}: not a recording that can be read (starts with {shown!r})") from error
        raise DataError(f"{ref.name}: damaged recording ({said})") from error
    except OSError as error:
        raise DataError(f"{ref.name}: {error.strerror or error}") from error
    except Exception as error:  # (a decoder may raise anything over a damaged file)
        raise DataError(f"{ref.name}: damaged recording ({error})") from error


def _start(ref: AudioRef) -> tuple[bytes, int]:
    """The first bytes, and how many there are."""
    if ref.path is None:
        return (ref.data or b"")[:12], len(ref.data or b"")
    with Path(ref.path).open("rb") as stream:
        return stream.read(12), stream.seek(0, io.SEEK_END)


def _source(ref: AudioRef) -> Any:
    if ref.path is None:
        return _Bytes(ref.data or b"")
    return os.fsencode(ref.path) if os.name == "posix" else str(ref.path)  # A name need not be valid UTF-8.


class _Bytes(io.BytesIO):
    """Bytes in which a decoder of damaged data may look for places that do not exist."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: len(self.getbuffer())}[whence]
        return super().seek(max(start + offset, 0))


def _check_whole(start: bytes, end: int, ref: AudioRef) -> None:
    """A WAV or AIFF file that ends early is read without a word by every library, so its header is asked."""
    if not looks_like_audio(start) or start[:4] not in (b"RIFF", b"FORM"):
        return
    said = int.from_bytes(start[4:8], "little" if start[:4] == b"RIFF" else "big") + 8
    # Programs that write into a pipe leave 0 or the greatest number there. A last odd byte is often not counted.
    if 8 < said < 0xFFFFFFFF and said > end + 1:
        raise DataError(f"{ref.name}: damaged recording, it ends after {end:,} of {said:,} bytes")


def _check_length(frames: int, rate: int, ref: AudioRef) -> None:
    if frames < 1:
        raise DataError(f"{ref.name}: no samples can be read from this recording")
    if not _RATES[0] <= rate <= _RATES[1]:
        raise DataError(f"{ref.name}: {rate:,} samples a second", help=f"{_RATES[0]:,} to {_RATES[1]:,} can be read")
    if frames > ref.max_seconds * min(rate, _USUAL):
        long = f"{frames / rate:,.1f} seconds at {rate:,} Hz, more than the limit of {ref.max_seconds:,g}"
        counted = f" at {_USUAL:,} Hz" if rate > _USUAL else ""
        raise DataError(f"{ref.name}: {long}{counted}", help="cut it into pieces, or raise --max-seconds")


def _of_array(array: NDArray[Any], ref: AudioRef) -> Audio:
    if ref.rate is None or array.ndim not in (1, 2) or array.dtype.kind not in "fi" or array.dtype.itemsize == 1:
        raise DataError(
            f"{ref.name}: an array of {array.dtype} with shape {array.shape} and rate {ref.rate}",
            help="samples are float in [-1, 1], int16 or int32, of shape (T,) or (T, C), with a rate",
        )
    _check_length(len(array), ref.rate, ref)
    scale = 1.0 if array.dtype.kind == "f" else float(-np.iinfo(array.dtype).min)
    samples = (array / scale).astype(np.float32)
    return _checked(samples.mean(1, dtype=np.float32) if samples.ndim == 2 else samples, ref.rate, ref)


def _checked(samples: NDArray[np.float32], rate: int, ref: AudioRef) -> Audio:
    if not bool((np.abs(samples) <= _LOUDEST).all()):  # (nan is neither less nor more)
        raise DataError(f"{ref.name}: damaged recording, some of its samples are no finite numbers in [-1, 1]")
    return Audio(samples, rate)
