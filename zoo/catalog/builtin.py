"""What zoo itself offers, through the same hooks as every plugin."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from zoo.catalog.hooks import hookimpl
from zoo.catalog.spec import BackboneSpec, HeadSpec, Modality, ScorerSpec, StrategySpec, WeightsSpec

zoo_api = 1


@hookimpl
def zoo_heads() -> Iterable[HeadSpec]:
    """The heads that every backbone can take."""
    at, solve = "zoo.models.heads:", "zoo.transfer.solvers:"
    return [
        HeadSpec("linear", at + "linear", "one linear layer on the pooled features", solver=solve + "linear"),
        HeadSpec("mlp", at + "mlp", "a hidden layer of the same width, then a linear one"),
        HeadSpec("gap-dense", at + "gap_dense", "global average of the tokens, dense(1024), then a linear layer"),
        HeadSpec("attention", at + "attention", "a learned query attends to the tokens, then a linear layer"),
        HeadSpec(
            "knn",
            "zoo.models.solved_heads:knn",
            "the answers of the nearest training rows; solved, never trained",
            solver=solve + "knn",
            trainable=False,
        ),
        HeadSpec(
            "prototypes",
            "zoo.models.solved_heads:prototypes",
            "the class whose mean feature is nearest; solved, can be trained on",
            tasks=("binary", "multiclass", "multilabel"),
            solver=solve + "prototypes",
        ),
        HeadSpec(
            "text",
            "zoo.models.text_heads:text",
            "scaled cosines with one vector a class, at first the embedding of its name",
            tasks=("binary", "multiclass"),
            names=True,
        ),
        HeadSpec(
            "tip-adapter",
            "zoo.models.tip_adapter:tip_adapter",
            "class names, and the votes of near training rows; solved, can be trained on",
            tasks=("binary", "multiclass"),
            solver="zoo.transfer.tip_adapter:solve",
            names=True,
        ),
        HeadSpec(
            "segment",
            "zoo.models.dense_heads:segment",
            "a feature pyramid over the stages, then the class of every pixel",
            takes="pyramid",
            tasks=("segmentation",),
        ),
        HeadSpec(
            "token-classifier",
            "zoo.models.dense_heads:token_classifier",
            "one linear layer on every token",
            tasks=("tokens",),
        ),
        HeadSpec(
            "contrastive",
            "zoo.models.pair_heads:contrastive_head",
            "each image is told its text among those of the batch, each text its image",
            tasks=("pairs",),
        ),
        HeadSpec(
            "sigmoid",
            "zoo.models.pair_heads:sigmoid_head",
            "each image and text of the batch by themselves: do they belong together",
            tasks=("pairs",),
        ),
        _detector("fcos", "fcos", "torchvision's FCOS on a feature pyramid: a box a position"),
        _detector("retinanet", "retinanet", "torchvision's RetinaNet on a feature pyramid: nine boxes a position"),
        _detector("faster-rcnn", "faster_rcnn", "torchvision's Faster R-CNN on a feature pyramid: in two stages"),
    ]


@hookimpl
def zoo_strategies() -> Iterable[StrategySpec]:
    """The ways to carry a backbone to new data."""
    at, layered, anchored = "zoo.transfer.strategies:", "zoo.transfer.layered:", "zoo.transfer.anchored:"
    at_unlabelled = "zoo.transfer.unlabelled:"
    return [
        StrategySpec("linear-probe", at + "LinearProbe", "freeze the backbone, solve a linear head"),
        StrategySpec("head", at + "HeadOnly", "freeze the backbone, train the head by gradient descent"),
        StrategySpec("partial", at + "Partial", "train the head and the last stages"),
        StrategySpec("full", at + "Full", "train everything, the backbone at a lower rate"),
        StrategySpec("lp-ft", at + "ProbeThenFull", "solve a linear head, then train everything from there"),
        StrategySpec("layer-decay", layered + "LayerDecay", "train everything, lower stages at lower rates"),
        StrategySpec("gradual-unfreezing", layered + "GradualUnfreezing", "the head, then stages from the top down"),
        StrategySpec("chain-thaw", layered + "ChainThaw", "the head, each part by itself, then everything"),
        StrategySpec("bitfit", "zoo.transfer.parts:BitFit", "train the head and the biases"),
        StrategySpec("norm-tuning", "zoo.transfer.parts:NormTuning", "train the head and the normalisation"),
        StrategySpec("self-training", at_unlabelled + "SelfTraining", "learn from confident answers to other rows"),
        StrategySpec("coral", at_unlabelled + "Coral", "train everything, one covariance for unlabelled rows too"),
        StrategySpec("dann", at_unlabelled + "Dann", "train everything against a classifier of unlabelled rows"),
        StrategySpec("coral-probe", at_unlabelled + "CoralProbe", "solve a head on features moved to unlabelled rows"),
        StrategySpec("surgical", "zoo.transfer.surgical:Surgical", "solve a head, train it with the stage that asks"),
        StrategySpec("flyp", "zoo.transfer.texts:Flyp", "train both towers on rows and prompts of their classes"),
        StrategySpec("tip-adapter-f", "zoo.transfer.texts:TipAdapterF", "solve the head tip-adapter, train its keys"),
        StrategySpec("clip-lora", "zoo.transfer.texts:ClipLora", "low-rank adapters on the attention of both towers"),
        StrategySpec("lora", at + "Lora", "freeze the backbone, train low-rank adapters and the head"),
        StrategySpec("dora", at + "Dora", "lora, with the length of weights trained apart"),
        StrategySpec("l2-sp", anchored + "L2SP", "lp-ft with a pull back to the first weights"),
        StrategySpec("wise-ft", anchored + "WiseFT", "lp-ft, then half the way back to the probe"),
        StrategySpec("soup", anchored + "Soup", "lp-ft several times, the weights averaged"),
    ]


@hookimpl
def zoo_scorers() -> Iterable[ScorerSpec]:
    """The scores that rank backbones before any is fine-tuned."""
    at, every = "zoo.scoring.", ("binary", "multiclass", "multilabel", "regression")
    return [
        ScorerSpec(
            "knn",
            at + "knn:knn",
            "leave-one-out accuracy of the nearest neighbours, R2 for labels and numbers",
            tasks=every,
            rows=at + "knn:knn_by_row",
            paper="https://arxiv.org/abs/2009.13239",
        ),
        ScorerSpec(
            "linear",
            at + "linear:linear",
            "leave-one-out accuracy of a linear probe, R2 for labels and numbers",
            tasks=every,
            rows=at + "linear:linear_by_row",
            paper="https://doi.org/10.2307/1267500",
        ),
        ScorerSpec(
            "logme",
            at + "logme:logme",
            "log evidence of a linear model",
            tasks=every,
            paper="https://arxiv.org/abs/2102.11005",
        ),
        ScorerSpec(
            "h-score",
            at + "hscore:h_score",
            "spread of the class means against a shrunk covariance",
            paper="https://arxiv.org/abs/2110.06893",
        ),
        ScorerSpec(
            "nleep",
            at + "nleep:nleep",
            "how well clusters of the features foretell the class",
            paper="https://arxiv.org/abs/2011.11200",
        ),
        ScorerSpec(
            "sfda",
            at + "sfda:sfda",
            "a Fisher discriminant, asked again about rows that it found hard",
            paper="https://arxiv.org/abs/2207.03036",
        ),
        ScorerSpec(
            "gbc",
            at + "gbc:gbc",
            "minus the overlap of the classes as Gaussians",
            paper="https://arxiv.org/abs/2111.12780",
        ),
        ScorerSpec(
            "leep",
            at + "leep:leep",
            "how well answers of the source's head foretell the class; for finished runs",
            needs="source",
            paper="https://arxiv.org/abs/2002.12462",
        ),
        ScorerSpec(
            "nce",
            at + "leep:nce",
            "minus the entropy of the class given the source's answer; for finished runs",
            needs="source",
            paper="https://arxiv.org/abs/1908.08142",
        ),
    ]


@hookimpl
def zoo_resolve(name: str) -> BackboneSpec | None:
    """`local:file.py:function`, and the folder of a finished run."""
    if name.startswith(("local:", "local/")):
        return _local(name[len("local:") :])
    path = Path(name.removeprefix("run/")).expanduser()
    config = path / "model" / "config.json"
    if not config.is_file():
        return None
    saved = json.loads(config.read_text(encoding="utf-8"))
    modalities = tuple(dict.fromkeys(m for part in saved["parts"] for m in part["towers"]))
    return BackboneSpec(
        source="run",
        architecture=str(path),
        factory="zoo.transfer.source:build_run",
        modalities=modalities,
        family="run",
        space=_space(saved["parts"], modalities),
        weights=(WeightsSpec(tag="", origin=f"file:{(path / 'model' / 'model.safetensors').resolve()}"),),
        options={"path": str(path.resolve())},
    )


def _space(parts: list[Any], modalities: tuple[Modality, ...]) -> str | None:
    """The space that both towers of a run's one backbone share; None where one of them was not kept."""
    return parts[0]["spec"].get("space") if len(parts) == 1 and len(modalities) > 1 else None


def _local(name: str) -> BackboneSpec:
    path, _, function = name.rpartition(":")
    return BackboneSpec(
        source="local",
        architecture=name,
        factory="zoo.models.wrap:build_local",
        # Which it serves is known once the function has run; until then the data decide what is read.
        modalities=("image", "text"),
        family="local",
        weights=(WeightsSpec(tag="", origin=f"local:{name}"),),
        options={"path": str(Path(path).expanduser().resolve()), "function": function},
    )


def _detector(name: str, function: str, summary: str) -> HeadSpec:
    return HeadSpec(name, f"zoo.models.detector:{function}", summary, takes="pyramid", tasks=("detection",))
