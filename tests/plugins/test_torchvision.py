"""`zoo_torchvision` against torchvision's own forward pass, transforms and claims."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
import zoo_torchvision
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from zoo_torchvision.build import construct, make
from zoo_torchvision.generate import describe
from zoo_torchvision.listing import read

import zoo
from zoo import Backbone, Catalog, Features, ImagePreprocess, LoadRequest

CATALOG = Catalog.of({"torchvision": zoo_torchvision})
ROWS = read()["architectures"]
CLOSE = 1e-5
"""Relative to the largest value: the same float32 operations, but a mean may be summed in another order."""


@dataclass(frozen=True)
class Case:
    """Where torchvision's own forward pass shows what zoo returns."""

    name: str
    size: int
    tokens: str
    """The output of this module is the last map or the tokens."""
    before: str | None
    """The input of this module is the pooled vector; None: torchvision has none, and it is the mean of the map."""


CASES = [
    Case("alexnet", 96, "features", None),
    Case("vgg11", 64, "features", None),
    Case("vgg11_bn", 64, "features", None),
    Case("resnet18", 64, "layer4", "fc"),
    Case("resnet50", 64, "layer4", "fc"),
    Case("resnext50_32x4d", 64, "layer4", "fc"),
    Case("wide_resnet50_2", 64, "layer4", "fc"),
    Case("inception_v3", 299, "Mixed_7c", "fc"),
    Case("googlenet", 64, "inception5b", "fc"),
    Case("mobilenet_v2", 64, "features", "classifier"),
    Case("mobilenet_v3_small", 64, "features", "classifier"),
    Case("squeezenet1_0", 64, "features", None),
    Case("squeezenet1_1", 64, "features", None),
    Case("densenet121", 64, "features", "classifier"),
    Case("efficientnet_b0", 64, "features", "classifier"),
    Case("efficientnet_v2_s", 64, "features", "classifier"),
    Case("convnext_tiny", 64, "features", "classifier.2"),
    Case("regnet_x_400mf", 64, "trunk_output", "fc"),
    Case("regnet_y_400mf", 64, "trunk_output", "fc"),
    Case("shufflenet_v2_x0_5", 64, "conv5", "fc"),
    Case("mnasnet0_5", 64, "layers", "classifier"),
    Case("vit_b_32", 224, "encoder", "heads"),
    Case("swin_t", 64, "norm", "head"),
    Case("swin_v2_t", 64, "norm", "head"),
    Case("maxvit_t", 224, "blocks.3", "classifier.5"),
]
FAMILIES = {ROWS[case.name]["family"]: case for case in reversed(CASES)}


def upstream(name: str, size: int = 64) -> nn.Module:
    """torchvision's own network as its weights enums build it, with seeded weights and lively statistics."""
    options = {}
    if name in ("inception_v3", "googlenet"):
        options = {"transform_input": True, "aux_logits": True, "init_weights": False}
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, **options)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    if norms:
        # With means of 0 and variances of 1 the signal dies out on the way, and any two features would agree.
        for norm in norms:
            norm.momentum = 1.0
        with torch.no_grad():
            model.train()(torch.randn(4, 3, size, size))
        for norm in norms:
            norm.running_mean += 0.1 * torch.randn_like(norm.running_mean)
    return model.eval()


@contextmanager
def seen(model: nn.Module, case: Case) -> Iterator[dict[str, Tensor]]:
    found: dict[str, Tensor] = {}

    def output(_: nn.Module, __: Any, out: Tensor) -> None:
        found["tokens"] = out

    def first_input(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found["pooled"] = inputs[0]

    handles = [model.get_submodule(case.tokens).register_forward_hook(output)]
    if case.before is not None:
        handles.append(model.get_submodule(case.before).register_forward_pre_hook(first_input))
    yield found
    for handle in handles:
        handle.remove()


def reference(model: nn.Module, case: Case, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Pooled (B, D) and tokens (B, T, D') out of torchvision's own forward pass."""
    with torch.no_grad(), seen(model, case) as found:
        model(pixels)
    tokens = found["tokens"]
    if case.name.startswith("vit"):
        return found["pooled"], tokens[:, 1:]  # the class token is no patch
    if case.name.startswith("swin"):
        return found["pooled"], tokens.flatten(1, 2)
    return found["pooled"].flatten(1) if case.before else tokens.mean((2, 3)), tokens.flatten(2).transpose(1, 2)


def pixels_for(case: Case, count: int = 2) -> Tensor:
    return torch.randn(count, 3, case.size, case.size, generator=torch.Generator().manual_seed(1))


def run(backbone: Backbone, pixels: Tensor) -> Features:
    with torch.no_grad():
        return backbone({"image": {"pixels": pixels}})


def blank(name: str, size: int | None = None) -> Backbone:
    """The backbone without memory for its weights."""
    spec = CATALOG.backbones[f"torchvision/{name}"]
    with torch.device("meta"):
        return make(construct(name, size or spec.image_size or 224), LoadRequest(spec, None, ("image",)))


def close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs, rtol=CLOSE, atol=CLOSE * float(theirs.abs().max()))


# --- the same features as torchvision


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_features_are_those_of_torchvisions_own_forward(case: Case, tmp_path: Path) -> None:
    model = upstream(case.name, case.size)
    file = tmp_path / "model.safetensors"
    save_file(model.state_dict(), file)  # as published: with the classifier and the auxiliary heads
    pixels = pixels_for(case)
    pooled, tokens = reference(model, case, pixels)
    del model
    backbone = zoo.load(f"torchvision/{case.name}@{file}", catalog=CATALOG)
    file.unlink()
    features = run(backbone, pixels)
    close(features.pooled, pooled)
    close(features.tokens, tokens)
    assert features.pooled.shape == (2, backbone.dim)
    assert features.grid is not None
    assert features.grid[0] * features.grid[1] == features.tokens.shape[1]
    # Not two constants that happen to be the same one.
    assert (pooled[0] - pooled[1]).abs().max() > 100 * CLOSE * pooled.abs().max()


@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
def test_pixels_reach_inception_scaled_as_its_weights_expect(name: str) -> None:
    backbone = zoo.load(f"torchvision/{name}@random", catalog=CATALOG)
    model = torchvision.models.get_model(name, weights=None, transform_input=True, init_weights=False)
    first = backbone.stages()[0]
    seen_by: list[Tensor] = []
    first.modules[1].register_forward_pre_hook(lambda _, inputs: seen_by.append(inputs[0]))
    pixels = torch.randn(1, 3, 128, 128)
    run(backbone, pixels)
    torch.testing.assert_close(seen_by[0], model._transform_input(pixels), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
def test_training_inception_gives_features_and_no_auxiliary_logits(name: str) -> None:
    backbone = zoo.load(f"torchvision/{name}@random", catalog=CATALOG).train()
    features = backbone({"image": {"pixels": torch.randn(2, 3, 128, 128)}})
    assert features.pooled.shape == (2, backbone.dim)
    assert not [name for name, _ in backbone.named_parameters() if "aux" in name.lower()]


def test_spatial_maps_lie_as_torchvisions_do() -> None:
    case = next(case for case in CASES if case.name == "resnet18")
    model = upstream("resnet18")
    pixels = torch.randn(1, 3, 64, 160)
    with torch.no_grad(), seen(model, case) as found:
        model(pixels)
    backbone = make(model, LoadRequest(CATALOG.backbones["torchvision/resnet18"], None, ("image",))).eval()
    features = run(backbone, pixels)
    assert features.grid == (2, 5)
    assert torch.equal(features.map(), found["tokens"])


@pytest.mark.parametrize("how", ["mean", "max"])
def test_another_pooling_summarises_the_map(how: str) -> None:
    backbone = zoo.load("torchvision/resnet18@random", catalog=CATALOG)
    backbone.pooling = how
    features = run(backbone, torch.randn(2, 3, 64, 64))
    assert torch.allclose(features.pooled, zoo.pool(features.tokens, None, how), rtol=1e-5)


def test_a_batch_of_one_equals_a_batch_of_eight() -> None:
    backbone = zoo.load("torchvision/mobilenet_v3_small@random", catalog=CATALOG)
    pixels = torch.randn(8, 3, 64, 64)
    close(run(backbone, pixels).pooled, torch.cat([run(backbone, row[None]).pooled for row in pixels]))


def test_real_weights_tell_ants_from_bees_as_published(shared: Path) -> None:
    # The two logits of ImageNet's ant and bee, compared, are right on 0.941 of the 153 photos.
    file = shared / "weights" / "squeezenet1_1-imagenet" / "model.safetensors"
    backbone = zoo.load(f"torchvision/squeezenet1_1@{file}", catalog=CATALOG)
    model = torchvision.models.squeezenet1_1()
    model.load_state_dict(load_file(file))
    model.eval()
    processor, right, worst = backbone.processor("image"), [], 0.0
    transforms = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.transforms()
    photos = [(path, k) for k, kind in enumerate(("ants", "bees")) for path in sorted(photos_of(shared, kind))]
    for start in range(0, len(photos), 32):
        some = photos[start : start + 32]
        images = [Image.open(path).convert("RGB") for path, _ in some]
        features = run(backbone, processor.finish(processor.collate([processor(each) for each in images]))["pixels"])
        with torch.no_grad():
            logits = model.classifier(features.map()).flatten(1)[:, [310, 309]]  # ant, bee
            if start == 0:
                theirs = model(torch.stack([transforms(each) for each in images]))[:, [310, 309]]
                worst = float((logits - theirs).abs().max())
        right += (logits.argmax(1) == torch.tensor([k for _, k in some])).tolist()
    assert worst < 1e-4  # logits of up to 20: 5e-6 of them
    assert np.mean(right) == pytest.approx(0.941, abs=0.004)


def photos_of(shared: Path, kind: str) -> list[Path]:
    return sorted((shared / "data" / "hymenoptera" / "val" / kind).iterdir())


# --- the same pixels as torchvision


PREPROCESS = {
    preprocess: (spec.architecture, weights.tag)
    for spec in CATALOG.backbones.values()
    for weights in spec.weights
    for preprocess in weights.preprocess.values()
    if isinstance(preprocess, ImagePreprocess)
}


@pytest.mark.parametrize("preprocess", PREPROCESS, ids=lambda each: ".".join(PREPROCESS[each]))
def test_pixels_are_those_of_torchvisions_transforms(preprocess: ImagePreprocess, shared: Path) -> None:
    architecture, tag = PREPROCESS[preprocess]
    transforms = torchvision.models.get_model_weights(architecture)[tag.upper()].transforms()
    processor = zoo.ImageProcessor(preprocess)
    photos = [*photos_of(shared, "ants")[:2], *photos_of(shared, "bees")[:2]]
    for path in photos:
        image = Image.open(path).convert("RGB")
        ours = processor.finish(processor.collate([processor(image)]))["pixels"][0]
        theirs = transforms(image)
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (301, 7), (256, 256), (224, 224), (225, 500)])
def test_odd_sizes_are_resized_as_torchvision_does(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    processor = zoo.load("torchvision/squeezenet1_1@random", catalog=CATALOG).processor("image")
    ours = processor.finish(processor.collate([processor(image)]))["pixels"][0]
    theirs = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.transforms()(image)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_each_set_of_weights_brings_its_own_preprocessing() -> None:
    spec = CATALOG.backbones["torchvision/vgg16"]
    by_tag = {weights.tag: weights.preprocess["image"] for weights in spec.weights}
    assert by_tag["imagenet1k_features"].std == pytest.approx((1 / 255,) * 3)
    assert by_tag["imagenet1k_v1"].std == zoo.IMAGENET_STD
    (choice,) = CATALOG.select("torchvision/resnet50.imagenet1k_v2")
    assert choice.spec.preprocess_for(choice.weights)["image"].resize == 232


# --- the specifications


def test_every_classification_network_of_torchvision_is_listed() -> None:
    names = torchvision.models.list_models(module=torchvision.models)
    assert set(ROWS) == set(names)
    for name in names:
        listed = [row["tag"] for row in ROWS[name]["weights"]]
        enum = torchvision.models.get_model_weights(name)
        assert set(listed) == {each.name.lower() for each in enum}, name
        assert listed[0] == enum.DEFAULT.name.lower(), name
        assert {row["url"] for row in ROWS[name]["weights"]} == {each.url for each in enum}, name


@pytest.mark.parametrize("case", FAMILIES.values(), ids=lambda case: case.name)
def test_the_data_file_says_what_the_network_is(case: Case) -> None:
    assert describe(case.name) == ROWS[case.name]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_listed_parameters_are_torchvisions_without_its_heads(case: Case) -> None:
    accelerate = pytest.importorskip("accelerate")
    options = {"init_weights": False} if case.name in ("inception_v3", "googlenet") else {}
    with accelerate.init_empty_weights():
        model = torchvision.models.get_model(case.name, weights=None, **options)
    spec = CATALOG.backbones[f"torchvision/{case.name}"]
    head = {"convnext": "classifier.2", "maxvit": "classifier.5"}.get(spec.family) or next(
        name for name in ("classifier", "fc", "head", "heads") if hasattr(model, name)
    )
    left_out = (head, "aux1", "aux2", "AuxLogits")
    assert spec.params == sum(p.numel() for n, p in model.named_parameters() if not n.startswith(left_out))


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
