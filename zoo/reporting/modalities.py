"""What only a comparison across modalities can say: what joining brings, and where images and texts differ."""

from __future__ import annotations

from collections.abc import Sequence

from zoo.comparison.result import Comparison, Likeness, Overlap
from zoo.reporting import words
from zoo.reporting.blocks import Block, Cell, Column, Grid, Heat, Name, Row, Section, Share, Whisker
from zoo.reporting.names import Names
from zoo.reporting.results import scale_of


def modalities(found: Comparison, names: Names) -> Section | None:
    """Fusion gain, what a missing modality costs, and where the errors fall."""
    joint = [*_fusion(found, names), *_spoiled(found, names)]
    overlap = _overlap(found, names)
    if not joint:
        return Section("overlap", "Errors in common", (), tuple(overlap)) if overlap else None
    said = (
        "A joint contender is set beside the best of its parts alone; then one of its modalities is taken away at test "
        "time, to see how much it leans on it.",
    )
    return Section("modalities", "Modalities", said, (*joint, *overlap))


def _fusion(found: Comparison, names: Names) -> list[Block]:
    if not found.fusions:
        return []
    scale = scale_of([(each.value, each.interval) for each in found.fusions], zero=True)
    columns = (
        Column("Joint", "name"),
        Column("Data", "text"),
        Column("Rows a class"),
        Column("Best part", "text"),
        Column("Gain"),
        Column("95% interval, paired", "drawn", _ends(scale)),
        Column("p"),
        Column("Clear at 5%", "text"),
    )
    rows = tuple(
        Row((
            Cell(each.joint, name=names.bare(each.joint)), _data(each.data), Cell(str(each.shots)),
            Cell(_numbered(names[each.best])), Cell(words.signed(each.value), words.between_signed(each.interval)),
            Cell(drawn=Whisker(each.value, each.interval, scale, 0.0, hollow=not each.sure)),
            Cell(words.probability(each.p)), Cell("yes" if each.sure else "no"),
        ))
        for each in found.fusions
    )  # fmt: skip
    return [Grid("Fusion gain: joint less the best single modality", columns, rows, ("Dashed line: no gain.",))]


def _spoiled(found: Comparison, names: Names) -> list[Block]:
    if not found.spoiled:
        return []
    scale = scale_of([(each.loss, each.interval) for each in found.spoiled], zero=True)
    columns = (
        Column("Contender", "name"),
        Column("Data", "text"),
        Column("At test time", "text"),
        Column("Value left"),
        Column("Loss"),
        Column("95% interval", "drawn", _ends(scale)),
    )
    rows = tuple(
        Row((
            Cell(each.contender, name=names.bare(each.contender)), _data(each.data),
            Cell(f"{each.modality} {each.how}"),
            Cell(words.figure(each.value)),
            Cell(words.signed(each.loss), words.between_signed(each.interval)),
            Cell(drawn=Whisker(each.loss, each.interval, scale, 0.0)),
        ))
        for each in found.spoiled
    )  # fmt: skip
    note = "Dropped: replaced by what is average. Shuffled: taken from another row. A great loss: it counts."
    return [Grid("A modality that tells nothing", columns, rows, (note,))]


def _overlap(found: Comparison, names: Names) -> list[Block]:
    if not found.overlaps:
        return []
    columns = (
        Column("Pair", "name"),
        Column("Data", "text"),
        Column("Held-out rows", "drawn"),
        Column("Both right"),
        Column("Only first right"),
        Column("Only second right"),
        Column("Both wrong"),
        Column("Kappa"),
        Column("Either right"),
    )
    rows = tuple(
        Row((
            Cell(f"{_numbered(names[each.one])}, {_numbered(names[each.other])}"),
            _data(each.data), Cell(drawn=_shares(each)),
            *(Cell(f"{n:,}") for n in (each.both_right, each.only_one, each.only_other, each.both_wrong)),
            Cell(words.figure(each.kappa, 2)), Cell(f"{each.either:.1%}"),
        ))
        for each in found.overlaps
    )  # fmt: skip
    note = (
        "Kappa of being right: 1 where the same rows are wrong, 0 where that is chance; the lower, the more two can "
        "gain from each other. The bar shows the four counts in their order."
    )
    return [Grid("Where the errors fall", columns, rows, (note,))]


def _shares(each: Overlap) -> tuple[Share, ...]:
    counts = (each.both_right, each.only_one, each.only_other, each.both_wrong)
    whole = sum(counts) or 1
    starts = [sum(counts[:index]) / whole for index in range(4)]
    kinds: tuple[Share, ...] = (
        Share(counts[0], counts[0] / whole, starts[0], "full"),
        Share(counts[1], counts[1] / whole, starts[1], "stripes"),
        Share(counts[2], counts[2] / whole, starts[2], "dots"),
        Share(counts[3], counts[3] / whole, starts[3], "empty"),
    )
    return kinds


def shared_space(found: Comparison, names: Names) -> Section | None:
    """Heads that learned from one modality, tested on the other."""
    if not found.shared:
        return None
    scale = scale_of([(each.value, each.interval) for each in found.shared])
    columns = (
        Column("Backbone", "name"),
        Column("Data", "text"),
        Column("Trained on", "text"),
        Column("Tested on", "text"),
        Column("Value"),
        Column("95% interval", "drawn", _ends(scale, sign=False)),
        Column("Modality gap"),
    )
    rows = tuple(
        Row((
            Cell(each.backbone, name=names.bare(each.backbone)), _data(each.data),
            Cell(each.trained_on), Cell(each.tested_on),
            Cell(words.figure(each.value), words.between(each.interval)),
            Cell(drawn=Whisker(each.value, each.interval, scale)),
            Cell(words.figure(each.gap, 2)),
        ))
        for each in found.shared
    )  # fmt: skip
    said = (
        "Images and texts lie in one space: a head that has seen only the one is tested on the other. The modality "
        "gap is the distance between the centres of the normalised images and texts (0: none, 2: opposite).",
    )
    return Section(
        "shared-space", "A space in common", said, (Grid("Trained on one, tested on the other", columns, rows),)
    )


def likeness(found: Comparison, names: Names) -> Section | None:
    """Linear CKA of the frozen features, a matrix for each data set."""
    blocks: list[Block] = []
    for data in dict.fromkeys(each.data for each in found.likenesses):
        blocks.append(_matrix(data, [each for each in found.likenesses if each.data == data], names))
    said = (
        "How alike backbones see the same rows, before anything is trained: 1 for the same features up to turn and "
        "scale, about 0 for features that have nothing to do with each other (debiased linear CKA).",
    )
    return Section("likeness", "Likeness of features", said, tuple(blocks)) if blocks else None


def _matrix(data: str, pairs: Sequence[Likeness], names: Names) -> Heat:
    who = names.in_order(title for each in pairs for title in (each.one, each.other))
    known = {(a, b): each.cka for each in pairs for a, b in ((each.one, each.other), (each.other, each.one))}

    def cell(one: Name, other: Name) -> tuple[str, float]:
        cka = 1.0 if one == other else known.get((one.title, other.title))
        return ("", 0.0) if cka is None else (words.figure(cka, 2), min(max(cka, 0.0), 1.0))

    rows = tuple(tuple(cell(one, other) for other in who) for one in who)
    return Heat(f"Linear CKA on {words.short(data, 60)}", "Backbone", who, who, rows)


def _numbered(name: Name) -> str:
    return f"{words.short(name.title, 40)} ({name.sign})" if name.sign else words.short(name.title, 40)


def _data(name: str) -> Cell:
    return Cell(words.short(name, 60))


def _ends(scale: tuple[float, float], *, sign: bool = True) -> tuple[str, str]:
    say = words.signed if sign else words.figure
    return say(scale[0], 2), say(scale[1], 2)
