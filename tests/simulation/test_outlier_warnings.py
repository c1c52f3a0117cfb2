"""How often a panel without any outlier is warned about, and how often an outage isn't seen."""

from __future__ import annotations

import math

import numpy as np
import pytest

from causalbench.data.outliers import outliers
from causalbench.data.panel import Panel
from causalbench.values import FloatArray

RHO = 0.5
PROMISED = 0.01
SIZES = ((5, 20), (12, 10), (20, 20), (40, 105), (500, 12), (500, 20))
# Additive or in proportion, quiet or wild, with units of equal or of very different noise.
KINDS = ("normal", "normal around zero", "unequal noise", "lognormal, 0.3", "lognormal, 1")


def autoregression(rng: np.random.Generator, n_series: int, n_periods: int) -> FloatArray:
    series = rng.standard_normal((n_series, n_periods))
    series[:, 1:] *= math.sqrt(1 - RHO**2)
    for t in range(1, n_periods):
        series[:, t] += RHO * series[:, t - 1]
    return series


def clean(kind: str, n_units: int, n_periods: int, seed: int) -> Panel:
    """Draw a panel with three common factors, unit effects and AR(1) noise; no cell is an outlier."""
    rng = np.random.default_rng(seed)
    level = rng.standard_normal((n_units, 1))
    moves = rng.random((n_units, 3)) @ autoregression(rng, 3, n_periods) + autoregression(rng, n_units, n_periods)
    outcome = {
        "normal": lambda: 10 + level + moves,
        "normal around zero": lambda: level + moves,
        "unequal noise": lambda: 100 + np.exp(level) * moves,
        "lognormal, 0.3": lambda: np.exp(5 + level + 0.3 * moves),
        "lognormal, 1": lambda: np.exp(5 + level + moves),
    }[kind]()
    treated = (np.arange(n_units) == 0)[:, None] & (np.arange(n_periods) >= 0.8 * n_periods)
    return Panel(
        outcome=outcome, treated=treated, units=tuple(map(str, range(n_units))), periods=tuple(range(n_periods))
    )


def share_warned(kind: str, size: tuple[int, int], n_draws: int) -> float:
    found = (outliers(clean(kind, *size, seed)) for seed in range(n_draws))
    return float(np.mean([bool(len(one.rows) or one.periods) for one in found]))


def assert_at_most(share: float, n_draws: int) -> None:
    error = math.sqrt(PROMISED * (1 - PROMISED) / n_draws)
    assert share <= PROMISED + 2 * error, f"{share} of {n_draws} clean panels are warned about"


@pytest.mark.parametrize("kind", KINDS)
def test_clean_panels_are_rarely_warned_about_in_a_few_draws(kind: str) -> None:
    assert_at_most(share_warned(kind, (20, 20), 150), 150)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_clean_panels_are_rarely_warned_about(kind: str, size: tuple[int, int]) -> None:
    assert_at_most(share_warned(kind, size, 2000), 2000)


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "seen"), [(0.05, 0.95), (0.1, 0.95), (0.2, 0.3)])
def test_outages_are_seen_unless_noise_hides_them(noise: float, seen: float) -> None:
    n_draws, hits = 400, 0
    for seed in range(n_draws):
        rng = np.random.default_rng(seed)
        moves = autoregression(rng, 1, 60) + autoregression(rng, 30, 60)
        outcome = np.exp(6 + rng.standard_normal((30, 1)) + noise * moves)
        row, column = rng.integers(1, 30), rng.integers(0, 60)
        outcome[row, column] = 0
        treated = (np.arange(30) == 0)[:, None] & (np.arange(60) >= 48)
        panel = Panel(outcome=outcome, treated=treated, units=tuple(map(str, range(30))), periods=tuple(range(60)))
        found = outliers(panel)
        hits += (row, column) in set(zip(found.rows, found.columns, strict=True))
    assert hits / n_draws >= seen - 2 * math.sqrt(seen * (1 - seen) / n_draws)
