"""Net value: closed forms against draws, the prior's part, and what waiting is worth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from causalbench.decision.value import Prior, Stake, error_left, net_value, prior_text
from causalbench.numerics.expected_loss import expected_gain, gain_after_more, heavy_tailed_belief

FLAT = Prior(mean=[0.0], spread=[math.inf], text="none")


def stake(effect=2.0, error=1.0, **more):
    return Stake(
        **{
            "effects": [effect],
            "covariance": [[error**2]],
            "per_unit": [3.0],
            "units": 4,
            "horizon": 10,
            "cost": 50.0,
            "running_cost": 2.0,
            "baseline": 40.0,
            **more,
        }
    )


def test_flat_prior_is_the_normal_law_of_the_estimate():
    found = net_value(stake(), FLAT, level=0.9)
    value, error = 3 * 4 * 10 * 2.0 - 50 - 20, 120.0  # worth times units times periods, less cost and running cost
    assert (found.estimate, found.expected) == (value, pytest.approx(value))
    assert found.probability == pytest.approx(stats.norm.cdf(value / error))
    assert (found.lower, found.upper) == pytest.approx(stats.norm.interval(0.9, value, error))
    assert found.probability == found.probability_without_prior
    assert found.break_even == pytest.approx(70 / 120)
    assert found.rel_break_even == pytest.approx(70 / 120 / 40)


def test_normal_prior_against_quadrature():
    prior = Prior(mean=[0.5], spread=[0.8], text="p")
    density = lambda t: stats.norm.pdf(t, 0.5, 0.8) * stats.norm.pdf(2.0, t, 1.0)  # noqa: E731
    total = integrate.quad(density, -10, 10)[0]
    found = net_value(stake(), prior)
    assert found.probability == pytest.approx(integrate.quad(density, 70 / 120, 10)[0] / total, abs=1e-9)
    worth = lambda t: density(t) * max(120 * t - 70, 0) / total  # noqa: E731
    lost = lambda t: density(t) * max(70 - 120 * t, 0) / total  # noqa: E731
    assert found.loss_if_dropped == pytest.approx(integrate.quad(worth, 70 / 120, 10)[0], rel=1e-8)
    assert found.loss_if_shipped == pytest.approx(integrate.quad(lost, -10, 70 / 120)[0], rel=1e-8)


def test_heavy_tails_against_quadrature_and_towards_the_normal():
    prior = Prior(mean=[0.0], spread=[0.8], degrees=4.0, text="t")
    scale = 0.8 / math.sqrt(2)
    density = lambda t: stats.t.pdf(t / scale, 4) * stats.norm.pdf(2.0, t, 1.0)  # noqa: E731
    total = integrate.quad(density, -15, 20)[0]
    found = net_value(stake(), prior)
    assert found.probability == pytest.approx(integrate.quad(density, 70 / 120, 20)[0] / total, abs=2e-3)
    mean = integrate.quad(lambda t: t * density(t), -15, 20)[0] / total
    assert found.expected == pytest.approx(120 * mean - 70, rel=1e-4)
    thin = net_value(stake(), Prior(mean=[0.0], spread=[0.8], degrees=1000.0, text="t"))
    normal = net_value(stake(), Prior(mean=[0.0], spread=[0.8], text="n"))
    assert thin.expected == pytest.approx(normal.expected, abs=0.5)
    assert thin.loss_if_shipped == pytest.approx(normal.loss_if_shipped, rel=0.01)


@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1.0, 1e3])
def test_heavy_tails_resolve_priors_of_any_width(scale):
    belief = heavy_tailed_belief(2.0, 1.0, mean=0.0, scale=scale, degrees=200.0)
    expected = 2.0 * scale**2 / (1 + scale**2)
    assert belief.mean == pytest.approx(expected, rel=0.02)


def test_two_metrics_against_draws():
    covariance = np.array([[1.0, 0.6], [0.6, 4.0]])
    two = stake(effects=[2.0, -3.0], covariance=covariance, per_unit=[3.0, 1.5])
    prior = Prior(mean=[0.0, 0.0], spread=[1.5, 2.0], text="p")
    precision = np.linalg.inv(covariance) + np.diag([1 / 1.5**2, 1 / 2.0**2])
    after = np.linalg.inv(precision)
    mean = after @ np.linalg.inv(covariance) @ np.array([2.0, -3.0])
    draws = np.random.default_rng(1).multivariate_normal(mean, after, 200_000) @ np.array([120.0, 60.0]) - 70
    found = net_value(two, prior)
    assert found.expected == pytest.approx(draws.mean(), abs=4 * draws.std() / math.sqrt(200_000))
    assert found.probability == pytest.approx((draws > 0).mean(), abs=0.005)
    assert found.break_even == pytest.approx((70 - 60 * mean[1]) / 120)


def test_metrics_of_different_size_do_not_drown_each_other():
    """Covariances that span 18 orders of magnitude are the same question in other units."""
    prior = Prior(mean=[0.0, 0.0], spread=[1.5, 2.0], text="p")
    plain = net_value(stake(effects=[2.0, -3.0], covariance=[[1.0, 0.6], [0.6, 4.0]], per_unit=[3.0, 1.5]), prior)
    units = np.array([1e6, 1e-3])
    moved = stake(
        effects=np.array([2.0, -3.0]) * units,
        covariance=np.array([[1.0, 0.6], [0.6, 4.0]]) * np.outer(units, units),
        per_unit=np.array([3.0, 1.5]) / units,
    )
    scaled = net_value(moved, Prior(mean=[0.0, 0.0], spread=np.array([1.5, 2.0]) * units, text="p"))
    assert scaled.expected == pytest.approx(plain.expected, rel=1e-9)
    assert scaled.probability == pytest.approx(plain.probability, rel=1e-9)


def test_a_metric_without_a_prior_stays_at_its_estimate():
    prior = Prior(mean=[0.0, 0.0], spread=[math.inf, math.inf], text="none")
    found = net_value(stake(effects=[2.0, -3.0], covariance=[[1.0, 0.6], [0.6, 4.0]], per_unit=[3.0, 1.5]), prior)
    assert found.expected == pytest.approx(found.estimate)
    assert found.spread == pytest.approx(found.std_error)


def simulated_wait(effect, error, spread, left, more, *, n=400_000):
    """Draw the truth given the data, then the data to come, then the better decision; the slow and obvious way."""
    rng = np.random.default_rng(5)
    weight = spread**2 / (spread**2 + error**2)
    truth = rng.normal(weight * effect, math.sqrt(weight) * error, n)
    new_error = error * math.sqrt(left / (1 - left))
    seen = truth + new_error * rng.standard_normal(n)
    v = weight * error**2
    believed = (weight * effect / v + seen / new_error**2) / (1 / v + 1 / new_error**2)
    slope, cost = 3 * 4 * (10 - more), 50 + 2 * (10 - more)
    gain = np.where(slope * believed - cost > 0, slope * truth - cost, 0.0)
    return gain.mean(), gain.std() / math.sqrt(n), np.mean(slope * believed - cost > 0)


@pytest.mark.parametrize(("effect", "left", "more"), [(0.8, 0.5, 2), (0.3, 0.3, 4), (1.5, 0.7, 1)])
def test_value_of_waiting_against_draws(effect, left, more):
    prior = Prior(mean=[0.0], spread=[1.2], text="p")
    found = net_value(stake(effect=effect), prior, waits={more: left}, wait_cost=3.0)
    mean, error, ships = simulated_wait(effect, 1.0, 1.2, left, more)
    now = max(found.expected, 0.0)
    assert found.waiting[0].value == pytest.approx(mean - now - 3.0 * more, abs=4 * error)
    assert found.waiting[0].changes == pytest.approx(1 - ships if now > 0 else ships, abs=0.005)


def test_waiting_with_heavy_tails_agrees_with_the_normal_where_they_are_thin():
    thin = Prior(mean=[0.0], spread=[1.2], degrees=1000.0, text="t")
    normal = Prior(mean=[0.0], spread=[1.2], text="p")
    a, b = (net_value(stake(effect=0.8), prior, waits={2: 0.5}) for prior in (thin, normal))
    assert a.waiting[0].value == pytest.approx(b.waiting[0].value, abs=0.3)
    assert a.waiting[0].changes == pytest.approx(b.waiting[0].changes, abs=0.01)


def test_waiting_is_worth_nothing_when_it_teaches_nothing_or_outlasts_the_horizon():
    prior = Prior(mean=[0.0], spread=[1.2], text="p")
    found = net_value(stake(effect=0.3, cost=50.0, running_cost=0.0), prior, waits={1: 1.0, 10: 0.2, 12: 0.1})
    assert [wait.value <= 0 for wait in found.waiting] == [True, True, True]
    assert found.best_wait is None


def test_information_never_costs_by_itself():
    """Without delay or cost of waiting, knowing more is worth at least nothing (Raiffa and Schlaifer 1961)."""
    rng = np.random.default_rng(2)
    for _ in range(200):
        mean, spread = rng.normal(0, 2), rng.exponential()
        assert expected_gain(mean, spread) >= max(mean, 0.0)
    belief = heavy_tailed_belief(0.4, 1.0, mean=0.0, scale=1.0, degrees=3.0)
    gains = [gain_after_more(belief, slope=1.0, cost=0.1, new_error=error)[0] for error in (8.0, 2.0, 0.5, 0.1)]
    assert gains == sorted(gains)
    assert gains[0] >= max(belief.mean - 0.1, 0.0) - 1e-6
    assert gains[-1] <= belief.gain(1.0, 0.1) + 1e-6


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_error_left_against_drawn_series(rho):
    rng = np.random.default_rng(3)
    n_pre, n_post, more, n = 60, 10, 20, 20_000
    noise = rng.standard_normal((n, n_pre + 400 + n_post + more))
    for t in range(1, noise.shape[1]):
        noise[:, t] = rho * noise[:, t - 1] + math.sqrt(1 - rho**2) * noise[:, t]
    history = noise[:, :n_pre].mean(axis=1)
    after = noise[:, n_pre + 400 :]  # far enough away to be independent of the history
    now, then = (np.var(after[:, :k].mean(axis=1) - history) for k in (n_post, n_post + more))
    assert error_left(n_pre=n_pre, n_post=n_post, more=more, persistence=rho) == pytest.approx(then / now, rel=0.04)


def test_what_the_history_does_not_know_stays():
    assert error_left(n_pre=10, n_post=10, more=10**9, persistence=0.0) == pytest.approx(0.5)


def test_verdict_follows_ship_if():
    words = [net_value(stake(effect=effect), FLAT, ship_if=0.8).verdict for effect in (-2.0, 0.7, 3.0)]
    assert words == ["not worth it", "open", "worth it"]


def test_prior_is_stated_in_the_sentence():
    text = prior_text([0.0], [0.02], None, "40 past launches")
    found = net_value(stake(), Prior(mean=[0.0], spread=[0.8], text=text))
    assert text in found.sentence
    assert found.prior == text
    assert found.to_dict()["by_prior"][1] == [1.0, found.probability]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: stake(covariance=[[0.0]]), "without a finite error"),
        (lambda: stake(covariance=[[math.inf]]), "without a finite error"),
        (lambda: stake(units=0), "hold no value"),
        (lambda: Prior(mean=[0.0], spread=[0.0], text=""), "must be positive"),
        (lambda: Prior(mean=[0.0], spread=[math.inf], degrees=4.0, text=""), "heavy tails"),
        (lambda: net_value(stake(), FLAT, waits={2: 0.0}), "leaves 0.0 of the error"),
    ],
)
def test_what_has_no_answer_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
