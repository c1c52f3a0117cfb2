"""Every way of inference against a slow and obvious second computation of the same test."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.errors import DataError, RefusalError
from causalbench.estimators import Did, SyntheticControl
from causalbench.estimators._donors import certify
from causalbench.inference import Cluster, Conformal, Permutation, PlaceboRank
from causalbench.inference.conformal import cyclic_p_values
from causalbench.numerics.persistence import LIMITS
from causalbench.values import FloatArray, Uncertainty, rejects
from causalbench.workflow.estimate import estimate

LEVELS = pytest.mark.parametrize("level", [0.8, 0.9, 0.95])


@pytest.fixture
def any_persistence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lift the refusal of persistent gaps, where a test is about arithmetic."""
    for name in LIMITS:
        monkeypatch.setitem(LIMITS, name, (1.0, 1.0))


def simulated(
    *, n_units: int, n_treated: int, n_periods: int = 20, n_post: int = 4, seed: int = 0, effect: float = 1.0
) -> Panel:
    return factor_panel(
        n_units=n_units, n_periods=n_periods, n_treated=n_treated, n_post=n_post, effect=effect, rho=0.3, seed=seed
    )


def without(panel: Panel, effect: float) -> Panel:
    return replace(panel, outcome=panel.outcome - effect * panel.treated)


def infer(inference: Any, estimator: Any, panel: Panel, *, level: float = 0.9, seed: int = 0) -> Uncertainty:
    found = inference.infer(estimator, panel, estimator.fit(panel), level=level, rng=np.random.default_rng(seed))
    assert isinstance(found, Uncertainty)
    return found


def effects_around(panel: Panel, estimator: Any) -> FloatArray:
    return estimator.fit(panel).effect + np.linspace(-6, 6, 61) + 1e-3  # type: ignore[no-any-return]


def assert_set_holds_what_is_not_rejected(
    found: Uncertainty, taus: FloatArray, p_values: list[float], level: float
) -> None:
    assert found.interval is not None
    inside = [found.interval.contains(tau) for tau in taus]
    assert inside == [not rejects(p, level) for p in p_values]


def reassigned_p_value(panel: Panel, effect: float) -> float:
    """Refit the mean difference of changes to every other choice of treated units."""
    outcome = panel.outcome - effect * panel.treated
    change = outcome[:, panel.n_pre :].mean(axis=1) - outcome[:, : panel.n_pre].mean(axis=1)
    n, k = len(panel.units), len(panel.treated_units)

    def estimate(chosen: Any) -> float:
        rest = np.setdiff1d(np.arange(n), chosen)
        return abs(float(change[list(chosen)].mean() - change[rest].mean()))

    own = estimate(np.flatnonzero(panel.ever_treated))
    return float(np.mean([estimate(chosen) >= own - 1e-10 for chosen in itertools.combinations(range(n), k)]))


@LEVELS
@pytest.mark.parametrize(("n_units", "n_treated"), [(7, 2), (12, 1), (6, 3), (9, 4)])
def test_permutation_set_is_what_refitting_at_each_effect_gives(level: float, n_units: int, n_treated: int) -> None:
    panel = simulated(n_units=n_units, n_treated=n_treated, seed=n_units)
    found = infer(Permutation(), Did(), panel, level=level)
    taus = effects_around(panel, Did())
    assert_set_holds_what_is_not_rejected(found, taus, [reassigned_p_value(panel, tau) for tau in taus], level)
    assert found.p_value == pytest.approx(reassigned_p_value(panel, 0.0), abs=1e-12)
    assert found.detail["n_assignments"] == math.comb(n_units, n_treated)


def test_permutation_counts_mirror_images_of_a_half_and_half_assignment() -> None:
    panel = simulated(n_units=6, n_treated=3, effect=50.0)
    assert infer(Permutation(), Did(), panel, level=0.8).p_value == pytest.approx(2 / 20)  # itself and its mirror image


def test_permutation_without_enough_assignments_is_unbounded_and_says_so() -> None:
    found = infer(Permutation(), Did(), simulated(n_units=8, n_treated=1, effect=50.0), level=0.9)
    assert found.interval is not None
    assert found.interval.segments == ((-math.inf, math.inf),)
    assert (found.interval.lower, found.interval.upper) == (None, None)
    assert found.warnings == ("unbounded: 8 assignments allow no p below 0.125",)
    assert found.p_value == 1 / 8  # the actual assignment alone is as extreme


def test_permutation_that_draws_is_close_to_the_enumeration() -> None:
    panel = simulated(n_units=20, n_treated=7, seed=3, effect=0.5)
    found = infer(Permutation(), Did(), panel)
    change = panel.outcome[:, panel.n_pre :].mean(axis=1) - panel.outcome[:, : panel.n_pre].mean(axis=1)
    sums = np.array([change[list(chosen)].sum() for chosen in itertools.combinations(range(20), 7)])
    effects = np.abs(sums / 7 - (change.sum() - sums) / 13)
    exact = float((effects >= effects[0] - 1e-12).mean())  # the first combination is the actual assignment
    monte_carlo_error = math.sqrt(exact * (1 - exact) / 9999)
    assert found.p_value == pytest.approx(exact, abs=4 * monte_carlo_error + 1e-4)
    assert found.warnings == ("9999 assignments were drawn out of 77520",)
    assert found.detail["n_assignments"] == 10_000
    assert found.interval == infer(Permutation(), Did(), panel).interval


@pytest.mark.parametrize("constant", [0.0, 1e6, -1e8])
@pytest.mark.parametrize("seed", [4, 5, 6, 10, 13])
def test_permutation_counts_ties_at_any_level_of_the_outcome(constant: float, seed: int) -> None:
    panel = simulated(n_units=8, n_treated=1, seed=seed)
    rows = panel.outcome.round(1)
    rows[4:] = rows[:4]
    tied = replace(panel, outcome=rows + constant)
    p_value = infer(Permutation(), Did(), tied).p_value
    assert p_value is not None
    assert p_value * 8 == pytest.approx(round(p_value * 8))
    assert round(p_value * 8) % 2 == 0  # every assignment has a twin with the same estimate


def test_permutation_needs_an_estimator_that_can_be_refitted() -> None:
    panel = simulated(n_units=6, n_treated=1)
    with pytest.raises(RefusalError, match="can't be refitted"):
        Permutation().infer(object(), panel, Did().fit(panel), level=0.9, rng=np.random.default_rng(0))  # type: ignore[arg-type]


@pytest.mark.parametrize(("n_periods", "n_post"), [(12, 3), (20, 1), (15, 7), (9, 8)])
def test_cyclic_p_values_are_those_of_rolled_residuals(n_periods: int, n_post: int) -> None:
    residuals = np.random.default_rng(n_periods).normal(size=(25, n_periods))
    expected = []
    for row in residuals:
        statistics = [abs(np.roll(row, shift)[-n_post:].sum()) for shift in range(n_periods)]
        expected.append(np.mean(np.array(statistics) >= statistics[0] - 1e-12))
    np.testing.assert_allclose(cyclic_p_values(residuals, n_post), expected, atol=1e-12)


def test_cyclic_p_value_counts_ties() -> None:
    assert cyclic_p_values(np.array([[1.0, 1.0, 1.0, 1.0]]), 2).tolist() == [1.0]
    assert cyclic_p_values(np.array([[0.0, 0.0, 0.0, 2.0]]), 1).tolist() == [0.25]  # one of four shifts
    assert cyclic_p_values(np.array([[0.1, 0.2, 0.3, -0.6]]) * 1e8, 4).tolist() == [1.0]


def refitted_p_value(panel: Panel, effect: float, *, demeaned: bool) -> float:
    """Take an effect off, fit weights to all periods with a general solver, roll the residuals round the circle."""
    outcome = panel.outcome - effect * panel.treated
    if demeaned:
        outcome = outcome - outcome.mean(axis=1, keepdims=True)
    target, donors = outcome[panel.ever_treated].mean(axis=0), outcome[~panel.ever_treated]
    n = len(donors)
    fit = minimize(
        lambda w: ((target - w @ donors) ** 2).sum(),
        np.full(n, 1 / n),
        jac=lambda w: -2 * donors @ (target - w @ donors),
        bounds=[(0, 1)] * n,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 2000},
    )
    residuals = target - fit.x @ donors
    statistics = np.array([abs(np.roll(residuals, s)[-panel.n_post :].sum()) for s in range(len(residuals))])
    return float((statistics >= statistics[0] - 1e-9).mean())


@pytest.mark.usefixtures("any_persistence")
@pytest.mark.parametrize("fixed_effects", ["none", "unit"])
@pytest.mark.parametrize("seed", range(3))
def test_conformal_set_is_what_refitting_at_each_effect_gives(fixed_effects: Any, seed: int) -> None:
    panel = simulated(n_units=6, n_treated=2, n_periods=25, n_post=5, seed=seed)
    estimator = SyntheticControl(fixed_effects=fixed_effects)
    found = infer(Conformal(), estimator, panel, level=0.8)
    taus = estimator.fit(panel).effect + np.linspace(-4, 4, 41) + 1e-3
    p_values = [refitted_p_value(panel, tau, demeaned=fixed_effects == "unit") for tau in taus]
    residuals = estimator.null_residuals(panel, taus)
    np.testing.assert_allclose(cyclic_p_values(residuals, panel.n_post), p_values, atol=1e-12)
    assert_set_holds_what_is_not_rejected(found, taus, p_values, 0.8)
    assert found.p_value == pytest.approx(refitted_p_value(panel, 0.0, demeaned=fixed_effects == "unit"), abs=1e-12)


@pytest.mark.usefixtures("any_persistence")
def test_conformal_with_too_few_periods_is_unbounded_and_says_so() -> None:
    panel = simulated(n_units=6, n_treated=1, n_periods=8, n_post=2)
    found = infer(Conformal(), SyntheticControl(), panel, level=0.9)
    assert found.interval is not None
    assert (found.interval.lower, found.interval.upper) == (None, None)
    assert found.warnings == ("unbounded: with 8 periods even effects far beyond the data have p = 0.125",)


@pytest.mark.usefixtures("any_persistence")
@pytest.mark.parametrize("effect", [20.0, 1000.0, -1000.0])
@pytest.mark.parametrize("seed", range(4))
def test_conformal_set_of_a_large_effect_is_that_of_a_small_one_shifted(effect: float, seed: int) -> None:
    panel = simulated(n_units=10, n_treated=1, n_periods=50, n_post=8, seed=seed, effect=0.0)
    plain = infer(Conformal(), SyntheticControl(), panel).interval
    large = infer(Conformal(), SyntheticControl(), without(panel, -effect)).interval
    assert plain is not None
    assert large is not None
    assert plain.lower is not None
    assert plain.upper is not None
    assert large.lower == pytest.approx(plain.lower + effect, abs=1e-4)
    assert large.upper == pytest.approx(plain.upper + effect, abs=1e-4)


def test_conformal_needs_an_estimator_that_imposes_effects() -> None:
    with pytest.raises(RefusalError, match="can't be refitted under a hypothetical effect"):
        infer(Conformal(), Did(), simulated(n_units=6, n_treated=1))


def placebo_p_value(panel: Panel, effect: float) -> float:
    """Take the effect off, fit every group one by one, and rank: donors alone for one treated unit, all units for more."""

    def ratio(gap: FloatArray) -> float:
        return math.sqrt(float((gap[panel.n_pre :] ** 2).mean() / (gap[: panel.n_pre] ** 2).mean()))

    null, n_treated = without(panel, effect), len(panel.treated_units)
    pool = null.only(units=~panel.ever_treated) if n_treated == 1 else null
    ratios = []
    for group in itertools.combinations(range(len(pool.units)), n_treated):
        placebo = pool.assigned_to(np.isin(np.arange(len(pool.units)), group), start=panel.n_pre)
        ratios.append(ratio(SyntheticControl().fit(placebo).path.effect))
    own = ratio(SyntheticControl().fit(null).path.effect)
    if n_treated > 1:
        return sum(r >= own * (1 - 1e-9) for r in ratios) / len(ratios)
    return (1 + sum(r >= own for r in ratios)) / (1 + len(ratios))


@LEVELS
@pytest.mark.parametrize(("n_units", "n_treated"), [(14, 1), (7, 2), (22, 1)])
def test_placebo_set_is_what_ranking_at_each_effect_gives(level: float, n_units: int, n_treated: int) -> None:
    panel = simulated(n_units=n_units, n_treated=n_treated, seed=2)
    found = infer(PlaceboRank(), SyntheticControl(), panel, level=level)
    taus = effects_around(panel, SyntheticControl())[::3]
    assert_set_holds_what_is_not_rejected(found, taus, [placebo_p_value(panel, tau) for tau in taus], level)
    assert found.p_value == pytest.approx(placebo_p_value(panel, 0.0), abs=1e-12)
    n_groups = n_units - 1 if n_treated == 1 else math.comb(n_units, n_treated) - 1
    assert found.detail["n_placebos"] == n_groups
    assert found.p_value == found.detail["rank"] / (found.detail["n_placebos"] + 1)


def test_placebo_set_without_enough_placebos_is_unbounded_and_says_so() -> None:
    found = infer(PlaceboRank(), SyntheticControl(), simulated(n_units=8, n_treated=1, effect=50.0), level=0.9)
    assert found.interval is not None
    assert (found.interval.lower, found.interval.upper) == (None, None)
    assert found.warnings == ("unbounded: 7 placebos allow no p below 0.125",)
    assert found.p_value == 1 / 8  # rank 1 of 8


def test_placebo_set_is_empty_where_no_constant_effect_explains_the_gap() -> None:
    panel = simulated(n_units=16, n_treated=1)
    swings = np.where(np.arange(20) % 2, 80.0, -80.0) * panel.treated
    found = infer(PlaceboRank(), SyntheticControl(), replace(panel, outcome=panel.outcome + swings), level=0.9)
    assert found.interval is not None
    assert found.interval.empty
    assert (found.interval.lower, found.interval.upper) == (None, None)
    assert found.warnings == ("misfit: every constant effect is rejected, the gap after the launch varies too much",)
    assert found.p_value == 1 / 16  # rank 1 of 16


def test_placebo_rank_of_a_perfect_fit_is_not_computed() -> None:
    panel = simulated(n_units=8, n_treated=1)
    outcome = panel.outcome.copy()
    outcome[0, : panel.n_pre] = outcome[3, : panel.n_pre]
    found = infer(PlaceboRank(), SyntheticControl(), replace(panel, outcome=outcome))
    assert found.interval is None
    assert found.p_value is None
    assert found.warnings == ("not computed: the fit before the launch is perfect, so the ratio isn't defined",)


@pytest.mark.parametrize("seed", [0, 1, 2, 38])
def test_placebo_rank_with_twin_donors_does_not_depend_on_rounding(seed: int) -> None:
    panel = simulated(n_units=14, n_treated=1, seed=seed)
    outcome = panel.outcome.copy()
    outcome[5] = outcome[9]
    twins = replace(panel, outcome=outcome)
    order = np.random.default_rng(seed).permutation(14)
    reordered = replace(twins, outcome=3 * outcome[order], treated=panel.treated[order])
    found, again = (infer(PlaceboRank(), SyntheticControl(), p, level=0.8) for p in (twins, reordered))
    assert found.p_value == again.p_value


def test_placebo_rank_refuses_too_few_donors() -> None:
    with pytest.raises(RefusalError, match="3 donors are too few for placebos of 2 units"):
        infer(PlaceboRank(), SyntheticControl(), simulated(n_units=5, n_treated=2))


def test_placebo_rank_draws_groups_from_its_seed() -> None:
    panel = simulated(n_units=20, n_treated=4)
    first, again, other = (infer(PlaceboRank(), SyntheticControl(), panel, seed=s) for s in (0, 0, 1))
    assert first.detail["n_placebos"] == 999
    assert (first.p_value, first.interval) == (again.p_value, again.interval)
    assert first.interval != other.interval


@pytest.mark.parametrize(("n_units", "n_treated"), [(20, 4), (9, 5), (8, 1)])
def test_cluster_refuses_fewer_than_five_units_on_a_side(n_units: int, n_treated: int) -> None:
    with pytest.raises(RefusalError, match="need 5 treated and 5 control units") as refusal:
        infer(Cluster(), Did(), simulated(n_units=n_units, n_treated=n_treated))
    assert refusal.value.exit_code == 3
    assert "permutation" in refusal.value.remedy


@LEVELS
def test_cluster_is_a_wald_test_with_t_quantiles(level: float) -> None:
    panel = simulated(n_units=14, n_treated=6, effect=0.4)
    n_units, n_periods = panel.outcome.shape
    share, post = 6 / 14, panel.n_post / n_periods
    doubly = (
        panel.outcome - panel.outcome.mean(axis=1, keepdims=True) - panel.outcome.mean(axis=0) + panel.outcome.mean()
    )
    side = (panel.ever_treated - share)[:, None] * ((np.arange(n_periods) >= panel.n_pre) - post)
    effect = (side * doubly).sum() / (side**2).sum()
    scores = (side * (doubly - effect * side)).sum(axis=1)
    n_cells, n_counted = n_units * n_periods, n_periods + 1
    factor = n_units / (n_units - 1) * (n_cells - 1) / (n_cells - n_counted)
    std_error = math.sqrt(factor * (scores**2).sum()) / (side**2).sum()
    found = infer(Cluster(), Did(convention="fixest"), panel, level=level)
    assert found.std_error == pytest.approx(std_error, rel=1e-9)
    assert found.interval is not None
    reach = stats.t.ppf((1 + level) / 2, n_units - 1) * std_error
    assert found.interval.segments[0] == pytest.approx((effect - reach, effect + reach), rel=1e-9)
    assert found.p_value == pytest.approx(2 * (1 - stats.t.cdf(abs(effect) / std_error, n_units - 1)), rel=1e-8)


def test_cluster_of_a_perfect_fit_is_not_computed() -> None:
    panel = simulated(n_units=12, n_treated=5)
    exact = np.arange(12.0)[:, None] + np.arange(20.0) + 2 * panel.treated
    found = infer(Cluster(), Did(), replace(panel, outcome=exact))
    assert (found.interval, found.p_value, found.std_error) == (None, None, None)
    assert found.warnings == (
        "not computed: the standard error is zero, as with a perfect fit or placebos that are all alike",
    )


@pytest.mark.parametrize("scale", [1.0, 3.0, 0.1, 1e3])
def test_conformal_takes_rounding_for_ties_where_donors_match_in_every_period(scale: float) -> None:
    panel = factor_panel(n_units=8, n_periods=40, n_treated=1, n_post=8, effect=0.0, rho=0.0, seed=2)
    outcome = scale * panel.outcome
    outcome[0] = outcome[1:4].mean(axis=0)
    found = estimate(replace(panel, outcome=outcome), "synthetic-control", inference="conformal", level=0.9)
    assert found.p_value == 1.0
    assert found.detail["persistence"] == 0.0
    assert found.interval is not None
    assert found.interval.contains(0.0)


def test_conformal_finds_the_largest_p_whatever_the_level() -> None:
    panel = factor_panel(n_units=8, n_periods=18, n_treated=1, n_post=3, effect=2.0, rho=0.0, seed=5)
    answers = [estimate(panel, "synthetic-control", inference="conformal", level=level) for level in (0.9, 0.98)]
    assert answers[1].interval is not None
    assert answers[1].interval.lower is None  # 1/18 is above .02
    assert answers[1].detail["largest_p"] == answers[0].detail["largest_p"]
    assert answers[1].detail["p_maximising_effect"] == pytest.approx(answers[0].detail["p_maximising_effect"], abs=0.1)


def test_weights_without_a_gap_name_controls_that_never_vary_as_the_reason() -> None:
    with pytest.raises(DataError, match="don't vary before the launch"):
        certify(math.nan)
