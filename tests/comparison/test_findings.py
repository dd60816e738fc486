"""The sentences of a comparison: each says what the figures bear out, and nothing where they do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from zoo.comparison.findings import findings
from zoo.comparison.result import (
    Apart,
    Comparison,
    Contender,
    Data,
    Fusion,
    Overall,
    Overlap,
    Protocol,
    Spoiled,
    Standing,
)

SHOP = Data(
    "shop", "multiclass", ("hat", "shoe"), {"train": 80, "test": 200}, ("image", "text"), "test", "accuracy", 0.5, "f"
)


def contender(title: str, *modalities: str, floor_of: str | None = None) -> Contender:
    return Contender(title, title, modalities, "linear-probe", floor_of=floor_of)


def row(title: str, value: float, **more: Any) -> Standing:
    pair = (value - 0.03, value + 0.03)
    return Standing(
        title, "shop", "all", 80, (value,), value, pair, {"accuracy": value}, {"accuracy": pair}, 1, None, **more
    )


def apart(of: str, since: str, value: float, p: float) -> Apart:
    half = abs(value) * (0.5 if p < 0.05 else 2) + 1e-6
    return Apart("shop", "all", of, since, value, (value - half, value + half), p, p, "McNemar, exact")


def comparison(**more: Any) -> Comparison:
    """An image and a text backbone, the text the better by far."""
    protocol = Protocol(
        "zoo compare", "0", (0,), ("all",), ("linear-probe",), "linear", {}, {}, "eye", {}, "now", 1.0, 2, 0
    )
    made: dict[str, Any] = {
        "contenders": (contender("eye", "image"), contender("ear", "text")),
        "standings": (row("eye", 0.7), row("ear", 0.9)),
        "differences": (apart("eye", "ear", -0.2, 0.001),),
        **more,
    }
    return Comparison("c", protocol, (SHOP,), **made)


def test_the_best_is_named_with_its_interval_and_with_who_is_as_good() -> None:
    assert findings(comparison())[0] == (
        "ear is best on shop: accuracy 0.900 [0.870, 0.930]; every other contender is significantly worse."
    )
    near = comparison(differences=(apart("eye", "ear", -0.2, 0.2),))
    assert findings(near)[0].endswith("but none of the others can be told from it on 200 rows.")
    third = comparison(
        contenders=(contender("eye", "image"), contender("ear", "text"), contender("nose", "image")),
        standings=(row("eye", 0.7), row("ear", 0.9), row("nose", 0.89)),
        differences=(apart("eye", "ear", -0.2, 0.001), apart("nose", "ear", -0.01, 0.6)),
    )
    assert findings(third)[0].endswith("; nose cannot be told from it on 200 rows.")


def test_of_learning_curves_the_difference_after_most_rows_counts() -> None:
    early = replace(apart("eye", "ear", -0.01, 0.6), shots=4)
    found = comparison(differences=(early, apart("eye", "ear", -0.2, 0.001)))
    assert findings(found)[0].endswith("; every other contender is significantly worse.")


def test_less_is_better_where_the_metric_says_so() -> None:
    data = replace(SHOP, task="regression", metric="rmse", trivial=2.0)
    assert findings(replace(comparison(), data=(data,)))[0].startswith("eye is best on shop: RMSE 0.700")


@pytest.mark.parametrize(
    ("floor", "p", "said"),
    [
        (0.95, 0.6, "Random weights do as well as those of ear (0.950 against 0.900): the text column all but names"),
        (0.89, 0.6, "Random weights do as well as those of ear (0.890 against 0.900): pretraining brings nothing sure"),
        (0.87, 0.01, "Random weights reach 92% of what ear is above the trivial answer (0.870 against 0.900)"),
        (0.70, 0.001, None),
        (0.97, 0.001, "Random weights do better than those of ear (0.970 against 0.900): transfer is negative here."),
    ],
)
def test_a_floor_that_is_nearly_as_good_is_said_and_one_that_is_not_is_left_out(
    floor: float, p: float, said: str | None
) -> None:
    found = comparison(
        contenders=(
            contender("eye", "image"),
            contender("ear", "text"),
            contender("ear (random)", "text", floor_of="ear"),
        ),
        standings=(row("eye", 0.7), row("ear", 0.9), row("ear (random)", floor)),
        differences=(apart("eye", "ear", -0.2, 0.001), apart("ear", "ear (random)", 0.9 - floor, p)),
    )
    sentences = [each for each in findings(found) if "andom weights" in each]
    assert [each.startswith(str(said)) for each in sentences] == ([] if said is None else [True])


@pytest.mark.parametrize(
    ("value", "sure", "begin"),
    [
        (0.06, True, "Joining modalities pays: both less ear alone is +0.060"),
        (0.06, False, "Joining modalities brings nothing sure: both less ear alone is +0.060"),
        (-0.06, False, "Joining modalities harms: both less ear alone is -0.060"),
    ],
)
def test_what_joining_brings_is_said_with_its_sign_and_certainty(value: float, sure: bool, begin: str) -> None:
    spread = 0.02 if sure or value < 0 else 0.2
    fusion = Fusion("shop", "all", "both", "ear", value, (value - spread, value + spread), 0.01, sure)
    assert any(each.startswith(begin) for each in findings(comparison(fusions=(fusion,))))


def test_a_modality_that_makes_no_difference_is_named() -> None:
    lost = (
        Spoiled("shop", "both", "image", "shuffled", 0.9, 0.0, (-0.01, 0.01)),
        Spoiled("shop", "both", "text", "shuffled", 0.5, 0.4, (0.3, 0.5)),
        Spoiled("shop", "both", "text", "dropped", 0.6, 0.3, (0.2, 0.4)),
    )
    said = "both with one modality of another row: -0.000 without its image, -0.400 without its text; it makes no sure "
    assert f"{said}use of the image." in findings(comparison(spoiled=lost))


def test_where_errors_overlap_is_said_of_the_best_of_each_modality() -> None:
    found = comparison(overlaps=(Overlap("shop", "eye", "ear", 130, 10, 50, 10, 0.1, 0.95),))
    assert any(
        "err on different rows (kappa 0.10): 10 of 200 rows are right by eye alone" in e for e in findings(found)
    )


def test_a_contender_no_better_than_always_the_same_answer_is_named() -> None:
    found = comparison(standings=(row("eye", 0.51), row("ear", 0.9)))
    assert "eye is not surely better than the trivial answer (0.500)." in findings(found)


def test_a_leak_comes_first_and_few_data_sets_are_called_few() -> None:
    from zoo.data.audit import LEAK_MARK

    leaky = replace(SHOP, notes=(f"{LEAK_MARK}: 3 rows",))
    assert findings(replace(comparison(), data=(leaky,)))[0].startswith("Held-out rows of shop are also training rows")
    two = replace(comparison(), data=(SHOP, replace(SHOP, name="other")), overall=(Overall("ear", 1.0, (1.0, 1.5), 2),))
    assert findings(two)[-1] == (
        "Over 2 data sets ear has the best mean rank, 1.00 [1.00, 1.50]; so few sets say little of others."
    )
    assert findings(two)[0].startswith("ear is best on shop")


def test_one_seed_of_a_training_is_said_to_tell_of_that_model_alone() -> None:
    trained = comparison(standings=(row("eye", 0.7, runs=("runs/eye",)), row("ear", 0.9)))
    assert findings(trained)[-1].startswith("One seed: differences are between these trained models")
    assert not any(each.startswith("One seed") for each in findings(comparison()))
