"""An embedding and recurrent layers, one module of torch for each, so that each is a stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

import zoo
from zoo import Backbone, Features, Inputs, LoadRequest, Modality, Pooling, Stage, TextPreprocess, UsageError
from zoo_recurrent import ROWS
from zoo_recurrent.words import PAD, WordProcessor

Cell = type[nn.RNN] | type[nn.GRU] | type[nn.LSTM]

CELLS: Mapping[str, Cell] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def build(request: LoadRequest) -> RecurrentEncoder:
    """`recurrent/rnn`, `gru`, `lstm` or `bilstm`, random or with the weights of a file.

    Raises:
        WeightsError: a file that is missing, damaged or of another architecture.
    """
    encoder = RecurrentEncoder(request)
    if request.weights is not None and request.assets is None:
        zoo.load_state(encoder, zoo.read_weights(zoo.fetch(request.weights, offline=request.offline)))
    return encoder


class RecurrentEncoder(Backbone):
    """Words to vectors, then layer upon layer; padding on either side changes no feature.

    Pooled is the last state of the top layer, of both directions side by side where it has two. Tokens are the states
    of the top layer at every word.
    """

    modalities: tuple[Modality, ...] = ("text",)
    pooling: Pooling = "native"

    def __init__(self, request: LoadRequest) -> None:
        super().__init__()
        self.spec, self.weights = request.spec, request.weights
        options, preprocess = request.spec.options, request.preprocess["text"]
        assert isinstance(preprocess, TextPreprocess)
        self.preprocess = preprocess
        self.hidden: int = options["hidden"]
        self.dim = self.hidden * options["directions"]
        self.embedding = nn.Embedding(ROWS, options["width"], padding_idx=PAD)
        widths = [options["width"], *[self.dim] * (options["layers"] - 1)]
        self.layers = nn.ModuleList(
            RecurrentLayer(CELLS[options["cell"]], width, self.hidden, options["directions"], options["dropout"])
            for width in widths
        )

    def forward(self, batch: Inputs) -> Features:
        """Features of texts: `ids` (B, T) and `mask` (B, T) bool."""
        ids, mask = batch["text"]["ids"], batch["text"]["mask"]
        tokens = self.embedding(ids)
        for layer in self.layers:
            tokens = layer(tokens, mask)
        pooled = self._last(tokens, mask) if self.pooling == "native" else zoo.pool(tokens, mask, self.pooling)
        return Features(pooled=pooled, tokens=tokens, mask=mask)

    def stages(self) -> Sequence[Stage]:
        layers = [Stage(f"layer.{index}", (layer,)) for index, layer in enumerate(self.layers)]
        return [Stage("embedding", (self.embedding,)), *layers]

    def processor(self, modality: Modality) -> WordProcessor:
        if modality != "text":
            raise UsageError(
                f"{self.spec.name} takes text, not {modality}", help=f"`zoo list --modality {modality}` shows others"
            )
        return WordProcessor(self.preprocess, ROWS)

    def _last(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, D): forward it ends at the last word, backward at the first."""
        rows = torch.arange(len(tokens), device=tokens.device)
        forward = tokens[rows, zoo.last_real(mask), : self.hidden]
        backward = tokens[rows, zoo.first_real(mask), self.hidden :]
        return torch.cat([forward, backward], dim=1)


class RecurrentLayer(nn.Module):
    """Dropout, then one layer over the real tokens alone: (B, T, D) to (B, T, directions * hidden), 0 at padding."""

    def __init__(self, cell: Cell, width: int, hidden: int, directions: int, dropout: float) -> None:
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.rnn = cell(width, hidden, batch_first=True, bidirectional=directions == 2)
        self._reset(hidden)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        # Real tokens come first, in their order: a packed sequence knows padding on the right alone.
        order = (~mask).long().argsort(dim=1, stable=True)
        # A row without tokens runs over one place of padding, which the mask takes out again.
        lengths = mask.sum(1).clamp(min=1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(
            _moved(self.drop(tokens), order), lengths, batch_first=True, enforce_sorted=False
        )
        out, _ = self.rnn(packed)
        out, _ = nn.utils.rnn.pad_packed_sequence(out, batch_first=True, total_length=mask.shape[1])
        return _moved(out, order.argsort(dim=1)) * mask.unsqueeze(-1)

    def _reset(self, hidden: int) -> None:
        """Orthogonal recurrent weights, and an LSTM that remembers at first: without both it learns slowly.

        References: Saxe et al. 2014, https://arxiv.org/abs/1312.6120; Jozefowicz et al. 2015, section 2.2.
        """
        for name, parameter in self.rnn.named_parameters():
            if name.startswith("weight_hh"):
                for gate in parameter.detach().view(-1, hidden, hidden):
                    nn.init.orthogonal_(gate)
            elif name.startswith("weight_ih"):
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)
                if isinstance(self.rnn, nn.LSTM) and name.startswith("bias_ih"):
                    # The gates of torch: input, forget, cell, output.
                    parameter.detach()[hidden : 2 * hidden] = 1


def _moved(tokens: Tensor, order: Tensor) -> Tensor:
    return tokens.gather(1, order.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
