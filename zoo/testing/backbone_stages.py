"""What stages must be: every parameter once, in the order in which they run, frozen when frozen."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zoo.catalog.spec import Modality
from zoo.data.audio import Audio
from zoo.errors import DataError
from zoo.models.backbone import Backbone, Inputs, Stage
from zoo.testing.report import Inapplicable, few, law, require
from zoo.testing.samples import differing, samples
from zoo.testing.subject import BackboneSubject, token_distance


@law(consequence="parameters outside of every stage are never trained, those in two are trained at two rates")
def stages_partition(subject: BackboneSubject) -> str:
    """Every parameter is in exactly one stage, and the modules of stages are parts of the backbone."""
    subject.backbone.check_stages()
    parts = {id(module) for module in subject.backbone.modules()}
    foreign = [s.name for s in subject.backbone.stages() if any(id(module) not in parts for module in s.modules)]
    require(not foreign, f"{few(foreign)} hold modules that are no parts of the backbone")
    counts = [sum(p.numel() for p in stage.parameters()) for stage in subject.backbone.stages()]
    return f"{len(counts)} stages hold {sum(counts):,} parameters"


@law(consequence="layer-wise rates and gradual unfreezing take the bottom for the top")
def stages_run_in_order(subject: BackboneSubject) -> str:
    """Stages of one branch first run in the order in which they are listed."""
    stages = subject.backbone.stages()
    first = first_runs(subject)
    for branch in dict.fromkeys(stage.branch for stage in stages):
        seen = [stage.name for stage in stages if stage.branch == branch and stage.name in first]
        ran = sorted(seen, key=lambda name: first[name])
        require(seen == ran, f"listed {few(seen, 8)}; ran {few(ran, 8)}")
    return f"{len(first)} of {len(stages)} stages seen running"


def first_runs(subject: BackboneSubject) -> dict[str, int]:
    """The stages that run on ordinary inputs, with the place at which each is first seen."""
    first: dict[str, int] = {}
    order = iter(range(10**9))

    def noting(name: str) -> Callable[..., None]:
        def note(*_: Any) -> None:
            first.setdefault(name, next(order))

        return note

    handles = [
        each.register_forward_pre_hook(noting(stage.name))
        for stage in subject.backbone.stages()
        for each in _with_parameters(stage)
    ]
    try:
        subject.run(subject.batch(2))
    finally:
        for handle in handles:
            handle.remove()
    return first


def _with_parameters(stage: Stage) -> Iterator[nn.Module]:
    """The modules of a stage that hold parameters of their own."""
    for module in stage.modules:
        yield from (each for each in module.modules() if any(True for _ in each.parameters(recurse=False)))


@law(consequence="frozen stages drift while the head is trained: the cached features are no longer theirs")
def frozen_stays(subject: BackboneSubject) -> str:
    """Stages that are frozen keep every parameter and buffer, bit for bit, while those above them train."""
    names = subject.trained_stages()
    for trained in ([], names[-1:]):
        backbone = subject.fresh(subject.backbone).freeze_except(trained)
        before = {name: value.clone() for name, value in backbone.state_dict().items()}
        free = _state_names(backbone, trained)
        _step(subject, backbone, list(_parameters(backbone, trained)), steps=2)
        after = backbone.state_dict()
        moved = [n for n, old in before.items() if n not in free and not torch.equal(old, after[n])]
        far = max((float((after[n].float() - before[n].float()).abs().max()) for n in moved), default=0.0)
        top = trained[0] if trained else "the head"
        require(not moved, f"while {top} trained, {few(moved)} moved by up to {far:.2g} in 2 steps")
    return f"bit-identical after 2 steps of the head and 2 of {names[-1]}"


@law(consequence="part of the model that the plan lists as trained never learns")
def gradients(subject: BackboneSubject) -> str:
    """Every parameter gets a gradient when everything trains."""
    names = subject.trained_stages()
    backbone = subject.fresh(subject.backbone).freeze_except([stage.name for stage in subject.backbone.stages()])
    backbone.eval()  # dropout could silence a small layer by chance
    _backward(subject, backbone)
    dead = [n for n, p in backbone.named_parameters() if p.grad is None or not bool(p.grad.any())]
    total = sum(1 for _ in backbone.parameters())
    require(not dead, f"{len(dead)} of {total} tensors get none: {few(dead)}")
    return f"{total} tensors in {len(names)} stages"


@law(consequence="training stops at its first step, or auxiliary outputs are taken for features")
def training_mode(subject: BackboneSubject) -> str:
    """In training mode forward returns Features of the same shapes as in evaluation."""
    backbone = subject.fresh(subject.backbone)
    backbone.freeze_except([stage.name for stage in backbone.stages()])
    batch = subject.batch(4)
    quiet = subject.run(batch, backbone.eval())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        busy = subject.run(batch, backbone.train())
    require(
        busy.pooled.shape == quiet.pooled.shape, f"pooled {tuple(busy.pooled.shape)}, not {tuple(quiet.pooled.shape)}"
    )
    require(busy.tokens.shape[2] == quiet.tokens.shape[2], "tokens have another width")
    require(bool(busy.pooled.isfinite().all()), "pooled is not finite")
    return f"pooled {tuple(busy.pooled.shape)} in both"


@law(consequence="dropout stays on in evaluation, or batch norm of frozen stages drifts")
def modes(subject: BackboneSubject) -> str:
    """`eval()` reaches every module; `train()` reaches the modules of trained stages and no frozen one."""
    backbone = subject.fresh()
    stages = backbone.stages()
    names = subject.trained_stages()
    backbone.train().eval()
    loud = [name for name, module in backbone.named_modules() if module.training]
    require(not loud, f"after eval() {few(loud)} is in training mode")
    backbone.freeze_except(names[-1:]).train()
    frozen = [m for s in stages if s.name != names[-1] for top in s.modules for m in top.modules()]
    own = {id(m) for s in stages if s.name == names[-1] for top in s.modules for m in top.modules()}
    loud = [type(m).__name__ for m in frozen if m.training and id(m) not in own]
    require(not loud, f"after train() with only {names[-1]} trained, {few(loud)} of frozen stages is in training mode")
    backbone.freeze_except([stage.name for stage in stages]).train()
    quiet = [name for name, module in backbone.named_modules() if not module.training]
    require(not quiet, f"after train() with everything trained, {few(quiet)} is in eval mode")
    still = [name for name, p in backbone.named_parameters() if not p.requires_grad]
    require(not still, f"with everything trained, {few(still)} does not require a gradient")
    return "both reach every module that they should"


@law(consequence="training the last stages on cached outputs of the frozen ones learns from other numbers")
def replay(subject: BackboneSubject) -> str:
    """At every split the recorded outputs of the stages below, replayed, give the same features, bit for bit."""
    stages = subject.backbone.stages()
    if len(stages) < 3:
        raise Inapplicable("replay needs a stage between the first and the last")
    batch = subject.batch(2)
    others = {m: differing(samples(m, 3))[:2] for m in subject.backbone.modalities}
    splits = 0
    for branch in dict.fromkeys(stage.branch for stage in stages):
        own = [stage for stage in stages if stage.branch == branch]
        for end in range(2, len(own)):
            modules = [module for stage in own[1:end] for module in stage.modules]
            plain, outputs = _recorded(subject, modules, batch)
            # Something else runs in between, as in training: state that is kept on the side is then another's.
            subject.run(subject.batch(2, others))
            with _replaying(modules, outputs):
                found = subject.run(batch)
            same = torch.equal(found.pooled, plain.pooled) and token_distance(found, plain) == 0
            require(same, f"with stages up to {own[end - 1].name} replayed the features differ")
            splits += 1
    if not splits:
        raise Inapplicable("no branch has a stage between its first and last")
    return f"bit-equal at {splits} splits"


def _recorded(
    subject: BackboneSubject, modules: Sequence[nn.Module], batch: Inputs
) -> tuple[Any, dict[int, list[Any]]]:
    """Features, and what each module returned at each of its calls."""
    outputs: dict[int, list[Any]] = {}
    handles = [
        module.register_forward_hook(lambda m, _, output: outputs.setdefault(id(m), []).append(_cloned(output)))
        for module in modules
    ]
    try:
        return subject.run(batch), outputs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _replaying(modules: Sequence[nn.Module], outputs: dict[int, list[Any]]) -> Iterator[None]:
    """While this lasts the modules answer with what they returned before, and compute nothing."""

    def answering(recorded: list[Any]) -> Callable[..., Any]:
        upcoming = iter(recorded)
        return lambda *_, **__: _cloned(next(upcoming))

    replaced = [module for module in modules if id(module) in outputs]
    for module in replaced:
        module.forward = answering(outputs[id(module)])
    try:
        yield
    finally:
        for module in replaced:
            module.__dict__.pop("forward", None)


def _cloned(value: Any) -> Any:
    """A copy of every tensor inside: what follows may change it in place."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_cloned(each) for each in value))
    if isinstance(value, list | tuple):
        return type(value)(_cloned(each) for each in value)
    if isinstance(value, dict):
        copy = type(value)()
        copy.update({key: _cloned(each) for key, each in value.items()})
        return copy
    return value


def _parameters(backbone: Backbone, names: Sequence[str]) -> Iterator[nn.Parameter]:
    for stage in backbone.stages():
        if stage.name in names:
            yield from stage.parameters()


def _state_names(backbone: Backbone, names: Sequence[str]) -> set[str]:
    """Names of the parameters and buffers that these stages hold."""
    tensors = {id(p) for p in _parameters(backbone, names)}
    for stage in backbone.stages():
        if stage.name in names:
            tensors |= {id(b) for module in stage.modules for b in module.buffers()}
    return {name for name, value in backbone.state_dict(keep_vars=True).items() if id(value) in tensors}


def _step(subject: BackboneSubject, backbone: Backbone, trained: list[nn.Parameter], *, steps: int) -> None:
    """Real steps with a large rate and weight decay, as careless training would take them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = nn.Linear(backbone.dim, 3)
        optimizer = torch.optim.AdamW([*trained, *head.parameters()], lr=0.01, weight_decay=0.1)
        for _ in range(steps):
            backbone.train()
            found = subject.run(subject.batch(4), backbone, grad=True)
            loss = head(found.pooled).square().mean() + sum(each.square().mean() for each in (found.tokens,))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()


def _backward(subject: BackboneSubject, backbone: Backbone) -> None:
    """Gradients of random readings of pooled and tokens, of ordinary rows and of rows with more in them."""
    generator = torch.Generator().manual_seed(2)
    for batch in (subject.batch(4), *_fuller(subject)):
        found = subject.run(batch, backbone, grad=True)
        for output in (found.pooled, found.tokens):
            weights = torch.randn(output.shape, generator=generator)
            torch.autograd.backward((output * weights).sum(), retain_graph=output is found.pooled)


def _fuller(subject: BackboneSubject) -> Iterator[Inputs]:
    """Two images in a row, and a long recording, where they are taken: some parameters serve these alone."""
    modalities = subject.backbone.modalities
    row: dict[Modality, Any] = {modality: samples(modality, 1)[0] for modality in modalities}
    if "image" in modalities:
        row["image"] = tuple(samples("image", 2))
    if "audio" in modalities:
        row["audio"] = Audio(np.tile(samples("audio", 1)[0].samples, 40), 16_000)  # about 12 seconds
    with contextlib.suppress(DataError):
        subject.backbone.check_row(row)
        yield subject.batch(1, {modality: [value] for modality, value in row.items()})


STAGE_LAWS = (stages_partition, stages_run_in_order, frozen_stays, gradients, training_mode, modes, replay)
