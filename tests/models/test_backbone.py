"""Stages: what is frozen stays, what is trained trains, and nothing is left out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from zoo import Backbone, BackboneSpec, Features, Inputs, Modality, PluginError, Processor, Stage, UnknownNameError


class Layers(Backbone):
    """Three blocks of linear, batch norm and dropout, a class token, and a weight that two stages may share."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = BackboneSpec("test", "layers", "", ("image",), "test", dim=4)
        self.dim, self.modalities, self.name = 4, ("image",), "test/layers"
        self.token = nn.Parameter(torch.ones(4))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)) for _ in range(3)
        )
        self.kept: list[Stage] | None = None

    def forward(self, batch: Inputs) -> Features:
        # Scaled, not shifted: batch norm takes a shift out again, and the token would have no gradient.
        x = batch["image"]["pixels"] * self.token
        for block in self.blocks:
            x = block(x)
        return Features(x, x.unsqueeze(1))

    def stages(self) -> Sequence[Stage]:
        if self.kept is not None:
            return self.kept
        first = Stage("one", (self.blocks[0],), (self.token,))
        return [first, Stage("two", (self.blocks[1],)), Stage("three", (self.blocks[2],))]

    def processor(self, modality: Modality) -> Processor:
        raise NotImplementedError


def step(backbone: Backbone, seed: int = 0) -> None:
    trained = [p for p in backbone.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(seed)) + 3
    backbone({"image": {"pixels": x}}).pooled.square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("names", [["one"], ["two"], ["three"], ["two", "three"], ["one", "three"]])
def test_only_the_named_stages_change_in_training(names: list[str]) -> None:
    backbone = Layers().freeze_except(names).train()
    before = {name: t.clone() for name, t in backbone.state_dict().items()}
    for seed in range(3):
        step(backbone, seed)
    index = {"one": "0", "two": "1", "three": "2"}
    moved = [name for name, t in backbone.state_dict().items() if not torch.equal(t, before[name])]
    found = {name.split(".")[1] for name in moved if "blocks" in name}
    assert found == {index[name] for name in names}
    assert torch.equal(backbone.token, before["token"]) == ("one" not in names)


def test_frozen_stages_stay_in_eval_mode_however_often_training_starts() -> None:
    backbone = Layers().freeze_except(["three"])
    for _ in range(2):
        backbone.train()
        modes = [all(m.training for m in block.modules()) for block in backbone.blocks]
        assert modes == [False, False, True]
        assert backbone.training
        backbone.eval()
        assert not any(m.training for m in backbone.modules())


def test_a_model_around_the_backbone_keeps_its_frozen_stages_in_eval_mode() -> None:
    backbone = Layers().freeze_except(["three"])
    nn.Sequential(backbone, nn.Linear(4, 2)).train()
    assert [block.training for block in backbone.blocks] == [False, False, True]


def test_kept_statistics_normalise_in_training_as_they_do_in_evaluation_and_stay() -> None:
    backbone = Layers().freeze_except(["two", "three"], keep_statistics=True).train()
    before = {name: t.clone() for name, t in backbone.named_buffers()}
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm1d)]
    weight = norms[2].weight.detach().clone()
    step(backbone)
    assert all(torch.equal(t, before[name]) for name, t in backbone.named_buffers())
    assert not torch.equal(norms[2].weight, weight)
    assert [block[2].training for block in backbone.blocks] == [False, True, True]
    backbone.freeze_except(["one", "two", "three"]).train()
    assert all(norm.training for norm in norms)


def test_freezing_everything_makes_training_deterministic() -> None:
    backbone = Layers().freeze_except([]).train()
    x = {"image": {"pixels": torch.randn(4, 4)}}
    assert torch.equal(backbone(x).pooled, backbone(x).pooled)
    assert not any(p.requires_grad for p in backbone.parameters())


def test_frozen_stages_below_the_trained_ones_cost_no_backward() -> None:
    backbone = Layers().freeze_except(["three"]).train()
    step(backbone)
    assert [n for n, p in backbone.named_parameters() if p.grad is not None and not n.startswith("blocks.2")] == []


def test_an_unknown_stage_offers_close_matches() -> None:
    with pytest.raises(UnknownNameError, match=r"No stage is named 'tow'\. Did you mean two"):
        Layers().freeze_except(["tow"])


def test_a_parameter_in_no_stage_is_found() -> None:
    backbone = Layers()
    backbone.kept = [Stage("all", tuple(backbone.blocks))]
    with pytest.raises(PluginError, match=r"test/layers leave out 1 parameters(.|\n)*token"):
        backbone.check_stages()


def test_a_parameter_in_two_stages_is_found() -> None:
    backbone = Layers()
    backbone.kept = [Stage("a", tuple(backbone.blocks), (backbone.token,)), Stage("b", (backbone.blocks[2],))]
    with pytest.raises(PluginError, match=r"'blocks\.2\.0\.weight' is in stages 'a' and 'b'"):
        backbone.check_stages()


def test_a_shared_parameter_counts_once_within_its_stage() -> None:
    backbone = Layers()
    backbone.blocks[1][0].weight = backbone.blocks[0][0].weight
    backbone.kept = [Stage("low", (backbone.blocks[0], backbone.blocks[1]), (backbone.token, backbone.token)),
                     Stage("top", (backbone.blocks[2],))]  # fmt: skip
    backbone.check_stages()
    assert len(list(backbone.stages()[0].parameters())) == 3 + 4 + 1
