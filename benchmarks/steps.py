"""What an engine costs: a thousand training steps of a network that is almost free, beside the loops people use.

    python benchmarks/steps.py [--device cuda]

An MLP of 32, 64 and 10 units, AdamW at one constant rate, 32 rows a step that lie in memory as tensors, one epoch. All
sides begin with the same weights, see the same rows in the same order and end in the same weights. The raw loop is the
one that one writes by hand, with a `DataLoader` over a `TensorDataset`; accelerate, Lightning, fastai and Trainer have
the same loader. Nothing is logged, drawn, clipped, evaluated or saved on any side but `zoo, as it comes`, which clips
gradients and has a schedule with warm-up. Building network and loader is not timed, starting the fit is: it is spread
over the thousand steps. zoo's side is `zoo.transfer.loop.fit`, which `zoo finetune` runs, with its record of each step.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import torch
from harness import Run, Setting, main
from peers import Classifier, stacked, train_with_fastai, train_with_lightning, train_with_trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

STEPS, BATCH, WIDE, HIDDEN, CLASSES, RATE = 1000, 32, 32, 64, 10, 1e-3


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(WIDE, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))


def rows() -> tuple[Tensor, Tensor]:
    """Rows and classes, of which a network can learn something, in the order in which all sides take them."""
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(STEPS * BATCH, WIDE, generator=rng)
    y = (x @ torch.randn(WIDE, CLASSES, generator=rng)).argmax(1)
    return x, y


def loader() -> DataLoader[tuple[Tensor, ...]]:
    x, y = rows()
    return DataLoader(TensorDataset(x, y), batch_size=BATCH)


def ended(model: nn.Module) -> dict[str, Any]:
    """The weights after training, by the shape that they have alone."""
    return {str(tuple(each.shape)): each.detach().cpu().numpy() for each in model.parameters()}


def optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)


def raw(setting: Setting) -> Run:
    start, batches, device = network(), loader(), torch.device(setting.device)

    def run() -> Mapping[str, Any]:
        model = copy.deepcopy(start).to(device)
        adam = optimizer(model)
        for x, y in batches:
            loss = nn.functional.cross_entropy(model(x.to(device)), y.to(device))
            loss.backward()
            adam.step()
            adam.zero_grad()
        return ended(model)

    return run


def accelerated(setting: Setting) -> Run:
    from accelerate import Accelerator

    start, batches = network(), loader()
    accelerator = Accelerator(cpu=setting.device == "cpu")

    def run() -> Mapping[str, Any]:
        model = copy.deepcopy(start)
        model, adam, prepared = accelerator.prepare(model, optimizer(model), batches)
        for x, y in prepared:
            accelerator.backward(nn.functional.cross_entropy(model(x), y))
            adam.step()
            adam.zero_grad()
        accelerator.free_memory()
        return ended(model)

    return run


def lightning(setting: Setting) -> Run:
    import_module("lightning")
    start, batches = network(), loader()

    def run() -> Mapping[str, Any]:
        model = copy.deepcopy(start)

        def step(batch: Sequence[Tensor]) -> Tensor:
            return nn.functional.cross_entropy(model(batch[0]), batch[1])

        train_with_lightning(step, model, optimizer, batches, cpu=setting.device == "cpu")
        return ended(model)

    return run


def fastai(setting: Setting) -> Run:
    import_module("fastai.learner")
    start, batches, device = network(), loader(), torch.device(setting.device)

    def run() -> Mapping[str, Any]:
        model = copy.deepcopy(start).to(device)
        train_with_fastai(model, batches, device, RATE, train_bn=False)
        return ended(model)

    return run


def trainer(setting: Setting) -> Run:
    start, data, cpu = network(), TensorDataset(*rows()), setting.device == "cpu"

    def run() -> Mapping[str, Any]:
        model = Classifier(copy.deepcopy(start))
        options = {"batch": BATCH, "rate": RATE, "cpu": cpu, "max_grad_norm": 0.0}
        train_with_trainer(model, data, collate=stacked, ordered=True, **options)
        return ended(model)

    return run


def by_zoo(setting: Setting, *, plain: bool = True) -> Run:
    import zoo
    from zoo.data.batches import Loader
    from zoo.data.types import Examples, Task
    from zoo.transfer.loop import Job, fit
    from zoo.transfer.options import Training
    from zoo.transfer.strategies import HEAD, Phase
    from zoo.transfer.tasks import loss_for
    from zoo.transfer.trained import HeadOptions

    class Rows:
        """Rows as they are."""

        key = "rows"

        def __call__(self, value: Tensor, draw: Any = None) -> Tensor:
            return value

        def length(self, example: Tensor) -> int:
            return 1

        def collate(self, examples: Sequence[Tensor]) -> dict[str, Tensor]:
            return {"rows": torch.stack(list(examples))}

        def finish(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return dict(tensors)

    class Body(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, rows: Tensor) -> Tensor:
            return torch.relu(self.layer(rows))

    x, y = rows()
    names = tuple(map(str, range(len(x))))
    task, order = Task("multiclass", tuple("abcdefghij")), np.empty(len(x), dtype=np.int64)
    # zoo shuffles by itself: the row that it takes n-th is the n-th of the others.
    drawn = Loader(Examples({"text": names}, None, names, names), {}, batch_size=BATCH, train=True).order(0)
    order[np.concatenate(drawn)] = np.arange(len(x))
    examples = Examples({"text": list(x[order])}, y[order].numpy(), names, names)
    batches = Loader(examples, {"text": Rows()}, batch_size=BATCH, train=True)
    start, device = network(), torch.device(setting.device)
    training = Training(epochs=1, batch_size=BATCH, optimizer="adamw", lr=RATE, weight_decay=0.0)
    if plain:
        training = replace(training, schedule="constant", clip_norm=0.0)

    def run() -> Mapping[str, Any]:
        net = copy.deepcopy(start)
        backbone = zoo.wrap(Body(net[0]), processor=Rows(), modality="text", dim=HIDDEN, stages={"layer": ["layer"]})
        model = HeadOptions("linear", HIDDEN, HIDDEN, CLASSES).model(backbone)
        model.load_state_dict({**model.state_dict(), **_head(model, net[2])})
        phase = Phase("full", {"layer": 1.0, HEAD: 1.0})
        for record in fit(Job(model, batches, [phase], training, loss_for(task), device, bf16=False, folder=None)):
            assert record.loss is not None
        return ended(model)

    return run


def _head(model: Any, layer: nn.Module) -> dict[str, Tensor]:
    """The weights of a layer under the names that the head has for them."""
    own = {f"head.{name}": each for name, each in model.head.named_parameters()}
    given = {tuple(each.shape): each.detach() for each in layer.parameters()}
    return {name: given[tuple(each.shape)] for name, each in own.items()}


def as_it_comes(setting: Setting) -> Run:
    return by_zoo(setting, plain=False)


def alike(outputs: Mapping[str, Mapping[str, Any]]) -> str:
    expected = next(iter(outputs.values()))
    off = {
        side: max(float(np.abs(each[name] - expected[name]).max()) for name in expected)
        for side, each in outputs.items()
        if side != "zoo, as it comes"
    }
    assert max(off.values()) < 1e-4, off
    return f"After {STEPS} steps the weights of all sides agree to {max(off.values()):.0e}."


if __name__ == "__main__":
    main(
        "steps",
        sides={
            "raw": raw,
            "accelerate": accelerated,
            "Lightning": lightning,
            "fastai": fastai,
            "Trainer": trainer,
            "zoo": by_zoo,
            "zoo, as it comes": as_it_comes,
        },
        agree=alike,
        goals={"zoo": 1.15},
        unit="s/1000",
    )
