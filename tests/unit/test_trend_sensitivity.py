"""The check of how far trends may differ: verdicts, breakdown values, and where it stays silent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from causalbench.checks import CATALOGUE
from causalbench.checks.trend_sensitivity import TrendSensitivity
from causalbench.data.panel import Panel
from causalbench.data.simulate import staggered_panel
from causalbench.numerics.honest import relative_magnitude_set, smoothness_interval
from causalbench.protocols import shape_of
from causalbench.values import CheckResult
from causalbench.workflow.estimate import answer


def judged(panel: Panel, *, scale: float = 1.0, method: str = "group-time") -> CheckResult | None:
    found = answer(replace(panel, outcome=scale * panel.outcome), method, level=0.9)
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


def launched(outcome: np.ndarray | None = None, *, seed: int = 0, frequency: str = "number") -> Panel:
    """Build 30 treated and 30 control units over ten periods, with a launch at the sixth."""
    noise = np.random.default_rng(seed).normal(size=(60, 10))
    treated = np.zeros((60, 10), dtype=bool)
    treated[:30, 5:] = True
    return Panel(
        outcome=noise + 2.0 * treated if outcome is None else outcome,
        treated=treated,
        units=tuple(f"u{i:02d}" for i in range(60)),
        periods=tuple(range(10)),
        frequency=frequency,
    )


def filled(copy: int, original: int) -> Panel:
    outcome = launched().outcome.copy()
    outcome[:, copy] = outcome[:, original]
    return launched(outcome)


@pytest.mark.parametrize("copy", [6, 8, 9])
def test_periods_filled_with_the_one_before_can_not_be_judged(copy: int) -> None:
    found = judged(filled(copy, copy - 1))
    assert found is not None
    assert found.verdict == "not_evaluable"
    assert f"event time {copy - 5}," in found.reason


def test_launch_period_filled_from_the_reference_can_not_be_judged() -> None:
    found = judged(filled(5, 4), method="did")
    assert found is not None
    assert found.verdict == "not_evaluable"


def test_other_checks_survive_filled_periods() -> None:
    for copy in range(1, 10):
        found = answer(filled(copy, copy - 1), "did", inference="cluster")
        for name in CATALOGUE.names():
            if shape_of(CATALOGUE.load(name)) != "panel":
                continue
            CATALOGUE.create(name).run(found.estimator, found.panel, found.estimate, rng=np.random.default_rng(0))


@pytest.mark.parametrize(("missing", "words"), [(3, "no step before the launch"), (5, "nothing to average")])
def test_event_times_that_do_not_reach_the_launch_can_not_be_judged(missing: int, words: str) -> None:
    outcome = launched().outcome.copy()
    outcome[:30, missing] = np.nan
    result = answer(launched(outcome), "group-time", inference="cluster", on_missing="keep")
    found = TrendSensitivity().run(result.estimator, result.panel, result.estimate, rng=np.random.default_rng(0))
    assert found is not None
    assert found.verdict == "not_evaluable"
    assert words in found.reason


def test_periods_apart_by_different_spans_can_not_be_judged() -> None:
    found = judged(launched(frequency="irregular"))
    assert found is not None
    assert found.verdict == "not_evaluable"
    assert "equally spaced" in found.reason


def test_gap_among_periods_leaves_those_next_to_the_launch() -> None:
    panel = replace(launched(), periods=(0, 1, 2, 3, 4, 5, 6, 7, 19, 20))
    found = judged(panel)
    assert found is not None
    assert found.table["event_times"] == [-5, -4, -3, -2, 0, 1, 2]
    assert found.reason.endswith("Event times -5 to 2 are used.")


def test_period_goes_by_its_name() -> None:
    found = judged(replace(rollout(effect=3.0), frequency="week"))
    assert found is not None
    assert "two weeks" in found.reason
    assert "per week" in found.reason
