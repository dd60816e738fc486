"""The space that images and texts share: its towers, and classes told apart by their names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch

import zoo
from zoo.cli.main import make_app
from zoo.models.dual import dual_encoder
from zoo.models.tip_adapter import TipAdapterHead
from zoo.verbs.spaces import Naming, name_classes

TEMPLATES = ("the {} one", "{}")


def embedded(model: Any, data: zoo.Dataset, backbone: Any) -> tuple[Any, Any]:
    """Normalised features of the held-out images and of the classes, by open_clip itself."""
    rows = data.splits[data.held_out]
    batch = next(iter(zoo.Loader(rows, {"image": backbone.processor("image")}, batch_size=len(rows)).epoch(0)))
    tokenizer = open_clip.SimpleTokenizer(context_length=16)
    with torch.no_grad():
        images = model.encode_image(batch.to(torch.device("cpu")).inputs["image"]["pixels"], normalize=True)
        classes = []
        for label in data.task.classes:
            name = label.replace("_", " ").replace("-", " ")
            texts = model.encode_text(tokenizer([each.format(name) for each in TEMPLATES]), normalize=True)
            mean = texts.mean(0)
            classes.append(mean / mean.norm())
    return images, torch.stack(classes)


def test_zero_shot_is_what_open_clip_says(clip: str, photos: Path) -> None:
    model = open_clip.create_model(clip.removeprefix("open_clip/"), device="cpu").eval()
    backbone, data = dual_encoder(zoo.load(clip)), zoo.read_dataset(photos)
    images, classes = embedded(model, data, backbone)
    logits = (model.logit_scale.exp() * images @ classes.T).detach()
    found = zoo.zero_shot(backbone, data, templates=TEMPLATES, device="cpu")
    targets = torch.from_numpy(data.splits[data.held_out].targets)
    loss = torch.nn.functional.cross_entropy(logits, targets)
    assert found.metrics["accuracy"] == pytest.approx(float((logits.argmax(1) == targets).float().mean()))
    assert found.metrics["log_loss"] == pytest.approx(float(loss), abs=1e-4)
    texts = name_classes(backbone, data.task, Naming(TEMPLATES), device="cpu")
    order = zoo.extract(backbone.tower("image"), data.splits[data.held_out], device="cpu").features
    np.testing.assert_allclose(texts.embeddings, classes.numpy(), atol=1e-5)
    np.testing.assert_allclose(texts.logits(order), logits.numpy(), atol=1e-4)


def test_a_tower_alone_is_the_half_of_both(clip: str) -> None:
    backbone: Any = zoo.load(clip)
    text = backbone.tower("text")
    assert (text.modalities, text.dim, backbone.dim) == (("text",), 24, 48)
    assert next(text.parameters()) is next(backbone.text.parameters())
    with pytest.raises(zoo.UsageError, match="without its image tower"):
        text.tower("image")


def test_with_a_tower_named_its_rows_are_classified(clip: str, tmp_path: Path) -> None:
    lines = [f"{label.replace('_', ' ')} {number},{label}" for label in ("dark_red", "blue") for number in range(20)]
    (tmp_path / "colours.csv").write_text("\n".join(["text,label", *lines]))
    found = zoo.zero_shot(clip + ":text", tmp_path / "colours.csv", templates="name", device="cpu")
    assert found.modality == "text"
    assert (found.metrics["accuracy"] or 0) > 0.8  # the name itself is in the text


def test_only_a_dual_encoder_has_a_text_space(clip: str, photos: Path) -> None:
    with pytest.raises(zoo.UsageError, match="no space that images and texts share"):
        zoo.zero_shot("starter/glyph-cnn", photos)
    with pytest.raises(zoo.UsageError, match="without its text tower"):
        zoo.zero_shot(zoo.load(clip, towers=["image"]), photos)
    with pytest.raises(zoo.UsageError, match="embeds image, and the data have text"):
        zoo.zero_shot(clip + ":image", "builtin:numerals", read=zoo.ReadOptions(modalities=("text",)))
    with pytest.raises(zoo.UsageError, match="No split is named 'tset'"):
        zoo.zero_shot(clip, photos, split="tset")


def test_the_command_prints_every_class_and_its_prompts(
    clip: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "names.json").write_text(json.dumps({"blue": "deep blue"}))
    options = ["--classes", str(tmp_path / "names.json"), "-t", "{}", "-t", "a {} thing", "--device", "cpu"]
    make_app()(["zero-shot", clip, str(photos), *options, "--json"], standalone_mode=False)
    found = json.loads(capsys.readouterr().out)
    assert found["prompts"]["blue"] == ["deep blue", "a deep blue thing"]
    assert found["prompts"]["dark_red"] == ["dark red", "a dark red thing"]
    assert {"accuracy", "macro_f1"} <= set(found["intervals"])
    make_app()(["zero-shot", clip, str(photos), *options], standalone_mode=False)
    shown = capsys.readouterr().out
    assert "accuracy" in shown
    assert "pale-green" in shown


@pytest.mark.parametrize("strategy", ["head", "lora"])
def test_a_run_with_the_text_head_begins_where_zero_shot_ends(
    strategy: str, clip: str, photos: Path, tmp_path: Path
) -> None:
    zero = zoo.zero_shot(clip, photos, templates=TEMPLATES, device="cpu")
    training = zoo.Training(templates=TEMPLATES, augment="none")
    run = finetune(clip, photos, tmp_path, strategy=strategy, epochs=1, lr=1e-9, training=training)
    assert run.metrics["accuracy"] == zero.metrics["accuracy"]
    assert run.metrics["log_loss"] == pytest.approx(zero.metrics["log_loss"], abs=1e-4)
    assert run.load().backbone.modalities == ("image",)  # the plain image tower, with an ordinary head
    assert zoo.evaluate(run.path, device="cpu").metrics == run.metrics


def test_the_text_head_learns(clip: str, photos: Path, tmp_path: Path) -> None:
    run = finetune(clip, photos, tmp_path, strategy="full", epochs=3, lr=5e-3)
    assert (run.metrics["accuracy"] or 0) > 0.9
    (said, *_) = run.predict([photos / "blue" / "0.png"], device="cpu")
    assert said.label == "blue"


def test_of_images_and_texts_the_run_reads_the_images(clip: str, photos: Path, tmp_path: Path) -> None:
    rows = [f"{each},seen {each.stem},{each.parent.name}" for each in sorted(photos.glob("*/*.png"))]
    (tmp_path / "both.csv").write_text("\n".join(["image,text,label", *rows]))
    run = finetune(clip, tmp_path / "both.csv", tmp_path, strategy="head", epochs=1)
    assert run.load().backbone.modalities == ("image",)
    assert zoo.evaluate(run.path, device="cpu").metrics == run.metrics


def test_what_cannot_begin_with_names_says_why(clip: str, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(zoo.UsageError, match="resnet18@random has no space"):
        finetune("torchvision/resnet18@random", photos, tmp_path)
    with pytest.raises(zoo.UsageError, match="--templates says how classes are called"):
        zoo.finetune(clip, photos, training=zoo.Training(templates=("{}",)))
    with pytest.raises(zoo.UsageError, match="--pooling mean gives other vectors"):
        finetune(clip, photos, tmp_path, training=zoo.Training(pooling="mean"))


def finetune(name: str, data: Path, tmp_path: Path, **options: Any) -> zoo.Run:
    out = zoo.Output(dir=str(tmp_path / "runs"), name="run")
    return zoo.finetune(name, data, head="text", device="cpu", baseline="none", out=out, **options)


@pytest.mark.parametrize("strategy", ["linear-probe", "tip-adapter-f"])
def test_tip_adapter_is_solved_saved_and_trained(strategy: str, clip: str, photos: Path, tmp_path: Path) -> None:
    out = zoo.Output(dir=str(tmp_path), name="run")
    given: dict[str, Any] = {"head": "tip-adapter"} if strategy == "linear-probe" else {"epochs": 2}
    run = zoo.finetune(clip, photos, strategy=strategy, device="cpu", baseline="none", out=out, **given)
    assert (run.metrics["accuracy"] or 0) > 0.9
    head = run.load().head
    assert isinstance(head, TipAdapterHead)
    assert len(head.keys) == run.plan.rows["train"]
    unmoved = torch.allclose(head.keys.norm(dim=1), torch.ones(len(head.keys)), atol=1e-6)
    assert unmoved == (strategy == "linear-probe")
    assert zoo.evaluate(run.path, device="cpu").metrics == run.metrics
