"""Panels of a phased rollout, and least squares with every dummy written out: slow, and obvious."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from causalbench.data.panel import Panel
from causalbench.values import BoolArray, FloatArray


def rollout_panel(
    seed: int = 0,
    *,
    n_units: int = 40,
    n_periods: int = 8,
    launches: tuple[int, ...] = (3, 5, 6),
    n_never: int = 13,
    holes: float = 0.0,
    weights: bool = False,
    n_clusters: int | None = None,
    n_covariates: int = 0,
) -> Panel:
    """Draw a rollout whose effects differ by cohort, period and unit; holes never hit the period before a launch."""
    rng = np.random.default_rng(seed)
    dates = np.array([launches[i % len(launches)] for i in range(n_units - n_never)] + [n_periods] * n_never)
    first = rng.permutation(dates)
    since = np.arange(n_periods) - first[:, None]
    covariates = rng.normal(size=(n_units, n_periods, n_covariates))
    noise = rng.normal(size=(n_units, n_periods)).cumsum(axis=1) / 2
    effect = (since >= 0) * (1 + 0.3 * since + 0.2 * first[:, None] + rng.normal(size=(n_units, 1)))
    outcome = 5 + rng.normal(size=(n_units, 1)) + rng.normal(size=n_periods) + noise + effect
    outcome = outcome + covariates @ np.arange(1, n_covariates + 1)
    outcome[(rng.random(outcome.shape) < holes) & (since != -1) & (np.arange(n_periods) > 0)] = np.nan
    return Panel(
        outcome=outcome,
        treated=since >= 0,
        units=tuple(f"u{i:03d}" for i in range(n_units)),
        periods=tuple(range(2001, 2001 + n_periods)),
        covariates=covariates,
        covariate_names=tuple(f"x{k}" for k in range(n_covariates)),
        weights=rng.uniform(0.5, 3, n_units) if weights else None,
        cluster=None if n_clusters is None else tuple(f"c{i}" for i in rng.integers(n_clusters, size=n_units)),
    )


PANELS: dict[str, dict[str, Any]] = {
    "balanced": {},
    "holes": {"holes": 0.15},
    "weights": {"weights": True},
    "clusters": {"n_clusters": 22},
    "covariates": {"n_covariates": 2},
    "everything": {"holes": 0.15, "weights": True, "n_clusters": 22, "n_covariates": 2},
}


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The cells of a panel as rows."""

    unit: Any
    period: Any
    first: Any
    weight: FloatArray
    cluster: Any
    outcome: FloatArray
    covariates: FloatArray

    @classmethod
    def of(cls, panel: Panel, used: BoolArray | None = None) -> Cells:
        observed = ~np.isnan(panel.outcome)
        unit, period = np.nonzero(observed if used is None else observed & used)
        weights = np.ones(len(panel.units)) if panel.weights is None else panel.weights
        return cls(
            unit=unit,
            period=period,
            first=panel.first_treated[unit],
            weight=weights[unit],
            cluster=panel.cluster_codes[unit],
            outcome=panel.outcome[unit, period],
            covariates=panel.covariates[unit, period],
        )


def dummies(values: Any) -> FloatArray:
    """Return one column per distinct value."""
    return (np.asarray(values)[:, None] == np.unique(values)).astype(float)


@dataclass(frozen=True, kw_only=True)
class LeastSquares:
    coefficients: FloatArray
    residuals: FloatArray
    bread: FloatArray
    design: FloatArray
    weight: FloatArray

    def scores(self) -> FloatArray:
        return self.design * (self.weight * self.residuals)[:, None] @ self.bread


def least_squares(design: FloatArray, outcome: FloatArray, weight: FloatArray) -> LeastSquares:
    """Solve weighted least squares by a singular value decomposition."""
    root = np.sqrt(weight)
    coefficients, *_ = np.linalg.lstsq(design * root[:, None], outcome * root, rcond=1e-11)
    bread = np.linalg.pinv((design * weight[:, None]).T @ design, rcond=1e-11, hermitian=True)
    return LeastSquares(
        coefficients=coefficients,
        residuals=outcome - design @ coefficients,
        bread=bread,
        design=design,
        weight=weight,
    )


def clustered_variance(scores: FloatArray, cluster: Any) -> FloatArray:
    """Add up outer products of the clusters' scores, one cluster after the other."""
    scores = scores.reshape(len(scores), -1)
    sums = [scores[cluster == code].sum(axis=0) for code in np.unique(cluster)]
    return np.asarray(sum(np.outer(total, total) for total in sums))


def relabelled(panel: Panel, order: Any) -> Panel:
    """Return the panel of the units that an order names, under new names."""
    return replace(
        panel,
        units=tuple(f"u{i:03d}" for i in range(len(order))),
        outcome=panel.outcome[order],
        treated=panel.treated[order],
        covariates=panel.covariates[order],
        weights=None if panel.weights is None else panel.weights[order],
        cluster=None if panel.cluster is None else tuple(panel.cluster[i] for i in order),
    )
