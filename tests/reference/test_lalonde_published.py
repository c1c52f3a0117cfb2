"""LaLonde's data: an experiment whose answer is known, and comparison groups that weren't in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalbench.data.cross_section import CrossSection
from causalbench.estimators.adjustment import Adjustment
from causalbench.numerics.matching import matched_effect
from causalbench.values import Estimate
from causalbench.workflow.estimate import estimate

PEOPLE = ["age", "education", "black", "hispanic", "married", "nodegree"]
EARNED = [*PEOPLE, "re74", "re75"]
EVERYTHING = [*EARNED, "u74", "u75"]


def read(reference: Path, controls: str | None = None) -> pd.DataFrame:
    """Return the Dehejia-Wahba sample, or its treated beside survey controls, with whether one earned nothing."""
    folder = reference / "dag" / "lalonde"
    table = pd.read_csv(folder / "nsw_dw.csv")
    if controls is not None:
        table = pd.concat(
            [table[table.treat == 1], pd.read_csv(folder / f"{controls}_controls.csv")], ignore_index=True
        )
    return table.assign(u74=(table.re74 == 0).astype(int), u75=(table.re75 == 0).astype(int))


def answer(table: pd.DataFrame, covariates: list[str], outcome: str = "re78", **options: object) -> Estimate:
    people = CrossSection.from_table(table, outcome=outcome, treatment="treat", covariates=covariates)
    return estimate(people, "adjustment", options=options)


def test_experiment_is_the_difference_of_means_with_neyman_s_error(reference: Path) -> None:
    found = answer(read(reference), [], method="regression")
    assert found.value == pytest.approx(1794.34, abs=5e-3)  # Dehejia, Wahba 1999, table 1: 1,794
    assert found.std_error == pytest.approx(671.0, abs=0.05)  # MANIFEST dag/lalonde: Neyman's
    assert found.std_error == pytest.approx(answer(read(reference), []).std_error, rel=5e-3)


def test_homoskedastic_error_of_the_experiment(reference: Path) -> None:
    linearmodels = pytest.importorskip("linearmodels")
    table = read(reference)
    fit = linearmodels.OLS(table.re78, table[["treat"]].assign(one=1.0)).fit(cov_type="unadjusted", debiased=True)
    assert fit.std_errors["treat"] == pytest.approx(632.85, abs=5e-3)  # MANIFEST dag/lalonde: homoskedastic
    assert fit.params["treat"] == pytest.approx(answer(table, [], method="regression").value, rel=1e-12)


def test_adjusted_experiment(reference: Path) -> None:
    # Regression on all eight covariates and age squared; MANIFEST dag/lalonde: 1675.86, homoskedastic error 639.34.
    found = answer(read(reference), EARNED, method="regression", slopes="common", squares=("age",))
    assert found.value == pytest.approx(1675.86, abs=5e-3)
    assert found.std_error == pytest.approx(677.12, abs=5e-3)  # HC2, statsmodels 0.15 OLS(cov_type="HC2")


@pytest.mark.parametrize(
    ("controls", "naive", "regression", "std_error"),  # computed_estimates.json of dag/lalonde: diff_means, ols10
    [("psid", -15204.8, 4.2, 856.7), ("cps", -8497.5, 1066.4, 628.4)],
)
def test_survey_controls_by_means_and_regression(
    reference: Path, controls: str, naive: float, regression: float, std_error: float
) -> None:
    table = read(reference, controls)
    assert answer(table, [], method="regression").value == pytest.approx(naive, abs=0.05)
    found = answer(table, EVERYTHING, method="regression", slopes="common")
    assert (found.value, found.std_error) == (pytest.approx(regression, abs=0.05), pytest.approx(std_error, abs=0.05))


@pytest.mark.parametrize(
    ("controls", "aipw", "ipw", "imputed", "effective"),  # computed_estimates.json of dag/lalonde
    [("psid", 3088.6, 2791.2, 687.8, 9.7), ("cps", 1487.8, 1377.9, 1133.3, 258.9)],
)
def test_survey_controls_weighted(
    reference: Path, controls: str, aipw: float, ipw: float, imputed: float, effective: float
) -> None:
    # The published fits end a little off the likeliest logit: at its optimum 3090.2, 2796.2 and 1488.9, 1377.1.
    table = read(reference, controls)
    found = answer(table, EVERYTHING)
    assert found.value == pytest.approx(aipw, rel=1e-3)
    assert found.detail["ess_control"] == pytest.approx(effective, rel=3e-3)
    assert answer(table, EVERYTHING, method="ipw").value == pytest.approx(ipw, rel=2e-3)
    assert answer(table, EVERYTHING, method="regression").value == pytest.approx(imputed, abs=0.05)


def test_effective_controls_without_the_unemployed_columns(reference: Path) -> None:
    found = answer(read(reference, "psid"), EARNED)
    assert found.detail["ess_control"] == pytest.approx(42.6, abs=0.05)  # MANIFEST dag/lalonde


@pytest.mark.parametrize(
    ("controls", "value", "std_error"),  # MANIFEST and computed_estimates.json of dag/lalonde: placebo_re75_ols
    [("psid", -2757.4, 590.2), ("cps", -1134.8, 273.1)],
)
def test_programme_seems_to_have_changed_earnings_before_it(
    reference: Path, controls: str, value: float, std_error: float
) -> None:
    table = read(reference, controls)
    found = answer(table, [*PEOPLE, "re74", "u74"], "re75", method="regression", slopes="common")
    assert (found.value, found.std_error) == (pytest.approx(value, abs=0.05), pytest.approx(std_error, abs=0.05))
    assert found.rejected


def test_matching_on_age_in_the_experiment(reference: Path) -> None:
    # Stata log lalonde_exper of G. Imbens (2004), "match re78 t age": average over all units 1785.191, ties shared.
    table = read(reference)
    age, one = table[["age"]].to_numpy(dtype=float), np.ones((len(table), 1))
    found = matched_effect(
        table.re78.to_numpy(), table.treat.to_numpy() == 1, age, one, n_matches=1, n_neighbours=1, whom="ate"
    )
    assert found.value == pytest.approx(1785.191, abs=2e-3)


def test_survey_controls_by_changes(reference: Path) -> None:
    table = read(reference, "psid")
    people = CrossSection.from_table(
        table, outcome="re78", treatment="treat", covariates=[*PEOPLE, "re74"], before="re75"
    )
    found = Adjustment(method="dr-did").fit(people)
    # As did::att_gt and group-time do: the same rule on the panel of both years.
    assert found.treated_mean == pytest.approx(table.re78[table.treat == 1].mean())
    assert np.sqrt((np.asarray(found.influence) ** 2).sum()) == pytest.approx(estimate_as_panel(table)[1], rel=1e-9)
    assert found.effect == pytest.approx(estimate_as_panel(table)[0], rel=1e-9)


def estimate_as_panel(table: pd.DataFrame) -> tuple[float, float]:
    """Answer by ``group-time`` with both years of earnings as a panel."""
    from causalbench.data.panel import Panel
    from causalbench.estimators.group_time import GroupTime

    names = [*PEOPLE, "re74"]
    panel = Panel(
        outcome=table[["re75", "re78"]].to_numpy(),
        treated=np.column_stack([np.zeros(len(table)), table.treat]).astype(bool),
        units=tuple(f"{i:05d}" for i in range(len(table))),
        periods=(1975, 1978),
        covariates=np.repeat(table[names].to_numpy(dtype=float)[:, None, :], 2, axis=1),
        covariate_names=tuple(names),
    )
    fit = GroupTime(method="dr").fit(panel)
    assert fit.covariance is not None
    return fit.effect, float(np.sqrt(fit.covariance[0, 0]))
