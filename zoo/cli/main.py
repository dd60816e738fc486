"""The `zoo` program: environment first, then Typer, then one verb."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated, Any

import typer

ENVIRONMENT = {
    # Threads that spin while they wait make small models many times slower on a busy machine.
    "OMP_WAIT_POLICY": "PASSIVE",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}


def prepare_environment() -> None:
    """Settings that must stand before torch is imported; the user's own are kept."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if "OMP_NUM_THREADS" not in os.environ:
        try:
            cores = len(os.sched_getaffinity(0))
        except AttributeError:  # not on this system
            cores = os.cpu_count() or 1
        # One core is left to decode images and to the rest of the machine.
        os.environ["OMP_NUM_THREADS"] = str(max(cores - 1, 1) if cores > 2 else cores)


def make_app() -> typer.Typer:
    """The program with every command."""
    from zoo.cli import (
        check,
        cross_modal,
        distill,
        doctor,
        evaluate,
        extract,
        find_lr,
        finetune,
        hybrid,
        info,
        listing,
        plan,
        plugins,
        predict,
        probe,
        runs,
        zero_shot,
    )

    app = typer.Typer(
        name="zoo",
        help="One interface to every pretrained backbone.\n\nFor example  zoo finetune torchvision/resnet18 photos/",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # help as plain text: the same in a terminal, a pipe and a log
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_globals)
    for module in (
        listing,
        info,
        plan,
        check,
        extract,
        probe,
        find_lr,
        finetune,
        distill,
        hybrid,
        evaluate,
        predict,
        zero_shot,
        cross_modal,
        runs,
        plugins,
        doctor,
    ):
        module.register(app)
    return app


def run() -> None:
    """Entry point of the console script; turns errors into one message and an exit code."""
    prepare_environment()
    _take_globals(sys.argv)
    from zoo.cli import console
    from zoo.cli.parsing import PARSE_ERRORS, as_usage_error
    from zoo.errors import ZooError

    warnings.showwarning = console.show_warning
    try:
        _add_plugin_commands(app := make_app())
        code = app(standalone_mode=False)
        if code == 130:  # what Typer makes of Ctrl-C
            console.note("interrupted")
    except PARSE_ERRORS as error:
        code = console.print_error(as_usage_error(error, sys.argv)) if len(sys.argv) > 1 else _help(error)
    except ZooError as error:
        if _debug():
            raise
        code = console.print_error(error)
    except (KeyboardInterrupt, typer.Abort):
        console.note("interrupted")
        code = 130
    except Exception as error:
        if _debug():
            raise
        console.note(f"error[bug]: {type(error).__name__}: {error}")
        console.note("help: this is a fault of zoo or of a plugin; run again with --debug and report what it prints")
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _help(error: Any) -> int:
    """What `zoo` alone shows."""
    from zoo.cli import console

    console.print_text(error.format_message())
    return 2


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
    _apply(debug=debug, no_plugins=no_plugins)


def _apply(*, debug: bool, no_plugins: bool) -> None:
    if debug:
        os.environ["ZOO_DEBUG"] = "1"
    if no_plugins:
        os.environ["ZOO_PLUGINS"] = ""


def _take_globals(argv: list[str]) -> None:
    """Take --debug and --no-plugins out of the line: they are added at its end by whoever repeats a command."""
    end = argv.index("--") if "--" in argv else len(argv)
    _apply(debug="--debug" in argv[:end], no_plugins="--no-plugins" in argv[:end])
    argv[:end] = [word for word in argv[:end] if word not in ("--debug", "--no-plugins")]


def _debug() -> bool:
    return os.environ.get("ZOO_DEBUG", "") not in ("", "0")


def _add_plugin_commands(app: typer.Typer) -> None:
    """Commands of plugins; only looked for where the first word is no command of ours, so that ours start fast."""
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    known = {command.name for command in app.registered_commands} | {g.name for g in app.registered_groups}
    if not words or words[0] in known:
        return
    from zoo.catalog.discovery import default_catalog
    from zoo.catalog.guard import as_plugin_error, stdout_to_stderr
    from zoo.cli import console

    for name, manager in default_catalog().managers.items():
        try:
            with stdout_to_stderr():
                manager.hook.zoo_commands(app=app)
        except (Exception, SystemExit) as error:  # noqa: BLE001  (a plugin's fault costs a line, not the program)
            console.note(f"warning: the commands of plugin '{name}' are left out: {as_plugin_error(error).what}")


if __name__ == "__main__":
    run()
