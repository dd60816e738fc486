"""A configuration and a file to a model of transformers, strictly: a tensor that is missing is an error."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

import zoo
from zoo import LoadRequest, UsageError, WeightsError
from zoo_transformers.audio_spec import settle
from zoo_transformers.fitting import check_fit, set_aside, state_of
from zoo_transformers.folder import ModelFolder, open_folder

SMALL = ("*.json", "*.txt", "*.model", "bpe.codes")
"""Configuration and tokenizer; enough for random weights."""

_ENCODERS = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
"""Encoder-decoders whose encoder can be had without reading the decoder."""


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
    if not hub:
        return zoo.hub_folder(repo, revision=revision, patterns=SMALL, needed=["config.json"], offline=request.offline)
    # A repository may hold its weights five times over, for five libraries.
    patterns, needed = (*SMALL, "*.safetensors"), ["*.safetensors", "*.bin"]
    path = zoo.hub_folder(repo, revision=revision, patterns=patterns, needed=needed, offline=request.offline)
    if not any(path.glob("*.safetensors")):
        patterns, needed = (*SMALL, "*.bin"), ["*.bin"]
        path = zoo.hub_folder(repo, revision=revision, patterns=patterns, needed=needed, offline=request.offline)
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
            return encoder_of(set_aside(model)), frozenset()
        state = state_of(request, folder)
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
    absent = check_fit(set_aside(model), told, request)
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
    if folder.facts.modality == "audio":
        settle(config)
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


def first_line(error: BaseException) -> str:
    """What an error says, without its tail."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
