"""Figures as SVG that takes its colours and its type from the page around it."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from zoo.reporting.names import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, FAINT, PAPER = "#0f0f01", "#0f0f02", "#0f0f03"
"""Colours that stand for those of the page; no figure is ever shown in them."""
_VARIABLES: Mapping[str, str] = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    PAPER: "var(--paper)",
    "#0f0f10": "var(--c0)",
    **{f"#0f0f1{index}": f"var(--c{index})" for index in range(1, COLOURS + 1)},
}
_SETTINGS: Any = {  # names that matplotlib's types know differ from release to release
    "svg.fonttype": "none",  # text stays text: it is searched, read aloud and set in the page's own type
    "text.parse_math": False,  # a dollar in a name is a dollar
    "font.size": 9.0,
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, so that a figure is laid out alike everywhere
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "grid.alpha": 0.45,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}


def colour(index: int) -> str:
    """What matplotlib is given for the page's colour of this number; 0 is grey."""
    return f"#0f0f1{index}"


@contextlib.contextmanager
def settings() -> Iterator[None]:
    """Draw within this; nothing of the caller's own matplotlib is changed, nor does it change the figures."""
    import matplotlib as mpl

    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


def as_svg(drawn: Figure, salt: str) -> str:
    """The element alone, for the middle of a page; the same figure gives the same text.

    Args:
        drawn: made within `settings`.
        salt: tells its identifiers from those of the other figures of the page.
    """
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": salt}):
        drawn.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # The style of matplotlib's own would hold for the whole page; groups have names that every figure shares.
    text = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'(<svg )[^>]*?(viewBox="[^"]*")[^>]*>', r'\1\2 aria-hidden="true" focusable="false">', text, count=1)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--type)", text)
    text = re.sub(r"#0f0f[01]\d", lambda found: _VARIABLES[found.group()], text)
    return re.sub(r"\n\s*", "\n", text).strip()
