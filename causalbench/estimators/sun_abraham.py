r"""Interaction-weighted event study: one coefficient per cohort and event time, averaged by the cohorts' sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from causalbench.data.panel import Panel
from causalbench.estimators._cell_regression import cell_regression, coefficients_of
from causalbench.estimators._rollout import Rollout, compose
from causalbench.protocols import Requirements, inference_by_clusters
from causalbench.values import Fit, MethodCard


@dataclass(frozen=True, slots=True, kw_only=True)
class SunAbraham:
    r"""Average effect on the treated from an event study with every cohort on its own (Sun and Abraham 2021).

    .. math:: y_{it} = \alpha_i + \lambda_t + \sum_{g} \sum_{e \neq -1} \delta_{ge} 1\{G_i = g\} 1\{t - g = e\}
        + x_{it}'\beta + \varepsilon_{it}

    (section 4.1, the interaction-weighted estimator). Units never treated have no dummies; where there are none, the last
    cohort takes their place and the periods from its launch on are left out. The effect at event time e averages
    :math:`\hat\delta_{ge}` over cohorts by their number of units, and ``effect`` averages all of them with
    :math:`e \geq 0` by their cells, which is the average per treated unit and period. All are measured against the last
    period before the launch, so the event study and ``effect`` have the same reference.

    The covariance is CRV1 with the factor :math:`\frac{G}{G-1}\cdot\frac{N-1}{N-K}`: N cells, K coefficients with a
    constant, unit effects not counted. The cohorts' shares are taken as given.

    Covariates may vary by unit and period; they enter linearly, with one coefficient for all cohorts.

    Notes
    -----
    Assumptions: without the launch, each cohort would have changed in parallel to the units never treated (the last
    cohort) since the last period before its launch; no unit reacts before it. Don't use it when that one period was
    unusual: imputation averages over all periods before the launch. Don't give it covariates that react to the launch.

    Raises
    ------
    DataError
        When a cohort has no data in the last period before its launch.
    RefusalError
        When no treated cell lies in a period with an untreated unit, or holes leave a coefficient without data.

    Examples
    --------
    >>> from causalbench.data.simulate import staggered_panel
    >>> panel = staggered_panel(n_units=90, n_periods=8, launches=(3, 5), n_never=30, effect=2.0, rho=0.0, seed=2)
    >>> fit = SunAbraham().fit(panel)
    >>> round(fit.effect, 1), fit.event_study.event_times.tolist()
    (2.0, [-5, -4, -3, -2, 0, 1, 2, 3, 4])
    """

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
        title="Interaction-weighted event study of Sun and Abraham (sun-abraham)",
        summary="Each cohort's change since just before its launch, less that of units never treated, averaged by size.",
        equation=r"y_{it} = \alpha_i + \lambda_t + \sum_g \sum_{e \neq -1} \delta_{ge} 1\{G_i = g\} 1\{t - g = e\}"
        r" + x_{it}'\beta + \varepsilon_{it}",
        std_error="clustered (CRV1 with the factor G/(G-1) times (N-1)/(N-K), N cells, K coefficients without unit effects) "
        "with t quantiles on G-1; the cohorts' shares are taken as given",
        assumptions=(
            "Without the launch each cohort would have changed in parallel to units never treated since just before it.",
            "No unit reacts before the launch, and none to another's.",
        ),
        not_when=(
            "The last period before a launch was unusual.",
            "Covariates react to the launch.",
        ),
        edge_cases=(
            "Without a unit never treated, the last cohort serves until its launch.",
            "A cohort without data just before its launch is refused.",
        ),
        references=(
            (
                "Sun, Abraham (2021), Journal of Econometrics 225, 175-199",
                "https://doi.org/10.1016/j.jeconom.2020.09.006",
            ),
        ),
    )

    def sample(self, data: Panel) -> Panel:
        """Use every unit."""
        return data

    def fit(self, data: Panel) -> Fit:
        """Estimate every cohort's effects by event time, and their averages with the clustered covariance."""
        rollout = Rollout.of(data)
        rollout.require_reference()
        no_moderators = np.empty((len(data.units), 0))
        found = cell_regression(rollout, leads=True, covariates=data.covariates, moderators=no_moderators)
        detail, warnings = coefficients_of(found.regression, data.covariate_names)
        effects = found.effects
        return compose(
            effects,
            gaps=effects.gaps(),
            event_study=effects.event_study(),
            detail=detail,
            warnings=(*rollout.left_out, *warnings),
        )

    def default_inference(self, data: Panel) -> str:
        """``cluster`` from 20 treated and 20 control clusters up, ``bootstrap`` from 5; below, ``cluster`` refuses."""
        return inference_by_clusters(data, few="cluster")
