"""`--against`: a run beside its source, a frozen probe and training from scratch, on the same held-out rows."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import zoo
from zoo.cli.progress import against_lines
from zoo.data.types import Task
from zoo.transfer.against import check_against, verdicts
from zoo.transfer.options import Training
from zoo.transfer.paired import Difference
from zoo.verbs.against import from_scratch, matching
from zoo.verbs.run import Event, Interrupted

DIGITS = zoo.ReadOptions(limit=60, val=0.1)


def apart(value: float, low: float, high: float) -> Difference:
    return Difference("accuracy", value, low, high)


@pytest.mark.parametrize(
    ("scratch", "said"),
    [
        (apart(-0.05, -0.08, -0.02), r"negative transfer: from scratch is better by 0.050 accuracy [0.020, 0.080]"),
        (apart(0.05, 0.02, 0.08), "transfer is worth +0.050 accuracy [+0.020, +0.080] over training from scratch"),
        (apart(-0.01, -0.04, 0.02), "these rows show no difference to training from scratch: -0.010 accuracy"),
    ],
)
def test_a_verdict_is_passed_only_where_the_interval_leaves_out_nothing(scratch: Difference, said: str) -> None:
    (found,) = verdicts({"scratch": scratch})
    assert found.startswith(said)


def test_a_probe_that_is_better_is_said_too() -> None:
    assert verdicts({"probe": apart(0.01, -0.01, 0.03)}) == ()
    (found,) = verdicts({"probe": apart(-0.1, -0.12, -0.08)})
    assert "the frozen probe is better by 0.100 accuracy [0.080, 0.120]" in found


def test_a_source_answers_only_where_it_knows_every_class_by_name() -> None:
    source = Task("multiclass", ("a", "b", "c"))
    assert matching(source, Task("multiclass", ("c", "a", "b"))) == [2, 0, 1]
    assert matching(source, Task("binary", ("c", "a"))) == [2, 0]
    assert matching(source, Task("multiclass", ("a", "B", "c"))) is None
    assert matching(source, Task("regression", targets=("a",))) is None


def test_from_scratch_is_the_same_training_with_everything_at_the_rate_of_the_head() -> None:
    given = Training(
        strategy="layer-decay", strategy_options={"decay": 0.7}, epochs=4, lr=0.01, backbone_lr=0.1, head="mlp"
    )
    found = from_scratch(given)
    assert (found.strategy, found.strategy_options, found.backbone_lr) == ("full", {}, 1.0)
    assert (found.epochs, found.lr, found.head) == (4, 0.01, "mlp")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> zoo.Run:
    """A run that later ones begin with."""
    root = tmp_path_factory.mktemp("against")
    return zoo.finetune(
        "starter/glyph-cnn", "sklearn:digits", strategy="full", epochs=2, read=DIGITS, baseline="none",
        against=("probe", "scratch", "source"), out=zoo.Output(dir=str(root), name="first"),
    )  # fmt: skip


def test_the_table_is_in_the_run_its_card_and_its_lines(first: zoo.Run) -> None:
    assert first.against is not None
    titles = [side["title"] for side in first.against["sides"]]
    assert titles == ["fine-tuned", "frozen probe", "from scratch"]
    assert first.against["sides"][0]["metrics"]["accuracy"] == pytest.approx(first.metrics["accuracy"])
    assert "no finished run, and has no text space" in first.against["absent"]["source"]
    recorded = json.loads((first.path / "run.json").read_text(encoding="utf-8"))
    assert recorded["result"]["against"] == first.against
    card = (first.path / "model" / "README.md").read_text(encoding="utf-8")
    assert "| from scratch |" in card
    lines = against_lines(first.against)
    assert any(line.startswith("against   frozen probe accuracy 0.") for line in lines)


def test_the_probe_is_that_of_the_source_as_it_was(first: zoo.Run, tmp_path: Path) -> None:
    probe = zoo.finetune(
        "starter/glyph-cnn", "sklearn:digits", strategy="linear-probe", read=DIGITS, baseline="none",
        out=zoo.Output(dir=str(tmp_path)),
    )  # fmt: skip
    assert first.against is not None
    assert first.against["sides"][1]["metrics"]["accuracy"] == probe.metrics["accuracy"]


def test_from_scratch_is_an_ordinary_run_inside_the_run(first: zoo.Run) -> None:
    assert first.against is not None
    path = first.path / "against" / "scratch"
    assert first.against["sides"][2]["run"] == str(path)
    assert zoo.evaluate(path).metrics["accuracy"] == first.against["sides"][2]["metrics"]["accuracy"]


def test_the_head_of_a_finished_run_is_its_source_unless_it_saw_the_rows(first: zoo.Run, tmp_path: Path) -> None:
    given = {"strategy": "linear-probe", "against": ["source"], "baseline": "none"}
    out = zoo.Output(dir=str(tmp_path))
    run = zoo.finetune(str(first.path), "sklearn:digits", read=DIGITS, out=out, **given)  # type: ignore[arg-type]
    assert run.against is not None
    assert run.against["sides"][1]["metrics"]["accuracy"] == first.metrics["accuracy"]
    other = zoo.ReadOptions(limit=60, val=0.1, seed=1)
    seen = zoo.finetune(str(first.path), "sklearn:digits", read=other, seed=1, out=out, **given)  # type: ignore[arg-type]
    assert seen.against is not None
    assert "were training rows of the run first" in seen.against["absent"]["source"]


def test_a_run_that_was_stopped_among_its_contenders_goes_on_with_them(first: zoo.Run, tmp_path: Path) -> None:
    stop, watch = _in_scratch()
    given = {"epochs": 2, "read": DIGITS, "baseline": "none", "against": ("probe", "scratch", "source")}
    out = zoo.Output(dir=str(tmp_path), name="again")
    with pytest.raises(Interrupted, match="stopped at step"):
        zoo.finetune("starter/glyph-cnn", "sklearn:digits", strategy="full", out=out, watch=watch, stop=stop, **given)  # type: ignore[arg-type]
    assert (tmp_path / "again" / "against" / "scratch" / "checkpoints").is_dir()
    done = zoo.resume(tmp_path / "again")
    assert done.against is not None
    assert first.against is not None
    assert [s["metrics"] for s in done.against["sides"]] == [s["metrics"] for s in first.against["sides"]]


def test_what_cannot_be_compared_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(zoo.UnknownNameError, match="Did you mean scratch"):
        zoo.finetune("starter/glyph-cnn", "sklearn:digits", against=["scrach"])
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    wrapped = zoo.wrap(module, preprocess=zoo.ImagePreprocess((8, 8), mean=(0.5,), std=(0.5,)))
    with pytest.raises(zoo.UsageError, match="wrapped from a module in Python"):
        check_against(["scratch"], Task("multiclass", ("a", "b", "c")), wrapped)
    with pytest.raises(zoo.UsageError, match="one answer a row"):
        check_against(["probe"], Task("segmentation", ("a", "b")), wrapped)
    random = zoo.finetune(
        "starter/pixels", "sklearn:digits", strategy="linear-probe", against=["probe"], read=DIGITS,
        out=zoo.Output(dir=str(tmp_path)),
    )  # fmt: skip
    assert random.against is not None
    assert np.isfinite(random.against["sides"][0]["metrics"]["accuracy"])
    assert "random weights" in random.against["absent"]["probe"]


def test_a_text_space_answers_by_class_names(tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugins"))
    from tiny_open_clip import write_folder

    write_folder(tmp_path / "clip", "clip")
    name = f"open_clip/{tmp_path / 'clip'}:image"
    run = zoo.finetune(
        name, "sklearn:digits", strategy="linear-probe", against=["source"], read=DIGITS, baseline="none",
        out=zoo.Output(dir=str(tmp_path)),
    )  # fmt: skip
    assert run.against is not None
    shown = zoo.zero_shot(name, "sklearn:digits", read=DIGITS)
    assert run.against["sides"][1]["title"] == "zero-shot"
    assert run.against["sides"][1]["metrics"]["accuracy"] == shown.metrics["accuracy"]


def _in_scratch() -> tuple[Callable[[], bool], Callable[[Event], None]]:
    """Stops in the first epoch of the run from scratch."""
    begun: list[str] = []

    def watch(event: Event) -> None:
        if event.note == "against: from scratch":
            begun.append(event.note)

    return lambda: bool(begun), watch
