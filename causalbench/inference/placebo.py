"""Variance from placebos: launches are given to units that had none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.inference import _wald
from causalbench.numerics.resampling import arrangements, canonical_order, n_arrangements
from causalbench.protocols import Estimator, FitsMany, WeighsPeriods
from causalbench.values import Fit, FloatArray, IntArray, MethodCard, Uncertainty

_ENOUGH_CONTROLS, _ENOUGH_PERIODS = 15, 45
"""For time weights, from ``benchmarks/inference_sizes.py``: 11 controls hold their size from 45 periods on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placebo:
    r"""Normal interval with the variance of estimates where nothing was launched.

    The treated units are left out. Their launch dates are given to as many of the :math:`N_0` units never treated, drawn
    without replacement, and the estimator is applied to each such placebo:

    .. math:: \widehat{se}^2 = \frac{N_0}{N_0 - 1} \, \frac1B \sum_{b=1}^B (\hat\tau_b - \bar\tau)^2,
        \qquad \hat\tau \pm t_{N_0 - 1}\, \widehat{se}

    (Arkhangelsky, Athey, Hirshberg, Imbens, Wager 2021, algorithm 4 and equation 7, which are about many controls: the factor
    and t instead of normal quantiles are ours, since however many placebos are drawn, they come from :math:`N_0` units).

    Parameters
    ----------
    n_draws
        Number of placebos; all different ones are used where there are no more.

    Notes
    -----
    It needs no more than one treated unit, and rests on treated and never treated units having errors of the same size. It
    covers what goes wrong with a placebo as well as with the treated, so not a bias that only the treated have. On panels from
    a factor model with 30 periods and autocorrelation 0, .5 and .8 it rejects a true null at 10% with one treated unit and 19
    controls in 12.3, 11.6 and 10.6% of draws for ``synthetic-did``, 10.1, 10.6 and 10.7% for ``synthetic-control``, 10.1, 10.6
    and 11.7% for ``augmented-synthetic-control``; with 29 controls in 10.8, 9.4 and 9.4% for ``synthetic-did`` (1,500 draws,
    Monte Carlo error .8).

    Raises
    ------
    RefusalError
        With no more units never treated than treated, when too few are left beside a placebo for the estimator, when units
        belong to clusters, or when the estimator can't be refitted to other assignments.
    """

    n_draws: int = 200

    card: ClassVar[MethodCard] = MethodCard(
        title="Variance from placebos (placebo)",
        summary="How far do estimates scatter when the launch is given to units that had none?",
        equation=r"\hat\tau \pm t_{N_0 - 1,\,1-\alpha/2} \; \widehat{\mathrm{se}}, \quad "
        r"\widehat{\mathrm{se}}^2 = \frac{N_0}{N_0 - 1} \frac{1}{B} \sum_b (\hat\tau_b - \bar\tau)^2",
        std_error="standard deviation of the placebos' estimates, 200 draws, or all where there are no more",
        assumptions=("Treated and never treated units have errors of the same size, independent between units.",),
        not_when=("The treated units are more or less volatile than the rest.",),
        edge_cases=(
            "No more units never treated than treated: refused.",
            "Several launch dates: placebos get the treated units' own dates.",
            "A standard error of zero gives no interval and no p-value.",
            "synthetic-did with few controls and a short history rejects up to 15% of true nulls at 10%; a warning says so.",
        ),
        references=(
            (
                "Arkhangelsky, Athey, Hirshberg, Imbens, Wager (2021), American Economic Review 111, 4088-4118, algorithm 4",
                "https://doi.org/10.1257/aer.20190159",
            ),
        ),
    )

    def __post_init__(self) -> None:
        if self.n_draws < 2:
            raise ValueError(f"n_draws is {self.n_draws}, a variance needs at least 2")

    def infer(self, estimator: Estimator[Panel], data: Panel, fit: Fit, *, level: float, rng: Generator) -> Uncertainty:
        """Return standard error, interval and p-value."""
        if not isinstance(estimator, FitsMany):
            raise RefusalError(f"{type(estimator).__name__} can't be refitted to other assignments")
        _require_placebos(estimator, data)
        pool = data.only(units=~data.ever_treated)
        labels = np.full(len(pool.units), len(data.periods))
        labels[: data.n_treated] = np.sort(data.first_treated[data.ever_treated])
        effects = self._effects(estimator, pool, rng.permutation(labels), data.n_pre, rng)
        std_error = float(effects.std()) * math.sqrt(data.n_control / (data.n_control - 1))
        if _wald.is_perfect(data, fit, std_error):
            return _wald.not_computed()
        df = data.n_control - 1.0
        interval, p_value = _wald.wald_interval(fit.effect, std_error, df, level)
        return Uncertainty(
            interval=interval,
            p_value=p_value,
            std_error=std_error,
            detail={"n_placebos": len(effects), "exact": n_arrangements(labels) <= self.n_draws, "df": df},
            warnings=_few_controls(estimator, data),
        )

    def _effects(
        self, estimator: FitsMany[Panel], pool: Panel, labels: IntArray, pre: int, rng: Generator
    ) -> FloatArray:
        """Return every placebo's estimate."""
        order, effects = canonical_order(pool.outcome[:, :pre]), []
        for rows in arrangements(labels, limit=self.n_draws, n_drawn=self.n_draws - 1, rng=rng):
            launches = np.empty_like(rows)
            launches[:, order] = rows
            effects += [refit.effect for refit in estimator.fit_many(pool, launches)]
        return np.array(effects)


def _few_controls(estimator: Estimator[Panel], data: Panel) -> tuple[str, ...]:
    if not isinstance(estimator, WeighsPeriods) or data.n_control >= _ENOUGH_CONTROLS or data.n_pre >= _ENOUGH_PERIODS:
        return ()
    few = f"{data.n_control} control units and {data.n_pre} periods before the launch are few for time weights"
    return (f"{few}: with 11 and 32 a test at 10% rejects up to 15% of true nulls",)


def _require_placebos(estimator: Estimator[Panel], data: Panel) -> None:
    treated, control, fewest = data.n_treated, data.n_control, estimator.requires.min_control
    if control <= treated or control - treated < fewest:
        raise RefusalError(
            f"placebos treat {treated} of the {control} units never treated on paper, which leaves "
            f"{max(control - treated, 0)} to compare them with; at least {max(fewest, 1)} are needed",
            code="CB-D017",
            remedy="add units that never got the launch, or choose an inference without placebos",
        )
    if data.n_clusters < len(data.units):
        raise RefusalError(
            "placebos are drawn unit by unit, but the units belong to clusters",
            code="CB-D015",
            remedy="use cluster or permutation inference, or sum each cluster to one unit",
        )
