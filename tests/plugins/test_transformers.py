"""`zoo_transformers` on texts, against transformers itself on the same folders."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import zoo_transformers
from safetensors.torch import save_file
from tiny_transformers import TEXT, upstream, write_folder, write_pooling, write_tokenizer
from torch import Tensor, nn

import zoo
from zoo import Backbone, Catalog, Features

CATALOG = Catalog.of({"transformers": zoo_transformers})
FAMILIES = list(TEXT)
NAMED = ["bert", "openai-gpt", "gpt2", "xlnet", "roberta", "distilbert", "t5", "llama"]
"""The families that are promised; the rest are there because AutoModel opens them."""
TEXTS = [
    "The cat sat on the mat and ran very quickly into the green garden",
    "a dog",
    ("what is this", "a cat ?"),
    "unheard-of",
    "the cat sat on the mat " * 9,
]
"""Long, short, a pair, unknown words, and longer than the tokenizer allows."""
SAFE = "model.safetensors"
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
"""Other shapes, other orders of float32 sums; nothing else may differ."""


def load(folder: Path, at: str = "") -> Backbone:
    return zoo.load(f"transformers/{folder}{at}", catalog=CATALOG)


def features(backbone: Backbone, texts: Sequence[Any], side: str | None = None, more: int = 0) -> Features:
    """Of one batch; `side` and `more` pad elsewhere and further than the tokenizer does."""
    processor: Any = backbone.processor("text")
    processor.padding_side = side or processor.padding_side
    longest = [processor(text) for text in texts]
    tensors = processor.collate(longest)
    if more:
        edge = (0, more) if processor.padding_side == "right" else (more, 0)
        tensors = {name: nn.functional.pad(each, edge) for name, each in tensors.items()}
    with torch.inference_mode():
        return backbone({"text": processor.finish(tensors)})


def tokens_upstream(folder: Path, text: str | tuple[str, str]) -> Tensor:
    """(T, D) of one text alone, as AutoTokenizer and AutoModel make them."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    first, second = text if isinstance(text, tuple) else (text, None)
    model = upstream(folder)
    takes = inspect.signature(model.forward).parameters
    ids = tokenizer(first, second, truncation=True, return_tensors="pt", return_token_type_ids=takes_types(folder))
    ids = {name: each for name, each in ids.items() if name in takes}
    with torch.inference_mode():
        hidden: Tensor = model(**ids).last_hidden_state[0]
    return hidden


def takes_types(folder: Path) -> bool:
    config = json.loads((folder / "config.json").read_text())
    return config["model_type"] == "xlnet" or config.get("type_vocab_size", 0) > 1


def pooled_upstream(folder: Path, text: str) -> Tensor:
    """(D,) as the authors of each family make one vector of a text."""
    family = json.loads((folder / "config.json").read_text())["model_type"]
    hidden = tokens_upstream(folder, text)
    if family in ("bert", "albert"):
        model = upstream(folder)
        pooler = model.pooler if family == "bert" else nn.Sequential(model.pooler, model.pooler_activation)
        with torch.inference_mode():
            first: Tensor = pooler(hidden[None] if family == "bert" else hidden[:1])[0]
        return first
    if family in ("t5", "mt5", "fnet", "bart"):
        return hidden.mean(0)
    decoders = ("gpt_neox", "opt", "bloom", "qwen3", "mistral", "mamba", "openai-gpt", "gpt2", "llama", "xlnet")
    return hidden[-1] if family in decoders else hidden[0]


# --- the same features as upstream


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_and_pooled_are_upstreams(family: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, family)
    found = features(load(folder), TEXTS)
    assert found.mask is not None
    for index, text in enumerate(TEXTS):
        expected = tokens_upstream(folder, text)
        torch.testing.assert_close(found.tokens[index][found.mask[index]], expected, **CLOSE)
        torch.testing.assert_close(found.pooled[index], pooled_upstream(folder, text), **CLOSE)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_changes_nothing(family: str, side: str, tmp_path: Path) -> None:
    backbone = load(write_folder(tmp_path, family))
    padded = features(backbone, TEXTS, side, more=3)
    assert padded.mask is not None
    for index, text in enumerate(TEXTS):
        alone = features(backbone, [text])
        torch.testing.assert_close(padded.pooled[index], alone.pooled[0], **CLOSE)
        torch.testing.assert_close(padded.tokens[index][padded.mask[index]], alone.tokens[0], **CLOSE)


def test_the_classifier_of_gpt2_reads_the_vector_that_is_pooled(tmp_path: Path) -> None:
    """Upstream's own head on upstream's own batch, as an independent word on what "native" means."""
    folder = write_folder(tmp_path, "gpt2")
    model = transformers.GPT2ForSequenceClassification.from_pretrained(folder, pad_token_id=0).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = "[PAD]"
    texts = [text for text in TEXTS if isinstance(text, str)]
    with torch.inference_mode():
        batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt", return_token_type_ids=False)
        expected = model(**batch).logits
        found = model.score(features(load(folder), texts).pooled)
    torch.testing.assert_close(found, expected, **CLOSE)


# --- real weights


def test_minilm_pools_as_sentence_transformers_does(minilm: Path) -> None:
    texts = ["How tall is the tower?", "A question about towers, and about much else besides.", "no"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        hidden = transformers.AutoModel.from_pretrained(minilm).eval()(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    found = features(load(minilm), texts)
    mean = (hidden * mask).sum(1) / mask.sum(1)
    torch.testing.assert_close(found.pooled, nn.functional.normalize(mean, dim=1), **CLOSE)  # As modules.json says.
    torch.testing.assert_close(found.tokens * mask, hidden * mask, **CLOSE)


def test_minilm_is_cut_at_the_length_it_was_trained_with(minilm: Path) -> None:
    processor = load(minilm).processor("text")
    told = json.loads((minilm / "sentence_bert_config.json").read_text())["max_seq_length"]
    assert processor.length(processor("word " * 1000)) == told == 256


def test_minilm_puts_like_meanings_side_by_side(minilm: Path) -> None:
    texts = ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "Interest rates rose again in March."]
    cat, kitten, rates = nn.functional.normalize(features(load(minilm), texts).pooled, dim=1)
    assert cat @ kitten > cat @ rates + 0.3


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_real_llama_gives_upstreams_features(side: str, shared: Path) -> None:
    folder = shared / "weights" / "stories260k-llama"
    texts = ["Once upon a time there was a little girl.", "One day"]
    found = features(load(folder), texts, side)
    assert found.mask is not None
    for index, text in enumerate(texts):
        expected = tokens_upstream(folder, text)
        torch.testing.assert_close(found.tokens[index][found.mask[index]], expected, **CLOSE)
        torch.testing.assert_close(found.pooled[index], expected[-1], **CLOSE)


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
    folder = write_pooling(write_folder(tmp_path, "bert"), "weightedmean_tokens")
    with pytest.raises(zoo.UsageError, match="pools by pooling_mode_weightedmean_tokens"):
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


# --- texts


def test_texts_are_cut_at_the_maximum_and_keep_their_last_token(tmp_path: Path) -> None:
    processor = load(write_folder(tmp_path, "bert")).processor("text")
    ids = processor.collate([processor("the cat " * 50)])["ids"]
    assert ids.shape == (1, 32)
    assert ids[0, -1] == 2  # [SEP]


def test_a_long_pair_loses_words_of_the_longer_text_first(tmp_path: Path) -> None:
    processor = load(write_folder(tmp_path, "bert")).processor("text")
    tensors = processor.collate([processor(("a dog", "the cat " * 50))])
    assert tensors["ids"].shape == (1, 32)
    assert tensors["ids"][0, :4].tolist() == [1, 6, 8, 2]  # [CLS] a dog [SEP]


def test_the_second_text_of_a_pair_is_told_from_the_first(minilm: Path) -> None:
    backbone = load(minilm)
    processor = backbone.processor("text")
    tensors = processor.collate([processor(("a cat", "a dog"))])
    assert tensors["types"].tolist() == [[0, 0, 0, 0, 1, 1, 1]]
    there, back = features(backbone, [("a cat", "a dog"), ("a dog", "a cat")]).pooled
    assert not torch.allclose(there, back)


@pytest.mark.parametrize("family", ["gpt2", "openai-gpt", "llama", "bert"])
def test_an_empty_text_has_features(family: str, tmp_path: Path) -> None:
    found = features(load(write_folder(tmp_path, family)), ["", "a cat"])
    assert bool(torch.isfinite(found.pooled).all())


def test_a_tokenizer_with_more_words_than_the_model_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "bert", vocab_size=20)
    with pytest.raises(zoo.WeightsError, match="embeddings for 20 tokens"):
        load(folder)


def test_another_tokenizer_is_another_fingerprint(tmp_path: Path) -> None:
    first = load(write_folder(tmp_path / "a", "bert")).processor("text").key
    again = load(write_folder(tmp_path / "b", "bert", seed=5)).processor("text").key
    shorter = load(write_tokenizer(write_folder(tmp_path / "c", "bert"), max_length=8)).processor("text").key
    assert first == again
    assert first != shorter


# --- stages


@pytest.mark.parametrize("family", FAMILIES)
def test_stages_hold_every_parameter_once_in_run_order(family: str, tmp_path: Path) -> None:
    backbone = load(write_folder(tmp_path, family))
    backbone.check_stages()
    stages = backbone.stages()
    assert stages[0].name == "embeddings"
    assert backbone.spec.stages == tuple(stage.name for stage in stages)
    ran = order_of_first_use(backbone, lambda: features(backbone, TEXTS))
    assert ran == sorted(ran)


def order_of_first_use(backbone: Backbone, run: Any) -> list[int]:
    """Indices of stages in the order in which the first module of each runs."""
    seen: list[int] = []

    def note(index: int) -> Any:
        return lambda module, given, out: None if index in seen else seen.append(index)

    handles = []
    for index, stage in enumerate(backbone.stages()):
        leaves = [leaf for module in stage.modules for leaf in module.modules() if list(leaf.parameters(recurse=False))]
        handles += [leaf.register_forward_hook(note(index)) for leaf in leaves]
    run()
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("family", NAMED)
def test_the_specification_of_a_folder_is_true_before_loading(family: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, family)
    told = CATALOG.select(f"transformers/{folder}")[0].spec
    backbone = load(folder)
    assert (told.dim, told.stages, told.modalities) == (backbone.dim, backbone.spec.stages, ("text",))
    assert told.preprocess == backbone.spec.preprocess


@pytest.mark.parametrize("family", NAMED)
def test_every_parameter_gets_a_gradient(family: str, tmp_path: Path) -> None:
    backbone = load(write_folder(tmp_path, family)).train()
    processor = backbone.processor("text")
    batch = processor.finish(processor.collate([processor(text) for text in TEXTS]))
    found = backbone({"text": batch})
    # A sum over normalised values would be constant.
    (found.pooled.square().sum() + found.tokens.square().sum()).backward()
    unused = {"model.mask_emb"}  # XLNet's, of pretraining alone
    dead = {name for name, each in backbone.named_parameters() if each.grad is None} - unused
    assert dead == set()


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
