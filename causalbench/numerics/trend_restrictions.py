r"""Restrictions on how trends may differ after a treatment, given how they differed before it.

Event-study coefficients estimate :math:`\beta = \delta + \tau`, where :math:`\tau` are effects, zero before the
treatment, and :math:`\delta` is the difference in trends that would have been there anyway. Rambachan and Roth (2023,
Review of Economic Studies 90, 2555-2591, section 2.4) restrict :math:`\delta`, with :math:`\delta = 0` in the reference
period, in one of two ways:

.. math::
    \Delta^{SD}(M) = \{\delta : |(\delta_{t+1} - \delta_t) - (\delta_t - \delta_{t-1})| \le M \text{ for all } t\}

    \Delta^{RM}(\bar M) = \{\delta : |\delta_{t+1} - \delta_t| \le \bar M \max_{s<0} |\delta_{s+1} - \delta_s|
    \text{ for all } t \ge 0\}

The second is a union of polyhedra, one for each period before the treatment and each sign of its step. Every polyhedron
here has one form, :math:`|d_t'\delta| \le c_t'\delta + \ell_t`, with one row for each period after the treatment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrendRestriction:
    r"""A polyhedron :math:`\{\delta : |d_t'\delta| \le c_t'\delta + \ell_t \text{ for all } t\}`.

    Attributes
    ----------
    difference
        :math:`d_t`, shape (n_post, n_pre + n_post). Row t brings in the coefficient of period t after the treatment
        and none later, so that the columns of these periods are lower triangular.
    ceiling
        :math:`c_t`, shape (n_post, n_pre + n_post); zero in the columns after the treatment.
    limit
        :math:`\ell_t`, shape (n_post,), in units of the outcome.
    """

    difference: FloatArray
    ceiling: FloatArray
    limit: FloatArray

    def contains(self, trend: FloatArray) -> bool:
        """Return whether a difference in trends, shape (n_pre + n_post,), satisfies the restriction."""
        return bool((np.abs(self.difference @ trend) <= self.ceiling @ trend + self.limit).all())

    def inequalities(self) -> tuple[FloatArray, FloatArray]:
        r"""Return A and d of the form :math:`A\delta \le d`, upper sides first."""
        matrix = np.concatenate([self.difference - self.ceiling, -self.difference - self.ceiling])
        return matrix, np.concatenate([self.limit, self.limit])


def first_differences(n_pre: int, n_post: int) -> FloatArray:
    r"""Return the matrix of steps :math:`\delta_{t+1} - \delta_t` in order of time, the reference period being zero.

    Examples
    --------
    >>> first_differences(1, 2).tolist()
    [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 1.0]]
    """
    levels = np.insert(np.eye(n_pre + n_post), n_pre, 0.0, axis=0)
    return np.asarray(np.diff(levels, axis=0))


def second_differences(n_pre: int, n_post: int) -> FloatArray:
    """Return the matrix of changes of the step, shape (n_pre + n_post - 1, n_pre + n_post), in order of time.

    Examples
    --------
    >>> second_differences(1, 2).tolist()
    [[1.0, 1.0, 0.0], [0.0, -2.0, 1.0]]
    """
    return np.asarray(np.diff(first_differences(n_pre, n_post), axis=0))


def smoothness_restriction(n_pre: int, n_post: int, *, bound: float) -> TrendRestriction:
    r"""Return :math:`\Delta^{SD}(M)` without the rows that involve coefficients before the treatment alone.

    Parameters
    ----------
    n_pre, n_post
        Coefficients before and after the reference period.
    bound
        M, the largest change of the slope from one period to the next, in units of the outcome per period.
    """
    difference = second_differences(n_pre, n_post)[n_pre - 1 :]
    return TrendRestriction(difference=difference, ceiling=np.zeros_like(difference), limit=np.full(n_post, bound))


def relative_magnitude_restrictions(n_pre: int, n_post: int, *, mbar: float) -> tuple[TrendRestriction, ...]:
    r"""Return the polyhedra whose union is :math:`\Delta^{RM}(\bar M)`.

    Parameters
    ----------
    n_pre, n_post
        Coefficients before and after the reference period.
    mbar
        Largest step after the treatment, as a multiple of the largest step before it.

    Returns
    -------
    tuple of TrendRestriction
        For each step before the treatment in order of time, the polyhedron where it bounds the later steps and is
        positive, then the one where it is negative.
    """
    steps = first_differences(n_pre, n_post)
    return tuple(
        TrendRestriction(
            difference=steps[n_pre:], ceiling=np.tile(sign * mbar * steps[peak], (n_post, 1)), limit=np.zeros(n_post)
        )
        for peak in range(n_pre)
        for sign in (1.0, -1.0)
    )
