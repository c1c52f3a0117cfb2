r"""Imputation: what treated cells would have been, predicted from the cells that aren't treated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError, listing
from causalbench.estimators._cell_regression import coefficients_of
from causalbench.estimators._rollout import CohortEffects, Rollout, compose, residual_gaps
from causalbench.numerics.two_way import Regression, Regressors, Rows, clustered, mean_regressors, regress
from causalbench.protocols import Requirements, inference_by_clusters
from causalbench.values import BoolArray, EventStudy, Fit, FloatArray, IntArray, MethodCard

Variance = Literal["conservative", "two_stage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Imputation:
    r"""Average effect on the treated by imputing their untreated outcomes (Borusyak, Jaravel, Spiess 2024; Gardner 2022).

    .. math:: y_{it} = \alpha_i + \lambda_t + x_{it}'\beta + \varepsilon_{it} \quad (D_{it} = 0), \qquad
        \hat\tau_{it} = y_{it} - \hat\alpha_i - \hat\lambda_t - x_{it}'\hat\beta \quad (D_{it} = 1)

    The regression uses untreated cells only, so effects may differ by unit and period in any way; ``effect`` is the mean
    of :math:`\hat\tau_{it}` over treated cells, weighted by the units' weights, which weight the regression too (theorem 2
    of Borusyak, Jaravel, Spiess). Gardner's two-stage regression gives the same numbers.

    Written as :math:`\sum_{it} v_{it} y_{it}`, the estimate has the clustered variance

    .. math:: \sum_c \Big(\sum_{it \in c} v_{it} \tilde\varepsilon_{it}\Big)^2

    with residuals :math:`\tilde\varepsilon` on untreated cells and :math:`\hat\tau_{it} - \tilde\tau_{it}` on treated ones,
    without a small-sample factor.

    The event study comes from a second regression on untreated cells, which adds dummies of the leads before -1 (the
    pre-trend regression of section 4.4), so that leads are placebos free of treated cells. Its lags are imputed from that
    regression too, and so have the same reference period -1; they differ from ``aggregates["dynamic"]``, which is
    measured against all periods before the launch and is the more precise.

    Parameters
    ----------
    fixed_effects
        ``unit``, or ``cluster``: effects of the panel's clusters in place of the units', for units that aren't seen before
        their launch, or repeated cross-sections.
    variance
        ``conservative``: :math:`\tilde\tau` is the average over each cohort and period that weights clusters by the square
        of their share, :math:`\sum_c V_c \sum_{it \in c} v_{it}\hat\tau_{it} / \sum_c V_c^2` (section 4.3). ``two_stage``:
        :math:`\tilde\tau` is the estimate itself, which gives the errors of Gardner's two stages as moment conditions;
        larger by how much effects differ between cohorts and periods.

    Notes
    -----
    Assumptions: without the launch all units would have moved in parallel, given covariates, over **all** periods; no unit
    reacts before its launch. Don't use it when cohorts trended apart long before the launch (a method that looks at the
    last period before it assumes less), or when covariates react to the launch.

    Raises
    ------
    DataError
        When a treated unit (with ``cluster``: its cluster) has no untreated cell, or holes tear the panel into parts.
    RefusalError
        When no treated cell lies in a period with an untreated unit.

    Examples
    --------
    >>> from causalbench.data.simulate import staggered_panel
    >>> panel = staggered_panel(n_units=90, n_periods=8, launches=(3, 5), n_never=30, effect=2.0, rho=0.0, seed=2)
    >>> round(Imputation().fit(panel).effect, 1)
    2.1
    """

    fixed_effects: Literal["unit", "cluster"] = "unit"
    variance: Variance = "conservative"

    requires: ClassVar[Requirements] = Requirements(
        min_control=0,
        min_pre=1,
        recommended_pre=3,
        max_cohorts=None,
        varying_controls=False,
        covariates="cell",
        weights=True,
        clusters=True,
        missing_cells=True,
    )
    inferences: ClassVar[tuple[str, ...]] = ("cluster", "bootstrap")
    card: ClassVar[MethodCard] = MethodCard(
        title="Imputation (imputation)",
        summary="Treated cells less what a regression on the untreated cells predicts for them; also Gardner's two-stage.",
        equation=r"\hat\tau = \sum_{it: D_{it} = 1} \frac{w_i}{\sum w} \left( y_{it} - \hat\alpha_i - \hat\lambda_t"
        r" - x_{it}'\hat\beta \right)",
        std_error="clustered, from the estimate's weights on cells and residuals about the mean effect of each cohort and "
        "period (conservative) or about the estimate (two_stage), without a small-sample factor",
        assumptions=(
            "Without the launch all units would have moved in parallel in every period, given covariates.",
            "No unit reacts before its launch, and none to another's.",
        ),
        not_when=(
            "Cohorts trended apart long before the launch.",
            "Covariates react to the launch.",
        ),
        edge_cases=(
            "Periods in which nobody is untreated are left out and named.",
            "Without a unit never treated, the last cohort serves until its launch.",
            "Treated units without an untreated cell are refused.",
        ),
        references=(
            (
                "Borusyak, Jaravel, Spiess (2024), Review of Economic Studies 91, 3253-3285",
                "https://doi.org/10.1093/restud/rdae007",
            ),
            ("Gardner (2022), Two-stage differences in differences", "https://arxiv.org/abs/2207.05943"),
        ),
    )

    def sample(self, data: Panel) -> Panel:
        """Use every unit."""
        return data

    def fit(self, data: Panel) -> Fit:
        """Estimate the effect with its clustered variance, and the event study."""
        rollout = Rollout.of(data)
        groups = data.cluster_codes if self.fixed_effects == "cluster" else np.arange(len(data.units))
        _require_untreated(rollout, groups)
        imputed = _imputed(rollout, groups, np.empty((len(rollout.launches), len(data.periods), 0)), self.variance)
        member, period = rollout.cells(leads=False)
        effects = CohortEffects(
            rollout=rollout,
            members=member,
            periods=period,
            values=imputed.means[member, period],
            influence=imputed.influence,
        )
        event_study = _event_study(rollout, groups, self.variance)
        found, about_covariates = coefficients_of(imputed.regression, data.covariate_names)
        warnings = (*rollout.left_out, *about_covariates, *(() if event_study else (_NO_EVENT_STUDY,)))
        return compose(
            effects,
            gaps=residual_gaps(rollout, imputed.means),
            event_study=event_study,
            detail={**found, "baseline": "all"},
            warnings=warnings,
        )

    def default_inference(self, data: Panel) -> str:
        """``cluster`` from 20 treated and 20 control clusters up, ``bootstrap`` from 5; below, ``cluster`` refuses."""
        return inference_by_clusters(data, few="cluster")


_NO_EVENT_STUDY = "no event study: too few untreated cells to tell every lead from one reference period"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Imputed:
    """Treated cells less their prediction, and what each unit contributes to the error of averages over them.

    Attributes
    ----------
    regression
        On untreated cells.
    gaps
        Outcome less prediction, zero where cells aren't used, shape (n_units, n_periods).
    """

    rollout: Rollout
    regression: Regression
    gaps: FloatArray
    variance: Variance

    @cached_property
    def means(self) -> FloatArray:
        """Weighted mean gap by class and period, shape (n_classes, n_periods)."""
        sums = self.rollout.by_class(self.gaps * self.rollout.weights[:, None])
        means: FloatArray = sums / np.where(self.rollout.sizes > 0, self.rollout.sizes, 1.0)
        return means

    @cached_property
    def centres(self) -> FloatArray:
        r"""Effects by class and period that clusters count in by the square of their weight (n_classes, n_periods)."""
        rollout = self.rollout
        codes = rollout.panel.cluster_codes
        found = np.zeros_like(self.means)
        for member in np.flatnonzero(rollout.is_treated):
            own = rollout.classes == member
            clusters = np.unique(codes[own], return_inverse=True)[1]
            weights, sums = np.zeros((2, int(clusters.max()) + 1, rollout.used.shape[1]))
            np.add.at(weights, clusters, rollout.used[own] * rollout.weights[own, None])
            np.add.at(sums, clusters, self.gaps[own] * rollout.weights[own, None])
            squares = (weights**2).sum(axis=0)
            found[member] = (weights * sums).sum(axis=0) / np.where(squares > 0, squares, 1.0)
        return found

    @cached_property
    def mean_regressors(self) -> FloatArray:
        """Mean of every regressor over each group's untreated cells, shape (n_groups, n_columns)."""
        return mean_regressors(self.regression.rows, self.regression.regressors)

    def influence(self, weights: FloatArray) -> FloatArray:
        """Return each unit's contribution for weights of the treated cells (K, q), in the order of ``Rollout.cells``."""
        rollout, regression = self.rollout, self.regression
        rows, regressors = regression.rows, regression.regressors
        n_cells = regressors.cells.shape[2]
        member, period = rollout.cells(leads=False)
        share = np.zeros((*rollout.sizes.shape, weights.shape[1]))
        share[member, period] = weights / rollout.sizes[member, period][:, None]
        counted = np.zeros((len(rows.weights), weights.shape[1]))
        own = np.zeros_like(counted)
        columns = np.zeros((regressors.n_columns, weights.shape[1]))
        for m in np.flatnonzero(rollout.is_treated):
            units = rollout.classes == m
            active = share[m].any(axis=0)
            used, part = rollout.used[units] * rollout.weights[units, None], share[m][:, active]
            about = self.gaps[units] - (self.centres[m] if self.variance == "conservative" else 0.0)
            block = np.ix_(units, active)
            counted[block], own[block] = used @ part, (used * about) @ part
            columns[:n_cells, active] += regressors.cells[m].T @ (used.sum(axis=0)[:, None] * part)
            if regressors.covariates.shape[2]:
                sums = np.einsum("it,itk->tk", used, regressors.covariates[units])
                columns[n_cells:, active] += sums.T @ part
        if self.variance == "two_stage":
            own -= counted * (weights.T @ self.means[member, period] / weights.sum(axis=0))
        by_group = rows.by_group(counted)
        own -= regression.influence(columns - self.mean_regressors.T @ by_group)
        if rows.one_unit_per_group:
            return own  # residuals add up to zero within groups
        per_cell = by_group / np.where(rows.group_weights > 0, rows.group_weights, 1.0)[:, None]
        own -= (rows.weights * regression.residuals.sum(axis=1))[:, None] * per_cell[rows.groups]
        return own


def _imputed(rollout: Rollout, groups: IntArray, leads: FloatArray, variance: Variance) -> _Imputed:
    """Regress untreated cells on period effects, leads (n_classes, n_periods, n_leads) and covariates, and predict."""
    panel = rollout.panel
    untreated = rollout.used & ~panel.treated
    columns = rollout.period_columns(untreated)
    periods = np.broadcast_to(columns, (len(rollout.launches), *columns.shape))
    rows = Rows(outcome=panel.outcome, used=untreated, weights=rollout.weights, groups=groups, classes=rollout.classes)
    regressors = Regressors.plain(
        np.concatenate([periods, leads], axis=2),
        len(panel.units),
        np.where(np.isnan(panel.covariates), 0.0, panel.covariates),
    )
    regression = regress(rows, regressors)
    _require_connected(rollout, regression, untreated, columns.shape[1])
    without = np.where(rollout.used, panel.outcome, 0.0) - regressors.predict(rollout.classes, regression.coefficients)
    level = rows.group_means(np.where(untreated, without, 0.0))[groups]
    gaps = np.where(rollout.used, without - level[:, None], 0.0)
    return _Imputed(rollout=rollout, regression=regression, gaps=gaps, variance=variance)


def _event_study(rollout: Rollout, groups: IntArray, variance: Variance) -> EventStudy | None:
    """Leads from untreated cells alone, and lags imputed beside them; None where they aren't identified."""
    e = np.where((rollout.counts > 0) & rollout.is_treated[:, None], rollout.event_times, -1)
    times = np.unique(e[e < -1])
    imputed = _imputed(rollout, groups, (e[:, :, None] == times).astype(float), variance)
    regression, n_periods = imputed.regression, imputed.regression.regressors.cells.shape[2] - len(times)
    columns = n_periods + np.arange(len(times))
    if not regression.kept[columns].all() or not (e == -1).any():
        return None
    members, periods = rollout.cells(leads=False)
    effects = CohortEffects(
        rollout=rollout,
        members=members,
        periods=periods,
        values=imputed.means[members, periods],
        influence=imputed.influence,
    )
    lags, weights = effects.averages(effects.event_times)
    of_leads = np.eye(regression.regressors.n_columns)[:, columns]
    contributions = np.column_stack([regression.influence(of_leads), imputed.influence(weights)])
    covariance = clustered(contributions, rollout.panel.cluster_codes)
    event_times = np.concatenate([times, lags])
    return EventStudy(
        event_times=event_times,
        values=np.concatenate([regression.coefficients[columns], weights.T @ effects.values]),
        covariance=np.full_like(covariance, math.nan) if rollout.few_clusters else covariance,
        n_treated=np.array(
            [
                rollout.counts[rollout.is_treated][rollout.event_times[rollout.is_treated] == h].sum()
                for h in event_times
            ]
        ),
        shares=np.array(
            [rollout.sizes[rollout.is_treated][rollout.event_times[rollout.is_treated] == h].sum() for h in event_times]
        ),
        reference=-1,
    )


def _require_untreated(rollout: Rollout, groups: IntArray) -> None:
    """Refuse treated cells whose group has no untreated cell to learn its level from."""
    untreated = (rollout.used & ~rollout.panel.treated).sum(axis=1)
    known = np.bincount(groups, untreated)[groups] > 0
    treated = (rollout.used & rollout.panel.treated).any(axis=1)
    bad: BoolArray = treated & ~known
    if bad.any():
        names = [unit for unit, flag in zip(rollout.panel.units, bad, strict=True) if flag]
        raise DataError(
            f"{len(names)} treated units have no untreated cell to learn their level from: {listing(names)}",
            code="CB-D014",
            remedy='remove these units, or use fixed_effects = "cluster" with a cluster column',
        )


def _require_connected(rollout: Rollout, regression: Regression, untreated: BoolArray, n_columns: int) -> None:
    """Refuse panels whose untreated cells fall into parts that share neither units nor periods."""
    lost = ~regression.kept[:n_columns]
    if lost.any():
        periods = np.array(rollout.panel.periods, dtype=object)[np.flatnonzero(untreated.any(axis=0))[1:]][lost]
        raise RefusalError(
            f"untreated cells fall into parts without a unit in common, so that effects of {len(periods)} periods can't "
            f"be told from the units': {listing(periods)}",
            code="CB-D001",
            remedy="leave these periods out, or add the missing rows of units never treated",
        )
