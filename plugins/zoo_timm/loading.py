"""Weights into timm models, through timm's own filters, but strictly."""

from __future__ import annotations

import dataclasses
import logging
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo import UnknownNameError, WeightsError, WeightsSpec, fetch, read_weights

FILES = ("model.safetensors", "pytorch_model.bin")
"""What timm's hub repositories hold; the first there is taken."""


def create(options: Mapping[str, Any], *, classes: int = 0, overlay: Mapping[str, Any] | None = None) -> Any:
    """A timm model with random weights, or with those that `overlay` brings.

    Args:
        options: "architecture", and where known "tag", "pretrained_cfg" and "model_args".
        classes: outputs of the classifier; 0: none.
        overlay: of timm's pretrained_cfg.

    Raises:
        UnknownNameError: the installed timm has no such architecture.
        WeightsError: it has no such weights, or does not build the architecture so.
    """
    import timm

    architecture = str(options["architecture"])
    if not timm.is_model(architecture):
        raise UnknownNameError(
            "timm architecture", architecture, timm.list_models(), help="another timm release may have it"
        )
    config = options.get("pretrained_cfg") or options.get("tag")
    if isinstance(config, str) and f"{architecture}.{config}" not in timm.models.get_arch_pretrained_cfgs(architecture):
        raise WeightsError(
            f"timm {timm.__version__}, which is installed, has no weights '{config}' for {architecture}",
            help="install a newer timm",
        )
    model_args = dict(options.get("model_args") or {})
    with _quiet():
        try:
            model = timm.create_model(
                architecture,
                pretrained=overlay is not None,
                pretrained_cfg=dict(config) if isinstance(config, Mapping) else config,
                pretrained_cfg_overlay=dict(overlay) if overlay else None,
                num_classes=classes,
                **model_args,
            )
        except (TypeError, ValueError, KeyError, AssertionError) as error:
            if overlay is not None or not model_args:
                raise
            raise WeightsError(
                f"timm {timm.__version__} does not build {architecture} with {model_args}: {error}",
                help="check `model_args` in the folder's config.json, or install a newer timm",
            ) from error
    return model if classes else _without_mixture(model)


def _without_mixture(model: Any) -> Any:
    """Without the shares of EfficientViM's classifiers in its answer: timm keeps them when the classifiers are gone,
    and no feature depends on them."""
    if type(model).__name__ == "EfficientViM":
        for name in ("weights", "weights_dist"):
            if hasattr(model, name):
                delattr(model, name)
    return model


def load_pretrained(options: Mapping[str, Any], weights: WeightsSpec, *, offline: bool = False) -> Any:
    """The architecture with these weights and without its classifier.

    Checkpoints of several formats are known to timm alone, which converts them as it loads. It does not notice
    what is missing once the classifier is dropped; so the whole model is checked first, without memory.

    Raises:
        WeightsError: weights that are missing, damaged or not of this architecture.
    """
    path = _file(weights, offline=offline)
    if path.suffix == ".npz":
        return _from_arrays(options, path)
    state = _unwrapped(read_weights(path))
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{path} holds numbers that are not finite, in {name}", help="fetch it again")
    _check(options, state, path)
    # timm drops the classifier because its size differs from 0.
    return create(options, overlay={**_SOURCES, "state_dict": dict(state), "num_classes": -1})


_SOURCES: Mapping[str, Any] = {"url": None, "file": None, "hf_hub_id": None, "source": None, "label_offset": 0}


def _from_arrays(options: Mapping[str, Any], path: Path) -> Any:
    """From a file of JAX arrays, as Google publishes; timm looks up every array that the model needs."""
    try:
        return create(options, overlay={**_SOURCES, "file": str(path), "custom_load": True})
    except (KeyError, ValueError, RuntimeError, OSError, AssertionError, AttributeError, zipfile.BadZipFile) as error:
        raise _unfit(options, path, str(error)) from error


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefixes that DistributedDataParallel, torch.compile and Lightning put before every name."""
    found = dict(state)
    for prefix in ("module.", "_orig_mod.", "model.", "module."):
        if all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    return found


def _check(options: Mapping[str, Any], state: Mapping[str, Tensor], path: Path) -> None:
    """Assert that the weights are the model's, with a classifier of any size or without one."""
    with torch.device("meta"):
        blank = create(options)
    names = blank.pretrained_cfg.get("classifier") or ()
    names = (names,) if isinstance(names, str) else tuple(names)
    sizes = {state[f"{name}.weight"].shape[0] for name in names if f"{name}.weight" in state}
    usual = int(blank.pretrained_cfg.get("num_classes") or 0)
    problems = []
    for classes in dict.fromkeys((*sizes, usual, 0)):
        problem = _misfit(options, classes, state)
        if problem is None:
            return
        problems.append(problem)
    raise _unfit(options, path, problems[0])


def _unfit(options: Mapping[str, Any], path: Path, problem: str) -> WeightsError:
    import timm

    lines = [line.strip() for line in problem.splitlines() if line.strip()]
    return WeightsError(
        f"the weights at {path} do not fit timm's {options['architecture']} ({timm.__version__})",
        details=[line if len(line) < 300 else line[:300] + " ..." for line in lines[:6]],
        help="check that architecture and weights belong together; `zoo info NAME` shows the ones that do",
    )


def _misfit(options: Mapping[str, Any], classes: int, state: Mapping[str, Tensor]) -> str | None:
    """Why the weights are not those of the model with `classes` outputs; None if they are."""
    for device in ("meta", "cpu"):
        overlay = {**_SOURCES, "state_dict": dict(state), "num_classes": classes}
        try:
            with torch.device(device), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that copying to the meta device does nothing is the point
                create(options, classes=classes, overlay=overlay)
        except (RuntimeError, KeyError, ValueError, AttributeError, AssertionError, NotImplementedError) as error:
            # What converts a foreign format may compute, which the meta device cannot.
            if device == "cpu" or str(error).startswith("Error(s) in loading"):
                return str(error)
        else:
            return None
    return None


def _file(weights: WeightsSpec, *, offline: bool) -> Path:
    kind, _, rest = weights.origin.partition(":")
    if kind == "hub" and ":" not in rest:
        try:
            return fetch(dataclasses.replace(weights, origin=f"{weights.origin}:{FILES[0]}"), offline=offline)
        except WeightsError as error:
            try:
                return fetch(dataclasses.replace(weights, origin=f"{weights.origin}:{FILES[1]}"), offline=offline)
            except WeightsError:
                raise error from None
    return fetch(weights, offline=offline)


@contextmanager
def _quiet() -> Iterator[None]:
    """timm's own remarks on what it drops; what matters is checked and said by zoo."""
    logger = logging.getLogger("timm")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
