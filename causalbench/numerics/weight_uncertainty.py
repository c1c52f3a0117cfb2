r"""How far weights on a simplex may be from where they were estimated, in the direction of a prediction.

Estimated weights :math:`\hat w` minimise the squared error over a set :math:`\mathcal W`, so their distance
:math:`\delta = \hat w - w_0` from the best ones satisfies :math:`\delta' Q \delta - 2 \gamma' \delta \le 0`, with
:math:`Q = X'X` and :math:`\gamma = X'u`. With draws :math:`G` in the place of :math:`\gamma`, the least and the
largest :math:`p'\delta` that satisfy it bound the prediction error that the weights cause (Cattaneo, Feng, Titiunik
2021, Journal of the American Statistical Association 116, 1865-1880, section 3.1).

For a multiplier of the constraint, the largest :math:`p'\delta` is a simplex least-squares problem,

.. math:: \min_w w'Qw - 2 (Q\hat w + G + \mu p)'w,

so that what is left is one number, the :math:`\mu \ge 0` at which the constraint binds. It is found by regula falsi
for all draws and directions together, until the value reached and its bound from the dual agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causalbench.errors import ConvergenceError
from causalbench.numerics.simplex import GAP_LIMIT, solve_simplex

FloatArray = NDArray[np.float64]

_RIDGE = 1e-9
_PROXIMAL = 1e-4
_PROXIMAL_STEPS = 200
_WIDENINGS = 24
_STEPS = 40
_FLAT = 1e-9
_TOLERANCE = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Extremes:
    """The least and the largest change of each prediction under each draw, shape (n_draws, n_directions)."""

    least: FloatArray
    largest: FloatArray


def extreme_changes(
    design: FloatArray,
    weights: FloatArray,
    lower: FloatArray,
    shocks: FloatArray,
    directions: FloatArray,
    *,
    intercept: bool,
) -> Extremes:
    r"""Find the least and the largest :math:`p'\delta` over the weights that each draw allows.

    Parameters
    ----------
    design
        Donors before the launch, shape (n_pre, n_donors); about their means where there is an intercept.
    weights
        Estimated weights, shape (n_donors,).
    lower
        Smallest weight of each donor, shape (n_donors,), at most ``weights``.
    shocks
        Drawn errors by period, shape (n_draws, n_pre); ``design.T @ shock`` is a draw of G.
    directions
        Donors in the periods predicted, shape (n_directions, n_donors), about the same means as ``design``.
    intercept
        Whether the weights were fitted with a free constant, which may then move as well.

    Examples
    --------
    >>> import numpy as np
    >>> design = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> found = extreme_changes(
    ...     design, np.array([0.5, 0.5]), np.zeros(2), np.array([[0.2, 0.0]]), np.array([[1.0, 0.0]]), intercept=False
    ... )
    >>> found.least.round(6).tolist(), found.largest.round(6).tolist()
    ([[0.0]], [[0.2]])

    Raises
    ------
    ConvergenceError
        When weights can't be certified.
    """
    problem = _Problem(design, weights, lower, shocks @ design, shocks.sum(axis=1) if intercept else None)
    n_draws, n_directions = len(shocks), len(directions)
    draw = np.repeat(np.arange(n_draws), n_directions)
    towards = np.tile(directions, (n_draws, 1))
    largest = problem.largest(draw, towards, 1.0)
    least = -problem.largest(draw, -towards, -1.0)
    shape = (n_draws, n_directions)
    return Extremes(least=np.minimum(least.reshape(shape), 0.0), largest=np.maximum(largest.reshape(shape), 0.0))


class _Problem:
    """One constraint set, asked for its extreme points in many directions."""

    def __init__(
        self, design: FloatArray, weights: FloatArray, lower: FloatArray, pull: FloatArray, constant: FloatArray | None
    ) -> None:
        gram = design.T @ design
        # Where donors outnumber periods the weights aren't unique; the ridge makes every solution so.
        self.gram = gram + _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
        self.weights, self.lower, self.pull, self.constant, self.n_pre = weights, lower, pull, constant, len(design)
        self.room = max(1.0 - float(lower.sum()), 0.0)

    def largest(self, draw: NDArray[np.int64], towards: FloatArray, sign: float) -> FloatArray:
        """Return the largest change towards each direction under the draw that it belongs to."""
        if self.room == 0.0 and self.constant is None:
            return np.zeros(len(draw))
        size = np.abs(towards - towards.mean(axis=1, keepdims=True)).max(axis=1)
        pulls = np.maximum(np.abs(self.pull[draw]).max(axis=1), 1e-12 * np.abs(self.gram).max())
        ask = _Question(problem=self, draw=draw, towards=towards, sign=sign)
        everyone = np.arange(len(draw))
        low = ask.at(everyone, np.zeros(len(draw)))
        # Where all donors point the same way no multiplier moves weights; it mustn't overflow either.
        high = ask.at(everyone, pulls / np.maximum(size, _FLAT * np.sqrt(np.abs(np.diag(self.gram)).max())))
        # Without a constant the change ends at a corner, whether the constraint binds there or not.
        most = self.room * towards.max(axis=1) + towards @ (self.lower - self.weights)
        reach = most - _TOLERANCE * np.abs(towards).max(axis=1) if self.constant is None else np.inf
        for _ in range(_WIDENINGS):
            inside = np.flatnonzero((high.slack <= 0) & (high.change < reach))
            if not len(inside):
                break
            low.put(inside, high.take(inside))
            high.put(inside, ask.at(inside, 4 * high.multiplier[inside]))
        return _narrowed(ask, low, high)

    def solve(
        self, draw: NDArray[np.int64], towards: FloatArray, multiplier: FloatArray, sign: float
    ) -> tuple[FloatArray, FloatArray]:
        """Return the change and the value of the constraint at one multiplier each."""
        pull = self.pull[draw]
        delta = self._moved(pull, towards, multiplier)
        change = (towards * delta).sum(axis=1)
        slack = ((delta @ self.gram) * delta).sum(axis=1) - 2 * (pull * delta).sum(axis=1)
        if self.constant is not None:
            constant = self.constant[draw]
            change = change + sign * (sign * multiplier + constant) / self.n_pre
            slack = slack + (multiplier**2 - constant**2) / self.n_pre
        return change, slack

    def _moved(self, pull: FloatArray, towards: FloatArray, multiplier: FloatArray) -> FloatArray:
        """Solve the simplex problems; weights are a share of what the lower bounds leave."""
        if self.room == 0.0:
            return np.zeros_like(pull)
        target = self.gram @ self.weights + pull + multiplier[:, None] * towards
        cross = self.room * (target - self.gram @ self.lower)
        shares = _solved(self.room**2 * self.gram, cross)
        return self.lower + self.room * shares - self.weights


def _solved(gram: FloatArray, cross: FloatArray) -> FloatArray:
    """Minimise w'Gw - 2c'w over the simplex for each row of c, by proximal steps where the design leaves w open.

    Raises
    ------
    ConvergenceError
        When a relative duality gap stays above 1e-8.
    """
    # A constant that no solution depends on, large enough for a sum of squares.
    square = np.abs(np.diag(gram)).max() + 2 * np.abs(cross).max(axis=1)
    fit = solve_simplex(gram, cross, square)
    shares, gap = fit.weights, fit.rel_gap
    ridge = _PROXIMAL * float(np.trace(gram)) / len(gram)
    steeper = gram + ridge * np.eye(len(gram))
    for _ in range(_PROXIMAL_STEPS):
        open_ = np.flatnonzero(~(gap <= GAP_LIMIT))
        if not len(open_):
            return shares
        near = cross[open_] + ridge * shares[open_]
        shares[open_] = solve_simplex(
            steeper, near, np.abs(np.diag(steeper)).max() + 2 * np.abs(near).max(axis=1)
        ).weights
        slope = shares[open_] @ gram - cross[open_]
        value = ((slope - cross[open_]) * shares[open_]).sum(axis=1) + square[open_]
        gap[open_] = ((slope * shares[open_]).sum(axis=1) - slope.min(axis=1)) / value
    raise ConvergenceError(
        f"{int((gap > GAP_LIMIT).sum())} of the simulated weights have a relative duality gap above {GAP_LIMIT:.0e}",
        remedy="look for donors with the same series, or values many orders of magnitude apart",
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Points:
    """Where one multiplier each leads, shape (n_questions,): the change, and the constraint, binding at zero."""

    multiplier: FloatArray
    change: FloatArray
    slack: FloatArray

    def take(self, which: NDArray[np.int64]) -> _Points:
        return _Points(multiplier=self.multiplier[which], change=self.change[which], slack=self.slack[which])

    def put(self, which: NDArray[np.int64], points: _Points) -> None:
        self.multiplier[which], self.change[which], self.slack[which] = points.multiplier, points.change, points.slack


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Question:
    """Directions that belong to draws."""

    problem: _Problem
    draw: NDArray[np.int64]
    towards: FloatArray
    sign: float

    def at(self, which: NDArray[np.int64], multiplier: FloatArray) -> _Points:
        change, slack = self.problem.solve(self.draw[which], self.towards[which], multiplier, self.sign)
        return _Points(multiplier=multiplier, change=change, slack=slack)


def _narrowed(ask: _Question, low: _Points, high: _Points) -> FloatArray:
    """Move in from both sides until the constraint binds, by secants, every other one aimed beyond the far side.

    The point of the chord between both sides where its end values of the constraint cancel is allowed, as the constraint is
    convex; and it is the answer even where the solution jumps at one multiplier. The multiplier's dual bounds it from above.
    """
    bound = np.full(len(low.slack), np.inf)
    open_ = np.flatnonzero((high.slack > 0) & (low.slack < 0))
    for step in range(_STEPS):
        if not len(open_):
            break
        # While the same donors are in use the constraint is linear in the square of the multiplier.
        a, b = low.multiplier[open_] ** 2, high.multiplier[open_] ** 2
        left, right = -low.slack[open_], high.slack[open_]
        if step % 2:
            left, right = np.where(left > right, left / 4, left), np.where(left > right, right, right / 4)
        share = np.clip(left / (left + right), 1e-6, 1 - 1e-6)
        found = ask.at(open_, np.sqrt(a + share * (b - a)))
        bound[open_] = np.minimum(bound[open_], found.change - found.slack / (2 * found.multiplier))
        inside = found.slack <= 0
        low.put(open_[inside], found.take(np.flatnonzero(inside)))
        high.put(open_[~inside], found.take(np.flatnonzero(~inside)))
        reached = _chord(low.take(open_), high.take(open_))
        open_ = open_[bound[open_] - reached > _TOLERANCE * np.abs(bound[open_])]
    return _chord(low, high)


def _chord(low: _Points, high: _Points) -> FloatArray:
    """Return the change on the chord where the constraint binds; the far end where it never does."""
    crossing = (high.slack > 0) & (low.slack < 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = low.change - low.slack * (high.change - low.change) / (high.slack - low.slack)
    changes: FloatArray = np.where(crossing, between, np.where(high.slack <= 0, high.change, low.change))
    return changes
