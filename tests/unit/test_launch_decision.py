"""From a study's roles, margins, value and trades to one action; and what such a study may not say."""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace

import numpy as np
import pytest

from causalbench.artifacts import canonical_json
from causalbench.decision.dynamics import dynamics
from causalbench.decision.effects import MetricEffect
from causalbench.decision.joint import joint_of
from causalbench.decision.launch_decision import decide_launch, value_of
from causalbench.decision.verdict import judge
from causalbench.errors import RefusalError, StudyError
from causalbench.study import ComparisonStudy, GeoStudy, Study
from causalbench.values import Interval

SAFETY = {
    "study": {"name": "safety", "question": "Did the filter cost activity?"},
    "data": {"source": "a.csv", "unit": "locale", "period": "day"},
    "metric": [
        {"name": "flagged", "column": "f", "better": "lower", "worthwhile": 0.1},
        {"name": "dau", "column": "d", "role": "guardrail", "margin": -0.02},
        {"name": "session", "column": "s", "role": "driver"},
    ],
    "launch": {"cohort": "first"},
    "method": {"name": "group-time"},
    "trade": [{"gain": "flagged", "loss": "dau"}],
}
SALES = {
    **SAFETY,
    "metric": [{"name": "sales", "column": "Y", "worthwhile": 0.01}],
    "trade": [],
    "value": {"per_unit": 2.0, "currency": "dollars", "horizon": 50, "units": 10, "cost": 1000.0, "prior_sd": 0.02},
}


def study_of(base, **changes):
    values = copy.deepcopy(base)
    for path, value in changes.items():
        table, _, key = path.partition("__")
        if key:
            values[table][key] = value
        else:
            values[table] = value
    return Study.from_mapping(values)


def estimate(metric, relative, error, *, without=1000.0, weighting="unit", bounded=True):
    value, half = relative * without, 1.96 * error * abs(without)
    ends = (value - half, value + half) if bounded else (-np.inf, np.inf)
    return SimpleNamespace(
        metric=metric,
        value=value,
        std_error=None,
        interval=Interval(segments=(ends,), level=0.95, kind="placebo"),
        detail={"counterfactual_mean": without},
        estimand=SimpleNamespace(weighting=weighting),
        n_treated=3,
        n_pre=60,
        n_post=10,
    )


def safety(dau=-0.05):
    found = (("flagged", -0.9, 0.01), ("dau", dau, 0.008), ("session", -0.12, 0.02))
    return {name: estimate(name, relative, error) for name, relative, error in found}


def test_safety_filter_is_revised_with_a_price():
    """Acceptance scenario A3: flagged superior, the guardrail failed, a price per flagged item, revise."""
    found = decide_launch(study_of(SAFETY), safety())
    assert found.verdicts[0].verdict == "better"
    assert found.verdicts[0].worthwhile_shown
    assert [one.verdict for one in found.guardrails] == ["fail"]
    assert found.verdicts[1].verdict == "worse"
    assert found.recommendation.action == "revise"
    assert found.trades[0].rate == pytest.approx(50 / 900)
    assert "Ship only if one unit less of flagged is worth at least 0.05556 units of dau" in found.trades[0].sentence
    assert "uncorrelated" in found.notes[0]


def test_harmless_filter_ships():
    found = decide_launch(study_of(SAFETY), safety(dau=0.001))
    assert found.guardrails[0].verdict == "pass"
    assert found.recommendation.action == "ship"


def test_joint_placebos_move_the_price_and_end_the_note():
    errors = np.random.default_rng(0).standard_normal((2, 200))
    errors[1] = 0.9 * errors[0] + 0.4 * errors[1]
    joint = joint_of({"flagged": errors[0], "dau": errors[1]})
    apart, together = (decide_launch(study_of(SAFETY), safety(), joint=j) for j in (None, joint))
    assert together.notes == ()
    assert together.trades[0].interval.segments != apart.trades[0].interval.segments


def test_sets_from_elsewhere_decide():
    wide = Interval(segments=((-200.0, 100.0),), level=0.95, kind="conformal")
    found = decide_launch(study_of(SAFETY), safety(), intervals={"dau": wide})
    assert found.guardrails[0].verdict == "not shown"
    assert found.recommendation.action == "hold"


def test_value_uses_units_horizon_and_relative_prior():
    """Posterior by hand: prior sd 2% of 1000, error 1% of 1000: weight .8."""
    found = value_of(study_of(SALES), {"sales": estimate("sales", 0.02, 0.01)})
    slope = 2.0 * 10 * 50
    error = 1.96 * 10 / 1.9599639845
    weight = 400 / (400 + error**2)
    assert found.expected == pytest.approx(slope * weight * 20 - 1000)
    assert found.rel_break_even == pytest.approx(1.0 / 1000)
    assert "standard deviation 2.0%" in found.prior
    assert "worth it" in found.verdict


def test_units_default_to_those_that_got_it():
    study = study_of(SALES)
    values = study.model_copy(update={"value": study.value.model_copy(update={"units": None})})
    found = value_of(values, {"sales": estimate("sales", 0.02, 0.01)})
    assert found.estimate == pytest.approx(2.0 * 3 * 50 * 20 - 1000)


def test_value_says_that_it_extrapolates():
    estimates = {"sales": estimate("sales", 0.02, 0.01)}
    found = decide_launch(study_of(SALES), estimates)
    assert found.notes == ("The value supposes that 10 units would react as the 3 with the launch did.",)
    assert decide_launch(study_of(SALES, value={**SALES["value"], "units": 3}), estimates).notes == ()


def test_cost_metric_counts_as_money_spent():
    metrics = [*SALES["metric"], {"name": "spend", "column": "c", "role": "cost"}]
    estimates = {"sales": estimate("sales", 0.02, 0.01), "spend": estimate("spend", 0.05, 0.01, without=100.0)}
    found = decide_launch(study_of(SALES, metric=metrics), estimates)
    assert found.value.estimate == pytest.approx(10 * 50 * (2.0 * 20 - 5) - 1000)
    assert found.verdicts[1].verdict == "worse"  # more of a cost is worse, and no reason to stop by itself
    assert found.recommendation.action == "ship"


def test_what_stays_is_valued_where_the_effect_fades():
    times = np.arange(40)
    fading = dynamics(0.005 + 0.06 * 0.5 ** (times / 4), 1e-7 * np.eye(40), rng=np.random.default_rng(0))
    estimates = {"sales": estimate("sales", 0.02, 0.005)}
    plain, settled = (decide_launch(study_of(SALES), estimates, dynamics=d) for d in (None, fading))
    assert settled.value.estimate == pytest.approx(2.0 * 10 * 50 * 5 - 1000, rel=0.05)
    assert plain.value.estimate > 2 * settled.value.estimate
    assert settled.to_dict()["dynamics"]["verdict"] == "fades"


def test_effect_without_a_finite_error_has_no_value():
    found = decide_launch(study_of(SALES), {"sales": estimate("sales", 0.02, 0.01, bounded=False)})
    assert found.value is None
    assert found.notes == ("The value of the launch isn't computed: the effect on sales has no finite error.",)
    assert found.recommendation.action == "hold"


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"weighting": "population"}, "weighted by population"), ({"without": -5.0}, "isn't positive")],
)
def test_value_that_would_mislead_is_refused(changes, message):
    with pytest.raises(RefusalError, match=message):
        value_of(study_of(SALES), {"sales": estimate("sales", 0.02, 0.01, **changes)})


def test_decision_is_plain_json():
    for base, estimates in ((SAFETY, safety()), (SALES, {"sales": estimate("sales", 0.02, 0.01)})):
        found = decide_launch(study_of(base), estimates).to_dict()
        assert json.loads(canonical_json(found)) == found


def test_roles_say_which_side_is_good():
    metrics = {metric.name: metric.good_side for metric in study_of(SAFETY).metric}
    assert metrics == {"flagged": "lower", "dau": "higher", "session": "higher"}


def metric(**more):
    return [SALES["metric"][0], {"name": "dau", "column": "d", **more}]


WRONG = {
    "guardrail without a margin": (
        {"metric": metric(role="guardrail")},
        "[[metric]] dau: a guardrail needs a margin, such as -0.02",
    ),
    "margin without a guardrail": (
        {"metric": metric(margin=-0.02)},
        '[[metric]] dau margin: goes with role = "guardrail"',
    ),
    "margin of nothing": (
        {"metric": metric(role="guardrail", margin=0.0)},
        "[[metric]] margin: give a number other than 0: its sign is the bad side, -0.02 allows a loss below 2%, found 0.0",
    ),
    "margin of everything": (
        {"metric": metric(role="guardrail", margin=-2.0)},
        "[[metric]] dau margin: allows a loss of 200%; give a share above -1, or effects = 'absolute'",
    ),
    "side of a guardrail": (
        {"metric": metric(role="guardrail", margin=-0.02, better="higher")},
        "[[metric]] dau better: leave it out: the sign of the margin says which side is bad",
    ),
    "worthwhile guardrail": (
        {"metric": metric(role="guardrail", margin=-0.02, worthwhile=0.01)},
        '[[metric]] dau worthwhile: goes with role = "success" or "driver"',
    ),
    "negative worthwhile": (
        {"metric": metric(worthwhile=-0.01)},
        "[[metric]] worthwhile: Input should be greater than 0, found -0.01",
    ),
    "effects of nothing": (
        {"metric": metric(effects="absolute")},
        "[[metric]] dau effects: says how margin or worthwhile are written, and there is neither",
    ),
    "worth of an unknown metric": (
        {"value": {**SALES["value"], "per_unit": {"sale": 1.0}, "prior_sd": {"sale": 0.1}}},
        "[value] per_unit: names no metric: 'sale'; there are 'sales'",
    ),
    "worth in words": (
        {"value": {**SALES["value"], "per_unit": "much"}},
        "[value] per_unit: give a number, or a table of numbers by metric, found 'much'",
    ),
    "no horizon": (
        {"value": {key: value for key, value in SALES["value"].items() if key != "horizon"}},
        "[value] horizon is missing",
    ),
    "prior of no width": (
        {"value": {**SALES["value"], "prior_sd": 0.0}},
        "[value] prior_sd: give a positive share such as 0.02: how large such effects usually are, found 0.0",
    ),
    "mean without a spread": (
        {"value": {"per_unit": 2.0, "horizon": 5, "prior_mean": 0.01}},
        "[value] prior_mean: needs prior_sd",
    ),
    "price of waiting nobody asked for": (
        {"value": {**SALES["value"], "wait_cost": 3.0}},
        "[value] wait_cost: needs wait: numbers of periods that one could wait",
    ),
    "price in a logarithm": (
        {
            "metric": [
                {"name": "sales", "column": "Y"},
                {"name": "dau", "column": "d", "role": "driver", "transform": "log"},
            ],
            "trade": [{"gain": "sales", "loss": "dau"}],
        },
        "[[trade]] loss: 'dau' is a logarithm, which has no units to pay in: give a metric in its own units",
    ),
    "worth of a logarithm": (
        {"metric": [{"name": "sales", "column": "Y", "transform": "log"}]},
        "[value] per_unit: 'sales' is a logarithm, which has no worth per unit: give a metric in its own units",
    ),
    "trade of a metric with itself": (
        {"trade": [{"gain": "sales", "loss": "sales"}]},
        "[[trade]]: gain and loss must be two metrics",
    ),
    "trade of an unknown metric": (
        {"trade": [{"gain": "sales", "loss": "dau"}]},
        "[[trade]] loss: names no metric: 'dau'; there are 'sales'",
    ),
    "misspelt key of a trade": (
        {"metric": metric(), "trade": [{"gain": "sales", "loss": "dau", "wort": 1.0}]},
        "[[trade]] wort is not a key (did you mean 'worth'?); allowed here: gain, loss, worth",
    ),
}


@pytest.mark.parametrize(("changes", "problem"), WRONG.values(), ids=WRONG)
def test_study_is_refused_with_exactly_this_problem(changes, problem):
    with pytest.raises(StudyError) as refused:
        study_of(SALES, **changes)
    assert refused.value.problems == (problem,)


@pytest.mark.parametrize(
    ("kind", "keys"), [(ComparisonStudy, {"margin"}), (GeoStudy, {"margin", "worthwhile", "better", "effects"})]
)
def test_margins_are_for_launches_over_periods(kind, keys):
    values = copy.deepcopy(SALES)
    del values["value"], values["trade"]
    values["metric"] = [
        {"name": "sales", "column": "Y", "better": "lower", "worthwhile": 0.01, "effects": "relative"},
        {"name": "dau", "column": "dau", "role": "guardrail", "margin": -0.02},
    ]
    with pytest.raises(StudyError) as refused:
        kind.from_mapping(values)
    ends = "is for the study of a launch over periods"
    told = {problem for problem in refused.value.problems if problem.endswith(ends)}
    assert told == {f"[[metric]] {key}: {ends}" for key in (*keys, 'role = "guardrail"')}


def test_a_comparison_says_which_side_is_good_as_its_decision_depends_on_it():
    study = ComparisonStudy.from_mapping(
        {
            "study": {"name": "advice", "question": "Did advice lower defaults?"},
            "data": {"source": "people.csv", "covariates": ["age"]},
            "metric": [{"name": "defaults", "column": "default", "better": "lower", "worthwhile": 0.01}],
            "launch": {"treatment": "advised", "assignment": "opt-in"},
            "method": {"name": "adjustment"},
        }
    )
    fell = MetricEffect(
        metric="defaults", value=-0.05, lower=-0.07, upper=-0.03, level=0.95, good_side=study.metric[0].good_side
    )
    assert judge(fell, worthwhile=study.metric[0].worthwhile).verdict == "better"
