"""Classes from their names: what is written of each, its embedding, and how it is compared with that of a row.

Radford et al. 2021, "CLIP", https://arxiv.org/abs/2103.00020, section 3.1.4. Arrays in, arrays out; no torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.types import Task
from zoo.errors import DataError, UsageError, close_matches

Array = NDArray[np.float32]

TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "photo": (
        "a photo of a {}.",
        "a photo of the {}.",
        "a photo of one {}.",
        "a close-up photo of a {}.",
        "a bad photo of a {}.",
        "a good photo of a {}.",
        "a photo of a small {}.",
        "a photo of a large {}.",
    ),
    "name": ("{}",),
}
"""Sets of templates by name; "photo" are eight of the eighty that were published for ImageNet with CLIP."""

ANSWERED = ("binary", "multiclass")
"""Tasks in which a row has the one class whose name is nearest."""


@dataclass(frozen=True)
class ClassTexts:
    """The classes of a task as texts in the space of a backbone."""

    prompts: tuple[tuple[str, ...], ...]
    """What is written of each class, one a template."""
    embeddings: Array
    """(K, E), each of length one."""
    log_scale: float
    """Natural logarithm of the factor on cosines that makes them logits."""

    def logits(self, embeddings: Array) -> Array:
        """(N, K) of (N, E) embeddings of rows, of whatever length."""
        return np.asarray(np.exp(self.log_scale) * (unit(embeddings) @ self.embeddings.T), dtype=np.float32)

    def probabilities(self, embeddings: Array) -> Array:
        """(N, K), each row a softmax of its logits."""
        logits = self.logits(embeddings).astype(np.float64)
        shifted = np.exp(logits - logits.max(1, keepdims=True))
        return np.asarray(shifted / shifted.sum(1, keepdims=True), dtype=np.float32)


def class_texts(
    prompts: Sequence[Sequence[str]], log_scale: float, embed: Callable[[Sequence[str]], Array]
) -> ClassTexts:
    """The embedding of each class: the mean of those of its prompts, each of length one, brought to length one.

    Args:
        prompts: of each class.
        log_scale: of the backbone.
        embed: (N, E) embeddings of N texts.
    """
    found = unit(embed([each for of_class in prompts for each in of_class]))
    ends = np.cumsum([len(of_class) for of_class in prompts])
    means = [part.mean(0) for part in np.split(found, ends[:-1])]
    return ClassTexts(tuple(tuple(each) for each in prompts), unit(np.stack(means)), log_scale)


def class_prompts(
    task: Task, templates: Sequence[str] | None = None, names: Mapping[str, str] | None = None
) -> tuple[tuple[str, ...], ...]:
    """What is written of each class, one a template, in the order of the task's classes.

    Args:
        task: with classes, of which a row has one.
        templates: with `{}` where the name goes, or the name of a set; "photo" if None.
        names: how a class is spoken of, by class; the others by their label, `_` and `-` as spaces.

    Raises:
        UsageError: a task without such classes, or a template without a place for the name.
    """
    if task.kind not in ANSWERED:
        raise UsageError(
            f"class names answer which one of several classes a row has, and this is a {task.kind} task",
            help="use it on data with one class a row",
        )
    wanted = templates_of(templates)
    spoken = [(names or {}).get(each, spoken_name(each)) for each in task.classes]
    return tuple(tuple(template.replace("{}", name) for template in wanted) for name in spoken)


def templates_of(given: Sequence[str] | None) -> tuple[str, ...]:
    """The templates that are meant: a set by its name, or each as it stands.

    Raises:
        UsageError: one is neither.
    """
    found: list[str] = []
    for each in given or ("photo",):
        if each in TEMPLATES:
            found += TEMPLATES[each]
        elif "{}" in each:
            found.append(each)
        else:
            raise UsageError(
                f"the template '{each}' has no {{}} where the class name goes, and is no set of templates",
                help=f"write it as 'a photo of a {{}}.', or name {' or '.join(TEMPLATES)}",
            )
    return tuple(found)


def spoken_name(label: str) -> str:
    """A label as a text says it: `golden_retriever` is "golden retriever"."""
    return " ".join(label.replace("_", " ").replace("-", " ").split()) or label


def read_names(path: Path, classes: Sequence[str]) -> dict[str, str]:
    """How each class is spoken of: a JSON object from label to name, or a name a line in the order of the classes.

    A class that a JSON object leaves out is spoken of by its label.

    Raises:
        DataError: not such a file, another number of names, or a label that is no class.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        value: Any = json.loads(text) if path.suffix.lower() == ".json" else None
    except (OSError, ValueError) as error:
        raise DataError(f"the class names in {path} cannot be read: {error}", help="check the path") from error
    if path.suffix.lower() != ".json":
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if len(lines) != len(classes):
            raise DataError(
                f"{path} names {len(lines)} classes, and the data have {len(classes)}: {', '.join(classes[:8])}",
                help="write one name a line in that order, or a JSON object from label to name",
            )
        return dict(zip(classes, lines, strict=True))
    if not isinstance(value, dict) or not all(isinstance(each, str) and each.strip() for each in value.values()):
        raise DataError(f"{path} is no JSON object from label to name", help='write {"n01440764": "tench"}')
    for label in value:
        if label not in classes:
            near = close_matches(label, classes)
            raise DataError(
                f"{path} names '{label}', which is no class of the data",
                help=f"did you mean {', '.join(near)}?" if near else f"the classes are {', '.join(classes[:8])}",
            )
    return dict(value)


def unit(vectors: NDArray[Any]) -> Array:
    """(N, E) vectors brought to length one; a zero vector stays."""
    wide = np.asarray(vectors, dtype=np.float64)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12), dtype=np.float32)
