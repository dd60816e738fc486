"""A large model's features as the beginning of a small one: imitated first, then fine-tuned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from zoo.catalog.discovery import default_catalog
from zoo.catalog.spec import fingerprint
from zoo.data.types import Dataset, ReadOptions
from zoo.errors import UsageError
from zoo.records.runs import RunFolder, slug
from zoo.transfer.options import Training
from zoo.transfer.teaching import DistillOptions
from zoo.verbs.beside import ALONE, carried_out, of_run, of_teacher, reread
from zoo.verbs.config import Output, RunConfig, read_config
from zoo.verbs.run import Event, Interrupted, Watch
from zoo.verbs.sidebyside import SideBySide, side_by_side
from zoo.verbs.teaching import read_for_both, student_training

IMITATION = "-imitation"
"""What is added to a run's name for the run that learned the features."""


@dataclass(frozen=True)
class Hybrid:
    """A small model that began with the features of a large one."""

    path: Path
    """Of the run that was fine-tuned."""
    imitation: Path
    """Of the run before it, which saw no label."""
    alone: Path
    """Of the small model trained from where its weights are, for as many epochs as both."""
    comparison: SideBySide

    def to_json(self) -> dict[str, Any]:
        """The stable keys that `--json` prints."""
        paths = {"run": str(self.path), "imitation": str(self.imitation), "alone": str(self.alone)}
        return {**paths, "comparison": self.comparison.to_json()}


def hybrid(
    large: str | Path,
    small: str,
    data: str | Path | Dataset,
    *,
    share: float = 0.5,
    unlabelled: str | Path | None = None,
    strategy: str | None = None,
    epochs: int | None = None,
    lr: float | None = None,
    seed: int | None = None,
    device: str | None = None,
    weights: str | None = None,
    training: Training | None = None,
    read: ReadOptions | None = None,
    out: Output | None = None,
    offline: bool = False,
    watch: Watch | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Hybrid:
    """Give a small model the features of a large one, then fine-tune it, and compare it with both ends.

    First its backbone learns to reproduce the large one's pooled features, without labels (Romero et al. 2015,
    https://arxiv.org/abs/1412.6550, stage 1); then it is fine-tuned on the labels from there, a solved head first.
    The small model alone has the epochs of both. The same call again goes on where it was stopped.

    Args:
        large: a finished run, or a backbone.
        small: a backbone.
        data: a folder, a table, the name of a data set, or a `Dataset`, with what both of them read.
        share: of the epochs in which features are learned.
        unlabelled: rows without labels, as in `finetune`, whose features are learned too.
        strategy: of the second part; lp-ft if None.
        epochs: of both parts together.
        lr, seed, device, weights, training, read, out, offline, watch, stop: as in `finetune`.

    Raises:
        DataError, UsageError, WeightsError: bad input, each with its mend.
        DivergedError: a loss that is not finite.
        Interrupted: `stop` said so.
    """
    if not 0 < share < 1:
        raise UsageError(f"--share {share:g} is outside (0, 1)", help="give a share of the epochs, such as 0.5")
    given: dict[str, Any] = {"epochs": epochs, "lr": lr, "seed": seed, "device": device}
    train = replace(training or Training(), **{k: v for k, v in given.items() if v is not None})
    config = RunConfig(
        backbone=small,
        data=str(data) if isinstance(data, str | Path) else data.name,
        unlabelled=None if unlabelled is None else str(unlabelled),
        weights=weights,
        offline=offline,
        baseline="none",
        read=replace(read or ReadOptions(), seed=train.seed),
        train=train,
        out=out or Output(),
        distill=DistillOptions(str(large), ("features",), alpha=1.0),
    )
    parts = _Parts(
        read_for_both(config, None),
        share,
        strategy or train.strategy or "lp-ft",
        data if isinstance(data, Dataset) else None,
        watch or (lambda event: None),
        stop,
    )
    return parts.carried_out(config.out.name or f"hybrid-{slug(small)}-{fingerprint(asdict(config))[:6]}")


@dataclass(frozen=True)
class _Parts:
    """The three runs."""

    config: RunConfig
    """Of the one that imitates."""
    share: float
    strategy: str
    data: Dataset | None
    watch: Watch
    stop: Callable[[], bool]

    def carried_out(self, name: str) -> Hybrid:
        config, train = self.config, self.config.train
        assert config.backbone is not None
        chosen = default_catalog().select(config.backbone, weights=config.weights)
        pretrained = any(each.weights is not None for each in chosen)
        alone = self._run(
            "the small model alone",
            name + ALONE,
            replace(config, distill=None, unlabelled=None, train=student_training(config, pretrained)),
        )
        epochs = read_config(alone / "config.yaml").train.epochs
        assert epochs is not None
        first = max(round(epochs * self.share), 1)
        imitation = self._run(
            "the small model learns the features of the large one",
            name + IMITATION,
            replace(config, train=replace(train, epochs=first, strategy="full")),
        )
        second = replace(train, epochs=max(epochs - first, 1), strategy=self.strategy)
        path = self._run(
            "and is fine-tuned from there",
            name,
            replace(config, backbone=str(imitation), weights=None, distill=None, unlabelled=None, train=second),
        )
        return Hybrid(path, imitation, alone, self._compared(path, imitation, alone))

    def _run(self, what: str, name: str, config: RunConfig) -> Path:
        self.watch(Event(note=f"{what}, as {name}"))
        named = replace(config, out=replace(config.out, name=name))
        try:
            return carried_out(named, None, self.data, watch=self.watch, stop=self.stop)
        except Interrupted as error:
            raise Interrupted(error.what, help="the same command goes on from there") from error

    def _compared(self, path: Path, imitation: Path, alone: Path) -> SideBySide:
        data, teacher = reread(read_config(imitation / "config.yaml"), self.data, self.watch)
        held = data.splits[data.held_out]
        large = "large" if teacher.trained is not None else "large, probed"
        sides = [
            of_teacher(large, teacher, held),
            of_run("small alone", alone, None, held),
            of_run("hybrid", path, None, held),
        ]
        pairs = [("hybrid", "small alone"), ("hybrid", large)]
        beside = side_by_side(data.task, data.held_out, held, sides, pairs)
        RunFolder(path).write_json("comparison.json", beside.to_json())
        return beside
