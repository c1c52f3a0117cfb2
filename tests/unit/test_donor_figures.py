"""Pictures of the donors, of bands by period and of other methods; and words for answers without a p-value."""

import copy
import dataclasses
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from causalbench.artifacts import plain
from causalbench.data.datasets import study_path
from causalbench.decision.headline import headline
from causalbench.report import figures, page
from causalbench.report.figures import (
    control_selection,
    donor_weights,
    effect_path,
    leave_one_out,
    method_agreement,
    posterior_panels,
)
from causalbench.report.tables import estimate_text
from causalbench.study import Study
from causalbench.values import Interval, PathBands
from causalbench.wording import evidence_text, interval_name
from causalbench.workflow.estimate import answer_study
from causalbench.workflow.readout import readout

METRIC = "packs per head"


@pytest.fixture(scope="module")
def study():
    return Study.load(study_path("prop99"))


@pytest.fixture(scope="module")
def found(study):
    return readout(study).to_dict()


@pytest.fixture
def evidence(found):
    return copy.deepcopy(found)


def texts(drawing):
    root = ET.fromstring(drawing.svg)
    return [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]


def bands(n_pre, effect, **changes):
    reach = np.where(np.arange(len(effect)) < n_pre, 3.0, 8.0)
    running = np.where(np.arange(len(effect)) < n_pre, np.nan, np.nan_to_num(effect).cumsum())
    values = {
        "level": 0.95,
        "kind": "credible",
        "lower": effect - reach,
        "upper": effect + reach,
        "cumulative_lower": running - 5 * reach,
        "cumulative_upper": running + 5 * reach,
    }
    return PathBands(**(values | changes))


def posterior(estimate, tail=0.004, **interval):
    """Turn an estimate of the evidence into what a Bayesian method gives."""
    effect = np.array(estimate["path"]["effect"])
    ends = interval or {"lower": -30.0, "upper": -9.0}
    estimate |= {
        "path_bands": plain(bands(estimate["n_pre"], effect)),
        "p_value": None,
        "posterior_tail": tail,
        "std_error": 5.0,
        "interval": plain(Interval(segments=((ends["lower"], ends["upper"]),), level=0.95, kind="credible")),
    }
    return estimate


def test_three_panels_take_the_place_of_the_paths(evidence):
    assert posterior_panels.draw(evidence, METRIC) is None
    assert next(drawing.name for drawing in figures.draw(evidence, METRIC)) == "effect_path"
    posterior(evidence["estimates"][0])
    names = [drawing.name for drawing in figures.draw(evidence, METRIC)]
    assert names[0] == "posterior_panels"
    assert "effect_path" not in names
    assert effect_path.draw(evidence, METRIC) is None


def test_three_panels_name_what_they_show(evidence):
    estimate = posterior(evidence["estimates"][0])
    drawing = posterior_panels.draw(evidence, METRIC)
    shown = texts(drawing)
    assert {"95% band", "effect by period", "effect, running sum", METRIC} <= set(shown)
    total = sum(estimate["path"]["effect"][estimate["n_pre"] :])
    assert f"which ends at {total:+.1f}" in drawing.alt
    assert "95% credible interval of the average effect: -30.00 to -9.000" in drawing.alt
    assert "The 95% bands (credible) hold for one period" in drawing.caption


def test_panels_without_bands_of_the_running_sum_or_with_one_period(evidence):
    estimate = posterior(evidence["estimates"][0])
    n = len(estimate["path"]["periods"])
    estimate["path_bands"] |= {"cumulative_lower": [None] * n, "cumulative_upper": [None] * n}
    assert "(band" not in posterior_panels.draw(evidence, METRIC).alt
    estimate["n_pre"] = n - 1
    estimate["path_bands"]["lower"][:-1] = [None] * (n - 1)
    assert "<svg" in posterior_panels.draw(evidence, METRIC).svg


def test_leave_one_out_draws_a_line_for_every_donor_and_names_the_one_that_matters(evidence):
    drawing = leave_one_out.draw(evidence, METRIC)
    table = next(check for check in evidence["checks"][METRIC] if check["name"] == "leave-one-donor-out")["table"]
    assert {f"without {table['furthest']}", "without one donor each", "with all donors"} <= set(texts(drawing))
    assert f"{table['furthest']} matters most" in drawing.alt
    assert drawing.svg.count("<path d=") > len(table["gaps"])


def test_leave_one_out_needs_paths(evidence):
    evidence["checks"][METRIC] = [{"name": "leave-one-donor-out", "table": {}}]
    assert leave_one_out.draw(evidence, METRIC) is None
    evidence["checks"][METRIC] = []
    assert leave_one_out.draw(evidence, METRIC) is None


def method(name, value, *ends, refusal=""):
    interval = plain(Interval(segments=(ends,), level=0.9, kind="confidence")) if ends else None
    return {
        "method": name,
        "inference": "placebo" if ends else None,
        "value": value,
        "interval": interval,
        "refusal": refusal,
    }


def test_methods_stand_side_by_side_with_open_ends_and_without_refusals(evidence):
    rows = [
        method("synthetic-control", -19.5, -33.0, -6.0),
        method("synthetic-did", -15.6, -np.inf, 1.0),
        method("causal-impact", -17.0),
        method("augmented-synthetic-control", None, refusal="too short"),
    ]
    evidence["checks"][METRIC] = [{"name": "method-agreement", "table": {"methods": rows}}]
    drawing = method_agreement.draw(evidence, METRIC)
    shown = " ".join(filter(None, texts(drawing)))
    assert "synthetic-did" in shown
    assert "no interval" in shown
    assert "augmented" not in shown
    assert "synthetic-did -15.60 (unbounded below to 1.000)" in drawing.alt
    assert "Estimates and intervals at 90% of 3 methods" in drawing.alt


def test_one_method_alone_is_no_comparison(evidence):
    rows = [method("synthetic-control", -19.5, -33.0, -6.0), method("synthetic-did", None, refusal="too short")]
    evidence["checks"][METRIC] = [{"name": "method-agreement", "table": {"methods": rows}}]
    assert method_agreement.draw(evidence, METRIC) is None
    evidence["checks"][METRIC] = []
    assert method_agreement.draw(evidence, METRIC) is None


def test_negative_weights_are_drawn_by_size_and_named(evidence):
    evidence["estimates"][0]["weights"] = {"a": 0.9, "b": -0.3, "c": 0.4, "d": 0.0}
    drawing = donor_weights.draw(evidence, METRIC)
    assert "3 of 4 donors have weight. 1 of the weights is negative" in drawing.caption
    assert "the largest are a 90.0%, c 40.0%, b -30.0%" in drawing.alt
    assert not [text for text in texts(drawing) if text and "other" in text]


def test_weights_too_small_to_print_are_none_and_units_with_their_own_are_told(evidence):
    estimate = evidence["estimates"][0]
    estimate["weights"] = {"a": 0.9998, "b": 0.0004, "c": -0.0002}
    drawing = donor_weights.draw(evidence, METRIC)
    assert drawing.caption.startswith("1 of 3 donors has weight. The weights are not negative")
    assert drawing.caption.endswith("They make the mean of the donors follow the treated units before the launch.")
    estimate["detail"]["by_unit"] = []
    assert "the mean over the treated units of each one's own weights" in donor_weights.draw(evidence, METRIC).caption


def test_picture_by_time_since_the_launch_is_promised_only_where_it_is(evidence):
    evidence["audits"][METRIC]["launches"] = [[1989, 1], [1995, 1]]
    assert effect_path.draw(evidence, METRIC).caption.endswith("mixes effects with placebos.")
    evidence["estimates"][0]["event_study"] = {}
    assert effect_path.draw(evidence, METRIC).caption.endswith("the picture by time since the launch takes them apart.")


def test_many_negative_weights_leave_a_rest_of_their_own_sign(evidence):
    weights = {f"u{i:02d}": 0.2 for i in range(12)} | {"x": -0.1, "y": -0.15, "z": -1.15}
    evidence["estimates"][0]["weights"] = weights
    assert "3 others" in texts(donor_weights.draw(evidence, METRIC))


def test_page_says_posterior_tail_and_never_p(evidence):
    posterior(evidence["estimates"][0])
    text = page.render(evidence, {METRIC: figures.draw(evidence, METRIC)})
    assert "<b>posterior tail 0.004000</b>" in text
    assert "<b>p = " not in text
    assert "95% credible interval of the average effect, packs per head per State and period" in text
    assert "95% credible</th>" in text


@pytest.mark.parametrize(
    ("tail", "ends", "verdict", "why"),
    [
        (
            0.004,
            (-30.0, -9.0),
            "shown",
            "The 95% credible interval leaves out zero: the posterior probability of an effect above zero is 0.004.",
        ),
        (
            0.2,
            (-30.0, 4.0),
            "not shown",
            (
                "The 95% credible interval holds zero: the posterior probability of an effect above zero is 0.2. That is not "
                "proof of no effect; effects as large as its ends are compatible too."
            ),
        ),
        (None, (-30.0, -9.0), "shown", "The 95% credible interval leaves out zero."),
    ],
)
def test_interval_without_a_p_value_is_shown_iff_it_leaves_out_zero(study, tail, ends, verdict, why):
    estimate = dataclasses.replace(
        answer_study(study, study.metric[0]).estimate,
        p_value=None,
        posterior_tail=tail,
        interval=Interval(segments=(ends,), level=0.95, kind="credible"),
    )
    result = headline(study, estimate, [])
    assert (result["verdict"], result["why"]) == (verdict, why)
    assert "p =" not in result["why"] + result["answer"] + result["sentence"]


def test_no_interval_is_not_computed(study):
    estimate = dataclasses.replace(
        answer_study(study, study.metric[0]).estimate, interval=None, p_value=None, warnings=()
    )
    result = headline(study, estimate, [])
    assert (result["verdict"], result["why"]) == ("not computed", "The inference gives no interval here.")


def test_command_line_says_posterior_tail(evidence):
    text = estimate_text(posterior(evidence["estimates"][0]))
    assert "  posterior tail         0.004000" in text
    assert "  95% credible interval  -30.00 to -9.000" in text
    assert "p-value" not in text


def test_intervals_are_named_by_what_they_are_a_set_of(evidence):
    estimate = evidence["estimates"][0]
    assert interval_name(estimate) == "90% placebo set of a constant effect"
    assert evidence_text(estimate) == "p = 0.07692"
    assert interval_name(estimate | {"std_error": 1.0}) == "90% placebo set of the average effect"
    assert interval_name(estimate | {"path_bands": {}}) == "90% placebo set of the average effect"
    assert interval_name(posterior(estimate)) == "95% credible interval of the average effect"
    assert interval_name(estimate | {"interval": None}) == "interval"
    assert evidence_text(estimate | {"p_value": None, "posterior_tail": None}) == "not computed"


def test_selected_controls_are_drawn_by_probability_with_their_coefficients(evidence):
    detail = evidence["estimates"][0]["detail"]
    assert control_selection.draw(evidence, METRIC) is None
    detail["inclusion_probability"] = {"Nevada": 0.4, "Utah": 0.983, "Texas": 0.001}
    detail["coefficients"] = {"Nevada": -0.25, "Utah": 1.5, "Texas": 0.0}
    drawing = control_selection.draw(evidence, METRIC)
    shown = texts(drawing)
    assert [text for text in shown if text and "%, " in text] == ["40%, -0.25", "98%, +1.5"]
    assert "Texas" not in shown
    assert "likeliest are Utah 98%, Nevada 40%, Texas 0%" in drawing.alt
    assert drawing.caption.endswith(" 1 other less probable: not drawn.")
