"""The language of constraints: what it admits, what it says is wrong, and which rules it names as contradicting each other."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError
from causalbench.geo.conflicts import feasible_cells, smallest_conflict
from causalbench.geo.constraints import Constraints
from causalbench.geo.markets import Markets
from causalbench.geo.rules import Rule
from causalbench.geo.split import Split
from causalbench.study.geo_study import Geo

REGIONS = ("east", "west", "east", "west", "east", "north")


def history_of(outcome: Any, **changes: Any) -> Panel:
    outcome = np.asarray(outcome, dtype=float)
    units = tuple("abcdefghijklmnopqrstuvwxyzABCD"[: len(outcome)])
    periods = tuple(range(outcome.shape[1]))
    return Panel(outcome=outcome, treated=np.zeros(outcome.shape, bool), units=units, periods=periods, **changes)


def table_of(history: Panel) -> Markets:
    return Markets(units=history.units, columns={"region": REGIONS[: len(history.units)]})


def all_cells(n: int, n_cells: int) -> np.ndarray:
    return np.array(list(itertools.product(range(-1, n_cells + 1), repeat=n)))


def is_admissible(geo: Geo, history: Panel, near: np.ndarray, cells: np.ndarray) -> bool:
    """The rules as sentences, one split at a time: slow and obvious."""
    total = history.outcome.sum()
    members = {
        name: {u for u, c in zip(history.units, cells, strict=True) if c == k + 1} for k, name in enumerate(geo.cells)
    }
    members["control"] = {u for u, c in zip(history.units, cells, strict=True) if c == 0}
    treated = set().union(*(members[name] for name in geo.cells))

    def share(name: str) -> float:
        return sum(history.outcome[history.units.index(u)].sum() for u in members[name]) / total

    def per_cell(given: Any) -> dict[str, Any]:
        return dict(given) if isinstance(given, dict) else {} if given is None else dict.fromkeys(geo.cells, given)

    good = all(members[name] for name in (*geo.cells, "control"))
    good &= not (treated | members["control"]) & set(geo.busy)
    if isinstance(geo.include, dict):
        good &= all(set(names) <= members[cell] for cell, names in geo.include.items())
    else:
        good &= set(geo.include) <= treated
    if isinstance(geo.exclude, dict):
        good &= not any(set(names) & members[cell] for cell, names in geo.exclude.items())
    else:
        good &= not set(geo.exclude) & treated
    if geo.market_counts is not None:
        good &= all(len(members[name]) in geo.market_counts for name in geo.cells)
    good &= all(share(name) >= value - 1e-9 for name, value in per_cell(geo.min_share).items())
    good &= all(share(name) <= value + 1e-9 for name, value in per_cell(geo.max_share).items())
    if geo.smallest_worthwhile_effect is not None:
        for name, budget in per_cell(geo.budget).items():
            outcome = sum(history.outcome[history.units.index(u)].mean() for u in members[name])
            cost = geo.cost_per_incremental * geo.smallest_worthwhile_effect * min(geo.durations) * outcome
            good &= cost <= budget + 1e-9
    good &= geo.max_controls is None or len(members["control"]) <= geo.max_controls
    for quota in geo.quotas:
        mine = treated if quota.cell is None else members[quota.cell]
        number = sum(REGIONS[history.units.index(u)] == quota.value for u in mine)
        good &= quota.min <= number <= (np.inf if quota.max is None else quota.max)
    for u, v in itertools.product(treated, members["control"]):
        i, j = history.units.index(u), history.units.index(v)
        good &= not (near[i, j] or near[j, i])
    return bool(good)


@st.composite
def studies(draw: Any) -> tuple[Geo, Panel, np.ndarray]:
    n_cells = draw(st.integers(1, 2))
    n = draw(st.integers(3, 5 if n_cells == 2 else 6))
    cells = ("x", "y")[:n_cells]
    units = "abcdef"[:n]
    names = st.lists(st.sampled_from(units), max_size=2, unique=True)

    def listed_or_by_cell(item: Any, cell_names: tuple[str, ...]) -> Any:
        return st.one_of(item, st.dictionaries(st.sampled_from(cell_names), item, max_size=2))

    everywhere = (*cells, "control")
    share = st.sampled_from([0.1, 0.2, 0.3, 0.45, 0.6])
    values: dict[str, Any] = {
        "cells": cells,
        "include": draw(listed_or_by_cell(names, everywhere)),
        "exclude": draw(listed_or_by_cell(names, everywhere)),
        "busy": tuple(draw(st.lists(st.sampled_from(units), max_size=1))),
        "market_counts": draw(st.none() | st.lists(st.integers(1, 3), min_size=1, max_size=2)),
        "min_share": draw(st.none() | listed_or_by_cell(share, everywhere)),
        "max_share": draw(st.none() | listed_or_by_cell(share, everywhere)),
        "max_controls": draw(st.none() | st.integers(1, 3)),
        "budget": draw(st.none() | listed_or_by_cell(st.sampled_from([5.0, 10.0, 30.0]), cells)),
        "cost_per_incremental": 0.5,
        "smallest_worthwhile_effect": draw(st.none() | st.just(0.1)),
        "durations": (14, 10),
        "quotas": [
            {
                "column": "region",
                "value": "west",
                "min": draw(st.integers(0, 2)),
                "max": draw(st.none() | st.integers(1, 2)),
            }
            | ({"cell": cells[0]} if draw(st.booleans()) else {})
            for _ in range(draw(st.integers(0, 1)))
        ],
    }
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    near = rng.random((n, n)) < draw(st.sampled_from([0.0, 0.1, 0.3]))
    lists = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
    geo = Geo.model_validate(
        {key: tuple(value) if isinstance(value, list) else value for key, value in lists.items() if value is not None}
    )
    return geo, history_of(rng.integers(1, 20, size=(n, 4)).astype(float)), near


@settings(max_examples=150, deadline=None, derandomize=True)
@given(studies())
def test_admissible_is_what_the_sentences_say(case: tuple[Geo, Panel, np.ndarray]) -> None:
    geo, history, near = case
    limits = Constraints.compile(geo, history, markets=table_of(history), near=near)
    cells = all_cells(len(history.units), len(geo.cells))
    symmetric = near & ~np.eye(len(near), dtype=bool)
    expected = [is_admissible(geo, history, symmetric, row) for row in cells]
    assert limits.admissible(cells).tolist() == expected
    # The same rows say what is wrong, and nothing is wrong with an admissible split.
    some = np.random.default_rng(0).choice(len(cells), size=60)
    assert [limits.violations(Split(cells=cells[i])) == () for i in some] == [expected[i] for i in some]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(studies())
def test_conflict_is_the_smallest_there_is(case: tuple[Geo, Panel, np.ndarray]) -> None:
    geo, history, near = case
    limits = Constraints.compile(geo, history, markets=table_of(history), near=near)
    cells = all_cells(len(history.units), len(geo.cells))
    any_admissible = bool(limits.admissible(cells).any())
    conflict = smallest_conflict(limits.rules, limits.n_cells, len(history.units))
    assert (conflict is None) == any_admissible
    example = limits.example()
    if conflict is None:
        assert example is not None
        assert limits.admissible(example).all()
        return
    assert example is None
    assert conflict.proved
    # Every split breaks one of the rules named, and no smaller set of rules has this property.
    broken = np.array([[row_broken(rule, row, limits.n_cells) for rule in limits.rules] for row in cells])
    named = [limits.rules.index(rule) for rule in conflict.rules]
    assert broken[:, named].any(axis=1).all()
    for smaller in itertools.combinations(range(len(limits.rules)), len(named) - 1):
        assert not broken[:, smaller].any(axis=1).all()


def row_broken(rule: Rule, cells: np.ndarray, n_cells: int) -> bool:
    members = np.concatenate([cells == k for k in range(n_cells + 1)]).astype(float)
    return next(rule.broken(members), None) is not None


@settings(max_examples=60, deadline=None, derandomize=True)
@given(studies(), st.integers(0, 100))
def test_completed_splits_break_no_rule_about_controls(case: tuple[Geo, Panel, np.ndarray], seed: int) -> None:
    geo, history, near = case
    limits = Constraints.compile(geo, history, markets=table_of(history), near=near)
    treated = np.random.default_rng(seed).integers(-1, limits.n_cells + 1, size=(40, len(history.units)))
    cells = limits.completed(treated)
    assert (np.where(cells > 0, cells, -1) == np.where(treated > 0, treated, -1)).all()
    assert not ((cells == 0) & ~limits.eligible[0]).any()
    assert not ((cells == 0) & ~limits.apart(cells)).any()
    assert geo.max_controls is None or ((cells == 0).sum(axis=1) <= geo.max_controls).all()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(studies(), st.integers(0, 100))
def test_reordered_constraints_admit_the_same_splits(case: tuple[Geo, Panel, np.ndarray], seed: int) -> None:
    geo, history, near = case
    limits = Constraints.compile(geo, history, markets=table_of(history), near=near)
    order = np.random.default_rng(seed).permutation(len(history.units))
    cells = all_cells(len(history.units), len(geo.cells))
    assert (limits.reordered(order).admissible(cells[:, order]) == limits.admissible(cells)).all()


FOUR = history_of([[8.0, 9, 7, 8], [4, 5, 3, 4], [2, 1, 3, 2], [2, 3, 1, 2]])


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"include": ("a",), "busy": ("a",)}, ["busy (a)", "include (a)"]),
        ({"include": {"x": ("a",)}, "cells": ("x", "y"), "busy": ("a",)}, ["busy (a)", "include of cell x (a)"]),
        (
            {"cells": ("x", "y"), "include": {"x": ("a",), "y": ("a",)}},
            ["include of cell x (a)", "include of cell y (a)"],
        ),
        ({"include": ("a", "b"), "exclude": ("b",)}, ["include (b)", "exclude (b)"]),
        ({"min_share": 0.8, "market_counts": (2,)}, ["market_counts 2", "min_share 0.8"]),
        ({"min_share": 0.6, "max_share": 0.61}, ["min_share 0.6", "max_share 0.61"]),
        ({"market_counts": (4,)}, ["a market in every cell and one control", "market_counts 4"]),
        (
            {"include": {"control": ("a", "b")}, "max_controls": 1},
            ["include of control (a, b)", "max_controls 1"],
        ),
        (
            {
                "budget": 2.0,
                "cost_per_incremental": 1.0,
                "smallest_worthwhile_effect": 0.1,
                "durations": (10,),
                "include": ("a",),
            },
            ["include (a)", "budget 2 at an effect of 0.1 over 10 periods"],
        ),
    ],
)
def test_contradicting_rules_are_named(keys: dict[str, Any], named: list[str]) -> None:
    limits = Constraints.compile(Geo(**keys), FOUR)
    with pytest.raises(RefusalError) as refusal:
        limits.require_feasible()
    assert f"{' and '.join(named)} can't hold together" in refusal.value.message
    assert refusal.value.exit_code == 3


def test_long_lists_that_conflict_are_shortened_to_their_largest_markets() -> None:
    # Shares 1 to 30 over 465: the seven largest hold 189, the six largest 165, and .4 is 186.
    history = history_of(np.repeat(np.arange(1.0, 31)[:, None], 3, axis=1))
    geo = Geo(include=history.units, max_share=0.4)
    limits = Constraints.compile(geo, history)
    conflict = smallest_conflict(limits.rules, 1, 30, sizes=limits.shares)
    assert conflict is not None
    assert [rule.market for rule in conflict.rules if rule.market] == list(history.units[-7:])
    with pytest.raises(RefusalError, match=r"include \(x, y, z, A, B, C, D\) and max_share 0.4 can't hold together"):
        limits.require_feasible()


def test_rules_that_can_hold_pass() -> None:
    Constraints.compile(Geo(include=("a",), market_counts=(1, 3), max_share=0.6), FOUR).require_feasible()


def test_numbers_of_markets_with_a_gap_have_no_number_between() -> None:
    # Two markets of a share between .3 and .4: {b, c}, {b, d}; one or three have none.
    geo = Geo(market_counts=(1, 3), min_share=0.3, max_share=0.4)
    with pytest.raises(RefusalError, match=r"market_counts 1, 3 and min_share 0.3 and max_share 0.4"):
        Constraints.compile(geo, FOUR).require_feasible()


@pytest.mark.parametrize("key", ["include", "exclude", "busy"])
def test_unknown_market_is_refused_with_the_nearest_name(key: str) -> None:
    outcome = np.ones((2, 3))
    history = Panel(outcome=outcome, treated=outcome < 0, units=("chicago", "reno"), periods=(1, 2, 3))
    with pytest.raises(DataError, match=rf"{key} names no market .*'chicgo' \(did you mean 'chicago'\?\)"):
        Constraints.compile(Geo.model_validate({key: ("chicgo",)}), history)


def test_sentences_name_rule_market_and_amount() -> None:
    near = np.zeros((4, 4), dtype=bool)
    near[0, 1] = True
    geo = Geo(exclude=("a",), max_share=0.3, market_counts=(2,), include=("d",))
    found = Constraints.compile(geo, FOUR, near=near).violations(Split(cells=np.array([1, 0, 0, 0])))
    assert found == (
        "include (d): d isn't there",
        "exclude (a): a is there",
        "market_counts 2: cell treated has 1",
        "max_share 0.3: the share of cell treated has 0.5",
        "buffer (near): b is a control near a",
    )


def test_a_split_with_more_cells_than_the_study_says_so() -> None:
    limits = Constraints.compile(Geo(), FOUR)
    assert "2 treated cells" in limits.violations(Split(cells=np.array([1, 2, 0, 0])))[0]
    assert not limits.admissible(np.array([[1, 2, 0, 0]])).any()


def test_markets_near_a_treated_one_are_left_out_and_counted() -> None:
    near = np.zeros((4, 4), dtype=bool)
    near[1, 0] = True
    limits = Constraints.compile(Geo(exclude=("c",)), FOUR, near=near)
    split = limits.complete(np.array([1, 0, 0, 0]))
    assert split.cells.tolist() == [1, -1, 0, 0]
    assert limits.buffered(split) == ("b",)
    # c may not be treated and is a control all the same.
    assert limits.buffered(limits.complete(np.array([0, 0, 0, 1]))) == ()


def test_limited_controls_are_those_that_follow_the_treated() -> None:
    # Correlations with a: b 1, c -1, d about .3.
    history = history_of([[1.0, 2, 3, 4], [2, 4, 6, 8], [4, 3, 2, 1], [1, 3, 1, 2.5]])
    two = Constraints.compile(Geo(max_controls=2), history).complete(np.array([1, 0, 0, 0]))
    assert two.cells.tolist() == [1, 0, -1, 0]
    # One that must be a control comes before all others.
    geo = Geo(max_controls=2, include={"control": ("c",)})
    assert Constraints.compile(geo, history).complete(np.array([1, 0, 0, 0])).cells.tolist() == [1, 0, 0, -1]


def test_investment_is_cost_times_effect_times_outcome() -> None:
    # Means 8, 4, 2, 2 per period: 7.5 * .1 * 10 * (8 + 2) and 7.5 * .1 * 10 * 4.
    limits = Constraints.compile(Geo(cells=("x", "y"), cost_per_incremental=7.5, kind="go-dark"), FOUR)
    costs = limits.investment(np.array([1, 2, 1, 0]), relative_effect=-0.1, duration=10)
    assert costs == pytest.approx(np.array([[75.0, 30.0]]))
    assert limits.sign == -1
    with pytest.raises(DataError, match="cost_per_incremental"):
        Constraints.compile(Geo(), FOUR).investment(np.array([1, 0, 0, 0]), relative_effect=0.1, duration=1)


def test_a_budget_without_an_effect_rules_nothing_out() -> None:
    limits = Constraints.compile(Geo(budget=1.0, cost_per_incremental=5.0), FOUR)
    assert limits.admissible(np.array([[1, 0, 0, 0]])).all()
    assert limits.budgets.tolist() == [1.0]


@pytest.mark.parametrize("keys", [{"min_share": 0.1}, {"max_share": 0.5}])
def test_shares_of_a_rate_are_refused(keys: dict[str, float]) -> None:
    with pytest.raises(DataError, match="adds up"):
        Constraints.compile(Geo.model_validate(keys), history_of(FOUR.outcome, additive=False))


def test_a_quota_needs_the_table_its_column_and_its_value() -> None:
    quota = {"column": "region", "value": "wets", "min": 1}
    geo = Geo.model_validate({"quotas": (quota,)})
    with pytest.raises(DataError, match="table of markets"):
        Constraints.compile(geo, FOUR)
    with pytest.raises(DataError, match=r"region 'wets' \(did you mean 'west'\?\)"):
        Constraints.compile(geo, FOUR, markets=table_of(FOUR))
    with pytest.raises(DataError, match=r"no column 'regoin' \(did you mean 'region'\?\)"):
        Constraints.compile(
            Geo.model_validate({"quotas": ({**quota, "column": "regoin"},)}), FOUR, markets=table_of(FOUR)
        )


def test_the_cheapest_feasible_split_is_found() -> None:
    limits = Constraints.compile(Geo(market_counts=(2,)), FOUR)
    costs = np.vstack([np.zeros(4), [3.0, 1, 4, 2]])
    found = feasible_cells(limits.rules, 1, 4, costs=costs)
    assert found is not None
    assert (found == 1).tolist() == [False, True, False, True]


def test_markets_are_read_in_the_order_of_the_history(tmp_path: Path) -> None:
    path = tmp_path / "markets.csv"
    path.write_text("city,region,km\nreno,west,4\nboston,east,1.5\nelsewhere,east,9\n")
    markets = Markets.read(path, unit="city", units=("boston", "reno"))
    assert markets.column("region") == ("east", "west")
    assert markets.numbers("km").tolist() == [1.5, 4.0]
    with pytest.raises(DataError, match=r"no number for 2 markets: boston \('east'\)"):
        markets.numbers("region")


def test_names_that_look_like_numbers_or_missing_values_are_text(tmp_path: Path) -> None:
    path = tmp_path / "markets.csv"
    path.write_text("city,region\nNA,NA\n01234,\nnan,007\n")
    markets = Markets.read(path, unit="city", units=("01234", "NA", "nan"))
    assert markets.column("region") == ("", "NA", "007")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("town,region\nboston,east\n", "no column 'city'"),
        ("city,region\nboston,east\n", "no row for 1 of 2 markets: reno"),
        ("city,region\nboston,east\nreno,west\nreno,east\n", "several rows for 1 of 2 markets: reno"),
        ("", "is empty"),
    ],
)
def test_tables_of_markets_that_mislead_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "markets.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        Markets.read(path, unit="city", units=("boston", "reno"))
    with pytest.raises(DataError, match="doesn't exist"):
        Markets.read(tmp_path / "absent.csv", unit="city", units=("boston",))
