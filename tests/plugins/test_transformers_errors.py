"""What `zoo_transformers` says of bad folders and names, and what it leaves alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import zoo_transformers
from safetensors.torch import load_file, save_file
from tiny_transformers import write_folder
from zoo_transformers.known import ENTRIES
from zoo_transformers.listed import DATA, aliases, listed

import zoo
from zoo import Backbone, Catalog

CATALOG = Catalog.of({"transformers": zoo_transformers})
NEVER_CACHED = "zoo-tests/not-a-repository"


def load(name: Path | str) -> Backbone:
    return zoo.load(f"transformers/{name}", catalog=CATALOG)


# --- folders


def test_a_folder_without_a_configuration_is_no_backbone(tmp_path: Path) -> None:
    with pytest.raises(zoo.UnknownNameError, match="No backbone is named") as caught:
        load(tmp_path)
    assert f"{tmp_path} has no config.json" in (caught.value.help or "")


@pytest.mark.parametrize("text", ["{", "", "not json", '{"model_type": "bert"'])
def test_a_damaged_configuration_is_named(text: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "bert")
    (folder / "config.json").write_text(text)
    with pytest.raises(zoo.WeightsError, match=r"config\.json cannot be read"):
        load(folder)


def test_a_type_that_transformers_does_not_know_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "bert")
    (folder / "config.json").write_text('{"model_type": "from-the-future"}')
    with pytest.raises(zoo.WeightsError, match=r"transformers 5.* cannot open .*from-the-future"):
        load(folder)


def test_a_folder_without_weights_says_how_to_go_on(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "bert")
    (folder / "model.safetensors").unlink()
    selection = CATALOG.select(f"transformers/{folder}")[0]
    assert selection.weights is None
    assert any("random" in note for note in selection.notes)


def test_a_folder_without_a_tokenizer_says_what_is_missing(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "bert")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(zoo.WeightsError, match="holds no tokenizer"):
        load(folder)


def test_a_damaged_tokenizer_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "bert")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(zoo.WeightsError, match=r"the tokenizer in .* cannot be read"):
        load(folder)


def test_missing_tensors_are_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "bert")
    rewrite(folder, lambda state: state.pop("encoder.layer.1.output.dense.weight"))
    with pytest.raises(zoo.WeightsError, match=r"1 tensors missing: encoder\.layer\.1\.output\.dense\.weight"):
        load(folder)


def test_tensors_of_another_shape_are_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "bert")
    rewrite(folder, lambda state: state.update({"embeddings.LayerNorm.weight": torch.ones(7)}))
    with pytest.raises(zoo.WeightsError, match=r"embeddings\.LayerNorm\.weight has shape \(7,\), not \(32,\)"):
        load(folder)


def test_blocks_beyond_the_configuration_are_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "bert", num_hidden_layers=3)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))
    with pytest.raises(zoo.WeightsError, match=r"16 tensors without a place.*encoder\.layer\.2"):
        load(folder)


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "bert")
    rewrite(folder, lambda state: state["embeddings.LayerNorm.weight"].fill_(float("nan")))
    with pytest.raises(zoo.WeightsError, match=r"not finite: embeddings\.LayerNorm\.weight"):
        load(folder)


def test_weights_cut_short_are_damaged(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "bert")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(zoo.WeightsError, match=r"model\.safetensors is damaged"):
        load(folder)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "bert")
    (folder / "model.safetensors").unlink()
    trace = tmp_path / "executed"
    torch.save(Executes(trace), folder / "pytorch_model.bin")
    with pytest.raises(zoo.WeightsError, match=r"pytorch_model\.bin"):
        load(folder)
    assert not trace.exists()


class Executes:
    """An object that touches a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_an_index_that_points_outside_the_folder_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", "bert")
    (folder / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    index = {"weight_map": {"embeddings.word_embeddings.weight": "../elsewhere.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(zoo.WeightsError, match="which is not in the folder"):
        load(folder)


def test_code_that_a_folder_brings_is_never_run(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", "bert")
    trace = tmp_path / "executed"
    code = f"from pathlib import Path\nPath({str(trace)!r}).touch()\n"
    (folder / "configuration_own.py").write_text(code + "class OwnConfig: pass\n")
    (folder / "modeling_own.py").write_text(code + "class OwnModel: pass\n")
    config = json.loads((folder / "config.json").read_text())
    classes = {"AutoConfig": "configuration_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": classes}))
    with pytest.raises(zoo.WeightsError, match="models that bring their own code are not run"):
        load(folder)
    # A type that transformers knows is opened as what it says it is, and the code lies there unread.
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": classes}))
    load(folder)
    assert not trace.exists()


def test_a_model_of_image_and_text_is_sent_to_open_clip(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(zoo.UsageError, match="which takes image and text together"):
        load(tmp_path)


def test_a_model_of_sound_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "speecht5"}')
    with pytest.raises(zoo.UsageError, match="which takes sound"):
        load(tmp_path)


def rewrite(folder: Path, change: Any) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


# --- the hub


def test_offline_an_id_that_is_not_cached_is_one_error_at_once() -> None:
    begun = time.monotonic()
    with pytest.raises(zoo.WeightsError, match=f"{NEVER_CACHED} is not cached: zoo is offline") as caught:
        load(NEVER_CACHED)
    assert time.monotonic() - begun < 15
    assert f"hf download {NEVER_CACHED}" in (caught.value.help or "")


def test_a_revision_that_is_not_cached_is_named() -> None:
    with pytest.raises(zoo.WeightsError, match="google-bert/bert-base-uncased @ abc123 is not cached"):
        load("google-bert/bert-base-uncased@abc123")


def cached(hub: Path, name: str) -> Path:
    """A tiny GPT-2 in the layout of the hub's own cache."""
    repo = hub / f"models--someone--{name}"
    folder = write_folder(repo / "snapshots" / "0123abcd", "gpt2")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("0123abcd")
    return folder


def test_a_cached_repository_loads_offline_and_a_configuration_without_weights_is_not_taken_for_one(
    tmp_path: Path,
) -> None:
    """Weights and tokenizer come from the snapshot that `main` points at."""
    expected = load(cached(tmp_path / "hub", "tiny")).state_dict()
    (cached(tmp_path / "hub", "bare") / "model.safetensors").unlink()
    code = (
        "import zoo, torch\n"
        "backbone = zoo.load('transformers/someone/tiny', offline=True)\n"
        f"torch.save(backbone.state_dict(), {str(tmp_path / 'state.pt')!r})\n"
        "print(backbone.name, backbone.spec.family, backbone.dim)\n"
        "zoo.load('transformers/someone/bare@random')\n"
        "try: zoo.load('transformers/someone/bare')\n"
        "except zoo.WeightsError as error: print(error.what)\n"
    )
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_CACHE": str(tmp_path / "hub")}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said = ["transformers/someone/tiny gpt2 32", "someone/bare is not cached: zoo is offline"]
    assert done.stdout.splitlines() == said
    found = torch.load(tmp_path / "state.pt", weights_only=True)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


# --- the list


def test_listing_and_resolving_import_neither_torch_nor_transformers(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "bert")
    code = (
        "import sys, zoo_transformers, zoo\n"
        "specs = list(zoo_transformers.zoo_backbones())\n"
        f"spec = zoo_transformers.zoo_resolve(name={str(folder)!r})\n"
        "heavy = {'torch', 'transformers', 'tokenizers', 'numpy', 'huggingface_hub'} & set(sys.modules)\n"
        "print(len(specs) > 100, spec.dim, sorted(heavy))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True 32 []"


def test_the_list_is_what_its_script_writes_today() -> None:
    """One id of each model type; sizes are counted on models without memory."""
    from zoo_transformers.make_listed import row_of

    rows = {row["id"]: row for row in json.loads(DATA.read_text(encoding="utf-8"))}
    assert list(rows) == [entry.id for entry in ENTRIES]
    for entry in {entry.family: entry for entry in reversed(ENTRIES)}.values():
        assert row_of(entry) == rows[entry.id]


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("google-bert/bert-base-uncased", 109.48),
        ("openai-community/gpt2", 124.44),
        ("FacebookAI/roberta-base", 124.06),
        ("distilbert/distilbert-base-uncased", 66.36),
        ("google/vit-base-patch16-224", 85.80),
        ("sentence-transformers/all-MiniLM-L6-v2", 22.57),
    ],
)
def test_published_sizes_are_met(name: str, millions: float) -> None:
    """As the papers and model cards give them; without the poolers that the features do not use."""
    params = next(spec.params for spec in listed() if spec.architecture == name)
    assert params is not None
    assert params / 1e6 == pytest.approx(millions, abs=0.02)


def test_minilm_is_as_listed(minilm: Path) -> None:
    spec = aliases()["minilm"]
    backbone = load(minilm)
    found = backbone.spec
    assert (spec.dim, spec.params, spec.stages) == (found.dim, found.params, found.stages)
    assert (spec.family, spec.context_length) == (found.family, found.context_length)
    text = spec.preprocess["text"]
    assert isinstance(text, zoo.TextPreprocess)
    assert text.max_length == backbone.processor("text").preprocess.max_length  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["bert-base-uncased", "BERT-base-uncased", "google-bert/bert-base-uncased"])
def test_well_known_ids_need_no_owner(name: str) -> None:
    (selection,) = CATALOG.select(f"transformers/{name}")
    assert selection.name == "transformers/google-bert/bert-base-uncased"


def test_every_listed_backbone_can_be_configured_by_the_installed_transformers() -> None:
    known = transformers.models.auto.configuration_auto.CONFIG_MAPPING
    assert {spec.family for spec in listed()} <= set(known.keys())
