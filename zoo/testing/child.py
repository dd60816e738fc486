"""The process in which a plugin is checked: it runs foreign code and tells its parent, one JSON line an event."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.catalog.catalog import Catalog
from zoo.catalog.discovery import Discovery, PluginReport, discover
from zoo.catalog.entry_points import EntryPoint, distribution_of, installed
from zoo.catalog.guard import Surroundings
from zoo.catalog.spec import BackboneSpec
from zoo.errors import UnknownNameError, ZooError
from zoo.testing.plugin_laws import PLUGIN_LAWS, Importing, PluginSubject
from zoo.testing.report import Conformance, Result

HEAVY = ("torch", "torchvision", "transformers", "timm", "open_clip", "tensorflow", "jax", "sklearn", "scipy", "pandas")
MANY = 12
"""Backbones above which one of each family is checked, the smallest."""
LARGE = 100_000_000
"""Parameters above which a family is left out there: by its name it can be checked alone."""
KINDS = {
    "plugin": ("zoo.testing.plugin_laws", "PLUGIN_LAWS"),
    "backbone": ("zoo.testing.backbones", "BACKBONE_LAWS"),
    "head": ("zoo.testing.heads", "HEAD_LAWS"),
    "strategy": ("zoo.testing.strategies", "STRATEGY_LAWS"),
    "scorer": ("zoo.testing.scorers", "SCORER_LAWS"),
    "dataset": ("zoo.testing.datasets", "DATASET_LAWS"),
}

Tell = Callable[..., None]


@dataclass(frozen=True)
class Job:
    """What the parent wants checked."""

    plugin: str | None
    """An entry point of group `zoo`; None: the backbone."""
    distribution: str | None
    backbone: str | None
    only: Sequence[str] | None
    """Names of checks; None: all."""
    first: int
    """Subject to go on from, where an earlier process died."""
    seconds: float
    """That a plugin may take to be imported."""


def main(text: str) -> None:
    """Carry out one job; whatever goes wrong is an event too."""
    tell = _private_stream()
    attempts = _refuse_the_network()
    try:
        job = Job(**json.loads(text))
        checks = _plugin(job, tell) if job.plugin else _backbone(job, tell)
        _carry_out(job, checks, tell)
        tell("done", connections=sorted(set(attempts)))
    except ZooError as error:
        tell("error", what=error.what, help=error.help)


Check = tuple[str, str, Callable[[Collection[str] | None], Conformance]]
"""Kind, name, and what holds the thing against its laws, or those named."""


def _carry_out(job: Job, checks: Sequence[Check], tell: Tell) -> None:
    # Backbones too where there is none: that a large one was left out does not make its checks unknown.
    kinds = dict.fromkeys(("backbone", *(kind for kind, _, _ in checks)))
    names = {} if job.only is None else _names_of_checks(job.only, kinds)
    wanted = [
        (kind, name, check, None if job.only is None else [each for each in job.only if each in names[kind]])
        for kind, name, check in checks
    ]
    wanted = [each for each in wanted if each[3] is None or each[3]]
    tell("subjects", names=[_subject(kind, name) for kind, name, _, _ in wanted])
    for index, (_, name, check, only) in enumerate(wanted):
        if index < job.first:
            continue
        tell("begin", index=index)
        try:
            found = check(only)
        except (Exception, SystemExit) as error:  # noqa: BLE001  (foreign code)
            said = f"{type(error).__name__}: {error}"
            found = Conformance(
                name, (Result("checks", "The checks can be carried out.", "fail", said, "nothing is known of it"),)
            )
        tell("checked", index=index, results=found.to_json()["results"])


def _subject(kind: str, name: str) -> str:
    return name if kind == "backbone" else f"{kind} {name}"


def _plugin(job: Job, tell: Tell) -> list[Check]:
    """Import one plugin, measured, and list what it offers."""
    entry = next(e for e in installed() if (e.name, distribution_of(e)[0]) == (job.plugin, job.distribution))
    importing = _import(entry)
    tell("imported")
    found = discover(environ=_environ(entry.name), time_limit=job.seconds)
    report = next(r for r in found.reports if (r.name, r.distribution) == (job.plugin, job.distribution))
    subject = PluginSubject(entry.name, importing, report, found.catalog)
    tell("plugin", **_identity(report))
    own: Check = ("plugin", entry.name, lambda only: PLUGIN_LAWS.hold(entry.name, subject, only=only))
    if report.status != "loaded":
        return [own]
    specs = list(subject.specs())
    backbones, notes = chosen([spec for spec in specs if isinstance(spec, BackboneSpec)])
    others = [(_kind(spec), spec) for spec in specs if not isinstance(spec, BackboneSpec)]
    lawless = Counter(kind for kind, _ in others if not _has_laws(kind))
    notes += [f"{count} of kind {kind} not checked: there are no checks for it yet" for kind, count in lawless.items()]
    tell("notes", notes=notes)
    checked = [("backbone", spec) for spec in backbones] + [each for each in others if each[0] not in lawless]
    return [own, *((kind, spec.name, _holder(kind, spec, found.catalog)) for kind, spec in checked)]


def _backbone(job: Job, tell: Tell) -> list[Check]:
    """One backbone by its name, whoever offers it."""
    assert job.backbone is not None
    found = discover(environ=os.environ)
    tell("imported")
    try:
        selections = found.catalog.select(job.backbone)
    except UnknownNameError as error:
        raise _nobody(job.backbone, found) from error
    owner = found.catalog.owners_of(selections[0].spec)
    for report in found.reports:
        if report.name == owner:
            tell("plugin", **_identity(report))
    return [("backbone", job.backbone, _holder("backbone", job.backbone, found.catalog))]


def _nobody(name: str, found: Discovery) -> UnknownNameError:
    plugins = {each for report in found.reports for each in (report.name, report.distribution)}
    known = [*plugins, *found.catalog.backbones]
    return UnknownNameError("plugin, distribution or backbone", name, known, help="`zoo plugins` shows the plugins")


def _identity(report: PluginReport) -> dict[str, str]:
    return {"plugin": report.name, "distribution": report.distribution, "version": report.version}


def _kind(spec: Any) -> str:
    return type(spec).__name__.removesuffix("Spec").lower()


def _has_laws(kind: str) -> bool:
    return kind in KINDS and importlib.util.find_spec(KINDS[kind][0]) is not None


def chosen(specs: Sequence[BackboneSpec]) -> tuple[list[BackboneSpec], list[str]]:
    """Those that can be checked in passing, of many the smallest of each family; and what is left out, in words."""
    picked, notes = list(specs), []
    if len(specs) > MANY:
        smallest: dict[str, BackboneSpec] = {}
        for spec in sorted(specs, key=_size):
            smallest.setdefault(spec.family, spec)
        picked = sorted(smallest.values(), key=lambda spec: spec.name)
        left = len(specs) - sum(_size(spec) <= LARGE for spec in picked)
        notes.append(f"{left:,} of {len(specs):,} backbones are left out: one of each family is checked")
    unknown = LARGE + 1 if len(specs) > MANY else 0  # an author who has not counted yet wants a check all the same
    large = [spec for spec in picked if (unknown if spec.params is None else spec.params) > LARGE]
    if large:
        what = f"{LARGE // 1_000_000} M parameters"
        if len(specs) > MANY:
            said = f"{len(large)} families without one of {what} or fewer are left out: "
            said += ", ".join(sorted(spec.family for spec in large))
        else:
            said = f"{', '.join(spec.name for spec in large)} have more than {what} and are left out"
        notes.append(f"{said}; name one to check it alone")
    return [spec for spec in picked if spec not in large], notes


def _size(spec: BackboneSpec) -> float:
    return float("inf") if spec.params is None else spec.params


def _holder(kind: str, given: Any, catalog: Catalog) -> Callable[[Collection[str] | None], Conformance]:
    """What checks one thing with the kit."""

    def hold(only: Collection[str] | None) -> Conformance:
        from zoo import testing

        check: Callable[..., Conformance] = getattr(testing, f"check_{kind}")
        return check(given, catalog=catalog, only=only)

    return hold


def _names_of_checks(only: Sequence[str], kinds: Iterable[str]) -> dict[str, Sequence[str]]:
    """Names of the checks of each kind.

    Raises:
        UnknownNameError: none of these kinds has a check that is wanted.
    """
    names: dict[str, Sequence[str]] = {}
    for kind in kinds:
        module, laws = KINDS[kind]
        if set(only) <= set(PLUGIN_LAWS.names) and kind != "plugin":
            names[kind] = ()  # what needs no torch waits for none
        else:
            names[kind] = getattr(importlib.import_module(module), laws).names
    every = list(dict.fromkeys(each for group in names.values() for each in group))
    for each in only:
        if each not in every:
            raise UnknownNameError("check", each, every, help=f"the checks are {', '.join(every)}")
    return names


def _import(entry: EntryPoint) -> Importing:
    before, at = Surroundings(), _printed()
    error = None
    started = time.perf_counter()
    try:
        entry.load()
    except BaseException as raised:  # noqa: BLE001  (a plugin may even call sys.exit)
        error = f"{type(raised).__name__}: {' '.join(str(raised).split())}".rstrip(": ")
    seconds = time.perf_counter() - started
    changed = before.changed()
    before.restore_warnings()
    heavy = [name for name in HEAVY if name in sys.modules]
    return Importing(seconds, error, heavy, _text_since(at), changed)


def _environ(name: str) -> dict[str, str]:
    """Whoever checks a plugin wants it loaded, whatever is switched off."""
    environ = dict(os.environ)
    environ["ZOO_DISABLE"] = ",".join(w for w in environ.get("ZOO_DISABLE", "").split(",") if w.strip() != name)
    if "ZOO_PLUGINS" in environ:
        environ["ZOO_PLUGINS"] += f",{name}"
    return environ


def _private_stream() -> Tell:
    """Standard output kept for ourselves: what anybody else prints, in whatever language, goes to standard error."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(event: str, **values: Any) -> None:
        stream.write(json.dumps({"event": event, **values}, default=str) + "\n")
        stream.flush()

    return tell


def _printed() -> int:
    """Bytes that were printed so far: standard error is a file."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return os.fstat(2).st_size


def _text_since(at: int) -> str:
    length = _printed() - at
    with contextlib.suppress(OSError):
        return os.pread(2, max(length, 0), at).decode(errors="replace").strip()
    return ""


def _refuse_the_network() -> list[str]:
    """Every attempt to look up or reach another machine fails; those that were made."""
    attempts: list[str] = []

    def watch(event: str, values: tuple[Any, ...]) -> None:
        if event == "socket.connect" and isinstance(values[1], tuple):
            host = str(values[1][0])
        elif event == "socket.getaddrinfo":
            host = str(values[0])
        else:
            return
        if host not in ("localhost", "::1", "None", "") and not host.startswith("127."):
            attempts.append(host)
            raise OSError(f"`zoo plugins check` runs offline, and something wants to reach {host}")

    sys.addaudithook(watch)
    return attempts


if __name__ == "__main__":
    main(sys.argv[1])
