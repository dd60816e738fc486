"""What a student takes from a teacher, as plain values. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from zoo.errors import UnknownNameError, UsageError

TERM_WEIGHTS: Mapping[str, float] = {"logits": 1.0, "features": 1.0, "distances": 25.0, "angles": 50.0}
"""Of each term against the others; those of the relations are the ones of Park et al. 2019, section 4."""


@dataclass(frozen=True)
class DistillOptions:
    """Who teaches, and what of it the student shall reproduce."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    teacher: str
    """A finished run, or a backbone; of a backbone, or a run of another task, a linear probe answers."""
    by: tuple[str, ...] = ("logits",)
    """Any of logits, features, distances and angles."""
    alpha: float = 0.5
    """The teacher's share of the loss; the labels have the rest. 1: the labels are not looked at."""
    temperature: float = 4.0
    """By which both sides' logits are divided, so that unlikely classes count too."""
    term_weights: Mapping[str, float] = field(default_factory=dict)
    """Of terms against each other, where they shall differ from `TERM_WEIGHTS`."""
    hint: str | None = None
    """For features: STUDENT_STAGE:TEACHER_STAGE, whose outputs meet; the pooled features of both if None."""
    sha256: str | None = None
    """Of the teacher's weights, written down when a run begins: it goes on with no other teacher."""

    def __post_init__(self) -> None:
        if isinstance(self.by, str):
            object.__setattr__(self, "by", (self.by,))
        for name in (*self.by, *self.term_weights):
            if name not in TERM_WEIGHTS:
                known = ", ".join(TERM_WEIGHTS)
                raise UnknownNameError("term of distillation", name, TERM_WEIGHTS, help=f"use {known}")
        if not self.by:
            raise UsageError("--by names nothing to learn from the teacher", help="use --by logits")
        if not 0 < self.alpha <= 1:
            raise UsageError(f"--alpha {self.alpha:g} is outside (0, 1]", help="give the teacher's share, such as 0.5")
        if not self.temperature > 0:
            raise UsageError(f"--temperature {self.temperature:g} is not above 0", help="give one such as 4")
        for name, weight in self.term_weights.items():
            if name not in self.by:
                raise UsageError(f"--term-weights {name}={weight:g} weighs a term that is not in --by", help="add it")
            if not weight > 0:
                raise UsageError(f"--term-weights {name}={weight:g} is not above 0", help="leave the term out of --by")
        if self.hint is not None:
            student, _, teacher = self.hint.partition(":")
            if not (student and teacher):
                raise UsageError(
                    f"--hint {self.hint} does not name two stages", help="write it as STUDENT_STAGE:TEACHER_STAGE"
                )
            if "features" not in self.by:
                raise UsageError(f"--hint {self.hint} is for features", help="add --by features")

    @property
    def stages(self) -> tuple[str, str] | None:
        """The student's and the teacher's of `hint`."""
        if self.hint is None:
            return None
        student, _, teacher = self.hint.partition(":")
        return student, teacher

    @property
    def imitates(self) -> bool:
        """Whether the student's head learns neither from the labels nor from the teacher."""
        return self.alpha == 1 and "logits" not in self.by

    def weight(self, term: str) -> float:
        """Of a term in the whole loss."""
        return self.alpha * self.term_weights.get(term, TERM_WEIGHTS[term])
