"""Models of transformers run without giving Python a value: on a card each would hold up the whole step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_transformers import write_folder
from transformers_texts import CLOSE, TEXTS, features, load
from waiting import Reads
from zoo_transformers import calling
from zoo_transformers.families import FULL_MASK


@pytest.mark.parametrize("family", sorted(FULL_MASK))
def test_a_full_mask_gives_the_same_features_and_no_value_is_read(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = load(write_folder(tmp_path, family))
    with Reads() as before:
        expected = features(backbone, TEXTS)
    assert before.found  # so that the test would see it
    monkeypatch.setattr(calling.Calling, "_mask", lambda self, mask: calling.full(mask))  # as on a card
    with Reads() as reads:
        found = features(backbone, TEXTS)
    assert reads.found == []
    torch.testing.assert_close(found.pooled, expected.pooled, **CLOSE)
    assert expected.mask is not None
    torch.testing.assert_close(found.tokens[expected.mask], expected.tokens[expected.mask], **CLOSE)


@pytest.mark.parametrize("family", ["bert", "gpt2", "xlnet"])
def test_texts_tokenised_together_are_those_tokenised_alone(family: str, tmp_path: Path) -> None:
    processor: Any = load(write_folder(tmp_path, family)).processor("text")
    texts = [each for each in TEXTS if isinstance(each, str)]
    for some in (TEXTS, texts, [("a cat", "?"), ("the dog", "ran")], [""], []):
        assert processor.many(some) == [processor(each) for each in some]
