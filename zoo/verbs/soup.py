"""Several trainings from one start, averaged as long as held-out rows gain by it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from zoo.records.files import published
from zoo.transfer.distances import averaged


@dataclass(frozen=True)
class Member:
    """One finished training."""

    path: Path
    score: float
    """On held-out rows; greater is better."""

    def state(self) -> dict[str, Tensor]:
        """Everything that training could change."""
        from safetensors.torch import load_file

        return load_file(self.path / "state.safetensors")


def kept_member(path: Path) -> Member | None:
    """The member in this folder, if it was finished."""
    if not path.is_dir():
        return None
    return Member(path, float(json.loads((path / "score.json").read_text(encoding="utf-8"))["score"]))


def keep_member(path: Path, state: Mapping[str, Tensor], score: float) -> Member:
    """Write a finished member down, at once."""
    from safetensors.torch import save_file

    with published(path) as temporary:
        temporary.mkdir()
        save_file(dict(state), temporary / "state.safetensors")
        (temporary / "score.json").write_text(json.dumps({"score": score}), encoding="utf-8")
    return Member(path, score)


def greedy(
    members: list[Member], judge: Callable[[Mapping[str, Tensor]], float]
) -> tuple[dict[str, Tensor], list[int], float]:
    """The average of the members that together score best, taken one by one from the best down.

    Wortsman et al. 2022, recipe 1 ("greedy soup"), https://arxiv.org/abs/2203.05482.

    Args:
        members: finished trainings from one start.
        judge: the score of a state on held-out rows; greater is better.

    Returns:
        The state, the members in it, and its score.
    """
    order = sorted(range(len(members)), key=lambda index: members[index].score, reverse=True)
    taken, best = [order[0]], members[order[0]].score
    states = [members[order[0]].state()]
    for index in order[1:]:
        state = members[index].state()
        score = judge(averaged([*states, state]))
        if score >= best:
            taken, states, best = [*taken, index], [*states, state], score
    return averaged(states), taken, best
