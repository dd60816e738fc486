"""A backbone with a text space, opened with both towers, whichever of them the rows are for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from zoo.catalog.discovery import default_catalog
from zoo.catalog.names import Selection
from zoo.catalog.spec import Modality
from zoo.data.types import Dataset, Examples, ReadOptions, Task
from zoo.errors import UsageError
from zoo.models.backbone import Backbone
from zoo.models.dual import DualEncoder, dual_encoder
from zoo.models.load import build
from zoo.transfer.named import Named, names_classes
from zoo.transfer.options import Training
from zoo.transfer.zeroshot import Array, ClassTexts, class_prompts, class_texts, read_names
from zoo.verbs.check import opened_data
from zoo.verbs.config import RunConfig
from zoo.verbs.extract import extract
from zoo.verbs.run import Event, Watch


@dataclass(frozen=True)
class Naming:
    """How classes are put into words."""

    templates: tuple[str, ...] = ()
    """With `{}` where the name goes, or names of sets of templates; empty: those for photos."""
    names: Mapping[str, str] | str | None = None
    """How a class is spoken of, by label, or the path of a file; None: the labels, `_` and `-` as spaces."""

    @classmethod
    def of(cls, templates: str | Sequence[str], names: Mapping[str, str] | str | Path | None) -> Naming:
        """The same from one template or several, and from names or the path of their file."""
        given = (templates,) if isinstance(templates, str) else tuple(templates)
        return cls(given, str(names) if isinstance(names, Path) else names)

    def prompts(self, task: Task) -> tuple[tuple[str, ...], ...]:
        """What is written of each class of a task, one a template."""
        names = read_names(Path(self.names), task.classes) if isinstance(self.names, str) else self.names
        return class_prompts(task, self.templates or None, names)


@dataclass(frozen=True)
class Space:
    """Both towers of a dual encoder, and which of them rows are embedded by."""

    both: DualEncoder
    asked: tuple[Modality, ...]
    """What the name asked for, such as ("text",) of `open_clip/ViT-B-32:text`."""
    notes: tuple[str, ...] = ()

    def modality(self, data: Dataset) -> Modality:
        """What is embedded of each row: what the name asked for, else its image, else its text.

        Raises:
            UsageError: the data have neither.
        """
        wanted: tuple[Modality, ...] = tuple(each for each in ("image", "text") if each in self.asked)
        for each in wanted:
            if each in data.modalities:
                return each
        raise UsageError(
            f"{self.both.name} embeds {' and '.join(wanted)}, and the data have {' and '.join(data.modalities)}",
            help=f"name the column with --{wanted[0]}-col",
        )


def open_space(backbone: str | Backbone, *, weights: str | None = None, offline: bool = False, seed: int = 0) -> Space:
    """Both towers of a dual encoder, by name or loaded already.

    Raises:
        UsageError: it has no text space, or was loaded with one tower.
    """
    if isinstance(backbone, Backbone):
        both = dual_encoder(backbone)
        asked = both.modalities
        if len(asked) < 2:
            raise both.no_tower("text" if asked == ("image",) else "image")
        return Space(both, asked)
    selections = default_catalog().select(backbone, weights=weights, offline=offline)
    if len(selections) > 1 or selections[0].spec.space is None:
        raise UsageError(
            f"{backbone} has no space that images and texts share",
            help="choose a dual encoder, such as open_clip/ViT-B-32, or a run that kept both of its towers; "
            "`zoo list --source open_clip` shows some",
        )
    (one,) = selections
    whole = replace(one, towers=tuple(each for each in one.spec.modalities if each in ("image", "text")))
    return Space(dual_encoder(build(whole, offline=offline, seed=seed)), one.towers, one.notes)


def open_beside(
    backbone: str | Backbone,
    data: str | Path | Dataset,
    *,
    read: ReadOptions | None,
    weights: str | None,
    offline: bool,
    say: Callable[[str], None],
) -> tuple[Space, Dataset]:
    """Both towers of a dual encoder, and the data that they are for; `say` hears what was chosen.

    Raises:
        UsageError: a backbone without a text space.
        DataError: bad data.
    """
    space = open_space(backbone, weights=weights, offline=offline)
    for note in space.notes:
        say(f"note: {note}")
    return space, data if isinstance(data, Dataset) else opened_data(data, read)


def name_classes(
    both: DualEncoder,
    task: Task,
    naming: Naming,
    *,
    device: str = "auto",
    progress: Callable[[int], None] | None = None,
) -> ClassTexts:
    """The classes of a task in the space of a dual encoder."""
    text = both.tower("text")

    def embed(texts: Sequence[str]) -> Array:
        return embed_texts(text, texts, device=device, progress=progress)

    return class_texts(naming.prompts(task), float(both.logit_scale), embed)


def embed_texts(
    tower: DualEncoder, texts: Sequence[str], *, device: str = "auto", progress: Callable[[int], None] | None = None
) -> Array:
    """(N, E) embeddings of texts, kept in the cache of features."""
    ids = tuple(hashlib.sha256(b"text\0" + each.encode("utf-8", "surrogatepass")).hexdigest()[:16] for each in texts)
    rows = Examples(inputs={"text": list(texts)}, targets=None, ids=ids, names=tuple(texts))
    return extract(tower, rows, device=device, progress=progress).features


def open_space_of(config: RunConfig, backbone: Backbone | None) -> Space | None:
    """Both towers, where the run begins with the names of the classes; None where it does not.

    Raises:
        UsageError: the backbone has no text space, or ways to name classes that nothing begins with.
    """
    if names_classes(config.train):
        if config.read.task == "pairs":
            raise UsageError(
                "pairs have no classes whose names could be read",
                help="leave --task out to learn the classes, or --head and --strategy to learn from the pairs",
            )
        given = backbone if backbone is not None else str(config.backbone)
        return open_space(given, weights=config.weights, offline=config.offline, seed=config.train.seed)
    for option, value in (("--templates", config.train.templates), ("--classes", config.train.class_names)):
        if value:
            raise UsageError(
                f"{option} says how classes are called, and this head does not ask", help="add --head text"
            )
    return None


def open_named(space: Space | None, task: Task, training: Training, watch: Watch) -> Named | None:
    """The classes as texts, where the run begins with them.

    Raises:
        UsageError: a task without one class a row, or features that are no embeddings.
    """
    if space is None:
        return None
    if training.pooling not in (None, "native"):
        raise UsageError(
            f"--pooling {training.pooling} gives other vectors than the names of classes have",
            help=f"leave it out, or use another head than {training.head}",
        )
    watch(Event(note="reading the names of the classes"))
    naming = Naming(training.templates, training.class_names)
    return Named(name_classes(space.both, task, naming, device=training.device), space.both.tower("text"))


def check_pairs(
    config: RunConfig, data: Dataset | None, selections: Sequence[Selection], backbone: Backbone | None
) -> None:
    """Refuse to learn from pairs what has no two towers, before anything is read.

    Raises:
        UsageError: no dual encoder, or one without both towers.
    """
    if (data.task.kind if data is not None else config.read.task) != "pairs":
        return
    if backbone is None:
        spaces = len(selections) == 1 and selections[0].spec.space is not None
        towers = selections[0].towers if spaces else ()
    else:
        spaces, towers = isinstance(backbone, DualEncoder), backbone.modalities
    if not spaces or not {"image", "text"} <= set(towers):
        raise UsageError(
            f"{config.backbone} has no two towers that pairs of images and texts could bring together",
            help="name a dual encoder such as open_clip/ViT-B-32, without :image or :text",
        )


def of_pairs(config: RunConfig, backbone: Backbone) -> RunConfig:
    """The configuration for pairs, with the loss that the backbone was trained with where no head was chosen."""
    both = dual_encoder(backbone)
    if config.train.pooling not in (None, "native"):
        raise UsageError("pairs are of embeddings, which have a pooling of their own", help="leave --pooling out")
    if config.train.head is not None or both.logit_bias is None:
        return config
    return replace(config, train=replace(config.train, head="sigmoid"))


def rows_of(examples: Examples, modality: Modality) -> Examples:
    """The same rows with one of their values alone."""
    return replace(examples, inputs={modality: examples.inputs[modality]})
