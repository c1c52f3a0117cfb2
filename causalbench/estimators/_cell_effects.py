"""Effects of group-time cells: from cohort moments, or from units where covariates, weights or missing cells need them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import sparse

from causalbench.data.moments import CohortMoments
from causalbench.data.panel import Panel
from causalbench.errors import CausalbenchError, DataError, RefusalError, listing
from causalbench.numerics.comparisons import Cell
from causalbench.numerics.influence import CohortInfluence, UnitInfluence
from causalbench.numerics.two_period import (
    Comparison,
    Fitted,
    Method,
    Overlap,
    OverlapError,
    UndeterminedError,
    cross_section_effect,
    dependent_columns,
    overlap,
    panel_effect,
    propensity,
)
from causalbench.values import BoolArray, FloatArray, IntArray

Sampling = Literal["panel", "repeated_cross_section"]

_LARGEST_PROPENSITY, _FEWEST_CONTROLS = 0.95, 30  # conventions, not theorems: METHOD_CHOICE, row 11
_ROUNDING = 1e-12


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
    warnings
        What a reader of the effects must know: weak overlap.
    """

    cells: tuple[Cell, ...]
    values: FloatArray
    influence: UnitInfluence | CohortInfluence
    first_treated: IntArray
    counts: IntArray
    shares: FloatArray
    means: FloatArray
    warnings: tuple[str, ...] = ()


def cells_from_moments(moments: CohortMoments, cells: list[Cell]) -> CellEffects:
    r"""Compare cohort means, without looking at any unit.

    .. math:: a_k = (\bar y_{g,t} - \bar y_{g,b}) - (\bar y_{C,t} - \bar y_{C,b})

    with the pooled mean of the control cohorts C. A treated unit contributes its deviation from its cohort's change over
    :math:`n_g`, a control unit less its deviation from the **pooled** change over :math:`n_C`: so cohorts in the pool that
    differ from it contribute a constant too.
    """
    return CellEffects(
        cells=tuple(cells),
        values=cell_values(moments.means, moments.counts, cells),
        influence=_influence(moments, cells),
        first_treated=moments.first_treated,
        counts=moments.counts,
        shares=moments.counts / moments.counts.sum(),
        means=moments.means,
    )


def _influence(moments: CohortMoments, cells: list[Cell]) -> CohortInfluence:
    counts, (n_cohorts, n_periods) = moments.counts, moments.means.shape
    numbers, pool = np.arange(len(cells)), np.zeros((n_cohorts, len(cells)))
    for k, cell in enumerate(cells):
        pool[list(cell.controls), k] = 1.0
    cohort, period, base = np.array([(cell.cohort, cell.period, cell.base) for cell in cells]).reshape(-1, 3).T
    pool /= counts @ pool
    change = moments.means[:, period] - moments.means[:, base]
    constant = -pool * (change - (counts[:, None] * pool * change).sum(axis=0))
    factors = -pool
    factors[cohort, numbers] += 1 / counts[cohort]
    own, column = np.nonzero(factors)
    entries = np.concatenate([factors[own, column], -factors[own, column]])
    rows = np.concatenate([own * n_periods + period[column], own * n_periods + base[column]])
    slope = sparse.csc_array((entries, (rows, np.tile(column, 2))), shape=(n_cohorts * n_periods, len(cells)))
    return CohortInfluence(constant=constant, slope=slope, counts=counts, scatter=moments.scatter)


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
    codes = np.searchsorted(moments.first_treated, panel.first_treated)
    rows = _influence(moments, cells).by_unit(panel.outcome, codes, moments.means)
    influence = UnitInfluence(rows=rows, cohort=codes, weights=np.ones(len(rows)), cluster=panel.cluster_codes)
    return replace(cells_from_moments(moments, cells), influence=influence)


def cells_from_units(panel: Panel, cells: list[Cell], *, method: Method, sampling: Sampling) -> CellEffects:
    """Compare units under covariates, weights and missing cells; cells without treated or control rows are left out.

    Raises
    ------
    DataError
        When a covariate is constant or a combination of others, with its name.
    RefusalError
        When covariates tell treated and control units apart, or there are too few controls, with the cohort and period.
    """
    first, codes, counts = np.unique(panel.first_treated, return_inverse=True, return_counts=True)
    weights = np.ones(len(codes)) if panel.weights is None else panel.weights / panel.weights.mean()
    sample = _Rows(panel=panel, codes=codes, weights=weights, design=_design(panel), method=method, sampling=sampling)
    kept: list[Cell] = []
    values, rows = [], np.empty((len(cells), len(codes)))
    for cell in cells:
        effect = sample.compare(cell)
        if effect is not None:
            rows[len(kept)] = effect.contributions
            kept.append(cell)
            values.append(effect.value)
    return CellEffects(
        cells=tuple(kept),
        values=np.array(values),
        influence=UnitInfluence(rows=rows[: len(kept)].T, cohort=codes, weights=weights, cluster=panel.cluster_codes),
        first_treated=first,
        counts=counts,
        shares=np.bincount(codes, weights=weights) / len(codes),
        means=_means(panel, codes, weights),
        warnings=_weak_overlap(sample.overlaps, panel),
    )


def _means(panel: Panel, codes: IntArray, weights: FloatArray) -> FloatArray:
    """Return the weighted mean outcome by cohort and period, NaN where no unit is observed."""
    known = ~np.isnan(panel.outcome)
    members = sparse.csr_array((weights, (codes, np.arange(len(codes)))))
    sums, sizes = members @ np.where(known, panel.outcome, 0.0), members @ known.astype(float)
    found: FloatArray = np.divide(sums, sizes, out=np.full_like(sums, np.nan), where=sizes > 0)
    return found


def _design(panel: Panel) -> FloatArray:
    """Return a constant and the covariates at mean 0 and standard deviation 1: with a constant, effects stay the same."""
    values = panel.unit_covariates
    spread = values.std(axis=0)
    varies = spread > _ROUNDING * np.abs(values).max(axis=0, initial=0.0)
    scaled = np.where(varies, values - values.mean(axis=0), 0.0) / np.where(varies, spread, 1.0)
    design = np.column_stack([np.ones(len(values)), scaled])
    if problem := _dependence(design, panel.covariate_names):
        raise DataError(
            f"{problem} among the {len(design)} units", code="CB-D042", remedy="drop it from the covariates"
        )
    return design


def _dependence(design: FloatArray, names: tuple[str, ...]) -> str:
    """Say which covariates are constant or combine others; empty where none is, or there are too few rows to tell."""
    if len(design) < design.shape[1]:
        return ""
    found = []
    for column, others in dependent_columns(design).items():
        partners = [repr(names[k - 1]) for k in others if k > 0]
        what = f"a linear combination of {' and '.join(partners)}" if partners else "constant"
        found.append(f"covariate {names[column - 1]!r} is {what}")
    return ", ".join(found)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Compared:
    """The rows of a comparison: their units, outcomes, which are treated and, in cross-sections, which come later."""

    units: IntArray
    outcome: FloatArray
    treated: BoolArray
    after: BoolArray | None = None


class _Rows:
    """The units of a panel, with the propensity fits that cells share, and the overlap found with each."""

    def __init__(
        self,
        *,
        panel: Panel,
        codes: IntArray,
        weights: FloatArray,
        design: FloatArray,
        method: Method,
        sampling: Sampling,
    ) -> None:
        self.panel, self.codes, self.weights, self.design, self.sampling = panel, codes, weights, design, sampling
        self.method: Method = method if panel.covariate_names else "ipw"  # all are differences of means without any
        self.complete = sampling == "panel" and not np.isnan(panel.outcome).any()
        self.fits: dict[tuple[int, tuple[int, ...]], Fitted] = {}
        self.overlaps: list[tuple[Cell, Overlap]] = []

    def compare(self, cell: Cell) -> Comparison | None:
        """Estimate a cell; None where it has no treated or no control rows."""
        rows = self._changes(cell) if self.sampling == "panel" else self._cross_sections(cell)
        if rows is None:
            return None
        design, weights = self.design[rows.units], self.weights[rows.units]
        try:
            odds = self._odds(cell, rows, design, weights)
            if rows.after is None:
                found = panel_effect(rows.outcome, rows.treated, design, weights, method=self.method, odds=odds)
            else:
                found = cross_section_effect(
                    rows.outcome, rows.treated, rows.after, design, weights, method=self.method, odds=odds
                )
        except OverlapError as error:
            raise _failure(error, self.panel, _where(cell, self.codes, self.panel), design, rows.treated) from None
        contributions = np.zeros(len(self.codes))
        np.add.at(contributions, rows.units, found.contributions)
        return Comparison(value=found.value, contributions=contributions)

    def _changes(self, cell: Cell) -> _Compared | None:
        """Return the changes of the units observed in both periods."""
        change = self.panel.outcome[:, cell.period] - self.panel.outcome[:, cell.base]
        units = np.flatnonzero(self._members(cell) & ~np.isnan(change))
        treated = self.codes[units] == cell.cohort
        if treated.all() or not treated.any():
            return None
        return _Compared(units=units, outcome=change[units], treated=treated)

    def _cross_sections(self, cell: Cell) -> _Compared | None:
        """Return all rows of the two periods, whichever units they are of."""
        outcome, members = self.panel.outcome, self._members(cell)
        before, later = (np.flatnonzero(members & ~np.isnan(outcome[:, t])) for t in (cell.base, cell.period))
        units, after = np.concatenate([before, later]), np.repeat([False, True], [len(before), len(later)])
        treated = self.codes[units] == cell.cohort
        if len(np.unique(2 * treated + after)) < 4:
            return None
        values = outcome[units, np.where(after, cell.period, cell.base)]
        return _Compared(units=units, outcome=values, treated=treated, after=after)

    def _members(self, cell: Cell) -> BoolArray:
        wanted = np.zeros(int(self.codes.max()) + 1, dtype=bool)
        wanted[[cell.cohort, *cell.controls]] = True
        members: BoolArray = wanted[self.codes]
        return members

    def _odds(self, cell: Cell, rows: _Compared, design: FloatArray, weights: FloatArray) -> Fitted | None:
        """Fit the propensity once per cohort and pool of controls where every cell is observed."""
        if self.method == "reg" or not self.panel.covariate_names:
            return None
        key = (cell.cohort, cell.controls)
        if self.complete and key in self.fits:
            return self.fits[key]
        odds = propensity(rows.treated, design, weights)
        parts = [np.ones(len(design), dtype=bool)] if rows.after is None else [rows.after, ~rows.after]
        self.overlaps += [(cell, overlap(rows.treated[own], design[own], weights[own], odds)) for own in parts]
        if self.complete:
            self.fits[key] = odds
        return odds


def _where(cell: Cell, codes: IntArray, panel: Panel) -> str:
    launch = panel.first_treated[codes == cell.cohort][0]
    return f"cohort {panel.periods[launch]} at {panel.periods[cell.period]}"


def _failure(error: OverlapError, panel: Panel, where: str, design: FloatArray, treated: BoolArray) -> CausalbenchError:
    """Tell columns to drop, controls too few or too alike for a regression, and groups that covariates tell apart."""
    names, n_columns, controls = panel.covariate_names, design.shape[1], design[~treated]
    if problem := _dependence(design, names):
        return DataError(
            f"{where}: {problem} among the {len(design)} rows compared",
            code="CB-D042",
            remedy="drop it from the covariates, or leave this cohort out",
        )
    alike = _dependence(controls, names)
    if len(controls) < n_columns:
        message = f"{len(controls)} control units can't determine {n_columns} coefficients"
        message += f" (a constant and {len(names)} covariates)"
    elif alike:
        message = f"{alike} among the {len(controls)} control units, but not among the treated"
    else:
        message = str(error)
    separated = not (alike or len(controls) < n_columns or isinstance(error, UndeterminedError))
    remedy = 'leave covariates out, or use method = "reg" if the comparison may extrapolate'
    if not separated:
        remedy = "leave covariates out, or add controls of more kinds"
    return RefusalError(f"{where}: {message}", code="CB-D044", remedy=remedy)


def _weak_overlap(overlaps: list[tuple[Cell, Overlap]], panel: Panel) -> tuple[str, ...]:
    """Warn once of the largest propensity and the fewest effective controls, where either is beyond the convention."""
    if not overlaps:
        return ()
    codes = np.unique(panel.first_treated, return_inverse=True)[1]
    highest, largest = max(overlaps, key=lambda found: found[1].propensity)
    poorest, fewest = min(overlaps, key=lambda found: found[1].effective)
    if largest.propensity <= _LARGEST_PROPENSITY and fewest.effective >= _FEWEST_CONTROLS:
        return ()
    message = (
        f"CB-D044: treated and control units overlap little in their covariates: the largest propensity of a control is "
        f"{largest.propensity:.3f} ({_where(highest, codes, panel)}; by convention at most {_LARGEST_PROPENSITY}), and the "
        f"fewest effective controls are {fewest.effective:.1f} ({_where(poorest, codes, panel)}; by convention at least "
        f'{_FEWEST_CONTROLS}); compare with method = "reg", or leave out units that have no counterpart'
    )
    return (message,)


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
