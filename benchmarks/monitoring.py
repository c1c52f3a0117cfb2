"""Peeking: how often a null experiment stops at one of four looks, and what honest looks cost in power.

``python benchmarks/monitoring.py`` writes ``benchmarks/results/monitoring.md``. Nulls: 40 markets, 28 periods of test after
60, three AR(1) factors and AR(1) noise, 20 markets drawn as treated, looks after 7, 14, 21, 28 periods, 20,000 draws of the
design. Power: acceptance scenario A11, weekly looks, a lift of 8% of the level and smaller ones.
"""

from __future__ import annotations

import argparse
import math
import platform
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from causalbench.data.simulate import factor_panel
from causalbench.geo.monitoring_power import power_of_looks
from causalbench.numerics.spending import allowed_stops, stop_looks

LOOKS = np.array([7, 14, 21, 28])
N_UNITS, N_TREATED, START = 40, 20, 60
N_POOL = 20_000
FAMILY = 0.05
PERSISTENCE = (0.0, 0.5, 0.8)
EFFECTS = (0.0, 0.02, 0.04, 0.06, 0.08)
LEVEL, NOISE = 10.0, 0.1
"""Units of the power simulation: a level of 10, noise of a tenth of it."""


def pool_of(rng: np.random.Generator) -> np.ndarray:
    """Draw assignments of the design, shape (N_POOL, N_UNITS)."""
    cells = (np.arange(N_UNITS) < N_TREATED).astype(np.int64)
    return rng.permuted(np.tile(cells, (N_POOL, 1)), axis=1)


def changes_of(outcome: np.ndarray) -> np.ndarray:
    """Return each market's change by each look, shape (N_UNITS, n_looks)."""
    before = outcome[:, :START].mean(axis=1)
    found = np.stack([outcome[:, START : START + n].mean(axis=1) - before for n in LOOKS], axis=1)
    return found - found.mean(axis=0)


def nulls(rho: float, n_nulls: int) -> dict[str, float]:
    """Return how often each rule stops a null experiment; the pool is drawn anew every 100 experiments."""
    rng = np.random.default_rng([11, int(100 * rho)])
    allowed, once = allowed_stops(LOOKS / 28, FAMILY, N_POOL), int(FAMILY * N_POOL)
    stops, naive, fixed = np.zeros(n_nulls, int), np.zeros(n_nulls, bool), np.zeros(n_nulls, bool)
    exact = np.zeros(n_nulls)
    for seed in range(n_nulls):
        if seed % 100 == 0:
            pool = pool_of(rng)
            weights = 2 * pool / N_TREATED - 1 / (N_UNITS - N_TREATED)
        panel = factor_panel(
            n_units=N_UNITS, n_periods=START + 28, n_treated=1, n_post=28, effect=0.0, rho=rho, seed=seed
        )
        sizes = np.abs(weights @ changes_of(panel.outcome))
        actual = int(rng.integers(N_POOL))
        looks = stop_looks(sizes, allowed)[0]
        stops[seed], exact[seed] = looks[actual], (looks < len(LOOKS)).mean()
        ranks = (sizes >= sizes[actual]).sum(axis=0)
        naive[seed], fixed[seed] = (ranks <= once).any(), ranks[-1] <= once
    by_look = {f"look {k + 1}": float((stops <= k).mean()) for k in range(4)}
    return by_look | {
        "naive": float(naive.mean()),
        "fixed": float(fixed.mean()),
        "exact": float(exact.max()),
    }


def power(rho: float, n_panels: int) -> dict[float, dict[str, float]]:
    """Return stopping shares by relative effect, averaged over panels with 10 actual assignments each."""
    rng = np.random.default_rng([12, int(100 * rho)])
    found: dict[float, list[list[float]]] = {}
    for seed in range(n_panels):
        panel = factor_panel(
            n_units=N_UNITS, n_periods=START + 28, n_treated=1, n_post=28, effect=0.0, rho=rho, seed=50_000 + seed
        )
        outcome = LEVEL + LEVEL * NOISE * (panel.outcome - panel.outcome.mean())
        history = replace(panel, outcome=outcome, treated=np.zeros_like(panel.treated))
        rows = power_of_looks(
            history,
            pool_of(rng),
            start=START,
            looks=tuple(LOOKS.tolist()),
            level=1 - FAMILY,
            effects=[effect * LEVEL for effect in EFFECTS],
            n_actual=10,
        )
        for effect, row in zip(EFFECTS, rows, strict=True):
            found.setdefault(effect, []).append([*row.stopped_by, row.fixed_power, row.mean_periods])
    return {
        effect: dict(zip(("1", "2", "3", "4", "fixed", "periods"), np.mean(rows, axis=0).tolist(), strict=True))
        | {"error": float(np.std(np.array(rows)[:, 3], ddof=1) / math.sqrt(n_panels))}
        for effect, rows in found.items()
    }


def page(n_nulls: int, n_panels: int) -> Iterator[str]:
    """Yield the lines of the results."""
    error = math.sqrt(FAMILY * (1 - FAMILY) / n_nulls)
    yield "# Interim looks: peeking and its price\n"
    yield f"40 markets, 20 treated by lot, 60 periods before, looks after 7, 14, 21 and 28; {N_POOL:,} draws of the design;"
    yield f"family error 5%. {n_nulls:,} nulls a row, Monte Carlo error {error:.4f} at 5%. Naive: stop at the first look with"
    yield "p <= .05 by the permutation test of that look alone. Fixed: one look at the end. Exact: the largest share of the"
    yield "design's own draws that stops in any of these nulls: the family error given the data, without Monte Carlo error.\n"
    heads = ("autocorrelation", "stopped by look 1", "look 2", "look 3", "look 4 = family error", "exact, at most")
    yield f"| {' | '.join((*heads, 'naive family error', 'fixed'))} |"
    yield "|---:|---:|---:|---:|---:|---:|---:|---:|"
    for rho in PERSISTENCE:
        row = nulls(rho, n_nulls)
        looks = " | ".join(f"{row[f'look {k}']:.4f}" for k in range(1, 5))
        yield f"| {rho:g} | {looks} | {row['exact']:.5f} | {row['naive']:.4f} | {row['fixed']:.4f} |"
    yield "\nScenario A11 and smaller lifts: noise of a tenth of the level, three common factors, AR(1). "
    yield f"{n_panels} panels with 10 assignments each a row; error: of the power, between panels. Cost: power that one look at"
    yield "the end would have, less that of four looks. Mean length, in periods, is that of tests that end at their stop.\n"
    yield "| autocorrelation | lift | by look 1 | look 2 | look 3 | look 4 = power | error | fixed power | cost | mean length |"
    yield "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    for rho in PERSISTENCE:
        for effect, row in power(rho, n_panels).items():
            looks = " | ".join(f"{row[k]:.3f}" for k in "1234")
            yield (
                f"| {rho:g} | {effect:.0%} | {looks} | {row['error']:.3f} | {row['fixed']:.3f} "
                f"| {row['fixed'] - row['4']:.3f} | {row['periods']:.1f} |"
            )


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nulls", type=int, default=10_000)
    parser.add_argument("--panels", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "monitoring.md")
    given = parser.parse_args()
    begun = time.process_time()
    lines = list(page(given.nulls, given.panels))
    lines.append(f"\nPython {platform.python_version()}, {time.process_time() - begun:.0f} s of CPU on one core; ")
    lines.append("`python benchmarks/monitoring.py`.")
    given.out.write_text("\n".join(line.rstrip(" ") for line in lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
