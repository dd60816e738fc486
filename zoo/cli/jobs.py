"""What `--dry-run` prints: the jobs that are left, and the command lines that carry them out."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli import console
from zoo.cli.options import under
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.verbs.jobs import Jobs

_work = under("Where the work is done")

Executor = Annotated[str, _work("local, or ray for a Ray cluster.")]
AtOnce = Annotated[int | None, _work("At once; one for each GPU, or one.", "--jobs")]
DryRun = Annotated[bool, _work("Show what is left as jobs with their commands; with --json for Slurm.", "--dry-run")]
Only = Annotated[str | None, _work("Carry out one job of --dry-run, and keep what comes of it.", "--only")]

NOT_OF_A_JOB = ("only", "dry_run", "json", "report", "csv", "executor", "jobs")
NOT_OF_THE_WHOLE = ("only", "dry_run", "json")


def check_one(only: str | None, dry_run: bool, page: Path | None) -> None:
    """Refuse options that cannot go together.

    Args:
        only: of `--only`.
        dry_run: whether `--dry-run` was given.
        page: a file that the whole would be written into.

    Raises:
        UsageError: two that exclude each other.
    """
    if only is not None and dry_run:
        raise UsageError("--dry-run shows jobs, and --only carries one out", help="leave one of them out")
    if only is not None and page is not None:
        raise UsageError(f"{page} is written of the whole, and --only does a part of it", help="leave one of them out")


def words_of(context: typer.Context) -> Callable[[str | None], tuple[str, ...]]:
    """The command line that was typed, for one job or for the whole."""

    def words(job: str | None) -> tuple[str, ...]:
        if job is None:
            return (*_program(), *typed(context, without=NOT_OF_THE_WHOLE))
        return (*_program(), *typed(context, without=NOT_OF_A_JOB), "--only", job)

    return words


def typed(context: typer.Context, *, without: Collection[str]) -> list[str]:
    """The command with its arguments and every option that differs from its default.

    Args:
        context: of the command as it was parsed.
        without: names of parameters that are left out.
    """
    words = [str(context.info_name)]
    options: list[str] = []
    for param in context.command.params:
        value = context.params.get(str(param.name))
        if param.name in without or value is None or value == param.default:
            continue
        values: list[Any] = list(value) if isinstance(value, list | tuple) else [value]
        if param.param_type_name == "argument":
            words += map(str, values)
            continue
        option = max(param.opts, key=len)
        options += [option] if value is True else [word for each in values for word in (option, str(each))]
    return words + options


def _program() -> tuple[str, ...]:
    """How this program was started, as short as it is found again."""
    given = Path(sys.argv[0])
    if given.name == "__main__.py":
        return sys.executable, "-m", "zoo"
    found = shutil.which("zoo")
    same = given.name == str(given) or (found is not None and Path(found).resolve() == given.resolve())
    return ("zoo",) if same else (str(given),)


def show_jobs(found: Jobs) -> None:
    """What is known of whom, what is left, and how it is carried out."""
    rows = [[each.name, str(each.known), str(each.left)] for each in found.contenders]
    console.print_table(["", "known", "left"], rows)
    console.print_text("")
    if found.jobs:
        console.print_table(
            ["job", "results", "rows", "GPUs"],
            [[each.name, str(each.results), _rows(each.rows), str(each.gpus)] for each in found.jobs],
        )
    else:
        console.print_text(f"nothing is left to do: all results of the {found.whole} are known")
    for name in found.costs:
        console.print_text(f"costs     of {name} are measured where the {found.whole} is put together")
    console.print_text("")
    plain = found.to_json()
    if found.jobs:
        console.print_text(f"a job     {plain['jobs'][0]['shell']}")
    console.print_text(f"{'then' if found.jobs else 'next':<10}{plain['final']['shell']}")


def _rows(rows: int | None) -> str:
    return "by budget" if rows is None else f"{rows:,}"


def show_done(name: str, new: bool, *, json: bool) -> None:
    """What came of `--only`."""
    if json:
        return console.print_json({"job": name, "status": "done" if new else "known"})
    return console.print_text(f"{name}: {'done and kept' if new else 'known already, nothing was done'}")
