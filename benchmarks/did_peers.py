"""Difference-in-differences beside its peers: the same table, the same run, whole processes.

``make bench-peers`` sets up an environment with the peers and runs it; the table goes to ``benchmarks/results/did_peers.md``.
Every measurement is a process of its own that reads the same Parquet file; what is timed begins after the file is read
into a data frame and ends with the last number, so each program pays for its own preparation. A second call in the same
process is timed too: the first one compiles kernels in both programs.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

N_BOOTSTRAP = 999
LEVEL = 0.95
SIZES = {
    "group-time, 500 x 5": (500, 5, (2, 3, 4)),
    "group-time, 10,000 x 12": (10_000, 12, tuple(range(4, 12))),
    "group-time, 100,000 x 20, 190 cells": (100_000, 20, tuple(range(10, 20))),
}
EVENT_STUDY = {"event study, 50,000 rows": (2_500, 20), "event study, 5,000,000 rows": (250_000, 20)}


def staggered_table(n_units: int, n_periods: int, launches: tuple[int, ...], *, seed: int = 0) -> pd.DataFrame:
    """Draw a phased rollout; a fifth of the units is never treated (cohort 0)."""
    rng = np.random.default_rng(seed)
    first = np.sort(rng.choice([*launches, *[n_periods] * max(1, len(launches) // 4)], size=n_units))
    outcome = rng.standard_normal((n_units, 1)) + rng.standard_normal((n_units, n_periods)).cumsum(axis=1)
    outcome += 0.3 * (np.arange(n_periods) >= first[:, None])
    return pd.DataFrame(
        {
            "unit": np.repeat(np.arange(n_units), n_periods),
            "period": np.tile(np.arange(1, n_periods + 1), n_units),
            "outcome": outcome.ravel(),
            "cohort": np.repeat(np.where(first < n_periods, first + 1, 0), n_periods),
        }
    )


def one_launch_table(n_units: int, n_periods: int, *, seed: int = 0) -> pd.DataFrame:
    """Draw one launch, halfway, in a third of the units."""
    table = staggered_table(n_units, n_periods, (n_periods // 2,), seed=seed)
    table["event_time"] = np.where(table["cohort"] > 0, table["period"] - n_periods // 2 - 1, -1)
    return table


def ours_group_time(table: pd.DataFrame) -> dict[str, Any]:
    """Fit from the data frame, with bands over all cells and over event time."""
    import causalbench as cb

    panel = cb.Panel.from_table(table, unit="unit", period="period", outcome="outcome", cohort="cohort")
    found = cb.estimate(panel, "group-time", level=LEVEL)
    return {"value": found.value, "std_error": found.std_error}


def ours_group_time_on_arrays(table: pd.DataFrame) -> dict[str, Any]:
    """Fit from sorted arrays, with bands: what is left once the table is read."""
    import causalbench as cb

    panel = cb.Panel.from_table(table, unit="unit", period="period", outcome="outcome", cohort="cohort")
    seconds = []
    for _ in range(3):
        start = time.process_time()
        found = cb.estimate(panel, "group-time", level=LEVEL)
        seconds.append(time.process_time() - start)
    return {"value": found.value, "std_error": found.std_error, "cpu_on_arrays": min(seconds)}


def diff_diff_group_time(table: pd.DataFrame) -> dict[str, Any]:
    """Fit Callaway-Sant'Anna with the multiplier bootstrap that its uniform bands need."""
    from diff_diff import CallawaySantAnna

    found = CallawaySantAnna(n_bootstrap=N_BOOTSTRAP, seed=0).fit(
        table, outcome="outcome", unit="unit", time="period", first_treat="cohort"
    )
    return {"value": float(found.overall_att), "std_error": float(found.overall_se)}


def ours_event_study(table: pd.DataFrame) -> dict[str, Any]:
    """Fit the two-way event study with clustered errors from the data frame."""
    import causalbench as cb

    panel = cb.Panel.from_table(table, unit="unit", period="period", outcome="outcome", cohort="cohort")
    study = cb.estimate(panel, "did", inference="cluster", level=LEVEL, options={"covariance": "CRV1"}).event_study
    last = len(study.values) - 1
    return {"value": float(study.values[last]), "std_error": float(study.std_errors[last])}


def pyfixest_event_study(table: pd.DataFrame) -> dict[str, Any]:
    """Fit the same regression with the same errors."""
    import pyfixest

    found = pyfixest.feols(
        "outcome ~ i(event_time, ref=-1) | unit + period", table, vcov={"CRV1": "unit"}, store_data=False, lean=True
    )
    tidy = found.tidy()
    return {"value": float(tidy["Estimate"].iloc[-1]), "std_error": float(tidy["Std. Error"].iloc[-1])}


RUNS: dict[str, Callable[[pd.DataFrame], dict[str, Any]]] = {
    "causalbench": ours_group_time,
    "causalbench, on sorted arrays": ours_group_time_on_arrays,
    "diff-diff, 999 bootstrap draws": diff_diff_group_time,
    "causalbench, event study": ours_event_study,
    "pyfixest, event study": pyfixest_event_study,
}


def measure_here(name: str, path: str) -> None:
    """Run one program twice in this process and print what it took."""
    table = pd.read_parquet(path)
    results = []
    for _ in range(2):
        wall, cpu = time.perf_counter(), time.process_time()
        found = RUNS[name](table)
        found |= {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        results.append(found)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"first": results[0], "second": results[1], "peak_gib": peak}))


def measure(name: str, path: Path) -> dict[str, Any]:
    """Run one program in a process of its own."""
    command = [sys.executable, __file__, name, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {
            "error": done.stderr.strip().splitlines()[-1][:80] if done.stderr.strip() else f"exit {done.returncode}"
        }
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def row(case: str, name: str, found: dict[str, Any]) -> str:
    """Write one line of the table."""
    if "error" in found:
        return f"| {case} | {name} | {found['error']} | | | | | |"
    first, second = found["first"], found["second"]
    cells = [f"{first['wall']:.2f}", f"{second['wall']:.2f}", f"{second['cpu']:.2f}", f"{found['peak_gib']:.2f}"]
    return f"| {case} | {name} | {' | '.join(cells)} | {second['value']:.6f} | {second['std_error']:.6f} |"


def main() -> None:
    """Measure every case with every program that answers it and write the table."""
    lines = [
        "# Difference-in-differences beside its peers",
        "",
        f"diff-diff {version('diff-diff')}, pyfixest {version('pyfixest')}; 2 cores. Seconds from a data frame in memory to the",
        "last number, in a process per program: first call (with compilation), second call, and CPU of the second. Memory is",
        "the whole process's peak, its copy of the table included. Errors differ where one side bootstraps.",
        "",
        "| case | program | first call, s | second call, s | CPU, s | peak, GiB | value | std. error |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        for case, (n_units, n_periods, launches) in SIZES.items():
            staggered_table(n_units, n_periods, launches).to_parquet(path)
            lines += [row(case, name, measure(name, path)) for name in list(RUNS)[:3]]
            on_arrays = measure("causalbench, on sorted arrays", path)["second"]["cpu_on_arrays"]
            lines.append(f"| {case} | causalbench, from a panel in memory | | | {on_arrays:.3f} | | | |")
        for case, (n_units, n_periods) in EVENT_STUDY.items():
            one_launch_table(n_units, n_periods).to_parquet(path)
            lines += [row(case, name, measure(name, path)) for name in list(RUNS)[3:]]
    text = "\n".join(lines) + "\n"
    (Path(__file__).parent / "results" / "did_peers.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure_here(sys.argv[1], sys.argv[2])
    else:
        main()
