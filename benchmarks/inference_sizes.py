"""Size, power and width of every inference of the synthetic control family, where noise remembers its past.

``python benchmarks/inference_sizes.py`` runs it and writes ``benchmarks/results/inference_sizes.md``; the limits of
:mod:`causalbench.numerics.persistence` come from it. Draws are factor panels with AR(1) factors and noise of variance 1 and no
effect. Every interval moves along with a constant effect, so power at an effect of one is whether the interval leaves out
minus one. Refusals by persistence are lifted while measuring, and applied afterwards: the table shows the size that a test
would have, how often it is refused, and the share of all draws in which it both answers and rejects.
"""

from __future__ import annotations

import argparse
import itertools
import math
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import joblib
import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.errors import RefusalError
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.inference.prediction import ends_of_means
from causalbench.numerics import persistence
from causalbench.values import Fit, Interval, Uncertainty, rejects

LEVEL = 0.9
NOMINAL = 0.1
SHAPES = ((32, 8), (45, 15), (90, 15), (180, 14))
PERSISTENCE = (0.0, 0.5, 0.8)
N_UNITS = 12
METHODS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("synthetic-control", {}),
    ("synthetic-control", {"fixed_effects": "unit"}),
    ("synthetic-did", {}),
    ("causal-impact", {}),
)
CHOICES: dict[str, tuple[dict[str, Any], ...]] = {
    "conformal": ({}, {"scheme": "iid"}),
    "placebo-rank": ({}, {"statistic": "effect"}),
}
LIMIT_OF = {
    "conformal": "conformal, blocks",
    "conformal iid": "conformal, iid",
    "t-test": "t-test",
    "placebo-in-time": "placebo-in-time",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragePrediction:
    """Prediction intervals of the average effect, without the slow bands by period."""

    def infer(self, estimator: Any, data: Panel, fit: Fit, *, level: float, rng: Generator) -> Uncertainty:
        """Return what ``prediction`` returns, without bands."""
        ends = ends_of_means(estimator, data, fit, np.ones((1, data.n_post)), rng=rng)
        low, high = ends.at(1 - level)
        interval = Interval(segments=((float(low[0]), float(high[0])),), level=level, kind="confidence")
        return Uncertainty(interval=interval, p_value=ends.p_value())


def inferences(method: str) -> Iterator[tuple[str, Any]]:
    """Yield every inference of a method in every choice, under a name."""
    for name in ESTIMATORS.load(method).inferences:
        if name == "prediction":
            yield name, AveragePrediction()
            continue
        for choice in CHOICES.get(name, ({},)):
            yield " ".join([name, *map(str, choice.values())]), INFERENCES.create(name, choice)


def simulate(method: str, options: dict[str, Any], shape: tuple[int, int], rho: float, n_draws: int) -> dict[str, Any]:
    """Return by inference one row per draw: p-value, power, width and persistence."""
    (n_pre, n_post), estimator = shape, ESTIMATORS.create(method, options)
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    with patch.dict(persistence.LIMITS, dict.fromkeys(persistence.LIMITS, (1.0, 1.0))):
        for seed in range(n_draws):
            panel = factor_panel(
                n_units=N_UNITS, n_periods=n_pre + n_post, n_treated=1, n_post=n_post, effect=0.0, rho=rho, seed=seed
            )
            fit = estimator.fit(panel)
            for name, inference in inferences(method):
                try:
                    answer = inference.infer(estimator, panel, fit, level=LEVEL, rng=np.random.default_rng(seed))
                except RefusalError:
                    continue
                segments = answer.interval.segments
                # A posterior has no test: an interval without 0 takes the place of a rejection.
                tested = answer.p_value is not None
                row = (
                    float(rejects(answer.p_value, LEVEL) if tested else not answer.interval.contains(0.0)),
                    float(not answer.interval.contains(-1.0)),
                    segments[-1][1] - segments[0][0] if segments else 0.0,
                    float(answer.detail.get("persistence", math.nan)),
                )
                found.setdefault(name, []).append(row)
    return {name: np.array(rows) for name, rows in found.items()}


def summary(name: str, shape: tuple[int, int], draws: Any) -> dict[str, float]:
    """Apply the limit of a test, and average."""
    limit = persistence.persistence_limit(LIMIT_OF[name], *shape) if name in LIMIT_OF else math.inf
    refused = draws[:, 3] > limit
    answered = draws[~refused]
    return {
        "raw": float(draws[:, 0].mean()),
        "refused": float(refused.mean()),
        "size": float((draws[:, 0] * ~refused).mean()),
        "answered": float(answered[:, 0].mean()) if len(answered) else math.nan,
        "power": float(answered[:, 1].mean()) if len(answered) else math.nan,
        "width": float(np.median(answered[:, 2])) if len(answered) else math.nan,
    }


def shown(value: float, places: int) -> str:
    """Write a number, or nothing where every draw is refused."""
    return "" if math.isnan(value) else f"{value:.{places}f}"


def table(results: dict[Any, dict[str, Any]], n_draws: int) -> Iterator[str]:
    """Yield the lines of the table."""
    error = math.sqrt(NOMINAL * (1 - NOMINAL) / n_draws)
    allowed = NOMINAL + 0.01 + 2 * error
    heads = ("inference", "method", "T0 / T1", "autocorrelation", "size without refusal", "refused", "size")
    more = ("Monte Carlo error", "size of answered", "power at 1", "median width")
    yield f"| {' | '.join(heads + more)} |"
    yield "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    rows = []
    for (method, options, shape, rho), by_name in results.items():
        label = " ".join([method, *map(str, dict(options).values())])
        for name, draws in by_name.items():
            rows.append((name, label, shape, rho, summary(name, shape, draws)))
    order = {shape: i for i, shape in enumerate(SHAPES)}
    for name, label, shape, rho, row in sorted(rows, key=lambda r: (r[0], r[1], order[r[2]], r[3])):
        width = "unbounded" if math.isinf(row["width"]) else shown(row["width"], 2)
        mark = " (above)" if row["size"] > allowed else ""
        deviation = math.sqrt(row["size"] * (1 - row["size"]) / n_draws)
        yield (
            f"| {name} | {label} | {shape[0]} / {shape[1]} | {rho:g} | {row['raw']:.3f} | {row['refused']:.2f} "
            f"| {row['size']:.3f}{mark} | {deviation:.3f} | {shown(row['answered'], 3)} | {shown(row['power'], 2)} | {width} |"
        )


def measure(n_draws: int, n_jobs: int) -> dict[Any, dict[str, Any]]:
    """Simulate every cell."""
    tasks = [
        (method, options, shape, rho)
        for (method, options), shape, rho in itertools.product(METHODS, SHAPES, PERSISTENCE)
    ]
    cells = joblib.Parallel(n_jobs=n_jobs)(joblib.delayed(simulate)(*task, n_draws) for task in tasks)
    keys = [(method, tuple(options.items()), shape, rho) for method, options, shape, rho in tasks]
    return dict(zip(keys, cells, strict=True))


def write(results: dict[Any, dict[str, Any]], n_draws: int) -> None:
    """Write the table with what it means."""
    error = math.sqrt(NOMINAL * (1 - NOMINAL) / n_draws)
    lines = [
        "# Size of every inference of synthetic controls",
        "",
        f"Nominal {NOMINAL:.0%}, no effect; {n_draws} factor panels a row, {N_UNITS} units of which one is treated, three AR(1)",
        "factors and AR(1) noise of variance 1. Power is against an effect of one standard deviation of the noise; power and",
        "width are those of answered draws. Refused: the gap before the launch is too persistent for the test",
        "(`causalbench/numerics/persistence.py`). Size: share of all draws in which the test answers and rejects; at most",
        f"{NOMINAL + 0.01:.2f} + 2 x {error:.4f} = {NOMINAL + 0.01 + 2 * error:.3f} is allowed, and `(above)` marks the rest.",
        "Ranks among 11 placebos attain 1/12 = .083, not .1. `jackknife` and `unit-bootstrap` refuse one treated unit.",
        f"Python {platform.python_version()}; `python benchmarks/inference_sizes.py`.",
        "",
        *table(results, n_draws),
    ]
    (Path(__file__).parent / "results" / "inference_sizes.md").write_text("\n".join(lines) + "\n", "utf-8")


def main() -> None:
    """Simulate every cell and write the table."""
    parser = argparse.ArgumentParser(description="Size, power and width of every inference of synthetic controls.")
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    write(measure(arguments.draws, arguments.jobs), arguments.draws)


if __name__ == "__main__":
    main()
