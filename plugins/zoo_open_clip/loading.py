"""Configurations to towers, and weights into them: by open_clip's own conversions, but strictly."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

import zoo
from zoo import LoadRequest, Modality, UnknownNameError, UsageError, WeightsError, WeightsSpec
from zoo_open_clip.config import CONFIG, ModelConfig, read_config
from zoo_open_clip.listing import WEIGHT_FILES

TEXT_MODEL, TOKENIZER = "text_model", "tokenizer"
"""Folders beside the configuration in a run's assets."""

_NO_IMAGES: Mapping[str, Any] = {"layers": 1, "width": 64, "patch_size": 1, "image_size": 1}
_NO_TEXTS: Mapping[str, Any] = {"layers": 1, "width": 1, "heads": 1, "vocab_size": 1, "context_length": 1}
"""The smallest towers there are, in place of one that nobody asked for."""

_TOKENIZER_FILES = ("*.json", "*.txt", "*.model")
_VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model")

_RENAMED_TEXT = ("text_projection", "positional_embedding", "token_embedding", "transformer", "ln_final")
"""Where the text tower lies bare in the model, as in OpenAI's; elsewhere it is called `text`."""


class Towers(NamedTuple):
    """What was asked for of a dual encoder."""

    visual: nn.Module | None
    text: nn.Module | None
    logit_scale: Tensor
    """Logarithm of the factor on cosines."""
    logit_bias: Tensor | None


def config_of(request: LoadRequest) -> ModelConfig:
    """The configuration of what is asked for: of a finished run, of a folder, of a hub repository or of open_clip.

    Raises:
        WeightsError: it cannot be read or fetched.
        UnknownNameError: the installed open_clip does not have the architecture.
    """
    import open_clip

    options, weights = request.spec.options, request.weights
    if request.assets is not None and (request.assets / CONFIG).is_file():
        return read_config(request.assets / CONFIG)
    if "folder" in options:
        return read_config(Path(str(options["folder"])) / CONFIG)
    if "repo" in options:
        revision = weights.revision if weights is not None else None
        origin = f"hub:{options['repo']}:{CONFIG}"
        return read_config(zoo.fetch(WeightsSpec("", origin, revision=revision), offline=request.offline))
    architecture = request.spec.architecture
    model = open_clip.get_model_config(architecture)
    if model is None:
        raise UnknownNameError(
            "open_clip architecture", architecture, open_clip.list_models(), help="a newer open_clip may have it"
        )
    config = ModelConfig(model)
    # A file tells nothing of its activation: there the name of the architecture decides, as in open_clip.
    tagged = weights is not None and weights.tag != "file" and bool(weights.options.get("quick_gelu"))
    return config.with_quick_gelu() if tagged else config


def construct(config: ModelConfig, towers: Sequence[Modality]) -> Towers:
    """The towers with random weights.

    Raises:
        UsageError: the configuration asks for what the installed open_clip and timm do not know.
    """
    import open_clip

    vision = {**config.vision, "output_tokens": True, "timm_model_pretrained": False}
    text = {**config.text, "output_tokens": True, "hf_model_pretrained": False}
    _check_timm(vision.get("timm_model_name"))
    model = config.model
    known = {
        key: model[key]
        for key in ("quick_gelu", "init_logit_scale", "init_logit_bias", "nonscalar_logit_scale")
        if key in model
    }
    try:
        both = open_clip.CustomTextCLIP(
            embed_dim=model["embed_dim"],
            vision_cfg=vision if "image" in towers else dict(_NO_IMAGES),
            text_cfg=text if "text" in towers else dict(_NO_TEXTS),
            **known,
        )
    except (TypeError, KeyError, AssertionError, ValueError) as error:
        raise UsageError(
            f"open_clip cannot build this configuration: {error}", help="a newer open_clip may know it"
        ) from error
    bias = both.logit_bias
    return Towers(
        both.visual if "image" in towers else None,
        both.text if "text" in towers else None,
        both.logit_scale.detach().reshape(()).clone(),
        None if bias is None else bias.detach().reshape(()).clone(),
    )


def with_text_model(config: ModelConfig, *, offline: bool) -> ModelConfig:
    """The configuration with a local folder for the text model of transformers, whose own configuration it needs."""
    name = config.text.get("hf_model_name")
    if not name:
        return config
    local = _beside(config, TEXT_MODEL, str(name))
    if local is None:
        local = zoo.hub_folder(str(name), patterns=["config.json"], needed=["config.json"], offline=offline)
    return config.with_text(hf_model_name=str(local))


def tokenizer_folder(config: ModelConfig, *, offline: bool) -> Path | None:
    """Where the files of a tokenizer of transformers lie; None for the one inside open_clip.

    Raises:
        WeightsError: not cached, and the hub is not to be reached.
    """
    name = config.text.get("hf_tokenizer_name")
    if not name:
        return None
    if config.folder is not None and not (config.folder / TOKENIZER).is_dir() and tokenizer_files(config.folder):
        return config.folder
    local = _beside(config, TOKENIZER, str(name))
    if local is not None:
        return local
    try:
        return zoo.hub_folder(str(name), patterns=_TOKENIZER_FILES, needed=_VOCABULARIES, offline=offline)
    except WeightsError as error:
        wanted = " ".join(f"--include '{pattern}'" for pattern in _TOKENIZER_FILES)
        raise WeightsError(
            f"texts need a tokenizer that comes from the hub, and {error.what}",
            details=error.details,
            help=f"on a connected machine run  hf download {name} {wanted}  and copy the cache, set HF_ENDPOINT for a "
            "mirror, or load the image tower alone (:image), which needs no tokenizer",
        ) from error


def tokenizer_files(folder: Path) -> list[Path]:
    """The files that a tokenizer is read from; none if the folder has no vocabulary."""
    vocabulary = {path for pattern in _VOCABULARIES for path in folder.glob(pattern)}
    if not vocabulary:
        return []
    more = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt", "config.json")
    return sorted(vocabulary | {folder / name for name in more if (folder / name).is_file()})


def weights_file(weights: WeightsSpec, *, offline: bool) -> Path:
    """The local file of these weights; of a hub repository the one that open_clip would take."""
    kind, _, rest = weights.origin.partition(":")
    if kind == "hub":
        repo, _, named = rest.partition(":")
        stem = named.rpartition(".")[0]
        names = (f"{stem}.safetensors", named) if stem and not named.endswith(".safetensors") else (named,)
        return _first(weights, repo, names if named else (WEIGHT_FILES[0], WEIGHT_FILES[2]), offline=offline)
    path = zoo.fetch(weights, offline=offline)
    if path.is_dir():
        return next((path / name for name in WEIGHT_FILES if (path / name).is_file()), path)
    return path


def load_weights(model: nn.Module, path: Path) -> None:
    """Weights into a module with `visual`, `text` or both, and `logit_scale`; what belongs to others is left out.

    Raises:
        WeightsError: weights that are damaged or not of this architecture.
    """
    state = _converted(zoo.read_weights(path))
    held: Any = model
    visual, text = held.visual, held.text
    for name in ("logit_scale", "logit_bias"):
        if name in state and state[name].numel() == 1:
            state[name] = state[name].reshape(())
    with _quiet_root():
        if visual is not None:
            _fit_image_positions(held, state)
        if text is not None:
            _fit_text_positions(held, state)
    unused = ["logit_*", "text_decoder.*", "*attn_mask", "*.embeddings.position_ids"]
    unused += [] if visual is not None else ["visual.*"]
    unused += [] if text is not None else ["text.*"]
    zoo.load_state(model, state, optional=["logit_bias"], unused=unused)


def _first(weights: WeightsSpec, repo: str, names: Sequence[str], *, offline: bool) -> Path:
    failure: WeightsError | None = None
    for name in names:
        try:
            return zoo.fetch(dataclasses.replace(weights, origin=f"hub:{repo}:{name}"), offline=offline)
        except WeightsError as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _converted(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names as open_clip's `CustomTextCLIP` has them."""
    found = dict(state)
    if found and all(name.startswith("module.") for name in found):
        found = {name.removeprefix("module."): tensor for name, tensor in found.items()}
    if not any(name.startswith("text.") for name in found):
        found = {f"text.{k}" if k.startswith(_RENAMED_TEXT) else k: tensor for k, tensor in found.items()}
    return found


def _fit_image_positions(model: Any, state: dict[str, Tensor]) -> None:
    """Positions of another image size, as open_clip fits them."""
    from open_clip.model import resize_pos_embed

    name = "visual.positional_embedding"
    own, given = getattr(model.visual, "positional_embedding", None), state.get(name)
    if own is None or given is None or given.ndim != 2 or given.shape[1] != own.shape[1]:
        return
    if math.isqrt(len(given) - 1) ** 2 == len(given) - 1:
        state[name] = given.float()
        resize_pos_embed(state, model)


def _fit_text_positions(model: Any, state: dict[str, Tensor]) -> None:
    """Positions of another context length, as open_clip fits them."""
    from open_clip.model import resize_text_pos_embed

    name = "text.positional_embedding"
    own, given = getattr(model.text, "positional_embedding", None), state.get(name)
    if own is not None and given is not None and given.ndim == 2 and given.shape[1] == own.shape[1]:
        state[name] = given.float()
        resize_text_pos_embed(state, model)


def _beside(config: ModelConfig, kept: str, name: str) -> Path | None:
    """A folder that a run kept, or that the configuration names by its path."""
    if config.folder is not None:
        for candidate in (config.folder / kept, config.folder / name):
            if candidate.is_dir():
                return candidate
    given = Path(name).expanduser()
    return given if given.is_absolute() and given.is_dir() else None


def _check_timm(name: Any) -> None:
    if name is None:
        return
    import timm

    if not timm.is_model(str(name)):
        raise UsageError(
            f"timm {timm.__version__}, which is installed, has no model '{name}'",
            help="this image tower is one of timm; install a newer timm",
        )


@contextmanager
def _quiet_root() -> Iterator[None]:
    """open_clip logs through the root logger, which thereby gets a handler that nobody asked for."""
    handlers = logging.root.handlers[:]
    try:
        yield
    finally:
        logging.root.handlers[:] = handlers
