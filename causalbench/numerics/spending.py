r"""Spending an error rate over interim looks, and which draws of a joint distribution stop when.

The O'Brien-Fleming type spending function of Lan and DeMets (1983) allows, by the information fraction :math:`t`,

.. math:: \alpha^*(t) = 2 - 2 \Phi\bigl(z_{\alpha / 2} / \sqrt t\bigr).

Its increments between two looks grow with :math:`\alpha` as long as :math:`z_{\alpha/2} \ge 1`, that is up to .317. Above that
the function goes on along its tangent in :math:`\alpha`, so that increments grow everywhere. That nests the tests of all
levels: whoever stops at one family level stops at every higher one, and there is one adjusted p-value.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from causalbench.numerics.inversion import rank_set

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

TANGENT = 2 * float(norm.sf(1.0))
"""Family level up to which the spending function is Lan and DeMets' own."""

_ROUNDING = 1e-9
_SLACK = 1e-10
_BISECTIONS = 50
_BETWEEN = 8
_FAR = 1e4


def obrien_fleming(fractions: FloatArray, level: float) -> FloatArray:
    """Return the error rate that may be spent by every look, shape (n_looks,).

    Parameters
    ----------
    fractions
        Information fraction at each look, ascending, the last one 1.
    level
        Family error rate of all looks together, such as .05.

    Examples
    --------
    >>> import numpy as np
    >>> obrien_fleming(np.array([0.25, 0.5, 0.75, 1.0]), 0.05).round(5).tolist()
    [9e-05, 0.00557, 0.02363, 0.05]
    """
    fractions = np.asarray(fractions, dtype=float)
    inside = min(level, TANGENT)
    if inside <= 0:
        return np.zeros(len(fractions))
    z = norm.isf(inside / 2)
    spent: FloatArray = 2 * norm.sf(z / np.sqrt(fractions))
    if level > TANGENT:
        slope = norm.pdf(1 / np.sqrt(fractions)) / np.sqrt(fractions) / norm.pdf(1.0)
        spent = spent + (level - TANGENT) * slope
    return spent


def allowed_stops(fractions: FloatArray, level: float, n_draws: int) -> IntArray:
    """Return how many draws may stop at each look, shape (n_looks,): whole draws out of the increment of the spent error."""
    spent = obrien_fleming(fractions, min(level, 1.0))
    allowed: IntArray = np.floor(np.diff(spent, prepend=0.0) * n_draws + _ROUNDING).astype(np.int64)
    return allowed


def stop_looks(sizes: FloatArray, allowed: IntArray, *, slack: float = 0.0) -> tuple[IntArray, FloatArray]:
    r"""Return the look at which each draw stops, and the value that it has to exceed there.

    At look k those still going on stop whose statistic is among the ``allowed[k]`` largest of those going on; where ties
    would make it more, the tied ones go on.

    Parameters
    ----------
    sizes
        Absolute statistics, shape (n_draws, n_looks).
    allowed
        How many may stop at each look, shape (n_looks,).
    slack
        Statistics closer than this are ties.

    Returns
    -------
    tuple
        Number of the look, counted from 0, ``n_looks`` for draws that never stop, shape (n_draws,); and the critical values,
        shape (n_looks,), infinite where no draw may stop.

    Examples
    --------
    >>> import numpy as np
    >>> looks, critical = stop_looks(np.array([[5.0, 1.0], [2.0, 9.0], [1.0, 8.0], [0.0, 0.0]]), np.array([1, 1]))
    >>> looks.tolist(), critical.tolist()
    ([0, 1, 2, 2], [2.0, 8.0])
    """
    n_draws, n_looks = sizes.shape
    stopped = np.full(n_draws, n_looks, dtype=np.int64)
    critical = np.full(n_looks, np.inf)
    going = np.arange(n_draws)
    for k in range(n_looks):
        count = int(allowed[k])
        if count <= 0:
            continue
        values = sizes[going, k]
        if count >= len(values):
            stopped[going], critical[k], going = k, -np.inf, going[:0]
            continue
        place = len(values) - count - 1
        critical[k] = np.partition(values, place)[place]
        hit = values > critical[k] + slack
        stopped[going[hit]] = k
        going = going[~hit]
    return stopped, critical


def adjusted_p(sizes: FloatArray, fractions: FloatArray, *, planned: float, slack: float = 0.0) -> float:
    """Return the smallest family level at which the first draw would have stopped by the last column of ``sizes``.

    Parameters
    ----------
    sizes
        Absolute statistics of the looks made so far, shape (n_draws, n_made); the actual assignment comes first.
    fractions
        Information fractions of all planned looks, shape (n_looks,).
    planned
        Family level of the plan; the answer is below it exactly where the plan stops.
    slack
        Statistics closer than this are ties.
    """

    def stops(level: float) -> bool:
        allowed = allowed_stops(fractions, level, len(sizes))[: sizes.shape[1]]
        return bool(stop_looks(sizes, allowed, slack=slack)[0][0] < sizes.shape[1])

    # Values that rounding could take for the planned level itself belong to neither side.
    low, high = (0.0, planned) if stops(planned) else (planned + 2 * _ROUNDING, 1.0)
    if high == 1.0 and not stops(1.0):
        return 1.0
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        if stops(middle):
            high = middle
        else:
            low = middle
    return high


def sequential_set(
    estimates: FloatArray, slopes: FloatArray, allowed: IntArray, *, slack: float
) -> tuple[tuple[float, float], ...]:
    r"""Return the effects at which the first draw doesn't stop, as closed segments.

    With an effect :math:`\tau` taken off the actual treatment, draw d has the statistic :math:`|a_{dk} - c_{dk} \tau|` at look
    k. Among **all** draws the number at least as extreme as the actual one is known everywhere from sorted ends
    (:func:`~causalbench.numerics.inversion.rank_set`); among those going on it lies between that and that less the number
    stopped before. So the answer is certain but for short stretches, which are scanned and bisected.

    Parameters
    ----------
    estimates, slopes
        a and c, shape (n_draws, n_looks); the actual assignment comes first.
    allowed
        How many may stop at each look, shape (n_looks,).
    slack
        Statistics closer than this are ties.
    """

    def kept(effect: float) -> bool:
        sizes = np.abs(estimates - slopes * effect)
        return bool(stop_looks(sizes, allowed, slack=slack)[0][0] == sizes.shape[1])

    places = _places(estimates, slopes, allowed, slack=slack)
    return _segments(places, kept)


def _places(estimates: FloatArray, slopes: FloatArray, allowed: IntArray, *, slack: float) -> FloatArray:
    """Return effects between which the answer changes at most once, ascending; the first and last are far away."""
    actual, before, ends = estimates[0], 0, [0.0]
    scale = float(np.abs(estimates).max()) or 1.0
    for k, count in enumerate(allowed.tolist()):
        a, c = estimates[:, k], slopes[:, k]
        ties = slack**2 + 2 * slack * np.abs(a)
        found = rank_set(c**2 - c[0] ** 2, 2 * (actual[k] * c[0] - a * c), a**2 - actual[k] ** 2 + ties, scale=scale)
        for needed in {count + 1, count + 1 + before}:
            ends += [end for segment in found.segments(needed) for end in segment]
        ends.append(float(actual[k]))
        before += count
    finite = np.unique([end for end in ends if np.isfinite(end)])
    steps = np.linspace(0, 1, _BETWEEN, endpoint=False)
    inside = (finite[:-1, None] + np.diff(finite)[:, None] * steps).ravel()
    reach = max(scale, float(np.ptp(finite)))
    far = reach * np.geomspace(1e-6, _FAR, 21)
    return np.unique(np.concatenate([finite[0] - far, inside, finite[-1:], finite[-1] + far, [0.0]]))


def _segments(places: FloatArray, kept: Callable[[float], bool]) -> tuple[tuple[float, float], ...]:
    verdicts = [kept(place) for place in places.tolist()]
    segments: list[tuple[float, float]] = []
    start = -np.inf if verdicts[0] else np.nan
    for i in range(1, len(places)):
        if verdicts[i] == verdicts[i - 1]:
            continue
        end = _change(float(places[i - 1]), float(places[i]), kept, inside_first=verdicts[i - 1])
        if verdicts[i]:
            start = end
        else:
            segments.append((float(start), end))
    if verdicts[-1]:
        segments.append((float(start), np.inf))
    return tuple(segments)


def _change(left: float, right: float, kept: Callable[[float], bool], *, inside_first: bool) -> float:
    """Return the last effect that is kept on the way out of the set."""
    inside, outside = (left, right) if inside_first else (right, left)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (inside + outside)
        if middle in (inside, outside):
            break
        if kept(middle):
            inside = middle
        else:
            outside = middle
    return inside
