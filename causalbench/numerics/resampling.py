"""Drawing groups of units and arrangements of labels: all of them where that is feasible, a random sample else."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

_CELLS = 5_000_000
_COUNTABLE = 1e15
_NO_SPREAD = 1e-9


def subsets(n: int, k: int, *, limit: int, n_drawn: int, rng: Generator) -> tuple[NDArray[np.bool_], bool]:
    """Return groups of ``k`` out of ``n`` as rows of a mask, and whether they are all there are.

    Parameters
    ----------
    n, k
        Number of units and size of a group.
    limit
        Up to this many groups all are enumerated, in lexicographic order.
    n_drawn
        How many are drawn, independently and uniformly, where there are more.
    rng
        Source of the draws.

    Examples
    --------
    >>> import numpy as np
    >>> rows, exact = subsets(4, 2, limit=10, n_drawn=5, rng=np.random.default_rng(0))
    >>> rows.shape, exact
    ((6, 4), True)
    """
    exact = math.comb(n, k) <= limit
    if exact:
        chosen = np.array(list(itertools.combinations(range(n), k)), dtype=np.int64)
    else:
        chosen = np.argsort(rng.random((n_drawn, n)), axis=1)[:, :k]
    rows = np.zeros((len(chosen), n), dtype=bool)
    np.put_along_axis(rows, chosen, values=True, axis=1)
    return rows, exact


def canonical_order(history: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return an order of units that their names, levels and what all share in a period leave as it is, shape (n_units,).

    They are sorted by their changes from period to period, so that equal data in another order meet the same draws.

    Parameters
    ----------
    history
        Outcomes before the launch, shape (n_units, n_pre).

    Examples
    --------
    >>> import numpy as np
    >>> canonical_order(np.array([[5.0, 7.0], [1.0, 2.0], [9.0, 9.5]])).tolist()
    [2, 1, 0]
    """
    steps = np.diff(history, axis=1)
    order: NDArray[np.int64] = np.lexsort((history[:, 0], *steps.T[::-1]))
    return order


def n_arrangements(labels: NDArray[np.int64]) -> float:
    """Return how many distinct orders a list of labels has; infinite above 1e15.

    Examples
    --------
    >>> import numpy as np
    >>> n_arrangements(np.array([3, 5, 9, 9]))
    12.0
    """
    counts = np.unique(labels, return_counts=True)[1].tolist()
    logarithm = math.lgamma(len(labels) + 1) - sum(math.lgamma(count + 1) for count in counts)
    if logarithm > math.log(_COUNTABLE):
        return math.inf
    sizes = itertools.accumulate(counts)
    return float(math.prod(math.comb(size, count) for size, count in zip(sizes, counts, strict=True)))


def arrangements(labels: NDArray[np.int64], *, limit: int, n_drawn: int, rng: Generator) -> Iterator[NDArray[np.int64]]:
    """Yield orders of a list of labels as rows, in blocks that fit into memory; the order that is given comes first.

    Parameters
    ----------
    labels
        One label per item, shape (n_items,).
    limit
        Up to this many distinct orders all are enumerated, each once.
    n_drawn
        How many are drawn, independently and uniformly, where there are more; the given order is added to them.
    rng
        Source of the draws.

    Examples
    --------
    >>> import numpy as np
    >>> (rows,) = arrangements(np.array([7, 2, 7]), limit=10, n_drawn=5, rng=np.random.default_rng(0))
    >>> rows.tolist()
    [[7, 2, 7], [2, 7, 7], [7, 7, 2]]
    """
    n = len(labels)
    values, counts = np.unique(labels, return_counts=True)
    if n_arrangements(labels) <= limit:
        rows = np.full((round(n_arrangements(labels)), n), values[-1])
        for row, groups in zip(rows, _splits(range(n), counts[:-1].tolist()), strict=True):
            for value, group in zip(values, groups, strict=False):
                row[list(group)] = value
        yield np.vstack([labels, rows[(rows != labels).any(axis=1)]])
        return
    ordered = np.repeat(values, counts)
    block = max(1, _CELLS // n)
    for start in range(0, n_drawn, block):
        places = np.argsort(rng.random((min(block, n_drawn - start), n)), axis=1)
        rows = np.empty(places.shape, dtype=labels.dtype)
        np.put_along_axis(rows, places, np.broadcast_to(ordered, places.shape), axis=1)
        yield np.vstack([labels, rows]) if start == 0 else rows


def stratified_t_ratios(
    scores: NDArray[np.float64], strata: NDArray[np.int64], *, n_drawn: int, rng: Generator
) -> tuple[float, NDArray[np.float64]]:
    r"""Resample scores with replacement within strata; return the standard error of their sum and the t ratios of draws.

    With :math:`c_g` the number of times that score g is drawn, a draw's sum is :math:`\sum_g c_g \psi_g`, its squared
    standard error :math:`\sum_s \bigl(\sum_{g \in s} c_g \psi_g^2 - \frac1{n_s} (\sum_{g \in s} c_g \psi_g)^2\bigr)`, and
    its t ratio about the sum of the scores themselves. Draws without spread count as infinitely far.

    Parameters
    ----------
    scores
        Shape (n_clusters,). Only their values matter, not their order.
    strata
        Stratum of each, shape (n_clusters,).
    n_drawn
        Number of draws.
    rng
        Source of the draws.

    Examples
    --------
    >>> import numpy as np
    >>> spread, ratios = stratified_t_ratios(np.array([1.0, -1.0]), np.zeros(2, int), n_drawn=3, rng=np.random.default_rng(0))
    >>> round(spread**2, 12), ratios.shape
    (2.0, (3,))
    """
    own, sums, squares = 0.0, np.zeros(n_drawn), np.zeros(n_drawn)
    for stratum in np.unique(strata):
        # Sorted, so that the same data in another order meet the same draws.
        values = np.sort(scores[strata == stratum])
        values = values - values.mean()
        own += float((values**2).sum())
        block = max(1, _CELLS // len(values))
        for start in range(0, n_drawn, block):
            part = slice(start, min(start + block, n_drawn))
            drawn = values[rng.integers(len(values), size=(part.stop - part.start, len(values)))]
            total = drawn.sum(axis=1)
            sums[part] += total
            squares[part] += (drawn**2).sum(axis=1) - total**2 / len(values)
    spread = np.sqrt(np.maximum(squares, 0.0))
    solid = spread > _NO_SPREAD * math.sqrt(own)
    ratios = np.full(n_drawn, np.inf)
    ratios[solid] = sums[solid] / spread[solid]
    return math.sqrt(own), ratios


def _splits(items: Sequence[int], sizes: list[int]) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Yield every way to take disjoint groups of these sizes."""
    if not sizes:
        yield ()
        return
    for group in itertools.combinations(items, sizes[0]):
        taken = set(group)
        rest = [item for item in items if item not in taken]
        for others in _splits(rest, sizes[1:]):
            yield (group, *others)
