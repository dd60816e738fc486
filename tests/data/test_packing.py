"""Texts packed by their tokens: every one once, little padding, and the same batches when processes share them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_loader import loader

import zoo
from zoo.data.batches import ENOUGH, packed
from zoo.data.types import Examples
from zoo.verbs.extract import extract
from zoo.verbs.packing import Size

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=120)


def lengths_of(batches: Sequence[np.ndarray[Any, Any]], lengths: Sequence[int]) -> list[list[int]]:
    return [[lengths[row] for row in rows] for rows in batches]


@settings(max_examples=80, deadline=None)
@given(LENGTHS, st.integers(1, 40), st.integers(1, 2000))
def test_batches_hold_every_row_once_within_rows_and_positions(lengths: list[int], rows: int, positions: int) -> None:
    it = loader(lengths, rows, positions=positions)
    order = it.order(0)
    assert sorted(row for each in order for row in each.tolist()) == list(range(len(lengths)))
    assert len(order) == len(it)
    for each in lengths_of(order, lengths):
        assert len(each) <= rows
        assert len(each) == 1 or len(each) * max(each) <= positions


@settings(max_examples=80, deadline=None)
@given(LENGTHS, st.integers(1, 40), st.integers(64, 2000), st.integers(2, 3))
def test_every_second_batch_packed_by_itself_is_the_same(
    lengths: list[int], rows: int, positions: int, of: int
) -> None:
    """So that processes that share an extraction compute the batches of one."""
    ascending = sorted(lengths)
    batches = np.split(np.array(ascending), packed(ascending, rows, positions))
    for rank in range(of):
        own = [each.tolist() for each in batches[rank::of]]
        merged = [length for each in own for length in each]
        assert [
            each.tolist() for each in np.split(np.array(merged), packed(merged, rows, positions)) if len(each)
        ] == own


def test_a_long_tail_costs_a_few_percent_of_padding_in_full_batches() -> None:
    lengths = np.random.default_rng(0).lognormal(3.5, 1, 400).astype(int).clip(3, 256).tolist()
    it = loader(lengths, 256, positions=2048)
    assert it.padding < 1.03
    sizes = [len(each) * max(each) for each in lengths_of(it.order(0), lengths)]
    assert np.median(sizes) >= ENOUGH * 2048


def test_training_keeps_its_rows_a_batch() -> None:
    assert {len(rows) for rows in loader([1, 50, 3, 80] * 8, 8, train=True, positions=16).order(0)} == {8}


def test_no_rows_make_no_batches() -> None:
    assert loader([], 4, positions=64).order(0) == []


@pytest.mark.parametrize("rows", [None, 3])
def test_extraction_says_its_padding_and_keeps_the_rows_that_were_asked_for(rows: int | None) -> None:
    backbone = zoo.load("starter/gru")
    texts = [("word " * (1 + each % 23)).strip() for each in range(40)]
    names = tuple(map(str, range(40)))
    size = Size.of(backbone, torch.device("cpu"), rows)
    assert (size.rows, size.positions is None) == ((3, True) if rows else (256, False))
    found = extract(backbone, Examples({"text": texts}, None, names, names), cache=False, batch_size=rows)
    assert found.padding is not None
    assert 1 <= found.padding < 1.5
    one = extract(backbone, Examples({"text": texts[5:6]}, None, names[:1], names[:1]), cache=False)
    np.testing.assert_allclose(found.features[5], one.features[0], atol=1e-6)


def test_what_came_from_the_cache_had_no_padding() -> None:
    backbone = zoo.load("starter/gru")
    rows = Examples({"text": ["one", "twenty two"]}, None, ("a", "b"), ("a", "b"))
    extract(backbone, rows)
    assert extract(backbone, rows).padding is None
