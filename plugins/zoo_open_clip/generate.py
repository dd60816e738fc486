"""Write `catalogue.json` from the installed open_clip:  python -m zoo_open_clip.generate

Every architecture is built once on the meta device, without memory; about a minute in all.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch

from zoo import Modality
from zoo_open_clip.config import ModelConfig
from zoo_open_clip.image import image_tower
from zoo_open_clip.listing import family_of, origin_of
from zoo_open_clip.loading import construct
from zoo_open_clip.registry import tags_of
from zoo_open_clip.text import text_tower

PREPROCESS_KEYS = ("mean", "std", "interpolation", "resize_mode", "fill_color")


class Table:
    """Distinct values in order of appearance; rows of the data file refer to them by place."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def place(self, value: Any) -> int:
        """Where `value` stands, appended if new."""
        if value not in self.values:
            self.values.append(value)
        return self.values.index(value)


def measured(config: ModelConfig) -> tuple[int | None, list[str], list[str] | None]:
    """(parameters, stages of the image tower, stages of the text tower).

    Parameters and text stages are None where the text tower is a model of transformers, whose own configuration lies
    on the hub.
    """
    foreign = bool(config.text.get("hf_model_name"))
    towers: Sequence[Modality] = ("image",) if foreign else ("image", "text")
    with torch.device("meta"):
        built = construct(config, towers)
    assert built.visual is not None
    image = [stage.name for stage in image_tower(built.visual).stages()]
    if built.text is None:
        return None, image, None
    params = sum(each.numel() for tower in (built.visual, built.text) for each in tower.parameters())
    return params, image, [stage.name for stage in text_tower(built.text).stages()]


def catalogue(architectures: Sequence[str]) -> dict[str, Any]:
    """What `zoo_open_clip.listing.listed` reads."""
    preprocess, stages = Table(), Table()
    families: dict[str, list[Any]] = {}
    for architecture in architectures:
        config = ModelConfig(open_clip.get_model_config(architecture))
        params, image, text = measured(config)
        tags = [
            [
                tag,
                origin_of(row),
                preprocess.place({key: row[key] for key in PREPROCESS_KEYS if key in row}),
                int(bool(row.get("quick_gelu"))),
            ]
            for tag, row in tags_of(architecture)
        ]
        words = config.text_preprocess()
        row = [
            architecture,
            config.model["embed_dim"],
            params,
            stages.place(image),
            None if text is None else stages.place(text),
            list(config.image_size),
            [words.tokenizer, words.max_length, words.lower],
            tags,
        ]
        families.setdefault(family_of(architecture, config.model), []).append(row)
    return {
        "open_clip": open_clip.__version__,
        "preprocess": preprocess.values,
        "stages": stages.values,
        "families": families,
    }


def main() -> None:
    """Write the data file beside this module, or where --out says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("catalogue.json"))
    out: Path = parser.parse_args().out
    data = catalogue(open_clip.list_models())
    # One line a family: small, and a change of one shows as one.
    lines = [f"{json.dumps(key)}: {_compact(value)}" for key, value in data.items() if key != "families"]
    rows = [f"{json.dumps(family)}: {_compact(value)}" for family, value in data["families"].items()]
    text = "{\n" + ",\n".join([*lines, '"families": {\n' + ",\n".join(rows) + "\n}"]) + "\n}\n"
    out.write_text(text, encoding="utf-8")
    tags = sum(len(row[-1]) for value in data["families"].values() for row in value)
    sys.stdout.write(f"{out}: {len(open_clip.list_models())} architectures, {tags} weights, {len(text):,} bytes\n")


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


if __name__ == "__main__":
    main()
