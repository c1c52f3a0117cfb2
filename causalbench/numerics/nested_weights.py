r"""Donor weights from predictors whose importance is itself chosen: the nested problem of the classic synthetic control.

.. math::
    \min_{v \ge 0,\ \sum_p v_p = 1} \frac1T \Bigl\lVert \sum_j w_j(v)\, d_j \Bigr\rVert^2, \qquad
    w(v) = \arg\min_{w \ge 0,\ \sum_j w_j = 1} \sum_p v_p \Bigl(\sum_j w_j z_{jp}\Bigr)^2

(Abadie, Gardeazabal 2003, appendix B; Abadie, Diamond, Hainmueller 2010, section 2.3), with :math:`z_j` the predictors and
:math:`d_j` the outcomes of donor :math:`j`, both less the treated unit's. Every inner problem is solved exactly, by the
active set of :mod:`causalbench.numerics.simplex` on the few donors that matter, priced against all of them. The outer
objective is piecewise smooth and has many local minima. It is searched in :math:`\log_{10} v` between -8 and 0 of the
largest (the lower bound of Becker, Kloessner 2018, Econometrics and Statistics 5, 1-19, and their program MSCMT), with the
gradient of the piece at hand: a quasi-Newton descent from each of a grid of starts, hops of one importance at a time out
of the best few minima, and a pattern search at the end that only compares. **The inner optimum is certified, the outer
isn't**: ``bound``, the outer objective of unrestricted weights, says how much lower it could be at most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.linalg import null_space
from scipy.stats import qmc

from causalbench.numerics.simplex import solve_one, solve_simplex

FloatArray = NDArray[np.float64]

_LOWEST = -8.0
_STARTS = 64
_STEPS = (20, 40)
"""Quasi-Newton steps from every start, and from the best minima and their hops."""
_BEST = 8
_HOPS = 5
_SWEEPS = 500
_LEVELS = (-0.01, -2.7, -5.3, -7.99)
_SAME = 1e-3
"""Objectives this close, relatively, are one minimum."""
_MESH = 4096.0
"""Places are multiples of its inverse, and objectives are ranked in as many digits: rounding errors leave no trace."""
_PERFECT = 1e-10
_PREFERENCE = 1e6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NestedFit:
    """Solution of one nested problem.

    Attributes
    ----------
    weights
        Shape (n_donors,).
    importance
        Weight of each predictor, shape (n_predictors,), sum one; equal where ``matched``.
    loss
        Mean squared outcome gap, the outer objective.
    bound
        The same without regard to predictors: no importance can go below it.
    rel_gap
        Relative duality gap of the inner problem at ``importance``; where ``matched``, of the problem that weighs a mismatch of
        predictors a million times as much as one of outcomes.
    matched
        Whether some mixture of donors has every predictor of the treated exactly. Then importance has no meaning, and of
        these mixtures the one with the smallest loss is taken.
    """

    weights: FloatArray
    importance: FloatArray
    loss: float
    bound: float
    rel_gap: float
    matched: bool


def solve_nested(predictors: FloatArray, outcomes: FloatArray) -> NestedFit:
    """Choose the importance of predictors so that the weights it implies track the outcome.

    Parameters
    ----------
    predictors
        Donors less the treated, shape (n_donors, n_predictors), each predictor in units of its spread.
    outcomes
        Donors less the treated in the periods to be tracked, shape (n_donors, n_periods).

    Returns
    -------
    NestedFit
        The same to the last bit in whichever order the donors come.

    Examples
    --------
    >>> import numpy as np
    >>> donors = np.array([[1.0, 0.5], [-1.0, 2.0], [3.0, 3.0]])
    >>> fit = solve_nested(donors, np.array([[1.0, 1.0], [-1.0, -1.0], [0.0, 4.0]]))
    >>> fit.weights.round(3).tolist(), round(fit.loss, 3), fit.matched
    ([0.5, 0.5, 0.0], 0.0, False)
    """
    order = np.lexsort(np.hstack([outcomes, predictors]).T)
    z, d = np.ascontiguousarray(predictors[order]), np.ascontiguousarray(outcomes[order])
    products = d @ d.T / d.shape[1]
    none = np.zeros(1)
    bound = solve_simplex(products, np.zeros((1, len(z))), none).weights[0]
    equal = np.full(z.shape[1], 1.0 / z.shape[1])
    weights, member = np.zeros(len(z)), _nearest(z)
    _inner(z, equal, member, weights)
    spread, size = (float(np.median(norms)) or 1.0 for norms in ((z**2).sum(axis=1), np.diag(products)))
    matched = float(((weights @ z) ** 2).sum()) <= _PERFECT * spread
    if matched:
        importance = equal
        both = _PREFERENCE / spread * z @ z.T + products / size
        solution = solve_simplex(both, np.zeros((1, len(z))), none)
        weights, rel_gap = _matched_exactly(z, d, solution.weights[0]), float(solution.rel_gap[0])
    else:
        importance = _importance(_search(z, products, member))
        _inner(z, importance, member, weights)
        rel_gap = _rel_gap(z, importance, weights)
    back = np.empty(len(z))
    back[order] = weights
    return NestedFit(
        weights=back,
        importance=importance,
        loss=float(weights @ products @ weights),
        bound=float(bound @ products @ bound),
        rel_gap=rel_gap,
        matched=matched,
    )


def _rel_gap(z: FloatArray, importance: FloatArray, weights: FloatArray) -> float:
    """Return the certificate of final weights, as :mod:`causalbench.numerics.simplex` defines it."""
    prices = z @ (importance * (weights @ z))
    loss, floor = float(weights @ prices), 1e-5 * float(np.median((z**2) @ importance))
    return max(loss - float(prices.min()), 0.0) / (max(loss, floor) or 1.0)


def _matched_exactly(z: FloatArray, d: FloatArray, weights: FloatArray) -> FloatArray:
    """Solve again on the donors with weight, predictors now equal and not only nearly so."""
    used = np.flatnonzero(weights)
    equations = np.vstack([np.ones(len(used)), z[used].T])
    found = np.linalg.lstsq(equations, np.eye(len(equations))[0], rcond=None)[0]
    free = null_space(equations)
    found = found - free @ np.linalg.lstsq(d[used].T @ free, d[used].T @ found, rcond=None)[0]
    if (found < 0).any() or np.abs(equations @ found - np.eye(len(equations))[0]).max() > _PERFECT:
        return weights
    exact = np.zeros(len(weights))
    exact[used] = found
    return exact


def _nearest(z: FloatArray) -> NDArray[np.bool_]:
    """Begin with the donors that are nearest in some predictor, and in all of them together."""
    member = np.zeros(len(z), dtype=np.bool_)
    member[np.abs(z).argmin(axis=0)] = True
    member[np.argsort((z**2).sum(axis=1), kind="stable")[:4]] = True
    return member


def _search(z: FloatArray, products: FloatArray, member: NDArray[np.bool_]) -> FloatArray:
    """Return the logarithms of the best importance found."""
    found = [_descend(z, products, member, start, _STEPS[0]) for start in _starts(z.shape[1])]
    minima: list[tuple[float, FloatArray]] = []
    for i in _ranked([loss for loss, _ in found]):
        if len(minima) < _BEST and all(abs(found[i][0] - other) > _SAME * other for other, _ in minima):
            minima.append(found[i])
    ends = [_hop(z, products, member, x) for _, x in minima]
    return _compare(z, products, member, ends[_ranked([loss for loss, _ in ends])[0]][1])


def _ranked(losses: list[float]) -> list[int]:
    """Return the order of objectives, those that only rounding tells apart as they come."""
    digits = np.round(np.log(np.maximum(losses, 1e-300)) * 1e6)
    order: list[int] = np.argsort(digits, kind="stable").tolist()
    return order


def _starts(n: int) -> FloatArray:
    """Return a Sobol grid, all predictors alike, and each predictor above the others."""
    grid = qmc.Sobol(n, scramble=False).random(_STARTS) * _LOWEST
    points: FloatArray = np.vstack([np.full((1, n), -0.5), grid[1:], 0.5 * _LOWEST + 3.9 * np.eye(n)])
    return np.clip(points, _LOWEST + 0.01, -0.01)


def _hop(z: FloatArray, products: FloatArray, member: NDArray[np.bool_], x: FloatArray) -> tuple[float, FloatArray]:
    """Descend, move one importance far away and descend again, for as long as that finds something lower."""
    best: tuple[float, FloatArray] = _descend(z, products, member, x, _STEPS[1])
    for _ in range(_HOPS):
        inside = np.clip(best[1], _LOWEST + 0.01, -0.01)
        moved = np.repeat(inside[None], len(x) * len(_LEVELS), axis=0)
        moved[np.arange(len(moved)), np.repeat(np.arange(len(x)), len(_LEVELS))] = np.tile(_LEVELS, len(x))
        order = _ranked([_descend(z, products, member, one, 0)[0] for one in moved])[: len(x) + 1]
        found = [best, *(_descend(z, products, member, moved[i], _STEPS[1]) for i in order)]
        next_best = found[_ranked([loss for loss, _ in found])[0]]
        if next_best[0] >= best[0] * (1 - 1e-6):
            break
        best = next_best
    return best


def _compare(z: FloatArray, products: FloatArray, member: NDArray[np.bool_], start: FloatArray) -> FloatArray:
    """Search by a pattern of steps, fixed beforehand, that grow after success and halve after failure."""
    x, steps = start.copy(), np.full(len(start), 1.0 / 64.0)
    loss = _descend(z, products, member, x, 0)[0]

    def better(tried: FloatArray) -> bool:
        nonlocal x, loss
        tried = np.clip(tried, _LOWEST, 0.0)
        found = _descend(z, products, member, tried, 0)[0]
        if found >= loss * (1.0 - 1e-10):
            return False
        x, loss = tried, found
        return True

    for _ in range(_SWEEPS):
        if steps.max() <= 1e-6:
            break
        before = x
        for p in range(len(x)):
            way = steps[p] * np.eye(len(x))[p]
            steps[p] *= 2.0 if better(x + way) or better(x - way) else 0.5
        while (x != before).any():
            before, ahead = x, 2.0 * x - before
            if not better(ahead):
                break
    return x


@njit(cache=True, nogil=True, error_model="numpy")
def _importance(x):  # type: ignore[no-untyped-def]
    """Turn logarithms into shares."""
    v = np.empty(len(x))
    for p in range(len(x)):
        v[p] = 10.0 ** min(max(x[p], _LOWEST), 0.0)
    return v / v.sum()


@njit(cache=True, nogil=True, error_model="numpy")
def _inner(z, v, member, weights):  # type: ignore[no-untyped-def]  # noqa: C901 - one kernel
    """Fill the weights for one importance; donors that matter become members."""
    n, k = z.shape
    norms = np.zeros(n)
    for j in range(n):
        for p in range(k):
            norms[j] += v[p] * z[j, p] ** 2
    floor = 1e-5 * norms.mean()
    weights[:] = 0.0
    while True:
        columns = np.flatnonzero(member)
        m = len(columns)
        gram, share = np.empty((m, m)), np.zeros(m)
        for a in range(m):
            for b in range(a + 1):
                entry = 0.0
                for p in range(k):
                    entry += v[p] * z[columns[a], p] * z[columns[b], p]
                gram[a, b] = entry
                gram[b, a] = entry
        nothing = np.zeros(m)
        solve_one(gram, nothing, 0.0, nothing, np.arange(m), share)
        slope, loss = np.zeros(k), 0.0
        for p in range(k):
            for a in range(m):
                slope[p] += share[a] * z[columns[a], p]
            loss += v[p] * slope[p] ** 2
            slope[p] *= v[p]
        lowest, entering = np.inf, 0
        for j in range(n):
            price = 0.0
            for p in range(k):
                price += z[j, p] * slope[p]
            if price < lowest:
                lowest, entering = price, j
        if member[entering] or loss - lowest <= 1e-10 * max(loss, floor):
            for a in range(m):
                weights[columns[a]] = share[a]
            _refine(z, slope, gram, columns, share, weights)
            return
        member[entering] = True


@njit(cache=True, nogil=True, error_model="numpy")
def _refine(z, slope, gram, columns, share, weights):  # type: ignore[no-untyped-def]
    """Improve the weights once: products of predictors of very unequal importance lose digits, residuals don't."""
    used = np.flatnonzero(share > 0.0)
    m = len(used)
    small, steep = np.empty((m, m)), np.zeros(m)
    for a in range(m):
        for b in range(m):
            small[a, b] = gram[used[a], used[b]]
        for p in range(z.shape[1]):
            steep[a] -= z[columns[used[a]], p] * slope[p]
    change = _bordered(small, steep)
    if np.all(np.isfinite(change)) and np.all(share[used] + change > 0.0):
        for a in range(m):
            weights[columns[used[a]]] += change[a]


@njit(cache=True, nogil=True, error_model="numpy")
def _bordered(gram, right):  # type: ignore[no-untyped-def]  # noqa: C901 - one kernel
    """Solve gram a + nu 1 = right, 1'a = 0 by elimination with pivots; a small system."""
    m = len(right)
    scale = 0.0
    for a in range(m):
        scale += gram[a, a] / m
    rows = np.zeros((m + 1, m + 2))
    for a in range(m):
        rows[a, :m] = gram[a]
        rows[a, m], rows[m, a], rows[a, m + 1] = scale, scale, right[a]
    for a in range(m + 1):
        top = a
        for b in range(a + 1, m + 1):
            if abs(rows[b, a]) > abs(rows[top, a]):
                top = b
        for c in range(a, m + 2):
            rows[a, c], rows[top, c] = rows[top, c], rows[a, c]
        if rows[a, a] == 0.0:
            return np.zeros(m)
        for b in range(a + 1, m + 1):
            ratio = rows[b, a] / rows[a, a]
            for c in range(a, m + 2):
                rows[b, c] -= ratio * rows[a, c]
    for a in range(m, -1, -1):
        for c in range(a + 1, m + 1):
            rows[a, m + 1] -= rows[a, c] * rows[c, m + 1]
        rows[a, m + 1] /= rows[a, a]
    return rows[:m, m + 1].copy()


@njit(cache=True, nogil=True, error_model="numpy")
def _loss(z, products, member, x):  # type: ignore[no-untyped-def]
    """Return the outer objective."""
    weights = np.zeros(len(z))
    _inner(z, _importance(x), member, weights)
    used = np.flatnonzero(weights > 0.0)
    loss = 0.0
    for i in used:
        for j in used:
            loss += weights[i] * products[i, j] * weights[j]
    return loss


@njit(cache=True, nogil=True, error_model="numpy")
def _loss_and_gradient(z, products, member, x, gradient):  # type: ignore[no-untyped-def]
    r"""Return the outer objective and fill its gradient.

    On a piece the donors with weight are fixed and solve :math:`K w = \mu 1, 1'w = 1` with :math:`K = ZVZ'`; with the
    adjoint :math:`K a + \nu 1 = 2 D D'w / T, 1'a = 0` the derivative for :math:`v_p` is :math:`-(z_p'a)(z_p'w)`.
    """
    k, v, weights = z.shape[1], _importance(x), np.zeros(len(z))
    _inner(z, v, member, weights)
    used = np.flatnonzero(weights > 0.0)
    m = len(used)
    gram, right, loss = np.zeros((m, m)), np.zeros(m), 0.0
    for a in range(m):
        for b in range(m):
            for p in range(k):
                gram[a, b] += v[p] * z[used[a], p] * z[used[b], p]
            right[a] += 2.0 * products[used[a], used[b]] * weights[used[b]]
        loss += 0.5 * weights[used[a]] * right[a]
    gradient[:] = 0.0
    if m == 1:
        return loss
    adjoint = _bordered(gram, right)
    for p in range(k):
        along, gap = 0.0, 0.0
        for a in range(m):
            along += z[used[a], p] * adjoint[a]
            gap += z[used[a], p] * weights[used[a]]
        if _LOWEST < x[p] < 0.0:
            gradient[p] = -np.log(10.0) * v[p] * along * gap
    return loss


@njit(cache=True, nogil=True, error_model="numpy")
def _descend(z, products, member, start, n_steps):  # type: ignore[no-untyped-def]  # noqa: C901 - one kernel
    """Descend by BFGS with a weak Wolfe line search by bisection, which also copes with kinks; return loss and place."""
    k, x = len(start), start.copy()
    slope, next_slope = np.zeros(k), np.zeros(k)
    loss = _loss_and_gradient(z, products, member, x, slope)
    steep = np.sqrt((slope * slope).sum())
    inverse = np.eye(k) / (steep if steep > 0.0 else 1.0)
    for step in range(n_steps):
        way = -inverse @ slope
        longest = np.abs(way).max()
        if longest > 4.0:
            way *= 4.0 / longest
        fall = (way * slope).sum()
        if fall >= -1e-9 * loss:
            break
        length, low, high = 1.0, 0.0, np.inf
        next_loss, next_x = loss, x
        for _ in range(12):
            next_x = np.round((x + length * way) * _MESH) / _MESH
            next_loss = _loss_and_gradient(z, products, member, next_x, next_slope)
            if next_loss > loss + 1e-4 * length * fall:
                high = length
            elif (next_slope * way).sum() < 0.5 * fall:
                low = length
            else:
                break
            length = 0.5 * (low + high) if high < np.inf else 2.0 * low
        if next_loss >= loss:
            break
        moved, turned, gained = next_x - x, next_slope - slope, loss - next_loss
        for p in range(k):
            x[p] = min(max(next_x[p], _LOWEST), 0.0)
        loss, slope[:] = next_loss, next_slope
        curved = (moved * turned).sum()
        if curved > 0.0:
            if step == 0:
                inverse = np.eye(k) * curved / (turned * turned).sum()
            ahead = inverse @ turned
            inverse += np.outer(moved, moved) * ((curved + (turned * ahead).sum()) / curved**2)
            inverse -= (np.outer(ahead, moved) + np.outer(moved, ahead)) / curved
        if gained < 1e-8 * loss:
            break
    return loss, x
