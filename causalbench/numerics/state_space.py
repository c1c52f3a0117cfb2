r"""Structural time series with known variance ratios: whitening, smoothing and forecasts in linear time.

A series is a regression plus an unobserved component plus noise,

.. math:: y_t = d_t'\alpha + x_t'\beta + z_t's_t + \varepsilon_t, \qquad s_{t+1} = T_t s_t + \eta_t,

with :math:`\varepsilon_t \sim N(0, \sigma^2)` and independent innovations :math:`\eta_{it} \sim N(0, q_i\sigma^2)` (Durbin,
Koopman 2012, sections 3.2 to 3.4). Level, slope and seasonal pattern of the first period are the coefficients
:math:`\alpha` of deterministic columns :math:`d_t`, so that the component itself starts at zero (an autoregressive one at
its stationary law) and nothing is diffuse. Given the ratios :math:`q` one pass of the Kalman filter whitens every column
at once, and what is left is a regression with independent errors.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

LEVEL, SLOPE, SEASONAL, PERSISTENCE, AUTOREGRESSIVE, COEFFICIENTS = range(6)
"""Columns of an array of ratios: innovation variances over that of the noise, and the autoregressive coefficient."""

N_RATIOS = 6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Structure:
    """Which components a series has, and over which periods.

    The state holds, in this order, level, slope, the last ``seasons - 1`` seasonal effects, the autoregressive component
    and the deviations of the moving coefficients.

    Attributes
    ----------
    n_periods
        Number of periods, those to forecast included.
    linear, autoregressive
        Whether there is a slope, and an autoregressive component.
    seasons, season_duration
        Number of seasons, 1 for none, and of periods that each lasts.
    moving
        Regressors whose coefficients move, shape (n_periods, n_moving).
    loadings
        What each state adds to the series, shape (n_periods, n_states).
    starts
        Effect of a unit of the initial level, slope and seasonal states, shape (n_periods, n_starts).
    """

    n_periods: int
    linear: bool = False
    autoregressive: bool = False
    seasons: int = 1
    season_duration: int = 1
    moving: FloatArray | None = None
    loadings: FloatArray = field(init=False)
    starts: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        moving = np.empty((self.n_periods, 0)) if self.moving is None else np.asarray(self.moving, dtype=float)
        n_starts = 1 + self.linear + self.seasons - 1
        loadings = np.zeros((self.n_periods, n_starts + self.autoregressive + moving.shape[1]))
        loadings[:, 0] = 1.0
        if self.seasons > 1:
            loadings[:, 1 + self.linear] = 1.0
        if self.autoregressive:
            loadings[:, n_starts] = 1.0
        loadings[:, n_starts + self.autoregressive :] = moving
        object.__setattr__(self, "loadings", loadings)
        starts = np.empty((self.n_periods, n_starts))
        _deterministic(self.shape, self.turns, loadings, starts)
        object.__setattr__(self, "starts", starts)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of slopes, of seasonal states and of autoregressive states."""
        return int(self.linear), self.seasons - 1, int(self.autoregressive)

    @property
    def turns(self) -> BoolArray:
        """Whether a new season begins after each period, shape (n_periods,)."""
        turns: BoolArray = (np.arange(self.n_periods) + 1) % self.season_duration == 0
        return turns

    def innovations(self, ratios: FloatArray) -> FloatArray:
        """Innovation variance of each state over that of the noise, shape (n_ratios, n_states), from rows of ratios."""
        rows = np.atleast_2d(ratios)
        n_starts = self.starts.shape[1]
        variances = np.zeros((len(rows), self.loadings.shape[1]))
        variances[:, 0] = rows[:, LEVEL]
        if self.linear:
            variances[:, 1] = rows[:, SLOPE]
        if self.seasons > 1:
            variances[:, 1 + self.linear] = rows[:, SEASONAL]
        if self.autoregressive:
            variances[:, n_starts] = rows[:, AUTOREGRESSIVE]
        variances[:, n_starts + self.autoregressive :] = rows[:, [COEFFICIENTS]]
        return variances


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Whitened:
    """Columns after whitening, for each row of ratios.

    Attributes
    ----------
    gram
        Inner products of the whitened columns, shape (n_ratios, n_columns, n_columns).
    log_det
        Logarithm of the determinant of the series' covariance over the noise variance, shape (n_ratios,).
    """

    gram: FloatArray
    log_det: FloatArray


def whiten(structure: Structure, columns: FloatArray, observed: BoolArray, ratios: FloatArray) -> Whitened:
    """Whiten columns by the covariance that each row of ratios implies, and take their inner products.

    Parameters
    ----------
    structure
        Components of the series.
    columns
        Shape (n_pre, n_columns); rows of periods that aren't observed are not read.
    observed
        Which of the first ``n_pre`` periods are observed, shape (n_pre,).
    ratios
        Shape (n_ratios, 6), columns in the order of :data:`LEVEL` to :data:`COEFFICIENTS`.
    """
    ratios = np.ascontiguousarray(np.atleast_2d(ratios), dtype=float)
    columns = np.ascontiguousarray(columns, dtype=float)
    n_columns = columns.shape[1]
    gram, log_det = np.zeros((len(ratios), n_columns, n_columns)), np.zeros(len(ratios))
    _whiten_all(
        structure.shape,
        structure.turns,
        structure.loadings,
        structure.innovations(ratios),
        np.ascontiguousarray(ratios[:, PERSISTENCE]),
        columns,
        np.asarray(observed),
        gram,
        log_det,
    )
    return Whitened(gram=gram, log_det=log_det)


def predict(
    structure: Structure,
    series: FloatArray,
    observed: BoolArray,
    ratios: FloatArray,
    chosen: IntArray,
) -> FloatArray:
    """Return the expected component in every period, given series that hold nothing but it and noise.

    Parameters
    ----------
    structure
        Components of the series.
    series
        Shape (n_series, n_pre).
    observed
        Which of the first ``n_pre`` periods are observed, shape (n_pre,).
    ratios
        Shape (n_ratios, 6).
    chosen
        Row of ``ratios`` of each series, shape (n_series,).

    Returns
    -------
    FloatArray
        Smoothed before, forecast after the last observed period, shape (n_series, n_periods).
    """
    ratios = np.ascontiguousarray(np.atleast_2d(ratios), dtype=float)
    result = np.empty((len(series), structure.n_periods))
    _predict_all(
        structure.shape,
        structure.turns,
        structure.loadings,
        structure.innovations(ratios),
        np.ascontiguousarray(ratios[:, PERSISTENCE]),
        np.ascontiguousarray(series),
        np.asarray(observed),
        np.ascontiguousarray(chosen),
        result,
    )
    return result


def simulate(structure: Structure, ratios: FloatArray, chosen: IntArray, rng: np.random.Generator) -> FloatArray:
    """Draw the component without data and with unit noise variance, shape (n_draws, n_periods)."""
    ratios = np.ascontiguousarray(np.atleast_2d(ratios), dtype=float)
    innovations = structure.innovations(ratios)
    n_shocks = int((innovations > 0).sum(axis=1).max())
    shocks = rng.standard_normal((len(chosen), structure.n_periods, n_shocks))
    result = np.empty((len(chosen), structure.n_periods))
    _simulate_all(
        structure.shape,
        structure.turns,
        structure.loadings,
        innovations,
        np.ascontiguousarray(ratios[:, PERSISTENCE]),
        np.ascontiguousarray(chosen),
        shocks,
        result,
    )
    return result


def covary(structure: Structure, ratios: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the component's covariance with its weighted sum under unit noise variance, shape (n_ratios, n_periods).

    Parameters
    ----------
    structure
        Components of the series.
    ratios
        Shape (n_ratios, 6).
    weights
        Weight of each period in the sum, shape (n_periods,).
    """
    ratios = np.ascontiguousarray(np.atleast_2d(ratios), dtype=float)
    result = np.empty((len(ratios), structure.n_periods))
    _covary_all(
        structure.shape,
        structure.turns,
        structure.loadings,
        structure.innovations(ratios),
        np.ascontiguousarray(ratios[:, PERSISTENCE]),
        np.ascontiguousarray(weights, dtype=float),
        result,
    )
    return result


@njit(cache=True, nogil=True)
def _advance(states, shape, turns, persistence):  # type: ignore[no-untyped-def]
    """Move rows of states (n_states, n_columns) on by one period, in place."""
    linear, seasonal, autoregressive = shape
    n_columns = states.shape[1]
    if linear:
        for c in range(n_columns):
            states[0, c] += states[1, c]
    first = 1 + linear
    if seasonal and turns:
        for c in range(n_columns):
            total = 0.0
            for i in range(first + seasonal - 1, first - 1, -1):
                total += states[i, c]
                if i > first:
                    states[i, c] = states[i - 1, c]
            states[first, c] = -total
    if autoregressive:
        for c in range(n_columns):
            states[first + seasonal, c] *= persistence


@njit(cache=True, nogil=True)
def _retreat(states, shape, turns, persistence):  # type: ignore[no-untyped-def]
    """Apply the transposed transition to rows of states (n_states, n_columns), in place."""
    linear, seasonal, autoregressive = shape
    n_columns = states.shape[1]
    if linear:
        for c in range(n_columns):
            states[1, c] += states[0, c]
    first = 1 + linear
    if seasonal and turns:
        for c in range(n_columns):
            head = states[first, c]
            for i in range(first, first + seasonal - 1):
                states[i, c] = states[i + 1, c] - head
            states[first + seasonal - 1, c] = -head
    if autoregressive:
        for c in range(n_columns):
            states[first + seasonal, c] *= persistence


@njit(cache=True, nogil=True)
def _deterministic(shape, turns, loadings, starts):  # type: ignore[no-untyped-def]
    n, n_starts = starts.shape
    states = np.zeros((loadings.shape[1], n_starts))
    for i in range(n_starts):
        states[i, i] = 1.0
    for t in range(n):
        for c in range(n_starts):
            total = 0.0
            for i in range(n_starts):
                total += loadings[t, i] * states[i, c]
            starts[t, c] = total
        _advance(states, shape, turns[t], 0.0)


@njit(cache=True, nogil=True)
def _gains(shape, turns, loadings, innovations, persistence, observed, gain, spread):  # type: ignore[no-untyped-def]
    """Fill the filter's gains (n_pre, n_states) and innovation variances (n_pre,); a missing period has gain 0."""
    n, m = gain.shape
    ar = 1 + shape[0] + shape[1]
    variance, load = np.zeros((m, m)), np.empty(m)
    if shape[2]:
        variance[ar, ar] = innovations[ar] / (1.0 - persistence**2)
    for t in range(n):
        spread[t] = 1.0
        for i in range(m):
            load[i] = 0.0
            for j in range(m):
                load[i] += variance[i, j] * loadings[t, j]
            spread[t] += load[i] * loadings[t, i]
        gain[t] = load / spread[t] * observed[t]
        for i in range(m):
            for j in range(m):
                variance[i, j] -= load[i] * gain[t, j]
        _advance(variance, shape, turns[t], persistence)
        _advance(variance.T, shape, turns[t], persistence)
        for i in range(m):
            if turns[t] or not 1 + shape[0] <= i < ar:
                variance[i, i] += innovations[i]


@njit(cache=True, nogil=True)
def _whiten_all(  # type: ignore[no-untyped-def]
    shape, turns, loadings, innovations, persistence, columns, observed, gram, log_det
):
    n, n_columns = columns.shape
    m = loadings.shape[1]
    gain, spread = np.empty((n, m)), np.empty(n)
    error, states = np.empty(n_columns), np.empty((m, n_columns))
    for g in range(len(innovations)):
        _gains(shape, turns, loadings, innovations[g], persistence[g], observed, gain, spread)
        states[:] = 0.0
        for t in range(n):
            if observed[t]:
                _innovate(columns[t], loadings[t], gain[t], states, error)
                log_det[g] += np.log(spread[t])
                for i in range(n_columns):
                    share = error[i] / spread[t]
                    for j in range(i, n_columns):
                        gram[g, i, j] += share * error[j]
            _advance(states, shape, turns[t], persistence[g])
        for i in range(n_columns):
            for j in range(i):
                gram[g, i, j] = gram[g, j, i]


@njit(cache=True, nogil=True)
def _innovate(values, loading, gain, states, error):  # type: ignore[no-untyped-def]
    """Fill the errors of one period's forecasts and correct the states (n_states, n_columns) by them."""
    n_columns = len(error)
    for c in range(n_columns):
        error[c] = values[c]
    for i in range(len(loading)):
        if loading[i] != 0.0:
            for c in range(n_columns):
                error[c] -= loading[i] * states[i, c]
    for i in range(len(loading)):
        if gain[i] != 0.0:
            for c in range(n_columns):
                states[i, c] += gain[i] * error[c]


@njit(cache=True, nogil=True)
def _predict_all(  # type: ignore[no-untyped-def]
    shape, turns, loadings, innovations, persistence, series, observed, chosen, result
):
    """Koopman's (1993, Biometrika 80, 117-126) smoother: errors forward, their sums backward, states forward."""
    n, m = series.shape[1], loadings.shape[1]
    gain, spread = np.empty((n, m)), np.empty(n)
    for g in range(len(innovations)):
        rows = np.flatnonzero(chosen == g)
        moving = np.flatnonzero(innovations[g] > 0.0)
        if len(rows) == 0 or len(moving) == 0:
            for row in rows:
                result[row] = 0.0
            continue
        _gains(shape, turns, loadings, innovations[g], persistence[g], observed, gain, spread)
        sums = np.empty((n, len(moving), len(rows)))
        _error_sums(shape, turns, loadings, persistence[g], series, rows, observed, gain, spread, moving, sums)
        _forward(shape, turns, loadings, innovations[g], persistence[g], moving, sums, rows, result)


@njit(cache=True, nogil=True)
def _forward(  # type: ignore[no-untyped-def]
    shape, turns, loadings, innovations, persistence, moving, sums, rows, result
):
    """Move states by their innovation variances times the sums of each period, and write the series into rows."""
    ar = 1 + shape[0] + shape[1]
    states = np.zeros((loadings.shape[1], len(rows)))
    for t in range(result.shape[1]):
        if t < len(sums):
            for k, i in enumerate(moving):
                size = innovations[i]
                if t == 0:
                    size = size / (1.0 - persistence**2) if shape[2] and i == ar else 0.0
                elif not turns[t - 1] and 1 + shape[0] <= i < ar:
                    size = 0.0
                for c in range(len(rows)):
                    states[i, c] += size * sums[t, k, c]
        _load(loadings[t], states, rows, t, result)
        _advance(states, shape, turns[t], persistence)


@njit(cache=True, nogil=True)
def _covary_all(  # type: ignore[no-untyped-def]
    shape, turns, loadings, innovations, persistence, weights, result
):
    n, m = loadings.shape
    for g in range(len(innovations)):
        moving = np.flatnonzero(innovations[g] > 0.0)
        sums, states = np.empty((n, len(moving), 1)), np.zeros((m, 1))
        for t in range(n - 1, -1, -1):
            _retreat(states, shape, turns[t], persistence[g])
            for i in range(m):
                states[i, 0] += loadings[t, i] * weights[t]
            for k, j in enumerate(moving):
                sums[t, k, 0] = states[j, 0]
        row = np.array([g])
        _forward(shape, turns, loadings, innovations[g], persistence[g], moving, sums, row, result)


@njit(cache=True, nogil=True)
def _load(loading, states, rows, t, result):  # type: ignore[no-untyped-def]
    """Write what the states (n_states, n_columns) add to the series into one period of rows of the result."""
    for c in range(len(rows)):
        total = 0.0
        for i in range(len(loading)):
            total += loading[i] * states[i, c]
        result[rows[c], t] = total


@njit(cache=True, nogil=True)
def _error_sums(  # type: ignore[no-untyped-def]  # noqa: C901 - one kernel
    shape, turns, loadings, persistence, series, rows, observed, gain, spread, moving, sums
):
    """Fill the weighted sums of forecast errors that smooth each moving state, shape (n_pre, n_moving, n_rows)."""
    n, m, n_rows = len(sums), loadings.shape[1], len(rows)
    errors, states, values = np.zeros((n, n_rows)), np.zeros((m, n_rows)), np.empty(n_rows)
    for t in range(n):
        if observed[t]:
            for c in range(n_rows):
                values[c] = series[rows[c], t]
            _innovate(values, loadings[t], gain[t], states, errors[t])
        _advance(states, shape, turns[t], persistence)
    states[:] = 0.0
    for t in range(n - 1, -1, -1):
        _retreat(states, shape, turns[t], persistence)
        if observed[t]:
            for c in range(n_rows):
                values[c] = errors[t, c] / spread[t]
            for i in range(m):
                for c in range(n_rows):
                    values[c] -= gain[t, i] * states[i, c]
            for i in range(m):
                for c in range(n_rows):
                    states[i, c] += loadings[t, i] * values[c]
        for k, i in enumerate(moving):
            for c in range(n_rows):
                sums[t, k, c] = states[i, c]


@njit(cache=True, nogil=True)
def _simulate_all(  # type: ignore[no-untyped-def]
    shape, turns, loadings, innovations, persistence, chosen, shocks, result
):
    """Draw series of states; the shock of a period moves its own state, and the first period has only the stationary one."""
    ar = 1 + shape[0] + shape[1]
    for g in range(len(innovations)):
        rows = np.flatnonzero(chosen == g)
        moving = np.flatnonzero(innovations[g] > 0.0)
        if len(rows) == 0 or len(moving) == 0:
            for row in rows:
                result[row] = 0.0
            continue
        states = np.zeros((loadings.shape[1], len(rows)))
        for t in range(result.shape[1]):
            for k, i in enumerate(moving):
                size = np.sqrt(innovations[g, i])
                if t == 0:
                    size = size / np.sqrt(1.0 - persistence[g] ** 2) if shape[2] and i == ar else 0.0
                elif not turns[t - 1] and 1 + shape[0] <= i < ar:
                    size = 0.0
                for c in range(len(rows)):
                    states[i, c] += size * shocks[rows[c], t, k]
            _load(loadings[t], states, rows, t, result)
            _advance(states, shape, turns[t], persistence[g])
