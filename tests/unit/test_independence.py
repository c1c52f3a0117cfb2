"""Tests of conditional independence against slow ones: residuals of least squares, and scipy's own p-values."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from causalbench.numerics.independence import (
    Claims,
    fisher_z_p_values,
    fisher_z_threshold,
    linear_product_test,
    partial_correlations,
    residual_product_test,
    residuals,
)


def by_residuals(data, x, y, held):
    design = np.column_stack([np.ones(len(data)), data[:, held]])
    left, right = (data[:, i] - design @ np.linalg.lstsq(design, data[:, i], rcond=None)[0] for i in (x, y))
    return np.corrcoef(left, right)[0, 1]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), d=st.integers(3, 7))
def test_partial_correlations_are_those_of_residuals(seed, d):
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(50, d)) @ rng.normal(size=(d, d))
    relabelings = np.array([rng.permutation(d) for _ in range(4)])
    k = int(rng.integers(0, d - 1))
    order = rng.permutation(d)
    held, free = order[:k], order[k:]
    pairs = list(itertools.combinations(free.tolist(), 2))
    group = Claims(given=held, x=np.array([a for a, _ in pairs]), y=np.array([b for _, b in pairs]))
    found = partial_correlations(np.corrcoef(data, rowvar=False), [group], relabelings)
    expected = [[by_residuals(data, row[a], row[b], row[held]) for a, b in pairs] for row in relabelings]
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_a_set_that_fixes_a_node_gives_no_number():
    data = np.random.default_rng(0).normal(size=(40, 3))
    data = np.column_stack([data, data[:, 0]])
    correlation = np.corrcoef(data, rowvar=False)
    itself = np.arange(4)[None, :]
    fixed = Claims(given=np.array([3]), x=np.array([0]), y=np.array([1]))
    singular = Claims(given=np.array([0, 3]), x=np.array([1]), y=np.array([2]))
    assert np.isnan(partial_correlations(correlation, [fixed, singular], itself)).all()


def test_fisher_z_without_a_set_is_close_to_the_exact_test():
    """scipy.stats.pearsonr has the exact p-value of Gaussian data."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(2, 200))
    exact = stats.pearsonr(x, y)
    found = fisher_z_p_values(np.array([exact.statistic]), np.array([0]), 200)[0]
    assert found == pytest.approx(exact.pvalue, abs=0.002)


def test_threshold_and_p_value_are_one_test():
    n_given = np.array([0, 2, 5])
    at = fisher_z_threshold(n_given, 60, 0.05)
    np.testing.assert_allclose(fisher_z_p_values(at, n_given, 60), 0.05, rtol=1e-9)


def test_too_few_rows_give_no_number():
    assert np.isnan(fisher_z_p_values(np.array([0.5]), np.array([4]), 7))[0]
    assert np.isnan(fisher_z_threshold(np.array([4]), 7, 0.05))[0]


def test_logistic_residuals_are_those_of_the_maximum():
    rng = np.random.default_rng(3)
    design = np.column_stack([np.ones(300), rng.normal(size=(300, 2)) * [1.0, 50.0]])
    y = (rng.uniform(size=300) < 1 / (1 + np.exp(-design @ [0.3, 1.0, 0.02]))).astype(float)

    def loss(beta):
        linear = design @ beta
        return -(y * linear - np.logaddexp(0, linear)).sum()

    best = optimize.minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-9, "maxiter": 5000}).x
    np.testing.assert_allclose(residuals(y, design), y - 1 / (1 + np.exp(-design @ best)), atol=1e-5)


def test_separated_data_dont_hang_and_give_no_number_of_their_own():
    z = np.linspace(-1, 1, 60)[:, None]
    x = (z > 0).astype(float)
    found = residual_product_test(x, np.random.default_rng(4).normal(size=(60, 1)), z)
    assert np.isnan(found.p_value) or found.p_value > 0.001


def test_dependence_is_seen_between_every_kind_of_column():
    rng = np.random.default_rng(5)
    z = rng.normal(size=(600, 1))
    level = rng.integers(0, 3, size=600)
    three = np.column_stack([level == 1, level == 2]).astype(float)
    number = (level - 1.0 + rng.normal(size=600))[:, None]
    flag = (rng.uniform(size=(600, 1)) < 1 / (1 + np.exp(-number))).astype(float)
    for x, y in ((three, number), (flag, number), (three, flag), (number, three)):
        found = residual_product_test(x, y, z)
        assert found.freedom == x.shape[1] * y.shape[1]
        assert found.p_value < 1e-4


def test_scale_changes_nothing():
    rng = np.random.default_rng(6)
    z, x, y = rng.normal(size=(3, 200, 1))
    one = residual_product_test(x, y, z)
    other = residual_product_test(1e6 * x + 3, -1e-6 * y, 100 * z - 7)
    assert other.p_value == pytest.approx(one.p_value, rel=1e-6)


@pytest.mark.parametrize("k", [0, 1, 3])
def test_the_test_from_the_correlation_matrix_is_the_one_from_regressions(k):
    rng = np.random.default_rng(7 + k)
    data = rng.normal(size=(120, k + 2)) @ rng.normal(size=(k + 2, k + 2))
    standard = (data - data.mean(axis=0)) / data.std(axis=0)
    claim = Claims(given=np.arange(2, k + 2), x=np.array([0]), y=np.array([1]))
    found = linear_product_test(standard, np.corrcoef(data, rowvar=False), claim)
    slow = residual_product_test(data[:, :1], data[:, 1:2], data[:, 2:])
    assert found.statistic == pytest.approx(slow.statistic, rel=1e-6)
    assert found.p_value == pytest.approx(slow.p_value, rel=1e-6)


def test_a_fixed_column_or_a_singular_set_gives_no_number():
    data = np.random.default_rng(8).normal(size=(50, 3))
    data = np.column_stack([data, data[:, 0]])
    standard, correlation = (data - data.mean(axis=0)) / data.std(axis=0), np.corrcoef(data, rowvar=False)
    for held, x, y in (([3], 0, 1), ([0, 3], 1, 2)):
        claim = Claims(given=np.array(held), x=np.array([x]), y=np.array([y]))
        assert np.isnan(linear_product_test(standard, correlation, claim).p_value)
