"""How tokens become one vector, and features of several backbones one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo import Features, UsageError, first_real, join, last_real, pool, positions

HOWS = ("cls", "mean", "max", "last")


def padded(rows: list[torch.Tensor], side: str, filler: float) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows)) + 2
    tokens = torch.full((len(rows), width, rows[0].shape[1]), filler)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        start = 0 if side == "right" else width - len(row)
        tokens[i, start : start + len(row)] = row
        mask[i, start : start + len(row)] = True
    return tokens, mask


@pytest.mark.parametrize("how", HOWS)
@settings(deadline=None)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4), side=st.sampled_from(["left", "right"]))
def test_padding_on_either_side_does_not_change_pooled(how: str, lengths: list[int], side: str) -> None:
    generator = torch.Generator().manual_seed(len(lengths))
    rows = [torch.randn(n, 3, generator=generator) - 5 for n in lengths]  # below 0, so a padded 0 would win a max
    tokens, mask = padded(rows, side, filler=1e4)
    alone = torch.cat([pool(row[None], None, how) for row in rows])
    torch.testing.assert_close(pool(tokens, mask, how), alone, rtol=1e-5, atol=1e-6)


def test_each_pooling_takes_what_its_name_says() -> None:
    tokens, mask = padded([torch.tensor([[1.0], [5.0], [3.0]])], "left", filler=99.0)
    assert {how: pool(tokens, mask, how).item() for how in HOWS} == {"cls": 1, "mean": 3, "max": 5, "last": 3}


def test_first_and_last_real_tokens_are_found_on_either_side() -> None:
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1], [0, 1, 1, 0]]).bool()
    assert first_real(mask).tolist() == [0, 2, 0, 1]
    assert last_real(mask).tolist() == [1, 3, 3, 2]


def test_positions_count_real_tokens_only() -> None:
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()
    assert positions(mask)[0, 2:].tolist() == positions(mask)[1, :3].tolist() == [0, 1, 2]
    assert positions(mask).min() == 0


def test_a_row_without_real_tokens_pools_to_finite_numbers() -> None:
    tokens, mask = torch.randn(1, 3, 2), torch.zeros(1, 3, dtype=torch.bool)
    assert torch.equal(pool(tokens, mask, "mean"), torch.zeros(1, 2))


def test_joined_features_lie_side_by_side_and_padded_widths_count_for_nothing() -> None:
    a = Features(torch.ones(2, 3), torch.ones(2, 4, 3), grid=(2, 2))
    b = Features(torch.zeros(2, 5), torch.full((2, 2, 5), 2.0), mask=torch.tensor([[True, False], [True, True]]))
    both = join([a, b])
    assert both.pooled.tolist() == [[1, 1, 1, 0, 0, 0, 0, 0]] * 2
    assert both.tokens.shape == (2, 6, 5)
    assert not both.tokens[:, :4, 3:].any()
    assert both.mask is not None
    assert both.mask.tolist() == [[True] * 5 + [False], [True] * 6]
    assert both.grid is None
    assert join([a]) is a


def test_a_spatial_map_is_the_tokens_in_row_order() -> None:
    spatial = torch.randn(2, 5, 3, 4)
    features = Features(spatial.mean((2, 3)), spatial.flatten(2).transpose(1, 2), grid=(3, 4))
    assert torch.equal(features.map(), spatial)


def test_words_have_no_spatial_map() -> None:
    with pytest.raises(UsageError, match="no spatial grid"):
        Features(torch.zeros(1, 2), torch.zeros(1, 3, 2)).map()
