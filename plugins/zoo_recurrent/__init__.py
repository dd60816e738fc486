"""Recurrent text encoders: RNN, GRU, LSTM and a larger bidirectional LSTM.

No weights are published for them: they begin at random, or with the weights of a file that you give after @.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zoo import BackboneSpec, TextPreprocess, hookimpl

zoo_api = 1

ROWS = 32_768
"""Of the embedding: three special ids, and the places that words are hashed to."""

_WORDS = TextPreprocess(tokenizer="hashed words", max_length=256, lower=True)
_SMALL: dict[str, Any] = {"width": 128, "hidden": 256, "layers": 2, "directions": 1, "dropout": 0.2}
_LARGE: dict[str, Any] = {"width": 256, "hidden": 512, "layers": 2, "directions": 2, "dropout": 0.2}


@hookimpl
def zoo_backbones() -> Iterable[BackboneSpec]:
    """What this plugin can build."""
    return [
        _spec("rnn", 4_424_704, "https://doi.org/10.1207/s15516709cog1402_1", {"cell": "rnn", **_SMALL}),
        _spec("gru", 4_885_504, "https://arxiv.org/abs/1406.1078", {"cell": "gru", **_SMALL}),
        _spec("lstm", 5_115_904, "https://doi.org/10.1162/neco.1997.9.8.1735", {"cell": "lstm", **_SMALL}),
        _spec("bilstm", 17_842_176, "https://doi.org/10.1109/78.650093", {"cell": "lstm", **_LARGE}),
    ]


def _spec(architecture: str, params: int, paper: str, options: dict[str, Any]) -> BackboneSpec:
    return BackboneSpec(
        source="recurrent",
        architecture=architecture,
        factory="zoo_recurrent.encoder:build",
        modalities=("text",),
        family="rnn",
        dim=options["hidden"] * options["directions"],
        params=params,
        context_length=_WORDS.max_length,
        stages=("embedding", *(f"layer.{i}" for i in range(options["layers"]))),
        preprocess={"text": _WORDS},
        paper=paper,
        options=options,
    )
