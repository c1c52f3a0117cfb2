r"""Regression of one series on another over the periods before a launch, and the error of what it predicts afterwards.

.. math:: y_t = \alpha + \beta x_t + e_t, \qquad t \le T_0.

With the regressor taken about its own mean before the launch, the error of a sum of predicted effects over a window
:math:`W` of later periods is linear in the noise,

.. math::
    \hat\Delta_W - \Delta_W = \sum_{t \in W} e_t - \sum_{s \le T_0} \Bigl( \frac{|W|}{T_0}
    + \frac{(x_s - \bar x) \sum_{t \in W} (x_t - \bar x)}{\sum_s (x_s - \bar x)^2} \Bigr) e_s = g_W' e,

so that its variance is :math:`\sigma^2 g_W' \Omega g_W` for noise of covariance :math:`\sigma^2 \Omega`. Independent noise gives
:math:`\sigma^2 (|W| + |W|^2 / T_0 + (\sum_W (x_t - \bar x))^2 / S_{xx})`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_FLAT = 1e-12
_MOST_PERSISTENT = 0.98


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TimeRegression:
    """One series on another.

    Attributes
    ----------
    intercept, slope
        Coefficients; the slope is 0 where the regressor doesn't vary before the launch.
    predicted
        alpha + beta x, shape (n_periods,).
    gap
        The series less what is predicted, shape (n_periods,): residuals before the launch, effects after it.
    design
        Regressors before the launch, shape (n_pre, 1 or 2): a constant, and the centred series where it varies.
    later
        The same after it, shape (n_post, 1 or 2).
    """

    intercept: float
    slope: float
    predicted: FloatArray
    gap: FloatArray
    design: FloatArray
    later: FloatArray

    @property
    def n_pre(self) -> int:
        """Number of periods before the launch."""
        return len(self.design)

    @property
    def residuals(self) -> FloatArray:
        """Residuals before the launch, shape (n_pre,)."""
        return self.gap[: self.n_pre]

    def error_weights(self, windows: FloatArray) -> FloatArray:
        """Return g of every window of zeros and ones, (n_windows, n_post); shape (n_windows, n_periods)."""
        totals = windows @ self.later
        gram = (self.design**2).sum(axis=0)  # orthogonal columns
        return np.hstack([-(totals / gram) @ self.design.T, windows])


def time_regression(series: FloatArray, regressor: FloatArray, n_pre: int) -> TimeRegression:
    """Regress the first ``n_pre`` entries of a series on those of another.

    Parameters
    ----------
    series, regressor
        Shape (n_periods,).
    n_pre
        Number of periods to fit; at least 3 leave a degree of freedom.

    Examples
    --------
    >>> import numpy as np
    >>> found = time_regression(np.array([3.0, 5.0, 7.0, 12.0]), np.array([1.0, 2.0, 3.0, 4.0]), 3)
    >>> found.slope, float(found.gap[3])
    (2.0, 3.0)
    """
    centre, level = regressor[:n_pre].mean(), series[:n_pre].mean()
    moved = regressor - centre
    square = float(moved[:n_pre] @ moved[:n_pre])
    varies = square > n_pre * (_FLAT * np.abs(regressor).max(initial=0.0)) ** 2
    slope = float(moved[:n_pre] @ (series[:n_pre] - level)) / square if varies else 0.0
    columns = np.stack([np.ones(len(series)), moved] if varies else [np.ones(len(series))], axis=1)
    gap = (series - level) - slope * moved
    return TimeRegression(
        intercept=float(level - slope * centre),
        slope=slope,
        predicted=series - gap,
        gap=gap,
        design=columns[:n_pre],
        later=columns[n_pre:],
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NoiseModel:
    """Noise around a line before a launch, as if it remembered its past like an AR(1) process.

    Attributes
    ----------
    rho
        Autocorrelation, from 0 up; 0 for independent noise.
    variance, df
        Of one period's noise, and the degrees of freedom of that variance.
    trace
        Expected sum of squared residuals, in variances of the noise.
    """

    rho: float
    variance: float
    df: float
    trace: float

    def variances(self, weights: FloatArray) -> FloatArray:
        """Return the variance of sums of noise with every row of weights, (n_windows, n_periods)."""
        found: FloatArray = self.variance * (weights * _smoothed(weights, self.rho)).sum(axis=1)
        return found


def noise_model(found: TimeRegression, *, rho: float = 0.0) -> NoiseModel:
    r"""Estimate the noise behind least-squares residuals under a given autocorrelation.

    With the residual maker M and the AR(1) correlation :math:`\Omega`, :math:`E[r'r] = \sigma^2 \mathrm{tr}(M\Omega)`, so that
    :math:`\hat\sigma^2 = r'r / \mathrm{tr}(M\Omega)` is unbiased. Its degrees of freedom are Satterthwaite's,
    :math:`\mathrm{tr}(M\Omega)^2 / \mathrm{tr}(M\Omega M\Omega)`: :math:`T_0 - k` for independent noise.

    Parameters
    ----------
    found
        The line.
    rho
        Autocorrelation of the noise, from 0 to below 1.
    """
    n_pre, n_columns = found.design.shape
    square = float(found.residuals @ found.residuals)
    if rho == 0:
        df = float(n_pre - n_columns)
        return NoiseModel(rho=0.0, variance=square / df, df=df, trace=df)
    basis = found.design / np.sqrt((found.design**2).sum(axis=0))
    omega = rho ** np.abs(np.subtract.outer(np.arange(n_pre), np.arange(n_pre)))
    made = omega - basis @ (basis.T @ omega)
    trace = float(np.trace(made))
    return NoiseModel(rho=rho, variance=square / trace, df=trace**2 / float((made * made.T).sum()), trace=trace)


def joint_covariance(
    first: TimeRegression, second: TimeRegression, window: FloatArray, *, rho: float = 0.0
) -> FloatArray:
    r"""Return the covariance of the errors of two lines' sums over one window, shape (2, 2).

    Noise of both has the correlation :math:`\Omega` over time and :math:`r_1'r_2 / \sqrt{\mathrm{tr}(M_1\Omega)
    \mathrm{tr}(M_2\Omega)}` as its covariance in one period, so that the result is never more than perfectly correlated.

    Parameters
    ----------
    first, second
        Lines over the same periods.
    window
        Zeros and ones, or shares, shape (n_post,).
    rho
        Autocorrelation of both noises.
    """
    lines = (first, second)
    weights = np.vstack([line.error_weights(window[None]) for line in lines])
    scales = np.sqrt([noise_model(line, rho=rho).trace for line in lines])
    residuals = np.stack([line.residuals for line in lines]) / scales[:, None]
    found: FloatArray = residuals @ residuals.T * (weights @ _smoothed(weights, rho).T)
    return found


def cautious_rho(found: float, n_pre: int) -> float:
    r"""Return an estimated autocorrelation plus half of its standard error, from 0 to .98.

    The variance of a sum grows faster than :math:`\rho`, so that the middle of what :math:`\rho` may be gives too short an
    interval; half of :math:`\sqrt{(1 - \rho^2) / T_0}` makes up for it (``benchmarks/geo_estimator_sizes.py``).
    """
    known = min(max(found, 0.0), _MOST_PERSISTENT)
    return min(known + math.sqrt((1 - known**2) / n_pre) / 2, _MOST_PERSISTENT)


def _smoothed(weights: FloatArray, rho: float) -> FloatArray:
    """Return every row times the AR(1) correlation, by one sweep in each direction of time."""
    if rho == 0:
        return weights
    forward, backward = weights.copy(), weights.copy()
    for t in range(1, weights.shape[1]):
        forward[:, t] += rho * forward[:, t - 1]
        backward[:, -t - 1] += rho * backward[:, -t]
    total: FloatArray = forward + backward - weights
    return total
