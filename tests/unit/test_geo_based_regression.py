"""Geo-based regression: weighted least squares by hand, incremental cost, and units without a size."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError, StudyError
from causalbench.estimators import Did, GeoBasedRegression
from causalbench.inference import RegressionT
from causalbench.numerics.weighted_regression import weighted_regression
from causalbench.workflow.estimate import estimate

N_UNITS, N_PERIODS, N_PRE = 14, 12, 8


def panel(*, seed=0, effect=0.0, n_treated=7, cost=None):
    """Units from 10 to 1000 in size, with noise in proportion; the treated are every other one."""
    rng = np.random.default_rng(seed)
    size = np.geomspace(10, 1000, N_UNITS)
    outcome = size[:, None] * (1 + 0.05 * rng.standard_normal((N_UNITS, N_PERIODS)))
    treated = np.zeros((N_UNITS, N_PERIODS), dtype=bool)
    treated[rng.permutation(N_UNITS)[:n_treated], N_PRE:] = True
    cells = None if cost is None else cost(size, treated, rng)
    return Panel(
        outcome=outcome + effect * size[:, None] * treated,
        treated=treated,
        units=tuple(f"geo {i:02d}" for i in range(N_UNITS)),
        periods=tuple(range(N_PERIODS)),
        cost=cells,
    )


def in_proportion(size, treated, rng):
    return 0.1 * size[:, None] * treated


def running(size, treated, rng):
    base = 0.2 * size[:, None] * (1 + 0.02 * rng.standard_normal(treated.shape))
    return base + 0.1 * size[:, None] * treated


def by_hand(data, dose, covariance="classical"):
    """Return the coefficient of the dose with its standard error, by the normal equations."""
    before, after = data.outcome[:, :N_PRE].mean(axis=1), data.outcome[:, N_PRE:].mean(axis=1)
    design = np.column_stack([np.ones(N_UNITS), before, dose])
    weights = np.diag(1 / before**2)
    bread = np.linalg.inv(design.T @ weights @ design)
    beta = bread @ design.T @ weights @ after
    left = after - design @ beta
    if covariance == "HC3":
        leverages = np.diag(design @ bread @ design.T @ weights)
        meat = design.T @ weights @ np.diag((left / (1 - leverages)) ** 2) @ weights @ design
        return beta[2], np.sqrt((bread @ meat @ bread)[2, 2])
    return beta[2], np.sqrt(bread[2, 2] * (left @ weights @ left) / (N_UNITS - 3))


@pytest.mark.parametrize("covariance", ["HC3", "classical"])
def test_without_a_cost_it_is_the_coefficient_of_the_treated(covariance):
    data = panel(effect=0.1)
    coefficient, error = by_hand(data, data.ever_treated.astype(float), covariance)
    found = estimate(data, "geo-based-regression", level=0.9, options={"covariance": covariance})
    assert found.inference == "regression-t"
    assert found.value == pytest.approx(coefficient, rel=1e-9)
    assert found.std_error == pytest.approx(error, rel=1e-9)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(coefficient) / error, N_UNITS - 3), rel=1e-8)
    reach = stats.t.ppf(0.95, N_UNITS - 3) * error
    assert found.interval.segments == (pytest.approx((coefficient - reach, coefficient + reach), rel=1e-8),)
    assert "iroas" not in found.detail


@pytest.mark.parametrize("covariance", ["HC3", "classical"])
def test_with_a_cost_the_coefficient_is_the_return(covariance):
    data = panel(effect=0.3, cost=in_proportion)
    cost = data.cost[:, N_PRE:].mean(axis=1)
    rho, error = by_hand(data, cost, covariance)
    asked = {"inference": "regression-t", "inference_options": {"hurdle": 2.5}, "options": {"covariance": covariance}}
    found = estimate(data, "geo-based-regression", level=0.9, **asked)
    assert found.detail["iroas"] == pytest.approx(rho, rel=1e-9)
    assert found.detail["iroas"] == pytest.approx(3.0, abs=5 * error)
    assert found.detail["cost"] == pytest.approx(data.cost.sum(), rel=1e-12)
    assert found.detail["incremental"] == pytest.approx(rho * data.cost.sum(), rel=1e-9)
    reach = stats.t.ppf(0.95, N_UNITS - 3) * error
    assert found.detail["iroas_interval"].segments == (pytest.approx((rho - reach, rho + reach), rel=1e-8),)
    assert found.detail["hurdle"]["probability"] == pytest.approx(
        stats.t.cdf((rho - 2.5) / error, N_UNITS - 3), rel=1e-8
    )


def test_cost_of_a_running_campaign_is_what_the_controls_do_not_explain():
    data = panel(cost=running)
    treated = data.ever_treated
    before, after = data.cost[:, :N_PRE].mean(axis=1), data.cost[:, N_PRE:].mean(axis=1)
    weights = 1 / data.outcome[:, :N_PRE].mean(axis=1)
    slope, intercept = np.polyfit(
        before[~treated], after[~treated], 1, w=weights[~treated]
    )  # numpy squares its weights
    incremental = (after - intercept - slope * before)[treated].sum() * (N_PERIODS - N_PRE)
    found = estimate(data, "geo-based-regression")
    assert found.detail["cost"] == pytest.approx(incremental, rel=1e-8)


def test_path_before_the_launch_averages_to_nothing_and_after_it_to_the_effect():
    data = panel(effect=0.2, cost=in_proportion)
    fit = GeoBasedRegression().fit(data)
    assert fit.path.effect[:N_PRE].mean() == pytest.approx(0.0, abs=1e-9 * data.largest)
    assert fit.path.effect[N_PRE:].mean() == pytest.approx(fit.effect, rel=1e-9)


def test_unit_without_outcomes_before_the_launch_is_left_out_by_name():
    data = panel()
    outcome = data.outcome.copy()
    outcome[np.flatnonzero(~data.ever_treated)[0], :N_PRE] = 0.0
    changed = replace(data, outcome=outcome)
    found = estimate(changed, "geo-based-regression")
    assert found.n_control == data.n_control - 1
    name = changed.donor_pool[0]
    assert any(f"no size to be weighted by: {name}" in warning for warning in found.warnings)
    assert found.value == pytest.approx(estimate(data.without([name]), "geo-based-regression").value, rel=1e-9)


def test_treated_units_without_any_outcome_before_the_launch_are_refused():
    data = panel(n_treated=1)
    outcome = data.outcome.copy()
    outcome[data.ever_treated, :N_PRE] = 0.0
    with pytest.raises(DataError, match="every treated unit has a mean of zero before the launch"):
        estimate(replace(data, outcome=outcome), "geo-based-regression")


def test_missing_cells_filled_with_zero_can_take_a_unit_its_size():
    data = panel()
    outcome = data.outcome.copy()
    outcome[np.flatnonzero(~data.ever_treated)[0], :N_PRE] = np.nan
    found = estimate(replace(data, outcome=outcome), "geo-based-regression", on_missing="zero")
    assert found.n_control == data.n_control - 1


def test_cost_that_did_not_move_is_refused():
    with pytest.raises(DataError, match="changed nothing in what was spent"):
        estimate(panel(cost=lambda *parts: np.zeros(parts[1].shape)), "geo-based-regression")


def test_few_units_are_permuted_by_default_and_spend_never_is():
    few = panel(n_treated=3)
    assert estimate(few, "geo-based-regression").inference == "permutation"
    spent = panel(n_treated=3, cost=in_proportion)
    assert estimate(spent, "geo-based-regression").inference == "regression-t"
    with pytest.raises(RefusalError, match="not what was spent there"):
        estimate(spent, "geo-based-regression", inference="permutation")


def test_units_alike_in_size_cannot_be_told_from_the_constant():
    data = panel()
    with pytest.raises(DataError, match="can't be told apart"):
        GeoBasedRegression().fit(replace(data, outcome=np.ones_like(data.outcome)))


def test_no_degree_of_freedom_is_refused():
    data = panel(n_treated=1)
    kept = data.ever_treated | np.isin(np.arange(N_UNITS), np.flatnonzero(~data.ever_treated)[:2])
    with pytest.raises(RefusalError, match="3 units leave no degree of freedom"):
        estimate(data.only(units=kept), "geo-based-regression", inference="regression-t")


def test_other_methods_are_refused():
    data = panel()
    with pytest.raises(StudyError, match="doesn't go with did"):
        estimate(data, "did", inference="regression-t")
    fit = replace(Did().fit(data), covariance=None)
    with pytest.raises(RefusalError, match="no variance of its own"):
        RegressionT().infer(Did(), data, fit, level=0.9, rng=np.random.default_rng(0))


def test_two_launch_dates_are_refused_in_many_fits():
    data = panel()
    with pytest.raises(ValueError, match="one launch date"):
        list(GeoBasedRegression().fit_many(data, np.where(data.ever_treated, [[3], [4]], N_PERIODS)))


@pytest.mark.parametrize("size", [1e-8, 1.0, 1e8])
def test_weighted_regression_is_the_normal_equations(size):
    rng = np.random.default_rng(1)
    design = np.column_stack([np.ones(20), size * rng.standard_normal(20), rng.standard_normal(20)])
    responses, weights = rng.standard_normal((20, 3)), rng.uniform(0.1, 5, 20)
    found = weighted_regression(design, responses, weights)
    scaled = design / [1, size, 1]
    bread = np.linalg.inv(scaled.T @ np.diag(weights) @ scaled)
    beta = bread @ scaled.T @ np.diag(weights) @ responses
    np.testing.assert_allclose(found.coefficients * [[1], [size], [1]], beta, rtol=1e-9)
    np.testing.assert_allclose(found.bread * np.outer([1, size, 1], [1, size, 1]), bread, rtol=1e-9)
    left = responses - scaled @ beta
    np.testing.assert_allclose(found.variances, (weights[:, None] * left**2).sum(axis=0) / 17, rtol=1e-9)
    assert found.df == 17


@pytest.mark.parametrize("column", [np.zeros(6), np.full(6, 3.0)])
def test_regressor_without_information_is_an_error(column):
    with pytest.raises(np.linalg.LinAlgError):
        weighted_regression(np.column_stack([np.ones(6), column]), np.ones((6, 1)), np.ones(6))
