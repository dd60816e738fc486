"""Backbones and data that need no download: the first job of a new user, and the floors every other backbone must beat.

Everything here runs offline: the weights of `glyph-cnn` lie in the package, all others are random or have none.
"""

from __future__ import annotations

from collections.abc import Iterable

from zoo import BackboneSpec, DatasetSpec, ImagePreprocess, TextPreprocess, WeightsSpec, hookimpl

zoo_api = 1

GLYPH_WIDTHS = (16, 32, 48, 80)
GLYPH_PREPROCESS = ImagePreprocess(size=(32, 32), fit="squash", mean=(0.25,), std=(0.33,))
_PIXELS = ImagePreprocess(size=(16, 16), fit="squash", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
TEXT_PREPROCESS = TextPreprocess(tokenizer="package:zoo_starter/pieces.txt", max_length=128, lower=True)
_WORDS = TextPreprocess(tokenizer="hashed words and pairs", max_length=511, lower=True)


@hookimpl
def zoo_backbones() -> Iterable[BackboneSpec]:
    """What this plugin can build."""
    return [_glyph_cnn(), _pixels(), _lstm(), _gru(), _text_transformer(), _bag_of_words()]


@hookimpl
def zoo_datasets() -> Iterable[DatasetSpec]:
    """Data that is on every machine."""
    at = "zoo_starter.datasets:"
    return [
        DatasetSpec(
            "sklearn:digits",
            at + "digits",
            ("image",),
            "multiclass",
            1_797,
            "handwritten digits, 8 x 8 pixels, bundled with scikit-learn",
            "CC-BY-4.0",
        ),
        DatasetSpec(
            "builtin:glyphs",
            at + "glyphs",
            ("image",),
            "multiclass",
            2_600,
            "26 capital letters drawn with noise; starter/glyph-cnn was trained on letters of the same font",
            "CC0-1.0",
        ),
        DatasetSpec(
            "builtin:docstrings",
            at + "docstrings",
            ("text",),
            "multiclass",
            None,
            "docstrings of eight packages of the standard library, labelled by package",
            "PSF-2.0",
        ),
        DatasetSpec(
            "builtin:numerals",
            at + "numerals",
            ("image", "text"),
            "multiclass",
            1_500,
            "one number a row, spelled in a sentence with errors and drawn as a noisy digit",
            "CC0-1.0",
        ),
    ]


def _glyph_cnn() -> BackboneSpec:
    return BackboneSpec(
        source="starter",
        architecture="glyph-cnn",
        factory="zoo_starter.image:build_glyph_cnn",
        modalities=("image",),
        family="cnn",
        dim=320,
        params=53_488,
        weights=(
            WeightsSpec(
                tag="letters",
                origin="package:zoo_starter/glyph-cnn.safetensors",
                sha256="84c84c3bc1a9c2e3e771bf11a7bd6c7799f694ad855cc850f109a21735844384",
                size=217_344,
                licence="Apache-2.0",
                trained_on="letters drawn with the font inside Pillow, no digits",
                preprocess={"image": GLYPH_PREPROCESS},
            ),
        ),
        image_size=32,
        stages=("block1", "block2", "block3", "block4"),
        preprocess={"image": GLYPH_PREPROCESS},
        options={"widths": GLYPH_WIDTHS},
    )


def _pixels() -> BackboneSpec:
    return BackboneSpec(
        source="starter",
        architecture="pixels",
        factory="zoo_starter.image:build_pixels",
        modalities=("image",),
        family="floor",
        dim=768,
        params=0,
        image_size=16,
        stages=("block1",),
        preprocess={"image": _PIXELS},
    )


def _text(
    architecture: str, factory: str, family: str, dim: int, params: int, options: dict[str, float]
) -> BackboneSpec:
    return BackboneSpec(
        source="starter",
        architecture=architecture,
        factory=f"zoo_starter.text:{factory}",
        modalities=("text",),
        family=family,
        dim=dim,
        params=params,
        context_length=TEXT_PREPROCESS.max_length,
        stages=("embedding", *(f"layer{i + 1}" for i in range(int(options["layers"])))),
        preprocess={"text": TEXT_PREPROCESS},
        options=options,
    )


def _lstm() -> BackboneSpec:
    return _text("lstm", "build_lstm", "rnn", 256, 856_064, {"width": 64, "hidden": 128, "layers": 2})


def _gru() -> BackboneSpec:
    return _text("gru", "build_gru", "rnn", 256, 411_136, {"width": 64, "hidden": 128, "layers": 1})


def _text_transformer() -> BackboneSpec:
    options = {"width": 64, "heads": 4, "layers": 2, "dropout": 0.1}
    return _text("text-transformer", "build_transformer", "transformer", 64, 370_432, options)


def _bag_of_words() -> BackboneSpec:
    return BackboneSpec(
        source="starter",
        architecture="bag-of-words",
        factory="zoo_starter.text:build_bag",
        modalities=("text",),
        family="floor",
        dim=4_096,
        params=0,
        context_length=_WORDS.max_length,
        stages=("count",),
        preprocess={"text": _WORDS},
    )
