"""Pictures and folders that tests write for themselves; no binary lies in the repository."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zoo.data.reading import read_dataset
from zoo.data.types import Dataset, ImageRef, ReadOptions
from zoo.errors import DataError


def picture(seed: int = 0, size: tuple[int, int] = (24, 16)) -> Image.Image:
    """Smooth random colours of (W, H), so that JPEG and resizing have something to do."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def ref(data: bytes, name: str = "it.png", **options: Any) -> ImageRef:
    return ImageRef(name=name, data=data, **options)


def class_folder(root: Path, counts: dict[str, int], *, first: int = 0) -> Path:
    """ROOT/CLASS/N.png, every picture another one."""
    number = first
    for label, count in counts.items():
        folder = root / label
        folder.mkdir(parents=True, exist_ok=True)
        for each in range(count):
            number += 1
            picture(number).save(folder / f"{each}.png")
    return root


def bomb(side: int = 20_000) -> bytes:
    """A black 1-bit PNG of side x side pixels in some fifty kilobytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    row = b"\0" * (1 + side // 8)
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(row * 100) for _ in range(side // 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def read(source: Path, **options: Any) -> Dataset:
    return read_dataset(source, ReadOptions(**options))


def refused(source: Path, match: str, **options: Any) -> DataError:
    """The error that reading must end in: exit code 3 and a mend."""
    with pytest.raises(DataError, match=match) as caught:
        read_dataset(source, ReadOptions(**options))
    assert caught.value.exit_code == 3
    assert caught.value.help
    return caught.value


def kinds(problems: Any) -> dict[str, str]:
    """Level by kind of problem."""
    return {problem.kind: problem.level for problem in problems}
