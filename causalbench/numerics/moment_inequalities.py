r"""Test of moment inequalities with linear nuisance parameters, and the confidence set it inverts to.

The hypothesis is that the effect is :math:`\theta = l'\tau` and the difference in trends lies in
:math:`\{\delta: A\delta \le d\}`. Andrews, Roth and Pakes (2023, Review of Economic Studies 90, 2763-2791) test it by
the smallest studentised violation that the remaining effects :math:`\tilde\tau` can't explain away,

.. math::
    \hat\eta = \min_{\eta, \tilde\tau} \eta \quad\text{subject to}\quad Y(\theta) - X\tilde\tau \le \tilde\sigma\eta
    \quad = \quad \max_{\gamma \ge 0} \gamma'Y(\theta) \quad\text{subject to}\quad
    \gamma'X = 0,\ \gamma'\tilde\sigma = 1,

with :math:`Y(\theta) = A\hat\beta - d - A l_\theta\theta` and :math:`\tilde\sigma` the standard errors of its rows. The
maximum is at a vertex of the dual. Given which vertex, and what is independent of its value, the value is a truncated
normal between known ends; that gives a conditional critical value. The least-favourable value is a quantile of the
maximum of all vertices at mean zero. The hybrid (Rambachan and Roth 2023, section 3) rejects first by the
least-favourable value at a tenth of the size, then by the conditional one given that the first didn't reject.

**The vertices are known in closed form**, so that no linear program is solved. In the rows
:math:`\pm(d_t'\beta - u_t) \le c_t'\beta + \ell_t` every later effect appears through its own :math:`u_t`, an invertible
map of :math:`\tau`, and :math:`\theta = w'u`. Then :math:`\gamma'X = 0` says that :math:`\gamma^+ - \gamma^-` is a
multiple of :math:`w`, and the extreme rays are the pairs :math:`\gamma^+_t = \gamma^-_t`, one for each t, and the
positive and negative parts of :math:`w` and of :math:`-w`. There are n_post + 2 of them, two of which depend on
:math:`\theta`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincc, gammaln, log_ndtr, ndtri

from causalbench.numerics.trend_restrictions import TrendRestriction

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

FIRST_STAGE_SHARE = 0.1
"""Size of the least-favourable stage as a share of the test's size (Rambachan and Roth 2023, section 3)."""

_SAME = 1e-9
"""Moments in standard errors, and loadings on the largest moment, that differ by less are the same."""

_N_DIRECTIONS = 8192
_N_GRID = 400
_N_HALVINGS = 48


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DualVertices:
    r"""The moments :math:`\gamma'Y(\theta)` at all vertices of the dual, in standard errors.

    Attributes
    ----------
    loading
        What the estimates add to each moment, shape (n_vertices, n_pre + n_post).
    slope
        What the effect adds to each moment, shape (n_vertices,).
    offset
        Constant of each moment, shape (n_vertices,).
    """

    loading: FloatArray
    slope: FloatArray
    offset: FloatArray


def dual_vertices(restriction: TrendRestriction, covariance: FloatArray, *, weights: FloatArray) -> DualVertices:
    """Find all vertices of the dual program.

    Parameters
    ----------
    restriction
        One polyhedron.
    covariance
        Covariance of the estimates, shape (n_pre + n_post, n_pre + n_post).
    weights
        How the effect weighs the periods after the treatment, shape (n_post,), not all zero.

    Raises
    ------
    ValueError
        If a row of the restriction has no variance, so that it can't be studentised.
    """
    matrix, limit = restriction.inequalities()
    n_post = len(weights)
    errors = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", matrix, covariance, matrix), 0.0))
    flat = errors <= 1e-7 * np.sqrt(np.diag(covariance).max())
    if flat.any():
        raise ValueError(
            f"the covariance gives the step to period {int(np.flatnonzero(flat)[0]) % n_post + 1} after the treatment no "
            "variance: drop the coefficients that were set rather than estimated"
        )
    after = restriction.difference[:, -n_post:]
    direction = np.linalg.solve(after.T, weights)
    rises, falls = np.maximum(direction, 0.0), np.maximum(-direction, 0.0)
    rays = np.concatenate(
        [np.tile(np.eye(n_post), 2), np.concatenate([rises, falls])[None], np.concatenate([falls, rises])[None]]
    )
    size = rays @ errors
    slope = np.concatenate([np.zeros(n_post), [-1.0, 1.0]])
    return DualVertices(loading=rays @ matrix / size[:, None], slope=slope / size, offset=-(rays @ limit) / size)


def conditional_p_value(moments: FloatArray, covariance: FloatArray, *, highest: float) -> FloatArray:
    """Return the p-values of the largest moment, given which moment is the largest.

    Parameters
    ----------
    moments
        Moments of each test, shape (n_tests, n_vertices).
    covariance
        Covariance of the moments, shape (n_vertices, n_vertices).
    highest
        The largest moment is known not to exceed this; infinite when nothing is known.

    Returns
    -------
    array
        P-values, shape (n_tests,); one wherever the largest moment isn't positive, as then no inequality is violated.
    """
    rows = np.arange(len(moments))
    largest = moments.argmax(axis=1)
    value = moments[rows, largest]
    variance = covariance[largest, largest]
    # A largest moment without variance is no estimate: above zero it contradicts the hypothesis.
    certain = variance <= _SAME**2
    error = np.sqrt(np.where(certain, 1.0, variance))
    excess = 1.0 - covariance[largest] / np.where(certain, 1.0, variance)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = (value[:, None] - moments) / excess
    lower = value - np.where(excess > _SAME, distance, np.inf).min(axis=1)
    upper = np.minimum(value - np.where(excess < -_SAME, distance, -np.inf).max(axis=1), highest)
    p_value = _truncated_tail(value / error, lower / error, upper / error)
    p_value = np.where(certain, 0.0, p_value)
    return np.asarray(np.where(value <= _SAME, 1.0, p_value))


def _truncated_tail(value: FloatArray, lower: FloatArray, upper: FloatArray) -> FloatArray:
    """Return the probability above a value of a standard normal truncated to [lower, upper], by logarithms of tails."""
    above, below, beyond = log_ndtr(-value), log_ndtr(-lower), log_ndtr(-upper)
    with np.errstate(divide="ignore", invalid="ignore"):
        numerator = above + np.log1p(-np.exp(np.minimum(beyond - above, 0.0)))
        denominator = below + np.log1p(-np.exp(np.minimum(beyond - below, 0.0)))
        tail = np.exp(np.minimum(numerator - denominator, 0.0))
    # Between ends that are equal up to rounding the value can't be told from its lower end.
    return np.asarray(np.where(np.isfinite(denominator), tail, 1.0))


def least_favourable_value(loading: FloatArray, root: FloatArray, *, size: float) -> float:
    r"""Return the quantile of the largest of correlated normals with mean zero.

    A normal vector is a direction times a radius, and given the direction the tail of the radius is known:
    :math:`P(\max_v \gamma_v'\xi > c) = E_u P(\chi_K > c / \max_v \gamma_v'Lu)`. The mean is over fixed points spread
    evenly over the sphere, each with its opposite: the same number in every run, and smooth in c.

    Parameters
    ----------
    loading
        Shape (n_vertices, n).
    root
        :math:`L` with :math:`LL'` the covariance of the estimates, shape (n, n).
    size
        Probability above the quantile.
    """
    loading = loading @ root
    reach = _directions(root.shape[1]) @ loading.T
    reach = np.concatenate([reach.max(axis=1), -reach.min(axis=1)])
    total, half = len(reach), root.shape[1] / 2
    reach = reach[reach > 0]
    value = float(np.linalg.norm(loading, axis=1).max() * ndtri(1 - size))
    for _ in range(60):
        square = (value / reach) ** 2 / 2
        tail = gammaincc(half, square).sum() / total
        density = 2 * np.exp(half * np.log(square) - square - gammaln(half)).sum() / (value * total)
        # Newton's step on the logarithm of the tail, which is concave; the start is the quantile of one moment alone.
        step = float(tail * np.log(tail / size) / density)
        value += step
        if abs(step) <= 1e-12 * value:
            break
    return value


@lru_cache(maxsize=8)
def _directions(dimension: int) -> FloatArray:
    """Return unit vectors from the multiples, modulo one, of square roots of primes."""
    primes = [n for n in range(2, 20 * dimension + 20) if all(n % k for k in range(2, int(n**0.5) + 1))]
    sequence = np.arange(1, _N_DIRECTIONS + 1)[:, None] * np.sqrt(primes[:dimension]) % 1.0
    normal = ndtri(np.clip(sequence, 1e-12, 1 - 1e-12))
    unit: FloatArray = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    unit.flags.writeable = False
    return unit


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HybridTest:
    """The conditional and least-favourable hybrid test of one polyhedron.

    Attributes
    ----------
    vertices
        The moments.
    covariance
        Covariance of the moments, shape (n_vertices, n_vertices).
    critical
        Least-favourable critical value of the first stage.
    size
        Size of the second stage.
    """

    vertices: DualVertices
    covariance: FloatArray
    critical: float
    size: float

    def moments(self, values: FloatArray, effects: FloatArray) -> FloatArray:
        """Return the moments at each effect, shape (n_effects, n_vertices)."""
        constant = self.vertices.loading @ values + self.vertices.offset
        return np.asarray(constant + np.multiply.outer(effects, self.vertices.slope))

    def keeps(self, moments: FloatArray) -> BoolArray:
        """Return which rows of moments the test doesn't reject, shape (n_tests,)."""
        kept = conditional_p_value(moments, self.covariance, highest=self.critical) >= self.size
        return np.asarray(kept & (moments.max(axis=1) <= self.critical))

    def kept_segments(self, values: FloatArray) -> tuple[tuple[float, float], ...]:
        """Return the effects that aren't rejected, as closed segments.

        The moments are lines in the effect, so the first stage leaves one interval. On it the test is inverted on a
        grid that has the crossings of the lines, where the p-value jumps or touches one; ends of segments are then
        found by bisection.
        """
        constant = self.moments(values, np.zeros(1))[0]
        ends = self._first_stage(constant)
        if ends is None:
            return ()
        grid = np.union1d(np.linspace(*ends, _N_GRID), _crossings(constant, self.vertices.slope, ends))
        kept = self.keeps(self.moments(values, grid))
        inside = np.concatenate([[False], kept, [False]])
        opens, closes = np.flatnonzero(~inside[:-1] & inside[1:]), np.flatnonzero(inside[:-1] & ~inside[1:]) - 1
        last = len(grid) - 1
        outer = np.concatenate([grid[np.maximum(opens - 1, 0)], grid[np.minimum(closes + 1, last)]])
        found = self._bisect(values, inner=np.concatenate([grid[opens], grid[closes]]), outer=outer)
        starts, stops = found[: len(opens)], found[len(opens) :]
        return tuple((float(start), float(stop)) for start, stop in zip(starts, stops, strict=True))

    def _first_stage(self, constant: FloatArray) -> tuple[float, float] | None:
        """Return the interval where no moment is above the least-favourable value; None where it is empty."""
        slope = self.vertices.slope
        if (constant[slope == 0] > self.critical).any():
            return None
        cut = (self.critical - constant[slope != 0]) / slope[slope != 0]
        falling = slope[slope != 0] < 0
        lower, upper = float(cut[falling].max()), float(cut[~falling].min())
        return (lower, upper) if lower <= upper else None

    def _bisect(self, values: FloatArray, *, inner: FloatArray, outer: FloatArray) -> FloatArray:
        """Move inner points, which are kept, towards outer ones that aren't."""
        for _ in range(_N_HALVINGS):
            middle = 0.5 * (inner + outer)
            kept = self.keeps(self.moments(values, middle))
            inner, outer = np.where(kept, middle, inner), np.where(kept, outer, middle)
        return inner


def _crossings(constant: FloatArray, slope: FloatArray, ends: tuple[float, float]) -> FloatArray:
    """Return where two lines cross, between the ends."""
    with np.errstate(divide="ignore", invalid="ignore"):
        place = (constant[:, None] - constant) / (slope - slope[:, None])
    place = place[np.isfinite(place)]
    return np.asarray(place[(place > ends[0]) & (place < ends[1])])


def hybrid_test(
    restriction: TrendRestriction, covariance: FloatArray, *, weights: FloatArray, level: float
) -> HybridTest:
    """Prepare the test of one polyhedron; it serves every vector of estimates with this covariance.

    Parameters
    ----------
    restriction
        One polyhedron.
    covariance
        Covariance of the estimates, shape (n_pre + n_post, n_pre + n_post).
    weights
        How the effect weighs the periods after the treatment, shape (n_post,).
    level
        Level of the confidence set; one minus the size of the test.
    """
    test = _bounded_test(restriction, covariance, weights=weights, level=level)
    return replace(test, critical=_exact_critical(test, covariance, level=level))


def keeps_effect(
    restriction: TrendRestriction,
    values: FloatArray,
    covariance: FloatArray,
    *,
    weights: FloatArray,
    level: float,
    effect: float,
) -> bool:
    """Return whether the hybrid test of one polyhedron doesn't reject one effect.

    The test rejects less the larger the least-favourable value, and that lies between the quantile of the most variable
    moment alone and Bonferroni's. It is only worked out where these two don't agree.
    """
    test = _bounded_test(restriction, covariance, weights=weights, level=level)
    moments = test.moments(values, np.array([effect]))
    if not test.keeps(moments)[0]:
        return False
    first = FIRST_STAGE_SHARE * (1 - level)
    alone = float(np.sqrt(np.diag(test.covariance).max()) * ndtri(1 - first))
    if replace(test, critical=alone).keeps(moments)[0]:
        return True
    exact = replace(test, critical=_exact_critical(test, covariance, level=level))
    return bool(exact.keeps(moments)[0])


def _bounded_test(
    restriction: TrendRestriction, covariance: FloatArray, *, weights: FloatArray, level: float
) -> HybridTest:
    """Prepare the test with Bonferroni's bound, which no least-favourable value exceeds."""
    vertices = dual_vertices(restriction, covariance, weights=weights)
    first = FIRST_STAGE_SHARE * (1 - level)
    return HybridTest(
        vertices=vertices,
        covariance=vertices.loading @ covariance @ vertices.loading.T,
        critical=float(ndtri(1 - first / len(vertices.slope))),
        size=(1 - level - first) / (1 - first),
    )


def _exact_critical(test: HybridTest, covariance: FloatArray, *, level: float) -> float:
    """Return the least-favourable value of the first stage."""
    root = covariance_root(covariance)
    return least_favourable_value(test.vertices.loading, root, size=FIRST_STAGE_SHARE * (1 - level))


def covariance_root(covariance: FloatArray) -> FloatArray:
    """Return a symmetric root of a covariance, which may be singular."""
    variance, axes = np.linalg.eigh(covariance)
    return np.asarray((axes * np.sqrt(np.maximum(variance, 0.0))) @ axes.T)
