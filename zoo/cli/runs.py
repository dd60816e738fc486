"""`zoo runs`: what was run, newest first."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo.cli import console, options
from zoo.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("runs", help="List runs, show one, or remove one.\n\nFor example  zoo runs show last")(runs)


def runs(
    action: Annotated[str | None, typer.Argument(help="show or rm; nothing lists them.")] = None,
    run: Annotated[str | None, typer.Argument(help="A run's name or folder, or last.")] = None,
    out: options.RunsFolder[str] = "runs",
    json: options.Json = False,
) -> None:
    """Parse, call the verb, render."""
    from zoo.verbs.runs import open_run, remove_run
    from zoo.verbs.runs import runs as list_them

    if action is None:
        found = list_them(out)
        if json:
            return console.print_json([summary.to_json() for summary in found])
        if not found:
            return console.note(f"no runs in {out}; `zoo finetune` makes one")
        rows = [[s.path.name, s.status, s.split or "-", s.shown, s.started] for s in found]
        return console.print_table(["run", "status", "split", "result", "started"], rows)
    if action not in ("show", "rm") or run is None:
        what = "needs the name of a run" if action in ("show", "rm") else "is no action"
        raise UsageError(f"'zoo runs {action}' {what}", help="zoo runs, zoo runs show RUN, or zoo runs rm RUN")
    if action == "show":
        folder = open_run(run, root=out)
        return _show(folder.path, folder.read_json("run.json"), json)
    removed = remove_run(run, root=out)
    return console.print_json({"removed": str(removed)}) if json else console.note(f"removed {removed}")


def _show(path: Path, record: dict[str, Any], json: bool) -> None:
    if json:
        return console.print_json({"run": str(path), **record})
    result = record.get("result") or {}
    shown = {"run": path, **record, "argv": shlex.join(map(str, record.get("argv", ())))}
    shown |= {"seconds": result["seconds"]} if "seconds" in result else {}
    for key, value in shown.items():
        if key != "result":
            console.print_text(console.fact("command" if key == "argv" else key, str(value)))
    for name, value in result.get("metrics", {}).items():
        console.print_text(f"  {name:<18} {'n/a' if value is None else f'{value:.4f}'}")
    return None
