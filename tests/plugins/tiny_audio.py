"""Folders of tiny audio models of real types with random weights, and recordings of tones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from transformers import AutoConfig, AutoModel

RATE = 16_000

_ENCODER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 37}
_CONVOLUTIONS = {
    "conv_dim": [32, 32, 32], "conv_stride": [5, 4, 4], "conv_kernel": [10, 8, 4], "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
_SPEECH = {**_ENCODER, **_CONVOLUTIONS}
_STABLE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
_WHISPER = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 37, "decoder_ffn_dim": 37, "max_source_positions": 50,
    "max_target_positions": 8, "vocab_size": 40, "num_mel_bins": 16, "pad_token_id": 0, "bos_token_id": 0,
    "eos_token_id": 0, "decoder_start_token_id": 1,
}  # fmt: skip

AUDIO: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "wav2vec2": ("wav2vec2", _SPEECH),
    "wav2vec2-stable": ("wav2vec2", {**_SPEECH, **_STABLE}),
    "hubert": ("hubert", _SPEECH),
    "wavlm": ("wavlm", {**_SPEECH, "num_buckets": 16, "max_bucket_distance": 32}),
    "whisper": ("whisper", _WHISPER),
    "ast": ("audio-spectrogram-transformer", {**_ENCODER, "max_length": 64, "num_mel_bins": 32}),
}
"""Model type and configuration by the name of the case; Whisper hears 1 s, AST 0.65 s, the others 30 s."""
PREPROCESSOR: Mapping[str, Mapping[str, Any]] = {
    "whisper": {"feature_size": 16, "chunk_length": 1},
    "ast": {"num_mel_bins": 32, "max_length": 64, "mean": -3.0, "std": 2.0},
    "wavlm": {"do_normalize": False},
}


def make_model(case: str) -> Any:
    """Transformers' own model, in eval mode, with weights far from zero: else a fault would hide in small numbers."""
    family, values = AUDIO[case]
    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model(family, **values)).eval()
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def write_audio(folder: Path, case: str) -> Path:
    """A folder as `save_pretrained` writes it."""
    make_model(case).save_pretrained(folder)
    values = {"sampling_rate": RATE, "do_normalize": True, **PREPROCESSOR.get(case, {})}
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    return folder


def waves(*seconds: float) -> list[Any]:
    """A tone with noise for each length, all different."""
    rng = np.random.default_rng(0)
    found = []
    for row, each in enumerate(seconds):
        time = np.arange(round(each * RATE)) / RATE
        noise = rng.normal(0, 0.02, len(time))
        found.append((0.3 * np.sin(2 * np.pi * 300 * (row + 1) * time) + noise + 0.05).astype(np.float32))
    return found


def write_tones(root: Path, rows: int = 12) -> Path:
    """Class folders of low and high tones of several rates and lengths, in stereo at times, with noise."""
    rng = np.random.default_rng(0)
    for split, count in (("train", rows), ("test", rows // 2)):
        for name, hertz in (("low", 200), ("high", 1_500)):
            (root / split / name).mkdir(parents=True)
            for row in range(count):
                rate = int(rng.choice([8_000, 16_000, 22_050]))
                time = np.arange(int(rate * rng.uniform(0.2, 0.4))) / rate
                wave = 0.4 * np.sin(2 * np.pi * hertz * rng.uniform(0.8, 1.2) * time) + rng.normal(0, 0.01, len(time))
                path = root / split / name / f"{row}.{'flac' if row % 2 else 'wav'}"
                soundfile.write(path, np.stack([wave, wave], 1) if row % 3 else wave, rate)
    return root
