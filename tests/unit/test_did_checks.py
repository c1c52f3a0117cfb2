"""Checks on event studies and launch dates: every verdict, and silence where a question doesn't arise."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import numpy as np
import pytest

from causalbench.artifacts import canonical_json, plain
from causalbench.checks import CATALOGUE
from causalbench.checks._event_times import average_lag, exposure
from causalbench.data.panel import Panel
from causalbench.numerics.pre_trends import welch_degrees
from causalbench.values import CheckResult, EffectPath, Estimand, Estimate, EventStudy, Finding, Interval
from causalbench.workflow.estimate import answer

SCALES = [1e-6, 1.0, 1e6]
ON_EVENT_STUDIES = (
    "pre-trend", "pre-trend-equivalence", "anticipation", "launch-timing", "effect-decay", "composition",
)  # fmt: skip
ON_LAUNCH_DATES = ("cohort-sizes", "forbidden-comparisons", "composition")


def study_of(
    values: list[float],
    *,
    n_leads: int,
    error: float = 0.1,
    n_treated: int | list[int] = 30,
    reference: int = -1,
    scale: float = 1.0,
) -> EventStudy:
    """Build an event study whose first values are leads; all share half of their variance with the reference."""
    k = len(values)
    times = np.array([*range(reference - n_leads, reference), *range(reference + 1, reference + 1 + k - n_leads)])
    covariance = error**2 * (np.eye(k) + np.ones((k, k))) / 2
    return EventStudy(
        event_times=times,
        values=scale * np.array(values),
        covariance=scale**2 * covariance,
        n_treated=np.broadcast_to(n_treated, k),
        reference=reference,
    )


def panel_of(launches: dict[int, int], *, n_periods: int = 12, scale: float = 1.0, growth: float = 0.0) -> Panel:
    """Build a panel with so many units launching at each period; ``n_periods`` stands for never."""
    first = np.repeat(list(launches), list(launches.values()))
    since = np.arange(n_periods) - first[:, None]
    noise = np.random.default_rng(0).normal(size=since.shape)
    return Panel(
        outcome=scale * (noise + np.where(since >= 0, 1 + growth * since, 0.0)),
        treated=since >= 0,
        units=tuple(f"u{i:03d}" for i in range(len(first))),
        periods=tuple(range(2000, 2000 + n_periods)),
    )


def estimate_of(study: EventStudy | None, value: float, *, p_value: float = 0.01, **detail: Any) -> Estimate:
    far = abs(value) or 1.0
    segment = (value - far / 2, value + far / 2) if p_value <= 0.05 else (value - 2 * far, value + 2 * far)
    return Estimate(
        metric="sales",
        estimand=Estimand(kind="att", population="x", weighting="unit", window="x", units="x"),
        estimator="group-time",
        inference="cluster",
        inference_options={},
        value=value,
        std_error=far / 4,
        interval=Interval(segments=(segment,), level=0.95, kind="confidence"),
        p_value=p_value,
        posterior_tail=None,
        path=EffectPath(periods=(1,), observed=np.zeros(1), counterfactual=np.zeros(1)),
        event_study=study,
        bands=None,
        path_bands=None,
        weights=None,
        detail=detail,
        warnings=(),
        n_treated=30,
        n_control=30,
        n_pre=6,
        n_post=6,
    )


ONE_DATE = panel_of({8: 30, 20: 30}, n_periods=20)
ONE_OF_MANY = re.compile(r"(?<![\d.,])1 (\w+ )?(units|periods|clusters|leads|cohorts|donors|event times)\b")


def check(name: str, estimate: Estimate, panel: Panel = ONE_DATE) -> CheckResult | None:
    result: CheckResult | None = CATALOGUE.create(name).run(None, panel, estimate, rng=np.random.default_rng(0))
    if result is not None:
        canonical_json(plain(result))
        assert result.name == name
        assert result.question.endswith("?")
        assert result.reason.endswith((".", ")"))
        assert not ONE_OF_MANY.search(result.reason)
        assert result.verdict != "review" or result.remedy
    return result


def verdict(name: str, estimate: Estimate, panel: Panel = ONE_DATE) -> str | None:
    result = check(name, estimate, panel)
    return None if result is None else result.verdict


@pytest.mark.parametrize("name", ON_EVENT_STUDIES)
def test_question_does_not_arise_without_an_event_study(name: str) -> None:
    assert verdict(name, estimate_of(None, 1.0), panel_of({5: 10, 8: 10, 12: 10})) is None


@pytest.mark.parametrize("name", ON_LAUNCH_DATES)
def test_question_does_not_arise_with_one_launch_date(name: str) -> None:
    assert verdict(name, estimate_of(study_of([0, 0, 1, 1, 1], n_leads=2), 1.0)) is None


@pytest.mark.parametrize(
    ("name", "n_leads", "n_lags"),
    [
        ("pre-trend", 0, 3),
        ("pre-trend-equivalence", 0, 3),
        ("anticipation", 1, 3),
        ("launch-timing", 2, 3),
        ("effect-decay", 4, 2),
    ],
)
def test_question_does_not_arise_with_too_few_event_times(name: str, n_leads: int, n_lags: int) -> None:
    study = study_of([0.0] * n_leads + [1.0] * n_lags, n_leads=n_leads)
    assert verdict(name, estimate_of(study, 1.0)) is None


@pytest.mark.parametrize("name", ON_EVENT_STUDIES[:5])
@pytest.mark.parametrize(
    ("panel", "changes"),
    [
        (panel_of({6: 2, 12: 30}), {"n_treated": 2}),
        (panel_of({6: 30, 12: 1}), {}),
        (ONE_DATE, {"error": 0.0}),
        (ONE_DATE, {"error": math.nan}),
        (dataclasses.replace(ONE_DATE, cluster=("east",) * 30 + ("west",) * 30), {}),
    ],
    ids=["two treated", "one control", "error of zero", "no error", "two clusters"],
)
def test_errors_that_can_not_be_used_are_said_and_never_pass(name: str, panel: Panel, changes: dict[str, Any]) -> None:
    study = study_of([0.0] * 4 + [1.0] * 4, n_leads=4, **changes)
    result = check(name, estimate_of(study, 1.0), panel)
    assert result is not None
    assert result.verdict == "not_evaluable"


def test_event_times_with_few_units_are_left_out_and_it_is_said() -> None:
    counts = [1, 20, 30, 30, 30, 30, 30, 1]
    study = study_of([9.0, 0, 0, 0, 2, 2, 2, 9.0], n_leads=4, n_treated=counts)
    result = check("pre-trend", estimate_of(study, 2.0))
    assert result is not None
    assert (result.verdict, result.table["n_leads"]) == ("pass", 3)
    assert result.reason.endswith("Event times with fewer than 10 treated units are left out.")


def test_quiet_leads_pass_only_where_an_overlooked_drift_would_be_small() -> None:
    leads = [0.05, -0.04, 0.02, 0.03]
    large = check("pre-trend", estimate_of(study_of([*leads, 3, 3, 3], n_leads=4), 3.0))
    small = check("pre-trend", estimate_of(study_of([*leads, 0.15, 0.15, 0.15], n_leads=4), 0.15))
    assert large is not None
    assert small is not None
    assert (large.verdict, small.verdict) == ("pass", "review")
    assert large.table["p_value"] == small.table["p_value"] > 0.05
    assert "no proof of parallel trends" in large.reason
    assert "can't tell" in small.reason
    moved = large.table["slope_80"] * 2  # lags are 1, 2 and 3 periods from the reference
    assert large.table["exposure"] == pytest.approx(2)
    assert f"{moved:.4f}"[:5] in large.reason


def test_leads_that_move_ask_for_review_and_fail_where_their_line_makes_the_effect() -> None:
    drift = [-1.2, -0.9, -0.6, -0.3]
    made = check("pre-trend", estimate_of(study_of([*drift, 0.3, 0.6, 0.9], n_leads=4), 0.6))
    against = check("pre-trend", estimate_of(study_of([*drift, -2, -2, -2], n_leads=4), -2.0))
    minor = check("pre-trend", estimate_of(study_of([*drift, 9, 9, 9], n_leads=4), 9.0))
    assert [result and result.verdict for result in (made, against, minor)] == ["fail", "review", "review"]
    assert made is not None
    assert made.table["slope"] == pytest.approx(0.3)
    assert "+0.6000" in made.reason


def test_drift_moves_an_estimate_against_the_whole_history_further() -> None:
    study = study_of([0.4, 0.1, 0.0, 2.0, 2.2], n_leads=3)
    panel = panel_of({4: 30, 12: 30})
    # The same number, so that nothing but the estimator's word can tell what it is measured against.
    against_reference = check("pre-trend", estimate_of(study, 2.1 - 0.5 / 4), panel)
    against_history = check("pre-trend", estimate_of(study, 2.1 - 0.5 / 4, baseline="all"), panel)
    assert against_reference is not None
    assert against_history is not None
    assert against_reference.table["exposure"] == pytest.approx(1.5)
    assert against_history.table["exposure"] == pytest.approx(
        1.5 + 1.5
    )  # periods -4 to -1 lie 1.5 before -1 on average


def test_many_leads_are_not_allowed_to_cry_wolf() -> None:
    study = study_of([0.0] * 40 + [3.0] * 5, n_leads=40)
    result = check("pre-trend", estimate_of(study, 3.0), panel_of({41: 30, 46: 30}, n_periods=46))
    assert result is not None
    assert result.table["rule"] == "each lead at 5% divided by their number"
    assert result.table["false_alarms"] < 0.05
    assert result.table["slope_50"] < result.table["slope_80"]


def test_more_leads_than_units_are_tested_one_by_one() -> None:
    study = study_of([0.0] * 39 + [9.0] + [3.0] * 5, n_leads=40, n_treated=5)
    result = check("pre-trend", estimate_of(study, 3.0), panel_of({41: 5, 46: 30}, n_periods=46))
    assert result is not None
    assert result.table["test"] == "largest-lead"
    assert result.verdict in ("review", "fail")


def test_equivalence_needs_proof_that_leads_are_small() -> None:
    leads = [0.1, -0.1, 0.05]
    shown = check("pre-trend-equivalence", estimate_of(study_of([*leads, 2, 2], n_leads=3, error=0.1), 2.0))
    noisy = check("pre-trend-equivalence", estimate_of(study_of([*leads, 2, 2], n_leads=3, error=0.9), 2.0))
    assert shown is not None
    assert noisy is not None
    assert (shown.verdict, noisy.verdict) == ("pass", "review")
    assert shown.threshold == 1.0
    assert shown.statistic == pytest.approx(0.1 + 1.6716 * 0.1, abs=1e-4)  # t quantile, .95, 58 degrees of freedom


@pytest.mark.parametrize(("last", "expected"), [(0.0, "pass"), (-0.8, "review"), (0.8, "review")])
def test_reference_period_off_the_earlier_line_hints_at_anticipation(last: float, expected: str) -> None:
    line = [-0.4 - last, -0.3 - last, -0.2 - last, -0.1 - last]  # relative to a reference period off by `last`
    study = study_of([*line, 3 - last, 3 - last, 3 - last], n_leads=4, error=0.12)
    result = check("anticipation", estimate_of(study, 3 - last))
    assert result is not None
    assert result.verdict == expected
    assert result.table["gap"] == pytest.approx(last, abs=1e-9)
    if expected == "review":
        assert "the effect is 3.000" in result.reason


def test_two_earlier_periods_give_a_mean() -> None:
    result = check("anticipation", estimate_of(study_of([0.9, 1.1, 4, 4], n_leads=2), 4.0))
    assert result is not None
    assert result.table["gap"] == pytest.approx(-1.0)


def test_noisy_history_can_not_tell_anticipation() -> None:
    assert verdict("anticipation", estimate_of(study_of([0.0] * 4 + [1.0] * 3, n_leads=4, error=0.8), 1.0)) == (
        "not_evaluable"
    )


def test_periods_between_reference_and_launch_are_tested_themselves() -> None:
    study = study_of(
        [-0.3, -0.2, -0.1, 0.1, 1.2, 3, 3], n_leads=3, reference=-3
    )  # event times -2 and -1 hold .1 and 1.2
    result = check("anticipation", estimate_of(study, 3.0))
    assert result is not None
    assert result.table["at_reference"] is False
    assert result.table["gap"] == pytest.approx((0.1 + 1.2) / 2 - 0.15)
    assert "anticipating periods" in result.reason


@pytest.mark.parametrize(
    ("dip", "value", "expected"), [(-1.0, 2.0, "review"), (1.0, 2.0, "pass"), (1.0, -2.0, "review"), (0.0, 2.0, "pass")]
)
def test_dip_against_the_direction_of_the_effect_is_a_return_to_normal(dip: float, value: float, expected: str) -> None:
    study = study_of([-dip, -dip, -dip, -dip, 0.0, value, value], n_leads=5)
    result = check("launch-timing", estimate_of(study, value))
    assert result is not None
    assert result.verdict == expected
    assert result.table["n_last"] == 2
    assert result.table["gap"] == pytest.approx(dip)
    assert result.table["effect_from_earlier"] == pytest.approx(value + dip)


def test_noisy_history_can_not_tell_a_dip() -> None:
    assert verdict("launch-timing", estimate_of(study_of([0.0] * 5 + [1.0] * 2, n_leads=5, error=0.9), 1.0)) == (
        "not_evaluable"
    )


FADING = (4 * 0.5 ** (np.arange(9) / 3)).tolist()


def test_fading_effect_is_novelty_with_its_half_life() -> None:
    result = check("effect-decay", estimate_of(study_of([0, 0, *FADING], n_leads=2), float(np.mean(FADING))))
    assert result is not None
    assert result.verdict == "review"
    assert result.table["half_life"] == pytest.approx(3, abs=0.01)
    assert result.table["first_third"] > 2 * result.table["last_third"]
    assert "halving in about 3.0 periods" in result.reason


def test_fading_harm_is_fading_too() -> None:
    values = [-value for value in FADING]
    assert (
        verdict("effect-decay", estimate_of(study_of([0, 0, *values], n_leads=2), float(np.mean(values)))) == "review"
    )


@pytest.mark.parametrize(
    ("values", "error", "expected"),
    [([2.0] * 9, 0.1, "pass"), (FADING[::-1], 0.1, "pass"), ([2.0] * 9, 2.5, "not_evaluable")],
    ids=["steady", "growing", "noisy"],
)
def test_steadiness_is_granted_only_where_a_halving_would_show(
    values: list[float], error: float, expected: str
) -> None:
    study = study_of([0, 0, *values], n_leads=2, error=error)
    result = check("effect-decay", estimate_of(study, float(np.mean(values))))
    assert result is not None
    assert (result.verdict, result.table["half_life"]) == (expected, None)


def test_no_effect_can_not_fade() -> None:
    assert verdict("effect-decay", estimate_of(study_of([0, *FADING], n_leads=1), 0.4, p_value=0.5)) == "not_evaluable"


STAGGERED = panel_of({4: 10, 8: 30, 12: 20})


def cells(effects: dict[int, list[float]]) -> list[dict[str, Any]]:
    return [
        {"cohort": 2000 + start, "period": 2000 + start + e, "value": value, "std_error": 0.1}
        for start, path in effects.items()
        for e, value in enumerate(path)
    ]


def mixed(effects: dict[int, list[float]], counts: dict[int, int]) -> EventStudy:
    """Average cohorts by their units at every event time."""
    longest = max(map(len, effects.values()))
    present = [[start for start, path in effects.items() if e < len(path)] for e in range(longest)]
    values = [np.average([effects[s][e] for s in at], weights=[counts[s] for s in at]) for e, at in enumerate(present)]
    n_treated = [sum(counts[s] for s in at) for at in present]
    return study_of([0.0, *values], n_leads=1, n_treated=[sum(counts.values()), *n_treated])


def test_shape_that_comes_from_who_is_averaged_is_told() -> None:
    # Three cohorts whose effects are constant: 5, 1 and 1. The mean falls when the first drops out.
    panel, counts = panel_of({4: 10, 6: 10, 9: 20, 12: 20}), {4: 10, 6: 10, 9: 20}
    effects = {4: [1.0] * 8, 6: [1.0] * 6, 9: [5.0] * 3}
    study = mixed(effects, counts)
    result = check("composition", estimate_of(study, 2.0, group_time=cells(effects)), panel)
    assert result is not None
    assert result.verdict == "review"
    assert result.table["window"] == [0, 1, 2, 3, 4, 5]
    assert result.table["balanced"] == pytest.approx([1.0] * 6)
    assert result.table["n_balanced"] == 20
    same = {start: [3.0] * len(path) for start, path in effects.items()}
    equal = check("composition", estimate_of(mixed(same, counts), 3.0, group_time=cells(same)), panel)
    assert equal is not None
    assert equal.verdict == "pass"


def test_composition_without_change_or_without_cells() -> None:
    steady = study_of([0, 1, 1, 1], n_leads=1, n_treated=40)
    changing = study_of([0, 1, 1, 1], n_leads=1, n_treated=[40, 40, 40, 10])
    assert verdict("composition", estimate_of(steady, 1.0), STAGGERED) == "pass"
    assert verdict("composition", estimate_of(changing, 1.0), STAGGERED) == "not_evaluable"
    partial = cells({8: [1.0]})
    assert verdict("composition", estimate_of(changing, 1.0, group_time=partial), STAGGERED) == "not_evaluable"


@pytest.mark.parametrize(
    ("launches", "expected"),
    [
        ({4: 10, 8: 12, 12: 9}, "pass"),
        ({4: 9, 8: 12, 12: 9}, "review"),
        ({4: 2, 8: 30, 12: 9}, "review"),
        ({4: 2, 6: 1, 8: 3, 12: 9}, "fail"),
    ],
)
def test_few_units_at_a_launch_date(launches: dict[int, int], expected: str) -> None:
    result = check("cohort-sizes", estimate_of(None, 1.0, group_time=[]), panel_of(launches))
    assert result is not None
    assert result.verdict == expected
    assert list(result.table["sizes"].values()) == [n for start, n in launches.items() if start < 12]
    assert result.table["n_never_treated"] == 9


def test_units_by_launch_date_are_no_question_without_effects_by_cohort() -> None:
    assert check("cohort-sizes", estimate_of(None, 1.0), STAGGERED) is None


@pytest.mark.parametrize(("count", "expected"), [(2, "pass"), (30, "review")])
def test_units_treated_before_the_data_begin_are_counted(count: int, expected: str) -> None:
    names = tuple(f"early{i}" for i in range(count))
    finding = Finding(code="CB-D023", severity="warning", message="x", action="left out", count=count, units=names)
    panel = dataclasses.replace(ONE_DATE, findings=(finding,))
    result = check("always-treated", estimate_of(None, 1.0), panel)
    assert result is not None
    assert result.verdict == expected
    assert result.statistic == pytest.approx(count / (30 + count))
    assert f"{count} units of {60 + count}" in result.reason
    assert verdict("always-treated", estimate_of(None, 1.0)) is None
    other = dataclasses.replace(panel, findings=(dataclasses.replace(finding, code="CB-D062"),))
    assert verdict("always-treated", estimate_of(None, 1.0), other) is None


@pytest.mark.parametrize("scale", SCALES)
def test_two_way_regression_is_taken_apart(scale: float) -> None:
    panel = panel_of({4: 10, 8: 30, 12: 20}, scale=scale, growth=0.8)
    result = check("forbidden-comparisons", estimate_of(None, 3.0 * scale), panel)
    assert result is not None
    table = result.table
    assert result.verdict == "pass"
    assert 0 < table["forbidden_share"] < 1
    total = sum(row["weight"] * row["estimate"] for row in table["comparisons"])
    assert total == pytest.approx(table["two_way_estimate"], rel=1e-10)
    assert sum(row["weight"] for row in table["by_type"]) == pytest.approx(1)
    assert {row["type"] for row in table["by_type"] if row["forbidden"]} == {"later-vs-earlier"}
    assert {row["comparison"] for row in table["comparisons"]} == {2004, 2008, "never"}
    own = estimate_of(None, table["two_way_estimate"])
    assert verdict("forbidden-comparisons", own, panel) in ("review", "fail")


def test_two_way_regression_with_nothing_else_fails() -> None:
    panel = panel_of({2: 10, 8: 30}, growth=3.0)  # no unit is never treated, effects grow fast
    own = check("forbidden-comparisons", estimate_of(None, 1.0), panel)
    assert own is not None
    assert verdict("forbidden-comparisons", estimate_of(None, own.table["two_way_estimate"]), panel) == "fail"


def test_two_way_regression_needs_every_cell() -> None:
    outcome = STAGGERED.outcome.copy()
    outcome[0, 0] = np.nan
    panel = dataclasses.replace(STAGGERED, outcome=outcome)
    assert verdict("forbidden-comparisons", estimate_of(None, 1.0), panel) == "not_evaluable"


def test_many_launch_dates_keep_the_heaviest_comparisons() -> None:
    panel = panel_of(dict.fromkeys(range(1, 25), 2), n_periods=26)
    result = check("forbidden-comparisons", estimate_of(None, 1.0), panel)
    assert result is not None
    assert len(result.table["comparisons"]) == 400 < result.table["n_comparisons"]
    assert result.table["weight_listed"] < 1
    assert sum(row["weight"] for row in result.table["by_type"]) == pytest.approx(1)


@pytest.mark.parametrize("name", ON_EVENT_STUDIES[:5])
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_verdict_does_not_depend_on_the_unit_of_the_outcome(name: str, scale: float) -> None:
    values = [0.2, 0.1, -0.1, 0.15, 0.05, 2.0, 1.8, 1.7, 1.5, 1.4]
    one = check(name, estimate_of(study_of(values, n_leads=5), 1.68))
    other = check(name, estimate_of(study_of(values, n_leads=5, scale=scale), 1.68 * scale))
    assert one is not None
    assert other is not None
    assert one.verdict == other.verdict
    for key in set(one.table) & {"p_value", "half_life", "false_alarms", "exposure"}:
        same = other.table[key] == one.table[key] or other.table[key] == pytest.approx(one.table[key], rel=1e-6)
        assert same, key


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pre-trend", "anticipation", "launch-timing"])
def test_checks_raise_false_alarms_no_more_often_than_they_say(name: str) -> None:
    """20 treated and 40 control units, 8 periods before and 4 after, autocorrelation .5; 400 draws, MC error .011."""
    rng, found = np.random.default_rng(7), []
    panel = panel_of({8: 20, 12: 40})
    for _ in range(400):
        noise = rng.normal(size=(60, 12))
        for t in range(1, 12):
            noise[:, t] += 0.5 * noise[:, t - 1]
        relative = np.delete(noise - noise[:, [7]], 7, axis=1)
        treated, control = relative[:20], relative[20:]
        study = EventStudy(
            event_times=np.delete(np.arange(-8, 4), 7),
            values=treated.mean(axis=0) - control.mean(axis=0) + np.where(np.arange(11) >= 7, 3.0, 0.0),
            covariance=np.cov(treated.T) / 20 + np.cov(control.T) / 40,
            n_treated=np.full(11, 20),
            reference=-1,
        )
        result = check(name, estimate_of(study, float(study.values[7:].mean())), panel)
        assert result is not None
        assert result.statistic is not None
        found.append(result.statistic <= 0.05)
    assert np.mean(found) == pytest.approx(0.05, abs=0.01 + 2 * math.sqrt(0.05 * 0.95 / 400))


def degrees(panel: Panel, **changes: Any) -> float:
    study = study_of([0, 0, 2, 2], n_leads=2, n_treated=panel.n_treated, **changes)
    result = check("pre-trend", estimate_of(study, 2.0), panel)
    assert result is not None
    assert result.verdict != "not_evaluable"
    return float(result.table["degrees"])


def weighted(panel: Panel, weights: list[float]) -> Panel:
    return dataclasses.replace(panel, weights=np.array(weights))


def test_degrees_of_freedom_follow_how_evenly_weights_fall() -> None:
    panel = panel_of({6: 20, 12: 40})
    # Ten units of weight 9 and ten of weight 1 count as 100^2 / 820 units.
    uneven = weighted(panel, [9.0] * 10 + [1.0] * 10 + [2.0] * 40)
    assert degrees(weighted(panel, [5.0] * 60)) == pytest.approx(welch_degrees(20, 40))
    assert degrees(uneven) == pytest.approx(welch_degrees(100**2 / 820, 40))


def test_clusters_count_by_their_total_weight_and_once_where_they_hold_both_arms() -> None:
    panel = panel_of({6: 20, 12: 40})
    apart = dataclasses.replace(panel, cluster=tuple(f"t{i % 5}" for i in range(20)) + tuple("abcdefgh") * 5)
    assert degrees(apart) == pytest.approx(welch_degrees(5, 8))
    both = dataclasses.replace(panel, cluster=(*"abcdefgh", *"abcdefgh", *"abcd") + tuple("abcdefgh") * 5)
    assert degrees(both) < 7
    even = dataclasses.replace(panel, cluster=tuple("abcde" * 12))
    assert degrees(even) == pytest.approx(4)


def test_one_heavy_unit_leaves_nothing_to_measure_an_error_by() -> None:
    panel = weighted(panel_of({6: 20, 12: 40}), [1000.0] + [1.0] * 59)
    for name in ON_EVENT_STUDIES[:5]:
        result = check(name, estimate_of(study_of([0.0] * 4 + [1.0] * 4, n_leads=4, n_treated=20), 1.0), panel)
        assert result is not None
        assert result.verdict == "not_evaluable"
        assert "in effect 1.04 treated and 40 control" in result.reason


def test_event_times_of_one_small_cohort_rest_on_that_cohort() -> None:
    # Event time 6 is seen for the first cohort only, in which one unit has all the weight.
    panel = weighted(panel_of({4: 10, 8: 30, 12: 40}), [1000.0] + [1.0] * 79)
    study = study_of([0.0, *[1.0] * 7], n_leads=1, n_treated=[40] * 5 + [10] * 3)
    assert verdict("effect-decay", estimate_of(study, 1.0), panel) == "not_evaluable"


def test_averages_over_event_times_take_the_weights_of_units() -> None:
    first, late = 20.0, 1.0
    panel = weighted(panel_of({4: 20, 8: 20, 12: 40}, growth=0.5), [first] * 20 + [late] * 20 + [1.0] * 40)
    found = answer(panel, "group-time", inference="cluster").estimate
    assert found.event_study is not None
    assert average_lag(found.event_study) == pytest.approx(found.value)
    by_units = dataclasses.replace(found.event_study, shares=None)
    assert abs(average_lag(by_units) - found.value) > 0.1


@pytest.mark.parametrize("launches", [{6: 12, 12: 20}, {1: 12, 12: 20}])
def test_did_says_that_it_is_measured_against_the_whole_history(launches: dict[int, int]) -> None:
    # A drift of one per period, added to the treated units, moves the estimate by exactly the exposure.
    panel = panel_of(launches)
    drift = np.arange(12) * panel.ever_treated[:, None]
    found, drifted = (
        answer(dataclasses.replace(panel, outcome=panel.outcome + extra), "did").estimate for extra in (0.0, drift)
    )
    assert found.event_study is not None
    assert exposure(found.event_study, panel, found) == pytest.approx(drifted.value - found.value)


def test_effects_without_a_number_are_left_out_or_said() -> None:
    panel = panel_of({4: 10, 6: 10, 9: 20, 12: 20})
    study = study_of([0.0, 1.0, math.nan, 3.0], n_leads=1, n_treated=[40, 40, 40, 20])
    assert average_lag(study) == pytest.approx((40 * 1 + 20 * 3) / 60)
    result = check("composition", estimate_of(study, 1.0, group_time=cells({4: [1.0] * 3, 6: [1.0] * 3})), panel)
    assert result is not None
    assert result.verdict == "not_evaluable"


def test_quiet_leads_never_read_as_a_green_light() -> None:
    estimate = estimate_of(study_of([0.05, -0.04, 0.02, 0.03, 3, 3, 3], n_leads=4), 3.0)
    for name in ("pre-trend", "pre-trend-equivalence"):
        result = check(name, estimate)
        assert result is not None
        assert result.verdict == "pass"
        assert "at the launch itself" in result.reason


def test_degrees_of_freedom_follow_the_smaller_side() -> None:
    result = check(
        "pre-trend", estimate_of(study_of([0, 0, 2, 2], n_leads=2, n_treated=12), 2.0), panel_of({6: 12, 12: 48})
    )
    assert result is not None
    assert result.table["degrees"] == pytest.approx(welch_degrees(12, 48))
