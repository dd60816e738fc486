"""`zoo_starter` against plain torch, its own files and the claims of its specifications."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import zoo_starter
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

import zoo
from zoo import Backbone, Catalog

CATALOG = Catalog.of({"starter": zoo_starter})
SPECS = list(CATALOG.backbones.values())
NAMES = [spec.name for spec in SPECS]
ENCODERS = ["starter/lstm", "starter/gru", "starter/text-transformer"]
TEXTS = [
    "Seven boats are in the harbour.",
    "no",
    "",
    "What is a gate? It opens, and 12 more of them do.",
    "naïve 日本 🦓",
]
PACKAGE = Path(zoo_starter.__file__).parent
EXACT = {"rtol": 1e-5, "atol": 1e-6}
"""The order of float32 sums differs between a batch and a single row, nothing else."""


def load(name: str) -> Backbone:
    return zoo.load(name, catalog=CATALOG)


def batch_of(backbone: Backbone, values: Sequence[object]) -> dict[str, dict[str, Tensor]]:
    (modality,) = backbone.modalities
    processor = backbone.processor(modality)
    return {modality: processor.finish(processor.collate([processor(value) for value in values]))}


def examples_for(backbone: Backbone, count: int = 8) -> list[object]:
    if backbone.modalities == ("text",):
        return [TEXTS[i % len(TEXTS)] * (1 + i // len(TEXTS)) for i in range(count)]
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (11 + i, 17, 3), dtype=np.uint8)) for i in range(count)]


# --- every backbone


@pytest.mark.parametrize("name", NAMES)
def test_the_specification_is_true(name: str) -> None:
    backbone = load(name)
    features = backbone(batch_of(backbone, examples_for(backbone)))
    spec = CATALOG.backbones[name]
    assert sum(p.numel() for p in backbone.parameters()) == spec.params
    assert features.pooled.shape == (8, backbone.dim)
    assert backbone.dim == spec.dim
    assert tuple(stage.name for stage in backbone.stages()) == spec.stages
    assert features.pooled.dtype == torch.float32
    assert features.tokens.shape[0] == 8


@pytest.mark.parametrize("name", NAMES)
def test_stages_hold_every_parameter_once(name: str) -> None:
    backbone = load(name)
    backbone.check_stages()
    counts = [sum(p.numel() for p in stage.parameters()) for stage in backbone.stages()]
    assert sum(counts) == sum(p.numel() for p in backbone.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_one_equals_a_batch_of_eight(name: str) -> None:
    backbone = load(name)
    values = examples_for(backbone)
    with torch.no_grad():
        whole = backbone(batch_of(backbone, values)).pooled
        single = torch.cat([backbone(batch_of(backbone, [value])).pooled for value in values])
    torch.testing.assert_close(whole, single, **EXACT)


@pytest.mark.parametrize("name", [*ENCODERS, "starter/glyph-cnn"])
def test_training_one_stage_leaves_the_others_bit_identical(name: str) -> None:
    backbone = load(name)
    top = backbone.stages()[-1].name
    frozen = {p for stage in backbone.stages()[:-1] for module in stage.modules for p in module.state_dict().values()}
    before = [tensor.clone() for tensor in frozen]
    backbone.freeze_except([top]).train()
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=0.1)
    batch = batch_of(backbone, examples_for(backbone))
    for _ in range(3):
        optimizer.zero_grad()
        backbone(batch).pooled.square().sum().backward()
        optimizer.step()
    assert all(torch.equal(old, new) for old, new in zip(before, frozen, strict=True))


@pytest.mark.parametrize("name", [*ENCODERS, "starter/glyph-cnn"])
def test_every_parameter_gets_a_gradient(name: str) -> None:
    backbone = load(name).train()
    # A square of features that are normalised would be constant.
    pooled = backbone(batch_of(backbone, examples_for(backbone))).pooled
    (pooled * torch.randn(pooled.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_state_makes_a_round_trip(name: str) -> None:
    backbone, other = load(name), zoo.load(f"{name}@random", catalog=CATALOG, seed=1)
    zoo.load_state(other, backbone.state_dict())
    batch = batch_of(backbone, examples_for(backbone))
    assert torch.equal(backbone(batch).pooled, other(batch).pooled)


@pytest.mark.parametrize("name", NAMES)
def test_another_pooling_summarises_the_tokens(name: str) -> None:
    backbone = load(name)
    backbone.pooling = "max"
    features = backbone(batch_of(backbone, examples_for(backbone)))
    assert torch.equal(features.pooled, zoo.pool(features.tokens, features.mask, "max"))


@pytest.mark.parametrize("name", NAMES)
def test_the_wrong_modality_is_said(name: str) -> None:
    backbone = load(name)
    other = "text" if backbone.modalities == ("image",) else "image"
    with pytest.raises(zoo.UsageError, match=f"{name} takes .* not {other}"):
        backbone.processor(other)


def test_random_weights_come_from_the_seed_alone() -> None:
    state = torch.random.get_rng_state()
    one, two, other = (zoo.load("starter/gru", catalog=CATALOG, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.embedding.weight, two.embedding.weight)
    assert not torch.equal(one.embedding.weight, other.embedding.weight)
    assert torch.equal(state, torch.random.get_rng_state())


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys, zoo_starter; list(zoo_starter.zoo_backbones()); list(zoo_starter.zoo_datasets());"
        "print([m for m in ('torch', 'numpy', 'PIL', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


# --- text encoders


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_no_feature(name: str, side: str) -> None:
    backbone = load(name)
    text = batch_of(backbone, [TEXTS[0]])["text"]
    width = (5, 0) if side == "left" else (0, 5)
    wide = {"ids": F.pad(text["ids"], width, value=7), "mask": F.pad(text["mask"], width)}
    with torch.no_grad():
        plain, padded = backbone({"text": text}), backbone({"text": wide})
    torch.testing.assert_close(padded.pooled, plain.pooled, **EXACT)
    torch.testing.assert_close(padded.tokens[padded.mask], plain.tokens[0], **EXACT)


@pytest.mark.parametrize(("name", "cell"), [("starter/lstm", nn.LSTM), ("starter/gru", nn.GRU)])
def test_a_recurrent_encoder_equals_torch_on_each_text_alone(name: str, cell: type[nn.RNNBase]) -> None:
    backbone = load(name)
    batch = batch_of(backbone, TEXTS)
    reference = cell(64, 128, num_layers=len(backbone.layers), bidirectional=True, batch_first=True)
    reference.load_state_dict(
        {
            key.replace("_l0", f"_l{i}"): tensor
            for i, layer in enumerate(backbone.layers)
            for key, tensor in layer.rnn.state_dict().items()
        }
    )
    with torch.no_grad():
        features = backbone(batch)
        for row, (ids, mask) in enumerate(zip(batch["text"]["ids"], batch["text"]["mask"], strict=True)):
            tokens, state = reference(F.embedding(ids[mask], backbone.embedding.weight).unsqueeze(0))
            last = state[0] if cell is nn.LSTM else state
            # The top layer's state after the last word forward, and after the first word backward.
            torch.testing.assert_close(features.pooled[row], torch.cat([last[-2, 0], last[-1, 0]]), **EXACT)
            torch.testing.assert_close(features.tokens[row, mask], tokens[0], **EXACT)


def test_the_transformer_equals_torch_on_each_text_alone() -> None:
    backbone = load("starter/text-transformer")
    layers = [_torch_layer(layer) for layer in backbone.layers]
    batch = batch_of(backbone, TEXTS)
    with torch.no_grad():
        features = backbone(batch)
        for row, (ids, mask) in enumerate(zip(batch["text"]["ids"], batch["text"]["mask"], strict=True)):
            ids = ids[mask]
            tokens = (backbone.embedding.weight[ids] + backbone.positions.weight[: len(ids)]).unsqueeze(0)
            for layer in layers:
                tokens = layer(tokens)
            tokens = backbone.norm(tokens)
            torch.testing.assert_close(features.pooled[row], tokens[0].mean(0), **EXACT)
            torch.testing.assert_close(features.tokens[row, mask], tokens[0], **EXACT)


def _torch_layer(layer: nn.Module) -> nn.TransformerEncoderLayer:
    reference = nn.TransformerEncoderLayer(
        64, 4, 256, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    names = {
        "qkv.": "self_attn.in_proj_",
        "out.": "self_attn.out_proj.",
        "up.": "linear1.",
        "down.": "linear2.",
    }
    state = {}
    for key, tensor in layer.state_dict().items():
        prefix = next((p for p in names if key.startswith(p)), "")
        state[names[prefix] + key.removeprefix(prefix) if prefix else key] = tensor
    reference.load_state_dict(state)
    return reference.train()  # dropout is 0; eval mode would take another path through the layer


@pytest.mark.parametrize("name", ENCODERS)
def test_a_text_without_a_real_token_gives_numbers(name: str) -> None:
    backbone = load(name)
    nothing = {"ids": torch.zeros(2, 3, dtype=torch.int64), "mask": torch.zeros(2, 3, dtype=torch.bool)}
    assert backbone({"text": nothing}).pooled.isfinite().all()


def test_long_texts_are_cut_and_pairs_keep_both() -> None:
    processor = load("starter/gru").processor("text")
    assert len(processor("word " * 1000)) == 128
    pair = processor(("one " * 1000, "two"))
    assert len(pair) == 128
    assert pair[-1] == processor("two")[-1]
    assert processor(("a b", "c")) != processor(("a", "b c"))


def test_every_text_has_pieces_and_no_two_texts_share_them_by_accident() -> None:
    processor = load("starter/gru").processor("text")
    odd = ["日", "本", "\ud800", "é", "e", "\U0001f993", "12", "1 2", "a_b", "a"]
    ids = [tuple(processor(text)) for text in odd]
    assert all(0 <= i < 4096 for each in ids for i in each)
    assert len(set(ids)) == len(odd) - 1  # "12" and "1 2" are the same two digits
    assert processor("Gate") == processor("gate")


def test_a_bag_of_words_counts_words_and_pairs() -> None:
    backbone = load("starter/bag-of-words")
    one, doubled, other = backbone(batch_of(backbone, ["a b", "a b a b", "b a"])).pooled
    assert (one > 0).sum() == 3  # a, b and the pair
    torch.testing.assert_close(one[one > 0], torch.full((3,), 3**-0.5))
    assert not torch.equal(one, other)
    assert (doubled > 0).sum() == 4
    assert not backbone(batch_of(backbone, [""])).pooled.any()


# --- image backbones


def test_glyph_cnn_equals_a_straight_network() -> None:
    backbone = load("starter/glyph-cnn")
    state = load_file(PACKAGE / "glyph-cnn.safetensors")
    pixels = batch_of(backbone, examples_for(backbone))["image"]["pixels"]
    x = pixels
    for i in range(4):
        x = F.max_pool2d(x, 2) if i else x
        x = F.conv2d(x, state[f"blocks.{i}.1.weight"], padding=1)
        norm = {key: state[f"blocks.{i}.2.{key}"] for key in ("running_mean", "running_var", "weight", "bias")}
        x = F.relu(F.batch_norm(x, **norm))
    features = backbone({"image": {"pixels": pixels}})
    torch.testing.assert_close(features.map(), x, **EXACT)
    cells = [x[:, :, i : i + 2, j : j + 2].mean((2, 3)) for i in (0, 2) for j in (0, 2)]
    torch.testing.assert_close(features.pooled, torch.stack(cells, dim=2).flatten(1), **EXACT)


def test_pixels_are_the_pixels() -> None:
    backbone = load("starter/pixels")
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    features = backbone(batch_of(backbone, [Image.fromarray(pixels)]))
    expected = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255 * 2 - 1
    torch.testing.assert_close(features.pooled[0], expected.flatten(), **EXACT)
    assert features.grid == (16, 16)


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.weights], ids=lambda spec: spec.name)
def test_shipped_weights_are_the_bytes_that_are_declared(spec: zoo.BackboneSpec) -> None:
    (weights,) = spec.weights
    raw = zoo.fetch(weights, offline=True).read_bytes()
    assert hashlib.sha256(raw).hexdigest() == weights.sha256
    assert len(raw) == weights.size


def test_glyph_cnn_is_small_enough_to_ship() -> None:
    assert (PACKAGE / "glyph-cnn.safetensors").stat().st_size < 300_000


def digit_features(name: str) -> np.ndarray:
    backbone = load(name)
    images = [Image.fromarray(ref.array).convert("RGB") for ref in dataset("sklearn:digits").columns["image"]]
    with torch.no_grad():
        return backbone(batch_of(backbone, images)).pooled.numpy()


def probe(features: np.ndarray, targets: np.ndarray, *, shots: int, draws: int) -> float:
    """Mean accuracy of a logistic regression on `shots` rows a class, over `draws` draws of them."""
    scores = []
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        train = np.concatenate([rng.permutation(np.flatnonzero(targets == c))[:shots] for c in np.unique(targets)])
        rest = np.setdiff1d(np.arange(len(targets)), train)
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        scores.append(model.fit(features[train], targets[train]).score(features[rest], targets[rest]))
    return float(np.mean(scores))


def test_letters_help_with_digits() -> None:
    targets = load_digits().target
    accuracy = {
        name: probe(digit_features(name), targets, shots=5, draws=5)
        for name in ("starter/glyph-cnn", "starter/glyph-cnn@random", "starter/pixels")
    }
    assert accuracy["starter/glyph-cnn"] > 0.92
    assert accuracy["starter/glyph-cnn"] > accuracy["starter/glyph-cnn@random"] + 0.04
    assert accuracy["starter/glyph-cnn"] > accuracy["starter/pixels"] + 0.06


@pytest.mark.slow
def test_the_script_trains_such_weights_again() -> None:
    from zoo_starter.pretrain_glyphs import pretrain

    with torch.random.fork_rng():
        *_, last = pretrain(steps=60)
    trained = last.backbone
    assert last.loss < 2.8  # 3.95 at first: 52 letters
    assert {k: v.shape for k, v in trained.state_dict().items()} == {
        k: v.shape for k, v in load_file(PACKAGE / "glyph-cnn.safetensors").items()
    }
    backbone = load("starter/glyph-cnn@random")
    images = [Image.fromarray(ref.array) for ref in dataset("sklearn:digits").columns["image"]]
    batch = batch_of(backbone, images)
    targets = load_digits().target
    with torch.no_grad():
        before, after = backbone(batch).pooled.numpy(), trained.eval()(batch).pooled.numpy()
    assert probe(after, targets, shots=5, draws=5) > probe(before, targets, shots=5, draws=5) + 0.01


def dataset(name: str) -> zoo.Table:
    from zoo.catalog.factories import import_factory

    return import_factory(CATALOG.datasets[name].factory, name)()


def test_number_words_and_pictures_know_more_together() -> None:
    table = dataset("builtin:numerals")
    targets = np.array(table.columns["label"])
    image, text = load("starter/glyph-cnn"), load("starter/bag-of-words")
    pictures = [Image.fromarray(ref.array) for ref in table.columns["image"]]
    with torch.no_grad():
        seen = image(batch_of(image, pictures)).pooled.numpy()
        read = text(batch_of(text, table.columns["text"])).pooled.numpy()
    alone = [probe(each, targets, shots=100, draws=1) for each in (seen, read)]
    assert min(alone) > 0.3
    assert probe(np.hstack([seen, read]), targets, shots=100, draws=1) > max(alone) + 0.03
