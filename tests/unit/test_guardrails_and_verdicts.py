"""Verdicts on metrics: where the set lies decides, whatever the scale and whichever side is good."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from causalbench.decision.effects import MetricEffect, effect_of, relative, std_error_of
from causalbench.decision.guardrails import guardrail, overall
from causalbench.decision.recommendation import recommend
from causalbench.decision.verdict import judge
from causalbench.study import Metric
from causalbench.values import Interval


def effect(lower, upper, *, good_side="higher", value=None, **more):
    middle = (lower + upper) / 2 if value is None else value
    return MetricEffect(metric="m", value=middle, lower=lower, upper=upper, level=0.95, good_side=good_side, **more)


def estimate(value, segments, *, counterfactual=100.0, std_error=None, level=0.9):
    interval = None if segments is None else Interval(segments=segments, level=level, kind="placebo")
    return SimpleNamespace(
        metric="sales",
        value=value,
        std_error=std_error,
        interval=interval,
        detail={"counterfactual_mean": counterfactual},
    )


METRIC = Metric(name="sales", column="Y")


@pytest.mark.parametrize(
    ("ends", "margin", "verdict", "harm"),
    [
        ((-0.01, 0.03), -0.02, "pass", False),
        ((-0.015, -0.005), -0.02, "pass", True),
        ((-0.07, -0.03), -0.02, "fail", True),
        ((-0.03, 0.03), -0.02, "not shown", False),
        ((-0.02, 0.03), -0.02, "not shown", False),  # harm as large as the margin isn't rejected
        ((-0.03, 0.01), 0.02, "pass", False),
        ((0.03, 0.05), 0.02, "fail", True),
        ((-math.inf, math.inf), -0.02, "not shown", False),
        ((-math.inf, -0.03), -0.02, "fail", True),
    ],
)
def test_guardrail_is_where_the_set_lies(ends, margin, verdict, harm):
    side = "higher" if margin < 0 else "lower"
    found = guardrail(effect(*ends, good_side=side, value=0.0 if math.isinf(ends[0]) else None), margin=margin)
    assert (found.verdict, found.harm_shown) == (verdict, harm)
    assert "m" in found.sentence


def test_guardrail_mirrors_when_the_metric_is_turned():
    for low, high in itertools.combinations(np.linspace(-0.05, 0.05, 9).tolist(), 2):
        up, down = guardrail(effect(low, high), margin=-0.021), guardrail(effect(-high, -low), margin=0.021)
        assert (up.verdict, up.harm_shown, up.passes_from) == (down.verdict, down.harm_shown, -down.passes_from)


def test_tightest_margin_that_passes_is_the_end_of_the_set():
    found = guardrail(effect(-0.013, 0.02), margin=-0.01)
    assert found.verdict == "not shown"
    assert found.passes_from == -0.013
    assert guardrail(effect(-0.013, 0.02), margin=-0.013 - 1e-9).verdict == "pass"
    assert guardrail(effect(0.013, 0.02), margin=-0.01).passes_from == 0


def test_guardrail_power_is_that_of_the_normal_law():
    error, margin, level = 0.008, -0.02, 0.95
    draws = np.random.default_rng(0).normal(0, error, 40_000)
    reach = stats.norm.isf(0.025) * error
    passed = np.mean([draw - reach > margin for draw in draws])
    found = guardrail(effect(-0.01, 0.01, std_error=error), margin=margin)
    assert found.effect.level == level
    assert found.power == pytest.approx(passed, abs=4 * math.sqrt(0.25 / 40_000))


def test_set_that_is_missing_never_passes():
    missing = MetricEffect(metric="m", value=0.1, lower=math.nan, upper=math.nan, level=0.95, problem="No set.")
    found = guardrail(missing, margin=-0.02)
    assert found.verdict == "not shown"
    assert found.passes_from == -math.inf
    assert "No set." in found.sentence
    assert judge(missing, worthwhile=0.1).verdict == "not shown"
    assert found.to_dict()["passes_from"] is None


@pytest.mark.parametrize("margin", [0.0, math.nan, math.inf])
def test_margin_without_a_side_is_refused(margin):
    with pytest.raises(ValueError, match="margin is"):
        guardrail(effect(-1, 1), margin=margin)


def test_all_guardrails_pass_together_or_not_at_all():
    one = {
        word: guardrail(effect(*ends), margin=-0.02)
        for word, ends in {"pass": (-0.01, 0.01), "fail": (-0.05, -0.03), "not shown": (-0.05, 0.01)}.items()
    }
    for words in itertools.product(one, repeat=3):
        expected = "fail" if "fail" in words else "not shown" if "not shown" in words else "pass"
        assert overall([one[word] for word in words]) == expected


@pytest.mark.parametrize(
    ("ends", "worthwhile", "verdict", "enough"),
    [
        ((0.02, 0.04), 0.01, "better", True),
        ((0.005, 0.04), 0.01, "better", False),
        ((0.001, 0.007), 0.01, "equivalent", False),
        ((-0.007, 0.007), 0.01, "equivalent", False),
        ((-0.007, 0.007), None, "not shown", None),
        ((-0.007, 0.02), 0.01, "not shown", False),
        ((-0.04, -0.005), 0.01, "worse", False),
        ((-0.007, -0.001), 0.01, "equivalent", False),
        ((0.0, 0.04), 0.01, "not shown", False),
    ],
)
def test_five_ways(ends, worthwhile, verdict, enough):
    up = judge(effect(*ends), worthwhile=worthwhile)
    down = judge(effect(-ends[1], -ends[0], good_side="lower"), worthwhile=worthwhile)
    assert (up.verdict, up.worthwhile_shown) == (verdict, enough)
    assert (down.verdict, down.worthwhile_shown) == (verdict, enough)


def test_too_early_withholds_success_but_no_alarm():
    early = "5 days are less than a week."
    assert judge(effect(0.02, 0.04), worthwhile=0.01, too_early=early).verdict == "too early"
    assert judge(effect(-0.007, 0.007), worthwhile=0.01, too_early=early).verdict == "too early"
    assert judge(effect(-0.04, -0.02), worthwhile=0.01, too_early=early).verdict == "worse"
    assert early in judge(effect(0.02, 0.04), too_early=early).sentence


def test_every_claim_is_about_a_region_that_holds_the_set():
    regions = {
        "better": lambda x, _: x > 0,
        "worse": lambda x, _: x < 0,
        "equivalent": lambda x, size: abs(x) < size,
    }
    grid = np.linspace(-0.03, 0.03, 25).tolist()
    for (low, high), size in itertools.product(itertools.combinations(grid, 2), (0.004, 0.011)):
        verdict = judge(effect(low, high), worthwhile=size).verdict
        holds = [all(regions[name](end, size) for end in (low, high)) for name in regions]
        assert (verdict == "not shown") == (not any(holds))
        if verdict != "not shown":
            assert all(regions[verdict](end, size) for end in (low, high))


def test_relative_set_is_the_image_of_the_set():
    found = effect_of(estimate(5.0, ((-2.0, 10.0),)), METRIC)
    observed = 105.0
    assert found.lower == pytest.approx(-2 / (observed + 2))
    assert found.upper == pytest.approx(10 / (observed - 10))
    for tau in np.linspace(-4, 12, 33):
        assert (-2 <= tau <= 10) == (found.lower - 1e-12 <= relative(tau, observed=observed) <= found.upper + 1e-12)


def test_relative_error_is_the_slope_times_the_error():
    step, observed = 1e-6, 105.0
    slope = (relative(5 + step, observed=observed) - relative(5 - step, observed=observed)) / (2 * step)
    found = effect_of(estimate(5.0, ((-2.0, 10.0),), std_error=3.0), METRIC)
    assert found.std_error == pytest.approx(3.0 * slope)


def test_error_of_a_set_without_one_is_its_width():
    found = estimate(5.0, ((-2.0, 10.0),), level=0.9)
    assert std_error_of(found) == pytest.approx(6.0 / stats.norm.isf(0.05))
    wider = Interval(segments=((-8.0, 16.0),), level=0.9, kind="conformal")
    assert std_error_of(found, interval=wider) == pytest.approx(12.0 / stats.norm.isf(0.05))
    assert std_error_of(estimate(5.0, ((-2.0, math.inf),))) is None
    assert std_error_of(estimate(5.0, None)) is None


def test_absolute_and_logarithmic_scales():
    plain = effect_of(estimate(5.0, ((-2.0, 10.0),)), METRIC.model_copy(update={"effects": "absolute"}))
    assert (plain.value, plain.lower, plain.upper, plain.scale) == (5.0, -2.0, 10.0, "absolute")
    logs = effect_of(estimate(0.1, ((0.0, 0.2),)), METRIC.model_copy(update={"transform": "log"}))
    assert (logs.value, logs.upper) == pytest.approx((math.expm1(0.1), math.expm1(0.2)))


def test_ends_beyond_the_outcome_are_unbounded():
    found = effect_of(estimate(5.0, ((-math.inf, 200.0),)), METRIC)
    assert (found.lower, found.upper) == (-1.0, math.inf)
    assert guardrail(found, margin=-0.02).verdict == "not shown"


@pytest.mark.parametrize("counterfactual", [0.0, -20.0])
def test_outcome_that_is_not_positive_has_no_relative_effect(counterfactual):
    found = effect_of(estimate(-1.0, ((-2.0, 1.0),), counterfactual=counterfactual), METRIC)
    assert not found.known
    assert "absolute" in found.problem


def test_empty_set_is_no_verdict():
    found = judge(effect_of(estimate(5.0, ()), METRIC), worthwhile=0.01)
    assert found.verdict == "not shown"
    assert "No constant effect fits" in found.sentence


def test_guardrail_that_fails_outweighs_success():
    win, harm = judge(effect(0.05, 0.08)), guardrail(effect(-0.05, -0.03), margin=-0.02)
    found = recommend(win, [harm])
    assert found.action == "revise"
    assert "FAILED" in found.reasons[0]
    assert found.changes == ("m: a margin wider than -5.0% would have passed.",)


@pytest.mark.parametrize(
    ("success", "guard", "action"),
    [
        ((0.05, 0.08), (-0.01, 0.01), "ship"),
        ((0.05, 0.08), (-0.05, 0.01), "hold"),
        ((-0.08, -0.05), (-0.05, 0.01), "stop"),
        ((-0.005, 0.005), (-0.01, 0.01), "stop"),
        ((-0.05, 0.08), (-0.01, 0.01), "hold"),
    ],
)
def test_action_without_a_value(success, guard, action):
    verdict = judge(effect(*success), worthwhile=0.01)
    assert recommend(verdict, [guardrail(effect(*guard), margin=-0.02)]).action == action
