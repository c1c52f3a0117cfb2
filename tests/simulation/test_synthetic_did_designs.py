"""Error and coverage on the designs of the synthetic DiD paper, against what it published."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalbench.data.factor_design import FactorDesign
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.inference.placebo import Placebo

NORMAL = 1.959964
# Arkhangelsky, Athey, Hirshberg, Imbens, Wager (2021), Tables 2 to 4, and their replication code: sizes of the design's parts.
DESIGNS = {
    "CPS": ("synthdid_CPS.csv", "state", "log_wage", "min_wage", (0.992, 0.100, 0.098, 0.01, -0.06)),
    "Penn": ("synthdid_PENN.csv", "country", "log_gdp", "dem", (0.972, 0.229, 0.070, 0.91, -0.22)),
}
# Root mean squared error (1,000 draws) and coverage of normal intervals with placebo errors (400 draws), the same source.
PUBLISHED = {
    ("CPS", "did"): (0.049, 0.96),
    ("CPS", "synthetic-control"): (0.037, 0.88),
    ("CPS", "synthetic-did"): (0.028, 0.95),
    ("Penn", "did"): (0.197, 0.79),
    ("Penn", "synthetic-control"): (0.038, 0.97),
    ("Penn", "synthetic-did"): (0.031, 0.98),
}
RMSE_DRAWS, COVERAGE_DRAWS = 1000, 400


def fitted(reference: Path, name: str) -> FactorDesign:
    file, unit, outcome, assignment, _ = DESIGNS[name]
    table = pd.read_csv(reference / "sc" / file, sep=";")
    wide = table.pivot_table(index=unit, columns="year", values=[outcome, assignment])
    return FactorDesign.of(wide[outcome].to_numpy(), wide[assignment].iloc[:, -1].to_numpy() > 0)


@pytest.mark.parametrize("name", DESIGNS)
def test_parts_of_the_design_have_the_published_sizes(reference: Path, name: str) -> None:
    design = fitted(reference, name)
    found = [np.sqrt((part**2).mean()) for part in (design.additive, design.signal - design.additive)]
    found += [math.sqrt(np.diag(design.noise).mean()), *design.autoregression]
    assert found == pytest.approx(DESIGNS[name][-1], abs=6e-4)  # the table's three decimals


def monte_carlo_error(share: float, n_draws: int) -> float:
    return math.sqrt(share * (1 - share) / n_draws)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "method"), PUBLISHED)
def test_error_and_coverage_are_the_published_ones(reference: Path, name: str, method: str) -> None:
    n_draws, design, rng = 200, fitted(reference, name), np.random.default_rng(7)
    estimator, effects, errors = ESTIMATORS.create(method), [], []
    for _ in range(n_draws):
        panel = design.draw(most_treated=10, n_post=10, rng=rng)
        fit = estimator.fit(panel)
        std_error = Placebo(n_draws=100).infer(estimator, panel, fit, level=0.95, rng=rng).std_error
        assert std_error is not None
        effects.append(fit.effect)
        errors.append(std_error * math.sqrt((panel.n_control - 1) / panel.n_control))
    rmse, coverage = PUBLISHED[name, method]
    squares = np.square(effects)
    found, covered = math.sqrt(squares.mean()), float((np.abs(effects) <= NORMAL * np.array(errors)).mean())
    error = float(squares.std()) / (2 * found)
    assert found == pytest.approx(rmse, abs=3 * error * math.sqrt(1 / n_draws + 1 / RMSE_DRAWS))
    spread = math.hypot(monte_carlo_error(coverage, n_draws), monte_carlo_error(coverage, COVERAGE_DRAWS))
    assert covered == pytest.approx(coverage, abs=3 * spread)
