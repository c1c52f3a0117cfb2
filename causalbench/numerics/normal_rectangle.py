r"""Probability that a multivariate normal vector falls into a rectangle, the same number on every call.

Genz (1992, Journal of Computational and Graphical Statistics 1, 141-149, section 2) turns the integral over the
rectangle into one over the unit cube: along the Cholesky factor each coordinate, given those before it, is a truncated
normal. The cube is averaged over a Kronecker lattice, multiples of square roots of primes modulo one, folded at one
half; nothing is drawn.
"""

from __future__ import annotations

from itertools import count, islice

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

FloatArray = NDArray[np.float64]

_DETERMINED = 1e-10
"""A coordinate with less than this share of its variance left is fixed by those before it."""

_TINY = 1e-300


def rectangle_probability(
    covariance: FloatArray, lower: FloatArray, upper: FloatArray, *, n_points: int = 8192
) -> float:
    """Return the probability that a centred normal vector lies between two corners.

    Parameters
    ----------
    covariance
        Shape (k, k), positive semidefinite with a positive diagonal.
    lower, upper
        Corners, shape (k,); ends may be infinite.
    n_points
        Size of the lattice; the error is about 1e-4 with the default.

    Examples
    --------
    >>> import numpy as np
    >>> corner = np.array([1.96, 1.96])
    >>> round(rectangle_probability(np.eye(2), -corner, corner), 4)
    0.9025
    """
    spread = np.sqrt(np.diag(covariance))
    low, high = np.asarray(lower) / spread, np.asarray(upper) / spread
    order = np.argsort(ndtr(high) - ndtr(low), kind="stable")  # the narrowest first leaves least for the lattice to do
    low, high = low[order], high[order]
    factor = semidefinite_factor((covariance / np.outer(spread, spread))[np.ix_(order, order)])
    k = len(low)
    points = _lattice(n_points, k - 1)
    drawn = np.zeros((n_points, k))
    product = np.ones(n_points)
    for i in range(k):
        centre = drawn[:, :i] @ factor[i, :i]
        if factor[i, i] == 0:
            product *= (centre >= low[i] - _DETERMINED) & (centre <= high[i] + _DETERMINED)
            continue
        below, above = ndtr((low[i] - centre) / factor[i, i]), ndtr((high[i] - centre) / factor[i, i])
        product *= above - below
        if i < k - 1:
            drawn[:, i] = ndtri(np.clip(below + points[:, i] * (above - below), _TINY, 1 - 1e-16))
    return float(product.mean())


def semidefinite_factor(correlation: FloatArray) -> FloatArray:
    """Return a lower triangular L with L L' = correlation; columns of determined coordinates are zero."""
    k = len(correlation)
    factor = np.zeros((k, k))
    for i in range(k):
        left = correlation[i, i] - factor[i, :i] @ factor[i, :i]
        if left <= _DETERMINED:
            continue
        factor[i, i] = np.sqrt(left)
        factor[i + 1 :, i] = (correlation[i + 1 :, i] - factor[i + 1 :, :i] @ factor[i, :i]) / factor[i, i]
    return factor


def _lattice(n_points: int, dimension: int) -> FloatArray:
    """Return points of the unit cube, shape (n_points, dimension)."""
    primes = (n for n in count(2) if all(n % d for d in range(2, int(n**0.5) + 1)))
    steps = np.sqrt(np.fromiter(islice(primes, dimension), dtype=float, count=dimension))
    fraction = np.outer(np.arange(1, n_points + 1) - 0.5, steps) % 1.0
    folded: FloatArray = np.abs(2 * fraction - 1)
    return folded
