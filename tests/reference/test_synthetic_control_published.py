"""Synthetic controls with predictors, on the data and against the numbers of others; each with its source on the line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalbench.data.panel import Panel
from causalbench.estimators import SyntheticControl
from causalbench.estimators._predictors import predictors_of
from causalbench.numerics.simplex import solve_simplex
from causalbench.values import Estimate, Fit
from causalbench.workflow.estimate import estimate

# Abadie, Diamond, Hainmueller (2010), table 1: covariates averaged 1980-88, sales in 1975, 1980 and 1988.
ADH = {"match": "predictors", "predictor_window": [1980, 1988], "outcome_lags": "1975,1980,1988"}
ADH_WEIGHTS = {"Utah": 0.335, "Nevada": 0.236, "Montana": 0.202, "Colorado": 0.160, "Connecticut": 0.068}
# Synth's and MSCMT's Basque examples: predictors over 1960-69 where they have values, gaps of 1960-69 minimised.
BASQUE = SyntheticControl(
    match="predictors", predictor_window=(1960, 1969), outcome_lags=("1960..1969",), fit_window=(1960, 1969)
)
SCHOOLS = ["school.illit", "school.prim", "school.med", "school.high", "school.post.high"]
SECTORS = [
    "sec.agriculture",
    "sec.energy",
    "sec.industry",
    "sec.construction",
    "sec.services.venta",
    "sec.services.nonventa",
]


@pytest.fixture(scope="module")
def adh(reference: Path) -> Estimate:
    table = pd.read_csv(reference / "sc" / "prop99_adh_predictors.csv")
    panel = Panel.from_table(
        table,
        unit="state",
        period="year",
        outcome="cigsale",
        treatment="Proposition 99",
        covariates=["loginc", "p_cig", "pct15-24", "pc_beer"],
    )
    return estimate(panel, "synthetic-control", inference="placebo-rank", options=ADH)


@pytest.mark.parametrize(("state", "weight"), ADH_WEIGHTS.items())
def test_prop99_weight_at_the_nested_optimum(adh: Estimate, state: str, weight: float) -> None:
    assert adh.weights is not None
    assert adh.weights[state] == pytest.approx(weight, abs=5e-4)  # nested optimum; ADH (2010), table 2 within .002


def test_prop99_fit_and_effect_at_the_nested_optimum(adh: Estimate) -> None:
    assert adh.detail["pre_mspe"] == pytest.approx(3.0767, abs=5e-5)  # nested optimum; ADH's printed weights: 3.0892
    assert adh.value == pytest.approx(-18.98, abs=5e-3)  # average gap 1989-2000 at the nested optimum
    assert adh.detail["duality_gap"] <= 1e-8
    assert adh.detail["fit_mspe_bound"] == pytest.approx(52.12957 / 19, abs=1e-5)  # outcome-only optimum, 19 years


def test_prop99_rank_at_the_nested_optimum(adh: Estimate) -> None:
    assert adh.detail["rank"] == 1  # ADH (2010), section 3.4: California's ratio is the largest of 39
    assert adh.p_value == pytest.approx(1 / 39, abs=1e-12)  # ADH (2010), section 3.4: 1/39 = .026
    assert adh.detail["rmspe_ratio"] ** 2 == pytest.approx(129, abs=0.5)  # about 130 in ADH (2010), figure 8


def basque_panel(reference: Path, *, as_shares: bool) -> Panel:
    table = pd.read_csv(reference / "sc" / "basque_synth_R.csv")
    table = table[table["regionno"] != 1].astype({"regionno": int, "year": int})  # 1 is Spain as a whole
    schools = SCHOOLS
    if as_shares:
        everybody = table.groupby("regionname")[SCHOOLS].sum().sum(axis=1)
        schools = [*SCHOOLS[:3], "school.higher"]
        table["school.higher"] = table["school.high"] + table["school.post.high"]
        table[schools] = 600 * table[schools].div(table["regionname"].map(everybody), axis=0)
    table["terror"] = ((table["regionno"] == 17) & (table["year"] >= 1970)).astype(int)
    return Panel.from_table(
        table,
        unit="regionname",
        period="year",
        outcome="gdpcap",
        treatment="terror",
        covariates=[*schools, "invest", *SECTORS, "popdens"],
    )


def named(panel: Panel, fit: Fit) -> dict[str, float]:
    assert fit.weights is not None
    return dict(zip(panel.units, fit.weights.tolist(), strict=True))


def test_basque_of_mscmt(reference: Path) -> None:
    panel = basque_panel(reference, as_shares=True)
    fit = BASQUE.fit(panel)
    assert fit.diagnostics["fit_mspe"] == pytest.approx(0.004286071, abs=2e-9)  # MSCMT's loss.v on its Basque vignette
    years = np.isin(panel.periods, range(1970, 1991))
    assert fit.path.effect[years].mean() == pytest.approx(-0.770963, abs=1e-4)  # MSCMT's did(), average.post 1970-90
    weights = named(panel, fit)
    assert weights["Cataluna"] == pytest.approx(0.632794, abs=1e-4)  # MSCMT's w on its Basque vignette


# solution.v that Synth's Basque example prints (BFGS, MSPE 0.008864606)
SYNTH_V = [0.02773094, 1.194e-07, 1.60609e-05, 0.0007163836, 1.486e-07, 0.002423908, 0.0587055, 0.2651997, 0.02851006]
SYNTH_V += [0.291276, 0.007994382, 0.004053188, 0.009398579, 0.303975]


def test_basque_of_synth_at_its_own_importance(reference: Path) -> None:
    panel = basque_panel(reference, as_shares=False)
    found = predictors_of(panel, panel.outcome, 15, window=(1960, 1969), lags=("1960..1969",))
    # Synth's order: schools, investment, income, sectors, density.
    order = [*range(6), len(found.names) - 1, *range(6, len(found.names) - 1)]
    scaled = found.values[:, order] * np.sqrt(SYNTH_V)
    donors, own = scaled[~panel.ever_treated], scaled[panel.ever_treated][0]
    donors = donors - own
    weights = solve_simplex(donors @ donors.T, np.zeros((1, len(donors))), np.zeros(1)).weights[0]
    names = dict(zip(panel.donor_pool, weights, strict=True))
    assert names["Cataluna"] == pytest.approx(0.8508145, abs=2e-5)  # solution.w of Synth's Basque example
    assert names["Madrid (Comunidad De)"] == pytest.approx(0.1491843, abs=2e-5)  # solution.w of Synth's Basque example


def test_basque_of_synth_is_a_local_optimum(reference: Path) -> None:
    fit = BASQUE.fit(basque_panel(reference, as_shares=False))
    assert fit.diagnostics["fit_mspe"] < 0.008864606 / 2  # MSPE (LOSS V) of Synth's Basque example
    # No weights at all do better, so this is the outer optimum too.
    assert fit.diagnostics["fit_mspe"] == pytest.approx(fit.diagnostics["fit_mspe_bound"], rel=1e-6)
