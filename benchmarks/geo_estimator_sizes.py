"""Size, power and coverage of the geo estimators: time-based and geo-based regression, trimmed match, and their returns on spend.

``python benchmarks/geo_estimator_sizes.py`` runs it and writes ``benchmarks/results/geo_estimator_sizes.md``; the limits of
``predictive-t`` in :mod:`causalbench.numerics.persistence`, and what ``trimmed-t`` refuses, come from it. The published
interval of every method stands beside ours.
"""

from __future__ import annotations

import argparse
import itertools
import math
import platform
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.random import Generator
from scipy import stats

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.errors import RefusalError
from causalbench.estimators import GeoBasedRegression, TimeBasedRegression
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.inference import PredictiveT, RegressionT
from causalbench.numerics import persistence
from causalbench.numerics.trimmed_pairs import (
    Pairs,
    auto_counts,
    chosen_trim,
    flipped_statistics,
    studentized,
    trimmed_ratio,
)
from causalbench.values import rejects

LEVEL = 0.9
NOMINAL = 0.1
SHAPES = ((32, 8), (42, 28), (45, 15), (90, 15), (180, 14))
PERSISTENCE = (0.0, 0.3, 0.5, 0.8)
ALONG_TIME: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("predictive-t", {}, "predictive-t"),
    ("predictive-t", {"compat": "geoexperiments"}, ""),
    ("conformal", {}, "conformal, blocks"),
    ("placebo-in-time", {}, "placebo-in-time"),
)
TRUTH = 3.0
FLIPS = 499


def share(values: list[Any]) -> str:
    """Write a share of draws with its Monte Carlo error."""
    found = float(np.mean(values))
    return f"{found:.3f} ({math.sqrt(found * (1 - found) / len(values)):.3f})"


def regression_rows(n_draws: int, n_slow: int) -> Iterator[str]:
    """Yield the size of every inference of time-based regression, by shape and persistence."""
    yield "| inference | T0 / T1 | autocorrelation | size without refusal | refused | size | power at 1 | median width |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    for (name, options, limit_of), shape, rho in itertools.product(ALONG_TIME, SHAPES, PERSISTENCE):
        member = INFERENCES.create(name, options)
        draws = n_draws if name == "predictive-t" else n_slow
        rows = np.array([row for seed in range(draws) if (row := one_draw(member, shape, rho, seed)) is not None])
        limit = persistence.persistence_limit(limit_of, *shape) if limit_of else math.inf
        refused = rows[:, 3] > limit
        kept = rows[~refused]
        label = " ".join([name, *map(str, options.values())])
        power, width = (f"{kept[:, 1].mean():.2f}", f"{np.median(kept[:, 2]):.2f}") if len(kept) else ("", "")
        size = share(list(rows[:, 0] * ~refused))
        yield (
            f"| {label} | {shape[0]} / {shape[1]} | {rho:g} | {rows[:, 0].mean():.3f} | {refused.mean():.2f} | {size} "
            f"| {power} | {width} |"
        )


def one_draw(member: Any, shape: tuple[int, int], rho: float, seed: int) -> tuple[float, float, float, float] | None:
    """Return rejection, power, width and persistence of one draw without an effect; None where it can't be answered."""
    n_pre, n_post = shape
    panel = factor_panel(
        n_units=12, n_periods=n_pre + n_post, n_treated=4, n_post=n_post, effect=0.0, rho=rho, seed=seed
    )
    fit = TimeBasedRegression().fit(panel)
    with patch.dict(persistence.LIMITS, dict.fromkeys(persistence.LIMITS, (1.0, 1.0))):
        try:
            answer = member.infer(TimeBasedRegression(), panel, fit, level=LEVEL, rng=np.random.default_rng(seed))
        except RefusalError:
            return None
    segments = answer.interval.segments
    width = segments[-1][1] - segments[0][0] if segments else 0.0
    out = float(not answer.interval.contains(-1.0))
    return float(rejects(answer.p_value, LEVEL)), out, width, answer.detail["persistence"]


def return_rows(n_draws: int) -> Iterator[str]:
    """Yield how often sets of the incremental return hold it, with a cost that runs all the time."""
    yield "| incremental cost, in its standard errors | Fieller's set holds the return | unbounded | delta method holds it |"
    yield "|---:|---:|---:|---:|"
    for clear in (20.0, 4.0, 2.0, 1.0):
        held, open_ended, delta = [], [], []
        for seed in range(n_draws):
            panel, error = with_running_cost(clear, seed)
            fit = TimeBasedRegression().fit(panel)
            answer = PredictiveT(compat="geoexperiments").infer(
                TimeBasedRegression(), panel, fit, level=LEVEL, rng=np.random.default_rng(0)
            )
            interval = answer.detail["iroas_interval"]
            held.append(interval.contains(TRUTH))
            open_ended.append(interval.lower is None or interval.upper is None)
            reach = stats.t.ppf(0.95, answer.detail["df"])
            delta.append(abs(fit.diagnostics["iroas"] - TRUTH) <= reach * error(fit, answer.std_error))
        yield f"| {clear:g} | {share(held)} | {share(open_ended)} | {share(delta)} |"


def with_running_cost(clear: float, seed: int) -> tuple[Panel, Callable[[Any, float], float]]:
    """Draw a panel whose incremental cost is so many standard errors from zero, and the delta method's error of a fit."""
    panel = factor_panel(n_units=12, n_periods=75, n_treated=4, n_post=15, effect=0.0, rho=0.0, seed=seed)
    rng = np.random.default_rng([seed, 1])
    spread = 0.5 * math.sqrt(1 / 4 + 1 / 8) * math.sqrt(1 / 15 + 1 / 60)  # of the mean difference, nearly
    cost = 5 + rng.standard_normal(75) + 0.5 * rng.standard_normal((12, 75)) + clear * spread * panel.treated
    outcome = panel.outcome + TRUTH * clear * spread * panel.treated

    def error(fit: Any, std_error: float) -> float:
        mean_cost = fit.diagnostics["cost"] / panel.n_treated_cells
        return math.hypot(std_error, fit.diagnostics["iroas"] * spread) / abs(mean_cost)

    return replace(panel, outcome=outcome, cost=cost), error


def sized_panel(n_units: int, noise: str, rng: Generator) -> Panel:
    """Draw units of lognormal sizes, half of them treated at random, with noise in proportion to size or to its root."""
    size = rng.lognormal(6, 1, n_units)
    spread = size if noise == "in proportion to size" else np.sqrt(size * np.median(size))
    outcome = size[:, None] + 0.1 * spread[:, None] * rng.standard_normal((n_units, 12))
    treated = np.zeros((n_units, 12), dtype=bool)
    treated[rng.permutation(n_units)[: n_units // 2], 8:] = True
    return Panel(
        outcome=outcome, treated=treated, units=tuple(f"{i:03d}" for i in range(n_units)), periods=tuple(range(12))
    )


def geo_rows(n_draws: int) -> Iterator[str]:
    """Yield the size of geo-based regression by the number of units and what their noise is like."""
    yield "| units | noise | HC3 | classical (published) |"
    yield "|---:|---|---:|---:|"
    for n_units, noise in itertools.product((10, 20, 60), ("in proportion to size", "in proportion to its root")):
        rng = np.random.default_rng(n_units)
        robust, classical = GeoBasedRegression(), GeoBasedRegression(covariance="classical")
        rejected: dict[str, list[bool]] = {"HC3": [], "classical": []}
        for _ in range(n_draws):
            panel = sized_panel(n_units, noise, rng)
            for estimator in (robust, classical):
                answer = RegressionT().infer(estimator, panel, estimator.fit(panel), level=LEVEL, rng=rng)
                rejected[estimator.covariance].append(rejects(float(answer.p_value or 0.0), LEVEL))
        yield f"| {n_units} | {noise} | {share(rejected['HC3'])} | {share(rejected['classical'])} |"


def pair_rows(n_draws: int) -> Iterator[str]:
    """Yield the size of tests of trimmed match, by pairs and noise; normal quantiles are the published ones."""
    yield "| pairs | noise | cost | sign-flip | t, trimming as chosen (refused) | normal (compat) | t, trim = 0 | t, trim = .1 |"
    yield "|---:|---|---|---:|---:|---:|---:|---:|"
    for n, noise, varied in itertools.product((8, 15, 30, 60), ("normal", "t on 2 df", "by size"), (False, True)):
        rng = np.random.default_rng([n, varied])
        found: list[list[bool]] = [[], [], [], [], []]
        for _ in range(n_draws):
            cost = rng.lognormal(0, 1, n) if varied else np.ones(n)
            left = rng.standard_t(2, n) if noise == "t on 2 df" else rng.standard_normal(n)
            pairs = Pairs(response=left * (rng.lognormal(0, 1, n) if noise == "by size" else 1.0), cost=cost)
            for column, p_value in zip(found, pair_p_values(pairs, rng), strict=True):
                column.append(rejects(p_value, LEVEL))
        shares = " | ".join(share(column) for column in found)
        yield f"| {n} | {noise} | {'varies' if varied else 'none'} | {shares} |"


def pair_p_values(pairs: Pairs, rng: Generator) -> tuple[float, ...]:
    """Return p of no effect by flips, by t and normal with the trimming chosen, and by t without and with a fixed one."""
    n = pairs.n_pairs
    signs = np.vstack([np.ones(n), rng.integers(0, 2, size=(FLIPS, n)) * 2 - 1])
    flipped = flipped_statistics(signs * pairs.response, auto_counts(n))
    candidates = tuple(found for m in auto_counts(n) if (found := trimmed_ratio(pairs, m)) is not None)
    chosen = chosen_trim(pairs, candidates).n_trimmed
    few = math.ceil(0.1 * n)
    as_chosen, untrimmed, fixed = (abs(studentized(pairs, 0.0, m)) for m in (chosen, 0, few))
    return (
        float((flipped >= flipped[0] * (1 - 1e-9)).mean()),
        float(2 * stats.t.sf(as_chosen, n - 2 * chosen - 1)),
        float(2 * stats.norm.sf(as_chosen)),
        float(2 * stats.t.sf(untrimmed, n - 1)),
        float(2 * stats.t.sf(fixed, n - 2 * few - 1)),
    )


def write(n_draws: int, n_slow: int) -> None:
    """Write all tables with what they mean."""
    allowed = NOMINAL + 0.01
    lines = [
        "# Size and coverage of the geo estimators",
        "",
        f"Nominal {NOMINAL:.0%}, no effect; Monte Carlo errors in brackets. Python {platform.python_version()};",
        "`python benchmarks/geo_estimator_sizes.py`.",
        "",
        "## Time-based regression",
        "",
        f"Factor panels of 12 units, 4 treated, with AR(1) factors and noise of variance 1; {n_draws} draws of predictive-t,",
        f"{n_slow} of the others. Size: share of all draws in which the test answers and rejects; at most {allowed:.2f} and two",
        "Monte Carlo errors are allowed. `compat = geoexperiments` is the published posterior t, which takes noise for",
        "independent and is never refused: it is there to reproduce published numbers.",
        "",
        *regression_rows(n_draws, n_slow),
        "",
        "## Sets of the incremental return",
        "",
        f"A cost that runs all the time, with noise of its own; true return {TRUTH:g}, independent noise, {n_draws} draws. Level",
        f"{LEVEL:g}.",
        "",
        *return_rows(n_draws),
        "",
        "## Geo-based regression",
        "",
        f"Units of lognormal sizes, half of them treated at random; {n_draws} draws.",
        "",
        *geo_rows(n_draws),
        "",
        "## Trimmed match",
        "",
        f"{n_draws} draws. `trim = auto` except in the last two columns; the third is what the published package reports.",
        "",
        *pair_rows(n_draws),
    ]
    (Path(__file__).parent / "results" / "geo_estimator_sizes.md").write_text("\n".join(lines) + "\n", "utf-8")


def main() -> None:
    """Simulate every cell and write the tables."""
    parser = argparse.ArgumentParser(description="Size and coverage of the geo estimators.")
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--slow-draws", type=int, default=500)
    arguments = parser.parse_args()
    write(arguments.draws, arguments.slow_draws)


if __name__ == "__main__":
    main()
