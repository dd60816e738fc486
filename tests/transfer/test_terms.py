"""Terms in the loss, steps over several batches, averaged weights: on a real network and real digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.errors import UsageError
from zoo.transfer.options import Training
from zoo.transfer.strategies import Full
from zoo.transfer.terms import Seen, Setting, Term
from zoo.verbs.config import Output
from zoo.verbs.run import Interrupted

Finetune = Callable[..., Any]


@pytest.fixture
def finetune(tmp_path: Path) -> Finetune:
    def run(name: str, *, strategy: str = "full", limit: int = 200, watch: Any = None, stop: Any = None, **given: Any):
        return zoo.finetune(
            "starter/glyph-cnn",
            "sklearn:digits",
            strategy=strategy,
            training=Training(**{"epochs": 2, **given}),
            read=zoo.ReadOptions(limit=limit),
            out=Output(dir=str(tmp_path), name=name),
            baseline="none",
            watch=watch,
            **({"stop": stop} if stop else {}),
        )

    return run


def states(run: Any) -> dict[str, Tensor]:
    return dict(run.load().model.state_dict())


class Narrow(Term):
    """Draws the pooled features to what a layer of its own makes of the outputs, and counts its calls."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.layer = nn.Linear(setting.task.num_outputs, setting.model.backbone.dim)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, seen: Seen) -> Tensor:
        self.calls += 1
        assert seen.outputs.shape == (len(seen.batch.rows), self.layer.in_features)
        return 0.1 * (self.layer(seen.outputs) - seen.features.pooled).square().mean()


@dataclass(frozen=True)
class Narrowing(Full):
    """`full` with a term that has a parameter."""

    name: ClassVar[str] = "narrowing"
    made: list[Narrow] = field(default_factory=list)
    task_weight: float = 1.0

    def terms(self, setting: Setting) -> tuple[Term, ...]:
        self.made.append(Narrow(setting))
        return (self.made[-1],)


@pytest.fixture
def narrowing(monkeypatch: pytest.MonkeyPatch) -> Narrowing:
    """What `--strategy full` gives for as long as a test runs."""
    found = Narrowing()
    monkeypatch.setattr("zoo.verbs.session.strategy_named", lambda *_, **__: found)
    return found


def test_a_term_is_asked_at_every_batch_and_its_parameters_learn_and_are_dropped(
    finetune: Finetune, narrowing: Narrowing
) -> None:
    state = states(finetune("with"))
    term = narrowing.made[0]
    assert float(term.calls) == 2 * -(-200 // 8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)  # the seed of the run, 0, and one: drawn apart from the head
        fresh = nn.Linear(10, term.layer.out_features)
    assert not torch.equal(term.layer.weight, fresh.weight)
    assert term.layer.weight.shape not in {value.shape for value in state.values()}


def test_a_run_with_a_term_ends_alike_when_it_was_stopped_and_resumed(
    finetune: Finetune, narrowing: Narrowing, tmp_path: Path
) -> None:
    whole = finetune("whole", ema=0.9, accumulate=2)
    steps = iter([False] * 9 + [True] * 100)
    with pytest.raises(Interrupted, match="stopped at step"):
        finetune("stopped", ema=0.9, accumulate=2, stop=lambda: next(steps))
    resumed = zoo.resume(tmp_path / "stopped")
    for name, value in states(whole).items():
        assert torch.equal(value, states(resumed)[name]), name
    assert torch.equal(narrowing.made[0].layer.weight, narrowing.made[-1].layer.weight)
    assert float(narrowing.made[-1].calls) == float(narrowing.made[0].calls)


def test_two_batches_make_the_step_of_one_twice_as_large(finetune: Finetune) -> None:
    given = {"optimizer": "sgd", "clip_norm": 0.0, "schedule": "constant", "strategy": "head", "limit": 96}
    whole = states(finetune("whole", batch_size=32, **given))
    halves = states(finetune("halves", batch_size=16, accumulate=2, **given))
    start = states(finetune("start", batch_size=32, lr=1e-9, **given))
    moved = max(float((whole[name] - start[name]).abs().max()) for name in whole if "head" in name)
    apart = max(float((whole[name] - halves[name]).abs().max()) for name in whole if "head" in name)
    assert apart < 1e-4 * moved


def test_averaged_weights_lie_between_the_first_and_the_last(finetune: Finetune) -> None:
    end, averaged = states(finetune("end")), states(finetune("averaged", ema=0.99))
    start = states(finetune("start", lr=1e-12))
    moved = [name for name in end if not torch.equal(end[name], start[name]) and end[name].is_floating_point()]
    way = torch.cat([(end[name] - start[name]).flatten() for name in moved])
    part = torch.cat([(averaged[name] - start[name]).flatten() for name in moved])
    assert len(moved) > 4
    assert 0 < float(way @ part) < float(way @ way)


def test_what_an_averaged_run_reports_is_what_its_model_does(finetune: Finetune) -> None:
    run = finetune("averaged", ema=0.95)
    found = zoo.evaluate(run.path, "sklearn:digits", read=zoo.ReadOptions(limit=200))
    assert found.metrics["accuracy"] == pytest.approx(run.metrics["accuracy"])


@pytest.mark.parametrize(("name", "value"), [("ema", 1.0), ("ema", 0.0), ("accumulate", 0)])
def test_a_decay_or_a_count_that_makes_no_sense_is_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"--{name} {value}"):
        replace(Training(), **{name: value})


def test_early_stopping_never_judges_the_rows_that_are_reported_on(
    finetune: Finetune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["text,label,split"]
    words = {"yes": "sun warm light", "no": "rain cold dark"}
    for row in range(60):
        label = "yes" if row % 2 else "no"
        lines.append(f"{words[label]} {row},{label},{'test' if row >= 40 else 'train'}")
    (tmp_path / "two.csv").write_text("\n".join(lines) + "\n")
    notes: list[str] = []
    zoo.finetune(
        "starter/bag-of-words",
        str(tmp_path / "two.csv"),
        strategy="head",
        training=Training(early_stop=1, epochs=2),
        out=Output(dir=str(tmp_path), name="early"),
        watch=lambda event: notes.append(str(event.note)),
    )
    assert "early stopping judges 6 rows held out of train" in notes
