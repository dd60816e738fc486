"""What is wrong with boxes: nothing inside, outside of the image, sizes that disagree, classes without a box."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.boxes import Boxes
from zoo.data.classes import counted
from zoo.data.decode import size_of
from zoo.data.types import ImageRef, Problem, ReadOptions
from zoo.errors import DataError

OUTSIDE = 1.0
"""Pixels by which a box may stick out without a word: exporters round."""


@dataclass(frozen=True, eq=False)
class LookedAt:
    """The boxes of one image, as they were read and as they can be used."""

    written: Boxes
    inside: Boxes
    """Cut off at the border of the image, which is of the size that its file says."""
    usable: NDArray[np.bool_]
    """(M,) False where nothing is left of a box."""

    def of_classes(self, classes: tuple[str, ...]) -> Boxes:
        """What can be used of these classes."""
        return self.inside.select(self.usable).of_classes(classes)

    def classes(self) -> list[str]:
        """Of the boxes that can be learned from."""
        chosen = self.inside.select(self.usable).trained
        return [chosen.names[label] for label in chosen.labels]


def look_at_boxes(cells: Sequence[Boxes], images: Sequence[ImageRef]) -> list[LookedAt]:
    """Each image's boxes beside the size that its file says."""
    found = []
    for cell, image in zip(cells, images, strict=True):
        inside = replace(cell, size=_size(image) or cell.size)
        inside = inside.clipped() if 0 not in inside.size else inside
        extent = inside.corners[:, 2:] - inside.corners[:, :2]
        found.append(LookedAt(cell, inside, (extent[:, 0] > 0) & (extent[:, 1] > 0)))
    return found


def box_problems(
    looked: Sequence[LookedAt], names: Sequence[str], kept: Mapping[str, Sequence[int]], options: ReadOptions
) -> list[Problem]:
    """Boxes that cannot be used or stick out, images of another size, classes that nothing is learned of.

    Args:
        looked: the boxes of each row.
        names: where each row came from.
        kept: rows of each split.
        options: with `skip_bad`, boxes that cannot be used are dropped, up to `bad_limit` of all.
    """
    rows = [row for members in kept.values() for row in members]
    problems = _unusable(looked, names, rows, options) + _sizes(looked, names, rows)
    out = [
        f"{names[row]}: {_box(looked[row].written, place)}"
        for row in rows
        for place in np.flatnonzero(looked[row].usable)
        if np.abs(looked[row].inside.corners[place] - looked[row].written.corners[place]).max() > OUTSIDE
    ]
    if out:
        what = "1 box is" if len(out) == 1 else f"{len(out):,} boxes are"
        message = f"{what} partly outside of the image: cut off at its border"
        problems.append(Problem("warning", "box-outside", message, tuple(out)))
    return problems + _classes(looked, names, kept)


def box_classes(looked: Sequence[LookedAt], rows: Sequence[int]) -> tuple[str, ...]:
    """The classes that have a box in these rows, in the order in which the data list them."""
    there = {name for row in rows for name in looked[row].classes()}
    listed = dict.fromkeys(name for row in rows for name in looked[row].written.names)
    return tuple(name for name in listed if name in there)


def _unusable(
    looked: Sequence[LookedAt], names: Sequence[str], rows: Sequence[int], options: ReadOptions
) -> list[Problem]:
    bad = tuple(
        f"{names[row]}: {_box(looked[row].written, place)}"
        for row in rows
        for place in np.flatnonzero(~looked[row].usable)
    )
    if not bad:
        return []
    total = sum(len(looked[row].written) for row in rows)
    share = len(bad) / total
    message = f"{len(bad)} of {total} boxes have no area inside their image ({share:.1%})"
    if options.skip_bad and share <= options.bad_limit:
        return [Problem("warning", "bad-box", f"{message}: dropped", bad)]
    mend = "correct them (bbox is left, upper, width, height in pixels), or drop them with --skip-bad"
    if options.skip_bad:
        mend = f"--skip-bad drops {options.bad_limit:.0%} of the boxes at most; --bad-limit raises that"
    return [Problem("error", "bad-box", message, bad, mend)]


def _sizes(looked: Sequence[LookedAt], names: Sequence[str], rows: Sequence[int]) -> list[Problem]:
    sizes = [(names[row], looked[row].written.size, looked[row].inside.size) for row in rows]
    other = tuple(
        f"{name}: {said[0]} x {said[1]} in the annotations, {true[0]} x {true[1]} the image"
        for name, said, true in sizes
        if 0 not in said and said != true
    )
    if not other:
        return []
    message = f"{counted(len(other), 'image')} of another size than the annotations say"
    mend = "boxes are read in pixels of the upright image: export the annotations for the images as they are"
    return [Problem("error", "image-size", message, other, mend)]


def _classes(looked: Sequence[LookedAt], names: Sequence[str], kept: Mapping[str, Sequence[int]]) -> list[Problem]:
    known = box_classes(looked, kept["train"])
    if not known:
        message = "the training images have no box: nothing can be learned"
        return [Problem("error", "no-boxes", message, help="look at the annotations")]
    problems = []
    for split in [each for each in kept if each != "train"]:
        strange = [f"'{c}' in {names[row]}" for row in kept[split] for c in looked[row].classes() if c not in known]
        if strange:
            message = f"{counted(len(strange), 'object')} of {split} of a class without a box in the training images"
            mend = "correct them, or add training images for them"
            problems.append(Problem("error", "unknown-class", message, tuple(strange), mend))
    listed = dict.fromkeys(name for row in kept["train"] for name in looked[row].written.names)
    unused = [name for name in listed if name not in known]
    if unused:
        message = f"categories without a box in the training images are left out: {', '.join(unused[:5])}"
        problems.append(Problem("note", "missing-class", message))
    empty = tuple(names[row] for row in kept["train"] if not len(looked[row].written))
    if empty:
        message = f"{counted(len(empty), 'training image')} without a box: nothing is to be found there"
        problems.append(Problem("note", "no-boxes", message, empty))
    count = Counter(name for row in kept["train"] for name in looked[row].classes())
    most, least = count.most_common()[0], count.most_common()[-1]
    if most[1] > 10 * least[1]:
        message = f"classes are unbalanced: '{most[0]}' has {most[1]} training boxes, '{least[0]}' {least[1]}"
        problems.append(Problem("note", "imbalance", message))
    return problems


def _box(boxes: Boxes, place: Any) -> str:
    left, upper, right, lower = (float(value) for value in boxes.corners[place])
    written = [round(value, 2) for value in (left, upper, right - left, lower - upper)]
    return f"'{boxes.names[boxes.labels[place]]}' at {written}"


def _size(image: ImageRef) -> tuple[int, int] | None:
    """(W, H) of the upright image, from its header alone; None where it cannot be told, which is said elsewhere."""
    try:
        return size_of(image)
    except DataError:
        return None
