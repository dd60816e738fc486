"""In each of two processes: a step of a transformer whose weights are spread over both, and the same of a whole one.

Writes what each process keeps, and how far the two are from each other, into shares-RANK.json.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.distributed
from torch import Tensor, nn

import zoo
from zoo.data.types import ReadOptions
from zoo.models.backbone import Inputs
from zoo.transfer.model import Model, copied
from zoo.transfer.sharding import spread_model, units_of
from zoo.transfer.shares import share, whole_state
from zoo.transfer.team import joined
from zoo.transfer.trained import HeadOptions

ROWS = 8


def main() -> None:
    """One step of each."""
    dist = torch.distributed
    dist.init_process_group("gloo")
    with joined("fsdp") as team:
        torch.manual_seed(0)
        backbone = zoo.load("starter/text-transformer")
        for module in backbone.modules():  # what is drawn by chance differs between the processes
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            elif hasattr(module, "dropout"):
                setattr(module, "dropout", 0.0)  # noqa: B010  (a type checker takes it for a tensor)
        model = HeadOptions("linear", dim=backbone.dim, token_dim=backbone.dim, outputs=3).model(backbone).train()
        texts = zoo.read_dataset("builtin:numerals", ReadOptions(limit=ROWS)).splits["train"].inputs["text"][:ROWS]
        processor = backbone.processor("text")

        def inputs(of: slice) -> Inputs:
            return {"text": processor.finish(processor.collate([processor(text) for text in texts[of]]))}

        one = inputs(slice(0, 1))
        units = len(units_of(backbone, one))
        spread = spread_model(model, one, team, torch.device("cpu"), bf16=False)
        # With an eps beside which gradients that are zero but for rounding are nothing.
        optimizers = [torch.optim.AdamW(each.parameters(), lr=0.01, eps=1e-3) for each in (model, spread)]
        rows = (slice(None), slice(team.rank, None, 2))
        for each, optimizer, of in zip((model, spread), optimizers, rows, strict=True):
            loss(each, inputs(of), torch.arange(ROWS)[of] % 3).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        alone, together = optimizers[0].state_dict()["state"], whole_state(optimizers[1])["state"]
        found = {
            "units": units,
            "weights": apart(copied(model, model.state_dict()), copied(spread, spread.state_dict())),
            "state": max(apart(alone[index], together[index]) for index in alone),
            "kept": sum(share(p).numel() for p in spread.parameters()) + kept(optimizers[1]),
            "all": sum(p.numel() for p in model.parameters()) + kept(optimizers[0]),
        }
        Path(f"shares-{team.rank}.json").write_text(json.dumps(found), encoding="utf-8")
    dist.destroy_process_group()


def loss(model: Model, inputs: Inputs, labels: Tensor) -> Tensor:
    """Mean over the rows."""
    return nn.functional.cross_entropy(model.head(model.features(inputs)), labels)


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference."""
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def kept(optimizer: torch.optim.Optimizer) -> int:
    """Numbers that an optimiser keeps here."""
    return sum(share(each).numel() for state in optimizer.state.values() for each in state.values())


if __name__ == "__main__":
    main()
