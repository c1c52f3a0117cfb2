"""Laws that never were, in wages of US states: the default of ``did`` must not find their effects, however few the states."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalbench.data.panel import Panel
from causalbench.estimators import Did
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.numerics.covariance import t_p_value
from causalbench.values import rejects

LEVEL = 0.95
MOST = 0.06
MARGIN = 10


@pytest.fixture(scope="module")
def wages(reference: Path) -> Panel:
    table = pd.read_csv(reference / "sc" / "synthdid_CPS.csv", sep=";")
    return Panel.from_table(table, unit="state", period="year", outcome="log_wage", treated=["AK"], start=2000)


def placebo_law(panel: Panel, n_treated: int, rng: np.random.Generator) -> Panel:
    """Give a law to a random choice of states from a random year on."""
    n_units, n_periods = panel.outcome.shape
    treated = np.isin(np.arange(n_units), rng.choice(n_units, n_treated, replace=False))
    return replace(
        panel, treated=treated[:, None] & (np.arange(n_periods) >= rng.integers(MARGIN, n_periods - MARGIN + 1))
    )


def default_p_value(panel: Panel, rng: np.random.Generator) -> float:
    fit = replace(Did().fit(panel), event_study=None)  # its bands don't enter the p-value
    inference = INFERENCES.create(Did().default_inference(panel))
    p_value = inference.infer(Did(), panel, fit, level=LEVEL, rng=rng).p_value
    assert p_value is not None
    return float(p_value)


@pytest.mark.slow
@pytest.mark.parametrize("n_treated", [25, 10, 5, 2, 1])
def test_default_inference_keeps_its_size_on_placebo_laws(wages: Panel, n_treated: int) -> None:
    n_draws, rng = 1000, np.random.default_rng([n_treated, 1])
    p_values = [default_p_value(placebo_law(wages, n_treated, rng), rng) for _ in range(n_draws)]
    size = float(np.mean([rejects(p, LEVEL) for p in p_values]))
    assert size <= MOST + 2 * math.sqrt(MOST * (1 - MOST) / n_draws), f"size {size} over {n_draws} draws"


@pytest.mark.slow
def test_unadjusted_errors_find_laws_of_few_states_that_never_were(wages: Panel) -> None:
    # The reason for the refusal: two treated states, CRV1 on G - 1 degrees of freedom.
    rng, found = np.random.default_rng(3), []
    for _ in range(500):
        fit = Did(convention="fixest").fit(placebo_law(wages, 2, rng))
        assert fit.covariance is not None
        found.append(rejects(t_p_value(fit.effect / math.sqrt(fit.covariance[0, 0]), fit.diagnostics["df"]), LEVEL))
    assert np.mean(found) > 0.2
