"""What the study says that the panel doesn't: who really got it, other events, how long a metric matures, segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from causalbench.checks.other_events import Event
from causalbench.data.assembly import assemble
from causalbench.data.calendar import Period, read_one
from causalbench.data.launch import one_form
from causalbench.data.panel import Panel
from causalbench.errors import DataError, listing, nearest
from causalbench.geo.side_table import all_columns
from causalbench.study import Metric, Study
from causalbench.values import FloatArray
from causalbench.workflow.estimate import Answer
from causalbench.workflow.reading import request_of
from causalbench.workflow.segment_panels import segment_panels

_WANTED = ("name", "start", "end", "units")
_EVERYBODY = ("", "all", "*")


def facts_of(study: Study, metric: Metric, answer: Answer) -> dict[str, Mapping[str, Any]]:
    """Return the options of the checks that lean on what the study says, by name of the check.

    Raises
    ------
    DataError
        When a column or file that the study names can't be read as it says.
    """
    panel = answer.panel
    facts: dict[str, Mapping[str, Any]] = {
        "immature-window": {
            "maturity": metric.maturity or 0,
            "later": _periods_beyond(study, metric, panel) if metric.maturity else 0,
        }
    }
    if study.launch.actual is not None:
        facts["plan-against-actual"] = {
            "actual": _actual(study, metric, panel, study.launch.actual),
            "random": study.launch.assignment == "random",
        }
    if study.calendar is not None:
        facts["other-events"] = {"events": calendar_events(study, panel)}
    if study.segments is not None:
        disjoint, panels, refused = segment_panels(study, metric, study.segments.column)
        facts["segment-effects"] = {
            "column": study.segments.column,
            "panels": panels,
            "refused": refused,
            "disjoint": disjoint,
            "level": study.method.level,
        }
    return facts


def _periods_beyond(study: Study, metric: Metric, panel: Panel) -> int:
    """Return how many periods of the table lie after the last one of the panel."""
    if study.launch.end is None:
        return 0
    asked = request_of(study, metric)
    whole = assemble(asked.source, asked.columns, launch=replace(asked.launch, end=None), reading=asked.reading)
    return sum(period > panel.periods[-1] for period in whole["periods"])


def _actual(study: Study, metric: Metric, panel: Panel, column: str) -> FloatArray:
    """Read who really got it as the share of a cell's rows, aligned with the panel; NaN where nothing is known."""
    asked = request_of(study, metric)
    columns = replace(
        asked.columns, outcome=column, denominator=None, cohort=None, treatment=None, covariates=(), weights=None,
        cluster=None, cost=None,
    )  # fmt: skip
    rule = asked.reading.on_duplicate
    reading = replace(
        asked.reading, aggregate="mean", scale="linear", transform=None, on_duplicate="mean" if rule == "sum" else rule
    )
    try:
        found = Panel(**assemble(asked.source, columns, launch=None, reading=reading))
    except DataError as error:
        raise DataError(f"[launch] actual: {error.message}", code=error.code, remedy=error.remedy) from error
    odd = found.outcome[(found.outcome < 0) | (found.outcome > 1)]
    if len(odd):
        raise DataError(
            f"[launch] actual: column {column!r} holds {len(odd)} values outside 0 to 1, for example {odd[0]:g}",
            code="CB-D057",
            remedy="use 1 where a unit really had it in a period, and 0 elsewhere",
        )
    place = {period: j for j, period in enumerate(found.periods)}
    row = {unit: i for i, unit in enumerate(found.units)}
    actual = np.full(panel.outcome.shape, np.nan)
    known = [j for j, period in enumerate(panel.periods) if period in place]
    for i, unit in enumerate(panel.units):
        if unit in row:
            actual[i, known] = found.outcome[row[unit], [place[panel.periods[j]] for j in known]]
    return actual


def calendar_events(study: Study, panel: Panel) -> tuple[Event, ...]:
    """Read the study's calendar of other events; none where it has no calendar."""
    if study.calendar is None:
        return ()
    name = study.calendar.file
    path = study.beside(name)
    table = all_columns(path, folder=study.folder, key="[calendar] file")
    missing = [column for column in ("name", "start") if column not in table]
    if missing:
        raise DataError(
            f"[calendar] file: {name} has no column {missing[0]!r}{nearest(missing[0], table)}; it has {listing(table)}",
            remedy=f"give it the columns {', '.join(_WANTED)}; end and units may be left out",
        )
    empty = ("",) * len(table["name"])
    rows = zip(*(table.get(column, empty) for column in _WANTED), strict=True)
    return tuple(
        _event(number, label, start, end, units, study=study, panel=panel, file=name)
        for number, (label, start, end, units) in enumerate(rows, start=1)
    )


def _event(
    number: int, label: str, start: str, end: str, units: str, *, study: Study, panel: Panel, file: str
) -> Event:
    """Read one row; units are separated by semicolons, an empty cell means all of them."""
    where = f"[calendar] file: row {number} of {file}"
    if not label or not start:
        raise DataError(f"{where} has no {'start' if label else 'name'}", remedy="fill it in, or remove the row")

    def moment(text: str, what: str) -> Period:
        return read_one(text, panel.periods[0], what=f"{where}: {what}", date_format=study.data.date_format)

    first = moment(start, "start")
    last = moment(end, "end") if end else first
    if last < first:  # type: ignore[operator]
        raise DataError(f"{where} ends at {last}, before it starts at {first}", remedy="exchange them")
    named = (
        ()
        if units.strip() in _EVERYBODY
        else tuple(one_form(part.strip()) for part in units.split(";") if part.strip())
    )
    return Event(name=label, start=first, end=last, units=named)
