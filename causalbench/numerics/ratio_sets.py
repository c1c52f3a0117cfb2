r"""Confidence sets of a ratio of two estimates, such as incremental sales over incremental cost.

A ratio :math:`\rho = N / D` is tested by the difference it would make zero:

.. math::
    z(\rho) = \frac{\hat N - \rho \hat D}{\sqrt{V_{NN} - 2 \rho V_{ND} + \rho^2 V_{DD}}},

and the set of all ratios with :math:`|z(\rho)| \le q` is where a quadratic in the ratio isn't positive,

.. math:: (\hat D^2 - q^2 V_{DD}) \rho^2 - 2 (\hat N \hat D - q^2 V_{ND}) \rho + (\hat N^2 - q^2 V_{NN}) \le 0

(Fieller 1954, Journal of the Royal Statistical Society B 16, 175-185). It holds its level whatever the denominator: where that
differs from zero at this level the set is one interval, where it doesn't the set is the whole line or all of it but a gap, and
says so. The delta method gives a short interval there, and covers too seldom.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_ROUNDING = 1e-12

WHOLE_LINE = ((-math.inf, math.inf),)


def ratio_statistic(numerator: float, denominator: float, covariance: FloatArray, *, ratio: float) -> float:
    """Return z of a ratio, positive where the estimates speak for a larger one (with a positive denominator).

    Parameters
    ----------
    numerator, denominator
        The estimates.
    covariance
        Of both, shape (2, 2).
    ratio
        The ratio under test.
    """
    variance = covariance[0, 0] - 2 * ratio * covariance[0, 1] + ratio**2 * covariance[1, 1]
    gap = numerator - ratio * denominator
    if variance <= 0:
        return math.copysign(math.inf, gap) if gap else 0.0
    return float(gap / math.sqrt(variance))


def fieller_set(
    numerator: float, denominator: float, covariance: FloatArray, *, quantile: float
) -> tuple[tuple[float, float], ...]:
    """Return every ratio that a two-sided test doesn't reject, as closed segments with ends that may be infinite.

    Parameters
    ----------
    numerator, denominator
        The estimates.
    covariance
        Of both, shape (2, 2); zeros for a denominator that is known, which gives the scaled interval of the numerator.
    quantile
        Of the test statistic in absolute value, normal or t, such as 1.645 for 90%.

    Raises
    ------
    ValueError
        When the covariance is none, the quantile isn't positive, or the denominator is known to be zero.

    Examples
    --------
    >>> import numpy as np
    >>> fieller_set(6.0, 2.0, np.diag([1.0, 0.0]), quantile=2.0)
    ((2.0, 4.0),)
    >>> fieller_set(1.0, 0.1, np.eye(2), quantile=2.0)
    ((-inf, inf),)
    >>> [tuple(round(end, 3) for end in ends) for ends in fieller_set(5.0, 1.0, np.eye(2), quantile=2.0)]
    [(-inf, -4.794), (1.46, inf)]
    """
    square, n, d = _standardised(numerator, denominator, covariance, quantile)
    if covariance[1, 1] == 0:
        reach = quantile * math.sqrt(covariance[0, 0])
        low, high = sorted(((numerator - reach) / denominator, (numerator + reach) / denominator))
        return ((float(low), float(high)),)
    scale = math.hypot(numerator, quantile * math.sqrt(covariance[0, 0])) / math.hypot(
        denominator, quantile * math.sqrt(covariance[1, 1])
    )
    a, half, c = float(d**2 - square[1, 1]), float(square[0, 1] - n * d), float(n**2 - square[0, 0])
    return tuple(
        (scale * lower if math.isfinite(lower) else lower, scale * upper if math.isfinite(upper) else upper)
        for lower, upper in _not_positive(a, half, c)
    )


def _standardised(
    numerator: float, denominator: float, covariance: FloatArray, quantile: float
) -> tuple[FloatArray, float, float]:
    """Return q^2 V, numerator and denominator with both estimates brought to order one."""
    covariance = np.asarray(covariance, dtype=float)
    variances = np.diag(covariance)
    product = float(variances[0] * variances[1]) if covariance.shape == (2, 2) else math.nan
    if not (variances.min() >= 0 and covariance[0, 1] ** 2 <= product * (1 + 1e-9)):
        raise ValueError(f"{covariance.tolist()} is no covariance of two estimates")
    if not quantile > 0:
        raise ValueError(f"quantile is {quantile}, it must be positive")
    sizes = np.hypot([numerator, denominator], quantile * np.sqrt(variances))
    if sizes[1] == 0:
        raise ValueError("the denominator is known to be zero: nothing divides by it")
    sizes[0] = sizes[0] or 1.0
    square: FloatArray = quantile**2 * covariance / np.outer(sizes, sizes)
    return square, numerator / float(sizes[0]), denominator / float(sizes[1])


def _not_positive(a: float, half: float, c: float) -> tuple[tuple[float, float], ...]:
    """Return where a x^2 + 2 half x + c is at most zero, given that it is somewhere."""
    if abs(a) <= _ROUNDING:
        if abs(half) <= _ROUNDING:
            return WHOLE_LINE
        cut = -c / (2 * half)
        return ((-math.inf, cut),) if half > 0 else ((cut, math.inf),)
    discriminant = half**2 - a * c
    if a < 0 and discriminant <= 0:
        return WHOLE_LINE
    far = -(half + math.copysign(math.sqrt(max(discriminant, 0.0)), half))
    low, high = sorted((far / a, c / far if far else 0.0))
    return ((low, high),) if a > 0 else ((-math.inf, low), (high, math.inf))
