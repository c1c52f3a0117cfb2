"""The grade: every rule caps with its reason and what would lift it, and nothing else does."""

from dataclasses import replace

import pytest

from causalbench.decision.claim import Calibrated, claim
from causalbench.decision.grade import DECISIVE, RULES, Grade, Grounds, History, breaking_points, grade
from causalbench.decision.recommendation import Recommendation
from causalbench.decision.restraint import restrain
from causalbench.report.language import overclaims
from causalbench.values import CheckResult, Interval

HISTORY = History(coverage=0.95, mc_error=0.01, duration=14, calibrated=True, learnt=60, n_pre=90)
CLEAN = Grounds(
    assignment="random",
    verdict="shown",
    level=0.95,
    n_post=14,
    checks=(),
    row="3",
    method_advised=True,
    plan="kept",
    history=HISTORY,
    consistent=True,
)


def checked(name, verdict, **more):
    return CheckResult(name=name, question="Is it?", verdict=verdict, reason="It is so.", remedy="Mend it.", **more)


def only(grounds):
    """The rules that fire beside those of a clean study."""
    found = grade(grounds)
    return found.letter, [cap.rule for cap in found.caps]


def test_a_random_assignment_that_kept_its_plan_with_no_check_against_it_is_an_a():
    assert only(CLEAN) == ("A", [])
    assert grade(CLEAN).would_change == ()


@pytest.mark.parametrize(
    ("changed", "letter", "rule"),
    [
        ({"wait": "wait for 3 days more"}, "D", "too-early"),
        ({"verdict": "not computed"}, "D", "not-computed"),
        ({"verdict": "misfit"}, "C", "misfit"),
        ({"row": None, "method_cap": "C"}, "C", "method"),
        ({"row": "10", "method_cap": "D"}, "D", "method"),
        ({"method_advised": False}, "C", "method-refused"),
        ({"consistent": False}, "C", "triangulation"),
        ({"withdrawn": True}, "C", "suspects"),
        ({"assignment": "opt-in"}, "B", "assignment"),
        ({"assignment": "rule"}, "B", "assignment"),
        ({"plan": "none"}, "B", "plan"),
        ({"plan": "changed"}, "C", "plan"),
        ({"checks": (checked("overfitting", "fail"),)}, "C", "check:overfitting"),
        ({"checks": (checked("overfitting", "review"),)}, "B", "check:overfitting"),
        ({"checks": (checked("trend-sensitivity", "review"),)}, "C", "check:trend-sensitivity"),
        ({"checks": (checked("level-shift", "not_evaluable"),)}, "B", "check:level-shift"),
        *[({"checks": (checked(name, "fail"),)}, "D", f"check:{name}") for name in DECISIVE],
    ],
)
def test_each_rule_caps_alone_with_a_reason_and_what_would_lift_it(changed, letter, rule):
    found = grade(replace(CLEAN, **changed))
    assert (found.letter, [cap.rule for cap in found.caps]) == (letter, [rule])
    assert found.caps[0].reason.endswith(".")
    assert found.caps[0].lift.endswith(".")
    assert found.would_change[0] == found.caps[0].lift
    assert found.to_dict()["caps"][0]["cap"] == letter


def test_passes_cap_nothing_and_an_open_question_of_a_lesser_check_neither():
    checks = (checked("overlap", "pass"), checked("effective-donors", "not_evaluable"))
    assert only(replace(CLEAN, checks=checks)) == ("A", [])


@pytest.mark.parametrize(
    ("row", "changed", "letter", "rule"),
    [
        ("8", {"history": None, "no_history": "19 periods leave no room"}, "C", "backtest"),
        ("6", {"history": None}, "B", "backtest"),
        ("8", {"history": replace(HISTORY, duration=5)}, "C", "backtest-length"),
        ("6", {"history": replace(HISTORY, duration=5)}, "B", "backtest-length"),
        ("8", {"history": replace(HISTORY, learnt=9)}, "C", "backtest-history"),
        ("6", {"history": replace(HISTORY, learnt=2)}, "B", "backtest-history"),
        ("6", {"history": replace(HISTORY, coverage=0.8, calibrated=False)}, "C", "backtest-coverage"),
    ],
)
def test_history_caps_comparisons_without_a_draw_and_hardest_where_few_units_are_treated(row, changed, letter, rule):
    found = grade(replace(CLEAN, assignment="chosen", row=row, **changed))
    assert found.letter == letter
    assert rule in [cap.rule for cap in found.caps if cap.cap == letter]
    assert grade(replace(CLEAN, **changed)).letter == "A", "a draw needs no history"


@pytest.mark.parametrize(
    ("coverage", "mc_error", "calibrated", "capped"),
    [(0.89, 0.01, False, False), (0.87, 0.01, False, True), (0.6, 0.01, True, False), (None, None, False, False)],
)
def test_coverage_counts_only_beyond_its_monte_carlo_error_and_where_nothing_replaces_it(
    coverage, mc_error, calibrated, capped
):
    past = History(coverage=coverage, mc_error=mc_error, duration=14, calibrated=calibrated, learnt=60, n_pre=90)
    rules = only(replace(CLEAN, assignment="chosen", row="6", history=past))[1]
    assert ("backtest-coverage" in rules) is capped


def test_the_hardest_caps_come_first_and_decide():
    checks = (checked("overfitting", "review"), checked("level-shift", "fail"))
    found = grade(replace(CLEAN, assignment="chosen", plan="changed", checks=checks))
    assert found.letter == "D"
    assert [cap.cap for cap in found.caps] == sorted((cap.cap for cap in found.caps), reverse=True)
    assert found.caps[0].rule == "check:level-shift"
    assert found.would_change == (DECISIVE["level-shift"],)


def test_every_rule_is_reached_by_these_tests():
    assert len(RULES) == 9


def test_breaking_points_are_numbers_and_of_the_conclusion_at_hand():
    checks = (checked("trend-sensitivity", "review", statistic=0.4), checked("pre-trend", "pass", statistic=1.0))
    given = {"value": 2.0, "checks": checks, "breakdown": 1.5}
    shown = breaking_points(interval={"lower": 1.0, "upper": 5.0}, shown=True, **given)
    assert ["1.5 times" in shown[0], "0.40 times" in shown[1], len(shown)] == [True, True, 2]
    open_ = breaking_points(interval={"lower": -1.0, "upper": 5.0}, shown=False, **given)
    assert ["-1" in open_[0], len(open_)] == [True, 1]
    assert breaking_points(value=2.0, interval={"lower": None, "upper": None}, shown=False, checks=()) == ()


def test_hidden_bias_weighs_only_on_an_effect_that_is_shown():
    doubt = (checked("robustness", "review"),)
    assert grade(replace(CLEAN, checks=doubt)).letter == "C"
    assert grade(replace(CLEAN, checks=doubt, verdict="not shown")).letter == "B"


HEADLINE = {
    "metric": "sales",
    "verdict": "shown",
    "sentence": "An effect on sales is shown at the 95% level.",
    "answer": "The best estimate is +5.",
    "why": "p = 0.01.",
}


def graded(letter):
    found = grade(CLEAN)
    return Grade(letter=letter, caps=found.caps, would_change=())


def calibrated(lower, upper):
    return Calibrated(interval=Interval(segments=((lower, upper),), level=0.95, kind="placebo"), n_errors=100)


@pytest.mark.parametrize(
    ("letter", "test", "past", "verdict"),
    [
        ("A", "shown", None, "shown"),
        ("B", "shown", calibrated(1, 9), "shown"),
        ("B", "shown", calibrated(-1, 9), "not shown"),
        ("C", "shown", calibrated(1, 9), "suggested"),
        ("C", "shown", calibrated(-1, 9), "not shown"),
        ("C", "shown", Calibrated(interval=None, n_errors=5), "suggested"),
        ("C", "not shown", calibrated(1, 9), "not shown"),
        ("D", "shown", calibrated(1, 9), "no claim"),
        ("D", "not shown", None, "no claim"),
        ("D", "not credible", None, "not credible"),
    ],
)
def test_headline_claims_no_more_than_grade_and_history_allow(letter, test, past, verdict):
    found = claim({**HEADLINE, "verdict": test}, graded(letter), calibrated=past)
    assert (found["verdict"], found["test"]) == (verdict, test)
    if test == "shown" and verdict != "shown":
        assert "is shown" not in found["sentence"]
    if verdict == "no claim":
        assert "+5" not in " ".join(map(str, found.values()))


@pytest.mark.parametrize(
    ("test", "past", "said"),
    [
        ("not shown", calibrated(1, 9), "It leaves out zero, but the method's own test counts"),
        (
            "shown",
            replace(calibrated(-1, 9), waived="the units were drawn by lot"),
            "counts: the units were drawn by lot.",
        ),
        ("not shown", calibrated(-1, 9), ""),
        ("shown", calibrated(1, 9), ""),
    ],
)
def test_where_test_and_history_disagree_the_page_says_which_counts(test, past, said):
    found = claim({**HEADLINE, "verdict": test}, graded("B"), calibrated=past)
    assert found["verdict"] == test
    assert said in found["calibrated"]
    assert bool(said) == ("counts" in found["calibrated"])


def test_an_override_keeps_the_headline():
    kept = claim({**HEADLINE, "override": "because"}, graded("D"))
    assert kept["sentence"] == HEADLINE["sentence"]


def restrained(action, rule, letter, **more):
    found = Recommendation(action=action, rule=rule, reasons=("Because.",), changes=())
    given = {"verdict": "better", "wait": None, "claimed": True, **more}
    return restrain(found, letter=letter, **given)


@pytest.mark.parametrize(
    ("action", "rule", "letter", "more", "kept"),
    [
        ("ship", "7 verdict", "B", {}, "ship"),
        ("ship", "7 verdict", "C", {}, "hold"),
        ("ship", "7 verdict", "D", {}, "hold"),
        ("ship", "7 verdict", "B", {"claimed": False}, "hold"),
        ("hold", "5 fading", "B", {"claimed": False}, "hold"),
        ("ship", "6 value", "B", {"claimed": False}, "ship"),
        ("ship", "6 value", "C", {}, "hold"),
        ("stop", "2 harm", "B", {}, "stop"),
        ("stop", "2 harm", "C", {}, "hold"),
        ("revise", "1 guardrail", "C", {}, "revise"),
        ("revise", "1 guardrail", "D", {"wait": "Wait for 3 days."}, "revise"),
        ("revise", "1 guardrail", "D", {}, "hold"),
        ("stop", "2 harm", "D", {"wait": "Wait for 3 days."}, "hold"),
        ("hold", "3 too early", "D", {"wait": "Wait for 3 days."}, "hold"),
        ("stop", "7 verdict", "A", {"verdict": "equivalent"}, "stop"),
    ],
)
def test_weak_evidence_ships_nothing_and_silences_no_alarm(action, rule, letter, more, kept):
    found = restrained(action, rule, letter, **more)
    assert found.action == kept
    assert not overclaims(found.reasons[0], grade=letter)


def test_an_effect_that_nobody_sees_does_not_fade():
    assert "fades" in restrained("hold", "5 fading", "B").reasons[0]
    assert "fades" not in restrained("hold", "5 fading", "B", claimed=False).reasons[0]


def test_too_early_says_how_long_to_wait():
    assert "Wait for 3 days." in restrained("ship", "7 verdict", "D", wait="Wait for 3 days.").reasons[0]
