"""Pictures of boxes and discs, with the truth about where they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from zoo.data.boxes import Boxes

CLASSES = ("box", "disc")
Picture = tuple[Image.Image, Boxes]


def pictures(count: int, seed: int = 0) -> list[Picture]:
    """Grey noise of 40 to 56 pixels a side, each with a white box or a black disc; two where there is room."""
    rng = np.random.default_rng(seed)
    return [_picture(rng) for _ in range(count)]


def _picture(rng: np.random.Generator) -> Picture:
    width, height = (int(side) for side in rng.integers(40, 57, 2))
    image = Image.fromarray(rng.integers(90, 130, (height, width, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    boxes: list[tuple[int, int, int, int]] = []
    labels: list[int] = []
    for _ in range(2):
        side, label = int(rng.integers(16, 27)), int(rng.integers(0, 2))
        x, y = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
        if any(x < r and left < x + side and y < b and top < y + side for left, top, r, b in boxes):
            continue
        where = [x, y, x + side - 1, y + side - 1]
        if label == 0:
            draw.rectangle(where, fill=(250, 250, 250))
        else:
            draw.ellipse(where, fill=(20, 20, 20))
        boxes.append((x, y, x + side, y + side))
        labels.append(label)
    return image, Boxes(np.array(boxes, dtype=np.float32), np.array(labels), CLASSES, image.size)


def write_coco(folder: Path, rows: Sequence[Picture]) -> Path:
    """`images/` and `annotations.json`."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number, (image, boxes) in enumerate(rows):
        image.save(folder / "images" / f"{number:03}.png")
        images.append({"id": number, "file_name": f"{number:03}.png", "width": image.width, "height": image.height})
        for (left, upper, right, lower), label in zip(boxes.corners.tolist(), boxes.labels.tolist(), strict=True):
            box = [left, upper, right - left, lower - upper]
            annotations.append({"id": len(annotations) + 1, "image_id": number, "category_id": label + 1, "bbox": box})
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
    data = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(data), encoding="utf-8")
    return folder
