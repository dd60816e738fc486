"""The whole of a fine-tuning job as one YAML file, read strictly and written back in full."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from zoo.data.types import ReadOptions
from zoo.errors import UsageError, close_matches
from zoo.transfer.options import Training

SCHEMA = 1
Section = TypeVar("Section")


@dataclass(frozen=True)
class Output:
    """Where a run is written."""

    dir: str = "runs"
    name: str | None = None
    """None: date, backbone, strategy and a hash."""
    overwrite: bool = False


@dataclass(frozen=True)
class RunConfig:
    """Everything that `zoo finetune` was told."""

    backbone: str | None = None
    data: str | None = None
    weights: str | None = None
    offline: bool = False
    baseline: str = "auto"
    """auto, random or none: whether random weights of the same architecture are probed beside it."""
    read: ReadOptions = field(default_factory=ReadOptions)
    train: Training = field(default_factory=Training)
    out: Output = field(default_factory=Output)


_SECTIONS: dict[str, type[Any]] = {"read": ReadOptions, "train": Training, "out": Output}


def read_config(path: Path) -> RunConfig:
    """The configuration in a YAML file; unknown keys, wrong types and repeated keys are errors.

    Raises:
        UsageError: names the key, what it was, and the nearest known one.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"the configuration {path} cannot be read: {error.strerror}") from error
    try:
        value = yaml.load(text, Loader=_Strict)
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not valid YAML: {error}") from error
    if value is None:
        value = {}
    if not isinstance(value, Mapping):
        raise UsageError(f"{path} holds a {type(value).__name__}, not a mapping", help="see `zoo finetune --dry-run`")
    value = dict(value)
    schema = value.pop("zoo", SCHEMA)
    if schema != SCHEMA:
        raise UsageError(f"{path} has schema {schema}; this zoo reads schema {SCHEMA}")
    for name, kind in _SECTIONS.items():
        value[name] = _section(kind, value.get(name) or {}, f"{path}: {name}.")
    return _section(RunConfig, value, f"{path}: ")


def merge(config: RunConfig, given: Mapping[str, Any]) -> RunConfig:
    """`given` wins over `config`; nested sections are merged key by key, and checked like a file.

    Raises:
        UsageError: a value of the wrong type.
    """
    plain = dataclasses.asdict(config)
    for key, value in given.items():
        plain[key] = {**plain[key], **value} if isinstance(value, Mapping) else value
    for name, kind in _SECTIONS.items():
        plain[name] = _section(kind, plain[name], "")
    return _section(RunConfig, plain, "")


def write_config(config: RunConfig) -> str:
    """The YAML text that `read_config` reads back to the same value."""
    plain = {"zoo": SCHEMA, **_plain(dataclasses.asdict(config))}
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def _section(kind: type[Section], value: Any, where: str) -> Section:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where.rstrip('.')} is {value!r}, not a mapping")
    known = [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for key in value:
        if key not in known:
            near = close_matches(str(key), known)
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            raise UsageError(f"{where}{key} is no option.{hint}", help=f"known: {', '.join(known)}")
    try:
        return TypeAdapter(kind).validate_python(dict(value))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{where}{name} is {first['input']!r}: {first['msg'].lower()}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


class _Strict(yaml.SafeLoader):
    """Repeated keys are an error: plain YAML silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(self.construct_object(key_node, deep=True))
            if key in seen:
                raise UsageError(
                    f"'{key}' stands twice in the configuration, line {key_node.start_mark.line + 1}",
                    help="keep one of the two",
                )
            seen.add(key)
        return super().construct_mapping(node, deep)
