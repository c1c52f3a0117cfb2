"""The refined placebo test against fitting every triple, its guarantee, and ranks by the size of effects."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.errors import RefusalError
from causalbench.estimators import Did, SyntheticControl
from causalbench.inference import PlaceboRank, RefinedPlacebo
from causalbench.inference.refined_placebo import size_bound
from causalbench.values import Uncertainty, rejects

LEVELS = pytest.mark.parametrize("level", [0.7, 0.8, 0.9])


def simulated(*, n_units: int = 9, n_treated: int = 1, seed: int = 0, effect: float = 1.0) -> Panel:
    return factor_panel(n_units=n_units, n_periods=24, n_treated=n_treated, n_post=5, effect=effect, rho=0.3, seed=seed)


def without(panel: Panel, effect: float) -> Panel:
    return replace(panel, outcome=panel.outcome - effect * panel.treated)


def infer(inference: Any, panel: Panel, *, level: float = 0.9, estimator: Any = None) -> Uncertainty:
    estimator = estimator or SyntheticControl()
    found = inference.infer(estimator, panel, estimator.fit(panel), level=level, rng=np.random.default_rng(0))
    assert isinstance(found, Uncertainty)
    return found


def ratio(panel: Panel, unit: int, left_out: tuple[int, ...], estimator: Any) -> float:
    kept = np.array([i == unit or i not in left_out for i in range(len(panel.units))])
    chosen = np.flatnonzero(kept) == unit
    gap = estimator.fit(panel.only(units=kept).assigned_to(chosen, start=panel.n_pre)).path.effect
    return math.sqrt(float((gap[panel.n_pre :] ** 2).mean() / (gap[: panel.n_pre] ** 2).mean()))


def lost_pairs(panel: Panel, estimator: Any) -> tuple[int, int]:
    """Fit every triple one by one, and count how often the treated isn't the largest."""
    (treated,) = np.flatnonzero(panel.ever_treated)
    lost = total = 0
    for pair in itertools.combinations([i for i in range(len(panel.units)) if i != treated], 2):
        triple = (int(treated), *pair)
        own, *others = (ratio(panel, unit, triple, estimator) for unit in triple)
        lost, total = lost + (own <= max(others)), total + 1
    return lost, total


@LEVELS
@pytest.mark.parametrize(("n_units", "fixed_effects"), [(8, "none"), (7, "unit")])
def test_refined_set_is_what_fitting_every_triple_gives(level: float, n_units: int, fixed_effects: Any) -> None:
    panel, estimator = simulated(n_units=n_units, seed=n_units), SyntheticControl(fixed_effects=fixed_effects)
    found = infer(RefinedPlacebo(), panel, level=level, estimator=estimator)
    lost, total = lost_pairs(panel, estimator)
    assert (found.detail["n_lost"], found.detail["n_pairs"]) == (lost, total)
    assert found.p_value == (1 + lost) / (1 + total)
    assert found.interval is not None
    for tau in estimator.fit(panel).effect + np.linspace(-5, 5, 9) + 1e-3:
        lost, _ = lost_pairs(without(panel, tau), estimator)
        assert found.interval.contains(tau) != rejects((1 + lost) / (1 + total), level), f"effect {tau}"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("alpha", [0.02, 0.1, 0.2])
def test_no_more_units_than_guaranteed_reject_when_each_is_treated_in_turn(seed: int, alpha: float) -> None:
    panel = simulated(n_units=10, seed=seed, effect=0.0)
    n_units = len(panel.units)
    found = [
        infer(RefinedPlacebo(), panel.assigned_to(np.arange(n_units) == unit, start=panel.n_pre)).p_value
        for unit in range(n_units)
    ]
    assert sum(p <= alpha for p in found if p is not None) <= round(size_bound(n_units, alpha) * n_units)


@pytest.mark.parametrize(("n_units", "alpha"), [(39, 0.05), (39, 0.1), (17, 0.05), (12, 0.1), (100, 0.02)])
def test_size_bound_is_the_root_of_its_inequality(n_units: int, alpha: float) -> None:
    # Summing up: s units lose at least 2 C(s, 3) + C(s, 2) (N - s) comparisons among each other, in all at most s times
    # alpha C(N - 1, 2); as a quadratic in s, s^2 - (3 N - 3) s + 3 N - 4 + 3 alpha (N - 1) (N - 2) >= 0.
    b, c = 3 * n_units - 3, 3 * n_units - 4 + 3 * alpha * (n_units - 1) * (n_units - 2)
    root = (b - math.sqrt(b**2 - 4 * c)) / 2
    assert size_bound(n_units, alpha) == math.floor(root + 1e-9) / n_units
    # Lei, Sudijono (2024): for usual levels it is that of the placebo rank, (floor(N alpha) + 1) / N, or smaller.
    assert size_bound(n_units, alpha) <= (math.floor(n_units * alpha) + 1) / n_units


def test_a_size_above_the_level_is_said() -> None:
    found = infer(RefinedPlacebo(), simulated(n_units=12), level=0.95)
    (warning,) = [warning for warning in found.warnings if "guarantee" in warning]
    assert warning.startswith("12 units guarantee this test a size of 0.0833, not of 0.05")  # 1 of 12
    assert found.detail["size_bound"] == 1 / 12
    assert found.detail["smallest_p"] == 1 / 56  # 11 donors make 55 pairs


def test_refined_placebo_refuses_what_it_is_not_about() -> None:
    with pytest.raises(RefusalError, match="one treated unit, the data have 2") as refusal:
        infer(RefinedPlacebo(), simulated(n_treated=2))
    assert "placebo-rank" in refusal.value.remedy
    with pytest.raises(RefusalError, match="4 donors are too few to leave two out"):
        infer(RefinedPlacebo(), simulated(n_units=5))
    with pytest.raises(RefusalError, match="no donor weights"):
        infer(RefinedPlacebo(), simulated(), estimator=Did())


def test_refined_placebo_of_a_perfect_fit_is_not_computed() -> None:
    panel = simulated()
    outcome = panel.outcome.copy()
    outcome[0, : panel.n_pre] = outcome[3, : panel.n_pre]
    found = infer(RefinedPlacebo(), replace(panel, outcome=outcome))
    assert (found.interval, found.p_value) == (None, None)


def test_refined_placebo_with_twin_donors_counts_their_perfect_fits_as_extreme() -> None:
    panel = simulated(n_units=8, effect=30.0)
    outcome = panel.outcome.copy()
    outcome[5, : panel.n_pre] = outcome[6, : panel.n_pre]
    found = infer(RefinedPlacebo(), replace(panel, outcome=outcome))
    # Twins fit each other perfectly, unless both are left out: 2 x 5 of 21 pairs hold one of them.
    assert found.detail["n_lost"] == 10


def test_refined_placebo_of_an_erratic_gap_is_empty() -> None:
    panel = simulated(n_units=12)
    swings = np.array([80.0, -80.0, 80.0, -80.0, 0.0])
    outcome = panel.outcome.copy()
    outcome[0, panel.n_pre :] += swings
    found = infer(RefinedPlacebo(), replace(panel, outcome=outcome))
    assert found.interval is not None
    assert found.interval.empty
    assert found.warnings[0].startswith("misfit")


def effect_p_value(panel: Panel, effect: float) -> float:
    """Take the effect off, fit every group one by one, and rank the sizes of average effects."""
    null, n_treated = without(panel, effect), len(panel.treated_units)
    pool = null.only(units=~panel.ever_treated) if n_treated == 1 else null
    sizes = []
    for group in itertools.combinations(range(len(pool.units)), n_treated):
        placebo = pool.assigned_to(np.isin(np.arange(len(pool.units)), group), start=panel.n_pre)
        sizes.append(abs(SyntheticControl().fit(placebo).effect))
    own = abs(SyntheticControl().fit(null).effect)
    if n_treated > 1:
        return sum(size >= own * (1 - 1e-9) for size in sizes) / len(sizes)
    return (1 + sum(size >= own for size in sizes)) / (1 + len(sizes))


@LEVELS
@pytest.mark.parametrize(("n_units", "n_treated"), [(14, 1), (7, 2)])
def test_ranks_of_effects_are_what_ranking_at_each_effect_gives(level: float, n_units: int, n_treated: int) -> None:
    panel = simulated(n_units=n_units, n_treated=n_treated, seed=2)
    found = infer(PlaceboRank(statistic="effect"), panel, level=level)
    assert found.p_value == pytest.approx(effect_p_value(panel, 0.0), abs=1e-12)
    assert found.interval is not None
    for tau in SyntheticControl().fit(panel).effect + np.linspace(-5, 5, 17) + 1e-3:
        assert found.interval.contains(tau) != rejects(effect_p_value(panel, tau), level), f"effect {tau}"


def test_ranks_of_effects_stand_a_perfect_fit_and_swings() -> None:
    panel = simulated(n_units=12, effect=0.0)
    outcome = panel.outcome.copy()
    outcome[0, : panel.n_pre] = outcome[3, : panel.n_pre]
    outcome[0, panel.n_pre :] = outcome[3, panel.n_pre :] + np.array([80.0, -80.0, 80.0, -80.0, 0.0])
    found = infer(PlaceboRank(statistic="effect"), replace(panel, outcome=outcome))
    assert found.p_value == 1.0  # swings average out to nothing, so every donor's effect is larger
