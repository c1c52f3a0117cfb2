"""Every placebo in space of a synthetic control, from the panel to the last certified fit.

``make bench`` runs it and writes ``benchmarks/results/placebos.md``. Peers join here, on the same input in the same
run, as they are compared with.
"""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

import numpy as np

from causalbench.data.simulate import factor_panel
from causalbench.estimators.synthetic_control import SyntheticControl

SIZES = ((100, 100), (300, 1000), (1000, 300))
REPEATS = 3


def measure(n_units: int, n_periods: int) -> tuple[float, float, float]:
    """Return the median wall time of all placebos, the largest duality gap and the mean number of donors used."""
    panel = factor_panel(
        n_units=n_units + 1, n_periods=n_periods + 30, n_treated=1, n_post=30, effect=0.0, rho=0.5, seed=1
    )
    donors = panel.only(units=~panel.ever_treated)
    each = np.where(np.eye(n_units, dtype=bool), n_periods, n_periods + 30)
    seconds, fits = [], []
    for _ in range(REPEATS):
        start = time.perf_counter()
        fits = list(SyntheticControl().fit_many(donors, each))
        seconds.append(time.perf_counter() - start)
    gap = max(fit.diagnostics["duality_gap"] for fit in fits)
    return sorted(seconds)[REPEATS // 2], gap, float(np.mean([(fit.weights > 0).sum() for fit in fits]))


def main() -> None:
    """Warm up, measure and write the table."""
    measure(20, 20)
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    lines = [
        "# All placebos in space",
        "",
        f"Outcome-only synthetic control, factor panels with AR(1) noise; median of {REPEATS} runs after a warm-up.",
        f"Python {platform.python_version()}, {os.cpu_count()} cores, OMP_NUM_THREADS={threads}.",
        "",
        "| donors | periods before | placebos | seconds | largest relative duality gap | mean donors with weight |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for n_units, n_periods in SIZES:
        seconds, gap, used = measure(n_units, n_periods)
        lines.append(f"| {n_units} | {n_periods} | {n_units} | {seconds:.3f} | {gap:.1e} | {used:.1f} |")
    text = "\n".join(lines) + "\n"
    print(text)
    (Path(__file__).parent / "results" / "placebos.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
