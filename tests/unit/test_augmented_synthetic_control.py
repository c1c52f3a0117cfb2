"""Augmented synthetic control against slow, obvious formulas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.errors import DataError, RefusalError
from causalbench.estimators import AugmentedSyntheticControl, SyntheticControl
from causalbench.numerics.simplex import solve_simplex
from causalbench.values import FloatArray
from causalbench.workflow.estimate import estimate


@pytest.fixture(scope="module")
def panel() -> Panel:
    return factor_panel(n_units=9, n_periods=18, n_treated=2, n_post=4, effect=1.0, rho=0.5, seed=3)


def simplex_weights(donors: FloatArray, target: FloatArray) -> FloatArray:
    """Weights of donors, shape (n_donors, n_features); the solver has oracles of its own."""
    return solve_simplex(donors @ donors.T, (donors @ target)[None], np.array([target @ target])).weights[0]


def oracle_weights(donors: FloatArray, target: FloatArray, ridge: float) -> FloatArray:
    """Lemma 1 of Ben-Michael, Feller, Rothstein (2021) with the inverse written out."""
    mean = donors.mean(axis=0)
    centred, aim = donors - mean, target - mean
    weights = simplex_weights(centred, aim)
    inverse = np.linalg.inv(centred.T @ centred + ridge * np.eye(centred.shape[1]))
    result: FloatArray = weights + centred @ inverse @ (aim - centred.T @ weights)
    return result


def oracle_ridge(donors: FloatArray, target: FloatArray) -> float:
    """Leave out one period at a time, fit everything again, take the one-standard-error rule by its words."""
    centred = donors - donors.mean(axis=0)
    ridges = np.linalg.norm(centred, 2) ** 2 * 1e-8 ** (np.arange(21) / 20)
    squares = []
    for out in range(donors.shape[1]):
        kept = np.arange(donors.shape[1]) != out
        squares.append(
            [
                (target[out] - oracle_weights(donors[:, kept], target[kept], ridge) @ donors[:, out]) ** 2
                for ridge in ridges
            ]
        )
    table = np.array(squares)
    means, errors = table.mean(axis=0), table.std(axis=0, ddof=1) / np.sqrt(len(table))
    best = means.argmin()
    return max(ridge for ridge, mean in zip(ridges, means, strict=True) if mean <= means[best] + errors[best])


def history(panel: Panel) -> tuple[FloatArray, FloatArray]:
    before = panel.outcome[:, : panel.n_pre]
    return before[~panel.ever_treated], before[panel.ever_treated].mean(axis=0)


@pytest.mark.parametrize("ridge", [1e-3, 1.0, 1e3])
def test_weights_are_those_of_the_lemma(panel: Panel, ridge: float) -> None:
    fit = AugmentedSyntheticControl(ridge=ridge).fit(panel)
    assert fit.weights is not None
    np.testing.assert_allclose(fit.weights[~panel.ever_treated], oracle_weights(*history(panel), ridge), atol=1e-8)
    assert fit.weights.sum() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_penalty_is_the_one_of_fitting_everything_again(seed: int) -> None:
    panel = factor_panel(n_units=9, n_periods=18, n_treated=2, n_post=4, effect=1.0, rho=0.5, seed=seed)
    fit = AugmentedSyntheticControl().fit(panel)
    assert fit.diagnostics["ridge"] == pytest.approx(oracle_ridge(*history(panel)), rel=1e-9)


def test_effect_is_synthetic_control_less_the_ridge_forecast_of_its_mismatch(panel: Panel) -> None:
    # Equation 8: the bias is estimated by a ridge regression of each outcome after the launch on those before.
    ridge, plain = 2.0, SyntheticControl().fit(panel)
    assert plain.weights is not None
    donors, target = history(panel)
    mean = donors.mean(axis=0)
    centred = donors - mean
    after = panel.outcome[~panel.ever_treated][:, panel.n_pre :]
    slope = np.linalg.solve(centred.T @ centred + ridge * np.eye(len(mean)), centred.T @ (after - after.mean(axis=0)))
    bias = float(((target - plain.weights[~panel.ever_treated] @ donors) @ slope).mean())
    fit = AugmentedSyntheticControl(ridge=ridge).fit(panel)
    assert fit.diagnostics["bias"] == pytest.approx(bias, abs=1e-8)
    assert fit.effect == pytest.approx(plain.effect - bias, abs=1e-8)


def test_a_large_penalty_gives_synthetic_control(panel: Panel) -> None:
    fit, plain = AugmentedSyntheticControl(ridge=1e12).fit(panel), SyntheticControl().fit(panel)
    assert fit.effect == pytest.approx(plain.effect, abs=1e-8)
    assert fit.diagnostics["pre_fit_improvement"] == pytest.approx(0, abs=1e-8)


def test_a_small_penalty_fits_better_before_the_launch(panel: Panel) -> None:
    errors = [AugmentedSyntheticControl(ridge=ridge).fit(panel).diagnostics["pre_mspe"] for ridge in (1e3, 1.0, 1e-3)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > errors[-1]


def test_unit_effects_change_nothing_where_they_are_taken_out(panel: Panel) -> None:
    shift = np.random.default_rng(0).normal(scale=30, size=(len(panel.units), 1))
    estimator = AugmentedSyntheticControl(fixed_effects="unit")
    moved = estimator.fit(replace(panel, outcome=panel.outcome + shift))
    assert moved.effect == pytest.approx(estimator.fit(panel).effect, abs=1e-9)


def with_covariate(panel: Panel, values: FloatArray) -> Panel:
    return replace(panel, covariates=values[..., None], covariate_names=("size",))


def test_covariates_are_matched_as_further_periods(panel: Panel) -> None:
    values = np.random.default_rng(4).normal(size=panel.outcome.shape)
    fit = AugmentedSyntheticControl(ridge=1.0).fit(with_covariate(panel, values))
    means = values[:, : panel.n_pre].mean(axis=1)
    before = panel.outcome[:, : panel.n_pre]
    scaled = (means - means.mean()) / means.std() * (before - before.mean(axis=0)).std()
    features = np.column_stack([before, scaled])
    expected = oracle_weights(features[~panel.ever_treated], features[panel.ever_treated].mean(axis=0), 1.0)
    assert fit.weights is not None
    np.testing.assert_allclose(fit.weights[~panel.ever_treated], expected, atol=1e-8)


def test_units_of_a_covariate_change_nothing(panel: Panel) -> None:
    values = np.random.default_rng(4).normal(size=panel.outcome.shape)
    effects = [
        AugmentedSyntheticControl().fit(with_covariate(panel, scale * values + 3)).effect for scale in (1.0, 1e4)
    ]
    assert effects[1] == pytest.approx(effects[0], rel=1e-9)


def test_covariates_after_the_launch_are_not_looked_at(panel: Panel) -> None:
    values = np.random.default_rng(4).normal(size=panel.outcome.shape)
    later = values.copy()
    later[:, panel.n_pre :] += 100
    found, expected = (AugmentedSyntheticControl().fit(with_covariate(panel, v)).effect for v in (later, values))
    assert found == expected


def test_a_covariate_without_a_value_is_refused(panel: Panel) -> None:
    values = np.ones(panel.outcome.shape)
    values[4, : panel.n_pre] = np.nan
    with pytest.raises(DataError, match="'size' has no value before the launch for 1 units: u004"):
        AugmentedSyntheticControl().fit(with_covariate(panel, values))


def test_a_constant_covariate_changes_nothing(panel: Panel) -> None:
    found = AugmentedSyntheticControl().fit(with_covariate(panel, np.full(panel.outcome.shape, 7.0)))
    assert found.effect == pytest.approx(AugmentedSyntheticControl().fit(panel).effect, abs=1e-12)


def test_residuals_under_an_effect_are_those_of_a_fit_to_all_periods(panel: Panel) -> None:
    effect, estimator = 0.7, AugmentedSyntheticControl()
    ridge = estimator.fit(panel).diagnostics["ridge"]
    outcome = panel.outcome - effect * panel.treated
    donors, target = outcome[~panel.ever_treated], outcome[panel.ever_treated].mean(axis=0)
    expected = target - oracle_weights(donors, target, ridge) @ donors
    np.testing.assert_allclose(estimator.null_residuals(panel, np.array([effect]))[0], expected, atol=1e-8)


@pytest.mark.parametrize("ridge", [0.0, -1.0, np.inf])
def test_impossible_penalties_are_refused(ridge: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        AugmentedSyntheticControl(ridge=ridge)


def test_too_few_donors_are_refused(panel: Panel) -> None:
    with pytest.raises(DataError, match="1 donors are left"):
        AugmentedSyntheticControl(exclude=panel.donor_pool[1:]).fit(panel)


def test_several_launch_dates_are_refused(panel: Panel) -> None:
    treated = panel.treated.copy()
    treated[0, 10:] = True
    with pytest.raises(RefusalError, match="needs one launch date"):
        estimate(replace(panel, treated=treated), "augmented-synthetic-control")


def test_penalty_may_be_given_as_text(panel: Panel) -> None:
    answer = estimate(panel, "augmented-synthetic-control", inference="placebo", options={"ridge": "2.5"})
    assert answer.detail["ridge"] == 2.5


def test_the_ridge_part_minimises_its_penalised_objective(panel: Panel) -> None:
    # Lemma 1's other form: augmented weights minimise the imbalance plus the penalised distance from the simplex weights.
    donors, target = history(panel)
    mean = donors.mean(axis=0)
    centred, aim, ridge = donors - mean, target - mean, 1.0
    start = simplex_weights(centred, aim)

    def objective(weights: FloatArray) -> float:
        return float(((aim - weights @ centred) ** 2).sum() / ridge + ((weights - start) ** 2).sum())

    found = minimize(objective, start, method="BFGS", options={"gtol": 1e-10}).x
    np.testing.assert_allclose(found, oracle_weights(donors, target, ridge), atol=1e-6)
