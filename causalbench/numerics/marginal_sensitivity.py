r"""Weighting estimators under a marginal sensitivity model: bounds over all confounders of bounded strength.

The odds of treatment given everything that matters differ from those given the covariates by a factor between
:math:`1 / \Lambda` and :math:`\Lambda` (Tan 2006). A weighted mean of one arm then has weights :math:`w_i = a_i + b_i \lambda_i`
with unknown :math:`\lambda_i \in [1 / \Lambda, \Lambda]`: :math:`a_i = 0, b_i = e_i / (1 - e_i)` where controls stand for the
treated, :math:`a_i = 1, b_i` the odds of the other arm where an arm stands for everybody.

* **Zhao, Small, Bhattacharya 2019** (https://doi.org/10.1111/rssb.12327): the extremes of
  :math:`\sum w_i y_i / \sum w_i` are a linear fractional programme. With outcomes sorted, the largest :math:`\lambda` go to all
  outcomes above a threshold, so the exact optimum is found by sorting.
* **Dorn, Guo 2023** (https://doi.org/10.1080/01621459.2022.2069572): weights must also reproduce the distribution of the
  covariates. By duality, the sharp upper bound is
  :math:`\min_q \sum w_i \{ y_i + (\Lambda - 1 / \Lambda) \rho_\tau(y_i - q(x_i)) \}` with the check function :math:`\rho_\tau`
  at :math:`\tau = \Lambda / (\Lambda + 1)` and weights normalised to one: every :math:`q` gives a valid bound, a quantile
  regression the sharpest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arm:
    """The outcomes of one arm and the parts of their weights, for many draws at once.

    Attributes
    ----------
    outcome
        Ascending, shape (n,).
    fixed, total
        Shape (n_draws,): sums of the fixed part of the weights times the outcome, and of the fixed part.
    moment, mass
        Shape (n_draws, n + 1): running sums of the variable part times the outcome, and of the variable part, from zero.
    """

    outcome: FloatArray
    fixed: FloatArray
    total: FloatArray
    moment: FloatArray
    mass: FloatArray

    @classmethod
    def of(cls, outcome: FloatArray, *, fixed: FloatArray, variable: FloatArray) -> Arm:
        """Sort the outcomes and sum the weights; weights have shape (n_draws, n) and aren't negative."""
        order = np.argsort(outcome, kind="stable")
        y, a, b = outcome[order], fixed[:, order], variable[:, order]
        return cls(outcome=y, fixed=a @ y, total=a.sum(axis=1), moment=_running(b * y), mass=_running(b))

    def highest(self, strength: float) -> FloatArray:
        r"""Return the largest weighted mean of each draw, shape (n_draws,), at :math:`\Lambda` = ``strength``.

        With the first :math:`k` outcomes low and the rest high, the mean rises from :math:`k` to :math:`k + 1` if and only if
        the next outcome lies below it; once it doesn't, it never does again, since outcomes ascend. So the optimal
        :math:`k` is found by bisection.
        """
        low = np.zeros(len(self.fixed), dtype=np.int64)
        high = np.full(len(self.fixed), len(self.outcome), dtype=np.int64)
        while (low < high).any():
            middle = (low + high) // 2
            stop = self.outcome[np.minimum(middle, len(self.outcome) - 1)] >= self._mean(middle, strength)
            open_ = low < high
            high = np.where(open_ & stop, middle, high)
            low = np.where(open_ & ~stop, middle + 1, low)
        return self._mean(low, strength)

    def _mean(self, n_low: IntArray, strength: float) -> FloatArray:
        rows = np.arange(len(n_low))
        spread = strength - 1 / strength
        above = self.fixed + strength * self.moment[:, -1] - spread * self.moment[rows, n_low]
        below = self.total + strength * self.mass[:, -1] - spread * self.mass[rows, n_low]
        result: FloatArray = above / below
        return result

    def lowest(self, strength: float) -> FloatArray:
        """Return the smallest weighted mean of each draw, shape (n_draws,)."""
        return -self.mirrored().highest(strength)

    def mirrored(self) -> Arm:
        """Return the arm with the signs of all outcomes turned."""
        return Arm(
            outcome=-self.outcome[::-1],
            fixed=-self.fixed,
            total=self.total,
            moment=-(self.moment[:, -1:] - self.moment[:, ::-1]),
            mass=self.mass[:, -1:] - self.mass[:, ::-1],
        )


def _running(values: FloatArray) -> FloatArray:
    result = np.zeros((len(values), values.shape[1] + 1))
    np.cumsum(values, axis=1, out=result[:, 1:])
    return result


def sharp_upper_bound(
    outcome: FloatArray,
    quantile: FloatArray,
    *,
    fixed: FloatArray | float,
    variable: FloatArray,
    total: FloatArray | float,
    strength: float,
) -> FloatArray:
    r"""Return the bound of Dorn and Guo on the mean of an arm, shape (n_draws,), at given conditional quantiles.

    Only the variable part is uncertain: :math:`\lambda_i` is :math:`\Lambda` above the quantile and :math:`1 / \Lambda` below,
    and :math:`q` itself has the weight of the covariates.

    Parameters
    ----------
    outcome, quantile
        Shape (n,); any guess of the quantile at ``strength / (strength + 1)`` gives a bound that holds.
    fixed
        Sums of the fixed part of the weights times the outcome, shape (n_draws,), or 0.
    variable
        Variable part of the weights, shape (n_draws, n).
    total
        Sums of both parts of the weights, shape (n_draws,), or one number.
    strength
        At least 1.
    """
    rest = outcome - quantile
    shifted = quantile + np.where(rest > 0, strength, 1 / strength) * rest
    result: FloatArray = (fixed + variable @ shifted) / total
    return result


def quantile_regression(
    outcome: FloatArray, design: FloatArray, *, weights: FloatArray, share: float, n_steps: int = 25
) -> FloatArray:
    r"""Return fitted conditional quantiles, shape (n,), of a weighted linear quantile regression.

    Majorise-minimise with a shrinking smoothing width (Hunter, Lange 2000, https://doi.org/10.1080/10618600.2000.10474866):
    :math:`|u|` is replaced by a parabola that touches it at the current :math:`|u| + \epsilon`. Approximate; the bounds above
    hold at any fit and only lose sharpness.

    Parameters
    ----------
    outcome, design
        Shapes (n,) and (n, k), the design with its constant.
    weights
        Shape (n,), not negative.
    share
        Which quantile, strictly between 0 and 1.
    n_steps
        Number of weighted least-squares steps.
    """
    scale = float(np.std(outcome)) or 1.0
    weighted = design * weights[:, None]
    slope = (2 * share - 1) * weighted.sum(axis=0)
    beta = np.linalg.lstsq(np.sqrt(weights)[:, None] * design, np.sqrt(weights) * outcome, rcond=None)[0]
    ridge = 1e-10 * np.trace(weighted.T @ design) / design.shape[1] * np.eye(design.shape[1]) / scale
    for step in range(n_steps):
        width = scale * max(0.1 * 0.65**step, 1e-4)
        curvature = 1 / (width + np.abs(outcome - design @ beta))
        gram = (weighted * curvature[:, None]).T
        beta = np.linalg.solve(gram @ design + ridge, gram @ outcome + slope)
    fitted: FloatArray = design @ beta
    return fitted


def largest_strength(
    reaches: Callable[[float], bool], *, most: float, least: float = 1.0, tolerance: float = 1e-3
) -> float:
    r"""Return the largest :math:`\Lambda` at which a monotone condition isn't met yet, by bisection of its logarithm.

    ``least`` where it is met at once, ``most`` where it isn't met up to there. Steps double until it is met.

    Examples
    --------
    >>> round(largest_strength(lambda strength: strength >= 2.5, most=20.0), 2)
    2.5
    """
    if least >= most or reaches(least):
        return least
    low, step = least, 1.25
    while not reaches(high := min(low * step, most)):
        if high == most:
            return most
        low, step = high, step**2
    while high / low > 1 + tolerance:
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return low
