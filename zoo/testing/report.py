"""Laws, and what came of holding a backbone, head, strategy, scorer or data set against them."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from zoo.errors import NotCachedError, PluginError, UnknownNameError, ZooError

Status = Literal["pass", "fail", "skip"]
S = TypeVar("S")


class Broken(Exception):  # noqa: N818  (what a check found, raised and caught inside the kit)
    """A law does not hold; the message is what was measured."""


class Inapplicable(Exception):  # noqa: N818
    """A law has nothing to say about this subject; the message is why."""


@dataclass(frozen=True)
class Law(Generic[S]):
    """One thing that every subject of its kind must do."""

    name: str
    says: str
    """The law in one sentence."""
    consequence: str
    """What breaking it would do to a user's result."""
    check: Callable[[S], str]
    """Returns what was measured, or raises `Broken` or `Inapplicable`."""

    def hold(self, subject: S) -> Result:
        """The subject held against this law; nothing that it raises gets out."""
        status: Status = "fail"
        try:
            measured, status = self.check(subject), "pass"
        except Inapplicable as reason:
            measured, status = str(reason), "skip"
        except NotCachedError as error:
            measured, status = f"it cannot be built here: {error.what}", "skip"
        except Broken as found:
            measured = str(found)
        except ZooError as error:
            measured = str(error)
        except Exception as error:  # noqa: BLE001  (the subject is somebody else's code)
            measured = f"{type(error).__name__}: {error}{_where(error)}"
        return Result(self.name, self.says, status, measured, self.consequence)


@dataclass(frozen=True)
class Result:
    """What one check found."""

    check: str
    law: str
    status: Status
    measured: str
    consequence: str

    def __str__(self) -> str:
        if self.status != "fail":
            return f"{self.status}  {self.check}: {self.measured}"
        return f"FAIL  {self.check}: {self.measured}\n      law: {self.law}\n      why it matters: {self.consequence}"


@dataclass(frozen=True)
class Conformance:
    """What all checks of one subject found."""

    subject: str
    results: tuple[Result, ...]

    @property
    def checks(self) -> int:
        """Checks that ran; those that had nothing to say do not count."""
        return sum(result.status != "skip" for result in self.results)

    @property
    def failed(self) -> tuple[Result, ...]:
        """The laws that do not hold."""
        return tuple(result for result in self.results if result.status == "fail")

    @property
    def passed(self) -> bool:
        """Whether every check that ran holds, and at least one ran."""
        return self.checks > 0 and not self.failed

    def raise_failures(self) -> None:
        """Nothing if it passed.

        Raises:
            PluginError: a law that does not hold, or no check that ran.
        """
        if not self.passed:
            raise PluginError(str(self))

    def to_json(self) -> dict[str, Any]:
        """The stable keys that `zoo plugins check --json` prints."""
        return {
            "subject": self.subject,
            "passed": self.passed,
            "checks": self.checks,
            "failed": len(self.failed),
            "skipped": len(self.results) - self.checks,
            "results": [dataclasses.asdict(result) for result in self.results],
        }

    def __str__(self) -> str:
        skipped = len(self.results) - self.checks
        counts = f"{self.checks} checks, {len(self.failed)} failed, {skipped} do not apply"
        if not self.checks:
            counts = "no check ran, so nothing is known"
        return "\n".join([f"{self.subject}: {counts}", *(f"  {result}" for result in self.results)])


@dataclass(frozen=True)
class Laws(Generic[S]):
    """The laws of one kind of subject, in the order in which they are held."""

    kind: str
    laws: tuple[Law[S], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the checks."""
        return tuple(law.name for law in self.laws)

    def hold(self, name: str, subject: S, *, only: Collection[str] | None = None) -> Conformance:
        """The subject held against every law, or those named.

        Raises:
            UnknownNameError: no such check.
        """
        for each in only or ():
            if each not in self.names:
                raise UnknownNameError("check", each, self.names, help=f"the checks are {', '.join(self.names)}")
        chosen = [law for law in self.laws if only is None or law.name in only]
        return Conformance(name, tuple(law.hold(subject) for law in chosen))


def law(*, consequence: str) -> Callable[[Callable[[S], str]], Law[S]]:
    """A law out of a function: its name is the check's, the first line of its docstring the law."""

    def named(check: Callable[[S], str]) -> Law[S]:
        says = (inspect.getdoc(check) or "").partition("\n")[0]
        return Law(check.__name__.replace("_", "-"), says, consequence, functools.wraps(check)(check))

    return named


def laws_of(kind: str, *groups: Iterable[Law[S]]) -> Laws[S]:
    """The laws of several groups together."""
    return Laws(kind, tuple(law for group in groups for law in group))


def require(holds: bool, measured: str) -> None:
    """Go on where something holds.

    Raises:
        Broken: it does not.
    """
    if not holds:
        raise Broken(measured)


def few(names: Sequence[str], count: int = 4) -> str:
    """The first of many names."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _where(error: BaseException) -> str:
    """The deepest line of the subject's own code."""
    trace, last = error.__traceback__, ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if "/zoo/testing/" not in file.replace("\\", "/"):
            last = f" (in {file}:{trace.tb_lineno})"
        trace = trace.tb_next
    return last
