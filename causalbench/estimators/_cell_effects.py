"""Effects of group-time cells: from cohort moments, or from units where covariates, weights or missing cells need them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from causalbench.data.moments import CohortMoments
from causalbench.data.panel import Panel
from causalbench.errors import RefusalError, listing
from causalbench.numerics.comparisons import Cell
from causalbench.numerics.influence import CohortInfluence, UnitInfluence
from causalbench.numerics.two_period import (
    Comparison,
    Fitted,
    Method,
    OverlapError,
    cross_section_effect,
    panel_effect,
    propensity,
)
from causalbench.values import BoolArray, FloatArray, IntArray

Sampling = Literal["panel", "repeated_cross_section"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CellEffects:
    """What group-time effects are made of.

    Attributes
    ----------
    cells, values
        The comparisons and their effects, K of each.
    influence
        What each unit contributes to their errors.
    first_treated, counts
        Index of the first treated period and number of units of every cohort, shape (n_cohorts,).
    shares
        Weight of every cohort in the sample, shape (n_cohorts,); they add up to 1.
    means
        (Weighted) mean outcome by cohort and period, shape (n_cohorts, n_periods).
    """

    cells: tuple[Cell, ...]
    values: FloatArray
    influence: UnitInfluence | CohortInfluence
    first_treated: IntArray
    counts: IntArray
    shares: FloatArray
    means: FloatArray


def cells_from_moments(moments: CohortMoments, cells: list[Cell]) -> CellEffects:
    r"""Compare cohort means, without looking at any unit.

    .. math:: a_k = (\bar y_{g,t} - \bar y_{g,b}) - (\bar y_{C,t} - \bar y_{C,b})

    with the pooled mean of the control cohorts C. A treated unit contributes its deviation from its cohort's change over
    :math:`n_g`, a control unit less its deviation from the **pooled** change over :math:`n_C`: so cohorts in the pool that
    differ from it contribute a constant too.
    """
    n_cohorts, n_periods = moments.means.shape
    counts, means = moments.counts, moments.means
    constant, slope = np.zeros((n_cohorts, len(cells))), np.zeros((n_cohorts, n_periods, len(cells)))
    for k, cell in enumerate(cells):
        pool = list(cell.controls)
        change = means[:, cell.period] - means[:, cell.base]
        n_pool = counts[pool].sum()
        pooled = counts[pool] @ change[pool] / n_pool
        constant[pool, k] = -(change[pool] - pooled) / n_pool
        for column, sign in ((cell.period, 1.0), (cell.base, -1.0)):
            slope[cell.cohort, column, k] = sign / counts[cell.cohort]
            slope[pool, column, k] = -sign / n_pool
    influence = CohortInfluence(constant=constant, slope=slope, counts=counts, scatter=moments.scatter)
    return CellEffects(
        cells=tuple(cells),
        values=cell_values(means, counts, cells),
        influence=influence,
        first_treated=moments.first_treated,
        counts=counts,
        shares=counts / counts.sum(),
        means=means,
    )


def cell_values(means: FloatArray, counts: IntArray, cells: list[Cell]) -> FloatArray:
    """Return the effects of cells for one or many assignments.

    Parameters
    ----------
    means
        Mean outcome by cohort and period, shape (..., n_cohorts, n_periods).
    counts
        Units per cohort, shape (..., n_cohorts).

    Returns
    -------
    numpy.ndarray
        Shape (..., K).
    """
    values = np.empty((*means.shape[:-2], len(cells)))
    for k, cell in enumerate(cells):
        pool = list(cell.controls)
        change = means[..., cell.period] - means[..., cell.base]
        pooled = (counts[..., pool] * change[..., pool]).sum(axis=-1) / counts[..., pool].sum(axis=-1)
        values[..., k] = change[..., cell.cohort] - pooled
    return values


def cells_from_clusters(panel: Panel, moments: CohortMoments, cells: list[Cell]) -> CellEffects:
    """Compare cohort means, keeping what each unit contributes, for clusters that hold several units."""
    found = cells_from_moments(moments, cells)
    assert isinstance(found.influence, CohortInfluence)  # noqa: S101 - as made one line above
    codes = np.searchsorted(moments.first_treated, panel.first_treated)
    rows = found.influence.by_unit(panel.outcome, codes, moments.means)
    influence = UnitInfluence(rows=rows, cohort=codes, weights=np.ones(len(rows)), cluster=panel.cluster_codes)
    return CellEffects(
        cells=found.cells,
        values=found.values,
        influence=influence,
        first_treated=found.first_treated,
        counts=found.counts,
        shares=found.shares,
        means=found.means,
    )


def cells_from_units(panel: Panel, cells: list[Cell], *, method: Method, sampling: Sampling) -> CellEffects:
    """Compare units under covariates, weights and missing cells; cells without treated or control rows are left out.

    Raises
    ------
    RefusalError
        When covariates tell treated and control units apart, with the cohort and period.
    """
    first, codes, counts = np.unique(panel.first_treated, return_inverse=True, return_counts=True)
    weights = np.ones(len(codes)) if panel.weights is None else panel.weights / panel.weights.mean()
    design = np.column_stack([np.ones(len(codes)), panel.unit_covariates])
    sample = _Rows(panel=panel, codes=codes, weights=weights, design=design, method=method)
    kept, effects = [], []
    for cell in cells:
        try:
            effect = sample.changes(cell) if sampling == "panel" else sample.cross_sections(cell)
        except OverlapError as error:
            raise RefusalError(
                f"cohort {panel.periods[first[cell.cohort]]} at {panel.periods[cell.period]}: {error}",
                code="CB-D044",
                remedy='leave covariates out, or use method = "reg" if the comparison may extrapolate',
            ) from None
        if effect is not None:
            kept.append(cell)
            effects.append(effect)
    known = ~np.isnan(panel.outcome)
    sums, sizes = np.zeros((len(first), len(panel.periods))), np.zeros((len(first), len(panel.periods)))
    np.add.at(sums, codes, np.where(known, panel.outcome, 0.0) * weights[:, None])
    np.add.at(sizes, codes, known * weights[:, None])
    return CellEffects(
        cells=tuple(kept),
        values=np.array([effect.value for effect in effects]),
        influence=UnitInfluence(
            rows=np.column_stack([effect.contributions for effect in effects])
            if effects
            else np.empty((len(codes), 0)),
            cohort=codes,
            weights=weights,
            cluster=panel.cluster_codes,
        ),
        first_treated=first,
        counts=counts,
        shares=np.bincount(codes, weights=weights) / len(codes),
        means=np.divide(sums, sizes, out=np.full_like(sums, np.nan), where=sizes > 0),
    )


class _Rows:
    """The units of a panel, with the propensity fits that cells share."""

    def __init__(
        self, *, panel: Panel, codes: IntArray, weights: FloatArray, design: FloatArray, method: Method
    ) -> None:
        self.panel, self.codes, self.weights, self.design, self.method = panel, codes, weights, design, method
        self.complete = not np.isnan(panel.outcome).any()
        self.fits: dict[tuple[int, tuple[int, ...]], Fitted] = {}

    def changes(self, cell: Cell) -> Comparison | None:
        """Compare changes of the units observed in both periods."""
        change = self.panel.outcome[:, cell.period] - self.panel.outcome[:, cell.base]
        rows = self._members(cell) & ~np.isnan(change)
        treated = self.codes[rows] == cell.cohort
        if treated.all() or not treated.any():
            return None
        design, weights = self.design[rows], self.weights[rows]
        odds = self._odds(cell, treated, design, weights)
        found = panel_effect(change[rows], treated, design, weights, method=self.method, odds=odds)
        return self._spread(found, np.flatnonzero(rows))

    def cross_sections(self, cell: Cell) -> Comparison | None:
        """Compare all rows of the two periods, whichever units they are of."""
        outcome, members = self.panel.outcome, self._members(cell)
        unit, after = [], []
        for column, is_after in ((cell.base, False), (cell.period, True)):
            here = np.flatnonzero(members & ~np.isnan(outcome[:, column]))
            unit.append(here)
            after.append(np.full(len(here), is_after))
        rows, later = np.concatenate(unit), np.concatenate(after)
        treated = self.codes[rows] == cell.cohort
        if len(set(zip(treated.tolist(), later.tolist(), strict=True))) < 4:
            return None
        design, weights = self.design[rows], self.weights[rows]
        odds = None if self.method == "reg" else propensity(treated, design, weights)
        values = outcome[rows, np.where(later, cell.period, cell.base)]
        found = cross_section_effect(values, treated, later, design, weights, method=self.method, odds=odds)
        return self._spread(found, rows)

    def _members(self, cell: Cell) -> BoolArray:
        members: BoolArray = np.isin(self.codes, [cell.cohort, *cell.controls])
        return members

    def _odds(self, cell: Cell, treated: BoolArray, design: FloatArray, weights: FloatArray) -> Fitted | None:
        """Fit the propensity once per cohort and pool of controls where every cell is observed."""
        if self.method == "reg":
            return None
        if not self.complete:
            return propensity(treated, design, weights)
        key = (cell.cohort, cell.controls)
        if key not in self.fits:
            self.fits[key] = propensity(treated, design, weights)
        return self.fits[key]

    def _spread(self, found: Comparison, rows: IntArray) -> Comparison:
        """Place the rows' contributions at their units."""
        contributions = np.zeros(len(self.codes))
        np.add.at(contributions, rows, found.contributions)
        return Comparison(value=found.value, contributions=contributions)


def unestimated(cells: tuple[Cell, ...], first_treated: IntArray, n_periods: int, periods: tuple[object, ...]) -> str:
    """Name the treated cells that no comparison covers; empty when there are none."""
    covered = {(cell.cohort, cell.period) for cell in cells}
    missing = [
        f"{periods[launch]} at {periods[period]}"
        for cohort, launch in enumerate(first_treated.tolist())
        for period in range(launch, n_periods)
        if (cohort, period) not in covered
    ]
    return f"{len(missing)} treated cells (cohort at period: {listing(missing)})" if missing else ""
