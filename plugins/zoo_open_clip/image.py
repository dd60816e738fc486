"""The image towers of open_clip: how each gives its embedding and its tokens, and its stages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from zoo import Stage, stages_by_group

PREFIX, BRANCH = "image.", "image"


class Seen(NamedTuple):
    """What a tower makes of images."""

    pooled: Tensor
    """(B, D) in the space that image and text share."""
    tokens: Tensor
    """(B, T, D') patches or positions."""
    grid: tuple[int, int] | None


class ImageTower(Protocol):
    """How one kind of tower is run."""

    width: int
    """D' of the tokens."""

    def __call__(self, pixels: Tensor) -> Seen:
        """Embedding and tokens of (B, 3, H, W) pixels."""

    def stages(self) -> Sequence[Stage]:
        """Stem to top."""


def image_tower(visual: nn.Module) -> ImageTower:
    """The way to run this tower."""
    if hasattr(visual, "trunk"):
        return TimmTower(visual)
    if hasattr(visual, "layer4"):
        return ResNetTower(visual)
    return TransformerTower(visual)


class TransformerTower:
    """open_clip's own ViT. Tokens are after the last norm, but before it where that comes after pooling; in CoCa they
    are the queries of the attentional pooler."""

    def __init__(self, visual: Any) -> None:
        self.visual = visual
        self.visual.output_tokens = True
        pooler = self.visual.attn_pool
        self.width = int(self.visual.transformer.width if pooler is None else self.visual.ln_post.normalized_shape[0])

    def __call__(self, pixels: Tensor) -> Seen:
        pooled, tokens = self.visual(pixels)
        height, width = self.visual.grid_size
        # Not where a pooler's queries or what patch dropout left are no grid.
        whole = self.visual.attn_pool is None and tokens.shape[1] == height * width
        return Seen(pooled, tokens, (height, width) if whole else None)

    def stages(self) -> Sequence[Stage]:
        visual = self.visual
        top = [m for m in (visual.attn_pool, getattr(visual, "attn_pool_contrastive", None)) if m is not None]
        loose = () if visual.proj is None else (visual.proj,)
        return [
            Stage(
                f"{PREFIX}stem",
                (visual.conv1, visual.patch_dropout, visual.ln_pre),
                (visual.class_embedding, visual.positional_embedding),
                BRANCH,
            ),
            *blocks_of(visual.transformer.resblocks, PREFIX, BRANCH),
            Stage(f"{PREFIX}top", (*top, visual.ln_post), loose, BRANCH),
        ]


class ResNetTower:
    """OpenAI's ResNet with attention pooling. Tokens are the last map."""

    def __init__(self, visual: Any) -> None:
        self.visual = visual
        self.width = int(self.visual.attnpool.q_proj.in_features)

    def __call__(self, pixels: Tensor) -> Seen:
        visual = self.visual
        x = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(pixels)))))
        # (B, C, H, W) -> (B, H*W, C)
        return Seen(visual.attnpool(x), x.flatten(2).transpose(1, 2), (x.shape[2], x.shape[3]))

    def stages(self) -> Sequence[Stage]:
        visual = self.visual
        stem = [getattr(visual, f"{kind}{i}") for i in (1, 2, 3) for kind in ("conv", "bn", "act")]
        layers = [(name, (getattr(visual, name),)) for name in ("layer1", "layer2", "layer3", "layer4")]
        named = [("stem", (*stem, visual.avgpool)), *layers, ("top", (visual.attnpool,))]
        return [Stage(f"{PREFIX}{name}", modules, branch=BRANCH) for name, modules in named]


class TimmTower:
    """A timm model and a projection. Tokens are its `forward_features`, without class and register tokens."""

    def __init__(self, visual: Any) -> None:
        self.visual = visual
        self.width = int(self.visual.trunk.num_features)

    def __call__(self, pixels: Tensor) -> Seen:
        trunk = self.visual.trunk
        x = trunk.forward_features(pixels)
        pooled = self.visual.head(trunk.forward_head(x))
        if x.ndim == 4:
            # (B, C, H, W), or (B, H, W, C) where the model says so.
            spatial = x if "NHWC" in str(getattr(trunk, "output_fmt", "NCHW")) else x.permute(0, 2, 3, 1)
            return Seen(pooled, spatial.flatten(1, 2), (spatial.shape[1], spatial.shape[2]))
        tokens = x[:, int(getattr(trunk, "num_prefix_tokens", 0)) :]
        side = math.isqrt(tokens.shape[1])
        return Seen(pooled, tokens, (side, side) if side * side == tokens.shape[1] else None)

    def stages(self) -> Sequence[Stage]:
        visual = self.visual
        stages = list(stages_by_group(visual.trunk, _groups(visual.trunk), prefix=PREFIX, branch=BRANCH))
        stages[0] = Stage(f"{PREFIX}stem", stages[0].modules, stages[0].loose, BRANCH)
        if any(True for _ in visual.head.parameters()):
            return [*stages, Stage(f"{PREFIX}top", (visual.head,), branch=BRANCH)]
        last = stages.pop()
        return [*stages, Stage(f"{PREFIX}top", (*last.modules, visual.head), last.loose, BRANCH)]


def blocks_of(blocks: Any, prefix: str, branch: str) -> list[Stage]:
    """A stage for each block of a list."""
    return [Stage(f"{prefix}blocks.{index}", (block,), branch=branch) for index, block in enumerate(blocks)]


def _groups(trunk: Any) -> dict[str, int]:
    """The group of each parameter by timm's own matcher."""
    from timm.models import group_parameters

    found: dict[str, int] = group_parameters(trunk, trunk.group_matcher(coarse=True), reverse=True)
    # Position biases that all blocks share run first.
    return {name: 0 if name.startswith(("shared_rel_pos.", "rope.")) else group for name, group in found.items()}
