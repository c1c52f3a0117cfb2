"""Did the launch follow a dip from which units would have recovered anyhow?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.checks._event_times import HALF, SIZE, Values, arises, average_lag, leads, period_word
from causalbench.data.panel import Panel
from causalbench.numerics.event_time_contrasts import Contrast
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate, Verdict
from causalbench.wording import counted, number

_FEWEST_LEADS = 3
_REMEDIES: dict[Verdict, str] = {
    "pass": "",
    "review": "Find out why the launch came when it did; measure from the earlier periods, and report both.",
    "not_evaluable": "Add history before the launch.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchTiming:
    """The periods right before the launch against those earlier: the dip of Ashenfelter (1978, Review of Economics and
    Statistics 60, 47-57).

    Who gets a launch because things went badly recovers in part without it, and the recovery is counted as its
    effect. The last third of the history, at most as many periods as there are after the launch and at least two, is
    compared with the rest; a significant gap against the direction of the effect asks for review. Where a gap of half
    of the effect, a convention, would be noticed with less than 80% power, the test can't tell.
    """

    question: ClassVar[str] = "Did the launch follow a dip from which units would have recovered anyhow?"

    def run(
        self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Compare the last periods before the launch with the earlier ones."""
        study = estimate.event_study
        if not arises(study, n_leads=_FEWEST_LEADS):
            return None
        before = leads(study, data, fewest=_FEWEST_LEADS)
        n_lags = int((study.event_times >= 0).sum())
        conclude = partial(CheckResult, name="launch-timing", question=self.question)
        if before.problem:
            return conclude(verdict="not_evaluable", reason=before.problem, remedy="Add units or clusters.")
        n_last = max(2, min(n_lags, (len(before.values) + 1) // 3))
        gap, earlier = _gap(before, n_last)
        alternative = average_lag(study) - earlier
        seen = (
            f"In the last {counted(n_last, period_word(data))} before the launch the treated units stood "
            f"{number(abs(gap.value))} {'lower' if gap.value < 0 else 'higher'} against the controls than before "
            f"(p = {gap.p_value:.3g})"
        )
        verdict, rest = _judge(gap, estimate.value, alternative)
        return conclude(
            verdict=verdict,
            reason=seen + rest + before.note,
            remedy=_REMEDIES[verdict],
            statistic=gap.p_value,
            threshold=SIZE,
            table={
                "n_last": n_last,
                "gap": gap.value,
                "std_error": gap.std_error,
                "detectable": gap.detectable(SIZE),
                "effect_from_earlier": alternative,
            },
        )


def _judge(gap: Contrast, effect: float, alternative: float) -> tuple[Verdict, str]:
    """Return the verdict and the rest of the sentence that it rests on."""
    noticed, limit = gap.detectable(SIZE), HALF * abs(effect)
    if gap.p_value <= SIZE and gap.value * effect < 0:
        return "review", (
            ". If they were chosen for that, part of the later change is a return to normal that would have come anyhow: "
            f"measured from the earlier periods the effect is {number(alternative)}, not {number(effect)}."
        )
    if gap.p_value <= SIZE:
        return "pass", ", in the direction of the effect: that is no recovery to mistake for it, but see the pre-trend."
    if noticed > limit:
        return "not_evaluable", (
            f". Only a gap of {number(noticed)} or more would be noticed 4 times in 5, and half of the estimate is "
            f"{number(limit)}: the history is too short or too noisy to tell."
        )
    return "pass", f"; a gap of {number(noticed)} would be noticed 4 times in 5."


def _gap(before: Values, n_last: int) -> tuple[Contrast, float]:
    """Return the last periods' mean, the reference's zero counted in, less the earlier ones' mean; and the latter."""
    last = before.times > np.sort(before.times)[-n_last]
    weights = np.where(last, 1 / n_last, -1 / float((~last).sum()))
    return before.combine(weights), float(before.values[~last].mean())
