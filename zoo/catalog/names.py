"""What a user's words mean: `[source/]architecture[.tag][:tower][[:stages]][@weights]`, joined by `+`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from zoo.catalog.spec import BackboneSpec, Modality, WeightsSpec
from zoo.catalog.structure import take_slice
from zoo.errors import UsageError, WeightsError, close_matches

_PREFIXES = (re.compile(r"[\w-]+/(.+)"), re.compile(r"(?:[\w-]+/)?[\w-]+:(.+)"))
"""Before a path: a source, or a kind of folder."""

_TOWERS: Mapping[str, Modality] = {"image": "image", "text": "text", "audio": "audio"}


@dataclass(frozen=True)
class Selection:
    """One backbone as a user asked for it."""

    name: str
    """In full, as it can be typed again."""
    spec: BackboneSpec
    weights: WeightsSpec | None
    """None: random weights."""
    towers: tuple[Modality, ...]
    notes: tuple[str, ...] = ()
    """What was chosen for the user, one sentence each."""


@dataclass(frozen=True)
class Words:
    """One part of a name, taken apart but not yet looked up."""

    base: str
    tower: Modality | None
    weights: str | None
    keep: str | None = None
    """The first stages that are kept, as in `name[:3]`; None: all of them."""


def split_fused(name: str) -> list[str]:
    """The parts of `a+b`; a plus inside an existing path does not split."""
    pieces = name.split("+")
    parts: list[str] = []
    while pieces:
        # The longest run of pieces that names an existing path stays together.
        for count in range(len(pieces), 1, -1):
            whole = "+".join(pieces[:count])
            if _path_across(whole):
                break
        else:
            count = 1
        parts.append("+".join(pieces[:count]))
        pieces = pieces[count:]
    if any(not part.strip() for part in parts):
        raise UsageError(f"'{name}' has an empty part", help="join two names with one +, as in resnet18+gpt2")
    return [part.strip() for part in parts]


def take_apart(part: str) -> Words:
    """Base, tower, stages and weights of one part; an existing path is never cut."""
    base, weights, keep = part, None, None
    places = [i for i, letter in enumerate(part) if letter == "@"]
    for place, index in enumerate(places):
        # A path may hold an @ of its own.
        if not any(_existing_part(part[:later]) for later in (*places[place + 1 :], len(part))):
            base, weights = part[:index], part[index + 1 :]
            break
    path, bracket, inside = base.rpartition("[")
    if bracket and _existing_part(path):
        base, (_, keep) = path, take_slice(f"[{inside}")
    elif not _existing_part(base):
        base, keep = take_slice(base)
    if weights and keep is None and weights.endswith("]") and not Path(weights).expanduser().exists():
        weights, keep = take_slice(weights)
    tower: Modality | None = None
    head, colon, last = base.rpartition(":")
    if colon and last in _TOWERS and not _existing_path(base):
        base, tower = head, _TOWERS[last]
    if weights == "":
        raise UsageError(f"'{part}' names no weights after @", help="write @random, @a-tag or @path/to/file")
    if not base:
        raise UsageError(f"'{part}' names no backbone", help="write one before @ and :, as in resnet18@random")
    return Words(base, tower, weights, keep)


def choose_weights(
    spec: BackboneSpec, wanted: str | None, tag: str | None
) -> tuple[WeightsSpec | None, tuple[str, ...]]:
    """The weights that `wanted` (after @ or --weights) or `tag` (in the name) mean; None is random.

    Raises:
        WeightsError: no such tag or file.
    """
    if wanted is None:
        if tag is not None:
            return _tagged(spec, tag), ()
        if not spec.weights:
            return None, (f"{spec.name} has no pretrained weights; they are random",)
        return spec.weights[0], ()
    if wanted.casefold() == "random":
        return None, ()
    if any(wanted.casefold() == each.tag.casefold() for each in spec.weights if each.tag):
        return _tagged(spec, wanted), ()
    path = Path(wanted).expanduser()
    default = _tagged(spec, tag) if tag is not None else spec.weights[0] if spec.weights else None
    if path.exists():
        return (
            WeightsSpec(
                tag="file",
                origin=f"file:{path.resolve()}",
                preprocess=spec.preprocess_for(default),
                options=default.options if default else {},
            ),
            (),
        )
    if default is not None and default.origin.startswith("hub:") and _looks_like_revision(wanted, default):
        return (
            WeightsSpec(
                tag=default.tag,
                origin=default.origin,
                revision=wanted,
                licence=default.licence,
                preprocess=default.preprocess,
                options=default.options,
            ),
            (),
        )
    if os.sep in wanted or path.suffix:
        raise WeightsError(
            f"there are no weights at {wanted}", help="give the path of an existing file, a tag, or random"
        )
    raise _unknown_tag(spec, wanted)


def weights_name(
    spec: BackboneSpec,
    weights: WeightsSpec | None,
    towers: tuple[Modality, ...],
    named: str | None = None,
    keep: str | None = None,
) -> str:
    """The full name of a choice, as it can be typed again.

    Args:
        spec: of the whole backbone.
        weights: that were chosen.
        towers: that are served.
        named: the tag that stood in the name.
        keep: what stood behind the colon in brackets.
    """
    tag, at = "", ""
    if weights is None:
        at = "@random" if spec.weights else ""
    elif weights.tag == "file":
        at = f"@{weights.origin.removeprefix('file:')}"
        tag = f".{named}" if named else ""  # a file beside a tag has that tag's preprocessing
    elif weights.tag:
        tag = f".{weights.tag}"
    if weights is not None and weights.revision and not any(weights.revision == w.revision for w in spec.weights):
        at = f"@{weights.revision}"
    tower = f":{towers[0]}" if len(spec.modalities) > 1 and len(towers) == 1 else ""
    stages = f"[:{keep}]" if keep is not None else ""
    return f"{spec.name}{tag}{tower}{stages}{at}"


def _tagged(spec: BackboneSpec, tag: str) -> WeightsSpec:
    for each in spec.weights:
        if each.tag.casefold() == tag.casefold():
            return each
    raise _unknown_tag(spec, tag)


def _unknown_tag(spec: BackboneSpec, tag: str) -> WeightsError:
    tags = [each.tag for each in spec.weights if each.tag]
    near = close_matches(tag, tags)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    known = f"it has {', '.join(tags)}, or random, or a file" if tags else "give random or the path of a file"
    return WeightsError(f"{spec.name} has no weights '{tag}'.{hint}", help=known)


def _looks_like_revision(text: str, weights: WeightsSpec) -> bool:
    if weights.tag:
        # Where there are tags, a word is one that was mistyped.
        return re.fullmatch(r"[0-9a-f]{7,40}", text) is not None
    return os.sep not in text and not text.endswith((".safetensors", ".pt", ".pth", ".bin"))


def _path_across(text: str) -> bool:
    """Whether a path goes on over each plus of the text: that of a backbone, or of its weights behind an @."""
    places = [i for i, letter in enumerate(text) if letter == "@"]
    starts, ends = [0, *(i + 1 for i in places)], [*places, len(text)]
    pluses = {i for i, letter in enumerate(text) if letter == "+"}
    for start in starts:
        for end in ends:
            if any(start <= plus < end for plus in pluses) and _existing_part(text[start:end]):
                pluses -= set(range(start, end))
    return not pluses


def _existing_part(text: str) -> bool:
    """Whether the text is a file or folder, with or without a tower behind it."""
    head, _, last = text.rpartition(":")
    return _existing_path(text) or (last in _TOWERS and _existing_path(head))


def _existing_path(text: str) -> bool:
    """Whether the text, or what follows `source/` or `source/local-dir:`, is a file or folder."""
    for candidate in (text, *(match[1] for each in _PREFIXES if (match := each.fullmatch(text)))):
        if candidate.startswith((".", "~", os.sep)) or os.sep in candidate:
            try:
                if Path(candidate).expanduser().exists():
                    return True
            except OSError:
                return False
    return False
