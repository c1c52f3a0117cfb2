r"""Extended two-way fixed effects: the regression with a dummy for every treated cohort and period."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError, listing
from causalbench.estimators._cell_regression import cell_regression, collinear_moderators
from causalbench.estimators._rollout import Rollout, compose, residual_gaps
from causalbench.protocols import Requirements, inference_by_clusters
from causalbench.values import Fit, MethodCard

_UNITS_PER_SLOPE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendedTwoWay:
    r"""Average effect on the treated by two-way fixed effects with an effect per cohort and period (Wooldridge 2025).

    .. math:: y_{it} = \alpha_i + \lambda_t + x_i'\xi_t + \sum_{g} \sum_{s \geq g} 1\{G_i = g\} 1\{t = s\}
        \big(\tau_{gs} + (x_i - \bar x_g)'\theta_{gs}\big) + \varepsilon_{it}

    Nothing is imposed on the effects; cells before a launch have no dummy
    and all serve as the baseline. ``effect`` averages :math:`\hat\tau_{gs}` by the number of units in each cell, and
    covariates, one value per unit, have a slope in every period and for every effect, centred at the cohort's mean.
    On a panel without missing cells :math:`\hat\tau_{gs}` equals the imputation estimate.

    The covariance is CRV1 with the factor :math:`\frac{G}{G-1}\cdot\frac{N-1}{N-K}`: N cells, K coefficients with a
    constant, unit effects not counted. The cohorts' shares and means of covariates are taken as given.

    The event study comes from the same regression with dummies for the cells before -1 too, so that all its values have
    the reference -1; without covariates it is that of Sun and Abraham. It differs from ``aggregates["dynamic"]``, which is
    measured against all periods before the launch.

    Notes
    -----
    Assumptions: without the launch all units would have moved in parallel over **all** periods, given covariates; no unit
    reacts before its launch. Don't use it when cohorts trended apart long before the launch, or with more covariates than
    the smallest cohort has units.

    Raises
    ------
    RefusalError
        When no treated cell lies in a period with an untreated unit, or holes leave an effect without data.

    Examples
    --------
    >>> from causalbench.data.simulate import staggered_panel
    >>> panel = staggered_panel(n_units=90, n_periods=8, launches=(3, 5), n_never=30, effect=2.0, rho=0.0, seed=2)
    >>> round(ExtendedTwoWay().fit(panel).effect, 1)
    2.1
    """

    requires: ClassVar[Requirements] = Requirements(
        min_control=0,
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
        title="Extended two-way fixed effects (extended-two-way)",
        summary="The two-way regression with an effect of its own for every cohort and period.",
        equation=r"y_{it} = \alpha_i + \lambda_t + x_i'\xi_t + \sum_g \sum_{s \geq g} 1\{G_i = g\} 1\{t = s\}"
        r" (\tau_{gs} + (x_i - \bar x_g)'\theta_{gs}) + \varepsilon_{it}",
        std_error="clustered (CRV1 with the factor G/(G-1) times (N-1)/(N-K), N cells, K coefficients without unit effects) "
        "with t quantiles on G-1; the cohorts' shares and mean covariates are taken as given",
        assumptions=(
            "Without the launch all units would have moved in parallel in every period, given covariates.",
            "No unit reacts before its launch, and none to another's.",
        ),
        not_when=(
            "Cohorts trended apart long before the launch.",
            "There are more covariates than the smallest cohort has units.",
        ),
        edge_cases=(
            "Without a unit never treated, the last cohort serves until its launch.",
            "Slopes that a small cohort can't tell apart are left out; its effects stay.",
        ),
        references=(
            (
                "Wooldridge (2025), Empirical Economics 69, 2545-2587",
                "https://doi.org/10.1007/s00181-025-02807-z",
            ),
        ),
    )

    def sample(self, data: Panel) -> Panel:
        """Use every unit."""
        return data

    def fit(self, data: Panel) -> Fit:
        """Estimate every cohort's effects by period, their averages with the clustered covariance, and the event study."""
        rollout = Rollout.of(data)
        _require_units_per_slope(rollout, len(data.covariate_names))
        none = np.empty((*data.outcome.shape, 0))
        found = cell_regression(rollout, leads=False, covariates=none, moderators=data.unit_covariates)
        effects = found.effects
        rollout.require_reference()
        before = rollout.event_times < 0
        longer = cell_regression(rollout, leads=True, covariates=none, moderators=data.unit_covariates)
        return compose(
            effects,
            gaps=np.where(before, residual_gaps(rollout, found.residual_means), effects.gaps()),
            event_study=longer.effects.event_study(),
            detail={"baseline": "all"},
            warnings=(*rollout.left_out, *collinear_moderators(found, data.covariate_names)),
        )

    def default_inference(self, data: Panel) -> str:
        """``cluster`` from 20 treated and 20 control clusters up, ``bootstrap`` from 5; below, ``cluster`` refuses."""
        return inference_by_clusters(data, few="cluster")


def _require_units_per_slope(rollout: Rollout, n_covariates: int) -> None:
    """Refuse cohorts too small for a slope of every covariate in each of their periods.

    With fewer than eight units per slope, residuals of the cohort all but vanish and so does its part of the error: at
    nominal 5%, 6 + 6 treated units with three covariates reject in 21% of draws, 22 with three in 7%.
    """
    launches = rollout.launches[rollout.is_treated]
    sizes = np.array([(rollout.first_treated == launch).sum() for launch in launches])
    small = sizes < _UNITS_PER_SLOPE * n_covariates
    if small.any():
        labels = listing(
            f"{rollout.panel.periods[launch]} ({size})"
            for launch, size in zip(launches[small], sizes[small], strict=True)
        )
        raise RefusalError(
            f"extended-two-way with {n_covariates} covariates needs {_UNITS_PER_SLOPE * n_covariates} units in every cohort; "
            f"these have fewer: {labels}",
            remedy="leave covariates out, or use group-time, which takes one regression or propensity per comparison",
        )
