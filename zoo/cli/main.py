"""The `zoo` program: environment first, then the index if that is enough, then Typer and one verb.

Nothing here imports Typer before it is known to be needed: it takes longer than most answers.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as in `zoo` itself: importing `typing` would cost more than an answer from the index
if TYPE_CHECKING:
    from typing import Any

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
    from zoo.cli import app

    return app.make_app()


def run() -> None:
    """Entry point of the console script; turns errors into one message and an exit code."""
    prepare_environment()
    _take_globals(sys.argv)
    if "WORLD_SIZE" in os.environ:
        from zoo.cli import launched

        if launched.launched():
            sys.exit(launched.run(sys.argv[1:], _run))
    from zoo.cli import quick

    question = quick.asked(sys.argv[1:])
    if question is not None and question.answered():
        sys.exit(0)
    if question is not None and question.new:
        from zoo.catalog.looked_at import WATCH

        WATCH.wanted = True  # what plugins look at now decides for how long the answer can be kept
    code = _run()
    if question is not None and question.new and code == 0:
        import contextlib

        with contextlib.suppress(Exception, KeyboardInterrupt):  # the answer is out; the next one takes its time again
            question.learn()
    sys.exit(code)


def _run() -> int:
    import warnings

    import typer

    from zoo.cli import console
    from zoo.cli.app import app_for
    from zoo.cli.parsing import PARSE_ERRORS, as_usage_error
    from zoo.errors import ZooError

    warnings.showwarning = console.show_warning
    try:
        code: Any = app_for(sys.argv[1:])(standalone_mode=False)
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
    return code if isinstance(code, int) else 0


def _help(error: Any) -> int:
    """What `zoo` alone shows."""
    from zoo.cli import console

    console.print_text(error.format_message())
    return 2


def apply(*, debug: bool, no_plugins: bool) -> None:
    """Make the settings of the whole program known to all that runs below."""
    if debug:
        os.environ["ZOO_DEBUG"] = "1"
    if no_plugins:
        os.environ["ZOO_PLUGINS"] = ""


def _take_globals(argv: list[str]) -> None:
    """Take --debug and --no-plugins out of the line: they are added at its end by whoever repeats a command."""
    end = argv.index("--") if "--" in argv else len(argv)
    apply(debug="--debug" in argv[:end], no_plugins="--no-plugins" in argv[:end])
    argv[:end] = [word for word in argv[:end] if word not in ("--debug", "--no-plugins")]


def _debug() -> bool:
    return os.environ.get("ZOO_DEBUG", "") not in ("", "0")


if __name__ == "__main__":
    run()
