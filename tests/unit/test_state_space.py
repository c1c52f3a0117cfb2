"""Whitening, smoothing and simulation in linear time against dense covariance matrices."""

from __future__ import annotations

import numpy as np
import pytest

from causalbench.numerics.state_space import PERSISTENCE, Structure, covary, predict, simulate, whiten
from causalbench.values import BoolArray, FloatArray

RATIOS = np.array([0.3, 0.05, 0.2, 0.6, 0.5, 0.1])
N, N_PRE = 30, 22
MOVING = np.random.default_rng(3).standard_normal((N, 2))
STRUCTURES = {
    "level": Structure(n_periods=N),
    "slope": Structure(n_periods=N, linear=True),
    "seasons": Structure(n_periods=N, seasons=4),
    "long seasons": Structure(n_periods=N, seasons=3, season_duration=5),
    "autoregressive": Structure(n_periods=N, autoregressive=True),
    "moving": Structure(n_periods=N, moving=MOVING),
    "all": Structure(n_periods=N, linear=True, autoregressive=True, seasons=3, season_duration=2, moving=MOVING),
}
every_structure = pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES.keys())


def transitions(structure: Structure) -> list[FloatArray]:
    """Return the matrix that takes the state of each period to the next."""
    linear, seasonal, autoregressive = structure.shape
    first, matrices = 1 + linear, []
    for turns in structure.turns:
        matrix = np.eye(structure.loadings.shape[1])
        if linear:
            matrix[0, 1] = 1.0
        if seasonal and turns:
            block = np.eye(seasonal, k=-1)
            block[0] = -1.0
            matrix[first : first + seasonal, first : first + seasonal] = block
        if autoregressive:
            matrix[first + seasonal, first + seasonal] = RATIOS[PERSISTENCE]
        matrices.append(matrix)
    return matrices


def dense_covariance(structure: Structure) -> FloatArray:
    """Return the covariance of the component in every pair of periods, shock by shock."""
    linear, seasonal, autoregressive = structure.shape
    first, ar = 1 + linear, 1 + linear + seasonal
    matrices, variances = transitions(structure), structure.innovations(RATIOS)[0]
    covariance = np.zeros((N, N))
    for born in range(N):
        for i, variance in enumerate(variances):
            if born == 0:
                variance = variance / (1 - RATIOS[PERSISTENCE] ** 2) if autoregressive and i == ar else 0.0
            elif first <= i < ar and not structure.turns[born - 1]:
                variance = 0.0
            state, response = np.eye(len(variances))[i], np.zeros(N)
            for t in range(born, N):
                response[t] = structure.loadings[t] @ state
                state = matrices[t] @ state
            covariance += variance * np.outer(response, response)
    return covariance


@pytest.fixture
def observed() -> BoolArray:
    known = np.ones(N_PRE, dtype=bool)
    known[[3, 4, 10, 21]] = False
    return known


@every_structure
def test_whitening_equals_the_inverse_of_the_covariance(structure: Structure, observed: BoolArray) -> None:
    columns = np.random.default_rng(1).standard_normal((N_PRE, 3))
    found = whiten(structure, columns, observed, RATIOS)
    covariance = (dense_covariance(structure)[:N_PRE, :N_PRE] + np.eye(N_PRE))[np.ix_(observed, observed)]
    expected = columns[observed].T @ np.linalg.solve(covariance, columns[observed])
    np.testing.assert_allclose(found.gram[0], expected, rtol=1e-9, atol=1e-10)
    assert found.log_det[0] == pytest.approx(np.linalg.slogdet(covariance)[1], abs=1e-10)


@every_structure
def test_prediction_equals_the_conditional_mean(structure: Structure, observed: BoolArray) -> None:
    series = np.random.default_rng(2).standard_normal((3, N_PRE))
    found = predict(structure, series, observed, RATIOS, np.zeros(3, dtype=np.int64))
    component = dense_covariance(structure)
    known = np.flatnonzero(observed)
    covariance = component[np.ix_(known, known)] + np.eye(len(known))
    expected = component[:, known] @ np.linalg.solve(covariance, series[:, known].T)
    np.testing.assert_allclose(found, expected.T, atol=1e-10)


@every_structure
def test_covariance_with_a_sum_equals_the_dense_one(structure: Structure) -> None:
    weights = np.random.default_rng(7).standard_normal(N)
    expected = dense_covariance(structure) @ weights
    np.testing.assert_allclose(covary(structure, RATIOS, weights)[0], expected, atol=1e-10)


@every_structure
def test_simulated_components_have_the_covariance(structure: Structure) -> None:
    n_draws = 20_000
    drawn = simulate(structure, RATIOS, np.zeros(n_draws, dtype=np.int64), np.random.default_rng(4))
    expected = dense_covariance(structure)
    scale = np.sqrt(np.diag(expected).max())
    assert np.abs(np.cov(drawn.T) - expected).max() < 8 * scale**2 / np.sqrt(
        n_draws
    )  # sd of an entry < 1.5 scale^2 / root n


def test_each_series_follows_its_own_ratios(observed: BoolArray) -> None:
    structure, rng = STRUCTURES["level"], np.random.default_rng(5)
    ratios = np.vstack([RATIOS, np.zeros(6), 4 * RATIOS])
    series, chosen = rng.standard_normal((5, N_PRE)), np.array([2, 0, 1, 2, 0])
    found = predict(structure, series, observed, ratios, chosen)
    for row, own, index in zip(found, series, chosen, strict=True):
        alone = predict(structure, own[None], observed, ratios[[index]], np.zeros(1, dtype=np.int64))
        np.testing.assert_array_equal(row, alone[0])
    assert (found[2] == 0).all()


def test_missing_periods_are_not_read(observed: BoolArray) -> None:
    structure, columns = STRUCTURES["all"], np.random.default_rng(6).standard_normal((N_PRE, 2))
    other = np.where(observed[:, None], columns, 99.0)
    np.testing.assert_array_equal(
        whiten(structure, columns, observed, RATIOS).gram, whiten(structure, other, observed, RATIOS).gram
    )


def test_initial_seasonal_states_repeat_and_sum_to_zero() -> None:
    starts = Structure(n_periods=24, seasons=4, season_duration=2).starts
    np.testing.assert_array_equal(starts[:, 0], 1.0)
    pattern = starts[:, 1:]
    np.testing.assert_array_equal(pattern[:8], pattern[8:16])
    np.testing.assert_allclose(pattern[:8].sum(axis=0), 0.0)
    assert np.linalg.matrix_rank(starts) == 4
