r"""What event-study estimates say about an effect when trends may differ, but not arbitrarily.

Parallel trends needn't hold exactly: the analyst states how far they may fail, by :math:`\Delta^{SD}(M)` or
:math:`\Delta^{RM}(\bar M)` (see :mod:`causalbench.numerics.trend_restrictions`), and gets a confidence set for
:math:`\theta = l'\tau` that is valid whatever the difference in trends within the restriction (Rambachan and Roth 2023,
Review of Economic Studies 90, 2555-2591). The breakdown value is how far they may fail before zero joins the set.

All inputs are in order of event time with the reference period left out, ``n_pre`` estimates before it and the others
after it; periods are equally spaced. Everything is worked out in units of the effect's standard error, so a change of
units of the outcome changes the results by that factor and nothing else. A singular covariance is accepted as long as
every step after the treatment has variance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from causalbench.numerics.fixed_length import shortest_estimator
from causalbench.numerics.moment_inequalities import hybrid_test, keeps_effect
from causalbench.numerics.trend_restrictions import (
    TrendRestriction,
    relative_magnitude_restrictions,
    smoothness_restriction,
)

FloatArray = NDArray[np.float64]
Restriction = Literal["smoothness", "relative-magnitude"]
"""Which restriction a breakdown value is about."""

_LARGEST = 2.0**20
"""Breakdown values are searched up to this multiple of their unit."""

_STEP = 1.25
_N_HALVINGS = 40


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FixedLengthInterval:
    """The shortest interval of fixed length around a linear estimator.

    Attributes
    ----------
    lower, upper
        Ends of the interval.
    estimate
        Its centre: the linear estimator at the estimates.
    half_length
        Half its length.
    std_error
        Standard error of the linear estimator.
    max_bias
        Its largest absolute bias over the restriction.
    loading
        Weights of the linear estimator on the estimates, shape (n_pre + n_post,).
    bound
        M.
    level
        Coverage.
    """

    lower: float
    upper: float
    estimate: float
    half_length: float
    std_error: float
    max_bias: float
    loading: FloatArray
    bound: float
    level: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RobustSet:
    """The effects that a test doesn't reject.

    Attributes
    ----------
    segments
        Disjoint closed segments in ascending order; none when every effect is rejected, as then the estimates
        contradict the restriction.
    bound
        M or Mbar.
    level
        Coverage.
    """

    segments: tuple[tuple[float, float], ...]
    bound: float
    level: float

    @property
    def lower(self) -> float:
        """Smallest effect of the set; NaN when it is empty."""
        return self.segments[0][0] if self.segments else float("nan")

    @property
    def upper(self) -> float:
        """Largest effect of the set; NaN when it is empty."""
        return self.segments[-1][1] if self.segments else float("nan")

    def contains(self, effect: float) -> bool:
        """Return whether an effect is in the set."""
        return any(lower <= effect <= upper for lower, upper in self.segments)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BreakdownValue:
    """How far trends may differ before zero joins the robust set.

    Attributes
    ----------
    value
        The robust set excludes zero at this bound and at all smaller ones, and holds it just above; None when it holds
        zero at a bound of zero already; equal to ``limit`` when it excludes zero up to there.
    limit
        The largest bound that was tried.
    restriction
        What the bound is of: M of smoothness, in units of the outcome, or the ratio Mbar of relative magnitude.
    level
        Coverage of the robust sets.
    """

    value: float | None
    limit: float
    restriction: Restriction
    level: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _EventStudy:
    """Checked inputs in units of the effect's standard error."""

    values: FloatArray
    covariance: FloatArray
    n_pre: int
    weights: FloatArray
    level: float
    scale: float

    @property
    def n_post(self) -> int:
        return len(self.weights)


def smoothness_interval(
    values: FloatArray, covariance: FloatArray, *, n_pre: int, weights: FloatArray, bound: float, level: float = 0.95
) -> FixedLengthInterval:
    r"""Estimate an effect by the shortest fixed-length interval when the difference in trends is smooth.

    Valid for every difference in trends in :math:`\Delta^{SD}(M)`: at M = 0 it is linear, at a larger M its slope may
    change by M from one period to the next. Not for sudden shocks at the treatment, nor when M is picked for the result.

    Parameters
    ----------
    values
        Estimates, shape (n_pre + n_post,), normal with a known covariance.
    covariance
        Their covariance, shape (n_pre + n_post, n_pre + n_post).
    n_pre
        How many estimates are before the reference period; at least one.
    weights
        :math:`l`, how the effect weighs the periods after the treatment, shape (n_post,).
    bound
        M, in units of the outcome.
    level
        Coverage, at least one half.

    References
    ----------
    Rambachan and Roth (2023), section 4.

    Examples
    --------
    >>> import numpy as np
    >>> fit = smoothness_interval(
    ...     np.array([0.1, 0.0, 1.0]), 0.01 * np.eye(3), n_pre=2, weights=np.array([1.0]), bound=0.1
    ... )
    >>> round(fit.lower, 3), round(fit.upper, 3)
    (0.713, 1.34)
    """
    study = _checked(values, covariance, n_pre=n_pre, weights=weights, level=level)
    bound = _checked_bound(bound, name="bound")
    found = shortest_estimator(
        study.covariance, n_pre=n_pre, weights=study.weights, bound=bound / study.scale, level=level
    )
    estimate = study.scale * float(found.loading @ study.values)
    half_length = study.scale * found.half_length
    return FixedLengthInterval(
        lower=estimate - half_length,
        upper=estimate + half_length,
        estimate=estimate,
        half_length=half_length,
        std_error=study.scale * found.std_error,
        max_bias=study.scale * found.max_bias,
        loading=found.loading,
        bound=bound,
        level=level,
    )


def smoothness_set(
    values: FloatArray, covariance: FloatArray, *, n_pre: int, weights: FloatArray, bound: float, level: float = 0.95
) -> RobustSet:
    r"""Invert the hybrid test when the difference in trends is smooth.

    A second opinion on :func:`smoothness_interval`, which the paper recommends for this restriction. What the
    restriction says of periods before the treatment alone isn't tested.

    Parameters
    ----------
    values, covariance, n_pre, weights, bound, level
        As in :func:`smoothness_interval`.
    """
    study = _checked(values, covariance, n_pre=n_pre, weights=weights, level=level)
    bound = _checked_bound(bound, name="bound")
    pieces = (smoothness_restriction(n_pre, study.n_post, bound=bound / study.scale),)
    return _inverted(study, pieces, bound=bound)


def relative_magnitude_set(
    values: FloatArray, covariance: FloatArray, *, n_pre: int, weights: FloatArray, mbar: float, level: float = 0.95
) -> RobustSet:
    r"""Invert the hybrid test when steps after the treatment are at most a multiple of the largest one before it.

    Valid for every difference in trends in :math:`\Delta^{RM}(\bar M)`. The set is the union over which step before the
    treatment is the largest and over its sign: the piece that holds the truth covers by itself. Not for a history of
    one quiet period: the largest of few steps says little about the next ones.

    Parameters
    ----------
    values, covariance, n_pre, weights, level
        As in :func:`smoothness_interval`.
    mbar
        :math:`\bar M`, without unit.

    References
    ----------
    Rambachan and Roth (2023), sections 2.4 and 3; Andrews, Roth and Pakes (2023).

    Examples
    --------
    >>> import numpy as np
    >>> found = relative_magnitude_set(
    ...     np.array([0.1, 0.0, 1.0]), 0.01 * np.eye(3), n_pre=2, weights=np.array([1.0]), mbar=1.0
    ... )
    >>> round(found.lower, 2), round(found.upper, 2)
    (0.61, 1.39)
    """
    study = _checked(values, covariance, n_pre=n_pre, weights=weights, level=level)
    mbar = _checked_bound(mbar, name="mbar")
    return _inverted(study, relative_magnitude_restrictions(n_pre, study.n_post, mbar=mbar), bound=mbar)


def breakdown_value(
    values: FloatArray,
    covariance: FloatArray,
    *,
    n_pre: int,
    weights: FloatArray,
    restriction: Restriction,
    level: float = 0.95,
) -> BreakdownValue:
    """Find how far trends may differ before zero joins the robust set.

    Only an effect of zero is tested, on a geometric grid of bounds and then by bisection to a relative 1e-12. Robust
    sets needn't be nested, so the value is where zero joins first.

    Parameters
    ----------
    values, covariance, n_pre, weights, level
        As in :func:`smoothness_interval`.
    restriction
        ``"smoothness"``, by the fixed-length interval, or ``"relative-magnitude"``, by the hybrid test.
    """
    if restriction not in get_args(Restriction):
        raise ValueError(f"restriction is {restriction!r}; allowed are {', '.join(get_args(Restriction))}")
    study = _checked(values, covariance, n_pre=n_pre, weights=weights, level=level)
    holds_zero = _interval_holds_zero if restriction == "smoothness" else _set_holds_zero
    scale = study.scale if restriction == "smoothness" else 1.0
    found = _first(lambda bound: holds_zero(study, bound))
    return BreakdownValue(
        value=None if found is None else scale * found, limit=scale * _LARGEST, restriction=restriction, level=level
    )


def _interval_holds_zero(study: _EventStudy, bound: float) -> bool:
    """Return whether the fixed-length interval holds zero."""
    found = shortest_estimator(
        study.covariance, n_pre=study.n_pre, weights=study.weights, bound=bound, level=study.level
    )
    return bool(abs(found.loading @ study.values) <= found.half_length)


def _set_holds_zero(study: _EventStudy, mbar: float) -> bool:
    """Return whether the hybrid set holds zero."""
    return any(
        keeps_effect(piece, study.values, study.covariance, weights=study.weights, level=study.level, effect=0.0)
        for piece in relative_magnitude_restrictions(study.n_pre, study.n_post, mbar=mbar)
    )


def _first(holds_zero: Callable[[float], bool]) -> float | None:
    """Return the bound up to which zero is excluded; None when it never is."""
    if holds_zero(0.0):
        return None
    excluded, held = 0.0, 1.0 / 64
    while not holds_zero(held):
        if held >= _LARGEST:
            return _LARGEST
        excluded, held = held, min(held * _STEP, _LARGEST)
    for _ in range(_N_HALVINGS):
        middle = 0.5 * (excluded + held)
        if holds_zero(middle):
            held = middle
        else:
            excluded = middle
    return excluded


def _inverted(study: _EventStudy, pieces: tuple[TrendRestriction, ...], *, bound: float) -> RobustSet:
    """Unite the sets of all pieces."""
    tests = (hybrid_test(piece, study.covariance, weights=study.weights, level=study.level) for piece in pieces)
    segments = sorted(chain.from_iterable(test.kept_segments(study.values) for test in tests))
    united: list[tuple[float, float]] = []
    for lower, upper in segments:
        if united and lower <= united[-1][1]:
            united[-1] = (united[-1][0], max(united[-1][1], upper))
        else:
            united.append((lower, upper))
    return RobustSet(
        segments=tuple((study.scale * lower, study.scale * upper) for lower, upper in united),
        bound=bound,
        level=study.level,
    )


def _checked(
    values: FloatArray, covariance: FloatArray, *, n_pre: int, weights: FloatArray, level: float
) -> _EventStudy:
    """Check the inputs and bring them to units of the effect's standard error."""
    values, covariance, weights = (np.asarray(item, dtype=np.float64) for item in (values, covariance, weights))
    if values.ndim != 1 or covariance.shape != (len(values), len(values)):
        raise ValueError(
            f"values of shape {values.shape} need a square covariance of that size, not {covariance.shape}"
        )
    if n_pre < 1:
        raise ValueError(
            f"n_pre is {n_pre}: both restrictions are about estimates before the reference period, so at least one is "
            "needed; estimate the event study with a lead"
        )
    if n_pre >= len(values) or weights.shape != (len(values) - n_pre,):
        raise ValueError(
            f"{len(values)} values with n_pre = {n_pre} need weights of shape ({max(len(values) - n_pre, 1)},), one for "
            f"each period after the treatment, not {weights.shape}"
        )
    if not (np.isfinite(values).all() and np.isfinite(covariance).all() and np.isfinite(weights).all()):
        raise ValueError("values, covariance and weights must be finite: leave out periods without an estimate")
    if not weights.any():
        raise ValueError("weights are all zero: the effect must weigh at least one period after the treatment")
    if not 0.5 <= level < 1:
        raise ValueError(f"level is {level}; it must be at least 0.5 and below 1")
    variance = np.diag(covariance)
    if not (variance > 0).all() or np.abs(covariance - covariance.T).max() > 1e-8 * variance.max():
        raise ValueError("covariance must be symmetric with a positive diagonal: leave out the reference period")
    if np.linalg.eigvalsh(covariance / variance.max())[0] < -1e-8:
        raise ValueError("covariance has a negative eigenvalue: it must be positive semidefinite")
    scale = float(np.sqrt(variance[n_pre:].max()))
    return _EventStudy(
        values=values / scale,
        covariance=(covariance + covariance.T) / (2 * scale) / scale,
        n_pre=n_pre,
        weights=weights,
        level=level,
        scale=scale,
    )


def _checked_bound(bound: float, *, name: str) -> float:
    """Return a bound that is finite and not negative."""
    if not (np.isfinite(bound) and bound >= 0):
        raise ValueError(f"{name} is {bound}; it must be finite and not negative")
    return float(bound)
