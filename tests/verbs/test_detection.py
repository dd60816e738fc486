"""Detection by the same commands: fine-tune, resume, evaluate, predict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file
from shapes import pictures, write_coco

import zoo
from zoo.verbs.run import Interrupted

pytest.importorskip("pycocotools")

BACKBONE = "starter/glyph-cnn"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 pictures in COCO's layout."""
    return write_coco(tmp_path_factory.mktemp("data") / "shapes", pictures(40))


@pytest.fixture(scope="module")
def run(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> zoo.Run:
    """A detector that has learned to find shapes."""
    out = zoo.Output(dir=str(tmp_path_factory.mktemp("runs")), name="found")
    return zoo.finetune(BACKBONE, shapes, strategy="full", epochs=8, lr=3e-3, out=out)


def weights(run: Path) -> dict[str, Any]:
    return load_file(run / "model" / "model.safetensors")


def test_a_detector_is_trained_measured_and_kept_by_the_usual_command(run: zoo.Run) -> None:
    assert run.task.kind == "detection"
    assert run.task.classes == ("box", "disc")
    assert (run.metrics["map_50"] or 0) > 0.6
    assert run.metrics.keys() >= {"map", "map_50", "map_75", "recall", "ap.box", "ap.disc"}
    low, high = run.intervals["map"]
    assert low <= (run.metrics["map"] or 0) <= high
    assert run.baseline is None
    assert any("image size 56" in note for note in run.plan.notes)
    losses = [json.loads(line).get("loss") for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    losses = [loss for loss in losses if loss is not None]
    assert losses[-1] < 0.6 * losses[0]
    card = (run.path / "model" / "README.md").read_text()
    assert "pipeline_tag: object-detection" in card


def test_evaluate_says_what_the_run_said_and_measures_each_class(run: zoo.Run, shapes: Path, tmp_path: Path) -> None:
    again = zoo.evaluate(run.path, batch_size=3)
    assert again.metrics == pytest.approx(dict(run.metrics), abs=1e-6)
    assert [row.name for row in again.per_class] == ["box", "disc"]
    assert sum(row.support for row in again.per_class) > 8
    assert all(row.f1 > 0.3 for row in again.per_class)
    assert again.confusion is None
    other = zoo.evaluate(run.path, write_coco(tmp_path / "new", pictures(12, seed=5)))
    assert (other.metrics["map_50"] or 0) > 0.4
    file = tmp_path / "new" / "annotations.json"
    file.write_text(file.read_text().replace('"box"', '"triangle"'))
    with pytest.raises(zoo.DataError, match="the run knows no triangle"):
        zoo.evaluate(run.path, tmp_path / "new")


def test_predictions_are_boxes_in_the_pixels_of_each_image(run: zoo.Run, tmp_path: Path) -> None:
    (image, true), _ = pictures(2, seed=9)
    large = image.resize((image.width * 5, image.height * 5), 0)
    large.save(tmp_path / "large.png")
    image.save(tmp_path / "small.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    files = [str(tmp_path / name) for name in ("large.png", "small.png", "broken.png")]
    big, small, broken = zoo.predict(run.path, files, boxes=tmp_path / "drawn")
    assert broken.error is not None
    for factor, each in ((5, big), (1, small)):
        assert each.objects is not None
        likely = [found for found in each.objects if found.score >= 0.5]
        assert sorted(found.label for found in likely) == sorted(true.names[label] for label in true.labels)
        for corners, label in zip(true.corners, true.labels, strict=True):
            found = next(found for found in likely if found.label == true.names[label])
            np.testing.assert_allclose(np.array(found.box) / factor, corners, atol=6)
    line = big.to_json()
    assert line.keys() == {"input", "size", "objects", "drawn"}
    assert line["size"] == [large.width, large.height]
    assert line["objects"][0].keys() == {"label", "score", "box"}
    assert line["objects"] == sorted(line["objects"], key=lambda found: -found["score"])
    from PIL import Image

    with Image.open(line["drawn"]) as drawn:
        assert drawn.size == large.size
        assert np.abs(np.asarray(drawn, dtype=int) - np.asarray(large, dtype=int)).max() > 100
    with pytest.raises(zoo.UsageError, match="is there and not empty"):
        next(iter(zoo.predict(run.path, files, boxes=tmp_path / "drawn")))
    with pytest.raises(zoo.UsageError, match="is no segmentation and makes no masks"):
        next(iter(zoo.predict(run.path, files, masks=tmp_path / "masks")))


@pytest.mark.parametrize("head", ["fcos", "retinanet", "faster-rcnn"])
def test_a_run_that_was_stopped_goes_on_to_the_same_weights(shapes: Path, tmp_path: Path, head: str) -> None:
    options = zoo.Training(strategy="partial", head=head, epochs=2, save_every=1, augment="light", batch_size=4)
    read = zoo.ReadOptions(limit=8)
    whole = zoo.finetune(BACKBONE, shapes, training=options, read=read, out=zoo.Output(str(tmp_path), "whole"))
    steps = iter([False, False, True])
    with pytest.raises(Interrupted, match="stopped at step"):
        zoo.finetune(
            BACKBONE,
            shapes,
            training=options,
            read=read,
            out=zoo.Output(str(tmp_path), "stopped"),
            stop=lambda: next(steps, True),
        )
    resumed = zoo.resume(tmp_path / "stopped")
    one, other = weights(whole.path), weights(resumed.path)
    assert one.keys() == other.keys()
    assert all(bool((one[name] == other[name]).all()) for name in one)
    assert resumed.metrics == whole.metrics


def test_the_head_alone_is_trained_where_the_strategy_says_so(shapes: Path, tmp_path: Path) -> None:
    options = zoo.Training(strategy="head", epochs=1)
    run = zoo.finetune(BACKBONE, shapes, training=options, read=zoo.ReadOptions(limit=8), out=zoo.Output(str(tmp_path)))
    before = zoo.load(BACKBONE).state_dict()
    after = run.load().backbone.state_dict()
    assert all(bool((before[name] == after[name]).all()) for name in before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (zoo.Training(strategy="linear-probe"), "solves one answer a row, and this task has one for every object"),
        (zoo.Training(head="linear", strategy="full"), "--head linear is not for a task of detection"),
        (zoo.Training(label_smoothing=0.1), "--label-smoothing is for classes, and this is detection"),
        (zoo.Training(loss="bce"), "--loss bce does not fit a detection task"),
    ],
)
def test_what_does_not_go_with_boxes_is_said(shapes: Path, options: zoo.Training, message: str) -> None:
    with pytest.raises(zoo.UsageError, match=message):
        zoo.finetune(BACKBONE, shapes, training=options)
