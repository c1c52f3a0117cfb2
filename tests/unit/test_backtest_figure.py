"""The picture of errors where nothing was launched."""

from xml.etree import ElementTree as ET

import numpy as np
import pytest

from causalbench.artifacts import plain
from causalbench.calibration.backtest import backtest
from causalbench.data.simulate import factor_panel
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.report import figures
from causalbench.report.figures import backtest_leaderboard

ESTIMATE = {"metric": "sales", "value": 2.0, "estimand": {"units": "sales per unit and period"}}


@pytest.fixture(scope="module")
def found():
    panel = factor_panel(n_units=12, n_periods=48, n_treated=1, n_post=6, effect=2.0, rho=0.3, seed=1)
    methods = {name: ESTIMATORS.create(name) for name in ("did", "synthetic-control")}
    rng = np.random.default_rng(0)
    tried = backtest(
        panel,
        methods,
        duration=6,
        n_placebos=60,
        rng=rng,
        inferences={"did": INFERENCES.create("permutation")},
        n_intervals=10,
    )
    return plain({**tried.to_dict(), "main": "did"})


def evidence(found):
    return {"estimates": [ESTIMATE], "backtest": found}


def test_each_method_is_a_row_with_its_error(found):
    drawing = backtest_leaderboard.draw(evidence(found), "sales")
    ET.fromstring(drawing.svg[drawing.svg.index("<svg") :])
    for row in found["table"]:
        assert row["method"] in drawing.svg
        assert f"{row['rmse']:.4f}"[:5] in drawing.alt
    assert "its 95% interval was right in" in drawing.svg
    assert "60 rehearsals in 5 windows of 6 periods" in drawing.caption


def test_a_metric_may_have_a_backtest_of_its_own(found):
    assert backtest_leaderboard.draw(evidence({"sales": found}), "sales") is not None


@pytest.mark.parametrize("backtest", [None, {}, {"problem": "no history", "table": []}, {"other": {"table": []}}])
def test_nothing_is_drawn_without_a_backtest(backtest):
    assert backtest_leaderboard.draw(evidence(backtest), "sales") is None
    assert backtest_leaderboard.draw({"estimates": [ESTIMATE]}, "sales") is None


def test_shorter_windows_are_said(found):
    drawing = backtest_leaderboard.draw(evidence({**found, "asked_duration": 9}), "sales")
    assert "shorter than the 9 since the launch" in drawing.caption


def test_figure_is_one_of_the_reports_own():
    assert backtest_leaderboard in figures._modules()
