r"""Group-time average treatment effects: each cohort against units that aren't treated yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, TypeVar

import numpy as np
from pydantic import Field
from scipy import stats

from causalbench.data.moments import CohortMoments
from causalbench.data.panel import Panel
from causalbench.errors import RefusalError, listing
from causalbench.estimators._cell_effects import (
    CellEffects,
    Sampling,
    cell_values,
    cells_from_clusters,
    cells_from_moments,
    cells_from_units,
    unestimated,
)
from causalbench.numerics import aggregation
from causalbench.numerics.aggregation import Summary
from causalbench.numerics.comparisons import BasePeriod, Cell, Control, comparisons
from causalbench.numerics.influence import CohortInfluence, UnitInfluence
from causalbench.numerics.two_period import Method
from causalbench.protocols import Requirements, inference_by_clusters
from causalbench.values import EffectPath, EventStudy, Finding, Fit, FloatArray, IntArray, MethodCard

PanelOrMoments = TypeVar("PanelOrMoments", Panel, CohortMoments)

_FEWEST_WITH_ERROR = 3
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
        early = data.first_treated - 1 - self.anticipation < 0
        if not early.any() or early.all():
            return data
        names = data.units if isinstance(data, Panel) else tuple(map(str, data.cohorts))
        left = tuple(name for name, flag in zip(names, early, strict=False) if flag)
        what = "units" if isinstance(data, Panel) else "cohorts"
        finding = Finding(
            code="CB-D023",
            severity="warning",
            message=f"{len(left)} {what} launch within {self.anticipation + 1} periods of the start: {listing(left)}",
            action="left out",
            count=len(left),
            units=left if isinstance(data, Panel) else (),
        )
        if isinstance(data, CohortMoments):
            return data.without(early, finding)
        return replace(data.only(units=~early), findings=(*data.findings, finding))

    def fit(self, data: Panel | CohortMoments) -> Fit:
        """Estimate every cell, the summaries with their errors, and the event study."""
        first_treated = np.unique(data.first_treated)
        n_periods = len(data.periods)
        own = self._cells(first_treated, n_periods, self.base_period)
        long = self._cells(first_treated, n_periods, "universal")
        effects = self._effects(data, list(dict.fromkeys([*own, *long])))
        if not any(cell.event_time >= 0 for cell in effects.cells):
            raise RefusalError(
                f"no treated cell of {len(first_treated)} cohorts has a control ({self.control})",
                code="CB-D024",
                remedy='set control = "not_yet_treated", or add units that never got the launch',
            )
        report = _Report(effects=effects, periods=data.periods, own=set(own), long=set(long))
        simple = report.simple()
        influence = effects.influence.combine(simple.weights[:, None], simple.shares[:, None])
        detail, joint = report.detail()
        n_clusters = data.n_clusters if isinstance(data, Panel) else int(effects.counts.sum())
        return Fit(
            effect=simple.value,
            path=report.path(),
            covariance=influence.covariance(),
            influence=_contributions(influence, data, effects),
            event_study=report.event_study(-1 - self.anticipation),
            group_time_covariance=joint,
            diagnostics={**detail, "n_clusters": n_clusters, "df": n_clusters - 1},
            warnings=self._warnings(data, effects),
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
        cells = self._cells(first, n_periods, "universal")
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
        return inference_by_clusters(data, few="permutation")

    def _cells(self, first_treated: IntArray, n_periods: int, base_period: BasePeriod) -> list[Cell]:
        return comparisons(
            first_treated, n_periods, control=self.control, anticipation=self.anticipation, base_period=base_period
        )

    def _effects(self, data: Panel | CohortMoments, cells: list[Cell]) -> CellEffects:
        if isinstance(data, CohortMoments):
            return cells_from_moments(data, cells)
        plain = not data.covariate_names and data.weights is None and self.sampling == "panel"
        if not plain or np.isnan(data.outcome).any():
            return cells_from_units(data, cells, method=self.method, sampling=self.sampling)
        moments = CohortMoments.from_panel(data)
        return cells_from_moments(moments, cells) if data.cluster is None else cells_from_clusters(data, moments, cells)

    def _warnings(self, data: Panel | CohortMoments, effects: CellEffects) -> tuple[str, ...]:
        found = []
        if left := unestimated(effects.cells, effects.first_treated, len(data.periods), data.periods):
            found.append(f"{left} have no control and are left out; the effect is the average over the others")
        small = [
            f"{data.periods[launch]} ({count} units)"
            for launch, count in zip(effects.first_treated.tolist(), effects.counts.tolist(), strict=True)
            if launch < len(data.periods) and count < _FEWEST_WITH_ERROR
        ]
        if small:
            found.append(f"CB-D025: too small for a standard error of their own: cohorts {listing(small)}")
        if isinstance(data, Panel) and self.sampling == "panel" and np.isnan(data.outcome).any():
            found.append("cells are missing: each comparison is about the units seen in both of its periods")
        return tuple(found)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Report:
    """Summaries of cell effects and how they are written down."""

    effects: CellEffects
    periods: tuple[Any, ...]
    own: set[Cell]
    long: set[Cell]

    def _parts(self, wanted: set[Cell]) -> tuple[list[Cell], list[Summary], FloatArray]:
        every = aggregation.cell_summaries(self.effects.values, len(self.effects.shares))
        chosen = [(cell, part) for cell, part in zip(self.effects.cells, every, strict=True) if cell in wanted]
        return [cell for cell, _ in chosen], [part for _, part in chosen], self.effects.shares

    def simple(self) -> Summary:
        """Return the average over treated cells."""
        return aggregation.simple(*self._parts(self.own))

    def event_study(self, reference: int) -> EventStudy:
        """Return the averages by event time against the common reference; those of one or two units are left out."""
        cells, parts, shares = self._parts(self.long)
        found = aggregation.dynamic(cells, parts, shares)
        cohorts = [{cell.cohort for cell in cells if cell.event_time == e} for e in found.by]
        n_treated = np.array([int(self.effects.counts[list(own)].sum()) for own in cohorts])
        enough = n_treated >= min(_FEWEST_WITH_ERROR, n_treated.max())
        values, weights, by_share = aggregation.stack([p for p, kept in zip(found.parts, enough, strict=True) if kept])
        covariance = self.effects.influence.combine(weights, by_share).covariance()
        return EventStudy(
            event_times=np.array(found.by)[enough],
            values=values,
            covariance=covariance if n_treated.max() >= _FEWEST_WITH_ERROR else np.full_like(covariance, np.nan),
            n_treated=n_treated[enough],
            reference=reference,
        )

    def path(self) -> EffectPath:
        """Return the mean of the ever treated by period, and without the gaps of their cohorts to the controls."""
        effects = self.effects
        treated = effects.first_treated < len(self.periods)
        gaps = np.zeros((len(treated), len(self.periods)))
        for cell, value in zip(effects.cells, effects.values, strict=True):
            if cell in self.long:
                gaps[cell.cohort, cell.period] = value
        shares = effects.shares[treated] / effects.shares[treated].sum()
        observed = shares @ effects.means[treated]
        return EffectPath(periods=self.periods, observed=observed, counterfactual=observed - shares @ gaps[treated])

    def detail(self) -> tuple[dict[str, Any], FloatArray]:
        """Return cells, summaries and the test before the launch as the evidence holds them; and the cells' covariance."""
        cells, parts, shares = self._parts(self.own)
        grouped = {
            "dynamic": ("event_time", aggregation.dynamic(cells, parts, shares)),
            "group": ("cohort", aggregation.group(cells, parts, shares)),
            "calendar": ("period", aggregation.calendar(cells, parts, shares)),
        }
        everything = [
            *parts,
            aggregation.simple(cells, parts, shares),
            *(part for _, found in grouped.values() for part in (found.overall, *found.parts)),
        ]
        values, weights, by_share = aggregation.stack(everything)
        covariance = self.effects.influence.combine(weights, by_share).covariance()
        pairs = iter(zip(values.tolist(), np.sqrt(np.maximum(np.diag(covariance), 0.0)).tolist(), strict=True))
        group_time = [self._row(cell, *next(pairs)) for cell in cells]
        value, std_error = next(pairs)
        aggregates: dict[str, Any] = {"simple": {"value": value, "std_error": std_error, "by": []}}
        for name, (label, found) in grouped.items():
            value, std_error = next(pairs)
            by = [
                {label: self._label(label, key), "value": v, "std_error": self._usable(label, key, s)}
                for key, (v, s) in zip(found.by, (next(pairs) for _ in found.by), strict=True)
            ]
            aggregates[name] = {"value": value, "std_error": std_error, "by": by}
        pretest = self._pretest(cells, values, covariance)
        detail = {"group_time": group_time, "aggregates": aggregates, "pretest": pretest}
        return detail, covariance[: len(cells), : len(cells)]

    def _label(self, kind: str, key: int) -> Any:
        if kind == "event_time":
            return key
        return self.periods[int(self.effects.first_treated[key]) if kind == "cohort" else key]

    def _usable(self, kind: str, key: int, std_error: float) -> float | None:
        """Return a standard error, None of a cohort of one or two units."""
        small = kind == "cohort" and self.effects.counts[key] < _FEWEST_WITH_ERROR
        return None if small else std_error

    def _row(self, cell: Cell, value: float, std_error: float) -> Mapping[str, Any]:
        return {
            "cohort": self.periods[int(self.effects.first_treated[cell.cohort])],
            "period": self.periods[cell.period],
            "value": value,
            "std_error": self._usable("cohort", cell.cohort, std_error),
        }

    def _pretest(self, cells: list[Cell], values: FloatArray, covariance: FloatArray) -> dict[str, Any] | None:
        """Test that every cell before its launch is zero; None where there is none or they are collinear."""
        before = [
            k
            for k, cell in enumerate(cells)
            if cell.event_time < 0 and self.effects.counts[cell.cohort] >= _FEWEST_WITH_ERROR
        ]
        joint = covariance[np.ix_(before, before)]
        if not before or np.linalg.matrix_rank(joint, hermitian=True) < len(before):
            return None
        statistic = float(values[before] @ np.linalg.solve(joint, values[before]))
        return {"statistic": statistic, "df": len(before), "p_value": float(stats.chi2.sf(statistic, len(before)))}


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
