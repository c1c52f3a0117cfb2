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
_TIE = 1e-10


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
    _, lower, upper = _solve(a, b, c, scale=scale)
    return RankSet(lower=lower, upper=upper)


def joint_rank_set(a: FloatArray, b: FloatArray, c: FloatArray, *, scale: float) -> RankSet:
    """Solve draws of several statistics each; a draw is as extreme where any one of its inequalities holds.

    Parameters
    ----------
    a, b, c
        Coefficients, shape (n_draws, n_statistics), with ``a`` of order one.
    scale
        Size of the effects, by which the others are brought to order one.

    Examples
    --------
    >>> import numpy as np
    >>> a, b, c = np.array([[-1.0, -1.0]]), np.array([[0.0, 4.0]]), np.array([[4.0, 0.0]])
    >>> found = joint_rank_set(a, b, c, scale=1.0)
    >>> found.lower.tolist(), found.upper.tolist(), found.count(1.0)
    ([-2.0], [4.0], 1)
    """
    number, lower, upper = _solve(a.ravel(), b.ravel(), c.ravel(), scale=scale)
    draw = number // a.shape[1]
    order = np.lexsort((lower, draw))
    draw, lower, upper = draw[order], lower[order], upper[order]
    reach = np.empty_like(upper)  # how far the intervals so far reach, draw by draw
    opens = np.ones(len(draw), dtype=bool)
    for i in range(len(draw)):
        opens[i] = i == 0 or draw[i] != draw[i - 1] or lower[i] > reach[i - 1]
        reach[i] = upper[i] if opens[i] else max(reach[i - 1], upper[i])
    closes = np.append(opens[1:], True)[: len(draw)]
    return RankSet(lower=lower[opens], upper=reach[closes])


def compared(effects: FloatArray, slopes: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    r"""Return the coefficients of every draw's comparison with the actual assignment, the first entry, and their scale.

    With :math:`a_0 - c_0 \tau` the actual statistic, draw :math:`k` is as extreme where
    :math:`|a_k - c_k \tau| \ge |a_0 - c_0 \tau|`; both sides are divided by :math:`c_0`, and ties by rounding stay ties.

    Parameters
    ----------
    effects, slopes
        :math:`a_k` and :math:`c_k`, shape (n_draws,) or (n_draws, n_statistics) with the actual statistic at [0] or [0, 0].

    Examples
    --------
    >>> import numpy as np
    >>> a, b, c, scale = compared(np.array([2.0, 1.0]), np.array([1.0, 0.0]))
    >>> a.tolist(), b.tolist(), scale
    ([0.0, -1.0], [0.0, 4.0], 2.0)
    """
    effects, slopes = effects / slopes.flat[0], slopes / slopes.flat[0]
    scale, actual = float(np.abs(effects).max()), float(effects.flat[0])
    slack = (_TIE * scale) ** 2 + 2 * _TIE * scale * np.abs(effects)
    return slopes**2 - 1, 2 * (actual - effects * slopes), effects**2 - actual**2 + slack, scale


def _solve(
    a: FloatArray, b: FloatArray, c: FloatArray, *, scale: float
) -> tuple[NDArray[np.int64], FloatArray, FloatArray]:
    """Return the closed intervals where the inequalities hold, and the number of the inequality of each."""
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
    everywhere = (level & (c >= -_ZERO)) | (~flat & ~real & (a > 0))
    always, beyond = np.full(int(everywhere.sum()), np.inf), np.full(int(outside.sum()), np.inf)
    number = np.concatenate([np.flatnonzero(kind) for kind in (line, between, outside, outside, everywhere)])
    lower = [np.where(rising, cut, -np.inf), ends[0][between], -beyond, ends[1][outside], -always]
    upper = [np.where(rising, np.inf, cut), ends[1][between], ends[0][outside], beyond, always]
    return number, np.concatenate(lower) * scale, np.concatenate(upper) * scale


def needed_draws(level: float, total: int) -> int:
    """Return the smallest number of draws, out of ``total``, whose share is a p-value that doesn't reject."""
    return int(np.floor((1 - level + 1e-9) * total)) + 1
