"""`zoo plan`: what a strategy would train, with nothing loaded."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import typer

from zoo.cli import console, options
from zoo.cli.parsing import names, options_of


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "plan",
        help="Show which stages a strategy trains, at which rate.\n\nFor example  zoo plan resnet18 --strategy full",
    )(plan)


def plan(
    name: options.Backbone[str],
    strategy: options.Strategy[str] = "full",
    unfreeze: options.Unfreeze[int] = 1,
    freeze: options.Freeze = None,
    backbone_lr: options.BackboneLr[float] = 0.1,
    strategy_options: options.StrategyOptions = None,
    json: options.Json = False,
) -> None:
    """Parse, call the verb, render."""
    from zoo.verbs.plan import plan as make

    given = options_of(strategy_options)
    made = make(
        name,
        strategy=strategy,
        unfreeze=unfreeze,
        freeze=names(freeze) or (),
        backbone_lr=backbone_lr,
        strategy_options=given,
    )
    if json:
        return console.print_json(asdict(made))
    for note in made.notes:
        console.note(f"note: {note}")
    console.print_table(*rate_table(made.stages, made.phases))
    return None


def rate_table(stages: Any, phases: Any) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: one row a stage, what is inserted, and the head, one column a phase; `.` is frozen."""
    header = ["stage", *(_title(phase) for phase in phases)]
    inserted = ["adapters"] if any("adapters" in phase.lr for phase in phases) else []
    names = [*(stage.name for stage in stages), *inserted, "head"]
    rows = [[name, *(_rate(phase.lr.get(name, 0.0), phase.solver, name) for phase in phases)] for name in names]
    return header, rows


def _title(phase: Any) -> str:
    return phase.name if phase.share == 1 else f"{phase.name} ({phase.share:.0%} of epochs)"


def _rate(value: float, solver: str, name: str) -> str:
    if solver == "closed-form" and name == "head":
        return "solved"
    return "frozen" if value == 0 else f"{value:g} x lr"
