"""What a head must do with the features of any backbone."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.catalog.catalog import Catalog
from zoo.catalog.factories import import_factory
from zoo.catalog.spec import HeadSpec
from zoo.models.features import Features
from zoo.models.heads import Head, LossHead
from zoo.models.pyramid import MapShapes
from zoo.testing.offered import offered
from zoo.testing.report import Broken, Conformance, Inapplicable, few, law, laws_of, require
from zoo.testing.solved import GOALS, kind_for, problem
from zoo.testing.subject import CLOSE, distance

D, WIDTH, T = 24, 16, 9
"""Pooled width, token width and tokens: no two alike, so that a mistaken axis shows."""
OBJECTS = torch.tensor([[[4.0, 6.0, 30.0, 34.0, 0.0], [20.0, 14.0, 46.0, 40.0, 2.0]]])
"""(1, M, 5) two objects of an image: left, upper, right, lower, class index."""
MAPS = MapShapes(channels=(6, 10, WIDTH), strides=(4, 8, 16), size=(32, 32))


class HeadSubject:
    """One head, as its factory builds it."""

    def __init__(self, spec: HeadSpec) -> None:
        self.spec = spec
        self.dense = self.spec.takes == "pyramid" or "tokens" in self.spec.tasks

    @functools.cached_property
    def factory(self) -> Any:
        """Imported once."""
        return import_factory(self.spec.factory, f"head {self.spec.name}")

    def build(self, outputs: int = 3, *, dropout: float = 0.0, dims: tuple[int, int] = (D, WIDTH)) -> Head:
        """A head with weights that are the same at every call; solved, if no step could train it."""
        head = self.fresh(outputs, dropout=dropout, dims=dims)
        if self.spec.solver is not None and not self.spec.trainable:
            problem(kind_for(self.spec, outputs), dims[0], outputs).solved(self.spec, head)
        return head

    def fresh(self, outputs: int = 3, *, dropout: float = 0.0, dims: tuple[int, int] = (D, WIDTH)) -> Head:
        """As the factory builds it, with weights that are the same at every call."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            head = self._made(outputs, dropout, dims)
        if not isinstance(head, Head):
            raise Broken(f"the factory gave a {type(head).__name__}, no zoo.Head")
        return head.eval()

    def _made(self, outputs: int, dropout: float, dims: tuple[int, int]) -> Any:
        if self.spec.takes == "pyramid":
            return self.factory(MAPS, outputs, dropout)
        return self.factory(*dims, outputs, dropout)

    def run(self, head: Head, features: Features) -> Tensor:
        """Outputs of a head."""
        found = head(features)
        if not isinstance(found, Tensor):
            raise Broken(f"forward returned a {type(found).__name__}, not a tensor")
        return found

    def seen(self, head: Head, features: Features) -> Tensor:
        """What training sees: outputs without those of padded tokens, or the loss of a head that has its own."""
        if isinstance(head, LossHead):
            return head.loss(features, OBJECTS.repeat(len(features.pooled), 1, 1))
        return self.real(self.run(head, features), features)

    def real(self, outputs: Tensor, features: Features) -> Tensor:
        """Outputs without those of padded tokens."""
        if "tokens" in self.spec.tasks and features.mask is not None:
            return outputs[features.mask]
        return outputs


def features(rows: int = 6, *, dims: tuple[int, int] = (D, WIDTH), seed: int = 0) -> Features:
    """Random features with padding and, for heads that want them, maps."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    lengths = torch.tensor([T, T - 2, 1, T - 1, 3, T])[torch.arange(rows) % 6]
    side = MAPS.size[0]
    maps = tuple(draw(rows, c, side // s, side // s) for c, s in zip(MAPS.channels, MAPS.strides, strict=True))
    mask = torch.arange(T) < lengths[:, None]
    return Features(draw(rows, dims[0]), draw(rows, T, dims[1]), mask, maps=maps, size=MAPS.size)


def take(found: Features, rows: list[int]) -> Features:
    """These rows."""
    mask = None if found.mask is None else found.mask[rows]
    maps = tuple(each[rows] for each in found.maps)
    return dataclasses.replace(found, pooled=found.pooled[rows], tokens=found.tokens[rows], mask=mask, maps=maps)


@law(consequence="training stops with a shape error, or the loss broadcasts and teaches nonsense")
def outputs(subject: HeadSubject) -> str:
    """Outputs are float32 of (B, outputs); those of pixels are (B, outputs, H, W), those of tokens (B, T, outputs),
    those of objects (B, M, 6)."""
    given = features()
    for count in (1, 2, 7):
        found = subject.run(subject.build(count), given)
        wanted: tuple[int, ...] = (6, count)
        if "detection" in subject.spec.tasks:
            wanted = (6, found.shape[1], 6)
        elif subject.spec.takes == "pyramid":
            wanted = (6, count, *MAPS.size)
        elif "pairs" in subject.spec.tasks:
            wanted = (6, D)  # the embeddings of both sides
        elif "tokens" in subject.spec.tasks:
            wanted = (6, T, count)
        require(tuple(found.shape) == wanted, f"{count} outputs come as {tuple(found.shape)}, not {wanted}")
        require(found.dtype == torch.float32, f"they are {found.dtype}")
        require(bool(subject.real(found, given).isfinite().all()), "some are not finite")
    return "1, 2 and 7 outputs"


@law(consequence="it works on the author's backbone and on no other")
def widths(subject: HeadSubject) -> str:
    """Any pooled width and any token width will do, also where they differ."""
    if subject.spec.takes == "pyramid":
        raise Inapplicable("it takes maps")
    for dims in ((D, WIDTH), (WIDTH, D), (8, 8), (1, 40)):
        subject.run(subject.build(dims=dims), features(dims=dims))
    return "4 pairs of widths"


@law(consequence="a prediction depends on what else was predicted with it")
def batch_of_one(subject: HeadSubject) -> str:
    """In eval mode a row alone has the outputs that it has in a batch."""
    head, given = subject.build(), features()
    whole = subject.run(head, given)
    worst = 0.0
    for row in range(6):
        one = take(given, [row])
        alone = subject.real(subject.run(head, one), one)
        worst = max(worst, distance(alone, subject.real(whole[row : row + 1], one)))
    require(worst <= CLOSE, f"differs by {worst:.2g} of the largest output")
    return f"differs by {worst:.1g}"


@law(consequence="short texts are classified by their padding")
def padding(subject: HeadSubject) -> str:
    """What stands in padded tokens, and how many there are, changes no output."""
    head, given = subject.build(), features()
    assert given.mask is not None
    plain = subject.real(subject.run(head, given), given)
    filled = given.tokens.masked_fill(~given.mask.unsqueeze(-1), 1e3)
    other = dataclasses.replace(given, tokens=filled)
    longer = dataclasses.replace(given, tokens=F.pad(filled, (0, 0, 0, 4), value=1e3), mask=F.pad(given.mask, (0, 4)))
    worst = max(distance(subject.real(subject.run(head, each), each), plain) for each in (other, longer))
    require(worst <= CLOSE, f"differs by {worst:.2g} of the largest output")
    return f"differs by {worst:.1g}"


@law(consequence="the same row is predicted differently each time")
def eval_deterministic(subject: HeadSubject) -> str:
    """In eval mode the same features give the same outputs, with dropout asked for too."""
    head, given = subject.build(dropout=0.5), features()
    one, other = (subject.real(subject.run(head, given), given) for _ in range(2))
    require(torch.equal(one, other), f"differs by {distance(one, other):.2g}")
    return "bit-equal"


@law(consequence="--dropout is accepted and does nothing")
def dropout(subject: HeadSubject) -> str:
    """In training mode the dropout that was asked for is there."""
    _by_steps(subject)
    given = features()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        loud = subject.build(dropout=0.5).train()
        one, other = (subject.seen(loud, given) for _ in range(2))
    require(not torch.equal(one, other), "with dropout 0.5 two passes in training mode are equal")
    return f"outputs differ by {distance(one, other):.2g} with dropout 0.5"


@law(consequence="part of the head stays as it was drawn")
def gradients(subject: HeadSubject) -> str:
    """Every parameter gets a gradient."""
    _by_steps(subject)
    head, given = subject.build(), features()
    found = subject.seen(head.train(), given)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(3))
    torch.autograd.backward((found * weights).sum())
    dead = [name for name, p in head.named_parameters() if p.grad is None]
    total = sum(1 for _ in head.parameters())
    require(total > 0, "it has no parameters")
    require(not dead, f"{len(dead)} of {total} tensors get none: {few(dead)}")
    return f"{total} tensors"


@law(consequence="the loss applies softmax once more: it stalls far above zero, and confidence means nothing")
def logits(subject: HeadSubject) -> str:
    """Outputs are logits or numbers, not probabilities."""
    if "detection" in subject.spec.tasks:
        raise Inapplicable("its outputs are boxes with scores")
    given = features(32)
    big = dataclasses.replace(
        given, pooled=given.pooled * 30, tokens=given.tokens * 30, maps=tuple(each * 30 for each in given.maps)
    )
    found = subject.real(subject.run(subject.build(5), big), big).detach()
    inside = bool((found >= 0).all() and (found <= 1).all())
    require(not inside, "all outputs of large features lie between 0 and 1")
    return f"between {float(found.min()):.3g} and {float(found.max()):.3g}"


@law(consequence="it trains, and learns nothing")
def learns(subject: HeadSubject) -> str:
    """Forty steps on features that tell the classes apart halve the loss."""
    if "pairs" in subject.spec.tasks:
        raise Inapplicable("what pairs teach is in the towers")
    _by_steps(subject)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = subject.build(3).train()
        given, targets = _separable(subject)
        own = isinstance(head, LossHead)
        if own:  # it is many layers deep: few rows are enough, and great steps too much
            given = take(given, [0, 1, 2, 3])
        optimizer = torch.optim.Adam(head.parameters(), lr=0.002 if own else 0.02)
        losses = []
        for _ in range(40):
            found = subject.seen(head, given)
            if own:
                loss = found
            else:
                flat = found.permute(0, 2, 3, 1).reshape(-1, 3) if found.ndim == 4 else found.reshape(-1, 3)
                loss = F.cross_entropy(flat, targets)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(float(loss.detach()))
    require(losses[-1] < losses[0] / 2, f"the loss goes from {losses[0]:.3g} to {losses[-1]:.3g}")
    return f"the loss goes from {losses[0]:.3g} to {losses[-1]:.3g}"


def _by_steps(subject: HeadSubject) -> None:
    if not subject.spec.trainable:
        raise Inapplicable("it is solved, no step trains it")


@law(consequence="`zoo probe` and --strategy linear-probe report what the head cannot do")
def solved(subject: HeadSubject) -> str:
    """A fresh head takes what its solver gives, always the same, and then answers new rows of easy problems."""
    if subject.spec.solver is None:
        raise Inapplicable("it is trained by steps")
    if subject.spec.names:
        raise Inapplicable("it is solved beside the names of classes, which have no place in a made problem")
    said = []
    for kind in subject.spec.tasks:
        each = problem(kind, D)
        before = each.features.copy()
        heads = [each.solved(subject.spec, subject.fresh(each.task.num_outputs)) for _ in range(2)]
        states = [head.state_dict() for head in heads]
        same = all(torch.equal(value, states[1][name]) for name, value in states[0].items())
        require(same, f"{kind}: the same rows give two solutions")
        require(bool((before == each.features).all()), f"{kind}: the features were changed in place")
        (metric, goal), found = GOALS[kind], each.score(heads[0])
        require(found >= goal, f"{kind}: {metric} {found:.2f} on new rows, where {goal} is easy")
        said.append(f"{kind} {metric} {found:.2f}")
    return ", ".join(said)


def _separable(subject: HeadSubject) -> tuple[Features, Tensor]:
    """24 rows of 3 classes, or 6 pictures, and the class of each row, token or pixel."""
    given = dataclasses.replace(features(24), mask=None)
    if subject.spec.takes == "pyramid":
        given = features(6)
        pixels = torch.arange(6 * MAPS.size[0] * MAPS.size[1]).reshape(6, *MAPS.size) // (MAPS.size[1] * 16) % 3
        maps = []
        for each in given.maps:
            small = F.interpolate(pixels[:, None].float(), each.shape[2:], mode="nearest")
            maps.append(0.1 * each + small * torch.linspace(-2, 2, each.shape[1])[:, None, None])
        return dataclasses.replace(given, maps=tuple(maps)), pixels.flatten()
    rows = torch.arange(24) % 3
    if "tokens" in subject.spec.tasks:
        each = torch.arange(24 * T).reshape(24, T) % 3
        directions = torch.randn(3, WIDTH) * 3
        return dataclasses.replace(given, tokens=given.tokens + directions[each]), each.flatten()
    pooled, tokens = torch.randn(3, D) * 3, torch.randn(3, WIDTH) * 3
    moved = dataclasses.replace(given, pooled=given.pooled + pooled[rows], tokens=given.tokens + tokens[rows, None])
    return moved, rows


@law(consequence="a run that was saved predicts something else when it is loaded")
def state_round_trip(subject: HeadSubject) -> str:
    """The state_dict of one head, loaded strictly into another, gives the same outputs."""
    head, other, given = subject.build(), subject.fresh(), features()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.3)
    other.load_state_dict(head.state_dict(), strict=True)
    one, two = (subject.real(subject.run(each, given), given) for each in (head, other))
    require(torch.equal(one, two), f"differs by {distance(one, two):.2g}")
    return f"{len(head.state_dict())} tensors"


@law(consequence="whatever runs after it draws other numbers: seeds stop meaning anything")
def global_state(subject: HeadSubject) -> str:
    """In eval mode forward leaves torch's global generator alone, and its input as it is."""
    head, given = subject.build(), features()
    before, copies = torch.random.get_rng_state(), (given.pooled.clone(), given.tokens.clone())
    subject.run(head, given)
    require(torch.equal(before, torch.random.get_rng_state()), "the global generator moved")
    same = torch.equal(copies[0], given.pooled) and torch.equal(copies[1], given.tokens)
    require(same, "the features were changed in place")
    return "both as they were"


HEAD_LAWS = laws_of(
    "head",
    (outputs, widths, batch_of_one, padding, eval_deterministic, dropout, gradients, logits, learns, solved),
    (state_round_trip, global_state),
)


def check_head(
    head: str | HeadSpec, *, catalog: Catalog | None = None, only: Collection[str] | None = None
) -> Conformance:
    """Hold one head against every law of the contract.

    Args:
        head: its name, or its specification.
        catalog: where the name is looked up; the installed plugins by default.
        only: names of the checks to run; all of them if None.

    Raises:
        UnknownNameError: no head or check has that name.
    """
    spec: HeadSpec = offered("head", head, catalog) if isinstance(head, str) else head
    return HEAD_LAWS.hold(f"head {spec.name}", HeadSubject(spec), only=only)
