"""Did units react before the launch?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.checks._event_times import HALF, SIZE, Values, arises, average_lag, before_launch
from causalbench.data.panel import Panel
from causalbench.numerics.event_time_contrasts import Contrast, line_weights
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate
from causalbench.wording import number

_BLIND = "A reaction that began with the earlier periods looks like a trend, and this test doesn't see it."


@dataclass(frozen=True, slots=True, kw_only=True)
class Anticipation:
    """The last periods before the launch against where the earlier ones lead.

    From three earlier periods on they give a line, two give a mean. What is tested is the gap between the reference
    period and that line; where anticipation has moved the reference back, it is the mean gap of the periods between it
    and the launch. A gap moves every effect, as all are relative to the reference period. Where the gap that would be
    noticed with 80% power is above half of the effect, a convention, the test can't tell.
    """

    question: ClassVar[str] = "Did units react before the launch?"

    def run(
        self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Test the gap of the last periods before the launch."""
        study = estimate.event_study
        if not arises(study, n_leads=2):
            return None
        conclude = partial(CheckResult, name="anticipation", question=self.question)
        before = before_launch(study, data, fewest=2)
        if before.problem:
            return conclude(verdict="not_evaluable", reason=before.problem, remedy="Add units or clusters.")
        gap = _gap(before)
        at_reference = not (before.times > before.reference).any()
        subject = "The last period before the launch differs" if at_reference else "The anticipating periods differ"
        noticed, limit = gap.detectable(SIZE), HALF * abs(estimate.value)
        conclude = partial(
            conclude,
            statistic=gap.p_value,
            threshold=SIZE,
            table={"gap": gap.value, "std_error": gap.std_error, "detectable": noticed, "at_reference": at_reference},
        )
        seen = f"{subject} by {number(gap.value, sign=True)} from where the earlier ones lead (p = {gap.p_value:.3g})"
        if gap.p_value <= SIZE:
            size = number(average_lag(study) + gap.value)
            moved = f" Measured from there the effect is {size}, and the estimate is {number(estimate.value)}."
            return conclude(
                verdict="review",
                reason=f"{seen}: units may have reacted early.{moved if at_reference else ''} {_BLIND}{before.note}",
                remedy="Find out when the launch became known, and leave those periods out with anticipation.",
            )
        if noticed > limit:
            reason = (
                f"{seen}. Only a gap of {number(noticed)} or more would be noticed 4 times in 5, and half of the estimate "
                f"is {number(limit)}: the history is too short or too noisy to tell.{before.note}"
            )
            return conclude(verdict="not_evaluable", reason=reason, remedy="Add history before the launch.")
        reason = f"{seen}; a gap of {number(noticed)} would be noticed 4 times in 5. {_BLIND}{before.note}"
        return conclude(verdict="pass", reason=reason)


def _gap(before: Values) -> Contrast:
    """Return the tested periods' mean less what the earlier ones predict for them."""
    early, late = before.times < before.reference, before.times > before.reference
    weights = np.zeros(len(before.times))
    target = 0.0
    if late.any():
        weights[late] = 1 / late.sum()
        target = float(before.distances[late].mean())
    if early.sum() < 3:
        weights[early] = -1 / early.sum()
    else:
        covariance = before.covariance[np.ix_(early, early)]
        intercept, slope = line_weights(before.distances[early], covariance, degrees=before.degrees)
        weights[early] = -(intercept + target * slope)
    return before.combine(weights)
