"""Launches that never were: which are drawn, what they measure, and what their number is worth."""

import datetime as dt
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from causalbench.calibration._placebos import draw_placebos
from causalbench.calibration.backtest import Backtest, backtest
from causalbench.calibration.leaderboard import smallest_found
from causalbench.calibration.recalibrate import (
    DemotionRule,
    demotion,
    holiday_matched,
    recalibrate,
    recalibrated,
    scores_of,
)
from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel, single_launch_panel, staggered_panel
from causalbench.errors import RefusalError
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.numerics.block_error import Dependence
from causalbench.numerics.conformal_scale import attainable_level, growth, needed_errors, quantile, share_below

METHODS = ("did", "synthetic-control", "augmented-synthetic-control", "synthetic-did")


def methods(*names):
    return {name: ESTIMATORS.create(name) for name in names or METHODS}


def tried(panel, names=("did", "synthetic-control"), **options):
    settings = {"duration": panel.n_post, "n_placebos": 60, "rng": np.random.default_rng(0)} | options
    return backtest(panel, methods(*names), **settings)


@pytest.fixture(scope="module")
def panel():
    return factor_panel(n_units=12, n_periods=48, n_treated=1, n_post=6, effect=2.0, rho=0.3, seed=1)


@pytest.fixture(scope="module")
def several():
    return factor_panel(n_units=14, n_periods=48, n_treated=3, n_post=6, effect=2.0, rho=0.3, seed=2)


# What a number of placebos is worth


def slow_variance(sets, starts, duration, values):
    """The docstring's sums, one pair at a time."""
    n = len(values)
    mean = sum(values) / n
    total = weight_sum = blocks = 0.0
    for b in range(n):
        for c in range(n):
            units = len(set(sets[b]) & set(sets[c])) / len(sets[b])
            periods = max(1 - abs(starts[b] - starts[c]) / duration, 0)
            weight = 1 - (1 - units) * (1 - periods)
            total += (values[b] - mean) * (values[c] - mean) * weight
            weight_sum += weight
            blocks += units * periods
    least = sum((v - mean) ** 2 for v in values) / n * blocks / n**2
    return max(total / n / (n - weight_sum / n), least)


def test_block_variance_is_the_double_sum():
    rng = np.random.default_rng(3)
    sets = [rng.choice(7, 2, replace=False) for _ in range(15)]
    starts, values = rng.integers(0, 20, 15), rng.normal(size=15)
    members = np.array([np.isin(np.arange(7), s) for s in sets])
    found = Dependence.of(members, starts, duration=6)
    assert found.variance(values) == pytest.approx(slow_variance(sets, starts, 6, values), rel=1e-12)


def grid(n, windows, duration):
    return Dependence.of(
        np.tile(np.eye(n, dtype=bool), (windows, 1)), np.repeat(np.arange(windows) * duration, n), duration=duration
    )


def test_block_variance_is_unbiased_for_independent_placebos_but_for_its_floor():
    found, rng = grid(6, 4, 5), np.random.default_rng(0)
    draws = rng.normal(size=(4000, 24))
    free = 24 - found.weights.sum() / 24
    assert 24 / free == pytest.approx(6 * 4 / (5 * 3))  # nK / ((n - 1)(K - 1)) of the docstring
    around = draws - draws.mean(axis=1, keepdims=True)
    plain = ((around @ found.weights) * around).sum(axis=1) / 24 / free
    assert plain.mean() == pytest.approx(1 / 24, abs=4 * plain.std() / math.sqrt(4000))
    assert found.variance(draws[0]) == pytest.approx(max(plain[0], (around[0] ** 2).mean() / 24))


@pytest.mark.parametrize("by", ["unit", "window"])
def test_what_is_shared_costs_effective_placebos(by):
    found, rng = grid(10, 8, 5), np.random.default_rng(1)
    worth = []
    for _ in range(200):
        shared = np.tile(rng.normal(size=10), 8) if by == "unit" else np.repeat(rng.normal(size=8), 10)
        worth.append(found.n_effective(shared + 0.1 * rng.normal(size=80)))
    assert np.median(worth) == pytest.approx(10 if by == "unit" else 8, rel=0.15)


def test_full_overlap_of_windows_isnt_counted_twice():
    twice = Dependence.of(np.tile(np.eye(5, dtype=bool), (2, 1)), np.zeros(10, dtype=int), duration=4)
    assert twice.n_blocks == pytest.approx(5)


def test_one_window_counts_units_alone_and_says_so(panel):
    alone = grid(30, 1, 5)
    assert alone.n_windows == 1
    assert (alone.weights == alone.shared_units).all()
    assert alone.n_effective(np.arange(30.0)) == pytest.approx(30, rel=0.05)
    answer = recalibrated(np.arange(30.0), 1.0, level=0.9, dependence=alone)
    assert answer.interval is not None
    assert "All from about one window" in answer.reason
    assert "one window" not in recalibrated(np.arange(40.0), 1.0, level=0.9, dependence=grid(10, 4, 5)).reason


@pytest.mark.parametrize("n", [19, 25, 60])
def test_interval_of_independent_errors_covers_exactly(n):
    # Split conformal: the expected share below the L(n + 1)-th of n uniform draws is L.
    rng = np.random.default_rng(n)
    share = share_below(0.95, n)
    covered = [quantile(rng.random(n), share) for _ in range(20_000)]
    assert np.mean(covered) == pytest.approx(0.95, abs=4 * np.std(covered) / math.sqrt(20_000))


def test_too_few_errors_have_no_quantile():
    assert share_below(0.95, 18.9) is None
    assert needed_errors(0.95) == 19
    assert attainable_level(19) == pytest.approx(0.95)


def test_growth_finds_the_measure_that_errors_grow_with():
    rng = np.random.default_rng(0)
    right, wrong = np.exp(rng.normal(size=400)), np.exp(rng.normal(size=400))
    measure, gamma = growth(right * rng.normal(size=400), np.stack([wrong, right]))
    assert measure == 1
    assert gamma == pytest.approx(1, abs=0.2)
    assert growth(rng.normal(size=400), np.stack([wrong, right]))[1] < 0.15
    assert growth(rng.normal(size=4), np.zeros((1, 4))) == (0, 0.0)


# Which placebos are drawn


def drawn(panel, **options):
    settings = {"duration": 6, "n_placebos": 60, "fewest_before": 2, "rng": np.random.default_rng(0)} | options
    return draw_placebos(panel, np.arange(len(panel.units)), **settings)


def test_every_unit_gets_every_window(panel):
    found = drawn(panel)
    for start in np.unique(found.starts):
        assert sorted(found.rows[found.starts == start, 0]) == list(range(12))
    assert found.starts.max() + found.duration == panel.n_pre
    assert found.starts.min() >= panel.n_pre // 3


def test_fewer_placebos_than_units_keep_the_treated_one(panel):
    found = drawn(panel, n_placebos=5)
    assert len(found.rows) == 5
    assert 0 in found.rows


def test_sets_of_several_units_are_different_and_the_treated_ones_among_them(several):
    found = drawn(several)
    for start in np.unique(found.starts):
        sets = [tuple(sorted(row)) for row in found.rows[found.starts == start].tolist()]
        assert (0, 1, 2) in sets
        assert len(set(sets)) == len(sets)
    assert all(len(set(row)) == 3 for row in found.rows.tolist())


def test_windows_are_shorter_where_the_history_leaves_no_room(panel):
    found = drawn(panel, duration=40)
    assert found.duration == panel.n_pre - panel.n_pre // 3
    assert len(np.unique(found.starts)) == 1


def test_history_without_room_is_refused():
    short = factor_panel(n_units=6, n_periods=4, n_treated=1, n_post=2, effect=0.0, rho=0.0, seed=0)
    with pytest.raises(RefusalError, match="2 periods before the launch"):
        drawn(short)


def test_later_cohorts_launch_later_in_a_placebo_too():
    panel = staggered_panel(n_units=12, n_periods=40, launches=(30, 33), n_never=8, effect=1.0, rho=0.0, seed=0)
    found = drawn(panel, duration=10)
    assert sorted(found.offsets.tolist()) == [0, 0, 3, 3]
    launches = found.launches(12, 30)
    assert (np.sort(launches, axis=1)[:, [0, 2]] - found.starts[:, None] == [0, 3]).all()


# What the backtest measures


@pytest.mark.parametrize("which", ["panel", "several"])
def test_errors_are_those_of_single_fits_before_the_launch(which, request):
    panel = request.getfixturevalue(which)
    found = tried(panel, METHODS)
    for name, estimator in methods().items():
        for b in (0, 17, found.n_placebos - 1):
            end = found.start_index[b] + found.duration
            cut = panel.only(periods=np.arange(len(panel.periods)) < end)
            mock = cut.assigned_to(found.launches[b] < panel.n_pre, start=int(found.start_index[b]))
            assert found.errors[found.index(name), b] == pytest.approx(estimator.fit(mock).effect, rel=1e-6, abs=1e-8)


def test_nothing_after_the_launch_is_looked_at(panel):
    outcome = panel.outcome.copy()
    outcome[:, panel.n_pre :] = np.nan
    blind = tried(replace(panel, outcome=outcome))
    assert blind.table == tried(panel).table


def test_all_methods_get_the_same_placebos_whoever_else_is_there(panel):
    alone, both = tried(panel, ("synthetic-control",)), tried(panel, ("did", "synthetic-control"))
    assert (alone.launches == both.launches).all()
    assert (alone.errors[0] == both.errors[1]).all()


def test_effect_of_the_launch_isnt_in_the_errors(panel):
    assert abs(np.median(tried(panel).errors)) < 1  # the launch has an effect of 2


def test_units_of_the_outcome_scale_the_table(panel):
    small, large = tried(panel), tried(replace(panel, outcome=1e6 * panel.outcome))
    for one, other in zip(small.table, large.table, strict=True):
        assert other["method"] == one["method"]
        for key in ("bias", "rmse", "rmse_mc_error", "half_width", "mde"):
            assert other[key] == pytest.approx(1e6 * one[key], rel=1e-4, abs=1e-6 * other["rmse"])


def test_table_is_sorted_and_its_numbers_are_the_errors_own(panel):
    found = tried(panel)
    rmse = [row["rmse"] for row in found.table]
    assert rmse == sorted(rmse)
    assert found.best == found.table[0]["method"]
    for row in found.table:
        errors = found.errors_of(row["method"])
        assert row["bias"] == pytest.approx(errors.mean())
        assert row["rmse"] == pytest.approx(math.sqrt((errors**2).mean()))
        assert row["coverage"] is None
        assert row["mde"] > row["half_width"] > 0
        assert row["n_effective"] <= found.dependence.n_blocks
    assert found.covariance[0, 0] == pytest.approx((found.errors[0] ** 2).mean())


def test_own_intervals_are_measured_where_asked(panel):
    found = tried(panel, inferences={"did": INFERENCES.create("permutation")}, n_intervals=12, level=0.9)
    rows = {row["method"]: row for row in found.table}
    assert rows["did"]["n_intervals"] == 12
    assert rows["did"]["coverage"] + rows["did"]["false_positive_rate"] == pytest.approx(1)
    assert rows["did"]["coverage_mc_error"] > 0
    assert rows["synthetic-control"]["n_intervals"] == 0
    measured = np.flatnonzero(~np.isnan(found.nominal_covers[0]))
    assert len(measured) == 12


@dataclass(frozen=True, kw_only=True)
class Refusing:
    """Refuses every window before the tenth last period."""

    requires = ESTIMATORS.load("did").requires
    latest: int = 0

    def sample(self, data: Panel) -> Panel:
        return data

    def fit(self, data: Panel):
        if len(data.periods) < self.latest:
            raise RefusalError("too early for me")
        return ESTIMATORS.create("did").fit(data)


def test_method_that_refuses_is_named_with_its_reason(panel):
    found = backtest(
        panel,
        {"did": ESTIMATORS.create("did"), "shy": Refusing(latest=999), "late": Refusing(latest=panel.n_pre)},
        duration=6,
        n_placebos=60,
        rng=np.random.default_rng(0),
    )
    assert found.methods == ("did", "late")
    assert found.refused["shy"] == "too early for me"
    assert "placebos" in found.refused["late"]
    assert 0 < found.complete.sum() < found.n_placebos
    with pytest.raises(RefusalError, match="too early for me"):
        backtest(panel, {"shy": Refusing(latest=999)}, duration=6, n_placebos=60, rng=np.random.default_rng(0))


def test_slow_methods_get_fewer_placebos(panel):
    found = backtest(panel, {"slow": Refusing()}, duration=6, n_placebos=60, n_slow=7, rng=np.random.default_rng(0))
    assert (~np.isnan(found.errors)).sum() == 7


# Recalibration


def test_interval_is_the_estimate_and_a_quantile_of_the_errors():
    errors = np.arange(-9.0, 10.0)  # 19 errors: at 95% the largest
    found = recalibrated(errors, 5.0, level=0.95)
    assert found.interval.segments == ((-4.0, 14.0),)
    assert found.interval.kind == "conformal"
    assert found.breakdown == pytest.approx(5 / 9)
    assert (found.n_errors, found.n_effective, found.needed) == (19, 19, 19)


def test_too_few_errors_say_what_they_support():
    found = recalibrated(np.arange(-4.0, 5.0), 5.0, level=0.95)
    assert found.interval is None
    assert found.half_width is None
    assert found.attainable_level == pytest.approx(0.9)
    assert "takes 19" in found.reason
    assert "90.0%" in found.reason


def test_errors_that_arent_numbers_are_refused():
    with pytest.raises(RefusalError, match="1 of 3 errors"):
        recalibrated(np.array([1.0, np.nan, 2.0]), 0.0, level=0.9)
    with pytest.raises(RefusalError):
        recalibrated(np.array([]), 0.0, level=0.9)


def test_a_quiet_unit_gets_a_shorter_interval_where_errors_grow_with_volatility():
    rng = np.random.default_rng(0)
    volatility = np.exp(rng.normal(size=300))
    errors = volatility * rng.normal(size=300)
    quiet, loud = (
        recalibrated(errors, 0.0, level=0.9, volatility=volatility[None], own_volatility=np.array([own]))
        for own in (0.5, 5.0)
    )
    assert loud.half_width / quiet.half_width == pytest.approx(10, rel=0.3)
    assert quiet.half_width == pytest.approx(0.5 * 1.645, rel=0.2)  # the normal quantile at 90%


def test_windows_like_the_launch_are_used_alone_where_they_suffice():
    errors = np.concatenate([np.linspace(-1, 1, 60), np.linspace(-5, 5, 40)])
    festive = np.arange(100) >= 60
    alike = recalibrated(errors, 3.0, level=0.9, matched=festive)
    assert alike.matched is True
    assert alike.n_errors == 40
    assert alike.half_width > recalibrated(errors, 3.0, level=0.9).half_width
    few = recalibrated(errors, 3.0, level=0.9, matched=np.arange(100) >= 95)
    assert few.matched is False
    assert few.n_errors == 100
    assert "too few" in few.reason


def test_holidays_pick_windows_that_have_one_too():
    panel = single_launch_panel(n_donors=9, n_contaminated=0, n_pre=60, n_post=6, seed=0)
    found = tried(panel, ("did",))
    day = panel.periods[0]
    there = [(panel.periods[62], panel.periods[63]), (day + dt.timedelta(days=45), day + dt.timedelta(days=45))]
    matched = holiday_matched(found, panel.periods, there)
    inside = (found.start_index <= 45) & (found.start_index + found.duration > 45)
    assert (matched == inside).all()
    assert 0 < matched.sum() < found.n_placebos
    assert (holiday_matched(found, panel.periods, there[1:]) == ~inside).all()  # none in the post period
    assert holiday_matched(found, panel.periods, [(dt.date(2000, 1, 1), dt.date(2000, 1, 2))]) is None


def test_leaving_a_unit_out_uses_only_placebos_of_others(panel):
    found = tried(panel, ("did",))
    scores = scores_of(found, "did")
    covers = scores.leave_unit_out(0.9, found.dependence)
    for b in (0, 5, 30):
        others = ~(found.launches[b] < panel.n_pre) @ (found.launches < panel.n_pre).T.astype(int) == 1
        measure, gamma = growth(scores.errors[others], scores.volatility[:, others])
        scale = scores.volatility[measure] ** gamma
        share = share_below(0.9, scores.n_effective * others.mean())
        reach = quantile(np.abs(scores.errors[others]) / scale[others], share) * scale[b]
        assert covers[b] == (abs(scores.errors[b]) <= reach)


def test_smallest_effect_found_has_the_power_it_says():
    errors = np.random.default_rng(0).normal(size=4000)
    found = smallest_found(errors, 1.96)
    assert found == pytest.approx(1.96 + 0.8416, abs=0.05)  # the normal quantile at 80%


# Demotion


def made(errors, covers=None):
    """A backtest of two methods whose errors are given."""
    n = errors.shape[1]
    return Backtest(
        methods=("first", "second"),
        errors=errors,
        launches=np.where(np.eye(n, dtype=bool), 50, 100),
        units=tuple(f"u{i}" for i in range(n)),
        starts=tuple(range(n)),
        start_index=np.arange(n) * 5,
        own=np.arange(n) == 0,
        volatility=np.ones((2, n)),
        own_volatility=np.ones(2),
        nominal_covers=np.full((2, n), np.nan) if covers is None else covers,
        nominal_half_widths=np.ones((2, n)),
        duration=5,
        asked_duration=5,
        n_pre=100,
        n_treated=1,
        level=0.95,
        treated_mean=10.0,
    )


@pytest.mark.parametrize(("ratio", "demoted"), [(1.2, False), (1.3, True)])
def test_larger_error_demotes_the_primary(ratio, demoted):
    second = np.random.default_rng(0).normal(size=40)
    verdict = demotion(made(np.stack([ratio * second, second])), "first")
    assert verdict.demoted is demoted
    assert verdict.rmse_ratio == pytest.approx(ratio)
    assert verdict.rmse_ratio_mc_error == pytest.approx(
        0, abs=1e-9
    )  # the ratio is the same whichever placebos are drawn
    assert verdict.replacement == ("second" if demoted else None)
    assert ("gives way" if demoted else "keeps") in verdict.reason


def test_coverage_beyond_its_error_demotes_the_primary():
    errors = np.tile(np.random.default_rng(0).normal(size=40), (2, 1))
    covers = np.ones((2, 40))
    covers[0, :20] = 0
    verdict = demotion(made(errors, covers), "first")
    assert verdict.demoted
    assert verdict.coverage == pytest.approx(0.5)
    assert "50.0%" in verdict.reason
    covers[0, :18] = 1
    assert not demotion(made(errors, covers), "first").demoted  # 95%
    assert demotion(made(errors, covers), "first", DemotionRule(coverage=0.999, rmse_ratio=9.0)).demoted is False


def test_nobody_gives_way_to_a_method_whose_own_coverage_is_too_small():
    second = np.random.default_rng(0).normal(size=40)
    covers = np.tile(np.arange(40) >= 20, (2, 1)).astype(float)
    verdict = demotion(made(np.stack([2 * second, second]), covers), "first")
    assert (verdict.demoted, verdict.replacement) == (False, None)
    assert "for want of a better method" in verdict.reason


def test_primary_without_a_backtest_keeps_its_place():
    verdict = demotion(made(np.ones((2, 30))), "third")
    assert not verdict.demoted
    assert "could not be backtested" in verdict.reason


@pytest.mark.parametrize("options", [{"rmse_ratio": 0.9}, {"coverage": 1.5}])
def test_rules_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match="must"):
        DemotionRule(**options)


def test_recalibrating_a_backtest_is_recalibrating_its_errors(panel):
    found = tried(panel)
    answer = recalibrate(found, "did", 1.0, level=0.8)
    assert answer.level == 0.8
    assert answer.interval.contains(1.0)
    assert answer.half_width == pytest.approx(scores_of(found, "did").half_width(0.8))
    assert answer.to_dict()["interval"]["kind"] == "conformal"
