r"""Expected gains and losses of a number that isn't known: what a decision is worth, and what knowing more would be worth.

For a net value V with density p, shipping loses :math:`E[\max(0, -V)]` against knowing better, holding loses
:math:`E[\max(0, V)]`. With a normal V of mean m and standard deviation s both are closed:

.. math:: E[\max(0, V)] = m\,\Phi(m / s) + s\,\phi(m / s)

(Raiffa and Schlaifer 1961, Applied Statistical Decision Theory, section 5.4: the unit normal loss integral). Other laws are
integrated over a grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import t as t_distribution

FloatArray = NDArray[np.float64]

_REACH = 12.0
_POINTS = 4001


def expected_gain(mean: float, spread: float) -> float:
    """Return the mean of the positive part of a normal number.

    Examples
    --------
    >>> round(expected_gain(0.0, 1.0), 6), expected_gain(2.0, 0.0), expected_gain(-2.0, 0.0)
    (0.398942, 2.0, 0.0)
    """
    if spread <= 0:
        return max(mean, 0.0)
    z = mean / spread
    gain = mean * float(ndtr(z)) + spread * math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return max(gain, 0.0, mean)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Belief:
    """Weights of effects on a grid: what is believed about one effect.

    Attributes
    ----------
    effects, weights
        Shape (n_points,); the weights add up to one.
    """

    effects: FloatArray
    weights: FloatArray

    @property
    def mean(self) -> float:
        """Expected effect."""
        return float(self.weights @ self.effects)

    @property
    def spread(self) -> float:
        """Standard deviation of the effect."""
        return math.sqrt(max(float(self.weights @ (self.effects - self.mean) ** 2), 0.0))

    def above(self, limit: float) -> float:
        """Return the probability of an effect above a limit; a grid point at the limit counts half."""
        beyond = float(self.weights[self.effects > limit].sum())
        return beyond + 0.5 * float(self.weights[self.effects == limit].sum())

    def gain(self, slope: float, cost: float) -> float:
        """Return the mean of the positive part of ``slope * effect - cost``."""
        return float(self.weights @ np.maximum(slope * self.effects - cost, 0.0))

    def quantile(self, share: float) -> float:
        """Return the effect with this share of the belief below it."""
        total = np.cumsum(self.weights) - self.weights / 2
        return float(np.interp(share, total, self.effects))


def heavy_tailed_belief(estimate: float, std_error: float, *, mean: float, scale: float, degrees: float) -> Belief:
    r"""Return what is believed about an effect with a t prior and a normal estimate.

    .. math:: p(\theta \mid x) \propto t_\nu\Bigl(\frac{\theta - \mu}{\sigma}\Bigr)\, \phi\Bigl(\frac{x - \theta}{s}\Bigr)

    on a grid that reaches 12 standard errors around the estimate, and from there to the prior's mean (beyond it the normal factor
    is below 1e-31), and is finer around the prior's mean, by the prior's scale.

    Parameters
    ----------
    estimate, std_error
        Of the effect.
    mean, scale, degrees
        Of the prior: location, scale (not standard deviation) and degrees of freedom.

    Examples
    --------
    >>> belief = heavy_tailed_belief(2.0, 1.0, mean=0.0, scale=1.0, degrees=1e6)
    >>> round(belief.mean, 4), round(belief.spread**2, 4)
    (1.0, 0.5)
    """
    low, high = min(estimate, mean) - _REACH * std_error, max(estimate, mean) + _REACH * std_error
    around = mean + scale * np.sinh(np.linspace(-_REACH, _REACH, _POINTS))
    effects = np.union1d(np.linspace(low, high, _POINTS), around[(around > low) & (around < high)])
    log = t_distribution.logpdf((effects - mean) / scale, degrees) - ((estimate - effects) / std_error) ** 2 / 2
    weights: FloatArray = np.exp(log - log.max()) * np.gradient(effects)
    return Belief(effects=effects, weights=weights / weights.sum())


def gain_after_more(
    belief: Belief, *, slope: float, cost: float, new_error: float, n_points: int = 801
) -> tuple[float, float]:
    r"""Return the expected gain, and the chance of one, when the decision waits for another, independent estimate.

    .. math::
        E_y\bigl[\max(0, a\,E[\theta \mid y] - c)\bigr]
        = \int \max\Bigl(0, \int (a \theta - c)\, \phi\Bigl(\frac{y - \theta}{s}\Bigr) p(\theta)\, d\theta / s\Bigr) dy

    (preposterior analysis, Raiffa and Schlaifer 1961, section 4.5).

    Parameters
    ----------
    belief
        About the effect now.
    slope, cost
        The decision gains ``slope * effect - cost``.
    new_error
        Standard error of the new estimate.
    n_points
        Size of the grid of new estimates.

    Examples
    --------
    >>> belief = heavy_tailed_belief(0.0, 1.0, mean=0.0, scale=1e3, degrees=1e6)
    >>> gain, share = gain_after_more(belief, slope=1.0, cost=0.0, new_error=1.0)
    >>> round(gain, 3), round(share, 1)  # closed form: 0.3989 / sqrt(2), and one half
    (0.282, 0.5)
    """
    reach = 8 * math.hypot(belief.spread, new_error)
    seen = np.linspace(belief.mean - reach, belief.mean + reach, n_points)
    step = float(seen[1] - seen[0])
    kept = belief.weights > belief.weights.max() * 1e-12
    effects, weights = belief.effects[kept], belief.weights[kept]
    density = np.exp(-(((seen[:, None] - effects) / new_error) ** 2) / 2) / (new_error * math.sqrt(2 * math.pi))
    inner = density @ (weights * (slope * effects - cost))
    marginal = density @ weights
    return float(np.maximum(inner, 0.0).sum() * step), float(marginal[inner > 0].sum() / marginal.sum())
