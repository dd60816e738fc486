"""Texts to ids: LLaMA's sentencepiece model, with the pieces that Unified-IO 2 adds to it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import zoo
from zoo import TextPreprocess, WeightsError
from zoo_unified_io.listing import FRAMES, TOKENIZER

VARIABLE = "ZOO_UNIFIED_IO_TOKENIZER"
PAD, EOS = 0, 1
PREFIX = "[Text] [S] "
"""Says to the encoder what kind of answer is wanted: a text that goes on."""
EXTRA_IDS = 1200
MARKER = "<image>"
"""Where an image belongs in a text: the last one is the present image, those before it are of the history."""
_PREFIXES = ("[Text] [S]", "[Text] [R]", "[Text] [X]", "[Image] [S]", "[Image] [R]", "[Audio] [S]", "[Audio] [R]")


def tokenizer_file(folder: Path | None) -> Path | None:
    """`tokenizer.model` of a folder, or what the environment names (a file, or a folder that holds it)."""
    given = os.environ.get(VARIABLE)
    named = Path(given).expanduser() if given else None
    candidates = [each / TOKENIZER for each in (folder, named) if each is not None]
    if named is not None:
        candidates.append(named)
    return next((each for each in candidates if each.is_file()), None)


def no_tokenizer(name: str) -> WeightsError:
    """What to do where there is none."""
    given = os.environ.get(VARIABLE)
    return WeightsError(
        f"{name} reads texts with LLaMA's tokenizer, which is not here",
        details=[f"{VARIABLE} is {given}, which is no file" if given else f"{VARIABLE} is not set"],
        help="accept its licence at https://huggingface.co/meta-llama/Llama-2-7b, download tokenizer.model, and put it "
        f"beside the weights or set {VARIABLE} to its path; images and audio need none",
    )


class TextProcessor:
    """Processor of texts: `{"ids": (B, T) int64, "mask": (B, T) bool}`, padded on the right.

    Raises:
        WeightsError: `file` is no sentencepiece model, or one of another vocabulary.
    """

    def __init__(self, file: Path, preprocess: TextPreprocess, *, rows: int) -> None:
        raw = file.read_bytes()
        self.max_length = preprocess.max_length
        self.model = _opened(raw, file)
        pieces = self.model.get_piece_size()
        if pieces > rows:
            raise WeightsError(
                f"{file} has {pieces} pieces with those of Unified-IO 2, and the model has embeddings for {rows}",
                help="take the tokenizer.model of LLaMA or LLaMA 2, of 32,000 pieces",
            )
        self.key = zoo.fingerprint(["unified_io", 1, hashlib.sha256(raw).hexdigest(), self.max_length])

    def __call__(self, value: Any, draw: Any = None) -> Tensor:
        del draw
        ids = self.model.encode(PREFIX + with_markers(str(value)))[: self.max_length - 1]
        return torch.tensor([*ids, EOS])

    def length(self, example: Tensor) -> int:
        return len(example)

    def collate(self, examples: Sequence[Tensor]) -> dict[str, Tensor]:
        ids = torch.nn.utils.rnn.pad_sequence(list(examples), batch_first=True, padding_value=PAD)
        lengths = torch.tensor([len(each) for each in examples])
        return {"ids": ids, "mask": torch.arange(ids.shape[1]) < lengths[:, None]}

    def finish(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(tensors)


def with_markers(text: str) -> str:
    """A text with the names that the vocabulary has for images in place of `<image>`."""
    *before, last = text.split(MARKER)
    if not before:
        return text
    names = [f"<image_history_{index}>" for index in range(1, len(before))] + ["<image_input>"]
    return "".join(part + name for part, name in zip(before, names, strict=True)) + last


def added_pieces() -> Iterator[str]:
    """Behind LLaMA's own pieces, in the order of their ids."""
    yield from (f"<extra_id_{index}>" for index in reversed(range(EXTRA_IDS)))
    for index in range(1, FRAMES + 1):
        yield f"<image_history_{index}>"
        yield f"<audio_history_{index}>"
    yield from ("<image_input>", "<audio_input>", *_PREFIXES)


def _opened(raw: bytes, file: Path) -> Any:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]
    from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2

    made: Any = sentencepiece_model_pb2  # its classes come into being when it is imported
    proto = made.ModelProto()
    try:
        proto.ParseFromString(raw)
    except DecodeError:
        proto = made.ModelProto()
    own = list(proto.pieces)
    if len(own) < 3:
        raise WeightsError(f"{file} is no sentencepiece model", help="fetch LLaMA's tokenizer.model again")
    unknown, begin, end = own[:3]
    del proto.pieces[:]
    # The first three are <s>, </s> and <unk> here: padding is 0 and the end is 1, as in T5.
    proto.pieces.extend([begin, end, unknown, *own[3:]])
    kind = made.ModelProto.SentencePiece.USER_DEFINED
    for piece in added_pieces():
        proto.pieces.add(piece="▁" + piece.replace(" ", "▁"), score=0.0, type=kind)
    return SentencePieceProcessor(model_proto=proto.SerializeToString())
