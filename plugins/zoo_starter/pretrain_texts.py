# ruff: noqa: T201  (a script: what it prints goes into the specification)
"""Trains the weights that `starter/gru` ships with: `python -m zoo_starter.pretrain_texts TEACHER`.

TEACHER is a folder with all-MiniLM-L6-v2 (Apache-2.0). The GRU learns to give a text the direction that the teacher
gives it. The texts are pieces of the standard library's docstrings and of the language reference in `pydoc_data`
(PSF-2.0), single words, and words thrown together. The packages of `builtin:docstrings` are left out, so that this
data set stays new to it. All chance comes from one seed, but the texts follow the version of Python, so another
version gives other weights. It takes about five minutes on one core.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

import zoo
from zoo import Backbone, LoadRequest
from zoo_starter import TEXT_PREPROCESS, zoo_backbones
from zoo_starter.datasets import PACKAGES, docstrings_of
from zoo_starter.pieces import Pieces, learn
from zoo_starter.text import PieceProcessor, Recurrent, padded

STEPS = 1_800
BATCH_SIZE = 256
LR = 4e-3
TEMPERATURE = 0.07
OUT = Path(__file__).parent
COMMON = 150
"""The first words of the teacher's vocabulary, which is by frequency, are the, of, who, many and their like."""


@dataclass(frozen=True)
class Progress:
    """Where pretraining stands after a step."""

    step: int
    loss: float
    backbone: Recurrent


def library_texts() -> list[str]:
    """Docstrings and reference paragraphs of this Python, without tests and without `PACKAGES`."""
    from pydoc_data.topics import topics  # type: ignore[import-not-found, unused-ignore]

    root = Path(sysconfig.get_path("stdlib"))
    outside = {"site-packages", "dist-packages", "test", "tests", "idlelib", "idle_test", "lib2to3", *PACKAGES}
    files = [path for path in sorted(root.rglob("*.py")) if not outside & set(path.relative_to(root).parts)]
    texts = [text for path in files for text in _docstrings(path)]
    paragraphs = [each for topic in topics.values() for each in re.split(r"\n\s*\n", topic)]
    return texts + [each for each in paragraphs if len(each) > 40]


def mixture(library: Sequence[str], words: Sequence[str], rng: random.Random) -> list[str]:
    """Texts to learn from: runs of 3 to 25 words of the library, the most frequent words, and words thrown together."""
    texts = list(words[:6_000])
    texts += [_run(rng.choice(library), rng) for _ in range(12_000)]
    texts += [" ".join(_thrown(words, rng) for _ in range(rng.randint(2, 8))) for _ in range(16_000)]
    rng.shuffle(texts)
    return texts


def directions(teacher: Backbone, texts: Sequence[str]) -> Tensor:
    """(N, 384) unit vectors of the teacher, their common part taken out."""
    processor = teacher.processor("text")
    examples = [processor(text) for text in texts]
    order = sorted(range(len(texts)), key=lambda i: processor.length(examples[i]))
    out = torch.empty(len(texts), teacher.dim)
    with torch.no_grad():
        for start in range(0, len(order), 64):
            rows = order[start : start + 64]
            features = teacher({"text": processor.finish(processor.collate([examples[i] for i in rows]))})
            out[rows] = F.normalize(zoo.pool(features.tokens, features.mask, "mean"), dim=1)
    return F.normalize(out - out.mean(0), dim=1)


def pretrain(ids: Sequence[list[int]], targets: Tensor, steps: int = STEPS, seed: int = 0) -> Iterator[Progress]:
    """The encoder after each step.

    Args:
        ids: pieces of each text.
        targets: (N, D) unit vectors that its direction is to agree with.
        steps: of `BATCH_SIZE` texts each.
        seed: of the initial weights and the order of the texts.
    """
    torch.manual_seed(seed)
    backbone = Recurrent(LoadRequest(_spec(), None, ("text",)), nn.GRU)
    head = nn.Linear(backbone.dim, targets.shape[1])
    parameters = [*backbone.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=LR, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, steps)
    backbone.train()
    order: list[int] = []
    for step in range(1, steps + 1):
        if len(order) < BATCH_SIZE:
            order = torch.randperm(len(ids)).tolist()
        rows, order = order[:BATCH_SIZE], order[BATCH_SIZE:]
        ours = F.normalize(head(backbone({"text": padded([ids[i] for i in rows])}).pooled), dim=1)
        theirs = targets[rows]
        apart = F.cross_entropy(ours @ theirs.T / TEMPERATURE, torch.arange(len(rows)))
        loss = (1 - (ours * theirs).sum(1)).mean() + 0.1 * apart
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        yield Progress(step, loss.item(), backbone)


def _docstrings(path: Path) -> list[str]:
    try:
        return [text for _, text in docstrings_of(path)]
    except (SyntaxError, UnicodeDecodeError):  # the library keeps some broken files to test its own tools
        return []


def _run(text: str, rng: random.Random) -> str:
    words = text.split()
    length = rng.randint(3, 25)
    start = rng.randint(0, max(0, len(words) - length))
    return " ".join(words[start : start + length])


def _thrown(words: Sequence[str], rng: random.Random) -> str:
    # Squared: the vocabulary is by frequency, and frequent words shall come often.
    return rng.choice(words[:COMMON]) if rng.random() < 0.4 else words[int(len(words) * rng.random() ** 2)]


def _words_of(teacher: Path) -> list[str]:
    lines = (teacher / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return [word for word in lines if re.fullmatch("[a-z]{2,}", word)]


def _spec() -> zoo.BackboneSpec:
    spec = next(spec for spec in zoo_backbones() if spec.architecture == "gru")
    return replace(spec, weights=())


def main() -> None:
    """Learn the vocabulary, train, write both files, and print what the specification must say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    torch.set_num_threads(1)  # sums in one order, whatever the machine
    library, words = library_texts(), _words_of(given.teacher)
    texts = mixture(library, words, random.Random(given.seed))
    pieces = learn([*library, *texts])
    (given.out / "pieces.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    print(f"{len(texts)} texts, {len(pieces)} pieces", flush=True)
    targets = directions(zoo.load(f"transformers/{given.teacher}", offline=True), texts)
    processor = PieceProcessor(TEXT_PREPROCESS, Pieces(pieces))
    for done in pretrain([processor(text) for text in texts], targets, given.steps, given.seed):
        if done.step % 100 == 0:
            print(f"step {done.step} of {given.steps}: loss {done.loss:.3f}", flush=True)
    # Half precision halves the file; features differ by less than a thousandth.
    written = save({name: tensor.half() for name, tensor in done.backbone.state_dict().items()})
    path = given.out / "gru.safetensors"
    path.write_bytes(written)
    print(f"{path}: {len(written):,} bytes, sha256 {hashlib.sha256(written).hexdigest()}")


if __name__ == "__main__":
    main()
