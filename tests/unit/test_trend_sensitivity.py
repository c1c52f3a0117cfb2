"""The check of how far trends may differ: verdicts, breakdown values, and where it stays silent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from causalbench.checks.trend_sensitivity import TrendSensitivity
from causalbench.data.panel import Panel
from causalbench.data.simulate import staggered_panel
from causalbench.numerics.honest import relative_magnitude_set, smoothness_interval
from causalbench.values import CheckResult
from causalbench.workflow.estimate import answer


def judged(panel: Panel, *, scale: float = 1.0) -> CheckResult | None:
    found = answer(replace(panel, outcome=scale * panel.outcome), "group-time", level=0.9)
    return TrendSensitivity().run(found.estimator, found.panel, found.estimate, rng=np.random.default_rng(0))


def rollout(*, effect: float, n_units: int = 200, seed: int = 1) -> Panel:
    return staggered_panel(
        n_units=n_units, n_periods=10, launches=(5, 6), n_never=n_units // 3, effect=effect, rho=0.3, seed=seed
    )


def test_large_effect_passes_and_small_one_asks_for_review() -> None:
    strong, weak = judged(rollout(effect=3.0)), judged(rollout(effect=0.35))
    assert strong is not None
    assert weak is not None
    assert strong.verdict == "pass"
    assert weak.verdict == "review"
    assert strong.statistic is not None
    assert weak.statistic is not None
    assert strong.statistic >= 1 > weak.statistic
    assert "times the largest step" in strong.reason


def test_no_effect_has_nothing_to_break() -> None:
    found = judged(rollout(effect=0.0, seed=3))
    assert found is not None
    assert found.verdict == "not_evaluable"
    assert found.table["breakdown_relative_magnitude"] is None


def test_zero_leaves_the_set_just_below_the_breakdown_value_and_joins_just_above() -> None:
    panel = rollout(effect=0.8, seed=4)
    result = answer(panel, "group-time", level=0.9)
    found = TrendSensitivity().run(result.estimator, result.panel, result.estimate, rng=np.random.default_rng(0))
    study = result.estimate.event_study
    assert found is not None
    assert study is not None
    chosen = np.isin(study.event_times, found.table["event_times"])
    values, covariance = study.values[chosen], study.covariance[np.ix_(chosen, chosen)]
    n_pre = int((study.event_times[chosen] < 0).sum())
    weights = study.n_treated[chosen][n_pre:] / study.n_treated[chosen][n_pre:].sum()
    given = {"n_pre": n_pre, "weights": weights, "level": 0.9}
    breakdown = found.table["breakdown_relative_magnitude"]
    assert not relative_magnitude_set(values, covariance, mbar=0.99 * breakdown, **given).contains(0.0)
    assert relative_magnitude_set(values, covariance, mbar=1.01 * breakdown, **given).contains(0.0)
    slope = found.table["breakdown_smoothness"]
    inner = smoothness_interval(values, covariance, bound=0.99 * slope, **given)
    outer = smoothness_interval(values, covariance, bound=1.01 * slope, **given)
    assert not inner.lower <= 0 <= inner.upper
    assert outer.lower <= 0 <= outer.upper


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_of_the_outcome_scale_the_sets_and_leave_the_ratio(scale: float) -> None:
    panel = rollout(effect=0.8, seed=4)
    one, other = judged(panel), judged(panel, scale=scale)
    assert one is not None
    assert other is not None
    assert other.statistic == pytest.approx(one.statistic, rel=1e-6)
    for kind in ("relative_magnitude", "smoothness"):
        for a, b in zip(one.table[kind], other.table[kind], strict=True):
            assert np.ravel(b["segments"]) == pytest.approx(scale * np.ravel(a["segments"]), rel=1e-5, abs=1e-9 * scale)


def test_long_studies_use_ten_event_times_on_either_side() -> None:
    panel = staggered_panel(n_units=90, n_periods=30, launches=(14,), n_never=40, effect=2.0, rho=0.0, seed=0)
    found = judged(panel)
    assert found is not None
    assert found.table["event_times"] == [*range(-11, -1), *range(10)]


def test_question_does_not_arise_without_leads() -> None:
    panel = staggered_panel(n_units=60, n_periods=4, launches=(1,), n_never=30, effect=2.0, rho=0.0, seed=0)
    assert judged(panel) is None
