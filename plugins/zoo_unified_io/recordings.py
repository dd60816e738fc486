"""Recordings to log-mel spectrograms of four seconds each; the last one is the present, those before are history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import zoo
from zoo import AudioPreprocess
from zoo_unified_io.encoder import AUDIO_GRID, PATCH, patches_of
from zoo_unified_io.listing import SEGMENT

QUIETEST, LOUDEST = 1e-5, 1e5
"""Between which mel energies are clipped before their logarithm is taken."""


class Sheet(NamedTuple):
    """One segment."""

    spectrogram: Tensor
    """(256, 128) of time and mel bin."""
    mask: Tensor
    """(T,) bool of its patches, time by time; False beyond the end of the recording."""


class RecordingProcessor:
    """Processor of audio: a `zoo.Audio` is cut into segments of 4.08 s, of which the last is the present one.

    A batch is `{"patches": (B, 128, 256), "mask": (B, 128) bool}`; where a recording is longer than one segment also
    `{"history": (B, F, 128, 256), "history_mask": (B, F, 128) bool}`.
    """

    def __init__(self, preprocess: AudioPreprocess) -> None:
        from transformers.audio_utils import mel_filter_bank

        self.preprocess = preprocess
        rate, window, bins = preprocess.rate, preprocess.window or 1024, preprocess.bins or 128
        bank = mel_filter_bank(
            num_frequency_bins=window // 2 + 1,
            num_mel_filters=bins,
            min_frequency=0.0,
            max_frequency=rate / 2,
            sampling_rate=rate,
            norm="slaney",
            mel_scale="slaney",
        )
        self.bank = torch.from_numpy(np.asarray(bank, dtype=np.float32))  # (window / 2 + 1, bins)

    @property
    def key(self) -> str:
        return zoo.fingerprint(["unified_io", 1, self.preprocess])

    def __call__(self, value: Any, draw: Any = None) -> tuple[Sheet, ...]:
        del draw
        rate = self.preprocess.rate
        samples = torch.from_numpy(np.ascontiguousarray(value.at(rate, self.preprocess.seconds)))
        step = round(SEGMENT * rate)
        # Counted from the end, so that the present segment is a whole one.
        first = len(samples) % step or min(len(samples), step)
        pieces = [samples[:first], *torch.split(samples[first:], step)] if len(samples) > first else [samples]
        return tuple(self._sheet(piece) for piece in pieces)

    def length(self, example: tuple[Sheet, ...]) -> int:
        return 1

    def collate(self, examples: Sequence[tuple[Sheet, ...]]) -> dict[str, Tensor]:
        batch = {
            "patches": torch.stack([sheets[-1].spectrogram for sheets in examples]),
            "mask": torch.stack([sheets[-1].mask for sheets in examples]),
        }
        most = max(len(sheets) for sheets in examples) - 1
        if most:
            rows = [[*sheets[:-1], *[_blank()] * (most + 1 - len(sheets))] for sheets in examples]
            batch["history"] = torch.stack([torch.stack([each.spectrogram for each in row]) for row in rows])
            batch["history_mask"] = torch.stack([torch.stack([each.mask for each in row]) for row in rows])
        return batch

    def finish(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        # A spectrogram is an image of one channel: (..., 256, 128) -> (..., 1, 256, 128).
        return {
            name: each if name.endswith("mask") else patches_of(each.unsqueeze(-3)) for name, each in tensors.items()
        }

    def _sheet(self, samples: Tensor) -> Sheet:
        window, hop = self.preprocess.window or 1024, self.preprocess.hop or 256
        frames = AUDIO_GRID[0] * PATCH  # 255 steps of 256 samples at 16 kHz are those 4.08 s
        whole = torch.nn.functional.pad(samples, (0, (frames - 1) * hop - len(samples)))
        spectrum = torch.stft(
            whole, window, hop, window=torch.hann_window(window), center=True, pad_mode="constant", return_complex=True
        )
        energy = spectrum.abs().square().T @ self.bank  # (frames, bins)
        level = energy.clamp(QUIETEST, LOUDEST).log()
        real = torch.arange(frames) * hop < len(samples)
        # A patch counts where its middle is of the recording; the first always does.
        heard = real[PATCH // 2 :: PATCH] | (torch.arange(AUDIO_GRID[0]) == 0)
        mask = heard.repeat_interleave(AUDIO_GRID[1])
        return Sheet((level - self.preprocess.mean) / self.preprocess.std, mask)


def _blank() -> Sheet:
    time, bins = AUDIO_GRID
    return Sheet(torch.zeros(time * PATCH, bins * PATCH), torch.zeros(time * bins, dtype=torch.bool))
