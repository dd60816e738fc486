"""Weights are hostile input: what is no weights of this backbone is one clear error, and nothing in a file runs."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import zoo


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def legacy(value: object, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def plain(value: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(value))


def ancient(value: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(value, protocol=0))


# --- reading files


def test_safetensors_are_read_as_they_were_written(tmp_path: Path) -> None:
    state = net().state_dict()
    save_file(state, tmp_path / "w.safetensors")
    read = zoo.read_weights(tmp_path / "w.safetensors")
    assert set(read) == set(state)
    assert all(torch.equal(read[name], state[name]) for name in state)


@pytest.mark.parametrize("save", [torch.save, legacy], ids=["zip", "legacy"])
@pytest.mark.parametrize("under", [None, "state_dict", "model", "model_state_dict"])
def test_a_plain_state_dict_of_torch_save_is_read(
    tmp_path: Path, save: Callable[[Any, Path], None], under: str | None
) -> None:
    state = net().state_dict()
    save(state if under is None else {under: state, "epoch": 3}, tmp_path / "w.pth")
    read = zoo.read_weights(tmp_path / "w.pth")
    assert torch.equal(read["0.weight"], state["0.weight"])
    assert set(read) == set(state)


def test_safetensors_under_another_name_are_read(tmp_path: Path) -> None:
    save_file(net().state_dict(), tmp_path / "pytorch_model.bin")
    assert "0.weight" in zoo.read_weights(tmp_path / "pytorch_model.bin")


def test_a_folder_with_one_weights_file_is_read(tmp_path: Path) -> None:
    save_file(net().state_dict(), tmp_path / "anything.safetensors")
    assert "0.weight" in zoo.read_weights(tmp_path)


@pytest.mark.parametrize("count", [0, 2])
def test_a_folder_without_one_clear_weights_file_is_said(tmp_path: Path, count: int) -> None:
    for index in range(count):
        save_file(net().state_dict(), tmp_path / f"{index}.safetensors")
    with pytest.raises(zoo.WeightsError, match=f"{re.escape(str(tmp_path))} holds {count} weight files"):
        zoo.read_weights(tmp_path)


SUFFIXES = ("safetensors", "bin", "pth")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("content", "said", "mend"),
    [
        pytest.param(b"", "is empty", "fetch it again", id="empty"),
        pytest.param(
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "is a git-lfs pointer, not the weights",
            "git lfs pull",
            id="git-lfs",
        ),
        pytest.param(b"<!DOCTYPE html><html>", "is an HTML page, not weights", "error page", id="html"),
        pytest.param(b"\n <HTML><body>429", "is an HTML page, not weights", "error page", id="html-loose"),
        pytest.param(b"<?xml version='1.0'?><Error>", "is an HTML page, not weights", "error page", id="xml"),
    ],
)
def test_what_a_failed_download_leaves_is_named(
    tmp_path: Path, suffix: str, content: bytes, said: str, mend: str
) -> None:
    path = tmp_path / f"w.{suffix}"
    path.write_bytes(content)
    with pytest.raises(zoo.WeightsError, match=re.escape(f"{path} {said}")) as caught:
        zoo.read_weights(path)
    assert mend in (caught.value.help or "")
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("content", [b'{"error": "Repository not found"}', b"hello", b"\x93NUMPY\x01\x00"])
def test_any_other_file_is_named_by_how_it_begins(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(zoo.WeightsError, match="is no weights file: it begins with"):
        zoo.read_weights(path)


def test_a_path_without_a_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(zoo.WeightsError, match="there are no weights at"):
        zoo.read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0], ids="cut-at-{}".format)
@pytest.mark.parametrize(
    ("name", "save"),
    [("w.safetensors", save_file), ("w.pth", torch.save), ("old.pth", legacy)],
    ids=["safetensors", "zip", "pickle"],
)
def test_a_file_that_is_cut_short_is_one_clear_error(
    tmp_path: Path, name: str, save: Callable[[Any, Path], None], share: float
) -> None:
    path = tmp_path / name
    save(net().state_dict(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: max(8, int(len(whole) * share) - 1)])
    with pytest.raises(zoo.WeightsError, match=f"{re.escape(str(path))} is damaged") as caught:
        zoo.read_weights(path)
    assert caught.value.help == "fetch it again"
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "bin", "pt", "ckpt"])
@pytest.mark.parametrize("save", [torch.save, legacy, plain, ancient], ids=["zip", "legacy", "pickle", "protocol-0"])
def test_a_pickle_that_would_run_code_never_does(
    tmp_path: Path, save: Callable[[Any, Path], None], suffix: str
) -> None:
    path, canary = tmp_path / f"w.{suffix}", tmp_path / "canary"
    save({"state_dict": Payload(canary), **net().state_dict()}, path)
    with pytest.raises(zoo.WeightsError, match=re.escape(str(path))) as caught:
        zoo.read_weights(path)
    assert not canary.exists()
    # The advice to switch the protection off, as torch gives it, is no advice.
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize("save", [torch.save, legacy], ids=["zip", "legacy"])
def test_a_refused_pickle_says_what_it_would_have_called(tmp_path: Path, save: Callable[[Any, Path], None]) -> None:
    save({"a": Payload(tmp_path / "canary")}, tmp_path / "w.pth")
    with pytest.raises(zoo.WeightsError, match=r"was refused: it is a pickle that calls posix\.mkdir"):
        zoo.read_weights(tmp_path / "w.pth")


def test_a_whole_pickled_module_is_refused_with_the_mend(tmp_path: Path) -> None:
    torch.save(net(), tmp_path / "w.pth")
    with pytest.raises(zoo.WeightsError, match=r"a pickle that calls torch\.nn\.modules\.container\.Sequential") as e:
        zoo.read_weights(tmp_path / "w.pth")
    assert "model.state_dict()" in (e.value.help or "")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (torch.zeros(3), "holds a Tensor, not a state dict"),
        ([1, 2], "holds a list, not a state dict"),
        ({"epoch": 3}, "holds no tensors"),
    ],
)
def test_a_file_without_a_state_dict_is_said(tmp_path: Path, value: object, said: str) -> None:
    torch.save(value, tmp_path / "w.pth")
    with pytest.raises(zoo.WeightsError, match=said):
        zoo.read_weights(tmp_path / "w.pth")


# --- loading a state dict


def changed(**tensors: Tensor | None) -> dict[str, Tensor]:
    """The state of the net, with some tensors replaced or, if None, taken out; `_` stands for a dot."""
    state = {name: tensor.clone() for name, tensor in net().state_dict().items()}
    for name, tensor in tensors.items():
        state.pop(name.replace("_", ".", 1), None)
        if tensor is not None:
            state[name.replace("_", ".", 1)] = tensor
    return state


def blank() -> nn.Module:
    module = net()
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def is_loaded(module: nn.Module) -> bool:
    return all(torch.equal(tensor, net().state_dict()[name]) for name, tensor in module.state_dict().items())


def test_a_fitting_state_is_loaded() -> None:
    module = blank()
    zoo.load_state(module, net().state_dict())
    assert is_loaded(module)


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "module.model.", "_orig_mod.module."])
def test_a_common_prefix_is_taken_off(prefix: str) -> None:
    module = blank()
    zoo.load_state(module, {prefix + name: tensor for name, tensor in net().state_dict().items()})
    assert is_loaded(module)


def test_a_prefix_that_is_the_modules_own_is_kept() -> None:
    module = nn.ModuleDict({"model": blank()})
    zoo.load_state(module, {f"model.{name}": tensor for name, tensor in net().state_dict().items()})
    assert is_loaded(module["model"])


def test_an_unknown_prefix_is_an_error_and_loads_nothing() -> None:
    module = blank()
    with pytest.raises(zoo.WeightsError, match="the weights do not fit Sequential") as caught:
        zoo.load_state(module, {f"backbone.{name}": tensor for name, tensor in net().state_dict().items()})
    assert any("tensors missing: 0.weight" in line for line in caught.value.details)
    assert any("not of this backbone: backbone.0.weight" in line for line in caught.value.details)
    assert all(not p.any() for p in module.parameters())


@pytest.mark.parametrize(
    ("state", "said"),
    [
        pytest.param({}, "8 of 9 tensors missing: 0.weight, 0.bias", id="all-missing"),
        pytest.param(changed(**{"0_weight": None, "3_bias": None}), "2 of 9 tensors missing: 0.weight", id="some"),
        pytest.param(changed(more_weight=torch.zeros(1)), "1 of 10 tensors not of this backbone: more", id="left-over"),
        pytest.param(changed(**{"3_weight": torch.zeros(5, 4)}), r"3.weight has shape \(5, 4\), not ", id="shape"),
        pytest.param(changed(**{"0_bias": torch.full((4,), torch.nan)}), "1 of 9 tensors not finite: 0.bias", id="nan"),
        pytest.param(changed(**{"1_running_var": torch.full((4,), torch.inf)}), "not finite: 1.running_var", id="inf"),
        pytest.param(
            changed(**{"0_bias": torch.full((4,), torch.nan, dtype=torch.float16)}), "not finite: 0.bias", id="nan-half"
        ),
    ],
)
def test_weights_that_do_not_fit_are_named_and_nothing_is_loaded(state: dict[str, Tensor], said: str) -> None:
    module = blank()
    with pytest.raises(zoo.WeightsError, match="the weights do not fit Sequential") as caught:
        zoo.load_state(module, state)
    assert re.search(said, "\n".join(caught.value.details))
    assert all(not p.any() for p in module.parameters())


def test_many_names_are_not_all_listed() -> None:
    with pytest.raises(zoo.WeightsError) as caught:
        zoo.load_state(nn.ModuleList(nn.Linear(1, 1) for _ in range(50)), {})
    assert len(str(caught.value)) < 500
    assert "100 of 100 tensors missing: 0.weight, 0.bias, 1.weight, 1.bias, 2.weight, ..." in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_load_into_the_backbones_own(dtype: torch.dtype) -> None:
    module = blank()
    half = {n: t.to(dtype) if t.is_floating_point() else t for n, t in net().state_dict().items()}
    zoo.load_state(module, half)
    assert all(p.dtype == torch.float32 for p in module.parameters())
    expected = net().state_dict()["0.weight"].to(dtype).float()
    assert torch.equal(module.state_dict()["0.weight"], expected)


def test_a_head_that_is_declared_optional_may_be_missing_or_of_another_size() -> None:
    for state in (changed(**{"3_weight": None, "3_bias": None}), changed(**{"3_weight": torch.zeros(9, 4)})):
        module = blank()
        zoo.load_state(module, state, optional=["3.*"])
        assert torch.equal(module.state_dict()["0.weight"], net().state_dict()["0.weight"])
        assert not module.state_dict()["3.weight"].any()


def test_what_is_declared_unused_may_be_left_over() -> None:
    module = blank()
    zoo.load_state(module, changed(fc_weight=torch.zeros(9, 4)), unused=["fc.*"])
    assert is_loaded(module)


# --- through every adapter

IMAGE_NAMES = ["torchvision/squeezenet1_1", "timm/resnet10t", "open_clip/RN50:image", "starter/glyph-cnn"]


@pytest.mark.parametrize("name", IMAGE_NAMES)
@pytest.mark.parametrize("save", [torch.save, legacy, plain], ids=["zip", "legacy", "pickle"])
def test_no_adapter_runs_what_a_weights_file_holds(
    tmp_path: Path, name: str, save: Callable[[Any, Path], None]
) -> None:
    canary = tmp_path / "canary"
    save({"state_dict": Payload(canary)}, tmp_path / "w.pth")
    with pytest.raises(zoo.WeightsError, match=r"w\.pth"):
        zoo.load(f"{name}@{tmp_path / 'w.pth'}")
    assert not canary.exists()


@pytest.mark.parametrize("name", IMAGE_NAMES)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "is a git-lfs pointer"),
        (b"<!DOCTYPE html><html>", "is an HTML page"),
        (b"", "is empty"),
        (b"\x08" + b"\x00" * 7 + b'{"a":{}}', "is damaged"),
    ],
    ids=["git-lfs", "html", "empty", "cut-short"],
)
def test_every_adapter_says_what_a_bad_file_is(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(zoo.WeightsError, match=said):
        zoo.load(name, weights=str(path))


@pytest.mark.parametrize("name", IMAGE_NAMES)
def test_every_adapter_refuses_the_weights_of_another_network(tmp_path: Path, name: str) -> None:
    save_file({"encoder.weight": torch.zeros(3, 3)}, tmp_path / "w.safetensors")
    with pytest.raises(zoo.WeightsError, match=r"do not fit|no weights of|not the weights"):
        zoo.load(f"{name}@{tmp_path / 'w.safetensors'}")


def test_a_planted_file_in_torchs_cache_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision unpickles it, whatever its bytes."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    spec = zoo.default_catalog().backbones["torchvision/squeezenet1_1"]
    planted = tmp_path / "hub" / "checkpoints" / Path(spec.weights[0].origin).name
    planted.parent.mkdir(parents=True)
    torch.save({"a": Payload(tmp_path / "canary")}, planted)
    with pytest.raises(zoo.WeightsError, match=r"has other bytes than published; it was moved to .*\.damaged"):
        zoo.load("torchvision/squeezenet1_1", offline=True)
    assert not (tmp_path / "canary").exists()
    assert not planted.exists()


@pytest.mark.parametrize("save", [torch.save, legacy, plain], ids=["zip", "legacy", "pickle"])
def test_zoo_wrap_runs_nothing_from_a_checkpoint(tmp_path: Path, save: Callable[[Any, Path], None]) -> None:
    save({"a": Payload(tmp_path / "canary")}, tmp_path / "w.pth")
    with pytest.raises(zoo.WeightsError, match=r"w\.pth"):
        zoo.wrap(net(), preprocess=zoo.ImagePreprocess((3, 3)), checkpoint=tmp_path / "w.pth")
    assert not (tmp_path / "canary").exists()


def test_weights_of_the_wrong_sha_are_refused(tmp_path: Path) -> None:
    save_file(net().state_dict(), tmp_path / "w.safetensors")
    origin = f"file:{tmp_path / 'w.safetensors'}"
    with pytest.raises(zoo.WeightsError, match=r"has other bytes than its specification says \(sha256 0123"):
        zoo.fetch(zoo.WeightsSpec("a", origin, sha256="0123"))
    package = zoo.default_catalog().backbones["starter/glyph-cnn"].weights[0]
    assert package.sha256 is not None
    with pytest.raises(zoo.WeightsError, match="has other bytes than its specification says"):
        zoo.fetch(zoo.WeightsSpec("a", package.origin, sha256="0123"))
