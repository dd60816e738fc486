"""What must survive: saving, moving, rebuilding, stopping halfway and exporting."""

from __future__ import annotations

import csv
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zoo.catalog.spec import Modality
from zoo.data.audio import Audio
from zoo.errors import UsageError
from zoo.models.backbone import Backbone
from zoo.testing.backbone_stages import first_runs
from zoo.testing.report import Broken, Inapplicable, few, law, require
from zoo.testing.samples import samples
from zoo.testing.subject import CLOSE, BackboneSubject, distance, token_distance
from zoo.verbs.config import Output
from zoo.verbs.finetune import finetune, resume
from zoo.verbs.run import Interrupted, Run


@law(consequence="a run that was saved predicts something else when it is loaded")
def state_round_trip(subject: BackboneSubject) -> str:
    """The state_dict of one copy, loaded strictly into another, gives the same features, bit for bit."""
    state = {name: value.clone() for name, value in subject.backbone.state_dict().items()}
    other = subject.fresh()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1)
    other.load_state_dict(state, strict=True)
    batch = subject.batch(3)
    one, two = subject.run(batch), subject.run(batch, other)
    require(torch.equal(one.pooled, two.pooled), f"pooled differs by {distance(two.pooled, one.pooled):.2g}")
    require(token_distance(two, one) == 0, f"tokens differ by {token_distance(two, one):.2g}")
    return f"{len(state)} tensors"


@law(consequence="a finished run cannot be opened without the files that it came from")
def rebuild(subject: BackboneSubject) -> str:
    """What `save_assets` writes, and the state, rebuild the backbone: same features, same processors."""
    with tempfile.TemporaryDirectory() as folder:
        assets = Path(folder) / "assets"
        subject.backbone.save_assets(assets)
        other = subject.rebuilt(assets)
        other.load_state_dict(subject.backbone.state_dict(), strict=True)
        if hasattr(subject.backbone, "pooling"):
            setattr(other, "pooling", subject.backbone.pooling)  # noqa: B010  (declared by adapters)
        files = sum(1 for each in assets.rglob("*") if each.is_file()) if assets.is_dir() else 0
        plain = subject.run(subject.batch(3))
        anew = {m: _tensors(other, m, samples(m, 3)) for m in other.modalities}
        found = subject.run(anew, other.eval())
    require(torch.equal(found.pooled, plain.pooled), f"pooled differs by {distance(found.pooled, plain.pooled):.2g}")
    return f"same features out of {files} files and the state"


def _tensors(backbone: Backbone, modality: Modality, values: list[Any]) -> dict[str, Tensor]:
    processor = backbone.processor(modality)
    return processor.finish(processor.collate([processor(value) for value in values]))


@law(consequence="it stops on a GPU with tensors on two devices, or in another precision")
def moves(subject: BackboneSubject) -> str:
    """`to()` moves everything: no tensor is kept outside of parameters and buffers; on a GPU the features agree."""
    subject.run(subject.batch(2))  # some tensors are made at the first call
    kept = [name for name, module in subject.backbone.named_modules() for name in _loose(name, module)]
    if kept:
        _run_elsewhere(subject, kept)
    if not torch.cuda.is_available():
        return "nothing is kept outside; no GPU here to run it on"
    batch = subject.batch(3)
    there = {m: {k: v.cuda() for k, v in tensors.items()} for m, tensors in batch.items()}
    found = subject.run(there, subject.fresh(subject.backbone).cuda())
    off = distance(found.pooled.cpu(), subject.run(batch).pooled)
    require(off < 1e-2, f"features on the GPU differ by {off:.2g} of the largest value")
    return f"features on the GPU differ by {off:.1g}"


def _run_elsewhere(subject: BackboneSubject, kept: list[str]) -> None:
    """Nothing if a run on the `meta` device needs none of what is kept: a cache may have a place for each device."""
    batch = {m: {k: v.to("meta") for k, v in tensors.items()} for m, tensors in subject.batch(2).items()}
    try:
        subject.run(batch, subject.fresh(subject.backbone).to("meta"))
    except Exception as error:
        raise Broken(f"kept as plain attributes: {few(kept)}; moved, it stops: {str(error)[:120]}") from error


def _loose(name: str, module: nn.Module) -> Iterator[str]:
    """Floating-point tensors that hang on a module as plain attributes, alone or in a list or dictionary."""
    for key, value in vars(module).items():
        if key in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
            continue
        inside = value if isinstance(value, list | tuple) else value.values() if isinstance(value, dict) else [value]
        held = [each for each in inside if isinstance(each, Tensor) and each.is_floating_point()]
        if any(not isinstance(each, nn.Parameter) for each in held):
            yield f"{name}.{key}".strip(".")


@law(consequence="it cannot be carried to new data by the same command as every other backbone")
def finetunes(subject: BackboneSubject) -> str:
    """With a new head every stage learns; the run, opened again, predicts the same."""
    with tempfile.TemporaryDirectory() as folder:
        data = write_rows(Path(folder) / "data", subject.backbone.modalities)
        run = _train(subject, data, Path(folder) / "runs")
        trained = run.load(backbone=None if subject.selection is not None else subject.fresh())
        loss = next((v for k, v in run.metrics.items() if k == "log_loss"), None)
        again = run.load(backbone=None if subject.selection is not None else subject.fresh())
        batch = subject.batch(3)
        with torch.no_grad():
            one, two = trained.model(batch), again.model(batch)
        seen = first_runs(subject)  # what serves other inputs, such as several images a row, has nothing to learn here
        still = [name for name in _unmoved(subject.fresh(), trained.backbone) if name in seen]
    require(not still, f"after two epochs of everything no tensor of {few(still)} has moved")
    require(bool(one.isfinite().all()), "the outputs are not finite")
    require(torch.equal(one, two), "two openings of one run predict differently")
    return f"log-loss {loss:.3g} on 8 rows" if loss is not None else "8 rows"


def _unmoved(before: Backbone, after: Backbone) -> list[str]:
    """Stages of which training changed nothing."""
    old = dict(before.named_parameters())
    moved = {id(old[name]) for name, value in after.named_parameters() if not torch.equal(old[name], value)}
    return [
        stage.name
        for stage in before.stages()
        if any(True for _ in stage.parameters()) and not any(id(p) in moved for p in stage.parameters())
    ]


@law(consequence="after a kill or a power cut the run goes on to another result than it would have had")
def resumes(subject: BackboneSubject) -> str:
    """Training that is stopped halfway and resumed ends with the same weights, bit for bit."""
    with tempfile.TemporaryDirectory() as folder:
        data = write_rows(Path(folder) / "data", subject.backbone.modalities)
        whole = _train(subject, data, Path(folder) / "whole")
        asked = iter(range(10**6))
        try:
            _train(subject, data, Path(folder) / "halves", stop=lambda: next(asked) >= 4)
            raise Broken("it could not be stopped")
        except Interrupted:
            pass
        half = next((Path(folder) / "halves").iterdir())
        halves = resume(half, backbone=subject.fresh())
        one, two = (each.load(backbone=subject.fresh()).model.state_dict() for each in (whole, halves))
    differ = [name for name in one if not torch.equal(one[name], two[name])]
    require(not differ, f"{len(differ)} of {len(one)} tensors differ: {few(differ)}")
    return f"{len(one)} tensors bit-equal after a stop at step 2"


def _train(subject: BackboneSubject, data: Path, out: Path, stop: Any = lambda: False) -> Run:
    try:
        return finetune(
            subject.fresh(),
            str(data),
            strategy="full" if any(True for _ in subject.backbone.parameters()) else "head",
            epochs=2,
            batch_size=4,
            lr=1e-3,
            device="cpu",
            baseline="none",
            out=Output(dir=str(out)),
            stop=stop,
        )
    except UsageError as error:
        raise Broken(str(error)) from error


def write_rows(folder: Path, modalities: tuple[Modality, ...], rows: int = 16) -> Path:
    """A table of made rows in two classes with a file of their own for each picture and sound."""
    folder.mkdir(parents=True)
    columns: dict[str, list[str]] = {"label": [f"class {row % 2}" for row in range(rows)]}
    columns["split"] = ["train" if row < rows // 2 else "test" for row in range(rows)]
    for modality in modalities:
        values = samples(modality, rows)
        if modality == "text":
            columns["text"] = [f"{'yes' if row % 2 else 'no'} {row} {value}" for row, value in enumerate(values)]
            continue
        columns[modality] = [f"{row}.{'png' if modality == 'image' else 'wav'}" for row in range(rows)]
        for name, value in zip(columns[modality], values, strict=True):
            if isinstance(value, Audio):
                _write_sound(folder / name, value)
            else:
                value.save(folder / name)
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return folder / "rows.csv"


def _write_sound(path: Path, audio: Audio) -> None:
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(audio.rate)
        file.writeframes((np.clip(audio.samples, -1, 1) * 32_767).astype("<i2").tobytes())


class _Flat(nn.Module):
    """A backbone with tensors in and tensors out, as exporters take it."""

    def __init__(self, backbone: Backbone, keys: tuple[tuple[Modality, str], ...]) -> None:
        super().__init__()
        self.backbone = backbone
        self.keys = keys

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        batch: dict[Modality, dict[str, Tensor]] = {}
        for (modality, key), tensor in zip(self.keys, tensors, strict=True):
            batch.setdefault(modality, {})[key] = tensor
        found = self.backbone(batch)
        return found.pooled, found.tokens


@law(consequence="the deployed file answers differently from the model that was measured")
def exports(subject: BackboneSubject) -> str:
    """What `torch.export` makes of it gives the same features."""
    batch = subject.batch(3)
    keys = tuple((m, key) for m, tensors in batch.items() for key in tensors)
    tensors = tuple(batch[m][key] for m, key in keys)
    flat = _Flat(subject.fresh(subject.backbone), keys).eval()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(flat, tensors)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Inapplicable(f"torch.export cannot trace it: {reason[:120]}") from error
    with torch.no_grad():
        pooled, tokens = program.module()(*tensors)
        eager = flat(*tensors)
    off = max(distance(pooled, eager[0]), distance(tokens, eager[1]))
    require(off <= CLOSE, f"differs by {off:.2g} of the largest value")
    return f"differs by {off:.1g}"


STATE_LAWS = (state_round_trip, rebuild, moves, finetunes, resumes, exports)
