"""`zoo list`, `info`, `--version` and `--help` from what was worked out before, before Typer could be imported.

Whatever is unusual on the line or in the environment, and whatever is wrong, is left to Typer and the catalogue.
"""

from __future__ import annotations

import json
import os
import sys

from zoo.catalog import index
from zoo.cli.plain import note, print_text

TYPE_CHECKING = False  # as in `plain`
if TYPE_CHECKING:
    from typing import Any

_LIST = {
    "--modality": "modality",
    "--family": "family",
    "--source": "source",
    "--min-params": "min_params",
    "--max-params": "max_params",
    "--licence": "licence",
    "--license": "licence",
    "--sort": "sort",
    "--limit": "limit",
}
"""Options of `zoo list` that have a value, and what they are called below."""


class Question:
    """What is asked for on the command line; it can be answered once an answer has been learned."""

    new = False
    """Whether there is nothing yet that could have answered it."""

    def answered(self) -> bool:
        """Whether the answer was known, and has been printed."""
        raise NotImplementedError

    def learn(self) -> None:
        """Keep what answers it, now that Typer and the catalogue have."""


def asked(words: list[str]) -> Question | None:
    """The question, if it is one that may be answered here."""
    if words == ["--version"]:
        return _Version()
    if os.name == "nt" or any(name in os.environ for name in index.SETTINGS):
        return None  # on Windows Typer expands file names first
    if words in (["--help"], ["-h"]):
        return _Help(program) if (program := _program()) else None
    taken = _taken(words[1:], _LIST if words[:1] == ["list"] else {})
    if taken is None or words[:1] not in (["list"], ["info"]):
        return None
    names, given = taken
    if words[0] == "info":
        return _Info(names[0], "--json" in given) if len(names) == 1 else None
    number = given.get("limit", "1")
    fits = len(names) <= 1 and number.isascii() and number.isdigit() and int(number) > 0
    return _List(names[0] if names else None, given) if fits else None


class _Version(Question):
    def answered(self) -> bool:
        from zoo import __version__

        print_text(f"zoo {__version__}")
        return True


class _Help(Question):
    """The page of all commands, as Typer wrote it for this width and this way of starting zoo."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.name = f"help-{program.replace(' ', '-')}-{min(_columns(), 80)}"

    def answered(self) -> bool:
        text = index.read(self.name)
        if text is None:
            self.new = True
            return False
        print_text("\n".join(text))
        return True

    def learn(self) -> None:
        from zoo.cli import learning

        index.write(self.name, learning.help_of(self.program).split("\n"), index.own())


class _List(Question):
    """Some rows of the list of backbones, or all heads, strategies and the like."""

    def __init__(self, pattern: str | None, given: dict[str, str]) -> None:
        self.pattern, self.json = pattern, "--json" in given
        self.limit = int(given["limit"]) if "limit" in given else None
        self.chosen = {name: value for name, value in given.items() if name not in ("--json", "limit")}

    def answered(self) -> bool:
        from zoo.cli import rows

        name = self.pattern if self.pattern in rows.NOUNS[1:] else "rows"
        kept, texts = index.read(name), index.read(f"{name}-json") if self.json else []
        if kept is None or texts is None:
            self.new = True
            return False
        values = json.loads(f"[{','.join(filter(None, kept))}]")
        if name != "rows":
            rows.show_json([text for text in texts if text]) if self.json else rows.show_nouns(name, values)
            return True
        try:
            found = self._chosen(values)
        except Exception:  # noqa: BLE001  (whatever is wrong, Typer and the catalogue say it as they always do)
            return False
        shown = found[: self.limit]
        if self.json:
            rows.show_json([texts[row.place] for row in shown])
        else:
            rows.show(found, [row.cells for row in shown], self.limit)
        return True

    def _chosen(self, kept: list[Any]) -> list[_Row]:
        from zoo.cli.rows import count
        from zoo.verbs.choosing import choose

        limits = {name: count(self.chosen.get(name)) for name in ("min_params", "max_params")}
        words = {name: value for name, value in self.chosen.items() if name not in limits}
        pattern = None if self.pattern == "backbones" else self.pattern
        return choose(
            [_Row(place, row) for place, row in enumerate(kept)],
            pattern,
            modality=words.get("modality"),
            family=words.get("family"),
            source=words.get("source"),
            min_params=limits["min_params"],
            max_params=limits["max_params"],
            licence=words.get("licence"),
            sort=words.get("sort", "name"),
        )

    def learn(self) -> None:
        from zoo.cli import learning

        learning.keep_rows()


class _Info(Question):
    """The card of one backbone that is listed under just this name."""

    def __init__(self, name: str, json: bool) -> None:
        self.name, self.json = name, json

    def answered(self) -> bool:
        kept = index.read("cards")
        self.new = kept is None
        names = json.loads(kept[0]) if kept else {}
        if kept is None or self.name not in names:
            return False
        place, notes = names[self.name]
        card = json.loads(kept[place])
        from zoo.catalog.origins import is_here

        card["cached"] = is_here(card["weights"]["origin"]) if card["weights"] else True
        if self.json:
            from zoo.cli.console import print_json

            print_json(card)
            return True
        from zoo.cli.cards import show

        for each in notes:
            note(f"note: {each}")
        show(card)
        return True

    def learn(self) -> None:
        from zoo.cli import learning

        learning.keep_cards()


class _Row:
    """A row of the index, as `choose` takes it."""

    __slots__ = ("cells", "dim", "family", "licence", "metric", "modalities", "name", "params", "place", "source")

    def __init__(self, place: int, values: list[Any]) -> None:
        self.place = place
        (
            self.name,
            self.source,
            self.family,
            self.modalities,
            self.params,
            self.dim,
            self.licence,
            self.metric,
            self.cells,
        ) = values


def _taken(words: list[str], options: dict[str, str]) -> tuple[list[str], dict[str, str]] | None:
    """The names on the line, and what was given by option; None if Typer might read the line in another way."""
    names: list[str] = []
    given: dict[str, str] = {}
    left = iter(words)
    for word in left:
        if not word.startswith("-"):
            names.append(word)
            continue
        option, equals, value = word.partition("=")
        name = option if option == "--json" else options.get(option)
        if name is None or name in given or (name == "--json" and equals):
            return None
        if name != "--json" and not equals:
            value = next(left, "-")
            if value.startswith("-"):
                return None
        given[name] = value
    return names, given


def _program() -> str | None:
    """What Typer calls the program on its pages; None where zoo was started in some other way than the usual two."""
    package = getattr(sys.modules.get("__main__"), "__package__", None)
    name = os.path.basename(sys.argv[0])  # noqa: PTH119
    if not package:
        return "zoo" if name == "zoo" else None
    return "python -m zoo" if (package, name) == ("zoo", "__main__.py") else None


def _columns() -> int:
    """As `shutil.get_terminal_size` has it, which would take as long to import as all of this."""
    given = os.environ.get("COLUMNS", "")
    if given.isascii() and given.isdigit() and int(given) > 0:
        return int(given)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80  # type: ignore[union-attr]
    except (AttributeError, ValueError, OSError):
        return 80
