"""How long features take, beside the loop that one would write by hand with the library itself.

    python benchmarks/extract.py PHOTOS TEXTS MINILM

PHOTOS is a folder of images with one sub-folder a class, TEXTS a table of texts, MINILM a folder with a BERT-like
model. Both sides use random SqueezeNet weights or those of MINILM, the same batch size, two decoding threads or
workers, and the CPU threads that OMP_NUM_THREADS says; they are timed in turn, and the ratio of the medians is printed:
below 1, zoo is faster. Reading the labels is not timed; zoo's cache is off.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import zoo

ROUNDS = 3
BATCH = 32


def torchvision_by_hand(folder: Path) -> Callable[[], Any]:
    """ImageFolder, DataLoader with two workers, SqueezeNet's features and global average."""
    import torchvision

    model = torchvision.models.squeezenet1_1().eval()
    transform = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.transforms()
    data = torchvision.datasets.ImageFolder(folder, transform)
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH, num_workers=2)

    def run() -> Any:
        with torch.inference_mode():
            return torch.cat([model.features(x).mean((2, 3)) for x, _ in loader])

    return run


def transformers_by_hand(texts: list[str], folder: Path) -> Callable[[], Any]:
    """Texts in the order of the table, padded to the longest of each batch, mean over the mask."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()

    def run() -> Any:
        found = []
        with torch.inference_mode():
            for start in range(0, len(texts), BATCH):
                batch = tokenizer(texts[start : start + BATCH], padding=True, truncation=True, return_tensors="pt")
                hidden, mask = model(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1)
                found.append((hidden * mask).sum(1) / mask.sum(1))
        return torch.cat(found)

    return run


def by_zoo(backbone: str, examples: Any) -> Callable[[], Any]:
    loaded = zoo.load(backbone)
    return lambda: zoo.extract(loaded, examples, cache=False, batch_size=BATCH, device="cpu").features


def compare(name: str, ours: Callable[[], Any], theirs: Callable[[], Any], rows: int) -> None:
    """Time both in turn and print one line."""
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(ROUNDS):
        for side, run in (("ours", ours), ("theirs", theirs)):
            started = time.perf_counter()
            run()
            times[side].append(time.perf_counter() - started)
    mine, other = statistics.median(times["ours"]), statistics.median(times["theirs"])
    print(f"{name:<28} {rows / mine:>8.0f} {rows / other:>8.0f} {mine / other:>6.2f}")


def main() -> None:
    photos, table, minilm = (Path(each) for each in sys.argv[1:4])
    print(f"{'':<28} {'zoo':>8} {'by hand':>8} {'ratio':>6}   rows a second")
    images = zoo.read_dataset(photos).splits["train"]
    compare(
        "SqueezeNet, torchvision",
        by_zoo("torchvision/squeezenet1_1@random", images),
        torchvision_by_hand(photos / "train" if (photos / "train").is_dir() else photos),
        len(images),
    )
    texts = zoo.read_dataset(table).splits["train"]
    words = [str(each) for each in texts.inputs["text"]]
    compare(
        "MiniLM, transformers", by_zoo(f"transformers/{minilm}", texts), transformers_by_hand(words, minilm), len(words)
    )


if __name__ == "__main__":
    main()
