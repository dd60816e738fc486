"""Files of recordings to samples: every kind the same way, and nothing that is damaged."""

from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recorded import RATE, encoded, tone

from zoo import Audio, AudioPreprocess, AudioProcessor, AudioRef, DataError
from zoo.data.audio import decode_audio, looks_like_audio, seconds_of


def heard(data: bytes, **more: Any) -> Audio:
    return decode_audio(AudioRef("a.wav", data=data, **more))


def refusal(data: bytes, **more: Any) -> str:
    with pytest.raises(DataError, match=r"^a\.wav: ") as caught:
        heard(data, **more)
    return caught.value.what.removeprefix("a.wav: ")


@pytest.mark.parametrize(
    ("kind", "subtype", "tolerance"),
    [
        ("WAV", "PCM_16", 2**-15),
        ("WAV", "PCM_24", 2**-23),
        ("WAV", "FLOAT", 0),
        ("WAV", "PCM_U8", 2**-7),
        ("FLAC", "PCM_16", 2**-15),
        ("FLAC", "PCM_24", 2**-23),
        ("AIFF", "PCM_16", 2**-15),
        ("OGG", "VORBIS", 0.05),  # what a lossy code may change
    ],
)
def test_every_kind_of_file_gives_the_samples_that_were_written(kind: str, subtype: str, tolerance: float) -> None:
    samples = tone()
    data = encoded(samples, kind=kind, subtype=subtype)
    assert looks_like_audio(data[:12])
    found = heard(data)
    assert found.rate == RATE
    assert found.samples.dtype == np.float32
    assert np.abs(found.samples - samples).max() <= tolerance
    assert seconds_of(AudioRef("a", data=data)) == found.seconds == 0.1


def test_whole_numbers_agree_with_pythons_own_reader() -> None:
    data = encoded(tone(), subtype="PCM_16")
    with wave.open(io.BytesIO(data)) as file:
        whole = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    np.testing.assert_array_equal(heard(data).samples, whole / np.float32(32_768))


def test_channels_are_averaged() -> None:
    left, right = tone(440), tone(660)
    found = heard(encoded(np.stack([left, right], axis=1), subtype="FLOAT"))
    np.testing.assert_allclose(found.samples, (left + right) / 2, atol=1e-7)  # one rounding of float32


def test_another_rate_keeps_the_tone_and_drops_what_it_cannot_hold() -> None:
    rate = 44_100
    high = Audio(tone(440, 0.5, rate) + tone(15_000, 0.5, rate), rate)
    found = high.at(16_000)
    assert len(found) == 8_000
    # Away from its ends, where the filter has silence beside it. 15 kHz would fold to 1 kHz.
    np.testing.assert_allclose(found[500:-500], tone(440, 0.5, 16_000)[500:-500], atol=2e-3)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000])
def test_a_cut_gives_the_first_samples_of_the_whole(rate: int) -> None:
    audio = Audio(tone(440, 1.0, rate), rate)
    np.testing.assert_array_equal(audio.at(16_000, 0.3), audio.at(16_000)[:4_800])


def test_samples_in_arrays_are_taken_as_they_are_meant() -> None:
    found = decode_audio(AudioRef("row", array=np.array([[16_384, 0], [-32_768, -32_768]], dtype=np.int16), rate=RATE))
    np.testing.assert_array_equal(found.samples, np.array([0.25, -1.0], dtype=np.float32))
    with pytest.raises(DataError, match=r"row: an array of float32 with shape .* and rate None"):
        decode_audio(AudioRef("row", array=tone()))


def test_what_is_damaged_is_refused_and_says_how() -> None:
    whole = encoded(tone())
    assert refusal(b"") == "empty file"
    assert refusal(b"a text, no sound") == "not a recording that can be read (starts with 'a text, no s')"
    assert refusal(whole[:500]) == "damaged recording, it ends after 500 of 1,644 bytes"
    assert refusal(encoded(tone(), kind="AIFF")[:500]).startswith("damaged recording, it ends after 500 of")
    assert refusal(encoded(tone()[:0])) == "no samples can be read from this recording"
    assert refusal(encoded(tone() * np.nan, subtype="FLOAT")).endswith("no finite numbers in [-1, 1]")
    assert refusal(encoded(tone(), kind="FLAC")[:300]).startswith("damaged recording (")
    fast = bytearray(whole)
    fast[24:28] = (9_000_000).to_bytes(4, "little")
    assert refusal(bytes(fast)) == "9,000,000 samples a second"


def test_no_flipped_byte_gives_anything_but_samples_or_a_refusal() -> None:
    rng = np.random.default_rng(0)
    for kind in ("WAV", "FLAC", "OGG", "AIFF"):
        whole = np.frombuffer(encoded(tone(seconds=0.02), kind=kind), dtype=np.uint8)
        for _ in range(25):
            data = whole.copy()
            data[rng.integers(0, min(len(data), 80), 3)] = rng.integers(0, 256, 3)
            try:
                assert np.isfinite(heard(data.tobytes()).samples).all()
            except DataError as error:
                assert error.what.startswith("a.wav: ")  # noqa: PT017  (either will do)


def test_a_recording_beyond_the_limit_is_refused_by_its_header_alone() -> None:
    data = encoded(tone(seconds=0.2), kind="FLAC")
    assert refusal(data, max_seconds=0.1) == "0.2 seconds at 8,000 Hz, more than the limit of 0.1"
    # At four times the usual rate it may last a quarter as long: what counts is memory.
    fast = encoded(tone(440, 0.2, 192_000), 192_000)
    assert refusal(fast, max_seconds=0.1).endswith("more than the limit of 0.1 at 48,000 Hz")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.wav: No such file or directory"):
        decode_audio(AudioRef("gone.wav", path=str(tmp_path / "gone.wav")))
    assert seconds_of(AudioRef("gone.wav", path=str(tmp_path / "gone.wav"))) == 0


def test_the_processor_normalises_each_recording_and_marks_what_it_pads() -> None:
    process = AudioProcessor(AudioPreprocess(RATE, 0.05, normalise="recording"), shortest=100)
    examples = [process(Audio(tone(seconds=seconds) + 0.2, RATE)) for seconds in (0.1, 0.03, 0.001)]
    batch = process.finish(process.collate(examples))
    assert batch["mask"].sum(1).tolist() == [400, 240, 100]  # cut at 0.05 s; as it is; filled up to the shortest
    for row, mask in zip(batch["samples"], batch["mask"], strict=True):
        assert abs(float(row[mask].mean())) < 1e-6
        assert float(row[mask].std(correction=0)) == pytest.approx(1, abs=1e-3)
        assert not row[~mask].any()


def test_a_processor_of_another_rate_has_another_key() -> None:
    keys = {AudioProcessor(AudioPreprocess(rate, seconds)).key for rate in (8_000, 16_000) for seconds in (None, 5.0)}
    assert len(keys) == 4
