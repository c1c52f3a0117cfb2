"""Clustered covariances from contributions of units against the long regression with explicit dummies."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from causalbench.data.panel import Panel
from causalbench.errors import StudyError
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.estimators import Did
from causalbench.numerics.covariance import arms, small_sample, t_p_value, t_quantile, uniform_quantile
from causalbench.values import EventStudy, FloatArray

N_UNITS, N_PERIODS, N_PRE = 14, 5, 3

# Clusters of each panel: units themselves; whole clusters treated; clusters of several sizes with both arms in some.
CLUSTERS = {
    "units": np.arange(N_UNITS),
    "nested": np.repeat(np.arange(7), 2),
    "mixed": np.array([0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 5, 5, 6]),
}
TREATED = {
    "units": np.arange(N_UNITS) < 5,
    "nested": np.arange(N_UNITS) < 6,
    "mixed": np.arange(N_UNITS) % 3 == 0,
}
every_layout = pytest.mark.parametrize("layout", list(CLUSTERS))
weighted_or_not = pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])


def draw_panel(layout: str, *, weighted: bool, seed: int = 0) -> Panel:
    rng = np.random.default_rng(seed)
    codes, treated = CLUSTERS[layout], TREATED[layout]
    noise = rng.standard_normal((codes.max() + 1, N_PERIODS))[codes] + rng.standard_normal((N_UNITS, N_PERIODS))
    return Panel(
        outcome=100 + noise.cumsum(axis=1),
        treated=treated[:, None] & (np.arange(N_PERIODS) >= N_PRE),
        units=tuple(f"u{i:02d}" for i in range(N_UNITS)),
        periods=tuple(range(N_PERIODS)),
        weights=rng.integers(1, 9, N_UNITS).astype(float) if weighted else None,
        cluster=None if layout == "units" else tuple(f"c{code}" for code in codes),
    )


class LongRegression:
    """Least squares on treatment, unit dummies and period dummies, row by row."""

    def __init__(self, panel: Panel, *, by_event_time: bool) -> None:
        n_units, n_periods = panel.outcome.shape
        units = np.kron(np.eye(n_units), np.ones((n_periods, 1)))
        periods = np.kron(np.ones((n_units, 1)), np.eye(n_periods))
        if by_event_time:
            others = np.arange(n_periods) != panel.n_pre - 1
            terms = periods[:, others] * np.repeat(panel.ever_treated, n_periods)[:, None]
        else:
            terms = panel.treated.ravel().astype(float)[:, None]
        weights = np.ones(n_units) if panel.weights is None else panel.weights
        root = np.sqrt(np.repeat(weights, n_periods))[:, None]
        self.n_terms = terms.shape[1]
        self.design = np.column_stack([terms, units, periods[:, 1:]]) * root
        self.target = panel.outcome.ravel() * root[:, 0]
        self.cluster = np.repeat(panel.cluster_codes, n_periods)
        self.n_clusters = panel.n_clusters
        self.bread = np.linalg.inv(self.design.T @ self.design)
        self.coefficients = self.bread @ self.design.T @ self.target
        self.residuals = self.target - self.design @ self.coefficients

    def rows(self) -> list[Any]:
        return [np.flatnonzero(self.cluster == g) for g in range(self.n_clusters)]

    def terms(self, covariance: FloatArray) -> FloatArray:
        return covariance[: self.n_terms, : self.n_terms]

    def crv1(self) -> FloatArray:
        scores = np.array([self.design[g].T @ self.residuals[g] for g in self.rows()])
        return self.terms(self.bread @ scores.T @ scores @ self.bread)

    def crv2(self) -> tuple[FloatArray, float]:
        """Return CRV2 with generalized inverses, and Satterthwaite's degrees of freedom of the first term."""
        residual_maker = np.eye(len(self.target)) - self.design @ self.bread @ self.design.T
        scores, directions = [], []
        for g in self.rows():
            values, vectors = np.linalg.eigh(residual_maker[np.ix_(g, g)])
            roots = np.array([1 / math.sqrt(value) if value > 1e-9 else 0.0 for value in values])
            adjusted = self.bread @ self.design[g].T @ (vectors * roots) @ vectors.T
            scores.append(adjusted @ self.residuals[g])
            directions.append(residual_maker[:, g] @ adjusted[0])
        covariance = np.array(scores).T @ np.array(scores)
        omega = np.array(directions) @ np.array(directions).T
        return self.terms(covariance), float(np.trace(omega) ** 2 / np.trace(omega @ omega))

    def crv3(self) -> FloatArray:
        """Fit again without each cluster."""
        changes = []
        for g in self.rows():
            kept = np.setdiff1d(np.arange(len(self.target)), g)
            again, *_ = np.linalg.lstsq(self.design[kept], self.target[kept], rcond=None)
            changes.append((again - self.coefficients)[: self.n_terms])
        n = self.n_clusters
        return (n - 1) / n * np.array(changes).T @ np.array(changes)


def event_study(panel: Panel, estimator: Did) -> EventStudy:
    study = estimator.fit(panel).event_study
    assert study is not None
    return study


@every_layout
@weighted_or_not
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_crv2_and_its_degrees_of_freedom_are_those_of_the_long_regression(
    layout: str, weighted: bool, scale: float
) -> None:
    panel = draw_panel(layout, weighted=weighted)
    panel = replace(panel, outcome=scale * panel.outcome)
    covariance, df = LongRegression(panel, by_event_time=False).crv2()
    fit = Did(covariance="CRV2").fit(panel)
    np.testing.assert_allclose(fit.covariance, covariance, rtol=1e-7)
    assert fit.diagnostics["df"] == pytest.approx(df, rel=1e-9)


@every_layout
@weighted_or_not
def test_crv1_without_factor_is_the_plain_sandwich(layout: str, weighted: bool) -> None:
    panel = draw_panel(layout, weighted=weighted)
    long = LongRegression(panel, by_event_time=False)
    fit = Did(convention="did").fit(panel)
    assert fit.effect == pytest.approx(long.coefficients[0], rel=1e-9)
    np.testing.assert_allclose(fit.covariance, long.crv1(), rtol=1e-8)
    assert fit.influence is not None
    clusters = np.bincount(panel.cluster_codes, fit.influence)
    assert (clusters**2).sum() == pytest.approx(long.crv1()[0, 0], rel=1e-8)
    assert fit.influence.sum() == pytest.approx(0, abs=1e-12)


@every_layout
@weighted_or_not
def test_crv3_is_the_jackknife_over_clusters(layout: str, weighted: bool) -> None:
    panel = draw_panel(layout, weighted=weighted)
    covariance = LongRegression(panel, by_event_time=False).crv3()
    np.testing.assert_allclose(Did(covariance="CRV3").fit(panel).covariance, covariance, rtol=1e-8)


@pytest.mark.parametrize("layout", ["units", "mixed"])
@weighted_or_not
def test_event_study_is_that_of_the_long_regression(layout: str, weighted: bool) -> None:
    panel = draw_panel(layout, weighted=weighted, seed=3)
    long = LongRegression(panel, by_event_time=True)
    plain = event_study(panel, Did(convention="did"))
    assert (plain.event_times.tolist(), plain.reference) == ([-3, -2, 0, 1], -1)
    assert plain.n_treated.tolist() == [int(panel.ever_treated.sum())] * 4
    np.testing.assert_allclose(plain.values, long.coefficients[:4], rtol=1e-9)
    np.testing.assert_allclose(plain.covariance, long.crv1(), rtol=1e-7)
    np.testing.assert_allclose(event_study(panel, Did(covariance="CRV2")).covariance, long.crv2()[0], rtol=1e-7)
    np.testing.assert_allclose(event_study(panel, Did(covariance="CRV3")).covariance, long.crv3(), rtol=1e-7)


def test_event_study_averages_to_the_effect_relative_to_the_pre_mean() -> None:
    panel = draw_panel("units", weighted=True)
    study = event_study(panel, Did())
    before = np.append(study.values[study.event_times < 0], 0.0).mean()
    effect = study.values[study.event_times >= 0].mean() - before
    assert Did().fit(panel).effect == pytest.approx(effect, rel=1e-10)


def test_event_study_of_few_treated_clusters_has_values_without_covariance() -> None:
    study = event_study(draw_panel("nested", weighted=False), Did())
    assert np.isfinite(study.values).all()
    assert np.isnan(study.covariance).all()


def test_one_treated_cluster_adds_nothing_by_the_generalized_inverse() -> None:
    panel = draw_panel("units", weighted=False)
    panel = replace(panel, treated=np.where(np.arange(N_UNITS)[:, None] == 2, panel.treated[[0]], False))
    covariance, df = LongRegression(panel, by_event_time=False).crv2()
    fit = Did(covariance="CRV2").fit(panel)
    np.testing.assert_allclose(fit.covariance, covariance, rtol=1e-7)
    assert fit.diagnostics["df"] == pytest.approx(df, rel=1e-9)


def test_crv2_of_units_is_the_variance_of_two_means() -> None:
    rng = np.random.default_rng(5)
    first, second = rng.standard_normal(4), rng.standard_normal(9)
    sides = arms(np.arange(13) < 4, weights=None, codes=np.arange(13), n_clusters=13)
    psi = sides.influence(np.append(first, second)[:, None])
    expected = first.var(ddof=1) / 4 + second.var(ddof=1) / 9
    assert sides.covariance(psi, "CRV2")[0, 0] == pytest.approx(expected, rel=1e-12)
    # Imbens, Kolesar (2016): degrees of freedom of Bell and McCaffrey for two means of equal variance.
    df = (1 / 4 + 1 / 9) ** 2 / (1 / (4**2 * 3) + 1 / (9**2 * 8))
    assert sides.satterthwaite() == pytest.approx(df, rel=1e-12)


@pytest.mark.parametrize("covariance", ["CRV1", "CRV2", "CRV3"])
def test_order_and_names_of_clusters_do_not_matter(covariance: Any) -> None:
    panel = draw_panel("mixed", weighted=True)
    order = np.random.default_rng(1).permutation(N_UNITS)
    assert panel.cluster is not None
    assert panel.weights is not None
    other = replace(
        panel,
        outcome=panel.outcome[order],
        treated=panel.treated[order],
        weights=1000 * panel.weights[order],
        cluster=tuple(panel.cluster[i][::-1] for i in order),
    )
    found, expected = Did(covariance=covariance).fit(other), Did(covariance=covariance).fit(panel)
    np.testing.assert_allclose(found.covariance, expected.covariance, rtol=1e-10)
    assert found.diagnostics["df"] == pytest.approx(expected.diagnostics["df"], rel=1e-10)


def test_convention_goes_with_crv1_alone() -> None:
    assert Did(convention="stata", covariance="CRV1").fit(draw_panel("units", weighted=False)).covariance is not None
    with pytest.raises(ValueError, match="convention belongs to covariance CRV1, CRV2 has corrections of its own"):
        Did(convention="stata", covariance="CRV2")
    with pytest.raises(StudyError, match="convention belongs to covariance CRV1"):
        ESTIMATORS.create("did", {"convention": "did", "covariance": "CRV3"})


def test_factor_of_a_saturated_regression_is_not_a_number() -> None:
    assert math.isnan(small_sample("linearmodels", n_units=2, n_periods=2, n_regressors=1, n_clusters=2)[0])


def test_quantiles_are_normal_where_degrees_of_freedom_are_infinite() -> None:
    assert t_quantile(0.95, math.inf) == pytest.approx(1.959963984540054, rel=1e-12)  # normal quantile
    assert t_quantile(0.95, 10) == pytest.approx(2.2281388519649385, rel=1e-10)  # t quantile, 10 degrees of freedom
    assert t_p_value(-1.959963984540054, math.inf) == pytest.approx(0.05, rel=1e-10)


@pytest.mark.parametrize("df", [6.0, math.inf])
def test_uniform_quantile_of_independent_estimates(df: float) -> None:
    drawn = uniform_quantile(np.eye(5), 0.9, df=df, n_draws=200_000, rng=np.random.default_rng(0))
    if math.isinf(df):
        assert drawn == pytest.approx(t_quantile(0.9 ** (1 / 5), df), abs=0.01)  # the maximum's law is a power
    assert t_quantile(0.9, df) < drawn < t_quantile(1 - 0.1 / 5, df) + 0.02  # between one estimate and Bonferroni


def test_uniform_quantile_of_one_estimate_repeated_is_its_own() -> None:
    found = uniform_quantile(np.ones((4, 4)), 0.9, df=9.0, n_draws=100_000, rng=np.random.default_rng(0))
    assert found == pytest.approx(t_quantile(0.9, 9.0), rel=0.02)
    assert found >= t_quantile(0.9, 9.0)
