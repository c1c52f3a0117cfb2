"""Trimmed match: roots and sets against a search by brute force, sign flips, pairs that aren't, and invariances."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from causalbench.artifacts import canonical_json
from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError, StudyError
from causalbench.estimators import Did, TrimmedMatch
from causalbench.inference import SignFlip, TrimmedT
from causalbench.numerics.trimmed_pairs import (
    Pairs,
    auto_counts,
    chosen_trim,
    flipped_statistics,
    n_trimmed_at,
    studentized,
    trimmed_ratio,
    trimmed_set,
)
from causalbench.values import rejects
from causalbench.workflow.estimate import estimate

RNG = np.random.default_rng(12)


def panel(response, cost=None, *, level=20.0, n_post=2):
    """Pairs whose units are alike before the launch; the treated differ by ``response`` and ``cost`` after it."""
    response = np.asarray(response, dtype=float)
    n, n_pre = len(response), 3
    after = np.arange(n_pre + n_post) >= n_pre
    base = level + np.arange(n)[:, None] + np.sin(np.arange(n_pre + n_post))
    moved = (
        response[:, None] * after * (1 + 0.5 * np.where(np.arange(n_pre + n_post) % 2, 1, -1))
    )  # the mean is the response
    treated = np.vstack([np.zeros((n, n_pre + n_post), dtype=bool), np.tile(after, (n, 1))])
    spent = None if cost is None else np.vstack([np.zeros((n, len(after))), np.outer(cost, after)])
    return Panel(
        outcome=np.vstack([base, base + moved]),
        treated=treated,
        units=tuple([f"c{i:03d}" for i in range(n)] + [f"t{i:03d}" for i in range(n)]),
        periods=tuple(range(len(after))),
        cluster=tuple(f"pair {i:03d}" for i in range(n)) * 2,
        cost=spent,
    )


def draw(n, *, seed=0, varied=True):
    rng = np.random.default_rng(seed)
    cost = rng.uniform(0.5, 3, n) if varied else np.ones(n)
    return Pairs(response=2 * cost + rng.standard_t(2, n), cost=cost)


def trimmed_mean(pairs, ratio, m):
    left = np.sort(pairs.response - ratio * pairs.cost)
    return left[m : len(left) - m].mean()


def studentized_by_hand(pairs, ratio, m):
    """Tukey and McLaughlin's statistic, with the winsorized variance of the textbook."""
    left = np.sort(pairs.response - ratio * pairs.cost)
    n, h = len(left), len(left) - 2 * m
    pulled = np.concatenate([[left[m]] * m, left[m : n - m], [left[n - m - 1]] * m])
    error = np.sqrt((n - 1) * pulled.var(ddof=1) / (h * (h - 1)))
    return left[m : n - m].mean() / error


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("m", [0, 1, 3])
def test_ratio_makes_the_trimmed_mean_zero(seed, m):
    pairs = draw(12, seed=seed)
    found = trimmed_ratio(pairs, m)
    assert trimmed_mean(pairs, found.ratio, m) == pytest.approx(0.0, abs=1e-12)
    grid = np.linspace(-20, 20, 4001)
    signs = np.sign([trimmed_mean(pairs, ratio, m) for ratio in grid])
    roots = grid[1:][signs[1:] != signs[:-1]]
    assert np.abs(roots - found.ratio).min() < 0.02


@pytest.mark.parametrize("m", [0, 2])
def test_without_varying_cost_the_ratio_is_the_trimmed_mean(m):
    pairs = draw(11, varied=False)
    assert trimmed_ratio(pairs, m).ratio == pytest.approx(stats.trim_mean(pairs.response, m / 11 + 1e-9), rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("m", "quantile"), [(0, 1.7), (1, 1.3), (2, 2.5)])
@pytest.mark.parametrize("varied", [True, False])
def test_set_is_where_the_statistic_is_small(seed, m, quantile, varied):
    pairs = draw(9, seed=seed, varied=varied)
    segments = trimmed_set(pairs, m, quantile=quantile)
    for ratio in np.concatenate([np.linspace(-8, 12, 801), [-1e6, 1e6]]).tolist():
        statistic = abs(studentized_by_hand(pairs, ratio, m))
        assert studentized(pairs, ratio, m) == pytest.approx(studentized_by_hand(pairs, ratio, m), rel=1e-8, abs=1e-10)
        if abs(statistic - quantile) > 1e-6:
            assert any(low <= ratio <= high for low, high in segments) == (statistic < quantile)
    for end in [end for segment in segments for end in segment if np.isfinite(end)]:
        assert abs(studentized_by_hand(pairs, end, m)) == pytest.approx(quantile, rel=1e-6)


def test_set_is_cut_in_many_pieces_as_in_one(monkeypatch):
    from causalbench.numerics import trimmed_pairs

    pairs = draw(20)
    whole = trimmed_set(pairs, 3, quantile=1.7), trimmed_ratio(pairs, 3)
    monkeypatch.setattr(trimmed_pairs, "_CELLS", 7)
    assert (trimmed_set(pairs, 3, quantile=1.7), trimmed_ratio(pairs, 3)) == whole


def test_choice_takes_the_fewest_trimmed_near_the_smallest_error():
    pairs = draw(30)
    candidates = tuple(trimmed_ratio(pairs, m) for m in auto_counts(30))
    errors = np.array([c.std_error for c in candidates])
    first = np.flatnonzero(errors <= errors.min() * (1 + 0.25 / np.sqrt(30)))[0]
    assert chosen_trim(pairs, candidates).n_trimmed == first
    assert [len(auto_counts(n)) for n in (2, 3, 4, 5, 8, 40)] == [1, 1, 1, 2, 3, 11]


def test_shares_are_rounded_up_to_pairs():
    assert [n_trimmed_at(rate, 10) for rate in (0.0, 0.01, 0.1, 0.3, 0.31)] == [0, 1, 1, 3, 4]


@pytest.mark.parametrize("counts", [(0,), (2,), (0, 1, 2, 3)])
def test_flipped_statistics_are_those_of_each_row(counts):
    rows = RNG.standard_t(2, (40, 13)) + 0.5
    found = flipped_statistics(rows, counts)
    for row, statistic in zip(rows, found, strict=True):
        pairs = Pairs(response=row, cost=np.ones(13))
        best = chosen_trim(pairs, tuple(trimmed_ratio(pairs, m) for m in counts))
        assert statistic == pytest.approx(abs(studentized_by_hand(pairs, 0.0, best.n_trimmed)), rel=1e-8)


def test_sign_flips_by_brute_force():
    data = panel([3.0, 1.0, 4.0, 1.5, 5.0, -0.9, 2.6])
    found = estimate(data, "trimmed-match", options={"trim": 0.0}, level=0.9)
    assert (found.inference, found.detail["exact"], found.detail["n_flips"]) == ("sign-flip", True, 64)
    pairs, _ = TrimmedMatch(trim=0.0).pairs(data)
    for effect in (0.0, 1.0, 2.2, 4.0, -2.0):
        left = pairs.residuals(effect)
        flips = np.array(list(itertools.product([-1, 1], repeat=7))) * left
        means = np.abs(flips.mean(axis=1)) / flips.std(axis=1)
        p_value = np.mean(means >= abs(left.mean()) / left.std() - 1e-12)
        if effect == 0.0:
            assert found.p_value == pytest.approx(p_value, rel=1e-12)
        assert found.interval.contains(effect) == (not rejects(p_value, 0.9))


def test_effect_and_return_are_about_the_same_units_and_periods():
    pairs = draw(10)
    data = panel(pairs.response, pairs.cost, n_post=4)
    found = estimate(data, "trimmed-match", options={"trim": 0.1}, inference="trimmed-t", level=0.9)
    ratio = trimmed_ratio(pairs, 1)
    assert found.detail["iroas"] == pytest.approx(ratio.ratio, rel=1e-9)
    assert found.detail["cost"] == pytest.approx(4 * pairs.cost.sum(), rel=1e-9)
    assert found.detail["incremental"] == pytest.approx(ratio.ratio * 4 * pairs.cost.sum(), rel=1e-9)
    assert found.std_error == pytest.approx(ratio.std_error * pairs.cost.mean(), rel=1e-9)
    returns = trimmed_set(pairs, 1, quantile=stats.t.ppf(0.95, 7))
    assert np.ravel(found.detail["iroas_interval"].segments) == pytest.approx(np.ravel(returns), rel=1e-6)
    assert np.ravel(found.interval.segments) == pytest.approx(np.ravel(returns) * pairs.cost.mean(), rel=1e-6)
    assert len(found.detail["trimmed"]) == 2
    assert found.path.effect[3:].mean() == pytest.approx(found.value, rel=1e-9)


def test_holdback_has_the_return_of_the_campaign_it_takes_away():
    pairs = draw(12)
    on, off = (
        estimate(panel(sign * pairs.response, sign * pairs.cost), "trimmed-match", level=0.9) for sign in (1.0, -1.0)
    )
    assert off.value == pytest.approx(-on.value, rel=1e-9)
    assert off.detail["iroas"] == pytest.approx(on.detail["iroas"], rel=1e-9)
    ends = [np.ravel(answer.detail["iroas_interval"].segments) for answer in (on, off)]
    assert ends[1] == pytest.approx(ends[0], rel=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_hurdle_is_one_less_the_one_sided_p_value(sign):
    pairs = draw(12)
    data = panel(sign * pairs.response, sign * pairs.cost)
    options = {"trim": 0.1}
    found = estimate(data, "trimmed-match", options=options, inference="trimmed-t", inference_options={"hurdle": 1.0})
    expected = stats.t.cdf(studentized_by_hand(pairs, 1.0, 2), 12 - 4 - 1)
    assert found.detail["hurdle"]["probability"] == pytest.approx(expected, rel=1e-6)


def test_baseline_takes_off_what_pairs_differed_by_before():
    data = panel([2.0, 3.0, 4.0, 5.0])
    outcome = data.outcome.copy()
    outcome[data.ever_treated] += np.array([[10.0], [-20.0], [5.0], [0.0]])
    found = estimate(replace(data, outcome=outcome), "trimmed-match", options={"baseline": "pre", "trim": 0.0})
    assert found.value == pytest.approx(3.5, rel=1e-9)
    plain = estimate(replace(data, outcome=outcome), "trimmed-match", options={"trim": 0.0})
    assert plain.value == pytest.approx(3.5 - 5.0 / 4, rel=1e-9)


@pytest.mark.parametrize("shift", [-3.0, 0.5])
@pytest.mark.parametrize("cost", [False, True])
def test_effect_taken_off_moves_estimate_and_set_along(shift, cost):
    pairs = draw(10, varied=cost)
    before = estimate(panel(pairs.response, pairs.cost if cost else None), "trimmed-match", level=0.9)
    moved = pairs.response + shift * (pairs.cost / pairs.cost.mean() if cost else 1.0)
    after = estimate(panel(moved, pairs.cost if cost else None), "trimmed-match", level=0.9)
    assert after.value == pytest.approx(before.value + shift, rel=1e-9)
    assert after.detail["n_trimmed"] == before.detail["n_trimmed"]
    ends = [np.ravel(answer.interval.segments) for answer in (before, after)]
    assert ends[1] == pytest.approx(ends[0] + shift, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize(("inference", "trim"), [("sign-flip", "auto"), ("trimmed-t", 0.08)])
def test_units_of_outcome_and_order_of_units_do_not_matter(scale, inference, trim):
    data = panel(draw(11).response)
    order = np.random.default_rng(1).permutation(22)
    mixed = replace(
        data,
        outcome=scale * data.outcome[order],
        treated=data.treated[order],
        cluster=tuple(data.cluster[i] for i in order),
        units=tuple(f"u{i:02d}" for i in range(22)),
    )
    one, other = (
        estimate(each, "trimmed-match", inference=inference, options={"trim": trim}, level=0.9)
        for each in (data, mixed)
    )
    assert other.value == pytest.approx(scale * one.value, rel=1e-9)
    assert other.p_value == pytest.approx(one.p_value, rel=1e-9)
    ends = [np.ravel(answer.interval.segments) for answer in (one, other)]
    assert ends[1] == pytest.approx(scale * ends[0], rel=1e-6)


@pytest.mark.parametrize("inference", ["sign-flip", "trimmed-t"])
@pytest.mark.parametrize("seed", range(8))
def test_p_value_and_set_agree_about_no_effect(inference, seed):
    pairs = draw(16, seed=seed)
    data = panel(pairs.response - 1.7 * pairs.cost, pairs.cost)
    answer = estimate(data, "trimmed-match", inference=inference, options={"trim": 0.1}, level=0.9)
    assert answer.interval.contains(0.0) != rejects(answer.p_value, 0.9)


def test_same_seed_gives_the_same_bytes_and_another_seed_other_flips():
    data = panel(draw(20).response)
    first, again, other = (estimate(data, "trimmed-match", seed=seed).to_dict() for seed in (0, 0, 1))
    assert canonical_json(first) == canonical_json(again)
    assert other["detail"]["n_flips"] == 1000
    assert other["interval"] != first["interval"]


def test_too_few_pairs_for_the_level_are_said_to_be_unbounded():
    found = estimate(panel([2.0, 3.0, 4.0]), "trimmed-match", level=0.9)
    assert found.interval.lower is None
    assert any("3 pairs allow no p below 0.25" in warning for warning in found.warnings)


def test_t_refuses_what_it_cannot_hold():
    data = panel(draw(12).response)
    with pytest.raises(RefusalError, match="the data chose how many pairs to trim"):
        estimate(data, "trimmed-match", inference="trimmed-t")
    with pytest.raises(RefusalError, match="6 pairs are kept, 8 are needed"):
        estimate(data, "trimmed-match", inference="trimmed-t", options={"trim": 0.25})
    given = {"compat": "trimmed_match"}
    found = estimate(data, "trimmed-match", inference="trimmed-t", inference_options=given)
    assert any("rejects up to 26%" in warning for warning in found.warnings)
    assert found.detail["df"] is None


def test_pairs_that_are_none_are_refused_by_name():
    data = panel([1.0, 2.0, 3.0])
    with pytest.raises(RefusalError, match="the data have no clusters"):
        estimate(replace(data, cluster=None), "trimmed-match")
    odd = list(data.cluster)
    odd[0] = "pair 001"
    with pytest.raises(RefusalError) as refused:
        estimate(replace(data, cluster=tuple(odd)), "trimmed-match")
    assert "2 clusters are none: pair 000 (1 treated, 0 control), pair 001 (1 treated, 2 control)" in str(refused.value)


@pytest.mark.parametrize(("trim", "n"), [(0.34, 3), (0.45, 4)])
def test_trimming_that_leaves_nothing_is_refused(trim, n):
    with pytest.raises(RefusalError, match="two are needed"):
        estimate(panel(np.arange(1.0, n + 1)), "trimmed-match", options={"trim": trim})


@pytest.mark.parametrize("trim", [0.5, -0.1, "some"])
def test_impossible_shares_are_refused(trim):
    with pytest.raises(StudyError):
        estimate(panel([1.0, 2.0, 3.0]), "trimmed-match", options={"trim": trim})


def test_cost_without_a_difference_is_refused():
    with pytest.raises(DataError, match="changed nothing in what was spent"):
        estimate(panel([1.0, 2.0, 3.0], np.zeros(3)), "trimmed-match")


def test_no_root_is_refused():
    # google/trimmed_match, estimator_test.cc, CalculateIroasEmptyRoot: no root with one pair trimmed at either end.
    assert trimmed_ratio(Pairs(response=np.arange(1.0, 5), cost=np.array([-10.0, -1, 1, 10])), 1) is None
    data = panel([1.0, 2.0, 3.0, 4.0], np.array([-10.0, -1, 1, 11]))
    with pytest.raises(RefusalError, match="no incremental return makes the trimmed mean zero"):
        estimate(data, "trimmed-match", options={"trim": 0.25})


def test_other_methods_have_no_pairs():
    data = panel([1.0, 2.0, 3.0])
    for inference in (SignFlip(), TrimmedT()):
        with pytest.raises(RefusalError, match="compares no pairs"):
            inference.infer(Did(), data, Did().fit(data), level=0.9, rng=np.random.default_rng(0))


def test_pairs_all_alike_have_no_set():
    found = estimate(panel([2.0, 2.0, 2.0, 2.0]), "trimmed-match")
    assert found.value == pytest.approx(2.0, rel=1e-12)
    assert found.interval is found.p_value is None
