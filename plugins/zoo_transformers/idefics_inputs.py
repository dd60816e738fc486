"""Images and texts as Idefics reads them: several images a row, and texts with places for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

import zoo
from zoo import ImagePreprocess, ImageProcessor, TextPreprocess, WeightsError
from zoo_transformers.tokens import TextProcessor

MARKER = "<image>"
"""Stands in a text where an image belongs."""
FAKE = "<fake_token_around_image>"
"""Idefics puts it before and after every image."""


@dataclass(frozen=True)
class ImageTokens:
    """The ids that a prompt with images is made of."""

    start: int
    image: int
    around: int
    ends: tuple[int, ...] = ()
    """After one of these a text sees the images before it no more."""


def image_tokens(tokenizer: Any, config: Any) -> tuple[ImageTokens, dict[int, int]]:
    """The ids of a model, and what ids of its tokenizer have to become; a tokenizer without these tokens gets them.

    Args:
        tokenizer: of transformers; the two tokens are added to it where it lacks them.
        config: of the model.

    Raises:
        WeightsError: neither the tokenizer nor the model has a place for them.
    """
    vocabulary, rows = tokenizer.get_vocab(), config.vocab_size + config.additional_vocab_size
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else config.bos_token_id
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    known = [vocabulary.get(FAKE), vocabulary.get(MARKER)]
    changes: dict[int, int] = {}
    if any(index is None or index >= rows for index in known):
        if config.additional_vocab_size < 2:
            raise WeightsError(
                f"neither the tokenizer nor the model has {FAKE} and {MARKER}",
                help="take the tokenizer that belongs to the weights; Idefics has both",
            )
        tokenizer.add_tokens([FAKE, MARKER], special_tokens=True)
        given = [int(index) for index in tokenizer.convert_tokens_to_ids([FAKE, MARKER])]
        # The order of the published vocabulary.
        known = [config.vocab_size, config.vocab_size + 1]
        changes = dict(zip(given, known, strict=True))
    around, image = (int(index) for index in known)
    return ImageTokens(int(start), image, around, tuple(int(each) for each in ends if each is not None)), changes


class Prompt(NamedTuple):
    """One text as ids, and how many images belong into it."""

    ids: list[int]
    images: int
    """Markers in the text, also those beyond the longest text."""


class PromptProcessor:
    """Processor of texts: `{"ids": (B, T), "mask": (B, T) bool, "images": (B,)}`.

    `<s>` comes first, and each `<image>` becomes what Idefics was trained with,
    `<fake_token_around_image><image><fake_token_around_image>`; "images" counts them.

    Args:
        tokenizer: of transformers.
        preprocess: the longest text.
        config: of the model.
        files: what the tokenizer was read from, for `key`.

    Raises:
        WeightsError: the tokenizer knows words that the model has no embedding for.
    """

    def __init__(self, tokenizer: Any, preprocess: TextPreprocess, config: Any, files: Sequence[Path] = ()) -> None:
        self.tokens, self.changes = image_tokens(tokenizer, config)
        self.preprocess = preprocess
        rows = config.vocab_size + config.additional_vocab_size
        self.texts = TextProcessor(tokenizer, preprocess, rows=rows, types=False, files=files)
        self.padding_side: Literal["left", "right"] = self.texts.padding_side
        self.key = zoo.fingerprint(["idefics", self.texts.key, asdict(self.tokens)])

    def __call__(self, value: str, draw: Any = None) -> Prompt:
        del draw
        tokenizer = self.texts.tokenizer
        prompt = (tokenizer.bos_token or "") + prompt_of(value)
        found = tokenizer(prompt, add_special_tokens=False, return_attention_mask=False, verbose=False)
        ids = [self.changes.get(each, each) for each in found["input_ids"]]
        if ids[:1] != [self.tokens.start]:
            ids = [self.tokens.start, *ids]
        return Prompt(ids[: self.preprocess.max_length], markers(value))

    def length(self, example: Prompt) -> int:
        return len(example.ids)

    def collate(self, examples: Sequence[Prompt]) -> dict[str, Tensor]:
        T = max((len(each.ids) for each in examples), default=0)
        ids = torch.full((len(examples), T), self.texts.pad, dtype=torch.int64)
        mask = torch.zeros(len(examples), T, dtype=torch.bool)
        for row, each in enumerate(examples):
            size = len(each.ids)
            at = slice(0, size) if self.padding_side == "right" else slice(T - size, T)
            ids[row, at] = torch.tensor(each.ids, dtype=torch.int64)
            mask[row, at] = True
        return {"ids": ids, "mask": mask, "images": torch.tensor([each.images for each in examples], dtype=torch.int64)}

    def finish(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(tensors)


def markers(text: str) -> int:
    """Places for images in a text."""
    return text.count(MARKER)


def prompt_of(text: str) -> str:
    """The text with its markers as Idefics wants them; spaces around images and at the ends go, as in its processor."""
    first, *rest = [part.strip(" ") for part in text.replace(FAKE, "").split(MARKER)]
    prompt = first
    for index, part in enumerate(rest):
        # Between two images that touch there is one token, not two.
        touching = index > 0 and not rest[index - 1]
        prompt += ("" if touching else FAKE) + MARKER + FAKE + part
    return prompt


class ImagesProcessor:
    """Processor of one image a row, or of a tuple of them: `{"pixels": (B, n, C, H, W), "count": (B,)}`.

    Rows with fewer images than n are filled up with black ones, which no token sees. In training all images of a row
    are augmented alike.
    """

    def __init__(self, preprocess: ImagePreprocess) -> None:
        self.preprocess = preprocess
        self.single = ImageProcessor(preprocess)
        self.key = zoo.fingerprint(["images", self.single.key])

    def __call__(self, value: Any, draw: Any = None) -> tuple[Tensor, ...]:
        return tuple(self.single(each, draw) for each in (value if isinstance(value, tuple) else (value,)))

    def length(self, example: tuple[Tensor, ...]) -> int:
        return len(example)

    def collate(self, examples: Sequence[tuple[Tensor, ...]]) -> dict[str, Tensor]:
        most = max((len(each) for each in examples), default=0)
        pixels = torch.zeros(
            len(examples), most, len(self.preprocess.mean), *self.preprocess.size, dtype=torch.uint8
        )  # (B, n, C, H, W)
        for row, images in enumerate(examples):
            for index, image in enumerate(images):
                pixels[row, index] = image
        return {"pixels": pixels, "count": torch.tensor([len(each) for each in examples], dtype=torch.int64)}

    def finish(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        pixels = tensors["pixels"]
        flat = self.single.finish({"pixels": pixels.flatten(0, 1)})["pixels"]
        return {"pixels": flat.view(pixels.shape), "count": tensors["count"]}
