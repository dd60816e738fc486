"""Idefics carried to new data: images, texts, both, and several images a row; and the run after its folder is gone."""

from __future__ import annotations

import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_idefics import write_idefics

import zoo
from zoo import DataError, ReadOptions, UsageError

WORDS = "sat ran quickly garden mat found another kind winter green very here before some that all".split()
COLOURS = {"red": (200, 40, 30), "blue": (30, 40, 200)}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of red and blue pictures of odd sizes."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for name, colour in COLOURS.items():
        for number in range(16):
            size = (int(rng.integers(20, 50)), int(rng.integers(20, 50)))
            pixels = np.clip(rng.normal(colour, 25, (*size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{name}{number}.png")
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_idefics(tmp_path / "model")


def table(pictures: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    path = pictures / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def both(pictures: Path) -> Path:
    """The label is whether colour and animal go together, which neither tells alone."""
    rng = random.Random(0)
    rows = []
    for number in range(64):
        colour, animal = list(COLOURS)[number % 2], ["cat", "dog"][number // 2 % 2]
        text = f"{' '.join(rng.sample(WORDS, 3))} {animal}"
        label = "same" if (colour == "red") == (animal == "cat") else "other"
        rows.append({"image": f"{colour}{number % 16}.png", "text": text, "label": label})
    return table(pictures, "both.jsonl", rows)


def one(pictures: Path, column: str) -> Path:
    """The label is the colour, or the animal."""
    rng = random.Random(1)
    rows = []
    for number in range(32):
        colour, animal = list(COLOURS)[number % 2], ["cat", "dog"][number % 2]
        text = f"{' '.join(rng.sample(WORDS, 3))} {animal}"
        value = f"{colour}{number // 2}.png" if column == "image" else text
        rows.append({column: value, "label": colour})
    return table(pictures, f"{column}.jsonl", rows)


def finetune(model: Path, data: Path, **options: Any) -> Any:
    out = zoo.Output(dir=str(model.parent / "runs"), name="job")
    return zoo.finetune(f"transformers/{model}", data, device="cpu", baseline="none", out=out, **options)


@pytest.mark.parametrize("column", ["image", "text"])
def test_a_head_on_one_modality_learns_and_serves_without_the_folder(column: str, model: Path, pictures: Path) -> None:
    data = one(pictures, column)
    run = finetune(model, data, strategy="linear-probe")
    assert run.metrics["accuracy"] >= 0.9
    inputs = [str(pictures / "red3.png"), str(pictures / "blue5.png")] if column == "image" else ["a cat", "some dog"]
    before = [each.probabilities for each in run.predict(inputs)]
    shutil.rmtree(model)
    again = list(zoo.predict(run.path, inputs, device="cpu"))
    assert [each.label for each in again] == ["red", "blue"]
    assert [each.probabilities for each in again] == before
    backbone = run.load().backbone
    assert backbone.modalities == (column,)
    assert any("vision" in name for name in backbone.state_dict()) == (column == "image")


def test_image_and_text_together_learn_what_neither_tells_alone(model: Path, pictures: Path) -> None:
    run = finetune(model, both(pictures), strategy="full", epochs=7, lr=0.03, batch_size=8)
    assert run.metrics["accuracy"] >= 0.9
    shutil.rmtree(model)
    inputs = [
        {"image": str(pictures / f"{colour}1.png"), "text": f"the green {animal}"}
        for colour in COLOURS
        for animal in ("cat", "dog")
    ]
    found = [each.label for each in zoo.predict(run.path, inputs, device="cpu")]
    assert found == ["same", "other", "other", "same"]
    assert zoo.evaluate(run.path, device="cpu").metrics["accuracy"] == run.metrics["accuracy"]


def interleaved(pictures: Path, marked: bool = True) -> Path:
    """The label is the colour of the second picture."""
    rows = []
    for number in range(40):
        first, second = (list(COLOURS)[each % 2] for each in (number // 2, number))
        images = [f"{first}{number % 16}.png", f"{second}{(number + 5) % 16}.png"]
        text = f"the <image> sat on {WORDS[number % 16]} <image>" if marked else f"on {WORDS[number % 16]}"
        rows.append({"images": images, "text": text, "label": second})
    return table(pictures, "interleaved.jsonl", rows)


@pytest.mark.parametrize("marked", [True, False])
def test_rows_of_two_images_are_learned_in_their_order(marked: bool, model: Path, pictures: Path) -> None:
    run = finetune(model, interleaved(pictures, marked), strategy="linear-probe")
    assert run.metrics["accuracy"] >= 0.9
    text = "the <image> sat on mat <image>" if marked else "on mat"
    inputs = [
        {"image": [str(pictures / f"{name}2.png") for name in names], "text": text}
        for names in (("red", "blue"), ("blue", "red"))
    ]
    assert [each.label for each in run.predict(inputs)] == ["blue", "red"]


def test_rows_of_images_alone_may_hold_several(model: Path, pictures: Path) -> None:
    run = finetune(model, interleaved(pictures), strategy="linear-probe", read=ReadOptions(modalities=("image",)))
    assert run.load().backbone.modalities == ("image",)
    pairs = [tuple(str(pictures / f"{name}3.png") for name in names) for names in (("red", "blue"), ("blue", "red"))]
    assert [each.label for each in run.predict(pairs)] == ["blue", "red"]


def test_rows_whose_markers_and_images_differ_are_named_before_training(model: Path, pictures: Path) -> None:
    rows = [json.loads(line) for line in interleaved(pictures).read_text().splitlines()]
    rows[6]["images"].append("red1.png")
    rows[9]["images"].pop()
    data = table(pictures, "wrong.jsonl", rows)
    with pytest.raises(DataError, match="2 rows do not suit transformers") as caught:
        finetune(model, data, strategy="linear-probe")
    assert sorted(caught.value.details) == [
        "wrong.jsonl:10: the text has 2 <image> markers, and there is 1 image",
        "wrong.jsonl:7: the text has 2 <image> markers, and there are 3 images",
    ]


def test_a_prediction_says_which_input_has_markers_without_images(model: Path, pictures: Path) -> None:
    run = finetune(model, interleaved(pictures), strategy="linear-probe")
    good = [str(pictures / "red1.png"), str(pictures / "blue1.png")]
    inputs = [{"image": images, "text": "the <image> and <image>"} for images in (good, good[:1])]
    fine, wrong = run.predict(inputs)
    assert fine.error is None
    assert wrong.error == "the text has 2 <image> markers, and there is 1 image"


def test_stages_of_the_decoder_can_be_extracted_and_those_of_vision_have_no_rows(model: Path, pictures: Path) -> None:
    backbone = zoo.load(f"transformers/{model}")
    data = zoo.read_dataset(interleaved(pictures), ReadOptions(limit=6))
    found = zoo.extract(backbone, data, split="train", level="block.1", cache=False, device="cpu")
    assert found.features.shape[::2] == (6, backbone.dim)
    with pytest.raises(UsageError, match=r"the stage 'vision\.layer\.0' gives 12 outputs for 6 rows"):
        zoo.extract(backbone, data, split="train", level="vision.layer.0", cache=False, device="cpu")


def test_the_code_of_the_page_runs(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "joint.md").read_text(encoding="utf-8")
    section = page.partition("## Flamingo")[2].partition("\n## ")[0]
    write_idefics(tmp_path / "my-idefics")
    for name, source in (("a.png", "red1.png"), ("b.png", "blue1.png")):
        shutil.copyfile(pictures / source, tmp_path / name)
    rows = [
        {
            "images": [["a.png", "b.png"], ["b.png", "a.png"]][n % 2],
            "text": f"{word} <image>, then <image>",
            "label": n % 2,
        }
        for n, word in enumerate(WORDS)
    ]
    (tmp_path / "memes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", section, re.M | re.S):
        exec(compile(block, "docs/joint.md", "exec", dont_inherit=True), namespace)
    assert namespace["features"].features.shape == (len(WORDS), 32)
    assert namespace["run"].predict([{"image": ["b.png", "a.png"], "text": "<image>, then <image>"}])[0].label == "1"
