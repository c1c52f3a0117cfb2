"""Every row of the table of methods: which facts make it primary, and what each refusal measures and asks for."""

import dataclasses
import inspect
import re

import pytest

from causalbench.plan import advise as advise_module
from causalbench.plan import conditions, other_rows, panel_rows
from causalbench.plan.advise import THRESHOLDS, Profile, advise, screened
from causalbench.plan.profile import Unfit

ONE = Profile(n_treated=1, n_control=30, n_pre=60, n_post=7, frequency="week", inside_hull=True)
FEW = dataclasses.replace(ONE, n_treated=3, n_treated_clusters=3, fewest_cohort=3)
MANY = Profile(n_treated=12, n_control=28, n_pre=20, n_post=6)
PHASED = Profile(n_treated=40, n_control=10, n_pre=8, n_post=12, n_cohorts=8, fewest_cohort=5)
ALONE = Profile(n_treated=1, n_control=3, n_pre=120, n_post=14, frequency="day", season=7)
OPT_IN = Profile(
    shape="cross-section",
    assignment="opt-in",
    n_treated=185,
    n_control=400,
    n_covariates=4,
    adjustment="graph",
    effective_controls=90.0,
    share_extreme=0.0,
    largest_difference=0.04,
)
MARKETS = Profile(shape="experiment", launched=False, n_treated=0, n_control=40, n_pre=90, duration=15)


def but(profile, **changes):
    """Change facts; clusters are units again where the number of units changes."""
    arms = ("n_treated", "n_control")
    clusters = {f"{arm}_clusters": -1 for arm in arms if arm in changes}
    return dataclasses.replace(profile, **{**clusters, **changes})


def refusal(found, label, row):
    (one,) = [item for item in found.refused if item.label == label and item.row == row]
    return one


@pytest.mark.parametrize(
    ("profile", "primary", "inference", "row", "cap"),
    [
        (MARKETS, "geo-experiment", "permutation", "1", "A"),
        (but(MARKETS, switches=True, leaks=True), "switchback", "randomization", "2", "A"),
        (but(MARKETS, launched=True, assignment="random"), "geo-experiment", "permutation", "3", "A"),
        (but(MANY, assignment="random"), "did", "permutation", "3", "A"),
        (but(PHASED, assignment="random"), "group-time", "permutation", "3", "A"),
        (but(OPT_IN, assignment="random"), "adjustment", "influence", "3", "A"),
        (PHASED, "group-time", "bootstrap", "5", "B"),
        (but(PHASED, n_treated_clusters=25, n_control_clusters=25), "group-time", "cluster", "5", "B"),
        (but(PHASED, n_treated_clusters=3), "group-time", "permutation", "5", "B"),
        (MANY, "did", "cluster", "6", "B"),
        (but(MANY, n_treated_clusters=3), "did", "permutation", "6", "B"),
        (FEW, "synthetic-did", "placebo", "7", "B"),
        (ONE, "synthetic-control", "conformal", "8", "B"),
        (but(ONE, n_pre=30), "synthetic-control", "placebo-rank", "8", "B"),
        (but(ONE, inside_hull=False), "augmented-synthetic-control", "conformal", "8", "B"),
        (ALONE, "causal-impact", "placebo-in-time", "9", "B"),
        (but(ALONE, n_control=0, n_covariates=2), "causal-impact", "placebo-in-time", "10", "C"),
        (but(ALONE, n_control=0), "causal-impact", "placebo-in-time", "10", "D"),
        (but(OPT_IN, has_before=True), "adjustment", "cluster-bootstrap", "11", "B"),
        (but(MANY, assignment="opt-in", n_pre=2, n_covariates=3), "group-time", "bootstrap", "11", "B"),
        (OPT_IN, "adjustment", "influence", "12", "B"),
    ],
)
def test_first_matching_row_is_primary(profile, primary, inference, row, cap):
    found = advise(profile, level=0.95)
    assert (found.primary, found.inference, found.row, found.grade_cap) == (primary, inference, row, cap)
    assert found.eligible[0].method == primary
    assert found.claim_allowed
    assert found.sensitivity == ()


def test_primary_of_a_few_treated_units_is_the_method_that_errs_least_on_mock_launches():
    errors = {"synthetic-did": 3.0, "augmented-synthetic-control": 2.0, "synthetic-control (fixed_effects = unit)": 1.0}
    found = advise(but(FEW, placebo_errors=errors, typical=50.0), level=0.95)
    assert (found.primary, found.options) == ("synthetic-control", {"fixed_effects": "unit"})
    assert [item.method for item in found.eligible] == [
        "synthetic-control",
        "augmented-synthetic-control",
        "synthetic-did",
    ]
    assert found.eligible[0].condition.endswith("it errs by 1.00 (2.0% of the treated units' mean)")


def test_series_with_seasons_is_fitted_with_them():
    assert advise(ALONE, level=0.95).options == {"seasons": 7}
    assert advise(but(ALONE, frequency="week", season=52, n_pre=110), level=0.95).options == {}


def test_units_that_chose_themselves_are_compared_given_covariates_even_with_long_histories():
    plain, adjusted = (advise(but(MANY, assignment="opt-in", n_covariates=k), level=0.95) for k in (0, 3))
    assert plain.primary == "did"
    assert any("chose themselves" in caution for caution in plain.cautions)
    unfit = {"did": Unfit(found="did uses no covariates", remedy="leave covariates out")}
    adjusted = advise(but(MANY, assignment="opt-in", n_covariates=3, unfit=unfit), level=0.95)
    assert (adjusted.primary, adjusted.row) == ("group-time", "6")
    assert refusal(adjusted, "did", "6").condition == "did uses no covariates"


@pytest.mark.parametrize(
    ("profile", "label", "row", "condition", "remedy"),
    [
        (
            but(MARKETS, n_control=3),
            "geo-experiment",
            "1",
            "3 markets for 1 treated cell and the controls, at least 4",
            "add",
        ),
        (
            but(MARKETS, n_pre=40),
            "geo-experiment",
            "1",
            "40 periods of history for a test of 15, at least 45",
            "shorter",
        ),
        (MARKETS, "switchback", "2", "says nothing of switching", "[geo.switchback]"),
        (
            but(MARKETS, launched=True),
            "geo-experiment",
            "3",
            'assignment = "chosen": no draw',
            "describe it as a launch",
        ),
        (ONE, "did", "3", 'assignment = "chosen": no draw', "at random"),
        (but(ONE, assignment="random", as_planned=False), "did", "3", "aren't those that were drawn", "as drawn"),
        (but(ONE, assignment="random", n_control=3), "did", "3", "1 of 4 were drawn", "draw among more units"),
        (but(ONE, assignment="rule"), "regression-discontinuity", "4", "isn't built yet", "other rows"),
        (but(ONE, assignment="rule"), "instrumental-variables", "13", "isn't built yet", "other rows"),
        (ONE, "group-time", "5", "1 launch date, this row is for several", "rows 6 to 8"),
        (PHASED, "did", "5", "units treated already as controls", "group-time"),
        (ONE, "did", "6", "1 treated unit, at least 5 needed", "launch in more units"),
        (but(MANY, n_control=6), "did", "6", "6 control units, at least 10 needed", "never got the launch"),
        (but(MANY, n_pre=2), "did", "6", "2 periods before the launch, at least 3 needed", "add history"),
        (PHASED, "did", "6", "8 launch dates, this method takes one", "row 5"),
        (MANY, "synthetic-did", "7", "12 treated units, at most 9", "row 6"),
        (but(FEW, n_control=12), "synthetic-did", "7", "a rank reaches p = 0.077 where 95% asks for 0.05", "19 allow"),
        (but(FEW, n_pre=8), "synthetic-did", "7", "8 weeks before the launch, at least 10 needed", "add history"),
        (FEW, "synthetic-control", "8", "3 treated units, this row is for one", "rows 6 and 7"),
        (but(ONE, inside_hull=False), "synthetic-control", "8", "outside what mixtures of controls reach", "changes"),
        (
            but(ONE, held_out={"synthetic-control": 1.4}),
            "synthetic-control",
            "8",
            "misses 1.4 times as much as repeating the last value",
            "lengthen the history",
        ),
        (
            but(ALONE, n_pre=40),
            "causal-impact (seasons = 7)",
            "9",
            "40 days before the launch, at least 60 needed",
            "add",
        ),
        (
            but(ALONE, frequency="month", season=12, n_pre=60, n_control=0, n_cohorts=2),
            "causal-impact (seasons = 12)",
            "10",
            "2 launch dates",
            "row 5",
        ),
        (
            but(ALONE, frequency="hour", season=24, n_pre=40),
            "causal-impact (seasons = 24)",
            "9",
            "1.7 seasons of 24 hours, at least 2 needed",
            "add history",
        ),
        (
            but(OPT_IN, has_before=True, effective_controls=12.3),
            "adjustment (method = dr-did)",
            "11",
            "12.3 units",
            "restrict",
        ),
        (
            but(OPT_IN, has_before=True, share_extreme=0.2),
            "adjustment (method = dr-did)",
            "11",
            "20.0% of those",
            "restrict",
        ),
        (
            but(OPT_IN, has_before=True, largest_difference=0.3),
            "adjustment (method = dr-did)",
            "11",
            "0.30 stand",
            "flexibly",
        ),
        (but(OPT_IN, n_covariates=0, has_before=True), "adjustment (method = dr-did)", "11", "no covariate", "name"),
        (OPT_IN, "adjustment (method = dr-did)", "11", "no outcome from before", "before ="),
        (
            but(OPT_IN, adjustment="named"),
            "adjustment",
            "12",
            "no graph shows that they suffice",
            "draw a causal graph",
        ),
        (but(OPT_IN, adjustment="none"), "adjustment", "12", "no graph", "choose the covariates"),
        (
            but(OPT_IN, adjustment="refused", adjustment_problem="a <- u -> y stays open"),
            "adjustment",
            "12",
            "a <- u",
            "open path",
        ),
        (but(OPT_IN, effective_controls=8.0), "adjustment", "12", "count as 8.00 units, at least 30", "restrict"),
        (but(OPT_IN, placebo_p=0.001), "adjustment", "12", "it finds an effect (p = 0.001)", "other units"),
        (but(OPT_IN, n_treated=3, n_treated_clusters=3), "adjustment", "12", "3 units or clusters", "add units"),
    ],
)
def test_refusal_says_what_was_measured_and_what_would_lift_it(profile, label, row, condition, remedy):
    one = refusal(advise(profile, level=0.95), label, row)
    assert condition in one.condition
    assert remedy in one.remedy


@pytest.mark.parametrize(
    ("frequency", "n_post", "maturity", "missing"),
    [
        ("day", 0, 0, "7 days more: no period"),
        ("day", 6, 0, "1 day more: 6 days"),
        ("day", 7, 0, None),
        ("day", 10, 5, "2 days more: 10 days"),
        ("hour", 23, 0, "1 hour more"),
        ("week", 0, 0, "1 week more"),
        ("week", 1, 0, None),
        ("year", 1, 2, "2 years more"),
    ],
)
def test_before_a_season_is_over_or_the_metric_is_final_nothing_is_claimed(frequency, n_post, maturity, missing):
    found = advise(but(MANY, frequency=frequency, n_post=n_post, maturity=maturity), level=0.95)
    assert found.claim_allowed == (missing is None)
    assert found.primary == "did", "the method is known before its answer may be claimed"
    assert found.wait is None if missing is None else missing in found.wait


def test_before_anything_went_out_a_draw_is_offered_instead():
    assert "40 units at random" in advise(but(MANY, n_post=0), level=0.95).instead
    assert advise(MANY, level=0.95).instead is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"n_pre": 20, "n_post": 7}, "20 weeks before the launch for 7 after it: less than 3 to 1"),
        ({"perfect_fit": True}, "that fit is no evidence"),
        ({"placebo_errors": {"synthetic-control": 1.0}, "effect_sought": 2.0}, "effects below 2.80 would be missed"),
    ],
)
def test_doubts_lower_the_grade(changes, told):
    # 2.80 = the normal quantiles 1.96 and 0.84 of a two-sided 5% test with 80% power, times the error of 1.
    assert advise(ONE, level=0.95).grade_cap == "B"
    found = advise(but(ONE, **changes), level=0.95)
    assert found.grade_cap == "C"
    assert any(told in reason for reason in found.cap_reasons)


@pytest.mark.parametrize("has_before", [True, False])
def test_few_controls_like_the_treated_lower_the_grade(has_before):
    enough, few = (advise(but(OPT_IN, has_before=has_before, effective_controls=n), level=0.95) for n in (50.0, 40.0))
    assert (enough.grade_cap, few.grade_cap) == ("B", "C")
    assert "count as 40.0 units" in few.cap_reasons[1]


def test_method_that_errs_much_more_than_another_is_said_to_be_demotable():
    errors = {"synthetic-control": 2.0, "synthetic-did": 1.0}
    (caution,) = advise(but(ONE, placebo_errors=errors), level=0.95).cautions
    assert "errs 2 times as much as synthetic-did" in caution
    assert advise(but(ONE, placebo_errors={**errors, "synthetic-did": 1.7}), level=0.95).cautions == ()


def test_small_cohorts_are_warned_about():
    (caution,) = advise(PHASED, level=0.95).cautions
    assert caution.startswith("The smallest cohort has 5 units: below 10")
    assert advise(but(PHASED, fewest_cohort=10), level=0.95).cautions == ()


@pytest.mark.parametrize(
    ("profile", "fitted"),
    [
        (Profile(n_treated=2, n_control=3, n_pre=8, n_post=4), "synthetic-control (fixed_effects = unit)"),
        (Profile(n_treated=1, n_control=1, n_pre=8, n_post=4), "did"),
        (Profile(n_treated=1, n_control=0, n_pre=20, n_post=4, n_covariates=1), "causal-impact"),
        (but(OPT_IN, adjustment="named"), "adjustment"),
    ],
)
def test_where_no_row_matches_there_is_no_primary_and_what_can_be_fitted_is_a_sensitivity(profile, fitted):
    found = advise(profile, level=0.95)
    assert (found.primary, found.row, found.grade_cap, found.claim_allowed) == (None, "", "C", False)
    assert found.eligible == ()
    assert found.chosen.label == fitted


def test_without_controls_covariates_and_history_the_grade_is_the_lowest():
    found = advise(Profile(n_treated=1, n_control=0, n_pre=20, n_post=4), level=0.95)
    assert (found.primary, found.chosen.label, found.grade_cap) == (None, "causal-impact", "D")


def test_where_nothing_can_be_fitted_there_is_nothing():
    found = advise(but(OPT_IN, adjustment="refused"), level=0.95)
    assert (found.chosen, found.grade_cap) == (None, "D")


def test_lower_level_needs_fewer_controls():
    # A rank among 9 controls and the treated reaches 1/10.
    assert advise(but(ONE, n_control=9), level=0.9).row == "8"
    assert advise(but(ONE, n_control=8), level=0.9).row == "9"
    assert advise(but(ONE, n_control=9), level=0.95).row == "9"


def test_controls_that_moved_are_left_out_and_too_many_withdraw_the_answer():
    few, many = screened(["denver"], weight=0.2), screened(["denver", "boise"], weight=0.31)
    assert (few.suspects, few.withdrawn) == (("denver",), False)
    assert "shown beside the first" in few.sentence
    assert many.withdrawn
    assert "more than 30.0%" in many.sentence
    assert screened([], weight=0.0) is None


def test_every_threshold_has_a_source_and_a_rule_that_uses_it():
    modules = (conditions, panel_rows, other_rows, advise_module)
    code = "".join(inspect.getsource(module) for module in modules)
    used = set(re.findall(r"""(?:limit|at_least)\((?:profile\.\w+, )?["']([a-z ]+)["']""", code))
    assert used <= THRESHOLDS.keys()
    assert all(threshold.source for threshold in THRESHOLDS.values())
    assert THRESHOLDS.keys() - used <= {"days after", "hours after"}


def test_advice_is_plain_json():
    told = advise(ONE, level=0.95).to_dict()
    assert told["primary"] == "synthetic-control"
    assert told["refused"][0].keys() >= {"method", "inference", "options", "row", "condition", "remedy"}
