"""Synthetic difference-in-differences against slow, obvious formulas, and what must leave its answer as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from scipy.optimize import minimize

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel, staggered_panel
from causalbench.errors import DataError, RefusalError
from causalbench.estimators import SyntheticControl, SyntheticDid
from causalbench.inference.jackknife import Jackknife
from causalbench.inference.placebo import Placebo
from causalbench.inference.placebo_rank import PlaceboRank
from causalbench.inference.unit_bootstrap import UnitBootstrap
from causalbench.numerics.double_difference import certified_weights, noise_levels
from causalbench.numerics.frank_wolfe import early_stopped_weights
from causalbench.numerics.ridge_simplex import solve_ridge_simplex
from causalbench.numerics.simplex import GAP_LIMIT
from causalbench.values import FloatArray, Uncertainty
from causalbench.workflow.estimate import estimate


@pytest.fixture(scope="module")
def panel() -> Panel:
    return factor_panel(n_units=10, n_periods=16, n_treated=2, n_post=4, effect=1.0, rho=0.5, seed=3)


@pytest.fixture(scope="module")
def staggered() -> Panel:
    return staggered_panel(
        n_units=14, n_periods=18, launches=(10, 14), n_never=8, effect=2.0, growth=0.3, rho=0.3, seed=5
    )


def ridge_simplex_oracle(design: FloatArray, target: FloatArray, ridge: float) -> FloatArray:
    """Solve by a general constrained minimiser, from several starts."""
    n = design.shape[1]

    def objective(weights: FloatArray) -> float:
        return float(((target - design @ weights) ** 2).sum() + ridge * (weights**2).sum())

    def gradient(weights: FloatArray) -> FloatArray:
        result: FloatArray = 2 * design.T @ (design @ weights - target) + 2 * ridge * weights
        return result

    total = {"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": lambda _: np.ones(n)}
    starts = [np.full(n, 1 / n), *np.eye(n)]
    options = {"ftol": 1e-15, "maxiter": 1000}
    found = [
        minimize(objective, s, jac=gradient, bounds=[(0, 1)] * n, constraints=[total], method="SLSQP", options=options)
        for s in starts
    ]
    best: FloatArray = min(found, key=lambda result: float(result.fun)).x
    return best


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ridge", [0.0, 0.5, 40.0])
def test_ridge_simplex_agrees_with_a_general_minimiser(seed: int, ridge: float) -> None:
    rng = np.random.default_rng(seed)
    design, target = rng.normal(size=(12, 6)), rng.normal(size=12)
    cross, square = (design.T @ target)[None], np.array([target @ target])
    fit = solve_ridge_simplex(design.T @ design, cross, square, np.array([ridge]))
    assert fit.rel_gap[0] <= GAP_LIMIT
    np.testing.assert_allclose(fit.weights[0], ridge_simplex_oracle(design, target, ridge), atol=2e-6)


def test_a_large_ridge_spreads_weights_evenly() -> None:
    design = np.random.default_rng(0).normal(size=(5, 4))
    fit = solve_ridge_simplex(design.T @ design, np.zeros((1, 4)), np.zeros(1), np.array([1e9]))
    np.testing.assert_allclose(fit.weights[0], 0.25, atol=1e-8)


def oracle_effect(panel: Panel) -> float:
    """Follow equations 1 and 4 to 6 of the paper line by line, with intercepts by centring."""
    y, treated, pre = panel.outcome, panel.ever_treated, panel.n_pre
    control, n_post = y[~treated], len(panel.periods) - panel.n_pre
    sigma = float(np.std(np.diff(control[:, :pre], axis=1), ddof=1))
    zeta = (treated.sum() * n_post) ** 0.25 * sigma
    before, level = control[:, :pre], y[treated, :pre].mean(axis=0)
    omega = ridge_simplex_oracle(
        (before - before.mean(axis=1, keepdims=True)).T, level - level.mean(), float(zeta**2 * pre)
    )
    after = control[:, pre:].mean(axis=1)
    ridge = (1e-6 * sigma) ** 2 * len(control)
    lam = ridge_simplex_oracle(before - before.mean(axis=0), after - after.mean(), ridge)
    gap = y[treated].mean(axis=0) - omega @ control
    return float(gap[pre:].mean() - lam @ gap[:pre])


def test_effect_agrees_with_the_equations_line_by_line(panel: Panel) -> None:
    assert SyntheticDid().fit(panel).effect == pytest.approx(oracle_effect(panel), abs=1e-5)


def test_effect_solves_the_weighted_two_way_regression(panel: Panel) -> None:
    # Equation 1: least squares on unit and period dummies and the treatment, weighted by unit times period weight.
    fit = SyntheticDid().fit(panel)
    assert fit.weights is not None
    n_units, n_periods = panel.outcome.shape
    units = np.where(panel.ever_treated, 1 / panel.n_treated, fit.weights)
    dated = {entry["period"]: entry["weight"] for entry in fit.diagnostics["cohorts"][0]["time_weights"]}
    after = 1 / (n_periods - panel.n_pre)
    times = [after if place >= panel.n_pre else dated.get(period, 0.0) for place, period in enumerate(panel.periods)]
    design = np.hstack(
        [
            np.kron(np.eye(n_units), np.ones((n_periods, 1))),
            np.kron(np.ones((n_units, 1)), np.eye(n_periods)),
            panel.treated.reshape(-1, 1).astype(float),
        ]
    )
    root = np.sqrt(np.outer(units, times)).ravel()
    slope = np.linalg.lstsq(design * root[:, None], panel.outcome.ravel() * root, rcond=None)[0][-1]
    assert fit.effect == pytest.approx(slope, abs=1e-9)


def test_several_launch_dates_are_averaged_over_treated_cells(staggered: Panel) -> None:
    fit = SyntheticDid().fit(staggered)
    total, cells = 0.0, 0
    for start in sorted(set(staggered.first_treated[staggered.ever_treated].tolist())):
        own = staggered.only(units=(staggered.first_treated == start) | ~staggered.ever_treated)
        alone, n_cells = SyntheticDid().fit(own).effect, own.n_treated_cells
        total, cells = total + n_cells * alone, cells + n_cells
    assert fit.effect == pytest.approx(total / cells, abs=1e-9)
    assert [cohort["cohort"] for cohort in fit.diagnostics["cohorts"]] == list(staggered.cohorts)
    assert "2 launch dates" in fit.warnings[0]


def test_several_launch_dates_find_the_average_effect() -> None:
    # Effects 1 + 0.5 since the launch: 8 and 4 periods of 10 units each average to 1 + 0.5 * (28 + 6) / 12.
    panels = [
        staggered_panel(
            n_units=60, n_periods=24, launches=(16, 20), n_never=40, effect=1.0, growth=0.5, rho=0.0, seed=seed
        )
        for seed in range(20)
    ]
    effects = [SyntheticDid().fit(panel).effect for panel in panels]
    error = np.std(effects, ddof=1) / np.sqrt(len(effects))
    assert np.mean(effects) == pytest.approx(1 + 0.5 * 34 / 12, abs=4 * error)


def test_period_effects_change_no_weights_once_the_noise_level_is_held(panel: Panel) -> None:
    shift = np.random.default_rng(1).normal(scale=20, size=len(panel.periods))
    share, controls = panel.ever_treated[None] / panel.n_treated, ~panel.ever_treated[None]
    noise = noise_levels(panel.outcome[:, : panel.n_pre], controls)
    plain = certified_weights(panel.outcome, share, controls, panel.n_pre, noise)
    moved = certified_weights(panel.outcome + shift, share, controls, panel.n_pre, noise)
    np.testing.assert_allclose(moved.units, plain.units, atol=1e-9)
    np.testing.assert_allclose(moved.times, plain.times, atol=1e-9)


@pytest.mark.parametrize("compat", ["none", "synthdid"])
def test_unit_effects_change_nothing(panel: Panel, compat: Literal["none", "synthdid"]) -> None:
    shift = np.random.default_rng(2).normal(scale=50, size=(len(panel.units), 1))
    estimator = SyntheticDid(compat=compat)
    found, expected = estimator.fit(replace(panel, outcome=panel.outcome + shift)), estimator.fit(panel)
    assert found.effect == pytest.approx(expected.effect, abs=1e-9)
    np.testing.assert_allclose(found.weights, expected.weights, atol=1e-9)


def test_a_giant_treated_unit_loses_no_digits() -> None:
    # The scatter of the controls must not be a small difference of large numbers.
    panel = factor_panel(n_units=12, n_periods=20, n_treated=1, n_post=4, effect=0.0, rho=0.5, seed=1)
    giant = panel.outcome.copy()
    giant[0] *= 1e7
    times = [
        SyntheticDid().fit(replace(panel, outcome=outcome)).diagnostics["cohorts"][0]["time_weights"]
        for outcome in (panel.outcome, giant)
    ]
    found, expected = ([entry["weight"] for entry in weights] for weights in times)
    assert found == pytest.approx(expected, abs=1e-8)


def test_time_weights_that_fit_perfectly_are_the_smallest_of_them() -> None:
    # Three controls, twelve periods before the launch: many weights predict the mean after it without error.
    rng = np.random.default_rng(8)
    series = np.vstack([rng.normal(size=(1, 16)), rng.normal(size=(3, 16))])
    series[1:, 12:] = series[1:, :12].mean(axis=1, keepdims=True)
    share, controls = np.array([[1.0, 0, 0, 0]]), np.array([[False, True, True, True]])
    found = certified_weights(series, share, controls, 12, noise_levels(series[:, :12], controls))
    np.testing.assert_allclose(found.times[0], 1 / 12, atol=1e-5)


def test_early_stopped_weights_stop_after_two_steps_where_nothing_is_gained() -> None:
    design = np.array([[1.0, 1.0], [2.0, 2.0]])
    weights = early_stopped_weights(design, np.array([1.0, 2.0]), zeta=1.0, noise_level=1.0)
    np.testing.assert_allclose(weights, 0.5, atol=1e-12)


def test_too_few_controls_are_refused(panel: Panel) -> None:
    controls = panel.donor_pool[1:]
    with pytest.raises(DataError, match="1 donors are left"):
        SyntheticDid(exclude=controls).fit(panel)


@pytest.mark.parametrize("inference", ["jackknife", "unit-bootstrap"])
def test_one_treated_unit_is_refused_with_a_remedy(inference: str) -> None:
    panel = factor_panel(n_units=12, n_periods=20, n_treated=1, n_post=4, effect=0.0, rho=0.5, seed=0)
    with pytest.raises(RefusalError, match="one treated unit, u000") as caught:
        estimate(panel, "synthetic-did", inference=inference)
    assert "placebo" in caught.value.remedy


@pytest.mark.parametrize("inference", ["jackknife", "unit-bootstrap"])
def test_a_launch_date_of_one_unit_is_refused(inference: str) -> None:
    panel = factor_panel(n_units=12, n_periods=20, n_treated=3, n_post=4, effect=0.0, rho=0.5, seed=0)
    treated = panel.treated.copy()
    treated[0, 14:] = True
    with pytest.raises(RefusalError, match="one unit at 15"):
        estimate(replace(panel, treated=treated), "synthetic-did", inference=inference)


def test_fewer_controls_than_treated_are_refused_placebos() -> None:
    panel = factor_panel(n_units=9, n_periods=20, n_treated=5, n_post=4, effect=0.0, rho=0.5, seed=0)
    with pytest.raises(RefusalError, match="treat 5 of the 4 units never treated"):
        estimate(panel, "synthetic-did", inference="placebo")


@pytest.mark.parametrize("method", ["did", "synthetic-did"])
def test_as_many_controls_as_treated_are_refused_placebos(method: str) -> None:
    panel = factor_panel(n_units=8, n_periods=20, n_treated=4, n_post=4, effect=0.0, rho=0.5, seed=0)
    with pytest.raises(RefusalError, match="leaves 0 to compare"):
        estimate(panel, method, inference="placebo")


def test_placebos_of_clustered_units_are_refused() -> None:
    panel = factor_panel(n_units=12, n_periods=20, n_treated=2, n_post=4, effect=0.0, rho=0.5, seed=0)
    clustered = replace(panel, cluster=tuple(f"c{i // 2}" for i in range(12)))
    with pytest.raises(RefusalError, match="belong to clusters"):
        estimate(clustered, "did", inference="placebo")


def infer(panel: Panel, inference: Placebo | Jackknife | UnitBootstrap | PlaceboRank, *, seed: int = 0) -> Uncertainty:
    fit = SyntheticDid().fit(panel)
    return inference.infer(SyntheticDid(), panel, fit, level=0.9, rng=np.random.default_rng(seed))


def test_placebo_error_is_the_spread_of_all_placebos(panel: Panel) -> None:
    # 28 pairs of 8 controls, each fitted on its own.
    pool, effects = panel.only(units=~panel.ever_treated), []
    for i in range(8):
        for j in range(i):
            pair = np.isin(np.arange(8), (i, j))
            effects.append(SyntheticDid().fit(pool.assigned_to(pair, start=panel.n_pre)).effect)
    answer = infer(panel, Placebo())
    assert answer.detail["n_placebos"] == 28
    assert answer.detail["exact"]
    assert answer.std_error == pytest.approx(np.std(effects) * np.sqrt(8 / 7), rel=1e-9)


def test_placebos_of_several_launch_dates_keep_the_dates(staggered: Panel) -> None:
    few = staggered.only(units=staggered.ever_treated | (np.cumsum(~staggered.ever_treated) <= 8))
    answer = infer(few, Placebo(n_draws=60))
    assert answer.detail["n_placebos"] == 60
    assert not answer.detail["exact"]
    assert answer.std_error is not None
    assert answer.std_error > 0


def test_jackknife_error_is_that_of_leaving_out_each_unit(panel: Panel) -> None:
    fit = SyntheticDid().fit(panel)
    assert fit.weights is not None
    dated = {entry["period"]: entry["weight"] for entry in fit.diagnostics["cohorts"][0]["time_weights"]}
    times = np.array([dated.get(period, 0.0) for period in panel.periods[: panel.n_pre]])
    effects = []
    for out in range(len(panel.units)):
        rest = np.arange(len(panel.units)) != out
        treated, weights = panel.ever_treated & rest, fit.weights * rest
        gap = panel.outcome[treated].mean(axis=0) - weights / weights.sum() @ panel.outcome
        effects.append(gap[panel.n_pre :].mean() - times @ gap[: panel.n_pre])
    n = len(effects)
    expected = np.sqrt((n - 1) / n * ((np.array(effects) - fit.effect) ** 2).sum())
    assert infer(panel, Jackknife()).std_error == pytest.approx(expected, rel=1e-9)


def test_unit_bootstrap_depends_on_its_seed_alone(panel: Panel) -> None:
    first, again, other = (infer(panel, UnitBootstrap(n_draws=30), seed=seed) for seed in (1, 1, 2))
    assert first.std_error == again.std_error
    assert first.std_error != other.std_error


@pytest.mark.parametrize("inference", [Placebo, UnitBootstrap])
def test_one_draw_has_no_variance(inference: type[Placebo | UnitBootstrap]) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        inference(n_draws=1)


def test_drawn_placebos_leave_no_trace_of_the_order_of_units() -> None:
    panel = factor_panel(n_units=16, n_periods=20, n_treated=3, n_post=4, effect=0.0, rho=0.5, seed=2)
    order = np.random.default_rng(1).permutation(16)
    mixed = replace(panel, outcome=panel.outcome[order], treated=panel.treated[order])
    for inference in (Placebo(n_draws=20), UnitBootstrap(n_draws=20)):
        assert infer(mixed, inference).std_error == pytest.approx(infer(panel, inference).std_error, rel=1e-9)


# The two inferences that refuse the panels of the contract tests, on one that they take.
SHAPES = {"jackknife": (Jackknife(), 3), "placebo-rank": (PlaceboRank(), 1)}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("change", ["scale", "level", "units", "order", "effect"])
def test_tests_follow_the_data(name: str, change: str) -> None:
    inference, n_treated = SHAPES[name]
    panel = factor_panel(n_units=16, n_periods=20, n_treated=n_treated, n_post=4, effect=1.0, rho=0.4, seed=6)
    rng, expected = np.random.default_rng(0), infer(panel, inference)
    order, scale, shift, outcome = np.arange(16), 1.0, 0.0, panel.outcome
    if change == "scale":
        outcome, scale = outcome * 1e6, 1e6
    elif change == "level":
        outcome = outcome + 1e3
    elif change == "units":
        outcome = outcome + rng.normal(scale=20, size=(16, 1))
    elif change == "order":
        order = rng.permutation(16)
    else:
        outcome, shift = outcome + 0.75 * panel.treated, 0.75
    found = infer(replace(panel, outcome=outcome[order], treated=panel.treated[order]), inference)
    assert expected.interval is not None
    assert found.interval is not None
    if shift == 0:
        assert found.p_value == pytest.approx(expected.p_value, rel=1e-9)
    ends = [scale * end + shift for segment in expected.interval.segments for end in segment]
    width = max(ends) - min(ends)
    assert [e for segment in found.interval.segments for e in segment] == pytest.approx(ends, abs=1e-8 * width)


def test_jackknife_is_refused_where_controls_are_few() -> None:
    panel = factor_panel(n_units=12, n_periods=20, n_treated=5, n_post=4, effect=0.0, rho=0.5, seed=0)
    with pytest.raises(RefusalError, match="3 controls for each treated unit, the data have 7 and 5") as caught:
        infer(panel, Jackknife())
    assert "unit-bootstrap" in caught.value.remedy


def test_one_treated_unit_is_ranked_among_placebos() -> None:
    panel = factor_panel(n_units=12, n_periods=20, n_treated=1, n_post=4, effect=9.0, rho=0.5, seed=2)
    answer = infer(panel, PlaceboRank())
    assert answer.p_value == pytest.approx(1 / 12)  # the largest ratio of one treated unit and eleven placebos


def test_several_treated_units_are_not_ranked_among_placebos(panel: Panel) -> None:
    with pytest.raises(RefusalError, match="moves the time weights of SyntheticDid"):
        infer(panel, PlaceboRank())


def test_default_inference_follows_the_number_of_treated_units() -> None:
    chosen = {
        n: SyntheticDid().default_inference(
            factor_panel(n_units=30, n_periods=12, n_treated=n, n_post=2, effect=0.0, rho=0.0, seed=0)
        )
        for n in (1, 9, 10)
    }
    assert chosen == {1: "placebo", 9: "placebo", 10: "unit-bootstrap"}


def test_synthetic_control_gets_placebo_errors_too(prop99: Panel) -> None:
    answer = Placebo().infer(
        SyntheticControl(), prop99, SyntheticControl().fit(prop99), level=0.9, rng=np.random.default_rng(0)
    )
    assert answer.std_error is not None


def test_few_controls_and_a_short_history_are_warned_about_under_placebo_inference() -> None:
    def warnings(n_units: int, n_periods: int) -> tuple[str, ...]:
        panel = factor_panel(
            n_units=n_units, n_periods=n_periods, n_treated=1, n_post=8, effect=0.0, rho=0.0, n_factors=3, seed=1
        )
        return estimate(panel, "synthetic-did", inference="placebo").warnings

    assert [text for text in warnings(12, 40) if "11 control units and 32 periods" in text]
    assert not [text for text in (*warnings(12, 60), *warnings(20, 40)) if "few for time weights" in text]


def test_effects_with_time_weights_are_not_ranked_as_they_are() -> None:
    panel = factor_panel(n_units=12, n_periods=40, n_treated=1, n_post=8, effect=0.0, rho=0.0, seed=1)
    with pytest.raises(RefusalError, match="can't be ranked as they are"):
        estimate(panel, "synthetic-did", inference="placebo-rank", inference_options={"statistic": "effect"})
