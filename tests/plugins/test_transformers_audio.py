"""Audio backbones give what transformers gives, alone or in a batch, and are described truly before they are loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import zoo_transformers
from safetensors.torch import load_file, save_file
from tiny_audio import AUDIO, PREPROCESSOR, RATE, make_model, waves, write_audio

import zoo
from zoo import Audio, Backbone, Catalog, Features

CATALOG = Catalog.of({"transformers": zoo_transformers})
SPEECH = ["wav2vec2", "wav2vec2-stable", "hubert", "wavlm"]


def load(folder: Path | str, **options: Any) -> Backbone:
    return zoo.load(f"transformers/{folder}", catalog=CATALOG, **options).eval()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {case: write_audio(tmp_path_factory.mktemp(case), case) for case in AUDIO}


@torch.no_grad()
def features(backbone: Backbone, samples: list[Any]) -> Features:
    process = backbone.processor("audio")
    batch = process.finish(process.collate([process(Audio(each, RATE)) for each in samples]))
    return backbone({"audio": batch})


def extractor(case: str) -> Any:
    """Transformers' own."""
    kinds = {"whisper": "WhisperFeatureExtractor", "ast": "ASTFeatureExtractor"}
    kind = getattr(transformers, kinds.get(case, "Wav2Vec2FeatureExtractor"))
    return kind(**{"do_normalize": True, **PREPROCESSOR.get(case, {})} if case != "whisper" else PREPROCESSOR[case])


@pytest.mark.parametrize("case", SPEECH)
def test_a_speech_model_gives_what_transformers_gives_for_one_recording(case: str, folders: dict[str, Path]) -> None:
    (wave,) = waves(0.4)
    inputs = extractor(case)(wave, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        tokens = make_model(case)(inputs.input_values).last_hidden_state
    found = features(load(folders[case]), [wave])
    assert torch.equal(found.tokens, tokens)
    torch.testing.assert_close(found.pooled, tokens.mean(1))


def test_a_padded_batch_of_a_model_that_knows_masks_is_that_of_transformers(folders: dict[str, Path]) -> None:
    samples = waves(0.4, 0.1)
    inputs = extractor("wav2vec2-stable")(
        samples, sampling_rate=RATE, return_tensors="pt", padding=True, return_attention_mask=True
    )
    model = make_model("wav2vec2-stable")
    with torch.no_grad():
        tokens = model(**inputs).last_hidden_state
    found = features(load(folders["wav2vec2-stable"]), samples)
    assert found.mask is not None
    real = model._get_feature_vector_attention_mask(tokens.shape[1], inputs.attention_mask).bool()
    assert torch.equal(found.mask, real)
    # Sums over padded rows run in another order.
    torch.testing.assert_close(found.tokens[real], tokens[real], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", SPEECH)
def test_what_else_is_in_the_batch_changes_no_frame(case: str, folders: dict[str, Path]) -> None:
    backbone = load(folders[case])
    samples = waves(0.5, 0.2, 0.05, 0.004)  # the last is shorter than one frame
    together = features(backbone, samples)
    assert together.mask is not None
    for row, wave in enumerate(samples):
        alone = features(backbone, [wave])
        count = alone.tokens.shape[1]
        assert int(together.mask[row].sum()) == count
        torch.testing.assert_close(together.tokens[row, :count], alone.tokens[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together.pooled[row], alone.pooled[0], atol=1e-5, rtol=1e-5)


def test_whisper_gives_its_encoder_and_pools_what_is_before_the_silence(folders: dict[str, Path]) -> None:
    samples = waves(0.4, 1.5)
    inputs = extractor("whisper")(samples, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        tokens = make_model("whisper").get_encoder()(inputs.input_features).last_hidden_state
    found = features(load(folders["whisper"]), samples)
    torch.testing.assert_close(found.tokens, tokens, atol=1e-5, rtol=1e-5)  # its own extractor takes both at once
    assert found.mask is not None
    assert found.mask.sum(1).tolist() == [20, 50]  # of 20 ms each; the second is cut after its second
    torch.testing.assert_close(found.pooled[0], found.tokens[0, :20].mean(0))


def test_ast_gives_its_own_pooled_vector_and_patches_on_a_grid(folders: dict[str, Path]) -> None:
    samples = waves(0.4, 0.9)
    inputs = extractor("ast")(samples, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        out = make_model("ast")(**inputs)
    backbone = load(folders["ast"])
    found = features(backbone, samples)
    assert torch.equal(found.pooled, out.pooler_output)
    assert torch.equal(found.tokens, out.last_hidden_state[:, 2:])
    assert found.grid == (2, 5)
    backbone.pooling = "cls"  # type: ignore[assignment]
    assert torch.equal(features(backbone, samples).pooled, out.last_hidden_state[:, 0])


@pytest.mark.parametrize("case", AUDIO)
def test_the_specification_is_true_before_anything_is_loaded(case: str, folders: dict[str, Path]) -> None:
    spec = CATALOG.select(f"transformers/{folders[case]}")[0].spec
    backbone = load(folders[case])
    backbone.check_stages()
    assert spec.modalities == backbone.modalities == ("audio",)
    assert (spec.dim, spec.family) == (backbone.dim, backbone.spec.family)
    assert spec.stages == tuple(stage.name for stage in backbone.stages()) == backbone.spec.stages
    assert spec.preprocess == backbone.spec.preprocess
    assert features(backbone, waves(0.1)).pooled.shape == (1, backbone.dim)


@pytest.mark.parametrize("case", ["wav2vec2", "whisper", "ast"])
def test_assets_and_state_make_the_same_backbone_again(case: str, folders: dict[str, Path], tmp_path: Path) -> None:
    backbone = load(folders[case])
    backbone.save_assets(tmp_path)
    from zoo.catalog.spec import LoadRequest
    from zoo.models.load import build_request

    request = LoadRequest(backbone.spec, backbone.weights, ("audio",), offline=True, assets=tmp_path)
    again = build_request(request, seed=1).eval()
    again.load_state_dict(backbone.state_dict())
    samples = waves(0.3, 0.1)
    assert torch.equal(features(again, samples).pooled, features(backbone, samples).pooled)
    assert again.processor("audio").key == backbone.processor("audio").key


def test_a_pretraining_file_with_old_names_is_read(folders: dict[str, Path], tmp_path: Path) -> None:
    """Published wav2vec 2.0 files hold the quantizer, a mask embedding, and a weight norm by its old names."""
    state = load_file(folders["wav2vec2"] / "model.safetensors")
    for new, old in (
        ("parametrizations.weight.original0", "weight_g"),
        ("parametrizations.weight.original1", "weight_v"),
    ):
        norm = "encoder.pos_conv_embed.conv."
        state[norm + old] = state.pop(norm + new)
    file = {f"wav2vec2.{name}": tensor for name, tensor in state.items()}
    file |= {"wav2vec2.masked_spec_embed": torch.rand(32), "quantizer.codevectors": torch.rand(1, 4, 2)}
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_text((folders["wav2vec2"] / name).read_text())
    save_file(file, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (wave,) = waves(0.2)
    found, expected = (features(load(folder), [wave]).tokens for folder in (tmp_path, folders["wav2vec2"]))
    assert torch.equal(found, expected)


def test_nothing_is_drawn_or_dropped_in_training_but_dropout(folders: dict[str, Path]) -> None:
    backbone = load(folders["wav2vec2"]).train()
    config = backbone.model.config  # type: ignore[union-attr]
    assert (config.layerdrop, config.mask_time_prob) == (0, 0)
    assert "masked_spec_embed" not in dict(backbone.model.named_parameters())  # type: ignore[union-attr]
    process = backbone.processor("audio")
    batch = process.finish(process.collate([process(Audio(wave, RATE)) for wave in waves(0.2, 0.1)]))
    backbone({"audio": batch}).pooled.square().sum().backward()
    assert [name for name, each in backbone.named_parameters() if each.grad is None] == []


def test_whispers_positions_are_never_trained(folders: dict[str, Path]) -> None:
    backbone = load(folders["whisper"])
    backbone.freeze_except([stage.name for stage in backbone.stages()])
    assert not any("embed_positions" in name for name, _ in backbone.named_parameters())
    assert "model.embed_positions.weight" in backbone.state_dict()


def test_a_recording_of_another_rate_is_resampled(folders: dict[str, Path]) -> None:
    backbone = load(folders["hubert"])
    process = backbone.processor("audio")
    (wave,) = waves(0.4)
    slow = Audio(Audio(wave, RATE).at(RATE // 2), RATE // 2)
    assert len(process(slow)) == len(process(Audio(wave, RATE)))


def test_known_ids_are_listed_with_their_sizes() -> None:
    found = {spec.architecture: spec for spec in CATALOG.backbones.values() if spec.modalities == ("audio",)}
    assert len(found) >= 30
    sizes = {"facebook/wav2vec2-base": 94.4, "microsoft/wavlm-large": 315.5, "openai/whisper-small": 87.0}
    sizes |= {"facebook/hubert-base-ls960": 94.4, "MIT/ast-finetuned-audioset-10-10-0.4593": 86.2}
    for name, millions in sizes.items():
        assert found[name].params == pytest.approx(millions * 1e6, rel=1e-3)
        assert found[name].dim in (768, 1024)
    assert found["openai/whisper-tiny"].preprocess["audio"].seconds == 30  # type: ignore[union-attr]
    assert CATALOG.select("whisper-base")[0].spec.architecture == "openai/whisper-base"


def test_an_audio_model_of_another_type_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "encodec"}))
    with pytest.raises(zoo.UsageError, match="is a encodec model, which takes sound in a way that zoo does not know"):
        load(tmp_path)


def test_text_for_an_audio_backbone_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(zoo.UsageError, match="takes sound, not text"):
        load(folders["ast"]).processor("text")
