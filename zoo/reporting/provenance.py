"""What a reader needs to trust a comparison and to do it again."""

from __future__ import annotations

from zoo.comparison.result import Comparison
from zoo.reporting import words
from zoo.reporting.blocks import Block, Cell, Column, Command, Facts, Fold, Grid, Row, Section, Whisker
from zoo.reporting.names import Names
from zoo.reporting.results import scale_of


def overall(found: Comparison, names: Names) -> Section | None:
    """Mean rank over the data sets."""
    if not found.overall:
        return None
    scale = scale_of([(each.mean_rank, each.interval) for each in found.overall])
    columns = (
        Column("Contender", "name"),
        Column("Mean rank"),
        Column("95% interval", "drawn", (words.figure(scale[0], 1), words.figure(scale[1], 1))),
        Column("Data sets"),
    )
    rows = []
    for each in sorted(found.overall, key=lambda one: one.mean_rank):
        pair = each.interval and f"[{each.interval[0]:.1f}, {each.interval[1]:.1f}]"
        drawn = Whisker(each.mean_rank, each.interval, scale)
        rows.append(
            Row(
                (
                    Cell(each.contender, name=names.bare(each.contender)),
                    Cell(f"{each.mean_rank:.2f}", pair or ""),
                    Cell(drawn=drawn),
                    Cell(str(each.data)),
                )
            )
        )
    said = ("1 is best. The interval is over draws of data sets and rows: with few sets it is wide, and should be.",)
    grid = Grid("Mean rank, lower is better", columns, tuple(rows))
    return Section("overall", "Over all data sets", said, (grid,))


def failures(found: Comparison, names: Names) -> Section | None:
    """What could not be measured."""
    if not found.failures:
        return None
    rows = tuple(Row((Cell(what), Cell(why))) for what, why in found.failures.items())
    grid = Grid("What could not be measured, and why", (Column("What", "name"), Column("Why", "text")), rows)
    return Section("failures", "Failures", ("Every table above is without these.",), (grid,))


def protocol(found: Comparison, names: Names) -> Section:
    """The command, the versions, the machine, the splits and their fingerprints."""
    how = found.protocol
    pairs = [
        ("Begun", how.started.replace("T", " ").replace("+00:00", " UTC")),
        (
            "Took",
            f"{words.duration(how.seconds)}: {how.computed:,} trained or solved, {how.cached:,} known from earlier",
        ),
        ("Strategies", words.listed(how.strategies)),
        ("Head", how.head or "as the strategy has it"),
        ("Rows a class", ", ".join(map(str, how.shots))),
        ("Seeds", ", ".join(map(str, how.seeds))),
        ("Reference", how.reference or "none was chosen: differences are to the best"),
        ("zoo", how.zoo),
        *((name, words.plain(value)) for name, value in how.machine.items() if name != "zoo"),
    ]
    blocks: list[Block] = [Command(how.command), Facts(tuple(pairs)), _data(found), _contenders(found, names)]
    for data in found.data:
        if data.notes:
            rows = tuple(Row((Cell(note),)) for note in data.notes)
            blocks.append(
                Fold(f"How {words.short(data.name, 60)} was read", (Grid("Notes", (Column("Note", "name"),), rows),))
            )
    for title, given in (("Training options", how.training), ("Reading options", how.read)):
        if shown := words.options(given):
            blocks.append(Fold(title, (Facts(tuple(shown)),)))
    said = ("The same row ids, splits, seeds and head for every contender. To do it again:",)
    return Section("protocol", "Protocol and provenance", said, tuple(blocks))


def _data(found: Comparison) -> Grid:
    columns = (
        Column("Data", "name"),
        Column("Task", "text"),
        Column("Modalities", "text"),
        Column("Classes"),
        Column("Rows", "text"),
        Column("Measured on", "text"),
        Column("Fingerprint of the splits", "text"),
    )
    rows = tuple(
        Row((
            Cell(each.name), Cell(each.task), Cell(" + ".join(each.modalities)), Cell(str(len(each.classes) or "–")),
            Cell(", ".join(f"{n:,} {split}" for split, n in each.rows.items())), Cell(each.held_out),
            Cell(words.short(each.fingerprint, 17)),
        ))
        for each in found.data
    )  # fmt: skip
    return Grid("Data", columns, rows)


def _contenders(found: Comparison, names: Names) -> Grid:
    columns = (
        Column("Contender", "name"),
        Column("Backbone", "text"),
        Column("Modalities", "text"),
        Column("Strategy", "text"),
        Column("Licence of the weights", "text"),
    )
    rows = tuple(
        Row((
            Cell(each.title, name=names.bare(each.title)), Cell(each.backbone), Cell(" + ".join(each.modalities)),
            Cell(each.strategy), Cell(each.licence or "–"),
        ), "floor" if each.floor_of is not None else "plain")
        for each in sorted(found.contenders, key=lambda one: int(names[one.title].sign or 0))
    )  # fmt: skip
    return Grid("Contenders", columns, rows)
