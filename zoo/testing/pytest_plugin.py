"""Counts the kit's checks at the end of a pytest run, and fails a run in which a subject had none."""

from __future__ import annotations

from collections import Counter
from typing import Any

PROPERTY = "zoo-conformance"
"""Of a test that is one of the kit's checks: [subject, checks collected for it, status]."""


def _counts(reporter: Any) -> dict[str, tuple[int, Counter[str]]]:
    """Checks that were collected, and how many ended how, by subject."""
    found: dict[str, tuple[int, Counter[str]]] = {}
    for reports in reporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) != "call":
                continue
            for key, value in getattr(report, "user_properties", ()):
                if key == PROPERTY:
                    subject, collected, status = value
                    found.setdefault(subject, (collected, Counter()))[1][status] += 1
    return found


def _silent(found: dict[str, tuple[int, Counter[str]]]) -> list[str]:
    """Subjects of which every check was asked for and none had anything to say."""
    return [name for name, (collected, counts) in found.items() if counts["skip"] == collected]


def pytest_sessionfinish(session: Any) -> None:
    """A subject that no check applies to is no success."""
    reporter = session.config.pluginmanager.getplugin("terminalreporter")
    if reporter is not None and not hasattr(session.config, "workerinput") and _silent(_counts(reporter)):
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line a subject."""
    found = _counts(terminalreporter)
    if not found:
        return
    terminalreporter.section("zoo conformance")
    for name, (_, counts) in sorted(found.items()):
        checks = counts["pass"] + counts["fail"]
        terminalreporter.line(f"{name}: {checks} checks, {counts['fail']} failed, {counts['skip']} do not apply")
    for name in _silent(found):
        terminalreporter.line(f"{name}: no check ran, so nothing is known of it", red=True)
