"""Sentences that the figures of a comparison bear out, the most important first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

from zoo.comparison.naming import metric
from zoo.comparison.result import Apart, Comparison, Contender, Data, Shots, Standing
from zoo.data.audit import LEAK_MARK
from zoo.transfer.metrics import greater_is_better

MOSTLY = 0.9
"""Share of what a contender is above the trivial answer that its floor must reach to be called nearly as good."""
NAMED = 0.9
"""What random weights must score for the inputs to be said to name the answer."""
_UP_TO_ONE = ("accuracy", "micro_f1", "macro_f1")


def findings(found: Comparison) -> tuple[str, ...]:
    """Who is best and how sure that is, what joining and pretraining bring, and what is wrong with the protocol."""
    boards = [_Board(found, data) for data in found.data]
    each = (_leak, _best, _fusion, _floors, _trivial, _spoiled, _overlap, _shared)
    said = [*chain.from_iterable(sentences(board) for sentences in each for board in boards), *_overall(found)]
    return (*said, *_one_seed(found))


def _one_seed(found: Comparison) -> Iterator[str]:
    trained = [each.contender for each in found.standings if len(each.values) == 1 and each.runs]
    if trained:
        yield (
            "One seed: differences are between these trained models, and trained again they may come out otherwise; "
            "give --seeds 3 or 5 to compare ways of training."
        )


class _Board:
    """One data set of a comparison."""

    def __init__(self, found: Comparison, data: Data) -> None:
        self.found, self.data = found, data
        rows = [each for each in found.standings if each.data == data.name]
        self.most: Shots = max(
            (each.shots for each in rows), key=lambda s: float("inf") if s == "all" else float(s), default="all"
        )
        self.rows = {each.contender: each for each in rows if each.shots == self.most and each.value is not None}
        self.who: Mapping[str, Contender] = {each.title: each for each in found.contenders}
        self.sign = 1 if greater_is_better(data.metric) else -1
        self.on = f"On {data.name}, " if len(found.data) > 1 else ""

    @property
    def contenders(self) -> list[Standing]:
        """Without floors, the best first."""
        own = [each for title, each in self.rows.items() if self.who[title].floor_of is None]
        return sorted(own, key=lambda each: -self.sign * (each.value or 0.0))

    def apart(self, one: str, other: str) -> Apart | None:
        """`one` less `other`, or the reverse, after most training rows."""
        where = (self.data.name, self.most)
        own = (each for each in self.found.differences if (each.data, each.shots) == where)
        return next((each for each in own if {each.of, each.since} == {one, other}), None)

    def said(self, standing: Standing) -> str:
        """Its value with the interval."""
        between = "" if standing.interval is None else f" [{standing.interval[0]:.3f}, {standing.interval[1]:.3f}]"
        return f"{standing.value:.3f}{between}"

    def begin(self, sentence: str) -> str:
        """With the data set before it where there are several."""
        return f"{self.on}{sentence}" if self.on else sentence[:1].upper() + sentence[1:]


def _leak(board: _Board) -> Iterator[str]:
    if any(note.startswith(LEAK_MARK) for note in board.data.notes):
        yield f"Held-out rows of {board.data.name} are also training rows: none of its figures can be trusted."


def _best(board: _Board) -> Iterator[str]:
    ranked = board.contenders
    if not ranked:
        return
    best = ranked[0]
    what = f"{best.contender} is best on {board.data.name}: {metric(board.data.metric)} {board.said(best)}"
    if len(ranked) == 1:
        yield f"{best.contender} on {board.data.name}: {metric(board.data.metric)} {board.said(best)}."
        return
    near = [each for each in ranked[1:] if (a := board.apart(best.contender, each.contender)) is None or not a.sure]
    if not near:
        yield f"{what}; every other contender is significantly worse."
    elif len(near) == len(ranked) - 1:
        yield f"{what}, but none of the others can be told from it on {board.data.rows[board.data.held_out]:,} rows."
    else:
        names = _listed([each.contender for each in near])
        yield f"{what}; {names} cannot be told from it on {board.data.rows[board.data.held_out]:,} rows."


def _fusion(board: _Board) -> Iterator[str]:
    for each in board.found.fusions:
        if each.data != board.data.name or each.shots != board.most:
            continue
        between = f"{each.value:+.3f} [{each.interval[0]:+.3f}, {each.interval[1]:+.3f}]"
        if each.sure:
            yield board.begin(f"joining modalities pays: {each.joint} less {each.best} alone is {between}.")
        elif board.sign * each.value < 0 and (each.interval[0] > 0 or each.interval[1] < 0):
            yield board.begin(f"joining modalities harms: {each.joint} less {each.best} alone is {between}.")
        else:
            yield board.begin(
                f"joining modalities brings nothing sure: {each.joint} less {each.best} alone is {between}."
            )


def _floors(board: _Board) -> Iterator[str]:
    for title, floor in board.rows.items():
        of = board.who[title].floor_of
        own = board.rows.get(of) if of is not None else None
        if of is None or own is None or board.data.trivial is None or len(board.who[of].modalities) > 1:
            continue
        above = board.sign * ((own.value or 0.0) - board.data.trivial)
        reached = board.sign * ((floor.value or 0.0) - board.data.trivial)
        apart = board.apart(of, title)
        modality = " and ".join(board.who[of].modalities)
        figures = f"{floor.value:.3f} against {own.value:.3f}"
        even = apart is not None and apart.interval[0] <= 0 <= apart.interval[1]
        if reached > above and not even:
            yield board.begin(f"random weights do better than those of {of} ({figures}): transfer is negative here.")
        elif above <= 0:
            continue
        elif even:
            told = board.data.metric in _UP_TO_ONE and (floor.value or 0.0) >= NAMED
            yield board.begin(
                f"random weights do as well as those of {of} ({figures}): "
                + (
                    f"the {modality} column all but names the answer, and this tells nothing of what pretraining is "
                    "worth."
                    if told
                    else "pretraining brings nothing sure here."
                )
            )
        elif reached / above >= MOSTLY:
            yield board.begin(
                f"random weights reach {reached / above:.0%} of what {of} is above the trivial answer ({figures}): "
                f"most of what the {modality} column tells needs no pretraining."
            )


def _trivial(board: _Board) -> Iterator[str]:
    if board.data.trivial is None:
        return
    low = [
        each.contender
        for each in board.contenders
        if each.interval is not None
        and (each.interval[0] if board.sign > 0 else -each.interval[1]) <= board.sign * board.data.trivial
    ]
    if low:
        verb = "is" if len(low) == 1 else "are"
        yield f"{board.on}{_listed(low)} {verb} not surely better than the trivial answer ({board.data.trivial:.3f})."


def _spoiled(board: _Board) -> Iterator[str]:
    own = [each for each in board.found.spoiled if each.data == board.data.name and each.how == "shuffled"]
    for title in dict.fromkeys(each.contender for each in own):
        losses = {each.modality: each for each in own if each.contender == title}
        unused = [m for m, each in losses.items() if each.interval[0] <= 0]
        said = ", ".join(f"{-each.loss:+.3f} without its {m}" for m, each in losses.items())
        more = f"; it makes no sure use of the {_listed(unused)}" if unused else ""
        yield f"{board.on}{title} with one modality of another row: {said}{more}."


def _overlap(board: _Board) -> Iterator[str]:
    """The best contender of each modality against that of the other."""
    best: dict[str, str] = {}
    for each in board.contenders:
        modalities = board.who[each.contender].modalities
        if len(modalities) == 1:
            best.setdefault(modalities[0], each.contender)
    for one in board.found.overlaps:
        if one.data == board.data.name and {one.one, one.other} <= set(best.values()) and one.kappa is not None:
            rows = one.both_right + one.only_one + one.only_other + one.both_wrong
            where = "much the same" if one.kappa > 0.4 else "different"
            yield (
                f"{board.on}{one.one} and {one.other} err on {where} rows "
                f"(kappa {one.kappa:.2f}): {one.only_one} of {rows:,} rows are right by {one.one} alone, "
                f"{one.only_other} by {one.other} alone, and one of the two is right on {one.either:.3f}."
            )


def _shared(board: _Board) -> Iterator[str]:
    for each in board.found.shared:
        if each.data == board.data.name and each.trained_on != each.tested_on:
            yield board.begin(
                f"in the space of {each.backbone}, a head trained on {each.trained_on}s scores {each.value:.3f} on "
                f"{each.tested_on}s (modality gap {each.gap:.2f})."
            )


def _overall(found: Comparison) -> Iterator[str]:
    if len(found.data) < 2 or not found.overall:
        return
    best = min(found.overall, key=lambda each: each.mean_rank)
    between = "" if best.interval is None else f" [{best.interval[0]:.2f}, {best.interval[1]:.2f}]"
    few = "; so few sets say little of others" if best.data < 5 else ""
    yield f"Over {best.data} data sets {best.contender} has the best mean rank, {best.mean_rank:.2f}{between}{few}."


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
