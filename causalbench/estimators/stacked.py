r"""Stacked difference-in-differences: one clean experiment per launch date, weighted to one well-defined average."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError, listing
from causalbench.estimators._rollout import CohortEffects, Rollout, compose
from causalbench.protocols import Requirements, inference_by_clusters
from causalbench.values import BoolArray, Fit, FloatArray, MethodCard


@dataclass(frozen=True, slots=True, kw_only=True)
class Stacked:
    r"""Trimmed average effect on the treated from stacked experiments (Wing, Freedman, Hollingsworth 2024).

    Each launch date a with data from ``leads`` periods before to ``lags`` periods after it, and with units untreated until
    then (clean controls), is an experiment of its own; other launch dates are trimmed. So each event time averages the same
    cohorts, and effects can be compared over event times. The stacked regression

    .. math:: y_{iae} = \alpha_{a} + \gamma_{a} D_{ia}
        + \sum_{e \neq -1} \big(\lambda_{ae} + \delta_{ae} D_{ia}\big) 1\{t - a = e\} + \varepsilon_{iae}

    with the corrective weights

    .. math:: Q_{ia} = 1 \;(D_{ia} = 1), \qquad Q_{ia} = \frac{N^D_a / N^D}{N^C_a / N^C} \;(D_{ia} = 0)

    of the paper averages :math:`\delta_{ae}` over launch dates by the number of treated units,
    :math:`\hat\delta_e = \sum_a \hat\delta_{ae} N^D_a / N^D`, whereas unweighted stacks weight treated and control trends
    differently. Units' weights take the place of counts where there are any. ``effect`` is the mean of
    :math:`\hat\delta_e` over :math:`e \geq 0`.

    The covariance is CRV1: a unit's contributions from all stacks are added up before they are squared, clustered by the
    panel's clusters, with the factor :math:`\frac{G}{G-1}\cdot\frac{N-1}{N-K}`, N rows of the stack and K period effects
    and effects of all experiments and a constant. The cohorts' shares are taken as given.

    Parameters
    ----------
    leads, lags
        Number of periods before and after the launch that a stack holds: event times -leads to lags. By default the
        longest that trim no launch date (without units never treated: none but the last).

    Notes
    -----
    Assumptions: without the launch, each cohort would have changed in parallel to its clean controls since the last
    period before the launch; no unit reacts before it. Don't use it when dynamic composition doesn't matter to you:
    imputation and group-time effects use every treated cell, and more controls.

    Raises
    ------
    RefusalError
        When no launch date fits the window with clean controls.

    Examples
    --------
    >>> from causalbench.data.simulate import staggered_panel
    >>> panel = staggered_panel(n_units=90, n_periods=8, launches=(3, 5), n_never=30, effect=2.0, rho=0.0, seed=2)
    >>> fit = Stacked(leads=3, lags=1).fit(panel)
    >>> round(fit.effect, 1), fit.event_study.event_times.tolist()
    (1.8, [-3, -2, 0, 1])
    """

    leads: Annotated[int, Field(ge=1)] | None = None
    lags: Annotated[int, Field(ge=0)] | None = None

    requires: ClassVar[Requirements] = Requirements(
        min_control=0,
        min_pre=1,
        recommended_pre=3,
        max_cohorts=None,
        varying_controls=False,
        weights=True,
        clusters=True,
    )
    inferences: ClassVar[tuple[str, ...]] = ("cluster", "bootstrap")
    card: ClassVar[MethodCard] = MethodCard(
        title="Stacked difference-in-differences (stacked)",
        summary="One experiment with clean controls per launch date, weighted so that all event times average the same units.",
        equation=r"\hat\delta_e = \sum_a \frac{N^D_a}{N^D} \left[ (\bar y^D_{a,a+e} - \bar y^D_{a,a-1})"
        r" - (\bar y^C_{a,a+e} - \bar y^C_{a,a-1}) \right]",
        std_error="clustered (CRV1 with the factor G/(G-1) times (N-1)/(N-K), N rows of the stack) with t quantiles on G-1; "
        "a unit's contributions from all stacks are added up first, the cohorts' shares are taken as given",
        assumptions=(
            "Without the launch each cohort would have changed in parallel to its clean controls since just before it.",
            "No unit reacts before the launch, and none to another's.",
        ),
        not_when=("Every treated cell should count: launch dates and periods outside the window are trimmed.",),
        edge_cases=(
            "Launch dates without the whole window or without clean controls are trimmed and named.",
            "Missing cells need an explicit rule.",
        ),
        references=(
            (
                "Wing, Freedman, Hollingsworth (2024), NBER working paper 32054",
                "https://doi.org/10.3386/w32054",
            ),
        ),
    )

    def sample(self, data: Panel) -> Panel:
        """Use every unit."""
        return data

    def fit(self, data: Panel) -> Fit:
        """Estimate the effects by event time of the launch dates that fit the window."""
        rollout = Rollout.of(data)
        leads, lags = self._window(rollout)
        kept = [
            member
            for member in np.flatnonzero(rollout.is_treated).tolist()
            if rollout.launches[member] >= leads
            and rollout.launches[member] + lags < len(data.periods)
            and (data.first_treated > rollout.launches[member] + lags).any()
        ]
        if not kept:
            raise RefusalError(
                f"no launch date has {leads} periods before it, {lags} after it and units untreated until then",
                code="CB-D024",
                remedy="lower leads or lags, or add units that never got the launch",
            )
        stacks = [_Stack.of(rollout, member, lags) for member in kept]
        effects = _effects(rollout, stacks, leads, lags)
        return compose(
            effects,
            gaps=effects.gaps(),
            event_study=effects.event_study(),
            detail={"leads": leads, "lags": lags},
            warnings=_trimmed(rollout, stacks, leads, lags),
        )

    def default_inference(self, data: Panel) -> str:
        """``cluster`` from 20 treated and 20 control clusters up, ``bootstrap`` from 5; below, ``cluster`` refuses."""
        return inference_by_clusters(data, few="cluster")

    def _window(self, rollout: Rollout) -> tuple[int, int]:
        """Return leads and lags; where they aren't given, the longest that trim no launch date."""
        launches = rollout.launches[rollout.is_treated]
        leads = int(launches.min()) if self.leads is None else self.leads
        last = int(np.flatnonzero(rollout.used.any(axis=0)).max())
        lags = max(last - int(launches.max()), 0) if self.lags is None else self.lags
        return leads, lags


@dataclass(frozen=True, kw_only=True, eq=False)
class _Stack:
    """One experiment: a cohort, its clean controls and its window."""

    member: int
    launch: int
    treated: BoolArray
    control: BoolArray

    @classmethod
    def of(cls, rollout: Rollout, member: int, lags: int) -> _Stack:
        launch = int(rollout.launches[member])
        control = rollout.panel.first_treated > launch + lags
        return cls(member=member, launch=launch, treated=rollout.classes == member, control=control)


def _effects(rollout: Rollout, stacks: list[_Stack], leads: int, lags: int) -> CohortEffects:
    """Compare the changes of each stack's cohort with those of its clean controls."""
    panel, weights = rollout.panel, rollout.weights
    event_times = np.array([e for e in range(-leads, lags + 1) if e != -1])
    means, deviations = [], []
    for stack in stacks:
        sides = []
        for side in (stack.treated, stack.control):
            share = weights[side] / weights[side].sum()
            mean = share @ panel.outcome[side]
            sides.append(mean)
            deviations.append((side, share[:, None] * (panel.outcome[side] - mean)))
        difference = sides[0] - sides[1]
        means.append(difference[stack.launch + event_times] - difference[stack.launch - 1])

    def influence(combination: FloatArray) -> FloatArray:
        found = np.zeros((len(weights), combination.shape[1]))
        for a, stack in enumerate(stacks):
            own = combination[a * len(event_times) : (a + 1) * len(event_times)]
            line = np.zeros((len(panel.periods), combination.shape[1]))
            line[stack.launch + event_times] = own
            line[stack.launch - 1] = -own.sum(axis=0)
            for sign, (side, deviation) in zip((1.0, -1.0), deviations[2 * a : 2 * a + 2], strict=True):
                found[side] += sign * (deviation @ line)
        return found

    rows = sum(int(stack.treated.sum() + stack.control.sum()) for stack in stacks) * (len(event_times) + 1)
    return CohortEffects(
        rollout=rollout,
        members=np.repeat([stack.member for stack in stacks], len(event_times)),
        periods=np.concatenate([stack.launch + event_times for stack in stacks]),
        values=np.concatenate(means),
        influence=influence,
        factor=_factor(rows, 2 * len(stacks) * len(event_times) + 1, panel.n_clusters),
    )


def _factor(n_rows: int, n_columns: int, n_clusters: int) -> float:
    if n_clusters < 2 or n_rows <= n_columns:
        return math.nan
    return n_clusters / (n_clusters - 1) * (n_rows - 1) / (n_rows - n_columns)


def _trimmed(rollout: Rollout, stacks: list[_Stack], leads: int, lags: int) -> tuple[str, ...]:
    """Say which launch dates and cells the estimand is about, where it isn't about all."""
    panel = rollout.panel
    kept = {stack.launch for stack in stacks}
    lost = [
        panel.periods[g] for g in sorted(set(panel.first_treated.tolist())) if g < len(panel.periods) and g not in kept
    ]
    n_cells = sum(int(stack.treated.sum()) for stack in stacks) * (lags + 1)
    if n_cells == int(panel.treated.sum()):
        return ()
    found = f"trimmed to event times {-leads} to {lags}: the effect is the average over {n_cells} of "
    found += f"{int(panel.treated.sum())} treated cells"
    if lost:
        found += f", without {len(lost)} launch dates that lack this window or units untreated in it: {listing(lost)}"
    return (found,)
