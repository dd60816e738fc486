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

STRATEGIES = "strategies on "
TRAINING = ("trains-what-it-says", "resumes-alike")
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
        if given.only and given.only not in family.id:
            continue
        for key, hold in ((family.id, row_of), (f"{STRATEGIES}{family.id}", trained)):
            if key not in rows:
                rows[key] = hold(family)
            if given.keep:
                given.keep.write_text(json.dumps(rows))
    if not given.only:
        known = [family.id for family in families() if family.id in rows]
        pairs = [rows[f"{STRATEGIES}{each}"] for each in known]
        PAGE.write_text(page([rows[each] for each in known], pairs, others()), encoding="utf-8")


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


def trained(family: Family) -> list[Any]:
    """Plugin, family, and for each strategy checks, failed, not applicable; nothing of the heaviest."""
    found = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        name = family.make(Path(folder) / "model")
        for strategy in zoo.default_catalog().strategies if not family.heavy else ():
            held = check_strategy(strategy, on=name, image_size=family.image_size, only=TRAINING)
            found.append([strategy, held.checks, len(held.failed), len(held.results) - held.checks])
            for result in held.failed:
                print(f"  {strategy} on {family.id}: {result}", file=sys.stderr)
    bad = sum(each[2] for each in found)
    print(f"{family.id}: {len(found)} strategies, {bad} failed, {time.monotonic() - started:.0f} s", flush=True)
    return [family.plugin, family.name, found]


def trained_lines(pairs: list[list[Any]]) -> list[str]:
    """A table with a row a strategy: how many families it was trained on, and what came of it."""
    held = [each for each in pairs if each[2]]
    left = ", ".join(f"{plugin} {name}" for plugin, name, found in pairs if not found)
    lines = [
        "## Every strategy on every family",
        "",
        f"Each strategy trains each of {len(held)} families for an epoch of every phase: what is frozen stays bit for",
        "bit, everything that is trained moves, and a run that is stopped in the middle of an epoch and resumed ends",
        "with the same weights. A strategy that solves, or that refuses a backbone (no normalisation, no layer that",
        "takes an adapter), does not apply. Left out for their weight:",
        f"{left}.",
        "",
        "| strategy | families | checks | failed | do not apply |",
        "| --- | --- | --- | --- | --- |",
    ]
    for strategy in zoo.default_catalog().strategies:
        own = [each for _, _, found in held for each in found if each[0] == strategy]
        sums = [sum(each[place] for each in own) for place in (1, 2, 3)]
        lines.append(f"| {strategy} | {len(own)} | {sums[0]} | {sums[1]} | {sums[2]} |")
    return lines


def others() -> list[list[Any]]:
    """The same of everything else that zoo offers."""
    catalog = zoo.default_catalog()
    checks = (check_head, catalog.heads), (check_strategy, catalog.strategies), (check_scorer, catalog.scorers)
    found: list[Conformance] = [check(name) for check, names in checks for name in names]  # type: ignore[operator]
    found += [check_dataset(name) for name in catalog.datasets]
    return [[each.subject, each.checks, len(each.failed), len(each.results) - each.checks] for each in found]


def page(rows: list[list[Any]], pairs: list[list[Any]], other: list[list[Any]]) -> str:
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
        f"{len(other)} heads, strategies, scorers and data sets: {more} checks, {bad} failed.",
        "",
        "Written by `python tests/testing/write_conformance.py` in an hour on one core: tiny random",
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
    lines += ["", *trained_lines(pairs)]
    lines += ["", "## Heads, strategies, scorers and data sets", "", "| subject | checks | failed | do not apply |"]
    lines += ["| --- | --- | --- | --- |"]
    lines += ["| " + " | ".join(str(value) for value in row) + " |" for row in other]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    main()
