"""Unified-IO 2 against outputs of the reference implementation, and what a folder of weights must hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import zoo_unified_io
from safetensors.torch import load_file, save_file
from tiny_unified_io import TINY, tiny_folder, tiny_state
from zoo_unified_io.encoder import UnifiedIO
from zoo_unified_io.listing import listed
from zoo_unified_io.loading import fill, sizes_of
from zoo_unified_io.sizes import PUBLISHED, stage_names

import zoo
from zoo import Catalog, UsageError, WeightsError

CATALOG = Catalog.of({"unified_io": zoo_unified_io})
HEADS = {"image_vit": {"num_heads": 2}, "audio_vit": {"num_heads": 2}}
PUBLISHED_COUNTS = {"uio2-large": (528, 308, 685), "uio2-xl": (1446, 1158, 685), "uio2-xxl": (3045, 2718, 681)}
"""Millions of parameters in front of the decoder and in the encoder alone, and tensors, of the reference models."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("uio2") / "model")


def load(folder: Path, tower: str = "", **options: Any) -> Any:
    return zoo.load(f"unified_io/{folder}{tower}", catalog=CATALOG, **options)


def given(recorded: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    mask = recorded[f"input/{name}/mask"].bool()
    if name == "text":
        return {"ids": recorded["input/text/tokens"].long(), "mask": mask}
    places = recorded[f"input/{name}/pos_ids"].long()
    return {"patches": recorded[f"input/{name}/input"], "mask": mask, "places": places}


@pytest.mark.shared
@pytest.mark.parametrize("variant", ["base", "cosine_resampler"])
def test_hidden_states_are_those_of_the_reference_padded_rows_included(variant: str, shared: Path) -> None:
    recorded = load_file(shared / "parity" / "unified_io_2" / f"{variant}.safetensors")
    state = {name.removeprefix("weight/"): each for name, each in recorded.items() if name.startswith("weight/")}
    sizes = sizes_of({name: tuple(each.shape) for name, each in state.items()}, HEADS)
    assert sizes.image_history.attention == ("cosine" if variant == "cosine_resampler" else "base")
    network = UnifiedIO(sizes).eval()
    fill(network, state, ("image", "text", "audio"))
    wanted = [name for name in recorded if name.startswith("output/") and name.endswith("/h")]
    assert len(wanted) == 6
    for name in wanted:
        inputs = name.split("/")[1].split("+")
        with torch.inference_mode():
            tokens, mask = network({each: given(recorded, each) for each in inputs})
        torch.testing.assert_close(tokens, recorded[name], atol=1e-5, rtol=0)
        assert torch.equal(mask, recorded[name.replace("/h", "/mask")].bool())


@pytest.mark.parametrize("spec", listed(), ids=lambda spec: spec.architecture)
def test_the_published_sizes_have_the_published_number_of_parameters(spec: zoo.BackboneSpec) -> None:
    with torch.device("meta"):
        network = UnifiedIO(PUBLISHED[spec.architecture])
    total = sum(each.numel() for each in network.parameters())
    alone = sum(each.numel() for each in network.encoder.parameters())
    assert total == spec.params
    found = (round(total / 1e6), round(alone / 1e6), len(network.state_dict()))
    assert found == PUBLISHED_COUNTS[spec.architecture]
    shapes = {name: tuple(each.shape) for name, each in network.state_dict().items()}
    assert sizes_of(shapes, {}) == PUBLISHED[spec.architecture]


@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "pickle"])
def test_a_folder_of_the_published_layout_is_recognised_and_loaded(pickled: bool, tmp_path: Path) -> None:
    backbone = load(tiny_folder(tmp_path / "model", pickled=pickled))
    state = tiny_state()
    assert all(torch.equal(each, state[name]) for name, each in backbone.network.state_dict().items())
    assert backbone.modalities == ("image", "text", "audio")
    assert backbone.dim == backbone.spec.dim == TINY.width
    assert not backbone.training


def test_weights_in_several_files_are_put_together(folder: Path, tmp_path: Path) -> None:
    parts = tiny_folder(tmp_path / "parts")
    (parts / "model.safetensors").unlink()
    items = list(tiny_state().items())
    for number, half in enumerate((items[::2], items[1::2]), start=1):
        save_file(dict(half), parts / f"model-0000{number}-of-00002.safetensors")
    one, other = load(folder).state_dict(), load(parts).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder.layers_1.mlp.wo.weight": None}, "1 of 185 tensors missing: encoder.layers_1.mlp.wo.weight"),
        ({"encoder.layers_0.mlp.bias": torch.ones(3)}, "not of this backbone: encoder.layers_0.mlp.bias"),
        ({"text_token_embedder.weight": None}, "no weights of Unified-IO 2: there is no tensor 'text_token_embedder"),
        ({"text_token_embedder.weight": torch.ones(3)}, "no weights of Unified-IO 2: a tensor has another number of"),
        ({"encoder.encoder_norm.scale": torch.full((32,), torch.nan)}, "not finite: encoder.encoder_norm.scale"),
    ],
    ids=["missing", "left over", "another model", "another shape", "not finite"],
)
def test_weights_that_do_not_fit_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model", tokenizer=False)
    state = {name: each for name, each in {**tiny_state(), **change}.items() if each is not None}
    save_file(state, folder / "model.safetensors")
    with pytest.raises(WeightsError) as caught:
        load(folder)
    assert message in str(caught.value)


def test_a_file_of_weights_may_stand_behind_a_listed_name(folder: Path) -> None:
    for path in (folder, folder / "model.safetensors"):
        backbone = zoo.load(f"unified_io/uio2-large@{path}", catalog=CATALOG, towers=("text",))
        assert (backbone.dim, len(backbone.stages())) == (32, 3)


def test_a_config_that_cannot_be_is_refused(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model", tokenizer=False)
    (folder / "config.json").write_text('{"t5_config": {}, "image_vit_cfg": {"num_heads": 5}}')
    with pytest.raises(WeightsError, match="5 heads cannot share the 32 numbers of the image ViT"):
        load(folder)


def test_other_folders_are_left_to_other_plugins(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert zoo_unified_io.zoo_resolve(str(tmp_path)) is None
    assert zoo_unified_io.zoo_resolve("google-bert/bert-base-uncased") is None
    found = zoo_unified_io.zoo_resolve("allenai/uio2-xl")
    assert found is not None
    assert found.name == "unified_io/uio2-xl"


def test_stages_hold_every_parameter_in_the_order_in_which_they_are_named(folder: Path) -> None:
    for towers in (("image", "text", "audio"), ("text",), ("image", "audio")):
        backbone = load(folder, towers=towers)
        backbone.check_stages()
        names = tuple(stage.name for stage in backbone.stages())
        assert names == backbone.spec.stages == stage_names(TINY, towers)
    assert listed()[0].stages == stage_names(PUBLISHED["uio2-large"])


def test_nothing_is_built_for_modalities_that_are_not_asked_for(folder: Path) -> None:
    whole, texts = load(folder), load(folder, ":text")
    assert texts.modalities == ("text",)
    assert not any("image" in name or "audio" in name for name in texts.state_dict())
    ids = {"ids": torch.tensor([[7, 9, 1]]), "mask": torch.ones(1, 3, dtype=torch.bool)}
    with torch.inference_mode():
        assert torch.equal(texts({"text": ids}).pooled, whole({"text": ids}).pooled)
    with pytest.raises(UsageError, match="serves text, and got image"):
        texts({"image": {}})
    with pytest.raises(UsageError, match="serves text, not audio"):
        texts.processor("audio")


def test_random_weights_of_a_folder_are_those_of_its_architecture(folder: Path) -> None:
    trained, random = load(folder), load(folder, weights="random")
    shapes = [{name: each.shape for name, each in b.state_dict().items()} for b in (trained, random)]
    assert shapes[0] == shapes[1]
    assert not torch.equal(trained.network.text_token_embedder.weight, random.network.text_token_embedder.weight)
    assert random.weights is None


def places(count: int, real: int) -> torch.Tensor:
    return torch.arange(count) < real


def test_neither_padding_nor_the_history_of_other_rows_changes_a_row(folder: Path) -> None:
    backbone, generator = load(folder), torch.Generator().manual_seed(0)
    patches = torch.randn(2, 576, 768, generator=generator)
    history = torch.randn(2, 1, 256, 768, generator=generator)
    seen = torch.stack([places(576, 576), places(576, 300)])
    heard = torch.stack([places(256, 256), places(256, 0)])[:, None]
    ids = torch.tensor([[5, 6, 7, 8, 1], [9, 1, 0, 0, 0]])
    read = torch.stack([places(5, 5), places(5, 2)])
    both = {"patches": patches, "mask": seen, "history": history, "history_mask": heard}
    alone = {"patches": patches[1:].clone(), "mask": seen[1:]}
    alone["patches"][:, 300:] = 7.0  # whatever stands there
    with torch.inference_mode():
        batch = backbone({"image": both, "text": {"ids": ids, "mask": read}})
        single = backbone({"image": alone, "text": {"ids": ids[1:, :2], "mask": read[1:, :2]}})
        unseen = backbone({"image": {**both, "history": history + 1}, "text": {"ids": ids, "mask": read}})
    assert batch.mask is not None
    assert single.mask is not None
    # Sums of another length: rounding alone.
    torch.testing.assert_close(batch.pooled[1:], single.pooled, atol=2e-6, rtol=0)
    torch.testing.assert_close(batch.tokens[1][batch.mask[1]], single.tokens[0][single.mask[0]], atol=5e-6, rtol=0)
    assert float((unseen.pooled[0] - batch.pooled[0]).abs().max()) > 1e-3


def test_tokens_pool_in_every_way_and_images_alone_have_a_grid(folder: Path) -> None:
    backbone = load(folder, ":image")
    patches = torch.randn(1, 576, 768, generator=torch.Generator().manual_seed(0))
    batch: Any = {"image": {"patches": patches, "mask": places(576, 400)[None]}}
    with torch.inference_mode():
        native = backbone(batch)
        assert native.grid == (24, 24)
        assert native.map().shape == (1, 32, 24, 24)
        torch.testing.assert_close(native.pooled, native.tokens[:, :400].mean(1))
        for how, expected in {"cls": native.tokens[:, 0], "last": native.tokens[:, 399]}.items():
            backbone.pooling = how
            assert torch.equal(backbone(batch).pooled, expected)


def test_bfloat16_gives_the_same_features_roughly(folder: Path) -> None:
    backbone = load(folder, towers=("image", "text"))
    patches = torch.randn(2, 576, 768, generator=torch.Generator().manual_seed(0))
    mask = torch.stack([places(576, 576), places(576, 100)])
    text = {"ids": torch.tensor([[5, 6, 1], [9, 1, 0]]), "mask": torch.stack([places(3, 3), places(3, 2)])}
    batch: Any = {"image": {"patches": patches, "mask": mask}, "text": text}
    with torch.inference_mode():
        exact = backbone(batch).pooled
        with torch.autocast("cpu", torch.bfloat16):
            rough = backbone(batch).pooled.float()
    # Eight bits of mantissa over a few layers.
    torch.testing.assert_close(rough, exact, atol=0.03, rtol=0)


def test_every_parameter_learns_where_there_is_a_history(folder: Path) -> None:
    backbone = load(folder).train()
    frames = {"history": torch.randn(2, 2, 128, 256), "history_mask": torch.ones(2, 2, 128, dtype=torch.bool)}
    audio = {"patches": torch.randn(2, 128, 256), "mask": torch.ones(2, 128, dtype=torch.bool), **frames}
    image = {"patches": torch.randn(2, 9, 768), "mask": torch.ones(2, 9, dtype=torch.bool)}
    image |= {"history": torch.randn(2, 1, 9, 768), "history_mask": torch.ones(2, 1, 9, dtype=torch.bool)}
    text = {"ids": torch.tensor([[3, 1], [4, 1]]), "mask": torch.ones(2, 2, dtype=torch.bool)}
    backbone({"image": image, "text": text, "audio": audio}).pooled.square().sum().backward()
    assert [name for name, each in backbone.named_parameters() if each.grad is None or not each.grad.any()] == []
