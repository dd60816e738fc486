"""Who is compared: names as they were typed, the single parts of what is joined, and the floors of both."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from zoo.catalog.discovery import default_catalog
from zoo.catalog.names import Selection, split_fused, take_apart
from zoo.catalog.spec import fingerprint
from zoo.comparison.work import PROBE, Entry
from zoo.errors import UsageError

_TITLED = re.compile(r"([^=/@:+\[\]]+)=(.+)", re.DOTALL)
"""`TITLE=BACKBONE`."""
RANDOM = "random"


def entries(
    backbones: Sequence[str], strategies: Sequence[str], *, weights: str | None, offline: bool, floors: bool
) -> tuple[Entry, ...]:
    """Every contender, the typed ones first, then parts that were not typed, then floors.

    Args:
        backbones: names, `a+b`, or `title=name`.
        strategies: each backbone is carried to the data by each of them.
        weights: of every backbone whose name says nothing of weights; only "random" makes sense for several.
        offline: never touch the network.
        floors: add the same architectures with random weights.

    Raises:
        UsageError: the same contender twice, or no such name.
    """
    if not backbones or not strategies:
        raise UsageError("a comparison needs a backbone", help="zoo compare resnet18 starter/glyph-cnn photos/")
    asked = [_asked(each, weights, offline) for each in backbones]
    known = {name: title for title, name, _ in asked if title is not None}
    everyone: dict[str, tuple[Selection, ...]] = {}
    for _, name, selections in asked:
        if name in everyone:
            raise UsageError(f"{name} is named twice", help="leave one of them out")
        everyone[name] = selections
    for selections in [each for each in everyone.values() if len(each) > 1]:
        for single in selections:
            everyone.setdefault(single.name, (single,))
    titles = _titles(everyone, known)
    found = []
    for name, selections in everyone.items():
        for strategy in strategies:
            found.append(_entry(name, selections, strategy, titles, several=len(strategies) > 1))
    if floors:
        found += _floors(everyone, titles, found)
    return tuple(found)


def _asked(typed: str, weights: str | None, offline: bool) -> tuple[str | None, str, tuple[Selection, ...]]:
    """Title if one was given, full name, and what it means."""
    match = _TITLED.fullmatch(typed)
    title, name = (match[1].strip(), match[2]) if match and not Path(typed).exists() else (None, typed)
    selections = default_catalog().select(name, weights=weights, offline=offline)
    return title, "+".join(each.name for each in selections), selections


def _titles(everyone: Mapping[str, tuple[Selection, ...]], known: Mapping[str, str]) -> dict[str, str]:
    """The shortest names that tell them apart."""

    def titled(name: str, selections: tuple[Selection, ...]) -> str:
        return known.get(name) or "+".join(known.get(each.name) or _short(each) for each in selections)

    found = {name: titled(name, selections) for name, selections in everyone.items()}
    twice = {title for title in found.values() if list(found.values()).count(title) > 1}
    titles = {name: name if title in twice and name not in known else title for name, title in found.items()}
    if len(set(titles.values())) < len(titles):
        again = next(title for title in titles.values() if list(titles.values()).count(title) > 1)
        raise UsageError(f"two contenders are titled '{again}'", help="give each a title of its own")
    return titles


def _short(selection: Selection) -> str:
    """Without source, paths and default tags."""
    name = selection.spec.name.rpartition("/")[2]
    name = name.rpartition(":")[2] if selection.spec.source == "local" else name
    tower = f":{selection.towers[0]}" if len(selection.spec.modalities) > 1 and len(selection.towers) == 1 else ""
    tower = "" if selection.spec.source == "local" else tower  # a module in a file takes what the data have
    chance = f" ({RANDOM})" if selection.weights is None and selection.spec.weights else ""
    return f"{name}{tower}{chance}"


def _entry(
    name: str,
    selections: tuple[Selection, ...],
    strategy: str,
    titles: Mapping[str, str],
    *,
    several: bool,
    alone: bool = False,
) -> Entry:
    def titled(of: str) -> str:
        return f"{titles[of]}, {strategy}" if several else titles[of]

    modalities = tuple(m for m in ("image", "text", "audio") if any(m in each.towers for each in selections))
    licences = {each.weights.licence for each in selections if each.weights is not None and each.weights.licence}
    return Entry(
        title=titled(name),
        backbone=name,
        modalities=modalities,
        strategy=strategy,
        identity=identity(selections),
        parts=tuple(titled(each.name) for each in selections) if len(selections) > 1 and not alone else (),
        licence=" and ".join(sorted(licences)) or None,
        random=any(each.weights is None for each in selections),
    )


def _floors(
    everyone: Mapping[str, tuple[Selection, ...]], titles: Mapping[str, str], found: Sequence[Entry]
) -> list[Entry]:
    """The architectures with random weights, probed: what shape and preprocessing alone are worth."""
    first: dict[str, Entry] = {}
    for entry in found:
        first.setdefault(entry.backbone, entry)
    floors = []
    for name, selections in everyone.items():
        if all(each.weights is None for each in selections):
            continue
        chance = default_catalog().select("+".join(_random(part) for part in split_fused(name)))
        floor = "+".join(each.name for each in chance)
        if floor not in everyone:
            entry = _entry(floor, chance, PROBE, {floor: f"{titles[name]} ({RANDOM})"}, several=False, alone=True)
            floors.append(replace(entry, floor_of=first[name].title))
    return floors


def _random(part: str) -> str:
    """The same architecture with random weights."""
    words = take_apart(part)
    tower = f":{words.tower}" if words.tower else ""
    return f"{words.base}{tower}{f'[:{words.keep}]' if words.keep is not None else ''}@{RANDOM}"


def identity(selections: Sequence[Selection]) -> str:
    """Digest of what decides the weights: their origin and revision, and the state of every file on this machine."""
    return fingerprint([_facts(each) for each in selections])


def _facts(selection: Selection) -> dict[str, Any]:
    spec, weights = selection.spec, selection.weights
    words = [str(value) for value in spec.options.values() if isinstance(value, str)]
    if weights is not None:
        words.append(weights.origin.partition(":")[2])
    return {
        "spec": spec.name,
        "factory": spec.factory,
        "options": repr(sorted(spec.options.items())),
        "origin": None if weights is None else weights.origin,
        "revision": None if weights is None else weights.revision,
        "files": [_state(Path(word)) for word in words if word and Path(word).exists()],
    }


def _state(path: Path) -> list[list[Any]]:
    """Name, size and time of change of a file, or of every file of a folder."""
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    return [[str(each), each.stat().st_size, each.stat().st_mtime_ns] for each in files]
