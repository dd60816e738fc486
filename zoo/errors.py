"""The errors a user can mend: what was wrong, with what value, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


class ZooError(Exception):
    """Base of every error a user can mend; bugs stay plain Python errors.

    Args:
        what: one sentence that names the thing as the user typed it.
        help: what to do next, a command where there is one.
        details: further lines, such as one for each bad file.
    """

    kind: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, help: str | None = None, details: Iterable[str] = ()) -> None:  # noqa: A002
        super().__init__(what)
        self.what = what
        self.help = help
        self.details = tuple(details)

    def __str__(self) -> str:
        lines = [self.what, *(f"  {line}" for line in self.details)]
        if self.help:
            lines.append(f"help: {self.help}")
        return "\n".join(lines)


class UsageError(ZooError):
    """An option or argument that cannot be meant."""

    kind, exit_code = "usage", 2


class DataError(ZooError):
    """Data that cannot be read, or that would give a number nobody should trust."""

    kind, exit_code = "data", 3


class WeightsError(ZooError):
    """Weights that are missing, damaged, refused, or not of this backbone."""

    kind, exit_code = "weights", 4


class NotCachedError(WeightsError):
    """A file that a hub has and this machine has not, and cannot have now."""


class DivergedError(ZooError):
    """A loss or gradient that is not finite; the last good checkpoint is kept."""

    kind, exit_code = "diverged", 5


class PluginError(ZooError):
    """A plugin that breaks the contract."""

    kind = "plugin"


class UnknownNameError(UsageError):
    """A name nothing is registered under; close matches are offered.

    Args:
        noun: what was looked for, such as "backbone".
        name: as the user typed it.
        known: every name that would have been right.
    """

    def __init__(self, noun: str, name: str, known: Iterable[str], *, help: str | None = None) -> None:  # noqa: A002
        matches = close_matches(name, known)
        hint = f" Did you mean {', '.join(matches)}?" if matches else ""
        super().__init__(f"No {noun} is named '{name}'.{hint}", help=help or f"`zoo list {noun}s` shows all of them")
        self.matches = matches


class DuplicateNameError(PluginError):
    """One name offered by two plugins.

    Args:
        what: one sentence that names both.
        owner: the plugin that has it.
        help: what to do next.
    """

    def __init__(self, what: str, *, owner: str = "", help: str | None = None) -> None:  # noqa: A002
        super().__init__(what, help=help)
        self.owner = owner


def close_matches(name: str, known: Iterable[str], count: int = 3) -> tuple[str, ...]:
    """The known names nearest to `name`, without regard to case."""
    import difflib

    folded: dict[str, str] = {}
    for each in known:
        folded.setdefault(each.casefold(), each)
    found = difflib.get_close_matches(name.casefold(), folded, n=count, cutoff=0.6)
    return tuple(folded[each] for each in found)
