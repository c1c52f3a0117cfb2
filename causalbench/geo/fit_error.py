r"""How closely donors follow a treated mean before the test, for many candidate splits on one Gram matrix.

With paths about their means, :math:`G` their inner products and :math:`s` the treated markets' equal shares, the synthetic
control solves :math:`\min_w \lVert s'Y - w'Y \rVert^2` over the simplex of the controls. All it needs is
:math:`Gs` and :math:`s'Gs`, so that thousands of candidate sets share one matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from causalbench.geo.constraints import Constraints
from causalbench.geo.split import CONTROL
from causalbench.numerics.simplex import solve_simplex
from causalbench.values import BoolArray, FloatArray, IntArray

_BATCH = 2_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FitErrors:
    """Errors of many sets, one row each.

    Attributes
    ----------
    relative
        Root mean square of the gap over the treated mean's outcome per period: the relative effect that a day's noise looks
        like, to which the detectable effect is proportional. Infinite where no control is left. Shape (n_sets,).
    scaled_l2
        Norm of the gap over the norm with equal weights of the controls; shape (n_sets,).
    weights
        Weight of every market in the synthetic control, shape (n_sets, n_units).
    """

    relative: FloatArray
    scaled_l2: FloatArray
    weights: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FitError:
    """The Gram matrix of a history, and the level of each market's outcome.

    Attributes
    ----------
    gram
        Inner products of the paths about their means, shape (n_units, n_units).
    levels
        Mean absolute outcome per period, shape (n_units,).
    n_periods
        Length of the history.
    """

    gram: FloatArray
    levels: FloatArray
    n_periods: int

    @classmethod
    def of(cls, outcome: FloatArray) -> FitError:
        """Form the Gram matrix of a complete history, shape (n_units, n_periods)."""
        paths = outcome - outcome.mean(axis=1, keepdims=True)
        return cls(gram=paths @ paths.T, levels=np.abs(outcome).mean(axis=1), n_periods=outcome.shape[1])

    def of_sets(self, treated: BoolArray, controls: BoolArray) -> FitErrors:
        """Fit one synthetic control per set.

        Parameters
        ----------
        treated, controls
            Members of each set and of its donors, shape (n_sets, n_units).
        """
        n_sets = len(treated)
        relative, scaled = np.full(n_sets, np.inf), np.full(n_sets, np.inf)
        weights = np.zeros(treated.shape)
        possible = np.flatnonzero(treated.any(axis=1) & controls.any(axis=1))
        for start in range(0, len(possible), _BATCH):
            mine = possible[start : start + _BATCH]
            shares = treated[mine] / treated[mine].sum(axis=1, keepdims=True)
            cross = shares @ self.gram
            square = (cross * shares).sum(axis=1)
            found = solve_simplex(self.gram, cross, square, controls[mine]).weights
            equal = controls[mine] / controls[mine].sum(axis=1, keepdims=True)
            gap, plain = (self._gap(square, cross, w) for w in (found, equal))
            relative[mine] = gap / np.sqrt(self.n_periods) / np.maximum(shares @ self.levels, 1e-300)
            scaled[mine] = gap / np.maximum(plain, 1e-300)
            weights[mine] = found
        return FitErrors(relative=relative, scaled_l2=scaled, weights=weights)

    def of_splits(self, constraints: Constraints, cells: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return the relative error, averaged over the cells, and the largest scaled L2 of each split.

        Parameters
        ----------
        constraints
            They say how many cells there are.
        cells
            Complete splits, shape (n_splits, n_units).
        """
        errors = [self.of_sets(cells == k, cells == CONTROL) for k in range(1, constraints.n_cells + 1)]
        relative = np.mean([error.relative for error in errors], axis=0)
        return relative, np.max([error.scaled_l2 for error in errors], axis=0)

    def _gap(self, square: FloatArray, cross: FloatArray, weights: FloatArray) -> FloatArray:
        squares = square - 2 * (weights * cross).sum(axis=1) + (weights @ self.gram * weights).sum(axis=1)
        gap: FloatArray = np.sqrt(np.maximum(squares, 0.0))
        return gap
