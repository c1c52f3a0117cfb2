"""The interaction-weighted event study against least squares with every dummy written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from rollout_cases import PANELS, Cells, clustered_variance, dummies, least_squares, rollout_panel

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel, staggered_panel
from causalbench.errors import DataError
from causalbench.estimators import Did, GroupTime, SunAbraham
from causalbench.values import FloatArray
from causalbench.workflow.estimate import estimate


class ByHand:
    """Coefficients of every cohort and event time but -1, and the scores of each cell."""

    def __init__(self, panel: Panel) -> None:
        self.rows = rows = Cells.of(panel)
        n_periods = len(panel.periods)
        event_time = np.where(rows.first < n_periods, rows.period - rows.first, -1)
        pairs = {(f, e) for f, e in zip(rows.first, event_time, strict=True) if e != -1}
        self.keys = np.array(sorted(pairs))
        own = [(rows.first == f) & (event_time == e) for f, e in self.keys]
        design = np.column_stack(
            [*own, dummies(rows.unit), dummies(rows.period)[:, 1:], *rows.covariates.T],
        ).astype(float)
        fit = least_squares(design, rows.outcome, rows.weight)
        k = len(self.keys)
        self.values, self.covariates = (
            fit.coefficients[:k],
            fit.coefficients[len(fit.coefficients) - panel.covariates.shape[2] :],
        )
        self.scores = fit.scores()[:, :k]
        self.sizes = np.array([rows.weight[cell].sum() for cell in own])
        self.counts = np.array([cell.sum() for cell in own])
        n_cells, n_clusters = len(rows.unit), len(np.unique(rows.cluster))
        n_columns = k + n_periods - 1 + panel.covariates.shape[2] + 1
        self.factor = n_clusters / (n_clusters - 1) * (n_cells - 1) / (n_cells - n_columns)

    def average(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        weights = weights / weights.sum(axis=0)
        return weights.T @ self.values, self.factor * clustered_variance(self.scores @ weights, self.rows.cluster)


@pytest.mark.parametrize("kind", PANELS)
def test_effect_and_event_study_are_those_of_the_regression(kind: str) -> None:
    panel = rollout_panel(3, **PANELS[kind])
    by_hand, fit = ByHand(panel), SunAbraham().fit(panel)
    value, variance = by_hand.average((by_hand.sizes * (by_hand.keys[:, 1] >= 0))[:, None])
    assert fit.effect == pytest.approx(value[0], rel=1e-9)
    assert fit.covariance is not None
    assert fit.influence is not None
    np.testing.assert_allclose(fit.covariance, variance, rtol=1e-8)
    by_cluster = np.bincount(panel.cluster_codes, fit.influence)
    assert by_hand.factor * (by_cluster**2).sum() == pytest.approx(variance[0, 0], rel=1e-8)
    study = fit.event_study
    assert study is not None
    times = np.unique(by_hand.keys[:, 1])
    np.testing.assert_array_equal(study.event_times, times)
    values, covariance = by_hand.average(by_hand.sizes[:, None] * (by_hand.keys[:, 1][:, None] == times))
    np.testing.assert_allclose(study.values, values, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(study.covariance, covariance, rtol=1e-6, atol=1e-10)
    assert study.n_treated.tolist() == [int(by_hand.counts[by_hand.keys[:, 1] == e].sum()) for e in times]
    np.testing.assert_allclose(list(fit.diagnostics.get("covariates", {}).values()), by_hand.covariates, rtol=1e-9)


def test_cells_have_the_regressions_coefficients_and_errors() -> None:
    panel = rollout_panel(4, **PANELS["everything"])
    by_hand, fit = ByHand(panel), SunAbraham().fit(panel)
    variances = np.diag(by_hand.factor * clustered_variance(by_hand.scores, by_hand.rows.cluster))
    found = {(row["cohort"], row["period"]): row for row in fit.diagnostics["group_time"]}
    for (first, e), value, variance in zip(by_hand.keys, by_hand.values, variances, strict=True):
        if e >= 0:
            row = found.pop((panel.periods[first], panel.periods[first + e]))
            assert row["value"] == pytest.approx(value, rel=1e-8)
            assert row["std_error"] == pytest.approx(math.sqrt(variance), rel=1e-7)
    assert not found


def test_without_covariates_cells_are_those_of_group_time_effects() -> None:
    panel = rollout_panel(5)
    own, other = (method.fit(panel).diagnostics["group_time"] for method in (SunAbraham(), GroupTime()))
    expected = {(row["cohort"], row["period"]): row["value"] for row in other}
    for row in own:
        assert row["value"] == pytest.approx(expected[row["cohort"], row["period"]], rel=1e-9)


def test_one_launch_date_gives_the_event_study_of_did() -> None:
    panel = factor_panel(n_units=20, n_periods=9, n_treated=8, n_post=4, effect=1.0, rho=0.3, seed=2)
    fit, study = SunAbraham().fit(panel), Did(covariance="CRV1").fit(panel).event_study
    assert fit.event_study is not None
    assert study is not None
    np.testing.assert_allclose(fit.event_study.values, study.values, rtol=0, atol=1e-10)
    np.testing.assert_allclose(fit.event_study.covariance, study.covariance, rtol=1e-8)
    assert fit.effect == pytest.approx(study.values[study.event_times >= 0].mean(), rel=1e-10)
    assert fit.path.effect[panel.n_pre - 1] == pytest.approx(0, abs=1e-12)


def test_without_units_never_treated_the_last_cohort_is_the_control() -> None:
    panel = rollout_panel(7, n_never=0)
    fit, cut = SunAbraham().fit(panel), panel.only(periods=np.arange(8) < 6)
    assert fit.effect == pytest.approx(SunAbraham().fit(cut).effect, rel=1e-10)
    assert {row["cohort"] for row in fit.diagnostics["group_time"]} == {2004, 2006}
    assert any("2 periods (2007, 2008)" in warning for warning in fit.warnings)


def test_cohort_without_data_before_its_launch_is_refused() -> None:
    panel = rollout_panel(8)
    outcome = panel.outcome.copy()
    outcome[panel.first_treated == 5, 4] = np.nan
    with pytest.raises(DataError, match="2006"):
        SunAbraham().fit(Panel(outcome=outcome, treated=panel.treated, units=panel.units, periods=panel.periods))


def test_effects_that_differ_between_cohorts_are_averaged_without_bias() -> None:
    errors, covered = [], []
    for seed in range(200):
        panel = staggered_panel(
            n_units=60, n_periods=10, launches=(3, 5, 8), n_never=20, effect=1.0, growth=0.5, rho=0.3, seed=seed
        )
        since = np.arange(10) - panel.first_treated[:, None]
        truth = (1 + 0.5 * since)[since >= 0].mean()
        result = estimate(panel, "sun-abraham", level=0.9)
        errors.append(result.value - truth)
        assert result.interval is not None
        covered.append(result.interval.contains(truth))
    assert abs(np.mean(errors)) < 3 * np.std(errors) / math.sqrt(len(errors))
    assert 0.9 - 0.07 < np.mean(covered) <= 0.98  # three Monte Carlo errors below 0.9
