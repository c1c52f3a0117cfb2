"""Geo estimators against numbers that others published, each with its source on the line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from causalbench.data.panel import Panel
from causalbench.values import Estimate
from causalbench.workflow.estimate import estimate


@pytest.fixture(scope="module")
def sales(reference: Path) -> Panel:
    """Daily sales of 100 geos; 50 000 are spent in geo group 2 from 2015-02-16 to 2015-03-15, nothing before."""
    groups = pd.read_csv(reference / "geo" / "mm_geoassignment.csv", dtype=str)
    rows = pd.read_csv(reference / "geo" / "mm_salesandcost.csv", dtype={"geo": str})
    treated = groups["geo"][groups["geo.group"] == "2"]
    return Panel.from_table(
        rows[rows["date"] <= "2015-03-15"],
        unit="geo",
        period="date",
        outcome="sales",
        cost="cost",
        treated=list(treated),
        start="2015-02-16",
    )


def regression(sales: Panel, *, level: float, **options: Any) -> Estimate:
    return estimate(
        sales,
        "time-based-regression",
        inference="predictive-t",
        level=level,
        on_missing="zero",
        inference_options={"compat": "geoexperiments", **options},
    )


# GeoexperimentsResearch, example of its vignette (salesandcost, geoassignment): DoTBRAnalysis and its summaries.
def test_time_based_regression_point_estimates(sales: Panel) -> None:
    detail = regression(sales, level=0.8).detail
    assert detail["slope"] == pytest.approx(0.9997001, abs=5e-8)
    assert detail["incremental"] == pytest.approx(147337.1, abs=0.05)
    assert detail["cost"] == pytest.approx(50000, abs=1e-6)
    assert detail["iroas"] == pytest.approx(2.946742, abs=5e-7)


def test_time_based_regression_one_sided_precision(sales: Panel) -> None:
    detail = regression(sales, level=0.8).detail  # one-sided 90%: the lower end of a two-sided 80% interval
    assert detail["iroas_interval"].lower == pytest.approx(2.826194, abs=1e-6)
    assert detail["iroas"] - detail["iroas_interval"].lower == pytest.approx(0.120548, abs=1e-6)


def test_time_based_regression_two_sided_interval_and_hurdle(sales: Panel) -> None:
    detail = regression(sales, level=0.95, hurdle=3.0).detail
    assert detail["iroas_interval"].lower == pytest.approx(2.759772, abs=1e-6)
    assert detail["iroas_interval"].upper == pytest.approx(3.133713, abs=1e-6)
    assert detail["hurdle"]["probability"] == pytest.approx(0.284, abs=5e-4)


def test_time_based_regression_is_surer_there_than_the_noise_allows(sales: Panel) -> None:
    honest = estimate(sales, "time-based-regression", level=0.8, on_missing="zero")
    published = regression(sales, level=0.8)
    assert honest.inference == "predictive-t"
    assert honest.detail["persistence"] == pytest.approx(0.281, abs=5e-4)  # of the residuals, by hand from the file
    assert honest.std_error is not None
    assert published.std_error is not None
    assert honest.std_error > 1.3 * published.std_error


def test_geox_example_is_read_and_answered_at_its_real_size(reference: Path) -> None:
    """Example data of meridian-geox 1.0.1: 114 geos, daily conversions and spend; no split is published, so every third."""
    rows = pd.read_csv(reference / "geo" / "geox_example_design_data_single_cell.csv", dtype={"location": str})
    geos = sorted(rows["location"].unique())
    days = sorted(rows["date"].unique())
    assert len(geos) == 114
    data = Panel.from_table(
        rows, unit="location", period="date", outcome="conversions", cost="spend", treated=geos[::3], start=days[-28]
    )
    found = estimate(
        data,
        "time-based-regression",
        level=0.9,
        inference="predictive-t",
        inference_options={"compat": "geoexperiments"},
    )
    treated, spent = data.ever_treated, data.cost
    assert spent is not None
    pre = data.n_pre
    slope = np.polyfit(data.outcome[~treated, :pre].sum(axis=0), data.outcome[treated, :pre].sum(axis=0), 1)[0]
    assert found.detail["slope"] == pytest.approx(slope, rel=1e-8)
    assert found.n_treated + found.n_control == 114
    assert found.detail["iroas_interval"].level == 0.9
