"""The first stages of a backbone as a backbone of its own: what comes after them is cut out."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.catalog.spec import Modality
from zoo.catalog.structure import count_kept
from zoo.errors import PluginError, UsageError
from zoo.models.backbone import Backbone, Inputs, Processor, Stage
from zoo.models.features import Features, Pooling, pool
from zoo.models.pyramid import Layout, Probe, as_map, proportional
from zoo.models.taps import blank_inputs, first_tensor


class Truncated(Backbone):
    """The first stages of a backbone; nothing after them is computed or held.

    Pooled features are the mean over the tokens of the last kept stage, of real ones alone; tokens are its map, or
    its states at every word. How these features differ with depth: Yosinski et al. 2014,
    https://arxiv.org/abs/1411.1792.

    Args:
        inner: the whole backbone, which is changed.
        keep: how many stages stay: "3", "-1" for all but the last, or the name of the last that stays.

    Raises:
        UnknownNameError: no stage has that name.
        UsageError: none would stay, or all; or a backbone whose stages do not run one after another.
    """

    def __init__(self, inner: Backbone, keep: str) -> None:
        super().__init__()
        stages = inner.stages()
        name = inner.name or inner.spec.name
        if len({stage.branch for stage in stages}) > 1:
            raise UsageError(
                f"{name} has parts side by side, and [:{keep}] does not say which is cut",
                help="cut each by itself, as in a:image[:3] or a[:3]+b",
            )
        self.kept = count_kept([stage.name for stage in stages], keep, name)
        kept, dropped = stages[: self.kept], stages[self.kept :]
        self.modalities = inner.modalities
        self.name, self.weights = inner.name, inner.weights
        tap = _Tap.find(inner, kept, dropped)
        places = {id(module): path for path, module in inner.named_modules()}
        loose = {id(parameter): path for path, parameter in inner.named_parameters()}
        # By name: what stands in a place may be replaced, as LoRA does it.
        self._stages = tuple(
            (
                stage.name,
                tuple(places[id(module)] for module in stage.modules if module not in tap.late),
                tuple(loose[id(parameter)] for parameter in stage.loose),
                stage.branch,
            )
            for stage in kept
        )
        self._place, self._call, self._reading = places[id(tap.module)], tap.call, tap.reading
        self._answer = tap.answer
        self._network = places[id(tap.network)] if tap.answer is not None else ""
        _cut(inner, dropped, tap.late)
        self.inner = inner
        self.pooling = "native"
        self.check_stages()
        self.dim = self._measured()
        self.spec = inner.spec

    @property
    def pooling(self) -> Pooling:
        """How tokens become one vector; "native" is their mean."""
        return self._pooling

    @pooling.setter
    def pooling(self, how: Pooling) -> None:
        self._pooling: Pooling = how
        if self._answer is not None and hasattr(self.inner, "pooling"):
            # What the weights' authors do with the last stage says nothing of this one.
            setattr(self.inner, "pooling", "mean" if how == "native" else how)  # noqa: B010  (declared by each adapter)

    def forward(self, batch: Inputs) -> Features:
        """Features of the last kept stage."""
        if self._answer is None:
            return self._reading.features(self._until(self.inner, batch), batch, self.pooling)
        network = self.inner.get_submodule(self._network)
        inside = network.forward

        def answering(*given: Any, **named: Any) -> Any:
            # Called past the hooks of the network, which are those of this very call.
            return self._reading.output(self._until(inside, *given, **named), self._answer)

        network.forward = answering
        try:
            found: Features = self.inner(batch)
        finally:
            network.__dict__.pop("forward")
        if hasattr(self.inner, "pooling"):
            return found
        how = "mean" if self.pooling == "native" else self.pooling
        return replace(found, pooled=pool(found.tokens, found.mask, how))

    def stages(self) -> Sequence[Stage]:
        """The kept ones."""
        return [
            Stage(
                name,
                tuple(self.inner.get_submodule(path) for path in modules),
                tuple(self.inner.get_parameter(path) for path in loose),
                branch,
            )
            for name, modules, loose, branch in self._stages
        ]

    def processor(self, modality: Modality) -> Processor:
        return self.inner.processor(modality)

    def check_row(self, row: Mapping[Modality, Any]) -> None:
        self.inner.check_row(row)

    def save_assets(self, folder: Path) -> None:
        self.inner.save_assets(folder)

    def _until(self, run: Callable[..., Any], *given: Any, **named: Any) -> Tensor:
        """What the last kept module gives while this runs."""
        left = self._call

        def end(_: nn.Module, __: Any, out: Any) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise _Reached(self, out)

        # Set anew for each batch, so that it is the last of the hooks of that module: others see its output too.
        handle = self.inner.get_submodule(self._place).register_forward_hook(end)
        try:
            run(*given, **named)
        except _Reached as reached:
            if reached.args[0] is not self:  # a backbone that was cut twice
                raise
            found = first_tensor(reached.args[1])
            assert found is not None
            return found
        finally:
            handle.remove()
        raise PluginError(f"{self.name or self.inner.spec.name} ran without its stage '{self._stages[-1][0]}'")

    def _measured(self) -> int:
        """D of the pooled vector.

        Raises:
            UsageError: it does not run without its later stages.
        """
        try:
            with torch.no_grad():
                return int(self.eval()(blank_inputs(self)).pooled.shape[1])
        except (AttributeError, TypeError, ValueError, RuntimeError, PluginError) as error:
            why = error.what if isinstance(error, PluginError) else (str(error).splitlines() or [""])[0]
            raise UsageError(
                f"{self.inner.spec.name} does not run without the stages after '{self._stages[-1][0]}': {why}",
                help="keep more stages, or choose another backbone",
            ) from error


class _Reached(BaseException):
    """The end of the kept stages; no `Exception`, for a network may catch those for reasons of its own."""


class _Gone(nn.Module):
    """In the place of what was cut out."""

    def forward(self, *_: Any, **__: Any) -> Any:
        raise PluginError("one of them is called before the others end")


@dataclass(frozen=True)
class _Reading:
    """How the output of the last kept stage becomes tokens."""

    layout: Layout | None
    """Of image tokens; None: (B, T, D) as they are."""
    prefix: int = 0
    """Tokens before the patches, such as a class token."""
    turned: bool = False
    """Words come first, (T, B, D)."""

    def output(self, out: Tensor, kind: Any) -> Any:
        """As the network returns its last hidden state."""
        return kind(last_hidden_state=out.transpose(0, 1) if self.turned else out)

    def features(self, out: Tensor, batch: Inputs, pooling: Pooling) -> Features:
        """Tokens with their grid or mask, and their mean unless another pooling is asked for."""
        how = "mean" if pooling == "native" else pooling
        if self.layout is not None:
            pixels = batch["image"]["pixels"]
            size = (pixels.shape[2], pixels.shape[3])
            grid = proportional(out.shape[1] - self.prefix, size) if self.layout == "patches" else None
            spatial = as_map(out, self.layout, grid, size)  # (B, C, H, W)
            tokens = spatial.flatten(2).transpose(1, 2)
            first = out[:, 0] if self.prefix else None
            pooled = first if how == "cls" and first is not None else pool(tokens, None, how)
            return Features(pooled, tokens, grid=(spatial.shape[2], spatial.shape[3]))
        tokens = out.transpose(0, 1) if self.turned else out
        mask = batch["text"].get("mask") if "text" in batch else None
        mask = mask if mask is not None and mask.shape == tokens.shape[:2] else None
        return Features(pool(tokens, mask, how), tokens, mask=mask)


@dataclass(frozen=True)
class _Tap:
    """Where the kept stages end."""

    module: nn.Module
    call: int
    """Its how-many-eth call it is: a module may run several times."""
    reading: _Reading
    network: nn.Module
    """The outermost module around it that the adapter calls."""
    answer: Any
    """The type of that network's output where it holds a last hidden state: put there, the output of a stage is read
    by the adapter as it reads that of the last. None: it is read here."""
    late: frozenset[nn.Module]
    """Modules of the kept stages that first run after the end, as a last norm that stands beside the embeddings."""

    @classmethod
    def find(cls, inner: Backbone, kept: Sequence[Stage], dropped: Sequence[Stage]) -> _Tap:
        """The last output of anything in the kept stages before anything of the others begins, seen in a dry run."""
        inside = {m for stage in kept for top in stage.modules for m in top.modules()}
        beyond = {m for stage in dropped for top in stage.modules if _holds(top) for m in top.modules()} - inside
        batch = blank_inputs(inner, rows=2)
        seen = _Seen(inside, beyond)
        was_training = inner.training
        with seen.watching(inner), torch.no_grad():
            whole: Features = inner.eval()(batch)
        inner.train(was_training)
        if not seen.outputs or not seen.ended:
            raise UsageError(
                f"the stages of {inner.name or inner.spec.name} up to '{kept[-1].name}' give no tokens or map",
                help="keep more stages",
            )
        module, out, network = seen.outputs[-1]
        call = sum(each is module and around is network for each, _, around in seen.outputs)
        answer = seen.answers.get(network)
        if answer is not None:
            last = answer.last_hidden_state
            turned = out.shape[:2] == last.shape[1::-1] != last.shape[:2]
            reading, kind = _Reading(None, turned=turned), type(answer)
        else:
            reading, kind = _reading(inner, out, whole, batch), None
        late = frozenset(each for each in (seen.after & inside) - seen.begun if _holds(each))
        return cls(module, call, reading, network, kind, late)


class _Seen:
    """What ran in a dry run, up to the first call of anything beyond the kept stages."""

    def __init__(self, inside: set[nn.Module], beyond: set[nn.Module]) -> None:
        self.inside, self.beyond = inside, beyond
        self.ended = False
        self.begun: set[nn.Module] = set()
        self.after: set[nn.Module] = set()
        """What ran before the end, and what began after it."""
        self.outputs: list[tuple[nn.Module, Tensor, nn.Module]] = []
        """Module, output, outermost module around it."""
        self.answers: dict[nn.Module, Any] = {}
        """What outermost modules returned that hold a last hidden state."""
        self._running: list[nn.Module] = []

    @contextmanager
    def watching(self, inner: nn.Module) -> Iterator[None]:
        """Watch every module below this one."""
        modules = [module for module in inner.modules() if module is not inner]
        handles = [module.register_forward_pre_hook(self._begin) for module in modules]
        handles += [module.register_forward_hook(self._end) for module in modules]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _begin(self, module: nn.Module, _: Any) -> None:
        self._running.append(module)
        self.ended = self.ended or module in self.beyond
        (self.after if self.ended else self.begun).add(module)

    def _end(self, module: nn.Module, _: Any, out: Any) -> None:
        around = self._running[0]
        self._running.pop()
        tensor = first_tensor(out)
        if not self.ended and module in self.inside and tensor is not None and tensor.ndim in (3, 4):
            self.outputs.append((module, tensor, around))
        if not self._running and isinstance(getattr(out, "last_hidden_state", None), Tensor):
            self.answers.setdefault(module, out)


def _reading(inner: Backbone, out: Tensor, whole: Features, batch: Inputs) -> _Reading:
    """How an output lies, by what the whole backbone makes of the same batch."""
    rows = len(whole.pooled)
    pixels = batch["image"].get("pixels") if "image" in batch else None
    if pixels is not None and pixels.ndim == 4:
        if out.ndim == 4:
            return _Reading(Probe(inner).last if whole.grid is not None else "NCHW")
        size = (pixels.shape[2], pixels.shape[3])
        prefix = out.shape[1] - math.prod(whole.grid) if whole.grid is not None else -1
        if whole.grid is not None and 0 <= prefix <= 16 and proportional(math.prod(whole.grid), size) == whole.grid:
            return _Reading("patches", prefix)
        return _Reading("tokens" if proportional(out.shape[1], size) is not None else None)
    if out.ndim == 4:
        raise UsageError(
            f"a stage of {inner.name or inner.spec.name} gives a map of {tuple(out.shape[1:])}, and no tokens",
            help="keep more stages",
        )
    mask = batch["text"].get("mask") if "text" in batch else None
    turned = out.shape[0] != rows or (mask is not None and out.shape[1] != mask.shape[1] and out.shape[1] == rows)
    if turned and out.shape[1] != rows:
        raise UsageError(f"a stage of {inner.name or inner.spec.name} gives no row for each input")
    return _Reading(None, turned=turned)


def _cut(inner: nn.Module, dropped: Sequence[Stage], late: Collection[nn.Module]) -> None:
    """Take every module of these stages that holds tensors out of its place, and their loose parameters too."""
    gone = {id(module) for stage in dropped for module in stage.modules if _holds(module)} | set(map(id, late))
    loose = {id(parameter) for stage in dropped for parameter in stage.loose}
    for parent in list(inner.modules()):
        for name, child in list(parent.named_children()):
            if id(child) in gone:
                setattr(parent, name, _Gone())
        for name, parameter in list(parent.named_parameters(recurse=False)):
            if id(parameter) in loose:
                setattr(parent, name, None)


def _holds(module: nn.Module) -> bool:
    """Whether it has parameters or buffers."""
    return any(True for _ in module.parameters()) or any(True for _ in module.buffers())
