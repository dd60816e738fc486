"""How a fine-tuning run looks while it goes on and when it is done."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, Any, Self

from zoo.cli import console

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from zoo.verbs.run import Event, Run, RunPlan


LINES = 20
"""Epochs of which each has a line; of more, these many have one, evenly spaced, and any that comes late enough."""
PATIENCE = 5.0
"""Seconds without a line after which the next epoch has one."""


class RunView:
    """Shows events on standard error: bars on a terminal, plain lines of epochs otherwise."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.live = not quiet and console.is_interactive()
        self.progress: Progress | None = None
        self.tasks: dict[str, TaskID] = {}
        self.counts: dict[str, int] = {}
        self.last_line = self.last_epoch = time.monotonic()
        self.metric = ""

    def __enter__(self) -> Self:
        if self.live:
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self.progress = Progress(
                TextColumn("{task.description:<10}"),
                BarColumn(bar_width=24),
                TextColumn("{task.percentage:>3.0f}% {task.fields[info]}"),
                TimeRemainingColumn(),
                console=console.stderr(),
                transient=True,
            )
            self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.progress is not None:
            self.progress.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if event.plan is not None:
            self.show_plan(event.plan)
        elif event.record is not None:
            self._record(event.record)
        elif event.note is not None:
            console.note(event.note)
        elif event.doing is not None:
            self._count(event.doing, event.done, event.total)

    def show_plan(self, plan: RunPlan) -> None:
        """The plan, before the first step."""
        from zoo.transfer.metrics import primary

        for label, text in plan_facts(plan):
            console.note(console.fact(label, text, stream=sys.stderr))
        self.metric = primary(plan.task)

    def _record(self, record: Any) -> None:
        shown = record.metrics.get(self.metric)
        held_out = f"  held-out {self.metric} {shown:.3f}" if shown is not None else ""
        if record.kind == "epoch":
            if not self._worth_a_line(record):
                return
            loss = f"loss {record.loss:.3f}" if record.loss is not None else ""
            console.note(f"epoch {record.epoch + 1}  {loss}{held_out}  {_clock(record.seconds)}")
        elif record.kind == "step":
            info = f"loss {record.loss:.3f}  lr {record.lr:.1e}"
            self._advance("training", record.step, record.steps, info)

    def _worth_a_line(self, record: Any) -> bool:
        """Whether an epoch is shown: a hundred quick ones of a head would be a screenful a second."""
        epoch = record.epoch + 1
        epochs = round(epoch * record.steps / max(record.step, 1))
        every = math.ceil(epochs / LINES) if epochs > LINES else 1
        late = time.monotonic() - self.last_epoch > PATIENCE
        if epoch > 1 and epoch % every and epoch != epochs and not late:
            return False
        self.last_epoch = time.monotonic()
        return True

    def _count(self, doing: str, done: int, total: int) -> None:
        self.counts[doing] = self.counts.get(doing, 0) + done
        if self.counts[doing] > total:  # the same work on the next split
            self.counts[doing] = done
        self._advance(doing, self.counts[doing], total, "")

    def _advance(self, name: str, done: int, total: int, info: str) -> None:
        if self.progress is not None:
            if name not in self.tasks:
                for other in self.tasks.values():
                    self.progress.update(other, visible=False)
                self.tasks[name] = self.progress.add_task(name, total=total, info=info)
            self.progress.update(self.tasks[name], completed=done, total=total, info=info, visible=True)
        elif not self.quiet and time.monotonic() - self.last_line > 30:
            console.note(f"{name} {done}/{total} {info}".rstrip())
            self.last_line = time.monotonic()


def plan_facts(plan: RunPlan) -> list[tuple[str, str]]:
    """The plan as labels and sentences."""
    from zoo.cli.console import human_bytes, human_count

    rows = " / ".join(f"{count:,} {split}" for split, count in plan.rows.items())
    what = f"{len(plan.task.classes)} classes"
    if plan.task.kind == "regression":
        what = ", ".join(plan.task.targets)
    if plan.task.kind == "pairs":
        what = "images with texts"
    e, t = plan.estimate, plan.training
    trained = [name for phase in plan.phases for name in phase.trained(plan.stages)]
    inserted = any("adapters" in phase.lr for phase in plan.phases)
    where = f"{len(trained)} of {len(plan.stages)} stages and the head" if trained else "the head alone"
    if inserted:
        where = f"adapters and {where.removesuffix(' alone')}"
    solved = "" if e.steps else ", solved on frozen features"
    facts = [
        ("data", f"{plan.data}  {rows}, {plan.task.kind}, {what}"),
        (
            "backbone",
            f"{plan.backbone}  {human_count(e.params)} parameters, {human_count(e.trained)} trained  "
            f"({plan.device}, {plan.precision})",
        ),
        ("plan", f"{plan.strategy}: {where}{solved}, about {human_bytes(e.memory)} of memory"),
    ]
    if e.steps:
        how = f"{t.optimizer} lr {t.lr:g} ({t.schedule})"
        facts.append(("steps", f"{e.steps:,} of {t.batch_size} rows, {t.epochs} epochs, {how}"))
    return [*facts, *(("note", note) for note in plan.notes)]


def result_lines(run: Run) -> list[str]:
    """The result in a few lines, with what to do next."""
    from zoo.transfer.metrics import shown

    lines = [f"saved     {run.path}"]
    for metric in shown(run.task):
        value, majority = run.metrics.get(metric), run.metrics.get("majority")
        found = "n/a" if value is None else f"{value:.3f}{console.between(run.intervals.get(metric))}"
        beside = f"   majority class {majority:.3f}" if metric.endswith("accuracy") and majority is not None else ""
        beside += "   LEAK" if run.leaked else ""
        lines.append(f"result    {run.split} {metric} {found}{beside}")
    if run.baseline is not None:
        lines += _baseline_lines(run.baseline)
    if run.against is not None:
        lines += against_lines(run.against)
    use = f"zoo predict {run.path} INPUT" if run.task.kind != "pairs" else f"zoo zero-shot {run.path} DATA"
    return [*lines, f"next      zoo evaluate {run.path}", f"          {use}"]


def against_lines(against: Any) -> list[str]:
    """The table of a run beside others, and what it says."""
    apart = {each["from"]: each for each in against["differences"]}
    lines = []
    for side in against["sides"]:
        value = side["metrics"][against["metric"]]
        found = "n/a" if value is None else f"{value:.3f}{console.between(side['intervals'].get(against['metric']))}"
        gain = apart.get(side["title"])
        beside = f"   fine-tuned {gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]" if gain else ""
        lines.append(f"against   {side['title']:<12} {against['metric']} {found}{beside}")
    lines += [f"against   {name:<12} none: {why}" for name, why in against["absent"].items()]
    return [*lines, *(f"against   {note}" for note in against["notes"])]


def _baseline_lines(baseline: Any) -> list[str]:
    lines = []
    for title, key in (("all rows", "probe"), ("5 rows a class", "few_shot")):
        pair = baseline[key]
        if pair is None or pair["pretrained"] is None or pair["random"] is None:
            continue
        gain = pair["pretrained"] - pair["random"]
        lines.append(
            f"transfer  probe, {title}: {baseline['metric']} {pair['pretrained']:.3f} pretrained, "
            f"{pair['random']:.3f} random ({gain:+.3f})"
        )
    return lines


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
