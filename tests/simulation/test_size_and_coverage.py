"""Size of every test where nothing happened, and coverage of its interval where something did."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from causalbench.data.simulate import factor_panel
from causalbench.errors import RefusalError
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.estimators import SyntheticControl
from causalbench.inference.conformal import cyclic_p_values
from causalbench.values import Estimate
from causalbench.workflow.estimate import estimate

NOMINAL = 0.10
LEVEL = 0.90

# How far above its nominal size each test may lie, by what its documentation says.
TOLERANCE = {
    "permutation": 0.0,  # exact for exchangeable units
    "cluster": 0.02,  # Cameron, Miller (2015), section VI: over-rejects somewhat with about 20 clusters
    "wild": 0.01,  # MacKinnon, Webb (2018): close to nominal where both sides have several clusters
    "bootstrap": 0.02,  # a bootstrap-t with ten clusters a side
    "placebo-rank": 0.02,  # placebos have one donor less than the treated, so ranks are exchangeable only nearly
    "placebo": 0.01,  # a t interval whose variance comes from 39 placebos; with 19 up to 12.3% for synthetic-did
    "jackknife": 0.01,  # t on one degree of freedom less than treated units
    "unit-bootstrap": 0.01,  # likewise
    "posterior": 0.02,  # a credible interval covers by its model, not by design
    "conformal": 0.02,  # approximate with an estimated counterfactual; the documented 11 to 14% is at autocorrelation .8
    # At most a point above nominal with persistent gaps refused: benchmarks/results/inference_sizes.md.
    "placebo-in-time": 0.01,
    "t-test": 0.01,
    "predictive-t": 0.01,  # benchmarks/results/geo_estimator_sizes.md
    "prediction": 0.0,  # bounds, not quantiles
    "refined-placebo": 0.01,  # guaranteed for 2 of 12 units, and in these panels for fewer
}
SIZES: dict[str, dict[str, Any]] = {
    "permutation": {"n_units": 12, "n_treated": 2, "n_periods": 20, "n_post": 5},
    "cluster": {"n_units": 20, "n_treated": 10, "n_periods": 20, "n_post": 5},
    "wild": {"n_units": 20, "n_treated": 10, "n_periods": 20, "n_post": 5},
    "bootstrap": {"n_units": 20, "n_treated": 10, "n_periods": 20, "n_post": 5},
    "placebo-rank": {"n_units": 20, "n_treated": 1, "n_periods": 30, "n_post": 5},
    "placebo": {"n_units": 40, "n_treated": 1, "n_periods": 30, "n_post": 5},
    "jackknife": {"n_units": 40, "n_treated": 5, "n_periods": 30, "n_post": 5},
    "unit-bootstrap": {"n_units": 20, "n_treated": 5, "n_periods": 30, "n_post": 5},
    "conformal": {"n_units": 12, "n_treated": 1, "n_periods": 60, "n_post": 10},
    "posterior": {"n_units": 12, "n_treated": 1, "n_periods": 60, "n_post": 10},
    "placebo-in-time": {"n_units": 12, "n_treated": 1, "n_periods": 60, "n_post": 8},
    "t-test": {"n_units": 12, "n_treated": 1, "n_periods": 60, "n_post": 10},
    "predictive-t": {"n_units": 12, "n_treated": 1, "n_periods": 60, "n_post": 10},
    "prediction": {"n_units": 7, "n_treated": 1, "n_periods": 40, "n_post": 4},
    "refined-placebo": {"n_units": 12, "n_treated": 1, "n_periods": 30, "n_post": 5},
}
CHOICES: dict[str, tuple[dict[str, Any], ...]] = {
    "conformal": ({}, {"scheme": "iid"}),
    "placebo-rank": ({}, {"statistic": "effect"}),
}
# Triple differences need a column that says who is eligible, and are simulated with their own tests.
# So are those that weigh units by their size, or take pairs: the panels here have neither (test_geo_estimators.py).
ELSEWHERE = {"triple-differences", "geo-based-regression", "trimmed-match"}
METHODS = [
    method
    for method in ESTIMATORS.names()
    if method not in ELSEWHERE and ESTIMATORS.load(method).requires.shape == "panel"
]
CASES = [
    (method, inference, options)
    for method in METHODS
    for inference in ESTIMATORS.load(method).inferences
    for options in CHOICES.get(inference, ({},))
    if not (method == "synthetic-did" and "effect" in options.values())  # refused
    and (method, inference) != ("causal-impact", "placebo-in-time")  # thirty fits each: a test of its own
]
IDS = ["-".join([method, inference, *options.values()]) for method, inference, options in CASES]


def monte_carlo_error(share: float, n_draws: int) -> float:
    return math.sqrt(share * (1 - share) / n_draws)


MANY_TREATED = {"n_units": 13, "n_treated": 3, "n_periods": 30, "n_post": 6}


@dataclass(frozen=True)
class Shares:
    """Of all draws: how many reject no effect, how many miss the true one, and how many are refused."""

    rejected: float
    missed: float
    refused: float


def answer(case: tuple[str, str, dict[str, Any]], *, effect: float, rho: float, seed: int) -> Estimate | None:
    """Estimate from one panel; None where its gap is refused as too persistent."""
    method, inference, options = case
    panel = factor_panel(effect=effect, rho=rho, seed=seed, **SIZES[inference])
    try:
        return estimate(panel, method, inference=inference, inference_options=options, level=LEVEL)
    except RefusalError as refusal:
        if "too persistent" not in refusal.message:
            raise
        return None


def simulate(case: tuple[str, str, dict[str, Any]], *, effect: float, rho: float, n_draws: int) -> Shares:
    """Answer every draw that isn't refused."""
    answers = [answer(case, effect=effect, rho=rho, seed=seed) for seed in range(n_draws)]
    given = [found for found in answers if found is not None]
    intervals = [found.interval for found in given if found.interval is not None]
    assert len(intervals) == len(given)
    return Shares(
        # A posterior has no test: an interval without 0 takes the place of a rejection.
        rejected=sum(not interval.contains(0.0) for interval in intervals) / n_draws,
        missed=sum(not interval.contains(effect) for interval in intervals) / n_draws,
        refused=1 - len(given) / n_draws,
    )


def assert_size_and_coverage(case: tuple[str, str, dict[str, Any]], *, rho: float, n_draws: int) -> None:
    margin = TOLERANCE[case[1]] + 2 * monte_carlo_error(NOMINAL, n_draws)
    null = simulate(case, effect=0.0, rho=rho, n_draws=n_draws)
    assert null.rejected <= NOMINAL + margin, f"size {null.rejected} over {n_draws} draws"
    found = simulate(case, effect=2.0, rho=rho, n_draws=n_draws)
    assert found.missed <= NOMINAL + margin, f"missed {found.missed} over {n_draws} draws"
    if found.refused < 0.5:
        least = null.rejected + 2 * monte_carlo_error(0.5, n_draws)
        assert found.rejected > least, f"power {found.rejected} at two standard deviations of the noise"


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_size_and_coverage_in_a_few_draws(case: tuple[str, str, dict[str, Any]]) -> None:
    # Without autocorrelation where the test is refused otherwise.
    assert_size_and_coverage(case, rho=0.0 if "iid" in case[2].values() else 0.5, n_draws=60)


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.5])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_size_and_coverage(case: tuple[str, str, dict[str, Any]], rho: float) -> None:
    assert_size_and_coverage(case, rho=rho, n_draws=500)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if "synthetic" in case[0]], ids=str)
def test_size_and_coverage_under_strong_persistence(case: tuple[str, str, dict[str, Any]]) -> None:
    assert_size_and_coverage(case, rho=0.8, n_draws=500)


@pytest.mark.slow
def test_conformal_size_under_strong_persistence_is_the_documented_one() -> None:
    n_draws, low, high = 3000, 0.11, 0.14  # the range that the documentation of conformal states at autocorrelation .8
    rejected = []
    for seed in range(n_draws):
        panel = factor_panel(n_units=12, n_periods=105, n_treated=1, n_post=15, effect=0.0, rho=0.8, seed=seed)
        residuals = SyntheticControl(fixed_effects="unit").null_residuals(panel, np.zeros(1))
        rejected.append(cyclic_p_values(residuals, panel.n_post)[0] <= NOMINAL)
    size = float(np.mean(rejected))
    assert low - 2 * monte_carlo_error(low, n_draws) <= size <= high + 2 * monte_carlo_error(high, n_draws)


@pytest.mark.slow
def test_placebo_rank_keeps_its_size_with_several_treated_units() -> None:
    # Ranked among groups of donors alone, this design rejects a true null in about .21 of the draws.
    n_draws, rejected, covered = 500, [], []
    for seed in range(n_draws):
        for effect, found in ((0.0, rejected), (2.0, covered)):
            panel = factor_panel(effect=effect, rho=0.3, seed=seed, **MANY_TREATED)
            answer = estimate(panel, "synthetic-control", inference="placebo-rank", level=LEVEL)
            assert answer.interval is not None
            found.append(answer.rejected if effect == 0 else answer.interval.contains(effect))
    margin = 2 * monte_carlo_error(NOMINAL, n_draws)
    assert np.mean(rejected) <= NOMINAL + margin
    assert np.mean(covered) >= LEVEL - margin


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_placebos_in_time_keep_their_size_with_a_bayesian_method(rho: float) -> None:
    n_draws, rejected = 200, []
    for seed in range(n_draws):
        panel = factor_panel(n_units=8, n_periods=48, n_treated=1, n_post=8, effect=0.0, rho=rho, seed=seed)
        try:
            found = estimate(
                panel, "causal-impact", inference="placebo-in-time", level=LEVEL, options={"draws": 100}, seed=seed
            )
        except RefusalError:
            continue
        rejected.append(found.rejected)
    assert len(rejected) > n_draws / 2
    assert sum(rejected) / n_draws <= NOMINAL + 0.01 + 2 * monte_carlo_error(NOMINAL, n_draws)


def test_every_inference_of_the_catalogue_is_simulated() -> None:
    assert {inference for _, inference, _ in CASES} <= SIZES.keys() & TOLERANCE.keys()
