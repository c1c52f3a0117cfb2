"""The extreme predictions of uncertain weights against a general convex solver, and by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from causalbench.numerics.weight_uncertainty import extreme_changes
from causalbench.values import FloatArray

cvxpy = pytest.importorskip("cvxpy", reason="the oracle is an optional package")


def oracle(
    design: FloatArray,
    weights: FloatArray,
    lower: FloatArray,
    shock: FloatArray,
    towards: FloatArray,
    *,
    intercept: bool,
) -> tuple[float, float]:
    """Solve the two programs as they stand in the paper."""
    chosen, constant = cvxpy.Variable(len(weights)), cvxpy.Variable()
    delta = chosen - weights
    slack = cvxpy.sum_squares(design @ delta) - 2 * (design.T @ shock) @ delta
    value = towards @ delta
    if intercept:
        slack += len(design) * cvxpy.square(constant) - 2 * shock.sum() * constant
        value += constant
    ends = []
    for goal in (cvxpy.Minimize(value), cvxpy.Maximize(value)):
        problem = cvxpy.Problem(goal, [slack <= 0, cvxpy.sum(chosen) == 1, chosen >= lower])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ends.append(float(problem.solve(solver=cvxpy.SCS, eps=1e-9, max_iters=100_000)))
    return ends[0], ends[1]


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize(("n_pre", "n_donors"), [(20, 4), (7, 11)])
@pytest.mark.parametrize("size", [0.1, 1.0])
def test_extremes_are_those_of_a_general_solver(n_pre: int, n_donors: int, size: float, intercept: bool) -> None:
    rng = np.random.default_rng([n_pre, n_donors])
    design, weights = rng.normal(size=(n_pre, n_donors)), rng.dirichlet(np.full(n_donors, 0.5))
    design = design - design.mean(axis=0) if intercept else design
    lower = np.where(weights < 0.05, weights, 0.0)
    shocks, directions = size * rng.normal(size=(2, n_pre)), rng.normal(size=(2, n_donors))
    found = extreme_changes(design, weights, lower, shocks, directions, intercept=intercept)
    for b, shock in enumerate(shocks):
        for d, towards in enumerate(directions):
            least, largest = oracle(design, weights, lower, shock, towards, intercept=intercept)
            assert found.least[b, d] == pytest.approx(least, abs=2e-5)
            assert found.largest[b, d] == pytest.approx(largest, abs=2e-5)


def test_two_donors_by_hand() -> None:
    # delta = (d, -d): 2 d^2 - 2 * .3 d <= 0 holds for d from 0 to .3, and the direction (2, 0) changes by 2 d.
    found = extreme_changes(
        np.eye(2), np.array([0.5, 0.5]), np.zeros(2), np.array([[0.3, 0.0]]), np.array([[2.0, 0.0]]), intercept=False
    )
    assert found.least[0, 0] == pytest.approx(0.0, abs=1e-6)
    assert found.largest[0, 0] == pytest.approx(0.6, abs=1e-6)


def test_weights_never_leave_the_simplex() -> None:
    # The constraint alone would allow d up to 5; the first weight ends at one, d = .5.
    found = extreme_changes(
        np.eye(2), np.array([0.5, 0.5]), np.zeros(2), np.array([[5.0, 0.0]]), np.array([[2.0, 0.0]]), intercept=False
    )
    assert found.largest[0, 0] == pytest.approx(1.0, abs=1e-9)


def test_weights_without_room_change_nothing() -> None:
    weights = np.array([0.5, 0.5])
    found = extreme_changes(np.eye(2), weights, weights, np.ones((3, 2)), np.ones((1, 2)), intercept=False)
    assert found.least.tolist() == found.largest.tolist() == [[0.0]] * 3


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_unit_of_the_outcome_scales_the_extremes(scale: float) -> None:
    rng = np.random.default_rng(3)
    design, weights = rng.normal(size=(15, 5)), np.array([0.4, 0.3, 0.3, 0.0, 0.0])
    shocks, directions = rng.normal(size=(4, 15)), rng.normal(size=(3, 5))
    lower = np.zeros(5)
    plain = extreme_changes(design, weights, lower, shocks, directions, intercept=False)
    large = extreme_changes(scale * design, weights, lower, scale * shocks, scale * directions, intercept=False)
    np.testing.assert_allclose(large.largest, scale * plain.largest, rtol=1e-9, atol=1e-9 * scale)
    np.testing.assert_allclose(large.least, scale * plain.least, rtol=1e-9, atol=1e-9 * scale)
