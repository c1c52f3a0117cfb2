"""Figures of a decision: what is drawn, in words and in marks, and when nothing is."""

from __future__ import annotations

import math
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from causalbench.artifacts import plain
from causalbench.decision.dynamics import dynamics
from causalbench.decision.effects import MetricEffect
from causalbench.decision.guardrails import guardrail
from causalbench.decision.value import Prior, Stake, net_value
from causalbench.decision.verdict import judge
from causalbench.report.figures import effect_dynamics, metric_roles
from causalbench.report.figures import net_value as net_value_figure


def effect(metric, lower, upper, side="higher", **more):
    middle = (lower + upper) / 2 if math.isfinite(lower + upper) else 0.0
    return MetricEffect(metric=metric, value=middle, lower=lower, upper=upper, level=0.9, good_side=side, **more)


def evidence(grade="B", said="shown", **decision):
    headline = {"metric": "flagged", "verdict": said}
    return plain({"headline": headline, "grade": {"grade": grade}, "decision": decision or None})


def texts(drawing):
    root = ET.fromstring(drawing.svg)
    return [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]


VERDICTS = [judge(effect("flagged", -0.92, -0.88, "lower"), worthwhile=0.1).to_dict()]
GUARDS = [
    guardrail(effect("dau", -0.07, -0.03), margin=-0.02).to_dict(),
    guardrail(effect("crashes", -math.inf, 0.01, "lower"), margin=0.02).to_dict(),
]


def test_metrics_stand_beside_their_margins():
    drawing = metric_roles.draw(evidence(verdicts=VERDICTS, guardrails=GUARDS), "flagged")
    shown = texts(drawing)
    assert {"flagged", "better", "margin -2.0%: fail", "margin +2.0%: pass"} <= set(shown)
    assert "effect as a share of the outcome without the launch, with its 90% set" in shown
    assert "dau margin -2.0%: fail, -7.0% to -3.0%" in drawing.alt
    assert drawing.svg == metric_roles.draw(evidence(verdicts=VERDICTS, guardrails=GUARDS), "flagged").svg


def test_success_out_of_proportion_does_not_squash_guardrails():
    low, high = metric_roles._frame([*VERDICTS, *GUARDS])
    assert -0.1 < low < -0.07
    assert 0.02 < high < 0.05
    alone, _ = metric_roles._frame(VERDICTS)
    assert alone < -0.92


@pytest.mark.parametrize(
    ("decision", "metric"),
    [
        ({}, "flagged"),
        ({"verdicts": VERDICTS, "guardrails": []}, "flagged"),
        ({"verdicts": VERDICTS, "guardrails": GUARDS}, "dau"),
        (
            {"verdicts": [judge(effect("flagged", -5, 5, scale="absolute")).to_dict()], "guardrails": GUARDS[:1]},
            "flagged",
        ),
    ],
)
def test_one_relative_metric_needs_no_picture(decision, metric):
    assert metric_roles.draw(evidence(**decision), metric) is None


@pytest.mark.parametrize(
    ("grade", "told", "guarded"), [("C", "better? (grade C)", "pass? (grade C)"), ("D", "no claim", "no claim")]
)
def test_pictures_say_no_more_than_the_grade(grade, told, guarded):
    drawing = metric_roles.draw(evidence(grade, verdicts=VERDICTS, guardrails=GUARDS), "flagged")
    assert {told, "margin -2.0%: fail", f"margin +2.0%: {guarded}"} <= set(texts(drawing))
    assert "better:" not in drawing.alt
    assert (net_value_figure.draw(evidence(grade, value=value_of(2.0)), "flagged") is None) == (grade == "D")


def test_an_effect_beyond_all_bounds_is_drawn_without_a_point():
    unbounded = judge(MetricEffect(metric="flagged", value=math.inf, lower=0.1, upper=math.inf, level=0.9)).to_dict()
    assert metric_roles.draw(evidence(verdicts=[unbounded], guardrails=GUARDS), "flagged") is not None


def value_of(spread):
    stake = Stake(effects=[2.0], covariance=[[1.0]], per_unit=[1.0], units=1, horizon=1, cost=1.0, currency="euros")
    return net_value(stake, Prior(mean=[0.0], spread=[spread], text="prior: of some kind")).to_dict()


def test_net_value_is_drawn_with_its_prior():
    drawing = net_value_figure.draw(evidence(value=value_of(2.0)), "flagged")
    assert "net value over the horizon, euros" in texts(drawing)
    assert "asked for: 80.0%" in texts(drawing)
    assert "prior: of some kind" in drawing.caption
    assert "equally likely beforehand" in drawing.caption
    assert "equally likely" not in net_value_figure.draw(evidence(value=value_of(math.inf)), "flagged").caption


def test_probability_is_where_the_curve_crosses_zero():
    found = value_of(2.0)
    values, shares = np.array(found["exceeded"]).T
    assert (np.diff(values) > 0).all()
    assert (np.diff(shares) < 0).all()
    assert np.interp(0, values, shares) == pytest.approx(found["probability"], abs=0.002)


def test_effect_over_time_is_drawn_only_where_it_changes():
    times = np.arange(30)
    fading = dynamics(0.01 + 0.05 * 0.5 ** (times / 5), 1e-6 * np.eye(30), rng=np.random.default_rng(0))
    steady = dynamics(np.full(30, 0.03), 1e-6 * np.eye(30), rng=np.random.default_rng(0))
    drawing = effect_dynamics.draw(evidence(dynamics=fading.to_dict()), "flagged")
    assert {"what stays", "fitted curve"} <= set(texts(drawing))
    assert "settling at" in drawing.alt
    assert effect_dynamics.draw(evidence(said="not shown", dynamics=fading.to_dict()), "flagged") is None
    for nothing in (evidence(dynamics=steady.to_dict()), evidence(dynamics=None, value=None), evidence()):
        assert effect_dynamics.draw(nothing, "flagged") is None
        assert net_value_figure.draw(nothing, "flagged") is None
