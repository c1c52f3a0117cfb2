"""Partitions into balanced pairs against an enumeration of all of them, and draws against the rules."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError, StudyError
from causalbench.geo.constraints import Constraints
from causalbench.geo.selectors import CATALOGUE
from causalbench.geo.selectors.supergeos import Supergeos
from causalbench.geo.split import Split
from causalbench.numerics.supergeo_bound import lower_bound
from causalbench.numerics.supergeos import best_halves, search
from causalbench.study.geo_study import Geo


def partitions(items, *, largest):
    """Yield every partition of a tuple into parts of 2 to ``largest``, the first item's part first."""
    if not items:
        yield ()
        return
    first, rest = items[0], items[1:]
    for size in range(1, largest):
        for others in itertools.combinations(rest, size):
            left = tuple(i for i in rest if i not in others)
            for more in partitions(left, largest=largest):
                yield ((first, *others), *more)


def cheapest_cut(points, fixed, part):
    costs = []
    for signs in itertools.product((-1, 1), repeat=len(part)):
        signs = np.array(signs)
        tied = (fixed[list(part)] * signs)[fixed[list(part)] != 0]
        if abs(signs.sum()) < len(part) and (tied == 1).all():
            costs.append(float(((signs @ points[list(part)]) ** 2).sum()))
    return min(costs, default=np.inf)


def oracle(points, fixed, *, max_size, min_pairs):
    best = np.inf
    for parts in partitions(tuple(range(len(points))), largest=max_size):
        if len(parts) >= min_pairs:
            best = min(best, sum(cheapest_cut(points, fixed, part) for part in parts))
    return best


def sizes_of(n, n_features, seed):
    rng = np.random.default_rng(seed)
    points = np.exp(rng.normal(size=(n, 1))) * np.exp(0.2 * rng.normal(size=(n, n_features)))
    return points / points.sum(axis=0)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("n", "n_features", "max_size", "min_pairs"),
    [(6, 1, 4, 1), (7, 1, 3, 2), (8, 2, 4, 2), (8, 3, 3, 3), (8, 2, 2, 4), (8, 1, 5, 1), (8, 2, 6, 2)],
)
def test_bound_is_below_the_optimum_and_the_search_at_it(seed, n, n_features, max_size, min_pairs):
    points, free = sizes_of(n, n_features, seed), np.zeros(n, dtype=int)
    best = oracle(points, free, max_size=max_size, min_pairs=min_pairs)
    found = search(points, free, max_size=max_size, min_pairs=min_pairs, n_shakes=60, rng=np.random.default_rng(0))
    assert found[0].cost == pytest.approx(best, rel=1e-6, abs=1e-12)
    bound = lower_bound(points, free, found, max_size=max_size, min_pairs=min_pairs, n_rounds=40, most_steps=10**6)
    assert bound.complete
    assert bound.value <= best * (1 + 1e-9)
    # Every column is a pair with its own cost.
    for row, cost in zip(bound.groups, bound.costs, strict=True):
        assert cost == pytest.approx(cheapest_cut(points, free, tuple(row[row >= 0])), rel=1e-9)


def test_bound_is_the_dual_of_all_columns():
    """Against the whole linear program, written out for 9 markets."""
    from scipy.optimize import linprog

    for max_size in (3, 4, 5):
        points, free = sizes_of(9, 2, 3), np.zeros(9, dtype=int)
        parts = [part for size in range(2, max_size + 1) for part in itertools.combinations(range(9), size)]
        member = np.array([[float(i in part) for part in parts] for i in range(9)])
        costs = [cheapest_cut(points, free, part) for part in parts]
        exact = linprog(np.array(costs) * 1e4, A_eq=member, b_eq=np.ones(9)).fun / 1e4
        found = search(points, free, max_size=max_size, min_pairs=1, n_shakes=20, rng=np.random.default_rng(0))
        bound = lower_bound(points, free, found, max_size=max_size, min_pairs=1, n_rounds=80, most_steps=10**6)
        assert exact * 0.99 <= bound.value <= exact * (1 + 1e-9)


@pytest.mark.parametrize("n_rounds", [1, 3])
def test_unfinished_bound_is_still_a_bound(n_rounds):
    points, free = sizes_of(8, 1, 1), np.zeros(8, dtype=int)
    found = search(points, free, max_size=3, min_pairs=1, n_shakes=0, rng=np.random.default_rng(0))
    bound = lower_bound(points, free, found, max_size=3, min_pairs=1, n_rounds=n_rounds, most_steps=10**6)
    assert 0 <= bound.value <= oracle(points, free, max_size=3, min_pairs=1)
    cut = lower_bound(points, free, found, max_size=5, min_pairs=1, n_rounds=9, most_steps=5)
    assert not cut.complete


@pytest.mark.parametrize("seed", range(4))
def test_tied_markets_stay_on_one_side(seed):
    points = sizes_of(8, 2, seed)
    fixed = np.array([1, 1, -1, 0, 0, 0, 1, 0])
    best = oracle(points, fixed, max_size=4, min_pairs=2)
    found = search(points, fixed, max_size=4, min_pairs=2, n_shakes=60, rng=np.random.default_rng(0))
    assert found[0].cost == pytest.approx(best, rel=1e-6)
    for pair in range(found[0].pair.max() + 1):
        agrees = (fixed * found[0].side)[(found[0].pair == pair) & (fixed != 0)]
        assert len(set(agrees.tolist())) <= 1
    bound = lower_bound(points, fixed, found, max_size=4, min_pairs=2, n_rounds=40, most_steps=10**6)
    assert bound.value <= best * (1 + 1e-9)


def test_cut_never_leaves_a_half_empty():
    """-5 and 5 would cancel on one side, which leaves the other without a market."""
    cost, mask = best_halves(np.array([[5.0], [-5.0]]), np.zeros(2, dtype=int), np.array([0, 1]), 2)
    assert cost == 100.0
    assert int(mask).bit_count() == 1


def history_of(outcome, names=None):
    names = names or tuple(f"m{i:03d}" for i in range(len(outcome)))
    return Panel(
        outcome=outcome,
        treated=np.zeros(outcome.shape, dtype=bool),
        units=names,
        periods=tuple(range(outcome.shape[1])),
    )


@pytest.fixture
def history():
    rng = np.random.default_rng(2)
    sizes = np.exp(rng.normal(3, 1, size=30))
    return history_of(sizes[:, None] * np.exp(0.1 * rng.normal(size=(30, 40))))


def limits_of(history, *, near=None, **keys):
    return Constraints.compile(Geo(**keys), history, near=near)


SMALL = Supergeos(effort=20)


def test_every_market_takes_part_in_an_admissible_split(history):
    limits = limits_of(history)
    (proposal,) = SMALL.propose(history, limits, durations=(7,), rng=np.random.default_rng(0))
    split, design = proposal.split, SMALL.design(history, limits)
    assert (split.cells >= 0).all()
    np.testing.assert_array_equal(split.strata, design.strata)
    assert limits.violations(split) == ()
    assert proposal.score == pytest.approx(np.sqrt(design.imbalance))
    assert 0 <= design.bound <= design.imbalance
    assert proposal.detail == {name: getattr(design, name) for name in proposal.detail}
    assert {"imbalance", "bound", "gap", "certified"} <= set(proposal.detail)
    assert 0 <= design.gap <= design.rel_gap <= 1
    # The imbalance is what the split has, by hand: four quarters of the history, shares of the total.
    sums = history.outcome.reshape(30, 4, 10).sum(axis=2)
    shares = sums / sums.sum(axis=0) / 2
    gaps = [
        (shares[mine].T * (2 * split.cells[mine] - 1)).sum(axis=1)
        for mine in split.strata == np.arange(design.n_pairs)[:, None]
    ]
    assert design.imbalance == pytest.approx(np.square(gaps).sum(), rel=1e-9)


def test_larger_pairs_balance_better_than_pairs_of_markets(history):
    limits = limits_of(history)
    by_size = [Supergeos(max_size=m, effort=20).design(history, limits).imbalance for m in (2, 3, 4)]
    assert by_size[0] > 3 * by_size[1] > by_size[2]


def test_draws_flip_pairs_by_a_fair_coin(history):
    limits = limits_of(history)
    split = SMALL.propose(history, limits, durations=(7,), rng=np.random.default_rng(0))[0].split
    rows = SMALL.draws(history, limits, split, n_draws=4000, rng=np.random.default_rng(1))
    assert rows.shape == (4000, 30)
    assert limits.admissible(rows).all()
    for pair in range(split.strata.max() + 1):
        same = rows[:, split.strata == pair] == split.cells[split.strata == pair]
        # Whole halves change sides.
        assert (same.all(axis=1) | ~same.any(axis=1)).all()
    # Four standard errors of a fair coin.
    assert (np.abs(rows.mean(axis=0) - 0.5) < 4 * 0.5 / np.sqrt(4000)).all()
    count = SMALL.n_admissible(history, limits, split, rng=np.random.default_rng(0))
    assert (count.value, count.exact) == (2.0 ** (split.strata.max() + 1), True)


def test_draws_are_uniform_under_a_rule_that_rejects():
    """With 8 markets and 4 pairs all 16 flips can be listed: those within the bound are drawn equally often."""
    rng = np.random.default_rng(3)
    history = history_of(np.exp(rng.normal(size=8))[:, None] * np.exp(0.05 * rng.normal(size=(8, 30))))
    chosen = Supergeos(max_size=2, min_pairs=4)
    free = limits_of(history)
    split = chosen.propose(history, free, durations=(7,), rng=rng)[0].split
    shares = np.array([free.shares[row == 1].sum() for row in chosen.draws(history, free, split, n_draws=300, rng=rng)])
    bounded = limits_of(history, max_share=float(np.median(shares)))
    rows = chosen.draws(history, bounded, split, n_draws=8000, rng=rng)
    drawn, counts = np.unique(rows, axis=0, return_counts=True)
    assert chosen.n_admissible(history, bounded, split, rng=rng).value == len(drawn) < 16
    expected = 8000 / len(drawn)
    # Chi-squared at a tail of 1e-4: its mean and five standard deviations.
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert statistic < len(drawn) + 5 * np.sqrt(2 * len(drawn))


def test_include_exclude_and_busy_are_kept(history):
    names = history.units
    keys = {"include": (names[0], names[1]), "exclude": (names[2], names[5]), "busy": (names[3],)}
    limits = limits_of(history, **keys)
    split = SMALL.propose(history, limits, durations=(7,), rng=np.random.default_rng(0))[0].split
    assert split.cells[[0, 1, 2, 5, 3]].tolist() == [1, 1, 0, 0, -1]
    assert (np.delete(split.cells, 3) >= 0).all()
    rows = SMALL.draws(history, limits, split, n_draws=200, rng=np.random.default_rng(0))
    assert (rows[:, [0, 1, 2, 5, 3]] == [1, 1, 0, 0, -1]).all()


def test_near_markets_share_a_half(history):
    near = np.zeros((30, 30), dtype=bool)
    for i, j in ((0, 1), (1, 2), (10, 11)):
        near[i, j] = near[j, i] = True
    limits = limits_of(history, near=near)
    split = SMALL.propose(history, limits, durations=(7,), rng=np.random.default_rng(0))[0].split
    rows = SMALL.draws(history, limits, split, n_draws=200, rng=np.random.default_rng(0))
    assert (rows >= 0).all()
    assert (rows[:, 0] == rows[:, 1]).all()
    assert (rows[:, 1] == rows[:, 2]).all()
    assert (rows[:, 10] == rows[:, 11]).all()


def test_order_and_names_of_markets_change_nothing(history):
    order = np.random.default_rng(5).permutation(30)
    shuffled = history_of(history.outcome[order], names=tuple(f"x{i:03d}" for i in range(30)))
    one, other = (SMALL.design(h, limits_of(h)) for h in (history, shuffled))
    assert one.imbalance == pytest.approx(other.imbalance, rel=1e-12)
    same = one.strata[order][:, None] == one.strata[order]
    np.testing.assert_array_equal(same, other.strata[:, None] == other.strata)


def test_scale_of_the_outcome_changes_nothing(history):
    larger = history_of(history.outcome * 1e6)
    one, other = (SMALL.design(h, limits_of(h)) for h in (history, larger))
    np.testing.assert_array_equal(one.strata, other.strata)
    assert one.gap == pytest.approx(other.gap, rel=1e-6)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"cells": ("low", "high")}, "2 treated cells"),
        ({"busy": tuple(f"m{i:03d}" for i in range(20))}, "10 markets .* don't make 6 pairs"),
        ({"market_counts": (2,)}, r"only 0 of 10000 draws .* breaks market_counts"),
        ({"max_controls": 3}, r"only 0 of 10000 draws"),
        ({"include": tuple(f"m{i:03d}" for i in range(29))}, "tie so many markets to one side"),
    ],
)
def test_what_cannot_be_kept_is_refused(history, keys, said):
    with pytest.raises(RefusalError, match=said):
        SMALL.propose(history, limits_of(history, **keys), durations=(7,), rng=np.random.default_rng(0))


def test_chain_of_near_markets_is_refused(history):
    near = np.eye(30, k=1, dtype=bool)
    near[24:] = False
    with pytest.raises(RefusalError, match=r"6 markets .those near each other counted once"):
        SMALL.propose(history, limits_of(history, near=near), durations=(7,), rng=np.random.default_rng(0))


def test_near_markets_on_both_sides_are_refused(history):
    near = np.zeros((30, 30), dtype=bool)
    near[0, 1] = True
    limits = limits_of(history, near=near, include=("m000",), exclude={"control": ("m005",), "treated": ("m001",)})
    with pytest.raises(RefusalError, match="buffer keeps m000, m001 on one side"):
        SMALL.design(history, limits)


def test_split_without_pairs_has_no_draws(history):
    with pytest.raises(RefusalError, match="holds no pairs"):
        SMALL.draws(
            history, limits_of(history), Split(cells=np.arange(30) % 2), n_draws=5, rng=np.random.default_rng(0)
        )


@pytest.mark.parametrize("options", [{"max_size": 1}, {"max_size": 9}, {"min_pairs": 0}, {"segment": 2}])
def test_impossible_options_are_refused(options):
    with pytest.raises(StudyError):
        CATALOGUE.create("supergeos", options)
