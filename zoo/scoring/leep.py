"""What the answers of a source's own head say of the target's classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import DataError
from zoo.scoring.rows import Array, rows_of

PRIOR = 1.0
"""Rows, spread as the classes are, that each source class is thought to have seen beside the real ones."""


def leep(probabilities: NDArray[Any], labels: NDArray[Any]) -> float:
    """Mean log of the expected empirical prediction: P(y | x) = sum_z P(y | z) P(z | x); at most 0, greater is better.

    P(z | x) is what the source's head gives; P(y | z) is counted on all rows but the one that is asked for, with one
    row more that is spread as the classes are. The published formula counts that row too: then a head of a thousand
    classes explains a few hundred rows whatever it knows. With many rows a source class both are the same.

    Args:
        probabilities: (N, Z), each row adds up to 1.
        labels: (N,) classes.

    Raises:
        DataError: rows that are no probabilities, one class, or targets that are no classes.

    Reference: Nguyen et al. 2020, "LEEP: A New Measure to Evaluate Transferability of Learned Representations",
        https://arxiv.org/abs/2002.12462
    """
    found, columns = _checked(probabilities, labels, "LEEP")
    return expected(found, columns)


def nce(probabilities: NDArray[Any], labels: NDArray[Any]) -> float:
    """Negative conditional entropy of the target's classes given the source's, -H(Y | Z), in nats; at most 0.

    LEEP with the one most likely source class of each row, counted alike.

    Args:
        probabilities: (N, Z), each row adds up to 1.
        labels: (N,) classes.

    Raises:
        DataError: as `leep`.

    Reference: Tran et al. 2019, "Transferability and Hardness of Supervised Classification Tasks",
        https://arxiv.org/abs/1908.08142
    """
    found, columns = _checked(probabilities, labels, "NCE")
    return expected(np.eye(found.shape[1])[found.argmax(1)], columns)


def expected(assigned: Array, columns: Array) -> float:
    """The mean log of what each row's own class is expected with.

    Args:
        assigned: (N, Z) P(z | x).
        columns: (N, K) one-hot classes.
    """
    own = columns.argmax(1)
    shares = columns.mean(0)
    together = assigned.T @ columns  # (Z, K)
    of_class = together[:, own].T - assigned + PRIOR * shares[own, None]  # (N, Z)
    of_all = together.sum(1) - assigned + PRIOR
    return float(np.log((assigned * of_class / of_all).sum(1)).mean())


def _checked(probabilities: NDArray[Any], labels: NDArray[Any], score: str) -> tuple[Array, Array]:
    rows = rows_of(probabilities, labels)
    if rows.kind != "classes":
        raise DataError(f"{score} is defined for classes, not for {rows.kind}", help="use knn, linear or logme")
    found = np.asarray(probabilities, dtype=np.float64)
    sums = found.sum(1)
    if (found < 0).any() or np.abs(sums - 1).max() > 1e-3:
        raise DataError(
            f"{score} takes the probabilities of a source's head, and row {int(np.abs(sums - 1).argmax())} adds up to "
            f"{sums[np.abs(sums - 1).argmax()]:.3g}",
            help="give (N, Z) rows that add up to 1",
        )
    return found / sums[:, None], rows.columns
