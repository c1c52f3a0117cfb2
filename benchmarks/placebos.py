"""Every placebo in space of a synthetic control, from the panel to the last certified fit.

``make bench`` runs it and writes ``benchmarks/results/placebos.md``; peers on a published table are in
``synthetic_control_peers.py``.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.estimators.synthetic_control import SyntheticControl
from causalbench.values import Fit

SIZES = ((100, 100), (300, 1000), (1000, 300), (2000, 500))
NESTED_DONORS, NESTED_PRE, NESTED_POST = 38, 19, 12
"""As many donors and years as Proposition 99 has."""
REPEATS = 3


def timed(run: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return the median wall time, the least CPU time, and what came out."""
    wall, cpu, found = [], [], None
    for _ in range(REPEATS):
        start, start_cpu = time.perf_counter(), time.process_time()
        found = run()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    return sorted(wall)[REPEATS // 2], min(cpu), found


def placebos(panel: Panel, estimator: SyntheticControl) -> list[Fit]:
    """Fit every donor on the others."""
    donors = panel.only(units=~panel.ever_treated)
    each = np.where(np.eye(len(donors.units), dtype=bool), panel.n_pre, len(panel.periods))
    return list(estimator.fit_many(donors, each))


def measure(n_units: int, n_periods: int) -> str:
    """Measure the placebos on outcomes alone and write their line."""
    panel = factor_panel(
        n_units=n_units + 1, n_periods=n_periods + 30, n_treated=1, n_post=30, effect=0.0, rho=0.5, seed=1
    )
    wall, cpu, fits = timed(lambda: placebos(panel, SyntheticControl()))
    gap = max(fit.diagnostics["duality_gap"] for fit in fits)
    used = float(np.mean([(fit.weights > 0).sum() for fit in fits]))
    return f"| {n_units} | {n_periods} | {n_units} | {wall:.3f} | {cpu:.3f} | {gap:.1e} | {used:.1f} |"


def measure_nested() -> list[str]:
    """Measure one nested fit and all its placebos, four covariates and three lags, and write their lines."""
    periods = NESTED_PRE + NESTED_POST
    plain = factor_panel(
        n_units=NESTED_DONORS + 1, n_periods=periods, n_treated=1, n_post=NESTED_POST, effect=0.0, rho=0.8, seed=1
    )
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(NESTED_DONORS + 1, 1, 4)) + 0.3 * plain.outcome[:, :, None] * rng.normal(size=4)
    panel = replace(plain, covariates=cells, covariate_names=("a", "b", "c", "d"))
    estimator = SyntheticControl(match="predictors", outcome_lags=(6, 11, 19))
    lines = []
    for n, run in ((1, lambda: [estimator.fit(panel)]), (NESTED_DONORS, lambda: placebos(panel, estimator))):
        wall, cpu, fits = timed(run)
        gap = max(fit.diagnostics["duality_gap"] for fit in fits)
        lines.append(f"| {NESTED_DONORS} | {NESTED_PRE} | 7 | {n} | {wall:.3f} | {cpu:.3f} | {gap:.1e} |")
    return lines


def main() -> None:
    """Warm up, measure and write the table."""
    measure(20, 20)
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    lines = [
        "# All placebos in space",
        "",
        f"Factor panels with AR(1) noise; median wall and least CPU seconds of {REPEATS} runs after a warm-up.",
        f"Python {platform.python_version()}, {os.cpu_count()} cores, OMP_NUM_THREADS={threads}.",
        "",
        "## On outcomes",
        "",
        "| donors | periods before | placebos | seconds | CPU | largest relative duality gap | mean donors with weight |",
        "|---:|---:|---:|---:|---:|---:|---:|",
        *(measure(n_units, n_periods) for n_units, n_periods in SIZES),
        "",
        "## On predictors whose importance is chosen",
        "",
        "| donors | periods before | predictors | fits | seconds | CPU | largest relative duality gap |",
        "|---:|---:|---:|---:|---:|---:|---:|",
        *measure_nested(),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    (Path(__file__).parent / "results" / "placebos.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
