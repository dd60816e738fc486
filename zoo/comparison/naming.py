"""Metrics as people call them."""

from __future__ import annotations

_NAMES = {
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "span_f1": "entity F1",
    "log_loss": "log-loss",
    "ece": "calibration error",
    "auroc": "AUROC",
    "rmse": "RMSE",
    "mae": "MAE",
    "pearson": "Pearson's r",
    "samples_f1": "F1 of a row",
    "r2": "R²",
    "map": "mAP",
    "map_50": "mAP at 50%",
    "miou": "mIoU",
}


def metric(name: str) -> str:
    """A metric's name in words."""
    return _NAMES.get(name, name.replace("_at_", " at ").replace("_", " "))
