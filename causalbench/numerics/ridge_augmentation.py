r"""Weights on the simplex, corrected by a ridge regression for what they leave unmatched.

With :math:`X_0` the donors' features, one row per donor about the donors' means, and :math:`r = x_1 - X_0'w` what simplex
weights :math:`w` leave unmatched of the treated's, the augmented weights are (Ben-Michael, Feller, Rothstein 2021, lemma 1)

.. math:: \hat\gamma = w + X_0 (X_0'X_0 + \eta I)^{-1} r.

They sum to one and may be negative. Leaving out one feature at a time to choose :math:`\eta` needs the simplex weights of
each, but only one decomposition :math:`X_0 = USV'`: with :math:`r^{(i)}` what the weights fitted without feature i leave
unmatched and :math:`H = V \frac{S^2}{S^2 + \eta} V'`, the augmented weights without i miss feature i by

.. math:: e_i = \frac{r^{(i)}_i - H_i r^{(i)}}{1 - H_{ii}}.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causalbench.numerics.simplex import solve_simplex

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_SMALLEST_RATIO = 1e-8
_STEPS = 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AugmentedWeights:
    """Weights of a batch of assignments.

    Attributes
    ----------
    weights, simplex
        Augmented and simplex weights, shape (n_assignments, n_units), zero for units that aren't donors.
    ridge
        Penalty of each, shape (n_assignments,).
    rel_gap
        Relative duality gap of the simplex weights, those of the cross-validation included; shape (n_assignments,).
    """

    weights: FloatArray
    simplex: FloatArray
    ridge: FloatArray
    rel_gap: FloatArray


def augmented_weights(
    features: FloatArray, share: FloatArray, donors: BoolArray, *, ridge: float | None, n_held_out: int
) -> AugmentedWeights:
    """Fit simplex weights for many assignments on one Gram matrix and correct them.

    Parameters
    ----------
    features
        What is to be matched, about its columns' medians, which no answer depends on; shape (n_units, n_features).
    share
        Share of each treated unit in the treated mean, shape (n_assignments, n_units).
    donors
        Which units may have weight, shape (n_assignments, n_units).
    ridge
        Positive penalty; None to choose it by cross-validation from 21 between the largest squared singular value of the donors'
        features and 1e-8 of it: the largest whose error lies within one standard error of the smallest.
    n_held_out
        The first so many features are left out in turn in cross-validation.
    """
    gram = features @ features.T
    cross = share @ gram
    square = (cross * share).sum(axis=1)
    fit = solve_simplex(gram, cross, square, donors)
    unmatched = (share - fit.weights) @ features
    rel_gap, left_out = fit.rel_gap, None
    if ridge is None:
        left_out, gap = _leave_one_out(features, gram, share, donors, n_held_out)
        rel_gap = np.maximum(rel_gap, gap)
    weights, chosen = fit.weights.copy(), np.empty(len(share))
    for b, mask in enumerate(donors):
        design = RidgeDesign.of(features[mask])
        chosen[b] = design.one_standard_error(left_out[b]) if left_out is not None else ridge
        weights[b, mask] += design.correct(unmatched[b], chosen[b])
    return AugmentedWeights(weights=weights, simplex=fit.weights, ridge=chosen, rel_gap=rel_gap)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RidgeDesign:
    """Decomposition of the donors' features about their means, ``left * scale @ right``.

    Attributes
    ----------
    left, scale, right
        Shapes (n_donors, k), (k,) descending and (k, n_features).
    """

    left: FloatArray
    scale: FloatArray
    right: FloatArray

    @classmethod
    def of(cls, features: FloatArray) -> RidgeDesign:
        """Decompose features of shape (n_donors, n_features)."""
        left, scale, right = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
        return cls(left=left, scale=scale, right=right)

    def correct(self, unmatched: FloatArray, ridge: float) -> FloatArray:
        """Return what to add to the donors' weights, shape (..., n_donors), for what is unmatched, (..., n_features)."""
        if self.scale[0] == 0:
            return np.zeros((*unmatched.shape[:-1], len(self.left)))
        added: FloatArray = (unmatched @ self.right.T * (self.scale / (self.scale**2 + ridge))) @ self.left.T
        return added

    def one_standard_error(self, unmatched: FloatArray) -> float:
        """Choose a penalty given what weights without feature i leave unmatched, shape (n_held_out, n_features)."""
        ridges = self.scale[0] ** 2 * _SMALLEST_RATIO ** (np.arange(_STEPS + 1) / _STEPS)
        if ridges[0] == 0:
            return 0.0
        shrunk = self.scale[:, None] ** 2 / (self.scale[:, None] ** 2 + ridges)
        n = len(unmatched)
        held_out = self.right[:, :n].T
        fitted, leverage = (held_out * (unmatched @ self.right.T)) @ shrunk, held_out**2 @ shrunk
        squares = ((np.diag(unmatched[:, :n])[:, None] - fitted) / (1 - leverage)) ** 2
        means, errors = squares.mean(axis=0), squares.std(axis=0, ddof=1) / np.sqrt(n)
        best = int(means.argmin())
        return float(ridges[means <= means[best] + errors[best]].max())


def _leave_one_out(
    features: FloatArray, gram: FloatArray, share: FloatArray, donors: BoolArray, n_held_out: int
) -> tuple[FloatArray, FloatArray]:
    """Return what weights without feature i leave unmatched, (n_assignments, n_held_out, n_features), and their gaps."""
    unmatched, rel_gap = np.empty((len(share), n_held_out, features.shape[1])), np.zeros(len(share))
    for i, column in enumerate(features.T[:n_held_out]):
        rest = gram - np.outer(column, column)
        cross = share @ rest
        fit = solve_simplex(rest, cross, (cross * share).sum(axis=1), donors)
        unmatched[:, i] = (share - fit.weights) @ features
        rel_gap = np.maximum(rel_gap, fit.rel_gap)
    return unmatched, rel_gap
