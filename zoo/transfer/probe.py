"""The linear probe, solved instead of trained: convex, so the same answer every time."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.types import Task
from zoo.errors import DataError
from zoo.transfer.metrics import EPSILON, measure_one, primary
from zoo.transfer.weighting import Weights, row_weights

Array = NDArray[Any]

COLUMNS = 256
"""Of features that are standardised at once."""
C_GRID = tuple(float(c) for c in np.logspace(-4, 3.5, 11))
"""Inverse strengths of the penalty, on standardised features."""
SMALL = 2_000
"""Rows up to which the penalty is chosen by cross-validation; above, on a held-out fifth."""
FOLDS = 5
PATIENCE = 2
"""Strengths in a row that are no better before weaker penalties, which cost the most to solve, are not tried."""
MARGIN = 1e-3
"""Share of the best score by which another must be better, so that of equals the stronger penalty is taken."""
LONGEST = 32.0
"""Times as long as the penalty left them may weights become, or as many times shorter."""
ITERATIONS = 1000
TOLERANCE = 1e-5
"""Of the gradient of the mean loss."""
LARGE = 1e8
"""Rows x dim x outputs from which a second thread saves time; below, waiting for it costs up to ten times more."""


@dataclass(frozen=True)
class ProbeSolution:
    """A linear layer on raw features."""

    weight: NDArray[np.float32]
    """(outputs, D)."""
    bias: NDArray[np.float32]
    """(outputs,)."""
    C: float
    """Inverse strength of the penalty that validation chose."""
    scores: tuple[tuple[float, float], ...]
    """Each strength with its validation score: minus log-loss at the best length of the weights, R2 for regression."""
    seconds: float
    length: float = 1.0
    """What the weights on standardised features were multiplied by."""

    @property
    def at_edge(self) -> bool:
        """Whether the chosen strength is the first or last that was tried, so that one beyond may be better."""
        tried = [c for c, _ in self.scores]
        return len(tried) > 1 and self.C in (min(tried), max(tried))


def solve(
    features: NDArray[np.float32],
    targets: Array,
    task: Task,
    *,
    seed: int = 0,
    grid: Sequence[float] = C_GRID,
    length: float = 1.0,
    class_weights: Weights | None = None,
) -> ProbeSolution:
    """The best linear head on frozen features.

    Logistic regression by L-BFGS for classes, one for each label where a row may have several, ridge for numbers;
    features are standardised for the fit and the scaling is folded back into the layer. The strength of the penalty
    is chosen by log-loss (R2 for regression), which small validation sets resolve better than accuracy does.

    A strong penalty ranks the classes well but shortens the weights, so that its log-loss is poor for timidity alone.
    So each strength is judged with the length of weights that suits the held-out rows, and the solution has it:
    temperature scaling (Guo et al. 2017, https://arxiv.org/abs/1706.04599) of all but the bias, in the order of
    Berta et al. 2025, https://arxiv.org/abs/2501.19195: refine, then calibrate.

    Args:
        features: (N, D).
        targets: as in `Examples`.
        task: what is predicted.
        seed: of the folds.
        grid: inverse strengths of the penalty to try; a single one is taken as it is.
        length: what to multiply the weights by where `grid` is a single strength.
        class_weights: (K,) how much the rows of each class count, in the fit and in the choice of the penalty.

    Raises:
        DataError: features that are not finite.
    """
    from threadpoolctl import threadpool_limits

    started = time.perf_counter()
    if not np.isfinite(features).all():
        rows = np.flatnonzero(~np.isfinite(features).all(1))
        raise DataError(f"{len(rows)} rows have features that are not finite, the first is row {rows[0]}")
    threads = 1 if features.size * max(len(task.classes), 1) < LARGE else 2
    with threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's ConvergenceWarning: the path goes on from where it stopped
        ordered = sorted(float(c) for c in grid)
        counts = row_weights(task, targets, class_weights)
        tried = [Strength(ordered[0], 0.0, length)]
        if len(ordered) > 1:
            tried = _try(features, targets, task, seed, ordered, counts)
        best = _best(tried)
        x, mean, std = _standardised(features)
        x, basis = _in_span(x)
        *_, (weight, bias) = _path(x, targets, task, [c for c in ordered if c <= best.C], counts)
    scaled = best.length * (weight if basis is None else weight @ basis) / std
    return ProbeSolution(
        weight=scaled.astype(np.float32),
        bias=(bias - scaled @ mean).astype(np.float32),
        C=best.C,
        scores=tuple((each.C, each.score) for each in tried),
        seconds=time.perf_counter() - started,
        length=best.length,
    )


def folds_of(targets: Array, task: Task, seed: int) -> list[tuple[Array, Array]]:
    """Rows to solve on and rows held out, a fold each; none where a class has a single row, or of under four rows.

    Args:
        targets: as in `Examples`.
        task: of classes, of which every fold then has its share, or of something else.
        seed: of the order of the rows.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    count = len(targets)
    if task.kind in ("binary", "multiclass"):
        smallest = int(np.unique(targets, return_counts=True)[1].min())
        if smallest < 2:
            return []
        splitter: Any = StratifiedKFold(min(FOLDS, smallest), shuffle=True, random_state=seed)
        return list(splitter.split(np.zeros(count), targets))
    if count < 4:
        return []
    return list(KFold(min(FOLDS, count), shuffle=True, random_state=seed).split(np.zeros(count)))


def predict(solution: ProbeSolution, task: Task, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, K) class probabilities, or numbers."""
    return _decide(task, features @ solution.weight.T + solution.bias)


def _standardised(features: NDArray[np.float32]) -> tuple[NDArray[np.float32], Array, Array]:
    """Columns of mean 0 and spread 1, and what both were; those that hardly vary keep their spread."""
    dim = features.shape[1]
    mean, std = np.empty(dim), np.empty(dim)
    for part in _parts(dim):
        found = features[:, part]
        mean[part], std[part] = found.mean(0, dtype=np.float64), found.std(0, dtype=np.float64)
    std = np.where(std > 1e-7 * (1 + np.abs(mean)), std, 1.0)
    return _scaled(features, mean, std), mean, std


def _scaled(features: NDArray[np.float32], mean: Array, std: Array) -> NDArray[np.float32]:
    x = np.empty(features.shape, np.float32)
    for part in _parts(features.shape[1]):
        x[:, part] = (features[:, part] - mean[part]) / std[part]
    return x


def _parts(dim: int) -> Iterator[slice]:
    """A few columns at a time, as in float64 all of them take twice the memory."""
    for start in range(0, dim, COLUMNS):
        yield slice(start, start + COLUMNS)


def _in_span(x: NDArray[np.float32]) -> tuple[NDArray[np.float32], Array | None]:
    """Rows in as many coordinates as there are rows, where they have more features, and the basis (N, D) of these.

    The penalty is the same in every orthonormal basis, and the best weights lie in the span of the rows: a few rows of
    thousands of features are solved in milliseconds, to the same solution.
    """
    if len(x) >= x.shape[1]:
        return x, None
    basis, coordinates = np.linalg.qr(x.T.astype(np.float64))
    return coordinates.T.astype(np.float32), basis.T


@dataclass(frozen=True)
class Strength:
    """A strength of the penalty on held-out rows."""

    C: float
    score: float
    """Greater is better."""
    length: float = 1.0
    """What the weights are multiplied by."""


def _try(
    features: NDArray[np.float32],
    targets: Array,
    task: Task,
    seed: int,
    ordered: Sequence[float],
    rows: Array | None = None,
) -> list[Strength]:
    """Each strength that was tried, strongest penalty first.

    Every fold is standardised by its own rows: few rows of many features have columns that hardly vary, in which a row
    that had no part in the scaling lies far off.
    """
    every = folds_of(targets, task, seed)
    folds = every if len(targets) <= SMALL else every[:1]
    if not folds:
        middle = min(ordered, key=lambda c: abs(np.log(c)))  # nothing to choose by
        return [Strength(c, float(c == middle)) for c in ordered]
    paths, others = [], []
    for kept, own in folds:
        x, mean, std = _standardised(features[kept])
        x, basis = _in_span(x)
        paths.append(_path(x, targets[kept], task, ordered, None if rows is None else rows[kept]))
        far = np.sqrt(len(kept))  # which no row of those can be
        apart = _scaled(features[own], mean, std).clip(-far, far)
        others.append(apart if basis is None else apart @ basis.T)
    held = np.concatenate([own for _, own in folds])
    counts = np.ones(targets[held].shape) if rows is None else rows[held]
    found: list[Strength] = []
    for c in ordered:
        solved = [next(path) for path in paths]
        products = [apart @ weight.T for (weight, _), apart in zip(solved, others, strict=True)]
        biases = [np.broadcast_to(bias, own.shape) for (_, bias), own in zip(solved, products, strict=True)]
        found.append(_judged(c, np.vstack(products), np.vstack(biases), targets[held], task, counts))
        if found.index(_best(found)) < len(found) - PATIENCE:
            break
    return found


def _judged(c: float, products: Array, biases: Array, targets: Array, task: Task, rows: Array) -> Strength:
    """A strength by held-out rows, with the length of weights at which their log-loss is least."""
    from scipy.optimize import minimize_scalar

    if task.kind == "regression":
        score = measure_one(task, primary(task), _decide(task, products + biases), targets)
        return Strength(c, -np.inf if score is None else float(score))

    def loss(log: float, doubt: float) -> float:
        found = _decide(task, np.exp(log) * products + biases)
        told = weighted_log_loss(task, found, targets, rows)
        return (1 - doubt) * told + doubt * _uncertainty(task, found)

    # Rows that are all told right would have weights without end, but for Platt's doubt (1999, section 2.2).
    doubt = 1 / (len(targets) + 2)
    end = np.log(LONGEST)
    best = minimize_scalar(loss, bounds=(-end, end), args=(doubt,), method="bounded", options={"xatol": 1e-2})
    return Strength(c, -loss(best.x, 0.0), float(np.exp(best.x)))


def _uncertainty(task: Task, probabilities: Array) -> float:
    """The log-loss where every class is right as often."""
    sure = np.clip(probabilities.astype(np.float64), EPSILON, 1 - EPSILON)
    wrong = -np.log(sure)
    return float((wrong - np.log(1 - sure)).mean() / 2 if task.kind == "multilabel" else wrong.mean())


def weighted_log_loss(task: Task, probabilities: Array, targets: Array, rows: Array) -> float:
    """The log-loss of rows that count differently.

    Args:
        task: of classes or labels.
        probabilities: (N, K), two columns for binary.
        targets: as in `Examples`.
        rows: (N,) how much each counts; (N, K) for labels.
    """
    sure = np.clip(probabilities.astype(np.float64), EPSILON, 1 - EPSILON)
    if task.kind == "multilabel":
        cost = -np.where(targets > 0.5, np.log(sure), np.log(1 - sure))
    else:
        cost = -np.log(sure[np.arange(len(targets)), targets])
    return float((cost * rows).sum() / rows.sum())


def _best(tried: Sequence[Strength]) -> Strength:
    best = tried[0]
    for each in tried[1:]:
        if each.score > best.score + MARGIN * abs(best.score) or not np.isfinite(best.score):
            best = each
    return best


def _path(
    x: Array, targets: Array, task: Task, grid: Sequence[float], rows: Array | None = None
) -> Iterator[tuple[Array, Array]]:
    """The solution for each strength when it is asked for, strongest penalty first; each starts from the one before."""
    if task.kind == "regression":
        return _ridge(x, targets, grid)
    return (_many_labels if task.kind == "multilabel" else _classes)(x, targets, task, grid, rows)


def _classes(
    x: Array, targets: Array, task: Task, grid: Sequence[float], rows: Array | None
) -> Iterator[tuple[Array, Array]]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(warm_start=True, max_iter=ITERATIONS, tol=TOLERANCE)
    classes = np.unique(targets)
    outputs = 1 if task.kind == "binary" else len(task.classes)
    for c in grid:
        model.C = c
        model.fit(x, targets, sample_weight=rows)
        weight, bias = np.zeros((outputs, x.shape[1])), np.full(outputs, -20.0)
        if outputs == 1:
            weight, bias = model.coef_.copy(), model.intercept_.copy()
        elif len(classes) == 2:  # scikit-learn then keeps one row; a softmax over its halves is the same model
            weight[classes], bias[classes] = (
                np.vstack([-model.coef_, model.coef_]) / 2,
                np.hstack([-model.intercept_, model.intercept_]) / 2,
            )
        else:
            weight[classes], bias[classes] = model.coef_, model.intercept_
        yield weight, bias


def _many_labels(
    x: Array, targets: Array, task: Task, grid: Sequence[float], rows: Array | None
) -> Iterator[tuple[Array, Array]]:
    """Logistic regression of every label at once: L-BFGS over all (K, D + 1) weights, warm-started."""
    from scipy.optimize import minimize

    labels, dim = len(task.classes), x.shape[1]
    y = targets.astype(np.float64)
    x = x.astype(np.float64)
    counts = np.ones_like(y) if rows is None else rows
    # Each label starts at the log-odds of its share.
    share = np.clip(y.mean(0), 1e-4, 1 - 1e-4)
    start = np.hstack([np.zeros((labels, dim)), np.log(share / (1 - share))[:, None]]).ravel()
    for c in grid:

        def loss(flat: Array, c: float = c) -> tuple[float, Array]:
            layer = flat.reshape(labels, dim + 1)
            weight = layer[:, :dim]
            z = x @ weight.T + layer[:, dim]
            error = counts * (1 / (1 + np.exp(-z)) - y)
            value = c * (counts * (np.logaddexp(0, z) - y * z)).sum() + 0.5 * (weight**2).sum()
            slope = np.hstack([c * error.T @ x + weight, c * error.sum(0)[:, None]])
            return float(value) / len(x), slope.ravel() / len(x)

        result = minimize(
            loss, start, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS, "gtol": TOLERANCE * c}
        )
        start = result.x
        layer = start.reshape(labels, dim + 1)
        yield layer[:, :dim].copy(), layer[:, dim].copy()


def _ridge(x: Array, targets: Array, grid: Sequence[float]) -> Iterator[tuple[Array, Array]]:
    """Ridge for every strength from one decomposition; the penalty is N / C on standardised features.

    Targets are centred, x is; w = V diag(s / (s^2 + a)) U' y (Hoerl and Kennard 1970).
    """
    x = x.astype(np.float64)
    centre = x.mean(0)
    mean = targets.mean(0, dtype=np.float64)
    u, s, vt = np.linalg.svd(x - centre, full_matrices=False)
    rotated = u.T @ (targets - mean)
    for c in grid:
        alpha = len(x) / (100 * c)
        weight = ((s / (s**2 + alpha))[:, None] * rotated).T @ vt
        yield weight, mean - weight @ centre


def _decide(task: Task, outputs: Array) -> NDArray[np.float32]:
    if task.kind == "multiclass":
        shifted = np.exp(outputs - outputs.max(1, keepdims=True))
        return np.asarray(shifted / shifted.sum(1, keepdims=True), dtype=np.float32)
    if task.kind == "regression":
        return np.asarray(outputs, dtype=np.float32)
    positive = 1 / (1 + np.exp(-np.clip(outputs, -60, 60)))
    return np.asarray(np.hstack([1 - positive, positive]) if task.kind == "binary" else positive, dtype=np.float32)
