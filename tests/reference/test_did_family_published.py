"""Differences in differences with several launch dates: numbers that others published or computed, with their source."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalbench.data.datasets import study_path
from causalbench.data.panel import Panel
from causalbench.estimators import Did, ExtendedTwoWay, Imputation, Stacked, SunAbraham, TripleDifferences
from causalbench.values import Fit


def std_error(fit: Fit) -> float:
    assert fit.covariance is not None
    return math.sqrt(fit.covariance[0, 0])


@pytest.fixture(scope="module")
def staggered(reference: Path) -> pd.DataFrame:
    """fixest's ``base_stagg``; units never treated carry the year 10000."""
    table = pd.read_csv(reference / "did" / "base_stagg.csv")
    return table.assign(launch=table["year_treated"].where(table["year_treated"] < 10000))


@pytest.fixture(scope="module")
def heterogeneous(reference: Path) -> Panel:
    """did2s's ``df_het``: 1500 units of 40 states in 31 years, launches in 2000 and 2010."""
    table = pd.read_parquet(reference / "did" / "df_het.parquet")
    return Panel.from_table(table, unit="unit", period="year", outcome="dep_var", cohort="g", cluster="state")


@pytest.fixture(scope="module")
def mpdta() -> pd.DataFrame:
    return pd.read_csv(study_path("mpdta").parent / "mpdta.csv")


def teens(table: pd.DataFrame, covariates: tuple[str, ...] = ()) -> Panel:
    return Panel.from_table(
        table, unit="countyreal", period="year", outcome="lemp", cohort="first.treat", covariates=covariates
    )


def test_sun_abraham_with_a_covariate(staggered: pd.DataFrame) -> None:
    panel = Panel.from_table(staggered, unit="id", period="year", outcome="y", cohort="launch", covariates=["x1"])
    fit = SunAbraham().fit(panel)
    assert fit.effect == pytest.approx(-1.133749, abs=1e-5)  # fixest, sunab on base_stagg with x1, id and year: ATT
    assert fit.diagnostics["covariates"]["x1"] == pytest.approx(0.994678, abs=1e-5)  # the same regression


FIXEST_LEADS = {  # fixest issue 287, the maintainer's output of sunab on base_stagg, clustered by id
    -9: (2.343297, 1.122482),
    -8: (-0.866391, 1.186767),
    -7: (-0.345837, 0.713641),
    -6: (-0.471113, 0.731894),
    -5: (-0.796544, 0.527162),
    -4: (-0.280033, 0.429222),
    -3: (-0.315766, 0.528401),
    -2: (0.241325, 0.457825),
}


def test_sun_abraham_leads_and_their_clustered_errors(staggered: pd.DataFrame) -> None:
    panel = Panel.from_table(staggered, unit="id", period="year", outcome="y", cohort="launch")
    study = SunAbraham().fit(panel).event_study
    assert study is not None
    assert study.event_times[: study.n_leads].tolist() == list(FIXEST_LEADS)
    np.testing.assert_allclose(study.values[: study.n_leads], [value for value, _ in FIXEST_LEADS.values()], atol=1e-6)
    np.testing.assert_allclose(
        study.std_errors[: study.n_leads], [error for _, error in FIXEST_LEADS.values()], atol=1e-6
    )


def test_imputation_with_unit_effects(heterogeneous: Panel) -> None:
    fit = Imputation().fit(heterogeneous)
    assert fit.effect == pytest.approx(2.2304816, abs=1e-6)  # didimputation on df_het, unit and year effects


def test_two_stage_with_state_effects(heterogeneous: Panel) -> None:
    fit = Imputation(fixed_effects="cluster", variance="two_stage").fit(heterogeneous)
    assert fit.effect == pytest.approx(2.152214, abs=1e-6)  # did2s on df_het, state and year effects
    assert std_error(fit) == pytest.approx(0.047607, abs=1e-6)  # the same, clustered by state


def test_card_krueger_full_time_equivalents(reference: Path) -> None:
    table = pd.read_csv(reference / "did" / "card_krueger.csv").dropna(subset="fte")
    table = table[table.groupby("id")["d"].transform("nunique") == 2].assign(treated=lambda t: t["nj"] * t["d"])
    panel = Panel.from_table(table, unit="id", period="d", outcome="fte", treatment="treated")
    assert len(panel.units) == 384  # Angrist, Pischke (2009), table 5.2.1, balanced sample of stores
    fit = Did(covariance="CRV2").fit(panel)
    assert fit.effect == pytest.approx(2.75, abs=1e-9)  # MHE archive, balanced sample
    # MHE archive: 1.3423, the unequal-variances error of a difference of mean changes, which CRV2 is in two periods.
    assert std_error(fit) == pytest.approx(1.3423, abs=5e-5)


@pytest.mark.parametrize("method", [Imputation(), SunAbraham(), ExtendedTwoWay(), Stacked()], ids=repr)
def test_card_krueger_with_every_method_of_a_phased_rollout(reference: Path, method: Imputation) -> None:
    table = pd.read_csv(reference / "did" / "card_krueger.csv").dropna(subset="fte")
    table = table[table.groupby("id")["d"].transform("nunique") == 2].assign(treated=lambda t: t["nj"] * t["d"])
    panel = Panel.from_table(table, unit="id", period="d", outcome="fte", treatment="treated")
    assert method.fit(panel).effect == pytest.approx(2.75, abs=1e-9)  # MHE archive, balanced sample


def test_stacked_on_county_employment(mpdta: pd.DataFrame) -> None:
    short = Stacked(leads=1, lags=0).fit(teens(mpdta))
    assert short.effect == pytest.approx(-0.01892219908342, abs=1e-11)  # diff-diff 3.13.0, StackedDiD(1, 0)
    wide = Stacked(leads=2, lags=1).fit(teens(mpdta))
    assert wide.effect == pytest.approx(-0.02290953924953, abs=1e-11)  # diff-diff 3.13.0, StackedDiD(2, 1)
    assert wide.event_study is not None
    # diff-diff 3.13.0, StackedDiD(2, 1), event times -2, 0, 1
    np.testing.assert_allclose(
        wide.event_study.values, [0.00275081875053, -0.00459460695286, -0.04122447154621], atol=1e-11
    )


def test_extended_two_way_on_county_employment(mpdta: pd.DataFrame) -> None:
    fit = ExtendedTwoWay().fit(teens(mpdta))
    assert fit.effect == pytest.approx(-0.04770991827845, abs=1e-11)  # diff-diff 3.13.0, WooldridgeDiD
    cells = [row["value"] for row in fit.diagnostics["group_time"]]
    expected = [  # diff-diff 3.13.0, WooldridgeDiD, cohorts 2004, 2006, 2007 by year
        -0.0193723636759,
        -0.0783190990621,
        -0.1360781144403,
        -0.1047074715766,
        0.0025138619419,
        -0.0391927355917,
        -0.0431060328087,
    ]
    np.testing.assert_allclose(cells, expected, atol=1e-11)
    with_size = ExtendedTwoWay().fit(teens(mpdta, ("lpop",)))
    assert with_size.effect == pytest.approx(
        -0.050627033122897, abs=1e-11
    )  # diff-diff 3.13.0, WooldridgeDiD, xtvar lpop


def test_imputation_on_county_employment(mpdta: pd.DataFrame) -> None:
    fit = Imputation().fit(teens(mpdta))
    assert fit.effect == pytest.approx(-0.047709918278, abs=1e-9)  # diff-diff 3.13.0, ImputationDiD
    assert std_error(fit) == pytest.approx(0.013222488650, abs=1e-9)  # the same, conservative by cohort and period


def test_sun_abraham_on_county_employment(mpdta: pd.DataFrame) -> None:
    study = SunAbraham().fit(teens(mpdta)).event_study
    assert study is not None
    # pyfixest 0.60.0, estimator "saturated", aggregated by share, event times -4 to -2 and 0 to 3
    expected = [0.003306, 0.025022, 0.024459, -0.019932, -0.050957, -0.137259, -0.100811]
    np.testing.assert_allclose(study.values, expected, atol=1e-6)


def test_triple_differences_on_a_simulated_table() -> None:
    rng = np.random.default_rng(5)
    rows = []
    for i in range(120):
        launch, eligible, level = (4, 5, 0)[i % 3], (i // 3) % 2, rng.normal()
        for t in range(1, 8):
            effect = (1 + 0.5 * (t - launch)) * (launch > 0) * (t >= launch) * eligible
            trend = 0.3 * t * eligible + 0.2 * t * (launch > 0)
            rows.append((f"{i:03d}", t, launch, eligible, round(level + trend + effect + rng.normal(), 3)))
    table = pd.DataFrame(rows, columns=["unit", "period", "launch", "eligible", "outcome"])
    panel = Panel.from_table(
        table, unit="unit", period="period", outcome="outcome", cohort="launch", covariates=["eligible"]
    )
    fit = TripleDifferences(partition="eligible").fit(panel)
    # diff-diff 3.13.0, StaggeredTripleDifference with never-treated controls and regression: average, then cells
    assert fit.effect == pytest.approx(2.40405, abs=1e-10)
    expected = [1.9539, 2.65315, 2.55385, 3.4738, 1.9571, 2.2004, 2.03615]
    np.testing.assert_allclose([row["value"] for row in fit.diagnostics["group_time"]], expected, atol=1e-10)
