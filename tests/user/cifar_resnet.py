"""A network as a user would have it: the CIFAR ResNet of He et al. 2015, section 4.2, option A shortcuts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import zoo

PREPROCESS = zoo.ImagePreprocess(size=(32, 32), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


class Block(nn.Module):
    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.pad = (width - width_in) // 2
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.pad or self.stride > 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(out + x)


class CifarResNet(nn.Module):
    def __init__(self, blocks: int, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._layer(16, 16, blocks, 1)
        self.layer2 = self._layer(16, 32, blocks, 2)
        self.layer3 = self._layer(32, 64, blocks, 2)
        self.linear = nn.Linear(64, num_classes)

    def _layer(self, width_in: int, width: int, blocks: int, stride: int) -> nn.Sequential:
        first = Block(width_in, width, stride)
        return nn.Sequential(first, *(Block(width, width, 1) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def resnet20() -> zoo.Backbone:
    """For `local:cifar_resnet.py:resnet20@model.safetensors`."""
    torch.manual_seed(0)
    return zoo.wrap(CifarResNet(3), head="linear", tokens="layer3", preprocess=PREPROCESS, name="local/resnet20")


def resnet8() -> zoo.Backbone:
    """A small student for it: one block a stage, random weights."""
    return zoo.wrap(CifarResNet(1), head="linear", tokens="layer3", preprocess=PREPROCESS, name="local/resnet8")


def resnet56() -> zoo.Backbone:
    """For `local:cifar_resnet.py:resnet56@model.safetensors`."""
    torch.manual_seed(0)
    return zoo.wrap(CifarResNet(9), head="linear", tokens="layer3", preprocess=PREPROCESS, name="local/resnet56")
