"""A backbone changed in its structure, as a specification: its first stages alone, other channels, another size."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from zoo.catalog.serial import spec_from_json, spec_to_json
from zoo.catalog.spec import BackboneSpec, ImagePreprocess, Modality, Preprocess, WeightsSpec
from zoo.errors import UnknownNameError, UsageError

FACTORY = "zoo.models.structure:build"
_WRITE = "write it as [:3] for the first three stages, [:-1] for all but the last, or [:layer2] up to layer2"


@dataclass(frozen=True)
class Structure:
    """What is changed; None: nothing."""

    keep: str | None = None
    """What stands behind the colon in brackets: a number of stages, "3" or "-1", or the name of the last one kept."""
    channels: int | None = None
    """Of images."""
    image_size: int | None = None
    """Pixels of the side of images."""

    @classmethod
    def of(cls, spec: BackboneSpec) -> Self:
        """What a specification says of it."""
        return cls(**spec.options["structure"]) if is_structured(spec) else cls()

    def over(self, other: Structure) -> Structure:
        """Both; this one wins."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        return replace(other, **given)


def is_structured(spec: BackboneSpec) -> bool:
    """Whether the specification is one of a changed backbone."""
    return spec.factory == FACTORY


def take_slice(text: str) -> tuple[str, str | None]:
    """`name[:3]` as ("name", "3").

    Raises:
        UsageError: brackets that keep no first stages.
    """
    match = re.fullmatch(r"(.*)\[([^\[\]]*)\](.*)", text)
    if match is None:
        return text, None
    before, inside, after = match.groups()
    if not inside.startswith(":") or not inside[1:].strip() or ":" in inside[1:] or "[" in before:
        raise UsageError(f"'{text}' keeps no first stages of a backbone", help=_WRITE)
    return before + after, inside[1:].strip()


def count_kept(stages: Sequence[str], keep: str, name: str) -> int:
    """How many of these stages stay.

    Raises:
        UnknownNameError: no stage has that name.
        UsageError: none would stay, or all of them.
    """
    if re.fullmatch(r"[+-]?\d+", keep):
        count = int(keep)
        kept = count if count >= 0 else len(stages) + count
    elif keep in stages:
        kept = stages.index(keep) + 1
    else:
        raise UnknownNameError("stage", keep, stages, help=f"the stages are {', '.join(stages)}")
    if not 0 < kept < len(stages):
        said = "keeps none of" if kept <= 0 else "leaves out none of"
        most = f"[:1] to [:{len(stages) - 1}]" if len(stages) > 2 else "[:1]"
        raise UsageError(
            f"[:{keep}] {said} the {len(stages)} stages of {name}",
            help=f"write {most}, or leave it out" if len(stages) > 1 else "leave it out: it cannot be cut",
        )
    return kept


def structured(
    spec: BackboneSpec, weights: WeightsSpec | None, towers: Sequence[Modality], structure: Structure
) -> tuple[BackboneSpec, WeightsSpec | None]:
    """The specification of the changed backbone, and its weights without a preprocessing of their own.

    Raises:
        UsageError: a change that the specification alone tells to be impossible.
    """
    base = inner_of(spec) if is_structured(spec) else replace(spec, preprocess=spec.preprocess_for(weights))
    whole = structure.over(Structure.of(spec))
    preprocess = dict(base.preprocess)
    image = preprocess.get("image")
    if isinstance(image, ImagePreprocess) and structure.image_size is not None:
        preprocess["image"] = image = image.resized(structure.image_size)
    base = replace(base, preprocess=preprocess)
    if isinstance(image, ImagePreprocess) and whole.channels is not None:
        preprocess = {**preprocess, "image": image.in_channels(whole.channels)}
    stages, architecture = base.stages, base.architecture
    if whole.keep is not None:
        if stages is not None and len(base.modalities) > 1:
            # Towers side by side: which of the stages are whose, their names tell.
            stages = tuple(each for each in stages if each.startswith(f"{towers[0]}.")) if len(towers) == 1 else None
        if stages:
            stages = stages[: count_kept(stages, whole.keep, base.name)]
        architecture = f"{architecture}[:{whole.keep}]"
    changed = replace(
        spec,
        architecture=architecture,
        factory=FACTORY,
        dim=None if whole.keep is not None else base.dim,
        params=None if whole.keep is not None or whole.channels is not None else base.params,
        stages=stages or None,
        image_size=whole.image_size or base.image_size,
        preprocess=preprocess,
        space=base.space if whole.keep is None and whole.channels is None else None,
        options=options_of(base, whole),
    )
    return changed, None if weights is None else replace(weights, preprocess={})


def options_of(base: BackboneSpec, structure: Structure) -> dict[str, Any]:
    """What a specification keeps of the backbone that was changed."""
    return {"of": spec_to_json(replace(base, weights=())), "structure": dict(vars(structure))}


def inner_of(spec: BackboneSpec) -> BackboneSpec:
    """The specification of the whole backbone, before it was changed; its preprocessing is that of the change, in the
    channels of the weights."""
    inner = spec_from_json(spec.options["of"])
    preprocess: dict[Modality, Preprocess] = {**inner.preprocess, **spec.preprocess}
    before, now = inner.preprocess.get("image"), preprocess.get("image")
    if Structure.of(spec).channels is not None and isinstance(before, ImagePreprocess):
        assert isinstance(now, ImagePreprocess)
        preprocess["image"] = replace(now, mean=before.mean, std=before.std)
    return replace(inner, preprocess=preprocess, weights=spec.weights)


def innermost(spec: BackboneSpec) -> BackboneSpec:
    """The specification of the backbone that no change has touched."""
    while is_structured(spec):
        spec = inner_of(spec)
    return spec


def with_tower(name: str, tower: Modality) -> str:
    """`a[:3]@b` as `a:image[:3]@b`."""
    before, bracket, after = name.rpartition("[:")
    return f"{before}:{tower}{bracket}{after}" if bracket else f"{name}:{tower}"
