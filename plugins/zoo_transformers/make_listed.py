"""Writes `listed.json`: well-known hub ids with sizes counted on models that hold no memory.

Run it when ids are added or transformers changes:  python -m zoo_transformers.make_listed
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch

from zoo_transformers import idefics_spec
from zoo_transformers.audio import still_positions
from zoo_transformers.audio_spec import settle
from zoo_transformers.families import HEARS, facts_of, native
from zoo_transformers.fitting import set_aside
from zoo_transformers.folder import DEFAULT_LENGTH
from zoo_transformers.idefics import fitted
from zoo_transformers.known import ENTRIES, Entry
from zoo_transformers.listed import DATA
from zoo_transformers.opening import bare_model_class, encoder_of, quiet
from zoo_transformers.stages import stages_of


def main() -> None:
    """Write the file and say how many ids are in it."""
    rows = [row_of(entry) for entry in ENTRIES]
    lines = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in rows)
    DATA.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{len(rows)} ids in {DATA.name}")  # noqa: T201  (a script says what it did)


def row_of(entry: Entry) -> dict[str, Any]:
    """One line of `listed.json`."""
    config = _config(entry)
    values: Mapping[str, Any] = {**config.to_dict(), "model_type": entry.family}
    if entry.family == idefics_spec.FAMILY:
        return _joint(entry, config)
    if entry.family in HEARS:
        return _heard(entry, config)
    facts = facts_of(values)
    with quiet(), torch.device("meta"):
        model = encoder_of(set_aside(bare_model_class(config)(config)))
    how = entry.pooling or native(entry.family, values)
    if facts.modality == "text" and how != "pooler" and getattr(model, "pooler", None) is not None:
        model.pooler = None  # type: ignore[assignment]
    if entry.without_pooler:
        model.pooler = None  # type: ignore[assignment]
    stem = "embeddings" if facts.modality == "text" else "stem"
    dense = entry.dense or ()
    stages = [stage.name for stage in stages_of(model, stem=stem)]
    if dense and stages[-1] != "top":
        stages.append("top")
    return {
        "id": entry.id,
        "family": entry.family,
        "modality": facts.modality,
        "dim": dense[1] if dense else entry.dim or facts.dim,
        "params": sum(p.numel() for p in model.parameters()) + (dense[0] * dense[1] + dense[2] if dense else 0),
        "context": facts.context,
        "length": None if facts.modality == "image" else entry.length or facts.context or DEFAULT_LENGTH,
        "size": (entry.size or facts.image_size or 224) if facts.modality == "image" else None,
        "preprocess": entry.preprocess,
        "stages": stages,
        "licence": entry.licence,
        "trained_on": entry.trained_on,
        "paper": entry.paper,
    }


def _joint(entry: Entry, config: Any) -> dict[str, Any]:
    with quiet(), torch.device("meta"):
        model = fitted(bare_model_class(config)(config), idefics_spec.MODALITIES)
    return {
        "id": entry.id,
        "family": entry.family,
        "params": sum(p.numel() for p in model.parameters()),
        "config": entry.config,
        "licence": entry.licence,
        "trained_on": entry.trained_on,
    }


def _heard(entry: Entry, config: Any) -> dict[str, Any]:
    with quiet(), torch.device("meta"):
        model = encoder_of(bare_model_class(config)(settle(config)))
    if entry.family == "whisper":
        still_positions(model)
    return {
        "id": entry.id,
        "family": entry.family,
        "params": sum(p.numel() for p in model.parameters()),
        "config": entry.config,
        "preprocess": entry.preprocess,
        "licence": entry.licence,
        "trained_on": entry.trained_on,
        "paper": entry.paper,
    }


def _config(entry: Entry) -> Any:
    import transformers

    return transformers.AutoConfig.for_model(entry.family, **entry.config)


if __name__ == "__main__":
    main()
