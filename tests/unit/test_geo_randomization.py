"""Randomization tests over a design's own draws, against refitting every draw under every effect."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.errors import RefusalError
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.estimators.did import Did
from causalbench.geo.randomization import design_test, drawn_effects, inverted, return_test, with_actual
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.numerics.inversion import joint_rank_set
from causalbench.values import EffectPath, Fit, rejects

METHODS = [
    ("did", {}),
    ("synthetic-control", {}),
    ("synthetic-control", {"fixed_effects": "unit"}),
    ("augmented-synthetic-control", {"ridge": 1.0}),
]


def small_panel(seed: int = 1, *, n_units: int = 8, n_treated: int = 3, effect: float = 0.7) -> Panel:
    return factor_panel(n_units=n_units, n_periods=20, n_treated=n_treated, n_post=5, effect=effect, rho=0.5, seed=seed)


def all_draws(n_units: int, n_treated: int) -> np.ndarray:
    rows = np.zeros((0, n_units), dtype=int)
    for chosen in itertools.combinations(range(n_units), n_treated):
        row = np.zeros(n_units, dtype=int)
        row[list(chosen)] = 1
        rows = np.vstack([rows, row])
    return rows


def estimate_of(estimator: Any, panel: Panel, cells: np.ndarray, cell: int = 1) -> float:
    """Refit on the markets of a cell and the controls: the slow, obvious way."""
    used = (cells == cell) | (cells == 0)
    sub = panel.only(units=used)
    return float(estimator.fit(sub.assigned_to(cells[used] == cell, start=panel.n_pre)).effect)


def without(panel: Panel, direction: np.ndarray, size: float) -> Panel:
    """Take a multiple of something off the test's outcomes, shape (n_units, n_post)."""
    outcome = panel.outcome.copy()
    outcome[:, panel.n_pre :] -= size * direction
    return replace(panel, outcome=outcome)


def slow_p_value(
    estimator: Any, panel: Panel, draws: np.ndarray, direction: np.ndarray, size: float, actual: np.ndarray
) -> float:
    rest = without(panel, direction, size)
    own = abs(estimate_of(estimator, rest, actual))
    drawn = np.array([abs(estimate_of(estimator, rest, row)) for row in draws])
    return float((drawn >= own - 1e-9).mean())


def treated_direction(panel: Panel) -> np.ndarray:
    return panel.treated[:, panel.n_pre :].astype(float)


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_set_is_where_refitting_every_draw_does_not_reject(method: str, options: dict[str, Any]) -> None:
    panel, estimator = small_panel(), ESTIMATORS.create(method, options)
    draws = all_draws(8, 3)
    found = design_test(estimator, panel, draws, level=0.8)
    actual, direction = panel.ever_treated.astype(int), treated_direction(panel)
    slow = lambda size: slow_p_value(estimator, panel, draws, direction, size, actual)  # noqa: E731
    assert found.p_value == pytest.approx(slow(0.0))
    assert found.detail["exact"]
    ends = [end for segment in found.interval.segments for end in segment]
    for end in ends:
        step = 1e-4
        sides = {rejects(slow(end + sign * step), 0.8) for sign in (-1, 1)}
        assert sides == {True, False}
    for size in np.linspace(ends[0] - 1, ends[-1] + 1, 9):
        assert rejects(slow(size), 0.8) != found.interval.contains(size)


def test_complete_randomization_is_the_permutation_inference() -> None:
    # All assignments of one launch date: causalbench.inference.permutation enumerates the same.
    panel, did = small_panel(), Did()
    found = design_test(did, panel, all_draws(8, 3), level=0.9)
    rng = np.random.default_rng(0)
    other = INFERENCES.create("permutation").infer(did, panel, did.fit(panel), level=0.9, rng=rng)
    assert found.p_value == other.p_value
    assert np.allclose(found.interval.segments, other.interval.segments, rtol=1e-9)


def test_one_of_each_pair_gives_as_many_assignments_as_the_pairs_allow() -> None:
    panel = small_panel(n_units=10, n_treated=5)
    pairs = np.array([[1 - x for x in row] + list(row) for row in itertools.product((0, 1), repeat=5)])
    found = design_test(Did(), panel, pairs, level=0.9)
    assert found.detail == {"n_assignments": 32, "exact": True, "smallest_p": 2 / 32}
    slow = slow_p_value(Did(), panel, pairs, treated_direction(panel), 0.0, panel.ever_treated.astype(int))
    assert found.p_value == pytest.approx(slow)


def test_too_few_draws_for_the_level_give_an_unbounded_set_that_says_so() -> None:
    panel = small_panel(n_treated=1, effect=50.0)
    found = design_test(Did(), panel, all_draws(8, 1), level=0.95)
    assert found.p_value == 1 / 8
    assert found.interval.segments == ((-np.inf, np.inf),)
    assert found.detail["smallest_p"] == 1 / 8
    assert "p = 0.125 among 8 assignments" in found.warnings[0]


def test_sampled_draws_get_the_actual_assignment_added_and_a_whole_design_does_not() -> None:
    actual = np.array([1, 0, 0])
    assert with_actual(actual, np.array([[0, 1, 0], [0, 0, 1]]))[0].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    repeated = np.array([[0, 1, 0], [1, 0, 0], [1, 0, 0]])
    cells, whole = with_actual(actual, repeated)
    assert (len(cells), whole) == (4, False)
    cells, whole = with_actual(actual, np.eye(3, dtype=int))
    assert (len(cells), whole) == (3, True)


@pytest.mark.parametrize("method", ["did", "synthetic-control"])
def test_draws_that_leave_markets_out_use_the_others_only(method: str) -> None:
    panel, estimator = small_panel(n_treated=2), ESTIMATORS.create(method)
    rng = np.random.default_rng(5)
    actual = np.array([1, 1, 0, 0, 0, 0, 0, -1])
    draws = np.array([rng.permutation(actual) for _ in range(60)])
    found = design_test(estimator, panel, draws, level=0.8, actual=actual)
    everything = np.vstack([actual, draws])
    slow = lambda size: slow_p_value(  # noqa: E731
        estimator, panel, everything, treated_direction(panel), size, actual
    )
    assert found.p_value == pytest.approx(slow(0.0))
    for size in (-1.0, 0.3, 0.9, 2.0):
        assert rejects(slow(size), 0.8) != found.interval.contains(size)


def test_proportional_effects_change_the_set_and_not_the_p_value() -> None:
    panel, draws = small_panel(effect=1.0), all_draws(8, 3)
    additive = design_test(Did(), panel, draws, level=0.8)
    found = design_test(Did(), panel, draws, level=0.8, constant="proportional")
    assert found.p_value == additive.p_value
    size = panel.outcome[:, : panel.n_pre].mean(axis=1) * panel.ever_treated
    direction = np.repeat((size / size[panel.ever_treated].mean())[:, None], 5, axis=1)
    actual = panel.ever_treated.astype(int)
    for end in (end for segment in found.interval.segments for end in segment):
        sides = {rejects(slow_p_value(Did(), panel, draws, direction, end + s, actual), 0.8) for s in (-1e-4, 1e-4)}
        assert sides == {True, False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression:
    """Treated mean on control mean before the test: no weights, no fast path."""

    def fit(self, data: Panel) -> Fit:
        treated, pre = data.ever_treated, data.n_pre
        one, other = data.outcome[treated].mean(axis=0), data.outcome[~treated].mean(axis=0)
        slope, level = np.polyfit(other[:pre], one[:pre], 1)
        path = EffectPath(periods=data.periods, observed=one, counterfactual=level + slope * other)
        return Fit(effect=float(path.effect[pre:].mean()), path=path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Squared(Regression):
    """Not linear in the effect."""

    def fit(self, data: Panel) -> Fit:
        fit = Regression().fit(data)
        return replace(fit, effect=fit.effect * abs(fit.effect))


def test_estimator_without_weights_is_refitted_once_per_direction() -> None:
    panel, draws = small_panel(), all_draws(8, 3)
    found = design_test(Regression(), panel, draws, level=0.8)
    actual = panel.ever_treated.astype(int)
    slow = lambda size: slow_p_value(Regression(), panel, draws, treated_direction(panel), size, actual)  # noqa: E731
    assert found.p_value == pytest.approx(slow(0.0))
    for size in (-1.0, 0.0, 0.5, 1.0, 2.5):
        assert rejects(slow(size), 0.8) != found.interval.contains(size)


@pytest.mark.parametrize(
    ("estimator", "why"),
    [(Squared(), "isn't linear in the effect"), (ESTIMATORS.create("synthetic-did"), "weighs periods")],
)
def test_estimators_whose_weights_move_with_the_effect_are_refused(estimator: Any, why: str) -> None:
    with pytest.raises(RefusalError, match=why):
        design_test(estimator, small_panel(), all_draws(8, 3), level=0.9)


def test_bad_draws_are_refused() -> None:
    panel = small_panel()
    with pytest.raises(RefusalError, match="1 of 2 draws have no control"):
        design_test(Did(), panel, np.ones((1, 8), dtype=int), level=0.9)
    with pytest.raises(ValueError, match=r"expected \(n_draws, 8\)"):
        design_test(Did(), panel, np.eye(7, dtype=int), level=0.9)
    with pytest.raises(RefusalError, match="no market is treated"):
        design_test(Did(), panel, all_draws(8, 3), level=0.9, actual=np.zeros(8, dtype=int))


def test_order_and_level_of_markets_change_nothing() -> None:
    panel, draws = small_panel(), all_draws(8, 3)
    order = np.array([3, 7, 1, 0, 6, 2, 5, 4])
    turned = replace(
        panel,
        outcome=panel.outcome[order] + 1e6,
        treated=panel.treated[order],
        units=tuple(panel.units[i] for i in order),
    )
    one = design_test(Did(), panel, draws, level=0.8)
    other = design_test(Did(), turned, draws[:, order], level=0.8)
    assert one.p_value == other.p_value
    assert np.allclose(one.interval.segments, other.interval.segments, atol=1e-6)


def costs(panel: Panel, *, seed: int = 0, sign: float = 1.0) -> np.ndarray:
    spend = np.random.default_rng(seed).uniform(1, 3, size=panel.outcome.shape)
    return np.where(panel.treated, sign * spend, 0.0)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("method", ["did", "synthetic-control"])
def test_return_is_tested_by_taking_it_off_in_proportion_to_spend(method: str, sign: float) -> None:
    panel, draws, estimator = small_panel(), all_draws(8, 3), ESTIMATORS.create(method)
    cost, actual = costs(panel, sign=sign), panel.ever_treated.astype(int)
    drawn = drawn_effects(estimator, panel, draws, actual=actual, cost=cost)
    value, found = return_test(drawn, cell=0, level=0.8)
    spent = cost[actual == 1][:, panel.n_pre :].mean()
    assert value == pytest.approx(estimate_of(estimator, panel, actual) / spent)
    direction = cost[:, panel.n_pre :]
    assert found.p_value == pytest.approx(design_test(estimator, panel, draws, level=0.8).p_value)
    for end in (end for segment in found.interval.segments for end in segment):
        sides = {rejects(slow_p_value(estimator, panel, draws, direction, end + s, actual), 0.8) for s in (-1e-4, 1e-4)}
        assert sides == {True, False}


def test_return_without_spend_is_refused() -> None:
    panel, draws = small_panel(), all_draws(8, 3)
    actual = panel.ever_treated.astype(int)
    with pytest.raises(RefusalError, match="spent no more than their controls"):
        return_test(
            drawn_effects(Did(), panel, draws, actual=actual, cost=np.ones(panel.outcome.shape)), cell=0, level=0.9
        )
    with pytest.raises(RefusalError, match="no cost"):
        return_test(drawn_effects(Did(), panel, draws, actual=actual), cell=0, level=0.9)


def test_effects_of_other_cells_are_taken_off_at_their_estimates() -> None:
    panel, rng = small_panel(effect=0.0), np.random.default_rng(2)
    actual = np.array([1, 1, 2, 2, 0, 0, 0, 0])
    draws = np.array([rng.permutation(actual) for _ in range(200)])
    shifted = without(panel, (actual == 2)[:, None] * np.ones((1, 5)), -100.0)
    plain, moved = (drawn_effects(Did(), p, draws, actual=actual) for p in (panel, shifted))
    for k, by in ((0, 0.0), (1, 100.0)):
        own = np.eye(2)[k]
        one, other = (inverted(drawn, own, own, level=0.8) for drawn in (plain, moved))
        assert np.allclose(np.array(one.interval.segments) + by, other.interval.segments, atol=1e-6)


def test_union_of_comparisons_is_counted_once_per_draw() -> None:
    rng = np.random.default_rng(4)
    a, b, c = rng.normal(size=(3, 40, 3))
    a[:, 0] = np.where(rng.random(40) < 0.3, 0.0, a[:, 0])
    found = joint_rank_set(a, b, c, scale=1.0)
    for effect in np.linspace(-5, 5, 41):
        holds = (a * effect**2 + b * effect + c >= 0).any(axis=1)
        assert found.count(effect) == holds.sum()
