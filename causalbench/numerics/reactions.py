r"""Which series move on their own account at a date that all share?

Every series is taken about its mean and in units of its standard deviation before the date, and compared with the weighted
mean of the others that follows it best there. How far the mean gap :math:`\bar g_j` from the date on is unusual is judged
twice. Against the series' own history: by the standard deviation that a mean of as many periods has under the AR(1) law with
the variance and autocorrelation of its gap before,

.. math:: \operatorname{var}(\bar g) = \frac{\sigma^2}{m} \Bigl[1 + 2 \sum_{k=1}^{m-1} \bigl(1 - \tfrac km\bigr) \rho^k\Bigr],

both shrunk towards the median series as if 20 more periods of it had been seen. Then against the other series: the ratios
:math:`z_j` are divided by their own robust spread, so that whatever the law gets wrong for all alike cancels. A mean counts
up to twice the median gap, so that a single outlier is no reaction. A series reacts when its p-value, by Student's t, times
the number of series is at most the size asked for; the degrees of freedom are half the number of series, but at most a third
of the periods before the date. The most unusual series is set aside and the rest judged again without it, until none reacts;
at the end each one set aside is held against the rest, and comes back where it only mirrored another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from causalbench.numerics.donor_gaps import gaps_among

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

FEWEST_SERIES, FEWEST_PERIODS = 6, 10
"""With fewer series, or fewer periods before the date, there is no spread to judge by."""

_RIDGE = 1.0
_LIKE_PERIODS = 20
_KEPT = 0.8
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reactions:
    """How unusual each series is from the date on, against the series that don't react; arrays have shape (n_series,).

    Attributes
    ----------
    suspect
        Whether it reacts.
    gap
        Mean gap from the date on, in units of the outcome.
    z
        As much of that gap as lasts, over its spread; of order one where nothing happens.
    p_value
        Two-sided, times the number of series, at most 1.
    limit
        Lasting gap from which on it would have been found, in units of the outcome.
    """

    suspect: BoolArray
    gap: FloatArray
    z: FloatArray
    p_value: FloatArray
    limit: FloatArray


def find_reactions(series: FloatArray, n_pre: int, *, size: float) -> Reactions:
    """Find the series that react at a date.

    Parameters
    ----------
    series
        Shape (n_series, n_periods), without gaps; a series that doesn't move before the date can't be judged.
    n_pre
        Number of periods before the date.
    size
        Probability, at most, that any series is found where none reacts.

    Raises
    ------
    ValueError
        With fewer than six series, fewer than ten periods before the date, or one that doesn't move before it.

    Examples
    --------
    >>> import numpy as np
    >>> series = np.random.default_rng(0).normal(size=(12, 60))
    >>> series[3, 50:] += 3
    >>> np.flatnonzero(find_reactions(series, 50, size=0.05).suspect).tolist()
    [3]
    """
    unit = series[:, :n_pre].std(axis=1, keepdims=True)
    if len(series) < FEWEST_SERIES or n_pre < FEWEST_PERIODS or not unit.min() > 0:
        raise ValueError(f"{len(series)} series and {n_pre} periods before the date can't be judged")
    scaled = (series - series[:, :n_pre].mean(axis=1, keepdims=True)) / unit
    suspect = np.zeros(len(series), dtype=bool)
    while (~suspect).sum() > max(FEWEST_SERIES, len(series) / 2):
        kept = np.flatnonzero(~suspect)
        judged = _judge(gaps_among(scaled[kept], n_pre, rel_ridge=_RIDGE), n_pre)
        worst = int(np.argmax(np.abs(judged.lasting / judged.error)))
        # A reaction enters the others' gaps through its weight there, so their spread is taken without it.
        rest = _judge(gaps_among(scaled[np.delete(kept, worst)], n_pre, rel_ridge=_RIDGE), n_pre)
        z = judged.lasting[worst] / judged.error[worst] / _spread(rest, len(kept))
        if 2 * stats.t.sf(abs(z), _degrees(len(kept), n_pre)) * len(kept) > size:
            break
        suspect[kept[worst]] = True
    return _against_rest(scaled, n_pre, suspect, unit=unit[:, 0], size=size)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Judged:
    """Mean gap from the date on, as much of it as lasts, and the standard deviation that a series' own history gives it."""

    mean: FloatArray
    lasting: FloatArray
    error: FloatArray


def _against_rest(scaled: FloatArray, n_pre: int, suspect: BoolArray, *, unit: FloatArray, size: float) -> Reactions:
    """Judge the unsuspected among each other, and each suspect as one more of them."""
    kept = np.flatnonzero(~suspect)
    mean, lasting, error = (np.zeros(len(scaled)) for _ in range(3))
    clean = _judge(gaps_among(scaled[kept], n_pre, rel_ridge=_RIDGE), n_pre)
    mean[kept], lasting[kept], error[kept] = clean.mean, clean.lasting, clean.error
    for j in np.flatnonzero(suspect):
        joined = _judge(gaps_among(scaled[np.append(kept, j)], n_pre, rel_ridge=_RIDGE), n_pre)
        mean[j], lasting[j], error[j] = joined.mean[-1], joined.lasting[-1], joined.error[-1]
    n = len(kept) + int(suspect.any())
    error *= _spread(clean, n)
    z, degrees = lasting / error, _degrees(n, n_pre)
    p_value = np.minimum(2 * stats.t.sf(np.abs(z), degrees) * n, 1.0)
    limit = float(stats.t.isf(size / 2 / n, degrees)) * error * unit
    return Reactions(suspect=suspect & (p_value <= size), gap=mean * unit, z=z, p_value=p_value, limit=limit)


def _judge(gaps: FloatArray, n_pre: int) -> _Judged:
    """Hold every series' gaps from the date on against its own before it."""
    before, after = gaps[:, :n_pre], gaps[:, n_pre:]
    variance = np.maximum((before**2).mean(axis=1), _ROUNDING**2)
    correlation = (before[:, 1:] * before[:, :-1]).mean(axis=1) / variance
    variance, correlation = (_shrunk(values, n_pre) for values in (variance, correlation))
    m = after.shape[1]
    lags = np.arange(1, m)
    inflation = 1 + 2 * ((1 - lags / m) * np.clip(correlation, -0.9, 0.99)[:, None] ** lags).sum(axis=1)
    mean, middle = after.mean(axis=1), np.median(after, axis=1)
    side = np.sign(mean)
    return _Judged(
        mean=mean,
        lasting=side * np.minimum(np.abs(mean), 2 * np.maximum(side * middle, 0.0)),
        error=np.sqrt(variance * inflation / m),
    )


def _shrunk(values: FloatArray, n_periods: int) -> FloatArray:
    middle = np.median(values)
    shrunk: FloatArray = (n_periods * values + _LIKE_PERIODS * middle) / (n_periods + _LIKE_PERIODS)
    return shrunk


def _spread(judged: _Judged, n_series: int) -> float:
    """Return the standard deviation about zero by the smallest 80% of the ratios, as if they were normal.

    ``n_series`` counts a series that is held against these ones too: it lies in the tail that isn't used.
    """
    squares = np.sort((judged.mean / judged.error) ** 2)[: math.ceil(_KEPT * n_series)]
    edge = stats.norm.ppf((1 + _KEPT) / 2)
    return max(_ROUNDING, math.sqrt(squares.mean() / (1 - 2 * edge * stats.norm.pdf(edge) / _KEPT)))


def _degrees(n_series: int, n_pre: int) -> float:
    return min(n_series / 2, n_pre / 3)
