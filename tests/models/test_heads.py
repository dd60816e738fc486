"""Heads: shapes, dropout, masks, and what each computes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from zoo import Features, UnknownNameError
from zoo.models.heads import Head, build_head

HEADS = ("linear", "mlp", "gap-dense", "attention")


def built(name: str, outputs: int = 3, dropout: float = 0.0) -> Head:
    torch.manual_seed(0)
    return build_head(name, dim=6, token_dim=5, outputs=outputs, dropout=dropout)


def features(mask: torch.Tensor | None = None) -> Features:
    generator = torch.Generator().manual_seed(1)
    return Features(torch.randn(4, 6, generator=generator), torch.randn(4, 7, 5, generator=generator), mask=mask)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("outputs", [1, 3])
def test_outputs_have_one_column_for_each_class(name: str, outputs: int) -> None:
    out = built(name, outputs)(features())
    assert out.shape == (4, outputs)
    assert out.isfinite().all()


@pytest.mark.parametrize("name", HEADS)
def test_every_parameter_of_a_head_gets_a_gradient(name: str) -> None:
    head = built(name)
    if name == "attention":
        torch.nn.init.normal_(head.query)  # it starts at zero, where the key has no gradient yet
    head(features()).square().sum().backward()
    assert [n for n, p in head.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("name", HEADS)
def test_dropout_acts_in_training_only(name: str) -> None:
    head, x = built(name, dropout=0.5), features()
    assert torch.equal(head.eval()(x), built(name).eval()(x))
    head.train()
    assert not torch.equal(head(x), head(x))
    plain = built(name).train()
    assert torch.equal(plain(x), plain(x))


@pytest.mark.parametrize("name", HEADS)
def test_dropout_is_where_and_as_strong_as_asked(name: str) -> None:
    assert [m.p for m in built(name, dropout=0.3).modules() if isinstance(m, torch.nn.Dropout)] == [0.3]


@pytest.mark.parametrize("name", ["gap-dense", "attention"])
def test_masked_tokens_count_for_nothing(name: str) -> None:
    mask = torch.ones(4, 7, dtype=torch.bool)
    mask[:, 5:] = False
    x, head = features(mask), built(name)
    if name == "attention":
        torch.nn.init.normal_(head.query)
    other = Features(x.pooled, x.tokens.masked_fill(~mask.unsqueeze(-1), 1e3), mask=mask)
    cut = Features(x.pooled, x.tokens[:, :5])
    torch.testing.assert_close(head(x), head(other))
    torch.testing.assert_close(head(x), head(cut))


def test_the_linear_head_is_one_layer_on_the_pooled_vector() -> None:
    head, x = built("linear"), features()
    weight, bias = dict(head.named_parameters())["linear.weight"], dict(head.named_parameters())["linear.bias"]
    assert torch.equal(head(x), F.linear(x.pooled, weight, bias))


def test_gap_dense_averages_then_has_a_dense_layer_of_1024() -> None:
    head, x = built("gap-dense"), features()
    parameters = dict(head.named_parameters())
    hidden = torch.relu(F.linear(x.tokens.mean(1), parameters["dense.weight"], parameters["dense.bias"]))
    assert hidden.shape == (4, 1024)
    torch.testing.assert_close(head(x), F.linear(hidden, parameters["linear.weight"], parameters["linear.bias"]))


def test_attention_starts_as_the_mean_of_the_normalised_tokens() -> None:
    head, x = built("attention"), features()
    parameters = dict(head.named_parameters())
    mean = F.layer_norm(x.tokens, (5,)).mean(1)
    torch.testing.assert_close(head(x), F.linear(mean, parameters["linear.weight"], parameters["linear.bias"]))


def test_attention_learns_where_to_look() -> None:
    # The class is the sign of the first channel at the one token that the second channel marks: no mean can tell.
    generator = torch.Generator().manual_seed(0)
    tokens = torch.zeros(256, 7, 5)
    tokens[:, :, 0] = torch.randint(2, (256, 7), generator=generator) * 4.0 - 2
    rows, where = torch.arange(256), torch.randint(7, (256,), generator=generator)
    tokens[rows, where, 1] = 4.0
    labels = (tokens[rows, where, 0] > 0).long()
    head = built("attention", outputs=2)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        F.cross_entropy(head(Features(tokens.mean(1), tokens)), labels).backward()
        optimizer.step()
    assert (head(Features(tokens.mean(1), tokens)).argmax(1) == labels).float().mean() > 0.95


def test_an_unknown_head_offers_close_matches() -> None:
    with pytest.raises(UnknownNameError, match=r"No head is named 'gap_dense'\. Did you mean gap-dense"):
        build_head("gap_dense", dim=1, token_dim=1, outputs=1)
