"""What `--help` says: every command, every option, in 80 columns, and nothing that the pages do not know."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer
from program import CLI_PAGE, Zoo, documented

from zoo.cli.main import make_app

COMMANDS = {name: command for name, command in typer.main.get_command(make_app()).commands.items()}  # type: ignore[attr-defined]  # noqa: C416


def test_zoo_alone_shows_every_command_and_ends_with_2(zoo: Zoo) -> None:
    done = zoo()
    assert done.code == 2
    assert not done.err
    for name in COMMANDS:
        assert re.search(rf"^  {name}  +\w", done.out, re.MULTILINE)
    assert "..." not in done.out.partition("Commands:")[2], "a summary is cut"


@pytest.mark.parametrize("name", sorted(COMMANDS))
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_fits_a_terminal_and_explains_every_option(zoo: Zoo, name: str, flag: str) -> None:
    done = zoo(name, flag)
    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= 80
    assert "\x1b" not in done.out
    for param in COMMANDS[name].params:
        assert getattr(param, "help", None), f"{param.name} has no help"
        for option in param.opts if param.param_type_name == "option" else [param.name]:
            assert re.search(rf"(^|[\s,]){re.escape(option)}\b", done.out, re.MULTILINE), option


def test_the_options_of_finetune_stand_under_headings(zoo: Zoo) -> None:
    out = zoo("finetune", "--help").out
    headings = re.findall(r"^(\S.*):$", out, re.MULTILINE)
    assert headings == ["Arguments", "Options", "Finer points of training", "Data", "Output"]


def test_the_page_lists_every_command_and_shows_each(zoo: Zoo) -> None:
    assert documented("| command | does |") == {f"zoo {name}" for name in COMMANDS}
    page = CLI_PAGE.read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"\n## zoo {name}\n" in page


def below(command: Any) -> list[Any]:
    """A command with those that stand below it."""
    return [command, *getattr(command, "commands", {}).values()]


@pytest.mark.parametrize(
    "words", [(n, w) for n, c in COMMANDS.items() for w in getattr(c, "commands", {})], ids="-".join
)
def test_help_of_a_command_below_another_explains_its_options_and_shows_an_example(
    zoo: Zoo, words: tuple[str, str]
) -> None:
    done = zoo(*words, "--help")
    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= 80
    assert f"For example  zoo {words[0]} {words[1]} " in done.out
    for param in COMMANDS[words[0]].commands[words[1]].params:
        assert getattr(param, "help", None), f"{param.name} has no help"


def test_every_option_the_pages_mention_exists() -> None:
    root = CLI_PAGE.parents[1]
    commands = [each for command in COMMANDS.values() for each in below(command)]
    known = {option for command in commands for param in command.params for option in param.opts}
    known |= {"--help", "--version", "--debug", "--no-plugins"}
    known |= {"--nproc-per-node", "--nnodes", "--multi", "--num", "--cpu", "--use", "--fsdp"}  # of their launchers
    for page in (*sorted((root / "docs").glob("*.md")), root / "README.md"):
        text = re.sub(
            r"^.*(?:pip|git|pytest|curl|sbatch) .*$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE
        )
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) <= known, page.name


def test_the_version_is_that_of_the_package(zoo: Zoo) -> None:
    import zoo as package

    assert zoo("--version").out == f"zoo {package.__version__}\n"


def test_the_readme_shows_no_command_that_does_not_exist() -> None:
    text = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`?zoo ([a-z]+) [A-Zr\[]", text)) <= set(COMMANDS)
