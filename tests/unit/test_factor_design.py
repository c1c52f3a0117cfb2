"""Designs fitted to a panel: what was put in must come out."""

from __future__ import annotations

import numpy as np
import pytest

from causalbench.data.factor_design import FactorDesign
from causalbench.values import BoolArray, FloatArray


def series_and_treated() -> tuple[FloatArray, BoolArray]:
    """Draw one factor with AR(2) noise, and units treated by their loading."""
    rng = np.random.default_rng(0)
    n_units, n_periods = 60, 50
    noise = rng.normal(size=(n_units, n_periods + 50))
    for t in range(2, n_periods + 50):
        noise[:, t] += 0.6 * noise[:, t - 1] - 0.3 * noise[:, t - 2]
    loadings = rng.normal(size=n_units)
    outcome = 5 + 20 * np.outer(loadings, rng.normal(size=n_periods)) + noise[:, 50:]
    return outcome, rng.random(n_units) < 1 / (1 + np.exp(-loadings))


@pytest.fixture(scope="module")
def design() -> FactorDesign:
    return FactorDesign.of(*series_and_treated(), rank=1)


def test_noise_has_the_autoregression_that_made_it(design: FactorDesign) -> None:
    assert design.autoregression == pytest.approx((0.6, -0.3), abs=0.06)


def test_additive_part_is_a_sum_of_unit_and_period_effects(design: FactorDesign) -> None:
    part = design.additive
    interaction = part - part.mean(axis=1, keepdims=True) - part.mean(axis=0) + part.mean()
    np.testing.assert_allclose(interaction, 0, atol=1e-12)


def test_probabilities_solve_the_score_equations(design: FactorDesign) -> None:
    outcome, treated = series_and_treated()
    factor = np.linalg.svd(outcome - outcome.mean())[0][:, 0]
    missing = treated - design.propensity
    assert missing.sum() == pytest.approx(0, abs=1e-8)
    assert missing @ factor == pytest.approx(0, abs=1e-8)


def test_at_most_the_cap_is_treated(design: FactorDesign) -> None:
    rng = np.random.default_rng(1)
    counts = [design.draw(most_treated=4, n_post=5, rng=rng).n_treated for _ in range(50)]
    assert max(counts) == 4


def test_draws_scatter_about_the_signal(design: FactorDesign) -> None:
    rng = np.random.default_rng(2)
    draws = [design.draw(most_treated=4, n_post=5, rng=rng).outcome - design.signal for _ in range(200)]
    found = np.mean([draw.T @ draw / len(draw) for draw in draws], axis=0)
    np.testing.assert_allclose(found, design.noise, atol=0.05 * design.noise[0, 0])
