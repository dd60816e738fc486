"""Heads that learn from one modality and are tested on another, in a space that was learned from pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_open_clip import write_folder

import zoo
from zoo.cli.main import make_app

pytestmark = pytest.mark.xdist_group("open_clip cross-modal")  # one process makes what many tests here read
COLOURS = {"red": (200, 30, 30), "green": (30, 180, 30), "blue": (40, 40, 220)}


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pictures of each of three colours, with a text that says the colour, and the colour as label."""
    root, rng, rows = tmp_path_factory.mktemp("posts"), np.random.default_rng(0), []
    for colour, rgb in COLOURS.items():
        for number in range(20):
            pixels = np.array(rgb) + rng.normal(0, 25, (32, 32, 3))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(root / f"{colour}-{number}.png")
            rows.append(
                f"{colour}-{number}.png,{colour} {colour} {'lion cat dog bird fish'.split()[number % 5]},{colour}"
            )
    (root / "posts.csv").write_text("\n".join(["image,text,label", *rows]))
    return root / "posts.csv"


@pytest.fixture(scope="module")
def aligned(posts: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny CLIP that has seen these pictures with these texts."""
    root = tmp_path_factory.mktemp("aligned")
    write_folder(root / "clip", "clip")
    run = zoo.finetune(
        f"open_clip/local-dir:{root / 'clip'}",
        posts,
        epochs=8,
        lr=0.02,
        batch_size=16,
        device="cpu",
        read=zoo.ReadOptions(task="pairs"),
        out=zoo.Output(dir=str(root), name="aligned"),
    )
    return run.load().backbone


def test_what_is_learned_from_one_modality_is_known_of_the_other(aligned: Any, posts: Path) -> None:
    found = zoo.cross_modal(aligned, posts, centre="modality", device="cpu")
    assert [(each.train, each.test, each.rows) for each in found.results] == [
        ("image", "image", 48), ("image", "text", 48), ("text", "image", 48), ("text", "text", 48),
        ("image+text", "image", 96), ("image+text", "text", 96),
    ]  # fmt: skip
    for each in found.results:
        assert (each.metrics["accuracy"] or 0) > 0.8, each
        assert each.interval is not None


def test_the_head_of_one_modality_is_its_probe(aligned: Any, posts: Path) -> None:
    from zoo.transfer.probe import predict, solve
    from zoo.transfer.zeroshot import unit

    data = zoo.read_dataset(posts)
    (crossed,) = zoo.cross_modal(aligned, data, train=["text"], test=["image"], device="cpu").results
    train, held = data.splits["train"], data.splits[data.held_out]
    texts, images = (zoo.extract(aligned.tower(m), _only(rows, m), device="cpu").features
                     for m, rows in (("text", train), ("image", held)))  # fmt: skip
    answers = predict(solve(unit(texts), train.targets, data.task), data.task, unit(images))  # type: ignore[arg-type]
    assert crossed.metrics["accuracy"] == pytest.approx(float((answers.argmax(1) == held.targets).mean()))


def _only(rows: zoo.Examples, modality: Any) -> zoo.Examples:
    return zoo.Examples({modality: rows.inputs[modality]}, rows.targets, rows.ids, rows.names)


def test_names_of_classes_are_rows_too(aligned: Any, posts: Path) -> None:
    templates = ["{0} {0} cat".replace("{0}", "{}"), "{}"]
    found = zoo.cross_modal(
        aligned, posts, train=["names", "image+names"], test=["image"], templates=templates, device="cpu"
    )
    assert [each.rows for each in found.results] == [6, 54]
    assert (found.results[1].metrics["accuracy"] or 0) > 0.8


def test_the_command_prints_a_row_for_each_source(
    posts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path / "clip", "clip")
    line = [
        "cross-modal",
        f"open_clip/local-dir:{tmp_path / 'clip'}",
        str(posts),
        "--shots",
        "4",
        "--train",
        "image,text",
    ]
    make_app()([*line, "--test", "image", "--device", "cpu"], standalone_mode=False)
    shown = capsys.readouterr().out
    assert "tested on images" in shown
    assert "tested on texts" not in shown
    make_app()([*line, "--json", "--device", "cpu"], standalone_mode=False)
    found = json.loads(capsys.readouterr().out)
    assert [each["rows"] for each in found["results"]] == [12, 12, 12, 12]
    assert found["metric"] == "accuracy"


def test_what_cannot_be_crossed_says_why(aligned: Any, posts: Path) -> None:
    with pytest.raises(zoo.UnknownNameError, match="No source is named 'sound'"):
        zoo.cross_modal(aligned, posts, train=["image+sound"])
    with pytest.raises(zoo.UnknownNameError, match="No centre is named 'mean'"):
        zoo.cross_modal(aligned, posts, centre="mean")
    with pytest.raises(zoo.UsageError, match="text rows are asked for"):
        zoo.cross_modal(aligned, posts, read=zoo.ReadOptions(modalities=("image",)))
    with pytest.raises(zoo.UsageError, match="does not answer a pairs task"):
        zoo.cross_modal(aligned, posts, read=zoo.ReadOptions(task="pairs"))
    with pytest.raises(zoo.UsageError, match="no space that images and texts share"):
        zoo.cross_modal("starter/glyph-cnn", posts)
