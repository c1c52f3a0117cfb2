r"""Bayesian structural time series: draws of what a series would have been, with all but the model integrated out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from causalbench.numerics.spike_and_slab import (
    CoefficientDraws,
    CollapsedPosterior,
    ModelDraws,
    draw_coefficients,
    draw_models,
    sweep,
)
from causalbench.numerics.state_space import Structure, predict, simulate, whiten

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
        Prior variance of the initial states; None for a flat prior.
    start_level
        Prior mean of the initial level.
    intercept
        Whether the regression has an intercept beside the level.
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
    intercept: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StructuralDraws:
    """Draws from the posterior.

    Attributes
    ----------
    paths
        The series without the launch, noise included: smoothed before it, forecast after, shape (n_draws, n_periods). Draws
        come in pairs that mirror each other about their common mean.
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
    if prior.intercept:
        controls = np.column_stack([controls, np.ones(len(controls))])
    columns = np.column_stack([structure.starts, controls])
    n_pre, n_starts, n_columns = len(series), structure.starts.shape[1], columns.shape[1]
    target = np.nan_to_num(series) - prior.start_level
    whitened = whiten(structure, np.column_stack([columns[:n_pre], target]), observed, prior.ratios)
    rng_models, rng_paths = rng.spawn(2)
    posterior, tableau, models = _models(
        whitened.gram, whitened.log_det, prior, int(observed.sum()), n_starts, -(-n_draws // 2), rng_models
    )
    coefficients = draw_coefficients(posterior, models, rng_models)
    centre, deviation = _with_starts(tableau, models, coefficients, n_starts, rng_models)
    known = _Known(structure=structure, ratios=prior.ratios, columns=columns, target=target, observed=observed)
    paths = np.empty((2 * len(centre), structure.n_periods))
    paths[0::2] = paths[1::2] = known.means(models, centre)
    size = max(_CHUNK // structure.n_periods, 1)
    for i in range(0, len(centre), size):
        chunk = slice(i, i + size)
        moves = known.moves(models.structure[chunk], coefficients.sigma[chunk], deviation[chunk], rng_paths)
        paths[0::2][chunk] += moves
        paths[1::2][chunk] -= moves
    paths += prior.start_level
    n_controls = n_columns - n_starts - prior.intercept
    return StructuralDraws(
        paths=paths[:n_draws],
        inclusion=models.included[:, :n_controls].mean(axis=0),
        coefficients=coefficients.centre[:, :n_controls].mean(axis=0),
        sigma=np.repeat(coefficients.sigma, 2)[:n_draws],
        ratios=np.repeat(prior.ratios[models.structure], 2, axis=0)[:n_draws],
    )


def _models(
    gram: FloatArray,
    log_det: FloatArray,
    prior: Prior,
    n_observed: int,
    n_starts: int,
    n_draws: int,
    rng: np.random.Generator,
) -> tuple[CollapsedPosterior, FloatArray, ModelDraws]:
    """Integrate the initial states out and draw models; the prior of the initial states is scaled by the noise found."""
    n_passes = 1 if prior.start_variance is None else 2
    noise = max(prior.noise.guess, 1e-3)
    for _ in range(n_passes):
        precision = 0.0 if prior.start_variance is None else noise / prior.start_variance
        tableau, posterior = _collapse(gram, log_det, prior, n_observed, n_starts, precision)
        k = posterior.n_regressors
        corner = gram[0, n_starts:-1, n_starts:-1]
        scale = np.sqrt(np.diag(corner))
        affinity = np.abs(corner / np.outer(scale, scale)) * (1.0 - np.eye(k))
        models = draw_models(posterior, affinity, n_draws=n_draws, n_burn=_BURN, rng=rng)
        if n_passes == 2:
            noise = float((draw_coefficients(posterior, models, rng).sigma ** 2).mean())
    return posterior, tableau, models


def _collapse(
    gram: FloatArray, log_det: FloatArray, prior: Prior, n_observed: int, n_starts: int, precision: float
) -> tuple[FloatArray, CollapsedPosterior]:
    tableau, log_pivots = gram.copy(), np.zeros(len(gram))
    _absorb(tableau, n_starts, precision, log_pivots)
    shape = (prior.noise.df + n_observed - (n_starts if precision == 0 else 0)) / 2
    rate = np.full(len(gram), prior.noise.df * prior.noise.guess / 2)
    log_weight = prior.log_weight - (log_det + log_pivots) / 2
    for column, component in prior.components:
        ratio = prior.ratios[:, column]
        shape += component.df / 2
        rate += component.df * component.guess / (2 * ratio)
        log_weight = log_weight - component.df / 2 * np.log(ratio)
    k = gram.shape[1] - n_starts - 1
    if prior.slab_units == "observations":
        slab = np.diagonal(tableau, axis1=1, axis2=2)[:, n_starts:-1] * (prior.slab_precision / n_observed)
    else:
        slab = np.full((len(gram), k), prior.slab_precision)
    return tableau, CollapsedPosterior(
        gram=np.ascontiguousarray(tableau[:, n_starts:, n_starts:]),
        log_weight=log_weight,
        grid=prior.grid,
        shape=shape,
        rate=rate,
        slab_precision=np.ascontiguousarray(slab),
        inclusion=np.full(k, prior.inclusion),
    )


@njit(cache=True, nogil=True)
def _absorb(tableau, n_starts, precision, log_pivots):  # type: ignore[no-untyped-def]
    for g in range(len(tableau)):
        for i in range(n_starts):
            tableau[g, i, i] += precision
        for i in range(n_starts):
            log_pivots[g] += np.log(tableau[g, i, i])
            sweep(tableau[g], i)


def _with_starts(
    tableau: FloatArray, models: ModelDraws, coefficients: CoefficientDraws, n_starts: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Put draws of the initial states before those of the coefficients: their centre, and a draw about it."""
    normals = rng.standard_normal((len(models.structure), n_starts))
    centre = np.empty((len(normals), n_starts + coefficients.centre.shape[1]))
    deviation = np.empty_like(centre)
    centre[:, n_starts:], deviation[:, n_starts:] = coefficients.centre, coefficients.deviation
    _initial_states(tableau, models.structure, coefficients.sigma, normals, centre, deviation)
    return centre, deviation


@njit(cache=True, nogil=True)
def _initial_states(tableau, structure, sigma, normals, centre, deviation):  # type: ignore[no-untyped-def]
    n_draws, d = normals.shape
    last = tableau.shape[1] - 1
    lower = np.empty((d, d))
    for s in range(n_draws):
        table = tableau[structure[s]]
        for i in range(d):
            for j in range(i + 1):
                total = -table[i, j]
                for c in range(j):
                    total -= lower[i, c] * lower[j, c]
                lower[i, j] = np.sqrt(max(total, 0.0)) if i == j else total / lower[j, j]
        for i in range(d):
            mean, draw = table[i, last], 0.0
            for c in range(i + 1):
                draw += sigma[s] * lower[i, c] * normals[s, c]
            for c in range(d, last):
                mean -= table[i, c] * centre[s, c]
                draw -= table[i, c] * deviation[s, c]
            centre[s, i], deviation[s, i] = mean, draw


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Known:
    """What paths are drawn from: regressors with those of the initial states before them, and the series to follow."""

    structure: Structure
    ratios: FloatArray
    columns: FloatArray
    target: FloatArray
    observed: BoolArray

    def means(self, models: ModelDraws, centre: FloatArray) -> FloatArray:
        """Return the expected path of each drawn model, which depends on nothing but structure and regressors."""
        keys = np.column_stack([models.structure, models.included])
        _, first, which = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        means = _product(centre[first], self.columns)
        left = self.target - means[:, : len(self.target)]
        means += predict(self.structure, left, self.observed, self.ratios, models.structure[first])
        expected: FloatArray = means[which.ravel()]
        return expected

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
