"""Does a constant effect fit what happened after the launch?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate
from causalbench.wording import number


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalHoldsEstimate:
    """Inverted tests suppose a constant effect; a set that is empty or misses the estimate shows that none fits.

    An interval around the estimate by its standard error, and one with bands by period, as of a posterior, don't suppose
    that, so that the question doesn't arise.
    """

    question: ClassVar[str] = "Does one constant effect fit what happened after the launch?"

    def run(
        self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Hold the estimate against its own set."""
        if estimate.std_error is not None or estimate.path_bands is not None:
            return None
        conclude = partial(CheckResult, name="interval-holds-estimate", question=self.question)
        interval = estimate.interval
        if interval is None:
            return conclude(verdict="not_evaluable", reason="There is no interval to hold it against.")
        if interval.empty:
            reason = "Misfit: the test rejects every constant effect, so there is no interval to report."
            return conclude(verdict="fail", reason=reason, remedy="Look at the effect by period.")
        best = estimate.detail.get("p_maximising_effect")
        if best is None or interval.lower is None or interval.upper is None:
            reason = "This inference's set is unbounded, or holds the estimate whatever the data; it can't tell."
            return conclude(verdict="not_evaluable", reason=reason, remedy="Look at the effect by period.")
        where = f"The estimate is {number(estimate.value)}; the effect that fits best is {number(best)}"
        if not interval.contains(estimate.value):
            remedy = "Read both numbers, and the effect by period."
            return conclude(verdict="review", reason=f"{where}; the set misses the estimate.", remedy=remedy)
        return conclude(verdict="pass", reason=f"{where}; the set holds both.")
