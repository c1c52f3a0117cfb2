"""``geo analyze`` on the published geo experiment of GeoexperimentsResearch and matched_markets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from causalbench.study import GeoStudy
from causalbench.workflow.geo_analysis import analyse_study


@pytest.fixture(scope="module")
def found(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("salesandcost")
    table = pd.read_csv(reference / "geo" / "mm_salesandcost.csv")
    groups = pd.read_csv(reference / "geo" / "mm_geoassignment.csv").set_index("geo")["geo.group"]
    table = table[(table["date"] >= "2015-01-05") & (table["date"] <= "2015-03-15")]
    table.to_csv(folder / "t.csv", index=False)
    treated = [str(geo) for geo, group in groups.items() if group == 2]
    controls = [str(geo) for geo, group in groups.items() if group == 1]
    study = GeoStudy.from_mapping(
        {
            "study": {"name": "salesandcost", "question": "What came back?"},
            "data": {"source": "t.csv", "unit": "geo", "period": "date", "cost": "cost", "on_missing": "zero"},
            "metric": [{"name": "sales", "column": "sales"}],
            "geo": {
                "level": 0.95,
                "test": {
                    "cells": {"treated": treated},
                    "controls": controls,
                    "start": "2015-02-16",
                    "end": "2015-03-15",
                },
            },
            "method": {
                "name": "time-based-regression",
                "inference": "predictive-t",
                "inference_options": {"compat": "geoexperiments"},
            },
        },
        folder=folder,
    )
    values: dict[str, Any] = json.loads(analyse_study(study).to_json())
    return values


def test_incremental_response_on_its_cost(found: dict[str, Any]) -> None:
    (result,) = found["results"]
    (cell,) = result["cells"]
    own = next(row for row in result["returns"] if row["planned"])
    # matched_markets / GeoexperimentsResearch, time-based regression of the vignette's data
    assert cell["incremental"]["value"] == pytest.approx(147337.1, abs=0.06)
    assert cell["detail"]["slope"] == pytest.approx(0.9997001, abs=6e-8)
    assert own["cost"] == pytest.approx(50000, abs=0.5)
    assert own["value"] == pytest.approx(2.946742, abs=6e-7)
    lower, upper = own["interval"]["segments"][0]
    assert (lower, upper) == pytest.approx((2.759772, 3.133713), abs=6e-7)


def test_geo_based_regression_stands_beside_it(found: dict[str, Any]) -> None:
    row = next(row for row in found["results"][0]["returns"] if row["method"] == "geo-based-regression")
    assert row["value"] == pytest.approx(3.233443, abs=6e-7)  # GeoexperimentsResearch, weights 1 / pre^2


def test_verdict_says_what_the_set_says(found: dict[str, Any]) -> None:
    assert found["headline"]["verdict"] == "shown"
    assert "per unit of cost" in found["headline"]["answer"]
