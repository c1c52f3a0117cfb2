"""Extended two-way fixed effects against least squares with every dummy and interaction written out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rollout_cases import PANELS, Cells, clustered_variance, dummies, least_squares, rollout_panel

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel, staggered_panel
from causalbench.estimators import Did, ExtendedTwoWay, Imputation, SunAbraham
from causalbench.values import FloatArray
from causalbench.workflow.estimate import estimate


def unit_covariates(panel: Panel, seed: int = 0) -> Panel:
    """Give every unit a covariate that its trend and its effect depend on."""
    size = np.random.default_rng(seed).normal(3, 2, size=(len(panel.units), 1))
    outcome = panel.outcome + 0.3 * size * np.arange(len(panel.periods)) + 0.2 * size * panel.treated
    cells = np.broadcast_to(size[:, :, None], (*outcome.shape, 1))
    return replace(panel, outcome=outcome, covariates=cells, covariate_names=("size",))


def cases() -> dict[str, Panel]:
    plain = {kind: rollout_panel(3, **PANELS[kind]) for kind in ("balanced", "holes", "weights", "clusters")}
    wide = rollout_panel(3, holes=0.15, weights=True, n_clusters=22)
    return {**plain, "covariate": unit_covariates(rollout_panel(3)), "everything": unit_covariates(wide)}


CASES = cases()


class ByHand:
    """Coefficients of every treated cell, at the mean covariate of the units seen in it."""

    def __init__(self, panel: Panel, *, leads: bool = False) -> None:
        self.rows = rows = Cells.of(panel)
        n_periods = len(panel.periods)
        event_time = np.where(rows.first < n_periods, rows.period - rows.first, -1)
        keep = (event_time >= 0) | ((event_time < -1) & leads)
        self.keys = np.array(sorted({(f, e) for f, e in zip(rows.first[keep], event_time[keep], strict=True)}))
        own = np.column_stack([(rows.first == f) & (event_time == e) for f, e in self.keys]).astype(float)
        self.sizes = rows.weight @ own
        centred = [x[:, None] * own for x in rows.covariates.T]
        # Centring at the mean of each cell itself makes the dummy's coefficient the cell's average effect.
        centred = [c - own * ((rows.weight @ c) / self.sizes) for c in centred]
        periods = dummies(rows.period)[:, 1:]
        trends = [x[:, None] * periods for x in rows.covariates.T]
        design = np.hstack([own, periods, *trends, *centred, dummies(rows.unit)])
        fit = least_squares(design, rows.outcome, rows.weight)
        k = own.shape[1]
        self.values, self.scores = fit.coefficients[:k], fit.scores()[:, :k]
        n_cells, n_clusters = len(rows.unit), len(np.unique(rows.cluster))
        n_columns = (k + n_periods - 1) * (1 + panel.covariates.shape[2]) + 1
        self.factor = n_clusters / (n_clusters - 1) * (n_cells - 1) / (n_cells - n_columns)

    def average(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        weights = weights / weights.sum(axis=0)
        return weights.T @ self.values, self.factor * clustered_variance(self.scores @ weights, self.rows.cluster)


@pytest.mark.parametrize("kind", CASES)
def test_effect_and_variance_are_those_of_the_regression(kind: str) -> None:
    panel = CASES[kind]
    by_hand, fit = ByHand(panel), ExtendedTwoWay().fit(panel)
    value, variance = by_hand.average(by_hand.sizes[:, None])
    assert fit.effect == pytest.approx(value[0], rel=1e-9)
    assert fit.covariance is not None
    np.testing.assert_allclose(fit.covariance, variance, rtol=1e-8)
    found = {(row["cohort"], row["period"]): row for row in fit.diagnostics["group_time"]}
    variances = np.diag(by_hand.factor * clustered_variance(by_hand.scores, by_hand.rows.cluster))
    for (first, e), value, variance in zip(by_hand.keys, by_hand.values, variances, strict=True):
        row = found.pop((panel.periods[first], panel.periods[first + e]))
        assert row["value"] == pytest.approx(value, rel=1e-8, abs=1e-10)
        assert row["std_error"] == pytest.approx(math.sqrt(variance), rel=1e-7)
    assert not found


@pytest.mark.parametrize("kind", CASES)
def test_event_study_is_that_of_the_regression_with_leads(kind: str) -> None:
    panel = CASES[kind]
    by_hand, study = ByHand(panel, leads=True), ExtendedTwoWay().fit(panel).event_study
    assert study is not None
    times = np.unique(by_hand.keys[:, 1])
    np.testing.assert_array_equal(study.event_times, times)
    values, covariance = by_hand.average(by_hand.sizes[:, None] * (by_hand.keys[:, 1][:, None] == times))
    np.testing.assert_allclose(study.values, values, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(study.covariance, covariance, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("weights", [False, True])
def test_every_cell_equals_imputation_where_no_cell_is_missing(seed: int, weights: Any) -> None:
    """Wooldridge (2025): the regression and the imputation estimate are one."""
    panel = rollout_panel(seed, weights=weights)
    own, other = ExtendedTwoWay().fit(panel), Imputation().fit(panel)
    assert own.effect == pytest.approx(other.effect, rel=1e-10)
    pairs = zip(own.diagnostics["group_time"], other.diagnostics["group_time"], strict=True)
    assert all(a["value"] == pytest.approx(b["value"], rel=1e-9) for a, b in pairs)
    np.testing.assert_allclose(own.path.effect, other.path.effect, rtol=0, atol=1e-10)


def test_moderating_covariate_equals_imputation_with_its_slope_in_every_period() -> None:
    panel = unit_covariates(rollout_panel(4))
    slopes = panel.covariates * np.eye(8)[:, 1:]
    other = replace(panel, covariates=slopes, covariate_names=tuple(f"size in {t}" for t in range(7)))
    assert ExtendedTwoWay().fit(panel).effect == pytest.approx(Imputation().fit(other).effect, rel=1e-9)


@pytest.mark.parametrize("kind", ["balanced", "holes", "weights", "clusters"])
def test_event_study_without_covariates_is_that_of_sun_and_abraham(kind: str) -> None:
    own, other = (method.fit(CASES[kind]).event_study for method in (ExtendedTwoWay(), SunAbraham()))
    assert own is not None
    assert other is not None
    np.testing.assert_allclose(own.values, other.values, rtol=1e-10)
    np.testing.assert_allclose(own.covariance, other.covariance, rtol=1e-10)


def test_one_launch_date_gives_the_difference_of_mean_changes() -> None:
    panel = factor_panel(n_units=20, n_periods=9, n_treated=8, n_post=4, effect=1.0, rho=0.3, seed=2)
    fit, did = ExtendedTwoWay().fit(panel), Did().fit(panel)
    assert fit.effect == pytest.approx(did.effect, rel=1e-10)
    np.testing.assert_allclose(fit.path.effect, did.path.effect, rtol=0, atol=1e-10)


def test_constant_covariate_is_left_out_and_named() -> None:
    panel = rollout_panel(4)
    constant = replace(panel, covariates=np.full((*panel.outcome.shape, 1), 0.1), covariate_names=("size",))
    fit = ExtendedTwoWay().fit(constant)
    assert fit.effect == pytest.approx(ExtendedTwoWay().fit(panel).effect, rel=1e-10)
    assert any("left out: size" in warning for warning in fit.warnings)


def test_size_of_covariates_does_not_matter() -> None:
    panel = unit_covariates(rollout_panel(4))
    larger = replace(panel, covariates=1e7 + 1e3 * panel.covariates)
    own, other = ExtendedTwoWay().fit(panel), ExtendedTwoWay().fit(larger)
    assert own.effect == pytest.approx(other.effect, rel=1e-7)


def test_without_units_never_treated_the_last_cohort_serves_until_its_launch() -> None:
    panel = rollout_panel(7, n_never=0)
    fit, cut = ExtendedTwoWay().fit(panel), panel.only(periods=np.arange(8) < 6)
    assert fit.effect == pytest.approx(ExtendedTwoWay().fit(cut).effect, rel=1e-10)
    assert any("2 periods (2007, 2008)" in warning for warning in fit.warnings)


def test_effects_that_differ_between_cohorts_are_averaged_without_bias() -> None:
    errors, covered = [], []
    for seed in range(200):
        panel = staggered_panel(
            n_units=60, n_periods=10, launches=(3, 5, 8), n_never=20, effect=1.0, growth=0.5, rho=0.3, seed=seed
        )
        since = np.arange(10) - panel.first_treated[:, None]
        truth = (1 + 0.5 * since)[since >= 0].mean()
        result = estimate(panel, "extended-two-way", level=0.9)
        errors.append(result.value - truth)
        assert result.interval is not None
        covered.append(result.interval.contains(truth))
    assert abs(np.mean(errors)) < 3 * np.std(errors) / math.sqrt(len(errors))
    assert 0.9 - 0.07 < np.mean(covered) <= 0.98  # three Monte Carlo errors below 0.9
