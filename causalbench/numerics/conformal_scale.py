r"""From errors that were seen to one that wasn't: scores, the rank that a level needs, and how much dependence costs.

Scores are :math:`a_b = |e_b| / s_b`; the interval for a new error of scale :math:`s` is :math:`\pm s\, \hat q`. For the
empirical distribution :math:`\hat F` of the scores, :math:`\hat q` solves :math:`\hat F(\hat q) = p`. With
:math:`\varepsilon(u)` the error of :math:`\hat F` at the quantile of :math:`u`, the coverage :math:`\hat u` of
:math:`\hat q` solves :math:`\hat u + \varepsilon(\hat u) = p`, so that to second order

.. math:: E\,\hat u = p + E[\varepsilon \varepsilon'](p) = p + \tfrac12 \frac{d}{dp} \operatorname{Var} \varepsilon(p)
    = p + \frac{\tfrac12 - p}{n_e}, \qquad \operatorname{Var} \varepsilon(p) = \frac{p (1 - p)}{n_e},

which defines the effective number :math:`n_e` of scores: that of independent ones whose distribution is known as well.
Setting :math:`E\,\hat u` to the level :math:`L`,

.. math:: p = \frac{L (n_e + 1) - \tfrac12}{n_e}.

For independent scores this is split conformal prediction (Vovk, Gammerman, Shafer 2005; Lei et al. 2018): the
:math:`L(n + 1)`-th of :math:`n`, with midpoints for positions and interpolation between neighbours. It doesn't exist where
:math:`L (n_e + 1) > n_e`: 95% takes 19 errors *worth of independent ones*, not 19 that overlap.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_ROUNDING = 1e-9
_FLOOR = 1e-3


def needed_errors(level: float) -> int:
    """Return the least number of independent errors that an interval at this level takes.

    Examples
    --------
    >>> needed_errors(0.95), needed_errors(0.9)
    (19, 9)
    """
    return math.ceil(level / (1.0 - level) - _ROUNDING * 100)


def attainable_level(n_effective: float) -> float:
    """Return the largest level that this many independent errors can support."""
    return n_effective / (n_effective + 1.0)


def share_below(level: float, n_effective: float) -> float | None:
    """Return the share of the scores that the quantile leaves below; None where there are too few.

    Examples
    --------
    >>> share_below(0.95, 19.0), share_below(0.95, 18.0)
    (0.9736842105263158, None)
    """
    if level * (n_effective + 1.0) > n_effective * (1.0 + _ROUNDING):
        return None
    return (level * (n_effective + 1.0) - 0.5) / n_effective


def quantile(scores: FloatArray, share: float) -> float:
    """Return the value below which this share of scores lies: positions at midpoints, linear between neighbours.

    Examples
    --------
    >>> quantile(np.arange(1.0, 20.0), 18.5 / 19)  # the 19th of 19
    19.0
    """
    ordered = np.sort(scores)
    return float(np.interp(share, (np.arange(len(ordered)) + 0.5) / len(ordered), ordered))


def growth(errors: FloatArray, volatility: FloatArray) -> tuple[int, float]:
    r"""Choose the measure of volatility that errors grow with, and how: :math:`\gamma` of :math:`s_b = v_b^\gamma`.

    The measure whose logarithm correlates most with :math:`\log |e_b|`; :math:`\gamma` is the least-squares slope of
    :math:`\log |e_b|` on it, between 0 and 1. 0 where volatility tells nothing or never varies.

    Parameters
    ----------
    errors
        Shape (n_errors,).
    volatility
        One row per measure, shape (n_measures, n_errors).

    Returns
    -------
    int, float
        Row of the measure, and the exponent.

    Examples
    --------
    >>> size = np.array([1.0, 2.0, 4.0, 8.0])
    >>> growth(np.ones(4), size[None])
    (0, 0.0)
    >>> measure, gamma = growth(3 * size, np.stack([np.ones(4), size]))
    >>> measure, round(gamma, 2)
    (1, 1.0)
    """
    sizes = np.abs(errors)
    if len(sizes) < 2 or sizes.max() <= 0:
        return 0, 0.0
    y = np.log(sizes + _FLOOR * sizes.mean())
    y = y - y.mean()
    best, chosen = 0.0, (0, 0.0)
    for k, row in enumerate(volatility):
        if (row <= 0).any():
            continue
        x = np.log(row)
        x = x - x.mean()
        square = float(x @ x)
        if square > _ROUNDING * len(x) and (told := float(x @ y) / math.sqrt(square)) > best:
            best, chosen = told, (k, min(float(x @ y) / square, 1.0))
    return chosen


def spreads_beside_others(outcome: FloatArray, members: BoolArray) -> FloatArray:
    """Return how volatile sets of units are beside all others, by two measures; shape (2, n_sets), in outcome units.

    Root mean squares of what is left of a set's mean about its own mean: by a line through the others' mean, and less the
    others' mean. The second grows with drifts apart, and with swings that units follow to different degrees. A missing cell
    counts as its unit's mean.

    Parameters
    ----------
    outcome
        Shape (n_units, n_periods).
    members
        Which units belong to each set, shape (n_sets, n_units).

    Examples
    --------
    >>> outcome = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [2.0, 4.0, 6.0]])
    >>> spreads_beside_others(outcome, np.array([[True, False, False]])).round(6).tolist()
    [[0.0], [0.816497]]
    """
    outcome = np.where(np.isnan(outcome), np.nanmean(outcome, axis=1, keepdims=True), outcome)
    sides = np.stack([members, ~members]).astype(float)
    sides /= sides.sum(axis=2, keepdims=True)
    ours, others = sides @ outcome
    ours, others = ours - ours.mean(axis=1, keepdims=True), others - others.mean(axis=1, keepdims=True)
    square = (others**2).sum(axis=1, keepdims=True)
    slope = (ours * others).sum(axis=1, keepdims=True) / np.where(square > 0, square, 1.0)
    left = np.stack([ours - slope * others, ours - others])
    found: FloatArray = np.sqrt((left**2).mean(axis=2))
    return found
