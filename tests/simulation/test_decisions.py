"""What decisions promise, over launches whose truth is known: error rates of claims, probabilities that mean what they say."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import causalbench as cb
from causalbench.data.simulate import factor_panel, single_launch_panel
from causalbench.decision.dynamics import dynamics_of
from causalbench.decision.effects import MetricEffect
from causalbench.decision.guardrails import guardrail, overall
from causalbench.decision.joint import joint_placebos
from causalbench.decision.recommendation import recommend
from causalbench.decision.value import Prior, Stake, net_value
from causalbench.decision.verdict import judge
from causalbench.estimators import CATALOGUE as ESTIMATORS

N_DRAWS = 20_000
QUANTILE = float(stats.norm.isf(0.025))


def seen(truth: float, error: float, rng: np.random.Generator) -> MetricEffect:
    value = truth + error * rng.standard_normal()
    reach = QUANTILE * error
    return MetricEffect(metric="m", value=value, lower=value - reach, upper=value + reach, level=0.95, std_error=error)


@pytest.mark.parametrize("truth", [-0.02, -0.01, 0.0, 0.004, 0.01, 0.03])
@pytest.mark.parametrize("error", [0.002, 0.005, 0.02])
def test_false_claims_of_all_kinds_stay_within_the_level(truth: float, error: float) -> None:
    """Better, worse, equivalent and worthwhile together: wrong at most 5%; 20,000 draws, Monte Carlo error .0015."""
    rng, size, wrong = np.random.default_rng(1), 0.01, 0
    for _ in range(N_DRAWS):
        found = judge(seen(truth, error, rng), worthwhile=size)
        false = {"better": truth <= 0, "worse": truth >= 0, "equivalent": abs(truth) >= size}.get(found.verdict, False)
        wrong += false or (bool(found.worthwhile_shown) and truth < size)
    assert wrong / N_DRAWS <= 0.05 + 3 * 0.0015


def test_harm_at_the_margin_passes_half_of_one_less_the_level() -> None:
    """2.5% on the margin, less beyond it; and with three guardrails on their margins still no more (intersection-union)."""
    rng, margin = np.random.default_rng(2), -0.02
    at, beyond, three = [], [], []
    for _ in range(N_DRAWS):
        at.append(guardrail(seen(margin, 0.006, rng), margin=margin).verdict == "pass")
        beyond.append(guardrail(seen(-0.03, 0.006, rng), margin=margin).verdict == "pass")
        every = [guardrail(seen(margin, 0.006, rng), margin=margin) for _ in range(3)]
        three.append(overall(every) == "pass")
    error = math.sqrt(0.025 * 0.975 / N_DRAWS)
    assert np.mean(at) == pytest.approx(0.025, abs=3 * error)
    assert np.mean(beyond) < 0.001
    assert np.mean(three) < 0.025


def test_nothing_ships_over_a_guardrail_more_often_than_promised() -> None:
    """However large the gain, harm on the margin ships at most 2.5% of the time."""
    rng, shipped = np.random.default_rng(3), 0
    for _ in range(N_DRAWS):
        harm = guardrail(seen(-0.02, 0.006, rng), margin=-0.02)
        shipped += recommend(judge(seen(0.2, 0.006, rng)), [harm]).action == "ship"
    assert shipped / N_DRAWS <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / N_DRAWS)


@pytest.mark.parametrize("degrees", [None, 4.0])
def test_probability_of_net_value_is_a_frequency_under_its_prior(degrees: float | None) -> None:
    """Launches drawn from the stated prior: of those given 60-70%, 60-70% are worth it. With a flat prior that isn't so."""
    rng, spread, error, cost = np.random.default_rng(4), 1.0, 1.0, 0.5
    n = 4000 if degrees is None else 800
    prior = Prior(mean=[0.0], spread=[spread], degrees=degrees, text="p")
    truths = spread * (
        rng.standard_normal(n) if degrees is None else stats.t.rvs(4, size=n, random_state=rng) / math.sqrt(2)
    )
    stated, flat = [], []
    for truth in truths:
        stake = Stake(
            effects=[truth + error * rng.standard_normal()],
            covariance=[[error**2]],
            per_unit=[1.0],
            units=1,
            horizon=1,
            cost=cost,
        )
        found = net_value(stake, prior)
        stated.append(found.probability)
        flat.append(found.probability_without_prior)
    worth = truths > cost
    for low in np.arange(0, 1, 0.2):
        inside = (np.array(stated) >= low) & (np.array(stated) < low + 0.2)
        mean = np.array(stated)[inside].mean()
        assert worth[inside].mean() == pytest.approx(mean, abs=4 * math.sqrt(0.25 / inside.sum()))
    sure = np.array(flat) > 0.8
    assert worth[sure].mean() < np.array(flat)[sure].mean() - 0.1


def test_expected_losses_are_the_losses_under_the_prior() -> None:
    """Mean regret of shipping and of dropping equals what is said beforehand; 20,000 launches."""
    rng, prior = np.random.default_rng(5), Prior(mean=[0.2], spread=[1.0], text="p")
    truths = 0.2 + rng.standard_normal(4000)
    said, happened = [], []
    for truth in truths:
        stake = Stake(
            effects=[truth + 0.7 * rng.standard_normal()],
            covariance=[[0.49]],
            per_unit=[1.0],
            units=1,
            horizon=1,
            cost=0.3,
        )
        found = net_value(stake, prior)
        said.append((found.loss_if_shipped, found.loss_if_dropped))
        happened.append((max(0.3 - truth, 0.0), max(truth - 0.3, 0.0)))
    gap = np.array(said) - np.array(happened)
    assert np.abs(gap.mean(axis=0)) == pytest.approx([0.0, 0.0], abs=4 * float(gap.std() / math.sqrt(len(gap))))


@pytest.mark.slow
def test_correlation_from_placebos_is_that_of_the_errors() -> None:
    """Errors of 400 panels against the mean of placebo correlations in 20 of them; Monte Carlo errors .026 and about .03."""
    did = ESTIMATORS.create("did", {})
    errors, found = [], []
    for seed in range(400):
        one, two = (
            factor_panel(n_units=30, n_periods=80, n_treated=5, n_post=10, effect=0.0, rho=0.4, seed=2 * seed + i)
            for i in (0, 1)
        )
        mixed = replace(one, outcome=10 + 0.8 * (one.outcome - 10) + 0.6 * (two.outcome - 10))
        errors.append((did.fit(one).effect, did.fit(mixed).effect))
        if seed < 20:
            joint = joint_placebos(
                {"a": one, "b": mixed}, {"a": did, "b": did}, n_placebos=300, rng=np.random.default_rng(seed)
            )
            found.append(joint.correlation[0, 1])
    truth = np.corrcoef(np.array(errors).T)[0, 1]
    assert np.mean(found) == pytest.approx(truth, abs=3 * math.hypot(0.026, np.std(found) / math.sqrt(len(found))))


@pytest.mark.slow
def test_fading_is_found_and_steadiness_is_left_alone() -> None:
    """Acceptance scenario A6 with its twins, 100 draws each: a constant effect is called changing in 5% and three errors."""
    times = np.arange(42)
    shapes = {"fades": 0.01 + 0.05 * 0.5 ** (times / 7), "constant": np.full(42, 0.04), "nothing": np.zeros(42)}
    shown = {}
    for name, shape in shapes.items():
        verdicts, held = [], []
        for seed in range(100):
            panel = single_launch_panel(n_post=42, effect=0.0, n_contaminated=0, holiday=0.0, seed=seed)
            outcome = panel.outcome.copy()
            outcome[0, panel.n_pre :] += outcome[0, : panel.n_pre].mean() * shape
            found = dynamics_of(
                cb.estimate(replace(panel, outcome=outcome), "synthetic-control", inference="placebo"),
                season=7,
                rng=np.random.default_rng(seed),
                word="day",
            )
            verdicts.append(found.verdict)
            if name == "fades" and found.half_life is not None:
                held.append(found.half_life.lower <= 7 <= found.half_life.upper)
        shown[name] = np.mean([verdict != "not shown" for verdict in verdicts])
        if held:  # of those shown to fade, as only they are given a half-life
            assert np.mean(held) >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / len(held))
    assert shown["fades"] >= 0.75
    assert max(shown["constant"], shown["nothing"]) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 100)
