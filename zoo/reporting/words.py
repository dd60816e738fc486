"""Numbers, units and foreign text as a reader sees them."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from zoo.comparison.naming import metric as metric

_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of all that follows them."""
MINUS = "\N{MINUS SIGN}"


def capital(text: str) -> str:
    """With a capital at its beginning, and no other letter changed."""
    return text[:1].upper() + text[1:]


def figure(value: float | None, digits: int = 3) -> str:
    """A measured value; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    # Errors of numbers can be of any size; three decimals say nothing of 41,234.5.
    text = f"{value:.{digits}f}" if abs(value) < 1000 else f"{value:,.0f}"
    return text.replace("-", MINUS) if float(text.replace(",", "")) else text.lstrip("-")


def signed(value: float, digits: int = 3) -> str:
    """A difference, with its sign."""
    text = figure(value, digits)
    return text if text.startswith(MINUS) or not float(text.replace(",", "")) else f"+{text}"


def between(pair: Sequence[float] | None) -> str:
    """An interval, as in [0.812, 0.861]; nothing where there is none."""
    return "" if pair is None else f"[{figure(pair[0])}, {figure(pair[1])}]"


def between_signed(pair: Sequence[float]) -> str:
    """An interval of a difference."""
    return f"[{signed(pair[0])}, {signed(pair[1])}]"


def probability(p: float) -> str:
    """A p-value, as papers print it."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def many(value: float | None) -> str:
    """A large count, as in 11.7M; a dash where there is none."""
    if value is None:
        return "–"
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def duration(seconds: float | None) -> str:
    """Seconds, minutes or hours, to two or three figures."""
    if seconds is None:
        return "–"
    if seconds < 0.9995:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 119.5:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def memory(size: int | None) -> str:
    """Bytes as MB or GB."""
    if size is None:
        return "–"
    return f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.3g} GB"


def plural(number: int, noun: str) -> str:
    """As in "1 row" and "12 rows"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(parts: Sequence[str]) -> str:
    """As in "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def visible(text: str) -> str:
    """Text that cannot reorder or cut what stands around it: control and direction marks are shown, not obeyed."""
    return "".join(_shown(letter) for letter in text)


def _shown(letter: str) -> str:
    if letter in "\n\t":
        return letter
    if letter in _BIDI or unicodedata.category(letter) in ("Cc", "Cs"):
        return f"⟨U+{ord(letter):04X}⟩"
    return letter


def one_line(text: str) -> str:
    """Visible text without line breaks."""
    return " ".join(visible(text).split())


def short(text: str, letters: int) -> str:
    """One line of at most so many letters."""
    line = one_line(text)
    return line if len(line) <= letters else f"{line[: letters - 1].rstrip()}…"


def options(given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Options by name, those that are None left out."""
    return [(str(name), plain(value)) for name, value in given.items() if value is not None]


def plain(value: Any) -> str:
    """A value from JSON in words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={plain(each)}" for name, each in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
