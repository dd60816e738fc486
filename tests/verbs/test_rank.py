"""`zoo rank`: which backbones are worth fine-tuning, told from training rows alone."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zoo
from zoo import Dataset, Filters, ImageRef, ReadOptions, Table, UnknownNameError, UsageError
from zoo.data.reading import dataset_of
from zoo.verbs.rank import looked_at
from zoo.verbs.scoring import balanced

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cli"))

from program import documented
from program import zoo as program

GLYPH, DIGITS, BAG, PIXELS = "starter/glyph-cnn", "sklearn:digits", "starter/bag-of-words", "starter/pixels"
FEW = ReadOptions(limit=200, val=0.1)
NAMES = ("red", "green", "blue")


def things(kind: str = "multiclass", *, images: bool = False) -> Dataset:
    """60 texts that say their label, with pictures that do not."""
    texts = [f"a {NAMES[n % 3]} thing {NAMES[n % 2]} {n}" for n in range(60)]
    label = {
        "multiclass": [NAMES[n % 3] for n in range(60)],
        "multilabel": [f"{NAMES[n % 3]}|{NAMES[n % 2]}" for n in range(60)],
        "regression": [n % 3 + 0.5 for n in range(60)],
    }[kind]
    columns: dict[str, Any] = {"text": texts, "label": label}
    if images:
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 255, (60, 8, 8, 3), dtype=np.uint8)
        columns["image"] = [ImageRef(f"{n}.png", array=pixels[n]) for n in range(60)]
    return dataset_of(Table("things", columns), ReadOptions(task=kind))  # type: ignore[arg-type]


def test_pretrained_weights_come_before_random_ones_and_random_ones_before_noise() -> None:
    found = zoo.rank(DIGITS, [f"{GLYPH}@random", GLYPH], read=FEW)
    assert [each.backbone for each in found.ranked] == ["starter/glyph-cnn.letters", f"{GLYPH}@random"]
    assert [each.place for each in found.ranked] == [1, 2]
    assert found.by == ("knn", "linear")
    assert found.scorers == ("knn", "linear", "logme", "h-score")
    assert "starter/glyph-cnn.letters is first, beyond what another draw of 200 rows would change" in found.findings
    again = zoo.rank(DIGITS, [GLYPH, f"{GLYPH}@random"], read=FEW)
    assert [each.ms_per_row for each in again.ranked] == [None, None]  # features are extracted once
    values = [[each.scores["logme"].value for each in one.ranked] for one in (found, again)]
    assert values[0] == values[1]


def test_held_out_rows_are_never_looked_at() -> None:
    data = things()
    assert "val" in data.splits
    broken = replace(data.splits["val"], inputs={"text": [object()] * len(data.splits["val"])})
    found = zoo.rank(replace(data, splits={**data.splits, "val": broken}), [BAG])
    assert found.rows == len(data.splits["train"])


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "regression"])
def test_every_kind_of_task_is_ranked(kind: str) -> None:
    found = zoo.rank(things(kind), [BAG, "starter/gru"])
    assert found.ranked[0].backbone == BAG
    assert ("h-score" in found.scorers) == (kind == "multiclass")
    assert found.ranked[0].scores["linear"].value > 0.5


def test_images_texts_and_both_stand_side_by_side() -> None:
    found = zoo.rank(things(images=True), [PIXELS, BAG, f"{PIXELS}+{BAG}"])
    of = {each.backbone: each for each in found.ranked}
    assert {name: each.modalities for name, each in of.items()} == {
        PIXELS: ("image",),
        BAG: ("text",),
        f"{PIXELS}+{BAG}": ("image", "text"),
    }
    assert of[PIXELS].scores["linear"].value < 0.5 < of[BAG].scores["linear"].value
    assert found.concordance is not None


def test_no_part_of_a_joint_backbone_drowns_the_other() -> None:
    features = np.hstack([np.random.default_rng(0).standard_normal((50, 40)) * 100, np.eye(50, 4)])
    found = balanced(features.astype(np.float32), [slice(0, 40), slice(40, 44)])
    assert found[:, :40].var(0).sum() == pytest.approx(found[:, 40:].var(0).sum(), rel=1e-5)


def test_copies_count_once_and_a_limit_keeps_every_class() -> None:
    texts = [f"text {n % 90}" for n in range(100)]
    label = ["rare" if n % 90 < 5 else "often" for n in range(100)]
    data = dataset_of(Table("t", {"text": texts, "label": label}), ReadOptions(val=0.1))
    rows, notes = looked_at(data, 30, seed=0)
    assert 28 <= len(set(rows.ids)) == len(rows) <= 30
    assert set(rows.targets) == {0, 1}  # type: ignore[arg-type]
    assert notes[0].endswith("training rows are copies of others and are left out")
    assert notes[-1].endswith("training rows are looked at (--limit)")


def test_a_candidate_that_fails_costs_one_line() -> None:
    found = zoo.rank(things(), [BAG, "torchvision/resnet18@random", "starter/gru"])
    assert len(found.ranked) == 2
    (why,) = found.failures.values()
    assert "takes image, and the data have text" in why
    with pytest.raises(UsageError, match="no candidate could be scored"):
        zoo.rank(things(), [PIXELS, GLYPH])
    with pytest.raises(UsageError, match="starter/pixels takes image, and the data have text"):
        zoo.rank(things(), [PIXELS])
    with pytest.raises(UsageError, match="bag-of-words brings no head of its own classes, which leep asks for"):
        zoo.rank(things(), [BAG], scorers=("leep",))


def test_what_is_too_slow_is_left_out() -> None:
    found = zoo.rank(things(), [BAG, "starter/gru"], filters=Filters(max_ms=1000), scorers=("knn",))
    assert len(found.ranked) == 2
    with pytest.raises(UsageError, match="ms a row, more than --max-ms 1e-06"):
        zoo.rank(things(), [BAG], filters=Filters(max_ms=1e-6), scorers=("knn",))


def test_what_cannot_be_meant_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(UnknownNameError, match=r"No scorer is named 'logmee'\. Did you mean logme"):
        zoo.rank(things(), [BAG], scorers=("logmee",))
    with pytest.raises(UsageError, match="the score h-score is not for a task of regression"):
        zoo.rank(things("regression"), [BAG], scorers=("h-score",))
    with pytest.raises(UsageError, match=r"no backbone fits 'starter/zz\*' and has its weights on this machine"):
        zoo.rank(things(), ["starter/zz*"])
    with pytest.raises(UsageError, match="no backbone that fits takes text and has its weights on this machine"):
        zoo.rank(things(), filters=Filters(source="starter"))
    with pytest.raises(UsageError, match="backbones fit, and their weights may all have to be fetched"):
        zoo.rank(DIGITS, filters=Filters(cached=False, modality="image"), read=FEW)
    with pytest.raises(UsageError, match="--source starter narrows globs and the catalogue, and every"):
        zoo.rank(things(), [BAG], filters=Filters(source="starter"))
    with pytest.raises(UsageError, match="'tpu' is no device"):
        zoo.rank(things(), [BAG], device="tpu")
    with pytest.raises(UnknownNameError, match="No pooling is named 'foo'"):
        zoo.rank(things(), [BAG], pooling="foo")
    with pytest.raises(UsageError, match="--max-ms 0 is not above 0"):
        zoo.rank(things(), [BAG], filters=Filters(max_ms=0))
    with pytest.raises(UsageError, match="--limit 2 is too few rows"):
        zoo.rank(things(), [BAG], limit=2)
    with pytest.raises(UsageError, match="--budget soon is no time"):
        zoo.rank(things(), [BAG], finetune=1, budget="soon")


def test_the_catalogue_is_asked_where_no_backbone_is_named() -> None:
    found = zoo.rank(DIGITS, filters=Filters(source="starter", licence="apache"), read=FEW, scorers=("knn",))
    assert [each.backbone for each in found.ranked] == ["starter/glyph-cnn.letters"]
    glob = zoo.rank(DIGITS, ["starter/*cnn*"], read=FEW, scorers=("knn",))
    assert [each.backbone for each in glob.ranked] == ["starter/glyph-cnn.letters"]


def test_the_head_of_a_run_is_scored_by_leep(tmp_path: Path) -> None:
    run = zoo.finetune(
        GLYPH, DIGITS, strategy="linear-probe", read=FEW, baseline="none", out=zoo.Output(dir=str(tmp_path))
    )
    found = zoo.rank(
        DIGITS, [str(run.path), GLYPH], read=ReadOptions(limit=200, val=0.1, seed=1), scorers=("knn", "leep", "nce")
    )
    of = {each.backbone: each.scores for each in found.ranked}
    scores = next(scores for name, scores in of.items() if str(run.path) in name)
    assert -0.5 < scores["leep"].value <= 0
    assert -0.8 < scores["nce"].value <= 0
    assert "leep" not in of["starter/glyph-cnn.letters"]


def test_the_best_few_are_fine_tuned_in_turn_within_a_budget() -> None:
    found = zoo.rank(things(), [BAG, "starter/gru"], finetune=1, budget="20s")
    first, second = found.ranked
    assert first.tuned is not None
    assert second.tuned is None
    assert first.tuned.ended == "done"
    assert first.tuned.value is not None
    assert found.findings[0].startswith(f"after short fine-tuning {BAG} is best: accuracy {first.tuned.value:.3f}")


def test_every_stage_is_scored_from_one_pass() -> None:
    found = zoo.rank_layers(DIGITS, [GLYPH], read=FEW, scorers=("knn", "linear"))
    layers = found.backbones["starter/glyph-cnn.letters"]
    names = [stage.name for stage in zoo.load(GLYPH).stages()]
    assert [each.name for each in layers if each.name in names] == names
    assert layers[-1].name == "pooled"
    alone = zoo.rank(DIGITS, [GLYPH], read=FEW, scorers=("knn", "linear")).ranked[0].scores["knn"].value
    assert layers[-1].scores["knn"].value == pytest.approx(alone, abs=0.02)
    assert layers[0].scores["linear"].value < layers[-1].scores["linear"].value
    (sentence,) = found.findings
    assert sentence.startswith("starter/glyph-cnn.letters: ")


def test_stages_of_image_and_text_stand_side_by_side() -> None:
    found = zoo.rank_layers(things(images=True), [f"{GLYPH}+starter/gru"], scorers=("linear",))
    (layers,) = found.backbones.values()
    names = [each.name for each in layers]
    assert {"0.block1", "1.layer1", "pooled"} <= set(names)
    pooled, image = (next(e for e in layers if e.name == n).scores["linear"].value for n in ("pooled", "0.block4"))
    assert pooled > image  # the text tells the label, and the wider image does not drown it


def test_the_page_has_every_key_and_the_table_goes_into_a_file(tmp_path: Path) -> None:
    line = (
        "rank",
        DIGITS,
        GLYPH,
        f"{GLYPH}@random",
        "--limit",
        "60",
        "--scorers",
        "knn,linear",
        "--csv",
        str(tmp_path / "r.csv"),
    )
    done = program(*line, "--json")
    assert done.code == 0
    plain = done.json()
    assert set(plain) == documented("`zoo rank DATA BACKBONE... --json`")
    assert set(plain["ranked"][0]) == documented("A candidate of a ranking:")
    rows = list(csv.DictReader((tmp_path / "r.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["backbone"] for row in rows] == ["starter/glyph-cnn.letters", f"{GLYPH}@random"]
    assert float(rows[0]["knn"]) == pytest.approx(plain["ranked"][0]["scores"]["knn"]["value"])
    shown = program(*line[:-2]).out
    assert "ordered by knn and linear [95% interval over rows]" in shown
    layers = program("rank", DIGITS, GLYPH, "--layers", "--scorers", "knn", "--limit", "60", "--json").json()
    assert set(layers) == documented("`zoo rank DATA BACKBONE --layers --json`")


def test_layers_and_fine_tuning_exclude_each_other() -> None:
    done = program("rank", DIGITS, GLYPH, "--layers", "--finetune", "2")
    assert done.code == 2
    assert "--layers scores stages, and --finetune trains whole backbones" in done.err
