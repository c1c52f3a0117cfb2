r"""Least squares over the unit simplex with a ridge.

A penalty :math:`\eta \lVert w \rVert^2` is the same as one more row per column with :math:`\sqrt\eta` in it, so it adds
:math:`\eta` to the diagonal of the Gram matrix, and :mod:`causalbench.numerics.simplex` solves the rest. The certificate is
relative to the objective with its penalty.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from causalbench.numerics.simplex import SimplexFit, solve_simplex

FloatArray = NDArray[np.float64]


def solve_ridge_simplex(
    gram: FloatArray,
    cross: FloatArray,
    square: FloatArray,
    ridge: FloatArray,
    allowed: NDArray[np.bool_] | None = None,
) -> SimplexFit:
    r"""Solve many problems :math:`\min_w \lVert y - Xw \rVert^2 + \eta \lVert w \rVert^2` that share one design.

    Parameters
    ----------
    gram, cross, square, allowed
        As in :func:`causalbench.numerics.simplex.solve_simplex`.
    ridge
        Penalty of each problem, shape (n_problems,), not negative.

    Examples
    --------
    >>> import numpy as np
    >>> design, target = np.array([[1.0, 3.0], [2.0, 4.0]]), np.array([1.0, 2.0])
    >>> cross, square = (design.T @ target)[None], np.array([target @ target])
    >>> solve_ridge_simplex(design.T @ design, cross, square, np.array([8.0])).weights.round(6).tolist()
    [[0.666667, 0.333333]]
    """
    ridged, diagonal = np.array(gram, dtype=np.float64), np.diag(gram)
    weights, rel_gap = np.empty(cross.shape), np.empty(len(cross))
    for p, penalty in enumerate(ridge):
        np.fill_diagonal(ridged, diagonal + penalty)
        mask = None if allowed is None else allowed[p : p + 1]
        fit = solve_simplex(ridged, cross[p : p + 1], square[p : p + 1], mask)
        weights[p], rel_gap[p] = fit.weights[0], fit.rel_gap[0]
    return SimplexFit(weights=weights, rel_gap=rel_gap)
