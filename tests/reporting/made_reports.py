"""Comparisons made by hand: every part of a report, and names that try to break it."""

from __future__ import annotations

import base64
import io
import random
from dataclasses import replace
from itertools import combinations
from typing import Literal

from PIL import Image

from zoo.comparison.result import (
    Apart,
    Comparison,
    Confusion,
    Contender,
    Cost,
    Data,
    Error,
    Fusion,
    Likeness,
    Overall,
    Overlap,
    Picture,
    Protocol,
    Shared,
    Shots,
    Spoiled,
    Standing,
)

SCRIPT = "<script>document.title='broken'</script>"
QUOTES = "\"><img src=x onerror=\"console.error('broken')\"> 'single'"
RTL = "safe\u202egpj.exe \u05e9\u05dc\u05d5\u05dd"
LONG = "a-very-long-name" * 19
LINES = "two\nlines | and a pipe"
FORMULA = "=cmd|'/c calc'!A0"
TEX = "$\\frac{1$ _under_ **bold** [link](javascript:alert(1)) {{ 7*7 }}"
HOSTILE = (SCRIPT, QUOTES, RTL, LONG, LINES, FORMULA, TEX)

SHOTS: tuple[Shots, ...] = (1, 4, 16, "all")
SCORES = {
    "resnet18": 0.694, "MiniLM": 0.771, "resnet18 + MiniLM": 0.846, "CLIP ViT-B-32": 0.823, "glyph-cnn": 0.612,
    "resnet18, random": 0.431, "MiniLM, random": 0.702,
}  # fmt: skip
SPOILED: tuple[tuple[str, Literal["dropped", "shuffled"], float], ...] = (
    ("image", "dropped", 0.081), ("image", "shuffled", 0.117), ("text", "dropped", 0.171), ("text", "shuffled", 0.244),
)  # fmt: skip
CLASSES = ("activities", "flags", "food", "nature", "objects", "people", "smileys", "symbols", "travel")


def made() -> Comparison:
    """Images, texts, both and floors on two sets, with everything that a comparison may hold."""
    rng = random.Random(0)
    data = (_data("emoji", CLASSES, 0.213), _data("fashion", ("bags", "dresses", "shoes"), 0.41))
    standings = tuple(_standing(each, name, shots, rng) for each in data for name in SCORES for shots in SHOTS)
    differences = tuple(
        _apart(each.name, one, other, rng) for each in data for one, other in combinations(list(SCORES)[:5], 2)
    )
    return Comparison(
        "emoji and fashion",
        _protocol(),
        data,
        _contenders(),
        standings,
        differences,
        findings=(
            "On emoji, resnet18 + MiniLM is best: accuracy 0.846 [0.816, 0.876], 0.023 above CLIP ViT-B-32, which "
            "cannot be told apart from it.",
            "Joining image and text brings +0.075 [+0.049, +0.101] over MiniLM, the better of both (p < 0.001).",
            "A text encoder with random weights is nearly as good as MiniLM on fashion: the title names the class.",
        ),
        fusions=tuple(
            Fusion(each.name, "all", "resnet18 + MiniLM", "MiniLM", *gain)
            for each, gain in zip(
                data, ((0.075, (0.049, 0.101), 0.0002, True), (0.004, (-0.011, 0.019), 0.61, False)), strict=True
            )
        ),
        spoiled=tuple(
            Spoiled("emoji", "resnet18 + MiniLM", modality, how, 0.846 - loss, loss, (loss - 0.03, loss + 0.03))
            for modality, how, loss in SPOILED
        ),
        overlaps=(
            Overlap("emoji", "resnet18", "MiniLM", 512, 118, 181, 189, 0.214, 0.811),
            Overlap("fashion", "resnet18", "MiniLM", 830, 60, 80, 30, None, 0.97),
        ),
        likenesses=tuple(
            Likeness("emoji", one, other, abs(hash_of(one + other)))
            for one, other in combinations([name for name in SCORES if "+" not in name], 2)
        ),
        shared=tuple(
            Shared("emoji", "CLIP ViT-B-32", one, other, value, (value - 0.03, value + 0.03), 0.83)
            for one, other, value in (
                ("image", "image", 0.71),
                ("image", "text", 0.44),
                ("text", "text", 0.78),
                ("text", "image", 0.39),
            )
        ),
        confusions=tuple(_confusion(name, rng) for name in ("resnet18", "MiniLM", "resnet18 + MiniLM")),
        errors=tuple(_error(number, rng) for number in range(8)),
        pictures=tuple(_picture(name, rng) for name in ("resnet18", "MiniLM")),
        overall=tuple(
            Overall(name, rank, (max(rank - 0.8, 1.0), rank + 0.8), 2)
            for name, rank in (("resnet18 + MiniLM", 1.0), ("CLIP ViT-B-32", 1.5), ("MiniLM", 3.0), ("resnet18", 3.5))
        ),
        failures={"glyph-cnn on fashion, 16 shots": "the images have 4 channels, glyph-cnn takes 1 or 3"},
    )


def hostile() -> Comparison:
    """The same with every name, text and class replaced by one that tries to break the page."""
    found = made()
    titles = dict(zip(SCORES, HOSTILE, strict=True))

    def title(name: str | None) -> str:
        return titles.get(name or "", name or "")

    classes = HOSTILE + CLASSES[len(HOSTILE) :]
    return replace(
        found,
        name=SCRIPT,
        data=tuple(replace(each, name=LONG if each.name == "emoji" else TEX, classes=classes) for each in found.data),
        contenders=tuple(
            replace(
                each,
                title=title(each.title),
                floor_of=title(each.floor_of) if each.floor_of else None,
                parts=tuple(map(title, each.parts)),
                backbone=QUOTES,
                flops=None,
            )
            for each in found.contenders
        ),
        standings=tuple(
            replace(each, contender=title(each.contender), data=_hostile_data(each.data), cost=None)
            for each in found.standings
        ),
        differences=tuple(
            replace(each, of=title(each.of), since=title(each.since), data=_hostile_data(each.data))
            for each in found.differences
        ),
        findings=(SCRIPT, LONG, TEX, LINES),
        fusions=tuple(
            replace(each, joint=title(each.joint), best=title(each.best), data=_hostile_data(each.data))
            for each in found.fusions
        ),
        spoiled=tuple(
            replace(each, contender=title(each.contender), data=_hostile_data(each.data)) for each in found.spoiled
        ),
        overlaps=tuple(
            replace(each, one=title(each.one), other=title(each.other), data=_hostile_data(each.data))
            for each in found.overlaps
        ),
        likenesses=tuple(
            replace(each, one=title(each.one), other=title(each.other), data=_hostile_data(each.data))
            for each in found.likenesses
        ),
        confusions=tuple(
            replace(each, contender=title(each.contender), data=_hostile_data(each.data)) for each in found.confusions
        ),
        errors=tuple(
            replace(
                each,
                data=_hostile_data(each.data),
                row=bad,
                truth=bad,
                text=bad,
                answers={title(name): bad for name in each.answers},
                image="https://example.org/tracker.png",
            )
            for each, bad in zip(found.errors, HOSTILE, strict=False)
        ),
        pictures=tuple(
            replace(
                each,
                contender=title(each.contender),
                data=_hostile_data(each.data),
                labels=tuple(HOSTILE[CLASSES.index(label) % len(HOSTILE)] for label in each.labels),
            )
            for each in found.pictures
        ),
        overall=tuple(replace(each, contender=title(each.contender)) for each in found.overall),
        shared=tuple(replace(each, backbone=LONG, data=_hostile_data(each.data)) for each in found.shared),
        failures={SCRIPT: LINES},
        protocol=replace(found.protocol, command=f"zoo compare {QUOTES}", reference=title(found.protocol.reference)),
    )


def _hostile_data(name: str) -> str:
    return LONG if name == "emoji" else TEX


def hash_of(text: str) -> float:
    """0 to 1, the same every time."""
    return random.Random(text).random()


def _data(name: str, classes: tuple[str, ...], trivial: float) -> Data:
    rows = {"train": 2400, "val": 400, "test": 1000}
    return Data(
        name,
        "multiclass",
        classes,
        rows,
        ("image", "text"),
        "test",
        "accuracy",
        trivial,
        "3f6c0d9a1b2e4c55",
        ("12 rows without an image are left out",) if name == "emoji" else (),
    )


def _contenders() -> tuple[Contender, ...]:
    return (
        Contender("resnet18", "torchvision/resnet18", ("image",), "linear-probe",
            params=11_176_512, flops=3_638_757_376, dim=512, licence="BSD-3-Clause"),
        Contender("MiniLM", "transformers/all-MiniLM-L6-v2", ("text",), "linear-probe",
            params=22_713_216, flops=2_724_470_784, dim=384, licence="Apache-2.0"),
        Contender("resnet18 + MiniLM", "resnet18+MiniLM", ("image", "text"), "linear-probe", ("resnet18", "MiniLM"),
            params=33_889_728, flops=6_363_228_160, dim=896),
        Contender("CLIP ViT-B-32", "open_clip/ViT-B-32", ("image", "text"), "linear-probe",
            params=151_277_313, flops=14_780_000_000, dim=1024, licence="MIT"),
        Contender("glyph-cnn", "starter/glyph-cnn", ("image",), "linear-probe",
            params=56_064, flops=4_200_000, dim=320),
        Contender("resnet18, random", "torchvision/resnet18@random", ("image",), "linear-probe", floor_of="resnet18",
            params=11_176_512, flops=3_638_757_376, dim=512),
        Contender("MiniLM, random", "transformers/MiniLM@random", ("text",), "linear-probe", floor_of="MiniLM",
            params=22_713_216, dim=384),
    )  # fmt: skip


def _standing(data: Data, name: str, shots: Shots, rng: random.Random) -> Standing:
    top = min(SCORES[name] + (0.12 if data.name == "fashion" else 0.0), 0.97)
    share = {1: 0.45, 4: 0.7, 16: 0.88, "all": 1.0}[shots]
    values = tuple(
        round((data.trivial or 0) + (top - (data.trivial or 0)) * share + rng.gauss(0, 0.01), 4) for _ in range(3)
    )
    mean, wide = sum(values) / 3, 0.03 if shots == "all" else 0.05
    order = list(SCORES)
    rank = (
        None
        if "random" in name
        else {"resnet18 + MiniLM": 1, "CLIP ViT-B-32": 1, "MiniLM": 3, "resnet18": 4, "glyph-cnn": 5}[name]
    )
    place = order.index(name) + 1
    return Standing(
        name, data.name, shots, 2400 if shots == "all" else int(shots) * len(data.classes), values, mean,
        (mean - wide, mean + wide),
        {"accuracy": mean, "macro_f1": mean - 0.021, "log_loss": 1.8 - mean, "ece": 0.02 + 0.011 * place},
        {"accuracy": (mean - wide, mean + wide), "macro_f1": (mean - 0.06, mean + 0.01)},
        rank, Cost(4.1 * place**1.7, 0.31 * place, 240_000_000 * place, 4617),
        runs=(f"runs/{place}-{shots}-0",),
    )  # fmt: skip


def _apart(data: str, one: str, other: str, rng: random.Random) -> Apart:
    value = SCORES[one] - SCORES[other]
    p = max(0.00001, min(1.0, 0.9 - abs(value) * 18 + rng.random() * 0.02))
    return Apart(data, "all", one, other, value, (value - 0.03, value + 0.03), p, min(1.0, p * 4), "McNemar, exact")


def _confusion(name: str, rng: random.Random) -> Confusion:
    def row(true: int) -> tuple[int, ...]:
        return tuple(80 + rng.randrange(20) if true == other else rng.randrange(9) for other in range(len(CLASSES)))

    return Confusion("emoji", name, tuple(row(true) for true in range(len(CLASSES))))


def _error(number: int, rng: random.Random) -> Error:
    truth, other, third = rng.sample(CLASSES, 3)
    answers = {
        "resnet18": other,
        "MiniLM": truth if number % 2 else third,
        "resnet18 + MiniLM": truth if number % 3 else other,
    }
    text = "person gesturing OK, medium skin tone " * (1 + 9 * (number == 3))
    return Error(
        "emoji",
        f"images/{number:04}.png",
        truth,
        answers,
        text.strip() if number != 5 else None,
        _image(number) if number != 6 else None,
    )


def _image(number: int) -> str:
    colour = (40 + 25 * number, 200 - 20 * number, 120)
    buffer = io.BytesIO()
    picture = Image.new("RGB", (96, 72), colour)
    picture.paste((250, 220, 90), (20, 14, 20 + 6 * number, 60))
    picture.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _picture(name: str, rng: random.Random) -> Picture:
    centres = {label: (rng.gauss(0, 3), rng.gauss(0, 3)) for label in CLASSES}
    labels = tuple(rng.choice(CLASSES) for _ in range(240))
    points = tuple((centres[label][0] + rng.gauss(0, 0.8), centres[label][1] + rng.gauss(0, 0.8)) for label in labels)
    return Picture("emoji", name, "PCA", points, labels)


def _protocol() -> Protocol:
    return Protocol(
        "zoo compare torchvision/resnet18 ./MiniLM torchvision/resnet18+./MiniLM open_clip/ViT-B-32 emoji/ fashion/ "
        "--shots 1,4,16,all --seeds 3",
        "0.1.0", (0, 1, 2), SHOTS, ("linear-probe",), "linear", {"epochs": None, "batch_size": 32, "lr": 0.001},
        {"val": 0.2, "image": "image", "text": "title"}, "MiniLM",
        {"processor": "Intel Xeon, 4 cores", "card": "none", "python": "3.11.7", "torch": "2.15.0"},
        "2026-11-24T10:12:00", 184.2, 37, 5,
    )  # fmt: skip
