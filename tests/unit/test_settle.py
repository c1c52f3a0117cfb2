"""Which answer stands: the advised method, a demoted one, and no control that reacted to the launch itself."""

import shutil

import pytest

from causalbench.data.datasets import study_path
from causalbench.data.scenarios import draw
from causalbench.errors import StudyError
from causalbench.study import Study, load_finished
from causalbench.workflow.readout import readout


def written(scenario, folder):
    for name, text in scenario.files.items():
        (folder / name).write_text(text, "utf-8")
    return load_finished(folder)


def changed(folder, old, new):
    shutil.copytree(study_path("prop99").parent, folder)
    file = folder / "study.toml"
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")
    return load_finished(folder)


def test_auto_takes_the_advised_method_and_leaves_out_controls_that_reacted(tmp_path):
    scenario = draw("A1", seed=0)
    evidence = readout(written(scenario, tmp_path)).to_dict()
    assert evidence["study"]["method"]["name"] == "auto"
    assert evidence["estimates"][0]["estimator"] == evidence["advice"]["primary"]
    left_out = evidence["decision"]["left_out"]
    assert set(left_out["units"]) == set(scenario.truth["contaminated"])
    assert left_out["taken"]
    assert left_out["value_without"] == evidence["estimates"][0]["value"]
    assert left_out["value_with"] != left_out["value_without"]
    assert all(name in left_out["sentence"] for name in scenario.truth["contaminated"])
    assert set(scenario.truth["contaminated"]).isdisjoint(evidence["estimates"][0]["weights"])


def test_a_named_method_keeps_its_answer_and_the_other_is_told(tmp_path):
    scenario = draw("A1", seed=0)
    study = written(scenario, tmp_path)
    file = tmp_path / "study.toml"
    file.write_text(file.read_text("utf-8").replace('name = "auto"', 'name = "synthetic-control"'), "utf-8")
    study = Study.load(file)
    evidence = readout(study).to_dict()
    left_out = evidence["decision"]["left_out"]
    assert not left_out["taken"]
    assert left_out["value_with"] == evidence["estimates"][0]["value"]
    assert set(scenario.truth["contaminated"]) <= set(evidence["estimates"][0]["weights"])


def test_calibration_takes_windows_like_the_launch_by_the_events_that_touch_everybody(tmp_path):
    study = changed(tmp_path / "study", "[method]", '[calendar]\nfile = "events.csv"\n[method]')
    plain = readout(load_finished(study_path("prop99"))).to_dict()["backtest"]
    assert plain["recalibrated"]["matched"] is None
    for units, matched in (("", True), ("Utah", None)):
        row = f"tax,1988,1988,{units}\nrecession,1990,1991,{units}\n"
        (tmp_path / "study" / "events.csv").write_text(f"name,start,end,units\n{row}", "utf-8")
        found = readout(study).to_dict()["backtest"]["recalibrated"]
        assert found["matched"] is matched
        assert (found["n_errors"] < plain["recalibrated"]["n_errors"]) == bool(matched)


RULE = "\n[method.demotion]\nrmse_ratio = 1.25\n"


def test_a_declared_rule_demotes_a_method_that_errs_more_on_the_history(tmp_path):
    study = changed(tmp_path / "study", "level = 0.9\n", f"level = 0.9\n{RULE}")
    evidence = readout(study).to_dict()
    demotion = evidence["backtest"]["demotion"]
    rows = {row["method"]: row["rmse"] for row in evidence["backtest"]["table"]}
    assert demotion["demoted"]
    assert rows[demotion["primary"]] > 1.25 * min(rows.values())
    assert evidence["estimates"][0]["estimator"] == evidence["backtest"]["main"] == demotion["replacement"]
    assert evidence["study"]["method"]["name"] == "synthetic-control"


def test_without_a_declared_rule_nobody_is_demoted():
    evidence = readout(load_finished(study_path("prop99"))).to_dict()
    assert evidence["backtest"]["demotion"] is None
    assert evidence["estimates"][0]["estimator"] == "synthetic-control"


@pytest.mark.parametrize("rule", ["rmse_ratio = 0.5", "coverage = 1.5", "rmse = 2"])
def test_a_rule_that_means_nothing_is_refused(tmp_path, rule):
    with pytest.raises(StudyError, match="demotion"):
        changed(tmp_path / "study", "level = 0.9\n", f"level = 0.9\n\n[method.demotion]\n{rule}\n")
