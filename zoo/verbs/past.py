"""What the ledger says to a new ranking, and what the ranking leaves there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from zoo import __version__
from zoo.data.types import Dataset
from zoo.records.entries import PastRanking
from zoo.records.ledger import past_rankings, past_runs, record_ranking
from zoo.records.prior import DataFacts, Past, prior, regret
from zoo.verbs.ranking import Ranking


def facts_of(data: Dataset) -> DataFacts:
    """What is known of data before anything is trained on them."""
    return DataFacts(
        name=data.name,
        fingerprint=data.fingerprint,
        task=data.task.kind,
        modalities=data.modalities,
        rows=len(data.splits["train"]),
        classes=len(data.task.classes) or len(data.task.targets),
    )


def prior_of(backbones: Sequence[str], data: Dataset) -> dict[str, Past]:
    """How each backbone fared in the ledger's runs on data like these."""
    return prior(backbones, facts_of(data), past_runs())


def with_regret(ranking: Ranking) -> Ranking:
    """The ranking with what earlier ones by the same scores would have cost."""
    earlier = [each for each in past_rankings() if each.by == ranking.by]
    return replace(ranking, past=tuple(regret(earlier, past_runs()))) if earlier else ranking


def write_ranking(ranking: Ranking, data: Dataset) -> None:
    """Put the order into the ledger, to be held against fine-tuned runs later; a single candidate is no order."""
    if len(ranking.ranked) < 2:
        return
    facts = facts_of(data)
    record_ranking(
        PastRanking(
            data=facts.name,
            fingerprint=facts.fingerprint,
            task=facts.task,
            modalities=tuple(facts.modalities),
            rows=ranking.rows,
            classes=facts.classes,
            by=ranking.by,
            order=tuple(each.backbone for each in ranking.ranked),
            zoo=__version__,
        )
    )
