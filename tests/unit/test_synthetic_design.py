"""Synthetic designs against every set with another solver; the test on blank periods against its definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import nnls

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError, StudyError
from causalbench.geo.blank_periods import blank_period_test, weighted_gap
from causalbench.geo.constraints import Constraints
from causalbench.geo.selectors import CATALOGUE
from causalbench.geo.selectors.synthetic_design import SyntheticDesign
from causalbench.geo.split import Split
from causalbench.numerics.persistence import persistence
from causalbench.numerics.synthetic_design import fit_sides
from causalbench.study.geo_study import Geo
from causalbench.values import rejects


def history_of(outcome, names=None):
    names = names or tuple(f"m{i:02d}" for i in range(len(outcome)))
    periods = tuple(range(outcome.shape[1]))
    return Panel(outcome=outcome, treated=np.zeros(outcome.shape, dtype=bool), units=names, periods=periods)


def paths(n, n_periods, seed):
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(3, n_periods)).cumsum(axis=1)
    return 50 + rng.normal(size=(n, 3)) @ factors + 10 * rng.normal(size=(n, 1)) + rng.normal(size=(n, n_periods))


def simplex_distance(points, target):
    """Squared distance of a target from a hull by non-negative least squares with a heavy row for the sum."""
    heavy = 1e5
    design = np.vstack([points.T, heavy * np.ones(len(points))])
    weights, _ = nnls(design, np.append(target, heavy))
    return float(((points.T @ (weights / weights.sum()) - target) ** 2).sum())


def oracle(outcome, counts, parts=None):
    """Best value and set of all treated sets."""
    n = len(outcome)
    mean = (np.full(n, 1 / n) if parts is None else parts) @ outcome
    values = {}
    for count in counts:
        for treated in itertools.combinations(range(n), count):
            rest = [i for i in range(n) if i not in treated]
            values[treated] = simplex_distance(outcome[list(treated)], mean) + simplex_distance(outcome[rest], mean)
    best = min(values, key=lambda key: values[key])
    return values[best], best


def propose(history, selector, **keys):
    limits = Constraints.compile(Geo(**keys), history)
    return selector.propose(history, limits, durations=(7,), rng=np.random.default_rng(0)), limits


@pytest.mark.parametrize("seed", range(5))
def test_listed_sets_give_the_optimum(seed):
    outcome = paths(8, 40, seed)
    (best, *rest), limits = propose(history_of(outcome), SyntheticDesign(max_markets=3, fit_share=0.5))
    value, treated = oracle(outcome[:, :20], (1, 2, 3))
    assert best.score == pytest.approx(np.sqrt(value / 20) / outcome[:, :20].mean(), rel=1e-6)
    # A treated market with the weight zero changes nothing, so the sets may differ by such ones.
    assert set(treated) >= set(np.flatnonzero(best.split.treated & (best.split.unit_weights > 1e-9)).tolist())
    assert limits.violations(best.split) == ()
    assert [p.score for p in rest] == sorted(p.score for p in rest)


def test_weights_reproduce_the_population():
    outcome = paths(12, 60, 1)
    (best, *_), _ = propose(history_of(outcome), SyntheticDesign(fit_share=0.5))
    split = best.split
    gaps = [
        split.unit_weights[side] @ outcome[side, :30] - outcome[:, :30].mean(axis=0)
        for side in (split.treated, split.control)
    ]
    assert best.score == pytest.approx(np.sqrt(np.square(gaps).sum() / 30) / outcome[:, :30].mean(), rel=1e-6)
    for side in (split.treated, split.control):
        assert split.unit_weights[side].sum() == pytest.approx(1.0, abs=1e-9)
        assert (split.unit_weights[side] >= 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_search_comes_near_the_list(seed):
    outcome = paths(13, 60, seed)
    listed, searched = (
        propose(history_of(outcome), SyntheticDesign(limit=limit, max_markets=4))[0][0].score for limit in (10**6, 1)
    )
    assert listed <= searched * (1 + 1e-9)
    assert searched <= 1.05 * listed


def test_blank_periods_and_what_follows_do_not_matter():
    outcome = paths(9, 40, 2)
    other = outcome.copy()
    other[:, 28:] += np.random.default_rng(0).normal(size=(9, 12)) * 100
    one, two = (propose(history_of(y), SyntheticDesign(fit_share=0.7))[0][0].split for y in (outcome, other))
    np.testing.assert_array_equal(one.cells, two.cells)
    np.testing.assert_allclose(one.unit_weights, two.unit_weights)


def test_order_and_scale_change_nothing():
    outcome = paths(10, 40, 3)
    order = np.random.default_rng(1).permutation(10)
    (best, *_), _ = propose(history_of(outcome), SyntheticDesign())
    (mixed, *_), _ = propose(history_of(1e6 * outcome[order]), SyntheticDesign())
    np.testing.assert_array_equal(best.split.cells[order], mixed.split.cells)
    np.testing.assert_allclose(best.split.unit_weights[order], mixed.split.unit_weights, atol=1e-6)
    assert best.score == pytest.approx(mixed.score, rel=1e-6)


def test_levels_out_of_reach_need_changes():
    outcome = paths(8, 40, 4)
    outcome[0] += 500
    keys = {"include": ("m00",), "market_counts": (1,)}
    level, change = (
        propose(history_of(outcome), SyntheticDesign(match=m), **keys)[0][0].score for m in ("outcomes", "changes")
    )
    assert change < 0.1 * level


def test_population_by_share_is_a_target_of_its_own():
    outcome = paths(8, 40, 5)
    outcome[0] *= 3
    parts = outcome.sum(axis=1) / outcome.sum()
    (best, *_), _ = propose(history_of(outcome), SyntheticDesign(population="share", max_markets=2, fit_share=1.0))
    value, _ = oracle(outcome, (1, 2), parts)
    assert best.score == pytest.approx(np.sqrt(value / 40) / (parts @ outcome.mean(axis=1)), rel=1e-6)
    assert value != pytest.approx(oracle(outcome, (1, 2))[0], rel=0.01)


def test_two_hulls_are_as_near_as_possible():
    """The nearest points of two segments: (0, 0)-(0, 2) and (1, 3)-(3, 1) lie sqrt(2)... against a fine grid."""
    points = np.array([[0.0, 0.0], [0.0, 2.0], [1.0, 3.0], [3.0, 1.0]])
    treated = np.array([[True, True, False, False]])
    fit = fit_sides(points @ points.T, treated, ~treated, np.array([True]), target="each_other")
    grid = np.linspace(0, 1, 1001)
    left = grid[:, None] * points[0] + (1 - grid[:, None]) * points[1]
    right = grid[:, None] * points[2] + (1 - grid[:, None]) * points[3]
    closest = ((left[:, None] - right) ** 2).sum(axis=2).min()
    assert fit.value[0] == pytest.approx(closest, rel=1e-4)
    gap = fit.treated[0] @ points - fit.control[0] @ points
    assert fit.value[0] == pytest.approx(gap @ gap, rel=1e-9)


def test_each_other_is_nearer_than_by_way_of_the_population():
    outcome = paths(9, 60, 6)
    split = {}
    for target in ("population", "each_other"):
        (best, *_), _ = propose(history_of(outcome), SyntheticDesign(target=target, fit_share=0.5, max_markets=2))
        split[target] = np.square(weighted_gap(outcome[:, :30], best.split, n_fit=30, match="outcomes")).sum()
    assert split["each_other"] <= split["population"] * (1 + 1e-9)


def test_rules_are_kept():
    outcome = paths(10, 40, 7)
    near = np.zeros((10, 10), dtype=bool)
    near[0, 3] = True
    history = history_of(outcome)
    geo = Geo(include=("m00",), exclude=("m01",), busy=("m02",), market_counts=(2, 3), max_controls=4, max_share=0.4)
    limits = Constraints.compile(geo, history, near=near)
    for limit in (10**6, 1):
        found = SyntheticDesign(limit=limit).propose(history, limits, durations=(7,), rng=np.random.default_rng(0))
        for proposal in found:
            split = proposal.split
            assert limits.violations(split) == ()
            assert split.cells[0] == 1
            assert split.cells[1] != 1
            assert split.cells[2] == -1
            assert split.cells[3] != 0
            assert split.treated.sum() in (2, 3)
            assert split.control.sum() <= 4
            assert (split.unit_weights[split.cells < 0] == 0).all()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"cells": ("low", "high")}, "2 treated cells"),
        ({"market_counts": (9,), "max_share": 0.2}, "can't be kept"),
    ],
)
def test_what_cannot_be_kept_is_refused(keys, said):
    with pytest.raises(RefusalError, match=said):
        propose(history_of(paths(8, 40, 0)), SyntheticDesign(), **keys)


def test_nothing_is_drawn_and_short_histories_are_refused():
    history = history_of(paths(8, 40, 0))
    (best, *_), limits = propose(history, SyntheticDesign())
    with pytest.raises(RefusalError, match="no other draws"):
        SyntheticDesign().draws(history, limits, best.split, n_draws=5, rng=np.random.default_rng(0))
    with pytest.raises(RefusalError, match="leaves no blank ones"):
        SyntheticDesign(fit_share=0.99).n_fit(10)
    for options in ({"fit_share": 1.5}, {"min_markets": 0}, {"targets": "population"}, {"target": "others"}):
        with pytest.raises(StudyError):
            CATALOGUE.create("synthetic-design", options)


def p_by_definition(gap, n_test, effect):
    """Cyclic shifts, one by one."""
    null = gap.copy()
    null[-n_test:] -= effect
    own = abs(null[-n_test:].sum())
    n = len(gap)
    shifts = [abs(sum(null[(n - n_test + i + k) % n] for i in range(n_test))) for k in range(n)]
    return sum(value >= own - 1e-9 for value in shifts) / n


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("n_blank", "n_test"), [(30, 5), (14, 7), (20, 1), (16, 20)])
def test_interval_is_the_set_that_the_test_does_not_reject(seed, n_blank, n_test):
    rng = np.random.default_rng(seed)
    gap = rng.normal(size=n_blank + n_test).round(3)
    gap[-n_test:] += rng.normal()
    found = blank_period_test(gap, n_test=n_test, level=0.8, rng=rng)
    assert found.p_value == pytest.approx(p_by_definition(gap, n_test, 0.0))
    ((lower, upper),) = found.interval.segments
    reach = 30.0 if not np.isfinite(lower) else 3 * (upper - lower)
    for effect in np.linspace(found.detail["effect"] - reach, found.detail["effect"] + reach, 201):
        if min(abs(effect - lower), abs(effect - upper)) > 1e-6:
            assert (lower < effect < upper) == (not rejects(p_by_definition(gap, n_test, effect), 0.8))


def test_too_few_blank_periods_leave_nothing_to_say():
    found = blank_period_test(np.array([1.0, -1.0, 1.0, 9.0]), n_test=1, level=0.9, rng=np.random.default_rng(0))
    assert found.p_value == 0.25
    assert found.interval.lower is None
    assert "unbounded" in found.warnings[0]
    with pytest.raises(RefusalError, match="1 blank periods"):
        blank_period_test(np.array([1.0, -1.0, 1.0]), n_test=2, level=0.9, rng=np.random.default_rng(0))


def test_gaps_that_remember_too_much_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(
        RefusalError, match=r"autocorrelation of (0\.9\d|1\.00), and blocks hold their size up to 0\.85"
    ):
        blank_period_test(np.arange(60) + rng.normal(size=60), n_test=10, level=0.9, rng=rng)
    waves = np.sin(np.arange(60) / 3) + 0.5 * rng.normal(size=60)
    assert blank_period_test(waves, n_test=10, level=0.9, rng=rng).p_value > 0
    with pytest.raises(RefusalError, match="iid hold their size up to"):
        blank_period_test(waves, n_test=10, level=0.9, rng=rng, scheme="iid")


def test_flat_gap_of_zeros_has_no_evidence():
    found = blank_period_test(np.zeros(20), n_test=4, level=0.9, rng=np.random.default_rng(0))
    assert found.p_value == 1.0
    assert found.interval.contains(0.0)


@pytest.mark.parametrize("scheme", ["blocks", "iid"])
def test_size_without_an_effect_and_no_contradiction(scheme):
    """Independent gaps that don't look persistent, 400 of them, at 10%: within three standard errors."""
    rng = np.random.default_rng(8)
    rejected = []
    for _ in range(400):
        gap = rng.normal(size=45)
        if persistence(gap[:35]) > 0.2:
            continue
        found = blank_period_test(gap, n_test=10, level=0.9, rng=rng, scheme=scheme, n_draws=199)
        rejected.append(rejects(found.p_value, 0.9))
        assert rejected[-1] != found.interval.contains(0.0)
    assert np.mean(rejected) < 0.1 + 3 * np.sqrt(0.1 * 0.9 / len(rejected))
    assert len(rejected) > 250


def test_test_finds_an_effect_on_a_design():
    outcome = paths(12, 120, 9)
    history = history_of(outcome[:, :100])
    (best, *_), _ = propose(history, SyntheticDesign(fit_share=0.5))
    after = outcome.copy()
    after[best.split.treated, 100:] += 15.0
    gap = weighted_gap(after, best.split, n_fit=50, match="outcomes")[50:]
    found = blank_period_test(gap, n_test=20, level=0.9, rng=np.random.default_rng(0))
    null = blank_period_test(gap - np.repeat([0.0, 15.0], [50, 20]), n_test=20, level=0.9, rng=np.random.default_rng(0))
    # An effect of the same size on every treated market is one of that size on their weighted mean.
    assert found.detail["effect"] == pytest.approx(null.detail["effect"] + 15.0)
    assert found.p_value < null.p_value
    assert found.interval.contains(15.0) == null.interval.contains(0.0)


def test_split_without_weights_is_refused():
    with pytest.raises(RefusalError, match="has no weights"):
        weighted_gap(np.ones((2, 4)), Split(cells=np.array([0, 1])), n_fit=2, match="outcomes")
