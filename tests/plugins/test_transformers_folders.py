"""What a folder of transformers says of its pooling and weights, and what a run keeps of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file
from tiny_transformers import write_folder, write_pooling, write_tokenizer
from torch import Tensor, nn
from transformers_texts import (
    CATALOG,
    CLOSE,
    NAMED,
    SAFE,
    TEXTS,
    features,
    load,
    tokens_upstream,
)

import zoo
from zoo import Backbone

# --- what a folder says


@pytest.mark.parametrize("modes", [("cls_token",), ("max_tokens",), ("mean_tokens",), ("lasttoken",)])
def test_a_sentence_encoder_pools_as_its_folder_says(modes: tuple[str, ...], tmp_path: Path) -> None:
    folder = write_pooling(write_folder(tmp_path, "bert"), *modes)
    tokens = tokens_upstream(folder, "a cat")
    expected = {"cls_token": tokens[0], "lasttoken": tokens[-1], "mean_tokens": tokens.mean(0)}
    expected["max_tokens"] = tokens.amax(0)
    torch.testing.assert_close(features(load(folder), ["a cat", TEXTS[0]]).pooled[0], expected[modes[0]], **CLOSE)


def test_two_poolings_stand_side_by_side_and_are_normalised(tmp_path: Path) -> None:
    folder = write_pooling(write_folder(tmp_path, "bert"), "mean_tokens", "cls_token", normalise=True)
    backbone = load(folder)
    tokens = tokens_upstream(folder, "a cat")
    expected = nn.functional.normalize(torch.cat([tokens[0], tokens.mean(0)]), dim=0)
    assert backbone.dim == 64
    torch.testing.assert_close(features(backbone, ["a cat", TEXTS[0]]).pooled[0], expected, **CLOSE)


def test_a_layer_after_the_pooling_is_applied_trained_and_kept(tmp_path: Path) -> None:
    folder = write_pooling(write_folder(tmp_path / "source", "bert"), "mean_tokens")
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "2_Dense").mkdir()
    layer = nn.Linear(32, 5)
    save_file({f"linear.{name}": each for name, each in layer.state_dict().items()}, folder / "2_Dense" / SAFE)
    told = {
        "in_features": 32,
        "out_features": 5,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    }
    (folder / "2_Dense" / "config.json").write_text(json.dumps(told))
    backbone = load(folder)
    expected = layer(tokens_upstream(folder, "a cat").mean(0)).tanh()
    torch.testing.assert_close(features(backbone, ["a cat", TEXTS[0]]).pooled[0], expected, **CLOSE)
    assert backbone.dim == 5
    assert backbone.stages()[-1].name == "top"
    backbone.check_stages()
    check_rebuilt(backbone, folder, tmp_path / "assets", TEXTS)


def test_a_pooling_that_zoo_does_not_know_is_named(tmp_path: Path) -> None:
    folder = write_pooling(write_folder(tmp_path, "bert"), "mean_tokens")
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": ["mean", "attention"]}))
    with pytest.raises(zoo.UsageError, match="pools by attention"):
        load(folder)


def test_pooling_can_be_chosen(tmp_path: Path) -> None:
    backbone = load(write_folder(tmp_path, "bert"))
    found = {}
    for how in ("native", "cls", "mean", "max", "last"):
        backbone.pooling = how  # type: ignore[assignment]
        found[how] = features(backbone, ["the cat sat", "a dog ran into the green garden"])
    tokens, mask = found["mean"].tokens, found["mean"].mask
    for how in ("cls", "mean", "max", "last"):
        torch.testing.assert_close(found[how].pooled, zoo.pool(tokens, mask, how))  # type: ignore[arg-type]
    assert not torch.allclose(found["native"].pooled, found["cls"].pooled)


@pytest.mark.parametrize(
    ("family", "architecture", "expected"),
    [
        ("bert", "BertForMaskedLM", "cls"),
        ("bert", "BertForSequenceClassification", "pooler"),
        ("roberta", "RobertaForMaskedLM", "cls"),
        ("gpt2", "GPT2LMHeadModel", "last"),
        ("llama", "LlamaForCausalLM", "last"),
        ("t5", "T5ForConditionalGeneration", "mean"),
    ],
)
def test_files_with_a_source_head_load_without_it(
    family: str, architecture: str, expected: str, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path, family)
    torch.manual_seed(1)
    model = getattr(transformers, architecture)(transformers.AutoConfig.from_pretrained(folder))
    model.save_pretrained(folder)
    backbone: Any = load(folder)
    assert backbone.summary.how == (expected,)
    own = {name.removeprefix("encoder."): each for name, each in model.base_model.named_parameters()}
    for name, parameter in backbone.model.named_parameters():
        torch.testing.assert_close(parameter, own[name.removeprefix("encoder.")], rtol=0, atol=0)


def test_the_encoder_of_t5_is_loaded_alone(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "t5")
    whole = sum(parameter.numel() for parameter in transformers.AutoModel.from_pretrained(folder).parameters())
    assert sum(parameter.numel() for parameter in load(folder).parameters()) < 0.7 * whole


# --- names and weights


def test_random_weights_come_from_the_seed_alone(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "bert")
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, again, other = (
        zoo.load(f"transformers/{folder}@random", seed=seed, catalog=CATALOG).state_dict() for seed in (3, 3, 4)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    trained = load(folder).state_dict()
    assert any(not torch.equal(first[name], trained[name]) for name in first)


def test_a_folder_is_found_by_every_way_of_writing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "my.bert+v2", "bert")
    monkeypatch.chdir(tmp_path)
    expected = features(load(folder), ["a cat"]).pooled
    for name in (f"transformers/{folder}", "transformers/./my.bert+v2", "./my.bert+v2", str(folder)):
        found = features(zoo.load(name, catalog=CATALOG), ["a cat"]).pooled
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_weights_of_another_file_go_into_the_same_configuration(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a", "bert")
    other = write_folder(tmp_path / "b", "bert", seed=1)
    found = features(load(folder, f"@{other / 'model.safetensors'}"), ["a cat"]).pooled
    torch.testing.assert_close(found, features(load(other), ["a cat"]).pooled, rtol=0, atol=0)


def test_sharded_and_pickled_weights_give_the_same_features(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "whole", "bert")
    expected = features(load(folder), ["a cat"]).pooled
    model = transformers.AutoModel.from_pretrained(folder)
    shards = write_tokenizer(tmp_path / "shards")
    model.save_pretrained(shards, max_shard_size="20KB")
    assert (shards / "model.safetensors.index.json").is_file()
    pickled = write_tokenizer(tmp_path / "pickled")
    model.config.save_pretrained(pickled)
    torch.save(model.state_dict(), pickled / "pytorch_model.bin")
    for each in (shards, pickled):
        torch.testing.assert_close(features(load(each), ["a cat"]).pooled, expected, rtol=0, atol=0)


def test_half_precision_files_are_opened_in_float32(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "bert")
    transformers.AutoModel.from_pretrained(folder).half().save_pretrained(folder)
    backbone = load(folder)
    assert {each.dtype for each in backbone.parameters()} == {torch.float32}


def test_loading_leaves_no_trace_in_the_verbosity_of_transformers(tmp_path: Path) -> None:
    before = transformers.logging.get_verbosity()
    load(write_folder(tmp_path, "bert"))
    assert transformers.logging.get_verbosity() == before


def test_assets_rebuild_the_same_features_without_the_folder(tmp_path: Path) -> None:
    for family in NAMED:
        folder = write_folder(tmp_path / family, family)
        backbone = load(folder)
        check_rebuilt(backbone, folder, tmp_path / "assets" / family, TEXTS)


def test_assets_keep_the_pooling_of_a_sentence_encoder(tmp_path: Path) -> None:
    folder = write_pooling(write_folder(tmp_path / "a", "bert"), "mean_tokens", normalise=True, max_length=9)
    check_rebuilt(load(folder), folder, tmp_path / "assets", TEXTS)


def check_rebuilt(backbone: Backbone, folder: Path, assets: Path, texts: Sequence[Any]) -> None:
    expected, state = features(backbone, texts), backbone.state_dict()
    backbone.save_assets(assets)
    for file in sorted(folder.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    request = zoo.LoadRequest(backbone.spec, None, ("text",), offline=True, assets=assets)
    from zoo_transformers.text import build

    rebuilt = build(request).eval()
    rebuilt.load_state_dict(state, strict=True)
    found = features(rebuilt, texts)
    torch.testing.assert_close(found.pooled, expected.pooled, rtol=0, atol=0)
    torch.testing.assert_close(found.tokens, expected.tokens, rtol=0, atol=0)
    assert rebuilt.processor("text").key == backbone.processor("text").key


def test_the_mapping_of_inputs_is_what_the_contract_says(tmp_path: Path) -> None:
    processor = load(write_folder(tmp_path, "roberta")).processor("text")
    tensors: Mapping[str, Tensor] = processor.collate([processor("a cat"), processor("a")])
    assert {name: each.dtype for name, each in tensors.items()} == {"ids": torch.int64, "mask": torch.bool}
