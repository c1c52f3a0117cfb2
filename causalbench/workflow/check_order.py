"""What becomes of checks after they ran: their order, and what is left of one that was refused."""

from __future__ import annotations

from collections.abc import Iterable

from causalbench.errors import DataError, RefusalError
from causalbench.values import CheckResult

_WORST_FIRST = ("fail", "review", "not_evaluable", "pass")


def worst_first(results: Iterable[CheckResult | None]) -> tuple[CheckResult, ...]:
    """Sort by verdict, without checks whose question didn't arise."""
    arising = [result for result in results if result is not None]
    return tuple(sorted(arising, key=lambda result: _WORST_FIRST.index(result.verdict)))


def refused(name: str, question: str, refusal: DataError | RefusalError) -> CheckResult:
    """Return what is left of a check whose own fits are refused; the estimate stands, and it counts as no pass."""
    remedy = refusal.remedy[:1].upper() + refusal.remedy[1:] + "." if refusal.remedy else "Look at the other checks."
    reason = f"The check can't be worked out here: {refusal.message}."
    return CheckResult(name=name, question=question, verdict="not_evaluable", reason=reason, remedy=remedy)
