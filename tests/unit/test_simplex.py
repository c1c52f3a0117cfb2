"""The simplex solver against a slow oracle: every support is tried, each solved by its KKT system."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize

from causalbench.numerics.simplex import GAP_LIMIT, SimplexFit, solve_simplex
from causalbench.values import BoolArray, FloatArray

ENTRIES = st.integers(min_value=-3, max_value=3).map(float)


def solve(design: FloatArray, target: FloatArray, allowed: BoolArray | None = None) -> SimplexFit:
    """Solve one problem, centred by row as the solver asks; a median, which one large column doesn't move."""
    centre = np.median(design, axis=1)
    design, target = design - centre[:, None], target - centre
    mask = None if allowed is None else allowed[None]
    return solve_simplex(design.T @ design, (design.T @ target)[None], np.array([target @ target]), mask)


def squares(design: FloatArray, target: FloatArray, weights: FloatArray) -> float:
    return float(((target - design @ weights) ** 2).sum())


def spread(design: FloatArray, target: FloatArray) -> float:
    """Return the corners' mean sum of squares, the scale of the problem."""
    return float(((design - target[:, None]) ** 2).sum(axis=0).mean())


def smallest_squares(design: FloatArray, target: FloatArray) -> float:
    """Return the optimum by trying every support: the affine minimiser of each, where it lies in the simplex."""
    n, best = design.shape[1], np.inf
    for size in range(1, n + 1):
        for support in itertools.combinations(range(n), size):
            corners = design[:, support] - target[:, None]
            system = np.ones((size + 1, size + 1))
            system[:size, :size], system[size, size] = corners.T @ corners, 0.0
            solution, *_ = np.linalg.lstsq(system, np.append(np.zeros(size), 1.0), rcond=1e-12)
            share = solution[:size]
            if share.min() >= -1e-9 and abs(share.sum() - 1) < 1e-9:
                weights = np.zeros(n)
                weights[list(support)] = share.clip(0) / share.clip(0).sum()
                best = min(best, squares(design, target, weights))
    return best


def assert_solved(design: FloatArray, target: FloatArray) -> None:
    fit = solve(design, target)
    weights, scale = fit.weights[0], spread(design, target)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    found, best = squares(design, target, weights), smallest_squares(design, target)
    assert found <= best + 1e-8 * max(best, 1e-5 * scale) + 1e-13 * scale
    assert fit.rel_gap[0] <= GAP_LIMIT
    # Half the sum of squares is the objective; the reported gap bounds its distance to the optimum from above.
    reported = fit.rel_gap[0] * max(found, 1e-5 * scale)
    assert (found - best) / 2 <= reported + 1e-13 * scale
    gradient = design.T @ (design @ weights - target)
    assert gradient @ weights - gradient.min() <= reported + 1e-12 * scale


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data(), n_rows=st.integers(1, 6), n_columns=st.integers(1, 6))
def test_small_integers_with_all_their_ties_are_solved(data: st.DataObject, n_rows: int, n_columns: int) -> None:
    design = data.draw(arrays(float, (n_rows, n_columns), elements=ENTRIES))
    target = data.draw(arrays(float, n_rows, elements=ENTRIES))
    assert_solved(design, target)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_random_problems_are_solved_at_any_scale(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    n_rows, n_columns = int(rng.integers(2, 15)), int(rng.integers(2, 7))
    assert_solved(scale * rng.normal(size=(n_rows, n_columns)), scale * rng.normal(size=n_rows))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("offset", [-1e4, 1e4])
def test_weights_do_not_depend_on_a_common_offset(seed: int, offset: float) -> None:
    rng = np.random.default_rng(seed)
    design, target = rng.normal(size=(12, 6)), rng.normal(size=12)
    shift = offset * np.ones(12)
    moved = solve(design + shift[:, None], target + shift)
    np.testing.assert_allclose(moved.weights, solve(design, target).weights, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_weights_do_not_depend_on_the_scale(scale: float) -> None:
    rng = np.random.default_rng(8)
    design, target = rng.normal(size=(30, 12)), rng.normal(size=30)
    np.testing.assert_allclose(solve(scale * design, scale * target).weights, solve(design, target).weights, atol=1e-10)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [1e2, 1e4, 1e6])
def test_weights_are_optimal_beside_a_column_of_another_size(size: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(40, 8))
    target = design[:, 1:] @ rng.dirichlet(np.ones(7)) + 0.1 * rng.normal(size=40)
    design[:, 0] *= size
    fit = solve(design, target)
    gradient = design.T @ (design @ fit.weights[0] - target)
    gap = (gradient @ fit.weights[0] - gradient.min()) / squares(design, target, fit.weights[0])
    assert gap <= GAP_LIMIT


def test_duplicate_columns_reach_the_same_optimum() -> None:
    rng = np.random.default_rng(0)
    design, target = rng.normal(size=(8, 3)), rng.normal(size=8)
    doubled = np.hstack([design, design])
    assert_solved(doubled, target)
    fit = solve(doubled, target)
    np.testing.assert_allclose(fit.weights[0, :3] + fit.weights[0, 3:], solve(design, target).weights[0], atol=1e-10)


def test_nearly_duplicate_columns_are_solved() -> None:
    rng = np.random.default_rng(1)
    design, target = rng.normal(size=(8, 3)), rng.normal(size=8)
    assert_solved(np.hstack([design, design + 1e-9 * rng.normal(size=design.shape)]), target)


@pytest.mark.parametrize("n_columns", [6, 40])
def test_more_columns_than_rows_fit_perfectly_inside_the_hull(n_columns: int) -> None:
    rng = np.random.default_rng(2)
    design = rng.normal(size=(3, n_columns))
    target = design @ rng.dirichlet(np.ones(n_columns))
    fit = solve(design, target)
    assert squares(design, target, fit.weights[0]) <= 1e-9 * spread(design, target)
    assert fit.rel_gap[0] <= GAP_LIMIT


def test_one_column_gets_all_the_weight() -> None:
    fit = solve(np.array([[1.0], [2.0]]), np.array([5.0, -1.0]))
    assert fit.weights.tolist() == [[1.0]]
    assert fit.rel_gap[0] == 0


def test_column_equal_to_the_target_gets_all_the_weight() -> None:
    rng = np.random.default_rng(3)
    design = rng.normal(size=(20, 5))
    np.testing.assert_allclose(solve(design, design[:, 2]).weights[0], np.eye(5)[2], atol=1e-9)


def test_corners_that_all_equal_the_target_are_fitted() -> None:
    fit = solve(np.ones((4, 3)), np.ones(4))
    assert fit.weights[0].sum() == 1
    assert fit.rel_gap[0] == 0


@pytest.mark.parametrize("seed", range(6))
def test_general_solver_finds_nothing_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_rows, n_columns = (25, 15) if seed % 2 else (10, 25)
    design, target = rng.normal(size=(n_rows, n_columns)), rng.normal(size=n_rows)
    found = squares(design, target, solve(design, target).weights[0])
    for _ in range(3):
        oracle = minimize(
            lambda w: squares(design, target, w),
            rng.dirichlet(np.ones(n_columns)),
            jac=lambda w: 2 * design.T @ (design @ w - target),
            bounds=[(0, 1)] * n_columns,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 2000},
        )
        weights = oracle.x.clip(0) / oracle.x.clip(0).sum()
        assert found <= squares(design, target, weights) * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_allowed_columns_are_solved_as_if_there_were_no_others(seed: int) -> None:
    rng = np.random.default_rng(seed)
    design, target = rng.normal(size=(10, 12)), rng.normal(size=10)
    allowed = rng.random(12) < 0.5
    allowed[seed] = True
    fit = solve(design, target, allowed)
    assert (fit.weights[0, ~allowed] == 0).all()
    np.testing.assert_allclose(fit.weights[0, allowed], solve(design[:, allowed], target).weights[0], atol=1e-9)


def test_problems_of_a_batch_do_not_affect_each_other() -> None:
    rng = np.random.default_rng(4)
    design, targets = rng.normal(size=(15, 8)), rng.normal(size=(5, 15))
    allowed = rng.random((5, 8)) < 0.7
    gram, cross, square = design.T @ design, targets @ design, (targets**2).sum(axis=1)
    batch = solve_simplex(gram, cross, square, allowed)
    for i in range(5):
        alone = solve_simplex(gram, cross[i : i + 1], square[i : i + 1], allowed[i : i + 1])
        np.testing.assert_array_equal(batch.weights[i], alone.weights[0])
        assert batch.rel_gap[i] == alone.rel_gap[0]


def test_problem_without_an_allowed_column_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one allowed column"):
        solve_simplex(np.eye(2), np.zeros((1, 2)), np.zeros(1), np.zeros((1, 2), dtype=bool))


def test_support_larger_than_the_first_allotment_is_solved() -> None:
    rng = np.random.default_rng(6)
    design = rng.normal(size=(300, 120))
    target = design @ rng.dirichlet(np.full(120, 20.0)) + 0.01 * rng.normal(size=300)
    fit = solve(design, target)
    assert (fit.weights[0] > 0).sum() > 64
    gradient = design.T @ (design @ fit.weights[0] - target)
    assert gradient @ fit.weights[0] - gradient.min() <= GAP_LIMIT * squares(design, target, fit.weights[0])


def tilted(design: FloatArray, target: FloatArray, prices: FloatArray) -> SimplexFit:
    centre = np.median(design, axis=1)
    design, target = design - centre[:, None], target - centre
    cross, square = (design.T @ target)[None], np.array([target @ target])
    return solve_simplex(design.T @ design, cross, square, tilt=prices[None])


def assert_priced_optimally(design: FloatArray, target: FloatArray, prices: FloatArray) -> None:
    fit = tilted(design, target, prices)
    weights = fit.weights[0]
    gradient = design.T @ (design @ weights - target) + prices
    objective = squares(design, target, weights) + 2 * weights @ prices
    assert fit.rel_gap[0] <= GAP_LIMIT
    assert weights @ gradient - gradient.min() <= 1e-8 * abs(objective) + 1e-13 * spread(design, target)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize(("n_rows", "n_columns"), [(1, 9), (3, 12), (8, 5), (30, 20)])
def test_prices_of_columns_are_weighed_against_the_fit(size: float, n_rows: int, n_columns: int) -> None:
    rng = np.random.default_rng(n_rows)
    for _ in range(20):
        design, target = rng.normal(size=(n_rows, n_columns)), rng.normal(size=n_rows)
        assert_priced_optimally(design, target, size * rng.normal(size=n_columns))


def test_prices_decide_between_duplicates() -> None:
    rng = np.random.default_rng(2)
    once, target = rng.normal(size=(6, 4)), rng.normal(size=6)
    design, prices = np.hstack([once, once]), np.append(np.full(4, 0.5), np.full(4, 0.25))
    weights = tilted(design, target, prices).weights[0]
    assert weights[:4].tolist() == [0, 0, 0, 0]
    # The same price for all says nothing.
    np.testing.assert_allclose(weights[4:], solve(once, target).weights[0], atol=1e-9)


def test_prices_of_corners_that_all_equal_the_target_take_the_cheapest() -> None:
    fit = solve_simplex(np.zeros((4, 4)), np.zeros((1, 4)), np.zeros(1), tilt=np.array([[3.0, 1.0, 2.0, 4.0]]))
    assert fit.weights.tolist() == [[0, 1, 0, 0]]


@pytest.mark.parametrize("noise", [1e-10, 1e-8, 1e-6])
@pytest.mark.parametrize("kind", ["near duplicates", "few factors"])
def test_donors_that_are_nearly_dependent_are_solved(noise: float, kind: str) -> None:
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n_rows, n_columns = int(rng.integers(3, 40)), int(rng.integers(6, 100))
        errors = noise * rng.normal(size=(n_rows, n_columns))
        if kind == "few factors":
            design = rng.normal(size=(n_rows, 2)) @ rng.normal(size=(2, n_columns)) + errors
        else:
            design = rng.normal(size=(n_rows, (n_columns + 1) // 2)).repeat(2, axis=1)[:, :n_columns] + errors
        target = design @ rng.dirichlet(np.full(n_columns, 0.3)) + 1e-3 * rng.normal(size=n_rows)
        assert solve(design, target).rel_gap[0] <= GAP_LIMIT
