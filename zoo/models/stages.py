"""Stages out of parameter groups: every parameter in one stage, held by modules as whole as can be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import nn

from zoo.models.backbone import Stage

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


def stages_by_group(
    module: nn.Module,
    groups: Mapping[str, float | tuple[float, ...]],
    *,
    first: str = "stem",
    prefix: str = "",
    branch: str = "",
) -> tuple[Stage, ...]:
    """The stages of a module whose parameters come in groups, as layer decay wants them.

    A child whose parameters are all of one group goes to that stage whole; dropout and other modules without
    parameters follow what they come after. A group of nothing but normalisation joins the stage below it.
    Each stage is named after its largest member, or after the container that it has for itself.

    Args:
        module: the stages are its parts.
        groups: the group of each of `module.named_parameters()`; they run in ascending order.
        first: name of the lowest stage.
        prefix: stands before every name.
        branch: of every stage.
    """
    order = {group: place for place, group in enumerate(sorted(set(groups.values())))}
    places = _Places({name: order[group] for name, group in groups.items()}, len(order))
    places.fill(module, "")
    stages: list[Stage] = []
    for place, (held, loose) in enumerate(zip(places.modules, places.loose, strict=True)):
        modules, parameters = tuple(held.values()), tuple(loose.values())
        if stages and not parameters and modules and all(isinstance(leaf, _NORMS) for leaf in _leaves(modules)):
            below = stages.pop()
            stages.append(Stage(below.name, (*below.modules, *modules), below.loose, branch))
            continue
        name = prefix + (places.name(place) if stages else first)
        stages.append(Stage(name, modules, parameters, branch))
    return tuple(stages)


class _Places:
    """The members of each stage by name, as they are found."""

    def __init__(self, owner: Mapping[str, int], count: int) -> None:
        self.owner = owner
        self.modules: list[dict[str, nn.Module]] = [{} for _ in range(count)]
        self.loose: list[dict[str, nn.Parameter]] = [{} for _ in range(count)]

    def fill(self, module: nn.Module, prefix: str) -> None:
        """Put each child that lies in one group into it, and go into those that lie in several."""
        for name, parameter in module.named_parameters(recurse=False):
            # A parameter that is used in several places has one name; it belongs where that is.
            if prefix + name in self.owner:
                self.loose[self.owner[prefix + name]][prefix + name] = parameter
        last = 0
        for name, child in module.named_children():
            path = f"{prefix}{name}"
            below = [f"{path}.{each}" for each, _ in child.named_parameters()]
            inside = {self.owner[each] for each in below if each in self.owner}
            shared = len(inside) > 0 and any(each not in self.owner for each in below)
            if len(inside) > 1 or shared:
                self.fill(child, f"{path}.")
                last = max(inside)
            elif inside or not below:
                last = inside.pop() if inside else last
                self.modules[last][path] = child

    def name(self, place: int) -> str:
        """The largest member of a stage, or the container around it that holds no other stage's parameters."""
        sizes = {name: sum(p.numel() for p in module.parameters()) for name, module in self.modules[place].items()}
        sizes |= {name: parameter.numel() for name, parameter in self.loose[place].items()}
        name = max(sizes, key=lambda each: sizes[each])
        while "." in name:
            above = name.rpartition(".")[0]
            if any(self.owner[each] != place for each in self.owner if each.startswith(above + ".")):
                break
            name = above
        return name


def _leaves(modules: tuple[nn.Module, ...]) -> Iterator[nn.Module]:
    """The modules that hold parameters of their own."""
    for module in modules:
        for each in module.modules():
            if any(True for _ in each.parameters(recurse=False)):
                yield each
