"""A teacher and its answers to rows, each computed once: a finished run, or a backbone with a probe on top."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from zoo.catalog.discovery import default_catalog
from zoo.catalog.names import Selection
from zoo.catalog.spec import Modality
from zoo.data.batches import Batch, Loader
from zoo.data.types import MANY_ANSWERS, Dataset, Examples, Task
from zoo.errors import UnknownNameError, UsageError
from zoo.models.backbone import Backbone
from zoo.models.features import Features
from zoo.models.fusion import Paired, fuse
from zoo.models.load import build, check_rows, check_serves, serving
from zoo.records import cache
from zoo.transfer.crossfit import cross_fitted
from zoo.transfer.devices import choose_device
from zoo.transfer.distill import Distillation, Taught, check_learns
from zoo.transfer.freezing import frozen_stages, phases_of
from zoo.transfer.options import Training
from zoo.transfer.probe import ProbeSolution, solve
from zoo.transfer.stage_outputs import StageOutput
from zoo.transfer.strategies import rows_of, strategy_named
from zoo.transfer.tasks import probabilities
from zoo.transfer.teaching import DistillOptions
from zoo.transfer.trained import Trained, load_trained
from zoo.verbs.config import RunConfig
from zoo.verbs.extract import extract, weights_digest
from zoo.verbs.run import Event, Watch

Array = NDArray[np.float32]
BATCH = 32
"""Rows at once where the teacher is run for something else than its features."""
OF_POOLED = ("linear", "mlp")
"""Heads that take the pooled features alone."""


def read_for_both(config: RunConfig, backbone: Backbone | None) -> RunConfig:
    """The same configuration, by which the rows are read with the modalities of student and teacher."""
    if config.distill is None or config.read.modalities is not None or config.backbone is None:
        return config
    teacher = selected(config)
    chosen = () if backbone is not None else default_catalog().select(config.backbone, weights=config.weights)
    towers = [m for each in (*chosen, *teacher) for m in each.towers]
    if backbone is not None:
        towers += backbone.modalities
    wanted = tuple(m for m in get_args(Modality) if m in towers)
    return replace(config, read=replace(config.read, modalities=wanted))


def student_training(config: RunConfig, pretrained: bool) -> Training:
    """The training as it was given; where no strategy was, a student moves all of its stages.

    Args:
        config: of the run.
        pretrained: whether the student's weights are.
    """
    if config.distill is None or config.train.strategy is not None:
        return config.train
    probed = pretrained and config.train.head in (None, "linear")
    return replace(config.train, strategy="lp-ft" if probed else "full")


def open_teacher(
    config: RunConfig, data: Dataset, backbone: Backbone, training: Training, watch: Watch
) -> tuple[tuple[Distillation, ...], RunConfig, tuple[str, ...]]:
    """What the teacher adds to the loss, the configuration with its weights written down, and who teaches, in words.

    Args:
        config: of the run.
        data: all rows, with the modalities of student and teacher.
        backbone: of the student.
        training: with nothing left open.
        watch: told what is being computed.

    Raises:
        DataError, UsageError, WeightsError: a teacher that cannot teach this.
    """
    if config.distill is None:
        return (), config, ()
    check_task(data.task)
    if training.mix is not None:
        raise UsageError(
            f"--mix {training.mix} mixes training rows, and a teacher answers each of them by itself",
            help="leave --mix out, or the teacher",
        )
    assert training.strategy is not None
    assert training.backbone_lr is not None
    strategy = strategy_named(
        training.strategy,
        unfreeze=training.unfreeze,
        backbone_lr=training.backbone_lr,
        options=training.strategy_options,
    )
    stages = rows_of(backbone.stages())
    phases = phases_of(strategy, stages, frozen_stages(training.freeze, stages))
    check_learns(config.distill, strategy.name, phases, stages, training.head or "linear")
    teacher, said = load_teacher(
        config.distill.teacher,
        selected(config),
        data,
        training=training,
        offline=config.offline,
        watch=watch,
    )
    if "logits" not in config.distill.by:
        said = f"the features of {config.distill.teacher} teach"
    distillation, options = guide(config.distill, teacher)
    return (distillation,), replace(config, distill=options), (said,)


def selected(config: RunConfig) -> tuple[Selection, ...]:
    """What the name of the teacher means.

    Raises:
        UnknownNameError: neither a run nor a backbone has that name.
    """
    assert config.distill is not None
    return default_catalog().select(config.distill.teacher, offline=config.offline)


@dataclass
class Teacher:
    """A model whose answers a student learns from.

    Args:
        name: as the user typed it.
        backbone: what makes its features.
        trained: with its head, where it is a run of the same task.
        data: all rows, with the modalities of the teacher.
        device: where it is run.
        watch: told what is being computed.
        seed: of the folds of the probe.
    """

    name: str
    backbone: Backbone
    trained: Trained | None
    data: Dataset
    device: torch.device
    watch: Watch
    seed: int = 0

    def __post_init__(self) -> None:
        self._solution: ProbeSolution | None = None
        self._rows = {i: (e, n) for e in self.data.splits.values() for n, i in enumerate(e.ids)}

    @property
    def task(self) -> Task:
        """The student's."""
        return self.data.task

    @property
    def params(self) -> int:
        """Of its backbone."""
        return sum(p.numel() for p in self.backbone.parameters())

    @property
    def sha256(self) -> str:
        """Of its weights, those of a head that answers too."""
        head = "" if self.trained is None else _sha256(self.trained.head)
        return hashlib.sha256((weights_digest(self.backbone) + head).encode()).hexdigest()

    def ask(self, examples: Examples, options: DistillOptions) -> Taught:
        """What `options` wants to know of rows of the student, which may lack the teacher's modalities."""
        return self._asked(self.own_rows(examples), options, self.lessons)

    def ask_unlabelled(self, examples: Examples, options: DistillOptions) -> Taught:
        """The same of rows that are not in the data.

        Raises:
            UsageError: rows without what the teacher takes.
        """
        check_serves(self.backbone, tuple(examples.inputs))
        return self._asked(_seen_by(self.backbone, examples), options, self.outputs)

    def _asked(self, own: Examples, options: DistillOptions, answers: Callable[[Examples], Array]) -> Taught:
        relations = any(name in options.by for name in ("distances", "angles"))
        pooled = relations or ("features" in options.by and options.stages is None)
        taught = Taught(
            outputs=answers(own) if "logits" in options.by else None,
            features=self.features(own) if pooled else None,
            hint=None if options.stages is None else self.stage(own, options.stages[1]),
        )
        self.backbone.to("cpu")  # the student has the device for itself
        return taught

    def own_rows(self, examples: Examples) -> Examples:
        """The same rows with the teacher's modalities."""
        places = [self._rows[row] for row in examples.ids]
        inputs = {m: [split.inputs[m][n] for split, n in places] for m in self.backbone.modalities}
        return replace(examples, inputs=inputs)

    def features(self, own: Examples) -> Array:
        """(N, D) pooled features."""
        return self._extracted(own)[0]

    def outputs(self, own: Examples) -> Array:
        """(N, K) logits in the student's order of classes, or numbers in the units of the data."""
        if self.trained is None:
            probe = self._probe()
            return self.features(own) @ probe.weight.T + probe.bias
        raw = self._of_head(self.trained, own)
        if self.trained.scale is not None:
            raw = self.trained.scale.undo(torch.from_numpy(raw)).numpy()
        return _reordered(raw, self.trained.task, self.task)

    def lessons(self, own: Examples) -> Array:
        """The outputs for rows that a student learns from.

        Those of a probe are cross-fitted: it has seen the labels of the training rows, so each row is answered by one
        that was solved without it (Dao et al. 2021, https://arxiv.org/abs/2104.09732).
        """
        if self.trained is not None:
            return self.outputs(own)
        assert own.targets is not None
        return cross_fitted(self.features(own), own.targets, self.task, self._probe(), seed=self.seed)

    def predictions(self, own: Examples) -> Array:
        """(N, K) class probabilities, two columns for binary, or numbers."""
        return probabilities(self.task, torch.from_numpy(self.outputs(own))).numpy()

    def stage(self, own: Examples, name: str) -> Array:
        """(N, C) averaged outputs of a stage."""
        taken = StageOutput(self.backbone, name)

        def of(batch: Batch) -> torch.Tensor:
            features = self.backbone(batch.inputs)
            return taken.taken(features.mask)

        return self._kept(own, of, stage=name)

    def _of_head(self, trained: Trained, own: Examples) -> Array:
        if trained.head_options.name not in OF_POOLED:
            trained.model.to(self.device).eval()
            return self._kept(own, lambda batch: trained.model(batch.inputs), head=_sha256(trained.head))
        pooled = torch.from_numpy(np.ascontiguousarray(self.features(own)))
        with torch.inference_mode():
            outputs: Array = trained.head.cpu()(Features(pooled, pooled.unsqueeze(1))).float().numpy()
        return outputs

    def _probe(self) -> ProbeSolution:
        if self._solution is None:
            train = self.data.splits["train"]
            assert train.targets is not None
            features = self.features(self.own_rows(train))
            self._solution = solve(features, train.targets, self.task, seed=self.seed)
            self.watch(Event(note=f"the teacher's probe was solved in {self._solution.seconds:.1f} s"))
        return self._solution

    def _extracted(self, own: Examples) -> tuple[Array, str]:
        found = extract(self.backbone, own, device=str(self.device), progress=self._counting(len(own)))
        return found.features, found.key

    def _kept(self, own: Examples, of: Callable[[Batch], torch.Tensor], **parts: object) -> Array:
        """(N, ...) of one pass over the rows, or what was kept of an earlier one."""
        key = cache.key_of(features=self._extracted(own)[1], **parts)
        arrays = cache.read(key)
        if arrays is None:
            arrays = {"rows": self._pass(own, of)}
            cache.write(key, arrays)
        return arrays["rows"]

    def _pass(self, own: Examples, of: Callable[[Batch], torch.Tensor]) -> Array:
        self.backbone.to(self.device).eval()
        processors = {modality: self.backbone.processor(modality) for modality in self.backbone.modalities}
        out: Array | None = None
        progress = self._counting(len(own))
        with torch.inference_mode():
            for batch in Loader(own, processors, batch_size=BATCH).epoch(0):
                values = of(batch.to(self.device)).float().cpu().numpy()
                out = np.empty((len(own), *values.shape[1:]), np.float32) if out is None else out
                out[batch.rows.numpy()] = values
                progress(len(values))
        assert out is not None
        return out

    def _counting(self, total: int) -> Callable[[int], None]:
        return lambda done: self.watch(Event(doing="asking the teacher", done=done, total=total))


def load_teacher(
    name: str, selections: tuple[Selection, ...], data: Dataset, *, training: Training, offline: bool, watch: Watch
) -> tuple[Teacher, str]:
    """The teacher for these data, and one sentence on who answers.

    Args:
        name: as the user typed it.
        selections: what the name means.
        data: all rows, with the teacher's modalities.
        training: device and seed.
        offline: never touch the network.
        watch: told what is being computed.

    Raises:
        UsageError: a task that has no teacher, or data without what the teacher takes.
    """
    only = selections[0] if len(selections) == 1 else None
    trained = None
    if only is not None and only.spec.source == "run":
        trained = load_trained(Path(str(only.spec.options["path"])))
        backbone = trained.backbone
    else:
        parts = [build(serving(each, data.modalities), offline=offline, seed=training.seed) for each in selections]
        backbone = parts[0] if len(parts) == 1 else fuse(*parts)
    check_serves(backbone, data.modalities)
    texts = data.splits["train"].inputs.get("text")
    pairs = "text" in backbone.modalities and texts is not None and isinstance(texts[0], tuple)
    if trained is not None and (not same_answers(trained.task, data.task) or pairs != isinstance(backbone, Paired)):
        trained = None
        said = f"{name} answers another task, so a linear probe on its features teaches"
    elif trained is not None:
        said = f"the finished run {name} teaches"
    else:
        said = f"{name} has no head for these data, so a linear probe on its features teaches"
    if isinstance(backbone, Paired) and not pairs:
        backbone = backbone.single
    elif pairs and not isinstance(backbone, Paired):
        backbone = Paired(backbone)
    check_rows(backbone, [_seen_by(backbone, examples) for examples in data.splits.values()])
    backbone.eval()
    teacher = Teacher(name, backbone, trained, data, choose_device(training.device), watch, training.seed)
    return teacher, said


def guide(options: DistillOptions, teacher: Teacher) -> tuple[Distillation, DistillOptions]:
    """What is added to the student's loss, and the options with the teacher's weights written down.

    Raises:
        UnknownNameError: the teacher has no such stage.
        UsageError: other weights than those that the run began with.
    """
    sha256 = teacher.sha256
    if options.sha256 not in (None, sha256):
        raise UsageError(
            f"the weights of the teacher {options.teacher} have changed since the run began", help="start a new run"
        )
    if options.stages is not None:
        stages = [stage.name for stage in teacher.backbone.stages()]
        if options.stages[1] not in stages:
            raise UnknownNameError("stage", options.stages[1], stages, help=f"the teacher has {', '.join(stages)}")
    distillation = Distillation(
        options,
        ask=lambda rows: teacher.ask(rows, options),
        ask_unlabelled=lambda rows: teacher.ask_unlabelled(rows, options),
    )
    return distillation, replace(options, sha256=sha256)


def same_answers(one: Task, other: Task) -> bool:
    """Whether outputs of one task are outputs of the other, up to the order of their classes."""
    if one.kind != other.kind:
        return False
    return one.targets == other.targets if one.kind == "regression" else set(one.classes) == set(other.classes)


def check_task(task: Task) -> None:
    """Refuse tasks with many answers a row.

    Raises:
        UsageError: it is one.
    """
    if task.kind in MANY_ANSWERS:
        what = {"segmentation": "pixel", "tokens": "word", "detection": "object", "pairs": "other row"}[task.kind]
        raise UsageError(
            f"distillation takes one answer a row, and this task has one for every {what}",
            help="train on the labels alone with `zoo finetune`",
        )


def _reordered(outputs: Array, own: Task, wanted: Task) -> Array:
    """The columns of a teacher in the order of the student's classes."""
    if own.kind == "regression" or own.classes == wanted.classes:
        return outputs
    if own.kind == "binary":
        return -outputs
    return outputs[:, [own.classes.index(name) for name in wanted.classes]]


def _seen_by(backbone: Backbone, examples: Examples) -> Examples:
    return replace(examples, inputs={m: examples.inputs[m] for m in backbone.modalities})


def _sha256(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
