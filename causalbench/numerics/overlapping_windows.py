r"""What one more window will need, predicted from windows that overlap.

A window's required effect is about a constant less the sum of its errors. Where errors follow an AR(1) process with
autocorrelation :math:`\phi`, sums over :math:`d` periods that start :math:`h` apart have the correlation

.. math:: \rho(h) = \frac{\sum_{|k| < d} (d - |k|) \phi^{|h + k|}}{\sum_{|k| < d} (d - |k|) \phi^{|k|}} .

With :math:`C` the matrix of these and :math:`M = I - 11'/n`, the spread :math:`s^2 = x'Mx / \operatorname{tr}(MC)` is
unbiased, has about :math:`\nu = \operatorname{tr}(MC)^2 / \operatorname{tr}(MCMC)` degrees of freedom (Satterthwaite 1946),
and one more, independent window lies about the mean with variance :math:`s^2 (1 + 1'C1 / n^2)`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictive:
    """Law of one more draw: ``centre + spread * t`` with ``df`` degrees of freedom.

    ``n_effective`` is the number of independent windows that would know the mean as well.
    """

    centre: float
    spread: float
    df: float
    n_effective: float

    def probability(self, value: float) -> float:
        """Return the probability that the next one is at most ``value``."""
        if self.spread <= 0:
            return float(value >= self.centre)
        return float(stats.t.cdf((value - self.centre) / self.spread, self.df))

    def quantile(self, probability: float) -> float:
        """Return the value that the next one stays at or below with this probability."""
        return self.centre + self.spread * float(stats.t.ppf(probability, self.df))


def overlap_correlation(starts: IntArray, duration: int, phi: float) -> FloatArray:
    """Return the correlation of sums over windows of AR(1) errors, shape (n_windows, n_windows).

    Examples
    --------
    >>> import numpy as np
    >>> overlap_correlation(np.array([0, 5, 10]), 10, 0.0)[0].tolist()
    [1.0, 0.5, 0.0]
    """
    apart = np.abs(np.subtract.outer(starts, starts))
    lags, place = np.unique(apart, return_inverse=True)
    within = np.arange(1 - duration, duration)
    share = duration - np.abs(within)
    sums = (share * float(np.clip(phi, 0.0, 0.99)) ** np.abs(lags[:, None] + within)).sum(axis=1)
    correlation: FloatArray = (sums / sums[0])[place].reshape(apart.shape)
    return correlation


def predictive(values: FloatArray, starts: IntArray, duration: int, phi: float) -> Predictive:
    """Predict the value of one more window, apart from the others.

    Parameters
    ----------
    values
        One number per window, shape (n_windows,), finite; at least two.
    starts
        Index of each window's first period, shape (n_windows,).
    duration
        Periods of every window.
    phi
        Autocorrelation of the errors, taken between 0 and .99.

    Examples
    --------
    >>> import numpy as np
    >>> law = predictive(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 10, 20, 30]), 10, 0.0)
    >>> round(law.df, 6), law.centre, round(law.spread**2, 6)
    (3.0, 2.5, 2.083333)
    """
    correlation = overlap_correlation(starts, duration, phi)
    centred = correlation - correlation.mean(axis=0)
    trace = float(np.trace(centred))
    df = trace**2 / float((centred * centred.T).sum())
    of_mean = float(correlation.mean())
    square = float(((values - values.mean()) ** 2).sum()) / trace
    return Predictive(
        centre=float(values.mean()), spread=float(np.sqrt(square * (1 + of_mean))), df=df, n_effective=1 / of_mean
    )
