"""The regression of ``did`` against least squares with explicit dummies and a sandwich written by hand."""

from __future__ import annotations

import numpy as np
import pytest

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.estimators import Did


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
    fit = Did().fit(panel)
    assert fit.effect == pytest.approx(effect, rel=1e-9, abs=0)
    assert fit.covariance is not None
    assert fit.covariance[0, 0] == pytest.approx(variance, rel=1e-8, abs=0)


def test_difference_of_mean_changes_is_the_regression_coefficient() -> None:
    panel = factor_panel(n_units=10, n_periods=12, n_treated=3, n_post=4, effect=2.0, rho=0.3, seed=4)
    change = panel.outcome[:, panel.n_pre :].mean(axis=1) - panel.outcome[:, : panel.n_pre].mean(axis=1)
    by_hand = change[panel.ever_treated].mean() - change[~panel.ever_treated].mean()
    assert dummy_regression(panel)[0] == pytest.approx(by_hand, rel=1e-10)
    assert Did().fit(panel).effect == pytest.approx(by_hand, rel=1e-10)
