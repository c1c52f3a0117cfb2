r"""Early-stopped weights on the unit simplex, as R's synthdid computes them; not optima.

Frank and Wolfe's method moves towards the corner with the smallest gradient by exact line search. It converges slowly, and
synthdid 0.0.9 stops it early: 100 steps from uniform weights, then weights of at most a quarter of the largest are set to
zero, then up to 10,000 steps more, each run ended by the first step that lowers the objective by less than
:math:`(10^{-5}\hat\sigma)^2`. The answer depends on where it stopped, so it is only offered to reproduce that program;
:mod:`causalbench.numerics.simplex` finds the optimum.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_FIRST_STEPS = 100
_STEPS = 10_000
_KEPT = 0.25
_DECREASE = 1e-5


def early_stopped_weights(design: FloatArray, target: FloatArray, *, zeta: float, noise_level: float) -> FloatArray:
    r"""Approach the minimum of :math:`\lVert y - Xw\rVert^2 / n + \zeta^2 \lVert w\rVert^2` on the simplex.

    Parameters
    ----------
    design
        X, shape (n_rows, n_columns), about its columns' means where the problem has an intercept.
    target
        y, shape (n_rows,), likewise.
    zeta
        Root of the ridge penalty per row.
    noise_level
        Standard deviation of the outcome's first differences, which sets where to stop.

    Returns
    -------
    FloatArray
        Weights, shape (n_columns,), not negative and summing to one.

    Examples
    --------
    >>> import numpy as np
    >>> design, target = np.array([[1.0, 3.0], [2.0, 4.0]]), np.array([2.0, 3.0])
    >>> early_stopped_weights(design, target, zeta=0.0, noise_level=1.0).round(6).tolist()
    [0.5, 0.5]
    """
    design, target = np.ascontiguousarray(design), np.ascontiguousarray(target)
    n_columns = design.shape[1]
    smallest = (_DECREASE * noise_level) ** 2
    weights: FloatArray = _descend(design, target, np.full(n_columns, 1 / n_columns), zeta**2, smallest, _FIRST_STEPS)
    weights[weights <= _KEPT * weights.max()] = 0.0
    result: FloatArray = _descend(design, target, weights / weights.sum(), zeta**2, smallest, _STEPS)
    return result


@njit(cache=True, nogil=True)
def _descend(design, target, weights, penalty, smallest, steps):  # type: ignore[no-untyped-def]
    """Take steps until one lowers the objective by less than ``smallest``, two at least."""
    n_rows = len(target)
    ridge = n_rows * penalty
    before = np.inf
    for step in range(steps):
        residual = np.dot(design, weights) - target
        gradient = np.dot(residual, design) + ridge * weights
        corner = int(np.argmin(gradient))
        move = -weights
        move[corner] += 1.0
        change = design[:, corner] - residual - target
        curvature = np.sum(change**2) + ridge * np.sum(move**2)
        if curvature > 0.0:
            weights = weights + min(1.0, max(0.0, -np.dot(gradient, move) / curvature)) * move
        error = np.dot(design, weights) - target
        objective = penalty * np.sum(weights**2) + np.sum(error**2) / n_rows
        if step > 0 and not before - objective > smallest:
            break
        before = objective
    return weights
