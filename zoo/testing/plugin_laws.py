"""What a plugin as a whole must do, whatever it offers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.catalog.catalog import Catalog
from zoo.catalog.discovery import TIME_LIMIT, PluginReport
from zoo.catalog.factories import import_factory
from zoo.catalog.spec import API_VERSION
from zoo.errors import PluginError
from zoo.testing.report import Inapplicable, few, law, laws_of, require

NOBODY = "a-name-that-nobody-has"


@dataclass(frozen=True)
class Importing:
    """What importing a plugin did to the process, measured once, as only the first import tells."""

    seconds: float
    error: str | None
    heavy: Sequence[str]
    printed: str
    changed: Sequence[str]


@dataclass(frozen=True)
class PluginSubject:
    """One plugin: how its import went, what zoo made of it, and the catalogue that holds its offer."""

    name: str
    importing: Importing
    report: PluginReport
    catalog: Catalog

    def loaded(self) -> PluginReport:
        """How it fared.

        Raises:
            Inapplicable: zoo leaves it out, so there is nothing more to look at.
        """
        if self.report.status != "loaded":
            raise Inapplicable("zoo leaves it out, see above")
        return self.report

    def manager(self) -> Any:
        """What calls its hooks."""
        self.loaded()
        return self.catalog.managers[self.name]

    def specs(self) -> Iterator[Any]:
        """Everything that it offers, of every kind."""
        self.loaded()
        for kind in ("backbones", "heads", "strategies", "scorers", "datasets", "exporters"):
            for spec in getattr(self.catalog, kind).values():
                if self.catalog.owners[f"{kind}:{spec.name.casefold()}"] == self.name:
                    yield spec


@law(consequence="every zoo command warns of it and goes on without it")
def imports(subject: PluginSubject) -> str:
    """The module that the entry point names can be imported, well within the time that a command gives it."""
    found = subject.importing
    require(found.error is None, found.error or "")
    require(found.seconds < TIME_LIMIT, f"{found.seconds:.1f} s; commands give it {TIME_LIMIT:g} s")
    return f"{found.seconds * 1000:.0f} ms"


def _imported(subject: PluginSubject) -> Importing:
    if subject.importing.error is not None:
        raise Inapplicable("it cannot be imported")
    return subject.importing


@law(consequence="`zoo list` and `zoo --help` take seconds instead of a tenth of one, for everybody who installs it")
def imports_nothing_heavy(subject: PluginSubject) -> str:
    """Importing the plugin imports no torch and no other large library: factories are imported when they are used."""
    heavy = _imported(subject).heavy
    require(not heavy, f"it imports {', '.join(heavy)}")
    return "no large library"


@law(consequence="its words stand between the lines of every zoo command")
def imports_in_silence(subject: PluginSubject) -> str:
    """Importing the plugin prints nothing."""
    printed = _imported(subject).printed
    require(not printed, f"it prints {printed[:60]!r}")
    return "nothing printed"


@law(consequence="other plugins and the user's own settings change with it, for no reason that anybody sees")
def leaves_the_process_alone(subject: PluginSubject) -> str:
    """Importing the plugin changes no environment variable, folder, seed, logger or filter of warnings."""
    changed = _imported(subject).changed
    require(not changed, f"it changes {few(changed)}")
    return "nothing changed"


@law(consequence="a later zoo cannot tell that it was written for another contract, and fails in the middle instead")
def api_version(subject: PluginSubject) -> str:
    """The plugin declares the version of the contract that it was written for, and it is this zoo's."""
    report = subject.loaded()
    require(report.api_version is not None, f"there is no `zoo_api = {API_VERSION}` in its module")
    require(report.deprecated is None, f"it {report.deprecated}")
    return f"{report.api_version}"


@law(
    consequence="zoo leaves the plugin out as a whole: a backbone with half a specification would fail when it is used"
)
def hooks(subject: PluginSubject) -> str:
    """Its hooks are zoo's, they return sound specifications, and no other plugin has a name of theirs."""
    report = subject.report
    require(report.status == "loaded", report.error or report.status)
    counts = ", ".join(f"{count:,} {kind}" for kind, count in report.offers.items())
    return counts or f"{few(report.hooks)}, nothing listed"


@law(consequence="it is listed, and fails as soon as somebody uses it")
def factories(subject: PluginSubject) -> str:
    """What every specification names as its factory can be imported."""
    paths = {spec.factory: spec.name for spec in subject.specs()}
    if not paths:
        raise Inapplicable("it lists nothing")
    for path, name in paths.items():
        try:
            found = import_factory(path, name)
        except PluginError as error:
            require(False, error.what)
        require(callable(found), f"'{path}' of {name} is a {type(found).__name__}, which cannot be called")
    return f"{len(paths)} found"


@law(consequence="a misspelt name of any other backbone ends in this plugin's error, or in a backbone nobody asked for")
def resolves_only_its_own(subject: PluginSubject) -> str:
    """`zoo_resolve` gives None for a name that is not its own."""
    hook = subject.manager().hook.zoo_resolve
    if not hook.get_hookimpls():
        raise Inapplicable("it resolves no names")
    found = hook(name=NOBODY)
    require(not found, f"'{NOBODY}' gives {few([repr(each)[:60] for each in found])}")
    return f"'{NOBODY}' is none of its names"


@law(consequence="a warning stands above every command that is not zoo's own")
def commands(subject: PluginSubject) -> str:
    """`zoo_commands` adds its sub-commands without an error."""
    import typer

    hook = subject.manager().hook.zoo_commands
    if not hook.get_hookimpls():
        raise Inapplicable("it adds no commands")
    app = typer.Typer()
    hook(app=app)
    added = [*app.registered_commands, *app.registered_groups]
    require(bool(added), "it added none")
    return f"{len(added)} added"


PLUGIN_LAWS = laws_of(
    "plugin",
    (
        imports,
        imports_nothing_heavy,
        imports_in_silence,
        leaves_the_process_alone,
        hooks,
        api_version,
        factories,
        resolves_only_its_own,
        commands,
    ),
)
