"""A time as people write it: 90s, 5m, 1h30m. No torch."""

from __future__ import annotations

import re

from zoo.errors import UsageError

AUTO = "auto"
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_FORM = re.compile(r"(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m)?(?:(?P<s>\d+(?:\.\d+)?)s)?")


def budget_seconds(text: str) -> float:
    """Seconds of a budget such as "90s", "5m" or "1h30m".

    Raises:
        UsageError: anything else, or no time at all.
    """
    found = _FORM.fullmatch(text.strip().lower().replace(" ", ""))
    if found is None or not any(found.groups()):
        raise UsageError(f"--budget {text} is no time", help="give it with its unit, as in 90s, 5m or 1h30m")
    seconds = sum(float(value) * _UNITS[unit] for unit, value in found.groupdict().items() if value)
    if not seconds > 0:
        raise UsageError(f"--budget {text} is no time at all", help="give more, as in 90s, 5m or 1h30m")
    return seconds


def check_budget(text: str, strategy: str | None) -> None:
    """Refuse a budget that says no time, or that comes with a strategy of the user's own.

    Raises:
        UsageError: either.
    """
    budget_seconds(text)
    if strategy not in (None, AUTO):
        raise UsageError(
            f"--budget {text} searches for a strategy, and --strategy {strategy} was given",
            help="leave one of them out",
        )
