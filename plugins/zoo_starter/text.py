"""Text encoders that need no download: LSTM, GRU, a small transformer and a bag of words."""

from __future__ import annotations

import zlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import zoo
from zoo import Backbone, Features, Inputs, LoadRequest, Modality, Pooling, Stage, TextPreprocess, UsageError
from zoo_starter.pieces import PAD, SEPARATOR, START, VOCABULARY, Pieces, shipped, words_of

E = TypeVar("E", bound="TextEncoder")


class PieceProcessor:
    """Texts to `{"ids": (B, T) int64, "mask": (B, T) bool}`, padded to the longest of the batch."""

    def __init__(self, preprocess: TextPreprocess, pieces: Pieces | None = None) -> None:
        self.preprocess = preprocess
        self.pieces = pieces or shipped()

    @property
    def key(self) -> str:
        return zoo.fingerprint([self.preprocess, self.pieces.key])

    def __call__(self, value: Any, draw: Any = None) -> list[int]:
        del draw
        return self.encode(value)

    def encode(self, value: str | tuple[str, str]) -> list[int]:
        """Start, the ids of the text; of a pair a separator and the ids of the second text. Cut to `max_length`."""
        room = self.preprocess.max_length
        if isinstance(value, str):
            return [START, *self.pieces.encode(value)][:room]
        first, second = (self.pieces.encode(text) for text in value)
        while len(first) + len(second) > room - 2:
            # The longer one is cut, so that neither is lost.
            (first if len(first) >= len(second) else second).pop()
        return [START, *first, SEPARATOR, *second]

    def spans(self, value: str) -> list[tuple[int, int]]:
        """First character of each id's word and the one after its last; (0, 0) for the start."""
        return [(0, 0), *self.pieces.spans(value)][: self.preprocess.max_length]

    def length(self, example: list[int]) -> int:
        return len(example)

    def collate(self, examples: Sequence[list[int]]) -> dict[str, Tensor]:
        return padded(examples, self.preprocess.padding_side)

    def finish(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(tensors)


def padded(examples: Sequence[list[int]], side: str = "right") -> dict[str, Tensor]:
    """`{"ids": (B, T), "mask": (B, T)}` of lists of ids."""
    T = max((len(each) for each in examples), default=0)
    ids = torch.full((len(examples), T), PAD, dtype=torch.int64)
    mask = torch.zeros(len(examples), T, dtype=torch.bool)
    for row, each in enumerate(examples):
        at = slice(0, len(each)) if side == "right" else slice(T - len(each), T)
        ids[row, at] = torch.tensor(each, dtype=torch.int64)
        mask[row, at] = True
    return {"ids": ids, "mask": mask}


class TextEncoder(Backbone):
    """An embedding, then layers of the same width; padding on either side changes no feature."""

    modalities: tuple[Modality, ...] = ("text",)
    pooling: Pooling = "native"

    def __init__(self, request: LoadRequest, width: int) -> None:
        super().__init__()
        self.spec, self.weights = request.spec, request.weights
        preprocess = request.preprocess["text"]
        assert isinstance(preprocess, TextPreprocess)
        self.preprocess = preprocess
        self.embedding = nn.Embedding(VOCABULARY, width, padding_idx=PAD)
        self.layers = nn.ModuleList()
        self.norm: nn.Module = nn.Identity()

    def stages(self) -> Sequence[Stage]:
        names = [f"layer{i}" for i in range(1, len(self.layers) + 1)]
        layers = [Stage(name, (layer,)) for name, layer in zip(names[:-1], self.layers, strict=False)]
        return [Stage("embedding", (self.embedding,)), *layers, Stage(names[-1], (self.layers[-1], self.norm))]

    def processor(self, modality: Modality) -> PieceProcessor:
        _only_text(self, modality)
        return PieceProcessor(self.preprocess)

    def forward(self, batch: Inputs) -> Features:
        ids, mask = batch["text"]["ids"], batch["text"]["mask"]
        tokens = self.embed(ids, mask)
        for layer in self.layers:
            tokens = layer(tokens, mask)
        tokens = self.norm(tokens)
        pooled = self.summary(tokens, mask) if self.pooling == "native" else zoo.pool(tokens, mask, self.pooling)
        return Features(pooled=pooled, tokens=tokens, mask=mask)

    def embed(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) input of the first layer."""
        del mask
        return self.embedding(ids)  # type: ignore[no-any-return]

    @abstractmethod
    def summary(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, D) native pooling."""


class RecurrentLayer(nn.Module):
    """One LSTM or GRU that runs both ways over the real tokens alone: (B, T, D) to (B, T, 2 * hidden)."""

    def __init__(self, cell: type[nn.LSTM] | type[nn.GRU], width: int, hidden: int) -> None:
        super().__init__()
        self.rnn = cell(width, hidden, batch_first=True, bidirectional=True)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        # Real tokens come first, in their order; a packed sequence knows padding on the right alone.
        order = (~mask).long().argsort(dim=1, stable=True)
        # A row without tokens runs over one padding step, which the mask below takes out again.
        lengths = mask.sum(1).clamp(min=1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(
            _reorder(tokens, order), lengths, batch_first=True, enforce_sorted=False
        )
        out, _ = self.rnn(packed)
        out, _ = nn.utils.rnn.pad_packed_sequence(out, batch_first=True, total_length=mask.shape[1])
        return _reorder(out, order.argsort(dim=1)) * mask.unsqueeze(-1)


def _reorder(tokens: Tensor, order: Tensor) -> Tensor:
    return tokens.gather(1, order.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


class Recurrent(TextEncoder):
    """Layers of LSTM or GRU; pooled is the last state forward beside the last state backward."""

    def __init__(self, request: LoadRequest, cell: type[nn.LSTM] | type[nn.GRU]) -> None:
        options = request.spec.options
        self.hidden: int = options["hidden"]
        super().__init__(request, options["width"])
        widths = [options["width"]] + [2 * self.hidden] * (options["layers"] - 1)
        self.layers.extend(RecurrentLayer(cell, width, self.hidden) for width in widths)
        self.dim = 2 * self.hidden

    def summary(self, tokens: Tensor, mask: Tensor) -> Tensor:
        rows = torch.arange(len(tokens), device=tokens.device)
        forward = tokens[rows, zoo.last_real(mask), : self.hidden]
        backward = tokens[rows, zoo.first_real(mask), self.hidden :]
        return torch.cat([forward, backward], dim=1)


class TransformerLayer(nn.Module):
    """Self-attention and a feed-forward network, each with its normalisation before it (pre-LN)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        tokens = tokens + self.drop(self.attend(self.norm1(tokens), mask))
        return tokens + self.drop(self.down(self.drop(F.gelu(self.up(self.norm2(tokens))))))  # type: ignore[no-any-return]

    def attend(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Every token looks at the real tokens."""
        # (B, T, 3 D) -> three times (B, heads, T, D / heads)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(tokens).chunk(3, dim=-1))
        # A row without tokens looks at its padding: no key at all would give nan.
        seen = (mask | ~mask.any(1, keepdim=True))[:, None, None, :]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=self.dropout if self.training else 0.0)
        return self.out(out.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Transformer(TextEncoder):
    """Pre-LN transformer with learned positions; pooled is the mean of the real tokens."""

    def __init__(self, request: LoadRequest) -> None:
        options = request.spec.options
        width = options["width"]
        super().__init__(request, width)
        self.positions = nn.Embedding(self.preprocess.max_length, width)
        # Weaker than the words, or random features would say where a word is, not which.
        nn.init.normal_(self.positions.weight, std=0.1)
        self.layers.extend(
            TransformerLayer(width, options["heads"], options["dropout"]) for _ in range(options["layers"])
        )
        self.norm = nn.LayerNorm(width)
        self.dim = width

    def stages(self) -> Sequence[Stage]:
        return [Stage("embedding", (self.embedding, self.positions)), *super().stages()[1:]]

    def embed(self, ids: Tensor, mask: Tensor) -> Tensor:
        # Positions count real tokens, so that padding on the left moves nothing.
        return super().embed(ids, mask) + self.positions(zoo.positions(mask))  # type: ignore[no-any-return]

    def summary(self, tokens: Tensor, mask: Tensor) -> Tensor:
        return zoo.pool(tokens, mask, "mean")


class BagOfWords(Backbone):
    """Counts of hashed words and word pairs, log-scaled to length one: a floor without parameters."""

    modalities: tuple[Modality, ...] = ("text",)
    pooling: Pooling = "native"

    def __init__(self, request: LoadRequest) -> None:
        super().__init__()
        self.spec, self.weights = request.spec, request.weights
        preprocess = request.preprocess["text"]
        assert isinstance(preprocess, TextPreprocess)
        assert request.spec.dim is not None
        self.preprocess = preprocess
        self.dim = request.spec.dim
        self.count = nn.Identity()

    def stages(self) -> Sequence[Stage]:
        return [Stage("count", (self.count,))]

    def processor(self, modality: Modality) -> HashedProcessor:
        _only_text(self, modality)
        return HashedProcessor(self.preprocess, self.dim)

    def forward(self, batch: Inputs) -> Features:
        ids, mask = batch["text"]["ids"], batch["text"]["mask"]
        counts = torch.zeros(len(ids), self.dim, device=ids.device).scatter_add_(1, ids, mask.float())
        bag = self.count(F.normalize(counts.log1p(), dim=1))
        # A bag has no order: it is one token.
        return Features(pooled=bag, tokens=bag.unsqueeze(1))


class HashedProcessor(PieceProcessor):
    """Texts to the places of their words and neighbouring pairs of words in a table of `size`."""

    def __init__(self, preprocess: TextPreprocess, size: int) -> None:
        self.preprocess, self.size = preprocess, size

    @property
    def key(self) -> str:
        return zoo.fingerprint([self.preprocess, self.size])

    def encode(self, value: str | tuple[str, str]) -> list[int]:
        texts = (value,) if isinstance(value, str) else value
        places = []
        room = self.preprocess.max_length // len(texts)
        for side, text in enumerate(texts):
            words = words_of(text)[: (room + 1) // 2]  # n words have n - 1 pairs
            pairs = [f"{a} {b}" for a, b in pairwise(words)]
            # The two texts of a pair have places of their own, so that their order is not lost.
            places += [
                zlib.crc32(f"{side} {each}".encode("utf-8", "surrogatepass")) % self.size for each in words + pairs
            ]
        return places


def build_lstm(request: LoadRequest) -> Recurrent:
    """`starter/lstm`."""
    return Recurrent(request, nn.LSTM)


def build_gru(request: LoadRequest) -> Recurrent:
    """`starter/gru`."""
    return Recurrent(request, nn.GRU)


def build_transformer(request: LoadRequest) -> Transformer:
    """`starter/text-transformer`."""
    return _loaded(Transformer(request), request)


def build_bag(request: LoadRequest) -> BagOfWords:
    """`starter/bag-of-words`."""
    return BagOfWords(request)


def _loaded(encoder: E, request: LoadRequest) -> E:
    if request.weights is not None and request.assets is None:
        zoo.load_state(encoder, zoo.read_weights(zoo.fetch(request.weights, offline=request.offline)))
    return encoder


def _only_text(backbone: Backbone, modality: Modality) -> None:
    if modality != "text":
        raise UsageError(
            f"{backbone.spec.name} takes text, not {modality}", help=f"`zoo list --modality {modality}` shows others"
        )
