"""The whole of a fine-tuning job as one YAML file, read strictly and written back in full."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from zoo.data.types import ReadOptions
from zoo.errors import UnknownNameError, UsageError, close_matches
from zoo.transfer.against import check_names
from zoo.transfer.budget import AUTO
from zoo.transfer.options import Training
from zoo.transfer.teaching import DistillOptions

SCHEMA = 1
BASELINES = ("auto", "random", "none")
Section = TypeVar("Section")


@dataclass(frozen=True)
class Output:
    """Where a run is written."""

    dir: str = "runs"
    name: str | None = None
    """None: date, backbone, strategy and a hash."""
    overwrite: bool = False
    tensorboard: bool = False
    """Whether to write event files for TensorBoard into the run's folder."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that `zoo finetune` was told."""

    backbone: str | None = None
    data: str | None = None
    unlabelled: str | None = None
    """Rows of the target without labels: a folder, a table, a text file, or `DATA:split`."""
    weights: str | None = None
    offline: bool = False
    baseline: str = "auto"
    """auto, random or none: whether random weights of the same architecture are probed beside it."""
    against: tuple[str, ...] = ()
    """source, probe, scratch: what the run is set beside, on the same held-out rows."""
    read: ReadOptions = field(default_factory=ReadOptions)
    train: Training = field(default_factory=Training)
    out: Output = field(default_factory=Output)
    distill: DistillOptions | None = None
    """Who teaches; None: the labels alone."""

    def __post_init__(self) -> None:
        if self.baseline not in BASELINES:
            raise UnknownNameError("baseline", self.baseline, BASELINES, help=f"use {', '.join(BASELINES)}")
        if self.distill is not None and (self.train.budget is not None or self.train.strategy == AUTO):
            raise UsageError(
                "auto and --budget choose among strategies without a teacher",
                help="choose the --strategy of the student",
            )
        check_names(self.against)


_SEE = "`zoo finetune BACKBONE DATA --dry-run` prints a whole one"
_OPTIONS = {"image": "image-col", "text": "text-col", "audio": "audio-col", "label": "label-col", "dir": "out"}
"""Where the option of the command line is named otherwise than the key."""
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "tuple[int, ...]": "a list of whole numbers, as in [5, 8]",
    "tuple[str, ...]": "a name, or a list of names",
}
_SECTIONS: dict[str, type[Any]] = {"read": ReadOptions, "train": Training, "out": Output}
_IF_THERE: dict[str, type[Any]] = {"distill": DistillOptions}
"""Sections that most runs lack."""


def read_config(path: Path) -> RunConfig:
    """The configuration in a YAML file; unknown keys, wrong types and repeated keys are errors.

    Raises:
        UsageError: names the key, what it was, and the nearest known one.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"the configuration {path} cannot be read: {error.strerror}", help=_SEE) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"the configuration {path} is not utf-8", help="save it as utf-8") from error
    try:
        value = yaml.load(text, Loader=_Strict)
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not valid YAML", details=str(error).splitlines(), help=_SEE) from error
    if value is None:
        value = {}
    if not isinstance(value, Mapping):
        raise UsageError(f"{path} holds a {type(value).__name__}, not a mapping", help=_SEE)
    value = dict(value)
    schema = value.pop("zoo", SCHEMA)
    if schema != SCHEMA:
        raise UsageError(f"{path} has schema {schema!r}; this zoo reads schema {SCHEMA}", help=f"write zoo: {SCHEMA}")
    for name, kind in _SECTIONS.items():
        value[name] = _section(kind, value.get(name) or {}, f"{path}: {name}.")
    for name, kind in _IF_THERE.items():
        if value.get(name) is not None:
            value[name] = _section(kind, value[name], f"{path}: {name}.")
    return _section(RunConfig, value, f"{path}: ")


def merge(config: RunConfig, given: Mapping[str, Any]) -> RunConfig:
    """`given` wins over `config`; nested sections are merged key by key, and checked like a file.

    Raises:
        UsageError: a value of the wrong type.
    """
    plain = dataclasses.asdict(config)
    for key, value in given.items():
        plain[key] = {**(plain[key] or {}), **value} if isinstance(value, Mapping) else value
    for name, kind in {**_SECTIONS, **_IF_THERE}.items():
        if plain[name] is not None:
            plain[name] = _section(kind, plain[name], "--")
    return _section(RunConfig, plain, "--")


def write_config(config: RunConfig) -> str:
    """The YAML text that `read_config` reads back to the same value."""
    plain = {"zoo": SCHEMA, **_plain(dataclasses.asdict(config))}
    return yaml.dump(plain, Dumper=_Writer, sort_keys=False, allow_unicode=True)


def _section(kind: type[Section], value: Any, where: str) -> Section:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where.rstrip('.')} is {value!r}, not a mapping", help=_SEE)
    known = [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for key in value:
        if key not in known:
            near = close_matches(str(key), known)
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            raise UsageError(f"{where}{key} is no option.{hint}", help=f"known: {', '.join(known)}")
        if isinstance(value[key], bool) and kind.__annotations__[key] != "bool":
            raise UsageError(f"{where}{key} is {value[key]!r}", help=_help(kind, key, value[key]))
    try:
        return TypeAdapter(kind).validate_python(_listed(kind, value))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if where == "--":
            name = _OPTIONS.get(name, name.replace("_", "-"))
        wanted = first["msg"].partition(",")[0] if first["type"].endswith("_parsing") else first["msg"]
        message = f"{where}{name} is {first['input']!r}: {wanted[:1].lower()}{wanted[1:]}"
        raise UsageError(message, help=_help(kind, str(first["loc"][0]), first["input"])) from error


def _help(kind: type[Any], name: str, value: Any) -> str:
    """The mend of a value of the wrong type."""
    wanted = str(kind.__annotations__.get(name)).removesuffix(" | None")
    if wanted == "str" and isinstance(value, bool | int | float):
        return f"put it in quotes: unquoted, YAML reads a {type(value).__name__}"
    return f"it takes {_WORDS[wanted]}" if wanted in _WORDS else _SEE


def _listed(kind: type[Any], value: Mapping[str, Any]) -> dict[str, Any]:
    """`text: title` means the same as `text: [title]`, and `text: a,b` as `text: [a, b]`."""
    lists = {f.name for f in dataclasses.fields(kind) if str(f.type).startswith("tuple[str")}
    return {
        key: tuple(part.strip() for part in each.split(",")) if key in lists and isinstance(each, str) else each
        for key, each in value.items()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


_Resolvers = dict[str, list[tuple[str, re.Pattern[str]]]]


class _Writer(yaml.SafeDumper):
    """Quotes what `_Strict` would read as something else than a text."""

    yaml_implicit_resolvers: _Resolvers = {}  # noqa: RUF012


def _quoted(writer: _Writer, text: str) -> yaml.ScalarNode:
    # Between single quotes PyYAML writes U+0085 and its like as line breaks, which come back as spaces.
    style = None if text.isprintable() else '"'
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Writer.add_representer(str, _quoted)


class _Strict(yaml.SafeLoader):
    """YAML 1.2's plain values, and no key twice.

    YAML 1.1, as PyYAML reads it, takes `no` for false, `010` for 8, `2024-01-02` for a date and `1e-3` for a text, and
    silently keeps the last of two equal keys.
    """

    yaml_implicit_resolvers: _Resolvers = {}  # noqa: RUF012  (PyYAML's own way; it declares no ClassVar)

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


for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"0|[-+]?[1-9][0-9]*", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|(0|[1-9][0-9]*)(?=[eE]))([eE][-+]?[0-9]+)?", "-+.0123456789"),
):
    for _class in (_Strict, _Writer):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"(?:{_pattern})$"), [*_first, ""])
