"""Learning curves as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import UsageError
from zoo.records.files import published
from zoo.transfer.sweep import ALL, Point

if TYPE_CHECKING:
    from zoo.verbs.probe import LearningCurves

FORMATS = (".png", ".svg", ".pdf")
_MARKS = ("o", "s", "^", "D", "v", "P")
"""So that heads can be told apart without colours."""
_WIDEST = 64
"""Letters of a title that fit above the axes."""


def check_picture(path: Path) -> None:
    """Refuse a file that no picture can be written to.

    Raises:
        UsageError: another ending than `FORMATS`, or a folder that is not there.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"'{path}' has no ending of a picture", help=f"use one of {', '.join(FORMATS)}")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"the folder {path.parent} is not there", help="make it first")


def draw(found: LearningCurves, path: Path) -> Path:
    """The metric over training rows, a line a head with the intervals of the means; all rows with theirs.

    Raises:
        UsageError: another ending than `FORMATS`, or a folder that is not there.
    """
    from matplotlib.figure import Figure

    check_picture(path)
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for index, head in enumerate(found.sweep.heads):
        _line(axes, found.sweep.of(head), head, f"C{index}", _MARKS[index % len(_MARKS)], (index - 1) * 0.06)
    rows = sorted({point.rows for point in found.sweep.points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(rows, [f"{row:,}" for row in rows])
    axes.minorticks_off()
    axes.set_xlabel("training rows")
    axes.set_ylabel(f"{found.split} {found.sweep.metric}")
    axes.set_title(f"{_short(found.backbone)}\n{_short(Path(found.data).name or found.data)}", fontsize="medium")
    axes.grid(alpha=0.3)
    axes.legend(title=_legend(found), title_fontsize="x-small", fontsize="small")
    with published(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lower()[1:], dpi=150)
    return path


def _line(axes: Any, points: tuple[Point, ...], head: str, colour: str, mark: str, shift: float) -> None:
    known = [point for point in points if point.mean is not None]
    means = [(point.rows, float(point.mean or 0.0)) for point in known]
    axes.plot(*zip(*means, strict=True), color=colour, marker=mark, markersize=4, label=head) if means else None
    few = [point for point in known if point.interval is not None and point.shots != ALL]
    if few:
        low, high = zip(*(point.interval for point in few if point.interval is not None), strict=True)
        axes.fill_between([point.rows for point in few], low, high, color=colour, alpha=0.15, linewidth=0)
    for point in known:
        if point.shots == ALL and point.interval is not None:
            place = point.rows * 2**shift  # side by side, or they hide each other
            axes.plot([place, place], point.interval, color=colour, linewidth=1.2)


def _short(name: str) -> str:
    """The end of a name, which tells most of a path."""
    return name if len(name) <= _WIDEST else f"…{name[1 - _WIDEST :]}"


def _legend(found: LearningCurves) -> str:
    count = len(found.sweep.seeds)
    said = [f"mean of {count} draws, band: its 95% interval"] if count > 1 else []
    if any(point.shots == ALL for point in found.sweep.points):
        said.append("all rows: bar, 95% over held-out rows")
    return "\n".join(said)
