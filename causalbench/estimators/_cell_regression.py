"""Regressions with a dummy for every treated cell of a rollout, a cohort in a period."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from causalbench.errors import RefusalError, listing
from causalbench.estimators._rollout import CohortEffects, Rollout
from causalbench.numerics.two_way import Regression, Regressors, Rows, regress
from causalbench.values import FloatArray, IntArray

_CONSTANT = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class CellRegression:
    """Effects of the cells, the regression they come from, and mean residuals of the cells without a dummy.

    Attributes
    ----------
    residual_means
        Weighted mean residual by class and period, shape (n_classes, n_periods).
    """

    effects: CohortEffects
    regression: Regression
    residual_means: FloatArray


def cell_regression(rollout: Rollout, *, leads: bool, covariates: FloatArray, moderators: FloatArray) -> CellRegression:
    """Regress on unit and period effects, a dummy of every treated cell, and covariates.

    Parameters
    ----------
    rollout
        The cells.
    leads
        Whether cells before -1 have dummies too, so that effects are measured against -1 alone.
    covariates
        By cell, linear with one coefficient each, shape (n_units, n_periods, k).
    moderators
        By unit, with a slope in every period and for every dummy, shape (n_units, m). Those of dummies are centred at
        the cohort, so that a dummy's coefficient is the effect at its cohort's mean.

    Raises
    ------
    RefusalError
        When holes leave a dummy that can't be told from the others.
    """
    panel = rollout.panel
    members, periods = rollout.cells(leads=leads)
    columns = rollout.period_columns(rollout.used)
    n_columns, n_cells = columns.shape[1], len(members)
    plain = np.zeros((*rollout.sizes.shape, n_columns + n_cells))
    plain[:, :, :n_columns] = columns
    plain[members, periods, n_columns + np.arange(n_cells)] = 1.0
    overall, centred = _moderators(rollout, moderators)
    m = moderators.shape[1]
    rows = Rows(
        outcome=panel.outcome,
        used=rollout.used,
        weights=rollout.weights,
        groups=np.arange(len(panel.units)),
        classes=rollout.classes,
    )
    # Order: periods, dummies, then for each moderator periods and dummies again.
    factor_of = [0] * (n_columns + n_cells) + [f for j in range(m) for f in [1 + j] * n_columns + [1 + m + j] * n_cells]
    regressors = Regressors(
        cells=np.concatenate([plain] * (1 + m), axis=2),
        factors=np.column_stack([np.ones(len(panel.units)), overall, centred]),
        factor_of=np.array(factor_of, dtype=np.int64),
        covariates=np.where(np.isnan(covariates), 0.0, covariates),
    )
    regression = regress(rows, regressors)
    _require_kept(rollout, regression, members, periods, n_columns)
    combinations = _at_cell_means(rollout, members, periods, centred, regressors.n_columns, n_columns)
    sums = rollout.by_class(regression.residuals * rollout.weights[:, None])
    effects = CohortEffects(
        rollout=rollout,
        members=members,
        periods=periods,
        values=combinations.T @ regression.coefficients,
        influence=lambda weights: regression.influence(combinations @ weights),
        factor=small_sample_factor(regression, panel.n_clusters),
    )
    return CellRegression(
        effects=effects,
        regression=regression,
        residual_means=sums / np.where(rollout.sizes > 0, rollout.sizes, 1.0),
    )


def _moderators(rollout: Rollout, moderators: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return moderators in standard deviations, about the overall mean and about the cohort's; exact zeros if constant."""
    weights, classes = rollout.weights[:, None], rollout.classes
    overall = moderators - (weights * moderators).sum(axis=0) / weights.sum()
    spread = np.sqrt((weights * overall**2).sum(axis=0) / weights.sum())
    constant = spread <= _CONSTANT * np.abs(moderators).max(axis=0, initial=0.0)
    overall = np.where(constant, 0.0, overall / np.where(constant, 1.0, spread))
    centred = overall.copy()
    for member in range(len(rollout.launches)):
        own = classes == member
        centred[own] -= (weights[own] * overall[own]).sum(axis=0) / weights[own].sum()
    return overall, np.where(np.abs(centred) <= _CONSTANT, 0.0, centred)


def _at_cell_means(
    rollout: Rollout, members: IntArray, periods: IntArray, centred: FloatArray, n_all: int, n_columns: int
) -> FloatArray:
    """Return the weights of coefficients in each cell's average effect, shape (n_coefficients, K).

    With missing cells the units seen in a cell may have another mean than their cohort, which the slopes account for.
    """
    n_cells = len(members)
    found = np.zeros((n_all, n_cells))
    found[n_columns + np.arange(n_cells), np.arange(n_cells)] = 1.0
    for j in range(centred.shape[1]):
        sums = rollout.by_class(rollout.used * (rollout.weights * centred[:, j])[:, None])
        start = (1 + j) * (n_columns + n_cells) + n_columns
        means = sums[members, periods] / rollout.sizes[members, periods]
        found[start + np.arange(n_cells), np.arange(n_cells)] = means
    return found


def _require_kept(
    rollout: Rollout, regression: Regression, members: IntArray, periods: IntArray, n_columns: int
) -> None:
    """Refuse dummies that can't be told from unit effects and each other, naming them."""
    lost = ~regression.kept[: n_columns + len(members)]
    if not lost.any():
        return
    labels = rollout.panel.periods
    of_period = np.flatnonzero(rollout.used.any(axis=0))[1:][lost[:n_columns]]
    names = [f"period {labels[t]}" for t in of_period]
    names += [
        f"cohort {labels[rollout.launches[m]]} at {labels[t]}"
        for m, t, flag in zip(members, periods, lost[n_columns:], strict=True)
        if flag
    ]
    raise RefusalError(
        f"missing cells leave {len(names)} effects that can't be told from the others: {listing(names)}",
        code="CB-D001",
        remedy='use imputation, or on_missing = "drop_unit"',
    )


def small_sample_factor(regression: Regression, n_clusters: int) -> float:
    r"""Return the factor of CRV1, :math:`\frac{G}{G-1}\cdot\frac{N-1}{N-K}`.

    N counts cells, K the coefficients and a constant; effects of units are nested in the clusters and aren't counted
    (Cameron, Miller 2015, section III.B). NaN where nothing is left to estimate a variance from.
    """
    n_cells, n_columns = int(regression.rows.used.sum()), int(regression.kept.sum()) + 1
    if n_clusters < 2 or n_cells <= n_columns:
        return math.nan
    return n_clusters / (n_clusters - 1) * (n_cells - 1) / (n_cells - n_columns)


def collinear_moderators(found: CellRegression, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return a warning that names moderators without a slope in some period."""
    kept, factor_of = found.regression.kept, found.regression.regressors.factor_of
    lost = [name for j, name in enumerate(names) if not kept[: len(factor_of)][factor_of == 1 + j].all()]
    return (f"covariates without variation beside the others are left out: {listing(lost)}",) if lost else ()


def coefficients_of(regression: Regression, names: tuple[str, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the covariates' coefficients by name, null where collinear, and a warning that names those."""
    n = regression.regressors.cells.shape[2]
    values, kept = regression.coefficients[n:], regression.kept[n:]
    if not names:
        return {}, ()
    found = {name: float(v) if k else None for name, v, k in zip(names, values, kept, strict=True)}
    dropped = [name for name, flag in zip(names, kept, strict=True) if not flag]
    warning = f"covariates without variation beside the other effects are left out: {listing(dropped)}"
    return {"covariates": found}, (warning,) if dropped else ()
