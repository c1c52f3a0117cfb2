"""Cohort moments of 100 million rows of Parquet, and event rows to cells, in the embedded engine.

Every measurement is a process of its own, from start to result, with the peak of its resident memory. The figures go to
``benchmarks/results/engine_moments.md``. ``--billion`` adds a billion rows: a query that repeats a file ten times, each time
with units of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np

from causalbench.data import sources
from causalbench.data.engine_moments import cohort_moments
from causalbench.data.launch import LaunchRule
from causalbench.data.moments import CohortMoments
from causalbench.data.outcome import Reading
from causalbench.data.panel import Panel
from causalbench.data.reduce import Columns, cells

N_PERIODS = 20
NAMES = {"unit": "unit", "period": "period", "outcome": "outcome"}
ORDERS = {
    "rows of a unit together": "range",
    "rows of a period together": "(range % {n}) * 20 + range // {n}",
    "scattered": "(range * 7368787) % ({n} * 20)",
}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a process took."""

    wall: float
    cpu: float
    peak: float
    found: dict[str, object]


def write_panel(path: Path, n_units: int, order: str) -> None:
    """Write a panel with 14 cohorts, half of the units never treated, all numbers from hashes of the row's number."""
    position = order.format(n=n_units)
    connection = duckdb.connect(config={"memory_limit": "2GB"})
    connection.execute(f"""COPY (
        SELECT i // 20 AS unit, (i % 20)::int AS period,
          CASE WHEN hash(i // 20) % 2 = 0 THEN NULL ELSE 4 + (hash(i // 20) // 2 % 14)::int END AS cohort,
          50 + 10 * (hash(i // 20 + 17) % 1000003 / 1e6 - 0.5) + 4 * (hash(i) % 1000003 / 1e6 - 0.5) AS outcome
        FROM (SELECT {position} AS i FROM range({n_units} * 20))
    ) TO '{path}' (FORMAT parquet)""")  # noqa: S608
    connection.close()


def write_events(path: Path, n_rows: int) -> None:
    """Write event rows of 300 units in 120 periods."""
    duckdb.connect(config={"memory_limit": "2GB"}).execute(f"""COPY (
        SELECT (hash(i) % 300)::int AS unit, (hash(i + 7) % 120)::int AS period, hash(i * 3) % 1000003 / 1e4 AS outcome
        FROM range({n_rows}) t(i)
    ) TO '{path}' (FORMAT parquet)""")  # noqa: S608


def opened(path: Path) -> sources.Source:
    """Open a file as a study does."""
    return sources.from_file(path, folder=path.parent, unit="unit", period="period")


def ten_times(path: Path) -> sources.Source:
    """Open a query that repeats a file ten times, each time with units of its own."""
    query = f"""SELECT unit + k.range * (SELECT 1 + max(unit) FROM '{path.name}') AS unit, period, cohort, outcome
        FROM '{path.name}', range(10) k"""  # noqa: S608
    return sources.from_sql(query, folder=path.parent, unit="unit", period="period")


def moments(source: sources.Source) -> CohortMoments:
    """Return the moments of a table."""
    return cohort_moments(
        source,
        Columns(**NAMES, cohort="cohort"),
        launch=LaunchRule(units=None, start=None),
        reading=Reading(grain="cell", aggregate="sum", on_duplicate="error", metric="outcome"),
    )


def run(task: str, path: Path) -> dict[str, object]:
    """Do one task; called in a process of its own."""
    if task in ("moments", "billion"):
        found = moments(opened(path) if task == "moments" else ten_times(path))
        return {"units": int(found.counts.sum()), "cohorts": len(found.counts), "first": float(found.means[0, 0])}
    table = cells(opened(path), Columns(**NAMES), summing=True)
    return {"cells": len(table), "rows": int(table["rows"].sum())}


def peak_kib() -> int:
    """Return the most memory this process had; unlike the parent's accounts it forgets what was before the program started."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def measured(task: str, path: Path) -> Cost:
    """Run a task in a process of its own."""
    start = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, __file__, "--task", task, "--path", str(path)], stdout=subprocess.PIPE, text=True
    )
    text = child.stdout.read() if child.stdout else ""
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    if status:
        raise RuntimeError(f"{task} ended with status {status}")
    found = json.loads(text)
    return Cost(wall=wall, cpu=usage.ru_utime + usage.ru_stime, peak=found.pop("peak_kib") / 2**20, found=found)


def largest_difference(folder: Path) -> float:
    """Return the largest relative difference from the moments of the panel in memory, on a sample that fits."""
    path = folder / "sample.parquet"
    write_panel(path, 50_000, ORDERS["scattered"])
    found = moments(opened(path))
    table = duckdb.read_parquet(str(path)).df()
    expected = CohortMoments.from_panel(Panel.from_table(table, **NAMES, cohort="cohort"))
    path.unlink()
    scatter = np.abs(found.scatter - expected.scatter).max() / np.abs(expected.scatter).max()
    means = np.abs(found.means - expected.means).max() / np.abs(expected.means).max()
    return float(max(scatter, means))


def main(*, n_units: int, with_billion: bool) -> None:
    """Measure and write the table."""
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        difference = largest_difference(folder)
        tasks = [("moments", n_units, order) for order in ORDERS]
        tasks.append(("cells", 50_000_000, "events"))
        tasks += [("billion", n_units, "rows of a period together")] if with_billion else []
        for task, size, order in tasks:
            path = folder / "table.parquet"
            if task == "cells":
                write_events(path, size)
            else:
                write_panel(path, size, ORDERS[order])
            disk, busy = path.stat().st_size / 1e9, os.getloadavg()[0]
            cost = measured(task, path)
            path.unlink()
            n_rows = size * {"moments": N_PERIODS, "billion": 10 * N_PERIODS, "cells": 1}[task] / 1e6
            what = f"{n_rows:,.0f}M " + ("events to cells" if task == "cells" else f"rows, {order}")
            what += ", the file ten times" if task == "billion" else ""
            out = ", ".join(f"{value:,} {key}" for key, value in cost.found.items() if isinstance(value, int))
            lines.append(
                f"| {what} | {disk:.1f} | {cost.wall:.1f} | {cost.cpu:.1f} | {cost.peak:.2f} | {busy:.1f} | {out} |"
            )
            print(lines[-1], flush=True)
    head = [
        "# Sums in the embedded engine",
        "",
        (
            f"Python {platform.python_version()}, DuckDB {duckdb.__version__}, {os.cpu_count()} cores; each row one process from "
            "start to result, imports included. Load: other processes running when it began; with any, wall time says little and "
            "CPU time too much."
        ),
        "",
        f"Largest relative difference from the panel in memory on 1M rows: {difference:.1e}.",
        "",
        "| table | Parquet, GB | wall, s | CPU, s | peak memory, GiB | load | result |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    text = "\n".join([*head, *lines]) + "\n"
    (Path(__file__).parent / "results" / "engine_moments.md").write_text(text, "utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=5_000_000)
    parser.add_argument("--billion", action="store_true")
    parser.add_argument("--task", choices=("moments", "billion", "cells"))
    parser.add_argument("--path", type=Path)
    chosen = parser.parse_args()
    if chosen.task:
        print(json.dumps(run(chosen.task, chosen.path) | {"peak_kib": peak_kib()}))
    else:
        main(n_units=chosen.units, with_billion=chosen.billion)
