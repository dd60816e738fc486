"""Fine-tuning a BERT on texts with a long tail for one epoch, beside Trainer, accelerate, Lightning and a plain loop.

    python benchmarks/finetune_texts.py [small|base] [--device cuda]

`small` is a BERT of 4 layers of 256 with random weights and 256 docstrings of the standard library; `base` one of 12 of
768 and 2048 of them, for a card. The task is whether a docstring speaks of what is returned. 32 rows a step, 256 tokens
at most, AdamW at a constant 2e-4, gradients clipped at 1, all parameters trained, dropout as BERT has it. Every side
begins with texts and the same weights and ends with trained ones: tokenising is timed, the evaluation that says whether
sides learned alike is not, nor is making the network. Trainer stands there as it comes: random order, batches padded to
their longest; and with `group_by_length`. The loop by hand has what zoo has, its batches of like length and a fused
AdamW. On a card all sides compute in bf16, the loop by hand comes first, and it and zoo once more with `torch.compile`.
"""

from __future__ import annotations

import copy
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from corpus import docstrings
from harness import Run, Setting, main
from peers import train_with_lightning, train_with_trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

BATCH, LONGEST, RATE = 32, 256, 2e-4
ROWS = {"small": 256, "base": 2048}
SIZES = {
    "small": {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024},
    "base": {},
}


@dataclass(frozen=True)
class Given:
    """What all sides begin with."""

    texts: Sequence[str]
    labels: Sequence[int]
    tokenizer: Any
    bert: Any
    """For classification, with random weights."""
    device: torch.device

    @property
    def bf16(self) -> bool:
        return self.device.type == "cuda"

    def encoded(self) -> list[dict[str, Any]]:
        ids = self.tokenizer(list(self.texts), truncation=True, max_length=LONGEST)["input_ids"]
        return [{"input_ids": each, "labels": label} for each, label in zip(ids, self.labels, strict=True)]

    def padded(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        batch = self.tokenizer.pad({"input_ids": [each["input_ids"] for each in rows]}, return_tensors="pt")
        return {**batch, "labels": torch.tensor([each["labels"] for each in rows])}

    runs: list[int] = field(default_factory=list)
    """One entry a run; the first is not timed, has no dropout, and tells how far it came."""

    def fresh(self, model: Any) -> Any:
        """A copy to train."""
        model = copy.deepcopy(model).to(self.device).train()
        if not self.runs:
            for module in model.modules():
                if isinstance(module, nn.Dropout):
                    module.p = 0.0
        return model

    def once(self, logits: Callable[[dict[str, Tensor]], Tensor]) -> dict[str, Any]:
        """Mean loss of all rows after the first training."""
        self.runs.append(0)
        if len(self.runs) > 1:
            return {}
        rows, total = self.encoded(), 0.0
        with torch.inference_mode():
            for start in range(0, len(rows), 64):
                batch = {name: each.to(self.device) for name, each in self.padded(rows[start : start + 64]).items()}
                total += float(cross_entropy(logits(batch).float(), batch["labels"], reduction="sum"))
        return {"loss": np.array(total / len(rows))}


@cache
def given(setting: Setting) -> Given:
    import transformers
    from texts import weights

    transformers.logging.set_verbosity_error()
    size = setting.words[0] if setting.words else "small"
    tokenizer = transformers.AutoTokenizer.from_pretrained(weights())
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=tokenizer.vocab_size, num_labels=2, **SIZES[size])
    texts = docstrings(ROWS[size])
    labels = [int("return" in each.lower()) for each in texts]
    bert = transformers.BertForSequenceClassification(config)
    return Given(texts, labels, tokenizer, bert, torch.device(setting.device))


def of_bert(bert: Any) -> Callable[[dict[str, Tensor]], Tensor]:
    bert.eval()
    return lambda batch: bert(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits


def by_trainer(setting: Setting, *, grouped: bool = False) -> Run:
    of = given(setting)
    choices: dict[str, Any] = {"train_sampling_strategy": "group_by_length"} if grouped else {}

    def run() -> Mapping[str, Any]:
        bert = of.fresh(of.bert)
        options = {"batch": BATCH, "rate": RATE, "cpu": of.device.type == "cpu", "bf16": of.bf16, **choices}
        train_with_trainer(bert, of.encoded(), collate=of.padded, **options)
        return _after(of, bert)

    return run


def by_trainer_grouped(setting: Setting) -> Run:
    return by_trainer(setting, grouped=True)


def _after(of: Given, bert: Any) -> dict[str, Any]:
    return of.once(of_bert(bert))


def by_accelerate(setting: Setting) -> Run:
    from accelerate import Accelerator

    of = given(setting)
    accelerator = Accelerator(cpu=of.device.type == "cpu", mixed_precision="bf16" if of.bf16 else "no")

    def run() -> Mapping[str, Any]:
        bert = of.fresh(of.bert)
        loader = DataLoader(of.encoded(), batch_size=BATCH, shuffle=True, collate_fn=of.padded)
        adam = torch.optim.AdamW(bert.parameters(), lr=RATE, weight_decay=0.0)
        model, adam, loader = accelerator.prepare(bert, adam, loader)
        for batch in loader:
            accelerator.backward(model(**batch).loss)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            adam.step()
            adam.zero_grad()
        accelerator.free_memory()
        return _after(of, bert)

    return run


def by_lightning(setting: Setting) -> Run:
    import_module("lightning")
    of = given(setting)

    def run() -> Mapping[str, Any]:
        bert = of.fresh(of.bert)

        def step(batch: Any) -> Tensor:
            loss: Tensor = bert(**batch).loss
            return loss

        def optimizer(model: nn.Module) -> Any:
            return torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)

        loader = DataLoader(of.encoded(), batch_size=BATCH, shuffle=True, collate_fn=of.padded)
        options = {"precision": "bf16-mixed" if of.bf16 else "32-true", "gradient_clip_val": 1.0}
        train_with_lightning(step, bert, optimizer, loader, cpu=of.device.type == "cpu", **options)
        return _after(of, bert.to(of.device))

    return run


def by_hand(setting: Setting, *, compiled: bool = False) -> Run:
    """zoo's own batches, a fused AdamW, and on a card bf16 and pinned memory."""
    of = given(setting)

    def batches() -> Iterator[dict[str, Tensor]]:
        rows = of.encoded()
        for indices in order([len(each["input_ids"]) for each in rows]):
            batch = of.padded([rows[index] for index in indices])
            if of.bf16:
                batch = {name: each.pin_memory().to(of.device, non_blocking=True) for name, each in batch.items()}
            yield batch

    def run() -> Mapping[str, Any]:
        bert = of.fresh(of.bert)
        model = torch.compile(bert, dynamic=True) if compiled else bert
        adam = torch.optim.AdamW(bert.parameters(), lr=RATE, weight_decay=0.0, fused=True)
        for batch in batches():
            with torch.autocast(of.device.type, torch.bfloat16, enabled=of.bf16):
                loss = model(**batch).loss
            loss.backward()
            nn.utils.clip_grad_norm_(bert.parameters(), 1.0)
            adam.step()
            adam.zero_grad()
        return _after(of, bert)

    return run


def by_zoo(setting: Setting, *, compiled: bool = False) -> Run:
    import zoo
    from zoo.data.batches import Loader
    from zoo.data.types import Examples, Task
    from zoo.transfer.loop import Job, fit
    from zoo.transfer.options import Training
    from zoo.transfer.strategies import HEAD, Phase
    from zoo.transfer.tasks import loss_for
    from zoo.transfer.trained import HeadOptions

    of = given(setting)
    folder = Path(tempfile.mkdtemp())
    of.bert.bert.save_pretrained(folder)
    of.tokenizer.model_max_length = LONGEST
    of.tokenizer.save_pretrained(folder)
    names = tuple(map(str, range(len(of.texts))))
    task, labels = Task("multiclass", ("no", "yes")), np.array(of.labels)
    start = zoo.load(f"transformers/{folder}")

    def run() -> Mapping[str, Any]:
        torch.manual_seed(0)
        backbone = of.fresh(start)
        model = HeadOptions("linear", backbone.dim, backbone.dim, 2).model(backbone)
        model.head.load_state_dict({f"linear.{k}": v for k, v in of.bert.classifier.state_dict().items()})
        examples = Examples({"text": of.texts}, labels, names, names)
        loader = Loader(examples, {"text": backbone.processor("text")}, batch_size=BATCH, train=True)
        training = Training(epochs=1, batch_size=BATCH, optimizer="adamw", lr=RATE, weight_decay=0.0)
        training = replace(training, schedule="constant", compile="on" if compiled else "off")
        phase = Phase("full", {**{stage.name: 1.0 for stage in backbone.stages()}, HEAD: 1.0})
        for _ in fit(Job(model, loader, [phase], training, loss_for(task), of.device, bf16=of.bf16, folder=None)):
            pass
        model.eval()
        return of.once(lambda batch: model({"text": {"ids": batch["input_ids"], "mask": batch["attention_mask"] > 0}}))

    return run


def order(lengths: Sequence[int]) -> list[list[int]]:
    """The rows of zoo's batches."""
    from zoo.data.batches import Loader
    from zoo.data.types import Examples

    names = tuple(map(str, range(len(lengths))))
    loader = Loader(Examples({}, None, names, names), {}, batch_size=BATCH, train=True)
    loader.lengths = np.array(lengths)
    return [each.tolist() for each in loader.order(0)]


def alike(outputs: Mapping[str, Mapping[str, Any]]) -> str:
    losses = {side: float(each["loss"]) for side, each in outputs.items()}
    ours, theirs = losses.get("zoo"), losses.get("by hand")
    said = ""
    if ours is not None and theirs is not None:
        assert abs(ours - theirs) < 2e-3, losses
        said = f"On the same batches zoo and the loop by hand end {abs(ours - theirs):.0e} apart in loss. "
    low, high = min(losses.values()), max(losses.values())
    assert high - low < 0.1, losses
    return f"{said}The others have rows in another order: after the epoch the loss is {low:.3f} to {high:.3f}."


def by_hand_compiled(setting: Setting) -> Run:
    return by_hand(setting, compiled=True)


def by_zoo_compiled(setting: Setting) -> Run:
    return by_zoo(setting, compiled=True)


if __name__ == "__main__":
    sides: dict[str, Callable[[Setting], Run]] = {
        "Trainer": by_trainer,
        "Trainer, group_by_length": by_trainer_grouped,
        "accelerate": by_accelerate,
        "Lightning": by_lightning,
        "by hand": by_hand,
        "zoo": by_zoo,
    }
    card = any(word.removeprefix("--device=").startswith("cuda") for word in sys.argv)
    if card:
        sides = {"by hand": by_hand, **sides, "by hand, compiled": by_hand_compiled, "zoo, compiled": by_zoo_compiled}
    main(
        "finetune-texts",
        sides=sides,
        agree=alike,
        goals={"zoo": 1 / 0.95 if card else 0.53},
        words=("small|base",),
    )
