"""Which column is what, which task they make, and how both are given instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made import class_folder, picture, read, refused

from zoo.data.reading import dataset_of
from zoo.data.types import ReadOptions, Table
from zoo.errors import UnknownNameError
from zoo.verbs.check import check
from zoo.verbs.config import RunConfig, read_config, write_config

TEXTS = [f"some words {i}" for i in range(60)]


def made(columns: dict[str, Any], **options: Any) -> Any:
    return dataset_of(Table("it", columns), ReadOptions(**options))


@pytest.mark.parametrize(
    ("cells", "kind", "classes"),
    [
        (["yes", "no"], "binary", ("no", "yes")),
        (["1", "0"], "binary", ("0", "1")),
        (["0.0", "1.0"], "binary", ("0.0", "1.0")),
        (["-1", "0", "1"], "multiclass", ("-1", "0", "1")),
        ([str(n) for n in range(12)], "multiclass", tuple(str(n) for n in range(12))),
        ([f"{n:02}" for n in range(30)], "multiclass", tuple(f"{n:02}" for n in range(30))),
        ([str(n) for n in range(30)], "regression", ()),
        (["0.5", "1.5", "2.5"], "regression", ()),
        (["3", "7", "nan"], "multiclass", ("3", "7", "nan")),
        ([["a"], ["a", "b"], []], "multilabel", ("a", "b")),
    ],
)
def test_the_task_follows_from_the_cells_of_the_label_column(cells: list[Any], kind: str, classes: Any) -> None:
    data = made({"text": TEXTS, "label": (cells * 60)[:60]})
    assert (data.task.kind, data.task.classes) == (kind, classes)


def test_names_joined_by_a_bar_in_a_column_of_labels_are_several_labels() -> None:
    cells = (["joy|love", "anger", ""] * 20)[:60]
    data = made({"text": TEXTS, "labels": cells})
    assert (data.task.kind, data.task.classes) == ("multilabel", ("anger", "joy", "love"))
    commas = {"text": TEXTS, "label": ["a,b", "b", "a"] * 20}
    assert made(commas, task="multilabel", label_separator=",").task.classes == ("a", "b")


def test_a_list_of_labels_where_one_is_wanted_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "it.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"t {i}", "label": ["a", "b"][: 1 + i % 2]}) for i in range(9)))
    error = refused(path, "9 rows hold a list of labels, which multiclass has no place for", task="multiclass")
    assert error.help == "give --task multilabel"


def test_several_label_columns_are_several_numbers_in_the_order_given() -> None:
    numbers = {"x": [str(i / 7) for i in range(60)], "y": [str(-i) for i in range(60)]}
    data = made({"text": TEXTS, **numbers}, label=("y", "x"))
    assert (data.task.kind, data.task.targets) == ("regression", ("y", "x"))
    train = data.splits["train"]
    row = int(train.names[3].split()[1])
    assert train.targets[3] == pytest.approx([-row, row / 7])


@pytest.mark.parametrize(
    ("columns", "read_as"),
    [
        (("sentence", "sentiment"), {"text": "sentence", "label": "sentiment"}),
        (("premise", "hypothesis", "label"), {"text": "premise,hypothesis", "label": "label"}),
        (("Text", "Label"), {"text": "Text", "label": "Label"}),
        (("headline", "category"), {"text": "headline", "label": "category"}),
    ],
)
def test_columns_are_found_by_their_usual_names(columns: tuple[str, ...], read_as: dict[str, str]) -> None:
    cells = dict.fromkeys(columns[:-1], TEXTS) | {columns[-1]: ["a", "b"] * 30}
    assert made(cells).columns == read_as


def test_a_table_beside_its_images_names_them_from_its_own_folder(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    rows = ["file_name,label"]
    for seed in range(12):
        picture(seed).save(folder / "images" / f"{seed}.png")
        rows.append(f"images/{seed}.png,{'ab'[seed % 2]}")
    (folder / "metadata.csv").write_text("\n".join(rows))
    for source in (folder, folder / "metadata.csv"):
        report = check(source)
        assert report.ok
        assert report.columns == {"image": "file_name", "label": "label"}
    (folder / "images" / "3.png").unlink()
    problem = next(each for each in check(folder).problems if each.kind == "unreadable")
    assert problem.rows == ("images/3.png: No such file or directory",)


def test_a_folder_with_one_table_is_that_table(tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text("text,label\n" + "".join(f"row {i},{'ab'[i % 2]}\n" for i in range(10)))
    assert sum(map(len, read(tmp_path).splits.values())) == 10


def test_only_the_modalities_that_are_wanted_are_read() -> None:
    columns = {"image": ["a.png"] * 60, "text": TEXTS, "label": ["a", "b"] * 30}
    assert made(columns).modalities == ("image", "text")
    assert made(columns, modalities=("text",)).columns == {"text": "text", "label": "label"}


def test_a_folder_without_classes_and_a_name_nobody_has_are_refused(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "a.png")
    error = refused(tmp_path, "holds no class folders")
    assert error.help == "lay files out as CLASS/FILE, or give a table with an image column"
    with pytest.raises(UnknownNameError, match=r"No data set is named 'sklearn:digit'\. Did you mean sklearn:digits"):
        read(Path("sklearn:digit"))


NAME = st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="/\0"), min_size=1, max_size=12)


@settings(max_examples=30)
@given(st.lists(NAME, min_size=1, max_size=6, unique=True))
def test_a_file_of_any_name_is_read_unless_it_is_hidden(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    root = class_folder(tmp_path_factory.mktemp("photos"), {"a": 1, "b": 1})
    litter = {"Thumbs.db", "desktop.ini", "__MACOSX", "@eaDir"}
    shown = [name for name in names if not name.startswith(".") and name not in litter and name != "0.png"]
    for seed, name in enumerate(shown, 5):
        picture(seed).save(root / "a" / name, "PNG")
    (root / "a" / ".hidden.png").write_bytes(b"")
    report = check(root)
    assert sum(report.rows.values()) == 2 + len(set(shown))
    assert not [problem for problem in report.problems if problem.level == "error"]


WORDS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=10)


@settings(max_examples=60)
@example("\x85", ["\u2028"], "\n")
@given(WORDS, st.lists(WORDS.filter(lambda word: "," not in word), min_size=1, max_size=3), WORDS)
def test_any_text_comes_back_from_a_configuration_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, data: str, label: list[str], separator: str
) -> None:
    config = RunConfig(data=data, read=ReadOptions(label=tuple(label), label_separator=separator))
    path = tmp_path_factory.mktemp("config") / "it.yaml"
    path.write_text(write_config(config), encoding="utf-8", newline="")
    assert read_config(path) == config
