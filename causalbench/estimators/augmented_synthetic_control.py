r"""Synthetic control whose weights are corrected by a ridge regression for what they leave unmatched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from causalbench.data.panel import Panel
from causalbench.errors import DataError, listing
from causalbench.estimators._donors import FEWEST_DONORS, certify, require_donors, time_or_space, unit_centred
from causalbench.numerics.gaps import rmspe_ratio
from causalbench.numerics.ridge_augmentation import AugmentedWeights, RidgeDesign, augmented_weights
from causalbench.numerics.simplex import solve_simplex
from causalbench.protocols import Requirements
from causalbench.values import BoolArray, EffectPath, Fit, FloatArray, IntArray, MethodCard

_CELLS = 5_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentedSyntheticControl:
    r"""Average effect on the treated against donors whose weights match it before the launch better than a mixture can.

    .. math::
        \hat\gamma = \hat w + X_0 (X_0'X_0 + \eta I)^{-1} (x_1 - X_0'\hat w),
        \qquad \hat\tau = \frac1{T_1} \sum_{t > T_0} \Bigl(y_{1t} - \sum_j \hat\gamma_j y_{jt}\Bigr)

    (Ben-Michael, Feller, Rothstein 2021, lemma 1). :math:`\hat w` are the weights of synthetic control, which never leave
    the hull of the donors; :math:`X_0` are the donors' outcomes before the launch about their mean in each period, and
    :math:`x_1` the treated units' mean likewise. The correction takes off what a ridge regression of the outcomes after
    the launch on those before predicts for the mismatch. Weights sum to one and may be negative: so far it extrapolates,
    and the less, the larger :math:`\eta`.

    Covariates are averaged over the periods before the launch, scaled to the standard deviation of the outcome there, and
    matched as if they were further periods (section 6).

    Parameters
    ----------
    fixed_effects
        ``none``, or ``unit`` to take every series about its own mean before the launch first.
    ridge
        Penalty :math:`\eta`, in squared units of the outcome; ``auto`` leaves out one period before the launch at a time and
        takes the largest penalty whose mean squared error lies within one standard error of the smallest (section 5.3), out
        of 21 between the largest squared singular value of :math:`X_0` and 1e-8 of it.
    exclude
        Donors to leave out.

    Notes
    -----
    Assumptions: donors don't react to the launch; outcomes after it are about linear in those before. Don't use it where
    synthetic control already fits, since the correction only adds noise then, or with so few periods before the launch
    that cross-validation can't tell penalties apart.

    Raises
    ------
    ValueError
        When ``ridge`` isn't positive.
    causalbench.errors.ConvergenceError
        When the relative duality gap of the simplex weights exceeds 1e-8.
    causalbench.errors.DataError
        When ``exclude`` names an unknown unit or leaves fewer than two donors, or a unit has no value of a covariate.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalbench import Panel
    >>> values = {"a": [4.0, 5.0, 6.0, 12.0], "b": [1.0, 2.0, 3.0, 4.0], "c": [2.0, 3.0, 4.0, 5.0]}
    >>> table = pd.DataFrame([(u, t, y) for u, ys in values.items() for t, y in enumerate(ys)], columns=["u", "t", "y"])
    >>> panel = Panel.from_table(table, unit="u", period="t", outcome="y", treated=["a"], start=3)
    >>> fit = AugmentedSyntheticControl(ridge=0.5).fit(panel)
    >>> round(fit.effect, 6), fit.weights.round(6).tolist()
    (5.5, [0.0, -1.5, 2.5])
    """

    fixed_effects: Literal["none", "unit"] = "none"
    ridge: float | Literal["auto"] = "auto"
    exclude: tuple[str, ...] = ()

    requires: ClassVar[Requirements] = Requirements(
        min_control=FEWEST_DONORS,
        min_pre=3,
        recommended_pre=10,
        max_cohorts=1,
        varying_controls=True,
        covariates="cell",
    )
    inferences: ClassVar[tuple[str, ...]] = ("conformal", "placebo-rank", "placebo")
    card: ClassVar[MethodCard] = MethodCard(
        title="Augmented synthetic control (augmented-synthetic-control)",
        summary="Synthetic control, less what a ridge regression predicts for the mismatch that its weights leave.",
        equation=r"\hat\gamma = \hat{w} + X_0 (X_0' X_0 + \eta I)^{-1} (x_1 - X_0' \hat{w}), \quad "
        r"\hat\tau = \frac{1}{T_1} \sum_{t > T_0} \left( y_{1t} - \sum_j \hat\gamma_j y_{jt} \right)",
        std_error="from placebos among the donors (placebo); else intervals from inverted tests (conformal, placebo-rank)",
        assumptions=(
            "No donor reacts to the launch or had one of its own.",
            "Outcomes after the launch are about linear in those before.",
        ),
        not_when=(
            "Synthetic control already fits before the launch: the correction then only adds noise.",
            "The history is too short for cross-validation to tell penalties apart.",
        ),
        edge_cases=(
            "Weights sum to one and may be negative.",
            "Several treated units enter as their mean.",
            "Covariates are averaged before the launch, scaled like the outcome, and matched as further periods.",
            "Under conformal inference the penalty is the one chosen before the launch, whatever effect is imposed.",
        ),
        references=(
            (
                "Ben-Michael, Feller, Rothstein (2021), Journal of the American Statistical Association 116, 1789-1803",
                "https://doi.org/10.1080/01621459.2021.1929245",
            ),
        ),
    )

    def __post_init__(self) -> None:
        if self.ridge != "auto" and not 0 < float(self.ridge) < float("inf"):
            raise ValueError(f"ridge is {self.ridge}, it must be positive, or auto")

    def sample(self, data: Panel) -> Panel:
        """Leave out the excluded donors."""
        return data.without(self.exclude)

    def fit(self, data: Panel) -> Fit:
        """Estimate weights, counterfactual and average effect."""
        data = self.sample(data)
        (fit,) = self.fit_many(data, data.first_treated[None])
        return fit

    def fit_many(self, data: Panel, launches: IntArray) -> Iterator[Fit]:
        """Fit once per assignment on one shared Gram matrix; all have the same launch date, donors are the other units."""
        pre = int(launches.min())
        if not np.isin(launches, (pre, len(data.periods))).all():
            raise ValueError("augmented synthetic control takes one launch date, the same in every assignment")
        series = self._centred(data.outcome, slice(0, pre))
        series = series - np.median(series, axis=0)
        features = np.hstack([series[:, :pre], _scaled_covariates(data, series[:, :pre], pre)])
        batch = max(1, _CELLS // (pre * features.shape[1]))
        for start in range(0, len(launches), batch):
            treated = np.asarray(launches[start : start + batch]) == pre
            share = treated / treated.sum(axis=1, keepdims=True)
            found = self._weights(features, share, ~treated, pre)
            observed, gaps = share @ data.outcome, (share - found.weights) @ series
            plain = (share - found.simplex) @ series
            for b in range(len(share)):
                yield _fit(data, pre, found, b, observed=observed[b], gap=gaps[b], plain=plain[b])

    def null_residuals(self, data: Panel, effects: FloatArray) -> FloatArray:
        """Residuals over all periods when each constant effect is taken off the post period and weights refitted."""
        data = self.sample(data)
        ridge, periods, treated = (
            float(self.fit(data).diagnostics["ridge"]),
            slice(0, len(data.periods)),
            data.ever_treated,
        )
        post = (np.arange(len(data.periods)) >= data.n_pre).astype(float)
        post = self._centred(post[None], periods)[0]
        series = self._centred(data.outcome, periods)
        series = series - np.median(series[~treated], axis=0)
        # The treated units' own spread moves with the effect that is imposed.
        features = np.hstack([series, _scaled_covariates(data, series[~treated], data.n_pre)])
        donors, targets = features[~treated], np.tile(features[treated].mean(axis=0), (len(effects), 1))
        targets[:, periods] -= np.asarray(effects, dtype=float)[:, None] * post
        solution = solve_simplex(donors @ donors.T, targets @ donors.T, (targets**2).sum(axis=1))
        certify(float(solution.rel_gap.max()))
        unmatched = targets - solution.weights @ donors
        residuals: FloatArray = unmatched - RidgeDesign.of(donors).correct(unmatched, ridge) @ donors
        return residuals[:, periods]

    def default_inference(self, data: Panel) -> str:
        """``conformal`` from 40 periods up, a third of them after the launch, no persistent gap; else ``placebo-rank``."""
        return time_or_space(data, self.fit(data))

    def _weights(self, features: FloatArray, share: FloatArray, donors: BoolArray, pre: int) -> AugmentedWeights:
        require_donors(donors)
        ridge = None if self.ridge == "auto" else float(self.ridge)
        return augmented_weights(features, share, donors, ridge=ridge, n_held_out=pre)

    def _centred(self, series: FloatArray, window: slice) -> FloatArray:
        return unit_centred(series, window) if self.fixed_effects == "unit" else series


def _scaled_covariates(data: Panel, series: FloatArray, pre: int) -> FloatArray:
    """Return each unit's mean covariates before the launch, scaled to the outcome's spread; (n_units, n_covariates)."""
    if not data.covariate_names:
        return np.empty((len(data.units), 0))
    cells = data.covariates[:, :pre]
    known = ~np.isnan(cells)
    counts = known.sum(axis=1)
    for name, missing in zip(data.covariate_names, (counts == 0).T, strict=True):
        if missing.any():
            units = [unit for unit, flag in zip(data.units, missing, strict=True) if flag]
            raise DataError(
                f"covariate {name!r} has no value before the launch for {len(units)} units: {listing(units)}",
                code="CB-D043",
                remedy="leave the covariate out, or give each unit a value known before the launch",
            )
    means = np.where(known, cells, 0.0).sum(axis=1) / counts
    means = means - means.mean(axis=0)
    spread, outcome = means.std(axis=0), float((series - series.mean(axis=0)).std())
    scaled: FloatArray = means * outcome / np.where(spread > 0, spread, 1.0)
    return scaled


def _fit(
    data: Panel, pre: int, found: AugmentedWeights, b: int, *, observed: FloatArray, gap: FloatArray, plain: FloatArray
) -> Fit:
    certify(float(found.rel_gap[b]))
    pre_mspe, plain_mspe = float((gap[:pre] ** 2).mean()), float((plain[:pre] ** 2).mean())
    weights = found.weights[b]
    return Fit(
        effect=float(gap[pre:].mean()),
        path=EffectPath(periods=data.periods, observed=observed, counterfactual=observed - gap),
        weights=weights,
        diagnostics={
            "pre_mspe": pre_mspe,
            "rmspe_ratio": rmspe_ratio(gap, pre, spread=float(observed.std())),
            "duality_gap": float(found.rel_gap[b]),
            "ridge": float(found.ridge[b]),
            "bias": float(plain[pre:].mean() - gap[pre:].mean()),
            "pre_fit_improvement": 1 - (pre_mspe / plain_mspe) ** 0.5 if plain_mspe > 0 else 0.0,
            "negative_weight": float(-weights[weights < 0].sum()),
        },
    )
