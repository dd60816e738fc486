"""Strategies in real training of a small network: what moves, what stays, and what a stop in the middle changes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo.catalog.spec import BackboneSpec, ImagePreprocess, Modality
from zoo.data.batches import Loader
from zoo.data.transforms import ImageProcessor
from zoo.data.types import Examples, Task
from zoo.models.backbone import Backbone, Inputs, Stage
from zoo.models.features import Features
from zoo.models.heads import LinearHead
from zoo.records.checkpoints import newest
from zoo.testing.report import Inapplicable, require
from zoo.testing.samples import samples
from zoo.transfer.loop import Job, epochs_of, fit
from zoo.transfer.model import Model
from zoo.transfer.options import Training
from zoo.transfer.strategies import Adapting, Inserted, Phase, StageRow, Strategy
from zoo.transfer.tasks import loss_for
from zoo.transfer.terms import Guided, Setting, Term

LABELLED, UNLABELLED = 12, 10
"""Pictures to train on, and pictures without labels."""
TASK = Task("multiclass", ("a", "b", "c"), ("label",))


class Small(Backbone):
    """Three convolutions with batch norm: a backbone to try a strategy on."""

    spec = BackboneSpec("testing", "small", "zoo.testing.strategy_training:Small", ("image",), "cnn")
    modalities = ("image",)
    dim = 8

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.stem, self.middle, self.top = (_block(c) for c in (3, 8, 8))

    def forward(self, batch: Inputs) -> Features:
        found = self.top(self.middle(self.stem(batch["image"]["pixels"])))
        grid = (found.shape[2], found.shape[3])
        return Features(found.mean((2, 3)), found.flatten(2).transpose(1, 2), grid=grid)

    def stages(self) -> list[Stage]:
        return [Stage("stem", (self.stem,)), Stage("middle", (self.middle,)), Stage("top", (self.top,))]

    def processor(self, modality: Modality) -> ImageProcessor:
        return ImageProcessor(ImagePreprocess(size=(16, 16), fit="squash"))


def _block(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1))


@dataclass
class Trial:
    """One strategy on a small network, before and after training."""

    strategy: Strategy
    model: Model
    rows: tuple[StageRow, ...]
    phases: tuple[Phase, ...]
    """Those that take steps."""
    inserted: Inserted | None
    terms: tuple[Term, ...] = ()
    drawn: tuple[Tensor, ...] = ()
    """The parameters of the terms as they were at first."""

    @classmethod
    def of(cls, strategy: Strategy) -> Trial:
        """A trial whose every random number is the same at every call.

        Raises:
            Inapplicable: the strategy takes no steps.
        """
        backbone = Small()
        rows = tuple(StageRow(stage.name, stage.branch) for stage in backbone.stages())
        phases = tuple(phase for phase in strategy.phases(rows) if phase.solver == "gradient")
        if not phases:
            raise Inapplicable("no phase takes steps")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = Model(backbone.eval(), LinearHead(backbone.dim, len(TASK.classes)))
            inserted = None
            if isinstance(strategy, Adapting):
                processor = backbone.processor("image")
                one = processor.finish(processor.collate([processor(samples("image", 1)[0])]))
                inserted = strategy.adapt(backbone, {"image": one})
                model.adapters = tuple(inserted.parameters)
        return cls(strategy, model, rows, phases, inserted)

    def train(self, folder: Path, *, steps: int | None = None) -> None:
        """Two epochs of every phase, or so many steps; from the newest checkpoint in `folder` where there is one."""
        train = _pictures(LABELLED, labelled=True)
        loader = Loader(train, {"image": self.model.backbone.processor("image")}, batch_size=4, train=True)
        training = Training(optimizer="adamw", lr=0.01, epochs=2 * len(self.phases), schedule="constant", batch_size=4)
        weight = self._guide(train, training, sum(epochs_of(self.phases, training)) * len(loader))
        taken = 0
        job = Job(
            model=self.model,
            loader=loader,
            phases=self.phases,
            training=training,
            loss=loss_for(TASK),
            device=torch.device("cpu"),
            bf16=False,
            folder=folder,
            stop=lambda: steps is not None and taken >= steps,
            terms=self.terms,
            task_weight=weight,
        )
        for record in fit(job, newest(folder) if folder.is_dir() else None):
            taken += record.kind == "step"

    def of_terms(self) -> list[nn.Parameter]:
        """The parameters of the terms."""
        return [parameter for term in self.terms for parameter in term.parameters()]

    def _guide(self, train: Examples, training: Training, steps: int) -> float:
        """Make the terms of the strategy; the weight of the task's own loss beside them."""
        if not isinstance(self.strategy, Guided):
            return 1.0
        setting = Setting(
            model=self.model,
            train=train,
            task=TASK,
            scale=None,
            training=training,
            device=torch.device("cpu"),
            steps=steps,
            unlabelled=_pictures(UNLABELLED, labelled=False),
            features=lambda examples, _: _pooled(self.model.backbone, examples),
            say=lambda _: None,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.terms = tuple(self.strategy.terms(setting))
        self.drawn = tuple(p.detach().clone() for p in self.of_terms())
        return self.strategy.task_weight


def moves_as_told(strategy: Strategy) -> str:
    """Train, and hold what moved against the table."""
    trial = Trial.of(strategy)
    model, backbone = trial.model, trial.model.backbone
    plain = _owned(backbone, trial.rows, {id(parameter) for parameter in model.adapters})
    before = {name: [t.detach().clone() for t in tensors] for name, tensors in plain.items()}
    added = [p.detach().clone() for p in model.adapters]
    head = [p.detach().clone() for p in model.head.parameters()]
    with tempfile.TemporaryDirectory() as folder:
        trial.train(Path(folder) / "checkpoints")
    moved = {name: [not torch.equal(a, b) for a, b in zip(before[name], plain[name], strict=True)] for name in plain}
    told = {name for phase in trial.phases for name in phase.trained(trial.rows)}
    for name, changes in moved.items():
        require(name in told or not any(changes), f"{name} is frozen in every phase and {sum(changes)} tensors changed")
        require(name not in told or all(changes), f"{name} is trained and {len(changes) - sum(changes)} tensors stayed")
    still = sum(torch.equal(a, b) for a, b in zip(head, model.head.parameters(), strict=True))
    require(not still, f"{still} tensors of the head stayed as they were")
    still = sum(torch.equal(a, b) for a, b in zip(added, model.adapters, strict=True))
    require(not still, f"{still} of {len(added)} inserted tensors never moved: they pass no gradient")
    still = sum(torch.equal(a, b) for a, b in zip(trial.drawn, trial.of_terms(), strict=True))
    require(not still, f"{still} of {len(trial.drawn)} tensors of the terms in the loss never moved")
    if trial.inserted is not None:
        names = {name for name, _ in Small().named_parameters()}
        trial.inserted.fold()
        require({n for n, _ in backbone.named_parameters()} == names, "fold() leaves another architecture behind")
    more = [f"{len(added)} inserted"] if added else []
    more += [f"{len(trial.terms)} terms in the loss"] if trial.terms else []
    return ", ".join([f"{', '.join(sorted(told)) or 'no stage'} and the head", *more])


def goes_on_alike(make: Callable[[], Strategy]) -> str:
    """Train in one go, and stopped in the middle of an epoch and resumed by another process's objects."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Trial.of(make())
        whole.train(Path(folder) / "whole")
        stopped = Path(folder) / "stopped"
        Trial.of(make()).train(stopped, steps=4)
        resumed = Trial.of(make())
        resumed.train(stopped)
    state, other = whole.model.state_dict(), resumed.model.state_dict()
    differ = [name for name in state if not torch.equal(state[name], other[name])]
    require(not differ, f"{len(differ)} of {len(state)} tensors differ after a resume, {differ[:1]} first")
    return f"{len(state)} tensors"


def _owned(backbone: Backbone, rows: Sequence[StageRow], adapters: set[int]) -> dict[str, list[Tensor]]:
    """What no adapter trains, by stage: the backbone's own parameters and, of batch norm, running statistics."""
    found: dict[str, list[Tensor]] = {row.name: [] for row in rows}
    for stage in backbone.stages():
        for module in stage.modules:
            found[stage.name] += [p for p in module.parameters() if id(p) not in adapters]
            found[stage.name] += [b for b in module.buffers() if b.is_floating_point()]
    return found


def _pictures(count: int, *, labelled: bool) -> Examples:
    """So many pictures: the first ones with classes in turn, others without."""
    values = samples("image", LABELLED + UNLABELLED)
    values = values[:count] if labelled else values[-count:]
    ids = tuple(f"{'labelled' if labelled else 'unlabelled'}:{row}" for row in range(count))
    return Examples({"image": values}, np.arange(count) % len(TASK.classes) if labelled else None, ids, ids)


def _pooled(backbone: Backbone, examples: Examples) -> NDArray[np.float32]:
    processor = backbone.processor("image")
    images = processor.finish(processor.collate([processor(value) for value in examples.inputs["image"]]))
    was_training = backbone.training
    with torch.inference_mode():
        found = backbone.eval()({"image": images}).pooled
    backbone.train(was_training)
    return np.asarray(found)
