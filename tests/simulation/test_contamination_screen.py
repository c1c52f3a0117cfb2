"""The screen of donors in acceptance scenario A1: who is named, and how often somebody is named for nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel, single_launch_panel
from causalbench.numerics.reactions import find_reactions
from causalbench.values import FloatArray

SIZE = 0.05


def found(panel: Panel) -> list[int]:
    """Return which donors the screen names."""
    return named(panel.outcome[~panel.ever_treated], panel.n_pre)


def named(series: FloatArray, n_pre: int) -> list[int]:
    result: list[int] = np.flatnonzero(find_reactions(series, n_pre, size=SIZE).suspect).tolist()
    return result


def upper(share: float, n_draws: int) -> float:
    """Two Monte Carlo errors above a share."""
    return share + 2 * math.sqrt(share * (1 - share) / n_draws)


def mixed(seed: int) -> FloatArray:
    """Draw donors of which half are white noise and half persistent, about a common random walk."""
    rng = np.random.default_rng(seed)
    rho = np.repeat([0.0, 0.9], 15)
    noise = rng.standard_normal((30, 194))
    for t in range(1, 194):
        noise[:, t] = rho * noise[:, t - 1] + np.sqrt(1 - rho**2) * noise[:, t]
    return noise + np.outer(rng.random(30), 0.2 * rng.standard_normal(194).cumsum())


@pytest.mark.slow
@pytest.mark.parametrize(("contamination", "both"), [(0.04, 0.906), (0.05, 0.986), (0.06, 0.997)])
def test_both_contaminated_donors_are_named(contamination: float, both: float) -> None:
    """1,000 draws gave these shares; 400 here, Monte Carlo error at most .015."""
    draws = [found(single_launch_panel(contamination=contamination, seed=10_000 + s)) for s in range(400)]
    share = np.mean([{0, 1} <= set(names) for names in draws])
    assert share >= both - 2 * math.sqrt(both * (1 - both) / 400)
    assert np.mean([bool(set(names) - {0, 1}) for names in draws]) <= upper(SIZE, 400)


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_clean_donors_are_named_no_more_often_than_promised(rho: float) -> None:
    """At most 5%, whatever the effect on the treated, which plays no part; 600 draws, Monte Carlo error .009."""
    draws = [found(single_launch_panel(n_contaminated=0, rho=rho, seed=20_000 + s)) for s in range(600)]
    assert np.mean([bool(names) for names in draws]) <= upper(SIZE, 600)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_units", "n_periods", "n_post", "rho"),
    [(39, 31, 12, 0.5), (61, 48, 8, 0.8), (9, 70, 10, 0.5), (16, 40, 10, 0.8)],
)
def test_clean_donors_of_short_panels(n_units: int, n_periods: int, n_post: int, rho: float) -> None:
    """600 draws, Monte Carlo error .009."""
    draws = [
        found(
            factor_panel(
                n_units=n_units, n_periods=n_periods, n_treated=1, n_post=n_post, effect=0.0, rho=rho, seed=30_000 + s
            )
        )
        for s in range(600)
    ]
    assert np.mean([bool(names) for names in draws]) <= upper(SIZE, 600)


@pytest.mark.slow
def test_persistent_donors_among_others_are_not_taken_for_reactions() -> None:
    """Ranked among the others alone, a quarter of such panels had a suspect; 600 draws, Monte Carlo error .009."""
    assert np.mean([bool(named(mixed(s), 180)) for s in range(600)]) <= upper(SIZE, 600)


@pytest.mark.slow
def test_single_outliers_are_no_reaction() -> None:
    """By means alone 12.5% of panels with Student's t noise of 3 degrees of freedom had a suspect; 600 draws, error .009."""
    draws = [named(stats.t.rvs(3, size=(30, 194), random_state=s), 180) for s in range(600)]
    assert np.mean([bool(names) for names in draws]) <= upper(SIZE, 600)
