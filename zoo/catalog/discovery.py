"""Installed plugins, each loaded in its own guard: whatever one does costs a warning, never the program."""

from __future__ import annotations

import functools
import importlib
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from zoo.catalog.catalog import Catalog, Offer, manager_for, offer_of
from zoo.catalog.entry_points import EntryPoint, distribution_of, installed
from zoo.catalog.guard import Surroundings, TooSlowError, stdout_to_stderr, within
from zoo.catalog.looked_at import WATCH, LookedAt
from zoo.catalog.spec import API_VERSION
from zoo.catalog.versions import OLDEST_API, agreed, deprecation
from zoo.errors import DuplicateNameError, PluginError, UsageError, close_matches

if TYPE_CHECKING:
    from zoo.catalog.slow import Memory

TIME_LIMIT = 5.0
"""Seconds that one plugin may take to import and list."""
SHORT_LIMIT = 0.5
"""Seconds that one gets which hung not long ago: what was slow once, on a cold disk, loads in less the next time."""


@dataclass(frozen=True)
class PluginReport:
    """How one plugin fared."""

    name: str
    distribution: str
    version: str
    status: str
    """loaded, failed or disabled."""
    error: str | None = None
    hooks: tuple[str, ...] = ()
    api_version: int | None = None
    """The newest version of the contract that it and zoo know; None: it does not say."""
    seconds: float = 0.0
    backbones: int = 0
    offers: Mapping[str, int] = field(default_factory=dict)
    """How many backbones, heads, ... it has; those of which it has some."""
    location: str | None = None
    changed: tuple[str, ...] = ()
    """What it changed in the process when it was imported, such as environment variables."""
    deprecated: str | None = None
    """Why a later zoo will not load it."""


@dataclass(frozen=True)
class Discovery:
    """The catalogue of what loaded, and how every plugin fared."""

    catalog: Catalog
    reports: tuple[PluginReport, ...]
    notes: tuple[str, ...] = ()
    """What is wrong with the settings that choose plugins."""
    looked_at: Mapping[str, LookedAt] = field(default_factory=dict)
    """By name, of the plugins that zoo does not bring itself, where somebody wanted to know."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line for each plugin that failed or misbehaved."""
        lines = list(self.notes)
        for report in self.reports:
            who = f"plugin '{report.name}' of {report.distribution} {report.version}"
            if report.status == "failed":
                lines.append(f"{who} is left out: {report.error}")
            if report.changed:
                lines.append(f"{who} changes {', '.join(report.changed)} when it is imported; ask its author to stop")
            if report.deprecated:
                lines.append(f"{who} {report.deprecated}")
        return tuple(lines)


class PluginWarning(UserWarning):
    """An installed plugin that was left out, or that misbehaves."""


@functools.cache
def discovered(*, patient: bool = False) -> Discovery:
    """The installed plugins, found once for this process; each that was left out is warned of.

    Args:
        patient: give those that hung before their whole time again.
    """
    found = discover(patient=patient)
    for line in found.warnings:
        warnings.warn(line, PluginWarning, stacklevel=2)
    return found


def default_catalog() -> Catalog:
    """The catalogue of the installed plugins."""
    return discovered().catalog


def discover(
    entry_points: Sequence[EntryPoint] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    time_limit: float | None = None,
    patient: bool = False,
    api: tuple[int, int] = (OLDEST_API, API_VERSION),
) -> Discovery:
    """Load every entry point of group `zoo`, one at a time.

    Args:
        entry_points: the installed ones if None.
        environ: `ZOO_PLUGINS=a,b` loads only these ("" none), `ZOO_DISABLE=a,b` all but these.
        time_limit: seconds for each; who says so gives that to all.
        patient: give those that hung before their whole time again.
        api: the oldest and the newest version of the contract that load.
    """
    limit = time_limit if time_limit is not None else _time_limit(environ)
    patient = patient or time_limit is not None or "ZOO_PLUGIN_TIMEOUT" in environ
    builtin = importlib.import_module("zoo.catalog.builtin")
    catalog = Catalog.of({"zoo": builtin})
    reports: list[PluginReport] = []
    looked_at: dict[str, LookedAt] = {}
    owners: dict[str, str] = {"zoo": "zoo itself"}
    entries = list(installed() if entry_points is None else entry_points)
    for entry in entries:
        dist, version = distribution_of(entry)
        blank = PluginReport(entry.name, dist, version, "disabled")
        if not _enabled(entry.name, environ):
            reports.append(blank)
        elif entry.name in owners:
            reports.append(_failed(blank, f"the plugin name '{entry.name}' is taken by {owners[entry.name]}"))
        else:
            owners[entry.name] = f"{dist} {version}"
            terms = _Terms(limit, patient, api, {} if dist == "zoo" else looked_at)
            catalog, report = _added(catalog, entry, blank, owners, terms)
            reports.append(report)
    notes = _misspelt_settings(environ, [entry.name for entry in entries])
    return Discovery(catalog, tuple(reports), notes, looked_at)


@dataclass(frozen=True)
class _Terms:
    """What every plugin is loaded under."""

    limit: float
    patient: bool
    api: tuple[int, int]
    looked_at: dict[str, LookedAt]
    """Where to note what a plugin looks at."""


@dataclass(frozen=True)
class _Loaded:
    plugin: Any
    manager: Any
    offer: Offer
    api: int | None


def _added(
    catalog: Catalog, entry: EntryPoint, blank: PluginReport, owners: Mapping[str, str], terms: _Terms
) -> tuple[Catalog, PluginReport]:
    """The catalogue with this plugin, or as it was; and how the plugin fared."""
    started = time.perf_counter()
    before = Surroundings()
    try:
        with stdout_to_stderr(), WATCH.plugin(entry.name, terms.looked_at):
            loaded = _in_time(entry, blank, terms)
        catalog = catalog.plus(entry.name, loaded.manager, loaded.offer)
        report = _report(blank, loaded, time.perf_counter() - started, terms.api[1])
    except PluginError as error:
        why = error.what
        if isinstance(error, DuplicateNameError) and error.owner in owners:
            why += f"; '{error.owner}' is of {owners[error.owner]}"
        report = _failed(blank, why, time.perf_counter() - started)
    changed = before.changed()
    before.restore_warnings()
    return catalog, replace(report, changed=changed)


def _in_time(entry: EntryPoint, blank: PluginReport, terms: _Terms) -> _Loaded:
    """One that hung not long ago gets a fraction of its time, so that not every command waits for it again.

    Raises:
        PluginError: whatever went wrong.
    """
    identity = (f"{blank.distribution} {blank.version}", entry.value)
    started = time.perf_counter()
    try:
        loaded = within(
            terms.limit,
            lambda: _load(entry, terms.api),
            f"zoo plugin {entry.name}",
            short=SHORT_LIMIT,
            hangs=(lambda: False) if terms.patient else lambda: _memory(*identity).hung_before(),
        )
    except TooSlowError as error:
        if time.perf_counter() - started < terms.limit:
            again = f"{error.what}, and hung before; `zoo plugins` gives it {terms.limit:g} s again"
            raise PluginError(again) from error
        if terms.limit >= TIME_LIMIT:
            _memory(*identity).remember()
        raise
    if terms.patient and time.perf_counter() - started > SHORT_LIMIT:
        _memory(*identity).forget()
    return loaded


def _memory(who: str, value: str) -> Memory:
    from zoo.catalog.slow import Memory  # only needed where a plugin is slow

    return Memory(who, value)


def _load(entry: EntryPoint, api: tuple[int, int]) -> _Loaded:
    plugin = entry.load()
    declared = getattr(plugin, "zoo_api", None)
    version = None if declared is None else agreed(declared, oldest=api[0], newest=api[1])
    attributes = getattr(plugin, "__dict__", None)
    if attributes is None:
        raise PluginError(f"its entry point names {plugin!r:.40}, {_a(plugin)}, and not a module or object with hooks")
    misspelt = [
        f"{name} (did you mean {', '.join(near)}?)"
        for name, value in attributes.items()
        if name.startswith("zoo_") and name not in _HOOKS and callable(value) and (near := close_matches(name, _HOOKS))
    ]
    if misspelt:
        raise PluginError(f"it has hooks that zoo does not know: {', '.join(misspelt)}")
    manager = manager_for(entry.name, plugin)
    return _Loaded(plugin, manager, offer_of(entry.name, manager), version)


def _a(value: object) -> str:
    return f"a value of type {type(value).__name__}"


def _hook_names() -> tuple[str, ...]:
    from zoo.catalog import hooks

    return tuple(name for name in vars(hooks) if name.startswith("zoo_"))


_HOOKS = _hook_names()


def _time_limit(environ: Mapping[str, str]) -> float:
    text = environ.get("ZOO_PLUGIN_TIMEOUT", str(TIME_LIMIT))
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"ZOO_PLUGIN_TIMEOUT={text} is no number of seconds", help="give one, such as 20, or unset it"
        ) from None


def _enabled(name: str, environ: Mapping[str, str]) -> bool:
    if "ZOO_PLUGINS" in environ and name not in _listed(environ, "ZOO_PLUGINS"):
        return False
    return name not in _listed(environ, "ZOO_DISABLE")


def _misspelt_settings(environ: Mapping[str, str], installed: Sequence[str]) -> tuple[str, ...]:
    """What ZOO_PLUGINS and ZOO_DISABLE name that is not there: a misspelt name must not pass in silence."""
    lines = []
    for key in ("ZOO_PLUGINS", "ZOO_DISABLE"):
        for name in sorted(_listed(environ, key) - set(installed)):
            near = close_matches(name, installed)
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            lines.append(f"{key} names the plugin '{name}', which is not installed{hint}")
    return tuple(lines)


def _listed(environ: Mapping[str, str], key: str) -> set[str]:
    return {name.strip() for name in environ.get(key, "").split(",")} - {""}


def _failed(blank: PluginReport, error: str, seconds: float = 0.0) -> PluginReport:
    line = " ".join(error.split())
    return PluginReport(blank.name, blank.distribution, blank.version, "failed", error=line, seconds=seconds)


def _report(blank: PluginReport, loaded: _Loaded, seconds: float, newest: int) -> PluginReport:
    callers = loaded.manager.get_hookcallers(loaded.plugin) or []
    offers = {kind: len(specs) for kind, specs in vars(loaded.offer).items() if specs}
    return PluginReport(
        blank.name,
        blank.distribution,
        blank.version,
        "loaded",
        hooks=tuple(sorted(caller.name for caller in callers)),
        api_version=loaded.api,
        seconds=seconds,
        backbones=len(loaded.offer.backbones),
        offers=offers,
        location=getattr(loaded.plugin, "__file__", None),
        deprecated=deprecation(loaded.api, newest=newest),
    )
