"""Thresholds of the advice that the table of methods only proposes, by simulation: where each method starts to hold.

Run ``python benchmarks/method_thresholds.py [draws]``; writes ``benchmarks/results/method_thresholds.md``.
"""

from __future__ import annotations

import itertools
import math
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from causalbench.data.cross_section import CrossSection
from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.errors import CausalbenchError
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.values import rejects
from causalbench.workflow.comparison import answer_cross_section
from causalbench.workflow.estimate import estimate

RESULTS = Path(__file__).parent / "results" / "method_thresholds.md"
LEVEL = 0.95
WEIGHING = (
    ("synthetic-did", {}),
    ("augmented-synthetic-control", {}),
    ("synthetic-control", {"fixed_effects": "unit"}),
)


def share(hits: list[bool]) -> str:
    """Write a share in percent with its Monte Carlo error."""
    p = float(np.mean(hits))
    return f"{100 * p:.1f} ({100 * math.sqrt(p * (1 - p) / len(hits)):.1f})"


def controls_of_did(n: int) -> Iterator[str]:
    """Yield size of DiD with clustered errors by numbers of treated and control units."""
    for n_treated in (5, 12):
        for n_control in (3, 5, 7, 10, 20):
            found, refused = [], 0
            for seed in range(n):
                panel = factor_panel(
                    n_units=n_treated + n_control,
                    n_periods=16,
                    n_treated=n_treated,
                    n_post=6,
                    effect=0.0,
                    rho=0.5,
                    seed=seed,
                )
                try:
                    answer = estimate(panel, "did", inference="cluster", level=LEVEL)
                except CausalbenchError:
                    refused += 1
                    continue
                found.append(bool(answer.p_value is not None and rejects(answer.p_value, LEVEL)))
            told = share(found) if found else "refused"
            yield f"| {n_treated} | {n_control} | {told} | {refused} |"


def errors_of_weights(n: int) -> Iterator[str]:
    """Yield root mean square errors of methods that weigh controls over that of DiD, by history and treated units."""
    for n_treated in (1, 3, 9, 15):
        for n_pre in (5, 10, 20, 40):
            errors: dict[str, list[float]] = {}
            for seed in range(n):
                panel = factor_panel(
                    n_units=n_treated + 30,
                    n_periods=n_pre + 6,
                    n_treated=n_treated,
                    n_post=6,
                    effect=0.0,
                    rho=0.5,
                    seed=seed,
                )
                for method, options in (("did", {}), *WEIGHING):
                    name = "-".join([method, *options.values()])
                    errors.setdefault(name, []).append(effect_of(panel, method, options))
            size = {name: math.sqrt(float(np.mean(np.square(values)))) for name, values in errors.items()}
            told = " | ".join(f"{size[name] / size['did']:.2f}" for name in size if name != "did")
            yield f"| {n_treated} | {n_pre} | {size['did']:.2f} | {told} |"


def effect_of(panel: Panel, method: str, options: dict[str, str]) -> float:
    """Return the effect alone, without inference."""
    return float(ESTIMATORS.create(method, options).fit(panel).effect)


def history_of_series(n: int) -> Iterator[str]:
    """Yield coverage and width of a structural time series with three controls, by its history."""
    for rho in (0.5, 0.8):
        for n_pre in (15, 30, 60, 120):
            hits, widths = [], []
            for seed in range(n):
                panel = factor_panel(
                    n_units=4, n_periods=n_pre + 8, n_treated=1, n_post=8, effect=0.0, rho=rho, seed=seed
                )
                interval = estimate(panel, "causal-impact", level=LEVEL, options={"draws": 400}).interval
                if interval is not None and interval.lower is not None and interval.upper is not None:
                    hits.append(interval.contains(0.0))
                    widths.append(interval.upper - interval.lower)
            yield f"| {rho} | {n_pre} | {share(hits)} | {np.median(widths):.2f} |"


def effective_controls(n: int) -> Iterator[str]:
    """Yield coverage of doubly robust changes by the effective number of controls, over strengths of selection."""
    rows = []
    for strength in (0.5, 1.0, 1.5, 2.0):
        for n_units in (60, 150, 400):
            for seed in range(n):
                people = drawn_people(seed, n_units, strength)
                try:
                    answer = answer_cross_section(
                        people, "adjustment", options={"method": "dr-did"}, inference="influence", level=LEVEL
                    ).estimate
                except CausalbenchError:
                    continue
                if answer.interval is not None:
                    rows.append((float(answer.detail["ess_control"]), answer.interval.contains(0.0)))
    found = np.array(rows)
    edges = (0, 10, 20, 30, 50, 100, np.inf)
    for low, high in itertools.pairwise(edges):
        hits = found[(found[:, 0] >= low) & (found[:, 0] < high), 1] == 1
        if len(hits) >= 20:
            yield f"| {low:g} to {high:g} | {share(hits.tolist())} | {len(hits)} |"


def drawn_people(seed: int, n: int, strength: float) -> CrossSection:
    """Draw people whose two covariates drive treatment and growth; no effect."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    taken = rng.random(n) < 1 / (1 + np.exp(1 - strength * x.sum(axis=1)))
    if not 5 <= taken.sum() <= n - 5:
        taken = np.arange(n) % 2 == 0
    before = rng.normal(size=n)
    after = before + x.sum(axis=1) + rng.normal(size=n)
    return CrossSection(outcome=after, treatment=taken, covariates=x, names=("a", "b"), before=before)


def main(n: int) -> None:
    """Measure and write the page."""
    lines = [
        "# Thresholds of the advice",
        "",
        f"{n} draws a cell of the first table, {n // 3} of the others, of a factor model with three AR(1) factors and noise",
        "of variance 1 (autocorrelation .5 where none is named), no effect, nominal 95%; Monte Carlo errors in brackets.",
        f"Python {platform.python_version()}; `python benchmarks/method_thresholds.py`.",
    ]
    parts = (
        (
            "Controls of DiD with clustered errors (row 6)",
            "| treated | controls | rejected, % | refused |",
            controls_of_did,
            4,
        ),
        (
            "Errors over those of DiD (row 7), 30 controls",
            "| treated | periods before | RMSE of did | synthetic-did | augmented | demeaned synthetic control |",
            errors_of_weights,
            6,
        ),
        (
            "History of a structural time series with three controls (row 9)",
            "| autocorrelation | periods before | coverage, % | median width |",
            history_of_series,
            4,
        ),
        (
            "Effective controls of doubly robust changes (row 11)",
            "| effective controls | coverage, % | draws |",
            effective_controls,
            3,
        ),
    )
    for title, head, measure, n_columns in parts:
        print(title, flush=True)
        rows = []
        for row in measure(n if measure is controls_of_did else n // 3):
            rows.append(row)
            print(row, flush=True)
        lines += ["", f"## {title}", "", head, "|" + "---|" * n_columns, *rows]
    RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
