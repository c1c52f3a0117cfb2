"""Interim looks: the spending function, the joint permutation of all looks, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.errors import DataError, RefusalError
from causalbench.estimators.causal_impact import CausalImpact
from causalbench.estimators.did import Did
from causalbench.estimators.synthetic_control import SyntheticControl
from causalbench.geo.monitoring import Monitoring, draws_needed, even_looks, monitor
from causalbench.geo.monitoring_power import power_of_looks
from causalbench.geo.split import Split
from causalbench.numerics.spending import (
    TANGENT,
    adjusted_p,
    allowed_stops,
    obrien_fleming,
    sequential_set,
    stop_looks,
)
from causalbench.values import rejects

QUARTERS = np.array([0.25, 0.5, 0.75, 1.0])
LOOKS = (7, 14, 21, 28)


def experiment(*, effect: float = 0.0, seed: int = 0, n_draws: int = 20_000, **more: Any) -> Monitoring:
    panel = factor_panel(n_units=40, n_periods=88, n_treated=20, n_post=28, effect=effect, rho=0.5, seed=seed)
    cells = panel.ever_treated.astype(int)
    draws = np.random.default_rng(seed).permuted(np.tile(cells, (n_draws, 1)), axis=1)
    options = {"start": 60, "looks": LOOKS, "level": 0.95, **more}
    return monitor(replace(panel, treated=np.zeros_like(panel.treated)), Split(cells=cells), draws, **options)


def test_spending_function_is_lan_and_demets() -> None:
    # 2 - 2 Phi(1.959964 / sqrt t): Lan, DeMets (1983), Biometrika 70, 659-663, their alpha_1*; values by the normal table:
    # Phi(3.919928) = .99995572, Phi(2.771808) = .99721283, Phi(2.263172) = .98818835.
    spent = obrien_fleming(QUARTERS, 0.05)
    assert spent == pytest.approx([8.857e-5, 5.574e-3, 2.3625e-2, 0.05], rel=2e-4)


def test_spending_goes_on_without_a_jump_above_its_own_range() -> None:
    assert obrien_fleming(QUARTERS, TANGENT + 1e-9) == pytest.approx(obrien_fleming(QUARTERS, TANGENT), abs=1e-8)
    assert obrien_fleming(QUARTERS, 1.0)[-1] == pytest.approx(1.0)
    assert obrien_fleming(QUARTERS, 0.0).tolist() == [0, 0, 0, 0]


def test_increments_of_every_look_grow_with_the_family_level() -> None:
    allowed = np.array([allowed_stops(QUARTERS, level, 10**6) for level in np.linspace(0, 1, 400)])
    assert (np.diff(allowed, axis=0) >= 0).all()


def slow_stops(sizes: np.ndarray, allowed: list[int]) -> list[int]:
    """Stop draw by draw, counting who is at least as extreme among those going on."""
    stopped = [sizes.shape[1]] * len(sizes)
    for k, count in enumerate(allowed):
        going = [d for d in range(len(sizes)) if stopped[d] == sizes.shape[1]]
        rank = {d: sum(sizes[e, k] >= sizes[d, k] for e in going) for d in going}
        for d in going:
            if rank[d] <= count:
                stopped[d] = k
    return stopped


@pytest.mark.parametrize("seed", range(5))
def test_stop_looks_counts_as_the_slow_way_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 25, size=(60, 4)).astype(float)
    allowed = np.array([1, 4, 9, 12])
    looks, _ = stop_looks(sizes, allowed)
    assert looks.tolist() == slow_stops(sizes, allowed.tolist())


def test_whoever_stops_at_one_level_stops_at_every_higher_one() -> None:
    rng = np.random.default_rng(3)
    sizes = np.abs(rng.normal(size=(400, 4)).cumsum(axis=1))
    before = np.zeros(400, dtype=bool)
    for level in np.linspace(0.001, 1, 300):
        now = stop_looks(sizes, allowed_stops(QUARTERS, level, 400))[0] < 4
        assert not (before & ~now).any()
        assert now.mean() <= level + 1e-9
        before = now


@pytest.mark.parametrize("seed", range(4))
def test_adjusted_p_is_the_smallest_level_that_stops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = np.abs(rng.normal(size=(300, 4)).cumsum(axis=1))
    sizes[0] += 2.0 * np.arange(4)
    p = adjusted_p(sizes, QUARTERS, planned=0.05)
    assert stop_looks(sizes, allowed_stops(QUARTERS, p, 300))[0][0] < 4
    assert stop_looks(sizes, allowed_stops(QUARTERS, p - 1e-6, 300))[0][0] == 4


def test_adjusted_p_is_one_where_only_every_draw_would_stop() -> None:
    sizes = np.ones((300, 4))
    assert adjusted_p(sizes, QUARTERS, planned=0.05) == 1.0


@pytest.mark.parametrize("seed", range(6))
def test_set_holds_what_a_dense_scan_keeps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    estimates = rng.normal(size=(500, 3)).cumsum(axis=1) / np.arange(1, 4)
    slopes = np.repeat(rng.uniform(-0.6, 0.6, size=(500, 1)), 3, axis=1)
    slopes[0], estimates[0] = 1.0, estimates[0] + 1.0
    allowed = np.array([2, 15, 40])
    segments = sequential_set(estimates, slopes, allowed, slack=1e-12)
    for effect in np.linspace(-8, 8, 801):
        kept = stop_looks(np.abs(estimates - slopes * effect), allowed)[0][0] == 3
        assert kept == any(low <= effect <= high for low, high in segments)


def test_effect_stops_early_and_later_data_play_no_part() -> None:
    whole = experiment(effect=1.0)
    assert whole.stop_look is not None
    assert whole.stop_look < 4
    assert whole.finished
    assert [look.stopped for look in whole.looks] == [False] * (whole.stop_look - 1) + [True]
    assert whole.n_unused == 28 - LOOKS[whole.stop_look - 1]
    assert f"Stop at look {whole.stop_look} of 4" in whole.sentences[0]
    panel = factor_panel(n_units=40, n_periods=88, n_treated=20, n_post=28, effect=1.0, rho=0.5, seed=0)
    cut = panel.only(periods=np.arange(88) < 60 + LOOKS[whole.stop_look - 1])
    cells = panel.ever_treated.astype(int)
    draws = np.random.default_rng(0).permuted(np.tile(cells, (20_000, 1)), axis=1)
    early = monitor(cut, Split(cells=cells), draws, start=60, looks=LOOKS, level=0.95)
    assert early.looks == whole.looks


def test_p_and_set_agree_at_every_look_and_the_error_is_within_what_is_spent() -> None:
    for seed, effect in ((0, 0.0), (1, 0.2), (2, 0.4)):
        found = experiment(effect=effect, seed=seed)
        for look in found.looks:
            assert rejects(look.p_value, 0.95) == look.stopped == (not look.interval.contains(0.0))
            assert look.share_stopped <= look.spent
            assert look.spent - look.share_stopped < look.number / 20_000
        assert found.family_error == found.looks[-1].share_stopped


def test_interim_says_go_on_and_names_the_next_look() -> None:
    panel = factor_panel(n_units=40, n_periods=75, n_treated=20, n_post=15, effect=0.0, rho=0.5, seed=5)
    cells = panel.ever_treated.astype(int)
    draws = np.random.default_rng(0).permuted(np.tile(cells, (20_000, 1)), axis=1)
    found = monitor(panel, Split(cells=cells), draws, start=60, looks=LOOKS, level=0.95)
    assert len(found.looks) == 2
    assert not found.finished
    assert found.n_unused == 1
    assert "next one is after 21 periods" in found.sentences[0]


def test_shifting_the_treated_shifts_the_set() -> None:
    null, moved = experiment(effect=0.0, seed=8), experiment(effect=0.02, seed=8)
    assert null.stop_look is moved.stop_look is None
    for (low, high), (low_moved, high_moved) in zip(
        null.looks[-1].interval.segments, moved.looks[-1].interval.segments, strict=True
    ):
        assert low_moved - low == pytest.approx(0.02, abs=1e-7)
        assert high_moved - high == pytest.approx(0.02, abs=1e-7)


def test_value_is_that_of_did_up_to_the_look() -> None:
    panel = factor_panel(n_units=40, n_periods=88, n_treated=20, n_post=28, effect=0.0, rho=0.5, seed=0)
    found = experiment()
    for look in found.looks:
        part = panel.only(periods=np.arange(88) < 60 + look.n_periods)
        fit = Did().fit(part)
        assert look.value == pytest.approx(fit.effect, abs=1e-12)
        without = part.outcome[:20, 60:].mean() - fit.effect
        assert look.rel_value == pytest.approx(fit.effect / without, abs=1e-12)


@pytest.mark.slow
def test_estimator_with_donor_weights_is_refitted_to_every_draw() -> None:
    panel = factor_panel(n_units=12, n_periods=34, n_treated=2, n_post=4, effect=3.0, rho=0.5, seed=0)
    cells = panel.ever_treated.astype(int)
    draws = np.random.default_rng(0).permuted(np.tile(cells, (20_000, 1)), axis=1)
    found = monitor(
        panel,
        Split(cells=cells),
        draws,
        start=30,
        looks=(4,),
        level=0.9,
        estimator=SyntheticControl(fixed_effects="unit"),
    )
    assert found.value == pytest.approx(SyntheticControl(fixed_effects="unit").fit(panel).effect, abs=1e-6)
    assert found.looks[0].interval.contains(found.value)


def test_cells_other_than_the_judged_one_stay_where_they_are() -> None:
    panel = factor_panel(n_units=30, n_periods=50, n_treated=10, n_post=10, effect=0.0, rho=0.5, seed=0)
    cells = np.repeat([1, 2, 0], 10)
    mine = np.where(cells == 2, 0, cells)[cells != 2]
    draws = np.tile(cells, (21_000, 1))
    draws[:, cells != 2] = np.random.default_rng(0).permuted(np.tile(mine, (21_000, 1)), axis=1)
    moved = np.random.default_rng(1).permuted(np.tile(cells, (500, 1)), axis=1)
    found = monitor(panel, Split(cells=cells), np.vstack([draws, moved]), start=40, looks=(5, 10), level=0.9, cell=1)
    assert found.n_draws == 21_001


@pytest.mark.parametrize(
    ("more", "says", "remedy"),
    [
        ({"n_draws": 5_000}, "5001 assignments, interim looks need at least 20,000", "draw at least 20,000"),
        ({"n_admissible": 924.0}, "the design admits 924 assignments", "randomize more markets"),
        ({"looks": (5, 10, 15, 20, 28), "n_admissible": 21_000.0}, "21000 assignments can't give", "fewer looks"),
        ({"looks": tuple(range(1, 29))}, "the first of 28 looks stops at p below", "fewer looks"),
        ({"looks": (5, 10, 15, 20, 28)}, "the first of 5 looks stops at p below", "draw 281"),
    ],
)
def test_what_interim_looks_cant_do_is_refused_with_counts(more: dict[str, Any], says: str, remedy: str) -> None:
    with pytest.raises(RefusalError) as caught:
        experiment(**more)
    assert says in caught.value.message
    assert remedy in caught.value.remedy or "later first one" in caught.value.remedy


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"looks": (14, 7)}, "looks must ascend"),
        ({"looks": ()}, "looks must ascend"),
        ({"looks": (30, 60)}, "the first look needs 30"),
        ({"start": 88}, "starts at period 88 of 88"),
        ({"cell": 3}, "no market in cell 3"),
    ],
)
def test_bad_plans_are_refused_by_name(more: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        experiment(**more)


def test_missing_outcomes_are_refused() -> None:
    panel = factor_panel(n_units=40, n_periods=88, n_treated=20, n_post=28, effect=0.0, rho=0.5, seed=0)
    outcome = panel.outcome.copy()
    outcome[3, 10] = math.nan
    cells = panel.ever_treated.astype(int)
    draws = np.random.default_rng(0).permuted(np.tile(cells, (20_000, 1)), axis=1)
    with pytest.raises(DataError, match="1 cells have no outcome"):
        monitor(replace(panel, outcome=outcome), Split(cells=cells), draws, start=60, looks=LOOKS, level=0.95)


def test_estimators_that_cant_be_refitted_are_refused() -> None:
    with pytest.raises(RefusalError, match="CausalImpact"):
        experiment(estimator=CausalImpact())


def test_evidence_is_plain() -> None:
    found = experiment().to_dict()
    assert found["looks"][0]["n_periods"] == 7
    assert found["uncertainty"]["p_value"] == found["looks"][-1]["p_value"]
    assert found["value"] == found["looks"][-1]["value"]


def test_draws_that_lack_markets_are_refused() -> None:
    panel: Panel = factor_panel(n_units=40, n_periods=88, n_treated=20, n_post=28, effect=0.0, rho=0.5, seed=0)
    cells = panel.ever_treated.astype(int)
    with pytest.raises(DataError, match="draws have shape"):
        monitor(panel, Split(cells=cells), np.zeros((10, 3), dtype=int), start=60, looks=LOOKS, level=0.95)


def test_looks_are_spread_evenly_and_the_first_look_says_how_many_draws_it_needs() -> None:
    assert even_looks(3, 10) == (4, 7, 10)
    assert draws_needed((1,), level=0.9) == 20_000
    assert draws_needed((7, 14, 21, 28), level=0.95, n_extreme=2) == math.ceil(2 / obrien_fleming(QUARTERS, 0.05)[0])
    with pytest.raises(RefusalError, match="5 looks don't fit"):
        even_looks(5, 3)


def test_power_of_looks_is_the_share_of_monitored_experiments_that_stop() -> None:
    panel = factor_panel(n_units=40, n_periods=88, n_treated=20, n_post=28, effect=0.0, rho=0.5, seed=3)
    history = replace(panel, treated=np.zeros_like(panel.treated))
    draws = np.random.default_rng(0).permuted(np.tile(panel.ever_treated.astype(int), (20_000, 1)), axis=1)
    (row,) = power_of_looks(history, draws, start=60, looks=LOOKS, level=0.95, effects=(0.4,), n_actual=20)
    stops = []
    for cells in draws[:20]:
        lifted = replace(history, outcome=history.outcome + 0.4 * (cells[:, None] == 1) * (np.arange(88) >= 60))
        stops.append(monitor(lifted, Split(cells=cells), draws, start=60, looks=LOOKS, level=0.95).stop_look or 5)
    assert row.stopped_by == tuple(np.mean(np.array(stops) <= k) for k in (1, 2, 3, 4))
    assert row.power == row.stopped_by[-1]
    assert row.mean_periods == pytest.approx(np.mean([7 * min(stop, 4) for stop in stops]))
    assert 0 < row.power <= row.fixed_power


def test_power_of_looks_needs_a_window_that_fits() -> None:
    panel = factor_panel(n_units=8, n_periods=20, n_treated=4, n_post=5, effect=0.0, rho=0.5, seed=3)
    with pytest.raises(DataError, match="doesn't fit"):
        power_of_looks(panel, np.zeros((3, 8), int), start=10, looks=(5, 11), level=0.9, effects=(0.0,))
