"""Names that are not listed: folders and hub repositories in open_clip's format, newer architectures."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

from zoo import BackboneSpec, WeightsSpec
from zoo_open_clip.config import CONFIG, read_config
from zoo_open_clip.listing import (
    FACTORY,
    HUB,
    LOCAL,
    SOURCE,
    TOWERS,
    WEIGHT_FILES,
    family_of,
    recorded_version,
)


def resolve(name: str) -> BackboneSpec | None:
    """A folder or hub repository in open_clip's format, or an architecture newer than the data file."""
    if name.startswith(HUB):
        return _from_hub(name)
    folder = Path(name.removeprefix(LOCAL)).expanduser()
    if name.startswith(LOCAL) or _has_config(folder):
        return _from_folder(folder)
    # The import of open_clip costs seconds; with the recorded version installed the data file is complete.
    if not re.fullmatch(r"[\w.-]+", name) or _installed() in (None, recorded_version()):
        return None
    from zoo_open_clip.registry import spec_of

    return spec_of(name)


def _installed() -> str | None:
    try:
        return importlib.metadata.version("open_clip_torch")
    except importlib.metadata.PackageNotFoundError:
        return None


def _has_config(folder: Path) -> bool:
    try:
        return (folder / CONFIG).is_file()
    except OSError:
        return False


def _from_folder(folder: Path) -> BackboneSpec:
    folder = folder.resolve()
    config = read_config(folder / CONFIG)
    own = config.preprocess_of_inputs()
    found = next((folder / file for file in WEIGHT_FILES if (folder / file).is_file()), None)
    weights = () if found is None else (WeightsSpec(tag="", origin=f"file:{found}", preprocess=own),)
    return BackboneSpec(
        source=SOURCE,
        architecture=f"{LOCAL}{folder}",
        factory=FACTORY,
        modalities=TOWERS,
        family=family_of("", config.model),
        dim=int(config.model["embed_dim"]),
        weights=weights,
        image_size=config.image_size[0],
        context_length=config.context_length,
        preprocess=own,
        space=f"{SOURCE}/{LOCAL}{folder}",
        options={"folder": str(folder)},
    )


def _from_hub(name: str) -> BackboneSpec:
    """Nothing is known of a repository before it is loaded, since resolving a name never touches the network."""
    repo = name.removeprefix(HUB)
    return BackboneSpec(
        source=SOURCE,
        architecture=name,
        factory=FACTORY,
        modalities=TOWERS,
        family="clip",
        weights=(WeightsSpec(tag="", origin=f"hub:{repo}"),),
        space=f"{SOURCE}/{name}",
        options={"repo": repo},
    )
