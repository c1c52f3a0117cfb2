r"""Launches simulated on data that look like those at hand: a factor model and an assignment model fitted to a panel.

The design of Arkhangelsky, Athey, Hirshberg, Imbens, Wager (2021, section 3.1): the outcome, standardised, is a matrix of low
rank plus autoregressive noise; which units are treated depends on the factors, and treatment has no effect.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.values import BoolArray, FloatArray

_NEWTON_STEPS = 25
_CERTAIN = 30.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FactorDesign:
    """A law of panels in which nothing happened.

    Attributes
    ----------
    signal
        Expected outcome, in standard deviations of the panel that the design was fitted to; shape (n_units, n_periods).
    additive
        The part of it that is a sum of unit and period effects, of the same shape.
    noise
        Covariance of a unit's noise between periods, shape (n_periods, n_periods).
    autoregression
        The two coefficients of the noise.
    propensity
        Probability that each unit is treated, shape (n_units,).
    """

    signal: FloatArray
    additive: FloatArray
    noise: FloatArray
    autoregression: tuple[float, float]
    propensity: FloatArray

    @classmethod
    def of(cls, outcome: FloatArray, treated: BoolArray, *, rank: int = 4) -> FactorDesign:
        r"""Fit the design to a panel.

        The signal is the part of the singular value decomposition of the standardised outcome with the ``rank`` largest
        values. The noise is AR(2) with least-squares coefficients over all units, to two decimals, and the size of what is left.
        Treatment follows a logit in the left singular vectors.

        Parameters
        ----------
        outcome
            Shape (n_units, n_periods).
        treated
            Which units to fit the assignment to, shape (n_units,).
        rank
            Number of factors.

        Examples
        --------
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> outcome = np.outer(rng.normal(size=20), rng.normal(size=12)) + 0.1 * rng.normal(size=(20, 12))
        >>> design = FactorDesign.of(outcome, rng.random(20) < 0.5, rank=1)
        >>> panel = design.draw(most_treated=5, n_post=3, rng=rng)
        >>> panel.n_pre, panel.n_treated <= 5
        (9, True)
        """
        n_units, n_periods = outcome.shape
        scaled = (outcome - outcome.mean()) / outcome.std()
        left, size, right = np.linalg.svd(scaled, full_matrices=False)
        signal = (left[:, :rank] * size[:rank]) @ right[:rank]
        rest = scaled - signal
        lags = np.stack([rest[:, 1:-1].ravel(), rest[:, :-2].ravel()], axis=1)
        first, second = np.linalg.lstsq(lags, rest[:, 2:].ravel(), rcond=None)[0].round(2).tolist()
        correlation = _autoregressive_correlation(first, second, n_periods)
        factor = np.linalg.norm(rest.T @ rest / n_units) / np.linalg.norm(correlation)
        additive = signal.mean(axis=1, keepdims=True) + signal.mean(axis=0) - signal.mean()
        return cls(
            signal=signal,
            additive=additive,
            noise=correlation * factor,
            autoregression=(first, second),
            propensity=_logit(left[:, :rank] * np.sqrt(n_units), treated),
        )

    def draw(self, *, most_treated: int, n_post: int, rng: Generator) -> Panel:
        """Draw a panel whose last ``n_post`` periods are treated, without effect.

        Units are treated independently; of more than ``most_treated`` a random choice of as many is kept, and where none is,
        as many are drawn.
        """
        n_units, n_periods = self.signal.shape
        treated = rng.random(n_units) < self.propensity
        if not 0 < treated.sum() <= most_treated:
            candidates = np.flatnonzero(treated) if treated.any() else np.arange(n_units)
            treated = np.isin(np.arange(n_units), rng.choice(candidates, most_treated, replace=False))
        errors = rng.multivariate_normal(np.zeros(n_periods), self.noise, size=n_units, method="cholesky")
        return Panel(
            outcome=self.signal + errors,
            treated=treated[:, None] & (np.arange(n_periods) >= n_periods - n_post),
            units=tuple(f"u{i:03d}" for i in range(n_units)),
            periods=tuple(range(1, n_periods + 1)),
        )


def _autoregressive_correlation(first: float, second: float, n_periods: int) -> FloatArray:
    """Return the correlation of an AR(2) process between periods."""
    by_lag = [1.0, first / (1 - second)]
    while len(by_lag) < n_periods:
        by_lag.append(first * by_lag[-1] + second * by_lag[-2])
    place = np.arange(n_periods)
    correlation: FloatArray = np.array(by_lag[:n_periods])[np.abs(place[:, None] - place)]
    return correlation


def _logit(factors: FloatArray, treated: BoolArray) -> FloatArray:
    """Return fitted probabilities of a logistic regression with intercept, by Newton's method."""
    design = np.column_stack([np.ones(len(factors)), factors])
    slope = np.zeros(design.shape[1])
    for _ in range(_NEWTON_STEPS):
        share = _logistic(design @ slope)
        information = design.T @ (design * (share * (1 - share))[:, None])
        slope = slope + np.linalg.lstsq(information, design.T @ (treated - share), rcond=None)[0]
    return _logistic(design @ slope)


def _logistic(index: FloatArray) -> FloatArray:
    share: FloatArray = 1 / (1 + np.exp(-np.clip(index, -_CERTAIN, _CERTAIN)))
    return share
