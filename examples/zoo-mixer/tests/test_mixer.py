"""What a plugin's author tests: the specification is true, and zoo can load, freeze, train and keep the backbone."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
import zoo_mixer
from PIL import Image
from safetensors.torch import save_file
from zoo_mixer.network import Mixer

import zoo

CATALOG = zoo.Catalog.of({"mixer": zoo_mixer})
SPEC = CATALOG.backbones["mixer/mixer-tiny"]


@pytest.fixture
def backbone() -> zoo.Backbone:
    return zoo.load("mixer-tiny", catalog=CATALOG)


@pytest.fixture
def batch(backbone: zoo.Backbone) -> dict[str, dict[str, torch.Tensor]]:
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (70 + i, 90, 3), dtype=np.uint8)) for i in range(4)]
    processor = backbone.processor("image")
    return {"image": processor.finish(processor.collate([processor(image) for image in images]))}


def test_the_entry_point_names_the_plugin(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    (path,) = project["entry-points"]["zoo"].values()
    assert importlib.import_module(path) is zoo_mixer
    assert zoo_mixer.zoo_api == zoo.API_VERSION


def test_listing_leaves_torch_out(root: Path) -> None:
    code = "import sys, zoo_mixer; list(zoo_mixer.zoo_backbones()); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"


def test_the_specification_is_true(backbone: zoo.Backbone, batch: zoo.Inputs) -> None:
    features = backbone(batch)
    assert features.pooled.shape == (4, SPEC.dim)
    assert features.tokens.shape == (4, 64, SPEC.dim)
    assert features.map().shape == (4, SPEC.dim, 8, 8)
    assert sum(p.numel() for p in backbone.parameters()) == SPEC.params
    assert tuple(stage.name for stage in backbone.stages()) == SPEC.stages
    backbone.check_stages()


def test_features_are_those_of_the_plain_network(backbone: zoo.Backbone, batch: zoo.Inputs) -> None:
    network = Mixer(64, 8, 128, 4)
    network.load_state_dict(backbone.network.state_dict())
    tokens = network(batch["image"]["pixels"])
    assert torch.equal(backbone(batch).tokens, tokens)
    torch.testing.assert_close(backbone(batch).pooled, tokens.mean(1))


def test_training_the_last_block_leaves_the_others_as_they_are(backbone: zoo.Backbone, batch: zoo.Inputs) -> None:
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    backbone.freeze_except(["block4"]).train()
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=0.1)
    backbone(batch).pooled[:, 0].sum().backward()
    optimizer.step()
    changed = {name for name, tensor in backbone.state_dict().items() if not torch.equal(before[name], tensor)}
    assert changed
    assert all(name.startswith(("network.blocks.3.", "network.norm.")) for name in changed)


def test_weights_of_a_file_are_loaded(tmp_path: Path, backbone: zoo.Backbone) -> None:
    network = Mixer(64, 8, 128, 4)
    save_file(network.state_dict(), tmp_path / "mixer.safetensors")
    loaded = zoo.load(f"mixer-tiny@{tmp_path / 'mixer.safetensors'}", catalog=CATALOG)
    assert torch.equal(loaded.network.norm.weight, network.norm.weight)
    assert torch.equal(loaded.network.patches.weight, network.patches.weight)
    assert not torch.equal(backbone.network.patches.weight, network.patches.weight)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(zoo.WeightsError, match="do not fit Mixer"):
        zoo.load(f"mixer-tiny@{tmp_path / 'other.safetensors'}", catalog=CATALOG)
