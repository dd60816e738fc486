"""torchvision backbones in training: stages, freezing, and which weights are taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision_cases import (
    CASES,
    CATALOG,
    Case,
    blank,
    run,
    upstream,
)

import zoo
from zoo import Backbone

# --- stages


def leaves(backbone: Backbone) -> list[tuple[int, nn.Module]]:
    return [
        (index, leaf)
        for index, stage in enumerate(backbone.stages())
        for module in stage.modules
        for leaf in module.modules()
        if next(leaf.parameters(recurse=False), None) is not None
    ]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_stages_hold_every_parameter_once_and_run_in_order(case: Case) -> None:
    spec = CATALOG.backbones[f"torchvision/{case.name}"]
    if spec.family == "regnet":
        backbone = zoo.load(f"torchvision/{case.name}@random", catalog=CATALOG)
        device = "cpu"
    else:
        backbone, device = blank(case.name), "meta"
    backbone.check_stages()
    assert tuple(stage.name for stage in backbone.stages()) == spec.stages
    order: list[int] = []

    def note(index: int) -> Callable[..., None]:
        return lambda *_: order.append(index)

    for index, leaf in leaves(backbone):
        leaf.register_forward_hook(note(index))
    with torch.no_grad():
        backbone.eval()({"image": {"pixels": torch.zeros(1, 3, case.size, case.size, device=device)}})
    assert order == sorted(order)
    assert set(order) == set(range(len(spec.stages or ())))


NORMED = ["resnet18", "mobilenet_v3_small", "densenet121", "googlenet", "shufflenet_v2_x0_5", "mnasnet0_5"]


@pytest.mark.parametrize("name", NORMED)
def test_frozen_stages_stay_bit_identical_in_training(name: str) -> None:
    backbone = zoo.load(f"torchvision/{name}@random", catalog=CATALOG)
    *frozen, top = backbone.stages()
    backbone.freeze_except([top.name]).train()
    kept = [t for stage in frozen for module in stage.modules for t in module.state_dict().values()]
    trained = [t for module in top.modules for t in module.state_dict().values()]
    before, before_top = [t.clone() for t in kept], [t.clone() for t in trained]
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=0.1)
    for seed in range(3):
        pixels = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
        backbone({"image": {"pixels": pixels}}).pooled.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert all(torch.equal(a, b) for a, b in zip(before, kept, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(before_top, trained, strict=True))


@pytest.mark.parametrize("name", ["efficientnet_b0", "convnext_tiny", "swin_t"])
def test_frozen_stages_drop_no_paths_in_training(name: str) -> None:
    backbone = zoo.load(f"torchvision/{name}@random", catalog=CATALOG)
    top = backbone.stages()[-1].name
    pixels = torch.randn(2, 3, 64, 64)
    calm = run(backbone, pixels).tokens
    backbone.freeze_except([top]).train()
    if name == "efficientnet_b0":  # its top is a batch norm, which does differ in training
        backbone.stages()[-1].modules[0].eval()
    assert torch.equal(run(backbone, pixels).tokens, calm)


def test_unfreezing_everything_trains_batch_norm_again() -> None:
    backbone = zoo.load("torchvision/resnet18@random", catalog=CATALOG)
    names = [stage.name for stage in backbone.stages()]
    backbone.freeze_except(["layer4"]).train().freeze_except(names)
    assert all(module.training for module in backbone.modules())
    assert all(p.requires_grad for p in backbone.parameters())


def test_an_unknown_stage_is_refused_with_the_ones_there_are() -> None:
    backbone = zoo.load("torchvision/resnet18@random", catalog=CATALOG)
    with pytest.raises(zoo.UnknownNameError, match=r"layer5.*Did you mean(.|\n)*the stages are stem, layer1"):
        backbone.freeze_except(["layer5"])


# --- weights


def saved(tmp_path: Path, **changes: Tensor | None) -> str:
    state = upstream("squeezenet1_1").state_dict()
    for name, value in changes.items():
        key = name.replace("__", ".")
        state.pop(key)
        if value is not None:
            state[key] = value
    save_file(state, tmp_path / "model.safetensors")
    return f"torchvision/squeezenet1_1@{tmp_path / 'model.safetensors'}"


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file(upstream("mobilenet_v3_small").state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(zoo.WeightsError, match=r"do not fit(.|\n)*missing: features\.0\.weight"):
        zoo.load(f"torchvision/squeezenet1_1@{tmp_path / 'model.safetensors'}", catalog=CATALOG)


def test_weights_that_lack_a_tensor_are_refused(tmp_path: Path) -> None:
    with pytest.raises(zoo.WeightsError, match=r"1 of 50 tensors missing: features\.0\.weight"):
        zoo.load(saved(tmp_path, features__0__weight=None), catalog=CATALOG)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(zoo.WeightsError, match=r"not finite: features\.0\.bias"):
        zoo.load(saved(tmp_path, features__0__bias=torch.full((64,), float("nan"))), catalog=CATALOG)


def test_a_source_classifier_without_values_does_no_harm(tmp_path: Path) -> None:
    # VGG16's IMAGENET1K_FEATURES weights are such: their classifier holds no numbers.
    name = saved(tmp_path, classifier__1__bias=torch.full((1000,), float("nan")))
    assert run(zoo.load(name, catalog=CATALOG), torch.randn(1, 3, 64, 64)).pooled.isfinite().all()


def test_a_file_beside_a_tag_brings_the_tags_preprocessing(tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").write_bytes(b"")
    (plain,) = CATALOG.select(f"torchvision/vit_b_16@{tmp_path / 'mine.safetensors'}")
    (large,) = CATALOG.select(f"torchvision/vit_b_16.imagenet1k_swag_e2e_v1@{tmp_path / 'mine.safetensors'}")
    (again,) = CATALOG.select(large.name)
    sizes = [each.spec.preprocess_for(each.weights)["image"].size for each in (plain, large, again)]
    assert sizes == [(224, 224), (384, 384), (384, 384)]


def test_old_densenet_files_load(tmp_path: Path) -> None:
    state = upstream("densenet121").state_dict()
    old = {
        key.replace("norm1.", "norm.1.").replace("conv1.", "conv.1.").replace("norm2.", "norm.2.")
        if "denselayer" in key
        else key: value
        for key, value in state.items()
        if not key.endswith("num_batches_tracked")
    }
    torch.save(old, tmp_path / "densenet.pth")
    backbone = zoo.load(f"torchvision/densenet121@{tmp_path / 'densenet.pth'}", catalog=CATALOG)
    assert torch.equal(
        backbone.state_dict()["model.features.denseblock1.denselayer2.norm2.weight"],
        state["features.denseblock1.denselayer2.norm2.weight"],
    )


def test_random_weights_follow_the_seed_and_leave_the_callers_generator_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, again, other = (
        zoo.load("torchvision/squeezenet1_1@random", catalog=CATALOG, seed=seed).state_dict() for seed in (1, 1, 2)
    )
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["model.features.0.weight"], other["model.features.0.weight"])
