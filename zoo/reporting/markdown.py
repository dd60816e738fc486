"""The report as Markdown: the same sentences and tables, without the figures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from zoo.reporting import words
from zoo.reporting.blocks import (
    Block,
    Case,
    Cell,
    Choice,
    Command,
    Facts,
    Fold,
    Gallery,
    Grid,
    Heading,
    Heat,
    Picture,
    Report,
    Row,
    Section,
)

_ACTS = re.compile(
    r"[\\`*|$]|(?<![^\W_])_|_(?![^\W_])"  # code, emphasis, cells, formulas; an underscore within a word is none
    r"|\](?=[(\[:])|<(?=[\w/!?])|~(?=~)"  # links, tags, struck text
    r"|^[#>]|^[+-](?=\s)|^\d+[.)](?=\s)|^[=-]{2,}"  # headings, quotations, lists
    r"|&(?=[#\w])|@(?=\w)|(?<=\w)://|(?<=www)\."  # letters by number, mentions, addresses
)
"""What Markdown, or a site that shows it, would act upon."""
_MOST_LETTERS = 300


def markdown(report: Report) -> str:
    """GitHub's Markdown; foreign text in it does nothing but stand there."""
    lines = [f"# {text(report.title)}", " · ".join(map(text, report.about)), "## What was found"]
    lines.append(
        "\n".join(f"{number}. {text(each)}" for number, each in enumerate(report.findings, 1))
        or "Nothing that the figures bear out."
    )
    for section in report.sections:
        lines += _section(section)
    return "\n\n".join(line for line in lines if line) + "\n"


def text(foreign: str) -> str:
    """One line that Markdown shows as it is."""
    return _ACTS.sub(_shown, words.one_line(foreign))


def _shown(found: re.Match[str]) -> str:
    letter = found.group()
    if len(letter) > 1 and letter[0].isdigit():
        return f"{letter[:-1]}\\{letter[-1]}"
    if letter == "://":
        return "&#58;//"  # no link is made of it
    return f"&#{ord(letter)};" if letter in "<&@." else f"\\{letter}"


def _section(section: Section) -> list[str]:
    blocks = list(_blocks(section.blocks))
    return (
        [f"## {section.title}", *map(text, section.said), *blocks]
        if any(not each.startswith("###") for each in blocks)
        else []
    )


def _blocks(blocks: Sequence[Block]) -> Iterator[str]:
    for block in blocks:
        match block:
            case Heading():
                yield f"### {text(block.title)}"
            case Grid():
                yield from _grid(block)
            case Heat():
                yield from _heat(block)
            case Picture():
                yield text(block.caption)
            case Choice():
                for option in block.options:
                    yield from _blocks(option.blocks)
            case Fold():
                yield f"**{text(block.title)}**" if not isinstance(block.blocks[0], Grid) else ""
                yield from _blocks(block.blocks)
            case Gallery():
                yield _gallery(block.cases)
            case Facts():
                yield _table(("", ""), [(text(name), text(value)) for name, value in block.pairs])
            case Command():
                yield _code(block.line)


def _grid(grid: Grid) -> Iterator[str]:
    kept = [index for index, column in enumerate(grid.columns) if column.kind != "drawn"]
    yield f"**{text(grid.caption)}**"
    heads = [text(grid.columns[index].title) for index in kept]
    sides = ["---:" if grid.columns[index].kind == "number" else "---" for index in kept]
    yield _table(heads, [_cells(row, kept) for row in grid.rows], sides)
    yield from map(text, grid.notes)


def _cells(row: Row, kept: Sequence[int]) -> list[str]:
    return [_cell(row.cells[index]) for index in kept]


def _cell(cell: Cell) -> str:
    if cell.name is None:
        return text(f"{cell.text} {cell.beside}")
    number = f"{cell.name.sign} " if cell.name.sign else ""
    tags = f" ({', '.join(cell.name.tags)})" if cell.name.tags else ""
    return f"{number}{text(cell.name.title)}{tags}"


def _heat(heat: Heat) -> Iterator[str]:
    yield f"**{text(heat.caption)}**"
    heads = [text(heat.corner), *(name.sign if name.sign else text(name.title) for name in heat.across)]
    rows = [
        [_cell(Cell(name=name)), *(value for value, _ in row)] for name, row in zip(heat.down, heat.cells, strict=True)
    ]
    yield _table(heads, rows, ["---", *["---:"] * len(heat.across)])


def _gallery(cases: Sequence[Case]) -> str:
    rows = []
    for case in cases:
        said = "; ".join(
            f"{text(answer.given)}: {', '.join(text(name.title) for name in answer.by)}" for answer in case.answers
        )
        rows.append((text(case.row), text(words.short(case.text or "", _MOST_LETTERS)), text(case.truth), said))
    return _table(("Row", "Text", "True", "Answers"), rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], sides: Sequence[str] | None = None) -> str:
    lines = [heads, sides or ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(line: str) -> str:
    """A block that ends where it should, whatever backquotes the line has."""
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * max(longest + 1, 3)
    return f"{fence}sh\n{words.one_line(line)}\n{fence}"
