"""LoRA: adapters on every layer that learns, none that is dead, and a plain architecture at the end."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from zoo import Backbone, Features, ImagePreprocess, ImageProcessor, UsageError
from zoo.models.backbone import Stage
from zoo.testing.samples import samples
from zoo.testing.subject import BackboneSubject
from zoo.transfer.lora import Adapters, insert

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "plugins"))


def batch_of(backbone: Backbone, rows: int = 2) -> Any:
    made = {}
    for modality in backbone.modalities:
        processor = backbone.processor(modality)
        made[modality] = processor.finish(processor.collate([processor(v) for v in samples(modality, rows)]))
    return made


def tiny(family: str) -> Callable[[Path], Backbone]:
    def build(folder: Path) -> Backbone:
        from tiny_transformers import write_folder

        return zoo.load(f"transformers/{write_folder(folder / family, family)}")

    return build


def named(name: str) -> Callable[[Path], Backbone]:
    return lambda folder: zoo.load(name)


def siglip(folder: Path) -> Backbone:
    pytest.importorskip("open_clip")
    from tiny_open_clip import write_folder

    write_folder(folder / "siglip", "siglip")
    return zoo.load(f"open_clip/{folder / 'siglip'}")


def flamingo(folder: Path) -> Backbone:
    from tiny_idefics import write_idefics

    return zoo.load(f"transformers/{write_idefics(folder / 'flamingo')}")


def adapted(backbone: Backbone, *, lengths: bool = False) -> Adapters:
    torch.manual_seed(0)
    return insert(backbone, batch_of(backbone, 1), rank=4, lengths=lengths)


CASES = {
    "bert": tiny("bert"),
    "gpt2, whose layers are transposed": tiny("gpt2"),
    "xlnet, whose queries are bare parameters": tiny("xlnet"),
    "vit": tiny("vit"),
    "torch's own attention": lambda folder: Attending(),
    "text": named("starter/text-transformer@random"),
    "convolutions": named("starter/glyph-cnn@random"),
    "a chain of bare convolutions": named("torchvision/squeezenet1_1@random"),
    "a projection that is looked into, not called": siglip,
    "gated cross-attention": flamingo,
    "recurrent, several weights in one layer": named("starter/gru@random"),
    "depthwise convolutions": named("torchvision/shufflenet_v2_x0_5@random"),
}


DORA = ("bert", "gpt2, whose layers are transposed", "torch's own attention", "text", "convolutions")
EVERY = [*((case, False) for case in CASES), *((case, True) for case in DORA)]


@pytest.mark.parametrize(("case", "lengths"), EVERY, ids=lambda value: str(value))
def test_every_adapter_learns_and_folding_keeps_the_features(case: str, lengths: bool, tmp_path: Path) -> None:
    backbone = BackboneSubject(CASES[case](tmp_path)).backbone  # with batch norm that has seen data
    batch = batch_of(backbone)
    with torch.no_grad():
        before = backbone(batch).pooled
    names = {name for name, _ in backbone.named_parameters()}
    frozen = {name: value.clone() for name, value in backbone.state_dict().items()}
    found = adapted(backbone, lengths=lengths)
    with torch.no_grad():
        assert torch.allclose(backbone(batch).pooled, before, atol=1e-6), "an update starts at zero"
    optimizer = torch.optim.Adam(found.parameters, lr=0.01)
    for parameter in found.parameters:
        parameter.requires_grad_(True)
    started = [parameter.detach().clone() for parameter in found.parameters]
    for _ in range(2):  # the second of two factors moves first, the first with it from then on
        output = backbone(batch)
        torch.autograd.backward(output.pooled.square().sum() + output.tokens.square().sum())
        optimizer.step()
        optimizer.zero_grad()
    plain = {name.replace(".base_layer", ""): value for name, value in backbone.state_dict().items()}
    drifted = [name for name, value in frozen.items() if not torch.equal(plain[name], value)]
    assert not drifted, "what is frozen stays bit-identical"
    still = sum(torch.equal(old, new) for old, new in zip(started, found.parameters, strict=True))
    assert still == 0, f"{still} of {len(started)} never moved"
    with torch.no_grad():
        learned = backbone(batch).pooled
        found.fold()
        folded = backbone(batch).pooled
    assert not torch.allclose(learned, before, atol=1e-4)
    assert torch.allclose(folded, learned, atol=1e-4 * float(learned.abs().max()))
    assert {name for name, _ in backbone.named_parameters()} == names
    backbone.check_stages()


class Attending(Backbone):
    """Torch's own attention, and a layer that nothing runs through."""

    spec = zoo.BackboneSpec("test", "attending", "nowhere:build", ("image",), "test")
    modalities = ("image",)
    dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = torch.nn.Linear(3, 4), torch.nn.Linear(3, 4)
        self.attention = torch.nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, batch: Any) -> Features:
        x = self.used(batch["image"]["pixels"].flatten(2).transpose(1, 2))
        tokens = x + self.attention(x, x, x, need_weights=False)[0]
        return Features(tokens.mean(1), tokens)

    def stages(self) -> list[Stage]:
        return [Stage("body", (self.used, self.unused, self.attention))]

    def processor(self, modality: Any) -> ImageProcessor:
        return ImageProcessor(ImagePreprocess(size=(8, 8)))


def test_a_layer_that_nothing_runs_through_gets_no_adapter() -> None:
    backbone = Attending()
    assert adapted(backbone).layers == ("used", "attention", "attention.base_layer.out_proj")
    assert type(backbone.unused) is torch.nn.Linear


def test_a_backbone_without_a_layer_for_it_is_refused() -> None:
    with pytest.raises(UsageError, match="starter/bag-of-words has no layer that LoRA can adapt"):
        adapted(zoo.load("starter/bag-of-words"))


def test_flamingo_takes_lora_and_a_head_on_images_with_texts(tmp_path: Path) -> None:
    from zoo.testing.backbone_state import write_rows

    data = write_rows(tmp_path / "data", ("image", "text"))
    out = zoo.Output(dir=str(tmp_path / "runs"))
    run = zoo.finetune(flamingo(tmp_path), data, strategy="lora", epochs=1, batch_size=4, out=out, baseline="none")
    assert 0 < run.plan.estimate.trained < run.plan.estimate.params
    assert len(run.predict(str(data))) == 16


def test_a_run_with_lora_opens_as_the_plain_architecture_and_predicts_what_was_measured(tmp_path: Path) -> None:
    backbone = zoo.load("starter/glyph-cnn")
    frozen = {name: value.clone() for name, value in copy.deepcopy(backbone).state_dict().items()}
    read = zoo.ReadOptions(limit=200)
    out = zoo.Output(dir=str(tmp_path))
    run = zoo.finetune(backbone, "sklearn:digits", strategy="lora", epochs=2, read=read, out=out, baseline="none")
    assert run.plan.estimate.trained < run.plan.estimate.params
    state = run.load().backbone.state_dict()
    assert state.keys() == frozen.keys()
    assert any(not torch.equal(state[name], frozen[name]) for name in frozen)
    norms = [name for name in frozen if "running" in name]
    assert all(torch.equal(state[name], frozen[name]) for name in norms), "batch norm stays frozen under LoRA"
    again = zoo.evaluate(run.path, "sklearn:digits", read=read)
    assert again.metrics["accuracy"] == pytest.approx(run.metrics["accuracy"], abs=0.01)
