"""One fine-tuning job while it runs: data, backbone and head brought together, trained and measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.data.augment import Augment, recipe
from zoo.data.batches import Loader
from zoo.data.letterbox import whole_strides
from zoo.data.types import MANY_ANSWERS, Examples
from zoo.errors import PluginError, UsageError
from zoo.models.backbone import Backbone
from zoo.models.composed import is_pretrained
from zoo.models.dual import dual_encoder
from zoo.models.heads import LossHead, check_answers, head_spec
from zoo.models.pair_heads import PairHead
from zoo.models.pyramid import MapShapes, Pyramid
from zoo.records.plain import json_safe
from zoo.records.runs import RunFolder
from zoo.transfer.anchored import Souping
from zoo.transfer.baseline import Baseline, probe_random
from zoo.transfer.devices import choose_device, use_bf16
from zoo.transfer.estimate import estimate
from zoo.transfer.foreseen import foreseen
from zoo.transfer.freezing import frozen_stages, phases_of
from zoo.transfer.loop import epochs_of, steps_per_epoch
from zoo.transfer.metrics import primary
from zoo.transfer.mixing import NO_MIXERS, check_guides, mixers
from zoo.transfer.model import Model, stepping
from zoo.transfer.reading import FlypHead, ReadHead
from zoo.transfer.scores import RowScores, Scores, score
from zoo.transfer.solvers import check_solvable, decide, only_solved, put_into, solve_head
from zoo.transfer.strategies import Adapting, Inserted, Phase, Strategy, rows_of, strategy_named
from zoo.transfer.tasks import TargetScale
from zoo.transfer.team import current
from zoo.transfer.terms import Guided
from zoo.transfer.texts import Reading
from zoo.transfer.trained import HeadOptions, Trained, save_trained, task_processors
from zoo.transfer.unlabelled import Aligning, check_unlabelled
from zoo.verbs.extract import extract
from zoo.verbs.fitting import Fitting, shown_rows
from zoo.verbs.opening import Opened
from zoo.verbs.run import Event, RunPlan
from zoo.verbs.together import check_spread, refuse


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
        self.class_weights = opened.class_weights
        self.named = opened.named
        self.known = opened.known
        self.device = choose_device(training.device)
        self.bf16 = use_bf16(training.precision, self.device)
        self.rows = rows_of(backbone.stages())
        assert training.strategy is not None
        assert training.backbone_lr is not None
        self.strategy: Strategy
        strategy = strategy_named(
            training.strategy,
            unfreeze=training.unfreeze,
            backbone_lr=training.backbone_lr,
            options=training.strategy_options,
        )
        check_unlabelled(strategy, opened.unlabelled, opened.data.task.kind, taught=bool(opened.guides))
        self.strategy = strategy
        self.inserted: Inserted | None = None
        self.frozen = frozen_stages(training.freeze, self.rows)
        self.phases = self._phases_of(strategy)
        if any(phase.solver == "closed-form" for phase in self.phases) and opened.data.task.kind in MANY_ANSWERS:
            named = {"segmentation": "pixel", "tokens": "word", "detection": "object", "pairs": "combination of rows"}
            what = named[opened.data.task.kind]
            raise UsageError(
                f"--strategy {training.strategy} solves one answer a row, and this task has one for every {what}",
                help="use --strategy head, partial or full",
            )
        self.gradient_phases = stepping(self.phases, self.backbone.stages())
        self._check_head(str(training.head))
        self.model, self.head_options, self.one = self._model()
        self._check_loss()
        if self.gradient_phases:
            check_spread(current(), strategy, self.model.head, opened.guides)
        self.mixers = NO_MIXERS
        if training.mix is not None:
            check_guides(training.mix, (strategy, *opened.guides))
            gradient = bool(self.gradient_phases)
            self.mixers = mixers(training.mix, opened.data.task, training.seed, self.model, self.one, gradient=gradient)
        self.plan = self._plan(self.one)

    def train(self, folder: RunFolder, stop: Callable[[], bool], *, resume: bool) -> Trained:
        """The trained model, saved in the run's folder."""
        if self.gradient_phases:
            try:
                trained = Fitting(self, folder, stop, resume=resume).trained()
            finally:
                self.fold()  # a caller's backbone is the plain architecture again, however this ends
        else:
            trained = self.solve(folder, self.data.splits["train"])
        if isinstance(trained.head, PairHead):
            trained.head.end(dual_encoder(trained.backbone))
        current().lead(lambda: save_trained(folder.path / "model", trained))
        return trained

    def _check_loss(self) -> None:
        """Refuse what joins the loss of the task where the head has a loss of its own."""
        if not isinstance(self.model.head, LossHead):
            return
        head, training = self.head_options.name, self.training
        if isinstance(self.model.head, (PairHead, FlypHead)) and current().size > 1:
            refuse(current(), f"{head} tells the rows of a batch from each other")
        if training.mix is not None:
            raise UsageError(
                f"--mix {training.mix} mixes answers, and {head} has a loss of its own", help="leave it out"
            )
        if self.guides or isinstance(self.strategy, Guided):
            what = "a teacher" if self.guides else f"--strategy {training.strategy}"
            raise UsageError(
                f"{what} adds to the loss of a task, and {head} has a loss of its own",
                help="use --strategy full, partial or lora",
            )

    def settle(self, strategy: Strategy) -> None:
        """Go on with this strategy, whose table is known only now."""
        self.strategy = strategy
        self.phases = self._phases_of(strategy)
        self.gradient_phases = stepping(self.phases, self.backbone.stages())
        self.plan = self._plan(self.one)

    def fold(self) -> None:
        """What was inserted becomes part of the weights: a finished run is the plain architecture."""
        if self.inserted is not None:
            self.inserted.fold()
            self.model.adapters = ()
            if self.model.pyramid is not None:
                self.model.set_pyramid(Pyramid(self.backbone))
        if isinstance(self.model.head, ReadHead):  # the text tower reads the classes for the last time
            self.model.head = self.model.head.end()

    def measure(self, trained: Trained, folder: RunFolder) -> Measured:
        """Metrics with intervals on the held-out rows, written to the run."""
        examples = self.data.splits[self.data.held_out]
        if not self.gradient_phases:
            assert examples.targets is not None
            outputs = decide(trained.head, self.data.task, self.features(examples, "measuring"), self.device)
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

    def _check_head(self, head: str) -> None:
        """Refuse a head that this strategy cannot bring to its weights."""
        if len(self.gradient_phases) < len(self.phases):
            if head_spec(head).solver is None:
                raise UsageError(
                    f"--strategy {self.training.strategy} solves its head, and --head {head} cannot be solved",
                    help="use --strategy head or full to train it by steps",
                )
            check_solvable([head], self.data.task.kind)
        if self.gradient_phases and only_solved(head):
            raise UsageError(
                f"the head {head} is solved, and --strategy {self.training.strategy} trains by steps",
                help="use --strategy linear-probe, or another head",
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
            if self.named is not None and isinstance(self.strategy, Reading):
                model.head = self.strategy.read(model.head, self.named)
        if isinstance(model.head, PairHead):
            model.head.begin(dual_encoder(self.backbone))
        if self.inserted is not None:
            still = {id(p) for stage in self.backbone.stages() if stage.name in self.frozen for p in stage.parameters()}
            model.adapters = tuple(p for p in self.inserted.parameters if id(p) not in still)
        if self.data.task.kind == "detection" and not isinstance(model.head, LossHead):
            raise PluginError(f"the head {options.name} finds objects and has no loss; it has to be a zoo.LossHead")
        return model, options, inputs

    def _maps(self) -> MapShapes | None:
        """What a head that takes a pyramid has to know of it; detection has images of its own size."""
        assert self.training.head is not None
        if head_spec(self.training.head).takes != "pyramid":
            return None
        shapes = Pyramid(self.backbone).shapes
        if self.training.image_size is None or self.data.task.kind != "detection":
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
        if isinstance(self.strategy, Souping):
            steps *= len(self.strategy.ingredients(self.training))
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
            notes=(*self.notes, *self._kept_statistics(), *self._foreseen(one)),
        )

    def _phases_of(self, strategy: Strategy) -> tuple[Phase, ...]:
        phases = phases_of(strategy, self.rows, self.frozen)
        if is_pretrained(self.backbone):
            return phases
        # The statistics of random weights are those of no data.
        return tuple(replace(phase, keep_statistics=False) for phase in phases)

    def _kept_statistics(self) -> tuple[str, ...]:
        kept = any(phase.keep_statistics for phase in self.gradient_phases)
        if not kept or not any(isinstance(module, _BatchNorm) for module in self.backbone.modules()):
            return ()
        return ("batch norm keeps the statistics of the pretrained weights, as the solved head fits them",)

    def _foreseen(self, one: Any) -> tuple[str, ...]:
        augment = recipe(self.training.augment or "none")
        splits = self.data.splits
        return foreseen(
            self.model,
            self.gradient_phases,
            epochs_of(self.gradient_phases, self.training),
            self.training,
            one,
            rows=len(splits["train"]),
            judged=shown_rows(len(splits["train"]), len(splits.get("val", splits[self.data.held_out]))),
            draws=augment != Augment() and "image" in self.backbone.modalities,
            mixed=self.mixers.mix is not None,
        )

    def solve(self, folder: RunFolder, train: Examples, scale: TargetScale | None = None) -> Trained:
        """The model with its head solved on frozen features, for targets in units of `scale`."""
        assert train.targets is not None
        head, task = self.head_options.name, self.data.task
        features = self.features(train, "extracting")
        if isinstance(self.strategy, Aligning) and self.unlabelled is not None:
            features = self.strategy.align(features, self.features(self.unlabelled, "extracting"))
        targets = train.targets if scale is None else scale.apply(torch.from_numpy(train.targets)).numpy()
        solution = current().lead(
            lambda: solve_head(
                head,
                features,
                targets,
                task,
                seed=self.training.seed,
                class_weights=self.class_weights,
                texts=None if self.named is None else self.named.texts,
            )
        )
        what = "probe" if head == "linear" else f"head {head}"
        self.watch(Event(note=f"{what} solved in {solution.seconds:.1f} s, {solution.said}"))
        folder.log({"split": "train", **solution.chosen, "seconds": solution.seconds})
        put_into(self.model.head, solution)
        model = self.model.to(self.device).eval()
        return Trained(model, self.head_options, self.data.task, None, self.device)

    def features(self, examples: Examples, doing: str, backbone: Backbone | None = None) -> NDArray[np.float32]:
        progress = self._counting(doing, len(examples))
        if backbone is None and self.known is not None:
            known = self.known.of(examples, progress)
            if known is not None:
                return known
        found = extract(
            backbone or self.backbone,
            examples,
            device=str(self.device),
            precision=self.training.precision,
            progress=progress,
        )
        return found.features

    def _counting(self, doing: str, total: int) -> Callable[[int], None]:
        return lambda done: self.watch(Event(doing=doing, done=done, total=total))

    def batch_size(self) -> int:
        assert self.training.batch_size is not None
        return self.training.batch_size
