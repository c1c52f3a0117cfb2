"""Did the groups move in parallel before the launch, and would we have seen it if not?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator
from scipy.stats import t as t_distribution

from causalbench.checks._event_times import HALF, SIZE, Values, arises, exposure, leads, period_word
from causalbench.data.panel import Panel
from causalbench.numerics.pre_trends import detectable_slope, joint_test, largest_lead_p_value, pre_test_power
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate, Verdict
from causalbench.wording import counted, number, percent

_REMEDY = (
    "Read the effect beside its sensitivity to unequal trends; add history, or controls that moved like the treated."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreTrend:
    r"""Joint test of the leads, with the drift that it would have overlooked (Roth 2022, section I).

    A test that finds nothing is no green light: the drift caught with 80% power is carried forward to the periods
    after the launch and held against the effect. Only where it would change the effect by less than half does the
    check pass; the half is a convention. Otherwise the history can't tell, which asks for review, as does a rejection;
    the check fails where the line through the leads alone would make up half of the effect or more.

    The joint test is Wald's with Hotelling's small-sample reference, the largest lead with Bonferroni's correction
    where leads are too many for it. Power is the probability that at least one lead is significant by itself at 5%, as
    readers of the picture judge it; with so many leads that chance alone raises such alarms half of the time, each is
    tested at 5% divided by their number. The covariance is taken as known.

    It sees drifts that began before the launch. It can't see one that began with it.
    """

    question: ClassVar[str] = "Did the groups move in parallel before the launch, and would we have seen it if not?"

    def run(
        self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Test the leads and carry the drift they can't rule out forward."""
        study = estimate.event_study
        if not arises(study, n_leads=1):
            return None
        conclude = partial(CheckResult, name="pre-trend", question=self.question)
        before = leads(study, data)
        if before.problem:
            return conclude(verdict="not_evaluable", reason=before.problem, remedy="Add units or clusters.")
        p_value, joint = _test(before)
        reach = exposure(study, data, estimate)
        table = {**joint, **_power(before), "exposure": reach, "slope": _slope(before)}
        judge = _rejected if p_value <= SIZE else _overlooked
        verdict, reason = judge(table, estimate.value, period_word(data))
        return conclude(
            verdict=verdict,
            reason=f"{counted(len(before.values), 'lead')} tested together: p = {p_value:.3g}. {reason}{before.note}",
            remedy="" if verdict == "pass" else _REMEDY,
            statistic=p_value,
            threshold=SIZE,
            table=table,
        )


def _rejected(table: Mapping[str, Any], effect: float, word: str) -> tuple[Verdict, str]:
    """Say what the line through the leads would make of the estimate."""
    moved = table["slope"] * table["exposure"]
    reason = (
        "The groups did not move in parallel before the launch. The line through the leads "
        f"({number(table['slope'], sign=True)} per {word}), carried on, would by itself change the estimate by "
        f"{number(moved, sign=True)}; the estimate is {number(effect)}."
    )
    return "fail" if moved * effect >= HALF * effect**2 else "review", reason


def _overlooked(table: Mapping[str, Any], effect: float, word: str) -> tuple[Verdict, str]:
    """Say which drift the test would have missed, and what that would make of the estimate."""
    moved = table["slope_80"] * table["exposure"]
    small = moved < HALF * abs(effect)
    size = f"That is {percent(moved / abs(effect))} of it" if effect else "The estimate is zero"
    rest = (
        "less than half; a change of trend at the launch itself is beyond this test"
        if small
        else "so this history can't tell parallel trends from others"
    )
    reason = (
        f"That alone is no proof of parallel trends. A steady drift of {number(table['slope_80'])} per {word} would make "
        f"some lead significant 4 times in 5, one of {number(table['slope_50'])} every second time; carried on, the former "
        f"would change the estimate of {number(effect)} by {number(moved)}. {size}, {rest}."
    )
    return "pass" if small else "review", reason


def _test(before: Values) -> tuple[float, dict[str, Any]]:
    joint = joint_test(before.values, before.covariance, degrees=before.degrees)
    if joint is not None:
        rule = {"test": "wald", "statistic": joint.statistic, "n_leads": joint.n_leads, "degrees": joint.degrees}
        return joint.p_value, {**rule, "p_value": joint.p_value}
    p_value = largest_lead_p_value(before.values, before.std_errors, degrees=before.degrees)
    largest = float(np.abs(before.values / before.std_errors).max())
    rule = {"test": "largest-lead", "statistic": largest, "n_leads": len(before.values), "degrees": before.degrees}
    return p_value, {**rule, "p_value": p_value}


def _power(before: Values) -> dict[str, Any]:
    """Return the drifts caught with 50% and 80% power and the rule that they belong to."""
    rule, size = "each lead at 5%", SIZE
    critical = float(t_distribution.isf(size / 2, before.degrees))
    alarms = pre_test_power(before.covariance, 0.0 * before.distances, critical_value=critical)
    if alarms >= 0.5:
        rule, size = "each lead at 5% divided by their number", SIZE / len(before.values)
        critical = float(t_distribution.isf(size / 2, before.degrees))
        alarms = pre_test_power(before.covariance, 0.0 * before.distances, critical_value=critical)
    slopes = {
        f"slope_{round(100 * power)}": detectable_slope(
            before.covariance, before.distances, power=power, critical_value=critical
        )
        for power in (0.5, 0.8)
    }
    return {"rule": rule, "critical_value": critical, "false_alarms": alarms, **slopes}


def _slope(before: Values) -> float:
    """Return the slope of the least-squares line through the leads and the reference period, whose value is zero."""
    times = np.append(before.distances, 0.0)
    centred = times - times.mean()
    return float(centred[:-1] @ before.values / (centred @ centred))
