"""Backbones side by side, and one text backbone over both sides of a pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import zoo_starter
from PIL import Image
from torch import Tensor

import zoo
from zoo import Backbone, Catalog, Features
from zoo.models.fusion import Fused, Paired
from zoo.transfer.strategies import Partial, StageRow

CATALOG = Catalog.of({"starter": zoo_starter})
IMAGE, TEXT = "starter/glyph-cnn", "starter/gru"
TEXTS = ["a short text", "another, much longer text about nothing at all", "no"]


def load(name: str) -> Backbone:
    return zoo.load(name, catalog=CATALOG)


def images() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (20 + i, 16, 3), dtype=np.uint8)) for i in range(3)]


def batch(backbone: Backbone, **values: Sequence[Any]) -> dict[Any, dict[str, Tensor]]:
    found = {}
    for modality, each in values.items():
        processor = backbone.processor(modality)  # type: ignore[arg-type]
        found[modality] = processor.finish(processor.collate([processor(value) for value in each]))
    return found


def run(backbone: Backbone, **values: Sequence[Any]) -> Features:
    with torch.no_grad():
        return backbone(batch(backbone, **values))


def test_pooled_of_image_and_text_is_the_concatenation_of_both() -> None:
    fused = load(f"{IMAGE}+{TEXT}")
    image = run(load(IMAGE), image=images()).pooled
    text = run(load(TEXT), text=TEXTS).pooled
    both = run(fused, image=images(), text=TEXTS)
    assert torch.equal(both.pooled, torch.cat([image, text], dim=1))
    assert fused.dim == image.shape[1] + text.shape[1] == both.pooled.shape[1]
    assert fused.modalities == ("image", "text")


def test_balance_gives_the_features_of_every_part_one_size() -> None:
    fused = load(f"{IMAGE}+{TEXT}")
    assert isinstance(fused, Fused)
    dim = load(IMAGE).dim
    before = run(fused, image=images(), text=TEXTS)
    fused.balance(before.pooled.numpy())
    after = run(fused, image=images(), text=TEXTS)
    assert before.pooled[:, dim:].square().mean() != pytest.approx(1.0, rel=0.1)
    for part in (after.pooled[:, :dim], after.pooled[:, dim:]):
        assert part.square().mean() == pytest.approx(1.0, rel=1e-4)
    scale = after.pooled[0, dim] / before.pooled[0, dim]
    assert torch.allclose(after.tokens[:, -1], before.tokens[:, -1] * scale, rtol=1e-5)


def test_the_order_of_the_name_is_the_order_of_the_vector() -> None:
    one, other = (run(load(name), image=images(), text=TEXTS) for name in (f"{IMAGE}+{TEXT}", f"{TEXT}+{IMAGE}"))
    dim = load(IMAGE).dim
    assert torch.equal(one.pooled[:, :dim], other.pooled[:, -dim:])


def test_tokens_of_both_lie_one_after_another_under_one_mask() -> None:
    both = run(load(f"{IMAGE}+{TEXT}"), image=images(), text=TEXTS)
    image, text = run(load(IMAGE), image=images()), run(load(TEXT), text=TEXTS)
    assert both.mask is not None
    assert text.mask is not None
    T = image.tokens.shape[1]
    assert both.mask[:, :T].all()
    assert torch.equal(both.mask[:, T:], text.mask)
    assert torch.equal(both.tokens[:, :T, : image.tokens.shape[2]], image.tokens)


def test_two_backbones_of_one_modality_each_see_it_their_own_way() -> None:
    # The network wants 32 pixels and the floor its own size: each keeps its preprocessing.
    names = ("starter/glyph-cnn", "starter/pixels")
    fused = load("+".join(names))
    expected = torch.cat([run(load(name), image=images()).pooled for name in names], dim=1)
    assert torch.equal(run(fused, image=images()).pooled, expected)
    assert fused.modalities == ("image",)


def test_three_parts_fuse_as_well() -> None:
    fused = load(f"{IMAGE}+{TEXT}+starter/lstm")
    assert fused.dim == sum(load(name).dim for name in (IMAGE, TEXT, "starter/lstm"))
    assert run(fused, image=images(), text=TEXTS).pooled.shape == (3, fused.dim)


def test_a_fused_name_can_be_typed_again() -> None:
    fused = load(f"glyph-cnn+{TEXT}@random")
    again = load(fused.name)
    assert again.name == fused.name
    assert torch.equal(run(again, image=images(), text=TEXTS).pooled, run(fused, image=images(), text=TEXTS).pooled)


def test_stages_of_each_part_are_a_branch_of_its_own() -> None:
    fused = load(f"{IMAGE}+{TEXT}")
    fused.check_stages()
    stages = fused.stages()
    assert [s.name for s in stages if s.branch == "0"] == [f"0.{s.name}" for s in load(IMAGE).stages()]
    assert [s.name for s in stages if s.branch == "1"] == [f"1.{s.name}" for s in load(TEXT).stages()]


def test_unfreezing_one_stage_unfreezes_the_top_of_every_part() -> None:
    fused = load(f"{IMAGE}+{TEXT}")
    (phase,) = Partial(1).phases([StageRow(s.name, s.branch) for s in fused.stages()])
    trained = set(phase.lr) - {"head"}
    assert trained == {f"0.{load(IMAGE).stages()[-1].name}", f"1.{load(TEXT).stages()[-1].name}"}
    fused.freeze_except(trained).train()
    assert {s.name for s in fused.stages() if any(p.requires_grad for p in s.parameters())} == trained


def test_training_keeps_the_frozen_part_of_a_fused_backbone_in_eval_mode() -> None:
    fused = load(f"{IMAGE}+{TEXT}")
    text = [s.name for s in fused.stages() if s.branch == "1"]
    fused.freeze_except(text).train()
    assert not any(m.training for s in fused.stages() if s.branch == "0" for m in s.modules)
    assert all(m.training for s in fused.stages() if s.branch == "1" for m in s.modules)


def test_a_single_backbone_is_no_fusion() -> None:
    with pytest.raises(zoo.UsageError, match="needs at least two parts"):
        zoo.fuse(load(IMAGE))


def test_an_empty_part_is_refused() -> None:
    with pytest.raises(zoo.UsageError, match="has an empty part"):
        load(f"{IMAGE}+")


# --- pairs of texts


PAIRS = [("a short text", "another one"), ("another, much longer text about nothing", "no"), ("same", "same")]


def test_a_pair_is_both_vectors_their_distance_and_their_product() -> None:
    single, paired = load(TEXT), Paired(load(TEXT))
    u, v = (run(single, text=[pair[side] for pair in PAIRS]).pooled for side in (0, 1))
    found = run(paired, text=PAIRS)
    torch.testing.assert_close(found.pooled, torch.cat([u, v, (u - v).abs(), u * v], dim=1))
    assert paired.dim == found.pooled.shape[1] == 4 * single.dim
    alike = found.pooled[2, 2 * single.dim : 3 * single.dim]  # two equal texts, at other places of the batch
    torch.testing.assert_close(alike, torch.zeros_like(alike), atol=1e-6, rtol=0)


def test_the_tokens_of_a_pair_are_those_of_both_sides() -> None:
    found = run(Paired(load(TEXT)), text=PAIRS)
    lengths = [run(load(TEXT), text=[pair[side] for pair in PAIRS]).tokens.shape[1] for side in (0, 1)]
    assert found.tokens.shape[1] == sum(lengths)


def test_a_fused_backbone_takes_pairs_beside_an_image() -> None:
    fused = Paired(load(f"{IMAGE}+{TEXT}"))
    single = load(f"{IMAGE}+{TEXT}")
    found = run(fused, image=images(), text=PAIRS)
    u, v = (run(single, image=images(), text=[pair[side] for pair in PAIRS]).pooled for side in (0, 1))
    torch.testing.assert_close(found.pooled, torch.cat([u, v, (u - v).abs(), u * v], dim=1))


def test_pairs_are_refused_where_no_text_is_taken() -> None:
    with pytest.raises(zoo.UsageError, match="takes no text, and the data hold pairs"):
        Paired(load(IMAGE))


def test_processors_of_different_parts_have_different_keys() -> None:
    keys = {load(name).processor("text").key for name in (TEXT, f"{TEXT}+{IMAGE}", "starter/bag-of-words")}
    keys.add(Paired(load(TEXT)).processor("text").key)
    assert len(keys) == 4
