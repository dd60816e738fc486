"""Runs whose frozen stages are computed once: what they say, what they score, and how they go on after a stop."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from zoo.transfer.options import Training
from zoo.verbs.config import Output
from zoo.verbs.run import Event, Interrupted

Finetune = Callable[..., Any]


@pytest.fixture
def finetune(tmp_path: Path) -> Finetune:
    def run(name: str, *, watch: Any = None, stop: Any = None, **given: Any) -> Any:
        return zoo.finetune(
            "starter/glyph-cnn",
            "sklearn:digits",
            training=Training(**{"epochs": 3, "strategy": "partial", **given}),
            read=zoo.ReadOptions(limit=90),
            out=Output(dir=str(tmp_path), name=name),
            baseline="none",
            watch=watch,
            **({"stop": stop} if stop else {}),
        )

    return run


def after(steps: int) -> tuple[Callable[[Event], None], Callable[[], bool]]:
    """A watch and a stop that go together."""
    seen: list[int] = []

    def watch(event: Event) -> None:
        if event.record is not None and event.record.kind == "step":
            seen.append(event.record.step)

    return watch, lambda: len(seen) >= steps


def weights(run: Any) -> dict[str, torch.Tensor]:
    return dict(run.load().model.state_dict())


def epochs(run: Any) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "time"} for line in lines]


@pytest.mark.parametrize("strategy", ["head", "partial"])
def test_a_run_scores_alike_with_and_without_replay(finetune: Finetune, strategy: str) -> None:
    notes: list[str] = []
    replayed = finetune("on", strategy=strategy, watch=lambda event: notes.append(event.note or ""))
    computed = finetune("off", strategy=strategy, replay="off")
    assert epochs(replayed) == epochs(computed), "held-out metrics after each epoch too"
    assert all(torch.equal(value, weights(computed)[name]) for name, value in weights(replayed).items())
    what = "the backbone" if strategy == "head" else "everything up to block3"
    assert sum(note.startswith(f"{what} is computed once: ") for note in notes) == 1
    assert any(note.startswith(f"{what} is computed once and replayed: about ") for note in replayed.plan.notes)
    assert f"{what} is computed anew in every epoch, as asked" in computed.plan.notes


@pytest.mark.parametrize("steps", [5, 17], ids=["while it records", "while it replays"])
def test_a_stopped_run_goes_on_to_the_same_weights(finetune: Finetune, tmp_path: Path, steps: int) -> None:
    watch, stop = after(steps)
    with pytest.raises(Interrupted, match=f"stopped at step {steps}"):
        finetune("stopped", watch=watch, stop=stop, replay_memory=0.0)
    stale = tmp_path / "stopped" / "checkpoints" / "replay"
    assert not stale.exists()
    stale.mkdir()  # as a run leaves it that is killed
    (stale / "0-0.safetensors").write_bytes(b"half")
    resumed, whole = zoo.resume("stopped", root=tmp_path), finetune("whole", replay="off")
    assert not stale.exists()
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(resumed).items())


SAID = {
    "augmented anew": ({"augment": "light"}, "everything up to block3 is computed anew in every epoch, as images are"),
    "two views": (
        {"augment": "light", "views": 2},
        "everything up to block3 is computed once for each of 2 views and replayed: about",
    ),
    "as many views as epochs": ({"augment": "light", "views": 3}, "--views 3 changes nothing in 3 epochs"),
    "nothing augmented": ({"views": 2}, "--views 2 changes nothing, as no image is augmented"),
    "nothing frozen": (
        {"augment": "light", "views": 2, "strategy": "full"},
        "--views 2 changes nothing, as no leading stages are frozen",
    ),
    "pixels mixed": (
        {"mix": "mixup=0.2"},
        "everything up to block3 is computed anew in every epoch, as its images are",
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_the_plan_says_what_is_computed_once(finetune: Finetune, case: str) -> None:
    given, said = SAID[case]
    plans: list[Any] = []

    def watch(event: Event) -> None:
        if event.plan is not None:
            plans.append(event.plan)

    with pytest.raises(Interrupted, match="stopped at step 1 "):
        finetune("plan", watch=watch, stop=lambda: bool(plans), **given)
    assert any(note.startswith(said) for note in plans[0].notes), plans[0].notes


@pytest.mark.parametrize(("name", "value"), [("views", 0), ("replay_memory", -1.0), ("replay_disk", -0.5)])
def test_room_that_cannot_be_is_refused(name: str, value: float) -> None:
    with pytest.raises(zoo.UsageError, match=f"--{name.replace('_', '-')} {value}"):
        Training(**{name: value})  # type: ignore[arg-type]
