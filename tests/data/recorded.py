"""Recordings that tests write for themselves; no binary lies in the repository."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE = 8_000


def tone(hertz: float = 440.0, seconds: float = 0.1, rate: int = RATE) -> Any:
    """(T,) float32 of a sine at half of full scale."""
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def encoded(samples: Any, rate: int = RATE, kind: str = "WAV", subtype: str | None = None) -> bytes:
    """The bytes of a file."""
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=kind, subtype=subtype)
    return stream.getvalue()


def sound_folder(root: Path, classes: dict[str, int], start: float = 200.0) -> Path:
    """A folder of class folders with WAV files, of which no two are alike."""
    for place, (name, count) in enumerate(classes.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number}.wav").write_bytes(encoded(tone(start + 500 * place + 10 * number)))
    return root
