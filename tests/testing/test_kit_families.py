"""Every family of backbones of every plugin is held against laws: one of each plugin against all, the others in turn.

`write_conformance.py` holds all families against all laws and writes docs/conformance.md.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from families import HERE, Family, families

import zoo
from zoo.testing import check_backbone, check_strategy
from zoo.testing.backbones import BACKBONE_LAWS

WHOLE = {
    "starter glyph-cnn",
    "recurrent gru",
    "torchvision squeezenet",
    "timm vit with a class token",
    "transformers gpt2",
    "transformers hubert",
    "transformers idefics (Flamingo)",
    "unified_io unified-io-2:text",
    "open_clip siglip",
}
"""Held against every law; the others leave those that train and trace, and half of the rest, to the page's script."""
SLOW = ("finetunes", "resumes", "exports")
CORE = ("dim", "params", "stage-names", "preprocessing", "shapes", "batch-of-one", "stages-partition", "modes")
FAMILIES = families()
PAGE = HERE.parents[1] / "docs" / "conformance.md"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.id.replace(" ", "-"))
def test_a_family_keeps_the_contract(family: Family, tmp_path: Path) -> None:
    checks = checks_of(family)
    found = check_backbone(family.make(tmp_path / "model"), image_size=family.image_size, only=checks)
    assert found.passed, "\n".join(str(result) for result in found.failed)
    assert found.checks >= (8 if family.heavy else 14)


def checks_of(family: Family) -> list[str]:
    """Neighbours are mostly families of one plugin, and so have different halves of the laws."""
    if family.id in WHOLE:
        return list(BACKBONE_LAWS.names)
    rest = [name for name in BACKBONE_LAWS.names if name not in {*CORE, *SLOW, *family.slow}]
    return [*CORE, *([] if family.heavy else rest[FAMILIES.index(family) % 2 :: 2])]


def test_every_law_meets_many_families() -> None:
    for law in set(BACKBONE_LAWS.names) - set(SLOW):
        assert sum(law in checks_of(family) for family in FAMILIES) > len(FAMILIES) / 4, law


def test_the_page_of_conformance_has_every_family_and_every_law() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| (\w+) \| ([^|]+) \|", text, flags=re.MULTILINE))
    assert {(family.plugin, family.name) for family in FAMILIES} <= rows
    for law in BACKBONE_LAWS.laws:
        assert f"| `{law.name}` | {law.says} | {law.consequence} |" in text
    assert ", 0 failed." in text


GROUNDS = [family for family in FAMILIES if family.id in WHOLE - {"unified_io unified-io-2:text"}]
STRATEGIES = list(zoo.default_catalog().strategies)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_strategy_trains_a_family_as_its_table_says_and_resumes_alike(strategy: str, tmp_path: Path) -> None:
    # Each strategy meets one family here, in turn; the page's script brings all together.
    family = GROUNDS[STRATEGIES.index(strategy) % len(GROUNDS)]
    name = family.make(tmp_path / "model")
    checks = ("trains-what-it-says", "resumes-alike")
    found = check_strategy(strategy, on=name, image_size=family.image_size, only=checks)
    assert found.passed or not found.checks, "\n".join(str(result) for result in found.failed)


def test_a_strategy_that_does_nothing_on_a_backbone_is_said_not_to_apply() -> None:
    found = check_strategy("norm-tuning", on="starter/gru", only=("trains-what-it-says", "resumes-alike"))
    assert [result.status for result in found.results] == ["skip", "skip"]
    assert "no normalisation to train" in str(found.results[0])
