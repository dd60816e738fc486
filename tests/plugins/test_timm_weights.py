"""What `zoo_timm` makes of files, folders and a hub that is not there, and a timm backbone in a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import zoo_timm
from safetensors.torch import load_file, save_file
from tiny_timm import TINY, write_folder

import zoo
from zoo import Backbone, Catalog

CATALOG = Catalog.of({"timm": zoo_timm})


def load(name: str, **options: Any) -> Backbone:
    return zoo.load(name, catalog=CATALOG, **options)


def state_of(architecture: str, classes: int = 1000) -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return timm.create_model(architecture, num_classes=classes).state_dict()


def written(path: Path, state: dict[str, torch.Tensor]) -> Path:
    save_file({name: tensor.clone().contiguous() for name, tensor in state.items()}, path)
    return path


def assert_holds(backbone: Backbone, state: dict[str, torch.Tensor]) -> None:
    own = backbone.model.state_dict()
    assert own
    for name, tensor in own.items():
        torch.testing.assert_close(tensor, state[name], rtol=0, atol=0)


# --- files


@pytest.mark.parametrize("classes", [1000, 7, 0])
@pytest.mark.parametrize("architecture", ["resnet18", "test_vit3", "test_convnext", "levit_128s", "efficientvim_m1"])
def test_a_file_loads_whatever_classifier_it_holds(architecture: str, classes: int, tmp_path: Path) -> None:
    state = state_of(architecture, classes)
    path = written(tmp_path / "model.safetensors", state)
    backbone = load(f"timm/{architecture}@{path}")
    assert_holds(backbone, state)
    assert backbone.name == f"timm/{architecture}@{path}"


def test_torchvision_weights_fit_the_same_network_of_timm(tmp_path: Path) -> None:
    import torchvision

    torch.manual_seed(0)
    model = torchvision.models.resnet18().eval()
    path = written(tmp_path / "resnet18.safetensors", model.state_dict())
    pixels = torch.randn(2, 3, 64, 64)
    model.fc = torch.nn.Identity()
    with torch.no_grad():
        found = load(f"timm/resnet18@{path}")({"image": {"pixels": pixels}})
        torch.testing.assert_close(found.pooled, model(pixels), rtol=0, atol=1e-5)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "model."])
def test_a_wrapper_around_the_trained_model_does_not_matter(prefix: str, tmp_path: Path) -> None:
    state = state_of("test_resnet")
    path = written(tmp_path / "wrapped.safetensors", {prefix + name: tensor for name, tensor in state.items()})
    assert_holds(load(f"timm/test_resnet@{path}"), state)


def test_a_training_checkpoint_of_timm_loads(tmp_path: Path) -> None:
    state = state_of("test_resnet", 10)
    torch.save({"epoch": 3, "arch": "test_resnet", "state_dict": state}, tmp_path / "last.pth.tar")
    assert_holds(load(f"timm/test_resnet@{tmp_path / 'last.pth.tar'}"), state)


@pytest.mark.parametrize(
    ("architecture", "other", "named"),
    [
        ("resnet34", "resnet18", r"layer1\.2\.conv1\.weight"),
        ("resnet18", "resnet34", r"layer1\.2\.bn1\.weight"),
        ("test_vit", "resnet18", "cls_token"),
        ("resnet26", "resnet18", r"layer1\.0\.conv1\.weight|layer1\.0\.conv3\.weight"),
        ("test_convnext", "test_convnext2", r"stages|stem"),
    ],
)
def test_weights_of_another_architecture_are_refused_with_the_tensors_named(
    architecture: str, other: str, named: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "other.safetensors", state_of(other))
    with pytest.raises(zoo.WeightsError, match=rf"do not fit timm's {architecture} [\s\S]*({named})"):
        load(f"timm/{architecture}@{path}")


def test_a_missing_tensor_is_never_left_random(tmp_path: Path) -> None:
    state = state_of("test_resnet")
    del state["layer2.0.conv1.weight"]
    path = written(tmp_path / "partly.safetensors", state)
    with pytest.raises(zoo.WeightsError, match=r'Missing key[\s\S]*"layer2\.0\.conv1\.weight"'):
        load(f"timm/test_resnet@{path}")


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = state_of("test_resnet")
    state["layer3.0.conv1.weight"][0, 0] = float("nan")
    path = written(tmp_path / "broken.safetensors", state)
    with pytest.raises(zoo.WeightsError, match=r"not finite, in layer3\.0\.conv1\.weight"):
        load(f"timm/test_resnet@{path}")


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "short.safetensors", state_of("test_resnet"))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(zoo.WeightsError, match=r"short\.safetensors is damaged"):
        load(f"timm/test_resnet@{path}")


def jax_arrays(state: dict[str, torch.Tensor], heads: int) -> dict[str, np.ndarray]:
    """A vision transformer's tensors in the layout and under the names that Google publishes."""
    arrays = {
        "cls": state["cls_token"],
        "embedding/kernel": state["patch_embed.proj.weight"].permute(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
        "head/kernel": state["head.weight"].T,
        "head/bias": state["head.bias"],
    }
    for i in range(sum(name.endswith("norm1.weight") for name in state)):
        block, own = f"Transformer/encoderblock_{i}", f"blocks.{i}"
        for jax, here in (("LayerNorm_0", "norm1"), ("LayerNorm_2", "norm2")):
            arrays[f"{block}/{jax}/scale"] = state[f"{own}.{here}.weight"]
            arrays[f"{block}/{jax}/bias"] = state[f"{own}.{here}.bias"]
        weight, bias = state[f"{own}.attn.qkv.weight"].chunk(3), state[f"{own}.attn.qkv.bias"].chunk(3)
        dim = weight[0].shape[0]
        attention = f"{block}/MultiHeadDotProductAttention_1"
        for place, name in enumerate(("query", "key", "value")):
            arrays[f"{attention}/{name}/kernel"] = weight[place].T.reshape(dim, heads, dim // heads)
            arrays[f"{attention}/{name}/bias"] = bias[place].reshape(heads, dim // heads)
        arrays[f"{attention}/out/kernel"] = state[f"{own}.attn.proj.weight"].T.reshape(heads, dim // heads, dim)
        arrays[f"{attention}/out/bias"] = state[f"{own}.attn.proj.bias"]
        for place in (0, 1):
            arrays[f"{block}/MlpBlock_3/Dense_{place}/kernel"] = state[f"{own}.mlp.fc{place + 1}.weight"].T
            arrays[f"{block}/MlpBlock_3/Dense_{place}/bias"] = state[f"{own}.mlp.fc{place + 1}.bias"]
    return {name: tensor.numpy() for name, tensor in arrays.items()}


def test_arrays_of_jax_load(tmp_path: Path) -> None:
    state = state_of("vit_tiny_patch16_224")
    np.savez(tmp_path / "vit.npz", **jax_arrays(state, heads=3))
    assert_holds(load(f"timm/vit_tiny_patch16_224@{tmp_path / 'vit.npz'}"), state)


def test_arrays_of_another_architecture_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "odd.npz", **{"embedding/kernel": np.zeros((16, 16, 3, 64), np.float32)})
    with pytest.raises(zoo.WeightsError, match="do not fit timm's test_vit"):
        load(f"timm/test_vit@{tmp_path / 'odd.npz'}")


# --- folders


def test_a_folder_says_how_its_images_are_prepared(tmp_path: Path) -> None:
    write_folder(tmp_path, TINY["resnet"])
    config = json.loads((tmp_path / "config.json").read_text())
    config["pretrained_cfg"] |= {"mean": [0.1, 0.2, 0.3], "crop_pct": 0.5, "interpolation": "bilinear"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    spec = CATALOG.select(f"timm/{tmp_path}")[0].spec
    assert spec.preprocess["image"] == zoo.ImagePreprocess(
        size=(64, 64), resize=128, interpolation="bilinear", mean=(0.1, 0.2, 0.3)
    )


def test_a_folder_may_be_named_without_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_folder(tmp_path / "mine", TINY["resnet"])
    monkeypatch.chdir(tmp_path)
    assert_holds(zoo.load("./mine"), model.state_dict())


def test_a_folder_with_a_pickle_loads(tmp_path: Path) -> None:
    model = write_folder(tmp_path, TINY["vit with a class token"])
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    assert_holds(load(f"timm/{tmp_path}"), model.state_dict())


def test_a_folder_without_weights_says_so(tmp_path: Path) -> None:
    write_folder(tmp_path, TINY["resnet"])
    for path in tmp_path.glob("*model*"):
        path.unlink()
    with pytest.raises(zoo.WeightsError, match="holds 0 weight files"):
        load(f"timm/{tmp_path}")
    assert load(f"timm/{tmp_path}@random").dim == 48


def test_a_folder_of_an_architecture_that_this_timm_lacks_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, TINY["resnet"])
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"architecture": "resnet18_from_the_future"}))
    with pytest.raises(zoo.UnknownNameError, match="resnet18_from_the_future"):
        load(f"timm/{tmp_path}")


def test_a_folder_with_an_argument_that_the_architecture_lacks_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, TINY["resnet"])
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_args": {"wings": 2}}))
    with pytest.raises(zoo.WeightsError, match=r"does not build .*wings"):
        load(f"timm/{tmp_path}")


# --- the hub


def test_weights_that_are_not_cached_say_how_to_fetch_them() -> None:
    with pytest.raises(zoo.WeightsError, match=r"timm/test_resnet\.r160_in1k is not cached: zoo is offline") as caught:
        load("timm/test_resnet", offline=True)
    assert "hf download timm/test_resnet.r160_in1k" in (caught.value.help or "")


def test_cached_weights_load_offline(tmp_path: Path) -> None:
    """In the layout of the hub's own cache, in either format."""
    states = {}
    for name, file in (("test_resnet", "model.safetensors"), ("test_vit", "pytorch_model.bin")):
        repo = tmp_path / f"models--timm--{name}.r160_in1k"
        snapshot = repo / "snapshots" / "0123abcd"
        snapshot.mkdir(parents=True)
        (repo / "refs").mkdir()
        (repo / "refs" / "main").write_text("0123abcd")
        state = states[name] = state_of(name)
        written(snapshot / file, state) if file.endswith("safetensors") else torch.save(state, snapshot / file)
    code = (
        "import zoo, torch\n"
        "for name in ('test_resnet', 'test_vit'):\n"
        "    backbone = zoo.load(f'timm/{name}', offline=True)\n"
        f"    torch.save(backbone.model.state_dict(), {str(tmp_path)!r} + f'/{{name}}.pt')\n"
        "    print(backbone.name)\n"
    )
    environ = {**os.environ, "HF_HUB_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [f"timm/{name}.r160_in1k" for name in states], done.stderr
    for name, state in states.items():
        found = torch.load(tmp_path / f"{name}.pt", weights_only=True)
        assert all(torch.equal(tensor, state[key]) for key, tensor in found.items())


# --- runs


@pytest.fixture
def small() -> Any:
    """Few digits."""
    return zoo.ReadOptions(shots=8, limit=200)


def finetune(name: str, tmp_path: Path, read: Any, **options: Any) -> Any:
    from zoo.verbs.config import Output

    out = Output(dir=str(tmp_path / "runs"), name="digits")
    return zoo.finetune(name, "sklearn:digits", read=read, device="cpu", baseline="none", out=out, **options)


def test_a_probe_on_a_timm_backbone_learns_digits_and_reads_back(tmp_path: Path, small: Any) -> None:
    folder = tmp_path / "source"
    write_folder(folder, TINY["resnet"])
    run = finetune(f"timm/{folder}", tmp_path, small, strategy="linear-probe")
    assert run.metrics["accuracy"] > 0.3  # chance is 0.1
    for path in folder.iterdir():
        path.unlink()
    assert zoo.evaluate(run.path, device="cpu").metrics["accuracy"] == run.metrics["accuracy"]


def test_a_run_is_a_backbone_of_the_same_make(tmp_path: Path, small: Any) -> None:
    folder = tmp_path / "source"
    write_folder(folder, TINY["swin"])
    run = finetune(f"timm/{folder}", tmp_path, small, strategy="partial", epochs=1)
    again = zoo.load(str(run.path))
    assert again.dim == 128
    assert [stage.name for stage in again.stages()] == ["stem", "layers.0", "layers.1", "layers.2", "layers.3"]
    first = load(f"timm/{folder}").state_dict()
    changed = {
        name.split(".")[1] for name, tensor in again.state_dict().items() if not torch.equal(tensor, first[name])
    }
    assert changed <= {"layers", "norm"}
    assert changed
