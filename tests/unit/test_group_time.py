"""Group-time effects against slow obvious versions, and where they must refuse or warn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from causalbench.data.moments import CohortMoments
from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError
from causalbench.estimators import GroupTime
from causalbench.estimators._cell_effects import cells_from_moments, cells_from_units
from causalbench.numerics.comparisons import comparisons
from causalbench.numerics.two_period import OverlapError, cross_section_effect, panel_effect, propensity
from causalbench.workflow.estimate import estimate

N_PERIODS = 7


def staggered(seed: int = 0, *, n: int = 60, never: bool = True, covariates: bool = False, **fields: Any) -> Panel:
    """Draw units with launches at periods 3, 4 and 6 of 7 and effects that grow with time since the launch."""
    rng = np.random.default_rng(seed)
    dates = [2, 3, 5] + ([N_PERIODS] if never else [])
    first = np.array([dates[i % len(dates)] for i in range(n)])
    treated = np.arange(N_PERIODS) >= first[:, None]
    x = rng.normal(size=n) + 0.3 * (first < N_PERIODS)
    outcome = (
        rng.normal(size=(n, 1)) + rng.normal(size=(n, N_PERIODS)).cumsum(axis=1) + x[:, None] * np.arange(N_PERIODS)
    )
    outcome = outcome + treated * (1 + 0.5 * (np.arange(N_PERIODS) - first[:, None]))
    extra = (
        {"covariates": np.repeat(x[:, None, None], N_PERIODS, axis=1), "covariate_names": ("x",)} if covariates else {}
    )
    return Panel(
        outcome=outcome,
        treated=treated,
        units=tuple(f"u{i:03d}" for i in range(n)),
        periods=tuple(range(2001, 2001 + N_PERIODS)),
        **(extra | fields),
    )


def cells_of(
    panel: Panel, *, control: Any = "never_treated", base_period: Any = "varying", anticipation: int = 0
) -> Any:
    return comparisons(
        np.unique(panel.first_treated),
        panel.positions,
        control=control,
        anticipation=anticipation,
        base_period=base_period,
    )


@pytest.mark.parametrize("control", ["never_treated", "not_yet_treated"])
@pytest.mark.parametrize("base_period", ["varying", "universal"])
@pytest.mark.parametrize("method", ["dr", "ipw", "reg"])
def test_moments_and_units_agree(control: Any, base_period: Any, method: Any) -> None:
    panel = staggered()
    cells = cells_of(panel, control=control, base_period=base_period)
    fast = cells_from_moments(CohortMoments.from_panel(panel), cells)
    slow = cells_from_units(panel, cells, method=method, sampling="panel")
    assert fast.cells == slow.cells
    np.testing.assert_allclose(fast.values, slow.values, rtol=0, atol=1e-10)
    np.testing.assert_allclose(fast.influence.covariance(), slow.influence.covariance(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("control", ["never_treated", "not_yet_treated"])
def test_summaries_from_moments_and_units_agree(control: Any) -> None:
    panel = staggered(1)
    fast = GroupTime(control=control).fit(panel)
    slow = GroupTime(control=control).fit(replace(panel, weights=np.ones(len(panel.units))))
    assert fast.effect == pytest.approx(slow.effect, abs=1e-10)
    assert fast.covariance is not None
    np.testing.assert_allclose(fast.covariance, slow.covariance, rtol=0, atol=1e-10)
    np.testing.assert_allclose(fast.influence, slow.influence, rtol=0, atol=1e-10)
    assert fast.event_study is not None
    assert slow.event_study is not None
    np.testing.assert_allclose(fast.event_study.covariance, slow.event_study.covariance, rtol=0, atol=1e-10)
    for name in ("simple", "dynamic", "group", "calendar"):
        one, other = fast.diagnostics["aggregates"][name], slow.diagnostics["aggregates"][name]
        assert one["value"] == pytest.approx(other["value"], abs=1e-10)
        assert one["std_error"] == pytest.approx(other["std_error"], abs=1e-10)


def test_moments_alone_give_the_same_answer_as_the_panel() -> None:
    panel = staggered(2)
    by_panel, by_moments = GroupTime().fit(panel), GroupTime().fit(CohortMoments.from_panel(panel))
    assert by_moments.effect == by_panel.effect
    assert by_moments.covariance is not None
    np.testing.assert_array_equal(by_moments.covariance, by_panel.covariance)
    assert by_moments.influence is None


def test_cells_are_differences_of_four_means() -> None:
    panel = staggered(3)
    first, outcome = panel.first_treated, panel.outcome
    for cell in GroupTime(control="not_yet_treated").fit(panel).diagnostics["group_time"]:
        g, t = panel.periods.index(cell["cohort"]), panel.periods.index(cell["period"])
        base = t - 1 if t < g else g - 1
        controls = first > max(t, base)
        controls &= first != g
        change = outcome[:, t] - outcome[:, base]
        expected = change[first == g].mean() - change[controls].mean()
        assert cell["value"] == pytest.approx(expected, abs=1e-12)


def test_contributions_are_the_derivative_in_each_units_weight() -> None:
    """Move one unit's weight a little: the answer moves by what the unit contributes (an infinitesimal jackknife)."""
    panel = staggered(4, covariates=True)
    n, step = len(panel.units), 1e-6
    weights = np.ones(n)
    for method in ("dr", "ipw", "reg"):
        fit = GroupTime(method=method).fit(replace(panel, weights=weights))
        assert fit.influence is not None
        for i in (0, 7, 22, 43, 59):
            moved = weights.copy()
            moved[i] += step
            other = GroupTime(method=method).fit(replace(panel, weights=moved)).effect
            assert (other - fit.effect) / step == pytest.approx(fit.influence[i], rel=2e-4, abs=1e-8)


@pytest.mark.parametrize("method", ["dr", "ipw", "reg"])
def test_cross_section_contributions_are_derivatives_too(method: Any) -> None:
    rng = np.random.default_rng(5)
    n, step = 200, 1e-6
    treated, after = rng.random(n) < 0.4, rng.random(n) < 0.5
    design = np.column_stack([np.ones(n), rng.normal(size=n) + 0.4 * treated])
    outcome = design[:, 1] * (1 + after) + treated + after + 0.7 * (treated & after) + rng.normal(size=n)

    def effect(weights: Any) -> Any:
        odds = None if method == "reg" else propensity(treated, design, weights)
        return cross_section_effect(outcome, treated, after, design, weights, method=method, odds=odds)

    found = effect(np.ones(n))
    assert found.contributions.sum() == pytest.approx(0, abs=1e-10)
    for i in (0, 50, 101, 173):
        weights = np.ones(n)
        weights[i] += step
        assert (effect(weights).value - found.value) / step == pytest.approx(found.contributions[i], rel=2e-4, abs=1e-8)


def test_cross_sections_without_covariates_are_differences_of_four_means() -> None:
    panel = staggered(6)
    fit = GroupTime(sampling="repeated_cross_section").fit(panel)
    assert fit.effect == pytest.approx(GroupTime().fit(panel).effect, abs=1e-10)


def test_cross_sections_read_one_row_per_unit() -> None:
    panel = staggered(7, n=400)
    rng = np.random.default_rng(7)
    seen = np.arange(N_PERIODS) == rng.integers(N_PERIODS, size=400)[:, None]
    once = replace(panel, outcome=np.where(seen, panel.outcome, np.nan))
    answer = estimate(once, "group-time", on_missing="keep", options={"sampling": "repeated_cross_section"})
    first, outcome = panel.first_treated, once.outcome
    for cell in answer.detail["group_time"]:
        g, t = panel.periods.index(cell["cohort"]), panel.periods.index(cell["period"])
        base = t - 1 if t < g else g - 1
        means = [np.nanmean(outcome[first == group][:, at]) for group in (g, N_PERIODS) for at in (t, base)]
        assert cell["value"] == pytest.approx(means[0] - means[1] - means[2] + means[3], abs=1e-10)


def test_whole_weights_count_like_copies_of_a_unit() -> None:
    panel = staggered(8, n=24)
    copies = np.array([1, 2, 3] * 8)
    repeated = Panel(
        outcome=np.repeat(panel.outcome, copies, axis=0),
        treated=np.repeat(panel.treated, copies, axis=0),
        units=tuple(f"{i:03d}" for i in range(copies.sum())),
        periods=panel.periods,
        cluster=tuple(np.repeat(panel.units, copies)),
    )
    weighted = GroupTime().fit(replace(panel, weights=copies.astype(float)))
    by_copies = GroupTime().fit(repeated)
    assert weighted.effect == pytest.approx(by_copies.effect, abs=1e-12)
    np.testing.assert_allclose(weighted.covariance, by_copies.covariance, rtol=1e-9)


def test_clusters_add_up_contributions() -> None:
    panel = staggered(9)
    cluster = tuple(f"state {i // 6}" for i in range(60))
    alone, together = GroupTime().fit(panel), GroupTime().fit(replace(panel, cluster=cluster))
    assert alone.influence is not None
    totals = alone.influence.reshape(10, 6).sum(axis=1)
    assert together.covariance is not None
    assert together.covariance[0, 0] == pytest.approx(float(totals @ totals), rel=1e-12)
    assert together.diagnostics["df"] == 9


def test_missing_cells_leave_the_pairs_that_are_there() -> None:
    panel = staggered(10)
    outcome = panel.outcome.copy()
    outcome[0, 4] = outcome[13, 2] = np.nan
    holes = replace(panel, outcome=outcome)
    with pytest.raises(DataError, match="missing"):
        estimate(holes, "group-time")
    answer = estimate(holes, "group-time", on_missing="keep")
    assert any("units seen in both of its periods" in warning for warning in answer.warnings)
    first = panel.first_treated
    cell = next(c for c in answer.detail["group_time"] if c["cohort"] == 2003 and c["period"] == 2005)
    change = outcome[:, 4] - outcome[:, 1]
    expected = np.nanmean(change[first == 2]) - np.nanmean(change[first == N_PERIODS])
    assert cell["value"] == pytest.approx(expected, abs=1e-12)


def test_anticipation_moves_base_and_reference() -> None:
    panel = staggered(11)
    fit = GroupTime(anticipation=1).fit(panel)
    assert fit.event_study is not None
    assert fit.event_study.reference == -2
    assert -1 in fit.event_study.event_times
    cell = next(c for c in fit.diagnostics["group_time"] if c["cohort"] == 2004 and c["period"] == 2005)
    change = panel.outcome[:, 4] - panel.outcome[:, 1]
    first = panel.first_treated
    assert cell["value"] == pytest.approx(change[first == 3].mean() - change[first == N_PERIODS].mean(), abs=1e-12)


def test_cohorts_without_a_base_are_left_out_and_named() -> None:
    panel = staggered(12)
    answer = estimate(panel, "group-time", options={"anticipation": 2})
    assert any("CB-D062" in warning and "u000" in warning for warning in answer.warnings)
    assert {cell["cohort"] for cell in answer.detail["group_time"]} == {2004, 2006}


def test_without_units_never_treated_it_refuses_or_uses_later_cohorts() -> None:
    panel = staggered(13, never=False)
    with pytest.raises(RefusalError, match="not_yet_treated"):
        estimate(panel, "group-time")
    answer = estimate(panel, "group-time", options={"control": "not_yet_treated"})
    assert any("have no control or no base and are left out" in warning for warning in answer.warnings)
    assert max(cell["period"] for cell in answer.detail["group_time"]) == 2005


def test_cohorts_of_two_units_have_no_error_of_their_own() -> None:
    panel = staggered(14)
    treated = panel.treated.copy()
    lonely = np.flatnonzero(panel.first_treated == 5)[:-2]
    treated[lonely] = False
    answer = estimate(replace(panel, treated=treated), "group-time")
    errors = {cell["std_error"] is None for cell in answer.detail["group_time"] if cell["cohort"] == 2006}
    assert errors == {True}
    assert any("CB-D025" in warning and "2006 of one or two units" in warning for warning in answer.warnings)


def test_covariates_that_separate_the_groups_are_refused() -> None:
    panel = staggered(15)
    telling = np.repeat((panel.first_treated == 2).astype(float)[:, None, None], N_PERIODS, axis=1)
    apart = replace(panel, covariates=telling, covariate_names=("told",))
    with pytest.raises(RefusalError, match="cohort 2003"):
        GroupTime().fit(apart)


def test_propensity_of_separated_groups_is_no_number() -> None:
    x = np.concatenate([np.linspace(-2, -1, 20), np.linspace(1, 2, 20)])
    with pytest.raises(OverlapError):
        propensity(x > 0, np.column_stack([np.ones(40), x]), np.ones(40))


@pytest.mark.parametrize("method", ["dr", "ipw", "reg"])
def test_scale_of_a_covariate_changes_nothing(method: Any) -> None:
    panel = staggered(16, covariates=True)
    fit = GroupTime(method=method).fit(panel)
    larger = GroupTime(method=method).fit(replace(panel, covariates=panel.covariates * 1e4))
    assert larger.effect == pytest.approx(fit.effect, rel=1e-9)
    np.testing.assert_allclose(larger.covariance, fit.covariance, rtol=1e-7)


def test_path_of_a_single_launch_averages_to_the_effect() -> None:
    panel = staggered(17)
    one = panel.only(units=np.isin(panel.first_treated, [3, N_PERIODS]))
    fit = GroupTime().fit(one)
    assert fit.path.effect[one.n_pre :].mean() == pytest.approx(fit.effect, abs=1e-12)
    assert fit.path.effect[one.n_pre - 1] == pytest.approx(0, abs=1e-12)


def test_doubly_robust_survives_either_model_being_wrong() -> None:
    """With x in both the assignment and the trend, the plain difference is off; each method with x is right."""
    rng = np.random.default_rng(18)
    n = 4000
    x = rng.normal(size=n)
    treated = rng.random(n) < 1 / (1 + np.exp(-x))
    change = 2 * x + 1.0 * treated + rng.normal(size=n)
    design, ones = np.column_stack([np.ones(n), x]), np.ones(n)
    plain = panel_effect(change, treated, ones[:, None], ones, method="reg", odds=None)
    assert abs(plain.value - 1) > 0.5
    for method in ("dr", "ipw", "reg"):
        odds = None if method == "reg" else propensity(treated, design, ones)
        found = panel_effect(change, treated, design, ones, method=method, odds=odds)
        error = float(np.sqrt((found.contributions**2).sum()))
        assert abs(found.value - 1) < 4 * error < 0.4


@pytest.mark.parametrize("control", ["never_treated", "not_yet_treated"])
def test_many_assignments_of_several_launches_equal_one_fit_each(control: Any) -> None:
    panel, rng = staggered(19), np.random.default_rng(19)
    launches = np.array([rng.permutation(panel.first_treated) for _ in range(5)])
    for row, fit in zip(launches, GroupTime(control=control).fit_many(panel, launches), strict=True):
        treated = np.arange(N_PERIODS) >= row[:, None]
        alone = GroupTime(control=control).fit(replace(panel, treated=treated))
        assert fit.effect == pytest.approx(alone.effect, abs=1e-12)
        np.testing.assert_allclose(fit.path.effect, alone.path.effect, rtol=0, atol=1e-12)
        np.testing.assert_allclose(fit.path.observed, alone.path.observed, rtol=0, atol=1e-12)


def test_totals_and_path_cover_the_cells_that_have_an_effect() -> None:
    panel = staggered(13, never=False)
    answer = estimate(panel, "group-time", options={"control": "not_yet_treated"})
    covered = panel.treated & (np.arange(N_PERIODS) < 5) & (panel.first_treated < 5)[:, None]
    assert answer.detail["incremental"] == pytest.approx(answer.value * covered.sum())
    assert answer.detail["counterfactual_mean"] == pytest.approx(panel.outcome[covered].mean() - answer.value)
    assert np.isnan(answer.path.effect[5:]).all()
    assert np.isfinite(answer.path.effect[:5]).all()


def test_a_missing_year_counts_in_event_time() -> None:
    rng = np.random.default_rng(20)
    since = np.arange(8) - np.repeat([3, 5, 8], 20)[:, None]
    outcome = rng.normal(size=(60, 1)) + 1e-3 * rng.normal(size=(60, 8)) + np.where(since >= 0, since, 0)
    whole = Panel(
        outcome=outcome,
        treated=since >= 0,
        units=tuple(f"u{i:02d}" for i in range(60)),
        periods=tuple(range(2001, 2009)),
    )
    holed = whole.only(periods=np.arange(8) != 4)
    found = {
        row["event_time"]: row["value"] for row in GroupTime().fit(holed).diagnostics["aggregates"]["dynamic"]["by"]
    }
    for time in (0, 1, 2, 3, 4):
        assert found[time] == pytest.approx(time, abs=0.01)


def test_periods_that_may_react_are_not_tested() -> None:
    panel = staggered(21, n=120)
    early = np.arange(N_PERIODS) == panel.first_treated[:, None] - 1
    reacting = replace(panel, outcome=panel.outcome + 8.0 * early)
    detail = GroupTime(anticipation=1).fit(reacting).diagnostics
    assert detail["pretest"]["p_value"] > 0.001
    assert GroupTime().fit(reacting).diagnostics["pretest"]["p_value"] < 1e-6


def test_cohorts_of_one_cluster_have_no_error_of_their_own() -> None:
    panel = staggered(22)
    first = panel.first_treated
    cluster = tuple("early" if first[i] == 2 else f"c{i // 3:02d}" for i in range(60))
    detail = GroupTime().fit(replace(panel, cluster=cluster)).diagnostics
    by = {row["cohort"]: row["std_error"] for row in detail["aggregates"]["group"]["by"]}
    assert by[2003] is None
    assert by[2004] is not None
    assert detail["aggregates"]["simple"]["std_error"] is not None


def test_few_treated_units_leave_no_standard_error_behind() -> None:
    panel = staggered(23)
    few = replace(panel, treated=panel.treated & (np.arange(60) < 4)[:, None])
    answer = estimate(few, "group-time")
    assert answer.inference == "permutation"
    assert answer.detail["aggregates"]["simple"]["std_error"] is None
    assert answer.detail["pretest"] is None
    assert all(cell["std_error"] is None for cell in answer.detail["group_time"])


def test_anticipation_longer_than_the_history_is_said_to_be_that() -> None:
    with pytest.raises(DataError, match="anticipation = 20 leaves no launch"):
        estimate(staggered(24), "group-time", options={"anticipation": 20})


def test_a_launch_period_is_not_dropped_for_a_missing_cell() -> None:
    panel = staggered(25)
    outcome = panel.outcome.copy()
    outcome[0, 3] = np.nan
    with pytest.raises(DataError, match="launches at 2004"):
        estimate(replace(panel, outcome=outcome), "group-time", on_missing="drop_period")
