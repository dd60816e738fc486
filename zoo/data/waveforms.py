"""A decoded recording to the samples its weights want: resampled, cut, normalised, padded with a mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo.catalog.spec import AudioPreprocess, fingerprint
from zoo.data.audio import AUDIO_DECODER, Audio

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.data.augment import Draw

_TINY = 1e-7
"""Added to the variance, as transformers does: silence stays silence."""


class AudioProcessor:
    """Processor of recordings: `{"samples": (B, T) float, "mask": (B, T) bool}`, padded at the end with silence.

    Args:
        preprocess: of kind "waveform".
        shortest: samples that the backbone needs at least; a shorter recording is filled up with silence, which
            counts as heard.
    """

    def __init__(self, preprocess: AudioPreprocess, *, shortest: int = 1) -> None:
        self.preprocess = preprocess
        self.shortest = shortest
        if preprocess.padded and preprocess.seconds is not None:
            self.shortest = max(shortest, round(preprocess.seconds * preprocess.rate))

    @property
    def key(self) -> str:
        return fingerprint({"audio": self.preprocess, "shortest": self.shortest, "decoder": AUDIO_DECODER})

    def __call__(self, value: Audio, draw: Draw | None = None) -> Tensor:
        import torch

        samples = value.at(self.preprocess.rate, self.preprocess.seconds)
        if len(samples) < self.shortest:
            samples = np.pad(samples, (0, self.shortest - len(samples)))
        return torch.from_numpy(np.array(self._normalised(samples), dtype=np.float32))

    def length(self, example: Tensor) -> int:
        return len(example)

    def collate(self, examples: Sequence[Tensor]) -> dict[str, Tensor]:
        import torch

        T = max((len(each) for each in examples), default=0)
        samples = torch.zeros(len(examples), T)
        mask = torch.zeros(len(examples), T, dtype=torch.bool)
        for row, each in enumerate(examples):
            samples[row, : len(each)] = each
            mask[row, : len(each)] = True
        return {"samples": samples, "mask": mask}

    def finish(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(tensors)

    def _normalised(self, samples: NDArray[np.float32]) -> NDArray[Any]:
        if self.preprocess.normalise == "recording":
            samples = (samples - samples.mean()) / np.sqrt(samples.var() + _TINY)
        return (samples - self.preprocess.mean) / self.preprocess.std
