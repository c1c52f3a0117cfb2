"""The regression of ``did`` against least squares with explicit dummies, and against the programs whose conventions it has."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from linearmodels.panel import PanelOLS
from statsmodels.api import WLS, add_constant

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.estimators import Did
from causalbench.inference import Cluster, Wild


def dummy_regression(panel: Panel) -> tuple[float, float]:
    """Return the effect and its CRV1 variance from y on unit and period dummies and treatment."""
    n_units, n_periods = panel.outcome.shape
    units = np.kron(np.eye(n_units), np.ones((n_periods, 1)))
    periods = np.kron(np.ones((n_units, 1)), np.eye(n_periods))[:, 1:]
    design = np.column_stack([panel.treated.ravel().astype(float), units, periods])
    coefficients, *_ = np.linalg.lstsq(design, panel.outcome.ravel(), rcond=None)
    residuals = (panel.outcome.ravel() - design @ coefficients).reshape(n_units, n_periods)
    bread = np.linalg.inv(design.T @ design)
    scores = [design[i * n_periods : (i + 1) * n_periods].T @ residuals[i] for i in range(n_units)]
    meat = sum(np.outer(score, score) for score in scores)
    # Unit effects are nested in the clusters and aren't counted: treatment, T - 1 period effects and the constant.
    n_cells, n_counted = n_units * n_periods, 1 + n_periods - 1 + 1
    factor = n_units / (n_units - 1) * (n_cells - 1) / (n_cells - n_counted)
    return float(coefficients[0]), float(factor * (bread @ meat @ bread)[0, 0])


@pytest.mark.parametrize(
    ("n_units", "n_periods", "n_treated", "n_post"), [(12, 9, 5, 3), (20, 2, 7, 1), (11, 30, 1, 12)]
)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_regression_with_dummies_gives_the_same_effect_and_variance(
    n_units: int, n_periods: int, n_treated: int, n_post: int, scale: float
) -> None:
    panel = factor_panel(
        n_units=n_units, n_periods=n_periods, n_treated=n_treated, n_post=n_post, effect=1.0, rho=0.5, seed=n_units
    )
    panel = Panel(outcome=scale * panel.outcome, treated=panel.treated, units=panel.units, periods=panel.periods)
    effect, variance = dummy_regression(panel)
    fit = Did(convention="fixest").fit(panel)
    assert fit.effect == pytest.approx(effect, rel=1e-9, abs=0)
    assert fit.covariance is not None
    assert fit.covariance[0, 0] == pytest.approx(variance, rel=1e-8, abs=0)


def test_difference_of_mean_changes_is_the_regression_coefficient() -> None:
    panel = factor_panel(n_units=10, n_periods=12, n_treated=3, n_post=4, effect=2.0, rho=0.3, seed=4)
    change = panel.outcome[:, panel.n_pre :].mean(axis=1) - panel.outcome[:, : panel.n_pre].mean(axis=1)
    by_hand = change[panel.ever_treated].mean() - change[~panel.ever_treated].mean()
    assert dummy_regression(panel)[0] == pytest.approx(by_hand, rel=1e-10)
    assert Did().fit(panel).effect == pytest.approx(by_hand, rel=1e-10)


def drawn_table() -> pd.DataFrame:
    """Draw 24 units in 12 states and 6 periods, of which the first 5 states are treated in the last two."""
    rng = np.random.default_rng(20240)
    state = np.repeat(np.arange(12), 2)
    weight = rng.integers(1, 9, 24).astype(float)
    outcome = rng.standard_normal((24, 1)) + 0.7 * rng.standard_normal((12, 6))[state]
    outcome = np.round(outcome + 0.5 * rng.standard_normal((24, 6)).cumsum(axis=1), 3)
    return pd.DataFrame(
        {
            "unit": np.repeat([f"u{i:02d}" for i in range(24)], 6),
            "state": np.repeat([f"s{i:02d}" for i in state], 6),
            "period": np.tile(np.arange(6), 24),
            "treated": ((state < 5)[:, None] & (np.arange(6) >= 4)).ravel().astype(int),
            "weight": np.repeat(weight, 6),
            "outcome": outcome.ravel(),
        }
    )


def drawn_panel(*, weights: str | None, cluster: str | None) -> Panel:
    return Panel.from_table(
        drawn_table(),
        unit="unit",
        period="period",
        outcome="outcome",
        treatment="treated",
        weights=weights,
        cluster=cluster,
    )


# pyfixest 0.60.0, feols("y ~ d | unit + period", vcov={"CRV1": cluster}, weights=weights), its default ssc
# (k_fixef="nonnested", fixest's "nested"), the same under PYTHONHASHSEED 0 to 3: estimate, standard error, p-value.
PYFIXEST: dict[tuple[str | None, str | None], tuple[float, float, float]] = {
    (None, None): (-0.33747857142857124, 0.4154687052048335, 0.4249566702761527),
    ("weight", None): (-0.4647374312647289, 0.41516499172959953, 0.27452220533291527),
    (None, "state"): (-0.33747857142857124, 0.5204232088577783, 0.5299857235490866),
    ("weight", "state"): (-0.4647374312647289, 0.5163841383452519, 0.3874072025977848),
}
# pyfixest 0.60.0, feols("y ~ i(period, g, ref=3) | unit + period", vcov={"CRV1": cluster}, weights=weights): standard
# errors of periods 0, 1, 2, 4, 5, and the covariances of periods 0 and 4, 4 and 5.
PYFIXEST_EVENTS: dict[tuple[str | None, str | None], tuple[list[float], list[float]]] = {
    (None, None): (
        [0.5315524887494809, 0.38830683634203356, 0.3565764978837049, 0.4234113012048303, 0.4117143037525345],
        [0.04038381944783274, 0.08632488804946194],
    ),
    ("weight", "state"): (
        [0.7426496034828893, 0.4609704147874054, 0.45235941691272374, 0.4610319471105635, 0.5019810393107489],
        [0.028354472090190437, 0.004278623445287327],
    ),
}
every_layout = pytest.mark.parametrize(("weights", "cluster"), list(PYFIXEST))


def wald(panel: Panel, estimator: Did) -> tuple[float, float, float]:
    fit = estimator.fit(panel)
    found = Cluster().infer(estimator, panel, fit, level=0.95, rng=np.random.default_rng(0))
    assert found.std_error is not None
    assert found.p_value is not None
    return fit.effect, found.std_error, found.p_value


@every_layout
def test_fixest_convention_is_pyfixest(weights: str | None, cluster: str | None) -> None:
    found = wald(drawn_panel(weights=weights, cluster=cluster), Did(convention="fixest"))
    assert found == pytest.approx(PYFIXEST[weights, cluster], rel=1e-9)


@pytest.mark.parametrize(("weights", "cluster"), list(PYFIXEST_EVENTS))
def test_event_study_under_the_fixest_convention_is_pyfixest(weights: str | None, cluster: str | None) -> None:
    study = Did(convention="fixest").fit(drawn_panel(weights=weights, cluster=cluster)).event_study
    assert study is not None
    errors, covariances = PYFIXEST_EVENTS[weights, cluster]
    np.testing.assert_allclose(study.std_errors, errors, rtol=1e-9)
    np.testing.assert_allclose([study.covariance[0, 3], study.covariance[3, 4]], covariances, rtol=1e-9)


def test_crv3_is_pyfixest() -> None:
    fit = Did(covariance="CRV3").fit(drawn_panel(weights=None, cluster="state"))
    assert fit.covariance is not None
    # pyfixest 0.60.0, CRV3 by state, ssc(k_adj=False, G_adj=False): the sum without the factor (G - 1) / G.
    assert math.sqrt(fit.covariance[0, 0] * 12 / 11) == pytest.approx(0.5884599813941311, rel=1e-9)


@every_layout
def test_linearmodels_convention_is_panel_ols_at_its_clustered_defaults(
    weights: str | None, cluster: str | None
) -> None:
    table = drawn_table().set_index(["unit", "period"])
    clusters: dict[str, Any] = {"cluster_entity": True}
    if cluster is not None:
        clusters = {"clusters": table[[cluster]].apply(lambda column: column.astype("category").cat.codes)}
    scale = None if weights is None else table[weights]
    model = PanelOLS(table["outcome"], table[["treated"]], weights=scale, entity_effects=True, time_effects=True)
    expected = model.fit(cov_type="clustered", **clusters)
    found = wald(drawn_panel(weights=weights, cluster=cluster), Did(convention="linearmodels"))
    assert found == pytest.approx(
        (expected.params["treated"], expected.std_errors["treated"], expected.pvalues["treated"]), rel=1e-9
    )


@every_layout
def test_stata_convention_is_the_regression_that_xtreg_runs(weights: str | None, cluster: str | None) -> None:
    # xtreg, fe (Methods and formulas) regresses deviations from unit means plus the overall mean on those of the
    # regressors, a constant among them, with the factor of regress, vce(cluster): G / (G - 1) (n - 1) / (n - k), t(G - 1).
    table = drawn_table()
    weight = np.ones(len(table)) if weights is None else table[weights].to_numpy()
    design = np.column_stack([table["treated"], pd.get_dummies(table["period"]).to_numpy(float)[:, 1:]])
    codes = pd.factorize(table["unit"])[0]
    columns = np.column_stack([table["outcome"], design])
    means = np.array([columns[codes == code].mean(axis=0) for code in range(24)])[codes]
    outcome, *regressors = (columns - means + np.average(columns, axis=0, weights=weight)).T
    groups = pd.factorize(table[cluster or "unit"])[0]
    model = WLS(outcome, add_constant(np.array(regressors).T), weights=weight)
    expected = model.fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    found = wald(drawn_panel(weights=weights, cluster=cluster), Did(convention="stata"))
    assert found == pytest.approx((expected.params[1], expected.bse[1], expected.pvalues[1]), rel=1e-9)


@every_layout
def test_did_convention_is_the_sandwich_without_factor_and_normal(weights: str | None, cluster: str | None) -> None:
    table = drawn_table()
    dummies = [pd.get_dummies(table[name]).to_numpy(float) for name in ("unit", "period")]
    design = np.column_stack([table["treated"], dummies[0], dummies[1][:, 1:]])
    weight = np.ones(len(table)) if weights is None else table[weights]
    groups = pd.factorize(table[cluster or "unit"])[0]
    expected = WLS(table["outcome"].to_numpy(), design, weights=weight).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}, use_t=False
    )
    found = wald(drawn_panel(weights=weights, cluster=cluster), Did(convention="did"))
    assert found == pytest.approx((expected.params[0], expected.bse[0], expected.pvalues[0]), rel=1e-9)


def test_wild_p_value_is_wildboottest() -> None:
    panel = drawn_panel(weights=None, cluster="state")
    found = Wild().infer(Did(), panel, Did().fit(panel), level=0.95, rng=np.random.default_rng(0))
    # wildboottest 0.3.2 on y, d and dummies of unit and period, by state, bootstrap_type="11", null imposed, 2^12 draws.
    assert found.p_value == pytest.approx(0.53369140625, abs=1e-12)


@pytest.mark.parametrize(
    ("weights", "std_error"),
    # moderndid 0.2.0, att_gt(est_method="reg", boot=False) on periods 3 and 4, R did's analytic standard error by unit.
    [(None, 0.39974086180268353), ("weight", 0.3286629076210735)],
)
def test_did_convention_is_the_influence_function_of_two_periods(weights: str | None, std_error: float) -> None:
    panel = drawn_panel(weights=weights, cluster=None)
    fit = Did(convention="did").fit(panel.only(periods=np.isin(panel.periods, (3, 4))))
    assert fit.covariance is not None
    assert math.sqrt(fit.covariance[0, 0]) == pytest.approx(std_error, rel=1e-10)
