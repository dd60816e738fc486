"""The report as one HTML file that needs nothing else."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from zoo.reporting import words
from zoo.reporting.blocks import Report
from zoo.reporting.names import SHAPES

if TYPE_CHECKING:
    from jinja2 import Environment


def page(report: Report) -> str:
    """The HTML; the same report gives the same bytes."""
    template = _environment().get_template("page.html")
    return template.render(report=report, style=(files(__package__) / "page.css").read_text(encoding="utf-8"))


@lru_cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def finish(value: Any) -> Any:
        """Whatever is put into the page: no control character and no mark of direction acts on what is around it."""
        return words.visible(value) if type(value) is str else value

    environment = Environment(
        loader=FileSystemLoader(str(files(__package__))),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finish,
    )
    environment.globals["shapes"] = SHAPES
    environment.tests["kind"] = lambda block, kind: type(block).__name__ == kind
    environment.filters["brief"] = lambda title: words.short(title, 120)
    environment.filters["drawing"] = Markup  # only what `figures` drew, in which no name from outside stands
    return environment
