r"""Two groups, two periods, covariates: the effect on the treated and what every row contributes to its error.

Every estimator here is a signed sum of weighted means :math:`e(w, r) = \sum_i w_i r_i / \sum_i w_i` of outcomes less
fitted outcomes (Sant'Anna, Zhao 2020, Journal of Econometrics 219). Its influence function is the direct term
:math:`w_i (r_i - e) / \sum_j w_j` of each mean, plus the derivative of the mean in the fitted coefficients times their own
influence; one rule for outcome regression, inverse probability weighting and the doubly robust estimator, for panels and
for repeated cross-sections.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]


Method = Literal["dr", "ipw", "reg"]

_STEPS = 50
_SEPARATED = 1 - 1e-6


class OverlapError(ValueError):
    """Treated and control rows can be told apart by their covariates, so that there is nothing to compare."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """An effect on the treated, and each row's contribution to its error, shape (n_rows,); they add up to it."""

    value: float
    contributions: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fitted:
    """Coefficients, shape (k,), and each row's contribution to their error, shape (n_rows, k)."""

    coefficients: FloatArray
    contributions: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Mean:
    """One signed weighted mean: of ``outcome`` less the regressions named, under weights that may hold the odds."""

    sign: int
    weights: FloatArray
    outcome: FloatArray
    less: Mapping[str, int]
    uses_odds: bool = False


def regress(outcome: FloatArray, design: FloatArray, weights: FloatArray) -> Fitted:
    """Fit weighted least squares on the rows with a positive weight.

    Raises
    ------
    OverlapError
        When there are no more rows than columns, or the columns are collinear there.
    """
    gram = (design * weights[:, None]).T @ design
    if (weights > 0).sum() < design.shape[1] or np.linalg.matrix_rank(gram, hermitian=True) < design.shape[1]:
        raise OverlapError(f"{int((weights > 0).sum())} rows can't determine {design.shape[1]} coefficients")
    inverse = np.linalg.inv(gram)
    coefficients = inverse @ (design.T @ (weights * outcome))
    residuals = weights * (outcome - design @ coefficients)
    return Fitted(coefficients=coefficients, contributions=(residuals[:, None] * design) @ inverse)


def propensity(treated: BoolArray, design: FloatArray, weights: FloatArray) -> Fitted:
    """Fit a logit of treatment by Newton's method.

    Raises
    ------
    OverlapError
        When a combination of covariates separates treated from control rows, so that no finite fit exists.
    """
    scale = np.where(np.abs(design).max(axis=0) > 0, np.abs(design).max(axis=0), 1.0)
    scaled, coefficients = design / scale, np.zeros(design.shape[1])
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(scaled @ coefficients, -500, 500)))
        hessian = (scaled * (weights * chance * (1 - chance))[:, None]).T @ scaled
        if np.linalg.matrix_rank(hessian, hermitian=True) < len(hessian):
            raise OverlapError("the propensity score can't be fitted: covariates are collinear or separate the groups")
        step = np.linalg.solve(hessian, scaled.T @ (weights * (treated - chance)))
        coefficients = coefficients + step
        if np.abs(step).max() < 1e-8 * max(1.0, np.abs(coefficients).max()):
            break  # Newton converges quadratically: this step was exact to rounding
    else:
        raise OverlapError("the propensity score has no finite fit: covariates separate the groups")
    chance = 1 / (1 + np.exp(-np.clip(scaled @ coefficients, -500, 500)))
    if chance[~treated].max(initial=0.0) > _SEPARATED or not np.isfinite(coefficients).all():
        raise OverlapError("some control rows have a propensity of 1: covariates separate the groups")
    inverse = np.linalg.inv((scaled * (weights * chance * (1 - chance))[:, None]).T @ scaled)
    scores = (weights * (treated - chance))[:, None] * scaled
    return Fitted(coefficients=coefficients / scale, contributions=(scores @ inverse) / scale)


def panel_effect(
    change: FloatArray,
    treated: BoolArray,
    design: FloatArray,
    weights: FloatArray,
    *,
    method: Method,
    odds: Fitted | None,
) -> Comparison:
    r"""Estimate the effect from changes of the same units.

    .. math:: \tau = e(w D, \Delta y - \mu_0) - e\Big(w \frac{\pi (1 - D)}{1 - \pi}, \Delta y - \mu_0\Big)

    is the doubly robust estimator (Sant'Anna, Zhao 2020, equation 2.7); ``ipw`` leaves out :math:`\mu_0`, and ``reg`` is
    :math:`e(w D, \Delta y - \mu_0)` with :math:`\mu_0` fitted to the controls (equation 2.2).

    Parameters
    ----------
    change
        Outcome less outcome in the base period, shape (n_rows,).
    treated
        Which rows are treated; the others are controls.
    design
        Covariates with a constant, shape (n_rows, k).
    weights
        Positive weights, shape (n_rows,).
    odds
        The propensity's fit on these rows; not needed for ``reg``.
    """
    fits = {} if method == "ipw" else {"control": regress(change, design, weights * ~treated)}
    less = dict.fromkeys(fits, 1)
    means = [_Mean(sign=1, weights=weights * treated, outcome=change, less=less)]
    if odds is not None:
        relative = weights * ~treated * _odds(design, odds)
        means.append(_Mean(sign=-1, weights=relative, outcome=change, less=less, uses_odds=True))
    return _combine(means, design, fits, odds)


def cross_section_effect(
    outcome: FloatArray,
    treated: BoolArray,
    after: BoolArray,
    design: FloatArray,
    weights: FloatArray,
    *,
    method: Method,
    odds: Fitted | None,
) -> Comparison:
    r"""Estimate the effect from different rows before and after.

    The doubly robust estimator is the locally efficient one (Sant'Anna, Zhao 2020, equation 3.5), with regressions by
    group and period; ``ipw`` is the difference of four normalised weighted means, ``reg`` takes the fitted change of
    controls off the change of treated means. Rows before and after must come from one population.

    Parameters
    ----------
    outcome, treated, design, weights
        One entry per row, as in :func:`panel_effect`.
    after
        Which rows are of the later period.
    """
    group = {
        (d, t): weights * (treated == d) * (after == t) for d in (False, True) for t in (False, True)
    }  # keyed by treated, after
    nothing: dict[str, int] = {}
    if method == "ipw":
        assert odds is not None  # noqa: S101 - the caller fits it for every method but reg
        relative = _odds(design, odds)
        means = [
            _Mean(sign=1 if t else -1, weights=group[True, t], outcome=outcome, less=nothing) for t in (True, False)
        ]
        means += [
            _Mean(
                sign=-1 if t else 1, weights=group[False, t] * relative, outcome=outcome, less=nothing, uses_odds=True
            )
            for t in (True, False)
        ]
        return _combine(means, design, {}, odds)
    fits = {f"control {t}": regress(outcome, design, group[False, t]) for t in (False, True)}
    zero = np.zeros_like(outcome)
    if method == "reg":
        means = [
            _Mean(sign=1 if t else -1, weights=group[True, t], outcome=outcome, less=nothing) for t in (True, False)
        ]
        means.append(
            _Mean(sign=1, weights=weights * treated, outcome=zero, less={"control True": 1, "control False": -1})
        )
        return _combine(means, design, fits, None)
    assert odds is not None  # noqa: S101 - the caller fits it for every method but reg
    fits |= {f"treated {t}": regress(outcome, design, group[True, t]) for t in (False, True)}
    relative, means = _odds(design, odds), []
    for t, sign in ((True, 1), (False, -1)):
        own, gap = {f"control {t}": 1}, {f"control {t}": 1, f"treated {t}": -1}
        means += [
            _Mean(sign=sign, weights=group[True, t], outcome=outcome, less=own),
            _Mean(sign=-sign, weights=group[False, t] * relative, outcome=outcome, less=own, uses_odds=True),
            _Mean(sign=sign, weights=weights * treated, outcome=zero, less=gap),
            _Mean(sign=-sign, weights=group[True, t], outcome=zero, less=gap),
        ]
    return _combine(means, design, fits, odds)


def _odds(design: FloatArray, odds: Fitted) -> FloatArray:
    relative: FloatArray = np.exp(np.clip(design @ odds.coefficients, -500, 500))
    return relative


def _combine(means: list[_Mean], design: FloatArray, fits: Mapping[str, Fitted], odds: Fitted | None) -> Comparison:
    """Add up the means; every row contributes directly, and through each fitted coefficient."""
    value, contributions = 0.0, np.zeros(len(design))
    for mean in means:
        total = float(mean.weights.sum())
        if total <= 0:
            raise OverlapError("a group has no rows in one of the periods")
        residual = mean.outcome - sum(
            (factor * (design @ fits[name].coefficients) for name, factor in mean.less.items()), np.zeros(len(design))
        )
        average = float(mean.weights @ residual) / total
        deviation = mean.weights * (residual - average)
        here = deviation / total
        slope = (mean.weights @ design) / total
        for name, factor in mean.less.items():
            here = here - factor * (fits[name].contributions @ slope)
        if mean.uses_odds and odds is not None:
            here = here + odds.contributions @ ((deviation @ design) / total)
        value, contributions = value + mean.sign * average, contributions + mean.sign * here
    return Comparison(value=value, contributions=contributions)
