"""Boundaries of interim looks against published ones, where the joint distribution of the looks is normal."""

from __future__ import annotations

import numpy as np
import pytest

from causalbench.numerics.spending import allowed_stops, stop_looks

# One-sided error .025, Lan and DeMets' O'Brien-Fleming type spending, four equally spaced looks: 4.333, 2.963, 2.359, 2.014
# (R packages gsDesign, sfLDOF, and ldbounds, iuse = 1). The first one is beyond what this many draws can place.
PUBLISHED = (2.963, 2.359, 2.014)
N_DRAWS = 2_000_000


def test_boundaries_of_four_looks_are_the_published_ones() -> None:
    """Draws of a random walk stand for permutations; the statistic is signed, as the published boundary is one-sided."""
    rng = np.random.default_rng(0)
    fractions = np.array([0.25, 0.5, 0.75, 1.0])
    steps = rng.standard_normal((N_DRAWS, 4)) / 2
    statistics = steps.cumsum(axis=1) / np.sqrt(fractions)
    stopped, critical = stop_looks(statistics, allowed_stops(fractions, 0.025, N_DRAWS))
    # Monte Carlo error of the quantiles: sqrt(p / n) / density, .006, .003 and .003; three of them are allowed.
    assert critical[1:] == pytest.approx(PUBLISHED, abs=0.018)
    assert critical[2:] == pytest.approx(PUBLISHED[1:], abs=0.009)
    assert (stopped < 4).mean() == pytest.approx(0.025, abs=4 / N_DRAWS)
