"""Predictive t: its variance against brute force, its bands, its return set, and when it refuses."""

import math
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from scipy import stats

from causalbench.data.simulate import factor_panel
from causalbench.errors import RefusalError, StudyError
from causalbench.estimators import Did, TimeBasedRegression
from causalbench.inference import PredictiveT
from causalbench.numerics import persistence
from causalbench.numerics.time_regression import cautious_rho, joint_covariance, noise_model, time_regression
from causalbench.workflow.estimate import estimate

LEVEL = 0.9


def panel(*, rho=0.3, seed=5, effect=1.0, n_periods=60, n_post=10, cost=False):
    drawn = factor_panel(n_units=8, n_periods=n_periods, n_treated=2, n_post=n_post, effect=effect, rho=rho, seed=seed)
    rng = np.random.default_rng(seed)
    spend = 3 + rng.standard_normal(n_periods) + 0.2 * rng.standard_normal(drawn.outcome.shape) + drawn.treated
    return replace(drawn, cost=spend if cost else None)


def answer(data, **options):
    return estimate(data, "time-based-regression", inference="predictive-t", level=LEVEL, inference_options=options)


def line(data, cells=None):
    cells = data.outcome if cells is None else cells
    return time_regression(cells[data.ever_treated].mean(axis=0), cells[~data.ever_treated].mean(axis=0), data.n_pre)


def brute_force(found, rho):
    """Return residual maker, correlation of all periods, and variance of one period, from full matrices."""
    n_pre, n_periods = found.n_pre, len(found.gap)
    omega = rho ** np.abs(np.subtract.outer(np.arange(n_periods), np.arange(n_periods))) if rho else np.eye(n_periods)
    design = found.design
    maker = np.eye(n_pre) - design @ np.linalg.inv(design.T @ design) @ design.T
    before = omega[:n_pre, :n_pre]
    made = maker @ before @ maker
    sigma2 = found.residuals @ found.residuals / np.trace(made)
    return made, omega, sigma2


@pytest.mark.parametrize("rho", [0.0, 0.4, 0.9])
def test_noise_is_the_trace_formula(rho):
    found = line(panel())
    made, omega, sigma2 = brute_force(found, rho)
    noise = noise_model(found, rho=rho)
    assert noise.variance == pytest.approx(sigma2, rel=1e-10)
    assert noise.df == pytest.approx(np.trace(made) ** 2 / np.trace(made @ made), rel=1e-9)
    windows = np.array([[1.0] * 10, [1.0, 1, 1, 0, 0, 0, 0, 0, 0, 0]])
    weights = found.error_weights(windows)
    np.testing.assert_allclose(noise.variances(weights), sigma2 * np.diag(weights @ omega @ weights.T), rtol=1e-10)


def test_independent_noise_is_the_textbook_prediction():
    data = panel()
    found = answer(data, compat="geoexperiments")
    pre, post = data.n_pre, data.n_post
    y, x = (data.outcome[side].mean(axis=0) for side in (data.ever_treated, ~data.ever_treated))
    fitted = stats.linregress(x[:pre], y[:pre])
    residuals = y[:pre] - fitted.intercept - fitted.slope * x[:pre]
    moved = x - x[:pre].mean()
    variance = residuals @ residuals / (pre - 2)
    variance *= 1 / post + 1 / pre + moved[pre:].mean() ** 2 / (moved[:pre] @ moved[:pre])
    assert found.std_error == pytest.approx(math.sqrt(variance), rel=1e-10)
    assert found.detail["df"] == pre - 2
    reach = stats.t.ppf(0.95, pre - 2) * math.sqrt(variance)
    assert found.interval.segments == (pytest.approx((found.value - reach, found.value + reach), rel=1e-10),)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(found.value) / math.sqrt(variance), pre - 2), rel=1e-9)


def test_persistent_noise_widens_the_interval():
    plain, honest = (answer(panel(rho=0.6), **options) for options in ({"compat": "geoexperiments"}, {}))
    assert honest.detail["persistence"] > 0.3
    assert honest.std_error > 1.3 * plain.std_error
    assert honest.detail["df"] < plain.detail["df"]
    assert any("takes noise for independent" in warning for warning in plain.warnings)
    assert honest.warnings == ()


def test_bands_end_in_the_interval_of_the_sum_and_hold_each_period_alone():
    data = panel()
    found = answer(data)
    bands = found.path_bands
    assert np.isnan(bands.lower[: data.n_pre]).all()
    assert bands.cumulative_lower[-1] / data.n_post == pytest.approx(found.interval.lower, rel=1e-9)
    assert bands.cumulative_upper[-1] / data.n_post == pytest.approx(found.interval.upper, rel=1e-9)
    assert bands.cumulative_lower[data.n_pre] == pytest.approx(bands.lower[data.n_pre], rel=1e-12)
    middle = (bands.lower + bands.upper)[data.n_pre :] / 2
    np.testing.assert_allclose(middle, found.path.effect[data.n_pre :], rtol=0, atol=1e-10)


def test_return_set_inverts_the_test_of_response_less_return_times_cost():
    data = panel(cost=True, effect=3.0)
    found = answer(data)
    interval = found.detail["iroas_interval"]
    rho = found.detail["noise_autocorrelation"]
    response, spend = line(data), line(data, data.cost)
    whole = np.full(data.n_post, 1 / data.n_post)
    joint = joint_covariance(response, spend, whole, rho=rho)
    quantile = stats.t.ppf(0.95, found.detail["df"])
    for end in (interval.lower, interval.upper):
        gap = found.value - end * spend.gap[data.n_pre :].mean()
        assert abs(gap) / math.sqrt(joint[0, 0] - 2 * end * joint[0, 1] + end**2 * joint[1, 1]) == pytest.approx(
            quantile
        )
    assert math.sqrt(joint[0, 0]) == pytest.approx(found.std_error, rel=1e-10)


def test_joint_covariance_is_that_of_full_matrices():
    data = panel(cost=True)
    response, spend, rho = line(data), line(data, data.cost), 0.5
    whole = np.full(data.n_post, 1 / data.n_post)
    (made, omega, variance), (other, _, spread) = brute_force(response, rho), brute_force(spend, rho)
    g, h = (found.error_weights(whole[None])[0] for found in (response, spend))
    shared = response.residuals @ spend.residuals / math.sqrt(np.trace(made) * np.trace(other))
    expected = [[variance * g @ omega @ g, shared * g @ omega @ h], [shared * g @ omega @ h, spread * h @ omega @ h]]
    np.testing.assert_allclose(joint_covariance(response, spend, whole, rho=rho), expected, rtol=1e-9)


def test_cost_that_is_not_clear_of_zero_is_said_to_leave_the_return_open():
    data = panel(cost=True, effect=3.0)
    data = replace(
        data, cost=data.cost - 0.98 * data.treated + np.random.default_rng(1).standard_normal(data.cost.shape)
    )
    found = answer(data)
    interval = found.detail["iroas_interval"]
    assert interval.lower is None or interval.upper is None
    assert any("isn't bounded" in warning for warning in found.warnings)


@pytest.mark.parametrize("sign", [1, -1])
def test_hurdle_is_the_probability_of_a_larger_return(sign):
    """A holdback has negative cost and effect; its return is the same."""
    data = panel(effect=3.0 * sign)
    data = replace(data, cost=sign * 2.0 * data.treated)
    found = answer(data, hurdle=1.0)
    slack = (found.value - 1.0 * sign * 2.0) * sign / found.std_error
    assert found.detail["hurdle"]["probability"] == pytest.approx(stats.t.cdf(slack, found.detail["df"]), rel=1e-9)


def test_too_persistent_gaps_are_refused_and_compat_is_not():
    rng = np.random.default_rng(3)
    data = panel()
    outcome = data.outcome.copy()
    outcome[data.ever_treated] += 10 * rng.standard_normal(data.outcome.shape[1]).cumsum()
    data = replace(data, outcome=outcome)
    with pytest.raises(RefusalError, match="too persistent for predictive-t"):
        answer(data)
    assert answer(data, compat="geoexperiments").detail["persistence"] > 0.7


def test_perfect_line_has_no_interval():
    data = panel()
    outcome = data.outcome.copy()
    outcome[data.ever_treated] = 2 * outcome[~data.ever_treated].mean(axis=0) + 3.0 * data.treated[data.ever_treated]
    with patch.dict(persistence.LIMITS, {"predictive-t": (1.0, 1.0)}):
        found = answer(replace(data, outcome=outcome))
    assert found.value == pytest.approx(3.0, rel=1e-9)
    assert found.interval is found.p_value is None


def test_methods_without_a_line_are_refused():
    data = panel()
    with pytest.raises(StudyError, match="doesn't go with did"):
        estimate(data, "did", inference="predictive-t")
    with pytest.raises(RefusalError, match="draws no line"):
        PredictiveT().infer(Did(), data, Did().fit(data), level=0.9, rng=np.random.default_rng(0))


def test_caution_adds_half_a_standard_error():
    assert cautious_rho(0.6, 64) == pytest.approx(0.6 + 0.8 / 8 / 2, rel=1e-12)
    assert cautious_rho(-0.5, 25) == pytest.approx(0.1, rel=1e-12)
    assert cautious_rho(1.0, 10) == 0.98


def test_rng_is_not_used():
    data, fits = panel(), TimeBasedRegression()
    answers = [
        PredictiveT().infer(fits, data, fits.fit(data), level=0.9, rng=np.random.default_rng(seed)).interval
        for seed in (0, 1)
    ]
    assert answers[0] == answers[1]
