"""Fieller's sets against the test they invert, by hand, and their coverage with clear and weak denominators."""

import math

import numpy as np
import pytest
from scipy import optimize

from causalbench.numerics.ratio_sets import WHOLE_LINE, fieller_set, ratio_statistic

CASES = [
    (numerator, denominator, np.array([[v, r * math.sqrt(v * w)], [r * math.sqrt(v * w), w]]), quantile)
    for numerator in (5.0, -2.0, 0.3, 0.0)
    for denominator in (4.0, -1.5, 0.2)
    for v, w in ((1.0, 1.0), (0.25, 3.0), (2.0, 1e-6))
    for r in (0.0, 0.7, -0.9)
    for quantile in (1.0, 1.645, 2.6)
]


@pytest.mark.parametrize(("numerator", "denominator", "covariance", "quantile"), CASES)
def test_set_holds_exactly_the_ratios_whose_statistic_is_small(numerator, denominator, covariance, quantile):
    segments = fieller_set(numerator, denominator, covariance, quantile=quantile)
    grid = np.concatenate([np.tan(np.linspace(-1.5, 1.5, 401)), [numerator / denominator]])
    grid = np.concatenate([grid, 1e4 * grid])
    for ratio in grid.tolist():
        statistic = abs(ratio_statistic(numerator, denominator, covariance, ratio=ratio))
        if abs(statistic - quantile) > 1e-6:
            assert any(low <= ratio <= high for low, high in segments) == (statistic < quantile), ratio
    for end in [end for segment in segments for end in segment if math.isfinite(end)]:
        statistic = abs(ratio_statistic(numerator, denominator, covariance, ratio=end))
        assert statistic == pytest.approx(quantile, rel=1e-6)


def test_ends_are_the_roots_that_a_search_finds():
    covariance, quantile = np.array([[2.0, 0.6], [0.6, 0.5]]), 1.96
    ((low, high),) = fieller_set(9.0, 4.0, covariance, quantile=quantile)
    distance = lambda ratio: abs(ratio_statistic(9.0, 4.0, covariance, ratio=ratio)) - quantile  # noqa: E731
    assert low == pytest.approx(optimize.brentq(distance, -5, 9 / 4), rel=1e-10)
    assert high == pytest.approx(optimize.brentq(distance, 9 / 4, 50), rel=1e-10)


def test_known_denominator_gives_the_scaled_interval():
    covariance = np.array([[4.0, 0.0], [0.0, 0.0]])
    assert fieller_set(10.0, 5.0, covariance, quantile=1.5) == ((1.4, 2.6),)  # (10 -/+ 1.5 * 2) / 5
    assert fieller_set(10.0, -5.0, covariance, quantile=1.5) == ((-2.6, -1.4),)


def test_denominator_that_is_clear_gives_one_segment_and_one_that_is_not_two_or_the_line():
    assert len(fieller_set(5.0, 3.0, np.eye(2), quantile=2.0)) == 1
    (left, right) = fieller_set(5.0, 1.0, np.eye(2), quantile=2.0)
    # 3 r^2 + 10 r - 21 >= 0: r = (-10 -/+ sqrt(100 + 252)) / 6
    assert left == (-math.inf, pytest.approx((-10 - math.sqrt(352)) / 6, rel=1e-12))
    assert right == (pytest.approx((-10 + math.sqrt(352)) / 6, rel=1e-12), math.inf)
    assert fieller_set(1.0, 1.0, np.eye(2), quantile=2.0) == WHOLE_LINE


def test_denominator_on_the_edge_gives_a_half_line():
    # d = q sd: the quadratic is linear, -2 n d r + n^2 - q^2 <= 0, so r >= (25 - 4) / 20
    assert fieller_set(5.0, 2.0, np.eye(2), quantile=2.0) == ((pytest.approx(1.05, rel=1e-12), math.inf),)
    assert fieller_set(-5.0, 2.0, np.eye(2), quantile=2.0) == ((-math.inf, pytest.approx(-1.05, rel=1e-12)),)


@pytest.mark.parametrize("size", [1e-9, 1e9])
def test_units_of_either_estimate_scale_the_set(size):
    covariance = np.array([[1.0, 0.3], [0.3, 0.8]])
    ((low, high),) = fieller_set(5.0, 4.0, covariance, quantile=1.8)
    scale = np.diag([size, 1.0])
    found = fieller_set(5.0 * size, 4.0, scale @ covariance @ scale, quantile=1.8)
    assert found == ((pytest.approx(low * size, rel=1e-12), pytest.approx(high * size, rel=1e-12)),)


@pytest.mark.parametrize(
    ("denominator", "covariance", "quantile", "words"),
    [
        (1.0, [[1.0, 2.0], [2.0, 1.0]], 1.0, "no covariance"),
        (1.0, [[-1.0, 0.0], [0.0, 1.0]], 1.0, "no covariance"),
        (1.0, [[1.0, 0.0], [0.0, 1.0]], 0.0, "must be positive"),
        (0.0, [[1.0, 0.0], [0.0, 0.0]], 1.0, "known to be zero"),
        (1.0, [[np.nan, 0.0], [0.0, 0.0]], 1.0, "no covariance"),
    ],
)
def test_what_is_no_ratio_is_refused(denominator, covariance, quantile, words):
    with pytest.raises(ValueError, match=words):
        fieller_set(1.0, denominator, np.array(covariance), quantile=quantile)


@pytest.mark.parametrize("mean_cost", [5.0, 2.0, 1.0, 0.3])
def test_sets_cover_at_their_level_whatever_the_denominator(mean_cost):
    level, n_draws, truth = 0.9, 4000, 3.0
    rng = np.random.default_rng(8)
    covariance = np.array([[4.0, 1.2], [1.2, 1.0]])
    draws = rng.multivariate_normal([truth * mean_cost, mean_cost], covariance, size=n_draws)
    sets = [fieller_set(n, d, covariance, quantile=1.6448536269514722) for n, d in draws.tolist()]
    covered = np.mean([any(low <= truth <= high for low, high in found) for found in sets])
    error = math.sqrt(level * (1 - level) / n_draws)  # .0047
    assert covered == pytest.approx(level, abs=3 * error)
    unbounded = np.mean([not np.isfinite([end for ends in found for end in ends]).all() for found in sets])
    # A set is bounded where the cost differs from zero at the level: |z| > 1.645 with mean mean_cost and variance 1.
    expected = 0.5 * math.erfc((mean_cost - 1.6448536) / math.sqrt(2)) - 0.5 * math.erfc(
        (mean_cost + 1.6448536) / math.sqrt(2)
    )
    assert unbounded == pytest.approx(expected, abs=3 * math.sqrt(max(expected * (1 - expected), 1e-4) / n_draws))


@pytest.mark.parametrize("mean_cost", [1.0])
def test_delta_method_would_not_cover_with_a_weak_denominator(mean_cost):
    rng = np.random.default_rng(9)
    draws = rng.multivariate_normal([3.0 * mean_cost, mean_cost], np.array([[4.0, 1.2], [1.2, 1.0]]), size=4000)
    ratio = draws[:, 0] / draws[:, 1]
    errors = np.sqrt(4.0 - 2.4 * ratio + ratio**2) / np.abs(draws[:, 1])
    assert np.mean(np.abs(ratio - 3.0) <= 1.645 * errors) != pytest.approx(0.9, abs=0.014)  # 3 Monte Carlo errors
