"""The estimator's own rules: what it selects, refuses, leaves out and says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from causalbench.data.panel import Panel
from causalbench.errors import DataError, StudyError
from causalbench.estimators.causal_impact import CausalImpact
from causalbench.values import FloatArray
from causalbench.workflow.estimate import estimate


def panel_of(series: FloatArray, controls: FloatArray, *, n_pre: int, n_treated: int = 1) -> Panel:
    """Build a panel from the treated units' series, shape (n_treated, n) or (n,), and controls, shape (k, n)."""
    rows = np.vstack([np.atleast_2d(series), controls.reshape(-1, np.shape(series)[-1])])
    treated = np.zeros(rows.shape, dtype=bool)
    treated[:n_treated, n_pre:] = True
    units = [f"treated {i}" for i in range(n_treated)] + [f"x{j:03d}" for j in range(len(rows) - n_treated)]
    return Panel(outcome=rows, treated=treated, units=tuple(units), periods=tuple(range(rows.shape[1])))


def selection_panel(n_controls: int, seed: int = 0) -> Panel:
    """Draw 1.2 x0 + .5 x1 - .4 x2 + N(0, 1) over 1000 periods with an effect of 10 in the last 300."""
    rng = np.random.default_rng(seed)
    controls = rng.standard_normal((n_controls, 1000))
    series = np.array([1.2, 0.5, -0.4]) @ controls[:3] + rng.standard_normal(1000)
    series[700:] += 10.0
    return panel_of(series, controls, n_pre=700)


def small_panel(seed: int = 0, *, n_controls: int = 2, effect: float = 2.0) -> Panel:
    rng = np.random.default_rng(seed)
    controls = rng.standard_normal((n_controls, 60))
    series = controls.sum(axis=0) + 0.5 * rng.standard_normal(60)
    series[45:] += effect
    return panel_of(series, controls, n_pre=45)


@pytest.mark.parametrize("compat", ["none", "r"])
@pytest.mark.parametrize("n_controls", [3, 10, 100])
def test_true_controls_are_selected(n_controls: int, compat: Any) -> None:
    fit = CausalImpact(compat=compat).fit(selection_panel(n_controls))
    inclusion = fit.diagnostics["inclusion_probability"]
    assert min(inclusion[name] for name in ("x000", "x001", "x002")) >= 0.95
    assert fit.effect == pytest.approx(10, abs=0.3)
    others = [share for name, share in inclusion.items() if name > "x002"]
    assert np.mean(others or [0.0]) < 0.2
    coefficients = [fit.diagnostics["coefficients"][name] for name in ("x000", "x001", "x002")]
    assert coefficients == pytest.approx([1.2, 0.5, -0.4], abs=0.15)


def test_one_of_two_equal_controls_is_enough() -> None:
    rng = np.random.default_rng(3)
    controls = rng.standard_normal((12, 200))
    controls[1] = controls[0]
    series = 2 * controls[0] + rng.standard_normal(200)
    inclusion = CausalImpact(draws=2000).fit(panel_of(series, controls, n_pre=150)).diagnostics["inclusion_probability"]
    assert inclusion["x000"] + inclusion["x001"] == pytest.approx(1.0, abs=0.35)
    assert min(inclusion["x000"], inclusion["x001"]) > 0.2  # both are visited, which only swaps achieve


def test_fit_has_the_posterior_of_its_path() -> None:
    panel = small_panel()
    fit = CausalImpact(draws=400).fit(panel)
    assert fit.posterior is not None
    assert fit.posterior.draws.shape == (400, 60)
    np.testing.assert_allclose(fit.posterior.draws.mean(axis=0), fit.path.counterfactual, rtol=1e-12)
    assert fit.effect == pytest.approx(2.0, abs=0.5)
    assert fit.diagnostics["noise_sd"] == pytest.approx(0.5, rel=0.3)
    assert 0 <= fit.diagnostics["level_share"] + fit.diagnostics["autoregressive_share"] <= 1


def test_effect_depends_on_nothing_after_the_launch_but_the_observed() -> None:
    panel = small_panel()
    shifted = panel.outcome.copy()
    shifted[0, 45:] = 7.0
    first, second = (CausalImpact().fit(replace(panel, outcome=o)) for o in (panel.outcome, shifted))
    assert second.effect - first.effect == pytest.approx(7.0 - panel.outcome[0, 45:].mean(), abs=1e-12)


def test_draws_follow_the_seed() -> None:
    panel = small_panel()
    first, again, other = (CausalImpact(seed=seed).fit(panel).posterior for seed in (1, 1, 2))
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.draws.tobytes() == again.draws.tobytes()
    assert np.abs(first.draws - other.draws).max() > 0.1


def test_the_run_hands_its_seed_down() -> None:
    panel = small_panel()
    ends = {estimate(panel, "causal-impact", seed=seed).std_error for seed in (0, 0, 5)}
    assert len(ends) == 2


def test_without_controls_the_series_continues_from_its_own_past() -> None:
    rng = np.random.default_rng(2)
    series = 5 + rng.standard_normal(100)
    series[70:] += 3
    answer = estimate(panel_of(series, np.empty((0, 100)), n_pre=70), "causal-impact")
    assert answer.value == pytest.approx(3.0, abs=0.6)
    assert answer.n_control == 0
    assert answer.detail["inclusion_probability"] == {}


def test_a_table_of_one_series_is_enough() -> None:
    rng = np.random.default_rng(2)
    table = pd.DataFrame({"unit": "y", "day": np.arange(60), "value": rng.standard_normal(60)})
    panel = Panel.from_table(table, unit="unit", period="day", outcome="value", treated=["y"], start=40)
    answer = estimate(panel, "causal-impact")
    assert answer.interval is not None
    assert answer.interval.contains(0.0)


def seasonal_panel() -> Panel:
    rng = np.random.default_rng(7)
    season = np.tile(np.repeat([3.0, -1.0, 0.5, -2.5], 2), 14)
    series = season + 0.3 * rng.standard_normal(112)
    series[88:] += 1.0
    return panel_of(series, np.empty((0, 112)), n_pre=84 + 4)


def test_seasons_are_learned() -> None:
    panel = seasonal_panel()
    knows = estimate(panel, "causal-impact", options={"seasons": 4, "season_duration": 2})
    ignores = estimate(panel, "causal-impact")
    assert knows.value == pytest.approx(1.0, abs=0.25)
    assert knows.std_error is not None
    assert ignores.std_error is not None
    assert knows.std_error < 0.5 * ignores.std_error
    gaps = knows.path.effect[:88]
    assert gaps.std() == pytest.approx(0.3, rel=0.25)


def test_seasons_that_were_never_seen_are_refused() -> None:
    rng = np.random.default_rng(7)
    panel = panel_of(rng.standard_normal(40), np.empty((0, 40)), n_pre=20)
    with pytest.raises(DataError, match="12 seasons are never observed"):
        CausalImpact(seasons=12, season_duration=2).fit(panel)


def test_a_slope_is_continued() -> None:
    rng = np.random.default_rng(1)
    series = 0.5 * np.arange(80.0) + rng.standard_normal(80)
    series[60:] += 4.0
    panel = panel_of(series, np.empty((0, 80)), n_pre=60)
    assert CausalImpact(trend="linear").fit(panel).effect == pytest.approx(4.0, abs=1.5)
    assert CausalImpact().fit(panel).effect > 6.0  # a level alone doesn't climb


def test_moving_coefficients_are_followed() -> None:
    rng = np.random.default_rng(5)
    control = 10 + rng.standard_normal((1, 200))
    coefficient = np.linspace(0.0, 3.0, 200)
    series = coefficient * (control[0] - 10) + 0.1 * rng.standard_normal(200)
    panel = panel_of(series, control, n_pre=160)
    static, dynamic = (estimate(panel, "causal-impact", options={"regression": r}) for r in ("static", "dynamic"))
    before = slice(20, 160)
    assert dynamic.path.effect[before].std() < 0.5 * static.path.effect[before].std()
    assert dynamic.detail["inclusion_probability"] == {"x000": 1.0}


def test_missing_cells_of_the_treated_stay_missing() -> None:
    panel = small_panel(n_controls=2)
    outcome = panel.outcome.copy()
    outcome[0, [3, 17, 50, 51]] = np.nan
    holes = replace(panel, outcome=outcome)
    answer = estimate(holes, "causal-impact", on_missing="keep")
    assert answer.value == pytest.approx(2.0, abs=0.5)
    assert answer.detail["incremental"] == pytest.approx(13 * answer.value)  # 15 periods after the launch, two missing
    assert any("4 periods" in warning for warning in answer.warnings)
    assert np.isnan(answer.path.effect[50])
    assert answer.path_bands is not None
    assert np.isnan(answer.path_bands.lower[50])
    assert np.isfinite(answer.path_bands.cumulative_lower[50])


def test_a_period_with_one_of_two_treated_missing_counts_as_missing() -> None:
    panel = small_panel(n_controls=3)
    two = panel_of(np.vstack([panel.outcome[0], panel.outcome[0] + 1]), panel.outcome[1:], n_pre=45, n_treated=2)
    outcome = two.outcome.copy()
    outcome[1, 50] = np.nan
    fit = CausalImpact().fit(replace(two, outcome=outcome))
    assert np.isnan(fit.path.observed[50])
    assert fit.n_cells == 2 * 14


def test_donors_with_missing_cells_are_refused_by_name() -> None:
    panel = small_panel()
    outcome = panel.outcome.copy()
    outcome[2, 5] = np.nan
    with pytest.raises(DataError, match="x001") as caught:
        estimate(replace(panel, outcome=outcome), "causal-impact", on_missing="keep")
    assert "exclude" in caught.value.remedy
    kept = estimate(replace(panel, outcome=outcome), "causal-impact", on_missing="keep", options={"exclude": ["x001"]})
    assert set(kept.detail["inclusion_probability"]) == {"x000"}


def test_donors_that_move_only_after_the_launch_take_no_part() -> None:
    panel = small_panel(n_controls=3)
    outcome = panel.outcome.copy()
    outcome[3, :45] = 1.0
    fit = CausalImpact().fit(replace(panel, outcome=outcome))
    assert "x002" not in fit.diagnostics["inclusion_probability"]
    assert any("x002" in warning for warning in fit.warnings)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda o: o.__setitem__((0, slice(0, 45)), 3.0), "doesn't vary"),
        (lambda o: o.__setitem__((0, slice(2, 45)), np.nan), "observed in 2 periods"),
        (lambda o: o.__setitem__((0, slice(45, None)), np.nan), "missing in every period after"),
    ],
)
def test_a_treated_series_without_information_is_refused(change: Any, words: str) -> None:
    panel = small_panel()
    outcome = panel.outcome.copy()
    change(outcome)
    with pytest.raises(DataError, match=words):
        CausalImpact().fit(replace(panel, outcome=outcome))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"compat": "r", "trend": "linear"}, "neither trend linear"),
        ({"compat": "r", "noise": "ar1"}, "noise ar1"),
        ({"compat": "r", "regression": "dynamic"}, "static regression only"),
        ({"level_sd": 0.1}, "belongs to compat r"),
        ({"compat": "r", "level_sd": 0.0}, "level_sd must be positive"),
        ({"seasons": 0}, "at least 1"),
        ({"season_duration": 0}, "at least 1"),
        ({"expected_model_size": 0}, "expected_model_size must be positive"),
        ({"draws": 1}, "draws must be at least 2"),
        ({"noise": "pink"}, "noise"),
        ({"seed": 3}, "belongs to the run"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(StudyError, match=words):
        estimate(small_panel(), "causal-impact", options=options)


def test_level_sd_of_r_widens_the_interval() -> None:
    tight, loose = (
        estimate(small_panel(), "causal-impact", options={"compat": "r", "level_sd": sd}).std_error
        for sd in (0.01, 0.1)
    )
    assert tight is not None
    assert loose is not None
    assert loose > 1.5 * tight


def test_an_odd_number_of_draws_is_kept() -> None:
    fit = CausalImpact(draws=7).fit(small_panel())
    assert fit.posterior is not None
    assert fit.posterior.draws.shape[0] == 7


def with_covariates(panel: Panel) -> Panel:
    """Return the treated unit alone, with its controls' series as covariates."""
    cells = panel.outcome[1:].T[None]
    names = tuple(f"c{j}" for j in range(cells.shape[2]))
    alone = panel.only(units=np.arange(len(panel.units)) == 0)
    return replace(alone, covariates=cells, covariate_names=names)


def test_covariates_of_the_treated_unit_do_what_controls_with_these_values_do() -> None:
    panel = small_panel()
    beside = CausalImpact(draws=4000).fit(panel)
    alone = CausalImpact(draws=4000).fit(with_covariates(panel))
    # Monte Carlo error of a posterior mean of 4000 draws: its standard deviation of about .2 over 63.
    assert alone.effect == pytest.approx(beside.effect, abs=0.02)
    assert set(alone.diagnostics["coefficients"]) == {"c0", "c1"}
    assert list(alone.diagnostics["coefficients"].values()) == pytest.approx([1.0, 1.0], abs=0.25)


def test_several_treated_units_enter_with_the_mean_of_their_covariates() -> None:
    panel = with_covariates(small_panel())
    two = replace(
        panel,
        outcome=np.vstack([panel.outcome, panel.outcome]),
        treated=np.vstack([panel.treated, panel.treated]),
        units=("a", "b"),
        covariates=np.concatenate([panel.covariates + 1, panel.covariates - 1]),
    )
    assert CausalImpact().fit(two).effect == pytest.approx(CausalImpact().fit(panel).effect, abs=1e-9)


@pytest.mark.parametrize(
    ("value", "what"), [(np.nan, "is missing in 1 period"), (0.0, "never varies before the launch")]
)
def test_covariate_with_gaps_or_without_variation_is_refused(value: float, what: str) -> None:
    panel = with_covariates(small_panel())
    cells = panel.covariates.copy()
    cells[0, slice(3, 4) if np.isnan(value) else slice(None), 1] = value
    with pytest.raises(DataError, match=f"covariate 'c1' {what}"):
        CausalImpact().fit(replace(panel, covariates=cells))
