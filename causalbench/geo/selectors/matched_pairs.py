"""Markets paired by their paths before the test, and the treated one of each pair drawn."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from causalbench.geo.constraints import Constraints
from causalbench.geo.selectors._randomized import Randomized, path_distances, takes_part
from causalbench.geo.selectors._strata import Strata, numbered, shared_out
from causalbench.geo.split import CONTROL
from causalbench.values import BoolArray, FloatArray, IntArray

_NEIGHBOURS = 40
_ALL_PAIRS = 300
_UNIT = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedPairs(Randomized):
    r"""Pair markets that moved alike, and treat one of each pair, drawn by a coin.

    Pairs minimise the sum of root mean square distances of their paths before the test over all pairings of as many
    markets as possible, an optimal non-bipartite matching (Greevy, Lu, Silber and Rosenbaum 2004, Biostatistics 5,
    263-275). With K treated cells, blocks of K + 1 markets take their place, built from the market farthest out with
    its nearest ones and improved by exchanges until none helps; that is no optimum.

    An odd market is left out, whichever makes the pairing best. Markets that can't be treated (``exclude``) are only paired
    with such that must be (``include``), as no coin is thrown between them; else they are left out. So are markets near each
    other (``buffer``) as a pair. With ``market_counts``, every cell has as many markets as there are pairs: those pairs are
    kept whose markets are closest, the others left out, and where shares, quotas or budgets forbid most draws of these, the
    smallest or the largest markets.

    Attributes
    ----------
    distance
        ``path`` compares outcomes, so that pairs are of one size; ``change`` compares paths about their means, for analyses
        that difference the level out.

    Notes
    -----
    Names and the order of the markets change nothing. Up to 300 markets every pair is considered, above those with the 40
    nearest. When not to use it: with fewer than five pairs a test by re-assignment can't reach 5%, as there are :math:`2^5 = 32`
    draws of five.

    Examples
    --------
    >>> import numpy as np
    >>> from causalbench.data.panel import Panel
    >>> from causalbench.study.geo_study import Geo
    >>> rng = np.random.default_rng(0)
    >>> outcome = np.repeat([100.0, 500.0, 900.0], 2)[:, None] + rng.normal(size=(6, 30))
    >>> history = Panel(outcome=outcome, treated=outcome < 0, units=tuple("abcdef"), periods=tuple(range(30)))
    >>> limits = Constraints.compile(Geo(), history)
    >>> split = MatchedPairs().propose(history, limits, durations=(7,), rng=rng)[0].split
    >>> sorted(np.flatnonzero(split.strata == pair).tolist() for pair in range(3))
    [[0, 1], [2, 3], [4, 5]]
    >>> MatchedPairs().n_admissible(history, limits, split, rng=rng)
    Count(value=8.0, exact=True)
    """

    summary: ClassVar[str] = "randomised within pairs of markets that moved alike before the test"
    randomized: ClassVar[bool] = True

    distance: Literal["path", "change"] = "path"

    def designs(self, limits: Constraints, outcome: FloatArray) -> Iterator[Strata]:
        """Yield one design per number of pairs; markets are in canonical order."""
        paths = outcome if self.distance == "path" else outcome - outcome.mean(axis=1, keepdims=True)
        distances = path_distances(paths)
        blocks = [block for block in _blocks(limits, distances) if _drawable(limits, block)]
        needed = [block for block in blocks if (limits.eligible[:, block].sum(axis=0) == 1).any()]
        if (_must_be_treated(limits) & ~np.isin(np.arange(len(outcome)), np.concatenate([*blocks, []]))).any():
            return
        most = len(blocks) if limits.max_controls is None else min(len(blocks), limits.max_controls)
        for count in limits.market_counts or range(most, 0, -1):
            design = None
            if len(needed) <= count <= most:
                design = _kept(limits, blocks, count, distances, outcome.mean(axis=1))
            if design is None:
                continue
            if limits.market_counts is not None:
                yield design
            elif design.often_admissible:
                yield design
                return


def _kept(
    limits: Constraints, blocks: list[IntArray], count: int, distances: FloatArray, sizes: FloatArray
) -> Strata | None:
    """Keep the closest blocks; where hardly any draw of them is admissible, the smallest, the largest or the middling."""
    fixed = np.array([(limits.eligible[:, block].sum(axis=0) == 1).any() for block in blocks])
    spread = np.array([_within(distances, block) for block in blocks])
    size = np.array([sizes[block].mean() for block in blocks])
    middling = np.abs(size - np.median(size))
    first = None
    for wish in (spread, size, -size, middling):
        chosen = np.lexsort((wish, ~fixed))[:count]
        strata = np.full(len(sizes), -1)
        for number, block in enumerate(sorted(chosen.tolist())):
            strata[blocks[block]] = number
        labels = shared_out(limits, numbered(strata), count)
        if labels is None:
            continue
        design = Strata.of(limits, strata, labels)
        first = first or design
        if design.often_admissible:
            return design
    return first


def _blocks(limits: Constraints, distances: FloatArray) -> list[IntArray]:
    members = np.flatnonzero(takes_part(limits))
    costs = distances[np.ix_(members, members)]
    apart = _incompatible(limits)[np.ix_(members, members)]
    found = _pairs(costs, apart) if limits.n_cells == 1 else _groups(costs, apart, limits.n_cells + 1)
    return [members[block] for block in found]


def _must_be_treated(limits: Constraints) -> BoolArray:
    return np.asarray(~limits.eligible[CONTROL] & limits.eligible[1:].any(axis=0))


def _incompatible(limits: Constraints) -> BoolArray:
    """Tell which two markets no pair may hold, shape (n_units, n_units)."""
    never, must = np.asarray(~limits.eligible[1:].any(axis=0)), _must_be_treated(limits)
    apart = limits.near | (never[:, None] & ~must) | (never & ~must[:, None])
    return apart | (must[:, None] & must) if limits.n_cells == 1 else apart


def _drawable(limits: Constraints, block: IntArray) -> bool:
    """Tell whether a block has an assignment at all: one market for every cell and one control."""
    labels = (
        shared_out(limits, np.where(np.isin(np.arange(len(limits.units)), block), 0, -1), 1) if len(block) > 1 else None
    )
    return labels is not None and not limits.near[np.ix_(block, block)].any()


def _pairs(costs: FloatArray, apart: BoolArray) -> list[IntArray]:
    """Pair as many markets as possible with the smallest sum of distances."""
    import networkx as nx

    n = len(costs)
    allowed = ~apart & ~np.eye(n, dtype=bool)
    if n > _ALL_PAIRS:
        ranks = np.argsort(np.argsort(np.where(allowed, costs, np.inf), axis=1, kind="stable"), axis=1)
        near = ranks < _NEIGHBOURS
        allowed &= near | near.T
    left, right = np.nonzero(np.triu(allowed))
    if not len(left):
        return []
    largest = max(float(costs[left, right].max()), 1e-300)
    # Whole numbers, so that equal sums are equal.
    weights = np.rint(costs[left, right] / largest * _UNIT).astype(np.int64)
    graph = nx.Graph()
    graph.add_nodes_from(range(n))
    graph.add_weighted_edges_from(zip(left.tolist(), right.tolist(), weights.tolist(), strict=True))
    return [np.array(pair) for pair in sorted(tuple(sorted(pair)) for pair in nx.min_weight_matching(graph))]


def _groups(costs: FloatArray, apart: BoolArray, size: int) -> list[IntArray]:
    """Group markets by nearness and exchange members while the sum of distances within groups falls."""
    n = len(costs)
    largest = float(np.where(np.isfinite(costs), costs, 0.0).max(initial=0.0))
    prices = np.where(apart, costs + 10 * n * max(largest, 1.0), costs)
    np.fill_diagonal(prices, 0.0)
    n_groups = n // size
    group = np.full(n, n_groups)
    outer = costs.copy()
    np.fill_diagonal(outer, 0.0)
    for number in range(n_groups):
        free = np.flatnonzero(group == n_groups)
        seed = free[int(np.argmax(outer[np.ix_(free, free)].sum(axis=1)))]
        mine = free[np.argsort(np.where(free == seed, -1.0, prices[seed, free]), kind="stable")[:size]]
        group[mine] = number
    _exchange(prices, group, n_groups)
    return [np.flatnonzero(group == number) for number in range(n_groups)]


def _exchange(prices: FloatArray, group: IntArray, n_groups: int) -> None:
    """Change places of two markets of different groups, in place, while that lowers the sum; the last group is free."""
    n = len(prices)
    for _ in range(20 * n):
        inside = np.zeros((n, n_groups + 1))
        for number in range(n_groups):
            inside[:, number] = prices[:, group == number].sum(axis=1)
        own = inside[np.arange(n), group]
        moved = inside[:, group] - np.where(group == n_groups, 0.0, prices)
        change = moved + moved.T - own[:, None] - own
        change[group[:, None] == group] = 0.0
        best = int(np.argmin(change))
        if change.flat[best] >= -1e-9 * max(float(own.sum()), 1e-300):
            return
        i, j = divmod(best, n)
        group[i], group[j] = group[j], group[i]


def _within(distances: FloatArray, block: IntArray) -> float:
    return float(sum(distances[i, j] for i, j in itertools.combinations(block.tolist(), 2)))
