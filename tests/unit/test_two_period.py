"""Comparisons of two groups under covariates: what must not matter, what can't be answered, and what must be said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import optimize

from causalbench.data.moments import CohortMoments
from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError
from causalbench.estimators._cell_effects import CellEffects, cells_from_moments, cells_from_units
from causalbench.numerics import aggregation
from causalbench.numerics.comparisons import comparisons
from causalbench.numerics.influence import CohortInfluence
from causalbench.numerics.two_period import cross_section_effect, dependent_columns, panel_effect, propensity

METHODS = ["dr", "ipw", "reg"]
AFFINE = {
    "shift": lambda x: x + 1e6,
    "large": lambda x: x * 1e9,
    "small": lambda x: x * 1e-9,
    "both": lambda x: x * 1e7 + 3e7,
    "population": lambda x: 1e8 * (1 + 0.3 * x),
}


def panel_of(x: Any, launches: Any, *, n_periods: int = 4, seed: int = 0, **fields: Any) -> Panel:
    """Draw outcomes whose trend depends on the covariates x, shape (n_units, k); index of launch by unit."""
    rng = np.random.default_rng(seed)
    x, launches = np.asarray(x, dtype=float).reshape(len(launches), -1), np.asarray(launches)
    treated = np.arange(n_periods) >= launches[:, None]
    outcome = rng.normal(size=treated.shape).cumsum(axis=1) + x.sum(axis=1)[:, None] * np.arange(n_periods) + treated
    return Panel(
        outcome=outcome,
        treated=treated,
        units=tuple(f"u{i:04d}" for i in range(len(launches))),
        periods=tuple(range(2001, 2001 + n_periods)),
        covariates=np.repeat(x[:, None, :], n_periods, axis=1),
        covariate_names=tuple("abcdefgh"[: x.shape[1]]),
        **fields,
    )


def effects_of(panel: Panel, *, method: Any = "dr", sampling: Any = "panel") -> CellEffects:
    cells = comparisons(
        np.unique(panel.first_treated),
        panel.positions,
        control="never_treated",
        anticipation=0,
        base_period="varying",
    )
    return cells_from_units(panel, cells, method=method, sampling=sampling)


def overlapping(n: int = 200, *, k: int = 1, shift: float = 0.4, seed: int = 1) -> tuple[Any, Any]:
    launches = np.where(np.arange(n) < n // 3, 2, 4)
    return np.random.default_rng(seed).normal(size=(n, k)) + shift * (launches == 2)[:, None], launches


@pytest.mark.parametrize("sampling", ["panel", "repeated_cross_section"])
@pytest.mark.parametrize("change", AFFINE)
@pytest.mark.parametrize("method", METHODS)
def test_units_and_origin_of_a_covariate_change_nothing(method: Any, change: str, sampling: Any) -> None:
    x, launches = overlapping()
    panel = panel_of(x, launches, weights=np.random.default_rng(2).uniform(0.5, 2, len(x)))
    moved = replace(panel, covariates=AFFINE[change](panel.covariates))
    found, other = (effects_of(each, method=method, sampling=sampling) for each in (panel, moved))
    np.testing.assert_allclose(other.values, found.values, rtol=1e-9)
    np.testing.assert_allclose(other.influence.covariance(), found.influence.covariance(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_a_shift_survives_without_centring(method: Any) -> None:
    """The numerical functions by themselves work on a basis of the design, never on its Gram matrix."""
    x, launches = overlapping()
    rng, treated, ones = np.random.default_rng(3), launches == 2, np.ones(len(x))
    change = rng.normal(size=len(x)) + x[:, 0]
    found = []
    for column in (x[:, 0], x[:, 0] + 1e6):
        design = np.column_stack([ones, column])
        odds = None if method == "reg" else propensity(treated, design, ones)
        found.append(panel_effect(change, treated, design, ones, method=method, odds=odds))
    assert found[1].value == pytest.approx(found[0].value, rel=1e-8)
    np.testing.assert_allclose(found[1].contributions, found[0].contributions, rtol=0, atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_without_covariates_all_methods_are_differences_of_weighted_means(method: Any) -> None:
    """The closed form that a panel without covariates uses equals each method fitted to a constant."""
    rng, n = np.random.default_rng(4), 90
    treated, after, weights = rng.random(n) < 0.4, rng.random(n) < 0.5, rng.uniform(0.5, 2, n)
    outcome, design = rng.normal(size=n) + treated, np.ones((n, 1))
    odds = None if method == "reg" else propensity(treated, design, weights)
    closed = panel_effect(outcome, treated, design, weights, method="ipw", odds=None)
    fitted = panel_effect(outcome, treated, design, weights, method=method, odds=odds)
    expected = np.average(outcome[treated], weights=weights[treated])
    expected -= np.average(outcome[~treated], weights=weights[~treated])
    assert closed.value == pytest.approx(expected, abs=1e-12)
    assert fitted.value == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(closed.contributions, fitted.contributions, rtol=0, atol=1e-12)
    closed = cross_section_effect(outcome, treated, after, design, weights, method="ipw", odds=None)
    fitted = cross_section_effect(outcome, treated, after, design, weights, method=method, odds=odds)
    assert closed.value == pytest.approx(fitted.value, abs=1e-12)
    np.testing.assert_allclose(closed.contributions, fitted.contributions, rtol=0, atol=1e-12)


@pytest.mark.parametrize("spread", [1.0, 2.0])
def test_propensity_is_the_likeliest_logit(spread: float) -> None:
    """Against a general optimiser, with a long right tail on which a full step overshoots."""
    rng, n = np.random.default_rng(5), 400
    x = np.exp(spread * rng.normal(size=n))
    treated = rng.random(n) < 1 / (1 + np.exp(2 + 0.5 * (x - 1)))
    design = np.column_stack([np.ones(n), x / x.std()])

    def loss(b: Any) -> float:
        return float(np.logaddexp(0, np.where(treated, -1, 1) * (design @ b)).sum())

    best = optimize.minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    found = propensity(treated, design, np.ones(n))
    np.testing.assert_allclose(found.coefficients, best.x, rtol=1e-5)
    assert loss(found.coefficients) <= best.fun + 1e-9


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (lambda x: [x, np.full(len(x), 7.0)], "covariate 'b' is constant among the 200 units"),
        (lambda x: [x, np.full(len(x), 0.1) + 1e-17], "covariate 'b' is constant"),
        (lambda x: [x, 3 - 2e5 * x], "covariate 'b' is a linear combination of 'a'"),
        (lambda x: [x, x**2, x + x**2], "covariate 'c' is a linear combination of 'a' and 'b'"),
    ],
)
def test_covariates_without_information_are_named(method: Any, columns: Any, message: str) -> None:
    x, launches = overlapping()
    panel = panel_of(np.column_stack(columns(x[:, 0])), launches)
    with pytest.raises(DataError, match=message) as caught:
        effects_of(panel, method=method)
    assert caught.value.code == "CB-D042"
    assert "drop it" in caught.value.remedy


def test_a_covariate_constant_within_one_comparison_is_named_with_it() -> None:
    launches = np.repeat([2, 3, 4], 40)
    x = np.column_stack([np.random.default_rng(6).normal(size=120), launches == 3])
    with pytest.raises(DataError, match="cohort 2003 at 2002: covariate 'b' is constant among the 80 rows compared"):
        effects_of(panel_of(x, launches))


def test_dependent_columns_name_their_partners() -> None:
    x = np.random.default_rng(7).normal(size=(30, 2))
    design = np.column_stack([np.ones(30), x, x[:, 0] - 5, x[:, 0] + x[:, 1], np.full(30, 4.0)])
    assert dependent_columns(design) == {3: (0, 1), 4: (1, 2), 5: (0,)}
    assert dependent_columns(design[:, :3]) == {}


@pytest.mark.parametrize("method", ["dr", "ipw"])
def test_separated_groups_are_refused_and_pointed_to_the_regression(method: Any) -> None:
    x, launches = overlapping(shift=50.0)
    with pytest.raises(RefusalError, match=r"cohort 2003 at 2002: .*separate the groups") as caught:
        effects_of(panel_of(x, launches), method=method)
    assert caught.value.code == "CB-D044"
    assert 'method = "reg"' in caught.value.remedy
    assert np.isfinite(effects_of(panel_of(x, launches), method="reg").values).all()


@pytest.mark.parametrize("method", METHODS)
def test_controls_all_alike_are_no_ground_for_a_regression(method: Any) -> None:
    _, launches = overlapping()
    told = (launches == 2) * np.random.default_rng(8).integers(1, 3, size=200)
    with pytest.raises(RefusalError, match=r"covariate 'a' is constant among the 134 control units, but not") as caught:
        effects_of(panel_of(told, launches), method=method)
    assert caught.value.code == "CB-D044"
    assert "reg" not in caught.value.remedy


@pytest.mark.parametrize("method", ["dr", "reg"])
def test_fewer_controls_than_coefficients_are_counted(method: Any) -> None:
    launches = np.repeat([2, 4], [30, 4])
    x = np.random.default_rng(9).normal(size=(34, 5))
    message = r"cohort 2003 at 2002: 4 control units can't determine 6 coefficients \(a constant and 5 covariates\)"
    with pytest.raises(RefusalError, match=message) as caught:
        effects_of(panel_of(x, launches), method=method)
    assert caught.value.code == "CB-D044"
    assert "reg" not in caught.value.remedy


def test_fewer_rows_of_a_cross_section_than_coefficients_are_counted() -> None:
    x, launches = overlapping(n=120, k=3)
    panel = panel_of(x, launches)
    outcome = panel.outcome.copy()
    outcome[np.flatnonzero(launches == 4)[3:], 1] = np.nan
    with pytest.raises(RefusalError, match="3 control rows after can't determine 4 coefficients"):
        effects_of(replace(panel, outcome=outcome), method="reg", sampling="repeated_cross_section")


@pytest.mark.parametrize("sampling", ["panel", "repeated_cross_section"])
def test_weak_overlap_is_said_once_with_where_and_how_much(sampling: Any) -> None:
    x, launches = overlapping(n=600, shift=3.0)
    panel = panel_of(x, launches)
    (warning,) = effects_of(panel, sampling=sampling).warnings
    design, treated = np.column_stack([np.ones(600), x]), launches == 2
    odds = np.exp(design @ propensity(treated, design, np.ones(600)).coefficients)[~treated]
    assert odds.max() / (1 + odds.max()) > 0.95
    assert odds.sum() ** 2 / (odds**2).sum() < 30
    assert warning.startswith("CB-D044: ")
    assert f"is {odds.max() / (1 + odds.max()):.3f} (cohort 2003 at 2002;" in warning
    assert f"are {odds.sum() ** 2 / (odds**2).sum():.1f} (cohort 2003 at 2002;" in warning


def test_good_overlap_and_regressions_are_silent() -> None:
    x, launches = overlapping(n=600)
    assert effects_of(panel_of(x, launches)).warnings == ()
    apart, launches = overlapping(n=600, shift=3.0)
    assert effects_of(panel_of(apart, launches), method="reg").warnings == ()
    few = panel_of(np.empty((9, 0)), np.repeat([2, 4], [4, 5]))
    assert effects_of(few).warnings == ()


@pytest.fixture(scope="module")
def many() -> tuple[CellEffects, CellEffects]:
    """More cells than the covariance takes at once, from moments and from units."""
    launches = np.append(np.arange(2, 34, 2), 36)[np.arange(170) % 17]
    panel = panel_of(np.empty((170, 0)), launches, n_periods=36)
    cells = comparisons(
        np.unique(launches), panel.positions, control="not_yet_treated", anticipation=0, base_period="varying"
    )
    fast = cells_from_moments(CohortMoments.from_panel(panel), cells)
    return fast, cells_from_units(panel, cells, method="dr", sampling="panel")


def test_many_cells_have_one_covariance_either_way(many: tuple[CellEffects, CellEffects]) -> None:
    fast, slow = many
    assert len(fast.values) > 512
    np.testing.assert_allclose(fast.values, slow.values, rtol=0, atol=1e-10)
    covariance = fast.influence.covariance()
    np.testing.assert_allclose(covariance, slow.influence.covariance(), rtol=0, atol=1e-10)
    chosen = np.arange(len(fast.values)) % 3 == 0
    for effects in many:
        part = effects.influence.only(chosen).covariance()
        np.testing.assert_allclose(part, covariance[np.ix_(chosen, chosen)], rtol=0, atol=1e-10)


def test_cells_hold_only_what_they_look_at(many: tuple[CellEffects, CellEffects]) -> None:
    """Each cell looks at two periods of its cohort and its controls; so memory grows with cells, not cells by units."""
    influence = many[0].influence
    assert isinstance(influence, CohortInfluence)
    assert influence.slope.nnz == sum(2 * (1 + len(cell.controls)) for cell in many[0].cells)
    parts = aggregation.cell_summaries(many[0].values, len(many[0].shares))
    assert aggregation.stack(parts)[1].nnz == len(parts)


def test_summaries_of_many_cells_combine_alike(many: tuple[CellEffects, CellEffects]) -> None:
    fast, slow = many
    parts = aggregation.cell_summaries(fast.values, len(fast.shares))
    simple = aggregation.simple(fast.cells, parts, fast.shares)
    after = np.array([cell.event_time >= 0 for cell in fast.cells])
    expected = np.where(after, fast.shares[[cell.cohort for cell in fast.cells]], 0.0)
    np.testing.assert_allclose(simple.weights, expected / expected.sum(), rtol=1e-12)
    assert simple.value == pytest.approx(float(simple.weights @ fast.values), abs=1e-12)
    every = [simple, *aggregation.dynamic(fast.cells, parts, fast.shares).parts]
    every += [aggregation.group(fast.cells, parts, fast.shares).overall]
    _, weights, by_share = aggregation.stack(every)
    sparse, dense = (fast.influence.combine(matrix, by_share).covariance() for matrix in (weights, weights.toarray()))
    np.testing.assert_allclose(sparse, dense, rtol=0, atol=1e-12)
    np.testing.assert_allclose(sparse, slow.influence.combine(weights, by_share).covariance(), rtol=0, atol=1e-10)
