r"""Which regressors belong in a model: indicators drawn from the posterior with coefficients and variance integrated out.

Given one of several variance structures :math:`g` and the included regressors :math:`\gamma`,

.. math::
    y \mid \beta, \sigma \sim N(X_\gamma\beta, \sigma^2 V_g), \quad \beta \mid \sigma \sim N(0, \sigma^2 W^{-1}), \quad
    \sigma^{-2} \sim \mathrm{Gamma}(a, b_g),

so that with :math:`A = X_\gamma'V_g^{-1}X_\gamma + W` and :math:`c = X_\gamma'V_g^{-1}y`

.. math::
    \log p(g, \gamma \mid y) = \log p(g)p(\gamma) - \tfrac12\log|V_g| + \tfrac12\log|W| - \tfrac12\log|A|
    - a\log\bigl(b_g + \tfrac12(y'V_g^{-1}y - c'A^{-1}c)\bigr) + \text{const}

(George, McCulloch 1997, Statistica Sinica 7, 339-373, section 4.1; :math:`a` counts the observations). Only
:math:`(g, \gamma)` move: by Gibbs steps that add or drop a regressor, Metropolis swaps between correlated ones, and Gibbs
steps along each axis of the grid of structures. The tableau of the sweep operator (Goodnight 1979, American Statistician
33, 149-158) prices every single change in constant time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

_SWAPS = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CollapsedPosterior:
    """Posterior of structure and included regressors.

    Attributes
    ----------
    gram
        Whitened inner products of the regressors and, last, the response: shape (n_structures, k + 1, k + 1).
    log_weight
        Logarithm of prior times the determinant's factor of each structure, shape (n_structures,).
    grid
        Number of values along each axis of the structures, whose product is n_structures.
    shape
        Shape :math:`a` of the precision's posterior.
    rate
        What the prior adds to its rate, shape (n_structures,).
    slab_precision
        Prior precision :math:`w_{gj}` of each coefficient, in units of the noise's, shape (n_structures, k).
    inclusion
        Prior probability that a regressor is included, above 0 and at most 1, shape (k,).
    """

    gram: FloatArray
    log_weight: FloatArray
    grid: tuple[int, ...]
    shape: float
    rate: FloatArray
    slab_precision: FloatArray
    inclusion: FloatArray

    @property
    def n_regressors(self) -> int:
        """Number of regressors."""
        return len(self.inclusion)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelDraws:
    """Draws of structure and included regressors: shapes (n_draws,) and (n_draws, k)."""

    structure: IntArray
    included: BoolArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CoefficientDraws:
    """Draws of what was integrated out.

    Attributes
    ----------
    sigma
        Standard deviation of the noise, shape (n_draws,).
    centre, deviation
        Posterior mean of the coefficients given structure, regressors and noise, and a draw about it, shapes (n_draws, k).
    """

    sigma: FloatArray
    centre: FloatArray
    deviation: FloatArray


def draw_models(
    posterior: CollapsedPosterior, affinity: FloatArray, *, n_draws: int, n_burn: int, rng: np.random.Generator
) -> ModelDraws:
    """Draw structures and included regressors by one chain.

    Parameters
    ----------
    posterior
        What to draw from.
    affinity
        How readily two regressors are tried in each other's place, symmetric and not negative, shape (k, k).
    n_draws, n_burn
        Number of sweeps kept, and of sweeps before them.
    rng
        Source of randomness.
    """
    k = posterior.n_regressors
    n_sweeps = n_draws + n_burn
    uniforms = rng.random((n_sweeps, k + 3 * _SWAPS + len(posterior.grid)))
    structure, included = np.zeros(n_sweeps, dtype=np.int64), np.zeros((n_sweeps, k), dtype=np.bool_)
    _walk(
        posterior.gram,
        posterior.log_weight,
        np.array(posterior.grid, dtype=np.int64),
        posterior.shape,
        posterior.rate,
        posterior.slab_precision,
        _log_odds(posterior),
        np.ascontiguousarray(affinity, dtype=float),
        uniforms,
        structure,
        included,
    )
    return ModelDraws(structure=structure[n_burn:], included=included[n_burn:])


def draw_coefficients(posterior: CollapsedPosterior, models: ModelDraws, rng: np.random.Generator) -> CoefficientDraws:
    """Draw noise and coefficients given each drawn model, exactly."""
    n_draws, k = models.included.shape
    normals, precisions = rng.standard_normal((n_draws, k)), rng.standard_gamma(posterior.shape, n_draws)
    sigma, centre, deviation = np.empty(n_draws), np.zeros((n_draws, k)), np.zeros((n_draws, k))
    _complete(
        posterior.gram,
        posterior.rate,
        posterior.slab_precision,
        models.structure,
        models.included,
        normals,
        precisions,
        sigma,
        centre,
        deviation,
    )
    return CoefficientDraws(sigma=sigma, centre=centre, deviation=deviation)


def log_posterior(posterior: CollapsedPosterior, structure: int, included: BoolArray) -> float:
    """Return the logarithm of the posterior of one model, up to a constant that all share."""
    odds = _log_odds(posterior)[included]
    value = _value(
        posterior.gram,
        posterior.log_weight,
        posterior.shape,
        posterior.rate,
        posterior.slab_precision,
        np.flatnonzero(included),
        structure,
        np.empty((posterior.n_regressors + 1, posterior.n_regressors + 1)),
    )
    return float(value + odds[np.isfinite(odds)].sum())


def _log_odds(posterior: CollapsedPosterior) -> FloatArray:
    """Prior log odds of including each regressor, infinite where it always is."""
    with np.errstate(divide="ignore"):
        odds: FloatArray = np.log(posterior.inclusion) - np.log1p(-posterior.inclusion)
    return odds


@njit(cache=True, nogil=True)
def sweep(tableau, j):  # type: ignore[no-untyped-def]
    """Sweep a symmetric tableau on one pivot, in place: bring a column into the regression, or take it out again.

    The pivot of a column that is in is the negative of its variance, so its sign tells which of the two it is.
    """
    n = len(tableau)
    pivot = tableau[j, j]
    for i in range(n):
        if i != j:
            share = tableau[i, j] / pivot
            if share != 0.0:
                for c in range(n):
                    if c != j:
                        tableau[i, c] -= share * tableau[j, c]
    for i in range(n):
        tableau[i, j] /= abs(pivot)
        tableau[j, i] = tableau[i, j]
    tableau[j, j] = -1.0 / pivot


@njit(cache=True, nogil=True)
def factor(gram, active, size, slab, lower):  # type: ignore[no-untyped-def]
    """Fill the Cholesky factor of the active block and the response, and the response's row with it.

    Returns the log determinant of the block, and what is left of y'y.
    """
    last = len(gram) - 1
    log_det = 0.0
    for i in range(size + 1):
        row = active[i] if i < size else last
        for j in range(i + 1):
            column = active[j] if j < size else last
            total = gram[row, column]
            if i == j and i < size:
                total += slab[row]
            for c in range(j):
                total -= lower[i, c] * lower[j, c]
            if i == j:
                if i == size:
                    return log_det, max(total, 0.0)
                log_det += np.log(total)
                lower[i, i] = np.sqrt(total)
            else:
                lower[i, j] = total / lower[j, j]
    return log_det, 0.0


@njit(cache=True, nogil=True)
def _restart(tableau, gram, included, slab):  # type: ignore[no-untyped-def]
    k = len(included)
    tableau[:] = gram
    for j in range(k):
        tableau[j, j] += slab[j]
    for j in range(k):
        if included[j]:
            sweep(tableau, j)


@njit(cache=True, nogil=True)
def _value(gram, log_weight, shape, rate, slab, active, g, lower):  # type: ignore[no-untyped-def]
    """Log posterior of a structure given the active regressors."""
    log_det, left = factor(gram[g], active, len(active), slab[g], lower)
    value = log_weight[g] - log_det / 2.0 - shape * np.log(rate[g] + left / 2.0)
    for j in active:
        value += 0.5 * np.log(slab[g, j])
    return value


@njit(cache=True, nogil=True)
def _walk(  # type: ignore[no-untyped-def]
    gram, log_weight, grid, shape, rate, slab, odds, affinity, uniforms, structure, included
):
    k = gram.shape[1] - 1
    state = np.zeros(k, np.bool_)
    for j in range(k):
        state[j] = np.isinf(odds[j])
    tableau, lower, price = np.empty((k + 1, k + 1)), np.empty((k + 1, k + 1)), np.empty(k)
    g, highest = 0, -np.inf
    for h in range(len(gram)):
        value = _value(gram, log_weight, shape, rate, slab, np.flatnonzero(state), h, lower)
        if value > highest:
            g, highest = h, value
    for s in range(len(uniforms)):
        _restart(tableau, gram[g], state, slab[g])
        for j in range(k):
            price[j] = odds[j] + 0.5 * np.log(slab[g, j])
            if not np.isinf(price[j]):
                _flip(tableau, j, state, price[j], shape, rate[g], uniforms[s, j])
        for i in range(_SWAPS):
            first = k + 3 * i
            _swap(tableau, state, price, affinity, shape, rate[g], uniforms[s, first : first + 3])
        stride = 1
        for axis in range(len(grid) - 1, -1, -1):
            if grid[axis] > 1:
                u = uniforms[s, k + 3 * _SWAPS + axis]
                g = _slide(gram, log_weight, shape, rate, slab, state, g, stride, grid[axis], u, lower)
            stride *= grid[axis]
        structure[s] = g
        included[s] = state


@njit(cache=True, nogil=True)
def _flip(tableau, j, state, price, shape, rate, u):  # type: ignore[no-untyped-def]
    """Gibbs step for one indicator."""
    last = len(tableau) - 1
    pivot, left = tableau[j, j], tableau[last, last]
    after = left - tableau[j, last] ** 2 / pivot
    change = -0.5 * np.log(abs(pivot)) - shape * (np.log(rate + after / 2.0) - np.log(rate + left / 2.0))
    change += -price if state[j] else price
    if np.log(u) - np.log1p(-u) < change:
        sweep(tableau, j)
        state[j] = not state[j]


@njit(cache=True, nogil=True)
def _pick(weights, allowed, u):  # type: ignore[no-untyped-def]
    """Draw one of the allowed in proportion to its weight; also the sum of the weights, 0 where none is allowed."""
    total = 0.0
    for j in range(len(weights)):
        total += weights[j] * allowed[j]
    target, chosen = u * total, -1
    for j in range(len(weights)):
        if allowed[j] and weights[j] > 0.0:
            chosen = j
            target -= weights[j]
            if target < 0.0:
                break
    return chosen, total


@njit(cache=True, nogil=True)
def _swap(tableau, state, price, affinity, shape, rate, u):  # type: ignore[no-untyped-def]
    """Metropolis step that puts an excluded regressor in the place of an included one that resembles it."""
    last = len(tableau) - 1
    free = np.isfinite(price)
    leaving, _ = _pick(np.ones(last), state & free, u[0])
    if leaving < 0:
        return
    entering, forward = _pick(affinity[leaving], ~state, u[1])
    if entering < 0:
        return
    backward = affinity[entering, leaving] + (affinity[entering] * ~state).sum() - affinity[entering, entering]
    pivot, left = tableau[leaving, leaving], tableau[last, last]
    cross = tableau[leaving, entering]
    second = tableau[entering, entering] - cross**2 / pivot
    product = tableau[entering, last] - cross * tableau[leaving, last] / pivot
    after = left - tableau[leaving, last] ** 2 / pivot - product**2 / second
    change = price[entering] - price[leaving] - 0.5 * np.log(abs(pivot)) - 0.5 * np.log(second)
    change -= shape * (np.log(rate + after / 2.0) - np.log(rate + left / 2.0))
    if np.log(u[2]) < change + np.log(forward) - np.log(backward):
        sweep(tableau, leaving)
        sweep(tableau, entering)
        state[leaving], state[entering] = False, True


@njit(cache=True, nogil=True)
def _slide(  # type: ignore[no-untyped-def]
    gram, log_weight, shape, rate, slab, state, g, stride, n, u, lower
):
    """Gibbs step along one axis of the grid of structures."""
    active = np.flatnonzero(state)
    first = g - (g // stride) % n * stride
    values = np.empty(n)
    for i in range(n):
        values[i] = _value(gram, log_weight, shape, rate, slab, active, first + i * stride, lower)
    values = np.exp(values - values.max())
    target = u * values.sum()
    for i in range(n):
        target -= values[i]
        if target < 0.0:
            return first + i * stride
    return g


@njit(cache=True, nogil=True)
def _complete(  # type: ignore[no-untyped-def]
    gram, rate, slab, structure, included, normals, precisions, sigma, centre, deviation
):
    n_draws, k = included.shape
    lower = np.empty((k + 1, k + 1))
    for s in range(n_draws):
        g = structure[s]
        active = np.flatnonzero(included[s])
        size = len(active)
        _, left = factor(gram[g], active, size, slab[g], lower)
        sigma[s] = np.sqrt((rate[g] + left / 2.0) / precisions[s])
        for i in range(size - 1, -1, -1):
            mean, draw = lower[size, i], normals[s, active[i]]
            for c in range(i + 1, size):
                mean -= lower[c, i] * centre[s, active[c]]
                draw -= lower[c, i] * deviation[s, active[c]]
            centre[s, active[i]] = mean / lower[i, i]
            deviation[s, active[i]] = draw / lower[i, i]
        for i in range(size):
            deviation[s, active[i]] *= sigma[s]
