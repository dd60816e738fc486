"""Everything the plugins offer, as one frozen value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, TypeVar

import pluggy

from zoo.catalog import hooks
from zoo.catalog.names import Selection, Words, choose_weights, order_of, split_fused, take_apart, weights_name
from zoo.catalog.spec import (
    BackboneSpec,
    DatasetSpec,
    ExporterSpec,
    HeadSpec,
    Modality,
    ScorerSpec,
    StrategySpec,
    WeightsSpec,
)
from zoo.errors import DuplicateNameError, PluginError, UnknownNameError, UsageError

S = TypeVar("S", BackboneSpec, HeadSpec, StrategySpec, ScorerSpec, DatasetSpec, ExporterSpec)


@dataclass(frozen=True)
class Offer:
    """What one plugin offers, collected before it is added."""

    backbones: tuple[BackboneSpec, ...] = ()
    heads: tuple[HeadSpec, ...] = ()
    strategies: tuple[StrategySpec, ...] = ()
    scorers: tuple[ScorerSpec, ...] = ()
    datasets: tuple[DatasetSpec, ...] = ()
    exporters: tuple[ExporterSpec, ...] = ()


_KINDS: Mapping[str, type[Any]] = {
    "backbones": BackboneSpec,
    "heads": HeadSpec,
    "strategies": StrategySpec,
    "scorers": ScorerSpec,
    "datasets": DatasetSpec,
    "exporters": ExporterSpec,
}


def manager_for(name: str, plugin: object) -> pluggy.PluginManager:
    """A manager that holds this one plugin, with its hooks checked.

    Raises:
        PluginError: no hook at all, an unknown hook, or a wrong argument.
    """
    manager = pluggy.PluginManager(hooks.GROUP)
    manager.add_hookspecs(hooks)
    try:
        manager.register(plugin, name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(f"plugin '{name}' has a hook that zoo does not know or call so: {error}") from error
    if not manager.get_hookcallers(plugin):
        raise PluginError(
            f"plugin '{name}' ({type(plugin).__name__}) implements no hook",
            help="mark its functions with @zoo.hookimpl, as in docs/plugins.md",
        )
    return manager


def offer_of(name: str, manager: pluggy.PluginManager) -> Offer:
    """What a plugin's hooks return, checked to be specs.

    Raises:
        PluginError: something else came back.
    """
    found: dict[str, tuple[Any, ...]] = {}
    for kind, expected in _KINDS.items():
        specs = [spec for result in getattr(manager.hook, f"zoo_{kind}")() for spec in result]
        for spec in specs:
            if not isinstance(spec, expected):
                raise PluginError(
                    f"plugin '{name}' returned a {type(spec).__name__} from zoo_{kind}, not a {expected.__name__}"
                )
        found[kind] = tuple(specs)
    return Offer(**found)


@dataclass(frozen=True)
class Catalog:
    """What exists: specs by name, and who offers them."""

    backbones: Mapping[str, BackboneSpec] = field(default_factory=dict)
    heads: Mapping[str, HeadSpec] = field(default_factory=dict)
    strategies: Mapping[str, StrategySpec] = field(default_factory=dict)
    scorers: Mapping[str, ScorerSpec] = field(default_factory=dict)
    datasets: Mapping[str, DatasetSpec] = field(default_factory=dict)
    exporters: Mapping[str, ExporterSpec] = field(default_factory=dict)
    owners: Mapping[str, str] = field(default_factory=dict)
    """`kind:name` to the plugin that offers it."""
    managers: Mapping[str, pluggy.PluginManager] = field(default_factory=dict)

    @classmethod
    def of(cls, plugins: Mapping[str, object]) -> Self:
        """The catalogue of these plugins.

        Raises:
            DuplicateNameError: two of them offer one name.
            PluginError: one breaks the contract.
        """
        catalog = cls()
        for name, plugin in plugins.items():
            manager = manager_for(name, plugin)
            catalog = catalog.plus(name, manager, offer_of(name, manager))
        return catalog

    def plus(self, plugin: str, manager: pluggy.PluginManager, offer: Offer) -> Self:
        """This catalogue with one more plugin; all of its offer or none.

        Raises:
            DuplicateNameError: a name is taken.
        """
        owners = dict(self.owners)
        tables = {kind: self._added(kind, getattr(offer, kind), plugin, owners) for kind in _KINDS}
        return type(self)(**tables, owners=MappingProxyType(owners), managers={**self.managers, plugin: manager})

    def _added(self, kind: str, specs: Iterable[S], plugin: str, owners: dict[str, str]) -> Mapping[str, S]:
        table: dict[str, S] = dict(getattr(self, kind))
        for spec in specs:
            key = f"{kind}:{spec.name.casefold()}"
            if key in owners:
                raise DuplicateNameError(
                    f"plugin '{owners[key]}' and plugin '{plugin}' both offer {kind[:-1]} '{spec.name}'",
                    help="one of them must rename it; ZOO_DISABLE=NAME switches a plugin off",
                )
            owners[key] = plugin
            table[spec.name] = spec
        return MappingProxyType(table)

    def select(self, name: str, *, weights: str | None = None, offline: bool = False) -> tuple[Selection, ...]:
        """What `name` means: one selection for each part of `a+b`.

        Args:
            name: as a user types it.
            weights: like `@weights` at the end of a single name.
            offline: handed to nobody yet; resolving never touches the network.

        Raises:
            UnknownNameError: nothing has that name.
            WeightsError: no such tag or file.
        """
        del offline
        parts = [take_apart(part) for part in split_fused(name)]
        if weights is not None:
            if len(parts) > 1:
                raise UsageError(
                    f"--weights {weights} does not say which part of {name} it is for",
                    help="write it into the name, as in a@weights+b@weights",
                )
            if parts[0].weights is not None and parts[0].weights != weights:
                raise UsageError(f"{name} names weights, and --weights {weights} names others", help="give one")
            parts = [Words(parts[0].base, parts[0].tower, weights)]
        return tuple(self._one(part) for part in parts)

    def _one(self, words: Words) -> Selection:
        spec, tag, notes = self._spec(words.base)
        chosen, more = choose_weights(spec, words.weights, tag)
        towers = _towers(spec, words.tower)
        return Selection(weights_name(spec, chosen, towers), spec, chosen, towers, (*notes, *more))

    def _spec(self, base: str) -> tuple[BackboneSpec, str | None, tuple[str, ...]]:
        by_name = {name.casefold(): spec for name, spec in self.backbones.items()}
        if found := _listed(by_name, base):
            return (*found, ())
        sources = order_of(spec.source for spec in self.backbones.values())
        matches = [(source, found) for source in sources if (found := _listed(by_name, f"{source}/{base}"))]
        if matches and "/" not in base:
            source, found = matches[0]
            others = ", ".join(each for each, _ in matches[1:])
            note = f"'{base}' is taken from {source}" + (f"; {others} has one too" if others else "")
            return (*found, (note,))
        if resolved := self._resolved(base):
            return resolved, None, ()
        if matches:
            source, found = matches[0]
            return (*found, (f"'{base}' is taken from {source}",))
        architectures = {spec.architecture for spec in self.backbones.values()}
        known = [*self.backbones, *architectures] if "/" in base else [*architectures, *self.backbones]
        raise UnknownNameError("backbone", base, known, help=_of_folder(base))

    def _resolved(self, base: str) -> BackboneSpec | None:
        source, _, rest = base.partition("/")
        for plugin, manager in self.managers.items():
            own = {spec.source for spec in self.backbones.values() if self.owners_of(spec) == plugin} | {plugin}
            if rest and source in order_of(s.source for s in self.backbones.values()) and source not in own:
                continue
            name = rest if rest and source in own else base
            for found in manager.hook.zoo_resolve(name=name):
                if isinstance(found, BackboneSpec):
                    return found
        return None

    def owners_of(self, spec: BackboneSpec) -> str | None:
        """The plugin that offers a backbone; None for resolved names."""
        return self.owners.get(f"backbones:{spec.name.casefold()}")


def _listed(by_name: Mapping[str, BackboneSpec], name: str) -> tuple[BackboneSpec, str | None] | None:
    """A listed backbone with its tag; the longest architecture that fits wins, as both may hold dots."""
    folded = name.casefold()
    if folded in by_name:
        return by_name[folded], None
    cut = len(folded)
    while (cut := folded.rfind(".", 0, cut)) > 0:
        spec = by_name.get(folded[:cut])
        if spec is not None:
            return spec, name[cut + 1 :]
    return None


def _of_folder(base: str) -> str | None:
    """What a folder lacks that no plugin could open."""
    for name in (base.partition("/")[2], base):
        folder = Path(name).expanduser()
        if name and folder.is_dir():
            lacks = "holds no model" if (folder / "config.json").is_file() else "has no config.json"
            return f"{folder} {lacks} that a plugin knows; give a folder of save_pretrained, or a finished run"
    return None


def _towers(spec: BackboneSpec, tower: Modality | None) -> tuple[Modality, ...]:
    if tower is None:
        return spec.modalities
    if tower not in spec.modalities:
        raise UsageError(
            f"{spec.name} has no {tower} tower", help=f"it takes {' and '.join(spec.modalities)}; leave :{tower} out"
        )
    return (tower,)


def rows_of(spec: BackboneSpec) -> list[tuple[BackboneSpec, WeightsSpec | None]]:
    """One row for each set of weights, one without for an architecture that has none."""
    return [(spec, each) for each in spec.weights] or [(spec, None)]
