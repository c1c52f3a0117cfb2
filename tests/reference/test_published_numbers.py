"""Numbers that others published, each with its source on the line."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalbench.data.panel import Panel
from causalbench.estimators import Did
from causalbench.values import Estimate
from causalbench.workflow.estimate import estimate

GEOLIFT_WEIGHTS = {  # GeoLift 2.7.5 walkthrough, weights of the test in chicago and portland
    "cincinnati": 0.2272,
    "miami": 0.2028,
    "baton rouge": 0.1335,
    "minneapolis": 0.09,
    "dallas": 0.0739,
    "nashville": 0.0685,
    "honolulu": 0.0673,
    "austin": 0.0465,
    "san diego": 0.0451,
    "reno": 0.0306,
}


@pytest.fixture(scope="module")
def geolift_answer(geolift: Panel) -> Estimate:
    return estimate(geolift, "synthetic-control", inference="conformal", level=0.9, options={"fixed_effects": "unit"})


def test_geolift_average_effect(geolift_answer: Estimate) -> None:
    assert geolift_answer.value == pytest.approx(155.556, abs=5e-4)  # GeoLift 2.7.5 walkthrough, ATT


def test_geolift_incremental_sales(geolift_answer: Estimate) -> None:
    assert geolift_answer.detail["incremental"] == pytest.approx(4667, abs=0.5)  # GeoLift 2.7.5 walkthrough


def test_geolift_relative_lift(geolift_answer: Estimate) -> None:
    assert geolift_answer.detail["relative"] == pytest.approx(0.054, abs=5e-4)  # GeoLift 2.7.5 walkthrough, lift 5.4%


def test_geolift_imbalance(geolift_answer: Estimate) -> None:
    imbalance = math.sqrt(geolift_answer.detail["pre_mspe"] * geolift_answer.n_pre)
    assert imbalance == pytest.approx(909.489, abs=5e-4)  # GeoLift 2.7.5 walkthrough, L2 imbalance


@pytest.mark.parametrize(("city", "weight"), GEOLIFT_WEIGHTS.items())
def test_geolift_weight(geolift_answer: Estimate, city: str, weight: float) -> None:
    assert geolift_answer.weights is not None
    assert geolift_answer.weights[city] == pytest.approx(weight, abs=1e-4)  # GeoLift 2.7.5 walkthrough


def test_geolift_other_cities_get_little_weight(geolift_answer: Estimate) -> None:
    assert geolift_answer.weights is not None
    rest = 1 - sum(GEOLIFT_WEIGHTS.values())  # GeoLift 2.7.5 walkthrough: what its ten printed weights leave
    others = sum(weight for city, weight in geolift_answer.weights.items() if city not in GEOLIFT_WEIGHTS)
    assert others == pytest.approx(rest, abs=1e-3)


def test_geolift_conformal_p_value(geolift_answer: Estimate) -> None:
    p_value = 12 / 105  # signed sum and cyclic blocks (Chernozhukov, Wuthrich, Zhu 2021) on the walkthrough's data
    assert geolift_answer.p_value == pytest.approx(p_value, abs=1e-12)


def test_geolift_conformal_set(geolift_answer: Estimate) -> None:
    assert geolift_answer.interval is not None
    assert geolift_answer.interval.lower == pytest.approx(-15, abs=3)  # signed sum, cyclic blocks, grid of step 2.5
    assert geolift_answer.interval.upper == pytest.approx(282.5, abs=3)  # signed sum, cyclic blocks, grid of step 2.5


def test_geolift_effect_of_largest_p(geolift_answer: Estimate) -> None:
    best = geolift_answer.detail["p_maximising_effect"]
    assert best == pytest.approx(122.5, abs=3)  # signed sum, cyclic blocks, grid of step 2.5


def test_prop99_synthetic_control(prop99: Panel) -> None:
    answer = estimate(prop99, "synthetic-control", inference="placebo-rank")
    squares = answer.detail["pre_mspe"] * answer.n_pre
    assert squares == pytest.approx(52.12957, abs=1e-4)  # certified optimum of the outcome-only simplex problem
    assert answer.value == pytest.approx(-19.51363, abs=1e-4)  # the same certified optimum
    assert answer.detail["rank"] == 3  # RMSPE-ratio rank 3 of 39 with exactly solved placebos
    assert answer.p_value == pytest.approx(3 / 39, abs=1e-12)  # rank 3 of 39, p .077


def test_prop99_difference_in_differences(prop99: Panel) -> None:
    answer = estimate(prop99, "did", inference="permutation")
    assert answer.value == pytest.approx(-27.3491110836, abs=1e-8)  # R synthdid 0.0.9, did_estimate


def test_prop99_table_of_synthdid_gives_the_same_answer(prop99: Panel, reference: Path) -> None:
    table = pd.read_csv(reference / "sc" / "prop99_synthdid.csv", sep=";")
    panel = Panel.from_table(table, unit="State", period="Year", outcome="PacksPerCapita", treatment="treated")
    assert Did().fit(panel).effect == pytest.approx(-27.3491110836, abs=1e-8)  # R synthdid 0.0.9, did_estimate
    np.testing.assert_allclose(panel.outcome, prop99.outcome, rtol=0, atol=1e-6)


def test_card_krueger_full_time_equivalents(reference: Path) -> None:
    table = pd.read_csv(reference / "did" / "card_krueger.csv").dropna(subset="fte")
    table = table[table.groupby("id")["d"].transform("nunique") == 2].assign(treated=lambda t: t["nj"] * t["d"])
    panel = Panel.from_table(table, unit="id", period="d", outcome="fte", treatment="treated")
    fit = Did().fit(panel)
    assert len(panel.units) == 384  # Angrist, Pischke (2009), table 5.2.1, balanced sample of stores
    assert fit.effect == pytest.approx(2.75, abs=5e-3)  # Angrist, Pischke (2009), table 5.2.1, row 4
    assert fit.covariance is not None
    # Angrist, Pischke (2009), table 5.2.1, row 4: 1.3423, without the factors of CRV1, which are within 1% here.
    assert math.sqrt(fit.covariance[0, 0]) == pytest.approx(1.3423, rel=0.01)
