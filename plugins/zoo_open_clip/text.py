"""The text towers of open_clip: how each gives its embedding and its tokens, which ids it reads, and its stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from zoo import PluginError, Stage
from zoo_open_clip.image import blocks_of
from zoo_open_clip.tokens import Padding

PREFIX, BRANCH = "text.", "text"


class Read(NamedTuple):
    """What a tower makes of texts."""

    pooled: Tensor
    """(B, D) in the space that image and text share."""
    tokens: Tensor
    """(B, T, D')."""
    mask: Tensor
    """(B, T) bool, True = real."""


class TextTower(Protocol):
    """How one kind of tower is run."""

    width: int
    """D' of the tokens."""
    rows: int
    """Of the embedding table."""
    padding: Padding

    def __call__(self, ids: Tensor, mask: Tensor) -> Read:
        """Embedding and tokens of (B, T) ids."""

    def stages(self) -> Sequence[Stage]:
        """Stem to top."""


def text_tower(text: nn.Module) -> TextTower:
    """The way to run this tower."""
    if hasattr(text, "pooler"):
        return HuggingFaceTower(text)
    plain: Any = text
    if plain.attn_mask is not None and plain.cls_emb is None and plain.pool_type in ("argmax", "eos"):
        return CausalTower(text)
    return FullTower(text)


class TransformerTower:
    """What open_clip's own transformers over texts share."""

    def __init__(self, text: Any) -> None:
        self.text = text
        self.width = int(self.text.width)
        self.rows = int(self.text.vocab_size)

    def stages(self) -> Sequence[Stage]:
        text = self.text
        projection = text.text_projection
        linear = isinstance(projection, nn.Module)
        loose = [each for each in (text.positional_embedding, text.cls_emb) if each is not None]
        return [
            Stage(f"{PREFIX}stem", (text.token_embedding,), tuple(loose), BRANCH),
            *blocks_of(text.transformer.resblocks, PREFIX, BRANCH),
            Stage(
                f"{PREFIX}top",
                (text.ln_final, projection) if linear else (text.ln_final,),
                () if linear or projection is None else (projection,),
                BRANCH,
            ),
        ]


class CausalTower(TransformerTower):
    """A decoder that pools where the text ends: nothing behind the end counts, so it need not be computed.

    The steps are those of `CLIP.encode_text`, at the length of the longest text of the batch.
    """

    def __init__(self, text: Any) -> None:
        super().__init__(text)
        eos = self.text.pool_type == "eos"
        self.padding = Padding("eos", trim=True, id=int(self.text.eos_id)) if eos else Padding("argmax", trim=True)

    def __call__(self, ids: Tensor, mask: Tensor) -> Read:
        text, T = self.text, ids.shape[1]
        dtype = text.transformer.get_cast_dtype()
        x = text.token_embedding(ids).to(dtype) + text.positional_embedding[:T].to(dtype)
        x = text.ln_final(text.transformer(x, attn_mask=text.attn_mask[:T, :T]))
        end = ids.argmax(1) if self.padding.rule == "argmax" else (ids == self.padding.id).int().argmax(1)
        pooled = x[torch.arange(len(x), device=x.device), end]
        projection = text.text_projection
        if isinstance(projection, nn.Module):
            pooled = projection(pooled)
        elif projection is not None:
            pooled = pooled @ projection
        return Read(pooled, x, mask)


class FullTower(TransformerTower):
    """A transformer that needs its whole context: one that reads its padding (SigLIP, CLIPA, MobileCLIP), or one
    whose summary stands behind it (CoCa, whose tokens are those before the last norm)."""

    def __init__(self, text: Any) -> None:
        super().__init__(text)
        self.text.output_tokens = True
        self.padding = (
            Padding("none", trim=False)
            if self.text.cls_emb is None
            else Padding("pad", trim=False, id=int(self.text.pad_id))
        )

    def __call__(self, ids: Tensor, mask: Tensor) -> Read:
        pooled, tokens = self.text(ids)
        return Read(pooled, tokens, mask)


class HuggingFaceTower:
    """A text model of transformers with a pooler and a projection; it takes its mask from the padding id."""

    def __init__(self, text: Any) -> None:
        self.text = text
        self.text.output_tokens = True
        config = self.text.config
        self.width = int(getattr(config, "hidden_size", None) or config.d_model)
        self.rows = int(config.vocab_size)
        self.padding = Padding("pad", trim=True, id=int(config.pad_token_id))

    def __call__(self, ids: Tensor, mask: Tensor) -> Read:
        pooled, tokens = self.text(ids)
        # The class pooler keeps its first token for itself.
        return Read(pooled, tokens, mask[:, mask.shape[1] - tokens.shape[1] :])

    def stages(self) -> Sequence[Stage]:
        model = self.text.transformer
        holder = getattr(model, "encoder", model)
        name = next((name for name in ("layer", "block", "layers") if hasattr(holder, name)), None)
        if name is None:
            raise PluginError(f"{type(model).__name__} has no list of blocks that zoo knows")
        children = [each for each in model.named_children() if each[1] is not holder]
        if holder is model:
            children = [each for each in model.named_children() if each[0] != name]
        else:
            children += [each for each in holder.named_children() if each[0] != name]
        late = ("pooler", "final_layer_norm", "layer_norm", "dropout")
        before = tuple(child for each, child in children if each not in late)
        after = tuple(child for each, child in children if each in late)
        return [
            Stage(f"{PREFIX}stem", before, branch=BRANCH),
            *blocks_of(getattr(holder, name), PREFIX, BRANCH),
            Stage(f"{PREFIX}top", (*after, self.text.pooler, self.text.proj), branch=BRANCH),
        ]
