"""What Typer says of a line it cannot parse, in zoo's own form; and help with its options under headings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand

from zoo.cli.options import HEADINGS
from zoo.errors import UsageError

PARSE_ERRORS: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
"""Wherever this Typer keeps it: some bring a click of their own."""


class Grouped(TyperCommand):
    """A command with many options: its help puts them under the headings of their panels."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write every option under the heading it was declared with."""
        groups: dict[str, list[Any]] = {}
        for param in self.get_params(ctx):
            heading = "Arguments" if param.param_type_name == "argument" else "Options"
            record = param.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(param, "rich_help_panel", None) or heading, []).append(record)
        shared = {heading: place for place, heading in enumerate(HEADINGS)}
        for heading, records in sorted(groups.items(), key=lambda group: shared.get(group[0], -1)):
            with formatter.section(heading):
                formatter.write_dl(records)


def given(**values: Any) -> dict[str, Any]:
    """What was typed."""
    return {key: value for key, value in values.items() if value is not None}


def names(value: str | None) -> tuple[str, ...] | None:
    """The names in `a,b`."""
    return None if value is None else tuple(part.strip() for part in value.split(","))


def options_of(
    text: str | None, option: str = "--strategy-options", example: str = "decay=0.8,groups=4"
) -> dict[str, float] | None:
    """The numbers in `decay=0.8,groups=4`.

    Raises:
        UsageError: anything else.
    """
    if text is None:
        return None
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError as error:
            raise UsageError(
                f"{option} {text}: '{part}' is no number with a name", help=f"write it as {example}"
            ) from error
    return found


def as_usage_error(error: Any, argv: Sequence[str]) -> UsageError:
    """The same fault as a zoo error: what was wrong, with what value, and where to look."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "zoo"
    text = error.format_message().rstrip(".")
    value = _value(getattr(error, "param", None), argv)
    if isinstance(error, typer.BadParameter) and error.message and value is not None:
        said = error.message.partition(",")[0].rstrip(".")
        text = f"{value}: {said[:1].lower()}{said[1:]}"
    return UsageError(text, help=f"`{command} --help` shows what it takes")


def _value(param: Any, argv: Sequence[str]) -> str | None:
    """`--option value` as it was typed."""
    for option in getattr(param, "opts", ()):
        for here, following in zip(argv, [*argv[1:], ""], strict=True):
            if here == option:
                return f"{option} {following}"
            if here.startswith(f"{option}="):
                return here
    return None
