"""How far apart may the groups' trends drift before the conclusion changes?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.checks._event_times import arises, lags, leads
from causalbench.data.panel import Panel
from causalbench.numerics.honest import breakdown_value, relative_magnitude_set, smoothness_interval
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate, EventStudy, FloatArray, IntArray
from causalbench.wording import number

_RATIOS = (0.0, 0.5, 1.0, 1.5, 2.0)
_SHARES = (0.0, 0.25, 0.5, 1.0)
_LONGEST = 10
_USUAL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendSensitivity:
    r"""Sets that hold even if trends weren't parallel, and the breakdown value (Rambachan, Roth 2023).

    Two ways to say how far trends may differ after the launch. Relative magnitude: from one period to the next by at most
    :math:`\bar M` times the largest such step before the launch; the set inverts the conditional and least-favourable
    hybrid test. Smoothness: the slope of the difference changes by at most M per period; the set is the shortest interval
    of fixed length. The effect is the average over treated units and periods against the reference period.

    The breakdown value is the largest :math:`\bar M` for which zero stays outside. From 1 up the check passes: trends
    would have to differ by more after the launch than they ever did before. Below it asks for review. With more than ten
    leads or lags those nearest to the launch are used. It needs a lead, and can't judge an effect that isn't shown even
    under parallel trends.
    """

    question: ClassVar[str] = "How far apart may the groups' trends drift before the conclusion changes?"

    def run(
        self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Find the sets on a grid of bounds, and the breakdown values."""
        study = estimate.event_study
        if not arises(study, n_leads=1):
            return None
        conclude = partial(CheckResult, name="trend-sensitivity", question=self.question, threshold=1.0)
        before, after = leads(study, data), lags(study, data)
        if before.problem or after.problem:
            return conclude(
                verdict="not_evaluable", reason=before.problem or after.problem, remedy="Add units or clusters."
            )
        chosen = _window(study, before.times.astype(np.int64), after.times.astype(np.int64))
        table = _sensitivity(study, chosen, level=estimate.interval.level if estimate.interval else _USUAL)
        ratio = table["breakdown_relative_magnitude"]
        level = f"{100 * table['level']:g}%"
        if ratio is None:
            reason = (
                f"Even under exactly parallel trends the {level} set of the average effect by event time holds zero."
            )
            remedy = "There is no finding that unequal trends could overturn; look at the width of the sets."
            return conclude(verdict="not_evaluable", reason=reason, remedy=remedy, table=table)
        slope = table["breakdown_smoothness"]
        reason = (
            f"Zero stays outside the {level} set as long as trends differ after the launch by at most {number(ratio)} times "
            f"the largest step seen between two periods before it, or change their slope by at most {number(slope or 0.0)} "
            f"per period{'' if slope else ' (any change of slope brings zero in)'}."
        )
        strong = ratio >= 1
        return conclude(
            verdict="pass" if strong else "review",
            reason=reason,
            remedy=""
            if strong
            else "A drift smaller than what the history shows would explain the effect; say so beside it.",
            statistic=ratio,
            table=table,
        )


def _window(study: EventStudy, before: IntArray, after: IntArray) -> IntArray:
    """Return which values are used: consecutive event times next to the reference, ten at most on either side."""
    position = {int(time): k for k, time in enumerate(study.event_times)}
    chosen = []
    time = study.reference - 1
    while time in set(before.tolist()) and study.reference - time <= _LONGEST:
        chosen.append(position[time])
        time -= 1
    time = study.reference + 1
    while time in position and (time < 0 or time in set(after.tolist())) and time < _LONGEST:
        chosen.append(position[time])
        time += 1
    return np.array(sorted(chosen), dtype=np.int64)


def _sensitivity(study: EventStudy, chosen: IntArray, *, level: float) -> dict[str, Any]:
    times, values = study.event_times[chosen], study.values[chosen]
    covariance = study.covariance[np.ix_(chosen, chosen)]
    n_pre = int((times < study.reference).sum())
    weights: FloatArray = study.n_treated[chosen][n_pre:] * (times[n_pre:] >= 0).astype(float)
    weights = weights / weights.sum()
    given: dict[str, Any] = {"n_pre": n_pre, "weights": weights, "level": level}
    ratio = breakdown_value(values, covariance, restriction="relative-magnitude", **given)
    slope = breakdown_value(values, covariance, restriction="smoothness", **given)
    effect = float(weights @ values[n_pre:])
    scale = slope.value if slope.value and slope.value < slope.limit else abs(effect) / max(len(weights), 1)
    relative = [relative_magnitude_set(values, covariance, mbar=bound, **given) for bound in _RATIOS]
    smooth = [smoothness_interval(values, covariance, bound=2 * share * scale, **given) for share in _SHARES]
    return {
        "level": level,
        "effect": effect,
        "event_times": times.tolist(),
        "breakdown_relative_magnitude": ratio.value,
        "breakdown_smoothness": slope.value,
        "relative_magnitude": [{"bound": found.bound, "segments": list(found.segments)} for found in relative],
        "smoothness": [{"bound": found.bound, "segments": [(found.lower, found.upper)]} for found in smooth],
    }
