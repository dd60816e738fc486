"""Writes docs/conformance.md: every law of the kit, and what came of holding every family against it."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from families import HERE, Family, families

import zoo
from zoo.testing import check_backbone, check_dataset, check_head, check_scorer, check_strategy
from zoo.testing.backbones import BACKBONE_LAWS
from zoo.testing.datasets import DATASET_LAWS
from zoo.testing.heads import HEAD_LAWS
from zoo.testing.plugin_laws import PLUGIN_LAWS
from zoo.testing.report import Conformance, Laws
from zoo.testing.scorers import SCORER_LAWS
from zoo.testing.strategies import STRATEGY_LAWS

PAGE = HERE.parents[1] / "docs" / "conformance.md"
KINDS: dict[str, Laws[Any]] = {
    "A backbone": BACKBONE_LAWS,
    "A head": HEAD_LAWS,
    "A strategy": STRATEGY_LAWS,
    "A scorer": SCORER_LAWS,
    "A data set": DATASET_LAWS,
    "A plugin as a whole": PLUGIN_LAWS,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="families whose name holds this; the page is not written")
    parser.add_argument("--keep", type=Path, help="a JSON file of earlier results to go on from")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    rows: dict[str, list[Any]] = json.loads(given.keep.read_text()) if given.keep and given.keep.is_file() else {}
    for family in families():
        if (given.only and given.only not in family.id) or family.id in rows:
            continue
        rows[family.id] = row_of(family)
        if given.keep:
            given.keep.write_text(json.dumps(rows))
    if not given.only:
        order = [family.id for family in families()]
        PAGE.write_text(page([rows[each] for each in order if each in rows], others()), encoding="utf-8")


def row_of(family: Family) -> list[Any]:
    """Plugin, family, D, parameters, tokens, stages, checks, failed, not applicable."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = check_backbone(family.make(Path(folder) / "model"), image_size=family.image_size)
    said = {result.check: result.measured for result in found.results if result.status == "pass"}
    print(f"{family.id}: {found.checks} checks, {len(found.failed)} failed, {time.monotonic() - started:.0f} s")
    for result in found.failed:
        print(f"  {result}", file=sys.stderr)
    sys.stdout.flush()
    count = len(found.results) - found.checks
    dim = said.get("dim", "?").removeprefix("D = ")
    params = said.get("params", "?").partition(" ")[0].rstrip(",")
    stages = said.get("stage-names", "?").partition(":")[0]
    return [family.plugin, family.name, dim, params, stages, found.checks, len(found.failed), count]


def others() -> list[list[Any]]:
    """The same of everything else that zoo offers."""
    catalog = zoo.default_catalog()
    checks = (check_head, catalog.heads), (check_strategy, catalog.strategies), (check_scorer, catalog.scorers)
    found: list[Conformance] = [check(name) for check, names in checks for name in names]  # type: ignore[operator]
    found += [check_dataset(name) for name in catalog.datasets]
    return [[each.subject, each.checks, len(each.failed), len(each.results) - each.checks] for each in found]


def page(rows: list[list[Any]], other: list[list[Any]]) -> str:
    """The whole of docs/conformance.md."""
    checks, failed = (sum(row[i] for row in rows) for i in (5, 6))
    more, bad = (sum(row[i] for row in other) for i in (1, 2))
    lines = [
        "# Conformance",
        "",
        "What every backbone, head, strategy, scorer and data set must do, and what came of holding all that zoo",
        "offers against it. A plugin's author has the same checks: `zoo plugins check NAME`, or one line a subject in",
        "a test file ([plugins.md](plugins.md)).",
        "",
        f"{len(rows)} families of backbones: {checks:,} checks, {failed} failed.",
        f"{len(other)} heads, strategies and data sets: {more} checks, {bad} failed.",
        "",
        "Written by `python tests/testing/write_conformance.py` in a quarter of an hour on one core: tiny random",
        "configurations where the library allows them, else the smallest published network with random weights, on a",
        "CPU without network. What has nothing to say of a family (padding to an image network, replay to a network",
        "of two stages, `torch.export` where it cannot trace) is counted apart. A subject that no check applies to",
        "never passes.",
        "",
        "## The laws",
        "",
    ]
    for kind, laws in KINDS.items():
        lines += [f"### {kind}", "", "| check | law | broken, it would mean |", "| --- | --- | --- |"]
        lines += [f"| `{law.name}` | {_cell(law.says)} | {_cell(law.consequence)} |" for law in laws.laws]
        lines.append("")
    lines += ["## Families of backbones", ""]
    lines += ["| plugin | family | D | parameters | stages | checks | failed | do not apply |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- | --- |"]
    lines += ["| " + " | ".join(_cell(str(value)) for value in row) + " |" for row in rows]
    lines += ["", "## Heads, strategies and data sets", "", "| subject | checks | failed | do not apply |"]
    lines += ["| --- | --- | --- | --- |"]
    lines += ["| " + " | ".join(str(value) for value in row) + " |" for row in other]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    main()
