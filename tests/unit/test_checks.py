"""Checks tell what they can tell: a verdict that couldn't have been another is not evaluable."""

import dataclasses

import numpy as np
import pytest

from causalbench.checks import CATALOGUE, placebo_in_time
from causalbench.data.simulate import factor_panel
from causalbench.decision.headline import headline
from causalbench.errors import DataError, RefusalError
from causalbench.protocols import shape_of
from causalbench.study import Study
from causalbench.values import Interval, PathBands, Uncertainty
from causalbench.workflow import readout
from causalbench.workflow.estimate import answer, generator

STUDY = Study.from_mapping(
    {
        "study": {"name": "x", "question": "?"},
        "data": {"source": "t.csv", "unit": "u", "period": "t"},
        "metric": [{"name": "y", "column": "y"}],
        "launch": {"units": ["a"], "start": 1},
        "method": {"name": "did"},
    }
)


def simulated(**changes):
    return factor_panel(
        **(
            {"n_units": 20, "n_periods": 40, "n_treated": 1, "n_post": 8, "effect": 0.0, "rho": 0.3, "seed": 3}
            | changes
        )
    )


def verdict(name, panel, method, **keys):
    found = answer(panel, method, **keys)
    result = CATALOGUE.create(name).run(found.estimator, found.panel, found.estimate, rng=generator(0, name))
    return result and result.verdict


OF_PANELS = [name for name in CATALOGUE.names() if shape_of(CATALOGUE.load(name)) == "panel"]


def swinging(panel, size=80.0):
    swings = np.where(np.arange(len(panel.periods)) % 2, size, -size) * panel.treated
    return dataclasses.replace(panel, outcome=panel.outcome + swings)


@pytest.mark.parametrize("method", ["did", "synthetic-control"])
@pytest.mark.parametrize("name", OF_PANELS)
def test_every_check_answers_or_says_that_its_question_does_not_arise(name, method):
    assert verdict(name, simulated(), method) in ("pass", "review", "fail", "not_evaluable", None)


def test_leaving_out_donors_does_not_arise_without_weights():
    assert verdict("leave-one-donor-out", simulated(), "did") is None


def test_set_that_always_holds_the_estimate_is_no_evidence_for_a_constant_effect():
    panel = swinging(simulated(n_treated=2))
    assert verdict("interval-holds-estimate", panel, "did", inference="permutation") == "not_evaluable"


@pytest.mark.parametrize("inference", ["cluster", "bootstrap"])
def test_interval_around_the_estimate_raises_no_question_of_holding_it(inference):
    panel = swinging(simulated(n_treated=8))
    assert verdict("interval-holds-estimate", panel, "did", inference=inference) is None


def test_empty_set_fails_the_check_and_is_a_misfit_in_the_headline():
    found = answer(swinging(simulated()), "synthetic-control", inference="placebo-rank", level=0.9)
    assert found.estimate.interval.empty
    result = headline(STUDY, found.estimate, [])
    assert result["verdict"] == "misfit"
    assert result["sentence"] == "No constant effect on outcome fits the data at the 90% level."
    assert (
        verdict(
            "interval-holds-estimate", swinging(simulated()), "synthetic-control", inference="placebo-rank", level=0.9
        )
        == "fail"
    )


def test_test_that_ties_with_its_mirror_image_can_not_reject_and_says_so():
    # 3 of 6 units: the mirror image of the assignment always ties, so the smallest p is 2 of 20.
    panel = simulated(n_units=6, n_treated=3, effect=1000.0)
    found = answer(panel, "did", inference="permutation", level=0.95)
    assert found.estimate.detail["smallest_p"] == pytest.approx(2 / 20)
    assert found.estimate.p_value == pytest.approx(2 / 20)
    assert verdict("attainable-level", panel, "did", inference="permutation", level=0.95) == "fail"


@pytest.mark.parametrize("n_units", [4, 8])
def test_few_controls_are_no_evidence_in_space(n_units):
    assert verdict("placebo-in-space", simulated(n_units=n_units), "synthetic-control", level=0.95) == "not_evaluable"


def test_one_period_before_has_no_gap_to_compare_with():
    panel = simulated(n_periods=9, n_post=8)
    assert verdict("placebo-in-space", panel, "did", inference="permutation") == "not_evaluable"


def with_path_gaps(found, where):
    """Return the estimate with an observed mean that is missing in some periods."""
    observed = found.estimate.path.observed.copy()
    observed[where] = np.nan
    return dataclasses.replace(found.estimate, path=dataclasses.replace(found.estimate.path, observed=observed))


@pytest.mark.parametrize(
    ("where", "words"), [(slice(3, 5), "30 periods"), (slice(0, 31), "1 period;"), (slice(0, 32), "No period")]
)
def test_fit_before_the_launch_is_judged_by_the_periods_that_have_one(where, words):
    found = answer(simulated(), "synthetic-control")
    estimate = with_path_gaps(found, where)
    result = CATALOGUE.create("pre-period-fit").run(None, found.panel, estimate, rng=generator(0, "x"))
    assert "nan" not in result.reason
    if words == "30 periods":
        assert words in result.reason
        assert np.isfinite(result.statistic)
    else:
        assert result.verdict == "not_evaluable"


def test_gap_without_a_number_is_not_ranked_among_placebos():
    found = answer(simulated(), "did", inference="permutation")
    result = CATALOGUE.create("placebo-in-space").run(
        found.estimator, found.panel, with_path_gaps(found, slice(35, 36)), rng=generator(0, "x")
    )
    assert result.verdict == "not_evaluable"


def test_of_very_many_control_units_some_are_drawn_and_it_is_said():
    panel = simulated(n_units=1401, n_periods=8, n_post=2)
    found = answer(panel, "did", inference="permutation")
    check = CATALOGUE.create("placebo-in-space")
    one, again, other = (
        check.run(found.estimator, found.panel, found.estimate, rng=np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert "Of 1,400 control units 1,000 are drawn" in one.reason
    assert len(one.table["units"]) == 1000
    assert set(one.table["units"]) <= set(panel.donor_pool)
    assert one.table["units"] == again.table["units"]
    assert one.table["units"] != other.table["units"]


def test_counts_of_one_are_singular():
    panel = simulated(n_units=2, n_periods=5, n_post=4)
    found = answer(panel, "did", inference="permutation")
    for name, words in (
        ("placebo-in-space", "1 control unit is"),
        ("placebo-in-time", "1 period before the launch leaves"),
    ):
        result = CATALOGUE.create(name).run(found.estimator, found.panel, found.estimate, rng=generator(0, name))
        assert words in result.reason


class Refusing:
    """A check whose own fit is refused, or breaks."""

    question = "Can this be worked out?"

    def __init__(self, error):
        self.error = error

    def run(self, estimator, data, estimate, *, rng):
        raise self.error


@pytest.mark.parametrize("kind", [RefusalError, DataError])
def test_refusal_inside_a_check_is_its_answer_and_stops_nothing(monkeypatch, kind):
    found = answer(simulated(), "did")
    refusing = Refusing(kind("there is no control", remedy="add one"))
    create = CATALOGUE.create
    monkeypatch.setattr(
        type(CATALOGUE),
        "create",
        lambda _, name: refusing if name == "placebo-in-time" else create(name),
    )
    results = {result.name: result for result in readout.run_checks(found, seed=STUDY.run.seed)}
    refused = results["placebo-in-time"]
    assert (refused.verdict, refused.question) == ("not_evaluable", Refusing.question)
    assert "there is no control." in refused.reason
    assert refused.remedy == "Add one."
    assert "pre-trend" in results or "placebo-in-space" in results


def test_a_fault_inside_a_check_is_not_swallowed(monkeypatch):
    found = answer(simulated(), "did")
    monkeypatch.setattr(type(CATALOGUE), "create", lambda *_: Refusing(ValueError("a fault")))
    with pytest.raises(ValueError, match="a fault"):
        readout.run_checks(found, seed=STUDY.run.seed)


def test_unbounded_set_is_not_said_to_have_ends():
    found = answer(simulated(n_units=8), "synthetic-control", inference="placebo-rank", level=0.95)
    assert headline(STUDY, found.estimate, [])["why"].endswith("this test can't bound the effect here.")


def test_mean_has_no_total():
    panel = dataclasses.replace(simulated(n_treated=6), additive=False)
    found = answer(panel, "did").estimate
    assert found.detail["incremental"] is None
    assert "in total" not in headline(STUDY, found, [])["answer"]


class Believing:
    """An inference that gives a posterior, whatever the data."""

    def __init__(self, lower, upper, tail):
        self.interval = Interval(segments=((lower, upper),), level=0.9, kind="credible")
        self.tail = tail

    def infer(self, estimator, data, fit, *, level, rng):
        return Uncertainty(interval=self.interval, p_value=None, posterior_tail=self.tail)


@pytest.mark.parametrize(
    ("ends", "tail", "expected"), [((-1.0, 2.0), 0.3, "pass"), ((1.0, 2.0), 0.01, "review"), ((0.5, 2.0), None, None)]
)
def test_mock_launch_of_a_bayesian_method_is_judged_by_its_interval(monkeypatch, ends, tail, expected):
    found = answer(simulated(), "synthetic-control", inference="conformal", level=0.9)
    check = CATALOGUE.create("placebo-in-time")
    monkeypatch.setattr(placebo_in_time.INFERENCES.__class__, "create", lambda *_: Believing(*ends, tail))
    result = check.run(found.estimator, found.panel, found.estimate, rng=generator(0, "x"))
    assert result.verdict == (expected or "not_evaluable")
    if expected:
        assert f"(posterior tail {tail:.3g})" in result.reason
        assert "p =" not in result.reason
        assert (result.statistic, result.threshold) == (tail, pytest.approx(0.05))


def test_bands_by_period_do_not_suppose_a_constant_effect():
    found = answer(simulated(), "synthetic-control", inference="conformal")
    ends = np.zeros(len(found.panel.periods))
    bands = PathBands(level=0.9, kind="credible", lower=ends, upper=ends, cumulative_lower=ends, cumulative_upper=ends)
    check = CATALOGUE.create("interval-holds-estimate")
    for path_bands, arises in ((None, True), (bands, False)):
        estimate = dataclasses.replace(found.estimate, path_bands=path_bands)
        assert (check.run(found.estimator, found.panel, estimate, rng=generator(0, "x")) is not None) == arises
