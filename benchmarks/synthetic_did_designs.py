"""Error and coverage of difference-in-differences, synthetic control and synthetic DiD where nothing happened.

``python benchmarks/synthetic_did_designs.py [draws]`` reads ``sc/synthdid_CPS.csv`` and ``sc/synthdid_PENN.csv`` below the
folder that CAUSALBENCH_REFERENCE names and writes ``benchmarks/results/synthetic_did_designs.md``: two designs of Arkhangelsky,
Athey, Hirshberg, Imbens, Wager (2021, Tables 2 to 4), next to what they published.
"""

from __future__ import annotations

import math
import os
import platform
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from causalbench.data.factor_design import FactorDesign
from causalbench.data.panel import Panel
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.inference.placebo import Placebo

METHODS = ("did", "synthetic-control", "synthetic-did")
MOST_TREATED, N_POST, LEVEL, NORMAL = 10, 10, 0.95, 1.959964
PUBLISHED_DRAWS = {"rmse": 1000, "coverage": 400}  # the authors' replication code
# File, unit, outcome and assignment; published root mean squared errors and coverage in the order of METHODS.
DESIGNS = {
    "CPS, minimum wage": (
        ("synthdid_CPS.csv", "state", "log_wage", "min_wage"),
        (0.049, 0.037, 0.028),
        (0.96, 0.88, 0.95),
    ),
    "Penn, democracy": (
        ("synthdid_PENN.csv", "country", "log_gdp", "dem"),
        (0.197, 0.038, 0.031),
        (0.79, 0.97, 0.98),
    ),
}


def design_of(file: str, unit: str, outcome: str, assignment: str) -> FactorDesign:
    """Fit a design; the units treated in the last year are those that the assignment is fitted to."""
    folder = os.environ.get("CAUSALBENCH_REFERENCE", "")
    table = pd.read_csv(Path(folder) / "sc" / file, sep=";")
    wide = table.pivot_table(index=unit, columns="year", values=[outcome, assignment])
    return FactorDesign.of(wide[outcome].to_numpy(), wide[assignment].iloc[:, -1].to_numpy() > 0)


def measure(panel: Panel, rng: np.random.Generator) -> dict[str, tuple[float, float, bool]]:
    """Return each method's estimate and standard error, and whether its interval holds no effect."""
    found = {}
    for name in METHODS:
        estimator = ESTIMATORS.create(name)
        fit = estimator.fit(panel)
        answer = Placebo().infer(estimator, panel, fit, level=LEVEL, rng=rng)
        # The published coverage is of normal intervals with the plain standard deviation of the placebos.
        plain = answer.std_error * math.sqrt((panel.n_control - 1) / panel.n_control)
        found[name] = (fit.effect, plain, answer.interval.contains(0.0))
    return found


def with_error(value: float, error: float) -> str:
    return f"{value:.3f} ({error:.3f})"


def distance(found: float, published: float, error: float, published_error: float) -> float:
    """Return how many Monte Carlo errors of their difference two measurements are apart."""
    return (found - published) / math.hypot(error, published_error)


def row(name: str, results: list[tuple[float, float, bool]], rmse: float, coverage: float) -> str:
    effects, errors, inside = (np.array(column) for column in zip(*results, strict=True))
    n, squares = len(effects), effects**2
    found = math.sqrt(squares.mean())
    error = float(squares.std()) / math.sqrt(n) / (2 * found)
    normal, own = float((np.abs(effects) <= NORMAL * errors).mean()), float(inside.mean())
    spread = math.sqrt(normal * (1 - normal) / n)
    published = math.sqrt(coverage * (1 - coverage) / PUBLISHED_DRAWS["coverage"])
    apart = (
        distance(found, rmse, error, error * math.sqrt(n / PUBLISHED_DRAWS["rmse"])),
        distance(normal, coverage, spread, published),
    )
    cells = [
        name,
        with_error(found, error),
        f"{rmse:.3f}",
        f"{apart[0]:+.1f}",
        with_error(normal, spread),
        f"{coverage:.2f}",
        f"{apart[1]:+.1f}",
        with_error(own, math.sqrt(own * (1 - own) / n)),
    ]
    return f"| {' | '.join(cells)} |"


def describe(design: FactorDesign) -> str:
    """Write the root mean squares of the design's parts, which the paper's Tables 2 and 3 list too."""
    additive, interactive = (math.sqrt((part**2).mean()) for part in (design.additive, design.signal - design.additive))
    noise, (first, second) = math.sqrt(np.diag(design.noise).mean()), design.autoregression
    parts = f"additive {additive:.3f}, interactive {interactive:.3f}, noise {noise:.3f}"
    return f"Root mean squares: {parts}; autoregression {first:.2f} and {second:.2f}."


def main() -> None:
    """Measure and write the table."""
    n_draws = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    lines = [
        "# Designs of the synthetic DiD paper",
        "",
        f"{n_draws} draws a design, 200 placebos each, at nominal 95%; Monte Carlo errors in brackets. Published: Arkhangelsky,",
        "Athey, Hirshberg, Imbens, Wager (2021), Tables 2 to 4, from 1,000 draws for errors and 400 for coverage. `apart` is the",
        "difference over its Monte Carlo error, of both sides. `coverage` is that of normal intervals with the plain standard",
        "deviation of the placebos, as published; `own coverage` that of the interval which `placebo` gives. Synthetic control",
        "has no ridge; the published one has a ridge of 1e-6 of the noise level and stops early.",
        f"Python {platform.python_version()}, numpy {np.__version__}.",
    ]
    for title, (source, rmse, coverage) in DESIGNS.items():
        design, rng = design_of(*source), np.random.default_rng(2021)
        draws = [measure(design.draw(most_treated=MOST_TREATED, n_post=N_POST, rng=rng), rng) for _ in range(n_draws)]
        lines += [
            "",
            f"## {title}",
            "",
            describe(design),
            "",
            "| method | rmse | published | apart | coverage | published | apart | own coverage |",
            "|---|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for i, name in enumerate(METHODS):
            lines.append(row(name, [draw[name] for draw in draws], rmse[i], coverage[i]))
            print(lines[-1], flush=True)
    (Path(__file__).parent / "results" / "synthetic_did_designs.md").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
