"""A user's own module and checkpoint as a backbone."""

from __future__ import annotations

import dataclasses
import io
import runpy
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import zoo
from zoo import Backbone, Features, ImagePreprocess
from zoo.verbs.config import Output

USER = Path(__file__).parent.parent / "user" / "cifar_resnet.py"
CIFAR = runpy.run_path(str(USER))
SMALL = ImagePreprocess(size=(8, 8))


class Net(nn.Module):
    """Children declared in another order than they run in, a token of its own, and a ReLU."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.fc = nn.Linear(6, num_classes)
        self.body = nn.Sequential(nn.Conv2d(4, 6, 3, 2), nn.BatchNorm2d(6))
        self.stem = nn.Conv2d(3, 4, 3)
        self.act = nn.ReLU()
        self.shift = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(self.act(self.stem(x + self.shift))).mean((2, 3)))


def net(num_classes: int = 3, seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net(num_classes).eval()


def run(backbone: Backbone, pixels: Tensor) -> Features:
    with torch.no_grad():
        return backbone({"image": {"pixels": pixels}})


# --- a real network with real weights


@pytest.fixture(scope="module")
def weights(shared: Path) -> Path:
    return shared / "weights" / "resnet20-cifar10" / "model.safetensors"


@pytest.fixture(scope="module")
def photos(shared: Path) -> tuple[list[Image.Image], np.ndarray]:
    table = pq.read_table(shared / "data" / "cifar10" / "test.parquet").to_pylist()
    return [Image.open(io.BytesIO(row["image"]["bytes"])) for row in table], np.array([row["label"] for row in table])


def test_a_wrapped_network_with_its_own_classifier_is_as_good_as_published(
    weights: Path, photos: tuple[list[Image.Image], np.ndarray]
) -> None:
    # 0.8135 on all 2,000 rows, 0.8103 on the 10,000 of the full test set, each of these with the source classifier.
    images, labels = photos
    backbone = zoo.load(f"local:{USER}:resnet20@{weights}")
    processor, state = backbone.processor("image"), load_file(weights)
    pixels = processor.finish(processor.collate([processor(image) for image in images]))["pixels"]
    pooled = torch.cat([run(backbone, part).pooled for part in pixels.split(250)])
    logits = pooled @ state["linear.weight"].T + state["linear.bias"]
    assert (logits.argmax(1).numpy() == labels).mean() == pytest.approx(0.8135, abs=0.002)


def test_a_wrapped_network_gives_what_its_own_forward_gives(weights: Path) -> None:
    model = CIFAR["CifarResNet"](3)
    model.load_state_dict(load_file(weights))
    model.eval()
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        logits = model(pixels)
        spatial = model.layer3(model.layer2(model.layer1(torch.relu(model.bn1(model.conv1(pixels))))))
    backbone = zoo.load(f"local:{USER}:resnet20@{weights}")
    features = run(backbone, pixels)
    torch.testing.assert_close(model.linear(features.pooled), logits, rtol=1e-6, atol=1e-6)
    assert torch.equal(features.map(), spatial)
    assert features.grid == (8, 8)


def test_stages_of_a_users_network_are_its_children_as_they_run(weights: Path) -> None:
    backbone = zoo.load(f"local:{USER}:resnet20@{weights}")
    backbone.check_stages()
    assert [stage.name for stage in backbone.stages()] == ["conv1", "bn1", "layer1", "layer2", "layer3"]
    assert backbone.dim == 64
    assert backbone.spec.params == sum(p.numel() for p in backbone.parameters()) == 269_722 - 650


def test_the_checkpoint_of_another_network_is_refused(shared: Path) -> None:
    other = shared / "weights" / "resnet56-cifar10" / "model.safetensors"
    with pytest.raises(zoo.WeightsError, match=r"do not fit CifarResNet(.|\n)*not of this backbone: layer1\.3"):
        zoo.load(f"local:{USER}:resnet20@{other}")
    with pytest.raises(zoo.WeightsError, match=r"do not fit CifarResNet(.|\n)*not of this backbone: layer1\.3"):
        zoo.wrap(CIFAR["CifarResNet"](3), head="linear", preprocess=CIFAR["PREPROCESS"], checkpoint=other)


# --- zoo.wrap


def test_stages_follow_the_order_of_running_not_of_declaring() -> None:
    backbone = zoo.wrap(net(), head="fc", preprocess=SMALL)
    backbone.check_stages()
    assert [stage.name for stage in backbone.stages()] == ["stem", "body"]
    assert backbone.stages()[0].modules == (backbone.module.stem, backbone.module.act)
    assert backbone.stages()[0].loose == (backbone.module.shift,)


def test_given_stages_are_kept() -> None:
    backbone = zoo.wrap(net(), head="fc", preprocess=SMALL, stages={"low": ["shift", "stem", "act"], "high": ["body"]})
    assert [stage.name for stage in backbone.stages()] == ["low", "high"]
    assert backbone.spec.stages == ("low", "high")
    backbone.freeze_except(["high"]).train()
    assert [m.training for m in (backbone.module.stem, backbone.module.body)] == [False, True]


def test_stages_that_leave_a_parameter_out_are_refused() -> None:
    with pytest.raises(zoo.PluginError, match=r"leave out 1 parameters(.|\n)*shift"):
        zoo.wrap(net(), head="fc", preprocess=SMALL, stages={"all": ["stem", "body"]})


def test_stages_that_name_nothing_are_refused() -> None:
    with pytest.raises(zoo.UsageError, match=r"no submodule 'trunk'(.|\n)*its children are"):
        zoo.wrap(net(), head="fc", preprocess=SMALL, stages={"all": ["trunk"]})


@pytest.mark.parametrize("option", ["head", "tokens"])
def test_a_missing_submodule_is_named_with_those_there_are(option: str) -> None:
    with pytest.raises(zoo.UsageError, match=r"no submodule 'classifier'(.|\n)*its children are fc, body, stem, act"):
        zoo.wrap(net(), preprocess=SMALL, **{option: "classifier"})


def test_a_checkpoint_is_loaded_and_remembered_with_its_digest(tmp_path: Path) -> None:
    saved, fresh = net(seed=1), net(seed=2)
    save_file(saved.state_dict(), tmp_path / "net.safetensors")
    backbone = zoo.wrap(fresh, head="fc", preprocess=SMALL, checkpoint=tmp_path / "net.safetensors")
    assert torch.equal(backbone.module.stem.weight, saved.stem.weight)
    assert backbone.weights is not None
    assert backbone.weights.origin == f"file:{tmp_path / 'net.safetensors'}"
    assert len(backbone.weights.sha256 or "") == 64


@pytest.mark.parametrize("kind", ["other classes", "no head", "deeper head", "under a key", "data parallel"])
def test_a_checkpoint_may_come_with_any_source_head(kind: str, tmp_path: Path) -> None:
    saved = net(num_classes=7 if kind == "other classes" else 3, seed=1).state_dict()
    state = dict(saved)
    if kind == "no head":
        state = {name: t for name, t in state.items() if not name.startswith("fc.")}
    if kind == "deeper head":
        state = {name.replace("fc.", "fc.1."): t for name, t in state.items()} | {"fc.0.weight": torch.ones(6, 6)}
    if kind == "data parallel":
        state = {f"module.{name}": t for name, t in state.items()}
    torch.save({"state_dict": state, "epoch": 3} if kind == "under a key" else state, tmp_path / "net.pth")
    backbone = zoo.wrap(net(seed=2), head="fc", preprocess=SMALL, checkpoint=tmp_path / "net.pth")
    assert torch.equal(backbone.module.body[0].weight, saved["body.0.weight"])
    assert torch.equal(backbone.module.body[1].running_var, saved["body.1.running_var"])


def test_a_checkpoint_that_lacks_part_of_the_body_is_refused(tmp_path: Path) -> None:
    state = net().state_dict()
    del state["stem.weight"]
    save_file(state, tmp_path / "net.safetensors")
    with pytest.raises(zoo.WeightsError, match=r"missing: stem\.weight"):
        zoo.wrap(net(), head="fc", preprocess=SMALL, checkpoint=tmp_path / "net.safetensors")


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save(net(), tmp_path / "net.pth")
    with pytest.raises(zoo.WeightsError, match="only plain tensors are read from pickles"):
        zoo.wrap(net(), head="fc", preprocess=SMALL, checkpoint=tmp_path / "net.pth")


class Returns(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.how = how

    def forward(self, x: Tensor) -> object:
        x = self.conv(x)
        return {
            "vector": lambda: x.mean((2, 3)),
            "map": lambda: x,
            "tokens": lambda: x.flatten(2).transpose(1, 2),
            "features": lambda: Features(x.mean((2, 3)), x.flatten(2).transpose(1, 2), grid=(6, 6)),
            "tuple": lambda: (x, x),
        }[self.how]()


@pytest.mark.parametrize("how", ["vector", "map", "tokens", "features"])
def test_a_module_may_return_a_vector_a_map_tokens_or_features(how: str) -> None:
    module = Returns(how)
    features = run(zoo.wrap(module, preprocess=SMALL), pixels := torch.randn(2, 3, 8, 8))
    spatial = module.conv(pixels)
    torch.testing.assert_close(features.pooled, spatial.mean((2, 3)))
    assert features.tokens.shape == ((2, 1, 4) if how == "vector" else (2, 36, 4))
    assert features.grid == ((6, 6) if how in ("map", "features") else None)


def test_a_module_that_returns_something_else_is_refused_at_once() -> None:
    with pytest.raises(zoo.UsageError, match=r"returned a tuple, and zoo\.wrap takes a tensor or zoo\.Features"):
        zoo.wrap(Returns("tuple"), preprocess=SMALL)


def test_a_wrong_dimension_is_said() -> None:
    with pytest.raises(zoo.UsageError, match=r"shape \(1, 4\), dim=5 was given"):
        zoo.wrap(Returns("map"), preprocess=SMALL, dim=5)


def test_how_an_input_becomes_a_tensor_must_be_told() -> None:
    with pytest.raises(zoo.UsageError, match=r"how an input becomes a tensor(.|\n)*ImagePreprocess\(size"):
        zoo.wrap(net())


class Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(256, 5)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.words(ids)


class Bytes:
    """Texts as bytes, padded with zeros."""

    key = "bytes"

    def __call__(self, value: str, draw: object = None) -> list[int]:
        return list(value.encode()) or [0]

    def length(self, example: list[int]) -> int:
        return len(example)

    def collate(self, examples: list[list[int]]) -> dict[str, Tensor]:
        width = max(map(len, examples))
        rows = [example + [0] * (width - len(example)) for example in examples]
        return {"ids": torch.tensor(rows), "mask": torch.tensor([[t < len(e) for t in range(width)] for e in examples])}

    def finish(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return dict(tensors)


def test_a_text_module_pools_its_real_tokens_only() -> None:
    backbone = zoo.wrap(Bag(), modality="text", processor=Bytes(), dim=5)
    processor = backbone.processor("text")
    pooled = [
        backbone({"text": processor.finish(processor.collate([processor(t) for t in texts]))}).pooled[0]
        for texts in (["ab"], ["ab", "a longer text"])
    ]
    torch.testing.assert_close(*pooled)


def test_a_text_module_must_tell_its_dimension() -> None:
    with pytest.raises(zoo.UsageError, match=r"cannot measure the dimension(.|\n)*give dim="):
        zoo.wrap(Bag(), modality="text", processor=Bytes())


# --- local:file.py:function


MODULE = """
import torch, zoo
from torch import nn
{extra}

def plain():
    net = nn.Sequential()
    net.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net.head = nn.Sequential(nn.Dropout(), nn.Linear(4, 2))
    return zoo.wrap(net, head="head", preprocess=zoo.ImagePreprocess(size=(8, 8)))

def own():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return zoo.wrap(net, preprocess=zoo.ImagePreprocess(size=(8, 8)), checkpoint={checkpoint!r})

def wrong():
    return nn.Conv2d(3, 4, 3)
"""


def written(tmp_path: Path, name: str = "mine.py", extra: str = "", checkpoint: str = "") -> Path:
    (tmp_path / name).write_text(MODULE.format(extra=extra, checkpoint=checkpoint))
    return tmp_path / name


def test_the_checkpoint_of_a_head_with_several_layers_is_taken(tmp_path: Path) -> None:
    state = {"body.0.weight": torch.ones(4, 3, 3, 3), "body.0.bias": torch.zeros(4),
             "head.1.weight": torch.ones(2, 4), "head.1.bias": torch.ones(2)}  # fmt: skip
    save_file(state, tmp_path / "w.safetensors")
    backbone = zoo.load(f"local:{written(tmp_path)}:plain@{tmp_path / 'w.safetensors'}")
    assert torch.equal(run(backbone, torch.ones(1, 3, 8, 8)).pooled, torch.full((1, 4), 27.0))
    assert backbone.weights is not None
    assert backbone.weights.tag == "file"


def test_a_users_file_may_import_its_neighbours_and_carry_any_name(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("WIDTH = 4\n")
    before = sys.modules["random"], list(sys.path)
    zoo.load(f"local:{written(tmp_path, 'random.py', extra='from neighbour import WIDTH')}:plain")
    assert (sys.modules["random"], sys.path) == before


def test_random_weights_are_refused_where_the_function_loads_its_own(tmp_path: Path) -> None:
    save_file({"0.weight": torch.ones(4, 3, 3, 3), "0.bias": torch.zeros(4)}, tmp_path / "own.safetensors")
    file = written(tmp_path, checkpoint=str(tmp_path / "own.safetensors"))
    assert run(zoo.load(f"local:{file}:own"), torch.ones(1, 3, 8, 8)).pooled.tolist() == [[27.0] * 4]
    with pytest.raises(zoo.UsageError, match=r"always loads weights .*own\.safetensors"):
        zoo.load(f"local:{file}:own@random")
    assert zoo.load(f"local:{file}:plain@random").weights is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine.py:plane", "has no function 'plane'"),
        ("mine.py:wrong", r"wrong\(\) of .* returned a Conv2d, no Backbone"),
        ("other.py:plain", r"no Python file at .*other\.py"),
        ("mine.py", "names no function"),
    ],
)
def test_what_is_wrong_with_a_local_name_is_said(name: str, message: str, tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(zoo.PluginError, match=message):
        zoo.load(f"local:{tmp_path}/{name}")


def test_a_syntax_error_in_a_users_file_is_shown_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(SyntaxError, match="invalid syntax"):
        zoo.load(f"local:{written(tmp_path, extra='def ???')}:plain")


def test_a_users_network_is_probed_and_its_run_is_a_source_again(
    weights: Path, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.transfer.baseline.DRAWS", 1)  # few-shot sets
    data = zoo.read_dataset(shared / "data" / "cifar10", zoo.ReadOptions(limit=400))
    splits = {"train": data.splits["train"], "test": data.splits["test"].select(range(300))}
    run = zoo.finetune(
        f"local:{USER}:resnet20@{weights}",
        dataclasses.replace(data, splits=splits),
        strategy="linear-probe",
        out=Output(dir=str(tmp_path)),
    )
    # 40 photos a class; all 1,000 give 0.80. Random weights give about 0.3.
    assert (run.metrics["accuracy"] or 0) > 0.7
    source = zoo.load(str(run.path))
    pixels = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(
        run_on(source, pixels), run_on(zoo.load(f"local:{USER}:resnet20@{weights}"), pixels), rtol=1e-5, atol=1e-5
    )
    assert [stage.name for stage in source.stages()] == ["conv1", "bn1", "layer1", "layer2", "layer3"]


def run_on(backbone: Backbone, pixels: Tensor) -> Tensor:
    return run(backbone, pixels).pooled
