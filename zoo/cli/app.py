"""Every command, under one Typer program; each module is imported when its command is wanted."""

from __future__ import annotations

import importlib
from typing import Annotated

import typer

COMMANDS = {
    "list": "listing",
    "info": "info",
    "plan": "plan",
    "check": "check",
    "data": "data",
    "extract": "extract",
    "probe": "probe",
    "rank": "rank",
    "find-lr": "find_lr",
    "finetune": "finetune",
    "distill": "distill",
    "hybrid": "hybrid",
    "compare": "compare",
    "report": "report",
    "evaluate": "evaluate",
    "predict": "predict",
    "zero-shot": "zero_shot",
    "cross-modal": "cross_modal",
    "runs": "runs",
    "ledger": "ledger",
    "plugins": "plugins",
    "doctor": "doctor",
}
"""Names in the order of `zoo --help`, and the modules of this folder that hold them."""


def make_app(only: str | None = None) -> typer.Typer:
    """The program with every command, or with one."""
    app = typer.Typer(
        name="zoo",
        help="One interface to every pretrained backbone.\n\nFor example  zoo finetune torchvision/resnet18 photos/",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # help as plain text: the same in a terminal, a pipe and a log
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_globals)
    for name in COMMANDS if only is None else (only,):
        importlib.import_module(f"zoo.cli.{COMMANDS[name]}").register(app)
    return app


def app_for(words: list[str]) -> typer.Typer:
    """The program with all that these words may mean.

    Where the first is a command of ours, that one alone; otherwise all, and what plugins add if one may be meant.
    """
    if words and words[0] in COMMANDS:
        return make_app(words[0])
    app = make_app()
    meant = [word for word in words if not word.startswith("-")]
    if meant and meant[0] not in COMMANDS:
        _add_plugin_commands(app)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        from zoo import __version__
        from zoo.cli import console

        console.print_text(f"zoo {__version__}")
        raise typer.Exit


def _globals(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", is_eager=True, callback=_version)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; anywhere on the line.")] = False,
    no_plugins: Annotated[
        bool, typer.Option("--no-plugins", help="Load no installed plugin; anywhere on the line.")
    ] = False,
) -> None:
    from zoo.cli.main import apply

    apply(debug=debug, no_plugins=no_plugins)


def _add_plugin_commands(app: typer.Typer) -> None:
    from zoo.catalog.discovery import default_catalog
    from zoo.catalog.guard import as_plugin_error, stdout_to_stderr
    from zoo.cli import console

    for name, manager in default_catalog().managers.items():
        try:
            with stdout_to_stderr():
                manager.hook.zoo_commands(app=app)
        except (Exception, SystemExit) as error:  # noqa: BLE001  (a plugin's fault costs a line, not the program)
            console.note(f"warning: the commands of plugin '{name}' are left out: {as_plugin_error(error).what}")
