"""Trains the weights that `starter/glyph-cnn` ships with: `python -m zoo_starter.pretrain_glyphs`.

The network learns to name letters drawn with Pillow's font; it never sees a digit. Everything is drawn here from one
seed, so the same versions of torch and Pillow give the same file. It takes about a minute on one core.
"""

# ruff: noqa: T201  (a script: what it prints goes into the specification)

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from zoo import BackboneSpec, LoadRequest
from zoo_starter import GLYPH_PREPROCESS, zoo_backbones
from zoo_starter.glyphs import LETTERS, sheet
from zoo_starter.image import GlyphCNN

STEPS = 1_600
BATCH_SIZE = 128
LR = 3e-3
OUT = Path(__file__).with_name("glyph-cnn.safetensors")


@dataclass(frozen=True)
class Progress:
    """Where pretraining stands after a step."""

    step: int
    loss: float
    backbone: GlyphCNN


def pretrain(steps: int = STEPS, seed: int = 0) -> Iterator[Progress]:
    """The network after each step.

    Args:
        steps: of `BATCH_SIZE` letters each.
        seed: of the initial weights and of every letter drawn.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    glyphs = torch.from_numpy(sheet()).float() / 255
    backbone = GlyphCNN(LoadRequest(_spec(), None, ("image",)))
    head = nn.Linear(backbone.dim, len(LETTERS))
    parameters = [*backbone.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=LR, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, steps)
    backbone.train()
    for step in range(1, steps + 1):
        pixels, labels = batch(glyphs, BATCH_SIZE, generator)
        features = backbone({"image": {"pixels": pixels}})
        # Smoothed: c and C, o and O look alike once they are scaled.
        loss = F.cross_entropy(head(features.pooled), labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        yield Progress(step, loss.item(), backbone)


def batch(glyphs: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Letters as another hand might write them, normalised.

    Args:
        glyphs: (K, strokes, H, W) in [0, 1].
        size: B.

    Returns:
        (B, 1, 32, 32) pixels and (B,) labels.
    """
    K, strokes = glyphs.shape[:2]
    labels = torch.randint(K, (size,), generator=generator)
    stroke = torch.randint(strokes, (size,), generator=generator)
    H, W = GLYPH_PREPROCESS.size
    grid = _bend(size, (H, W), generator)
    pixels = F.grid_sample(glyphs[labels, stroke].unsqueeze(1), grid, align_corners=False)
    # Two of three batches are as coarse as small scans are: 8 x 8 pixels, enlarged as the processor does.
    coarse = (8, 8, 16)[int(torch.randint(3, (1,), generator=generator))]
    pixels = F.interpolate(F.adaptive_avg_pool2d(pixels, coarse), size=(H, W), mode="bilinear")
    ink = _uniform(size, 0.7, 1.2, generator).view(-1, 1, 1, 1)
    pixels = (pixels * ink + 0.02 * torch.randn(pixels.shape, generator=generator)).clamp(0, 1)
    return (pixels - GLYPH_PREPROCESS.mean[0]) / GLYPH_PREPROCESS.std[0], labels


def _bend(size: int, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """(B, H, W, 2) sampling grid: turned, slanted, stretched, shifted, and bent as rubber is."""
    angle = _uniform(size, -0.35, 0.35, generator)
    wide, tall = _uniform(size, 0.75, 1.5, generator), _uniform(size, 0.75, 1.3, generator)
    slant = _uniform(size, -0.35, 0.35, generator)
    dx, dy = _uniform(size, -0.2, 0.2, generator), _uniform(size, -0.2, 0.2, generator)
    rows = [
        torch.stack([angle.cos() * wide, (slant - angle.sin()) * tall, dx], 1),
        torch.stack([angle.sin() * wide, angle.cos() * tall, dy], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), [size, 1, *shape], align_corners=False)
    strength = 0.13 * _uniform(size, 0, 1, generator).view(-1, 1, 1, 1)
    knots = strength * torch.randn(size, 2, 4, 4, generator=generator)
    rubber = F.interpolate(knots, size=shape, mode="bicubic", align_corners=True)
    return grid + rubber.permute(0, 2, 3, 1)


def _uniform(size: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(size, generator=generator) * (high - low) + low


def _spec() -> BackboneSpec:
    return next(spec for spec in zoo_backbones() if spec.architecture == "glyph-cnn")


def main() -> None:
    """Train, write the file, and print what its specification must say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    torch.set_num_threads(1)  # sums in one order, whatever the machine
    for done in pretrain(given.steps, given.seed):
        if done.step % 100 == 0:
            print(f"step {done.step} of {given.steps}: loss {done.loss:.3f}", flush=True)
    written = save(done.backbone.state_dict())
    given.out.write_bytes(written)
    print(f"{given.out}: {len(written):,} bytes, sha256 {hashlib.sha256(written).hexdigest()}")


if __name__ == "__main__":
    main()
