"""A step of training asks the device for nothing: on a card each question would let it run dry."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from waiting import Reads

import zoo
from zoo.data.batches import Loader
from zoo.data.types import Examples, ImageRef, Task
from zoo.transfer.devices import fetched, sow
from zoo.transfer.loop import Job, _Run, fit
from zoo.transfer.mixing import mixers
from zoo.transfer.options import Training
from zoo.transfer.strategies import HEAD, Phase
from zoo.transfer.tasks import loss_for
from zoo.transfer.trained import HeadOptions

TASK = Task("multiclass", ("a", "b"))
STEPS = 8


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def job(device: torch.device, *, mix: str | None = None, **options: Any) -> Job:
    torch.manual_seed(0)
    count = 4 * STEPS
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)
    names = tuple(map(str, range(count)))
    refs = [ImageRef(name, array=each) for name, each in zip(names, pixels, strict=True)]
    backbone = zoo.wrap(network(), preprocess=zoo.ImagePreprocess((8, 8)))
    loader = Loader(
        Examples({"image": refs}, np.arange(count) % 2, names, names),
        {"image": backbone.processor("image")},
        batch_size=4,
        train=True,
        pinned=device.type == "cuda",
    )
    model = HeadOptions("linear", backbone.dim, backbone.dim, 2).model(backbone)
    phase = Phase("full", {**{stage.name: 1.0 for stage in backbone.stages()}, HEAD: 1.0})
    loss, training = loss_for(TASK), Training(epochs=1, batch_size=4, lr=0.01, **{"optimizer": "adamw", **options})
    made = Job(model, loader, [phase], training, loss, device, bf16=device.type == "cuda", folder=None)
    if mix is None:
        return made
    inputs = next(iter(loader.epoch(0))).to(torch.device("cpu")).inputs
    return replace(made, mix=mixers(mix, TASK, 0, model, inputs, gradient=True).mix)


@pytest.mark.parametrize("options", [{}, {"ema": 0.9}, {"optimizer": "sgd"}], ids=str)
def test_a_step_reads_no_value_of_a_tensor(options: dict[str, Any]) -> None:
    # The norm is looked at in each step on a CPU alone, where it costs nothing.
    it = job(torch.device("cpu"), clip_norm=0.0, **options)
    run = _Run(it, None)
    records = run.records()
    next(records)
    batch = next(it.loader.epoch(0))
    with Reads() as reads:
        run._step([batch])
    assert reads.found == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine shows no CUDA card")
@pytest.mark.parametrize("options", [{}, {"mix": "mixup=0.2,cutmix=1"}, {"ema": 0.9}], ids=str)
def test_no_step_waits_for_the_card(options: dict[str, Any]) -> None:
    done = 0

    def stop() -> bool:
        """Called after each step: between the first and the last nothing may wait."""
        nonlocal done
        done += 1
        torch.cuda.set_sync_debug_mode("error" if done < STEPS else "default")
        return False

    it = replace(job(torch.device("cuda"), **options), stop=stop, look_every=1000)
    try:
        (record,) = (each for each in fit(it) if each.kind == "epoch")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert done >= STEPS
    assert record.loss is not None


def test_seeds_of_a_step_are_those_of_torch() -> None:
    torch.manual_seed(123)
    expected = torch.rand(5)
    sow(123, torch.device("cpu"))
    assert torch.equal(torch.rand(5), expected)


def test_what_is_fetched_comes_whole_and_in_order() -> None:
    made = [(number, (torch.full((2,), float(number)), torch.tensor(number))) for number in range(7)]
    found = list(fetched(iter(made)))
    assert [key for key, _ in found] == list(range(7))
    for (_, given), (_, got) in zip(made, found, strict=True):
        torch.testing.assert_close(got, list(given))
