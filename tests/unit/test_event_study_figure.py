"""Figures and tables of a phased rollout: what is drawn, what the words promise, and what stays away."""

import json
import re
import shutil
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from causalbench.artifacts import EVIDENCE
from causalbench.data.datasets import study_path
from causalbench.report import figures, page, rollout
from causalbench.report.figures import comparison_weights, effect_path, event_study, trend_sensitivity
from causalbench.study import Study
from causalbench.workflow.readout import readout

METRIC = "sales"


def study_of(times, *, reference=-1, n_treated=None):
    values = [0.1 * time if time >= 0 else 0.01 for time in times]
    counts = n_treated or [20] * len(times)
    return {"event_times": times, "values": values, "covariance": [], "n_treated": counts, "reference": reference}


def bands_of(study):
    values = np.array(study["values"])
    ends = {"lower": values - 0.2, "upper": values + 0.2, "uniform_lower": values - 0.3, "uniform_upper": values + 0.3}
    return {"level": 0.9, "critical_value": 2.5, **{name: end.tolist() for name, end in ends.items()}}


def evidence_of(study, bands=None, checks=()):
    estimate = {"metric": METRIC, "event_study": study, "bands": bands}
    return {"estimates": [estimate], "checks": {METRIC: list(checks)}}


def comparisons(rows):
    weighted = sum(row["weight"] * row["estimate"] for row in rows)
    forbidden = sum(row["weight"] for row in rows if row["type"].startswith("later"))
    table = {"comparisons": rows, "two_way_estimate": weighted, "forbidden_share": forbidden}
    return {"name": "forbidden-comparisons", "table": table}


def texts(drawing):
    root = ET.fromstring(drawing.svg)
    return [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.fixture(scope="module", params=["castle", "mpdta"])
def rollout_evidence(request):
    return readout(Study.load(study_path(request.param))).to_dict()


def test_event_study_names_bands_placebos_reference_and_units():
    study = study_of([-4, -3, -2, 0, 1, 2], n_treated=[8, 20, 20, 20, 20, 5])
    drawing = event_study.draw(evidence_of(study, bands_of(study)), METRIC)
    shown = texts(drawing)
    assert {"90%, each time alone", "90%, all at once", "before the launch: placebo"} <= set(shown)
    assert "effect on sales" in shown
    assert "periods since the launch (0 is the first period with it)" in shown
    assert "covers the truth with 90% at one event time looked at alone" in drawing.caption
    assert "at all event times at once with 90%" in drawing.caption
    assert "they are placebos" in drawing.caption
    assert "5 to 20 treated units stand behind a value" in drawing.caption
    assert "+0.2000 at 2" in drawing.alt
    assert "relative to period -1, which is 0 by definition" in drawing.alt
    assert "0 of 3 all-at-once bands before the launch leave out 0" in drawing.alt


def test_event_study_without_bands_says_so_and_draws_values():
    drawing = event_study.draw(evidence_of(study_of([-2, 0, 1])), METRIC)
    assert "No bands: the uncertainty of single values isn't computed here." in drawing.caption
    assert "from the launch on: effect" in texts(drawing)
    assert not [text for text in texts(drawing) if "all at once" in text]


def test_event_study_without_leads_or_with_one_reference_further_back():
    alone = event_study.draw(evidence_of(study_of([0, 1])), METRIC)
    assert "placebo" not in alone.caption + alone.alt
    back = event_study.draw(evidence_of(study_of([-3, -1, 0], reference=-2)), METRIC)
    assert "a change since period -2" in back.caption


def test_event_times_without_a_known_error_are_drawn_without_a_band():
    study = study_of([-2, 0, 1])
    bands = bands_of(study)
    for side in ("lower", "upper", "uniform_lower", "uniform_upper"):
        bands[side][0] = None
    drawing = event_study.draw(evidence_of(study, bands), METRIC)
    assert "before the launch: placebo" in texts(drawing)
    assert "all-at-once bands before" not in drawing.alt


def test_values_that_rest_on_one_or_two_units_have_no_band():
    study = study_of([-3, -2, 0, 1], n_treated=[2, 9, 9, 1])
    drawing = event_study.draw(evidence_of(study, bands_of(study)), METRIC)
    assert "Values that rest on fewer than 3 have no band: their errors mean nothing." in drawing.caption
    assert "of 1 all-at-once bands before the launch" in drawing.alt
    estimate = {"detail": {}, "event_study": study, "bands": bands_of(study), "value": 0.0}
    rows = rollout.describe(estimate, [[5, 9]])["event_times"]
    assert [row["time"] for row in rows if row["at_once"] == "too few units"] == [-3, 1]


def test_method_without_an_event_study_has_no_such_figure():
    assert event_study.draw(evidence_of(None), METRIC) is None


def test_long_histories_have_short_words_and_one_file_of_moderate_size():
    study = study_of([time for time in range(-200, 60) if time != -1])
    drawing = event_study.draw(evidence_of(study, bands_of(study)), METRIC)
    assert len(drawing.alt) < 1500
    assert len(drawing.svg) < 150_000


def test_comparison_weights_name_every_type_and_mark_the_forbidden():
    rows = [
        {"type": "treated-vs-never", "cohort": 3, "comparison": "never", "weight": 0.7, "estimate": 1.0},
        {"type": "earlier-vs-later", "cohort": 3, "comparison": 5, "weight": 0.1, "estimate": 0.8},
        {"type": "later-vs-earlier", "cohort": 5, "comparison": 3, "weight": 0.2, "estimate": -0.5},
    ]
    drawing = comparison_weights.draw(evidence_of(None, checks=[comparisons(rows)]), METRIC)
    assert {
        "treated against never treated: 70.0%",
        "earlier against later launch: 10.0%",
        "later against earlier launch (forbidden): 20.0%",
        "two-way estimate 0.6800",
    } <= set(texts(drawing))
    assert "20.0% of the weight is on forbidden comparisons" in drawing.alt


def test_comparison_weights_need_the_check():
    assert comparison_weights.draw(evidence_of(None), METRIC) is None
    empty = {"name": "forbidden-comparisons", "table": {}}
    assert comparison_weights.draw(evidence_of(None, checks=[empty]), METRIC) is None


def sensitivity(sets, breakdown):
    rows = [{"bound": 0.5 * i, "segments": segments} for i, segments in enumerate(sets)]
    table = {"level": 0.9, "effect": 0.2, "relative_magnitude": rows, "breakdown_relative_magnitude": breakdown}
    return {"name": "trend-sensitivity", "reason": "Because.", "table": table}


def test_sensitivity_says_where_zero_joins_and_draws_open_and_empty_sets():
    check = sensitivity([[[0.1, 0.3]], [], [[-0.1, 0.1], [0.2, 0.5]], [[None, None]]], 0.8)
    drawing = trend_sensitivity.draw(evidence_of(None, checks=[check]), METRIC)
    assert {"zero joins the set at 0.8000", "90% set", "parallel", "1.5"} <= set(texts(drawing))
    assert "1: -0.1000 to 0.1000 or 0.2000 to 0.5000; 1.5: unbounded on both sides" in drawing.alt
    without = trend_sensitivity.draw(evidence_of(None, checks=[sensitivity([[], []], None)]), METRIC)
    assert "zero joins" not in " ".join(texts(without))


def test_sensitivity_needs_the_check():
    assert trend_sensitivity.draw(evidence_of(None), METRIC) is None


def test_real_rollouts_draw_path_event_study_and_weights_in_this_order(rollout_evidence):
    metric = rollout_evidence["headline"]["metric"]
    drawn = [drawing.name for drawing in figures.draw(rollout_evidence, metric)]
    assert drawn[:4] == ["effect_path", "event_study", "trend_sensitivity", "comparison_weights"]


def test_path_of_a_rollout_says_how_many_launches_it_mixes(rollout_evidence):
    metric = rollout_evidence["headline"]["metric"]
    launches = rollout_evidence["audits"][metric]["launches"]
    drawing = effect_path.draw(rollout_evidence, metric)
    assert f"Units launch at {len(launches)} dates from {launches[0][0]} (dashed" in drawing.caption
    assert f"the last at {launches[-1][0]}" in drawing.alt
    assert not [text for text in texts(drawing) if "constant effect" in text or "mean effect" in text]


def test_path_of_one_launch_keeps_the_set_and_the_mean():
    evidence = readout(Study.load(study_path("prop99"))).to_dict()
    drawing = effect_path.draw(evidence, "packs per head")
    assert "90% placebo set of a constant effect" in texts(drawing)
    assert "The launch is at 1989." in drawing.alt


def test_tables_of_a_rollout_hold_the_evidence(rollout_evidence):
    (estimate,) = rollout_evidence["estimates"]
    launches = rollout_evidence["audits"][estimate["metric"]]["launches"]
    found = rollout.describe(estimate, launches)
    assert [row["time"] for row in found["event_times"]] == sorted([*estimate["event_study"]["event_times"], -1])
    assert [(row["cohort"], row["n_units"]) for row in found["cohorts"]] == [tuple(row) for row in launches]
    assert sum(row["n_units"] for row in found["cohorts"]) == estimate["n_treated"]
    assert [row["name"] for row in found["summaries"] if row["chosen"]] == ["simple"]
    assert found["n_cells"] == len(estimate["detail"]["group_time"])


def test_long_event_studies_keep_the_rows_nearest_to_the_launch():
    study = study_of([time for time in range(-400, 30) if time != -1])
    found = rollout.describe({"detail": {}, "event_study": study, "bands": None, "value": 0.0}, [[400, 9]])
    assert (found["n_times"], len(found["event_times"])) == (430, 120)
    assert [found["event_times"][i]["time"] for i in (0, -1)] == [-90, 29]


def test_method_without_cohorts_has_no_tables_of_a_rollout():
    estimate = {"detail": {}, "event_study": None, "bands": None, "value": 1.0}
    found = rollout.describe(estimate, [[3, 2]])
    assert not any(found[key] for key in ("event_times", "cohorts", "summaries", "cells", "pretest"))


def test_page_of_a_rollout_says_all_in_plain_words(rollout_evidence):
    metric = rollout_evidence["headline"]["metric"]
    text = page.render(rollout_evidence, {metric: figures.draw(rollout_evidence, metric)})
    words = re.sub(r"<[^>]+>", " ", text)
    for title in ("Effect by time since the launch", "Who launched when", "averaged in other ways"):
        assert title in words
    assert "every unit counts the same" in words
    assert "Chosen: estimator group-time; control never_treated;" in words
    assert "inference cluster." in words
    assert "Test that all effects before the launch are zero together" in words
    assert re.search(r"<details><summary>Every launch date in every period \(\d+ cells\)</summary>", text)
    assert not re.search(r"<(?:script|link|img|iframe)\b|@import|url\((?!#)", text)


def test_weighted_estimate_names_its_column(rollout_evidence):
    evidence = json.loads(json.dumps(rollout_evidence))
    evidence["estimates"][0]["estimand"]["weighting"] = "population"
    evidence["study"]["data"]["weights"] = "population"
    text = page.render(evidence, {evidence["headline"]["metric"]: []})
    assert "Average effect on the treated, units weighted by population," in text


def test_shipped_rollout_runs_with_the_weights_that_its_study_file_suggests(tmp_path):
    shutil.copytree(study_path("castle").parent, tmp_path, dirs_exist_ok=True)
    text = (tmp_path / "study.toml").read_text("utf-8")
    (tmp_path / "study.toml").write_text(text.replace("# weights = ", "weights = "), "utf-8")
    evidence = readout(Study.load(tmp_path)).to_dict()
    assert evidence["estimates"][0]["estimand"]["weighting"] == "population"
    verdicts = {check["name"]: check["verdict"] for check in evidence["checks"]["log homicide rate"]}
    assert "placebo-in-space" not in verdicts  # its mean of many treated states is smoother than one control


def test_effect_on_a_logarithm_is_relative_by_its_exponential():
    evidence = readout(Study.load(study_path("mpdta"))).to_dict()
    (estimate,) = evidence["estimates"]
    assert estimate["detail"]["relative"] == pytest.approx(np.expm1(estimate["value"]), rel=1e-12)
    assert "(-3.9%)" in evidence["headline"]["answer"]
    assert estimate["detail"]["incremental"] is None


def test_hostile_names_of_metrics_stay_text_in_the_new_figures():
    study = study_of([-2, 0, 1])
    evidence = evidence_of(study, bands_of(study))
    evidence["estimates"][0]["metric"] = "<script>$x$</script>"
    evidence["checks"] = {"<script>$x$</script>": []}
    drawing = event_study.draw(evidence, "<script>$x$</script>")
    assert "<script" not in drawing.svg
    assert "<script" not in drawing.inline()


def test_run_of_a_rollout_publishes_its_figures(tmp_path):
    from causalbench.report.publish import run

    folder = run(study_path("mpdta"), out=tmp_path / "run").folder
    drawn = {path.name for path in (folder / "figures").iterdir()}
    assert {"effect_path.svg", "event_study.svg", "comparison_weights.svg"} <= drawn
    assert json.loads((folder / EVIDENCE).read_text("utf-8"))["audits"]["log teen employment"]["launches"] == [
        [2004, 20],
        [2006, 40],
        [2007, 131],
    ]
