"""l2-sp, wise-ft, soup and surgical: their tables without a model, and what they do to a real network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import zoo
from zoo.errors import UsageError
from zoo.transfer import loop
from zoo.transfer.anchored import L2SP, Soup, WiseFT
from zoo.transfer.distances import averaged, between
from zoo.transfer.options import Training
from zoo.transfer.strategies import HEAD, StageRow
from zoo.transfer.surgical import Surgical
from zoo.verbs.config import Output
from zoo.verbs.plan import plan
from zoo.verbs.run import Interrupted
from zoo.verbs.soup import Member, greedy, keep_member

STAGES = [StageRow(name) for name in ("stem", "body", "top")]
Finetune = Callable[..., Any]


@pytest.fixture
def finetune(tmp_path: Path) -> Finetune:
    def run(
        strategy: str,
        *,
        name: str | None = None,
        training: Training = Training(),  # noqa: B008  (frozen)
        stop: Any = None,
        watch: Any = None,
        **options: float,
    ) -> Any:
        return zoo.finetune(
            "starter/glyph-cnn",
            "sklearn:digits",
            training=replace(training, strategy=strategy, epochs=1, strategy_options=options),
            read=zoo.ReadOptions(limit=60),
            out=Output(dir=str(tmp_path), name=name or strategy),
            baseline="none",
            watch=watch,
            **({"stop": stop} if stop else {}),
        )

    return run


def weights_of(backbone: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in backbone.parameters()])


def weights(run: Any) -> torch.Tensor:
    return weights_of(run.load().backbone)


@pytest.mark.parametrize("strategy", [L2SP(), WiseFT(), Soup()], ids=lambda each: each.name)
def test_the_head_is_solved_first_and_then_everything_trains(strategy: Any) -> None:
    solved, trained = strategy.phases(STAGES)
    assert (solved.solver, dict(solved.lr)) == ("closed-form", {HEAD: 1.0})
    assert dict(trained.lr) == {"stem": 0.1, "body": 0.1, "top": 0.1, HEAD: 1.0}


def test_surgery_takes_the_stages_whose_gradients_are_largest_and_of_equals_the_higher() -> None:
    ratios = {"stem": 0.2, "body": 0.5, "top": 0.5}
    assert Surgical().looked(ratios).chosen == ("top",)
    assert Surgical(stages=2).looked(ratios).chosen == ("top", "body")
    _, trained = Surgical().looked(ratios).phases(STAGES)
    assert dict(trained.lr) == {"top": 0.1, HEAD: 1.0}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: L2SP(pull=-1), "pull -1 is below 0"),
        (lambda: WiseFT(alpha=1.5), r"alpha 1.5 is outside \[0, 1\]"),
        (lambda: WiseFT(stages=-1).phases(STAGES), "stages -1 is below 0"),
        (lambda: Soup(members=1), "members 1 make no soup"),
        (lambda: Surgical(stages=0), "stages 0 trains none"),
    ],
)
def test_options_that_make_no_sense_are_refused(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make()


def test_what_the_user_cannot_set_is_no_option_of_a_strategy() -> None:
    with pytest.raises(UsageError, match="No strategy option is named 'chosen'"):
        plan("torchvision/resnet18", strategy="surgical", strategy_options={"chosen": 1})


def test_the_plan_of_surgery_says_that_its_stages_are_not_known_yet() -> None:
    assert "chooses by their gradients" in plan("torchvision/resnet18", strategy="surgical").notes[-1]


def test_a_stronger_pull_ends_nearer_to_the_first_weights(finetune: Finetune) -> None:
    start = weights_of(zoo.load("starter/glyph-cnn"))
    free, strong = (
        float((weights(finetune("l2-sp", name=name, pull=pull)) - start).norm())
        for name, pull in (("free", 0.0), ("strong", 100.0))
    )
    assert strong < 0.9 * free


def test_without_a_pull_l2_sp_is_lp_ft(finetune: Finetune) -> None:
    # Not bit for bit: with a term the loss is summed in another order.
    assert torch.allclose(weights(finetune("l2-sp", pull=0.0)), weights(finetune("lp-ft")), atol=1e-6)


def test_half_the_way_back_is_half_the_way_back(finetune: Finetune) -> None:
    start = weights_of(zoo.load("starter/glyph-cnn"))
    end, half = weights(finetune("lp-ft")), weights(finetune("wise-ft"))
    assert torch.allclose(half, (start + end) / 2, atol=1e-6)
    assert torch.equal(weights(finetune("wise-ft", name="whole", alpha=1.0)), end)


def test_between_leaves_counts_as_they_are() -> None:
    model = torch.nn.BatchNorm1d(2)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    model(torch.randn(8, 2))
    ended: Any = SimpleNamespace(model=model, start=start)
    mean = model.running_mean.clone()
    between(ended, 0.25)
    assert torch.allclose(model.running_mean, mean / 4)
    assert model.num_batches_tracked == 1
    assert averaged([start, model.state_dict()])["num_batches_tracked"] == 0


def test_a_soup_takes_in_what_does_not_harm_and_leaves_out_what_does(tmp_path: Path) -> None:
    values = {0: (1.0, 0.8), 1: (3.0, 0.9), 2: (50.0, 0.7)}
    members = [
        keep_member(tmp_path / str(index), {"weight": torch.tensor([value])}, score)
        for index, (value, score) in values.items()
    ]
    # The best lies at 2, between the first two.
    state, taken, best = greedy(members, lambda each: 1 - abs(float(each["weight"]) - 2) / 10)
    assert (taken, best) == ([1, 0], 1.0)
    assert state["weight"].tolist() == [2.0]
    assert isinstance(members[0], Member)


def test_a_soup_that_was_stopped_in_its_second_member_ends_as_if_it_had_not_been(
    finetune: Finetune, tmp_path: Path
) -> None:
    notes: list[str] = []
    whole = finetune("soup", members=2)
    answers = iter([False] * 11 + [True] * 100)
    with pytest.raises(Interrupted, match="stopped at step"):
        finetune("soup", name="stopped", members=2, stop=lambda: next(answers))
    resumed = zoo.resume(tmp_path / "stopped", watch=lambda event: notes.append(str(event.note)))
    assert torch.equal(weights(whole), weights(resumed))
    assert any(note.startswith("soup of member") for note in notes)
    assert not (tmp_path / "stopped" / "members").exists()
    assert sum(note.startswith("member ") for note in notes) == 1, "the first was not trained again"


def test_after_a_lack_of_memory_no_member_of_a_soup_stays_as_it_was(
    finetune: Finetune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    halved = finetune("soup", members=2, training=Training(batch_size=4, accumulate=2))
    step, notes, calls = loop._Run._step, list[str](), list[int]()

    def fails_in_the_second(self: Any, batches: Any) -> Any:
        calls.append(len(batches))
        if any(note.startswith("member 2") for note in notes) and 2 not in calls:
            raise torch.OutOfMemoryError("no memory left")
        return step(self, batches)

    monkeypatch.setattr(loop._Run, "_step", fails_in_the_second)

    def told(event: Any) -> None:
        notes.append(str(event.note))

    with pytest.raises(Interrupted, match="stopped at step"):
        finetune("soup", name="too-large", members=2, stop=lambda: calls[-3:] == [2, 2, 2], watch=told)
    resumed = zoo.resume(tmp_path / "too-large", watch=told)
    assert [note[:8] for note in notes if note.startswith("member ")] == [f"member {n}" for n in (1, 2, 1, 1, 2)]
    assert torch.equal(weights(halved), weights(resumed))


def test_surgery_moves_the_stage_it_names_and_no_other(finetune: Finetune) -> None:
    notes: list[str] = []
    run = finetune("surgical", watch=lambda event: notes.append(str(event.note)))
    said = next(note for note in notes if note.startswith("surgical trains"))
    chosen = said.split()[2].rstrip(";")
    before, after = zoo.load("starter/glyph-cnn"), run.load().backbone
    moved = [
        old.name
        for old, new in zip(before.stages(), after.stages(), strict=True)
        if any(not torch.equal(p, q) for p, q in zip(old.parameters(), new.parameters(), strict=True))
    ]
    assert moved == [chosen]
    assert run.plan.estimate.trained < run.plan.estimate.params
