"""What is known of each model type without importing transformers: modality, pooling, sizes, stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from zoo import Modality

How = Literal["pooler", "cls", "mean", "max", "last", "mean-sqrt", "weighted-mean"]
"""Native pooling. "pooler" is the model's own `pooler_output`; the sum divided by the root of the number of tokens is
"mean-sqrt"; in "weighted-mean" the n-th token counts n times."""

CLS = frozenset(
    {
        "big_bird",
        "camembert",
        "convbert",
        "data2vec-text",
        "deberta",
        "deberta-v2",
        "distilbert",
        "electra",
        "ernie",
        "esm",
        "eurobert",
        "flaubert",
        "funnel",
        "ibert",
        "longformer",
        "luke",
        "megatron-bert",
        "mobilebert",
        "modernbert",
        "mpnet",
        "nystromformer",
        "rembert",
        "roberta",
        "roberta-prelayernorm",
        "roformer",
        "squeezebert",
        "xlm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    }
)
"""Encoders whose own classifiers start from the first token; a pooler layer of theirs was never pretrained."""

POOLER = frozenset({"bert", "albert"})
"""Encoders whose pooler was pretrained by a sentence task; where the file lacks it, the first token serves."""

MEAN = frozenset({"t5", "mt5", "umt5", "byt5", "fnet", "nomic_bert"})

VISION = frozenset(
    {
        "aimv2_vision_model",
        "beit",
        "bit",
        "clip_vision_model",
        "convnext",
        "convnextv2",
        "cvt",
        "data2vec-vision",
        "deit",
        "dinov2",
        "dinov2_with_registers",
        "dinov3_convnext",
        "dinov3_vit",
        "efficientnet",
        "focalnet",
        "glpn",
        "hiera",
        "ijepa",
        "levit",
        "mlcd_vision_model",
        "mobilenet_v1",
        "mobilenet_v2",
        "mobilevit",
        "mobilevitv2",
        "poolformer",
        "pvt",
        "pvt_v2",
        "regnet",
        "resnet",
        "segformer",
        "siglip_vision_model",
        "swiftformer",
        "swin",
        "swinv2",
        "vit",
        "vit_mae",
        "vit_msn",
    }
)

PAIRED = frozenset(
    {"align", "altclip", "blip", "blip-2", "chinese_clip", "clip", "clipseg", "flava", "groupvit", "siglip", "siglip2"}
    | {"idefics2", "idefics3", "llava", "owlvit", "owlv2", "paligemma", "qwen2_vl", "vilt", "vision-encoder-decoder"}
    | {"vision-text-dual-encoder", "visual_bert", "x_clip"}
)
"""Models of image and text together, which this plugin does not serve."""

SPEECH = frozenset({"hubert", "wav2vec2", "wavlm"})
"""Models of waveforms: convolutions, then a transformer over frames."""

HEARS = SPEECH | {"audio-spectrogram-transformer", "whisper"}
"""Audio models that this plugin serves."""

AUDIO = frozenset(
    {"clap", "data2vec-audio", "encodec", "musicgen", "seamless_m4t", "sew", "speech_to_text", "speecht5"}
    | {"unispeech", "unispeech-sat", "wav2vec2-bert", "wav2vec2-conformer"}
)
"""Those that it does not."""

FEELS_PADDING = frozenset(
    {"convbert", "fnet", "funnel", "mobilebert", "mra", "nystromformer", "recurrent_gemma", "reformer", "yoso"}
)
"""Types in which padding reaches the text, mask or no mask: by convolution, landmarks, hashes, Fourier sums, states."""

FULL_MASK = frozenset({"albert", "bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta"})
"""Types that take a mask of (B, 1, T, T) as it is, and look into one of (B, T) to see whether anything is padding."""

TOP = frozenset(
    {"bloom", "falcon", "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neo", "gpt_neox", "gptj", "llama", "mistral"}
    | {"modernbert", "mt5", "olmo2", "phi", "phi3", "qwen2", "qwen3", "smollm3", "t5", "umt5"}
    | {"esm", "eurobert", "megatron-bert", "roberta-prelayernorm", "xlm-roberta-xl"}
    | {"beit", "bit", "clip_vision_model", "convnext", "convnextv2", "data2vec-vision", "deit", "dinov2"}
    | {"dinov2_with_registers", "dinov3_convnext", "dinov3_vit", "focalnet", "hiera", "ijepa", "mobilenet_v2"}
    | {"siglip_vision_model", "swin", "swinv2", "vit", "vit_mae", "vit_msn"}
)
"""Types with parameters after the last block: a final normalisation, mostly."""

NO_TOP = CLS - TOP | {"olmo", "openai-gpt", "xlnet", "opt", "resnet", "regnet", "mobilenet_v1"}
"""Types that have none, as long as no pooler is kept."""


@dataclass(frozen=True)
class Facts:
    """What a config.json tells."""

    family: str
    modality: Modality
    dim: int | None
    layers: int | None
    context: int | None
    """Longest text in tokens, special ones included; None: no limit, or not said."""
    image_size: int | None

    def stages(self, *, pooler: bool) -> tuple[str, ...] | None:
        """Stem to top, where the model type is known well enough; `pooler`: a trained pooler is kept."""
        if self.layers is None or (self.family not in TOP | NO_TOP | POOLER):
            return None
        top = ("top",) if self.family in TOP or pooler else ()
        if self.family == "albert":
            return ("embeddings", "layers", *top)
        stem = "embeddings" if self.modality == "text" else "stem"
        block = "stage" if self.family in _STAGED else "layer"
        return (stem, *(f"{block}.{i}" for i in range(self.layers)), *top)


_STAGED = frozenset(
    {"bit", "convnext", "convnextv2", "dinov3_convnext", "focalnet", "hiera", "regnet", "resnet", "swin", "swinv2"}
)

_OFFSET = frozenset({"camembert", "data2vec-text", "ibert", "longformer", "luke", "mpnet", "roberta", "xlm-roberta"})
"""Types that count positions from `pad_token_id + 1`, so that the last two rows of their table are out of reach."""

_UNLIMITED = frozenset({"bloom", "mt5", "t5", "transfo-xl", "umt5", "xlnet", "funnel"})
"""Types with relative positions; the number in their configuration is how they were trained, or nothing."""


def facts_of(config: Mapping[str, Any]) -> Facts:
    """What this config.json tells; `model_type` must be there."""
    family = str(config["model_type"])
    modality: Modality = "image" if family in VISION else "audio" if family in HEARS else "text"
    return Facts(
        family=family,
        modality=modality,
        dim=_dim(config),
        layers=_layers(config),
        context=_context(config, family) if modality == "text" else None,
        image_size=_image_size(config) if modality == "image" else None,
    )


def native(family: str, config: Mapping[str, Any]) -> How:
    """How the authors of this model type make one vector of a text."""
    if family == "modernbert":
        return "mean" if config.get("classifier_pooling") == "mean" else "cls"
    if family in POOLER:
        return "pooler"
    if family in CLS:
        return "cls"
    if family in MEAN or config.get("is_encoder_decoder"):
        return "mean"
    return "last"


def _dim(config: Mapping[str, Any]) -> int | None:
    family = config["model_type"]
    if family in ("swin", "swinv2", "focalnet", "hiera") and "embed_dim" in config and "depths" in config:
        return int(config["embed_dim"] * 2 ** (len(config["depths"]) - 1))
    for key in ("hidden_size", "n_embd", "d_model", "dim", "emb_dim"):
        if isinstance(config.get(key), int) and (key != "hidden_size" or family not in _STAGED):
            return int(config[key])
    sizes = config.get("hidden_sizes")
    return int(sizes[-1]) if isinstance(sizes, list) and sizes and family in _STAGED else None


def _layers(config: Mapping[str, Any]) -> int | None:
    family = config["model_type"]
    if family in _STAGED:
        return len(config["depths"]) if isinstance(config.get("depths"), list) else None
    if family == "modernbert" and "num_hidden_layers" not in config:
        return None
    for key in ("num_hidden_layers", "n_layer", "n_layers", "num_layers"):
        if isinstance(config.get(key), int):
            return int(config[key])
    return None


def _context(config: Mapping[str, Any], family: str) -> int | None:
    if family in _UNLIMITED:
        return None
    for key in ("max_position_embeddings", "n_positions", "n_ctx"):
        if isinstance(config.get(key), int) and config[key] > 0:
            size = int(config[key])
            return size - int(config.get("pad_token_id") or 1) - 1 if family in _OFFSET else size
    return None


def _image_size(config: Mapping[str, Any]) -> int | None:
    size = config.get("image_size")
    if isinstance(size, list) and size:
        size = size[0]
    return int(size) if isinstance(size, int) else None
