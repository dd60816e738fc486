"""Tip-Adapter against the formula of its paper, and what it chooses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from zoo.data.types import Task
from zoo.errors import UsageError
from zoo.models.features import Features
from zoo.models.tip_adapter import TipAdapterHead
from zoo.transfer.solvers import put_into, solve_head
from zoo.transfer.tip_adapter import choose
from zoo.transfer.zeroshot import ClassTexts, unit

TASK = Task("multiclass", ("a", "b", "c"))
RNG = np.random.default_rng(0)


def texts(classes: np.ndarray, scale: float = 10.0) -> ClassTexts:
    return ClassTexts(tuple((name,) for name in TASK.classes[: len(classes)]), unit(classes), math.log(scale))


def rows(count: int, seed: int, spread: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Features round three directions that are not those of the class names."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    directions = np.random.default_rng(9).normal(size=(3, 8))
    return (directions[labels] + spread * rng.normal(size=(count, 8))).astype(np.float32), labels


def features(pooled: np.ndarray) -> Features:
    found = torch.from_numpy(pooled)
    return Features(found, found.unsqueeze(1))


def test_it_answers_as_the_paper_writes() -> None:
    train, labels = rows(12, 0)
    named = texts(RNG.normal(size=(3, 8)))
    solution = solve_head("tip-adapter", train, labels, TASK, texts=named)
    head = put_into(TipAdapterHead(8, 3), solution)
    new, _ = rows(7, 1)
    f, F, L = unit(new), unit(train), np.eye(3)[labels]
    alpha, beta = solution.chosen["alpha"], solution.chosen["beta"]
    expected = 10 * f @ named.embeddings.T + alpha * np.exp(-beta * (1 - f @ F.T)) @ L
    np.testing.assert_allclose(head(features(new)).detach().numpy(), expected, atol=1e-4)


def test_alpha_and_beta_have_the_least_loss_on_rows_left_out() -> None:
    train, labels = rows(30, 2)
    named = texts(RNG.normal(size=(3, 8)))
    keys = unit(train)
    alpha, beta, loss = choose(keys, labels, named, seed=0)
    total = 0.0
    for row in range(30):
        others = np.arange(30) != row
        votes = np.exp(beta * (keys[row] @ keys[others].T - 1)) @ np.eye(3)[labels[others]]
        logits = named.logits(keys[row : row + 1])[0] + alpha * votes
        total += float(np.log(np.exp(logits).sum()) - logits[labels[row]])
    assert loss == pytest.approx(total / 30, rel=1e-4)
    assert alpha > 0  # the names are noise here, the rows are not


def test_where_rows_say_nothing_it_stays_with_the_names() -> None:
    directions = unit(np.random.default_rng(9).normal(size=(3, 8)))
    labels = np.arange(30) % 3
    train = directions[labels]  # three points alone: what is left out says what the names say
    assert choose(train, labels, texts(directions, 100.0), seed=0)[0] == 0


def test_rows_help_where_names_mislead() -> None:
    train, labels = rows(30, 3)
    new, truth = rows(60, 4)
    named = texts(np.roll(np.random.default_rng(9).normal(size=(3, 8)), 1, axis=0), 3.0)
    head = put_into(TipAdapterHead(8, 3), solve_head("tip-adapter", train, labels, TASK, texts=named))
    right = (head(features(new)).argmax(1).numpy() == truth).mean()
    assert right > 0.9 > 0.2 > (named.logits(new).argmax(1) == truth).mean()


def test_of_two_classes_it_gives_one_logit() -> None:
    train, labels = rows(12, 5)
    keep = labels < 2
    task, named = Task("binary", ("a", "b")), texts(RNG.normal(size=(2, 8)))
    one = put_into(TipAdapterHead(8, 1), solve_head("tip-adapter", train[keep], labels[keep], task, texts=named))
    both = put_into(TipAdapterHead(8, 2), solve_head("tip-adapter", train[keep], labels[keep], task, texts=named))
    logits = both(features(train))
    torch.testing.assert_close(one(features(train)), logits[:, 1:] - logits[:, :1])


def test_while_it_trains_no_row_votes_for_itself() -> None:
    train, labels = rows(12, 6)
    head = put_into(TipAdapterHead(8, 3), solve_head("tip-adapter", train, labels, TASK, texts=texts(np.eye(3, 8))))
    assert isinstance(head, TipAdapterHead)
    head.alpha.fill_(1.0)
    own = head(features(train)) - head.train()(features(train))
    torch.testing.assert_close(own, torch.eye(3)[torch.from_numpy(labels)])


def test_without_names_it_says_where_they_are() -> None:
    train, labels = rows(12, 7)
    with pytest.raises(UsageError, match="begins with the names of the classes"):
        solve_head("tip-adapter", train, labels, TASK)
    with pytest.raises(UsageError, match="--class-weights are weights in a loss"):
        solve_head("tip-adapter", train, labels, TASK, class_weights=np.ones(3), texts=texts(np.eye(3, 8)))
