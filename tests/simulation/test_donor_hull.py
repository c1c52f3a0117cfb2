"""Treated units drawn like the donors lie among the tenth furthest out one time in ten."""

from __future__ import annotations

import math

import numpy as np
import pytest

from causalbench.checks.donor_hull import DonorHull
from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel, single_launch_panel
from causalbench.workflow.estimate import answer

N_DRAWS = 200


def draw(kind: str, seed: int) -> Panel:
    if kind == "A1":
        return single_launch_panel(n_contaminated=0, effect=0.0, seed=seed)
    n_units, n_periods = map(int, kind.split(" x "))
    return factor_panel(n_units=n_units, n_periods=n_periods, n_treated=1, n_post=4, effect=0.0, rho=0.5, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("fixed_effects", ["none", "unit"])
@pytest.mark.parametrize("kind", ["A1", "21 x 48", "61 x 16"])
def test_units_like_the_donors_are_rarely_called_outside(kind: str, fixed_effects: str) -> None:
    """A tenth asks for review by construction, a few more by a mean gap of half the effect; 200 draws, MC error .021."""
    verdicts = []
    for seed in range(N_DRAWS):
        found = answer(
            draw(kind, seed), "synthetic-control", inference="placebo-rank", options={"fixed_effects": fixed_effects}
        )
        result = DonorHull().run(found.estimator, found.panel, found.estimate, rng=np.random.default_rng(seed))
        assert result is not None
        verdicts.append(result.verdict)
    assert 1 - verdicts.count("pass") / N_DRAWS <= 0.1 + 0.02 + 2 * math.sqrt(0.1 * 0.9 / N_DRAWS)
    assert verdicts.count("fail") / N_DRAWS <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / N_DRAWS)
