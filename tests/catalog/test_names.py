"""What a user's words mean: `[source/]architecture[.tag][:tower][@weights]`, joined by `+`."""

from __future__ import annotations

import contextlib
import os
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.catalog.names import Words, split_fused, take_apart
from zoo.catalog.order import order_of
from zoo.errors import UsageError

PLAIN = st.text(string.ascii_letters + string.digits + "_-./", min_size=1).filter(
    lambda t: not t.startswith((".", "/"))
)
FILE = st.text(string.ascii_letters + string.digits + "+:@. _-é", min_size=1, max_size=12).filter(
    lambda t: t.strip() == t and t.strip(".") and not t.startswith("~")
)
REUSED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    """An empty working folder."""
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("resnet18", Words("resnet18", None, None)),
        ("torchvision/resnet18", Words("torchvision/resnet18", None, None)),
        ("torchvision/resnet18.imagenet1k_v1", Words("torchvision/resnet18.imagenet1k_v1", None, None)),
        ("resnet18@random", Words("resnet18", None, "random")),
        ("resnet18@imagenet1k_v1", Words("resnet18", None, "imagenet1k_v1")),
        ("resnet18@/no/such/file.safetensors", Words("resnet18", None, "/no/such/file.safetensors")),
        ("open_clip/ViT-B-32:image", Words("open_clip/ViT-B-32", "image", None)),
        ("open_clip/ViT-B-32.openai:text@random", Words("open_clip/ViT-B-32.openai", "text", "random")),
        ("google-bert/bert-base-uncased@0123abc", Words("google-bert/bert-base-uncased", None, "0123abc")),
        ("transformers/a/b@refs/pr/1", Words("transformers/a/b", None, "refs/pr/1")),
        ("local:file.py:make", Words("local:file.py:make", None, None)),
        ("a@b@c", Words("a", None, "b@c")),
    ],
)
def test_a_part_is_taken_apart(text: str, words: Words) -> None:
    assert take_apart(text) == words


def test_a_fused_name_is_split_at_each_plus() -> None:
    assert split_fused("resnet18+gpt2 + starter/gru@random") == ["resnet18", "gpt2", "starter/gru@random"]


@pytest.mark.parametrize("name", ["", "+", "a+", "+a", "a++b", "  ", "a+ +b"])
def test_an_empty_part_is_one_clear_error(name: str) -> None:
    with pytest.raises(UsageError, match="has an empty part"):
        split_fused(name)


@pytest.mark.parametrize("text", ["@random", ":image", ":text@random"])
def test_nothing_before_the_at_sign_or_the_tower_is_one_clear_error(text: str) -> None:
    with pytest.raises(UsageError, match=f"'{text}' names no backbone"):
        take_apart(text)


def test_nothing_after_the_at_sign_is_one_clear_error() -> None:
    with pytest.raises(UsageError, match="'resnet18@' names no weights after @"):
        take_apart("resnet18@")


@given(st.lists(PLAIN, min_size=1, max_size=4))
def test_joined_names_come_apart_again(parts: list[str]) -> None:
    assert split_fused("+".join(parts)) == parts


@given(PLAIN, st.sampled_from([None, "image", "text"]), st.none() | PLAIN)
def test_what_was_put_together_is_taken_apart(base: str, tower: str | None, weights: str | None) -> None:
    text = base + (f":{tower}" if tower else "") + (f"@{weights}" if weights else "")
    assert take_apart(text) == Words(base, tower, weights)


@REUSED
@given(name=FILE)
@pytest.mark.parametrize("form", ["{path}", "./{name}", "transformers/{path}", "transformers/./{name}", "run/./{name}"])
def test_an_existing_folder_is_never_cut_whatever_its_name(here: Path, form: str, name: str) -> None:
    folder = here / name
    folder.mkdir(exist_ok=True)
    text = form.format(path=folder, name=name)
    assert split_fused(text) == [text]
    assert take_apart(text) == Words(text, None, None)
    folder.rmdir()


@REUSED
@given(name=FILE)
@pytest.mark.parametrize("form", ["{path}", "./{name}"])
def test_an_existing_weights_file_is_never_cut_whatever_its_name(here: Path, form: str, name: str) -> None:
    file = here / name
    file.touch()
    weights = form.format(path=file, name=name)
    text = f"squeezenet1_1@{weights}"
    assert split_fused(text) == [text]
    assert take_apart(text) == Words("squeezenet1_1", None, weights)
    file.unlink()


@REUSED
@given(first=FILE, second=FILE)
def test_fused_names_of_paths_come_apart_at_the_right_plus(here: Path, first: str, second: str) -> None:
    if first == second:
        return
    (here / first).mkdir(exist_ok=True)
    (here / second).touch()
    parts = [f"transformers/./{first}", f"squeezenet1_1@./{second}", "gpt2"]
    text = "+".join(parts)
    # Another reading only where the names make a longer path that exists too.
    assert split_fused(text) == parts
    assert [take_apart(part).weights for part in split_fused(text)] == [None, f"./{second}", None]
    (here / first).rmdir()
    (here / second).unlink()


@REUSED
@given(folder=FILE, file=FILE)
def test_a_folder_with_weights_of_its_own_comes_apart_between_the_two(here: Path, folder: str, file: str) -> None:
    (here / "models" / folder).mkdir(parents=True, exist_ok=True)
    (here / "files").mkdir(exist_ok=True)
    (here / "files" / file).touch()
    words = take_apart(f"transformers/./models/{folder}@./files/{file}")
    assert words == Words(f"transformers/./models/{folder}", None, f"./files/{file}")
    (here / "models" / folder).rmdir()
    (here / "files" / file).unlink()


@REUSED
@given(text=st.text(max_size=40))
def test_whatever_is_typed_is_a_name_or_a_usage_error(here: Path, text: str) -> None:
    with contextlib.suppress(UsageError):
        parts = split_fused(text)
        assert "".join("+".join(parts).split()) == "".join(text.split())  # no letter is lost
        assert all(take_apart(part).base for part in parts)


def test_a_relative_path_above_is_kept(here: Path) -> None:
    (here / "w+x.safetensors").touch()
    (here / "deep").mkdir()
    os.chdir(here / "deep")
    assert split_fused("a@../w+x.safetensors+b") == ["a@../w+x.safetensors", "b"]


def test_a_tower_after_a_folder_is_a_tower(here: Path) -> None:
    (here / "my-clip").mkdir()
    assert take_apart("transformers/./my-clip:text") == Words("transformers/./my-clip", "text", None)


def test_a_home_folder_is_found(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    (here / "m@1").mkdir()
    assert take_apart("~/m@1") == Words("~/m@1", None, None)


def test_the_order_of_sources_is_fixed_and_others_follow_by_name() -> None:
    assert order_of(["zebra", "transformers", "timm", "ant", "starter", "torchvision", "open_clip"]) == [
        "starter", "torchvision", "timm", "open_clip", "transformers", "ant", "zebra",
    ]  # fmt: skip
