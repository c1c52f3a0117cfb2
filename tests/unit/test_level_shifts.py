"""A jump to another level is found in the right series at the right date, by the statistic that it is said to be."""

import numpy as np
import pytest

from causalbench.numerics.level_shifts import _scan, _tail, best_step, find_level_shifts, shares_found

SIZE = 0.05


def draw(seed=0, shape=(20, 100), rho=0.5):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal(shape)
    for t in range(1, shape[1]):
        rows[:, t] = rho * rows[:, t - 1] + np.sqrt(1 - rho**2) * rows[:, t]
    return rows + 3 * np.sin(2 * np.pi * np.arange(shape[1]) / 7) + rng.normal(size=(shape[0], 1)) * 10


def find(series, **changes):
    n, length = series.shape
    keys = {"lengths": np.full(n, length), "pool": np.full(n, True), "n_fit": length, "size": SIZE} | changes
    return find_level_shifts(series, keys.pop("lengths"), keys.pop("pool"), **keys)


@pytest.mark.parametrize("rho", [-0.3, 0.0, 0.6])
def test_scan_is_generalised_least_squares_at_every_date(rho):
    gap = draw(1, (1, 40))[0]
    n = len(gap)
    covariance = rho ** np.abs(np.subtract.outer(np.arange(n), np.arange(n))) / (1 - rho**2)
    inverse = np.linalg.inv(covariance)
    z, shift, _ = _scan(gap, rho)
    for s in range(3, n - 2):
        design = np.column_stack([np.ones(n), np.arange(n) >= s]).astype(float)
        scatter = np.linalg.inv(design.T @ inverse @ design)
        beta = scatter @ design.T @ inverse @ gap
        assert shift[s] == pytest.approx(beta[1])
        assert z[s] == pytest.approx(beta[1] / np.sqrt(scatter[1, 1]))
    assert not z[:3].any()


@pytest.mark.parametrize(("n_periods", "c"), [(60, 2.5), (120, 3.0), (200, 3.0)])
def test_tail_of_the_largest_over_dates_is_that_of_white_noise(n_periods, c):
    """2,000 draws, Monte Carlo error at most .009; Student's t with very many degrees is the normal law."""
    rng = np.random.default_rng(2)
    largest = np.array([np.abs(_scan(row, 0.0)[0]).max() for row in rng.standard_normal((2000, n_periods))])
    share = float((largest > c).mean())
    degrees = min(10**6, n_periods / 3)
    normal = _tail(c, 3 * 10**6, 2 * 10**6) if degrees < 30 else _tail(c, n_periods, 10**6)
    assert share == pytest.approx(_tail(c, n_periods, 10**6), abs=0.02) or share <= normal


def test_series_that_jump_together_are_named_with_their_date():
    series = draw(3)
    series[[2, 7, 11], 60:] += 5
    found = find(series, season=7)
    assert np.flatnonzero(found.suspect).tolist() == [2, 7, 11]
    assert found.date[found.suspect].tolist() == [60, 60, 60]
    assert found.shift[found.suspect] == pytest.approx(5, abs=1.5)


def test_two_dates_are_told_apart():
    series = draw(4)
    series[2, 30:] += 6
    series[9, 70:] -= 6
    found = find(series, season=7)
    assert {int(j): int(found.date[j]) for j in np.flatnonzero(found.suspect)} == {2: 30, 9: 70}


@pytest.mark.parametrize("change", [lambda y: y, lambda y: 1e6 * y, lambda y: y[::-1], lambda y: y + 1e4])
def test_units_order_and_level_change_nothing(change):
    series = draw(5)
    series[3, 50:] += 5
    one, other = find(series), find(change(series))
    assert sorted(one.p_value) == pytest.approx(sorted(other.p_value), rel=1e-4, abs=1e-9)
    assert one.suspect.sum() == other.suspect.sum() == 1


def test_what_moves_all_alike_is_no_jump_of_any():
    series = draw(6)
    series[:, 50:] += 20
    assert not find(series).suspect.any()


@pytest.mark.parametrize("size", [8, 30])
def test_single_outlier_is_no_level(size):
    series = draw(7)
    series[4, 50] += size
    assert not find(series).suspect.any()


def test_series_of_own_length_is_not_looked_at_beyond():
    series = draw(8)
    lengths, pool = np.full(20, 100), np.full(20, True)
    lengths[0], pool[0] = 80, False
    series[0, 80:] += 50
    found = find(series, lengths=lengths, pool=pool, n_fit=80)
    assert not found.suspect.any()
    assert np.isnan(found.gaps[0, 80:]).all()
    series[0, 60:] += 8
    found = find(series, lengths=lengths, pool=pool, n_fit=80)
    assert (np.flatnonzero(found.suspect).tolist(), found.date[0]) == ([0], 60)


def test_share_found_grows_with_the_jump():
    series = draw(9)
    found = find(series)
    sizes = np.array([0.0, 1.0, 2.0, 4.0])
    shares = shares_found(found, np.full(20, 100), sizes, size=SIZE, rng=np.random.default_rng(0), n_draws=100)
    assert shares[0] <= 0.02
    assert (np.diff(shares) > 0).all()
    assert shares[3] >= 0.9


def test_share_found_is_that_of_the_whole_search():
    """40 jumps put into the series themselves and searched for again: Monte Carlo errors .08 and .05 at most."""
    series = draw(9)
    found = find(series)
    told = shares_found(found, np.full(20, 100), np.array([2.0]), size=SIZE, rng=np.random.default_rng(0), n_draws=100)
    rng, hits = np.random.default_rng(1), 0
    for _ in range(40):
        j, date = int(rng.integers(20)), int(rng.integers(5, 96))
        jumped = series.copy()
        jumped[j, date:] += rng.choice([-2.0, 2.0]) * found.limit[j]
        hits += find(jumped).suspect[j]
    assert abs(hits / 40 - told[0]) <= 3 * np.hypot(0.08, 0.05)


def test_best_step_of_a_clean_step_is_that_step():
    step = best_step(np.repeat([0.0, 4.0], [30, 20]) + 0.01 * np.random.default_rng(0).normal(size=50))
    assert (step.date, round(step.shift, 1)) == (30, 4.0)


@pytest.mark.parametrize("shape", [(5, 100), (20, 15)])
def test_too_few_series_or_periods_are_refused(shape):
    with pytest.raises(ValueError, match="can't be judged"):
        find(draw(10, shape))
