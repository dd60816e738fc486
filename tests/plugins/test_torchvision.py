"""`zoo_torchvision` against torchvision's own forward pass, transforms and claims."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from pixels import same_pixels
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision.transforms import v2
from torchvision_cases import (
    CASES,
    CATALOG,
    CLOSE,
    FAMILIES,
    ROWS,
    Case,
    close,
    pixels_for,
    reference,
    run,
    seen,
    upstream,
)
from zoo_torchvision.build import make
from zoo_torchvision.generate import describe

import zoo
from zoo import ImagePreprocess, LoadRequest

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
    scaled, normalised = v2.ToDtype(torch.float32, scale=True), v2.Normalize(zoo.IMAGENET_MEAN, zoo.IMAGENET_STD)
    transforms = v2.Compose([v2.Resize(256), v2.CenterCrop(224), scaled, normalised])
    photos = [(path, k) for k, kind in enumerate(("ants", "bees")) for path in sorted(photos_of(shared, kind))]
    for start in range(0, len(photos), 32):
        some = photos[start : start + 32]
        images = [Image.open(path).convert("RGB") for path, _ in some]
        features = run(backbone, processor.finish(processor.collate([processor(each) for each in images]))["pixels"])
        with torch.no_grad():
            logits = model.classifier(features.map()).flatten(1)[:, [310, 309]]  # ant, bee
            if start == 0:
                theirs = model(torch.stack([transforms(v2.functional.pil_to_tensor(each)) for each in images]))
                worst = float((logits - theirs[:, [310, 309]]).abs().max())
        right += (logits.argmax(1) == torch.tensor([k for _, k in some])).tolist()
    assert worst < 1e-4  # logits of up to 20: 5e-6 of them
    assert np.mean(right) == pytest.approx(0.941, abs=0.007)  # one photo is on the edge


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
        same_pixels(ours, transforms(image), preprocess.std)


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (301, 7), (256, 256), (224, 224), (225, 500)])
def test_odd_sizes_are_resized_as_torchvision_does(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    processor = zoo.load("torchvision/squeezenet1_1@random", catalog=CATALOG).processor("image")
    ours = processor.finish(processor.collate([processor(image)]))["pixels"][0]
    theirs = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.transforms()(image)
    same_pixels(ours, theirs, zoo.IMAGENET_STD)


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
