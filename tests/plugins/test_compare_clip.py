"""A dual encoder among the contenders: one network for both modalities, and a space that they share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import zoo
from zoo.records import home

COLOURS = {"red": (190, 30, 30), "blue": (30, 30, 200)}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Pictures of two colours, each with a text that names its colour."""
    import csv

    from PIL import Image

    with (tmp_path / "shop.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("image", "text", "label"))
        for number in range(40):
            name = ("red", "blue")[number % 2]
            path = tmp_path / f"{number}.png"
            Image.new("RGB", (32, 32), tuple(part + number for part in COLOURS[name])).save(path)
            rows.writerow((path.name, f"{name} thing {number}", name))
    return tmp_path / "shop.csv"


def test_a_dual_encoder_is_spoiled_by_its_inputs_and_crosses_its_space(
    clip: str, shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    home.cache_home.cache_clear()
    found: Any = zoo.compare(
        [f"both={clip}", f"picture={clip}:image", f"words={clip}:text"],
        shop,
        seeds=1,
        floors=False,
        out=zoo.Output(dir=str(tmp_path)),
    )
    home.cache_home.cache_clear()
    assert {each.title: each.modalities for each in found.contenders} == {
        "both": ("image", "text"),
        "picture": ("image",),
        "words": ("text",),
    }
    # No parts: the best of one modality is looked for among those that stand alone.
    assert [(each.joint, each.best in {"picture", "words"}) for each in found.fusions] == [("both", True)]
    assert {(each.modality, each.how) for each in found.spoiled} == {
        (modality, how) for modality in ("image", "text") for how in ("dropped", "shuffled")
    }
    crossed = {(each.trained_on, each.tested_on) for each in found.shared}
    assert crossed == {(one, other) for one in ("image", "text") for other in ("image", "text")}
    assert 0 <= found.shared[0].gap <= 2
