"""Specifications to JSON and back, for runs that must be rebuilt without their plugin's listing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from zoo.catalog.spec import AudioPreprocess, BackboneSpec, ImagePreprocess, Preprocess, TextPreprocess, WeightsSpec


def spec_to_json(spec: BackboneSpec) -> dict[str, Any]:
    """A specification as plain JSON values."""
    return _fields_to_json(spec)


def weights_to_json(weights: WeightsSpec) -> dict[str, Any]:
    """A weights specification as plain JSON values."""
    return _fields_to_json(weights)


def spec_from_json(value: Mapping[str, Any]) -> BackboneSpec:
    """The specification that `spec_to_json` wrote."""
    fields = _known(BackboneSpec, value)
    fields["modalities"] = tuple(fields["modalities"])
    fields["stages"] = None if fields.get("stages") is None else tuple(fields["stages"])
    fields["preprocess"] = _preprocess(fields.get("preprocess", {}))
    fields["weights"] = tuple(weights_from_json(each) for each in fields.get("weights", ()))
    return BackboneSpec(**fields)


def weights_from_json(value: Mapping[str, Any]) -> WeightsSpec:
    """The weights specification that `weights_to_json` wrote."""
    fields = _known(WeightsSpec, value)
    fields["preprocess"] = _preprocess(fields.get("preprocess", {}))
    return WeightsSpec(**fields)


def _preprocess(values: Mapping[str, Any]) -> dict[Any, Preprocess]:
    found: dict[Any, Preprocess] = {}
    for modality, value in values.items():
        if "tokenizer" in value:
            found[modality] = TextPreprocess(**_known(TextPreprocess, value))
        elif "rate" in value:
            found[modality] = AudioPreprocess(**_known(AudioPreprocess, value))
        else:
            fields: dict[str, Any] = _known(ImagePreprocess, value)
            fields |= {name: tuple(each) for name, each in fields.items() if isinstance(each, list)}
            found[modality] = ImagePreprocess(**fields)
    return found


def _known(kind: type[Any], value: Mapping[str, Any]) -> dict[str, Any]:
    """The fields this version knows; a run of a later version may hold more."""
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: each for name, each in value.items() if name in names}


def _fields_to_json(value: BackboneSpec | WeightsSpec) -> dict[str, Any]:
    return {field.name: _to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}


def _to_json(value: Any) -> Any:
    if isinstance(value, WeightsSpec):
        return _fields_to_json(value)
    if isinstance(value, ImagePreprocess | TextPreprocess | AudioPreprocess):
        return dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _to_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(each) for each in value]
    return value
