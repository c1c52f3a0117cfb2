"""Bayesian structural time series beside the Rust sampler of bsts-causalimpact: the same series, the same run.

``make bench-peers`` sets up an environment with the peers and runs it; the table goes to ``benchmarks/results/bsts_peers.md``.
Both programs start from data in memory and end with the interval of the average effect from 1000 draws; what is reported is
processor time, the smallest of several calls that take turns, after one call of each that isn't counted. The first call of
the package, which loads kernels from disk or compiles them, is timed in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

REPEATS = 5
COEFFICIENTS = (1.2, 0.5, -0.4)


@dataclass(frozen=True)
class Case:
    """A series with its controls, and what both programs are asked for."""

    n_periods: int
    n_controls: int
    ours: Mapping[str, Any] = field(default_factory=dict)
    theirs: Mapping[str, Any] = field(default_factory=dict)
    noise: str = "independent"

    @property
    def n_pre(self) -> int:
        """Number of periods before the launch: 70%."""
        return self.n_periods * 7 // 10

    def rows(self, seed: int = 0) -> NDArray[np.float64]:
        """Draw the series and its controls, with an effect of 10, shape (1 + n_controls, n_periods)."""
        rng = np.random.default_rng(seed)
        controls = rng.standard_normal((self.n_controls, self.n_periods))
        series = rng.standard_normal(self.n_periods)
        if self.noise == "random walk":
            series = series.cumsum()
        for coefficient, control in zip(COEFFICIENTS, controls, strict=False):
            series = series + coefficient * control
        series[self.n_pre :] += 10
        return np.vstack([series, controls])


WEEKLY = {"ours": {"seasons": 7}, "theirs": {"nseasons": 7, "season_duration": 1}}
CASES = {
    "100 x 1": Case(100, 1),
    "1000 x 1": Case(1000, 1),
    "1000 x 1, random walk": Case(1000, 1, noise="random walk"),
    "1000 x 10": Case(1000, 10),
    "1000 x 100": Case(1000, 100),
    "1000 x 100, random walk": Case(1000, 100, noise="random walk"),
    "5000 x 10": Case(5000, 10),
    "1000 x 1, 7 seasons": Case(1000, 1, **WEEKLY),
    "1000 x 10, slope": Case(1000, 10, {"trend": "linear"}, {"state_model": "local_linear_trend"}),
}


def ours(case: Case, rows: NDArray[np.float64], options: Mapping[str, Any]) -> Callable[[], tuple[float, float, float]]:
    """Return a call of this package that gives the effect and its interval."""
    import causalbench as cb

    treated = np.zeros(rows.shape, dtype=bool)
    treated[0, case.n_pre :] = True
    units = tuple(f"unit {j:03d}" for j in range(len(rows)))
    panel = cb.Panel(outcome=rows, treated=treated, units=units, periods=tuple(range(case.n_periods)))

    def call() -> tuple[float, float, float]:
        found = cb.estimate(panel, "causal-impact", options={**case.ours, **options})
        return (found.value, *found.interval.segments[0])

    return call


def theirs(case: Case, rows: NDArray[np.float64]) -> Callable[[], tuple[float, float, float]]:
    """Return a call of the peer that gives the effect and its interval."""
    import pandas as pd
    from causal_impact import CausalImpact

    table = pd.DataFrame(rows.T, columns=["y", *(f"x{j}" for j in range(case.n_controls))])
    periods = [0, case.n_pre - 1], [case.n_pre, case.n_periods - 1]

    def call() -> tuple[float, float, float]:
        found = CausalImpact(table, *periods, model_args={"niter": 1000, **case.theirs}).summary_stats
        return tuple(found[name] for name in ("point_effect_mean", "ci_lower", "ci_upper"))

    return call


def measure(calls: Mapping[str, Callable[[], tuple[float, float, float]]]) -> dict[str, tuple[float, Any]]:
    """Return the smallest processor time of each call, and its answer."""
    found = {name: (np.inf, call()) for name, call in calls.items()}
    for _ in range(REPEATS):
        for name, call in calls.items():
            start = time.process_time()
            answer = call()
            found[name] = min(found[name], (time.process_time() - start, answer), key=lambda pair: pair[0])
    return found


def first_call(cache: str) -> float:
    """Return the processor time of the first call in a new process."""
    command = [sys.executable, __file__, "first"]
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout)


def main() -> None:
    """Measure every case and write the table."""
    with tempfile.TemporaryDirectory() as cache:
        compiled, loaded = first_call(cache), first_call(cache)
    lines = [
        "# Bayesian structural time series beside a Rust sampler",
        "",
        f"bsts-causalimpact {version('bsts-causalimpact')}; seconds of processor time for 1000 draws, smallest of",
        f"{REPEATS} calls; in brackets effect and interval. The very first call takes {compiled:.1f} s, most of",
        f"it compiling; in another process later {loaded:.1f} s, kernels being kept on disk.",
        "",
        '| periods x controls | default | `compat = "r"` | bsts-causalimpact | slower than it |',
        "|---|---:|---:|---:|---|",
    ]
    for name, case in CASES.items():
        rows = case.rows()
        calls = {"default": ours(case, rows, {}), "compat r": ours(case, rows, {"compat": "r"})}
        if case.ours.get("trend") == "linear":
            del calls["compat r"]
        found = measure({**calls, "peer": theirs(case, rows)})
        limit = found["peer"][0]
        lost = [way for way in calls if found[way][0] > limit]
        cells = [_cell(found.get(way)) for way in ("default", "compat r", "peer")]
        lines.append(f"| {name} | {' | '.join(cells)} | {', '.join(lost) or '-'} |")
        print(lines[-1], flush=True)
    (Path(__file__).parent / "results" / "bsts_peers.md").write_text("\n".join(lines) + "\n", "utf-8")


def _cell(found: tuple[float, Any] | None) -> str:
    if found is None:
        return ""
    seconds, (effect, lower, upper) = found
    return f"{seconds:.3f} ({effect:.2f}, {lower:.2f} to {upper:.2f})"


if __name__ == "__main__":
    if sys.argv[1:] == ["first"]:
        began = time.process_time()
        ours(CASES["100 x 1"], CASES["100 x 1"].rows(), {})()
        print(time.process_time() - began)
    else:
        main()
