"""The estimate of persistence against least squares, and its bias in short series."""

from __future__ import annotations

import numpy as np
import pytest

from causalbench.numerics.persistence import persistence
from causalbench.values import FloatArray


def autoregression(rho: float, n_periods: int, seed: int) -> FloatArray:
    noise = np.random.default_rng(seed).standard_normal(n_periods)
    series = noise.copy()
    for t in range(1, n_periods):
        series[t] = rho * series[t - 1] + np.sqrt(1 - rho**2) * noise[t]
    return series


def test_it_is_least_squares_with_a_constant_plus_the_correction() -> None:
    series = autoregression(0.5, 40, seed=1)
    design = np.column_stack([np.ones(39), series[:-1]])
    slope = np.linalg.lstsq(design, series[1:], rcond=None)[0][1]
    assert persistence(series) == pytest.approx(slope + (1 + 3 * slope) / 40, rel=1e-12)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_the_bias_of_a_short_series_is_nearly_gone(rho: float) -> None:
    found = [persistence(autoregression(rho, 45, seed)) for seed in range(600)]
    error = np.std(found) / np.sqrt(len(found))
    # Without the correction (1 + 3 rho) / 45 the mean is .02 to .08 too low, 4 to 20 of these errors.
    assert np.mean(found) == pytest.approx(rho, abs=0.02 + 2 * error)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_level_and_unit_do_not_matter(scale: float) -> None:
    series = autoregression(0.3, 30, seed=2)
    assert persistence(scale * (series + 5)) == pytest.approx(persistence(series), rel=1e-9)


def test_a_constant_series_has_none_and_a_trend_has_no_more_than_one() -> None:
    assert persistence(np.ones(10)) == 0.0
    assert persistence(np.arange(10.0)) == 1.0
