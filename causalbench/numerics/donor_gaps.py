"""How far a unit lies from everything that weighted means of other units can reach, period by period."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from causalbench.numerics.simplex import solve_simplex

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def gap_to_hull(target: FloatArray, donors: FloatArray) -> FloatArray:
    """Return a path less the nearest weighted mean of donors, weights not negative and summing to one.

    Parameters
    ----------
    target
        Shape (n_periods,).
    donors
        Shape (n_donors, n_periods).

    Returns
    -------
    ndarray
        Shape (n_periods,); zero in every period where the path lies in the donors' convex hull.

    Examples
    --------
    >>> import numpy as np
    >>> gap_to_hull(np.array([3.0, 1.0]), np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 1.0]])).round(9).tolist()
    [1.0, 0.0]
    """
    centre = np.median(donors, axis=0)
    rows, own = donors - centre, target - centre
    weights = solve_simplex(rows @ rows.T, (rows @ own)[None], np.array([own @ own])).weights[0]
    gap: FloatArray = own - weights @ rows
    return gap


def gaps_among(series: FloatArray, n_fit: int, *, rel_ridge: float = 0.0) -> FloatArray:
    r"""Return every series less the weighted mean of the others that follows it best in the first periods.

    Weights are not negative, sum to one and minimise :math:`\lVert y_i - X_{-i} w \rVert^2 + \zeta \lVert w \rVert^2` over
    these periods, with :math:`\zeta` given as a multiple of the median of the series' sums of squares. One Gram matrix
    serves all of them.

    Parameters
    ----------
    series
        Shape (n_series, n_periods), three series at least.
    n_fit
        Number of periods, from the first on, over which weights are chosen.
    rel_ridge
        Penalty on squared weights; with 0 the gaps over the first periods are distances to the convex hull of the others.

    Returns
    -------
    ndarray
        Shape (n_series, n_periods).

    Examples
    --------
    >>> import numpy as np
    >>> gaps_among(np.array([[0.0, 5.0], [1.0, 0.0], [2.0, 1.0]]), 1).round(9).tolist()
    [[-1.0, 5.0], [0.0, -3.0], [1.0, 1.0]]
    """
    rows = series - np.median(series, axis=0)
    history = rows[:, :n_fit]
    gram = history @ history.T
    square = np.diag(gram).copy()
    penalised = gram + rel_ridge * float(np.median(square)) * np.eye(len(gram))
    solution = solve_simplex(penalised, gram, square, ~np.eye(len(gram), dtype=bool))
    gaps: FloatArray = rows - solution.weights @ rows
    return gaps
