"""What is known before a launch: periods, who launches when, and the outcome up to it. No later outcome is read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from causalbench.artifacts import plain
from causalbench.data import calendar
from causalbench.data.calendar import Period, Timeline, read_label
from causalbench.data.date_format import read_as
from causalbench.data.launch import cohort_start, one_form
from causalbench.data.panel import Panel
from causalbench.data.reduce import unit_labels
from causalbench.data.sources import Part
from causalbench.errors import DataError, listing
from causalbench.study import Metric, Study
from causalbench.wording import counted
from causalbench.workflow.reading import read_keys, read_part

_BY_MONTH = ("month", "quarter", "year")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Schedule:
    """When a study's launch is, told from the study and from columns that say who and when.

    Attributes
    ----------
    launches
        First treated period of every unit that launches; where the study names units and a start, that start.
    start
        The first of them.
    n_periods
        How many distinct periods the table has.
    last
        The last period before the launch.
    n_from_launch
        How many periods the table has already from the launch on, or treated in part.
    later
        These periods.
    """

    launches: Mapping[str, Period]
    start: Period
    n_periods: int
    last: Period
    n_from_launch: int
    later: tuple[Period, ...] = ()


def schedule_of(study: Study) -> Schedule:
    """Read when a launch is; outcomes aren't looked at, and the launch may lie after the last row.

    Raises
    ------
    DataError
        When periods can't be read, nothing launches, or there is no period before the launch.
    """
    data = study.data
    found = read_keys(study, [data.period], types=_earliest(data.date_format))[data.period]
    periods = _read(list(found), column=data.period, date_format=data.date_format)
    line = calendar.timeline(list(periods.values()), date_format=data.date_format)
    launches = _launches(study, line)
    start = min(launches.values())
    before = _before(line, start, align=study.launch.align)
    if not before:
        raise DataError(
            f"the launch is {start}, the first period in the data {line.periods[0]}: there is no period before it to seal",
            code="CB-D012",
            remedy="add history before the launch, or correct the date",
        )
    return Schedule(
        launches=launches,
        start=start,
        n_periods=len(line.periods),
        last=before[-1],
        n_from_launch=len(line.periods) - len(before),
        later=line.periods[len(before) :],
    )


def history_of(study: Study, metric: Metric, *, last: Any) -> Panel:
    """Read one metric up to the period ``last`` as a panel that nobody is treated in.

    The engine filters rows by their period before anything looks at values: a later row may hold anything.

    Parameters
    ----------
    last
        A period, or its JSON form.
    """
    data, latest = study.data, plain(last)

    def pick(labels: Sequence[Any]) -> list[Any]:
        periods = _read(labels, column=data.period, date_format=data.date_format)
        if any(type(plain(period)) is not type(latest) for period in periods.values()):
            raise DataError(
                f"column {data.period!r} has periods of another form than {latest}",
                code="CB-D012",
                remedy="write periods as they were written before",
            )
        return [label for label, period in periods.items() if plain(period) <= latest]

    return read_part(study, metric, part=Part(pick=pick))


def _earliest(date_format: str | None) -> Callable[[Sequence[Any]], list[Any]]:
    """Return what picks the labels of the first period."""

    def pick(labels: Sequence[Any]) -> list[Any]:
        periods = _read(labels, column="period", date_format=date_format)
        first = min(periods.values(), default=None)
        return [label for label, period in periods.items() if period == first]

    return pick


def _read(labels: Sequence[Any], *, column: str, date_format: str | None) -> dict[Any, Period]:
    """Read the labels that can be read; the rest belongs to no known period, so its rows stay unread.

    Raises
    ------
    DataError
        When none can be read, or they contradict each other.
    """
    found = [label for label in labels if _is_period(label, date_format)]
    if not found and not len(labels):
        raise DataError("the table has no rows", code="CB-D033", remedy="check the export or the query's filters")
    read, _ = calendar.read_labels(found or list(labels), column=column, date_format=date_format)
    return dict(zip(found, read, strict=True))


def _is_period(label: Any, date_format: str | None) -> bool:
    if label is None or label is pd.NaT:
        return False
    return (read_label(label)[0] if date_format is None else read_as(label, date_format)) is not None


def _launches(study: Study, line: Timeline) -> dict[str, Period]:
    """Return the start of every unit that launches after the first period."""
    launch, first = study.launch, line.periods[0]
    if launch.units is not None:
        start = calendar.read_one(launch.start, first, what="launch start", date_format=line.date_format)
        return dict.fromkeys(map(one_form, launch.units), start)
    found = _by_cohort(study, line) if launch.cohort is not None else _by_indicator(study)
    after = {unit: start for unit, start in found.items() if start > first}  # type: ignore[operator]
    if not after:
        column = launch.cohort or launch.treatment
        raise DataError(
            f"column {column!r} names no launch after the first period {first}, so which periods are before it isn't known",
            code="CB-D012",
            remedy='name them: units = [...] and start = "..." under [launch]',
        )
    return dict(sorted(after.items()))


def _by_cohort(study: Study, line: Timeline) -> dict[str, Period]:
    unit, cohort = study.data.unit, str(study.launch.cohort)
    rows = read_keys(study, [unit, cohort], types=_earliest(study.data.date_format))
    starts = {value: cohort_start(value, line, cohort) for value in rows[cohort].dropna().unique()}
    pairs = zip(_units(rows[unit]), rows[cohort], strict=True)
    return {name: start for name, value in pairs if (start := starts.get(value)) is not None}


def _by_indicator(study: Study) -> dict[str, Period]:
    data, treatment = study.data, str(study.launch.treatment)
    rows = read_keys(study, [data.unit, data.period, treatment], types=_earliest(data.date_format))
    on = rows[pd.to_numeric(rows[treatment], errors="coerce") == 1]
    if on.empty:
        return {}
    periods = _read(list(on[data.period].unique()), column=data.period, date_format=data.date_format)
    found: dict[str, Period] = {}
    for name, label in zip(_units(on[data.unit]), on[data.period], strict=True):
        period = periods[label]
        found[name] = min(found.get(name, period), period)
    return found


def _units(values: pd.Series[Any]) -> Iterable[str]:
    return (one_form(label).replace("\u200b", "").strip() for label in unit_labels(values))


def _before(line: Timeline, start: Period, *, align: str) -> list[Period]:
    """Return the periods before the launch, without one that the rule says is treated in part."""
    before = [period for period in line.periods if period < start]  # type: ignore[operator]
    counts_as_before = align in ("error", "next") or start in line.periods
    if counts_as_before or not before or not _runs_into(before[-1], start, line):
        return before
    return before[:-1]


def _runs_into(period: Period, start: Period, line: Timeline) -> bool:
    """Tell whether a period is still running when the launch comes; where that isn't sure it is taken to."""
    if any(later > start for later in line.periods):  # type: ignore[operator]
        return True
    if line.frequency in _BY_MONTH and isinstance(period, dt.date) and isinstance(start, dt.date):
        months = {"month": 1, "quarter": 3, "year": 12}[line.frequency]
        apart = 12 * (start.year - period.year) + start.month - period.month
        return apart < months or (apart == months and start.day < period.day)
    steps = zip(line.periods, line.periods[1:], strict=False)
    return any(start - period < later - earlier for earlier, later in steps)  # type: ignore[operator]


def require_known_units(names: Iterable[str], history: Panel) -> None:
    """Refuse units that the study names and that have no row before the launch."""
    unknown = [name for name in names if name not in history.units]
    if unknown:
        raise DataError(
            f"{counted(len(unknown), 'unit')} of the study without a row before the launch: {listing(map(repr, unknown))}",
            code="CB-D019",
            remedy=f"correct their names; the table has {len(history.units)} units before the launch, for example "
            f"{listing(map(repr, history.units), limit=3)}",
        )
