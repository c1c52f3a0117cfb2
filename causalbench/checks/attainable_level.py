"""Could this test have rejected at all?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate, rejects


@dataclass(frozen=True, slots=True, kw_only=True)
class AttainableLevel:
    """A rank test has a smallest p-value; above the level's limit no data whatever could show an effect."""

    question: ClassVar[str] = "Could this test have shown an effect at all?"

    def run(
        self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Compare the smallest attainable p-value with the level."""
        conclude = partial(CheckResult, name="attainable-level", question=self.question)
        smallest = estimate.detail.get("smallest_p")
        if estimate.interval is None or smallest is None:
            return None
        limit = 1 - estimate.interval.level
        reason = f"The smallest p-value it can give is {smallest:.3g}; showing an effect needs {limit:.3g} or less."
        possible = rejects(smallest, estimate.interval.level)
        return conclude(
            verdict="pass" if possible else "fail",
            reason=reason,
            remedy="" if possible else "Add control units or periods, or plan for a lower level.",
            statistic=smallest,
            threshold=limit,
        )
