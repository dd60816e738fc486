"""Every way to break a backbone without a sound is caught by a check, and one that keeps the contract passes all."""

from __future__ import annotations

from typing import Any

import broken_images
import broken_spaces
import broken_texts
import pytest
from faults import failed

from zoo import UnknownNameError
from zoo.testing import check_backbone

IMAGES = [
    ("FrozenNormDrifts", "frozen-stays", "running_mean"),
    ("FrozenNormDrifts", "modes", "of frozen stages is in training mode"),
    ("SourceHeadLeftOn", "dim", "pooled has 10 columns"),
    ("WrongDim", "dim", "the backbone says dim 16"),
    ("AuxiliaryOutputs", "training-mode", "forward returned a tuple"),
    ("DropoutAlwaysOn", "eval-deterministic", "pooled differs by"),
    ("BatchStatistics", "batch-of-one", "of the largest value"),
    ("Transposed", "grid-order", "where the map is transposed"),
    ("NormalisesInPlace", "inputs-untouched", "image.pixels"),
    ("PlainTensor", "moves", "scale"),
    ("RandomBufferNotSaved", "rebuild", "pooled differs by"),
    ("StateLeavesOut", "state-round-trip", "running_mean"),
    ("LeftOutOfStages", "stages-partition", "leave out 4 parameters"),
    ("TwiceInStages", "stages-partition", "is in stages 'middle' and 'top'"),
    ("FreshModules", "stages-partition", "no parts of the backbone"),
    ("UpsideDown", "stages-run-in-order", "ran top, middle, stem"),
    ("DeadParameter", "gradients", "top.unused.weight"),
    ("KeptOnTheSide", "replay", "the features differ"),
    ("SeedsEverything", "global-state", "forward changed torch's generator"),
    ("OwnRandomness", "seeded", "the same seed gave other values in stem.0.weight"),
    ("OtherColours", "preprocessing", "normalised pixels are off by"),
    ("OtherSize", "preprocessing", "(24, 24) pixels"),
    ("Blind", "sees-input", "8 of 8 rows"),
    ("HalfPrecision", "shapes", "torch.float16"),
    ("NotANumber", "finite", "are not finite"),
    ("SortsItsRows", "batch-of-one", "of the largest value"),
    ("DependsOnTheFirstRow", "row-order", "of the largest value"),
    ("GridOfAnotherSize", "shapes", "(7, 7)"),
    ("KeyChanges", "processor-repeats", "have different keys"),
    ("AugmentsInEvaluation", "processor-repeats", "the same value gave another pixels"),
    ("CountsItsCalls", "resumes", "tensors differ"),
    ("WithoutGradients", "finetunes", "no tensor of stem, middle, top has moved"),
    ("ExportsSomethingElse", "exports", "of the largest value"),
    ("SmallImagesOnly", "odd-inputs", "1 x 1 pixel"),
    ("StageNamedHead", "stage-names", "named 'head'"),
    ("ServesMore", "modalities", "it serves ('image', 'text')"),
]
TEXTS = [
    ("PositionsCountPadding", "padding-side", "padded on the left they differ by"),
    ("MeanOverPadding", "padding-length", "of the largest value"),
    ("LastPosition", "padding-length", "of the largest value"),
    ("AttendsToPadding", "padding-content", "of the largest value"),
    ("AttendsToPadding", "batch-of-one", "of the largest value"),
    ("LengthOfAnother", "processor-length", "lengths said"),
    ("TooLong", "preprocessing", "63 tokens of a long text, max_length is 48"),
]
SPACES = [
    ("LongTowers", "the image tower alone differs by"),
    ("CopiedTowers", "the image tower is a copy"),
    ("WholeTowers", "the image tower serves image and text"),
    ("EndlessScale", "logit_scale is inf, not one finite number"),
]
OF_A_PLUGIN = "import-light"
"""The fakes stand in a module that imports torch."""


@pytest.mark.parametrize(("kind", "check", "measured"), IMAGES)
def test_a_fault_of_an_image_backbone_is_caught(kind: str, check: str, measured: str) -> None:
    caught(broken_images.spec(getattr(broken_images, kind)), check, measured)


@pytest.mark.parametrize(("kind", "check", "measured"), TEXTS)
def test_a_fault_of_a_text_backbone_is_caught(kind: str, check: str, measured: str) -> None:
    caught(broken_texts.spec(getattr(broken_texts, kind)), check, measured)


@pytest.mark.parametrize(("kind", "measured"), SPACES)
def test_a_fault_of_a_text_space_is_caught(kind: str, measured: str) -> None:
    caught(broken_spaces.spec(getattr(broken_spaces, kind)), "text-space", measured)


def test_a_space_is_not_only_claimed() -> None:
    claimed = broken_images.spec(broken_spaces.Claims, factory="broken_spaces:Claims", space="broken")
    caught(claimed, "text-space", "it says space 'broken' and is no zoo.DualEncoder")


def caught(spec: Any, check: str, measured: str) -> None:
    found = check_backbone(spec, only=[check])
    assert failed(found) == [check], str(found)
    assert measured in found.failed[0].measured
    assert not found.passed
    assert found.failed[0].law in str(found)
    assert found.failed[0].consequence in str(found)


@pytest.mark.parametrize("module", [broken_images, broken_texts])
def test_a_backbone_that_keeps_the_contract_passes_every_check(module: Any) -> None:
    found = check_backbone(module.spec(module.Good))
    assert failed(found) == [OF_A_PLUGIN], str(found)
    assert found.checks >= 31


@pytest.mark.parametrize("check", sorted({check for _, check, _ in IMAGES}))
def test_what_catches_a_fault_lets_a_sound_image_backbone_pass(check: str) -> None:
    assert check_backbone(broken_images.spec(broken_images.Good), only=[check]).passed


def test_a_specification_that_lies_is_caught() -> None:
    lies = broken_images.spec(broken_images.Good, dim=9, params=7, stages=("stem", "top"))
    found = check_backbone(lies, only=["dim", "params", "stage-names"])
    assert failed(found) == ["dim", "params", "stage-names"]


def test_every_check_of_a_backbone_has_a_fault_that_it_catches() -> None:
    from zoo.testing.backbones import BACKBONE_LAWS

    covered = {check for _, check, _ in (*IMAGES, *TEXTS)} | {"params", "text-space", OF_A_PLUGIN}
    assert set(BACKBONE_LAWS.names) - covered == set()


def test_a_check_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="No check is named 'padding'"):
        check_backbone(broken_images.spec(broken_images.Good), only=["padding"])
