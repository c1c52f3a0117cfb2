r"""Weighted least squares with absorbed effects on a panel that may have holes.

Regressors take one value per class of units (their cohort) and period, times a number of the unit; besides, there are
covariates by cell. Effects of groups (units, or clusters of them) are taken out by demeaning, which is exact for holes
too; what remains is small, because panels have few periods, and is solved by normal equations (Frisch, Waugh, Lovell).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

_COLLINEAR = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """The cells of a regression.

    Attributes
    ----------
    outcome
        Shape (n_units, n_periods); cells that aren't used may hold NaN.
    used
        Which cells are used, shape (n_units, n_periods).
    weights
        Of the units, positive, shape (n_units,).
    groups
        Number of the group whose effect is absorbed, from 0 up, shape (n_units,).
    classes
        Number of the class that the regressors depend on, from 0 up, shape (n_units,).
    """

    outcome: FloatArray
    used: BoolArray
    weights: FloatArray
    groups: IntArray
    classes: IntArray
    cell_weights: FloatArray = field(init=False)
    group_weights: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cell_weights", self.used * self.weights[:, None])
        object.__setattr__(self, "group_weights", self.by_group(self.cell_weights.sum(axis=1)))

    @property
    def one_unit_per_group(self) -> bool:
        """Whether every unit is a group of its own, so that residuals add up to zero within each unit."""
        return len(self.group_weights) == len(self.weights)

    def by_group(self, values: FloatArray) -> FloatArray:
        """Add up rows of shape (n_units, ...) within groups."""
        n_groups = int(self.groups.max()) + 1
        if n_groups == len(self.groups):
            in_order = (self.groups[:-1] < self.groups[1:]).all()
            ordered: FloatArray = values if in_order else values[np.argsort(self.groups)]
            return ordered
        sums = np.zeros((n_groups, *values.shape[1:]))
        np.add.at(sums, self.groups, values)
        return sums

    def group_means(self, values: FloatArray) -> FloatArray:
        """Weighted means over a group's used cells, of values that are zero elsewhere; shape (n_groups, ...)."""
        sums = self.by_group(np.einsum("i,it...->i...", self.weights, values))
        shape = (-1,) + (1,) * (sums.ndim - 1)
        means: FloatArray = sums / np.where(self.group_weights > 0, self.group_weights, 1.0).reshape(shape)
        return means

    def demeaned(self, values: FloatArray) -> FloatArray:
        """Take group means off values of shape (n_units, n_periods, ...) and leave zero where cells aren't used."""
        mask = self.used.reshape(*self.used.shape, *(1,) * (values.ndim - 2))
        filled = np.where(mask, values, 0.0)
        once = np.where(mask, filled - self.group_means(filled)[self.groups][:, None], 0.0)
        # A second time, so that what is left of a large mean by rounding goes too.
        return np.where(mask, once - self.group_means(once)[self.groups][:, None], 0.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Regressors:
    """What the outcome is regressed on, besides the absorbed effects.

    Attributes
    ----------
    cells
        Value of each of p regressors by class and period, shape (n_classes, n_periods, p).
    factors
        Numbers of the units that regressors may be multiplied by, the first of them 1; shape (n_units, q).
    factor_of
        Column of ``factors`` that multiplies each regressor, shape (p,).
    covariates
        By cell, shape (n_units, n_periods, k); NaN where cells aren't used.
    """

    cells: FloatArray
    factors: FloatArray
    factor_of: IntArray
    covariates: FloatArray

    @classmethod
    def plain(cls, cells: FloatArray, n_units: int, covariates: FloatArray) -> Regressors:
        """Regressors that no number of the unit multiplies."""
        return cls(
            cells=cells,
            factors=np.ones((n_units, 1)),
            factor_of=np.zeros(cells.shape[2], dtype=np.int64),
            covariates=covariates,
        )

    @property
    def n_columns(self) -> int:
        """Number of coefficients."""
        return int(self.cells.shape[2] + self.covariates.shape[2])

    def by_factor(self, member: int, coefficients: FloatArray) -> list[tuple[int, FloatArray]]:
        """Combine the regressors of a class: for each factor, shape (n_periods, ...)."""
        n_cells = self.cells.shape[2]
        found = []
        for m in range(self.factors.shape[1]):
            own = np.flatnonzero((self.factor_of == m) & self.cells[member].any(axis=0))
            if len(own):
                found.append((m, self.cells[member][:, own] @ coefficients[:n_cells][own]))
        return found

    def predict(self, classes: IntArray, coefficients: FloatArray) -> FloatArray:
        """Return what the coefficients say about every cell, shape (n_units, n_periods); group effects left out."""
        fitted = np.zeros((len(classes), self.cells.shape[1]))
        for member in range(len(self.cells)):
            rows = classes == member
            for m, line in self.by_factor(member, coefficients):
                fitted[rows] += self.factors[rows, m, None] * line
        if self.covariates.shape[2]:
            fitted = fitted + np.nan_to_num(self.covariates) @ coefficients[self.cells.shape[2] :]
        return fitted


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Regression:
    """Least squares coefficients and what their errors are made of.

    Attributes
    ----------
    coefficients
        Shape (p + k,); zero where a column is collinear with those before it.
    kept
        Which columns aren't collinear, shape (p + k,).
    bread
        Inverse of the normal equations' matrix, zero in the rows and columns that aren't kept.
    residuals
        Shape (n_units, n_periods), zero where cells aren't used.
    """

    rows: Rows
    regressors: Regressors
    coefficients: FloatArray
    kept: BoolArray
    bread: FloatArray
    residuals: FloatArray

    def influence(self, combinations: FloatArray) -> FloatArray:
        r"""Return what each unit contributes to the error of linear combinations of the coefficients.

        .. math:: \psi_i = w_i \sum_t e_{it} \, \tilde z_{it}' (\tilde Z' W \tilde Z)^{-1} l

        Parameters
        ----------
        combinations
            Weights of the coefficients, shape (p + k, q).

        Returns
        -------
        FloatArray
            Shape (n_units, q).
        """
        solved = self.bread @ combinations
        rows, regressors = self.rows, self.regressors
        found = np.zeros((len(rows.weights), combinations.shape[1]))
        for member in range(len(regressors.cells)):
            own = rows.classes == member
            weighted = rows.weights[own, None] * self.residuals[own]
            parts = [
                (regressors.factors[own, m, None] * weighted) @ lines
                for m, lines in regressors.by_factor(member, solved)
            ]
            if parts:
                found[own] = sum(parts[1:], parts[0])
        if regressors.covariates.shape[2]:
            scores = np.einsum("it,itk->ik", self.residuals, rows.demeaned(regressors.covariates))
            found += (rows.weights[:, None] * scores) @ solved[regressors.cells.shape[2] :]
        if not rows.one_unit_per_group:
            means = mean_regressors(rows, regressors)
            means[:, regressors.cells.shape[2] :] = 0.0  # covariates are demeaned already
            found -= (rows.weights * self.residuals.sum(axis=1))[:, None] * (means @ solved)[rows.groups]
        return found


def regress(rows: Rows, regressors: Regressors) -> Regression:
    """Regress the outcome on absorbed effects, regressors and covariates.

    Columns that are collinear with absorbed effects and earlier columns get no coefficient; see ``kept``.

    Examples
    --------
    >>> import numpy as np
    >>> rows = Rows(
    ...     outcome=np.array([[1.0, 4.0], [2.0, 3.0]]),
    ...     used=np.ones((2, 2), dtype=bool),
    ...     weights=np.ones(2),
    ...     groups=np.arange(2),
    ...     classes=np.arange(2),
    ... )
    >>> cells = np.array([[[0.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, 0.0]]])
    >>> regress(rows, Regressors.plain(cells, 2, np.empty((2, 2, 0)))).coefficients.round(6).tolist()
    [1.0, 2.0]
    """
    bread, kept = generalised_inverse(_normal_equations(rows, regressors), _sizes(rows, regressors))
    outcome = rows.demeaned(rows.outcome)
    coefficients = np.zeros(regressors.n_columns)
    residuals = outcome
    for _ in range(2):  # the second time refines what rounding left of the first
        coefficients = coefficients + bread @ _products(rows, regressors, residuals)
        residuals = outcome - rows.demeaned(regressors.predict(rows.classes, coefficients))
    return Regression(
        rows=rows, regressors=regressors, coefficients=coefficients, kept=kept, bread=bread, residuals=residuals
    )


def _products(rows: Rows, regressors: Regressors, values: FloatArray) -> FloatArray:
    """Return the weighted products of every column with demeaned values (n_units, n_periods), shape (p + k,)."""
    weighted = rows.weights[:, None] * values
    n_cells = regressors.cells.shape[2]
    found = np.zeros(regressors.n_columns)
    for member in range(len(regressors.cells)):
        own = rows.classes == member
        sums = regressors.factors[own].T @ weighted[own]
        found[:n_cells] += np.einsum("tp,pt->p", regressors.cells[member], sums[regressors.factor_of])
    if regressors.covariates.shape[2]:
        found[n_cells:] = np.einsum("it,itk->k", weighted, rows.demeaned(regressors.covariates))
    return found


def mean_regressors(rows: Rows, regressors: Regressors) -> FloatArray:
    """Return the weighted mean of every column over each group's used cells, shape (n_groups, p + k)."""
    n_cells = regressors.cells.shape[2]
    sums = np.zeros((len(rows.weights), regressors.n_columns))
    for member in range(len(regressors.cells)):
        own = rows.classes == member
        sums[own, :n_cells] = rows.used[own] @ regressors.cells[member]
    sums[:, :n_cells] *= regressors.factors[:, regressors.factor_of]
    sums[:, n_cells:] = np.where(rows.used[:, :, None], regressors.covariates, 0.0).sum(axis=1)
    total = np.where(rows.group_weights > 0, rows.group_weights, 1.0)
    means: FloatArray = rows.by_group(rows.weights[:, None] * sums) / total[:, None]
    return means


def _normal_equations(rows: Rows, regressors: Regressors) -> FloatArray:
    """Return the matrix of products of demeaned columns, shape (p + k, p + k)."""
    n_cells, n = regressors.cells.shape[2], regressors.n_columns
    gram = np.zeros((n, n))
    covariates = rows.demeaned(regressors.covariates)
    weighted = rows.weights[:, None, None] * covariates
    for member in range(len(regressors.cells)):
        own = rows.classes == member
        active = np.flatnonzero(regressors.cells[member].any(axis=0))
        cells, factor_of = regressors.cells[member][:, active], regressors.factor_of[active]
        factors = regressors.factors[own]
        gram[np.ix_(active, active)] += _raw_products(cells, factors, factor_of, rows.cell_weights[own])
        if covariates.shape[2]:
            sums = np.einsum("im,itk->mtk", factors, weighted[own])[factor_of]
            gram[active, n_cells:] += np.einsum("tp,ptk->pk", cells, sums)
        if rows.one_unit_per_group:
            means = (rows.used[own] @ cells) * factors[:, factor_of]
            counted = rows.used[own].sum(axis=1)
            share = rows.weights[own] / np.where(counted > 0, counted, 1)
            gram[np.ix_(active, active)] -= (means * share[:, None]).T @ means
    if not rows.one_unit_per_group:
        means = mean_regressors(rows, regressors)[:, :n_cells]
        gram[:n_cells, :n_cells] -= (means * rows.group_weights[:, None]).T @ means
    gram[n_cells:, :n_cells] = gram[:n_cells, n_cells:].T
    gram[n_cells:, n_cells:] = np.einsum("itk,itl->kl", weighted, covariates, optimize=True)
    return gram


def _raw_products(cells: FloatArray, factors: FloatArray, factor_of: IntArray, weights: FloatArray) -> FloatArray:
    """Return the products of the columns of one class before demeaning, from sums over its units by period."""
    found = np.zeros((cells.shape[1], cells.shape[1]))
    for m in np.unique(factor_of):
        for other in np.unique(factor_of):
            left, right = np.flatnonzero(factor_of == m), np.flatnonzero(factor_of == other)
            total = (factors[:, m] * factors[:, other]) @ weights
            found[np.ix_(left, right)] = cells[:, left].T @ (total[:, None] * cells[:, right])
    return found


def _sizes(rows: Rows, regressors: Regressors) -> FloatArray:
    """Return each column's sum of squares: about zero for regressors, about the overall mean for covariates."""
    n_cells = regressors.cells.shape[2]
    size = np.zeros(regressors.n_columns)
    for member in range(len(regressors.cells)):
        own = rows.classes == member
        squares = (regressors.factors[own] ** 2).T @ rows.cell_weights[own]
        size[:n_cells] += np.einsum("tp,pt->p", regressors.cells[member] ** 2, squares[regressors.factor_of])
    if regressors.covariates.shape[2]:
        filled = np.where(rows.used[:, :, None], regressors.covariates, 0.0)
        middle = np.einsum("it,itk->k", rows.cell_weights, filled) / rows.cell_weights.sum()
        size[n_cells:] = np.einsum("it,itk->k", rows.cell_weights, (filled - middle) ** 2)
    return size


def generalised_inverse(gram: FloatArray, size: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Invert a matrix of products on its first linearly independent columns.

    Parameters
    ----------
    gram
        Positive semidefinite, shape (p, p).
    size
        What each diagonal element is held against, shape (p,): a column of which less than 1e-10 of it is left, once
        the columns before it are taken out, is collinear.

    Returns
    -------
    inverse, kept
        The inverse with zeros in the rows and columns left out, and which columns are kept.

    Examples
    --------
    >>> import numpy as np
    >>> generalised_inverse(np.array([[2.0, 2.0], [2.0, 2.0]]), np.full(2, 2.0))[1].tolist()
    [True, False]
    """
    scale = np.where(size > 0, 1 / np.sqrt(np.where(size > 0, size, 1.0)), 0.0)
    # Swept column by column, not by LAPACK, whose last bits depend on the number of threads.
    left = gram * scale[:, None] * scale
    kept = np.zeros(len(gram), dtype=bool)
    for j in range(len(gram)):
        pivot = left[j, j]
        kept[j] = pivot > _COLLINEAR
        if kept[j]:
            column = left[:, j].copy()
            left -= np.outer(column, column / pivot)
            left[:, j] = left[j] = column / pivot
            left[j, j] = -1 / pivot
        else:
            left[:, j] = left[j] = 0.0
    return -left * scale[:, None] * scale, kept


def cluster_sums(contributions: FloatArray, clusters: IntArray) -> FloatArray:
    """Add up contributions of shape (n_units, q) within clusters, shape (n_clusters, q)."""
    n_clusters = int(clusters.max()) + 1
    if n_clusters == len(clusters):
        return contributions  # every unit a cluster of its own, in whichever order
    sums = np.zeros((n_clusters, contributions.shape[1]))
    np.add.at(sums, clusters, contributions)
    return sums


def clustered(contributions: FloatArray, clusters: IntArray) -> FloatArray:
    """Return the sum over clusters of outer products of their summed contributions, shape (q, q).

    Examples
    --------
    >>> import numpy as np
    >>> clustered(np.array([[1.0], [2.0], [-1.0]]), np.array([0, 0, 1])).tolist()
    [[10.0]]
    """
    sums = cluster_sums(contributions, clusters)
    covariance: FloatArray = sums.T @ sums
    return covariance
