"""Strategies that train the text tower too: FLYP and CLIP-LoRA, and the ordinary run that they leave."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_open_clip import write_folder

import zoo
from zoo.models.dual import DualEncoder, dual_encoder
from zoo.models.features import Features
from zoo.models.text_heads import TextHead
from zoo.transfer.named import Named
from zoo.transfer.reading import FlypHead
from zoo.verbs.config import RunConfig
from zoo.verbs.finetune import dry_run
from zoo.verbs.run import Interrupted
from zoo.verbs.spaces import Naming, name_classes

BOTH = ["flyp", "clip-lora"]
TWO = zoo.Training(templates=("a {} photo", "{}"))


def finetune(name: str | DualEncoder, data: Path, root: Path, called: str = "run", **options: Any) -> zoo.Run:
    out = zoo.Output(dir=str(root), name=called)
    given: dict[str, Any] = {"epochs": 3, "lr": 0.01, "device": "cpu", **options}
    return zoo.finetune(name, data, baseline="none", out=out, **given)


@pytest.mark.parametrize("strategy", BOTH)
def test_both_towers_learn_and_the_run_is_an_image_tower(
    strategy: str, clip: str, photos: Path, tmp_path: Path
) -> None:
    both = dual_encoder(zoo.load(clip))
    before = {name: tensor.clone() for name, tensor in both.state_dict().items()}
    run = finetune(both, photos, tmp_path, strategy=strategy, epochs=4, lr=0.02, training=TWO)
    assert (run.metrics["accuracy"] or 0) > 0.9
    after = both.state_dict()
    assert after.keys() == before.keys()  # nothing that was inserted is left
    moved = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert {"visual", "text"} <= moved
    trained = run.load()
    assert trained.backbone.modalities == ("image",)
    assert isinstance(trained.head, TextHead)
    texts = name_classes(both, run.task, Naming(TWO.templates), device="cpu")  # what the text tower says now
    classes = F.normalize(trained.head.classes, dim=1).detach().numpy()
    np.testing.assert_allclose(classes, texts.embeddings, atol=1e-5)
    assert zoo.evaluate(run.path, device="cpu").metrics == run.metrics


@pytest.mark.parametrize("strategy", BOTH)
def test_a_stopped_run_ends_as_if_it_had_not_been(strategy: str, clip: str, photos: Path, tmp_path: Path) -> None:
    whole = finetune(clip, photos, tmp_path, "whole", strategy=strategy, epochs=2, training=TWO)
    asked = iter(range(100))
    with pytest.raises(Interrupted, match="stopped at step"):
        finetune(
            clip, photos, tmp_path, "part", strategy=strategy, epochs=2, training=TWO, stop=lambda: next(asked) >= 4
        )
    again = zoo.resume(tmp_path / "part")
    one, other = (each.load().model.state_dict() for each in (whole, again))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_flyp_is_the_contrastive_loss_with_a_prompt_for_each_row(clip: str, photos: Path) -> None:
    open_clip: Any = pytest.importorskip("open_clip.loss")
    both, data = dual_encoder(zoo.load(clip)), zoo.read_dataset(photos)
    texts = name_classes(both, data.task, Naming(("a photo of a {}.",)), device="cpu")
    plain = TextHead(both.dim // 2, 3)
    plain.begin(torch.from_numpy(texts.embeddings), math.log(5.0))
    head = FlypHead(plain, Named(texts, both.tower("text"))).train()
    pooled, targets = torch.randn(6, 24), torch.tensor([2, 0, 0, 1, 2, 0])
    found = head.loss(Features(pooled, pooled.unsqueeze(1)), targets)
    prompts = F.normalize(torch.from_numpy(texts.embeddings)[targets], dim=1)
    expected = open_clip.ClipLoss()(F.normalize(pooled, dim=1), prompts, torch.tensor(5.0))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_clip_lora_trains_little(clip: str, photos: Path) -> None:
    def planned(strategy: str) -> Any:
        return dry_run(RunConfig(clip, str(photos), train=zoo.Training(strategy=strategy, device="cpu"))).estimate

    assert planned("clip-lora").trained < planned("flyp").trained / 50
    assert planned("flyp").trained == planned("flyp").params


def test_what_these_strategies_cannot_do_says_why(clip: str, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(zoo.UsageError, match="--head mlp has no use for it"):
        finetune(clip, photos, tmp_path, strategy="flyp", head="mlp")
    with pytest.raises(zoo.UsageError, match="no space that images and texts share"):
        finetune("starter/glyph-cnn", photos, tmp_path, strategy="clip-lora")
    write_folder(tmp_path / "resnet", "clip with a resnet")
    with pytest.raises(zoo.UsageError, match="no layer that LoRA can adapt"):
        finetune(f"open_clip/local-dir:{tmp_path / 'resnet'}", photos, tmp_path, strategy="clip-lora")
