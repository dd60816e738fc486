"""How well images find their texts and texts their images: ranks, recall and their intervals. Arrays in, numbers out.

The figures are those of image-text retrieval since Karpathy and Fei-Fei 2015, https://arxiv.org/abs/1412.2306.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.transfer.metrics import ClassRow, Metrics

DEPTHS = (1, 5, 10)
DRAWS = 1000
WAYS = ("image_to_text", "text_to_image")


def ranks(queries: NDArray[Any], found: NDArray[Any], right: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(Q,) place of the first right answer to each query, counted from 1; of equal likeness the right one comes last.

    Args:
        queries: (Q, E), each of length one.
        found: (G, E) what is looked through, each of length one.
        right: (Q, G) whether it answers the query; at least one does.
    """
    places = np.empty(len(queries), dtype=np.int64)
    for start in range(0, len(queries), 1024):
        part = slice(start, start + 1024)
        likeness = queries[part].astype(np.float64) @ found.T.astype(np.float64)
        best = np.where(right[part], likeness, -np.inf).max(1, keepdims=True)
        places[part] = 1 + ((likeness >= best) & ~right[part]).sum(1)
    return places


@dataclass(frozen=True)
class PairScores:
    """Retrieval among all rows: each image looks through every text, each text through every image."""

    image: NDArray[np.float32]
    """(N, E) of the images, each of length one."""
    text: NDArray[np.float32]
    """(N, E) of the texts, each of length one."""
    targets: NDArray[np.int64]
    """(N, 2) number of the image and number of the text of each row: what is equal is looked through once."""

    def metrics(self) -> Metrics:
        """Recall at 1, 5 and 10 and the median rank, each way, and the mean of both ways.

        `chance` is what recall at 1 would be of a guess.
        """
        if not len(self.targets):
            return {"recall_at_1": None}
        there, back = self._ranks()
        found: Metrics = {f"recall_at_{k}": (_recall(there, k) + _recall(back, k)) / 2 for k in DEPTHS}
        for way, places in zip(WAYS, (there, back), strict=True):
            found |= {f"{way}_at_{k}": _recall(places, k) for k in DEPTHS}
            found[f"{way}_median_rank"] = float(np.median(places))
        texts, images = (len(np.unique(column)) for column in (self.targets[:, 1], self.targets[:, 0]))
        return found | {"chance": (1 / texts + 1 / images) / 2}

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95% intervals over resampled queries (Efron 1979); what is looked through stays."""
        if not len(self.targets):
            return {}
        rng = np.random.default_rng(0)
        drawn: list[dict[str, float]] = []
        there, back = self._ranks()
        for _ in range(DRAWS):
            one, other = (places[rng.integers(0, len(places), len(places))] for places in (there, back))
            values = {f"recall_at_{k}": (_recall(one, k) + _recall(other, k)) / 2 for k in DEPTHS}
            for way, places in zip(WAYS, (one, other), strict=True):
                values |= {f"{way}_at_{k}": _recall(places, k) for k in DEPTHS}
                values[f"{way}_median_rank"] = float(np.median(places))
            drawn.append(values)
        found = {name: np.quantile([each[name] for each in drawn], [0.025, 0.975]) for name in drawn[0]}
        # Where every resample agrees, the rows do not tell how far the figure may be off.
        return {name: (float(low), float(high)) for name, (low, high) in found.items() if low < high}

    def per_class(self) -> tuple[ClassRow, ...]:
        """There are no classes."""
        return ()

    def confusion(self) -> NDArray[Any] | None:
        """There are no classes."""
        return None

    def _ranks(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        (images, one), (texts, other) = (np.unique(column, return_index=True) for column in self.targets.T)
        right = np.zeros((int(images.max()) + 1, int(texts.max()) + 1), dtype=bool)
        right[self.targets[:, 0], self.targets[:, 1]] = True
        right = right[np.ix_(images, texts)]
        seen, read = self.image[one], self.text[other]
        return ranks(seen, read, right), ranks(read, seen, right.T)


def pair_scores(embeddings: NDArray[np.float32], targets: NDArray[np.int64]) -> PairScores:
    """Of (N, 2 E) embeddings, the image's before the text's."""
    image, text = np.split(embeddings, 2, axis=1)
    return PairScores(image, text, targets)


def _recall(places: NDArray[np.int64], depth: int) -> float:
    return float((places <= depth).mean())
