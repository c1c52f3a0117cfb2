r"""Triple differences: eligible units of launching groups, less the ineligible units beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError, listing, nearest
from causalbench.estimators._cell_regression import small_sample_factor
from causalbench.estimators._rollout import CohortEffects, Rollout, compose
from causalbench.numerics.two_way import Regression, Regressors, Rows, regress
from causalbench.protocols import FEW_CLUSTERS, MANY_CLUSTERS, Requirements
from causalbench.values import BoolArray, Fit, FloatArray, IntArray, MethodCard


@dataclass(frozen=True, slots=True, kw_only=True)
class TripleDifferences:
    r"""Average effect on the eligible units of launching groups (Olden, Moen 2022; Ortiz-Villavicencio, Sant'Anna 2025).

    A launch reaches groups, such as states, in which only some units are eligible. With :math:`S_i` the launch of unit i's
    group, Q its eligibility, and :math:`\Delta = y_t - y_{g-1}`,

    .. math:: \mathrm{ATT}(g, t) = \big(E[\Delta \mid S = g, Q = 1] - E[\Delta \mid S = \infty, Q = 1]\big)
        - \big(E[\Delta \mid S = g, Q = 0] - E[\Delta \mid S = \infty, Q = 0]\big)

    which is the coefficient of the regression with unit effects, an effect per eligibility and period, an effect per
    launch date and period, and a dummy for every launch date and period among the eligible. The effect averages over
    eligible treated units and periods. Controls are the groups that never launch: to pool those that haven't launched yet
    weights eligible and ineligible controls of several dates differently, and is biased even without covariates
    (Ortiz-Villavicencio, Sant'Anna 2025).

    The covariance is CRV1 with the factor :math:`\frac{G}{G-1}\cdot\frac{N-1}{N-K}`: N cells, K coefficients with a
    constant, unit effects not counted. The cohorts' shares are taken as given. Give the groups as clusters.

    Parameters
    ----------
    partition
        Name of a covariate of 0 and 1, one value per unit: 1 where the unit is eligible. The launch of a unit (``cohort``)
        is that of its group, ineligible units included; these count as untreated.

    Notes
    -----
    Assumptions: without the launch, the gap between eligible and ineligible units would have changed alike in launching
    groups and in others, though each may have changed differently; ineligible units don't react to the launch. Don't use
    it when ineligible units feel the launch (their change is taken off the effect), or as a repair when simple
    differences are credible: it takes four means in place of two.

    Raises
    ------
    DataError
        When ``partition`` names no covariate, or one that isn't 0 and 1, or a cohort has no data just before its launch.
    RefusalError
        When other covariates are given, or one of the four kinds of units is missing.

    Examples
    --------
    >>> import numpy as np
    >>> from causalbench import Panel
    >>> eligible, launching = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    >>> outcome = np.array([[1.0, 2.0], [1.0, 4.0], [1.0, 3.0], [1.0, 9.0]])
    >>> panel = Panel(
    ...     outcome=outcome,
    ...     treated=np.column_stack([np.zeros(4), launching]).astype(bool),
    ...     units=("a", "b", "c", "d"),
    ...     periods=(1, 2),
    ...     covariates=np.repeat(eligible, 2).reshape(4, 2, 1),
    ...     covariate_names=("eligible",),
    ... )
    >>> round(TripleDifferences(partition="eligible").fit(panel).effect, 6)
    4.0
    """

    partition: str

    requires: ClassVar[Requirements] = Requirements(
        min_control=2,
        min_pre=1,
        recommended_pre=3,
        max_cohorts=None,
        varying_controls=False,
        covariates="unit",
        weights=True,
        clusters=True,
        missing_cells=True,
    )
    inferences: ClassVar[tuple[str, ...]] = ("cluster", "bootstrap")
    card: ClassVar[MethodCard] = MethodCard(
        title="Triple differences (triple-differences)",
        summary="The change of eligible units in launching groups, less that of the ineligible beside them, against groups "
        "that never launch.",
        equation=r"\mathrm{ATT}(g,t) = (E[\Delta \mid g, 1] - E[\Delta \mid \infty, 1])"
        r" - (E[\Delta \mid g, 0] - E[\Delta \mid \infty, 0]), \quad \Delta = y_t - y_{g-1}",
        std_error="clustered (CRV1 with the factor G/(G-1) times (N-1)/(N-K), N cells, K coefficients without unit effects) "
        "with t quantiles on G-1; the cohorts' shares are taken as given",
        assumptions=(
            "Without the launch, the gap between eligible and ineligible units would have changed alike in all groups.",
            "Ineligible units don't react to the launch, and no unit reacts before it.",
        ),
        not_when=(
            "Ineligible units feel the launch too.",
            "Differences in differences among the eligible are credible by themselves.",
        ),
        edge_cases=(
            "Ineligible units of launching groups count as untreated.",
            "Groups that launch later aren't used as controls.",
            "Below five clusters in any of the four kinds of units there is no covariance.",
        ),
        references=(
            ("Olden, Moen (2022), Econometrics Journal 25, 531-553", "https://doi.org/10.1093/ectj/utac010"),
            (
                "Ortiz-Villavicencio, Sant'Anna (2025), Better understanding triple differences estimators",
                "https://arxiv.org/abs/2505.09942",
            ),
        ),
    )

    def sample(self, data: Panel) -> Panel:
        """Use every unit."""
        return data

    def fit(self, data: Panel) -> Fit:
        """Estimate the effects of every launch date and period among the eligible, and their averages."""
        eligible = self._eligible(data)
        _require_four_kinds(data, eligible)
        rollout = Rollout.of(replace(data, treated=data.treated & eligible[:, None]))
        rollout.require_reference()
        launch, kinds = _kinds(data, eligible)
        regression, members, periods = _regression(rollout, launch, kinds)
        n_before = regression.regressors.cells.shape[2] - len(members)

        def influence(weights: FloatArray) -> FloatArray:
            return regression.influence(np.vstack([np.zeros((n_before, weights.shape[1])), weights]))

        effects = CohortEffects(
            rollout=rollout,
            members=members,
            periods=periods,
            values=regression.coefficients[n_before:],
            influence=influence,
            factor=small_sample_factor(regression, data.n_clusters),
        )
        fit = compose(
            effects,
            gaps=effects.gaps(),
            event_study=effects.event_study(),
            detail=_totals(rollout, effects),
            warnings=_who_is_treated(data, eligible),
        )
        n_treated = int((data.ever_treated & eligible).sum())
        fit = replace(fit, n_treated=n_treated)
        return fit if _fewest_clusters(data, eligible) >= FEW_CLUSTERS else _without_errors(fit)

    def default_inference(self, data: Panel) -> str:
        """``cluster`` from 20 clusters in each of the four kinds of units up, else ``bootstrap``, which refuses fewer than 5."""
        fewest = _fewest_clusters(data, self._eligible(data))
        return "cluster" if fewest >= MANY_CLUSTERS else "bootstrap"

    def _eligible(self, data: Panel) -> BoolArray:
        names = data.covariate_names
        if self.partition not in names:
            raise DataError(
                f"partition names {self.partition!r}, which is no covariate{nearest(self.partition, names)}",
                remedy="name the column of 0 and 1 under covariates too",
            )
        if len(names) > 1:
            others = listing(name for name in names if name != self.partition)
            raise RefusalError(
                f"triple-differences uses no covariate but the partition, found {others}",
                remedy="leave the others out; differences of two adjusted differences would be biased",
            )
        values = data.unit_covariates[:, 0]
        if not np.isin(values, (0.0, 1.0)).all():
            found = listing(sorted({float(v) for v in values} - {0.0, 1.0}))
            raise DataError(f"partition {self.partition!r} must be 0 or 1, found {found}", remedy="recode this column")
        eligible: BoolArray = values == 1
        return eligible


def _require_four_kinds(data: Panel, eligible: BoolArray) -> None:
    """Refuse launch dates, and controls, without both eligible and ineligible units."""
    lacking = []
    for first in np.unique(np.append(data.first_treated, len(data.periods))):
        who = "groups that never launch" if first == len(data.periods) else f"groups launching at {data.periods[first]}"
        for flag, what in ((True, "eligible"), (False, "ineligible")):
            if not ((data.first_treated == first) & (eligible == flag)).any():
                lacking.append(f"no {what} unit in {who}")
    if lacking:
        raise RefusalError(
            f"triple differences compare four kinds of units: {listing(lacking)}",
            code="CB-D024",
            remedy="add these units, leave these groups out, or use did or group-time among the eligible",
        )


def _kinds(data: Panel, eligible: BoolArray) -> tuple[IntArray, IntArray]:
    """Return the distinct launches of groups, and each unit's number of launch and eligibility combined."""
    launches, codes = np.unique(data.first_treated, return_inverse=True)
    return launches, 2 * codes + eligible


def _regression(rollout: Rollout, launches: IntArray, kinds: IntArray) -> tuple[Regression, IntArray, IntArray]:
    """Regress on unit effects, effects of eligibility and of launch by period, and dummies among the eligible."""
    panel = rollout.panel
    n_periods = len(panel.periods)
    groups = launches[launches < n_periods]
    members, periods = rollout.cells(leads=True)
    every = rollout.period_columns(rollout.used)
    by_launch = [np.eye(n_periods)[:, np.arange(n_periods) != g - 1] for g in groups]
    n_columns = 2 * every.shape[1] + sum(block.shape[1] for block in by_launch)
    cells = np.zeros((2 * len(launches), n_periods, n_columns + len(members)))
    for kind in range(len(cells)):
        number, eligible = divmod(kind, 2)
        cells[kind, :, : every.shape[1]] = every
        if eligible:
            cells[kind, :, every.shape[1] : 2 * every.shape[1]] = every
        if launches[number] < n_periods:
            start = 2 * every.shape[1] + sum(block.shape[1] for block in by_launch[:number])
            cells[kind, :, start : start + by_launch[number].shape[1]] = by_launch[number]
        if eligible and launches[number] < n_periods:
            own = np.flatnonzero(rollout.launches[members] == launches[number])
            cells[kind, periods[own], n_columns + own] = 1.0
    rows = Rows(
        outcome=panel.outcome,
        used=rollout.used,
        weights=rollout.weights,
        groups=np.arange(len(panel.units)),
        classes=kinds,
    )
    regression = regress(rows, Regressors.plain(cells, len(panel.units), np.empty((*panel.outcome.shape, 0))))
    _require_kept(rollout, regression, members, periods, n_columns)
    return regression, members, periods


def _require_kept(
    rollout: Rollout, regression: Regression, members: IntArray, periods: IntArray, n_columns: int
) -> None:
    lost = ~regression.kept[n_columns:]
    if lost.any():
        labels, launches = rollout.panel.periods, rollout.launches
        names = [
            f"{labels[launches[m]]} at {labels[t]}" for m, t, flag in zip(members, periods, lost, strict=True) if flag
        ]
        raise RefusalError(
            f"missing cells leave {len(names)} effects (launch at period) without one of their four means: {listing(names)}",
            code="CB-D001",
            remedy='leave these periods out, or choose on_missing = "drop_unit"',
        )


def _fewest_clusters(data: Panel, eligible: BoolArray) -> int:
    ever = data.ever_treated
    kinds = [(ever == launching) & (eligible == flag) for launching in (True, False) for flag in (True, False)]
    return min(len(np.unique(data.cluster_codes[kind])) for kind in kinds)


def _without_errors(fit: Fit) -> Fit:
    study = fit.event_study
    return replace(
        fit,
        covariance=None,
        influence=None,
        event_study=None if study is None else replace(study, covariance=np.full_like(study.covariance, math.nan)),
        warnings=(*fit.warnings, "no standard error: fewer than five clusters hold one of the four kinds of units"),
    )


def _totals(rollout: Rollout, effects: CohortEffects) -> Mapping[str, Any]:
    """Return totals over eligible treated cells only, in place of those over all units of launching groups."""
    panel = rollout.panel
    cells = panel.treated & ~np.isnan(panel.outcome)
    sizes = cells * rollout.weights[:, None]
    effect = float(effects.values @ effects.overall()[:, 0])
    counterfactual = float((np.nan_to_num(panel.outcome) * sizes).sum() / sizes.sum()) - effect
    relative = effect / counterfactual if counterfactual > 0 else None
    return {
        "incremental": effect * int(cells.sum()) if panel.additive and panel.weights is None else None,
        "counterfactual_mean": counterfactual,
        "relative": math.expm1(effect) if panel.scale == "log" else relative,
        "n_eligible_treated": int(cells.any(axis=1).sum()),
    }


def _who_is_treated(data: Panel, eligible: BoolArray) -> tuple[str, ...]:
    ever = data.ever_treated
    found = (
        f"the effect is that on the {int((ever & eligible).sum())} eligible of {int(ever.sum())} units in launching "
    )
    found += f"groups, against groups that never launch; the {int((ever & ~eligible).sum())} ineligible ones count as untreated"
    return (found,)
