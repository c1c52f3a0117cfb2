r"""Weights of both sides of a synthetic design, for many treated sets on one Gram matrix.

Paths are taken about the target, so that a side's misfit is the norm of a point in the hull of its markets' paths, and the
best weights solve :math:`\min_w w'Gw` over the simplex of its members, G the inner products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from causalbench.numerics.simplex import solve_simplex

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_ALTERNATIONS = 500
_STILL = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SideFits:
    """Weights of many sets, one row each.

    Attributes
    ----------
    value
        Sum of the squared misfits, infinite where a set isn't possible; shape (n_sets,).
    treated, control
        Weights of each side, zero for everybody else; shape (n_sets, n_units).
    """

    value: FloatArray
    treated: FloatArray
    control: FloatArray


def fit_sides(
    gram: FloatArray,
    treated: BoolArray,
    control: BoolArray | None,
    possible: BoolArray,
    *,
    target: Literal["population", "each_other"] = "population",
) -> SideFits:
    r"""Fit the weights of both sides.

    Parameters
    ----------
    gram
        Inner products of the paths about the target, shape (n_units, n_units).
    treated, control
        Members of both sides, shape (n_sets, n_units); without controls only the treated side is fitted.
    possible
        Which sets to fit, shape (n_sets,).
    target
        ``population``: both sides near the origin; ``each_other``: near each other.

    Examples
    --------
    >>> import numpy as np
    >>> paths = np.array([[-1.0], [3.0], [-2.0], [2.0]])
    >>> sets = np.array([[True, True, False, False]])
    >>> fit = fit_sides(paths @ paths.T, sets, ~sets, np.array([True]))
    >>> fit.value.round(9).tolist(), (fit.treated + fit.control).round(6).tolist()
    ([0.0], [[0.75, 0.25, 0.5, 0.5]])
    """
    value, weights, others = np.full(len(treated), np.inf), np.zeros(treated.shape), np.zeros(treated.shape)
    rows = np.flatnonzero(possible)
    if not len(rows):
        return SideFits(value=value, treated=weights, control=others)
    nothing = np.zeros((len(rows), len(gram)))
    weights[rows] = solve_simplex(gram, nothing, np.zeros(len(rows)), treated[rows]).weights
    value[rows] = _squares(gram, weights[rows])
    if control is None:
        return SideFits(value=value, treated=weights, control=others)
    others[rows] = solve_simplex(gram, nothing, np.zeros(len(rows)), control[rows]).weights
    if target == "population":
        value[rows] += _squares(gram, others[rows])
        return SideFits(value=value, treated=weights, control=others)
    weights[rows], others[rows] = _alternated(gram, treated[rows], control[rows], weights[rows], others[rows])
    value[rows] = _squares(gram, weights[rows] - others[rows])
    return SideFits(value=value, treated=weights, control=others)


def _squares(gram: FloatArray, weights: FloatArray) -> FloatArray:
    squares: FloatArray = np.maximum(((weights @ gram) * weights).sum(axis=1), 0.0)
    return squares


def _alternated(
    gram: FloatArray, treated: BoolArray, control: BoolArray, weights: FloatArray, others: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Approach the nearest points of two hulls from either side in turn; every step lowers the distance."""
    weights, others = weights.copy(), others.copy()
    active = np.arange(len(weights))
    distance = _squares(gram, weights - others)
    scale = np.diag(gram).mean()
    for _ in range(_ALTERNATIONS):
        for mine, fixed, allowed in ((weights, others, treated), (others, weights, control)):
            cross = fixed[active] @ gram
            square = (cross * fixed[active]).sum(axis=1)
            mine[active] = solve_simplex(gram, cross, square, allowed[active]).weights
        after = _squares(gram, weights[active] - others[active])
        moving = distance[active] - after > _STILL * np.maximum(after, 1e-6 * scale)
        distance[active] = after
        active = active[moving]
        if not len(active):
            break
    return weights, others
