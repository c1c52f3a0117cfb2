"""Effects that fade: the curve against a slow fit, the size of its test, the sets of what is said, and the decision."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize

import causalbench as cb
from causalbench.data.simulate import single_launch_panel, staggered_panel
from causalbench.decision.dynamics import FEWEST, dynamics, dynamics_of
from causalbench.decision.effects import MetricEffect
from causalbench.decision.recommendation import recommend
from causalbench.decision.verdict import judge
from causalbench.numerics.decay import decay_p_value, fit_decay, gap_covariance, smoothed_covariance

TIMES = np.arange(42.0)
STEPS = np.abs(np.subtract.outer(TIMES, TIMES))
COVARIANCE = 0.01**2 * 0.4**STEPS
TRUTH = 0.01 + 0.05 * 0.5 ** (TIMES / 7)


def drawn(mean, seed, *, covariance=COVARIANCE):
    return np.random.default_rng(seed).multivariate_normal(mean, covariance)


def test_curve_against_a_general_optimiser():
    effects, inverse = drawn(TRUTH, 1), np.linalg.inv(COVARIANCE)

    def loss(x):
        residual = effects - x[0] - x[1] * 0.5 ** (TIMES / math.exp(x[2]))
        return residual @ inverse @ residual

    slow = min(
        (
            minimize(
                loss, [0, 0.05, start], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-8, "maxiter": 4000}
            )
            for start in (0.5, 2.0, 3.5)
        ),
        key=lambda found: found.fun,
    )
    fits = fit_decay(effects, COVARIANCE, TIMES)
    assert fits.losses.min() == pytest.approx(slow.fun, abs=0.02)  # a grid: half-lives 5% apart
    assert math.log(fits.lives[fits.best]) == pytest.approx(slow.x[2], abs=0.05)
    assert fits.coefficients[fits.best].tolist() == pytest.approx(slow.x[:2].tolist(), abs=1e-3)


def test_profile_set_is_where_the_loss_grows_little():
    effects, inverse = drawn(TRUTH, 2), np.linalg.inv(COVARIANCE)
    fits = fit_decay(effects, COVARIANCE, TIMES)
    _, low, high = fits.profile(np.column_stack([np.ones(len(fits.lives)), np.zeros(len(fits.lives))]), level=0.95)
    limit = fits.losses.min() + stats.chi2.ppf(0.95, 1)

    def best(stays):
        losses = []
        for life in fits.lives:
            curve, rest = 0.5 ** (TIMES / life), effects - stays
            residual = rest - curve * (curve @ inverse @ rest) / (curve @ inverse @ curve)
            losses.append(residual @ inverse @ residual)
        return min(losses)

    for end in (low, high):
        assert best(end) == pytest.approx(limit, rel=1e-6)
    assert best((low + high) / 2) < limit


def test_fading_effect_is_described():
    found = dynamics(TRUTH, 1e-8 * np.eye(42), season=7, rng=np.random.default_rng(0), word="day")
    assert found.verdict == "fades"
    assert found.half_life.value == pytest.approx(7, rel=0.03)
    assert found.steady_state.value == pytest.approx(0.01, abs=5e-4)
    assert found.overstates.value == pytest.approx(TRUTH[:7].mean() - 0.01, abs=5e-4)
    assert found.settles_after == pytest.approx(7 * math.log2(10), rel=0.03)
    assert found.more_periods == 0
    assert "halved in" in found.sentence


def test_constant_effect_is_not_said_to_last():
    found = dynamics(drawn(np.full(42, 0.04), 3), COVARIANCE, rng=np.random.default_rng(0))
    assert found.verdict == "not shown"
    assert found.half_life is None
    assert "novelty isn't ruled out" in found.sentence


def test_growing_effect_has_no_half_life():
    found = dynamics(0.05 - 0.045 * 0.5 ** (TIMES / 7), 1e-8 * np.eye(42), rng=np.random.default_rng(0))
    assert found.verdict == "grows"
    assert found.half_life is None


def test_harm_that_fades_is_fading_too():
    found = dynamics(-TRUTH, 1e-8 * np.eye(42), rng=np.random.default_rng(0), season=7)
    assert found.verdict == "fades"
    assert found.steady_state.value == pytest.approx(-0.01, abs=5e-4)


def test_few_periods_are_not_evaluable():
    found = dynamics(TRUTH[: FEWEST - 1], COVARIANCE[: FEWEST - 1, : FEWEST - 1], rng=np.random.default_rng(0))
    assert (found.verdict, found.p_value) == ("not evaluable", None)


def test_half_life_beyond_the_time_observed_is_unbounded():
    slow = 0.01 + 0.05 * 0.5 ** (TIMES / 90)
    found = dynamics(slow, 1e-6 * np.eye(42), rng=np.random.default_rng(0))
    assert found.verdict == "fades"
    assert found.half_life.upper == math.inf
    assert found.to_dict()["half_life"]["upper"] is None
    assert found.more_periods > 0


def test_size_of_the_test_is_its_level():
    """1,000 draws at 10%, Monte Carlo error .0095."""
    rng, rejected = np.random.default_rng(6), 0
    for effects in rng.multivariate_normal(np.full(42, 0.03), COVARIANCE, 1000):
        fits = fit_decay(effects, COVARIANCE, TIMES)
        rejected += decay_p_value(fits, TIMES, COVARIANCE, n_draws=199, rng=rng) <= 0.1
    assert rejected / 1000 == pytest.approx(0.1, abs=3 * 0.0095)


def test_sets_cover_what_they_are_sets_of():
    """300 draws at 95%, Monte Carlo error .0126; profile likelihood, so nearly exact."""
    held = []
    for seed in range(300):
        fits = fit_decay(drawn(TRUTH, seed), COVARIANCE, TIMES)
        lives = fits.lives[fits.within(0.95)]
        _, low, high = fits.profile(np.column_stack([np.ones(120), np.zeros(120)]), level=0.95)
        held.append((lives[0] <= 7 * 1.03 and lives[-1] >= 7 / 1.03, low <= 0.01 <= high))
    assert np.mean(held, axis=0) == pytest.approx([0.95, 0.95], abs=0.04)


def test_gap_covariance_against_drawn_series():
    """Errors after a history of 60, about the history's own mean, with the autocorrelation known; 20,000 draws."""
    rng, rho, n_pre, n_post = np.random.default_rng(0), 0.5, 60, 5
    noise = rng.standard_normal((20_000, n_pre + 200 + n_post))
    for t in range(1, noise.shape[1]):
        noise[:, t] = rho * noise[:, t - 1] + math.sqrt(1 - rho**2) * noise[:, t]
    history, after = noise[:, :n_pre], noise[:, n_pre + 200 :]  # far apart: independent
    errors = after - history.mean(axis=1, keepdims=True)
    gaps = history - history.mean(axis=1, keepdims=True)
    # One standard error is added to the persistence, so take it off the truth.
    given = 0.5 - math.sqrt((1 - 0.38**2) / n_pre)
    found = np.mean([gap_covariance(gap, n_post=n_post, persistence=given) for gap in gaps[:2000]], axis=0)
    assert found == pytest.approx(np.cov(errors.T), abs=0.03)


def test_a_gap_that_was_fitted_to_is_widened_by_at_most_two():
    gap = np.random.default_rng(0).standard_normal(100)
    sizes = [gap_covariance(gap, n_post=3, persistence=0.0, n_fitted=k)[0, 0] for k in (0, 10, 40, 90)]
    assert sizes[0] < sizes[1] < sizes[2] <= sizes[3]
    assert sizes[3] == pytest.approx(2 * sizes[0])


def test_a_constant_misfit_before_the_launch_is_no_effect():
    """The gap of a unit outside its donors' hull is taken off, season by season."""
    estimate = cb.estimate(fading_panel(2), "synthetic-control", inference="placebo")
    path, week = estimate.path, np.resize([3.0, 1.0, 0.0, -1.0, 0.0, 2.0, 5.0], len(estimate.path.periods))
    moved = replace(estimate, path=replace(path, observed=path.observed + week, counterfactual=path.counterfactual))
    plain, shifted = (dynamics_of(one, season=7, rng=np.random.default_rng(0)) for one in (estimate, moved))
    assert shifted.effects == pytest.approx(plain.effects, abs=2e-3)
    assert shifted.verdict == plain.verdict


def test_smoothed_covariance_finds_the_noise_that_few_units_have():
    """Twenty units' sample covariance of 22 periods, less the period before: the smoothed one is nearer to the truth."""
    rng, times, rho = np.random.default_rng(1), np.arange(22.0), 0.5
    noise = rng.standard_normal((20, 23))
    for t in range(1, 23):
        noise[:, t] = rho * noise[:, t - 1] + math.sqrt(1 - rho**2) * noise[:, t]
    sample = np.cov((noise[:, 1:] - noise[:, :1]).T)
    since = rho ** (times + 1)
    truth = 1 + rho ** np.abs(np.subtract.outer(times, times)) - since[:, None] - since[None, :]
    found = smoothed_covariance(sample, times)
    shapes = [matrix / np.sqrt(np.outer(np.diag(matrix), np.diag(matrix))) for matrix in (found, sample, truth)]
    assert np.abs(shapes[0] - shapes[2]).mean() < 0.6 * np.abs(shapes[1] - shapes[2]).mean()
    assert np.linalg.eigvalsh(found)[0] > 0
    assert np.diag(found).mean() == pytest.approx(np.diag(sample).mean())


def test_a_season_in_the_effect_is_no_fading():
    """Minus 90% of an outcome with a week in it moves with the week; only its parts' sum to zero is taken out."""
    week = np.resize([0.3, 0.1, 0.0, -0.1, 0.0, -0.2, -0.1], 42)
    steady, covariance = drawn(np.full(42, 0.9), 8) + week, COVARIANCE
    found = dynamics(steady, covariance, season=7, seasonal=True, rng=np.random.default_rng(0))
    assert found.verdict == "not shown"
    assert dynamics(steady, covariance, season=7, rng=np.random.default_rng(0)).verdict != "not shown"
    fading = dynamics(drawn(TRUTH, 1) + week, covariance, season=7, seasonal=True, rng=np.random.default_rng(0))
    plain = dynamics(drawn(TRUTH, 1), covariance, season=7, seasonal=True, rng=np.random.default_rng(0))
    assert fading.half_life == plain.half_life
    assert fading.steady_state.value == pytest.approx(plain.steady_state.value)


def test_several_launch_dates_are_read_where_all_units_are():
    panel = staggered_panel(n_units=60, n_periods=50, launches=(20, 24, 28), n_never=40, effect=1.0, rho=0.3, seed=3)
    fading = replace(panel, outcome=panel.outcome + fading_cells(panel))
    estimate = cb.estimate(fading, "group-time")
    found = dynamics_of(estimate, season=1, rng=np.random.default_rng(0))
    assert found.scale == "absolute"
    assert len(found.times) == 50 - 28
    assert found.verdict == "fades"
    assert found.half_life.lower <= 4 <= found.half_life.upper


def fading_cells(panel):
    since = np.arange(50) - panel.first_treated[:, None]
    return np.where(since >= 0, 3.0 * 0.5 ** (np.maximum(since, 0) / 4), 0.0)


def fading_panel(seed):
    panel = single_launch_panel(n_post=42, effect=0.0, n_contaminated=0, holiday=0.0, seed=seed)
    outcome = panel.outcome.copy()
    outcome[0, panel.n_pre :] += outcome[0, : panel.n_pre].mean() * TRUTH
    return replace(panel, outcome=outcome)


def test_path_of_a_synthetic_control_tells_what_fades():
    estimate = cb.estimate(fading_panel(2), "synthetic-control", inference="placebo")
    found = dynamics_of(estimate, season=7, rng=np.random.default_rng(0), word="day")
    assert found.verdict == "fades"
    assert found.scale == "relative"
    assert found.half_life.lower <= 7 <= found.half_life.upper
    again = dynamics_of(estimate, season=7, rng=np.random.default_rng(0), word="day")
    assert found.to_dict() == again.to_dict()


def test_unsettled_effect_is_held_and_a_settled_one_is_not():
    win = judge(MetricEffect(metric="m", value=0.03, lower=0.02, upper=0.04, level=0.95))
    settled = dynamics(TRUTH, 1e-8 * np.eye(42), rng=np.random.default_rng(0))
    early = dynamics(TRUTH[:14], 1e-8 * np.eye(14), rng=np.random.default_rng(0))
    assert recommend(win, dynamics=settled).action == "ship"
    unclear = dynamics(0.2 * TRUTH, COVARIANCE, rng=np.random.default_rng(0))
    assert recommend(win, dynamics=unclear).action == ("hold" if unclear.verdict == "fades" else "ship")
    found = recommend(win, dynamics=early)
    assert (found.action, found.rule) == ("hold", "5 fading")
    assert early.more_periods == pytest.approx(7 * math.log2(10) - 14, abs=1.5)
