"""The conformance kit: what every backbone, head, strategy, scorer and data set must do, for plugin authors."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "check_plugin": "zoo.testing.plugin",
    "PluginConformance": "zoo.testing.plugin",
    "check_backbone": "zoo.testing.backbones",
    "check_head": "zoo.testing.heads",
    "check_strategy": "zoo.testing.strategies",
    "check_scorer": "zoo.testing.scorers",
    "check_dataset": "zoo.testing.datasets",
    "backbone_tests": "zoo.testing.suite",
    "head_tests": "zoo.testing.suite",
    "strategy_tests": "zoo.testing.suite",
    "scorer_tests": "zoo.testing.suite",
    "dataset_tests": "zoo.testing.suite",
    "Conformance": "zoo.testing.report",
    "Result": "zoo.testing.report",
}

__all__ = [*_EXPORTS]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'zoo.testing' has no attribute '{name}'")
    value = getattr(importlib.import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from zoo.testing.backbones import check_backbone as check_backbone
    from zoo.testing.datasets import check_dataset as check_dataset
    from zoo.testing.heads import check_head as check_head
    from zoo.testing.plugin import PluginConformance as PluginConformance
    from zoo.testing.plugin import check_plugin as check_plugin
    from zoo.testing.report import Conformance as Conformance
    from zoo.testing.report import Result as Result
    from zoo.testing.scorers import check_scorer as check_scorer
    from zoo.testing.strategies import check_strategy as check_strategy
    from zoo.testing.suite import backbone_tests as backbone_tests
    from zoo.testing.suite import dataset_tests as dataset_tests
    from zoo.testing.suite import head_tests as head_tests
    from zoo.testing.suite import scorer_tests as scorer_tests
    from zoo.testing.suite import strategy_tests as strategy_tests
