"""`zoo probe`: learning curves of a backbone on data, as a table, a value and a picture."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zoo
from zoo import Dataset, ReadOptions, Table, UnknownNameError, UsageError
from zoo.data.reading import dataset_of

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cli"))

from program import documented
from program import zoo as program

GLYPH, DIGITS = "starter/glyph-cnn", "sklearn:digits"
FEW = ReadOptions(limit=200, val=0.1)
"""200 rows to draw from, 179 to measure on."""


def words(kind: str) -> Dataset:
    """60 texts whose words say their label."""
    names = ("red", "green", "blue")
    texts = [f"a {names[n % 3]} thing {names[n % 2]} {n}" for n in range(60)]
    label = {
        "multiclass": [names[n % 3] for n in range(60)],
        "multilabel": [f"{names[n % 3]}|{names[n % 2]}" for n in range(60)],
        "regression": [n % 3 + 0.5 for n in range(60)],
    }[kind]
    return dataset_of(Table("words", {"text": texts, "label": label}), ReadOptions(task=kind))  # type: ignore[arg-type]


def test_the_features_are_extracted_once_and_shared_with_finetune(tmp_path: Path) -> None:
    first = zoo.probe(GLYPH, DIGITS, shots=(1, "all"), seeds=2, heads=("knn",), read=FEW)
    run = zoo.finetune(GLYPH, DIGITS, head="knn", read=FEW, baseline="none", out=zoo.Output(dir=str(tmp_path)))
    again = zoo.probe(GLYPH, DIGITS, shots=(1, 2, "all"), seeds=2, heads=("prototypes", "knn"), read=FEW)
    assert again.cached
    assert again.dim == 320
    assert again.sweep.of("knn")[0].values == first.sweep.of("knn")[0].values
    assert again.sweep.of("knn")[-1].mean == pytest.approx(run.metrics["accuracy"])
    means = [point.mean for point in again.sweep.of("knn")]
    assert means == sorted(means, key=lambda mean: mean or 0.0)


def test_pretrained_features_beat_random_ones_draw_by_draw() -> None:
    pretrained, random = (
        zoo.probe(GLYPH, DIGITS, shots=(4,), seeds=3, heads=("prototypes",), weights=weights, read=FEW).sweep.points[0]
        for weights in (None, "random")
    )
    assert all(one and other and one > other for one, other in zip(pretrained.values, random.values, strict=True))


def test_only_rows_that_are_drawn_are_extracted() -> None:
    data = zoo.read_dataset(DIGITS, FEW)
    seen: dict[str, int] = {}

    def watch(event: object) -> None:
        if getattr(event, "doing", None) == "extracting":
            seen["most"] = max(seen.get("most", 0), getattr(event, "total", 0))

    zoo.probe("starter/pixels", data, shots=(1,), seeds=2, heads=("knn",), watch=watch)
    assert seen["most"] == len(data.splits["val"])  # the training rows are twenty at most


@pytest.mark.parametrize(
    ("kind", "heads", "metric"),
    [
        ("multiclass", ("linear", "knn", "prototypes"), "accuracy"),
        ("multilabel", ("linear", "knn", "prototypes"), "micro_f1"),
        ("regression", ("linear", "knn"), "r2"),
    ],
)
def test_every_task_of_one_answer_a_row_is_probed(kind: str, heads: tuple[str, ...], metric: str) -> None:
    found = zoo.probe("starter/bag-of-words", words(kind), seeds=1, shots=(4, "all"))
    assert found.sweep.heads == heads
    assert found.sweep.metric == metric
    linear = found.sweep.of("linear")
    assert [point.rows for point in linear] == [4 * (3 if kind == "multiclass" else 1), 48]
    assert linear[-1].mean is not None
    assert linear[-1].mean > 0.9


def test_what_cannot_be_probed_is_refused() -> None:
    with pytest.raises(UsageError, match="the head prototypes is not for a task of regression"):
        zoo.probe("starter/bag-of-words", words("regression"), heads=("prototypes",))
    with pytest.raises(UsageError, match="--seeds 0 is not above 0"):
        zoo.probe(GLYPH, DIGITS, seeds=0)
    with pytest.raises(UnknownNameError, match="No metric is named 'aucroc'"):
        zoo.probe("starter/bag-of-words", words("multiclass"), metric="aucroc")
    with pytest.raises(UsageError, match=r"'curve\.bmp' has no ending of a picture"):
        zoo.probe("starter/bag-of-words", words("multiclass"), seeds=1, shots=(1,), heads=("knn",)).plot("curve.bmp")


# --- the command

SMALL = ("--limit", "200", "--val", "0.1")


def test_the_command_prints_a_table_and_writes_a_picture(tmp_path: Path) -> None:
    picture = tmp_path / "curve.png"
    done = program("probe", GLYPH, DIGITS, "--shots", "1,2,all", "--heads", "knn,prototypes", *SMALL, "--plot", picture)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "val accuracy of starter/glyph-cnn.letters"
    assert lines[1].split() == ["rows", "a", "class", "trained", "on", "knn", "prototypes"]
    assert [line.split()[:2] for line in lines[2:5]] == [["1", "10"], ["2", "20"], ["all", "200"]]
    assert "mean of 5 draws of training rows [95% interval of that mean, by Student's t]" in lines
    assert "* one draw, all rows [95% interval by bootstrap over the 179 held-out rows]" in lines
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert pixels.shape[1] > 600
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50  # lines, bands and words


def test_the_json_has_the_keys_of_the_page() -> None:
    done = program("probe", GLYPH, DIGITS, "--shots", "1", "--seeds", "2", "--heads", "knn", *SMALL, "--json")
    found = done.json()
    assert set(found) == documented("`zoo probe BACKBONE DATA --json`")
    assert set(found["points"][0]) == documented("A point of a curve")
    assert found["points"][0]["shots"] == 1
    assert found["seeds"] == [0, 1]


@pytest.mark.parametrize(
    ("options", "said", "mend"),
    [
        (("--shots", "1,two"), "--shots 1,two: 'two' is no number of rows", "1,2,4,all"),
        (("--shots", "0"), "0 shots are no number of rows above 0", "1,2,4,all"),
        (("--heads", "kn"), "No head is named 'kn'. Did you mean knn", "zoo list heads"),
        (("--heads", "mlp"), "the head mlp cannot be solved", "linear, knn, prototypes"),
        (("--plot", "c.gif"), "'c.gif' has no ending of a picture", ".png, .svg, .pdf"),
        (("--plot", "nowhere/c.png"), "the folder nowhere is not there", "make it first"),
        (("--task", "multiclas"), "multiclas", "multiclass"),
    ],
)
def test_bad_options_are_said_with_their_mend(options: tuple[str, ...], said: str, mend: str) -> None:
    done = program("probe", GLYPH, DIGITS, *options)
    assert done.code == 2
    assert said in done.err
    assert mend in done.err
