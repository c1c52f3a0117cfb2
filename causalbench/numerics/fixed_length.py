r"""Fixed-length confidence interval for an effect, when the difference in trends is smooth.

Of all intervals :math:`v'\hat\beta \pm \chi` with length known in advance and with coverage for every difference in
trends in :math:`\Delta^{SD}(M)`, the shortest (Rambachan and Roth 2023, Review of Economic Studies 90, 2555-2591,
section 4, after Donoho 1994). Its half-length is

.. math:: \chi(v) = \sigma_v\, cv_\alpha\!\left(\bar b_v / \sigma_v\right), \qquad \sigma_v^2 = v'\Sigma v, \qquad
    \bar b_v = \max_{\delta \in \Delta^{SD}(M)} |v'\delta|,

where :math:`cv_\alpha(t)` is the :math:`1 - \alpha` quantile of :math:`|N(t, 1)|` and v agrees with the weights l of the
effect after the treatment, so that the effects themselves add no bias.

With S the matrix of second differences, the bias is finite only if v is orthogonal to a linear trend, that is if
:math:`v = S'c`, and then it is :math:`M\lVert c\rVert_1`. The last n_post entries of c are fixed by l; the n_pre - 1
first ones, x, are free. So the problem is to weigh :math:`\lVert x\rVert_1` against a standard error that is quadratic
in x. At each value of :math:`\lVert x\rVert_1` the smallest standard error is a least-squares problem over a simplex
with corners :math:`\pm e_j` and 0, solved exactly; the half-length is convex along that frontier, so its minimum is
where its slope changes sign.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from causalbench.numerics.simplex import solve_simplex
from causalbench.numerics.trend_restrictions import second_differences

FloatArray = NDArray[np.float64]

_N_HALVINGS = 52

_MOSTLY_BIAS = 1e8
"""Above this ratio of bias to standard error the quantile is the bias and a one-sided normal quantile."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AffineEstimator:
    """The linear estimator with the shortest interval.

    Attributes
    ----------
    loading
        :math:`v`, shape (n_pre + n_post,).
    std_error
        Standard error of the estimator.
    max_bias
        Its largest absolute bias over the restriction.
    half_length
        Half the length of its interval.
    """

    loading: FloatArray
    std_error: float
    max_bias: float
    half_length: float


def folded_normal_quantile(location: FloatArray, *, level: float) -> FloatArray:
    r"""Return the quantile of the absolute value of :math:`N(t, 1)`.

    Parameters
    ----------
    location
        :math:`t \ge 0`, any shape.
    level
        Probability below the quantile.

    Examples
    --------
    >>> folded_normal_quantile(np.array([0.0, 10.0]), level=0.95).round(4).tolist()
    [1.96, 11.6449]
    """
    location = np.abs(np.asarray(location, dtype=np.float64))
    # From this start Newton's steps rise to the root: above the location the distribution function is concave.
    quantile = location + max(float(ndtri(level)), 0.0)
    for _ in range(60):
        below = ndtr(quantile - location) - ndtr(-quantile - location)
        density = np.exp(-0.5 * (quantile - location) ** 2) + np.exp(-0.5 * (quantile + location) ** 2)
        step = (level - below) * np.sqrt(2 * np.pi) / density
        quantile = quantile + step
        if (np.abs(step) <= 1e-15 * (1 + quantile)).all():
            break
    return np.asarray(quantile)


def shortest_estimator(
    covariance: FloatArray, *, n_pre: int, weights: FloatArray, bound: float, level: float
) -> AffineEstimator:
    """Find the linear estimator with the shortest fixed-length interval.

    Parameters
    ----------
    covariance
        Covariance of the estimates, shape (n_pre + n_post, n_pre + n_post).
    n_pre
        Estimates before the reference period, at least one.
    weights
        How the effect weighs the periods after the treatment, shape (n_post,).
    bound
        M, the largest change of the slope of the difference in trends from one period to the next.
    level
        Coverage of the interval.
    """
    curvature = second_differences(n_pre, len(weights))
    free, after = curvature[: n_pre - 1], curvature[n_pre - 1 :]
    fixed = np.linalg.solve(after[:, n_pre:].T, weights)
    base = fixed @ after
    frontier = _Frontier(
        gram=free @ covariance @ free.T, cross=free @ covariance @ base, square=float(base @ covariance @ base)
    )
    chosen = _shortest(frontier, bound=bound, fixed=float(np.abs(fixed).sum()), level=level)
    error = frontier.std_error(chosen)
    max_bias = bound * float(np.abs(fixed).sum() + np.abs(chosen).sum())
    return AffineEstimator(
        loading=base + chosen @ free,
        std_error=error,
        max_bias=max_bias,
        half_length=_half_length(max_bias, error, level=level),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Frontier:
    r"""The smallest standard error at each allowed sum of absolute x.

    The variance is :math:`x'Gx + 2x'g + s`. Its derivative by the sum is minus twice the largest absolute gradient.
    """

    gram: FloatArray
    cross: FloatArray
    square: float

    def most(self) -> float:
        """Return the sum of absolute x beyond which the standard error doesn't fall further."""
        return float(np.abs(np.linalg.lstsq(self.gram, -self.cross, rcond=None)[0]).sum())

    def solve(self, spent: float) -> FloatArray:
        """Return x, shape (n_pre - 1,), with the smallest standard error at an allowed sum of absolute x."""
        n = len(self.cross)
        if spent == 0 or n == 0:
            return np.zeros(n)
        # In units of the sum allowed the design is always the corners e_j, -e_j and 0.
        signs = np.concatenate([np.eye(n), -np.eye(n), np.zeros((1, n))])
        cross = -(signs @ self.cross)[None] / spent
        fit = solve_simplex(signs @ self.gram @ signs.T, cross, np.array([self.square / spent**2]))
        return np.asarray(spent * (fit.weights[0] @ signs))

    def std_error(self, chosen: FloatArray) -> float:
        """Return the standard error at x."""
        variance = float(self.square + 2 * chosen @ self.cross + chosen @ self.gram @ chosen)
        return float(np.sqrt(max(variance, 0.0)))

    def gain(self, chosen: FloatArray) -> float:
        """Return by how much the standard error falls for each unit of absolute x more."""
        steepest = float(np.abs(self.cross + self.gram @ chosen).max(initial=0.0))
        return steepest / error if (error := self.std_error(chosen)) > 0 else 0.0


def _shortest(frontier: _Frontier, *, bound: float, fixed: float, level: float) -> FloatArray:
    """Return x of the shortest interval, where its length, convex in the sum of absolute x, has no slope."""
    lower, upper = 0.0, frontier.most() if len(frontier.cross) else 0.0
    if bound == 0 or upper == 0:
        return frontier.solve(upper)
    if _slope(frontier, frontier.solve(0.0), bound=bound, fixed=fixed, level=level) >= 0:
        return frontier.solve(0.0)
    for _ in range(_N_HALVINGS):
        middle = 0.5 * (lower + upper)
        if _slope(frontier, frontier.solve(middle), bound=bound, fixed=fixed, level=level) < 0:
            lower = middle
        else:
            upper = middle
    return frontier.solve(upper)


def _slope(frontier: _Frontier, chosen: FloatArray, *, bound: float, fixed: float, level: float) -> float:
    r"""Return the derivative of the half-length by the sum of absolute x, using :math:`cv'(t) = \tanh(t\, cv(t))`."""
    error = frontier.std_error(chosen)
    ratio = bound * (fixed + float(np.abs(chosen).sum())) / error if error > 0 else np.inf
    if not ratio < _MOSTLY_BIAS:
        return bound
    quantile = float(folded_normal_quantile(np.array(ratio), level=level))
    tilt = float(np.tanh(ratio * quantile))
    return bound * tilt - (quantile - ratio * tilt) * frontier.gain(chosen)


def _half_length(bias: float, error: float, *, level: float) -> float:
    """Return half the length of the interval; the bias alone where the estimator has next to no variance."""
    if not bias < _MOSTLY_BIAS * error:
        return bias + error * max(float(ndtri(level)), 0.0)
    return error * float(folded_normal_quantile(np.array(bias / error), level=level))
