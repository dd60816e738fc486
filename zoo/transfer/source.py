"""A finished run as the source of the next task."""

from __future__ import annotations

from pathlib import Path

from zoo.catalog.spec import LoadRequest, Modality, WeightsSpec
from zoo.errors import UsageError
from zoo.models.backbone import Backbone
from zoo.models.dual import DualEncoder
from zoo.models.fusion import Fused, Paired
from zoo.transfer.trained import load_trained


def build_run(request: LoadRequest) -> Backbone:
    """The fine-tuned backbone of a finished run, as the source of the next task.

    Raises:
        UsageError: other weights are asked for.
    """
    path = Path(str(request.spec.options["path"]))
    if request.weights is None or request.weights.tag:
        raise UsageError(
            f"the run {path} brings its own weights",
            help="for other weights name the backbone that it began with; `zoo runs` shows it",
        )
    return one_tower(from_run(path), request.towers)


def one_tower(backbone: Backbone, towers: tuple[Modality, ...]) -> Backbone:
    """The one tower that is asked for, where the backbone is a dual encoder that brings both."""
    if isinstance(backbone, DualEncoder) and len(towers) == 1 and len(backbone.modalities) > 1:
        return backbone.tower(towers[0])
    return backbone


def from_run(path: Path, part: int | None = None) -> Backbone:
    """The backbone of the finished run in this folder, or one part of it where it is fused."""
    backbone = load_trained(path, device="cpu").backbone
    if isinstance(backbone, Paired):  # the next task may have single texts
        backbone = backbone.single
    origin = f"file:{(path / 'model' / 'model.safetensors').resolve()}"
    backbone.weights = WeightsSpec(tag="run", origin=origin, options={"run": str(path), "part": None})
    parts = [each for each in backbone.parts if isinstance(each, Backbone)] if isinstance(backbone, Fused) else []
    for index, each in enumerate(parts):
        each.weights = WeightsSpec(tag="run", origin=origin, options={"run": str(path), "part": index})
    return backbone if part is None else parts[part]
