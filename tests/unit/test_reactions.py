"""Reactions at a date: gaps among series by hand, invariances, and what is refused."""

import numpy as np
import pytest

from causalbench.data.simulate import single_launch_panel
from causalbench.numerics.donor_gaps import gap_to_hull, gaps_among
from causalbench.numerics.reactions import find_reactions


def donors(**keys):
    panel = single_launch_panel(**({"seed": 0} | keys))
    return panel.outcome[~panel.ever_treated], panel.n_pre


def test_gap_to_a_triangle_by_hand():
    # The nearest point of the segment from (0, 2) to (2, 0) to (3, 3) is (1, 1).
    corners = np.array([[0.0, 2.0], [2.0, 0.0], [0.0, 0.0]])
    np.testing.assert_allclose(gap_to_hull(np.array([3.0, 3.0]), corners), [2.0, 2.0], atol=1e-9)
    np.testing.assert_allclose(gap_to_hull(np.array([0.5, 0.5]), corners), [0.0, 0.0], atol=1e-5)


def test_gaps_among_series_are_each_ones_gap_to_the_others():
    series = np.random.default_rng(0).normal(size=(7, 20))
    gaps = gaps_among(series, 12)
    for i in range(7):
        alone = gap_to_hull(series[i, :12], np.delete(series, i, axis=0)[:, :12])
        np.testing.assert_allclose(gaps[i, :12], alone, atol=1e-7)


def test_heavy_penalty_spreads_weights_evenly():
    series = np.random.default_rng(0).normal(size=(5, 20))
    even = series - (series.sum(axis=0) - series) / 4
    np.testing.assert_allclose(gaps_among(series, 12, rel_ridge=1e9), even, atol=1e-6)


def test_both_contaminated_donors_are_found_in_the_default_scenario():
    found = find_reactions(*donors(), size=0.05)
    assert np.flatnonzero(found.suspect).tolist() == [0, 1]
    # They move by 6% of their levels, which are their means before the launch; noise adds a little.
    level = donors()[0][:2, :180].mean(axis=1)
    np.testing.assert_allclose(found.gap[:2], 0.06 * level, rtol=0.25)


def test_limit_is_the_gap_at_which_a_series_is_found():
    found = find_reactions(*donors(), size=0.05)
    at_least = np.abs(found.gap) >= found.limit
    assert (at_least == found.suspect).all()


def test_levels_and_units_of_single_series_do_not_matter():
    series, n_pre = donors()
    rng = np.random.default_rng(1)
    factor, lift = 10 ** rng.uniform(-3, 3, (len(series), 1)), rng.normal(size=(len(series), 1)) * 1e3
    one, other = (find_reactions(values, n_pre, size=0.05) for values in (series, series * factor + lift))
    np.testing.assert_allclose(other.z, one.z, rtol=1e-6)
    np.testing.assert_allclose(other.gap, one.gap * factor[:, 0], rtol=1e-6)


def test_order_of_series_does_not_matter():
    series, n_pre = donors()
    order = np.random.default_rng(2).permutation(len(series))
    one, other = find_reactions(series, n_pre, size=0.05), find_reactions(series[order], n_pre, size=0.05)
    np.testing.assert_allclose(other.z, one.z[order], rtol=1e-9)
    assert (other.suspect == one.suspect[order]).all()


def test_series_that_only_mirrors_another_comes_back():
    rng = np.random.default_rng(3)
    series = rng.normal(size=(12, 70))
    series[1] = series[0] + 0.05 * rng.normal(size=70)  # twins: the gap of one is that of the other, reversed
    series[0, 60:] += 5
    assert np.flatnonzero(find_reactions(series, 60, size=0.05).suspect).tolist() == [0]


@pytest.mark.parametrize(("n", "n_pre"), [(5, 50), (12, 9)])
def test_too_little_is_refused(n, n_pre):
    with pytest.raises(ValueError, match="can't be judged"):
        find_reactions(np.random.default_rng(0).normal(size=(n, n_pre + 5)), n_pre, size=0.05)


def test_one_wild_day_is_no_reaction_and_a_lasting_one_is():
    series = np.random.default_rng(7).normal(size=(12, 70))
    wild, lasting = series.copy(), series.copy()
    wild[4, 65] += 60
    lasting[4, 60:] += 6
    assert not find_reactions(wild, 60, size=0.05).suspect.any()
    assert np.flatnonzero(find_reactions(lasting, 60, size=0.05).suspect).tolist() == [4]


def test_series_that_are_all_in_pairs_have_gaps_of_rounding_and_no_suspect():
    series = np.repeat(np.random.default_rng(8).normal(size=(6, 40)), 2, axis=0)
    found = find_reactions(series, 30, size=0.05)
    assert np.isfinite(found.z).all()


def test_series_that_does_not_move_is_refused():
    series = np.random.default_rng(0).normal(size=(12, 30))
    series[3, :20] = 7.0
    with pytest.raises(ValueError, match="can't be judged"):
        find_reactions(series, 20, size=0.05)


def test_scenario_has_the_effects_it_names():
    plain = single_launch_panel(seed=2, effect=0.0, n_contaminated=0)
    moved = single_launch_panel(seed=2, effect=0.04, n_contaminated=2, contamination=0.06)
    added = moved.outcome - plain.outcome
    after = np.arange(194) >= 180
    assert not added[:, ~after].any()
    assert not added[3:].any()
    levels = added[:3, after] / np.array([[0.04], [0.06], [0.06]])
    np.testing.assert_allclose(levels, levels[:, :1] * np.ones((1, 14)))
    # Levels: what the outcome averages over many days, as everything else has mean zero.
    long = single_launch_panel(seed=2, n_pre=40_000, effect=0.0, n_contaminated=0).outcome.mean(axis=1)
    np.testing.assert_allclose(single_launch_panel(seed=2).outcome[:, :180].mean(axis=1), long, rtol=0.03)


@pytest.mark.parametrize("wrong", [{"n_contaminated": 29}, {"n_contaminated": -1}, {"n_post": 0}, {"rho": 1.0}])
def test_impossible_scenario_is_refused(wrong):
    with pytest.raises(ValueError, match=r"don't make this scenario|strictly between"):
        single_launch_panel(seed=0, **wrong)
