"""Segmentation and token classification from data to prediction, through the same verbs as every task."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import zoo
from zoo import Output, Run, Training
from zoo.verbs.answers import palette

NAMES, CITIES = ("Anna", "Peter", "Maria", "John"), ("Paris", "Berlin", "Rome", "Oslo")
OTHER = "the a goes to sees often today with house river".split()


def shapes(root: Path, count: int, size: tuple[int, int] = (48, 40)) -> Path:
    """Red discs and green squares on dark noise, and the masks of them."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    (root / "classes.txt").write_text("ground\ndisc\nsquare\n")
    for row in range(count):
        image = Image.fromarray(rng.integers(0, 80, (size[1], size[0], 3), dtype=np.uint8))
        mask = Image.new("L", size, 0)
        for number, colour in ((1, (220, 40, 40)), (2, (40, 220, 40))):
            left, upper = (int(each) for each in rng.integers(0, (size[0] - 18, size[1] - 18)))
            for drawn, fill in ((ImageDraw.Draw(image), colour), (ImageDraw.Draw(mask), number)):
                draw = drawn.ellipse if number == 1 else drawn.rectangle
                draw((left, upper, left + 18, upper + 18), fill=fill)
        image.save(root / "images" / f"{row}.png")
        mask.save(root / "masks" / f"{row}.png")
    return root


def sentences(path: Path, count: int) -> Path:
    """Names, cities of two words, and other words, one sentence a line with its tags."""
    rng = np.random.default_rng(0)
    lines = []
    for _ in range(count):
        words, tags = [], []
        for draw in rng.random(rng.integers(4, 10)):
            pair = draw < 0.3
            words += ["New", CITIES[rng.integers(4)]] if pair else [(NAMES if draw < 0.5 else OTHER)[rng.integers(4)]]
            tags += ["B-LOC", "I-LOC"] if pair else ["B-PER" if draw < 0.5 else "O"]
        lines.append(json.dumps({"tokens": words, "tags": tags}))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes(tmp_path_factory.mktemp("made") / "shapes", 30)


@pytest.fixture(scope="module")
def segmented(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    training = Training(strategy="full", epochs=5, augment="light", early_stop=4)
    out = Output(dir=str(tmp_path_factory.mktemp("runs")))
    return zoo.finetune("starter/glyph-cnn", pictures, training=training, out=out)


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("tags")
    data, out = sentences(root / "words.jsonl", 90), Output(dir=str(root / "runs"))
    return zoo.finetune("starter/text-transformer", data, epochs=6, out=out)


def test_a_segmentation_learns_its_shapes(segmented: Run) -> None:
    # Ground alone would have a third of an IoU of about 0.7.
    assert float(segmented.metrics["miou"] or 0) > 0.6
    assert float(segmented.metrics["iou.disc"] or 0) > 0.4
    low, high = segmented.intervals["miou"]
    assert low < float(segmented.metrics["miou"] or 0) < high
    assert segmented.plan.training.head == "segment"
    assert segmented.baseline is None


def test_masks_come_at_the_size_of_the_image(segmented: Run, pictures: Path, tmp_path: Path) -> None:
    large = Image.open(pictures / "images" / "0.png").resize((150, 110), Image.Resampling.NEAREST)
    large.save(tmp_path / "large.png")
    found = list(
        zoo.predict(segmented.path, [pictures / "images" / "0.png", tmp_path / "large.png", tmp_path / "no.png"])
    )
    small, big, missing = found
    assert small.mask is not None
    assert big.mask is not None
    assert missing.error is not None
    assert (small.mask.shape, big.mask.shape) == ((40, 48), (110, 150))
    truth = np.asarray(Image.open(pictures / "masks" / "0.png"))
    assert (small.mask == truth).mean() > 0.85
    back = np.asarray(Image.fromarray(big.mask).resize((48, 40), Image.Resampling.NEAREST))
    assert (back == small.mask).mean() > 0.9


def test_masks_are_written_with_class_numbers_and_colours(segmented: Run, pictures: Path, tmp_path: Path) -> None:
    inputs = [pictures / "images" / f"{row}.png" for row in (0, 1, 0)]
    found = list(zoo.predict(segmented.path, inputs, masks=tmp_path / "out"))
    assert [each.path.name for each in found if each.path] == ["0.png", "1.png", "0-2.png"]
    for each in found:
        assert each.path is not None
        assert each.mask is not None
        image = Image.open(each.path)
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image), each.mask)
        assert (image.getpalette() or [])[:9] == palette()[:9]
        assert each.to_json()["mask"] == str(each.path)
        assert sum(each.to_json()["pixels"].values()) == pytest.approx(1, abs=1e-4)
    with pytest.raises(zoo.UsageError, match="not empty"):
        list(zoo.predict(segmented.path, inputs, masks=tmp_path / "out"))


def test_a_run_measures_the_same_again(segmented: Run, tagged: Run) -> None:
    for run in (segmented, tagged):
        again = zoo.evaluate(run.path, batch_size=3)
        assert dict(again.metrics) == pytest.approx(dict(run.metrics), abs=1e-3)
    assert [row.name for row in zoo.evaluate(tagged.path).per_class] == ["LOC", "PER"]


def test_masks_of_other_classes_are_refused(segmented: Run, pictures: Path, tmp_path: Path) -> None:
    other = shapes(tmp_path / "other", 6)
    (other / "classes.txt").write_text("ground\nsquare\ndisc\n")
    with pytest.raises(zoo.DataError, match="the run knows ground, disc, square"):
        zoo.evaluate(segmented.path, other)


def test_the_card_says_what_was_done(segmented: Run, tagged: Run) -> None:
    cards = [(run.path / "model" / "README.md").read_text() for run in (segmented, tagged)]
    assert "pipeline_tag: image-segmentation" in cards[0]
    assert "| iou.disc |" in cards[0]
    assert "pipeline_tag: token-classification" in cards[1]


def test_words_learn_their_tags(tagged: Run) -> None:
    assert float(tagged.metrics["span_f1"] or 0) > 0.7
    (found,) = zoo.predict(tagged.path, "Anna goes to New Paris today")
    assert found.words == ("Anna", "goes", "to", "New", "Paris", "today")
    assert found.tags == ("B-PER", "O", "O", "B-LOC", "I-LOC", "O")
    assert [(each.kind, each.text, each.start) for each in found.spans] == [
        ("PER", "Anna", 0),
        ("LOC", "New Paris", 13),
    ]
    assert found.to_json()["spans"][0] == {"kind": "PER", "text": "Anna", "start": 0, "end": 4}


def test_lists_of_words_and_tables_are_inputs_too(tagged: Run, tmp_path: Path) -> None:
    table = sentences(tmp_path / "new.jsonl", 3)
    found = list(zoo.predict(tagged.path, [["Anna", "sees"], table]))
    assert [len(each.words) == len(each.tags) > 0 for each in found] == [True] * 4
    assert found[0].tags[0] == "B-PER"


def test_words_that_are_cut_off_have_no_tag(tagged: Run) -> None:
    (found,) = zoo.predict(tagged.path, "Anna " + "river " * 100)
    assert found.tags[0] == "B-PER"
    assert found.tags[-1] is None
    assert None not in found.tags[:40]


def test_a_stopped_segmentation_goes_on_to_the_same_weights(pictures: Path, tmp_path: Path) -> None:
    training = Training(strategy="partial", epochs=2, augment="light", batch_size=8)
    whole = zoo.finetune("starter/glyph-cnn", pictures, training=training, out=Output(dir=str(tmp_path), name="whole"))
    asked: list[None] = []

    def stop() -> bool:
        asked.append(None)
        return len(asked) > 4

    cut = Output(dir=str(tmp_path), name="cut")
    with pytest.raises(zoo.ZooError, match="stopped at step"):
        zoo.finetune("starter/glyph-cnn", pictures, training=training, out=cut, stop=stop)
    resumed = zoo.resume(tmp_path / "cut")
    states = [run.load().model.state_dict() for run in (whole, resumed)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert dict(whole.metrics) == dict(resumed.metrics)


def test_frozen_stages_are_as_they_were(segmented: Run, tmp_path: Path, pictures: Path) -> None:
    before = zoo.load("starter/glyph-cnn").state_dict()
    run = zoo.finetune("starter/glyph-cnn", pictures, strategy="head", epochs=1, out=Output(dir=str(tmp_path)))
    after = run.load().backbone.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("strategy", ["linear-probe", "lp-ft"])
def test_strategies_that_solve_one_answer_a_row_are_refused(pictures: Path, tmp_path: Path, strategy: str) -> None:
    with pytest.raises(zoo.UsageError, match="one for every pixel"):
        zoo.finetune("starter/glyph-cnn", pictures, strategy=strategy, out=Output(dir=str(tmp_path)))


@pytest.mark.parametrize(
    ("backbone", "data", "head", "what"),
    [
        ("starter/glyph-cnn", "shapes", "linear", "--head linear is not for a task of segmentation"),
        ("starter/glyph-cnn", "sklearn:digits", "segment", "--head segment is not for a task of multiclass"),
        ("starter/bag-of-words", "words", None, "one feature for each token"),
        ("starter/glyph-cnn+starter/pixels", "shapes", None, "images as one batch of pixels"),
    ],
)
def test_what_does_not_go_together_is_said(
    pictures: Path, tmp_path: Path, backbone: str, data: str, head: str | None, what: str
) -> None:
    source = {"shapes": pictures, "words": sentences(tmp_path / "w.jsonl", 20)}.get(data, data)
    with pytest.raises(zoo.UsageError, match=what):
        zoo.finetune(backbone, source, head=head, strategy="full", out=Output(dir=str(tmp_path)))


def test_features_of_dense_data_have_no_targets(pictures: Path) -> None:
    found = zoo.extract("starter/glyph-cnn", pictures)
    assert found.targets is None
    assert len(found.features) == 30
