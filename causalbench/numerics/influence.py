"""Joint influence of several estimates: what each unit contributes to their errors, by unit or by cohort."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_COLUMNS_AT_ONCE = 512


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

    def combine(self, matrix: Any, shares: FloatArray) -> Self:
        """Return the contributions to K' linear combinations.

        Parameters
        ----------
        matrix
            Shape (K, K'), an array or a sparse one.
        shares
            Derivative of each combination in the cohorts' shares, per unit, shape (n_cohorts, K').
        """
        rows = self.rows @ matrix
        if shares.any():
            rows = rows + shares[self.cohort] * (self.weights / len(self.weights))[:, None]
        return replace(self, rows=rows)

    def only(self, chosen: BoolArray) -> Self:
        """Return the contributions to some of the errors, given as a mask of shape (K,)."""
        return replace(self, rows=self.rows[:, chosen])

    def covariance(self) -> FloatArray:
        """Return the sum over clusters of outer products of their total contributions, shape (K, K)."""
        totals, n = self.rows, len(self.cluster)
        if self.cluster.max() + 1 < n:
            totals = sparse.csr_array((np.ones(n), (self.cluster, np.arange(n)))) @ self.rows
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
        B, cohorts below each other, sparse of shape (n_cohorts * n_periods, K): a cell looks at two periods of few cohorts.
    counts, scatter
        Of the cohorts, shapes (n_cohorts,) and (n_cohorts, n_periods, n_periods).
    """

    constant: FloatArray
    slope: sparse.csc_array
    counts: IntArray
    scatter: FloatArray

    def combine(self, matrix: Any, shares: FloatArray) -> Self:
        """Return the contributions to linear combinations; see :meth:`UnitInfluence.combine`."""
        constant = self.constant @ matrix + shares / self.counts.sum()
        return replace(self, constant=constant, slope=self.slope @ sparse.csc_array(matrix))

    def only(self, chosen: BoolArray) -> Self:
        """Return the contributions to some of the errors; see :meth:`UnitInfluence.only`."""
        return replace(self, constant=self.constant[:, chosen], slope=self.slope[:, chosen])

    def covariance(self) -> FloatArray:
        """Return the covariance, each unit being a cluster of its own, shape (K, K)."""
        n_cohorts, n_periods, _ = self.scatter.shape
        size = self.constant.shape[1]
        found = np.empty((size, size))
        for start in range(0, size, _COLUMNS_AT_ONCE):
            some = slice(start, start + _COLUMNS_AT_ONCE)
            slope = self.slope[:, some].toarray().reshape(n_cohorts, n_periods, -1)
            scattered = (self.scatter @ slope).reshape(n_cohorts * n_periods, -1)
            constant = self.counts[:, None] * self.constant[:, some]
            found[:, some] = self.slope.T @ scattered + self.constant.T @ constant
        return found

    def by_unit(self, outcome: FloatArray, cohort: IntArray, means: FloatArray) -> FloatArray:
        """Return every unit's contributions, shape (n_units, K)."""
        rows, by_cohort, n_periods = (
            np.empty((len(outcome), self.constant.shape[1])),
            self.slope.tocsr(),
            means.shape[1],
        )
        for number in range(len(means)):
            here = cohort == number
            slope = by_cohort[number * n_periods : (number + 1) * n_periods]
            rows[here] = self.constant[number] + (outcome[here] - means[number]) @ slope
        return rows
