"""Selectors: what they find against slow oracles, what every proposal and draw satisfies, and what must not change them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError
from causalbench.geo.constraints import Constraints
from causalbench.geo.markets import Markets
from causalbench.geo.selection import Count, balance, n_admissible
from causalbench.geo.selectors import CATALOGUE
from causalbench.geo.selectors.kmeans_strata import KmeansStrata
from causalbench.geo.selectors.matched_pairs import MatchedPairs
from causalbench.geo.selectors.rerandomized import Rerandomized
from causalbench.geo.selectors.search import Search, candidates, n_assignments
from causalbench.geo.selectors.stratified import Stratified
from causalbench.geo.split import Split
from causalbench.study.geo_study import Geo

RANDOMIZED = (MatchedPairs(), Stratified(n_strata=3), Rerandomized(acceptance=0.5), KmeansStrata(n_strata=2))
ALL = (*RANDOMIZED, Search(), Search(method="greedy"), Search(method="neighbours"))


def market_panel(n: int, *, n_periods: int = 40, seed: int = 0, units: Any = None) -> Panel:
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(2, n_periods)).cumsum(axis=1)
    outcome = 100 + 3 * rng.normal(size=(n, 2)) @ common + rng.normal(size=(n, n_periods))
    outcome *= rng.lognormal(sigma=0.5, size=(n, 1))
    names = tuple(f"m{i:02d}" for i in range(n)) if units is None else units
    return Panel(outcome=outcome, treated=outcome < -1e9, units=names, periods=tuple(range(n_periods)))


def proposed(selector: Any, history: Panel, limits: Constraints, seed: int = 0) -> Any:
    return selector.propose(history, limits, durations=(7,), rng=np.random.default_rng(seed))


def slow_fit_error(outcome: np.ndarray, treated: np.ndarray, controls: np.ndarray) -> float:
    """A general optimiser on the definition, from several starts."""
    paths = outcome - outcome.mean(axis=1, keepdims=True)
    target, donors = paths[treated].mean(axis=0), paths[controls]

    def gap(weights: np.ndarray) -> float:
        return float(((target - weights @ donors) ** 2).sum())

    n = len(donors)
    found = minimize(
        gap,
        np.full(n, 1 / n),
        jac=lambda w: -2 * donors @ (target - w @ donors),
        bounds=[(0, 1)] * n,
        constraints=[{"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like}],
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-13},
    )
    return float(np.sqrt(found.fun / outcome.shape[1]) / np.abs(outcome[treated]).mean())


@pytest.mark.parametrize("n_cells", [1, 2])
def test_exhaustive_search_is_brute_force(n_cells: int) -> None:
    history = market_panel(6, seed=n_cells)
    near = np.zeros((6, 6), dtype=bool)
    near[0, 3] = True
    geo = Geo(cells=("x", "y")[:n_cells], market_counts=(1, 2), exclude=("m05",), max_share=0.5, max_controls=3)
    limits = Constraints.compile(geo, history, near=near)
    scores = {}
    for treated in itertools.product(range(n_cells + 1), repeat=6):
        split = limits.complete(np.array(treated))
        if limits.violations(split) == ():
            errors = [slow_fit_error(history.outcome, split.cells == k + 1, split.control) for k in range(n_cells)]
            scores[tuple(split.cells.tolist())] = np.mean(errors)
    found = proposed(Search(method="exhaustive", n_proposals=10_000), history, limits)
    assert {tuple(p.split.cells.tolist()) for p in found} == set(scores)
    assert [p.score for p in found] == pytest.approx([scores[tuple(p.split.cells.tolist())] for p in found], rel=1e-4)
    assert [p.score for p in found] == sorted(p.score for p in found)


def test_scaled_l2_of_a_proposal_is_the_gap_over_that_of_equal_weights() -> None:
    history = market_panel(8)
    best = proposed(Search(), history, Constraints.compile(Geo(market_counts=(2,)), history))[0]
    paths = history.outcome - history.outcome.mean(axis=1, keepdims=True)
    target, donors = paths[best.split.treated].mean(axis=0), paths[best.split.control]
    gap = best.score * np.sqrt(40) * history.outcome[best.split.treated].mean()
    assert best.scaled_l2 == pytest.approx(gap / np.linalg.norm(target - donors.mean(axis=0)))


def test_auto_is_greedy_above_the_limit_and_exhaustive_refuses() -> None:
    history = market_panel(12)
    limits = Constraints.compile(Geo(market_counts=(3,)), history)
    assert n_assignments(limits, (3,)) == 220
    with pytest.raises(RefusalError, match=r"up to 220 sets, more than limit = 100"):
        proposed(Search(method="exhaustive", limit=100), history, limits)
    auto, greedy = proposed(Search(limit=100), history, limits), proposed(Search(method="greedy"), history, limits)
    assert [p.score for p in auto] == [p.score for p in greedy]


def test_greedy_finds_cells_of_different_sizes_where_equal_ones_do_not_fit() -> None:
    history = market_panel(9)
    shares = np.sort(history.outcome.sum(axis=1)) / history.outcome.sum()
    # x needs two markets and so has three; three in y have too large a share.
    keys = {"market_counts": (1, 3), "include": {"x": ("m00", "m01")}, "max_share": {"y": shares[:3].sum() - 1e-3}}
    limits = Constraints.compile(Geo.model_validate({"cells": ("x", "y"), **keys}), history)
    exhaustive = proposed(Search(method="exhaustive", n_proposals=10_000), history, limits)
    assert {(p.split.cells == 2).sum() for p in exhaustive} == {1}
    greedy = proposed(Search(method="greedy"), history, limits)
    assert greedy[0].score == pytest.approx(exhaustive[0].score, rel=0.2)


def test_neighbours_are_each_market_and_its_most_correlated_ones() -> None:
    # Correlations: a-b 1, c-d 1, a-c 0.
    history = Panel(
        outcome=np.array([[1.0, 2, 1, 2], [2, 4, 2, 4], [1, 1, 2, 2], [3, 3, 5, 5]]),
        treated=np.zeros((4, 4), bool),
        units=tuple("abcd"),
        periods=(1, 2, 3, 4),
    )
    limits = Constraints.compile(Geo(), history)
    assert candidates(history, limits, [2]).tolist() == [[True, True, False, False], [False, False, True, True]]
    only_a = Constraints.compile(Geo(include=("a",)), history)
    assert candidates(history, only_a, [1, 2]).sum(axis=1).tolist() == [1, 2]
    two = Constraints.compile(Geo(cells=("x", "y"), market_counts=(2,), exclude={"y": ("a",)}), history)
    assert candidates(history, two, [1, 2], cell=2).tolist() == [[False, False, True, True]]


CASES: tuple[dict[str, Any], ...] = (
    {},
    {"market_counts": (2, 3), "include": ("m03",), "exclude": ("m01",), "busy": ("m05",)},
    {"market_counts": (2,), "max_share": 0.35, "max_controls": 4},
    {"cells": ("x", "y"), "market_counts": (2,), "include": {"x": ("m02",)}},
    {"market_counts": (3,), "quotas": ({"column": "region", "value": "west", "min": 1, "max": 1},)},
    {
        "market_counts": (2,),
        "budget": 90.0,
        "cost_per_incremental": 1.0,
        "smallest_worthwhile_effect": 0.05,
        "durations": (7,),
    },
)


def case_of(keys: dict[str, Any], n: int = 12) -> tuple[Panel, Constraints]:
    history = market_panel(n, seed=3)
    markets = Markets(units=history.units, columns={"region": tuple(("west", "east", "east")[i % 3] for i in range(n))})
    near = np.zeros((n, n), dtype=bool)
    near[0, 7] = near[4, n - 2] = True
    return history, Constraints.compile(Geo.model_validate(keys), history, markets=markets, near=near)


@pytest.mark.parametrize("selector", ALL, ids=repr)
@pytest.mark.parametrize("keys", CASES, ids=str)
def test_every_proposal_and_every_draw_is_admissible(selector: Any, keys: dict[str, Any]) -> None:
    history, limits = case_of(keys)
    found = proposed(selector, history, limits)
    assert found
    for proposal in found:
        assert limits.violations(proposal.split) == ()
    if not selector.randomized:
        return
    for proposal in found:
        draws = selector.draws(history, limits, proposal.split, n_draws=200, rng=np.random.default_rng(1))
        assert draws.shape == (200, 12)
        assert limits.admissible(draws).all()
        strata = proposal.split.strata
        for stratum in range(strata.max() + 1):
            mine = strata == stratum
            for cell in range(1, limits.n_cells + 1):
                assert ((draws[:, mine] == cell).sum(axis=1) == (proposal.split.cells[mine] == cell).sum()).all()
        assert (draws[:, strata < 0] == -1).all()


@pytest.mark.parametrize("selector", ALL, ids=repr)
@pytest.mark.parametrize("keys", CASES[1:4], ids=str)
def test_names_and_order_of_the_markets_change_nothing(selector: Any, keys: dict[str, Any]) -> None:
    history, limits = case_of(keys)
    order = np.random.default_rng(5).permutation(12)
    renamed = tuple(f"z{i:02d}" for i in np.random.default_rng(6).permutation(12))
    new_name = {history.units[i]: renamed[place] for place, i in enumerate(order)}

    def rename(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: rename(item) for key, item in value.items()}
        return tuple(new_name.get(item, item) for item in value) if isinstance(value, tuple) else value

    other = Panel(
        outcome=history.outcome[order], treated=history.treated[order], units=renamed, periods=history.periods
    )
    markets = Markets(units=renamed, columns={"region": tuple(limits.markets.columns["region"][i] for i in order)})
    changed = {key: rename(value) if key != "cells" else value for key, value in keys.items()}
    again = Constraints.compile(
        Geo.model_validate(changed), other, markets=markets, near=limits.near[np.ix_(order, order)]
    )
    found, mirrored = proposed(selector, history, limits), proposed(selector, other, again)
    assert [p.score for p in found] == [p.score for p in mirrored]
    for left, right in zip(found, mirrored, strict=True):
        assert left.split.cells[order].tolist() == right.split.cells.tolist()
    if selector.randomized:
        draws = [
            selector.draws(h, c, p[0].split, n_draws=50, rng=np.random.default_rng(2))
            for h, c, p in ((history, limits, found), (other, again, mirrored))
        ]
        assert (draws[0][:, order] == draws[1]).all()


@pytest.mark.parametrize("selector", RANDOMIZED, ids=repr)
@pytest.mark.parametrize("keys", CASES, ids=str)
def test_all_draws_are_listed_once_and_counted(selector: Any, keys: dict[str, Any]) -> None:
    history, limits = case_of(keys)
    split = proposed(selector, history, limits)[0].split
    listed = selector.every_draw(history, limits, split)
    assert listed is not None
    assert len(np.unique(listed, axis=0)) == len(listed)
    assert split.cells.tolist() in listed.tolist()
    assert n_admissible(selector, history, limits, split, rng=np.random.default_rng(0)) == Count(
        value=float(len(listed)), exact=True
    )
    # Nothing is drawn that isn't listed.
    draws = selector.draws(history, limits, split, n_draws=300, rng=np.random.default_rng(3))
    assert {tuple(row) for row in draws.tolist()} <= {tuple(row) for row in listed.tolist()}


def test_listed_draws_are_all_assignments_with_the_same_numbers() -> None:
    history, limits = case_of({"market_counts": (2,), "max_share": 0.35, "include": ("m04",)}, n=8)
    split = proposed(Stratified(n_strata=2), history, limits)[0].split
    expected = set()
    for treated in itertools.product((0, 1), repeat=8):
        cells = np.array(treated)
        same = all(cells[split.strata == h].sum() == split.treated[split.strata == h].sum() for h in (0, 1))
        cells = np.where((cells == 0) & ~limits.apart(cells)[0], -1, cells)
        if same and limits.violations(Split(cells=cells)) == ():
            expected.add(tuple(cells.tolist()))
    listed = Stratified(n_strata=2).every_draw(history, limits, split)
    assert {tuple(row) for row in listed.tolist()} == expected


def test_large_designs_are_counted_by_formula_or_estimated() -> None:
    history = market_panel(40)
    free = Constraints.compile(Geo(market_counts=(20,)), history)
    split = proposed(MatchedPairs(), history, free)[0].split
    rng = np.random.default_rng(0)
    assert MatchedPairs().every_draw(history, free, split) is None
    assert n_admissible(MatchedPairs(), history, free, split, rng=rng) == Count(value=2.0**20, exact=True)
    half = Constraints.compile(Geo(market_counts=(20,), max_share=0.5), history)
    estimated = n_admissible(MatchedPairs(), history, half, split, rng=rng)
    # Either a draw or its mirror image has at most half of the total: exactly 2^19, and an error of about .5% of 2^20.
    assert not estimated.exact
    assert estimated.value == pytest.approx(2.0**19, rel=0.04)


def pairing_cost(outcome: np.ndarray, pairs: Any) -> float:
    return float(sum(np.sqrt(((outcome[i] - outcome[j]) ** 2).mean()) for i, j in pairs))


def all_pairings(items: list[int]) -> Any:
    if len(items) < 2:
        yield ()
        return
    if len(items) % 2:
        for odd in items:
            yield from all_pairings([item for item in items if item != odd])
        return
    first, rest = items[0], items[1:]
    for other in rest:
        for pairs in all_pairings([item for item in rest if item != other]):
            yield ((first, other), *pairs)


@pytest.mark.parametrize("n", [7, 8])
@pytest.mark.parametrize("seed", range(5))
def test_pairs_are_the_best_pairing_of_all(n: int, seed: int) -> None:
    history = market_panel(n, seed=seed)
    split = proposed(MatchedPairs(), history, Constraints.compile(Geo(), history))[0].split
    pairs = [np.flatnonzero(split.strata == pair) for pair in range(n // 2)]
    best = min(pairing_cost(history.outcome, each) for each in all_pairings(list(range(n))))
    assert pairing_cost(history.outcome, pairs) == pytest.approx(best)
    assert (split.cells == -1).sum() == n % 2


def test_no_coin_is_thrown_for_markets_that_must_or_may_not_be_treated() -> None:
    history = market_panel(9)
    near = np.zeros((9, 9), dtype=bool)
    near[2, 3] = True
    limits = Constraints.compile(Geo(include=("m00",), exclude=("m01",)), history, near=near)
    split = proposed(MatchedPairs(), history, limits)[0].split
    draws = MatchedPairs().draws(history, limits, split, n_draws=100, rng=np.random.default_rng(0))
    assert (draws[:, 0] == 1).all()
    assert not (draws[:, 1] == 1).any()
    assert split.strata[2] != split.strata[3] or split.strata[2] == -1
    # Whoever shares a pair with an excluded market is the included one.
    if split.strata[1] >= 0:
        assert split.strata[0] == split.strata[1]


def test_blocks_hold_one_market_of_every_cell_and_one_control() -> None:
    history = market_panel(14)
    limits = Constraints.compile(Geo(cells=("x", "y")), history)
    split = proposed(MatchedPairs(), history, limits)[0].split
    assert [sorted(split.cells[split.strata == block].tolist()) for block in range(4)] == [[0, 1, 2]] * 4
    assert (split.strata == -1).sum() == 2


def test_strata_follow_the_column_and_sizes_within_it() -> None:
    history, limits = case_of({"market_counts": (4,)})
    split = proposed(Stratified(n_strata=2, column="region"), history, limits)[0].split
    region, size = np.array(limits.markets.column("region")), history.outcome.mean(axis=1)
    for value in ("west", "east"):
        mine = np.flatnonzero(region == value)
        strata = split.strata[mine][np.argsort(-size[mine])]
        assert len(set(strata.tolist())) == 2
        assert len(set(strata[: len(mine) // 2].tolist())) == len(set(strata[len(mine) // 2 :].tolist())) == 1
    with pytest.raises(DataError, match="table of markets"):
        proposed(Stratified(column="region"), history, Constraints.compile(Geo(), history))


def test_clusters_do_not_depend_on_the_seed_of_the_draws() -> None:
    history, limits = case_of({"market_counts": (3,)})
    strata = [proposed(KmeansStrata(), history, limits, seed=seed)[0].split.strata.tolist() for seed in range(3)]
    assert strata[0] == strata[1] == strata[2]


def test_rerandomized_draws_are_the_best_balanced_tenth() -> None:
    history = market_panel(10)
    limits = Constraints.compile(Geo(market_counts=(5,)), history)
    loose, tight = Rerandomized(acceptance=1.0), Rerandomized(acceptance=0.1)
    split = proposed(tight, history, limits)[0].split
    everything, best = (each.every_draw(history, limits, split) for each in (loose, tight))
    assert len(everything) == 252
    # The limit is a quantile of 4,000 draws: a tenth of all splits within 3 binomial errors, and mirror images tie.
    assert len(best) / 252 == pytest.approx(0.1, abs=3 * np.sqrt(0.1 * 0.9 / 4000) + 2 / 252)

    def distance(cells: np.ndarray) -> float:
        time = np.arange(40)
        rows = [[y.mean(), np.polyfit(time, y, 1)[0], np.diff(y).std()] for y in history.outcome]
        gap = np.mean(np.array(rows)[cells == 1], axis=0) - np.mean(np.array(rows)[cells == 0], axis=0)
        return float(gap @ np.linalg.solve(np.cov(np.array(rows).T) * (1 / 5 + 1 / 5), gap))

    kept = {tuple(row) for row in best.tolist()}
    worst_kept = max(distance(np.array(row)) for row in kept)
    best_lost = min(distance(row) for row in everything if tuple(row.tolist()) not in kept)
    assert worst_kept < best_lost


def test_choosing_is_not_drawing() -> None:
    history = market_panel(6)
    limits = Constraints.compile(Geo(market_counts=(2,)), history)
    split = proposed(Search(), history, limits)[0].split
    with pytest.raises(RefusalError, match="search chooses its markets"):
        Search().draws(history, limits, split, n_draws=5, rng=np.random.default_rng(0))
    with pytest.raises(RefusalError, match="no strata"):
        Stratified().draws(history, limits, split, n_draws=5, rng=np.random.default_rng(0))
    assert n_admissible(Search(), history, limits, split, rng=np.random.default_rng(0)) == Count(value=1.0, exact=True)


def test_designs_with_hardly_any_admissible_draw_are_refused() -> None:
    history = market_panel(30, seed=4)
    share = np.sort(history.outcome.sum(axis=1))[:15].sum() / history.outcome.sum()
    limits = Constraints.compile(Geo(market_counts=(15,), max_share=share + 1e-6), history)
    with pytest.raises(RefusalError, match=r"only \d+ of \d+ orders of the labels"):
        proposed(Stratified(n_strata=1), history, limits)


def test_numbers_that_strata_cannot_give_are_refused() -> None:
    history = market_panel(6)
    limits = Constraints.compile(Geo(market_counts=(5,)), history)
    with pytest.raises(RefusalError, match="market_counts 5"):
        proposed(MatchedPairs(), history, limits)


@pytest.mark.parametrize("selector", ALL, ids=repr)
def test_contradicting_rules_and_missing_cells_are_refused_by_every_selector(selector: Any) -> None:
    history = market_panel(6)
    with pytest.raises(RefusalError, match=r"busy \(m00\) and include \(m00\)"):
        proposed(selector, history, Constraints.compile(Geo(include=("m00",), busy=("m00",)), history))
    outcome = history.outcome.copy()
    outcome[2, 5] = np.nan
    gappy = Panel(outcome=outcome, treated=history.treated, units=history.units, periods=history.periods)
    with pytest.raises(DataError, match="1 markets have periods without outcome: m02"):
        proposed(selector, gappy, Constraints.compile(Geo(), gappy))


@pytest.mark.parametrize("selector", ALL, ids=repr)
def test_markets_without_any_variation_or_history(selector: Any) -> None:
    flat = Panel(
        outcome=np.repeat([[5.0], [7.0], [7.0], [9.0]], 6, axis=1),
        treated=np.zeros((4, 6), bool),
        units=tuple("abcd"),
        periods=tuple(range(6)),
    )
    limits = Constraints.compile(Geo(market_counts=(1, 2)), flat)
    for proposal in proposed(selector, flat, limits):
        assert limits.violations(proposal.split) == ()
        assert proposal.score == 0.0
    short = flat.only(periods=np.arange(6) < 2)
    with pytest.raises(DataError, match="the history has 2 periods"):
        proposed(selector, short, Constraints.compile(Geo(market_counts=(1,)), short))


@pytest.mark.parametrize("name", ["search", "matched-pairs", "stratified", "rerandomized", "kmeans-strata"])
def test_selectors_are_found_by_name_and_say_what_they_do(name: str) -> None:
    member = CATALOGUE.load(name)
    assert member.summary
    assert isinstance(member.randomized, bool)
    CATALOGUE.create(name, {})


def test_balance_compares_cells_with_controls() -> None:
    outcome = np.array([[2.0, 4, 6, 8], [1, 2, 3, 4], [3, 6, 9, 12], [5, 5, 5, 5], [9, 9, 9, 9]])
    history = Panel(outcome=outcome, treated=outcome < 0, units=tuple("abcde"), periods=(1, 2, 3, 4))
    found = balance(history, Split(cells=np.array([1, 0, 0, 2, -1])))
    assert found["left_out"] == 1
    first, second = found["cells"]
    # By hand: total 20 + 10 + 30 + 20 + 36 = 116; slopes 2 against the mean of 1 and 3.
    assert (first["n_markets"], first["mean"], first["trend"]) == (1, 5.0, 2.0)
    assert first["share"] == pytest.approx(20 / 116)
    assert first["correlation"] == pytest.approx(1.0)
    assert first["differences"]["trend"] == pytest.approx(0.0)
    # Slopes of the split's markets are 2, 1, 3, 0: standard deviation sqrt(5/4), difference 0 - 2.
    assert second["differences"]["trend"] == pytest.approx(-2 / np.sqrt(1.25))
    assert second["correlation"] == 0.0
    assert found["control"]["share"] == pytest.approx(40 / 116)
