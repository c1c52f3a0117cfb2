"""Size of the geo estimators where nothing happened, and coverage of their sets of the incremental return.

More draws, shapes and rivals are in ``benchmarks/results/geo_estimator_sizes.md``.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.errors import RefusalError
from causalbench.numerics.trimmed_pairs import (
    Pairs,
    auto_counts,
    chosen_trim,
    flipped_statistics,
    studentized,
    trimmed_ratio,
)
from causalbench.values import Estimate, rejects
from causalbench.workflow.estimate import estimate

NOMINAL, LEVEL = 0.10, 0.90


def monte_carlo_error(share: float, n_draws: int) -> float:
    return math.sqrt(share * (1 - share) / n_draws)


def margin(n_draws: int) -> float:
    return 2 * monte_carlo_error(NOMINAL, n_draws)


def regression_size(rho: float, n_draws: int, **options: Any) -> tuple[float, float]:
    """Return the shares of all draws, 180 periods before and 14 after the launch, that reject and that are refused."""
    rejected = refused = 0
    for seed in range(n_draws):
        panel = factor_panel(n_units=12, n_periods=194, n_treated=4, n_post=14, effect=0.0, rho=rho, seed=seed)
        try:
            found = estimate(
                panel,
                "time-based-regression",
                inference="predictive-t",
                level=LEVEL,
                inference_options=options,
            )
        except RefusalError:
            refused += 1
            continue
        rejected += bool(found.rejected)
    return rejected / n_draws, refused / n_draws


@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_predictive_t_holds_its_size_in_a_few_draws(rho: float) -> None:
    size, refused = regression_size(rho, 120)
    assert size <= NOMINAL + 0.01 + margin(120)
    assert refused < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_predictive_t_holds_its_size_whatever_the_persistence(rho: float) -> None:
    size, refused = regression_size(rho, 1000)
    assert size <= NOMINAL + 0.01 + margin(1000)
    assert refused < 0.5


def test_published_interval_does_not_hold_it() -> None:
    size, _ = regression_size(0.5, 120, compat="geoexperiments")
    assert size > NOMINAL + 0.01 + margin(120)


def spent(effect: float, seed: int) -> Panel:
    """Draw a panel whose treated spend 1 more per period, clearly, with noise in everybody's spend."""
    panel = factor_panel(n_units=12, n_periods=75, n_treated=4, n_post=15, effect=effect, rho=0.0, seed=seed)
    rng = np.random.default_rng([seed, 1])
    cost = 5 + rng.standard_normal(75) + 0.5 * rng.standard_normal(panel.outcome.shape) + panel.treated
    return replace(panel, cost=cost)


def test_returns_are_covered_at_their_level() -> None:
    n_draws, held = 200, []
    for seed in range(n_draws):
        found = estimate(spent(2.0, seed), "time-based-regression", inference="predictive-t", level=LEVEL)
        held.append(found.detail["iroas_interval"].contains(2.0))
    assert np.mean(held) >= LEVEL - 0.01 - margin(n_draws)


def sized(seed: int, effect: float) -> Panel:
    """Draw 20 units of lognormal sizes; half spend a tenth of their size and have ``effect`` times that.

    Noise is in proportion to the root of size, not to size as the weights have it.
    """
    rng = np.random.default_rng(seed)
    size = rng.lognormal(6, 1, 20)[:, None]
    treated = np.zeros((20, 12), dtype=bool)
    treated[rng.permutation(20)[:10], 8:] = True
    cost = 0.1 * size * treated
    return Panel(
        outcome=size + 0.1 * np.sqrt(size * 400) * rng.standard_normal((20, 12)) + effect * cost,
        treated=treated,
        units=tuple(f"{i:02d}" for i in range(20)),
        periods=tuple(range(12)),
        cost=cost,
    )


@pytest.mark.parametrize("effect", [0.0, 2.0])
def test_geo_based_regression_covers_its_return(effect: float) -> None:
    n_draws, missed, rejected = 300, 0, 0
    for seed in range(n_draws):
        found = estimate(sized(seed, effect), "geo-based-regression", level=LEVEL)
        missed += not found.detail["iroas_interval"].contains(effect)
        rejected += bool(found.rejected)
    assert missed / n_draws <= NOMINAL + margin(n_draws)
    assert rejected == missed if effect == 0 else rejected / n_draws > 0.9


def pair_p_values(pairs: Pairs, rng: np.random.Generator) -> tuple[float, float]:
    """Return p of no effect by sign flips and by a t that takes the chosen trimming for given."""
    n = pairs.n_pairs
    signs = np.vstack([np.ones(n), rng.integers(0, 2, size=(199, n)) * 2 - 1])
    flipped = flipped_statistics(signs * pairs.response, auto_counts(n))
    chosen = chosen_trim(pairs, tuple(found for m in auto_counts(n) if (found := trimmed_ratio(pairs, m)) is not None))
    statistic = abs(studentized(pairs, 0.0, chosen.n_trimmed))
    return float((flipped >= flipped[0] * (1 - 1e-9)).mean()), float(
        2 * stats.t.sf(statistic, n - 2 * chosen.n_trimmed - 1)
    )


@pytest.mark.parametrize("n", [8, 20])
@pytest.mark.parametrize("noise", ["normal", "heavy"])
def test_sign_flips_hold_their_size_where_the_data_choose_the_trimming(n: int, noise: str) -> None:
    n_draws, rng = 500, np.random.default_rng(n)
    by_flips, by_t = 0, 0
    for _ in range(n_draws):
        left = rng.standard_normal(n) if noise == "normal" else rng.standard_t(2, n)
        flips, t = pair_p_values(Pairs(response=left, cost=np.ones(n)), rng)
        by_flips += rejects(flips, LEVEL)
        by_t += rejects(t, LEVEL)
    assert by_flips / n_draws <= NOMINAL + margin(n_draws)
    if noise == "normal" and n == 8:
        assert by_t / n_draws > NOMINAL + 0.01 + margin(n_draws), "trimmed-t may then stop refusing trim = auto"


def answered(seed: int, **options: Any) -> Estimate:
    """Estimate from 10 pairs with a return of 2 and heavy noise."""
    rng = np.random.default_rng(seed)
    cost = rng.uniform(0.5, 3, 10)
    moved = 2 * cost + rng.standard_t(2, 10)
    zeros = np.zeros((10, 2))
    base = 50 + rng.standard_normal((10, 1)) + zeros
    panel = Panel(
        outcome=np.vstack([base, base + np.column_stack([zeros[:, 0], moved])]),
        treated=np.vstack([zeros, zeros + np.array([0, 1])]),
        units=tuple(f"{arm}{i}" for arm in "ct" for i in range(10)),
        periods=(1, 2),
        cluster=tuple(map(str, range(10))) * 2,
        cost=np.vstack([zeros, np.column_stack([zeros[:, 0], cost])]),
    )
    return estimate(panel, "trimmed-match", level=LEVEL, options=options)


def test_trimmed_match_covers_its_return_and_trimming_shortens_the_set() -> None:
    n_draws = 60
    auto, plain = ([answered(seed, trim=trim) for seed in range(n_draws)] for trim in ("auto", 0.0))
    widths = []
    for answers in (auto, plain):
        sets = [answer.detail["iroas_interval"] for answer in answers]
        assert np.mean([interval.contains(2.0) for interval in sets]) >= LEVEL - margin(n_draws)
        widths.append(np.median([interval.segments[-1][1] - interval.segments[0][0] for interval in sets]))
    assert widths[0] < 1.1 * widths[1]
