"""How often the test on blank periods rejects where there is no effect."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from causalbench.errors import RefusalError
from causalbench.geo.blank_periods import blank_period_test
from causalbench.values import rejects

N_TEST, DRAWS = 14, 1_000


@pytest.mark.slow
@pytest.mark.parametrize("n_blank", [45, 120])
@pytest.mark.parametrize("rho", [0.0, 0.4, 0.8])
def test_blocks_hold_their_size(n_blank, rho):
    """At most 11% of all draws and two Monte Carlo errors at a nominal 10%, or refused; no answer contradicts itself."""
    rng = np.random.default_rng(int(100 * rho) + n_blank)
    rejected = 0
    for _ in range(DRAWS):
        gap = lfilter([1.0], [1.0, -rho], rng.normal(size=n_blank + N_TEST + 100))[100:]
        try:
            found = blank_period_test(gap, n_test=N_TEST, level=0.9, rng=rng)
        except RefusalError:
            continue
        assert rejects(found.p_value, 0.9) != found.interval.contains(0.0)
        rejected += rejects(found.p_value, 0.9)
    assert rejected / DRAWS <= 0.11 + 2 * np.sqrt(0.11 * 0.89 / DRAWS)
