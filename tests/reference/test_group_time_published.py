"""Group-time effects of the county employment data against R's did 2.x: every cell, summary and test, value and error."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from causalbench.data.panel import Panel
from causalbench.values import Estimate
from causalbench.workflow.estimate import estimate

# name in the tables of R's did 2.x (analytic standard errors, varying base period): options, covariates
SCENARIOS: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "mpdta_nev_dr": ({"control": "never_treated", "method": "dr"}, ()),
    "mpdta_nyt_dr": ({"control": "not_yet_treated", "method": "dr"}, ()),
    "mpdta_nev_ipw": ({"control": "never_treated", "method": "ipw"}, ()),
    "mpdta_nev_reg_cov": ({"control": "never_treated", "method": "reg"}, ("lpop",)),
}
EXACT = 1e-8
LABEL = {"dynamic": "event_time", "group": "cohort", "calendar": "period"}


@pytest.fixture(scope="module")
def answers(reference: Path) -> dict[str, Estimate]:
    table = pd.read_csv(reference / "did" / "mpdta.csv")
    found = {}
    for name, (options, covariates) in SCENARIOS.items():
        panel = Panel.from_table(
            table,
            unit="countyreal",
            period="year",
            outcome="lemp",
            cohort="first.treat",
            covariates=covariates,
            aggregate="mean",
        )
        found[name] = estimate(panel, "group-time", options=options)
    return found


def rows(reference: Path, name: str, scenario: str) -> list[dict[str, str]]:
    with (reference / "did" / name).open() as lines:
        found = [row for row in csv.DictReader(lines) if row["scenario"] == scenario]
    assert found
    return found


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_cell(answers: dict[str, Estimate], reference: Path, scenario: str) -> None:
    cells = {(cell["cohort"], cell["period"]): cell for cell in answers[scenario].detail["group_time"]}
    expected = rows(reference, "ref_attgt.csv", scenario)
    assert len(cells) == len(expected) == 12
    for row in expected:
        cell = cells[int(row["group"]), int(row["t"])]
        assert cell["value"] == pytest.approx(float(row["att"]), abs=EXACT)
        assert cell["std_error"] == pytest.approx(float(row["se"]), abs=EXACT)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_summary(answers: dict[str, Estimate], reference: Path, scenario: str) -> None:
    aggregates: dict[str, Any] = answers[scenario].detail["aggregates"]
    seen = set()
    for row in rows(reference, "ref_aggte.csv", scenario):
        found = aggregates[row["type"]]
        seen.add(row["type"])
        if row["egt"] == "NA":
            assert found["value"] == pytest.approx(float(row["overall_att"]), abs=EXACT)
            assert found["std_error"] == pytest.approx(float(row["overall_se"]), abs=EXACT)
        else:
            by = {part[LABEL[row["type"]]]: part for part in found["by"]}[int(row["egt"])]
            assert by["value"] == pytest.approx(float(row["att_egt"]), abs=EXACT)
            assert by["std_error"] == pytest.approx(float(row["se_egt"]), abs=EXACT)
    assert seen == {"simple", "dynamic", "group", "calendar"}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_test_before_the_launch(answers: dict[str, Estimate], reference: Path, scenario: str) -> None:
    (row,) = rows(reference, "ref_pretest.csv", scenario)
    found = answers[scenario].detail["pretest"]
    assert found["statistic"] == pytest.approx(float(row["W"]), abs=EXACT)
    assert found["df"] == 5
    assert found["p_value"] == pytest.approx(float(row["Wpval"]), abs=5e-6)  # R prints five digits


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_answer_is_the_simple_summary(answers: dict[str, Estimate], scenario: str) -> None:
    answer = answers[scenario]
    simple = answer.detail["aggregates"]["simple"]
    assert answer.value == simple["value"]
    assert answer.std_error == pytest.approx(simple["std_error"], rel=1e-12)
