"""GeoLift's readout of its own walkthrough, and three tests of the same residuals."""

from __future__ import annotations

import numpy as np
import pytest

from causalbench.data.panel import Panel
from causalbench.geo.showcase import Scheme, Showcase, absolute_iid, showcase

# GeoLift 2.7.5 walkthrough: chicago and portland, days 91 to 105, fixed effects, model "none" and model "best" (ridge).
PRINTED = {
    "average_effect": (155.556, 5e-4),
    "relative": (0.054, 5e-4),
    "incremental": (4667, 0.5),
    "l2_imbalance": (909.489, 5e-4),
    "scaled_l2": (0.1636, 5e-5),
    "ridge_average_effect": (156.805, 5e-4),
    "ridge_incremental": (4704, 0.5),
    "ridge_bias": (-1.249, 5e-4),
}


@pytest.fixture(scope="module")
def found(geolift: Panel) -> Showcase:
    return showcase(geolift, level=0.9, rng=np.random.default_rng(0))


def scheme(found: Showcase, statistic: str, permutation: str) -> Scheme:
    return next(s for s in found.schemes if (s.statistic, s.permutation) == (statistic, permutation))


@pytest.mark.parametrize("name", PRINTED)
def test_number_of_the_walkthrough(found: Showcase, name: str) -> None:
    value, digits = PRINTED[name]
    assert getattr(found, name) == pytest.approx(value, abs=digits)


def test_absolute_statistic_in_random_order_rejects_no_effect_as_geolift_does(found: Showcase) -> None:
    # GeoLift 2.7.5 on its walkthrough: .003 to .017 depending on the seed. The p of all orders is near .012; that of 1,000
    # draws has a Monte Carlo error of .0034, so 20 seeds lie within .012 - 3 x .0034 and .012 + 3 x .0034.
    assert found.iid_p_range[0] >= 0.0018
    assert found.iid_p_range[1] <= 0.0222
    assert found.iid_p_range[0] < 0.017
    assert found.iid_p_range[1] > 0.003


def test_its_confidence_set_is_empty_and_the_reason_is_told(found: Showcase) -> None:
    iid = scheme(found, "absolute", "iid")
    assert iid.segments == ()
    assert iid.largest_p < 0.1
    assert found.noise_ratio > 1
    assert "every effect" in found.why


def test_absolute_statistic_in_blocks(found: Showcase) -> None:
    # block permutation of the sum of absolute residuals on the walkthrough's data: 5 of 105 shifts
    assert scheme(found, "absolute", "blocks").p_value == pytest.approx(5 / 105, abs=1e-12)


def test_signed_statistic_in_blocks(found: Showcase) -> None:
    signed = scheme(found, "signed", "blocks")
    step = found.effects[1] - found.effects[0]
    # signed sum, cyclic blocks (Chernozhukov, Wuthrich, Zhu 2021) on the walkthrough's data, scanned in steps of 2.5
    assert signed.p_value == pytest.approx(12 / 105, abs=1e-12)
    ((lower, upper),) = signed.segments
    assert lower == pytest.approx(-15, abs=2.5 + step)
    assert upper == pytest.approx(282.5, abs=2.5 + step)
    assert signed.best == pytest.approx(122.5, abs=2.5 + step)


def test_p_value_and_set_of_every_scheme_agree_about_no_effect(found: Showcase) -> None:
    for one in found.schemes:
        holds_zero = any(lower <= 0 <= upper for lower, upper in one.segments)
        assert holds_zero == (one.p_value > 0.1)


def test_p_of_absolute_residuals_counts_what_a_loop_counts() -> None:
    rng = np.random.default_rng(3)
    residuals, drawn = rng.standard_normal((4, 12)), np.zeros((50, 12))
    for row in drawn:
        row[rng.choice(12, size=3, replace=False)] = 1
    expected = [
        (1 + sum(np.abs(r[row > 0]).sum() >= np.abs(r[-3:]).sum() - 1e-12 for row in drawn)) / 51 for r in residuals
    ]
    np.testing.assert_allclose(absolute_iid(residuals, drawn), expected, rtol=0, atol=1e-12)


def test_effect_as_steady_as_the_history_leaves_a_set(geolift: Panel) -> None:
    """Where residuals after the launch are no noisier than before, GeoLift's set isn't empty and nothing is explained."""
    quiet = geolift.only(periods=np.arange(105) < 85).assigned_to(geolift.ever_treated, start=70)
    found = showcase(quiet, level=0.9, rng=np.random.default_rng(0))
    iid = scheme(found, "absolute", "iid")
    assert (found.why == "") == bool(iid.segments)
    assert iid.segments
