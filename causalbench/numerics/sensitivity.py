r"""How strong must an omitted confounder be? Robustness values of a linear regression, and E-values of a risk ratio.

Let :math:`\hat\tau` be the coefficient of treatment :math:`D` in the regression of :math:`Y` on :math:`D` and :math:`X`, with
:math:`\nu` degrees of freedom. A confounder :math:`Z` that explains a share :math:`R^2_Y` of what :math:`D, X` leave of
:math:`Y`, and :math:`R^2_D` of what :math:`X` leaves of :math:`D`, moves it by at most (Cinelli, Hazlett 2020, eq. 8)

.. math:: |\text{bias}| = \widehat{se} \sqrt{\nu} \sqrt{R^2_Y R^2_D / (1 - R^2_D)}.

References: Cinelli, Hazlett 2020 (https://doi.org/10.1111/rssb.12348); Ding, VanderWeele 2016
(https://doi.org/10.1097/EDE.0000000000000457); VanderWeele, Ding 2017 (https://doi.org/10.7326/M16-2607).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, special

from causalbench.numerics.two_period import dependent_columns

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_RISK_RATIO_PER_SD = 0.91
"""Natural log of the risk ratio that one standard deviation of a continuous outcome stands for (Chinn 2000)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreatmentRegression:
    """What a linear regression on a treatment and covariates says about the treatment.

    Attributes
    ----------
    effect, std_error
        Coefficient of the treatment and its homoskedastic error, in units of the outcome.
    dof
        Degrees of freedom left.
    kept
        Which covariates were used, shape (k,): those that others determine are left out.
    partial_outcome, partial_treatment
        Shape (k,): share of the outcome's rest that each covariate explains given the treatment and the others, and of the
        treatment's rest given the others; NaN for those left out.
    """

    effect: float
    std_error: float
    dof: int
    kept: BoolArray
    partial_outcome: FloatArray
    partial_treatment: FloatArray

    @property
    def t_value(self) -> float:
        """The effect over its error."""
        return self.effect / self.std_error

    @property
    def partial_r2(self) -> float:
        """Share of the outcome's rest that the treatment explains."""
        return self.t_value**2 / (self.t_value**2 + self.dof)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What would be left of the effect beside a confounder as strong as a multiple of a covariate.

    Attributes
    ----------
    multiple
        How many times as strong, in partial R2 of treatment and outcome.
    with_treatment, with_outcome
        The partial R2 of that confounder.
    effect, std_error, lower, upper
        Of the regression with that confounder, at worst.
    """

    multiple: float
    with_treatment: float
    with_outcome: float
    effect: float
    std_error: float
    lower: float
    upper: float


def independent_columns(covariates: FloatArray) -> BoolArray:
    """Return which columns none of the columns before them and the constant determine, shape (k,)."""
    centred = covariates - covariates.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=0)
    # What doesn't vary is the constant again, and what rounding leaves of it is one too.
    cells = np.divide(centred, lengths, out=np.ones_like(centred), where=lengths > 0)
    dependent = dependent_columns(np.column_stack([np.ones(len(cells)), cells]))
    return np.array([j + 1 not in dependent for j in range(cells.shape[1])], dtype=bool)


def treatment_regression(
    outcome: FloatArray, treatment: FloatArray, covariates: FloatArray, *, weights: FloatArray | None = None
) -> TreatmentRegression:
    """Regress the outcome on the treatment, the covariates and a constant, with homoskedastic errors.

    Parameters
    ----------
    outcome, treatment
        Shape (n,).
    covariates
        Shape (n, k), without a constant.
    weights
        Shape (n,), positive; None: all count the same.

    Examples
    --------
    >>> y, d = np.array([1.0, 2.0, 4.0, 5.0]), np.array([0.0, 0.0, 1.0, 1.0])
    >>> found = treatment_regression(y, d, np.empty((4, 0)))
    >>> round(found.effect, 6), found.dof
    (3.0, 2)
    """
    kept = independent_columns(covariates)
    root = np.ones(len(outcome)) if weights is None else np.sqrt(weights / weights.mean())
    used = np.column_stack([np.ones(len(outcome)), covariates[:, kept]]) * root[:, None]
    y, d = outcome * root, treatment * root
    effects, errors, dof = _ols(np.column_stack([used, d]), y)
    shares, shares_treatment = np.full(len(kept), np.nan), np.full(len(kept), np.nan)
    shares[kept] = _partial_r2(effects[1:-1] / errors[1:-1], dof)
    by_treatment, treatment_errors, rest = _ols(used, d)
    shares_treatment[kept] = _partial_r2(by_treatment[1:] / treatment_errors[1:], rest)
    return TreatmentRegression(
        effect=float(effects[-1]),
        std_error=float(errors[-1]),
        dof=dof,
        kept=kept,
        partial_outcome=shares,
        partial_treatment=shares_treatment,
    )


def _ols(design: FloatArray, outcome: FloatArray) -> tuple[FloatArray, FloatArray, int]:
    """Return coefficients, homoskedastic errors and degrees of freedom."""
    q, r = np.linalg.qr(design)
    inverse = linalg.solve_triangular(r, np.eye(r.shape[0]))
    effects: FloatArray = inverse @ (q.T @ outcome)
    dof = len(outcome) - design.shape[1]
    rest = outcome - design @ effects
    errors: FloatArray = np.sqrt((inverse**2).sum(axis=1) * (rest @ rest) / dof)
    return effects, errors, dof


def _partial_r2(t_values: FloatArray, dof: int) -> FloatArray:
    shares: FloatArray = t_values**2 / (t_values**2 + dof)
    return shares


def bias(
    std_error: float, dof: int, *, with_treatment: FloatArray | float, with_outcome: FloatArray | float
) -> FloatArray:
    """Return the largest bias of a coefficient that a confounder of that strength explains, in units of the outcome."""
    strength = np.asarray(with_treatment, float)
    result: FloatArray = std_error * math.sqrt(dof) * np.sqrt(np.asarray(with_outcome) * strength / (1 - strength))
    return result


def robustness_value(t_value: float, dof: int, *, share: float = 1.0, level: float | None = None) -> float:
    r"""Return the partial R2 with treatment and outcome at which a confounder takes a share of the effect away.

    With :math:`f = q |t| / \sqrt\nu`, :math:`RV_q = (\sqrt{f^4 + 4 f^2} - f^2) / 2` (Cinelli, Hazlett 2020, section 4.1).
    At a level, with :math:`f` less the critical value over :math:`\sqrt{\nu - 1}`: the value at which the effect is just
    not shown any more. Where a weaker tie to the treatment than to the outcome is enough, since errors shrink as well,
    :math:`(f^2 - f_c^2) / (1 + f^2)`.

    Parameters
    ----------
    t_value, dof
        Of the treatment in the regression.
    share
        Which share of the effect is to go, 1: all.
    level
        Confidence level at which the rest shall not be shown; None: the estimate alone.

    Examples
    --------
    >>> round(robustness_value(4.18445, 783), 4), round(robustness_value(4.18445, 783, level=0.95), 4)
    (0.1388, 0.0763)
    """
    strength = share * abs(t_value) / math.sqrt(dof)
    critical = 0.0 if level is None else _critical(level, dof - 1) / math.sqrt(dof - 1)
    left = strength - critical
    if left <= 0:
        return 0.0
    if critical and strength > 1 / critical:
        return (strength**2 - critical**2) / (1 + strength**2)
    return (math.sqrt(left**4 + 4 * left**2) - left**2) / 2


def _critical(level: float, dof: int) -> float:
    return float(special.stdtrit(dof, 1 - (1 - level) / 2))


def benchmark_bound(found: TreatmentRegression, column: int, *, multiple: float, level: float) -> Bound | None:
    r"""Bound the effect by a confounder that is some times as strong as a covariate (Cinelli, Hazlett 2020, section 4.4).

    With :math:`a, b` the covariate's partial R2 with treatment and outcome and :math:`k` the multiple:
    :math:`R^2_D = k a / (1 - a)`, :math:`R^2_Y = \left( \frac{\sqrt k + \sqrt{c}}{\sqrt{1 - c}} \right)^2 \frac{b}{1 - b}` with
    :math:`c = k a^2 / ((1 - k a)(1 - a))`. None where no confounder can be as strong, as it would explain all of the
    treatment; a share of the outcome beyond one counts as one.
    """
    a, b = float(found.partial_treatment[column]), float(found.partial_outcome[column])
    with_treatment = multiple * a / (1 - a)
    if not with_treatment < 1 or not multiple * a < 1:
        return None
    c = multiple * a**2 / ((1 - multiple * a) * (1 - a))
    if not c < 1:
        return None
    factor = ((math.sqrt(multiple) + math.sqrt(c)) / math.sqrt(1 - c)) ** 2
    with_outcome = min(factor * b / (1 - b), 1.0) if b < 1 else 1.0
    effect, error = adjusted(found, with_treatment=with_treatment, with_outcome=with_outcome)
    reach = _critical(level, found.dof - 1) * error
    return Bound(
        multiple=multiple,
        with_treatment=with_treatment,
        with_outcome=with_outcome,
        effect=effect,
        std_error=error,
        lower=effect - reach,
        upper=effect + reach,
    )


def adjusted(found: TreatmentRegression, *, with_treatment: float, with_outcome: float) -> tuple[float, float]:
    """Return effect and error of the regression with such a confounder, at worst for the effect."""
    shift = float(bias(found.std_error, found.dof, with_treatment=with_treatment, with_outcome=with_outcome))
    factor = (1 - with_outcome) / (1 - with_treatment) * found.dof / (found.dof - 1)
    return math.copysign(1.0, found.effect) * (abs(found.effect) - shift), found.std_error * math.sqrt(factor)


def risk_ratio(effect: float, spread: float) -> float:
    """Return about which risk ratio a difference of means stands for: exp(.91 d), d in standard deviations.

    VanderWeele, Ding 2017, table 2, after Chinn 2000 (https://doi.org/10.1002/1097-0258(20001130)19:22<3127::AID-SIM784>3.0.CO;2-M).
    """
    return math.exp(min(_RISK_RATIO_PER_SD * effect / spread, 700.0))


def e_value(ratio: float) -> float:
    r"""Return the risk ratio that a confounder needs with treatment and outcome to explain a risk ratio away.

    .. math:: E = RR + \sqrt{RR (RR - 1)}, \quad RR \ge 1;

    below one for its inverse (VanderWeele, Ding 2017). It solves :math:`E^2 / (2 E - 1) = RR`, the bounding factor at equal
    strengths.

    Examples
    --------
    >>> round(e_value(3.9), 2), e_value(1.0)
    (7.26, 1.0)
    """
    if not ratio > 0:
        raise ValueError(f"a risk ratio is positive, found {ratio}")
    above = max(ratio, 1 / ratio)
    return above + math.sqrt(above * (above - 1))


def bounding_factor(with_treatment: float, with_outcome: float) -> float:
    r"""Return by which factor a confounder changes a risk ratio at most: :math:`ab / (a + b - 1)` (Ding, VanderWeele 2016).

    Examples
    --------
    >>> bounding_factor(2.0, 1.0), round(bounding_factor(2.0, 2.0), 4)
    (1.0, 1.3333)
    """
    return with_treatment * with_outcome / (with_treatment + with_outcome - 1)
