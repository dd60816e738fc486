"""The data file that `python -m zoo_torchvision.generate` writes, as specifications; no torch."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from zoo import BackboneSpec, ImagePreprocess, WeightsSpec

FACTORY = "zoo_torchvision.build:build"


def read() -> dict[str, Any]:
    """The data file as it is."""
    text = resources.files("zoo_torchvision").joinpath("catalog.json").read_text(encoding="utf-8")
    return json.loads(text)  # type: ignore[no-any-return]


def specs() -> list[BackboneSpec]:
    """Every architecture of the data file."""
    return [_spec(name, row) for name, row in read()["architectures"].items()]


def _spec(name: str, row: dict[str, Any]) -> BackboneSpec:
    weights = tuple(_weights(each) for each in row["weights"])
    return BackboneSpec(
        source="torchvision",
        architecture=name,
        factory=FACTORY,
        modalities=("image",),
        family=row["family"],
        dim=row["dim"],
        params=row["params"],
        weights=weights,
        image_size=row["image_size"],
        stages=tuple(row["stages"]),
        preprocess=weights[0].preprocess,
        paper=row["paper"],
    )


def _weights(row: dict[str, Any]) -> WeightsSpec:
    size, resize, interpolation, mean, std = row["preprocess"]
    return WeightsSpec(
        tag=row["tag"],
        origin=row["url"],
        sha256=row["sha256"],
        size=row["size"],
        licence=row["licence"],
        trained_on=row["trained_on"],
        metrics=row["metrics"],
        preprocess={
            "image": ImagePreprocess(
                size=(size, size), resize=resize, interpolation=interpolation, mean=tuple(mean), std=tuple(std)
            )
        },
    )
