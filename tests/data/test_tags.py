"""Tags: read from lists and CoNLL files, checked, and laid on the tokens of any tokenizer."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from zoo_transformers.tokens import TextProcessor

import zoo
from zoo.catalog.spec import TextPreprocess
from zoo.data.batches import Loader
from zoo.data.reading import read_dataset
from zoo.data.tags import IGNORED, Tags, first_pieces, spans_of, words_of
from zoo.data.types import Dataset, Examples, ReadOptions
from zoo.errors import DataError

CONLL = """-DOCSTART- -X- O O

EU NNP B-NP B-ORG
rejects VBZ B-VP O
German JJ B-NP B-MISC

Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER
"""


def read(path: Path, **options: object) -> Dataset:
    return read_dataset(path, ReadOptions(**options))  # type: ignore[arg-type]


def lines(path: Path, rows: list[tuple[list[str], list[str]]]) -> Path:
    path.write_text("".join(json.dumps({"tokens": words, "tags": tags}) + "\n" for words, tags in rows))
    return path


def shown(examples: Examples, dataset: Dataset) -> list[list[tuple[str, str]]]:
    assert examples.targets is not None
    return [
        list(zip(words_of(text), [dataset.task.classes[k] for k in tags.indices], strict=True))
        for text, tags in zip(examples.inputs["text"], examples.targets, strict=True)
    ]


def test_conll_files_are_sentences_with_a_tag_for_each_word(tmp_path: Path) -> None:
    (tmp_path / "train.conll").write_text(CONLL)
    (tmp_path / "dev.conll").write_text("Peter\tB-PER\nrejects\tO\n\nEU\tB-ORG\n")
    dataset = read(tmp_path)
    assert dataset.task.kind == "tokens"
    assert dataset.task.classes == ("O", "B-MISC", "B-ORG", "B-PER", "I-PER")
    assert shown(dataset.splits["train"], dataset) == [
        [("EU", "B-ORG"), ("rejects", "O"), ("German", "B-MISC")],
        [("Peter", "B-PER"), ("Blackburn", "I-PER")],
    ]
    assert dataset.splits["train"].names == ("train.conll:3", "train.conll:7")
    assert shown(dataset.splits["val"], dataset)[1] == [("EU", "B-ORG")]


def test_lists_in_a_table_are_words_and_tags(tmp_path: Path) -> None:
    rows = [([f"w{row}", "is", "x"], ["N", "V", "N"]) for row in range(10)]
    dataset = read(lines(tmp_path / "a.jsonl", rows))
    assert (dataset.task.kind, dataset.task.classes) == ("tokens", ("N", "V"))
    assert dataset.columns == {"text": "tokens", "label": "tags"}
    assert any("holds a tag for each word" in note for note in dataset.notes)


def test_numbers_in_parquet_are_named_by_its_schema(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    tags = {"feature": {"names": ["O", "B-PER"], "_type": "ClassLabel"}, "_type": "Sequence"}
    named = {b"huggingface": json.dumps({"info": {"features": {"ner_tags": tags}}}).encode()}
    columns = {"tokens": [[f"a{row}", "b"] for row in range(6)], "ner_tags": [[1, 0]] * 6}
    pq.write_table(pa.table(columns).replace_schema_metadata(named), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet").task.classes == ("O", "B-PER")


def test_a_line_without_a_tag_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("EU B-ORG\nrejects\n")
    with pytest.raises(DataError, match=r"a.conll, line 2: 'rejects' has no tag"):
        read(tmp_path / "a.conll")


def test_rows_with_more_words_than_tags_are_named(tmp_path: Path) -> None:
    rows = [([f"w{row}", "is"], ["N", "V"]) for row in range(8)]
    rows[3] = (["only", "two tags"], ["N", "V"])
    report = zoo.check(lines(tmp_path / "a.jsonl", rows))
    found = [problem for problem in report.problems if problem.kind == "uneven"]
    assert not report.ok
    assert found[0].rows == ("3 words and 2 tags in a.jsonl:4",)


def test_tags_that_only_test_has_are_named(tmp_path: Path) -> None:
    lines(tmp_path / "train.jsonl", [([f"w{row}", "is"], ["N", "V"]) for row in range(8)])
    lines(tmp_path / "test.jsonl", [(["x", "y"], ["N", "V"]), (["z"], ["B-PRE"])])
    with pytest.raises(DataError, match="1 tags of test do not occur in the training rows: B-PRE"):
        read(tmp_path)


def test_a_word_has_the_first_token_that_reaches_into_it() -> None:
    text = "New  York's rain"
    assert spans_of(text) == [(0, 3), (5, 11), (12, 16)]
    # [CLS] New York 's ra in [SEP], as pieces; then with the space before each word, cut off in the second.
    assert first_pieces(text, [(0, 0), (0, 3), (5, 9), (9, 11), (12, 14), (14, 16), (0, 0)]).tolist() == [1, 2, 4]
    assert first_pieces(text, [(0, 3), (3, 9)]).tolist() == [0, 1, -1]
    assert first_pieces("a b", [(0, 3)]).tolist() == [0, 0]


@given(st.lists(st.text("abcİß", min_size=1, max_size=4), max_size=8))
def test_every_word_of_the_starter_begins_with_its_own_token(words: list[str]) -> None:
    processor = zoo.load("starter/text-transformer").processor("text")
    text = " ".join(words)
    spans = processor.spans(text)  # type: ignore[attr-defined]
    assert len(spans) == processor.length(processor(text))
    found = first_pieces(text, spans)
    assert found.tolist() == sorted(set(found.tolist()))
    assert all(spans[place][0] == start for place, (start, _) in zip(found, spans_of(text), strict=True))


def of_bytes(side: str) -> TextProcessor:
    """A tokenizer of bytes, as GPT-2's without its merges, with a mark at each end."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = {letter: place for place, letter in enumerate(["<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(ids, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    marks = [("<s>", 0), ("</s>", 1)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=marks)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side=side, pad_token="</s>")  # type: ignore[no-untyped-call]
    preprocess = TextPreprocess("bytes", max_length=12, prompt="ab: ")
    return TextProcessor(fast, preprocess, rows=len(ids), types=False)


@pytest.mark.parametrize("side", ["left", "right"])
def test_labels_stand_at_first_tokens_whatever_the_padding(tmp_path: Path, side: str) -> None:
    rows = [(["b", "ccc", "d"], ["N", "V", "N"]), (["x"], ["V"]), (["lengthy", "words", "cut"], ["N", "V", "N"])]
    dataset = read(lines(tmp_path / "a.jsonl", rows), val=0.01)
    examples = Examples(
        {"text": [" ".join(words) for words, _ in rows]},
        np.array([tags_of([dataset.task.classes.index(t) for t in tags]) for _, tags in rows], dtype=object),
        ("0", "1", "2"),
        ("0", "1", "2"),
    )
    batch = next(iter(Loader(examples, {"text": of_bytes(side)}, batch_size=3).epoch(0)))
    assert batch.targets is not None
    found = dict(zip(batch.rows.tolist(), batch.targets.tolist(), strict=True))
    no = IGNORED
    # <s> a b : space, then b space c c c space d </s>; 12 tokens at most.
    short = [no] * 5 + [1, no]
    assert found[0] == [no] * 5 + [0, no, 1, no, no, no, no]  # d is cut off
    assert found[1] == (short + [no] * 5 if side == "right" else [no] * 5 + short)
    assert found[2] == [no] * 5 + [0] + [no] * 6


def tags_of(indices: list[int]) -> Tags:
    return Tags(np.array(indices, dtype=np.int64))
