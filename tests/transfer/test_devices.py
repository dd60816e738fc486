"""Layouts that a device takes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import zoo
from zoo.transfer.devices import takes_channels_last

CPU = torch.device("cpu")


def narrow(channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), nn.Conv2d(channels, 16, 1, stride=2))


@pytest.mark.parametrize(("channels", "taken"), [(4, False), (8, False), (12, True), (64, True)])
def test_narrow_strided_convolutions_keep_their_layout_on_a_cpu(channels: int, taken: bool) -> None:
    assert takes_channels_last(narrow(channels), CPU) is taken
    assert takes_channels_last(narrow(channels), torch.device("cuda"))


class Frames(nn.Module):
    """Patches of two equal frames, as towers of video models cut them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv3d(3, 16, (2, 8, 8), stride=(2, 8, 8))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.embed(torch.stack([pixels, pixels], 2)).squeeze(2)


@pytest.mark.parametrize("strategy", ["full", "auto"])
def test_a_network_with_convolutions_over_frames_is_looked_at_and_trained(strategy: str, tmp_path: Any) -> None:
    backbone = zoo.wrap(Frames(), preprocess=zoo.ImagePreprocess(size=(32, 32)))
    done = zoo.finetune(
        backbone,
        "sklearn:digits",
        strategy=strategy,
        training=zoo.Training(epochs=1, device="cpu"),
        read=zoo.ReadOptions(limit=60),
        out=zoo.Output(dir=str(tmp_path)),
        baseline="none",
    )
    assert done.metrics["accuracy"] is not None


def test_a_narrow_network_is_trained_at_the_size_of_photographs(tmp_path: Any) -> None:
    from PIL import Image

    for number in range(8):
        folder = tmp_path / "data" / ("light", "dark")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (112, 112), ((number, 9, 9), (200, number, 200))[number % 2]).save(folder / f"{number}.png")
    body = nn.Sequential(narrow(8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    backbone = zoo.wrap(body, preprocess=zoo.ImagePreprocess(size=(112, 112)))
    out = zoo.Output(dir=str(tmp_path / "runs"))
    run = zoo.finetune(backbone, tmp_path / "data", strategy="full", epochs=1, batch_size=4, out=out, baseline="none")
    assert run.metrics["accuracy"] is not None
