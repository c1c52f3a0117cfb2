"""Does the effect fade, as novelty does?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.checks._event_times import SIZE, Values, arises, average_lag, lags, period_word
from causalbench.data.panel import Panel
from causalbench.numerics.event_time_contrasts import Contrast, half_life, line_weights
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate, FloatArray, Verdict
from causalbench.wording import counted, number

_FEWEST_LAGS = 3
_REMEDIES: dict[Verdict, str] = {
    "pass": "",
    "review": "Decide on the effect of the last periods, or wait until it has settled.",
    "not_evaluable": "Wait for more periods after the launch.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectDecay:
    r"""Slope of the effect over event time, and its first against its last third.

    The slope is that of a line through the lags by generalised least squares where their covariance is known well
    enough, by ordinary least squares else; either way its error is :math:`\sqrt{c'\hat\Sigma c}`. Fading is shown when
    the slope points towards zero and differs from zero at 5%; a half-life is stated only then, and only inside the
    time observed. Steadiness is granted only where an effect that halves between the first and the last period would
    have been noticed with 80% power. With several launch dates late event times hold early cohorts only.
    """

    question: ClassVar[str] = "Does the effect fade, as novelty does?"

    def run(
        self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Test the slope of the lags."""
        study = estimate.event_study
        if not arises(study, n_lags=_FEWEST_LAGS):
            return None
        conclude = partial(CheckResult, name="effect-decay", question=self.question)
        if estimate.rejected is False:
            reason = f"The estimate is {number(estimate.value)}, and no effect is shown that could fade."
            return conclude(verdict="not_evaluable", reason=reason)
        after = lags(study, data, fewest=_FEWEST_LAGS)
        if after.problem:
            return conclude(verdict="not_evaluable", reason=after.problem, remedy="Add units or clusters.")
        # Where the estimate is measured against more than the reference period, the lags are moved to its level.
        levels = after.values + (estimate.value - average_lag(study))
        slope = after.combine(line_weights(after.times, after.covariance, degrees=after.degrees)[1])
        table = {"slope": slope.value, "slope_std_error": slope.std_error, **_thirds(after, levels)}
        fades = slope.p_value <= SIZE and slope.value * estimate.value < 0
        table["half_life"] = half_life(levels, after.covariance, after.times, degrees=after.degrees) if fades else None
        verdict, reason = _judge(after, estimate.value, slope, table, period_word(data))
        return conclude(
            verdict=verdict,
            reason=reason + after.note,
            remedy=_REMEDIES[verdict],
            statistic=slope.p_value,
            threshold=SIZE,
            table=table,
        )


def _judge(after: Values, effect: float, slope: Contrast, table: Mapping[str, Any], word: str) -> tuple[Verdict, str]:
    """Return the verdict and what it rests on, in words."""
    shown = slope.p_value <= SIZE
    # A line that falls to half of its start over the time observed has this slope, given its mean.
    halving = abs(effect) / 1.5 / float(after.times[-1] - after.times[0])
    noticed = slope.detectable(SIZE)
    seen = (
        f"It changes by {number(slope.value, sign=True)} per {word} (p = {slope.p_value:.3g}), from "
        f"{number(table['first_third'])} in the first third to {number(table['last_third'])} in the last"
    )
    if shown and slope.value * effect < 0:
        life = table["half_life"]
        halved = f", halving in about {number(life, digits=2)} {word}s" if life is not None else ""
        return "review", f"The effect fades. {seen}{halved}. The average overstates what will last."
    if shown:
        return "pass", f"{seen}. It grows, so the average understates what it has come to."
    if noticed > halving:
        return "not_evaluable", (
            f"{seen}. Only a change of {number(noticed)} per {word} would be noticed 4 times in 5, and one of "
            f"{number(halving)} would halve the effect over {counted(len(after.times), word)}: it can't tell."
        )
    return "pass", f"{seen}; a halving over that time would have been noticed at least 4 times in 5."


def _thirds(after: Values, levels: FloatArray) -> dict[str, Any]:
    """Return the mean of the first and of the last third of the lags, and the test of their difference."""
    k = len(after.times)
    third = k // 3
    first, last = np.zeros(k), np.zeros(k)
    first[:third], last[-third:] = 1 / third, 1 / third
    change = after.combine(last - first)
    return {
        "first_third": float(first @ levels),
        "last_third": float(last @ levels),
        "change": change.value,
        "change_p_value": change.p_value,
        "event_times": after.times.astype(int).tolist(),
    }
