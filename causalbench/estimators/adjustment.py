r"""Adjustment: units that took the treatment against units that didn't and were alike before it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from causalbench.data.cross_section import CrossSection
from causalbench.errors import DataError, RefusalError, listing
from causalbench.estimators._nuisances import (
    USUAL_FOLDS,
    Design,
    Learner,
    Nuisances,
    design_of,
    logit,
    nuisances,
    propensities,
    sampling_weights,
    undetermined,
)
from causalbench.numerics.average_effect import (
    AverageEffect,
    balancing_weights,
    common_slopes,
    imputed_effect,
    orthogonal_effect,
    weighted_effect,
)
from causalbench.numerics.matching import MatchedEffect, matched_effect, whitened
from causalbench.numerics.two_period import UndeterminedError
from causalbench.protocols import MANY_CLUSTERS, Requirements
from causalbench.values import NO_PATH, BoolArray, Fit, FloatArray, MethodCard
from causalbench.wording import counted

AdjustmentMethod = Literal["aipw", "regression", "ipw", "matching", "dr-did"]
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_NEIGHBOURS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    r"""Average effect of a treatment on the treated, or on all units, given covariates known before it.

    With :math:`\pi(x)` the probability of treatment, :math:`\mu_d(x)` the mean outcome in arm d and :math:`e(w, r)` the mean of
    r with weights w that sum to one, ``aipw`` is for the treated and for all units

    .. math::
        \tau_{ATT} = e\big(D, y - \mu_0\big) - e\Big(\frac{\pi (1 - D)}{1 - \pi}, y - \mu_0\Big), \qquad
        \tau_{ATE} = e(1, \mu_1 - \mu_0) + e\Big(\frac{D}{\pi}, y - \mu_1\Big) - e\Big(\frac{1 - D}{1 - \pi}, y - \mu_0\Big)

    It is right where either :math:`\pi` or :math:`\mu` is (Robins, Rotnitzky, Zhao 1994), and its influence function is the
    efficient one where both are (Hahn 1998, theorem 1): for the treated

    .. math:: \psi_i = \frac{1}{n_1} \Big(D_i (y_i - \mu_0 - \tau) - \frac{\pi (1 - D_i)}{1 - \pi} (y_i - \mu_0)\Big).

    ``ipw`` leaves :math:`\mu` out, with weights that sum to one in each arm (Hajek). ``regression`` predicts what is missing
    by least squares in the other arm. ``dr-did`` is ``aipw`` for the treated with the change since before the treatment as the
    outcome (Sant'Anna, Zhao 2020, equation 2.7). ``matching`` takes the nearest units of the other arm, with replacement,
    less what their covariates still differ by regression (Abadie, Imbens 2011).

    With the linear learner (a logit without penalty, and least squares) influence functions hold the error of the fitted
    coefficients. With another one, or with folds, every unit is predicted by fits to other folds, whose error enters ``aipw``
    and ``dr-did`` in second order only (Chernozhukov et al. 2018).

    Parameters
    ----------
    method
        ``aipw``, ``regression``, ``ipw``, ``matching`` or ``dr-did``.
    estimand
        ``att``: of the treated; ``ate``: of all units.
    learner
        What predicts treatment and outcomes: ``linear``; scikit-learn's random ``forest`` of 100 trees with leaves of at
        least 10 units; or gradient ``boosting``, 100 rounds of trees with 8 leaves at rate .05. Propensities of the latter two
        are held below .99, for all units also above .01, and counted.
    folds
        Number of parts that are predicted by the others. By default 1 for ``linear``, where it isn't needed, and 5 else.
    slopes
        Of ``regression``: ``by-arm`` fits each arm by itself and predicts what is missing, which is right where outcomes
        are linear; ``common`` is the usual regression of the outcome on treatment and covariates, whose coefficient
        averages effects with weights that are largest where treatment was least predictable (Angrist 1998), not over the treated.
    distance
        Of ``matching``: ``mahalanobis``, or ``propensity``, the log odds of treatment.
    matches
        Of ``matching``: how many nearest units; all that are as near as the last of them share.
    trim
        Units with a propensity of more than ``1 - trim`` are left out, for ``ate`` also those below ``trim``, and said; 0: none.
        The effect is then that of those who are left.
    squares
        Covariates whose squares are added.
    seed
        Seed of folds and trees; set by the run.

    Notes
    -----
    Assumptions: given the covariates chance decided who took the treatment, which no data can show; every unit could
    have gone either way; no unit acts on another. ``dr-did`` asks for parallel changes given the covariates in place of the
    first. Don't use covariates that the treatment may have moved: see :mod:`causalbench.dag`.

    Raises
    ------
    RefusalError
        When covariates separate the arms (but for ``regression`` and Mahalanobis matching), an arm has too few units, or
        ``matching`` meets weights or clusters.
    DataError
        For ``dr-did`` without an outcome before the treatment, and squares of unknown covariates.
    ValueError
        When options contradict each other.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from causalbench.data.cross_section import CrossSection
    >>> rng = np.random.default_rng(0)
    >>> age = rng.normal(size=500)
    >>> took = rng.random(500) < 1 / (1 + np.exp(-age))
    >>> table = pd.DataFrame({"spend": 5 + 2 * age + took + rng.normal(size=500), "took": took, "age": age})
    >>> people = CrossSection.from_table(table, outcome="spend", treatment="took", covariates=["age"])
    >>> round(Adjustment().fit(people).effect, 2)
    0.98
    """

    method: AdjustmentMethod = "aipw"
    estimand: Literal["att", "ate"] = "att"
    learner: Learner = "linear"
    folds: Annotated[int, Field(ge=1)] | None = None
    slopes: Literal["by-arm", "common"] = "by-arm"
    distance: Literal["mahalanobis", "propensity"] = "mahalanobis"
    matches: Annotated[int, Field(ge=1)] = 1
    trim: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    squares: tuple[str, ...] = ()
    seed: int = 0

    requires: ClassVar[Requirements] = Requirements(
        min_control=2,
        min_pre=0,
        recommended_pre=0,
        max_cohorts=None,
        varying_controls=False,
        covariates="unit",
        weights=True,
        clusters=True,
        shape="cross-section",
    )
    inferences: ClassVar[tuple[str, ...]] = ("influence", "cluster-bootstrap", "abadie-imbens")
    card: ClassVar[MethodCard] = MethodCard(
        title="Adjustment (adjustment)",
        summary="Treated units against others that were alike before: by weights, regressions, both, matches or changes.",
        equation=r"\hat\tau_{ATT} = e(D, y - \hat\mu_0) - e\Big(\frac{\hat\pi (1 - D)}{1 - \hat\pi}, y - \hat\mu_0\Big)",
        std_error="influence function with the error of fitted coefficients, or cross-fitting; matching: Abadie-Imbens",
        assumptions=(
            "Given the covariates chance decided who took the treatment; no data can show that.",
            "Every unit could have gone either way.",
            "No unit acts on another.",
        ),
        not_when=(
            "Something that moved both treatment and outcome wasn't measured.",
            "A covariate may have been moved by the treatment.",
            "Hardly any control resembles the treated: look at the effective number of controls.",
        ),
        edge_cases=(
            "Covariates that separate the arms are refused, naming those that do it alone.",
            "A covariate that follows from others is left out, and said.",
            "Ties in matching share; weights and clusters are refused there.",
            "A unit that fixes its own regression contributes nothing to the error.",
        ),
        references=(
            (
                "Robins, Rotnitzky, Zhao (1994), Journal of the American Statistical Association 89, 846-866",
                "https://doi.org/10.1080/01621459.1994.10476818",
            ),
            ("Hahn (1998), Econometrica 66, 315-331", "https://doi.org/10.2307/2998560"),
            ("Hirano, Imbens, Ridder (2003), Econometrica 71, 1161-1189", "https://doi.org/10.1111/1468-0262.00442"),
            (
                "Chernozhukov et al. (2018), Econometrics Journal 21, C1-C68 (cross-fitting)",
                "https://doi.org/10.1111/ectj.12097",
            ),
            (
                "Sant'Anna, Zhao (2020), Journal of Econometrics 219, 101-122 (dr-did)",
                "https://doi.org/10.1016/j.jeconom.2020.06.003",
            ),
            (
                "Abadie, Imbens (2011), Journal of Business and Economic Statistics 29, 1-11 (matching)",
                "https://doi.org/10.1198/jbes.2009.07333",
            ),
        ),
    )

    def __post_init__(self) -> None:
        fitted = self.method in ("regression", "ipw", "matching")
        if fitted and (self.learner != "linear" or self.n_folds > 1):
            raise ValueError(
                f"method {self.method!r} has a known error only with the linear learner and one fold; "
                "use aipw or dr-did with another learner"
            )
        if self.learner != "linear" and self.n_folds == 1:
            raise ValueError(
                f"learner {self.learner!r} needs at least 2 folds: it follows the units that it was fitted to"
            )
        if self.method == "dr-did" and self.estimand == "ate":
            raise ValueError(
                "dr-did estimates the effect on the treated: parallel changes say nothing about the others"
            )
        if self.slopes == "common" and self.method != "regression":
            raise ValueError("slopes belongs to method = regression")

    @property
    def n_folds(self) -> int:
        """Number of folds in use."""
        if self.folds is not None:
            return self.folds
        return 1 if self.learner == "linear" else USUAL_FOLDS

    def sample(self, data: CrossSection) -> CrossSection:
        """Use every unit; ``trim`` leaves out units in the fit, which says so."""
        return data

    def fit(self, data: CrossSection) -> Fit:
        """Estimate the effect, with every unit's contribution to its error; matching gives a variance instead."""
        self._require(data)
        kept = self._kept(data)
        used = data if kept.all() else data.only(kept)
        design = design_of(used, self.squares)
        predicted = nuisances(_compared(used, self.method), self) if self.n_folds > 1 else None
        try:
            found = self._matched(used, design) if self.method == "matching" else self._effect(used, design, predicted)
        except UndeterminedError as error:
            raise undetermined(error) from error
        return self._report(data, kept, used, design, found, predicted)

    def default_inference(self, data: CrossSection) -> str:
        """``abadie-imbens`` for matching; else ``influence``, or ``cluster-bootstrap`` with fewer than 20 clusters on a side."""
        if self.method == "matching":
            return "abadie-imbens"
        few = min(data.n_treated_clusters, data.n_control_clusters) < MANY_CLUSTERS
        return "cluster-bootstrap" if few and data.cluster is not None else "influence"

    def matching_weights(self, data: CrossSection) -> FloatArray:
        """Return how often each unit counts in ``matching``, shape (n,): for itself if the effect is about it, and as a match."""
        own = data.treatment if self.estimand == "att" else np.ones(len(data.outcome), dtype=bool)
        weights: FloatArray = own + self._matched(data, design_of(data, self.squares)).uses
        return weights

    def _require(self, data: CrossSection) -> None:
        if self.method == "dr-did" and data.before is None:
            raise DataError(
                "dr-did compares changes, and there is no outcome before the treatment",
                code="CB-D047",
                remedy='name its column: before = "column" under [data], or use method = "aipw"',
            )
        if self.method == "matching" and (data.weights is not None or data.cluster is not None):
            what = "sampling weights" if data.weights is not None else "clusters"
            raise RefusalError(
                f"errors of matching are known for independent units that count the same, the data have {what}",
                code="CB-D015",
                remedy='use method = "aipw"',
            )
        if self.learner != "linear" and not data.names:
            raise RefusalError(
                f"learner {self.learner!r} has no covariates to learn from",
                code="CB-D044",
                remedy='name covariates, or use learner = "linear" for a difference of means',
            )

    def _kept(self, data: CrossSection) -> BoolArray:
        """Return which units are left after trimming, shape (n,)."""
        if self.trim == 0:
            return np.ones(len(data.outcome), dtype=bool)
        p, _ = propensities(data, design_of(data, self.squares), self)
        kept = p <= 1 - self.trim
        if self.estimand == "ate":
            kept &= p >= self.trim
        if min(kept[data.treatment].sum(), kept[~data.treatment].sum()) < 2:
            raise RefusalError(
                f"trim = {self.trim:g} leaves {int(kept[data.treatment].sum())} treated and "
                f"{int(kept[~data.treatment].sum())} control units",
                code="CB-D044",
                remedy="trim less",
            )
        return kept

    def _effect(self, data: CrossSection, design: Design, predicted: Nuisances | None) -> AverageEffect:
        outcome, treated = _compared(data, self.method).outcome, data.treatment
        weights, matrix = sampling_weights(data), design.matrix
        if self.method == "regression":
            if self.slopes == "common":
                return common_slopes(outcome, treated, matrix, weights)
            return imputed_effect(outcome, treated, matrix, weights, whom=self.estimand)
        if predicted is not None:
            return orthogonal_effect(outcome, treated, weights, sides=predicted.sides, whom=self.estimand)
        odds, robust = logit(data, design), self.method != "ipw"
        return weighted_effect(outcome, treated, matrix, weights, robust=robust, odds=odds, whom=self.estimand)

    def _matched(self, data: CrossSection, design: Design) -> MatchedEffect:
        if self.distance == "mahalanobis":
            if not data.names:
                raise RefusalError("matching has no covariates to match on", code="CB-D044", remedy="name covariates")
            places = whitened(design_of(data, ()).matrix[:, 1:])
            if not places.shape[1]:
                raise RefusalError(
                    "matching has no covariates that vary to match on",
                    code="CB-D044",
                    remedy="name covariates that differ between units",
                )
        else:
            places = (design.matrix @ logit(data, design).coefficients)[:, None]
        return matched_effect(
            data.outcome,
            data.treatment,
            places,
            design.matrix,
            n_matches=self.matches,
            n_neighbours=max(_NEIGHBOURS, self.matches),
            whom=self.estimand,
        )

    def _report(
        self,
        data: CrossSection,
        kept: BoolArray,
        used: CrossSection,
        design: Design,
        found: AverageEffect | MatchedEffect,
        predicted: Nuisances | None,
    ) -> Fit:
        matched = isinstance(found, MatchedEffect)
        overlap, warnings = self._overlap(used, design, predicted)
        about = used.treatment if self.estimand == "att" else np.ones(len(used.outcome), dtype=bool)
        influence = None
        if isinstance(found, AverageEffect):
            influence = np.zeros(len(kept))
            influence[kept] = found.contributions
        detail: dict[str, Any] = {
            "method": self.method,
            "estimand": self.estimand,
            "n": len(used.outcome),
            "n_trimmed": int((~kept).sum()),
            "n_folds": self.n_folds,
            "learner": self.learner,
            "columns": list(design.names),
            **overlap,
        }
        if isinstance(found, MatchedEffect):
            detail |= {
                "n_controls_used": int((found.uses[~used.treatment] > 0).sum()),
                "most_uses": float(found.uses.max()),
                "mean_distance": found.mean_distance,
            }
        return Fit(
            effect=found.value,
            path=NO_PATH,
            influence=influence,
            covariance=np.array([[found.variance]]) if isinstance(found, MatchedEffect) else None,
            n_cells=int(about.sum()),
            treated_mean=self._treated_mean(used, found),
            n_treated=used.n_treated,
            diagnostics=detail,
            warnings=(*self._said(data, kept, design, matched=matched), *warnings),
        )

    def _treated_mean(self, used: CrossSection, found: AverageEffect | MatchedEffect) -> float:
        """Return the mean outcome with the treatment; for changes that of the outcome itself."""
        if self.method != "dr-did":
            return found.treated_mean
        weights = sampling_weights(used)[used.treatment]
        return float(np.average(used.outcome[used.treatment], weights=weights))

    def _overlap(
        self, used: CrossSection, design: Design, predicted: Nuisances | None
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Describe propensities and weights; a warning where covariates separate the arms of a method that does without."""
        try:
            p, n_clipped = (
                propensities(used, design, self) if predicted is None else (predicted.propensity, predicted.n_clipped)
            )
        except RefusalError as error:
            return {"ess_control": None, "ess_treated": None}, (
                f"{error.code}: {error.message}; overlap isn't measured",
            )
        treated, base = used.treatment, sampling_weights(used)
        weights = balancing_weights(treated, base, p, whom=self.estimand)
        detail = {
            "ess_control": _effective(weights[~treated]),
            "ess_treated": _effective(weights[treated]),
            "largest_weight_control": float(weights[~treated].max()),
            "largest_weight_treated": float(weights[treated].max()),
            "propensity": {
                "levels": list(_QUANTILES),
                "treated": np.quantile(p[treated], _QUANTILES).tolist(),
                "control": np.quantile(p[~treated], _QUANTILES).tolist(),
            },
            "share_control_below_01": float((p[~treated] < 0.01).mean()),
            "n_clipped": n_clipped,
        }
        if not n_clipped:
            return detail, ()
        bounds = ".99" if self.estimand == "att" else ".01 or .99"
        return detail, (f"propensities of {counted(n_clipped, 'unit')} were moved to {bounds}",)

    def _said(self, data: CrossSection, kept: BoolArray, design: Design, *, matched: bool) -> tuple[str, ...]:
        said = []
        if not kept.all():
            out = [int((~kept & arm).sum()) for arm in (data.treatment, ~data.treatment)]
            bounds = f"beyond {1 - self.trim:g}" + (f" or below {self.trim:g}" if self.estimand == "ate" else "")
            said.append(
                f"{out[0]} treated and {out[1]} control units with a propensity {bounds} are left out: "
                "the effect is that of the others"
            )
        if design.dropped:
            said.append(f"covariates left out because they say nothing more: {listing(design.dropped)}")
        if self.slopes == "common":
            said.append(
                "one slope for both arms: where effects differ between units, this averages them with weights that are "
                "largest where treatment was least predictable"
            )
        if matched and self.distance == "propensity":
            said.append(
                "the error takes the propensity for known; estimating it makes the error for all units smaller, that for "
                "the treated smaller or larger (Abadie, Imbens 2016)"
            )
        return tuple(said)


def _effective(weights: FloatArray) -> float:
    """Return the effective number of units under weights (Kish 1965)."""
    return float(weights.sum() ** 2 / (weights @ weights))


def _compared(data: CrossSection, method: AdjustmentMethod) -> CrossSection:
    """Return the data with what is compared as the outcome: the change since before the treatment for ``dr-did``."""
    if method != "dr-did" or data.before is None:
        return data
    return replace(data, outcome=data.outcome - data.before)
