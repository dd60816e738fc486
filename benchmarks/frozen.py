"""An epoch of training a head on a frozen MiniLM, beside Trainer with the encoder's gradients turned off.

    python benchmarks/frozen.py TABLE

TABLE is a CSV file with columns `text` and `label`, of which the first 500 rows are taken; 32 rows a step, 256 tokens
at most, AdamW at a constant 1e-3. Trainer freezes as people do, `requires_grad = False`, and computes the encoder,
dropout and all, for every row of every epoch. zoo's side is what the strategy `head` does: the encoder is in eval mode,
what it says of a row is computed once and replayed, which changes no weight (see benchmarks/replay.py). The first epoch
is timed with all that comes before it, tokenising too; of the epochs after it ten are timed together.
"""

from __future__ import annotations

import copy
import csv
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import MissingError, Run, Setting, main
from peers import train_with_trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

ROWS, BATCH, LONGEST, RATE, LATER = 500, 32, 256, 1e-3, 10
MOST = 1000
"""Epochs, more than are ever asked for."""


@cache
def rows(setting: Setting) -> tuple[list[str], list[int]]:
    if not setting.words:
        raise MissingError("needs a table of texts and labels")
    with Path(setting.words[0]).open(encoding="utf-8", newline="") as file:
        found = [row for row, _ in zip(csv.DictReader(file), range(ROWS), strict=False)]
    return [row["text"] for row in found], [int(row["label"]) for row in found]


def by_trainer(setting: Setting) -> Run:
    import transformers
    from texts import weights

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bert = copy.deepcopy(bert)
            for parameter in self.bert.parameters():
                parameter.requires_grad = False
            self.head = copy.deepcopy(head)

        def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> dict[str, Tensor]:
            hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            mask = attention_mask.unsqueeze(-1)
            logits = self.head(nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1)))
            return {"loss": cross_entropy(logits, labels), "logits": logits}

    texts, labels = rows(setting)
    transformers.logging.set_verbosity_error()
    tokenizer = transformers.AutoTokenizer.from_pretrained(weights())
    bert, head = transformers.AutoModel.from_pretrained(weights()), first_head(len(set(labels)))

    def padded(batch: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        ids = tokenizer.pad({"input_ids": [each["input_ids"] for each in batch]}, return_tensors="pt")
        return {**ids, "labels": torch.tensor([each["labels"] for each in batch])}

    def run() -> Mapping[str, Any]:
        ids = tokenizer(texts, truncation=True, max_length=LONGEST)["input_ids"]
        data = [{"input_ids": each, "labels": label} for each, label in zip(ids, labels, strict=True)]
        model = Net()
        options = {"batch": BATCH, "rate": RATE, "cpu": setting.device == "cpu"}
        train_with_trainer(model, data, collate=padded, **options)
        return {"head": (model.head.weight.detach().cpu() - head.weight.detach()).numpy()}

    return run


def first_head(classes: int) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(384, classes)


def by_zoo(setting: Setting, *, later: bool = False) -> Run:
    from texts import weights

    import zoo
    from zoo.data.batches import Loader
    from zoo.data.types import Examples, Task
    from zoo.transfer.loop import Job, fit
    from zoo.transfer.options import Training
    from zoo.transfer.strategies import HEAD, Phase
    from zoo.transfer.tasks import loss_for
    from zoo.transfer.trained import HeadOptions

    texts, labels = rows(setting)
    classes = len(set(labels))
    names, task = tuple(map(str, range(len(texts)))), Task("multiclass", tuple(map(str, range(classes))))
    backbone, examples = (
        zoo.load(f"transformers/{weights()}"),
        Examples({"text": texts}, np.array(labels), names, names),
    )
    training = Training(
        epochs=MOST, batch_size=BATCH, optimizer="adamw", lr=RATE, schedule="constant", weight_decay=0.0
    )
    device, head = torch.device(setting.device), first_head(classes)

    def epochs() -> Iterator[Mapping[str, Any]]:
        """The head after each epoch."""
        model = HeadOptions("linear", backbone.dim, backbone.dim, classes).model(backbone)
        model.head.load_state_dict({f"linear.{name}": each for name, each in head.state_dict().items()})
        loader = Loader(examples, {"text": backbone.processor("text")}, batch_size=BATCH, train=True)
        phase = Phase("head", {HEAD: 1.0})
        for record in fit(Job(model, loader, [phase], training, loss_for(task), device, bf16=False, folder=None)):
            if record.kind == "epoch":
                yield {"head": (model.head.linear.weight.detach() - head.weight.detach().to(device)).cpu().numpy()}

    left: list[Iterator[Mapping[str, Any]]] = []

    def run() -> Mapping[str, Any]:
        if not later:
            return next(epochs())
        if not left:
            left.append(epochs())
            return next(left[0])
        for _ in range(LATER):
            next(left[0])
        return {}

    return run


def later_epochs(setting: Setting) -> Run:
    return by_zoo(setting, later=True)


def alike(outputs: Mapping[str, Mapping[str, Any]]) -> str:
    moved = {side: each["head"].ravel() for side, each in outputs.items()}
    expected = next(iter(moved.values()))
    same = {
        side: float(each @ expected / np.linalg.norm(each) / np.linalg.norm(expected)) for side, each in moved.items()
    }
    # Rows come in another order, and Trainer leaves dropout on in what it calls frozen.
    assert min(same.values()) > 0.9, same
    return f"After the first epoch the heads have moved the same way: cosine {min(same.values()):.3f}."


if __name__ == "__main__":
    main(
        "frozen",
        sides={"Trainer, an epoch": by_trainer, "zoo, first epoch": by_zoo, "zoo, ten later epochs": later_epochs},
        agree=alike,
        goals={"zoo, first epoch": 0.4, "zoo, ten later epochs": 0.01 * LATER},
        words=("TABLE",),
    )
