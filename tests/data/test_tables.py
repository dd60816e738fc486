"""Tables of text as they are found in the world: hazards.md 3D on files and cells, a row a test or more."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import encoded, kinds, picture, read, refused

from zoo.data.tables import read_rows, read_table
from zoo.data.types import ReadOptions, UnknownId
from zoo.errors import DataError, UnknownNameError, UsageError
from zoo.verbs.check import check

GOOD = [("a red fox", "animal"), ("an oak tree", "plant"), ("a grey owl", "animal"), ("tall grass", "plant")] * 3


def lines(rows: list[tuple[str, str]] = GOOD, mark: str = ",", end: str = "\n") -> str:
    # Numbered, so that no two rows are the same.
    body = [f"{text} {number}{mark}{label}" for number, (text, label) in enumerate(rows)]
    return end.join([f"text{mark}label", *body]) + end


def table(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def everything(source: Path, **options: Any) -> list[tuple[str, str]]:
    """Text and label of every row, in the order of the file."""
    data = read(source, **options)
    found = []
    for examples in data.splits.values():
        assert examples.targets is not None
        labels = [data.task.classes[int(k)] for k in examples.targets]
        found += list(zip(examples.names, examples.inputs["text"], labels, strict=True))
    return [(text, label) for _, text, label in sorted(found, key=lambda row: int(row[0].rpartition(":")[2]))]


PLAIN = [(f"{text} {number}", label) for number, (text, label) in enumerate(GOOD)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_byte_order_mark_and_any_line_ending_change_nothing(
    tmp_path: Path, end: str, mark: bytes, suffix: str
) -> None:
    body = lines(end=end) if suffix == ".csv" else end.join(json.dumps({"text": t, "label": k}) for t, k in PLAIN)
    assert everything(table(tmp_path / f"it{suffix}", mark + body.encode())) == PLAIN


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_latin_1_is_refused_with_the_byte_and_read_when_named(
    tmp_path: Path, zoo_command: Callable[..., Any], suffix: str
) -> None:
    rows = [("déjà vu", "french"), ("seen before", "english")] * 6
    if suffix == ".csv":
        body = lines(rows)
    else:
        body = "\n".join(
            json.dumps({"text": f"{t} {i}", "label": k}, ensure_ascii=False) for i, (t, k) in enumerate(rows)
        )
    path = table(tmp_path / f"it{suffix}", body.encode("latin-1"))
    at = body.index("é")
    done = zoo_command("check", path)
    assert done.code == 3
    assert f"{path} is not utf-8: byte {at} is 0xe9, in line {body[:at].count(chr(10)) + 1}" in done.out
    assert "help: name its encoding, such as --encoding latin-1 or --encoding utf-16" in done.out
    assert zoo_command("check", path, "--encoding", "latin-1").code == 0
    assert everything(path, encoding="latin-1")[0][0] == "déjà vu 0"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_with_and_without_its_mark_is_refused_and_read_when_named(tmp_path: Path, encoding: str) -> None:
    path = table(tmp_path / "it.csv", lines().encode(encoding))
    error = refused(path, rf"{path} is no")
    assert error.help == "it looks like UTF-16; if it is, add --encoding utf-16"
    assert everything(path, encoding=encoding) == PLAIN


def test_an_encoding_that_nobody_knows_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--encoding latin-99 is not known") as caught:
        read(table(tmp_path / "it.csv", lines()), encoding="latin-99")
    assert caught.value.exit_code == 2


WORDS = ["NA", "null", "None", "nan", "N/A", "inf", "no", "true", "-", "1e5"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_cells_that_read_na_null_none_and_nan_stay_the_words_they_are(tmp_path: Path, suffix: str) -> None:
    rows = [(word, label) for word in WORDS for label in ("None", "nan")]
    rows = [(f"{text}{'' if label == 'nan' else ' !'}", label) for text, label in rows]
    path = write(tmp_path / f"it{suffix}", {"text": [t for t, _ in rows], "label": [k for _, k in rows]})
    assert everything(path) == rows


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_labels_with_leading_zeros_stay_the_text_they_are(tmp_path: Path, suffix: str) -> None:
    codes = ["007", "010", "7", "10"] + [f"{n:03}" for n in range(100, 130)]
    rows = [(f"row {i}", code) for i, code in enumerate(codes * 2)]
    path = write(tmp_path / f"it{suffix}", {"text": [t for t, _ in rows], "label": [k for _, k in rows]})
    data = read(path)
    assert data.task.kind == "multiclass"
    assert set(data.task.classes) == set(codes)
    assert everything(path) == rows


def test_numbers_of_jsonl_stay_as_they_were_written(tmp_path: Path) -> None:
    body = '{"text": "a", "label": 1.10, "id": 12345678901234567890123, "flag": true, "none": null}\n'
    found = read_table(table(tmp_path / "it.jsonl", body), ReadOptions())
    assert found == {
        "text": ["a"], "label": ["1.10"], "id": ["12345678901234567890123"], "flag": ["true"], "none": [""],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("one, two, three,animal", "4 fields, the header has 2 (text, label)"),
        ("nothing else", "1 fields, the header has 2 (text, label)"),
    ],
)
def test_a_ragged_row_is_refused_with_its_line(
    tmp_path: Path, zoo_command: Callable[..., Any], row: str, said: str
) -> None:
    body = lines().splitlines()
    path = table(tmp_path / "it.csv", "\n".join([*body[:5], row, *body[5:]]))
    done = zoo_command("check", path)
    assert done.code == 3
    assert f"{path}, line 6: {said}" in done.out
    assert "help: quote fields that hold the delimiter" in done.out


def test_a_quotation_mark_that_never_closes_is_refused_and_swallows_no_row(tmp_path: Path) -> None:
    body = lines().splitlines()
    path = table(tmp_path / "it.csv", "\n".join([*body[:4], '"an open quote,animal', *body[4:]]) + "\n")
    error = refused(path, "it.csv, line 14: unexpected end of data, after line 4")
    assert "must end with one" in str(error.help)
    with pytest.raises(DataError, match=r"line 5: .*after line 4"):
        read(table(path, "\n".join([*body[:4], '"he said" hello,animal', *body[4:]])))


def test_a_row_is_named_by_its_line_even_after_cells_of_many_lines_and_blank_lines(tmp_path: Path) -> None:
    path = table(tmp_path / "it.csv", 'text,label\n"one\ntwo",a\n\nthree,b\n')
    assert list(read_rows(path, ReadOptions()).lines) == [3, 5]
    path = table(tmp_path / "it.jsonl", '{"text": "x", "label": "a"}\n\n{"text": "y", "label": "b"}\n')
    assert list(read_rows(path, ReadOptions()).lines) == [1, 3]


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_other_delimiters_are_found_in_the_header(tmp_path: Path, mark: str) -> None:
    assert everything(table(tmp_path / "it.csv", lines(mark=mark))) == PLAIN


def test_a_table_of_one_column_is_refused_with_what_was_found(tmp_path: Path, zoo_command: Callable[..., Any]) -> None:
    path = table(tmp_path / "it.csv", lines(mark="^"))
    done = zoo_command("check", path)
    assert done.code == 3
    assert "has no column that looks like" in done.out
    assert "it has text^label" in done.out
    assert "--label-col" in done.out or "--text-col" in done.out
    assert everything(path, delimiter="^") == PLAIN
    with pytest.raises(UsageError, match="the delimiter '::' is not one character"):
        read(path, delimiter="::")


def test_a_column_that_is_not_there_is_a_usage_error_that_lists_those_that_are(
    tmp_path: Path, zoo_command: Callable[..., Any]
) -> None:
    path = table(tmp_path / "it.csv", lines())
    done = zoo_command("check", path, "--label-col", "labl")
    assert done.code == 2
    assert "No column is named 'labl'. Did you mean label?" in done.err
    assert "help: the columns are text, label" in done.err
    with pytest.raises(UsageError, match="column 'label' is input and label at once"):
        read(path, text=("label",), label=("label",))
    with pytest.raises(UnknownNameError, match="No task is named 'classify'"):
        read(path, task="classify")


@pytest.mark.parametrize("content", ["", "text,label\n", "\n\n"])
def test_a_table_without_rows_is_refused(tmp_path: Path, content: str) -> None:
    refused(table(tmp_path / "it.csv", content), "it.csv has no rows")


def test_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    refused(table(tmp_path / "it.csv", "text,label,text\na,b,c\n"), "names a column twice: 'text'")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": "a", "label": ', "line 2: not valid JSON"),
        ('["a", "b"]', "line 2: a list, not an object"),
        ('{"text": "a"}', "line 2: its keys differ: label"),
        ('{"text": "a", "label": "x", "label": "y"}', "line 2: not valid JSON .a key stands twice"),
        ('{"text": "a", "label": 007}', "line 2: not valid JSON"),
    ],
)
def test_a_broken_line_of_jsonl_is_refused_with_its_number(tmp_path: Path, line: str, said: str) -> None:
    refused(table(tmp_path / "it.jsonl", '{"text": "b", "label": "x"}\n' + line + "\n"), said)


def test_a_line_separator_within_a_json_string_does_not_end_the_line(tmp_path: Path) -> None:
    text = "one\u2028two\u0085three\x1cfour"
    rows = [{"text": text, "label": "x"}, {"text": "b", "label": "y"}]
    path = table(tmp_path / "it.jsonl", "\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    assert read_table(path, ReadOptions())["text"] == [text, "b"]


def test_a_damaged_parquet_file_and_an_unknown_kind_of_table_are_refused(tmp_path: Path) -> None:
    refused(table(tmp_path / "it.parquet", b"PAR1 nothing else"), "is no readable Parquet file")
    refused(table(tmp_path / "it.xlsx", b"PK"), r"it.xlsx is no table zoo can read")


def test_splits_with_different_columns_are_refused(tmp_path: Path) -> None:
    table(tmp_path / "train.csv", "text,label\na b,x\n")
    table(tmp_path / "test.csv", "text,category\na b,x\n")
    refused(tmp_path, "differs from the other splits in its columns: category, label")


def write(path: Path, columns: dict[str, list[str]]) -> Path:
    """The same columns in any format."""
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    elif path.suffix == ".jsonl":
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8", newline="")
    else:
        stream = io.StringIO(newline="")
        writer = csv.writer(stream, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writerows([list(columns), *zip(*columns.values(), strict=True)])
        path.write_text(stream.getvalue(), encoding="utf-8", newline="")
    return path


NAMES = st.lists(st.sampled_from(["text", "label", "größe", "id", "a b", "x;y"]), min_size=2, max_size=5, unique=True)
CELLS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_text_comes_back_from_a_table_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject
) -> None:
    names = data.draw(NAMES)
    count = data.draw(st.integers(1, 6))
    columns = {name: data.draw(st.lists(CELLS, min_size=count, max_size=count)) for name in names}
    path = write(tmp_path_factory.mktemp("tables") / f"it{suffix}", columns)
    assert read_table(path, ReadOptions(delimiter="," if suffix == ".csv" else None)) == columns


def test_missing_cells_of_parquet_are_empty_and_numbers_are_text(tmp_path: Path) -> None:
    path = tmp_path / "it.parquet"
    pq.write_table(pa.table({"a": [1, None, 3], "b": [0.5, float("nan"), None], "c": [["x", None], None, []]}), path)
    assert read_table(path, ReadOptions()) == {
        "a": ["1", "", "3"], "b": ["0.5", "", ""], "c": [["x", ""], "", []],
    }  # fmt: skip


def class_label_parquet(path: Path, labels: list[Any], names: list[str]) -> Path:
    """As the `datasets` library writes images and named classes."""
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    images = [{"bytes": encoded(picture(seed)), "path": f"{seed}.png"} for seed in range(len(labels))]
    made = pa.table({"image": images, "label": pa.array(labels, pa.int64())})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(made.replace_schema_metadata(metadata), path)
    return path


def test_images_and_named_classes_are_read_as_the_datasets_library_writes_them(tmp_path: Path) -> None:
    data = read(class_label_parquet(tmp_path / "it.parquet", [0, 1, 2] * 4, ["cat", "dog", "newt"]))
    assert data.task.classes == ("cat", "dog", "newt")
    assert data.modalities == ("image",)
    assert data.splits["val"].inputs["image"][0].name.startswith("it.parquet:")


@pytest.mark.parametrize("bad", [-1, 3, -100])
def test_a_label_number_that_no_class_has_is_an_error_with_its_row(
    tmp_path: Path, zoo_command: Callable[..., Any], bad: int
) -> None:
    path = class_label_parquet(tmp_path / "it.parquet", [0, 1, 2, 0, 1, 2, bad], ["cat", "dog", "newt"])
    done = zoo_command("check", path, "--json")
    assert done.code == 3
    report = json.loads(done.out)
    problem = next(each for each in report["problems"] if each["kind"] == "label-range")
    assert problem["message"] == "1 row with a label that is the number of no class"
    assert problem["rows"] == [f"'{bad}' in it.parquet:6"]
    assert problem["help"] == "correct them, or take these rows out"
    assert refused(path, "number of no class").details == (f"'{bad}' in it.parquet:6",)


def test_labels_that_are_all_left_out_of_the_loss_are_an_error(tmp_path: Path) -> None:
    rows = "".join(f"row {i},-100\n" for i in range(8))
    refused(table(tmp_path / "it.csv", "text,label\n" + rows), "8 rows with a label that is the number of no class")


def test_numbers_are_named_by_a_labels_file_beside_them_and_must_be_in_it(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("animal\nplant\n")
    rows = "".join(f"row {i},{i % 2}\n" for i in range(8))
    path = table(tmp_path / "train.csv", "text,label\n" + rows)
    assert read(path).task.classes == ("animal", "plant")
    assert "classes are named by labels.txt" in read(path).notes
    table(path, "text,label\n" + rows + "row 8,2\n")
    assert refused(path, "number of no class").details == ("'2' in train.csv:10",)
    assert isinstance(UnknownId("2"), str)


def test_two_columns_that_do_not_name_each_other_are_said(tmp_path: Path) -> None:
    rows = "".join(f"row {i},{i % 2},{('animal', 'plant')[i % 2]}\n" for i in range(8))
    path = table(tmp_path / "it.csv", "text,label,label_name\n" + rows + "row 8,0,plant\n")
    data = read(path)
    assert data.task.classes == ("0", "1")
    said = next(problem for problem in data.problems if problem.kind == "class-names")
    assert said.rows == ("'0' is 'plant' in it.csv:10, and 'animal' elsewhere",)
    assert said.message in data.notes


@pytest.mark.parametrize(
    ("row", "where"),
    [(",animal", "text"), ("   ,animal", "blank text"), ("a stoat,", "label"), ("a stoat,  ", "blank label")],
)
def test_empty_texts_and_labels_are_listed_and_dropped_only_when_asked(
    tmp_path: Path, zoo_command: Callable[..., Any], row: str, where: str
) -> None:
    path = table(tmp_path / "it.csv", lines() + row + "\n")
    done = zoo_command("check", path)
    assert done.code == 3, where
    assert "1 row with an empty text or label" in done.out
    assert "it.csv:14" in done.out
    assert "help: fill them in, or drop them with --drop-empty" in done.out
    refused(path, "1 row with an empty text or label")
    done = zoo_command("check", path, "--drop-empty")
    assert done.code == 0
    data = read(path, drop_empty=True)
    assert sum(map(len, data.splits.values())) == len(GOOD)
    assert "1 row with an empty text or label: dropped" in data.notes


def test_an_empty_label_does_not_turn_the_numbers_of_the_others_to_floats(tmp_path: Path) -> None:
    path = tmp_path / "it.parquet"
    labels = pa.array([*([1, 2] * 5), None], pa.int64())
    pq.write_table(pa.table({"text": [f"row {i}" for i in range(11)], "label": labels}), path)
    assert read(path, drop_empty=True).task.classes == ("1", "2")


def test_an_empty_half_of_a_pair_is_an_empty_text(tmp_path: Path) -> None:
    body = "".join(f"one {i},two {i},{i / 7}\n" for i in range(12))
    path = table(tmp_path / "it.csv", "sentence1,sentence2,score\n" + body + "one,,0.5\n")
    assert refused(path, "1 row with an empty text").details == ("it.csv:14",)


def test_an_empty_target_of_a_regression_is_dropped_when_asked_and_words_are_listed(tmp_path: Path) -> None:
    body = "text,price\n" + "".join(f"house {i},{i * 1.5}\n" for i in range(30))
    path = table(tmp_path / "it.csv", body + "house x,\n")
    assert refused(path, "1 row with an empty text or label").details == ("it.csv:32",)
    assert sum(map(len, read(path, drop_empty=True).splits.values())) == 30
    error = refused(
        table(path, body + "house x,dear\nhouse y,inf\n"), "2 targets are no finite numbers", task="regression"
    )
    assert error.details == ("it.csv:32: 'dear'", "it.csv:33: 'inf'")
    assert "--task multiclass" in str(error.help)


def test_good_rows_have_no_problem_and_check_leaves_with_zero(tmp_path: Path, zoo_command: Callable[..., Any]) -> None:
    path = table(tmp_path / "it.csv", lines())
    done = zoo_command("check", path, "--json")
    assert done.code == 0
    report = json.loads(done.out)
    assert (report["ok"], report["problems"], report["task"]) == (True, [], "binary")
    assert report["columns"] == {"text": "text", "label": "label"}
    assert kinds(check(path).problems) == {}
