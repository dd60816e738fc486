"""Random changes to training images, drawn anew for each row and epoch, the same after a resume."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from zoo.data.planes import Planes
from zoo.errors import UnknownNameError, UsageError


@dataclass(frozen=True)
class Augment:
    """How much a training image may change."""

    flip: float = 0.0
    """Probability of a horizontal flip."""
    crop: tuple[float, float] | None = None
    """Share of the area kept by a random crop, smallest and largest; None: the evaluation crop."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Width by height of the random crop."""
    rotation: float = 0.0
    """Largest angle in degrees, either way."""
    colour: float = 0.0
    """Largest relative change of brightness, contrast and saturation."""


RECIPES = {
    "none": Augment(),
    "light": Augment(flip=0.5, crop=(0.5, 1.0)),
    "strong": Augment(flip=0.5, crop=(0.2, 1.0), rotation=15.0, colour=0.3),
}


_CHANGES = {"flip": 1.0, "crop": 1.0, "rotation": 180.0, "colour": 1.0}
"""What a recipe may set, with the largest value; `crop` is the smallest share of the area that is kept."""


def recipe(text: str) -> Augment:
    """A recipe by name, by its changes, or both: "light", "flip=0.5,rotation=10", "strong,flip=0".

    Raises:
        UnknownNameError: no such recipe or change.
        UsageError: a value out of range.
    """
    found = RECIPES["none"]
    for place, part in enumerate(each.strip() for each in text.split(",")):
        name, equals, value = part.partition("=")
        if not equals and place == 0 and name in RECIPES:
            found = RECIPES[name]
        elif equals and name in _CHANGES:
            number = _number(name, value)
            change: Any = ((number, 1.0) if number < 1 else None) if name == "crop" else number
            found = replace(found, **{name: change})
        else:
            known = [*RECIPES, *(f"{change}=" for change in _CHANGES)]
            raise UnknownNameError(
                "augmentation", part, known, help=f"use {', '.join(RECIPES)}, or as flip=0.5,crop=0.7"
            )
    return found


def _number(name: str, value: str) -> float:
    low = 0.01 if name == "crop" else 0.0
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not low <= number <= _CHANGES[name]:
        raise UsageError(f"--augment {name}={value} is not in [{low:g}, {_CHANGES[name]:g}]", help="give such a number")
    return number


@dataclass(frozen=True)
class Draw:
    """The chance of one row in one epoch."""

    augment: Augment
    seed: int
    epoch: int
    row: int

    def generator(self) -> np.random.Generator:
        """A generator of its own, so that neither workers nor a resume change what is drawn."""
        return np.random.default_rng((self.seed, self.epoch, self.row))

    @property
    def changes(self) -> bool:
        """Whether anything is random at all."""
        return self.augment != RECIPES["none"]


def crop_box(
    size: tuple[int, int], augment: Augment, rng: np.random.Generator
) -> tuple[float, float, float, float] | None:
    """Left, upper, right, lower of a random crop of an image of (W, H); None: the evaluation crop.

    Random area and aspect as in Szegedy et al. 2014, https://arxiv.org/abs/1409.4842, section 6.
    """
    if augment.crop is None:
        return None
    width, height = size
    for _ in range(10):
        area = width * height * rng.uniform(*augment.crop)
        aspect = math.exp(rng.uniform(math.log(augment.ratio[0]), math.log(augment.ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, upper = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
            return left, upper, left + w, upper + h
    side = min(width, height)
    left, upper = (width - side) // 2, (height - side) // 2
    return left, upper, left + side, upper + side


def jitter(image: Any, augment: Augment, rng: np.random.Generator) -> Any:
    """Flip, rotate and recolour a PIL image that already has its final size."""
    from PIL import Image, ImageEnhance

    image = turn(image, augment, rng, Image.Resampling.BILINEAR, fill=0)
    if augment.colour:
        enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
        for enhance in enhancers:
            amount = 1 + rng.uniform(-augment.colour, augment.colour)
            if isinstance(image, Planes):
                # Saturation is one of red, green and blue alone.
                image = image.each(lambda plane: enhance(plane).enhance(amount))  # noqa: B023  (called at once)
            else:
                image = enhance(image).enhance(amount)
    return image


def turn(image: Any, augment: Augment, rng: np.random.Generator, resample: Any, *, fill: int) -> Any:
    """Flip and rotate; an image and its mask, with generators in the same state, move alike."""
    from PIL import Image

    if augment.flip and rng.random() < augment.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if augment.rotation:
        angle = rng.uniform(-augment.rotation, augment.rotation)
        image = image.rotate(angle, resample=resample, fillcolor=(fill,) * 3 if image.mode == "RGB" else fill)
    return image
