"""Sentence encoders through `zoo_transformers`, against sentence-transformers itself on the same folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_transformers import write_folder, write_pooling, write_tokenizer
from transformers_texts import CATALOG, load

import zoo
from zoo import Examples

pytest.importorskip("sentence_transformers", reason="needs the test extra")
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

TEXTS = (
    "The CAT sat on the mat",
    "a dog",
    "who knows what this is ?",
    "the green garden " * 20,
    "unheard-of [SEP] a",
    "",
)
"""Upper case, short, punctuation, longer than any limit, unknown words with a special token written out, and empty."""
DECODER = "qwen3"
"""Padded on the left, as encoders made of decoders are."""
CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(autouse=True)
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features come from these weights, not from an earlier test."""
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))


def extracted(folder: Path, texts: Sequence[Any] = TEXTS) -> NDArray[np.float32]:
    names = tuple(str(each) for each in range(len(texts)))
    rows = Examples({"text": list(texts)}, None, names, names)
    return zoo.extract(zoo.load(f"transformers/{folder}", catalog=CATALOG), rows).features


def encoded(folder: Path, texts: Sequence[Any] = TEXTS) -> NDArray[np.float32]:
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    found: NDArray[np.float32] = model.encode(list(texts), batch_size=4, show_progress_bar=False)
    return found


def made(tmp_path: Path, *after: Any, family: str = "bert", limit: int | None = None, **settings: Any) -> Path:
    """A folder that sentence-transformers itself wrote: a tiny model of `family`, and the modules `after` it."""
    plain = write_folder(tmp_path / "plain", family)
    if family == DECODER:
        write_tokenizer(plain, family, side="left")
    start = Transformer(str(plain), max_seq_length=limit)
    model = SentenceTransformer(modules=[start, *after], device="cpu", **settings)
    model.save(str(tmp_path / "made"), create_model_card=False)
    return tmp_path / "made"


def dense(inputs: int, outputs: int, activation: Any = None) -> Any:
    torch.manual_seed(outputs)
    return Dense(inputs, outputs, activation_function=activation)


# --- real weights


def test_minilm_gives_the_librarys_embeddings(minilm: Path) -> None:
    texts = ["How tall is the tower?", "no", "Ünïcode, emoji 🙂 and CAPITALS", "a long story about towers " * 80]
    expected = encoded(minilm, texts)
    np.testing.assert_allclose(extracted(minilm, texts), expected, **CLOSE)
    assert len(expected[0]) == 384


# --- pooling


@pytest.mark.parametrize("family", ["bert", DECODER])
@pytest.mark.parametrize("mode", Pooling.POOLING_MODES)
def test_every_pooling_is_the_librarys(mode: Any, family: str, tmp_path: Path) -> None:
    folder = made(tmp_path, Pooling(32, mode), family=family)
    texts = TEXTS[:5] if family == DECODER else TEXTS  # of a text without any token the library pools the padding
    np.testing.assert_allclose(extracted(folder, texts), encoded(folder, texts), **CLOSE)


def test_poolings_side_by_side_keep_the_order_in_which_they_are_named(tmp_path: Path) -> None:
    folder = made(tmp_path, Pooling(32, ("weightedmean", "cls", "mean_sqrt_len_tokens")), Normalize())
    found = extracted(folder)
    assert found.shape[1] == load(folder).dim == CATALOG.select(f"transformers/{folder}")[0].spec.dim == 96
    np.testing.assert_allclose(found, encoded(folder), **CLOSE)


@pytest.mark.parametrize("modes", [("mean_tokens", "max_tokens"), ("weightedmean_tokens",), ()], ids=str)
def test_folders_of_older_versions_are_read_as_the_library_reads_them(modes: tuple[str, ...], tmp_path: Path) -> None:
    """One flag a mode, and the mean where none is set."""
    folder = write_pooling(write_folder(tmp_path / "old", "bert"), *modes, normalise=True, max_length=9)
    np.testing.assert_allclose(extracted(folder), encoded(folder), **CLOSE)


def test_a_folder_that_is_edited_has_features_of_its_own(tmp_path: Path) -> None:
    """The same weights and path, pooled in another way: what was kept is not taken for it."""
    folder = write_pooling(write_folder(tmp_path / "edited", "bert"), "mean_tokens")
    before = extracted(folder)
    config = folder / "1_Pooling" / "config.json"
    config.write_text(json.dumps({"word_embedding_dimension": 32, "pooling_mode_max_tokens": True}))
    after = extracted(folder)
    assert not np.allclose(before, after, atol=1e-3)
    np.testing.assert_allclose(after, encoded(folder), **CLOSE)


# --- what comes after the pooling


@pytest.mark.parametrize("normalised", [False, True], ids=["", "normalised"])
@pytest.mark.parametrize("activation", [torch.nn.Tanh(), torch.nn.GELU(), None], ids=["tanh", "gelu", "identity"])
def test_layers_after_the_pooling_are_the_librarys(activation: Any, normalised: bool, tmp_path: Path) -> None:
    layers = [dense(32, 48, torch.nn.ReLU()), dense(48, 5, activation), *([Normalize()] if normalised else [])]
    folder = made(tmp_path, Pooling(32, "mean"), *layers)
    np.testing.assert_allclose(extracted(folder), encoded(folder), **CLOSE)
    backbone, told = load(folder), CATALOG.select(f"transformers/{folder}")[0].spec
    assert backbone.dim == backbone.spec.dim == told.dim == 5
    assert backbone.spec.stages == told.stages == ("embeddings", "layer.0", "layer.1", "top")
    assert any(each.requires_grad for each in backbone.stages()[-1].parameters())
    backbone.check_stages()


def test_a_matryoshka_encoder_is_cut_as_the_library_cuts_it(tmp_path: Path) -> None:
    folder = made(tmp_path, Pooling(32, "mean"), Normalize(), truncate_dim=7)
    found = extracted(folder)
    assert found.shape[1] == load(folder).dim == 7
    np.testing.assert_allclose(found, encoded(folder), **CLOSE)


# --- texts


@pytest.mark.parametrize("limit", [8, 48, None])
def test_long_texts_are_cut_where_the_library_cuts_them(limit: int | None, tmp_path: Path) -> None:
    """The encoder's own length counts, be it below or above the 32 of its tokenizer."""
    folder = made(tmp_path, Pooling(32, "lasttoken"), limit=limit)
    np.testing.assert_allclose(extracted(folder), encoded(folder), **CLOSE)
    assert load(folder).spec.preprocess["text"].max_length == (limit or 32)  # type: ignore[union-attr]


def test_lower_case_is_the_librarys(tmp_path: Path) -> None:
    """Of a tokenizer that keeps capitals, with a special token written out in one text."""
    folder = write_folder(tmp_path / "cased", "bert")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**tokenizer, "normalizer": None}))
    write_pooling(folder, "mean_tokens", max_length=20)
    kept = extracted(folder)
    np.testing.assert_allclose(kept, encoded(folder), **CLOSE)
    told = {"max_seq_length": 20, "do_lower_case": True}
    (folder / "sentence_bert_config.json").write_text(json.dumps(told))
    found = extracted(folder)
    np.testing.assert_allclose(found, encoded(folder), **CLOSE)
    assert not np.allclose(found[0], kept[0], atol=1e-3)


# --- prompts


@pytest.mark.parametrize("counted", [True, False], ids=["pooled", "left out"])
@pytest.mark.parametrize("mode", ["mean", "cls", "weightedmean"])
@pytest.mark.parametrize("family", ["bert", DECODER])
def test_the_default_prompt_stands_before_every_text(family: str, mode: Any, counted: bool, tmp_path: Path) -> None:
    prompts = {"find": "what is this : ", "other": "a cat "}
    pooling = Pooling(32, mode, include_prompt=counted)
    folder = made(tmp_path, pooling, family=family, prompts=prompts, default_prompt_name="find")
    texts = [text for text in TEXTS if text or counted]  # without any token the library's own result is not a number
    np.testing.assert_allclose(extracted(folder, texts), encoded(folder, texts), **CLOSE)
    assert load(folder).spec.preprocess["text"].prompt == "what is this : "  # type: ignore[union-attr]


def test_prompts_without_a_default_are_not_used(tmp_path: Path) -> None:
    plain = made(tmp_path / "plain", Pooling(32, "mean"))
    with_prompts = made(tmp_path / "other", Pooling(32, "mean"), prompts={"query": "what is this : "})
    np.testing.assert_allclose(extracted(with_prompts), encoded(with_prompts), **CLOSE)
    np.testing.assert_array_equal(extracted(with_prompts), extracted(plain))


def test_of_a_pair_the_first_text_gets_the_prompt(minilm: Path, tmp_path: Path) -> None:
    for file in minilm.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "config_sentence_transformers.json").unlink()
    told = {"prompts": {"query": "Find this: "}, "default_prompt_name": "query"}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(told))
    pairs = [("a cat", "a dog"), ("Where is the mat?", "In the garden, under the tree.")]
    np.testing.assert_allclose(extracted(tmp_path, pairs), encoded(tmp_path, pairs), **CLOSE)


def test_a_run_keeps_prompt_and_pooling(tmp_path: Path) -> None:
    pooling = Pooling(32, "weightedmean", include_prompt=False)
    settings: dict[str, Any] = {"prompts": {"query": "what is this : "}, "default_prompt_name": "query"}
    folder = made(tmp_path, pooling, dense(32, 9), truncate_dim=6, **settings)
    backbone = load(folder)
    backbone.save_assets(tmp_path / "assets")
    request = zoo.LoadRequest(backbone.spec, None, ("text",), offline=True, assets=tmp_path / "assets")
    from zoo_transformers.text import build

    again = build(request)
    again.load_state_dict(backbone.state_dict(), strict=True)
    rows = Examples({"text": list(TEXTS[:3])}, None, ("a", "b", "c"), ("a", "b", "c"))
    np.testing.assert_array_equal(zoo.extract(again, rows).features, zoo.extract(backbone, rows).features)
    assert again.processor("text").key == backbone.processor("text").key


# --- what zoo does not know


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"default_prompt_name": "search"}, "takes the prompt 'search' as its default, and has query, document, find"),
        ({"prompts": {}, "default_prompt_name": "find"}, "has query, document"),
    ],
    ids=["no such prompt", "no prompts"],
)
def test_a_default_prompt_that_is_not_there_is_named(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    folder = made(tmp_path, Pooling(32, "mean"), prompts={"find": "what "}, default_prompt_name="find")
    file = folder / "config_sentence_transformers.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(zoo.WeightsError, match=said):
        load(folder)


@pytest.mark.parametrize(
    ("kind", "path", "said"),
    [
        ("Transformer", "0_Transformer", "an old layout, with its transformer in '0_Transformer'"),
        ("StaticEmbedding", "", "begins with StaticEmbedding"),
    ],
)
def test_encoders_without_a_transformer_in_their_folder_are_named(
    kind: str, path: str, said: str, tmp_path: Path
) -> None:
    modules = [{"idx": 0, "name": "0", "path": path, "type": f"sentence_transformers.models.{kind}"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(zoo.UsageError, match=said):
        load(tmp_path)


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        ([Pooling(32), Normalize(), dense(32, 4)], "in the order Transformer, Pooling, Normalize, Dense"),
        ([Pooling(32), Normalize(module_input_name="token_embeddings")], "works on token_embeddings"),
        ([Pooling(32), Dense(32, 4, use_residual=True)], "adds its input to its output"),
        ([Pooling(32), dense(32, 4, torch.nn.Hardswish())], "activation hardswish"),
    ],
    ids=["order", "tokens normalised", "residual", "activation"],
)
def test_modules_that_zoo_does_not_know_are_named(modules: Sequence[Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(zoo.UsageError, match=said):
        load(made(tmp_path, *modules))
