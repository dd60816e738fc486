"""Weights into `zoo_open_clip`: files, folders, the hub and its cache; and what is said of bad ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import zoo_open_clip
from open_clip.transformer import QuickGELU
from safetensors.torch import load_file, save_file
from tiny_open_clip import SENTENCES, TINY, encode, tiny_model, weights_in, write_folder
from zoo_open_clip.backbone import build
from zoo_open_clip.config import ModelConfig
from zoo_open_clip.loading import config_of

import zoo
from zoo import Backbone, Catalog, LoadRequest

CATALOG = Catalog.of({"open_clip": zoo_open_clip})


def load(name: str, **options: Any) -> Backbone:
    return zoo.load(f"open_clip/{name}", catalog=CATALOG, **options)


def tensors(backbone: Backbone) -> dict[str, torch.Tensor]:
    return dict(backbone.state_dict())


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# --- files


def test_a_file_for_a_listed_architecture(tmp_path: Path) -> None:
    """In half precision, as many are published."""
    model = open_clip.create_model("ViT-S-16-alt")
    halves = {name: tensor.half() for name, tensor in model.state_dict().items()}
    save_file(halves, tmp_path / "weights.safetensors")
    backbone = load(f"ViT-S-16-alt:image@{tmp_path / 'weights.safetensors'}")
    model.load_state_dict(halves)
    pixels = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        found = backbone({"image": {"pixels": pixels}}).pooled
    torch.testing.assert_close(found, encode(model.eval(), pixels=pixels), rtol=0, atol=1e-5)
    assert backbone.name == f"open_clip/ViT-S-16-alt:image@{tmp_path / 'weights.safetensors'}"


@pytest.mark.parametrize("wrap", ["plain", "training checkpoint", "data parallel"])
def test_pickles_of_every_kind_load(wrap: str, tmp_path: Path) -> None:
    write_folder(tmp_path, "clip")
    expected = tensors(load(f"local-dir:{tmp_path}"))
    state: Any = load_file(weights_in(tmp_path))
    if wrap != "plain":
        state = {f"module.{name}": tensor for name, tensor in state.items()} if wrap == "data parallel" else state
        state = {"epoch": 3, "state_dict": state}
    torch.save(state, tmp_path / "other.pt")
    assert same(tensors(load(f"local-dir:{tmp_path}@{tmp_path / 'other.pt'}")), expected)


@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "pytorch_model.bin", "model.safetensors"])
def test_a_folder_with_another_of_open_clips_files(name: str, tmp_path: Path) -> None:
    write_folder(tmp_path, "clip")
    expected = tensors(load(f"local-dir:{tmp_path}"))
    state = load_file(weights_in(tmp_path))
    weights_in(tmp_path).unlink()
    save_file(state, tmp_path / name) if name.endswith("safetensors") else torch.save(state, tmp_path / name)
    assert same(tensors(load(f"local-dir:{tmp_path}")), expected)


def test_text_towers_may_lie_bare_or_under_their_name(tmp_path: Path) -> None:
    write_folder(tmp_path, "clip")
    state = load_file(weights_in(tmp_path))
    assert "token_embedding.weight" in state
    expected = tensors(load(f"local-dir:{tmp_path}"))
    towers = ("text_projection", "positional_embedding", "token_embedding", "transformer", "ln_final")
    save_file({f"text.{k}" if k.startswith(towers) else k: v for k, v in state.items()}, weights_in(tmp_path))
    assert same(tensors(load(f"local-dir:{tmp_path}")), expected)


@pytest.mark.parametrize("change", [{"image_size": 48}, {"context_length": 20}], ids=["image size", "context length"])
def test_positions_of_another_size_are_fitted_as_open_clip_fits_them(change: dict[str, int], tmp_path: Path) -> None:
    write_folder(tmp_path, "clip")
    config = json.loads((tmp_path / "open_clip_config.json").read_text())
    for part in ("vision_cfg", "text_cfg"):
        config["model_cfg"][part] |= {key: value for key, value in change.items() if key in TINY["clip"][part]}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    model = open_clip.create_model(f"local-dir:{tmp_path}")
    backbone: Any = load(f"local-dir:{tmp_path}")
    torch.testing.assert_close(backbone.visual.positional_embedding, model.visual.positional_embedding)
    torch.testing.assert_close(backbone.text.positional_embedding, model.positional_embedding)


def test_a_plain_path_to_a_folder_will_do(tmp_path: Path) -> None:
    write_folder(tmp_path / "odd+name@home", "clip")
    folder = tmp_path / "odd+name@home"
    expected = tensors(load(f"local-dir:{folder}"))
    assert same(tensors(load(str(folder))), expected)
    assert same(tensors(zoo.load(str(folder), catalog=CATALOG)), expected)
    assert load(f"{folder}:image").modalities == ("image",)
    assert load(f"{folder}:text@random").weights is None
    assert same(tensors(load(f"{folder}@{weights_in(folder)}")), expected)


def test_a_full_name_loads_the_same_again(tmp_path: Path) -> None:
    write_folder(tmp_path, "clip")
    first = load(f"{tmp_path}:text")
    assert first.name == f"open_clip/local-dir:{tmp_path}:text"
    assert same(tensors(zoo.load(first.name, catalog=CATALOG)), tensors(first))


# --- random weights and activations


def test_random_weights_come_from_the_seed(tmp_path: Path) -> None:
    write_folder(tmp_path, "clip")
    first, again, other = (tensors(load(f"local-dir:{tmp_path}@random", seed=seed)) for seed in (1, 1, 2))
    assert same(first, again)
    assert not same(first, other)


def test_a_folder_without_weights_is_random_and_says_so(tmp_path: Path) -> None:
    write_folder(tmp_path, "clip")
    weights_in(tmp_path).unlink()
    selection = CATALOG.select(f"open_clip/local-dir:{tmp_path}")[0]
    assert "no pretrained weights" in selection.notes[0]


@pytest.mark.parametrize(
    ("name", "quick"),
    [
        ("ViT-B-32.openai", True),
        ("ViT-B-32.laion2b_s34b_b79k", False),
        ("ViT-B-32-quickgelu.openai", True),
        ("ViT-B-32.metaclip_400m", True),
        ("ViT-B-32@random", False),
        ("ViT-B-32-quickgelu@random", True),
    ],
)
def test_the_tag_decides_the_activation(name: str, quick: bool) -> None:
    """open_clip itself warns of a mismatch, and asks for `force_quick_gelu`."""
    selection = CATALOG.select(f"open_clip/{name}")[0]
    config = config_of(LoadRequest(selection.spec, selection.weights, selection.towers))
    with torch.device("meta"):
        backbone: Any = build(LoadRequest(with_config(selection.spec, config), None, ("image", "text")))
    for tower in (backbone.visual, backbone.text):
        assert isinstance(tower.transformer.resblocks[0].mlp.gelu, QuickGELU) == quick


def with_config(spec: Any, config: ModelConfig) -> Any:
    """The architecture that has this configuration by itself."""
    import dataclasses

    quick = bool(config.model.get("quick_gelu"))
    plain = spec.architecture.removesuffix("-quickgelu")
    return dataclasses.replace(spec, architecture=f"{plain}-quickgelu" if quick else plain)


def test_a_file_takes_the_activation_of_the_architecture(tmp_path: Path) -> None:
    """As in open_clip, since a file does not tell; even where the default tag would."""
    (tmp_path / "some.pt").write_bytes(b"x")
    for name, quick in (("ViT-B-32", False), ("ViT-B-32-quickgelu", True)):
        selection = CATALOG.select(f"open_clip/{name}@{tmp_path / 'some.pt'}")[0]
        config = config_of(LoadRequest(selection.spec, selection.weights, selection.towers))
        assert bool(config.model.get("quick_gelu")) == quick


# --- what cannot be loaded


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, "clip")
    weights_in(tmp_path).write_bytes(weights_in(tmp_path).read_bytes()[:5000])
    with pytest.raises(zoo.WeightsError, match=r"open_clip_model\.safetensors is damaged"):
        load(f"local-dir:{tmp_path}")


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "vit", "clip")
    write_folder(tmp_path / "resnet", "clip with a resnet")
    with pytest.raises(zoo.WeightsError, match="do not fit") as caught:
        load(f"local-dir:{tmp_path / 'vit'}@{weights_in(tmp_path / 'resnet')}")
    assert any("visual.class_embedding" in line for line in caught.value.details)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, "clip")
    state = load_file(weights_in(tmp_path))
    state["ln_final.weight"][3] = float("nan")
    save_file(state, weights_in(tmp_path))
    with pytest.raises(zoo.WeightsError, match="do not fit") as caught:
        load(f"local-dir:{tmp_path}")
    assert any("not finite: text.ln_final.weight" in line for line in caught.value.details)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, "clip")
    torch.save({"state_dict": {"x": Path("evil")}}, tmp_path / "evil.pt")
    with pytest.raises(zoo.WeightsError, match="only plain tensors are read from pickles"):
        load(f"local-dir:{tmp_path}@{tmp_path / 'evil.pt'}")


@pytest.mark.parametrize("text", ["{", "[]", '{"model_cfg": {"embed_dim": 3}}'])
def test_a_damaged_configuration_is_named(text: str, tmp_path: Path) -> None:
    write_folder(tmp_path, "clip")
    (tmp_path / "open_clip_config.json").write_text(text)
    with pytest.raises(zoo.WeightsError, match=r"open_clip_config\.json (cannot be read|has no model_cfg)"):
        load(f"local-dir:{tmp_path}")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(zoo.WeightsError, match=r"nowhere/open_clip_config\.json cannot be read"):
        load(f"local-dir:{tmp_path / 'nowhere'}")


def test_a_configuration_from_the_future_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, "clip")
    config = json.loads((tmp_path / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["wings"] = 2
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(zoo.UsageError, match=r"cannot build this configuration.*wings"):
        load(f"local-dir:{tmp_path}")
    assert load(f"local-dir:{tmp_path}:text").modalities == ("text",)


def test_a_timm_network_that_is_not_installed_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, "clip on a timm network")
    config = json.loads((tmp_path / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["timm_model_name"] = "hf-hub:someone/something"
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(zoo.UsageError, match="has no model 'hf-hub:someone/something'"):
        load(f"local-dir:{tmp_path}")


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    """Its ids lie beyond the embedding table, which on a GPU would be a crash without words."""
    write_folder(tmp_path, "metaclip worldwide")
    backbone = load(f"local-dir:{tmp_path}:text")
    processor: Any = backbone.processor("text")
    processor.rows = 10
    with pytest.raises(zoo.WeightsError, match="embeddings for 10 tokens"):
        processor(SENTENCES[0])


# --- the hub


def test_weights_that_are_not_cached_say_how_to_fetch_them() -> None:
    with pytest.raises(zoo.WeightsError, match=r"laion/CLIP-ViT-B-32-laion2B-s34B-b79K is not cached: zoo is offline"):
        load("ViT-B-32.laion2b_s34b_b79k", offline=True)


def test_a_tokenizer_that_is_not_cached_is_asked_for_by_name() -> None:
    with pytest.raises(zoo.WeightsError, match="bert-base-uncased is not cached"):
        load("ViT-L-14-CLIPA:text@random", offline=True)
    with torch.device("meta"):
        selection = CATALOG.select("open_clip/ViT-L-14-CLIPA:image@random")[0]
        assert build(LoadRequest(selection.spec, None, ("image",), offline=True)).modalities == ("image",)


def test_a_cached_hub_repository_loads_offline(tmp_path: Path) -> None:
    """By open_clip's own prefix, in the layout of the hub's own cache; each tower with the repository's tokenizer."""
    states = {}
    for name, file in (("safe", "open_clip_model.safetensors"), ("pickled", "open_clip_pytorch_model.bin")):
        repo = tmp_path / "hub" / f"models--someone--{name}"
        snapshot = repo / "snapshots" / "0123abcd"
        write_folder(snapshot, "clip", preprocess={"mean": [0.5, 0.5, 0.5]})
        (repo / "refs").mkdir()
        (repo / "refs" / "main").write_text("0123abcd")
        states[name] = load_file(weights_in(snapshot))
        if file.endswith(".bin"):
            weights_in(snapshot).unlink()
            torch.save(states[name], snapshot / file)
    code = (
        "import zoo, torch\n"
        "for name in ('safe', 'pickled'):\n"
        "    backbone = zoo.load(f'open_clip/hf-hub:someone/{name}', offline=True)\n"
        f"    torch.save(backbone.state_dict(), {str(tmp_path)!r} + f'/{{name}}.pt')\n"
        "    print(backbone.name, backbone.dim, backbone.processor('image').preprocess.mean[0])\n"
    )
    environ = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub")}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60)
    said = [f"open_clip/hf-hub:someone/{name} 48 0.5" for name in states]
    assert done.stdout.splitlines() == said, done.stderr
    for name, state in states.items():
        found = torch.load(tmp_path / f"{name}.pt", weights_only=True)
        assert torch.equal(found["visual.conv1.weight"], state["visual.conv1.weight"])
        assert torch.equal(found["text.token_embedding.weight"], state["token_embedding.weight"])


# --- what a run keeps


@pytest.mark.parametrize("kind", ["clip", "clip with quick gelu", "siglip", "coca", "roberta", "mt5", "nllb"])
def test_assets_rebuild_the_backbone_without_the_folder(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    write_folder(folder, kind)
    backbone = load(f"local-dir:{folder}")
    backbone.save_assets(tmp_path / "assets")
    shutil.rmtree(folder)
    again: Any = build(LoadRequest(backbone.spec, None, ("image", "text"), offline=True, assets=tmp_path / "assets"))
    again.load_state_dict(backbone.state_dict(), strict=True)
    again.eval()
    old, new = backbone.processor("text"), again.processor("text")
    assert old.key == new.key
    texts = {"text": new.collate([new(text) for text in SENTENCES])}
    images = {"image": {"pixels": torch.randn(len(SENTENCES), 3, *again.processor("image").preprocess.size)}}
    with torch.no_grad():
        torch.testing.assert_close(again({**images, **texts}).pooled, backbone({**images, **texts}).pooled)
    # And once more: a run whose source was a run.
    again.save_assets(tmp_path / "more")
    assert sorted(p.name for p in (tmp_path / "more").rglob("*")) == sorted(
        p.name for p in (tmp_path / "assets").rglob("*")
    )


def test_assets_hold_no_path_of_this_machine(tmp_path: Path) -> None:
    write_folder(tmp_path / "source", "roberta")
    load(f"local-dir:{tmp_path / 'source'}").save_assets(tmp_path / "assets")
    assert str(tmp_path) not in (tmp_path / "assets" / "open_clip_config.json").read_text()


def test_tiny_models_are_what_open_clip_makes_of_their_folder(tmp_path: Path) -> None:
    """The reference of these tests is upstream's own reading of the folder, not only the model it was written from."""
    for kind in ("clip", "siglip", "coca"):
        model = write_folder(tmp_path / kind, kind)
        opened = open_clip.create_model(f"local-dir:{tmp_path / kind}").eval()
        ids = open_clip.get_tokenizer(f"local-dir:{tmp_path / kind}")(list(SENTENCES))
        assert torch.equal(encode(opened, ids=ids), encode(model, ids=ids))
        assert type(tiny_model(TINY[kind])) is type(opened)
