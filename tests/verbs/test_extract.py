"""Features of single modalities are found again whatever stands beside them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from zoo.data.identity import content_of, identities, joined
from zoo.data.types import Examples, ImageRef
from zoo.records import cache
from zoo.verbs.extract import FeatureSet, extract, parts_of

IMAGE, TEXT = "starter/glyph-cnn", "starter/gru"


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder of the test's own."""
    monkeypatch.setattr(cache, "cache_home", lambda: tmp_path)


@pytest.fixture(scope="module")
def rows() -> Examples:
    """60 numbers, drawn and spelled."""
    return zoo.read_dataset("builtin:numerals").splits["train"].select(range(60))


@pytest.fixture(scope="module")
def image() -> zoo.Backbone:
    return zoo.load(IMAGE)


@pytest.fixture(scope="module")
def text() -> zoo.Backbone:
    return zoo.load(TEXT)


def only(rows: Examples, modality: Any) -> Examples:
    """As they are when the other columns were not read."""
    return Examples({modality: list(rows.inputs[modality])}, rows.targets, content_of(rows, modality), rows.names)


def passed(backbone: zoo.Backbone, rows: Examples) -> np.ndarray[Any, Any]:
    """(N, D) of the backbone itself, one row at a time."""
    with torch.no_grad():
        loader = zoo.Loader(rows, {m: backbone.processor(m) for m in backbone.modalities}, batch_size=1)
        found = {int(b.rows[0]): backbone(b.to(torch.device("cpu")).inputs).pooled[0].numpy() for b in loader.epoch(0)}
    return np.stack([found[row] for row in range(len(rows))])


def test_a_row_has_the_id_it_always_had() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    both, _ = identities({"text": ["x"], "image": [ImageRef("a", array=pixels)]}, 1)
    assert both == (hashlib.sha256(b"image\0" + pixels.tobytes() + b"\0" + b"text\0x\0").hexdigest()[:16],)
    assert identities({"text": ["x"]}, 1)[0] == (hashlib.sha256(b"text\0x\0").hexdigest()[:16],)


def test_features_of_images_are_found_again_when_texts_are_read_too(image: zoo.Backbone, rows: Examples) -> None:
    alone = extract(image, only(rows, "image"))
    beside = extract(image, rows)
    assert not alone.cached
    assert beside.cached
    assert beside.key == alone.key
    np.testing.assert_array_equal(alone.features, beside.features)


def test_joint_features_are_made_of_those_of_the_parts(image: zoo.Backbone, text: zoo.Backbone, rows: Examples) -> None:
    seen: list[int] = []
    parts = [extract(image, rows), extract(text, rows)]
    both = extract(zoo.fuse(image, text), rows, progress=seen.append)
    assert both.cached
    assert sum(seen) == len(rows)
    np.testing.assert_array_equal(both.features, np.concatenate([each.features for each in parts], axis=1))


def test_parts_are_found_again_after_the_joint_pass(image: zoo.Backbone, text: zoo.Backbone, rows: Examples) -> None:
    assert not extract(zoo.fuse(text, image), rows).cached
    assert extract(image, only(rows, "image")).cached
    assert extract(text, only(rows, "text")).cached


def test_joint_features_are_those_of_one_pass_through_both(
    image: zoo.Backbone, text: zoo.Backbone, rows: Examples
) -> None:
    fused = zoo.fuse(zoo.fuse(image, text), text)
    seen: list[int] = []
    found = extract(fused, rows, cache=False, progress=seen.append)
    # Texts are padded to the longest of their batch, which differs: kernels add up in another order.
    np.testing.assert_allclose(found.features, passed(fused, rows), rtol=1e-4, atol=1e-5)
    assert sum(seen) == len(rows)


def test_parts_of_a_joint_backbone_are_columns(image: zoo.Backbone, text: zoo.Backbone) -> None:
    fused = zoo.fuse(zoo.fuse(image, text), image)
    a, b = image.dim, text.dim
    assert [(part.modalities, part.columns) for part in parts_of(fused)] == [
        (("image",), slice(0, a)),
        (("text",), slice(a, a + b)),
        (("image",), slice(a + b, 2 * a + b)),
    ]
    assert [part.name for part in parts_of(image)] == [image.name]


@pytest.mark.parametrize("modality", ["image", "text"])
def test_a_column_that_was_put_in_anothers_place_is_no_longer_that_one(
    image: zoo.Backbone, text: zoo.Backbone, rows: Examples, modality: Any
) -> None:
    backbone = {"image": image, "text": text}[modality]
    first = extract(backbone, rows)
    turned = replace(rows, inputs={**rows.inputs, modality: list(rows.inputs[modality])[::-1]})
    second = extract(backbone, turned)
    assert not second.cached
    np.testing.assert_allclose(second.features[::-1], first.features, rtol=1e-4, atol=1e-5)


def test_rows_that_were_chosen_and_joined_keep_the_content_they_had(rows: Examples) -> None:
    again = joined([rows.select(range(20)), rows.select(range(20, 60))])
    for modality in rows.inputs:
        assert content_of(again, modality) == content_of(rows, modality)
        assert again.hashed[modality].column is again.inputs[modality]
    assert again.ids == rows.ids


def test_all_splits_together_keep_their_order() -> None:
    data = zoo.read_dataset("builtin:numerals", zoo.ReadOptions(limit=30))
    found: FeatureSet = extract(IMAGE, data)
    assert found.splits == ("train",) * 30 + ("val",) * 300
    np.testing.assert_allclose(found.features[30:], extract(IMAGE, data, split="val").features, rtol=1e-4, atol=1e-5)
