"""Strategies in real training: what moves, what stays, and what a stop in the middle changes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo.catalog.spec import BackboneSpec, ImagePreprocess, Modality
from zoo.data.audio import Audio
from zoo.data.batches import Loader
from zoo.data.decode import decoded
from zoo.data.transforms import ImageProcessor
from zoo.data.types import AudioRef, Examples, Task
from zoo.errors import UsageError
from zoo.models.backbone import Backbone, Inputs, Stage
from zoo.models.features import Features
from zoo.models.heads import LinearHead
from zoo.records.checkpoints import newest
from zoo.testing.report import Inapplicable, require
from zoo.testing.samples import samples
from zoo.testing.subject import BackboneSubject
from zoo.transfer.loop import Job, epochs_of, fit
from zoo.transfer.model import Model, stepping
from zoo.transfer.options import Training
from zoo.transfer.reached import backward
from zoo.transfer.strategies import Adapting, Inserted, Phase, StageRow, Strategy, rows_of
from zoo.transfer.surgical import Looking
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


@dataclass(frozen=True)
class Ground:
    """What a strategy is tried on."""

    make: Callable[[], Backbone] = Small
    """A backbone that may be changed, the same at every call."""
    epochs: int = 2
    """Of every phase."""

    @classmethod
    def of(cls, backbone: str | Backbone, image_size: int | None = None) -> Ground:
        """One epoch a phase on this backbone, with random weights unless it was given loaded."""
        subject = BackboneSubject(backbone, image_size=image_size)
        return cls(lambda: subject.fresh(subject.backbone), epochs=1)


@dataclass
class Trial:
    """One strategy on one ground, before and after training."""

    strategy: Strategy
    ground: Ground
    model: Model
    rows: tuple[StageRow, ...]
    phases: tuple[Phase, ...]
    """Those that take steps."""
    inserted: Inserted | None
    terms: tuple[Term, ...] = ()
    drawn: tuple[Tensor, ...] = ()
    """The parameters of the terms as they were at first."""

    @classmethod
    def of(cls, strategy: Strategy, ground: Ground) -> Trial:
        """A trial whose every random number is the same at every call.

        Raises:
            Inapplicable: the strategy takes no steps, or refuses this backbone.
        """
        backbone = ground.make()
        rows = rows_of(backbone.stages())
        held = [row for row, s in zip(rows, backbone.stages(), strict=True) if any(p.numel() for p in s.parameters())]
        phases = stepping(table_of(strategy, held), backbone.stages())
        if not phases:
            raise Inapplicable("no phase takes steps")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = Model(backbone.eval(), LinearHead(backbone.dim, len(TASK.classes)))
            inserted = None
            if isinstance(strategy, Adapting):
                try:
                    inserted = strategy.adapt(backbone, _batch(backbone, 1))
                except UsageError as error:
                    raise Inapplicable(error.what) from error
                model.adapters = tuple(inserted.parameters)
        return cls(strategy, ground, model, rows, phases, inserted)

    def train(self, folder: Path, *, steps: int | None = None) -> None:
        """Some epochs of every phase, or so many steps; from the newest checkpoint in `folder` where there is one."""
        backbone, epochs = self.model.backbone, self.ground.epochs * len(self.phases)
        train = _examples(backbone, LABELLED, labelled=True)
        processors = {modality: backbone.processor(modality) for modality in backbone.modalities}
        loader = Loader(train, processors, batch_size=4, train=True)
        training = Training(optimizer="adamw", lr=0.01, epochs=epochs, schedule="constant", batch_size=4)
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
            unlabelled=_examples(self.model.backbone, UNLABELLED, labelled=False),
            features=lambda examples, _: _pooled(self.model.backbone, examples),
            say=lambda _: None,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.terms = tuple(self.strategy.terms(setting))
        self.drawn = tuple(p.detach().clone() for p in self.of_terms())
        return self.strategy.task_weight


def moves_as_told(strategy: Strategy, ground: Ground) -> str:
    """Train, and hold what moved against the table."""
    names = {name for name, _ in ground.make().named_parameters()}
    reached = _reached(ground.make())
    trial = Trial.of(strategy, ground)
    model, backbone = trial.model, trial.model.backbone
    plain = _owned(backbone, trial.rows, {id(parameter) for parameter in model.adapters})
    wanted = {id(parameter) for key, parameter in backbone.named_parameters() if key in reached}
    before = {name: [t.detach().clone() for t in tensors] for name, tensors in plain.items()}
    added = [p.detach().clone() for p in model.adapters]
    head = [p.detach().clone() for p in model.head.parameters()]
    with tempfile.TemporaryDirectory() as folder:
        trial.train(Path(folder) / "checkpoints")
    moved = {name: [not torch.equal(a, b) for a, b in zip(before[name], plain[name], strict=True)] for name in plain}
    told = {name for phase in trial.phases for name in phase.trained(trial.rows)}
    kept = all(phase.keep_statistics for phase in trial.phases)
    for name, changes in moved.items():
        require(name in told or not any(changes), f"{name} is frozen in every phase and {sum(changes)} tensors changed")
        stayed = [t for t, changed in zip(plain[name], changes, strict=True) if not changed and id(t) in wanted]
        require(name not in told or not stayed, f"{name} is trained and {len(stayed)} tensors stayed")
        buffers = sum(not isinstance(t, nn.Parameter) and c for t, c in zip(plain[name], changes, strict=True))
        require(not kept or not buffers, f"{buffers} running statistics of {name} were to be kept, and changed")
    still = sum(torch.equal(a, b) for a, b in zip(head, model.head.parameters(), strict=True))
    require(not still, f"{still} tensors of the head stayed as they were")
    stayed = [b for a, b in zip(added, model.adapters, strict=True) if torch.equal(a, b)]
    if stayed:  # what softmax takes no notice of, as the same number added to all scores, has a gradient of zero
        with backward(backbone, _batch(backbone, 1)):
            still = sum(parameter.grad is None or bool(parameter.grad.abs().max() > 1e-6) for parameter in stayed)
        require(not still, f"{still} of {len(added)} inserted tensors never moved: they pass no gradient")
    still = sum(torch.equal(a, b) for a, b in zip(trial.drawn, trial.of_terms(), strict=True))
    require(not still, f"{still} of {len(trial.drawn)} tensors of the terms in the loss never moved")
    if trial.inserted is not None:
        trial.inserted.fold()
        require({n for n, _ in backbone.named_parameters()} == names, "fold() leaves another architecture behind")
    more = [f"{len(added)} inserted"] if added else []
    more += [f"{len(trial.terms)} terms in the loss"] if trial.terms else []
    return ", ".join([f"{', '.join(sorted(told)) or 'no stage'} and the head", *more])


def goes_on_alike(make: Callable[[], Strategy], ground: Ground) -> str:
    """Train in one go, and stopped in the middle of an epoch and resumed by another process's objects."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Trial.of(make(), ground)
        whole.train(Path(folder) / "whole")
        stopped = Path(folder) / "stopped"
        Trial.of(make(), ground).train(stopped, steps=4 if ground.epochs > 1 else 2)
        resumed = Trial.of(make(), ground)
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


def table_of(strategy: Strategy, rows: Sequence[StageRow]) -> tuple[Phase, ...]:
    """The phases; of a strategy that looks at gradients first, as if the highest stage had the greatest."""
    return _settled(strategy, rows).phases(rows)


def _settled(strategy: Strategy, rows: Sequence[StageRow]) -> Strategy:
    if not isinstance(strategy, Looking):
        return strategy
    return strategy.looked({row.name: float(place) for place, row in enumerate(rows, 1)})


def _reached(backbone: Backbone) -> set[str]:
    """Names of the parameters to which a loss passes a gradient: more than the rounding that biases of keys get."""
    if not any(p.requires_grad for p in backbone.parameters()):
        return set()
    with torch.enable_grad():
        found = backbone.eval()(_batch(backbone, 4))
        torch.autograd.backward(found.pooled.float().square().sum())
    largest = max((float(p.grad.abs().max()) for p in backbone.parameters() if p.grad is not None), default=0.0)
    slopes = ((name, p.grad) for name, p in backbone.named_parameters())
    return {name for name, slope in slopes if slope is not None and float(slope.abs().max()) > 1e-6 * largest}


def _batch(backbone: Backbone, count: int) -> dict[Modality, dict[str, Tensor]]:
    return _inputs(backbone, _examples(backbone, count, labelled=True))


def _inputs(backbone: Backbone, examples: Examples) -> dict[Modality, dict[str, Tensor]]:
    found = {}
    for modality, values in examples.inputs.items():
        processor = backbone.processor(modality)
        found[modality] = processor.finish(processor.collate([processor(decoded(value)) for value in values]))
    return found


def _examples(backbone: Backbone, count: int, *, labelled: bool) -> Examples:
    """So many rows of what a backbone takes: the first ones with classes in turn, others without."""
    inputs: dict[Modality, list[Any]] = {}
    for modality in backbone.modalities:
        values = [_as_read(value) for value in samples(modality, LABELLED + UNLABELLED)]
        inputs[modality] = values[:count] if labelled else values[-count:]
    ids = tuple(f"{'labelled' if labelled else 'unlabelled'}:{row}" for row in range(count))
    return Examples(inputs, np.arange(count) % len(TASK.classes) if labelled else None, ids, ids)


def _as_read(value: Any) -> Any:
    """Sounds as a data set holds them; texts and pictures as they are."""
    return AudioRef("made", array=value.samples, rate=value.rate) if isinstance(value, Audio) else value


def _pooled(backbone: Backbone, examples: Examples) -> NDArray[np.float32]:
    was_training = backbone.training
    with torch.inference_mode():
        found = backbone.eval()(_inputs(backbone, examples)).pooled
    backbone.train(was_training)
    return np.asarray(found)
