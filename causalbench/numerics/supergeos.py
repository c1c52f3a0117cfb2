r"""Partitions of markets into pairs of balanced groups: a local search, and a lower bound that certifies it.

Markets have features :math:`x_i \in R^d`. A pair is a set g of 2 to m markets, cut into two halves as evenly as its members
allow:

.. math:: c(g) = \min_{s \in \{-1, 1\}^g,\ s \ne \pm 1} \Bigl\lVert \sum_{i \in g} s_i x_i \Bigr\rVert^2

and the partition with the least sum of costs is wanted, in at least :math:`P` pairs. It is NP-hard (Chen, Doudchenko, Jiang,
Stein, Ying 2023). As a set partitioning problem it has the linear relaxation

.. math:: \min_{z \ge 0} \sum_g c(g) z_g \quad\text{subject to}\quad \sum_{g \ni i} z_g = 1,\ \sum_g z_g \ge P

whose dual says: whatever prices :math:`u_i` and :math:`\pi \ge 0` satisfy :math:`\sum_{i \in g} u_i + \pi \le c(g)` for **every**
g, no partition costs less than :math:`\sum_i u_i + P\pi`. Prices come from HiGHS over the pairs met so far. All pairs are then
priced by enumeration, violated ones come in, and what violation is left is taken off the prices of its members, so that the
bound holds whether or not the columns are complete.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.random import Generator
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

_LEAST_GAIN = 1e-2
"""A change has to save this part of a pair's mean cost, or small gains would chase each other for long."""

LARGEST_PAIR = 6
"""Most members of a pair; more make the search too long."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Partition:
    """A partition into pairs.

    Attributes
    ----------
    pair
        Number of each market's pair, shape (n,).
    side
        Its half, -1 or 1, shape (n,); halves may be exchanged unless a market of the pair has a fixed side.
    cost
        Sum of squared differences of the pairs' halves; infinite when fixed sides can't be kept.
    """

    pair: IntArray
    side: IntArray
    cost: float


def search(
    points: FloatArray, fixed: IntArray, *, max_size: int, min_pairs: int, n_shakes: int, rng: Generator
) -> tuple[Partition, ...]:
    """Search partitions: greedy starts, and then the best one shaken again and again.

    A search ends where no two pairs can share out their members better, nor be joined; a shake exchanges a few markets of
    different pairs, and is kept when the search from there ends no worse.

    Parameters
    ----------
    points
        Features, shape (n, d).
    fixed
        Half that a market must be in, -1 or 1, 0 where either will do; shape (n,). It binds up to an exchange of the halves,
        so that it only matters for pairs with two such markets.
    max_size
        Most members of a pair, 2 to 6.
    min_pairs
        Fewest pairs; at most n / 2.
    n_shakes
        Number of shakes.
    rng
        Source of the shakes.

    Returns
    -------
    tuple of Partition
        The best, and what else is worth knowing for a bound: the ends of the greedy starts and of the way to the best.

    Examples
    --------
    >>> import numpy as np
    >>> sizes = np.array([[10.0], [6.0], [4.0], [3.0], [2.0]])
    >>> found = search(sizes, np.zeros(5, dtype=int), max_size=3, min_pairs=2, n_shakes=0, rng=np.random.default_rng(0))
    >>> found[0].cost, found[0].pair.tolist()
    (1.0, [0, 0, 0, 1, 1])
    """
    points, fixed = np.ascontiguousarray(points, dtype=np.float64), np.ascontiguousarray(fixed, dtype=np.int64)
    order = np.argsort(-(points**2).sum(axis=1), kind="stable")
    ends = []
    for n_pairs in _counts(len(points), max_size, min_pairs):
        members, sizes = _greedy(points, fixed, order, n_pairs, max_size)
        costs = _improve(points, fixed, members, sizes, np.ones(n_pairs, dtype=np.bool_), max_size, min_pairs)
        ends.append((float(costs.sum()), members, sizes, costs))
    ends.sort(key=lambda end: end[0])
    cost, members, sizes, costs = ends[0]
    for number in range(n_shakes):
        moved, counts = members.copy(), sizes.copy()
        fresh = _shaken(moved, counts, costs, rng)
        after = _improve(points, fixed, moved, counts, fresh, max_size, min_pairs)
        reached = float(after.sum())
        if reached < cost and number % 10 == 0:
            ends.append((reached, moved, counts, after))
        if reached <= cost:
            cost, members, sizes, costs = reached, moved, counts, after
    found = [_partition(points, fixed, *rest) for _, *rest, _ in ((cost, members, sizes, costs), *ends)]
    return tuple(found)


def _counts(n: int, max_size: int, min_pairs: int) -> list[int]:
    """Return numbers of pairs to begin with: the fewest, and more, which leave room for others than the fullest."""
    fewest = max(min_pairs, -(-n // max_size))
    return sorted({min(fewest + extra, n // 2) for extra in (0, max(n // 40, 1), max(n // 15, 2), n // 2 - fewest)})


def _partition(points: FloatArray, fixed: IntArray, members: IntArray, sizes: IntArray) -> Partition:
    pair, side, total = np.full(len(points), -1), np.zeros(len(points), dtype=np.int64), 0.0
    groups = sorted(sorted(row[:size].tolist()) for row, size in zip(members, sizes, strict=True) if size)
    for number, group in enumerate(groups):
        chosen = np.array(group, dtype=np.int64)
        cost, mask = best_halves(points, fixed, chosen, len(chosen))
        pair[chosen], side[chosen] = number, np.where(mask >> np.arange(len(chosen)) & 1, 1, -1)
        total += cost
    return Partition(pair=pair, side=side, cost=float(total))


def _shaken(members: IntArray, sizes: IntArray, costs: FloatArray, rng: Generator) -> BoolArray:
    """Exchange a few members of pairs at random, in place, and tell which pairs were touched; the dearest ones more often."""
    live = np.flatnonzero(sizes)
    fresh = np.zeros(len(members), dtype=np.bool_)
    total = float(costs[live].sum())
    if len(live) < 2:
        return fresh
    dear = costs[live] / total if 0 < total < np.inf else np.full(len(live), 1 / len(live))
    for _ in range(int(rng.integers(1, 4))):
        g = rng.choice(live, p=dear) if rng.random() < 0.7 else rng.choice(live)
        h = rng.choice(live[live != g])
        i, j = rng.integers(sizes[g]), rng.integers(sizes[h])
        members[g, i], members[h, j] = members[h, j], members[g, i]
        fresh[[g, h]] = True
    return fresh


@njit(cache=True, nogil=True)
def best_halves(points, fixed, chosen, size):  # type: ignore[no-untyped-def]
    """Return cost and mask of the most even cut of a set into two halves, neither of them empty; infinite where none may be.

    Bit k of the mask says that member k is in the half 1.
    """
    return _halves(points, fixed, chosen, size, np.empty(points.shape[1]))


@njit(cache=True, nogil=True)
def _halves(points, fixed, chosen, size, gap):  # type: ignore[no-untyped-def]  # noqa: C901 - one kernel
    """Walk over the cuts in Gray's order, so that one member changes sides at a time."""
    last, bound = size - 1, False
    for f in range(points.shape[1]):
        gap[f] = points[chosen[last], f]
    for k in range(last):
        bound = bound or fixed[chosen[k]] != 0
        for f in range(points.shape[1]):
            gap[f] -= points[chosen[k], f]
    # The last member is always in half 1; the exchanged cut costs the same.
    mask = np.int64(1) << last
    best, best_mask, everyone = np.inf, mask, (np.int64(1) << size) - 1
    for step in range(1, 2**last + 1):
        if mask != everyone:
            cost = 0.0
            for f in range(points.shape[1]):
                cost += gap[f] * gap[f]
            if cost < best:
                direction = _direction(fixed, chosen, size, mask) if bound or fixed[chosen[last]] != 0 else 1
                if direction != 0:
                    best, best_mask = cost, mask if direction > 0 else everyone - mask
        if step == 2**last:
            break
        bit = 0
        while not step >> bit & 1:
            bit += 1
        sign = -2.0 if mask >> bit & 1 else 2.0
        mask ^= np.int64(1) << bit
        for f in range(points.shape[1]):
            gap[f] += sign * points[chosen[bit], f]
    return best, best_mask


@njit(cache=True, nogil=True)
def _direction(fixed, chosen, size, mask):  # type: ignore[no-untyped-def]
    """Return 1 where a cut keeps the fixed sides, -1 where its exchange does, 0 where neither."""
    direction = 0
    for k in range(size):
        wanted = fixed[chosen[k]]
        if wanted != 0:
            agrees = wanted if mask >> k & 1 else -wanted
            if direction == -agrees:
                return 0
            direction = agrees
    return direction if direction != 0 else 1


@njit(cache=True, nogil=True)
def _greedy(points, fixed, order, n_pairs, max_size):  # type: ignore[no-untyped-def]
    """Open pairs with the largest markets; every other joins where it evens out most."""
    n = len(points)
    members, sizes = np.zeros((n_pairs, max_size), np.int64), np.zeros(n_pairs, np.int64)
    costs, single = np.empty(n_pairs), n_pairs
    for g in range(n_pairs):
        members[g, 0], sizes[g] = order[g], 1
        costs[g] = (points[order[g]] ** 2).sum()
    for position in range(n_pairs, n):
        item, left = order[position], n - position
        best, where, best_cost = np.inf, -1, 0.0
        for g in range(n_pairs):
            if sizes[g] == max_size or (left <= single and sizes[g] > 1):
                continue
            members[g, sizes[g]] = item
            cost, _ = best_halves(points, fixed, members[g], sizes[g] + 1)
            change = cost - costs[g] if np.isfinite(cost) else 1e300
            if where < 0 or change < best:
                best, where, best_cost = change, g, cost
        members[where, sizes[where]] = item
        single -= 1 if sizes[where] == 1 else 0
        sizes[where] += 1
        costs[where] = best_cost if np.isfinite(best_cost) else 1e300
    return members, sizes


@njit(cache=True, nogil=True)
def _improve(points, fixed, members, sizes, fresh, max_size, min_pairs):  # type: ignore[no-untyped-def]
    """Share out the members of two pairs anew wherever that helps, or join them, until nothing helps; return the costs.

    At least one of the two must have changed since the last time that nothing helped (``fresh``).
    """
    n_pairs = len(members)
    costs = np.empty(n_pairs)
    live = 0
    for g in range(n_pairs):
        costs[g] = 0.0
        if sizes[g] > 0:
            costs[g], _ = best_halves(points, fixed, members[g], sizes[g])
            live += 1
    changed = np.zeros(n_pairs, np.bool_)
    total = costs.sum()
    least = _LEAST_GAIN * total / max(live, 1) if np.isfinite(total) else 0.0
    for _ in range(200):
        changed[:] = False
        for g in range(n_pairs):
            for h in range(g + 1, n_pairs):
                if not (fresh[g] or fresh[h]) or sizes[g] == 0 or sizes[h] == 0:
                    continue
                joined = sizes[g] + sizes[h] <= max_size and live > min_pairs
                if _share_out(points, fixed, members, sizes, costs, g, h, max_size, joined, least):
                    changed[g], changed[h] = True, True
                    live -= 1 if sizes[h] == 0 else 0
        if not changed.any():
            break
        fresh[:] = changed
    return costs


@njit(cache=True, nogil=True)
def _share_out(points, fixed, members, sizes, costs, g, h, max_size, joined, least):  # type: ignore[no-untyped-def]  # noqa: C901 - one kernel
    """Try every way to deal the members of two pairs; keep the best and tell whether it is better than before."""
    pool = np.empty(2 * max_size, np.int64)
    n = sizes[g] + sizes[h]
    pool[: sizes[g]], pool[sizes[g] : n] = members[g, : sizes[g]], members[h, : sizes[h]]
    before = costs[g] + costs[h]
    target = before * (1 - 1e-9) - least if np.isfinite(before) else np.inf
    best_mask = np.int64(-1)
    left, right = np.empty(max_size, np.int64), np.empty(max_size, np.int64)
    best_left, best_right, gap = costs[g], costs[h], np.empty(points.shape[1])
    if joined:
        cost, _ = _halves(points, fixed, pool, n, gap)
        if cost < target:
            best_mask, target, best_left, best_right = (np.int64(1) << n) - 1, cost, cost, 0.0
    for mask in range(1, 2**n, 2):
        ones = 0
        for k in range(n):
            ones += mask >> k & 1
        if ones < 2 or ones > max_size or n - ones < 2 or n - ones > max_size:
            continue
        a, b = 0, 0
        for k in range(n):
            if mask >> k & 1:
                left[a] = pool[k]
                a += 1
            else:
                right[b] = pool[k]
                b += 1
        cost, _ = _halves(points, fixed, left, a, gap)
        if cost >= target:
            continue
        other, _ = _halves(points, fixed, right, b, gap)
        if cost + other < target:
            best_mask, target, best_left, best_right = np.int64(mask), cost + other, cost, other
    if best_mask < 0:
        return False
    sizes[g], sizes[h] = 0, 0
    for k in range(n):
        to = g if best_mask >> k & 1 else h
        members[to, sizes[to]] = pool[k]
        sizes[to] += 1
    costs[g], costs[h] = best_left, best_right
    return True
