"""Does the backtest choose well? The method with the smallest error before the launch, against the one that is best in truth.

``python benchmarks/backtest_choice.py [panels a family] [draws of a law]`` writes ``benchmarks/results/backtest_choice.md``. Each
panel has a law of its own (``launch_laws.py``), drawn from a family. The true error of a method under that law is measured on
fresh panels of the law; the backtest sees one panel, before its launch.
"""

from __future__ import annotations

import math
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from launch_laws import LAWS, panel_of
from scipy import optimize

from causalbench.calibration.backtest import Backtest, backtest
from causalbench.data.panel import Panel
from causalbench.data.simulate import single_launch_panel
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.values import FloatArray

METHODS = {
    "did": ESTIMATORS.create("did"),
    "synthetic-control": ESTIMATORS.create("synthetic-control"),
    "the same, unit effects": ESTIMATORS.create("synthetic-control", {"fixed_effects": "unit"}),
    "augmented": ESTIMATORS.create("augmented-synthetic-control"),
    "synthetic-did": ESTIMATORS.create("synthetic-did"),
    "time-based-regression": ESTIMATORS.create("time-based-regression"),
}
FAMILIES = (
    "parallel",
    "mixtures",
    "factors",
    "largest",
    "walks",
    "unit roots",
    "drifts",
    "seasons",
    "counts",
    "breaks",
    "regimes",
    "alike",
)
SIZES = ((31, 1, 180, 14), (40, 12, 90, 15), (50, 5, 40, 8), (24, 8, 104, 8), (20, 1, 60, 6))
"""Units, treated ones, periods before and after; panels of a family take turns in them."""

N_PLACEBOS, NEAR, LEVEL = 300, 1.1, 0.95
SPEED_METHODS = ("did", "synthetic-control", "augmented-synthetic-control", "synthetic-did")
RESULTS = Path(__file__).parent / "results" / "backtest_choice.md"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One panel: true root mean squared errors of all methods, what was chosen, and the error of the combination."""

    truth: FloatArray
    chosen: int
    combined: float

    @property
    def lost(self) -> float:
        """Error of the chosen method over that of the best."""
        return float(self.truth[self.chosen] / self.truth.min())


def effects(panel: Panel) -> list[float]:
    return [next(iter(method.fit_many(panel, panel.first_treated[None]))).effect for method in METHODS.values()]


def weights_of(found: Backtest) -> FloatArray:
    """Return weights, none negative and of sum one, with the least squared error over the placebos."""
    moments = found.covariance / np.trace(found.covariance)
    n = len(moments)
    solved = optimize.minimize(
        lambda w: w @ moments @ w,
        np.full(n, 1 / n),
        jac=lambda w: 2 * moments @ w,
        bounds=[(0.0, 1.0)] * n,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0},
        options={"ftol": 1e-12},
    )
    return np.clip(solved.x, 0.0, None) / np.clip(solved.x, 0.0, None).sum()


def measure(family: str, draw: int, n_truth: int) -> Case:
    n_units, n_treated, n_pre, n_post = SIZES[draw % len(SIZES)]
    rng = np.random.default_rng([draw, *family.encode()])
    law = LAWS[family](rng, n_units, n_pre + n_post)

    def fresh() -> Panel:
        return panel_of(law(rng), n_treated=n_treated, n_post=n_post)

    errors = np.array([effects(fresh()) for _ in range(n_truth)])
    found = backtest(fresh(), METHODS, duration=n_post, n_placebos=N_PLACEBOS, level=LEVEL, rng=rng)
    chosen = list(METHODS).index(found.best)
    combined = math.sqrt(float(((errors @ weights_of(found)) ** 2).mean()))
    return Case(truth=np.sqrt((errors**2).mean(axis=0)), chosen=chosen, combined=combined)


def family_row(family: str, cases: Sequence[Case]) -> str:
    """Write errors over the best method's, means over panels, and how often the choice was near the best."""
    over = np.array([case.truth / case.truth.min() for case in cases])
    cells = [family, *(f"{value:.2f}" for value in over.mean(axis=0))]
    cells += [f"{np.mean([case.lost for case in cases]):.2f}"]
    cells += [f"{np.mean([case.combined / case.truth.min() for case in cases]):.2f}"]
    cells += [f"{100 * np.mean([case.lost <= NEAR for case in cases]):.0f}"]
    return f"| {' | '.join(cells)} |"


def lower(chosen: FloatArray, fixed: FloatArray, rng: np.random.Generator) -> str:
    """Write by how much the mean is lower than that of the best fixed method, with a bootstrap error over panels."""

    def share(rows: np.ndarray) -> float:
        return float(1 - chosen[rows].mean() / fixed[rows].mean(axis=0).min())

    rows = np.arange(len(chosen))
    draws = [share(rng.choice(rows, len(rows))) for _ in range(500)]
    return f"{100 * share(rows):.1f}% ({100 * np.std(draws):.1f})"


def summary(cases: Sequence[Case]) -> list[str]:
    rng = np.random.default_rng(0)
    near = np.array([case.lost <= NEAR for case in cases])
    truth = np.array([case.truth for case in cases])
    best = truth.min(axis=1)
    chosen = np.array([case.truth[case.chosen] for case in cases])
    combined = np.array([case.combined for case in cases])
    error = math.sqrt(near.mean() * (1 - near.mean()) / len(near))
    names = list(METHODS)
    share = f"**{100 * near.mean():.1f}%** of {len(near)} panels (Monte Carlo error {100 * error:.1f})"
    lines = [f"- The choice is within 10% of the best method's error in {share}."]
    for unit, scale in (("in units of the best method's error", best), ("in units of the noise", np.ones_like(best))):
        fixed = truth / scale[:, None]
        means = fixed.mean(axis=0)
        lines.append(
            f"- Mean error {unit}: best fixed method {names[int(means.argmin())]} {means.min():.3f}; choice "
            f"{(chosen / scale).mean():.3f}, lower by {lower(chosen / scale, fixed, rng)}; combination "
            f"{(combined / scale).mean():.3f}, lower by {lower(combined / scale, fixed, rng)}; a choice that knew the truth "
            f"{(best / scale).mean():.3f}, lower by {lower(best / scale, fixed, rng)}."
        )
    return lines


def speed() -> str:
    """Time four methods on 500 placebos of 31 units, 180 + 14 days."""
    panel = single_launch_panel(seed=0)
    methods = {name: ESTIMATORS.create(name) for name in SPEED_METHODS}
    wall, cpu = [], []
    for _ in range(4):  # the first one compiles
        start, start_cpu = time.perf_counter(), time.process_time()
        found = backtest(panel, methods, duration=14, n_placebos=500, rng=np.random.default_rng(0))
        table = found.table
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    return (
        f"{len(table)} methods ({', '.join(SPEED_METHODS)}), {found.n_placebos} placebos, {len(panel.units)} x "
        f"{len(panel.periods)}, table included: {sorted(wall[1:])[1]:.1f} s wall, {min(cpu[1:]):.1f} s CPU."
    )


def main() -> None:
    """Measure and write the tables."""
    n_panels = int(sys.argv[1]) if len(sys.argv) > 1 else 17
    n_truth = int(sys.argv[2]) if len(sys.argv) > 2 else 80
    cases: list[Case] = []
    rows = []
    for family in FAMILIES:
        mine = [measure(family, draw, n_truth) for draw in range(n_panels)]
        cases += mine
        rows.append(family_row(family, mine))
        print(rows[-1], flush=True)
    sizes = "; ".join(f"{n_treated} of {n}, {pre} + {post}" for n, n_treated, pre, post in SIZES)
    lines = [
        "# Choosing a method by its backtest",
        "",
        f"{len(cases)} panels, each with a law of its own from {len(FAMILIES)} families; sizes in turn {sizes} (treated of all",
        f"units, periods before + after). True errors from {n_truth} fresh panels of the law. The backtest fits",
        f"{N_PLACEBOS} launches that never were, before the launch of one panel, and chooses the smallest root mean squared",
        "error. `combination`: weights, none negative and of sum one, with the least squared error over the placebos.",
        f"Python {platform.python_version()}, numpy {np.__version__}.",
        "",
        *summary(cases),
        "",
        "True errors in units of the best method's, means over panels; `near`: choices within 10% of the best, in percent.",
        "",
        f"| family | {' | '.join(METHODS)} | choice | combination | near |",
        f"|---|{'---:|' * (len(METHODS) + 3)}",
        *rows,
        "",
        "## Speed",
        "",
        f"{speed()} {os.cpu_count()} cores, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}.",
    ]
    print("\n".join(lines))
    RESULTS.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
