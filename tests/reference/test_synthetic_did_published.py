"""Synthetic difference-in-differences and augmented synthetic control against numbers that others published."""

from __future__ import annotations

from typing import Literal

import pytest

from causalbench.data.panel import Panel
from causalbench.estimators import AugmentedSyntheticControl, Did, SyntheticControl, SyntheticDid
from causalbench.inference.placebo import Placebo
from causalbench.values import Fit
from causalbench.workflow.estimate import estimate, generator

# R synthdid 0.0.9 on its california_prop99: value of synthdid_estimate, of its weights at a certified optimum, and zeta.omega.
PRINTED, CERTIFIED, ZETA = -15.6038278727, -15.6054, 10.22623
# Arkhangelsky, Athey, Hirshberg, Imbens, Wager (2021), Table 1: standard errors by placebos.
PUBLISHED_ERRORS = {"did": (Did(), 17.7), "sc": (SyntheticControl(), 9.9), "sdid": (SyntheticDid(), 8.4)}


@pytest.fixture(scope="module")
def augmented(geolift: Panel) -> Fit:
    return AugmentedSyntheticControl(fixed_effects="unit").fit(geolift)


def test_certified_effect_of_proposition_99(prop99: Panel) -> None:
    assert SyntheticDid().fit(prop99).effect == pytest.approx(CERTIFIED, abs=1e-3)


def test_effect_as_synthdid_prints_it(prop99: Panel) -> None:
    assert SyntheticDid(compat="synthdid").fit(prop99).effect == pytest.approx(PRINTED, abs=1e-4)


def test_synthetic_control_as_synthdid_prints_it(prop99: Panel) -> None:
    effect = SyntheticControl(compat="synthdid").fit(prop99).effect
    assert effect == pytest.approx(-19.6196634709, abs=1e-4)  # R synthdid 0.0.9, sc_estimate on its california_prop99


@pytest.mark.parametrize("compat", ["none", "synthdid"])
def test_ridge_of_proposition_99(prop99: Panel, compat: Literal["none", "synthdid"]) -> None:
    (cohort,) = SyntheticDid(compat=compat).fit(prop99).diagnostics["cohorts"]
    assert cohort["zeta"] == pytest.approx(ZETA, abs=5e-6)


def test_early_stopped_weights_are_not_the_certified_ones(prop99: Panel) -> None:
    gap = abs(SyntheticDid(compat="synthdid").fit(prop99).effect - SyntheticDid().fit(prop99).effect)
    assert gap == pytest.approx(PRINTED - CERTIFIED, abs=1e-4)  # the two sources above


@pytest.mark.parametrize("method", PUBLISHED_ERRORS)
def test_placebo_error_of_proposition_99(prop99: Panel, method: str) -> None:
    estimator, published = PUBLISHED_ERRORS[method]
    rng = generator(0, "prop99", method)
    answer = Placebo().infer(estimator, prop99, estimator.fit(prop99), level=0.95, rng=rng)
    # All 38 placebos are used here, the paper drew 200 of them with replacement. With their kurtosis of 4.8 to 6.3 a standard
    # deviation of 200 draws has a relative error of sqrt((kurtosis - 1) / 800), 7 to 8%: two of them.
    assert answer.detail["n_placebos"] == 38
    assert answer.std_error == pytest.approx(published, rel=0.16)


def test_geolift_augmented_effect(augmented: Fit) -> None:
    assert augmented.effect == pytest.approx(156.805, abs=5e-4)  # GeoLift 2.7.5 walkthrough, model "best" is ridge


def test_geolift_augmented_bias(augmented: Fit) -> None:
    assert augmented.diagnostics["bias"] == pytest.approx(-1.249, abs=5e-4)  # GeoLift 2.7.5 walkthrough, average bias


def test_geolift_augmented_incremental_sales(geolift: Panel) -> None:
    options = {"fixed_effects": "unit"}
    answer = estimate(geolift, "augmented-synthetic-control", inference="placebo", options=options)
    assert answer.detail["incremental"] == pytest.approx(4704, abs=0.5)  # GeoLift 2.7.5 walkthrough, ridge
