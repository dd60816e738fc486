"""A configuration and a file to a model of transformers, strictly: a tensor that is missing is an error."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import zoo
from zoo import Backbone, LoadRequest, UsageError, WeightsError
from zoo_transformers.folder import ModelFolder, open_folder

SMALL = ("*.json", "*.txt", "*.model", "bpe.codes")
"""Configuration and tokenizer; enough for random weights."""

_ENCODERS = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
"""Encoder-decoders whose encoder can be had without reading the decoder."""

_UNUSED_ANYWAY = ("embeddings.mask_token", "mask_emb")
"""Of pretraining alone: no feature depends on them, and published files leave them out at times."""

_LEFT_OVER = (".position_ids", ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias")
_LEFT_OVER_PARTS = ("rotary_emb", "pooler", "relative_position_index", "position_ids")
"""Buffers that older versions saved; they hold nothing learned."""

_PREFIXES = ("module.", "_orig_mod.")


def build(request: LoadRequest) -> Backbone:
    """A backbone of text or image, whichever the configuration turns out to be; for hub ids not seen before."""
    from zoo_transformers import text, vision

    folder = model_folder(request)
    return vision.build(request) if folder.facts.modality == "image" else text.build(request)


def model_folder(request: LoadRequest) -> ModelFolder:
    """The folder with configuration, tokenizer and, where they are asked for, weights.

    Raises:
        WeightsError: not here and not to be had, or no folder of transformers.
    """
    path = request.assets or _path(request)
    folder = open_folder(path)
    if folder is None:
        raise WeightsError(
            f"{path} has no config.json with a model_type, so transformers cannot open it",
            help="give a folder that save_pretrained wrote, or a hub id",
        )
    return folder


def _path(request: LoadRequest) -> Path:
    local = request.spec.options.get("folder")
    if local is not None:
        return Path(str(local))
    repo = str(request.spec.options["repo"])
    weights = request.weights
    hub = weights is not None and weights.origin.startswith("hub:")
    revision = weights.revision if weights is not None else None
    # A repository may hold its weights five times over, for five libraries.
    patterns = (*SMALL, "*.safetensors") if hub else SMALL
    path: Path = zoo.hub_folder(repo, revision=revision, patterns=patterns, offline=request.offline)
    if hub and not any(path.glob("*.safetensors")):
        path = zoo.hub_folder(repo, revision=revision, patterns=(*SMALL, "*.bin"), offline=request.offline)
        if not any(path.glob("*.bin")):
            raise WeightsError(
                f"{repo} is cached without its weights in {path}", help=f"run  hf download {repo}  while connected"
            )
    return path


def open_model(folder: ModelFolder, request: LoadRequest) -> tuple[nn.Module, frozenset[str]]:
    """The bare model in float32, and the names of its parameters that the file did not have (a pooler at most).

    Raises:
        WeightsError: tensors missing, left over, of another shape or not finite; or a type transformers does not know.
    """
    config = _config(folder)
    kind = bare_model_class(config)
    with quiet():
        if request.weights is None or request.assets is not None:
            config.dtype = torch.float32
            model: nn.Module = kind(config)
            return encoder_of(model), frozenset()
        state = _state(request, folder)
        try:
            model, told = kind.from_pretrained(
                None,
                config=config,
                state_dict=state,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                dtype=torch.float32,
            )
        except (RuntimeError, ValueError, KeyError) as error:
            raise WeightsError(f"the weights of {request.spec.name} do not fit: {first_line(error)}") from error
    absent = _checked(model, told, request)
    for parameter in model.parameters():
        # A tensor that lies in its file lies at any address, and sums differ in their last bit with the alignment.
        parameter.data = parameter.data.clone()
    return encoder_of(model), absent


def open_tokenizer(folder: ModelFolder) -> Any:
    """The tokenizer of a folder; code of the repository is never run.

    Raises:
        WeightsError: no tokenizer files, or damaged ones.
    """
    import transformers

    if not folder.tokenizer_files():
        raise WeightsError(
            f"{folder.path} holds no tokenizer", help="copy tokenizer.json (or vocab.txt) beside config.json"
        )
    try:
        with quiet():
            return transformers.AutoTokenizer.from_pretrained(
                str(folder.path), local_files_only=True, trust_remote_code=False
            )
    except Exception as error:
        raise WeightsError(f"the tokenizer in {folder.path} cannot be read: {first_line(error)}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, load reports or warnings of transformers; what matters is raised as an error."""
    from transformers.utils import logging as module

    logging: Any = module
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _config(folder: ModelFolder) -> Any:
    import transformers

    try:
        with quiet():
            config = transformers.AutoConfig.from_pretrained(
                str(folder.path), local_files_only=True, trust_remote_code=False
            )
    except Exception as error:
        raise WeightsError(
            f"transformers {transformers.__version__} cannot open {folder.path}: {first_line(error)}",
            help="models that bring their own code are not run; a newer transformers may know this type",
        ) from error
    if folder.facts.family == "vit_mae":
        config.mask_ratio = 0.0  # Nothing is hidden outside of pretraining.
    return config


def bare_model_class(config: Any) -> Any:
    """The class without a head that AutoModel would take; of encoder-decoders the encoder alone where there is one."""
    import transformers

    if config.model_type in _ENCODERS:
        return getattr(transformers, _ENCODERS[config.model_type])
    try:
        found: Any = transformers.MODEL_MAPPING[type(config)]
    except KeyError:
        raise UsageError(
            f"transformers has no bare model for the type {config.model_type}",
            help="zoo serves those that AutoModel opens",
        ) from None
    if isinstance(found, tuple):
        named = [each for each in found if each.__name__ in (config.architectures or [])]
        return (named or list(found))[0]
    return found


def encoder_of(model: Any) -> nn.Module:
    """The encoder of an encoder-decoder; any other model as it is."""
    if getattr(model.config, "is_encoder_decoder", False) and hasattr(model, "get_encoder"):
        inner = model.get_encoder()
        assert isinstance(inner, nn.Module)
        return inner
    assert isinstance(model, nn.Module)
    return model


def _state(request: LoadRequest, folder: ModelFolder) -> dict[str, Tensor]:
    assert request.weights is not None
    origin = request.weights.origin
    files = folder.weight_files()
    if origin.startswith("file:") and (path := Path(origin.removeprefix("file:"))) != folder.path.resolve():
        inner = open_folder(path) if path.is_dir() else None
        files = [path] if inner is None else inner.weight_files()
    if not files:
        raise WeightsError(
            f"{folder.path} holds no weights (model.safetensors or pytorch_model.bin)",
            help=f"add them, or take random ones: {request.spec.name}@random",
        )
    state: dict[str, Tensor] = {}
    for file in files:
        state |= zoo.read_weights(file)
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _checked(model: nn.Module, told: Mapping[str, Any], request: LoadRequest) -> frozenset[str]:
    """The missing names that may be missing, after everything else has been found in order."""
    missing = sorted(str(name) for name in told["missing_keys"])
    mismatched = [each if isinstance(each, tuple) else (each,) for each in told["mismatched_keys"]]
    pooler = {name for name, _ in model.named_parameters() if _of_pooler(name)}
    absent = {name for name in missing if name in pooler}
    lost = [name for name in missing if name not in absent and name not in _UNUSED_ANYWAY]
    if absent and absent != pooler:
        lost += sorted(absent)
    left = _homeless(model, [str(name) for name in told["unexpected_keys"]])
    broken = [name for name, each in model.named_parameters() if not bool(torch.isfinite(each).all())]
    problems = [
        *_listed("missing", lost),
        *[f"{each[0]} has shape {tuple(each[1])}, not {tuple(each[2])}" for each in mismatched[:5] if len(each) == 3],
        *_listed("of another shape", [str(each[0]) for each in mismatched if len(each) != 3]),
        *_listed("without a place in this configuration", left),
        *_listed("not finite", broken),
    ]
    if problems:
        raise WeightsError(
            f"the weights do not fit {request.spec.name} ({type(model).__name__})",
            details=problems,
            help="check that config.json and the weights belong together, or fetch them again",
        )
    return frozenset(absent)


def _of_pooler(name: str) -> bool:
    return name.startswith("pooler.") or ".pooler." in name


def _homeless(model: nn.Module, unexpected: list[str]) -> list[str]:
    """Left-over tensors that lie inside the model itself, as of blocks beyond the last: not a source head's."""
    base = str(getattr(model, "base_model_prefix", ""))
    own = {name for name, child in model.named_children() if any(True for _ in child.parameters())}
    inside = []
    for name in unexpected:
        if name.endswith((*_LEFT_OVER, *_UNUSED_ANYWAY)) or any(part in name for part in _LEFT_OVER_PARTS):
            continue
        bare = name.removeprefix(f"{base}.") if base else name
        if bare.partition(".")[0] in own:
            inside.append(name)
    return inside


def _listed(what: str, names: list[str]) -> list[str]:
    if not names:
        return []
    return [f"{len(names)} tensors {what}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"]


def first_line(error: BaseException) -> str:
    """What an error says, without its tail."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
