r"""Monte Carlo error and effective counts of placebos that share units and whose windows overlap.

Placebo :math:`b` treats a set :math:`U_b` of units in a window of :math:`d` periods from :math:`t_b` on. Two of them are
dependent as far as they share units or periods:

.. math:: w_{bc} = 1 - (1 - u_{bc})(1 - v_{bc}), \qquad u_{bc} = \frac{|U_b \cap U_c|}{|U|}, \quad
    v_{bc} = \Bigl(1 - \frac{|t_b - t_c|}{d}\Bigr)_+ .

With :math:`\psi_b` the influence of placebo :math:`b` on a mean over :math:`N` of them, its variance is estimated by

.. math:: \hat V = \frac1{N^2} \, \psi' W \psi \cdot \frac{N}{N - 1' W 1 / N},

two-way clustering (Cameron, Gelbach, Miller 2011) with a triangular kernel along time. The last factor makes it unbiased
for independent placebos: deviations from the mean of few blocks spread less than the blocks do. For a complete table of units
by windows that don't overlap it is :math:`nK / ((n-1)(K-1))`. Where windows amount to fewer than two disjoint ones, nothing
tells how windows differ: :math:`w_{bc} = u_{bc}`, and whatever is counted supposes that they don't.

The effective number of placebos, :math:`\hat\sigma^2_\psi / \hat V`, is the number of independent ones whose mean is known as
well. It is never taken to be more than the disjoint blocks of units and periods that the draws amount to,
:math:`N^2 / \sum_{bc} u_{bc} v_{bc}`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

FEWEST_WINDOWS = 2
"""With fewer disjoint windows nothing tells how windows differ, and only shared units are counted."""

_SMALL = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dependence:
    """Which placebos depend on each other, and how strongly.

    Attributes
    ----------
    shared_units, shared_periods
        Share of units and of periods that two placebos have in common; shape (n_placebos, n_placebos).
    """

    shared_units: FloatArray
    shared_periods: FloatArray

    @classmethod
    def of(cls, members: BoolArray, starts: IntArray, *, duration: int) -> Dependence:
        """Compare all pairs of placebos.

        Parameters
        ----------
        members
            Which units each placebo treats, shape (n_placebos, n_units); the same number in every row.
        starts
            Index of each window's first period, shape (n_placebos,).
        duration
            Periods of every window.
        """
        sets = members.astype(float)
        apart = np.abs(np.subtract.outer(starts, starts)) / duration
        return cls(
            shared_units=sets @ sets.T / sets.sum(axis=1),
            shared_periods=np.maximum(1.0 - apart, 0.0),
        )

    @property
    def n_windows(self) -> float:
        """Number of disjoint windows that the placebos' windows amount to."""
        return float(len(self.shared_periods) ** 2 / self.shared_periods.sum())

    @property
    def weights(self) -> FloatArray:
        """How far two placebos depend on each other, shape (n_placebos, n_placebos)."""
        if self.n_windows < FEWEST_WINDOWS:
            return self.shared_units
        found: FloatArray = 1.0 - (1.0 - self.shared_units) * (1.0 - self.shared_periods)
        return found

    @property
    def n_blocks(self) -> float:
        """Number of disjoint blocks of units and periods that the placebos amount to; at most that of the placebos."""
        return float(len(self.shared_units) ** 2 / (self.shared_units * self.shared_periods).sum())

    def of_rows(self, rows: BoolArray) -> Dependence:
        """Return that of some placebos."""
        return Dependence(
            shared_units=self.shared_units[np.ix_(rows, rows)], shared_periods=self.shared_periods[np.ix_(rows, rows)]
        )

    def variance(self, values: FloatArray) -> float:
        """Return the variance of the mean of one value per placebo.

        Examples
        --------
        >>> apart = Dependence.of(np.eye(4, dtype=bool), np.array([0, 5, 10, 15]), duration=5)
        >>> round(apart.variance(np.array([1.0, 2.0, 3.0, 4.0])), 9)  # independent: the sample variance over four
        0.416666667
        """
        n = len(values)
        if n < 2:
            return math.inf
        deviations, weights = values - values.mean(), self.weights
        free = n - weights.sum() / n
        spread = float(np.mean(deviations**2))
        least = spread / self.n_blocks
        if free <= _SMALL * n:
            return math.inf if spread > 0 else 0.0
        return max(float(deviations @ weights @ deviations) / n / float(free), least)

    def std_error(self, values: FloatArray) -> float:
        """Return the Monte Carlo error of the mean of one value per placebo."""
        return math.sqrt(self.variance(values))

    def n_effective(self, values: FloatArray) -> float:
        """Return the number of independent placebos whose mean value is known as well, from 1 up.

        Examples
        --------
        >>> twice = Dependence.of(np.eye(2, dtype=bool)[[0, 0, 1, 1]], np.array([0, 0, 9, 9]), duration=3)
        >>> twice.n_blocks, twice.n_effective(np.array([1.0, 1.0, 2.0, 2.0]))
        (2.0, 1.0)
        """
        spread = float(np.var(values))
        variance = self.variance(values)
        if spread <= 0:
            return self.n_blocks
        return max(min(spread / variance, self.n_blocks), 1.0) if math.isfinite(variance) else 1.0
