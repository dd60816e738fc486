"""Everything the plugins offer, as one frozen value."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, TypeVar

import pluggy

from zoo.catalog import hooks
from zoo.catalog.faults import faults, first_fault
from zoo.catalog.guard import as_plugin_error, stdout_to_stderr
from zoo.catalog.names import Selection, Words, choose_weights, split_fused, take_apart, weights_name
from zoo.catalog.order import order_of
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
from zoo.catalog.structure import Structure, inner_of, is_structured, structured
from zoo.errors import DuplicateNameError, PluginError, UnknownNameError, UsageError, ZooError

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
        caller = getattr(manager.hook, f"zoo_{kind}")
        results = caller()
        if len(results) != len(caller.get_hookimpls()):  # pluggy leaves None out
            raise PluginError(f"plugin '{name}' returned nothing from zoo_{kind}, not specifications")
        specs = [spec for result in results for spec in _iterated(result, f"plugin '{name}'", f"zoo_{kind}")]
        for spec in specs:
            if not isinstance(spec, expected):
                raise PluginError(
                    f"plugin '{name}' returned a {type(spec).__name__} from zoo_{kind}, not a {expected.__name__}"
                )
        if wrong := first_fault(specs):
            raise PluginError(f"plugin '{name}' returned from zoo_{kind} a {expected.__name__} {wrong}")
        found[kind] = tuple(specs)
    return Offer(**found)


def _iterated(result: Any, who: str, hook: str) -> Iterable[Any]:
    if not isinstance(result, Iterable):
        raise PluginError(f"{who} returned a {type(result).__name__} from {hook}, not several specifications")
    return result


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
                raise _clash(owners[key], plugin, kind, spec.name)
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
            parts = [replace(parts[0], weights=weights)]
        return tuple(self._one(part) for part in parts)

    def _one(self, words: Words) -> Selection:
        spec, tag, notes = self._spec(words.base)
        chosen, more = choose_weights(spec, words.weights, tag)
        towers = _towers(spec, words.tower)
        name = weights_name(spec, chosen, towers, tag, words.keep)
        if words.keep is not None:
            spec, chosen = structured(spec, chosen, towers, Structure(keep=words.keep))
        return Selection(name, spec, chosen, towers, (*notes, *more))

    def _spec(self, base: str) -> tuple[BackboneSpec, str | None, tuple[str, ...]]:
        by_name = self._by_name
        if found := _listed(by_name, base):
            return (*found, ())
        matches = [(source, found) for source in self._sources if (found := _listed(by_name, f"{source}/{base}"))]
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

    @functools.cached_property
    def _by_name(self) -> Mapping[str, BackboneSpec]:
        """Backbones by their names without regard to case."""
        return {name.casefold(): spec for name, spec in self.backbones.items()}

    @functools.cached_property
    def _sources(self) -> list[str]:
        """In the order in which a bare name is looked up."""
        return order_of(spec.source for spec in self.backbones.values())

    def _resolved(self, base: str) -> BackboneSpec | None:
        source, _, rest = base.partition("/")
        for plugin, manager in self.managers.items():
            own = {spec.source for spec in self.backbones.values() if self.owners_of(spec) == plugin} | {plugin}
            if rest and source in self._sources and source not in own:
                continue
            found = _asked(plugin, manager, rest if rest and source in own else base)
            if found is not None:
                return found
        return None

    def owners_of(self, spec: BackboneSpec) -> str | None:
        """The plugin that offers a backbone, whole or changed; None for resolved names."""
        spec = inner_of(spec) if is_structured(spec) else spec
        return self.owners.get(f"backbones:{spec.name.casefold()}")


def _asked(plugin: str, manager: pluggy.PluginManager, name: str) -> BackboneSpec | None:
    """What a plugin resolves a name to; its fault costs a warning, an error that it means for the user is raised."""
    try:
        with stdout_to_stderr():
            answers = manager.hook.zoo_resolve(name=name)
        for found in answers:
            if not isinstance(found, BackboneSpec):
                raise PluginError(f"it returned a {type(found).__name__}, not a BackboneSpec or None")
            if wrong := faults(found, listed=False):
                raise PluginError(f"it returned a BackboneSpec {wrong}")
            return found
    except PluginError as error:
        wrong = error.what
    except ZooError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001  (foreign code)
        wrong = as_plugin_error(error).what
    else:
        return None
    warnings.warn(f"plugin '{plugin}' could not be asked for '{name}': {wrong}", stacklevel=2)
    return None


def _clash(first: str, second: str, kind: str, name: str) -> DuplicateNameError:
    what = f"{'strategy' if kind == 'strategies' else kind[:-1]} '{name}'"
    if first == second:
        return DuplicateNameError(f"plugin '{first}' offers {what} twice", help="offer it once")
    return DuplicateNameError(
        f"plugin '{first}' and plugin '{second}' both offer {what}",
        owner=first,
        help="one of them must rename it; ZOO_DISABLE=NAME switches a plugin off",
    )


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
