r"""Sets of effects that a rank test doesn't reject, when every draw's comparison is quadratic in the effect.

A draw is at least as extreme as the actual assignment at the effect :math:`\tau` where
:math:`a\tau^2 + b\tau + c \ge 0`. That is a union of at most two intervals, so the number of such draws is known
everywhere from the sorted ends of these intervals: no grid, and p-value and set can't contradict each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_ZERO = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RankSet:
    """Where each draw is at least as extreme.

    Attributes
    ----------
    lower, upper
        Ends of closed intervals, shape (n_intervals,); intervals of one draw don't overlap.
    """

    lower: FloatArray
    upper: FloatArray

    def count(self, effect: float) -> int:
        """Return how many draws are at least as extreme at an effect."""
        return int((self.lower <= effect).sum() - (self.upper < effect).sum())

    def segments(self, needed: int) -> tuple[tuple[float, float], ...]:
        """Return the effects at which at least ``needed`` draws are as extreme, as closed segments."""
        if needed <= 0:
            return ((-np.inf, np.inf),)
        place = np.concatenate([self.lower, self.upper])
        change = np.concatenate([np.ones(len(self.lower), dtype=int), -np.ones(len(self.upper), dtype=int)])
        order = np.lexsort((-change, place))
        depth = change[order].cumsum()
        inside = depth >= needed
        opens = np.flatnonzero(inside & ~np.concatenate([[False], inside[:-1]]))
        closes = np.flatnonzero(~inside & np.concatenate([[False], inside[:-1]]))
        starts, ends = place[order][opens], place[order][closes]
        return tuple((float(start), float(end)) for start, end in zip(starts, ends, strict=True))


def rank_set(a: FloatArray, b: FloatArray, c: FloatArray, *, scale: float) -> RankSet:
    """Solve every draw's inequality.

    Parameters
    ----------
    a, b, c
        Coefficients of each draw, shape (n_draws,), with ``a`` of order one.
    scale
        Size of the effects, by which the others are brought to order one.

    Examples
    --------
    >>> import numpy as np
    >>> found = rank_set(np.array([-1.0]), np.array([0.0]), np.array([4.0]), scale=1.0)
    >>> found.lower.tolist(), found.upper.tolist(), found.count(0.0)
    ([-2.0], [2.0], 1)
    """
    scale = scale if scale > 0 else 1.0
    b, c = b / scale, c / scale**2
    flat = np.abs(a) <= _ZERO
    level = flat & (np.abs(b) <= _ZERO)
    line = flat & ~level
    cut, rising = -c[line] / b[line], b[line] > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        root = np.sqrt(b**2 - 4 * a * c)
        far = -0.5 * (b + np.where(b >= 0, 1, -1) * root)
        ends = np.sort(np.stack([far / a, np.where(far == 0, 0.0, c / far)]), axis=0)
    real = ~flat & ~np.isnan(root)
    between, outside = real & (a < 0), real & (a > 0)
    everywhere = np.full(int(((level & (c >= -_ZERO)) | (~flat & ~real & (a > 0))).sum()), np.inf)
    beyond = np.full(int(outside.sum()), np.inf)
    lower = [np.where(rising, cut, -np.inf), ends[0][between], -beyond, ends[1][outside], -everywhere]
    upper = [np.where(rising, np.inf, cut), ends[1][between], ends[0][outside], beyond, everywhere]
    return RankSet(lower=np.concatenate(lower) * scale, upper=np.concatenate(upper) * scale)


def needed_draws(level: float, total: int) -> int:
    """Return the smallest number of draws, out of ``total``, whose share is a p-value that doesn't reject."""
    return int(np.floor((1 - level + 1e-9) * total)) + 1
