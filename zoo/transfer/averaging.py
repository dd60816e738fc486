"""The average of the weights over the steps of training."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from zoo.transfer.model import Model, copied, put_back
from zoo.transfer.shares import share, shared_as, whole


class Average:
    """An exponential moving average of what training changes; counts and indices are those of the last step.

    Polyak and Juditsky 1992. The decay begins at (1 + t) / (10 + t), so that the average of a short run does not
    consist of its first weights.

    Args:
        model: whose weights are averaged.
        names: of everything that training can change.
        decay: weight of the past at each step.
    """

    def __init__(self, model: Model, names: Collection[str], decay: float) -> None:
        self.model = model
        self.decay = decay
        self.state: dict[str, Tensor] = {}
        """Of a model that is spread over processes each tensor as it is there."""
        self.begin(copied(model, names))

    def begin(self, state: Mapping[str, Tensor]) -> None:
        """Go on from these averages."""
        live = self.model.state_dict()
        self.state = {name: shared_as(tensor, live[name]) for name, tensor in state.items()}

    def copied(self) -> dict[str, Tensor]:
        """The averages, whole; see `copied` of a model."""
        return {name: whole(tensor).cpu() for name, tensor in self.state.items()}

    def update(self, step: int) -> None:
        """Take in the weights as they are after this step, counted from 0."""
        # Asked anew at each step: a buffer may have been replaced since, as the statistics of batch norm are.
        live = self.model.state_dict()
        self.state = {name: tensor.to(live[name].device) for name, tensor in self.state.items()}
        floating = [name for name, tensor in self.state.items() if tensor.is_floating_point()]
        decay = min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            averaged = [share(self.state[name]) for name in floating]
            average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
            average(averaged, [share(live[name]) for name in floating], step)
            for name in self.state.keys() - set(floating):
                self.state[name].copy_(live[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with the averaged weights, for as long as this lasts."""
        trained = copied(self.model, self.state)
        put_back(self.model, self.state)
        try:
            yield
        finally:
            put_back(self.model, trained)
