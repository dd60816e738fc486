"""Run folders: found by name, by path and as `last`; nothing outside their root is touched."""

from __future__ import annotations

import itertools
import json
import uuid
from pathlib import Path

import pytest

import zoo
from zoo.records.runs import RunFolder, environment, list_runs, slug


def make(root: Path, name: str | None = None, *, overwrite: bool = False) -> RunFolder:
    return RunFolder.create(
        root, name, overwrite=overwrite, backbone="torchvision/resnet18@random", strategy="full", fingerprint="abcdef"
    )


def test_a_run_is_opened_by_name_by_path_and_as_last(tmp_path: Path) -> None:
    run = make(tmp_path, "first")
    for given in ("first", str(run.path), run.path, "last", tmp_path / "last"):
        assert RunFolder.open(given, root=tmp_path).path.resolve() == run.path.resolve()
    newer = make(tmp_path)
    assert RunFolder.open("last", root=tmp_path).path.resolve() == newer.path.resolve()
    assert [r.path.name for r in list_runs(tmp_path)].count("first") == 1
    assert "last" not in [r.path.name for r in list_runs(tmp_path)]


def test_a_name_of_its_own_says_what_was_run(tmp_path: Path) -> None:
    assert "-resnet18-full-abcd" in make(tmp_path).path.name


def test_runs_of_one_second_have_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = (uuid.UUID(int=n // 3 << 112) for n in itertools.count())  # each is drawn three times
    monkeypatch.setattr(uuid, "uuid4", lambda: next(ends))
    made = [make(tmp_path).path for _ in range(10)]
    assert len(set(made)) == 10
    assert all((path / "run.json").is_file() for path in made)


def test_a_file_where_runs_should_lie_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in (None, "mine"):
        with pytest.raises(zoo.UsageError, match="runs cannot be kept in") as caught:
            make(tmp_path / "file", name)
        assert "--out" in str(caught.value.help)


def test_a_taken_name_is_an_error_unless_it_may_be_replaced(tmp_path: Path) -> None:
    (make(tmp_path, "mine").path / "old.txt").write_text("old")
    with pytest.raises(zoo.UsageError, match="a run named 'mine' exists") as caught:
        make(tmp_path, "mine")
    assert "--resume" in (caught.value.help or "")
    assert not (make(tmp_path, "mine", overwrite=True).path / "old.txt").exists()


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "a/b", "..", ".", "", "last", ".hidden", "a/../b"])
def test_a_name_cannot_leave_the_folder_of_runs(tmp_path: Path, name: str) -> None:
    with pytest.raises(zoo.UsageError, match="is no name for a run"):
        make(tmp_path / "runs", name)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("torchvision/resnet18@random", "resnet18"),
        ("transformers//home/me/my model+timm/x", "my-model-x"),
        ("../../etc/passwd", "passwd"),
        ("a/<script>", "script"),
        ("///", "run"),
        ("x" * 100, "x" * 48),
    ],
)
def test_a_slug_holds_nothing_that_means_something_to_a_file_system(text: str, expected: str) -> None:
    assert slug(text) == expected


def test_a_run_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    for given in ("nothing", "last", tmp_path / "nothing"):
        with pytest.raises(zoo.UsageError, match="there is no run at"):
            RunFolder.open(given, root=tmp_path)


def test_the_log_goes_on_after_a_line_that_was_cut(tmp_path: Path) -> None:
    run = make(tmp_path)
    run.log({"step": 1})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    run.log({"step": 3})
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in (lines[0], lines[2])] == [1, 3]


def test_the_log_holds_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float values"):
        make(tmp_path).log({"loss": float("nan")})


def test_the_end_of_a_run_is_written_down(tmp_path: Path) -> None:
    run = make(tmp_path)
    assert run.read_json("run.json")["status"] == "running"
    run.finish("diverged", result={"metrics": {}})
    assert run.read_json("run.json")["status"] == "diverged"
    assert zoo.runs(tmp_path)[0].status == "diverged"


def test_no_token_is_written_into_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY"):
        monkeypatch.setenv(name, "canary-5f1c")
    run = make(tmp_path)
    run.finish("done")
    assert "canary-5f1c" not in json.dumps(environment())
    assert all("canary-5f1c" not in p.read_text() for p in run.path.rglob("*") if p.is_file())


def test_the_environment_names_what_decides_a_result() -> None:
    found = environment()
    assert {"zoo", "torch", "transformers"} <= set(found["packages"])
    assert found["python"]
