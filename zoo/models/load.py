"""From a name to a backbone that runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from zoo.catalog.cached import pinned
from zoo.catalog.catalog import Catalog
from zoo.catalog.discovery import default_catalog
from zoo.catalog.factories import import_factory
from zoo.catalog.names import Selection
from zoo.catalog.spec import BackboneSpec, ImagePreprocess, LoadRequest, Modality
from zoo.catalog.structure import Structure, inner_of, structured, with_tower
from zoo.data.types import Examples
from zoo.errors import DataError, PluginError, UsageError
from zoo.models.backbone import Backbone
from zoo.models.fusion import Fused, fuse


def load(
    name: str,
    *,
    weights: str | None = None,
    towers: Sequence[Modality] | None = None,
    channels: int | None = None,
    image_size: int | None = None,
    offline: bool = False,
    seed: int = 0,
    catalog: Catalog | None = None,
) -> Backbone:
    """A backbone by name, with its weights, in eval mode.

    Args:
        name: such as "torchvision/resnet18", "resnet18@random", "transformers/./my-bert" or "resnet18+minilm".
        weights: a tag, "random", or the path of a file; for a single backbone the same as `name@weights`.
        towers: of a backbone that takes several modalities, serve only these; what else it takes is not built.
        channels: of images, where they are not those of the weights: the first convolution is adapted.
        image_size: side of square images, where it is not that of the weights: tables of positions are resized.
        offline: never touch the network.
        seed: of random weights.
        catalog: where names are looked up; the installed plugins by default.

    Raises:
        UnknownNameError: no backbone has that name.
        WeightsError: weights that are missing, damaged or not of this backbone.
    """
    catalog = catalog or default_catalog()
    selections = catalog.select(name, weights=weights, offline=offline)
    if towers is not None:
        selections = tuple(serving(each, towers) for each in selections)
    selections = shaped(selections, channels=channels, image_size=image_size)
    parts = [build(each, offline=offline, seed=seed) for each in selections]
    return parts[0] if len(parts) == 1 else fuse(*parts)


def serving(selection: Selection, modalities: Sequence[Modality]) -> Selection:
    """The selection without the modalities that are not there; as it is where it takes none of these."""
    towers = tuple(each for each in selection.towers if each in modalities)
    return replace(selection, towers=towers) if towers else selection


def shaped(
    selections: Sequence[Selection], *, channels: int | None = None, image_size: int | None = None
) -> tuple[Selection, ...]:
    """The selections with those that take images changed to take these.

    Raises:
        UsageError: none of them takes images.
    """
    if channels is None and image_size is None:
        return tuple(selections)
    if not any("image" in each.towers for each in selections):
        option = f"--channels {channels}" if channels is not None else f"--image-size {image_size}"
        raise UsageError(f"{option} is of images, and {selections[0].name} takes none", help="leave it out")
    structure, found = Structure(channels=channels, image_size=image_size), []
    for each in selections:
        if "image" in each.towers:
            spec, weights = structured(each.spec, each.weights, each.towers, structure)
            each = replace(each, spec=spec, weights=weights)
        found.append(each)
    return tuple(found)


def check_shaped(backbone: Backbone, *, channels: int | None, image_size: int | None) -> None:
    """Say so if a loaded backbone takes other images than these.

    Raises:
        UsageError: it does; it is changed as it is loaded.
    """
    parts = backbone.each if isinstance(backbone, Fused) else [backbone]
    for part in parts:
        preprocess = part.spec.preprocess_for(part.weights).get("image")
        if not isinstance(preprocess, ImagePreprocess):
            continue
        has = (len(preprocess.mean), preprocess.size)
        wanted = (channels or has[0], (image_size, image_size) if image_size else has[1])
        if has != wanted:
            raise UsageError(
                f"{part.name} takes images of {has[0]} channels and {has[1][1]} x {has[1][0]} pixels",
                help="a backbone is changed as it is loaded: zoo.load(name, channels=4, image_size=320)",
            )


def build(selection: Selection, *, offline: bool = False, seed: int = 0) -> Backbone:
    """The backbone that one selection names; of a dual encoder that is cut, each tower by itself, side by side."""
    spec = selection.spec
    if len(selection.towers) > 1 and Structure.of(spec).keep is not None and inner_of(spec).space is not None:
        towers = [
            replace(serving(selection, [tower]), name=with_tower(selection.name, tower)) for tower in selection.towers
        ]
        return fuse(*(build(each, offline=offline, seed=seed) for each in towers))
    request = LoadRequest(spec, selection.weights, selection.towers, offline=offline)
    backbone = build_request(request, seed=seed)
    if selection.weights is None and spec.weights and backbone.weights is not None:
        raise UsageError(
            f"{spec.name} always loads weights ({backbone.weights.origin}), so they cannot be random",
            help="offer a second function or architecture that loads none",
        )
    backbone.name = selection.name
    return backbone


def build_request(request: LoadRequest, *, seed: int = 0) -> Backbone:
    """What the plugin's factory builds, checked; random weights are drawn from `seed`, the global generator kept."""
    spec = request.spec
    factory = import_factory(spec.factory, spec.name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            backbone = factory(request)
        except ModuleNotFoundError as error:
            raise PluginError(
                f"{spec.name} needs the package '{error.name}', which is not installed",
                help="install it; `zoo doctor` shows what else is missing",
            ) from error
    if not isinstance(backbone, Backbone):
        raise PluginError(f"the factory of {spec.name} ({spec.factory}) gave a {type(backbone).__name__}, no Backbone")
    for attribute in ("spec", "dim", "modalities"):
        if not hasattr(backbone, attribute):
            raise PluginError(f"the backbone {spec.name} has no `{attribute}`", help="set it in its constructor")
    if request.weights is not None and backbone.weights is None:
        backbone.weights = request.weights
    if backbone.weights is not None:
        backbone.weights = pinned(backbone.weights)
    backbone.name = spec.name
    backbone.requires_grad_(True)
    backbone.eval()
    return backbone


def rebuild(spec: BackboneSpec, towers: tuple[Modality, ...], assets: Path | None) -> Backbone:
    """The architecture of a finished run, blank: its state is loaded by the caller."""
    return build_request(LoadRequest(spec, None, towers, offline=True, assets=assets))


def check_serves(backbone: Backbone, modalities: tuple[Modality, ...]) -> None:
    """Say so if the data lack a modality that the backbone needs.

    Raises:
        UsageError: nothing in the data suits this backbone.
    """
    missing = [each for each in backbone.modalities if each not in modalities]
    if missing:
        raise UsageError(
            f"{backbone.name} takes {' and '.join(backbone.modalities)}, and the data have {' and '.join(modalities)}",
            help=f"name the {missing[0]} column with --{missing[0]}-col, or choose with `zoo list --modality "
            f"{modalities[0]}`",
        )


def check_rows(backbone: Backbone, splits: Iterable[Examples]) -> None:
    """Say which rows hold values that this backbone does not take together.

    Raises:
        DataError: names the rows, ten at most.
    """
    found: list[str] = []
    mend: str | None = None
    for examples in splits:
        for index, name in enumerate(examples.names):
            try:
                backbone.check_row({modality: column[index] for modality, column in examples.inputs.items()})
            except DataError as error:
                found.append(f"{name}: {error.what}")
                mend = mend or error.help
    if found:
        rows = "1 row does" if len(found) == 1 else f"{len(found)} rows do"
        raise DataError(f"{rows} not suit {backbone.name}", details=found[:10], help=mend)
