"""From a name to a backbone, and a finished run as the source of the next task."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
import zoo_starter
from PIL import Image
from torch import nn

import zoo
from zoo import Backbone, BackboneSpec, Catalog, Dataset, Examples, ImageRef, LoadRequest, Task, hookimpl
from zoo.models.fusion import Paired
from zoo.models.load import check_serves
from zoo.verbs.config import Output

STARTER = Catalog.of({"starter": zoo_starter})


def pixels(backbone: Backbone, count: int = 2) -> torch.Tensor:
    """(count, D) pooled features of seeded noise."""
    rng = np.random.default_rng(0)
    processor = backbone.processor("image")
    values = [processor(Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))) for _ in range(count)]
    with torch.no_grad():
        return backbone({"image": processor.finish(processor.collate(values))}).pooled


def pictures(seed: int = 0, rows: int = 24) -> Dataset:
    """Dark and bright squares, half of the rows held out."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % 2
    arrays = [rng.integers(120 * k, 120 + 120 * k, (16, 16, 3)).astype(np.uint8) for k in labels]
    examples = Examples(
        {"image": [ImageRef(f"row {i}", array=array) for i, array in enumerate(arrays)]},
        labels.astype(np.int64),
        tuple(f"{seed}-{i}" for i in range(rows)),
        tuple(f"row {i}" for i in range(rows)),
    )
    half = rows // 2
    splits = {"train": examples.select(range(half)), "test": examples.select(range(half, rows))}
    return Dataset("squares", Task("binary", ("dark", "bright")), splits, {"image": "image"}, fingerprint=str(seed))


def texts(pairs: bool) -> Dataset:
    labels = np.arange(24) % 2
    rows = [f"{'good fine' if k else 'bad awful'} thing {i}" for i, k in enumerate(labels)]
    values = [(row, row[::-1]) for row in rows] if pairs else rows
    examples = Examples({"text": values}, labels.astype(np.int64), tuple(rows), tuple(rows))
    splits = {"train": examples.select(range(12)), "test": examples.select(range(12, 24))}
    return Dataset("words", Task("binary", ("bad", "good")), splits, {"text": "text"}, fingerprint=f"words{pairs}")


# --- names, weights and seeds


def test_a_backbone_is_loaded_in_eval_mode_under_its_full_name() -> None:
    backbone = zoo.load("GLYPH-cnn", catalog=STARTER)
    assert backbone.name.startswith("starter/glyph-cnn")
    assert not any(module.training for module in backbone.modules())
    assert all(p.requires_grad for p in backbone.parameters())
    assert backbone.weights is not None


def test_weights_can_be_given_beside_the_name_or_in_it() -> None:
    beside = zoo.load("starter/glyph-cnn", weights="random", catalog=STARTER)
    inside = zoo.load("starter/glyph-cnn@random", catalog=STARTER)
    assert beside.weights is None
    assert torch.equal(pixels(beside), pixels(inside))
    assert not torch.equal(pixels(beside), pixels(zoo.load("starter/glyph-cnn", catalog=STARTER)))


def test_random_weights_follow_the_seed() -> None:
    first, again, other = (pixels(zoo.load("glyph-cnn@random", seed=seed, catalog=STARTER)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_loading_leaves_the_callers_random_state_alone() -> None:
    state = torch.get_rng_state()
    zoo.load("glyph-cnn@random", catalog=STARTER)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_unknown_name_offers_close_matches() -> None:
    with pytest.raises(zoo.UnknownNameError, match=r"No backbone is named 'glyf-cnn'.*Did you mean .*glyph-cnn"):
        zoo.load("glyf-cnn", catalog=STARTER)


def test_weights_that_do_not_exist_are_said() -> None:
    with pytest.raises(zoo.WeightsError, match="has no weights 'imagenet'"):
        zoo.load("starter/glyph-cnn@imagenet", catalog=STARTER)
    with pytest.raises(zoo.WeightsError, match=r"there are no weights at \./nowhere\.safetensors"):
        zoo.load("starter/glyph-cnn@./nowhere.safetensors", catalog=STARTER)


def test_data_without_the_modality_are_refused_with_the_option_that_names_it() -> None:
    backbone = zoo.load("starter/glyph-cnn", catalog=STARTER)
    with pytest.raises(zoo.UsageError, match=r"takes image, and the data have text(.|\n)*--image-col"):
        check_serves(backbone, ("text",))
    check_serves(backbone, ("image", "text"))


# --- factories that break the contract


def nothing(request: LoadRequest) -> object:
    return nn.Linear(1, 1)


def bare(request: LoadRequest) -> Backbone:
    backbone = zoo.wrap(nn.Flatten(), preprocess=zoo.ImagePreprocess(size=(4, 4)))
    del backbone.dim
    return backbone


def unmet(request: LoadRequest) -> Backbone:
    import no_such_package  # type: ignore[import-not-found]

    return no_such_package.build(request)


def offering(factory: str) -> Catalog:
    class Plugin:
        @hookimpl
        def zoo_backbones(self) -> Iterable[BackboneSpec]:
            return [BackboneSpec("mine", "net", factory, ("image",), "net")]

    return Catalog.of({"mine": Plugin()})


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (f"{__name__}:nothing", "the factory of mine/net .* gave a Linear, no Backbone"),
        (f"{__name__}:bare", "the backbone mine/net has no `dim`"),
        (f"{__name__}:unmet", "mine/net needs the package 'no_such_package', which is not installed"),
        (f"{__name__}:absent", "mine/net"),
        ("no_such_module:build", "mine/net"),
    ],
)
def test_a_factory_that_breaks_the_contract_is_named(factory: str, message: str) -> None:
    with pytest.raises(zoo.PluginError, match=message):
        zoo.load("mine/net", catalog=offering(factory))


# --- a finished run as a backbone


def tuned(backbone: str, data: Dataset, folder: Path, **options: object) -> zoo.verbs.run.Run:
    training = zoo.transfer.options.Training(epochs=1, batch_size=8, **options)
    return zoo.finetune(backbone, data, training=training, out=Output(dir=str(folder), name="first"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> zoo.verbs.run.Run:
    return tuned("starter/glyph-cnn", pictures(), tmp_path_factory.mktemp("runs"), strategy="full", lr=0.05)


def test_a_finished_run_is_a_backbone_with_the_weights_it_ended_with(run: zoo.verbs.run.Run) -> None:
    backbone = zoo.load(str(run.path))
    assert torch.equal(pixels(backbone), pixels(run.load().backbone))
    assert not torch.equal(pixels(backbone), pixels(zoo.load("starter/glyph-cnn")))
    assert backbone.weights is not None
    assert backbone.weights.tag == "run"
    backbone.check_stages()


def test_the_next_task_starts_from_the_run_and_outlives_it(run: zoo.verbs.run.Run, tmp_path: Path) -> None:
    source = shutil.copytree(run.path, tmp_path / "source")
    following = zoo.finetune(str(source), pictures(seed=1), strategy="linear-probe", out=Output(dir=str(tmp_path)))
    frozen = pixels(zoo.load(str(source)))
    shutil.rmtree(source)
    assert torch.equal(pixels(following.load().backbone), frozen)
    assert torch.equal(pixels(zoo.load(str(following.path))), frozen)


def test_the_baseline_of_a_run_compares_its_weights_with_random_ones(run: zoo.verbs.run.Run, tmp_path: Path) -> None:
    # Training moves the backbone, so the source is read again for the comparison.
    following = zoo.finetune(
        str(run.path), pictures(seed=1), strategy="full", epochs=1, out=Output(dir=str(tmp_path)), baseline="random"
    )
    assert following.baseline is not None
    assert following.baseline["probe"]["pretrained"] is not None


def test_other_weights_for_a_run_are_refused(run: zoo.verbs.run.Run) -> None:
    with pytest.raises(zoo.UsageError, match="brings its own weights"):
        zoo.load(f"{run.path}@random")


def test_a_run_over_pairs_is_a_backbone_for_single_texts(tmp_path: Path) -> None:
    run = tuned("starter/gru", texts(pairs=True), tmp_path, strategy="full")
    backbone = zoo.load(str(run.path))
    assert not isinstance(backbone, Paired)
    following = zoo.finetune(str(run.path), texts(pairs=False), strategy="linear-probe", out=Output(dir=str(tmp_path)))
    assert following.metrics["accuracy"] is not None


def test_a_fused_run_is_a_backbone_and_counts_as_pretrained(tmp_path: Path) -> None:
    run = tuned("starter/glyph-cnn+starter/pixels", pictures(), tmp_path, strategy="head")
    following = zoo.finetune(
        str(run.path), pictures(seed=1), strategy="full", epochs=1, out=Output(dir=str(tmp_path)), baseline="random"
    )
    assert following.baseline is not None


def test_a_wrapped_module_is_given_again_to_load_its_run(tmp_path: Path) -> None:
    def wrapped() -> Backbone:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return zoo.wrap(net, preprocess=zoo.ImagePreprocess(size=(16, 16)))

    backbone = wrapped()
    run = zoo.finetune(backbone, pictures(), strategy="full", epochs=1, out=Output(dir=str(tmp_path)))
    trained = run.load(backbone=wrapped())
    # Training leaves convolutions in another memory layout, which sums in another order.
    torch.testing.assert_close(pixels(trained.backbone), pixels(backbone), rtol=1e-5, atol=1e-6)
    with pytest.raises(zoo.WeightsError, match=r"wrapped from a module in Python(.|\n)*backbone=zoo\.wrap"):
        run.load()


def test_a_folder_that_holds_no_finished_model_is_said(tmp_path: Path) -> None:
    from zoo.transfer.trained import load_trained

    with pytest.raises(zoo.WeightsError, match="holds no finished model"):
        load_trained(tmp_path)
