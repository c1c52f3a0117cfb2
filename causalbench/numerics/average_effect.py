r"""Effects from one comparison given covariates, and what every row contributes to their error.

Effects are differences of weighted means of outcomes less fitted outcomes, so the rule of
:mod:`causalbench.numerics.two_period` gives their influence functions: a direct term of each mean, and its derivative in
fitted coefficients times their own influence. Here are the average over all rows, cross-fitted scores, and regressions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from causalbench.numerics.two_period import Fitted, WeightedMean, combine, panel_effect, regress

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

Whom = Literal["att", "ate"]
_OWN_FIT = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AverageEffect:
    """An effect, the mean outcome under treatment of those it is about, and each row's contribution to the effect's error."""

    value: float
    treated_mean: float
    contributions: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sides:
    """Two predictions of the outcome, without and with the treatment, and the propensity; shape (n_rows,) each.

    ``outcome1`` isn't looked at for the effect on the treated.
    """

    propensity: FloatArray
    outcome0: FloatArray
    outcome1: FloatArray | None


def chance(design: FloatArray, odds: Fitted) -> FloatArray:
    """Return the propensity of a logit, shape (n_rows,)."""
    found: FloatArray = 1 / (1 + np.exp(-np.clip(design @ odds.coefficients, -500, 500)))
    return found


def balancing_weights(treated: BoolArray, weights: FloatArray, propensity: FloatArray, *, whom: Whom) -> FloatArray:
    """Return the weights that make both arms like those the effect is about, shape (n_rows,); each arm's sum is 1."""
    if whom == "att":
        raw = weights * np.where(treated, 1.0, propensity / np.where(treated, 1.0, 1 - propensity))
    else:
        raw = weights / np.where(treated, propensity, 1 - propensity)
    found: FloatArray = raw / np.where(treated, raw[treated].sum(), raw[~treated].sum())
    return found


def weighted_effect(
    outcome: FloatArray,
    treated: BoolArray,
    design: FloatArray,
    weights: FloatArray,
    *,
    robust: bool,
    odds: Fitted,
    whom: Whom,
) -> AverageEffect:
    r"""Weigh both arms by a logit's propensity; ``robust`` takes outcomes less each arm's regression.

    For the treated :func:`causalbench.numerics.two_period.panel_effect`. For all rows, with
    :math:`e(w, r) = \sum w r / \sum w`,

    .. math:: \tau = e(w, \mu_1 - \mu_0) + e(w D / \pi, y - \mu_1) - e(w (1 - D) / (1 - \pi), y - \mu_0)

    (Robins, Rotnitzky, Zhao 1994, with weights that sum to one), and without regressions
    :math:`e(w D / \pi, y) - e(w (1 - D) / (1 - \pi), y)` (Hirano, Imbens, Ridder 2003, section 4).

    Parameters
    ----------
    outcome, treated, weights
        Shape (n_rows,).
    design
        Covariates with a constant, shape (n_rows, k).
    """
    if whom == "att":
        found = panel_effect(outcome, treated, design, weights, method="dr" if robust else "ipw", odds=odds)
        mean = float(np.average(outcome[treated], weights=weights[treated]))
        return AverageEffect(value=found.value, treated_mean=mean, contributions=found.contributions)
    p = chance(design, odds)
    own, other = weights * treated / p, weights * ~treated / (1 - p)
    fits = {}
    if robust:
        fits = {
            "treated": regress(outcome, design, weights * treated, who="treated units"),
            "control": regress(outcome, design, weights * ~treated, who="control units"),
        }
    less = {name: {name: 1} if robust else {} for name in ("treated", "control")}
    above = [WeightedMean(sign=1, weights=own, outcome=outcome, less=less["treated"], moves=-own * (1 - p))]
    below = [WeightedMean(sign=-1, weights=other, outcome=outcome, less=less["control"], moves=other * p)]
    if robust:
        zero = np.zeros(len(outcome))
        above.append(WeightedMean(sign=1, weights=weights, outcome=zero, less={"treated": -1}))
        below.append(WeightedMean(sign=-1, weights=weights, outcome=zero, less={"control": -1}))
    both = combine([*above, *below], design, fits, odds)
    with_it = combine(above, design, fits, odds).value
    return AverageEffect(value=both.value, treated_mean=with_it, contributions=both.contributions)


def orthogonal_effect(
    outcome: FloatArray, treated: BoolArray, weights: FloatArray, *, sides: Sides, whom: Whom
) -> AverageEffect:
    r"""Average the doubly robust score over predictions that were made without the row itself.

    The score's derivative in the predictions is zero on average, so that their error enters in second order only and the
    direct terms are the influence function (Chernozhukov et al. 2018, section 5.1, equations 5.3 and 5.4; here with weights
    that sum to one).
    """
    p, nobody = sides.propensity, np.ones((len(outcome), 1))
    if whom == "att":
        rest = outcome - sides.outcome0
        relative = weights * ~treated * p / (1 - p)
        means = [
            WeightedMean(sign=1, weights=weights * treated, outcome=rest, less={}),
            WeightedMean(sign=-1, weights=relative, outcome=rest, less={}),
        ]
        found = combine(means, nobody, {}, None)
        mean = float(np.average(outcome[treated], weights=weights[treated]))
        return AverageEffect(value=found.value, treated_mean=mean, contributions=found.contributions)
    if sides.outcome1 is None:
        raise ValueError("the average over all rows needs predictions with the treatment")
    above = [
        WeightedMean(sign=1, weights=weights, outcome=sides.outcome1, less={}),
        WeightedMean(sign=1, weights=weights * treated / p, outcome=outcome - sides.outcome1, less={}),
    ]
    below = [
        WeightedMean(sign=-1, weights=weights, outcome=sides.outcome0, less={}),
        WeightedMean(sign=-1, weights=weights * ~treated / (1 - p), outcome=outcome - sides.outcome0, less={}),
    ]
    found = combine([*above, *below], nobody, {}, None)
    with_it = combine(above, nobody, {}, None).value
    return AverageEffect(value=found.value, treated_mean=with_it, contributions=found.contributions)


def common_slopes(outcome: FloatArray, treated: BoolArray, design: FloatArray, weights: FloatArray) -> AverageEffect:
    """Regress the outcome on treatment and covariates with one slope for both arms; HC2 contributions."""
    joint = np.column_stack([design, treated])
    fit = _leveraged(outcome, joint, weights, who="units")
    value = float(fit.coefficients[-1])
    mean = float(np.average(outcome[treated], weights=weights[treated]))
    return AverageEffect(value=value, treated_mean=mean, contributions=fit.contributions[:, -1])


def imputed_effect(
    outcome: FloatArray, treated: BoolArray, design: FloatArray, weights: FloatArray, *, whom: Whom
) -> AverageEffect:
    r"""Predict what is missing by each arm's own regression; contributions with HC2 residuals.

    .. math:: \tau_{ATT} = e(w D, y) - \bar x_1' \beta_0, \qquad \tau_{ATE} = \bar x' (\beta_1 - \beta_0)

    The latter is the coefficient of treatment in a regression with centred interactions (Lin 2013, section 4).
    """
    control = _leveraged(outcome, design, weights * ~treated, who="control units")
    if whom == "att":
        share = weights * treated / weights[treated].sum()
        value = float(share @ (outcome - design @ control.coefficients))
        # Neyman's n / (n - 1), in terms of the effective number of weighted rows.
        # One treated row, whose error nothing here tells, has no residual: nothing to inflate.
        own = share * (outcome - design @ control.coefficients - value)
        own /= np.sqrt(max(1 - share @ share, _OWN_FIT))
        contributions = own - control.contributions @ (share @ design)
        return AverageEffect(value=value, treated_mean=float(share @ outcome), contributions=contributions)
    arm = _leveraged(outcome, design, weights * treated, who="treated units")
    share = weights / weights.sum()
    at, gap = share @ design, arm.coefficients - control.coefficients
    value = float(at @ gap)
    contributions = (arm.contributions - control.contributions) @ at + share * (design @ gap - value)
    return AverageEffect(value=value, treated_mean=float(at @ arm.coefficients), contributions=contributions)


def _leveraged(outcome: FloatArray, design: FloatArray, weights: FloatArray, *, who: str) -> Fitted:
    """Fit a regression; residuals are inflated by their leverage as in HC2 (MacKinnon, White 1985)."""
    fit = regress(outcome, design, weights, who=who)
    sizes = np.linalg.norm(design, axis=0)
    basis = np.linalg.qr(design / np.where(sizes > 0, sizes, 1.0) * np.sqrt(weights)[:, None])[0]
    rest = 1 - (basis**2).sum(axis=1)
    # A row that fixes its own fit has no residual: nothing to inflate.
    scale = 1 / np.sqrt(np.where(rest > _OWN_FIT, rest, 1.0))
    return Fitted(coefficients=fit.coefficients, contributions=fit.contributions * scale[:, None])
