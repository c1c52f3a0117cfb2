"""Recalibrated intervals hold the truth as often as they say; sizes and families in ``benchmarks/recalibrated_coverage.py``."""

import math
from dataclasses import replace

import numpy as np
import pytest

from causalbench.calibration.backtest import backtest
from causalbench.calibration.recalibrate import recalibrate
from causalbench.data.simulate import factor_panel
from causalbench.estimators import CATALOGUE as ESTIMATORS

DRAWS = 300
LEVEL = 0.9
DID = ESTIMATORS.create("did")


def same_noise(panel, rng):
    return panel


def unequal_noise(panel, rng):
    """Some units are several times as volatile as others."""
    size = np.exp(0.7 * rng.standard_normal((len(panel.units), 1)))
    return replace(panel, outcome=size * panel.outcome)


def restless_times(panel, rng):
    """All units are calm or volatile together, for about as long as a window."""
    calm = np.repeat(np.exp(0.4 * rng.standard_normal(len(panel.periods) // 6 + 1)), 6)[: len(panel.periods)]
    return replace(panel, outcome=calm * (panel.outcome - 10))


@pytest.mark.slow
@pytest.mark.parametrize("n_treated", [1, 3])
@pytest.mark.parametrize("law", [same_noise, unequal_noise, restless_times])
def test_recalibrated_interval_covers(law, n_treated):
    held, worth = [], []
    for seed in range(DRAWS):
        rng = np.random.default_rng([seed, n_treated])
        drawn = factor_panel(
            n_units=24, n_periods=66, n_treated=n_treated, n_post=6, effect=0.0, rho=0.3, seed=seed + 1000 * n_treated
        )
        panel = law(drawn, rng)
        found = backtest(panel, {"did": DID}, duration=6, n_placebos=120, level=LEVEL, rng=rng)
        answer = recalibrate(found, "did", DID.fit(panel).effect)
        worth.append(answer.n_effective)
        if answer.interval is not None:
            held.append(answer.interval.contains(0.0))
    error = math.sqrt(LEVEL * (1 - LEVEL) / len(held))
    # Histories of placebos are shorter than that of the launch, which makes intervals a little long: up to two points.
    assert LEVEL - 3 * error <= np.mean(held) <= LEVEL + 0.02 + 3 * error
    assert len(held) >= 0.95 * DRAWS
    assert np.median(worth) < 120


@pytest.mark.slow
def test_leaving_units_out_comes_to_the_level_where_units_are_alike():
    shares, claimed = [], []
    for seed in range(60):
        panel = factor_panel(n_units=24, n_periods=66, n_treated=1, n_post=6, effect=0.0, rho=0.3, seed=seed)
        found = backtest(panel, {"did": DID}, duration=6, n_placebos=120, level=LEVEL, rng=np.random.default_rng(seed))
        shares.append(found.table[0]["recalibrated_coverage"])
        claimed.append(found.table[0]["recalibrated_coverage_mc_error"])
    assert np.mean(shares) == pytest.approx(LEVEL, abs=0.02)
    # Errors of the same windows set the bar and are held against it, so that shares scatter less than the block error says.
    assert np.median(claimed) >= np.std(shares)
