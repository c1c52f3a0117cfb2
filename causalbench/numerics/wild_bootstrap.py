r"""Restricted wild cluster bootstrap of a difference of means, as a function of the hypothesis.

Under :math:`\tau` the restricted residuals are :math:`u_i(\tau) = (z_i - \bar z) - \tau (d_i - \bar d)`, linear in
:math:`\tau`. A draw multiplies those of cluster g by a weight :math:`v_g`; its estimate is linear in them, its squared
standard error quadratic. So a draw is at least as extreme as the data where a polynomial of degree four in
:math:`\tau` isn't negative, and p is known for every :math:`\tau` from the roots: no grid, no search.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from causalbench.numerics.covariance import Arms
from causalbench.numerics.inversion import RankSet

FloatArray = NDArray[np.float64]

WEBB: FloatArray = np.sqrt([0.5, 1.0, 1.5])
_CELLS = 5_000_000
_ZERO = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WildTest:
    """Where the draws are at least as extreme, and what they were.

    Attributes
    ----------
    found
        Effects at which each draw is at least as extreme.
    n_draws
        Number of draws, the data themselves included.
    smallest
        Share of draws that are as extreme at every effect: the data themselves and their mirror image.
    """

    found: RankSet
    n_draws: int
    smallest: float


def cluster_weights(
    n_clusters: int, *, few: int, enumerated: int, n_drawn: int, rng: Generator
) -> Iterator[FloatArray]:
    """Yield the weights of the draws in blocks that fit into memory, rows of shape (n_clusters,).

    Below ``few`` clusters Webb's six points (plus and minus the roots of 1/2, 1 and 3/2), drawn, as Rademacher's plus and
    minus one have too few distinct combinations; else Rademacher, enumerated up to a common sign where
    :func:`enumerates` says so. The first row is all ones: the data themselves.

    Examples
    --------
    >>> import numpy as np
    >>> (rows,) = cluster_weights(3, few=1, enumerated=10, n_drawn=5, rng=np.random.default_rng(0))
    >>> rows.tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, -1.0], [1.0, -1.0, 1.0], [1.0, -1.0, -1.0]]
    """
    if enumerates(n_clusters, few=few, enumerated=enumerated):
        codes = np.arange(2 ** (n_clusters - 1))[:, None]
        signs: FloatArray = np.where((codes >> np.arange(n_clusters - 1, -1, -1)) & 1, -1.0, 1.0)
        yield signs
        return
    points: FloatArray = np.concatenate([-WEBB, WEBB]) if n_clusters < few else np.array([-1.0, 1.0])
    yield np.ones((1, n_clusters))
    block = max(1, _CELLS // n_clusters)
    for start in range(0, n_drawn, block):
        yield points[rng.integers(len(points), size=(min(block, n_drawn - start), n_clusters))]


def enumerates(n_clusters: int, *, few: int, enumerated: int) -> bool:
    """Tell whether all combinations of Rademacher weights, up to a common sign, are at most ``enumerated``."""
    return n_clusters >= few and n_clusters - 1 <= math.log2(enumerated)


def wild_test(changes: FloatArray, sides: Arms, weights: Iterable[FloatArray]) -> WildTest:
    """Find, for each draw, the effects at which it is at least as extreme as the data.

    The statistic is the absolute t ratio with CRV1, whose small-sample factor cancels (MacKinnon, Webb 2018;
    Roodman, MacKinnon, Nielsen, Webb 2019).

    Parameters
    ----------
    changes
        One number per unit, shape (n_units,).
    sides
        Treated and control units with their weights and clusters.
    weights
        Blocks of draws, from :func:`cluster_weights`.

    Examples
    --------
    >>> import numpy as np
    >>> from causalbench.numerics.covariance import arms
    >>> sides = arms(np.arange(6) < 3, weights=None, codes=np.arange(6), n_clusters=6)
    >>> weights = cluster_weights(6, few=1, enumerated=100, n_drawn=0, rng=np.random.default_rng(0))
    >>> test = wild_test(np.array([4.0, 5.0, 6.5, 1.0, 2.0, 2.5]), sides, weights)
    >>> test.n_draws, test.found.count(0.0)
    (32, 1)
    """
    influence = sides.influence(changes[:, None])
    std_error = float(np.sqrt(sides.covariance(influence, "CRV1")[0, 0]))
    treated, control = sides.means(changes[:, None])
    # In standard errors from the estimate the hypothesis is theta, and u(theta) = u(0) - theta (d - mean of d).
    effect = float((treated - control)[0])
    deviation = (changes - effect * sides.treated) / std_error
    columns = np.column_stack([deviation, -sides.treated.astype(float)])
    columns -= np.average(columns, axis=0, weights=sides.share * sides.total)
    quartics = np.concatenate([_quartics(columns, sides, block) for block in weights])
    always = np.abs(quartics).max(axis=1) <= _ZERO
    lower, upper = _where_not_negative(quartics[~always])
    everywhere = np.full(int(always.sum()), np.inf)
    lower, upper = (effect + std_error * ends for ends in (np.append(lower, -everywhere), np.append(upper, everywhere)))
    found = RankSet(lower=lower, upper=upper)
    return WildTest(found=found, n_draws=len(quartics), smallest=float(always.mean()))


def _quartics(columns: FloatArray, sides: Arms, weights: FloatArray) -> FloatArray:
    """Return N(theta)^2 - theta^2 D(theta) of each draw, coefficients from the highest power, shape (n_draws, 5).

    N is the draw's estimate less the hypothesis and D its squared standard error, both in standard errors of the data.
    """
    own = (sides.share * sides.treated)[:, None] * columns
    other = (sides.share * ~sides.treated)[:, None] * columns
    first, second = sides.cluster_sums(own), sides.cluster_sums(other)
    reach = sides.cluster_sums(np.column_stack([sides.share * sides.treated, sides.share * ~sides.treated]))
    # By size, so that the same data in another order meet the same draws.
    order = np.lexsort([(first + second)[:, 0], (first - second)[:, 0]])
    first, second, reach = first[order], second[order], reach[order]
    # Mean of the draw's outcomes in each arm, constant and slope in theta: shape (n_draws, 2).
    above, below = weights @ first, weights @ second
    numerator = above - below
    scores = [
        weights * (first - second)[:, k] - np.outer(above[:, k], reach[:, 0]) + np.outer(below[:, k], reach[:, 1])
        for k in (0, 1)
    ]
    constant, slope = scores
    n0, n1 = numerator.T
    d0, d1, d2 = (constant**2).sum(axis=1), 2 * (constant * slope).sum(axis=1), (slope**2).sum(axis=1)
    return np.stack([-d2, -d1, n1**2 - d0, 2 * n0 * n1, n0**2], axis=1)


def _where_not_negative(quartics: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the ends of the intervals on which each polynomial isn't negative; outer ends may be infinite."""
    ends = np.sort(_turning_points(quartics), axis=1)
    beyond = np.full((len(ends), 1), np.inf)
    low, high = np.concatenate([-beyond, ends], axis=1), np.concatenate([ends, beyond], axis=1)
    with np.errstate(invalid="ignore"):
        left, right = np.where(np.isneginf(low), high - 2.0, low), np.where(np.isposinf(high), low + 2.0, high)
        inside = (left + right) / 2
    inside = np.where(np.isfinite(inside), inside, 0.0)
    value = np.zeros_like(inside)
    for power in range(5):
        value = value * inside + quartics[:, [power]]
    holds = (value >= 0) & (low < np.inf)
    outside = np.zeros((len(ends), 1), dtype=bool)
    opens = holds & ~np.concatenate([outside, holds[:, :-1]], axis=1)
    closes = holds & ~np.concatenate([holds[:, 1:], outside], axis=1)
    return low[opens], high[closes]


def _turning_points(quartics: FloatArray) -> FloatArray:
    """Return the real parts of all roots, shape (n, 4), infinite where the degree is lower.

    The real part of a complex pair is no change of sign, but does no harm as a place to look.
    """
    roots = np.full((len(quartics), 4), np.inf)
    relative = np.abs(quartics) > _ZERO * np.abs(quartics).max(axis=1, keepdims=True)
    leading = np.where(relative.any(axis=1), relative.argmax(axis=1), 4)
    for degree in (4, 3, 2, 1):
        rows = np.flatnonzero(leading == 4 - degree)
        if not len(rows):
            continue
        monic = quartics[rows, 5 - degree :] / quartics[rows, 4 - degree, None]
        companion = np.zeros((len(rows), degree, degree))
        companion[:, 0] = -monic
        companion[:, np.arange(1, degree), np.arange(degree - 1)] = 1.0
        roots[rows, :degree] = np.linalg.eigvals(companion).real
    return roots
