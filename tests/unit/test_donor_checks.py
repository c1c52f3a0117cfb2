"""Checks on donors: both verdicts of each, what the words promise, and numbers worked out by hand."""

import dataclasses
import math

import numpy as np
import pytest

from causalbench.checks import CATALOGUE, donor_hull, method_agreement, overfitting
from causalbench.checks._donors import gross_shares, half_width
from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel, single_launch_panel
from causalbench.values import Interval
from causalbench.workflow.estimate import answer, generator

LEVEL_FREE = {"fixed_effects": "unit"}


def simulated(**changes):
    return factor_panel(
        **(
            {"n_units": 20, "n_periods": 40, "n_treated": 1, "n_post": 8, "effect": 0.0, "rho": 0.3, "seed": 3}
            | changes
        )
    )


def panel_of(outcome, *, n_pre, n_treated=1, **more):
    outcome = np.asarray(outcome, dtype=float)
    treated = (np.arange(len(outcome)) < n_treated)[:, None] & (np.arange(outcome.shape[1]) >= n_pre)
    units = tuple(f"u{i:02d}" for i in range(len(outcome)))
    return Panel(outcome=outcome, treated=treated, units=units, periods=tuple(range(outcome.shape[1])), **more)


def check(name, panel, method="synthetic-control", *, weights=None, value=None, **keys):
    found = answer(panel, method, **keys)
    changes = {key: new for key, new in (("weights", weights), ("value", value)) if new is not None}
    estimate = dataclasses.replace(found.estimate, **changes)
    return CATALOGUE.create(name).run(found.estimator, found.panel, estimate, rng=generator(0, name))


@pytest.mark.parametrize("name", ["donor-hull", "effective-donors", "leave-one-donor-out", "overfitting"])
def test_question_about_donors_does_not_arise_where_changes_are_compared(name):
    assert check(name, simulated(), "did") is None


def test_shares_of_negative_weights_are_shares_of_absolute_weight():
    assert gross_shares({"a": -0.5, "b": 1.5, "c": 1e-9}) == pytest.approx({"b": 0.75, "a": 0.25})


def test_half_width_needs_two_ends():
    segments = ((-1.0, 0.0), (2.0, 5.0))
    assert half_width(Interval(segments=segments, level=0.9, kind="placebo")) == 3.0
    assert half_width(Interval(segments=((-1.0, math.inf),), level=0.9, kind="placebo")) is None
    assert half_width(None) is None


@pytest.mark.parametrize(
    ("weights", "number", "share", "verdict"),
    [
        ({"a": 0.5, "b": 0.25, "c": 0.25}, 1 / (0.25 + 2 * 0.0625), 0.5, "pass"),
        ({"a": 0.9, "b": 0.1}, 1 / (0.81 + 0.01), 0.9, "review"),
        ({"a": 1.5, "b": -0.5}, 2**2 / (1.5**2 + 0.5**2), 0.75, "pass"),  # 1 / sum w^2 would be .4, less than one donor
    ],
)
def test_effective_donors_by_hand(weights, number, share, verdict):
    result = check("effective-donors", simulated(), weights=weights)
    assert result.table["effective_donors"] == pytest.approx(number, rel=1e-12)
    assert (result.statistic, result.verdict) == (pytest.approx(share), verdict)
    assert ("Negative weights of 50.0%" in result.reason) == (min(weights.values()) < 0)


def shifted(panel, lift):
    return dataclasses.replace(panel, outcome=panel.outcome + lift * panel.ever_treated[:, None])


def test_unit_among_its_donors_lies_within_their_hull():
    result = check("donor-hull", simulated(), inference="placebo-rank")
    assert result.verdict == "pass"
    assert not result.table["level_free"]


def test_unit_far_above_all_donors_fails_and_its_lasting_gap_is_told():
    panel = shifted(simulated(), 100.0)
    result = check("donor-hull", panel, inference="placebo-rank")
    assert result.verdict == "fail"
    highest = panel.outcome[1:, : panel.n_pre].mean(axis=1).max()
    # Far above, the nearest mixture is the donor that is highest on average.
    assert result.table["mean_gap"] == pytest.approx(panel.outcome[0, : panel.n_pre].mean() - highest, rel=1e-9)
    assert "fixed_effects = unit" in result.remedy
    assert "is no effect" in result.reason


def test_method_that_ignores_levels_is_judged_by_movements():
    near, far = (
        check("donor-hull", panel, options=LEVEL_FREE, inference="placebo-rank")
        for panel in (simulated(), shifted(simulated(), 100.0))
    )
    assert far.table["level_free"]
    assert far.verdict == near.verdict == "pass"
    assert far.table["distance"] == pytest.approx(near.table["distance"], rel=1e-8)


def test_distance_to_the_hull_by_hand():
    # Donors span the square from (0, 0) to (2, 2); the point (4, 1) lies 2 from its right edge in one of two periods.
    corners = [[0, 0, 1], [0, 2, 1], [2, 0, 1], [2, 2, 1]]
    result = check("donor-hull", panel_of([[4, 1, 9], *corners], n_pre=2), inference="placebo-rank")
    assert result.table["distance"] == pytest.approx(2 / math.sqrt(2))
    assert result.table["mean_gap"] == pytest.approx(1.0)


def test_hull_of_very_many_donors_is_spanned_by_the_heaviest_and_some_others(monkeypatch):
    monkeypatch.setattr(donor_hull, "_MOST", 10)
    found = answer(simulated(n_units=40), "synthetic-control", inference="conformal")
    run = CATALOGUE.create("donor-hull").run
    one, again = (run(found.estimator, found.panel, found.estimate, rng=np.random.default_rng(1)) for _ in range(2))
    assert "of 10 donors" in one.reason
    assert one.table == again.table


def test_each_treated_unit_is_measured_where_each_has_its_own_weights():
    # In the square from (0, 0) to (2, 2) lies (1, 1); (4, 1) lies 2 from its edge. Their mean, (2.5, 1), is in neither place.
    corners = [[0, 0, 1], [0, 2, 1], [2, 0, 1], [2, 2, 1]]
    panel = panel_of([[1, 1, 9], [4, 1, 9], *corners], n_pre=2, n_treated=2)
    each = {"treated_units": "each"}
    result = check("donor-hull", panel, options=each, inference="placebo-rank")
    assert (result.table["n_measured"], result.table["n_outside"]) == (2, 1)
    assert result.table["distance"] == pytest.approx(2 / math.sqrt(2))
    assert result.table["mean_gap"] == pytest.approx((0 + 1) / 2)
    assert "The worst, u01, lies 1.41 outcome" in result.reason


def test_rounding_is_no_distance():
    corners = [[0, 0, 1], [0, 2, 1], [2, 0, 1], [2, 2, 1]]
    panel = panel_of([[0.3, 0.7, 9], *corners], n_pre=2)
    result = check("donor-hull", panel, inference="placebo-rank")
    assert (result.verdict, result.statistic, result.table["distance"]) == ("pass", 1.0, 0.0)
    assert result.reason == "The treated units lie within what mixtures of donors reach before the launch (the hull)."


@pytest.mark.parametrize(
    ("outlying", "n", "chance"),
    [(0, 5, 1.0), (1, 1, 0.1), (1, 2, 1 - 0.9**2), (2, 2, 0.01)],  # worked out by hand
)
def test_chance_of_so_many_units_far_out(outlying, n, chance):
    assert donor_hull._so_many_by_chance(outlying, n) == pytest.approx(chance)


def test_two_donors_have_no_hull_to_rank_by():
    panel = panel_of([[1, 2, 3, 4], [0, 1, 0, 1], [2, 3, 4, 5]], n_pre=3)
    assert check("donor-hull", panel, inference="conformal").verdict == "not_evaluable"


def test_naive_error_repeats_the_last_season_by_hand():
    # A line of slope 1: repeating the last value before a stretch of 3 misses by 1, 2 and 3.
    line = np.arange(24.0)
    rng = np.random.default_rng(0)
    panel = panel_of([line, *(line + rng.normal(size=(6, 24)))], n_pre=18)
    result = check("overfitting", dataclasses.replace(panel, season=1), inference="placebo-rank")
    assert result.table["stretches"][0]["n_periods"] == 6
    assert result.table["naive"] == pytest.approx(math.sqrt(sum(k**2 for k in range(1, 7)) / 6))
    # With a season of two, the two values before the stretch are repeated: misses of 2, 2, 4, 4, 6, 6.
    seasonal = check("overfitting", dataclasses.replace(panel, season=2), inference="placebo-rank")
    assert seasonal.table["naive"] == pytest.approx(math.sqrt((4 + 16 + 36) / 3))
    assert "repeating the last 2 periods misses" in seasonal.reason


def test_stretches_leave_half_of_the_history_to_fit_on():
    assert overfitting._starts(40, 8, fewest=2) == [32, 24]
    assert overfitting._starts(180, 14, fewest=2) == [166, 152, 138, 124, 110]
    assert overfitting._starts(3, 1, fewest=2) == [2]
    assert overfitting._starts(2, 0, fewest=2) == []


def test_donors_that_share_the_movement_hold_in_periods_not_seen():
    result = check("overfitting", single_launch_panel(seed=1), inference="conformal")
    assert result.verdict == "pass"
    assert result.table["held_out"] < result.table["naive"]
    assert len(result.table["stretches"]) == 5


def test_donors_that_tell_nothing_fail_against_the_units_own_past():
    rng = np.random.default_rng(5)
    treated = rng.normal(size=(1, 75)).cumsum(axis=1)
    panel = panel_of(np.vstack([treated, 50 + rng.normal(size=(6, 75))]), n_pre=70)
    result = check("overfitting", panel, inference="placebo-rank")
    assert result.verdict == "fail"
    assert "less than the treated units' own past" in result.reason


def test_perfect_fit_with_more_donors_than_periods_is_overfitting():
    rng = np.random.default_rng(1)
    common = 5 * rng.normal(size=12)
    donors = common + rng.normal(size=(30, 12))
    panel = panel_of(np.vstack([donors[:3].mean(axis=0), donors]), n_pre=9)
    result = check("overfitting", panel, inference="placebo-rank")
    assert result.verdict == "review"
    assert "A perfect fit with 30 donors and only 9 periods" in result.reason


def test_history_too_short_to_hold_out_is_said():
    result = check("overfitting", simulated(n_periods=10, n_post=8), inference="placebo-rank")
    assert (result.verdict, result.reason) == (
        "not_evaluable",
        "2 periods before the launch leave nothing to hold out.",
    )


def test_leaving_out_keeps_whole_paths_for_several_treated_units():
    panel = simulated(n_treated=3)
    found = answer(panel, "synthetic-control", inference="conformal")
    result = CATALOGUE.create("leave-one-donor-out").run(
        found.estimator, found.panel, found.estimate, rng=generator(0, "x")
    )
    weighted = {unit for unit, weight in found.estimate.weights.items() if weight > 1e-4}
    assert set(result.table["gaps"]) == set(result.table["effects"]) == weighted
    for unit, gap in result.table["gaps"].items():
        assert gap[panel.n_pre :].mean() == pytest.approx(result.table["effects"][unit])
        refit = found.estimator.fit(panel.only(units=np.array(panel.units) != unit))
        assert refit.effect == result.table["effects"][unit]
    change = {unit: abs(effect - found.estimate.value) for unit, effect in result.table["effects"].items()}
    assert change[result.table["furthest"]] == max(change.values()) == result.statistic


def test_donors_with_negative_weight_are_left_out_too_and_of_many_the_heaviest():
    panel = simulated(n_units=40)
    weights = {unit: (-1) ** i * (i + 1.0) for i, unit in enumerate(panel.donor_pool)}
    result = check("leave-one-donor-out", panel, weights=weights, inference="placebo-rank")
    assert set(result.table["gaps"]) == set(panel.donor_pool[-20:])
    assert "Without one of its 20 heaviest donors" in result.reason


def test_both_contaminated_donors_are_named_with_weight_and_the_effect_without_them():
    panel = single_launch_panel(seed=4)
    result = check("contamination-screen", panel, inference="conformal", options=LEVEL_FREE)
    assert set(result.table["suspects"]) == {"donor01", "donor02"}
    assert result.verdict in ("review", "fail")
    assert "exclude = " in result.remedy
    clean = panel.only(units=~np.isin(panel.units, ["donor01", "donor02"]))
    without = answer(clean, "synthetic-control", inference="conformal", options=LEVEL_FREE).estimate.value
    assert result.table["effect_without"] == pytest.approx(without, rel=1e-9)


@pytest.mark.parametrize(
    ("on_suspect", "verdict"), [(0.0, "pass"), (0.2, "review"), (0.29, "review"), (0.31, "fail"), (-0.4, "fail")]
)
def test_weight_on_suspects_decides_between_review_and_fail(on_suspect, verdict):
    panel = single_launch_panel(seed=4, n_contaminated=1, contamination=0.3)
    weights = dict.fromkeys(panel.donor_pool, 0.0)
    weights |= {"donor01": on_suspect, "donor09": 1 - abs(on_suspect)}
    result = check("contamination-screen", panel, inference="conformal", weights=weights)
    assert result.table["suspects"] == ["donor01"]
    assert result.table["weight_on_suspects"] == pytest.approx(abs(on_suspect))
    assert result.verdict == verdict


def test_clean_donors_pass_with_what_would_have_been_noticed():
    result = check("contamination-screen", single_launch_panel(seed=4, n_contaminated=0), inference="conformal")
    assert result.verdict == "pass"
    assert "would go unnoticed" in result.reason


def test_screen_that_could_miss_half_of_the_effect_can_not_tell():
    panel = single_launch_panel(seed=4, n_contaminated=0, effect=0.0)
    result = check("contamination-screen", panel, inference="conformal", value=0.1)
    assert result.verdict == "not_evaluable"
    assert result.reason.endswith("the screen can't tell.")


def test_weight_that_a_method_does_not_state_may_be_one():
    panel = single_launch_panel(seed=4, n_contaminated=0)
    found = answer(panel, "synthetic-control", inference="conformal")
    run = CATALOGUE.create("contamination-screen").run
    for weights, words in ((found.estimate.weights, "pass"), (None, "not_evaluable")):
        estimate = dataclasses.replace(found.estimate, weights=weights, value=2.0)
        assert run(found.estimator, found.panel, estimate, rng=generator(0, "x")).verdict == words


def test_coefficients_take_the_place_of_weights():
    panel = single_launch_panel(seed=4, n_contaminated=0)
    found = answer(panel, "synthetic-control", inference="conformal")
    run = CATALOGUE.create("contamination-screen").run
    for coefficient, words in ((0.01, "pass"), (-5.0, "not_evaluable")):
        detail = found.estimate.detail | {"coefficients": dict.fromkeys(panel.donor_pool, coefficient)}
        estimate = dataclasses.replace(found.estimate, weights=None, value=2.0, detail=detail)
        result = run(found.estimator, found.panel, estimate, rng=generator(0, "x"))
        assert result.verdict == words
        assert "this method states none" not in result.reason


def test_screen_needs_donors_and_history():
    few = check("contamination-screen", simulated(n_units=5), inference="conformal")
    assert (few.verdict, few.remedy) == ("not_evaluable", "Ask each heavy donor what happened there.")
    assert "4 donors and 32 periods" in few.reason
    assert check("contamination-screen", simulated(n_treated=6), "did") is None


def test_of_very_many_donors_the_heaviest_are_screened():
    panel = simulated(n_units=301, n_periods=24, n_post=4)
    found = answer(panel, "synthetic-control", inference="conformal")
    result = CATALOGUE.create("contamination-screen").run(
        found.estimator, found.panel, found.estimate, rng=generator(0, "x")
    )
    assert len(result.table["units"]) == 200
    assert set(gross_shares(found.estimate.weights)) <= set(result.table["units"])


def agreement(monkeypatch, rows, *, value=10.0, reach=4.0):
    """Run the check with made-up answers of the other methods."""
    found = answer(simulated(), "synthetic-control", inference="conformal")
    interval = Interval(segments=((value - reach, value + reach),), level=0.9, kind="conformal")
    estimate = dataclasses.replace(found.estimate, value=value, interval=interval)
    answers = iter(rows)
    monkeypatch.setattr(method_agreement, "_FAMILY", ("synthetic-control", *("did" for _ in rows)))
    monkeypatch.setattr(method_agreement, "_ask", lambda *_, **__: next(answers))
    return CATALOGUE.create("method-agreement").run(found.estimator, found.panel, estimate, rng=generator(0, "x"))


def row(value, *ends, refusal=""):
    interval = Interval(segments=(ends,), level=0.9, kind="confidence") if ends else None
    return method_agreement._row("other", "placebo", value, interval, refusal=refusal)


@pytest.mark.parametrize(
    ("rows", "verdict", "statistic"),
    [
        ([row(12.0, 1.0, 23.0), row(7.0, 5.0, 9.0)], "pass", 3 / 4),
        ([row(12.0, 1.0, 23.0), row(15.0, 12.0, 18.0)], "review", 5 / 4),
        (
            [row(20.0, 0.0, 40.0)],
            "pass",
            10 / 20,
        ),  # further than this interval's half width, but the other reaches here
        ([row(9.0, 1.0, 17.0), row(-6.0, -9.0, -3.0)], "fail", 16 / 4),
        ([row(11.0), row(None, refusal="it needs more")], "pass", 1 / 4),
        ([row(None, refusal="it needs more")], "not_evaluable", None),
    ],
)
def test_distance_between_methods_is_judged_by_the_interval(monkeypatch, rows, verdict, statistic):
    result = agreement(monkeypatch, rows)
    assert (result.verdict, result.statistic) == (verdict, statistic and pytest.approx(statistic))
    assert ("other can't answer: it needs more." in result.reason) == any(row["refusal"] for row in rows)
    assert len(result.table["methods"]) == 1 + len(rows)


def test_unbounded_interval_leaves_the_judgement_to_the_others(monkeypatch):
    result = agreement(monkeypatch, [row(12.0, 6.0, 18.0), row(9.0, 5.0, 13.0), row(70.0)], reach=math.inf)
    assert result.statistic == pytest.approx(2 / 6)
    assert agreement(monkeypatch, [row(12.0)], reach=math.inf).verdict == "not_evaluable"


def test_other_methods_are_run_with_shared_choices_and_refusals_are_named(monkeypatch):
    monkeypatch.setattr(method_agreement, "_FAMILY", ("synthetic-control", "did", "triple-differences"))
    options = method_agreement.shared_options(
        answer(simulated(), "synthetic-control", options=LEVEL_FREE).estimator,
        method_agreement.ESTIMATORS.load("synthetic-control"),
    )
    assert options["fixed_effects"] == "unit"
    assert options["exclude"] == ()
    monkeypatch.setattr(method_agreement, "_FAMILY", ("synthetic-control", "did"))
    result = check("method-agreement", simulated(), inference="conformal")
    own, other = result.table["methods"]
    assert own["method"] == "synthetic-control"
    assert other["value"] == answer(simulated(), "did").estimate.value
    assert other["inference"] == "permutation"
    long = simulated(n_periods=600, effect=1.0)
    assert check("method-agreement", long, inference="conformal").table["methods"][1]["interval"] is None


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("causal-impact needs one launch date", "it needs one launch date"),
        ("too short", "too short"),
        ("causal-impacts differ", "causal-impacts differ"),
    ],
)
def test_method_that_refuses_is_named_once(message, told):
    assert method_agreement._about(message, "causal-impact") == told


def test_agreement_is_asked_within_the_family_alone():
    assert check("method-agreement", simulated(), "did") is None
