"""Robust sets of one event study at every bound, from estimates and covariance to the last end of a segment.

``make bench`` runs it and writes ``benchmarks/results/honest.md``. The input is the Benzarti-Carloni event study among the
published reference data, whose folder is ``CAUSALBENCH_REFERENCE``; longer studies are simulated.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from causalbench.numerics.honest import breakdown_value, relative_magnitude_set, smoothness_interval, smoothness_set

FloatArray = NDArray[np.float64]
BOUNDS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
RATIOS = (0.0, 0.5, 1.0, 1.5, 2.0)
LONGER = ((4, 10), (8, 7), (10, 15))
REPEATS = 5


Result = TypeVar("Result")


def timed(run: Callable[[], Result]) -> tuple[float, Result]:
    """Return the median wall time and the first result."""
    result, seconds = run(), []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[REPEATS // 2], result


def published() -> tuple[FloatArray, FloatArray]:
    """Read the published estimates."""
    stored = json.loads((Path(os.environ["CAUSALBENCH_REFERENCE"]) / "did" / "BC_eventstudy.json").read_text("utf-8"))
    return np.array(stored["betahat"]), np.array(stored["sigma"])


def simulated(n_pre: int, n_post: int) -> tuple[FloatArray, FloatArray]:
    """Draw estimates of an effect of one."""
    rng = np.random.default_rng(n_pre)
    n = n_pre + n_post
    factor = rng.standard_normal((n, 3 * n))
    covariance = 0.01 * factor @ factor.T / n
    return rng.multivariate_normal(np.repeat([0.0, 1.0], [n_pre, n_post]), covariance), covariance


def rows_of(name: str, data: tuple[FloatArray, FloatArray], n_pre: int) -> list[str]:
    """Time both restrictions and both breakdown values of one event study."""
    options = {"n_pre": n_pre, "weights": np.eye(len(data[0]) - n_pre)[0]}
    error = float(np.sqrt(data[1][n_pre, n_pre]))
    bounds = BOUNDS if name.startswith("Benzarti") else (0.0, error, 5 * error)
    rows = []
    for bound in bounds:
        seconds, interval = timed(lambda bound=bound: smoothness_interval(*data, bound=bound, **options))
        rows.append(
            f"| {name} | fixed length, M = {bound:.3g} | {interval.lower:.4f} | {interval.upper:.4f} | {seconds:.4f} |"
        )
        seconds, found = timed(lambda bound=bound: smoothness_set(*data, bound=bound, **options))
        rows.append(f"| {name} | hybrid, M = {bound:.3g} | {found.lower:.4f} | {found.upper:.4f} | {seconds:.4f} |")
    for ratio in RATIOS:
        seconds, found = timed(lambda ratio=ratio: relative_magnitude_set(*data, mbar=ratio, **options))
        rows.append(f"| {name} | hybrid, Mbar = {ratio} | {found.lower:.4f} | {found.upper:.4f} | {seconds:.4f} |")
    for kind in ("smoothness", "relative-magnitude"):
        seconds, value = timed(lambda kind=kind: breakdown_value(*data, restriction=kind, **options))
        rows.append(f"| {name} | breakdown, {kind} | {value.value:.4f} | | {seconds:.4f} |")
    return rows


def main() -> None:
    """Warm up, measure and write the table."""
    data = published()
    smoothness_interval(*data, n_pre=4, weights=np.eye(4)[0], bound=0.1)
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    lines = [
        "# Robust sets of event studies",
        "",
        f"One bound each, level 0.95, effect in the first period; median of {REPEATS} runs after a warm-up.",
        f"Python {platform.python_version()}, {os.cpu_count()} cores, OMP_NUM_THREADS={threads}.",
        "",
        "| event study | restriction | lower end or value | upper end | seconds |",
        "|---|---|---:|---:|---:|",
        *rows_of("Benzarti-Carloni, 4 + 4", data, 4),
    ]
    for n_pre, n_post in LONGER:
        lines += rows_of(f"simulated, {n_pre} + {n_post}", simulated(n_pre, n_post), n_pre)
    text = "\n".join(lines) + "\n"
    print(text)
    (Path(__file__).parent / "results" / "honest.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
