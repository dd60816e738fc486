"""Write `catalogue.json` from the installed timm:  python -m zoo_timm.generate

Every architecture is built once on the meta device, without memory; a few minutes in all.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import timm
import torch

from zoo_timm.backbone import pooled_dim
from zoo_timm.listing import HUB, preprocess_row, trained_on
from zoo_timm.loading import create
from zoo_timm.registry import family_of, own_config, tags_of
from zoo_timm.stages import stages_of


class Table:
    """Distinct values in order of appearance; rows of the data file refer to them by place."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[Hashable, int] = {}

    def place(self, value: Any) -> int:
        """Where `value` stands, appended if new."""
        key = json.dumps(value)
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(value)
        return self._places[key]


def measured(architecture: str) -> tuple[int, int, list[str]]:
    """(pooled dim, parameters, stage names) of the model without its classifier."""
    with torch.device("meta"):
        model = create({"architecture": architecture})
    params = sum(parameter.numel() for parameter in model.parameters())
    return pooled_dim(model), params, [stage.name for stage in stages_of(model)]


def catalogue(architectures: list[str]) -> dict[str, Any]:
    """What `zoo_timm.listing.listed` reads."""
    preprocess, licences, data_sets, stages = Table(), Table(), Table(), Table()
    families: dict[str, list[Any]] = {}
    for architecture in architectures:
        dim, params, names = measured(architecture)
        config = own_config(architecture)
        tags = [
            [
                tag,
                None if origin == f"{HUB}{architecture}.{tag}" else origin,
                preprocess.place(preprocess_row(each)),
                licences.place(each.get("license") if each.get("license") != "unknown" else None),
                data_sets.place(trained_on(tag)),
            ]
            for tag, origin, each in tags_of(architecture)
        ]
        row = [
            architecture,
            dim,
            params,
            stages.place(names),
            preprocess.place(preprocess_row(config)),
            paper(config),
            tags,
        ]
        families.setdefault(family_of(architecture), []).append(row)
    return {
        "timm": timm.__version__,
        "preprocess": preprocess.values,
        "licences": licences.values,
        "trained_on": data_sets.values,
        "stages": stages.values,
        "families": families,
    }


def paper(config: dict[str, Any]) -> str | None:
    """Address of the paper that the configuration names."""
    ids = config.get("paper_ids")
    first = ids if isinstance(ids, str) else ids[0] if ids else ""
    return f"https://arxiv.org/abs/{first[len('arXiv:') :]}" if first.startswith("arXiv:") else None


def main() -> None:
    """Write the data file beside this module, or where --out says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("catalogue.json"))
    out: Path = parser.parse_args().out
    data = catalogue(timm.list_models())
    # One line a family: small, and a change of one shows as one.
    lines = [f"{json.dumps(key)}: {_compact(value)}" for key, value in data.items() if key != "families"]
    rows = [f"{json.dumps(family)}: {_compact(value)}" for family, value in data["families"].items()]
    text = "{\n" + ",\n".join([*lines, '"families": {\n' + ",\n".join(rows) + "\n}"]) + "\n}\n"
    out.write_text(text, encoding="utf-8")
    count = sum(len(row[-1]) for value in data["families"].values() for row in value)
    sys.stdout.write(f"{out}: {len(timm.list_models())} architectures, {count} weights, {len(text):,} bytes\n")


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


if __name__ == "__main__":
    main()
