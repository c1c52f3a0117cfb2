"""How far apart may the groups' trends drift before the conclusion changes?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.checks._event_times import Values, arises, lags, leads, period_word, shares
from causalbench.data.panel import Panel
from causalbench.errors import listing
from causalbench.numerics.honest import breakdown_value, relative_magnitude_set, smoothness_interval
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate, EventStudy, FloatArray, IntArray, Verdict
from causalbench.wording import number

_RATIOS = (0.0, 0.5, 1.0, 1.5, 2.0)
_SHARES = (0.0, 0.25, 0.5, 1.0)
_LONGEST = 10
_USUAL = 0.95
_FLAT = 1e-6
"""A step between two event times whose error is less than this share of the largest error has no variance to speak of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendSensitivity:
    r"""Sets that hold even if trends weren't parallel, and the breakdown value (Rambachan, Roth 2023).

    Two ways to say how far trends may differ after the launch. Relative magnitude: from one period to the next by at most
    :math:`\bar M` times the largest such step before the launch; the set inverts the conditional and least-favourable
    hybrid test. Smoothness: the slope of the difference changes by at most M per period; the set is the shortest interval
    of fixed length. Both presume equally spaced periods. The effect is the average over treated units and periods against
    the reference period.

    The breakdown value is the largest :math:`\bar M` for which zero stays outside. From 1 up the check passes: trends
    would have to differ by more after the launch than they ever did before. Below it asks for review. With more than ten
    leads or lags, or with gaps between them, those next to the launch are used. It needs a lead, and can't judge an effect
    that isn't shown even under parallel trends.
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
        problem = _problem(study, chosen, data)
        if problem:
            return conclude(
                verdict="not_evaluable", reason=problem, remedy="Look at the pre-trend and at the raw paths."
            )
        table = _sensitivity(study, chosen, level=estimate.interval.level if estimate.interval else _USUAL)
        verdict, reason, remedy = _judge(table, period_word(data))
        return conclude(
            verdict=verdict,
            reason=reason + _left_out(table["event_times"], before, after),
            remedy=remedy,
            statistic=table["breakdown_relative_magnitude"],
            table=table,
        )


def _judge(table: Mapping[str, Any], word: str) -> tuple[Verdict, str, str]:
    """Return the verdict, what it rests on, and what to do."""
    ratio, slope, level = (
        table["breakdown_relative_magnitude"],
        table["breakdown_smoothness"],
        f"{100 * table['level']:g}%",
    )
    if ratio is None:
        reason = (
            f"Even under exactly parallel trends the {level} set of the average effect over treated units and {word}s "
            "holds zero."
        )
        return (
            "not_evaluable",
            reason,
            "There is no finding that unequal trends could overturn; look at the sets' width.",
        )
    reason = (
        f"Zero stays outside the {level} set as long as trends differ after the launch by at most {number(ratio)} times "
        f"the largest step seen between two {word}s before it, or change their slope by at most {number(slope or 0.0)} "
        f"per {word}{'' if slope else ' (any change of slope brings zero in)'}."
    )
    if ratio >= 1:
        return "pass", reason, ""
    return "review", reason, "A drift smaller than what the history shows would explain the effect; say so beside it."


def _problem(study: EventStudy, chosen: IntArray, data: Panel) -> str:
    """Return why the sets can't be worked out from the chosen values, a sentence; empty where they can."""
    times, covariance = study.event_times[chosen], study.covariance[np.ix_(chosen, chosen)]
    word, n_pre = period_word(data), int((times < study.reference).sum())
    if data.frequency == "irregular":
        return "Steps from one period to the next can't be compared, as periods aren't equally spaced."
    if not n_pre:
        return f"The {word} before the reference period has no usable effect, so no step before the launch is known."
    if not shares(study)[chosen][times >= 0].sum() > 0:
        return f"The first {word}s after the reference period have no usable effect, so there is nothing to average."
    if not np.isfinite(study.values[chosen]).all() or not np.isfinite(covariance).all():
        return "Some effects by event time have no value or no error."
    # From the reference period, whose value is zero, on: one step for each value after it.
    step = np.diag(np.ones(len(times) - n_pre)) - np.diag(np.ones(len(times) - n_pre - 1), -1)
    errors = np.sqrt(np.maximum(np.diag(step @ covariance[n_pre:, n_pre:] @ step.T), 0.0))
    flat = times[n_pre:][errors <= _FLAT * float(np.sqrt(np.diag(covariance).max()))]
    if len(flat):
        return (
            f"No unit's outcome changes in the step to event time {listing(flat)}, so that step has no error. "
            "Repeated or filled-in values look like this."
        )
    return ""


def _left_out(used: list[int], before: Values, after: Values) -> str:
    """Say which event times are used where they aren't all, a sentence with a space before it."""
    usable = {int(time) for part in (before, after) for time in part.times}
    few = "" if usable <= set(used) else f" Event times {used[0]} to {used[-1]} are used."
    return few + (before.note or after.note)


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
    weights: FloatArray = shares(study)[chosen][n_pre:] * (times[n_pre:] >= 0).astype(float)
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
