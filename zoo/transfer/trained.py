"""A finished model on disk and back: backbone, head, task, classes and preprocessing in one folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.catalog.serial import spec_from_json, spec_to_json, weights_to_json
from zoo.catalog.spec import Modality
from zoo.data.aligned import moves_masks
from zoo.data.batches import Loader
from zoo.data.types import MANY_ANSWERS, Examples, Task
from zoo.errors import DataError, UnknownNameError, UsageError, WeightsError
from zoo.models.backbone import Backbone, Processor
from zoo.models.detector import letterbox
from zoo.models.features import Pooling
from zoo.models.fusion import Fused, Paired, fuse
from zoo.models.heads import Head, build_head
from zoo.models.load import rebuild
from zoo.models.pyramid import MapShapes, Pyramid
from zoo.records.files import published
from zoo.transfer.dense import decide
from zoo.transfer.detection import find_boxes
from zoo.transfer.devices import fetched
from zoo.transfer.model import Model
from zoo.transfer.replay import JUDGED, Replay
from zoo.transfer.tasks import TargetScale, probabilities

FORMAT = 1


@dataclass(frozen=True)
class HeadOptions:
    """What rebuilds a head."""

    name: str
    dim: int
    token_dim: int
    outputs: int
    dropout: float = 0.0
    maps: MapShapes | None = None
    """Of the pyramid, for a head that takes one."""

    def model(self, backbone: Backbone) -> Model:
        """The backbone with a fresh head."""
        head = build_head(
            self.name,
            dim=self.dim,
            token_dim=self.token_dim,
            outputs=self.outputs,
            dropout=self.dropout,
            maps=self.maps,
        )
        return Model(backbone, head, None if self.maps is None else Pyramid(backbone))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `dataclasses.asdict` gave, by way of JSON."""
        maps = value.get("maps")
        shapes = MapShapes(*(tuple(maps[key]) for key in ("channels", "strides", "size"))) if maps else None
        return cls(**{**value, "maps": shapes})


@dataclass(frozen=True)
class Trained:
    """A model that can predict."""

    model: Model
    head_options: HeadOptions
    task: Task
    scale: TargetScale | None
    """Of regression targets; None for classes."""
    device: torch.device

    @property
    def backbone(self) -> Backbone:
        """The backbone as it was after training."""
        return self.model.backbone

    @property
    def head(self) -> Head:
        """The head."""
        return self.model.head

    def processors(self) -> dict[Modality, Processor]:
        """One processor for each modality."""
        return task_processors(self.backbone, self.task, self.head_options.maps)

    def predict(
        self, examples: Examples, *, batch_size: int = 32, progress: Callable[[int], None] | None = None
    ) -> NDArray[Any]:
        """Class probabilities (N, K), or numbers (N, targets), in the order of the rows.

        For segmentation (N,) objects, class numbers (H, W) uint8 at the size of each image; for tokens (N,) objects,
        class indices (W,) of each text's words, -1 for words that were cut off; for detection (N,) `Boxes`. For pairs
        (N, 2 E) embeddings of length one, the image's before the text's.

        Args:
            examples: rows with the modalities of the backbone.
            batch_size: rows at once.
            progress: called with the number of rows done since the last call.
        """
        if self.task.kind not in MANY_ANSWERS or self.task.kind == "pairs":
            return predict_outputs(self, examples, batch_size=batch_size, progress=progress)
        _check_modalities(self, examples)
        if self.task.kind == "detection":
            return find_boxes(self, examples, batch_size=batch_size, progress=progress)
        found = np.empty(len(examples), dtype=object)
        for row, answer in decide(self, examples, batch_size=batch_size, progress=progress):
            found[row] = answer
        return found


def task_processors(backbone: Backbone, task: Task, maps: MapShapes | None = None) -> dict[Modality, Processor]:
    """One processor for each modality; for segmentation and detection one that cuts nothing off.

    Args:
        backbone: whose images and texts these are.
        task: what is predicted.
        maps: of the pyramid, for a head that takes one; detection puts images on a canvas of its `size`.

    Raises:
        UsageError: segmentation with images that are prepared in a way that masks cannot follow.
    """
    found = {modality: backbone.processor(modality) for modality in backbone.modalities}
    if task.kind == "segmentation":
        found["image"] = moves_masks(found["image"]).whole()
    if task.kind == "detection" and maps is not None:
        found["image"] = letterbox(backbone, maps.size[0], maps.strides[-1])
    return found


def predict_outputs(
    trained: Trained, examples: Examples, *, batch_size: int, progress: Callable[[int], None] | None = None
) -> NDArray[np.float32]:
    """What `Trained.predict` returns for tasks with one answer a row; the model keeps the mode it was in."""
    _check_modalities(trained, examples)
    pinned = trained.device.type == "cuda"
    loader = Loader(examples, trained.processors(), batch_size=batch_size, pinned=pinned)
    return loaded_outputs(trained, loader, progress=progress)


def loaded_outputs(
    trained: Trained, loader: Loader, *, replay: Replay | None = None, progress: Callable[[int], None] | None = None
) -> NDArray[np.float32]:
    """The same for rows that are loaded already; what a replay knows of them is not computed again."""
    was_training = trained.model.training
    trained.model.eval()
    ready = replay.ready(loader) if replay is not None else lambda place: None
    out: NDArray[np.float32] | None = None

    def made() -> Iterator[tuple[Tensor, tuple[Tensor]]]:
        for batch in loader.epoch(JUDGED, ready=ready):
            batch = batch.to(trained.device)
            known = trained.model.features(batch.inputs) if replay is None else replay.features(batch, batch.inputs)
            outputs = trained.model.head(known).float()
            if trained.scale is not None:
                outputs = trained.scale.undo(outputs)
            else:
                outputs = probabilities(trained.task, outputs)
            yield batch.rows, (outputs,)

    with torch.inference_mode():
        for rows, (values,) in fetched(made()):
            if out is None:
                out = np.empty((len(loader.examples), values.shape[1]), dtype=np.float32)
            out[rows.numpy()] = values.numpy()
            if progress is not None:
                progress(len(values))
    trained.model.train(was_training)
    return out if out is not None else np.empty((0, trained.task.num_outputs), dtype=np.float32)


def _check_modalities(trained: Trained, examples: Examples) -> None:
    missing = [m for m in trained.backbone.modalities if m not in examples.inputs]
    if missing:
        raise DataError(
            f"the model takes {' and '.join(trained.backbone.modalities)}, the data have no {missing[0]}",
            help=f"name the column with --{missing[0]}-col",
        )


def save_trained(folder: Path, trained: Trained) -> None:
    """Write everything that `load_trained` needs into `folder`, at once: a half model is never seen there.

    Raises:
        ZooError: the disk is full.
    """
    with published(folder) as temporary:
        temporary.mkdir()
        _write_trained(temporary, trained)


def _write_trained(folder: Path, trained: Trained) -> None:
    from safetensors.torch import save_file

    backbone = trained.backbone
    single = backbone.single if isinstance(backbone, Paired) else backbone
    parts = single.each if isinstance(single, Fused) else [single]
    state = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in trained.model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    backbone.save_assets(folder / "assets")
    config: dict[str, Any] = {
        "format": FORMAT,
        "backbone": backbone.name,
        "parts": [_part(part) for part in parts],
        "paired": isinstance(backbone, Paired),
        "head": asdict(trained.head_options),
        "task": asdict(trained.task),
        "scale": trained.scale.to_json() if trained.scale else None,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def load_trained(run: Path, *, device: str | torch.device = "cpu", backbone: Backbone | None = None) -> Trained:
    """The model of a finished run.

    Args:
        run: the run's folder, or its `model` folder.
        device: where it shall run.
        backbone: needed where the run's backbone was wrapped from a module in Python; a fresh one of the same kind.

    Raises:
        WeightsError: not a finished run, or its state does not fit.
    """
    folder = run / "model" if (run / "model").is_dir() else run
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{run} holds no finished model: {error}", help="`zoo runs` lists runs; go on with --resume if it stopped"
        ) from error
    backbone = backbone if backbone is not None else _rebuild(folder, config)
    if config["paired"] and not isinstance(backbone, Paired):
        backbone = Paired(backbone)
    backbone.name = config["backbone"]
    options = HeadOptions.from_json(config["head"])
    model = options.model(backbone)
    _load_exactly(model, folder / "model.safetensors")
    task = config["task"]
    chosen = torch.device(device)
    return Trained(
        model=model.to(chosen).eval(),
        head_options=options,
        task=Task(task["kind"], tuple(task["classes"]), tuple(task["targets"])),
        scale=TargetScale.from_json(config["scale"]) if config["scale"] else None,
        device=chosen,
    )


def set_pooling(backbone: Backbone, pooling: str) -> None:
    """Choose how tokens become one vector, in every part.

    Raises:
        UsageError: a part that offers no choice.
    """
    if pooling not in get_args(Pooling):
        raise UnknownNameError("pooling", pooling, get_args(Pooling), help=f"use {', '.join(get_args(Pooling))}")
    if isinstance(backbone, Paired):
        return set_pooling(backbone.single, pooling)
    if isinstance(backbone, Fused):
        for part in backbone.parts:
            if isinstance(part, Backbone):
                set_pooling(part, pooling)
        return None
    if hasattr(backbone, "pooling"):
        setattr(backbone, "pooling", pooling)  # noqa: B010  (declared by each adapter, not by the base)
    elif pooling != "native":
        raise UsageError(f"{backbone.name} offers no pooling '{pooling}'", help="leave --pooling at native")
    return None


def _part(backbone: Backbone) -> dict[str, Any]:
    spec = spec_to_json(backbone.spec)
    # The preprocessing of the weights that were loaded becomes the specification's own: a rebuild reads no weights.
    merged = backbone.spec.preprocess_for(backbone.weights)
    spec["preprocess"] = {str(m): asdict(value) for m, value in merged.items()}
    spec["weights"] = []
    return {
        "name": backbone.name,
        "spec": spec,
        "weights": weights_to_json(backbone.weights) if backbone.weights else None,  # where it began; never read again
        "towers": list(backbone.modalities),
        "pooling": getattr(backbone, "pooling", "native"),
    }


def _rebuild(folder: Path, config: dict[str, Any]) -> Backbone:
    parts = []
    for index, part in enumerate(config["parts"]):
        assets = folder / "assets" if len(config["parts"]) == 1 else folder / "assets" / str(index)
        spec = spec_from_json(part["spec"])
        if spec.factory == "zoo.models.wrap:wrap":
            raise WeightsError(
                f"the backbone of {folder} was wrapped from a module in Python, which a run cannot rebuild",
                help="pass backbone=zoo.wrap(...) again, or offer it as local:file.py:function",
            )
        built = rebuild(spec, tuple(part["towers"]), assets if assets.is_dir() else None)
        set_pooling(built, part["pooling"])
        built.name = part["name"]
        parts.append(built)
    return parts[0] if len(parts) == 1 else fuse(*parts)


def _load_exactly(model: Model, path: Path) -> None:
    from safetensors.torch import load_file

    try:
        model.load_state_dict(load_file(path), strict=True)
    except Exception as error:
        raise WeightsError(f"{path} does not fit the model it belongs to: {error}") from error
