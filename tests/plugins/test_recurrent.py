"""`zoo_recurrent` against torch's own layers, and trained end to end."""

from __future__ import annotations

import csv
import functools
import random
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo_recurrent
from safetensors.torch import save_file
from torch import nn
from zoo_recurrent.encoder import CELLS
from zoo_recurrent.words import words_of

import zoo
from zoo import Backbone, Catalog, Features
from zoo.verbs.config import Output

CATALOG = Catalog.of({"recurrent": zoo_recurrent})
SPECS = {spec.architecture: spec for spec in zoo_recurrent.zoo_backbones()}
TEXTS = ["The cat sat on the mat.", "no", "", "a dog, which ran " * 12, "What is this?"]
EXACT = {"rtol": 0, "atol": 2e-6}  # the same sums, in the order of another batch
"""The same sums in the same order, at another place of the batch."""


def load(architecture: str, at: str = "", seed: int = 0) -> Any:
    return zoo.load(f"recurrent/{architecture}{at}", seed=seed, catalog=CATALOG)


@functools.cache
def ready(architecture: str) -> Any:
    """In eval mode and made once, for tests that leave it as it is."""
    return load(architecture)


def batch_of(backbone: Backbone, texts: Sequence[Any], side: str = "right", more: int = 0) -> dict[str, Any]:
    processor: Any = backbone.processor("text")
    processor.padding_side = side
    tensors = processor.collate([processor(text) for text in texts])
    edge = (0, more) if side == "right" else (more, 0)
    return {"text": {name: nn.functional.pad(each, edge) for name, each in tensors.items()}}


def features(backbone: Backbone, texts: Sequence[Any], side: str = "right", more: int = 0) -> Features:
    with torch.inference_mode():
        found: Features = backbone(batch_of(backbone, texts, side, more))
    return found


def of_torch(backbone: Any) -> nn.Module:
    """One module of torch with all layers, and the weights of the backbone."""
    options = backbone.spec.options
    whole = CELLS[options["cell"]](
        options["width"],
        options["hidden"],
        num_layers=options["layers"],
        batch_first=True,
        bidirectional=options["directions"] == 2,
    )
    state = {
        name.replace("_l0", f"_l{index}"): tensor
        for index, layer in enumerate(backbone.layers)
        for name, tensor in layer.rnn.state_dict().items()
    }
    whole.load_state_dict(state, strict=True)
    return whole.eval()


# --- the same features as torch


@pytest.mark.parametrize("architecture", SPECS)
def test_layers_are_those_of_one_module_of_torch(architecture: str) -> None:
    """Text by text, without padding: states of the top layer, and the last state of each direction."""
    backbone = ready(architecture)
    found, whole = features(backbone, TEXTS), of_torch(backbone)
    assert found.mask is not None
    for row, text in enumerate(TEXTS):
        ids = batch_of(backbone, [text])["text"]["ids"]
        with torch.inference_mode():
            tokens, state = whole(backbone.embedding(ids))
        last = (state[0] if isinstance(state, tuple) else state)[-backbone.spec.options["directions"] :]
        torch.testing.assert_close(found.tokens[row][found.mask[row]], tokens[0], **EXACT)
        torch.testing.assert_close(found.pooled[row], last[:, 0].flatten(), **EXACT)


@pytest.mark.parametrize("architecture", SPECS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_changes_nothing(architecture: str, side: str) -> None:
    backbone = ready(architecture)
    padded = features(backbone, TEXTS, side, more=4)
    assert padded.mask is not None
    assert not padded.tokens[~padded.mask].any()
    for row, text in enumerate(TEXTS):
        alone = features(backbone, [text])
        torch.testing.assert_close(padded.pooled[row], alone.pooled[0], **EXACT)
        torch.testing.assert_close(padded.tokens[row][padded.mask[row]], alone.tokens[0], **EXACT)


@pytest.mark.parametrize("how", ["cls", "mean", "max", "last"])
def test_other_poolings_are_over_the_real_tokens(how: Any) -> None:
    backbone = load("bilstm")
    backbone.pooling = how
    found = features(backbone, TEXTS, "left")
    torch.testing.assert_close(found.pooled, zoo.pool(found.tokens, found.mask, how))


def test_the_last_state_of_one_direction_is_the_last_token() -> None:
    backbone = load("lstm")
    native = features(backbone, TEXTS).pooled
    backbone.pooling = "last"
    torch.testing.assert_close(features(backbone, TEXTS).pooled, native)


def test_dropout_is_between_the_layers_in_training_alone() -> None:
    backbone = load("gru")
    batch = batch_of(backbone, TEXTS)
    assert torch.equal(backbone(batch).pooled, backbone(batch).pooled)
    backbone.train()
    assert not torch.equal(backbone(batch).pooled, backbone(batch).pooled)


# --- stages


@pytest.mark.parametrize("architecture", SPECS)
def test_specifications_tell_the_truth_and_stages_hold_every_parameter(architecture: str) -> None:
    spec, backbone = SPECS[architecture], ready(architecture)
    backbone.check_stages()
    assert tuple(stage.name for stage in backbone.stages()) == spec.stages == ("embedding", "layer.0", "layer.1")
    assert sum(each.numel() for each in backbone.parameters()) == spec.params
    assert features(backbone, TEXTS).pooled.shape == (len(TEXTS), spec.dim)


@pytest.mark.parametrize("architecture", SPECS)
def test_every_parameter_gets_a_gradient(architecture: str) -> None:
    backbone = load(architecture).train()
    torch.manual_seed(0)
    found = backbone(batch_of(backbone, TEXTS)).pooled
    (found * torch.randn_like(found)).sum().backward()
    assert [name for name, each in backbone.named_parameters() if each.grad is None or not each.grad.any()] == []
    assert not backbone.embedding.weight.grad[0].any()  # padding stays at zero


def test_frozen_layers_are_replayed_and_stay_as_they_were() -> None:
    backbone = load("lstm").freeze_except(["layer.1"]).train()
    moving = {name.rpartition(".rnn")[0] for name, each in backbone.named_parameters() if each.requires_grad}
    assert moving == {"layers.1"}
    assert (backbone.layers[0].drop.training, backbone.layers[1].drop.training) == (False, True)


# --- words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The cat's 12 mats!", ["the", "cat", "'", "s", "1", "2", "mats", "!"]),
        ("Ünïcode cafe\u0301", ["ünïcode", "café"]),
        ("漢字とカナ", ["漢", "字", "と", "カ", "ナ"]),
        ("snake_case 🙂", ["snake", "_", "case", "🙂"]),
        (" \n\t ", []),
    ],
)
def test_texts_are_cut_into_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_a_word_has_the_place_of_its_hash_on_every_machine() -> None:
    processor = ready("lstm").processor("text")
    assert processor("Cat") == processor("cat") == [1, 3 + zlib.crc32(b"cat") % 32_765]
    assert processor("cat")[1] == 31_220
    assert processor("") == [1]


def test_long_texts_are_cut_and_of_a_pair_neither_is_lost() -> None:
    processor = ready("lstm").processor("text")
    word = processor("word")[1]
    assert processor("word " * 400) == [1] + [word] * 255
    assert processor(("word " * 400, "word word")) == [1] + [word] * 252 + [2, word, word]
    assert len(processor(("word " * 400, "word " * 300))) == 256


def test_no_text_is_too_strange() -> None:
    odd = ["\ud800", "\x00", "a" * 100_000, "🙂" * 1000, "\u202e right to left", ("", "")]
    assert bool(features(ready("gru"), odd).pooled.isfinite().all())


def test_another_modality_is_refused() -> None:
    with pytest.raises(zoo.UsageError, match="recurrent/lstm takes text, not image"):
        ready("lstm").processor("image")


# --- weights


def test_without_weights_they_are_random_and_zoo_says_so() -> None:
    assert CATALOG.select("recurrent/lstm")[0].notes == ("recurrent/lstm has no pretrained weights; they are random",)
    assert CATALOG.select("recurrent/lstm@random")[0].notes == ()
    first, again, other = (load("gru", "@random", seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_recurrent_weights_begin_orthogonal_and_an_lstm_begins_by_remembering() -> None:
    layer = ready("lstm").layers[0].rnn
    for gate in layer.weight_hh_l0.detach().split(256):
        torch.testing.assert_close(gate @ gate.T, torch.eye(256), rtol=0, atol=1e-5)
    forget = (layer.bias_ih_l0 + layer.bias_hh_l0).detach().unflatten(0, (4, 256))
    assert forget.mean(1).tolist() == [0, 1, 0, 0]


def test_the_weights_of_a_file_are_taken(tmp_path: Path) -> None:
    source = load("lstm", seed=5)
    save_file(source.state_dict(), tmp_path / "mine.safetensors")
    backbone = load("lstm", f"@{tmp_path / 'mine.safetensors'}")
    assert torch.equal(features(backbone, TEXTS).pooled, features(source, TEXTS).pooled)
    assert backbone.name == f"recurrent/lstm@{tmp_path / 'mine.safetensors'}"


def test_the_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    save_file(load("gru").state_dict(), tmp_path / "gru.safetensors")
    with pytest.raises(zoo.WeightsError, match="do not fit RecurrentEncoder") as told:
        load("lstm", f"@{tmp_path / 'gru.safetensors'}")
    assert any("layers.0.rnn.weight_ih_l0 has shape (768, 128), not (1024, 128)" in line for line in told.value.details)


# --- end to end


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Texts of which the first word and the last decide together: words alone say nothing, their order does."""
    rng, rows = random.Random(0), list[list[str]]()
    for _ in range(160):
        middle = rng.choices("the a on in sat ran mat garden very quickly".split(), k=rng.randint(2, 5))
        first, last = rng.sample(["cat", "dog"], 2)
        rows.append([" ".join([first, *middle, last]), first])
    with (tmp_path / "texts.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text", "label"], *rows])
    return tmp_path / "texts.csv"


@pytest.mark.parametrize("architecture", ["rnn", "lstm"])
def test_fine_tuning_learns_what_only_the_order_of_words_tells(architecture: str, table: Path, tmp_path: Path) -> None:
    out = Output(dir=str(tmp_path / "runs"), name=architecture)
    options: dict[str, Any] = {"strategy": "full", "epochs": 4, "batch_size": 16, "lr": 0.003, "device": "cpu"}
    run = zoo.finetune(load(architecture, "@random"), table, baseline="none", out=out, **options)
    assert run.metrics["accuracy"] >= 0.9  # chance is 0.5, and that of any bag of words too
    assert zoo.evaluate(run.path, device="cpu").metrics["accuracy"] == run.metrics["accuracy"]
