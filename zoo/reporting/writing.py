"""A comparison written for people: as a page, as Markdown, as tables."""

from __future__ import annotations

from pathlib import Path

from zoo.comparison.result import FILE, Comparison, read_comparison
from zoo.errors import UsageError
from zoo.records.files import published

FOLDER = "comparisons"
"""Where `zoo compare` puts them."""
PAGE = "report.html"


def report(
    comparison: Comparison | str | Path,
    *,
    html: str | Path | None = None,
    markdown: str | Path | None = None,
    csv: str | Path | None = None,
) -> tuple[Path, ...]:
    """Write what a comparison found; gives the files that were written.

    Args:
        comparison: what `compare` gave; or its folder, its file, its name under `comparisons`, or "last".
        html: one page that needs nothing else. Where no file is named at all, `report.html` in the comparison's folder.
        markdown: the same sentences and tables, without figures.
        csv: a folder, for `standings.csv`, `differences.csv` and `curves.csv`.

    Raises:
        UsageError: no such comparison, or a file that cannot be meant.
    """
    if isinstance(comparison, Comparison):
        found = comparison
    else:
        path = find_comparison(comparison)
        found = read_comparison(path)
        if html is None and markdown is None and csv is None:
            html = (path if path.is_dir() else path.parent) / PAGE
    if html is None and markdown is None and csv is None:
        raise UsageError("a report needs a file to be written into", help="name one, as in html='report.html'")
    return _write(found, *(None if each is None else Path(each) for each in (html, markdown, csv)))


def find_comparison(name: str | Path) -> Path:
    """The folder or file of a comparison: as it stands, by its name under `comparisons`, or the newest for "last".

    Raises:
        UsageError: there is none.
    """
    if Path(name).exists():
        return Path(name)
    if (Path(FOLDER) / name / FILE).is_file():
        return Path(FOLDER) / name
    known = sorted(Path(FOLDER).glob(f"*/{FILE}"), key=lambda file: file.stat().st_mtime)
    if str(name) == "last" and known:
        return known[-1].parent
    there = (
        f"there are {', '.join(file.parent.name for file in known[-5:])}" if known else "make one with `zoo compare`"
    )
    raise UsageError(f"No comparison is named '{name}'.", help=there)


def _write(found: Comparison, html: Path | None, markdown: Path | None, csv: Path | None) -> tuple[Path, ...]:
    from zoo.reporting import markdown as plain
    from zoo.reporting import page, tidy
    from zoo.reporting.build import build

    for path in (html, markdown):
        if path is not None and path.is_dir():
            raise UsageError(f"'{path}' is a folder", help=f"name a file in it, such as {path / 'report.html'}")
    if csv is not None and csv.exists() and not csv.is_dir():
        raise UsageError(f"'{csv}' is a file", help="name a folder: standings, differences and curves are a file each")
    built = build(found) if html is not None or markdown is not None else None
    texts = {html: page.page, markdown: plain.markdown}
    written = []
    for path, make in texts.items():
        if path is not None and built is not None:
            with published(path) as temporary:
                temporary.write_text(make(built), encoding="utf-8", newline="\n")
            written.append(path)
    return (*written, *(tidy.write_tables(found, csv) if csv is not None else ()))
