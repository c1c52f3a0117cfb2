"""Nested weights against a grid over the importance of predictors, each inner problem by another solver."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import minimize, nnls

from causalbench.numerics.nested_weights import solve_nested
from causalbench.numerics.simplex import GAP_LIMIT


def problem(seed: int, *, n: int = 8, k: int = 3, periods: int = 10, away: float = 1.5):
    """Draw a treated unit outside what donors are, so that no mixture matches every predictor."""
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(n, 3)) + away
    predictors = loadings @ rng.normal(size=(3, k)) + 0.3 * rng.normal(size=(n, k))
    return predictors, loadings @ rng.normal(size=(3, periods)) + 0.3 * rng.normal(size=(n, periods))


def inner_by_nnls(predictors, importance):
    """Weights for one importance: non-negative least squares with a heavy row for the sum."""
    heavy = 1e4
    design = np.vstack([np.sqrt(importance)[:, None] * predictors.T, np.full(len(predictors), heavy)])
    weights = nnls(design, np.append(np.zeros(len(importance)), heavy), maxiter=10_000)[0]
    return weights / weights.sum()


@pytest.mark.parametrize("seed", range(6))
def test_no_importance_on_a_grid_does_better(seed):
    predictors, outcomes = problem(seed)
    fit = solve_nested(predictors, outcomes)
    grid = [np.array(v) / sum(v) for v in itertools.product(np.logspace(-3, 0, 12), repeat=3) if max(v) == 1]
    losses = [((inner_by_nnls(predictors, v) @ outcomes) ** 2).mean() for v in grid]
    assert fit.loss <= min(losses) * (1 + 1e-6)
    assert fit.bound <= fit.loss * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_weights_are_those_of_the_importance_that_is_reported(seed):
    predictors, outcomes = problem(seed, k=2)
    fit = solve_nested(predictors, outcomes)
    assert not fit.matched
    assert fit.importance.sum() == pytest.approx(1, abs=1e-12)
    assert fit.rel_gap <= GAP_LIMIT
    gradient = predictors @ (fit.importance * (fit.weights @ predictors))
    loss = fit.weights @ gradient
    assert loss - gradient.min() <= GAP_LIMIT * loss + 1e-15
    assert fit.loss == pytest.approx(((fit.weights @ outcomes) ** 2).mean(), rel=1e-9)


def test_outer_optimum_is_found_where_unrestricted_weights_can_be_had():
    predictors, outcomes = problem(3)
    # With every period a predictor, equal importance gives the unrestricted optimum, so nothing lower is left to find.
    fit = solve_nested(np.hstack([outcomes, predictors]), outcomes)
    assert fit.loss == pytest.approx(fit.bound, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_where_predictors_can_be_matched_the_outcome_decides(seed):
    predictors, outcomes = problem(seed, n=9, k=2, away=0.0)
    fit = solve_nested(predictors, outcomes)
    assert fit.matched
    np.testing.assert_allclose(fit.importance, 0.5)
    np.testing.assert_allclose(fit.weights @ predictors, 0, atol=1e-9)
    sum_and_match = {"type": "eq", "fun": lambda w: np.append(predictors.T @ w, w.sum() - 1)}
    slow = minimize(
        lambda w: ((w @ outcomes) ** 2).mean(),
        fit.weights + 0.01,
        method="SLSQP",
        bounds=[(0, 1)] * 9,
        constraints=sum_and_match,
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    assert fit.loss == pytest.approx(slow.fun, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_order_of_donors_leaves_no_trace(seed):
    predictors, outcomes = problem(seed)
    order = np.random.default_rng(seed).permutation(len(predictors))
    np.testing.assert_array_equal(
        solve_nested(predictors[order], outcomes[order]).weights, solve_nested(predictors, outcomes).weights[order]
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_of_the_outcome_leave_the_weights(seed, scale):
    predictors, outcomes = problem(seed)
    np.testing.assert_allclose(
        solve_nested(predictors, scale * outcomes).weights, solve_nested(predictors, outcomes).weights, atol=1e-10
    )


def test_donors_that_are_one_another_share_or_not_but_the_loss_is_the_same():
    predictors, outcomes = problem(1)
    twice = solve_nested(np.vstack([predictors, predictors[:3]]), np.vstack([outcomes, outcomes[:3]]))
    once = solve_nested(predictors, outcomes)
    assert twice.rel_gap <= GAP_LIMIT
    assert twice.loss == pytest.approx(once.loss, rel=1e-6)


def test_predictors_without_differences_leave_the_outcome_to_decide():
    outcomes = problem(2)[1]
    fit = solve_nested(np.zeros((len(outcomes), 2)), outcomes)
    assert fit.matched
    assert fit.loss == pytest.approx(fit.bound, rel=1e-9)
