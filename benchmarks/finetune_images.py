"""Fine-tuning all of a ResNet on photographs for one epoch, beside the loops that people use.

    python benchmarks/finetune_images.py PHOTOS [ROWS] [--device cuda]

PHOTOS is a folder with one sub-folder a class, of which the first ROWS (64) images are taken. On a CPU it is ResNet-18,
on a card ResNet-50 in bf16; random weights, 32 images of 224 pixels a step (64 on a card), resized and cropped in the
middle, AdamW at a constant 1e-4. All sides begin with the same weights and take the same images in the same order; they
begin with files and end with trained weights. The loop of the first side is the usual one: NCHW, AdamW as it comes, a
`DataLoader` without workers, as the CPU's threads are counted. `hand-tuned` has channels last, a fused AdamW, on a card
autocast, pinned memory and workers; `compiled` has `torch.compile` too. On a card it is the first.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import MissingError, Run, Setting, main
from peers import Classifier, stacked, train_with_fastai, train_with_lightning, train_with_trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

RATE = 1e-4
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Photos(Dataset[tuple[Tensor, int]]):
    """Files in the order in which all sides take them."""

    def __init__(self, files: Sequence[tuple[Path, int]]) -> None:
        from torchvision.transforms import v2

        self.files = files
        self.transform = v2.Compose(
            [
                v2.Resize(256),
                v2.CenterCrop(224),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        path, label = self.files[index]
        return self.transform(Image.open(path).convert("RGB")), label


@dataclass(frozen=True)
class Given:
    """What all sides begin with."""

    photos: Photos
    network: nn.Module
    classes: int
    device: torch.device
    batch: int

    @property
    def bf16(self) -> bool:
        return self.device.type == "cuda"

    def loader(self, *, tuned: bool = False) -> DataLoader[tuple[Tensor, int]]:
        workers = 8 if tuned and self.device.type == "cuda" else 0
        return DataLoader(self.photos, batch_size=self.batch, num_workers=workers, pin_memory=workers > 0)

    def fresh(self) -> nn.Module:
        return copy.deepcopy(self.network).to(self.device).train()

    def optimizer(self, model: nn.Module, *, fused: bool | None = None) -> torch.optim.Optimizer:
        return torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0, fused=fused)


@cache
def given(setting: Setting) -> Given:
    import torchvision

    if not setting.words:
        raise MissingError("needs a folder of photographs")
    device, folder = torch.device(setting.device), Path(setting.words[0])
    count = int(setting.words[1]) if len(setting.words) > 1 else 64
    classes = sorted(each for each in folder.iterdir() if each.is_dir())
    ordered = [sorted(each.iterdir()) for each in classes]
    files = [(files[at], label) for at in range(count) for label, files in enumerate(ordered) if at < len(files)]
    torch.manual_seed(0)
    build = torchvision.models.resnet18 if device.type == "cpu" else torchvision.models.resnet50
    return Given(
        Photos(files[:count]), build(num_classes=len(classes)), len(classes), device, 32 if device.type == "cpu" else 64
    )


def ended(model: nn.Module) -> dict[str, Any]:
    """The weights of the first and of the last layer after training."""
    state = {name.removeprefix("_orig_mod."): each for name, each in model.state_dict().items()}
    return {name: state[name].detach().float().cpu().numpy() for name in ("conv1.weight", "fc.weight")}


def raw(setting: Setting) -> Run:
    of = given(setting)

    def run() -> Mapping[str, Any]:
        model = of.fresh()
        adam = of.optimizer(model)
        for x, y in of.loader():
            with torch.autocast(of.device.type, torch.bfloat16, enabled=of.bf16):
                loss = cross_entropy(model(x.to(of.device)), y.to(of.device))
            loss.backward()
            adam.step()
            adam.zero_grad()
        return ended(model)

    return run


def tuned(setting: Setting, *, compiled: bool = False) -> Run:
    of = given(setting)

    def run() -> Mapping[str, Any]:
        model: Any = of.fresh().to(memory_format=torch.channels_last)
        adam = of.optimizer(model, fused=True)
        model = torch.compile(model) if compiled else model
        for x, y in of.loader(tuned=True):
            x = x.to(of.device, non_blocking=True, memory_format=torch.channels_last)
            y = y.to(of.device, non_blocking=True)
            with torch.autocast(of.device.type, torch.bfloat16, enabled=of.bf16):
                loss = cross_entropy(model(x), y)
            loss.backward()
            adam.step()
            adam.zero_grad()
        return ended(model)

    return run


def tuned_and_compiled(setting: Setting) -> Run:
    return tuned(setting, compiled=True)


def by_accelerate(setting: Setting) -> Run:
    from accelerate import Accelerator

    of = given(setting)
    accelerator = Accelerator(cpu=of.device.type == "cpu", mixed_precision="bf16" if of.bf16 else "no")

    def run() -> Mapping[str, Any]:
        model = of.fresh()
        model, adam, loader = accelerator.prepare(model, of.optimizer(model), of.loader())
        for x, y in loader:
            accelerator.backward(cross_entropy(model(x), y))
            adam.step()
            adam.zero_grad()
        accelerator.free_memory()
        return ended(accelerator.unwrap_model(model))

    return run


def by_lightning(setting: Setting) -> Run:
    import_module("lightning")
    of = given(setting)

    def run() -> Mapping[str, Any]:
        model = of.fresh()

        def step(batch: Sequence[Tensor]) -> Tensor:
            return cross_entropy(model(batch[0]), batch[1])

        precision = "bf16-mixed" if of.bf16 else "32-true"
        cpu = of.device.type == "cpu"
        train_with_lightning(step, model, of.optimizer, of.loader(), cpu=cpu, precision=precision)
        return ended(model)

    return run


def by_fastai(setting: Setting) -> Run:
    import_module("fastai.learner")
    of = given(setting)
    if of.bf16:
        raise MissingError("fastai has no bf16 without a callback of one's own")

    def run() -> Mapping[str, Any]:
        model = of.fresh()
        train_with_fastai(model, of.loader(), of.device, RATE)
        return ended(model)

    return run


def by_trainer(setting: Setting) -> Run:
    of = given(setting)

    def run() -> Mapping[str, Any]:
        model = Classifier(of.fresh())
        options = {"batch": of.batch, "rate": RATE, "cpu": of.device.type == "cpu", "max_grad_norm": 0.0}
        train_with_trainer(model, of.photos, collate=stacked, ordered=True, bf16=of.bf16, **options)
        return ended(model.net)

    return run


def by_zoo(setting: Setting, *, compiled: bool = False) -> Run:
    import zoo
    from zoo.data.batches import Loader
    from zoo.data.types import Examples, ImageRef, Task
    from zoo.transfer.loop import Job, fit
    from zoo.transfer.options import Training
    from zoo.transfer.strategies import HEAD, Phase
    from zoo.transfer.tasks import loss_for
    from zoo.transfer.trained import HeadOptions

    of = given(setting)
    preprocess = zoo.ImagePreprocess(size=(224, 224), resize=256, mean=MEAN, std=STD)
    names = tuple(map(str, range(len(of.photos))))
    # zoo shuffles by itself: the row that it takes n-th is the n-th of the others.
    drawn = Loader(Examples({}, None, names, names), {}, batch_size=of.batch, train=True).order(0)
    order = np.empty(len(names), dtype=np.int64)
    order[np.concatenate(drawn)] = np.arange(len(names))
    refs = [ImageRef(str(of.photos.files[at][0]), path=str(of.photos.files[at][0])) for at in order]
    labels = np.array([of.photos.files[at][1] for at in order])
    examples, task = (
        Examples({"image": refs}, labels, names, names),
        Task("multiclass", tuple("abcdefgh"[: of.classes])),
    )
    training = Training(epochs=1, batch_size=of.batch, optimizer="adamw", lr=RATE, weight_decay=0.0, clip_norm=0.0)
    training = replace(training, schedule="constant", compile="on" if compiled else "off")

    def run() -> Mapping[str, Any]:
        network: Any = of.fresh().cpu()
        head = network.fc
        backbone = zoo.wrap(network, head="fc", tokens="layer4", preprocess=preprocess)
        model = HeadOptions("linear", backbone.dim, backbone.dim, of.classes).model(backbone)
        model.head.load_state_dict({f"linear.{name}": each for name, each in head.state_dict().items()})
        loader = Loader(examples, {"image": backbone.processor("image")}, batch_size=of.batch, train=True)
        phase = Phase("full", {**{stage.name: 1.0 for stage in backbone.stages()}, HEAD: 1.0})
        job = Job(model, loader, [phase], training, loss_for(task), of.device, bf16=of.bf16, folder=None)
        for _ in fit(job):
            pass
        state = {"conv1.weight": network.conv1.weight, "fc.weight": model.head.linear.weight}
        return {name: each.detach().float().cpu().numpy() for name, each in state.items()}

    return run


def by_zoo_compiled(setting: Setting) -> Run:
    return by_zoo(setting, compiled=True)


def alike(outputs: Mapping[str, Mapping[str, Any]]) -> str:
    expected = next(iter(outputs.values()))
    off = {
        side: max(float(np.abs(each[name] - expected[name]).mean()) for name in expected)
        for side, each in outputs.items()
    }
    # AdamW moves each weight by about the rate a step, whichever way its gradient's sign says: where gradients are near
    # nothing rounding decides, of bytes in a resize too.
    assert max(off.values()) < RATE, off
    return f"Weights agree within {max(off.values()):.0e} in the mean, where a step moves them by {RATE:.0e}."


if __name__ == "__main__":
    sides: dict[str, Callable[[Setting], Run]] = {
        "raw": raw,
        "Lightning": by_lightning,
        "accelerate": by_accelerate,
        "Trainer": by_trainer,
        "fastai": by_fastai,
        "hand-tuned": tuned,
        "zoo": by_zoo,
    }
    card = any(word.removeprefix("--device=").startswith("cuda") for word in sys.argv)
    if card:
        sides = {"hand-tuned": tuned, **sides}
        sides |= {"hand-tuned, compiled": tuned_and_compiled, "zoo, compiled": by_zoo_compiled}
    main(
        "finetune-images",
        sides=sides,
        agree=alike,
        goals={"zoo": 1 / 0.95 if card else 0.88},
        words=("PHOTOS", "ROWS"),
    )
