"""What is wrong with a specification: a plugin's slip is found when it is listed, not when it is first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from types import MappingProxyType
from typing import Any, get_args

from zoo.catalog.spec import AudioPreprocess, BackboneSpec, ImagePreprocess, Modality, TextPreprocess, WeightsSpec

_MODALITIES = frozenset(get_args(Modality))

Rule = tuple[str, str, Callable[[Any], bool]]
"""A field, what it must be in words, and the test of it."""


def first_fault(specs: Sequence[object]) -> str | None:
    """What is wrong with the first of these that is wrong; thousands that are well are looked over at once."""
    backbones = [spec for spec in specs if type(spec) is BackboneSpec]
    if len(backbones) == len(specs) and _well(backbones):
        return None
    return next((wrong for spec in specs if (wrong := faults(spec))), None)


def _well(specs: Sequence[BackboneSpec]) -> bool:
    """A quick look by columns; False says no more than that a closer one is needed."""
    if not _plain(specs, _PLAIN_BACKBONE):
        return False
    sets = [spec.weights for spec in specs]
    weights = list(chain.from_iterable(sets))
    return (
        all(type(each) is WeightsSpec for each in weights)
        and _plain(weights, _PLAIN_WEIGHTS)
        and all(spec.source and spec.architecture and spec.family and spec.modalities for spec in specs)
        and _MODALITIES.issuperset(chain.from_iterable(spec.modalities for spec in specs))
        and "/" not in "".join({spec.source for spec in specs})
        and _is_name("-".join(chain((s.source for s in specs), (s.architecture for s in specs))))
        and _is_name("-".join(chain(("-",), (each.tag for each in weights))))
        and all(":" in each.origin for each in weights)
        and all(":" in factory for factory in {spec.factory for spec in specs})
        and all(len({each.tag for each in one}) == len(one) for one in sets if len(one) > 1)
        and all(_is_metrics(each.metrics) and _is_preprocess(each.preprocess) for each in weights)
        and all(_is_preprocess(spec.preprocess) for spec in specs)
        and all(_is_stages(stages) for stages in {spec.stages for spec in specs})
    )


def _plain(specs: Sequence[object], fields: Mapping[str, frozenset[Any]]) -> bool:
    return all(types.issuperset(map(type, map(attrgetter(field), specs))) for field, types in fields.items())


def faults(spec: object, *, listed: bool = True) -> str | None:
    """What a specification has that it must not, as in "whose `dim` is '512', not a whole number or None".

    Args:
        spec: of any kind.
        listed: False for a resolved one, which may be called like any folder.
    """
    if not isinstance(spec, BackboneSpec):
        return _first(spec, _OTHER)
    if wrong := _first(spec, _BACKBONE if listed else _RESOLVED):
        return f"'{spec.source}/{spec.architecture}' {wrong}"
    tags = {weights.tag for weights in spec.weights if isinstance(weights, WeightsSpec)}
    if len(tags) < len(spec.weights):
        return f"'{spec.name}' with weights of the same tag twice, or that are no WeightsSpec"
    for weights in spec.weights:
        if wrong := _first(weights, _WEIGHTS):
            return f"'{spec.name}' with weights '{weights.tag}' {wrong}"
    return None


def _first(spec: object, rules: Sequence[Rule]) -> str | None:
    for field, words, fits in rules:
        value = getattr(spec, field)
        if not fits(value):
            return f"whose `{field}` is {value!r:.60}, not {words}"
    return None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != "" and value.isprintable()


def _is_name(value: Any) -> bool:
    # + and @ join names and weights on the command line.
    return isinstance(value, str) and value != "" and value.isprintable() and not _MARKS.intersection(value)


def _is_source(value: Any) -> bool:
    return _is_name(value) and "/" not in value


def _is_tag(value: Any) -> bool:
    return value == "" or _is_name(value)


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and ":" in value


def _is_count(value: Any) -> bool:
    return value is None or (type(value) is int and value >= 0)


def _is_note(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_weights(value: Any) -> bool:
    return isinstance(value, tuple)


def _is_stages(value: Any) -> bool:
    return value is None or (isinstance(value, tuple) and all(isinstance(each, str) for each in value))


def _is_preprocess(value: Any) -> bool:
    if not value and isinstance(value, dict):
        return True
    return isinstance(value, Mapping) and all(isinstance(each, _PREPROCESSES) for each in value.values())


def _is_modalities(value: Any) -> bool:
    return isinstance(value, tuple) and value != () and _MODALITIES.issuperset(value)


def _is_metrics(value: Any) -> bool:
    if not value and isinstance(value, dict):
        return True
    return isinstance(value, Mapping) and all(isinstance(each, _NUMBERS) for each in value.values())


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict | Mapping)  # dict is the faster question


_PREPROCESSES = (ImagePreprocess, TextPreprocess, AudioPreprocess)
_NUMBERS = (int, float)
_MARKS = frozenset("+@ ")
_COUNT = "a whole number or None"
_NOTE = "a text or None"
_STEPS = "a mapping of modalities to ImagePreprocess, TextPreprocess or AudioPreprocess"

_BACKBONE: tuple[Rule, ...] = (
    ("source", "a name without spaces, /, + and @", _is_source),
    ("architecture", "a name without spaces, + and @", _is_name),
    ("factory", "an import path `module:function`", _is_path),
    ("modalities", f"a tuple of some of {', '.join(sorted(_MODALITIES))}", _is_modalities),
    ("family", "a name", _is_text),
    ("dim", _COUNT, _is_count),
    ("params", _COUNT, _is_count),
    ("weights", "a tuple of WeightsSpec", _is_weights),
    ("image_size", _COUNT, _is_count),
    ("context_length", _COUNT, _is_count),
    ("stages", "a tuple of names or None", _is_stages),
    ("preprocess", _STEPS, _is_preprocess),
    ("options", "a mapping", _is_mapping),
)
_RESOLVED: tuple[Rule, ...] = tuple(
    ("architecture", "a name", _is_text) if rule[0] == "architecture" else rule for rule in _BACKBONE
)
_WEIGHTS: tuple[Rule, ...] = (
    ("tag", "upstream's own name without spaces, + and @", _is_tag),
    ("origin", "hub:owner/name, https://..., file:/path or package:module/path", _is_path),
    ("revision", _NOTE, _is_note),
    ("sha256", _NOTE, _is_note),
    ("size", _COUNT, _is_count),
    ("licence", _NOTE, _is_note),
    ("trained_on", _NOTE, _is_note),
    ("metrics", "a mapping of names to numbers", _is_metrics),
    ("preprocess", _STEPS, _is_preprocess),
    ("options", "a mapping", _is_mapping),
)
_TEXTS: frozenset[Any] = frozenset({str})
_NOTES: frozenset[Any] = frozenset({str, type(None)})
_COUNTS: frozenset[Any] = frozenset({int, type(None)})
_MAPPINGS: frozenset[Any] = frozenset({dict, MappingProxyType})
_PLAIN_BACKBONE: Mapping[str, frozenset[Any]] = {
    **dict.fromkeys(("source", "architecture", "factory", "family"), _TEXTS),
    **dict.fromkeys(("dim", "params", "image_size", "context_length"), _COUNTS),
    **dict.fromkeys(("preprocess", "options"), _MAPPINGS),
    **dict.fromkeys(("modalities", "weights"), frozenset({tuple})),
    "stages": frozenset({tuple, type(None)}),
}
_PLAIN_WEIGHTS: Mapping[str, frozenset[Any]] = {
    **dict.fromkeys(("tag", "origin"), _TEXTS),
    **dict.fromkeys(("revision", "sha256", "licence", "trained_on"), _NOTES),
    **dict.fromkeys(("metrics", "preprocess", "options"), _MAPPINGS),
    "size": _COUNTS,
}
_OTHER: tuple[Rule, ...] = (
    ("name", "a name", _is_text),
    ("factory", "an import path `module:function`", _is_path),
    ("summary", "a text", lambda value: isinstance(value, str)),
)
