"""zoo's conformance kit on everything that this plugin offers: one line each."""

from __future__ import annotations

import pytest
import zoo_mixer

import zoo
from zoo.testing import check_backbone, check_head, check_scorer

CATALOG = zoo.Catalog.of({"mixer": zoo_mixer})


@pytest.mark.parametrize("name", CATALOG.backbones)
def test_backbones_keep_the_contract(name: str) -> None:
    check_backbone(name, catalog=CATALOG).raise_failures()


@pytest.mark.parametrize("name", CATALOG.heads)
def test_heads_keep_the_contract(name: str) -> None:
    check_head(name, catalog=CATALOG).raise_failures()


@pytest.mark.parametrize("name", CATALOG.scorers)
def test_scorers_keep_the_contract(name: str) -> None:
    check_scorer(name, catalog=CATALOG).raise_failures()
