"""Compiled backbones learn what others learn, and what cannot be compiled is said."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import zoo
from zoo.data.batches import Loader
from zoo.data.types import Examples, ImageRef, Task
from zoo.errors import UsageError
from zoo.transfer.compiling import compiled, why_not_compiled
from zoo.transfer.loop import Job, Record, fit
from zoo.transfer.options import Training
from zoo.transfer.strategies import HEAD, Phase
from zoo.transfer.tasks import loss_for
from zoo.transfer.team import Team
from zoo.transfer.trained import HeadOptions

REAL = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler here"),
    pytest.mark.skipif("ZOO_COMPILE" not in os.environ, reason="compiles for twenty seconds; ZOO_COMPILE=1 runs it"),
]
TASK = Task("multiclass", ("a", "b"))
FULL = Phase("full", {"first": 1.0, "second": 1.0, HEAD: 1.0})
HEAD_ONLY = Phase("head", {HEAD: 1.0})


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Flatten(), nn.Linear(48, 6), nn.Tanh())
        self.second = nn.Linear(6, 4)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.second(self.first(pixels))
        return out


def job(phase: Phase, **options: Any) -> Job:
    torch.manual_seed(0)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 4, 4, 3)).astype(np.uint8)
    names = tuple(map(str, range(16)))
    refs = [ImageRef(name, array=each) for name, each in zip(names, pixels, strict=True)]
    examples = Examples({"image": refs}, np.arange(16) % 2, names, names)
    preprocess = zoo.ImagePreprocess((4, 4))
    backbone = zoo.wrap(Net(), preprocess=preprocess, stages={"first": ["first"], "second": ["second"]})
    training = Training(epochs=2, batch_size=8, lr=0.01, optimizer="adamw", **options)
    loader = Loader(examples, {"image": backbone.processor("image")}, batch_size=8, train=True)
    model = HeadOptions("linear", 4, 4, 2).model(backbone)
    return Job(model, loader, [phase], training, loss_for(TASK), torch.device("cpu"), bf16=False, folder=None)


def trained(phase: Phase, **options: Any) -> tuple[dict[str, torch.Tensor], list[Record]]:
    it = job(phase, **options)
    records = list(fit(it))
    return it.model.state_dict(), records


@pytest.mark.filterwarnings("ignore")  # of torch's own compiler, about itself
@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=REAL)])
def test_compiled_training_ends_in_the_same_weights(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    expected, _ = trained(FULL)
    found, records = trained(FULL, compile="on")
    assert not any("compiled" in record.note for record in records)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)


def test_frozen_stages_are_replayed_and_not_compiled_and_it_says_so() -> None:
    expected, _ = trained(HEAD_ONLY)
    found, records = trained(HEAD_ONLY, compile="on")
    notes = [record.note for record in records if record.note]
    assert sum("nothing is compiled: what frozen stages compute is kept" in note for note in notes) == 1
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_several_processes_do_not_compile() -> None:
    alone = job(FULL)
    assert why_not_compiled(alone, replays=False) == ""
    assert "processes" in why_not_compiled(replace(alone, team=Team(0, 2)), replays=False)


def test_a_compiler_that_fails_is_a_mistake_the_user_can_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import TorchDynamoException

    def failing(*_: Any, **__: Any) -> Any:
        def call(inputs: Any) -> Any:
            raise TorchDynamoException("no compiler\nand more")

        return call

    monkeypatch.setattr(torch, "compile", failing)
    with pytest.raises(UsageError, match=r"torch\.compile failed: no compiler\n"):
        compiled(job(FULL).model)({})
