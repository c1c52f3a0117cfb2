r"""Difference-in-differences with one launch date."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from causalbench.data.panel import Panel
from causalbench.protocols import FEW_CLUSTERS, Requirements
from causalbench.values import BoolArray, EffectPath, Fit, MethodCard


@dataclass(frozen=True, slots=True, kw_only=True)
class Did:
    r"""Average effect on the treated by two-way fixed effects, for one launch date and a balanced panel.

    .. math:: y_{it} = \alpha_i + \lambda_t + \tau D_{it} + \varepsilon_{it}

    With one launch date and no missing cell the least-squares :math:`\hat\tau` is the difference of mean changes
    between treated and control units (Angrist and Pischke 2009, equation 5.2.3). The regression is linearmodels'
    ``PanelOLS`` with unit and period effects. Its covariance is CRV1, clustered by unit, with the factor
    :math:`\frac{G}{G-1}\cdot\frac{NT-1}{NT-K}`, where :math:`K = T + 1` counts treatment, constant and period effects
    but, as they are nested in the clusters, not the unit effects (Cameron, Miller 2015, section III.B). linearmodels
    gives the sandwich and :math:`\frac{G}{G-1}\cdot\frac{NT-1}{NT}`; the rest is applied here.

    Assumptions: without the launch both groups would have moved in parallel; no unit reacts before it, none to
    another's treatment. Don't use it when groups trended apart before the launch, or with several launch dates.

    The audit (:func:`causalbench.data.audit.audit`), which ``estimate`` runs first, refuses several launch dates.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalbench import Panel
    >>> table = pd.DataFrame({"geo": list("aabbcc"), "week": [1, 2] * 3, "sales": [5.0, 8.0, 4.0, 5.0, 6.0, 7.0]})
    >>> panel = Panel.from_table(table, unit="geo", period="week", outcome="sales", treated=["a"], start=2)
    >>> round(Did().fit(panel).effect, 6)
    2.0
    """

    requires: ClassVar[Requirements] = Requirements(
        min_control=1, min_pre=1, recommended_pre=3, max_cohorts=1, varying_controls=False
    )
    inferences: ClassVar[tuple[str, ...]] = ("cluster", "permutation")
    card: ClassVar[MethodCard] = MethodCard(
        title="Difference-in-differences (did)",
        summary="The change of the treated units' mean less the change of the control units' mean.",
        equation=r"\hat\tau = (\bar{y}_{1,\mathrm{post}} - \bar{y}_{1,\mathrm{pre}})"
        r" - (\bar{y}_{0,\mathrm{post}} - \bar{y}_{0,\mathrm{pre}})",
        std_error="clustered by unit through linearmodels (factor G/(G-1) times (NT-1)/(NT-T-1)) with t quantiles on "
        "G-1 degrees of freedom; from 5 treated and 5 control units up, permutation below",
        assumptions=(
            "Without the launch, treated and control units would have changed in parallel.",
            "No unit reacts before the launch, and none to another unit's treatment.",
        ),
        not_when=(
            "The groups already moved apart before the launch.",
            "Units launched at different dates: early ones then serve as controls for late ones.",
        ),
        edge_cases=("Two or more launch dates are refused.", "Missing cells need an explicit rule."),
        references=(
            (
                "Angrist, Pischke (2009), Mostly Harmless Econometrics, section 5.2",
                "https://doi.org/10.1515/9781400829828",
            ),
        ),
    )

    def sample(self, data: Panel) -> Panel:
        """Use every unit."""
        return data

    def fit(self, data: Panel) -> Fit:
        """Estimate the effect and its covariance clustered by unit."""
        from linearmodels.panel import PanelOLS

        (paths,) = self.fit_many(data, data.ever_treated[None])
        n_units, n_periods = data.outcome.shape
        if (n_units - 1) * (n_periods - 1) <= 1:
            return paths  # two units in two periods: an exact fit, which leaves nothing to estimate a variance from
        table = pd.DataFrame(
            {"outcome": data.outcome.ravel(), "treated": data.treated.ravel().astype(float)},
            index=pd.MultiIndex.from_product([range(n_units), range(n_periods)], names=["unit", "period"]),
        )
        model = PanelOLS(table["outcome"], table[["treated"]], entity_effects=True, time_effects=True)
        # linearmodels' own count would take the unit effects, nested in the clusters, as estimated parameters.
        result = model.fit(
            cov_type="clustered",
            cluster_entity=True,
            debiased=False,
            group_debias=True,
            auto_df=False,
            count_effects=False,
        )
        n_cells = data.outcome.size
        return Fit(
            effect=float(result.params["treated"]),
            path=paths.path,
            covariance=result.cov.to_numpy() * n_cells / (n_cells - n_periods - 1),
            diagnostics={**paths.diagnostics, "n_clusters": n_units},
        )

    def fit_many(self, data: Panel, assignments: BoolArray) -> Iterator[Fit]:
        """Estimate the effect for many assignments by the difference of mean changes; no covariance."""
        pre = data.n_pre
        for row in np.asarray(assignments, dtype=bool):
            treated, control = data.outcome[row].mean(axis=0), data.outcome[~row].mean(axis=0)
            counterfactual = control + (treated[:pre] - control[:pre]).mean()
            path = EffectPath(periods=data.periods, observed=treated, counterfactual=counterfactual)
            pre_mspe = float((path.effect[:pre] ** 2).mean())
            yield Fit(effect=float(path.effect[pre:].mean()), path=path, diagnostics={"pre_mspe": pre_mspe})

    def default_inference(self, data: Panel) -> str:
        """``cluster`` from five treated and five control units up, ``permutation`` below."""
        return "cluster" if min(len(data.treated_units), len(data.donor_pool)) >= FEW_CLUSTERS else "permutation"
