"""Several questions of one experiment: adjusted p-values and the sets that agree with them."""

from __future__ import annotations

import numpy as np
import pytest

from causalbench.data.simulate import factor_panel
from causalbench.estimators.did import Did
from causalbench.geo.multiplicity import Contrast, bonferroni, each_cell, each_pair, holm, max_t
from causalbench.geo.randomization import Drawn, drawn_effects, inverted
from causalbench.values import rejects

ACTUAL = np.repeat([0, 1, 2, 3], 6)


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    panel = factor_panel(n_units=24, n_periods=40, n_treated=6, n_post=8, effect=0.0, rho=0.5, seed=2)
    outcome = panel.outcome.copy()
    outcome[:, panel.n_pre :] += np.array([0.0, 0.4, 0.0, 1.5])[ACTUAL][:, None]
    moved = type(panel)(outcome=outcome, treated=panel.treated, units=panel.units, periods=panel.periods)
    rng = np.random.default_rng(0)
    draws = np.array([rng.permutation(ACTUAL) for _ in range(499)])
    return drawn_effects(Did(), moved.assigned_to(ACTUAL > 0, start=panel.n_pre), draws, actual=ACTUAL)


def slow_adjusted(drawn: Drawn, contrasts: tuple[Contrast, ...], q: int, value: float) -> float:
    """Take the hypothetical effects off every draw and compare the largest standardised statistic."""
    estimates, weights = drawn.estimates, np.stack([c.weights for c in contrasts])
    spread = np.sqrt((((drawn.effects - drawn.slopes @ estimates) @ weights.T) ** 2).mean(axis=0))
    effects = estimates + contrasts[q].move * (value - contrasts[q].weights @ estimates)
    statistics = np.abs((drawn.effects - drawn.slopes @ effects) @ weights.T) / spread
    n, n_cells = drawn.n_units, len(estimates)
    statistics[1:] *= np.sqrt((n - 1) / (n - n_cells))
    return float((statistics.max(axis=1) >= statistics[0, q] - 1e-9).mean())


@pytest.mark.parametrize("family", [each_cell, each_pair])
def test_adjusted_set_is_where_the_adjusted_test_does_not_reject(drawn: Drawn, family: object) -> None:
    contrasts = family(("a", "b", "c"))  # type: ignore[operator]
    found = max_t(drawn, contrasts, level=0.9)
    for q, (contrast, one) in enumerate(zip(contrasts, found, strict=True)):
        assert one.p_value == pytest.approx(slow_adjusted(drawn, contrasts, q, 0.0))
        assert rejects(one.p_value, 0.9) != one.interval.contains(0.0)
        for value in contrast.weights @ drawn.estimates + np.linspace(-3, 3, 13):
            assert rejects(slow_adjusted(drawn, contrasts, q, value), 0.9) != one.interval.contains(value)


def test_adjusting_makes_p_larger_and_sets_wider(drawn: Drawn) -> None:
    contrasts = each_cell(("a", "b", "c"))
    for contrast, joint in zip(contrasts, max_t(drawn, contrasts, level=0.9), strict=True):
        alone = inverted(drawn, contrast.weights, contrast.move, level=0.9)
        assert joint.p_value >= alone.p_value
        assert joint.interval.lower < alone.interval.lower < alone.interval.upper < joint.interval.upper


def test_a_large_effect_is_found(drawn: Drawn) -> None:
    large = max_t(drawn, each_cell(("a", "b", "c")), level=0.9)[2]
    assert rejects(large.p_value, 0.9)
    assert large.interval.contains(float(drawn.estimates[2]))


def test_a_family_of_one_is_the_test_alone() -> None:
    panel = factor_panel(n_units=10, n_periods=30, n_treated=5, n_post=6, effect=0.5, rho=0.3, seed=4)
    actual, rng = panel.ever_treated.astype(int), np.random.default_rng(1)
    drawn = drawn_effects(Did(), panel, np.array([rng.permutation(actual) for _ in range(99)]), actual=actual)
    one = np.ones(1)
    (joint,), alone = max_t(drawn, each_cell(("a",)), level=0.9), inverted(drawn, one, one, level=0.9)
    assert joint.p_value == alone.p_value
    assert np.allclose(joint.interval.segments, alone.interval.segments, rtol=1e-9)


def test_holm_and_bonferroni() -> None:
    # Holm (1979), by hand: 4 x .01, 3 x .015, then never below the step before: 2 x .02, 1 x .9.
    assert holm([0.02, 0.01, 0.9, 0.015]) == pytest.approx((0.045, 0.04, 0.9, 0.045))
    assert bonferroni(0.4, 3) == 1.0


def test_a_move_that_does_not_change_the_contrast_by_one_is_refused() -> None:
    with pytest.raises(ValueError, match="by one"):
        Contrast(name="x", weights=np.array([1.0, 0.0]), move=np.array([0.0, 1.0]))
