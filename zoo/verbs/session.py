"""One fine-tuning job while it runs: data, backbone and head brought together, trained and measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.data.batches import Loader
from zoo.data.letterbox import whole_strides
from zoo.data.types import MANY_ANSWERS, Examples
from zoo.errors import PluginError, UsageError
from zoo.models.backbone import Backbone
from zoo.models.heads import LossHead, check_answers, head_spec
from zoo.models.pyramid import MapShapes, Pyramid
from zoo.records.runs import RunFolder
from zoo.transfer.baseline import Baseline, probe_random
from zoo.transfer.devices import choose_device, use_bf16
from zoo.transfer.estimate import estimate
from zoo.transfer.loop import epochs_of, steps_per_epoch
from zoo.transfer.metrics import primary
from zoo.transfer.mixing import NO_MIXERS, check_guides, mixers
from zoo.transfer.model import Model
from zoo.transfer.probe import solve
from zoo.transfer.scores import RowScores, Scores, score
from zoo.transfer.strategies import Adapting, Inserted, Phase, StageRow, strategy_named
from zoo.transfer.trained import HeadOptions, Trained, save_trained, task_processors
from zoo.transfer.unlabelled import Aligning, check_unlabelled
from zoo.verbs.extract import extract
from zoo.verbs.fitting import Fitting
from zoo.verbs.opening import Opened, is_pretrained
from zoo.verbs.run import Event, RunPlan, json_safe


@dataclass(frozen=True)
class Measured:
    """What the trained model scored on the held-out rows."""

    metrics: dict[str, float | None]
    intervals: dict[str, tuple[float, float]]


class Session:
    """A run from its plan to its figures."""

    def __init__(self, opened: Opened) -> None:
        self.config = opened.config
        self.data = opened.data
        self.backbone = backbone = opened.backbone
        self.training = training = opened.training
        self.notes = opened.notes
        self.watch = opened.watch
        self.guides = opened.guides
        self.unlabelled = opened.unlabelled
        self.named = opened.named
        self.class_weights = opened.class_weights
        self.device = choose_device(training.device)
        self.bf16 = use_bf16(training.precision, self.device)
        stages = backbone.stages()
        self.rows = tuple(StageRow(stage.name, stage.branch) for stage in stages)
        assert training.strategy is not None
        assert training.backbone_lr is not None
        strategy = strategy_named(
            training.strategy,
            unfreeze=training.unfreeze,
            backbone_lr=training.backbone_lr,
            options=training.strategy_options,
        )
        check_unlabelled(strategy, opened.unlabelled, opened.data.task.kind)
        self.strategy = strategy
        self.inserted: Inserted | None = None
        self.phases: tuple[Phase, ...] = strategy.phases(self.rows)
        if any(phase.solver == "closed-form" for phase in self.phases) and opened.data.task.kind in MANY_ANSWERS:
            what = {"segmentation": "pixel", "tokens": "word", "detection": "object"}[opened.data.task.kind]
            raise UsageError(
                f"--strategy {training.strategy} solves one answer a row, and this task has one for every {what}",
                help="use --strategy head, partial or full",
            )
        if any(phase.solver == "closed-form" for phase in self.phases) and training.head != "linear":
            raise UsageError(
                f"--strategy {training.strategy} solves a linear head, and --head {training.head} was given",
                help="use --strategy head or full to train another head",
            )
        self.gradient_phases = tuple(phase for phase in self.phases if phase.solver == "gradient")
        self.model, self.head_options, one = self._model()
        self.mixers = NO_MIXERS
        if training.mix is not None:
            check_guides(training.mix, (strategy, *opened.guides))
            gradient = bool(self.gradient_phases)
            self.mixers = mixers(training.mix, opened.data.task, training.seed, self.model, one, gradient=gradient)
        self.plan = self._plan(one)

    def train(self, folder: RunFolder, stop: Callable[[], bool], *, resume: bool) -> Trained:
        """The trained model, saved in the run's folder."""
        if self.gradient_phases:
            try:
                trained = Fitting(self, folder, stop, resume=resume).trained()
            finally:
                self._fold()  # a caller's backbone is the plain architecture again, however this ends
        else:
            trained = self.solve(folder, self.data.splits["train"])
        save_trained(folder.path / "model", trained)
        return trained

    def _fold(self) -> None:
        """What was inserted becomes part of the weights: a finished run is the plain architecture."""
        if self.inserted is not None:
            self.inserted.fold()
            self.model.adapters = ()
            if self.model.pyramid is not None:
                self.model.set_pyramid(Pyramid(self.backbone))

    def measure(self, trained: Trained, folder: RunFolder) -> Measured:
        """Metrics with intervals on the held-out rows, written to the run."""
        examples = self.data.splits[self.data.held_out]
        if not self.gradient_phases:
            assert examples.targets is not None
            outputs = self._head_on_features(trained, self.features(examples, "measuring"))
            scores: Scores = RowScores(self.data.task, outputs, examples.targets)
        else:
            progress = self._counting("measuring", len(examples))
            scores = score(trained, examples, batch_size=self.batch_size(), progress=progress)
        metrics = json_safe(scores.metrics())
        folder.log({"split": self.data.held_out, "final": True, **metrics})
        return Measured(metrics, scores.intervals())

    def baseline(self, measured: Measured) -> Baseline | None:
        """The same architecture with random weights, probed on the same rows; None where that is not wanted."""
        if self.config.baseline == "none" or not is_pretrained(self.backbone):
            return None
        if self.data.task.kind in MANY_ANSWERS:
            return None
        rows = sum(len(examples) for examples in self.data.splits.values())
        params = sum(p.numel() for p in self.backbone.parameters())
        if self.config.baseline == "auto" and params * rows > 5e8:
            return None
        return probe_random(
            self.backbone,
            self.data,
            seed=self.training.seed,
            metric=primary(self.data.task),
            features=lambda backbone, examples: self.features(examples, "baseline", backbone),
        )

    def _model(self) -> tuple[Model, HeadOptions, Any]:
        examples = self.data.splits["train"]
        self.backbone.eval()
        self.params = sum(p.numel() for p in self.backbone.parameters())
        maps = self._maps()
        processors = task_processors(self.backbone, self.data.task, maps)
        first = replace(examples.select([0]), targets=None)
        inputs = next(iter(Loader(first, processors, batch_size=1).epoch(0))).to(torch.device("cpu")).inputs
        with torch.inference_mode():
            features = self.backbone(inputs)
        assert self.training.head is not None
        check_answers(self.training.head, self.data.task.kind, features, inputs)
        options = HeadOptions(
            self.training.head,
            dim=features.pooled.shape[1],
            token_dim=features.tokens.shape[2],
            outputs=self.data.task.num_outputs,
            dropout=self.training.dropout,
            maps=maps,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.training.seed)
            if isinstance(self.strategy, Adapting):
                self.inserted = self.strategy.adapt(self.backbone, inputs)
            model = options.model(self.backbone)
        if self.named is not None:
            self.named.begin(model.head)
        if self.inserted is not None:
            model.adapters = tuple(self.inserted.parameters)
        if self.data.task.kind == "detection" and not isinstance(model.head, LossHead):
            raise PluginError(f"the head {options.name} finds objects and has no loss; it has to be a zoo.LossHead")
        return model, options, inputs

    def _maps(self) -> MapShapes | None:
        """What a head that takes a pyramid has to know of it; detection has images of its own size."""
        assert self.training.head is not None
        if head_spec(self.training.head).takes != "pyramid":
            return None
        shapes = Pyramid(self.backbone).shapes
        if self.training.image_size is None:
            return shapes
        side = whole_strides(self.training.image_size, shapes.strides[-1])
        return replace(shapes, size=(side, side))

    def _plan(self, one: Any) -> RunPlan:
        train = len(self.data.splits["train"])
        batch = self.batch_size()
        steps = 0
        if self.gradient_phases:
            per_epoch = steps_per_epoch(-(-train // batch), self.training)
            steps = sum(epochs_of(self.gradient_phases, self.training)) * per_epoch
        return RunPlan(
            backbone=self.backbone.name,
            data=self.data.name,
            rows={split: len(examples) for split, examples in self.data.splits.items()},
            task=self.data.task,
            strategy=str(self.training.strategy),
            phases=self.phases,
            stages=self.rows,
            estimate=estimate(self.model, self.phases, one, backbone=self.params, batch_size=batch, steps=steps),
            training=self.training,
            device=str(self.device),
            precision="bf16" if self.bf16 else "fp32",
            notes=self.notes,
        )

    def solve(self, folder: RunFolder, train: Examples) -> Trained:
        assert train.targets is not None
        features = self.features(train, "extracting")
        if isinstance(self.strategy, Aligning) and self.unlabelled is not None:
            features = self.strategy.align(features, self.features(self.unlabelled, "extracting"))
        solution = solve(
            features, train.targets, self.data.task, seed=self.training.seed, class_weights=self.class_weights
        )
        edge = ", the last that was tried" if solution.at_edge else ""
        self.watch(Event(note=f"probe solved in {solution.seconds:.1f} s, C = {solution.C:g}{edge}"))
        folder.log({"split": "train", "C": solution.C, "seconds": solution.seconds})
        linear = next(m for m in self.model.head.modules() if isinstance(m, torch.nn.Linear))
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(solution.weight))
            linear.bias.copy_(torch.from_numpy(solution.bias))
        model = self.model.to(self.device).eval()
        return Trained(model, self.head_options, self.data.task, None, self.device)

    def features(self, examples: Examples, doing: str, backbone: Backbone | None = None) -> NDArray[np.float32]:
        found = extract(
            backbone or self.backbone,
            examples,
            device=str(self.device),
            progress=self._counting(doing, len(examples)),
        )
        return found.features

    def _head_on_features(self, trained: Trained, features: NDArray[np.float32]) -> NDArray[np.float32]:
        from zoo.models.features import Features
        from zoo.transfer.tasks import probabilities

        pooled = torch.from_numpy(np.ascontiguousarray(features)).to(self.device)
        with torch.inference_mode():
            outputs = trained.head(Features(pooled=pooled, tokens=pooled.unsqueeze(1)))
            return probabilities(self.data.task, outputs.float()).cpu().numpy()

    def _counting(self, doing: str, total: int) -> Callable[[int], None]:
        return lambda done: self.watch(Event(doing=doing, done=done, total=total))

    def batch_size(self) -> int:
        assert self.training.batch_size is not None
        return self.training.batch_size
