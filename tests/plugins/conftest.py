"""A tiny CLIP, and pictures whose classes it can learn to tell apart by their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COLOURS = {"dark_red": (150, 20, 20), "blue": (30, 30, 210), "pale-green": (160, 230, 160)}


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures of each of three colours."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir()
        for number in range(12):
            pixels = np.clip(np.array(colour) + rng.normal(0, 25, (40, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a tiny CLIP with random weights."""
    from tiny_open_clip import write_folder  # some machines lack open_clip

    folder = tmp_path_factory.mktemp("clip")
    write_folder(folder, "clip")
    return f"open_clip/local-dir:{folder}"
