"""Installed plugins, each loaded in its own guard: whatever one does costs a warning, never the program."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from zoo.catalog.catalog import Catalog, Offer, manager_for, offer_of
from zoo.catalog.hooks import GROUP
from zoo.catalog.spec import API_VERSION
from zoo.errors import PluginError, close_matches

TIME_LIMIT = 5.0
"""Seconds that one plugin may take to import and list."""


class EntryPoint(Protocol):
    """What is used of `importlib.metadata.EntryPoint`."""

    @property
    def name(self) -> str:
        """Left of the equals sign."""

    @property
    def value(self) -> str:
        """The module that it names."""

    @property
    def dist(self) -> Any:
        """The distribution that declares it, or None."""

    def load(self) -> Any:
        """Import what it names."""


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
    seconds: float = 0.0
    backbones: int = 0
    location: str | None = None


@dataclass(frozen=True)
class Discovery:
    """The catalogue of what loaded, and how every plugin fared."""

    catalog: Catalog
    reports: tuple[PluginReport, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line for each plugin that failed."""
        return tuple(
            f"plugin '{r.name}' of {r.distribution} {r.version} is left out: {r.error}"
            for r in self.reports
            if r.status == "failed"
        )


@functools.cache
def discovered() -> Discovery:
    """The installed plugins, found once for this process."""
    return discover()


def default_catalog() -> Catalog:
    """The catalogue of the installed plugins."""
    return discovered().catalog


def discover(
    entry_points: Sequence[EntryPoint] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    time_limit: float | None = None,
) -> Discovery:
    """Load every entry point of group `zoo`, one at a time.

    Args:
        entry_points: the installed ones if None.
        environ: `ZOO_PLUGINS=a,b` loads only these ("" none), `ZOO_DISABLE=a,b` all but these.
        time_limit: seconds for each.
    """
    limit = time_limit if time_limit is not None else float(environ.get("ZOO_PLUGIN_TIMEOUT", TIME_LIMIT))
    builtin = importlib.import_module("zoo.catalog.builtin")
    catalog = Catalog.of({"zoo": builtin})
    reports: list[PluginReport] = []
    seen: dict[str, str] = {}
    for entry in _installed() if entry_points is None else entry_points:
        dist, version = _distribution(entry)
        blank = PluginReport(entry.name, dist, version, "disabled")
        if not _enabled(entry.name, environ):
            reports.append(blank)
            continue
        if entry.name in seen:
            error = f"the name '{entry.name}' is taken by {seen[entry.name]}"
            reports.append(_failed(blank, error))
            continue
        seen[entry.name] = dist
        started = time.perf_counter()
        loaded = _guarded(entry, limit)
        if not isinstance(loaded, str):
            try:
                catalog = catalog.plus(entry.name, loaded.manager, loaded.offer)
            except PluginError as error:
                loaded = error.what
        seconds = time.perf_counter() - started
        if isinstance(loaded, str):
            reports.append(_failed(blank, loaded, seconds))
        else:
            reports.append(_report(blank, loaded, seconds))
    return Discovery(catalog, tuple(reports))


@dataclass(frozen=True)
class _Loaded:
    plugin: Any
    manager: Any
    offer: Offer


def _guarded(entry: EntryPoint, limit: float) -> _Loaded | str:
    """The plugin, or what went wrong in one sentence; runs in a thread that is left behind if it hangs."""
    box: list[_Loaded | str] = []

    def load() -> None:
        try:
            box.append(_load(entry))
        except PluginError as error:
            box.append(error.what)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  (a plugin may even call sys.exit)
            box.append(f"{type(error).__name__}: {error}")

    thread = threading.Thread(target=load, name=f"zoo plugin {entry.name}", daemon=True)
    with _stdout_to_stderr():
        thread.start()
        thread.join(limit)
    return box[0] if box else f"it did not load within {limit:g} s"


def _load(entry: EntryPoint) -> _Loaded:
    plugin = entry.load()
    api = getattr(plugin, "zoo_api", API_VERSION)
    if api != API_VERSION:
        newer = "upgrade zoo" if isinstance(api, int) and api > API_VERSION else "upgrade the plugin"
        raise PluginError(f"it was built for plugin API {api}, this zoo has {API_VERSION}; {newer}")
    misspelt = [
        f"{name} (did you mean {', '.join(near)}?)"
        for name in vars(plugin)
        if hasattr(plugin, "__dict__")
        if name.startswith("zoo_") and name not in _HOOKS and callable(getattr(plugin, name))
        if (near := close_matches(name, _HOOKS))
    ]
    if misspelt:
        raise PluginError(f"it has hooks that zoo does not know: {', '.join(misspelt)}")
    manager = manager_for(entry.name, plugin)
    return _Loaded(plugin, manager, offer_of(entry.name, manager))


def _hook_names() -> tuple[str, ...]:
    from zoo.catalog import hooks

    return tuple(name for name in vars(hooks) if name.startswith("zoo_"))


_HOOKS = _hook_names()


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """What a plugin prints must not end up in `--json` output."""
    sys.stdout.flush()
    kept: int | None = None
    try:
        kept = os.dup(1)
        os.dup2(2, 1)
    except OSError:
        kept = None
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


def _installed() -> list[EntryPoint]:
    from importlib.metadata import entry_points

    return sorted(
        (entry for entry in entry_points(group=GROUP)), key=lambda entry: (entry.name, str(_distribution(entry)))
    )


def _enabled(name: str, environ: Mapping[str, str]) -> bool:
    listed: Callable[[str], set[str]] = lambda key: {p.strip() for p in environ[key].split(",")}  # noqa: E731
    if "ZOO_PLUGINS" in environ and name not in listed("ZOO_PLUGINS"):
        return False
    return name not in (listed("ZOO_DISABLE") if "ZOO_DISABLE" in environ else set())


def _distribution(entry: EntryPoint) -> tuple[str, str]:
    dist = getattr(entry, "dist", None)
    if dist is None:
        return "unknown distribution", "?"
    return str(dist.name), str(dist.version)


def _failed(blank: PluginReport, error: str, seconds: float = 0.0) -> PluginReport:
    line = " ".join(error.split())
    return PluginReport(blank.name, blank.distribution, blank.version, "failed", error=line, seconds=seconds)


def _report(blank: PluginReport, loaded: _Loaded, seconds: float) -> PluginReport:
    callers = loaded.manager.get_hookcallers(loaded.plugin) or []
    return PluginReport(
        blank.name,
        blank.distribution,
        blank.version,
        "loaded",
        hooks=tuple(sorted(caller.name for caller in callers)),
        api_version=getattr(loaded.plugin, "zoo_api", None),
        seconds=seconds,
        backbones=len(loaded.offer.backbones),
        location=getattr(loaded.plugin, "__file__", None),
    )
