r"""Synthetic control, with donor weights at a certified optimum."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError, listing
from causalbench.estimators._donor_weights import (
    DonorWeights,
    Penalty,
    held_out_penalty,
    on_paths,
    on_predictors,
    on_stopped_search,
    period_centred,
)
from causalbench.estimators._donors import FEWEST_DONORS, certify, require_donors, time_or_space, unit_centred
from causalbench.estimators._pooled_units import UnitFit, pooled
from causalbench.estimators._predictors import Label, predictors_of, shared_paths, span_of
from causalbench.numerics.gaps import rmspe_ratio
from causalbench.numerics.simplex import solve_simplex
from causalbench.protocols import Requirements
from causalbench.values import BoolArray, EffectPath, Fit, FloatArray, IntArray, MethodCard

_BATCH = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticControl:
    r"""Average effect on the treated against a weighted mean of donors that tracks them before the launch.

    .. math::
        \hat w = \arg\min_{w \ge 0,\ \sum_j w_j = 1} \sum_{t \le T_0} \Bigl(y_{1t} - \sum_j w_j y_{jt}\Bigr)^2,
        \qquad \hat\tau = \frac1{T_1} \sum_{t > T_0} \Bigl(y_{1t} - \sum_j \hat w_j y_{jt}\Bigr)

    (Abadie, Diamond, Hainmueller 2010, section 2.3, with the outcomes before the launch as the only predictors).
    :math:`y_1` is the mean of the treated units. With ``fixed_effects="unit"`` every series is first taken about its
    own mean before the launch (Doudchenko, Imbens 2016; Ferman, Pinto 2021), so only movements have to match.

    With ``match="predictors"`` the weights match predictors :math:`x` (averages of covariates, lags of the outcome, each in
    units of its standard deviation over units), whose importance :math:`v` is chosen so that the outcome is tracked (the
    same, equations of the appendix):

    .. math::
        \hat v = \arg\min_{v \ge 0,\ \sum_p v_p = 1} \sum_{t \in F} \Bigl(y_{1t} - \sum_j w_j(v) y_{jt}\Bigr)^2, \qquad
        w(v) = \arg\min_{w \ge 0,\ \sum_j w_j = 1} \sum_p v_p \Bigl(x_{1p} - \sum_j w_j x_{jp}\Bigr)^2

    The inner optimum is certified by its duality gap. The outer problem isn't convex: it is searched from many starts, and
    ``detail.fit_mspe_bound``, the optimum over all weights, says how much lower ``detail.fit_mspe`` could be at most.

    With ``match="shared"`` the weights match the paths of several outcomes :math:`k`, the outcome and the covariates, at once,
    each in units of its standard deviation over units and periods, period by period about the median (Sun, Ben-Michael,
    Feller 2025, concatenated weights). Where the covariates of a study name its metrics' columns, all metrics share their
    weights:

    .. math:: \hat w = \arg\min_{w \ge 0,\ \sum_j w_j = 1}
        \frac1K \sum_k \frac1{s_k^2} \sum_{t \le T_0} \Bigl(y_{1t}^k - \sum_j w_j y_{jt}^k\Bigr)^2

    A ``penalty`` :math:`\lambda` adds :math:`\lambda \sum_j w_j \lVert y_1 - y_j \rVert^2`, which prefers donors that are close
    by themselves to mixtures of distant ones, and makes the weights unique (Abadie, L'Hour 2021, equation 5).

    With ``treated_units="each"`` every treated unit has weights and a launch date of its own, among the units never treated.
    The effect is the mean over treated cells; path and weights are means over the treated units, ``detail.by_unit`` holds
    them one by one.

    Parameters
    ----------
    match
        ``outcomes``, ``predictors`` or ``shared``.
    fixed_effects
        ``none`` or ``unit``.
    treated_units
        ``mean``: one synthetic control for the treated units' mean; ``each``: one for each.
    penalty
        None, a number from 0 up, or ``auto``: the one of 0 and 21 between .0001 and 10 whose weights on the first two thirds
        of the history predict its last third best. Not with ``predictors``.
    predictor_window
        First and last period that covariates are averaged over, where they have values; all before the launch by default.
    outcome_lags
        Periods of the outcome to match, such as ``1975``, or spans to match the mean of, such as ``1960..1969``.
    fit_window
        First and last of the periods :math:`F` to be tracked; all before the launch by default.
    exclude
        Donors to leave out.
    compat
        ``none`` for weights at a certified optimum; ``synthdid`` for those of R's synthdid 0.0.9, which has a ridge of 1e-6 of
        the noise level, stops its search early and then sets small weights to zero, to reproduce what it prints. Conformal
        inference, which that program doesn't have, refits without it.

    Notes
    -----
    Assumptions: donors don't react to the launch; what moves the treated moves some mixture of donors alike. Don't
    use it with a short history, with donors that had launches of their own, or when the treated lies outside
    everything the donors did and ``fixed_effects`` is ``none``. Predictors after the launch are refused.

    Raises
    ------
    causalbench.errors.ConvergenceError
        When the relative duality gap of the weights exceeds 1e-8, unless ``compat`` is ``synthdid``.
    causalbench.errors.DataError
        When ``exclude`` names an unknown unit or leaves fewer than two donors, a period doesn't exist, or a unit has no
        value of a covariate.
    causalbench.errors.RefusalError
        With covariates that ``match`` doesn't use, several launch dates and ``treated_units="mean"``, predictors from after
        the launch, or a history too short to choose a penalty.

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

    match: Literal["outcomes", "predictors", "shared"] = "outcomes"
    fixed_effects: Literal["none", "unit"] = "none"
    treated_units: Literal["mean", "each"] = "mean"
    penalty: Penalty = None
    predictor_window: tuple[Label, ...] = ()
    outcome_lags: tuple[Label, ...] = ()
    fit_window: tuple[Label, ...] = ()
    exclude: tuple[str, ...] = ()
    compat: Literal["none", "synthdid"] = "none"

    requires: ClassVar[Requirements] = Requirements(
        min_control=FEWEST_DONORS,
        min_pre=2,
        recommended_pre=10,
        max_cohorts=None,
        varying_controls=True,
        covariates="gaps",
    )
    inferences: ClassVar[tuple[str, ...]] = (
        "conformal",
        "placebo-rank",
        "placebo",
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
        std_error="from placebos among the donors (placebo); else intervals from inverted tests (conformal, placebo-rank)",
        assumptions=(
            "No donor reacts to the launch or had one of its own.",
            "What moves the treated units moves some weighted mean of donors alike, before and after the launch.",
        ),
        not_when=(
            "The history is short, or shorter than the number of donors with a perfect fit.",
            "The treated units lie outside what the donors ever did; then take fixed_effects = unit or another method.",
        ),
        edge_cases=(
            "Several treated units enter as their mean, or each on its own with treated_units = each.",
            "Several launch dates need treated_units = each; rank and conformal tests take one date.",
            "match = predictors: the inner weights are certified, the importance of predictors is the best of many starts.",
            "match = predictors where some mixture of donors has every predictor exactly: their importance has no meaning.",
            "Averages of predictors are over the cells there are; outcomes with missing cells go by on_missing.",
            "Donors that never vary are left out with a warning.",
            "Weights with a relative duality gap above 1e-8 are an error, except under compat = synthdid.",
            "compat = synthdid reproduces synthdid 0.0.9, whose search stops before the optimum; conformal refits without it.",
        ),
        references=(
            (
                "Abadie, Diamond, Hainmueller (2010), Journal of the American Statistical Association 105, 493-505",
                "https://doi.org/10.1198/jasa.2009.ap08746",
            ),
            ("Ferman, Pinto (2021), Quantitative Economics 12, 1197-1221 (demeaned)", "https://doi.org/10.3982/QE1596"),
            (
                "Abadie, L'Hour (2021), Journal of the American Statistical Association 116, 1817-1834 (penalised)",
                "https://doi.org/10.1080/01621459.2021.1971535",
            ),
            (
                "Becker, Kloessner (2018), Econometrics and Statistics 5, 1-19 (nested optimisation)",
                "https://doi.org/10.1016/j.ecosta.2017.08.002",
            ),
            (
                "Sun, Ben-Michael, Feller (2025), Review of Economics and Statistics (several outcomes)",
                "https://doi.org/10.1162/rest_a_01592",
            ),
        ),
    )

    def __post_init__(self) -> None:
        if self.match != "predictors" and (self.predictor_window or self.outcome_lags or self.fit_window):
            raise ValueError('predictor_window, outcome_lags and fit_window go with match = "predictors"')
        if self.match == "predictors" and self.penalty is not None:
            raise ValueError('penalty goes with match = "outcomes" or "shared"')
        if isinstance(self.penalty, (int, float)) and not 0 <= self.penalty < float("inf"):
            raise ValueError(f"penalty is {self.penalty}, it must be a number from 0 up")
        if self.compat == "synthdid" and (
            self.match != "outcomes" or self.treated_units == "each" or self.penalty is not None
        ):
            raise ValueError("compat = synthdid goes with the defaults of match, treated_units and penalty")
        for name in ("predictor_window", "fit_window"):
            if len(getattr(self, name)) not in (0, 2):
                raise ValueError(f"{name} takes a first and a last period")

    def sample(self, data: Panel) -> Panel:
        """Leave out the excluded donors; refuse columns and launch dates that the options don't use."""
        if data.covariate_names and self.match == "outcomes":
            raise RefusalError(
                "synthetic-control uses no covariates with match = outcomes",
                remedy='leave covariates out, or set match = "predictors" (or "shared" for several outcomes)',
            )
        if len(data.cohorts) > 1 and self.treated_units == "mean":
            raise RefusalError(
                f"synthetic-control needs one launch date with treated_units = mean, the data have {len(data.cohorts)}: "
                f"{listing(data.cohorts)}",
                remedy='set treated_units = "each", which gives every treated unit weights and a launch date of its own, or '
                "use group-time",
            )
        return data.without(self.exclude)

    def fit(self, data: Panel) -> Fit:
        """Estimate weights, counterfactual and average effect."""
        data = self.sample(data)
        (fit,) = self.fit_many(data, data.first_treated[None])
        return fit

    def fit_many(self, data: Panel, launches: IntArray) -> Iterator[Fit]:
        """Fit once per assignment on one shared Gram matrix per launch date; donors are the units never treated.

        With ``treated_units="mean"`` all assignments have one launch date.
        """
        launches = np.asarray(launches)
        one_date = np.isin(launches, (int(launches.min()), len(data.periods))).all()
        if self.treated_units == "mean" and not one_date:
            raise ValueError("synthetic control takes one launch date, the same in every assignment")
        for start in range(0, len(launches), _BATCH):
            batch = launches[start : start + _BATCH]
            yield from self._fit_means(data, batch) if self.treated_units == "mean" else self._fit_each(data, batch)

    def _fit_means(self, data: Panel, launches: IntArray) -> Iterator[Fit]:
        """Fit the mean of each assignment's treated units."""
        pre = int(launches.min())
        rows = launches == pre
        share = rows / rows.sum(axis=1, keepdims=True)
        found, gaps = self._solve(data, pre, share, ~rows)
        parts = zip(share @ data.outcome, gaps, found.weights, found.rel_gap, found.detail, found.warnings, strict=True)
        for observed, gap, weights, rel_gap, detail, warnings in parts:
            yield Fit(
                effect=float(gap[pre:].mean()),
                path=EffectPath(periods=data.periods, observed=observed, counterfactual=observed - gap),
                weights=weights,
                diagnostics={**_quality(observed, gap, pre, weights, float(rel_gap)), **detail},
                warnings=warnings,
            )

    def _fit_each(self, data: Panel, launches: IntArray) -> Iterator[Fit]:
        """Fit every treated unit of each assignment with weights and launch date of its own, and pool."""
        n_periods = len(data.periods)
        assignment, unit = np.nonzero(launches < n_periods)
        dates, never = launches[assignment, unit], launches == n_periods
        parts: dict[int, UnitFit] = {}
        for pre in np.unique(dates).tolist():
            mine = np.flatnonzero(dates == pre)
            share = np.eye(len(data.units))[unit[mine]]
            found, gaps = self._solve(data, pre, share, never[assignment[mine]])
            for k, p in enumerate(mine.tolist()):
                observed, weights = data.outcome[unit[p]], found.weights[k]
                quality = _quality(observed, gaps[k], pre, weights, float(found.rel_gap[k]))
                parts[p] = UnitFit(
                    unit=data.units[unit[p]],
                    launch=pre,
                    gap=gaps[k],
                    weights=weights,
                    diagnostics={**quality, **found.detail[k]},
                    warnings=found.warnings[k],
                )
        for row in range(len(launches)):
            members = np.flatnonzero(assignment == row)
            yield pooled(data, data.outcome[unit[members]], [parts[p] for p in members.tolist()])

    def _solve(self, data: Panel, pre: int, share: FloatArray, allowed: BoolArray) -> tuple[DonorWeights, FloatArray]:
        """Return the weights of problems with one launch date, and the gaps of their treated means over all periods."""
        require_donors(allowed)
        series = self._centred(data.outcome, slice(0, pre))
        if self.match == "predictors":
            predictors = predictors_of(data, series, pre, window=self.predictor_window, lags=self.outcome_lags)
            tracked = series[:, span_of(data, self.fit_window, pre, option="fit_window")]
            found = on_predictors(predictors, tracked, share, allowed)
        elif self.compat == "synthdid":
            found = on_stopped_search(series[:, :pre], share, allowed)
        else:
            penalty = self._penalties(data, pre, share, allowed)
            found = on_paths(self._history(data, series, pre), share, allowed, penalty=penalty)
        if self.compat == "none":
            certify(float(found.rel_gap.max()))
        gaps: FloatArray = share @ series - found.weights @ series
        return found, gaps

    def _history(self, data: Panel, series: FloatArray, pre: int) -> FloatArray:
        if self.match == "shared":
            return shared_paths(data, pre, centred=self.fixed_effects == "unit")
        return period_centred(series[:, :pre])

    def _penalties(self, data: Panel, pre: int, share: FloatArray, allowed: BoolArray) -> FloatArray | None:
        """Return the penalty of each problem; ``auto`` holds the last third of the history out."""
        if self.penalty is None:
            return None
        if self.penalty != "auto":
            return np.full(len(share), float(self.penalty))
        cut = pre - max(pre // 3, 1)
        if cut < 2:
            raise RefusalError(
                f"{pre} periods before the launch can't be divided into some to fit and some to hold out",
                code="CB-D014",
                remedy="give the penalty as a number, or add history",
            )
        if self.match == "shared":
            whole = shared_paths(data, pre, centred=False).reshape(len(data.units), -1, pre)
            whole = whole - whole[:, :, :cut].mean(axis=2, keepdims=True) if self.fixed_effects == "unit" else whole
            training, validation = (
                whole[:, :, part].reshape(len(whole), -1) for part in (slice(0, cut), slice(cut, pre))
            )
        else:
            series = self._centred(data.outcome, slice(0, cut))
            training, validation = period_centred(series[:, :cut]), period_centred(series[:, cut:pre])
        return held_out_penalty(training, validation, share, allowed)

    def null_residuals(self, data: Panel, effects: FloatArray) -> FloatArray:
        """Residuals over all periods when each constant effect is taken off the post period and weights refitted.

        Raises
        ------
        RefusalError
            With ``match`` other than ``outcomes``.
        """
        post = (np.arange(len(data.periods)) >= data.n_pre).astype(float)
        return self._refitted(data, -np.asarray(effects, dtype=float)[:, None] * post)

    def lifted_residuals(self, data: Panel, lifts: FloatArray) -> FloatArray:
        """Residuals over all periods under no effect, shape (n_lifts, n_periods), had the treated outcomes been lifted.

        Each lift is a share of the outcome itself, in the treated cells; weights are refitted, as :meth:`null_residuals` does.
        """
        if self.treated_units == "each":
            panels = (replace(data, outcome=data.outcome * (1 + lift * data.treated)) for lift in lifts.tolist())
            return np.concatenate([self.null_residuals(panel, np.zeros(1)) for panel in panels])
        raised = (data.outcome * data.treated)[data.ever_treated].mean(axis=0)
        return self._refitted(data, np.asarray(lifts, dtype=float)[:, None] * raised)

    def _refitted(self, data: Panel, moves: FloatArray) -> FloatArray:
        """Refit to all periods with each move, shape (n_moves, n_periods), added to every treated series; mean residuals."""
        data = self.sample(data)
        self._require_refit_to_all_periods(data)
        periods = slice(0, len(data.periods))
        series = self._centred(data.outcome, periods)
        moves = self._centred(moves, periods)
        treated = data.ever_treated
        levels = series[treated] if self.treated_units == "each" else series[treated].mean(axis=0)[None]
        shares = np.eye(len(series))[treated] if self.treated_units == "each" else (treated / treated.sum())[None]
        penalty = self._penalties(data, data.n_pre, shares, np.repeat(~treated[None], len(shares), axis=0))
        donors = series[~treated]
        shift = np.median(donors, axis=0)
        donors = donors - shift
        gram = donors @ donors.T
        total = np.zeros(moves.shape)
        for p, level in enumerate(levels):
            targets = level - shift + moves
            cross, square = targets @ donors.T, (targets**2).sum(axis=1)
            tilt = None
            if penalty is not None:
                tilt = penalty[p] / 2 * np.maximum(np.diag(gram) - 2 * cross + square[:, None], 0.0)
            solution = solve_simplex(gram, cross, square, tilt=tilt)
            certify(float(solution.rel_gap.max()))
            total += targets - solution.weights @ donors
        residuals: FloatArray = total / len(levels)
        return residuals

    def _require_refit_to_all_periods(self, data: Panel) -> None:
        if self.match != "outcomes":
            raise RefusalError(
                f"conformal inference refits the weights to all periods, match = {self.match} takes them from before the "
                "launch alone",
                remedy="choose placebo-rank, or match = outcomes",
            )

    def default_inference(self, data: Panel) -> str:
        """Choose by the data and the options.

        ``placebo`` with several launch dates. ``conformal`` from 40 periods up, of which at most a third after the launch, with
        ``match="outcomes"`` and a gap before the launch that isn't too persistent; else ``placebo-rank``.
        """
        if len(data.cohorts) > 1:
            return "placebo"
        return time_or_space(data, self.fit(data)) if self.match == "outcomes" else "placebo-rank"

    def _centred(self, series: FloatArray, window: slice) -> FloatArray:
        return unit_centred(series, window) if self.fixed_effects == "unit" else series


def _quality(observed: FloatArray, gap: FloatArray, pre: int, weights: FloatArray, rel_gap: float) -> dict[str, Any]:
    """Return how well a mixture of donors fits before the launch."""
    return {
        "pre_mspe": float((gap[:pre] ** 2).mean()),
        "rmspe_ratio": rmspe_ratio(gap, pre, spread=float(observed.std())),
        "duality_gap": None if math.isnan(rel_gap) else rel_gap,
        "effective_donors": float(1 / (weights**2).sum()),
    }
