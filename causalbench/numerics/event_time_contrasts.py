r"""Linear questions to an event study: a mean, a line, where the line leads to; and how fast an effect fades.

Every answer is a fixed linear combination :math:`c'\hat\beta` of the values with variance :math:`c'\hat\Sigma c`, so
that the joint covariance, with its common reference period, is taken into account.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import ndtri
from scipy.stats import t as t_distribution

FloatArray = NDArray[np.float64]

_DEGREES_PER_VALUE = 10
"""From this many degrees of freedom per value on the covariance is known well enough to weight by its inverse."""

_POWER = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """A linear combination of effects by event time.

    Attributes
    ----------
    value, std_error
        In units of the outcome, or of the outcome per period for a slope.
    degrees
        Degrees of freedom behind the standard error.
    """

    value: float
    std_error: float
    degrees: float

    @property
    def p_value(self) -> float:
        """Of the combination being zero, two-sided."""
        return 2 * float(t_distribution.sf(abs(self.value) / self.std_error, self.degrees))

    def detectable(self, size: float) -> float:
        """Return how large the combination must be for a test of this size to show it with 80% power."""
        return float(t_distribution.isf(size / 2, self.degrees) + ndtri(_POWER)) * self.std_error


def contrast(values: FloatArray, covariance: FloatArray, weights: FloatArray, *, degrees: float) -> Contrast:
    """Evaluate one linear combination.

    Parameters
    ----------
    values, covariance
        Effects by event time, shape (k,), and their covariance, shape (k, k).
    weights
        Shape (k,).
    degrees
        Degrees of freedom behind the covariance.

    Examples
    --------
    >>> import numpy as np
    >>> contrast(np.array([1.0, 3.0]), np.eye(2), np.array([-1.0, 1.0]), degrees=20).value
    2.0
    """
    variance = max(float(weights @ covariance @ weights), 0.0)
    return Contrast(value=float(weights @ values), std_error=math.sqrt(variance), degrees=degrees)


def line_weights(times: FloatArray, covariance: FloatArray, *, degrees: float) -> FloatArray:
    r"""Return the weights that turn values into the intercept and the slope of a line, shape (2, k).

    Generalised least squares, :math:`(X'\Sigma^{-1}X)^{-1}X'\Sigma^{-1}`, where the covariance rests on at least ten
    degrees of freedom per value; ordinary least squares below, as an inverse of few units' covariance is mostly noise
    and would understate the error.

    Parameters
    ----------
    times
        Event times, shape (k,), at least two distinct ones.
    covariance
        Of the values, shape (k, k).
    degrees
        Degrees of freedom behind the covariance.

    Examples
    --------
    >>> import numpy as np
    >>> line_weights(np.array([0.0, 1.0, 2.0]), np.eye(3), degrees=100)[1].tolist()
    [-0.5, 0.0, 0.5]
    """
    design = np.column_stack([np.ones(len(times)), times])
    spread = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(spread, spread)
    precise = degrees >= _DEGREES_PER_VALUE * len(times) and np.linalg.eigvalsh(correlation)[0] > 1e-9
    weighted = np.linalg.solve(correlation, design / spread[:, None]) / spread[:, None] if precise else design
    solved: FloatArray = np.linalg.solve(weighted.T @ design, weighted.T)
    return solved


def half_life(values: FloatArray, covariance: FloatArray, times: FloatArray, *, degrees: float) -> float | None:
    r"""Return after how many periods an effect that fades as :math:`a e^{-\kappa t}` is halved.

    Weighted least squares in a and :math:`\kappa`, as :func:`line_weights` chooses between the inverse covariance and
    equal weights; for each :math:`\kappa` the best a has a closed form. None unless it lies inside the time observed:
    a longer one would be an extrapolation.

    Examples
    --------
    >>> import numpy as np
    >>> times = np.arange(8.0)
    >>> round(half_life(4 * 0.5 ** (times / 3), 0.01 * np.eye(8), times, degrees=100), 4)
    3.0
    """
    span = float(times[-1] - times[0])
    precise = degrees >= _DEGREES_PER_VALUE * len(times)
    metric = np.linalg.pinv(covariance) if precise else np.eye(len(times))
    size = float(values @ metric @ values)

    def loss(log_life: float) -> float:
        shape = np.exp(-math.log(2) * (times - times[0]) / math.exp(log_life))
        return 1 - float(shape @ metric @ values) ** 2 / (float(shape @ metric @ shape) * size)

    # Half-lives from a tenth of a period to ten times the span, on a grid first: the loss may have two valleys.
    grid = np.linspace(math.log(0.1), math.log(10 * span), 60)
    best = int(np.argmin([loss(point) for point in grid]))
    around = (float(grid[max(best - 1, 0)]), float(grid[min(best + 1, len(grid) - 1)]))
    life = math.exp(minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": 1e-9}).x)
    return life if life <= span else None
