"""Unit bootstrap: units are drawn again and the estimator is fitted again, its weights included."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.inference import _wald
from causalbench.numerics.resampling import canonical_order
from causalbench.protocols import Estimator
from causalbench.values import Fit, IntArray, MethodCard, Uncertainty

_PATIENCE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitBootstrap:
    r"""Interval with the variance of the estimator fitted again to units drawn with replacement.

    .. math:: \widehat{se}^2 = \frac1B \sum_{b=1}^B (\hat\tau_b - \bar\tau)^2

    (Arkhangelsky, Athey, Hirshberg, Imbens, Wager 2021, algorithm 2). Draws without a treated unit, or with fewer units never
    treated than the estimator needs, are drawn again. Each draw finds its own weights, so the variance holds what choosing
    them adds; ``bootstrap`` draws what each unit contributes to an estimate of fixed form, without fitting again, and
    compares t ratios. The quantile is Student's, with one degree of freedom less than there are treated units.

    On panels from a factor model with 30 periods and autocorrelation 0, .5 and .8 it rejects a true null at 10% in 1.8, 3.0 and
    3.0% of draws with 5 treated units and 15 controls (500 draws, Monte Carlo error 1.3), and in 6.7, 7.7 and 9.7% with 20 and
    40 (300 draws, 1.7); with two treated units it hardly ever rejects.

    Parameters
    ----------
    n_draws
        Number of draws.

    Raises
    ------
    RefusalError
        With one treated unit of a launch date, when units belong to clusters, or when hardly any draw can be fitted.
    """

    n_draws: int = 200

    card: ClassVar[MethodCard] = MethodCard(
        title="Unit bootstrap (unit-bootstrap)",
        summary="How far do estimates scatter when units are drawn again and the weights are fitted again?",
        equation=r"\hat\tau \pm t_{N_1 - 1,\,1-\alpha/2} \; \widehat{\mathrm{se}}, \quad "
        r"\widehat{\mathrm{se}}^2 = \frac{1}{B} \sum_b (\hat\tau_b - \bar\tau)^2",
        std_error="standard deviation over 200 draws of units with replacement, each fitted again",
        assumptions=("Units are independent draws from one population.", "Several treated units of every launch date."),
        not_when=("A launch date has one treated unit.",),
        edge_cases=(
            "One treated unit of a launch date: refused.",
            "Draws without a treated unit or without controls are drawn again.",
            "A standard error of zero gives no interval and no p-value.",
        ),
        references=(
            (
                "Arkhangelsky, Athey, Hirshberg, Imbens, Wager (2021), American Economic Review 111, 4088-4118, algorithm 2",
                "https://doi.org/10.1257/aer.20190159",
            ),
        ),
    )

    def __post_init__(self) -> None:
        if self.n_draws < 2:
            raise ValueError(f"n_draws is {self.n_draws}, a variance needs at least 2")

    def infer(self, estimator: Estimator[Panel], data: Panel, fit: Fit, *, level: float, rng: Generator) -> Uncertainty:
        """Return standard error, interval and p-value."""
        _wald.require_unit_resampling(data, what="unit bootstraps", inferences=estimator.inferences)
        draws = self._draws(data, estimator.requires.min_control, rng)
        std_error = float(np.std([estimator.fit(_redrawn(data, rows)).effect for rows in draws]))
        if _wald.is_perfect(data, fit, std_error):
            return _wald.not_computed()
        df = data.n_treated - 1.0
        interval, p_value = _wald.wald_interval(fit.effect, std_error, df, level)
        return Uncertainty(
            interval=interval, p_value=p_value, std_error=std_error, detail={"n_draws": len(draws), "df": df}
        )

    def _draws(self, data: Panel, fewest: int, rng: Generator) -> list[IntArray]:
        """Draw rows of the panel until there are enough draws with treated units and controls."""
        order = canonical_order(data.outcome[:, : data.n_pre])
        treated, n, draws = data.ever_treated, len(data.units), []
        for _ in range(_PATIENCE * self.n_draws):
            rows = order[rng.integers(n, size=n)]
            if treated[rows].any() and (~treated[rows]).sum() >= fewest:
                draws.append(rows)
            if len(draws) == self.n_draws:
                return draws
        raise RefusalError(
            f"of {_PATIENCE * self.n_draws} draws only {len(draws)} hold treated units and {fewest} units never treated",
            code="CB-D017",
            remedy="use placebo inference",
        )


def _redrawn(data: Panel, rows: IntArray) -> Panel:
    """Return the panel of drawn units, each draw a unit of its own."""
    return replace(
        data,
        units=tuple(f"{place}" for place in range(len(rows))),
        outcome=data.outcome[rows],
        treated=data.treated[rows],
        covariates=data.covariates[rows],
        weights=None if data.weights is None else data.weights[rows],
        cluster=None,
    )
