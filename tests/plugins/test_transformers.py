"""`zoo_transformers` on texts, against transformers itself on the same folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_transformers import write_folder, write_tokenizer
from torch import nn
from transformers_texts import (
    CATALOG,
    CLOSE,
    FAMILIES,
    NAMED,
    TEXTS,
    features,
    load,
    pooled_upstream,
    tokens_upstream,
)

import zoo
from zoo import Backbone

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
