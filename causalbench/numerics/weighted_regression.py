"""Weighted least squares of several responses on one design, one row per unit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_NO_ROOM = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WeightedRegression:
    """Coefficients of every response and what their covariance is made of.

    Attributes
    ----------
    coefficients
        Shape (n_regressors, n_responses).
    residuals
        Response less fit, unweighted, shape (n_units, n_responses).
    bread
        (X'WX)^-1, shape (n_regressors, n_regressors).
    variances
        Of a unit of weight one, from the weighted residuals; shape (n_responses,), NaN without degrees of freedom.
    df
        Units less regressors.
    influence
        What each unit's response adds to every coefficient, shape (n_units, n_regressors).
    leverages
        What each unit's response adds to its own fit, shape (n_units,).
    """

    coefficients: FloatArray
    residuals: FloatArray
    bread: FloatArray
    variances: FloatArray
    df: int
    influence: FloatArray
    leverages: FloatArray

    def robust_variance(self, coefficient: int, response: int) -> float:
        r"""Return the HC3 variance of a coefficient (MacKinnon, White 1985): :math:`\sum_i a_i^2 r_i^2 / (1 - h_i)^2`.

        With a the influence on the coefficient, r the residual and h the leverage. Infinite where one unit fixes its own fit.
        """
        left = 1 - self.leverages
        if left.min() < _NO_ROOM:
            return math.inf
        return float(((self.influence[:, coefficient] * self.residuals[:, response] / left) ** 2).sum())


def weighted_regression(design: FloatArray, responses: FloatArray, weights: FloatArray) -> WeightedRegression:
    """Minimise the weighted sum of squares of every response.

    Parameters
    ----------
    design, responses, weights
        Shapes (n_units, n_regressors), (n_units, n_responses) and (n_units,); weights are positive, inverse to variances.

    Raises
    ------
    numpy.linalg.LinAlgError
        When a regressor is a combination of the others.

    Examples
    --------
    >>> import numpy as np
    >>> line = np.column_stack([np.ones(4), [0.0, 1.0, 2.0, 3.0]])
    >>> found = weighted_regression(line, np.array([[1.0], [3.0], [5.0], [7.0]]), np.array([1.0, 4.0, 1.0, 2.0]))
    >>> np.round(found.coefficients[:, 0], 9).tolist(), found.df
    ([1.0, 2.0], 2)
    """
    root = np.sqrt(weights / weights.max())[:, None]
    scales = np.sqrt(((root * design) ** 2).sum(axis=0))
    if not scales.all():
        raise np.linalg.LinAlgError("a regressor is zero throughout")
    q, r = np.linalg.qr(root * design / scales)
    if np.abs(np.diag(r)).min() < 1e-10:
        raise np.linalg.LinAlgError("a regressor is a combination of the others")
    inverse = np.linalg.inv(r) / scales[:, None]
    coefficients = inverse @ (q.T @ (root * responses))
    residuals = responses - design @ coefficients
    df = len(design) - design.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        variances = (root**2 * residuals**2).sum(axis=0) / (df if df > 0 else np.nan) * weights.max()
    return WeightedRegression(
        coefficients=coefficients,
        residuals=residuals,
        bread=inverse @ inverse.T / weights.max(),
        variances=variances,
        df=df,
        influence=root * q @ inverse.T,
        leverages=(q**2).sum(axis=1),
    )
