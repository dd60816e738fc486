"""Frozen stages computed once: the same weights bit for bit, on every kind of network and wherever it is kept."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import zoo
from zoo import Backbone, Features, ImagePreprocess, ImageProcessor
from zoo.data.augment import recipe
from zoo.data.batches import Loader
from zoo.data.types import Examples, ImageRef
from zoo.models.backbone import Stage
from zoo.models.fusion import fuse
from zoo.transfer.loop import Job, fit
from zoo.transfer.model import Model
from zoo.transfer.options import Training
from zoo.transfer.parts import BitFit
from zoo.transfer.prefix import frozen_prefix, needs_of
from zoo.transfer.strategies import HeadOnly, Lora, Partial, Phase, StageRow
from zoo.transfer.terms import Seen, Term
from zoo.transfer.trained import HeadOptions

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "plugins"))

ROWS = 20
WORDS = "the a cat dog sat on mat ran and very quickly into green garden where it found another of its kind".split()


def rows(*modalities: str) -> Examples:
    rng = np.random.default_rng(0)
    found: dict[Any, Sequence[Any]] = {}
    if "image" in modalities:
        pixels = rng.integers(0, 256, (ROWS, 32, 32, 3)).astype(np.uint8)
        found["image"] = [ImageRef(str(row), array=each) for row, each in enumerate(pixels)]
    if "text" in modalities:
        found["text"] = [" ".join(rng.choice(WORDS, rng.integers(2, 12))) for _ in range(ROWS)]
    names = tuple(map(str, range(ROWS)))
    return Examples(found, np.arange(ROWS) % 3, names, names)


def resnet(folder: Path) -> Backbone:
    from torchvision.models.resnet import BasicBlock, ResNet

    torch.manual_seed(0)
    network = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=3)
    stages = {"stem": ["conv1", "bn1", "relu", "maxpool"], **{f"layer{i}": [f"layer{i}"] for i in range(1, 5)}}
    return zoo.wrap(network, head="fc", stages=stages, tokens="layer4", preprocess=ImagePreprocess((32, 32)))


def tiny(family: str, **changes: Any) -> Callable[[Path], Backbone]:
    def build(folder: Path) -> Backbone:
        from tiny_transformers import write_folder

        return zoo.load(f"transformers/{write_folder(folder / family, family, **changes)}")

    return build


def open_clip(folder: Path) -> Backbone:
    pytest.importorskip("open_clip")
    from tiny_open_clip import write_folder

    write_folder(folder / "clip", "clip")
    return zoo.load(f"open_clip/{folder / 'clip'}")


def both(folder: Path) -> Backbone:
    return fuse(zoo.load("starter/glyph-cnn"), tiny("bert")(folder))


CASES = {
    "resnet, with batch norm": resnet,
    "bert, with dropout": tiny("bert", num_hidden_layers=3),
    "gpt2": tiny("gpt2", n_layer=3),
    "xlnet, whose layers return pairs": tiny("xlnet"),
    "t5, with positions from its first layer": tiny("t5"),
    "clip, both towers": open_clip,
    "an image and a text network side by side": both,
}


@dataclass
class Told:
    """What a run ended with, and what it did."""

    state: dict[str, Tensor]
    losses: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    decoded: int = 0
    """Values that were made into tensors."""


class Counting:
    """A processor that counts the values it is given."""

    def __init__(self, inner: Any, told: Told) -> None:
        self.inner, self.told = inner, told

    def __call__(self, value: Any, draw: Any = None) -> Any:
        self.told.decoded += 1
        return self.inner(value, draw)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def train(
    backbone: Backbone,
    strategy: Any,
    folder: Path | None = None,
    *,
    augment: str = "none",
    terms: Iterable[Term] = (),
    **given: Any,
) -> Told:
    told = Told({})
    torch.manual_seed(0)
    examples = rows(*backbone.modalities)
    processors: Any = {modality: Counting(backbone.processor(modality), told) for modality in backbone.modalities}
    loader = Loader(examples, processors, batch_size=8, train=True, augment=recipe(augment))
    told.decoded = 0  # texts are turned into ids when the loader is made
    with torch.no_grad():
        batch = next(loader.epoch(0)).to(torch.device("cpu"))
        tokens = backbone.eval()(batch.inputs).tokens
    told.decoded = 0
    model = HeadOptions("linear", backbone.dim, tokens.shape[2], 3).model(backbone)
    job = Job(
        model=model,
        loader=loader,
        phases=strategy.phases([StageRow(s.name, s.branch) for s in backbone.stages()]),
        training=Training(**{"epochs": 3, "lr": 0.01, "backbone_lr": 1.0, "optimizer": "adamw", **given}),
        loss=nn.functional.cross_entropy,
        device=torch.device("cpu"),
        bf16=False,
        folder=folder,
        terms=tuple(terms),
    )
    for record in fit(job):
        if record.kind == "step":
            told.losses.append(record.loss or 0.0)
        if record.note:
            told.notes.append(record.note)
    told.state = model.state_dict()
    return told


def same(a: Told, b: Told) -> bool:
    return a.losses == b.losses and all(torch.equal(a.state[name], b.state[name]) for name in a.state)


@pytest.mark.parametrize("strategy", [HeadOnly(), Partial(1, 1.0)], ids=["head", "last stage"])
@pytest.mark.parametrize("case", CASES)
def test_replayed_training_ends_in_the_same_weights(case: str, strategy: Any, tmp_path: Path) -> None:
    computed = train(CASES[case](tmp_path / "a"), strategy, replay="off")
    replayed = train(CASES[case](tmp_path / "a"), strategy)
    assert same(computed, replayed)
    (note,) = replayed.notes
    assert ("the backbone" if strategy.name == "head" else "everything up to") in note
    assert "in memory" in note
    assert not computed.notes
    if "image" in rows("image").inputs and computed.decoded:
        assert (computed.decoded, replayed.decoded) == (3 * ROWS, ROWS), "images are decoded once"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"replay_memory": 0.0}, "kB on disk"),
        ({"replay_memory": 15e-6}, "in memory, "),
        ({"replay_memory": 0.0, "replay_disk": 15e-6}, "found no room and"),
        ({"replay_memory": 0.0, "replay_disk": 0.0}, "nothing; 3 batches found no room"),
    ],
)
def test_what_finds_no_room_goes_to_disk_and_then_is_computed_anew(given: Any, said: str, tmp_path: Path) -> None:
    computed = train(tiny("bert")(tmp_path), Partial(1, 1.0), replay="off")
    found = train(tiny("bert")(tmp_path), Partial(1, 1.0), tmp_path / "checkpoints", **given)
    assert same(computed, found)
    assert said in found.notes[0]
    assert not (tmp_path / "checkpoints" / "replay").exists(), "nothing is left on disk"


def test_views_of_augmented_images_come_again(tmp_path: Path) -> None:
    asked = {"augment": "strong", "views": 2, "epochs": 4}
    computed = train(zoo.load("starter/glyph-cnn"), Partial(), replay="off", **asked)
    replayed = train(zoo.load("starter/glyph-cnn"), Partial(), **asked)
    assert same(computed, replayed)
    assert (computed.decoded, replayed.decoded) == (4 * ROWS, 2 * ROWS)
    every = train(zoo.load("starter/glyph-cnn"), Partial(), **{**asked, "views": None})
    assert not every.notes
    assert every.decoded == 4 * ROWS, "without views each epoch has images of its own"


def test_steps_over_two_batches_take_the_same_rows(tmp_path: Path) -> None:
    computed = train(zoo.load("starter/glyph-cnn"), HeadOnly(), replay="off", accumulate=2)
    assert same(computed, train(zoo.load("starter/glyph-cnn"), HeadOnly(), accumulate=2))


class Looks(Term):
    """Computes the features again from the inputs, past what is replayed."""

    def forward(self, seen: Seen) -> Tensor:
        was = seen.model.backbone.training
        again = seen.model.features(seen.batch.inputs)
        assert seen.model.backbone.training == was
        assert torch.equal(again.pooled, seen.features.pooled)
        assert torch.equal(again.tokens, seen.features.tokens)
        return 0.1 * seen.features.tokens.square().mean()


@pytest.mark.parametrize("strategy", [HeadOnly(), Partial(2)], ids=["head", "last stages"])
def test_terms_in_the_loss_see_true_features_and_inputs(strategy: Any) -> None:
    computed = train(zoo.load("starter/glyph-cnn"), strategy, replay="off", terms=[Looks()])
    replayed = train(zoo.load("starter/glyph-cnn"), strategy, terms=[Looks()])
    assert same(computed, replayed)
    assert replayed.decoded == ROWS


class Small(Backbone):
    """Three layers; how they are put together is left to the cases."""

    spec = zoo.BackboneSpec("test", "small", "test:small", ("image",), "test", 4)
    modalities = ("image",)
    dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(n, 4) for n in (12, 4, 4))
        self.drop = nn.Dropout(0.5)

    def forward(self, batch: Any) -> Features:
        x = nn.functional.adaptive_avg_pool2d(batch["image"]["pixels"], 2).flatten(1)
        return self.rest(self.drop(self.layers[0](x)))

    def rest(self, x: Tensor) -> Features:
        x = self.layers[2](self.layers[1](x))
        return Features(pooled=x, tokens=x.unsqueeze(1))

    def stages(self) -> Sequence[Stage]:
        first, second, third = self.layers
        return [Stage("a", (first, self.drop)), Stage("b", (second,)), Stage("c", (third,))]

    def processor(self, modality: Any) -> ImageProcessor:
        return ImageProcessor(ImagePreprocess((8, 8)))


class Skips(Small):
    """The last layer sees the first one's output too."""

    def rest(self, x: Tensor) -> Features:
        y = self.layers[2](x + self.layers[1](x))
        return Features(pooled=y, tokens=y.unsqueeze(1))


class Twice(Small):
    """A frozen stage's module runs again behind the trained layer."""

    def rest(self, x: Tensor) -> Features:
        y = self.drop(self.layers[2](self.layers[1](x)))
        return Features(pooled=y, tokens=y.unsqueeze(1))


class Peeks(Small):
    """Looks at the pixels once more behind the frozen stages."""

    def forward(self, batch: Any) -> Features:
        found = super().forward(batch)
        return replace(found, pooled=found.pooled + batch["image"]["pixels"].mean())


class Remembers(Small):
    """A frozen layer leaves something on the side that is used further up."""

    def __init__(self) -> None:
        super().__init__()
        self.layers[0].register_forward_hook(lambda module, args, out: setattr(self, "mean", args[0].mean()))
        self.layers[0] = Inner(self.layers[0])

    def rest(self, x: Tensor) -> Features:
        found = super().rest(x)
        return replace(found, pooled=found.pooled * self.mean)


class Inner(nn.Module):
    """One layer further in, so that nobody sees the hook."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out


NEEDS = {
    "plain": (Small, {2}, 0),
    "a connection past the last frozen stage": (Skips, {1, 2}, 0),
    "a module that runs again behind the trained one": (Twice, {2}, 0),
    "inputs that are looked at again": (Peeks, {2}, 1),
    "something kept on the side": (Remembers, None, 0),
}


@pytest.mark.parametrize("case", NEEDS)
def test_no_more_is_kept_than_the_trained_stages_read(case: str) -> None:
    kind, kept, inputs = NEEDS[case]
    torch.manual_seed(0)
    model = Model(kind(), HeadOptions("linear", 4, 4, 3).model(kind()).head)
    model.backbone.freeze_except(["c"])
    model.train()
    prefix = frozen_prefix(model, Phase("last", {"c": 1.0}))
    assert str(prefix) == "everything up to b"
    needs = needs_of(model, prefix, {"image": {"pixels": torch.randn(3, 3, 8, 8)}})
    assert (None if needs is None else set(needs.modules)) == kept
    assert needs is None or len(needs.inputs) == inputs
    assert model.backbone.layers[2].training
    assert not model.backbone.layers[0].training


@pytest.mark.parametrize("strategy", [BitFit(), Lora()], ids=["biases", "adapters"])
def test_what_is_trained_inside_of_stages_leaves_none_frozen(strategy: Any) -> None:
    backbone = zoo.load("starter/glyph-cnn")
    inputs = {"image": {"pixels": torch.zeros(1, 1, 32, 32)}}
    model = HeadOptions("linear", backbone.dim, 1, 3).model(backbone)
    model.adapters = tuple(strategy.adapt(backbone, inputs).parameters)
    prefix = frozen_prefix(model, strategy.phases([])[0])
    assert not prefix.deep
    assert not prefix.whole


@pytest.mark.parametrize("case", NEEDS)
def test_networks_that_look_back_train_alike(case: str) -> None:
    def build() -> Backbone:
        torch.manual_seed(0)
        return NEEDS[case][0]()

    computed, found = train(build(), Partial(1, 1.0), replay="off"), train(build(), Partial(1, 1.0))
    assert same(computed, found)
    assert ("nothing is computed once" in found.notes[0]) == (NEEDS[case][1] is None)


def test_a_view_has_the_same_batches_in_another_order() -> None:
    backbone = zoo.load("starter/glyph-cnn")
    loader = Loader(rows("image"), {"image": backbone.processor("image")}, batch_size=3, train=True)
    first, again = (list(loader.epoch(number, views=2, group=2)) for number in (1, 3))
    assert [batch.place for batch in first] != [batch.place for batch in again]
    known = {batch.place: batch for batch in first}
    for batch in again:
        assert torch.equal(batch.rows, known[batch.place].rows)
        assert torch.equal(batch.inputs["image"]["pixels"], known[batch.place].inputs["image"]["pixels"])
    indices = [batch.place[1] for batch in again if batch.place]
    assert sorted(indices) == list(range(7))
    assert all(indices[indices.index(even) + 1] == even + 1 for even in (0, 2, 4)), "neighbours stay together"
    resumed = [batch.place for batch in loader.epoch(3, 2, views=2, group=2)]
    assert resumed == [batch.place for batch in again][2:]


def test_an_image_that_is_not_needed_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.new("L", (20, 20), 90).save(path)
    loader = Loader(
        replace(rows("image"), inputs={"image": [ImageRef("x", path=str(path))] * ROWS}),
        {"image": zoo.load("starter/glyph-cnn").processor("image")},
        batch_size=8,
        train=True,
    )
    known = {batch.place: batch for batch in loader.epoch(0, views=1)}
    path.unlink()
    assert len(list(loader.epoch(1, views=1, ready=known.get))) == 3
