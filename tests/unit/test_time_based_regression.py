"""Time-based regression: the line by least squares, totals and returns by hand, and what it refuses or warns about."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.errors import DataError, RefusalError
from causalbench.estimators import TimeBasedRegression
from causalbench.numerics.time_regression import time_regression
from causalbench.workflow.estimate import estimate

RNG = np.random.default_rng(0)


def panel(*, cost=None, effect=4.0, **keys):
    drawn = factor_panel(n_units=9, n_periods=40, n_treated=3, n_post=8, effect=effect, rho=0.3, seed=5)
    return replace(drawn, outcome=drawn.outcome + 50, cost=None if cost is None else cost(drawn), **keys)


def campaign(drawn):
    """Nobody spends before the launch; the treated spend 2 each in every period after it."""
    return 2.0 * drawn.treated


def steady(drawn):
    """Everybody spends all the time, alike but for noise, the treated 2 more from the launch on."""
    common = 5 + RNG.standard_normal(drawn.outcome.shape[1])
    return common + 0.1 * RNG.standard_normal(drawn.outcome.shape) + 2.0 * drawn.treated


def test_line_and_effect_are_least_squares_on_totals():
    data = panel()
    treated, pre = data.ever_treated, data.n_pre
    y, x = data.outcome[treated].sum(axis=0), data.outcome[~treated].sum(axis=0)
    design = np.column_stack([np.ones(pre), x[:pre]])
    intercept, slope = np.linalg.lstsq(design, y[:pre], rcond=None)[0]
    found = estimate(data, "time-based-regression")
    assert found.detail["slope"] == pytest.approx(slope, rel=1e-10)
    assert found.detail["intercept"] == pytest.approx(intercept, rel=1e-9)
    assert found.detail["incremental"] == pytest.approx((y - intercept - slope * x)[pre:].sum(), rel=1e-10)
    assert found.value == pytest.approx(found.detail["incremental"] / (3 * 8), rel=1e-12)


def test_a_mean_is_regressed_on_a_mean():
    data = panel(additive=False)
    pre = data.n_pre
    y, x = (data.outcome[side].mean(axis=0) for side in (data.ever_treated, ~data.ever_treated))
    found = estimate(data, "time-based-regression")
    assert found.detail["slope"] == pytest.approx(np.polyfit(x[:pre], y[:pre], 1)[0], rel=1e-9)
    assert found.detail["incremental"] is None


def test_cost_where_nobody_spent_before_is_what_the_treated_spent():
    found = estimate(panel(cost=campaign), "time-based-regression")
    assert found.detail["cost"] == pytest.approx(2.0 * 3 * 8, rel=1e-12)
    assert found.detail["iroas"] == pytest.approx(found.detail["incremental"] / 48, rel=1e-12)
    # A known cost scales the interval of the effect.
    segments = [(24 * low / 48, 24 * high / 48) for low, high in found.interval.segments]
    assert found.detail["iroas_interval"].segments == (pytest.approx(segments[0], rel=1e-9),)


def test_cost_of_a_running_campaign_is_what_its_own_line_does_not_say():
    data = panel(cost=steady)
    pre, treated = data.n_pre, data.ever_treated
    y, x = data.cost[treated].sum(axis=0), data.cost[~treated].sum(axis=0)
    slope, intercept = np.polyfit(x[:pre], y[:pre], 1)
    found = estimate(data, "time-based-regression")
    assert found.detail["cost"] == pytest.approx((y - intercept - slope * x)[pre:].sum(), rel=1e-9)
    assert found.detail["cost"] == pytest.approx(48, rel=0.05)
    ((low, high),) = found.detail["iroas_interval"].segments
    assert low < found.detail["iroas"] < high


def test_spending_of_controls_that_starts_at_the_launch_is_warned_about():
    data = panel(cost=lambda drawn: 2.0 * drawn.treated + 0.5 * (np.arange(40) >= drawn.n_pre))
    found = estimate(data, "time-based-regression")
    assert found.detail["cost"] == pytest.approx(2.5 * 24, rel=1e-12)
    assert any("the controls spent 24 from the launch on" in warning for warning in found.warnings)


def test_cost_that_did_not_move_has_no_return():
    found = estimate(panel(cost=lambda drawn: np.zeros(drawn.outcome.shape)), "time-based-regression")
    assert (found.detail["cost"], found.detail["iroas"]) == (0.0, None)
    assert "iroas_interval" not in found.detail
    assert any("changed nothing in what was spent" in warning for warning in found.warnings)


def test_rate_has_no_return():
    found = estimate(panel(cost=campaign, additive=False), "time-based-regression")
    assert found.detail["iroas"] is None
    assert any("has no total" in warning for warning in found.warnings)


def test_controls_that_never_vary_leave_the_treated_mean():
    data = panel()
    outcome = data.outcome.copy()
    outcome[~data.ever_treated] = 7.0
    fit = TimeBasedRegression().fit(replace(data, outcome=outcome))
    level = data.outcome[data.ever_treated].mean(axis=0)
    assert fit.effect == pytest.approx(level[data.n_pre :].mean() - level[: data.n_pre].mean(), rel=1e-12)
    assert fit.diagnostics["slope"] == 0.0
    assert any("don't vary" in warning for warning in fit.warnings)


def test_null_residuals_are_those_of_a_refit_to_all_periods():
    data, effects = panel(), np.array([-1.0, 0.0, 2.5])
    x = data.outcome[~data.ever_treated].mean(axis=0)
    design = np.column_stack([np.ones(40), x])
    found = TimeBasedRegression().null_residuals(data, effects)
    for effect, residuals in zip(effects, found, strict=True):
        y = data.outcome[data.ever_treated].mean(axis=0) - effect * (np.arange(40) >= data.n_pre)
        expected = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
        np.testing.assert_allclose(residuals, expected, rtol=0, atol=1e-9)


def test_excluded_controls_are_left_out():
    data = panel()
    names = data.donor_pool[:2]
    found = estimate(data, "time-based-regression", options={"exclude": names})
    assert found.n_control == data.n_control - 2
    assert found.value == pytest.approx(TimeBasedRegression().fit(data.without(names)).effect, rel=1e-12)


def test_permutation_set_is_the_one_of_refits_under_every_effect():
    data = panel(effect=1.0).only(units=np.arange(9) % 2 == 0)
    answer = estimate(data, "time-based-regression", inference="permutation", level=0.75)
    assert answer.detail["exact"]
    rows = np.array([row for row in np.ndindex(*[2] * 5) if sum(row) == data.n_treated], dtype=bool)
    for effect in np.linspace(-6, 8, 29).tolist():
        lowered = replace(data, outcome=data.outcome - effect * data.treated)
        refits = [TimeBasedRegression().fit(lowered.assigned_to(row, start=data.n_pre)).effect for row in rows]
        p_value = np.mean(np.abs(refits) >= abs(answer.value - effect) - 1e-9)
        assert answer.interval.contains(effect) == (p_value > 0.25), effect


def test_two_launch_dates_and_too_short_a_history_are_refused():
    data = panel()
    treated = data.treated.copy()
    treated[np.flatnonzero(data.ever_treated)[0], data.n_pre - 3 :] = True
    with pytest.raises(RefusalError, match="needs one launch date"):
        estimate(replace(data, treated=treated), "time-based-regression")
    with pytest.raises(DataError, match="at least 3 periods before the launch"):
        estimate(data.only(periods=np.arange(40) >= 30), "time-based-regression")
    with pytest.raises(ValueError, match="takes one launch date"):
        list(TimeBasedRegression().fit_many(data, np.where(data.ever_treated, [[3], [4]], 40)))


def test_missing_cells_are_refused_without_a_rule():
    data = panel()
    outcome = data.outcome.copy()
    outcome[0, 0] = np.nan
    with pytest.raises(DataError, match="on_missing"):
        estimate(replace(data, outcome=outcome), "time-based-regression")


@pytest.mark.parametrize("shift", [0.0, 1e8])
def test_error_weights_are_what_the_noise_does_to_the_sum(shift):
    rng = np.random.default_rng(2)
    x, noise = rng.standard_normal(20) + shift, rng.standard_normal(20)
    found = time_regression(3 + 2 * x + noise, x, 14)
    windows = np.array([[1.0] * 6, [0, 1, 0, 0, 1, 0]])
    np.testing.assert_allclose(
        windows @ found.gap[14:], found.error_weights(windows) @ noise, rtol=0, atol=1e-9 * max(shift, 1)
    )


def test_panel_from_a_table_to_a_return():
    rows = [
        (g, w, (2.0 if g == "a" else 1.0) * w**2 + (6.0 if g == "a" and w > 5 else 0.0)) for g in "ab" for w in range(8)
    ]
    table = pd.DataFrame(rows, columns=["g", "w", "y"]).assign(c=lambda t: 3.0 * ((t.g == "a") & (t.w > 5)))
    data = Panel.from_table(table, unit="g", period="w", outcome="y", treated="a", start=6, cost="c")
    fit = TimeBasedRegression().fit(data)
    assert fit.effect == pytest.approx(6.0, rel=1e-12)
    assert fit.diagnostics["iroas"] == pytest.approx(2.0, rel=1e-12)
