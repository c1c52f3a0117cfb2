"""Models drawn from the collapsed posterior against the enumeration of every model with dense matrices."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import multivariate_t

from causalbench.numerics.spike_and_slab import (
    CollapsedPosterior,
    ModelDraws,
    draw_coefficients,
    draw_models,
    log_posterior,
    sweep,
)
from causalbench.values import FloatArray

N, K = 25, 4
SHAPE, RATE = 1.5, 0.8
SLAB = 0.3
INCLUSION = np.array([0.4, 0.25, 1.0, 0.6])
MODELS = [np.array(m) for m in itertools.product([False, True], repeat=K) if m[2]]


def design() -> tuple[FloatArray, FloatArray]:
    """Draw correlated regressors and a response that two of them explain a little."""
    rng = np.random.default_rng(8)
    columns = rng.standard_normal((N, K))
    columns[:, 1] = 0.9 * columns[:, 0] + 0.4 * columns[:, 1]
    return columns, 0.35 * columns[:, 0] + 0.3 * columns[:, 3] + rng.standard_normal(N)


def noise_covariances() -> list[FloatArray]:
    apart = np.abs(np.subtract.outer(np.arange(N), np.arange(N)))
    return [np.eye(N), 1.3 * 0.5**apart, 0.8 * 0.9**apart]


def posterior() -> CollapsedPosterior:
    columns, response = design()
    table = np.column_stack([columns, response])
    covariances = noise_covariances()
    return CollapsedPosterior(
        gram=np.array([table.T @ np.linalg.solve(c, table) for c in covariances]),
        log_weight=np.array([-np.linalg.slogdet(c)[1] / 2 for c in covariances]),
        grid=(3,),
        shape=SHAPE + N / 2,
        rate=np.full(3, RATE),
        slab_precision=np.full((3, K), SLAB),
        inclusion=INCLUSION,
    )


def exact_log_probabilities() -> FloatArray:
    """Return the normalised log posterior of every structure and model: the response's law is multivariate t."""
    columns, response = design()
    found = np.empty((3, len(MODELS)))
    for g, covariance in enumerate(noise_covariances()):
        for i, model in enumerate(MODELS):
            chosen = columns[:, model]
            law = multivariate_t(shape=RATE / SHAPE * (covariance + chosen @ chosen.T / SLAB), df=2 * SHAPE, seed=0)
            prior = np.where(model, INCLUSION, 1 - INCLUSION)
            found[g, i] = law.logpdf(response) + np.log(prior).sum()
    return found - np.log(np.exp(found - found.max()).sum()) - found.max()


def test_log_posterior_equals_that_of_dense_matrices() -> None:
    exact = exact_log_probabilities()
    found = np.array([[log_posterior(posterior(), g, model) for model in MODELS] for g in range(3)])
    difference = found - exact
    np.testing.assert_allclose(difference, difference[0, 0], atol=1e-9)


def test_chain_visits_models_as_often_as_they_are_likely() -> None:
    n_draws = 40_000
    drawn = draw_models(posterior(), 1 - np.eye(K), n_draws=n_draws, n_burn=100, rng=np.random.default_rng(0))
    exact = np.exp(exact_log_probabilities())
    counts = np.zeros_like(exact)
    position = {tuple(model): i for i, model in enumerate(MODELS)}
    for g, model in zip(drawn.structure, drawn.included, strict=True):
        counts[g, position[tuple(model)]] += 1
    # Draws of a chain tell less than independent ones: four times their error.
    assert np.abs(counts / n_draws - exact).max() < 4 * 2 * np.sqrt(0.25 / n_draws)
    inclusion = (exact.sum(axis=0)[:, None] * np.array(MODELS)).sum(axis=0)
    np.testing.assert_allclose(drawn.included.mean(axis=0), inclusion, atol=0.02)


def test_same_seed_gives_the_same_models() -> None:
    first, second = (
        draw_models(posterior(), 1 - np.eye(K), n_draws=50, n_burn=5, rng=np.random.default_rng(3)) for _ in range(2)
    )
    np.testing.assert_array_equal(first.structure, second.structure)
    np.testing.assert_array_equal(first.included, second.included)


def test_coefficients_have_their_conditional_law() -> None:
    columns, response = design()
    model, n_draws = np.array([True, True, True, False]), 40_000
    models = ModelDraws(structure=np.full(n_draws, 1), included=np.tile(model, (n_draws, 1)))
    drawn = draw_coefficients(posterior(), models, np.random.default_rng(1))
    chosen, precision = columns[:, model], np.linalg.inv(noise_covariances()[1])
    information = chosen.T @ precision @ chosen + SLAB * np.eye(3)
    centre = np.linalg.solve(information, chosen.T @ precision @ response)
    left = response @ precision @ response - centre @ information @ centre
    shape, rate = SHAPE + N / 2, RATE + left / 2
    np.testing.assert_allclose(drawn.centre[0, model], centre, rtol=1e-10)
    assert (drawn.centre[:, 3] == 0).all()
    assert (drawn.deviation[:, 3] == 0).all()
    assert (drawn.sigma**2).mean() == pytest.approx(rate / (shape - 1), rel=0.01)
    covariance = rate / (shape - 1) * np.linalg.inv(information)
    found = np.cov(drawn.deviation[:, model].T)
    np.testing.assert_allclose(found, covariance, atol=0.03 * np.diag(covariance).max())


def test_sweeping_twice_changes_nothing() -> None:
    table = posterior().gram[0]
    swept = table.copy()
    sweep(swept, 1)
    assert not np.allclose(swept, table)
    sweep(swept, 1)
    np.testing.assert_allclose(swept, table, rtol=1e-12, atol=1e-12)
