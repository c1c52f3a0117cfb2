r"""Tests of conditional independence: partial correlations of many claims at once, and residual products for mixed data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_SINGULAR = 1e-10
_MOST_STEPS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Claims ``x[i]`` independent of ``y[i]`` given one set, all with that set.

    Attributes
    ----------
    given
        Column numbers of the set, shape (k,).
    x, y
        Column numbers, shape (m,) each.
    """

    given: IntArray
    x: IntArray
    y: IntArray


def partial_correlations(correlation: FloatArray, groups: Sequence[Claims], relabelings: IntArray) -> FloatArray:
    r"""Return partial correlations of claims under many relabelings of the columns.

    .. math:: \rho_{xy \cdot S} = \frac{R_{xy} - R_{xS} R_{SS}^{-1} R_{Sy}}
        {\sqrt{(1 - R_{xS} R_{SS}^{-1} R_{Sx}) (1 - R_{yS} R_{SS}^{-1} R_{Sy})}}

    Parameters
    ----------
    correlation
        Correlation matrix, shape (d, d).
    groups
        Claims by their set; every set is solved once per relabeling, whatever the number of its claims.
    relabelings
        Column that takes the place of each column, shape (n_relabelings, d).

    Returns
    -------
    FloatArray
        Shape (n_relabelings, n_claims), claims in the order of the groups; NaN where the set fixes x or y, or is singular.

    Examples
    --------
    >>> chain = np.array([[1, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 1]])
    >>> claim = Claims(given=np.array([1]), x=np.array([0]), y=np.array([2]))
    >>> partial_correlations(chain, [claim], np.array([[0, 1, 2], [1, 0, 2]])).round(4).tolist()
    [[0.0], [0.4472]]
    """
    columns = []
    for group in groups:
        x, y, given = relabelings[:, group.x], relabelings[:, group.y], relabelings[:, group.given]
        joint, left, right = correlation[x, y], np.ones(x.shape), np.ones(x.shape)
        if group.given.size:
            within = correlation[given[:, :, None], given[:, None, :]]
            to_x = correlation[given[:, :, None], x[:, None, :]]
            to_y = correlation[given[:, :, None], y[:, None, :]]
            singular = np.linalg.eigvalsh(within)[:, 0] < _SINGULAR
            within[singular] = np.eye(group.given.size)
            on_x, on_y = np.linalg.solve(within, to_x), np.linalg.solve(within, to_y)
            joint = joint - (to_x * on_y).sum(axis=1)
            left, right = left - (to_x * on_x).sum(axis=1), right - (to_y * on_y).sum(axis=1)
            left[singular] = np.nan
        fixed = ~((left > _SINGULAR) & (right > _SINGULAR))
        scale = np.sqrt(np.where(fixed, np.nan, left * right))
        columns.append(np.clip(joint / scale, -1.0, 1.0))
    return np.concatenate(columns, axis=1) if columns else np.empty((len(relabelings), 0))


def fisher_z_p_values(partial: FloatArray, n_given: IntArray, n_rows: int) -> FloatArray:
    r"""Return two-sided p-values of partial correlations by Fisher's z.

    .. math:: z = \sqrt{n - k - 3} \, \operatorname{artanh} \hat\rho \sim N(0, 1)

    exact to order 1/n for Gaussian data (Fisher 1924). Not for effects that a straight line misses.

    Parameters
    ----------
    partial
        Partial correlations, last axis claims.
    n_given
        Size of each claim's set, shape (n_claims,).
    n_rows
        Number of rows they come from.

    Examples
    --------
    >>> fisher_z_p_values(np.array([0.0, 0.2]), np.array([0, 1]), 104).round(4).tolist()
    [1.0, 0.0426]
    """
    freedom = np.maximum(n_rows - n_given - 3, 0)
    with np.errstate(divide="ignore"):
        z = np.sqrt(freedom) * np.abs(np.arctanh(partial))
    z = np.where(freedom == 0, np.nan, z)
    p: FloatArray = 2 * stats.norm.sf(z)
    return p


def fisher_z_threshold(n_given: IntArray, n_rows: int, size: float) -> FloatArray:
    """Return the partial correlation from which on Fisher's z rejects in a test of some size; shape (n_claims,).

    Examples
    --------
    >>> fisher_z_threshold(np.array([0]), 103, 0.05).round(4).tolist()
    [0.1935]
    """
    freedom = n_rows - n_given - 3
    with np.errstate(divide="ignore", invalid="ignore"):
        threshold: FloatArray = np.tanh(stats.norm.isf(size / 2) / np.sqrt(np.where(freedom > 0, freedom, np.nan)))
    return threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Independence:
    """A test of one claim: ``statistic`` is about chi-squared with ``freedom`` degrees; NaN where it couldn't be tested."""

    statistic: float
    freedom: int
    p_value: float


def linear_product_test(standard: FloatArray, correlation: FloatArray, claim: Claims) -> Independence:
    """Test one claim about columns of numbers by the products of their linear residuals; see :func:`residual_product_test`.

    The partial correlation over an error that lets both variances change with the set, where Fisher's z rejects too often (14%
    in place of 5% where both grow with one column of it). Coefficients come from the correlation matrix, so it takes one pass.

    Parameters
    ----------
    standard
        Columns of mean 0 and variance 1, shape (n, d).
    correlation
        Their correlation matrix, shape (d, d).
    claim
        One x, one y and a set.
    """
    n, pair, given = len(standard), np.concatenate([claim.x, claim.y]), claim.given
    within = correlation[np.ix_(given, given)]
    unknown = Independence(statistic=float("nan"), freedom=1, p_value=float("nan"))
    if given.size and np.linalg.eigvalsh(within)[0] < _SINGULAR:
        return unknown
    left = standard[:, pair] - standard[:, given] @ np.linalg.solve(within, correlation[np.ix_(given, pair)])
    below = n - given.size - 2
    if below <= 0 or not (np.square(left).mean(axis=0) > _SINGULAR).all():
        return unknown
    products = left[:, 0] * left[:, 1]
    statistic = n * float(products.mean() ** 2 / products.var())
    return Independence(statistic=statistic, freedom=1, p_value=float(stats.f.sf(statistic * below / n, 1, below)))


def residual_product_test(x: FloatArray, y: FloatArray, given: FloatArray) -> Independence:
    r"""Test whether two blocks of columns are independent given a third, each of numbers or of 0 and 1.

    The generalised covariance measure (Shah, Peters 2020, section 3): regress every column of x and of y on the set, linearly or
    for columns of 0 and 1 logistically; under independence the products of residuals have mean zero,

    .. math:: R_i = \operatorname{vec}(\hat\varepsilon_{x,i} \hat\varepsilon_{y,i}^\top), \qquad
        T = n \bar R^\top \hat\Sigma_R^{-1} \bar R \sim \chi^2_{pq}

    whatever the variance of either does, as long as one of the two regressions is right and the other not far off; here
    against F with n - k - pq degrees below.

    Parameters
    ----------
    x, y
        Shapes (n, p) and (n, q): a number, or a column of 0 and 1 per level but the first.
    given
        Shape (n, k).

    Notes
    -----
    Not for dependence that leaves the mean alone, or that only an interaction in the set shows.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=(2000, 1))
    >>> x = (rng.uniform(size=(2000, 1)) < 1 / (1 + np.exp(-z))).astype(float)
    >>> y = z + rng.normal(size=(2000, 1))
    >>> residual_product_test(x, y, z).p_value > 0.05, residual_product_test(x, y, z[:, :0]).p_value < 1e-9
    (True, True)
    """
    n = len(x)
    design = np.column_stack([np.ones(n), given])
    left = np.column_stack([residuals(column, design) for column in x.T])
    right = np.column_stack([residuals(column, design) for column in y.T])
    products = (left[:, :, None] * right[:, None, :]).reshape(n, -1)
    freedom = products.shape[1]
    below = n - design.shape[1] - freedom
    mean = products.mean(axis=0)
    spread = np.cov(products, rowvar=False, bias=True).reshape(freedom, freedom)
    scale = np.sqrt(np.diag(spread))
    if below <= 0 or not (scale > 1e-12 * (1 + np.abs(left).max() * np.abs(right).max())).all():
        return Independence(statistic=float("nan"), freedom=freedom, p_value=float("nan"))
    unit = mean / scale
    statistic = n * float(unit @ np.linalg.pinv(spread / np.outer(scale, scale), hermitian=True) @ unit)
    p_value = float(stats.f.sf(statistic * below / (n * freedom), freedom, below))
    return Independence(statistic=statistic, freedom=freedom, p_value=p_value)


def residuals(column: FloatArray, design: FloatArray) -> FloatArray:
    """Return what a linear regression leaves of a column, a logistic one where the column holds only 0 and 1.

    Parameters
    ----------
    column
        Shape (n,).
    design
        Shape (n, k), a constant among its columns.
    """
    if np.isin(column, (0.0, 1.0)).all():
        return column - _logistic_mean(column, design)
    return np.subtract(column, design @ np.linalg.lstsq(design, column, rcond=None)[0])


def _logistic_mean(column: FloatArray, design: FloatArray) -> FloatArray:
    """Return fitted probabilities by Newton's steps on a design of unit scale, halved where the likelihood would fall."""
    scale = np.sqrt((design**2).mean(axis=0))
    scaled = design / np.where(scale > 0, scale, 1.0)
    ridge = 1e-8 * len(column) * np.eye(design.shape[1])
    beta: FloatArray = np.zeros(design.shape[1])
    value = -np.inf
    step: FloatArray = np.zeros_like(beta)
    for _ in range(_MOST_STEPS):
        linear = scaled @ (beta + step)
        now = float((column * linear - np.logaddexp(0, linear)).sum())
        if now < value - 1e-12 * abs(value):
            step = step / 2
            continue
        beta = beta + step
        mean = 1 / (1 + np.exp(-np.clip(linear, -500, 500)))
        if now - value < 1e-10 * (1 + abs(now)):
            break
        value = now
        weight = mean * (1 - mean)
        information, score = scaled.T @ (scaled * weight[:, None]), scaled.T @ (column - mean)
        step = np.asarray(np.linalg.solve(information + ridge, score), dtype=np.float64)
    fitted: FloatArray = 1 / (1 + np.exp(-np.clip(scaled @ beta, -500, 500)))
    return fitted
