r"""Group-time average treatment effects: each cohort against units that aren't treated yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, TypeVar

import numpy as np
from pydantic import Field

from causalbench.data.moments import CohortMoments
from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError, listing
from causalbench.estimators._cell_effects import (
    CellEffects,
    Sampling,
    cell_values,
    cells_from_clusters,
    cells_from_moments,
    cells_from_units,
    unestimated,
)
from causalbench.estimators._group_time_report import FEWEST, Report
from causalbench.numerics.comparisons import BasePeriod, Cell, Control, comparisons
from causalbench.numerics.influence import CohortInfluence, UnitInfluence
from causalbench.numerics.two_period import Method
from causalbench.protocols import FEW_CLUSTERS, Requirements, inference_by_clusters
from causalbench.values import BoolArray, EffectPath, Finding, Fit, FloatArray, IntArray, MethodCard

PanelOrMoments = TypeVar("PanelOrMoments", Panel, CohortMoments)

_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTime:
    r"""Average effects by cohort and period, and their summaries (Callaway and Sant'Anna 2021).

    .. math:: \mathrm{ATT}(g, t) = E[y_t - y_{g-1} \mid G = g] - E[y_t - y_{g-1} \mid C]

    with controls C that are never treated or not treated yet (equations 2.8 and 2.9). With covariates the difference is
    doubly robust, weighted by the propensity, or by outcome regression (Sant'Anna, Zhao 2020, equations 2.7, 3.5). Every
    unit's contribution to the error of every cell is kept, so the covariance of all cells and summaries is joint, clustered
    by unit or by the cluster column, without a small-sample factor: the convention of R's ``did``. Without covariates,
    weights and missing cells, cohort means and scatters are all that is used.

    ``effect`` is the ``simple`` summary: the average over treated units and periods. The event study is measured against
    the last period before the launch (and its anticipation) whichever base period the cells use.

    Parameters
    ----------
    control
        ``never_treated``, or ``not_yet_treated``: these too until their own launch.
    method
        With covariates: ``dr`` doubly robust, ``ipw`` by normalised propensity weights, ``reg`` by outcome regression.
    anticipation
        Number of periods before a launch that may react.
    base_period
        ``varying``: before the launch, cells compare neighbouring periods; ``universal``: with the last period before it.
    sampling
        ``panel`` compares changes of the units seen in both periods; ``repeated_cross_section`` all rows of both, which
        must come from one population.

    Assumptions: parallel trends between each cohort and its controls (given covariates), no anticipation beyond the stated
    one, treatment that stays on, no effect on controls. Don't use it with a handful of treated clusters.

    Raises
    ------
    RefusalError
        When no cohort can be compared with anybody, or covariates separate treated from control units.

    Examples
    --------
    >>> import causalbench as cb
    >>> from causalbench.data.simulate import factor_panel
    >>> panel = factor_panel(n_units=40, n_periods=6, n_treated=15, n_post=3, effect=2.0, rho=0.0, seed=1)
    >>> round(GroupTime().fit(panel).effect, 1)
    1.9
    """

    control: Control = "never_treated"
    method: Method = "dr"
    anticipation: Annotated[int, Field(ge=0)] = 0
    base_period: BasePeriod = "varying"
    sampling: Sampling = "panel"

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
        moments=True,
    )
    inferences: ClassVar[tuple[str, ...]] = ("cluster", "bootstrap", "permutation")
    card: ClassVar[MethodCard] = MethodCard(
        title="Group-time effects (group-time)",
        summary="Each cohort's change since just before its launch, less that of units not treated by then.",
        equation=r"\mathrm{ATT}(g, t) = E[y_t - y_{g-1} \mid G = g] - E[y_t - y_{g-1} \mid C]",
        std_error="joint over all cells and summaries from every unit's influence, clustered by unit or by the cluster "
        "column, without a small-sample factor",
        assumptions=(
            "Without its launch, each cohort would have changed in parallel to its controls, given the covariates.",
            "Parallel means by as many units of the outcome, or at the same rate where it is a logarithm.",
            "No unit reacts before its launch, beyond the anticipation stated, and none to another unit's.",
        ),
        not_when=(
            "Treatment switches off again.",
            "Controls react to the launch, or units choose their date by what they expect of it.",
        ),
        edge_cases=(
            "Cohorts of one or two units get effects without a standard error; event times resting on so few are left out.",
            "Cells without a control are left out and named.",
            "With missing cells each comparison uses the units seen in both of its periods.",
        ),
        references=(
            (
                "Callaway, Sant'Anna (2021), Journal of Econometrics 225, 200-230",
                "https://doi.org/10.1016/j.jeconom.2020.12.001",
            ),
            (
                "Sant'Anna, Zhao (2020), Journal of Econometrics 219, 101-122",
                "https://doi.org/10.1016/j.jeconom.2020.06.003",
            ),
        ),
    )

    def sample(self, data: PanelOrMoments) -> PanelOrMoments:
        """Leave out units whose launch, less anticipation, leaves no period to compare with; recorded."""
        early = self._without_base(data)
        if not early.any():
            return data
        if early[data.ever_treated].all():
            raise DataError(
                f"anticipation = {self.anticipation} leaves no launch a period to compare with; the earliest of "
                f"{len(data.periods)} periods is {data.periods[0]}, the launches are {listing(data.cohorts)}",
                code="CB-D062",
                remedy="lower anticipation, or add history before the launches",
            )
        names = data.units if isinstance(data, Panel) else tuple(map(str, data.cohorts))
        left = tuple(name for name, flag in zip(names, early, strict=False) if flag)
        what = "units" if isinstance(data, Panel) else "cohorts"
        finding = Finding(
            code="CB-D062",
            severity="warning",
            message=f"{len(left)} {what} have no period before launch and anticipation to compare with: {listing(left)}",
            action="left out; the effect is that on the others",
            count=len(left),
            units=left if isinstance(data, Panel) else (),
        )
        if isinstance(data, CohortMoments):
            return data.without(early, finding)
        return replace(data.only(units=~early), findings=(*data.findings, finding))

    def _without_base(self, data: Panel | CohortMoments) -> BoolArray:
        places = np.append(data.positions, np.iinfo(np.int64).max)
        early: BoolArray = data.ever_treated & (places[data.first_treated] - self.anticipation <= data.positions[0])
        return early

    def fit(self, data: Panel | CohortMoments) -> Fit:
        """Estimate every cell, the summaries with their errors, and the event study."""
        first_treated = data.starts
        own = self._cells(first_treated, data.positions, self.base_period)
        long = self._cells(first_treated, data.positions, "universal")
        effects = self._effects(data, list(dict.fromkeys([*own, *long])))
        if not any(cell.event_time >= 0 for cell in effects.cells):
            raise self._nothing_to_compare(data)
        report = self._report(data, effects, own, long)
        simple, joint = report.simple(), report.joint_covariance()
        influence = effects.influence.combine(simple.weights[:, None], simple.shares[:, None])
        n_cells, treated_mean = _coverage(data, effects, report.covered())
        return Fit(
            effect=simple.value,
            path=report.path(),
            covariance=influence.covariance() if report.has_errors else None,
            influence=_contributions(influence, data, effects) if report.has_errors else None,
            event_study=report.event_study(),
            group_time_covariance=joint,
            n_cells=n_cells,
            treated_mean=treated_mean,
            diagnostics={
                **report.detail(joint),
                "n_clusters": data.n_clusters,
                "df": data.n_clusters - 1,
            },
            warnings=self._warnings(data, report),
        )

    def _report(self, data: Panel | CohortMoments, effects: CellEffects, own: list[Cell], long: list[Cell]) -> Report:
        spread = _clusters_by_cohort(data, effects) >= FEWEST
        treated = effects.first_treated < len(data.periods)
        alone = effects.counts[treated & ~spread].sum()
        fewest = min(data.n_treated_clusters, data.n_control_clusters)
        return Report(
            effects=effects,
            periods=data.periods,
            positions=data.positions,
            own=frozenset(own),
            long=frozenset(long),
            spread=spread,
            has_errors=fewest >= FEW_CLUSTERS and 2 * alone <= effects.counts[treated].sum(),
            anticipation=self.anticipation,
            degrees=_degrees(data),
        )

    def _nothing_to_compare(self, data: Panel | CohortMoments) -> RefusalError:
        """Say why no treated cell has a control."""
        if not data.n_control and self.control == "never_treated":
            return RefusalError(
                f"all {data.n_treated} units launch sooner or later, and control = never_treated compares with none of them",
                code="CB-D024",
                remedy='set control = "not_yet_treated", or add units that never got the launch',
            )
        if not data.n_control:
            return RefusalError(
                f"all {data.n_treated} units launch at {data.cohorts[0]}, so nobody is left to compare with",
                code="CB-D024",
                remedy="add units that never got the launch, or got it later",
            )
        return RefusalError(
            "no cohort is observed both before and after its launch together with controls",
            code="CB-D001",
            remedy='if every row is another unit, set sampling = "repeated_cross_section"; else fill in missing cells',
        )

    def fit_many(self, data: Panel, launches: IntArray) -> Iterator[Fit]:
        """Estimate the effect under many assignments of launch dates to units; no covariance.

        Raises
        ------
        RefusalError
            With covariates, weights or missing cells, which this comparison of cohort means doesn't look at.
        """
        if data.covariate_names or data.weights is not None or np.isnan(data.outcome).any():
            raise RefusalError(
                "launch dates can't be permuted with covariates, weights or missing cells",
                remedy="leave them out; with enough treated and control clusters, cluster inference takes them",
            )
        launches = np.asarray(launches)
        for start in range(0, len(launches), _AT_ONCE):
            yield from self._refits(data, launches[start : start + _AT_ONCE])

    def _refits(self, data: Panel, launches: IntArray) -> Iterator[Fit]:
        """Fit some assignments at once; each must use the same launch dates."""
        first, n_periods = np.unique(launches), len(data.periods)
        members = [launches == launch for launch in first]
        counts = np.stack([own.sum(axis=1) for own in members], axis=1)
        if (counts == 0).any():
            raise ValueError("assignments must use the same launch dates")
        means = np.stack([own.astype(float) @ data.outcome for own in members], axis=1) / counts[:, :, None]
        cells = self._cells(first, data.positions, "universal")
        values = cell_values(means, counts, cells)
        gaps = np.zeros_like(means)
        for k, cell in enumerate(cells):
            gaps[:, cell.cohort, cell.period] = values[:, k]
        treated = first < n_periods
        after = [k for k, cell in enumerate(cells) if cell.event_time >= 0]
        sizes = counts[:, [cells[k].cohort for k in after]]
        effects = (sizes * values[:, after]).sum(axis=1) / sizes.sum(axis=1)
        shares = counts[:, treated, None] / counts[:, treated].sum(axis=1)[:, None, None]
        observed, effect = (shares * means[:, treated]).sum(axis=1), (shares * gaps[:, treated]).sum(axis=1)
        for i, value in enumerate(effects):
            path = EffectPath(periods=data.periods, observed=observed[i], counterfactual=observed[i] - effect[i])
            yield Fit(effect=float(value), path=path)

    def default_inference(self, data: Panel | CohortMoments) -> str:
        """``cluster`` from 20 treated and 20 control clusters up, ``bootstrap`` from 5, ``permutation`` below."""
        cells = self._cells(data.starts, data.positions, "universal")
        if not any(cell.event_time >= 0 for cell in cells):
            raise self._nothing_to_compare(data)
        return inference_by_clusters(data, few="permutation")

    def _cells(self, first_treated: IntArray, positions: IntArray, base_period: BasePeriod) -> list[Cell]:
        return comparisons(
            first_treated, positions, control=self.control, anticipation=self.anticipation, base_period=base_period
        )

    def _effects(self, data: Panel | CohortMoments, cells: list[Cell]) -> CellEffects:
        if isinstance(data, CohortMoments):
            return cells_from_moments(data, cells)
        plain = not data.covariate_names and data.weights is None and self.sampling == "panel"
        if not plain or np.isnan(data.outcome).any():
            return cells_from_units(data, cells, method=self.method, sampling=self.sampling)
        moments = CohortMoments.from_panel(data)
        return cells_from_moments(moments, cells) if data.cluster is None else cells_from_clusters(data, moments, cells)

    def _warnings(self, data: Panel | CohortMoments, report: Report) -> tuple[str, ...]:
        found, effects, n_periods = [], report.effects, len(data.periods)
        if left := unestimated(effects.cells, effects.first_treated, n_periods, data.periods):
            found.append(
                f"{left} have no control or no base and are left out; the effect is the average over the others"
            )
        treated = effects.first_treated < n_periods
        small = [data.periods[launch] for launch in effects.first_treated[treated & ~report.spread]]
        if small:
            found.append(
                f"CB-D025: {'cohort' if len(small) == 1 else 'cohorts'} {listing(small)} of one or two "
                f"{'units' if data.cluster is None else 'clusters'} have no standard error of their own, and add nothing to "
                "that of the averages, which is a little too small for it"
            )
        if report.has_errors and (times := report.left_out()):
            found.append(f"event times {listing(times)} rest on such cohorts alone; the event study leaves them out")
        if isinstance(data, Panel) and self.sampling == "panel" and np.isnan(data.outcome).any():
            found.append("cells are missing: each comparison is about the units seen in both of its periods")
        return (*found, *effects.warnings)


def _clusters_by_cohort(data: Panel | CohortMoments, effects: CellEffects) -> IntArray:
    """Return the number of distinct clusters in every cohort."""
    if isinstance(data, CohortMoments) or data.cluster is None:
        return effects.counts
    own = [data.cluster_codes[data.first_treated == first] for first in effects.first_treated]
    return np.array([len(np.unique(codes)) for codes in own])


def _degrees(data: Panel | CohortMoments) -> float:
    """Return the degrees of freedom behind the covariance: those of the smaller arm, in effective numbers under weights."""
    if isinstance(data, CohortMoments) or data.weights is None:
        return min(data.n_treated_clusters, data.n_control_clusters) - 1.0
    arms = [np.bincount(data.cluster_codes, data.weights * arm) for arm in (data.ever_treated, ~data.ever_treated)]
    return min(float(arm.sum() ** 2 / (arm**2).sum()) for arm in arms if arm.any()) - 1.0


def _coverage(data: Panel | CohortMoments, effects: CellEffects, covered: BoolArray) -> tuple[int | None, float | None]:
    """Return the number and mean outcome of the treated cells that have an effect; nothing where all have one."""
    after = np.arange(len(data.periods)) >= effects.first_treated[:, None]
    if not (after & ~covered).any():
        return None, None
    if isinstance(data, CohortMoments):
        counted = effects.counts[:, None] * covered
        return int(counted.sum()), float((counted * effects.means).sum() / counted.sum())
    cells = covered[np.searchsorted(effects.first_treated, data.first_treated)] & ~np.isnan(data.outcome)
    sizes: FloatArray = cells * (np.ones(len(cells)) if data.weights is None else data.weights)[:, None]
    return int(cells.sum()), float((np.nan_to_num(data.outcome) * sizes).sum() / sizes.sum())


def _contributions(
    influence: CohortInfluence | UnitInfluence, data: Panel | CohortMoments, effects: CellEffects
) -> FloatArray | None:
    """Return what every unit contributes to the error of one summary; None where only moments are at hand."""
    if isinstance(influence, UnitInfluence):
        return influence.rows[:, 0]
    if isinstance(data, CohortMoments):
        return None
    codes = np.searchsorted(effects.first_treated, data.first_treated)
    return influence.by_unit(data.outcome, codes, effects.means)[:, 0]
