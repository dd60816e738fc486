"""`zoo.compare`: the same rows and protocol for every contender, results that are kept, joint models beside single."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zoo
from zoo.comparison.result import Comparison, read_comparison
from zoo.errors import UsageError, ZooError
from zoo.records import home
from zoo.verbs.run import Event, Interrupted

pytestmark = pytest.mark.xdist_group("compare")  # or every process makes the comparisons that many tests read
GLYPHS, PIXELS, WORDS = "starter/glyph-cnn", "starter/pixels", "starter/bag-of-words"
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture(scope="module", autouse=True)
def kept(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Results of this file alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_HOME", str(tmp_path_factory.mktemp("home")))
        home.cache_home.cache_clear()
        yield
    home.cache_home.cache_clear()


@pytest.fixture(scope="module")
def digits() -> zoo.Dataset:
    """Few of them, so that a comparison takes a second."""
    return zoo.read_dataset("sklearn:digits", zoo.ReadOptions(limit=100))


@pytest.fixture(scope="module")
def both(digits: zoo.Dataset) -> zoo.Dataset:
    """Digits beside a text that names every third of them, and a wrong one otherwise."""

    def told(examples: zoo.Examples) -> zoo.Examples:
        assert examples.targets is not None
        rng = np.random.default_rng(0)
        texts = [NUMBERS[target if row % 3 == 0 else rng.integers(10)] for row, target in enumerate(examples.targets)]
        return replace(examples, inputs={**examples.inputs, "text": texts})

    splits = {split: told(examples) for split, examples in digits.splits.items()}
    return replace(digits, name="told", splits=splits, fingerprint="told")


def of(found: Comparison, title: str, shots: Any = "all") -> Any:
    """A contender's row."""
    return next(each for each in found.standings if (each.contender, each.shots) == (title, shots))


@pytest.fixture(scope="module")
def curves(digits: zoo.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Two backbones and a floor, few rows and all."""
    return zoo.compare(
        [GLYPHS, PIXELS], digits, shots=(4, "all"), seeds=2, out=zoo.Output(dir=tmp_path_factory.mktemp("c"))
    )


def test_draws_and_heads_are_those_of_zoo_probe(curves: Comparison, digits: zoo.Dataset) -> None:
    probed = zoo.probe(PIXELS, digits, shots=(4, "all"), seeds=2, heads=["linear"])
    for point in probed.sweep.points:
        assert of(curves, "pixels", point.shots).values == point.values


def test_contenders_that_cannot_be_told_apart_share_a_rank_and_floors_have_none(curves: Comparison) -> None:
    apart = next(each for each in curves.differences if (each.of, each.since) == ("glyph-cnn", "pixels"))
    ranks = {each.contender: each.rank for each in curves.standings if each.shots == "all"}
    assert ranks == {"glyph-cnn": 1, "pixels": 2 if apart.sure else 1, "glyph-cnn (random)": None}
    assert {each.rank for each in curves.standings if each.shots == 4} == {None}


def test_a_random_backbone_is_the_floor_of_its_contender(curves: Comparison) -> None:
    floor = next(each for each in curves.contenders if each.title == "glyph-cnn (random)")
    assert (floor.floor_of, floor.backbone) == ("glyph-cnn", "starter/glyph-cnn@random")
    assert of(curves, "glyph-cnn", 4).value > of(curves, "glyph-cnn (random)", 4).value


def test_costs_and_the_trivial_answer_stand_beside_the_metric(curves: Comparison, digits: zoo.Dataset) -> None:
    row, contender = of(curves, "glyph-cnn"), curves.contenders[0]
    assert contender.params == 53_488
    assert contender.flops is not None
    assert contender.flops > 2 * contender.params
    assert row.cost.ms_per_row > 0
    assert row.cost.train_seconds > 0
    assert row.cost.trained_params == 3_210
    targets = digits.splits["val"].targets
    train = digits.splits["train"].targets
    assert targets is not None
    assert train is not None
    assert curves.data[0].trivial == pytest.approx((targets == np.bincount(train).argmax()).mean())


def test_what_is_written_can_be_read_back(curves: Comparison, tmp_path: Path) -> None:
    curves.write(tmp_path)
    assert read_comparison(tmp_path).to_json() == curves.to_json()
    with pytest.raises(UsageError, match="is no comparison"):
        read_comparison(tmp_path / "other")
    (tmp_path / "comparison.json").write_text('{"format": 99}')
    with pytest.raises(UsageError, match="has the format 99, not 1"):
        read_comparison(tmp_path)


def test_the_same_comparison_again_trains_nothing_and_another_contender_trains_that_one(
    curves: Comparison, digits: zoo.Dataset, tmp_path: Path
) -> None:
    again = zoo.compare([GLYPHS, PIXELS], digits, shots=(4, "all"), seeds=2, out=zoo.Output(dir=str(tmp_path)))
    assert (again.protocol.computed, again.protocol.cached) == (0, 9)
    assert again.standings == curves.standings
    more = zoo.compare(
        [GLYPHS, PIXELS, "cut=starter/glyph-cnn[:2]"],
        digits,
        shots=(4, "all"),
        seeds=2,
        floors=False,
        out=zoo.Output(dir=str(tmp_path)),
    )
    assert (more.protocol.computed, more.protocol.cached) == (3, 6)
    assert of(more, "cut").rank is not None


def test_other_rows_and_other_choices_are_not_taken_for_these(digits: zoo.Dataset, tmp_path: Path) -> None:
    other = zoo.read_dataset("sklearn:digits", zoo.ReadOptions(limit=99))
    out = zoo.Output(dir=str(tmp_path))
    assert zoo.compare([PIXELS], other, shots=("all",), out=out).protocol.cached == 0
    assert zoo.compare([PIXELS], digits, shots=("all",), head="knn", out=out).protocol.cached == 0


def test_random_weights_and_weights_of_classes_are_part_of_what_is_kept(digits: zoo.Dataset, tmp_path: Path) -> None:
    def values(random: int, seeds: int, **more: Any) -> dict[int, float]:
        training = zoo.Training(seed=random, **more)
        out = zoo.Output(dir=str(tmp_path))
        found = zoo.compare(["starter/glyph-cnn@random"], digits, shots=(4,), seeds=seeds, training=training, out=out)
        return dict(zip(found.protocol.seeds, found.standings[0].values, strict=True))

    first, second = values(0, 2), values(1, 1)
    assert first[1] != second[1]  # the same draw by other frozen weights
    assert values(0, 2) == first
    weighted = zoo.Training(class_weights=",".join(["9", *["1"] * 9]))
    out = zoo.Output(dir=str(tmp_path))
    plain = zoo.compare([PIXELS], digits, shots=(4,), seeds=1, out=out).standings[0]
    assert (
        zoo.compare([PIXELS], digits, shots=(4,), seeds=1, training=weighted, out=out).standings[0].metrics
        != plain.metrics
    )


def test_a_file_that_has_changed_is_read_anew(tmp_path: Path) -> None:
    def compared(rows: int) -> Comparison:
        lines = (f"{'good' if row % 2 else 'bad'} {row},{'up' if row % 2 else 'down'}\n" for row in range(rows))
        (tmp_path / "told.csv").write_text("text,label\n" + "".join(lines))
        return zoo.compare([WORDS], tmp_path / "told.csv", seeds=1, out=zoo.Output(dir=str(tmp_path)))

    assert [sum(compared(rows).data[0].rows.values()) for rows in (20, 30)] == [20, 30]


@pytest.fixture(scope="module")
def joint(both: zoo.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Image, text and both, though only the joint one was named."""
    out = zoo.Output(dir=str(tmp_path_factory.mktemp("c")))
    return zoo.compare([f"{PIXELS}+{WORDS}"], both, shots=(4, "all"), seeds=1, out=out)


def test_the_parts_of_a_joint_contender_take_part(joint: Comparison) -> None:
    assert [each.title for each in joint.contenders] == ["pixels+bag-of-words", "pixels", "bag-of-words"]
    assert joint.contenders[0].parts == ("pixels", "bag-of-words")


def test_what_joining_brings_is_set_beside_the_best_part_with_its_interval(joint: Comparison) -> None:
    found = {each.shots: each for each in joint.fusions}
    assert set(found) == {4, "all"}
    best = max(("pixels", "bag-of-words"), key=lambda title: of(joint, title).value)
    assert found["all"].best == best
    assert found["all"].value == pytest.approx(of(joint, "pixels+bag-of-words").value - of(joint, best).value)
    assert found["all"].interval[0] <= found["all"].value <= found["all"].interval[1]
    assert any("joining modalities" in sentence.casefold() for sentence in joint.findings)


def test_a_modality_that_tells_nothing_at_test_time_costs_what_was_taken_from_it(joint: Comparison) -> None:
    found = {(each.modality, each.how): each for each in joint.spoiled}
    assert set(found) == {(m, how) for m in ("image", "text") for how in ("dropped", "shuffled")}
    assert found["image", "shuffled"].loss > 0.5 > found["text", "shuffled"].loss
    whole = of(joint, "pixels+bag-of-words").value
    assert found["image", "dropped"].value == pytest.approx(whole - found["image", "dropped"].loss)


def test_errors_are_counted_where_they_overlap_and_shown_with_picture_and_text(
    joint: Comparison, both: zoo.Dataset
) -> None:
    found = next(each for each in joint.overlaps if {each.one, each.other} == {"pixels", "bag-of-words"})
    rows = found.both_right + found.only_one + found.only_other + found.both_wrong
    assert rows == len(both.splits["val"])
    assert (found.both_right + found.only_one) / rows == pytest.approx(of(joint, found.one).value)
    shown = joint.errors[0]
    assert shown.image is not None
    assert shown.image.startswith("data:image/png;base64,")
    assert shown.text in NUMBERS
    assert set(shown.answers) == {each.title for each in joint.contenders}
    assert len({shown.answers["pixels"] == shown.truth, shown.answers["bag-of-words"] == shown.truth}) == 2


def test_features_are_set_beside_each_other_and_on_a_map(joint: Comparison, both: zoo.Dataset) -> None:
    alike = {frozenset((each.one, each.other)): each.cka for each in joint.likenesses}
    assert list(alike) == [frozenset(("pixels", "bag-of-words"))]
    assert abs(alike[frozenset(("pixels", "bag-of-words"))]) < 0.3
    picture = next(each for each in joint.pictures if each.contender == "pixels")
    assert len(picture.points) == len(picture.labels) == len(both.splits["val"])
    assert sum(map(sum, joint.confusions[0].matrix)) == len(both.splits["val"])


def test_trainings_go_on_where_they_were_stopped(digits: zoo.Dataset, tmp_path: Path) -> None:
    training = zoo.Training(epochs=2, batch_size=64, save_every=1)
    steps = 0

    def watch(event: Event) -> None:
        nonlocal steps
        steps += event.record is not None

    def compare(folder: str, stop: Any = lambda: False) -> Comparison:
        return zoo.compare(
            [GLYPHS],
            digits,
            strategies=("full",),
            shots=(6,),
            seeds=2,
            training=training,
            floors=False,
            out=zoo.Output(dir=str(tmp_path / folder), name="mine"),
            watch=watch,
            stop=stop,
        )

    with pytest.raises(Interrupted, match=r"stopped|interrupted"):
        compare("one", lambda: steps >= 3)
    runs = list((tmp_path / "one" / "mine" / "runs").glob("glyph*"))
    assert len(runs) in (1, 2)
    found = compare("one")
    assert found.protocol.computed + found.protocol.cached == 2
    row = of(found, "glyph-cnn", 6)
    assert len(row.runs) == 2
    assert all(Path(run, "run.json").is_file() for run in row.runs)
    assert row.cost.trained_params > 50_000


def test_a_contender_that_fails_costs_itself_alone(digits: zoo.Dataset, tmp_path: Path) -> None:
    found = zoo.compare(
        [PIXELS, GLYPHS],
        digits,
        strategies=("linear-probe", "norm-tuning"),
        shots=(2,),
        seeds=1,
        floors=False,
        training=zoo.Training(epochs=1),
        out=zoo.Output(dir=str(tmp_path)),
    )
    assert found.failures is not None
    assert list(found.failures) == ["pixels, norm-tuning on sklearn:digits"]
    assert "no normalisation" in next(iter(found.failures.values()))
    assert {each.contender for each in found.standings} == {
        "pixels, linear-probe",
        "glyph-cnn, linear-probe",
        "glyph-cnn, norm-tuning",
    }


def test_a_finished_run_is_a_contender_without_a_floor(digits: zoo.Dataset, tmp_path: Path) -> None:
    out = zoo.Output(dir=str(tmp_path / "runs"), name="mine")
    zoo.finetune(GLYPHS, digits, strategy="linear-probe", out=out, baseline="none")
    mine = f"mine={tmp_path / 'runs' / 'mine'}"
    found = zoo.compare([mine], digits, shots=(2,), seeds=1, out=zoo.Output(dir=str(tmp_path)))
    assert [each.title for each in found.contenders] == ["mine"]
    assert found.failures is None


def test_several_processes_find_what_one_finds_and_one_that_dies_takes_nothing_along(
    curves: Comparison, digits: zoo.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dying.py").write_text("import os\n\ndef net():\n    os._exit(9)\n")
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    home.cache_home.cache_clear()
    found = zoo.compare(
        [GLYPHS, f"dying=local:{tmp_path / 'dying.py'}:net"],
        digits,
        shots=(4,),
        seeds=2,
        floors=False,
        jobs=2,
        out=zoo.Output(dir=str(tmp_path)),
    )
    home.cache_home.cache_clear()
    assert found.failures is not None
    assert "died twice" in found.failures["dying on sklearn:digits"]
    assert of(found, "glyph-cnn", 4).values == of(curves, "glyph-cnn", 4).values


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"backbones": [GLYPHS, GLYPHS]}, "named twice"),
        ({"backbones": [f"a={GLYPHS}", f"a={PIXELS}"]}, "two contenders are titled 'a'"),
        ({"backbones": []}, "needs a backbone"),
        ({"backbones": [GLYPHS, WORDS]}, "bag-of-words takes text, and sklearn:digits has image"),
        ({"reference": "x"}, "no contender is titled 'x'"),
        ({"seeds": 0}, "--seeds 0 is not above 0"),
        ({"jobs": 0}, "--jobs 0 is not above 0"),
        ({"strategies": ("fulll",)}, "No strategy is named 'fulll'"),
        ({"strategies": ("full",), "training": zoo.Training(budget="5s")}, "--budget 5s searches for a strategy"),
        ({"executor": "slurm"}, "No executor is named 'slurm'"),
        ({"shots": (0,)}, "0 shots are no number"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_any_work(
    changed: dict[str, Any], message: str, digits: zoo.Dataset, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"backbones": [GLYPHS], "out": zoo.Output(dir=str(tmp_path)), "shots": (3,), **changed}
    with pytest.raises(ZooError, match=message):
        zoo.compare(asked.pop("backbones"), digits, **asked)
    assert not list(tmp_path.glob("*/comparison.json"))
