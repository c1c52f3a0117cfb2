r"""Synthetic control on outcomes, with donor weights at a certified optimum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from causalbench.data.panel import Panel
from causalbench.errors import ConvergenceError, DataError
from causalbench.numerics.gaps import rmspe_ratio
from causalbench.numerics.persistence import persistence, persistence_limit
from causalbench.numerics.simplex import GAP_LIMIT, solve_simplex
from causalbench.protocols import Requirements
from causalbench.values import BoolArray, EffectPath, Fit, FloatArray, IntArray, MethodCard

_BATCH = 1000
_LONG_PANEL = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticControl:
    r"""Average effect on the treated against a weighted mean of donors that tracks them before the launch.

    .. math::
        \hat w = \arg\min_{w \ge 0,\ \sum_j w_j = 1} \sum_{t \le T_0} \Bigl(y_{1t} - \sum_j w_j y_{jt}\Bigr)^2,
        \qquad \hat\tau = \frac1{T_1} \sum_{t > T_0} \Bigl(y_{1t} - \sum_j \hat w_j y_{jt}\Bigr)

    (Abadie, Diamond, Hainmueller 2010, section 2.3, with the outcomes before the launch as the only predictors).
    :math:`y_1` is the mean of the treated units. With ``fixed_effects="unit"`` every series is first taken about its
    own mean before the launch (Doudchenko, Imbens 2016; Ferman, Pinto 2021), so only movements have to match.

    Parameters
    ----------
    fixed_effects
        ``none`` or ``unit``.
    exclude
        Donors to leave out.

    Notes
    -----
    Assumptions: donors don't react to the launch; what moves the treated moves some mixture of donors alike. Don't
    use it with a short history, with donors that had launches of their own, or when the treated lies outside
    everything the donors did and ``fixed_effects`` is ``none``.

    Raises
    ------
    causalbench.errors.ConvergenceError
        When the relative duality gap of the weights exceeds 1e-8.
    causalbench.errors.DataError
        When ``exclude`` names an unknown unit or leaves fewer than two donors.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalbench import Panel
    >>> values = {"a": [2.0, 3.0, 4.0, 9.0], "b": [1.0, 2.0, 3.0, 4.0], "c": [3.0, 4.0, 5.0, 6.0]}
    >>> table = pd.DataFrame([(u, t, y) for u, ys in values.items() for t, y in enumerate(ys)], columns=["u", "t", "y"])
    >>> panel = Panel.from_table(table, unit="u", period="t", outcome="y", treated=["a"], start=3)
    >>> round(SyntheticControl().fit(panel).effect, 6)
    4.0
    """

    fixed_effects: Literal["none", "unit"] = "none"
    exclude: tuple[str, ...] = ()

    requires: ClassVar[Requirements] = Requirements(
        min_control=2, min_pre=2, recommended_pre=10, max_cohorts=1, varying_controls=True
    )
    inferences: ClassVar[tuple[str, ...]] = (
        "conformal",
        "placebo-rank",
        "placebo-in-time",
        "prediction",
        "refined-placebo",
        "t-test",
    )
    card: ClassVar[MethodCard] = MethodCard(
        title="Synthetic control (synthetic-control)",
        summary="The treated units' mean against the weighted mean of donors that tracked it best before the launch.",
        equation=r"\hat{w} = \underset{w \geq 0,\ \sum_j w_j = 1}{\mathrm{argmin}} "
        r"\sum_{t \leq T_0} \left( y_{1t} - \sum_j w_j y_{jt} \right)^2, \quad "
        r"\hat\tau = \frac{1}{T_1} \sum_{t > T_0} \left( y_{1t} - \sum_j \hat{w}_j y_{jt} \right)",
        std_error="none; intervals come from inverted tests (conformal, placebo-rank)",
        assumptions=(
            "No donor reacts to the launch or had one of its own.",
            "What moves the treated units moves some weighted mean of donors alike, before and after the launch.",
        ),
        not_when=(
            "The history is short, or shorter than the number of donors with a perfect fit.",
            "The treated units lie outside what the donors ever did; then take fixed_effects = unit or another method.",
        ),
        edge_cases=(
            "Several treated units enter as their mean.",
            "Donors that never vary are left out with a warning.",
            "Weights with a relative duality gap above 1e-8 are an error, not a number.",
        ),
        references=(
            (
                "Abadie, Diamond, Hainmueller (2010), Journal of the American Statistical Association 105, 493-505",
                "https://doi.org/10.1198/jasa.2009.ap08746",
            ),
            ("Ferman, Pinto (2021), Quantitative Economics 12, 1197-1221 (demeaned)", "https://doi.org/10.3982/QE1596"),
        ),
    )

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
            raise ValueError("synthetic control takes one launch date, the same in every assignment")
        series = self._centred(data.outcome, slice(0, pre))
        history = _period_centred(series[:, :pre])
        gram = history @ history.T
        for start in range(0, len(launches), _BATCH):
            rows = np.asarray(launches[start : start + _BATCH]) == pre
            share = rows / rows.sum(axis=1, keepdims=True)
            cross = share @ gram
            allowed = ~rows
            _require_donors(allowed)
            solution = solve_simplex(gram, cross, (cross * share).sum(axis=1), allowed)
            paths = zip(share @ data.outcome, share @ series - solution.weights @ series, strict=True)
            for (observed, gap), weights, rel_gap in zip(paths, solution.weights, solution.rel_gap, strict=True):
                yield _fit(data, pre, observed, gap, weights, float(rel_gap))

    def null_residuals(self, data: Panel, effects: FloatArray) -> FloatArray:
        """Residuals over all periods when each constant effect is taken off the post period and weights refitted."""
        data = self.sample(data)
        periods = slice(0, len(data.periods))
        series = self._centred(data.outcome, periods)
        post = (np.arange(len(data.periods)) >= data.n_pre).astype(float)
        post = self._centred(post[None], periods)[0]
        treated = data.ever_treated
        level = series[treated].mean(axis=0)
        donors = series[~treated]
        shift = np.median(donors, axis=0)
        donors, targets = donors - shift, level - shift - np.asarray(effects, dtype=float)[:, None] * post
        solution = solve_simplex(donors @ donors.T, targets @ donors.T, (targets**2).sum(axis=1))
        _certify(float(solution.rel_gap.max()))
        residuals: FloatArray = targets - solution.weights @ donors
        return residuals

    def default_inference(self, data: Panel) -> str:
        """``conformal`` from 40 periods up, at most a third after the launch and no persistent gap; else ``placebo-rank``."""
        if len(data.periods) < _LONG_PANEL or data.n_post * 3 > len(data.periods):
            return "placebo-rank"
        remembered = persistence(self.fit(data).path.effect[: data.n_pre])
        limit = persistence_limit("conformal, blocks", data.n_pre, data.n_post)
        return "conformal" if remembered <= limit else "placebo-rank"

    def _centred(self, series: FloatArray, window: slice) -> FloatArray:
        if self.fixed_effects == "none":
            return series
        centred: FloatArray = series - series[:, window].mean(axis=1, keepdims=True)
        return centred


def _period_centred(series: FloatArray) -> FloatArray:
    """Take out a period's median: weights that sum to one don't see it, and digits are saved.

    The median, because one unit of another size would spread through a mean into every series.
    """
    centred: FloatArray = series - np.median(series, axis=0)
    return centred


def _require_donors(allowed: BoolArray) -> None:
    fewest = int(allowed.sum(axis=1).min())
    if fewest < 2:
        raise DataError(
            f"{fewest} donors are left", code="CB-D017", remedy="exclude fewer donors, or add control units"
        )


def _certify(rel_gap: float) -> None:
    if not rel_gap <= GAP_LIMIT:
        raise ConvergenceError(
            f"the donor weights have a relative duality gap of {rel_gap:.1e}, above {GAP_LIMIT:.0e}",
            remedy="look for donors with the same series, or values many orders of magnitude apart",
        )


def _fit(data: Panel, pre: int, observed: FloatArray, gap: FloatArray, weights: FloatArray, rel_gap: float) -> Fit:
    _certify(rel_gap)
    pre_mspe = float((gap[:pre] ** 2).mean())
    return Fit(
        effect=float(gap[pre:].mean()),
        path=EffectPath(periods=data.periods, observed=observed, counterfactual=observed - gap),
        weights=weights,
        diagnostics={
            "pre_mspe": pre_mspe,
            "rmspe_ratio": rmspe_ratio(gap, pre, spread=float(observed.std())),
            "duality_gap": rel_gap,
            "effective_donors": float(1 / (weights**2).sum()),
        },
    )
