"""What features must be: shaped as promised, and a matter of their own row alone."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from zoo.catalog.spec import Modality, TextPreprocess
from zoo.models.backbone import Processor
from zoo.models.features import Features
from zoo.testing.report import Broken, Inapplicable, few, law, require
from zoo.testing.samples import differing, grey, lit, odd, samples
from zoo.testing.subject import CLOSE, BackboneSubject, distance, real_tokens, slice_rows, token_distance


@law(consequence="heads, pooling and spatial tasks read the wrong axis, or stop with a shape error")
def shapes(subject: BackboneSubject) -> str:
    """Features are pooled (B, D), tokens (B, T, D'), mask (B, T) bool with a real token a row, H * W == T."""
    B, found = 5, subject.run(subject.batch(5))
    require(found.pooled.ndim == 2 and len(found.pooled) == B, f"pooled is {tuple(found.pooled.shape)} for {B} rows")
    require(found.tokens.ndim == 3 and len(found.tokens) == B, f"tokens are {tuple(found.tokens.shape)} for {B} rows")
    kinds = {found.pooled.dtype, found.tokens.dtype}
    require(kinds == {torch.float32}, f"dtypes are {few([str(kind) for kind in kinds])}, not float32")
    if found.mask is not None:
        require(found.mask.dtype == torch.bool, f"the mask is {found.mask.dtype}, not bool")
        require(found.mask.shape == found.tokens.shape[:2], f"the mask is {tuple(found.mask.shape)}")
        require(bool(found.mask.any(1).all()), "a row has no real token")
    if found.grid is not None:
        require(found.grid[0] * found.grid[1] == found.tokens.shape[1], f"{found.tokens.shape[1]} tokens, {found.grid}")
    grid = f", grid {found.grid[0]} x {found.grid[1]}" if found.grid else ""
    return f"pooled {tuple(found.pooled.shape)}, tokens {tuple(found.tokens.shape)}{grid}"


@law(consequence="the loss is NaN at the first step")
def finite(subject: BackboneSubject) -> str:
    """Features of ordinary inputs are finite."""
    found = subject.plain
    bad = int((~found.pooled.isfinite()).sum()) + sum(int((~each.isfinite()).sum()) for each in real_tokens(found))
    require(bad == 0, f"{bad} values are not finite")
    return f"largest value {float(found.pooled.abs().max()):.3g}"


@law(consequence="a user's file with an unusual picture, text or sound stops a long job, or becomes NaN")
def odd_inputs(subject: BackboneSubject) -> str:
    """Tiny, long, empty and strange inputs give finite features too."""
    tried = 0
    for modality in subject.backbone.modalities:
        for name, value in odd(modality):
            try:
                found = subject.run(subject.batch(1, {modality: [value]}))
            except Exception as error:
                raise Broken(f"{name}: {type(error).__name__}: {error}") from error
            require(bool(found.pooled.isfinite().all()), f"{name} gives features that are not finite")
            tried += 1
    return f"{tried} inputs"


@law(consequence="the same picture has other features each time: dropout or sampling is on in evaluation")
def eval_deterministic(subject: BackboneSubject) -> str:
    """In eval mode the same batch gives the same features, bit for bit."""
    batch = subject.batch()
    one, other = subject.run(batch), subject.run(batch)
    require(torch.equal(one.pooled, other.pooled), f"pooled differs by {distance(one.pooled, other.pooled):.2g}")
    require(token_distance(one, other) == 0, f"tokens differ by {token_distance(one, other):.2g}")
    return "bit-equal"


@law(consequence="a prediction depends on what else was predicted with it: batch statistics or padding leak in")
def batch_of_one(subject: BackboneSubject) -> str:
    """A row alone has the features that it has in a batch of eight."""
    whole = subject.plain
    worst = 0.0
    for row in (0, 3, 7):
        # Made anew: alone, a text is not padded to the length of others.
        alone = subject.run(subject.batch(1, {m: samples(m)[row : row + 1] for m in subject.backbone.modalities}))
        worst = max(worst, distance(alone.pooled, whole.pooled[row : row + 1]))
        worst = max(worst, distance(real_tokens(alone)[0], real_tokens(whole)[row]))
    require(worst <= CLOSE, f"differs by {worst:.2g} of the largest value")
    return f"differs by {worst:.1g}"


@law(consequence="sorting rows by length, as extraction does, hands features to the wrong rows")
def row_order(subject: BackboneSubject) -> str:
    """Rows in another order give the same features in that order."""
    order = [5, 2, 7, 0, 4, 1, 6, 3]
    plain, moved = subject.plain, subject.run(slice_rows(subject.batch(), order))
    off = distance(moved.pooled, plain.pooled[order])
    require(off <= CLOSE, f"differs by {off:.2g} of the largest value")
    return f"differs by {off:.1g}"


@law(consequence="a modality is silently ignored: the comparison shows that it does not help")
def sees_input(subject: BackboneSubject) -> str:
    """Other inputs of any modality give other features, in every row."""
    said = []
    for modality in subject.backbone.modalities:
        one = subject.plain
        other = subject.run(subject.batch(8, {modality: differing(samples(modality))}))
        change = (one.pooled - other.pooled).abs().amax(1) / one.pooled.abs().max()
        blind = int((change < 1e-6).sum())
        require(blind == 0, f"another {modality} leaves the features of {blind} of 8 rows as they were")
        said.append(f"{modality}: {float(change.min()):.2g} at least")
    return ", ".join(said)


@law(consequence="a batch that is used twice (views, several models) is not what it was")
def inputs_untouched(subject: BackboneSubject) -> str:
    """Forward leaves its input tensors as they are."""
    batch = subject.batch(3)
    before = {(m, key): value.clone() for m, tensors in batch.items() for key, value in tensors.items()}
    subject.run(batch)
    changed = [f"{m}.{key}" for (m, key), value in before.items() if not torch.equal(batch[m][key], value)]
    require(not changed, f"changed: {few(changed)}")
    return f"{len(before)} tensors"


@law(consequence="segmentation and attention maps are mirrored or transposed")
def grid_order(subject: BackboneSubject) -> str:
    """Spatial tokens run row by row from the upper left: what changes in a quarter of the picture shows there."""
    if "image" not in subject.backbone.modalities:
        raise Inapplicable("it takes no images")
    found = subject.run(subject.batch(1))
    if found.grid is None:
        raise Inapplicable("its tokens have no grid")
    height, width = found.grid
    if min(height, width) < 2:
        raise Inapplicable(f"a grid of {height} x {width} has no quarters")
    shares = torch.zeros(4, 4, dtype=torch.float64)  # of the change of each quarter, in each quarter of the map
    even = subject.run(subject.batch(1, {"image": [grey()]})).map()
    for which, quarter in enumerate(QUARTERS):
        changed = subject.run(subject.batch(6, {"image": [lit(quarter, seed) for seed in range(6)]})).map()
        shares[which] += _by_quarter((changed - even).abs().sum((0, 1)))
    # One against the other: a network may look harder at one side, whatever lies there.
    shares = shares / shares.sum(1, keepdim=True)
    totals = {name: float(sum(shares[i, j] for i, j in enumerate(places))) for name, places in _SYMMETRIES.items()}
    best = max(totals, key=lambda name: totals[name])
    said = f"{totals['as it is'] / 4:.2f} of a change shows in its own quarter of {height} x {width}"
    if totals[best] < 1 + 4 * 0.05 and best != "as it is":
        raise Inapplicable("a change anywhere shows everywhere alike")
    require(best == "as it is", f"{said}, {totals[best] / 4:.2f} where the map is {best}")
    return said


QUARTERS = ((0, 0), (0, 1), (1, 0), (1, 1))
_SYMMETRIES = {
    "as it is": (0, 1, 2, 3),
    "mirrored": (1, 0, 3, 2),
    "upside down": (2, 3, 0, 1),
    "turned by half": (3, 2, 1, 0),
    "transposed": (0, 2, 1, 3),
    "transposed the other way": (3, 1, 2, 0),
    "turned left": (2, 0, 3, 1),
    "turned right": (1, 3, 0, 2),
}
"""Of a square: where each quarter goes."""


def _by_quarter(change: Tensor) -> Tensor:
    """(4,) the mean of an (H, W) map in each of `QUARTERS`; a middle row or column belongs to none."""
    down, right = change.shape[0] // 2, change.shape[1] // 2
    halves = ((slice(0, down), slice(-down, None)), (slice(0, right), slice(-right, None)))
    return torch.stack([change[halves[0][d], halves[1][r]].double().mean() for d, r in QUARTERS])


@law(consequence="models that pad on the left, as many decoders do, have other features in a batch than alone")
def padding_side(subject: BackboneSubject) -> str:
    """Texts padded on the other side have the same features, where the processor can pad on either."""
    plain = subject.batch()
    if plain.get("text", {}).get("mask") is None:
        raise Inapplicable("it takes no texts with a mask")
    turned, side = _turned(subject.processors["text"])
    values = samples("text")
    other: dict[Modality, dict[str, Tensor]] = {m: dict(each) for m, each in plain.items()}
    other["text"] = turned.finish(turned.collate([turned(value) for value in values]))
    mask = other["text"]["mask"]
    gap = ~(mask[:, 0] if side == "left" else mask[:, -1])
    require(bool(gap.any()), f"told to pad on the {side}, the processor does not")
    off = _difference(subject.run(other), subject.run(plain))
    require(off <= CLOSE, f"padded on the {side} they differ by {off:.2g} of the largest value")
    return f"padded on the {side} they differ by {off:.1g}"


def _turned(processor: Processor) -> tuple[Processor, str]:
    """The same processor, told to pad on the other side."""
    turned: Any = copy.copy(processor)
    side: Literal["left", "right"]
    if hasattr(turned, "padding_side"):
        side = "left" if turned.padding_side == "right" else "right"
        turned.padding_side = side
    elif isinstance(stated := getattr(turned, "preprocess", None), TextPreprocess):
        side = "left" if stated.padding_side == "right" else "right"
        turned.preprocess = dataclasses.replace(stated, padding_side=side)
    else:
        raise Inapplicable("its processor pads on one side alone")
    return turned, side


@law(consequence="features depend on the longest row of the batch, so on the batch size")
def padding_length(subject: BackboneSubject) -> str:
    """More padding changes no feature."""

    def longer(tensors: dict[str, Tensor], mask: Tensor) -> dict[str, Tensor]:
        limit = subject.spec.context_length
        if limit is not None and mask.shape[1] + 3 > limit:
            raise Inapplicable(f"a context of {limit} leaves no room for more padding")
        return {key: _widened(value, mask) for key, value in tensors.items()}

    return _padded(subject, longer)


@law(consequence="what stands in the padding leaks into the features")
def padding_content(subject: BackboneSubject) -> str:
    """What stands in padded positions changes no feature, where the mask alone says which they are."""
    if "text" in subject.backbone.modalities:
        _turned(subject.processors["text"])  # a processor that can pad anywhere cannot mean anything by its ids

    def other(tensors: dict[str, Tensor], mask: Tensor) -> dict[str, Tensor]:
        changed = dict(tensors)
        key = "ids" if "ids" in tensors else "samples"
        if key not in tensors or tensors[key].shape != mask.shape:
            raise Inapplicable("its inputs hold neither `ids` nor `samples` of the shape of their mask")
        real = tensors[key][mask]
        changed[key] = torch.where(mask, tensors[key], real[len(real) // 2])
        return changed

    return _padded(subject, other)


def _padded(subject: BackboneSubject, change: Callable[[dict[str, Tensor], Tensor], dict[str, Tensor]]) -> str:
    """Features before and after a change of the padding of each modality that has one."""
    worst, changed = 0.0, []
    batch = subject.batch()
    for modality, tensors in batch.items():
        mask = tensors.get("mask")
        if mask is None or mask.ndim != 2 or mask.dtype != torch.bool or bool(mask.all()):
            continue
        other: dict[Modality, dict[str, Tensor]] = {m: dict(each) for m, each in batch.items()}
        other[modality] = change(dict(tensors), mask)
        worst = max(worst, _difference(subject.run(batch), subject.run(other)))
        changed.append(modality)
    if not changed:
        raise Inapplicable("nothing it takes is padded")
    require(worst <= CLOSE, f"differs by {worst:.2g} of the largest value")
    return f"{' and '.join(changed)}: differs by {worst:.1g}"


def _difference(one: Features, other: Features) -> float:
    return max(distance(one.pooled, other.pooled), token_distance(one, other))


def _widened(value: Tensor, mask: Tensor) -> Tensor:
    """Three more columns of padding, on the side where it stands."""
    if value.shape[:2] != mask.shape:
        return value
    left = bool((~mask[:, 0]).any())
    row, column = (~mask).nonzero()[0].tolist()
    more = value[row, column].expand(len(value), 3, *value.shape[2:])
    return torch.cat([more, value] if left else [value, more], dim=1)


@law(consequence="features in the cache are mistaken for those of another preprocessing")
def processor_repeats(subject: BackboneSubject) -> str:
    """A processor gives the same tensors for the same value, and has a key that stays."""
    for modality in subject.backbone.modalities:
        values = samples(modality, 3)
        one, other = subject.finished(modality, values), subject.finished(modality, values)
        differ = [key for key in one if not torch.equal(one[key], other[key])]
        require(not differ, f"{modality}: the same value gave another {few(differ)}")
        key, again = subject.processors[modality].key, subject.backbone.processor(modality).key
        require(isinstance(key, str) and bool(key), f"{modality}: the key is {key!r}")
        require(key == again, f"{modality}: two processors of one backbone have different keys")
    return "tensors and keys repeat"


@law(consequence="batches of like length hold rows of unlike length: time is lost to padding")
def processor_length(subject: BackboneSubject) -> str:
    """`length` of an example is the number of its real tokens, or one number where all cost alike."""
    if "text" not in subject.backbone.modalities:
        raise Inapplicable("it takes no texts")
    processor = subject.processors["text"]
    examples = [processor(value) for value in samples("text")]
    said = [processor.length(example) for example in examples]
    mask = processor.finish(processor.collate(examples)).get("mask")
    if mask is None:
        raise Inapplicable("its texts have no mask")
    real = mask.sum(1).tolist()
    require(said == real or len(set(said)) == 1, f"lengths said {said}, real tokens {real}")
    return f"{min(said)} to {max(said)} tokens"


FEATURE_LAWS = (
    shapes,
    finite,
    odd_inputs,
    eval_deterministic,
    batch_of_one,
    row_order,
    sees_input,
    inputs_untouched,
    grid_order,
    padding_side,
    padding_length,
    padding_content,
    processor_repeats,
    processor_length,
)
