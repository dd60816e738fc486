"""Unified-IO 2 carried to new data from images, texts, both and recordings; and the run after its folder is gone."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zoo_unified_io
from PIL import Image
from tiny_unified_io import tiny_folder

import zoo
from zoo import AudioRef, Catalog, Dataset, Examples, ImageRef, Task
from zoo.verbs.config import Output

CATALOG = Catalog.of({"unified_io": zoo_unified_io})


def row(modality: str, label: int, number: int) -> Any:
    rng = np.random.default_rng(number)
    if modality == "text":
        return f"a {('red', 'blue')[label]} square on the {('left', 'right')[number % 2]}"
    if modality == "audio":
        time = np.arange(8000) / 16_000
        samples = np.sin(2 * np.pi * (400, 3000)[label] * time) + 0.1 * rng.normal(size=8000)
        return AudioRef(f"sound {number}", array=(0.3 * samples).astype(np.float32), rate=16_000)
    pixels = np.clip((60, 190)[label] + rng.normal(0, 20, (24, 32, 3)), 0, 255).astype(np.uint8)
    return ImageRef(f"picture {number}", array=pixels)


def data(modalities: tuple[Any, ...], rows: int = 16) -> Dataset:
    """Rows in which every modality tells the two labels apart; half of them are held out."""
    labels = np.arange(rows) // 2 % 2
    inputs = {m: [row(m, int(label), number) for number, label in enumerate(labels)] for m in modalities}
    names = tuple(f"row {number}" for number in range(rows))
    examples = Examples(inputs, labels.astype(np.int64), names, names)
    splits = {"train": examples.select(range(rows // 2)), "test": examples.select(range(rows // 2, rows))}
    key = "-".join(modalities)
    return Dataset(key, Task("binary", ("a", "b")), splits, {m: m for m in modalities}, fingerprint=key)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("uio2") / "model")


def finetune(backbone: Any, data: Dataset, out: Path, **options: Any) -> Any:
    where = Output(dir=str(out / "runs"), name="job")
    return zoo.finetune(backbone, data, device="cpu", baseline="none", out=where, **options)


@pytest.mark.parametrize(
    "modalities", [("text",), ("image",), ("audio",), ("image", "text")], ids=lambda names: "+".join(names)
)
def test_a_head_learns_from_what_the_data_have(modalities: tuple[Any, ...], source: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(source, tmp_path / "model")
    backbone = zoo.load(f"unified_io/{folder}", catalog=CATALOG, towers=modalities)
    rows = data(modalities)
    run = finetune(backbone, rows, tmp_path, strategy="linear-probe")
    assert run.metrics["accuracy"] == 1.0
    shutil.rmtree(folder)
    again = run.load()
    assert again.backbone.modalities == modalities
    inputs = rows.splits["test"]
    assert inputs.targets is not None
    assert again.predict(inputs).argmax(1).tolist() == inputs.targets.tolist()


def test_training_moves_the_trained_stages_and_no_other(source: Path, tmp_path: Path) -> None:
    backbone = zoo.load(f"unified_io/{source}", catalog=CATALOG, towers=("image", "text"))
    before = {name: each.clone() for name, each in backbone.state_dict().items()}
    run = finetune(backbone, data(("image", "text")), tmp_path, strategy="partial", epochs=1, lr=0.01, batch_size=4)
    after = run.load().backbone.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith(("network.encoder.layers_1.", "network.encoder.encoder_norm.")) for name in moved)


def test_all_of_it_trains_with_several_images_in_a_row(source: Path, tmp_path: Path) -> None:
    backbone = zoo.load(f"unified_io/{source}:image", catalog=CATALOG)
    before = {name: each.clone() for name, each in backbone.state_dict().items()}
    single = data(("image",), rows=8)
    splits = {
        split: Examples(
            {"image": [(each, each) for each in examples.inputs["image"]]},
            examples.targets,
            examples.ids,
            examples.names,
        )
        for split, examples in single.splits.items()
    }
    several = Dataset("several", single.task, splits, {"image": "image"}, fingerprint="several")
    run = finetune(backbone, several, tmp_path, strategy="full", epochs=1, lr=0.01, batch_size=4)
    after = run.load().backbone.state_dict()
    assert [name for name in before if torch.equal(before[name], after[name])] == []


def test_features_are_extracted_in_the_order_of_the_rows(source: Path) -> None:
    backbone = zoo.load(f"unified_io/{source}", catalog=CATALOG, towers=("image", "text"))
    rows = data(("image", "text"), rows=4)
    found = zoo.extract(backbone, rows, cache=False, device="cpu", batch_size=3)
    assert found.features.shape == (4, 32)
    alone = zoo.extract(backbone, rows.splits["test"].select([1]), cache=False, device="cpu")
    np.testing.assert_allclose(found.features[found.names.index("row 3")], alone.features[0], atol=5e-6)


def test_the_code_of_the_page_runs(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "joint.md").read_text(encoding="utf-8")
    (block,) = re.findall(
        r"^```python\n(.*?)^```", page.partition("## Unified-IO 2")[2].partition("\n## ")[0], re.M | re.S
    )
    lines = ["image,text,label"]
    for number in range(12):
        label = number % 2
        file = tmp_path / "photos" / "ab"[label] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(row("image", label, number).array).save(file)
        lines.append(f"{file},{row('text', label, number)},{label}")
    (tmp_path / "photos.csv").write_text("\n".join(lines))
    shutil.copytree(source, tmp_path / "uio2-large")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    exec(compile(block, "docs/joint.md", "exec", dont_inherit=True), namespace)
    assert namespace["features"].features.shape == (12, 32)
    assert namespace["run"].metrics["accuracy"] == 1.0
