"""Size of the tests that go with synthetic control's options, where nothing happened."""

from __future__ import annotations

import math

import numpy as np
import pytest

from causalbench.data.simulate import factor_panel
from causalbench.errors import RefusalError
from causalbench.workflow.estimate import estimate

NOMINAL, N_DRAWS = 0.10, 300
SHORT = {"n_units": 13, "n_periods": 30, "n_post": 6}
LONG = {"n_units": 12, "n_periods": 60, "n_post": 10}
CASES = {
    "penalty auto, rank": ({"penalty": "auto"}, "placebo-rank", {**SHORT, "n_units": 20, "n_treated": 1}),
    "penalty auto, conformal": ({"penalty": "auto"}, "conformal", {**LONG, "n_treated": 1}),
    "penalty .1, conformal": ({"penalty": 0.1}, "conformal", {**LONG, "n_treated": 1}),
    "each of two, rank": ({"treated_units": "each"}, "placebo-rank", {**SHORT, "n_treated": 2}),
    "each of two, conformal": ({"treated_units": "each"}, "conformal", {**LONG, "n_treated": 2}),
}


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.5])
@pytest.mark.parametrize(("options", "inference", "size"), CASES.values(), ids=CASES)
def test_no_effect_is_rejected_about_as_often_as_stated(options, inference, size, rho):
    rejected = []
    for seed in range(N_DRAWS):
        panel = factor_panel(effect=0.0, rho=rho, seed=seed, **size)
        try:
            found = estimate(panel, "synthetic-control", inference=inference, level=1 - NOMINAL, options=options)
        except RefusalError as refusal:
            if refusal.code != "CB-D015":  # a gap too persistent for this test
                raise
            continue
        rejected.append(found.rejected)
    assert len(rejected) > N_DRAWS / 2
    # 2 points for what is approximate: ranks with one donor less, a counterfactual that is estimated.
    share = float(np.mean(rejected))
    error = math.sqrt(NOMINAL * (1 - NOMINAL) / len(rejected))
    assert share <= NOMINAL + 0.02 + 2 * error, f"{share:.3f} +- {error:.3f}"
