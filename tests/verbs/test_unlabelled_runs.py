"""Runs that learn from rows without labels: images, texts and both, with good and with bad input."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import zoo
from zoo.errors import DataError, UsageError
from zoo.verbs.run import Interrupted, Run

Finetune = Callable[..., Run]
STRATEGIES = ("self-training", "coral", "dann", "coral-probe")
WORDS = "amber basil cedar delta ember fjord grove haven inlet jetty knoll larch maple north ocean pearl".split()


@pytest.fixture
def finetune(tmp_path: Path) -> Finetune:
    def run(backbone: str, data: Any, *, name: str = "run", limit: int | None = None, **given: Any) -> Run:
        out = zoo.Output(dir=str(tmp_path / "runs"), name=name, overwrite=True)
        given = {"epochs": 1, "baseline": "none", "device": "cpu", **given}
        return zoo.finetune(backbone, data, out=out, read=zoo.ReadOptions(limit=limit), **given)

    return run


@pytest.fixture
def turned(tmp_path: Path) -> Path:
    """Forty digits, turned by 30 degrees, in one flat folder."""
    folder = tmp_path / "turned"
    folder.mkdir()
    for number, image in enumerate(load_digits().images[:40]):
        pixels = Image.fromarray((image * 15).astype(np.uint8)).resize((32, 32)).rotate(30)
        pixels.save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """What lp-ft makes of the labelled rows alone."""
    out, read = zoo.Output(dir=str(tmp_path_factory.mktemp("plain"))), zoo.ReadOptions(limit=60)
    given: dict[str, Any] = {"strategy": "lp-ft", "epochs": 1, "baseline": "none", "device": "cpu"}
    run = zoo.finetune("starter/glyph-cnn", "sklearn:digits", read=read, out=out, **given)
    return dict(run.load().model.state_dict())


def table(path: Path, label: Callable[[list[str]], Any], **columns: Callable[[int, list[str]], Any]) -> Path:
    """Sixty rows of words, 36 of them to train on, with the labels and columns that these make."""
    rng = random.Random(0)
    lines = []
    for number in range(60):
        words = rng.sample(WORDS, 5)
        row = {name: make(number, words) for name, make in columns.items()}
        lines.append(json.dumps({**row, "label": label(words), "split": "train" if number < 36 else "test"}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def said(number: int, words: list[str]) -> str:
    return f"{' '.join(words)} {number}"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_strategy_learns_from_a_folder_without_labels(
    finetune: Finetune, turned: Path, plain: dict[str, torch.Tensor], strategy: str
) -> None:
    run = finetune("starter/glyph-cnn", "sklearn:digits", strategy=strategy, unlabelled=turned, limit=60)
    assert "40 unlabelled rows from turned" in run.plan.notes
    assert run.metrics["accuracy"] > 0.3
    recorded = json.loads((run.path / "data.json").read_text(encoding="utf-8"))["unlabelled"]
    assert (recorded["name"], len(recorded["ids"])) == (str(turned), 40)
    learned = run.load().model.state_dict()
    assert not all(torch.equal(learned[name], plain[name]) for name in plain), "they made no difference"


def test_a_stopped_run_goes_on_to_the_same_weights(finetune: Finetune, turned: Path) -> None:
    given = {"strategy": "self-training", "unlabelled": turned, "limit": 60, "batch_size": 8}
    given["training"] = zoo.Training(strategy_options={"threshold": 0.6}, augment="light", accumulate=2)
    whole = finetune("starter/glyph-cnn", "sklearn:digits", name="whole", **given)
    steps: list[int] = []
    with pytest.raises(Interrupted, match="stopped at step 2"):
        finetune(
            "starter/glyph-cnn",
            "sklearn:digits",
            name="halved",
            watch=lambda event: steps.append(event.record.step) if event.record else None,
            stop=lambda: bool(steps) and steps[-1] >= 2,
            **given,
        )
    resumed = zoo.resume(whole.path.parent / "halved")
    one, other = whole.load().model.state_dict(), resumed.load().model.state_dict()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_a_resumed_run_refuses_unlabelled_rows_that_have_changed(finetune: Finetune, turned: Path) -> None:
    run = finetune("starter/glyph-cnn", "sklearn:digits", strategy="coral-probe", unlabelled=turned, limit=60)
    (turned / "7.png").unlink()
    with pytest.raises(UsageError, match=r"the unlabelled rows of .* have changed"):
        zoo.resume(run.path)


@pytest.mark.parametrize("strategy", ["self-training", "coral"])
@pytest.mark.parametrize(
    ("label", "kind"),
    [
        (lambda words: "yes" if "amber" in words else "no", "binary"),
        (lambda words: [word for word in words if word < "e"] or ["none"], "multilabel"),
    ],
    ids=["binary", "multilabel"],
)
def test_texts_with_one_answer_and_with_several(
    finetune: Finetune, tmp_path: Path, strategy: str, label: Any, kind: str
) -> None:
    path = table(tmp_path / "texts.jsonl", label, text=said)
    run = finetune("starter/text-transformer", path, strategy=strategy, unlabelled=f"{path}:test")
    assert run.task.kind == kind
    assert any(note.startswith("transductive: 24 of the unlabelled rows") for note in run.plan.notes)


def test_pairs_of_texts(finetune: Finetune, tmp_path: Path) -> None:
    pairs = {"sentence1": said, "sentence2": lambda number, words: words[0]}
    path = table(tmp_path / "pairs.jsonl", lambda words: min(words) < "b", **pairs)
    assert finetune("starter/text-transformer", path, strategy="dann", unlabelled=f"{path}:test").metrics["accuracy"]


def test_images_with_texts(finetune: Finetune, tmp_path: Path, turned: Path) -> None:
    picture = {"image": lambda number, words: f"turned/{number % 40}.png"}
    path = table(tmp_path / "both.jsonl", lambda words: min(words) < "b", text=said, **picture)
    both = "starter/glyph-cnn+starter/text-transformer"
    assert finetune(both, path, strategy="dann", unlabelled=f"{path}:test").metrics["accuracy"] is not None
    with pytest.raises(DataError, match="a folder of files, and the backbone takes image and text"):
        finetune(both, path, strategy="dann", unlabelled=turned)


def test_numbers_are_aligned_and_not_labelled(finetune: Finetune, tmp_path: Path) -> None:
    path = table(tmp_path / "numbers.jsonl", lambda words: ord(words[0][0]) + 0.5, text=said)
    assert finetune("starter/text-transformer", path, strategy="coral", unlabelled=f"{path}:test").metrics["r2"]
    with pytest.raises(UsageError, match="self-training is not for a task of regression"):
        finetune("starter/text-transformer", path, strategy="self-training", unlabelled=f"{path}:test")


def test_rows_are_needed_or_refused(finetune: Finetune, turned: Path) -> None:
    with pytest.raises(UsageError, match="dann learns from rows without labels, and none are given"):
        finetune("starter/glyph-cnn", "sklearn:digits", strategy="dann", limit=60)
    with pytest.raises(UsageError, match="lp-ft has no use for --unlabelled"):
        finetune("starter/glyph-cnn", "sklearn:digits", strategy="lp-ft", unlabelled=turned, limit=60)


def test_files_that_cannot_be_read_stop_the_run_or_are_skipped(finetune: Finetune, turned: Path) -> None:
    (turned / "7.png").write_bytes(b"no picture")
    given = {"strategy": "coral-probe", "unlabelled": turned}
    with pytest.raises(DataError, match="of the unlabelled rows, 1 of 40 images cannot be read"):
        finetune("starter/glyph-cnn", "sklearn:digits", limit=60, **given)
    run = zoo.finetune(
        "starter/glyph-cnn",
        "sklearn:digits",
        read=zoo.ReadOptions(limit=60, skip_bad=True, bad_limit=0.1),
        out=zoo.Output(dir=str(turned.parent / "runs")),
        baseline="none",
        **given,
    )
    assert any("1 unlabelled row cannot be read" in note for note in run.plan.notes)
