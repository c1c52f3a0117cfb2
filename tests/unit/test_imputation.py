"""Imputation against its definition: explicit dummies, explicit weights on every cell, explicit sums over clusters."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rollout_cases import PANELS, Cells, clustered_variance, dummies, least_squares, rollout_panel

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel, staggered_panel
from causalbench.errors import DataError, RefusalError
from causalbench.estimators import Did, Imputation
from causalbench.values import FloatArray
from causalbench.workflow.estimate import estimate

OPTIONS = [
    {"fixed_effects": fixed_effects, "variance": variance}
    for fixed_effects in ("unit", "cluster")
    for variance in ("conservative", "two_stage")
]


class ByHand:
    """Every cell's weight in an average of imputed effects, and the error's parts, with all dummies written out."""

    def __init__(self, panel: Panel, *, fixed_effects: str, variance: str, leads: bool = False) -> None:
        self.rows = rows = Cells.of(panel)
        self.variance = variance
        self.treated = rows.period >= rows.first
        group = rows.unit if fixed_effects == "unit" else rows.cluster
        event_time = np.where(rows.first < len(panel.periods), rows.period - rows.first, -1)
        self.event_time = event_time
        self.lead_times = np.unique(event_time[event_time < -1]) if leads else np.empty(0)
        lead = (event_time[:, None] == self.lead_times).astype(float)
        self.design = np.hstack([lead, dummies(group), dummies(rows.period), rows.covariates])
        free = ~self.treated
        self.fit = least_squares(self.design[free], rows.outcome[free], rows.weight[free])
        self.gap = rows.outcome - self.design @ self.fit.coefficients

    def contributions(self, chosen: Any) -> tuple[float, FloatArray]:
        """Return the average gap of the chosen treated cells and v times epsilon-tilde of every cell."""
        rows = self.rows
        v = np.where(chosen, rows.weight, 0.0)
        v = v / v.sum()
        value = float(v @ self.gap)
        centre = np.full(len(v), value)
        if self.variance == "conservative":
            for first, period in {(f, t) for f, t in zip(rows.first[chosen], rows.period[chosen], strict=True)}:
                cell = chosen & (rows.first == first) & (rows.period == period)
                top = bottom = 0.0
                for code in np.unique(rows.cluster[cell]):
                    own = cell & (rows.cluster == code)
                    top += v[own].sum() * (v[own] @ self.gap[own])
                    bottom += v[own].sum() ** 2
                centre[cell] = top / bottom
        free = ~self.treated
        implied = -self.fit.weight * (self.fit.design @ self.fit.bread @ (self.design.T @ v))
        errors = np.where(chosen, v * (self.gap - centre), 0.0)
        errors[free] += implied * self.fit.residuals
        return value, errors


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", PANELS)
def test_effect_and_variance_are_those_of_the_definition(kind: str, options: dict[str, Any]) -> None:
    panel = rollout_panel(3, **PANELS[kind])
    by_hand = ByHand(panel, **options)
    value, errors = by_hand.contributions(by_hand.treated)
    fit = Imputation(**options).fit(panel)
    assert fit.effect == pytest.approx(value, rel=1e-10)
    assert fit.covariance is not None
    expected = clustered_variance(errors, by_hand.rows.cluster)
    np.testing.assert_allclose(fit.covariance, expected, rtol=1e-8)
    by_unit = np.bincount(by_hand.rows.unit, errors, minlength=len(panel.units))
    np.testing.assert_allclose(fit.influence, by_unit, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", PANELS)
def test_cells_and_summaries_are_averages_of_imputed_effects(kind: str) -> None:
    panel = rollout_panel(4, **PANELS[kind])
    by_hand = ByHand(panel, fixed_effects="unit", variance="conservative")
    rows, detail = by_hand.rows, Imputation().fit(panel).diagnostics
    for row in detail["group_time"]:
        first, period = panel.periods.index(row["cohort"]), panel.periods.index(row["period"])
        chosen = by_hand.treated & (rows.first == first) & (rows.period == period)
        value, errors = by_hand.contributions(chosen)
        assert row["value"] == pytest.approx(value, rel=1e-9)
        assert row["std_error"] == pytest.approx(math.sqrt(clustered_variance(errors, rows.cluster)[0, 0]), rel=1e-8)
    for row in detail["aggregates"]["dynamic"]["by"]:
        value, errors = by_hand.contributions(by_hand.treated & (by_hand.event_time == row["event_time"]))
        assert row["value"] == pytest.approx(value, rel=1e-9)
        assert row["std_error"] == pytest.approx(math.sqrt(clustered_variance(errors, rows.cluster)[0, 0]), rel=1e-8)
    values = [row["value"] for row in detail["aggregates"]["dynamic"]["by"]]
    assert detail["aggregates"]["dynamic"]["value"] == pytest.approx(np.mean(values), rel=1e-10)


@pytest.mark.parametrize("kind", PANELS)
@pytest.mark.parametrize("variance", ["conservative", "two_stage"])
def test_event_study_comes_from_a_regression_of_untreated_cells_on_leads(kind: str, variance: Any) -> None:
    panel = rollout_panel(5, **PANELS[kind])
    by_hand = ByHand(panel, fixed_effects="unit", variance=variance, leads=True)
    study = Imputation(variance=variance).fit(panel).event_study
    assert study is not None
    n_leads = len(by_hand.lead_times)
    scores = np.zeros((len(by_hand.rows.unit), len(study.event_times)))
    scores[~by_hand.treated, :n_leads] = by_hand.fit.scores()[:, :n_leads]
    values = list(by_hand.fit.coefficients[:n_leads])
    for j, e in enumerate(study.event_times[n_leads:]):
        value, scores[:, n_leads + j] = by_hand.contributions(by_hand.treated & (by_hand.event_time == e))
        values.append(value)
    np.testing.assert_array_equal(study.event_times[:n_leads], by_hand.lead_times)
    np.testing.assert_allclose(study.values, values, rtol=1e-8, atol=1e-10)
    expected = clustered_variance(scores, by_hand.rows.cluster)
    np.testing.assert_allclose(study.covariance, expected, rtol=1e-6, atol=1e-12)
    assert study.n_treated.tolist() == [
        int(((by_hand.event_time == e) & (by_hand.rows.first < len(panel.periods))).sum()) for e in study.event_times
    ]


def test_covariates_are_those_of_the_regression_on_untreated_cells() -> None:
    panel = rollout_panel(6, **PANELS["everything"])
    by_hand = ByHand(panel, fixed_effects="unit", variance="conservative")
    found = Imputation().fit(panel).diagnostics["covariates"]
    np.testing.assert_allclose(list(found.values()), by_hand.fit.coefficients[-2:], rtol=1e-9)


def test_collinear_covariate_is_left_out_and_named() -> None:
    panel = rollout_panel(6, n_covariates=1)
    constant = np.broadcast_to(np.arange(40.0)[:, None, None], (40, 8, 1))
    wider = replace(
        panel,
        covariates=np.concatenate([constant, panel.covariates, 2 * panel.covariates + constant], axis=2),
        covariate_names=("size", "x0", "twice"),
    )
    fit, expected = Imputation().fit(wider), Imputation().fit(panel)
    assert fit.effect == pytest.approx(expected.effect, rel=1e-9)
    assert fit.covariance is not None
    assert fit.covariance[0, 0] == pytest.approx(expected.covariance[0, 0], rel=1e-8)  # type: ignore[index]
    assert fit.diagnostics["covariates"]["size"] is None
    assert fit.diagnostics["covariates"]["twice"] is None
    assert any("size, twice" in warning for warning in fit.warnings)


def test_one_launch_date_gives_the_difference_of_mean_changes() -> None:
    panel = factor_panel(n_units=20, n_periods=9, n_treated=8, n_post=4, effect=1.0, rho=0.3, seed=2)
    fit, did = Imputation().fit(panel), Did().fit(panel)
    assert fit.effect == pytest.approx(did.effect, rel=1e-10)
    np.testing.assert_allclose(fit.path.effect, did.path.effect, rtol=0, atol=1e-10)
    assert fit.event_study is not None
    assert did.event_study is not None
    np.testing.assert_allclose(fit.event_study.values, did.event_study.values, rtol=0, atol=1e-10)


def test_without_units_never_treated_the_last_cohort_serves_until_its_launch() -> None:
    panel = rollout_panel(7, n_never=0, launches=(3, 5, 6))
    fit = Imputation().fit(panel)
    cut = panel.only(periods=np.arange(8) < 6)
    assert fit.effect == pytest.approx(Imputation().fit(cut).effect, rel=1e-10)
    assert {row["period"] for row in fit.diagnostics["group_time"]} == {2004, 2005, 2006}
    assert any("2 periods (2007, 2008)" in warning for warning in fit.warnings)
    assert fit.event_study is not None
    assert fit.event_study.event_times.tolist() == [-5, -4, -3, -2, 0, 1, 2]
    n_cells = int(cut.treated.sum())
    assert fit.n_cells == n_cells
    assert np.isnan(fit.path.effect).tolist() == [False] * 6 + [True] * 2


def test_nobody_untreated_after_the_launch_is_refused() -> None:
    panel = rollout_panel(7, n_never=0, launches=(4,))
    with pytest.raises(RefusalError, match="no treated cell can be compared"):
        Imputation().fit(panel)


def test_treated_unit_without_untreated_cell_is_refused_unless_its_cluster_has_one() -> None:
    panel = rollout_panel(8, n_clusters=8)
    unit = int(np.flatnonzero(panel.ever_treated)[0])
    outcome = panel.outcome.copy()
    outcome[unit, : panel.first_treated[unit]] = np.nan
    panel = replace(panel, outcome=outcome)
    with pytest.raises(DataError, match=panel.units[unit]):
        Imputation().fit(panel)
    assert math.isfinite(Imputation(fixed_effects="cluster").fit(panel).effect)


def test_untreated_cells_in_parts_are_refused() -> None:
    panel = rollout_panel(9, n_units=20, launches=(3,), n_never=10)
    outcome = panel.outcome.copy()
    outcome[~panel.ever_treated, :5] = np.nan
    with pytest.raises(RefusalError, match="fall into parts"):
        Imputation().fit(replace(panel, outcome=outcome))


def test_covariate_missing_where_the_outcome_is_filled_in_is_refused() -> None:
    panel = rollout_panel(3, n_covariates=1)
    covariates = panel.covariates.copy()
    covariates[4, 2] = np.nan
    with pytest.raises(DataError, match="covariate 'x0' is missing in 1 cells"):
        Imputation().fit(replace(panel, covariates=covariates))


def test_unit_treated_in_every_period_is_refused() -> None:
    panel = rollout_panel(3)
    treated = panel.treated.copy()
    treated[5] = True
    with pytest.raises(DataError, match="treated from the first period on: u005"):
        Imputation().fit(replace(panel, treated=treated))


def test_missing_treated_cells_are_said() -> None:
    panel = rollout_panel(3, holes=0.15)
    result = estimate(panel, "imputation", on_missing="keep")
    assert any("treated cells have no data" in warning for warning in result.warnings)
    n_cells = int((panel.treated & ~np.isnan(panel.outcome)).sum())
    assert result.detail["incremental"] == pytest.approx(result.value * n_cells)


def test_effects_that_differ_between_cohorts_are_averaged_without_bias() -> None:
    estimates, truths, covered = [], [], []
    for seed in range(200):
        panel = staggered_panel(
            n_units=60, n_periods=10, launches=(3, 5, 8), n_never=20, effect=1.0, growth=0.5, rho=0.3, seed=seed
        )
        since = np.arange(10) - panel.first_treated[:, None]
        truth = (1 + 0.5 * since)[since >= 0].mean()
        result = estimate(panel, "imputation", level=0.9)
        estimates.append(result.value)
        truths.append(truth)
        assert result.interval is not None
        covered.append(result.interval.contains(truth))
    error = np.array(estimates) - truths
    assert abs(error.mean()) < 3 * error.std() / math.sqrt(len(error))
    assert 0.9 - 0.07 < np.mean(covered) <= 0.98  # three Monte Carlo errors below 0.9
