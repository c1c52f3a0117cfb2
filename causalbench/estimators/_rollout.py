"""What estimators of a phased rollout share: the cells they may use, and how effects by cohort and period become a fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError, listing
from causalbench.numerics.two_way import cluster_sums, clustered
from causalbench.protocols import FEW_CLUSTERS
from causalbench.values import BoolArray, EffectPath, EventStudy, Fit, FloatArray, IntArray

_AT_ONCE = 128


@dataclass(frozen=True, kw_only=True, eq=False)
class Rollout:
    """The cells of a panel that effects can be estimated from.

    Attributes
    ----------
    panel
        As it was given.
    used
        Observed cells in periods with an observed untreated unit, shape (n_units, n_periods).
    first_treated
        Index of each unit's first treated period; n_periods where no used period is treated. Shape (n_units,).
    """

    panel: Panel
    used: BoolArray
    first_treated: IntArray

    @classmethod
    def of(cls, panel: Panel) -> Rollout:
        """Leave out the periods in which nobody is untreated any more.

        Raises
        ------
        DataError
            When a unit is treated in every period, or a covariate is missing where the outcome isn't.
        RefusalError
            When no treated cell is left.
        """
        observed = ~np.isnan(panel.outcome)
        _require_usable(panel, observed)
        comparable = (observed & ~panel.treated).any(axis=0)
        used = observed & comparable
        if not (used & panel.treated).any():
            raise RefusalError(
                "no treated cell can be compared: in every period after a launch all units with data are treated",
                code="CB-D024",
                remedy="add units that never got the launch, or that got it later",
            )
        last = int(np.flatnonzero(comparable).max())
        first = np.where(panel.first_treated > last, len(panel.periods), panel.first_treated)
        return cls(panel=panel, used=used, first_treated=first)

    @cached_property
    def weights(self) -> FloatArray:
        """Weight of each unit, 1 where the panel has none; shape (n_units,)."""
        return np.ones(len(self.panel.units)) if self.panel.weights is None else self.panel.weights

    @cached_property
    def launches(self) -> IntArray:
        """Distinct values of ``first_treated``, ascending, shape (n_classes,)."""
        return np.unique(self.first_treated)

    @cached_property
    def classes(self) -> IntArray:
        """Number of each unit's cohort in ``launches``, shape (n_units,)."""
        return np.searchsorted(self.launches, self.first_treated)

    @cached_property
    def sizes(self) -> FloatArray:
        """Summed weights of the units observed, by class and period, shape (n_classes, n_periods)."""
        return self.by_class(self.used * self.weights[:, None])

    @cached_property
    def counts(self) -> IntArray:
        """Number of units observed, by class and period, shape (n_classes, n_periods)."""
        return self.by_class(self.used.astype(float)).astype(np.int64)

    def by_class(self, values: FloatArray) -> FloatArray:
        """Add up values of shape (n_units, n_periods) within classes."""
        return np.stack([values[self.classes == member].sum(axis=0) for member in range(len(self.launches))])

    @property
    def event_times(self) -> IntArray:
        """Periods since the launch by class and period, shape (n_classes, n_periods)."""
        return np.arange(len(self.panel.periods)) - self.launches[:, None]

    @property
    def is_treated(self) -> BoolArray:
        """Which classes are treated in a used period, shape (n_classes,)."""
        return self.launches < len(self.panel.periods)

    def cells(self, *, leads: bool) -> tuple[IntArray, IntArray]:
        """Return class and period of the treated cells with data; with leads also those before -1."""
        e = self.event_times
        wanted = (self.counts > 0) & self.is_treated[:, None] & ((e >= 0) | ((e < -1) & leads))
        member, period = np.nonzero(wanted)
        return member, period

    @property
    def left_out(self) -> tuple[str, ...]:
        """What the reader must know about treated cells without a comparison."""
        lost = self.panel.treated & ~np.isnan(self.panel.outcome) & ~self.used
        if not lost.any():
            return ()
        periods = [p for p, column in zip(self.panel.periods, lost.T, strict=True) if column.any()]
        left = int((self.used & self.panel.treated).sum())
        found = f"no unit is untreated in {len(periods)} periods ({listing(periods)}): their {int(lost.sum())} treated cells"
        return (f"{found} are left out, and the effect is the average over the other {left}",)

    @property
    def n_control_clusters(self) -> int:
        """Number of clusters with a unit that no used period treats."""
        return len(np.unique(self.panel.cluster_codes[self.first_treated == len(self.panel.periods)]))

    @property
    def few_clusters(self) -> bool:
        """Whether clusters are too few on one side for a covariance to be believed."""
        treated = len(np.unique(self.panel.cluster_codes[self.first_treated < len(self.panel.periods)]))
        return min(treated, self.n_control_clusters) < FEW_CLUSTERS

    def period_columns(self, used: BoolArray) -> FloatArray:
        """Return a dummy of every period with used cells but the first, shape (n_periods, n_columns)."""
        columns: FloatArray = np.eye(len(self.panel.periods))[:, np.flatnonzero(used.any(axis=0))[1:]]
        return columns

    def require_reference(self) -> None:
        """Refuse cohorts without data in the last period before their launch, which effects are measured from.

        Raises
        ------
        DataError
            Naming the cohorts.
        """
        periods = self.panel.periods
        empty = [
            periods[launch]
            for launch, row in zip(self.launches[self.is_treated], self.counts[self.is_treated], strict=True)
            if row[launch - 1] == 0
        ]
        if empty:
            raise DataError(
                f"no unit of {len(empty)} cohorts has data in the last period before its launch: {listing(empty)}",
                code="CB-D014",
                remedy="add that period's rows, or use imputation, which takes any period before the launch",
            )


def _require_usable(panel: Panel, observed: BoolArray) -> None:
    always = [unit for unit, first in zip(panel.units, panel.first_treated, strict=True) if first == 0]
    if always:
        raise DataError(
            f"{len(always)} units are treated from the first period on: {listing(always)}",
            code="CB-D023",
            remedy="leave these units out, or add history",
        )
    for name, cells in zip(panel.covariate_names, np.moveaxis(panel.covariates, 2, 0), strict=True):
        missing = int((observed & np.isnan(cells)).sum())
        if missing:
            raise DataError(
                f"covariate {name!r} is missing in {missing} cells that have an outcome",
                code="CB-D063",
                remedy='give these cells a value, or choose on_missing = "keep" where the outcome was filled in',
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class CohortEffects:
    """Effects by cohort and period.

    Attributes
    ----------
    members, periods
        Class (see :class:`Rollout`) and period of each of K cells.
    values, sizes, counts
        Effects, summed weights and numbers of units of the cells, shape (K,).
    influence
        From weights of the cells, shape (K, q), to what each unit contributes, shape (n_units, q).
    factor
        What covariances are multiplied by for a small sample.
    """

    rollout: Rollout
    members: IntArray
    periods: IntArray
    values: FloatArray
    influence: Callable[[FloatArray], FloatArray]
    factor: float = 1.0

    @property
    def sizes(self) -> FloatArray:
        """Summed weights of each cell's units, shape (K,)."""
        return self.rollout.sizes[self.members, self.periods]

    @property
    def counts(self) -> IntArray:
        """Number of each cell's units, shape (K,)."""
        return self.rollout.counts[self.members, self.periods]

    @property
    def event_times(self) -> IntArray:
        """Periods since the launch, shape (K,)."""
        return self.periods - self.rollout.launches[self.members]

    def overall(self) -> FloatArray:
        """Weights of the average effect per treated unit and period, shape (K, 1)."""
        after = self.sizes * (self.event_times >= 0)
        weights: FloatArray = (after / after.sum())[:, None]
        return weights

    def averages(self, labels: IntArray, *, after: bool = True) -> tuple[IntArray, FloatArray]:
        """Return distinct labels and the weights of the averages within them, shape (K, n_labels)."""
        chosen = (self.event_times >= 0) | (not after)
        found = np.unique(labels[chosen])
        weights = ((labels[:, None] == found) & chosen[:, None]) * self.sizes[:, None]
        return found, weights / weights.sum(axis=0)

    def covariance(self, weights: FloatArray) -> FloatArray:
        """Return the clustered covariance of weighted averages, shape (q, q)."""
        covariance: FloatArray = self.factor * clustered(self.influence(weights), self.rollout.panel.cluster_codes)
        return covariance

    def std_errors(self, weights: FloatArray) -> FloatArray:
        """Return the standard errors of weighted averages, shape (q,), some at a time."""
        codes = self.rollout.panel.cluster_codes
        variances = []
        for start in range(0, weights.shape[1], _AT_ONCE):
            sums = cluster_sums(self.influence(weights[:, start : start + _AT_ONCE]), codes)
            variances.append((sums**2).sum(axis=0))
        errors: FloatArray = np.sqrt(self.factor * np.concatenate(variances))
        return errors

    def event_study(self) -> EventStudy:
        """Average by event time, with the joint covariance; NaN with fewer than five clusters on a side."""
        times, weights = self.averages(self.event_times, after=False)
        covariance = self.covariance(weights)
        return EventStudy(
            event_times=times,
            values=weights.T @ self.values,
            covariance=np.full_like(covariance, math.nan) if self.rollout.few_clusters else covariance,
            n_treated=np.array([self.counts[self.event_times == e].sum() for e in times]),
            shares=np.array([self.sizes[self.event_times == e].sum() for e in times]),
            reference=-1,
        )

    def gaps(self) -> FloatArray:
        """Return the effects on the grid of classes and periods, shape (n_classes, n_periods).

        Elsewhere zero before the launch, NaN after it.
        """
        grid = np.where(self.rollout.event_times < 0, 0.0, np.nan)
        grid[self.members, self.periods] = self.values
        return grid

    def detail(self) -> dict[str, Any]:
        """Return every cell after a launch and the summaries over them, as the evidence holds them."""
        labels, launches = self.rollout.panel.periods, self.rollout.launches
        after = np.flatnonzero(self.event_times >= 0)
        groups: dict[str, tuple[str, IntArray, Callable[[int], Any]]] = {
            "dynamic": ("event_time", self.event_times, int),
            "group": ("cohort", self.members, lambda m: labels[launches[m]]),
            "calendar": ("period", self.periods, lambda t: labels[t]),
        }
        found = {name: self.averages(keys) for name, (_, keys, _) in groups.items()}
        overall = [weights @ self._shares(name, keys)[:, None] for name, (keys, weights) in found.items()]
        columns = [np.eye(len(self.values))[:, after], self.overall(), *overall, *(w for _, w in found.values())]
        weights = np.hstack(columns)
        pairs = iter(zip((weights.T @ self.values).tolist(), self.std_errors(weights).tolist(), strict=True))
        rows = [
            {"cohort": labels[launches[m]], "period": labels[t], **_summary(*next(pairs))}
            for m, t in zip(self.members[after], self.periods[after], strict=True)
        ]
        aggregates: dict[str, Any] = {"simple": {**_summary(*next(pairs)), "by": []}}
        aggregates |= {name: _summary(*next(pairs)) for name in groups}
        for name, (label, _, show) in groups.items():
            aggregates[name]["by"] = [{label: show(key), **_summary(*next(pairs))} for key in found[name][0]]
        return {"group_time": rows, "aggregates": aggregates}

    def _shares(self, name: str, keys: IntArray) -> FloatArray:
        """Weigh the parts of a summary: cohorts by the weight of their units, event times and periods alike."""
        share = np.ones(len(keys))
        if name == "group":
            share = np.array([self.rollout.weights[self.rollout.classes == m].sum() for m in keys])
        shares: FloatArray = share / share.sum()
        return shares


def compose(
    effects: CohortEffects,
    *,
    gaps: FloatArray,
    event_study: EventStudy | None,
    detail: Mapping[str, Any],
    warnings: tuple[str, ...] = (),
) -> Fit:
    """Build the fit of an estimator from its effects by cohort and period.

    Parameters
    ----------
    effects
        Of every treated cell.
    gaps
        Estimated gap of each class in each period, NaN where it isn't known; shape (n_classes, n_periods).
    event_study
        Against one reference period.
    detail
        What the estimator adds to its diagnostics.
    warnings
        What it has to say, besides missing cells.
    """
    rollout, panel = effects.rollout, effects.rollout.panel
    weights = effects.overall()
    value = float(effects.values @ weights[:, 0])
    influence = effects.influence(weights)
    covariance = effects.factor * clustered(influence, panel.cluster_codes)
    own = dict(effects.detail()) | dict(detail)
    n_cells, treated_mean = _coverage(effects)
    return Fit(
        effect=value,
        path=_path(rollout, gaps),
        covariance=covariance if np.isfinite(covariance).all() else None,
        influence=influence[:, 0],
        event_study=event_study,
        n_cells=n_cells,
        treated_mean=treated_mean,
        diagnostics={**own, "n_clusters": panel.n_clusters, "df": panel.n_clusters - 1},
        warnings=(*warnings, *_about_missing(panel)),
    )


def _coverage(effects: CohortEffects) -> tuple[int | None, float | None]:
    """Return number and mean outcome of the treated cells that have an effect; nothing where all treated cells have one."""
    panel, after = effects.rollout.panel, effects.event_times >= 0
    covered = np.zeros((len(effects.rollout.launches), len(panel.periods)), dtype=bool)
    covered[effects.members[after], effects.periods[after]] = True
    cells = covered[effects.rollout.classes] & effects.rollout.used
    if int(cells.sum()) == panel.n_treated_cells:
        return None, None
    sizes = cells * effects.rollout.weights[:, None]
    return int(cells.sum()), float((np.nan_to_num(panel.outcome) * sizes).sum() / sizes.sum())


def _path(rollout: Rollout, gaps: FloatArray) -> EffectPath:
    """Return the mean of the ever treated units, and without the gaps of those whose gap is defined."""
    panel = rollout.panel
    ever = panel.ever_treated
    observed = ~np.isnan(panel.outcome)
    sizes = np.where(ever[:, None] & observed, rollout.weights[:, None], 0.0)
    total = sizes.sum(axis=0)
    mean = np.divide(
        (sizes * np.where(observed, panel.outcome, 0.0)).sum(axis=0),
        total,
        out=np.full(len(total), np.nan),
        where=total > 0,
    )
    treated = rollout.is_treated
    sizes = np.where(np.isnan(gaps[treated]), 0.0, rollout.sizes[treated])
    known = sizes.sum(axis=0)
    gap = (np.nan_to_num(gaps[treated]) * sizes).sum(axis=0) / np.where(known > 0, known, 1.0)
    lost = (panel.treated & observed).any(axis=0) & (known == 0)
    return EffectPath(periods=panel.periods, observed=mean, counterfactual=mean - np.where(lost, np.nan, gap))


def residual_gaps(rollout: Rollout, means: FloatArray) -> FloatArray:
    r"""Turn mean residuals before the launch into gaps to the other untreated units of the same period.

    A period's weighted residuals on untreated cells add up to zero, so a cohort's mean :math:`r_g` and that of the others
    differ by :math:`r_g \cdot S / (S - S_g)`, with the summed weights S. With one launch date it is the difference of the
    two groups' mean changes.

    Parameters
    ----------
    means
        Mean residual, after the launch mean effect, by class and period, shape (n_classes, n_periods).
    """
    before = rollout.event_times < 0
    sizes = np.where(before, rollout.sizes, 0.0)
    others = sizes.sum(axis=0) - sizes
    ratio = np.divide(sizes.sum(axis=0) + 0 * sizes, others, out=np.ones_like(sizes), where=others > 0)
    return np.where(before, means * ratio, means)


def _about_missing(panel: Panel) -> tuple[str, ...]:
    found, missing = [], int((np.isnan(panel.outcome) & panel.treated).sum())
    if missing:
        found.append(
            f"{missing} treated cells have no data: the effect is the average over the treated cells that have"
        )
    if panel.positions[-1] + 1 > len(panel.periods):
        absent = int(panel.positions[-1]) + 1 - len(panel.periods)
        found.append(f"{absent} periods are absent altogether; event times count the periods there are")
    return tuple(found)


def _summary(value: float, std_error: float) -> dict[str, Any]:
    return {"value": value, "std_error": std_error if math.isfinite(std_error) else None}
