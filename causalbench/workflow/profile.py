"""The facts that advice rests on, measured on a study: none depends on an outcome from the launch on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from causalbench.checks._comparison import comparison, effective_size
from causalbench.checks.covariate_balance import standardized_differences
from causalbench.checks.negative_control_outcome import placebo_data
from causalbench.data.audit import audit
from causalbench.data.calendar import Period, read_one, timeline
from causalbench.data.cross_section import CrossSection
from causalbench.data.launch import cohort_start
from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError
from causalbench.numerics.persistence import persistence, persistence_limit
from causalbench.plan.advise import CANDIDATES, Profile, labelled, series_options
from causalbench.plan.profile import Unfit
from causalbench.plan.thresholds import limit
from causalbench.protocols import Estimator
from causalbench.study import AnyStudy, ComparisonStudy, GeoStudy, Metric, Study
from causalbench.study.geo_study import CONTROL
from causalbench.values import rejects
from causalbench.workflow.before_launch import Schedule, history_of, require_known_units, schedule_of
from causalbench.workflow.comparison import answer_cross_section
from causalbench.workflow.comparison_graph import choose
from causalbench.workflow.history_facts import foresight, mock_error, reach, shadow
from causalbench.workflow.method import create_estimator, generator
from causalbench.workflow.reading import hidden_columns, read_history, read_keys, read_without_outcome

_MOST_DONORS = 1_000
"""Methods that weigh controls aren't rehearsed on more controls than this."""

_MOST_REGRESSORS = 200
"""A structural time series isn't tried on more controls than this."""

_WEIGHING = ("synthetic-did", "synthetic-control", "augmented-synthetic-control")


def profile_study(study: AnyStudy) -> Profile:
    """Measure what advice on a study rests on, by its first success metric.

    Of a launch the outcome up to it is read and no later one, of a comparison at one time no outcome but that before the
    treatment. Of an experiment the whole table is read, and cut where a test has begun: that filter isn't the engine's.

    Raises
    ------
    DataError, GraphError
        When the table or the graph can't be read.

    Examples
    --------
    >>> from causalbench.data.datasets import study_path
    >>> from causalbench.study import load_study
    >>> found = profile_study(load_study(study_path("prop99")))
    >>> found.n_treated, found.n_control, found.n_pre, found.n_post, found.inside_hull
    (1, 38, 19, 12, True)
    """
    metric = next(metric for metric in study.metric if metric.role == "success")
    if isinstance(study, GeoStudy):
        return _of_experiment(study, metric)
    if isinstance(study, ComparisonStudy):
        return _of_comparison(study, metric)
    return _of_launch(study, metric)


# ---- launches


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dates:
    """Where launches lie: index by unit in ``periods``, and how many of these are in the table from the launch on."""

    launches: Mapping[str, int]
    periods: tuple[Any, ...]
    n_post: int


def _of_launch(study: Study, metric: Metric) -> Profile:
    schedule = schedule_of(study)
    history = history_of(study, metric, last=schedule.last)
    require_known_units(schedule.launches, history)
    early = _launched_before(study, history)
    kept = ~np.isin(history.units, early) & ~np.isnan(history.outcome).all(axis=1)
    history = history.only(units=kept, periods=_not_anticipating(study, history))
    dates = _dates(study, schedule, history)
    facts = _measured(study, metric, history, dates, level=study.method.level)
    facts = replace(facts, assignment=study.launch.assignment, as_planned=_as_planned(study, schedule, history))
    return _with_overlap(facts, study, shadow(history, dates.launches, periods=dates.periods))


def _measured(study: Study | GeoStudy, metric: Metric, history: Panel, dates: _Dates, *, level: float) -> Profile:
    """Count, try every method's requirements, and rehearse those that weigh controls."""
    ahead = shadow(history, dates.launches, periods=dates.periods)
    treated = ahead.ever_treated
    counts = np.unique(ahead.first_treated[treated], return_counts=True)[1]
    unfit, inferences = _fits(study, ahead, level=level)
    typical = float(np.nanmean(history.outcome[treated]))
    facts = Profile(
        launched=dates.n_post > 0,
        metric=metric.name,
        frequency=history.frequency,
        season=history.season,
        n_treated=ahead.n_treated,
        n_control=ahead.n_control,
        n_treated_clusters=ahead.n_treated_clusters,
        n_control_clusters=ahead.n_control_clusters,
        n_pre=len(history.periods),
        n_post=dates.n_post,
        n_cohorts=len(counts),
        fewest_cohort=int(counts.min()),
        maturity=metric.maturity or 0,
        n_covariates=len(study.data.covariates),
        has_cost=study.data.cost is not None,
        unfit=unfit,
        inferences=inferences,
        typical=typical,
        effect_sought=_effect_sought(metric, typical),
    )
    return _rehearsed(facts, study, ahead)


def _effect_sought(metric: Metric, typical: float) -> float | None:
    """Return the smallest worthwhile effect in units of the metric."""
    if metric.worthwhile is None or metric.effects == "absolute":
        return metric.worthwhile
    return math.log1p(metric.worthwhile) if metric.logarithmic else abs(metric.worthwhile * typical)


def _launched_before(study: Study, history: Panel) -> tuple[str, ...]:
    """Return the units that are treated in every period there is; they can't be compared with."""
    launch, data = study.launch, study.data
    if launch.units is not None:
        return ()
    column = str(launch.cohort or launch.treatment)
    line = timeline(list(history.periods), date_format=data.date_format)
    if launch.cohort:
        rows = read_keys(study, [data.unit, column], types=list)
        starts = {value: cohort_start(value, line, column) for value in rows[column].dropna().unique()}
        early = [value for value, start in starts.items() if start is not None and start <= line.periods[0]]  # type: ignore[operator]
        return tuple(map(str, rows.loc[rows[column].isin(early), data.unit]))
    first = _first_on(study, column, history)
    return tuple(unit for unit, start in first.items() if start == line.periods[0])


def _first_on(study: Study, column: str, history: Panel) -> dict[str, Period]:
    """Return the first period of every unit that a column of 0 and 1 says is treated at some time."""
    data = study.data
    rows = read_keys(study, [data.unit, data.period, column], types=list)
    on = rows[pd.to_numeric(rows[column], errors="coerce") == 1]
    like = history.periods[0]
    labels = {
        label: read_one(label, like, what="period", date_format=data.date_format) for label in on[data.period].unique()
    }
    found: dict[str, Period] = {}
    for unit, label in zip(on[data.unit].astype(str).str.strip(), on[data.period], strict=True):
        found[unit] = min(found.get(unit, labels[label]), labels[label])
    return found


def _as_planned(study: Study, schedule: Schedule, history: Panel) -> bool | None:
    """Tell whether those treated so far are those who should be, from when on; None where no column says who was."""
    column = study.launch.actual
    if column is None or not schedule.later:
        return None
    due = {unit: start for unit, start in schedule.launches.items() if start <= schedule.later[-1]}  # type: ignore[operator]
    late = {unit: min(period for period in schedule.later if period >= start) for unit, start in due.items()}  # type: ignore[operator]
    return _first_on(study, column, history) == late


def _not_anticipating(study: Study, history: Panel) -> np.ndarray[Any, np.dtype[np.bool_]]:
    n = len(history.periods)
    if study.launch.anticipation >= n:
        raise DataError(
            f"anticipation = {study.launch.anticipation} leaves none of the {n} periods before the launch",
            code="CB-D062",
            remedy="lower anticipation under [launch], or add history",
        )
    return np.arange(n) < n - study.launch.anticipation


def _dates(study: Study, schedule: Schedule, history: Panel) -> _Dates:
    """Place launches among the periods of the table; those later than its last one follow it, one period each."""
    later: list[Period] = list(schedule.later)
    if study.launch.align == "drop_partial" and later and schedule.start not in later:
        later = later[1:]
    if study.launch.end is not None and later:
        end = read_one(study.launch.end, later[0], what="launch end", date_format=study.data.date_format)
        later = [period for period in later if period <= end]  # type: ignore[operator]
    starts = {unit: start for unit, start in schedule.launches.items() if unit in history.units}
    ahead = sorted({start for start in starts.values() if not later or start > later[-1]})  # type: ignore[operator]
    n_pre, n_post = len(history.periods), len(later)
    where: dict[Any, int] = {start: n_pre + n_post + k for k, start in enumerate(ahead)}
    for start in set(starts.values()) - set(ahead):
        place = n_pre + sum(period < start for period in later)  # type: ignore[operator]
        where[start] = max(place - (study.launch.align == "previous" and start not in later and place > n_pre), n_pre)
    n_all = n_pre + n_post + (len(ahead) and max(len(ahead), _usual_length(history)))
    labels = tuple(range(n_all)) if ahead else (*history.periods, *later)
    return _Dates(launches={unit: where[start] for unit, start in starts.items()}, periods=labels, n_post=n_post)


def _usual_length(history: Panel) -> int:
    """Return the shortest time after a launch that an effect is claimed on."""
    return int({"hour": limit("hours after"), "day": limit("days after")}.get(history.frequency, 1))


def _candidates(ahead: Panel) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the methods whose fit is tried: those that weigh controls for one launch date and few enough units only."""
    one_date = len(ahead.cohorts) == 1
    weighing = one_date and ahead.n_control <= _MOST_DONORS and ahead.n_treated <= limit("few treated")
    found = [pair for pair in CANDIDATES if weighing or pair[0] not in _WEIGHING]
    if one_date and ahead.n_control <= _MOST_REGRESSORS:
        found.append(("causal-impact", series_options(ahead.season)))
    return found


def _fits(study: Study | GeoStudy, ahead: Panel, *, level: float) -> tuple[dict[str, Unfit], dict[str, str]]:
    """Hold every method's requirements against the panel; return why some can't take it, and the inference of the others."""
    unfit, inferences = {}, {}
    for method, options in _candidates(ahead):
        label = labelled(method, options)
        estimator = create_estimator(method, options, seed=study.run.seed)
        try:
            used = _audited(study, ahead, estimator, method)
            inferences[label] = _inference_of(estimator, used, method, level=level)
        except (DataError, RefusalError) as error:
            unfit[label] = Unfit(found=error.message, remedy=error.remedy)
    return unfit, inferences


def _audited(study: Study | GeoStudy, ahead: Panel, estimator: Estimator[Panel], method: str) -> Panel:
    used, _ = audit(estimator.sample(ahead), estimator.requires, method=method, on_missing=study.data.on_missing)
    return estimator.sample(used)


def _inference_of(estimator: Estimator[Panel], used: Panel, method: str, *, level: float) -> str:
    """Return the inference that a method's rule names; of a structural time series mock launches, where they can answer."""
    if method != "causal-impact":
        return estimator.default_inference(used)
    first = max(estimator.requires.min_pre, used.n_pre // 5)
    n_mocks = used.n_pre - used.n_post - first + 1
    if n_mocks < 2 or not rejects(2 / (2 + n_mocks), level):
        return "posterior"
    path = estimator.fit(used).path
    gap = path.effect[: used.n_pre]
    remembered = persistence(gap[np.isfinite(gap)], scale=float(np.nanstd(path.observed)))
    return (
        "placebo-in-time"
        if remembered <= persistence_limit("placebo-in-time", used.n_pre, used.n_post)
        else "posterior"
    )


def _rehearsed(facts: Profile, study: Study | GeoStudy, ahead: Panel) -> Profile:
    """Add what methods that weigh controls do on the history, where they may be asked at all."""
    few = facts.n_treated <= limit("few treated") and 3 <= facts.n_control <= _MOST_DONORS
    if facts.n_cohorts > 1 or not few or facts.n_pre < limit("donor history"):
        return facts
    errors: dict[str, float] = {}
    ratios: dict[str, float] = {}
    place = None
    for method, options in CANDIDATES:
        label = labelled(method, options)
        if method not in _WEIGHING or label in facts.unfit:
            continue
        estimator = create_estimator(method, options, seed=study.run.seed)
        used = _audited(study, ahead, estimator, method)
        history = used.only(periods=np.arange(len(used.periods)) < used.n_pre)
        treated, length = used.ever_treated, max(facts.n_post, _usual_length(history))
        place = place or reach(history, treated)
        rng = generator(study.run.seed, facts.metric, "advice")
        controls = history.only(units=~treated)
        alike = place.alike if len(place.alike) == len(controls.units) else None
        error = mock_error(estimator, controls, n_treated=int(treated.sum()), length=length, rng=rng, alike=alike)
        # Synthetic DiD has no fit by period to hold out: its weights meet the mean change, not the path.
        ratio = None if method == "synthetic-did" else foresight(estimator, history, treated, length=length)
        errors |= {} if error is None else {label: error}
        ratios |= {} if ratio is None else {label: ratio}
    if place is None:
        return facts
    return replace(facts, placebo_errors=errors, held_out=ratios, inside_hull=place.inside, perfect_fit=place.perfect)


def _with_overlap(facts: Profile, study: Study, ahead: Panel) -> Profile:
    """Add how alike the arms of a launch that units chose are, given covariates known before it."""
    if study.launch.assignment != "opt-in" or not ahead.covariate_names:
        return facts
    try:
        covariates = ahead.unit_covariates
    except DataError:
        return facts
    people = CrossSection(
        outcome=np.zeros(len(ahead.units)),
        treatment=ahead.ever_treated,
        covariates=covariates,
        names=ahead.covariate_names,
        weights=ahead.weights,
    )
    return replace(facts, **_overlap(people))


# ---- comparisons at one time


def _of_comparison(study: ComparisonStudy, metric: Metric) -> Profile:
    source, problem, covariates = "none", "", study.data.covariates or ()
    if study.dag is not None:
        source = "graph"
        try:
            covariates = choose(study, metric, columns=hidden_columns(study)).covariates
        except RefusalError as error:
            source, problem, covariates = "refused", error.message, ()
    elif covariates:
        source = "named"
    people = read_without_outcome(study, metric, covariates=tuple(covariates))
    facts = Profile(
        shape="cross-section",
        assignment=study.launch.assignment,
        metric=metric.name,
        n_treated=people.n_treated,
        n_control=people.n_control,
        n_treated_clusters=people.n_treated_clusters,
        n_control_clusters=people.n_control_clusters,
        n_covariates=len(covariates),
        has_before=people.before is not None,
        adjustment=source,  # type: ignore[arg-type]
        adjustment_problem=problem,
    )
    if study.launch.assignment == "random" or not covariates:
        return facts
    return replace(
        facts, **_overlap(people), placebo_p=_placebo_p(people, level=study.method.level, seed=study.run.seed)
    )


def _overlap(people: CrossSection) -> dict[str, Any]:
    """Return how many controls there are to compare with, and how alike the arms are once they are weighted."""
    try:
        found = comparison(create_estimator("adjustment", {}, seed=0), people)
    except (DataError, RefusalError, ValueError):
        return {}
    if found is None or not found.data.names:
        return {}
    treated, base = found.treated, found.sample.weights
    extreme = treated & (found.propensity > limit("extreme"))
    apart = np.abs(standardized_differences(found.data.covariates, treated, found.weights))
    return {
        "effective_controls": effective_size(found.weights[~treated]),
        "share_extreme": float(base[extreme].sum() / base[treated].sum()),
        "largest_difference": float(np.nanmax(apart)) if np.isfinite(apart).any() else None,
    }


def _placebo_p(people: CrossSection, *, level: float, seed: int) -> float | None:
    """Return the p-value of no effect on the outcome before the treatment; None where it can't be had."""
    if people.before is None or not np.ptp(people.before) > 0:
        return None
    past, _ = placebo_data(people)
    try:
        return answer_cross_section(past, "adjustment", inference="influence", level=level, seed=seed).estimate.p_value
    except (DataError, RefusalError):
        return None


# ---- experiments


def _of_experiment(study: GeoStudy, metric: Metric) -> Profile:
    """Measure a plan; a test that has begun in markets that weren't drawn is a launch like any other."""
    history, geo = read_history(study, metric), study.geo
    n_pre = _before_test(study, history)
    drawn = geo.test is not None and (geo.test.assignment == "random" or geo.test.ledger is not None)
    if geo.test is not None and geo.test.cells is not None and n_pre is not None and not drawn:
        return _of_test(study, metric, history, n_pre, chosen=geo.test.cells, controls=geo.test.controls)
    return Profile(
        shape="experiment",
        launched=n_pre is not None,
        assignment="random" if drawn else "chosen",
        metric=metric.name,
        frequency=history.frequency,
        season=history.season,
        n_treated=0,
        n_control=len(set(history.units) - set(geo.busy)),
        n_pre=len(history.periods) if n_pre is None else n_pre,
        n_cells=len(geo.cells),
        duration=geo.switchback.n_periods if geo.switchback else max(geo.durations),
        switches=geo.switchback is not None,
        leaks=geo.buffer is not None,
    )


def _before_test(study: GeoStudy, history: Panel) -> int | None:
    """Return how many periods lie before the test; None where none has begun."""
    if study.geo.test is None or study.geo.test.start is None:
        return None
    like, data = history.periods[0], study.data
    start = read_one(study.geo.test.start, like, what="start of the test", date_format=data.date_format)
    n_pre = sum(period < start for period in history.periods)  # type: ignore[operator]
    return n_pre or None


def _of_test(
    study: GeoStudy,
    metric: Metric,
    history: Panel,
    n_pre: int,
    *,
    chosen: Mapping[str, tuple[str, ...]],
    controls: tuple[str, ...] | None,
) -> Profile:
    treated = {unit for name, units in chosen.items() if name != CONTROL for unit in units}
    others = set(history.units) if controls is None else set(controls)
    kept = [unit in treated or (unit in others and unit not in study.geo.busy) for unit in history.units]
    before = history.only(units=np.array(kept), periods=np.arange(len(history.periods)) < n_pre)
    launches = {unit: n_pre for unit in before.units if unit in treated}
    if not launches:
        raise DataError("no market of the test's cells is in the table", code="CB-D019", remedy="mend [geo.test] cells")
    dates = _Dates(launches=launches, periods=history.periods, n_post=len(history.periods) - n_pre)
    return _measured(study, metric, before, dates, level=study.geo.level)
