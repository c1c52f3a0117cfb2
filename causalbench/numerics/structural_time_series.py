r"""Bayesian structural time series: draws of what a series would have been, with all but the model integrated out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import ndtri

from causalbench.numerics.spike_and_slab import (
    CoefficientDraws,
    CollapsedPosterior,
    ModelDraws,
    draw_coefficients,
    draw_models,
    factor,
    sweep,
)
from causalbench.numerics.state_space import Structure, covary, predict, simulate, whiten

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

_BURN = 100
_CHUNK = 500_000
"""Numbers drawn at a time, so that long series take no more memory than their paths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariancePrior:
    """Inverse gamma prior of one component's innovation variance, or of the noise's.

    Attributes
    ----------
    df, guess
        Number of observations it is worth, and the variance it expects, in units of the series' variance.
    """

    df: float
    guess: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prior:
    """What is believed before the data speak; the series has mean 0 and variance 1 over the periods observed before.

    Attributes
    ----------
    ratios
        Grid of innovation variances over the noise's, and of the autoregressive coefficient, shape (n_grid, 6).
    log_weight
        Logarithm of the prior weight of each row, shape (n_grid,).
    grid
        Number of values along each axis of the grid.
    noise
        Prior of the noise's variance.
    components
        Column of ``ratios`` and prior of the innovation variance, where it has one beside ``log_weight``.
    slab_precision, slab_units
        Prior precision of a coefficient: in ``observations`` that it is worth, which follows how much the data tell about
        it under each row of ratios, or over that of the ``noise``.
    inclusion
        Probability that a control is included.
    start_variance
        Prior variance of the initial states, which counts when they are drawn but not when models are weighed; None for a
        flat prior.
    start_level
        Prior mean of the initial level.
    """

    ratios: FloatArray
    log_weight: FloatArray
    grid: tuple[int, ...]
    noise: VariancePrior
    components: tuple[tuple[int, VariancePrior], ...] = ()
    slab_precision: float
    slab_units: Literal["observations", "noise"]
    inclusion: float
    start_variance: float | None = None
    start_level: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StructuralDraws:
    """Draws from the posterior.

    Attributes
    ----------
    paths
        The series without the launch, noise included: smoothed before it, forecast after, shape (n_draws, n_periods). Draws
        come in pairs that mirror each other about their common mean, and their averages after the launch are spread evenly
        over the posterior, so that neither its mean nor its quantiles depend much on the seed.
    inclusion
        Posterior probability that each control is included, shape (k,).
    coefficients
        Posterior mean of each control's coefficient in the units of the data, zero where excluded, shape (k,).
    sigma
        Standard deviation of the noise in units of the data, shape (n_draws,).
    ratios
        Row of the grid that each draw came from, shape (n_draws, 6).
    """

    paths: FloatArray
    inclusion: FloatArray
    coefficients: FloatArray
    sigma: FloatArray
    ratios: FloatArray


def draw_paths(
    series: FloatArray,
    controls: FloatArray,
    structure: Structure,
    prior: Prior,
    *,
    n_draws: int,
    rng: np.random.Generator,
) -> StructuralDraws:
    """Draw the series' path without the launch.

    Parameters
    ----------
    series
        Before the launch, NaN where missing, shape (n_pre,); mean 0 and variance 1.
    controls
        In every period, shape (n_periods, k); mean 0 and variance 1 before the launch.
    structure
        Components of the series.
    prior
        What is believed before the data speak.
    n_draws
        Number of paths.
    rng
        Source of randomness.
    """
    observed = ~np.isnan(series)
    columns = np.column_stack([structure.starts, controls])
    n_pre, n_starts = len(series), structure.starts.shape[1]
    target = np.nan_to_num(series) - prior.start_level
    whitened = whiten(structure, np.column_stack([columns[:n_pre], target]), observed, prior.ratios)
    posterior = _collapse(whitened.gram, whitened.log_det, prior, int(observed.sum()), n_starts)
    rng_models, rng_paths = rng.spawn(2)
    models = draw_models(posterior, _affinity(controls[:n_pre]), n_draws=-(-n_draws // 2), n_burn=_BURN, rng=rng_models)
    coefficients = draw_coefficients(posterior, models, rng_models)
    precision = 0.0 if prior.start_variance is None else float((coefficients.sigma**2).mean()) / prior.start_variance
    centre, deviation = _with_starts(whitened.gram, models, coefficients, precision, rng_models)
    known = _Known(structure=structure, ratios=prior.ratios, columns=columns, target=target, observed=observed)
    distinct = _distinct(models)
    own = ModelDraws(structure=models.structure[distinct.first], included=models.included[distinct.first])
    penalty = np.column_stack([np.full((len(prior.ratios), n_starts), precision), posterior.slab_precision])
    lead = known.lead(own, whitened.gram, penalty)
    paths = np.empty((2 * len(centre), structure.n_periods))
    paths[0::2] = paths[1::2] = known.means(own, centre[distinct.first])[distinct.which]
    goals = coefficients.sigma * _stratified_normals(len(centre), rng_paths)
    size = max(_CHUNK // structure.n_periods, 1)
    for i in range(0, len(centre), size):
        chunk = slice(i, i + size)
        moves = known.moves(models.structure[chunk], coefficients.sigma[chunk], deviation[chunk], rng_paths)
        _lead_to(moves, lead[distinct.which[chunk]], goals[chunk], n_pre)
        paths[0::2][chunk] += moves
        paths[1::2][chunk] -= moves
    paths += prior.start_level
    return StructuralDraws(
        paths=paths[:n_draws],
        inclusion=models.included.mean(axis=0),
        coefficients=coefficients.centre.mean(axis=0),
        sigma=np.repeat(coefficients.sigma, 2)[:n_draws],
        ratios=np.repeat(prior.ratios[models.structure], 2, axis=0)[:n_draws],
    )


def _collapse(
    gram: FloatArray, log_det: FloatArray, prior: Prior, n_observed: int, n_starts: int
) -> CollapsedPosterior:
    """Integrate the initial states out under a flat prior, and put the variances' priors into shape and rate."""
    tableau, log_pivots = gram.copy(), np.zeros(len(gram))
    _absorb(tableau, n_starts, log_pivots)
    shape = (prior.noise.df + n_observed - n_starts) / 2
    rate = np.full(len(gram), prior.noise.df * prior.noise.guess / 2)
    log_weight = prior.log_weight - (log_det + log_pivots) / 2
    for column, component in prior.components:
        ratio = prior.ratios[:, column]
        shape += component.df / 2
        rate += component.df * component.guess / (2 * ratio)
        log_weight = log_weight - component.df / 2 * np.log(ratio)
    left = np.ascontiguousarray(tableau[:, n_starts:, n_starts:])
    k = left.shape[1] - 1
    if prior.slab_units == "observations":
        slab = np.diagonal(left, axis1=1, axis2=2)[:, :k] * (prior.slab_precision / n_observed)
    else:
        slab = np.full((len(gram), k), prior.slab_precision)
    return CollapsedPosterior(
        gram=left,
        log_weight=log_weight,
        grid=prior.grid,
        shape=shape,
        rate=rate,
        slab_precision=np.ascontiguousarray(slab),
        inclusion=np.full(k, prior.inclusion),
    )


def _affinity(controls: FloatArray) -> FloatArray:
    """How much two controls resemble each other before the launch, zero on the diagonal."""
    k = controls.shape[1]
    alike = np.zeros((k, k))
    for i in range(k):
        for j in range(i):
            alike[i, j] = alike[j, i] = abs((controls[:, i] * controls[:, j]).sum()) / len(controls)
    return alike


@njit(cache=True, nogil=True)
def _absorb(tableau, n_starts, log_pivots):  # type: ignore[no-untyped-def]
    for g in range(len(tableau)):
        for i in range(n_starts):
            log_pivots[g] += np.log(tableau[g, i, i])
            sweep(tableau[g], i)


def _with_starts(
    gram: FloatArray,
    models: ModelDraws,
    coefficients: CoefficientDraws,
    precision: float,
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray]:
    """Put draws of the initial states before those of the coefficients: their centre, and a draw about it."""
    n_draws, k = coefficients.centre.shape
    n_starts = gram.shape[1] - 1 - k
    centre, deviation = np.empty((n_draws, n_starts + k)), np.empty((n_draws, n_starts + k))
    centre[:, n_starts:], deviation[:, n_starts:] = coefficients.centre, coefficients.deviation
    normals = rng.standard_normal((n_draws, n_starts))
    _initial_states(gram, models.structure, coefficients.sigma, precision, normals, centre, deviation)
    return centre, deviation


@njit(cache=True, nogil=True)
def _initial_states(gram, structure, sigma, precision, normals, centre, deviation):  # type: ignore[no-untyped-def]
    n_draws, d = normals.shape
    last = gram.shape[1] - 1
    lower = np.empty((d, d))
    for s in range(n_draws):
        table = gram[structure[s]]
        for i in range(d):
            for j in range(i + 1):
                total = table[i, j] + (precision if i == j else 0.0)
                for c in range(j):
                    total -= lower[i, c] * lower[j, c]
                lower[i, j] = np.sqrt(total) if i == j else total / lower[j, j]
        for i in range(d):
            mean, draw = table[i, last], 0.0
            for c in range(d, last):
                mean -= table[i, c] * centre[s, c]
                draw -= table[i, c] * deviation[s, c]
            for c in range(i):
                mean -= lower[i, c] * centre[s, c]
                draw -= lower[i, c] * deviation[s, c]
            centre[s, i], deviation[s, i] = mean / lower[i, i], draw / lower[i, i]
        for i in range(d - 1, -1, -1):
            mean, draw = centre[s, i], deviation[s, i] + sigma[s] * normals[s, i]
            for c in range(i + 1, d):
                mean -= lower[c, i] * centre[s, c]
                draw -= lower[c, i] * deviation[s, c]
            centre[s, i], deviation[s, i] = mean / lower[i, i], draw / lower[i, i]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Known:
    """What paths are drawn from: regressors with those of the initial states before them, and the series to follow."""

    structure: Structure
    ratios: FloatArray
    columns: FloatArray
    target: FloatArray
    observed: BoolArray

    def means(self, models: ModelDraws, centre: FloatArray) -> FloatArray:
        """Return the expected path of each model, given the expected coefficients."""
        means = _product(centre, self.columns)
        left = self.target - means[:, : len(self.target)]
        means += predict(self.structure, left, self.observed, self.ratios, models.structure)
        return means

    def lead(self, models: ModelDraws, gram: FloatArray, penalty: FloatArray) -> FloatArray:
        """Return how the path moves when its average after the launch moves, under unit noise variance.

        Covariance of each period with the average over the average's standard deviation, shape (n_models, n_periods).
        """
        n_pre, n = len(self.target), self.structure.n_periods
        after = np.zeros(n)
        after[n_pre:] = 1.0 / (n - n_pre)
        used, which = np.unique(models.structure, return_inverse=True)
        component = covary(self.structure, self.ratios[used], after)
        component -= predict(self.structure, component[:, :n_pre], self.observed, self.ratios, used)
        heard = component.copy()
        heard[:, :n_pre] *= -self.observed.astype(float)
        heard[:, n_pre:] = after[n_pre:]
        loads = _product(heard, self.columns.T)[which]
        answers = np.zeros_like(loads)
        _answer(gram, models.structure, models.included, penalty, loads, answers)
        moved = _product(answers, self.columns)
        moved -= predict(self.structure, moved[:, :n_pre], self.observed, self.ratios, models.structure)
        moved += component[which] + after
        lead: FloatArray = moved / np.sqrt(moved[:, n_pre:].mean(axis=1, keepdims=True))
        return lead

    def moves(self, chosen: IntArray, sigma: FloatArray, deviation: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Draw paths about their mean (Durbin, Koopman 2002, Biometrika 89, 603-615)."""
        n_pre, scale = len(self.target), sigma[:, None]
        heard = scale * rng.standard_normal((len(chosen), n_pre))
        moves = scale * rng.standard_normal((len(chosen), self.structure.n_periods))
        drawn = scale * simulate(self.structure, self.ratios, chosen, rng) + _product(deviation, self.columns)
        heard += drawn[:, :n_pre]
        moves += drawn
        moves -= predict(self.structure, heard, self.observed, self.ratios, chosen)
        return moves


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Distinct:
    """Where each distinct model is drawn first, and which of them each draw is."""

    first: IntArray
    which: IntArray


def _distinct(models: ModelDraws) -> _Distinct:
    keys = np.column_stack([models.structure, models.included])
    _, first, which = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return _Distinct(first=first, which=which.ravel())


def _stratified_normals(n: int, rng: np.random.Generator) -> FloatArray:
    """Draw one normal from each of n equally likely intervals, in random order."""
    draws: FloatArray = ndtri((rng.permutation(n) + rng.random(n)) / n)
    return draws


def _lead_to(moves: FloatArray, lead: FloatArray, goals: FloatArray, n_pre: int) -> None:
    """Move paths, in place, so that their average after the launch takes given values and all else stays as drawn.

    A normal vector is the sum of its regression on the average and of what is independent of it; only the first is set.
    """
    deviation = lead[:, n_pre:].mean(axis=1)
    moves += (goals - moves[:, n_pre:].mean(axis=1) / deviation)[:, None] * lead


@njit(cache=True, nogil=True)
def _answer(gram, structure, included, penalty, loads, answers):  # type: ignore[no-untyped-def]
    """Multiply loads by the covariance of initial states and included coefficients under unit noise variance."""
    last = gram.shape[1] - 1
    n_starts = last - included.shape[1]
    table, lower = np.empty((last + 1, last + 1)), np.empty((last + 1, last + 1))
    use = np.ones(last, np.bool_)
    for s in range(len(structure)):
        use[n_starts:] = included[s]
        active = np.flatnonzero(use)
        size = len(active)
        table[:] = gram[structure[s]]
        table[last, :last] = loads[s]
        factor(table, active, size, penalty[structure[s]], lower)
        for i in range(size - 1, -1, -1):
            total = lower[size, i]
            for c in range(i + 1, size):
                total -= lower[c, i] * answers[s, active[c]]
            answers[s, active[i]] = total / lower[i, i]


@njit(cache=True, nogil=True)
def _multiply(left, right, result):  # type: ignore[no-untyped-def]
    for s in range(len(left)):
        for c in range(left.shape[1]):
            if left[s, c] != 0.0:
                for t in range(right.shape[1]):
                    result[s, t] += left[s, c] * right[c, t]


def _product(coefficients: FloatArray, columns: FloatArray) -> FloatArray:
    """Multiply in a fixed order of summation, whatever the number of threads; most coefficients are zero."""
    result = np.zeros((len(coefficients), len(columns)))
    _multiply(np.ascontiguousarray(coefficients), np.ascontiguousarray(columns.T), result)
    return result
