r"""Geo-based regression: every unit's outcome after the launch on its own before it, units weighted by their size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError, listing
from causalbench.estimators._return import return_of
from causalbench.numerics.weighted_regression import WeightedRegression, weighted_regression
from causalbench.protocols import FEW_CLUSTERS, Requirements
from causalbench.values import BoolArray, EffectPath, Finding, Fit, FloatArray, IntArray, MethodCard

_BATCH = 1000
_NOTHING = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class GeoBasedRegression:
    r"""Average effect on the treated from a regression over units, one row each.

    With :math:`\bar y_{i0}` and :math:`\bar y_{i1}` a unit's mean outcome before and from the launch on,

    .. math::
        \bar y_{i1} = \beta_0 + \beta_1 \bar y_{i0} + \tau D_i + \varepsilon_i, \qquad w_i = \bar y_{i0}^{-2}

    by weighted least squares, as noise grows with a unit's size. A panel with a cost puts the **incremental cost**
    :math:`c_i` of each unit in the place of :math:`D_i`, so that its coefficient is the incremental return (Vaver, Koehler 2011,
    equations 1 and 2, who weight by :math:`1 / y_{i0}`; by its square in GeoexperimentsResearch, and here). The effect then is
    taken to be proportional to what was spent: ``value`` is the return times the treated units' mean incremental cost.

    Where somebody spent before the launch, the controls' own regression of cost after on cost before says what the treated
    would have spent; the rest is incremental. Where nobody did, it is what the treated spent. Either way it counts as known.

    Parameters
    ----------
    covariance
        ``HC3``, robust to noise that isn't in proportion to size (MacKinnon, White 1985), with t on N - 3 degrees of freedom; or
        ``classical``, one variance for all units after weighting, as published. Where noise is in proportion to the root of size
        a classical test at 10% rejects 24, 28 and 33% of true nulls with 10, 20 and 60 units, HC3 9, 10 and 10%; where it is in
        proportion to size, as the weights say, 10% and 6 to 8% (1,500 draws, Monte Carlo error .8).

    Notes
    -----
    Assumptions: units' growth is one line over their size, the same for treated and controls; noise is independent between units.
    Don't use it with a handful of units, or where growth differs by region.

    A unit whose outcomes before the launch are zero on average has no weight: it is left out, and a finding names it.

    Raises
    ------
    DataError
        When no treated unit is left, or cost is given and the launch changed nothing in it.
    RefusalError
        By the audit: several launch dates, fewer than two controls.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalbench import Panel
    >>> table = pd.DataFrame({"geo": list("aabbccdd"), "week": [1, 2] * 4, "sales": [4.0, 9, 2, 3, 6, 7, 8, 9.0]})
    >>> panel = Panel.from_table(table, unit="geo", period="week", outcome="sales", treated=["a"], start=2)
    >>> round(GeoBasedRegression().fit(panel).effect, 6)  # the others grow by one
    4.0
    """

    covariance: Literal["HC3", "classical"] = "HC3"

    requires: ClassVar[Requirements] = Requirements(
        min_control=2,
        min_pre=1,
        recommended_pre=4,
        max_cohorts=1,
        varying_controls=False,
        cost=True,
    )
    affine_after_launch: ClassVar[bool] = True
    inferences: ClassVar[tuple[str, ...]] = ("regression-t", "permutation")
    card: ClassVar[MethodCard] = MethodCard(
        title="Geo-based regression (geo-based-regression)",
        summary="Each unit's outcome after the launch against what its outcome before it says, with large units counting as much "
        "as small ones.",
        equation=r"\bar y_{i1} = \beta_0 + \beta_1 \bar y_{i0} + \rho c_i + \varepsilon_i, \quad w_i = \bar y_{i0}^{-2}, \quad "
        r"\hat\tau = \hat\rho \bar c",
        std_error="of weighted least squares (regression-t), HC3 with N - 3 degrees of freedom, or classical; else the interval "
        "inverted from permutations",
        assumptions=(
            "Without the launch, outcomes after it would be one line over those before it for all units.",
            "Noise is independent between units; with covariance = classical its standard deviation is in proportion to size.",
            "With a cost: the effect is proportional to what was spent.",
        ),
        not_when=(
            "A handful of units on either side.",
            "Outcomes that may be zero or negative on average: the weights then mean nothing.",
        ),
        edge_cases=(
            "Without a cost an indicator of the treated takes its place.",
            "Units with a mean of zero before the launch are left out and named.",
            "With a cost there is no permutation: who spent how much is no matter of chance.",
            "regression-t from five treated and five control units up, permutation below; with a cost always regression-t.",
        ),
        references=(
            (
                "Vaver, Koehler (2011), Measuring ad effectiveness using geo experiments, Google",
                "https://research.google/pubs/pub38355/",
            ),
        ),
    )

    def sample(self, data: Panel) -> Panel:
        """Leave out units that have no size, recording it."""
        before = np.where(_after(data), np.nan, data.outcome)
        known = ~np.isnan(before)
        sizeless = known.any(axis=1) & (np.nan_to_num(before).sum(axis=1) == 0)
        if not sizeless.any():
            return data
        names = tuple(unit for unit, flag in zip(data.units, sizeless, strict=True) if flag)
        if not (data.ever_treated & ~sizeless).any():
            raise DataError(
                f"every treated unit has a mean of zero before the launch: {listing(data.treated_units)}",
                code="CB-D067",
                remedy="use time-based-regression, which looks at totals of groups",
            )
        message = (
            f"{len(names)} units have a mean of zero before the launch, so no size to be weighted by: {listing(names)}"
        )
        finding = Finding(
            code="CB-D067", severity="warning", message=message, action="left out", count=len(names), units=names
        )
        return replace(data.only(units=~sizeless), findings=(*data.findings, finding))

    def fit(self, data: Panel) -> Fit:
        """Estimate the effect and, with a cost, the incremental return."""
        data = self.sample(data)
        treated, cost = data.ever_treated, _incremental_cost(data)
        dose = treated.astype(float) if cost is None else cost
        found = _regression(data, dose)
        per_dose, mean_dose = found.coefficients[2], float(dose[treated].mean())
        effects = per_dose[:-1] * mean_dose
        effect = float(per_dose[-1] * mean_dose)
        observed = data.outcome[treated].mean(axis=0)
        variance = mean_dose**2 * self._variance(found)
        spent = return_of(data, effect, None if data.cost is None else _mean_cost(data, cost))
        return Fit(
            effect=effect,
            path=EffectPath(periods=data.periods, observed=observed, counterfactual=observed - effects),
            covariance=np.array([[variance]]) if math.isfinite(variance) else None,
            diagnostics={
                "slope": float(found.coefficients[1, -1]),
                "intercept": float(found.coefficients[0, -1]),
                "pre_mspe": float((effects[: data.n_pre] ** 2).mean()),
                "df": float(found.df),
                "covariance": self.covariance,
                **spent.detail,
            },
            warnings=spent.warnings,
        )

    def _variance(self, found: WeightedRegression) -> float:
        """Return the variance of the dose's coefficient for the mean after the launch; NaN or infinite where there is none."""
        if self.covariance == "classical":
            return float(found.bread[2, 2] * found.variances[-1])
        return found.robust_variance(2, -1) if found.df > 0 else math.nan

    def fit_many(self, data: Panel, launches: IntArray) -> Iterator[Fit]:
        """Estimate the effect for many assignments, all with one launch date, by partialling out size once.

        Raises
        ------
        RefusalError
            With a cost, which belongs to the units that spent it.
        """
        if data.cost is not None:
            raise RefusalError(
                "permutation moves the launch to other units, but not what was spent there",
                remedy="use regression-t, or leave the cost out to permute the effect of the launch itself",
            )
        launches = np.asarray(launches)
        pre = int(launches.min())
        if not np.isin(launches, (pre, len(data.periods))).all():
            raise ValueError("geo-based regression takes one launch date, the same in every assignment")
        size = data.outcome[:, :pre].mean(axis=1)
        weights = (np.abs(size).max() / size) ** 2
        basis = np.linalg.qr(
            np.sqrt(weights)[:, None] * np.column_stack([np.ones(len(size)), size / np.abs(size).max()])
        )[0]
        for start in range(0, len(launches), _BATCH):
            rows = launches[start : start + _BATCH] == pre
            moved = rows * np.sqrt(weights)
            moved = moved - moved @ basis @ basis.T
            gaps = moved @ (np.sqrt(weights)[:, None] * data.outcome) / (moved**2).sum(axis=1, keepdims=True)
            observed = rows / rows.sum(axis=1, keepdims=True) @ data.outcome
            for gap, series in zip(gaps, observed, strict=True):
                path = EffectPath(periods=data.periods, observed=series, counterfactual=series - gap)
                quality = {"pre_mspe": float((gap[:pre] ** 2).mean())}
                yield Fit(effect=float(gap[pre:].mean()), path=path, diagnostics=quality)

    def default_inference(self, data: Panel) -> str:
        """``regression-t`` from five treated and five control units up and with a cost, ``permutation`` below."""
        enough = min(data.n_treated, data.n_control) >= FEW_CLUSTERS
        return "regression-t" if enough or data.cost is not None else "permutation"


def _after(data: Panel) -> BoolArray:
    after: BoolArray = np.arange(len(data.periods)) >= data.n_pre
    return after


def _regression(data: Panel, dose: FloatArray) -> WeightedRegression:
    """Regress the outcome of every period, and the mean after the launch as the last, on size and dose."""
    size = data.outcome[:, : data.n_pre].mean(axis=1)
    responses = np.column_stack([data.outcome, data.outcome[:, data.n_pre :].mean(axis=1)])
    design = np.column_stack([np.ones(len(size)), size, dose])
    try:
        return weighted_regression(design, responses, (np.abs(size).max() / size) ** 2)
    except np.linalg.LinAlgError:
        raise DataError(
            "size before the launch, treatment and a constant can't be told apart in these units",
            code="CB-D017",
            remedy="add control units of different sizes",
        ) from None


def _incremental_cost(data: Panel) -> FloatArray | None:
    """Return what each unit spent per period because of the launch, shape (n_units,); zero for the controls.

    None without a cost, and for outcomes that don't add up, whose return has no meaning.
    """
    if data.cost is None or not data.additive:
        return None
    treated = data.ever_treated
    before, after = data.cost[:, : data.n_pre].mean(axis=1), data.cost[:, data.n_pre :].mean(axis=1)
    expected = np.zeros(len(after))
    if before.any():
        size = data.outcome[:, : data.n_pre].mean(axis=1)
        weights = (np.abs(size).max() / size) ** 2
        design = np.column_stack([np.ones(len(before)), before])
        try:
            line = weighted_regression(design[~treated], after[~treated, None], weights[~treated]).coefficients[:, 0]
        except np.linalg.LinAlgError:  # the controls spent alike, or nothing, before: their own mean after
            line = np.array([np.average(after[~treated], weights=weights[~treated]), 0.0])
        expected = design @ line
    cost: FloatArray = np.where(treated, after - expected, 0.0)
    if np.abs(cost).max() <= _NOTHING * max(np.abs(after).max(), 1e-300):
        raise DataError(
            "the launch changed nothing in what was spent, so outcomes can't be explained by spend",
            code="CB-D067",
            remedy="leave the cost out to estimate the effect of the launch itself",
        )
    return cost


def _mean_cost(data: Panel, cost: FloatArray | None) -> float:
    """Return the treated units' mean incremental cost; of outcomes that don't add up, what they spent more than before."""
    if cost is not None:
        return float(cost[data.ever_treated].mean())
    spent = data.cost[data.ever_treated] if data.cost is not None else np.zeros((1, len(data.periods)))
    return float(spent[:, data.n_pre :].mean() - spent[:, : data.n_pre].mean())
