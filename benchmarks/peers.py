"""How several benchmarks have their peers train: as these come, but that nothing is logged, drawn, judged or saved."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset


def train_with_trainer(
    model: nn.Module,
    data: Any,
    *,
    batch: int,
    rate: float,
    cpu: bool,
    collate: Callable[[Sequence[Any]], dict[str, Tensor]],
    ordered: bool = False,
    **choices: Any,
) -> None:
    """An epoch of transformers' Trainer at a constant rate.

    Args:
        model: a forward that gives a dict with "loss".
        data: rows, of which `collate` makes batches.
        batch: rows a step.
        rate: of AdamW, without weight decay.
        cpu: whether it is to keep off the card.
        collate: rows to what `model` takes.
        ordered: the rows in their own order, in place of one that is drawn.
        choices: further arguments of Trainer's.
    """
    import transformers

    class Ordered(transformers.Trainer):
        def get_train_dataloader(self) -> Any:
            return self.accelerator.prepare(DataLoader(data, batch_size=batch, collate_fn=collate))

    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=batch,
            num_train_epochs=1,
            learning_rate=rate,
            lr_scheduler_type="constant",
            weight_decay=0.0,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=cpu,
            **choices,
        )
        kind = Ordered if ordered else transformers.Trainer
        kind(model, arguments, train_dataset=data, data_collator=collate).train()


class Classifier(nn.Module):
    """A network as Trainer takes it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.net(x)
        return {"loss": cross_entropy(logits, labels), "logits": logits}


def stacked(rows: Sequence[tuple[Tensor, Any]]) -> dict[str, Tensor]:
    """Rows of tensors and classes as `Classifier` takes them."""
    return {"x": torch.stack([x for x, _ in rows]), "labels": torch.as_tensor([int(y) for _, y in rows])}


def train_with_lightning(
    step: Callable[[Any], Tensor],
    model: nn.Module,
    optimizer: Callable[[nn.Module], Any],
    loader: DataLoader[Any],
    *,
    cpu: bool,
    **choices: Any,
) -> None:
    """An epoch of Lightning's Trainer.

    Args:
        step: a batch to its loss, by `model`.
        model: that learns.
        optimizer: of its parameters.
        loader: batches.
        cpu: whether it is to keep off the card.
        choices: further arguments of its trainer.
    """
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = model

        def training_step(self, batch: Any, index: int) -> Tensor:
            return step(batch)

        def configure_optimizers(self) -> Any:
            return optimizer(self.net)

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu" if cpu else "cuda",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **choices,
    )
    trainer.fit(Module(), loader)


def train_with_fastai(
    model: nn.Module, loader: DataLoader[Any] | Dataset[Any], device: torch.device, rate: float, **choices: Any
) -> None:
    """An epoch of fastai's Learner with torch's AdamW.

    Args:
        model: on the device.
        loader: batches of inputs and classes.
        device: to train on.
        rate: without weight decay.
        choices: further arguments of its learner.
    """
    import fastai.callback.progress  # noqa: F401  (it gives learners `no_bar`)
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper

    learner = Learner(
        DataLoaders(loader, loader, device=device),
        model,
        loss_func=cross_entropy,
        opt_func=partial(OptimWrapper, opt=torch.optim.AdamW),
        **choices,
    )
    learner._do_epoch_validate = lambda *_: None
    with learner.no_bar(), learner.no_logging():
        learner.fit(1, lr=rate, wd=0.0)
