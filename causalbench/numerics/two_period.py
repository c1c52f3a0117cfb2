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
_Arm = Literal["treated", "control"]
_When = Literal["before", "after"]
_SIGNS: tuple[tuple[_When, int], ...] = (("after", 1), ("before", -1))

_STEPS = 50
_HALVINGS = 30
_SEPARATED = 1 - 1e-6
_SATURATED = 1e-9  # information per row in some direction, of at most 1/4
_NO_FIT = "the propensity score has no finite fit: covariates separate the groups"
_COLLINEAR = 1e-8  # of a column's own size; a regression loses half its digits by then


class OverlapError(ValueError):
    """Treated and control rows can be told apart by their covariates, so that there is nothing to compare."""


class UndeterminedError(OverlapError):
    """Too few rows for the coefficients, or columns that are combinations of others."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Largest propensity among controls, and how many controls of equal weight their odds are worth."""

    propensity: float
    effective: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WeightedMean:
    """One signed weighted mean: of ``outcome`` less the regressions named, under weights that may hold the odds.

    ``moves`` is the derivative of the weights in the propensity's index, shape (n_rows,); None where they don't depend on it.
    Weights that are proportional to the odds are their own.
    """

    sign: int
    weights: FloatArray
    outcome: FloatArray
    less: Mapping[str, int]
    moves: FloatArray | None = None


def dependent_columns(design: FloatArray) -> dict[int, tuple[int, ...]]:
    """Find the columns that are linear combinations of those before them.

    Parameters
    ----------
    design
        Shape (n_rows, k), the constant first.

    Returns
    -------
    dict
        By number of such a column, the columns that it combines; none but the constant's 0 where it is constant.
    """
    scaled = design / _sizes(design)
    basis = np.empty_like(scaled, order="F")
    kept: list[int] = []
    found: dict[int, tuple[int, ...]] = {}
    for j in range(design.shape[1]):
        rest, own = scaled[:, j], basis[:, : len(kept)]
        for _ in range(2):  # once leaves what rounding lets through of nearly dependent columns
            rest = rest - own @ (own.T @ rest)
        size = float(np.linalg.norm(rest))
        if j == 0 or size > _COLLINEAR:
            basis[:, len(kept)] = rest / (size or 1.0)
            kept.append(j)
        else:
            factors = np.linalg.lstsq(scaled[:, kept], scaled[:, j], rcond=None)[0]
            found[j] = tuple(k for k, factor in zip(kept, factors, strict=True) if abs(factor) > _COLLINEAR) or (0,)
    return found


def regress(outcome: FloatArray, design: FloatArray, weights: FloatArray, *, who: str = "rows") -> Fitted:
    """Fit weighted least squares on the rows with a positive weight, called ``who`` in errors.

    Raises
    ------
    UndeterminedError
        When there are fewer rows than columns, or the columns are collinear there.
    """
    n_rows, n_columns = int((weights > 0).sum()), design.shape[1]
    if n_rows < n_columns:
        raise UndeterminedError(f"{n_rows} {who} can't determine {n_columns} coefficients")
    root = np.sqrt(weights)[:, None]
    back = _to_orthonormal(design * root, f"the covariates of {n_rows} {who} are collinear")
    basis = design @ back
    factors = basis.T @ (weights * outcome)
    residuals = weights * (outcome - basis @ factors)
    return Fitted(coefficients=back @ factors, contributions=(residuals[:, None] * basis) @ back.T)


def propensity(treated: BoolArray, design: FloatArray, weights: FloatArray) -> Fitted:
    """Fit a logit of treatment by Newton's method, in an orthonormal basis of the design.

    Raises
    ------
    UndeterminedError
        When the columns are collinear.
    OverlapError
        When a combination of covariates separates treated from control rows, so that no finite fit exists.
    """
    root = np.sqrt(weights / weights.sum())[:, None]
    back = _to_orthonormal(design * root, f"the covariates of {len(design)} rows are collinear")
    basis = design @ back
    coefficients = _logit(treated, basis, weights)
    chance = _chance(basis @ coefficients)
    if chance[~treated].max(initial=0.0) > _SEPARATED:
        raise OverlapError("some control rows have a propensity of 1: covariates separate the groups")
    inverse = np.linalg.inv(_information(basis, weights, chance))
    scores = (weights * (treated - chance))[:, None] * basis
    return Fitted(coefficients=back @ coefficients, contributions=(scores @ inverse) @ back.T)


def overlap(treated: BoolArray, design: FloatArray, weights: FloatArray, odds: Fitted) -> Overlap:
    r"""Measure how far controls resemble the treated.

    The effective number of controls is :math:`(\sum_i v_i)^2 / \sum_i v_i^2` with weights times odds :math:`v_i` (Kish 1965).
    """
    relative = _odds(design, odds)[~treated]
    own = weights[~treated] * relative
    share = own / own.max()
    return Overlap(
        propensity=float((relative / (1 + relative)).max()), effective=float(share.sum() ** 2 / (share @ share))
    )


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
        The propensity's fit on these rows; None where all have the same odds, as without covariates, and for ``reg``.
    """
    fits = {} if method == "ipw" else {"control": regress(change, design, weights * ~treated, who="control units")}
    less = dict.fromkeys(fits, 1)
    means = [WeightedMean(sign=1, weights=weights * treated, outcome=change, less=less)]
    if method != "reg":
        relative = weights * ~treated * _odds(design, odds)
        means.append(WeightedMean(sign=-1, weights=relative, outcome=change, less=less, moves=relative))
    return combine(means, design, fits, odds)


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
    rows = _Sections(outcome=outcome, treated=treated, after=after, weights=weights, odds=_odds(design, odds))
    if method == "ipw":
        return combine(_normalised_means(rows), design, {}, odds)
    fits = rows.regressions("control", design)
    if method == "reg":
        return combine(_extrapolated_means(rows), design, fits, None)
    return combine(_robust_means(rows), design, fits | rows.regressions("treated", design), odds)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Sections:
    """Rows of repeated cross-sections, with the odds of treatment, shape (n_rows,) each."""

    outcome: FloatArray
    treated: BoolArray
    after: BoolArray
    weights: FloatArray
    odds: FloatArray

    def of(self, arm: _Arm, when: _When) -> FloatArray:
        """Return the weights within an arm and period, zero elsewhere."""
        found: FloatArray = self.weights * (self.treated == (arm == "treated")) * (self.after == (when == "after"))
        return found

    def regressions(self, arm: _Arm, design: FloatArray) -> dict[str, Fitted]:
        """Fit the outcome of an arm before and after."""
        names = {when: f"{arm} rows {when}" for when, _ in _SIGNS}
        return {name: regress(self.outcome, design, self.of(arm, when), who=name) for when, name in names.items()}


def _normalised_means(rows: _Sections) -> list[WeightedMean]:
    """Return the change of the treated less that of controls weighted by their odds."""
    means = []
    for when, sign in _SIGNS:
        own, other = rows.of("treated", when), rows.of("control", when) * rows.odds
        means.append(WeightedMean(sign=sign, weights=own, outcome=rows.outcome, less={}))
        means.append(WeightedMean(sign=-sign, weights=other, outcome=rows.outcome, less={}, moves=other))
    return means


def _extrapolated_means(rows: _Sections) -> list[WeightedMean]:
    """Return the change of the treated less the change of controls' regressions at all treated rows."""
    fitted = {f"control rows {when}": sign for when, sign in _SIGNS}
    own = [
        WeightedMean(sign=sign, weights=rows.of("treated", when), outcome=rows.outcome, less={})
        for when, sign in _SIGNS
    ]
    return [
        *own,
        WeightedMean(sign=1, weights=rows.weights * rows.treated, outcome=np.zeros(len(rows.outcome)), less=fitted),
    ]


def _robust_means(rows: _Sections) -> list[WeightedMean]:
    """Return the means of the locally efficient estimator, period by period (Sant'Anna, Zhao 2020, equation 3.5)."""
    zero, means = np.zeros(len(rows.outcome)), []
    for when, sign in _SIGNS:
        own, other = rows.of("treated", when), rows.of("control", when) * rows.odds
        fitted = {f"control rows {when}": 1}
        gap = {f"control rows {when}": 1, f"treated rows {when}": -1}
        means += [
            WeightedMean(sign=sign, weights=own, outcome=rows.outcome, less=fitted),
            WeightedMean(sign=-sign, weights=other, outcome=rows.outcome, less=fitted, moves=other),
            WeightedMean(sign=sign, weights=rows.weights * rows.treated, outcome=zero, less=gap),
            WeightedMean(sign=-sign, weights=own, outcome=zero, less=gap),
        ]
    return means


def _sizes(design: FloatArray) -> FloatArray:
    """Return each column's norm, 1 where it is zero."""
    norms = np.linalg.norm(design, axis=0)
    found: FloatArray = np.where(norms > 0, norms, 1.0)
    return found


def _to_orthonormal(design: FloatArray, otherwise: str) -> FloatArray:
    """Return the matrix, shape (k, k), that makes the columns orthonormal: the Gram matrix would square their condition."""
    sizes = _sizes(design)
    triangle = np.linalg.qr(design / sizes, mode="r")
    singular = np.linalg.svd(triangle, compute_uv=False)
    if len(singular) < len(sizes) or singular[-1] < _COLLINEAR * singular[0]:
        raise UndeterminedError(otherwise)
    found: FloatArray = np.linalg.inv(triangle) / sizes[:, None]
    return found


def _chance(index: FloatArray) -> FloatArray:
    found: FloatArray = 1 / (1 + np.exp(-np.clip(index, -500, 500)))
    return found


def _likelihood(treated: BoolArray, index: FloatArray, weights: FloatArray) -> float:
    return float(-(weights @ np.logaddexp(0.0, np.where(treated, -index, index))))


def _logit(treated: BoolArray, basis: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the coefficients of the likeliest logit: Newton's steps, halved where one overshoots."""
    coefficients: FloatArray = np.zeros(basis.shape[1])
    fit = _likelihood(treated, np.zeros(len(basis)), weights)
    for _ in range(_STEPS):
        chance = _chance(basis @ coefficients)
        step = np.linalg.solve(_information(basis, weights, chance), basis.T @ (weights * (treated - chance)))
        for halving in 0.5 ** np.arange(_HALVINGS):
            moved = coefficients + halving * step
            likelihood = _likelihood(treated, basis @ moved, weights)
            if likelihood >= fit - 1e-9 * abs(fit):
                break
        else:
            break
        coefficients, fit = moved, likelihood
        if np.abs(step).max() < 1e-8 * max(1.0, np.abs(coefficients).max()):
            return coefficients  # Newton converges quadratically: this step was exact to rounding
    raise OverlapError(_NO_FIT)


def _information(basis: FloatArray, weights: FloatArray, chance: FloatArray) -> FloatArray:
    """Return minus the second derivative of the logit's likelihood, which vanishes where groups are separated."""
    found: FloatArray = (basis * (weights * chance * (1 - chance))[:, None]).T @ basis
    if np.linalg.eigvalsh(found)[0] < _SATURATED * weights.sum():
        raise OverlapError(_NO_FIT)
    return found


def _odds(design: FloatArray, odds: Fitted | None) -> FloatArray:
    if odds is None:
        return np.ones(len(design))
    relative: FloatArray = np.exp(np.clip(design @ odds.coefficients, -500, 500))
    return relative


def combine(
    means: list[WeightedMean], design: FloatArray, fits: Mapping[str, Fitted], odds: Fitted | None
) -> Comparison:
    """Add up the means; every row contributes directly, and through each fitted coefficient."""
    value, contributions = 0.0, np.zeros(len(design))
    for mean in means:
        total = float(mean.weights.sum())
        if total <= 0:
            raise OverlapError("a group has no rows in one of the periods")
        residual = mean.outcome
        for name, factor in mean.less.items():
            residual = residual - factor * (design @ fits[name].coefficients)
        average = float(mean.weights @ residual) / total
        deviation = mean.weights * (residual - average)
        here = deviation / total
        for name, factor in mean.less.items():
            here -= fits[name].contributions @ (factor * (mean.weights @ design) / total)
        if mean.moves is not None and odds is not None:
            here += odds.contributions @ (((mean.moves * (residual - average)) @ design) / total)
        value, contributions = value + mean.sign * average, contributions + mean.sign * here
    return Comparison(value=value, contributions=contributions)
