"""Dual encoders that learn which images and texts belong together, and what a run of that is good for afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_open_clip import write_folder

import zoo
from zoo.models.pair_heads import PairHead
from zoo.verbs.run import Interrupted

pytestmark = pytest.mark.xdist_group("open_clip pairs")  # one process makes what many tests here read
COLOURS = {"red": (200, 30, 30), "green": (30, 180, 30), "blue": (40, 40, 220), "grey": (128, 128, 128)}
PLACES = {"left": (0, 16), "right": (16, 32)}


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures of each of four colours in either half, with a caption and the colour as label."""
    root, rng, rows = tmp_path_factory.mktemp("captions"), np.random.default_rng(0), []
    for colour, rgb in COLOURS.items():
        for place, (start, end) in PLACES.items():
            for number in range(10):
                pixels = rng.normal(235, 12, (32, 32, 3))
                pixels[:, start:end] = np.array(rgb) + rng.normal(0, 12, (32, 16, 3))
                name = f"{colour}-{place}-{number}.png"
                Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(root / name)
                rows.append(f"{name},{colour} on the {place},{colour}")
    (root / "captions.csv").write_text("\n".join(["image,text,label", *rows]))
    return root / "captions.csv"


def align(name: str, data: Path, root: Path, called: str, **options: Any) -> zoo.Run:
    out = zoo.Output(dir=str(root), name=called)
    given = {"epochs": 9, "lr": 0.02, "batch_size": 16, "device": "cpu", **options}
    return zoo.finetune(name, data, read=zoo.ReadOptions(task="pairs"), out=out, **given)


@pytest.fixture(scope="module")
def aligned(clip: str, captions: Path, tmp_path_factory: pytest.TempPathFactory) -> zoo.Run:
    return align(clip, captions, tmp_path_factory.mktemp("runs"), "aligned")


def test_images_find_their_texts(aligned: zoo.Run, clip: str) -> None:
    assert aligned.task.kind == "pairs"
    assert (aligned.plan.training.head, aligned.plan.training.strategy) == ("contrastive", "full")
    assert (aligned.metrics["image_to_text_at_1"] or 0) > 0.6  # of eight texts
    assert aligned.intervals["image_to_text_at_1"][0] > 1 / 8
    backbone: Any = aligned.load().backbone
    assert backbone.modalities == ("image", "text")
    head, before = aligned.load().head, zoo.load(clip)
    assert isinstance(head, PairHead)
    torch.testing.assert_close(backbone.logit_scale, head.log_scale.detach())
    assert not torch.equal(backbone.logit_scale, dict(before.named_buffers())["logit_scale"])


def test_the_run_evaluates_again_to_the_same(aligned: zoo.Run) -> None:
    found = zoo.evaluate(aligned.path, device="cpu")
    assert found.metrics == aligned.metrics
    assert found.intervals == aligned.intervals


def test_a_locked_image_tower_stays_and_the_text_tower_learns_to_agree(
    clip: str, captions: Path, tmp_path: Path
) -> None:
    """LiT, Zhai et al. 2022."""
    run = align(clip, captions, tmp_path, "locked", training=zoo.Training(freeze=("image",)))
    before, after = zoo.load(clip).state_dict(), run.load().backbone.state_dict()
    moved = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"text", "logit_scale"}
    assert run.intervals["image_to_text_at_1"][0] > 1 / 8
    assert any("everything up to image.top is computed once" in note for note in run.plan.notes), run.plan.notes


def test_a_run_of_pairs_tells_classes_by_their_names(aligned: zoo.Run, captions: Path) -> None:
    found = zoo.zero_shot(str(aligned.path), captions, templates=["{} on the left", "{} on the right"], device="cpu")
    assert (found.metrics["accuracy"] or 0) > 0.6
    texts = zoo.zero_shot(f"{aligned.path}:text", captions, templates=["{} on the left"], device="cpu")
    assert texts.modality == "text"
    assert (texts.metrics["accuracy"] or 0) > 0.6


def test_a_run_of_pairs_is_a_source_with_one_tower_or_both(aligned: zoo.Run, captions: Path, tmp_path: Path) -> None:
    for number, (name, modalities) in enumerate(
        {str(aligned.path): ("image", "text"), f"{aligned.path}:image": ("image",)}.items()
    ):
        out = zoo.Output(dir=str(tmp_path), name=f"next{number}")
        run = zoo.finetune(name, captions, strategy="linear-probe", device="cpu", baseline="none", out=out)
        assert run.load().backbone.modalities == modalities
        assert (run.metrics["accuracy"] or 0) > 0.8


def test_predict_says_what_a_run_of_pairs_is_for(aligned: zoo.Run) -> None:
    with pytest.raises(zoo.UsageError, match="gives embeddings instead of answers"):
        list(zoo.predict(aligned.path, ["a.png"]))


def test_a_stopped_run_ends_as_if_it_had_not_been(clip: str, captions: Path, tmp_path: Path) -> None:
    whole = align(clip, captions, tmp_path, "whole", epochs=2)
    steps = iter(range(100))
    with pytest.raises(Interrupted, match="stopped at step"):
        align(clip, captions, tmp_path, "stopped", epochs=2, stop=lambda: next(steps) >= 4)
    again = zoo.resume(tmp_path / "stopped")
    one, other = (each.load().model.state_dict() for each in (whole, again))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_siglip_learns_with_its_own_loss(captions: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "siglip", "siglip")
    run = align(f"open_clip/local-dir:{tmp_path / 'siglip'}", captions, tmp_path / "runs", "siglip", epochs=1, lr=1e-3)
    assert run.plan.training.head == "sigmoid"
    backbone: Any = run.load().backbone
    assert float(backbone.logit_bias) != -10


def test_what_cannot_learn_from_pairs_says_why(clip: str, captions: Path, tmp_path: Path) -> None:
    with pytest.raises(zoo.UsageError, match="no two towers"):
        align(f"{clip}:image", captions, tmp_path, "none")
    with pytest.raises(zoo.UsageError, match="no two towers"):
        align("starter/glyph-cnn+starter/gru", captions, tmp_path, "none")
    with pytest.raises(zoo.UsageError, match="combination of rows"):
        align(clip, captions, tmp_path, "none", strategy="linear-probe")
    with pytest.raises(zoo.UsageError, match="--head linear is not for a task of pairs"):
        align(clip, captions, tmp_path, "none", head="linear")
