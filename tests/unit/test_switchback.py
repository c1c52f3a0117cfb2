"""Switchback schedules, their power under carry-over, and the readout's randomization test."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.errors import DataError, RefusalError
from causalbench.geo.switchback import (
    SwitchbackDesign,
    paired,
    relative_outcome,
    schedule_digest,
    schedule_of,
)
from causalbench.geo.switchback_power import candidates, choose, switchback_power
from causalbench.geo.switchback_readout import SwitchbackResult, analyse_schedule
from causalbench.numerics.schedules import (
    balanced_rows,
    carry_over_weights,
    contrast_weights,
    draw_balanced,
    exposure_map,
    most_extreme,
    n_balanced,
)
from causalbench.values import rejects


def design_of(n_units: int = 6, block: int = 4, n_blocks: int = 6, washout: int = 1) -> SwitchbackDesign:
    return SwitchbackDesign(pairs=np.arange(n_units) // 2, block=block, n_blocks=n_blocks, washout=washout)


def history(n_units: int = 6, n_periods: int = 60, seed: int = 0) -> Panel:
    panel = factor_panel(n_units=n_units, n_periods=n_periods, n_treated=1, n_post=1, effect=0.0, rho=0.5, seed=seed)
    return replace(panel, treated=np.zeros_like(panel.treated))


def run(
    effect: float,
    *,
    carry_over: float = 0.0,
    seed: int = 0,
    level: float = 0.9,
    n_units: int = 10,
    block: int = 7,
    washout: int = 1,
) -> SwitchbackResult:
    """Read out one simulated switchback of eight blocks after 28 periods."""
    design = design_of(n_units=n_units, block=block, n_blocks=8, washout=washout)
    schedule = design.draws(1, rng=np.random.default_rng(seed))[0]
    panel = history(n_units=n_units, n_periods=28 + design.n_periods, seed=seed)
    on = np.repeat(schedule, block, axis=1).astype(float)
    exposure = np.zeros_like(on)
    last = np.zeros(n_units)
    for t in range(on.shape[1]):
        last = carry_over * last + (1 - carry_over) * on[:, t]
        exposure[:, t] = last
    outcome = panel.outcome.copy()
    outcome[:, 28:] += effect * exposure
    return analyse_schedule(
        replace(panel, outcome=outcome, additive=False),
        design,
        schedule,
        start=28,
        level=level,
        rng=np.random.default_rng(1),
    )


@pytest.mark.parametrize("n_blocks", [2, 3, 4, 5, 8])
def test_balanced_rows_are_those_that_counting_finds(n_blocks: int) -> None:
    found = {
        row
        for row in itertools.product((False, True), repeat=n_blocks)
        if sum(row) in {n_blocks // 2, (n_blocks + 1) // 2}
    }
    rows = balanced_rows(n_blocks)
    assert {tuple(row) for row in rows.tolist()} == found
    assert len(rows) == n_balanced(n_blocks) == len(found)


@pytest.mark.parametrize("n_blocks", [4, 5])
def test_draws_are_uniform_over_the_balanced_rows(n_blocks: int) -> None:
    rows = draw_balanced(40_000, n_blocks, np.random.default_rng(0))
    counts = np.unique(rows, axis=0, return_counts=True)[1]
    expected = 40_000 / n_balanced(n_blocks)
    assert len(counts) == n_balanced(n_blocks)
    # Chi-square with at most 19 degrees of freedom: its .9999 quantile is 50.8 (table of the chi-square distribution).
    assert ((counts - expected) ** 2 / expected).sum() < 50.8


@pytest.mark.parametrize(("n_units", "n_blocks"), [(6, 6), (5, 6), (6, 5), (7, 3), (1, 8)])
def test_schedules_are_balanced_both_ways(n_units: int, n_blocks: int) -> None:
    design = design_of(n_units=n_units, n_blocks=n_blocks)
    drawn = design.draws(200, rng=np.random.default_rng(0))
    assert (np.abs(2 * drawn.sum(axis=2) - n_blocks) <= n_blocks % 2).all()
    assert (np.abs(2 * drawn.sum(axis=1) - n_units) <= n_units % 2).all()
    assert not drawn.all(axis=2).any()
    assert drawn.any(axis=2).all()
    assert all(design.admits(schedule) for schedule in drawn)


def test_all_admissible_schedules_are_enumerated_once() -> None:
    design = design_of(n_units=4, n_blocks=4)
    rows = design.everything()
    assert len(rows) == design.n_admissible == 36
    assert len(np.unique(rows.reshape(36, -1), axis=0)) == 36
    assert all(design.admits(schedule) for schedule in rows)
    pool = design.pool(rows[7], n_draws=10, rng=np.random.default_rng(0))
    assert len(pool) == 36
    assert (pool[0] == rows[7]).all()


def test_a_schedule_of_another_design_is_not_admitted() -> None:
    design = design_of(n_units=4, n_blocks=4)
    schedule = design.everything()[0].copy()
    schedule[1] = schedule[0]
    assert not design.admits(schedule)
    with pytest.raises(DataError, match="isn't one that the design could have drawn"):
        analyse_schedule(history(4), design, schedule, start=10, level=0.9, rng=np.random.default_rng(0))


def test_contrast_is_the_difference_of_means_where_the_schedule_is_balanced() -> None:
    design = design_of()
    schedule = design.draws(1, rng=np.random.default_rng(2))
    values = np.random.default_rng(3).normal(size=(6, 6))
    adjusted = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    expected = adjusted[schedule[0]].mean() - adjusted[~schedule[0]].mean()
    assert (contrast_weights(schedule, by_period=True)[0] * values).sum() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n_units", [5, 6])
def test_contrast_and_carry_over_are_least_squares_with_market_and_block_effects(n_units: int) -> None:
    design = design_of(n_units=n_units, n_blocks=7)
    schedule = design.draws(1, rng=np.random.default_rng(2))
    values = np.random.default_rng(3).normal(size=(n_units, 7))

    def slopes(columns: list[np.ndarray], outcome: np.ndarray) -> np.ndarray:
        n, b = outcome.shape
        markets = np.repeat(np.eye(n), b, axis=0)
        blocks = np.tile(np.eye(b), (n, 1))
        matrix = np.column_stack([*(column.ravel() for column in columns), markets, blocks])
        return np.linalg.lstsq(matrix, outcome.ravel(), rcond=None)[0]

    direct = (contrast_weights(schedule, by_period=True)[0] * values).sum()
    assert direct == pytest.approx(slopes([schedule[0].astype(float)], values)[0], abs=1e-10)
    on = schedule[0].astype(float)
    past = (carry_over_weights(schedule, by_period=True)[0] * values).sum()
    assert past == pytest.approx(slopes([on[:, :-1], on[:, 1:]], values[:, 1:])[0], abs=1e-10)


def test_exposure_is_the_recursion_period_by_period() -> None:
    row = np.array([1.0, 0.0, 0.0, 1.0, 1.0])
    exposure, last = [], 0.0
    for on in np.repeat(row, 3):
        last = 0.6 * last + 0.4 * on
        exposure.append(last)
    expected = np.array(exposure).reshape(5, 3)[:, 1:].mean(axis=1)
    assert exposure_map(5, 3, 1, 0.6) @ row == pytest.approx(expected, abs=1e-12)
    assert (exposure_map(5, 3, 1, 0.0) == np.eye(5)).all()


def test_most_extreme_is_the_deepest_place() -> None:
    rng = np.random.default_rng(0)
    lower = rng.uniform(-3, 3, 40)
    upper = lower + rng.exponential(size=40)
    dense = np.linspace(-0.5, 0.7, 200_001)
    counts = [((lower <= x) & (x <= upper)).sum() for x in dense[::40]]
    assert most_extreme(lower, upper, -0.5, 0.7) >= max(counts)
    places = np.concatenate([[-0.5, 0.7], lower[(lower > -0.5) & (lower < 0.7)]])
    assert most_extreme(lower, upper, -0.5, 0.7) == max(((lower <= x) & (x <= upper)).sum() for x in places)


def test_pairs_are_the_markets_that_move_alike() -> None:
    rng = np.random.default_rng(0)
    shapes = rng.normal(size=(3, 80))
    outcome = 100 + 5 * np.repeat(shapes, 2, axis=0) + 0.1 * rng.normal(size=(6, 80))
    panel = Panel(
        outcome=outcome[[0, 2, 4, 5, 3, 1]],
        treated=np.zeros((6, 80), dtype=bool),
        units=tuple("abcdef"),
        periods=tuple(range(80)),
    )
    pairs = paired(panel)
    assert pairs[0] == pairs[5]
    assert pairs[1] == pairs[4]
    assert pairs[2] == pairs[3]
    assert len(set(pairs.tolist())) == 3


def test_power_is_that_of_the_readout_played_schedule_by_schedule() -> None:
    """The oracle injects an effect, reads out with the same schedules and counts; the fast way sorts ends."""
    design = design_of(n_units=4, block=3, n_blocks=4)
    values = np.random.default_rng(1).normal(size=(4, 12))
    found = switchback_power(
        values,
        design,
        level=0.9,
        carry_over=0.5,
        n_windows=1,
        relative=False,
        rng=np.random.default_rng(0),
    )
    pool = design.everything()
    weights = contrast_weights(pool, by_period=True)
    for effect in (0.3, 1.0, 2.0, 4.0):
        rejected = []
        for schedule in pool:
            exposure = schedule.astype(float) @ exposure_map(4, 3, 1, 0.5).T
            statistics = np.abs((weights * (design.block_means(values) + effect * exposure)).sum(axis=(1, 2)))
            own = statistics[(pool == schedule).all(axis=(1, 2))][0]
            rejected.append(rejects((statistics >= own - 1e-9).mean(), 0.9))
        assert found.at(effect) == pytest.approx(np.mean(rejected), abs=1e-12)
    assert found.n_windows == 1
    assert len(found.required) == 36


def test_bias_of_carry_over_is_known_and_a_washout_takes_it_away() -> None:
    values = np.random.default_rng(1).normal(size=(8, 64))
    rows = {
        washout: switchback_power(
            values,
            design_of(n_units=8, block=8, n_blocks=8, washout=washout),
            level=0.9,
            carry_over=0.5,
            n_windows=1,
            relative=False,
            rng=np.random.default_rng(0),
        )
        for washout in (0, 2, 5)
    }
    assert rows[0].bias < rows[2].bias < rows[5].bias < 0
    assert rows[0].bias < -0.1
    assert abs(rows[5].bias) < 0.03
    assert all(row.size <= 0.1 + 1e-9 for row in rows.values())


def test_without_carry_over_there_is_no_bias() -> None:
    found = switchback_power(
        np.random.default_rng(1).normal(size=(6, 24)),
        design_of(washout=0),
        level=0.9,
        carry_over=0.0,
        n_windows=1,
        relative=False,
        rng=np.random.default_rng(0),
    )
    assert found.bias == pytest.approx(0.0, abs=1e-12)
    assert found.mde(0.8) is not None
    assert found.at(float(found.mde(0.8)) + 1e-9) >= 0.8


def test_candidates_are_compared_and_one_is_chosen_with_its_reason() -> None:
    rows = candidates(
        history(n_units=8, n_periods=90),
        blocks=(2, 4, 8),
        n_periods=48,
        washout=1,
        carry_over=0.5,
        level=0.9,
        n_windows=3,
        rng=np.random.default_rng(0),
    )
    assert [(row.block, row.washout) for row in rows] == [(2, 0), (2, 1), (4, 0), (4, 1), (8, 0), (8, 1), (8, 4)]
    best, reason = choose(rows, washout=1, power=0.8, effect=0.05)
    assert best.washout >= 1
    assert abs(best.bias) <= 0.1
    assert f"Blocks of {best.block} periods with a washout of {best.washout}" in reason
    row = best.to_dict(power=0.8, effect=0.05)
    assert row["power"] == best.at(0.05)
    assert [point["power"] for point in row["curve"]] == sorted(point["power"] for point in row["curve"])


def test_plans_that_lose_too_much_to_carry_over_are_named_as_such() -> None:
    rows = candidates(
        history(n_units=8, n_periods=90),
        blocks=(2,),
        n_periods=48,
        washout=0,
        carry_over=0.8,
        level=0.9,
        n_windows=2,
        rng=np.random.default_rng(0),
    )
    best, reason = choose(rows, washout=0, power=0.8, effect=None)
    assert abs(best.bias) > 0.1
    assert "no plan keeps that within 10%" in reason


def test_effect_is_found_and_the_set_agrees_with_p() -> None:
    found = run(1.0)
    assert found.value == pytest.approx(1.0, abs=0.4)
    assert found.uncertainty.p_value is not None
    assert rejects(found.uncertainty.p_value, 0.9)
    assert found.uncertainty.interval is not None
    assert found.uncertainty.interval.contains(1.0)
    assert "9,999 schedules drawn like the actual one" in found.sentences[0]


def test_adding_an_effect_moves_estimate_and_set_by_it() -> None:
    none, some = run(0.0), run(0.7)
    assert some.value - none.value == pytest.approx(0.7, abs=1e-9)
    assert none.uncertainty.interval is not None
    assert some.uncertainty.interval is not None
    for before, after in zip(none.uncertainty.interval.segments, some.uncertainty.interval.segments, strict=True):
        assert np.array(after) - np.array(before) == pytest.approx([0.7, 0.7], abs=1e-7)


def test_set_is_what_testing_every_effect_keeps() -> None:
    design = design_of(n_units=4, n_blocks=4)
    schedule = design.everything()[11]
    panel = replace(history(4, n_periods=26, seed=4), additive=False)
    found = analyse_schedule(panel, design, schedule, start=10, level=0.9, rng=np.random.default_rng(0))
    pool = design.everything()
    weights = contrast_weights(pool, by_period=True)
    assert found.uncertainty.interval is not None
    for effect in np.linspace(-4, 4, 161):
        blocks = design.block_means(panel.outcome[:, 10:]) - effect * schedule
        statistics = np.abs((weights * blocks).sum(axis=(1, 2)))
        p = (statistics >= statistics[11] - 1e-9).mean()
        assert (not rejects(p, 0.9)) == found.uncertainty.interval.contains(effect)


def test_carry_over_past_the_washout_downgrades_the_set() -> None:
    found = run(8.0, carry_over=0.9, n_units=20)
    check = found.checks[-1]
    assert check.verdict == "fail"
    assert check.remedy
    assert "size and set of the effect don't" in found.sentences[-1]
    assert [c.name for c in found.checks] == ["carry-over-within-washout", "carry-over"]


def test_no_carry_over_is_no_proof_of_none() -> None:
    found = run(3.0, n_units=20)
    assert found.checks[-1].verdict == "pass"
    assert "no proof of none" in found.checks[-1].reason
    assert len(run(3.0, washout=0).checks) == 1


def test_alternating_blocks_cant_tell_past_from_present() -> None:
    design = SwitchbackDesign(pairs=np.array([0, 0, 1, 1, 2, 2]), block=4, n_blocks=4, washout=0)
    schedule = np.tile([[True, False, True, False], [False, True, False, True]], (3, 1))
    found = analyse_schedule(history(), design, schedule, start=20, level=0.9, rng=np.random.default_rng(0))
    assert found.checks[-1].verdict == "not_evaluable"


def test_one_market_alone_is_read_without_block_effects() -> None:
    design = design_of(n_units=1, block=2, n_blocks=12, washout=0)
    assert not design.by_period
    assert design.n_admissible == 924
    schedule = design.everything()[100]
    panel = history(3, n_periods=40).only(units=np.array([True, False, False]))
    found = analyse_schedule(panel, design, schedule, start=16, level=0.9, rng=np.random.default_rng(0))
    blocks = design.block_means(panel.outcome[:, 16:])[0] / panel.outcome[0, :16].mean()
    assert found.relative
    assert found.value == pytest.approx(blocks[schedule[0]].mean() - blocks[~schedule[0]].mean(), abs=1e-12)
    assert "all 924 schedules" in found.sentences[0]


def test_effects_of_totals_are_shares_of_each_markets_level() -> None:
    panel = history(4)
    scaled = replace(panel, outcome=panel.outcome * np.array([[1.0], [10.0], [100.0], [3.0]]))
    assert relative_outcome(scaled.outcome, scaled) == pytest.approx(relative_outcome(panel.outcome, panel))
    design = design_of(n_units=4, block=4, n_blocks=6)
    schedule = design.draws(1, rng=np.random.default_rng(0))[0]
    one = analyse_schedule(panel, design, schedule, start=30, level=0.9, rng=np.random.default_rng(0))
    other = analyse_schedule(scaled, design, schedule, start=30, level=0.9, rng=np.random.default_rng(0))
    assert one.value == pytest.approx(other.value, abs=1e-12)
    on = schedule.sum(axis=1) * 4
    assert other.incremental == pytest.approx(other.value * (scaled.outcome[:, :30].mean(axis=1) * on).sum())


def rows_of(design: SwitchbackDesign, units: tuple[str, ...]) -> tuple[np.ndarray, list[dict[str, Any]]]:
    schedule = design.draws(1, rng=np.random.default_rng(0))[0]
    return schedule, design.rows(schedule, units)


def test_schedule_survives_its_table_in_any_order_of_rows() -> None:
    units = ("a", "b", "c", "d", "e", "f")
    schedule, rows = rows_of(design_of(), units)
    shuffled = [{key: str(value) for key, value in row.items()} for row in rows[::-1]]
    design, found = schedule_of(shuffled, units)
    assert (found == schedule).all()
    assert (design.block, design.n_blocks, design.washout) == (4, 6, 1)
    assert schedule_digest(shuffled) == schedule_digest(rows)
    other = [dict(row) for row in rows]
    other[0]["on"] = 1 - other[0]["on"]
    assert schedule_digest(other) != schedule_digest(rows)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: rows[1:], "35 rows"),
        (lambda rows: [*rows[1:], dict(rows[1])], "need one each"),
        (lambda rows: [rows[0] | {"on": 1 - rows[0]["on"]}, *rows[1:]], "could have drawn"),
        (lambda rows: [rows[0] | {"on": 2}, *rows[1:]], "0 and 1"),
        (lambda rows: [rows[0] | {"last": 5}, *rows[1:]], "equal lengths"),
        (
            lambda rows: [row | {"unit": "z"} if row["unit"] == "a" else row for row in rows],
            "differ in 2 markets: a, z",
        ),
        (lambda rows: [row | {"pair": 0} for row in rows], "at most two markets"),
        (lambda rows: [{k: v for k, v in row.items() if k != "on"} for row in rows], "no column 'on'"),
        (lambda rows: [rows[0] | {"on": "yes"}, *rows[1:]], "no whole number"),
        (lambda rows: rows[:0], "no rows"),
    ],
)
def test_edited_schedules_are_refused(change: Any, says: str) -> None:
    units = ("a", "b", "c", "d", "e", "f")
    _, rows = rows_of(design_of(), units)
    with pytest.raises(DataError, match=says):
        schedule_of(change(rows), units)


def test_plans_that_switch_nothing_are_refused() -> None:
    with pytest.raises(RefusalError, match="nothing is switched"):
        design_of(n_blocks=1)
    with pytest.raises(RefusalError, match="leaves nothing of blocks of 4"):
        design_of(washout=4)


def test_too_few_schedules_or_periods_are_refused() -> None:
    arguments: dict[str, Any] = {
        "washout": 0,
        "carry_over": 0.0,
        "level": 0.95,
        "n_windows": 2,
        "rng": np.random.default_rng(0),
    }
    with pytest.raises(RefusalError, match="2 blocks of 10 admit 4 schedules"):
        candidates(history(4), blocks=(10,), n_periods=20, **arguments)
    with pytest.raises(RefusalError, match="can't be played on a history of 60"):
        candidates(history(6), blocks=(10,), n_periods=80, **arguments)
    design = design_of(n_units=2, n_blocks=2)
    with pytest.raises(RefusalError, match="admits 2 schedules"):
        analyse_schedule(history(2), design, design.everything()[0], start=20, level=0.9, rng=np.random.default_rng(0))


def test_tests_that_arent_over_and_missing_cells_are_refused() -> None:
    design = design_of()
    schedule = design.draws(1, rng=np.random.default_rng(0))[0]
    with pytest.raises(DataError, match="covers 24 periods"):
        analyse_schedule(history(), design, schedule, start=50, level=0.9, rng=np.random.default_rng(0))
    panel = history()
    outcome = panel.outcome.copy()
    outcome[2, 3] = np.nan
    with pytest.raises(DataError, match="1 cells have no outcome"):
        analyse_schedule(
            replace(panel, outcome=outcome), design, schedule, start=20, level=0.9, rng=np.random.default_rng(0)
        )
