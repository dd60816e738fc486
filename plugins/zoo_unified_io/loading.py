"""Weights into the encoder: their shapes tell its sizes, and every tensor in front of the decoder must be there."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

import zoo
from zoo import LoadRequest, Modality, WeightsError, WeightsSpec
from zoo_unified_io.encoder import UnifiedIO
from zoo_unified_io.folder import heads_in, read_config, weight_files
from zoo_unified_io.sizes import ResamplerSizes, Sizes, ViTSizes, sizes_from_json

SIZES = "sizes.json"
"""Beside the tokenizer in a run's assets."""
_PATTERNS = ("config.json", "tokenizer.model", "model*.safetensors", "pytorch_model*.bin")
_NEEDED = ("model*.safetensors", "pytorch_model*.bin")
_OUTPUT_SIDE = ("decoder.*", "target_embedders.*", "image_token_embedder.*", "audio_token_embedder.*", "*_vqgan.*")
"""What a whole checkpoint holds besides the encoder."""
_WANTED = "give the model.safetensors or pytorch_model.bin of allenai/uio2-large, -xl or -xxl"
_HEAD_DIM = 64
"""Of the ViTs, where config.json does not tell; CLIP's and AST's."""


class Found(NamedTuple):
    """What was read."""

    sizes: Sizes
    state: Mapping[str, Tensor] | None
    """None: random weights."""
    folder: Path | None
    """Where a tokenizer may lie beside the weights."""


def find(request: LoadRequest) -> Found:
    """Sizes, weights and folder of what is asked for.

    Raises:
        WeightsError: not to be had, damaged, or of another model.
    """
    options = request.spec.options
    if request.assets is not None:
        kept = json.loads((request.assets / SIZES).read_text(encoding="utf-8"))
        return Found(sizes_from_json(kept), None, request.assets)
    folder = Path(str(options["folder"])) if "folder" in options else None
    if request.weights is None and "sizes" in options:
        return Found(sizes_from_json(options["sizes"]), None, folder)
    weights = request.weights or WeightsSpec(tag="", origin=f"file:{folder}")
    path = _fetched(weights, offline=request.offline)
    home = path if path.is_dir() else path.parent
    state = _read(path)
    sizes = sizes_of({name: tuple(tensor.shape) for name, tensor in state.items()}, read_config(home))
    return Found(sizes, None if request.weights is None else state, home)


def fill(network: UnifiedIO, state: Mapping[str, Tensor], modalities: tuple[Modality, ...]) -> None:
    """Load the weights; what belongs to the decoder, or to a modality that is not served, is left out.

    Raises:
        WeightsError: names what is missing, left over, of another shape, or not finite.
    """
    absent = [each for each in ("image", "text", "audio") if each not in modalities]
    unused = [*_OUTPUT_SIDE, *(f"input_embedders.{each}*" for each in absent)]
    unused += ["text_token_embedder.*"] if "text" in absent else []
    zoo.load_state(network, state, unused=unused)


def sizes_of(shapes: Mapping[str, tuple[int, ...]], config: Mapping[str, Any]) -> Sizes:
    """The sizes of a model by the shapes of its tensors; config.json is asked for the heads of the ViTs alone.

    Raises:
        WeightsError: a tensor that every Unified-IO 2 has is missing.
    """
    try:
        return _sizes(_Shapes(shapes), config)
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise WeightsError(
            f"these are no weights of Unified-IO 2: a tensor has another number of dimensions ({error})", help=_WANTED
        ) from error


def _sizes(known: _Shapes, config: Mapping[str, Any]) -> Sizes:
    inner = known["encoder.layers_0.attention.query.weight"][0]
    head_dim = known["encoder.layers_0.attention.query_norm.scale"][0]
    vocabulary, width = known["text_token_embedder.weight"][:2]
    return Sizes(
        vocabulary=vocabulary,
        width=width,
        heads=inner // head_dim,
        head_dim=head_dim,
        layers=known.count(r"encoder\.layers_(\d+)\."),
        mlp=known["encoder.layers_0.mlp.wi_0.weight"][0],
        image=_vit(known, "image", heads_in(config, "image")),
        audio=_vit(known, "audio", heads_in(config, "audio")),
        image_history=_resampler(known, "image_history"),
        audio_history=_resampler(known, "audio_history"),
    )


class _Shapes:
    """Shapes by name; what is missing is an error of the weights."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes = shapes

    def __getitem__(self, name: str) -> tuple[int, ...]:
        if name not in self.shapes:
            raise WeightsError(f"these are no weights of Unified-IO 2: there is no tensor '{name}'", help=_WANTED)
        return self.shapes[name]

    def __contains__(self, name: str) -> bool:
        return name in self.shapes

    def count(self, pattern: str) -> int:
        """How many numbers the pattern finds at the start of names."""
        return len({found[1] for name in self.shapes if (found := re.match(pattern, name))})


def _vit(known: _Shapes, kind: str, heads: int | None) -> ViTSizes:
    prefix = f"input_embedders.{kind}.image_encoder.vision_transformer."
    width, patch = known[f"{prefix}embedding.weight"][:2]
    heads = heads or max(width // _HEAD_DIM, 1)
    if heads < 1 or width % heads:
        raise WeightsError(
            f"{heads} heads cannot share the {width} numbers of the {kind} ViT", help="check config.json"
        )
    return ViTSizes(
        width=width,
        heads=heads,
        layers=known.count(re.escape(f"{prefix}transformer.resblocks.") + r"(\d+)\."),
        mlp=known[f"{prefix}transformer.resblocks.0.mlp.fc1.weight"][0],
        patch=patch,
        positions=known[f"{prefix}positional_embedding"][0],
    )


def _resampler(known: _Shapes, name: str) -> ResamplerSizes:
    prefix = f"input_embedders.{name}.resampler.perceiver."
    attention = f"{prefix}layers_0.xattention."
    latents, width = known[f"{prefix}latents"][:2]
    inner = known[f"{attention}query.weight"][0]
    cosine = f"{attention}logit_scale" in known
    heads = known[f"{attention}logit_scale"][0] if cosine else inner // known[f"{attention}query_norm.scale"][0]
    return ResamplerSizes(
        width=width,
        heads=heads,
        head_dim=inner // heads,
        layers=known.count(re.escape(f"{prefix}layers_") + r"(\d+)\."),
        mlp=known[f"{prefix}layers_0.mlp.wi.weight"][0],
        latents=latents,
        attention="cosine" if cosine else "base",
    )


def _fetched(weights: WeightsSpec, *, offline: bool) -> Path:
    kind, _, rest = weights.origin.partition(":")
    if kind == "hub" and ":" not in rest:
        return zoo.hub_folder(rest, revision=weights.revision, patterns=_PATTERNS, needed=_NEEDED, offline=offline)
    return zoo.fetch(weights, offline=offline)


def _read(path: Path) -> dict[str, Tensor]:
    files = weight_files(path) if path.is_dir() else [path]
    if not files:
        raise WeightsError(f"{path} holds no weights", help="copy model.safetensors or pytorch_model.bin there")
    state: dict[str, Tensor] = {}
    for file in files:
        state |= zoo.read_weights(file)
    return state
