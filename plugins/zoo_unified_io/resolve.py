"""Names that are not listed: a folder of the published layout, and the published models by their names on the hub."""

from __future__ import annotations

from pathlib import Path

from zoo import BackboneSpec, WeightsSpec
from zoo_unified_io.folder import is_ours, weight_files
from zoo_unified_io.listing import FACTORY, LONGEST_TEXT, MODALITIES, PAPER, PREPROCESS, SOURCE, listed

OWNER = "allenai/"


def resolve(name: str) -> BackboneSpec | None:
    """The specification of a folder, or of `allenai/uio2-...`; None for anything else."""
    for spec in listed():
        if name == OWNER + spec.architecture:
            return spec
    folder = Path(name).expanduser()
    return _of_folder(folder.resolve()) if is_ours(folder) else None


def _of_folder(folder: Path) -> BackboneSpec:
    files = weight_files(folder)
    size = sum(file.stat().st_size for file in files)
    return BackboneSpec(
        source=SOURCE,
        architecture=str(folder),
        factory=FACTORY,
        modalities=MODALITIES,
        family="unified_io",
        weights=(WeightsSpec(tag="", origin=f"file:{folder}", size=size),) if files else (),
        image_size=384,
        context_length=LONGEST_TEXT,
        preprocess=PREPROCESS,
        paper=PAPER,
        options={"folder": str(folder)},
    )
