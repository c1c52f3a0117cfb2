r"""A lower bound on what any partition into balanced pairs costs, by column generation; see :mod:`.supergeos` for the problem."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from causalbench.numerics.supergeos import LARGEST_PAIR, Partition, best_halves

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_CLOSE = 5e-3
"""The bound is good enough at this distance from the relaxation over the pairs met."""

_INERTIA = 0.6
"""Part of the prices of the best bound so far in the next ones (0 .. 1); a lighter hand took twice the time."""

_ROUNDING = 1e-12
"""What rounding makes of inner products, as a part of the sum of squares."""

_SLACK = 1e-7
"""Violations below this share of the best cost found, per market, aren't looked for but taken off the bound."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bound:
    """What no partition costs less than.

    Attributes
    ----------
    value
        The bound.
    complete
        Whether every pair was priced. Where there are too many, the bound is zero, which every sum of squares is.
    groups
        The pairs met, shape (n_groups, 6), filled up with -1.
    costs
        Their costs, shape (n_groups,).
    """

    value: float
    complete: bool
    groups: IntArray
    costs: FloatArray


def lower_bound(
    points: FloatArray,
    fixed: IntArray,
    known: Iterable[Partition],
    *,
    max_size: int,
    min_pairs: int,
    n_rounds: int,
    most_steps: int,
) -> Bound:
    """Bound the cost of every partition from below.

    Parameters
    ----------
    points, fixed, max_size, min_pairs
        As in :func:`causalbench.numerics.supergeos.search`.
    known
        Partitions found, of finite cost; their pairs are the first columns.
    n_rounds
        Most rounds of prices from HiGHS and enumeration.
    most_steps
        Most sets that an enumeration may visit.

    Examples
    --------
    Three markets can only form one pair, so that the bound is its cost:

    >>> import numpy as np
    >>> from causalbench.numerics.supergeos import search
    >>> sizes, free = np.array([[5.0], [3.0], [1.0]]), np.zeros(3, dtype=int)
    >>> found = search(sizes, free, max_size=3, min_pairs=1, n_shakes=0, rng=np.random.default_rng(0))
    >>> bound = lower_bound(sizes, free, found, max_size=3, min_pairs=1, n_rounds=5, most_steps=1000)
    >>> found[0].cost, round(bound.value, 6)
    (1.0, 1.0)
    """
    known = list(known)
    points, fixed = np.ascontiguousarray(points, dtype=np.float64), np.ascontiguousarray(fixed, dtype=np.int64)
    n, total = len(points), float((points**2).sum())
    best = min(partition.cost for partition in known)
    scale = max(best, 1e-12 * total)
    points = points / np.sqrt(scale)
    slack = max(_SLACK * max(best / scale, 1e-3), _ROUNDING * total / scale) / n
    groups = {tuple(np.flatnonzero(found.pair == p).tolist()) for found in known for p in range(found.pair.max() + 1)}
    columns = {group: _cost(points, fixed, group) for group in sorted(groups)}
    centre, value, whole, inertia = np.zeros(n + 1), -np.inf, True, 0.0
    for _ in range(n_rounds):
        prices, most = _prices(columns, n, min_pairs)
        # Prices between the new ones and those of the best bound swing less from round to round.
        prices = inertia * centre + (1 - inertia) * prices
        found, fall, steps = _priced(points, fixed, prices[:n], prices[n], max_size, slack, most_steps)
        if steps > most_steps:
            whole = False
            break
        bound = float(prices[:n].sum() - fall.sum() - n * slack / 2 + min_pairs * prices[n])
        if bound > value:
            centre, value = prices, bound
        fresh = {tuple(sorted(row[row >= 0].tolist())) for row in found if row[0] >= 0} - columns.keys()
        # Over all pairs the relaxation is worth at most what it is over these.
        if value >= most * (1 - _CLOSE) or (not fresh and inertia == 0.0):
            break
        inertia = _INERTIA if fresh else 0.0
        columns |= {group: _cost(points, fixed, group) for group in sorted(fresh)}
    table = np.full((len(columns), LARGEST_PAIR), -1)
    for row, group in enumerate(columns):
        table[row, : len(group)] = group
    costs = np.array(list(columns.values())) * scale
    return Bound(value=max(value, 0.0) * scale, complete=whole, groups=table, costs=costs)


def _cost(points: FloatArray, fixed: IntArray, group: tuple[int, ...]) -> float:
    cost, _ = best_halves(points, fixed, np.array(group, dtype=np.int64), len(group))
    return float(cost)


def _membership(groups: Iterable[tuple[int, ...]], n: int):  # type: ignore[no-untyped-def]
    from scipy.sparse import csc_array

    groups = list(groups)
    rows = np.concatenate([np.array(group) for group in groups])
    starts = np.concatenate([[0], np.cumsum([len(group) for group in groups])])
    return csc_array((np.ones(len(rows)), rows, starts), shape=(n, len(groups)))


def _prices(columns: dict[tuple[int, ...], float], n: int, min_pairs: int) -> tuple[FloatArray, float]:
    """Solve the relaxation over the columns: the price of every market, last that of the number of pairs; and its cost."""
    from scipy.optimize import linprog

    costs = np.array(list(columns.values()))
    finite = np.isfinite(costs)
    groups = [group for group, good in zip(columns, finite, strict=True) if good]
    done = linprog(
        costs[finite],
        A_eq=_membership(groups, n),
        b_eq=np.ones(n),
        A_ub=-np.ones((1, len(groups))),
        b_ub=[-float(min_pairs)],
        bounds=(0, None),
        method="highs",
    )
    if done.status != 0:
        return np.zeros(n + 1), np.inf
    return np.append(done.eqlin.marginals, max(float(-done.ineqlin.marginals[0]), 0.0)), float(done.fun)


@njit(cache=True, nogil=True)
def _priced(points, fixed, prices, floor, max_size, slack, most_steps):  # type: ignore[no-untyped-def]
    """Price every set of 2 to max_size markets; return for each market its most violated set, its fall, and the work done.

    A market's price has to fall by its part of the worst violation that it is a member of.
    """
    n = len(points)
    found, worst, fall = np.full((n, max_size), -1, np.int64), np.zeros(n), np.zeros(n)
    order = np.argsort(-prices)
    if max_size > 4:
        steps = _priced_deep(points, fixed, prices, floor, order, slack, most_steps, found, worst, fall)
        return found, fall, steps
    ordered = points[order]
    gram = np.ascontiguousarray(ordered @ ordered.T)
    price = prices[order]
    square = np.empty(n)
    for i in range(n):
        square[i] = gram[i, i]
    chosen = np.empty(4, np.int64)
    for i in range(n):
        if floor + price[i] + max(max_size - 1, 1) * max(price[min(i + 1, n - 1)], 0.0) <= slack:
            break
        for j in range(i + 1, n):
            pair = floor + price[i] + price[j]
            if pair + (max_size - 2) * max(price[j], 0.0) <= slack:
                break
            chosen[0], chosen[1] = order[i], order[j]
            if pair > slack:
                _record(points, fixed, chosen, 2, pair, slack, found, worst, fall)
            if max_size == 2:
                continue
            _price_triples(points, fixed, gram, square, price, order, i, j, pair, max_size, slack, found, worst, fall)
    return found, fall, 0


@njit(cache=True, nogil=True)
def _price_triples(points, fixed, gram, square, price, order, i, j, pair, max_size, slack, found, worst, fall):  # type: ignore[no-untyped-def]
    """Price the sets of three and four markets that begin with two."""
    n = len(price)
    chosen = np.empty(4, np.int64)
    chosen[0], chosen[1] = order[i], order[j]
    both, apart = square[i] + square[j] + 2 * gram[i, j], square[i] + square[j] - 2 * gram[i, j]
    for k in range(j + 1, n):
        triple = pair + price[k]
        if triple + (max_size - 3) * max(price[k], 0.0) <= slack:
            break
        chosen[2] = order[k]
        sum_k, gap_k = gram[i, k] + gram[j, k], gram[i, k] - gram[j, k]
        if triple > slack and triple - min(both - 2 * sum_k, apart - 2 * abs(gap_k)) - square[k] > slack:
            _record(points, fixed, chosen, 3, triple, slack, found, worst, fall)
        if max_size == 3:
            continue
        end = k + 1
        while end < n and triple + price[end] > slack:
            end += 1
        # Squares of x_i + x_j + x_k, x_i + x_j - x_k, x_i - x_j + x_k, x_i - x_j - x_k.
        a, b = both + square[k] + 2 * sum_k, both + square[k] - 2 * sum_k
        c, d = apart + square[k] + 2 * gap_k, apart + square[k] - 2 * gap_k
        if _best_fourth(gram, square, price, i, j, k, end, a, b, c, d) <= slack - triple:
            continue
        for m in range(k + 1, end):
            if _worth_fourth(gram, square, price, i, j, k, m, a, b, c, d) > slack - triple:
                chosen[3] = order[m]
                _record(points, fixed, chosen, 4, triple + price[m], slack, found, worst, fall)


@njit(cache=True, nogil=True, fastmath=True, inline="always")
def _worth_fourth(gram, square, price, i, j, k, m, a, b, c, d):  # type: ignore[no-untyped-def]
    """Price of a fourth market less the cost of the set, from inner products alone."""
    p, q, r = gram[i, m], gram[j, m], gram[k, m]
    together, apart = p + q, p - q
    first = min(a - 2 * (together + r), b - 2 * abs(together - r))
    second = min(c - 2 * abs(apart + r), d - 2 * abs(apart - r))
    return price[m] - square[m] - min(first, second)


@njit(cache=True, nogil=True, fastmath=True)
def _best_fourth(gram, square, price, i, j, k, end, a, b, c, d):  # type: ignore[no-untyped-def]
    best = -1e300
    for m in range(k + 1, end):
        best = max(best, _worth_fourth(gram, square, price, i, j, k, m, a, b, c, d))
    return best


@njit(cache=True, nogil=True)
def _record(points, fixed, chosen, size, worth, slack, found, worst, fall):  # type: ignore[no-untyped-def]
    cost, _ = best_halves(points, fixed, chosen, size)
    violation = worth - cost
    if violation <= slack:
        return
    for k in range(size):
        i = chosen[k]
        fall[i] = max(fall[i], violation / size)
        if violation > worst[i]:
            worst[i] = violation
            found[i, :size], found[i, size:] = chosen[:size], -1


@njit(cache=True, nogil=True)
def _priced_deep(points, fixed, prices, floor, order, slack, most_steps, found, worst, fall):  # type: ignore[no-untyped-def]
    """Visit sets of any size depth first, dearest markets first, and return how many."""
    n, max_size = len(points), found.shape[1]
    stack, chosen = np.zeros(max_size, np.int64), np.zeros(max_size, np.int64)
    sums = np.full(max_size + 1, floor)
    depth, steps = 0, 0
    stack[0] = 0
    while depth >= 0:
        here = stack[depth]
        # What the members so far and the dearest of the rest could be worth at most.
        worth = -1.0
        if here < n:
            rest = prices[order[here]]
            most = max_size - depth if rest > 0 else max(1, 2 - depth)
            worth = sums[depth] + most * rest
        if worth <= slack:
            depth -= 1
            continue
        stack[depth] += 1
        steps += 1
        if steps > most_steps:
            return steps
        chosen[depth] = order[here]
        sums[depth + 1] = sums[depth] + prices[order[here]]
        size = depth + 1
        if size >= 2 and sums[size] > slack:
            _record(points, fixed, chosen, size, sums[size], slack, found, worst, fall)
        if size < max_size:
            depth += 1
            stack[depth] = here + 1
    return steps
