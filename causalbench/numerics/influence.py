"""Joint influence of several estimates: what each unit contributes to their errors, by unit or by cohort."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitInfluence:
    """Contributions of every unit to K errors.

    Attributes
    ----------
    rows
        Shape (n_units, K).
    cohort
        Number of each unit's cohort, shape (n_units,).
    weights
        Weight of each unit, of mean 1, shape (n_units,).
    cluster
        Number of each unit's cluster, shape (n_units,).
    """

    rows: FloatArray
    cohort: IntArray
    weights: FloatArray
    cluster: IntArray

    def combine(self, matrix: FloatArray, shares: FloatArray) -> Self:
        """Return the contributions to K' linear combinations.

        Parameters
        ----------
        matrix
            Shape (K, K').
        shares
            Derivative of each combination in the cohorts' shares, per unit, shape (n_cohorts, K').
        """
        rows = self.rows @ matrix + shares[self.cohort] * (self.weights / len(self.weights))[:, None]
        return type(self)(rows=rows, cohort=self.cohort, weights=self.weights, cluster=self.cluster)

    def covariance(self) -> FloatArray:
        """Return the sum over clusters of outer products of their total contributions, shape (K, K)."""
        totals = self.rows
        if self.cluster.max() + 1 < len(self.cluster):
            totals = np.zeros((int(self.cluster.max()) + 1, self.rows.shape[1]))
            np.add.at(totals, self.cluster, self.rows)
        found: FloatArray = totals.T @ totals
        return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CohortInfluence:
    r"""Contributions that are linear in a unit's outcome within its cohort.

    A unit of cohort g with outcomes :math:`y_i` contributes :math:`a_g + B_g'(y_i - \bar y_g)`, so that the covariance is
    :math:`\sum_g n_g a_g a_g' + B_g' S_g B_g` with the scatter :math:`S_g`: no unit is looked at.

    Attributes
    ----------
    constant
        a, shape (n_cohorts, K).
    slope
        B, shape (n_cohorts, n_periods, K).
    counts, scatter
        Of the cohorts, shapes (n_cohorts,) and (n_cohorts, n_periods, n_periods).
    """

    constant: FloatArray
    slope: FloatArray
    counts: IntArray
    scatter: FloatArray

    def combine(self, matrix: FloatArray, shares: FloatArray) -> Self:
        """Return the contributions to linear combinations; see :meth:`UnitInfluence.combine`."""
        return type(self)(
            constant=self.constant @ matrix + shares / self.counts.sum(),
            slope=self.slope @ matrix,
            counts=self.counts,
            scatter=self.scatter,
        )

    def covariance(self) -> FloatArray:
        """Return the covariance, each unit being a cluster of its own, shape (K, K)."""
        found = (self.constant * self.counts[:, None]).T @ self.constant
        for slope, scatter in zip(self.slope, self.scatter, strict=True):
            found = found + slope.T @ (scatter @ slope)
        total: FloatArray = found
        return total

    def by_unit(self, outcome: FloatArray, cohort: IntArray, means: FloatArray) -> FloatArray:
        """Return every unit's contributions, shape (n_units, K)."""
        rows = np.empty((len(outcome), self.constant.shape[1]))
        for number in range(len(means)):
            here = cohort == number
            rows[here] = self.constant[number] + (outcome[here] - means[number]) @ self.slope[number]
        return rows
