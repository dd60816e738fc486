"""Audio backbones: speech models over waveforms, Whisper's encoders, spectrogram transformers."""

from __future__ import annotations

from collections.abc import Iterator

from zoo_transformers.known.entry import Entry, Sizes, encoder

_STABLE: Sizes = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
_LS960, _LV60K = "LibriSpeech 960 h", "Libri-Light 60,000 h"


def audio() -> Iterator[Entry]:
    """Family by family."""
    yield from _wav2vec2()
    yield from _hubert()
    yield from _wavlm()
    yield from _whisper()
    yield from _ast()


def _wav2vec2() -> Iterator[Entry]:
    base, large = encoder(12, 768, 12), encoder(24, 1024, 16)
    stable: Sizes = {**_STABLE, "conv_bias": True}
    paper, across = "https://arxiv.org/abs/2006.11477", "https://arxiv.org/abs/2006.13979"
    many = "https://arxiv.org/abs/2111.09296"
    hours = "436,000 h in 128 languages"
    for name, config, trained, source in (
        ("wav2vec2-base", base, _LS960, paper),
        ("wav2vec2-base-960h", base, _LS960, paper),
        ("wav2vec2-large", large, _LS960, paper),
        ("wav2vec2-large-960h", large, _LS960, paper),
        ("wav2vec2-large-lv60", {**large, **stable}, _LV60K, paper),
        ("wav2vec2-large-960h-lv60-self", {**large, **stable}, f"{_LV60K}, {_LS960}", paper),
        ("wav2vec2-large-xlsr-53", {**large, **stable}, "56,000 h in 53 languages", across),
        ("wav2vec2-xls-r-300m", {**large, **stable}, hours, many),
        ("wav2vec2-xls-r-1b", {**encoder(48, 1280, 16), **stable}, hours, many),
    ):
        yield Entry(f"facebook/{name}", "wav2vec2", config, "Apache-2.0", trained, source)


def _hubert() -> Iterator[Entry]:
    stable: Sizes = {**_STABLE, "conv_bias": True}
    paper = "https://arxiv.org/abs/2106.07447"
    for name, config, trained in (
        ("hubert-base-ls960", encoder(12, 768, 12), _LS960),
        ("hubert-large-ll60k", {**encoder(24, 1024, 16), **stable}, _LV60K),
        ("hubert-xlarge-ll60k", {**encoder(48, 1280, 16), **stable}, _LV60K),
    ):
        yield Entry(f"facebook/{name}", "hubert", config, "Apache-2.0", trained, paper)


def _wavlm() -> Iterator[Entry]:
    paper, mixed = "https://arxiv.org/abs/2110.13900", "94,000 h of Libri-Light, GigaSpeech and VoxPopuli"
    base: Sizes = encoder(12, 768, 12)
    yield Entry("microsoft/wavlm-base", "wavlm", base, None, _LS960, paper, preprocess="as it is")
    yield Entry("microsoft/wavlm-base-plus", "wavlm", base, None, mixed, paper, preprocess="as it is")
    yield Entry("microsoft/wavlm-large", "wavlm", {**encoder(24, 1024, 16), **_STABLE}, None, mixed, paper)


def _whisper() -> Iterator[Entry]:
    paper = "https://arxiv.org/abs/2212.04356"
    for name, layers, width, heads, english in (
        ("tiny", 4, 384, 6, True),
        ("base", 6, 512, 8, True),
        ("small", 12, 768, 12, True),
        ("medium", 24, 1024, 16, True),
        ("large-v2", 32, 1280, 20, False),
        ("large-v3", 32, 1280, 20, False),
    ):
        config: Sizes = {
            "d_model": width,
            **{f"{half}_layers": layers for half in ("encoder", "decoder")},
            **{f"{half}_attention_heads": heads for half in ("encoder", "decoder")},
            **{f"{half}_ffn_dim": 4 * width for half in ("encoder", "decoder")},
            "num_mel_bins": 128 if name == "large-v3" else 80,
        }
        hours = "5,000,000 h" if name == "large-v3" else "680,000 h"
        yield Entry(f"openai/whisper-{name}", "whisper", config, "Apache-2.0", f"{hours} of the web", paper)
        if english:
            yield Entry(f"openai/whisper-{name}.en", "whisper", config, "Apache-2.0", f"English of {hours}", paper)


def _ast() -> Iterator[Entry]:
    paper, trained = "https://arxiv.org/abs/2104.01778", "ImageNet-21k, ImageNet-1k, AudioSet"
    family = "audio-spectrogram-transformer"
    for stride, score in ((10, "0.4593"), (12, "0.447"), (14, "0.443"), (16, "0.442")):
        config: Sizes = {"frequency_stride": stride, "time_stride": stride}
        name = f"MIT/ast-finetuned-audioset-{stride}-{stride}-{score}"
        yield Entry(name, family, config, "BSD-3-Clause", trained, paper)
    commands: Sizes = {"max_length": 128}
    yield Entry(
        "MIT/ast-finetuned-speech-commands-v2", family, commands, "BSD-3-Clause",
        "ImageNet-21k, ImageNet-1k, Speech Commands v2", paper, preprocess="speech-commands",
    )  # fmt: skip
