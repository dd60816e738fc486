"""Recordings from the program's first command to its last: check, finetune, evaluate, extract, predict, fusion."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import zoo_starter
import zoo_transformers
from tiny_audio import write_audio, write_tones

import zoo
from zoo import AudioRef, Catalog, ReadOptions, Table
from zoo.verbs.config import Output


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("data") / "tones")


@pytest.fixture
def program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str]]:
    """`zoo WORDS...` in a temporary folder: exit code and standard output."""
    from zoo.cli.main import run

    def command(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["zoo", *map(str, words)])
        monkeypatch.chdir(tmp_path)
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            run()
        return int(end.value.code or 0), capsys.readouterr().out

    return command


def test_a_task_from_folders_of_recordings_by_commands_alone(
    tones: Path, program: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    folder = write_audio(tmp_path / "model", "wav2vec2")
    assert program("check", tones)[0] == 0
    given = ("--strategy", "linear-probe", "--baseline", "none", "--device", "cpu", "--name", "tones", "--json")
    code, out = program("finetune", folder, tones, *given)
    assert code == 0
    run = json.loads(out)
    assert run["metrics"]["accuracy"] >= 0.9  # 12 test rows of low and high tones
    shutil.rmtree(folder)
    assert (
        json.loads(program("evaluate", "runs/tones", "--json")[1])["metrics"]["accuracy"] == run["metrics"]["accuracy"]
    )
    (tmp_path / "no.wav").write_text("no sound")
    code, out = program("predict", "runs/tones", tones / "test" / "high" / "0.wav", "no.wav")
    assert code == 3
    first, second = map(json.loads, out.splitlines())
    assert first["label"] == "high"
    assert second["error"].endswith("not a recording that can be read (starts with 'no sound')")


@pytest.mark.parametrize("case", ["wavlm", "whisper", "ast"])
def test_a_whole_backbone_learns_tones(case: str, tones: Path, tmp_path: Path) -> None:
    folder = write_audio(tmp_path / "model", case)
    training = zoo.Training(epochs=4, batch_size=8, lr=3e-3, backbone_lr=1.0, device="cpu")
    run = zoo.finetune(
        f"transformers/{folder}@random", tones, strategy="full", training=training, baseline="none",
        out=Output(dir=str(tmp_path / "runs"), name="tones"),
    )  # fmt: skip
    assert run.plan.estimate.trained == run.plan.estimate.params
    assert not any("are cut after" in note for note in run.plan.notes)
    assert run.metrics["accuracy"] >= 0.9
    clip = next((tones / "test" / "low").iterdir())
    samples, rate = soundfile.read(clip, dtype="float32")
    by_file, by_array = run.predict([clip, AudioRef("clip", array=samples, rate=rate)])
    assert by_file.label == by_array.label == "low"
    assert by_file.probabilities == by_array.probabilities


def test_a_run_says_how_many_recordings_are_longer_than_its_backbone_hears(tones: Path, tmp_path: Path) -> None:
    data = shutil.copytree(tones, tmp_path / "tones")
    soundfile.write(data / "test" / "high" / "long.wav", np.sin(np.arange(12_000)), 8_000)
    run = zoo.finetune(
        f"transformers/{write_audio(tmp_path / 'model', 'whisper')}", data, strategy="linear-probe", device="cpu",
        baseline="none", out=Output(dir=str(tmp_path / "runs"), name="tones"),
    )  # fmt: skip
    assert "1 of 37 recordings are cut after 1 s" in run.plan.notes


def test_features_of_recordings_are_extracted_at_every_level(tones: Path, tmp_path: Path) -> None:
    folder = write_audio(tmp_path / "model", "wav2vec2")
    found = {
        level: zoo.extract(f"transformers/{folder}", tones, split="test", level=level, device="cpu", batch_size=4)
        for level in ("pooled", "tokens", "conv", "layer.0")
    }
    tokens = found["tokens"]
    assert tokens.mask is not None
    frames = tokens.mask.sum(1)
    assert len(set(frames.tolist())) > 3  # recordings of several lengths
    mean = (tokens.features * tokens.mask[..., None]).sum(1) / frames[:, None]
    np.testing.assert_allclose(found["pooled"].features, mean, atol=1e-5)
    assert found["conv"].features.shape == (12, 32, tokens.features.shape[1])
    assert found["layer.0"].features.shape == tokens.features.shape


def test_sound_and_text_are_fused(tmp_path: Path) -> None:
    """The label is told by both: high and loud-worded, or low and quiet-worded, or one of each."""
    folder = write_audio(tmp_path / "model", "ast")
    catalog = Catalog.of({"transformers": zoo_transformers, "starter": zoo_starter})
    backbone = zoo.load(f"transformers/{folder}+starter/bag-of-words", catalog=catalog)
    assert backbone.modalities == ("text", "audio")
    rng = np.random.default_rng(0)
    rows = [(hertz, word) for _ in range(10) for hertz in (300, 2_000) for word in ("good", "dull")]
    time = np.arange(4_000) / 8_000
    waves = [0.4 * np.sin(2 * np.pi * hertz * rng.uniform(0.9, 1.1) * time) for hertz, _ in rows]
    clips = [AudioRef(f"clip {row}", array=wave, rate=8_000) for row, wave in enumerate(waves)]
    table = Table(
        "both",
        {
            "audio": clips,
            "text": [f"a {word} sound number {row}" for row, (_, word) in enumerate(rows)],
            "label": [f"{hertz} {word}" for hertz, word in rows],
        },
    )
    from zoo.data.reading import dataset_of

    out = Output(dir=str(tmp_path / "runs"), name="both")
    data = dataset_of(table, ReadOptions())
    run = zoo.finetune(backbone, data, strategy="linear-probe", baseline="none", out=out, device="cpu")
    assert run.metrics["accuracy"] >= 0.8  # 0.25 by chance, 0.5 by either alone
    said = run.predict([{"text": "a good sound", "audio": clips[2]}, {"text": "a dull sound"}])
    assert said[0].label == "2000 good"
    assert said[1].error == "no audio given"
