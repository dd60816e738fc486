"""The backbone of a training step through `torch.compile`, where nothing looks into it or replaces parts of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch

from zoo.errors import UsageError
from zoo.models.backbone import Inputs
from zoo.models.features import Features
from zoo.transfer.model import Model

if TYPE_CHECKING:
    from zoo.transfer.loop import Job

Compiled = Callable[[Inputs], Features]


def why_not_compiled(job: Job, *, replays: bool) -> str:
    """Why the backbone of this job has to run as it is; empty where it can be compiled.

    Args:
        job: what is trained.
        replays: whether what frozen stages compute is kept and replayed.
    """
    reasons = {
        "what frozen stages compute is kept and replayed, which saves more": replays,
        "something in the loss looks into the network": bool(job.terms),
        "the head takes outputs of inner stages": job.model.pyramid is not None,
        "several processes share every batch": job.team.size > 1,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def compiled(model: Model) -> Compiled:
    """The features of a model by code made for it: the same to rounding, but for dropout, which falls elsewhere.

    Weights, names and all else stay as they are. Compiling happens at the first batches and takes a minute or more,
    again where inputs have another size; lengths of texts and recordings may vary without.

    Raises:
        UsageError: at a first batch, where nothing can be compiled on this machine.
    """
    varies = not {"text", "audio"}.isdisjoint(model.backbone.modalities)
    quick = cast("Compiled", torch.compile(model.features, dynamic=True if varies else None))

    def features(inputs: Inputs) -> Features:
        from torch._dynamo.exc import TorchDynamoException
        from torch._inductor.exc import InductorError

        try:
            return quick(inputs)
        except (TorchDynamoException, InductorError) as error:
            why = str(error).strip().partition("\n")[0]
            raise UsageError(
                f"torch.compile failed: {why}",
                help="it needs a C++ compiler, and Triton on a card; --compile off trains without",
            ) from error

    return features
