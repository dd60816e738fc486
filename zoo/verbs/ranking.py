"""Backbones in the order in which they are worth trying, and what speaks for and against that order."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from zoo.data.types import Task
from zoo.records.plain import json_safe
from zoo.records.prior import Past, Regret
from zoo.scoring.order import Scored, concordance, ranks, tau
from zoo.transfer.metrics import greater_is_better

AGREE, PARTLY = 0.8, 0.5
"""Kendall's W from which scores are said to agree, and to agree in part."""
ALIKE = 0.6
"""Weighted tau from which two orders are said to be much alike."""


@dataclass(frozen=True)
class Tuned:
    """A short fine-tuning of a candidate."""

    value: float | None
    """Of the task's main metric, on training rows that were held back; None: not one epoch was done."""
    epochs: int
    """0: a head was solved on frozen features, for which alone there was time or reason."""
    seconds: float
    ended: str
    """"done", "pruned" as others were ahead of it, "out of time", or what went wrong."""


@dataclass(frozen=True)
class Ranked:
    """A candidate in its place."""

    backbone: str
    place: int
    """1 + how many are above it beyond what a draw of rows does; those that cannot be told apart share it."""
    mean_rank: float
    """Over the scores that make the order."""
    scores: Mapping[str, Scored]
    modalities: tuple[str, ...]
    params: int
    dim: int
    licence: str | None
    published: tuple[str, float] | None
    """What upstream measured on the source, and its value."""
    prior: Past | None
    """How it fared on other data, by the ledger; None: it says nothing."""
    extract_seconds: float
    """Of loading and extraction, now."""
    ms_per_row: float | None
    """Of decoding, preprocessing and the forward pass; None: the features were in the cache."""
    score_seconds: float
    tuned: Tuned | None = None


@dataclass(frozen=True)
class Ranking:
    """What `zoo rank` found."""

    data: str
    task: Task
    rows: int
    """Training rows that were looked at; held-out rows never are."""
    train_rows: int
    """That there are."""
    scorers: tuple[str, ...]
    by: tuple[str, ...]
    """Scores that make the order."""
    ranked: tuple[Ranked, ...]
    """The best first."""
    failures: Mapping[str, str]
    """Candidates that could not be scored, or a score of one, and why."""
    seconds: float
    metric: str
    """Of the short fine-tunings."""
    judges: int = 0
    """Training rows that judged them."""
    notes: tuple[str, ...] = ()
    past: tuple[Regret, ...] = ()
    """What earlier rankings by these scores would have cost, where their candidates were fine-tuned."""

    @property
    def concordance(self) -> float | None:
        """Kendall's W of the orders that the scores give; None for fewer than 3 candidates or 2 scores."""
        whole = [name for name in self.scorers if all(name in each.scores for each in self.ranked)]
        return concordance([ranks([each.scores[name].value for each in self.ranked]) for name in whole] or [[]])

    @property
    def baselines(self) -> dict[str, float | None]:
        """Weighted tau of this order with that of size, of what upstream published, and of past runs."""
        order = [-each.mean_rank for each in self.ranked]
        names = {each.published[0] if each.published else None for each in self.ranked}
        priors = [each.prior.score for each in self.ranked if each.prior is not None]
        published = [each.published[1] for each in self.ranked if each.published is not None]
        return {
            "params": tau(order, [math.log(max(each.params, 1)) for each in self.ranked]),
            "published": tau(order, published) if len(names) == 1 and len(published) == len(order) else None,
            "past_runs": tau(order, priors) if len(priors) == len(order) else None,
        }

    @property
    def findings(self) -> tuple[str, ...]:
        """What the figures bear out, in sentences."""
        tuned = _tuned(self.ranked, self.metric, self.judges)
        first, agreement = _first(self.ranked, self.rows), _agreement(self.concordance)
        return (*tuned, *first, *agreement, *_beside(self.baselines), *_regretted(self.past))

    def to_json(self) -> dict[str, Any]:
        """The stable keys that `--json` prints."""
        found: dict[str, Any] = json_safe(
            {
                "data": self.data,
                "task": self.task.kind,
                "classes": list(self.task.classes),
                "rows": self.rows,
                "train_rows": self.train_rows,
                "scorers": list(self.scorers),
                "by": list(self.by),
                "ranked": [_plain(each) for each in self.ranked],
                "concordance": self.concordance,
                "baselines": self.baselines,
                "findings": list(self.findings),
                "past_regret": [asdict(each) for each in self.past],
                "failures": dict(self.failures),
                "metric": self.metric,
                "judges": self.judges,
                "notes": list(self.notes),
                "seconds": round(self.seconds, 3),
            }
        )
        return found

    def to_csv(self) -> str:
        """A line a candidate."""
        out = io.StringIO()
        scores = [column for name in self.scorers for column in (name, f"{name}_low", f"{name}_high")]
        facts = ("params", "dim", "licence", "published", "past_runs", "ms_per_row", "extract_seconds", "tuned")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["place", "backbone", "mean_rank", *scores, *facts])
        for each in self.ranked:
            plain = _plain(each)
            values = [_of_score(plain["scores"].get(name)) for name in self.scorers]
            known = {
                "published": each.published[1] if each.published else None,
                "past_runs": each.prior.score if each.prior else None,
                "tuned": each.tuned.value if each.tuned else None,
            }
            cells = [value for three in values for value in three]
            more = [known[name] if name in known else plain[name] for name in facts]
            writer.writerow([each.place, each.backbone, each.mean_rank, *cells, *more])
        return out.getvalue()


def _plain(each: Ranked) -> dict[str, Any]:
    return {
        "backbone": each.backbone,
        "place": each.place,
        "mean_rank": each.mean_rank,
        "scores": {
            name: {"value": scored.value, "interval": list(scored.interval) if scored.interval else None}
            for name, scored in each.scores.items()
        },
        "modalities": list(each.modalities),
        "params": each.params,
        "dim": each.dim,
        "licence": each.licence,
        "published": dict([each.published]) if each.published else {},
        "past_runs": {"score": each.prior.score, "sets": each.prior.sets, "runs": each.prior.runs}
        if each.prior
        else None,
        "extract_seconds": round(each.extract_seconds, 3),
        "ms_per_row": each.ms_per_row,
        "score_seconds": round(each.score_seconds, 3),
        "tuned": None
        if each.tuned is None
        else {
            "value": each.tuned.value,
            "epochs": each.tuned.epochs,
            "seconds": round(each.tuned.seconds, 2),
            "ended": each.tuned.ended,
        },
    }


def _of_score(plain: Mapping[str, Any] | None) -> tuple[Any, Any, Any]:
    if plain is None:
        return None, None, None
    low, high = plain["interval"] or (None, None)
    return plain["value"], low, high


def _first(ranked: Sequence[Ranked], rows: int) -> list[str]:
    best = [each.backbone for each in ranked if each.place == 1]
    if not best or len(ranked) < 2:
        return []
    if len(best) == 1:
        return [f"{best[0]} is first, beyond what another draw of {rows:,} rows would change"]
    if len(best) == len(ranked):
        return [f"these {rows:,} rows cannot tell the {len(ranked)} candidates apart"]
    others = ", ".join(best[1:4]) + (f" and {len(best) - 4} more" if len(best) > 4 else "")
    return [f"{best[0]} is first; {rows:,} rows cannot tell {others} from it"]


def _tuned(ranked: Sequence[Ranked], metric: str, judges: int) -> list[str]:
    known = [(each.tuned.value, each.backbone) for each in ranked if each.tuned and each.tuned.value is not None]
    if not known:
        return []
    value, best = (max if greater_is_better(metric) else min)(known, key=lambda pair: pair[0])
    return [f"after short fine-tuning {best} is best: {metric} {value:.3f} on {judges:,} training rows held back"]


def _agreement(w: float | None) -> list[str]:
    if w is None:
        return []
    said = "agree" if w >= AGREE else "agree in part" if w >= PARTLY else "disagree: fine-tune the best few"
    return [f"the scores {said} (Kendall's W {w:.2f})"]


def _beside(baselines: Mapping[str, float | None]) -> list[str]:
    titles = {"params": "size alone", "published": "what upstream published", "past_runs": "past runs"}
    found = []
    for name, value in baselines.items():
        if value is not None:
            said = "much the same order" if value >= ALIKE else "another order" if value > -ALIKE else "the reverse"
            found.append(f"{titles[name]} would give {said} (weighted tau {value:+.2f})")
    return found


def _regretted(past: Sequence[Regret]) -> list[str]:
    """The mean of each metric over the rankings whose candidates were fine-tuned."""
    found = []
    for metric in dict.fromkeys(each.metric for each in past):
        own = [each for each in past if each.metric == metric]
        third = [each.at_3 for each in own if each.at_3 is not None]
        more = f", the best of the first three {sum(third) / len(third):.3f}" if third else ""
        of = "1 earlier ranking" if len(own) == 1 else f"{len(own)} earlier rankings"
        cost = f"their first place cost {sum(each.at_1 for each in own) / len(own):.3f} {metric}{more}"
        found.append(f"past regret, from {of} whose candidates were fine-tuned: {cost}")
    return found
