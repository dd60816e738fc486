"""How long fine-tuning takes, beside the training loop that one would write by hand.

    python benchmarks/train.py PHOTOS

PHOTOS is a folder of images with `train` and one sub-folder a class. Both sides train all of SqueezeNet 1.1 from random
weights for one epoch with SGD, the same batch size, random resized crops and flips, and two decoding threads or
workers. zoo's side is the whole of `zoo.finetune`: looking at the images, the plan, evaluation after the epoch, a
checkpoint, the saved model and the final figures with intervals. The loop by hand has none of these.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
import torchvision
from torchvision.transforms import v2

import zoo
from zoo.transfer.options import Training
from zoo.verbs.config import Output

ROUNDS = 3
BATCH = 16


def by_hand(folder: Path) -> None:
    """One epoch of the usual loop."""
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(224, scale=(0.5, 1.0)),
            v2.RandomHorizontalFlip(),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    data = torchvision.datasets.ImageFolder(folder / "train", transform)
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH, shuffle=True, num_workers=2)
    model = torchvision.models.squeezenet1_1(num_classes=len(data.classes)).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    for x, y in loader:
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()


def by_zoo(folder: Path) -> None:
    """One epoch and all that a run does around it."""
    with tempfile.TemporaryDirectory() as runs:
        zoo.finetune(
            "torchvision/squeezenet1_1@random",
            folder,
            strategy="full",
            epochs=1,
            lr=0.001,
            batch_size=BATCH,
            device="cpu",
            training=Training(optimizer="sgd", augment="light"),
            out=Output(dir=runs),
            baseline="none",
        )


def main() -> None:
    folder = Path(sys.argv[1])
    times: dict[str, list[float]] = {"zoo": [], "by hand": []}
    for _ in range(ROUNDS):
        for name, run in (("zoo", by_zoo), ("by hand", by_hand)):
            started = time.perf_counter()
            run(folder)
            times[name].append(time.perf_counter() - started)
    ours, theirs = statistics.median(times["zoo"]), statistics.median(times["by hand"])
    print(f"zoo {ours:.1f} s, by hand {theirs:.1f} s, ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
