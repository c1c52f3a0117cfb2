r"""Doubly weighted differences: unit and time weights of synthetic difference-in-differences for many assignments.

With :math:`\bar y_t` the mean of the :math:`N_1` treated units and :math:`\bar y_i` a control's mean over the :math:`T_1` periods
after the launch, the weights on the simplex are (Arkhangelsky, Athey, Hirshberg, Imbens, Wager 2021)

.. math::
    \hat\omega &= \arg\min_\omega \min_{\omega_0} \sum_{t \le T_0} \Bigl(\omega_0 + \sum_i \omega_i y_{it} - \bar y_t\Bigr)^2
        + \zeta^2 T_0 \lVert\omega\rVert^2 &&\text{(4)}, \\
    \zeta &= (N_1 T_1)^{1/4} \hat\sigma, \quad
        \hat\sigma^2 = \text{variance of } y_{i,t+1} - y_{it} \text{ of controls before the launch} &&\text{(5)}, \\
    \hat\lambda &= \arg\min_\lambda \min_{\lambda_0} \sum_{i \le N_0} \Bigl(\lambda_0 + \sum_t \lambda_t y_{it} - \bar y_i\Bigr)^2
        + (10^{-6} \hat\sigma)^2 N_0 \lVert\lambda\rVert^2 &&\text{(6)}.

The intercepts are taken out by centring. One Gram matrix of all units serves the unit weights of every assignment of a
window, and the scatter of all units, less that of an assignment's treated, its time weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causalbench.numerics.frank_wolfe import early_stopped_weights
from causalbench.numerics.ridge_simplex import solve_ridge_simplex
from causalbench.numerics.simplex import SimplexFit

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_TIME_RIDGE = 1e-6
_DONOR_RIDGE = 1e-6
_TIE_RIDGE = 1e-6
_PERFECT = 1e-10
_RANK = 1e-9
_LOST_DIGITS = 1e-4
_WHOLE = 1 - 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DoubleWeights:
    """Weights of a batch of assignments.

    Attributes
    ----------
    units
        Weights of the controls, shape (n_assignments, n_units), zero for the treated.
    times
        Weights of the periods before the launch, shape (n_assignments, n_pre).
    zeta
        Root of the unit weights' ridge per period, in units of the outcome; shape (n_assignments,).
    rel_gap
        Larger of the two problems' relative duality gaps, shape (n_assignments,); NaN for weights that are no optima.
    """

    units: FloatArray
    times: FloatArray
    zeta: FloatArray
    rel_gap: FloatArray


def noise_levels(history: FloatArray, controls: BoolArray) -> FloatArray:
    """Return the standard deviation of the controls' first differences, shape (n_assignments,).

    Parameters
    ----------
    history
        Outcomes before the launch as they are, shape (n_units, n_pre): what all units share in a period counts as noise.
    controls
        Shape (n_assignments, n_units).
    """
    steps = np.diff(history, axis=1)
    counts = controls.sum(axis=1) * steps.shape[1]
    means = (controls @ steps.sum(axis=1)) / counts
    squares = controls @ (steps**2).sum(axis=1) - counts * means**2
    levels: FloatArray = np.sqrt(np.maximum(squares, 0.0) / np.maximum(counts - 1, 1))
    return levels


def certified_weights(
    series: FloatArray, share: FloatArray, controls: BoolArray, pre: int, noise: FloatArray
) -> DoubleWeights:
    """Solve every assignment's two problems to a certified optimum.

    Parameters
    ----------
    series
        Outcomes about their periods' medians, which the two problems don't depend on; shape (n_units, n_periods).
    share
        Share of each treated unit in the treated mean, shape (n_assignments, n_units).
    controls
        Which units may have weight, shape (n_assignments, n_units).
    pre
        Number of periods before the launch.
    noise
        Noise level of each assignment, shape (n_assignments,), from :func:`noise_levels`.
    """
    zeta = _zeta(noise, share, series.shape[1] - pre)
    # Time weights sum to one as well, so that a unit's own level may be taken out of both problems.
    levels = series[:, :pre].mean(axis=1, keepdims=True)
    history = series[:, :pre] - levels
    rows = np.column_stack([history, (series[:, pre:] - levels).mean(axis=1)])
    gram = history @ history.T
    cross = share @ gram
    units = solve_ridge_simplex(gram, cross, (cross * share).sum(axis=1), zeta**2 * pre, controls)
    scatter, ridges = rows.T @ rows, (_TIME_RIDGE * noise) ** 2 * controls.sum(axis=1)
    times, gaps = np.empty((len(share), pre)), np.empty(len(share))
    for b, mask in enumerate(controls):
        own = _centred_scatter(rows, scatter, mask)
        fit = solve_ridge_simplex(own[:-1, :-1], own[-1:, :-1], own[-1:, -1], ridges[b : b + 1])
        if _is_perfect(own, fit.weights[0]):
            fit = _least_norm(rows[mask])
        times[b], gaps[b] = fit.weights[0], fit.rel_gap[0]
    return DoubleWeights(units=units.weights, times=times, zeta=zeta, rel_gap=np.maximum(units.rel_gap, gaps))


def _is_perfect(scatter: FloatArray, weights: FloatArray) -> bool:
    """Tell whether weights of the first columns reproduce the last one up to rounding, given their scatter."""
    difference = np.append(weights, -1.0)
    size = np.diag(scatter)[:-1] - 2 * scatter[-1, :-1] + scatter[-1, -1]
    return float(difference @ scatter @ difference) <= _PERFECT * float(np.median(size))


def _least_norm(rows: FloatArray) -> SimplexFit:
    """Return the smallest of the weights that reproduce the last column by the others, shape (n_controls, n_pre + 1).

    The paper's ridge means them, but is too small for double precision to tell them apart. Here the directions that the
    columns span are brought to one size, and a ridge of 1e-6 of it decides.
    """
    centred = rows - rows.mean(axis=0)
    left, size, right = np.linalg.svd(centred[:, :-1], full_matrices=False)
    solid = size > _RANK * size[0]
    design, target = right[solid], (left.T @ centred[:, -1])[solid] / size[solid]
    cross, square = (design.T @ target)[None], np.array([target @ target])
    return solve_ridge_simplex(design.T @ design, cross, square, np.array([_TIE_RIDGE]))


def stopped_weights(
    series: FloatArray, share: FloatArray, controls: BoolArray, pre: int, noise: FloatArray
) -> DoubleWeights:
    """Approach every assignment's two problems as R's synthdid does; parameters as in :func:`certified_weights`."""
    zeta = _zeta(noise, share, series.shape[1] - pre)
    units, times = np.zeros(share.shape), np.empty((len(share), pre))
    for b, mask in enumerate(controls):
        before, after = series[mask, :pre], series[mask, pre:].mean(axis=1)
        level = share[b] @ series[:, :pre]
        units[b, mask] = early_stopped_weights(
            (before - before.mean(axis=1, keepdims=True)).T, level - level.mean(), zeta=zeta[b], noise_level=noise[b]
        )
        times[b] = early_stopped_weights(
            before - before.mean(axis=0), after - after.mean(), zeta=_TIME_RIDGE * noise[b], noise_level=noise[b]
        )
    return DoubleWeights(units=units, times=times, zeta=zeta, rel_gap=np.full(len(share), np.nan))


def without_each(contrasts: FloatArray, weights: FloatArray, treated: BoolArray) -> FloatArray:
    """Return the doubly weighted difference with each unit left out in turn and the weights held, shape (n_units,).

    Parameters
    ----------
    contrasts
        Each unit's mean after the launch less its weighted mean before, shape (n_units,).
    weights
        Unit weights of the controls, zero elsewhere; those left are divided by their sum. Shape (n_units,).
    treated
        Which units are treated, shape (n_units,).

    Returns
    -------
    FloatArray
        NaN where the only treated unit or all of the weight is left out.
    """
    count, level = int(treated.sum()), float(weights @ contrasts)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(treated, (contrasts[treated].sum() - contrasts) / (count - 1), contrasts[treated].mean())
        rest = np.where(weights < _WHOLE, (level - weights * contrasts) / (1 - weights), np.nan)
    differences: FloatArray = np.where(np.isfinite(means), means, np.nan) - rest
    return differences


def stopped_donor_weights(history: FloatArray, share: FloatArray, donors: BoolArray) -> FloatArray:
    """Approach synthetic control's weights as R's synthdid does: no intercept, and a ridge of 1e-6 of the noise level.

    Parameters
    ----------
    history
        Outcomes before the launch as they are, shape (n_units, n_pre).
    share, donors
        Share in the treated mean, and who may have weight, shape (n_assignments, n_units).

    Returns
    -------
    FloatArray
        Shape (n_assignments, n_units), zero for units that aren't donors.
    """
    weights = np.zeros(share.shape)
    for b, (mask, noise) in enumerate(zip(donors, noise_levels(history, donors).tolist(), strict=True)):
        weights[b, mask] = early_stopped_weights(
            history[mask].T, share[b] @ history, zeta=_DONOR_RIDGE * noise, noise_level=noise
        )
    return weights


def _zeta(noise: FloatArray, share: FloatArray, n_post: int) -> FloatArray:
    zeta: FloatArray = ((share > 0).sum(axis=1) * n_post) ** 0.25 * noise
    return zeta


def _centred_scatter(rows: FloatArray, scatter: FloatArray, mask: BoolArray) -> FloatArray:
    """Return the scatter about their mean of the masked rows, given that of all rows about zero."""
    others = rows[~mask]
    own = scatter - others.T @ others
    if np.trace(own) < _LOST_DIGITS * np.trace(scatter):
        own = rows[mask].T @ rows[mask]  # what is left is too small a difference of large numbers
    mean = rows[mask].mean(axis=0)
    centred: FloatArray = own - mask.sum() * np.outer(mean, mean)
    return centred
