r"""What one more window will need, predicted from windows that overlap and are compared with each other.

A window's required effect is about a constant less its error: the mean gap in the window less the mean gap of the periods
that it is compared with. With the errors of single periods AR(1), :math:`\Sigma_{st} = \phi^{|s - t|}`, and
:math:`a_w` the contrast of window :math:`w` (:math:`1/d` within, :math:`-1/m` on the :math:`m` periods of comparison), the
covariance of the windows' errors is :math:`C = A \Sigma A'` up to a scale. With :math:`M = I - 11'/n`, the scale

.. math:: \hat s^2 = \frac{x'Mx}{\operatorname{tr}(MC)}, \qquad
    \nu = \frac{\operatorname{tr}(MC)^2}{\operatorname{tr}(MCMC)}

is unbiased with about :math:`\nu` degrees of freedom (Satterthwaite 1946), and the experiment, whose contrast is
:math:`a_*`, lies about the mean of the windows with variance
:math:`\hat s^2 (a_* - \bar a)' \Sigma (a_* - \bar a)`. Overlap, autocorrelation, and that windows of one history are compared
with each other, so that they spread more than an experiment about them, are all counted in this.
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
    """Law of one more draw: ``centre + spread * t`` with ``df`` degrees of freedom."""

    centre: float
    spread: float
    df: float

    def probability(self, value: float) -> float:
        """Return the probability that the next one is at most ``value``."""
        if self.spread <= 0:
            return float(value >= self.centre)
        return float(stats.t.cdf((value - self.centre) / self.spread, self.df))

    def quantile(self, probability: float) -> float:
        """Return the value that the next one stays at or below with this probability."""
        return self.centre + self.spread * float(stats.t.ppf(probability, self.df))


def window_contrasts(starts: IntArray, duration: int, n_periods: int, *, compared: str) -> FloatArray:
    """Return the contrast of every window and, last, of the experiment; shape (n_windows + 1, n_periods + duration).

    Parameters
    ----------
    starts
        Index of each window's first period.
    duration
        Periods of every window and of the experiment, which follows the history.
    n_periods
        Periods of the history.
    compared
        ``all``: a window is compared with all other periods of the history; ``earlier``: with those before it.

    Examples
    --------
    >>> window_contrasts(np.array([2]), 1, 3, compared="earlier").tolist()
    [[-0.5, -0.5, 1.0, 0.0], [-0.3333333333333333, -0.3333333333333333, -0.3333333333333333, 1.0]]
    """
    found = np.zeros((len(starts) + 1, n_periods + duration))
    for row, start in zip(found, [*starts.tolist(), n_periods], strict=True):
        whole = start if compared == "earlier" or start == n_periods else n_periods
        others = whole - (duration if whole > start else 0)
        row[:whole] = -1.0 / others
        row[start : start + duration] = 1.0 / duration
    return found


def predictive(values: FloatArray, contrasts: FloatArray, phi: float) -> Predictive:
    """Predict the value of the experiment from those of windows.

    Parameters
    ----------
    values
        One number per window, shape (n_windows,), finite; at least two.
    contrasts
        Of every window and last of the experiment, shape (n_windows + 1, n_periods); see :func:`window_contrasts`.
    phi
        Autocorrelation of the errors, taken between 0 and .99.

    Examples
    --------
    >>> law = predictive(np.array([1.0, 2.0, 3.0, 4.0]), np.eye(5), 0.0)
    >>> round(law.df, 6), law.centre, round(law.spread**2, 6)
    (3.0, 2.5, 2.083333)
    """
    covariance = contrasts @ _autocorrelation(contrasts.shape[1], phi) @ contrasts.T
    n = len(values)
    centred = covariance[:n, :n] - covariance[:n, :n].mean(axis=0)
    trace = float(np.trace(centred))
    df = trace**2 / float((centred * centred.T).sum())
    ahead = np.append(np.full(n, -1.0 / n), 1.0)
    square = float(((values - values.mean()) ** 2).sum()) / trace * float(ahead @ covariance @ ahead)
    return Predictive(centre=float(values.mean()), spread=float(np.sqrt(square)), df=df)


def n_effective(contrasts: FloatArray, phi: float) -> float:
    """Return the number of independent windows whose mean varies as little as that of these, from 1 up."""
    sums = np.where(contrasts[:-1] > 0, contrasts[:-1], 0.0)
    covariance = sums @ _autocorrelation(sums.shape[1], phi) @ sums.T
    return float(np.trace(covariance) / len(sums) / covariance.mean())


def _autocorrelation(n_periods: int, phi: float) -> FloatArray:
    apart = np.abs(np.subtract.outer(np.arange(n_periods), np.arange(n_periods)))
    found: FloatArray = float(np.clip(phi, 0.0, 0.99)) ** apart
    return found
