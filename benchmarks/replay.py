"""Seconds of an epoch with and without replay of the frozen stages, and whether both end in the same weights.

    python benchmarks/replay.py [--device cuda] [--only "resnet18 64 px"] [--json]

Five networks with random weights, 256 made rows in batches of 16, 64 more that are judged after each epoch, one thread;
momentum for the ResNet and AdamW for the others, as zoo chooses them.
An epoch is all that a run does: batches, steps, judging, a checkpoint. On a CPU seconds are those of the process, which
other work on the machine does not change; on a GPU those of the clock. The first epoch, which records, is left out of
the figure with replay and given by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from torch import Tensor

import zoo
from zoo.data.batches import Loader
from zoo.data.types import Examples, ImageRef, Task
from zoo.transfer.judging import Judge
from zoo.transfer.loop import Job, fit
from zoo.transfer.options import Training
from zoo.transfer.strategies import HEAD, Phase
from zoo.transfer.tasks import loss_for
from zoo.transfer.trained import HeadOptions, Trained

ROWS, JUDGED, BATCH, EPOCHS = 256, 64, 16, 3
TASK = Task("multiclass", ("a", "b", "c"))
SIZES = {"hidden_size": 256, "num_hidden_layers": 12, "num_attention_heads": 4, "intermediate_size": 1024}
VISION = {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768}
WORDS = [f"w{number}" for number in range(1000)]


def resnet18(folder: Path, side: int) -> zoo.Backbone:
    import torchvision

    stages = {"stem": ["conv1", "bn1", "relu", "maxpool"], **{f"layer{i}": [f"layer{i}"] for i in range(1, 5)}}
    network = torchvision.models.resnet18()
    preprocess = zoo.ImagePreprocess((side, side))
    return zoo.wrap(network, head="fc", tokens="layer4", stages=stages, preprocess=preprocess)


def of_transformers(folder: Path, kind: str) -> zoo.Backbone:
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    if kind == "clip":
        model: Any = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**VISION, image_size=96, patch_size=16))
        size = {"height": 96, "width": 96}
        steps = {"do_resize": True, "do_rescale": True, "do_normalize": True, "size": size}
        told = {**steps, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
        folder.joinpath("preprocessor_config.json").write_text(json.dumps(told))
    else:
        special = {token: place for place, token in enumerate(("[PAD]", "[CLS]", "[SEP]", "[UNK]"))}
        known = special | {word: place for place, word in enumerate(WORDS, len(special))}
        tokenizer = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        if kind == "bert":
            ends = [("[CLS]", 1), ("[SEP]", 2)]
            tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
            model = transformers.BertModel(transformers.BertConfig(vocab_size=len(known), **SIZES))
        else:
            config = transformers.GPT2Config(vocab_size=len(known), n_embd=256, n_layer=12, n_head=4)
            model = transformers.GPT2Model(config)
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=64
        ).save_pretrained(folder)
    model.save_pretrained(folder)
    return zoo.load(f"transformers/{folder}")


NETWORKS: dict[str, Callable[[Path], zoo.Backbone]] = {
    "resnet18 64 px": lambda folder: resnet18(folder, 64),
    "resnet18 128 px": lambda folder: resnet18(folder, 128),
    "bert 12x256 L64": lambda folder: of_transformers(folder, "bert"),
    "gpt2 12x256 L64": lambda folder: of_transformers(folder, "gpt2"),
    "clip vit 12x192 96 px": lambda folder: of_transformers(folder, "clip"),
}


@dataclass(frozen=True)
class Line:
    """One row of the table; seconds an epoch."""

    network: str
    trains: str
    computed: float
    recording: float
    replayed: float
    ratio: float
    equal: bool
    kept: str


def examples(modality: str, count: int, side: int) -> Examples:
    rng = np.random.default_rng(count)
    if modality == "image":
        pixels = rng.integers(0, 256, (count, side, side, 3)).astype(np.uint8)
        column: Sequence[Any] = [ImageRef(str(row), array=each) for row, each in enumerate(pixels)]
    else:
        column = [" ".join(rng.choice(WORDS, 64)) for _ in range(count)]
    names = tuple(map(str, range(count)))
    return Examples({modality: column}, np.arange(count) % 3, names, names)


def trained_stages(backbone: zoo.Backbone, part: str) -> list[str]:
    """The last of the blocks and what follows, or the upper half of them."""
    names = [stage.name for stage in backbone.stages()]
    kinds = [type(stage.modules[0]).__name__ for stage in backbone.stages()]
    most = max(kinds, key=kinds.count)
    blocks = [place for place, kind in enumerate(kinds) if kind == most]
    first = {"head": len(names), "last stage": blocks[-1], "last half": blocks[len(blocks) // 2]}[part]
    return names[first:]


def run(build: Callable[[Path], zoo.Backbone], part: str, replay: Any, device: torch.device) -> tuple[Any, ...]:
    """Seconds of each epoch, the last weights, and what was kept."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        torch.manual_seed(0)
        backbone = build(folder)
        (modality,) = backbone.modalities
        side = 128
        options = HeadOptions("linear", backbone.dim, backbone.dim, len(TASK.classes))
        model = options.model(backbone).to(device)
        trained = Trained(model, options, TASK, None, device)
        optimizer: Any = "sgd" if "layer4" in trained_stages(backbone, "last half") else "adamw"
        training = Training(epochs=EPOCHS, batch_size=BATCH, optimizer=optimizer, lr=1e-3, replay=replay)
        judge = Judge(trained, examples(modality, JUDGED, side), batch_size=BATCH)
        job = Job(
            model=model,
            loader=Loader(examples(modality, ROWS, side), trained.processors(), batch_size=BATCH, train=True),
            phases=[Phase(part, {**dict.fromkeys(trained_stages(backbone, part), 0.1), HEAD: 1.0})],
            training=training,
            loss=loss_for(TASK),
            device=device,
            bf16=False,
            folder=folder / "checkpoints",
            evaluate=lambda replay: judge(replay).metrics(),
        )
        seconds, kept, started = [], "", clock()
        for record in fit(job):
            if record.kind == "epoch":
                seconds.append(clock() - started)
                kept, started = kept or record.note, clock()
        state: dict[str, Tensor] = {name: value.cpu() for name, value in model.state_dict().items()}
        return seconds, state, kept.partition(": ")[2]


def compare(network: str, part: str, device: torch.device) -> Line:
    plain, expected, _ = run(NETWORKS[network], part, "off", device)
    fast, found, kept = run(NETWORKS[network], part, "auto", device)
    equal = all(torch.equal(value, expected[name]) for name, value in found.items())
    computed, replayed = statistics.median(plain[1:]), statistics.median(fast[1:])
    return Line(network, part, computed, fast[0], replayed, computed / replayed, equal, kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", choices=NETWORKS)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    device, lines = torch.device(given.device), []
    if not given.json:
        print(f"{'network':22} {'trains':11} {'computed':>9} {'recording':>10} {'replayed':>9}   ratio  equal  kept")
    for network in [given.only] if given.only else NETWORKS:
        for part in ("head", "last stage", "last half"):
            line = compare(network, part, device)
            lines.append(line)
            if not given.json:
                times = f"{line.computed:8.2f}s {line.recording:9.2f}s {line.replayed:8.3f}s {line.ratio:6.1f}x"
                print(f"{network:22} {part:11} {times}  {'yes' if line.equal else 'NO':5}  {line.kept}", flush=True)
    if given.json:
        print(json.dumps([asdict(line) for line in lines], indent=2))


if __name__ == "__main__":
    main()
