"""Bad input: the exit code, one line that names the value, and what to do next; never a traceback, never an answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from program import Zoo

GLYPH, DIGITS = "starter/glyph-cnn", "sklearn:digits"
TUNE = f"finetune {GLYPH} {DIGITS} --dry-run --limit 20"
EXTRACT = f"extract {GLYPH} {DIGITS} -o f.npy"

BAD = [
    # what is typed, exit code, kind, what the first line names, what the help names
    ("lst", 2, "usage", "No such command 'lst'. Did you mean 'list'", "zoo --help"),
    ("list --bogus", 2, "usage", "--bogus", "zoo list --help"),
    ("list --licens mit", 2, "usage", "--licens", "--help"),
    ("list --limit many", 2, "usage", "--limit many", "zoo list --help"),
    ("list --limit=many", 2, "usage", "--limit=many", "zoo list --help"),
    ("list --limit -3", 2, "usage", "--limit -3", "positive"),
    ("list --sort size", 2, "usage", "--sort size", "name, params, dim, metric"),
    ("list --max-params big", 2, "usage", "'big'", "50M"),
    ("list --modality smell", 2, "usage", "smell", "image"),
    ("list --source tim", 2, "usage", "'tim'. Did you mean timm", "starter"),
    ("list --family resnt", 2, "usage", "'resnt'. Did you mean resnet", "there are"),
    ("info", 2, "usage", "Missing argument 'name'", "zoo info --help"),
    ("info glyph-cn", 2, "usage", "'glyph-cn'. Did you mean glyph-cnn", "zoo list"),
    ("info starter/glyph-cnn@lettres", 4, "weights", "'lettres'. Did you mean letters", "random"),
    ("info starter/glyph-cnn@nowhere.safetensors", 4, "weights", "nowhere.safetensors", "existing file"),
    ("info starter/glyph-cnn:text", 2, "usage", "no text tower", "takes image"),
    ("info starter/glyph-cnn+", 2, "usage", "'starter/glyph-cnn+'", "one +"),
    ("plan starter/glyph-cnn --strategy ful", 2, "usage", "'ful'. Did you mean full", "lp-ft"),
    ("plan starter/glyph-cnn --strategy partial --unfreeze 0", 2, "usage", "--unfreeze 0", "--strategy head"),
    ("plan starter/glyph-cnn --freeze blok1", 2, "usage", "'blok1'. Did you mean block1", "--freeze takes block1"),
    ("plan starter/glyph-cnn --freeze block*", 2, "usage", "--freeze block* leaves no stage", "linear-probe or head"),
    ("plan local:mine.py:build", 2, "usage", "local", "--dry-run"),
    ("check", 2, "usage", "Missing argument 'data'", "zoo check --help"),
    ("check sklearn:digit", 2, "usage", "'sklearn:digit'. Did you mean sklearn:digits", "zoo list datasets"),
    (f"check {DIGITS} --label-col labl", 2, "usage", "'labl'. Did you mean label", "image, label"),
    (f"check {DIGITS} --task colour", 2, "usage", "colour", "multiclass"),
    (f"check {DIGITS} --encoding martian", 2, "usage", "martian", "latin-1"),
    (f"extract {GLYPH} {DIGITS}", 2, "usage", "--output", "zoo extract --help"),
    (f"extract {GLYPH} {DIGITS} -o f.txt", 2, "usage", "'f.txt'", ".parquet"),
    (f"{EXTRACT} --level block9", 2, "usage", "'block9'. Did you mean block", "block4"),
    (f"{EXTRACT} --pooling best", 2, "usage", "'best'", "mean"),
    (f"{EXTRACT} --split tset", 2, "usage", "'tset'", "train, val"),
    (f"{EXTRACT} --device gpu", 2, "usage", "'gpu'", "cuda"),
    (f"{EXTRACT} --batch-size 0", 2, "usage", "--batch-size 0", "positive"),
    (f"{EXTRACT} --weights nosuch", 4, "weights", "'nosuch'", "letters"),
    (f"extract {GLYPH} builtin:docstrings -o f.npy", 2, "usage", "takes image, and the data have text", "zoo list"),
    ("finetune", 2, "usage", "backbone and data", "starter/glyph-cnn sklearn:digits"),
    (f"finetune {GLYPH}", 2, "usage", "backbone and data", "starter/glyph-cnn sklearn:digits"),
    (f"{TUNE} --strategy ful", 2, "usage", "'ful'. Did you mean full", "lp-ft"),
    (f"{TUNE} --head liner", 2, "usage", "'liner'. Did you mean linear", "heads"),
    (f"{TUNE} --strategy linear-probe --head mlp", 2, "usage", "--head mlp", "--strategy head"),
    (f"{TUNE} --pooling best", 2, "usage", "'best'", "mean"),
    (f"{TUNE} --loss mse", 2, "usage", "--loss mse", "cross-entropy"),
    (f"{TUNE} --epochs 0", 2, "usage", "--epochs 0", "positive"),
    (f"{TUNE} --epochs two", 2, "usage", "--epochs two", "zoo finetune --help"),
    (f"{TUNE} --batch-size lots", 2, "usage", "--batch-size is 'lots'", "whole number"),
    (f"{TUNE} --lr -1", 2, "usage", "--lr -1", "positive"),
    (f"finetune starter/gru {DIGITS}", 3, "data", "no column that looks like text", "zoo list --modality image"),
    (f"{TUNE} --lr nan", 2, "usage", "--lr nan", "positive"),
    (f"{TUNE} --backbone-lr -1", 2, "usage", "--backbone-lr -1", "0 or"),
    (f"{TUNE} --optimizer lion", 2, "usage", "--optimizer is 'lion'", "--dry-run"),
    (f"{TUNE} --schedule cos", 2, "usage", "--schedule is 'cos'", "--dry-run"),
    (f"{TUNE} --milestones a,b", 2, "usage", "--milestones a,b", "5,8"),
    (f"{TUNE} --step-size 0", 2, "usage", "--step-size 0", "positive"),
    (f"{TUNE} --warmup 2", 2, "usage", "--warmup 2", "share"),
    (f"{TUNE} --weight-decay -1", 2, "usage", "--weight-decay -1", "0 or"),
    (f"{TUNE} --dropout 1", 2, "usage", "--dropout 1", "share"),
    (f"{TUNE} --label-smoothing 1.5", 2, "usage", "--label-smoothing 1.5", "share"),
    (f"{TUNE} --augment wild", 2, "usage", "'wild'", "strong"),
    (f"{TUNE} --early-stop 0", 2, "usage", "--early-stop 0", "positive"),
    (f"{TUNE} --save-every 0", 2, "usage", "--save-every 0", "positive"),
    (f"{TUNE} --seed -1", 2, "usage", "--seed -1", "0 or"),
    (f"{TUNE} --device gpu", 2, "usage", "'gpu'", "cuda"),
    (f"{TUNE} --device cuda:7", 2, "usage", "cuda:7", "--device cpu"),
    (f"{TUNE} --precision fp8", 2, "usage", "--precision is 'fp8'", "--dry-run"),
    (f"{TUNE} --shots 0", 2, "usage", "--shots 0", "positive"),
    (f"finetune {GLYPH} {DIGITS} --dry-run --limit 0", 2, "usage", "--limit 0", "positive"),
    (f"{TUNE} --val 1.5", 2, "usage", "--val 1.5", "0.2"),
    (f"{TUNE} --baseline best", 2, "usage", "'best'", "random"),
    (f"{TUNE} --weights lettres", 4, "weights", "'lettres'. Did you mean letters", "random"),
    (f"{TUNE} --config nowhere.yaml", 2, "usage", "nowhere.yaml", "--dry-run"),
    (f"finetune {GLYPH} {DIGITS} --name ../away", 2, "usage", "'../away'", "--out"),
    ("finetune --resume nowhere", 2, "usage", "nowhere", "zoo runs"),
    ("finetune --resume last --epochs 3", 2, "usage", "epochs", "new run"),
    ("evaluate last", 2, "usage", "last", "zoo runs"),
    ("predict last photo.jpg", 2, "usage", "last", "zoo runs"),
    ("predict last", 2, "usage", "Missing argument", "zoo predict --help"),
    ("runs list", 2, "usage", "'zoo runs list' is no action", "zoo runs show RUN"),
    ("runs show", 2, "usage", "'zoo runs show' needs", "zoo runs show RUN"),
    ("runs rm nowhere", 2, "usage", "nowhere", "zoo runs"),
]


@pytest.mark.parametrize(("typed", "code", "kind", "what", "mend"), BAD, ids=[row[0] for row in BAD])
def test_bad_input_ends_with_one_error_and_its_mend(
    zoo: Zoo, typed: str, code: int, kind: str, what: str, mend: str, tmp_path: Path
) -> None:
    done = zoo(*typed.split(" "))
    assert done.code == code, done.err
    assert not done.out
    assert "Traceback" not in done.err
    error = next(line for line in done.err.splitlines() if line.startswith("error["))
    assert error.startswith(f"error[{kind}]: ")
    assert what in error
    helps = [line for line in done.err.splitlines() if line.startswith("help: ")]
    assert len(helps) == 1
    assert mend in helps[0]
    assert not list(tmp_path.iterdir()), "something was written"


def test_a_file_that_is_there_is_not_replaced_unasked(zoo: Zoo, tmp_path: Path) -> None:
    words = ("extract", GLYPH, DIGITS, "--split", "val", "-o", "f.npy")
    assert zoo(*words).code == 0
    before = (tmp_path / "f.npy").stat().st_mtime_ns
    done = zoo(*words)
    assert (done.code, "f.npy exists" in done.err, "--overwrite" in done.err) == (2, True, True)
    assert (tmp_path / "f.npy").stat().st_mtime_ns == before
    assert zoo(*words, "--overwrite").code == 0


def test_a_run_that_is_there_is_not_replaced_unasked(zoo: Zoo, runs: Path, reviews: Path) -> None:
    done = zoo("finetune", "starter/bag-of-words", reviews, "--out", runs, "--name", "texts")
    assert done.code == 2
    assert "a run named 'texts' exists" in done.err
    assert "--overwrite" in done.err


def test_data_of_other_classes_are_refused(zoo: Zoo, runs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("text,label\n" + "".join(f"word {n},{('new', 'other')[n % 2]}\n" for n in range(20)))
    done = zoo("evaluate", runs / "texts", other)
    assert done.code == 3
    assert "error[data]: 2 labels do not occur in the training rows: new, other" in done.err


def test_missing_pictures_are_errors_in_their_place(zoo: Zoo, runs: Path, photos: Path) -> None:
    done = zoo("predict", "pictures", photos / "red" / "1.png", "nowhere.png", photos / "blue" / "2.png", "--out", runs)
    assert done.code == 3
    lines = done.lines()
    assert [line.get("label") for line in lines] == ["red", None, "blue"]
    assert lines[1]["input"] == "nowhere.png"
    assert "No such file" in lines[1]["error"]
    assert done.err == "1 input could not be read: see the error in its place\n"
