"""The stages of any model of transformers: its list of blocks, what runs before and what runs after."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from zoo import Stage, UsageError

_EARLY = (
    "embed",
    "layernorm_embedding",
    "rel_embeddings",
    "relative_attention_bias",
    "relative_position_bias",
    "word_embedding",
)
"""Registered after the blocks by some models, run before them or with the first."""

_BETWEEN = ("conv",)
"""DeBERTa's convolution: runs after the first block."""


def stages_of(model: nn.Module, *, stem: str) -> list[Stage]:
    """`stem`, `layer.0` (or `stage.0` for pyramids), ..., `top`; every parameter in exactly one.

    Raises:
        UsageError: no list of blocks to be found.
    """
    shared = _shared(model)
    if shared is not None:
        path, blocks = shared
        named: list[tuple[str, tuple[nn.Module, ...]]] = [("layers", (blocks,))]
    else:
        path, found = _blocks(model)
        rows = _side_by_side(model, path, found)
        word = "stage" if type(found[0]).__name__.endswith(("Stage", "StageBlock")) else "layer"
        named = [(f"{word}.{index}", row) for index, row in enumerate(rows)]
    before, after, with_first = _rest(model, path, {id(m) for _, row in named for m in row})
    name, first = named[0]
    named[0] = (name, (*first, *with_first))
    loose = tuple(p for module in _along(model, path) for p in module.parameters(recurse=False))
    if after and not any(True for module in after for _ in module.parameters()):
        # A pool without parameters belongs to the last block.
        name, last = named[-1]
        named[-1] = (name, (*last, *after))
        after = []
    stages = [Stage(stem, tuple(before), loose), *(Stage(name, row) for name, row in named)]
    return [*stages, Stage("top", tuple(after))] if after else stages


def _shared(model: nn.Module) -> tuple[str, nn.Module] | None:
    """ALBERT runs one block again and again: its encoder's groups are one stage."""
    groups = getattr(getattr(model, "encoder", None), "albert_layer_groups", None)
    return ("encoder.albert_layer_groups", groups) if isinstance(groups, nn.ModuleList) else None


def _blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The outermost list of modules of which at least two, or the only one, hold parameters; the largest if several."""
    lists = [(name, each) for name, each in model.named_modules() if isinstance(each, nn.ModuleList) and len(each)]
    weight = {name: sum(p.numel() for p in each.parameters()) for name, each in lists}
    outer = [(name, each) for name, each in lists if not any(name.startswith(f"{other}.") for other, _ in lists)]
    if not outer:
        raise UsageError(f"{type(model).__name__} has no list of blocks that zoo could take as stages")
    return max(outer, key=lambda item: weight[item[0]])


def _side_by_side(model: nn.Module, path: str, blocks: nn.ModuleList) -> list[tuple[nn.Module, ...]]:
    """Blocks, each with its fellow in lists of the same length beside them (patch embeddings of PVT, PoolFormer)."""
    parent = model.get_submodule(path.rpartition(".")[0]) if "." in path else model
    fellows = [
        each for _, each in parent.named_children() if isinstance(each, nn.ModuleList) and len(each) == len(blocks) > 1
    ]
    return (
        [tuple(each[index] for each in fellows) for index in range(len(blocks))] if fellows else [(b,) for b in blocks]
    )


def _along(model: nn.Module, path: str) -> list[nn.Module]:
    """The model and the modules on the way to its blocks."""
    parts = path.split(".")[:-1]
    return [model, *(model.get_submodule(".".join(parts[: i + 1])) for i in range(len(parts)))]


def _rest(model: nn.Module, path: str, taken: set[int]) -> tuple[list[nn.Module], list[nn.Module], Sequence[nn.Module]]:
    """Modules beside the way to the blocks: those before, those after, those that run with the first block."""
    before: list[nn.Module] = []
    after: list[nn.Module] = []
    with_first: list[nn.Module] = []
    step = path.split(".")
    for depth, module in enumerate(_along(model, path)):
        passed = False
        tail: list[nn.Module] = []
        for name, child in module.named_children():
            if name == step[depth]:
                passed = True
            elif isinstance(child, nn.ModuleList) and all(id(each) in taken for each in child) and len(child):
                continue
            elif passed and name in _BETWEEN:
                with_first.append(child)
            elif not passed or name.startswith(_EARLY) or _of_relative(module, name) or _anywhere(child):
                before.append(child)
            else:
                tail.append(child)
        after = [*tail, *after]
    return before, after, with_first


def _of_relative(parent: nn.Module, name: str) -> bool:
    """DeBERTa normalises its relative positions with a `LayerNorm` that stands behind its blocks."""
    return name == "LayerNorm" and hasattr(parent, "rel_embeddings")


def _anywhere(child: nn.Module) -> bool:
    """Dropout that runs at both ends, and rotary tables: before, so that a frozen stem is deterministic."""
    return isinstance(child, nn.Dropout) or "rotary" in type(child).__name__.lower()
