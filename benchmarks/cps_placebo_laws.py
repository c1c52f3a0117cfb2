"""How often each inference of ``did`` finds an effect of laws that never were, in wages of 50 US states over 40 years.

``python benchmarks/cps_placebo_laws.py [draws] [draws of the resampling candidates]`` reads ``sc/synthdid_CPS.csv`` below
the folder that CAUSALBENCH_REFERENCE names and writes ``benchmarks/results/cps_placebo_laws.md``. In each draw a random
choice of states gets a law from a random year on, at least ten years from either end (Bertrand, Duflo, Mullainathan 2004).
"""

from __future__ import annotations

import math
import os
import platform
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.estimators.did import Did
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.numerics.covariance import t_p_value
from causalbench.values import rejects

TREATED = (25, 10, 5, 2, 1)
MARGIN = 10
LEVEL = 0.95
WALD = {"CRV1": Did(covariance="CRV1"), "CRV2": Did(covariance="CRV2"), "CRV3": Did(covariance="CRV3")}
RESAMPLED = ("wild", "bootstrap", "permutation")
Shares = dict[str, tuple[float, int]]


def wages() -> Panel:
    """Read log wages; the treatment is a stand-in that every draw replaces."""
    folder = os.environ.get("CAUSALBENCH_REFERENCE", "")
    table = pd.read_csv(Path(folder) / "sc" / "synthdid_CPS.csv", sep=";")
    first = min(table["state"])
    return Panel.from_table(table, unit="state", period="year", outcome="log_wage", treated=[first], start=2000)


def placebo_law(panel: Panel, n_treated: int, rng: np.random.Generator) -> Panel:
    """Give a law to a random choice of states from a random year on."""
    n_units, n_periods = panel.outcome.shape
    treated = np.isin(np.arange(n_units), rng.choice(n_units, n_treated, replace=False))
    year = rng.integers(MARGIN, n_periods - MARGIN + 1)
    return replace(panel, treated=treated[:, None] & (np.arange(n_periods) >= year))


def default_p_value(panel: Panel, rng: np.random.Generator) -> tuple[str, float]:
    """Return what ``did`` chooses by itself and its p-value; without the event study, whose bands don't enter it."""
    fit = replace(Did().fit(panel), event_study=None)
    name = Did().default_inference(panel)
    p_value = INFERENCES.create(name).infer(Did(), panel, fit, level=LEVEL, rng=rng).p_value
    return name, 1.0 if p_value is None else p_value


def wald_p_values(panel: Panel) -> dict[str, float]:
    """Return the p-value of each covariance, also where the inference ``cluster`` refuses."""
    found = {}
    for name, estimator in WALD.items():
        fit = estimator.fit(panel)
        if fit.covariance is not None:
            found[name] = t_p_value(fit.effect / math.sqrt(fit.covariance[0, 0]), fit.diagnostics["df"])
    return found


def resampled_p_values(panel: Panel, rng: np.random.Generator) -> dict[str, float]:
    """Return the p-value of each inference that draws, where it doesn't refuse."""
    found, fit = {}, replace(Did().fit(panel), event_study=None)
    for name in RESAMPLED:
        try:
            p_value = INFERENCES.create(name).infer(Did(), panel, fit, level=LEVEL, rng=rng).p_value
        except RefusalError:
            continue
        found[name] = 1.0 if p_value is None else p_value
    return found


def measure(panel: Panel, n_treated: int, *, n_draws: int, n_resampled: int) -> tuple[str, Shares]:
    """Return the default inference, and per inference the share of draws that reject no effect with their number."""
    rng, counts, chosen = np.random.default_rng([n_treated, 2004]), {}, set()
    for draw in range(n_draws):
        law = placebo_law(panel, n_treated, rng)
        name, p_value = default_p_value(law, rng)
        chosen.add(name)
        p_values = {"default": p_value, **wald_p_values(law)}
        p_values |= resampled_p_values(law, rng) if draw < n_resampled else {}
        for name, p_value in p_values.items():
            hits, total = counts.get(name, (0, 0))
            counts[name] = (hits + rejects(p_value, LEVEL), total + 1)
    return ", ".join(sorted(chosen)), {name: (hits / total, total) for name, (hits, total) in counts.items()}


def cell(shares: Shares, name: str) -> str:
    """Write a share with its Monte Carlo error, in percent."""
    if name not in shares:
        return "refused"
    share, n = shares[name]
    return f"{100 * share:.1f} ({100 * math.sqrt(share * (1 - share) / n):.1f})"


def main() -> None:
    """Measure and write the table."""
    n_draws, n_resampled = (*map(int, sys.argv[1:3]), *(5000, 500)[len(sys.argv[1:3]) :])
    columns = ["default", *WALD, *RESAMPLED]
    lines = [
        "# Placebo laws in US wages",
        "",
        "Rejections of a true null at nominal 5%, in percent, with Monte Carlo errors. Log wages of 50 states, 1979 to 2018;",
        "a random choice of states, a random first year with at least ten years on either side. `default` is what `did` does",
        f"when no inference is named: {n_draws} draws, as for the covariances; {n_resampled} for wild, bootstrap and",
        "permutation. The covariances are shown also where the inference `cluster` refuses (below 5).",
        f"Python {platform.python_version()}, numpy {np.__version__}.",
        "",
        f"| treated states | chosen by default | {' | '.join(columns)} |",
        f"|---:|---|{'---:|' * len(columns)}",
    ]
    panel = wages()
    for n_treated in TREATED:
        chosen, shares = measure(panel, n_treated, n_draws=n_draws, n_resampled=n_resampled)
        lines.append(f"| {n_treated} | {chosen} | {' | '.join(cell(shares, name) for name in columns)} |")
        print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    (Path(__file__).parent / "results" / "cps_placebo_laws.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
