"""Recordings to spectrograms, by the feature extractors of transformers itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import zoo
from zoo import Audio, AudioPreprocess, AudioProcessor
from zoo_transformers.opening import quiet


class Heard(NamedTuple):
    """One spectrogram, as its model takes it, and how many of its tokens are of the recording."""

    features: Tensor
    tokens: int


class SpectrogramProcessor(AudioProcessor):
    """Processor of recordings: `{"features": ...}` of one shape, and for Whisper `tokens` (B,) before the silence.

    Args:
        preprocess: of kind "log-mel" (Whisper: features (B, bins, frames)) or "fbank" (AST: (B, frames, bins)).
    """

    def __init__(self, preprocess: AudioPreprocess) -> None:
        super().__init__(preprocess)
        assert preprocess.seconds is not None
        assert preprocess.window is not None
        assert preprocess.hop is not None
        self.whole = round(preprocess.seconds * preprocess.rate)
        self.shortest = preprocess.window
        self.hop = preprocess.hop
        self.extractor = _log_mel(preprocess) if preprocess.kind == "log-mel" else _fbank(preprocess)

    @property
    def key(self) -> str:
        # Without torchaudio transformers computes the filter banks of AST in numpy: the same but for the last digits.
        by = "numpy" if hasattr(self.extractor, "mel_filters") else "torchaudio"
        return zoo.fingerprint([super().key, type(self.extractor).__name__, by])

    def __call__(self, value: Audio, draw: Any = None) -> Any:
        del draw
        samples = value.at(self.preprocess.rate, self.preprocess.seconds)
        heard = len(samples)
        if heard < self.shortest:
            samples = np.pad(samples, (0, self.shortest - heard))
        more = {"max_length": self.whole} if self.preprocess.kind == "log-mel" else {}
        found = self.extractor(samples, sampling_rate=self.preprocess.rate, return_tensors="np", **more)
        features = torch.from_numpy(np.ascontiguousarray(found[self.extractor.model_input_names[0]][0]))
        # Whisper's second convolution makes one token of two frames.
        return Heard(features.float(), max(math.ceil(heard / self.hop / 2), 1))

    def length(self, example: Any) -> int:
        return 1

    def collate(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        tensors = {"features": torch.stack([each.features for each in examples])}
        if self.preprocess.kind == "log-mel":
            tensors["tokens"] = torch.tensor([each.tokens for each in examples])
        return tensors

    def finish(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(tensors)


def _log_mel(preprocess: AudioPreprocess) -> Any:
    import transformers

    kind: Any = transformers.WhisperFeatureExtractor
    with quiet():
        return kind(
            feature_size=preprocess.bins,
            sampling_rate=preprocess.rate,
            hop_length=preprocess.hop,
            n_fft=preprocess.window,
        )


def _fbank(preprocess: AudioPreprocess) -> Any:
    import transformers

    assert preprocess.seconds is not None
    samples = round(preprocess.seconds * preprocess.rate)
    kind: Any = transformers.ASTFeatureExtractor
    with quiet():
        return kind(
            sampling_rate=preprocess.rate,
            num_mel_bins=preprocess.bins,
            max_length=(samples - (preprocess.window or 0)) // (preprocess.hop or 1) + 1,
            mean=preprocess.mean,
            std=preprocess.std / 2,  # it divides by twice the deviation
        )
