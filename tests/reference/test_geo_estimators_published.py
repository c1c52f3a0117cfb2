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


# GeoexperimentsResearch, the same example: DoGBR1 with weights 1 / pre^2.
def test_geo_based_regression(sales: Panel) -> None:
    found = estimate(
        sales,
        "geo-based-regression",
        inference="regression-t",
        level=0.8,
        on_missing="zero",
        options={"covariance": "classical"},
        inference_options={"hurdle": 3.0},
    )
    detail = found.detail
    assert detail["iroas"] == pytest.approx(3.233443, abs=5e-7)
    # one-sided 90%: the lower end of a two-sided 80% interval
    assert detail["iroas"] - detail["iroas_interval"].lower == pytest.approx(0.3501623, abs=5e-7)
    assert detail["hurdle"]["probability"] == pytest.approx(0.804, abs=5e-4)
    assert detail["cost"] == pytest.approx(50000, abs=1e-6)


def paired(response: list[float], cost: list[float]) -> Panel:
    """One period before and one after the launch; the treated unit of a pair differs after it by response and cost."""
    n = len(response)
    outcome = np.tile([1e5, 2e5], (2 * n, 1))
    spend = np.zeros((2 * n, 2))
    outcome[n:, 1] += response
    spend[n:, 1] = cost
    return Panel(
        outcome=outcome,
        treated=np.repeat([[False, False], [False, True]], n, axis=0),
        units=tuple([f"c{i:02d}" for i in range(n)] + [f"t{i:02d}" for i in range(n)]),
        periods=(1, 2),
        cluster=tuple(f"{i:02d}" for i in range(n)) * 2,
        cost=spend,
    )


# google/trimmed_match, trimmed_match/core/estimator_test.cc: TrimmedMatch1NoTrim and TrimmedMatch1WithTrim.
@pytest.mark.parametrize(
    ("trim", "iroas", "std_error", "lower", "upper"),
    [
        (0.0, 1.692, 0.138, 1.250, 1.905),
        (0.20, 1.571, 0.041, -29.375, 1.619),
        (0.25, 1.571, 0.041, -29.375, 1.619),
    ],
)
def test_trimmed_match_toy(trim: float, iroas: float, std_error: float, lower: float, upper: float) -> None:
    found = estimate(
        paired([1.0, 10.0, 3.0, 8.0], [1.0, 5.0, 2.0, 5.0]),
        "trimmed-match",
        inference="trimmed-t",
        level=0.9,
        options={"trim": trim},
        inference_options={"compat": "trimmed_match"},
    )
    assert found.detail["iroas"] == pytest.approx(iroas, abs=1e-3)
    assert found.std_error is not None
    assert found.std_error / 3.25 == pytest.approx(std_error, abs=1e-3)  # of the return: the mean cost is 13 / 4
    assert found.detail["iroas_interval"].lower == pytest.approx(lower, abs=1e-3)
    assert found.detail["iroas_interval"].upper == pytest.approx(upper, abs=1e-3)


# The same file, TrimmedMatch2WithOptimTrim: 32 pairs whose costs have both signs.
RESPONSES = [
    *(552, -710, -961, -1218, -1293, -1824, 1816, 2073, -2416, -2559, 2603, 3073, 3288, 3137, 4016, 3905, 4032, -4649),
    *(5397, -6054, 6451, 7735, 8507, -9186, 9700, 9987, -11255, -13828, -14950, 20957, -38666, 43407),
]
COSTS = [
    *(89143, -111084, -163240, -201668, -213271, -311807, 313531, 350041, -425882, -439139, 431609, 509310, 554237),
    *(548335, 677060, 654552, 686768, -812570, 940149, -1019919, 1086827, 1333913, 1458086, -1550027, 1676807, 1692128),
    *(-1927924, -2341819, -2533673, 3570161, -6614810, 7440206),
]
PUBLISHED = [  # return and standard error with 0, 1, ... pairs trimmed at either end, and where the search stops at .25
    *((0.00581123, 0.000117108), (0.005815, 0.000133689), (0.00582772, 0.000094), (0.00583428, 0.000073)),
    *(
        (0.00583461, 0.000062),
        (0.00583399, 0.000061),
        (0.00583305, 0.000030),
        (0.00583258, 0.000031),
        (0.005832, 0.000029),
    ),
]


def test_trimmed_match_with_a_chosen_trim() -> None:
    data = paired(list(map(float, RESPONSES)), list(map(float, COSTS)))
    mean_cost = sum(COSTS) / len(COSTS)
    found = estimate(
        data, "trimmed-match", inference="trimmed-t", level=0.9, inference_options={"compat": "trimmed_match"}
    )
    assert found.detail["n_trimmed"] == 6  # a trim rate of .1875
    assert found.detail["iroas"] == pytest.approx(0.005833, abs=1e-6)
    for row, (ratio, std_error) in zip(found.detail["candidates"], PUBLISHED, strict=True):
        assert row["value"] / mean_cost == pytest.approx(ratio, abs=1e-6)
        assert row["std_error"] / mean_cost == pytest.approx(std_error, abs=1e-6)
    # There the interval is .005684 to .005982, three normal intervals wide, as the set itself is the whole line; here it stays.
    assert found.detail["iroas_interval"].lower is None
    assert any("isn't bounded" in warning for warning in found.warnings)


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
