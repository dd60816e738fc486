"""How far apart two modalities lie in a space that they share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def modality_gap(images: Array, texts: Array) -> float:
    """Distance between the centres of the normalised images and texts, from 0 to 2 (Liang et al. 2022).

    About 0.8 for published CLIP weights: pairs are matched by direction, so that nothing in their training closes it. A
    head that was trained on one side and is used on the other meets features that are moved by this much. It tells of
    centres alone, not of the spread around them, and not of how well pairs are matched.

    Args:
        images: (N, D) embeddings.
        texts: (M, D), of the same space; they need not be pairs.

    Raises:
        ValueError: the two have not the same D, or one has no rows.

    Reference: "Mind the Gap", https://arxiv.org/abs/2203.02053
    """
    if images.ndim != 2 or texts.ndim != 2 or images.shape[1] != texts.shape[1] or not len(images) or not len(texts):
        raise ValueError(f"embeddings of the shapes {images.shape} and {texts.shape} share no space")
    return float(np.linalg.norm(_centre(images) - _centre(texts)))


def _centre(embeddings: Array) -> NDArray[np.float64]:
    found = np.asarray(embeddings, dtype=np.float64)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    centre: NDArray[np.float64] = (found / np.where(length > 0, length, 1)).mean(0)
    return centre
