"""Synthetic control penalised and unit by unit, and with missing cells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.errors import DataError, RefusalError
from causalbench.estimators import SyntheticControl
from causalbench.numerics.simplex import GAP_LIMIT
from causalbench.workflow.estimate import answer, estimate


@pytest.fixture(scope="module")
def panel() -> Panel:
    return factor_panel(n_units=12, n_periods=30, n_treated=3, n_post=6, effect=1.0, rho=0.0, seed=3)


@pytest.fixture(scope="module")
def staggered(panel: Panel) -> Panel:
    treated = np.zeros(panel.treated.shape, dtype=bool)
    for unit, start in ((0, 20), (1, 24), (2, 24)):
        treated[unit, start:] = True
    return replace(panel, treated=treated)


@pytest.mark.parametrize("penalty", [1e-3, 0.3, 20.0])
@pytest.mark.parametrize("fixed_effects", ["none", "unit"])
def test_penalised_weights_minimise_what_the_paper_says(panel, penalty, fixed_effects):
    fit = SyntheticControl(penalty=penalty, fixed_effects=fixed_effects).fit(panel)
    before = panel.outcome[:, :24]
    before = before - before.mean(axis=1, keepdims=True) if fixed_effects == "unit" else before
    own, donors = before[:3].mean(axis=0), before[3:]
    distance = ((donors - own) ** 2).sum(axis=1)

    def objective(weights):
        # Abadie, L'Hour (2021), equation 5, with outcomes before the launch as predictors
        return ((own - weights @ donors) ** 2).sum() + penalty * weights @ distance

    slow = minimize(
        objective,
        np.full(9, 1 / 9),
        method="SLSQP",
        bounds=[(0, 1)] * 9,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
        options={"ftol": 1e-13, "maxiter": 1000},
    )
    assert objective(fit.weights[3:]) <= slow.fun * (1 + 1e-9)
    assert fit.diagnostics["penalty"] == penalty
    assert fit.diagnostics["duality_gap"] <= GAP_LIMIT


def test_a_large_penalty_takes_the_nearest_donor_and_none_is_the_plain_method(panel):
    own, donors = panel.outcome[:3, :24].mean(axis=0), panel.outcome[3:, :24]
    nearest = 3 + int(((donors - own) ** 2).sum(axis=1).argmin())
    assert SyntheticControl(penalty=1e6).fit(panel).weights[nearest] == pytest.approx(1, abs=1e-9)
    plain, free = SyntheticControl().fit(panel), SyntheticControl(penalty=0.0).fit(panel)
    np.testing.assert_array_equal(plain.weights, free.weights)


def test_auto_takes_the_penalty_that_predicts_the_held_out_third_best(panel):
    fit = SyntheticControl(penalty="auto").fit(panel)
    early = panel.only(periods=np.arange(30) < 24).assigned_to(panel.ever_treated, start=16)
    errors = {}
    for penalty in (0.0, *np.logspace(-4, 1, 21)):
        gap = SyntheticControl(penalty=penalty).fit(early).path.effect[16:]
        errors[penalty] = float((gap**2).mean())
    assert errors[fit.diagnostics["penalty"]] <= min(errors.values()) * (1 + 1e-9)


def test_auto_needs_a_history_to_divide(panel):
    short = panel.only(periods=np.arange(30) >= 22)
    with pytest.raises(RefusalError, match="2 periods before the launch can't be divided"):
        SyntheticControl(penalty="auto").fit(short)


def test_each_treated_unit_is_fitted_as_if_it_were_alone(staggered):
    fit = SyntheticControl(treated_units="each").fit(staggered)
    alone = []
    for unit, start in ((0, 20), (1, 24), (2, 24)):
        units = np.arange(12) >= 3
        units[unit] = True
        one = SyntheticControl().fit(staggered.only(units=units))
        row = fit.diagnostics["by_unit"][unit]
        assert (row["unit"], row["launch"]) == (staggered.units[unit], start + 1)
        assert row["effect"] == pytest.approx(one.effect, rel=1e-12)
        assert row["pre_mspe"] == pytest.approx(one.diagnostics["pre_mspe"], rel=1e-9)
        assert sum(row["weights"].values()) == pytest.approx(1, abs=1e-12)
        alone.append(one)
    effects = np.concatenate([one.path.effect[start:] for one, start in zip(alone, (20, 24, 24), strict=True)])
    assert fit.effect == pytest.approx(effects.mean(), rel=1e-12)  # 10 + 6 + 6 treated cells
    np.testing.assert_allclose(fit.path.effect, np.mean([one.path.effect for one in alone], axis=0), atol=1e-12)
    np.testing.assert_allclose(fit.path.observed, staggered.outcome[:3].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(fit.weights[3:], np.mean([one.weights[1:] for one in alone], axis=0), atol=1e-12)
    assert fit.weights[:3].tolist() == [0, 0, 0]


def test_several_dates_are_said_to_bend_the_path_and_one_date_is_not(panel, staggered):
    (said,) = SyntheticControl(treated_units="each").fit(staggered).warnings
    assert said.startswith("2 launch dates: the effect is the mean over treated cells")
    assert "until 25 holds units not launched yet" in said
    fit = SyntheticControl(treated_units="each").fit(panel)
    assert fit.warnings == ()
    assert fit.effect == pytest.approx(fit.path.effect[24:].mean(), rel=1e-12)


def test_many_fits_with_dates_of_their_own_equal_one_fit_each(staggered):
    estimator = SyntheticControl(treated_units="each", fixed_effects="unit")
    rng = np.random.default_rng(0)
    launches = np.array([rng.permutation(staggered.first_treated) for _ in range(5)])
    for row, fit in zip(launches, estimator.fit_many(staggered, launches), strict=True):
        alone = estimator.fit(replace(staggered, treated=np.arange(30) >= row[:, None]))
        assert fit.effect == pytest.approx(alone.effect, rel=1e-12)
        np.testing.assert_allclose(fit.weights, alone.weights, atol=1e-12)


def test_several_dates_need_weights_for_each(staggered):
    with pytest.raises(RefusalError, match="one launch date with treated_units = mean, the data have 2: 21, 25") as no:
        estimate(staggered, "synthetic-control")
    assert 'set treated_units = "each"' in str(no.value)


@pytest.mark.parametrize("inference", [name for name in SyntheticControl.inferences if name != "placebo"])
def test_tests_of_one_date_refuse_several(staggered, inference):
    with pytest.raises(RefusalError, match=r"launch date|before and after|are fitted|one treated unit|mock launch"):
        estimate(staggered, "synthetic-control", inference=inference, options={"treated_units": "each"})


def test_several_dates_are_answered_by_placebos_with_the_same_dates(staggered):
    found = estimate(staggered, "synthetic-control", options={"treated_units": "each"})
    assert found.inference == "placebo"
    assert found.std_error > 0
    assert found.detail["incremental"] == pytest.approx(22 * found.value)  # 10 + 6 + 6 treated cells


def test_incremental_total_counts_every_treated_cell(staggered):
    fit = SyntheticControl(treated_units="each").fit(staggered)
    assert (fit.n_cells, fit.treated_mean) == (None, None)  # all of them, as the panel counts them
    assert staggered.n_treated_cells == 10 + 6 + 6


RULES = {"drop_unit": (11, 30), "drop_period": (12, 29), "zero": (12, 30), "impute": (12, 30)}


@pytest.fixture(scope="module")
def holed(panel: Panel) -> Panel:
    outcome = panel.outcome.copy()
    outcome[5, 10] = np.nan
    return replace(panel, outcome=outcome)


@pytest.mark.parametrize(("rule", "shape"), RULES.items(), ids=RULES)
def test_every_rule_for_missing_cells_works_and_is_in_the_evidence(holed, panel, rule, shape):
    found = answer(holed, "synthetic-control", inference="placebo-rank", on_missing=rule)
    (finding,) = (finding for finding in found.audit.findings if finding.code == "CB-D001")
    assert finding.count == 1
    assert f'on_missing = "{rule}"' in finding.message
    assert any("CB-D001" in warning for warning in found.estimate.warnings)
    assert found.panel.outcome.shape == shape
    assert not np.isnan(found.panel.outcome).any()
    cell = 0.0 if rule == "zero" else panel.outcome[5, [9, 11]].mean()
    assert found.panel.outcome[5, 10] == pytest.approx(cell) or rule.startswith("drop")


def test_missing_cells_are_refused_without_a_rule_and_where_they_would_stay(holed):
    with pytest.raises(DataError, match="1 cells are missing"):
        estimate(holed, "synthetic-control")
    with pytest.raises(RefusalError, match="synthetic-control needs every cell, 1 of 360 are missing"):
        estimate(holed, "synthetic-control", on_missing="keep")
