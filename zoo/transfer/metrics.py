"""Metrics of each task, with intervals; arrays in, plain numbers out."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.types import Task

Array = NDArray[Any]
Metrics = dict[str, float | None]

ECE_BINS = 15
DRAWN_AT_ONCE = 2**18
"""Rows of resamples, so that their numbers stay in the processor's cache."""
EPSILON = 1e-7
"""Probabilities are kept this far from 0 and 1, where the logarithm ends."""

_PRIMARY = {
    "binary": "accuracy",
    "multiclass": "accuracy",
    "multilabel": "micro_f1",
    "regression": "r2",
    "segmentation": "miou",
    "tokens": "macro_f1",
    "detection": "map",
    "pairs": "recall_at_1",
}
_LOWER_IS_BETTER = {"log_loss", "ece", "rmse", "mae", "image_to_text_median_rank", "text_to_image_median_rank"}


def primary(task: Task) -> str:
    """The metric that stands for the result."""
    return "span_f1" if has_spans(task) else _PRIMARY[task.kind]


def has_spans(task: Task) -> bool:
    """Whether tags mark entities of several words, as B-PER and I-PER do."""
    return task.kind == "tokens" and any(each.startswith(("B-", "I-")) for each in task.classes)


def greater_is_better(name: str) -> bool:
    """Whether a greater value of this metric is the better one."""
    return name not in _LOWER_IS_BETTER


def measure(task: Task, predictions: Array, targets: Array) -> Metrics:
    """Every metric of the task; None where the rows cannot tell, such as AUROC with one class.

    Args:
        task: what was predicted.
        predictions: (N, K) class probabilities, two columns for binary; or (N, K) numbers.
        targets: as in `Examples`.
    """
    if len(targets) == 0:
        return {primary(task): None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of empty classes; they are None or 0 here, and said
        if task.kind == "regression":
            return _regression(task, predictions, targets)
        return _multilabel(predictions, targets) if task.kind == "multilabel" else _classes(predictions, targets)


def measure_one(task: Task, metric: str, predictions: Array, targets: Array) -> float | None:
    """One of the metrics of `measure`, without the others where it can be had alone."""
    alone = _ALONE.get((task.kind, metric))
    return measure(task, predictions, targets)[metric] if alone is None else alone(predictions, targets)


def shown(task: Task) -> tuple[str, ...]:
    """The metrics that stand in a short report, the primary one first."""
    beside = {
        "regression": (),
        "segmentation": ("pixel_accuracy",),
        "tokens": ("token_accuracy",),
        "detection": ("map_50",),
        "pairs": ("recall_at_5", "recall_at_10", "image_to_text_at_1", "text_to_image_at_1"),
    }
    return (primary(task), *beside.get(task.kind, ("macro_f1",)))


def intervals(task: Task, predictions: Array, targets: Array) -> dict[str, tuple[float, float]]:
    """95% intervals of the metrics that are shown; those of which the rows tell none are left out."""
    found = {name: bootstrap(task, predictions, targets, name) for name in shown(task)}
    return {name: pair for name, pair in found.items() if pair is not None}


def bootstrap(
    task: Task, predictions: Array, targets: Array, metric: str, *, draws: int = 1000, seed: int = 0
) -> tuple[float, float] | None:
    """95% percentile interval of a metric over resampled rows (Efron 1979).

    Where every resample agrees, as when all rows are right, they do not tell how far the metric may be off: accuracy
    then has the exact interval of a proportion (Clopper and Pearson 1934), any other metric None.
    """
    count, wanted = len(targets), draws if (task.kind, metric) in _ALONE else min(draws, 200)
    values = _resampled(task, metric, predictions, targets, wanted, seed) if count else []
    if not values:
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    if min(values) < max(values):
        return float(low), float(high)
    return _exact(round(values[0] * count), count) if metric == "accuracy" else None


def _resampled(task: Task, metric: str, predictions: Array, targets: Array, draws: int, seed: int) -> list[float]:
    """The metric of each resample that tells it."""
    rng, count = np.random.default_rng(seed), len(targets)
    at_once, of_draws = max(1, DRAWN_AT_ONCE // count), _OF_DRAWS.get((task.kind, metric))
    values: list[float] = []
    for first in range(0, draws, at_once):
        drawn = rng.integers(0, count, (min(at_once, draws - first), count))
        if of_draws is not None:
            values += of_draws(predictions, targets, drawn).tolist()
            continue
        found = [measure_one(task, metric, predictions[rows], targets[rows]) for rows in drawn]
        values += [value for value in found if value is not None and np.isfinite(value)]
    return values


def _exact(right: int, count: int) -> tuple[float, float]:
    from scipy.stats import binomtest

    found = binomtest(right, count).proportion_ci(0.95, method="exact")
    return float(found.low), float(found.high)


@dataclass(frozen=True)
class ClassRow:
    """How one class fared."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


def per_class(task: Task, predictions: Array, targets: Array) -> tuple[ClassRow, ...]:
    """One row a class; empty for regression."""
    if task.kind == "regression":
        return ()
    from sklearn.metrics import precision_recall_fscore_support

    if task.kind == "multilabel":
        decided, truth, labels = predictions >= 0.5, targets.astype(bool), None
    else:
        decided, truth, labels = predictions.argmax(1), targets, list(range(len(task.classes)))
    table = precision_recall_fscore_support(truth, decided, labels=labels, zero_division=0)
    return tuple(
        ClassRow(name, float(p), float(r), float(f), int(s))
        for name, p, r, f, s in zip(task.classes, *table, strict=True)
    )


def confusion(task: Task, predictions: Array, targets: Array) -> Array | None:
    """(K, K) counts, true class by predicted class; None where a row has not exactly one class."""
    if task.kind not in ("binary", "multiclass"):
        return None
    size = len(task.classes)
    counts = np.zeros((size, size), dtype=np.int64)
    np.add.at(counts, (targets, predictions.argmax(1)), 1)
    return counts


def calibration_error(probabilities: Array, targets: Array) -> float:
    """Expected calibration error with equal-width bins (Guo et al. 2017, https://arxiv.org/abs/1706.04599)."""
    confidence, decided = probabilities.max(1).astype(np.float64), probabilities.argmax(1)
    right = decided == targets
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    total = 0.0
    for each in np.unique(bins):
        inside = bins == each
        total += float(inside.mean()) * abs(float(right[inside].mean()) - float(confidence[inside].mean()))
    return total


def _classes(probabilities: Array, targets: Array) -> Metrics:
    from sklearn.metrics import balanced_accuracy_score

    decided = probabilities.argmax(1)
    present = np.unique(targets)
    return {
        "accuracy": _accuracy(probabilities, targets),
        "balanced_accuracy": float(balanced_accuracy_score(targets, decided)),
        "macro_f1": _macro_f1(probabilities, targets),
        "log_loss": _log_loss(probabilities, targets),
        "auroc": _auroc(probabilities, targets, present),
        "ece": calibration_error(probabilities, targets),
        "majority": float(np.bincount(targets).max() / len(targets)),
    }


def _auroc(probabilities: Array, targets: Array, present: Array) -> float | None:
    from sklearn.metrics import roc_auc_score

    if len(present) < 2:
        return None
    if probabilities.shape[1] == 2:
        return float(roc_auc_score(targets, probabilities[:, 1]))
    each = [roc_auc_score(targets == label, probabilities[:, label]) for label in present]
    return float(np.mean(each))


def _multilabel(probabilities: Array, targets: Array) -> Metrics:
    from sklearn.metrics import average_precision_score, f1_score

    truth, decided = targets.astype(bool), probabilities >= 0.5
    present = truth.any(0)
    mean_ap = [average_precision_score(truth[:, k], probabilities[:, k]) for k in np.flatnonzero(present)]
    return {
        "micro_f1": _micro_f1(probabilities, targets),
        "macro_f1": _macro_f1_of_labels(probabilities, targets),
        "samples_f1": float(f1_score(truth, decided, average="samples", zero_division=0)),
        "map": float(np.mean(mean_ap)) if mean_ap else None,
        "top1": float(truth[np.arange(len(truth)), probabilities.argmax(1)].mean()),
        "subset_accuracy": float((truth == decided).all(1).mean()),
        "log_loss": _log_loss_of_labels(probabilities, targets),
    }


def _regression(task: Task, predictions: Array, targets: Array) -> Metrics:
    from scipy.stats import spearmanr

    predictions, targets = predictions.astype(np.float64), targets.astype(np.float64)
    error = predictions - targets
    known, r2 = _r2_by_column(predictions, targets)
    metrics: Metrics = {
        "r2": float(r2.mean()) if known.any() else None,
        "rmse": float(np.sqrt((error**2).mean())),
        "mae": float(np.abs(error).mean()),
    }
    varied = [k for k in np.flatnonzero(known) if np.ptp(predictions[:, k]) > 0]
    pearson = [np.corrcoef(predictions[:, k], targets[:, k])[0, 1] for k in varied]
    spearman = [spearmanr(predictions[:, k], targets[:, k]).statistic for k in varied]
    metrics["pearson"] = float(np.mean(pearson)) if varied else None
    metrics["spearman"] = float(np.mean(spearman)) if varied else None
    if len(task.targets) > 1:
        metrics |= {f"r2.{name}": float(v) for name, v in zip(np.array(task.targets)[known], r2, strict=True)}
    return metrics


def _accuracy(probabilities: Array, targets: Array) -> float:
    return float((probabilities.argmax(1) == targets).mean())


def _log_loss(probabilities: Array, targets: Array) -> float:
    picked = np.clip(probabilities[np.arange(len(targets)), targets], EPSILON, 1)
    return float(-np.log(picked).mean(dtype=np.float64))


def _macro_f1(probabilities: Array, targets: Array) -> float:
    """Over the classes that have rows."""
    size, decided = probabilities.shape[1], probabilities.argmax(1)
    both = np.bincount(targets[decided == targets], minlength=size)
    true, said = np.bincount(targets, minlength=size), np.bincount(decided, minlength=size)
    present = true > 0
    return float((2 * both[present] / (true + said)[present]).mean())


def _macro_f1_of_labels(probabilities: Array, targets: Array) -> float:
    """Over the labels that have rows."""
    truth, decided = targets.astype(bool), probabilities >= 0.5
    true = truth.sum(0)
    present = true > 0
    if not present.any():
        return 0.0
    return float((2 * (truth & decided).sum(0)[present] / (true + decided.sum(0))[present]).mean())


def _log_loss_of_labels(probabilities: Array, targets: Array) -> float:
    truth, clipped = targets.astype(bool), np.clip(probabilities, EPSILON, 1 - EPSILON)
    return float(-np.where(truth, np.log(clipped), np.log(1 - clipped)).mean(dtype=np.float64))


def _micro_f1(probabilities: Array, targets: Array) -> float:
    truth, decided = targets.astype(bool), probabilities >= 0.5
    both = int((truth & decided).sum())
    total = int(truth.sum() + decided.sum())
    return 2 * both / total if total else 0.0


def _r2(predictions: Array, targets: Array) -> float | None:
    known, r2 = _r2_by_column(predictions, targets)
    return float(r2.mean()) if known.any() else None


def _r2_by_column(predictions: Array, targets: Array) -> tuple[Array, Array]:
    """Which columns vary, and R2 of each that does.

    Asked by the range: the mean of a constant column is rounded, and its spread is then not quite 0.
    """
    known = np.ptp(targets, axis=0) > 0
    wanted = targets[:, known].astype(np.float64)
    spread = ((wanted - wanted.mean(0)) ** 2).sum(0)
    return known, 1 - ((predictions[:, known] - wanted) ** 2).sum(0) / spread


_ALONE: dict[tuple[str, str], Callable[[Array, Array], float | None]] = {
    ("binary", "accuracy"): _accuracy,
    ("binary", "macro_f1"): _macro_f1,
    ("binary", "log_loss"): _log_loss,
    ("multiclass", "accuracy"): _accuracy,
    ("multiclass", "macro_f1"): _macro_f1,
    ("multiclass", "log_loss"): _log_loss,
    ("multilabel", "micro_f1"): _micro_f1,
    ("multilabel", "macro_f1"): _macro_f1_of_labels,
    ("multilabel", "log_loss"): _log_loss_of_labels,
    ("regression", "r2"): _r2,
}


def _accuracy_of_draws(probabilities: Array, targets: Array, drawn: Array) -> Array:
    right = probabilities.argmax(1) == targets
    return np.asarray(right[drawn].mean(1))


def _log_loss_of_draws(probabilities: Array, targets: Array, drawn: Array) -> Array:
    picked = np.clip(probabilities[np.arange(len(targets)), targets], EPSILON, 1)
    return np.asarray(-np.log(picked)[drawn].mean(1, dtype=np.float64))


def _macro_f1_of_draws(probabilities: Array, targets: Array, drawn: Array) -> Array:
    """Over the classes that have rows in the draw."""
    size, decided = probabilities.shape[1], probabilities.argmax(1)
    place = size * np.arange(len(drawn))[:, None]

    def counted(classes: Array, inside: Array | None = None) -> Array:
        """(M, K) how many rows of each draw have each class."""
        codes = classes[drawn] + place
        codes = codes.ravel() if inside is None else codes[inside[drawn]]
        return np.bincount(codes, minlength=size * len(drawn)).reshape(len(drawn), size)

    true, both = counted(targets), counted(targets, decided == targets)
    f1 = 2 * both / np.maximum(true + counted(decided), 1)
    return np.asarray(f1.sum(1, where=true > 0) / (true > 0).sum(1))


def _micro_f1_of_draws(probabilities: Array, targets: Array, drawn: Array) -> Array:
    truth, decided = targets.astype(bool), probabilities >= 0.5
    both, total = (truth & decided).sum(1)[drawn].sum(1), (truth.sum(1) + decided.sum(1))[drawn].sum(1)
    return np.asarray(2 * both / np.maximum(total, 1))


_OF_DRAWS: dict[tuple[str, str], Callable[[Array, Array, Array], Array]] = {
    ("binary", "accuracy"): _accuracy_of_draws,
    ("binary", "macro_f1"): _macro_f1_of_draws,
    ("binary", "log_loss"): _log_loss_of_draws,
    ("multiclass", "accuracy"): _accuracy_of_draws,
    ("multiclass", "macro_f1"): _macro_f1_of_draws,
    ("multiclass", "log_loss"): _log_loss_of_draws,
    ("multilabel", "micro_f1"): _micro_f1_of_draws,
}
"""Of (N, K) probabilities, targets and (M, N) numbers of rows: the metric of each of M draws, at once."""
