"""What checks of a comparison at one time share: the estimator's terms, its propensities and weights, as arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Protocol, cast, runtime_checkable

import numpy as np

from causalbench.data.cross_section import CrossSection
from causalbench.estimators._nuisances import design_of, sampling_weights
from causalbench.estimators._nuisances import propensities as predicted
from causalbench.estimators.adjustment import Adjustment
from causalbench.numerics.one_step import Form, Sample, fit_logit, propensities
from causalbench.protocols import Estimator
from causalbench.values import BoolArray, Estimate, FloatArray

USUAL_LEVEL = 0.95
SHARE_OF_ODDS = 0.95
"""Of the units, that the strength of a covariate left out holds for."""

_MOST_COVARIATES = 30
_SQUARED = " squared"


@runtime_checkable
class Adjusts(Protocol):
    """An estimator that compares units of a cross-section given covariates, and its options."""

    @property
    def method(self) -> str:
        """How it adjusts: ``aipw``, ``ipw``, ``regression``, ``matching`` or ``dr-did``."""
        ...

    @property
    def estimand(self) -> str:
        """Of the treated (``att``) or of all units (``ate``)."""
        ...

    @property
    def squares(self) -> tuple[str, ...]:
        """Covariates whose squares are used as well."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """A cross-section as the estimator compares it.

    Attributes
    ----------
    method, estimand
        Of the estimator; ``common`` for a regression with the same slopes in both arms.
    data
        The units that are compared: all but those that the estimator trims.
    names
        Names of the columns of ``sample.design`` after the constant.
    sample
        Standardized columns, the outcome (less that before the treatment for differences), treatment and sampling weights.
    learned
        Probability of treatment of a learner other than the logit, or across folds, shape (n,); None for the logit of all.
    matched
        How often each unit counts in matching, shape (n,); None for methods that don't match.
    """

    method: str
    estimand: Literal["att", "ate"]
    names: tuple[str, ...]
    sample: Sample
    data: CrossSection
    learned: FloatArray | None
    matched: FloatArray | None = None

    @property
    def form(self) -> Form:
        """The form with linear nuisances that is nearest to the method."""
        nearest: dict[str, Form] = {
            "ipw": "ipw",
            "regression": "regression",
            "common": "common",
            "matching": "regression",
        }
        return nearest.get(self.method, "aipw")

    @property
    def stand_in(self) -> str:
        """What is refitted in place of the method where that can't be fitted many times, as a sentence; empty where it can."""
        if self.method == "matching":
            return " Regression by arm stands in for the matches here."
        return "" if self.learned is None else " Linear regressions and a logit stand in for the learner here."

    @property
    def treated(self) -> BoolArray:
        """Which units took the treatment, shape (n,)."""
        taken: BoolArray = self.sample.treatment == 1
        return taken

    @cached_property
    def propensity(self) -> FloatArray:
        """Probability of treatment given the covariates by the estimator's learner, shape (n,)."""
        return propensities(self.sample) if self.learned is None else self.learned

    @cached_property
    def weights(self) -> FloatArray:
        """Weights that make the arms alike, shape (n,): those of the matches, or inverse probability weights."""
        if self.matched is not None:
            return self.matched
        return analysis_weights(self.propensity, self.treated, self.estimand) * self.sample.weights

    def strengths(self) -> dict[str, float]:
        """Return by which factor leaving out a covariate moves the odds of treatment, for 95% of the units at most.

        A covariate goes with its square and with all its levels. At most 30 covariates, those with the largest
        coefficients; the strongest first.
        """
        x = self.sample.design
        beta = fit_logit(x, self.sample.treatment, self.sample.weights)
        odds = x @ beta
        columns = [name.removesuffix(_SQUARED).partition("=")[0] for name in self.names]
        largest = np.argsort(-np.abs(beta[1:]), kind="stable").tolist()
        found = {}
        for name in list(dict.fromkeys(columns[j] for j in largest))[:_MOST_COVARIATES]:
            rest = x[:, [True, *(column != name for column in columns)]]
            without = rest @ fit_logit(rest, self.sample.treatment, self.sample.weights)
            found[name] = float(np.exp(min(np.quantile(np.abs(odds - without), SHARE_OF_ODDS), 50.0)))
        return dict(sorted(found.items(), key=lambda item: -item[1]))


def analysis_weights(propensity: FloatArray, treated: BoolArray, estimand: str) -> FloatArray:
    """Return inverse probability weights of units, shape (n,), without sampling weights."""
    p = np.clip(propensity, 1e-12, 1 - 1e-12)
    if estimand == "att":
        return np.where(treated, 1.0, p / (1 - p))
    return np.where(treated, 1 / p, 1 / (1 - p))


def comparison(estimator: object, data: CrossSection) -> Comparison | None:
    """Return the data in the estimator's terms; None for estimators that don't adjust for covariates."""
    if not isinstance(estimator, Adjusts):
        return None
    found = _comparison(estimator, data, _learned(estimator, data))
    trim = float(getattr(estimator, "trim", 0.0))
    if trim > 0:
        kept = found.propensity <= 1 - trim
        if found.estimand == "ate":
            kept &= found.propensity >= trim
        left = data.only(kept)
        found = _comparison(estimator, left, _learned(estimator, left))
    if isinstance(estimator, Adjustment) and estimator.method == "matching":
        return replace(found, matched=estimator.matching_weights(found.data))
    return found


def fitted_to(
    estimator: Estimator[CrossSection], data: CrossSection, *, linear: bool = False
) -> Estimator[CrossSection]:
    """Return the estimator without squares of covariates that aren't here; with linear learners where asked."""
    if not isinstance(estimator, Adjustment):
        return estimator
    fitted = replace(estimator, squares=tuple(name for name in estimator.squares if name in data.names))
    return replace(fitted, learner="linear", folds=None) if linear else fitted


def _learned(estimator: Adjusts, data: CrossSection) -> FloatArray | None:
    """Return the probabilities of a learner that isn't the logit of all units."""
    if not isinstance(estimator, Adjustment) or (estimator.learner == "linear" and estimator.n_folds == 1):
        return None
    return predicted(data, design_of(data, estimator.squares), estimator)[0]


def _comparison(estimator: Adjusts, data: CrossSection, learned: FloatArray | None) -> Comparison:
    design = design_of(data, tuple(name for name in estimator.squares if name in data.names))
    changes = estimator.method == "dr-did" and data.before is not None
    sample = Sample(
        design=design.matrix,
        outcome=data.outcome - data.before if changes and data.before is not None else data.outcome,
        treatment=data.treatment.astype(float),
        weights=sampling_weights(data),
        codes=None if data.cluster is None else data.cluster_codes,
    )
    return Comparison(
        method="common" if getattr(estimator, "slopes", "") == "common" else estimator.method,
        estimand=cast('Literal["att", "ate"]', estimator.estimand),
        names=design.names,
        sample=sample,
        data=data,
        learned=learned,
    )


def level_of(estimate: Estimate) -> float:
    """Return the confidence level of an estimate's interval, .95 where it has none."""
    return USUAL_LEVEL if estimate.interval is None else estimate.interval.level


def effective_size(weights: FloatArray) -> float:
    r"""Return how many units with equal weights would be as concentrated: :math:`(\sum w)^2 / \sum w^2` (Kish 1965)."""
    return float(weights.sum() ** 2 / (weights**2).sum())
