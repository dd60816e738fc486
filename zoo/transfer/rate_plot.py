"""The picture of a sweep of the learning rate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.transfer.rates import RateSweep

LONGEST = 40
"""Characters of a name that has a place in the title."""
FORMATS = ("png", "svg", "pdf")


def check_picture(path: Path) -> None:
    """Refuse, before anything is computed, what could not be drawn to.

    Raises:
        UsageError: another ending, or a folder that is not there.
    """
    if path.suffix.lower().removeprefix(".") not in FORMATS:
        raise UsageError(f"{path} is no picture that can be drawn", help=f"end it in .{', .'.join(FORMATS)}")
    if not path.parent.is_dir():
        raise UsageError(f"the folder {path.parent} is not there", help="make it first, or name another")


def draw(sweep: RateSweep, path: Path) -> Path:
    """Losses of the steps, their smoothed curve, and the suggested rate.

    Raises:
        UsageError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    check_picture(path)
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    smoothed = sweep.smoothed
    axes.plot(sweep.rates, sweep.losses, color="0.75", linewidth=1, label="each step")
    axes.plot(sweep.rates, smoothed, color="tab:blue", linewidth=2, label="smoothed")
    rate = sweep.suggestion
    height = float(np.interp(np.log(rate), np.log(sweep.rates), smoothed))
    axes.axvline(rate, color="tab:red", linestyle="--", linewidth=1)
    axes.plot([rate], [height], "o", color="tab:red", label=f"suggestion {rate:.0e}")
    axes.axvline(sweep.lowest, color="0.4", linestyle=":", linewidth=1, label=f"lowest at {sweep.lowest:.1e}")
    axes.set_xscale("log")
    low, high = float(smoothed.min()), float(np.max(smoothed[: max(int(smoothed.argmin()), 1)]))
    room = 0.15 * (high - low) or 0.1
    axes.set_ylim(min(low, min(sweep.losses)) - room / 3, high + 3 * room)  # what explodes leaves the picture
    axes.set_xlabel("learning rate of the head, rising from step to step")
    axes.set_ylabel("training loss")
    title = f"{_short(sweep.backbone)} on {_short(sweep.data)}"
    axes.set_title(f"{title}\n{sweep.strategy}, {sweep.optimizer}, {sweep.batch_size} rows a step", fontsize=10)
    axes.legend(loc="best", fontsize=9)
    axes.grid(alpha=0.3, which="major")
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", help="name another file") from error
    return path


def _short(name: str) -> str:
    """The end of a name, for paths are long."""
    return name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}"
