"""What a run trains, leaves alone, writes and reports, on real data that is there offline."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import zoo
from zoo.data.types import ReadOptions
from zoo.errors import DataError, DivergedError, UnknownNameError, UsageError
from zoo.models.fusion import Fused
from zoo.transfer import baseline
from zoo.transfer.options import Training
from zoo.verbs.config import Output
from zoo.verbs.finetune import resume
from zoo.verbs.run import Event, Interrupted, Run

Finetune = Callable[..., Run]
WORDS = "amber basil cedar delta ember fjord grove haven inlet jetty knoll larch maple north ocean pearl".split()


@pytest.fixture
def finetune(tmp_path: Path) -> Finetune:
    """`zoo.finetune` on the CPU into a temporary folder, with a few rows and no baseline."""

    def run(backbone: Any, data: Any, *, limit: int | None = 60, name: str = "run", **options: Any) -> Run:
        read = replace(options.pop("read", ReadOptions()), limit=limit)
        out = Output(dir=str(tmp_path / "runs"), name=name, overwrite=True)
        options.setdefault("baseline", "none")
        return zoo.finetune(backbone, data, device="cpu", out=out, read=read, **options)

    return run


def table(path: Path, label: Callable[[list[str]], dict[str, Any]], rows: int = 80, pairs: bool = False) -> Path:
    """A JSONL of short texts with the labels that `label` gives for their words."""
    rng = random.Random(0)
    lines = []
    for number in range(rows):
        words = rng.sample(WORDS, 5)
        text = {"text": f"{' '.join(words)} {number}"} if not pairs else {"a": f"{words[0]} {number}", "b": words[1]}
        lines.append(json.dumps({**text, **label(words), "split": "train" if number < rows * 0.7 else "test"}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def states(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.path / "model" / "model.safetensors")


def test_a_run_folder_holds_all_that_is_needed_to_repeat_it(finetune: Finetune) -> None:
    run = finetune("starter/glyph-cnn", "sklearn:digits", epochs=1)
    names = {path.name for path in run.path.iterdir()}
    assert {"run.json", "config.yaml", "env.json", "data.json", "labels.json", "metrics.jsonl", "model"} <= names
    assert json.loads((run.path / "run.json").read_text())["status"] == "done"
    assert json.loads((run.path / "labels.json").read_text())["classes"] == [str(digit) for digit in range(10)]


def test_the_weights_that_come_with_a_backbone_beat_random_ones_on_the_same_rows(
    finetune: Finetune, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baseline, "DRAWS", 3)
    run = finetune("starter/glyph-cnn", "sklearn:digits", limit=300, strategy="linear-probe", baseline="random")
    assert run.baseline is not None
    probe, few = run.baseline["probe"], run.baseline["few_shot"]
    assert run.metrics["accuracy"] == pytest.approx(probe["pretrained"])
    assert probe["pretrained"] > probe["random"]
    assert few["pretrained"] > few["random"] + 0.05


@pytest.mark.parametrize(
    ("strategy", "moved"),
    [("head", 0), ("linear-probe", 0), ("partial", 1), ("full", 4), ("lp-ft", 4)],
)
def test_a_strategy_moves_the_top_stages_it_names_and_no_other_bit(
    finetune: Finetune, strategy: str, moved: int
) -> None:
    before = zoo.load("starter/glyph-cnn")
    run = finetune("starter/glyph-cnn", "sklearn:digits", strategy=strategy, epochs=1)
    after = run.load().backbone
    changed = []
    for old, new in zip(before.stages(), after.stages(), strict=True):
        pairs = zip(tensors(old.modules), tensors(new.modules), strict=True)
        changed.append(not all(torch.equal(a, b) for a, b in pairs))
    assert changed == [False] * (len(changed) - moved) + [True] * moved


@pytest.mark.parametrize(
    ("strategy", "weights", "kept"),
    [
        ("lp-ft", None, True),
        ("surgical", None, True),
        ("full", None, False),
        ("lp-ft", "random", False),
        ("surgical", "random", False),
    ],
)
def test_batch_norm_keeps_the_statistics_that_a_solved_head_fits(
    finetune: Finetune, strategy: str, weights: str | None, kept: bool
) -> None:
    before = dict(zoo.load("starter/glyph-cnn", weights=weights).named_buffers())
    run = finetune("starter/glyph-cnn", "sklearn:digits", strategy=strategy, weights=weights, epochs=1, limit=100)
    after = dict(run.load().backbone.named_buffers())
    means = [name for name in before if name.endswith("running_mean")]
    assert means
    assert all(torch.equal(before[name], after[name]) for name in means) == kept
    assert any("batch norm keeps the statistics" in note for note in run.plan.notes) == kept


def tensors(modules: Any) -> list[torch.Tensor]:
    return [tensor for module in modules for tensor in module.state_dict().values()]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(finetune: Finetune) -> None:
    first, again, other = (
        finetune("starter/glyph-cnn", "sklearn:digits", strategy="full", epochs=1, seed=seed, name=name)
        for seed, name in ((3, "a"), (3, "b"), (4, "c"))
    )
    assert all(torch.equal(value, states(again)[name]) for name, value in states(first).items())
    assert any(not torch.equal(value, states(other)[name]) for name, value in states(first).items())


def test_a_run_leaves_the_random_state_of_its_caller_alone(finetune: Finetune) -> None:
    torch.manual_seed(11)
    np.random.seed(11)
    random.seed(11)
    expected = (torch.rand(1).item(), np.random.rand(), random.random())
    torch.manual_seed(11)
    np.random.seed(11)
    random.seed(11)
    finetune("starter/glyph-cnn", "sklearn:digits", strategy="lp-ft", epochs=1)
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == expected


@pytest.mark.parametrize("head", ["linear", "mlp", "gap-dense", "attention"])
def test_every_head_trains_and_comes_back(finetune: Finetune, head: str) -> None:
    run = finetune("starter/glyph-cnn", "sklearn:digits", strategy="head", head=head, epochs=2, limit=200)
    predicted = zoo.evaluate(run.path, device="cpu")
    assert predicted.metrics["accuracy"] == pytest.approx(run.metrics["accuracy"])


def test_two_classes_are_told_apart_by_one_logit(finetune: Finetune, tmp_path: Path) -> None:
    data = table(tmp_path / "two.jsonl", lambda words: {"label": "yes" if words[0] < "h" else "no"}, rows=120)
    run = finetune("starter/bag-of-words", data, limit=None)
    assert run.task.kind == "binary"
    assert run.task.classes == ("no", "yes")
    assert run.load().head_options.outputs == 1
    assert 0 <= run.metrics["accuracy"] <= 1


def test_a_row_may_have_several_labels(finetune: Finetune, tmp_path: Path) -> None:
    data = table(tmp_path / "many.jsonl", lambda words: {"label": sorted(w for w in words if w in WORDS[:6])}, rows=300)
    run = finetune("starter/bag-of-words", data, limit=None, strategy="linear-probe")
    assert run.task.kind == "multilabel"
    assert run.task.classes == tuple(WORDS[:6])
    assert run.metrics["map"] > 0.8


def test_several_numbers_are_predicted_in_their_own_units(finetune: Finetune, tmp_path: Path) -> None:
    def label(words: list[str]) -> dict[str, float]:
        return {"price": 1000.0 * WORDS.index(words[0]) + 5000, "age": float(sum(w < "h" for w in words))}

    data = table(tmp_path / "numbers.jsonl", label, rows=200)
    read = ReadOptions(label=("price", "age"), task="regression")
    for strategy in ("linear-probe", "lp-ft", "head"):
        run = finetune("starter/bag-of-words", data, limit=None, read=read, strategy=strategy, epochs=2)
        assert run.task.targets == ("price", "age")
        outputs = run.load().predict(zoo.read_dataset(str(data), read).splits[run.split])
        assert outputs.shape[1] == 2
        assert 3_000 < outputs[:, 0].mean() < 22_000
        assert 0 < outputs[:, 1].mean() < 5


def test_pairs_of_texts_are_compared_whatever_the_backbone(finetune: Finetune, tmp_path: Path) -> None:
    def label(words: list[str]) -> dict[str, float]:
        return {"score": WORDS.index(words[0]) + WORDS.index(words[1]) + 0.5}

    data = table(tmp_path / "pairs.jsonl", label, pairs=True)
    run = finetune("starter/bag-of-words", data, limit=None, read=ReadOptions(text=("a", "b"), label=("score",)))
    assert run.load().backbone.dim == 4 * 4096


def test_image_and_text_train_together(finetune: Finetune) -> None:
    run = finetune("starter/glyph-cnn+starter/bag-of-words", "builtin:numerals", strategy="linear-probe", limit=200)
    assert run.load().backbone.modalities == ("image", "text")
    assert run.metrics["accuracy"] > 0.5


def test_a_head_that_begins_at_random_meets_features_of_one_size_from_both_parts(finetune: Finetune) -> None:
    name = "starter/glyph-cnn+starter/bag-of-words"
    notes: list[str] = []

    def watch(event: Event) -> None:
        notes.append(str(event.note))

    run = finetune(name, "builtin:numerals", strategy="head", epochs=2, limit=200, watch=watch)
    assert any(note.startswith("features brought to one size: starter/glyph-cnn") for note in notes)
    backbone = run.load().backbone
    assert isinstance(backbone, Fused)
    rows = zoo.read_dataset("builtin:numerals", ReadOptions(limit=200)).splits["train"]
    features = zoo.extract(backbone, rows, device="cpu", cache=False).features
    for own in np.split(features, [backbone.each[0].dim], 1):
        assert np.square(own).mean() == pytest.approx(1.0, rel=0.2)
    assert zoo.evaluate(run.path, device="cpu").metrics["accuracy"] == pytest.approx(run.metrics["accuracy"])
    solved = finetune(name, "builtin:numerals", strategy="linear-probe", limit=200).load().backbone
    assert isinstance(solved, Fused)
    assert solved.scales.tolist() == [1.0, 1.0]


def test_a_loss_that_is_not_finite_stops_the_run_with_the_last_good_checkpoint_kept(
    finetune: Finetune, tmp_path: Path
) -> None:
    training = Training(optimizer="sgd", clip_norm=0.0, schedule="constant", warmup=0.0, save_every=1)
    with pytest.raises(DivergedError, match=r"(?s)is (nan|inf) at step \d+.*help: lower the") as caught:
        finetune("starter/glyph-cnn", "sklearn:digits", strategy="full", lr=1e18, epochs=3, training=training)
    assert caught.value.exit_code == 5
    folder = tmp_path / "runs" / "run"
    assert json.loads((folder / "run.json").read_text())["status"] == "diverged"
    kept = sorted((folder / "checkpoints").glob("step-*"))
    for path in kept:
        assert all(bool(torch.isfinite(value).all()) for value in load_file(path / "model.safetensors").values())


def test_early_stopping_keeps_the_best_epoch_and_never_judges_the_rows_it_reports_on(finetune: Finetune) -> None:
    events: list[Event] = []
    run = finetune(
        "starter/glyph-cnn",
        "sklearn:digits",
        strategy="full",
        epochs=12,
        lr=0.05,
        limit=200,
        training=Training(early_stop=2),
        watch=events.append,
    )
    epochs = [event.record for event in events if event.record is not None and event.record.kind == "epoch"]
    values = [record.metrics["accuracy"] for record in epochs]
    best = values.index(max(values))
    assert len(values) == min(best + 3, 12)
    assert any("held out of train" in str(event.note) for event in events)
    assert run.metrics["accuracy"] is not None


def test_stopping_from_outside_saves_and_goes_on_where_it_was(finetune: Finetune, tmp_path: Path) -> None:
    options = {"strategy": "full", "epochs": 3, "training": Training(dropout=0.2)}
    whole = states(finetune("starter/glyph-cnn", "sklearn:digits", name="whole", **options))
    asked = iter(range(100))
    with pytest.raises(Interrupted, match=r"(?s)stopped at step 5 of \d+.*--resume"):
        finetune("starter/glyph-cnn", "sklearn:digits", name="part", stop=lambda: next(asked) >= 4, **options)
    resumed = states(resume(tmp_path / "runs" / "part"))
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_a_run_whose_data_have_changed_is_not_resumed(finetune: Finetune, tmp_path: Path) -> None:
    data = table(tmp_path / "two.jsonl", lambda words: {"label": "yes" if words[0] < "h" else "no"})
    finetune("starter/bag-of-words", data, limit=None)
    lines = data.read_text(encoding="utf-8").splitlines()
    data.write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
    with pytest.raises(UsageError, match="have changed since"):
        resume(tmp_path / "runs" / "run")


def test_a_finished_run_is_the_backbone_of_the_next(finetune: Finetune) -> None:
    source = finetune("starter/glyph-cnn", "builtin:glyphs", strategy="full", epochs=1, name="letters")
    carried = finetune(str(source.path), "sklearn:digits", strategy="linear-probe", name="digits")
    assert carried.load().backbone.dim == 320
    tuned, kept = source.load().backbone, carried.load().backbone
    assert all(torch.equal(a, b) for a, b in zip(tuned.parameters(), kept.parameters(), strict=True))


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"strategy": "linear-prob"}, UnknownNameError, r"linear-probe"),
        ({"head": "liner"}, UnknownNameError, r"linear"),
        ({"strategy": "linear-probe", "head": "mlp"}, UsageError, r"--strategy head or full"),
        ({"epochs": -1}, UsageError, r"--epochs -1 is not above 0"),
        ({"training": Training(loss="mse")}, UsageError, r"(?s)mse does not fit a multiclass.*cross-entropy"),
        ({"training": Training(augment="wild")}, UnknownNameError, r"none, light, strong"),
        ({"strategy": "partial", "training": Training(unfreeze=0)}, UsageError, r"--strategy head"),
    ],
)
def test_an_option_that_cannot_be_meant_is_named_with_its_mend(
    finetune: Finetune, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        finetune("starter/glyph-cnn", "sklearn:digits", **options)


def test_a_text_backbone_refuses_images_and_says_what_serves(finetune: Finetune) -> None:
    with pytest.raises((UsageError, DataError), match=r"(?s)text.*help: "):
        finetune("starter/lstm", "sklearn:digits")


def test_pooling_that_a_run_was_trained_with_stays_with_it(finetune: Finetune, tmp_path: Path) -> None:
    data = table(tmp_path / "two.jsonl", lambda words: {"label": "yes" if words[0] < "h" else "no"})
    options = {"strategy": "linear-probe", "limit": None}
    source = finetune("starter/text-transformer", data, name="max", training=Training(pooling="max"), **options)
    carried = finetune(str(source.path), data, name="carried", **options)
    assert source.load().backbone.pooling == "max"
    assert carried.load().backbone.pooling == "max"


def test_a_batch_too_large_for_memory_is_halved_and_the_run_begins_anew(
    finetune: Finetune, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.transfer import loop

    options = {"strategy": "full", "epochs": 1, "limit": 300}
    of_two = Training(batch_size=8, accumulate=2)
    halved = finetune("starter/glyph-cnn", "sklearn:digits", name="halved", training=of_two, **options)
    step, calls = loop._Run._step, []

    def fails_late(self: Any, batches: Any) -> Any:
        calls.append([len(batch.rows) for batch in batches])
        if len(calls) == 4:
            raise torch.OutOfMemoryError("no memory left")
        return step(self, batches)

    monkeypatch.setattr(loop._Run, "_step", fails_late)
    notes: list[str] = []
    run = finetune(
        "starter/glyph-cnn",
        "sklearn:digits",
        name="too-large",
        watch=lambda event: notes.append(str(event.note)),
        **options,
    )
    assert (calls[0], calls[4]) == ([16], [8, 8])
    assert "out of memory with 16 rows at once; beginning anew with 8, two batches to a step" in notes
    assert all(torch.equal(value, states(run)[name]) for name, value in states(halved).items())
    calls.clear()
    said = r"(?s)out of memory on cpu with 16 rows a step.*--batch-size 8 --accumulate 2"
    with pytest.raises(UsageError, match=said):
        finetune("starter/glyph-cnn", "sklearn:digits", batch_size=16, **options)
