r"""Tests of many gaps in one window: every lift and the smallest one found, without another fit.

A lift :math:`\delta` adds :math:`\delta y_t` to the treated mean within the window and leaves weights fitted before it
alone. So the sum of the gap over a stretch :math:`s` of the window's length, time taken as a circle, is a line in the lift:

.. math:: S_s(\delta) = |a_s + \delta c_s|, \qquad p(\delta) = \frac1T \#\{s : S_s(\delta) \ge S_0(\delta)\},

with :math:`c_s` the treated outcome where the stretch overlaps the window. A stretch is at least as extreme as the window
itself between two lifts, :math:`\delta = (\pm a_s - a_0) / (c_0 \mp c_s)`, so the lift from which on the test rejects is
found by sorting these ends.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def lift_p_values(gaps: FloatArray, treated: FloatArray, lifts: FloatArray) -> FloatArray:
    """Return p of each lift, shape (n_sets, n_lifts).

    Parameters
    ----------
    gaps
        Observed less counterfactual without a lift, shape (n_sets, n_periods); the window is its end.
    treated
        What a lift of one adds in the window, shape (n_sets, duration).
    lifts
        Relative lifts, shape (n_lifts,).

    Examples
    --------
    >>> import numpy as np
    >>> gaps = np.array([[1.0, -1.0, 1.0, -1.0, 0.0]])
    >>> lift_p_values(gaps, np.array([[10.0]]), np.array([0.0, 0.05, 0.5])).round(2).tolist()
    [[1.0, 1.0, 0.2]]
    """
    found = np.empty((len(gaps), len(lifts)))
    _p_values(_contiguous(gaps), _contiguous(treated), _contiguous(lifts), found)
    return found


def required_lifts(gaps: FloatArray, treated: FloatArray, needed: int) -> FloatArray:
    """Return the lift from which on fewer than ``needed`` stretches are as extreme, shape (n_sets,); infinite where none is.

    ``treated`` must be positive in total; see :func:`lift_p_values` for the shapes. Zero where every lift from 0 up is
    found.

    Examples
    --------
    >>> import numpy as np
    >>> gaps = np.array([[1.0, -1.0, 1.0, -1.0, 0.0]])
    >>> required_lifts(gaps, np.array([[10.0]]), 2).tolist(), required_lifts(gaps, np.array([[10.0]]), 1).tolist()
    ([0.1], [inf])
    """
    found = np.empty(len(gaps))
    _required(_contiguous(gaps), _contiguous(treated), needed, found)
    return found


def required_from_lines(level: FloatArray, slope: FloatArray, needed: int) -> float:
    """Return the effect from which on fewer than ``needed`` lines are as far from zero as the last one.

    Parameters
    ----------
    level, slope
        Every draw's estimate without an effect, and what an effect of one adds; shape (n_draws,), the actual draw last.
        A draw with at least the actual one's slope counts whatever the effect.
    needed
        Number of draws, the actual one among them, whose share is a p-value that doesn't reject.

    Returns
    -------
    float
        Negative where effects of the other sign are found too, infinite where none is.

    Examples
    --------
    >>> import numpy as np
    >>> required_from_lines(np.array([1.0, -2.0, 0.5]), np.array([0.0, 0.0, 10.0]), 2)
    0.15
    """
    return float(_edge(_contiguous(level), _contiguous(slope), needed))


def _contiguous(array: FloatArray) -> FloatArray:
    return np.ascontiguousarray(array, dtype=np.float64)


@njit(cache=True, nogil=True)
def _lines(gap, treated, level, slope):  # type: ignore[no-untyped-def]
    """Fill sums of the gap and of the treated outcome over every stretch; the window's own stretch is the last."""
    n, length = len(gap), len(treated)
    first = n - length
    total, lifted, size = 0.0, 0.0, 0.0
    for t in range(length):
        total += gap[t]
        lifted += treated[t - first] if t >= first else 0.0
    for t in range(n):
        size += abs(gap[t])
    for s in range(n):
        place = s - 1 - first if s > first else s + length - 1
        level[place if s != first else n - 1] = total
        slope[place if s != first else n - 1] = lifted
        entering = (s + length) % n
        total += gap[entering] - gap[s]
        lifted += (treated[entering - first] if entering >= first else 0.0) - (
            treated[s - first] if s >= first else 0.0
        )
    return size


@njit(cache=True, nogil=True)
def _p_values(gaps, treated, lifts, found):  # type: ignore[no-untyped-def]
    n = gaps.shape[1]
    level, slope = np.empty(n), np.empty(n)
    for i in range(len(gaps)):
        size = _lines(gaps[i], treated[i], level, slope)
        for k in range(len(lifts)):
            own = abs(level[n - 1] + lifts[k] * slope[n - 1])
            own -= 1e-10 * (size + abs(lifts[k]) * slope[n - 1])
            count = 0
            for s in range(n):
                count += abs(level[s] + lifts[k] * slope[s]) >= own
            found[i, k] = count / n


@njit(cache=True, nogil=True)
def _required(gaps, treated, needed, found):  # type: ignore[no-untyped-def]
    n = gaps.shape[1]
    level, slope = np.empty(n), np.empty(n)
    for i in range(len(gaps)):
        _lines(gaps[i], treated[i], level, slope)
        found[i] = max(_edge(level, slope, needed), 0.0)


@njit(cache=True, nogil=True)
def _edge(level, slope, needed):  # type: ignore[no-untyped-def]
    """Return the largest lift at which ``needed`` lines, the last one among them, are as far from zero as the last."""
    n = len(level)
    lower, upper = np.full(n - 1, -np.inf), np.full(n - 1, -np.inf)
    own, unit, always = level[n - 1], slope[n - 1], 1
    for s in range(n - 1):
        if unit - abs(slope[s]) <= 1e-12 * abs(unit):
            always += 1
            continue
        one, two = (level[s] - own) / (unit - slope[s]), (-level[s] - own) / (unit + slope[s])
        lower[s], upper[s] = min(one, two), max(one, two)
    if always >= needed:
        return np.inf
    lower.sort()
    upper.sort()
    depth, down = always, n - 2
    for up in range(n - 2, -1, -1):
        while down >= 0 and lower[down] > upper[up]:
            depth -= 1
            down -= 1
        depth += 1
        if depth >= needed:
            return upper[up]
    return -np.inf
