"""Any module as a backbone: a user's own network, in memory or in a local file."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from zoo.catalog.spec import BackboneSpec, ImagePreprocess, LoadRequest, Modality, Preprocess, WeightsSpec
from zoo.errors import PluginError, UsageError
from zoo.models.backbone import Backbone, Inputs, Processor, Stage
from zoo.models.features import Features

if TYPE_CHECKING:
    from collections.abc import Iterator

Stages = Mapping[str, Sequence[str]]
"""Stage name to the names of the modules or parameters in it, in run order."""


def wrap(
    module: nn.Module,
    *,
    head: str | None = None,
    tokens: str | None = None,
    dim: int | None = None,
    stages: Stages | None = None,
    preprocess: ImagePreprocess | None = None,
    processor: Processor | None = None,
    modality: Modality = "image",
    checkpoint: str | Path | None = None,
    name: str = "local/module",
) -> Backbone:
    """Your own module as a backbone.

    Args:
        module: its output is (B, D), (B, D, H, W), (B, T, D) or `Features`; for "image" it is called with the pixels,
            for other modalities with the processor's tensors by keyword.
        head: name of the submodule that makes the source task's outputs, such as "fc"; it is left out.
        tokens: name of the submodule whose output is the spatial map or the tokens, such as "layer3".
        dim: D of the pooled vector; measured on a blank image if None.
        stages: the stages in run order; the children in the order in which they run if None.
        preprocess: how an image becomes a tensor.
        processor: for texts, or for images that no `ImagePreprocess` describes.
        checkpoint: a state dict of the whole module, head included or not.
        name: shown in tables and runs.

    Raises:
        UsageError: neither `preprocess` nor `processor`, or a submodule that does not exist.
        WeightsError: a checkpoint that is not of this module.
    """
    if processor is None and preprocess is None:
        raise UsageError(
            "zoo.wrap needs to know how an input becomes a tensor",
            help="give preprocess=zoo.ImagePreprocess(size=(224, 224)) for images, or a processor",
        )
    weights = None
    if checkpoint is not None:
        weights = _load_checkpoint(module, Path(checkpoint), head)
    return Wrapped(module, head, tokens, dim, stages, preprocess, processor, modality, name, weights)


class Wrapped(Backbone):
    """What `wrap` returns."""

    def __init__(
        self,
        module: nn.Module,
        head: str | None,
        tokens: str | None,
        dim: int | None,
        stages: Stages | None,
        preprocess: ImagePreprocess | None,
        processor: Processor | None,
        modality: Modality,
        name: str,
        weights: WeightsSpec | None,
    ) -> None:
        super().__init__()
        if head is not None:
            _submodule(module, head)
            parent, _, leaf = head.rpartition(".")
            setattr(module.get_submodule(parent), leaf, nn.Identity())
        self.module = module
        self.tokens_from = tokens
        if tokens is not None:
            _submodule(module, tokens)
        self.modalities = (modality,)
        self.modality: Modality = modality
        self.preprocess = preprocess
        self.own_processor = processor
        self.name = name
        order, self.dim = _dry_run(self, preprocess, dim)
        self._stages = _by_name(module, stages) if stages is not None else _by_run_order(module, order)
        self.check_stages()
        source, _, architecture = name.partition("/")
        values: dict[Modality, Preprocess] = {modality: preprocess} if preprocess is not None else {}
        self.spec = BackboneSpec(
            source=source,
            architecture=architecture or source,
            factory="zoo.models.wrap:wrap",
            modalities=(modality,),
            family=type(module).__name__.lower(),
            dim=self.dim,
            params=sum(p.numel() for p in module.parameters()),
            stages=tuple(stage.name for stage in self._stages),
            image_size=preprocess.size[0] if preprocess else None,
            preprocess=values,
            weights=(weights,) if weights else (),
        )
        self.weights = weights
        self.eval()

    def forward(self, batch: Inputs) -> Features:
        """Features from whatever the module returns."""
        tensors = batch[self.modality]
        with _captured(self.module, self.tokens_from) as captured:
            out = self.module(tensors["pixels"]) if self.modality == "image" else self.module(**tensors)
        if isinstance(out, Features):
            return out
        if not isinstance(out, Tensor):
            raise UsageError(
                f"the module returned a {type(out).__name__}, and zoo.wrap takes a tensor or zoo.Features",
                help="wrap a small module of your own that calls it and returns the tensor",
            )
        mask = tensors.get("mask")
        token_map = captured[0] if captured else out
        if token_map.ndim == 4:  # (B, D', H, W) -> (B, H*W, D')
            height, width = token_map.shape[2:]
            found, grid = token_map.flatten(2).transpose(1, 2), (height, width)
        else:
            found, grid = (token_map if token_map.ndim == 3 else token_map.unsqueeze(1)), None
        if mask is not None and mask.shape[1] != found.shape[1]:
            mask = None
        return Features(pooled=_pooled(out, mask), tokens=found, mask=mask, grid=grid)

    def stages(self) -> Sequence[Stage]:
        return self._stages

    def processor(self, modality: Modality) -> Processor:
        if self.own_processor is not None:
            return self.own_processor
        from zoo.data.transforms import ImageProcessor

        assert self.preprocess is not None
        return ImageProcessor(self.preprocess)


def build_local(request: LoadRequest) -> Backbone:
    """The backbone that a function in a user's own file returns: `local:path/to/file.py:function`.

    Raises:
        PluginError: the file or function is missing, or returns no Backbone.
    """
    path, function = Path(str(request.spec.options["path"])), str(request.spec.options["function"])
    if function.endswith(".py"):
        raise PluginError(
            f"'local:{function}' names no function of that file", help="write `local:path/to/file.py:function`"
        )
    backbone = getattr(_import_file(path), function, None)
    if backbone is None:
        raise PluginError(f"{path} has no function '{function}'", help="write `local:file.py:function`")
    built = backbone()
    if not isinstance(built, Backbone):
        raise PluginError(
            f"{function}() of {path} returned a {type(built).__name__}, no Backbone",
            help="return zoo.wrap(module, ...) from it",
        )
    if request.weights is not None and request.weights.origin.startswith("file:"):
        from zoo.models.weights import fetch, load_state, read_weights

        state = read_weights(fetch(request.weights, offline=request.offline))
        inner = built.module if isinstance(built, Wrapped) else built
        load_state(inner, state, unused=_gone(inner))
        built.weights = request.weights
    # Rebuilt from the file, not from the module that this call happened to make.
    built.spec = replace(built.spec, factory=request.spec.factory, options=request.spec.options)
    return built


def _load_checkpoint(module: nn.Module, path: Path, head: str | None) -> WeightsSpec:
    from zoo.models.weights import load_state, read_weights

    source_head = [f"{head}.*"] if head else []
    load_state(module, read_weights(path), optional=source_head, unused=source_head)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return WeightsSpec(tag="file", origin=f"file:{path.resolve()}", sha256=digest, size=path.stat().st_size)


def _gone(module: nn.Module) -> list[str]:
    """Patterns of the tensors in a file that belonged to a source head: the module has nothing in its place now."""
    return [f"{name}.*" for name, child in module.named_modules() if name and isinstance(child, nn.Identity)]


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise PluginError(f"there is no Python file at {path}", help="write `local:path/to/file.py:function`")
    # A name of its own: a user's `random.py` must not stand in for the standard library's.
    name = f"zoo_local_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} is no Python file", help="write `local:path/to/file.py:function`")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))  # its neighbours, as when it is run
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


def _submodule(module: nn.Module, name: str) -> nn.Module:
    try:
        return module.get_submodule(name)
    except AttributeError:
        known = ", ".join(n for n, _ in module.named_children())
        raise UsageError(f"the module has no submodule '{name}'", help=f"its children are {known}") from None


@contextmanager
def _captured(module: nn.Module, name: str | None) -> Iterator[list[Tensor]]:
    box: list[Tensor] = []
    if name is None:
        yield box
        return
    handle = module.get_submodule(name).register_forward_hook(lambda _m, _i, out: box.append(out))
    try:
        yield box
    finally:
        handle.remove()


def _pooled(out: Tensor, mask: Tensor | None) -> Tensor:
    if out.ndim == 4:
        return out.mean((2, 3))
    if out.ndim == 3:
        from zoo.models.features import pool

        return pool(out, mask, "mean")
    return out


def _dry_run(backbone: Wrapped, preprocess: ImagePreprocess | None, dim: int | None) -> tuple[list[str], int]:
    """The children in the order in which they run, and the pooled dimension, from one blank image."""
    module = backbone.module
    children = [name for name, _ in module.named_children()]
    if preprocess is None:
        if dim is None:
            raise UsageError("zoo.wrap cannot measure the dimension without an ImagePreprocess", help="give dim=")
        return children, dim
    order: list[str] = []
    handles = [child.register_forward_pre_hook(_note(order, name)) for name, child in module.named_children()]
    module.eval()
    blank = torch.zeros(1, len(preprocess.mean), *preprocess.size)
    try:
        with torch.no_grad():
            pooled = backbone({"image": {"pixels": blank}}).pooled
    finally:
        for handle in handles:
            handle.remove()
    if pooled.ndim != 2 or (dim is not None and dim != pooled.shape[1]):
        raise UsageError(f"the module's pooled output has shape {tuple(pooled.shape)}, dim={dim} was given")
    return order + [name for name in children if name not in order], int(pooled.shape[1])


def _note(order: list[str], name: str) -> Callable[..., None]:
    def hook(*_: object) -> None:
        if name not in order:
            order.append(name)

    return hook


def _by_run_order(module: nn.Module, order: Sequence[str]) -> list[Stage]:
    loose = tuple(module.parameters(recurse=False))
    stages: list[Stage] = []
    for name in order:
        child = module.get_submodule(name)
        # A child without parameters (a ReLU, a pool) belongs to the stage before it.
        if stages and not any(True for _ in child.parameters()):
            last = stages[-1]
            stages[-1] = Stage(last.name, (*last.modules, child), last.loose)
        else:
            stages.append(Stage(name, (child,)))
    if not stages:
        return [Stage("module", (module,))]
    if loose:
        stages[0] = Stage(stages[0].name, stages[0].modules, loose)
    return stages


def _by_name(module: nn.Module, stages: Stages) -> list[Stage]:
    parameters = dict(module.named_parameters())
    built = []
    for name, members in stages.items():
        modules = tuple(_submodule(module, each) for each in members if each not in parameters)
        built.append(Stage(name, modules, tuple(parameters[each] for each in members if each in parameters)))
    return built
