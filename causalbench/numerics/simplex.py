r"""Least squares over the unit simplex by an active-set method on the Gram matrix.

The problem is

.. math:: \min_w \tfrac12\lVert y - Xw\rVert^2 \quad\text{subject to } w \ge 0,\ \textstyle\sum_j w_j = 1.

With :math:`z_j = x_j - y` it is the search for the point of smallest norm in the convex hull of the :math:`z_j`. The
method is Wolfe's (1976, Mathematical Programming 11, 128-149, algorithm of section 4): keep an affinely independent
set of corners, move to the affine minimiser, drop corners whose weight would turn negative, add the corner with the
smallest gradient until none improves. It ends at the exact optimum after finitely many steps, and only needs inner
products, so that one Gram matrix of all units serves every placebo: :math:`z_i'z_j = G_{ij} - c_i - c_j + y'y`.

A tilt :math:`\ell` adds :math:`\ell'w` to the objective, a price for each column, as in the penalised synthetic control. It
can't be folded into :math:`X'y`: the shifted products are then no longer those of any points, and large prices break the
factor.

The certificate is the Frank-Wolfe duality gap :math:`g'w - \min_j g_j` with :math:`g = X'(Xw - y) + \ell`, which bounds
the distance of the objective to its optimum from above.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

GAP_LIMIT = 1e-8
"""A relative duality gap above this is not a solution."""

_STOP = 1e-10
"""The search ends at this relative duality gap, or where rounding lets no corner improve further."""

_GAP_FLOOR = 1e-5
"""Below this share of the corners' median sum of squares a fit is perfect, and the gap is measured against the floor."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimplexFit:
    """Solutions of a batch of problems.

    Attributes
    ----------
    weights
        Shape (n_problems, n_columns); zero for columns that a problem may not use.
    rel_gap
        Duality gap over the residual sum of squares (and twice the tilt) of each problem, shape (n_problems,).
    """

    weights: FloatArray
    rel_gap: FloatArray


def solve_simplex(
    gram: FloatArray,
    cross: FloatArray,
    square: FloatArray,
    allowed: NDArray[np.bool_] | None = None,
    tilt: FloatArray | None = None,
) -> SimplexFit:
    """Solve many simplex least-squares problems that share one design.

    Parameters
    ----------
    gram
        X'X, shape (n, n). Centre the columns first: differences of large numbers lose digits.
    cross
        X'y of each problem, shape (n_problems, n).
    square
        y'y of each problem, shape (n_problems,).
    allowed
        Which columns a problem may use, shape (n_problems, n); all of them when None.
    tilt
        Price of each column, added to half the sum of squares, shape (n_problems, n); none when None.

    Returns
    -------
    SimplexFit
        Weights and certificates, in the order of the problems.

    Raises
    ------
    ValueError
        If a problem has no allowed column.

    Examples
    --------
    >>> import numpy as np
    >>> design, target = np.array([[1.0, 3.0], [2.0, 4.0]]), np.array([2.0, 3.0])
    >>> fit = solve_simplex(design.T @ design, (design.T @ target)[None], np.array([target @ target]))
    >>> fit.weights.round(6).tolist()
    [[0.5, 0.5]]
    """
    gram = np.ascontiguousarray(gram, dtype=np.float64)
    cross = np.ascontiguousarray(np.atleast_2d(cross), dtype=np.float64)
    square = np.ascontiguousarray(np.atleast_1d(square), dtype=np.float64)
    if allowed is None:
        allowed = np.ones(cross.shape, dtype=np.bool_)
    if not allowed.any(axis=1).all():
        raise ValueError("a simplex problem needs at least one allowed column")
    prices = np.zeros((1, cross.shape[1])) if tilt is None else np.ascontiguousarray(tilt, dtype=np.float64)
    weights, gap = np.zeros(cross.shape), np.zeros(len(cross))
    _solve_batch(gram, cross, square, prices, np.ascontiguousarray(allowed), weights, gap)
    return SimplexFit(weights=weights, rel_gap=gap)


@njit(cache=True, nogil=True)
def _solve_batch(gram, cross, square, tilt, allowed, weights, gap):  # type: ignore[no-untyped-def]
    for p in range(len(cross)):
        prices = tilt[min(p, len(tilt) - 1)]
        gap[p] = solve_one(gram, cross[p], square[p], prices, np.flatnonzero(allowed[p]), weights[p])


@njit(cache=True, nogil=True)
def solve_one(gram, cross, square, tilt, columns, weights):  # type: ignore[no-untyped-def]  # noqa: C901 - one kernel
    """Fill one row of weights and return its relative gap; for kernels that have their own loop."""
    n = len(columns)
    norms = np.empty(n)
    scale = 0.0
    for j in range(n):
        norms[j] = gram[columns[j], columns[j]] - 2.0 * cross[columns[j]] + square
        scale += abs(norms[j]) / n
    if scale == 0.0:
        cheapest = 0
        for j in range(n):
            cheapest = j if tilt[columns[j]] < tilt[columns[cheapest]] else cheapest
        weights[columns[cheapest]] = 1.0
        return 0.0
    # One corner of another size must not set the scale by which all others are judged.
    scale = max(np.median(norms), 1e-12 * scale)
    capacity = 32
    support = np.empty(capacity, np.int64)
    share = np.zeros(capacity)
    factor = np.zeros((capacity, capacity))
    # value[j] = z_j'x for the current point x, kept up to date as the weights move.
    value = np.empty(n)
    tilted, first = False, 0
    for j in range(n):
        tilted = tilted or tilt[columns[j]] != 0.0
        nearer = norms[j] + 2.0 * tilt[columns[j]] < norms[first] + 2.0 * tilt[columns[first]]
        first = j if nearer else first
    support[0], share[0], size = first, 1.0, 1
    factor[0, 0] = np.sqrt(max(norms[first], 0.0) + scale)
    _price(gram, cross, square, tilt, columns, support, share, size, value)
    for _ in range(20 * n + 200):
        point = 0.0
        for k in range(size):
            point += share[k] * value[support[k]]
        entering = int(np.argmin(value))
        if point - value[entering] <= _STOP * max(point, _GAP_FLOOR * scale):
            break
        known = False
        for k in range(size):
            known = known or support[k] == entering
        if known:
            break
        if size == capacity:
            support, share, factor = _grow(support, share, factor)
            capacity = len(support)
        independent = _append(gram, cross, square, columns, support, size, factor, entering, scale)
        if not (independent or tilted or point - value[entering] > GAP_LIMIT * max(point, _GAP_FLOOR * scale)):
            break
        support[size], share[size] = entering, 0.0
        if not independent:
            size = _exchange(gram, cross, square, columns, support, share, size, factor, scale)
        size = _descend(gram, cross, square, tilt, tilted, columns, support, share, size + 1, factor, scale)
        _price(gram, cross, square, tilt, columns, support, share, size, value)
    for k in range(size):
        weights[columns[support[k]]] = share[k]
    objective, price = 0.0, 0.0
    for k in range(size):
        objective += share[k] * value[support[k]]
        price += share[k] * tilt[columns[support[k]]]
    lowest = value[0]
    for j in range(n):
        lowest = min(lowest, value[j])
    return max(objective - lowest, 0.0) / max(abs(objective + price), _GAP_FLOOR * scale)


@njit(cache=True, nogil=True)
def _price(gram, cross, square, tilt, columns, support, share, size, value):  # type: ignore[no-untyped-def]
    """Compute z_j'x for every corner j from the Gram matrix."""
    n = len(columns)
    shift = square
    for k in range(size):
        shift -= share[k] * cross[columns[support[k]]]
    for j in range(n):
        value[j] = shift - cross[columns[j]] + tilt[columns[j]]
    for k in range(size):
        row = gram[columns[support[k]]]
        weight = share[k]
        for j in range(n):
            value[j] += weight * row[columns[j]]


@njit(cache=True, nogil=True)
def _append(gram, cross, square, columns, support, size, factor, entering, scale):  # type: ignore[no-untyped-def]
    """Add a row to the Cholesky factor of z'z + scale * 11'; False when the corner is affinely dependent."""
    new = columns[entering]
    for i in range(size):
        old = columns[support[i]]
        entry = gram[old, new] - cross[old] - cross[new] + square + scale
        for k in range(i):
            entry -= factor[i, k] * factor[size, k]
        factor[size, i] = entry / factor[i, i]
    diagonal = gram[new, new] - 2.0 * cross[new] + square + scale
    rest = diagonal
    for k in range(size):
        rest -= factor[size, k] * factor[size, k]
    if rest <= 1e-14 * diagonal:
        return False
    factor[size, size] = np.sqrt(rest)
    return True


@njit(cache=True, nogil=True)
def _exchange(gram, cross, square, columns, support, share, size, factor, scale):  # type: ignore[no-untyped-def]
    """Trade a corner for the last one, which is an affine combination of the others: only the price falls on the way.

    Return the number of corners before the last.
    """
    traded = np.empty(size)
    for i in range(size - 1, -1, -1):
        entry = factor[size, i]
        for k in range(i + 1, size):
            entry -= factor[k, i] * traded[k]
        traded[i] = entry / factor[i, i]
    step, leaving = np.inf, 0
    for k in range(size):
        if traded[k] > 0.0 and share[k] / traded[k] < step:
            step, leaving = share[k] / traded[k], k
    for k in range(size):
        share[k] = max(share[k] - step * traded[k], 0.0)
    share[size] = step
    for k in range(leaving, size):
        support[k], share[k] = support[k + 1], share[k + 1]
    _refactor(gram, cross, square, columns, support, size, factor, leaving, scale)
    return size - 1


@njit(cache=True, nogil=True)
def _descend(gram, cross, square, tilt, tilted, columns, support, share, size, factor, scale):  # type: ignore[no-untyped-def]
    """Move to the affine minimiser of the corners kept, dropping those that would leave the simplex."""
    target, priced = np.empty(size), np.zeros(size)
    while True:
        _affine_minimiser(factor, size, target)
        if tilted:
            _tilt_minimiser(tilt, columns, support, factor, size, target, priced)
        step, leaving = 1.0, -1
        for k in range(size):
            if target[k] <= 0.0:
                ratio = share[k] / (share[k] - target[k]) if share[k] > target[k] else 0.0
                if ratio < step or leaving < 0:
                    step, leaving = min(ratio, step), k
        for k in range(size):
            share[k] += step * (target[k] - share[k])
        if leaving < 0:
            return size
        for k in range(leaving, size - 1):
            support[k], share[k] = support[k + 1], share[k + 1]
        size -= 1
        _refactor(gram, cross, square, columns, support, size, factor, leaving, scale)


@njit(cache=True, nogil=True)
def _affine_minimiser(factor, size, target):  # type: ignore[no-untyped-def]
    """Solve (z'z + scale * 11') v = 1 and normalise v to sum one."""
    for i in range(size):
        entry = 1.0
        for k in range(i):
            entry -= factor[i, k] * target[k]
        target[i] = entry / factor[i, i]
    total = 0.0
    for i in range(size - 1, -1, -1):
        entry = target[i]
        for k in range(i + 1, size):
            entry -= factor[k, i] * target[k]
        target[i] = entry / factor[i, i]
        total += target[i]
    for i in range(size):
        target[i] /= total


@njit(cache=True, nogil=True)
def _tilt_minimiser(tilt, columns, support, factor, size, target, priced):  # type: ignore[no-untyped-def]
    """Move the affine minimiser by the prices: with M v = 1 and M u = tilt it is (1 + 1'u) v / 1'v - u."""
    for i in range(size):
        entry = tilt[columns[support[i]]]
        for k in range(i):
            entry -= factor[i, k] * priced[k]
        priced[i] = entry / factor[i, i]
    total = 0.0
    for i in range(size - 1, -1, -1):
        entry = priced[i]
        for k in range(i + 1, size):
            entry -= factor[k, i] * priced[k]
        priced[i] = entry / factor[i, i]
        total += priced[i]
    for i in range(size):
        target[i] = (1.0 + total) * target[i] - priced[i]


@njit(cache=True, nogil=True)
def _refactor(gram, cross, square, columns, support, size, factor, start, scale):  # type: ignore[no-untyped-def]
    """Rebuild the factor's rows from the one that left."""
    for i in range(start, size):
        _append(gram, cross, square, columns, support, i, factor, support[i], scale)


@njit(cache=True, nogil=True)
def _grow(support, share, factor):  # type: ignore[no-untyped-def]
    """Double the room for the support."""
    old = len(support)
    wider, longer, larger = np.empty(2 * old, np.int64), np.zeros(2 * old), np.zeros((2 * old, 2 * old))
    wider[:old], longer[:old], larger[:old, :old] = support, share, factor
    return wider, longer, larger
