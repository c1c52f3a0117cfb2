"""Credible intervals from the draws of a Bayesian fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.protocols import Estimator
from causalbench.values import BoolArray, Fit, FloatArray, Interval, MethodCard, PathBands, Uncertainty


@dataclass(frozen=True, slots=True, kw_only=True)
class Posterior:
    r"""Quantiles of the posterior of the effect.

    Every draw :math:`\tilde y^{(s)}` of the path without the launch gives a draw of the average effect,

    .. math:: \tau^{(s)} = \frac1{T_1}\sum_{t > T_0}\bigl(y_t - \tilde y_t^{(s)}\bigr),

    and the interval lies between its quantiles :math:`(1 - L)/2` and :math:`(1 + L)/2` at level :math:`L` (Brodersen et al.
    2015, section 2.3). The tail probability is one-sided, the smaller of the posterior probabilities of an effect at most
    and at least zero, counted as :math:`(1 + \#)/(1 + S)` of :math:`S` draws. It is no p-value: it says what the model believes,
    not how often a test would err.

    Raises
    ------
    RefusalError
        When the fit has no posterior.
    """

    card: ClassVar[MethodCard] = MethodCard(
        title="Posterior (posterior)",
        summary="Between which values does the model believe the average effect to lie?",
        equation=r"\tau^{(s)} = \frac{1}{T_1} \sum_{t > T_0} \left( y_t - \tilde{y}_t^{(s)} \right), \quad "
        r"\left[ \tau_{(1 - L) / 2}, \tau_{(1 + L) / 2} \right]",
        std_error="standard deviation of the draws; the interval lies between their quantiles",
        assumptions=("The model is right: its noise, its drift and its regression last beyond the launch.",),
        not_when=("The model's forecasts fail on the history: hold it against placebos in time.",),
        edge_cases=(
            "A one-sided tail probability takes the place of a p-value, and says something else.",
            "With S draws no tail probability is below 1 / (S + 1).",
        ),
        references=(
            (
                "Brodersen, Gallusser, Koehler, Remy, Scott (2015), Annals of Applied Statistics 9, 247-274",
                "https://doi.org/10.1214/14-AOAS788",
            ),
        ),
    )

    def infer(self, estimator: Estimator[Panel], data: Panel, fit: Fit, *, level: float, rng: Generator) -> Uncertainty:
        """Return the interval, the tail probability and bands of the path; ``rng`` isn't used."""
        if fit.posterior is None:
            raise RefusalError(f"{type(estimator).__name__} has no posterior")
        effects = fit.path.observed - fit.posterior.draws
        after = np.isfinite(fit.path.observed) & (np.arange(len(data.periods)) >= data.n_pre)
        average = effects[:, after].mean(axis=1)
        lower, upper = (float(end) for end in _ends(average, level))
        return Uncertainty(
            interval=Interval(segments=((lower, upper),), level=level, kind="credible"),
            p_value=None,
            posterior_tail=_tail(average),
            std_error=float(average.std(ddof=1)),
            path_bands=_path_bands(effects, after, level),
            detail=_detail(data, fit, effects[:, after], level),
        )


def _ends(draws: FloatArray, level: float) -> FloatArray:
    """Quantiles of the first axis, interpolated between draws as by ``numpy.quantile``, which is slower than sorting."""
    ordered, ends = np.sort(draws, axis=0), []
    for share in ((1 - level) / 2, (1 + level) / 2):
        place = share * (len(draws) - 1)
        below = min(int(place), len(draws) - 2)
        ends.append(ordered[below] + (place - below) * (ordered[below + 1] - ordered[below]))
    return np.array(ends)


def _tail(draws: FloatArray) -> float:
    fewer = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min((1 + fewer) / (1 + len(draws)), 1.0)


def _path_bands(effects: FloatArray, after: BoolArray, level: float) -> PathBands:
    """Bands by period and of the running sum since the launch, to which a missing period adds nothing."""
    n_periods = effects.shape[1]
    lower, upper = _ends(effects, level)
    running = np.full((2, n_periods), np.nan)
    first = int(np.argmax(after))
    running[:, first:] = _ends(np.where(after, effects, 0.0)[:, first:].cumsum(axis=1), level)
    return PathBands(
        level=level,
        kind="credible",
        lower=lower,
        upper=upper,
        cumulative_lower=running[0],
        cumulative_upper=running[1],
    )


def _detail(data: Panel, fit: Fit, effects: FloatArray, level: float) -> dict[str, Any]:
    """The total per treated unit, and the effect relative to each draw's own path."""
    total = effects.sum(axis=1)
    lower, upper = (float(end) for end in _ends(total, level))
    detail: dict[str, Any] = {
        "cumulative": {
            "value": fit.effect * effects.shape[1],
            "lower": lower,
            "upper": upper,
            "sd": float(total.std(ddof=1)),
        },
        "relative_interval": None,
        "n_draws": len(effects),
    }
    after = np.isfinite(fit.path.observed)
    after[: data.n_pre] = False
    without = fit.path.observed[after].sum() - total
    if data.scale == "log" or (without > 0).all():
        relative = np.expm1(total / effects.shape[1]) if data.scale == "log" else total / without
        low, high = (float(end) for end in _ends(relative, level))
        detail["relative_interval"] = {"lower": low, "upper": high}
    return detail
