"""Switchbacks: size of the readout's test, and claimed power and bias against delivered ones, under carry-over.

``python benchmarks/switchback.py`` writes ``benchmarks/results/switchback.md``. Markets have a level of 100, three AR(1) factors
and AR(1) noise, each of 5% of the level. A plan is judged on 112 periods of history; its test runs in the 56 periods after them,
with a schedule drawn anew and effects that carry over as the plan says.
"""

from __future__ import annotations

import argparse
import math
import platform
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.geo import switchback_readout
from causalbench.geo.switchback import SwitchbackDesign, paired, relative_outcome
from causalbench.geo.switchback_power import switchback_power
from causalbench.geo.switchback_readout import SwitchbackResult, analyse_schedule
from causalbench.values import rejects

N_HISTORY, N_TEST, LEVEL = 112, 56, 0.9
N_DRAWS = 1_999
PLANS = ((2, 0), (4, 0), (7, 0), (7, 2), (14, 0), (14, 4))
CARRY_OVERS = (0.0, 0.5, 0.8)


def panel_of(n_units: int, rho: float, seed: int) -> Panel:
    """Draw markets without an effect."""
    panel = factor_panel(
        n_units=n_units, n_periods=N_HISTORY + N_TEST, n_treated=1, n_post=1, effect=0.0, rho=rho, seed=seed
    )
    outcome = 100 * (1 + 0.05 * (panel.outcome - 10))
    return replace(panel, outcome=outcome, treated=np.zeros_like(panel.treated))


def exposed(on: np.ndarray, carry_over: float) -> np.ndarray:
    """Return the exposure of every market and period, by its recursion."""
    exposure, last = np.zeros(on.shape), np.zeros(len(on))
    for t in range(on.shape[1]):
        last = carry_over * last + (1 - carry_over) * on[:, t]
        exposure[:, t] = last
    return exposure


def run(
    panel: Panel, design: SwitchbackDesign, *, effect: float, carry_over: float, rng: np.random.Generator
) -> SwitchbackResult:
    """Run one test in the periods after the history and read it out."""
    schedule = design.draws(1, rng=rng)[0]
    outcome = panel.outcome.copy()
    on = np.repeat(schedule, design.block, axis=1).astype(float)
    base = outcome[:, :N_HISTORY].mean(axis=1, keepdims=True)
    outcome[:, N_HISTORY : N_HISTORY + design.n_periods] += effect * base * exposed(on, carry_over)
    with patch.object(switchback_readout, "N_DRAWS", N_DRAWS):
        return analyse_schedule(
            replace(panel, outcome=outcome), design, schedule, start=N_HISTORY, level=LEVEL, rng=rng
        )


def plan_of(panel: Panel, block: int, washout: int) -> tuple[Panel, SwitchbackDesign]:
    """Return the history and a plan whose pairs come from it."""
    history = panel.only(periods=np.arange(N_HISTORY + N_TEST) < N_HISTORY)
    return history, SwitchbackDesign(pairs=paired(history), block=block, n_blocks=N_TEST // block, washout=washout)


def plain_t(panel: Panel, design: SwitchbackDesign, rng: np.random.Generator) -> bool:
    """Tell whether a t test of all market-periods, as if independent, rejects at 10%."""
    on = np.repeat(design.draws(1, rng=rng)[0], design.block, axis=1)
    values = panel.outcome[:, N_HISTORY : N_HISTORY + design.n_periods]
    values = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True)
    first, second = values[on], values[~on]
    error = math.sqrt(first.var(ddof=1) / len(first) + second.var(ddof=1) / len(second))
    return bool(abs(first.mean() - second.mean()) > 1.645 * error)


def sizes(n_units: int, rho: float, n_nulls: int) -> dict[str, float]:
    """Return how often true nulls are rejected, how often p and set contradict each other, and what the check says."""
    rng = np.random.default_rng([21, n_units, int(100 * rho)])
    rows = []
    for seed in range(n_nulls):
        panel = panel_of(n_units, rho, seed)
        _, design = plan_of(panel, 7, 1)
        found = run(panel, design, effect=0.0, carry_over=0.0, rng=rng)
        p, interval = found.uncertainty.p_value, found.uncertainty.interval
        rows.append(
            [
                rejects(p, 0.9),
                rejects(p, 0.95),
                rejects(p, 0.9) == interval.contains(0.0),
                plain_t(panel, design, rng),
                found.checks[-1].verdict == "fail",
            ]
        )
    names = ("ten", "five", "contradictions", "plain", "carry")
    return dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True))


def claims(n_units: int, rho: float, carry_over: float, plan: tuple[int, int], n_panels: int) -> dict[str, float]:
    """Return claimed and delivered power and bias of one plan, at the effect that is claimed to be found in 80%."""
    rng = np.random.default_rng([22, n_units, int(100 * rho), int(100 * carry_over), *plan])
    rows, kept = [], []
    for seed in range(n_panels):
        panel = panel_of(n_units, rho, 10_000 + seed)
        history, design = plan_of(panel, *plan)
        claimed = switchback_power(
            relative_outcome(history.outcome, history),
            design,
            level=LEVEL,
            carry_over=carry_over,
            n_windows=4,
            relative=True,
            rng=rng,
        )
        effect = claimed.mde(0.8)
        if effect is None:
            continue
        found = run(panel, design, effect=effect, carry_over=carry_over, rng=rng)
        check = found.checks[-1].verdict
        kept.append((panel, design, claimed))
        rows.append(
            [
                effect,
                claimed.at(effect + 1e-9),
                rejects(found.uncertainty.p_value, LEVEL),
                claimed.bias,
                found.value / effect - 1,
                found.uncertainty.interval.contains(effect),
                check == "fail",
            ]
        )
    names = ("mde", "claimed", "delivered", "bias", "delivered_bias", "coverage", "carry")
    table = np.array(rows, dtype=float)
    same = float(table[:, 0].mean())
    fixed = [
        [
            claimed.at(same),
            rejects(run(panel, design, effect=same, carry_over=carry_over, rng=rng).uncertainty.p_value, LEVEL),
        ]
        for panel, design, claimed in kept
    ]
    names, table = (*names, "fixed_claimed", "fixed"), np.hstack([table, np.array(fixed, dtype=float)])
    errors = {
        f"{name}_error": value
        for name, value in zip(names, table.std(axis=0, ddof=1) / math.sqrt(len(rows)), strict=True)
    }
    return dict(zip(names, table.mean(axis=0).tolist(), strict=True)) | errors | {"n": float(len(rows))}


def page(n_nulls: int, n_panels: int) -> Iterator[str]:
    """Yield the lines of the results."""
    yield "# Switchbacks: size, power and bias under carry-over\n"
    yield f"Nulls: blocks of 7 with a washout of 1 in 56 periods; {n_nulls:,} a row, Monte Carlo error"
    yield f"{math.sqrt(0.09 / n_nulls):.4f} at 10%; {N_DRAWS:,} drawn schedules. Contradictions: 0 in the set at level .9"
    yield "although p <= .1, or the other way round. Plain t: all market-periods as if independent, their means taken out.\n"
    yield "| markets | autocorrelation | rejected at 10% | at 5% | contradictions | plain t at 10% | carry-over check fails |"
    yield "|---:|---:|---:|---:|---:|---:|---:|"
    for n_units in (10, 20):
        for rho in (0.0, 0.5, 0.8):
            row = sizes(n_units, rho, n_nulls)
            yield (
                f"| {n_units} | {rho:g} | {row['ten']:.4f} | {row['five']:.4f} | {row['contradictions']:g} | {row['plain']:.3f} "
                f"| {row['carry']:.3f} |"
            )
    yield f"\n20 markets, autocorrelation .5, {n_panels} panels a row. For each panel the plan is played on its history; the"
    yield "effect that it claims to find in 80% is then put into the periods after, and their mean as well. Bias: share of"
    yield "the effect that the estimate adds or loses. Coverage: of the 90% set, whose model has no carry-over after the"
    yield "washout. Check: share of tests in which the carry-over check fails (p <= .05).\n"
    heads = (
        "carry-over",
        "block",
        "washout",
        "mean MDE",
        "claimed at it",
        "delivered at it",
        "error",
        "delivered at own MDE",
    )
    more = ("error", "claimed bias", "delivered bias", "error", "coverage", "check fails")
    yield f"| {' | '.join(heads + more)} |"
    yield f"|{'---:|' * 14}"
    rows = []
    for carry_over in CARRY_OVERS:
        for block, washout in PLANS:
            row = claims(20, 0.5, carry_over, (block, washout), n_panels)
            rows.append(row)
            short = row["fixed_claimed"] - row["fixed"] > 0.03 + 2 * row["fixed_error"]
            yield (
                f"| {carry_over:g} | {block} | {washout} | {row['mde']:.2%} | {row['fixed_claimed']:.3f} "
                f"| {row['fixed']:.3f}{' (short)' if short else ''} | {row['fixed_error']:.3f} | {row['delivered']:.3f} "
                f"| {row['delivered_error']:.3f} | {row['bias']:+.3f} | {row['delivered_bias']:+.3f} "
                f"| {row['delivered_bias_error']:.3f} | {row['coverage']:.3f} | {row['carry']:.3f} |"
            )
    names = ("fixed_claimed", "fixed", "delivered")
    claimed, fixed, own = (float(np.mean([row[name] for row in rows])) for name in names)
    errors = [math.sqrt(sum(row[f"{name}_error"] ** 2 for row in rows)) / len(rows) for name in names[1:]]
    yield f"\nAll rows together, at one effect for all panels: claimed {claimed:.3f}, delivered {fixed:.3f} (error"
    yield f"{errors[0]:.3f})."
    yield f"At each panel's own MDE: claimed .800, delivered {own:.3f} (error {errors[1]:.3f}), as an MDE is itself estimated"
    yield "from few windows, and where it comes out small by luck the power at it is lower. Rows share panels, so errors are"
    yield "somewhat larger."
    yield "`(short)`: more than 3 points and two errors below the claim."


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nulls", type=int, default=2_000)
    parser.add_argument("--panels", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "switchback.md")
    given = parser.parse_args()
    begun = time.process_time()
    lines = list(page(given.nulls, given.panels))
    lines.append(f"\nPython {platform.python_version()}, {time.process_time() - begun:.0f} s of CPU on one core;")
    lines.append("`python benchmarks/switchback.py`.")
    given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
