"""Sufficient statistics of a balanced panel by cohort: enough for every comparison of cohort means and its variance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from causalbench.data.calendar import Period
from causalbench.data.panel import Panel
from causalbench.values import Finding, FloatArray, IntArray, frozen_array


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
    periods, metric, unit_name, frequency, season, additive, findings
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
    findings: tuple[Finding, ...] = ()

    def __post_init__(self) -> None:
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
        first, codes, counts = np.unique(panel.first_treated, return_inverse=True, return_counts=True)
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
            findings=panel.findings,
        )

    @property
    def treated(self) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Which cohorts are ever treated, shape (n_cohorts,)."""
        return self.first_treated < len(self.periods)
