"""The readout of a switchback holds its size, and plans deliver the power and the bias that they claim."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.geo.switchback import SwitchbackDesign, paired, relative_outcome
from causalbench.geo.switchback_power import switchback_power
from causalbench.geo.switchback_readout import SwitchbackResult, analyse_schedule
from causalbench.values import rejects

N_HISTORY, N_TEST = 84, 48


def panel_of(seed: int, n_units: int = 10, rho: float = 0.8) -> Panel:
    panel = factor_panel(
        n_units=n_units, n_periods=N_HISTORY + N_TEST, n_treated=1, n_post=1, effect=0.0, rho=rho, seed=seed
    )
    return replace(panel, outcome=100 + 5 * (panel.outcome - 10), treated=np.zeros_like(panel.treated))


def run(
    panel: Panel, design: SwitchbackDesign, *, effect: float, carry_over: float, rng: np.random.Generator
) -> SwitchbackResult:
    schedule = design.draws(1, rng=rng)[0]
    outcome, last = panel.outcome.copy(), np.zeros(len(schedule))
    level = outcome[:, :N_HISTORY].mean(axis=1)
    for t, on in enumerate(np.repeat(schedule, design.block, axis=1).T):
        last = carry_over * last + (1 - carry_over) * on
        outcome[:, N_HISTORY + t] += effect * level * last
    return analyse_schedule(replace(panel, outcome=outcome), design, schedule, start=N_HISTORY, level=0.9, rng=rng)


@pytest.mark.slow
def test_randomization_test_holds_its_size_with_strong_autocorrelation_and_never_contradicts_its_set() -> None:
    """400 nulls at autocorrelation .8, Monte Carlo error .015 at 10%."""
    rng = np.random.default_rng(5)
    rejected, failed = [], []
    for seed in range(400):
        panel = panel_of(seed, n_units=4)
        design = SwitchbackDesign(pairs=np.arange(4) // 2, block=8, n_blocks=6, washout=2)
        found = run(panel, design, effect=0.0, carry_over=0.0, rng=rng)
        p, interval = found.uncertainty.p_value, found.uncertainty.interval
        assert p is not None
        assert interval is not None
        assert rejects(p, 0.9) != interval.contains(0.0)
        rejected.append(rejects(p, 0.9))
        failed.append(found.checks[-1].verdict == "fail")
    assert np.mean(rejected) <= 0.1 + 2 * math.sqrt(0.09 / 400)
    assert np.mean(rejected) >= 0.1 - 3 * math.sqrt(0.09 / 400)  # 400 schedules attain 10%: no test that never rejects
    assert np.mean(failed) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)


@pytest.mark.slow
@pytest.mark.parametrize(("carry_over", "washout"), [(0.0, 0), (0.6, 2)])
def test_claimed_power_and_bias_are_delivered_under_carry_over(carry_over: float, washout: int) -> None:
    """Power at the claimed MDE over 150 unseen tests, Monte Carlo error .033; bias within two of its own errors."""
    rng = np.random.default_rng(6)
    rows = []
    for seed in range(150):
        panel = panel_of(1_000 + seed, rho=0.5)
        history = panel.only(periods=np.arange(N_HISTORY + N_TEST) < N_HISTORY)
        design = SwitchbackDesign(pairs=paired(history), block=6, n_blocks=8, washout=washout)
        claimed = switchback_power(
            relative_outcome(history.outcome, history),
            design,
            level=0.9,
            carry_over=carry_over,
            n_windows=3,
            relative=True,
            rng=rng,
        )
        effect = claimed.mde(0.8)
        assert effect is not None
        found = run(panel, design, effect=effect, carry_over=carry_over, rng=rng)
        assert found.uncertainty.p_value is not None
        rows.append([rejects(found.uncertainty.p_value, 0.9), found.value / effect - 1 - claimed.bias])
    delivered, miss = np.array(rows, dtype=float).T
    assert delivered.mean() >= 0.8 - 0.03 - 2 * math.sqrt(0.8 * 0.2 / 150)
    assert abs(miss.mean()) <= 2.5 * miss.std(ddof=1) / math.sqrt(150)
