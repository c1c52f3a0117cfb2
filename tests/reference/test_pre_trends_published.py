"""Power of pre-trend tests and the two-way decomposition, on data and numbers that others published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalbench.data.panel import Panel
from causalbench.numerics.pre_trends import detectable_slope, trend_evidence
from causalbench.numerics.two_way_decomposition import decompose_two_way

SLOPE = 0.05205871  # pretrends 0.1.0, He and Wang (2017): slope for 50% power


@pytest.fixture(scope="module")
def he_and_wang(reference: Path) -> dict[str, np.ndarray]:
    content = json.loads((reference / "did" / "HeAndWang.json").read_text())
    times = np.array(content["tVec"], dtype=float)
    leads = times < -1
    return {
        "values": np.array(content["beta"])[leads],
        "covariance": np.array(content["sigma"])[np.ix_(leads, leads)],
        "distances": times[leads] + 1,
    }


def test_slope_that_is_caught_every_second_time(he_and_wang: dict[str, np.ndarray]) -> None:
    found = detectable_slope(he_and_wang["covariance"], he_and_wang["distances"], power=0.5)
    assert found == pytest.approx(SLOPE, abs=1e-3)
    assert found == pytest.approx(SLOPE, rel=1e-3)


@pytest.mark.parametrize(
    ("trend", "power", "bayes_factor", "likelihood_ratio"),
    [
        (lambda distance: SLOPE * distance, 0.4999776, 0.56901, 0.1057627),  # pretrends 0.1.0, linear trend
        (lambda distance: 0.024 * distance**2, 0.6624282, 0.3841516, 0.4332635),  # pretrends 0.1.0, quadratic trend
    ],
    ids=["linear", "quadratic"],
)
def test_trend_against_parallel_trends(
    he_and_wang: dict[str, np.ndarray],
    trend: Callable[[np.ndarray], np.ndarray],
    power: float,
    bayes_factor: float,
    likelihood_ratio: float,
) -> None:
    found = trend_evidence(he_and_wang["values"], he_and_wang["covariance"], trend(he_and_wang["distances"]))
    assert found is not None
    assert found.power == pytest.approx(power, abs=1e-3)
    assert found.bayes_factor == pytest.approx(bayes_factor, abs=1e-3)
    assert found.likelihood_ratio == pytest.approx(likelihood_ratio, abs=1e-6)


@pytest.fixture(scope="module")
def math_reform(reference: Path) -> Panel:
    table = pd.read_csv(reference / "did" / "math_reform.csv")
    return Panel.from_table(table, unit="state", period="class", outcome="incearn_ln", cohort="reformyr_math")


PUBLISHED = {  # bacondecomp 0.1.1, math_reform: weight and mean estimate of each type
    "earlier-vs-later": (0.06353, 0.02868),
    "later-vs-earlier": (0.05265, 0.03375),
    "treated-vs-never": (0.88382, -0.00129),
}


def test_weights_and_estimates_of_the_two_way_regression(math_reform: Panel) -> None:
    launches, codes, counts = np.unique(math_reform.first_treated, return_inverse=True, return_counts=True)
    means = np.array([math_reform.outcome[codes == code].mean(axis=0) for code in range(len(launches))])
    found = decompose_two_way(means, counts, launches)
    assert found.by_kind().keys() == PUBLISHED.keys()
    for kind, (weight, estimate) in PUBLISHED.items():
        assert found.by_kind()[kind] == pytest.approx((weight, estimate), abs=1e-5)
