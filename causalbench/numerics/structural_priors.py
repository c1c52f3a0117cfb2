r"""What is believed about a structural time series before the data speak: two regimes that are never mixed.

:func:`learned_prior` leaves open how much the series drifts. With probability one half a component doesn't move at all;
else the logarithm of its variance ratio is uniform between a drift too small to be seen in the history and one that
leaves no noise. What lasts may be a random walk or fade at a learned rate.

:func:`r_prior` follows R's CausalImpact 1.4.1 with bsts 0.9.10: inverse gamma priors of the variances, of which that of
the level is worth 32 observations and expects .01 of the series' standard deviation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causalbench.numerics.state_space import (
    AUTOREGRESSIVE,
    COEFFICIENTS,
    LEVEL,
    N_RATIOS,
    PERSISTENCE,
    SEASONAL,
    SLOPE,
    Structure,
)
from causalbench.numerics.structural_time_series import Prior, VariancePrior

FloatArray = NDArray[np.float64]

_STILL = 0.5
"""Probability that a component doesn't move."""

_UNSEEN = 0.1
"""A variance ratio whose drift over the history adds this share to the noise's variance of a mean is too small to be seen."""

_FADING = (0.5, 0.7, 0.8)
"""Autoregressive coefficients of what fades; nearer to one, usual histories can't tell it from a random walk, which covers."""

_WALKS = 0.7
"""Probability that what lasts is a random walk."""

_LONG = 300
"""From this many periods on a level's ratio is known well enough to need a finer grid, where it is the only open one."""

_SLAB = 0.1
"""Observations that the prior of a coefficient is worth."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Axis:
    """Values of one column of the ratios, with their log weights, both shape (n,)."""

    column: int
    values: FloatArray
    log_weight: FloatArray


def learned_prior(structure: Structure, *, n_pre: int, inclusion: float) -> Prior:
    """Return the prior that leaves open how much the series drifts.

    Parameters
    ----------
    structure
        Components of the series.
    n_pre
        Number of periods before the launch.
    inclusion
        Probability that a control is included.
    """
    smallest = _UNSEEN / n_pre**2
    alone = not structure.linear and structure.seasons == 1 and structure.moving is None
    axes = [_open(LEVEL, smallest, 1e4, 24 if alone and n_pre >= _LONG else 16)]
    if structure.autoregressive:
        shares = np.array([*[(1 - _WALKS) / len(_FADING)] * len(_FADING), _WALKS])
        axes.insert(0, _Axis(column=PERSISTENCE, values=np.array([*_FADING, 1.0]), log_weight=np.log(shares)))
    if structure.linear:
        axes.append(_open(SLOPE, smallest / n_pre**2, 1.0, 5))
    if structure.seasons > 1:
        cycles = max(n_pre / (structure.seasons * structure.season_duration), 1.0)
        axes.append(_open(SEASONAL, _UNSEEN / cycles**2, 10.0, 4))
    if structure.moving is not None:
        axes.append(_open(COEFFICIENTS, smallest, 10.0, 5))
    ratios, log_weight = _product(axes)
    if structure.autoregressive:
        fades = ratios[:, PERSISTENCE] < 1
        ratios[:, AUTOREGRESSIVE] = np.where(fades, ratios[:, LEVEL], 0.0)
        ratios[:, LEVEL] = np.where(fades, 0.0, ratios[:, LEVEL])
        ratios[:, PERSISTENCE] = np.where(fades, ratios[:, PERSISTENCE], 0.0)
    return Prior(
        ratios=ratios,
        log_weight=log_weight,
        grid=tuple(len(axis.values) for axis in axes),
        noise=VariancePrior(df=0.0, guess=1.0),
        slab_precision=_SLAB,
        slab_units="observations",
        inclusion=inclusion,
    )


def r_prior(
    structure: Structure, *, level_sd: float, start_level: float, n_controls: int, expected_model_size: float
) -> Prior:
    """Return the priors of R's CausalImpact.

    Three departures, without visible effect: upper limits of the standard deviations aren't imposed; a coefficient's prior
    precision leaves out half of what controls share with each other; and R's intercept, which it always includes where the
    expected size allows, isn't drawn but makes the prior of the initial states flat.

    Parameters
    ----------
    structure
        Components of the series.
    level_sd
        Expected standard deviation of the level's innovations.
    start_level
        First observation, about which the initial level lies.
    n_controls, expected_model_size
        Number of controls, and of regressors that are expected to matter, the intercept being one.
    """
    axes = [_even(LEVEL, level_sd**2 / 8, 1e3, 0.4)]
    components = [(LEVEL, VariancePrior(df=32.0, guess=level_sd**2))]
    if structure.seasons > 1:
        axes.append(_even(SEASONAL, 1e-7, 1e2, 2.0))
        components.append((SEASONAL, VariancePrior(df=0.01, guess=1e-4)))
    ratios, log_weight = _product(axes)
    inclusion = min(1.0, expected_model_size / (n_controls + 1))
    return Prior(
        ratios=ratios,
        log_weight=log_weight,
        grid=tuple(len(axis.values) for axis in axes),
        noise=VariancePrior(df=50.0, guess=0.2) if n_controls else VariancePrior(df=0.01, guess=1.0),
        components=tuple(components),
        slab_precision=0.01,
        slab_units="noise",
        inclusion=inclusion,
        start_variance=None if n_controls and inclusion == 1 else 1.0,
        start_level=start_level,
    )


def _open(column: int, low: float, high: float, n_moving: int) -> _Axis:
    """Return zero, and ratios between two limits whose logarithms are evenly spaced."""
    shares = np.array([_STILL, *[(1 - _STILL) / n_moving] * n_moving])
    values = np.concatenate([[0.0], np.geomspace(low, high, n_moving)])
    return _Axis(column=column, values=values, log_weight=np.log(shares))


def _even(column: int, low: float, high: float, step: float) -> _Axis:
    values = np.exp(np.arange(math.log(low), math.log(high), step))
    return _Axis(column=column, values=values, log_weight=np.zeros(len(values)))


def _product(axes: Sequence[_Axis]) -> tuple[FloatArray, FloatArray]:
    """Return every combination of the axes' values, the last axis moving fastest, with its log weight."""
    index = np.indices([len(axis.values) for axis in axes]).reshape(len(axes), -1)
    ratios, log_weight = np.zeros((index.shape[1], N_RATIOS)), np.zeros(index.shape[1])
    for axis, chosen in zip(axes, index, strict=True):
        ratios[:, axis.column] = axis.values[chosen]
        log_weight += axis.log_weight[chosen]
    return ratios, log_weight
