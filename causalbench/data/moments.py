"""Sufficient statistics of a balanced panel by cohort: enough for every comparison of cohort means and its variance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from causalbench.artifacts import digest
from causalbench.data.calendar import Align, Period, positions
from causalbench.data.panel import Panel, Scale, effect_units
from causalbench.errors import listing
from causalbench.values import BoolArray, Finding, FloatArray, IntArray, frozen_array


@dataclass(frozen=True, kw_only=True, eq=False)
class CohortMoments:
    """Size, mean path and scatter of every cohort of a balanced panel.

    Attributes
    ----------
    first_treated
        Index of each cohort's first treated period, ascending; n_periods for the units never treated. Shape (n_cohorts,).
    counts
        Number of units, shape (n_cohorts,).
    means
        Mean outcome by period, shape (n_cohorts, n_periods).
    scatter
        Sum over units of the outer product of deviations from the cohort's mean, shape (n_cohorts, n_periods, n_periods).
    periods, metric, unit_name, frequency, season, additive, scale, findings
        As of a :class:`~causalbench.data.panel.Panel`.
    """

    first_treated: IntArray
    counts: IntArray
    means: FloatArray
    scatter: FloatArray
    periods: tuple[Period, ...]
    metric: str = "outcome"
    unit_name: str = "unit"
    frequency: str = "number"
    season: int = 1
    additive: bool = True
    scale: Scale = "linear"
    findings: tuple[Finding, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "additive", self.additive and self.scale == "linear")
        n, n_periods = len(self.first_treated), len(self.periods)
        for name, dtype, shape in (
            ("first_treated", np.int64, (n,)),
            ("counts", np.int64, (n,)),
            ("means", np.float64, (n, n_periods)),
            ("scatter", np.float64, (n, n_periods, n_periods)),
        ):
            object.__setattr__(self, name, frozen_array(getattr(self, name), dtype=dtype, shape=shape, name=name))
        if (np.diff(self.first_treated) <= 0).any():
            raise ValueError("cohorts must ascend by first treated period and be distinct")
        if not np.isfinite(self.means).all() or not np.isfinite(self.scatter).all():
            raise ValueError("moments must be finite; they need a balanced panel")

    @classmethod
    def from_panel(cls, panel: Panel) -> CohortMoments:
        """Reduce a panel without missing cells.

        Examples
        --------
        >>> from causalbench.data.simulate import factor_panel
        >>> panel = factor_panel(n_units=8, n_periods=5, n_treated=2, n_post=2, effect=1.0, rho=0.0, seed=0)
        >>> CohortMoments.from_panel(panel).counts.tolist()
        [2, 6]
        """
        first = panel.starts
        codes = np.searchsorted(first, panel.first_treated)
        counts = np.bincount(codes)
        means, scatter = [], []
        for code in range(len(first)):
            rows = panel.outcome[codes == code]
            means.append(rows.mean(axis=0))
            deviations = rows - means[-1]
            scatter.append(deviations.T @ deviations)
        return cls(
            first_treated=first,
            counts=counts,
            means=np.array(means),
            scatter=np.array(scatter),
            periods=panel.periods,
            metric=panel.metric,
            unit_name=panel.unit_name,
            frequency=panel.frequency,
            season=panel.season,
            additive=panel.additive,
            scale=panel.scale,
            findings=panel.findings,
        )

    @classmethod
    def from_table(
        cls,
        table: Any,
        *,
        unit: str,
        period: str,
        outcome: str,
        cohort: str | None = None,
        treatment: str | None = None,
        end: Any = None,
        anticipation: int = 0,
        align: Align = "error",
        aggregate: Literal["sum", "mean"] = "sum",
        scale: Literal["linear", "log"] = "linear",
        on_missing: Literal["error", "drop_unit"] = "error",
        date_format: str | None = None,
        metric: str | None = None,
    ) -> CohortMoments:
        """Sum a long table by cohort in its own engine; no row leaves it.

        Parameters
        ----------
        table
            A lazy table such as a DuckDB relation, a Polars or Spark frame; or one in memory. One row per unit and period.
        on_missing
            ``error``, or ``drop_unit`` to leave out units that lack a period.
        unit, period, outcome, cohort, treatment, end, anticipation, align, aggregate, scale, date_format, metric
            As in :meth:`Panel.from_table <causalbench.data.panel.Panel.from_table>`.

        Raises
        ------
        DataError
            For anything in the table that would make the answer wrong, with up to five units, the count and the remedy.

        Examples
        --------
        >>> import duckdb
        >>> rows = "(values ('a', 1, 5.0, 2), ('a', 2, 7.0, 2), ('b', 1, 4.0, null), ('b', 2, 4.5, null)) t(geo, week, y, g)"
        >>> lazy = duckdb.connect().sql(f"select * from {rows}")
        >>> moments = CohortMoments.from_table(lazy, unit="geo", period="week", outcome="y", cohort="g")
        >>> moments.means.tolist()
        [[5.0, 7.0], [4.0, 4.5]]
        """
        from causalbench.data import sources
        from causalbench.data.engine_moments import cohort_moments
        from causalbench.data.launch import LaunchRule
        from causalbench.data.outcome import Reading
        from causalbench.data.reduce import Columns

        return cohort_moments(
            sources.from_object(table),
            Columns(unit=unit, period=period, outcome=outcome, cohort=cohort, treatment=treatment),
            launch=LaunchRule(units=None, start=None, end=end, anticipation=anticipation, align=align),
            reading=Reading(
                grain="cell",
                aggregate=aggregate,
                on_duplicate="error",
                metric=metric or outcome,
                scale=scale,
                date_format=date_format,
            ),
            on_missing=on_missing,
        )

    def regrouped(self, first_treated: IntArray) -> CohortMoments:
        """Return the moments with cohorts merged that share a first treated period, given as an index for each of them."""
        first = np.unique(first_treated)
        counts, means, scatter = [], [], []
        for period in first:
            members = np.flatnonzero(first_treated == period)
            sizes = self.counts[members]
            mean = self.means[members[0]] if len(members) == 1 else sizes @ self.means[members] / sizes.sum()
            between = (self.means[members] - mean) * np.sqrt(sizes)[:, None]
            counts.append(sizes.sum())
            means.append(mean)
            scatter.append(self.scatter[members].sum(axis=0) + between.T @ between)
        return replace(
            self, first_treated=first, counts=np.array(counts), means=np.array(means), scatter=np.array(scatter)
        )

    def without(self, cohorts: BoolArray, finding: Finding) -> CohortMoments:
        """Leave out the cohorts of a mask and record it."""
        kept = ~np.asarray(cohorts)
        return replace(
            self,
            first_treated=self.first_treated[kept],
            counts=self.counts[kept],
            means=self.means[kept],
            scatter=self.scatter[kept],
            findings=(*self.findings, finding),
        )

    @property
    def positions(self) -> IntArray:
        """Whole-numbered place of every period, one step apart where nothing is missing between; shape (n_periods,)."""
        return positions(self.periods, self.frequency)

    @property
    def starts(self) -> IntArray:
        """First treated periods, which are distinct."""
        return self.first_treated

    @property
    def ever_treated(self) -> BoolArray:
        """Which cohorts are ever treated, shape (n_cohorts,)."""
        return self.first_treated < len(self.periods)

    @property
    def cohorts(self) -> tuple[Period, ...]:
        """Distinct first treated periods."""
        return tuple(self.periods[i] for i in self.first_treated[self.ever_treated])

    @property
    def n_pre(self) -> int:
        """Number of periods before the first launch."""
        return int(self.first_treated.min())

    @property
    def n_post(self) -> int:
        """Number of periods from the first launch on."""
        return len(self.periods) - self.n_pre

    @property
    def n_treated(self) -> int:
        """Number of units treated at some time."""
        return int(self.counts[self.ever_treated].sum())

    @property
    def n_control(self) -> int:
        """Number of units never treated."""
        return int(self.counts[~self.ever_treated].sum())

    @property
    def n_clusters(self) -> int:
        """Number of units; moments know no clusters above them."""
        return int(self.counts.sum())

    @property
    def cluster(self) -> None:
        """None: every unit is a cluster of its own."""
        return

    @property
    def n_treated_clusters(self) -> int:
        """Number of units treated at some time that can be compared with somebody."""
        return int(self.counts[:-1].sum())

    @property
    def n_control_clusters(self) -> int:
        """Number of units never treated; where there are none, of the last cohort, which is the control of all others."""
        return int(self.counts[-1])

    @property
    def n_treated_cells(self) -> int:
        """Number of treated cells."""
        return int(self.counts @ (len(self.periods) - self.first_treated))

    @property
    def treated_mean(self) -> float:
        """Mean outcome of the treated cells."""
        sizes = self.counts[:, None] * (np.arange(len(self.periods)) >= self.first_treated[:, None])
        return float((sizes * self.means).sum() / sizes.sum())

    @property
    def population(self) -> str:
        """Who the treated are, in words."""
        return f"{self.n_treated} units in {len(self.cohorts)} cohorts: {listing(self.cohorts, limit=8)}"

    @property
    def largest(self) -> float:
        """Largest mean outcome in absolute value."""
        return float(np.abs(self.means).max())

    @property
    def effect_units(self) -> str:
        """What an effect is measured in."""
        return effect_units(self.scale, self.metric, self.unit_name, self.frequency)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of labels and cohort sizes; sums differ in their last digits from run to run."""
        return digest([self.metric, self.periods, self.first_treated.tolist(), self.counts.tolist()])
